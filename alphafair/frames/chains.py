"""The items of a frame whose rows stay in the engine: what can move, and where everybody begins.

The engine writes, beside each row, what `alphafair.value` calls a chain, in the same units: money
in budgets, utility in the best ratio of all times that.  A row can move if b > 0 and cap > floor;
its length is the money ``c (cap − floor)``.  At ε = 0 the rows of a group are taken in the order of
b/c, whoever they belong to.  At ε > 0 those of a person are taken one after the other: a row begins
at her utility at the floors and what all her better rows add.  A join of a table with itself finds
these sums, because some engines have no running sums.  Where offers are exclusive the items are the
steps of each person's ladder (`alphafair.exclusive`), found by joins as well.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import narwhals as nw
import numpy as np

from ..checks import Floats
from ..exclusive import SLACK
from ..value import ENDLESS
from . import engine
from .checks import Columns
from .engine import BASELINE, BENEFIT, BEST, CAP, COST, FLOOR, LEAST, RATIO, SIZE, Frame
from .stages import Census, in_label_order

STEP_BEGIN, OFFER, OFFER_GAIN, LEFT = (
    "_af_step_begin", "_af_offer", "_af_offer_gain", "_af_left"
)  # fmt: skip
OTHER_GAIN, PLACE_TAKEN = "_af_other_gain", "_af_place_taken"
SPAN, LENGTH, GAIN = "_af_span", "_af_length", "_af_gain"
BASE, SPENT, HAVE = "_af_base", "_af_spent", "_af_have"
AHEAD, NEXT, OTHER, ENDLESS_ROWS = "_af_ahead", "_af_next", "_af_other", "_af_endless"
NEGATIVE, WORTHLESS, DIFFERS, MOVABLE = "_af_neg", "_af_worthless", "_af_differs", "_af_movable"


class Start(NamedTuple):
    """(K,) where the groups stand before any item moves, in relative units.

    Attributes:
        base: Σ utility of the members at the floors.
        spent, length: money at the floors, and what the items can take besides; ∞ without a cap.
        gain: at ε = 0, Σ utility that all items add, endless ones cut at `ENDLESS` budgets.
        best, least: the largest and the least ratio of the items that can move; 0 for none.
        items: how many rows can move.
    """

    base: Floats
    spent: Floats
    length: Floats
    gain: Floats
    best: Floats
    least: Floats
    items: Floats

    @property
    def most(self) -> Floats:
        """(K,) what the groups can spend at most."""
        return self.spent + self.length


def movable_rows(rows: Frame, columns: Columns, unit: float, scale: float, within: float) -> Frame:
    """Rows with SPAN, LENGTH and the relative RATIO, both 0 where nothing moves; BASE, SPENT.

    BASE and SPENT are the utility and the money of the row's floor.
    """
    given = {CAP: np.inf, FLOOR: 0.0, BASELINE: 0.0}
    argument = {CAP: columns.cap, FLOOR: columns.floor, BASELINE: columns.baseline}
    missing = [nw.lit(v).alias(k) for k, v in given.items() if argument[k] is None]
    if missing:
        rows = rows.with_columns(*missing)
    rows = rows.with_columns((nw.col(CAP) - nw.col(FLOOR)).alias(SPAN))
    if in_steps(columns):
        rows = _with_places(rows, columns)
    rows = rows.with_columns(
        (nw.col(BENEFIT) * nw.col(FLOOR) / (unit * scale)).alias(BASE),
        (nw.col(COST) / scale * nw.col(FLOOR)).alias(SPENT),
        (nw.col(BASELINE) / (unit * scale)).alias(HAVE),
        (nw.col(RATIO) / unit).alias(RATIO),
    )
    moves = (nw.col(SPAN) > 0) & (nw.col(RATIO) > 0)
    rows = rows.with_columns(
        nw.when(moves).then(nw.col(RATIO)).otherwise(nw.lit(0.0)).alias(RATIO),
        nw.when(moves)
        .then(nw.col(SPAN) * (nw.col(COST) / scale))
        .otherwise(nw.lit(0.0))
        .alias(LENGTH),
    )
    if in_steps(columns):  # not from SPAN: sums of floors may round otherwise each time
        offer = nw.when(moves).then(nw.col(CAP) * (nw.col(COST) / scale)).otherwise(nw.lit(0.0))
        rows = rows.with_columns(offer.alias(OFFER))
        return rows.with_columns((nw.col(RATIO) * nw.col(OFFER)).alias(OFFER_GAIN))
    if within == 0:  # no group can fill it, and sums stay finite
        long = nw.col(LENGTH) > ENDLESS
        cut = nw.when(long).then(nw.lit(ENDLESS)).otherwise(nw.col(LENGTH))
        rows = rows.with_columns(cut.alias(LENGTH))
    return rows.with_columns((nw.col(RATIO) * nw.col(LENGTH)).alias(GAIN))


def in_steps(columns: Columns) -> bool:
    """Whether people have ladders: exclusive offers, and several of them."""
    return columns.exclusive and columns.person is not None


def _with_places(rows: Frame, columns: Columns) -> Frame:
    """SPAN = ρ cap, with ρ = 1 − Σ floor/cap what floors leave of the person's place."""
    if columns.floor is None:
        return rows.with_columns(nw.lit(1.0).alias(LEFT), nw.col(CAP).alias(SPAN))
    owner: list[Any] = [columns.group, columns.person]
    share = nw.when(nw.col(CAP) > 0).then(nw.col(FLOOR) / nw.col(CAP)).otherwise(nw.lit(0.0))
    rows = rows.with_columns(share.alias(PLACE_TAKEN))
    taken = rows.group_by(*owner).agg(nw.col(PLACE_TAKEN).sum())
    found = engine.collect(taken.filter(nw.col(PLACE_TAKEN) > 1 + SLACK).head(1))
    if found[PLACE_TAKEN]:
        raise ValueError(
            f"the floors of person {found[owner[1]][0]!s} (group {found[columns.group][0]!s})"
            f" take {found[PLACE_TAKEN][0]:g} of her offers (Σ floor/cap): must be at most 1 with "
            f"exclusive = True; lower her floors"
        )
    rows = engine.join(rows.drop(PLACE_TAKEN), taken, owner)
    left = 1 - nw.col(PLACE_TAKEN)
    rows = rows.with_columns(nw.when(left > SLACK).then(left).otherwise(nw.lit(0.0)).alias(LEFT))
    return rows.with_columns((nw.col(LEFT) * nw.col(CAP)).alias(SPAN))


def is_anonymous(columns: Columns, within: float) -> bool:
    """Whether nothing depends on whose rows they are: at ε = 0, where nobody has anything."""
    given = columns.floor is not None or columns.baseline is not None or in_steps(columns)
    return within == 0 and not given


def people_of(rows: Frame, columns: Columns, within: float) -> Frame:
    """One row a person: BASE and SPENT at the floors, BEST and LEAST ratio, sums of the items.

    Where rows are anonymous (`is_anonymous`) each stays alone, which spares a table of all people.
    """
    positive = nw.col(RATIO) > 0
    rows = rows.with_columns(
        nw.when(positive).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).alias(MOVABLE),
        nw.when(positive).then(nw.col(RATIO)).otherwise(nw.lit(np.inf)).alias(LEAST),
        nw.col(RATIO).alias(BEST),
        nw.col(HAVE).alias(DIFFERS),
    )
    if columns.person is not None and not is_anonymous(columns, within):
        sums = [BASE, SPENT, MOVABLE] + ([] if in_steps(columns) else [LENGTH, GAIN])
        rows = rows.group_by(columns.group, columns.person).agg(
            *(nw.col(name).sum() for name in sums),
            nw.col(BEST).max(),
            nw.col(LEAST).min(),
            nw.col(HAVE).max(),
            nw.col(DIFFERS).min(),
        )
    rows = rows.with_columns((nw.col(BASE) + nw.col(HAVE)).alias(BASE))
    return rows.with_columns(
        _flag(nw.col(BASE) < 0, NEGATIVE),
        _flag((nw.col(BEST) <= 0) & (nw.col(BASE) <= 0), WORTHLESS),
        _flag(nw.col(HAVE) != nw.col(DIFFERS), DIFFERS),
    )


def _flag(condition: Any, name: str) -> Any:
    return nw.when(condition).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).alias(name)


def take_start(
    people: Frame, census: Census, columns: Columns, within: float, utility_unit: float
) -> Start:
    """`Start` by the second pass over the data, and what only people can be blamed for refused."""
    sums = (BASE, SPENT, LENGTH, GAIN, MOVABLE, NEGATIVE, WORTHLESS, DIFFERS)
    table = people.group_by(columns.group).agg(
        nw.len().alias(SIZE),
        *(nw.col(name).sum() for name in sums),
        nw.col(BEST).max(),
        nw.col(LEAST).min(),
    )
    found = in_label_order(engine.collect(table), columns.group)
    same_rows(found[SIZE], census.rows if is_anonymous(columns, within) else census.size)
    value = {name: np.array(found[name], float) for name in (*sums, BEST, LEAST)}
    _refuse_people(people, census, columns, within, value, utility_unit)
    least = np.where(np.isfinite(value[LEAST]), value[LEAST], 0.0)
    return Start(
        value[BASE], value[SPENT], value[LENGTH], value[GAIN], value[BEST], least,
        value[MOVABLE],
    )  # fmt: skip


def same_rows(now: Any, before: Any) -> None:
    """Refuse a frame that has other rows at every reading."""
    if len(now) != len(before) or not np.allclose(now, before, rtol=1e-9, atol=0):
        raise ValueError(
            "the frame has other rows each time that it is read, by random numbers without a seed "
            "or from a source that is being written: store it first, then allocate"
        )


def _refuse_people(
    people: Frame,
    census: Census,
    columns: Columns,
    within: float,
    value: dict[str, Floats],
    utility_unit: float,
) -> None:
    if value[DIFFERS].any():
        who = _first(people, columns, nw.col(DIFFERS) > 0)
        raise ValueError(
            f"baseline column {columns.baseline!r} differs between the rows of {who[0]}: it must "
            f"be the same in all of them, as what the person has without any dose"
        )
    below = value[NEGATIVE] > 0
    if within == 0:  # only the mean counts
        below &= value[BASE] < 0
    if below.any():
        # Of one group: at ε = 0 others may have people below 0 whom nobody minds.
        k = int(np.argmax(below))
        here = (engine.key(people, columns.group) == census.key[k]) & (nw.col(NEGATIVE) > 0)
        name, base = _first(people, columns, here)
        raise ValueError(
            f"the floors give {name} the utility {base * utility_unit:g}: must be "
            f"≥ 0; a floor on a row with a negative benefit takes away more than there is"
        )
    kind = "benefit" if columns.cap is None else "benefit and cap"
    hopeless = (value[BEST] <= 0) & (value[BASE] <= 0)
    if hopeless.any():
        label = census.label[int(np.argmax(hopeless))]
        raise ValueError(
            f"group {label!s} has no row with a positive {kind}: no budget can give it utility; "
            f"drop the group or correct its columns"
        )
    if within >= 1 and value[WORTHLESS].any():
        who = _first(people, columns, nw.col(WORTHLESS) > 0)
        raise ValueError(
            f"{who[0]} has no positive {kind}, so with within = {within:g} (1 or more) the "
            f"group's utility is 0 for every allocation; drop that person, give a baseline, "
            f"or use within < 1"
        )


def _first(people: Frame, columns: Columns, condition: Any) -> tuple[str, float]:
    """Somebody for whom the condition holds, as the user knows her, and her BASE."""
    found = engine.collect(people.filter(condition).head(1))
    person = "somebody" if columns.person is None else f"person {found[columns.person][0]!s}"
    return f"{person} (group {found[columns.group][0]!s})", found[BASE][0]


def ladders(rows: Frame, people: Frame, columns: Columns) -> Frame:
    """One row an item: BASE of its person, RATIO, LENGTH, AHEAD, NEXT; who has none has one of 0.

    Rows of a person that tie are one item.  AHEAD is the utility that her better items add, NEXT
    the ratio of the item that follows, 0 if none does.  Without a cap LENGTH is ∞, and so is AHEAD
    for all that follow; ENDLESS_ROWS counts the rows that share such an item.
    """
    if columns.person is None:
        zero = nw.lit(0.0)
        rows = rows.with_columns((nw.col(BASE) + nw.col(HAVE)).alias(BASE))
        return rows.with_columns(zero.alias(AHEAD), zero.alias(NEXT))
    owner: list[Any] = [columns.group, columns.person]
    items = rows.filter(nw.col(RATIO) > 0)
    items = items.with_columns(_flag(nw.col(LENGTH) == np.inf, ENDLESS_ROWS))
    items = items.group_by(*owner, RATIO).agg(
        nw.col(LENGTH).sum(), nw.col(GAIN).sum(), nw.col(ENDLESS_ROWS).sum()
    )
    others = items.select(*owner, nw.col(RATIO).alias(OTHER), nw.col(GAIN).alias(AHEAD))
    pairs = items.join(others, on=owner, how="left")
    better, worse = nw.col(OTHER) > nw.col(RATIO), nw.col(OTHER) < nw.col(RATIO)
    pairs = pairs.with_columns(
        nw.when(better).then(nw.col(AHEAD)).otherwise(nw.lit(0.0)).alias(AHEAD),
        nw.when(worse).then(nw.col(OTHER)).otherwise(nw.lit(0.0)).alias(NEXT),
    )
    chain = pairs.group_by(*owner, RATIO).agg(
        nw.col(LENGTH).max(), nw.col(AHEAD).sum(), nw.col(NEXT).max(), nw.col(ENDLESS_ROWS).max()
    )
    return with_idle(people, chain, columns)


def steps(rows: Frame, columns: Columns) -> Frame:
    """One row a step of a person's ladder, with the columns of `ladders` and both its ends.

    The offers of a person are points (OFFER, OFFER_GAIN) of money and utility.  One of them is on
    the concave hull if every slope to the left is steeper than every slope to the right, (0, 0)
    among the points.  The step to it begins at the point of the hull before it.  Floors shrink the
    ladder to the part LEFT.
    """
    owner: list[Any] = [columns.group, columns.person]
    rows = rows.filter(nw.col(RATIO) > 0)
    points = rows.group_by(*owner, OFFER).agg(nw.col(OFFER_GAIN).max(), nw.col(LEFT).max())
    money, gain = nw.col(OFFER), nw.col(OFFER_GAIN)
    others = points.select(*owner, money.alias(OTHER), gain.alias(OTHER_GAIN))
    pairs = points.join(others, on=owner, how="left")
    before, after = nw.col(OTHER) < money, nw.col(OTHER) > money
    slope = (nw.col(OTHER_GAIN) - gain) / (nw.col(OTHER) - money)
    pairs = pairs.with_columns(
        nw.when(before).then(slope).otherwise(gain / money).alias(AHEAD),
        nw.when(after).then(slope).otherwise(nw.lit(0.0)).alias(NEXT),
    )
    point = [*owner, OFFER, OFFER_GAIN, LEFT]
    hull = pairs.group_by(*point).agg(nw.col(AHEAD).min(), nw.col(NEXT).max())
    hull = hull.filter((nw.col(AHEAD) > nw.col(NEXT)) & (nw.col(AHEAD) > 0)).select(*point)
    others = hull.select(*owner, money.alias(OTHER), gain.alias(OTHER_GAIN))
    pairs, zero, never = hull.join(others, on=owner, how="left"), nw.lit(0.0), nw.lit(np.inf)
    pairs = pairs.with_columns(
        nw.when(before).then(nw.col(OTHER)).otherwise(zero).alias(STEP_BEGIN),
        nw.when(before).then(nw.col(OTHER_GAIN)).otherwise(zero).alias(AHEAD),
        nw.when(after).then(nw.col(OTHER)).otherwise(never).alias(OTHER),
        nw.when(after).then(nw.col(OTHER_GAIN)).otherwise(never).alias(OTHER_GAIN),
    )
    chain = pairs.group_by(*point).agg(
        nw.col(STEP_BEGIN).max(), nw.col(AHEAD).max(), nw.col(OTHER).min(), nw.col(OTHER_GAIN).min()
    )
    rise, length = gain - nw.col(AHEAD), money - nw.col(STEP_BEGIN)
    following = (nw.col(OTHER_GAIN) - gain) / (nw.col(OTHER) - money)
    chain = chain.with_columns(
        nw.when(nw.col(OTHER) < np.inf).then(following).otherwise(zero).alias(NEXT),
        (rise / length).alias(RATIO),
        (length * nw.col(LEFT)).alias(LENGTH),
        (rise * nw.col(LEFT)).alias(GAIN),
        (nw.col(AHEAD) * nw.col(LEFT)).alias(AHEAD),
        zero.alias(ENDLESS_ROWS),
    )
    return chain.filter(nw.col(RATIO) > 0).select(
        *owner, RATIO, LENGTH, GAIN, AHEAD, NEXT, ENDLESS_ROWS, STEP_BEGIN, OFFER, OFFER_GAIN
    )


def people_of_steps(people: Frame, chain: Frame, columns: Columns) -> Frame:
    """The table of `people_of` with what the steps of each person say instead of her rows."""
    owner: list[Any] = [columns.group, columns.person]
    ratio = nw.col(RATIO)
    own = chain.with_columns(ratio.alias(LEAST), ratio.alias(BEST), nw.lit(1.0).alias(MOVABLE))
    own = own.group_by(*owner).agg(
        nw.col(LENGTH).sum(),
        nw.col(GAIN).sum(),
        nw.col(MOVABLE).sum(),
        nw.col(LEAST).min(),
        nw.col(BEST).max(),
    )
    kept = people.drop(MOVABLE, LEAST, BEST)
    absent = {LENGTH: 0.0, GAIN: 0.0, MOVABLE: 0.0, LEAST: np.inf, BEST: 0.0}
    joined = kept.join(own, on=owner, how="left")
    return joined.with_columns(*(nw.col(name).fill_null(v) for name, v in absent.items()))


def with_idle(people: Frame, chain: Frame, columns: Columns) -> Frame:
    """The chains of the people with items, and one of length 0 for each of the others."""
    owner: list[Any] = [columns.group, columns.person]
    names = [RATIO, LENGTH, AHEAD, NEXT, ENDLESS_ROWS]
    if in_steps(columns):
        names += [STEP_BEGIN, OFFER, OFFER_GAIN]
    chain = chain.select(*owner, *names)
    everybody = people.select(*owner, BASE).join(chain, on=owner, how="left")
    return everybody.with_columns(*(nw.col(name).fill_null(0.0) for name in names))
