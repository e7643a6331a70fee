"""One small net of each family, and what makes its neurons fire."""

from __future__ import annotations

import torch
from torch import nn

from snncore import model
from snncore.layer.norm import TimeBatchNorm
from snncore.neuron import NEURONS, ONLINE_NEURONS, PARALLEL_NEURONS

T, B, CLASSES = 3, 3, 4
TINY = {"layers": (1, 1, 1, 1), "channels": 4, "stem": "cifar", "in_channels": 2}
ATTENTION = {"dim": 16, "num_heads": 2, "in_channels": 2, "mlp_ratio": 2, "attn_threshold": 0.1}

# one of each family -> arguments, size of the images
FAMILIES = {
    "spiking_resnet18": (TINY, 8),
    "sew_resnet18": (TINY, 8),
    "ms_resnet18": ({**TINY, "zero_init_residual": False}, 8),
    "spiking_vgg11_bn": ({"channels": 2, "pool_size": 1, "hidden": 12, "in_channels": 2, "dropout": 0.0}, 32),
    "plif_fashion_mnist": ({"channels": 4, "hidden": 12, "in_shape": (2, 8, 8), "votes": 2, "dropout": 0.0}, 8),
    "spiking_lenet": ({"in_shape": (2, 12, 12)}, 12),
    "spikformer_4_384": ({**ATTENTION, "depth": 2}, 8),
    "sdt_2_512": ({**ATTENTION, "depth": 2}, 8),
    "qkformer_4_384": ({**ATTENTION, "depth": 3}, 8),
}
BOTTLENECK = {**TINY, "groups": 2, "width_per_group": 64}
MORE = {
    "spiking_resnet50": (TINY, 8),
    "spiking_resnext50_32x4d": (BOTTLENECK, 8),
    "spiking_wide_resnet50_2": (TINY, 8),
    "sew_resnet50": (TINY, 8),
    "spiking_resnet34": ({**TINY, "stem": "imagenet"}, 16),
    "ms_resnet34": ({**TINY, "stem": "imagenet", "zero_init_residual": False}, 16),
    "spiking_vgg11": ({"channels": 4, "pool_size": 2, "hidden": 12, "in_channels": 2, "dropout": 0.0}, 32),
    "spiking_vgg16_bn": ({"channels": 2, "pool_size": 1, "hidden": 12, "in_channels": 2, "dropout": 0.0}, 32),
    "plif_cifar10": ({"channels": 4, "hidden": 12, "in_shape": (2, 9, 11), "votes": 3, "dropout": 0.0}, (9, 11)),
    "plif_dvs_gesture": ({"channels": 4, "hidden": 12, "in_shape": (2, 32, 32), "dropout": 0.0}, 32),
    "spikformer_8_384": ({**ATTENTION, "depth": 1}, 32),
    "sdt_8_384": ({**ATTENTION, "depth": 1}, 32),
    "qkformer_10_384": ({**ATTENTION, "depth": 4}, 33),
}
SMALL = {**FAMILIES, **MORE}

ALL_NEURONS = {**NEURONS, **ONLINE_NEURONS, **PARALLEL_NEURONS}
NEURON_ARGS = {"psn": {"T": T}, "masked_psn": {"k": 2, "T": T, "lambda_init": 1.0}, "sliding_psn": {"k": 2}}
ONE_STEP = [name for name in ALL_NEURONS if name != "psn"]  # those that can take one step at a time


def build(name, neuron=None, *, awake=True, **more):
    """Return the small net ``name`` in double precision, with normalisation that lets its neurons fire."""
    torch.manual_seed(0)
    args = {**SMALL[name][0], "num_classes": CLASSES, **more}
    if neuron is not None:
        args |= {"spiking_neuron": ALL_NEURONS[neuron], **NEURON_ARGS.get(neuron, {})}
    net = model.build(name, **args).double()
    return wake(net) if awake else net


def wake(net):
    """Draw norms so that neurons fire now and then, and give layers without one more to say."""
    normed = any(isinstance(module, TimeBatchNorm) for module in net.modules())
    for module in net.modules():
        if isinstance(module, TimeBatchNorm):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.uniform_(module.bias, 0.0, 0.8)
        elif isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and not normed):
            nn.init.normal_(module.weight, 0.1 * normed, (1.5 if normed else 3.0) / module.weight[0].numel() ** 0.5)
            if module.bias is not None:
                nn.init.uniform_(module.bias, *((0.0, 0.5) if normed else (-0.5, 0.5)))
    return net


def images(name, seed=0, steps=T, batch=B):
    size = SMALL[name][1]
    shape = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, batch, 2, *shape, dtype=torch.float64, generator=generator) * 2
