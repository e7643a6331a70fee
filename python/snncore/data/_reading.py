"""Batches of a set that is read sample by sample, by worker processes if there is enough to do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import ArgumentError, DataError, SnncoreError
from ._draw import put_back
from .sample_set import SampleSet

__all__ = ["default_workers", "read_batches"]

_MOST_WORKERS = 4
_FEW_SAMPLES = 256  # read before worker processes would have started

Plan = Sequence[NDArray[np.int64]]  # of each batch: places and copies, int64 [2, B]


def default_workers(samples: int) -> int:
    """Return how many processes should read ``samples`` samples.

    None for fewer than 256, otherwise one per CPU that this process may use (shared with the other ranks on the
    machine, which torchrun tells), from 1 to 4.
    """
    if samples < _FEW_SAMPLES:
        return 0
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, min(_MOST_WORKERS, cpus // max(1, int(ranks) if ranks.isdigit() else 1)))


class _Failed(NamedTuple):
    """An error on its way from a worker process: a `DataError` cannot be pickled, nor made from its text alone."""

    kind: type[SnncoreError]
    args: tuple[str, ...]


class _Fetch(Dataset[tuple[Tensor, Tensor] | _Failed]):
    """Given the places of a batch, reads it. Everything in it is picklable if the set is."""

    def __init__(self, dataset: SampleSet, seed: int, epoch: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = epoch

    def __getitem__(self, batch: NDArray[np.int64]) -> tuple[Tensor, Tensor] | _Failed:
        try:
            return self.read(batch)
        except DataError as error:
            return _Failed(DataError, (str(error.path), error.reason, error.hint))
        except ArgumentError as error:
            return _Failed(ArgumentError, (str(error),))

    def read(self, batch: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        places = batch[0].tolist()
        with put_back():
            images = [
                self.dataset.draw(place, self.seed, self.epoch, copy)
                for place, copy in zip(places, batch[1].tolist(), strict=True)
            ]
        for place, image in zip(places, images, strict=True):
            if image.shape != images[0].shape:
                where = self.dataset.reader.where
                raise ArgumentError(
                    f"{self.dataset.name} {self.dataset.split}: must have images of one size in a batch, got "
                    f"{list(images[0].shape)} ({where(places[0])}) and {list(image.shape)} ({where(place)}); give a "
                    "transform that makes them one size, with dataset.with_transform(...)"
                )
        return torch.stack(images), self.dataset.labels[torch.from_numpy(batch[0])]


def _leave_signals_to_parent(worker: int) -> None:
    """Let Ctrl-C, which reaches every process of a terminal, be answered by the training process alone.

    A forked worker also has the handlers of its parent, of which the one for SIGTERM would keep it alive.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def read_batches(
    dataset: SampleSet, plan: Plan, seed: int, epoch: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of ``plan`` in its order, on the device of ``dataset``.

    Args:
        dataset: the set.
        plan: of each batch the places in the set and which copies of these samples they are, int64 [2, B].
        seed: of the run.
        epoch: of the run.
        workers: worker processes; 0: this process reads.

    Raises:
        DataError: an image cannot be read.
        ArgumentError: the transform fails, or images of a batch differ in size.
    """
    loader = DataLoader(
        _Fetch(dataset, seed, epoch),
        batch_size=None,  # one item is one batch
        sampler=plan,
        num_workers=workers,
        pin_memory=dataset.device.type == "cuda",
        worker_init_fn=_leave_signals_to_parent,
        generator=torch.Generator(),  # without one it draws from torch's own, and a run would not be resumed exactly
    )
    for batch in loader:
        if isinstance(batch, _Failed):
            raise batch.kind(*batch.args)
        x, y = batch
        yield x.to(dataset.device, non_blocking=True), y.to(dataset.device, non_blocking=True)
