"""torchvision's transforms in place of ours: the same definitions, and as reproducible."""

from __future__ import annotations

import math

import pytest
import torch

from snncore import data
from snncore.data import transform
from snncore.data.transform import _pixel, augment

try:
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as tv
except (ImportError, RuntimeError) as error:  # beside another torch than its own, its import raises a RuntimeError
    pytest.skip(f"needs a torchvision that fits this torch: {error}", allow_module_level=True)

X = torch.randint(0, 256, (3, 33, 46), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def sheared(x, degrees):
    return tv.affine(x, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


@pytest.mark.parametrize(
    ("ours", "theirs", "levels"),
    [
        (lambda x: _pixel.brightness(x, 1.6), lambda x: tv.adjust_brightness(x, 1.6), 0),
        (lambda x: _pixel.color(x, 0.4), lambda x: tv.adjust_saturation(x, 0.4), 1),  # whole numbers of grey: Pillow
        (lambda x: _pixel.contrast(x, 1.7), lambda x: tv.adjust_contrast(x, 1.7), 1),
        (lambda x: _pixel.sharpness(x, 1.7), lambda x: tv.adjust_sharpness(x, 1.7), 0),
        (lambda x: _pixel.posterize(x, 3), lambda x: tv.posterize(x, 3), 0),
        (lambda x: _pixel.solarize(x, 100), lambda x: tv.solarize(x, 100), 0),
        (_pixel.autocontrast, tv.autocontrast, 0),
        (_pixel.equalize, tv.equalize, 0),
        (lambda x: _pixel.rotate(x, 31, "nearest"), lambda x: tv.rotate(x, 31.0), 0),
        (lambda x: _pixel.rotate(x, 31, "bilinear"), lambda x: tv.rotate(x, 31.0, v2.InterpolationMode.BILINEAR), 0),
        (
            lambda x: augment._apply(x, "ShearX", 0.4, "nearest"),
            lambda x: sheared(x, [math.degrees(math.atan(0.4)), 0.0]),
            0,
        ),
        (lambda x: augment._apply(x, "TranslateX", 5, "nearest"), lambda x: tv.affine(x, 0, [-5, 0], 1, [0.0, 0.0]), 0),
        (transform.Resize(20), v2.Resize(20, antialias=True), 1),
        (transform.Resize((60, 50)), v2.Resize((60, 50), antialias=True), 1),
        (transform.Resize(20, antialias=False), v2.Resize(20, antialias=False), 1),
        (transform.CenterCrop(20), v2.CenterCrop(20), 0),
        (
            transform.Normalize([0.5], [0.2]),
            v2.Compose([v2.ToDtype(torch.float32, True), v2.Normalize([0.5], [0.2])]),
            0,
        ),
    ],
)  # fmt: skip
def test_definitions(ours, theirs, levels):
    a, b = ours(X), theirs(X)
    assert a.shape == b.shape and a.dtype == b.dtype
    assert (a.float() - b.float()).abs().max() <= (levels or 1e-6)


def test_random_parts_are_drawn_alike():
    crop, other = transform.RandomResizedCrop(5), v2.RandomResizedCrop(5)
    image = torch.empty(3, 60, 100)
    torch.manual_seed(0)
    ours = torch.tensor([crop._part(60, 100) for _ in range(4000)]).float()
    theirs = torch.tensor([list(other.make_params([image]).values()) for _ in range(4000)]).float()
    assert torch.allclose(ours.mean(0), theirs.mean(0), atol=1.5) and torch.allclose(ours.std(0), theirs.std(0), atol=1)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_as_reproducible_as_ours():
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    made = data.ImageSet("made", "train", images, torch.arange(40) % 4, tuple("abcd"), 255, "made up")
    augmented = made.with_transform(
        v2.Compose(
            [
                v2.RandomResizedCrop(24, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.TrivialAugmentWide(),
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomErasing(0.3),
            ]
        )
    )
    args = {"shuffle": True, "seed": 1, "mix": v2.MixUp(num_classes=4)}
    alone = list(data.Batches(augmented, 8, workers=0, **args))
    for these, those in (
        (data.Batches(augmented, 8, workers=2, **args), alone),
        (data.Batches(augmented, 8, start=3, **args), alone[3:]),
    ):
        for (x, y), (x_other, y_other) in zip(these, those, strict=True):
            assert torch.equal(x, x_other) and torch.equal(y, y_other) and y.shape == (8, 4)
    picture = made.with_transform(v2.ToImage()).sample(0)
    assert type(picture) is torch.Tensor and torch.equal(picture, images[0] / 255)
