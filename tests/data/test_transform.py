"""Transforms of one image: what Pillow makes of it where Pillow defines it, and what is drawn in its proportions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from snncore.data import transform
from snncore.data.transform import _pixel, augment
from snncore.errors import ArgumentError, UnknownNameError

SIZES = [(8, 8), (13, 7), (32, 45)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def picture(height=9, width=12, channels=3, seed=0):
    """Noise over a slope, so that histograms are uneven."""
    noise = np.random.RandomState(seed).randint(0, 120, (channels, height, width))
    return torch.from_numpy((noise + np.arange(width) * (100 // width) + 20).clip(0, 255).astype(np.uint8))


def to_pil(x):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (pip install 'snncore[images]')")
    return image.fromarray(x[0].numpy() if x.shape[0] == 1 else x.permute(1, 2, 0).numpy())


def from_pil(image):
    array = torch.from_numpy(np.array(image))
    return array[None] if array.dim() == 2 else array.permute(2, 0, 1)


def gap(ours, theirs):
    assert ours.shape == theirs.shape and ours.dtype == torch.uint8
    return (ours.int() - theirs.int()).abs()


def pil_operation(name, image, magnitude, resample):
    from PIL import Image, ImageEnhance, ImageOps

    affine = {
        "ShearX": (1, magnitude, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, magnitude, 1, 0),
        "TranslateX": (1, 0, magnitude, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, magnitude),
    }
    if name in affine:
        return image.transform(image.size, Image.Transform.AFFINE, affine[name], resample)
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        return getattr(ImageEnhance, name)(image).enhance(1 + magnitude)
    return {
        "Identity": lambda: image,
        "Rotate": lambda: image.rotate(magnitude, resample),
        "Posterize": lambda: ImageOps.posterize(image, int(magnitude)),
        "Solarize": lambda: ImageOps.solarize(image, magnitude),
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
    }[name]()


MAGNITUDES = {
    "Identity": [0], "ShearX": [0.37, -0.8], "ShearY": [0.37, -0.8], "TranslateX": [3, -5], "TranslateY": [3, -5],
    "Rotate": [33, -127], "Brightness": [0.6, -0.6], "Color": [0.9, -0.5], "Contrast": [0.9, -0.5],
    "Sharpness": [0.9, -0.9], "Posterize": [1, 4, 8], "Solarize": [0, 100, 255], "AutoContrast": [0], "Equalize": [0],
}  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAGNITUDES)
def test_operations_are_those_of_pillow(name, size, channels):
    """Colours but for one level of rounding; places exactly, but for a few on the border between two pixels."""
    x = picture(*size, channels)
    for magnitude in MAGNITUDES[name]:
        theirs = from_pil(pil_operation(name, to_pil(x), magnitude, 0))
        apart = gap(augment._apply(x, name, magnitude, "nearest"), theirs)
        if name in ("ShearX", "ShearY", "Rotate"):
            assert (apart > 0).float().mean() <= 0.02, magnitude
        else:
            rounded = name in ("Brightness", "Color", "Contrast", "Sharpness")
            assert apart.max() <= (1 if rounded else 0), magnitude


@pytest.mark.parametrize("name", ["ShearX", "ShearY", "TranslateX", "Rotate"])
def test_bilinear_within_the_image_is_that_of_pillow(name):
    """At the border Pillow has its own ways: there only what lies well within is compared."""
    x = picture(32, 45)
    inside = torch.zeros(3, 32, 45, dtype=torch.uint8)
    inside[:, 2:-2, 2:-2] = 255
    for magnitude in MAGNITUDES[name]:
        ours = augment._apply(x, name, magnitude, "bilinear")
        theirs = from_pil(pil_operation(name, to_pil(x), magnitude, 2))
        whole = augment._apply(inside, name, magnitude, "bilinear") == 255
        assert whole.float().mean() > 0.2
        assert gap(ours, theirs)[whole].max() <= 2


def test_what_a_corner_becomes():
    """Signs and directions, without Pillow."""
    x = torch.zeros(1, 5, 5, dtype=torch.uint8)
    x[0, 0, 1] = 9
    assert _pixel.rotate(x, 90, "nearest")[0].nonzero().tolist() == [[3, 0]]  # counter-clockwise
    assert _pixel.affine(x, (1, 0, -2, 0, 1, -1), "nearest")[0].nonzero().tolist() == [[1, 3]]
    assert torch.equal(_pixel.affine(x, (1, 0, 0.5, 0, 1, 0), "bilinear")[0, 0], torch.tensor([4, 4, 0, 0, 0]).byte())
    assert _pixel.posterize(torch.tensor([[[255, 127]]]).byte(), 1).tolist() == [[[128, 0]]]
    assert _pixel.solarize(torch.tensor([[[99, 100]]]).byte(), 100).tolist() == [[[99, 155]]]
    flat = torch.full((3, 4, 4), 7, dtype=torch.uint8)
    assert torch.equal(_pixel.autocontrast(flat), flat) and torch.equal(_pixel.equalize(flat), flat)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(5, 4), (20, 30), (9, 12), (1, 1)])
@pytest.mark.parametrize("shape", [(9, 12), (64, 50)])
def test_resize_is_that_of_pillow(shape, size, interpolation):
    x = picture(*shape)
    ours = transform.Resize(size, interpolation)(x)
    theirs = from_pil(to_pil(x).resize(size[::-1], {"nearest": 0, "bilinear": 2}[interpolation]))
    apart = gap(ours, theirs)
    if interpolation == "nearest":  # a centre on the border between two pixels is neither's
        rows, columns = (
            torch.tensor([(2 * i + 1) * before % (2 * after) != 0 for i in range(after)])
            for before, after in zip(shape, size, strict=True)
        )
        apart = apart[:, rows][:, :, columns]
    assert apart.numel() == 0 or apart.max() <= (1 if interpolation == "bilinear" else 0)


def test_resize():
    x = picture(20, 30)
    assert transform.Resize(10)(x).shape == (3, 10, 15)
    assert transform.Resize(7)(x).shape == (3, 7, 10)  # 10.5 rounded down
    assert transform.Resize(7)(x.transpose(1, 2)).shape == (3, 10, 7)
    assert transform.Resize([4, 5])(x).shape == (3, 4, 5)
    floats = transform.Resize(10)(x.float() / 255)
    assert floats.dtype == torch.float32 and (floats * 255 - transform.Resize(10)(x).float()).abs().max() <= 0.51
    fine = torch.tensor([0, 255] * 32, dtype=torch.uint8).expand(1, 64, 64)
    assert transform.Resize(8)(fine).float().std() < 20
    assert (
        transform.Resize(8, antialias=False)(
            torch.tensor([0, 0, 0, 0, 0, 255, 255, 255] * 8).byte().expand(1, 64, 64)
        ).max()
        == 0
    )
    assert torch.equal(transform.Resize((20, 30))(x), x)


def test_center_crop():
    x = torch.arange(5 * 6).byte().reshape(1, 5, 6)
    assert transform.CenterCrop(3)(x)[0, 0, 0] == x[0, 1, 2]  # (5-3)/2 = 1; (6-3)/2 = 1.5, to the even one
    assert transform.CenterCrop((5, 2))(x).shape == (1, 5, 2)


def test_random_crop_reaches_every_place():
    x = torch.arange(1, 1 + 5 * 6).byte().reshape(1, 5, 6)
    corners = {int(transform.RandomCrop((3, 4))(x)[0, 0, 0]) for _ in range(300)}
    assert corners == {int(x[0, i, j]) for i in range(3) for j in range(3)}
    padded = [transform.RandomCrop(5, padding=2, fill=77)(x[:, :, :5]) for _ in range(300)]
    assert {tuple(p.shape) for p in padded} == {(1, 5, 5)}
    assert any((p[0, :2] == 77).all() and (p[0, :, :2] == 77).all() for p in padded)  # moved by 2, 2
    assert any((p[0, -2:] == 77).all() for p in padded) and any(torch.equal(p, x[:, :, :5]) for p in padded)


def test_flip():
    x = picture()
    flipped = [torch.equal(transform.RandomHorizontalFlip(0.3)(x), x.flip(-1)) for _ in range(2000)]
    assert 0.26 < sum(flipped) / 2000 < 0.34
    assert torch.equal(transform.RandomHorizontalFlip(1)(x), x.flip(-1))
    assert all(torch.equal(transform.RandomHorizontalFlip(0)(x), x) for _ in range(100))


def test_random_resized_crop_draws_area_and_ratio():
    crop = transform.RandomResizedCrop(5)
    shares, ratios = [], []
    for _ in range(2000):
        top, left, h, w = crop._part(100, 100)
        assert 0 <= top <= 100 - h and 0 <= left <= 100 - w
        shares.append(h * w / 1e4)
        ratios.append(math.log(w / h))
    assert 0.07 < min(shares) < 0.12 and max(shares) > 0.95
    assert 0.48 < sum(shares) / 2000 < 0.56  # evenly in 0.08..1, a little less where it does not fit
    assert abs(sum(ratios) / 2000) < 0.01 and 0.26 < max(ratios) < 0.32 and -0.32 < min(ratios) < -0.26
    assert crop(picture(30, 20)).shape == (3, 5, 5)
    assert transform.RandomResizedCrop((4, 6), interpolation="nearest")(picture(30, 20)).shape == (3, 4, 6)


def test_random_resized_crop_of_an_image_too_long():
    whole = transform.RandomResizedCrop(5, scale=(1, 1))
    assert whole._part(10, 100) == (0, 43, 10, 13)  # the middle, width / height at most 4/3
    assert whole._part(100, 10) == (43, 0, 13, 10)
    assert whole._part(1, 1) == (0, 0, 1, 1)


def test_normalize():
    x = picture()
    once = transform.Normalize((0.1, 0.2, 0.3), (1, 2, 4))(x)
    assert torch.allclose(once[2], (x[2] / 255 - 0.3) / 4) and once.dtype == torch.float32
    assert torch.equal(transform.Normalize((0.1, 0.2, 0.3), (1, 2, 4))(x / 255), once)
    assert torch.allclose(transform.Normalize([0.5], [0.5])(x), x / 255 * 2 - 1)
    assert transform.ToFloat()(x).max() <= 1


def test_random_erasing():
    x = torch.ones(2, 40, 60)
    shares, ratios = [], []
    for _ in range(1000):
        y = transform.RandomErasing(p=1, scale=(0.05, 0.2), ratio=(0.5, 2))(x)
        rows, columns = (y[0] == 0).any(1), (y[0] == 0).any(0)
        h, w = int(rows.sum()), int(columns.sum())
        assert torch.equal(y[0], y[1]) and int((y[0] == 0).sum()) == h * w  # one rectangle in all channels
        shares.append(h * w / 2400)
        ratios.append(h / w)
    assert 0.045 < min(shares) < 0.06 and 0.19 < max(shares) < 0.21
    assert 0.45 < min(ratios) < 0.6 and 1.8 < max(ratios) < 2.2
    assert (x == 1).all()  # a copy
    erased = sum(bool((transform.RandomErasing(0.25)(x) == 0).any()) for _ in range(1000))
    assert 0.21 < erased / 1000 < 0.29
    noise = transform.RandomErasing(1, value="random")(x)
    assert noise[noise != 1].std() == pytest.approx(1, abs=0.2)
    assert transform.RandomErasing(1, value=7)(picture(40, 60)).eq(7).any()
    assert torch.equal(transform.RandomErasing(1, scale=(1, 1), ratio=(1, 1))(x), x)  # never fits


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (transform.TrivialAugmentWide(), {
            "ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32, "TranslateY": 32, "Rotate": 135, "Brightness": 0.99,
            "Color": 0.99, "Contrast": 0.99, "Sharpness": 0.99, "Posterize": 2, "Solarize": 0,
        }),
        (transform.RandAugment(magnitude=30), {
            "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150, "TranslateY": 75, "Rotate": 30, "Brightness": 0.9,
            "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9, "Posterize": 4, "Solarize": 0,
        }),
    ],
    ids=["ta_wide", "ra"],
)  # fmt: skip
def test_every_operation_is_drawn_with_its_magnitudes(made, expected, monkeypatch):
    """The tables of torchvision: the strongest magnitudes; no other operations; a sign where there is one."""
    seen = {}
    monkeypatch.setattr(
        augment, "_apply", lambda x, name, magnitude, _: seen.setdefault(name, []).append(magnitude) or x
    )
    x = picture(166, 331)[:, :, :]
    for _ in range(12_000 if isinstance(made, transform.TrivialAugmentWide) else 1500):
        made(x)
    assert set(seen) == {*expected, "Identity", "AutoContrast", "Equalize"}
    counts = [len(v) for v in seen.values()]
    assert min(counts) > 0.75 * sum(counts) / 14
    for name, strongest in expected.items():
        values = seen[name]
        extreme = min(values) if name in ("Posterize", "Solarize") else max(values)
        assert extreme == pytest.approx(strongest, rel=0.01), name
        signed = name not in ("Posterize", "Solarize")
        assert (min(values) < 0) == signed, name
        assert not signed or min(values) == pytest.approx(-max(values))
        if isinstance(made, transform.TrivialAugmentWide):
            assert len({abs(v) for v in values}) == (7 if name == "Posterize" else 31), name


def test_defaults_of_rand_augment():
    """Two operations at 9 of 0..30: 0.3 of the way."""
    level = 9 / 30
    assert transform.RandAugment() == transform.RandAugment(2, 9, 31)
    assert transform.RandAugment._magnitude("Rotate", level, 10, 10) == pytest.approx(9)
    assert transform.RandAugment._magnitude("Posterize", level, 10, 10) == 7
    assert transform.RandAugment._magnitude("Solarize", level, 10, 10) == pytest.approx(178.5)
    x = picture()
    assert torch.equal(transform.RandAugment(num_ops=0)(x), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_images_stay_images(channels):
    x = picture(20, 30, channels)
    before = x.clone()
    for made in (transform.TrivialAugmentWide(), transform.RandAugment(3, 20, interpolation="bilinear")):
        changed = 0
        for _ in range(200):
            y = made(x)
            assert y.shape == x.shape and y.dtype == torch.uint8
            changed += not torch.equal(y, x)
        assert changed > 120
    assert torch.equal(x, before)


def test_presets():
    x = picture(50, 40)
    y = transform.training(24)(x)
    assert y.shape == (3, 24, 24) and y.dtype == torch.float32 and y.min() < 0
    names = [type(step).__name__ for step in transform.training().transforms]
    assert names == ["RandomResizedCrop", "RandomHorizontalFlip", "TrivialAugmentWide", "Normalize", "RandomErasing"]
    assert [type(s).__name__ for s in transform.training(auto_augment="ra").transforms][2] == "RandAugment"
    assert transform.training(interpolation="nearest").transforms[2].interpolation == "nearest"
    assert len(transform.training(auto_augment=None).transforms) == 4
    assert transform.augmentation() is None
    small = transform.augmentation([transform.RandomCrop(32, 4)], flip=0.5, random_erase=0.1, mean=(0.5,), std=(1.0,))
    names = [type(step).__name__ for step in small.transforms]
    assert names == ["RandomCrop", "RandomHorizontalFlip", "Normalize", "RandomErasing"]
    assert [type(s).__name__ for s in transform.augmentation(auto_augment="ra").transforms] == ["RandAugment"]
    with pytest.raises(ArgumentError, match=r"Normalize.std: must be 1 numbers > 0"):
        transform.augmentation(mean=(0.5,))
    z = transform.evaluation(30, 24)(x)
    plain = transform.CenterCrop(24)(transform.Resize(30)(x)) / 255
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (transform.IMAGENET_MEAN, transform.IMAGENET_STD))
    assert torch.allclose(z, (plain - mean) / std)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: transform.Resize(0), r"Resize.size: must be an int > 0 or \(height, width\), got 0"),
        (lambda: transform.Resize((1, 2, 3)), r"Resize.size: must be"),
        (lambda: transform.RandomCrop(3, padding=-1), r"RandomCrop.padding: must be a number in 0..inf, got -1"),
        (lambda: transform.RandomHorizontalFlip(1.5), r"RandomHorizontalFlip.p: must be a number in 0..1, got 1.5"),
        (lambda: transform.RandomResizedCrop(3, scale=(0.5, 2)), r"RandomResizedCrop.scale: must be \(low, high\)"),
        (lambda: transform.RandomErasing(ratio=(2, 1)), r"RandomErasing.ratio: must be \(low, high\)"),
        (lambda: transform.RandomErasing(value="noise"), r"RandomErasing.value: must be a number"),
        (lambda: transform.RandomErasing(1, value="random")(picture()), r"RandomErasing.value: .*torch.uint8"),
        (lambda: transform.Normalize((0.5,), (0,)), r"Normalize.std: must be 1 numbers > 0"),
        (lambda: transform.Normalize((0.5, 0.5), (1, 1))(picture()), r"Normalize.mean: .* got 2 for 3 channels"),
        (lambda: transform.RandAugment(magnitude=31), r"RandAugment.magnitude: must be an integer in 0..30, got 31"),
        (lambda: transform.TrivialAugmentWide()(picture() / 255), r"TrivialAugmentWide: must be given an image"),
        (lambda: transform.TrivialAugmentWide()(picture(channels=2)), r"got torch.uint8 \[2, 9, 12\]"),
        (lambda: transform.RandomCrop(10)(picture()), r"RandomCrop.size: must be at most 9x12, .* got 10x10; resize"),
        (lambda: transform.CenterCrop(3)(picture()[0]), r"CenterCrop: must be given an image \[C, H, W\]"),
        (lambda: transform.Resize(3)(to_pil(picture())), r"Resize: must be given an image .*, got Image"),
        (lambda: transform.Compose((1,)), r"Compose.transforms: must be callable, got 1"),
        (lambda: transform.training(auto_augment="ta"), r"transform.auto_augment: must be one of ra, ta_wide, got 'ta"),
        (lambda: transform.Resize(3, "cubic"), r"Resize.interpolation: must be one of bilinear, nearest, got 'cubic'"),
    ],
)  # fmt: skip
def test_refuses(make, says):
    with pytest.raises((ArgumentError, UnknownNameError), match=says):
        make()
