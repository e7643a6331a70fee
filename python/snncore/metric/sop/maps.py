"""Fan-out maps of the layers a counter has met, computed once for each shape and each content of a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...ops import spike_count
from .fan_out import Convolution, Margins, conv_dense, conv_fan_out, conv_fan_out_nonzero
from .record import NNZ
from .weights import Weights

__all__ = ["ConvolutionMaps", "FanOutMaps"]


@dataclass(frozen=True)
class ConvolutionMaps:
    """``fan`` int32 [C * spatial]: synapses in bounds; ``eff``: those whose weight is not zero, None where all are.

    ``dense``: the sum of ``fan``.
    """

    fan: Tensor
    eff: Tensor | None
    dense: int


class FanOutMaps:
    """Maps by the shape of a layer, and by the content of its weight where that has zeros.

    On the CPU a weight without zeros needs no second map. Elsewhere that question would wait for the device, so a
    second map is always made.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._fans: dict[Any, tuple[Tensor, int]] = {}

    def of_convolution(
        self, conv: Convolution, weight: Tensor, device: torch.device, channels_last: bool, margins: Margins | None
    ) -> ConvolutionMaps:
        """Make the maps of a call in the order in which its input lies in memory.

        ``margins``: how far the input had been padded with zeros before; nothing reaches out from there.
        """
        shape = tuple(getattr(conv, field) for field in conv.__slots__ if field != "input_shape")
        key = (conv.input_shape[1:], *shape, device, channels_last, margins)
        if key not in self._fans:
            fan = _in_memory_order(conv_fan_out(conv, margins, device), channels_last)
            self._fans[key] = (fan, conv_dense(conv, margins))

        fan, dense = self._fans[key]
        eff = conv_fan_out_nonzero(conv, weight) if _may_have_zeros(weight) else None
        return ConvolutionMaps(fan, None if eff is None else _in_memory_order(eff, channels_last), dense)

    def of_linear(self, weight: Tensor) -> Tensor | None:
        """Return int32 [in], for each input the outputs its weight [in, out] to is not zero; None: all of them."""

        def eff() -> Tensor | None:
            return (weight != 0).sum(1).to(torch.int32) if _may_have_zeros(weight) else None

        found: Tensor | None = self._weights.fact(weight, "linear", eff)
        return found


def _may_have_zeros(weight: Tensor) -> bool:
    if weight.device.type != "cpu":
        return True
    rows = weight.t() if weight.dim() == 2 and not weight.is_contiguous() else weight  # as it lies in memory
    return int(spike_count(rows, 1)[0, NNZ]) < weight.numel()


def _in_memory_order(fan: Tensor, channels_last: bool) -> Tensor:
    return (fan.movedim(0, -1) if channels_last else fan).flatten().contiguous()
