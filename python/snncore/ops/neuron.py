"""The fused neuron op: one call for all time steps, forward and backward, on the native engine.

Every neuron of the compiled table gets its fake (shape-only) kernel and its autograd formula in one loop below.
Autocast: the ops have no rule of their own, on purpose. They take ``x_seq`` in the dtype it comes in (bfloat16 from a
convolution under autocast) and keep states and arithmetic in float32, so autocast neither switches the kernel nor
widens its traffic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import EngineError, StateError
from .library import core
from .transforms import (
    TWICE,
    Definition,
    TransformableMultiStep,
    no_forward_mode,
    register_vmap_rules,
    transformed,
    why_not_differentiable,
)

__all__ = ["LEARNABLE_SURROGATES", "NEURON_TABLE", "SURROGATE_NAMES", "Dynamics", "multi_step", "state_dtype"]

# name -> (states, parameters, constants); a surrogate's number is its place in the list
NEURON_TABLE: dict[str, tuple[int, int, int]] = core.neuron_table()
SURROGATE_NAMES: list[str] = core.surrogate_names()
LEARNABLE_SURROGATES: frozenset[str] = frozenset(core.learnable_surrogates())  # those whose alpha has a gradient

_RESET_CODE = {"hard": 0, "soft": 1, "none": 2}
_NAMESPACE = torch.ops.snncore


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of states and parameters beside ``x_seq`` of ``dtype``: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Dynamics:
    """Everything of a neuron that is a number or a name, not a tensor.

    Attributes:
        neuron: a row of ``NEURON_TABLE``.
        params: v_threshold, then the neuron's parameters (ignored where a tensor of them is given).
        constants: the neuron's constants.
        state_rest: what each state starts from when no initial state is given.
        reset: ``"hard"`` (to ``v_reset``), ``"soft"`` (subtract ``v_threshold``) or ``"none"``.
        v_reset: used by the hard reset.
        detach_reset: True to keep the reset of the potential out of the gradient.
        surrogate: one of ``SURROGATE_NAMES``; surrogate_args: its two numbers.
        detach_state: True: no gradient goes from one step to the step before.
        smooth: fire with the surrogate's smooth step instead of the Heaviside step; for gradient checks only.
    """

    neuron: str
    params: tuple[float, ...]
    constants: tuple[float, ...]
    state_rest: tuple[float, ...]
    reset: str
    v_reset: float
    detach_reset: bool
    surrogate: str
    surrogate_args: tuple[float, float]
    detach_state: bool = False
    smooth: bool = False
    arguments: tuple[Any, ...] = field(init=False, repr=False, compare=False)  # in the order of the op's schema

    def __post_init__(self) -> None:
        numbers = [*self.state_rest, *self.params, *self.constants, self.v_reset, *self.surrogate_args]
        reset, surrogate = _RESET_CODE[self.reset], SURROGATE_NAMES.index(self.surrogate)
        arguments = (numbers, reset, self.detach_reset, self.detach_state, surrogate, self.smooth)
        object.__setattr__(self, "arguments", arguments)


def _saved(ctx: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    try:
        x_seq, state_init, params = ctx.saved_tensors
        return x_seq, state_init, params
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise StateError(
            "backward: reached time steps whose graph an earlier backward has already freed, most likely because a "
            "neuron in step_mode='s' still holds its state; call functional.reset_net(net) after each sample, or "
            "functional.detach_net(net) to keep the state but cut the graph"
        ) from error


def _backward(
    neuron: str, ctx: Any, grads: tuple[Any, ...], want_state: bool, want_params: bool
) -> tuple[Tensor, Tensor, Tensor]:
    x_seq, state_init, params = _saved(ctx)
    g_spike, g_state, g_v_seq = grads[:3]  # a count has none
    # An output that was not kept has no elements; its gradient says nothing.
    g_state = None if g_state is None or g_state.numel() == 0 else g_state
    g_v_seq = None if g_v_seq is None or g_v_seq.numel() == 0 else g_v_seq
    op = getattr(_NAMESPACE, neuron + "_backward").default
    result: tuple[Tensor, Tensor, Tensor] = op(
        g_spike, g_state, g_v_seq, x_seq, state_init, params, ctx.inner, *ctx.arguments, want_state, want_params
    )
    return result


def _forward_below_autograd(dynamics: Dynamics, *arguments: Any) -> Any:
    # The op's registered autograd runs in Python and costs as much as the rest of the call, with or without grad.
    x_seq, state_init, params, inner, *keep = arguments
    op = getattr(_NAMESPACE, dynamics.neuron + "_forward").default
    with torch._C._AutoDispatchBelowAutograd():
        return op(x_seq, state_init, params, inner, *dynamics.arguments, *keep)


def _forward_ad_is_active() -> bool:
    return torch.autograd.forward_ad._current_level >= 0


def _differentiable_backward(definition: Definition, ctx: Any, grads: tuple[Any, ...]) -> list[Tensor | None]:
    """First derivatives with a graph of their own (create_graph=True): those of the definition."""
    inputs = _saved(ctx)
    wanted = [i for i, want in enumerate(ctx.needs_input_grad[1:4]) if want]
    with torch.enable_grad():
        outputs = definition(*inputs)
    pairs = [(o, g) for o, g in zip(outputs, grads[:3], strict=True) if g is not None and g.numel() and o.requires_grad]
    results: list[Tensor | None] = [None, None, None]
    if pairs and wanted:
        found = torch.autograd.grad(
            [o for o, _ in pairs], [t for i in wanted if (t := inputs[i]) is not None], [g for _, g in pairs],
            create_graph=True, allow_unused=True,
        )  # fmt: skip
        for i, g in zip(wanted, found, strict=True):
            results[i] = g
    return results


class _MultiStep(torch.autograd.Function):
    """Autograd in eager mode; the formula registered with the op (below) costs several times as much per call."""

    @staticmethod
    def forward(
        ctx: Any,
        dynamics: Dynamics,
        x_seq: Tensor,
        state_init: Any,
        params: Any,
        inner: int,
        keep: tuple[bool, bool, int | None],
        definition: Definition | None,
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_seq, state_init, params)
        ctx.neuron, ctx.arguments, ctx.inner, ctx.definition = dynamics.neuron, dynamics.arguments, inner, definition
        outputs = _forward_below_autograd(dynamics, x_seq, state_init, params, inner, *keep)
        ctx.mark_non_differentiable(outputs[3])
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        wanted = ctx.needs_input_grad[1:4]
        if torch.is_grad_enabled() and ctx.definition is not None:
            return None, *_differentiable_backward(ctx.definition, ctx, grads), None, None, None
        with torch.no_grad():
            found = _backward(ctx.neuron, ctx, grads, wanted[1], wanted[2])
        results = [g if want else None for g, want in zip(found, wanted, strict=True)]
        if torch.is_grad_enabled():  # the gradients look differentiable, and raise when someone tries
            inputs = [t for t in ctx.saved_tensors if t is not None and t.requires_grad]  # every way is guarded
            guard = torch._C._functions.DelayedError(TWICE, 1 + len(inputs))
            results = [None if g is None else guard(g, *inputs)[0] for g in results]
        return None, *results, None, None, None

    jvp = staticmethod(no_forward_mode)


def multi_step(
    dynamics: Dynamics,
    x_seq: Tensor,
    state_init: Tensor | None = None,
    params: Tensor | None = None,
    inner: int = 1,
    keep_state: bool = True,
    keep_v_seq: bool = False,
    definition: Definition | None = None,
    samples: int | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Run a native neuron over all steps of ``x_seq``.

    Args:
        dynamics: the neuron and its numbers.
        x_seq: [T, *] input current; float64, float32, bfloat16 or float16. Lanes are the elements of one step.
        state_init: [states, *] in ``state_dtype(x_seq.dtype)``; None: ``dynamics.state_rest`` everywhere.
        params: v_threshold and parameters [1 + parameters, channels] in the same dtype, with one more row the
            surrogate's alpha too; None: ``dynamics.params`` everywhere.
        inner: lanes that share one channel before the next begins: lane -> channel is (lane // inner) % channels.
        keep_state: also return the state after the last step.
        keep_v_seq: also return the potential after reset of every step.
        definition: the same in differentiable torch, (x_seq, state_init, params) -> the three results; used when
            the gradients themselves are to be differentiated (``create_graph=True``).
        samples: count the spikes of each of so many samples, neighbouring lanes each (B where x_seq is [T, B, *]);
            None: do not count.

    Returns:
        spike_seq [T, *] in x's dtype; state_last [states, *] and v_seq [T, *] in the state's dtype, None if not kept;
        spike_count [T, samples], int64: elements of spike_seq that are not zero, None if not counted.
        All contiguous. Differentiable with respect to x_seq, state_init and params: once, and through ``definition``
        as often as wanted.

    Raises:
        RuntimeError: a shape, dtype or device does not fit; the message names op and argument.
    """
    outputs: Any
    if torch.compiler.is_compiling():
        reason = why_not_differentiable()
        if reason is not None:
            raise EngineError(f"multi_step.x_seq: must not be transformed here, got a transform: {reason}")
        op = getattr(_NAMESPACE, dynamics.neuron + "_forward").default
        outputs = op(x_seq, state_init, params, inner, *dynamics.arguments, keep_state, keep_v_seq, samples)
    elif transformed():
        outputs = TransformableMultiStep.apply(  # type: ignore[no-untyped-call]
            dynamics, x_seq, state_init, params, inner, (keep_state, keep_v_seq, samples), definition
        )
    elif torch.is_grad_enabled() or _forward_ad_is_active():  # the Function refuses forward-mode AD, as it must
        outputs = _MultiStep.apply(  # type: ignore[no-untyped-call]
            dynamics, x_seq, state_init, params, inner, (keep_state, keep_v_seq, samples), definition
        )
    else:
        outputs = _forward_below_autograd(dynamics, x_seq, state_init, params, inner, keep_state, keep_v_seq, samples)
    spike_seq, state_last, v_seq, count = outputs
    return (
        spike_seq,
        state_last if keep_state else None,
        v_seq if keep_v_seq else None,
        count if samples is not None else None,
    )


def _same_device(op: str, x_seq: Tensor, **others: Tensor | None) -> None:
    # A meta tensor among real ones lands here, not in a kernel's own check.
    for argument, tensor in others.items():
        if tensor is not None and tensor.device != x_seq.device:
            raise RuntimeError(f"{op}.{argument}: must be on the device of x_seq ({x_seq.device}), got {tensor.device}")


def _register(neuron: str, states: int) -> None:
    """Give one neuron's ops their shape-only kernels and their autograd formula."""
    name = f"snncore::{neuron}"

    def forward_fake(x_seq: Tensor, state_init: Any, params: Any, *rest: Any) -> tuple[Tensor, ...]:
        _same_device(f"{name}_forward", x_seq, state_init=state_init, params=params)
        keep_state, keep_v_seq, samples = rest[-3:]
        dtype = state_dtype(x_seq.dtype)
        spike_seq = x_seq.new_empty(x_seq.shape)  # contiguous whatever the strides of x_seq
        state_last = x_seq.new_empty((states, *x_seq.shape[1:]) if keep_state else (0,), dtype=dtype)
        v_seq = x_seq.new_empty(x_seq.shape if keep_v_seq else (0,), dtype=dtype)
        counts = (0,) if samples is None else (x_seq.shape[0], samples)
        return spike_seq, state_last, v_seq, x_seq.new_empty(counts, dtype=torch.int64)

    def backward_fake(
        g_spike: Any, g_state: Any, g_v_seq: Any, x_seq: Tensor, state_init: Any, params: Any, *rest: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        _same_device(
            f"{name}_backward", x_seq, state_init=state_init, params=params,
            grad_spike_seq=g_spike, grad_state_last=g_state, grad_v_seq=g_v_seq,
        )  # fmt: skip
        want_state, want_params = rest[-2:]
        dtype = state_dtype(x_seq.dtype)
        g_init = x_seq.new_empty((states, *x_seq.shape[1:]) if want_state else (0,), dtype=dtype)
        g_params = x_seq.new_empty((0,) if params is None or not want_params else params.shape, dtype=dtype)
        return x_seq.new_empty(x_seq.shape), g_init, g_params

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x_seq, state_init, params, ctx.inner, *arguments = inputs
        ctx.arguments = tuple(arguments[:-3])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_seq, state_init, params)

    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        want_state, want_params = ctx.needs_input_grad[1:3]
        g_x, g_state, g_params = _backward(neuron, ctx, grads, want_state, want_params)
        untouched = (None,) * (len(ctx.arguments) + 4)
        return g_x, g_state if want_state else None, g_params if want_params else None, *untouched

    torch.library.register_fake(f"{name}_forward", forward_fake)
    torch.library.register_fake(f"{name}_backward", backward_fake)
    torch.library.register_autograd(f"{name}_forward", backward, setup_context=setup_context)
    register_vmap_rules(neuron)


for _name, (_states, _, _) in NEURON_TABLE.items():
    _register(_name, _states)
