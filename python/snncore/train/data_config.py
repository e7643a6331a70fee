"""The section ``data`` of a training run's configuration: which images, how they are read, transformed and mixed."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import option
from ..data import DATASETS
from ..data.transform import AUTO_AUGMENT, INTERPOLATIONS

__all__ = ["DataConfig"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """what it learns from"""

    name: str = option("digits", "data set; digits comes with the package", "--dataset", choices=DATASETS)
    root: str | None = option(None, "folder of the data set's files", "--data-root", metavar="DIR", may_change=True)
    batch_size: int = option(128, "samples in a batch, over all ranks together", "-b", "--batch-size", at_least=1)
    val_split: float = option(
        0.0,
        "share of the training set kept apart to choose the best weights; 0: they are chosen on the test set",
        "--val-split",
        at_least=0,
        below=1,
    )
    verify: bool = option(False, "check the files against the published check sums", "--verify", may_change=True)
    workers: int | None = option(
        None,
        "processes that read and transform images, on each rank; none: as suits data and CPUs. A set that lies in "
        "memory and is not transformed needs none and has none",
        "-j",
        "--workers",
        metavar="N",
        at_least=0,
        may_change=True,
    )
    resize: int | None = option(
        None, "pixels that the shorter side of every image is resized to; none: as it is", "--resize", at_least=1
    )
    crop: int | None = option(
        None,
        "side of the square cut out of every image: at random in training, else the middle; none: the whole image",
        "--crop",
        at_least=1,
    )
    crop_padding: int = option(
        0, "black pixels added on every side before the random crop", "--crop-padding", at_least=0
    )
    train_crop_size: int | None = option(
        None,
        "instead of --crop: side that a random part of a training image, 8 to 100 % of it, is resized to",
        "--train-crop-size",
        at_least=1,
    )
    val_resize_size: int | None = option(
        None, "beside it: pixels of the shorter side of an image for evaluation", "--val-resize-size", at_least=1
    )
    val_crop_size: int | None = option(
        None, "and side of the square that is then cut out of its middle", "--val-crop-size", at_least=1
    )
    interpolation: str = option("bilinear", "of resizing and augmentation", "--interpolation", choices=INTERPOLATIONS)
    flip: float = option(
        0.0,
        "probability that a training image is mirrored, left to right",
        "--flip",
        metavar="P",
        at_least=0,
        at_most=1,
    )
    auto_augment: str | None = option(
        None, "augmentation of training images, or none", "--auto-augment", choices=AUTO_AUGMENT
    )
    random_erase: float = option(
        0.0,
        "probability that a rectangle of a training image is erased",
        "--random-erase",
        metavar="P",
        at_least=0,
        at_most=1,
    )
    mean: tuple[float, ...] | None = option(
        None, "means of the channels, as 0.49,0.48,0.45, or one for all, of pixels in [0, 1]; none: not normalised",
        "--mean", metavar="X,X",
    )  # fmt: skip
    std: tuple[float, ...] | None = option(None, "and their standard deviations", "--std", metavar="X,X", above=0)
    mixup_alpha: float = option(
        0.0, "MixUp of a training batch, its share from Beta(X, X); 0: none", "--mixup-alpha", at_least=0
    )
    cutmix_alpha: float = option(
        0.0, "CutMix, likewise; with both, one of them at random for each batch", "--cutmix-alpha", at_least=0
    )
    ra_reps: int = option(
        1,
        "repeated augmentation: each sample comes so often in a row, in an epoch of the usual length; one rank only",
        "--ra-reps",
        metavar="N",
        at_least=1,
    )
