"""The same offer twice: what a join that matched too much leaves behind, and caps would pay twice.

A row is an offer (person, treatment).  Where the treatment is named, each pair may occur once.
Where it is not, two rows of a person may have the same benefit, cost and cap and yet be two offers;
but rows that are the same in *every* column of the frame cannot be told apart, and with a cap or a
floor each of them would get it.  Without those, or where a person gets one offer at most, repeats
change no dose but their own ties.
"""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np

from ..checks import Integers
from . import engine
from .checks import Columns
from .engine import BENEFIT, COST, ROW, SIZE, Frame
from .names import all_renamed

FIRST, LAST = "_af_first", "_af_last"


def refuse_repeats(rows: Frame, columns: Columns) -> None:
    """ValueError about a pair (person, treatment) with several rows, where both are named."""
    if columns.person is None or columns.treatment is None:
        return
    found = _repeat(rows, [columns.person, columns.treatment])
    if found:
        person, treatment = found[columns.person][0], found[columns.treatment][0]
        raise ValueError(
            f"person {person!s} has {found[SIZE][0]} rows of treatment {treatment!s}"
            f"{_where(found)}: must be one; drop the others, or give each its own label in "
            f"column {columns.said(columns.treatment)!r}"
        )


def refuse_same_rows(
    native: Frame, rows: Frame, columns: Columns, person: Integers | None = None
) -> None:
    """ValueError about rows of a person that are the same in every column, where each would count.

    Args:
        native: the frame as it came, all its columns.
        rows: the frame of `marked_rows`.
        columns: the arguments, in the names of ``rows``.
        person: (R,) whose row it is, as a number; None for lazy frames.
    """
    counted_apart = columns.floor is not None or (columns.cap is not None and not columns.exclusive)
    if columns.person is None or columns.treatment is not None or not counted_apart:
        return
    table, alias = all_renamed(native)
    schema = table.collect_schema()
    if any(dtype.is_nested() or dtype == nw.Unknown for dtype in schema.values()):
        return  # such columns cannot be compared, and may be what tells the rows apart
    if person is None:  # a key of few columns: that of all of them takes memory
        if not _repeat(rows, [columns.person, BENEFIT, COST]):
            return
    else:
        alike = _alike(person, rows)
        if not alike.size:
            return
        table = table.with_row_index(ROW)[alike]
    try:
        found = _repeat(table, list(schema))
    except TypeError:  # lists, or other things without a hash, in a column of Python's objects
        return
    if found:
        who = found[alias[columns.said(columns.person)]][0]
        given = " and ".join(n for n in ("floor", "cap") if getattr(columns, n) is not None)
        raise ValueError(
            f"person {who!s} has {found[SIZE][0]} rows that are the same in every "
            f"column{_where(found)}, and each would count with its own {given}: drop the repeats; "
            f"if they are different treatments, add a column that says which and pass its name as "
            f"treatment"
        )


def _alike(person: Integers, rows: Frame) -> Integers:
    """The rows whose person has another one with this benefit and cost: few as a rule."""
    columns = [person, *(rows[name].to_numpy() for name in (BENEFIT, COST))]
    order = np.lexsort(columns)
    same = np.logical_and.reduce([np.diff(column[order]) == 0 for column in columns])
    return np.sort(order[np.append(same, False) | np.append(False, same)])


def _repeat(rows: Frame, key: list[str]) -> dict[str, list[Any]]:
    """The first key that several rows have, as one row; nothing if there is none."""
    found = [nw.len().alias(SIZE)]
    if engine.is_eager(rows):
        found += [nw.col(ROW).min().alias(FIRST), nw.col(ROW).max().alias(LAST)]
    repeated = rows.group_by(*key).agg(*found).filter(nw.col(SIZE) > 1)
    if engine.is_eager(rows):
        repeated = repeated.sort(FIRST)
    one = engine.collect(repeated.head(1))
    return one if one[SIZE] else {}


def _where(found: dict[str, list[Any]]) -> str:
    if FIRST not in found:
        return ""
    several = found[SIZE][0] > 2
    return f" ({'among them ' if several else ''}rows {found[FIRST][0]} and {found[LAST][0]})"
