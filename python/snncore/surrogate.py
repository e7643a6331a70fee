"""Surrogate gradients: what stands in for the derivative of the spike in backward.

A surrogate is a frozen dataclass: its numbers and ``step(u)``, a smooth function of ``u = h - v_threshold`` whose
derivative is used as the gradient of the spike. The compiled core holds ``step`` and that derivative once more
(csrc/core/surrogate.h); the tests check each against the other. Calling a surrogate fires: 1 where u >= 0, else 0, with
the surrogate's gradient. Any object with such a ``step`` works as ``surrogate_function``; one that is not in
``SURROGATES`` runs on the torch engine.

The gradients of SpikingJelly's ``DeterministicPass`` and ``PoissonPass`` are both ``StraightThrough``; their forward,
like that of multi-level spikes, is a firing rule and belongs to a neuron.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .errors import ArgumentError
from .ops.reference import fire

__all__ = [
    "S2NN",
    "SURROGATES",
    "ATan",
    "Erf",
    "FakeNumericalGradient",
    "FastSigmoid",
    "LeakyKReLU",
    "LogTailedReLU",
    "MultiLevel",
    "NonzeroSignLogAbs",
    "OpenMultiLevel",
    "PiecewiseExp",
    "PiecewiseLeakyReLU",
    "PiecewiseQuadratic",
    "QPseudoSpike",
    "Rect",
    "Sigmoid",
    "SoftSign",
    "SquarewaveFourierSeries",
    "StraightThrough",
    "SuperSpike",
    "Surrogate",
]


def _magnitude(u: Tensor) -> Tensor:
    """|u| with derivative +1 at u = 0, where ``abs`` has 0: a neuron exactly at threshold must get its gradient."""
    return torch.where(u < 0, -u, u)


def _at_least(u: Tensor, least: float) -> Tensor:
    """max(u, least) with derivative 1 at u = least, where releases of torch differ about ``clamp``."""
    return torch.where(u < least, least, u)


@dataclass(frozen=True)
class Surrogate:
    """Base of the surrogates. Subclasses give ``step`` and, by their fields, up to two numbers."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "alpha" and isinstance(value, Tensor):  # a neuron takes it over (BaseNode.surrogate_alpha)
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            self._require(f.name, number and math.isfinite(value), "a finite number")

    def step(self, u: Tensor) -> Tensor:
        """Return the smooth step at ``u`` (any shape, floating); its derivative is the surrogate gradient."""
        raise NotImplementedError

    def __call__(self, u: Tensor) -> Tensor:
        """Return 1 where ``u`` >= 0, else 0, in u's dtype, differentiable with the surrogate gradient."""
        return fire(u, self.step)

    @property
    def numbers(self) -> tuple[float, float]:
        """The two numbers the compiled core takes (zero where there are fewer)."""
        values = [float(getattr(self, f.name)) for f in fields(self)]
        first, second, *_ = [*values, 0.0, 0.0]
        return first, second

    def _require(self, name: str, ok: bool | Tensor, what: str) -> None:
        if not (ok if isinstance(ok, bool) or torch.compiler.is_compiling() else bool(torch.as_tensor(ok).all())):
            who = f"{type(self).__name__}.{name}"
            raise ArgumentError(f"{who}: must be {what}, got {getattr(self, name)!r}; choose another value")


@dataclass(frozen=True)
class _WithAlpha(Surrogate):
    alpha: float | Tensor = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("alpha", self.alpha > 0, "a positive number")


@dataclass(frozen=True)
class Sigmoid(_WithAlpha):
    """Gradient a s(au) (1 - s(au)), s the logistic function (SpikingJelly's default, a = 4)."""

    alpha: float = 4.0

    def step(self, u: Tensor) -> Tensor:
        """Return s(au)."""
        return torch.sigmoid(self.alpha * u)


@dataclass(frozen=True)
class ATan(_WithAlpha):
    """Gradient (a/2) / (1 + (pi/2 a u)^2) (Fang et al., ICCV 2021, arXiv:2007.05785)."""

    alpha: float = 2.0

    def step(self, u: Tensor) -> Tensor:
        """Return atan(pi/2 a u)/pi + 1/2."""
        return torch.atan(math.pi / 2 * self.alpha * u) / math.pi + 0.5


@dataclass(frozen=True)
class PiecewiseQuadratic(_WithAlpha):
    """Gradient max(0, a - a^2 |u|), a triangle (Esser et al., PNAS 2016; Bellec et al., NeurIPS 2018)."""

    def step(self, u: Tensor) -> Tensor:
        """Return z - z|z|/2 + 1/2 with z = au cut to [-1, 1]."""
        z = (self.alpha * u).clamp(-1.0, 1.0)
        return z - 0.5 * z * z.abs() + 0.5


@dataclass(frozen=True)
class PiecewiseExp(_WithAlpha):
    """Gradient (a/2) exp(-a|u|) (Shrestha and Orchard, SLAYER, NeurIPS 2018)."""

    def step(self, u: Tensor) -> Tensor:
        """Return exp(au)/2 below 0 and 1 - exp(-au)/2 above."""
        e = 0.5 * torch.exp(-self.alpha * _magnitude(u))
        return torch.where(u < 0, e, 1 - e)


@dataclass(frozen=True)
class SoftSign(_WithAlpha):
    """Gradient a / (2 (1 + |au|)^2)."""

    alpha: float = 2.0

    def step(self, u: Tensor) -> Tensor:
        """Return (z / (1 + |z|) + 1) / 2 with z = au."""
        z = self.alpha * u
        return 0.5 * (z / (1 + z.abs()) + 1)


@dataclass(frozen=True)
class SuperSpike(_WithAlpha):
    """Gradient a / (1 + |u|)^2 (Zenke and Ganguli, Neural Computation 2018)."""

    def step(self, u: Tensor) -> Tensor:
        """Return a u / (1 + |u|)."""
        return self.alpha * u / (1 + u.abs())


@dataclass(frozen=True)
class FastSigmoid(_WithAlpha):
    """Gradient 1 / (1 + a|u|)^2, snnTorch's ``fast_sigmoid`` whose slope is a (Zenke and Ganguli 2018)."""

    alpha: float = 25.0

    def step(self, u: Tensor) -> Tensor:
        """Return u / (1 + a|u|)."""
        return u / (1 + self.alpha * u.abs())


@dataclass(frozen=True)
class Erf(_WithAlpha):
    """Gradient a/sqrt(pi) exp(-a^2 u^2), a Gaussian (Yin et al., ICONS 2020)."""

    alpha: float = 2.0

    def step(self, u: Tensor) -> Tensor:
        """Return erfc(-au)/2."""
        return 0.5 * torch.erfc(-self.alpha * u)


@dataclass(frozen=True)
class NonzeroSignLogAbs(_WithAlpha):
    """Gradient a / (1 + a|u|)."""

    def step(self, u: Tensor) -> Tensor:
        """Return sign(u) ln(1 + a|u|)."""
        l = torch.log(1 + self.alpha * _magnitude(u))
        return torch.where(u < 0, -l, l)


@dataclass(frozen=True)
class PiecewiseLeakyReLU(Surrogate):
    """Gradient 1/(2w) where |u| < w, else c (STBP's rectangle with leaky tails; Wu et al., Frontiers 2018)."""

    w: float = 1.0
    c: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("w", self.w > 0, "positive")
        self._require("c", self.c >= 0, "at least 0")

    def step(self, u: Tensor) -> Tensor:
        """Return u/(2w) + 1/2 inside, slope c outside, continuous."""
        outer = torch.where(u < 0, self.c * (u + self.w), self.c * (u - self.w) + 1)
        return torch.where(u.abs() < self.w, u / (2 * self.w) + 0.5, outer)


@dataclass(frozen=True)
class SquarewaveFourierSeries(Surrogate):
    """Gradient (4/T) sum over i = 1..n-1 of cos((2i - 1) 2 pi u / T): a Fourier series of the step."""

    n: int = 2
    T_period: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("n", isinstance(self.n, int) and self.n >= 2, "an integer of at least 2")
        self._require("T_period", self.T_period > 0, "positive")

    def step(self, u: Tensor) -> Tensor:
        """Return 1/2 + (2/pi) sum of sin((2i - 1) 2 pi u / T) / (2i - 1)."""
        odd = [2 * i - 1 for i in range(1, self.n)]
        waves = [torch.sin(2 * math.pi * k * u / self.T_period) / k for k in odd]
        return 0.5 + 2 / math.pi * torch.stack(waves).sum(0)


@dataclass(frozen=True)
class S2NN(Surrogate):
    """Gradient of the logistic function (slope a) below 0, b / (1 + u) above (Suetake et al., Neural Networks 2023)."""

    alpha: float = 4.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("alpha", self.alpha > 0, "positive")
        self._require("beta", self.beta > 0, "positive")

    def step(self, u: Tensor) -> Tensor:
        """Return s(au) below 0, b ln(1 + u) + 1/2 above."""
        right = self.beta * torch.log(1 + _at_least(u, 0.0)) + 0.5
        return torch.where(u < 0, torch.sigmoid(self.alpha * u), right)


@dataclass(frozen=True)
class QPseudoSpike(_WithAlpha):
    """Gradient (1 + 2|u|/(a - 1))^-a (Herranz-Celotti and Rouat, arXiv:2202.00282)."""

    alpha: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("alpha", self.alpha > 1, "greater than 1")

    def step(self, u: Tensor) -> Tensor:
        """Return t below 0 and 1 - t above, t = (1 + 2|u|/(a - 1))^(1 - a) / 2."""
        tail = 0.5 * (1 + 2 * _magnitude(u) / (self.alpha - 1)) ** (1 - self.alpha)
        return torch.where(u < 0, tail, 1 - tail)


@dataclass(frozen=True)
class LeakyKReLU(Surrogate):
    """Gradient k where u >= 0, else leak."""

    leak: float = 0.0
    k: float = 1.0

    def step(self, u: Tensor) -> Tensor:
        """Return leak u below 0, k u above."""
        return torch.where(u < 0, self.leak * u, self.k * u)


@dataclass(frozen=True)
class FakeNumericalGradient(_WithAlpha):
    """Gradient min(1/|u|, a): the step's difference quotient, cut at a."""

    alpha: float = 0.3

    def step(self, u: Tensor) -> Tensor:
        """Return a u where |au| < 1, else sign(u) (1 + ln|au|)."""
        z = self.alpha * _magnitude(u)
        m = torch.where(z < 1, z, 1 + torch.log(_at_least(z, 1.0)))
        return torch.where(u < 0, -m, m)


@dataclass(frozen=True)
class LogTailedReLU(Surrogate):
    """Gradient alpha where u <= 0, 1 up to u = 1, then 1/u (Cai et al., CVPR 2017)."""

    alpha: float = 0.0

    def step(self, u: Tensor) -> Tensor:
        """Return alpha u, u, 1 + ln(u) on the three pieces."""
        tail = 1 + torch.log(_at_least(u, 1.0))
        return torch.where(u > 0, torch.where(u > 1, tail, u), self.alpha * u)


@dataclass(frozen=True)
class Rect(_WithAlpha):
    """Gradient a where |u| < 1/(2a), else 0 (STBP; Wu et al., Frontiers in Neuroscience 2018)."""

    def step(self, u: Tensor) -> Tensor:
        """Return au + 1/2 cut to [0, 1]."""
        inside = u.abs() < 0.5 / self.alpha
        return torch.where(inside, self.alpha * u + 0.5, (u > 0).to(u.dtype))


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """Gradient 1 (Bengio et al., arXiv:1308.3432)."""

    def step(self, u: Tensor) -> Tensor:
        """Return u."""
        return u


@dataclass(frozen=True)
class MultiLevel(Surrogate):
    """Gradient 1 where low <= u <= high, else 0: the window of spikes that are counts (SpikingJelly's
    ``MultiLevelSpikeCount``; Luo et al., ECCV 2024, arXiv:2407.20708). The rounding belongs to ``IntegerLIFNode``.
    """

    low: float = 0.0
    high: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("high", self.high > self.low, "greater than low")

    def step(self, u: Tensor) -> Tensor:
        """Return u cut to [low, high]."""
        return torch.where(u < self.low, self.low, torch.where(u > self.high, self.high, u))


@dataclass(frozen=True)
class OpenMultiLevel(MultiLevel):
    """Gradient 1 where low < u < high, else 0: ``MultiLevel`` without the ends (``IELIFNode``)."""

    def step(self, u: Tensor) -> Tensor:
        """Return u cut to [low, high]."""
        return torch.where(u <= self.low, self.low, torch.where(u >= self.high, self.high, u))


# name -> class; the names are those of the compiled core
SURROGATES: dict[str, type[Surrogate]] = {
    "atan": ATan,
    "erf": Erf,
    "fake_numerical_gradient": FakeNumericalGradient,
    "fast_sigmoid": FastSigmoid,
    "leaky_k_relu": LeakyKReLU,
    "log_tailed_relu": LogTailedReLU,
    "multi_level": MultiLevel,
    "nonzero_sign_log_abs": NonzeroSignLogAbs,
    "open_multi_level": OpenMultiLevel,
    "piecewise_exp": PiecewiseExp,
    "piecewise_leaky_relu": PiecewiseLeakyReLU,
    "piecewise_quadratic": PiecewiseQuadratic,
    "q_pseudo_spike": QPseudoSpike,
    "rect": Rect,
    "s2nn": S2NN,
    "sigmoid": Sigmoid,
    "soft_sign": SoftSign,
    "squarewave_fourier_series": SquarewaveFourierSeries,
    "straight_through": StraightThrough,
    "super_spike": SuperSpike,
}

_NAME_OF: dict[type, str] = {cls: name for name, cls in SURROGATES.items()}


def with_alpha(surrogate: Surrogate, alpha: object) -> Surrogate:
    """Return ``surrogate`` with this slope, unchecked: it was checked when given, and is learned since."""
    changed = copy.copy(surrogate)
    object.__setattr__(changed, "alpha", alpha)
    return changed


def native_name(surrogate: object) -> str | None:
    """Return the name under which the compiled core knows this very surrogate, or None."""
    return _NAME_OF.get(type(surrogate))
