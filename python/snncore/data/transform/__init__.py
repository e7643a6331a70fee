"""Transforms of images, and of batches, for where torchvision is not installed. Any callable will do in their place.

Those of one image take and return a tensor [C, H, W], torch.uint8 of 0..255 or floating. Those of a batch (`MixUp`,
`CutMix`) take and return (x, y). What is random about them is drawn from torch's CPU generator, which `Batches` seeds
for every sample and every batch, so that a run can be resumed exactly. Definitions are those of the papers named and of
Pillow and torchvision, tables of magnitudes included.

`training` and `evaluation` put together what ImageNet is usually trained with; ``RandomCrop(32, padding=4)``,
``RandomHorizontalFlip()`` and ``Normalize(...)`` are the usual ones for CIFAR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...registry import lookup
from ..sample_set import Transform
from .augment import RandAugment, TrivialAugmentWide
from .basic import Compose, Normalize, RandomErasing, ToFloat
from .crop import INTERPOLATIONS, CenterCrop, RandomCrop, RandomHorizontalFlip, RandomResizedCrop, Resize
from .mix import CutMix, MixUp, RandomChoice, mixing

__all__ = [
    "AUTO_AUGMENT",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "CenterCrop",
    "Compose",
    "CutMix",
    "MixUp",
    "Normalize",
    "RandAugment",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "ToFloat",
    "TrivialAugmentWide",
    "evaluation",
    "mixing",
    "training",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The names torchvision's reference training gives them. Each takes interpolation=.
AUTO_AUGMENT: dict[str, Callable[..., Transform]] = {
    "ra": RandAugment,
    "ta_wide": TrivialAugmentWide,
}


def training(
    crop_size: int = 176,
    *,
    interpolation: str = "bilinear",
    auto_augment: str | None = "ta_wide",
    random_erase: float = 0.1,
    flip: float = 0.5,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
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
    steps: list[Transform] = [RandomResizedCrop(crop_size, interpolation=interpolation), RandomHorizontalFlip(flip)]
    if auto_augment is not None:
        steps.append(lookup(AUTO_AUGMENT, auto_augment, "training.auto_augment")(interpolation=interpolation))
    steps += [Normalize(mean, std), RandomErasing(random_erase)]
    return Compose(tuple(steps))


def evaluation(
    resize_size: int = 232,
    crop_size: int = 224,
    *,
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Compose:
    """Return what goes with `training`: resize the shorter side, cut out the middle, normalise.

    Raises:
        UnknownNameError: there is no such interpolation.
        ArgumentError: a number cannot be used.
    """
    resize = Resize(resize_size, interpolation=interpolation)
    return Compose((resize, CenterCrop(crop_size), Normalize(mean, std)))
