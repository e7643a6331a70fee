"""Transforms of images, and of batches, for where torchvision is not installed. Any callable will do in their place.

Those of one image take and return a tensor [C, H, W], torch.uint8 of 0..255 or floating. Those of a batch (`MixUp`,
`CutMix`) take and return (x, y). What is random about them is drawn from torch's CPU generator, which `Batches` seeds
for every sample and every batch, so that a run can be resumed exactly. Definitions are those of the papers named and of
Pillow and torchvision, tables of magnitudes included.

`training` and `evaluation` put together what ImageNet is usually trained with, `augmentation` any selection;
``augmentation([RandomCrop(32, padding=4)], flip=0.5, mean=..., std=...)`` is the usual one for CIFAR.
"""

from __future__ import annotations

from .augment import RandAugment, TrivialAugmentWide
from .basic import Compose, Normalize, RandomErasing, ToFloat
from .crop import INTERPOLATIONS, CenterCrop, RandomCrop, RandomHorizontalFlip, RandomResizedCrop, Resize
from .mix import CutMix, MixUp, RandomChoice, mixing
from .recipe import AUTO_AUGMENT, IMAGENET_MEAN, IMAGENET_STD, augmentation, evaluation, training

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
    "augmentation",
    "evaluation",
    "mixing",
    "training",
]
