"""Batches: each sample once, an order of (seed, epoch) alone, and the same rest after a restart anywhere."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from snncore import data
from snncore.data._order import epoch_order
from snncore.errors import ArgumentError

N = 23
GOLDEN = {
    (0, 0): [7, 1, 5, 0, 4, 9, 3, 8, 6, 2],
    (0, 1): [0, 1, 9, 2, 3, 6, 7, 8, 4, 5],
    (2**70, 3): [2, 1, 4, 0, 6, 3, 5, 9, 8, 7],
}


@pytest.fixture
def made():
    """Image i has the value i all over, and the label i % 5."""
    places = torch.arange(N)
    return data.ImageSet(
        name="made",
        split="train",
        images=places.to(torch.uint8).reshape(N, 1, 1, 1).repeat(1, 2, 3, 4),
        labels=places % 5,
        classes=tuple("abcde"),
        scale=200,
        source="made up",
    )


def places(batches):
    """Which samples came, one list per batch; checks on the way that image and label belong together."""
    seen = []
    for x, y in batches:
        which = x[:, 0, 0, 0].mul(200).round().to(torch.int64)
        assert torch.equal(which % 5, y)
        seen.append(which.tolist())
    return seen


def test_what_a_batch_is(made):
    x, y = next(iter(data.Batches(made, 4, shuffle=False, seed=0)))
    assert x.shape == (4, 2, 3, 4) and x.dtype == torch.float32 and x.is_contiguous()
    assert y.shape == (4,) and y.dtype == torch.int64
    assert torch.equal(x, made.images[:4].to(torch.float32) / 200)
    x.zero_()
    assert int(made.images[3].max()) == 3  # a copy


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 24, 1000])
def test_each_sample_once(shuffle, batch_size, made):
    batches = data.Batches(made, batch_size, shuffle=shuffle, seed=3)
    seen = places(batches)
    assert len(seen) == len(batches) == -(-N // batch_size)
    assert [len(b) for b in seen[:-1]] == [batch_size] * (len(seen) - 1)
    flat = list(chain(*seen))
    assert sorted(flat) == list(range(N))
    assert (flat == list(range(N))) != shuffle


def test_drop_last_leaves_out_the_short_batch(made):
    kept = data.Batches(made, 4, shuffle=True, seed=3, drop_last=True)
    assert len(kept) == 5
    assert places(kept) == places(data.Batches(made, 4, shuffle=True, seed=3))[:5]
    assert len(data.Batches(made, 23, shuffle=True, seed=3, drop_last=True)) == 1


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("indices", [None, list(range(1, 20, 2))])
def test_restart_gives_the_same_rest(drop_last, indices, made):
    args = {"shuffle": True, "seed": 7, "epoch": 2, "drop_last": drop_last, "indices": indices}
    whole = data.Batches(made, 4, **args)
    for start in range(len(whole) + 1):
        rest = data.Batches(made, 4, start=start, **args)
        assert len(rest) == len(whole)
        assert places(rest) == places(whole)[start:]


def test_iterating_twice_gives_the_same(made):
    batches = data.Batches(made, 4, shuffle=True, seed=7)
    assert places(batches) == places(batches)


def test_order_depends_on_seed_and_epoch_alone(made):
    def order(seed, epoch, batch_size=23):
        return tuple(chain(*places(data.Batches(made, batch_size, shuffle=True, seed=seed, epoch=epoch))))

    orders = {(s, e): order(s, e) for s in range(4) for e in range(4)}
    assert len(set(orders.values())) == 16  # (0, 1) and (1, 0) differ too
    torch.manual_seed(99)
    np.random.seed(99)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert order(1, 2) == orders[1, 2]
    assert order(1, 2, batch_size=5) == orders[1, 2]
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_order_is_the_one_of_old_checkpoints():
    """Written down once: a run stopped with one version must go on with another."""
    assert epoch_order(10, seed=0, epoch=0).tolist() == GOLDEN[0, 0]
    assert epoch_order(10, seed=0, epoch=1).tolist() == GOLDEN[0, 1]
    assert epoch_order(10, seed=2**70, epoch=3).tolist() == GOLDEN[2**70, 3]


def test_indices(made):
    chosen = [22, 5, 5, 0]
    assert places(data.Batches(made, 3, shuffle=False, seed=0, indices=chosen)) == [[22, 5, 5], [0]]
    shuffled = places(data.Batches(made, 3, shuffle=True, seed=1, indices=torch.tensor(chosen)))
    assert sorted(chain(*shuffled)) == [0, 5, 5, 22]
    assert places(data.Batches(made.subset(chosen), 3, shuffle=True, seed=1)) == shuffled


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 0}, "Batches.batch_size: must be an integer >= 1, got 0"),
        ({"batch_size": 2.0}, "Batches.batch_size: must be an integer >= 1, got 2.0"),
        ({"seed": -1}, "Batches.seed: must be an integer >= 0, got -1"),
        ({"seed": None}, "Batches.seed: must be an integer >= 0, got None"),
        ({"epoch": -1}, "Batches.epoch: must be an integer >= 0"),
        ({"epoch": True}, "Batches.epoch: must be an integer >= 0, got True"),
        ({"start": 7}, "Batches.start: must be an integer in 0..6, got 7"),
        ({"start": -1}, "Batches.start: must be an integer in 0..6, got -1"),
        ({"batch_size": 24, "drop_last": True}, "Batches.batch_size: must be at most the 23 samples"),
        ({"indices": [23]}, "Batches.indices: must be in 0..22, got 23..23"),
        ({"indices": []}, "Batches.indices: must name at least one sample"),
        ({"world_size": 0}, "Batches.world_size: must be an integer >= 1, got 0"),
        ({"world_size": 2, "rank": 2, "uneven": "pad"}, "Batches.rank: must be an integer in 0..1, got 2"),
        ({"world_size": 2}, "Batches.uneven: must be one of pad, drop, exact, given for 2 ranks, got None"),
        ({"uneven": "even"}, "Batches.uneven: must be one of pad, drop, exact, given for 1 ranks, got 'even'"),
        ({"world_size": 24, "uneven": "drop"}, "Batches.world_size: must be at most the 23 samples"),
        ({"uneven": "given"}, "Batches.indices: must be those of this rank when uneven is 'given', got None"),
        ({"repeats": 0}, "Batches.repeats: must be an integer >= 1, got 0"),
        ({"dataset": (1, 2)}, "Batches.dataset: must be an ImageSet or a SampleSet, got tuple"),
    ],
)
def test_refuses(changes, says, made):
    args = {"dataset": made, "batch_size": 4, "shuffle": True, "seed": 0, **changes}
    with pytest.raises(ArgumentError) as caught:
        data.Batches(**args)
    assert str(caught.value).startswith(says)


def of_ranks(made, world_size, batch_size, **args):
    return [
        places(data.Batches(made, batch_size, rank=r, world_size=world_size, **args))
        for r in range(world_size)
    ]  # fmt: skip


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_share_the_batches_of_one(shuffle, world_size, made):
    """Batch k of all ranks is batch k of one process with the batch size of all together; the last may be padded."""
    args = {"shuffle": shuffle, "seed": 3, "epoch": 1}
    whole = places(data.Batches(made, 2 * world_size, **args))
    for uneven in ("pad", "drop", "exact"):
        ranks = of_ranks(made, world_size, 2, uneven=uneven, **args)
        for k, batch in enumerate(whole[:-1]):
            assert sorted(chain(*(rank[k] for rank in ranks))) == sorted(batch)


@pytest.mark.parametrize("world_size", [2, 3, 5, 23, 30])
def test_uneven(world_size, made):
    def flat(uneven):
        return [list(chain(*rank)) for rank in of_ranks(made, world_size, 2, shuffle=True, seed=3, uneven=uneven)]

    order = list(chain(*places(data.Batches(made, 2, shuffle=True, seed=3))))
    exact = flat("exact")
    assert sorted(chain(*exact)) == list(range(N))  # each once, also where a rank has none
    padded = flat("pad")
    assert {len(rank) for rank in padded} == {-(-N // world_size)}
    together = [place for step in zip(*padded, strict=True) for place in step]
    assert together == [order[i % N] for i in range(len(together))]
    if world_size <= N:
        dropped = flat("drop")
        assert {len(rank) for rank in dropped} == {N // world_size}
        assert [place for step in zip(*dropped, strict=True) for place in step] == order[: N // world_size * world_size]


def test_given_shares_are_taken_as_they_are(made):
    mine = [[4, 0, 9], [7, 7]]
    seen = [
        places(data.Batches(made, 2, shuffle=False, seed=3, indices=part, rank=r, world_size=2, uneven="given"))
        for r, part in enumerate(mine)
    ]
    assert seen == [[[4, 0], [9]], [[7, 7]]]


def test_samples_counts_those_of_the_rank(made):
    for args in (
        {},
        {"drop_last": True},
        {"rank": 1, "world_size": 2, "uneven": "exact"},
        {"rank": 1, "world_size": 2, "uneven": "pad", "drop_last": True},
        {"rank": 25, "world_size": 26, "uneven": "exact"},
    ):
        batches = data.Batches(made, 4, shuffle=True, seed=0, **args)
        assert batches.samples == sum(len(batch) for batch in places(batches))
        assert len(batches) == len(places(batches))


def test_repeats_bring_a_sample_in_a_row_and_keep_the_length(made):
    order = list(chain(*places(data.Batches(made, 4, shuffle=True, seed=3))))
    repeated = list(chain(*places(data.Batches(made, 4, shuffle=True, seed=3, repeats=3))))
    assert repeated == [order[i // 3] for i in range(N)]
    ranks = of_ranks(made, 3, 4, shuffle=True, seed=3, repeats=3, uneven="drop")
    assert ranks[0] == ranks[1] == ranks[2]  # the copies of a sample go to different ranks


def test_mix_is_seeded_by_step_and_rank(made):
    def draw(x, y):
        return torch.rand(2), y

    def drawn(start=0, **args):
        batches = data.Batches(made, 4, shuffle=True, seed=3, mix=draw, start=start, **args)
        return [tuple(x.tolist()) for x, _ in batches]

    before = torch.get_rng_state()
    whole = drawn()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert drawn() == whole and drawn(start=2) == whole[2:]
    others = [drawn(rank=r, world_size=2, uneven="pad") for r in (0, 1)]
    assert len({*whole, *drawn(epoch=1), *others[1]}) == 2 * len(whole) + len(others[1])
    assert others[0] == whole[:3]
    given = {"indices": range(12), "uneven": "given", "world_size": 2}
    assert drawn(rank=1, **given) == others[1] and drawn(rank=1, start=1, **given) == others[1][1:]


def test_numpy_integers_are_integers(made):
    batches = data.Batches(made, np.int64(4), shuffle=True, seed=np.int32(7), start=np.uint8(1))
    assert places(batches) == places(data.Batches(made, 4, shuffle=True, seed=7, start=1))


def test_a_classifier_learns_digits():
    """The whole way: load, batch, learn. A linear classifier gets 95 %; chance is 10 %."""
    train, test = data.load("digits")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for epoch in range(10):
        for x, y in data.Batches(train, 64, shuffle=True, seed=0, epoch=epoch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    right = sum(int((net(x).argmax(1) == y).sum()) for x, y in data.Batches(test, 360, shuffle=False, seed=0))
    assert right >= 0.93 * len(test)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_same_batches_on_the_device(made):
    there = list(data.Batches(made.to("cuda"), 4, shuffle=True, seed=7, start=2))
    for (x, y), (x_there, y_there) in zip(data.Batches(made, 4, shuffle=True, seed=7, start=2), there, strict=True):
        assert x_there.is_cuda and torch.equal(y_there.cpu(), y)
        assert torch.equal(x_there.cpu(), x)
