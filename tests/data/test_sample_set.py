"""SampleSet and how Batches reads it: the same numbers for any number of workers, from any start, in any process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from snncore import data
from snncore.data import _reading, transform
from snncore.data._order import batch_seed, sample_seed
from snncore.data.sample_set import MemoryReader, SampleSet
from snncore.errors import ArgumentError, DataError

# torch warns of more workers than CPUs, and a test may run on one CPU.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

N = 23
SAMPLE_SEEDS = (3089951306932936333, 10207816582551543936, 1279844757562384118)


def noisy(image):
    """A foreign transform that draws from everywhere."""
    drawn = torch.rand(()) + np.random.rand() + random.random()
    return image.float() + drawn


def negative_of_some(image):
    return 255 - image if torch.rand(()) < 0.5 else image


@pytest.fixture
def made():
    """Image i has the value i all over, and the label i % 5."""
    places = torch.arange(N)
    images = places.to(torch.uint8).reshape(N, 1, 1, 1).repeat(1, 3, 4, 6)
    return data.ImageSet("made", "train", images, places % 5, tuple("abcde"), 255, "made up")


def all_of(batches):
    return [(x.clone(), y.clone()) for x, y in batches]


def same(these, those):
    return len(these) == len(those) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(these, those, strict=True)
    )


def test_without_a_transform_it_is_the_set_in_memory(made):
    lazy = made.with_transform(None)
    assert isinstance(lazy, SampleSet)
    for name in ("name", "split", "classes", "num_classes", "source", "device", "in_shape"):
        assert getattr(lazy, name) == getattr(made, name)
    assert len(lazy) == N and torch.equal(lazy.labels, made.labels)
    for args in ({}, {"epoch": 2, "start": 1}, {"indices": [3, 1, 1]}, {"rank": 1, "world_size": 3, "uneven": "pad"}):
        ours = all_of(data.Batches(lazy, 2, shuffle=True, seed=1, **args))
        assert same(ours, all_of(data.Batches(made, 2, shuffle=True, seed=1, **args)))


def test_what_a_batch_is(made):
    x, y = next(iter(data.Batches(made.with_transform(noisy), 4, shuffle=False, seed=0)))
    assert x.shape == (4, 3, 4, 6) and x.dtype == torch.float32 and x.is_contiguous()
    assert y.tolist() == [0, 1, 2, 3] and y.dtype == torch.int64
    halves = made.with_transform(lambda image: image.to(torch.float64) / 2)
    assert torch.equal(halves.sample(8), torch.full((3, 4, 6), 4.0))  # floats are taken as they are
    assert torch.equal(made.with_transform(lambda image: image * 2).sample(8), torch.full((3, 4, 6), 16 / 255))


@pytest.mark.parametrize("workers", [1, 2])
def test_numbers_do_not_depend_on_workers(workers, made):
    args = {"shuffle": True, "seed": 7, "epoch": 2}
    lazy = made.with_transform(noisy)
    alone = all_of(data.Batches(lazy, 4, workers=0, **args))
    assert same(all_of(data.Batches(lazy, 4, workers=workers, **args)), alone)
    assert same(all_of(data.Batches(lazy, 4, workers=workers, start=3, **args)), alone[3:])


def test_restart_gives_the_same_rest(made):
    lazy, args = made.with_transform(noisy), {"shuffle": True, "seed": 7, "epoch": 2}
    whole = all_of(data.Batches(lazy, 4, **args))
    for start in range(len(whole) + 1):
        torch.rand(start)
        assert same(all_of(data.Batches(lazy, 4, start=start, **args)), whole[start:])


def test_what_is_drawn_depends_on_seed_epoch_and_sample(made):
    lazy = made.with_transform(noisy)

    def offsets(batch_size=N, **args):
        seen = {}
        for x, _ in data.Batches(lazy, batch_size, **{"shuffle": True, "seed": 0, "epoch": 0, **args}):
            for value in x[:, 0, 0, 0].tolist():
                seen.setdefault(value // 3, []).append(value)
        return sorted(v for values in seen.values() for v in values)

    first = offsets()
    assert offsets(batch_size=4) == offsets(shuffle=False) == first  # not on the order
    assert offsets(rank=0, world_size=1) == first
    assert not set(first) & set(offsets(epoch=1)) and not set(first) & set(offsets(seed=1))
    twice = [x[0, 0, 0].item() for x in next(iter(data.Batches(lazy, 6, shuffle=False, seed=0, repeats=3)))[0]]
    assert len(set(twice)) == 6  # each copy of a sample has draws of its own


def test_seeds_are_those_of_old_checkpoints():
    """Written down once: a run stopped with one version must go on with another."""
    assert sample_seed(0, 0, 0, 0) == SAMPLE_SEEDS[0]
    assert sample_seed(2**70, 3, 1_281_166, 2) == SAMPLE_SEEDS[1]
    assert batch_seed(0, 0, 0, 0) == SAMPLE_SEEDS[2]


def test_nothing_global_is_drawn_or_changed(made):
    for workers in (0, 1):
        torch_state, numpy_state, state = torch.get_rng_state(), np.random.get_state(), random.getstate()
        all_of(data.Batches(made.with_transform(noisy), 4, shuffle=True, seed=1, workers=workers))
        assert torch.equal(torch.get_rng_state(), torch_state) and random.getstate() == state
        assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state, strict=True))


class Recording:
    """A reader that writes down what it is asked for."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __len__(self):
        return N

    def __call__(self, place):
        (self.folder / f"{place}").touch()
        return torch.full((1, 2, 2), place, dtype=torch.uint8)

    def where(self, place):
        return f"number {place}"


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_skipped_is_not_read(workers, tmp_path):
    lazy = SampleSet("r", "train", Recording(tmp_path), torch.zeros(N, dtype=torch.int64), ("a",), "made up")
    seen = all_of(data.Batches(lazy, 4, shuffle=True, seed=0, start=4, workers=workers))
    asked = sorted(int(name) for name in os.listdir(tmp_path))
    assert asked == sorted((x[0, 0, 0] * 255).round().int().item() for batch, _ in seen for x in batch)
    assert len(asked) == N - 16


def test_spawned_workers(made, monkeypatch):
    """Where processes are not forked, everything is pickled on its way."""
    lazy = made.with_transform(transform.Compose((negative_of_some, transform.RandomCrop(3))))
    alone = all_of(data.Batches(lazy, 8, shuffle=True, seed=1, workers=0))
    spawn = multiprocessing.get_context("spawn")
    plain = _reading.DataLoader
    monkeypatch.setattr(_reading, "DataLoader", lambda *a, **k: plain(*a, multiprocessing_context=spawn, **k))
    assert same(all_of(data.Batches(lazy, 8, shuffle=True, seed=1, workers=1)), alone)


def test_ctrl_c_leaves_the_workers_alone(made):
    """It is sent to all processes of a terminal; the loop then ends its step and saves, for which it may need them."""
    before = set(multiprocessing.active_children())
    seen = []
    for k, (_, y) in enumerate(data.Batches(made.with_transform(noisy), 1, shuffle=False, seed=0, workers=1)):
        seen += y.tolist()
        if k == 0:
            (worker,) = set(multiprocessing.active_children()) - before
            os.kill(worker.pid, signal.SIGINT)
    assert len(seen) == N
    worker.join(10)
    assert not worker.is_alive()


def test_every_transform_can_be_pickled(made):
    for one in (
        transform.training(16),
        transform.evaluation(20, 16),
        transform.RandAugment(),
        transform.mixing(5, 0.2, 1),
    ):
        assert pickle.loads(pickle.dumps(one)) == one
    lazy = pickle.loads(pickle.dumps(made.with_transform(transform.training(2))))
    assert torch.equal(lazy.sample(5, 1, 2), made.with_transform(transform.training(2)).sample(5, 1, 2))


class Broken(Recording):
    def __call__(self, place):
        if place == 9:
            raise DataError(Path("/x/9.png"), "expected an image, found an empty file", "delete it and fetch it again")
        return super().__call__(place)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_says_the_same_from_a_worker(workers, tmp_path):
    lazy = SampleSet("r", "train", Broken(tmp_path), torch.zeros(N, dtype=torch.int64), ("a",), "made up")
    with pytest.raises(DataError) as caught:
        all_of(data.Batches(lazy, 4, shuffle=False, seed=0, workers=workers))
    assert str(caught.value) == "/x/9.png: expected an image, found an empty file; delete it and fetch it again"
    assert len(all_of(data.Batches(lazy, 4, shuffle=False, seed=0, workers=workers, indices=range(9)))) == 3


def grow(image):
    return image.repeat(1, 1, 2) if image[0, 0, 0] == 6 else image


def fail(image):
    raise TypeError("no PIL image")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (grow, r"made train: must have images of one size in a batch, got \[3, 4, 6\] \(sample 4 of made train\) and "
               r"\[3, 4, 12\] \(sample 6 of made train\); give a transform"),
        (fail, r"SampleSet.transform: must take torch.uint8 \[3, 4, 6\], got TypeError: no PIL image \(on s"),
        (np.asarray, r"SampleSet.transform: must return an image \[C, H, W\], .* got ndarray \(on sample 0"),
        (torch.Tensor.long, r"got torch.int64 \[3, 4, 6\]"),
        (torch.Tensor.flatten, r"got torch.uint8 \[72\]"),
        (transform.CenterCrop(5), r"CenterCrop.size: must be at most 4x6, .*got 5x5; .* \(on sample 0 of made train"),
    ],
)  # fmt: skip
def test_transforms_that_fail(bad, says, workers, made):
    with pytest.raises(ArgumentError, match=says):
        all_of(data.Batches(made.with_transform(bad), 4, shuffle=False, seed=0, workers=workers))


def test_in_shape_is_that_after_the_transform(made):
    assert made.with_transform(transform.CenterCrop((2, 3))).in_shape == (3, 2, 3)


def test_subset_and_split(made):
    lazy = made.with_transform(negative_of_some)
    part = lazy.subset([22, 5, 5], split="few")
    assert (part.split, len(part), part.source) == ("few", 3, "3 of [made up]")
    assert part.labels.tolist() == [2, 0, 0] and part.with_transform(None).sample(1)[0, 0, 0] == pytest.approx(5 / 255)
    rest, val = data.split(lazy, 0.2, seed=1)
    _, plain_val = data.split(made, 0.2, seed=1)
    assert val.split == "validation" and torch.equal(val.labels, plain_val.labels)
    assert torch.equal(val.with_transform(None).sample(0), plain_val.images[0] / 255)
    assert len(rest) + len(val) == N and rest.transform is negative_of_some
    with pytest.raises(ArgumentError, match=r"SampleSet.subset.indices: must be in 0..22, got 0..23"):
        lazy.subset([0, 23])


def test_a_set_of_another_scale_gets_pixels_up_to_255():
    digits, _ = data.load("digits")
    seen = digits.with_transform(lambda image: image).sample(0)
    assert torch.equal(seen.mul(255).round(), digits.images[0].float().mul(255 / 16).round())
    assert float(digits.with_transform(None).reader.images.max()) == 255


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reader": MemoryReader(torch.zeros(0, 1, 2, 2), "x")}, "SampleSet.reader: must have at least one image"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, r"SampleSet.labels: must be a torch.int64 tensor \[3\]"),
        ({"labels": torch.tensor([0, 1, 2])}, r"SampleSet.labels: must be in 0..1 for 2 classes, got 0..2"),
        ({"classes": ("a", "a")}, "SampleSet.classes: must be a tuple of different names"),
        ({"transform": 3}, "SampleSet.transform: must be callable, got int"),
    ],
)
def test_refuses(changes, says):
    fields = {
        "name": "x", "split": "train", "reader": MemoryReader(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), "x"),
        "labels": torch.tensor([0, 1, 0]), "classes": ("a", "b"), "source": "made up",
    }  # fmt: skip
    with pytest.raises(ArgumentError, match=says):
        SampleSet(**{**fields, **changes})


@pytest.mark.parametrize(
    ("samples", "cpus", "ranks", "expected"),
    [(255, 8, None, 0), (256, 8, None, 4), (10**6, 2, None, 2), (10**6, 16, "8", 2), (10**6, 4, "8", 1)],
)
def test_default_workers(samples, cpus, ranks, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if ranks:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert _reading.default_workers(samples) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("workers", [0, 1])
def test_same_batches_on_the_device(workers, made):
    here = all_of(data.Batches(made.with_transform(noisy), 4, shuffle=True, seed=7))
    for lazy in (made.to("cuda").with_transform(noisy), made.with_transform(noisy).to("cuda")):
        there = all_of(data.Batches(lazy, 4, shuffle=True, seed=7, workers=workers))
        assert all(x.is_cuda and y.is_cuda for x, y in there)
        assert same([(x.cpu(), y.cpu()) for x, y in there], here)
