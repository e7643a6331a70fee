"""Losses on the spikes of the last layer.

A loss takes spike_seq [T, B, C] (any floating dtype) and the labels [B] (int64) and returns a float32 scalar, the mean
over the batch. The definitions are those of the SpikingJelly tutorials (``mse_rate``) and of snnTorch (the others: its
``ce_rate_loss`` and ``ce_count_loss``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LOSSES", "Loss", "ce_count", "ce_rate", "mse_rate"]

Loss = Callable[[Tensor, Tensor], Tensor]


def mse_rate(spike_seq: Tensor, label: Tensor) -> Tensor:
    """Mean squared difference between the firing rates and the one-hot labels."""
    rate = spike_seq.mean(0, dtype=torch.float32)
    return F.mse_loss(rate, F.one_hot(label, rate.shape[1]).to(rate.dtype))


def ce_rate(spike_seq: Tensor, label: Tensor) -> Tensor:
    """Cross entropy with the spikes of one step as logits, averaged over the steps."""
    T = spike_seq.shape[0]
    return F.cross_entropy(spike_seq.flatten(0, 1).float(), label.repeat(T))


def ce_count(spike_seq: Tensor, label: Tensor) -> Tensor:
    """Cross entropy with the spike counts over all steps as logits."""
    return F.cross_entropy(spike_seq.sum(0, dtype=torch.float32), label)


LOSSES: dict[str, Loss] = {
    "mse_rate": mse_rate,
    "ce_rate": ce_rate,
    "ce_count": ce_count,
}
