"""The exact optimum when doses have upper bounds: 0 ≤ d ≤ cap.

Two stages, as always.  *Inside group k* money goes to the items in order of b/c, each until its cap
is reached: a fractional knapsack.  Segment j of the group has slope ``σ_j = b/(c G_k)`` (utility of
the group for a unit of money) and length ``L_j = c·cap`` (money); utility is a concave, piecewise
linear function of the group's money, with ``U_{j−1}`` and ``U_j`` at the two ends of the segment.

*Across groups* money is worth λ everywhere.  At the **level** ``ℓ = −log(λ)/α`` a group that stands
inside segment j has utility ``u = e^ℓ (w σ_j)^{1/α}``, so it spends on the segment

    m_j(ℓ) = clip( (e^ℓ (w_k σ_j)^{1/α} − U_{j−1}) / σ_j,  0,  L_j ).

The spending Σ m_j(ℓ) increases in ℓ, and between two breakpoints it is linear in e^ℓ: bisection
finds the interval in which it meets the budget, one linear interpolation the exact split.  At α = ∞
(1/α = 0) the level is the logarithm of the common utility; groups that have reached all their caps
stay behind and the others go on rising (leximin).  At α = 0 the segments are served in order of
w σ; groups that tie at the margin get equal amounts.

Without caps each group is one endless segment and this is the closed form.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .closed_form import ROUNDING, Allocation
from .closed_form import allocate_problem as allocate_without_caps
from .problem import Floats, Integers, Problem, flat_steps, money_exponent
from .utility import check_alpha

SMALL = 32  # groups of at most this many segments are sorted inside numba, the others by numpy
ENDLESS = 2.0  # in budgets: a longer segment is never filled


class Segments(NamedTuple):
    """The items that may be funded, by group, the best first; money in budgets, slopes relative.

    Attributes:
        item: (M,) flat position i·T + t; items that tie keep their row order.
        slope: (M,) σ relative to the largest of all.
        money: (M,) Σ c·cap, the group's money when the segment is full, as a part of the budget;
            a segment of more than twice the budget is cut to that.
        utility: (M,) U = Σ slope · length, the group's utility when the segment is full.
        start: (K + 1,) segments ``start[k] : start[k + 1]`` belong to group k.
        unit: the largest σ, in the problem's unit of utility.
    """

    item: Integers
    slope: Floats
    money: Floats
    utility: Floats
    start: Integers
    unit: float


def allocate_problem(problem: Problem, alpha: float) -> Allocation:
    """The optimal `Allocation` of this problem at α in [0, ∞].

    O(K) without caps.  With caps, O(n log n) for the n items at the first α and about
    O(K log n · 50) for each further one.

    Example:
        >>> problem = Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
        >>> [problem.allocate(alpha).group_budget.tolist() for alpha in (0, 1, np.inf)]
        [[0.0, 3.0], [1.5, 1.5], [2.0, 1.0]]
        >>> problem = Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0, cap=2.0)
        >>> [problem.allocate(alpha).group_budget.tolist() for alpha in (0, 1, np.inf)]
        [[1.0, 2.0], [1.5, 1.5], [2.0, 1.0]]
    """
    if problem.cap is None or problem.budget == 0:
        return allocate_without_caps(problem, alpha)
    alpha, segments = check_alpha(alpha), segments_of(problem)
    filled, marginal = _fill(segments, problem.log_weight, alpha)
    return CappedAllocation(alpha, problem, _spent(segments, filled, marginal), filled, marginal)


Problem.allocate = allocate_problem


@dataclass(frozen=True, eq=False, repr=False)
class CappedAllocation(Allocation):
    """An optimal allocation under caps.  What `Allocation` says, and two more inner fields.

    Attributes:
        filled: (K,) how many of its `Segments` each group has filled to the cap.
        marginal: (K,) money in the next one, as a part of the budget; 0 where the group stands at
            a kink, between two segments, or has filled them all.
    """

    filled: Integers
    marginal: Floats

    @property
    def segments(self) -> Segments:
        """The items in the order in which they are filled."""
        return segments_of(self.problem)

    @cached_property
    def group_utility(self) -> Floats:
        """(K,) u, the mean over the members of their Σ_t b_it d_it."""
        with np.errstate(over="ignore", under="ignore"):
            utility = self._relative_utility * self.segments.unit * self.problem.budget
            return np.asarray(np.ldexp(utility, self.problem.unit))

    @cached_property
    def dose(self) -> Floats:
        """(N, T) d: the cap on filled items, the rest of the group's money on the next one."""
        cap, segments = self.problem.cap, self.segments
        assert cap is not None
        dose = np.zeros(self.problem.shape)
        table = flat_steps(cap, dose.shape)
        _compiled().fill_caps(dose, *table, segments.item, segments.start, self.filled)
        group = np.flatnonzero(self.marginal > 0)
        last = np.unravel_index(segments.item[self.next_segment[group]], dose.shape)
        money = self.marginal[group] * self.problem.budget
        dose[last] = np.minimum(money / self.problem.cost[last], cap[last])
        return dose

    @cached_property
    def at_cap(self) -> NDArray[np.bool_]:
        """(N, T) True where the cap stops the dose: filled items, and those of cap 0 with b > 0."""
        assert self.problem.cap is not None
        flags = np.asarray((self.problem.cap == 0) & (self.problem.benefit > 0))
        flags[np.unravel_index(self.segments.item[self.is_filled], flags.shape)] = True
        return flags

    @property
    def money_left(self) -> float:
        """Money that no cap lets anybody spend; then the price is 0."""
        if (self.filled < self.segments.start[1:]).any():
            return 0.0
        return self.problem.budget - float((self.problem.cost * self.dose).sum())

    @cached_property
    def price(self) -> float:
        """λ = dW/dQ, the welfare that *one more* unit of budget buys: the derivative to the right.

        w σ u^{−α} at the best segment that has room.  Where the budget exactly fills segments, the
        last unit was worth more than the next one, and this is the worth of the next one.  0 when
        every cap is reached, and at α = ∞ also when the worst-off group has reached all of its.
        """
        group = np.flatnonzero(self.has_room)
        if group.size == 0 or (self.alpha == np.inf and not self.has_room.all()):
            return 0.0
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            if self.alpha == np.inf:
                return float(1 / (1 / self.slope[group]).sum())
            if self.marginal.any():
                return float(np.exp(self._log_value[np.argmax(self.marginal)]))
            return float(np.exp(self._log_value[group].max()))

    @property
    def money_worth(self) -> float:
        """λ Q."""
        return self.price * self.problem.budget

    # --- the margin: what derivatives.py needs to know ---------------------------------------
    @cached_property
    def has_room(self) -> NDArray[np.bool_]:
        """(K,) True where some segment of the group is not full."""
        return self.filled < self.segments.start[1:]

    @cached_property
    def next_segment(self) -> Integers:
        """(K,) the first segment with room (the group's last one where none has)."""
        return np.minimum(self.filled, self.segments.start[1:] - 1)

    @cached_property
    def is_filled(self) -> NDArray[np.bool_]:
        """(M,) True for the segments that are full."""
        start = self.segments.start
        place = np.arange(self.segments.item.size)
        return np.asarray(place < np.repeat(self.filled, np.diff(start)))

    @cached_property
    def slope(self) -> Floats:
        """(K,) σ of the next segment, utility for one more unit of the group's money."""
        with np.errstate(over="ignore", under="ignore"):
            slope = self.segments.slope[self.next_segment] * self.segments.unit
            return np.asarray(np.ldexp(slope, self.problem.unit))

    @cached_property
    def is_open(self) -> NDArray[np.bool_]:
        """(K,) True for the groups that would share one more unit of budget."""
        if (self.marginal > 0).any():
            return self.marginal > 0
        if not self.has_room.any():
            return self.has_room
        # A kink: the best next segment; at α = ∞ that of the worst off among the groups with room.
        value = -np.log(self._relative_utility) if self.alpha == np.inf else self._log_value
        value = np.where(self.has_room, value, -np.inf)
        return np.asarray(value >= value.max() - ROUNDING * max(1.0, abs(value.max())))

    @cached_property
    def _log_value(self) -> Floats:
        """(K,) log(w σ u^{−α}) at the next segment."""
        segments, problem = self.segments, self.problem
        log_unit = np.log(segments.unit) + problem.unit * np.log(2.0)
        log_slope = np.log(segments.slope[self.next_segment]) + log_unit
        if self.alpha in (0, np.inf):
            return np.asarray(np.log(problem.weight) + log_slope)
        utility = self._relative_utility  # 0 only where the doubles end: such a group is no margin
        log_u = np.log(np.where(utility > 0, utility, np.inf)) + log_unit + np.log(problem.budget)
        return np.asarray(np.log(problem.weight) + log_slope - self.alpha * log_u)

    @cached_property
    def _relative_utility(self) -> Floats:
        segments = self.segments
        before = _before(segments.utility, segments.start, self.filled)
        return before + segments.slope[self.next_segment] * self.marginal


def _spent(segments: Segments, filled: Integers, marginal: Floats) -> Floats:
    """(K,) money of each group, as a part of the budget."""
    return _before(segments.money, segments.start, filled) + marginal


def _before(total: Floats, start: Integers, filled: Integers) -> Floats:
    """(K,) a running total at the end of the filled segments; 0 where none is."""
    return np.where(filled > start[:-1], total[filled - 1], 0.0)


# --- inside a group: sort by slope, sum up ----------------------------------------------------
def segments_of(problem: Problem) -> Segments:
    """The problem's `Segments`, computed once."""
    if "segments" not in problem.__dict__:
        object.__setattr__(problem, "segments", _build(problem))
    segments: Segments = problem.__dict__["segments"]
    return segments


def _build(problem: Problem) -> Segments:
    groups, compiled, cap = problem.groups, _compiled(), problem.cap
    assert cap is not None
    tables = tuple(
        flat_steps(table, problem.shape) for table in (problem.benefit, cap, problem.cost)
    )
    start = compiled.count(*tables[:2], problem.shape[1], groups.code, groups.size.size)
    # One block of memory: fresh pages cost more than the arithmetic that fills them.
    ratio, length, utility, item = np.empty((4, start[-1]))
    item = item.view(np.int64)
    compiled.gather(
        *tables, problem.shape[1], problem.budget, groups.code, start, item, ratio, length
    )
    if problem.unit:
        ratio[:] = _ratios_in_unit(problem).reshape(-1)[item]
    order = np.empty(item.size, np.int32)
    for k in compiled.sort_small(ratio, order, start, SMALL):
        order[start[k] : start[k + 1]] = _falling(ratio[start[k] : start[k + 1]])
    unit = problem.productivity.max()
    compiled.running_totals(item, ratio, length, utility, order, start, unit * groups.size)
    return Segments(item, ratio, length, utility, start, unit)


def _ratios_in_unit(problem: Problem) -> Floats:
    """(N, T) b/c where it leaves the doubles, in the problem's unit of utility."""
    (b, power_b), (c, power_c) = np.frexp(problem.benefit), np.frexp(problem.cost)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(b / c, power_b - power_c - problem.unit))


def _falling(value: Floats) -> NDArray[np.int32]:
    """The order of falling positive values; those that tie stay in order.

    One plain sort of integers, three times as fast as `numpy.argsort`: the leading bits of the
    value, complemented, and the position in place of its last bits.  Values that only these bits
    tell apart are put right by a stable sort, which is linear where nearly all is in order.
    """
    last = np.uint64(2 ** (value.size - 1).bit_length() - 1)
    key = (~value.view(np.uint64) & ~last) | np.arange(value.size, dtype=np.uint64)
    key.sort()
    order = (key & last).astype(np.int32)
    value = value[order]
    if (value[1:] > value[:-1]).any():
        return order[np.argsort(-value, kind="stable")]
    return order


def _count(benefit, cap, treatments, code, groups):  # type: ignore[no-untyped-def]
    """Where each group's items start, if those with b > 0 and cap > 0 stand group after group."""
    (b, b_row, b_column), (cap, cap_row, cap_column) = benefit, cap
    start = np.zeros(groups + 1, np.int64)
    for i in range(code.size):
        useful = 0
        for t in range(treatments):
            useful += (b[i * b_row + t * b_column] > 0) & (cap[i * cap_row + t * cap_column] > 0)
        start[code[i] + 1] += useful
    return np.cumsum(start)


def _gather(  # type: ignore[no-untyped-def]
    benefit, cap, cost, treatments, budget, code, start, item, ratio, length
):
    """Fill in items, in row order inside each group, their b/c and their length."""
    (b, b_row, b_column), (cap, cap_row, cap_column) = benefit, cap
    c, c_row, c_column = cost
    place = start[:-1].copy()
    for i in range(code.size):
        for t in range(treatments):
            own_b, own_cap = b[i * b_row + t * b_column], cap[i * cap_row + t * cap_column]
            if own_b > 0 and own_cap > 0:
                own_c, j = c[i * c_row + t * c_column], place[code[i]]
                item[j], ratio[j] = i * treatments + t, own_b / own_c
                # ∞ times a cost that has underflowed is endless, too
                length[j] = (
                    min(own_cap * (own_c / budget), ENDLESS) if own_cap < np.inf else ENDLESS
                )
                place[code[i]] = j + 1


def _sort_small(ratio, order, start, small):  # type: ignore[no-untyped-def]
    """Order inside each small group, by stable insertion; returns the other groups."""
    large = np.diff(start) > small
    for k in range(large.size):
        if large[k]:
            continue
        own, place = ratio[start[k] : start[k + 1]], order[start[k] : start[k + 1]]
        for i in range(own.size):
            j = i
            while j > 0 and own[place[j - 1]] < own[i]:
                place[j] = place[j - 1]
                j -= 1
            place[j] = i
    return np.flatnonzero(large)


def _running_totals(  # type: ignore[no-untyped-def]
    item, ratio, length, utility, order, start, unit
):
    """In place: items in order, ratio → slope, length → money at the segment's end, utility there.

    Sums carry what they round off (Knuth's two-sum).
    """
    largest = np.diff(start).max()
    old_item, old_ratio, old_length = (
        np.empty(largest, np.int64),
        np.empty(largest),
        np.empty(largest),
    )
    for k in range(unit.size):
        first, end = start[k], start[k + 1]
        old_item[: end - first], old_ratio[: end - first] = item[first:end], ratio[first:end]
        old_length[: end - first] = length[first:end]
        scale, spent, rest, value, more = 1 / unit[k], 0.0, 0.0, 0.0, 0.0
        for j in range(first, end):
            i = order[j]
            slope, own, item[j] = old_ratio[i] * scale, old_length[i], old_item[i]
            worth = own * slope
            total, both = spent + own, value + worth
            part, share = total - spent, both - value
            rest += (spent - (total - part)) + (own - part)
            more += (value - (both - share)) + (worth - share)
            spent, value = total, both
            ratio[j], length[j], utility[j] = slope, spent + rest, value + more


# --- across groups: the level at which the budget is spent ------------------------------------
class _Spending(NamedTuple):
    """What every group does at one level: money is in budgets, so that the optimum's total is 1."""

    level: float
    filled: Integers
    marginal: Floats
    money: Floats
    total: float


def _fill(segments: Segments, log_weight: Floats, alpha: float) -> tuple[Integers, Floats]:
    """(K,) filled segments and (K,) money in the next one, at the optimum."""
    end = segments.start[1:]
    if float(segments.money[end - 1].sum()) <= 1:  # every cap fits in the budget
        return end.copy(), np.zeros(end.size)
    spend = _spending(segments, log_weight, alpha)
    low, high = _bracket(spend, *_first_guess(segments, log_weight, alpha), alpha == 0)
    if low.total == 1:  # whole segments
        return _snap(segments, low.filled, low.marginal)
    if alpha == 0:
        return _share_equally(segments, *_margin(segments, log_weight, spend, low, high))
    part = (1 - low.total) / (high.total - low.total) if high.total > low.total else 0.0
    filled, marginal = low.filled.copy(), low.marginal + part * (high.marginal - low.marginal)
    moved = np.flatnonzero(low.filled != high.filled)  # breakpoints closer than two doubles
    money = low.money + part * (high.money - low.money)
    filled[moved], marginal[moved] = _locate(segments, money, moved)
    return _snap(segments, filled, marginal)


def _spending(segments: Segments, log_weight: Floats, alpha: float) -> Callable[..., _Spending]:
    """The function level → `_Spending`; groups stay between ``low`` and ``high`` if given."""
    _, slope, money, utility, start, _ = segments
    beta = 1.0 if alpha == 0 else money_exponent(alpha) + 1
    sweep = _compiled().sweep

    def spend(
        level: float, low: _Spending | None = None, high: _Spending | None = None
    ) -> _Spending:
        filled = low.filled.copy() if low else start[:-1].copy()
        last = high.filled if high else start[1:]
        marginal = sweep(
            level, beta, alpha == 0, log_weight, slope, money, utility, start, filled, last
        )
        spent = _spent(segments, filled, marginal)
        return _Spending(level, filled, marginal, spent, float(spent.sum()))

    return spend


def _first_guess(segments: Segments, log_weight: Floats, alpha: float) -> tuple[float, float]:
    """The level without caps, Σ_k e^ℓ (w σ)^β / σ = 1 over the best segments, and a step."""
    log_slope = np.log(segments.slope[segments.start[:-1]])
    if alpha == 0:
        return float(-(log_weight + log_slope).max()), 1.0
    beta = money_exponent(alpha) + 1
    exponent = beta * (log_weight + log_slope) - log_slope
    largest = exponent.max()
    return float(-largest - np.log(np.exp(exponent - largest).sum())), max(1.0, beta)


def _bracket(
    spend: Callable[..., _Spending], level: float, step: float, greedy: bool
) -> tuple[_Spending, _Spending]:
    """Two levels around the budget between which no group passes a breakpoint (α = 0: one does)."""
    low = high = spend(level)
    while low.total > 1:
        low, high, step = spend(low.level - step), low, 2 * step
    while high.total < 1:
        low, high, step = high, spend(high.level + step), 2 * step
    while True:
        middle = low.level + (high.level - low.level) / 2
        begun = (low.marginal > 0) == (high.marginal > 0)
        passed = int((high.filled - low.filled).sum())
        if not low.level < middle < high.level or (begun.all() and passed <= greedy):
            return low, high
        at = spend(middle, low, high)
        low, high = (at, high) if at.total < 1 else (low, at)


def _margin(
    segments: Segments,
    log_weight: Floats,
    spend: Callable[..., _Spending],
    low: _Spending,
    high: _Spending,
) -> tuple[_Spending, _Spending]:
    """α = 0: the spending just before and just after the segment at which the budget ends.

    All segments whose w σ equals its own, up to rounding, lie between the two.
    """
    k = int(np.argmax(high.filled - low.filled))
    log_slope = np.log(segments.slope[low.filled[k]])
    slack = ROUNDING * (1 - log_weight[k] - log_slope)
    level = -(log_weight[k] + log_slope)
    return spend(level - slack), spend(level + slack)


def _share_equally(segments: Segments, low: _Spending, high: _Spending) -> tuple[Integers, Floats]:
    """α = 0: groups that tie at the margin get equal amounts, as far as their caps go."""
    room, rest = high.money - low.money, 1 - low.total
    rising = np.sort(room)
    poorer = np.cumsum(rising) - rising  # what the groups with less room take
    each = (rest - poorer) / np.arange(room.size, 0, -1)
    enough = each <= rising  # nowhere, by a rounding, where the rest fills all the room exactly
    amount = each[np.argmax(enough)] if enough.any() else rising[-1]
    money = low.money + np.minimum(room, amount)
    return _snap(segments, *_locate(segments, money, np.arange(room.size)))


def _locate(segments: Segments, money: Floats, group: Integers) -> tuple[Integers, Floats]:
    """Filled segments of these groups and what is left for the next one, from their money."""
    start, filled = segments.start, np.empty(group.size, np.int64)
    for j, k in enumerate(group):
        own = segments.money[start[k] : start[k + 1]]
        filled[j] = start[k] + np.searchsorted(own, money[k], side="right")
    before = np.where(filled > start[group], segments.money[filled - 1], 0.0)
    return filled, np.where(filled < start[group + 1], money[group] - before, 0.0)


def _snap(segments: Segments, filled: Integers, marginal: Floats) -> tuple[Integers, Floats]:
    """Put groups that stand at a kink, up to rounding, exactly there."""
    end = segments.start[1:]
    place = np.minimum(filled, end - 1)
    near = ROUNDING * segments.money[place]
    room = segments.money[place] - _before(segments.money, segments.start, filled)
    full = (filled < end) & (marginal >= room - near)
    begun = (filled < end) & ~full & ((marginal > near) | (filled == segments.start[:-1]))
    return filled + full, np.where(begun, marginal, 0.0)


def _sweep(  # type: ignore[no-untyped-def]
    level, beta, greedy, log_weight, slope, money, utility, start, filled, last
):
    """Advance ``filled`` to the segments that are full at this level; returns the rest (K,)."""
    marginal = np.zeros(log_weight.size)
    for k in range(log_weight.size):
        first, end = filled[k], last[k]
        while first < end:
            j = (first + end) // 2
            reach = level + beta * (log_weight[k] + np.log(slope[j]))
            if reach >= (0.0 if greedy else np.log(utility[j])):
                first = j + 1
            else:
                end = j
        filled[k] = first
        if first < start[k + 1] and not greedy:
            reach = np.exp(level + beta * (log_weight[k] + np.log(slope[first])))
            room = money[first]
            if first > start[k]:
                reach, room = reach - utility[first - 1], room - money[first - 1]
            marginal[k] = min(max(reach / slope[first], 0.0), room)
    return marginal


def _fill_caps(dose, cap, row, column, item, start, filled):  # type: ignore[no-untyped-def]
    """Set the doses of the filled segments to their caps."""
    treatments = dose.shape[1]
    for k in range(filled.size):
        for j in range(start[k], filled[k]):
            i, t = item[j] // treatments, item[j] % treatments
            dose[i, t] = cap[i * row + t * column]


class _Compiled(NamedTuple):
    count: Any
    gather: Any
    sort_small: Any
    running_totals: Any
    sweep: Any
    fill_caps: Any


@functools.cache
def _compiled() -> _Compiled:
    from numba import njit

    functions = (_count, _gather, _sort_small, _running_totals, _sweep, _fill_caps)
    return _Compiled(*(njit(cache=True, error_model="numpy")(function) for function in functions))
