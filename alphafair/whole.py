"""Whole doses from fractional ones: a plan with a proven gap, or a fair lottery.

An optimum is fractional.  That is harmless for money and grams, and of no use for seats, vouchers
and operations.  Let ``unit`` be a whole dose (the cap, unless said otherwise): what is left of an
optimal dose above a multiple of it is the part ``f`` of a whole dose, which costs ``h = c · unit``.

**A lottery** gives each part with probability f, so that its mean is the optimum.  All parts stand
in a row, group after group, and inside a group by what they cost.  One number u between 0 and 1 is
drawn; with F_j = f_1 + … + f_j, part j is given if a whole number lies in (F_{j−1} + u, F_j + u]:
*systematic sampling*.

*Proof that each group's money is kept within one item.*  Of the first j parts floor(F_j + u) are
given, which is F_j + D_j with D_j in (u − 1, u].  Let a group begin after part a: E_j = D_j − D_a
lies, with E_a = 0, in an interval [l, l + 1) for some −1 < l ≤ 0.  What the group is given more
than its share, Σ_j h_j (E_j − E_{j−1}), is Σ_j E_j (h_j − h_{j+1}) by parts, with h = 0 after its
last part.  If h falls, the brackets are ≥ 0 and add up to the dearest, h_1, so the sum is in
[l h_1, (l + 1) h_1), of size < h_1.  A row that rises is one that falls, read from its end.  ∎

The groups stand by their dearest part, and rise and fall in turn.  So the row has few steps down,
and what is spent in all is near the budget, too: within one item where no group has two parts.

**A plan.**  With u = 0 in each group and h falling no E_j is positive: the draw costs no more than
the optimum.  From there, and from the doses rounded down, the money that is left goes to the units
that add most welfare for it; in small problems single units then change hands as long as that
helps.  How far the better one of the two can be from the best whole plan is proven, not guessed:
the best whole plan cannot beat the fractional optimum, and how far a plan is from that is what
`alphafair.optimality_gap` bounds.

References:
    Madow and Madow, "On the theory of systematic sampling", Annals of Mathematical Statistics 15,
    1944; Madow, the same, II, 20, 1949 (unequal chances).
    Gandhi, Khuller, Parthasarathy and Srinivasan, "Dependent rounding and its applications to
    approximation algorithms", Journal of the ACM 53, 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .certificate import OptimalityGap, group_utility, optimality_gap
from .checks import Floats, Integers, broadcast_table, refuse_first
from .kernels import group_sum
from .utility import welfare

if TYPE_CHECKING:
    from .allocation import Allocation
    from .problem import Problem

ROUNDING = 1e-15  # of a quotient: a bound this near to a multiple of the unit is one
WHOLE = 1e-9  # a dose this near to a multiple of its unit, in units, is whole
SLACK = 1e-12  # a sum of costs may pass the budget by its rounding
STEEPEST = 200.0  # an aversion of ∞, where gains are compared
MOST_SWAPS = 300  # items; up to here single units are exchanged
MOST_UNITS = 2.0**50  # a dose of so many; of more, one unit is less than its rounding
MANY = 10_000  # people; of more only the best are looked at again

Rows = Any  # people: their positions, or a slice


@dataclass(frozen=True, eq=False)
class WholePlan:
    """Whole doses, and what is known of them.

    Attributes:
        dose: (N, T) multiples of the unit; with a floor in between, the floor itself.
        allocation: the fractional optimum that they come from.
    """

    dose: Floats
    allocation: Allocation

    @cached_property
    def money_left(self) -> float:
        """Q − Σ c d; negative where a lottery costs more than its mean."""
        problem = self.allocation.problem
        return float(problem.budget - (problem.cost * self.dose).sum())

    @cached_property
    def group_budget(self) -> Floats:
        """(K,) the money of each group."""
        groups = self.allocation.problem.groups
        money = (self.allocation.problem.cost * self.dose).sum(axis=1)
        return group_sum(money, groups.code, groups.size.size)

    @cached_property
    def group_utility(self) -> Floats:
        """(K,) U."""
        return _group_utility(self.dose, self.allocation.problem)

    @cached_property
    def welfare(self) -> float:
        """W = Σ w φ_α(U); −∞ where α ≥ 1 and a group has nothing."""
        return welfare(self.group_utility, self.allocation.alpha, self.allocation.problem.weight)

    @property
    def gap(self) -> float:
        """Upper bound on W − W(d) for the W of any plan, whole or not; ∞ if W(d) = −∞."""
        return float(self._bound.gap)

    @property
    def relative_gap(self) -> float:
        """Upper bound on the part of the budget that is wasted, in [0, 1]."""
        return float(self._bound.relative_gap)

    @cached_property
    def _bound(self) -> OptimalityGap:
        return optimality_gap(self.dose, self.allocation.problem, self.allocation.alpha)

    def __repr__(self) -> str:
        return f"WholePlan(money_left={self.money_left:.6g}, gap={self.gap:.3g})"


def _group_utility(dose: Floats, problem: Problem) -> Floats:
    """(K,) U of doses (N, T), in true units."""
    return np.asarray(np.ldexp(group_utility(dose, problem), problem.unit))


# --- parts of whole doses ---------------------------------------------------------------------
class Parts:
    """The doses of an optimum as whole ones and parts of whole ones.

    Attributes:
        low: (N, T) doses without the parts.
        group: (M,) the group of each part, ascending; inside a group the dearest part first.
        part: (M,) f, between 0 and 1.
        cost: (M,) h, the money that the part takes if it is given.
        person: (M,) i.
        changes: pairs (M,), (M,) of t and of what is added to d_it if the part is given.
    """

    def __init__(self, allocation: Allocation, unit: Floats) -> None:
        self.problem = problem = allocation.problem
        if problem.ladder is None:
            low, person, part, changes = _parts_of_items(allocation, unit)
        else:
            low, person, part, changes = _parts_of_steps(allocation)
        cost = sum(amount * problem.cost[person, t] for t, amount in changes)
        group = problem.groups.code[person]
        order = np.lexsort((-cost, group))
        self.low, self.person, self.part = low, person[order], part[order]
        self.changes = [(t[order], amount[order]) for t, amount in changes]
        self.group, self.cost = group[order], cost[order]

    def drawn(self, u: float) -> Floats:
        """(N, T) doses with the parts that are given by one u for all, the groups in a row."""
        first = np.flatnonzero(np.diff(self.group, prepend=-1))
        size = np.diff(first, append=self.group.size)
        dearest = np.argsort(-self.cost[first], kind="stable")
        rank = np.empty(first.size, np.intp)
        rank[dearest] = np.arange(first.size)
        of_group = np.repeat(rank, size)
        turn = np.where(of_group % 2 == 0, -self.cost, self.cost)  # falling and rising in turn
        row = np.lexsort((turn, of_group))
        total = np.concatenate([[0.0], np.cumsum(self.part[row])])
        return self._with(row[np.floor(total[1:] + u) > np.floor(total[:-1] + u)])

    def rounded(self) -> Floats:
        """(N, T) doses with the parts that u = 0 gives in each group: no group spends more."""
        total = np.concatenate([[0.0], np.cumsum(self.part)])
        first = np.flatnonzero(np.diff(self.group, prepend=-1))
        begins = np.repeat(total[first], np.diff(first, append=self.group.size))
        given = np.floor(total[1:] - begins) > np.floor(total[:-1] - begins)
        return self._with(np.flatnonzero(given))

    def _with(self, given: Integers) -> Floats:
        dose = self.low.copy()
        person = self.person[given]
        for treatment, amount in self.changes:
            np.add.at(dose, (person, treatment[given]), amount[given])
        return np.asarray(dose if self.problem.cap is None else np.minimum(dose, self.problem.cap))


def _parts_of_items(allocation: Allocation, unit: Floats) -> Any:
    """Each item on its own: multiples of the unit, within floor and cap."""
    problem, dose = allocation.problem, allocation.dose
    count = np.floor(dose / unit + WHOLE)
    low, high = unit * count, unit * (count + 1)
    if problem.floor is not None:
        low = np.maximum(low, problem.floor)
    if problem.cap is not None:
        low, high = np.minimum(low, problem.cap), np.minimum(high, problem.cap)
    room = high - low
    part = np.divide(dose - low, room, out=np.zeros(dose.shape), where=room > 0)
    person, treatment = np.nonzero(part > WHOLE)
    amount = room[person, treatment]
    return low, person, part[person, treatment], [(treatment, amount)]


def _parts_of_steps(allocation: Allocation) -> Any:
    """Exclusive offers: the next treatment instead of the present one."""
    steps = allocation.problem.ladder
    assert steps is not None
    reached = steps.reached(allocation.in_steps.dose)
    whole = (reached >= 1 - WHOLE).astype(float)
    span = steps.span
    low = span * steps.parts(whole)
    low = low if steps.floor is None else low + steps.floor
    person, place = np.nonzero((reached > WHOLE) & (whole == 0))
    to, before = steps.level[person, place], steps.level[person, place - 1]
    gone = np.where(place > 0, -span[person, before], 0.0)
    changes = [(to, span[person, to]), (np.maximum(before, 0), gone)]
    return low, person, reached[person, place], changes


def units(problem: Problem, unit: ArrayLike | None) -> Floats:
    """(N, T) whole doses.

    Raises:
        ValueError: no unit and no caps, a unit ≤ 0, or a unit with exclusive offers.
    """
    if unit is None:
        cap = problem.cap
        if cap is None or cap.max() == np.inf:
            where = "not given" if cap is None else "infinite for some items"
            raise ValueError(
                f"unit is not given, and cap is {where}: say how large a whole dose is, by unit "
                f"or by finite caps"
            )
        return np.where(cap > 0, cap, 1.0)
    if problem.exclusive:
        raise ValueError(
            "unit is given, and offers are exclusive: a whole offer is the cap, leave unit out"
        )
    table = broadcast_table("unit", unit, problem.shape)
    given = np.asarray(unit, float)
    refuse_first("unit", given, np.isfinite(given) & (given > 0), "finite and > 0")
    with np.errstate(over="ignore"):
        number = problem.budget / problem.cost.min() / table.min()
    if not number < MOST_UNITS:
        raise ValueError(
            f"unit is {table.min():g}: the budget pays for {number:g} of them, and beyond "
            f"{MOST_UNITS:g} one more is lost in the rounding of a dose; give a larger unit"
        )
    return table


def lottery(
    allocation: Allocation, seed: int | np.random.Generator | None, unit: ArrayLike | None
) -> WholePlan:
    """`Allocation.lottery`."""
    try:
        rng = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"seed is {seed!r}: must be a whole number ≥ 0, a numpy generator, or None"
        ) from error
    parts = Parts(allocation, units(allocation.problem, unit))
    return WholePlan(parts.drawn(rng.random()), allocation)


# --- a plan -----------------------------------------------------------------------------------
def whole(allocation: Allocation, unit: ArrayLike | None) -> WholePlan:
    """`Allocation.whole`."""
    table = units(allocation.problem, unit)
    parts = Parts(allocation, table)
    search = _Search(allocation, table)
    starts = (parts.low, parts.rounded())
    plan = max((WholePlan(search.better(s), allocation) for s in starts), key=search.worth)
    search.refuse_short_groups(plan.dose)
    return plan


class _Search:
    """From doses within the budget to better ones, a unit at a time."""

    def __init__(self, allocation: Allocation, unit: Floats) -> None:
        self.allocation, self.problem, self.unit = allocation, allocation.problem, unit
        problem = self.problem
        self.code, self.size = problem.groups.code, problem.groups.size
        floor = np.zeros(problem.shape) if problem.floor is None else problem.floor
        most = np.full(problem.shape, np.inf) if problem.cap is None else problem.cap
        self.least = unit * np.ceil(floor / unit * (1 - ROUNDING))
        self.most = np.minimum(unit * np.floor(most / unit * (1 + ROUNDING)), most)
        self.have = np.zeros(problem.shape[0]) if problem.baseline is None else problem.baseline
        self._refuse()

    def _refuse(self) -> None:
        problem = self.problem
        over = self.least > self.most
        if problem.exclusive:
            over = over | ((self.least > 0).sum(axis=1, keepdims=True) > 1) & (self.least > 0)
        if over.any():
            i, t = np.unravel_index(int(np.argmax(over)), over.shape)
            raise ValueError(
                f"floor[{i}, {t}] leaves no whole dose: there is no multiple of "
                f"{self.unit[i, t]:g} between it and what the person can have; lower the floor"
            )
        needed = float((problem.cost * self.least).sum())
        if needed > problem.budget * (1 + SLACK):
            raise ValueError(
                f"floor costs {needed:g} in whole doses, more than the budget of "
                f"{problem.budget:g}: raise the budget or lower the floors"
            )

        cap = problem.group_cap
        if cap is not None and (over_cap := self._money(self.least) > cap * (1 + SLACK)).any():
            k = int(np.argmax(over_cap))
            raise ValueError(
                f"floor costs {self._money(self.least)[k]:g} in whole doses in group "
                f"{problem.groups.label[k]!s}, more than its group_cap of {cap[k]:g}: raise it or "
                f"lower the floors"
            )

    def better(self, start: Floats) -> Floats:
        """Doses that keep all bounds, from these."""
        dose = np.clip(self.unit * np.floor(start / self.unit + WHOLE), self.least, self.most)
        if self._spends_too_much(dose):
            dose = self.least.copy()
        dose = self._filled(dose)
        if dose.size <= MOST_SWAPS:
            dose = self._exchanged(dose)
        return dose + 0.0  # no −0

    def worth(self, plan: WholePlan) -> tuple[float, ...]:
        """What is compared: what groups lack of their floors, the welfare, what the others have."""
        alpha, utility = self.allocation.alpha, np.sort(plan.group_utility)
        floor, missing = self.problem.group_floor, 0.0
        if floor is not None:
            lacking = np.where(self._short(plan.dose), floor - plan.group_budget, 0.0)
            missing = float(lacking.sum())
        return (-missing, plan.welfare, *(utility if alpha >= 1 else ()), plan.money_left)

    # --- money ---
    def _money(self, dose: Floats) -> Floats:
        """(K,) what the groups spend."""
        money = (self.problem.cost * dose).sum(axis=1)
        return np.asarray(group_sum(money, self.code, self.size.size))

    def _room(self, dose: Floats) -> tuple[float, Floats]:
        """Money left, in all and for each group (K,) below its group_cap."""
        money, cap = self._money(dose), self.problem.group_cap
        left = self.problem.budget * (1 + SLACK) - float(money.sum())
        return left, np.full(money.size, np.inf) if cap is None else cap * (1 + SLACK) - money

    def _spends_too_much(self, dose: Floats) -> bool:
        left, of_group = self._room(dose)
        return left < 0 or bool((of_group < 0).any())

    def _short(self, dose: Floats) -> NDArray[np.bool_]:
        """(K,) groups that have less than their group_floor."""
        floor = self.problem.group_floor
        none = np.zeros(self.size.size, bool)
        return none if floor is None else self._money(dose) < floor * (1 - SLACK)

    def refuse_short_groups(self, dose: Floats) -> None:
        short = self._short(dose)
        if short.any():
            k = int(np.argmax(short))
            assert self.problem.group_floor is not None
            raise ValueError(
                f"group_floor[{k}] (group {self.problem.groups.label[k]!s}) is "
                f"{self.problem.group_floor[k]:g}, and the whole plan found spends "
                f"{self._money(dose)[k]:g} there: lower the floor or take a smaller unit"
            )

    # --- one more unit --------------------------------------------------------------------------
    def _moves(self, dose: Floats, rows: Rows) -> tuple[Floats, Floats]:
        """(n, T) utility and cost of one more unit, or of another offer; −∞ where impossible."""
        benefit, cost = self.problem.benefit[rows], self.problem.cost[rows]
        dose, most, least = dose[rows], self.most[rows], self.least[rows]
        if self.problem.exclusive:
            gain = benefit * most - (benefit * dose).sum(axis=1, keepdims=True)
            price = cost * most - (cost * dose).sum(axis=1, keepdims=True)
            fixed = (least > 0).any(axis=1, keepdims=True) | (most == 0)
            return np.where(fixed, -np.inf, gain), price
        unit = self.unit[rows]
        possible = dose + unit <= most * (1 + SLACK)
        return np.where(possible, benefit * unit, -np.inf), cost * unit

    def _density(
        self, dose: Floats, rows: Rows, gain: Floats, cost: Floats
    ) -> tuple[Floats, Floats]:
        """(n, T) who comes first, and the logarithm of the welfare for money of a move.

        Groups below their floors come first, then whoever keeps W at −∞.
        """
        problem, code = self.problem, self.code[rows]
        alpha, within = (min(a, STEEPEST) for a in (self.allocation.alpha, problem.within))
        person = (problem.benefit * dose).sum(axis=1) + self.have
        group = _group_utility(dose, problem)
        person = person[rows]
        useful = gain > 0
        half = np.where(useful, gain, 1.0) / 2
        size = self.size[code][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            of_group = np.log(np.maximum(group[code][:, None], 0.0) + half / size)
            of_person = np.log(np.maximum(person[:, None], 0.0) + half)
            log_price = np.log(np.maximum(cost, 1e-300))
        worth = np.log(problem.weight / self.size)[code][:, None] - alpha * of_group
        if within > 0:
            worth = worth + within * (of_group - of_person)
        density = worth + np.log(2 * half) - log_price
        first = 2.0 * self._short(dose)[code][:, None] + np.zeros(gain.shape)
        if alpha >= 1 or within >= 1:
            nothing = (group <= 0)[code] if within < 1 else person <= 0
            first = first + nothing[:, None]
        return np.where(useful, first, -np.inf), density

    def _filled(self, dose: Floats) -> Floats:
        """Units are bought while money is left.

        Of many people only the best are looked at again and again, until they need no more.
        """
        dose = dose.copy()
        everybody = slice(None)
        while (people := self._buyers(dose, everybody)[0]).size:
            few = everybody if dose.shape[0] <= MANY else people[:MANY]
            while self._buy_some(dose, few):
                pass
        return dose

    def _buyers(self, dose: Floats, rows: Rows) -> tuple[Integers, Integers, Floats]:
        """Who could buy, the best first, of these rows; the treatment, and what it costs."""
        left, of_group = self._room(dose)
        gain, cost = self._moves(dose, rows)
        fits = (gain > 0) & (cost <= np.minimum(left, of_group[self.code[rows]])[:, None])
        some = np.flatnonzero(fits.any(axis=1))
        if some.size == 0:
            return some, some, np.zeros(0)
        rows = np.arange(dose.shape[0])[rows][some]
        gain, cost = np.where(fits, gain, -np.inf)[some], cost[some]
        first, density = self._density(dose, rows, gain, cost)
        best = np.lexsort((density, first), axis=1)[:, -1]
        at = np.arange(some.size), best
        order = np.lexsort((-density[at], -first[at]))
        return rows[order], best[order], np.maximum(cost[at][order], 0.0)

    def _buy_some(self, dose: Floats, rows: Rows) -> bool:
        """Spend half of the money that is left, or buy one unit; False if nobody can buy."""
        people, best, price = self._buyers(dose, rows)
        if people.size == 0:
            return False
        left, of_group = self._room(dose)
        take = np.cumsum(price) <= left / 2
        take &= self._sums_by_group(price, people) <= of_group[self.code[people]] / 2
        take[0] = True
        several = 1.0
        if take.all():  # all of them, and more than once as long as half of the money lasts
            several = float(left / 2 / max(price.sum(), 1e-300))
            if self.problem.group_cap is not None:
                total = group_sum(price, self.code[people], of_group.size)
                some = total > 0
                room = of_group[some] / 2 / total[some]
                several = min(several, float(room.min(initial=np.inf)))
        self._buy(dose, people[take], best[take], max(1.0, np.floor(several)))
        return True

    def _sums_by_group(self, price: Floats, people: Integers) -> Floats:
        """Running sums of prices inside each group, in this order."""
        if self.problem.group_cap is None:
            return np.zeros(price.size)
        order = np.argsort(self.code[people], kind="stable")
        total = np.cumsum(price[order])
        code = self.code[people][order]
        first = np.searchsorted(code, np.arange(self.size.size))
        before = np.append(0.0, total)[first]
        sums = np.empty(price.size)
        sums[order] = total - before[code]
        return sums

    def _buy(self, dose: Floats, people: Integers, treatment: Integers, several: float) -> None:
        if self.problem.exclusive:
            dose[people] = 0.0
            dose[people, treatment] = self.most[people, treatment]
        else:
            at = people, treatment
            room = np.floor((self.most[at] - dose[at]) / self.unit[at] * (1 + ROUNDING))
            dose[at] += self.unit[at] * np.clip(several, 1.0, np.maximum(room, 1.0))

    # --- exchanges ------------------------------------------------------------------------------
    def _exchanged(self, dose: Floats) -> Floats:
        """Give up one unit, and buy others for its money, as long as that is better."""
        best, worth = dose, self.worth(WholePlan(dose, self.allocation))
        improves = True
        while improves:
            improves = False
            for i, t in np.argwhere(best > self.least):
                trial = best.copy()
                step = trial[i, t] if self.problem.exclusive else self.unit[i, t]
                trial[i, t] = max(trial[i, t] - step, self.least[i, t])
                trial = self._filled_without(trial, i, t)
                found = self.worth(WholePlan(trial, self.allocation))
                if found > worth:
                    best, worth, improves = trial, found, True
        return best

    def _filled_without(self, dose: Floats, i: int, t: int) -> Floats:
        """`_filled`, where this item has no more than it has now."""
        most = self.most[i, t]
        self.most[i, t] = dose[i, t]
        filled = self._filled(dose)
        self.most[i, t] = most
        return self._filled(filled)
