"""What passes between Python and the engine that holds the rows: a few numbers a group."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from ..checks import Floats
from . import partitions

DOSE = "dose"
HIDDEN = "_af_"  # how the names of the columns begin that live only inside the package
BENEFIT, COST, RATIO, FAULT = "_af_benefit", "_af_cost", "_af_ratio", "_af_fault"
CAP, FLOOR, BASELINE = "_af_cap", "_af_floor", "_af_baseline"
ROW, KEY, SIZE = "_af_row", "_af_key", "_af_size"
ROWS, ROOT = "_af_rows", "_af_root"
BEST, LEAST, TIES, FIRST = "_af_best", "_af_least", "_af_ties", "_af_first"
AMOUNT, REFERENCE, POWER, EXCESS = "_af_amount", "_af_reference", "_af_power", "_af_excess"
QUOTIENT, LOG, NEAR = "_af_quotient", "_af_log", "_af_near"

WORKERS = (
    "Spark's workers run the python3 of the PATH: set the environment variable PYSPARK_PYTHON to "
    "the interpreter of the driver, sys.executable, before the session starts"
)

# A narwhals DataFrame or LazyFrame; the type checker does not accept `join` on their union.
Frame = Any


def is_eager(frame: Frame) -> bool:
    """Whether the rows are in memory, and in an order."""
    return isinstance(frame, nw.DataFrame)


def keeps_rows(frame: Frame) -> bool:
    """Whether a column can be put beside the rows as they are; SQL has no rows to go back to."""
    return is_eager(frame) or partitions.is_dask(frame)


def collect(frame: Frame) -> dict[str, list[Any]]:
    """The columns of a small frame as lists: the only way by which data come to Python."""
    try:
        eager = frame if is_eager(frame) else frame.collect()
    except Exception as error:
        if "PYTHON_VERSION_MISMATCH" in str(error):
            error.add_note(WORKERS)
        raise
    return {name: eager[name].to_list() for name in eager.columns}


def key(frame: Frame, group: str) -> Any:
    """Labels as SQL engines can look them up: as text unless they are numbers, truth values, text.

    Python's dates, times, UUIDs and decimals are not literals of every engine.
    """
    dtype = frame.collect_schema()[group]
    plain = dtype.is_integer() or dtype.is_float() or dtype in (nw.Boolean, nw.String)
    plain = plain and dtype not in (nw.Int128, nw.UInt128)
    if keeps_rows(frame) or plain:  # Python looks up what it was given
        return nw.col(group)
    return nw.col(group).cast(nw.String)


def spread(
    rows: Frame,
    group: str,
    keys: list[Any],
    values: dict[str, Floats],
    source: Frame | None = None,
) -> Frame:
    """Rows with K numbers written beside them: the only way by which numbers go to the engine.

    The labels are looked up on a table of one row a group, made by the engine from its own labels,
    so that the join compares like with like; and it needs no second source of data, which a
    connection or a cluster might refuse.  Where ``rows`` are the end of a long query, ``source``, a
    frame with the same labels, spares the engine to run it twice.
    """
    if partitions.is_dask(rows):
        return partitions.spread(rows, group, keys, values)
    # Not `unique`, which narwhals makes of a window over all rows in SQL.
    table = (rows if source is None else source).group_by(group).agg(nw.len()).select(group)
    if is_eager(rows):
        place = {label: k for k, label in enumerate(keys)}
        at = [place[label] for label in table[group].to_list()]
        backend = table.implementation
        columns: list[Any] = [
            nw.new_series(name, value[at], nw.Float64, backend=backend)
            for name, value in values.items()
        ]
    else:
        label = key(table, group)
        columns = [
            label.replace_strict(
                keys, value.tolist(), default=nw.lit(0.0), return_dtype=nw.Float64
            ).alias(name)
            for name, value in values.items()
        ]
    return join(rows, table.with_columns(*columns), [group])


def join(rows: Frame, table: Frame, on: list[str]) -> Frame:
    """Rows with the columns of a table that has one row a key; in their order where there is one.

    Eager rows have their ROW to be sorted by; those of Dask are numbered before they move.
    """
    if rows.implementation.is_polars() and not is_eager(rows):
        joined = rows.to_native().join(table.to_native(), on=on, how="left", maintain_order="left")
        return nw.from_native(joined)
    if partitions.is_dask(rows):
        rows = partitions.numbered(rows)
    return rows.join(table, on=on, how="left")
