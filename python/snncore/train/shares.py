"""How ranks share the batches of a set: who gets which samples, so that all together see what one would see alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..data import Batches, Dataset
from ..errors import ConfigError
from .distributed import Ranks
from .task import Batch

__all__ = ["check_repeats", "even_parts", "parts_of_batch", "places_of_rank", "set_batches"]


def places_of_rank(order: Tensor, batch_size: int, start: int, ranks: Ranks) -> Iterator[tuple[Tensor, int]]:
    """Yield, for each batch of ``order`` from ``start`` on, the places in it that are this rank's, and its size.

    A batch is cut into as many runs of neighbours as there are ranks, so that all ranks together see just the batches
    that one would see alone. The last batch may be short: then the first ranks have one sample more, or the only ones.
    """
    for k in range(start * batch_size, len(order), batch_size):
        batch = order[k : k + batch_size]
        yield batch[ranks.part(len(batch))], len(batch)


def parts_of_batch(total: int, wanted: int, ranks: int) -> int:
    """Return into how many parts each rank divides its share of a batch of ``total`` samples: ``wanted``, if it can.

    As many on all ranks, for in each part those with a sharded net or synchronised norms meet, and no part is empty: a
    rank has at least ``total // ranks`` samples, or one stand-in.
    """
    return max(1, min(wanted, total // ranks))


def even_parts(order: Tensor, batch_size: int, ranks: Ranks) -> Iterator[tuple[Tensor, int]]:
    """Yield as `places_of_rank`, but with as many batches on all ranks, each of at least one sample.

    Raises:
        ConfigError: there are fewer samples than ranks.
    """
    n, size = len(order), ranks.size
    if n < size:
        raise ConfigError(
            f"--parallel fsdp: must have a sample for each of the {size} ranks in an evaluation, got {n}; use more "
            "samples, fewer ranks, or --parallel ddp"
        )
    shares = [order[Ranks(rank, size).part(n)] for rank in range(size)]  # of two lengths at most, and that differ by 1
    few, many = len(shares[-1]), len(shares[0])
    asked = -(-batch_size // size)
    each = next(b for b in (*range(asked, 0, -1), *range(asked + 1, many + 1)) if -(-few // b) == -(-many // b))
    pieces = [[share[i : i + each] for i in range(0, len(share), each)] for share in shares]
    for cut in zip(*pieces, strict=True):
        yield cut[ranks.rank], sum(len(places) for places in cut)


def check_repeats(repeats: int, ranks: Ranks) -> None:
    """Raise ConfigError unless a sample may come ``repeats`` times in a row: ranks would have copies of one."""
    if repeats > 1 and ranks.size > 1:
        raise ConfigError(
            f"repeated augmentation (--ra-reps): must be 1 on several ranks, got {repeats} on {ranks.size}; train "
            "without, or on one"
        )


def set_batches(
    data: Dataset,
    batch_size: int,
    ranks: Ranks,
    *,
    train: bool,
    seed: int,
    epoch: int = 0,
    start: int = 0,
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    repeats: int = 1,
    workers: int | None = None,
    shuffle: bool = True,
    even: bool = False,
) -> Iterator[Batch | None]:
    """Yield this rank's parts of the batches of ``batch_size`` samples from ``start`` on; see `Task.batches`.

    Args:
        data: the part.
        batch_size: samples in a batch of all ranks; they divide it.
        ranks: who they are.
        train: whether to draw an order, and to give a rank without samples a stand-in.
        seed: of order, transforms and ``mix``.
        epoch: likewise.
        start: batches of the epoch already done.
        mix: of `Batches`.
        repeats: likewise; for one rank.
        workers: likewise.
        shuffle: False: while training too, samples come as they lie.
        even: if not ``train``: cut the part so that all ranks have as many batches, and none has None, as the ranks of
            a sharded net need, who can run it only together. A batch may then be smaller or larger.

    Raises:
        ConfigError: ``repeats`` on several ranks, or fewer samples than ranks where they have to be ``even``.
    """
    shuffle = shuffle and train
    shared = {"seed": seed, "epoch": epoch, "mix": mix, "workers": workers}
    if ranks.size == 1:
        whole = Batches(data, batch_size, shuffle=shuffle, start=start, repeats=repeats, **shared)  # type: ignore[arg-type]
        yield from (Batch(x, label, len(x), len(x)) for x, label in whole)
        return
    check_repeats(repeats, ranks)
    order = Batches(data, batch_size, shuffle=shuffle, seed=seed, epoch=epoch).order
    cut = even_parts(order, batch_size, ranks) if even and not train else places_of_rank(order, batch_size, 0, ranks)
    parts = list(cut)
    given = {**shared, "shuffle": False, "rank": ranks.rank, "world_size": ranks.size, "uneven": "given"}
    mine = [places for places, _ in parts if len(places)]
    found: Iterator[tuple[Tensor, Tensor]] = iter(())
    if mine[start:]:  # only the last can be shorter than the others, so that they are batches again
        found = iter(Batches(data, len(mine[0]), indices=torch.cat(mine), start=start, **given))  # type: ignore[arg-type]
    for places, total in parts[start:]:
        if len(places):
            x, label = next(found)
            yield Batch(x, label, len(x), total)
        elif train:
            x, label = next(iter(Batches(data, 1, indices=order[:1], **{**given, "workers": 0})))  # type: ignore[arg-type]
            yield Batch(x, label, 0, total)
        else:
            yield None
