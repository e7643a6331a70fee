"""Nets and inputs of the counter's tests."""

from __future__ import annotations

import torch
from torch import nn

from snncore import functional, layer
from snncore.metric import SopCounter
from snncore.neuron import IFNode

T, B = 4, 3


def spiking(step_mode="m"):
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1), IFNode(), layer.Conv2d(4, 3, 3, stride=2, bias=False), IFNode(),
        layer.Flatten(), layer.Linear(27, 5), IFNode(),
    )  # fmt: skip
    functional.set_step_mode(net, step_mode)
    return net


def images(n=B, seed=1):
    return torch.rand(n, 2, 7, 7, generator=torch.Generator().manual_seed(seed)) * 2


def frames(n=B, seed=1):
    return (torch.rand(T, n, 2, 7, 7, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def counted(net, *inputs, **options):
    with SopCounter(net, **options) as sop:
        for x in inputs:
            net(x)
    return sop


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


def spikes(*shape, rate=0.5):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(3)) < rate).float()
