"""The rows: columns found, numbers converted, faults marked and told."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple, NoReturn

import narwhals as nw
import numpy as np

from ..checks import FREE, number
from ..kernels import LARGEST_RATIO
from . import engine
from .engine import (
    BASELINE,
    BENEFIT,
    CAP,
    COST,
    DOSE,
    FAULT,
    FLOOR,
    RATIO,
    ROW,
    SIZE,
    Frame,
)

# The arguments that are numbers of a row, and the columns that hold them as floats.
NUMBERS = {"benefit": BENEFIT, "cost": COST, "cap": CAP, "floor": FLOOR, "baseline": BASELINE}
# Zero has no ratio b/c, and a tiny number in its place makes one beyond all others.
SCALARS = {
    "cost": ("a column or a finite number > 0", lambda v: 0 < v < np.inf),
    "cap": ("a column or a number ≥ 0", lambda v: v >= 0),
    "floor": ("a column or a finite number ≥ 0", lambda v: 0 <= v < np.inf),
    "baseline": ("a column or a finite number ≥ 0", lambda v: 0 <= v < np.inf),
}


class Columns(NamedTuple):
    """The names of the columns; what may be a number instead is marked so."""

    benefit: str
    cost: str | float
    group: str
    person: str | None = None
    baseline: str | float | None = None
    floor: str | float | None = None
    cap: str | float | None = None
    treatment: str | None = None
    exclusive: bool = False
    own: dict[str, str] = {}  # noqa: RUF012 (never written to); alias → the user's name

    def said(self, column: str) -> str:
        """The name of a column as the user knows it."""
        return self.own.get(column, column)

    def named(self) -> dict[str, str]:
        """Argument → column, of the arguments that name one."""
        given = self._asdict()
        return {name: v for name, v in given.items() if isinstance(v, str) and name != "exclusive"}

    @property
    def in_memory(self) -> list[str]:
        """The arguments given that ask for all rows at once."""
        bent = [name for name in ("cap", "floor", "baseline") if getattr(self, name) is not None]
        return [*bent, "exclusive"] if self.exclusive else bent


def known_frame(frame: Any) -> Frame:
    """The frame as narwhals wraps it."""
    try:
        return nw.from_native(frame)
    except TypeError as error:
        raise TypeError(
            f"frame is of type {type(frame).__name__}: must be a data frame (pandas, Polars, "
            f"PyArrow, DuckDB, Dask, PySpark); for arrays there is alphafair.allocate"
        ) from error


def marked_rows(native: Frame, columns: Columns) -> Frame:
    """The frame with COST, RATIO = b/c (0 where b ≤ 0), FAULT, and CAP, FLOOR, BASELINE if given.

    Eager frames number their ROWs.
    """
    schema = native.collect_schema()
    rows = native.with_row_index(ROW) if engine.is_eager(native) else native
    given = {name: getattr(columns, name) for name in NUMBERS}
    numbers = [
        _amount(value).alias(NUMBERS[name]) for name, value in given.items() if value is not None
    ]
    rows = rows.with_columns(*numbers)
    b, c = nw.col(BENEFIT), nw.col(COST)
    ratio = nw.when((b > 0) & (c > 0)).then(b / c).otherwise(nw.lit(0.0))
    rows = rows.with_columns(ratio.alias(RATIO))
    return rows.with_columns(_fault_code(_faults(columns, schema)).alias(FAULT))


def _amount(value: str | float) -> Any:
    """A column as floats, or a number as a column."""
    if isinstance(value, str):
        return nw.col(value).cast(nw.Float64)
    return nw.lit(float(value))


def check_columns(native: Frame, columns: Columns) -> None:
    """The arguments fit the frame, as far as its schema tells."""
    schema = native.collect_schema()
    for argument, column in columns._asdict().items():
        if argument in ("exclusive", "own"):
            continue
        if isinstance(column, str):
            _check_column(argument, column, schema)
        elif argument in SCALARS and (column is not None or argument == "cost"):
            number(argument, column, *SCALARS[argument])
        elif column is not None or argument in ("benefit", "group"):
            raise TypeError(
                f"{argument} must be a column name, not {type(column).__name__}; names are text"
            )
    if columns.person == columns.group:
        raise ValueError(
            f"person and group are both the column {columns.group!r}: leave person out if each row "
            f"is a person of its own"
        )
    if columns.treatment is not None and columns.person is None:
        raise ValueError(
            "treatment is given and person is not: name the column that says whose row it is"
        )
    if columns.treatment is not None and columns.treatment in (columns.person, columns.group):
        raise ValueError(
            f"treatment is the column {columns.treatment!r}, as person or group is: must be the "
            f"column that tells the rows of a person apart"
        )
    floor, cap = columns.floor, columns.cap
    if not (floor is None or cap is None or isinstance(floor, str) or isinstance(cap, str)):
        number("floor", floor, f"at most the cap, {float(cap)}", lambda v: v <= float(cap))
    if not isinstance(columns.exclusive, bool | np.bool_):
        raise TypeError(f"exclusive must be True or False, not {type(columns.exclusive).__name__}")
    if columns.exclusive:
        _check_exclusive(columns)
    _check_dose(native, schema)


def _check_exclusive(columns: Columns) -> None:
    cure = "exclusive = True needs finite caps, because a part of an offer is dose/cap"
    if columns.cap is None:
        raise ValueError(f"cap is not given: {cure}; give the dose of a whole offer")
    if not isinstance(columns.cap, str) and float(columns.cap) == np.inf:
        raise ValueError(f"cap is inf: {cure}; give the dose of a whole offer")


def _check_dose(native: Frame, schema: Any) -> None:
    # DuckDB and Spark do not tell Dose from dose.
    taken = [name for name in schema if str(name).lower() == DOSE]
    if DOSE in taken or (taken and not engine.is_eager(native)):
        raise ValueError(
            f"the frame has a column {taken[0]!r} already: rename or drop it, "
            f"the doses are written into {DOSE!r}"
        )


def _check_column(argument: str, column: str, schema: Any) -> None:
    if column not in schema:
        words = [name for name in schema if isinstance(name, str)]
        near = difflib.get_close_matches(column, words, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        if any(str(name) == column for name in schema):
            hint = "; names must be text: rename them first, frame.rename(columns=str)"
        raise ValueError(
            f"{argument} column {column!r} is not in the frame, "
            f"whose columns are {list(schema)}{hint}"
        )
    dtype = schema[column]
    numeric = dtype.is_numeric() or dtype in (nw.Boolean, nw.Object)  # Object: decimals in pandas
    if argument in NUMBERS and not numeric:
        raise TypeError(
            f"{argument} column {column!r} is of type {dtype}: must hold real numbers; cast it"
        )


class _Fault(NamedTuple):
    """What can be wrong with a row: where, when, what to say, and the cure."""

    argument: str
    column: str
    condition: Any
    complaint: str
    cure: str


def _faults(columns: Columns, schema: Any) -> list[_Fault]:
    """All faults of a row; the first of them is told."""
    found = []
    named = columns.named()
    for argument in sorted(named, key=list(_CURES).index):
        column = named[argument]
        value = nw.col(NUMBERS.get(argument, column))
        missing = value.is_null()
        if argument in NUMBERS or schema[column].is_float():
            missing = missing | value.is_nan()
        found.append(_Fault(argument, column, missing, "missing values", _CURES[argument]))
        if argument in NUMBERS and (argument != "cap" or columns.exclusive):
            infinite = ~value.is_finite()
            cure = _CURES[argument]
            if argument == "cap":
                cure = (
                    "exclusive = True needs the dose of a whole offer, because a part is dose/cap"
                )
            found.append(_Fault(argument, column, infinite, "infinite values", cure))
    if isinstance(columns.cost, str):
        cure = FREE
        found.append(_Fault("cost", columns.cost, nw.col(COST) <= 0, "values ≤ 0", cure))
    for argument, cure in _CURES_OF_NEGATIVES.items():
        if argument in named:
            negative = nw.col(NUMBERS[argument]) < 0
            found.append(_Fault(argument, named[argument], negative, "values < 0", cure))
    if "cap" in named and columns.floor is not None:
        cure = "lower the floor or raise the cap"
        above = nw.col(FLOOR) > nw.col(CAP)
        found.append(_Fault("cap", named["cap"], above, "values below the floor", cure))
    elif "floor" in named and columns.cap is not None:
        cure = "lower the floor or raise the cap"
        above = nw.col(FLOOR) > nw.col(CAP)
        found.append(_Fault("floor", named["floor"], above, "values above the cap", cure))
    return [*found, _out_of_range(columns)]


def _out_of_range(columns: Columns) -> _Fault:
    ratio = nw.col(RATIO)
    far = (nw.col(BENEFIT) > 0) & ((ratio > LARGEST_RATIO) | (ratio < 1 / LARGEST_RATIO))
    complaint = f"values whose ratio to the cost is above {LARGEST_RATIO:g} or below its inverse"
    cure = "measure benefit and cost in other units, or set negligible benefits to 0"
    return _Fault("benefit", columns.benefit, far, complaint, cure)


_CURES = {  # of missing and infinite values, in the order in which faults are told
    "group": "drop those rows or make up a label such as 'unknown'",
    "person": "drop those rows, or leave person out if each row is a person of its own",
    "treatment": "drop those rows or make up a label such as 'unknown'",
    "benefit": "drop those rows or impute the values",
    "cost": "drop those rows or impute the values",
    "cap": "drop those rows or write infinity where there is no bound",
    "floor": "drop those rows or write 0 where there is no bound",
    "baseline": "drop those rows or write 0 for who has nothing",
}
_CURES_OF_NEGATIVES = {
    "cap": "0 keeps a row out",
    "floor": "0 is no bound",
    "baseline": "what a person owes is no utility: shift everybody's by the same amount",
}


def _fault_code(faults: list[_Fault]) -> Any:
    """0 for a sound row, else a number that is the larger the earlier in the list its fault is."""
    code: Any = nw.lit(0)
    for gravity, fault in enumerate(reversed(faults), start=1):
        code = nw.when(fault.condition).then(nw.lit(gravity)).otherwise(code)
    return code


def refuse(rows: Frame, columns: Columns, code: int) -> NoReturn:
    """Say what is wrong with how many rows, and where the first of them is."""
    fault = _faults(columns, rows.collect_schema())[-code]
    bad = rows.filter(nw.col(FAULT) == code)
    count = engine.collect(bad.select(nw.len().alias(SIZE)))[SIZE][0]
    if engine.is_eager(rows):
        where = f"first: row {bad[ROW].min()}"
        if "missing" not in fault.complaint:
            where += f", {bad[fault.column][0]}"
    else:
        label = engine.collect(bad.select(columns.group).head(1))[columns.group][0]
        where = f"one of them in group {label!s}"
    complaint = fault.complaint if count > 1 else fault.complaint.replace("values", "value", 1)
    raise ValueError(
        f"{fault.argument} column {columns.said(fault.column)!r} has {count} {complaint} "
        f"({where}): {fault.cure}"
    )
