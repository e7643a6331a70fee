"""Neurons whose spikes come back to them with the next time step.

The recurrence is a module or a function of torch's, so time is a loop here: each step computes it, and then the neuron
on its own engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, StateError
from ..neuron import BaseNode
from ..neuron.base import State
from ..neuron.coefficients import to_step
from .base import StatefulModule, check_step_mode

__all__ = ["ElementWiseRecurrent", "LinearRecurrent", "Recurrent", "Scale"]


class Scale(nn.Module):
    """x times a number, or a number per channel: the recurrence of neurons that feed themselves alone.

    Args:
        scale: a number or a tensor [], for all; or [C], one per element of dimension 1 of a step [B, C, *].
        learn: True to learn it.

    Raises:
        ArgumentError: ``scale`` is something else.
    """

    scale: Tensor

    def __init__(self, scale: float | Tensor = 1.0, learn: bool = True) -> None:
        super().__init__()
        value = scale.detach().clone() if isinstance(scale, Tensor) else torch.tensor(scale, dtype=torch.float32)
        if value.dim() > 1 or not value.is_floating_point() or value.numel() == 0 or not value.isfinite().all():
            raise ArgumentError(f"Scale.scale: must be a finite number or tensor [] or [C], got {scale!r}; pass such")
        self.scale = nn.Parameter(value) if learn else nn.Buffer(value)

    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, *] or [B, C, *] times the scale, in x's dtype."""
        scale = to_step(self.scale, x.dtype, x.dim())
        assert isinstance(scale, Tensor)
        return x * scale

    def extra_repr(self) -> str:
        """Return what is scaled how."""
        return f"scale={self.scale.item():g}" if self.scale.numel() == 1 else f"channels={self.scale.numel()}"


class Recurrent(StatefulModule):
    """Base of the containers: at every step the neuron gets ``join(y, x)``, y being its output one step earlier.

    y starts at 0. ``"m"``: x_seq [T, B, *] from rest, leaving nothing behind. ``"s"``: x [B, *] of one step; y is kept
    here and the neuron keeps its own state, until ``functional.reset_net``. What is inside always runs in step_mode
    ``"s"``, whatever the container's: ``functional.set_step_mode`` leaves it alone.

    Args:
        neuron: any neuron of snncore that can take one step at a time.
        step_mode: ``"s"`` or ``"m"``.

    Raises:
        ArgumentError: ``neuron`` is none or cannot step; on forward: the recurrence has another shape than x.
        StateError: in ``"s"``: x does not fit the output kept.
    """

    def __init__(self, neuron: BaseNode, *, step_mode: str = "s") -> None:
        super().__init__()
        if not isinstance(neuron, BaseNode):
            raise self._bad("neuron", "be a neuron of snncore", neuron, "pass one, e.g. neuron.LIFNode()")
        neuron.step_mode = "s"
        self.neuron = neuron
        self.step_mode = step_mode
        self.y: Tensor | None = None  # of the last step, in 's'

    def _bad(self, name: str, must: str, got: object, do: str) -> ArgumentError:
        return ArgumentError(f"{type(self).__name__}.{name}: must {must}, got {got!r}; {do}")

    @property
    def step_mode(self) -> str:
        """``"s"`` (one step) or ``"m"`` (all steps)."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, step_mode: str) -> None:
        check_step_mode(type(self).__name__, step_mode)
        self._step_mode = step_mode

    def join(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the neuron's input [B, *] from its last output y and the input x of this step, both [B, *]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of ``x`` ([T, B, *] in ``"m"``, [B, *] in ``"s"``), same shape and dtype."""
        if self.step_mode == "m":
            spike_seq, _, self.neuron.v_seq = self._run(x, None)
            return spike_seq
        self.y = self._step(self._checked(self.y, x, "call functional.reset_net(net) before a new batch"), x)
        return self.y

    def run(self, x_seq: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over ``x_seq`` from an explicit state, keeping nothing: truncated BPTT and streaming.

        Args:
            x_seq: [T, B, *].
            state: what an earlier call returned; None: rest. The last output, then the neuron's states, [B, *] each.

        Returns:
            spike_seq [T, B, *] in x's dtype, and the state after the last step.
        """
        kept = self.neuron.v_seq
        spike_seq, state, _ = self._run(x_seq, state)
        self.neuron.v_seq = kept
        return spike_seq, state

    def reset(self) -> None:
        """Forget the output kept. The neuron forgets its own state."""
        self.y = None

    def detach(self) -> None:
        """Keep the output's values but cut it from the graph of earlier steps."""
        self.y = None if self.y is None else self.y.detach()

    def __getstate__(self) -> dict[str, Any]:
        # As with the state of a neuron: a copy starts afresh.
        return {**super().__getstate__(), "y": None}  # type: ignore[no-untyped-call]

    def _run(self, x_seq: Tensor, state: State | None) -> tuple[Tensor, State, Tensor | None]:
        """As ``run``, with the neuron's v_seq; what the neuron keeps is as before."""
        if not isinstance(x_seq, Tensor) or x_seq.dim() < 2:
            got = list(x_seq.shape) if isinstance(x_seq, Tensor) else type(x_seq).__name__
            raise self._bad("x", "be [T, B, *] in step_mode 'm'", got, "add the missing dimension")
        if len(x_seq) == 0:
            state = (x_seq.new_zeros(x_seq.shape[1:]), *self.neuron.run(x_seq)[1]) if state is None else state
            return torch.empty_like(x_seq), state, None
        neuron, spikes = self.neuron, []
        y = self._checked(None if state is None else state[0], x_seq[0], "pass the state of the same net and batch")
        kept = neuron.state
        self._begin()
        neuron.state = None if state is None else tuple(state[1:])
        try:
            for x in x_seq.unbind(0):
                y = self._step(y, x)
                spikes.append(y)
            last, v_seq = neuron.state, neuron.v_seq
        finally:
            self._begin()
            neuron.state = kept
        return torch.stack(spikes), (y, *(last or ())), v_seq

    def _begin(self) -> None:
        """Reset all that is inside."""
        for module in self.modules():
            if module is not self and isinstance(module, (BaseNode, StatefulModule)):
                module.reset()

    def _checked(self, y: Tensor | None, x: Tensor, fix: str) -> Tensor:
        """Return the output of the last step, 0 before the first."""
        if y is None:
            return torch.zeros_like(x, memory_format=torch.contiguous_format)
        if (y.shape, y.dtype, y.device) != (x.shape, x.dtype, x.device):
            raise StateError(
                f"{type(self).__name__}.x: must fit the last output (shape {list(y.shape)}, {y.dtype} on {y.device}), "
                f"got {list(x.shape)}, {x.dtype} on {x.device}; {fix}"
            )
        return y

    def _step(self, y: Tensor, x: Tensor) -> Tensor:
        if self.neuron.step_mode != "s":
            raise self._bad(
                "neuron.step_mode", "stay 's'", self.neuron.step_mode,
                "set the container's, or use functional.set_step_mode, which leaves what is inside alone",
            )  # fmt: skip
        joined = self.join(y, x)
        if joined.shape != x.shape:
            raise self._bad(
                "x", f"have the shape that the recurrence gives, here {list(joined.shape)}", list(x.shape),
                "make the recurrence map an output of the neuron to one of its inputs",
            )  # fmt: skip
        spikes: Tensor = self.neuron(joined.to(x.dtype))
        return spikes

    def extra_repr(self) -> str:
        """Return the step mode."""
        return f"step_mode={self.step_mode}"


class LinearRecurrent(Recurrent):
    """The neuron gets x[t] + W y[t-1]: its outputs come back through weights.

    SpikingJelly's ``LinearRecurrentContainer`` with weights (A, B) of x and y is a Linear layer A before this one
    with B.

    Args:
        neuron: see ``Recurrent``.
        recurrent: a module without memory, from an output [B, *] of the neuron to one of its inputs: Linear(n, n),
            or Conv2d(c, c, 3, padding=1). Its bias acts from the first step on.
        step_mode: ``"s"`` or ``"m"``.
    """

    def __init__(self, neuron: BaseNode, recurrent: nn.Module, *, step_mode: str = "s") -> None:
        super().__init__(neuron, step_mode=step_mode)
        if not isinstance(recurrent, nn.Module):
            raise self._bad("recurrent", "be a module", recurrent, "pass one, e.g. layer.Linear(n, n)")
        for module in recurrent.modules():
            if hasattr(module, "step_mode"):
                setattr(module, "step_mode", "s")  # noqa: B010 - nn.Module types its attributes otherwise
        self.recurrent = recurrent

    def join(self, y: Tensor, x: Tensor) -> Tensor:
        """Return x + W y, [B, *]."""
        back: Tensor = self.recurrent(y)
        return x + back


class ElementWiseRecurrent(Recurrent):
    """The neuron gets a function of x[t] and y[t-1] that takes each of its lanes by itself.

    Args:
        neuron: see ``Recurrent``.
        function: (y, x) -> the input, both [B, *] (in this order, as in SpikingJelly); None: x + scale * y.
        scale: see ``Scale``; used without a function.
        learn_scale: True to learn it.
        step_mode: ``"s"`` or ``"m"``.
    """

    def __init__(
        self,
        neuron: BaseNode,
        function: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        scale: float | Tensor = 1.0,
        learn_scale: bool = True,
        step_mode: str = "s",
    ) -> None:
        super().__init__(neuron, step_mode=step_mode)
        if function is not None and not callable(function):
            raise self._bad("function", "be None or a function (y, x)", function, "pass one, or None and a scale")
        self.function = function
        self.recurrent = Scale(scale, learn_scale) if function is None else None

    def join(self, y: Tensor, x: Tensor) -> Tensor:
        """Return function(y, x), or x + scale * y, [B, *]."""
        if self.function is not None:
            return self.function(y, x)
        assert self.recurrent is not None
        back: Tensor = self.recurrent(y)
        return x + back
