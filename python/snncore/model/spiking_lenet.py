"""Spiking LeNet-5.

LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of the IEEE, 1998, with every
subsampling an average pool, every map connected to every map, and a linear layer at the end.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .. import functional, layer
from ..errors import ArgumentError
from ..neuron import BaseNode, IFNode
from ._parts import check_count, check_images, checked_shape, neuron_maker, with_atan

__all__ = ["SpikingLeNet"]


class SpikingLeNet(nn.Module):
    """Twice convolution 5x5, neuron, average pool 2x2; then linear layers of 120, 84 and ``num_classes``.

    The first convolution keeps the size of the images (28x28 are padded to 32x32, as in the paper). Built in step mode
    'm': x_seq [T, B, C, H, W] -> potentials [T, B, num_classes], in the dtype of the parameters; ``.mean(0)`` are the
    scores. After ``functional.set_step_mode(net, "s")`` one step at a time.

    Args:
        in_shape: (C, H, W) of the images; H and W at least 12.
        num_classes: size of the output.
        channels: channels of the first convolution; the second has 16 for 6.
        batch_norm: a batch norm behind each convolution, which keeps neurons firing, or not, as in 1998.
        spiking_neuron: the class of all neurons.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given.

    Raises:
        ArgumentError: an argument does not fit; on forward: the images are not of ``in_shape``.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        channels: int = 6,
        batch_norm: bool = True,
        spiking_neuron: type[BaseNode] = IFNode,
        **neuron_args: Any,
    ) -> None:
        super().__init__()
        check_count("SpikingLeNet.num_classes", num_classes)
        check_count("SpikingLeNet.channels", channels)
        self.in_shape = checked_shape("SpikingLeNet.in_shape", in_shape, 2)
        C, H, W = self.in_shape
        H, W = (H // 2 - 4) // 2, (W // 2 - 4) // 2
        if min(H, W) < 1:
            raise ArgumentError(
                f"SpikingLeNet.in_shape: must have H and W of at least 12, got {self.in_shape}; enlarge the images"
            )
        neuron = neuron_maker(SpikingLeNet, spiking_neuron, with_atan(neuron_args))
        second = max(1, channels * 16 // 6)

        def norm(channels: int) -> nn.Module:
            return layer.BatchNorm2d(channels) if batch_norm else nn.Identity()

        self.features = nn.Sequential(
            layer.Conv2d(C, channels, 5, padding=2), norm(channels), neuron(), layer.AvgPool2d(2, 2),
            layer.Conv2d(channels, second, 5), norm(second), neuron(), layer.AvgPool2d(2, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            layer.Flatten(),
            layer.Linear(second * H * W, 120), neuron(),
            layer.Linear(120, 84), neuron(),
            layer.Linear(84, num_classes),
        )  # fmt: skip
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of the classes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        check_images("SpikingLeNet.x", x, self.in_shape)
        y: Tensor = self.classifier(self.features(x))
        return y
