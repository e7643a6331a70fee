"""Weights of online learning through time: they learn from a trace of the spikes that reached them.

Online training through time (OTTT; Xiao et al., NeurIPS 2022, arXiv:2210.04195) sends no gradient from a time step to
the step before (``neuron.OTTTLIFNode``). What a weight owes to earlier steps is in the trace of its input,
trace[t] = (1 - 1/tau) * trace[t-1] + x[t], which takes the place of x[t] in the weight's gradient alone:
dL/dW = sum over t of g[t] trace[t]^T, dL/dx[t] = W^T g[t], with y[t] = W x[t] and g[t] = dL/dy[t].
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, StateError
from ..ops.neuron import state_dtype
from .base import StatefulModule, StepModule
from .synapse import Conv2d, Linear

__all__ = ["Trace", "TraceConv2d", "TraceLinear"]


class _Value(torch.autograd.Function):
    """The value of one tensor with the gradient of another of the same shape."""

    generate_vmap_rule = True

    @staticmethod
    def forward(graph: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None


class Trace(StepModule, StatefulModule):
    """Gives a layer that is linear in its input the trace of that input. Stands before the layer among the bases.

    In training the layer runs twice, once for the value and once for the gradient. ``"m"``: the trace starts at 0 with
    every call. ``"s"``: it is kept until ``functional.reset_net``, in float64 beside float64 input and else in float32.
    In evaluation the layer is the plain one, and the trace stays as it is.

    Args:
        *args: as the layer.
        tau: membrane time constant, in time steps, > 1, of the neuron that the layer feeds.
        **kwargs: as the layer.

    Raises:
        ArgumentError: an argument cannot be used.
        StateError: in ``"s"``: x does not fit the trace.
    """

    def __init__(self, *args: Any, tau: float = 2.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not 1.0 < tau < math.inf:
            raise ArgumentError(
                f"{type(self).__name__}.tau: must be a number greater than 1 (time steps), got {tau!r}; "
                "pass the tau of the neuron behind this layer"
            )
        self.tau = float(tau)
        self.trace: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        """Apply the layer to ``x``, [B, *] in step mode 's' or [T, B, *] in 'm'."""
        if not self.training:
            return super().forward(x)
        self.check_shape(x)
        with torch.no_grad():
            trace = self._follow(x).to(x.dtype)
            y = super().forward(x)
        if not torch.is_grad_enabled():
            return y
        return _Value.apply(super().forward(_Value.apply(x, trace)), y)  # type: ignore[no-untyped-call]

    def reset(self) -> None:
        """Begin a new trace with the next step."""
        self.trace = None

    def __getstate__(self) -> dict[str, Any]:
        # As with the state of a neuron: a copy starts afresh.
        return {**super().__getstate__(), "trace": None}  # type: ignore[no-untyped-call]

    def _follow(self, x: Tensor) -> Tensor:
        """Return the trace up to and with ``x``, of its shape, and keep it in 's'."""
        decay, dtype = 1.0 - 1.0 / self.tau, state_dtype(x.dtype)
        if self.step_mode == "m":
            traces = [torch.zeros_like(x[0], dtype=dtype)] if len(x) else []
            for step in x.unbind(0):
                traces.append(traces[-1] * decay + step)
            return torch.stack(traces[1:]) if traces else x
        kept = self.trace
        if kept is None:
            self.trace = x.detach().to(dtype, copy=True)
        elif (kept.shape, kept.dtype, kept.device) != (x.shape, dtype, x.device):
            raise StateError(
                f"{type(self).__name__}.x: must fit the trace kept (shape {list(kept.shape)}, {kept.dtype} on "
                f"{kept.device}), got {list(x.shape)}, {x.dtype} on {x.device}; call functional.reset_net(net) before "
                "a new batch"
            )
        else:
            self.trace = kept * decay + x.detach()
        return self.trace

    def extra_repr(self) -> str:
        """Return the line of the layer, and tau."""
        return f"{super().extra_repr()}, tau={self.tau:g}"


class TraceLinear(Trace, Linear):
    """``Linear`` whose weight learns from the trace of its input; its bias learns as ever. See ``Trace``."""


class TraceConv2d(Trace, Conv2d):
    """``Conv2d`` whose weight learns from the trace of its input; its bias learns as ever. See ``Trace``."""
