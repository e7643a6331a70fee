"""Architectures, one a file, found by name in `MODELS`.

Each is built in step mode 'm', takes x_seq [T, B, C, H, W] and returns [T, B, num_classes]; the scores are the mean
over ``T``. `relu_twin` makes the artificial net of the same architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..registry import lookup
from .csnn import CSNN
from .mlp import MLP
from .ms_resnet import MSResNet, ms_resnet18, ms_resnet34
from .plif_net import PLIFNet, plif_cifar10, plif_dvs_gesture, plif_fashion_mnist
from .qkformer import QKFormer, qkformer_4_384, qkformer_10_384, qkformer_10_512, qkformer_10_768
from .relu_twin import relu_twin
from .sdt import SpikeDrivenTransformer, sdt_2_512, sdt_8_384, sdt_8_512, sdt_8_768
from .sew_resnet import (
    SEWResNet,
    sew_resnet18,
    sew_resnet34,
    sew_resnet50,
    sew_resnet101,
    sew_resnet152,
    sew_resnext50_32x4d,
    sew_resnext101_32x8d,
    sew_wide_resnet50_2,
    sew_wide_resnet101_2,
)
from .spikformer import Spikformer, spikformer_4_384, spikformer_8_384, spikformer_8_512, spikformer_8_768
from .spiking_lenet import SpikingLeNet
from .spiking_resnet import (
    SpikingResNet,
    spiking_resnet18,
    spiking_resnet34,
    spiking_resnet50,
    spiking_resnet101,
    spiking_resnet152,
    spiking_resnext50_32x4d,
    spiking_resnext101_32x8d,
    spiking_wide_resnet50_2,
    spiking_wide_resnet101_2,
)
from .spiking_vgg import (
    SpikingVGG,
    spiking_vgg11,
    spiking_vgg11_bn,
    spiking_vgg13,
    spiking_vgg13_bn,
    spiking_vgg16,
    spiking_vgg16_bn,
    spiking_vgg19,
    spiking_vgg19_bn,
)

__all__ = [
    "CSNN",
    "MLP",
    "MODELS",
    "MSResNet",
    "PLIFNet",
    "QKFormer",
    "SEWResNet",
    "SpikeDrivenTransformer",
    "Spikformer",
    "SpikingLeNet",
    "SpikingResNet",
    "SpikingVGG",
    "build",
    "ms_resnet18",
    "ms_resnet34",
    "plif_cifar10",
    "plif_dvs_gesture",
    "plif_fashion_mnist",
    "qkformer_4_384",
    "qkformer_10_384",
    "qkformer_10_512",
    "qkformer_10_768",
    "relu_twin",
    "sdt_2_512",
    "sdt_8_384",
    "sdt_8_512",
    "sdt_8_768",
    "sew_resnet18",
    "sew_resnet34",
    "sew_resnet50",
    "sew_resnet101",
    "sew_resnet152",
    "sew_resnext50_32x4d",
    "sew_resnext101_32x8d",
    "sew_wide_resnet50_2",
    "sew_wide_resnet101_2",
    "spikformer_4_384",
    "spikformer_8_384",
    "spikformer_8_512",
    "spikformer_8_768",
    "spiking_resnet18",
    "spiking_resnet34",
    "spiking_resnet50",
    "spiking_resnet101",
    "spiking_resnet152",
    "spiking_resnext50_32x4d",
    "spiking_resnext101_32x8d",
    "spiking_vgg11",
    "spiking_vgg11_bn",
    "spiking_vgg13",
    "spiking_vgg13_bn",
    "spiking_vgg16",
    "spiking_vgg16_bn",
    "spiking_vgg19",
    "spiking_vgg19_bn",
    "spiking_wide_resnet50_2",
    "spiking_wide_resnet101_2",
]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "csnn": CSNN,
    "mlp": MLP,
    "spiking_lenet": SpikingLeNet,
    "ms_resnet18": ms_resnet18,
    "ms_resnet34": ms_resnet34,
    "plif_cifar10": plif_cifar10,
    "plif_dvs_gesture": plif_dvs_gesture,
    "plif_fashion_mnist": plif_fashion_mnist,
    "qkformer_4_384": qkformer_4_384,
    "qkformer_10_384": qkformer_10_384,
    "qkformer_10_512": qkformer_10_512,
    "qkformer_10_768": qkformer_10_768,
    "sdt_2_512": sdt_2_512,
    "sdt_8_384": sdt_8_384,
    "sdt_8_512": sdt_8_512,
    "sdt_8_768": sdt_8_768,
    "sew_resnet18": sew_resnet18,
    "sew_resnet34": sew_resnet34,
    "sew_resnet50": sew_resnet50,
    "sew_resnet101": sew_resnet101,
    "sew_resnet152": sew_resnet152,
    "sew_resnext50_32x4d": sew_resnext50_32x4d,
    "sew_resnext101_32x8d": sew_resnext101_32x8d,
    "sew_wide_resnet50_2": sew_wide_resnet50_2,
    "sew_wide_resnet101_2": sew_wide_resnet101_2,
    "spikformer_4_384": spikformer_4_384,
    "spikformer_8_384": spikformer_8_384,
    "spikformer_8_512": spikformer_8_512,
    "spikformer_8_768": spikformer_8_768,
    "spiking_resnet18": spiking_resnet18,
    "spiking_resnet34": spiking_resnet34,
    "spiking_resnet50": spiking_resnet50,
    "spiking_resnet101": spiking_resnet101,
    "spiking_resnet152": spiking_resnet152,
    "spiking_resnext50_32x4d": spiking_resnext50_32x4d,
    "spiking_resnext101_32x8d": spiking_resnext101_32x8d,
    "spiking_wide_resnet50_2": spiking_wide_resnet50_2,
    "spiking_wide_resnet101_2": spiking_wide_resnet101_2,
    "spiking_vgg11": spiking_vgg11,
    "spiking_vgg11_bn": spiking_vgg11_bn,
    "spiking_vgg13": spiking_vgg13,
    "spiking_vgg13_bn": spiking_vgg13_bn,
    "spiking_vgg16": spiking_vgg16,
    "spiking_vgg16_bn": spiking_vgg16_bn,
    "spiking_vgg19": spiking_vgg19,
    "spiking_vgg19_bn": spiking_vgg19_bn,
}


def build(name: str, **args: Any) -> nn.Module:
    """Make the model called ``name`` in `MODELS`.

    Args:
        name: a key of `MODELS`.
        **args: arguments of its constructor.

    Raises:
        UnknownNameError: there is no such model; the message lists those there are.
        ArgumentError: an argument does not fit.
    """
    return lookup(MODELS, name, "model.build.name")(**args)
