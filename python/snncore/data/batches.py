"""Batches of a set, in an order that can be taken up again anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..errors import ArgumentError
from ._check import checked_indices, checked_int
from ._draw import put_back, seed_all
from ._order import batch_seed, epoch_order
from ._reading import default_workers, read_batches
from .image_set import ImageSet
from .sample_set import SampleSet

__all__ = ["Batches", "Mix"]

# From (x, y) to (x, y): changes a whole batch, such as `snncore.data.transform.MixUp`.
Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_UNEVEN = ("pad", "drop", "exact", "given")


class Batches:
    """One epoch of batches.

    The order depends on (seed, epoch) and on the samples given, never on ``start``, so a run that stopped after k
    batches goes on with ``start=k`` and sees exactly the batches it would have seen; what is skipped is not read.
    Iterating twice gives the same batches twice. No global random state is changed.

    A batch of an `ImageSet` is gathered by one ``index_select`` on the device where the set lies: no worker processes,
    no Python per sample. A `SampleSet` is read by ``workers`` processes; what comes out does not depend on how many.

    Of several ranks, rank r of W takes every W-th sample of the order, from the r-th on: batch k of all ranks together
    is batch k of one process with W times the batch size. Where W does not divide the number N of samples:

    - ``uneven="pad"``, for training: the order is extended from its beginning, so each rank has ceil(N / W) samples and
      the same number of batches; up to W - 1 samples come twice in the epoch.
    - ``uneven="drop"``, for training: the last N % W samples of the order are left out; in another epoch those are
      others.
    - ``uneven="exact"``, for evaluation: each sample comes on one rank, once. A rank may have a sample, and so a batch,
      less than another, or none at all: do not average over batches, and do not communicate in each.

    A loop that divides the order itself takes ``uneven="given"``: ``indices`` are then the samples of this rank, in
    their order (with ``shuffle=False``), and ``rank`` only keeps the draws of ``mix`` apart. Transforms are seeded by
    (``seed``, ``epoch``) also without shuffling, so give those of the run.

    Args:
        dataset: an `ImageSet` or a `SampleSet`.
        batch_size: samples in a batch (of this rank), >= 1.
        shuffle: whether to draw an order; otherwise samples come as they lie, or as in ``indices``.
        seed: >= 0. Runs with other seeds see other orders, and other transforms of a sample.
        epoch: >= 0. Each epoch has its own order; (seed 0, epoch 1) and (seed 1, epoch 0) have nothing in common.
        start: batches of this epoch already consumed, 0..len(self). ``start == len(self)`` yields nothing.
        drop_last: leave out the last batch if it is short.
        indices: use only these places of ``dataset``, integers [M]; all by default.
        rank: of this process, 0..world_size-1.
        world_size: how many processes share the epoch. All must give the same other arguments.
        uneven: ``"pad"``, ``"drop"``, ``"exact"`` or ``"given"``; must be given if ``world_size`` is not 1.
        repeats: repeated augmentation (Hoffer et al. 2020, arXiv:1901.09335): each sample comes this often in a row,
            each time with other random transforms, and the epoch is cut to its usual length. With ranks, the copies
            go to different ones.
        mix: changes each batch after it was made, seeded from (seed, epoch, step, rank); see `snncore.data.transform`.
        workers: processes that read a `SampleSet`; None: none for fewer than 256 samples, otherwise as many as there
            are CPUs for this rank, at most 4. An `ImageSet` needs none, and has none.

    Yields:
        (x, y) on ``dataset.device``: torch.float32 [B, C, H, W], in [0, 1] unless a transform normalised it, and
        torch.int64 [B] (or what ``mix`` made of it).

    Raises:
        ArgumentError: an argument is outside what is said above, or ``drop_last`` or ``"drop"`` would leave nothing.
        DataError: on iteration, an image cannot be read.
    """

    def __init__(
        self,
        dataset: ImageSet | SampleSet,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        epoch: int = 0,
        start: int = 0,
        drop_last: bool = False,
        indices: Tensor | Sequence[int] | None = None,
        rank: int = 0,
        world_size: int = 1,
        uneven: str | None = None,
        repeats: int = 1,
        mix: Mix | None = None,
        workers: int | None = None,
    ) -> None:
        if not isinstance(dataset, (ImageSet, SampleSet)):
            raise ArgumentError(
                f"Batches.dataset: must be an ImageSet or a SampleSet, got {type(dataset).__name__}; take one part of "
                "data.load(...)"
            )
        self.dataset = dataset
        self.batch_size = checked_int(batch_size, "Batches.batch_size", 1)
        self.shuffle = shuffle
        self.seed = checked_int(seed, "Batches.seed", 0)
        self.epoch = checked_int(epoch, "Batches.epoch", 0)
        self.drop_last = drop_last
        self.world_size = checked_int(world_size, "Batches.world_size", 1)
        self.rank = checked_int(rank, "Batches.rank", 0, self.world_size - 1)
        self.uneven = self._checked_uneven(uneven, indices)
        self.repeats = checked_int(repeats, "Batches.repeats", 1)
        self.mix = mix
        self.order, self._copies = self._order(indices)
        n = self.order.shape[0]
        self._length = n // self.batch_size if drop_last else -(-n // self.batch_size)
        if n and self._length == 0:
            raise ArgumentError(
                f"Batches.batch_size: must be at most the {n} samples when drop_last is set, got {batch_size}; "
                "lower it or keep the short batch"
            )
        self.start = checked_int(start, "Batches.start", 0, self._length)
        rest = n - self.start * self.batch_size
        self.workers = default_workers(rest) if workers is None else checked_int(workers, "Batches.workers", 0)

    def _checked_uneven(self, uneven: str | None, indices: object) -> str:
        if uneven is None and self.world_size == 1:
            return "exact"
        if uneven not in _UNEVEN:
            raise ArgumentError(
                f"Batches.uneven: must be one of {', '.join(_UNEVEN)} for {self.world_size} ranks, got {uneven!r}; "
                "use pad for training and exact for evaluation"
            )
        if uneven == "given" and indices is None:
            raise ArgumentError(
                "Batches.indices: must be those of this rank when uneven is 'given', got None; give them"
            )
        return uneven

    def _order(self, indices: Tensor | Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """Places of the dataset in the order of this epoch and rank, int64 [M], and which copy each is, int64 [M]."""
        n = len(self.dataset)
        places = torch.arange(n) if indices is None else checked_indices(indices, n, "Batches.indices")
        m = places.shape[0]
        if self.shuffle:
            places = places[torch.from_numpy(epoch_order(m, self.seed, self.epoch))]
        places = places.repeat_interleave(self.repeats)[:m]
        copies = torch.arange(m) % self.repeats
        total = {"pad": -(-m // self.world_size), "drop": m // self.world_size}.get(self.uneven)
        if total == 0:
            raise ArgumentError(
                f"Batches.world_size: must be at most the {m} samples when uneven is 'drop', got {self.world_size}; "
                "use fewer ranks or pad"
            )
        if self.uneven == "given":
            return places.to(self._order_device), copies
        end = m if total is None else total * self.world_size
        mine = torch.arange(self.rank, max(end, self.rank), self.world_size) % m
        return places[mine].to(self._order_device), copies[mine]

    @property
    def _order_device(self) -> torch.device:
        """Where an `ImageSet` is gathered; files are read from the CPU."""
        return self.dataset.device if isinstance(self.dataset, ImageSet) else torch.device("cpu")

    @property
    def samples(self) -> int:
        """Samples of this rank in the whole epoch, whatever ``start`` is."""
        return min(self.order.shape[0], self._length * self.batch_size)

    def __len__(self) -> int:
        """Batches of this rank in the whole epoch, whatever ``start`` is."""
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        data = self.dataset
        batches = self._gathered(data) if isinstance(data, ImageSet) else self._read(data)
        if self.mix is None:
            yield from batches
            return
        for step, (x, y) in enumerate(batches, self.start):
            with put_back():
                seed_all(batch_seed(self.seed, self.epoch, step, self.rank))
                mixed = self.mix(x, y)
            yield mixed

    def _slices(self) -> list[slice]:
        size = self.batch_size
        return [slice(k * size, (k + 1) * size) for k in range(self.start, self._length)]

    def _gathered(self, data: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
        for part in self._slices():
            places = self.order[part]
            x = data.images.index_select(0, places).to(torch.float32).div_(data.scale)
            yield x, data.labels.index_select(0, places)

    def _read(self, data: SampleSet) -> Iterator[tuple[Tensor, Tensor]]:
        both = torch.stack((self.order, self._copies)).numpy()
        plan = [both[:, part] for part in self._slices()]
        return read_batches(data, plan, self.seed, self.epoch, self.workers)
