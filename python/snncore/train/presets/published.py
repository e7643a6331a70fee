"""What each net was published with, on any data set; `on_data` has what goes with one.

Where a publication names a batch for each GPU, ``batch_size`` is that of all its GPUs, for ours is that of all ranks.
Its mixed precision is not preset, for not every device has it: add ``--amp``. Cosine courses end at a rate of 0 here;
those of the transformers end at 1e-5, ten epochs later.
"""

from __future__ import annotations

from typing import Any

from .soul import TRAINING

__all__ = ["MODEL", "PLIF_NETS", "RESNETS", "TRANSFORMERS"]

PLIF_NETS = ("plif_fashion_mnist", "plif_cifar10", "plif_dvs_gesture")
RESNETS = (
    "spiking_resnet18", "spiking_resnet34", "spiking_resnet50", "spiking_resnet101", "spiking_resnet152",
    "spiking_resnext50_32x4d", "spiking_resnext101_32x8d", "spiking_wide_resnet50_2", "spiking_wide_resnet101_2",
    "sew_resnet18", "sew_resnet34", "sew_resnet50", "sew_resnet101", "sew_resnet152",
    "sew_resnext50_32x4d", "sew_resnext101_32x8d", "sew_wide_resnet50_2", "sew_wide_resnet101_2",
)  # fmt: skip
VGGS = (
    "spiking_vgg11", "spiking_vgg11_bn", "spiking_vgg13", "spiking_vgg13_bn", "spiking_vgg16", "spiking_vgg16_bn",
    "spiking_vgg19", "spiking_vgg19_bn",
)  # fmt: skip
TRANSFORMERS = (
    "spikformer_4_384", "spikformer_8_384", "spikformer_8_512", "spikformer_8_768",
    "sdt_2_512", "sdt_8_384", "sdt_8_512", "sdt_8_768",
    "qkformer_4_384", "qkformer_10_384", "qkformer_10_512", "qkformer_10_768",
)  # fmt: skip


def _plif(T: int) -> dict[str, Any]:
    """Fang et al., arXiv:2007.05785, and fangwei123456/Parametric-Leaky-Integrate-and-Fire-Spiking-Neuron.

    Published are 1,024 epochs, in which the rate falls for 64, rises for 64 and so on; this is the first fall.
    """
    return {
        "model": {"T": T},
        "neuron": {"name": "plif", "surrogate": "atan"},
        "data": {"batch_size": 16},
        "optim": {"name": "adam", "lr": 1e-3, "scheduler": "cosine"},
        "train": {"epochs": 64, "loss": "mse_rate"},
    }


# Fang et al., arXiv:2102.04159, logs of fangwei123456/Spike-Element-Wise-ResNet: 32 images on each of 8 GPUs. ResNeXt
# and wide nets are not published as spiking nets; they have the settings of their family.
_SEW: dict[str, Any] = {
    "model": {"T": 4},
    "neuron": {"name": "if", "surrogate": "atan"},
    "data": {"batch_size": 256},
    "optim": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "scheduler": "cosine"},
    "train": {"epochs": 320, "loss": "ce_mean"},
}
# the same logs, there called mem_add_resnet2
_SPIKING_RESNET = {**_SEW, "model": {"T": 4, "args": {"zero_init_residual": True}}}

# Hu et al., arXiv:2112.08954, and Ariande1/MS-ResNet: 256 images over all GPUs, with batch norms over all of them
# (--sync-bn)
_MS_RESNET: dict[str, Any] = {
    "model": {"T": 6},
    "neuron": {"name": "lif"},
    "data": {"batch_size": 256},
    "optim": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-5, "scheduler": "cosine"},
    "train": {"epochs": 125, "loss": "ce_mean", "label_smoothing": 0.1},
}


def _transformer(
    *, epochs: int, lr: float, weight_decay: float, warmup_lr: float, warmup: int = 20, batch_size: int | None = None
) -> dict[str, Any]:
    return {
        "model": {"T": 4},
        "neuron": {"name": "lif", "surrogate": "atan"},
        "data": {} if batch_size is None else {"batch_size": batch_size},
        "optim": {
            "name": "adamw",
            "lr": lr,
            "weight_decay": weight_decay,
            "scheduler": "cosine",
            "warmup_epochs": warmup,
            "warmup_method": "linear",
            "warmup_decay": warmup_lr / lr,
        },
        "train": {"epochs": epochs, "loss": "ce_mean", "label_smoothing": 0.1},
    }


# Zhou et al., arXiv:2209.15425, files of ZK-Zhou/spikformer; that for ImageNet has 24 images on each of an unnamed
# number of GPUs, so its batch is the packaged default
_SPIKFORMER = _transformer(epochs=300, lr=5e-4, weight_decay=0.06, warmup_lr=1e-5, batch_size=128)
_SPIKFORMER_IMAGENET = _transformer(epochs=300, lr=5e-4, weight_decay=0.05, warmup_lr=1e-6)
# Yao et al., arXiv:2307.01694, files of BICLab/Spike-Driven-Transformer. The nets for ImageNet were trained with LAMB,
# which torch does not have, so they have the settings for CIFAR.
_SDT = _transformer(epochs=300, lr=3e-4, weight_decay=0.06, warmup_lr=1e-6, batch_size=64)
# Zhou et al., arXiv:2403.16552, files of zhouchenlin2096/QKFormer; for ImageNet a rate of 6e-4 for every 256 images,
# with a warm-up from 0
_QKFORMER = _transformer(epochs=400, lr=1e-3, weight_decay=0.06, warmup_lr=1e-5, batch_size=64)
_QKFORMER_IMAGENET = _transformer(epochs=200, lr=6e-4, weight_decay=0.05, warmup_lr=0.0, warmup=5, batch_size=256)

MODEL: dict[str, dict[str, Any]] = {
    # SpikingJelly's conv_fashion_mnist: 0.9330 on Fashion-MNIST with 128 channels
    "csnn": {
        "model": {"T": 4},
        "neuron": {"name": "if", "surrogate": "atan"},
        "data": {"batch_size": 128},
        "optim": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "scheduler": "cosine"},
        "train": {"epochs": 64, "loss": "mse_rate"},
    },
    # snnTorch's 784-1000-10
    "mlp": {
        "model": {"T": 25, "hidden": [1000]},
        "neuron": {"name": "leaky", "surrogate": "atan"},
        "data": {"batch_size": 128},
        "optim": {"name": "adam", "lr": 1e-3, "scheduler": "none"},
        "train": {"epochs": 10, "loss": "ce_count"},
    },
    # LeNet and VGG were not published as spiking nets with settings of their own: SOUL's base
    "spiking_lenet": TRAINING,
    **dict.fromkeys(VGGS, TRAINING),
    "plif_fashion_mnist": _plif(8),
    "plif_cifar10": _plif(8),
    "plif_dvs_gesture": _plif(20),
    **{name: _SEW if name.startswith("sew") else _SPIKING_RESNET for name in RESNETS},
    "ms_resnet18": _MS_RESNET,
    "ms_resnet34": _MS_RESNET,
    "spikformer_4_384": _SPIKFORMER,
    "spikformer_8_384": _SPIKFORMER_IMAGENET,
    "spikformer_8_512": _SPIKFORMER_IMAGENET,
    "spikformer_8_768": _SPIKFORMER_IMAGENET,
    "sdt_2_512": _SDT,
    "sdt_8_384": _SDT,
    "sdt_8_512": _SDT,
    "sdt_8_768": _SDT,
    "qkformer_4_384": _QKFORMER,
    "qkformer_10_384": _QKFORMER_IMAGENET,
    "qkformer_10_512": _QKFORMER_IMAGENET,
    "qkformer_10_768": _QKFORMER_IMAGENET,
}
