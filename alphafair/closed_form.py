"""The closed form: how an α-fair decision maker splits a budget over groups.

Group k turns one unit of budget into p_k units of utility (`alphafair.problem`).  Maximising
``Σ_k w_k φ_α(p_k x_k)`` over budgets ``x ≥ 0, Σ x = Q`` equates marginal values,
``w_k p_k (p_k x_k)^{−α} = λ`` for all k, so::

    utilities   u_k ∝ (w_k p_k)^{1/α}
    budgets     x_k ∝ (w_k p_k)^{1/α} / p_k,  that is  x = Q softmax(log(w)/α + (1/α − 1) log p)
    doses       d_it = y_i x_k / c_it   on the funded items, 0 elsewhere
    price       λ = dW/dQ = w_k p_k φ_α'(u_k),  the same for every group that has money

α = 1 gives shares w, α = ∞ equal utilities, α = 0 everything to the groups of largest w p.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .problem import Floats, Groups, Integers, Problem, money_exponent
from .utility import check_alpha, equivalent_utility, welfare

ROUNDING = 8 * np.finfo(float).eps  # p carries a few roundings: values this close are a tie


def allocate(
    benefit: ArrayLike,
    cost: ArrayLike,
    group: ArrayLike | Groups,
    budget: float,
    alpha: float,
    *,
    within: float = 0.0,
    weight: Any = None,
    cap: Any = None,
) -> Allocation:
    """The α-fair allocation of a budget, exactly.

    Maximises ``Σ_k w_k φ_α(u_k)`` over doses d ≥ 0 with ``Σ c_it d_it ≤ Q``, where u_k is the mean
    (``within`` = 0) or the equally-distributed equivalent of its members' ``u_i = Σ_t b_it d_it``.

    Args:
        benefit: b, (N,), (N, 1) or (N, T): utility of one unit of dose, finite.
        cost: c, scalar, (N,), (N, 1), (1, T) or (N, T): money for one unit of dose, > 0.
        group: (N,) or (N, 1) labels, or `Groups`.
        budget: Q ≥ 0, in units of money.
        alpha: α in [0, ∞], aversion to inequality across groups.
        within: ε in [0, ∞], aversion to inequality inside a group.
        weight: (K,) or mapping label → w, > 0, or ``"size"``; default 1.
        cap: upper bounds of the doses, scalar or broadcastable to (N, T), ≥ 0, may be ∞; needs
            ``within`` = 0 (`alphafair.capped`).

    Returns:
        `Allocation`.

    Raises:
        ValueError, TypeError: bad input; the message names the argument, the entry and the cure.

    References:
        Mo and Walrand (2000) for α-fairness; Bertsimas, Farias and Trichakis (2012) for the
        trade-off.  The derivation is in the book's chapter "The closed form".

    Example:
        >>> a = allocate([2.0, 1.0], [1.0, 1.0], ["near", "far"], budget=3.0, alpha=np.inf)
        >>> a.dose[:, 0], a.group_utility
        (array([1., 2.]), array([2., 2.]))
    """
    allocation: Allocation = Problem(benefit, cost, group, budget, within, weight, cap).allocate(
        alpha
    )
    return allocation


def allocate_problem(problem: Problem, alpha: float) -> Allocation:
    """The optimal `Allocation` without caps, at α in [0, ∞]; O(K)."""
    alpha = check_alpha(alpha)
    share = budget_shares(problem.log_weight, problem.log_productivity, alpha)
    return Allocation(alpha, problem, share)


@dataclass(frozen=True, eq=False, repr=False)
class Allocation:
    """An optimal allocation.  Everything but ``group_share`` is computed when asked for.

    Attributes:
        alpha: α.
        problem: the `Problem` that it solves.
        group_share: (K,) π, each group's part of the budget; sums to 1.
    """

    alpha: float
    problem: Problem
    group_share: Floats

    gradient: ClassVar[Callable[..., Any]]  # derivatives.py defines them: it needs Allocation first
    jacobian: ClassVar[Callable[..., Any]]

    @property
    def group_labels(self) -> NDArray[Any]:
        """(K,) the sorted labels; every (K,) result is in this order."""
        return self.problem.groups.label

    @property
    def group_size(self) -> Integers:
        """(K,) G, the number of people of each group."""
        return self.problem.groups.size

    @property
    def best_item(self) -> Integers:
        """(K, 2) rows (i, t): the item of largest b/c of each group."""
        return self.problem.best_item

    @property
    def productivity(self) -> Floats:
        """(K,) p, utility for one unit of budget."""
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(self.problem.productivity, self.problem.unit))

    @cached_property
    def group_budget(self) -> Floats:
        """(K,) x = Q π, the money of each group."""
        return self.problem.budget * self.group_share

    @cached_property
    def group_utility(self) -> Floats:
        """(K,) u = p x."""
        with np.errstate(over="ignore", under="ignore"):
            utility = self.problem.productivity * self.group_budget
            return np.asarray(np.ldexp(utility, self.problem.unit))

    @cached_property
    def dose(self) -> Floats:
        """(N, T) d: money of the item divided by its cost; built at the first use."""
        person, treatment, code, share = self.problem.funded
        with np.errstate(over="ignore"):
            amount = self.group_budget[code] * share / self.problem.cost[person, treatment]
        if not np.isfinite(amount).all():
            j = int(np.argmin(np.isfinite(amount)))
            raise ValueError(
                f"dose of item ({person[j]}, {treatment[j]}) overflows: the budget is too large "
                f"for its cost; measure cost and budget in a larger unit"
            )
        dose = np.zeros(self.problem.shape)
        dose[person, treatment] = amount
        return dose

    @property
    def at_cap(self) -> NDArray[np.bool_]:
        """(N, T) True where a cap stops the dose; nowhere, without caps."""
        return np.zeros(self.problem.shape, bool)

    @property
    def money_left(self) -> float:
        """Money that caps leave unspent; 0 without caps."""
        return 0.0

    @cached_property
    def price(self) -> float:
        """λ = dW/dQ = w p φ_α'(u), the welfare that one more unit of budget buys.

        ∞ at Q = 0 for 0 < α < ∞.  At α = ∞ it is 1/Σ(1/p).
        """
        weight, share, log_p, log_u = self._richest
        with np.errstate(over="ignore", under="ignore"):
            if self.alpha == np.inf:  # W = min u is proportional to Q
                return float(np.exp(log_p) * share)
            slope = self.alpha * log_u if self.alpha > 0 else 0.0
            return float(np.exp(np.log(weight) + log_p - slope))

    @cached_property
    def money_worth(self) -> float:
        """λ Q = Σ w u^{1−α} (Q/Σ(1/p) at α = ∞): what the budget is worth at the margin.

        Finite where λ alone is not: at Q = 0 it is 0 for α < 1, Σ w at α = 1 and ∞ beyond.
        """
        weight, share, _, log_u = self._richest
        if self.alpha == np.inf:
            return self.price * self.problem.budget
        with np.errstate(over="ignore", under="ignore"):
            power = (1 - self.alpha) * log_u if self.alpha != 1 else 0.0
            return float(np.exp(power) * weight / share)

    @cached_property
    def _richest(self) -> tuple[float, float, float, float]:
        """Weight w, share π, log p and log u of the group with most money: its λ is the price."""
        problem, k = self.problem, int(np.argmax(self.group_share))
        log_p = np.log(problem.productivity[k]) + problem.unit * np.log(2.0)
        with np.errstate(divide="ignore"):  # log 0 at Q = 0
            log_u = log_p + np.log(self.group_share[k]) + np.log(problem.budget)
        return problem.weight[k], self.group_share[k], log_p, log_u

    @cached_property
    def welfare(self) -> float:
        """W = Σ w φ_α(u), min u at α = ∞.  Its unit depends on α."""
        return welfare(self.group_utility, self.alpha, self.problem.weight)

    @cached_property
    def equivalent_utility(self) -> float:
        """The equally-distributed equivalent of the groups' utilities, comparable across α."""
        return equivalent_utility(self.group_utility, self.alpha, self.problem.weight)

    def __repr__(self) -> str:
        return (
            f"Allocation(alpha={self.alpha:g}, K={self.group_share.size}, "
            f"price={self.price:.6g}, equivalent_utility={self.equivalent_utility:.6g})"
        )


def budget_shares(log_weight: Floats, log_productivity: Floats, alpha: float) -> Floats:
    """(K,) π = softmax( log(w)/α + (1/α − 1) log p ), in logarithms, so that nothing overflows.

    Any constant may be added to either logarithm: the problem's are relative to the largest.
    """
    if alpha == 0:  # the limit: everything to the groups of largest w p, in equal parts
        score = log_weight + log_productivity
        tied = score >= score.max() - ROUNDING * (1 - log_weight - log_productivity)
        return np.asarray(tied / tied.sum())
    tilt = money_exponent(alpha)
    exponent = (tilt + 1) * log_weight + tilt * log_productivity
    share = np.exp(exponent - exponent.max())
    return np.asarray(share / share.sum())
