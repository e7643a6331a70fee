"""Membrane updates and neuron operations: by hand, by the potentials themselves, and by NeuroBench."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
import torch
from torch import nn

from snncore import functional
from snncore.encoding import direct
from snncore.errors import ArgumentError, StateError
from snncore.layer import LinearRecurrent
from snncore.metric import MembraneUpdates, operations_per_update
from snncore.neuron import (
    PSN,
    Alpha,
    CUBALIFNode,
    IFNode,
    Lapicque,
    Leaky,
    LIFNode,
    NonSpikingLIFNode,
    ParametricLIFNode,
    Synaptic,
)

T = 6


def net(**arguments):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), LIFNode(step_mode="m", **arguments), nn.Linear(6, 3), IFNode(step_mode="m", **arguments)
    )


def inputs(n=3):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1)) * 3


def numbers(report):
    return {name: (row.samples, row.updates, row.dense) for name, row in report.layers.items()}


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_by_hand():
    # v after the reset: 0.5 0 0.5 0 (input 0.5); 0 0 0 0 (input 2: fires always); 0 0 0 0 (no input); -1 -2 -3 -4.
    model = IFNode(step_mode="m")
    with MembraneUpdates(model) as updates:
        model(direct(torch.tensor([[0.5, 2.0], [0.0, -1.0]]), 4))
    report = updates.compute()
    assert numbers(report) == {"": (2, 4 + 3 + 0 + 0 + 3, 16)}
    assert (report.updates, report.samples, report.updates_per_sample) == (10, 2, 5.0)
    # IF, hard reset to 0: v + x, spike * h, h - that.
    assert (report.operations_per_sample, report.dense_operations_per_sample) == (3 * 5.0, 3 * 8.0)
    assert (report.layers[""].operations, report.layers[""].dense_operations) == (30, 48)
    assert json.loads(json.dumps(report.to_dict()))["layers"][""]["updates"] == 10


def expected(v_seq):
    """The definition, step by step."""
    updates = v_seq[0].numel()
    for t in range(1, len(v_seq)):
        updates += int(sum(a != b for a, b in zip(v_seq[t].flatten().tolist(), v_seq[t - 1].flatten().tolist())))  # noqa: B905
    return updates


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_equals_the_potentials_and_leaves_the_net_as_it_was(engine):
    model, x = net(engine=engine), inputs()
    spikes = model(direct(x, T))
    with MembraneUpdates(model) as updates:
        assert torch.equal(model(direct(x, T)), spikes)
        assert [m.store_v_seq for m in (model[1], model[3])] == [False, False]
        assert model[1].v_seq is None
    assert hooks(model) == 0
    for node in (model[1], model[3]):
        node.store_v_seq = True
    model(direct(x, T))
    want = {name: (3, expected(model[int(name)].v_seq), model[int(name)].v_seq.numel()) for name in "13"}
    assert numbers(updates.compute()) == want
    kept = model[1].v_seq
    with MembraneUpdates(model) as updates:
        model(direct(x, T))
    assert numbers(updates.compute()) == want
    assert model[1].store_v_seq and torch.equal(model[1].v_seq, kept)  # whoever stores them still has them


def test_batches_add_up_and_both_step_modes_agree():
    model, x = net(), inputs(7)
    with MembraneUpdates(model) as whole:
        model(direct(x, T))
    with MembraneUpdates(model) as parts:
        for part in x.split(2):
            model(direct(part, T))
    functional.set_step_mode(model, "s")
    with MembraneUpdates(model) as single:
        for part in x.split(3):
            functional.reset_net(model)
            for _ in range(T):
                model(part)
    assert numbers(whole.compute()) == numbers(parts.compute()) == numbers(single.compute())


@pytest.mark.parametrize("readout", [None, "last", "max", "mean"])
def test_readouts_and_neurons_in_containers(readout):
    torch.manual_seed(0)
    model = nn.Sequential(
        LinearRecurrent(LIFNode(store_v_seq=True), nn.Linear(3, 3), step_mode="m"),
        NonSpikingLIFNode(step_mode="m", readout=readout),
    )
    x = torch.rand(T, 2, 3) * 3
    plain = model(x)
    v_hidden = model[0].neuron.v_seq
    v_last = model[1].run(model[0](x))[0]
    with MembraneUpdates(model) as outer, MembraneUpdates(model) as inner:
        assert torch.equal(model(x), plain)
    assert (model[1].readout, model[1].store_v_seq) == (readout, True)
    for updates in (outer, inner):
        assert numbers(updates.compute()) == {"0.neuron": (2, expected(v_hidden), 36), "1": (2, expected(v_last), 36)}
        with pytest.raises(StateError, match=r"operations per update .* 1 \(NonSpikingLIFNode\); pass MembraneUpdates"):
            _ = updates.compute().operations_per_sample


def test_nested_blocks_that_end_in_any_order():
    model, x = net(), inputs()
    first, second = MembraneUpdates(model), MembraneUpdates(model)
    first.__enter__()
    second.__enter__()
    model(direct(x, T))
    first.__exit__(None, None, None)
    model(direct(x, T))
    second.__exit__(None, None, None)
    assert second.compute().updates == 2 * first.compute().updates > 0
    assert hooks(model) == 0
    assert not model[1].store_v_seq


@pytest.mark.parametrize("blocks", [1, 2])
def test_an_exception_in_the_neuron_puts_everything_back(blocks):
    model = nn.Sequential(IFNode(step_mode="m"), NonSpikingLIFNode(step_mode="m", readout="last"))
    x = torch.rand(T, 2, 3)
    kept = model[0].v_seq = torch.zeros(1)
    with pytest.raises(ArgumentError), ExitStack() as stack:
        all_ = [stack.enter_context(MembraneUpdates(model)) for _ in range(blocks)]
        model(x)
        before = [numbers(updates.compute()) for updates in all_]
        model(x.int())
    with pytest.raises(ArgumentError), MembraneUpdates(model):
        model[1](x.int())
    assert (model[0].store_v_seq, model[1].readout, hooks(model)) == (False, "last", 0)
    assert model[0].v_seq is kept
    model(x)
    assert [numbers(updates.compute()) for updates in all_] == before


def test_a_sequence_that_began_before_the_block_goes_on_in_it():
    node = IFNode(step_mode="s")
    node(torch.full((2, 3), 0.25))
    with MembraneUpdates(node) as updates:
        node(torch.zeros(2, 3))
        node(torch.tensor([0.25, 0.0, 0.0]).expand(2, 3))
    row = updates.compute().layers[""]
    assert (row.samples, row.updates, row.dense) == (0, 2, 12)


def test_neurons_without_a_recursion_are_counted_by_their_potentials():
    torch.manual_seed(0)
    model = PSN(T, step_mode="m", store_v_seq=True)
    model(torch.rand(T, 2, 3) * 4)
    with MembraneUpdates(model) as updates:
        model(torch.rand(T, 2, 3, generator=torch.Generator().manual_seed(2)) * 4)
    assert updates.compute().updates == expected(model.v_seq)


@pytest.mark.parametrize(
    ("node", "operations"),
    [
        (Leaky(), 4),
        (Leaky(reset_mechanism="zero", reset_delay=False), 4),
        (Leaky(reset_mechanism="none"), None),
        (Synaptic(), 6),
        (Synaptic(reset_mechanism="zero"), 8),
        (Lapicque(), 11),
        (Alpha(), 24),
        (Alpha(reset_mechanism="subtract"), 18),
        (IFNode(v_reset=None), 3),
        (IFNode(v_reset=0.5), 4),
        (IFNode(v_reset="none"), 1),
        (LIFNode(v_reset=None, decay_input=False), 4),
        (LIFNode(v_reset=None), 5),
        (LIFNode(), 5),
        (LIFNode(v_reset=-0.5), 7),
        (LIFNode(v_reset=-0.5, v_rest=0.0), 6),
        (ParametricLIFNode(decay_input=False), 4),
        (CUBALIFNode(), None),
        (type("Other", (LIFNode,), {})(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_operations_per_update(node, operations):
    assert operations_per_update(node) == operations


def test_operations_can_be_given():
    model = nn.Sequential(CUBALIFNode(step_mode="m"), IFNode(step_mode="m"))
    with MembraneUpdates(model, operations={CUBALIFNode: 7, IFNode: 1}) as updates:
        model(torch.zeros(2, 3, 4))
    assert updates.compute().dense_operations_per_sample == 8 * 7 + 8
    for bad in (-1, 1.5, True):
        with pytest.raises(ArgumentError, match=r"MembraneUpdates.operations: must be whole numbers >= 0"):
            MembraneUpdates(model, operations={CUBALIFNode: bad})


def test_misuse():
    model = net()
    updates = MembraneUpdates(model)
    with pytest.raises(StateError, match="must follow a forward pass"):
        updates.compute()
    with updates:
        with pytest.raises(StateError, match="twice"), updates:
            pass
        model[1](torch.zeros(T, 2, 6))
        model[3](torch.zeros(T, 3, 3))
    with pytest.raises(StateError, match=r"MembraneReport.samples: must be one number, got \{'1': 2, '3': 3\}"):
        _ = updates.compute().updates_per_sample


def test_gradients_are_those_without_the_block():
    x = inputs().requires_grad_()
    model = net()
    model(direct(x, T)).sum().backward()
    want, x.grad = x.grad, None
    with MembraneUpdates(model):
        model(direct(x, T)).sum().backward()
    assert torch.equal(x.grad, want)


class _Pair(nn.Sequential):
    def forward(self, x):
        return super().forward(x)[:2]  # NeuroBench's loop takes two outputs, whatever the neuron has


@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
@pytest.mark.parametrize("kind", [Leaky, Synaptic])
def test_equals_neurobench(kind, mechanism):
    reason = "NeuroBench 2.3.0 and snnTorch are not installed"
    snntorch = pytest.importorskip("snntorch", reason=reason)
    workload = pytest.importorskip("neurobench.metrics.workload", reason=reason)
    models = pytest.importorskip("neurobench.models", reason=reason)
    decays = {"beta": 0.75} if kind is Leaky else {"alpha": 0.5, "beta": 0.75}

    torch.manual_seed(0)
    linear = nn.Linear(4, 16)
    x = torch.randn(5, T, 4) * 3  # [B, T, *], NeuroBench's order
    x[:, :, 0].clamp_(min=0)
    with torch.no_grad():
        linear.weight[:6] = 0  # neurons that come to rest
        linear.bias[:4] = 0
    node = getattr(snntorch, kind.__name__)(**decays, init_hidden=True, output=True, reset_mechanism=mechanism)
    theirs = models.SNNTorchModel(_Pair(linear, node))
    theirs.register_hooks()
    updates, operations = workload.MembraneUpdates(), workload.NeuronOperations()
    for part in x.split(2):
        theirs.reset_hooks()
        theirs(part)
        by_sample = updates(theirs, None, (part, None))
        both = operations(theirs, None, (part, None))

    mine = nn.Sequential(linear, kind(**decays, reset_mechanism=mechanism, step_mode="m"))
    with MembraneUpdates(mine) as counter, torch.no_grad():
        for part in x.split(3):
            mine(part.transpose(0, 1))
    report = counter.compute()
    assert 0 < report.updates < report.layers["1"].dense
    assert report.updates_per_sample == by_sample
    assert report.operations_per_sample == both["Effective Neuron Ops"]
    assert report.dense_operations_per_sample == both["Neuron Dense Ops"]
