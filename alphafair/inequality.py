"""How unequal is a result: measures of a vector of utilities.

Of utilities u, with population shares ``s = w/Σw`` and mean ``μ = Σ s u``.  All measures are
relative (doubling every u changes nothing) and, but for the last two, 0 at equality::

    Gini      ∫ F (1 − F) du / μ             F: the share of the population below u
    Theil     Σ s (u/μ) log(u/μ)
    Atkinson  1 − (equivalent utility)/μ     the part of the total that equality could do without
    Jain      μ² / Σ s u²                    1 at equality
    min/max   min u / max u                  1 at equality
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Floats, number, reals, refuse_first
from .utility import power_mean


def gini(utility: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Gini's index ``Σ_ij s_i s_j |u_i − u_j| / (2μ)``, as ``∫ F(1 − F) du / μ``; O(K log K).

    The sum over the gaps between neighbours has no negative terms, so nothing cancels.  It is the
    index of a population, without the factor K/(K − 1) for samples.

    Args:
        utility: (K,) u ≥ 0, not all 0.
        weight: (K,) w > 0, population of each entry; default 1.

    Returns:
        A number from 0 (equality) to 1 − min s (one has everything).

    Raises:
        ValueError: utilities that are negative, not finite or all 0; weights ≤ 0; shapes.

    References:
        Sen, "On Economic Inequality", 1973, section 2.8.

    Example:
        >>> gini([0.0, 1.0]), gini([1.0, 3.0]), gini([1.0, 3.0], weight=[3, 1])
        (0.5, 0.25, 0.25)
    """
    u, share = _population(utility, weight)
    order = np.argsort(u, kind="stable")
    below = np.cumsum(share[order])[:-1]
    above = np.cumsum(share[order][::-1])[::-1][1:]
    return float((np.diff(u[order]) * below * above).sum() / (share * u).sum())


def theil(utility: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Theil's index Σ s (u/μ) log(u/μ), with 0 log 0 = 0.

    Computed as Σ s ((1 + δ) log(1 + δ) − δ) with δ = u/μ − 1: the same sum, because Σ s δ = 0, but
    every term is ≥ 0.

    Args:
        utility, weight: as in `gini`, and refused as there.

    Returns:
        A number from 0 (equality) to −log(min s) (one has everything; log K without weights).

    References:
        Theil, "Economics and Information Theory", 1967; Cowell, "Measuring Inequality", 2011.

    Example:
        >>> theil([1.0, 1.0]), round(theil([0.0, 1.0]), 6)  # 0 and log 2
        (0.0, 0.693147)
    """
    u, share = _population(utility, weight)
    excess = _excess(u, share)
    logarithm = np.log1p(np.where(excess > -1, excess, 0))
    return float((share * np.maximum((1 + excess) * logarithm - excess, 0)).sum())


def atkinson(utility: ArrayLike, epsilon: float, weight: ArrayLike | None = None) -> float:
    """Atkinson's index 1 − E/μ, with E the equally-distributed equivalent at aversion ε.

    Args:
        utility, weight: as in `gini`, and refused as there.
        epsilon: ε in [0, ∞], aversion to inequality: the α of `equivalent_utility`.

    Returns:
        A number from 0 (equality, or ε = 0) to 1 (some u is 0 and ε ≥ 1).

    Raises:
        ValueError: as in `gini`; ε negative or NaN.

    References:
        Atkinson, "On the measurement of inequality", Journal of Economic Theory 2, 1970.

    Example:
        >>> round(atkinson([1.0, 4.0], 1), 12), atkinson([1.0, 4.0], np.inf)
        (0.2, 0.6)
    """
    aversion = number("epsilon", epsilon, "between 0 and infinity", lambda v: v >= 0)
    u, share = _population(utility, weight)
    excess, s = _excess(u, share), 1 - aversion
    if np.abs(excess).max() >= 0.5 / (1 + aversion):  # of u, because 1 + δ keeps no small u
        return max(0.0, float(1 - power_mean(u, s, share) / (share * u).sum()))
    # Near equality 1 − E/μ cancels.  log E/μ does not, given that Σ s δ is 0 to the last digit.
    logarithm = np.log1p(excess)
    if s == 0:
        log_ratio = (share * logarithm).sum()
    else:
        log_ratio = np.log1p((share * np.expm1(s * logarithm)).sum()) / s
    return max(0.0, -float(np.expm1(log_ratio)))


def jain(utility: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Jain's index μ²/Σ s u², that is (Σ u)²/(K Σ u²) without weights.

    If a part of the population shares everything equally, it is that part.

    Args:
        utility, weight: as in `gini`, and refused as there.

    Returns:
        A number from min s (one has everything) to 1 (equality).

    References:
        Jain, Chiu and Hawe, "A quantitative measure of fairness and discrimination for resource
        allocation in shared computer systems", DEC-TR-301, 1984.

    Example:
        >>> jain([1.0, 1.0, 0.0, 0.0])
        0.5
    """
    u, share = _population(utility, weight)
    excess = _excess(u, share)
    return float(1 / (1 + (share * excess**2).sum()))


def min_max_ratio(utility: ArrayLike) -> float:
    """What the worst off has of what the best off has, min u / max u.

    Args:
        utility: as in `gini`, and refused as there.

    Returns:
        A number from 0 to 1 (equality).

    Example:
        >>> min_max_ratio([1.0, 2.0, 4.0])
        0.25
    """
    u, _ = _population(utility, None)
    return float(u.min() / u.max())


def _population(utility: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats]:
    """(K,) utilities in a unit near the largest, and (K,) population shares; checked."""
    u = _vector("utility", utility)
    refuse_first("utility", u, np.isfinite(u) & (u >= 0), "finite and ≥ 0")
    if not u.any():
        raise ValueError("utility is 0 everywhere: there is nothing to be shared unequally")
    w = _vector("weight", np.ones(u.size) if weight is None else weight)
    refuse_first("weight", w, np.isfinite(w) & (w > 0), "finite and > 0")
    if w.size != u.size:
        raise ValueError(f"weight has {w.size} entries: must have {u.size}, one for each utility")
    u, w = (np.ldexp(v, -np.frexp(v.max())[1]) for v in (u, w))  # by a power of 2: exact
    return u, w / w.sum()


def _excess(u: Floats, share: Floats) -> Floats:
    """(K,) δ = u/μ − 1."""
    mean = (share * u).sum()
    excess = (u - mean) / mean
    return np.asarray(excess - (share * excess).sum())  # the mean's own rounding, once more


def _vector(name: str, value: ArrayLike) -> Floats:
    array = reals(name, value)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: must be (K,), one number for each group")
    return array
