"""The gradient of the optimal welfare and the Jacobian of the optimal doses under caps.

Group k (`alphafair.capped`) spends F_k = Σ c·cap on the items that it has filled,
for utility A_k = Σ b·cap/G, and y_k on the one item that it has begun, of slope σ_k = b/(c G)::

    u_k = A_k + σ_k y_k = e^ℓ (w_k σ_k)^β,      Σ_k (F_k + y_k) = Q
    dy_k = (u_k/σ_k)(dℓ + β dlog σ_k − β² log(w σ_k) dα) − dA_k/σ_k − y_k dlog σ_k

where dℓ is what makes the budget fit: again a diagonal plus rank one, over the groups that have an
item begun; filled doses move with their caps.  The gradient has one more part, the worth of a wider
cap: ∂W/∂cap = (μ b/G − λ c)₊ with μ_k = w φ'(u_k).  At a kink, where λ is the worth of one
more unit of budget, it is what a narrower cap costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .capped import CappedAllocation
from .derivatives import (
    CappedDoseCotangent,
    CappedWelfareGradient,
    checked_alpha_direction,
    checked_direction,
    finite,
    refuse_large,
    worth_of_weights,
)
from .problem import Floats, Integers, group_sum, money_exponent
from .utility import phi_prime


def gradient_under_caps(self: CappedAllocation) -> CappedWelfareGradient:
    """Gradient of the optimal welfare with respect to benefits, costs, budget, weights and caps.

    With μ_k = w_k φ_α'(u_k) the worth of utility in group k and λ the price of money::

        ∂W/∂b = μ d/G      ∂W/∂c = −λ d      ∂W/∂Q = λ      ∂W/∂cap = (μ b/G − λ c)₊

    Returns:
        `CappedWelfareGradient`.  Where the budget exactly fills segments λ is the worth of one more
        unit of it, the derivative to the right, and the whole a supergradient.  At α = ∞, μ is
        1/σ_k (normalised) if all groups can still rise, otherwise 1 at the worst-off group.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=1, cap=10.0)
        >>> a.gradient().cap[:, 0]      # everybody has the most: W = log(4 cap) + log(cap)
        array([0.1, 0.1])
    """
    problem, size = self.problem, self.group_size
    mu = (_worth_of_utility(self) / size)[problem.groups.code][:, None]
    rent = np.maximum(mu * problem.benefit - self.price * problem.cost, 0)
    cap = np.where(self.at_cap, rent, 0.0)
    weight = worth_of_weights(self)
    return CappedWelfareGradient(mu * self.dose, -self.price * self.dose, self.price, weight, cap)


def _worth_of_utility(allocation: CappedAllocation) -> Floats:
    """(K,) μ = ∂W/∂u_k."""
    u, weight = allocation.group_utility, allocation.problem.weight
    if allocation.alpha < np.inf:
        return np.asarray(weight * phi_prime(u, allocation.alpha))
    if allocation.price > 0:
        return allocation.price / allocation.slope
    return np.asarray(np.arange(u.size) == np.argmin(u), float)


def jacobian_under_caps(self: CappedAllocation) -> CappedDoseJacobian:
    """Jacobian of the optimal doses under caps; see `CappedDoseJacobian`."""
    return CappedDoseJacobian(self)


CappedAllocation.gradient = gradient_under_caps
CappedAllocation.jacobian = jacobian_under_caps


@dataclass(frozen=True, eq=False)
class CappedDoseJacobian:
    """Derivatives of the optimal doses under caps: products in O(N T), dense on demand.

    Filled doses are their caps; each group's begun item takes what is left.  At a kink, where the
    budget exactly fills segments and no item is begun, these are the derivatives to the right: for
    changes that leave money for the next segment.

    Args:
        allocation: the optimum at which to differentiate.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=2, cap=[5.0, np.inf])
        >>> a.jacobian().jvp(cap=[1.0, 0.0])[:, 0]      # what a may have more, b has less
        array([ 1., -1.])
    """

    allocation: CappedAllocation

    def jvp(
        self,
        *,
        benefit: ArrayLike | None = None,
        cost: ArrayLike | None = None,
        budget: float | None = None,
        alpha: float | None = None,
        cap: ArrayLike | None = None,
    ) -> Floats:
        """Directional derivative of the doses.

        Args:
            benefit, cost, cap: directions, broadcastable to (N, T); default 0.  A direction of an
                infinite cap has no effect.
            budget: direction in Q; default 0.
            alpha: direction in α, for 0 < α < ∞; default 0.

        Returns:
            (N, T) d/dh of the doses at (b + h·benefit, c + h·cost, …).

        Raises:
            ValueError: a direction of another shape or not finite; ``alpha`` at α = 0 or ∞.
        """
        shape, margin = self.allocation.problem.shape, self._margin
        db, dc = (
            checked_direction("benefit", benefit, shape),
            checked_direction("cost", cost, shape),
        )
        dcap, dbudget = checked_direction("cap", cap, shape), finite("budget", budget)
        dalpha = checked_alpha_direction(alpha, self.allocation.alpha)
        full, last = margin.full, margin.last
        spent = dc[full] * margin.full_cap + margin.full_cost * dcap[full]  # dF, item by item
        gained = margin.total(db[full] * margin.full_reach + margin.full_benefit * dcap[full])
        dlog_c = dc[last] / margin.cost
        own = margin.of_slope * (db[last] / margin.benefit - dlog_c)
        own = own + margin.of_alpha * dalpha - margin.of_full * gained[margin.group]
        _, moved = margin.centred(own / margin.stretch)
        change = np.zeros(shape)
        change[full] = dcap[full]
        rest = (dbudget - spent.sum()) / margin.stretch.sum() if margin.group.size else 0.0
        money = margin.stretch * (moved + rest)
        change[last] = money / margin.cost - margin.dose * dlog_c
        return change

    def vjp(self, dose_cotangent: ArrayLike) -> CappedDoseCotangent:
        """The adjoint: pull a cotangent of the doses back to the parameters.

        Args:
            dose_cotangent: v, broadcastable to (N, T), finite.

        Returns:
            `CappedDoseCotangent`, with Σ v · jvp(x) = Σ vjp(v) · x for every direction x.

        Raises:
            ValueError: a cotangent of another shape or not finite.
        """
        problem, margin = self.allocation.problem, self._margin
        v = checked_direction("dose_cotangent", dose_cotangent, problem.shape)
        full, last = margin.full, margin.last
        of_money = v[last] / margin.cost
        mean, moved = margin.centred(of_money)
        pulled = np.zeros(len(problem.groups.label))
        pulled[margin.group] = moved * margin.of_full
        pulled = pulled[margin.full_code]
        benefit, cost, cap = (np.zeros(problem.shape) for _ in range(3))
        benefit[last] = moved * margin.of_slope / margin.benefit
        cost[last] = -(moved * margin.of_slope / margin.cost + of_money * margin.dose)
        benefit[full] = -pulled * margin.full_reach
        cost[full] = -mean * margin.full_cap
        cap[full] = v[full] - mean * margin.full_cost - pulled * margin.full_benefit
        alpha = self.allocation.alpha
        of_alpha = float(moved @ margin.of_alpha) if 0 < alpha < np.inf else None
        return CappedDoseCotangent(benefit, cost, mean, of_alpha, cap)

    def dense(self, parameter: Literal["benefit", "cost", "cap"]) -> Floats:
        """The whole matrix, column by column, for small problems.

        Args:
            parameter: "benefit", "cost" or "cap".

        Returns:
            (N, T, N, T), entry [i, t, j, s] = ∂d_it/∂b_js (or c_js, cap_js).

        Raises:
            ValueError: another word, or a matrix beyond 2 GiB (use `jvp` and `vjp`).
        """
        if parameter not in ("benefit", "cost", "cap"):
            raise ValueError(f"parameter is {parameter!r}: must be 'benefit', 'cost' or 'cap'")
        shape = self.allocation.problem.shape
        refuse_large(shape)
        full = np.zeros((*shape, *shape))
        margin = self._margin
        places = (np.concatenate(pair) for pair in zip(margin.full, margin.last, strict=True))
        for index in zip(*places, strict=True):
            unit = np.zeros(shape)
            unit[index] = 1.0
            full[(..., *index)] = self.jvp(**{parameter: unit})  # type: ignore[arg-type]
        return full

    @cached_property
    def _margin(self) -> _Margin:
        return _Margin(self.allocation)


Index = tuple[Integers, ...]


class _Margin:
    """The filled items (flat) and the begun item of each open group (K',), with their rates.

    Money of a begun item: ``dy = stretch dℓ + of_slope dlog σ + of_alpha dα − of_full dA``.
    """

    def __init__(self, allocation: CappedAllocation) -> None:
        problem, segments = allocation.problem, allocation.segments
        self.full: Index = np.unravel_index(segments.item[allocation.is_filled], problem.shape)
        self.group = np.flatnonzero(allocation.is_open)
        item = segments.item[allocation.next_segment[self.group]]
        self.last: Index = np.unravel_index(item, problem.shape)
        assert problem.cap is not None
        self.full_code = problem.groups.code[self.full[0]]
        self.full_cap, self.full_cost = problem.cap[self.full], problem.cost[self.full]
        size = problem.groups.size[self.full_code]
        self.full_benefit, self.full_reach = problem.benefit[self.full] / size, self.full_cap / size
        self.benefit, self.cost = problem.benefit[self.last], problem.cost[self.last]
        self.dose, self.groups = allocation.dose[self.last], len(problem.groups.label)
        self._rates(allocation)

    def _rates(self, allocation: CappedAllocation) -> None:
        problem, alpha, k = allocation.problem, allocation.alpha, self.group
        slope = allocation.slope[k]
        self.stretch, self.of_full = allocation.group_utility[k] / slope, 1 / slope
        if alpha == 0:  # groups that tie move together; the order does not change
            self.stretch = np.ones(k.size)
            self.of_full = self.of_slope = self.of_alpha = np.zeros(k.size)
            return
        self.of_slope = (money_exponent(alpha) + 1) * self.stretch - self.dose * self.cost
        log_value = problem.log_weight[k] + np.log(slope / slope.max(initial=0))
        squared = max(alpha, 1e-150) ** 2  # smaller ones underflow
        self.of_alpha = -log_value * self.stretch / squared

    def total(self, value: Floats) -> Floats:
        """(K,) sums over each group's filled items, as utility of the group."""
        return group_sum(value, self.full_code, self.groups)

    def centred(self, value: Floats) -> tuple[float, Floats]:
        """Mean of a value (K',) weighted by ``stretch``, and the value less its mean."""
        if value.size == 0:
            return 0.0, value
        reference = value[np.argmax(self.stretch)]
        rest = float(self.stretch @ (value - reference) / self.stretch.sum())
        return float(reference + rest), value - reference - rest
