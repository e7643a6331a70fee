"""Gated LIF, half-threshold IF and the integrators equal SpikingJelly 2.0.0 in float64."""

from __future__ import annotations

import importlib

import pytest
import torch

from neuron.cases import CHANNELS, V_THRESHOLD, close, inputs, weights
from snncore.neuron import GatedLIFNode, HalfThresholdIFNode, NonSpikingIFNode, NonSpikingLIFNode
from snncore.surrogate import Sigmoid

WHY = "SpikingJelly is not installed: pip install --no-deps -r tests/oracles.txt"
pytest.importorskip("spikingjelly", reason=WHY)
sj_neuron = importlib.import_module("spikingjelly.activation_based.neuron")
sj_surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")

T = 8
LOGITS = ("tau", "v_threshold", "linear_decay", "v_subreset", "conduct")  # the names of both
GATES = {"a": "alpha", "b": "beta", "c": "gamma"}


def gated_pair(channels, steps):
    """Return our neuron and SpikingJelly's with the same parameters, all perturbed."""
    torch.manual_seed(3)
    ours = GatedLIFNode(T, channels=channels, step_mode="m", engine="native", surrogate_function=Sigmoid(4.0)).double()
    theirs = sj_neuron.GatedLIFNode(T, inplane=channels, surrogate_function=sj_surrogate.Sigmoid(4.0)).double()
    names = {f"raw_{name}": name for name in LOGITS} | {f"raw_{a}": name for a, name in GATES.items()}
    parameters = dict(theirs.named_parameters())
    assert {name for name, _ in ours.named_parameters()} == names.keys() and set(names.values()) == parameters.keys()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            peer = parameters[names[name]]
            assert parameter.shape == peer.shape
            if name[4:] not in GATES:
                torch.testing.assert_close(parameter, peer)  # the same start
            else:
                assert parameter.abs().max() <= 0.1 and peer.abs().max() <= 0.1
            parameter.add_(torch.randn_like(parameter))
            peer.copy_(parameter)
    return ours, theirs, {mine: parameters[name] for mine, name in names.items()}


@pytest.mark.parametrize("channels", [None, CHANNELS])
def test_gated_lif(channels):
    ours, theirs, parameters = gated_pair(channels, T)
    x = inputs(torch.float64, T=T, shape=(2, CHANNELS, 4, 5)).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weight = weights(x)[0]
    got, want = ours(x), theirs(y)
    assert 0.05 < want.mean() < 0.95 and torch.equal(got, want)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    close("grad.x", x.grad, y.grad, 1e-12)
    for name, parameter in ours.named_parameters():
        close(f"grad.{name}", parameter.grad, parameters[name].grad, 1e-11)


@pytest.mark.parametrize("detach", [False, True])
def test_half_threshold(detach):
    common = {"v_threshold": V_THRESHOLD, "detach_reset": detach}
    ours = HalfThresholdIFNode(step_mode="m", store_v_seq=True, engine="native", **common)
    theirs = sj_neuron.HalfThresholdIFNode(surrogate_function=sj_surrogate.Sigmoid(4.0), **common)
    x = inputs(torch.float64, T=T).requires_grad_()
    y = x.detach().clone().requires_grad_()
    w_spike, w_v, _ = weights(x)
    got, want, potentials = ours(x), [], []
    for step in y:
        want.append(theirs(step))
        potentials.append(theirs.v)
    want, potentials = torch.stack(want), torch.stack(potentials)
    assert torch.equal(got, want)
    ((got * w_spike).sum() + (ours.v_seq * w_v).sum()).backward()
    ((want * w_spike).sum() + (potentials * w_v).sum()).backward()
    close("v_seq", ours.v_seq, potentials, 1e-12)
    close("grad.x", x.grad, y.grad, 1e-12)


READOUTS = {"last": "last_mem", "max": "max-mem", "max_abs": "max-abs-mem", "mean": "mean-mem", None: None}


@pytest.mark.parametrize("readout", READOUTS, ids=str)
@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_integrators(readout, leaky, engine):
    common = {"step_mode": "m", "readout": readout, "engine": engine}
    ours = NonSpikingLIFNode(1.7, **common) if leaky else NonSpikingIFNode(**common)
    decode = {"decode": READOUTS[readout]}
    theirs = sj_neuron.NonSpikingLIFNode(tau=1.7, **decode) if leaky else sj_neuron.NonSpikingIFNode(**decode)
    x = (inputs(torch.float64, T=T) - 0.5).requires_grad_()
    y = x.detach().clone().requires_grad_()
    got, want = ours(x), theirs(y)
    want = want if readout is not None else torch.stack(want)
    close("v", got.detach(), want.detach(), 1e-13)
    weight = torch.randn(got.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    close("grad.x", x.grad, y.grad, 1e-13)
