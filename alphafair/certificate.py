"""How far from optimal is an allocation?  A bound that needs no solver and trusts no formula.

Weak duality.  Let λ > 0 be a price of money, λ_k one for each group (λ, unless a bound of the
group's budget binds), and q_i ≥ 0 a price of each person's utility.  At any such prices ::

    W* ≤ λ Q + Σ_k max_U ( w_k φ_α(U) − P_k U ) + Σ_i q_i a_i'
         + Σ_it (q_i b_it − λ_k c_it)₊ (cap − floor)_it
         + Σ_k (λ_k − λ)₊ (group_cap_k − s_k) − Σ_k (λ − λ_k)₊ (group_floor_k − s_k) − λ Σ_k s_k,

where a_i' is what person i has at the floors of her doses, s_k the money that the floors take, and
P_k is the least cost of one unit of U_k when utilities cost q: U_k is concave and homogeneous in
the members' utilities, so that P_k U_k ≤ Σ_i q_i u_i, with

    P_k = G_k M_{1−1/ε}(q_i, i in k)

(G times the least q at ε = 0, G times the geometric mean at 1, Σ q_i at ∞).  The inner maximum
is reached at û_k = (w_k/P_k)^{1/α}.  So the welfare that doses d leave on the table is at most

    gap = Σ_k w_k ( φ_α(û_k) − φ_α(U_k(d)) ) − ( Σ_k P_k û_k − all other terms of the bound ):

what the groups would gain if they bought what they like, less the money that this takes beyond the
budget.  The prices are a free choice: bad ones make the bound loose, never wrong, so it is a proof
that does not trust the allocation.  They are found by clearing a market of our own, by bisection
and Newton's method: person i, offered a level θ of her group, takes her items in order of b/c up to
their caps, u_i(θ) = max(a_i', min(θ r^{1/ε}, ...)); the money of all is compared with the budget.
Then q_i = λ c/b for somebody who is buying, exactly, so that no rounding of θ reaches the bound,
and λ (θ/u_i)^ε, between the prices of her last item and her next one, for somebody who is not.  As
the bound is convex in the prices, what they are off counts squared.

Where nobody has anything yet and nothing is bounded, U_k costs 1/p_k of money with p_k = M(r)/G_k,
and the price alone is left to choose.  Four are tried: the largest marginal value of the doses, for
which the bound is at most the Frank–Wolfe gap Q max (g/c) − g·d with g = ∂W/∂d; their mean marginal
value g·d/Q; that of an equal split; and that at which the groups spend the budget.

Exclusive offers change one term: what person i buys at these prices is the best of her offers, or
none, max_t (q_i b_it − λ_k c_it)₊ cap_it (1 − Σ floor/cap).  This is the largest value of a line on
the hull of her offers, so it is a sum over the segments of the hull: items like any other.

At α = ∞, in the same way, min_k U_k ≤ Σ P_k U_k / Σ P_k, which a budget bounds; and no group can
have more than its own caps allow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import Floats, Integers, reals
from .kernels import group_sum
from .problem import Problem
from .utility import check_alpha, log_power_mean

EPSILON = np.finfo(float).eps
ROUNDING = 16 * EPSILON  # two utilities this close are the same
ENDLESS = 2.0  # in budgets: nobody can spend more than one on an item
LARGEST_LOG = 700.0  # exp of more is not a double
FEW = 300  # groups: a loop over so many is faster than to double all their sums
MOST_PRICES = 20  # tried for the relative gap
SMALL_WASTE = 1e-6  # below, another price changes nothing that one sees
FARTHEST = 1e7  # in price levels
MOST_NEWTON = 6  # steps before both ends are known: where nobody moves they creep for ever
MOST_STEPS = 200  # Newton needs a handful, bisection at a jump some sixty

P = ParamSpec("P")
R = TypeVar("R")


class OptimalityGap(NamedTuple):
    """Bounds on what is wrong with a dose matrix.

    Attributes:
        gap: upper bound on the welfare lost, W* − W(d) ≤ gap, ≥ 0, in units of welfare;
            ∞ if W(d) = −∞.
        relative_gap: upper bound on the part of the budget that is wasted, between 0 and 1: the
            least gap / (λ Q) over the prices tried.  With Q' ≤ Q the least budget whose optimum is
            as good as d, 1 − Q'/Q ≤ relative_gap; Q counts what the floors take, and where money
            stops helping (all caps are reached) it is the money up to there.  What people have
            already is no part of the budget.  Free of units: it can be compared across α; 1 if
            W(d) = −∞.
        infeasibility: money spent beyond the budget, in doses below their floors (or negative),
            beyond their caps, and by groups below or beyond their bounds, as a fraction of the
            budget, ≥ 0.
    """

    gap: float
    relative_gap: float
    infeasibility: float


def problem_first(position: int, call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse calls without a `Problem` at this position, and say how they are written now."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given = args[position] if len(args) > position else kwargs.get("problem")
            if not isinstance(given, Problem):
                raise TypeError(
                    f"problem must be an alphafair.Problem, not {type(given).__name__}: write "
                    f"{call} with problem = alphafair.Problem(benefit, cost, group, budget, ...); "
                    f"0.1.0 took these arguments one by one"
                )
            return function(*args, **kwargs)

        return checked

    return decorate


@problem_first(1, "optimality_gap(dose, problem, alpha)")
def optimality_gap(dose: ArrayLike, problem: Problem, alpha: float) -> OptimalityGap:
    """Bound the welfare lost by any dose matrix, without solving anything.

    Args:
        dose: d, (N, T), or (N,) if T = 1; finite.  Doses below their floor (0 without one) count as
            infeasibility and as the floor.
        problem: the `Problem`, with all its bounds.
        alpha: α in [0, ∞].

    Returns:
        `OptimalityGap`.  An optimal d has ``gap`` ≈ 0 and ``infeasibility`` ≈ 0, up to rounding.

    Raises:
        ValueError: doses that are not finite or of another shape; α out of its range.
        TypeError: no `Problem`.

    Example:
        >>> problem = Problem([2.0, 1.0], 1.0, ["a", "b"], budget=2.0)
        >>> optimality_gap([1.0, 1.0], problem, 1).gap
        0.0
        >>> optimality_gap([1.5, 0.5], problem, 1).gap > 0.2
        True
    """
    alpha, d = check_alpha(alpha), _doses(dose, problem)
    raised = _at_least_floor(d, problem)
    infeasibility = _infeasibility(d, raised, problem)
    if problem.budget == 0:  # nothing can be bought, so nothing is lost
        return OptimalityGap(0.0, 0.0, infeasibility)
    with np.errstate(all="ignore"):  # what overflows becomes an infinite bound: true, if useless
        person = _person_utility(raised, problem)
        gap, relative = (_bounded_gap if _is_bounded(problem) else _free_gap)(
            person, problem, alpha
        )
    gap, relative = (bound if not np.isnan(bound) else np.inf for bound in (gap, relative))
    return OptimalityGap(max(float(gap), 0.0), min(max(float(relative), 0.0), 1.0), infeasibility)


def group_utility(dose: Floats, problem: Problem) -> Floats:
    """(K,) U_k of doses (N, T), in the problem's unit of utility (2**unit, 1 unless extreme)."""
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return _group_utility(_person_utility(dose, problem), problem)[0]


# --- what doses are worth, and what they cost ----------------------------------------------------
def _benefit(problem: Problem) -> Floats:
    return np.ldexp(problem.benefit, -problem.unit) if problem.unit else problem.benefit


def _at_least_floor(dose: Floats, problem: Problem) -> Floats:
    if problem.floor is None and dose.min() >= 0:
        return dose
    return np.maximum(dose, 0.0 if problem.floor is None else problem.floor)


def _is_bounded(problem: Problem) -> bool:
    """Whether anybody has anything yet, or anything is bounded."""
    given = (problem.baseline, problem.cap, problem.floor, problem.group_floor, problem.group_cap)
    return any(argument is not None for argument in given)


def _segments_of_offers(problem: Problem) -> tuple[Floats, Floats, Integers]:
    """Slope, length in money and person of the segments of the hull of each person's offers.

    An offer is a corner of the hull if every line from the left climbs to it more steeply than any
    line climbs on from it.
    """
    assert problem.cap is not None
    left = np.ones((1, 1))
    if problem.floor is not None:
        taken = _parts_of_offers(problem.floor, problem).sum(axis=1, keepdims=True)
        left = np.where(taken < 1 - 1e-12, 1 - taken, 0.0)
    span = left * problem.cap
    money, gain = problem.cost * span, _benefit(problem) * span
    climb = np.where(gain > 0, gain / money, -np.inf)
    onward = np.zeros(problem.shape)
    for other in range(problem.shape[1]):
        x, y = money[:, [other]], gain[:, [other]]
        rise, run = gain - y, money - x
        slope = rise / np.where(run == 0, 1.0, run)
        climb = np.where((run > 0) & (y > 0), np.minimum(climb, slope), climb)
        onward = np.where((run < 0) & (rise < 0), np.maximum(onward, slope), onward)
        twin = (run == 0) & ((rise < 0) | ((rise == 0) & (other < np.arange(problem.shape[1]))))
        onward[twin] = np.inf
    # From corner to corner, so that the segments add up to the offers, whatever was rounded.
    person, treatment = np.nonzero(climb > onward)
    order = np.lexsort((money[person, treatment], person))
    person, treatment = person[order], treatment[order]
    x, y = money[person, treatment], gain[person, treatment]
    again = np.append(False, person[1:] == person[:-1])[: person.size]
    length = np.where(again, np.diff(x, prepend=0.0), x)
    rise = np.where(again, np.diff(y, prepend=0.0), y)
    some = (length > 0) & (rise > 0)
    return rise[some] / length[some], length[some], person[some]


def _person_utility(dose: Floats, problem: Problem) -> Floats:
    """(N,) u, in the problem's unit of utility."""
    person: Floats = np.einsum("it,it->i", *np.broadcast_arrays(_benefit(problem), dose))
    if problem.baseline is not None:
        person = person + np.ldexp(problem.baseline, -problem.unit)
    return person


def _group_utility(person: Floats, problem: Problem) -> tuple[Floats, Floats]:
    """(K,) U and log U of the utilities of persons; harm counts as nothing at within > 0."""
    code, size = problem.groups.code, problem.groups.size
    if problem.within == 0:
        mean = group_sum(person, code, size.size) / size
        return mean, np.log(np.maximum(mean, 0))
    log_mean = _log_means(np.log(np.maximum(person, 0)), 1 - problem.within, code, size)
    return np.exp(log_mean), log_mean


def _log_means(log_value: Floats, exponent: float, code: Integers, size: Integers) -> Floats:
    """(K,) logarithms of the power means of each group, from logarithms, which may be ±∞."""
    count = size.size
    if np.isinf(exponent):
        extreme = np.full(count, -exponent)
        (np.maximum if exponent > 0 else np.minimum).at(extreme, code, log_value)
        return extreme
    if exponent == 0:
        return group_sum(log_value, code, count) / size
    scaled = exponent * log_value
    top = np.full(count, -np.inf)
    np.maximum.at(top, code, scaled)
    relative = scaled - np.where(np.isfinite(top), top, 0.0)[code]
    excess, power = (group_sum(f(relative), code, count) / size for f in (np.expm1, np.exp))
    mean = top / exponent + log_power_mean(exponent, 0.0, excess, power)
    return np.where(np.isfinite(top), mean, top / exponent)


def _infeasibility(d: Floats, raised: Floats, problem: Problem) -> float:
    """Money where it must not be, as a fraction of the budget, of doses raised to their floors."""
    owed = 0.0 if raised is d else float((problem.cost * (raised - d)).sum())
    spent = problem.cost * raised
    owed += max(float(spent.sum()) - problem.budget, 0.0)
    if problem.cap is not None:
        owed += float((problem.cost * np.maximum(d - problem.cap, 0)).sum())
    if problem.exclusive:
        owed += float((spent.sum(axis=1) * _beyond_one_offer(raised, problem)).sum())
    if problem.group_floor is not None or problem.group_cap is not None:
        money = group_sum(spent.sum(axis=1), problem.groups.code, problem.groups.size.size)
        if problem.group_floor is not None:
            owed += float(np.maximum(problem.group_floor - money, 0).sum())
        if problem.group_cap is not None:
            owed += float(np.maximum(money - problem.group_cap, 0).sum())
    if problem.budget == 0:
        return 0.0 if owed == 0 else np.inf
    part = owed / problem.budget
    return part if part >= np.finfo(float).eps * d.size else 0.0  # the rounding of the sum


def _beyond_one_offer(dose: Floats, problem: Problem) -> Floats:
    """(N,) the part of a person's doses that is more than one offer in all."""
    offers = _parts_of_offers(dose, problem).sum(axis=1)
    return np.where(offers > 1, (offers - 1) / np.maximum(offers, 1), 0.0)


def _parts_of_offers(dose: Floats, problem: Problem) -> Floats:
    """(N, T) dose/cap, 0 where the cap is 0."""
    assert problem.cap is not None
    return np.divide(dose, problem.cap, out=np.zeros(problem.shape), where=problem.cap > 0)


# --- the bound at given prices -------------------------------------------------------------------
class _Doses(NamedTuple):
    """What the doses that we judge are worth; in the unit of utility 2**power."""

    utility: Floats  # (K,)
    log_utility: Floats
    log_weight: Floats  # (K,) log w
    alpha: float
    power: int

    @property
    def scale(self) -> float:
        """The price level is ℓ = −log(λ)/scale, of one size for all α."""
        return max(self.alpha, 1.0)

    @property
    def hopeless(self) -> bool:
        """W(d) = −∞: as good as no budget at all."""
        least = self.utility.min()
        return bool((least < 0 < self.alpha) or (least == 0 and 1 <= self.alpha < np.inf))

    def in_welfare(self, lost: float, level: float) -> float:
        """A loss in units of money at the price level, as a loss of welfare, rounded up."""
        if lost <= 0:
            return 0.0
        log_price = -self.scale * level + (1 - self.alpha) * self.power * np.log(2.0)
        price = float(np.exp(log_price)) if log_price < LARGEST_LOG else np.inf
        return lost * price * (1 + ROUNDING)


def _lost(doses: _Doses, level: float, log_cost: Floats, other: Floats, settled: Any) -> Floats:
    """(K,) what each group adds to gap/λ, at the price level ℓ; ∞ beyond the doubles.

    ``log_cost`` is log(P/λ), what a unit of utility costs; ``other`` are the terms besides φ, and
    ``settled`` says which groups spend what they do at any price nearby: there these terms are the
    worth of what the members have, q·u/λ.  The sum with the money of all others is gap/λ.
    """
    alpha = doses.alpha
    log_worth = doses.log_weight + doses.scale * level  # of a first unit of utility, in money
    if alpha == 0:
        worth = np.exp(log_worth) * doses.utility
        return other - worth
    log_wanted = level * (doses.scale / alpha) + (doses.log_weight - log_cost) / alpha
    paid = np.exp(log_cost + log_wanted)  # P û/λ
    more = log_wanted - doses.log_utility
    # At large α the worst-off group's last digit outweighs all other groups: it is none of ours.
    more = np.where(np.abs(more) < ROUNDING, 0.0, more)
    bend = (alpha - 1) * more
    if alpha == 1:
        gain = paid * more
    else:  # w (φ(û) − φ(u))/λ = paid (1 − (u/û)^{1−α})/(1−α), exact where u is near û
        near = (np.abs(bend) < LARGEST_LOG / 2) & (paid > 0)
        value = np.exp(log_worth + (1 - alpha) * doses.log_utility)
        gain = np.where(near, paid * np.expm1(bend), value - paid) / (alpha - 1)
    gain = np.where(more == 0, 0.0, gain)
    lost = gain - paid + other
    # Where q·u is P û but for rounding, the digits of a large W are no loss either.
    rounding = ROUNDING * (2 + np.abs(log_cost) + np.abs(log_wanted)) * (paid + np.abs(other))
    even = settled & ~(np.abs(paid - other) > rounding)
    lost = np.where(even, np.where(np.abs(gain) > rounding, gain, 0.0), lost)
    return np.where(np.isfinite(lost), lost, np.inf)


# --- nobody has anything yet, nothing is bounded -------------------------------------------------
def _free_gap(person: Floats, problem: Problem, alpha: float) -> tuple[float, float]:
    """(gap, least gap/(λ Q)): money p_k x buys utility at the best ratios, without end."""
    groups, within = problem.groups, problem.within
    share, budget_power = np.frexp(problem.budget)
    columns = (_benefit(problem) / problem.cost).T
    ratio = functools.reduce(np.maximum, columns, np.zeros(problem.shape[0]))
    power = int(np.frexp(ratio.max())[1])
    ratio, power = np.ldexp(ratio, -power) * share, power + int(budget_power)
    if within == 0:
        slope = np.zeros(groups.size.size)
        np.maximum.at(slope, groups.code, ratio)
        slope = slope / groups.size
        log_slope = np.log(slope)
    else:
        exponent = min((1 - within) / within, 1e300) if within < np.inf else -1.0
        log_slope = _log_means(np.log(ratio), exponent, groups.code, groups.size)
        log_slope = log_slope - np.log(groups.size)
        slope = np.exp(log_slope)
    doses = _judged(person, problem, alpha, power)
    if alpha == np.inf:
        bound, least = 1 / (1 / slope).sum(), doses.utility.min()
        gap = max(bound - least, 0.0)
        return np.ldexp(gap, doses.power), gap / bound if gap > 0 else 0.0
    if doses.hopeless:
        return np.inf, 1.0
    if alpha == 0:  # at a lower price everybody would buy without end, at this one nobody does
        price = (problem.weight * slope).max()
        gap = max(price - (problem.weight * doses.utility).sum(), 0.0)
        return np.ldexp(gap, doses.power), gap / price
    u, w = doses.log_utility, doses.log_weight
    marginal = np.where(doses.utility > 0, w + log_slope - alpha * u, -np.inf)
    value = np.where(doses.utility > 0, w + (1 - alpha) * u, -np.inf)
    equal = w + (1 - alpha) * log_slope + alpha * np.log(groups.size.size)
    spent = (w + log_slope) / alpha - log_slope  # at the price 1
    total = _log_sum(spent)
    levels = np.array(
        [
            *(-np.array([marginal.max(), _log_sum(value), _log_sum(equal - np.log(w.size))])),
            -alpha * total,
        ]
    )
    results = []
    for level in levels / doses.scale:
        lost = _lost(doses, float(level), -log_slope, np.zeros(w.size), False).sum() + 1
        results.append((doses.in_welfare(lost, float(level)), lost))
    return _least(results)


def _log_sum(log_value: Floats) -> float:
    top = log_value.max()
    return float(top + np.log(np.exp(log_value - top).sum())) if np.isfinite(top) else float(top)


def _least(results: list[tuple[float, float]]) -> tuple[float, float]:
    """The least gap and the least relative gap; NaN, beyond the doubles, is no bound."""
    gap, relative = (np.nan_to_num(x, nan=np.inf, posinf=np.inf) for x in np.array(results).T)
    return float(gap.min()), float(relative.min())


def _judged(person: Floats, problem: Problem, alpha: float, power: int) -> _Doses:
    utility, log_utility = _group_utility(np.ldexp(person, -power), problem)
    # The unit is the problem's times 2**power.
    return _Doses(utility, log_utility, np.log(problem.weight), alpha, power + problem.unit)


# --- with baselines and bounds: a market of our own ----------------------------------------------
class _Offer(NamedTuple):
    """What there is to buy, money in budgets and utility in 2**power: members, and their items.

    At within = 0 a group is one member, who has the mean of all and buys all items.
    """

    code: Integers  # (n,) group of each member
    size: Integers  # (K,) members of each group
    base: Floats  # (n,) utility at the floors
    owner: Integers  # (M,) member of each item; sorted by member and falling ratio
    ratio: Floats  # (M,) utility for a budget
    length: Floats  # (M,) the most that can be spent on it
    floors: Floats  # (K,) what the floors take
    least: Floats  # (K,) bounds of the money beyond the floors
    most: Floats
    power: int


def _offer(problem: Problem) -> _Offer:
    code, size = problem.groups.code, problem.groups.size
    count, budget = size.size, problem.budget
    share, budget_power = np.frexp(budget)
    table = _benefit(problem) / problem.cost
    power = int(np.frexp(max(table.max(), 0.0))[1])
    persons, treatments = problem.shape
    if problem.cap is None:  # nobody gets past the best item
        best = table.argmax(axis=1)
        ratio, length = table[np.arange(persons), best], np.full(persons, ENDLESS)
        person: Integers = np.arange(persons)
        if problem.within == 0:
            top = np.full(count, -np.inf)
            np.maximum.at(top, code, ratio)
            person = np.flatnonzero(ratio == top[code])
        person = person[ratio[person] > 0]
        ratio, length = ratio[person], length[person]
    elif problem.exclusive:
        ratio, length, person = _segments_of_offers(problem)
        length = np.minimum(length / budget, ENDLESS)
        some = length > 0
        ratio, length, person = ratio[some], length[some], person[some]
    else:
        price = np.clip(problem.cost / budget, 1e-300, 1e300)
        room = problem.cap if problem.floor is None else problem.cap - problem.floor
        keep = np.flatnonzero((table > 0) & (room > 0))
        length = np.minimum((room * price).ravel()[keep], ENDLESS)
        ratio, person = table.ravel()[keep], keep // treatments
        some = length > 0  # what underflows buys nothing
        ratio, length, person = ratio[some], length[some], person[some]
    ratio = np.ldexp(ratio, -power) * share
    base, spent = np.zeros(persons), np.zeros(count)
    if problem.floor is not None:
        spent = group_sum((problem.cost * problem.floor).sum(axis=1), code, count) / budget
    if problem.baseline is not None or problem.floor is not None:
        at_floors = np.zeros((1, 1)) if problem.floor is None else problem.floor
        power_of_all = power + int(budget_power)
        base = np.ldexp(_person_utility(at_floors, problem), -power_of_all)
    owner, members = person, code
    if problem.within == 0 or size.max() == 1:  # a group is a member, in the order of the labels
        owner, members = code[person], np.arange(count)
        ratio, base = ratio / size[owner], group_sum(base, code, count) / size
    order = np.lexsort((-ratio, owner))
    least = np.zeros(count) if problem.group_floor is None else problem.group_floor / budget - spent
    least = np.maximum(least, 0.0)
    most = np.full(count, np.inf)
    if problem.group_cap is not None:
        most = np.maximum(problem.group_cap / budget - spent, least)
    return _Offer(
        members, size if problem.within > 0 else np.ones_like(size), np.maximum(base, 0.0),
        owner[order], ratio[order], length[order], spent, least, most, power + int(budget_power),
    )  # fmt: skip


class _Place(NamedTuple):
    """Where the groups stand at their levels t = log θ + log(best ratio)/ε."""

    level: Floats  # (K,) t
    money: Floats  # (K,) beyond the floors
    rate: Floats  # (K,) dx/dt
    log_utility: Floats  # (K,)
    moving: Floats  # (K,) d log U/dt: the weight in U of those who are buying
    log_person: Floats  # (n,) log u


class _Market:
    """What the groups buy at a price of money."""

    def __init__(self, offer: _Offer, log_weight: Floats, alpha: float, within: float) -> None:
        self.offer, self.alpha = offer, alpha
        # One member alone: ε does not matter, and at ε = α a price is a level.
        self.single = bool((offer.size == 1).all())
        self.epsilon = within if not self.single else alpha if alpha > 0 else 1.0
        self.scale = max(alpha, 1.0)
        # h = (ε t + (α − ε) log U)/scale is −log λ, up to constants.
        self.of_value = min(alpha, 1.0)
        self.of_level = self.epsilon / self.scale if alpha < np.inf else 0.0
        self.count = offer.size.size
        self.item_code = offer.code[offer.owner]
        self.first = np.flatnonzero(np.diff(offer.owner, prepend=-1))
        self.gain = offer.ratio * offer.length
        base = offer.base[offer.owner]
        self.upper = base + _running_sums(self.gain, self.first)
        self.length_before = offer.length
        if self.single:
            self.length_before = _running_sums(offer.length, self.first)
        self.lower = np.append(0.0, self.upper[:-1])[: self.upper.size]
        self.lower[self.first] = base[self.first]
        self.log_ratio = np.log(offer.ratio)
        self.log_best = np.full(self.count, -np.inf)
        np.maximum.at(self.log_best, self.item_code, self.log_ratio)
        self.log_best[self.log_best == -np.inf] = 0.0
        if self.epsilon == np.inf:
            self.pull = np.zeros(offer.ratio.size)
        else:
            self.pull = (self.log_ratio - self.log_best[self.item_code]) / self.epsilon
        self.begin, self.end = np.log(self.lower) - self.pull, np.log(self.upper) - self.pull
        own = log_weight + self.log_best
        if not self.single or within > 0:
            own = own - np.log(offer.size)
        self.own = own / self.scale if alpha < np.inf else np.zeros(self.count)
        self.log_weight = log_weight
        self.levels_of_items = -self.pull - self.own[self.item_code]  # at α = 0 and ε = 0
        self._set_range()

    def _set_range(self) -> None:
        """(K,) levels from where somebody buys to where all caps are reached."""
        starts = np.where(self.begin > -np.inf, self.begin, self.end - LARGEST_LOG)
        self.bottom, self.top = np.full(self.count, np.inf), np.full(self.count, -np.inf)
        np.minimum.at(self.bottom, self.item_code, starts)
        np.maximum.at(self.top, self.item_code, self.end)
        idle = self.bottom > self.top
        self.bottom[idle] = self.top[idle] = 0.0
        self.at_bottom, self.at_top = self.at(self.bottom), self.at(self.top)
        self.level = self.top
        if self.epsilon == np.inf and not (self.single and self.alpha == np.inf):
            self._set_steps()

    def _alone(self, level: Floats) -> _Place:
        """`at` where each group is one member: whole items, and a part of the next one."""
        t = level[self.offer.owner[self.first]]
        number = np.add.reduceat(self.end <= level[self.item_code], self.first, dtype=np.intp)
        last = self.first + number - 1
        some = number > 0
        bought, utility = (np.where(some, x[last], y) for x, y in (
            (self.length_before, 0.0), (self.upper, self.lower[self.first]),
        ))  # fmt: skip
        following = np.minimum(last + 1, self.end.size - 1)
        moves = (following < np.append(self.first[1:], self.end.size)) & (last < following)
        moves &= t > self.begin[following]
        log_reach = t + self.pull[following]
        reach, ratio = np.exp(log_reach), self.offer.ratio[following]
        part = np.clip((reach - self.lower[following]) / ratio, 0, self.offer.length[following])
        values = np.zeros((3, self.count))
        log_u = np.log(self.offer.base)
        owner = self.offer.owner[self.first]
        values[:, owner] = bought + np.where(moves, part, 0.0), moves * (reach / ratio), moves
        log_u[owner] = np.where(moves, log_reach, np.log(utility))
        return _Place(level, values[0], values[1], log_u, values[2], log_u)

    def at(self, level: Floats) -> _Place:
        """Where the groups stand at these levels."""
        if self.single and self.first.size:
            return self._alone(level)
        offer, count = self.offer, self.count
        t = level[self.item_code]
        full = t >= self.end
        moves = np.flatnonzero((t > self.begin) & ~full)
        log_reach = t[moves] + self.pull[moves]
        reach = np.exp(log_reach)
        paid = np.where(full, offer.length, 0.0)
        paid[moves] = np.clip(
            (reach - self.lower[moves]) / offer.ratio[moves], 0, offer.length[moves]
        )
        u = offer.base + np.bincount(offer.owner, offer.ratio * paid, offer.base.size)
        log_u = np.log(u)
        log_u[offer.owner[moves]] = log_reach
        code = self.item_code[moves]
        if self.single:
            log_value, share = log_u, np.bincount(code, minlength=count).astype(float)
        else:
            log_value = _log_means(log_u, 1 - self.epsilon, offer.code, offer.size)
            share = np.zeros(count)
            if self.epsilon < np.inf:
                part = np.exp((1 - self.epsilon) * (log_reach - log_value[code]))
                share = np.bincount(code, part, count) / offer.size
        return _Place(
            level,
            np.bincount(self.item_code, paid, count).astype(float, copy=False),
            np.bincount(code, reach / offer.ratio[moves], count).astype(float, copy=False),
            log_value,
            np.minimum(share, 1.0),
            log_u,
        )

    def price_level(self, place: _Place) -> Floats:
        """(K,) h: −log λ/scale at which the groups stand there (log U at α = ∞)."""
        bend = self.of_value - self.of_level
        return self.of_level * place.level + (bend * place.log_utility if bend else 0.0)

    def stand(self, level: float) -> tuple[_Place, Floats]:
        """Where the groups stand at the price level ℓ, and the slopes dh/dt there."""
        target = level + self.own
        if self.epsilon == self.alpha:
            place = self.at(target * (self.scale / self.alpha) if self.alpha < np.inf else target)
            return place, np.full(self.count, self.of_level or 1.0)
        if self.single and self.alpha == 0:  # items are bought whole, or not at all
            utility = self.offer.base.copy()
            if self.first.size:
                bought = self.levels_of_items <= level
                number = np.add.reduceat(bought, self.first, dtype=np.intp)
                last, owner = self.first + number - 1, self.offer.owner[self.first]
                utility[owner] = np.where(number > 0, self.upper[last], utility[owner])
            t = np.where(utility > 0, target + np.log(utility), self.bottom)
            return self.at(t), np.zeros(self.count)
        if self.epsilon == np.inf:
            place = self.at(self._step_levels(level))
            return place, np.full(self.count, self.of_value)
        place = self._solve(self.price_level, self._slope, target, 1.0)
        self.level = place.level
        return place, self._slope(place)

    def _slope(self, place: _Place) -> Floats:
        return self.of_level * (1 - place.moving) + self.of_value * place.moving

    def with_money(self, money: Floats) -> _Place:
        """Where the groups stand when they spend this."""
        return self._solve(lambda place: place.money, lambda place: place.rate, money, 0.0)

    def _solve(
        self,
        function: Callable[[_Place], Floats],
        slope: Callable[[_Place], Floats],
        target: Floats,
        size: float,
    ) -> _Place:
        """The levels at which an increasing function has these values, by Newton in brackets.

        ``size`` says how much of the level is in the function, and of its rounding.
        """
        least = min(x for x in (self.of_level, self.of_value, 1.0) if x > 0)
        below = np.maximum(function(self.at_bottom) - target, 0) / least
        above = np.maximum(target - function(self.at_top), 0) / least
        low = self.bottom - np.minimum(1.01 * below, 1e6) - 1.0
        high = self.top + np.minimum(1.01 * above, 1e6) + 1.0
        t = np.clip(self.level, low, high)
        for _ in range(MOST_STEPS):
            place = self.at(t)
            miss = function(place) - target
            low, high = np.where(miss < 0, t, low), np.where(miss < 0, high, t)
            step = t - miss / slope(place)
            middle = low + (high - low) / 2
            new = np.where((step > low) & (step < high), step, middle)
            noise = 4 * EPSILON * (np.abs(target) + size * np.maximum(1.0, np.abs(t)))
            done = (np.abs(miss) <= noise) | (middle <= low) | (middle >= high)
            if done.all():
                break
            t = np.where(done, t, new)
        return place

    # --- at ε = ∞ a group's own price falls in steps ---
    def _set_steps(self) -> None:
        """Pieces between breakpoints, with the money C that raises all who are lowest by 1."""
        offer = self.offer
        last = np.append(self.first[1:], self.end.size)[: self.first.size] - 1
        final = np.log(offer.base)
        final[offer.owner[last]] = self.end[last]
        self.final = final
        self.stuck = np.full(self.count, np.inf)
        np.minimum.at(self.stuck, offer.code, final)
        if self.alpha == np.inf:
            return
        level = np.concatenate([self.begin, self.end])
        code = np.concatenate([self.item_code, self.item_code])
        change = np.concatenate([1 / offer.ratio, -1 / offer.ratio])
        order = np.lexsort((level, code))
        self.piece_level, self.piece_code = level[order], code[order]
        self.piece_start = np.searchsorted(self.piece_code, np.arange(self.count + 1))
        first = np.flatnonzero(np.diff(self.piece_code, prepend=-1))
        rates = _running_sums(change[order], first)
        same = (self.piece_level[1:] == self.piece_level[:-1]) & (
            self.piece_code[1:] == self.piece_code[:-1]
        )
        last_of_all = np.flatnonzero(~np.append(same, False))  # of those at one level
        run = np.searchsorted(last_of_all, np.arange(rates.size))
        rates = rates[last_of_all][run] if rates.size else rates
        self.log_rate = np.log(np.maximum(rates, 1e-300))
        bend = self.alpha * self.piece_level if self.alpha > 0 else 0.0
        self.step = (bend + self.log_rate) / self.scale
        self.step[self.piece_level >= self.stuck[self.piece_code]] = np.inf

    def _step_levels(self, level: float) -> Floats:
        """(K,) where the price of each group, which falls with its level, passes this one."""
        target = level + self.log_weight / self.scale
        begun = self.step <= target[self.piece_code]
        number = np.bincount(self.piece_code[begun], minlength=self.count)
        t = np.minimum(self.stuck, self.bottom)
        some = np.flatnonzero(number > 0)
        place = self.piece_start[some] + number[some] - 1
        nothing = np.flatnonzero((number == 0) & (self.piece_start[1:] > self.piece_start[:-1]))
        t[nothing] = np.maximum(self.piece_level[self.piece_start[nothing]], self.bottom[nothing])
        after = np.minimum(place + 1, self.piece_level.size - 1)
        end = np.where(place + 1 < self.piece_start[some + 1], self.piece_level[after], np.inf)
        wanted = (self.scale * target[some] - self.log_rate[place]) / self.alpha
        wanted = np.where(np.isnan(wanted), np.inf, wanted)  # α = 0: as far as the piece goes
        t[some] = np.maximum(np.minimum(wanted, end), self.piece_level[place])
        return np.asarray(np.minimum(t, self.stuck))

    # --- clearing ---
    def limited(self, place: _Place) -> Floats:
        """(K,) money within the bounds of the groups' budgets."""
        return np.clip(place.money, self.offer.least, self.offer.most)

    def useful(self) -> float:
        """What the groups can spend at most, to some use."""
        if self.epsilon < np.inf or self.alpha == np.inf:
            return float(self.limited(self.at_top).sum())
        return float(self.limited(self.at(np.minimum(self.stuck, self.top))).sum())

    def clear(self, money: float, all_of_it: bool, highest: float = np.inf) -> tuple[float, ...]:
        """The price levels ℓ around that at which all spend this money.

        With ``all_of_it``, their most, they spend it at all levels from some ℓ on: around that one.
        """
        enough = money * (1 - 1e-15 * (10 + self.item_code.size)) if all_of_it else money
        if self.single and self.alpha == 0:
            return self._price_of_an_item(enough)
        low, high = -np.inf, highest
        level, step = min(self._first_level(), highest), 1.0
        for turn in range(MOST_STEPS):
            place, slope = self.stand(level)
            spent = self.limited(place)
            total = float(spent.sum())
            if not all_of_it and abs(total - money) <= 4e-16 * money:
                return (level,)
            low, high = (level, high) if total < enough else (low, level)
            free = (spent == place.money) & (slope > 0)
            rise = float((place.rate[free] / slope[free]).sum())
            newton = level + (money - total) / rise if rise > 0 and not all_of_it else np.nan
            if np.isfinite(low) and np.isfinite(high):
                middle = low + (high - low) / 2
                new = newton if turn % 4 < 3 and low < newton < high else middle
            else:
                new = low + step if np.isfinite(low) else high - step
                step *= 2
                near = abs(newton - level) < abs(new - level)  # False for NaN
                if turn < MOST_NEWTON and near and low < newton < high:
                    new = newton
            if not low < new < high or abs(level) > FARTHEST:
                break
            level = new
        if abs(level) > FARTHEST:  # all stand at their bounds at any price
            return ()
        return tuple(x for x in (low, high) if np.isfinite(x))

    def _price_of_an_item(self, money: float) -> tuple[float, ...]:
        """The price level at which the last item is bought that this money takes."""
        levels = np.sort(self.levels_of_items)
        first, end = 0, levels.size
        while first < end:
            middle = (first + end) // 2
            place, _ = self.stand(float(levels[middle]))
            if float(self.limited(place).sum()) >= money:
                end = middle
            else:
                first = middle + 1
        return (float(levels[min(first, levels.size - 1)]),) if levels.size else ()

    def _first_level(self) -> float:
        """A price level at which somebody buys."""
        levels = self.price_level(self.at((self.bottom + self.top) / 2)) - self.own
        levels = levels[np.isfinite(levels)]
        return float(np.median(levels)) if levels.size else 0.0

    # --- prices ---
    def log_prices(self, place: _Place) -> Floats:
        """(n,) log(q/λ): what utility costs each member where the groups stand; at ε < ∞."""
        offer = self.offer
        t = place.level[self.item_code]
        full = t >= self.end
        moves = np.flatnonzero((t > self.begin) & ~full)
        low, high = np.full(offer.base.size, -np.inf), np.full(offer.base.size, np.inf)
        np.maximum.at(low, offer.owner[full], -self.log_ratio[full])
        np.minimum.at(high, offer.owner[~full], -self.log_ratio[~full])
        code = offer.code
        if self.epsilon == np.inf:  # one member a group at α = ∞: only those who are worst off
            price = np.where(np.isfinite(high), high, low)
            price[place.log_person > place.level[code] + ROUNDING] = -np.inf
        else:
            behind = self.epsilon * (place.level[code] - place.log_person)
            price = np.clip(behind - self.log_best[code], low, high)
        price[offer.owner[moves]] = -self.log_ratio[moves]
        return price

    def log_prices_of_the_lowest(
        self, place: _Place, log_needed: Floats, useless: NDArray[np.bool_]
    ) -> Floats:
        """(n,) log(q/λ) at ε = ∞, where only those who are lowest count, with the sum that α needs.

        At a breakpoint the prices of those who begin, or go on to their next item, are free
        between two values, and that of somebody who cannot rise has no upper limit: she alone has a
        price in groups where money is ``useless``.
        """
        offer, code = self.offer, self.offer.code
        t = place.level[self.item_code]
        before, after = np.zeros(offer.base.size), np.zeros(offer.base.size)
        lasts, starts = (self.begin < t) & (t <= self.end), (self.begin <= t) & (t < self.end)
        before[offer.owner[lasts]] = 1 / offer.ratio[lasts]
        after[offer.owner[starts]] = 1 / offer.ratio[starts]
        stuck = self.final <= place.level[code]
        before[useless[code]] = after[useless[code]] = 0.0
        after = np.maximum(after, before)
        low, high = (np.bincount(code, x, self.count) for x in (before, after))
        needed = np.exp(log_needed)
        part = np.clip((needed - low) / (high - low), 0.0, 1.0)
        part = np.where(high > low, part, 0.0)
        price = before + part[code] * (after - before)
        number = np.bincount(code, stuck, self.count)
        rest = np.where(number > 0, np.maximum(needed - high, 0.0) / number, 0.0)
        return np.asarray(np.log(price + np.where(stuck, rest[code], 0.0)))

    def log_cost(self, log_price: Floats) -> Floats:
        """(K,) log(P/λ): what a unit of U costs at these prices of the members' utilities."""
        if self.single:
            return log_price
        exponent = 1.0 if self.epsilon == np.inf else -(1 - self.epsilon) / self.epsilon
        means = _log_means(log_price, exponent, self.offer.code, self.offer.size)
        return np.asarray(means + np.log(self.offer.size))

    def paid(self, log_price: Floats, log_own: Floats) -> Floats:
        """(K,) Σ q a'/λ + Σ (q r/λ − λ_k/λ)₊ length, at the groups' own prices λ_k."""
        offer = self.offer
        price, own = np.exp(log_price), np.exp(log_own)
        base = np.where(offer.base > 0, price * offer.base, 0.0)
        excess = np.maximum(price[offer.owner] * offer.ratio - own[self.item_code], 0.0)
        # Where q r = λ up to rounding, all together cannot spend more than the budget.
        slight = excess <= 1e-9 * own[self.item_code]
        part = np.where(slight, 0.0, excess) * offer.length
        total = np.bincount(offer.code, base, self.count).astype(float, copy=False)
        total = total + np.bincount(self.item_code, part, self.count)
        slight_part = np.where(slight, excess, 0.0)
        each = np.bincount(self.item_code, slight_part * offer.length, self.count)
        most = float(slight_part.max(initial=0.0))
        if each.sum() > most:  # share the bound out, so that the sum is right
            each *= most / each.sum()
        return np.asarray(total + each)


def _running_sums(value: Floats, first: Integers) -> Floats:
    """Running sums that begin anew at each ``first``: one by one, or all at once by doubling."""
    if first.size <= FEW:
        return np.concatenate([np.cumsum(part) for part in np.split(value, first)])
    total = np.array(value, float)
    start = np.zeros(total.size, np.intp)
    start[first] = first
    place = np.arange(total.size) - np.maximum.accumulate(start)
    step = 1
    while (later := np.flatnonzero(place >= step)).size:
        total[later] += total[later - step]
        step *= 2
    return total


def _bounded_gap(person: Floats, problem: Problem, alpha: float) -> tuple[float, float]:
    """(gap, least gap/(λ Q)) with baselines and bounds."""
    offer = _offer(problem)
    doses = _judged(person, problem, alpha, offer.power)
    if doses.hopeless:
        return np.inf, 1.0
    market = _Market(offer, doses.log_weight, alpha, problem.within)
    if alpha == np.inf:
        return _worst_off_gap(doses, market)
    floors = float(offer.floors.sum())
    free, useful = max(1 - floors, 0.0), market.useful()
    enough = useful <= free * (1 + 1e-15)
    money = useful if enough else free
    whole, results, kept = floors + money, [], 1.0
    levels = market.clear(money, enough) or (_any_level(doses),)
    for _ in range(MOST_PRICES):
        for level in levels:
            lost = _lost_at(doses, market, level, whole)
            part = lost / whole if lost > 0 and whole > 0 else 0.0  # no money helps: none is wasted
            results.append((doses.in_welfare(lost, level), part))
        # The least waste is found at the price of the budget for which the doses would be optimal.
        wasted = _least(results)[1]
        before, kept = kept, 1 - wasted if wasted < 1 else kept / 2
        if wasted <= SMALL_WASTE or abs(kept - before) <= SMALL_WASTE:
            break
        levels = market.clear(max(whole * kept - floors, 0.0), False)
    return _least(results)


def _any_level(doses: _Doses) -> float:
    """The price level at which the best that a group has is worth the budget."""
    worth = float((doses.log_weight + (1 - doses.alpha) * doses.log_utility).max())
    return -worth / doses.scale if np.isfinite(worth) else 0.0


def _lost_at(doses: _Doses, market: _Market, level: float, budget: float) -> float:
    """gap/λ at the price level ℓ, where the market is asked for all other prices."""
    offer = market.offer
    place, _ = market.stand(level)
    spent = market.limited(place)
    bounded = spent != place.money
    if bounded.any():
        held = market.with_money(np.where(bounded, spent, place.money))
        level_held = held.level
        if market.epsilon == np.inf:
            level_held = np.minimum(level_held, market.stuck)
        place = market.at(np.where(bounded, level_held, place.level))
    own = np.where(bounded, level + market.own - market.price_level(place), 0.0) * market.scale
    log_worth = doses.log_weight + market.scale * level - doses.alpha * place.log_utility
    if doses.alpha == 0:
        log_worth = doses.log_weight + market.scale * level
    if market.epsilon == np.inf:
        stuck = bounded & (place.level >= market.stuck - ROUNDING)
        price = market.log_prices_of_the_lowest(place, log_worth, stuck)
        cost = market.log_cost(price)
        own = np.where(bounded & ~stuck, log_worth - cost, np.where(stuck, -np.inf, 0.0))
        price = price + np.where(bounded & ~stuck, own, 0.0)[offer.code]
    else:
        price = market.log_prices(place) + own[offer.code]
    cost = market.log_cost(price)
    if doses.alpha == 0:  # a unit of utility must cost what it is worth, at least
        price = price + np.maximum(log_worth - cost, 0.0)[offer.code]
    # A group that stays where it is, at a bound or between two items, is counted with its money.
    settled = bounded | (place.rate == 0)
    other = market.paid(price, own) + np.where(settled, np.exp(own) * spent, 0.0)
    rest = budget - float(offer.floors.sum()) - float(spent[settled].sum())
    return float(_lost(doses, level, cost, other, settled).sum()) + rest


def _worst_off_gap(doses: _Doses, market: _Market) -> tuple[float, float]:
    """α = ∞: min U ≤ Σ P U / Σ P over the groups that are worst off, or over one alone."""
    offer = market.offer
    # What each group can have at most, alone.
    floors = float(offer.floors.sum())
    free = max(1 - floors, 0.0)
    most = np.minimum(offer.most, np.maximum(free - (offer.least.sum() - offer.least), 0.0))
    filled = market.at_top.money <= most * (1 + 1e-15)
    place = market.at_top
    if not filled.all():
        place = market.with_money(np.where(filled, market.at_top.money, most))
        place = market.at(np.where(filled, market.top, place.level))
    none = np.zeros(market.count)
    if market.single or market.epsilon < np.inf:
        price = market.log_prices(place)
    else:
        price = market.log_prices_of_the_lowest(place, np.full(market.count, -np.inf), none > 0)
    alone = (market.paid(price, none) + most) / np.exp(market.log_cost(price))
    alone = np.where(filled, np.exp(place.log_utility), alone)
    alone = np.where(most > 0, alone, np.exp(market.at_bottom.log_utility))
    if market.epsilon == np.inf and not market.single:  # nor can it have more than its members
        alone = np.fmin(alone, np.exp(market.stuck))
    bound, least = float(np.nan_to_num(alone, nan=np.inf).min()), doses.utility.min()
    # What all can have together.
    highest = float(place.log_utility.min())
    top, _ = market.stand(highest)
    useful = float(market.limited(top).sum())
    money = min(useful, free)
    parts = [1.0]
    levels = (highest,) if useful <= free else market.clear(money, False, highest)
    if 0 < least < np.inf:  # the level of a budget for which the doses would be optimal
        levels = (*levels, min(float(np.log(least)), highest))
    for level in levels:
        place, _ = market.stand(level)
        spent = market.limited(place)
        if market.single or market.epsilon < np.inf:
            price = market.log_prices(place)
        else:
            price = market.log_prices_of_the_lowest(place, np.full(market.count, -np.inf), none > 0)
        above = place.log_utility > level + ROUNDING * max(1.0, abs(level))
        above |= (spent > place.money) & (offer.least > 0)
        price = np.where(above[offer.code], -np.inf, price)
        cost = np.where(above, 0.0, np.exp(market.log_cost(price)))
        other = np.where(above, 0.0, market.paid(price, none))
        rest = money - float(spent[above].sum())
        together, weight = float(other.sum()) + rest, float(cost.sum())
        if free < useful:
            bound = np.fmin(bound, np.divide(together, weight))
        parts.append(np.divide(np.fmax(together - least * weight, 0.0), floors + money))
    gap = max(bound - least, 0.0)
    return np.ldexp(gap, doses.power), float(np.nanmin(parts)) if gap > 0 else 0.0


def _doses(dose: ArrayLike, problem: Problem) -> Floats:
    d = reals("dose", dose)
    if d.ndim == 1:
        d = d[:, None]
    if d.shape != problem.shape:
        raise ValueError(f"dose has shape {d.shape}: must be {problem.shape}, that of benefit")
    if not np.isfinite(d).all():
        i, t = np.unravel_index(int(np.argmin(np.isfinite(d))), d.shape)
        raise ValueError(f"dose[{i}, {t}] is {d[i, t]}: must be finite")
    return d
