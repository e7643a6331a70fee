"""What each data set brings along: its usual transforms. Those that lie in memory and are grey bring none."""

from __future__ import annotations

from typing import Any

from ...data.transform import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["CIFAR10_MEAN", "CIFAR10_STD", "DATA"]

# of the pixels of the training set; the deviations 0.2023, 0.1994, 0.2010 found in many scripts are of something else
CIFAR10_MEAN, CIFAR10_STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]

_CIFAR: dict[str, Any] = {"crop": 32, "crop_padding": 4, "flip": 0.5}

DATA: dict[str, dict[str, Any]] = {
    "digits": {},
    "mnist": {},
    "fashion_mnist": {},
    # crop and flip: He et al., arXiv:1512.03385, section 4.2
    "cifar10": {"data": {**_CIFAR, "mean": CIFAR10_MEAN, "std": CIFAR10_STD}},
    "cifar100": {"data": {**_CIFAR, "mean": [0.5071, 0.4865, 0.4409], "std": [0.2673, 0.2564, 0.2762]}},
    # the sizes and augmentations of torchvision's reference training and of SpikingJelly's Trainer
    "image_folder": {
        "data": {
            "train_crop_size": 176,
            "val_resize_size": 232,
            "val_crop_size": 224,
            "flip": 0.5,
            "auto_augment": "ta_wide",
            "random_erase": 0.1,
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        }
    },
}
