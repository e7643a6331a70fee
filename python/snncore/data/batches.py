"""Batches of a set in memory, in an order that can be taken up again anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..errors import ArgumentError
from ._order import epoch_order
from .image_set import ImageSet, checked_indices, checked_int

__all__ = ["Batches"]


class Batches:
    """One epoch of batches.

    The order depends on (seed, epoch) and on the samples given, never on ``start``, so a run that stopped after k
    batches goes on with ``start=k`` and sees exactly the batches it would have seen. Iterating twice gives the same
    batches twice. A batch is gathered by one ``index_select`` from the whole set in memory, on the device where the
    set lies: no worker processes, no Python per sample.

    Args:
        dataset: the set.
        batch_size: samples in a batch, >= 1.
        shuffle: whether to draw an order; otherwise samples come as they lie, or as in ``indices``.
        seed: >= 0. Runs with other seeds see other orders.
        epoch: >= 0. Each epoch has its own order; (seed 0, epoch 1) and (seed 1, epoch 0) have nothing in common.
        start: batches of this epoch already consumed, 0..len(self). ``start == len(self)`` yields nothing.
        drop_last: leave out the last batch if it is short.
        indices: use only these places of ``dataset``, integers [M]; all by default.

    Yields:
        (x, y): torch.float32 [B, C, H, W] in [0, 1], and torch.int64 [B].

    Raises:
        ArgumentError: an argument is outside what is said above, or ``drop_last`` would leave no batch at all.
    """

    def __init__(
        self,
        dataset: ImageSet,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        epoch: int = 0,
        start: int = 0,
        drop_last: bool = False,
        indices: Tensor | Sequence[int] | None = None,
    ) -> None:
        if not isinstance(dataset, ImageSet):
            raise ArgumentError(
                f"Batches.dataset: must be an ImageSet, got {type(dataset).__name__}; take one part of data.load(...)"
            )
        self.dataset = dataset
        self.batch_size = checked_int(batch_size, "Batches.batch_size", 1)
        self.shuffle = shuffle
        self.seed = checked_int(seed, "Batches.seed", 0)
        self.epoch = checked_int(epoch, "Batches.epoch", 0)
        self.drop_last = drop_last
        self.order = self._order(indices)
        n = self.order.shape[0]
        self._length = n // self.batch_size if drop_last else -(-n // self.batch_size)
        if self._length == 0:
            raise ArgumentError(
                f"Batches.batch_size: must be at most the {n} samples when drop_last is set, got {batch_size}; "
                "lower it or keep the short batch"
            )
        self.start = checked_int(start, "Batches.start", 0, self._length)

    def _order(self, indices: Tensor | Sequence[int] | None) -> Tensor:
        """Places of the dataset in the order of this epoch, int64 [M] (a later rank takes a slice of it)."""
        n = len(self.dataset)
        places = torch.arange(n) if indices is None else checked_indices(indices, n, "Batches.indices")
        if self.shuffle:
            places = places[torch.from_numpy(epoch_order(places.shape[0], self.seed, self.epoch))]
        return places.to(self.dataset.images.device)

    def __len__(self) -> int:
        """Batches in the whole epoch, whatever ``start`` is."""
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels, scale = self.dataset.images, self.dataset.labels, self.dataset.scale
        for k in range(self.start, self._length):
            places = self.order[k * self.batch_size : (k + 1) * self.batch_size]
            yield images.index_select(0, places).to(torch.float32).div_(scale), labels.index_select(0, places)
