"""The nets that came with the parametric LIF neuron, for Fashion-MNIST, CIFAR-10 and DVS Gesture.

Fang et al., "Incorporating learnable membrane time constant to enhance learning of spiking neural networks", ICCV 2021,
arXiv:2007.05785, table 1 and section 4. Names of parameters as in SpikingJelly's ``parametric_lif_net``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .. import functional, layer
from ..neuron import BaseNode, ParametricLIFNode
from ._parts import check_count, check_images, check_share, checked_shape, neuron_maker, with_atan
from ._variant import variant

__all__ = ["PLIFNet", "plif_cifar10", "plif_dvs_gesture", "plif_fashion_mnist"]


class PLIFNet(nn.Module):
    """Stages of convolution, norm, neuron and a max-pool; two linear layers with neurons; then neurons vote.

    Built in step mode 'm': x_seq [T, B, C, H, W] -> votes [T, B, num_classes] in [0, 1] for spikes, in the dtype of the
    parameters; ``.mean(0)`` are the scores. After ``functional.set_step_mode(net, "s")`` one step at a time.

    Args:
        depths: convolutions 3x3 in front of each max-pool 2x2.
        channels: channels of every convolution.
        hidden: neurons of the first linear layer.
        in_shape: (C, H, W) of the images; what the poolings do not divide is cut off.
        num_classes: size of the output.
        votes: neurons that vote for a class.
        dropout: share silenced in training in front of each linear layer, the same for all time steps.
        spiking_neuron: the class of all neurons.
        **neuron_args: arguments of every neuron; ``surrogate_function`` is ``ATan()`` unless given. The paper has
            ``init_tau=2.0, detach_reset=True``.

    Raises:
        ArgumentError: an argument does not fit; on forward: the images are not of ``in_shape``.
    """

    def __init__(
        self,
        depths: Sequence[int] = (1, 1),
        channels: int = 128,
        hidden: int = 2048,
        in_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        votes: int = 10,
        dropout: float = 0.5,
        spiking_neuron: type[BaseNode] = ParametricLIFNode,
        **neuron_args: Any,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "hidden": hidden, "num_classes": num_classes, "votes": votes}
        for name, value in sizes.items():
            check_count(f"PLIFNet.{name}", value)
        check_share("PLIFNet.dropout", dropout)
        self.in_shape = checked_shape("PLIFNet.in_shape", in_shape, len(depths))
        into, H, W = self.in_shape
        neuron = neuron_maker(PLIFNet, spiking_neuron, with_atan(neuron_args))
        parts: list[nn.Module] = []
        for depth in depths:
            for _ in range(depth):
                parts.append(layer.Conv2d(into, channels, kernel_size=3, padding=1, bias=False))
                parts += [layer.BatchNorm2d(channels), neuron()]
                into = channels
            parts.append(layer.MaxPool2d(2, 2))
            H, W = H // 2, W // 2
        self.conv_fc = nn.Sequential(
            *parts,
            layer.Flatten(),
            layer.Dropout(dropout),
            layer.Linear(channels * H * W, hidden),
            neuron(),
            layer.Dropout(dropout),
            layer.Linear(hidden, num_classes * votes),
            neuron(),
            layer.Voting(votes),
        )
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the votes, [T, B, num_classes] for ``x`` [T, B, C, H, W]; one step likewise."""
        check_images("PLIFNet.x", x, self.in_shape)
        y: Tensor = self.conv_fc(x)
        return y


plif_fashion_mnist = variant("plif_fashion_mnist", PLIFNet, "The net for Fashion-MNIST and MNIST.", depths=(1, 1))
plif_cifar10 = variant(
    "plif_cifar10", PLIFNet, "The net for CIFAR-10.", depths=(3, 3), channels=256, in_shape=(3, 32, 32)
)
plif_dvs_gesture = variant(
    "plif_dvs_gesture", PLIFNet, "The net for DVS128 Gesture.",
    depths=(1, 1, 1, 1, 1), hidden=512, in_shape=(2, 128, 128), num_classes=11,
)  # fmt: skip
