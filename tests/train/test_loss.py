"""Losses by their definitions, and against snnTorch where it is installed."""

from __future__ import annotations

import math

import pytest
import torch

from snncore.train import LOSSES

T, B, C = 5, 7, 4


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    spike_seq = (torch.rand(T, B, C, generator=generator) < 0.4).to(dtype)
    return spike_seq, torch.randint(C, (B,), generator=generator)


def log_softmax(logits):
    total = math.log(sum(math.exp(v) for v in logits))
    return [v - total for v in logits]


def by_definition(name, spikes, labels):
    total = 0.0
    for b, label in enumerate(labels):
        counts = [sum(spikes[t][b][c] for t in range(T)) for c in range(C)]
        if name == "mse_rate":
            total += sum((counts[c] / T - (c == label)) ** 2 for c in range(C)) / C
        elif name == "ce_count":
            total -= log_softmax(counts)[label]
        elif name == "ce_rate":
            total -= sum(log_softmax(spikes[t][b])[label] for t in range(T)) / T
        else:
            pytest.fail(f"{name} has no definition here: add one")
    return total / B


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_definition(name, dtype):
    spike_seq, label = inputs(dtype)
    found = LOSSES[name](spike_seq.requires_grad_(), label)
    assert found.shape == () and found.dtype == torch.float32
    assert found.item() == pytest.approx(by_definition(name, spike_seq.tolist(), label.tolist()), rel=1e-5)
    found.backward()
    assert spike_seq.grad.shape == spike_seq.shape and spike_seq.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "theirs"), [("ce_rate", "ce_rate_loss"), ("ce_count", "ce_count_loss")])
def test_snntorch_says_the_same(name, theirs):
    functional = pytest.importorskip("snntorch.functional", reason="snntorch is not installed")
    spike_seq, label = inputs()
    expected = getattr(functional, theirs)()(spike_seq, label)
    torch.testing.assert_close(LOSSES[name](spike_seq, label), expected.squeeze(), rtol=1e-6, atol=0)
