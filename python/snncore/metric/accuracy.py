"""Accuracy by spike count: the class whose output neuron fires most often."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, StateError

__all__ = ["Accuracy", "hits"]


def hits(spike_seq: Tensor, label: Tensor) -> Tensor:
    """Return how many samples are classified rightly, int64 [], on their device (so without waiting for it).

    Args:
        spike_seq: [T, B, C], any floating dtype; counts are summed in float32, exact up to 2^24 spikes.
        label: int64 [B].

    The class is the first of those with the highest count: a net that never fires says class 0.

    Raises:
        ArgumentError: the shapes do not fit.
    """
    if spike_seq.dim() != 3 or label.shape != spike_seq.shape[1:2]:
        raise ArgumentError(
            f"hits.spike_seq: must be [T, B, C] with labels [B], got {list(spike_seq.shape)} and {list(label.shape)}; "
            "pass the net's output as it is"
        )
    return (spike_seq.detach().sum(0, dtype=torch.float32).argmax(1) == label).sum()


class Accuracy:
    """Counts hits over many batches, exactly.

    Example::

        accuracy = Accuracy()
        for x, label in batches:
            accuracy.add(net(direct(x, T)), label)
        accuracy.compute()  # in [0, 1]
    """

    def __init__(self) -> None:
        self.count = 0
        self._hits: Tensor | int = 0

    def add(self, spike_seq: Tensor, label: Tensor) -> None:
        """Count one batch: spike_seq [T, B, C] and its labels [B]."""
        self._hits = hits(spike_seq, label) + self._hits
        self.count += label.shape[0]

    @property
    def correct(self) -> int:
        """Samples classified rightly so far."""
        return int(self._hits)

    def compute(self) -> float:
        """Return the share of samples classified rightly.

        Raises:
            StateError: no sample was added.
        """
        if self.count == 0:
            raise StateError("Accuracy.compute: must follow at least one add, got none; add a batch first")
        return self.correct / self.count
