"""A straight line through samples, and how sure it is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import attrs

#: Of a normal distribution: 95 % lie within so many of its deviations.
_Z: Final = statistics.NormalDist().inv_cdf(0.975)


@attrs.frozen
class Slope:
    """A slope by least squares; *within* either side of it is where the true one is, for 95 % of samples."""

    each: float
    within: float


def slope(at: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the slope of *values* over *at*, of which there are three at least.

    Student's quantile is the first two terms of its expansion about the normal one (Abramowitz and Stegun,
    26.7.5): within 2 % from seven samples on.
    """
    free = len(at) - 2
    line = statistics.linear_regression(at, values)
    errors = [value - line.intercept - line.slope * x for x, value in zip(at, values, strict=True)]
    middle = statistics.fmean(at)
    spread = sum((x - middle) ** 2 for x in at)
    deviation = (sum(error**2 for error in errors) / free / spread) ** 0.5
    quantile = _Z + (_Z**3 + _Z) / (4 * free) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * free**2)
    return Slope(line.slope, quantile * deviation)
