"""Noise on the input: while training only, reproducible, in either engine."""

from __future__ import annotations

import pytest
import torch

from neuron.cases import evaluate, inputs
from snncore.neuron import NEURONS, IFNode, LIFNode, NonSpikingIFNode

NOISE = 0.5
EVERY = pytest.mark.parametrize("name", NEURONS)


@EVERY
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_is_added_to_x_while_training(name, engine):
    torch.manual_seed(1)
    node = NEURONS[name](step_mode="m", engine=engine, noise=NOISE).double()
    x_seq = inputs(torch.float64)
    torch.manual_seed(7)
    got = evaluate(node, x_seq)
    torch.manual_seed(7)
    again = evaluate(node, x_seq)
    torch.manual_seed(7)
    noisy = x_seq + NOISE * torch.randn_like(x_seq)
    node.noise = 0.0
    want = evaluate(node, noisy)
    without = evaluate(node, x_seq)
    assert any(not torch.equal(want[key], without[key]) for key in ("spike_seq", "v_seq"))
    for key in want:
        assert torch.equal(got[key], again[key]) and torch.equal(got[key], want[key]), key


@EVERY
def test_is_off_in_eval(name):
    node = NEURONS[name](step_mode="m", noise=NOISE).eval()
    x_seq = inputs(torch.float32)
    before = torch.get_rng_state()
    got = node(x_seq)
    assert torch.equal(before, torch.get_rng_state())
    node.noise = 0.0
    assert torch.equal(node.train()(x_seq), got)
    assert torch.equal(before, torch.get_rng_state())


def test_has_the_standard_deviation():
    torch.manual_seed(0)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        v_seq = NonSpikingIFNode(step_mode="m", noise=NOISE)(torch.zeros(1, 200_000, dtype=dtype))
        assert abs(float(v_seq.mean())) < 5 * NOISE / 200_000**0.5
        assert abs(float(v_seq.std()) / NOISE - 1) < 0.01


def test_runs_and_single_steps_are_noisy_too():
    x_seq = torch.zeros(50, 40)
    for node in (LIFNode(noise=5.0), LIFNode(noise=5.0, step_mode="m")):
        assert node.run(x_seq)[0].mean() > 0.1
    node = LIFNode(noise=5.0, engine="native")
    assert torch.stack([node(x) for x in x_seq]).mean() > 0.1


def test_higher_derivatives_see_the_same_noise():
    """The definition that differentiates a second time gets the noisy x, not one of its own."""
    node = LIFNode(step_mode="m", engine="native", noise=NOISE)
    x = inputs(torch.float64).requires_grad_()
    torch.manual_seed(3)
    (first,) = torch.autograd.grad(node(x).sum(), x)
    torch.manual_seed(3)
    (second,) = torch.autograd.grad(node(x).sum(), x, create_graph=True)
    torch.testing.assert_close(first, second.detach())


def test_strides_and_repr():
    torch.manual_seed(0)
    x = torch.rand(4, 1, 3).expand(4, 5, 3)
    node = IFNode(step_mode="m", noise=NOISE)
    spike_seq = node(x)
    assert not all(torch.equal(spike_seq[:, 0], spike_seq[:, k]) for k in range(1, 5))  # each lane its own
    assert "noise=0.5" in repr(node) and "noise" not in repr(IFNode())
