"""The α-fair family: the utility function φ_α, welfare, and the equivalent utility.

One number α says how much efficiency is given up for how much equity::

    φ_α(u) = u^{1−α}/(1−α)   (α ≠ 1),      φ_1(u) = log u
    W(u)   = Σ_k w_k φ_α(u_k),             W(u) = min_k u_k at α = ∞

α = 0 adds utilities, α = 1 multiplies them (proportional fairness), α = ∞ looks at the worst off.
W has a different unit for each α, so two values of α are compared by the **equivalent utility**,
the level that, given to every group, would be worth as much: the weighted power mean of exponent
1 − α.  1 − (equivalent utility)/(mean utility) is Atkinson's index of inequality.

The only branch at α = 1 in the package is in this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .checks import Floats, number, reals, refuse_first


def phi(utility: ArrayLike, alpha: float) -> Floats:
    """α-fair utility φ_α(u) = u^{1−α}/(1−α), log u at α = 1.

    Args:
        utility: u ≥ 0, any shape.
        alpha: α in [0, ∞).

    Returns:
        Array of the shape of ``utility``; −∞ where u = 0 and α ≥ 1.  At large α it overflows (to
        ±∞) or underflows (to 0), as u^{1−α} does: `equivalent_utility` never does.

    Raises:
        ValueError: α is negative, NaN or infinite (φ_∞ is no function of one utility).

    References:
        Mo and Walrand, "Fair end-to-end window-based congestion control", 2000.

    Example:
        >>> phi([1.0, 4.0], 0.5)
        array([2., 4.])
    """
    u, s = _utilities(utility), 1 - _finite_alpha(alpha)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.log(u) if s == 0 else u**s / s


def phi_normalised(utility: ArrayLike, alpha: float) -> Floats:
    """(u^{1−α} − 1)/(1−α), log u at α = 1: φ_α shifted so that it is continuous in α.

    Computed as expm1((1−α) log u)/(1−α): the quotient as written loses every digit near α = 1.

    Args:
        utility: u ≥ 0, any shape.
        alpha: α in [0, ∞).

    Returns:
        Array of the shape of ``utility``.

    Raises:
        ValueError: α is negative, NaN or infinite.

    Example:
        >>> phi_normalised(6.0, 1 + 1e-12).round(10) == np.log(6.0).round(10)
        np.True_
    """
    u, s = _utilities(utility), 1 - _finite_alpha(alpha)
    with np.errstate(divide="ignore", over="ignore"):
        return np.log(u) if s == 0 else np.expm1(s * np.log(u)) / s


def phi_prime(utility: ArrayLike, alpha: float) -> Floats:
    """φ_α'(u) = u^{−α}: what one more unit of utility is worth to somebody who has u.

    Args:
        utility: u ≥ 0, any shape.
        alpha: α in [0, ∞).

    Returns:
        Array of the shape of ``utility``; ∞ where u = 0 and α > 0.

    Raises:
        ValueError: α is negative, NaN or infinite.

    Example:
        >>> phi_prime([1.0, 2.0], 2)
        array([1.  , 0.25])
    """
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return _utilities(utility) ** -_finite_alpha(alpha)


def phi_inverse(value: ArrayLike, alpha: float) -> Floats:
    """The utility u with φ_α(u) = value: ((1−α) v)^{1/(1−α)}, exp v at α = 1.

    Args:
        value: v, any shape; ≥ 0 if α < 1, ≤ 0 if α > 1.
        alpha: α in [0, ∞).

    Returns:
        Array of the shape of ``value``.

    Raises:
        ValueError: α out of range, or a value that φ_α does not take.

    Example:
        >>> phi_inverse(phi(3.0, 5), 5).round(12)
        np.float64(3.0)
    """
    v, s = reals("value", value), 1 - _finite_alpha(alpha)
    outside = np.isnan(v) | (s * v < 0)
    if outside.any():
        sign = "≥ 0" if s > 0 else "≤ 0"
        raise ValueError(f"value is {v[outside].flat[0]}: φ_α of α = {alpha} is {sign} everywhere")
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.exp(v) if s == 0 else (s * v) ** (1 / s)


def power_mean(value: ArrayLike, exponent: float, weight: ArrayLike | None = None) -> float:
    """Weighted power mean (Σ w v^s / Σ w)^{1/s}.

    s = 1 is the mean, 0 the geometric mean, −1 the harmonic mean, ±∞ the maximum and minimum.
    Relative to its largest (s > 0) or least (s < 0) value, so it never over- or underflows, and
    accurate in the neighbourhood of s = 0.

    Args:
        value: (K,) v ≥ 0.
        exponent: s, any real number or ±∞.
        weight: (K,) w > 0; default 1.

    Returns:
        A number between the least and the largest value.

    Raises:
        ValueError: a negative or NaN value, weights ≤ 0 or of another length.

    Example:
        >>> [round(power_mean([1.0, 4.0], s), 12) for s in (1, 0, -1, -np.inf)]
        [2.5, 2.0, 1.6, 1.0]
    """
    v = _utilities(value)
    w = _positive_weights(weight, v)
    s = number("exponent", exponent, "a number or ±infinity", lambda v: v == v)
    reference = float(v.max() if s > 0 else v.min())
    if np.isinf(s) or reference == 0 or np.isinf(reference):
        return reference
    w = w / w.sum()
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        relative = v / reference
        log_relative = np.where(
            (relative < 1e-300) | (relative > 1e300),  # the quotient leaves the doubles
            np.log(v) - np.log(reference),
            np.log(relative),
        )
        mean_log = (w * log_relative).sum() if s == 0 else 0.0
        excess = (w * np.expm1(s * log_relative)).sum() if s != 0 else 0.0
        power = (w * relative**s).sum()
        log_mean = float(log_power_mean(s, mean_log, excess, power))
        if abs(log_mean) < 600:
            return float(reference * np.exp(log_mean))
        return float(np.exp(np.log(reference) + log_mean))


def log_power_mean(exponent: float, mean_log: Any, mean_excess: Any, mean_power: Any) -> Floats:
    """Log of a power mean M_s of v, from three means, of which it takes the one that keeps digits.

    Args:
        exponent: s, any real number.
        mean_log: the mean of log v; needed at s = 0 only.
        mean_excess: the mean of v^s − 1, computed as expm1(s log v): exact where M_s is near 1.
        mean_power: the mean of v^s.

    Returns:
        log M_s, of the shape of the means.
    """
    if exponent == 0:
        return np.asarray(mean_log, float)
    excess = np.asarray(mean_excess, float)
    with np.errstate(divide="ignore"):
        near, far = np.log1p(np.maximum(excess, -0.5)), np.log(mean_power)
    return np.asarray(np.where(excess > -0.5, near, far) / exponent)


def welfare(utility: ArrayLike, alpha: float, weight: ArrayLike | None = None) -> float:
    """Welfare W = Σ_k w_k φ_α(u_k); min_k u_k at α = ∞ (weights have no say there).

    Args:
        utility: (K,) u ≥ 0, the utility of each group.
        alpha: α in [0, ∞].
        weight: (K,) w > 0; default 1.

    Returns:
        A number; −∞ if some u is 0 and α ≥ 1.  Its unit depends on α: to compare values of α,
        use `equivalent_utility`.

    Raises:
        ValueError: negative or NaN utilities, α out of range, weights ≤ 0 or of another length.

    Example:
        >>> welfare([1.0, 4.0], 2)
        -1.25
    """
    u = _utilities(utility)
    w = _positive_weights(weight, u)
    if check_alpha(alpha) == np.inf:
        return float(u.min())
    return float((w * phi(u, alpha)).sum())


def equivalent_utility(utility: ArrayLike, alpha: float, weight: ArrayLike | None = None) -> float:
    """Equally-distributed equivalent: the u with W(u, …, u) = W(u_1, …, u_K).

    It is the weighted power mean of exponent 1 − α, in units of utility for every α, never larger
    than the mean, and decreasing in α: α can be compared with α.

    Args:
        utility: (K,) u ≥ 0.
        alpha: α in [0, ∞].
        weight: (K,) w > 0; default 1.

    Returns:
        A number between the least utility (α = ∞) and the weighted mean (α = 0).

    Raises:
        ValueError: negative or NaN utilities, α out of range, weights ≤ 0 or of another length.

    References:
        Atkinson, "On the measurement of inequality", Journal of Economic Theory 2, 1970.

    Example:
        >>> round(equivalent_utility([1.0, 4.0], 1), 12)
        2.0
    """
    return power_mean(utility, 1 - check_alpha(alpha), weight)


def check_alpha(alpha: float) -> float:
    """α as a float in [0, ∞]; ValueError or TypeError otherwise."""
    if not isinstance(alpha, float) and (isinstance(alpha, str) or np.ndim(alpha) != 0):
        raise TypeError(
            f"alpha must be one number, not {type(alpha).__name__}; "
            f"for several, build a Problem and call allocate for each, or allocate_many"
        )
    expected = "between 0 (utilitarian) and infinity (max-min)"
    return number("alpha", alpha, expected, lambda v: v >= 0)


def _finite_alpha(alpha: float) -> float:
    if check_alpha(alpha) == np.inf:
        raise ValueError("alpha is infinite: max-min compares groups, φ has no value; use welfare")
    return float(alpha)


def _utilities(utility: ArrayLike) -> Floats:
    u = reals("utility", utility)
    refuse_first("utility", u, u >= 0, "≥ 0 (φ_α is defined for non-negative utilities)")
    return u


def _positive_weights(weight: ArrayLike | None, utility: Floats) -> Floats:
    if utility.size == 0:
        raise ValueError("utility is empty: at least one value is needed")
    w = np.ones(utility.shape) if weight is None else reals("weight", weight)
    if w.shape != utility.shape:
        raise ValueError(f"weight has shape {w.shape}: must be {utility.shape}, that of utility")
    refuse_first("weight", w, (w > 0) & np.isfinite(w), "finite and > 0")
    return w
