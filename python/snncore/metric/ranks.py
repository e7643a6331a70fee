"""Sums over the processes of a distributed run; without one, what this process has."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gathered", "summed"]


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def summed(count: Tensor) -> Tensor:
    """Return the sum of ``count`` (int64, any shape, the same on every rank) over all ranks; ``count`` stays as it is.

    Whole numbers, so exact and the same for any number of ranks. Collective: every rank has to call it.
    """
    if not _distributed():
        return count
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")  # nccl sums nothing that is not on a GPU
    total = count.to(device, copy=True)
    dist.all_reduce(total)
    return total.to(count.device)


def gathered(mine: Any) -> list[Any]:
    """Return what every rank passed, in the order of the ranks (any picklable object). Collective."""
    if not _distributed():
        return [mine]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return everyone
