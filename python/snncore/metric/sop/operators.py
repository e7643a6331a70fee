"""The operators that hold synapses, as a dispatch mode sees them: counted, or named as not counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...ops import overlap_count, spike_count
from .fan_out import Convolution, Margins
from .forward import Forward, Place, Plan
from .maps import ConvolutionMaps
from .record import Geometry

__all__ = ["COUNTED", "UNCOUNTED", "conv_plan", "count_linear", "linear_plan"]

aten = torch.ops.aten

Count = Callable[[Forward, dict[str, Any]], None]  # the arguments by their names in the schema


def _why_not(*tensors: Tensor) -> str | None:
    """Return why the values of the operands cannot be counted, or None."""
    for t in tensors:
        if t.layout != torch.strided or t.is_quantized or t.is_nested:
            return f"an operand is not a plain dense tensor ({t.layout})"
        if t.is_complex():
            return "an operand is complex"
        if t.device.type == "meta":
            return "a tensor on the device 'meta' has no values"
    return None


# ---- convolution -----------------------------------------------------------------------------------------------------


def _is_channels_last(x: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return not x.is_contiguous() and x.dim() in formats and x.is_contiguous(memory_format=formats[x.dim()])


def convolution(forward: Forward, args: dict[str, Any]) -> None:
    """aten.convolution: 1, 2 or 3 dimensions, plain and transposed."""
    x = args["input"]
    last = _is_channels_last(x)
    plan = conv_plan(forward, args, last)
    if isinstance(plan, str):
        return forward.not_counted("conv", plan)
    # in the order in which x lies in memory, so that it need not be copied
    forward.count(x.movedim(1, -1) if last else x, plan)


def conv_plan(forward: Forward, args: dict[str, Any], last: bool) -> Plan | str:
    """Return how to count aten.convolution, or why it cannot be; ``last``: its input lies in memory channels last."""
    x, weight = args["input"], args["weight"]
    found = _why_not(x, weight) or forward.place((x.shape[0],))
    if isinstance(found, str):
        return found
    margins = forward.margins(x)
    given = tuple(tuple(args[name]) for name in ("stride", "padding", "dilation", "output_padding"))
    key = (x.shape, found, last, margins, *given, args["transposed"], args["groups"], args["bias"] is not None)

    def find() -> Plan:
        stride, padding, dilation, output_padding = (v * (x.dim() - 2 if len(v) == 1 else 1) for v in given)
        conv = Convolution(
            tuple(x.shape), tuple(weight.shape), stride, padding, dilation, args["transposed"], output_padding,
            args["groups"],
        )  # fmt: skip
        maps = forward.maps.of_convolution(conv, weight, x.device, last, margins)
        geometry = _conv_geometry(conv, maps, margins, x.shape[0] // max(found.rows, 1), weight, args["bias"])
        return Plan("conv", found, maps.fan, maps.eff, geometry)

    plan: Plan = forward.weights.fact(weight, key, find)
    return plan


def _conv_geometry(
    conv: Convolution, maps: ConvolutionMaps, margins: Margins | None, each: int, weight: Tensor, bias: Tensor | None
) -> Geometry:
    """Return the geometry of ``each`` calls."""
    inputs = conv.in_channels
    for d, n in enumerate(conv.spatial):
        inputs *= n - sum(margins[d] if margins else (0, 0))
    return Geometry(
        "conv", each * inputs, each * conv.output_elements, each * maps.dense, each * conv.dense_with_padding,
        bias=bias is not None, pruned=maps.eff is not None,
        weights=weight.numel() + (0 if bias is None else bias.numel()),
    )  # fmt: skip


# ---- matrices --------------------------------------------------------------------------------------------------------


def addmm(forward: Forward, args: dict[str, Any]) -> None:
    """aten.addmm: a linear layer with bias."""
    _matrix(forward, args["mat1"], args["mat2"], args["self"])


def mm(forward: Forward, args: dict[str, Any]) -> None:
    """aten.mm: a linear layer without bias."""
    _matrix(forward, args["self"], args["mat2"])


def bmm(forward: Forward, args: dict[str, Any]) -> None:
    """aten.bmm: a batch of matmuls."""
    _product(forward, args["self"], args["mat2"])


def baddbmm(forward: Forward, args: dict[str, Any]) -> None:
    """aten.baddbmm: the same, added to something."""
    _product(forward, args["batch1"], args["batch2"])


def _matrix(forward: Forward, x: Tensor, w: Tensor, added: Tensor | None = None) -> None:
    """Count x [rows, in] @ w [in, out]."""
    weights = forward.weights
    if x not in weights and w not in weights:
        weights.read_again()  # a layer may have been added, or its weight exchanged
    if w in weights and not weights.learned(x):
        return _linear(forward, x, w, added)
    if w in weights:
        return forward.not_counted("linear", "a product of weights with weights, no input of a sample is in it")
    if x in weights:
        return forward.not_counted("linear", "its weight stands on the left, so its rows are no samples")
    if forward.T * forward.B == 1:
        return _product(forward, x.unsqueeze(0), w.unsqueeze(0))
    forward.not_counted(
        "matmul",
        "neither operand is a weight (a parameter or buffer of the net, or computed from such), and it is not batched",
    )


def _linear(forward: Forward, x: Tensor, w: Tensor, added: Tensor | None) -> None:
    sizes = forward.leading(x, last=1)
    plan = linear_plan(forward, x, w, added, sizes)
    if isinstance(plan, str):
        return forward.not_counted("linear", plan)
    if plan.place.axis:
        x = x.reshape(*sizes, x.shape[-1]).transpose(0, 1)
    count_linear(forward, x, plan)


def linear_plan(forward: Forward, x: Tensor, w: Tensor, added: Tensor | None, sizes: tuple[int, ...]) -> Plan | str:
    """Return how to count x [*sizes, in] @ w [in, out], w being the weight, or why it cannot be counted.

    ``added``: what is added, perhaps a bias.
    """
    found = _why_not(x, w) or forward.place(sizes)
    if isinstance(found, str):
        return found
    n_in, n_out = w.shape
    tokens = x.numel() // (found.rows * n_in) if found.rows * n_in else 0
    eff = forward.maps.of_linear(w)
    dense = tokens * n_in * n_out
    bias = added is not None and added in forward.weights
    geometry = Geometry(
        "linear", tokens * n_in, tokens * n_out, dense, dense, fan=n_out, bias=bias, pruned=eff is not None,
        weights=w.numel() + (added.numel() if added is not None and bias else 0),
    )  # fmt: skip
    return Plan("linear", found, eff, eff, geometry)


def count_linear(forward: Forward, x: Tensor, plan: Plan) -> None:
    """Count x, the rows of ``plan`` in memory order, which some neuron may have counted already."""
    forward.count(x, plan, forward.spike_count(x, plan.place) if plan.eff is None else None)


def _product(forward: Forward, left: Tensor, right: Tensor) -> None:
    """Count left [batch, M, K] @ right [batch, K, N]."""
    if left in forward.weights or right in forward.weights:
        return _batched_with_weight(forward, left, right)
    sizes = forward.leading(left, last=2)
    found = _why_not(left, right) or forward.place(sizes)
    if isinstance(found, Place) and found.axis:
        found = f"its batch {list(sizes)} does not begin with the samples"
    if isinstance(found, str):
        return forward.not_counted("matmul", found)
    (batch, M, K), N = left.shape, right.shape[2]
    each = batch // found.rows if found.rows else 0
    pairs = overlap_count(left, right.transpose(1, 2)).view(found.rows, each, 3).sum(1)
    flags = [spike_count(t, found.rows)[:, 5:] for t in (left, right)]
    geometry = Geometry(
        "matmul", each * M * K, each * M * N, each * M * N * K, each * M * N * K, fan=N,
        other_inputs=each * N * K, fan_other=M,
    )  # fmt: skip
    forward.add("matmul", torch.cat([pairs, *flags], dim=1), geometry, found)


def _batched_with_weight(forward: Forward, left: Tensor, right: Tensor) -> None:
    """Count a product in which one weight is shared by the batch, as einsum and ``weight @ x`` make it."""
    if right in forward.weights and not forward.weights.learned(left):
        x, w = left, right
    else:
        x, w = right.transpose(1, 2), left.transpose(1, 2)  # (left @ right)^T
    if w in forward.weights and not forward.weights.learned(x) and (w.shape[0] == 1 or w.stride(0) == 0):
        batch, rows, n_in = x.shape
        flat = x.reshape(batch * rows, n_in)
        if batch > 1:
            forward.fold(x, flat)
        return _linear(forward, flat, w[0], None)
    forward.not_counted("matmul", "every matrix of the batch has a weight of its own, or both operands are weights")


# ---- attention -------------------------------------------------------------------------------------------------------


def attention(forward: Forward, args: dict[str, Any]) -> None:
    """A fused scaled-dot-product attention: its two matmuls; the attention map is computed once more to be counted."""
    q, k, v = args["query"], args["key"], args["value"]
    if args.get("dropout_p"):
        return forward.not_counted("attention", "it drops out inside a fused kernel; call eval(), or set dropout to 0")
    why = _why_not(q, k, v)
    if why is not None or q.dim() != 4 or not q.shape[1] == k.shape[1] == v.shape[1]:
        return forward.not_counted("attention", why or "its operands are not [batch, heads, tokens, channels]")
    mask = args.get("attn_mask", args.get("attn_bias"))
    scale = args.get("scale")
    scores = (q @ k.transpose(2, 3)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if args.get("is_causal"):
        past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~past, -math.inf)
    if mask is not None:
        scores = scores + mask  # the fused operators get a boolean mask as 0 and -inf
    for left, right in ((q, k.transpose(2, 3)), (scores.softmax(-1), v)):
        flat = left.flatten(0, 1)
        forward.fold(left, flat)
        _product(forward, flat, right.flatten(0, 1))


_COUNTED: dict[str, Count] = {
    "convolution": convolution,
    "_convolution": convolution,  # as traced modules call it
    "addmm": addmm,
    "addmm_": addmm,
    "_addmm_activation": addmm,
    "mm": mm,
    "bmm": bmm,
    "baddbmm": baddbmm,
    "baddbmm_": baddbmm,
    "_scaled_dot_product_flash_attention_for_cpu": attention,
    "_scaled_dot_product_flash_attention": attention,
    "_scaled_dot_product_efficient_attention": attention,
    "_scaled_dot_product_cudnn_attention": attention,
    "_scaled_dot_product_fused_attention_overrideable": attention,
}

# operator packet -> how it is counted, and -> why it is not; some exist in some releases of torch only
COUNTED = {getattr(aten, name): count for name, count in _COUNTED.items() if hasattr(aten, name)}

_ATTENTION = (
    "an attention layer in one kernel shows none of its operands; "
    "torch.backends.mha.set_fastpath_enabled(False) switches it off"
)
_RECURRENT = "a recurrent layer in one kernel shows none of its steps; write it as a loop over a cell"
_PACKED = "its weight is quantized or packed"
_SPARSE = "its weight is sparse"
_VECTOR = "a product of one vector has no rows that are samples; give the net a batch of one"
_INNER = "the inside of a convolution was called, not the convolution"
_GROUPED = "it multiplies matrices of several sizes, whose rows are not those of the samples"

_WHY_UNCOUNTED = {
    _ATTENTION: "_native_multi_head_attention _transformer_encoder_layer_fwd _triton_multi_head_attention "
    "_triton_scaled_dot_attention _flash_attention_forward _efficient_attention_forward _cudnn_attention_forward "
    "_flash_attention_forward_no_dropout_inplace _scaled_dot_product_attention_math_for_mps "
    "_nested_compute_contiguous_strides_offsets",
    _RECURRENT: "lstm gru rnn_tanh rnn_relu _cudnn_rnn mkldnn_rnn_layer miopen_rnn _lstm_mps _thnn_fused_lstm_cell "
    "_thnn_fused_gru_cell quantized_lstm_cell quantized_gru_cell quantized_rnn_relu_cell quantized_rnn_tanh_cell",
    _PACKED: "_int_mm _scaled_mm _scaled_mm_v2 _weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu "
    "_weight_int4pack_mm_with_scales_and_zeros _dyn_quant_matmul_4bit _mixed_dtypes_linear mkldnn_linear "
    "_mkldnn_linear fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_fp16_weight "
    "fbgemm_linear_fp16_weight_fp32_activation _wrapped_quantized_linear_prepacked _wrapped_linear_prepack",
    _SPARSE: "_sparse_mm _sparse_addmm sspaddmm hspmm _sparse_sparse_matmul _cslt_sparse_mm _sparse_mm_reduce_impl "
    "_sparse_semi_structured_linear _sparse_semi_structured_mm _sparse_semi_structured_addmm sparse_sampled_addmm",
    _VECTOR: "mv addmv addmv_ dot vdot addr addr_ ger",
    _INNER: "convolution_overrideable mkldnn_convolution cudnn_convolution cudnn_convolution_transpose "
    "cudnn_convolution_relu cudnn_convolution_add_relu miopen_convolution miopen_convolution_transpose "
    "miopen_depthwise_convolution miopen_convolution_relu miopen_convolution_add_relu _slow_conv2d_forward "
    "slow_conv3d_forward slow_conv_dilated2d slow_conv_dilated3d slow_conv_transpose2d slow_conv_transpose3d "
    "_mps_convolution _mps_convolution_transpose "
    "_conv_depthwise2d conv_depthwise3d _nnpack_spatial_convolution conv_tbc mps_convolution",
    _GROUPED: "addbmm addbmm_ _foreach_mm _grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2 segment_mm",
    "it writes to a tensor it was given (out=)": "linear",
    "a bilinear layer multiplies two inputs with each weight": "_trilinear",
    "an embedding looks rows up": "embedding embedding_renorm embedding_renorm_ _embedding_bag "
    "_embedding_bag_forward_only",
}

UNCOUNTED: dict[Any, str] = {
    getattr(aten, name): why for why, names in _WHY_UNCOUNTED.items() for name in names.split() if hasattr(aten, name)
}
