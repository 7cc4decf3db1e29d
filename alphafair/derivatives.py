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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Floats, Integers, number, reals, refuse_first
from .exclusive import Ladder, Steps, Tables
from .kernels import group_sum
from .utility import phi
from .value import ROUNDING, Knapsack, Levels, Linear, money_exponent

if TYPE_CHECKING:
    from .allocation import Allocation
    from .problem import Problem

LARGEST_DENSE = 2 * 1024**3  # bytes
PARAMETERS = (
    *("benefit", "cost", "budget", "alpha", "weight"),
    *("baseline", "floor", "cap", "group_floor", "group_cap"),
)


class WelfareGradient(NamedTuple):
    """Derivatives of the optimal welfare; None for what the problem was not given.

    Attributes:
        benefit: (N, T) ∂W/∂b = μ d.
        cost: (N, T) ∂W/∂c = −λ_k d.
        budget: ∂W/∂Q = λ, the price.
        weight: (K,) ∂W/∂w = φ_α(U); 0 at α = ∞, where weights have no say.
        baseline: (N,) ∂W/∂a = μ, what utility is worth to each person.
        floor: (N, T) ∂W/∂floor ≤ 0, where the floor holds a dose up.
        cap: (N, T) ∂W/∂cap ≥ 0, where the cap stops the dose.
        group_floor: (K,) ∂W/∂group_floor ≤ 0, where it binds.
        group_cap: (K,) ∂W/∂group_cap ≥ 0, where it binds.
    """

    benefit: Floats
    cost: Floats
    budget: float
    weight: Floats
    baseline: Floats | None = None
    floor: Floats | None = None
    cap: Floats | None = None
    group_floor: Floats | None = None
    group_cap: Floats | None = None


class DoseCotangent(NamedTuple):
    """What `DoseJacobian.vjp` returns: the cotangent of each parameter, of the parameter's shape.

    Attributes:
        benefit: (N, T).
        cost: (N, T).
        budget: a number.
        alpha: a number; None at α = 0 and α = ∞, the ends of the range.
        weight: (K,).
        baseline: (N,); None, as the following, where the problem was not given one.
        floor: (N, T).
        cap: (N, T).
        group_floor: (K,).
        group_cap: (K,).
    """

    benefit: Floats
    cost: Floats
    budget: float
    alpha: float | None
    weight: Floats
    baseline: Floats | None = None
    floor: Floats | None = None
    cap: Floats | None = None
    group_floor: Floats | None = None
    group_cap: Floats | None = None


# --- the gradient -----------------------------------------------------------------------------
def welfare_gradient(allocation: Allocation) -> WelfareGradient:
    """`Allocation.gradient`."""
    if allocation.alpha == np.inf:
        weight = np.zeros(allocation.group_utility.size)
    else:
        weight = phi(allocation.group_utility, allocation.alpha)
    if isinstance(allocation.problem.value, Linear):
        items = _FundedItems(allocation)  # in money: exact, and finite where λ is not
        with np.errstate(invalid="ignore"):  # 0 · ∞, where the dose underflows
            worth = np.where(items.share == 0, 0.0, allocation.money_worth * items.share)
        benefit, cost = items.table(worth / items.benefit), items.table(-worth / items.cost)
        return WelfareGradient(benefit, cost, allocation.price, weight)
    if allocation.problem.ladder is not None:
        return _gradient_by_steps(allocation)
    return _gradient_by_pieces(allocation, weight)


def _gradient_by_steps(allocation: Allocation) -> WelfareGradient:
    """Where offers are exclusive: through the problem in steps."""
    problem, steps = allocation.problem, allocation.problem.ladder
    assert steps is not None
    inner = welfare_gradient(allocation.in_steps)
    table = steps.pull(_cotangent_of_steps(steps, inner))
    floor = None if problem.floor is None else table.floor
    return inner._replace(benefit=table.benefit, cost=table.cost, cap=table.cap, floor=floor)


def _cotangent_of_steps(steps: Ladder, inner: WelfareGradient | DoseCotangent) -> Steps:
    """What the problem in steps says of its tables, sorted into steps and floors."""
    count = steps.slope.shape[1]
    assert inner.cap is not None
    slope, length = inner.benefit[:, :count], inner.cap[:, :count]
    if steps.floor is None:
        none = np.zeros(len(slope))
        return Steps(slope, length, none, none)
    return Steps(slope, length, inner.benefit[:, -1], inner.cost[:, -1])


def _gradient_by_pieces(allocation: Allocation, weight: Floats) -> WelfareGradient:
    problem, dose = allocation.problem, allocation.dose
    groups = problem.groups
    worth = worth_of_utility(allocation)
    price = allocation.dose_price[groups.code][:, None]
    with np.errstate(invalid="ignore"):  # 0 · ∞, where nothing is spent
        benefit = np.where(dose == 0, 0.0, worth[:, None] * dose)
        cost = np.where(dose == 0, 0.0, -price * dose)
        rent = np.nan_to_num(worth[:, None] * problem.benefit - price * problem.cost, posinf=np.inf)
        beyond = np.nan_to_num(allocation.group_price - allocation.price, posinf=np.inf)
    moves = np.unravel_index(allocation.spending.moves, dose.shape)  # there μ b = λ c
    money = problem.cost[moves] * dose[moves]
    benefit[moves] = price[moves[0], 0] * money / problem.benefit[moves]
    rent[moves] = 0.0
    floor = cap = group_floor = group_cap = None
    if problem.cap is not None:
        cap = np.where(allocation.at_cap, np.maximum(rent, 0.0), 0.0)
    if problem.floor is not None:
        held = dose == problem.floor
        floor = np.where(held, np.minimum(rent, 0.0), 0.0)
    if problem.group_cap is not None:
        group_cap = np.where(allocation.at_group_cap, np.maximum(beyond, 0.0), 0.0)
    if problem.group_floor is not None:
        group_floor = np.where(allocation.at_group_floor, np.minimum(beyond, 0.0), 0.0)
    baseline = None if problem.baseline is None else worth
    return WelfareGradient(
        benefit, cost, allocation.price, weight, baseline, floor, cap, group_floor, group_cap
    )


def worth_of_utility(allocation: Allocation) -> Floats:
    """(N,) μ_i = ∂W/∂u_i = w φ_α'(U) (1/G) (U/u_i)^ε.

    At α = ∞ the groups that are worst off share the weight as ∝ 1/V', or the first of them has it
    all if one cannot rise; at ε = ∞ likewise the members that are worst off.
    """
    problem, code = allocation.problem, allocation.problem.groups.code
    size, within = problem.groups.size, problem.within
    log_u = allocation.log_utility
    if allocation.alpha == np.inf:
        of_group = _worth_of_the_worst(allocation)
    else:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            bend = allocation.alpha * log_u if allocation.alpha > 0 else 0.0
            of_group = problem.weight * np.exp(-bend)
    if within == 0:
        return np.asarray((of_group / size)[code])
    person = allocation.person_utility
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        if within < np.inf:
            ahead = within * (log_u[code] - np.log(person))
            ahead = np.where(log_u[code] == np.log(person), 0.0, ahead)  # all have nothing, too
            worth = of_group[code] / size[code] * np.exp(ahead)
            # Where others have nothing U stays 0, whatever somebody gains who has something.
            idle = (of_group[code] == 0) | (ahead == -np.inf)
            return np.asarray(np.where(idle, 0.0, worth))
    value, point = problem.value, allocation.point
    assert isinstance(value, Levels)
    # ε = ∞: who moves has μ = λ/r; what is left of the group's weight goes to who would join next.
    items, reach = value.moving(point)
    group, who = value.chains.code[items], value.chains.person[items]
    useful = (reach > value.lower[items] * (1 + ROUNDING)) & (of_group[group] > 0)
    useful &= (point.level <= value.log_top + ROUNDING)[group]  # beyond, U does not rise
    items, group, who = items[useful], group[useful], who[useful]
    worth = np.zeros(code.size)
    index = np.unravel_index(value.chains.item[items], problem.shape)
    price = allocation.dose_price[group]
    worth[who] = price * problem.cost[index] / problem.benefit[index]
    left = of_group - group_sum(worth, code, of_group.size)
    some = left > 1e-9 * of_group
    worth[resting_worst(allocation, who)[some]] = left[some]
    return worth


def resting_worst(allocation: Allocation, moving: Integers) -> Integers:
    """(K,) the member of least utility among those who do not move."""
    code, person = allocation.problem.groups.code, allocation.person_utility.copy()
    person[moving] = np.inf
    order = np.lexsort((person, code))
    first: Integers = order[np.searchsorted(code[order], np.arange(allocation.group_size.size))]
    return first


def _worth_of_the_worst(allocation: Allocation) -> Floats:
    """(K,) ∂W/∂U at α = ∞."""
    worst = allocation.worst_off
    if allocation.price > 0:
        with np.errstate(divide="ignore"):
            return np.where(worst, allocation.price / allocation.slope, 0.0)
    stuck = worst & ~(allocation.slope > 0)
    first = int(np.argmax(stuck if stuck.any() else worst))
    return np.asarray(np.arange(worst.size) == first, float)


# --- the Jacobian -----------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class DoseJacobian:
    """Derivatives of the optimal doses: products with vectors in O(N T + K), dense on demand.

    Doses at a bound stay there and move with it.  At a kink, where the budget exactly fills pieces
    and nobody is in between, these are the derivatives to the right: for changes that leave money
    for the next piece.

    Args:
        allocation: the optimum at which to differentiate.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=2)
        >>> a.jacobian().jvp(benefit=[1.0, 0.0])[:, 0].round(6)      # a better item frees money
        array([-0.833333,  0.833333])
        >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=2, cap=[5.0, np.inf])
        >>> a.jacobian().jvp(cap=[1.0, 0.0])[:, 0]      # what a may have more, b has less
        array([ 1., -1.])
    """

    allocation: Allocation

    def jvp(
        self,
        *,
        benefit: ArrayLike | None = None,
        cost: ArrayLike | None = None,
        budget: float | None = None,
        alpha: float | None = None,
        weight: ArrayLike | None = None,
        baseline: ArrayLike | None = None,
        floor: ArrayLike | None = None,
        cap: ArrayLike | None = None,
        group_floor: ArrayLike | None = None,
        group_cap: ArrayLike | None = None,
    ) -> Floats:
        """Directional derivative of the doses.

        Args:
            benefit, cost, floor, cap: directions, broadcastable to (N, T); default 0.  A direction
                of an infinite cap has no effect.
            budget: direction in Q; default 0.
            alpha: direction in α, for 0 < α < ∞; default 0.
            weight, group_floor, group_cap: directions (K,); default 0.
            baseline: direction (N,); default 0.

        Returns:
            (N, T) d/dh of the doses at (b + h·benefit, c + h·cost, Q + h·budget, …).

        Raises:
            ValueError: a direction of another shape or not finite; ``alpha`` at α = 0 or ∞; a
                direction in a parameter that the problem was not given (an absent cap is
                infinite and may have one).
        """
        given = {
            "benefit": benefit,
            "cost": cost,
            "budget": budget,
            "alpha": alpha,
            "weight": weight,
            "baseline": baseline,
            "floor": floor,
            "cap": cap,
            "group_floor": group_floor,
            "group_cap": group_cap,
        }
        problem = self.allocation.problem
        for name in ("baseline", "floor", "group_floor"):
            if given[name] is not None and getattr(problem, name) is None:
                raise ValueError(
                    f"{name}: the problem was not given one, so there is no derivative in it; "
                    f"build the problem with {name}=0.0 or zeros"
                )
        shapes = parameter_shapes(problem)
        directions: dict[str, Any] = {
            name: checked_direction(name, given[name], shape) for name, shape in shapes.items()
        }
        directions["budget"] = finite("budget", budget)
        directions["alpha"] = checked_alpha_direction(alpha, self.allocation.alpha)
        return self._rates.jvp(directions)

    def vjp(self, dose_cotangent: ArrayLike) -> DoseCotangent:
        """The adjoint: pull a cotangent of the doses back to the parameters.

        Args:
            dose_cotangent: v, broadcastable to (N, T), finite.

        Returns:
            `DoseCotangent`, with Σ v · jvp(x) = Σ vjp(v) · x for every direction x.

        Raises:
            ValueError: a cotangent of another shape or not finite.
        """
        problem = self.allocation.problem
        cotangent = checked_direction("dose_cotangent", dose_cotangent, problem.shape)
        pulled = self._rates.vjp(cotangent)
        if not 0 < self.allocation.alpha < np.inf:
            pulled["alpha"] = None
        for name in ("baseline", "floor", "cap", "group_floor", "group_cap"):
            if getattr(problem, name) is None:
                pulled[name] = None
        return DoseCotangent(**pulled)

    def dense(self, parameter: str) -> Floats:
        """The whole matrix, for small problems.

        Args:
            parameter: "benefit", "cost", "weight", "baseline", "floor", "cap", "group_floor" or
                "group_cap".

        Returns:
            (N, T, …) with the axes of the parameter last; for example, entry [i, t, j, s] is
            ∂d_it/∂b_js.

        Raises:
            ValueError: another word, a parameter that the problem was not given, or a matrix
                beyond 2 GiB (use `jvp` and `vjp`).
        """
        shapes = parameter_shapes(self.allocation.problem)
        if parameter not in shapes:
            *words, last = (f"'{name}'" for name in shapes)
            raise ValueError(f"parameter is {parameter!r}: must be {', '.join(words)} or {last}")
        shape = shapes[parameter]
        refuse_large(self.allocation.problem.shape, shape)
        if isinstance(self._rates, _LinearRates) and parameter in ("benefit", "cost"):
            return self._rates.dense(parameter)
        full = np.zeros((*self.allocation.problem.shape, *shape))
        for index in np.ndindex(*shape):
            unit = np.zeros(shape)
            unit[index] = 1.0
            direction: dict[str, Any] = {parameter: unit}
            full[(..., *index)] = self.jvp(**direction)
        return full

    @property
    def group_block(self) -> Floats:
        """(K, K) ∂x_k/∂log p_l = (β − 1) Q (diag π − π πᵀ): diagonal plus rank one.

        Where V is linear; elsewhere a group has no one productivity.
        """
        if not isinstance(self._rates, _LinearRates):
            raise ValueError(
                "group_block: with bounds or a baseline a group has no one productivity; use jvp"
            )
        return self._rates.group_block

    @cached_property
    def _rates(self) -> _LinearRates | _Rates | _StepRates:
        if self.allocation.problem.ladder is not None:
            return _StepRates(self.allocation)
        linear = isinstance(self.allocation.problem.value, Linear)
        return _LinearRates(self.allocation) if linear else _Rates(self.allocation)


def parameter_shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The parameters that are arrays, and their shapes."""
    persons, groups = problem.shape[:1], problem.groups.label.shape
    tables = dict.fromkeys(("benefit", "cost", "cap", "floor"), problem.shape)
    by_group = dict.fromkeys(("weight", "group_floor", "group_cap"), groups)
    return {**tables, "baseline": persons, **by_group}


class _FundedItems:
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


class _LinearRates:
    """The derivatives where V is linear."""

    def __init__(self, allocation: Allocation) -> None:
        self.allocation, self.items = allocation, _FundedItems(allocation)

    def jvp(self, directions: dict[str, Any]) -> Floats:
        """(N, T) change of the doses."""
        items, problem = self.items, self.allocation.problem
        db, dc = directions["benefit"][items.index], directions["cost"][items.index]
        dlog_c = dc / items.cost
        dlog_p, dlog_y = items.mean(db / items.benefit - dlog_c)
        dlog_w = directions["weight"] / problem.weight
        z = self._tilt * dlog_p + self._of_weight * dlog_w + self._of_alpha * directions["alpha"]
        change = self._centred(z)[items.code] + self._slope * dlog_y - dlog_c
        with np.errstate(over="ignore", invalid="ignore"):  # next to α = 0 β is 1e300: ∞, or 0 · ∞
            change = problem.budget * change + directions["budget"]
            moved = np.where(items.share == 0, 0.0, items.share / items.cost * change)
        return items.table(moved)

    def vjp(self, cotangent: Floats) -> dict[str, Any]:
        """The cotangents of the parameters."""
        items, problem = self.items, self.allocation.problem
        value = cotangent[items.index] / items.cost  # of the money
        mean, deviation = items.mean(value)
        moved = self.allocation.group_share * self._centred(mean)  # t_k, sums to 0
        of_ratio = items.within_share * self._tilt * moved[items.code]
        of_ratio = problem.budget * (of_ratio + self._slope * items.share * deviation)
        return {
            "benefit": items.table(of_ratio / items.benefit),
            "cost": items.table(-(of_ratio + problem.budget * items.share * value) / items.cost),
            "budget": float((items.share * value).sum()),
            "alpha": problem.budget * float(moved @ (self._of_alpha + 0 * moved)),
            "weight": problem.budget * (self._of_weight * moved / problem.weight),
        }

    def dense(self, parameter: str) -> Floats:
        """(N, T, N, T) for the benefits or the costs: two levels, each diagonal plus rank one."""
        items, problem = self.items, self.allocation.problem
        y, code = items.within_share, items.code
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
        """(K, K) (β − 1) Q (diag π − π πᵀ)."""
        share = self.allocation.group_share
        money = self.allocation.problem.budget
        return np.asarray(self._tilt * money * _centring(np.outer(share, share)))

    @property
    def _has_alpha(self) -> bool:
        return 0 < self.allocation.alpha < np.inf

    @property
    def _tilt(self) -> float:
        """β − 1; at α = 0 budgets do not move."""
        alpha = self.allocation.alpha
        return money_exponent(alpha) if alpha > 0 else 0.0

    @property
    def _of_weight(self) -> float:
        """β; at α = 0 and at α = ∞ weights move nothing."""
        alpha = self.allocation.alpha
        return money_exponent(alpha) + 1 if alpha > 0 else 0.0

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
        alpha = max(self.allocation.alpha, 1e-150)  # the square of smaller ones underflows
        assert problem.log_productivity is not None
        return -(problem.log_productivity + problem.log_weight) / alpha / alpha

    def _centred(self, z: Any) -> Floats:
        """(K,) z − Σ π z, relative to the group of the largest share, so that no digit is lost."""
        share = self.allocation.group_share
        z = z - z[np.argmax(share)]
        return np.asarray(z - share @ z)


class _Rates:
    """The derivatives by pieces: on a fixed set of items that move.

    A person is a **unit** (at ε = 0 the group is): u = R + b d, with one item that moves and R what
    she has otherwise.  With κ = u/r the money for one unit of log u::

        dlog u_j = dτ_k + dlog r_j/ε,      c_j dd_j = κ_j dlog u_j − dR/r_j − m_j dlog b_j
        dlog V_k = v_k dτ_k + e_k,         g_k dτ_k = dℓ + own_k
        g = of_value v + of_slope ε (1 − v)

    where ℓ is the level of the price (`alphafair.closed_form`).  At ε = ∞ the level of a group can
    be pinned: to that of a member who would join the others, or whose last cap is reached.  Money
    moved between the groups, t_k = K_k dτ_k with K = Σ κ, adds up to what is free: one more matrix
    of rank one.  Groups held at a bound move with it.  At α = 0 groups on a linear piece have
    g = 0: they fix dℓ, and share what the others leave.
    """

    def __init__(self, allocation: Allocation) -> None:
        problem, value = allocation.problem, allocation.problem.value
        assert isinstance(value, Knapsack | Levels)
        self.allocation, self.problem = allocation, problem
        self.code, groups = problem.groups.code, problem.groups.size.size
        self.groups, self.dose = groups, allocation.dose
        alpha, within = allocation.alpha, problem.within
        self.of_value, self.of_slope = min(alpha, 1.0), 1.0 if alpha <= 1 else 1 / alpha
        self.is_open = allocation.is_open
        before, self.into_doses = allocation.parts  # of the money of each group
        self.bounded = allocation.at_group_floor | allocation.at_group_cap
        self.bounded = self.bounded | (before != self.into_doses)  # the last unit was worth more
        if isinstance(value, Knapsack):
            self._knapsack_items(value)
        else:
            self._level_items(value)
        self.b, self.c = problem.benefit[self.last], problem.cost[self.last]
        self.ratio = self.b / self.c
        with np.errstate(over="ignore", under="ignore"):
            self.money = self.c * self.dose[self.last]
            self.kappa = self.own_utility / self.ratio
        self.total = group_sum(self.kappa, self.group, groups)
        has_items = np.bincount(self.group, minlength=groups) > 0
        self.is_open = self.is_open & has_items
        self.bounded = self.bounded & has_items & ~self.is_open
        self.pinned = has_items & ~self.is_open & ~self.bounded
        self.free = ~self.bounded
        fixed = np.ones(problem.shape, bool)
        fixed[self.last] = False
        self.fixed = fixed
        at_cap = np.zeros(problem.shape, bool)
        if problem.cap is not None:
            at_cap = fixed & allocation.at_cap
        self.at_cap, self.at_floor = at_cap, fixed & ~at_cap
        self._margin(value, within)
        self.pin: Integers = np.zeros(groups, np.intp)
        if self.pinned.any():
            self.pin = resting_worst(allocation, self.unit)

    # --- what moves -------------------------------------------------------------------------
    def _knapsack_items(self, value: Knapsack) -> None:
        """One item in each group that shares the next unit, or stands inside a piece."""
        allocation, piece = self.allocation, self.allocation.point.piece
        inside = np.zeros(self.groups, bool)
        inside[allocation.spending.code] = True
        group: Integers = np.flatnonzero((self.is_open | inside) & (value.item[piece] >= 0))
        self.group, self.unit, self.unit_of_row = group, group, self.code
        self.last = np.unravel_index(value.item[piece[group]], self.problem.shape)
        size = self.problem.groups.size[group]
        self.own_utility = allocation.group_utility[group] * size  # the group's, in sum
        self.rate = np.ones(group.size)  # how the first unit of a group's money is spent

    def _level_items(self, value: Levels) -> None:
        """One item of each person who moves, or would in the groups that share the next unit."""
        items, reach = value.moving(self.allocation.point)
        chains = value.chains
        begun = reach > value.lower[items] * (1 + ROUNDING)
        items = items[begun | self.is_open[chains.code[items]]]
        self.group, self.unit = chains.code[items], chains.person[items]
        self.unit_of_row = np.arange(self.problem.shape[0])
        self.last = np.unravel_index(chains.item[items], self.problem.shape)
        self.own_utility = self.allocation.person_utility[self.unit]
        with np.errstate(under="ignore"):
            first = np.full(self.groups, -np.inf)
            np.maximum.at(first, self.group, value.pull[items])
            self.rate = np.exp(value.pull[items] - first[self.group]) / chains.ratio[items]

    def _margin(self, value: Knapsack | Levels, within: float) -> None:
        """The coefficients of e and ``own``, and who takes the money that is free."""
        problem, allocation, k = self.problem, self.allocation, self.group
        self.inverse = 0.0 if within in (0, np.inf) else 1 / within
        self.of_rest = np.zeros(problem.shape[0])
        bend, slope = self.of_value, np.ones(self.groups)
        self.of_price = np.full(self.groups, self.of_slope)
        if within == 0:
            slope = slope * bend
            self.of_ratio = np.full(k.size, self.of_slope)
        elif within == np.inf:
            slope = slope * bend
            stuck = allocation.point.log_slope == -np.inf  # only the level counts (leximin)
            slope[stuck], self.of_price[stuck] = 1.0, 0.0
            part = self.kappa / np.where(self.total[k] > 0, self.total[k], 1.0)
            self.of_ratio = np.where(stuck[k], 0.0, self.of_slope * part)
        else:
            log_v = allocation.log_utility
            with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
                log_u = np.log(allocation.person_utility)
                ahead = np.where(log_u == log_v[self.code], 0.0, log_u - log_v[self.code])
                y = np.exp((1 - within) * ahead)
                y = y / problem.groups.size[self.code]
            moves = np.zeros(problem.shape[0], bool)
            moves[self.unit] = True
            moving = group_sum(np.where(moves, y, 0.0), self.code, self.groups)
            rest = group_sum(np.where(moves, 0.0, y), self.code, self.groups)
            slope = bend * moving + self.of_slope * within * rest
            tilt = -(bend - self.of_slope * within)
            self.of_ratio = tilt * self.inverse * y[self.unit]
            at_rest = ~moves & (allocation.person_utility > 0)
            self.of_rest[at_rest] = tilt * (y[at_rest] / allocation.person_utility[at_rest])
        self._across(slope)

    def _across(self, slope: Floats) -> None:
        """Stretch S = K/g, who fixes the level of the price, who takes the free money."""
        open_ = self.is_open
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            stretch = np.where(open_, self.total / self.into_doses / slope, 0.0)
        flat = ~np.isfinite(stretch)  # g = 0 at α = 0, or next to it
        if flat.any():
            stretch[flat] = 0.0
            share = flat / flat.sum()
        elif stretch.sum() > 0:
            share = stretch / stretch.sum()
        else:
            share = open_ / max(1, open_.sum())
        if self.problem.budget == 0:
            share = self.allocation.group_share
        self.stretch, self.share = stretch, share
        with np.errstate(divide="ignore", over="ignore"):
            self.per_stretch = np.where(stretch > 0, 1 / (self.into_doses * stretch), 0.0)
            nothing = self.total[self.group] == 0
            rate = np.where(nothing, self.rate, self.kappa)
            part = rate / self._by_group(rate)[self.group]
        self.part = part
        self.beyond = self.kappa * self.inverse - self.money
        self.of_ratio = self.of_ratio + self.beyond * self.per_stretch[self.group]
        log_v = self.allocation.log_utility
        finite = np.where(open_ & np.isfinite(log_v), log_v, 0.0)  # at Q = 0 nothing moves
        top = int(np.argmax(share))
        self.log_value = np.where(open_, finite - finite[top], 0.0)

    def _centred(self, value: Floats) -> Floats:
        """(K,) a value less its mean, relative to the group of the largest share."""
        value = value - value[np.argmax(self.share)]
        return np.asarray(value - self.share @ value)

    def _by_group(self, value: Floats) -> Floats:
        return group_sum(value, self.group, self.groups)

    def _rows(self, table: Floats) -> Floats:
        """(K,) sums of a table by group."""
        return group_sum(table.sum(axis=1), self.code, self.groups)

    def jvp(self, directions: dict[str, Any]) -> Floats:
        """(N, T) change of the doses."""
        problem, k, last = self.problem, self.group, self.last
        db, dc = directions["benefit"], directions["cost"]
        change = np.where(self.at_cap, directions["cap"], 0.0)
        if problem.floor is not None:
            change = np.where(self.at_floor, directions["floor"], change)
        fixed = np.where(self.fixed, self.dose * db + problem.benefit * change, 0.0).sum(axis=1)
        had = group_sum(fixed + directions["baseline"], self.unit_of_row, self._units)  # dR
        dlog_c = dc[last] / self.c
        dlog_r = db[last] / self.b - dlog_c
        own = self._by_group(
            self.of_ratio * dlog_r - self.per_stretch[k] * had[self.unit] / self.ratio
        )
        own += group_sum(self.of_rest * had[self.unit_of_row], self.code, self.groups)
        own += self.of_price * (
            directions["weight"] / problem.weight - self.log_value * directions["alpha"]
        )
        item = self.beyond * dlog_r - had[self.unit] / self.ratio
        whole = self._by_group(item)
        spent = self._rows(np.where(self.fixed, self.dose * dc + problem.cost * change, 0.0))
        bound = self._bound(directions)
        moved = self.stretch * self._centred(np.where(self.is_open, own, own[self._top]))
        pinned = np.where(self.pinned, self.total * self._pin_rate(had) + whole, 0.0)
        left = directions["budget"] - bound.sum()
        left = left - ((np.where(self.free, spent, 0.0) + pinned) / self.into_doses).sum()
        money = self.into_doses * (moved + self.share * (left - moved.sum()))
        money = np.where(self.free, money + pinned, self.into_doses * bound - spent)
        paid = self.part * money[k] + (item - self.part * whole[k])
        change[last] = paid / self.c - self.dose[last] * dlog_c
        return change

    def vjp(self, cotangent: Floats) -> dict[str, Any]:
        """The cotangents of the parameters: `jvp` line by line, backwards."""
        problem, k, last = self.problem, self.group, self.last
        of_paid = cotangent[last] / self.c
        of_money, of_item = self._means(of_paid)
        of_x = self.into_doses * of_money
        mean = self._mean(of_x)
        of_moved = np.where(self.is_open, self.stretch * (of_x - mean), 0.0)
        of_own = of_moved - self.share * of_moved.sum()
        of_bound = np.where(self.bounded, of_x - mean, 0.0)
        of_pinned = np.where(self.pinned, of_money - mean / self.into_doses, 0.0)
        of_item = of_item + of_pinned[k]
        of_spent = np.where(self.free, -mean / self.into_doses, -of_money)
        of_ratio = self.of_ratio * of_own[k] + self.beyond * of_item
        of_had = -(of_item + (of_own * self.per_stretch)[k]) / self.ratio
        of_row = group_sum(of_had, self.unit, self._units)[self.unit_of_row]
        of_rest = of_row + self.of_rest * of_own[self.code]
        if self.pinned.any():
            pins = self.pin[self.pinned]
            of_pin = (of_pinned * self.total)[self.pinned]
            of_rest[pins] += of_pin * self._per_utility(pins)
        of_change = cotangent + problem.cost * of_spent[self.code][:, None]
        of_change = of_change + problem.benefit * of_rest[:, None]
        benefit = np.where(self.fixed, self.dose * of_rest[:, None], 0.0)
        cost = np.where(self.fixed, self.dose * of_spent[self.code][:, None], 0.0)
        benefit[last] = of_ratio / self.b
        cost[last] = -(of_ratio / self.c + of_paid * self.dose[last])
        cap_bound, floor_bound = self.allocation.at_group_cap, self.allocation.at_group_floor
        return {
            "benefit": benefit,
            "cost": cost,
            "budget": mean,
            "alpha": -float(self.log_value @ (self.of_price * of_own)),
            "weight": self.of_price * of_own / problem.weight,
            "baseline": of_rest,
            "cap": np.where(self.at_cap, of_change, 0.0),
            "floor": np.where(self.at_floor, of_change, 0.0),
            "group_cap": np.where(cap_bound, of_bound, 0.0),
            "group_floor": np.where(floor_bound & ~cap_bound, of_bound, 0.0),
        }

    def _pin_rate(self, had: Floats) -> Floats:
        """(K,) dτ of the groups whose level is that of a member who begins or has just ended."""
        rate = np.zeros(self.groups)
        if self.pinned.any():
            pins = self.pin[self.pinned]
            rate[self.pinned] = had[pins] * self._per_utility(pins)
        return rate

    def _per_utility(self, persons: Integers) -> Floats:
        """1/u of these persons; 0 for those who have nothing, whom no level follows."""
        utility = self.allocation.person_utility[persons]
        return np.where(utility > 0, 1 / np.where(utility > 0, utility, 1.0), 0.0)

    def _mean(self, value: Floats) -> float:
        """Mean of a value (K,) by ``share``, relative to the group that has most of it."""
        reference = value[self._top] if self.is_open.any() else 0.0
        return float(reference + self.share @ np.where(self.is_open, value - reference, 0.0))

    def _means(self, value: Floats) -> tuple[Floats, Floats]:
        """(K,) means of a value by ``part``, and the value less its group's mean."""
        first = np.zeros(self.groups)
        first[self.group[::-1]] = value[::-1]  # a reference, so that differences keep their digits
        rest = self._by_group(self.part * (value - first[self.group]))
        return first + rest, value - first[self.group] - rest[self.group]

    @property
    def _units(self) -> int:
        return self.groups if self.problem.within == 0 else int(self.code.size)

    @property
    def _top(self) -> int:
        return int(np.argmax(self.share))

    def _bound(self, directions: dict[str, Any]) -> Floats:
        """(K,) how the bound that holds a group moves; 0 elsewhere."""
        at_cap, at_floor = self.allocation.at_group_cap, self.allocation.at_group_floor
        bound = np.where(at_cap, directions["group_cap"], 0.0)
        bound = np.where(at_floor & ~at_cap, directions["group_floor"], bound)
        return np.where(self.bounded, bound, 0.0)


class _StepRates:
    """The derivatives where offers are exclusive: those of the problem in steps, translated."""

    def __init__(self, allocation: Allocation) -> None:
        steps = allocation.problem.ladder
        assert steps is not None
        self.steps, self.money = steps, allocation.in_steps.dose
        self.rates = _Rates(allocation.in_steps)

    def jvp(self, directions: dict[str, Any]) -> Floats:
        """(N, T) change of the doses."""
        change = Tables(*(directions[name] for name in Tables._fields))
        steps, none = self.steps.push(change), np.zeros(self.money.shape)
        inner = dict(directions, benefit=none.copy(), cost=none, cap=none.copy(), floor=none)
        count = steps.slope.shape[1]
        inner["benefit"][:, :count], inner["cap"][:, :count] = steps.slope, steps.length
        if self.steps.floor is not None:
            inner["cost"] = none.copy()
            inner["benefit"][:, -1], inner["cost"][:, -1] = steps.utility, steps.money
        return self.steps.push_doses(self.money, self.rates.jvp(inner), change)

    def vjp(self, cotangent: Floats) -> dict[str, Any]:
        """The cotangents of the parameters."""
        of_money, direct = self.steps.pull_doses(self.money, cotangent)
        whole = np.zeros(self.money.shape)
        whole[:, : of_money.shape[1]] = of_money
        pulled = self.rates.vjp(whole)
        indirect = self.steps.pull(_cotangent_of_steps(self.steps, DoseCotangent(**pulled)))
        tables = {name: getattr(direct, name) + getattr(indirect, name) for name in Tables._fields}
        return {**pulled, **tables}


def checked_alpha_direction(direction: float | None, alpha: float) -> float:
    """A direction in α, which only 0 < α < ∞ has."""
    change = finite("alpha", direction)
    if direction is not None and not 0 < alpha < np.inf:
        raise ValueError(
            f"alpha: the doses have no derivative in α at α = {alpha:g}, an end of its range; "
            f"differentiate at 0 < α < ∞"
        )
    return change


def checked_direction(name: str, value: ArrayLike | None, shape: tuple[int, ...]) -> Floats:
    """A direction, broadcast to the shape of its parameter and checked."""
    array = np.zeros(()) if value is None else reals(name, value)
    if array.ndim == 1 and len(shape) == 2 and array.size == shape[0]:
        array = array[:, None]
    try:
        array = np.broadcast_to(array, shape)
    except ValueError as error:
        raise ValueError(f"{name} has shape {array.shape}: must broadcast to {shape}") from error
    refuse_first(name, array, np.isfinite(array), "finite")
    return array


def refuse_large(shape: tuple[int, int], other: tuple[int, ...]) -> None:
    """ValueError if a dense Jacobian of (N, T) doses in a parameter does not fit."""
    size = 8 * shape[0] * shape[1] * int(np.prod(other))
    if size > LARGEST_DENSE:
        raise ValueError(
            f"a dense Jacobian of {shape} doses needs {size / 1024**3:.1f} GiB: "
            f"use jvp or vjp, which need none of it"
        )


def finite(name: str, value: float | None) -> float:
    """A direction in a scalar; 0 if None."""
    if value is None:
        return 0.0
    change = number(name, value, "a number", lambda v: True)
    if not np.isfinite(change):
        raise ValueError(f"{name} is {change}: a direction must be finite")
    return change


def _centring(outer: Floats) -> Floats:
    """The matrix diag(π) − π πᵀ from π πᵀ: rows sum to 0, so the diagonal is π_k Σ_{l≠k} π_l.

    As a sum of positive terms: π − π² loses every digit where one group has nearly all.
    """
    matrix = -outer
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix
