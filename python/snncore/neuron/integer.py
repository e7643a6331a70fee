"""Spikes of several levels: whole counts in training, as many binary spikes in inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..surrogate import MultiLevel, OpenMultiLevel
from .coefficients import require_above
from .fixed_reset import SoftResetNode
from .stages import Coefficient

__all__ = ["IELIFNode", "IntegerLIFNode"]

_MOST = 1 << 20  # levels that float32 still rounds one by one, with room


class _Levels(SoftResetNode):
    """h = decay * v + x; u = h * steps / v_threshold; count = round(clip(u, 0, levels)); soft reset by the count."""

    native = "integer_lif"
    half_up = False  # how a tie is rounded: up, or to even

    def __init__(self, levels: int, steps: int, scale: float, **common: Any) -> None:
        super().__init__(**common)
        require_above(self, 0.0, "v_threshold")
        self.levels, self._steps, self._scale = levels, float(steps), scale

    def _check_levels(self, levels: int) -> None:
        if type(levels) is not int or not 1 <= levels <= _MOST:
            raise self._bad("levels", f"be an integer from 1 to {_MOST}", levels, "pass how many levels are above 0")

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> Tensor:
        """Return decay * v + x."""
        h: Tensor = own["decay"] * state[0] + x
        return h

    def margin(self, h: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> Tensor:
        """Return h in units of one level."""
        return h[0] * self._steps / v_threshold

    def fire(self, u: Tensor) -> Tensor:
        """Return the count in 0 .. levels, in u's dtype."""
        clipped = u.clamp(0.0, float(self.levels))
        return torch.floor(clipped + 0.5) if self.half_up else clipped.round()

    def emit(self, spikes: tuple[Tensor, ...], **own: Any) -> Tensor:
        """Return the count times what one level leaves as."""
        return spikes[0] * self._scale

    def settle(self, h: tuple[Tensor, ...], spikes: tuple[Tensor, ...], v_threshold: Coefficient, **own: Any) -> Tensor:
        """Return what the count leaves of h."""
        count = spikes[0].detach() if self.detach_reset else spikes[0]
        return h[0] - count * (v_threshold / self._steps)

    def constants(self) -> tuple[float, ...]:
        """The highest count, levels per v_threshold, the rounding of ties and what one level leaves as."""
        return (float(self.levels), self._steps, float(self.half_up), self._scale)


class IntegerLIFNode(_Levels):
    """LIF whose spike is a count in {0, .., levels}: I-LIF (SpikingJelly: ``ILIFNode``).

    h = (1 - 1/tau) * v + x;  spike = round(clip(h / v_threshold, 0, levels)), ties to even;
    v = h - spike * v_threshold (Luo et al., "Integer-Valued Training and Spike-Driven Inference SNN", ECCV 2024,
    arXiv:2407.20708). The gradient of the spike is 1 / v_threshold where 0 <= h / v_threshold <= levels, else 0.
    In inference a count c goes out as c binary spikes on virtual steps, to the same sums; the number of synaptic
    operations is that of the counts.

    Args:
        levels: the highest count, D.
        tau: membrane time constant in time steps, > 1; a number, or a tensor [] or [C] like ``v_threshold``.
        normalize: True to let spike / levels leave, as E-SpikeFormer does (Yao et al., TPAMI 2025,
            arXiv:2411.16061); the reset still takes the whole count.
        detach_reset: True by default, as in the authors' code; SpikingJelly's default is False.
        **common: see ``BaseNode``; ``v_threshold`` > 0 is the potential of one level, the reset is soft, and the
            ``surrogate_function``, by default ``MultiLevel(0, levels)``, is taken at h / v_threshold.

    Half types hold every count exactly up to 256 levels (bfloat16) or 2048 (float16).

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native = "integer_lif"
    tau: Coefficient

    def __init__(
        self,
        levels: int = 4,
        tau: Coefficient = 4.0 / 3.0,
        *,
        normalize: bool = False,
        detach_reset: bool = True,
        **common: Any,
    ) -> None:
        self._check_levels(levels)
        common.setdefault("surrogate_function", MultiLevel(0.0, float(levels)))
        scale = 1.0 / levels if normalize else 1.0
        super().__init__(levels, 1, scale, detach_reset=detach_reset, **common)
        self.normalize = bool(normalize)
        self._coefficient("tau", tau)
        require_above(self, 1.0, "tau")

    def coefficients(self) -> dict[str, Coefficient]:
        """What of the potential stays, 1 - 1/tau."""
        return {"decay": 1.0 - 1.0 / self.tau}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"levels={self.levels}, tau={self.tau}, normalize={self.normalize}, {super().extra_repr()}"


class IELIFNode(_Levels):
    """The multi-bit spike of the Quantized Spike-Driven Transformer (IE-LIF).

    spike = floor(clip(levels * h / v_threshold, 0, levels) + 1/2) * scale, ties up, gradient levels * scale /
    v_threshold strictly within the clip, else 0 (Qiu et al., ICLR 2025, arXiv:2501.13492). The published code has
    levels = 4, v_threshold = 1 and no memory: **tau = None, the default, computes every step from its own input,
    h = x**. Nothing then goes from one step to the next, steps are only a further batch dimension, and the state that
    is kept, what rounding left over, has no effect.

    Args:
        levels: how many levels are above 0.
        scale: what one level leaves as; None: 1 / levels. The published attention uses 1/2 with 4 levels.
        tau: None, or a time constant > 1 in time steps: the same output from the recursion of ``IntegerLIFNode``,
            h = (1 - 1/tau) * v + x, v = h - count * v_threshold / levels. This is an extension, not in the paper.
        **common: see ``BaseNode``; ``v_threshold`` > 0 is the potential of the highest level, the reset is soft, and
            the ``surrogate_function``, by default ``OpenMultiLevel(0, levels)``, is taken at levels * h / v_threshold.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    native = "integer_lif"
    half_up = True
    tau: Coefficient | None

    def __init__(
        self, levels: int = 4, *, scale: float | None = None, tau: Coefficient | None = None, **common: Any
    ) -> None:
        self._check_levels(levels)
        common.setdefault("surrogate_function", OpenMultiLevel(0.0, float(levels)))
        scale = 1.0 / levels if scale is None else self._number("scale", scale)
        super().__init__(levels, levels, scale, **common)
        if tau is None:
            self.tau = None
        else:
            self._coefficient("tau", tau)
            require_above(self, 1.0, "tau")

    def coefficients(self) -> dict[str, Coefficient]:
        """What of the potential stays: nothing without tau."""
        return {"decay": 0.0 if self.tau is None else 1.0 - 1.0 / self.tau}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"levels={self.levels}, scale={self._scale:g}, tau={self.tau}, {super().extra_repr()}"
