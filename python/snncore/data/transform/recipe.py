"""Transforms put together: what ImageNet is usually trained with, and any other selection in the usual order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...registry import lookup
from ..sample_set import Transform
from .augment import RandAugment, TrivialAugmentWide
from .basic import Compose, Normalize, RandomErasing
from .crop import CenterCrop, RandomHorizontalFlip, RandomResizedCrop, Resize

__all__ = ["AUTO_AUGMENT", "IMAGENET_MEAN", "IMAGENET_STD", "augmentation", "evaluation", "training"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The names torchvision's reference training gives them. Each takes interpolation=.
AUTO_AUGMENT: dict[str, Callable[..., Transform]] = {
    "ra": RandAugment,
    "ta_wide": TrivialAugmentWide,
}


def augmentation(
    geometry: Sequence[Transform] = (),
    *,
    flip: float = 0.0,
    auto_augment: str | None = None,
    random_erase: float = 0.0,
    interpolation: str = "bilinear",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Compose | None:
    """Return ``geometry``, flip, augmentation, normalisation and erasing one after the other; None if all are off.

    Args:
        geometry: what decides the size: crops and resizing.
        flip: probability of mirroring.
        auto_augment: a name in `AUTO_AUGMENT`, or None.
        random_erase: probability of erasing a rectangle.
        interpolation: of the augmentation.
        mean: of the channels, for pixels in [0, 1]; None: not normalised.
        std: likewise; beside ``mean`` or not at all.

    Raises:
        UnknownNameError: there is no such augmentation or interpolation.
        ArgumentError: a number cannot be used.
    """
    steps: list[Transform] = list(geometry)
    if flip:
        steps.append(RandomHorizontalFlip(flip))
    if auto_augment is not None:
        steps.append(lookup(AUTO_AUGMENT, auto_augment, "transform.auto_augment")(interpolation=interpolation))
    if mean is not None or std is not None:
        steps.append(Normalize(mean or (), std or ()))
    if random_erase:
        steps.append(RandomErasing(random_erase))
    return Compose(tuple(steps)) if steps else None


def training(
    crop_size: int = 176,
    *,
    interpolation: str = "bilinear",
    auto_augment: str | None = "ta_wide",
    random_erase: float = 0.1,
    flip: float = 0.5,
    mean: Sequence[float] | None = IMAGENET_MEAN,
    std: Sequence[float] | None = IMAGENET_STD,
) -> Compose:
    """Return what torchvision's reference training does to an image of ImageNet.

    Args:
        crop_size: of the random part, in pixels.
        interpolation: of cropping and augmentation.
        auto_augment: a name in `AUTO_AUGMENT`, or None.
        random_erase: probability of erasing a rectangle.
        flip: probability of mirroring.
        mean: of the channels, for pixels in [0, 1].
        std: likewise.

    Raises:
        UnknownNameError: there is no such augmentation or interpolation.
        ArgumentError: a number cannot be used.
    """
    made = augmentation(
        (RandomResizedCrop(crop_size, interpolation=interpolation),),
        flip=flip,
        auto_augment=auto_augment,
        random_erase=random_erase,
        interpolation=interpolation,
        mean=mean,
        std=std,
    )
    assert made is not None
    return made


def evaluation(
    resize_size: int = 232,
    crop_size: int = 224,
    *,
    interpolation: str = "bilinear",
    mean: Sequence[float] | None = IMAGENET_MEAN,
    std: Sequence[float] | None = IMAGENET_STD,
) -> Compose:
    """Return what goes with `training`: resize the shorter side, cut out the middle, normalise.

    Raises:
        UnknownNameError: there is no such interpolation.
        ArgumentError: a number cannot be used.
    """
    made = augmentation((Resize(resize_size, interpolation=interpolation), CenterCrop(crop_size)), mean=mean, std=std)
    assert made is not None
    return made
