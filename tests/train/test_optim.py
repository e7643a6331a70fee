"""Optimisers by name, and the course of the learning rate against torch's own schedulers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from snncore.errors import ConfigError, UnknownNameError
from snncore.train import OPTIMIZERS, SCHEDULES, OptimConfig
from snncore.train.optim import learning_rate, make_optimizer, set_learning_rate

EPOCHS, STEPS = 9, 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_takes_its_numbers(name):
    net = nn.Linear(2, 1)
    config = OptimConfig(name=name, lr=0.05, momentum=0.7, weight_decay=0.01)
    optimizer = make_optimizer(net.parameters(), config)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.05, 0.01)
    if isinstance(optimizer, SGD):
        assert (group["momentum"], group["nesterov"]) == (0.7, name == "nesterov")
    before = net.weight.detach().clone()
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, net.weight)


def test_an_unknown_name_lists_the_names():
    with pytest.raises(UnknownNameError, match=r"adam, adamw, nesterov, sgd.*did you mean 'adam'"):
        make_optimizer([], OptimConfig(name="adan"))
    with pytest.raises(UnknownNameError, match="cosine, none, step"):
        learning_rate(OptimConfig(scheduler="cosin"), 3, 0, 0, 1)
    with pytest.raises(ConfigError, match=r"optim.momentum: must be greater than 0 for nesterov"):
        make_optimizer([nn.Parameter(torch.zeros(1))], OptimConfig(name="nesterov", momentum=0.0))


def theirs(name, optimizer):
    return {
        "none": lambda: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS),
        "step": lambda: lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.3),
    }[name]()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_that_of_torch(name):
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = theirs(name, optimizer)
    config = OptimConfig(lr=0.2, scheduler=name, step_size=2, gamma=0.3)
    for epoch in range(EPOCHS):
        for step in range(STEPS):
            assert learning_rate(config, EPOCHS, epoch, step, STEPS) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_the_warm_up_rises_evenly_to_the_full_rate_and_the_schedule_begins_after_it():
    config = OptimConfig(lr=1.0, scheduler="cosine", warmup_epochs=2)
    plain = dataclasses.replace(config, warmup_epochs=0)
    rates = [learning_rate(config, EPOCHS, epoch, step, STEPS) for epoch in range(EPOCHS) for step in range(STEPS)]
    assert rates[: 2 * STEPS] == pytest.approx([(i + 1) / (2 * STEPS) for i in range(2 * STEPS)])
    assert rates[2 * STEPS :: STEPS] == [
        learning_rate(plain, EPOCHS - 2, epoch, 0, STEPS) for epoch in range(EPOCHS - 2)
    ]
    assert all(rate > 0 for rate in rates)
    assert learning_rate(config, 1, 0, 0, STEPS) == 1 / (2 * STEPS)  # a run shorter than its warm-up


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)])
def test_every_group_gets_the_rate(lr):
    optimizer = SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)], lr=lr)
    set_learning_rate(optimizer, 0.3)
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.3, 0.3])
