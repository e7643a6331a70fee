"""Bounded gradients, and those that are not finite."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from snncore.errors import ArgumentError, NumericError
from snncore.train import clip_gradients, non_finite


def net_with_gradients(scale=1.0):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(1, 1))  # the last has no gradient
    net[1](net[0](torch.rand(5, 3))).square().sum().mul(scale).backward()
    return net


def gradients(net):
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def norm_of(net):
    return math.sqrt(sum(float(g.double().square().sum()) for g in gradients(net)))


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 1e6])
def test_the_norm_is_bounded_as_torch_does_it(max_norm):
    ours, theirs = net_with_gradients(), net_with_gradients()
    before = norm_of(ours)
    found = clip_gradients(ours, max_norm)
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    assert torch.equal(found, expected) and float(found) == pytest.approx(before)
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(theirs), strict=True))
    assert norm_of(ours) == pytest.approx(min(before, max_norm), rel=1e-4)


def test_elements_are_bounded_before_the_norm():
    net = net_with_gradients()
    clip_gradients(net, max_value=0.5)
    assert max(float(g.abs().max()) for g in gradients(net)) == 0.5
    both = net_with_gradients()
    found = clip_gradients(both, 0.1, 0.5, check=True)
    assert float(found) == pytest.approx(norm_of(net)) and norm_of(both) == pytest.approx(0.1, rel=1e-4)
    ratio = torch.cat([g.flatten() for g in gradients(both)]) / torch.cat([g.flatten() for g in gradients(net)])
    assert torch.allclose(ratio, ratio[0].expand_as(ratio))


def test_nothing_asked_is_nothing_done():
    net = net_with_gradients()
    before = gradients(net)
    assert clip_gradients(net) is None
    assert all(torch.equal(a, b) for a, b in zip(gradients(net), before, strict=True))
    assert float(clip_gradients(net, check=True)) == pytest.approx(norm_of(net))
    assert clip_gradients(nn.Linear(1, 1), 1.0, 1.0, check=True) is None


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_not_finite_is_named_before_anything_changes(value):
    net = net_with_gradients()
    net[1].weight.grad[0, 1] = value
    net[1].bias.grad.fill_(value)
    before = copy.deepcopy(gradients(net))
    assert non_finite(net) == [("1.weight", 1, 8), ("1.bias", 2, 2)]
    with pytest.raises(NumericError, match=r"got inf or nan in 1.weight \(1 of 8\), 1.bias \(2 of 2\); lower the lear"):
        clip_gradients(net, 1.0, 1.0, check=True)
    for a, b in zip(gradients(net), before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_without_the_check_a_scaler_can_still_see_it():
    net = net_with_gradients()
    net[1].weight.grad[0, 1] = math.inf
    assert not math.isfinite(float(clip_gradients(net, 1.0)))
    assert non_finite(net)


def test_what_was_not_finite_before_is_told_too():
    net = net_with_gradients()
    net[0].weight.data[0, 0] = math.nan
    net[0].weight.grad[0, 0] = math.nan
    with pytest.raises(NumericError, match=r"not finite already: 0.weight; lower"):
        clip_gradients(net, check=True)


def test_a_norm_that_overflows_is_told_as_such():
    net = net_with_gradients()
    net[0].bias.grad.fill_(2e38)
    assert non_finite(net) == []
    with pytest.raises(NumericError, match=r"elements up to 2e\+38 \(in 0.bias\), whose squares overflow"):
        clip_gradients(net, check=True)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_a_bound_is_greater_than_0(bound):
    for name in ("max_norm", "max_value"):
        with pytest.raises(ArgumentError, match=rf"clip_gradients.{name}: must be greater than 0"):
            clip_gradients(net_with_gradients(), **{name: bound})
