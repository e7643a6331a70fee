"""Spiking ResNets: torchvision's, with a neuron in the place of every ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..neuron import BaseNode, IFNode
from ._resnet import Residual, ResNet, sized

__all__ = [
    "SpikingResNet",
    "spiking_resnet18",
    "spiking_resnet34",
    "spiking_resnet50",
    "spiking_resnet101",
    "spiking_resnet152",
    "spiking_resnext50_32x4d",
    "spiking_resnext101_32x8d",
    "spiking_wide_resnet50_2",
    "spiking_wide_resnet101_2",
]


class SpikingBlock(Residual):
    """Convolutions and way past meet in front of the last neuron, as before the last ReLU of He et al."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of the block for those of the block before."""
        y = x
        for i in range(1, self.depth):
            y = self.sn(i, self.conv_bn(i, y))
        return self.sn(self.depth, self.conv_bn(self.depth, y) + self.past(x))


class SpikingResNet(ResNet):
    """ResNet with a neuron in the place of every ReLU ("Spiking ResNet" in Fang et al., arXiv:2102.04159).

    Names and shapes in ``state_dict`` are torchvision's. Built in step mode 'm': x_seq [T, B, in_channels, H, W] ->
    potentials [T, B, num_classes]; ``.mean(0)`` are the scores.

    Args:
        layers: blocks of each of the four stages.
        bottleneck: False: two convolutions 3x3 a block; True: 1x1, 3x3, 1x1.
        spiking_neuron: the class of all neurons.
        **args: ``num_classes``, ``in_channels``, ``stem``, ``channels``, ``groups``, ``width_per_group``,
            ``zero_init_residual`` and ``norm_layer`` as in `_resnet.ResNet`, and arguments of every neuron.

    Raises:
        ArgumentError: an argument does not fit.
    """

    def __init__(
        self,
        layers: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        spiking_neuron: type[BaseNode] = IFNode,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        channels: int = 64,
        **args: Any,
    ) -> None:
        super().__init__(
            layers, bottleneck, SpikingBlock, spiking_neuron,
            num_classes=num_classes, in_channels=in_channels, channels=channels, **args,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        return self.head(self.stages(self.maxpool(self.sn1(self.bn1(self.conv1(x))))))


spiking_resnet18 = sized(SpikingResNet, "spiking", "resnet18")
spiking_resnet34 = sized(SpikingResNet, "spiking", "resnet34")
spiking_resnet50 = sized(SpikingResNet, "spiking", "resnet50")
spiking_resnet101 = sized(SpikingResNet, "spiking", "resnet101")
spiking_resnet152 = sized(SpikingResNet, "spiking", "resnet152")
spiking_resnext50_32x4d = sized(SpikingResNet, "spiking", "resnext50_32x4d")
spiking_resnext101_32x8d = sized(SpikingResNet, "spiking", "resnext101_32x8d")
spiking_wide_resnet50_2 = sized(SpikingResNet, "spiking", "wide_resnet50_2")
spiking_wide_resnet101_2 = sized(SpikingResNet, "spiking", "wide_resnet101_2")
