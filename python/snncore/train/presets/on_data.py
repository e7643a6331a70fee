"""What a net brings along for one data set: its publication's transforms, and what makes it fit small images.

The transformers were published with timm's RandAugment of one operation (CIFAR) and with bicubic interpolation; here
it is torchvision's ``ra``, bilinear. Colour jitter (spike-driven transformer) is not there. They mixed in the first 200
epochs only (CIFAR); here mixing stays on.
"""

from __future__ import annotations

from typing import Any

from .data import CIFAR10_MEAN
from .published import PLIF_NETS, RESNETS, TRANSFORMERS

__all__ = ["ON_DATA"]

_SMALL_SETS = ("cifar10", "cifar100", "digits", "fashion_mnist", "mnist")
# a stem that keeps the size: the one for ImageNet would leave 1x1 of 32x32, no number of a publication
_SMALL_STEM: dict[str, Any] = {"model": {"args": {"stem": "cifar"}}}

# images are neither cropped nor padded
_WHOLE: dict[str, Any] = {"crop": None, "crop_padding": 0, "flip": 0.5}
_TRANSFORMER: dict[str, Any] = {**_WHOLE, "auto_augment": "ra", "mixup_alpha": 0.5}
_ERASED: dict[str, Any] = {**_TRANSFORMER, "random_erase": 0.25}


def _cifar(data: dict[str, Any]) -> dict[str, Any]:
    return {**_SMALL_STEM, "data": data}


_PLIF_CIFAR: dict[str, Any] = {"data": {"mean": CIFAR10_MEAN, "std": [0.2023, 0.1994, 0.2010]}}

# random parts and middles of one size, for nets that take one only
_SIZE_224: dict[str, Any] = {"data": {"train_crop_size": 224, "val_resize_size": 256, "val_crop_size": 224}}
# fangwei123456/Spike-Element-Wise-ResNet
_SEW_IMAGENET: dict[str, Any] = {"data": {**_SIZE_224["data"], "auto_augment": None, "random_erase": 0.0}}
# ZK-Zhou/spikformer resizes training images whole, which --train-crop-size cannot
_SPIKFORMER_IMAGENET: dict[str, Any] = {
    "data": {
        "train_crop_size": 224,
        "val_resize_size": 224,
        "val_crop_size": 224,
        "auto_augment": "ra",
        "random_erase": 0.25,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
    }
}
# zhouchenlin2096/QKFormer; sizes of evaluation as in MAE's fine-tuning, on which its script is built
_QKFORMER_IMAGENET: dict[str, Any] = {"data": {**_SIZE_224["data"], "auto_augment": "ra", "random_erase": 0.25}}

_FIXED_SIZE = ("csnn", "mlp", "spiking_lenet", *PLIF_NETS)

ON_DATA: dict[tuple[str, str], dict[str, Any]] = {
    ("csnn", "digits"): {"model": {"channels": 32}, "data": {"batch_size": 16}, "train": {"epochs": 20}},
    ("mlp", "digits"): {"data": {"batch_size": 64}},
    # the authors' random affine maps of MNIST are not there
    ("plif_fashion_mnist", "mnist"): {"data": {"mean": [0.1307], "std": [0.3081]}},
    ("plif_fashion_mnist", "fashion_mnist"): {"data": {"mean": [0.2860], "std": [0.3530]}},
    ("plif_cifar10", "cifar10"): _PLIF_CIFAR,
    **{
        (model, data): _SMALL_STEM
        for model in (*RESNETS, "ms_resnet18", "ms_resnet34", *TRANSFORMERS)
        for data in _SMALL_SETS
    },
    ("spikformer_4_384", "cifar10"): _cifar(_ERASED),
    ("spikformer_4_384", "cifar100"): _cifar(_ERASED),
    ("sdt_2_512", "cifar10"): _cifar(_TRANSFORMER),
    ("sdt_2_512", "cifar100"): _cifar(_TRANSFORMER),
    ("qkformer_4_384", "cifar10"): _cifar(_ERASED),
    ("qkformer_4_384", "cifar100"): _cifar(_ERASED),
    **{(model, "image_folder"): _SIZE_224 for model in _FIXED_SIZE},
    **{(model, "image_folder"): _SEW_IMAGENET for model in RESNETS},
    **{
        (model, "image_folder"): _SPIKFORMER_IMAGENET if model.startswith("spikformer") else _QKFORMER_IMAGENET
        for model in TRANSFORMERS
        if not model.startswith("sdt") and not model.endswith("4_384")
    },
}
