"""The trunk of the residual nets: torchvision's ResNet with the names of its parameters, less what a block does.

He et al., "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385, with the stride of a bottleneck
in its 3x3 convolution as in torchvision; Xie et al., CVPR 2017, arXiv:1611.05431 (ResNeXt); Zagoruyko and Komodakis,
BMVC 2016, arXiv:1605.07146 (wide).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from .. import functional, layer
from ..errors import ArgumentError
from ..neuron import BaseNode, IFNode
from ._parts import check_choice, check_count, neuron_maker, with_atan
from ._variant import variant

__all__ = ["SIZES", "ResNet", "Residual"]

NeuronMaker = Callable[..., BaseNode]
NormMaker = Callable[[int], nn.Module]

# the names are torchvision's
SIZES: dict[str, dict[str, Any]] = {
    "resnet18": {"layers": (2, 2, 2, 2), "bottleneck": False},
    "resnet34": {"layers": (3, 4, 6, 3), "bottleneck": False},
    "resnet50": {"layers": (3, 4, 6, 3), "bottleneck": True},
    "resnet101": {"layers": (3, 4, 23, 3), "bottleneck": True},
    "resnet152": {"layers": (3, 8, 36, 3), "bottleneck": True},
    "resnext50_32x4d": {"layers": (3, 4, 6, 3), "bottleneck": True, "groups": 32, "width_per_group": 4},
    "resnext101_32x8d": {"layers": (3, 4, 23, 3), "bottleneck": True, "groups": 32, "width_per_group": 8},
    "wide_resnet50_2": {"layers": (3, 4, 6, 3), "bottleneck": True, "width_per_group": 128},
    "wide_resnet101_2": {"layers": (3, 4, 23, 3), "bottleneck": True, "width_per_group": 128},
}

R = TypeVar("R", bound="ResNet")


def sized(cls: type[R], prefix: str, size: str) -> Callable[..., R]:
    """Return the function ``prefix_size`` that makes a ``cls`` of the size that torchvision calls ``size``."""
    about = f"{cls.__name__} of the size of torchvision's {size}."
    return variant(f"{prefix}_{size}", cls, about, published=size, **SIZES[size])


class Residual(nn.Module):
    """Convolutions conv1, conv2, ... with norm bn1, ... and neuron sn1, ... each, and a way past them.

    Args:
        convs: the convolutions.
        norm: makes a norm of as many channels.
        neuron: makes a neuron.
        downsample: convolution and norm on the way past, or None where the shape stays.
    """

    downsample: nn.Module | None

    def __init__(
        self, convs: Sequence[layer.Conv2d], norm: NormMaker, neuron: NeuronMaker, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.depth = len(convs)
        for i, conv in enumerate(convs, start=1):
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", norm(conv.out_channels))
            self.add_module(f"sn{i}", neuron())
        self.downsample = downsample

    def conv_bn(self, i: int, x: Tensor) -> Tensor:
        """Return ``x`` behind the i-th convolution and its norm."""
        y: Tensor = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
        return y

    def sn(self, i: int, x: Tensor) -> Tensor:
        """Return the spikes of the i-th neuron."""
        spike: Tensor = self.get_submodule(f"sn{i}")(x)
        return spike

    def past(self, x: Tensor) -> Tensor:
        """Return ``x`` in the shape of the block's result."""
        return x if self.downsample is None else self.downsample(x)


class ResNet(nn.Module):
    """Four stages of residual blocks between a stem and a linear layer.

    Built in step mode 'm': x_seq [T, B, in_channels, H, W] -> potentials [T, B, num_classes], in the dtype of the
    parameters; ``.mean(0)`` are the scores. After ``functional.set_step_mode(net, "s")`` one step at a time.

    Args:
        layers: blocks of each stage.
        bottleneck: False: two convolutions 3x3 a block; True: 1x1, 3x3, 1x1.
        residual: makes a block, as `Residual`.
        spiking_neuron: the class of all neurons.
        num_classes: size of the output.
        in_channels: channels of the images.
        stem: "imagenet": convolution 7x7 with stride 2, then a max-pool; "cifar": 3x3 with stride 1, no pool.
        channels: channels of the stem and first stage; they double with every stage.
        groups: groups of the 3x3 convolution of a bottleneck.
        width_per_group: its channels in a group, where ``channels`` is 64.
        zero_init_residual: start with the last norm of every block at 0 (Goyal et al., 2017, arXiv:1706.02677).
        norm_layer: makes the norm of so many channels.
        pool, strides: max-pool behind the "imagenet" stem or not, and the stride of every stage.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given.

    Convolutions start normal by fan-out (He et al., 2015, arXiv:1502.01852), norms at 1 and 0, as in torchvision.

    Raises:
        ArgumentError: an argument does not fit.
    """

    def __init__(
        self,
        layers: Sequence[int],
        bottleneck: bool,
        residual: Callable[..., Residual],
        spiking_neuron: type[BaseNode] = IFNode,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: str = "imagenet",
        channels: int = 64,
        groups: int = 1,
        width_per_group: int = 64,
        zero_init_residual: bool = False,
        norm_layer: NormMaker = layer.BatchNorm2d,
        pool: bool = True,
        strides: Sequence[int] = (1, 2, 2, 2),
        **neuron_args: Any,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        sizes = {"num_classes": num_classes, "in_channels": in_channels, "channels": channels, "groups": groups}
        for name, value in sizes.items():
            check_count(f"{who}.{name}", value)
        check_choice(f"{who}.stem", stem, ("imagenet", "cifar"))
        self._neuron = neuron_maker(type(self), spiking_neuron, with_atan(neuron_args))
        self._norm, self._residual = norm_layer, residual
        self._bottleneck, self._groups, self._width = bottleneck, groups, width_per_group / 64
        self._planes = channels
        small = stem == "cifar"
        self.conv1 = layer.Conv2d(in_channels, channels, *((3, 1, 1) if small else (7, 2, 3)), bias=False)
        self.bn1 = norm_layer(channels)
        self.sn1 = self._neuron()
        self.maxpool = nn.Identity() if small or not pool else layer.MaxPool2d(3, 2, 1)
        for i, (blocks, stride) in enumerate(zip(layers, strides, strict=True)):
            self.add_module(f"layer{i + 1}", self._stage(channels * 2**i, blocks, 1 if small and not i else stride))
        self.avgpool = layer.AdaptiveAvgPool2d((1, 1))
        self.flatten = layer.Flatten()
        self.fc = layer.Linear(self._planes, num_classes)
        self._initialise(zero_init_residual)
        del self._neuron, self._norm, self._residual  # what made the blocks is no part of the net
        functional.set_step_mode(self, "m")

    def _stage(self, planes: int, blocks: int, stride: int) -> nn.Sequential:
        return nn.Sequential(*(self._block(planes, 1 if i else stride) for i in range(blocks)))

    def _block(self, planes: int, stride: int) -> Residual:
        into, out = self._planes, planes * (4 if self._bottleneck else 1)
        if self._bottleneck:
            width = int(planes * self._width) * self._groups
            if width < 1:
                raise ArgumentError(
                    f"{type(self).__name__}.channels: must leave a bottleneck at least one channel a group, got "
                    f"{self._planes}; use more channels or a greater width_per_group"
                )
            convs = [
                layer.Conv2d(into, width, 1, bias=False),
                layer.Conv2d(width, width, 3, stride, 1, groups=self._groups, bias=False),
                layer.Conv2d(width, out, 1, bias=False),
            ]
        else:
            convs = [
                layer.Conv2d(into, planes, 3, stride, 1, bias=False),
                layer.Conv2d(planes, planes, 3, 1, 1, bias=False),
            ]
        downsample = None
        if stride != 1 or into != out:
            downsample = nn.Sequential(layer.Conv2d(into, out, 1, stride, bias=False), self._norm(out))
        self._planes = out
        return self._residual(convs, self._norm, self._neuron, downsample)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, Residual):
                nn.init.zeros_(module.get_parameter(f"bn{module.depth}.weight"))

    def stages(self, x: Tensor) -> Tensor:
        """Return ``x`` behind the four stages."""
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes."""
        y: Tensor = self.fc(self.flatten(self.avgpool(x)))
        return y
