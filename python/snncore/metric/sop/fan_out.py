"""How many synapses each input element of a layer reaches."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Convolution", "conv_fan_out", "conv_fan_out_nonzero"]


@dataclass(frozen=True, slots=True)
class Convolution:
    """The arguments of one ``aten.convolution`` call, over any number of spatial dimensions.

    Attributes:
        input_shape: [N, C, *]; weight_shape: [out, in/groups, *] ([in, out/groups, *] where transposed).
        stride, padding, dilation, output_padding: one number per spatial dimension.
        transposed: a transposed convolution.
        groups: as in torch.
    """

    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    @property
    def in_channels(self) -> int:
        """C."""
        return self.input_shape[1]

    @property
    def out_channels_per_group(self) -> int:
        """Output channels that one input channel is connected to."""
        return self.weight_shape[1] if self.transposed else self.weight_shape[0] // self.groups

    @property
    def spatial(self) -> tuple[int, ...]:
        """The input's spatial sizes."""
        return self.input_shape[2:]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's spatial sizes."""
        return self.weight_shape[2:]

    def output_size(self, d: int) -> int:
        """Return the output's size along spatial dimension ``d``."""
        n, k, s, p, dil = self.spatial[d], self.kernel[d], self.stride[d], self.padding[d], self.dilation[d]
        if self.transposed:
            return (n - 1) * s - 2 * p + dil * (k - 1) + self.output_padding[d] + 1
        return (n + 2 * p - dil * (k - 1) - 1) // s + 1

    @property
    def output_elements(self) -> int:
        """Elements of the output of one sample."""
        channels = self.out_channels_per_group * self.groups
        return channels * math.prod(self.output_size(d) for d in range(len(self.spatial)))

    @property
    def dense_with_padding(self) -> int:
        """Multiplications of one sample in a dense evaluation, those with padded zeros included."""
        taps = math.prod(self.kernel)
        if self.transposed:  # every input element meets every tap
            return self.in_channels * math.prod(self.spatial) * self.out_channels_per_group * taps
        return self.output_elements * (self.in_channels // self.groups) * taps

    def meets(self, d: int, k: int) -> list[bool]:
        """Return whether tap ``k`` takes each input position of dimension ``d`` inside the output's bounds."""
        s, p, dil, out = self.stride[d], self.padding[d], self.dilation[d], self.output_size(d)
        if self.transposed:
            return [0 <= h * s - p + k * dil < out for h in range(self.spatial[d])]
        positions = (h + p - k * dil for h in range(self.spatial[d]))
        return [at % s == 0 and 0 <= at // s < out for at in positions]


def _along(conv: Convolution, d: int) -> Tensor:
    """Return how many taps each input position meets along dimension ``d``."""
    return torch.tensor([conv.meets(d, k) for k in range(conv.kernel[d])], dtype=torch.int64).sum(0)


def conv_fan_out(conv: Convolution) -> Tensor:
    """Return int32 [C, *spatial], the synapses each input element reaches inside the output's bounds.

    The fan-out separates: it is the product of the taps met along each dimension, times the output channels.
    """
    sizes = conv.spatial
    fan = torch.full((), conv.out_channels_per_group, dtype=torch.int64)
    for d in range(len(sizes)):
        fan = fan.unsqueeze(-1) * _along(conv, d)
    return fan.expand(conv.in_channels, *sizes).to(torch.int32)


def conv_fan_out_nonzero(conv: Convolution, weight: Tensor) -> Tensor:
    """Return int32 [C, *spatial], those of the synapses whose weight is not zero.

    Per tap and channel: how many weights to the output are not zero, added wherever the tap meets the output.
    """
    nonzero = (weight.detach() != 0).cpu()
    per_tap = nonzero.sum(1) if conv.transposed else nonzero.sum(0)
    if not conv.transposed:  # [out, in/groups, *]: the outputs of each group apart
        grouped = nonzero.view(conv.groups, -1, *nonzero.shape[1:])
        per_tap = grouped.sum(1).flatten(0, 1)
    fan = torch.zeros(conv.in_channels, *conv.spatial, dtype=torch.int64)
    for tap in itertools.product(*(range(k) for k in conv.kernel)):
        met = fan.new_ones(())
        for d, k in enumerate(tap):
            met = met.unsqueeze(-1) * torch.tensor(conv.meets(d, k), dtype=torch.int64)
        fan += per_tap[(slice(None), *tap)].view(-1, *(1,) * len(tap)) * met
    return fan.to(torch.int32)
