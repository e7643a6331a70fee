"""What is done to whole nets: step mode, reset, detach."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snncore import functional, layer
from snncore.errors import ArgumentError
from snncore.neuron import IFNode, Leaky


class Foreign(nn.Module):
    """Has methods of the same names that mean something else."""

    def reset(self, hard):
        raise AssertionError("a foreign reset was called")

    def detach(self):
        raise AssertionError("a foreign detach was called")

    def forward(self, x):
        return x


class Own(layer.StatefulModule):
    """A stateful module of a user."""

    def __init__(self):
        super().__init__()
        self.total = None

    def reset(self):
        self.total = None

    def detach(self):
        self.total = self.total.detach()

    def forward(self, x):
        self.total = x if self.total is None else self.total + x
        return self.total


def net():
    torch.manual_seed(0)
    inner = nn.Sequential(layer.Linear(4, 3), Leaky(), Foreign(), Own())
    model = nn.Sequential(layer.Linear(5, 4), IFNode(), layer.Dropout(), inner)
    for p in model.parameters():
        p.data.abs_()  # so that neurons fire
    return model


def test_set_step_mode_reaches_every_module_that_has_one():
    model = net()
    for mode in ("m", "s", "m"):
        assert functional.set_step_mode(model, mode) is None
        modes = [m.step_mode for m in model.modules() if hasattr(m, "step_mode")]
        assert modes == [mode] * 5
    lone = layer.Linear(2, 2)
    functional.set_step_mode(lone, "m")
    assert lone.step_mode == "m"


@pytest.mark.parametrize("bad", ["M", "multi", "", None, 1])
def test_set_step_mode_refuses_other_modes_and_changes_nothing(bad):
    model = net()
    with pytest.raises(ArgumentError, match=r"set_step_mode\.step_mode: must be 's' .* or 'm' .*got "):
        functional.set_step_mode(model, bad)
    assert {m.step_mode for m in model.modules() if hasattr(m, "step_mode")} == {"s"}


def test_reset_makes_the_next_sequence_like_the_first():
    model = net().eval()
    x_seq = torch.rand(4, 2, 5) * 3
    first = torch.stack([model(x) for x in x_seq])
    assert not torch.equal(first, torch.stack([model(x) for x in x_seq]))
    assert functional.reset_net(model) is None
    assert torch.equal(first, torch.stack([model(x) for x in x_seq]))


def test_reset_draws_a_new_mask_and_takes_another_batch_size():
    model = net()
    model(torch.rand(2, 5))
    mask = model[2].keep
    functional.reset_net(model)
    assert model[2].keep is None
    model(torch.rand(3, 5))
    assert model[2].keep.shape == (3, 4)
    assert mask.shape == (2, 4)


def test_modules_added_after_the_first_reset_are_reset_too():
    model = net()
    functional.reset_net(model)
    model.append(IFNode())
    model[1] = IFNode()
    x = torch.rand(2, 5)
    model(x)
    assert model[1].state is not None
    assert model[4].state is not None
    functional.reset_net(model)
    assert model[1].state is None
    assert model[4].state is None


def test_detach_keeps_values_and_cuts_the_graph():
    model = net()
    x = torch.rand(2, 5)
    model(x).sum().backward()
    before = model[1].v.clone()
    assert functional.detach_net(model) is None
    assert torch.equal(model[1].v, before)
    model(x).sum().backward()
    with pytest.raises(RuntimeError, match=r"second time|already freed"):  # what happens without it
        model(x).sum().backward()


def test_only_the_given_net_is_touched():
    ours, other = net(), net()
    for model in (ours, other):
        model(torch.rand(2, 5))
    functional.reset_net(ours)
    assert other[1].state is not None


@pytest.mark.parametrize("plain", [nn.Linear(2, 2), nn.Sequential(), Foreign()])
def test_nets_without_state_are_fine(plain):
    functional.reset_net(plain)
    functional.detach_net(plain)
    functional.set_step_mode(plain, "m")
    assert not hasattr(plain, "step_mode")
