"""How many elements are not zero."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.counters import COLUMNS, spike_count

__all__ = ["nonzero"]

_NNZ = COLUMNS.index("nnz")


def nonzero(x: Tensor) -> Tensor:
    """Return how many elements of every row of x [t, *] are not 0: int64 [t], on its device, without waiting for it."""
    if x.device.type == "cpu":  # torch's own count took 3 to 20 times as long on one thread
        return spike_count(x.contiguous(), x.shape[0])[:, _NNZ]
    return torch.count_nonzero(x.flatten(1), dim=1)
