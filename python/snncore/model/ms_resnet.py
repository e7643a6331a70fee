"""MS ResNets: the way past carries potentials, and neurons stand in front of convolutions.

Hu et al., "Advancing spiking neural networks toward deep residual learning", IEEE TNNLS 2024, arXiv:2112.08954.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..neuron import BaseNode, IFNode
from ._resnet import SIZES, Residual, ResNet
from ._variant import variant

__all__ = ["MSResNet", "ms_resnet18", "ms_resnet34"]


class MSBlock(Residual):
    """Neuron, convolution and norm, twice or three times, added to the potentials of the way past."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the block for those of the block before."""
        y = x
        for i in range(1, self.depth + 1):
            y = self.conv_bn(i, self.sn(i, y))
        return y + self.past(x)


class MSResNet(ResNet):
    """ResNet with membrane shortcuts (Hu et al., IEEE TNNLS 2024, arXiv:2112.08954).

    As in the authors' code the "imagenet" stem has no max-pool and the first stage has stride 2, so its first block
    has a convolution on the way past, and the last norm of a block starts at 0. With stem "cifar" names and shapes in
    ``state_dict`` are those of torchvision but for conv1. The authors' norm is tdBN at a threshold of 0.5:
    ``norm_layer=functools.partial(layer.ThresholdDependentBatchNorm2d, v_threshold=0.5)``, which is the plain one at 1.
    Built in step mode 'm': x_seq [T, B, in_channels, H, W] -> potentials [T, B, num_classes]; ``.mean(0)`` are the
    scores.

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
        zero_init_residual: bool = True,
        **args: Any,
    ) -> None:
        super().__init__(
            layers, bottleneck, MSBlock, spiking_neuron, num_classes=num_classes, in_channels=in_channels,
            channels=channels, zero_init_residual=zero_init_residual, pool=False, strides=(2, 2, 2, 2), **args,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        return self.head(self.sn1(self.stages(self.bn1(self.conv1(x)))))


ms_resnet18 = variant("ms_resnet18", MSResNet, "MS ResNet-18.", **SIZES["resnet18"])
ms_resnet34 = variant("ms_resnet34", MSResNet, "MS ResNet-34.", **SIZES["resnet34"])
