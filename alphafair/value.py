"""What money is worth inside a group: V_k(x), the most utility that the group can have from x.

    V_k(x) = max { U_k : Σ_{i in k} c d ≤ x, floor ≤ d ≤ cap }
    U_k = M_{1−ε}(u_i, i in k),     u_i = a_i + Σ_t b_it d_it

is concave and increasing.  Everything that the package knows about the inside of a group is this
one function; across groups money is then worth the same everywhere (`alphafair.closed_form`).

**Chains and a level.**  Person i begins at ``u_i = a_i + Σ b·floor``.  Her items, best ratio
``r = b/c`` first, form a chain; item j lifts her from ``lower_j`` to ``upper_j = lower_j + b (cap −
floor)``.  One unit of money on it adds ``(1/G)(U/u_i)^ε r_j`` to U.  This is the same for all who
receive, so at the **level** θ of the group

    u_i(θ) = max( a_i', max_j min( θ r_j^{1/ε}, upper_j ) ).

Item j moves between the levels ``lower_j r_j^{−1/ε}`` and ``upper_j r_j^{−1/ε}``: the breakpoints
of the group.  On the **piece** between two of them, with C = Σ_moving r^{(1−ε)/ε} and A = Σ u^{1−ε}
over those at rest,

    dx = C dθ,     V = ((A + C θ^{1−ε})/G)^{1/(1−ε)},     V' = (1/G) (V/θ)^ε.

Three cases, from the plainest:

- `Linear`: no baseline and no bounds.  One endless piece, V = p x: the closed form.
- `Knapsack`, ε = 0: the level only says which item is next.  V is piecewise linear, of slopes r/G.
- `Levels`, ε > 0, up to ε = ∞, where all who receive have the same utility (water filling).

A new ingredient of V_k is a change of these chains, and of nothing else.

Money is measured in budgets and utility in ``unit`` times that, so that both are near 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import Floats, Integers
from .groups import Groups
from .kernels import (
    BLOCK,
    COUNT,
    EXTREMES,
    FILLED,
    GATHER,
    KEYS,
    LARGEST_RATIO,
    LOCATE,
    SEARCH,
    SMALL,
    TOTALS,
    GroupSums,
    flat_steps,
    group_sum,
    interval_log_sums,
    prefix_sums,
)
from .utility import log_power_mean

ROUNDING = 8 * np.finfo(float).eps  # values carry a few roundings: numbers this close are a tie
ENDLESS = 2.0  # in budgets: a longer piece is never filled
SLIGHT = 1e-6  # an item that adds less than this to what somebody has
LOG_SCALE = 2.0**-11  # takes the logarithm of any quotient of two doubles below 1
NEAR_LOG = 1 / 64  # |1 − ε| below this: power means by expm1, which is exact at the logarithm


class Point(NamedTuple):
    """Where the groups stand with a given money; all (K,), in relative units.

    Attributes:
        piece: the piece of each group; 0 in the linear case.
        level: log θ relative to the best ratio, the log utility of whoever has it; NaN at ε = 0.
        utility: V(x).
        log_utility: log V(x).
        log_slope: log V'(x+), to the right; −∞ where no more money can help.
    """

    piece: Integers
    level: Floats
    utility: Floats
    log_utility: Floats
    log_slope: Floats


class Spending(NamedTuple):
    """What the money of the groups is spent on.

    Attributes:
        full: flat positions i·T + t of the items that are filled to their caps.
        moves: (M,) those of the items between floor and cap.
        money: (M,) what is spent on the latter beyond their floors, in relative units.
        code: (M,) their groups.
    """

    full: Integers
    moves: Integers
    money: Floats
    code: Integers


class Funded(NamedTuple):
    """The M items that receive money in the linear case: one a group at within = 0, else one for
    each person who can benefit.

    Attributes:
        person: (M,) i.
        treatment: (M,) t.
        code: (M,) the position k of the person's group.
        share: (M,) y, the part of the group's budget that is spent on the item; sums to 1 in k.
    """

    person: Integers
    treatment: Integers
    code: Integers
    share: Floats


# --- the linear case: V(x) = p x --------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Linear:
    """V(x) = p x: no baseline, no bounds.

    With r_i = max_t b/c, s = (1 − ε)/ε and M_s the power mean of exponent s::

        p_k = M_s(r_i, i in k) / G_k        y_i = r_i^s / Σ_{j in k} r_j^s

    At ε = 0 (s = ∞) the mean is the maximum and the whole share goes to the best item.

    Attributes:
        productivity: (K,) p; 0 where it is below the least double, as next to ε = 1 in a group with
            somebody who cannot benefit.
        told: (K,) log p, finite there, too; None where no p is that small.
    """

    productivity: Floats
    told: Floats | None

    @cached_property
    def log_productivity(self) -> Floats:
        """(K,) log p, finite."""
        return np.log(self.productivity) if self.told is None else self.told

    def at(self, money: Floats) -> Point:
        """Where the groups stand with this money (K,)."""
        utility = self.productivity * money
        with np.errstate(divide="ignore"):
            log_utility = self.log_productivity + np.log(money)
        none, unknown = np.zeros(money.size, np.intp), np.full(money.size, np.nan)
        return Point(none, unknown, utility, log_utility, self.log_productivity)


def money_exponent(aversion: float, largest: float = 1e300) -> float:
    """The power 1/a − 1 of its value with which money follows it, at aversion a > 0; −1 at ∞.

    One formula for both stages: a = α across groups, a = ε inside a group.  As (1 − a)/a it keeps
    every digit near a = 1; it stops at ``largest``, so that its products with 0 are 0 and not NaN.
    """
    return -1.0 if aversion == np.inf else min((1 - aversion) / max(aversion, 1e-300), largest)


class GroupMeans(NamedTuple):
    """The power means M_s of the best ratios of each group, s = (1 − ε)/ε, and what shares need.

    Attributes:
        exponent: s.
        reference: (K,) the ratio to which the powers refer: the best, or at s < 0 the least one, so
            that no power is above 1.
        total: (K,) Σ_i (r_i / reference)^s.
        mean: (K,) M_s; below the doubles next to ε = 1 where somebody has a ratio of 0.
        log_mean: (K,) its logarithm, finite there, too.
    """

    exponent: float
    reference: Floats
    total: Floats
    mean: Floats
    log_mean: Floats


NEAR_MEAN = 1 / 8  # |s| below this: power means by expm1, which is exact at the geometric mean


def group_means(
    ratio: Floats, least: Floats, best: Floats, groups: Groups, within: float
) -> GroupMeans:
    """`GroupMeans` at ε > 0 from everybody's best ratio (N,), and their least and best (K,)."""
    count, exponent = groups.size.size, money_exponent(within)
    reference = best if exponent >= 0 else least
    power_sum, excess_sum = (GroupSums(count, ratio.size) for _ in range(2))
    log_sum = GroupSums(count, ratio.size, np.full(count, LOG_SCALE))
    near = 0 < abs(exponent) < NEAR_MEAN
    for some, code in _blocks(ratio, groups.code):
        against = reference[code]
        if exponent == 0:
            log_sum.add(log_quotient(some, against), code)
        elif near:
            log_power = exponent * log_quotient(some, against)
            power_sum.add(np.exp(log_power), code)
            excess_sum.add(np.expm1(log_power), code)
        else:
            power_sum.add(_powers(some, against, exponent), code)
    size = groups.size
    total = power_sum.total if exponent != 0 else size.astype(float)
    excess = excess_sum.total / size if near else -1.0  # the powers have all digits themselves
    log_mean = log_power_mean(exponent, log_sum.total / size, excess, total / size)
    with np.errstate(under="ignore"):
        mean = reference * np.exp(log_mean)
    return GroupMeans(exponent, reference, total, mean, np.log(reference) + log_mean)


def person_shares(ratio: Floats, code: Integers, means: GroupMeans) -> Floats:
    """(N,) y_i = r_i^s / Σ_{j in k} r_j^s, each person's part of the money of her group."""
    share = np.empty(ratio.size)
    place = 0
    for some, own in _blocks(ratio, code):
        power = _powers(some, means.reference[own], means.exponent)
        share[place : place + some.size] = power / means.total[own]
        place += some.size
    return share


def _blocks(ratio: Floats, code: Integers) -> Iterator[tuple[Floats, Integers]]:
    """The same in parts that stay in the cache, and whose intermediates take no fresh memory."""
    for first in range(0, ratio.size, BLOCK):
        yield ratio[first : first + BLOCK], code[first : first + BLOCK]


def _powers(ratio: Floats, reference: Floats, exponent: float) -> Floats:
    """(r / reference)^s ≤ 1; without logarithms at ε = ½, and at ε = ∞."""
    if exponent == 1:
        return ratio / reference
    if exponent == -1:
        return reference / ratio
    if exponent == 0:
        return np.ones(ratio.size)
    return np.asarray(np.exp(exponent * log_quotient(ratio, reference)))


def log_quotient(value: Floats, reference: float | Floats) -> Floats:
    """log(value / reference) from the quotient, which is exact to a rounding, where it can be."""
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        quotient = np.asarray(value / reference)
        if quotient.min(initial=1) >= 1e-300 and quotient.max(initial=1) <= 1e300:
            return np.asarray(np.log(quotient, out=quotient))
        far = np.flatnonzero((quotient > 1e300) | (quotient < 1e-300))
        logarithm = np.log(quotient)
        logarithm[far] = np.log(value[far]) - np.log(np.broadcast_to(reference, value.shape)[far])
    return np.asarray(logarithm)


def logarithms(value: Floats, log_value: Callable[[], Floats]) -> tuple[Floats, Floats | None]:
    """log(value / max value), and log(value) where it has to be told: where values underflow."""
    if value.min() >= np.finfo(float).tiny:
        return log_relative(value), None
    logarithm = log_value()
    return logarithm - logarithm.max(), logarithm


def log_relative(value: Floats) -> Floats:
    """log(value / max value) ≤ 0."""
    largest = value.max()
    if value.min() == largest:
        return np.zeros(value.size)
    return log_quotient(value, largest)


# --- pieces: what the other two cases share ---------------------------------------------------
class Chains(NamedTuple):
    """The items that can move, in relative units, and where everybody begins.

    Attributes:
        item: (M,) flat position i·T + t; the items of a person stand together, best ratio first,
            equal ones in row order (at ε = 0: those of a group).
        person, code: (M,) i and the position k of the group.
        ratio: (M,) r = b/c relative to the largest of all.
        length: (M,) c (cap − floor), in budgets; ∞ without a cap.
        base: (N,) a' = a + Σ b·floor, the utility before any item moves.
        spent: (K,) x at the floors.
    """

    item: Integers
    person: Integers
    code: Integers
    ratio: Floats
    length: Floats
    base: Floats
    spent: Floats


def refuse_extremes(
    item: Integers, code: Integers, ratio: Floats, length: Floats, treatments: int
) -> None:
    """ValueError about an item that is lost, or a group all of whose items are next to nothing.

    ``ratio`` (M,) is relative to the largest of all, and ``length`` (M,) to the budget.
    """
    for size, what, cure in (
        (ratio, "its benefit for one unit of cost and the largest of all", "benefits"),
        (length, "the money that takes it to its cap and the budget", "caps"),
    ):
        largest = np.zeros(int(code.max(initial=0)) + 1)
        np.maximum.at(largest, code, size)
        lost = (size == 0) | (largest < 1 / LARGEST_RATIO)[code]
        if lost.any():
            i, t = divmod(int(item[np.argmax(lost)]), treatments)
            raise ValueError(
                f"benefit, cost, cap and budget span too many orders of magnitude at item ({i}, "
                f"{t}): {what} differ by more than {LARGEST_RATIO:g}; set negligible {cure} to 0"
            )


@dataclass(frozen=True, eq=False)
class Pieces:
    """V_k by pieces.  Group k has the pieces ``start[k] : start[k + 1]``, the last one the end.

    Attributes:
        start: (K + 1,).
        money: (P,) x where the piece begins; at the end, what the group can spend at most.
    """

    start: Integers
    money: Floats

    @property
    def least(self) -> Floats:
        """(K,) x at the floors."""
        return self.money[self.start[:-1]]

    @property
    def most(self) -> Floats:
        """(K,) x with every cap reached; ∞, or `ENDLESS` at ε = 0, where there is none."""
        return self.money[self.start[1:] - 1]

    def parts(self, point: Point, money: Floats) -> tuple[Floats, Floats]:
        """(K,) which part of the last unit of money went into doses, and of the next will: all."""
        whole = np.ones(money.size)
        return whole, whole

    def locate(self, money: Floats) -> Integers:
        """(K,) the last piece that begins at or before this money."""
        found: Integers = LOCATE(self.money, self.start, money, work=self.money.size)
        return found

    def _next(self, piece: Integers) -> Integers:
        """The pieces that follow; the last of all, which a group without items has, itself."""
        return np.minimum(piece + 1, self.money.size - 1)

    def searcher(
        self, of_value: float, of_slope: float, log_weight: Floats
    ) -> Callable[[float], Integers]:
        """A function of ℓ: the last piece (K,) that has begun, ``start − 1`` where none has.

        Piece j begins at ``of_value · log V − of_slope · (log w + log V')``.
        """
        assert isinstance(self, Knapsack | Levels)
        if SEARCH.compiles(self.money.size):
            rest = (self.log_value, self.log_slope, False, self.start, log_weight)
            return lambda level: SEARCH.compiled(level, of_value, of_slope, *rest)
        weight = np.repeat(of_slope * log_weight, np.diff(self.start))
        level_of = begins(of_value, of_slope, self.log_value, self.log_slope) - weight
        first = self.start[:-1]
        return lambda level: np.add.reduceat(level_of <= level, first, dtype=np.intp) + first - 1


def begins(of_value: float, of_slope: float, log_value: Floats, log_slope: Floats) -> Floats:
    """of_value · log V − of_slope · log V': the level of the price but for w; ∞ where V' = 0."""
    with np.errstate(invalid="ignore"):
        value = of_value * log_value if of_value > 0 else 0.0 * (log_value == np.inf)
        level = value - (of_slope * log_slope if of_slope > 0 else 0.0)
    if of_value > 0:
        level = np.where((log_value == -np.inf) & (log_slope > -np.inf), -np.inf, level)
    level = np.where(log_slope == np.inf, -np.inf, level)
    return np.where(log_slope == -np.inf, np.inf, level)


# --- ε = 0: a knapsack ------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Knapsack(Pieces):
    """V_k at ε = 0: one piece an item, in order of b/c, on which V is linear.

    Attributes:
        item: (P,) flat position i·T + t; −1 at the end of a group.
        slope: (P,) σ = b/(c G) in units of ``unit``; 0 at the end.
        value: (P,) V where the piece begins.
    """

    item: Integers
    slope: Floats
    value: Floats

    @cached_property
    def log_value(self) -> Floats:
        """(P,) log V where the piece begins."""
        with np.errstate(divide="ignore"):
            return np.log(self.value)

    @cached_property
    def log_slope(self) -> Floats:
        """(P,) log V' there, to the right; −∞ at the end."""
        with np.errstate(divide="ignore"):
            return np.log(self.slope)

    def at(self, money: Floats) -> Point:
        """Where the groups stand with this money (K,)."""
        piece = self.locate(money)
        slope = self.slope[piece]
        utility = self.value[piece] + slope * np.maximum(money - self.money[piece], 0.0)
        with np.errstate(divide="ignore"):
            log_utility, log_slope = np.log(utility), np.log(slope)
        return Point(piece, np.full(money.size, np.nan), utility, log_utility, log_slope)

    def money_at(
        self, level: float, piece: Integers, of_value: float, of_slope: float, log_weight: Floats
    ) -> tuple[Floats, Floats]:
        """(K,) what the groups, which stand on these pieces, spend at a level ℓ, and dx/dℓ."""
        first = self.start[:-1]
        place = np.maximum(piece, first)
        low, high = self.money[place], self.money[self._next(place)]
        if of_value == 0:  # V is linear: all of the piece or nothing
            return np.where(piece < first, low, high), np.zeros(low.size)
        slope = self.slope[place]
        stretch = np.exp((level + of_slope * (log_weight + np.log(slope))) / of_value) / slope
        money = low + (stretch - self.value[place] / slope)
        inside = (money > low) & (money < high) & (piece >= first)
        money = np.where(piece < first, low, np.minimum(np.maximum(money, low), high))
        return money, np.where(inside, stretch / of_value, 0.0)

    def is_flat(self, piece: Integers) -> NDArray[np.bool_]:
        """Whether V is linear on these pieces."""
        return np.ones(piece.size, bool)

    def slope_where(self, piece: Integers) -> Floats:
        """The logarithm of V' where these pieces begin."""
        return np.log(self.slope[piece])

    def spending(self, point: Point, money: Floats) -> Spending:
        """The items before each group's piece are full, the one on it takes the rest."""
        full = FILLED(self.item, self.start, point.piece, work=self.item.size)
        rest = money - self.money[point.piece]
        item = self.item[point.piece]
        group = np.flatnonzero((rest > 0) & (item >= 0))
        return Spending(full, item[group], rest[group], group)


def knapsack(chains: Chains, groups: Groups) -> Knapsack:
    """`Knapsack` from chains that are sorted by group and falling ratio."""
    count = np.bincount(chains.code, minlength=groups.size.size)
    start = np.concatenate([[0], np.cumsum(count + 1)])
    place = np.arange(chains.item.size) + chains.code
    item = np.full(start[-1], -1)
    slope, money, value = np.zeros((3, start[-1]))
    item[place], slope[place] = chains.item, chains.ratio / groups.size[chains.code]
    first = start[:-1]
    money[first] = chains.spent
    value[first] = group_sum(chains.base, groups.code, groups.size.size) / groups.size
    length = np.minimum(chains.length, ENDLESS)
    money[place + 1], value[place + 1] = length, length * slope[place]
    money, value = prefix_sums(np.stack([money, value]), start)
    return Knapsack(start, money, item, slope, value)


def compiled_knapsack(
    tables: tuple[Floats, Floats, Floats, Floats],
    ratio: Floats | None,
    unit: float,
    scale: float,
    groups: Groups,
    base: Floats | None,
    spent: Floats,
) -> Knapsack:
    """`Knapsack` of a large problem straight from its (N, T) tables b, c, floor, cap.

    ``ratio`` is b/c where it has to be computed in other units, else None.
    """
    shape = tables[0].shape
    b, c, floor, cap = (flat_steps(table, (shape[0], shape[1])) for table in tables)
    code, count = groups.code, groups.size.size
    start = COUNT.compiled(b, floor, cap, shape[1], code, count)
    # One block of memory: fresh pages cost more than the arithmetic that fills them.
    slope, money, value, item = np.empty((4, start[-1]))
    item = item.view(np.int64)
    GATHER.compiled(b, c, floor, cap, shape[1], scale, code, start, item, slope, money)
    if ratio is not None:
        real = item >= 0
        slope[real] = ratio.reshape(-1)[item[real]]
    least, least_largest = EXTREMES.compiled(slope, money, start)
    of_unit = np.array([unit, 1.0])  # of ratios, of lengths
    if (least / of_unit == 0).any() or (least_largest / of_unit < 1 / LARGEST_RATIO).any():
        real = item >= 0
        own_code = np.repeat(np.arange(count), np.diff(start))[real]
        refuse_extremes(item[real], own_code, slope[real] / unit, money[real], shape[1])
    key = value.view(np.uint64)  # read before V is written there
    for k in KEYS.compiled(slope, key, start, SMALL):
        key[start[k] : start[k + 1] - 1].sort()
    first = np.zeros(count) if base is None else group_sum(base, code, count) / groups.size
    arguments = (item, slope, money, value, key, start, unit * groups.size, spent, first)
    k = TOTALS.compiled(*arguments, 0)
    while k < count:  # ratios that differ in their last bits only: a sort that compares all of them
        own = slice(start[k], start[k + 1] - 1)
        key[own] = np.argsort(-slope[own], kind="stable")
        k = TOTALS.compiled(*arguments, k)
    return Knapsack(start, money, item, slope, value)


# --- ε > 0: levels ----------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Levels(Pieces):
    """V_k at ε > 0, as a function of the level τ = log θ of the group.

    τ is measured so that the members with the group's best ratio R have utility e^τ while they
    move; an item of ratio r moves at e^{τ + pull}, pull = log(r/R)/ε.

    Attributes:
        within: ε.
        chains: the items.
        pull: (M,).
        lower, upper: (M,) utility of the person before and after the item.
        ends: (M,) the piece that begins where the item ends.
        size: (K,) G.
        log_best: (K,) log R.
        level: (P,) τ where the piece begins.
        log_rate: (P,) log C with dx = C dθ on the piece; −∞ where nobody moves.
        log_rest: (P,) log Σ u^{1−ε} over those at rest.
        mean_rest, mean_move, part: (P,) for ε near 1: (1/G) Σ h(log u) over those at rest,
            (1/G) Σ h(pull) over those who move, and which part of the members these are, with
            h(z) = (e^{(1−ε) z} − 1)/(1 − ε).
        log_value: (P,) log V where the piece begins.
        log_slope: (P,) log V' there, to the right; −∞ at the end.
        log_top: (K,) at ε = ∞, the log utility at which the first member cannot rise any more.
    """

    within: float
    chains: Chains
    pull: Floats
    lower: Floats
    upper: Floats
    ends: Integers
    size: Integers
    log_best: Floats
    level: Floats
    log_rate: Floats
    log_rest: Floats
    mean_rest: Floats
    mean_move: Floats
    part: Floats
    log_top: Floats
    log_value: Floats
    log_slope: Floats

    def at(self, money: Floats) -> Point:
        """Where the groups stand with this money (K,)."""
        piece = self.locate(money)
        ends = self.start[1:] - 1
        level = np.where(piece == ends, np.inf, self._level_of(piece, money))
        log_utility = np.where(piece == ends, self.log_value[ends], self._log_value(piece, level))
        with np.errstate(invalid="ignore"):
            log_slope = self._log_slope(piece, level, log_utility)
        log_slope = np.where(piece == ends, -np.inf, log_slope)
        with np.errstate(over="ignore", under="ignore"):
            return Point(piece, level, np.exp(log_utility), log_utility, log_slope)

    def _level_of(self, piece: Integers, money: Floats) -> Floats:
        """(K,) τ of money on these pieces, from x = x_j + C (θ − θ_j)."""
        begins, rate = self.level[piece], self.log_rate[piece]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            more = np.maximum(money - self.money[piece], 0.0)
            more = np.where(self.money[piece] == np.inf, 0.0, more)  # begins beyond the doubles
            later = np.logaddexp(begins, np.log(more) - rate)  # e^τ = e^τ_j + Δx/C
            return np.where(more == 0, begins, later)

    def _spent(self, piece: Integers, level: Floats) -> Floats:
        """Money of these pieces at a level: the inverse of `_level_of`."""
        begins, rate = self.level[piece], self.log_rate[piece]
        with np.errstate(over="ignore", invalid="ignore"):
            more = -np.exp(rate + level) * np.expm1(begins - level)
        return self.money[piece] + np.where((rate == -np.inf) | (level == begins), 0.0, more)

    def _log_value(self, piece: Integers, level: Floats) -> Floats:
        """Log V of these pieces at a level."""
        group, s = self._group(piece), 1 - self.within
        with np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore"):
            if self.within == np.inf:
                return np.minimum(level, self.log_top[group])
            if abs(s) < NEAR_LOG:
                grown = _box_cox(level, s)
                moving = self.mean_move[piece] * np.exp(s * level) + self.part[piece] * grown
                moving = np.where(self.part[piece] == 0, 0.0, moving)
                mean = self.mean_rest[piece] + moving
                value = mean if s == 0 else np.log1p(np.maximum(s * mean, -1.0)) / s
            else:
                log_sum = np.logaddexp(self.log_rest[piece], self._log_moving(piece, level))
                value = (log_sum - np.log(self.size[group])) / s
            if s <= 0:
                value = np.where(level == -np.inf, -np.inf, value)
        return np.asarray(value)

    def _log_moving(self, piece: Integers, level: Floats) -> Floats:
        """Log Σ u^{1−ε} over those who move: C R θ^{1−ε}, because u^{−ε} r = R θ^{−ε}."""
        with np.errstate(invalid="ignore"):
            moving = self.log_rate[piece] + self.log_best[self._group(piece)]
            log_sum = moving + (1 - self.within) * level
        return np.where(self.log_rate[piece] == -np.inf, -np.inf, log_sum)

    def _log_slope(self, piece: Integers, level: Floats, log_value: Floats) -> Floats:
        """Log V' = log( (R/G) (V/θ)^ε ); 1/C at ε = ∞, 0 once somebody cannot rise."""
        group = self._group(piece)
        if self.within == np.inf:
            stuck = (level >= self.log_top[group]) | (self.log_rate[piece] == -np.inf)
            return np.where(stuck, -np.inf, -self.log_rate[piece])
        with np.errstate(invalid="ignore"):
            ahead = self.within * (log_value - level)
        nothing = np.flatnonzero(level == -np.inf)
        if nothing.size:
            ahead[nothing] = self.within * self._log_ahead_of_nothing(piece[nothing])
        return self.log_best[group] - np.log(self.size[group]) + ahead

    def _log_ahead_of_nothing(self, piece: Integers) -> Floats:
        """Log V/θ as θ goes to 0, where all with nothing rise together: at ε < ∞.

        V = V(θ = 1) θ if nobody rests with something; else V goes to 0 as well at ε > 1 alone.
        """
        alone = self._log_value(piece, np.zeros(piece.size))
        beside = np.full(piece.size, np.inf)
        if self.within > 1:
            moving = self._log_moving(piece, np.zeros(piece.size))
            beside = (moving - np.log(self.size[self._group(piece)])) / (1 - self.within)
        return np.where(self.log_rest[piece] == -np.inf, alone, beside)

    def _group(self, piece: Integers) -> Integers:
        return np.searchsorted(self.start, piece, side="right") - 1

    def moving_part(self, piece: Integers, level: Floats) -> tuple[Floats, Floats]:
        """The derivative v = d log V / dτ at ε < ∞, and 1 − v, without cancellation."""
        moving, rest = self._log_moving(piece, level), self.log_rest[piece]
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = np.exp(rest - moving)
            return 1 / (1 + ratio), np.where(ratio == np.inf, 1.0, ratio / (1 + ratio))

    def money_at(
        self, level: float, piece: Integers, of_value: float, of_slope: float, log_weight: Floats
    ) -> tuple[Floats, Floats]:
        """(K,) what the groups, which stand on these pieces, spend at a level ℓ, and dx/dℓ.

        Solves ``of_value · log V(τ) − of_slope · (log w + log V'(τ)) = ℓ`` on the piece by a
        safeguarded Newton iteration, all groups at once; one step where the left side is linear.
        """
        first = self.start[:-1]
        place = np.maximum(piece, first)
        low = self.level[place]
        end = self._level_of(place, self.money[place] + ENDLESS)
        high = np.maximum(np.minimum(self.level[self._next(place)], end), low)
        high = np.where(self.log_rate[place] == -np.inf, low, high)  # nobody moves
        target = level + of_slope * log_weight
        if self.within == np.inf:  # V = θ and V' = 1/C: explicit
            reach = (target - of_slope * self.log_rate[place]) / of_value if of_value > 0 else high
            tau = np.minimum(np.maximum(reach, low), high)
            inside, bend_of_v = (tau > low) & (tau < high), np.full(tau.size, of_value)
        else:
            tau, inside, bend_of_v = self._solve(place, low, high, target, of_value, of_slope)
        stretch = np.exp(self.log_rate[place] + tau) / bend_of_v
        money = self._spent(place, tau)
        money = np.minimum(np.maximum(money, self.money[place]), self.money[self._next(place)])
        money = np.where(piece < first, self.money[first], money)
        return money, np.where(inside & (piece >= first), stretch, 0.0)

    def _solve(
        self,
        place: Integers,
        low: Floats,
        high: Floats,
        target: Floats,
        of_value: float,
        of_slope: float,
    ) -> tuple[Floats, NDArray[np.bool_], Floats]:
        """(K,) τ on pieces, whether it is inside, and the derivative of the left side there."""
        bend = of_slope * self.within
        noise = ROUNDING / 2 * (1 + np.abs(target))

        def excess(tau: Floats) -> Floats:
            log_value = self._log_value(place, tau)
            log_slope = self._log_slope(place, tau, log_value)
            return begins(of_value, of_slope, log_value, log_slope) - target

        tau, above = high.copy(), high
        below = np.maximum(low, high - 1e6)  # τ of −∞, where nobody has anything
        miss = excess(tau)
        busy = inside = (miss > 0) & (low < high)  # nothing to find on a piece of no length
        for _ in range(MOST_STEPS):
            if not busy.any():
                break
            above, below = np.where(miss > 0, tau, above), np.where(miss > 0, below, tau)
            moving, rest = self.moving_part(place, tau)
            steep = of_value * moving + bend * rest
            flat = (steep == 0) & (miss > 0) & (miss < np.inf)  # all of the piece or nothing
            step = np.where(flat, below, tau - miss / steep)
            safe = (step >= below) & (step <= above)
            new = np.where(busy, np.where(safe, step, below + (above - below) / 2), tau)
            known = (new == below) | (new == above)  # all that is left between is rounding
            near = np.abs(new - tau) <= ROUNDING / 4 * np.maximum(1.0, np.abs(new))
            busy = busy & ~(known | near)
            tau = new
            miss = excess(tau) if busy.any() else miss
            busy = busy & (np.abs(miss) > noise)
        moving, rest = self.moving_part(place, tau)
        return tau, inside, of_value * moving + bend * rest

    def stretch(self, piece: Integers, place: Integers) -> Floats:
        """Money for one unit of τ on these pieces, where others begin; 0 at the ends of all."""
        ends = self.level[np.minimum(place, self.level.size - 1)]
        with np.errstate(over="ignore", invalid="ignore"):
            rate = np.exp(self.log_rate[piece] + ends)
        return np.where(np.isfinite(ends) & np.isfinite(rate), rate, 0.0)

    def level_searcher(self) -> Callable[[float], Integers]:
        """A function of the level τ: the last piece (K,) that has begun, ``start − 1`` if none."""
        begins_at = np.where(self.log_value == np.inf, np.inf, self.level)
        begins_at[self.start[1:] - 1] = np.inf
        first = self.start[:-1]
        return lambda tau: np.add.reduceat(begins_at <= tau, first, dtype=np.intp) + first - 1

    @property
    def useful(self) -> Floats:
        """(K,) at ε = ∞, the money with which the first member cannot rise any more."""
        first = self.start[:-1]
        top = np.repeat(self.log_top, np.diff(self.start))
        begun = np.add.reduceat(self.level <= top, first, dtype=np.intp)
        place = first + np.maximum(begun, 1) - 1
        return self._spent(place, np.maximum(self.log_top, self.level[place]))

    def money_at_level(self, level: float, piece: Integers) -> tuple[Floats, Floats]:
        """(K,) what the groups, which stand on these pieces, spend at τ = level, and dx/dτ."""
        first = self.start[:-1]
        place = np.maximum(piece, first)
        tau = np.minimum(np.maximum(level, self.level[place]), self.level[self._next(place)])
        stretch = np.where(
            (piece < first) | (tau != level), 0.0, np.exp(self.log_rate[place] + tau)
        )
        money = np.where(piece < first, self.money[first], self._spent(place, tau))
        return money, stretch

    def _reach(self, point: Point) -> Floats:
        """(M,) θ r^{1/ε}: the utility to which the level of the group brings whoever moves."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.exp(point.level[self.chains.code] + self.pull)

    def moving(self, point: Point) -> tuple[Integers, Floats]:
        """The items that move at this point, or would with one more unit, and their utility u."""
        reach = self._reach(point)
        begun = (reach >= self.lower * (1 - ROUNDING)) & (reach < self.upper * (1 - ROUNDING))
        items = np.flatnonzero(begun)
        if items.size > 1:  # of two that meet at a breakpoint, the later one goes on
            again = self.chains.person[items[1:]] == self.chains.person[items[:-1]]
            items = items[~np.append(again, False)]
        return items, reach[items]

    def is_flat(self, piece: Integers) -> NDArray[np.bool_]:
        """Whether V is linear on these pieces: nobody rests, or only the level counts (ε = ∞)."""
        return np.asarray((self.log_rest[piece] == -np.inf) | (self.within == np.inf))

    def slope_where(self, piece: Integers) -> Floats:
        """The logarithm of V' where these pieces begin."""
        return self.log_slope[piece]

    def spending(self, point: Point, money: Floats) -> Spending:
        """Everybody is brought to the level of her group, as far as her items go."""
        code, ratio, reach = self.chains.code, self.chains.ratio, self._reach(point)
        full = reach >= self.upper * (1 - ROUNDING)
        # Of an item that adds next to nothing the utility does not tell, but the piece does.
        slight = self.upper - self.lower < SLIGHT * self.upper
        full &= ~slight | (self.ends <= point.piece[code])
        begun = np.flatnonzero((reach > self.lower) & ~full)
        paid = np.where(full, self.chains.length, 0.0)
        paid[begun] = (reach[begun] - self.lower[begun]) / ratio[begun]
        # Somebody who stands where her item begins has not begun it by what rounds up.
        moves = ~full & (paid > ROUNDING * (money - self.least)[code])
        paid[~(moves | full)] = 0.0
        # What the differences round off goes to those who move, in proportion to their rates.
        groups = money.size
        rate = np.where(moves, reach / ratio, 0.0)
        weight, spent = group_sum(rate, code, groups), group_sum(paid, code, groups)
        with np.errstate(divide="ignore", invalid="ignore"):
            missing = np.where(weight > 0, (money - self.least - spent) / weight, 0.0)
        paid[moves] += (missing[code] * rate)[moves]
        paid = np.clip(paid, 0.0, self.chains.length)
        item, some = self.chains.item, np.flatnonzero((paid > 0) & ~full)
        return Spending(item[full], item[some], paid[some], code[some])


MOST_STEPS = 200  # Newton needs a handful; bisection, where it is not safe, some sixty


def _box_cox(log_u: Floats, s: float) -> Floats:
    """(u^s − 1)/s from log u; log u itself at s = 0."""
    with np.errstate(over="ignore", divide="ignore"):
        return log_u if s == 0 else np.expm1(s * log_u) / s


def levels(chains: Chains, groups: Groups, within: float) -> Levels:
    """`Levels` from chains that are sorted by person and falling ratio."""
    size, count = groups.size, groups.size.size
    lower, upper = _ladder(chains)
    # Nobody gets past an item without a cap, nor anything from one that is lost in what she has.
    kept = np.flatnonzero((lower < np.inf) & (upper > lower * (1 + 2 * ROUNDING)))
    chains = chains._replace(
        **{
            name: getattr(chains, name)[kept]
            for name in ("item", "person", "code", "ratio", "length")
        }
    )
    lower, upper, code = lower[kept], upper[kept], chains.code
    best = np.full(count, 0.0)
    np.maximum.at(best, code, chains.ratio)
    log_ahead = log_quotient(chains.ratio, best[code])  # log(r/R) ≤ 0
    with np.errstate(divide="ignore", under="ignore"):
        pull = log_ahead / within if within < np.inf else np.zeros(log_ahead.size)
        log_best, log_ratio = np.log(best), np.log(chains.ratio)
        log_lower, log_upper = np.log(lower), np.log(upper)
    # Every item begins and ends; the pieces lie between, and each group's last one is its end.
    moment = np.concatenate([log_lower - pull, log_upper - pull, np.full(count, np.inf)])
    owner = np.concatenate([code, code, np.arange(count)])
    order = np.lexsort((moment, owner))
    rank = np.empty(order.size, np.intp)
    rank[order] = np.arange(order.size)
    begin, end = rank[: code.size], rank[code.size : 2 * code.size]
    start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))])
    tau = moment[order]
    last = last_of_ties(tau, start)
    log_rate = interval_log_sums(pull - log_ratio, begin, end, tau.size)[last]
    # Money: what those who move spend from one breakpoint to the next.
    with np.errstate(over="ignore", invalid="ignore"):
        step = -np.exp(log_rate[:-1] + tau[1:]) * np.expm1(-np.diff(tau))
    step = np.where((tau[1:] == tau[:-1]) | (log_rate[:-1] == -np.inf), 0.0, step)
    money = money_of_steps(step, chains.spent, start)
    money = _anchored(money, chains, end, start, log_rate, last)
    resting = _Resting(chains, begin, end, start, lower, upper, groups)
    s = 1 - within
    log_rest, three = np.full(tau.size, -np.inf), np.zeros((3, tau.size))
    log_top = np.full(count, np.inf)
    if within == np.inf:
        np.minimum.at(log_top, groups.code, resting.final)
    else:
        log_rest = resting.log_sums(s)[last]
    if abs(s) < NEAR_LOG:
        three = resting.means(s, pull, size)[:, last]
    return with_values(
        Levels(
            start=start,
            money=money,
            within=within,
            chains=chains,
            pull=pull,
            lower=lower,
            upper=upper,
            ends=end,
            size=size,
            log_best=log_best,
            level=tau,
            log_rate=log_rate,
            log_rest=log_rest,
            mean_rest=three[0],
            mean_move=three[1],
            part=three[2],
            log_top=log_top,
            log_value=tau,
            log_slope=tau,
        )
    )


def money_of_steps(step: Floats, first: Floats, start: Integers) -> Floats:
    """(P,) money where pieces begin: (K,) the first, and (P − 1,) what each piece adds.

    Pieces on which nobody moves end where they begin, which the sums only know up to a rounding.
    """
    money = np.append(0.0, step)
    money[start[:-1]] = first
    money = prefix_sums(money, start)
    grows = np.append(True, step > 0)
    grows[start[:-1]] = True
    return money[np.maximum.accumulate(np.where(grows, np.arange(money.size), 0))]


def _anchored(
    money: Floats,
    chains: Chains,
    end: Integers,
    start: Integers,
    log_rate: Floats,
    last: Integers,
) -> Floats:
    """Money where pieces begin, made exact where nobody moves: whole items have been paid there.

    Levels that lie close together tell the money of an item only up to their rounding.
    """
    paid = prefix_sums(np.bincount(end, chains.length, money.size).astype(float), start)[last]
    exact = np.repeat(chains.spent, np.diff(start)) + paid
    place = np.arange(money.size)
    fixed = (log_rate == -np.inf) & np.isfinite(money) & np.isfinite(exact)
    first = np.zeros(money.size, bool)
    first[start[:-1]] = True
    exact[first & ~fixed] = money[first & ~fixed]
    before = np.maximum.accumulate(np.where(fixed | first, place, 0))
    after = np.minimum.accumulate(np.where(fixed, place, money.size)[::-1])[::-1]
    ends = np.repeat(start[1:], np.diff(start))
    known = after < ends
    after = np.where(known, after, before)
    span = money[after] - money[before]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        stretch = np.where(span > 0, (exact[after] - exact[before]) / span, 1.0)
        return np.where(money == np.inf, np.inf, exact[before] + (money - money[before]) * stretch)


def last_of_ties(level: Floats, start: Integers) -> Integers:
    """(P,) of the pieces of a group that begin at one level the last, the only one with a length.

    The others lie between events of one moment, which come in any order.
    """
    place = np.arange(level.size)
    tied = np.append(level[1:] == level[:-1], False)
    tied[start[1:] - 1] = False
    ends = np.where(tied, level.size, place)
    return np.minimum.accumulate(ends[::-1])[::-1]


def with_values(pieces: Levels) -> Levels:
    """The same with log V and log V' where each piece begins."""
    piece, ends = np.arange(pieces.money.size), pieces.start[1:] - 1
    log_value = pieces._log_value(piece, pieces.level)
    log_slope = pieces._log_slope(piece, pieces.level, log_value)
    # At the end nobody moves: V is a mean of what everybody has.
    log_value[ends] = np.where(
        pieces.money[ends] == np.inf, np.inf, pieces._log_value(ends, np.zeros(ends.size))
    )
    if pieces.within == np.inf:
        log_value[ends] = pieces.log_top
    log_slope[ends] = -np.inf
    log_slope[pieces.level == np.inf] = -np.inf
    return replace(pieces, log_value=log_value, log_slope=log_slope)


def _ladder(chains: Chains) -> tuple[Floats, Floats]:
    """(M,) utility of the person before and after each of her items."""
    gain = chains.ratio * chains.length
    first = np.flatnonzero(np.diff(chains.person, prepend=-1))
    start = np.append(first, chains.person.size)
    rise = prefix_sums(gain, start)
    before = np.concatenate([[0.0], rise[:-1]])
    before[first] = 0.0
    base = chains.base[chains.person]
    return base + before, base + rise


class _Resting:
    """Who does not move, when: before the first item, between two, after the last, or always."""

    def __init__(
        self,
        chains: Chains,
        begin: Integers,
        end: Integers,
        start: Integers,
        lower: Floats,
        upper: Floats,
        groups: Groups,
    ) -> None:
        person, code = chains.person, groups.code
        first = np.flatnonzero(np.diff(person, prepend=-1))
        last = np.append(first[1:], person.size)[: first.size] - 1
        idle = np.ones(code.size, bool)
        idle[person] = False
        alone = np.flatnonzero(idle)
        between = np.setdiff1d(np.arange(person.size), last, assume_unique=True)
        with np.errstate(divide="ignore"):
            log_base = np.log(chains.base)
            log_lower, log_upper = np.log(lower), np.log(upper)
        self.final = log_base.copy()
        self.final[person[last]] = log_upper[last]
        stop = start[1:]
        self.log_u = np.concatenate(
            [log_lower[first], log_upper[between], log_upper[last], log_base[alone]]
        )
        self.begin = np.concatenate(
            [start[code[person[first]]], end[between], end[last], start[code[alone]]]
        )
        self.end = np.concatenate(
            [
                begin[first],
                begin[between + 1],
                stop[code[person[last]]],
                stop[code[alone]],
            ]
        )
        self.move = (begin, end, chains.code)
        self.start, self.code = start, groups.code

    def log_sums(self, s: float) -> Floats:
        """(P,) log Σ u^s over those at rest."""
        rests = (self.end > self.begin) & np.isfinite(self.log_u)
        if s > 0:  # nothing adds nothing
            rests &= self.log_u > -np.inf
        return interval_log_sums(
            s * self.log_u[rests], self.begin[rests], self.end[rests], int(self.start[-1])
        )

    def means(self, s: float, pull: Floats, size: Integers) -> Floats:
        """(3, P) for s near 0: means over the members of h(log u) at rest, of h(pull), and of 1."""
        total = int(self.start[-1])
        begin, end, code = self.move
        with np.errstate(invalid="ignore"):
            rest = _box_cox(self.log_u, s)
        rests = (self.end > self.begin) & np.isfinite(rest)
        means = []
        for value, first, stop in (
            (rest[rests], self.begin[rests], self.end[rests]),
            (_box_cox(pull, s), begin, end),
            (np.ones(code.size), begin, end),
        ):
            ends = np.flatnonzero(~np.isin(stop, self.start))  # the others last to the group's end
            change = np.bincount(first, value, total).astype(float, copy=False)
            change -= np.bincount(stop[ends], value[ends], total)
            means.append(prefix_sums(change, self.start))
        return np.asarray(means) / np.repeat(size, np.diff(self.start))


Value = Linear | Knapsack | Levels
