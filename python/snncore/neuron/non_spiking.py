"""Integrators that never fire: what a net is read out through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import ArgumentError
from ..registry import lookup
from ..surrogate import Rect
from .base import BaseNode, State
from .integrate_fire import IFNode
from .lif import LIFNode

__all__ = ["READOUTS", "NonSpikingIFNode", "NonSpikingLIFNode", "NonSpikingNode"]

# Out of reach of every potential, yet finite in float32, with a surrogate that is 0 so far away: the kernels of the
# spiking neurons then integrate alone.
_NEVER = 3e38
_RECT = Rect(1.0)


def _max_abs(v_seq: Tensor) -> Tensor:
    high, low = v_seq.max(0).values, v_seq.min(0).values
    return high.where(high.abs() > low.abs(), low)


# name -> v_seq [T, B, *] to [B, *]
READOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "last": lambda v_seq: v_seq[-1],
    "max": lambda v_seq: v_seq.max(0).values,
    "max_abs": _max_abs,
    "mean": lambda v_seq: v_seq.mean(0),
}


class NonSpikingNode(BaseNode):
    """What the two integrators share: the potential itself leaves the neuron.

    Potentials are float64 beside float64 input and float32 otherwise. In ``step_mode="m"`` forward takes x_seq
    [T, B, *] and returns v_seq [T, B, *], or [B, *] by the readout; in ``"s"`` it takes x [B, *] and returns v [B, *]
    of that step: a readout needs all steps, ``decode`` applies it to potentials that were collected. ``run`` returns
    v_seq and the state.

    Args:
        readout: None: all steps; ``"last"``; ``"max"``; ``"max_abs"``: the potential farthest from 0 with its sign
            (the lowest where the highest is as far); ``"mean"``: over time.
        *arguments, **common: of the integrator; ``step_mode``, ``noise`` and ``engine`` of ``BaseNode``. What has to
            do with firing is refused.

    Raises:
        ArgumentError: an argument cannot be used; on forward: T = 0 with a readout.
    """

    spiking = False

    def __init__(self, *arguments: Any, readout: str | None = None, **common: Any) -> None:
        for name in ("v_threshold", "v_reset", "surrogate_function", "detach_reset", "store_v_seq"):
            if name in common:
                raise self._bad(name, "be absent", common[name], "it has no meaning where nothing fires")
        if readout is not None:
            lookup(READOUTS, readout if isinstance(readout, str) else repr(readout), f"{type(self).__name__}.readout")
        super().__init__(
            *arguments, v_threshold=_NEVER, v_reset="none", surrogate_function=_RECT, store_v_seq=True, **common
        )
        self.readout = readout

    def decode(self, v_seq: Tensor) -> Tensor:
        """Return the readout [B, *] of ``v_seq`` [T, B, *]; v_seq itself if there is none."""
        if self.readout is None:
            return v_seq
        if v_seq.shape[0] == 0:
            raise ArgumentError(
                f"{type(self).__name__}.x: must have at least one step to be read out as {self.readout!r}, got T = 0; "
                f"pass a longer x_seq"
            )
        return READOUTS[self.readout](v_seq)

    def forward(self, x: Tensor) -> Tensor:
        """Return the potentials of ``x``, read out over time in ``"m"``."""
        self._check_input(x)
        if self.step_mode == "m":
            return self.decode(self._potentials(x, None, keep_state=False)[0])
        v_seq, self.state = self._potentials(x.unsqueeze(0), self._kept_state(x))
        return v_seq.squeeze(0)

    def run(self, x_seq: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """As ``BaseNode.run``, with v_seq [T, B, *] of all steps in place of spikes."""
        self._check_input(x_seq)
        if state is not None:
            self._check_state(state, x_seq.shape[1:], x_seq, "pass the state of the same net and batch")
        v_seq, last = self._potentials(x_seq, state)
        assert last is not None
        return v_seq, last

    def _potentials(self, x_seq: Tensor, state: State | None, keep_state: bool = True) -> tuple[Tensor, State | None]:
        _, last, v_seq = self._run(x_seq, state, keep_state)
        assert v_seq is not None
        return v_seq, last

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"readout={self.readout!r}, step_mode={self.step_mode}"


class NonSpikingIFNode(NonSpikingNode, IFNode):
    """Integrator v = v + x without threshold, a readout layer (SpikingJelly's name and equation).

    Arguments, shapes and errors: ``NonSpikingNode``.
    """


class NonSpikingLIFNode(NonSpikingNode, LIFNode):
    """Leaky integrator without threshold, a readout layer (SpikingJelly's name and equation).

    ``tau``, ``decay_input`` and ``v_rest`` as in ``LIFNode``; the rest: ``NonSpikingNode``.
    """

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"tau={self.tau}, decay_input={self.decay_input}, v_rest={self.v_rest}, {super().extra_repr()}"
