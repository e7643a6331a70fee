"""torch.func over the fused ops: their vmap rules, and an autograd that grad, vmap and jacrev can transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import EngineError
from . import reference

if TYPE_CHECKING:
    from .neuron import Dynamics

__all__ = [
    "TWICE",
    "Definition",
    "TransformableMultiStep",
    "no_forward_mode",
    "register_vmap_rules",
    "transformed",
    "why_not_differentiable",
]

# (x_seq, state_init, params) -> spike_seq, state_last [states, *], v_seq: the native call in differentiable torch
Definition = Callable[[Tensor, "Tensor | None", "Tensor | None"], tuple[Tensor, Tensor, Tensor]]

TWICE = "the op alone gives first derivatives; a neuron of snncore.neuron differentiates twice"
_NAMESPACE = torch.ops.snncore


def transformed() -> bool:
    """Return True under torch.func (vmap, grad, jvp, ...)."""
    return torch._C._functorch.peek_interpreter_stack() is not None


# For the tracer of torch.compile, which does not know the call above; what torch.compiler.assume_constant_result does,
# without the import of the compiler.
transformed._dynamo_marked_constant = True  # type: ignore[attr-defined]


def why_not_differentiable() -> str | None:
    """Return the reason why no native kernel serves the differentiation that is going on here, or None."""
    if torch.autograd.forward_ad._current_level >= 0:
        return "native kernels differentiate in reverse mode alone, and this is forward mode (jvp, jacfwd)"
    if torch.compiler.is_compiling() and transformed():
        return "torch.compile cannot trace torch.func (vmap, grad, ...) through a native kernel"
    return None


def no_forward_mode(ctx: Any, *tangents: Any) -> Any:
    """Refuse forward-mode differentiation, where torch would go on without a derivative."""
    raise EngineError(f"multi_step.x_seq: must carry no tangent, got one: {why_not_differentiable()}; use a definition")


# ---- vmap ----------------------------------------------------------------------------------------------------------
# A batch becomes more lanes of the same call. Lane -> channel is (lane // inner) % channels, so lanes are laid out as
# [k, channels, inner]. Where all share one `params` the batch goes first, [batch, k, channels, inner]; where each has
# its own, or wants its own gradient of it, behind the channels, [k, channels, batch, inner]: channels * batch channels.


class _Batch:
    """Folds a batch into the lanes of tensors [rows, *step], and back."""

    def __init__(self, size: int, x: Tensor, x_dim: int | None, params: Tensor | None, inner: int, apart: bool) -> None:
        self.size, self.apart = size, apart
        self.step = (x if x_dim is None else x.select(x_dim, 0)).shape[1:]
        self.channels = 1 if params is None else params.shape[-1]  # `params` of one element of the batch
        lanes = self.step.numel()
        # any number of lanes may share a single channel, and all of them is the layout that copies least
        self.inner = (max(lanes, 1) if self.channels == 1 else max(inner, 1)) if apart else inner
        self.repeats = lanes // (self.channels * self.inner) if apart else 0

    def fold(self, tensor: Tensor | None, dim: int | None) -> Tensor | None:
        """[rows, *step] with a batch at ``dim`` (None: the same for all) -> [rows, folded lanes]."""
        if tensor is None:
            return None
        if dim is None:
            tensor = tensor.unsqueeze(1).expand(tensor.shape[0], self.size, *tensor.shape[1:])
        else:
            tensor = tensor.movedim(dim, 1)
        if not self.apart:
            return tensor
        rows = tensor.shape[0]
        split = tensor.reshape(rows, self.size, self.repeats, self.channels, self.inner)
        return split.permute(0, 2, 3, 1, 4).reshape(rows, self.size * self.step.numel())

    def unfold(self, tensor: Tensor) -> Tensor:
        """What ``fold`` made -> [batch, rows, *step]."""
        if not self.apart:
            return tensor.movedim(1, 0)
        rows = tensor.shape[0]
        split = tensor.reshape(rows, self.repeats, self.channels, self.size, self.inner)
        return split.permute(3, 0, 1, 2, 4).reshape(self.size, rows, *self.step)

    def fold_params(self, params: Tensor | None, dim: int | None) -> Tensor | None:
        """[rows, channels] with a batch at ``dim`` -> [rows, channels * batch]."""
        if params is None or not self.apart:
            return params
        params = params.unsqueeze(2).expand(*params.shape, self.size) if dim is None else params.movedim(dim, 2)
        return params.reshape(params.shape[0], self.channels * self.size)

    def unfold_params(self, params: Tensor) -> Tensor:
        """[rows, channels * batch] -> [batch, rows, channels]."""
        return params.view(params.shape[0], self.channels, self.size).movedim(2, 0)


def _one_of(params: Tensor | None, dim: int | None) -> Tensor | None:
    return params if params is None or dim is None else params.select(dim, 0)


def register_vmap_rules(neuron: str) -> None:
    """Give one neuron's ops the rule by which a batch becomes more lanes of one call."""
    forward_op = getattr(_NAMESPACE, f"{neuron}_forward").default
    backward_op = getattr(_NAMESPACE, f"{neuron}_backward").default

    def forward(
        info: Any, dims: tuple[Any, ...], x: Tensor, state: Any, params: Any, inner: int, *rest: Any
    ) -> tuple[Any, Any]:
        batch = _Batch(info.batch_size, x, dims[0], _one_of(params, dims[2]), inner, apart=dims[2] is not None)
        *plain, samples = rest
        *outputs, count = forward_op(
            batch.fold(x, dims[0]), batch.fold(state, dims[1]), batch.fold_params(params, dims[2]), batch.inner, *plain,
            None if samples is None or batch.apart else batch.size * samples,
        )  # fmt: skip
        kept = (True, *plain[-2:], samples is not None)
        results = [batch.unfold(o) if keep else o for o, keep in zip(outputs, kept[:3], strict=True)]
        if samples is not None and batch.apart:  # the lanes of a sample do not lie together
            spikes = results[0]
            count = reference.spike_count(spikes.flatten(0, 1), samples).view(*spikes.shape[:2], samples)
        elif samples is not None:
            count = count.view(-1, batch.size, samples).movedim(1, 0)
        return (*results, count), tuple(0 if keep else None for keep in kept)

    def backward(
        info: Any, dims: tuple[Any, ...], g_spike: Any, g_state: Any, g_v_seq: Any, x: Tensor, state: Any, params: Any,
        inner: int, *rest: Any,
    ) -> tuple[Any, Any]:  # fmt: skip
        want_state, want_params = rest[-2], rest[-1] and params is not None
        one = _one_of(params, dims[5])
        batch = _Batch(info.batch_size, x, dims[3], one, inner, apart=want_params or dims[5] is not None)
        tensors = [batch.fold(t, d) for t, d in zip((g_spike, g_state, g_v_seq, x, state), dims[:5], strict=True)]
        g_x, g_init, g_params = backward_op(*tensors, batch.fold_params(params, dims[5]), batch.inner, *rest)
        results = (
            batch.unfold(g_x),
            batch.unfold(g_init) if want_state else g_init,
            batch.unfold_params(g_params) if want_params else g_params,
        )
        return results, (0, 0 if want_state else None, 0 if want_params else None)

    torch.library.register_vmap(f"snncore::{neuron}_forward", forward)
    torch.library.register_vmap(f"snncore::{neuron}_backward", backward)


# ---- autograd under torch.func -------------------------------------------------------------------------------------


def _there(gradient: Tensor | None) -> Tensor | None:
    """An output that was not kept has no elements; its gradient says nothing."""
    return None if gradient is None or gradient.numel() == 0 else gradient


def _pull_back(definition: Definition, tensors: list[Any]) -> tuple[Tensor, ...]:
    """Return the gradients of the inputs that are there, by the definition; ``tensors``: 3 gradients, 3 inputs."""
    gradients, inputs = tensors[:3], tensors[3:]
    there = [i for i in range(3) if inputs[i] is not None]

    def run(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        full = list(inputs)
        for i, tensor in zip(there, given, strict=True):
            full[i] = tensor
        return definition(*full)

    outputs, pull = torch.func.vjp(run, *(inputs[i] for i in there))  # type: ignore[misc]
    found: tuple[Tensor, ...] = pull(
        tuple(torch.zeros_like(o) if _there(g) is None else g for o, g in zip(outputs, gradients, strict=True))
    )
    return found


class _FirstDerivatives(torch.autograd.Function):
    """The backward op, itself differentiable: by the definition."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        dynamics: Dynamics,
        definition: Definition | None,
        inner: int,
        want_state: bool,
        want_params: bool,
        *tensors: Any,
    ) -> Any:
        op = getattr(_NAMESPACE, dynamics.neuron + "_backward").default
        gradients = (_there(g) for g in tensors[:3])
        return op(*gradients, *tensors[3:], inner, *dynamics.arguments, want_state, want_params)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.definition, ctx.wanted = inputs[1], inputs[3:5]
        ctx.save_for_backward(*inputs[5:])

    @staticmethod
    def backward(ctx: Any, *twice: Any) -> Any:
        if ctx.definition is None:
            raise RuntimeError(TWICE)
        tensors = list(ctx.saved_tensors)
        used = [i for i in range(6) if (_there(tensors[i]) if i < 3 else tensors[i]) is not None]

        def first(*given: Tensor) -> tuple[Tensor, ...]:
            full = list(tensors)
            for i, tensor in zip(used, given, strict=True):
                full[i] = tensor
            found = list(_pull_back(ctx.definition, full))
            by_place = [None if t is None else found.pop(0) for t in tensors[3:]]
            return tuple(g for g, want in zip(by_place, (True, *ctx.wanted), strict=True) if want and g is not None)

        _, pull = torch.func.vjp(first, *(tensors[i] for i in used))  # type: ignore[misc]
        returned = (True, ctx.wanted[0], ctx.wanted[1] and tensors[5] is not None)
        found = pull(tuple(g for g, want in zip(twice, returned, strict=True) if want))
        results: list[Any] = [None] * 6
        for i, g in zip(used, found, strict=True):
            results[i] = g
        return (*[None] * 5, *results)

    jvp = staticmethod(no_forward_mode)


class TransformableMultiStep(torch.autograd.Function):
    """``multi_step`` under torch.func; the Function of eager mode is several times as quick but not transformable."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        dynamics: Dynamics,
        x_seq: Tensor,
        state_init: Any,
        params: Any,
        inner: int,
        keep: tuple[bool, bool, int | None],
        definition: Definition | None,
    ) -> Any:
        """Call the op."""
        op = getattr(_NAMESPACE, dynamics.neuron + "_forward").default
        return op(x_seq, state_init, params, inner, *dynamics.arguments, *keep)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep what backward needs."""
        ctx.dynamics, x_seq, state_init, params, ctx.inner, _, ctx.definition = inputs
        ctx.mark_non_differentiable(output[3])
        ctx.save_for_backward(x_seq, state_init, params)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return the gradients of x_seq, state_init and params."""
        want_x, want_state, want_params = ctx.needs_input_grad[1:4]
        found = _FirstDerivatives.apply(  # type: ignore[no-untyped-call]
            ctx.dynamics, ctx.definition, ctx.inner, want_state, want_params, *grads[:3], *ctx.saved_tensors
        )
        results = (g if want else None for g, want in zip(found, (want_x, want_state, want_params), strict=True))
        return None, *results, *[None] * 3

    jvp = staticmethod(no_forward_mode)
