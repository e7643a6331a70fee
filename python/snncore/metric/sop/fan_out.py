"""How many synapses each input element of a layer reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Convolution", "Margins", "conv_dense", "conv_fan_out", "conv_fan_out_nonzero"]

Margins = tuple[tuple[int, int], ...]  # zeros before and after, along each spatial dimension


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

    def meets(self, d: int, device: torch.device | None = None) -> Tensor:
        """Return int64 [k, n], 1 where a tap takes an input position of dimension ``d`` to an output in bounds."""
        s, p, dil, out = self.stride[d], self.padding[d], self.dilation[d], self.output_size(d)
        at = torch.arange(self.spatial[d], device=device)
        tap = torch.arange(self.kernel[d], device=device).unsqueeze(1) * dil
        if self.transposed:
            to = at * s - p + tap
            return ((to >= 0) & (to < out)).long()
        to = at + p - tap
        return ((to >= 0) & (to % s == 0) & (to < out * s)).long()


def _along(conv: Convolution, d: int, margin: tuple[int, int], device: torch.device | None) -> Tensor:
    """Return int64 [n], how many taps each input position meets along dimension ``d``; 0 in the margins."""
    taps = conv.meets(d, device).sum(0)
    before, after = margin
    at = torch.arange(len(taps), device=device)
    return taps * ((at >= before) & (at < len(taps) - after))


def conv_fan_out(conv: Convolution, margins: Margins | None = None, device: torch.device | None = None) -> Tensor:
    """Return int32 [C, *spatial], the synapses each input element reaches inside the output's bounds.

    The fan-out separates: it is the product of the taps met along each dimension, times the output channels.

    Args:
        conv: the call.
        margins: how far its input had been padded with zeros before; those reach nothing.
        device: where to make the map; no synchronisation.
    """
    fan = torch.full((), conv.out_channels_per_group, dtype=torch.int64, device=device)
    for d in range(len(conv.spatial)):
        fan = fan.unsqueeze(-1) * _along(conv, d, margins[d] if margins else (0, 0), device)
    return fan.expand(conv.in_channels, *conv.spatial).to(torch.int32)


def conv_dense(conv: Convolution, margins: Margins | None = None) -> int:
    """Return the multiplications of one sample in bounds, the sum of ``conv_fan_out``; always computed on the CPU."""
    total = conv.in_channels * conv.out_channels_per_group
    for d in range(len(conv.spatial)):
        total *= int(_along(conv, d, margins[d] if margins else (0, 0), None).sum())
    return total


def conv_fan_out_nonzero(conv: Convolution, weight: Tensor) -> Tensor:
    """Return int32 [C, *spatial] on the weight's device, those of the synapses whose weight is not zero.

    Per tap and channel: how many weights to the output are not zero, added wherever the tap meets the output. No
    synchronisation.
    """
    nonzero = (weight.detach() != 0).long()
    if not conv.transposed:  # [out, in/groups, *] -> [in, out/groups, *]
        nonzero = nonzero.reshape(conv.groups, -1, *nonzero.shape[1:]).transpose(1, 2).flatten(0, 1)
    fan = nonzero.sum(1)  # [C, *kernel]
    for d in range(len(conv.spatial)):  # [C, k1, k2, ..] -> [C, n1, k2, ..] -> ..: the taps of one dimension at a time
        met = conv.meets(d, fan.device)
        fan = (fan.movedim(1 + d, -1).unsqueeze(-1) * met).sum(-2).movedim(-1, 1 + d)
    return fan.to(torch.int32)
