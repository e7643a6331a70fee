"""From the section ``data`` of a configuration to the transforms of its images; what cannot apply is refused here."""

from __future__ import annotations

import torch

from ..data import Dataset, ImageSet
from ..data.batches import Mix
from ..data.sample_set import Transform
from ..data.transform import (
    CenterCrop,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    augmentation,
    mixing,
)
from ..errors import ConfigError
from .data_config import DataConfig
from .loss import Loss

__all__ = ["check_images", "in_words", "make_mix", "make_transforms"]

_RESIZED = ("train_crop_size", "val_resize_size", "val_crop_size")


def make_transforms(c: DataConfig) -> tuple[Transform | None, Transform | None]:
    """Return the transforms of training images and of those for evaluation; None where nothing is to be done.

    Raises:
        ConfigError: settings exclude each other, or one lacks another.
    """
    _check_geometry(c)
    _check_normalisation(c)
    train: list[Transform] = []
    test: list[Transform] = []
    if c.train_crop_size is not None:
        assert c.val_resize_size is not None and c.val_crop_size is not None
        train = [RandomResizedCrop(c.train_crop_size, interpolation=c.interpolation)]
        test = [Resize(c.val_resize_size, c.interpolation), CenterCrop(c.val_crop_size)]
    else:
        if c.resize is not None:
            train, test = [Resize(c.resize, c.interpolation)], [Resize(c.resize, c.interpolation)]
        if c.crop is not None:
            train.append(RandomCrop(c.crop, c.crop_padding))
            test.append(CenterCrop(c.crop))
    random = augmentation(
        train,
        flip=c.flip,
        auto_augment=c.auto_augment,
        random_erase=c.random_erase,
        interpolation=c.interpolation,
        mean=c.mean,
        std=c.std,
    )
    return random, augmentation(test, mean=c.mean, std=c.std)


def _check_geometry(c: DataConfig) -> None:
    given = [name for name in _RESIZED if getattr(c, name) is not None]
    if given and len(given) < len(_RESIZED):
        lacking = next(name for name in _RESIZED if name not in given)
        raise ConfigError(
            f"data.{lacking} ({_flag(lacking)}): must be given beside {_flag(given[0])}, got none; give all of "
            f"{', '.join(map(_flag, _RESIZED))}, or 'none' for each"
        )
    for name in ("resize", "crop"):
        if given and getattr(c, name) is not None:
            raise ConfigError(
                f"data.{name} (--{name}): must be none beside {_flag(given[0])}, got {getattr(c, name)}; drop it, or "
                f"say 'none' for each of {', '.join(map(_flag, _RESIZED))}"
            )
    if c.val_crop_size is not None and c.val_resize_size is not None and c.val_crop_size > c.val_resize_size:
        raise ConfigError(
            f"data.val_crop_size (--val-crop-size): must be at most --val-resize-size, {c.val_resize_size}, got "
            f"{c.val_crop_size}; lower it"
        )
    if c.crop_padding and c.crop is None:
        raise ConfigError(
            f"data.crop_padding (--crop-padding): must be 0 without --crop, got {c.crop_padding}; give --crop too, "
            "or --crop-padding 0"
        )
    if c.crop is not None and c.resize is not None and c.crop > c.resize:
        raise ConfigError(f"data.crop (--crop): must be at most --resize, {c.resize}, got {c.crop}; lower it")
    if c.ra_reps > 1 and not (c.crop or c.train_crop_size or c.flip or c.auto_augment or c.random_erase):
        raise ConfigError(
            f"data.ra_reps (--ra-reps): must be 1 where nothing is random about an image, got {c.ra_reps}; add e.g. "
            "--crop, --flip or --auto-augment"
        )


def _check_normalisation(c: DataConfig) -> None:
    if (c.mean is None) != (c.std is None) or (c.mean and c.std and len(c.mean) != len(c.std)):
        mean, std = ("none" if v is None else list(v) for v in (c.mean, c.std))
        raise ConfigError(
            f"data.std (--std): must have as many numbers as --mean, {mean}, got {std}; give both or 'none' for both"
        )
    if c.mean == ():
        raise ConfigError("data.mean (--mean): must be a number or one for each channel, got an empty list; say none")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def check_images(c: DataConfig, images: Dataset) -> None:
    """Raise ConfigError where ``c`` does not fit the ``images``, as they are before any transform.

    Files are not opened for it: what does not fit one of them is told when it is read.
    """
    if not isinstance(images, ImageSet):
        return
    channels, height, width = images.in_shape
    of = f"the images of {images.name}"
    if c.mean is not None and len(c.mean) not in (1, channels):
        raise ConfigError(
            f"data.mean (--mean): must be one number or {channels}, one for each channel of {of}, got {list(c.mean)}; "
            "correct it"
        )
    if c.crop is not None and c.resize is None and c.crop > min(height, width):
        raise ConfigError(
            f"data.crop (--crop): must be at most {min(height, width)}, {of} being {height}x{width}, got {c.crop}; "
            "lower it, or enlarge them with --resize"
        )


def make_mix(c: DataConfig, loss_name: str, loss: Loss, classes: int) -> Mix | None:
    """Return what mixes the batches of a training set with ``classes`` classes, or None.

    Args:
        c: the section.
        loss_name: for messages.
        loss: what the mixed labels, shares [B, classes], are given to; tried on a small example.
        classes: of the labels.

    Raises:
        ConfigError: ``loss`` does not take such labels.
    """
    mix = mixing(classes, c.mixup_alpha, c.cutmix_alpha)
    if mix is None:
        return None
    try:
        loss(torch.zeros(1, 2, classes), torch.full((2, classes), 1.0 / classes))
    except Exception as error:  # a loss of the user may fail in any way
        name = "mixup_alpha" if c.mixup_alpha else "cutmix_alpha"
        raise ConfigError(
            f"data.{name} ({_flag(name)}): must be 0 for the loss {loss_name} (--loss), which does not take mixed "
            f"labels [B, classes] ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}), got "
            f"{getattr(c, name)}; use another loss or none of --mixup-alpha and --cutmix-alpha"
        ) from error
    return mix


def in_words(c: DataConfig) -> str:
    """Return what is done to training images and batches; empty if nothing is."""
    padded = f" of images padded by {c.crop_padding}" if c.crop_padding else ""
    said = {
        f"resized to {c.resize}": c.resize,
        f"random crop {c.crop}{padded}": c.crop,
        f"random part resized to {c.train_crop_size}": c.train_crop_size,
        f"flip {c.flip:g}": c.flip,
        f"{c.auto_augment}": c.auto_augment,
        "normalised": c.mean,
        f"erasing {c.random_erase:g}": c.random_erase,
        f"mixup {c.mixup_alpha:g}": c.mixup_alpha,
        f"cutmix {c.cutmix_alpha:g}": c.cutmix_alpha,
        f"each {c.ra_reps} times": c.ra_reps > 1,
    }
    return ", ".join(words for words, present in said.items() if present)
