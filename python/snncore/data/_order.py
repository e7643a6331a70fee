"""Which sample comes when, and what is random about it: orders and seeds that are the same on every machine and with
every version.

numpy's ``RandomState`` is used because its streams are frozen for good (NEP 19), which neither ``torch.randperm`` nor
``numpy.random.Generator`` promises: a run resumed after an upgrade must still see the rest of its epoch. No global
random state is read or changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["batch_seed", "epoch_order", "sample_seed", "stratified"]

# One stream per use, so that the same seed does not give a split and an epoch the same numbers.
_EPOCH, _SPLIT, _SAMPLE, _BATCH = 0, 1, 2, 3


def _random(seed: int, *key: int) -> np.random.RandomState:
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed, spawn_key=key)))


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation of ``0..n-1``, int64 [n], that depends on (n, seed, epoch) and on nothing else."""
    return _random(seed, _EPOCH, epoch).permutation(n).astype(np.int64)


def sample_seed(seed: int, epoch: int, place: int, copy: int) -> int:
    """Return what seeds the transforms of a sample; it depends on these four and on nothing else.

    Args:
        seed: of the run.
        epoch: each has its own.
        place: of the sample in its set.
        copy: which of its repetitions in this epoch.
    """
    return _number(seed, _SAMPLE, epoch, place, copy)


def batch_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """Return what seeds the mixing of a batch; it depends on these four and on nothing else."""
    return _number(seed, _BATCH, epoch, step, rank)


def _number(seed: int, *key: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])


def stratified(labels: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """Choose ``count`` of the samples, every class in proportion.

    Each class gets the floor of its share; what is left over goes to the classes with the largest remainders, the
    lower class first where remainders are equal. Within a class the choice is random.

    Args:
        labels: integers [N].
        count: how many to choose, 0..N.
        seed: of the choice within the classes.

    Returns:
        The chosen places, int64 [count], ascending.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count  # in units of 1/N, so that the arithmetic is exact
    quotas, remainders = shares // len(labels), shares % len(labels)
    leftover = count - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:leftover]] += 1
    random = _random(seed, _SPLIT)
    chosen = [random.permutation(np.flatnonzero(labels == c))[:quota] for c, quota in zip(classes, quotas, strict=True)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)
