"""The search for margins at ε > 0: the level to which the people of each group are brought.

Every item of a chain moves between two levels τ = log θ (`alphafair.value`), in logarithms

    begin = log lower − log(r/R)/ε        end = log upper − log(r/R)/ε

and somebody stands at ``upper`` until her next item begins.  At a level the engine sums money and
the powers ``u^{1−ε}`` of what everybody has afresh; nothing is a running difference.
"""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np

from ..bisection import bisect
from ..checks import Floats, Integers
from ..kernels import interval_log_sums, prefix_sums
from ..value import NEAR_LOG, Levels, last_of_ties, money_of_steps, with_values
from . import engine
from .chains import AHEAD, BASE, LENGTH, NEXT, Start
from .engine import KEY, RATIO, REFERENCE, SIZE, Frame
from .search import BACK, FIRST, HIGH, LOW, STEP, Grid, Market, Search, State
from .stages import Census

LOWER, UPPER, LOG_LOWER, LOG_UPPER = "_af_lower", "_af_upper", "_af_log_lower", "_af_log_upper"
PULL, RATE, BEGIN, END, FOLLOWS = "_af_pull", "_af_rate", "_af_begin", "_af_end", "_af_follows"
INSIDE, PEAK, LEVEL, FIRST_ITEM = "_af_inside", "_af_peak", "_af_level", "_af_first_item"
MONEY, MOVING, RESTING, MEAN, POWERS = (
    "_af_x",
    "_af_moving",
    "_af_resting",
    "_af_mean",
    "_af_powers",
)
TERMS, RESTS, COUNT = "_af_terms", "_af_rests", "_af_count"
NOTHING, ENDLESS, NEVER = -1e300, 2e300, 3e300  # log 0, log ∞, later than that
FAR = 5e299  # a level beyond all that are finite
NEGLIGIBLE = 1e-9  # budgets; of less money no logarithms are compared
SPACED = 16  # places of a grid from end to end; each costs two exponentials a row
AIMED = np.array([-1 / 4, -1 / 32, -1 / 256, 1 / 256, 1 / 32, 1 / 4])  # exact in binary


def with_levels(
    rows: Frame, source: Frame, group: str, census: Census, best: Floats, within: float
) -> Frame:
    """Items with the levels at which they BEGIN and END, and at which their person's next FOLLOWS.

    RATE is 1/r, 0 of items that nobody reaches; PULL is log(r/R)/ε.
    """
    reference = {REFERENCE: np.where(best > 0, best, 1.0)}
    rows = engine.spread(rows, group, census.key, reference, source)
    ratio, zero = nw.col(RATIO), nw.lit(0.0)
    rows = rows.with_columns((nw.col(BASE) + nw.col(AHEAD)).alias(LOWER))
    # Nobody reaches what follows an endless item.  No filters here: engines push them through all
    # that is computed before, and write it out again for each use.
    reachable = nw.col(LOWER) < np.inf
    rows = rows.with_columns(
        nw.when(reachable).then(ratio).otherwise(zero).alias(RATE),
        nw.when(reachable).then(nw.col(LOWER)).otherwise(zero).alias(LOWER),
    )
    rows = rows.with_columns(
        (nw.col(LOWER) + ratio * nw.col(LENGTH)).alias(UPPER),
        nw.when(nw.col(RATE) > 0).then(1 / ratio).otherwise(zero).alias(RATE),
        _pull(RATIO, within).alias(PULL),
        _pull(NEXT, within).alias(FOLLOWS),
    )
    rows = rows.with_columns(
        _log(LOWER, NOTHING).alias(LOG_LOWER),
        nw.when((nw.col(UPPER) < np.inf) & ((nw.col(RATE) > 0) | (ratio <= 0)))
        .then(_log(UPPER, NOTHING))
        .otherwise(nw.lit(ENDLESS))
        .alias(LOG_UPPER),
        nw.when(nw.col(AHEAD) > 0).then(zero).otherwise(nw.lit(1.0)).alias(FIRST_ITEM),
    )
    never, moves, more = nw.lit(NEVER), nw.col(RATE) > 0, nw.col(NEXT) > 0
    lower, upper = nw.col(LOG_LOWER), nw.col(LOG_UPPER)
    return rows.with_columns(
        nw.when(moves).then(lower - nw.col(PULL)).otherwise(never).alias(BEGIN),
        nw.when(moves).then(upper - nw.col(PULL)).otherwise(never).alias(END),
        nw.when(more).then(upper - nw.col(FOLLOWS)).otherwise(never).alias(FOLLOWS),
    )


def _grid(first: Floats, step: Floats, back: Floats, part: Floats) -> Grid:
    steps = np.where(part >= 0, step[:, None], back[:, None])
    return Grid(first, step, back, part, first[:, None] + steps * part)


def _pull(name: str, within: float) -> Any:
    """log(r/R)/ε of a ratio, 0 of none."""
    if within == np.inf:
        return nw.lit(0.0)
    positive = nw.col(name) > 0
    return nw.when(positive).then(nw.col(name) / nw.col(REFERENCE)).otherwise(
        nw.lit(1.0)
    ).log() / nw.lit(within)


def _log(name: str, of_zero: float) -> Any:
    positive = nw.col(name) > 0
    logarithm = nw.when(positive).then(nw.col(name)).otherwise(nw.lit(1.0)).log()
    return nw.when(positive).then(logarithm).otherwise(nw.lit(of_zero))


def reached(level: Any) -> Any:
    """Log utility to which an item has brought its person at a level, between its two ends."""
    reach = level + nw.col(PULL)
    reach = nw.when(reach > nw.col(LOG_LOWER)).then(reach).otherwise(nw.col(LOG_LOWER))
    return nw.when(reach < nw.col(LOG_UPPER)).then(reach).otherwise(nw.col(LOG_UPPER))


def spent(level: Any, log_utility: str) -> Any:
    """Money that an item has taken at a level, at which its person has this utility."""
    moved = (nw.col(log_utility).exp() - nw.col(LOWER)) * nw.col(RATE)
    begun = nw.when(level > nw.col(BEGIN)).then(moved).otherwise(nw.lit(0.0))
    return nw.when(level >= nw.col(END)).then(nw.col(LENGTH)).otherwise(begun)


class Heights(Search[Levels]):
    """ε > 0.  Places are levels; ``rows`` has the columns of `with_levels`."""

    beyond = True

    def __init__(
        self,
        rows: Frame,
        source: Frame,
        group: str,
        census: Census,
        start: Start,
        market: Market,
        within: float,
    ) -> None:
        super().__init__(rows, source, group, census, start, market)
        self.within, self.s = within, 1 - within
        self.log_top = np.full(census.size.size, np.inf)

    # --- sums of powers -----------------------------------------------------------------------
    @property
    def _near(self) -> bool:
        """Whether power means are taken by (u^s − 1)/s, which is log u at s = 0."""
        return abs(self.s) < NEAR_LOG

    @property
    def _has_peaks(self) -> bool:
        """Whether powers are taken relative to the largest, that of the least utility."""
        return bool(self.s <= -NEAR_LOG and self.within < np.inf)

    def _term(self, name: str, peak: str) -> Any:
        """What somebody of this log utility adds to V: u^s, relative to the PEAK where s < 0."""
        z = nw.col(name)
        if self.s == 0:
            return z
        if not self._near:
            return (self.s * (z - nw.col(peak) if self.s < 0 else z)).exp()
        # (e^y − 1)/s = z (w − 1)/log w with w = e^y as rounded, y = s z (Kahan).
        w = (self.s * z).exp()
        close = (w > 0.5) & (w < 2) & (w != 1)
        safe = nw.when(close).then(w).otherwise(nw.lit(2.0))
        kahan = z * (safe - 1) / safe.log()
        plain = nw.when(w == 1).then(z).otherwise((w - 1) / self.s)
        return nw.when(close).then(kahan).otherwise(plain)

    def _with_peaks(self, rows: Frame, some: dict[str, tuple[str, Any]]) -> Frame:
        """At s < 0 the least log utilities of some items by group: the largest powers."""
        if not self._has_peaks:
            return rows
        masked = rows.with_columns(
            *(
                nw.when(mask).then(nw.col(name)).otherwise(nw.lit(NEVER)).alias(peak)
                for peak, (name, mask) in some.items()
            )
        )
        peaks = masked.group_by(self.group).agg(*(nw.col(peak).min() for peak in some))
        return rows.join(peaks, on=self.group, how="left")

    def _log_mean(self, total: Floats, peak: Floats | None) -> Floats:
        """Log V from the sums of `_term`."""
        size = self.census.size if total.ndim == 1 else self.census.size[:, None]
        mean, s = total / size, self.s
        with np.errstate(divide="ignore", invalid="ignore"):
            if s == 0:
                return mean
            if self._near:
                return np.log1p(np.maximum(s * mean, -1.0)) / s
            shift = 0.0 if peak is None else np.where(peak < FAR, peak, 0.0)
            return np.log(mean) / s + shift

    def _level(self, place: Floats, log_value: Floats, rate: Floats | None = None) -> Floats:
        """ℓ at a place; ``rate`` is Σ 1/r over those who move, at ε = ∞."""
        if self.market.by_level:
            return place
        column = (slice(None), None) if place.ndim == 2 else slice(None)
        with np.errstate(divide="ignore", invalid="ignore"):
            if rate is not None:
                stuck = (rate <= 0) | (place >= self.log_top[column])
                slope = np.where(stuck, -np.inf, -np.log(rate))
            else:
                log_best = np.log(np.where(self.start.best > 0, self.start.best, 1.0))
                first = (log_best - np.log(self.census.size))[column]
                slope = first + self.within * (log_value - place)
        return self.market.level(log_value, slope)

    # --- what a search asks -------------------------------------------------------------------
    def ends(self) -> tuple[State, State]:
        """Nobody moves yet; everybody is through.  One pass, two more at ε = ∞."""
        first, last = nw.col(FIRST_ITEM) > 0, nw.col(FOLLOWS) >= FAR
        some = {PEAK: (LOG_LOWER, first)}
        rows = self._with_peaks(self.rows, some)
        finite = [(nw.col(name) > -FAR) & (nw.col(name) < FAR) for name in (BEGIN, END)]
        columns: dict[str, Any] = {}
        for j, (name, ok) in enumerate(zip((BEGIN, END), finite, strict=True)):
            columns[f"_af_l{j}"] = nw.when(ok).then(nw.col(name)).otherwise(nw.lit(NEVER))
            columns[f"_af_h{j}"] = nw.when(ok).then(nw.col(name)).otherwise(nw.lit(-NEVER))
            columns[f"_af_n{j}"] = nw.when(ok).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
        columns["_af_b"] = nw.when(nw.col(BEGIN) < -FAR).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
        columns["_af_top"] = nw.when(last).then(nw.col(LOG_UPPER)).otherwise(nw.lit(NEVER))
        value = nw.lit(0.0) if self.within == np.inf else self._term(LOG_LOWER, PEAK)
        columns["_af_v"] = nw.when(first).then(value).otherwise(nw.lit(0.0))
        columns["_af_m"] = nw.when(first).then(nw.col(LOG_LOWER)).otherwise(nw.lit(NEVER))
        rows = rows.with_columns(*(column.alias(name) for name, column in columns.items()))
        how = {name: "min" if name[4] in "ltm" else "max" if name[4] == "h" else "sum"
               for name in columns}  # fmt: skip
        found = self.collect(rows, *(getattr(nw.col(name), kind)() for name, kind in how.items()))
        value_of = {name: np.array(found[name], float) for name in columns}
        least = np.minimum(value_of["_af_l0"], value_of["_af_l1"])
        most = np.maximum(value_of["_af_h0"], value_of["_af_h1"])
        none = least > FAR
        margin = 1e-9 * (1 + np.abs(np.where(none, 0.0, np.maximum(-least, most))))
        self._first = np.where(none, 0.0, least) - margin
        self._last = np.where(none, 0.0, most) + margin
        start, infinite = self.start, np.full(none.size, np.inf)
        poorest = value_of["_af_m"]
        if self.within == np.inf:
            top = value_of["_af_top"]
            self.log_top = np.where(top >= FAR, np.inf, np.where(top <= -FAR, -np.inf, top))
            log_value = np.where(poorest <= -FAR, -np.inf, poorest)
            self._split_at_the_top()
        else:
            log_value = self._log_mean(value_of["_af_v"], poorest if self.s < 0 else None)
            log_value = np.where((poorest <= -FAR) & (self.s <= 0), -np.inf, log_value)
        count = value_of["_af_n0"] + value_of["_af_n1"]
        return (
            State(
                np.where((value_of["_af_b"] > 0) | none, -np.inf, least),
                start.spent,
                log_value,
                -infinite,
                0 * count,
            ),
            State(infinite, start.most, infinite, infinite, count),
        )

    def _split_at_the_top(self) -> None:
        """ε = ∞: up to ``log_top`` the groups rise by the price, or from there all by the level."""
        market, top = self.market, np.clip(self.log_top, -FAR, FAR)
        here = self.measure(_grid(top, 0 * top, 0 * top, np.zeros(1)))
        useful = np.clip(here.money[:, 0], market.least, market.most)
        if market.alpha < np.inf and useful.sum() > market.budget:
            self.market = market._replace(most=useful)
        elif market.alpha < np.inf:
            self.market = market._replace(least=useful, by_level=True)
        else:
            self.market = market._replace(by_level=True)

    def width(self, low: State, high: State) -> Floats:
        """(K,) distance of the levels."""
        return np.where(high.place > low.place, high.place, 0.0) - np.where(
            high.place > low.place, low.place, 0.0
        )

    def grid(self, low: State, high: State) -> Grid:
        """Levels in arithmetic progression."""
        first = np.where(low.place == -np.inf, self._first, low.place)
        last = np.where(high.place == np.inf, self._last, high.place)
        from_below, to_above = low.place == -np.inf, high.place == np.inf
        count = SPACED + 1 - from_below.astype(int) - to_above
        step = np.maximum(last - first, 0.0) / count
        first = np.where(from_below, first, first + step)
        return _grid(first, step, step, np.arange(SPACED, dtype=float))

    def aimed(self, low: State, high: State) -> Grid | None:
        """Levels ever closer to the one at which a group would be if log x were linear in ℓ.

        It nearly is, so that a few levels there narrow the bracket as much as many equally spaced.
        """
        stays = high.passed <= low.passed
        known = np.isfinite([low.level, high.level, low.place, high.place]).all(axis=0)
        if not (known | stays).all() or stays.all():
            return None
        below, above = np.where(stays, 0.0, low.level), np.where(stays, 1.0, high.level)
        gap, market = np.where(above > below, above - below, np.inf), self.market

        least = np.maximum(low.money, NEGLIGIBLE)
        growth = np.where(stays, 1.0, np.maximum(high.money, least) / least)

        def part(level: float) -> Floats:
            return np.where(stays, 0.0, np.clip((level - below) / gap, 0.0, 1.0))

        def too_much(level: float) -> bool:
            money = least * growth ** part(level)
            return bool(np.clip(money, market.least, market.most).sum() >= market.budget)

        price = bisect(too_much, below[~stays].min(), above[~stays].max())[1]
        width = np.where(stays, 0.0, high.place - low.place)
        back = np.clip(part(price), 1 / 64, 63 / 64) * width
        return _grid(np.where(stays, 0.0, low.place) + back, width - back, back, AIMED)

    def measure(self, grid: Grid) -> State:
        """Sums at each level, afresh."""
        places, count = grid.places, grid.part.size
        rows = self.spread(self.rows, {FIRST: grid.first, STEP: grid.step, BACK: grid.back})
        one, zero = nw.lit(1.0), nw.lit(0.0)
        at = [
            nw.col(FIRST) + nw.col(STEP if part >= 0 else BACK) * float(part) for part in grid.part
        ]
        rows = rows.with_columns(*(at[j].alias(f"_af_p{j}") for j in range(count)))
        at = [nw.col(f"_af_p{j}") for j in range(count)]
        rows = rows.with_columns(*(reached(at[j]).alias(f"_af_z{j}") for j in range(count)))
        held = [
            ((p >= nw.col(BEGIN)) | (nw.col(FIRST_ITEM) > 0)) & (p < nw.col(FOLLOWS)) for p in at
        ]
        rows = self._with_peaks(rows, {f"_af_m{j}": (f"_af_z{j}", held[j]) for j in range(count)})
        columns: dict[str, Any] = {}
        for j, p in enumerate(at):
            begun, ended = p >= nw.col(BEGIN), p >= nw.col(END)
            if self.within == np.inf:
                value = nw.when(begun & ~ended).then(nw.col(RATE)).otherwise(zero)
            else:
                term = self._term(f"_af_z{j}", f"_af_m{j}")
                value = nw.when(held[j]).then(term).otherwise(zero)
            passed = [
                nw.when(done & (nw.col(name) > -FAR)).then(one).otherwise(zero)
                for done, name in ((begun, BEGIN), (ended, END))
            ]
            columns[f"_af_x{j}"] = spent(p, f"_af_z{j}")
            columns[f"_af_v{j}"] = value
            columns[f"_af_n{j}"] = passed[0] + passed[1]
        rows = rows.with_columns(*(column.alias(name) for name, column in columns.items()))
        peaks = self._has_peaks
        found = self.collect(
            rows,
            *(nw.col(name).sum() for name in columns),
            *(nw.col(f"_af_m{j}").max() for j in range(count) if peaks),
        )
        money, total, passed_items = (
            np.array([found[f"_af_{letter}{j}"] for j in range(count)], float).T for letter in "xvn"
        )
        peak = np.array([found[f"_af_m{j}"] for j in range(count)], float).T if peaks else None
        if self.within == np.inf:
            log_value = np.minimum(places, self.log_top[:, None])
            level = self._level(places, log_value, total)
        else:
            log_value = self._log_mean(total, peak)
            level = self._level(places, log_value)
        return State(places, self.start.spent[:, None] + money, log_value, level, passed_items)

    # --- the stretch around the optimum ---------------------------------------------------------
    def pieces(self, low: State, high: State) -> Levels:
        """`Levels` from the items between; of all others the sums of who moves and who rests."""
        between = [State(np.clip(s.place, -FAR, FAR), *s[1:]) for s in (low, high)]
        near = np.where(np.isfinite(low.place), low.place, high.place)
        near = np.where(np.isfinite(near), near, 0.0)
        rows = self.between(*between)
        bottom, top = nw.col(LOW), nw.col(HIGH)
        rows = rows.with_columns(
            *(
                nw.when((nw.col(name) > bottom) & (nw.col(name) < top))
                .then(nw.lit(1.0))
                .otherwise(nw.lit(0.0))
                .alias(f"{INSIDE}{j}")
                for j, name in enumerate((BEGIN, END, FOLLOWS))
            )
        )
        inside = nw.col(f"{INSIDE}0") + nw.col(f"{INSIDE}1") + nw.col(f"{INSIDE}2")
        rows = rows.with_columns(
            nw.when(inside > 0).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).alias(INSIDE)
        )
        rows, sums = self._background(rows, near)
        names = [RATIO, PULL, LOG_LOWER, LOG_UPPER, BEGIN, END, FOLLOWS, FIRST_ITEM]
        # All items that are not inside are one row of a group.
        rows = rows.with_columns(*((nw.col(name) * nw.col(INSIDE)).alias(name) for name in names))
        how = [nw.col(name).max() if name == PEAK else nw.col(name).sum() for name in sums]
        table = rows.group_by(KEY, INSIDE, *names).agg(nw.len().alias(COUNT), *how)
        found = self.gather(table)
        others, some = found[INSIDE] == 0, found[INSIDE] > 0
        total = {name: np.zeros(near.size) for name in [*sums, PEAK]}
        for name in sums:
            total[name][found["code"][others]] = found[name][others]
        moving, resting = self._sums_of_others(total, near)
        found = {name: column[some] for name, column in found.items()}
        for name in (BEGIN, END, FOLLOWS, LOG_LOWER, LOG_UPPER):
            far = np.abs(found[name]) > FAR
            found[name] = np.where(far, np.copysign(np.inf, found[name]), found[name])
        return self._levels(low, high, found, moving, resting)

    def _background(self, rows: Frame, near: Floats) -> tuple[Frame, list[str]]:
        """What the items add that are not INSIDE, and the names of it, to be summed by group."""
        rows = self.spread(rows, {LEVEL: near})
        bottom, top, zero = nw.col(LOW), nw.col(HIGH), nw.lit(0.0)
        begin, end, follows = (nw.col(name) for name in (BEGIN, END, FOLLOWS))
        quiet = nw.col(INSIDE) == 0
        moves = quiet & (begin <= bottom) & (end >= top) & (end > bottom)
        low = quiet & (nw.col(FIRST_ITEM) > 0) & (begin >= top) & (begin > bottom)
        high = quiet & (end <= bottom) & (follows >= top) & (follows > bottom)
        one = nw.lit(1.0)
        rows = rows.with_columns(
            nw.when(low).then(nw.col(LOG_LOWER)).otherwise(nw.col(LOG_UPPER)).alias(RESTING),
            nw.when(moves).then(one).otherwise(zero).alias(SIZE),
            nw.when(low | high).then(one).otherwise(zero).alias(RESTS),
        )
        moves, rests = nw.col(SIZE) > 0, nw.col(RESTS) > 0
        rows = self._with_peaks(rows, {PEAK: (RESTING, rests)})
        rate = (nw.col(PULL) + nw.col(LEVEL)).exp() * nw.col(RATE)
        columns = {MOVING: nw.when(moves).then(rate).otherwise(zero)}
        if self.within < np.inf:
            columns[TERMS] = nw.when(rests).then(self._term(RESTING, PEAK)).otherwise(zero)
        if self._near:
            columns[MEAN] = nw.when(moves).then(self._term(PULL, PEAK)).otherwise(zero)
            power = (self.s * nw.col(RESTING)).exp()
            columns[POWERS] = nw.when(rests).then(power).otherwise(zero)
        rows = rows.with_columns(*(column.alias(name) for name, column in columns.items()))
        return rows, [*columns, SIZE, *([PEAK] if self._has_peaks else [])]

    def _sums_of_others(self, total: dict[str, Floats], near: Floats) -> tuple[Any, Any]:
        """(3, K) of who moves: log Σ e^pull/r, Σ h(pull), how many; and (2, K) of who rests:
        log Σ u^s and Σ h(log u).
        """
        none = np.zeros(near.size)
        terms = total.get(TERMS, none)
        with np.errstate(divide="ignore"):
            log_rate = np.log(total[MOVING]) - near
            log_rest = np.log(total[POWERS] if self._near else terms)
        if self._has_peaks:
            log_rest = log_rest + self.s * np.where(total[PEAK] < FAR, total[PEAK], 0.0)
        return (log_rate, total.get(MEAN, none), total[SIZE]), (log_rest, terms)

    def _levels(
        self, low: State, high: State, found: dict[str, Any], moving: Any, resting: Any
    ) -> Levels:
        size, groups = self.census.size, self.census.size.size
        code, times, everyone = found["code"], found[COUNT], np.arange(groups)
        bounds = [found[name] for name in (BEGIN, END, FOLLOWS)]
        # The moments at which something changes, between the two places.
        inner = [np.flatnonzero((low.place[code] < b) & (b < high.place[code])) for b in bounds]
        moment = np.concatenate(
            [low.place, high.place, *(b[i] for b, i in zip(bounds, inner, strict=True))]
        )
        owner = np.concatenate([everyone, everyone, *(code[i] for i in inner)])
        kind = np.concatenate(
            [np.full(groups, -1), np.ones(groups), np.zeros(owner.size - 2 * groups)]
        )
        order = np.lexsort((kind, moment, owner))
        rank = np.empty(order.size, np.intp)
        rank[order] = np.arange(order.size)
        start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=groups))])
        place, positions = 2 * groups, []
        for b, i in zip(bounds, inner, strict=True):
            position = np.where(b <= low.place[code], start[code], start[code + 1])
            position[i] = rank[place : place + i.size]
            place += i.size
            positions.append(position)
        begin, end, follows = positions
        tau = moment[order]
        last = last_of_ties(tau, start)
        first_item = found[FIRST_ITEM] > 0
        stays = np.concatenate(
            [np.where(first_item, start[code], start[code + 1]), end, start[:-1]]
        )
        leaves = np.concatenate([begin, follows, start[1:]])
        repeat, owners = np.log(times), np.concatenate([code, code])
        pull, log_u = found[PULL], np.concatenate([found[LOG_LOWER], found[LOG_UPPER]])

        def log_sums(term: Floats, first: Integers, stop: Integers) -> Floats:
            some = (stop > first) & np.isfinite(term)
            sums = interval_log_sums(term[some], first[some], stop[some], tau.size)
            return np.asarray(sums[last])

        log_rate = log_sums(
            np.concatenate([pull - np.log(np.where(found[RATIO] > 0, found[RATIO], 1.0)) + repeat,
                            moving[0]]),
            np.concatenate([begin, start[:-1]]), np.concatenate([end, start[1:]]),
        )  # fmt: skip
        log_rest, three = np.full(tau.size, -np.inf), np.zeros((3, tau.size))
        twice = np.concatenate([times, times])
        if self.within < np.inf:
            with np.errstate(invalid="ignore"):
                powers = np.concatenate([self.s * log_u + np.log(twice), resting[0]])
            log_rest = log_sums(powers, stays, leaves)
        if self._near:
            three = self._means(
                (log_u, twice, stays[: twice.size], leaves[: twice.size], owners),
                (pull, times, begin, end, code), moving, resting, start,
            )[:, last]  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            step = np.exp(log_rate[:-1] + tau[:-1]) * np.expm1(np.diff(tau))
            step = np.where(tau[:-1] == -np.inf, np.exp(log_rate[:-1] + tau[1:]), step)
        step = np.where((tau[1:] == tau[:-1]) | (log_rate[:-1] == -np.inf), 0.0, step)
        money = money_of_steps(step, low.money, start)
        through = (high.place == np.inf) & np.isfinite(high.money)
        ends = start[1:] - 1
        money[ends[through]] = np.maximum(money[ends - 1], high.money)[through]
        best = np.where(self.start.best > 0, self.start.best, 1.0)
        chains: Any = None  # the items are in the engine
        value = with_values(
            Levels(
                start=start, money=money, within=self.within, chains=chains, pull=pull,
                lower=pull, upper=pull, ends=np.zeros(pull.size, np.intp), size=size,
                log_best=np.log(best), level=tau, log_rate=log_rate, log_rest=log_rest,
                mean_rest=three[0], mean_move=three[1], part=three[2], log_top=self.log_top,
                log_value=tau, log_slope=tau,
            )
        )  # fmt: skip
        # The last piece here is no end, unless all are through: V goes on from the one before.
        goes_on = ~((high.place == np.inf) | np.isnan(tau[ends]))
        if self.within < np.inf and goes_on.any():
            value.log_value[ends[goes_on]] = value._log_value(ends - 1, tau[ends])[goes_on]
        return value

    def _means(self, rest: Any, move: Any, moving: Any, resting: Any, start: Integers) -> Floats:
        """(3, P) means over the members for ε near 1, as `Levels` has them."""
        total, means, s = int(start[-1]), [], self.s

        def grown(z: Floats) -> Floats:
            with np.errstate(over="ignore", invalid="ignore"):
                return z if s == 0 else np.expm1(s * z) / s

        sums = (
            (grown(rest[0]), rest, resting[1]),
            (grown(move[0]), move, moving[1]),
            (np.ones(move[0].size), move, moving[2]),
        )
        for value, (_, times, first, stop, code), background in sums:
            some = (stop > first) & np.isfinite(value)
            first, stop, amount = first[some], stop[some], (value * times)[some]
            change = np.bincount(first, amount, total).astype(float, copy=False)
            goes = np.flatnonzero(stop < start[code[some] + 1])
            change -= np.bincount(stop[goes], amount[goes], total)
            change[start[:-1]] += background
            means.append(prefix_sums(change, start))
        return np.asarray(means) / np.repeat(self.census.size, np.diff(start))

    def margins(self, value: Levels, money: Floats) -> Floats:
        """(K,) the level to which each group is brought, cut at ±`FAR`."""
        piece, ends = value.locate(money), value.start[1:] - 1
        level = np.where(piece == ends, value.level[ends], value.at(money).level)
        return np.clip(level, -FAR, FAR)
