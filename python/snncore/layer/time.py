"""The one place where layers meet time: fold ``T`` into the batch, or see that nothing changes over ``T``.

A layer without state does not care to which time step a sample belongs. So ``x_seq: [T, B, *]`` is folded to
``[T * B, *]`` once, the torch operation runs once, and its result is unfolded to ``[T, B, *]``.

A *static* sequence is one step seen ``T`` times without copies: its stride over ``T`` is 0, as
`snncore.encoding.direct` makes it. Folding it would copy it ``T`` times and compute the same thing ``T`` times.
Here the operation runs on the one step, and the result is again static, so that the next layer sees it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..neuron.memory_format import channels_back, channels_lie_last, channels_to_end

__all__ = ["first_step", "is_static", "over_time", "repeat"]


def is_static(x_seq: Tensor) -> bool:
    """Return whether ``x_seq: [T, *]`` is known to hold ``T > 1`` times the same step.

    Only the stride tells; values are not compared. False in two cases where the stride alone would mislead:

    - ``x_seq`` is a leaf that wants its own gradient: that gradient differs from step to step.
    - a graph is being exported or traced: it would be replayed on inputs whose strides nobody checks.
    """
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if x_seq.requires_grad and x_seq.is_leaf:
        return False
    return x_seq.shape[0] > 1 and x_seq.stride(0) == 0


class _FirstStep(torch.autograd.Function):
    """``x_seq[0]`` of a static sequence, for a gradient that comes back without a ``[T, *]`` block of zeros.

    The gradient is shared evenly between the ``T`` steps, as a view. They are one tensor, so whoever expanded it
    adds the shares up again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x_seq: Tensor) -> Tensor:
        return x_seq[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.T = inputs[0].shape[0]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return repeat(g / ctx.T, ctx.T)


def first_step(x_seq: Tensor) -> Tensor:
    """Return the one step of a static ``x_seq: [T, *]`` as a view of shape ``[*]``."""
    if x_seq.requires_grad and torch.is_grad_enabled():
        return _FirstStep.apply(x_seq)  # type: ignore[no-any-return, no-untyped-call]
    return x_seq[0]


def repeat(x: Tensor, T: int) -> Tensor:
    """Return ``x: [*]`` seen ``T`` times: a view of shape ``[T, *]`` with stride 0 over ``T``."""
    x_seq = x.unsqueeze(0)
    if x.requires_grad and channels_lie_last(x_seq):  # so that backward adds the steps up in the order of memory
        return channels_back(channels_to_end(x_seq).expand(T, *[-1] * x.ndim))
    return x_seq.expand(T, *x.shape)


def over_time(op: Callable[[Tensor], Any], x_seq: Tensor, *, hoist: bool = True) -> Any:
    """Apply ``op``, which takes and returns a batch, to every time step of ``x_seq``.

    Args:
        op: [B, *] -> [B, *], or a tuple of such.
        x_seq: [T, B, *]. Folded without a copy where its strides allow, which they do for dense sequences.
        hoist: where ``x_seq`` is static, run ``op`` on its one step only. To be False for an ``op`` whose result
            depends on how often each sample occurs in the batch.

    Returns:
        What ``op`` returns, each tensor as [T, B, *].
    """
    T, B = x_seq.shape[:2]
    if hoist and is_static(x_seq):
        return _each(op(first_step(x_seq)), lambda y: repeat(y, T))
    return _each(op(x_seq.flatten(0, 1)), lambda y: y.view(T, B, *y.shape[1:]))


def _each(result: Any, f: Callable[[Tensor], Tensor]) -> Any:
    return tuple(f(y) for y in result) if isinstance(result, tuple) else f(result)
