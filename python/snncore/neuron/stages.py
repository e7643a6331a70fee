"""The stages of one time step, as most neurons have them: what a neuron class overrides to differ.

The same stages stand in csrc/core/stages.h for the fused kernels; each checks the other in the tests.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..ops import reference

__all__ = ["STAGES", "Stages"]

Coefficient = float | Tensor

# A class that overrides one of these below its ``native`` has no kernel any more.
STAGES = ("charge", "margin", "fire", "emit", "settle")


class Stages:
    """One step, in this order; a state is a tuple of tensors [B, *], led by the membrane potential.

    ``own`` are the class's ``coefficients()``, as numbers or as tensors that broadcast against a step.
    """

    native: ClassVar[str | None] = None  # the name of the same equations in the compiled core

    detach_reset: bool

    @property
    def reset_kind(self) -> str:
        """``"hard"``, ``"soft"`` or ``"none"``; given by BaseNode."""
        raise NotImplementedError

    @property
    def reset_target(self) -> float:
        """Where a hard reset goes; given by BaseNode."""
        raise NotImplementedError

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor | tuple[Tensor, ...]:
        """Return the state after charge, h first, for input ``x`` and the state before; all of x's shape."""
        raise NotImplementedError

    def margin(self, h: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> Tensor | tuple[Tensor, ...]:
        """Return how far the charged state is above threshold; several tensors where several conditions fire."""
        return h[0] - v_threshold

    def fire(self, u: Tensor) -> Tensor:
        """Return the spikes of a margin, without gradient: 1 where u >= 0. The surrogate gives the gradient."""
        return (u >= 0).to(u.dtype)

    def emit(self, spikes: tuple[Tensor, ...], **own: Any) -> Tensor:
        """Return what leaves the neuron, from the spikes of its margins."""
        return spikes[0]

    def settle(
        self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the state the next step starts from."""
        return (self.after_reset(h[0], spikes[0], v_threshold), *h[1:])

    def after_reset(self, h: Tensor, spike: Tensor, v_threshold: Coefficient) -> Tensor:
        """Return the potential after the hard, soft or no reset, without gradient by way of it if ``detach_reset``."""
        spike = spike.detach() if self.detach_reset else spike
        return reference.reset(h, spike, self.reset_kind, v_threshold, self.reset_target)

    def rest(self) -> tuple[float, ...]:
        """Return what each state starts from; one number per state."""
        return (self.reset_target,)

    def coefficients(self) -> dict[str, Coefficient]:
        """Return the parameters of the equations in the order of the native kernel.

        Each is a number, a tensor [] or a tensor [C] (one per element of dimension 1 of a step [B, C, *]). They reach
        the stages as keyword arguments.
        """
        return {}

    def constants(self) -> tuple[float, ...]:
        """Return the native kernel's constants: numbers that never carry a gradient."""
        return ()
