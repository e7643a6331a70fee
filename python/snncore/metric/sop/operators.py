"""The operators that hold synapses, as a dispatch mode sees them: counted, or named as not counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...ops import overlap_count, spike_count
from .fan_out import Convolution
from .record import Geometry

if TYPE_CHECKING:
    from .counter import SopCounter

__all__ = ["COUNTED", "UNCOUNTED"]

aten = torch.ops.aten


def _physical(x: Tensor, fan: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return ``x`` [N, C, *] and its map [C, *] in the order in which x lies in memory, without copying x."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.is_contiguous() or x.dim() not in formats or not x.is_contiguous(memory_format=formats[x.dim()]):
        return x, fan
    order = (*range(2, x.dim()), 1)
    return x.permute(0, *order), None if fan is None else fan.permute(*(d - 1 for d in order)).contiguous()


def convolution(counter: SopCounter, args: tuple[Any, ...], out: Tensor) -> None:
    """aten.convolution: 1, 2 or 3 dimensions, plain and transposed."""
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
    dims = x.dim() - 2
    numbers = [tuple(v) * (dims if len(v) == 1 else 1) for v in (stride, padding, dilation, output_padding)]
    conv = Convolution(
        tuple(x.shape), tuple(weight.shape), numbers[0], numbers[1], numbers[2], transposed, numbers[3], groups
    )
    margins = counter.margins(x)
    fan, eff = counter.maps.of_convolution(conv, weight, x.device, margins)
    inputs = math.prod(n - sum(m) for n, m in zip(conv.spatial, margins or [(0, 0)] * dims, strict=True))
    geometry = Geometry(
        "conv", conv.in_channels * inputs, conv.output_elements, counter.maps.total(fan), conv.dense_with_padding,
        bias=bias is not None,
    )  # fmt: skip
    found = counter.place(x.shape[0])
    if isinstance(found, str):
        return counter.not_counted("conv", found)
    ordered, fan_map = _physical(x, fan)
    eff_map = None if eff is None else _physical(x, eff)[1]
    counts = spike_count(ordered, x.shape[0], fan_map.flatten(), None if eff_map is None else eff_map.flatten())  # type: ignore[union-attr]
    if eff is None:
        counts[:, 4] = counts[:, 2]
    counter.add("conv", counts, geometry, found)


def addmm(counter: SopCounter, args: tuple[Any, ...], out: Tensor) -> None:
    """aten.addmm: a linear layer with bias."""
    _matrix(counter, args[1], args[2], bias=True)


def mm(counter: SopCounter, args: tuple[Any, ...], out: Tensor) -> None:
    """aten.mm: a linear layer without bias, or a matmul of two activations."""
    _matrix(counter, args[0], args[1], bias=False)


def _matrix(counter: SopCounter, x: Tensor, w: Tensor, bias: bool) -> None:
    if counter.is_weight(x) and not counter.is_weight(w):
        return counter.not_counted("linear", "its weight stands on the left, so its rows are no samples")
    if not counter.is_weight(w):
        return _product(counter, x.unsqueeze(0), w.unsqueeze(0))
    found = counter.place(x.shape[0])
    if isinstance(found, str):
        return counter.not_counted("linear", found)
    rows = found.rows
    tokens = x.shape[0] // rows if rows else 0
    n_in, n_out = w.shape
    eff = counter.maps.of_linear(w, x.device)
    counts = spike_count(x, rows, eff, eff)
    if eff is None:
        counts[:, 4] = counts[:, 0] * n_out
    counts[:, 2] = counts[:, 0] * n_out
    counts[:, 3] = counts[:, 1] * n_out
    dense = tokens * n_in * n_out
    geometry = Geometry("linear", tokens * n_in, tokens * n_out, dense, dense, fan=n_out, bias=bias)
    counter.add("linear", counts, geometry, found)


def bmm(counter: SopCounter, args: tuple[Any, ...], out: Tensor) -> None:
    """aten.bmm: a batch of matmuls."""
    _product(counter, args[0], args[1])


def baddbmm(counter: SopCounter, args: tuple[Any, ...], out: Tensor) -> None:
    """aten.baddbmm: the same, added to something."""
    _product(counter, args[1], args[2])


def _product(counter: SopCounter, left: Tensor, right: Tensor) -> None:
    if counter.is_weight(left) or counter.is_weight(right):
        return counter.not_counted("matmul", "a batched product with a weight has no rows that are samples")
    batch, M, K = left.shape
    N = right.shape[2]
    found = counter.place(batch)
    if isinstance(found, str):
        return counter.not_counted("matmul", found)
    rows = found.rows
    each = batch // rows if rows else 0
    pairs = overlap_count(left, right.transpose(1, 2)).view(rows, each, 3).sum(1)
    flags = [spike_count(t.contiguous(), rows)[:, 5:] for t in (left, right)]
    geometry = Geometry(
        "matmul", each * M * K, each * M * N, each * M * N * K, each * M * N * K, fan=N,
        other_inputs=each * N * K, fan_other=M,
    )  # fmt: skip
    counter.add("matmul", torch.cat([pairs, *flags], dim=1), geometry, found)


COUNTED: dict[Any, Callable[[SopCounter, tuple[Any, ...], Tensor], None]] = {
    aten.convolution.default: convolution,
    aten.addmm.default: addmm,
    aten.mm.default: mm,
    aten.bmm.default: bmm,
    aten.baddbmm.default: baddbmm,
}

_FUSED = "attention in one fused kernel shows none of its operands; switch it off with torch.nn.attention.sdpa_kernel"
_RECURRENT = "a recurrent layer in one kernel shows none of its steps"

# operator packet -> why it is not counted
UNCOUNTED: dict[Any, str] = {
    **{
        getattr(aten, name): _FUSED
        for name in (
            "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_fused_attention_overrideable",
        )
        if hasattr(aten, name)
    },
    **{
        getattr(aten, name): _RECURRENT
        for name in ("lstm", "gru", "rnn_tanh", "rnn_relu", "_cudnn_rnn", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell")
        if hasattr(aten, name)
    },
    aten.bilinear: "a bilinear layer has no synapses in this sense",
    aten.embedding: "an embedding looks a row up",
    aten._embedding_bag: "an embedding looks rows up",
    aten._sparse_mm: "a sparse weight",
}  # fmt: skip
