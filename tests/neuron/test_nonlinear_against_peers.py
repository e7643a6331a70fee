"""QIFNode, EIFNode, IzhikevichNode and KLIFNode equal SpikingJelly 2.0.0 stepped one step at a time in float64."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from neuron.cases import V_THRESHOLD, close, evaluate, inputs, start, weights
from snncore import surrogate
from snncore.neuron import BaseNode, EIFNode, IzhikevichNode, KLIFNode, QIFNode

WHY = "SpikingJelly is not installed: pip install --no-deps -r tests/oracles.txt"
pytest.importorskip("spikingjelly", reason=WHY)
sj_neuron = importlib.import_module("spikingjelly.activation_based.neuron")
sj_surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")

# row -> our class (SpikingJelly's has its name), arguments of both, its states, another surrogate than the default
NODES: dict[str, tuple[type[BaseNode], dict[str, Any], tuple[str, ...]]] = {
    "qif": (QIFNode, {}, ("v",)),
    "qif-numbers": (QIFNode, {"tau": 3.0, "v_c": 0.9, "a0": 0.5, "v_rest": 0.25}, ("v",)),
    "eif": (EIFNode, {}, ("v",)),
    "eif-numbers": (EIFNode, {"tau": 6.0, "delta_T": 2.5, "theta_rh": 0.7, "v_rest": 0.25}, ("v",)),
    "izhikevich": (IzhikevichNode, {}, ("v", "w")),
    "izhikevich-numbers": (
        IzhikevichNode,
        {"tau": 3.0, "v_c": 0.9, "a0": 0.5, "v_rest": 0.25, "w_rest": 0.1, "tau_w": 2.5, "a": 0.3, "b": 0.2},
        ("v", "w"),
    ),
    "klif": (KLIFNode, {}, ("v",)),
    "klif-no_decay_input": (KLIFNode, {"tau": 2.5, "decay_input": False}, ("v",)),
    "klif-scale_reset": (KLIFNode, {"tau": 1.6, "scale_reset": True}, ("v",)),
}
RESETS = {"default": {}, "hard": {"v_reset": 0.0}, "hard-0.25": {"v_reset": -0.25}, "soft": {"v_reset": None}}
SURROGATES = {
    "default": (None, None),
    "atan": (surrogate.ATan(1.5), lambda: sj_surrogate.ATan(alpha=1.5)),
    "sigmoid": (surrogate.Sigmoid(2.5), lambda: sj_surrogate.Sigmoid(alpha=2.5)),
    "rect": (surrogate.Rect(0.6), lambda: sj_surrogate.Rect(alpha=0.6)),
}
K = 1.3


def step_through(node, names: tuple[str, ...], x_seq: Tensor, state: Tensor | None) -> dict[str, Tensor]:
    """As ``evaluate``, with SpikingJelly's node called once a step."""
    x_seq = x_seq.clone().requires_grad_()
    if state is not None:
        state = state.clone().requires_grad_()
        for name, value in zip(names, state.unbind(0), strict=True):
            setattr(node, name, value)
    spikes, potentials = [], []
    for x in x_seq:
        spikes.append(node(x))
        potentials.append(node.v)
    spike_seq, v_seq, last = (
        torch.stack(spikes),
        torch.stack(potentials),
        torch.stack([getattr(node, n) for n in names]),
    )
    w_spike, w_v, w_last = weights(x_seq, len(names))
    ((spike_seq * w_spike).sum() + (v_seq * w_v).sum() + (last * w_last).sum()).backward()
    out = {"spike_seq": spike_seq.detach(), "v_seq": v_seq.detach(), "last": last.detach(), "grad.x": x_seq.grad}
    if state is not None:
        out["grad.state"] = state.grad
    return out | {f"grad.{name}": parameter.grad for name, parameter in node.named_parameters()}


@pytest.mark.parametrize("reset", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("row", NODES, ids=str)
def test_spikes_potentials_and_gradients(row, reset):
    cls, numbers, names = NODES[row]
    # SpikingJelly's QIF and EIF want v_rest >= v_reset; Izhikevich rests below its reset by default
    arguments = {**numbers, **reset} if not reset else {"v_threshold": V_THRESHOLD, **numbers, **reset}
    x_seq = inputs(torch.float64, T=8)
    for number, (kind, (ours, theirs)) in enumerate(SURROGATES.items()):
        for detach in (False, True):
            what = f"{kind}, detach_reset={detach}"
            own = {} if ours is None else {"surrogate_function": ours}
            node = cls(detach_reset=detach, step_mode="m", engine="native", **own, **arguments).double()
            peer = {} if theirs is None else {"surrogate_function": theirs()}
            node_sj = getattr(sj_neuron, cls.__name__)(detach_reset=detach, **peer, **arguments).double()
            for parameter in (*node.parameters(), *node_sj.parameters()):
                parameter.data.fill_(K)
            state = start(node, torch.float64) if (number + detach) % 2 else None
            got, want = evaluate(node, x_seq, state), step_through(node_sj, names, x_seq, state)
            assert torch.equal(got["spike_seq"], want["spike_seq"]), what
            assert 0.02 < want["spike_seq"].mean() < 0.98, what
            assert got.keys() == want.keys()
            for key in got:
                close(f"{what}: {key}", got[key], want[key], 1e-10)
