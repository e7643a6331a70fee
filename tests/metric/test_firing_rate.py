"""Firing rates: exact whole numbers, under the module's names, and nothing left on the net."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snncore import functional
from snncore.encoding import direct
from snncore.errors import StateError
from snncore.metric import FiringRate
from snncore.neuron import IFNode, LIFNode

T, B = 5, 3


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), IFNode(step_mode="m"), nn.Sequential(nn.Linear(6, 2), LIFNode(step_mode="m")))


def inputs(n=B):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1)) * 4


def test_the_rate_is_the_share_of_neuron_steps_that_fired():
    model, x = net(), inputs()
    with FiringRate(model) as rate:
        last = model(direct(x, T))
    hidden = model[1](model[0](direct(x, T)))
    assert rate.counts() == {
        "1": (int(hidden.sum()), T * B * 6),
        "2.1": (int(last.sum()), T * B * 2),
    }
    assert rate.compute() == {"1": float(hidden.detach().double().mean()), "2.1": float(last.detach().double().mean())}
    assert 0 < rate.compute()["1"] < 1


def test_batches_add_up_exactly_and_both_step_modes_agree():
    model, x = net(), inputs(7)
    with FiringRate(model) as whole:
        model(direct(x, T))
    with FiringRate(model) as parts:
        for part in x.split(2):
            model(direct(part, T))
    functional.set_step_mode(model, "s")
    with FiringRate(model) as single:
        for _ in range(T):
            model(x)
    assert whole.counts() == parts.counts() == single.counts()


def test_the_hooks_go_even_after_an_error():
    model = net()
    with pytest.raises(RuntimeError), FiringRate(model) as rate:
        model(direct(inputs(), T))
        before = rate.counts()
        raise RuntimeError
    assert not any(module._forward_hooks for module in model.modules())
    model(direct(inputs(), T))
    assert rate.counts() == before


def test_graded_and_negative_spikes_count_as_spikes():
    class Graded(IFNode):
        def forward(self, x):
            return super().forward(x) * torch.tensor([1.0, -1.0, 3.0])

    model = Graded(step_mode="m")
    with FiringRate(model) as rate:
        model(torch.full((2, 4, 3), 2.0))
    assert rate.counts() == {"": (24, 24)}


def test_counts_are_exact_where_a_float_would_not_be():
    model = IFNode(step_mode="m")
    with FiringRate(model) as rate:
        model(torch.full((1, 1, 2**25 + 1), 2.0, dtype=torch.bfloat16))
    assert rate.counts() == {"": (2**25 + 1, 2**25 + 1)}


def test_entering_twice_at_once_is_refused_and_again_later_adds():
    model = net()
    rate = FiringRate(model)
    assert rate.compute() == {}
    with rate:
        model(direct(inputs(), T))
        with pytest.raises(StateError, match="twice"), rate:
            pass
    once = rate.counts()["1"]
    with rate:
        model(direct(inputs(), T))
    assert rate.counts()["1"] == (2 * once[0], 2 * once[1])
