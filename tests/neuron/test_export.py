"""torch.export of nets with neurons: the fused op in the graph, the same bits, saved, loaded, and with any batch."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from neuron.cases import CHANNELS, FEW, inputs, start
from snncore import functional, layer
from snncore.errors import ArgumentError
from snncore.neuron import IFNode, LIFNode, ParametricLIFNode

few_rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
T = 3


def reloaded(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


def fused(program):
    return [str(n.target).split(".")[1] for n in program.graph.nodes if str(n.target).startswith("snncore.")]


class Streaming(nn.Module):
    """The state as input and output, which is how a program goes on from call to call."""

    def __init__(self, node):
        super().__init__()
        self.node = node

    def forward(self, x_seq, state):
        return self.node.run(x_seq, state)


@few_rows
def test_a_neuron(row):
    node = row.make(torch.float32, engine="native").eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(node, (inputs(torch.float32, T),), dynamic_shapes=({1: batch},))
    assert fused(program) == [f"{node.native}_forward"]
    again = reloaded(program)
    for size in (2, 1, 7):
        x_seq = inputs(torch.float32, T, (size, CHANNELS, 5), seed=size)
        assert torch.equal(program.module()(x_seq), node(x_seq)), size
        assert torch.equal(again.module()(x_seq), node(x_seq)), size


@few_rows
def test_a_neuron_that_goes_on(row):
    """Piece by piece with the state handed on: the whole, bit for bit."""
    node = row.make(torch.float32, engine="native").eval()
    x_seq, state = inputs(torch.float32, 3 * T), tuple(start(node, torch.float32).unbind(0))
    want, last = node.run(x_seq, state)
    program = reloaded(torch.export.export(Streaming(node), (x_seq[:T], state)))
    spikes = []
    for piece in x_seq.split(T):
        spike_seq, state = program.module()(piece, state)
        spikes.append(spike_seq)
    assert torch.equal(torch.cat(spikes), want)
    assert all(torch.equal(a, b) for a, b in zip(state, last, strict=True))


def net(engine="native"):
    torch.manual_seed(0)
    made = nn.Sequential(
        layer.Linear(5, 8), LIFNode(engine=engine), layer.Linear(8, 8),
        ParametricLIFNode(channels=8, engine=engine), layer.Linear(8, 3),
        IFNode(v_threshold=nn.Parameter(torch.full((3,), 0.7)), engine=engine),
    )  # fmt: skip
    functional.set_step_mode(made, "m")
    return made.eval()


@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_a_net_of_any_length_and_batch(strict):
    whole = net()
    dims = {0: torch.export.Dim("T", min=1, max=64), 1: torch.export.Dim("batch", min=1, max=64)}
    x_seq = torch.rand(4, 6, 5) * 3
    program = torch.export.export(whole, (x_seq,), dynamic_shapes=(dims,), strict=strict)
    assert fused(program) == ["lif_forward", "lif_forward", "if_forward"]
    again = reloaded(program.run_decompositions())
    assert fused(again) == fused(program)
    for steps, size in ((4, 6), (1, 1), (9, 2)):
        x_seq = torch.rand(steps, size, 5) * 3
        assert torch.equal(again.module()(x_seq), whole(x_seq))


def test_half_net():
    whole = net().bfloat16()
    x_seq = (torch.rand(4, 6, 5) * 3).bfloat16()
    program = reloaded(torch.export.export(whole, (x_seq,)))
    got = program.module()(x_seq)
    assert got.dtype == torch.bfloat16 and torch.equal(got, whole(x_seq))


def test_the_definition_exports_too():
    """For whoever has no snncore where the program runs: no op of ours in it, the number of steps fixed."""
    whole = net("torch")
    x_seq = torch.rand(4, 6, 5) * 3
    program = reloaded(torch.export.export(whole, (x_seq,), dynamic_shapes=({1: torch.export.Dim("batch", max=64)},)))
    assert fused(program) == []
    x_seq = torch.rand(4, 9, 5) * 3
    assert torch.equal(program.module()(x_seq), whole(x_seq))


def test_parameters_are_parameters():
    """A program trained on or loaded with other weights follows them."""
    whole = net()
    program = torch.export.export(whole, (torch.rand(4, 6, 5),))
    assert set(program.state_dict) == set(whole.state_dict())
    module, x_seq = program.module(), torch.rand(4, 6, 5) * 3
    with torch.no_grad():
        for node in (whole, module):
            node.get_parameter("5.v_threshold").fill_(0.2)
    assert torch.equal(module(x_seq), whole(x_seq))
    module(x_seq).sum().backward()
    whole(x_seq).sum().backward()
    for name, parameter in whole.named_parameters():
        assert torch.equal(module.get_parameter(name).grad, parameter.grad), name


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_kept_state_is_refused(engine):
    """A program of step_mode 's' would start every call from rest and say nothing."""
    node = LIFNode(engine=engine)
    with pytest.raises(ArgumentError, match=r"^LIFNode\.step_mode: must be 'm' for torch\.export.*run\(\)"):
        torch.export.export(node, (torch.rand(2, 3),))
    with pytest.raises(Exception, match="step_mode: must be 'm'"):
        torch.export.export(node, (torch.rand(2, 3),), strict=True)
    assert node.state is None
    node(torch.rand(2, 3))
    compiled = torch.compile(node, backend="aot_eager", fullgraph=True)  # which keeps it, and is not meant
    compiled(torch.rand(2, 3))
