"""The gradient of the optimal welfare and the Jacobian of the optimal doses.

Both follow from logarithmic derivatives.  Let j run over the funded items, k over the groups, π are
the groups' shares of the budget, y the items' shares inside their group, r = b/c, β = 1/α and
s = (1 − ε)/ε::

    dlog r_j = dlog b_j − dlog c_j
    dlog p_k = Σ_{j in k} y_j dlog r_j                              (a weighted mean: envelope)
    dlog y_j = s (dlog r_j − dlog p_k)                               (0 at ε = 0)
    dlog π_k = z_k − Σ_l π_l z_l,   z = (β − 1) dlog p − β² (log p + log w) dα

**Gradient.**  By the envelope theorem only the direct effect counts.  Money m_j = Q π_k y_j is
worth λ m_j, and a benefit that rises by one percent makes it worth one percent more::

    dW = λ ( Σ_j m_j dlog r_j + dQ ) + Σ_k φ_α(u_k) dw_k

**Jacobian.**  d_j = Q π_k y_j / c_j, hence dlog d_j = dlog Q + dlog π_k + dlog y_j − dlog c_j: a
diagonal plus, at each of the two levels, a matrix of rank one.  It is never stored.

Where the optimum is not differentiable (items that tie for the best of a group, groups that tie at
α = 0) these are the derivatives along which the chosen items and the winners stay the same: for the
welfare a subgradient, for the doses the one-sided derivative that keeps the first item.  Somebody
whose best benefit is exactly 0 stays unfunded, although at 1/2 ≤ ε < 1 the first bit of benefit
would move money at a finite (ε = 1/2) or infinite rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .closed_form import Allocation
from .problem import Floats, Integers, group_sum, money_exponent
from .utility import phi

LARGEST_DENSE = 2 * 1024**3  # bytes


class WelfareGradient(NamedTuple):
    """Derivatives of the optimal welfare.

    Attributes:
        benefit: (N, T) ∂W/∂b = λ m / b on the funded items, 0 elsewhere.
        cost: (N, T) ∂W/∂c = −λ m / c = −λ d.
        budget: ∂W/∂Q = λ, the price.
        weight: (K,) ∂W/∂w = φ_α(u); 0 at α = ∞, where weights have no say.
    """

    benefit: Floats
    cost: Floats
    budget: float
    weight: Floats


class CappedWelfareGradient(NamedTuple):
    """Derivatives of the optimal welfare under caps.

    Attributes:
        benefit, cost, budget, weight: as in `WelfareGradient`.
        cap: (N, T) ∂W/∂cap = (μ b/G − λ c)₊ where the cap stops the dose, 0 elsewhere.
    """

    benefit: Floats
    cost: Floats
    budget: float
    weight: Floats
    cap: Floats


class DoseCotangent(NamedTuple):
    """What `DoseJacobian.vjp` returns: the cotangent of each parameter.

    Attributes:
        benefit: (N, T).
        cost: (N, T).
        budget: a number.
        alpha: a number; None at α = 0 and α = ∞, the ends of the range.
    """

    benefit: Floats
    cost: Floats
    budget: float
    alpha: float | None


class CappedDoseCotangent(NamedTuple):
    """What `CappedDoseJacobian.vjp` returns: as `DoseCotangent`, and the cotangent of the caps.

    Attributes:
        benefit, cost, cap: (N, T).
        budget: a number.
        alpha: a number; None at α = 0 and α = ∞.
    """

    benefit: Floats
    cost: Floats
    budget: float
    alpha: float | None
    cap: Floats


def gradient(self: Allocation) -> WelfareGradient | CappedWelfareGradient:
    """Gradient of the optimal welfare with respect to benefits, costs, budget and weights.

    ∂W/∂b_it = λ m_it / b_it,  ∂W/∂c_it = −λ m_it / c_it,  ∂W/∂Q = λ,  ∂W/∂w_k = φ_α(u_k), where
    m_it is the money spent on the item and λ the price: one line for every α and every `within`.

    Returns:
        `WelfareGradient`.  At ties (of items, or of groups at α = 0) a subgradient.  At a budget of
        0 and α > 1, where W = −∞, infinite.  0 for somebody whose best benefit is exactly 0, where
        at 1/2 ≤ ε < 1 the slope to the right is positive.

    References:
        Milgrom and Segal, "Envelope theorems for arbitrary choice sets", Econometrica 70, 2002.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=2)
        >>> a.gradient().benefit[:, 0].round(6)      # λ m / b = 0.0025 · (10/4, 20/1)
        array([0.00625, 0.05   ])
    """
    items = _Items(self)
    worth = self.money_worth * items.share
    benefit, cost = items.table(worth / items.benefit), items.table(-worth / items.cost)
    parts = (benefit, cost, self.price, worth_of_weights(self))
    if self.problem.cap is None:
        return WelfareGradient(*parts)
    return CappedWelfareGradient(*parts, np.zeros(self.problem.shape))  # a budget of 0


def worth_of_weights(allocation: Allocation) -> Floats:
    """(K,) ∂W/∂w = φ_α(u)."""
    if allocation.alpha == np.inf:
        return np.zeros(allocation.group_utility.size)
    return phi(allocation.group_utility, allocation.alpha)


def jacobian(self: Allocation) -> DoseJacobian:
    """Jacobian of the optimal doses, as a linear map that is never stored; see `DoseJacobian`."""
    return DoseJacobian(self)


Allocation.gradient = gradient
Allocation.jacobian = jacobian


class _Items:
    """The funded items of an allocation: flat arrays (M,) that the formulas are written in."""

    def __init__(self, allocation: Allocation) -> None:
        problem = allocation.problem
        person, treatment, self.code, self.within_share = problem.funded
        self.index = person, treatment
        self.benefit, self.cost = problem.benefit[self.index], problem.cost[self.index]
        self.share = allocation.group_share[self.code] * self.within_share  # π y, sums to 1
        self.groups, self.shape = len(problem.groups.label), problem.shape

    def table(self, value: Floats) -> Floats:
        """(N, T) with a value (M,) on the funded items and 0 elsewhere."""
        table = np.zeros(self.shape)
        table[self.index] = value
        return table

    def mean(self, value: Floats) -> tuple[Floats, Floats]:
        """(K,) means Σ y_j v_j of a value (M,), and the value less its group's mean.

        Relative to the item of the largest share: the difference keeps its digits when the values
        of a group are nearly the same.
        """
        reference = value[self._largest][self.code]
        rest = group_sum(self.within_share * (value - reference), self.code, self.groups)
        return value[self._largest] + rest, value - reference - rest[self.code]

    @cached_property
    def _largest(self) -> Integers:
        """(K,) position of the item with the largest share of each group."""
        order = np.lexsort((-self.within_share, self.code))
        first: Integers = order[np.searchsorted(self.code[order], np.arange(self.groups))]
        return first


@dataclass(frozen=True, eq=False)
class DoseJacobian:
    """Derivatives of the optimal doses: products with vectors in O(N T + K), dense on demand.

    Args:
        allocation: the optimum at which to differentiate.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=2)
        >>> a.jacobian().jvp(benefit=[1.0, 0.0])[:, 0].round(6)      # a better item frees money
        array([-0.833333,  0.833333])
    """

    allocation: Allocation

    def jvp(
        self,
        *,
        benefit: ArrayLike | None = None,
        cost: ArrayLike | None = None,
        budget: float | None = None,
        alpha: float | None = None,
    ) -> Floats:
        """Directional derivative of the doses.

        Args:
            benefit: direction in b, broadcastable to (N, T); default 0.
            cost: direction in c, broadcastable to (N, T); default 0.
            budget: direction in Q; default 0.
            alpha: direction in α, for 0 < α < ∞; default 0.

        Returns:
            (N, T) d/dh of the doses at (b + h·benefit, c + h·cost, Q + h·budget, α + h·alpha).

        Raises:
            ValueError: a direction of another shape or not finite; ``alpha`` at α = 0 or ∞.
        """
        items, problem = self._items, self.allocation.problem
        db, dc = self._direction("benefit", benefit), self._direction("cost", cost)
        dlog_c = dc / items.cost
        dlog_p, dlog_y = items.mean(db / items.benefit - dlog_c)
        dalpha = checked_alpha_direction(alpha, self.allocation.alpha)
        z = self._tilt * dlog_p + self._of_alpha * dalpha
        change = self._centred(z)[items.code] + self._slope * dlog_y - dlog_c
        change = problem.budget * change + finite("budget", budget)
        return items.table(items.share / items.cost * change)

    def vjp(self, dose_cotangent: ArrayLike) -> DoseCotangent:
        """The adjoint: pull a cotangent of the doses back to the parameters.

        Args:
            dose_cotangent: v, broadcastable to (N, T), finite.

        Returns:
            `DoseCotangent`, with Σ v · jvp(x) = Σ vjp(v) · x for every direction x.

        Raises:
            ValueError: a cotangent of another shape or not finite.
        """
        items, problem = self._items, self.allocation.problem
        value = self._direction("dose_cotangent", dose_cotangent) / items.cost  # of the money
        mean, deviation = items.mean(value)
        moved = self.allocation.group_share * self._centred(mean)  # t_k, sums to 0
        of_ratio = items.within_share * self._tilt * moved[items.code]
        of_ratio = problem.budget * (of_ratio + self._slope * items.share * deviation)
        benefit = items.table(of_ratio / items.benefit)
        cost = items.table(-(of_ratio + problem.budget * items.share * value) / items.cost)
        alpha = problem.budget * float(moved @ self._of_alpha) if self._has_alpha else None
        return DoseCotangent(benefit, cost, float((items.share * value).sum()), alpha)

    def dense(self, parameter: Literal["benefit", "cost"]) -> Floats:
        """The whole matrix, for small problems.

        Args:
            parameter: "benefit" or "cost".

        Returns:
            (N, T, N, T), entry [i, t, j, s] = ∂d_it/∂b_js or ∂d_it/∂c_js.

        Raises:
            ValueError: another word, or a matrix beyond 2 GiB (use `jvp` and `vjp`).
        """
        if parameter not in ("benefit", "cost"):
            raise ValueError(f"parameter is {parameter!r}: must be 'benefit' or 'cost'")
        items, problem = self._items, self.allocation.problem
        refuse_large(problem.shape)
        y, code = items.within_share, items.code
        # Money of item j for the logarithm of ratio l: two levels, each diagonal plus rank one.
        across = y[:, None] * self.group_block[np.ix_(code, code)] * y
        inside = np.where(code[:, None] == code, y[:, None] * y, 0.0)
        inside = self._slope * self.allocation.group_budget[code][:, None] * _centring(inside)
        matrix = (across + inside) / items.cost[:, None]
        if parameter == "cost":
            matrix = -matrix - np.diag(problem.budget * items.share / items.cost)
        full = np.zeros((*problem.shape, *problem.shape))
        rows, columns = items.index
        of = items.benefit if parameter == "benefit" else items.cost
        full[rows[:, None], columns[:, None], rows, columns] = matrix / of
        return full

    @cached_property
    def group_block(self) -> Floats:
        """(K, K) ∂x_k/∂log p_l = (β − 1) Q (diag π − π πᵀ): diagonal plus rank one."""
        share = self.allocation.group_share
        money = self.allocation.problem.budget
        return np.asarray(self._tilt * money * _centring(np.outer(share, share)))

    @cached_property
    def _items(self) -> _Items:
        return _Items(self.allocation)

    @property
    def _has_alpha(self) -> bool:
        return 0 < self.allocation.alpha < np.inf

    @property
    def _tilt(self) -> float:
        """β − 1; at α = 0 budgets do not move."""
        alpha = self.allocation.alpha
        return money_exponent(alpha) if alpha > 0 else 0.0

    @property
    def _slope(self) -> float:
        """Exponent s = (1 − ε)/ε; at ε = 0 the best item keeps everything."""
        within = self.allocation.problem.within
        return money_exponent(within) if within > 0 else 0.0

    @property
    def _of_alpha(self) -> Floats | float:
        """(K,) ∂z/∂α = −β² (log p + log w), up to a constant that cancels."""
        if not self._has_alpha:
            return 0.0
        problem = self.allocation.problem
        squared = max(self.allocation.alpha, 1e-150) ** 2  # smaller ones underflow
        return -(problem.log_productivity + problem.log_weight) / squared

    def _centred(self, z: Any) -> Floats:
        """(K,) z − Σ π z, relative to the group of the largest share, so that no digit is lost."""
        share = self.allocation.group_share
        z = z - z[np.argmax(share)]
        return np.asarray(z - share @ z)

    def _direction(self, name: str, value: ArrayLike | None) -> Floats:
        """(M,) the entries of a direction (N, T) at the funded items."""
        return checked_direction(name, value, self.allocation.problem.shape)[self._items.index]


def checked_alpha_direction(direction: float | None, alpha: float) -> float:
    """A direction in α, which only 0 < α < ∞ has."""
    number = finite("alpha", direction)
    if direction is not None and not 0 < alpha < np.inf:
        raise ValueError(
            f"alpha: the doses have no derivative in α at α = {alpha:g}, an end of its range; "
            f"differentiate at 0 < α < ∞"
        )
    return number


def checked_direction(name: str, value: ArrayLike | None, shape: tuple[int, int]) -> Floats:
    """(N, T) a direction, broadcast and checked."""
    array = np.zeros(()) if value is None else np.asarray(value, float)
    if array.ndim == 1 and array.size == shape[0]:
        array = array[:, None]
    try:
        array = np.broadcast_to(array, shape)
    except ValueError as error:
        raise ValueError(f"{name} has shape {array.shape}: must broadcast to {shape}") from error
    if not np.isfinite(array).all():
        i, t = np.unravel_index(int(np.argmin(np.isfinite(array))), shape)
        raise ValueError(f"{name}[{i}, {t}] is {array[i, t]}: must be finite")
    return array


def refuse_large(shape: tuple[int, int]) -> None:
    """ValueError if a dense Jacobian of (N, T) doses does not fit."""
    size = 8 * (shape[0] * shape[1]) ** 2
    if size > LARGEST_DENSE:
        raise ValueError(
            f"a dense Jacobian of {shape} doses needs {size / 1024**3:.1f} GiB: "
            f"use jvp or vjp, which need none of it"
        )


def finite(name: str, value: float | None) -> float:
    """A direction in a scalar; 0 if None."""
    number = 0.0 if value is None else float(value)
    if not np.isfinite(number):
        raise ValueError(f"{name} is {number}: a direction must be finite")
    return number


def _centring(outer: Floats) -> Floats:
    """The matrix diag(π) − π πᵀ from π πᵀ: rows sum to 0, so the diagonal is π_k Σ_{l≠k} π_l.

    As a sum of positive terms: π − π² loses every digit where one group has nearly all.
    """
    matrix = -outer
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix
