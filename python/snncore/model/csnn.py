"""The convolutional net for Fashion-MNIST of the SpikingJelly tutorials (``conv_fashion_mnist.CSNN``).

Fang et al., "SpikingJelly: an open-source machine learning infrastructure platform for spike-based intelligence",
Science Advances, 2023. The names and shapes of its parameters are those of the tutorial, so weights carry over.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .. import functional, layer
from ..neuron import BaseNode, IFNode
from ._parts import check_count, check_images, checked_shape, neuron_maker, with_atan

__all__ = ["CSNN"]


class CSNN(nn.Module):
    """Twice conv 3x3, batch norm, neuron, max-pool 2x2; then two linear layers, each with its neuron.

    Built in step mode 'm': x_seq [T, B, C, H, W] -> spike_seq [T, B, num_classes], in the dtype of the parameters;
    the firing rate is ``spike_seq.mean(0)``. After ``functional.set_step_mode(net, "s")``: x [B, C, H, W] ->
    spike [B, num_classes].

    Args:
        channels: channels of both convolutions.
        in_shape: (C, H, W) of the images; H and W at least 4, and what does not divide by 4 is cut off by pooling.
        num_classes: size of the output.
        spiking_neuron: the class of all neurons.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given.

    Raises:
        ArgumentError: a size does not fit, or ``neuron_args`` has a name that ``spiking_neuron`` does not know; on
            forward: the images are not of ``in_shape``.
    """

    def __init__(
        self,
        channels: int = 128,
        in_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        spiking_neuron: type[BaseNode] = IFNode,
        **neuron_args: Any,
    ) -> None:
        super().__init__()
        check_count("CSNN.channels", channels)
        check_count("CSNN.num_classes", num_classes)
        self.in_shape = checked_shape("CSNN.in_shape", in_shape, 2)
        C, H, W = self.in_shape
        neuron = neuron_maker(CSNN, spiking_neuron, with_atan(neuron_args))
        self.conv_fc = nn.Sequential(
            layer.Conv2d(C, channels, kernel_size=3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron(),
            layer.MaxPool2d(2, 2),  # H / 2
            layer.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron(),
            layer.MaxPool2d(2, 2),  # H / 4
            layer.Flatten(),
            layer.Linear(channels * (H // 4) * (W // 4), channels * 4 * 4, bias=False),
            neuron(),
            layer.Linear(channels * 4 * 4, num_classes, bias=False),
            neuron(),
        )
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of the output, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        check_images("CSNN.x", x, self.in_shape)
        spike: Tensor = self.conv_fc(x)
        return spike
