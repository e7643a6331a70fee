"""IFNode, LIFNode and ParametricLIFNode equal SpikingJelly 2.0.0 stepped one step at a time in float64."""

from __future__ import annotations

import dataclasses
import importlib

import pytest
import torch

from neuron.cases import V_THRESHOLD, close, evaluate, inputs, start, surrogates, weights
from snncore.neuron import IFNode, LIFNode, ParametricLIFNode
from snncore.surrogate import SURROGATES

WHY = "SpikingJelly is not installed: pip install --no-deps -r tests/oracles.txt"
pytest.importorskip("spikingjelly", reason=WHY)
sj_neuron = importlib.import_module("spikingjelly.activation_based.neuron")
sj_surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")

# row -> our class, SpikingJelly's, arguments of both
NODES = {
    "if": (IFNode, "IFNode", {}),
    "lif": (LIFNode, "LIFNode", {"tau": 2.0}),
    "lif-1.6": (LIFNode, "LIFNode", {"tau": 1.6}),
    "lif-no_decay_input": (LIFNode, "LIFNode", {"tau": 2.5, "decay_input": False}),
    "plif": (ParametricLIFNode, "ParametricLIFNode", {"init_tau": 2.0}),
    "plif-1.7": (ParametricLIFNode, "ParametricLIFNode", {"init_tau": 1.7}),
    "plif-no_decay_input": (ParametricLIFNode, "ParametricLIFNode", {"init_tau": 3.0, "decay_input": False}),
}
RESETS = {"hard": 0.0, "hard-0.25": -0.25, "soft": None}
# snnTorch's; and what SpikingJelly has with a forward of its own (test_levels_against_peers.py)
NOT_THERE = {"fast_sigmoid", "multi_level", "open_multi_level"}
ALIAS = {"straight_through": "DeterministicPass"}


def theirs(name, ours):
    """Return SpikingJelly's surrogate of the same name and numbers, or None."""
    if name in NOT_THERE:
        return None
    return getattr(sj_surrogate, ALIAS.get(name, type(ours).__name__))(**dataclasses.asdict(ours))


def step_through(node, x_seq, state):
    """As ``evaluate``, with SpikingJelly's node called once a step."""
    x_seq = x_seq.clone().requires_grad_()
    if state is not None:
        state = state.clone().requires_grad_()
        node.v = state[0]
    spikes, potentials = [], []
    for x in x_seq:
        spikes.append(node(x))
        potentials.append(node.v)
    spike_seq, v_seq = torch.stack(spikes), torch.stack(potentials)
    w_spike, w_v, w_last = weights(x_seq)
    ((spike_seq * w_spike).sum() + (v_seq * w_v).sum() + (node.v * w_last).sum()).backward()
    out = {"spike_seq": spike_seq.detach(), "v_seq": v_seq.detach(), "last": v_seq[-1:].detach(), "grad.x": x_seq.grad}
    if state is not None:
        out["grad.state"] = state.grad
    return out | {f"grad.{name}": parameter.grad for name, parameter in node.named_parameters()}


def test_every_surrogate_of_theirs_is_compared():
    compared = {type(s).__name__ for n in SURROGATES if (s := theirs(n, surrogates()[n])) is not None}
    fires = {"PoissonPass", "MultiLevelSpikeCount", "SurrogateFunctionBase", "MultiArgsSurrogateFunctionBase"}
    known = {
        name
        for name, cls in vars(sj_surrogate).items()
        if isinstance(cls, type) and issubclass(cls, torch.nn.Module) and not name.startswith("_")
    }
    assert known - compared - fires == set()


@pytest.mark.parametrize("v_reset", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("row", NODES, ids=str)
def test_spikes_potentials_and_gradients(row, v_reset):
    cls, name, arguments = NODES[row]
    common = {"v_threshold": V_THRESHOLD, "v_reset": v_reset, **arguments}
    x_seq = inputs(torch.float64, T=8)
    for number, (kind, ours) in enumerate(surrogates().items()):
        peer = theirs(kind, ours)
        if peer is None:
            continue
        for detach in (False, True):
            what = f"{kind}, detach_reset={detach}"
            node = cls(surrogate_function=ours, detach_reset=detach, step_mode="m", engine="native", **common).double()
            state = start(node, torch.float64) if (number + detach) % 2 else None
            node_sj = getattr(sj_neuron, name)(surrogate_function=peer, detach_reset=detach, **common).double()
            got, want = evaluate(node, x_seq, state), step_through(node_sj, x_seq, state)
            assert torch.equal(got["spike_seq"], want["spike_seq"]), what
            assert got.keys() == want.keys()
            for key in got:
                close(f"{what}: {key}", got[key], want[key], 1e-10)
