"""ImageSet refuses what it cannot hold; subset and split keep images and labels together."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from snncore import data
from snncore.errors import ArgumentError, UnknownNameError


def make(n=30, count=3, **changes):
    """Image i has the value i % 200 all over, so that a sample can be told from its pixels."""
    fields = {
        "name": "made",
        "split": "train",
        "images": (torch.arange(n) % 200).to(torch.uint8).reshape(n, 1, 1, 1).repeat(1, 1, 2, 3),
        "labels": torch.arange(n) % count,
        "classes": tuple("abcdefghij"[:count]),
        "scale": 255,
        "source": "made up",
    }
    return data.ImageSet(**{**fields, **changes})


def test_what_it_says():
    made = make()
    assert (len(made), made.in_shape, made.num_classes) == (30, (1, 2, 3), 3)
    assert repr(made) == "ImageSet(made train: 30 of 1x2x3, 3 classes)"
    assert made == made and made != make()  # by identity: tensors have no one truth value
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.scale = 1


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "", "non-empty string"),
        ("split", None, "non-empty string, got None"),
        ("images", torch.zeros(30, 1, 2, 3), "got torch.float32 [30, 1, 2, 3]"),
        ("images", torch.zeros(30, 2, 3, dtype=torch.uint8), "unsqueeze(1)"),
        ("images", torch.zeros(0, 1, 2, 3, dtype=torch.uint8), "N, C, H, W > 0"),
        ("images", [1], "got list"),
        ("labels", torch.zeros(30, dtype=torch.int32), "got torch.int32 [30]"),
        ("labels", torch.zeros(29, dtype=torch.int64), "[30], one label per image, got torch.int64 [29]"),
        ("labels", torch.zeros(30, 1, dtype=torch.int64), "got torch.int64 [30, 1]"),
        ("labels", torch.full((30,), 3), "must be in 0..2 for 3 classes, got 3..3"),
        ("labels", torch.full((30,), -1), "got -1..-1"),
        ("labels", torch.zeros(30, dtype=torch.int64, device="meta"), "must be on cpu"),
        ("classes", ["a", "b", "c"], "tuple of different names"),
        ("classes", ("a", "a", "b"), "tuple of different names"),
        ("classes", (), "tuple of different names"),
        ("scale", 0, "1..255, got 0"),
        ("scale", 255.0, "1..255, got 255.0"),
        ("scale", True, "1..255, got True"),
        ("scale", 256, "1..255, got 256"),
    ],
)
def test_refuses(field, value, says):
    with pytest.raises(ArgumentError) as caught:
        make(**{field: value})
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"ImageSet.{field}: must be ")


def test_scale_below_a_pixel():
    assert make(scale=29).scale == 29
    with pytest.raises(ArgumentError, match=r"^ImageSet\.images: must be at most scale = 28, got 29"):
        make(scale=28)


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, lambda i: torch.tensor(i, dtype=torch.uint8)])
def test_subset(kind):
    made = make()
    part = made.subset(kind([29, 3, 3, 0]), split="few")
    assert part.images[:, 0, 0, 0].tolist() == [29, 3, 3, 0] and part.labels.tolist() == [2, 0, 0, 0]
    assert (part.name, part.split, part.source) == ("made", "few", "4 of [made up]")
    part.images.zero_()
    assert int(made.images.max()) == 29  # a copy
    assert made.subset([1]).split == "train"


@pytest.mark.parametrize(
    ("indices", "says"),
    [
        ([], "at least one sample"),
        ([30], "must be in 0..29, got 30..30"),
        ([-1, 2], "got -1..2"),
        ([1.5], "must be integers [M], got torch.float32 [1]"),
        (torch.ones(30, dtype=torch.bool), "nonzero().flatten()"),
        (torch.zeros(2, 2, dtype=torch.int64), "[2, 2]"),
        (["a"], "must be integers, got list"),
    ],
)
def test_subset_refuses(indices, says):
    with pytest.raises(ArgumentError, match=r"^ImageSet\.subset\.indices: ") as caught:
        make().subset(indices)
    assert says in str(caught.value)


def test_to_moves_both():
    moved = make().to(torch.device("cpu"))
    assert torch.equal(moved.images, make().images) and moved.source == "made up"


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(("n", "classes"), [(30, 3), (101, 7), (150, 10)])
def test_split(fraction, n, classes):
    made = make(n, classes)
    rest, validation = data.split(made, fraction, seed=1)
    assert len(validation) == round(fraction * n) and len(rest) + len(validation) == n
    assert (rest.split, validation.split) == ("train", "validation")
    a, b = (p.images[:, 0, 0, 0].tolist() for p in (rest, validation))
    assert sorted(a + b) == list(range(n)) and a == sorted(a) and b == sorted(b)
    for part in (rest, validation):
        assert torch.equal(part.labels, part.images[:, 0, 0, 0].to(torch.int64) % classes)
        for c in range(classes):
            share = len(part) / n * int((made.labels == c).sum())
            assert abs(int((part.labels == c).sum()) - share) < 1


def test_split_depends_on_the_seed_alone():
    made = make(100, 4)
    first, again, other = (data.split(made, 0.2, seed=s)[1].images[:, 0, 0, 0].tolist() for s in (0, 0, 1))
    assert first == again and first != other
    torch.manual_seed(5)
    state = torch.get_rng_state()
    data.split(made, 0.2, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("fraction", "seed", "says"),
    [
        (0, 0, "fraction: must be a number between 0 and 1, got 0"),
        (1.0, 0, "between 0 and 1, got 1.0"),
        (float("nan"), 0, "got nan"),
        ("0.1", 0, "got '0.1'"),
        (0.001, 0, "samples in both parts, got 0.001: 0 of 30"),
        (0.999, 0, "30 of 30"),
        (0.1, -1, "data.split.seed: must be an integer >= 0, got -1"),
        (0.1, 0.5, "seed: must be an integer >= 0, got 0.5"),
    ],
)
def test_split_refuses(fraction, seed, says):
    with pytest.raises(ArgumentError) as caught:
        data.split(make(), fraction, seed)
    assert says in str(caught.value)


def test_unknown_name_lists_the_names():
    with pytest.raises(
        UnknownNameError, match=r"data.load.name: .*digits, fashion_mnist, image_folder, mnist.*'fashion_mnist'\?"
    ):
        data.load("fashion-mnist")
