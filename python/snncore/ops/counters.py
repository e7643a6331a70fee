"""Counting ops: how many elements of a tensor are not zero, and how many synapses they reach."""

from __future__ import annotations

import torch
from torch import Tensor

from . import library  # noqa: F401 - loads the ops

__all__ = ["ABOVE_ONE", "COLUMNS", "FRACTION", "NEGATIVE", "overlap_count", "spike_count"]

# what the values of a row are, as bits; none set: zeros and ones only (csrc/core/count.h)
NEGATIVE, ABOVE_ONE, FRACTION = 1, 2, 4
COLUMNS = ("nnz", "sum_abs", "fan", "fan_abs", "eff", "flags")

_NATIVE = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


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
        integer below 2^22). Sums of |x| are those of integers and say nothing beside FRACTION. No synchronisation.

    Raises:
        RuntimeError: sizes, dtypes or devices do not fit; the message names the argument.
    """
    x = x.detach()
    x = x if x.dtype in _NATIVE else x.to(torch.float64)
    if x.device.type == "cpu":
        counts: Tensor = torch.ops.snncore.spike_count(x, rows, fan_out, fan_eff)
        return counts
    return _spike_count(x, rows, fan_out, fan_eff)


def _spike_count(x: Tensor, rows: int, fan_out: Tensor | None, fan_eff: Tensor | None) -> Tensor:
    """The same in plain torch: definition, and engine of other devices."""
    x = x.reshape(rows, -1).to(torch.float64)
    lanes = x.shape[1]
    fan = torch.zeros(1, dtype=torch.int64, device=x.device) if fan_out is None else fan_out.long()
    eff = torch.zeros(1, dtype=torch.int64, device=x.device) if fan_eff is None else fan_eff.long()
    fan, eff = (m.repeat(max(lanes, 1) // m.numel())[:lanes] for m in (fan, eff))
    nonzero, size = (x != 0).long(), x.abs()
    whole = torch.where(size < 2**22, size, 0.0).long()  # NaN and what no counter counts add nothing
    fraction = (size != size.round()) | ~(size < 2**22)
    flags = (
        (x < 0).any(1).long() * NEGATIVE + (size > 1).any(1).long() * ABOVE_ONE + fraction.any(1).long() * FRACTION
    )
    columns = [nonzero.sum(1), whole.sum(1), (nonzero * fan).sum(1), (whole * fan).sum(1), (nonzero * eff).sum(1), flags]
    return torch.stack(columns, dim=1)


def overlap_count(left: Tensor, right: Tensor) -> Tensor:
    """Count what meets in ``left @ right^T``.

    Args:
        left: [batch, M, K]; right: [batch, N, K]; floating, integer or bool.

    Returns:
        int64 [batch, 3]: pairs of non-zero elements that are multiplied with each other; non-zero elements of ``left``;
        of ``right``. No synchronisation.

    Raises:
        RuntimeError: shapes or devices do not fit.
    """
    left, right = (t.detach() if t.dtype in _NATIVE else t.detach().to(torch.float32) for t in (left, right))
    if left.device.type == "cpu" and right.device.type == "cpu":
        counts: Tensor = torch.ops.snncore.overlap_count(left, right)
        return counts
    a, b = (left != 0).sum(1), (right != 0).sum(1)
    return torch.stack([(a * b).sum(1), a.sum(1), b.sum(1)], dim=1)


def _spike_count_fake(x: Tensor, rows: int, fan_out: Tensor | None, fan_eff: Tensor | None) -> Tensor:
    return x.new_empty((rows, len(COLUMNS)), dtype=torch.int64)


def _overlap_count_fake(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty((left.shape[0], 3), dtype=torch.int64)


torch.library.register_fake("snncore::spike_count", _spike_count_fake)
torch.library.register_fake("snncore::overlap_count", _overlap_count_fake)
