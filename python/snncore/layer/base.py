"""What all layers share: the step mode, the shape check, and the way through time."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from ..errors import ArgumentError
from .time import over_time

__all__ = ["StatefulModule", "StepModule", "StepShape", "check_step_mode"]


def check_step_mode(who: str, step_mode: object) -> None:
    """Raise ArgumentError unless ``step_mode`` is 's' or 'm'."""
    if step_mode not in ("s", "m"):
        raise ArgumentError(
            f"{who}.step_mode: must be 's' (one step, [B, *]) or 'm' (all steps, [T, B, *]), got {step_mode!r}; "
            "use one of the two"
        )


class StepShape(NamedTuple):
    """The shape of one step: its axes in words, and the ranks that fit."""

    axes: str
    least: int
    most: int | None


class StepModule(nn.Module):
    """A stateless torch layer that also takes a sequence. Stands before the torch class among the bases.

    's': x [B, *] goes to the torch layer as it is. 'm': x_seq [T, B, *] is folded to [T * B, *], goes to the torch
    layer once, and comes back as [T, B, *]. A static x_seq (`snncore.encoding.direct`) is computed for one step
    only; the result is then a view with stride 0 over ``T``, which in-place operations refuse. A layer that draws
    random numbers, or counts its samples, has to override `forward` (as `Dropout` and `BatchNorm2d` do).

    Args:
        *args: as the torch layer.
        step_mode: 's' or 'm'.
        **kwargs: as the torch layer.

    Raises:
        ArgumentError: ``step_mode`` is neither; on forward: the rank of the input is not that of the step mode.
    """

    step_shape: ClassVar[StepShape]

    def __init__(self, *args: Any, step_mode: str = "s", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step_mode = step_mode

    @property
    def step_mode(self) -> str:
        """'s' (one step) or 'm' (all steps)."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, step_mode: str) -> None:
        check_step_mode(type(self).__name__, step_mode)
        self._step_mode = step_mode

    def forward(self, x: Tensor) -> Any:
        """Apply the layer to ``x``, [B, *] in step mode 's' or [T, B, *] in 'm'."""
        self.check_shape(x)
        if self.step_mode == "s":
            return self.forward_step(x)
        return over_time(self.forward_step, x)

    def forward_step(self, x: Tensor, *more: Any) -> Any:
        """Apply the torch layer to ``x``: [B, *]; in step mode 'm' that is [T * B, *]."""
        return super().forward(x, *more)

    def check_shape(self, x: Tensor) -> None:
        """Raise ArgumentError unless the rank of ``x`` is that of the step mode."""
        axes, least, most = self.step_shape
        more = int(self.step_mode == "m")
        if x.ndim >= least + more and (most is None or x.ndim <= most + more):
            return
        who, shape, got = type(self).__name__, list(x.shape), x.ndim - more
        if self.step_mode == "m":
            fix = "add the time axis with encoding.direct(x, T) or x.unsqueeze(0)" if got < least else "check its axes"
            raise ArgumentError(
                f"{who}.x_seq: must be [T, {axes}] in step_mode 'm', got {shape}; {fix}, "
                "or call functional.set_step_mode(net, 's') to give one step at a time"
            )
        fix = "add the batch axis with x.unsqueeze(0)" if got < least else "give one step at a time"
        raise ArgumentError(
            f"{who}.x: must be [{axes}] in step_mode 's', got {shape}; {fix}, "
            "or call functional.set_step_mode(net, 'm') to give a sequence with the time axis first"
        )

    def extra_repr(self) -> str:
        """Return the line of the torch layer, and the step mode."""
        line = super().extra_repr()
        return f"{line}, step_mode={self.step_mode}" if line else f"step_mode={self.step_mode}"


class StatefulModule(nn.Module):
    """Marks a layer that keeps something between steps in step mode 's'; `functional.reset_net` finds it by this."""

    def reset(self) -> None:
        """Forget what was kept, so that the next step is the first of a new sequence."""
        raise NotImplementedError

    def detach(self) -> None:
        """Cut what was kept off the graph that made it. Nothing to do where it has none."""
