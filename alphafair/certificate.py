"""How far from optimal is an allocation?  A bound that needs no solver.

Weak duality.  Group utility U_k is concave and homogeneous of degree 1 in the members' utilities,
so its tangent at *any* point bounds it everywhere: money x spent on group k buys at most P_k x,

    P_k = max_{i in k} r_i ∂U_k/∂u_i,     r_i = max_t b_it / c_it    (at within = 0: max r_i / G_k).

At any price λ > 0 for money, then,

    W* ≤ λ Q + Σ_k max_{û ≥ 0} ( w_k φ_α(û) − (λ/P_k) û ),      reached at û_k = (w_k P_k/λ)^{1/α},

and the welfare that doses d leave on the table is at most

    gap = Σ_k w_k (φ_α(û_k) − φ_α(U_k(d))) − λ (Σ_k û_k/P_k − Q):

what the groups would gain if they bought what they like at price λ, less the money that this takes
beyond the budget.  Tangent point and price are free choices: a bad one makes the bound loose, never
wrong, so the bound is a proof that does not trust the closed form.  The tangent is taken at
u_i ∝ r_i^{1/ε}, where money is worth the same for everybody.  Three prices are tried: the largest
marginal value max_k w_k P_k φ'(U_k), for which the bound is at most the Frank–Wolfe gap
Q max (g/c) − g·d with g = ∂W/∂d; the mean one g·d/Q, which makes the bound second order in the
error of the utilities; and that of an equal split, for doses far from the optimum.  At α = ∞ the
bound is min_k u_k ≤ Q / Σ_k (1/P_k).

Under caps a group buys its items in order of b/c, each up to its cap, so that the value of money x
is a concave, piecewise linear V_k(x), and the same bound reads

    gap = Σ_k w_k (φ_α(û_k) − φ_α(u_k(d))) − λ (Σ_k x̂_k − Q),    û_k = V_k(x̂_k) where w V_k' φ' = λ,

at the price λ, found by bisection, at which the groups together want to spend the budget.  Again
the bound holds at every price.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Floats, Integers
from .groups import Groups
from .kernels import group_sum
from .problem import Problem
from .utility import check_alpha, phi_normalised, power_mean

ROUNDING = 16 * np.finfo(float).eps  # two utilities this close are the same


class OptimalityGap(NamedTuple):
    """Bounds on what is wrong with a dose matrix.

    Attributes:
        gap: upper bound on the welfare lost, W* − W(d) ≤ gap, ≥ 0, in units of welfare;
            ∞ if W(d) = −∞.
        relative_gap: upper bound on the part of the budget that is wasted: the least gap / (λ Q)
            over the prices tried.  With Q' the money with which the optimum would be as good as d,
            1 − Q'/Q ≤ relative_gap.  Free of units: it can be compared across α; 1 if W(d) = −∞.
        infeasibility: money spent beyond the budget, in negative doses and beyond the caps, as a
            fraction of the budget, ≥ 0.
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

    Raises:
        ValueError: doses that are not finite or of another shape; bad input as in `allocate`.

    Example:
        >>> optimality_gap([1.0, 1.0], [2.0, 1.0], 1.0, ["a", "b"], budget=2.0, alpha=1).gap
        0.0
        >>> optimality_gap([1.5, 0.5], [2.0, 1.0], 1.0, ["a", "b"], budget=2.0, alpha=1).gap > 0.2
        True
    """
    problem = Problem(benefit, cost, group, budget, within, weight, cap)
    return certify(dose, problem, alpha)


def certify(dose: ArrayLike, problem: Problem, alpha: float) -> OptimalityGap:
    """`optimality_gap` of doses for a problem that is checked already."""
    alpha, d = check_alpha(alpha), _doses(dose, problem)
    spent, owed = (problem.cost * np.maximum(d, 0)).sum(), -(problem.cost * np.minimum(d, 0)).sum()
    if problem.budget == 0:  # nothing can be bought, so nothing is lost
        return OptimalityGap(0.0, 0.0, 0.0 if spent + owed == 0 else np.inf)
    if problem.cap is not None:
        owed += (problem.cost * np.maximum(d - problem.cap, 0)).sum()
    infeasibility = (max(spent - problem.budget, 0.0) + owed) / problem.budget
    if infeasibility < np.finfo(float).eps * d.size:
        infeasibility = 0.0  # the rounding of the sum
    utility = group_utility(np.maximum(d, 0), problem)
    if problem.cap is None:
        slope = tangent_slope(problem) * problem.budget
        gap, relative = _duality_gap(utility, slope, problem.weight, alpha)
    else:
        gap, relative = _capped_gap(utility, problem, alpha)
    with np.errstate(over="ignore", under="ignore"):  # back from the problem's unit of utility
        gap = gap * np.exp2(problem.unit * (1 - alpha if alpha < np.inf else 1)) if gap else gap
    return OptimalityGap(float(gap), float(relative), float(infeasibility))


def group_utility(dose: Floats, problem: Problem) -> Floats:
    """(K,) U_k of doses (N, T), in the problem's unit of utility (2**unit, 1 unless extreme)."""
    groups = problem.groups
    person = (_benefit(problem) * dose).sum(axis=1)
    if problem.within == 0:
        return group_sum(person, groups.code, len(groups.label)) / groups.size
    person = np.maximum(person, 0)
    return np.array([power_mean(person[i], 1 - problem.within) for i in _members(groups)])


def tangent_slope(problem: Problem) -> Floats:
    """(K,) P_k, the most utility that a unit of money can buy, by a tangent of U_k."""
    groups, epsilon = problem.groups, problem.within
    ratio = np.maximum((_benefit(problem) / problem.cost).max(axis=1), 0)
    slope = np.zeros(len(groups.label))
    if epsilon == 0:
        np.maximum.at(slope, groups.code, ratio)
        return slope / groups.size
    for k, i in enumerate(_members(groups)):
        if epsilon == np.inf:  # min u_i ≤ Σ ν_i u_i with ν ∝ 1/r
            slope[k] = 1 / (1 / ratio[i]).sum()
        else:  # the tangent at a point where every u_i > 0
            at = np.maximum((ratio[i] / ratio[i].max()) ** (1 / epsilon), 1e-290)
            slope[k] = (ratio[i] * (power_mean(at, 1 - epsilon) / at) ** epsilon).max() / i.size
    return slope


def _members(groups: Groups) -> list[Integers]:
    """The rows of each group."""
    return np.split(np.argsort(groups.code, kind="stable"), np.cumsum(groups.size)[:-1])


def _benefit(problem: Problem) -> Floats:
    return np.ldexp(problem.benefit, -problem.unit) if problem.unit else problem.benefit


def _duality_gap(utility: Floats, slope: Floats, weight: Floats, alpha: float) -> Any:
    """(gap, least gap/(λ Q) over the prices), with money in units of the budget."""
    if alpha == np.inf:
        bound = 1 / (1 / slope).sum()
        gap = max(bound - utility.min(), 0.0)
        return gap, gap / bound
    if utility.min() < 0 < alpha or (alpha >= 1 and utility.min() == 0):
        return np.inf, 1.0  # welfare −∞: as good as no budget at all
    # Measure utility in the unit that keeps the powers below between 0 and 1.
    unit = utility.min() if alpha > 1 else slope.max()
    with np.errstate(all="ignore"):  # what overflows becomes an infinite bound: true, if useless
        v, p = utility / unit, slope / unit
        value = weight * np.where(v > 0, v ** (1 - alpha), 0.0)  # w v φ'(v)
        if alpha == 0:  # at a lower price everybody would buy without end, at this one nobody does
            prices: tuple[Any, ...] = ((weight * p).max(),)
            gaps: tuple[float, ...] = (prices[0] - (weight * v).sum(),)
        else:
            prices = (
                (weight * p * v**-alpha)[v > 0].max(initial=0),
                value.sum(),
                (weight * p * (p / p.size) ** -alpha).mean(),  # at an equal split: if all is 0
            )
            gaps = tuple(_uncapped_bound(price, v, value, p, weight, alpha) for price in prices)
        return _least(gaps, np.asarray(prices), unit ** (1 - alpha))


def _least(gaps: Any, worth: Floats, unit: float) -> tuple[float, float]:
    """(gap, least gap/(λ Q)) from the gaps at several prices, λ Q there, the unit of welfare."""
    gap, wasted = max(min(gaps), 0.0), np.divide(gaps, worth)
    scaled = gap * unit if gap else 0.0
    wasted = np.where(np.isfinite(wasted), wasted, 1.0)  # beyond the doubles: all, at most
    return np.inf if np.isnan(scaled) else scaled, max(wasted.min(), 0.0)


def _uncapped_bound(
    price: float, utility: Floats, value: Floats, slope: Floats, weight: Floats, alpha: float
) -> float:
    """The duality gap at one price, where each group buys at its best ratio without end."""
    wanted = (weight * slope / price) ** (1 / alpha)
    return _bound(price, wanted, (wanted / slope).sum() - 1, utility, value, weight, alpha)


def _bound(
    price: float,
    wanted: Floats,
    excess: float,
    utility: Floats,
    value: Floats,
    weight: Floats,
    alpha: float,
) -> float:
    """The duality gap at one price, in units of the budget; ∞ where it is beyond the doubles.

    ``wanted`` is what the groups buy at that price, ``excess`` the money it takes beyond the
    budget, ``value`` is w u φ'(u).
    """
    if not np.isfinite(wanted).all():
        return np.inf
    change = np.log(wanted / utility)  # of the groups' utilities; ∞ from nothing
    # At large α the worst-off group's last digit outweighs all other groups: it is none of ours.
    wanted = np.where(np.abs(change) < ROUNDING, utility, wanted)
    near = np.abs((1 - alpha) * change) < 1
    gain = np.zeros_like(utility)  # w (φ(û) − φ(u)): nearby without cancellation
    gain[near] = value[near] * phi_normalised((wanted / utility)[near], alpha)
    far = weight * (wanted ** (1 - alpha) - utility ** (1 - alpha))
    gain[~near] = far[~near] / (1 - alpha)
    gain[wanted == utility] = 0.0
    bound = gain.sum() - price * excess
    return float(bound) if np.isfinite(bound) else np.inf


class _Supply:
    """What the groups can buy under caps: all segments, by group and falling b/c; budget 1."""

    def __init__(self, problem: Problem) -> None:
        assert problem.cap is not None
        with np.errstate(over="ignore", under="ignore"):
            price = np.clip(problem.cost / problem.budget, 1e-300, 1e300)
            ratio, length = (
                (_benefit(problem) / problem.cost).ravel(),
                (problem.cap * price).ravel(),
            )
        code = np.repeat(problem.groups.code, problem.shape[1])
        keep = np.flatnonzero((ratio > 0) & (length > 0))
        order = keep[np.lexsort((-ratio[keep], code[keep]))]
        self.code, self.groups = code[order], len(problem.groups.label)
        self.slope = ratio[order] / problem.groups.size[self.code] * problem.budget
        self.length = np.minimum(length[order], 2.0)  # nobody can fill more than the budget
        own = self.slope * self.length
        first = np.searchsorted(self.code, np.arange(self.groups))
        self.before = np.concatenate([np.cumsum(part) - part for part in np.split(own, first[1:])])
        self.log_value = np.log(problem.weight[self.code]) + np.log(self.slope)
        self.capacity = min(1.0, self.length.sum())
        self.most = self.total(own)

    def measure_in(self, unit: float) -> None:
        """Change the unit of utility."""
        self.slope, self.before, self.most = (
            x / unit for x in (self.slope, self.before, self.most)
        )
        self.log_value = self.log_value - np.log(unit)

    def total(self, value: Floats) -> Floats:
        """(K,) sums by group."""
        return group_sum(value, self.code, self.groups)

    def spent(self, target: Any) -> Floats:
        """(M,) money on each segment when its group buys up to the target utility."""
        return np.asarray(np.clip((target - self.before) / self.slope, 0, self.length))

    def demand(self, log_price: float, alpha: float) -> Floats:
        """(M,) money on each segment where money costs exp(log_price) in welfare."""
        with np.errstate(over="ignore", under="ignore"):
            if alpha == 0:
                return np.where(self.log_value > log_price, self.length, 0.0)
            if alpha == np.inf:  # the price is that of utility: a common level
                return self.spent(np.exp(-log_price))
            return self.spent(np.exp((self.log_value - log_price) / alpha))

    def market(self, alpha: float) -> tuple[float, float]:
        """Logarithms of adjacent prices: the budget is spent at the first, not at the second."""
        low = high = 0.0
        step = 1.0
        while self.demand(low, alpha).sum() < self.capacity * (1 - 1e-15 * self.code.size):
            low, step = low - step, 2 * step
        step = 1.0
        while self.demand(high, alpha).sum() >= self.capacity:
            high, step = high + step, 2 * step
        while low < (middle := (low + high) / 2) < high:
            spent = self.demand(middle, alpha).sum() >= self.capacity
            low, high = (middle, high) if spent else (low, middle)
        return low, high


def _capped_gap(utility: Floats, problem: Problem, alpha: float) -> tuple[float, float]:
    """(gap, least gap/(λ Q)) under caps; where the caps leave money over, Q is what they take."""
    if utility.min() < 0 < alpha or (alpha >= 1 and utility.min() == 0 and alpha < np.inf):
        return np.inf, 1.0
    supply, unit = _Supply(problem), 1.0
    if 1 < alpha < np.inf:  # keeps the powers of those who can rise between 0 and 1
        can_rise = utility < supply.most * (1 - ROUNDING)
        unit = utility[can_rise].min() if can_rise.any() else utility.max()
        supply.measure_in(unit)
    low, high = supply.market(alpha)
    if alpha == np.inf:  # everybody cannot have more than the level at which the money ends
        level = min(float(np.exp(-low)), supply.most.min())
        needed, had = (supply.spent(u).sum() for u in (level, min(utility.min(), level)))
        return max(level - utility.min(), 0.0), max(1 - float(had / needed), 0.0)
    with np.errstate(all="ignore"):  # what overflows becomes an infinite bound: true, if useless
        v = utility / unit
        value = problem.weight * np.where(v > 0, v ** (1 - alpha), 0.0)
        gaps, prices = [], np.exp([low, high])
        for log_price, price in zip((low, high), prices, strict=True):
            money = supply.demand(log_price, alpha)
            wanted, excess = supply.total(supply.slope * money), money.sum() - supply.capacity
            gaps.append(_bound(price, wanted, excess, v, value, problem.weight, alpha))
        return _least(gaps, prices * supply.capacity, unit ** (1 - alpha))


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
