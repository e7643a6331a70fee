"""Leaky equals snnTorch 1.0.0, whose potential exactly at threshold does not fire: no input here puts it there."""

from __future__ import annotations

import pytest
import torch

from neuron.cases import V_THRESHOLD, close, evaluate, weights
from snncore import surrogate
from snncore.neuron import Leaky

WHY = "snnTorch is not installed: pip install --no-deps -r tests/oracles.txt"
snntorch = pytest.importorskip("snntorch", reason=WHY)
snn_surrogate = pytest.importorskip("snntorch.surrogate", reason=WHY)

T, SHAPE = 8, (6, 5)  # [B, C]: per-neuron betas are per channel here
GRADS = {
    "default": (None, None),
    "atan": (surrogate.ATan(1.5), lambda: snn_surrogate.atan(alpha=1.5)),
    "fast_sigmoid": (surrogate.FastSigmoid(3.0), lambda: snn_surrogate.fast_sigmoid(slope=3.0)),
    "sigmoid": (surrogate.Sigmoid(2.5), lambda: snn_surrogate.sigmoid(slope=2.5)),
    "straight_through": (surrogate.StraightThrough(), snn_surrogate.straight_through_estimator),
}
BETAS = {
    "scalar": 0.8125,  # exact in float32, to which snnTorch rounds it
    "one": 1.0,
    "above_one": 1.5,  # both cut it to [0, 1]
    "below_zero": -0.25,
    "per_neuron": torch.tensor([0.9, 0.35, 0.6, 1.25, 0.0]),
}


def data(scale: float, shift: float, with_state: bool):
    generator = torch.Generator().manual_seed(5)
    x_seq = torch.randn(T, *SHAPE, generator=generator, dtype=torch.float64) * scale + shift
    state = torch.randn((1, *SHAPE), generator=generator, dtype=torch.float64) * 0.3
    return x_seq, state if with_state else None


def step_through(node, x_seq, state):
    """As ``evaluate``, with snnTorch's Leaky called once a step; its spikes are float32 whatever x is."""
    x_seq = x_seq.clone().requires_grad_()
    first = (torch.zeros_like(x_seq[:1]) if state is None else state.clone()).requires_grad_()
    mem = first[0]
    spikes, potentials = [], []
    for x in x_seq:
        spike, mem = node(x, mem)
        spikes.append(spike.double())
        potentials.append(mem)
    spike_seq, v_seq = torch.stack(spikes), torch.stack(potentials)
    w_spike, w_v, w_last = weights(x_seq)
    ((spike_seq * w_spike).sum() + (v_seq * w_v).sum() + (mem * w_last).sum()).backward()
    out = {"spike_seq": spike_seq.detach(), "v_seq": v_seq.detach(), "last": v_seq[-1:].detach(), "grad.x": x_seq.grad}
    if state is not None:
        out["grad.state"] = first.grad
    return out | {f"grad.{n}": p.grad for n, p in node.named_parameters() if n == "beta"}


def compare(mechanism, delay, beta, learn, x_seq, state, tolerance):
    for name, (ours, theirs) in GRADS.items():
        what = f"{name}, {mechanism}, reset_delay={delay}, learn_beta={learn}"
        node = Leaky(
            beta, v_threshold=V_THRESHOLD, spike_grad=ours, reset_mechanism=mechanism, reset_delay=delay,
            learn_beta=learn, step_mode="m", engine="native",
        ).double()  # fmt: skip
        peer = snntorch.Leaky(
            beta, threshold=V_THRESHOLD, spike_grad=theirs and theirs(), reset_mechanism=mechanism, reset_delay=delay,
            learn_beta=learn,
        ).double()  # fmt: skip
        got, want = evaluate(node, x_seq, state), step_through(peer, x_seq, state)
        assert got.keys() == want.keys()
        rate = want["spike_seq"].mean()
        assert 0.05 < rate < 0.95, f"{what}: nothing to test, {rate:.2f} spikes per step"
        assert torch.equal(got["spike_seq"], want["spike_seq"]), what
        for key in got:
            close(f"{what}: {key}", got[key], want[key], tolerance)


@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learn_beta"])
@pytest.mark.parametrize("beta", BETAS.values(), ids=BETAS)
@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_delayed_reset(mechanism, beta, learn):
    compare(mechanism, True, beta, learn, *data(1.0, 0.6, with_state=learn), 1e-10)


@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learn_beta"])
@pytest.mark.parametrize("beta", BETAS.values(), ids=BETAS)
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_reset_at_once(mechanism, beta, learn):
    """Where snnTorch's own form is right: no potential is above threshold after its reset.

    Its reset then carries a gradient through spikes that are float32, which rounds it to 2^-24: hence 1e-6.
    """
    x_seq, state = data(0.8, 0.4, with_state=learn)
    if mechanism == "subtract":  # h = beta * v + x below 2 thresholds
        x_seq.clamp_(max=1.95 * V_THRESHOLD - V_THRESHOLD * torch.as_tensor(beta).double().clamp(0.0, 1.0))
        node = Leaky(beta, v_threshold=V_THRESHOLD, reset_delay=False, step_mode="m", store_v_seq=True).double()
        node(x_seq)
        assert node.v_seq.max() < V_THRESHOLD, "this input leaves that regime"
    compare(mechanism, False, beta, learn, x_seq, state, 1e-6)


def test_reset_at_once_loses_no_spike_where_snntorch_does():
    """beta = 1, x = 3.5 and then nothing: 3.5 thresholds give three spikes; snnTorch's form gives two and sticks."""
    x_seq = torch.tensor([3.5, 0, 0, 0, 0, 0], dtype=torch.float64).view(-1, 1)
    node = Leaky(1.0, reset_delay=False, step_mode="m", store_v_seq=True)
    assert node(x_seq).flatten().tolist() == [1, 1, 1, 0, 0, 0]
    assert node.v_seq.flatten().tolist() == [2.5, 1.5, 0.5, 0.5, 0.5, 0.5]
    peer, mem, spikes = snntorch.Leaky(1.0, reset_delay=False).double(), torch.zeros(1).double(), []
    for x in x_seq:
        spike, mem = peer(x, mem)
        spikes.append(spike.item())
    assert spikes == [1, 1, 0, 0, 0, 0], "snnTorch has mended this: compare at once with any input"


def test_fires_at_threshold_where_snntorch_does_not():
    x = torch.tensor([[1.0]])
    assert Leaky(step_mode="m")(x).item() == 1.0
    assert snntorch.Leaky(0.9)(x[0], torch.zeros(1))[0].item() == 0.0
