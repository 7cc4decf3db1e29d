"""Within groups: what one unit of budget is worth in each, found by the engine.

With ``r_i = max b/c`` over the rows of person i, G people in the group and s = (1 − ε)/ε::

    p = max r_i / G                                ε = within = 0
    p = M_s(r_i) / G,    y_i = r_i^s / Σ_j r_j^s   ε > 0: M_s is the power mean
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import narwhals as nw
import numpy as np

from ..checks import Floats, Integers
from ..groups import Groups
from ..utility import log_power_mean
from ..value import money_exponent
from . import engine
from .checks import Columns, refuse
from .engine import (
    BEST,
    COST,
    EXCESS,
    FAULT,
    KEY,
    LEAST,
    LOG,
    NEAR,
    POWER,
    QUOTIENT,
    RATIO,
    REFERENCE,
    ROOT,
    ROW,
    ROWS,
    SIZE,
    TIES,
    Frame,
)

SAME_SUM = 1e-9  # engines add the same rows in another order each time


class Census(NamedTuple):
    """What the first pass says of each group, (K,), in the order of the sorted labels."""

    label: Any
    own: list[Any]  # the labels as the engine gives them
    key: list[Any]  # and as it looks them up
    size: Integers  # G, the number of people
    best: Floats  # largest ratio r_i
    least: Floats  # least ratio r_i
    cheapest: Floats  # least cost
    rows: Integers  # the number of rows
    root: Floats  # Σ sqrt(b/c) over the rows; with the others it tells the same rows from others


def by_person(rows: Frame, columns: Columns) -> Frame:
    """One row a person: RATIO r_i = max b/c, worst FAULT, least COST; how many ROWS, Σ ROOT."""
    rows = rows.with_columns(nw.col(RATIO).sqrt().alias(ROOT), nw.lit(1).alias(ROWS))
    if columns.person is None:
        return rows
    return rows.group_by(columns.group, columns.person).agg(
        nw.col(RATIO).max(),
        nw.col(FAULT).max(),
        nw.col(COST).min(),
        nw.col(ROOT).sum(),
        nw.col(ROWS).sum(),
    )


def take_census(rows: Frame, people: Frame, columns: Columns) -> Census:
    """One row a group, checked: the first pass over the data."""
    table = people.group_by(columns.group).agg(
        nw.len().alias(SIZE),
        nw.col(RATIO).max().alias(BEST),
        nw.col(RATIO).min().alias(LEAST),
        nw.col(COST).min(),
        nw.col(FAULT).max(),
        nw.col(ROOT).sum(),
        nw.col(ROWS).sum(),
    )
    found = engine.collect(table.with_columns(engine.key(table, columns.group).alias(KEY)))
    if not found[SIZE]:
        raise ValueError("the frame is empty: at least one row is needed")
    if max(found[FAULT]):
        refuse(rows, columns, max(found[FAULT]))
    if columns.person is not None:
        _check_one_group_each(people, columns.person)
    found = in_label_order(found, columns.group)
    size, count = (np.array(found[name], np.intp) for name in (SIZE, ROWS))
    best, least, cheapest, root = (
        np.array(found[name], float) for name in (BEST, LEAST, COST, ROOT)
    )
    label = Groups(found[columns.group]).label
    return Census(label, found[columns.group], found[KEY], size, best, least, cheapest, count, root)


def second_look(rows: Frame, census: Census, columns: Columns) -> Floats:
    """(K,) how many rows have the best ratio of their group, as lazy rows are read once more.

    Lazy frames are read several times, and again for the result.  If they are a sample, or have
    random numbers in them, each time brings other rows, and doses that fit together would break
    the budget: a ValueError says so, if a group's rows are not those of the census.
    """
    rows = engine.spread(rows, columns.group, census.key, {BEST: census.best})
    tied = nw.when(nw.col(RATIO) == nw.col(BEST)).then(nw.lit(1)).otherwise(nw.lit(0))
    table = (
        rows.with_columns(tied.alias(TIES), nw.col(RATIO).sqrt().alias(ROOT))
        .group_by(columns.group)
        .agg(nw.len().alias(ROWS), nw.col(ROOT).sum(), nw.col(TIES).sum(), nw.col(COST).min())
    )
    found = in_label_order(engine.collect(table), columns.group)
    if found[columns.group] != census.own:
        _refuse_changed("other groups came")
    count, root, ties, cheapest = (np.array(found[name]) for name in (ROWS, ROOT, TIES, COST))
    same = (count == census.rows) & np.isclose(root, census.root, SAME_SUM, 0)
    same &= (ties > 0) & (cheapest == census.cheapest)
    if not same.all():
        k = int(np.argmin(same))
        rows_then = f"{census.rows[k]} rows and then {count[k]}"
        _refuse_changed(
            f"group {census.label[k]!s} had "
            + (rows_then if count[k] != census.rows[k] else "the same number of rows, but others")
        )
    return np.asarray(ties, float)


def _refuse_changed(how: str) -> NoReturn:
    raise ValueError(
        f"the frame is not the same each time it is read: {how}; a sample, or random numbers, must "
        f"be drawn once before (.collect(), .persist(), .cache(), or a table of its own)"
    )


def in_label_order(found: dict[str, list[Any]], group: str) -> dict[str, list[Any]]:
    """The same columns, with one row a group, in the order of the sorted labels."""
    order = np.argsort(Groups(found[group]).code)
    return {name: [column[k] for k in order] for name, column in found.items()}


def _check_one_group_each(people: Frame, person: str) -> None:
    groups = people.group_by(person).agg(nw.len().alias(SIZE)).filter(nw.col(SIZE) > 1)
    several = engine.collect(groups.head(1))
    if several[person]:
        raise ValueError(
            f"person {several[person][0]!s} has rows in {several[SIZE][0]} groups: must be one; "
            f"if ids repeat from group to group, join group and id in one column"
        )


class Stage(NamedTuple):
    """What money does in each group: person i gets the share (r_i/reference)^s / total of it."""

    productivity: Floats  # p (K,)
    exponent: float  # s
    reference: Floats  # (K,)
    total: Floats  # (K,)


def within_groups(people: Frame, census: Census, columns: Columns, within: float) -> Stage:
    """p_k = M_s(r_i)/G_k of each group: with powers relative to its best (s ≥ 0) or least ratio."""
    _refuse_worthless(people, census, columns, within)
    size = census.size
    if within == 0:  # M_∞ is the maximum, and who has it gets all
        return Stage(census.best / size, np.inf, census.best, np.ones(len(size)))
    s = money_exponent(within)
    reference = census.best if s >= 0 else census.least
    people = engine.spread(people, columns.group, census.key, {REFERENCE: reference})
    table = (
        with_powers(people, s)
        .group_by(columns.group)
        .agg(nw.col(POWER).sum(), nw.col(EXCESS).sum())
    )
    found = in_label_order(engine.collect(table), columns.group)
    total, mean = np.array(found[POWER], float), np.array(found[EXCESS], float) / size
    mean_ratio = reference * np.exp(log_power_mean(s, mean, mean, total / size))
    return Stage(mean_ratio / size, s, reference, total)


def with_powers(rows: Frame, s: float) -> Frame:
    """Rows with POWER (r/reference)^s and EXCESS, that less 1 (at s = 0: the logarithm).

    r = 0 has power 0.  Column by column: nested expressions would be computed again for each use.
    e^z − 1 = (u − 1) z / log u with u = e^z as rounded: exact to a few roundings (Kahan), and
    engines have no expm1.  Square roots, because r/reference can leave the doubles.
    """
    positive, one = nw.col(RATIO) > 0, nw.lit(1.0)
    quotient = nw.col(RATIO).sqrt() / nw.col(REFERENCE).sqrt()
    rows = rows.with_columns(nw.when(positive).then(quotient).otherwise(one).alias(QUOTIENT))
    z = nw.lit(2 * s if s else 2.0) * nw.col(QUOTIENT).log()
    rows = rows.with_columns(z.alias(LOG)).with_columns(nw.col(LOG).exp().alias(POWER))
    z, u = nw.col(LOG), nw.col(POWER)
    near = (u > 0.5) & (u < 2) & (u != 1)
    rows = rows.with_columns(nw.when(near).then(u).otherwise(nw.lit(2.0)).alias(NEAR))
    kahan = (u - 1) * z / nw.col(NEAR).log()
    excess = (
        nw.when(u == 1).then(z).otherwise(nw.when(nw.col(NEAR) == u).then(kahan).otherwise(u - 1))
    )
    rows = rows.with_columns((excess if s else z).alias(EXCESS))
    return rows.with_columns(
        nw.when(positive).then(u if s else one).otherwise(nw.lit(0.0)).alias(POWER),
        nw.when(positive).then(nw.col(EXCESS)).otherwise(nw.lit(-1.0)).alias(EXCESS),
    )


def _refuse_worthless(people: Frame, census: Census, columns: Columns, within: float) -> None:
    """A group that no budget can give utility: nobody benefits, or at ε ≥ 1 somebody does not."""
    if (census.best <= 0).any():
        label = census.label[int(np.argmax(census.best <= 0))]
        raise ValueError(
            f"group {label!s} has no row with a positive benefit: no budget can give it utility; "
            f"drop the group or correct its benefits"
        )
    if within >= 1 and (census.least <= 0).any():
        who = engine.collect(people.filter(nw.col(RATIO) <= 0).head(1))
        name = who.get(ROW if columns.person is None else columns.person, [None])[0]
        kind = "row" if columns.person is None else "person"
        somebody = "somebody" if name is None else f"{kind} {name!s}"
        raise ValueError(
            f"{somebody} (group {who[columns.group][0]!s}) has no positive benefit, so with "
            f"within = {within:g} (1 or more) the group's utility is 0 for every allocation; "
            f"drop that person or use within < 1"
        )
