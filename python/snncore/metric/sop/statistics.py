"""Mean, median and confidence interval of a figure over samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Statistics", "statistics", "student_t"]


@dataclass(frozen=True)
class Statistics:
    """A figure over samples.

    Attributes:
        mean, median: over samples; the median of an even number is the mean of the middle two.
        low, high: 95 % confidence interval of the mean, two-sided, by Student's t with samples - 1 degrees of freedom;
            it takes the samples as independent draws. None for a single sample, of which nothing can be said.
    """

    mean: float
    median: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | list[float] | None]:
        """Return ``mean``, ``median`` and ``ci95`` ([low, high] or None)."""
        interval = None if self.low is None or self.high is None else [self.low, self.high]
        return {"mean": self.mean, "median": self.median, "ci95": interval}


def statistics(values: Tensor) -> Statistics:
    """Return the statistics of ``values``, float64 [samples], samples >= 1."""
    n = len(values)
    mean = float(values.mean())
    ordered = values.sort().values
    median = float((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
    if n < 2:
        return Statistics(mean, median, None, None)
    half = student_t(n - 1) * float(values.std()) / math.sqrt(n)
    return Statistics(mean, median, mean - half, mean + half)


def student_t(df: int) -> float:
    """Return t with P(|T| <= t) = 0.95 for Student's distribution with ``df`` >= 1 degrees of freedom.

    To 1e-9: bisection of the closed form for whole ``df`` (Abramowitz and Stegun 26.7.3 and 26.7.4), and above 200 the
    expansion around the normal quantile (26.7.5).
    """
    if df > 200:
        z = 1.959963984540054
        terms = (
            z,
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        )
        return math.fsum(term / float(df) ** power for power, term in enumerate(terms))
    low, high = 1.9, 13.0  # the quantile falls from 12.7 at one degree of freedom to 1.96
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, df) < 0.95 else (low, middle)
    return (low + high) / 2


def _within(t: float, df: int) -> float:
    """Return P(|T| <= t)."""
    angle = math.atan(t / math.sqrt(df))
    cosine, odd = math.cos(angle), df % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(2 + odd, df + 1, 2):  # cos + 2/3 cos^3 + ... for an odd df; 1 + 1/2 cos^2 + ... for an even one
        total += term
        term *= cosine**2 * (k - 1) / k
    return (angle + math.sin(angle) * total) * 2 / math.pi if odd else math.sin(angle) * total
