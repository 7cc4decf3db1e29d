"""Caps, floors and baselines of a frame whose rows stay in the engine."""

from __future__ import annotations

from typing import Any, NoReturn

import narwhals as nw
import numpy as np

from ..allocation import Allocation
from ..checks import Floats, number
from ..groups import Groups, group_weights
from ..problem import Problem
from ..value import Knapsack, Levels, log_relative
from . import engine
from .chains import ENDLESS_ROWS, LENGTH, Start, ladders, movable_rows, people_of, take_start
from .checks import Columns
from .engine import CAP, COST, DOSE, FLOOR, RATIO, Frame
from .heights import LEVEL, Heights, reached, spent, with_levels
from .search import Market, Ratios
from .stages import Census

FULL, PART, SHARE = "_af_full", "_af_part", "_af_share"
REACHED, TAKEN, WHOLE = "_af_reached", "_af_taken", "_af_whole"


class Summary(Problem):
    """A problem of which only sums by group are here: the rows are in an engine.

    It has what an `Allocation` needs to tell of the groups.  ``value`` covers the stretch of V
    around the optimum; what needs the rows, such as the doses or a gradient, is refused.
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
        productivity = start.best / census.size
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
        raise TypeError(
            "the rows of a lazy frame stay in its engine: the doses are the column 'dose' of the "
            "frame; collect the frame first for derivatives and other results by person"
        )

    def _most_money(self) -> Floats:
        return self._most  # type: ignore[attr-defined,no-any-return]


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
    scale = budget or 1.0
    best = float(census.best.max())
    unit = best if best > 0 else 1.0
    rows = movable_rows(rows, columns, unit, scale, within)
    people = people_of(rows, columns)
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
    pieces: Knapsack | Levels
    if within == 0:
        search = Ratios(rows, columns.group, census, start, market)
        pieces, money = search.solve()
        doses = _doses_of_ratios(rows, census, columns, search.margins(pieces, money), scale)
    else:
        items = ladders(rows, people, columns)
        items = with_levels(items, columns.group, census, start.best, within)
        climb = Heights(items, columns.group, census, start, market, within)
        pieces, money = climb.solve()
        doses = _doses_of_levels(rows, items, census, columns, climb.margins(pieces, money), scale)
    problem.__dict__["value"] = pieces
    return doses, Allocation(alpha, problem, money)


def _doses_of_levels(
    rows: Frame, items: Frame, census: Census, columns: Columns, level: Floats, scale: float
) -> Frame:
    """DOSE: everybody is brought to the level of her group, as far as her items go."""
    items = engine.spread(items, columns.group, census.key, {LEVEL: level})
    items = items.with_columns(reached(nw.col(LEVEL)).alias(REACHED))
    items = items.with_columns(spent(nw.col(LEVEL), REACHED).alias(TAKEN))
    if columns.person is None:
        return with_money(items.with_columns(nw.col(TAKEN).alias(SHARE)), scale)
    owner = [columns.group, columns.person]
    found = items.filter(nw.col(RATIO) > 0).select(
        *owner, RATIO, TAKEN, ENDLESS_ROWS, nw.col(LENGTH).alias(WHOLE)
    )
    rows = engine.join(rows, found, [*owner, RATIO])
    absent = {TAKEN: 0.0, ENDLESS_ROWS: 1.0, WHOLE: 0.0}
    rows = rows.with_columns(*(nw.col(name).fill_null(v) for name, v in absent.items()))
    # Rows that tie share in parts of their lengths; if some are endless, these alone.
    endless = nw.when(nw.col(LENGTH) == np.inf).then(nw.col(TAKEN) / nw.col(ENDLESS_ROWS))
    shared = nw.col(TAKEN) * (nw.col(LENGTH) / nw.col(WHOLE))
    finite = nw.when((nw.col(WHOLE) > 0) & (nw.col(WHOLE) < np.inf)).then(shared)
    taken = endless.otherwise(finite.otherwise(nw.lit(0.0)))
    return with_money(rows.with_columns(taken.alias(SHARE)), scale)


def with_money(rows: Frame, scale: float) -> Frame:
    """DOSE = floor + money / cost; exactly the cap where the money, SHARE, is the LENGTH."""
    full = (nw.col(SHARE) >= nw.col(LENGTH)) & (nw.col(LENGTH) > 0)
    more = nw.col(SHARE) * scale / nw.col(COST)
    rows = rows.with_columns(
        nw.when(full)
        .then(nw.col(CAP))
        .otherwise(nw.when(nw.col(SHARE) > 0).then(nw.col(FLOOR) + more).otherwise(nw.col(FLOOR)))
        .alias(DOSE)
    )
    capped = nw.when(nw.col(DOSE) > nw.col(CAP)).then(nw.col(CAP)).otherwise(nw.col(DOSE))
    return rows.with_columns(capped.alias(DOSE))


def _doses_of_ratios(
    rows: Frame, census: Census, columns: Columns, margins: tuple[Floats, Floats, Floats],
    scale: float,
) -> Frame:  # fmt: skip
    """DOSE: the cap on full items, parts of those at the margin, the floor on the others."""
    values = dict(zip((FULL, PART, SHARE), margins, strict=True))
    rows = engine.spread(rows, columns.group, census.key, values)
    ratio = nw.col(RATIO)
    share = nw.when(ratio >= nw.col(FULL)).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
    at_margin = (ratio >= nw.col(PART)) & (ratio < nw.col(FULL))
    share = nw.when(at_margin).then(nw.col(SHARE)).otherwise(share)
    share = nw.when(ratio > 0).then(share).otherwise(nw.lit(0.0))
    return with_shares(rows.with_columns(share.alias(SHARE)), scale)


def with_shares(rows: Frame, scale: float) -> Frame:
    """DOSE = floor + SHARE · LENGTH / cost; exactly the cap where the share is 1."""
    more = nw.col(SHARE) * nw.col(LENGTH) * scale / nw.col(COST)
    dose = nw.when(nw.col(SHARE) > 0).then(nw.col(FLOOR) + more).otherwise(nw.col(FLOOR))
    rows = rows.with_columns(dose.alias(DOSE))
    full = (nw.col(DOSE) > nw.col(CAP)) | ((nw.col(SHARE) >= 1) & (nw.col(CAP) < np.inf))
    capped = nw.when(full & (nw.col(RATIO) > 0)).then(nw.col(CAP)).otherwise(nw.col(DOSE))
    return rows.with_columns(capped.alias(DOSE))
