"""What passes between Python and the engine that holds the rows: a few numbers a group."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from ..checks import Floats

DOSE = "dose"
HIDDEN = "_af_"  # how the names of the columns begin that live only inside the package
BENEFIT, COST, RATIO, FAULT = "_af_benefit", "_af_cost", "_af_ratio", "_af_fault"
CAP, FLOOR, BASELINE = "_af_cap", "_af_floor", "_af_baseline"
ROW, KEY, SIZE = "_af_row", "_af_key", "_af_size"
BEST, LEAST, TIES, FIRST = "_af_best", "_af_least", "_af_ties", "_af_first"
AMOUNT, REFERENCE, POWER, EXCESS = "_af_amount", "_af_reference", "_af_power", "_af_excess"
QUOTIENT, LOG, NEAR = "_af_quotient", "_af_log", "_af_near"

# A narwhals DataFrame or LazyFrame; the type checker does not accept `join` on their union.
Frame = Any


def is_eager(frame: Frame) -> bool:
    """Whether the rows are in memory, and in an order."""
    return isinstance(frame, nw.DataFrame)


def collect(frame: Frame) -> dict[str, list[Any]]:
    """The columns of a small frame as lists: the only way by which data come to Python."""
    eager = frame if is_eager(frame) else frame.collect()
    return {name: eager[name].to_list() for name in eager.columns}


def key(frame: Frame, group: str) -> Any:
    """Labels as `replace_strict` can find them in every engine: Dask's cannot categories, dates."""
    awkward = (nw.Categorical, nw.Enum, nw.Datetime, nw.Date)
    if any(frame.collect_schema()[group] == kind for kind in awkward):
        return nw.col(group).cast(nw.String)
    return nw.col(group)


def spread(rows: Frame, group: str, keys: list[Any], values: dict[str, Floats]) -> Frame:
    """Rows with K numbers written beside them: the only way by which numbers go to the engine.

    The labels are looked up on a table of one row a group, made by the engine from its own labels,
    so that the join compares like with like; and it needs no second source of data, which a
    connection or a cluster might refuse.
    """
    table = rows.select(group).unique()
    label = key(table, group)
    columns = [
        label.replace_strict(keys, value.tolist(), default=nw.lit(0.0), return_dtype=nw.Float64)
        for value in values.values()
    ]
    named = [column.alias(name) for column, name in zip(columns, values, strict=True)]
    return rows.join(table.with_columns(*named), on=group, how="left")
