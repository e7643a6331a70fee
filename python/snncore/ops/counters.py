"""Counting ops: how many elements of a tensor are not zero, and how many synapses they reach."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError
from . import library

__all__ = ["ABOVE_ONE", "COLUMNS", "FRACTION", "NEGATIVE", "overlap_count", "spike_count", "spike_count_into"]

# what the values of a row are, as bits; none set: zeros and ones only (csrc/core/count.h)
NEGATIVE, ABOVE_ONE, FRACTION = 1, 2, 4
COLUMNS = ("nnz", "sum_abs", "fan", "fan_abs", "eff", "flags")

_NATIVE = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_BYTES = (torch.bool, torch.uint8, torch.int8)
_INTEGERS_TO = 2**22  # integers beyond count as no integers, in every dtype (csrc/core/count.h)


def spike_count(x: Tensor, rows: int, fan_out: Tensor | None = None, fan_eff: Tensor | None = None) -> Tensor:
    """Count the non-zero elements of every row of ``x``, weighted by the synapses each reaches.

    Args:
        x: any shape of rows * lanes elements in row-major order; floating, integer or bool.
        rows: how many rows (samples, or samples times steps) the elements make up.
        fan_out: int32 [period], synapses each lane reaches; repeated along a row; period divides lanes.
        fan_eff: int32 [period], those of them whose weight is not zero.

    Returns:
        int64 [rows, 6], the columns of ``COLUMNS``: non-zero elements; sum of |x|; non-zero elements and |x| weighted
        by fan_out; non-zero elements weighted by fan_eff; the bits NEGATIVE, ABOVE_ONE (|x| > 1) and FRACTION (not an
        integer of at most 2^22 in size, in any dtype; infinity and NaN set it too). Columns that were not asked for are
        0, and so are both sums of |x| in a row with FRACTION. NaN is not zero. On x's device, without synchronisation.

    Raises:
        ArgumentError: x is complex.
        RuntimeError: sizes, dtypes or devices do not fit; the message names the argument.
    """
    x = _real(x, "spike_count.x")
    if _has_kernel(x):
        counts: Tensor = torch.ops.snncore.spike_count(x, rows, fan_out, fan_eff)
        return counts
    return _spike_count(x, rows, fan_out, fan_eff)


def spike_count_into(
    out: Tensor,
    start: int,
    x: Tensor,
    rows: int,
    fan_out: Tensor | None = None,
    fan_eff: Tensor | None = None,
    counted: Tensor | None = None,
) -> None:
    """Write what `spike_count` returns to the elements of ``out`` from ``start`` on.

    Args:
        out: int64, contiguous, on x's device.
        start: at most ``out.numel() - rows * 6``.
        x: as for `spike_count`.
        rows: likewise.
        fan_out: likewise.
        fan_eff: likewise.
        counted: int64 [rows], the ones in every row, where somebody has counted them and all else is zero; x is then
            not read, and the columns that take the maps are 0.

    Raises:
        ArgumentError: x is complex.
        RuntimeError: sizes, dtypes or devices do not fit; the message names the argument.
    """
    if x.requires_grad or x.dtype not in _NATIVE:
        x = _real(x, "spike_count.x")
    if _has_kernel(x):
        _into(x, rows, fan_out, fan_eff, counted, out, start)
        return
    counts = _spike_count(x, rows, fan_out, fan_eff)
    if counted is not None:
        counts = torch.cat([counted.view(-1, 1).expand(-1, 2), counts.new_zeros(rows, len(COLUMNS) - 2)], dim=1)
    out.narrow(0, start, counts.numel()).copy_(counts.view(-1))


def _real(x: Tensor, who: str) -> Tensor:
    if x.dtype.is_complex:
        raise ArgumentError(f"{who}: must be real, got {x.dtype}; count its parts")
    return x.detach() if x.dtype in _NATIVE else x.detach().to(torch.float32 if x.dtype in _BYTES else torch.float64)


def _has_kernel(x: Tensor) -> bool:
    # a fake tensor carries the type of the device it stands for
    return x.device.type == "cpu" or (x.device.type == "cuda" and library.cuda_ready() is None)


def _spike_count(x: Tensor, rows: int, fan_out: Tensor | None = None, fan_eff: Tensor | None = None) -> Tensor:
    """The same in plain torch: definition, and engine of other devices."""
    lanes = x.numel() // max(rows, 1)
    x = x.reshape(rows, lanes).to(torch.float64)
    fan = torch.zeros(1, dtype=torch.int64, device=x.device) if fan_out is None else fan_out.long()
    eff = torch.zeros(1, dtype=torch.int64, device=x.device) if fan_eff is None else fan_eff.long()
    fan, eff = (m.repeat(max(lanes, 1) // m.numel())[:lanes] for m in (fan, eff))
    nonzero, size = (x != 0).long(), x.abs()
    fraction = ((size != size.round()) | ~(size <= _INTEGERS_TO)).any(1)
    whole = torch.where(fraction.unsqueeze(1), 0.0, size).long()
    flags = (x < 0).any(1).long() * NEGATIVE + (size > 1).any(1).long() * ABOVE_ONE + fraction.long() * FRACTION
    sums = (nonzero, whole, nonzero * fan, whole * fan, nonzero * eff)
    return torch.stack([*(s.sum(1) for s in sums), flags], dim=1)


def overlap_count(left: Tensor, right: Tensor) -> Tensor:
    """Count what meets in ``left @ right^T``.

    Args:
        left: [batch, M, K]; floating, integer or bool.
        right: [batch, N, K]; likewise.

    Returns:
        int64 [batch, 3]: pairs of non-zero elements that are multiplied with each other; non-zero elements of ``left``;
        of ``right``. NaN is not zero. On the operands' device, without synchronisation.

    Raises:
        ArgumentError: an operand is complex.
        RuntimeError: shapes or devices do not fit.
    """
    left, right = _real(left, "overlap_count.left"), _real(right, "overlap_count.right")
    if _has_kernel(left) or left.device != right.device:
        counts: Tensor = torch.ops.snncore.overlap_count(left, right)
        return counts
    return _overlap_count(left, right)


def _overlap_count(left: Tensor, right: Tensor) -> Tensor:
    """The same in plain torch: definition, and engine of other devices."""
    a, b = (left != 0).sum(1), (right != 0).sum(1)
    return torch.stack([(a * b).sum(1), a.sum(1), b.sum(1)], dim=1)


def _same_device(who: str, x: Tensor, other: Tensor | None, name: str) -> None:
    # A meta tensor among real ones lands here, not in a kernel's own check.
    if other is not None and other.device != x.device:
        raise RuntimeError(f"snncore::{who}: must be on the device of {name} ({x.device}), got {other.device}")


def _spike_count_fake(x: Tensor, rows: int, fan_out: Tensor | None, fan_eff: Tensor | None) -> Tensor:
    _same_device("spike_count.fan_out", x, fan_out, "x")
    _same_device("spike_count.fan_eff", x, fan_eff, "x")
    return x.new_empty((rows, len(COLUMNS)), dtype=torch.int64)


def _spike_count_out_fake(
    x: Tensor,
    rows: int,
    fan_out: Tensor | None,
    fan_eff: Tensor | None,
    counted: Tensor | None,
    out: Tensor,
    start: int,
) -> None:
    _spike_count_fake(x, rows, fan_out, fan_eff)
    _same_device("spike_count.counted", x, counted, "x")
    _same_device("spike_count.out", x, out, "x")


def _overlap_count_fake(left: Tensor, right: Tensor) -> Tensor:
    _same_device("overlap_count.right", left, right, "left")
    return left.new_empty((left.shape[0], 3), dtype=torch.int64)


_into = torch.ops.snncore.spike_count_out.default  # looked up once: a counter's calls are cold, and each look costs

torch.library.register_fake("snncore::spike_count", _spike_count_fake)
torch.library.register_fake("snncore::spike_count_out", _spike_count_out_fake)
torch.library.register_fake("snncore::overlap_count", _overlap_count_fake)
