"""Spiking VGGs: torchvision's, with a neuron in the place of every ReLU.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
arXiv:1409.1556; spiking: Sengupta et al., Frontiers in Neuroscience 2019, arXiv:1802.02627.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .. import functional, layer
from ..errors import ArgumentError
from ..neuron import BaseNode, IFNode
from ._parts import check_count, check_share, neuron_maker, with_atan
from ._variant import variant

__all__ = [
    "SpikingVGG",
    "spiking_vgg11",
    "spiking_vgg11_bn",
    "spiking_vgg13",
    "spiking_vgg13_bn",
    "spiking_vgg16",
    "spiking_vgg16_bn",
    "spiking_vgg19",
    "spiking_vgg19_bn",
]

# convolutions 3x3 in front of each of the five max-pools: A, B, D and E of the paper
DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


class SpikingVGG(nn.Module):
    """VGG with a neuron in the place of every ReLU.

    Names and shapes in ``state_dict`` are torchvision's. Built in step mode 'm': x_seq [T, B, in_channels, H, W] ->
    potentials [T, B, num_classes], in the dtype of the parameters; ``.mean(0)`` are the scores. H and W at least 32.

    Args:
        depths: convolutions of each of the five stages.
        batch_norm: a batch norm behind every convolution or not.
        spiking_neuron: the class of all neurons.
        num_classes: size of the output.
        in_channels: channels of the images.
        channels: channels of the first stage; 2, 4, 8 and 8 times as many in the others.
        pool_size: what the last map is averaged to, or stretched from; 1 suits small images.
        hidden: neurons in each of the two hidden linear layers; 512 suits small images.
        dropout: share of them silenced in training, the same for all time steps.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given.

    Convolutions start normal by fan-out, linear layers normal with deviation 0.01, biases at 0, as in torchvision.

    Raises:
        ArgumentError: an argument does not fit; on forward: the images are too small.
    """

    def __init__(
        self,
        depths: Sequence[int] = DEPTHS["vgg11"],
        batch_norm: bool = True,
        spiking_neuron: type[BaseNode] = IFNode,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        channels: int = 64,
        pool_size: int = 7,
        hidden: int = 4096,
        dropout: float = 0.5,
        **neuron_args: Any,
    ) -> None:
        super().__init__()
        sizes = {
            "num_classes": num_classes, "in_channels": in_channels, "channels": channels, "pool_size": pool_size,
            "hidden": hidden,
        }  # fmt: skip
        for name, value in sizes.items():
            check_count(f"SpikingVGG.{name}", value)
        check_share("SpikingVGG.dropout", dropout)
        neuron = neuron_maker(SpikingVGG, spiking_neuron, with_atan(neuron_args))
        features: list[nn.Module] = []
        into = in_channels
        for stage, depth in enumerate(depths):
            for _ in range(depth):
                out = channels * min(2**stage, 8)
                features.append(layer.Conv2d(into, out, 3, padding=1))
                features += [layer.BatchNorm2d(out), neuron()] if batch_norm else [neuron()]
                into = out
            features.append(layer.MaxPool2d(2, 2))
        self.least_size = 2 ** len(depths)  # each stage halves the image
        self.features = nn.Sequential(*features)
        self.avgpool = layer.AdaptiveAvgPool2d((pool_size, pool_size))
        self.flatten = layer.Flatten()
        self.classifier = nn.Sequential(
            layer.Linear(into * pool_size**2, hidden),
            neuron(),
            layer.Dropout(dropout),
            layer.Linear(hidden, hidden),
            neuron(),
            layer.Dropout(dropout),
            layer.Linear(hidden, num_classes),
        )
        self._initialise()
        functional.set_step_mode(self, "m")

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        if min(x.shape[-2:]) < self.least_size:
            raise ArgumentError(
                f"SpikingVGG.x: must have H and W of at least {self.least_size}, got {list(x.shape)}; enlarge the "
                "images"
            )
        y: Tensor = self.classifier(self.flatten(self.avgpool(self.features(x))))
        return y


def _sized(size: str) -> Callable[..., SpikingVGG]:
    """Return the function that makes the net of the size that torchvision calls ``size``."""
    depth, _, norm = size.partition("_")
    about = f"SpikingVGG of the size of torchvision's {size}."
    return variant(f"spiking_{size}", SpikingVGG, about, published=size, depths=DEPTHS[depth], batch_norm=norm == "bn")


spiking_vgg11 = _sized("vgg11")
spiking_vgg11_bn = _sized("vgg11_bn")
spiking_vgg13 = _sized("vgg13")
spiking_vgg13_bn = _sized("vgg13_bn")
spiking_vgg16 = _sized("vgg16")
spiking_vgg16_bn = _sized("vgg16_bn")
spiking_vgg19 = _sized("vgg19")
spiking_vgg19_bn = _sized("vgg19_bn")
