"""The margin of every group, found by a few passes over rows that stay in the engine.

What a group has bought is known once one number is: at ε = 0 the ratio b/c down to which its items
are full, at ε > 0 the level θ to which its people have been brought (`alphafair.value`).  At any
such **place** the engine finds by sums the money x that the group has spent, its utility V and its
slope V'.  They fix the price at which the group stands there,

    ℓ = min(α, 1) log V − min(1, 1/α) (log w + log V'),

and x and ℓ both rise from place to place. So a pass over a grid of places in every group bounds the
demand for money at each price from both sides, the price at which it meets the budget, and with it
the two neighbouring places between which each group stands at the optimum. The next pass lays its
grid between those, closest where interpolation expects the optimum (`Heights.aimed`). Bounds of the
groups' budgets clip x, and nothing else.

Once few items lie between, or no pass brings the places nearer, the items between are collected,
equal ones as one: the pieces of V on that stretch are the ones of the array problem, begun at what
the engine knows of all the others, and `price_search` solves the rest exactly.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any, Generic, NamedTuple, TypeVar

import narwhals as nw
import numpy as np

from ..checks import Floats, Integers
from ..closed_form import price_search
from ..value import Knapsack, Levels, begins
from . import engine
from .chains import GAIN, LENGTH, Start, same_rows
from .engine import KEY, RATIO, Frame
from .stages import Census, in_label_order

LOG = logging.getLogger("alphafair.frames")
PLACES = 16  # of the grid that a pass lays into each group
LIMIT = 100_000  # items between the places that are collected
SLACK = 1e-13  # sums of an engine differ by roundings from pass to pass
LEVEL_SLACK = 1e-11  # and so do the logarithms of their powers

CLASS = "_af_class"
FIRST, STEP, BACK = "_af_first_place", "_af_step", "_af_back"
LOW, HIGH = "_af_low", "_af_high"


class State(NamedTuple):
    """Groups at places, (K,) or (K, places).

    Attributes:
        place: ratio (falling) at ε = 0, log θ (rising) at ε > 0.
        money: x.
        value: V at ε = 0, log V at ε > 0.
        level: ℓ, where what comes next begins.
        passed: items, or their ends, that lie before.
    """

    place: Floats
    money: Floats
    value: Floats
    level: Floats
    passed: Floats

    def at(self, index: Integers) -> State:
        """(K,) one place of each group's."""
        rows = np.arange(index.size)
        return State(*(field[rows, index] for field in self))


class Grid(NamedTuple):
    """The places of a pass: the engine is told (K,) numbers, and finds them as Python does.

    Attributes:
        first: (K,) where the grid begins; of an aimed one, the target.
        step: (K,) to the next place, a factor at ε = 0; of an aimed grid, to the end of the bracket
            above the target.
        back: (K,) of an aimed grid, to the end of the bracket below.
        part: (P,) of which step, or if it is negative of which ``back``, the places are away.
        places: (K, P).
    """

    first: Floats
    step: Floats
    back: Floats
    part: Floats
    places: Floats


class Market(NamedTuple):
    """What the split across groups needs to know; see `price_search`.

    Attributes:
        log_weight: (K,).
        alpha: α.
        budget: in relative units.
        least, most: (K,) bounds of the groups' money.
        by_level: whether all rise by their level, as at ε = ∞ once no group can gain.
    """

    log_weight: Floats
    alpha: float
    budget: float
    least: Floats
    most: Floats
    by_level: bool = False

    def level(self, log_value: Floats, log_slope: Floats) -> Floats:
        """The price level ℓ; (K, places) or (K,) as the arguments."""
        of_value = min(self.alpha, 1.0)
        of_slope = 1.0 if self.alpha <= 1 else 1 / self.alpha
        weight = self.log_weight if log_value.ndim == 1 else self.log_weight[:, None]
        return begins(of_value, of_slope, log_value, log_slope) - of_slope * weight

    def bounds(self, states: State) -> tuple[Floats, Floats]:
        """(K,) least and most money at the optimum that (K, places) states, first to last, allow.

        Demand at ℓ is at least the money of every place with a level ≤ ℓ, and at most that of the
        first place with a larger one.
        """
        least, most = self.least, self.most
        if least.sum() >= self.budget:
            return least, least
        if most.sum() <= self.budget:
            return most, most
        rows, last = np.arange(least.size), states.money.shape[1] - 1

        def demand(level: float) -> tuple[Floats, Floats]:
            begun = (states.level <= level).sum(axis=1)
            below = np.where(begun > 0, states.money[rows, np.maximum(begun - 1, 0)], 0.0)
            above = states.money[rows, np.minimum(begun, last)]
            return np.clip(below, least, most), np.clip(above, least, most)

        levels = [float(level) for level in np.unique(states.level)]
        low = _last(lambda j: demand(levels[j])[1].sum() < self.budget, len(levels))
        high = _last(lambda j: demand(levels[j])[0].sum() < self.budget, len(levels)) + 1
        lower, upper = least, most
        slack = LEVEL_SLACK * np.where(np.isfinite(levels), 1 + np.abs(levels), 0.0)
        if low >= 0:
            lower = demand(levels[low] - slack[low])[0]
        if high < len(levels):
            upper = demand(levels[high] + slack[high])[1]
        return lower, upper


def _last(holds: Any, size: int) -> int:
    """The last j < size for which a condition holds that holds up to some j only; −1 for none."""
    low, high = -1, size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


V = TypeVar("V", Knapsack, Levels)


class Search(ABC, Generic[V]):
    """The search for the margins of K groups; `Ratios` at ε = 0, `alphafair.frames.heights` else.

    Attributes:
        rows: a lazy table with one row an item.
        source: the frame that it was made of.
        passes: how often it has been read.
    """

    def __init__(
        self,
        rows: Frame,
        source: Frame,
        group: str,
        census: Census,
        start: Start,
        market: Market,
    ) -> None:
        self.rows, self.source, self.group = rows, source, group
        self.census, self.start = census, start
        self.market = self.original = market
        self.passes = 0

    beyond = False  # whether the stretch has to reach to where more money is spent

    # --- what depends on ε --------------------------------------------------------------------
    @abstractmethod
    def ends(self) -> tuple[State, State]:
        """(K,) before anything moves; with everything full."""

    @abstractmethod
    def grid(self, low: State, high: State) -> Grid:
        """Equally spaced places between those two."""

    def aimed(self, low: State, high: State) -> Grid | None:
        """Places around the one where the optimum is expected; None if nothing tells."""
        return None

    @abstractmethod
    def measure(self, grid: Grid) -> State:
        """(K, P) the states on a grid, by one pass."""

    @abstractmethod
    def width(self, low: State, high: State) -> Floats:
        """(K,) how far two places are from each other."""

    @abstractmethod
    def pieces(self, low: State, high: State) -> V:
        """What money is worth from ``low`` to ``high``: collects the items between."""

    # --- what does not ------------------------------------------------------------------------
    def solve(self) -> tuple[V, Floats]:
        """The pieces of V around the optimum, and (K,) the optimal money, in relative units."""
        low, high = self.ends()
        aims = goes_on = True
        while goes_on and (high.passed - low.passed).sum() > LIMIT:
            done, width = high.passed <= low.passed, self.width(low, high)
            aimed = self.aimed(low, high) if aims else None
            found = self.measure(self.grid(low, high) if aimed is None else aimed)
            grid = [np.where(done[:, None], low[j][:, None], found[j]) for j in range(len(low))]
            low, high = self._closer(low, State(*grid), high)
            aims = bool((~done & (self.width(low, high) < width / 2)).any())
            goes_on = aims or aimed is not None  # who has missed looks everywhere
        value = self.pieces(low, high)
        LOG.info("%d passes over the items", self.passes)
        market = self.original
        most = np.where(market.most < self.start.most, market.most, np.inf)
        return value, price_search(
            value, market.log_weight, market.alpha, market.budget, market.least, most
        )

    def _closer(self, low: State, grid: State, high: State) -> tuple[State, State]:
        """The two places of each group between which it stands at the optimum."""
        states = State(
            *(
                np.concatenate([a[:, None], b, c[:, None]], axis=1)
                for a, b, c in zip(low, grid, high, strict=True)
            )
        )
        states = states._replace(
            money=np.maximum.accumulate(states.money, axis=1),
            level=np.maximum.accumulate(states.level, axis=1),
            passed=np.maximum.accumulate(states.passed, axis=1),
        )
        least, most = self.market.bounds(states)
        last = states.money.shape[1] - 1
        before = (states.money <= (least * (1 + SLACK))[:, None]).sum(axis=1) - 1
        if self.beyond:
            after = (states.money <= (most * (1 + SLACK))[:, None]).sum(axis=1)
        else:
            after = (states.money < (most * (1 - SLACK))[:, None]).sum(axis=1)
        before, after = np.maximum(before, 0), np.minimum(after, last)
        return states.at(np.minimum(before, after)), states.at(after)

    def spread(self, rows: Frame, values: dict[str, Floats]) -> Frame:
        """Rows with (K,) numbers written beside them."""
        return engine.spread(rows, self.group, self.census.key, values, self.source)

    def collect(self, rows: Frame, *sums: Any) -> dict[str, Any]:
        """Aggregates of rows, one a group, in the order of the labels; one pass."""
        self.passes += 1
        table = rows.group_by(self.group).agg(nw.col(LENGTH).sum(), *sums)
        found = in_label_order(engine.collect(table), self.group)
        same_rows(found[LENGTH], self.start.length)
        return found

    def between(self, low: State, high: State) -> Frame:
        """The items with the two places LOW and HIGH of their group, and its KEY."""
        self.passes += 1
        rows = self.spread(self.rows, {LOW: low.place, HIGH: high.place})
        return rows.with_columns(engine.key(rows, self.group).alias(KEY))

    def gather(self, table: Frame) -> dict[str, Any]:
        """Numbers (M,) of a table with KEY, and the code of their groups."""
        found = engine.collect(table)
        place = {key: k for k, key in enumerate(self.census.key)}
        code = np.array([place[key] for key in found.pop(KEY)], np.intp)
        return {"code": code} | {name: np.array(found[name], float) for name in found}


class Ratios(Search[Knapsack]):
    """ε = 0: the items of a group are full down to some ratio.

    Attributes:
        size: (K,) G.
        full, part: (K,) after `margins`: items of a ratio ≥ full are full, those ≥ part
            partly.
    """

    def ends(self) -> tuple[State, State]:
        """Nothing full; everything full."""
        start, size = self.start, self.census.size
        top = np.nextafter(np.where(start.best > 0, start.best, 1.0), np.inf)
        bottom = np.where(start.items > 0, start.least, top)
        value = start.base / size
        low = self._state(top, start.spent, value, 0.0 * top)
        high = self._state(bottom, start.most, value + start.gain / size, start.items)
        return low, high._replace(level=np.full(top.size, np.inf))

    def _state(self, place: Floats, money: Floats, value: Floats, count: Floats) -> State:
        size = self.census.size if place.ndim == 1 else self.census.size[:, None]
        with np.errstate(divide="ignore"):
            level = self.market.level(np.log(value), np.log(place / size))
        return State(place, money, value, level, count)

    def width(self, low: State, high: State) -> Floats:
        """(K,) distance of the logarithms."""
        return np.log(low.place / high.place)

    def grid(self, low: State, high: State) -> Grid:
        """Ratios in geometric progression, multiplied out as the engine does."""
        step = (high.place / low.place) ** (1 / (PLACES + 1))
        places = np.empty((step.size, PLACES))
        place = first = low.place * step
        for j in range(PLACES):
            places[:, j] = place
            place = place * step
        return Grid(first, step, step, np.arange(PLACES, dtype=float), places)

    def measure(self, grid: Grid) -> State:
        """Sums over the items of ratios ≥ each place."""
        rows = self.spread(self.rows, {FIRST: grid.first, STEP: grid.step})
        one, nothing, sums = nw.lit(1.0), nw.lit(0.0), []
        place = FIRST
        for j in range(PLACES):
            full = nw.col(RATIO) >= nw.col(place)
            columns = {
                f"_af_x{j}": nw.when(full).then(nw.col(LENGTH)).otherwise(nothing),
                f"_af_v{j}": nw.when(full).then(nw.col(GAIN)).otherwise(nothing),
                f"_af_n{j}": nw.when(full).then(one).otherwise(nothing),
                f"_af_p{j}": nw.col(place) * nw.col(STEP),
            }
            rows = rows.with_columns(*(column.alias(name) for name, column in columns.items()))
            sums += list(columns)[:3]
            place = f"_af_p{j}"
        found = self.collect(rows, *(nw.col(name).sum() for name in sums))
        money, gain, count = (
            np.array([found[f"_af_{letter}{j}"] for j in range(PLACES)], float).T
            for letter in "xvn"
        )
        start, size = self.start, self.census.size[:, None]
        value = (start.base[:, None] + gain) / size
        return self._state(grid.places, start.spent[:, None] + money, value, count)

    def pieces(self, low: State, high: State) -> Knapsack:
        """One piece for each ratio between; and one, which is not reached, for all that follow."""
        size, groups = self.census.size, self.census.size.size
        rows = self.between(low, high)
        rows = rows.filter((nw.col(RATIO) < nw.col(LOW)) & (nw.col(RATIO) > 0))
        inside = nw.col(RATIO) >= nw.col(HIGH)
        rows = rows.with_columns(
            nw.when(inside).then(nw.col(RATIO)).otherwise(nw.lit(0.0)).alias(CLASS)
        )
        found = self.gather(
            rows.group_by(KEY, CLASS).agg(nw.col(RATIO).max(), nw.col(LENGTH).sum())
        )
        order = np.lexsort((-found[RATIO], found["code"]))
        code, ratio, length = (found[name][order] for name in ("code", RATIO, LENGTH))
        count = np.bincount(code, minlength=groups)
        start = np.concatenate([[0], np.cumsum(count + 1)])
        place = np.arange(code.size) + code
        item = np.full(start[-1], -1)
        slope, money, value = np.zeros((3, start[-1]))
        item[place], slope[place] = np.arange(code.size), ratio / size[code]
        money[start[:-1]], value[start[:-1]] = low.money, low.value
        money[place + 1], value[place + 1] = length, length * slope[place]
        for k in range(groups):
            here = slice(start[k], start[k + 1])
            money[here], value[here] = np.cumsum(money[here]), np.cumsum(value[here])
        before, last = np.maximum(start[1:] - 2, start[:-1]), start[1:] - 1
        money[last] = np.maximum(money[before], self.start.most)  # as the bounds have it
        self._part = np.full(start[-1], np.nan)
        self._part[place] = ratio
        self._low = low.place
        return Knapsack(start, money, item, slope, value)

    def margins(self, value: Knapsack, money: Floats) -> tuple[Floats, Floats, Floats]:
        """(K,) ratio from which on items are full, from which on partly, and to which part."""
        piece = value.locate(money)
        first = value.start[:-1]
        full = np.where(piece > first, self._part[piece - 1], self._low)
        ends = piece == value.start[1:] - 1
        length = value.money[np.minimum(piece + 1, value.money.size - 1)] - value.money[piece]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(ends, 0.0, (money - value.money[piece]) / length)
        part = np.where(ends, full, self._part[piece])
        return full, part, np.clip(share, 0.0, 1.0)
