"""What precision costs: convex, increasing, 0 for no effort; and how much of it a price buys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checks import Floats, number
from ..common import bisect_each

Function = Callable[[Floats], Any]
LARGEST, SMALLEST = np.finfo(float).max, np.finfo(float).tiny


@dataclass(frozen=True)
class Cost:
    """A convex, increasing cost of precision with c(0) = 0.

    Args:
        value: c, maps an array of λ ≥ 0 to costs of the same shape.
        slope: c', likewise; ≥ 0, not decreasing, not 0 everywhere.
        curvature: c''; difference quotients of the slope where None (they steer, they do not
            enter the answer).
        inverse_slope: s → the least λ ≥ 0 with c'(λ) ≥ s; found by bisection where None.
        degree: p where c(tλ) = t^p c(λ), else None.

    Raises:
        ValueError: c(0) ≠ 0, a slope that is negative, decreases or is not that of ``value``.
        TypeError: ``value`` or ``slope`` that cannot be called.

    Example:
        >>> cost = Cost(lambda x: x + x**2, lambda x: 1 + 2 * x)
        >>> cost.response(np.array([0.5, 1.0, 3.0])).round(9).tolist()
        [0.0, 0.0, 1.0]
    """

    value: Function
    slope: Function
    curvature: Function | None = None
    inverse_slope: Function | None = None
    degree: float | None = None

    def __post_init__(self) -> None:
        for name in ("value", "slope"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} is {getattr(self, name)!r}: must be a function of λ")
        _check_cost(self)

    def bend(self, precision: Floats) -> Floats:
        """c''(λ), ≥ 0; ∞ where it overflows."""
        with np.errstate(all="ignore"):
            if self.curvature is not None:
                return np.asarray(self.curvature(precision), float)
            step = 1e-6 * precision + SMALLEST
            rise = np.asarray(self.slope(precision + step), float) - self.slope(precision)
            return np.asarray(np.maximum(rise / step, 0.0))

    def response(self, worth: Floats) -> Floats:
        """The least λ ≥ 0 with c'(λ) ≥ worth; ∞ where the slope stays below."""
        with np.errstate(all="ignore"):
            if self.inverse_slope is not None:
                return np.asarray(self.inverse_slope(worth), float)
            found = bisect_each(lambda x: self.slope(x) >= worth, worth.shape)
            found = np.where(found >= LARGEST, np.inf, found)
            return np.asarray(np.where(worth <= self.least_slope, 0.0, found))

    @property
    def most_slope(self) -> float:
        """c'(∞)."""
        with np.errstate(over="ignore"):
            return float(self.slope(np.full(1, LARGEST))[0])

    @property
    def least_slope(self) -> float:
        """c'(0)."""
        return float(self.slope(np.zeros(1))[0])


def _check_cost(cost: Cost) -> None:
    """Compare value and slope on a grid: for convex c, c'(a) ≤ (c(b) − c(a))/(b − a) ≤ c'(b)."""
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 1e3, 40)])
    with np.errstate(over="ignore"):
        value, slope = (np.asarray(f(grid), float) for f in (cost.value, cost.slope))
    if value.shape != grid.shape or slope.shape != grid.shape:
        raise ValueError("value and slope must return an array of the shape of their argument")
    if value[0] != 0:
        raise ValueError(f"value(0) is {value[0]:g}: no effort must cost 0; subtract the constant")
    never = (slope == 0) & (grid == grid[-1])  # at small λ it may underflow
    bad = np.flatnonzero(~(slope >= 0) | ~(value >= 0) | never)
    if bad.size:
        j = bad[0]
        raise ValueError(
            f"at λ = {grid[j]:g} value is {value[j]:g} and slope {slope[j]:g}: the cost must "
            f"increase in λ; give a slope ≥ 0 that is not 0 everywhere"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        chord, slack = np.diff(value) / np.diff(grid), 1e-9 * slope[1:]
        wrong = np.flatnonzero((chord < slope[:-1] - slack) | (chord > slope[1:] + slack))
    if wrong.size:
        a, b = grid[wrong[0]], grid[wrong[0] + 1]
        raise ValueError(
            f"between λ = {a:g} and {b:g} the chord of value has slope {chord[wrong[0]]:g}, not "
            f"between slope({a:g}) = {slope[wrong[0]]:g} and slope({b:g}) = "
            f"{slope[wrong[0] + 1]:g}: value must be convex and slope its derivative"
        )


def monomial(p: float) -> Cost:
    """c(λ) = λ^p, p ≥ 1; `linear` at p = 1.

    Example:
        >>> monomial(3.0).response(np.array([12.0])).tolist()
        [2.0]
    """
    p = number("p", p, "finite and ≥ 1 (convex)", lambda v: 1 <= v < np.inf)
    if p == 1:
        return linear()
    power = _Power(p)
    return Cost(power.value, power.slope, power.curvature, power.inverse_slope, degree=p)


def linear() -> Cost:
    """c(λ) = λ: the equilibrium is an optimal design."""
    return Cost(np.copy, np.ones_like, np.zeros_like, _least_of_linear, degree=1.0)


@dataclass(frozen=True)
class _Power:
    """λ^p, p > 1; its methods can be pickled, as functions inside a function cannot."""

    p: float

    def value(self, x: Floats) -> Any:
        return x**self.p

    def slope(self, x: Floats) -> Any:
        return self.p * x ** (self.p - 1)

    def curvature(self, x: Floats) -> Any:
        return self.p * (self.p - 1) * x ** (self.p - 2)

    def inverse_slope(self, worth: Floats) -> Any:
        return (worth / self.p) ** (1 / (self.p - 1))


def _least_of_linear(worth: Floats) -> Any:
    """The least λ ≥ 0 with 1 ≥ worth."""
    return np.where(worth <= 1, 0.0, np.inf)
