"""Fan-out maps of the layers a counter has met, computed once for each weight and shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .fan_out import Convolution, conv_fan_out, conv_fan_out_nonzero

__all__ = ["FanOutMaps", "Margins"]


Margins = tuple[tuple[int, int], ...]


def _version(weight: Tensor) -> tuple[int, int] | None:
    """Name the content of a weight; None where torch keeps no version (inference tensors)."""
    return None if weight.is_inference() else (weight.data_ptr(), weight._version)


class FanOutMaps:
    """Maps by layer shape, and by the content of the weight where that has zeros."""

    def __init__(self) -> None:
        self._fan: dict[Any, Tensor] = {}
        self._eff: dict[Any, Tensor | None] = {}
        self._totals: dict[int, int] = {}

    def of_convolution(
        self, conv: Convolution, weight: Tensor, device: torch.device, margins: Margins | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return int32 [C, *]: synapses in bounds, and those with a weight that is not zero (None: all of them).

        ``margins``: how far the input was padded before, along each dimension; nothing reaches out from there.
        """
        shape = (getattr(conv, f) for f in conv.__slots__ if f != "input_shape")
        key = (conv.input_shape[1:], *shape, device, margins)
        if key not in self._fan:
            fan = conv_fan_out(conv)
            for d, (before, after) in enumerate(margins or ()):
                at = torch.arange(fan.shape[1 + d])
                inside = (at >= before) & (at < fan.shape[1 + d] - after)
                fan = fan * inside.view(-1, *(1,) * (len(conv.spatial) - 1 - d)).to(torch.int32)
            self._fan[key] = fan.to(device)
            self._totals[id(self._fan[key])] = int(fan.sum(dtype=torch.int64))
        version = _version(weight)
        if version is None or (key, version) not in self._eff:
            eff = conv_fan_out_nonzero(conv, weight).to(device) if bool((weight == 0).any()) else None
            self._eff[(key, version)] = eff
        return self._fan[key], self._eff[(key, version)]

    def of_linear(self, weight: Tensor, device: torch.device) -> Tensor | None:
        """Return int32 [in], for each input the outputs its weight [in, out] to is not zero; None: all of them."""
        key = ("linear", tuple(weight.shape), weight.stride(), _version(weight), device)
        if key[3] is None or key not in self._eff:
            pruned = bool((weight == 0).any())
            self._eff[key] = (weight != 0).sum(1).to(torch.int32).contiguous() if pruned else None
        return self._eff[key]

    def total(self, fan: Tensor) -> int:
        """Return the sum of a map made here: the multiplications of a dense evaluation inside the bounds."""
        return self._totals[id(fan)]
