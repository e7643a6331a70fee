"""Synaptic operations and energy of a trained net on a part of a set."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..data import Batches, Dataset
from ..metric.sop import EnergyCost, MemoryCost, Report, SopCounter
from .config import Config
from .evaluate import forward

__all__ = ["count_operations", "in_words", "spread"]


def spread(samples: int, dataset: Dataset) -> Tensor:
    """Return the places of at most ``samples`` samples, evenly over ``dataset`` (which may be sorted), int64 [n]."""
    there = len(dataset)
    n = min(samples, there)
    return torch.arange(n) * there // n


def in_words(dataset: Dataset, samples: int) -> str:
    """Return which ``samples`` of ``dataset`` `spread` takes."""
    there = len(dataset)
    return (
        f"{dataset.name} {dataset.split} ({f'{samples:,} of {there:,}, evenly spread' if samples < there else 'all'})"
    )


@torch.no_grad()
def count_operations(
    net: nn.Module,
    dataset: Dataset,
    config: Config,
    *,
    cost: str | EnergyCost | None = None,
    memory: str | MemoryCost | None = None,
    each_batch: Callable[[], object] = lambda: None,
) -> Report:
    """Run ``net``, in evaluation mode, on ``config.energy.samples`` samples of ``dataset`` and count its operations.

    Args:
        net: takes x_seq [T, B, C, H, W].
        dataset: the samples are spread evenly over it.
        config: T, batch size, autocast, and everything in ``config.energy``.
        cost: instead of ``config.energy.cost``.
        memory: instead of ``config.energy.memory``.
        each_batch: called after every batch.

    Raises:
        StateError: nothing in the net could be counted.
    """
    c = config.energy
    net.eval()
    places = spread(c.samples, dataset)
    with SopCounter(net) as sop:
        data = config.data
        for x, _ in Batches(dataset, data.batch_size, shuffle=False, seed=0, indices=places, workers=data.workers):
            forward(net, x, config)
            each_batch()
    return sop.report(
        c.mode,
        across_ranks=False,  # of several ranks one counts
        first_layer=c.first_layer,
        dataset=in_words(dataset, len(places)),
        cost=c.cost if cost is None else cost,
        memory=c.memory if memory is None else memory,
    )
