"""Transforms and mixing by configuration: which images get which, what cannot be, and the same data on any machine."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from snncore import profile
from snncore.data import ImageSet, SampleSet
from snncore.errors import ArgumentError, ConfigError
from snncore.train import LOSSES, fit, resolve
from snncore.train.augment import in_words, make_transforms
from snncore.train.build import Machine, load_parts
from snncore.train.distributed import Ranks
from snncore.train.run import ConfigTask

# torch warns of more workers than CPUs, and a test may run on one CPU.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

CPU = torch.device("cpu")
SMALL = {
    "model": {"channels": 2, "T": 2},
    "data": {"batch_size": 96},
    "energy": {"samples": 0},
    "train": {"epochs": 1, "threads": 1, "tensorboard": False, "keep_freed_blocks": False},
}
RANDOM = {"crop": 7, "crop_padding": 1, "flip": 0.5, "auto_augment": "ra", "random_erase": 0.5}
MIXED = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}


def config(name="digits", **settings):
    model = settings.pop("model", "csnn")
    here = {"data": {"name": name, **settings}, "model": {"name": model}}
    return resolve([("small", copy.deepcopy(SMALL)), ("here", here)]).config


def task(**settings):
    return ConfigTask(config(**settings), None, Machine(CPU, False))


def names(transform):
    return [] if transform is None else [type(step).__name__ for step in transform.transforms]


CIFAR = {"crop": 32, "crop_padding": 4, "flip": 0.5, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
FOLDER = {"train_crop_size": 176, "val_resize_size": 232, "val_crop_size": 224}
STEPS = [
    ({}, [], []),
    ({"flip": 0.5}, ["RandomHorizontalFlip"], []),
    (CIFAR, ["RandomCrop", "RandomHorizontalFlip", "Normalize"], ["CenterCrop", "Normalize"]),
    (FOLDER, ["RandomResizedCrop"], ["Resize", "CenterCrop"]),
    ({"resize": 12, "crop": 8}, ["Resize", "RandomCrop"], ["Resize", "CenterCrop"]),
    (
        {"resize": 12, "auto_augment": "ta_wide", "mean": [0.5], "std": [1], "random_erase": 0.1},
        ["Resize", "TrivialAugmentWide", "Normalize", "RandomErasing"],
        ["Resize", "Normalize"],
    ),
    ({"mixup_alpha": 1.0}, [], []),
]


@pytest.mark.parametrize(("settings", "train", "test"), STEPS)
def test_which_images_get_which_transforms(settings, train, test):
    made = make_transforms(config(**settings).data)
    assert [names(t) for t in made] == [train, test]


def test_numbers_reach_their_transforms():
    c = config(**{**CIFAR, "auto_augment": "ra", "random_erase": 0.3, "interpolation": "nearest"}).data
    crop, flip, augment, normalise, erase = make_transforms(c)[0].transforms
    assert (crop.size, crop.padding, flip.p, augment.interpolation, erase.p) == (32, 4, 0.5, "nearest", 0.3)
    assert (list(normalise.mean), list(normalise.std)) == ([0.5] * 3, [0.2] * 3)
    resized, *_ = make_transforms(config(**FOLDER, interpolation="nearest").data)[1].transforms
    assert (resized.size, resized.interpolation) == (232, "nearest")


REFUSED = [
    ({"crop": 9}, r"data.crop \(--crop\): must be at most 8, the images of digits being 8x8, got 9"),
    ({"crop": 9, "resize": 8}, r"data.crop \(--crop\): must be at most --resize, 8, got 9"),
    ({"crop_padding": 2}, r"data.crop_padding \(--crop-padding\): must be 0 without --crop, got 2"),
    ({"train_crop_size": 8}, r"data.val_resize_size \(--val-resize-size\): must be given beside --train-crop-size"),
    ({"val_resize_size": 9, "val_crop_size": 8}, r"data.train_crop_size .*: must be given beside --val-resize-size"),
    ({**FOLDER, "val_crop_size": 240}, r"data.val_crop_size .*: must be at most --val-resize-size, 232, got 240"),
    ({**FOLDER, "crop": 8}, r"data.crop \(--crop\): must be none beside --train-crop-size, got 8"),
    ({**FOLDER, "resize": 8}, r"data.resize \(--resize\): must be none beside --train-crop-size, got 8"),
    ({"mean": [0.5]}, r"data.std \(--std\): must have as many numbers as --mean, \[0.5\], got none"),
    ({"mean": [0.5, 0.4], "std": [1]}, r"data.std \(--std\): must have as many numbers as --mean"),
    ({"mean": [], "std": []}, r"data.mean \(--mean\): must be a number or one for each channel"),
    ({"mean": [0.5] * 3, "std": [1.0] * 3}, r"data.mean \(--mean\): must be one number or 1, .* of digits"),
    ({"ra_reps": 2}, r"data.ra_reps \(--ra-reps\): must be 1 where nothing is random about an image, got 2"),
    ({"flip": 1.5}, r"data.flip \(--flip\): must be at most 1, got 1.5"),
    ({"std": [0.0]}, r"data.std \(--std\): must be greater than 0, got \[0.0\]"),
    ({"auto_augment": "ta"}, r"data.auto_augment \(--auto-augment\): must be one of ra, ta_wide, got 'ta'"),
    ({"workers": -1}, r"data.workers \(-j\): must be at least 0"),
    ({"mixup_alpha": -0.1}, r"data.mixup_alpha \(--mixup-alpha\): must be at least 0"),
    (
        {"train_crop_size": 8, "val_resize_size": 12, "val_crop_size": 10},
        r"data.val_crop_size .*: must give images of the size of training, 1x8x8, for csnn, .* got 1x10x10; say",
    ),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_cannot_be_is_refused_before_there_is_a_folder(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        fit(resolve([("here", {"train": {"output_dir": str(tmp_path)}, "data": settings})]).config)
    assert not list(tmp_path.iterdir())


def test_only_the_training_set_is_altered_at_random():
    parts = load_parts(config(**RANDOM, val_split=0.1, mean=[0.5], std=[0.5]).data, 0, CPU)
    assert names(parts.train.transform)[0] == "RandomCrop"
    for part in (parts.val, parts.test):
        assert names(part.transform) == ["CenterCrop", "Normalize"]
        assert torch.equal(part.sample(3, epoch=0), part.sample(3, epoch=1))
    assert not torch.equal(parts.train.sample(3, epoch=0), parts.train.sample(3, epoch=1))
    assert {part.in_shape for part in (parts.train, parts.val, parts.test)} == {(1, 7, 7)}


def test_a_set_in_memory_that_is_not_transformed_stays_there():
    parts = load_parts(config(mixup_alpha=1.0).data, 0, CPU)
    assert isinstance(parts.train, ImageSet) and isinstance(parts.test, ImageSet)
    flipped = load_parts(config(flip=0.5).data, 0, CPU)
    assert isinstance(flipped.train, SampleSet) and isinstance(flipped.test, ImageSet)


def batches(made, ranks=None, part="train", **more):
    return list(made.batches(part, ranks or Ranks(), **more))


@pytest.mark.parametrize("settings", [RANDOM, {**RANDOM, **MIXED}, {**RANDOM, "ra_reps": 3}, MIXED])
def test_a_batch_depends_neither_on_workers_nor_on_where_the_epoch_is_taken_up(settings):
    made = task(**settings, workers=0)
    whole = batches(made, epoch=2)
    later = batches(task(**settings, workers=2), epoch=2, start=5)
    assert len(whole) == 15 and len(later) == 10
    for one, other in zip(whole[5:], later, strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.label, other.label)
    assert not torch.equal(whole[0].x, batches(made, epoch=1)[0].x)


def test_two_ranks_see_what_one_does():
    made = task(**RANDOM, batch_size=100, workers=0)
    alone = batches(made, epoch=1)
    shares = [batches(made, Ranks(rank, 2), epoch=1) for rank in range(2)]
    for one, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(one.x, torch.cat([part.x for part in parts]))
        assert torch.equal(one.label, torch.cat([part.label for part in parts]))


def test_repeated_augmentation_brings_each_sample_again_and_again_otherwise():
    first = batches(task(**RANDOM, ra_reps=3, workers=0))[0]
    assert torch.equal(first.label[0::3], first.label[1::3])
    assert not torch.equal(first.x[0::3], first.x[1::3])


def test_repeated_augmentation_is_for_one_rank(monkeypatch, tmp_path):
    from contextlib import nullcontext

    from snncore.train import run

    monkeypatch.setattr(run, "connected", lambda *args: nullcontext(Ranks(0, 2)))
    with pytest.raises(ConfigError, match=r"\(--ra-reps\): must be 1 on several ranks, got 4 on 2"):
        fit(config(**RANDOM, ra_reps=4))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_takes_mixed_labels(loss):
    c = resolve([("small", SMALL), ("here", {"data": MIXED, "train": {"loss": loss, "label_smoothing": 0.1}})]).config
    made = ConfigTask(c, None, Machine(CPU, False))
    batch = next(iter(made.batches("train", Ranks())))
    assert batch.label.shape == (96, 10) and torch.allclose(batch.label.sum(1), torch.ones(96))
    output = made.train_output(made.net, batch.x)
    made.train_loss(output, batch.label).backward()
    assert all(torch.isfinite(p.grad).all() for p in made.net.parameters())
    right = made.correct(output, batch.label)
    assert torch.equal(right, made.correct(output, batch.label.argmax(1)))


def test_evaluation_is_never_mixed():
    assert task(**MIXED).batches("test", Ranks()).__next__().label.dtype == torch.int64


def test_a_loss_that_takes_no_mixed_labels_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(LOSSES, "hard", lambda y, label: torch.nn.functional.nll_loss(y.mean(0), label.flatten()))
    for name, flag in (("mixup_alpha", "--mixup-alpha"), ("cutmix_alpha", "--cutmix-alpha")):
        c = resolve([("small", SMALL), ("here", {"data": {name: 0.5}, "train": {"loss": "hard"}})]).config
        with pytest.raises(ConfigError, match=rf"data.{name} \({flag}\): must be 0 for the loss hard \(--loss\)"):
            ConfigTask(c, None, Machine(CPU, False))


def test_a_net_of_more_classes_than_the_data_takes_mixed_labels():
    c = resolve([("small", SMALL), ("here", {"data": MIXED, "model": {"args": {"num_classes": 12}}})]).config
    made = ConfigTask(c, None, Machine(CPU, False))
    batch = next(iter(made.batches("train", Ranks())))
    assert torch.isfinite(made.train_loss(made.train_output(made.net, batch.x), batch.label))


def test_a_run_says_what_it_does_and_profile_and_energy_see_the_images_of_evaluation(tmp_path, monkeypatch):
    settings = {**RANDOM, **MIXED, "mean": [0.3], "std": [0.4], "workers": 0}
    here = {"data": settings, "train": {"output_dir": str(tmp_path)}, "energy": {"samples": 40}}
    result = fit(resolve([("small", SMALL), ("here", here)]).config)
    assert result.energy is not None
    log = (result.folder / "log.txt").read_text()
    said = "random crop 7 of images padded by 1, flip 0.5, ra, normalised, erasing 0.5, mixup 0.4, cutmix 1"
    assert f"training images: {said}" in log
    saved = profile.load(result.folder)
    assert names(saved.test.transform) == ["CenterCrop", "Normalize"] and saved.test.in_shape == (1, 7, 7)
    energy = json.loads((result.folder / "energy.json").read_text())
    assert energy and result.test_accuracy is not None


def test_nothing_to_say_where_nothing_is_done():
    assert in_words(config().data) == ""


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (pip install 'snncore[images]')")
    for number in range(12):
        folder = tmp_path / ("val" if number > 9 else "train") / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(number).randint(0, 256, (20 + number, 24, 3)).astype(np.uint8)
        image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def test_a_folder_of_images_in_another_size(pictures):
    small = {"train_crop_size": 12, "val_resize_size": 16, "val_crop_size": 12, "mean": [0.5], "std": [0.5]}
    here = {
        "data": {**small, "name": "image_folder", "root": str(pictures), "batch_size": 4, "workers": 0},
        "train": {"output_dir": "unused"},
    }
    made = ConfigTask(resolve([("small", SMALL), ("here", here)]).config, None, Machine(CPU, False))
    assert made.parts.train.in_shape == made.parts.test.in_shape == (3, 12, 12)
    batch = next(iter(made.batches("train", Ranks())))
    assert batch.x.shape == (4, 3, 12, 12) and batch.x.min() < 0
    assert torch.isfinite(made.train_loss(made.train_output(made.net, batch.x), batch.label))


def test_a_crop_that_a_file_is_too_small_for_names_the_file(pictures):
    none = dict.fromkeys(("train_crop_size", "val_resize_size", "val_crop_size"))
    here = {"data": {**none, "name": "image_folder", "root": str(pictures), "crop": 22, "workers": 0}}
    made = resolve([("small", SMALL), ("here", here)]).config
    with pytest.raises(ArgumentError, match=r"RandomCrop.size: must be at most 2\dx24, .* \(on .*\.png"):
        batches(ConfigTask(made, None, Machine(CPU, False)))
