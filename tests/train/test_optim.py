"""Optimisers by name, and which parameter is decayed how much."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.optim import SGD

from snncore import layer, neuron
from snncore.errors import ArgumentError, ConfigError, UnknownNameError
from snncore.train import OPTIMIZERS, OptimConfig
from snncore.train.optim import make_optimizer, parameter_groups

TORCH = {  # name -> torch's optimiser with the numbers of CONFIG
    "sgd": lambda p: SGD(p, lr=0.05, momentum=0.7, weight_decay=0.01),
    "nesterov": lambda p: SGD(p, lr=0.05, momentum=0.7, weight_decay=0.01, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.05, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.7, weight_decay=0.01, eps=0.0316, alpha=0.9),
}
CONFIG = OptimConfig(lr=0.05, momentum=0.7, weight_decay=0.01)


def after_steps(make):
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = make(net)
    for i in range(4):
        optimizer.zero_grad()
        net(torch.full((1, 3), 0.3 + i)).square().sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_is_that_of_torch_with_these_numbers(name):
    config = dataclasses.replace(CONFIG, name=name)
    expected = after_steps(lambda net: TORCH[name](net.parameters()))
    for make in (
        lambda net: make_optimizer(net.parameters(), config),
        lambda net: make_optimizer(parameter_groups(net, config), config),
    ):
        for ours, theirs in zip(after_steps(make), expected, strict=True):
            assert torch.equal(ours, theirs)


def test_there_is_no_lamb_because_torch_has_none():
    assert not hasattr(torch.optim, "LAMB") and not hasattr(torch.optim, "Lamb"), "offer it"


def test_an_unknown_name_lists_the_names():
    with pytest.raises(UnknownNameError, match=r"adam, adamax, adamw, nesterov, rmsprop, sgd.*did you mean 'adam'"):
        make_optimizer([], OptimConfig(name="adan"))
    with pytest.raises(ConfigError, match=r"optim.momentum: must be greater than 0 for nesterov"):
        make_optimizer([nn.Parameter(torch.zeros(1))], OptimConfig(name="nesterov", momentum=0.0))


def parts():
    """Return a net with every kind of parameter, and the kind that each has when all four are told apart."""
    net = nn.ModuleDict(
        {
            "conv": layer.Conv2d(2, 3, 1),
            "norm": layer.BatchNorm2d(3),
            "group": nn.GroupNorm(1, 3),
            "plain": nn.LayerNorm(3),
            "root": nn.RMSNorm(3),
            "temporal": layer.TemporalEffectiveBatchNorm2d(2, 3),
            "plif": neuron.ParametricLIFNode(),
            "lif": neuron.LIFNode(v_threshold=nn.Parameter(torch.ones(3))),
            "psn": neuron.PSN(4),
            "attention": nn.MultiheadAttention(4, 2),
            "recurrent": layer.LinearRecurrent(neuron.ParametricLIFNode(), nn.Linear(3, 3)),
        }
    )
    kinds = {}
    for name, _ in net.named_parameters():
        first = name.split(".")[0]
        if first in ("norm", "group", "plain", "root", "temporal"):
            kinds[name] = "norm"
        elif first in ("plif", "lif", "psn") or name.endswith((".w", "neuron.w")):
            kinds[name] = "neuron"
        else:
            kinds[name] = "bias" if name.endswith("bias") else "weight"
    assert set(kinds.values()) == {"weight", "norm", "neuron", "bias"}
    assert sum(kind == "neuron" for kind in kinds.values()) == 5
    return net, kinds


DECAYS = {"norm": 0.1, "bias": 0.2, "neuron": 0.3}


@pytest.mark.parametrize("asked", [(), ("norm",), ("bias",), ("neuron",), ("norm", "bias", "neuron")])
def test_each_kind_is_decayed_as_asked(asked):
    net, kinds = parts()
    config = OptimConfig(weight_decay=0.5, **{f"{kind}_weight_decay": DECAYS[kind] for kind in asked})
    groups = parameter_groups(net, config)
    found = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        kind = kinds[name]
        if kind == "norm" and "norm" not in asked and name.endswith("bias"):
            kind = "bias"
        assert found[id(parameter)] == (DECAYS[kind] if kind in asked else 0.5), name
    assert [group["kind"] for group in groups] == ["weight", *(k for k in ("neuron", "norm", "bias") if k in asked)]


def test_a_decay_of_0_is_not_none():
    net, _ = parts()
    decays = dict.fromkeys(("norm_weight_decay", "bias_weight_decay", "neuron_weight_decay"), 0.0)
    groups = parameter_groups(net, OptimConfig(weight_decay=0.5, **decays))
    assert {group["kind"]: group["weight_decay"] for group in groups} == {
        "weight": 0.5, "neuron": 0.0, "norm": 0.0, "bias": 0.0,
    }  # fmt: skip


def test_one_group_keeps_the_order_and_a_shared_or_frozen_parameter_is_taken_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    net[0].bias.requires_grad_(False)
    (group,) = parameter_groups(net, OptimConfig())
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters()]
    with pytest.raises(ArgumentError, match=r"parameter_groups.net: must have parameters, got ReLU"):
        parameter_groups(nn.ReLU(), OptimConfig())


def test_groups_come_back_from_a_file(tmp_path):
    net, _ = parts()
    config = OptimConfig(weight_decay=0.5, norm_weight_decay=0.0)
    torch.save(make_optimizer(parameter_groups(net, config), config).state_dict(), tmp_path / "o.pt")
    other = make_optimizer(parameter_groups(parts()[0], config), config)
    other.load_state_dict(torch.load(tmp_path / "o.pt", weights_only=True))
    assert [(g["kind"], g["weight_decay"]) for g in other.param_groups] == [("weight", 0.5), ("norm", 0.0)]
