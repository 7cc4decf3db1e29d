"""How far from optimal is an allocation?  A bound that needs no solver and no closed form.

Weak duality.  Let U_k(d) be the groups' utilities at the doses in question.  U_k is concave and
homogeneous of degree 1, so its tangent there bounds it everywhere: money x spent on group k buys at
most P_k x, with ``P_k = max_it (∂U_k/∂d_it) / c_it``.  At a price λ > 0 for money, then,

    W* ≤ λ Q + Σ_k max_{û ≥ 0} ( w_k φ_α(û) − (λ/P_k) û ),      reached at û_k = (w_k P_k/λ)^{1/α},

and the welfare that d leaves on the table is at most

    gap = Σ_k w_k (φ_α(û_k) − φ_α(U_k)) − λ (Σ_k û_k/P_k − Q):

what the groups would gain if they bought what they like at price λ, less the money that this takes
beyond the budget.  Every λ gives a valid bound.  Two are tried: the largest marginal value
``max_k w_k P_k φ'(U_k)``, for which the bound is at most the Frank–Wolfe gap
``Q max (g/c) − g·d``, ``g = ∂W/∂d``; and the mean one ``g·d/Q``, which near an optimum makes the
bound second order in the error of the group utilities.  At α = ∞ the bound is
``min_k u_k ≤ Q / Σ_k (1/P_k)``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .problem import Floats, Groups, Problem, group_sum
from .utility import check_alpha, phi_normalised, power_mean


class OptimalityGap(NamedTuple):
    """Bounds on what is wrong with a dose matrix.

    Attributes:
        gap: upper bound on the welfare lost, W* − W(d) ≤ gap, ≥ 0, in units of welfare;
            ∞ if W(d) = −∞.
        relative_gap: the same as a fraction of the budget: gap / (λ Q).  Free of units; use it to
            compare values of α.
        infeasibility: money spent beyond the budget plus money in negative doses, as a fraction of
            the budget, ≥ 0.
    """

    gap: float
    relative_gap: float
    infeasibility: float


def optimality_gap(
    dose: ArrayLike,
    benefit: ArrayLike,
    cost: ArrayLike,
    group: ArrayLike | Groups,
    budget: float,
    alpha: float,
    *,
    within: float = 0.0,
    weight: Any = None,
    cap: Any = None,
) -> OptimalityGap:
    """Bound the welfare lost by any dose matrix, without solving anything.

    Args:
        dose: d, (N, T), or (N,) if T = 1; finite.  Negative doses count as infeasibility and as 0.
        benefit, cost, group, budget, within, weight, cap: as for `allocate`.
        alpha: α in [0, ∞].

    Returns:
        `OptimalityGap`.  An optimal d has ``gap`` ≈ 0 and ``infeasibility`` ≈ 0, up to rounding.
        With ``within`` > 0 the bound is first order in the errors of the members' utilities.

    Raises:
        ValueError: doses that are not finite or of another shape; bad input as in `allocate`.

    Example:
        >>> optimality_gap([1.0, 1.0], [2.0, 1.0], 1.0, ["a", "b"], budget=2.0, alpha=1).gap
        0.0
        >>> optimality_gap([1.5, 0.5], [2.0, 1.0], 1.0, ["a", "b"], budget=2.0, alpha=1).gap > 0.2
        True
    """
    problem = Problem(benefit, cost, group, budget, within, weight, cap)
    alpha, d = check_alpha(alpha), _doses(dose, problem)
    spent, owed = (problem.cost * np.maximum(d, 0)).sum(), -(problem.cost * np.minimum(d, 0)).sum()
    if problem.budget == 0:  # nothing can be bought, so nothing is lost
        return OptimalityGap(0.0, 0.0, 0.0 if spent + owed == 0 else np.inf)
    infeasibility = (max(spent - problem.budget, 0.0) + owed) / problem.budget
    if infeasibility < np.finfo(float).eps * d.size:
        infeasibility = 0.0  # the rounding of the sum
    utility, slope = tangent(np.maximum(d, 0), problem)
    gap, relative = _duality_gap(utility, slope * problem.budget, problem.weight, alpha)
    with np.errstate(over="ignore", under="ignore"):  # back from the problem's unit of utility
        unit = 2.0 ** (problem.unit * (1 - alpha if alpha < np.inf else 1))
    return OptimalityGap(float(gap * unit), float(relative), float(infeasibility))


def tangent(dose: Floats, problem: Problem) -> tuple[Floats, Floats]:
    """(K,) utilities U_k of the groups, and the most utility that a unit of money can add, P_k.

    Both in the problem's unit of utility (2**unit; 1 unless b/c is extreme).
    """
    code, groups = problem.groups.code, len(problem.groups.label)
    size, epsilon = problem.groups.size, problem.within
    benefit = np.ldexp(problem.benefit, -problem.unit) if problem.unit else problem.benefit
    member = (benefit * dose).sum(axis=1)
    ratio = np.maximum((benefit / problem.cost).max(axis=1), 0)
    slope = np.zeros(groups)
    if epsilon == 0:
        np.maximum.at(slope, code, ratio)
        return group_sum(member, code, groups) / size, slope / size
    parts = np.split(np.argsort(code, kind="stable"), np.cumsum(size)[:-1])
    utility = np.array([power_mean(np.maximum(member[i], 0), 1 - epsilon) for i in parts])
    for k, i in enumerate(parts):
        if epsilon == np.inf:  # min u_i ≤ Σ ν_i u_i with ν ∝ 1/r
            slope[k] = 1 / (1 / ratio[i]).sum()
            continue
        # The tangent at a point with every u_i > 0, next to d where somebody has nothing.
        base = np.maximum(member[i], 1e-290 * max(member[i].max(), 1e-10))
        slope[k] = (ratio[i] * (power_mean(base, 1 - epsilon) / base) ** epsilon).max() / size[k]
    return utility, slope


def _duality_gap(utility: Floats, slope: Floats, weight: Floats, alpha: float) -> Any:
    """(gap, gap/(λQ)), with money in units of the budget."""
    if alpha == np.inf:
        bound = 1 / (1 / slope).sum()
        gap = max(bound - utility.min(), 0.0)
        return gap, gap / bound
    if alpha >= 1 and utility.min() == 0:
        return np.inf, np.inf  # welfare −∞
    if utility.max() == 0:
        utility = np.full_like(utility, np.finfo(float).tiny)
    # Measure utility in the unit that keeps the powers below between 0 and 1.
    unit = utility.min() if alpha > 1 else utility.max()
    v, p = utility / unit, slope / unit
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value = weight * np.where(v > 0, v ** (1 - alpha), 0.0)  # w v φ'(v)
        largest = (weight * p * v**-alpha)[v > 0].max()
        bounds = []
        for price in (largest, value.sum()) if alpha > 0 else ((weight * p).max(),):
            # At α = 0 and the largest price nobody gains by buying: û = 0.
            wanted = (weight * p / price) ** (1 / alpha) if alpha > 0 else np.zeros_like(v)
            gain = np.where(
                v > 0,
                value * phi_normalised(wanted / np.where(v > 0, v, 1), alpha),
                weight * (wanted ** (1 - alpha) / (1 - alpha) if alpha != 1 else 0),
            )
            bounds.append(gain.sum() - price * ((wanted / p).sum() - 1))
        gap = max(np.nan_to_num(bounds, nan=np.inf, posinf=np.inf).min(), 0.0)
        return gap * unit ** (1 - alpha), gap / value.sum()


def _doses(dose: ArrayLike, problem: Problem) -> Floats:
    d = np.asarray(dose, float)
    if d.ndim == 1:
        d = d[:, None]
    if d.shape != problem.shape:
        raise ValueError(f"dose has shape {d.shape}: must be {problem.shape}, that of benefit")
    if not np.isfinite(d).all():
        i, t = np.unravel_index(int(np.argmin(np.isfinite(d))), d.shape)
        raise ValueError(f"dose[{i}, {t}] is {d[i, t]}: must be finite")
    return d
