"""The fully connected net 784-1000-10 of the snnTorch tutorials.

Eshraghian et al., "Training spiking neural networks using lessons from deep learning", Proceedings of the IEEE, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from .. import functional, layer
from ..errors import ArgumentError
from ..neuron import BaseNode, Leaky
from ._parts import check_count, neuron_maker

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with a bias, each with its neuron: fc1, lif1, fc2, lif2, ...

    Built in step mode 'm': x_seq [T, B, sizes[0]] or [T, B, C, H, W] with C * H * W = sizes[0] -> spike_seq
    [T, B, sizes[-1]]. After ``functional.set_step_mode(net, "s")`` the same without ``T``.

    Args:
        sizes: number of inputs, of neurons in each hidden layer, and of outputs.
        spiking_neuron: the class of all neurons; the default `Leaky` has beta 0.9.
        **neuron_args: arguments of every neuron.

    Raises:
        ArgumentError: ``sizes`` does not fit, or ``neuron_args`` has a name that ``spiking_neuron`` does not know; on
            forward: ``x`` has another shape.
    """

    def __init__(
        self, sizes: Sequence[int] = (784, 1000, 10), spiking_neuron: type[BaseNode] = Leaky, **neuron_args: Any
    ) -> None:
        super().__init__()
        if not isinstance(sizes, (tuple, list)) or len(sizes) < 2:
            raise ArgumentError(f"MLP.sizes: must be two or more sizes, got {sizes!r}; give (784, 1000, 10), say")
        for i, size in enumerate(sizes):
            check_count(f"MLP.sizes[{i}]", size)
        self.sizes = tuple(sizes)
        self.flatten = layer.Flatten()
        neuron = neuron_maker(MLP, spiking_neuron, neuron_args)
        for i, (fan_in, fan_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False), start=1):
            self.add_module(f"fc{i}", layer.Linear(fan_in, fan_out))
            self.add_module(f"lif{i}", neuron())
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of the output, [T, B, sizes[-1]] for ``x`` [T, B, *]; one step likewise."""
        batch = 2 if self.flatten.step_mode == "m" else 1
        if x.ndim not in (batch + 1, batch + 3) or prod(x.shape[batch:]) != self.sizes[0]:
            axes = "T, B" if batch == 2 else "B"
            raise ArgumentError(
                f"MLP.x: must be [{axes}, {self.sizes[0]}] or [{axes}, C, H, W] with as many values in step_mode "
                f"{self.flatten.step_mode!r}, got {list(x.shape)}; add the time axis with encoding.direct(x, T), "
                "or build the net with other sizes"
            )
        x = self.flatten(x)
        for i in range(1, len(self.sizes)):
            x = self.get_submodule(f"lif{i}")(self.get_submodule(f"fc{i}")(x))
        return x
