"""Views of one set of counts: what different papers and tools call the operations of a layer.

Each takes one call's counts and the classes of its operands and returns (accumulates, multiply-accumulates) per step
and sample, float64 [steps, B], exact below 2^53.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .record import Part, ValueClass

__all__ = ["VIEWS", "View"]

Classes = tuple[ValueClass, ...]
View = Callable[[Part, Classes], tuple[Tensor, Tensor]]

_SIGNS = ("binary", "ternary")  # a product with one of these is an addition or a subtraction


def _column(part: Part, k: int) -> Tensor:
    return part.counts[..., k].to(torch.float64)


def _either(part: Part, count: Tensor, accumulate: bool) -> tuple[Tensor, Tensor]:
    zero = torch.zeros_like(count)
    return (count, zero) if accumulate else (zero, count)


def _dense(part: Part) -> Tensor:
    return torch.full_like(_column(part, 0), float(part.geometry.dense_pad))


def exact(part: Part, classes: Classes) -> tuple[Tensor, Tensor]:
    """Pairs of a non-zero input and a non-zero weight, in bounds (NeuroBench's effective operations).

    Accumulates where the input is in {-1, 0, 1}, else multiply-accumulates. Matmul: pairs of non-zeros, accumulates
    where one operand is in {-1, 0, 1}.
    """
    if part.geometry.kind == "matmul":
        return _either(part, _column(part, 0), any(c in _SIGNS for c in classes))
    return _either(part, _column(part, 4), classes[0] in _SIGNS)


def spikingjelly(part: Part, classes: Classes) -> tuple[Tensor, Tensor]:
    """SpikingJelly's SynOp and MAC counters: weights count as non-zero; what is not binary is dense, padding included.

    Differs from SpikingJelly where that says zero synaptic operations without a word: the layer is then in the second
    number.
    """
    if part.geometry.kind == "matmul":
        if classes == ("binary", "binary"):
            return _either(part, _column(part, 0), True)
        if "binary" in classes:
            which = classes.index("binary")
            fan = part.geometry.fan if which == 0 else part.geometry.fan_other
            return _either(part, _column(part, 1 + which) * float(fan or 0), True)
        return _either(part, _dense(part), False)
    return _either(part, _column(part, 2) if classes[0] == "binary" else _dense(part), classes[0] == "binary")


def paper(part: Part, classes: Classes) -> tuple[Tensor, Tensor]:
    """Firing rate of the input times dense operations, padding included (Spikformer, ICLR 2023, appendix).

    The rate is the share of elements that are not zero. Real-valued inputs (the first layer) are multiply-accumulates,
    all of them. Matmul: the rate of its left operand.
    """
    real = classes[0] == "real" and (len(classes) == 1 or classes[1] == "real")
    if real:
        return _either(part, _dense(part), False)
    nonzero = _column(part, 1 if part.geometry.kind == "matmul" else 0)
    return _either(part, nonzero / max(part.geometry.inputs, 1) * part.geometry.dense_pad, True)


def syops(part: Part, classes: Classes) -> tuple[Tensor, Tensor]:
    """As ``paper``, and one addition per output where there is a bias (syops-counter's convention for convolutions)."""
    ac, mac = paper(part, classes)
    if part.geometry.bias:
        (mac if bool((mac != 0).any()) else ac).add_(float(part.geometry.outputs))
    return ac, mac


def unrolled(part: Part, classes: Classes) -> tuple[Tensor, Tensor]:
    """As ``exact``, with integers k as k accumulates (I-LIF unrolled into binary steps; all weights count)."""
    if part.geometry.kind != "matmul" and classes[0] == "integer":
        return _either(part, _column(part, 3), True)
    return exact(part, classes)


VIEWS: dict[str, View] = {
    "exact": exact,
    "spikingjelly": spikingjelly,
    "paper": paper,
    "syops": syops,
    "unrolled": unrolled,
}
