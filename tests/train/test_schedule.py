"""The course of the learning rate against torch's own schedulers."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from snncore.errors import UnknownNameError
from snncore.train import SCHEDULES, OptimConfig
from snncore.train.schedule import (
    SPAN_THE_RUN,
    WARMUPS,
    learning_rate,
    scale_learning_rate,
    schedule_factor,
    set_learning_rate,
)

EPOCHS, STEPS = 23, 4
CONFIG = OptimConfig(lr=0.2, step_size=2, gamma=0.3, restart_epochs=3, restart_mult=2, warmup_decay=0.05)


def optimizer_of(lr=0.2):
    return SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def theirs(name, optimizer, epochs, c=CONFIG, per=1):
    """Return torch's scheduler, one of whose steps is 1 / per of an epoch."""
    return {
        "none": lambda: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * per),
        "step": lambda: lr_scheduler.StepLR(optimizer, step_size=c.step_size * per, gamma=c.gamma),
        "exp": lambda: lr_scheduler.ExponentialLR(optimizer, gamma=c.gamma ** (1 / per)),
        "warm_restarts": lambda: lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, T_0=c.restart_epochs * per, T_mult=c.restart_mult
        ),
    }[name]()


def their_warmup(name, optimizer, c, per=1):
    if name == "linear":
        return lr_scheduler.LinearLR(optimizer, start_factor=c.warmup_decay, total_iters=c.warmup_epochs * per)
    return lr_scheduler.ConstantLR(optimizer, factor=c.warmup_decay, total_iters=c.warmup_epochs * per)


def their_rates(scheduler, optimizer, count):
    rates = []
    for _ in range(count):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(config, epochs=EPOCHS, steps=STEPS):
    return [learning_rate(config, epochs, *at, steps) for at in itertools.product(range(epochs), range(steps))]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_that_of_torch(name):
    optimizer = optimizer_of()
    expected = their_rates(theirs(name, optimizer, EPOCHS), optimizer, EPOCHS)
    every_step = [rate for rate in expected for _ in range(STEPS)]
    assert our_rates(dataclasses.replace(CONFIG, scheduler=name)) == pytest.approx(every_step, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_by_step_too(name):
    optimizer = optimizer_of()
    expected = their_rates(theirs(name, optimizer, EPOCHS, per=STEPS), optimizer, EPOCHS * STEPS)
    found = our_rates(dataclasses.replace(CONFIG, scheduler=name, schedule_by="step"))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mult", [1, 2, 3])
@pytest.mark.parametrize("first", [1, 2, 5])
def test_warm_restarts_begin_where_torch_has_them_even_after_fractions(mult, first):
    config = dataclasses.replace(
        CONFIG, scheduler="warm_restarts", schedule_by="step", restart_epochs=first, restart_mult=mult
    )
    optimizer = optimizer_of()
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=mult)
    for epoch, step in itertools.product(range(60), range(STEPS)):
        if epoch + step:
            scheduler.step(epoch + step / STEPS)
        expected = scheduler.get_last_lr()[0]
        assert learning_rate(config, 60, epoch, step, STEPS) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_restart_is_where_a_logarithm_would_miss_it():
    config = dataclasses.replace(CONFIG, lr=1.0, scheduler="warm_restarts", restart_epochs=1, restart_mult=3)
    begins = [sum(3**i for i in range(n)) for n in range(8)]  # 121 = (3^5 - 1) / 2, and log(243, 3) is 4.999...
    assert [schedule_factor(config, 2000, epoch, 0, 1) for epoch in begins] == [1.0] * 8


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_warm_up_and_what_follows_are_torchs_in_sequence(warmup, name, by):
    config = dataclasses.replace(
        CONFIG, scheduler=name, warmup_epochs=5, warmup_method=warmup, warmup_by=by, schedule_by=by
    )
    per = STEPS if by == "step" else 1
    optimizer = optimizer_of()
    parts = [their_warmup(warmup, optimizer, config, per), theirs(name, optimizer, EPOCHS - 5, per=per)]
    sequence = lr_scheduler.SequentialLR(optimizer, parts, milestones=[5 * per])
    expected = their_rates(sequence, optimizer, EPOCHS * per)
    found = our_rates(config)[:: STEPS // per]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_by_default_the_warm_up_goes_by_step_and_the_schedule_by_epoch():
    config = OptimConfig(lr=1.0, scheduler="cosine", warmup_epochs=2)
    plain = dataclasses.replace(config, warmup_epochs=0)
    rates = our_rates(config, 9)
    assert rates[: 2 * STEPS] == pytest.approx([0.01 + 0.99 * i / (2 * STEPS) for i in range(2 * STEPS)])
    assert rates[2 * STEPS :: STEPS] == [learning_rate(plain, 7, epoch, 0, STEPS) for epoch in range(7)]
    assert len(set(rates[2 * STEPS :])) == 7
    assert all(rate > 0 for rate in rates)
    assert learning_rate(config, 1, 0, 1, STEPS) == pytest.approx(0.01 + 0.99 / 8)  # a run shorter than its warm-up


def test_only_the_named_schedules_depend_on_how_long_the_run_is():
    for name in SCHEDULES:
        config = dataclasses.replace(CONFIG, scheduler=name, warmup_epochs=1)
        short = our_rates(config, 10)
        assert (our_rates(config, 20)[: len(short)] != short) == (name in SPAN_THE_RUN)


def test_an_unknown_name_lists_the_names():
    with pytest.raises(UnknownNameError, match=r"cosine, exp, none, step, warm_restarts.*did you mean 'cosine'"):
        learning_rate(OptimConfig(scheduler="cosin"), 3, 0, 0, 1)
    with pytest.raises(UnknownNameError, match=r"optim.warmup_method: must be one of constant, linear"):
        learning_rate(OptimConfig(warmup_epochs=1, warmup_method="quick"), 3, 0, 0, 1)


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)])
def test_every_group_gets_the_rate(lr):
    optimizer = SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)], lr=lr)
    set_learning_rate(optimizer, 0.3)
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_groups_may_have_rates_of_their_own_which_a_file_keeps(kind):
    def make():
        return SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": kind(lr)} for lr in (0.1, 0.4)])

    optimizer = make()
    for factor in (0.5, 0.25):
        scale_learning_rate(optimizer, factor)
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.025, 0.1])
    other = make()
    other.load_state_dict(optimizer.state_dict())
    scale_learning_rate(other, 1.0)
    assert [float(group["lr"]) for group in other.param_groups] == pytest.approx([0.1, 0.4])
