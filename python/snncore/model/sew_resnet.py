"""SEW ResNets: blocks that join spikes with spikes.

Fang et al., "Deep residual learning in spiking neural networks", NeurIPS 2021, arXiv:2102.04159.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from .. import layer
from ..errors import ArgumentError
from ..neuron import BaseNode, IFNode
from ._parts import check_choice
from ._resnet import NeuronMaker, NormMaker, Residual, ResNet, sized

__all__ = [
    "SEWResNet",
    "sew_resnet18",
    "sew_resnet34",
    "sew_resnet50",
    "sew_resnet101",
    "sew_resnet152",
    "sew_resnext50_32x4d",
    "sew_resnext101_32x8d",
    "sew_wide_resnet50_2",
    "sew_wide_resnet101_2",
]

CONNECT = ("ADD", "AND", "IAND")


class SEWBlock(Residual):
    """Every convolution has its neuron, the way past too; then both spikes meet, element by element.

    With A the spikes of the convolutions and S those of the way past: ADD: A + S (0, 1 or 2 spikes), AND: A * S,
    IAND: (1 - A) * S, in every kind of block.
    """

    def __init__(
        self,
        convs: Sequence[layer.Conv2d],
        norm: NormMaker,
        neuron: NeuronMaker,
        downsample: nn.Module | None,
        connect: str,
    ) -> None:
        super().__init__(convs, norm, neuron, downsample)
        self.downsample_sn = None if downsample is None else neuron()
        self.connect = connect

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined spikes of the block for those of the block before."""
        y = x
        for i in range(1, self.depth + 1):
            y = self.sn(i, self.conv_bn(i, y))
        past = self.past(x)
        if self.downsample_sn is not None:
            past = self.downsample_sn(past)
        if self.connect == "ADD":
            return y + past
        return y * past if self.connect == "AND" else (1 - y) * past

    def extra_repr(self) -> str:
        """Return how the block joins."""
        return f"connect={self.connect}"


class SEWResNet(ResNet):
    """ResNet whose blocks join spikes with spikes (spike-element-wise, Fang et al., NeurIPS 2021, arXiv:2102.04159).

    Names and shapes in ``state_dict`` are torchvision's. Built in step mode 'm': x_seq [T, B, in_channels, H, W] ->
    potentials [T, B, num_classes]; ``.mean(0)`` are the scores.

    Args:
        layers: blocks of each of the four stages.
        bottleneck: False: two convolutions 3x3 a block; True: 1x1, 3x3, 1x1.
        spiking_neuron: the class of all neurons.
        connect: "ADD", "AND" or "IAND".
        **args: ``num_classes``, ``in_channels``, ``stem``, ``channels``, ``groups``, ``width_per_group``,
            ``zero_init_residual`` and ``norm_layer`` as in `_resnet.ResNet`, and arguments of every neuron.

    Raises:
        ArgumentError: an argument does not fit; ``zero_init_residual`` beside "AND", where a branch that never fires
            silences the block instead of passing its input on.
    """

    def __init__(
        self,
        layers: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        spiking_neuron: type[BaseNode] = IFNode,
        *,
        connect: str = "ADD",
        num_classes: int = 1000,
        in_channels: int = 3,
        channels: int = 64,
        **args: Any,
    ) -> None:
        check_choice("SEWResNet.connect", connect, CONNECT)
        if connect == "AND" and args.get("zero_init_residual"):
            raise ArgumentError(
                "SEWResNet.zero_init_residual: must be False with connect='AND', got True: a branch that never fires "
                "silences the block; use 'ADD' or 'IAND', or leave it out"
            )
        super().__init__(
            layers, bottleneck, partial(SEWBlock, connect=connect), spiking_neuron,
            num_classes=num_classes, in_channels=in_channels, channels=channels, **args,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        return self.head(self.stages(self.maxpool(self.sn1(self.bn1(self.conv1(x))))))


sew_resnet18 = sized(SEWResNet, "sew", "resnet18")
sew_resnet34 = sized(SEWResNet, "sew", "resnet34")
sew_resnet50 = sized(SEWResNet, "sew", "resnet50")
sew_resnet101 = sized(SEWResNet, "sew", "resnet101")
sew_resnet152 = sized(SEWResNet, "sew", "resnet152")
sew_resnext50_32x4d = sized(SEWResNet, "sew", "resnext50_32x4d")
sew_resnext101_32x8d = sized(SEWResNet, "sew", "resnext101_32x8d")
sew_wide_resnet50_2 = sized(SEWResNet, "sew", "wide_resnet50_2")
sew_wide_resnet101_2 = sized(SEWResNet, "sew", "wide_resnet101_2")
