"""Caps, floors, baselines and exclusive offers of a frame whose rows stay in the engine."""

from __future__ import annotations

from typing import Any, NoReturn

import narwhals as nw
import numpy as np

from ..allocation import Allocation
from ..checks import Floats, number
from ..groups import Groups, group_weights
from ..problem import Problem, refuse_tiny_within
from ..value import Knapsack, Levels, log_relative
from . import engine
from .chains import (
    ENDLESS_ROWS,
    LENGTH,
    OFFER,
    OFFER_GAIN,
    SPAN,
    STEP_BEGIN,
    Start,
    in_steps,
    ladders,
    movable_rows,
    people_of,
    people_of_steps,
    steps,
    take_start,
    with_idle,
)
from .checks import Columns
from .engine import CAP, COST, DOSE, FLOOR, RATIO, TIES, Frame
from .heights import LEVEL, Heights, reached, spent, with_levels
from .search import Market, Ratios
from .stages import Census

FULL, PART, SHARE = "_af_full_from", "_af_partly_from", "_af_share"
REACHED, TAKEN, WHOLE = "_af_reached", "_af_taken", "_af_whole"


IN_THE_ENGINE = (
    "the rows of a lazy frame stay in its engine: the doses are the column 'dose' of the frame; "
    "collect the frame first for derivatives and other results by person"
)
AROUND_THE_OPTIMUM = (
    "of a lazy frame with bounds or a baseline only the pieces of V around the optimum are known: "
    "for another α call solve with the frame again, or collect the frame first"
)


class Summary(Problem):
    """A problem of which only sums by group are here: the rows are in an engine.

    It has what an `Allocation` needs to tell of the groups.  ``value`` covers the stretch of V
    around the optimum; what needs the rows, such as the doses or a gradient, is refused, and so is
    what needs the rest of V.
    """

    def __init__(
        self,
        census: Census,
        start: Start,
        scale: float,
        ratio_unit: float,
        *,
        budget: float,
        within: float,
        weight: Any,
        exclusive: bool,
        group_floor: Any,
        group_cap: Any,
    ) -> None:
        groups = Groups(census.label)
        groups.size = census.size
        productivity = start.best * ratio_unit / census.size
        fields: dict[str, Any] = {
            "groups": groups,
            "budget": budget,
            "within": within,
            "weight": group_weights(weight, groups),
            "unit": 0,
            "exclusive": exclusive,
            **dict.fromkeys(("cap", "floor", "baseline", "ladder", "in_steps")),
            "ratio_unit": ratio_unit,
            "spent_at_floors": start.spent * scale,
            "base": start.base,
            "productivity": productivity,
            "log_productivity": None,
            "_most": start.most * scale,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        total = float(self.spent_at_floors.sum())
        if total > budget * (1 + 1e-12):
            raise ValueError(
                f"floor costs {total:g} in all (Σ cost·floor), more than the budget of "
                f"{budget:g}: raise the budget or lower the floors"
            )
        self._set_group_bounds(group_floor, group_cap)
        object.__setattr__(self, "log_weight", log_relative(self.weight))

    @property
    def is_linear(self) -> bool:
        """False."""
        return False

    @property
    def shape(self) -> NoReturn:
        """Refused: there is no table."""
        raise TypeError(IN_THE_ENGINE)

    def allocate(self, alpha: float) -> NoReturn:
        """Refused: at another α the groups may stand elsewhere."""
        raise TypeError(f"allocate({alpha:g}) has no answer here: {AROUND_THE_OPTIMUM}")

    def group_utility(self, money: Any) -> NoReturn:
        """Refused: V is known around the optimum only."""
        raise TypeError(f"group_utility has no answer here: {AROUND_THE_OPTIMUM}")

    def marginal_utility(self, money: Any) -> NoReturn:
        """Refused: V is known around the optimum only."""
        raise TypeError(f"marginal_utility has no answer here: {AROUND_THE_OPTIMUM}")

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name!r} is not here: {IN_THE_ENGINE}")

    def _most_money(self) -> Floats:
        return self._most


class OfGroups(Allocation):
    """The `Allocation` of a `Summary`."""

    @property
    def productivity(self) -> Floats:
        """(K,) V'(0+) at within = 0; elsewhere it is not among the sums and refused."""
        if self.problem.within > 0:
            raise TypeError(f"productivity is not known at within > 0: {IN_THE_ENGINE}")
        return self.problem.productivity


def solve_lazy(
    rows: Frame,
    census: Census,
    columns: Columns,
    *,
    budget: float,
    alpha: float,
    within: float,
    weight: Any,
    group_floor: Any,
    group_cap: Any,
) -> tuple[Frame, Allocation]:
    """The rows with DOSE, and the `Allocation` across groups."""
    budget = number("budget", budget, "finite and ≥ 0", lambda v: 0 <= v < np.inf)
    refuse_tiny_within(within)
    scale = budget or 1.0
    best = float(census.best.max())
    unit = best if best > 0 else 1.0
    source = rows.select(columns.group)
    rows = movable_rows(rows, columns, unit, scale, within)
    people, items = people_of(rows, columns, within), rows
    if in_steps(columns):
        items = steps(rows, columns)
        people = people_of_steps(people, items, columns)
    start = take_start(people, census, columns, within, unit * scale)
    problem = Summary(
        census, start, scale, unit, budget=budget, within=within, weight=weight,
        exclusive=columns.exclusive, group_floor=group_floor, group_cap=group_cap,
    )  # fmt: skip
    least, most = start.spent, start.most
    if problem.group_floor is not None:
        least = np.maximum(least, problem.group_floor / scale)
    if problem.group_cap is not None:
        most = np.minimum(most, problem.group_cap / scale)
    market = Market(problem.log_weight, alpha, budget / scale, least, np.maximum(least, most))
    value: Knapsack | Levels
    if within == 0:
        search = Ratios(items, source, columns.group, census, start, market)
        pieces, money = search.solve()
        value = pieces
        taken = _taken_of_ratios(items, source, census, columns, search.margins(pieces, money))
    else:
        if in_steps(columns):
            chain = with_idle(people, items, columns)
        else:
            chain = ladders(rows, people, columns)
        chain = with_levels(chain, source, columns.group, census, start.best, within)
        climb = Heights(chain, source, columns.group, census, start, market, within)
        value, money = stretch, _ = climb.solve()
        taken = _taken_of_levels(chain, source, census, columns, climb.margins(stretch, money))
    if in_steps(columns):
        doses = _doses_of_steps(rows, taken, columns)
    elif within > 0 and columns.person is not None:
        doses = with_doses(_shared(rows, taken, columns), scale)
    else:
        doses = with_doses(taken, scale)
    problem.__dict__["value"] = value
    return doses, OfGroups(alpha, problem, money)


# --- back to the rows -------------------------------------------------------------------------
def _taken_of_ratios(
    items: Frame,
    source: Frame,
    census: Census,
    columns: Columns,
    margins: tuple[Floats, Floats, Floats],
) -> Frame:
    """Items with the money TAKEN: all on full items, a part of it on those at the margin."""
    values = dict(zip((FULL, PART, SHARE), margins, strict=True))
    items = engine.spread(items, columns.group, census.key, values, source)
    ratio, zero = nw.col(RATIO), nw.lit(0.0)
    at_margin = (ratio >= nw.col(PART)) & (ratio > 0)
    part = nw.when(at_margin).then(nw.col(SHARE) * nw.col(LENGTH)).otherwise(zero)
    full = (ratio >= nw.col(FULL)) & (ratio > 0)
    return items.with_columns(nw.when(full).then(nw.col(LENGTH)).otherwise(part).alias(TAKEN))


def _taken_of_levels(
    items: Frame, source: Frame, census: Census, columns: Columns, level: Floats
) -> Frame:
    """Items with the money TAKEN: all are brought to the level of their group, if they can be."""
    items = engine.spread(items, columns.group, census.key, {LEVEL: level}, source)
    items = items.with_columns(reached(nw.col(LEVEL)).alias(REACHED))
    return items.with_columns(spent(nw.col(LEVEL), REACHED).alias(TAKEN))


def _shared(rows: Frame, items: Frame, columns: Columns) -> Frame:
    """Rows with the money TAKEN: those of a person that tie, one item, share that of the item.

    They share in parts of their lengths; if some are endless, these alone, in equal parts.
    """
    owner: list[Any] = [columns.group, columns.person]
    found = items.filter(nw.col(RATIO) > 0).select(
        *owner, RATIO, TAKEN, ENDLESS_ROWS, nw.col(LENGTH).alias(WHOLE)
    )
    rows = engine.join(rows, found, [*owner, RATIO])
    absent = {TAKEN: 0.0, ENDLESS_ROWS: 1.0, WHOLE: 0.0}
    rows = rows.with_columns(*(nw.col(name).fill_null(v) for name, v in absent.items()))
    length, whole = nw.col(LENGTH), nw.col(WHOLE)
    endless = nw.when(length == np.inf).then(nw.col(TAKEN) / nw.col(ENDLESS_ROWS))
    part = nw.when((whole > 0) & (whole < np.inf)).then(nw.col(TAKEN) * (length / whole))
    return rows.with_columns(endless.otherwise(part.otherwise(nw.lit(0.0))).alias(TAKEN))


def with_doses(rows: Frame, scale: float) -> Frame:
    """DOSE = floor + TAKEN/cost; exactly the cap where all of the LENGTH is taken."""
    full = (nw.col(TAKEN) >= nw.col(LENGTH)) & (nw.col(LENGTH) > 0) & (nw.col(CAP) < np.inf)
    more = nw.col(TAKEN) * scale / nw.col(COST)
    some = nw.when(nw.col(TAKEN) > 0).then(nw.col(FLOOR) + more).otherwise(nw.col(FLOOR))
    rows = rows.with_columns(nw.when(full).then(nw.col(CAP)).otherwise(some).alias(DOSE))
    capped = nw.when(nw.col(DOSE) > nw.col(CAP)).then(nw.col(CAP)).otherwise(nw.col(DOSE))
    return rows.with_columns(capped.alias(DOSE))


def _doses_of_steps(rows: Frame, items: Frame, columns: Columns) -> Frame:
    """DOSE where offers are exclusive: a step made in part leaves the rest to the one before.

    Rows that tie in money and utility share.
    """
    owner: list[Any] = [columns.group, columns.person]
    made = items.filter(nw.col(RATIO) > 0).with_columns(
        (nw.col(TAKEN) / nw.col(LENGTH)).alias(SHARE)
    )
    end = [*owner, OFFER, OFFER_GAIN]
    ends = made.select(*end, SHARE)
    begins = made.select(*owner, nw.col(STEP_BEGIN).alias(OFFER), nw.col(SHARE).alias(PART))
    ties = rows.filter(nw.col(RATIO) > 0).group_by(*end).agg(nw.len().alias(TIES))
    ends = ends.join(ties, on=end, how="left").join(begins, on=[*owner, OFFER], how="left")
    rows = engine.join(rows, ends, end)
    absent = {SHARE: 0.0, PART: 0.0, TIES: 1.0}
    rows = rows.with_columns(
        *(nw.col(name).cast(nw.Float64).fill_null(v).alias(name) for name, v in absent.items())
    )
    part = (nw.col(SHARE) - nw.col(PART)) / nw.col(TIES)
    given = (nw.col(RATIO) > 0) & (part > 0)
    more = nw.when(given).then(part * nw.col(SPAN)).otherwise(nw.lit(0.0))
    return rows.with_columns((nw.col(FLOOR) + more).alias(DOSE))
