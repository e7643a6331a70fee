"""MixUp and CutMix: what comes out is the share of each image that the label says."""

from __future__ import annotations

import pytest
import torch

from snncore import data
from snncore.data import transform
from snncore.errors import ArgumentError

B, CLASSES = 4, 5
LABELS = torch.tensor([0, 2, 4, 2])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def images(height=20, width=30):
    """Image i is i + 1 all over."""
    return torch.arange(1.0, B + 1).reshape(B, 1, 1, 1).expand(B, 2, height, width).clone()


def shares_of(x):
    """How much of image i is its own, from its mean: its partner is the one before, the first's the last."""
    own = torch.arange(1.0, B + 1)
    partner = own.roll(1)
    return (x.mean((1, 2, 3)) - partner) / (own - partner)


@pytest.mark.parametrize("make", [transform.MixUp, transform.CutMix])
def test_labels_are_the_shares_of_the_images(make):
    x = images()
    one_hot = torch.nn.functional.one_hot(LABELS, CLASSES).float()
    for _ in range(50):
        mixed, y = make(CLASSES, alpha=1.0)(x, LABELS)
        assert mixed.shape == x.shape and y.shape == (B, CLASSES) and y.dtype == torch.float32
        own = shares_of(mixed)
        assert torch.allclose(own, own[0].expand(B), atol=1e-4)  # one lam for the batch
        assert torch.allclose(y, own[:, None] * one_hot + (1 - own)[:, None] * one_hot.roll(1, 0), atol=1e-4)
        assert torch.allclose(y.sum(1), torch.ones(B))
    assert torch.equal(x, images())


def test_mixup_draws_from_beta():
    for alpha, spread in ((0.2, 0.423), (1.0, 0.289)):  # sqrt(1 / (4 * (2 * alpha + 1)))
        lams = torch.tensor(
            [shares_of(transform.MixUp(CLASSES, alpha)(images(1, 1), LABELS)[0])[0] for _ in range(1500)]
        )
        assert lams.mean() == pytest.approx(0.5, abs=0.04) and lams.std() == pytest.approx(spread, abs=0.02)


def test_cutmix_cuts_one_rectangle():
    seen = []
    for _ in range(500):
        mixed, _ = transform.CutMix(CLASSES)(images(), LABELS)
        assert set(mixed.unique().tolist()) <= {1.0, 2.0, 3.0, 4.0}  # pixels are moved, not mixed
        cut = mixed[0, 0] != 1
        h, w = int(cut.any(1).sum()), int(cut.any(0).sum())
        assert int(cut.sum()) == h * w and torch.equal(mixed[0, 0], mixed[0, 1])
        seen.append((h / 20, w / 30))
    heights, widths = (torch.tensor(v) for v in zip(*seen, strict=True))
    assert heights.max() > 0.8 and heights.min() == 0
    assert (heights - widths).abs().mean() < 0.12  # as wide as high, where nothing was cut off
    edge = [bool(m[0, 0, 0, 0] != 1) for m in (transform.CutMix(CLASSES)(images(), LABELS)[0] for _ in range(300))]
    assert 0.05 < sum(edge) / 300 < 0.5  # its middle may lie at the border


def test_probability_and_choice():
    x = images()
    kept = sum(torch.equal(transform.MixUp(CLASSES, 1.0, p=0.3)(x, LABELS)[0], x) for _ in range(1000))
    assert 0.65 < kept / 1000 < 0.75
    _, y = transform.CutMix(CLASSES, p=0)(x, LABELS)
    assert torch.equal(y, torch.nn.functional.one_hot(LABELS, CLASSES).float())  # float also when nothing was mixed
    both = transform.mixing(CLASSES, 1.0, 1.0)
    blended = sum(bool((both(x, LABELS)[0] % 1 != 0).any()) for _ in range(1000))
    assert 0.44 < blended / 1000 < 0.56
    assert transform.mixing(CLASSES) is None
    assert transform.mixing(CLASSES, 0.2) == transform.MixUp(CLASSES, 0.2)
    assert transform.mixing(CLASSES, cutmix_alpha=0.5) == transform.CutMix(CLASSES, 0.5)


def test_mixed_labels_can_be_mixed_again():
    x, y = transform.MixUp(CLASSES, 1.0)(images(), LABELS)
    _, again = transform.CutMix(CLASSES)(x, y)
    assert torch.allclose(again.sum(1), torch.ones(B)) and (again > 0).sum() > (y > 0).sum()


def test_in_batches():
    """The whole way, resumed: the same mixtures from any start; the net sees shares of classes."""
    train, _ = data.load("digits")
    mix = transform.mixing(10, 0.2, 1.0)
    args = {"shuffle": True, "seed": 1, "mix": mix}
    whole = list(data.Batches(train, 300, **args))
    assert all(y.shape == (len(x), 10) for x, y in whole)
    rest = list(data.Batches(train, 300, start=2, **args))
    lazy = list(data.Batches(train.with_transform(None), 300, **args))  # its pixels are rounded to 0..255
    for these, those in ((rest, whole[2:]), (lazy, whole)):
        assert len(these) == len(those)
        assert all(
            torch.allclose(a, c, atol=0.6 / 255) and torch.equal(b, d)
            for (a, b), (c, d) in zip(these, those, strict=True)
        )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: transform.MixUp(0), "MixUp.num_classes: must be an integer >= 1, got 0"),
        (lambda: transform.MixUp(3, 0), "MixUp.alpha: must be > 0, got 0; leave MixUp out"),
        (lambda: transform.CutMix(3, p=2), "CutMix.p: must be a number in 0..1, got 2"),
        (lambda: transform.RandomChoice(()), "RandomChoice.mixes: must have at least one"),
        (
            lambda: transform.MixUp(3)(images(), LABELS.float()),
            r"MixUp: must be given labels .* got torch.float32 \[4\]",
        ),
        (lambda: transform.CutMix(3)(images(), torch.ones(4, 5)), r"CutMix: .*\[B, 3\], got torch.float32 \[4, 5\]"),
        (lambda: transform.MixUp(3)(images(), LABELS), r"MixUp.num_classes: must be above every label, got 3 .*4"),
    ],
)
def test_refuses(make, says):
    with pytest.raises(ArgumentError, match=says):
        make()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("make", [transform.MixUp, transform.CutMix])
def test_same_on_the_device(make):
    here = make(CLASSES, 1.0)(images(), LABELS)
    torch.manual_seed(0)
    there = make(CLASSES, 1.0)(images().cuda(), LABELS.cuda())
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.is_cuda and torch.allclose(theirs.cpu(), ours)
