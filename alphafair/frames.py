"""Allocation inside a data frame, by the engine that holds it.

The frame has one row a (person, treatment).  The same two stages as for arrays, and each of them
needs little of the data:

*Within group k* the engine reduces N rows to K: how many people, G_k, and what one unit of budget
is worth, p_k.  With ``r_i = max b/c`` over the rows of person i and ``s = (1 − ε)/ε``::

    p_k = max r_i / G_k                                  ε = within = 0
    p_k = M_s(r_i) / G_k,    y_i = r_i^s / Σ_j r_j^s     ε > 0: M_s is the power mean

*Across groups* Python splits the budget over these K numbers, ``x = Q softmax(…)``, as
`alphafair.closed_form` does.  The K budgets go back to the engine, which writes
``dose = x_k y_i / c`` on the best row of whoever is funded, 0 on the others.

No more than a few numbers a group ever leave the engine, so a population that outgrows a machine
is served where it is: by DuckDB from disk, by Dask or Spark on many machines.
"""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple, NoReturn

import narwhals as nw
import numpy as np
from narwhals.typing import IntoFrameT

from .allocation import Allocation
from .checks import Floats, Integers, number
from .groups import Groups
from .problem import LARGEST_RATIO, Problem
from .utility import check_alpha
from .value import money_exponent

DOSE = "dose"
# Columns that live only inside this file.
BENEFIT, COST, RATIO, FAULT = "_af_benefit", "_af_cost", "_af_ratio", "_af_fault"
ROW, KEY, SIZE, COUNT = "_af_row", "_af_key", "_af_size", "_af_count"
BEST, LEAST, TIES, FIRST = "_af_best", "_af_least", "_af_ties", "_af_first"
AMOUNT, REFERENCE, POWER, EXCESS = "_af_amount", "_af_reference", "_af_power", "_af_excess"
QUOTIENT, LOG, NEAR = "_af_quotient", "_af_log", "_af_near"

# A narwhals DataFrame or LazyFrame; the type checker does not accept `join` on their union.
Frame = Any


class Solution(NamedTuple):
    """A solved frame.

    Attributes:
        frame: the native frame with the column ``dose``; lazy if the input is.
        groups: the `Allocation` across groups: ``group_labels``, ``group_budget``,
            ``group_utility``, ``price``.  Each group stands in it as one person of benefit p_k.
        size: (K,) G_k, the number of people of each group, in the order of ``group_labels``.
    """

    frame: Any
    groups: Allocation
    size: Integers


def allocate(
    frame: IntoFrameT,
    *,
    benefit: str,
    cost: str | float,
    group: str,
    budget: float,
    alpha: float,
    person: str | None = None,
    within: float = 0.0,
    weight: Any = None,
    cap: str | float | None = None,
) -> IntoFrameT:
    """The α-fair allocation of a budget, as one more column ``dose`` of a data frame.

    Any frame that narwhals knows: pandas, Polars, PyArrow; lazy ones (Polars' LazyFrame, DuckDB
    relations, Dask, PySpark) stay lazy: they are read a few times for one row a group, and the
    doses are computed when the result is.  Doses equal those of `alphafair.allocate` on arrays, but
    for ties: lazy engines have no first row, so tied best rows of a group (of a person, at
    within > 0) share its money equally, which is as good.

    Args:
        frame: one row a (person, treatment), in any order.
        benefit: column of b, utility of one unit of dose, finite; rows ≤ 0 are never chosen.
        cost: column of c, or one number: money for one unit of dose, finite, > 0.
        group: column of labels; missing ones are refused.
        budget: Q ≥ 0, in units of money.
        alpha: α in [0, ∞], aversion to inequality across groups.
        person: column that says whose row it is; without it each row is a person of its own.
        within: ε in [0, ∞], aversion to inequality inside a group.
        weight: (K,) in the order of the sorted labels, or mapping label → w, > 0, or ``"size"``;
            default 1.
        cap: column of upper bounds of the doses, or one number; eager frames only, within = 0.

    Returns:
        The same kind of frame with the same columns and ``dose``.  Eager frames keep the order of
        their rows, and pandas its index.

    Raises:
        ValueError, TypeError: bad input; the message names the column, the row (for lazy frames a
            group) and the cure.

    References:
        The derivation is in the book's chapter "The closed form".

    Example:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"uplift": [2.0, 1.0, 1.0], "district": ["a", "a", "b"]})
        >>> result = allocate(
        ...     frame, benefit="uplift", cost=1.0, group="district", budget=6.0, alpha=1
        ... )
        >>> result["dose"].to_list()
        [3.0, 0.0, 3.0]
    """
    solution: IntoFrameT = solve(
        frame,
        benefit=benefit,
        cost=cost,
        group=group,
        budget=budget,
        alpha=alpha,
        person=person,
        within=within,
        weight=weight,
        cap=cap,
    ).frame
    return solution


def solve(
    frame: Any,
    *,
    benefit: str,
    cost: str | float,
    group: str,
    budget: float,
    alpha: float,
    person: str | None = None,
    within: float = 0.0,
    weight: Any = None,
    cap: str | float | None = None,
) -> Solution:
    """`allocate`, with what each group gets.

    Args, raises: as for `allocate`.

    Returns:
        `Solution`: the frame with its doses, the allocation across groups, the groups' sizes.

    Example:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"uplift": [2.0, 1.0, 1.0], "district": ["a", "a", "b"]})
        >>> columns = {"benefit": "uplift", "cost": 1.0, "group": "district"}
        >>> solution = solve(frame, **columns, budget=6.0, alpha=1)
        >>> solution.groups.group_budget, solution.size
        (array([3., 3.]), array([2, 1]))
    """
    alpha = check_alpha(alpha)
    within = number("within", within, "between 0 and infinity", lambda v: v >= 0)
    native = _known(frame)
    columns = _Columns(benefit, cost, group, person, cap)
    rows = _rows(native, columns)
    people = _people(rows, columns)
    census = _census(rows, people, columns)
    if isinstance(weight, str) and weight == "size":  # people, of whom the problems below know less
        weight = census.size.astype(float)
    if cap is not None:
        problem = _capped_problem(rows, census, group, cap, budget, within, weight)
        groups = problem.allocate(alpha)
        dose = nw.new_series(DOSE, groups.dose[:, 0], nw.Float64, backend=native.implementation)
        return Solution(native.with_columns(dose).to_native(), groups, census.size)
    # Within groups: the engine finds what one unit of budget is worth in each of them.
    stage = _within_groups(people, census, columns, within)
    # Across groups: a group is now as good as one person of benefit p_k, at cost 1.
    groups = Problem(stage.productivity, 1.0, census.label, budget, weight=weight).allocate(alpha)
    # Back to the rows: x_k y_i / c on the best row of whoever is funded.
    _refuse_overflow(groups.group_budget, census)
    doses = _doses(rows, census, columns, stage, groups.group_budget)
    return Solution(_with_dose(native, doses), groups, census.size)


class _Columns(NamedTuple):
    """The names of the columns; a cost or a cap may be a number instead."""

    benefit: str
    cost: str | float
    group: str
    person: str | None
    cap: str | float | None

    def named(self) -> dict[str, str]:
        """Argument → column, of the arguments that name one."""
        return {k: v for k, v in self._asdict().items() if isinstance(v, str)}


# --- the rows: columns found, numbers converted, faults marked ------------------------------------
def _known(frame: Any) -> Frame:
    try:
        return nw.from_native(frame)
    except TypeError as error:
        raise TypeError(
            f"frame is of type {type(frame).__name__}: must be a data frame (pandas, Polars, "
            f"PyArrow, DuckDB, Dask, PySpark); for arrays there is alphafair.allocate"
        ) from error


def _is_eager(frame: Frame) -> bool:
    return isinstance(frame, nw.DataFrame)


def _rows(native: Frame, columns: _Columns) -> Frame:
    """The frame with COST, RATIO = b/c (0 where b ≤ 0) and FAULT.

    Eager frames are cut down to what is needed and number their ROWs; lazy ones keep all columns.
    """
    schema = native.collect_schema()
    _check_columns(native, schema, columns)
    rows = native
    if _is_eager(native):
        rows = native.select(*dict.fromkeys(columns.named().values())).with_row_index(ROW)
    rows = rows.with_columns(
        nw.col(columns.benefit).cast(nw.Float64).alias(BENEFIT), _amount(columns.cost).alias(COST)
    )
    b, c = nw.col(BENEFIT), nw.col(COST)
    ratio = nw.when((b > 0) & (c > 0)).then(b / c).otherwise(nw.lit(0.0))
    rows = rows.with_columns(ratio.alias(RATIO))
    return rows.with_columns(_fault_code(_faults(columns, schema)).alias(FAULT))


def _amount(value: str | float) -> Any:
    """A column as floats, or a number as a column."""
    if isinstance(value, str):
        return nw.col(value).cast(nw.Float64)
    return nw.lit(float(value))


def _check_columns(native: Frame, schema: Any, columns: _Columns) -> None:
    for argument, column in columns._asdict().items():
        if isinstance(column, str):
            _check_column(argument, column, schema)
        elif argument == "cost":
            number(argument, column, "a column or a finite number > 0", lambda v: 0 < v < np.inf)
        elif argument == "cap" and column is not None:
            number(argument, column, "a column or a number ≥ 0", lambda v: v >= 0)
        elif column is not None or argument in ("benefit", "group"):
            raise TypeError(f"{argument} must be a column name, not {type(column).__name__}")
    if columns.cap is not None and not _is_eager(native):
        raise TypeError(
            "cap needs an eager frame, because caps are filled in the order of the rows' ratios: "
            "collect the frame first (.collect(), .df(), .compute(), .toPandas())"
        )
    # DuckDB and Spark do not tell Dose from dose.
    taken = [name for name in schema if str(name).lower() == DOSE]
    if DOSE in taken or (taken and not _is_eager(native)):
        raise ValueError(
            f"the frame has a column {taken[0]!r} already: rename or drop it, "
            f"the doses are written into {DOSE!r}"
        )


def _check_column(argument: str, column: str, schema: Any) -> None:
    if column not in schema:
        near = difflib.get_close_matches(column, [str(name) for name in schema], 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{argument} column {column!r} is not in the frame, "
            f"whose columns are {list(schema)}{hint}"
        )
    dtype = schema[column]
    numeric = dtype.is_numeric() or dtype in (nw.Boolean, nw.Object)  # Object: decimals in pandas
    if argument in ("benefit", "cost", "cap") and not numeric:
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


def _faults(columns: _Columns, schema: Any) -> list[_Fault]:
    """All faults of a row; the first of them is told."""
    numbers = {"benefit": BENEFIT, "cost": COST}
    found = []
    named = columns.named()
    for argument in sorted(named, key=["group", "person", "benefit", "cost", "cap"].index):
        column = named[argument]
        value = nw.col(numbers.get(argument, column))
        missing = value.is_null()
        if argument in numbers or schema[column].is_float():
            missing = missing | value.is_nan()
        found.append(_Fault(argument, column, missing, "missing values", _CURES[argument]))
        if argument in numbers:
            infinite = ~value.is_finite()
            found.append(_Fault(argument, column, infinite, "infinite values", _CURES[argument]))
    if isinstance(columns.cost, str):
        cure = "give what is free a small positive cost"
        found.append(_Fault("cost", columns.cost, nw.col(COST) <= 0, "values ≤ 0", cure))
    if isinstance(columns.cap, str):
        negative = nw.col(columns.cap) < 0
        found.append(_Fault("cap", columns.cap, negative, "values < 0", "0 keeps a row out"))
    return [*found, _out_of_range(columns)]


def _out_of_range(columns: _Columns) -> _Fault:
    ratio = nw.col(RATIO)
    far = (nw.col(BENEFIT) > 0) & ((ratio > LARGEST_RATIO) | (ratio < 1 / LARGEST_RATIO))
    complaint = f"values whose ratio to the cost is above {LARGEST_RATIO:g} or below its inverse"
    cure = "measure benefit and cost in other units, or set negligible benefits to 0"
    return _Fault("benefit", columns.benefit, far, complaint, cure)


_CURES = {
    "benefit": "drop those rows or impute the values",
    "cost": "drop those rows or impute the values",
    "cap": "drop those rows or write infinity where there is no bound",
    "group": "drop those rows or make up a label such as 'unknown'",
    "person": "drop those rows, or leave person out if each row is a person of its own",
}


def _fault_code(faults: list[_Fault]) -> Any:
    """0 for a sound row, else a number that is the larger the earlier in the list its fault is."""
    code: Any = nw.lit(0)
    for gravity, fault in enumerate(reversed(faults), start=1):
        code = nw.when(fault.condition).then(nw.lit(gravity)).otherwise(code)
    return code


def _refuse(rows: Frame, columns: _Columns, code: int) -> NoReturn:
    """Say what is wrong with how many rows, and where the first of them is."""
    fault = _faults(columns, rows.collect_schema())[-code]
    bad = rows.filter(nw.col(FAULT) == code)
    count = _collect(bad.select(nw.len().alias(SIZE)))[SIZE][0]
    if _is_eager(rows):
        where = f"first: row {bad[ROW].min()}"
        if "missing" not in fault.complaint:
            where += f", {bad[fault.column][0]}"
    else:
        label = _collect(bad.select(columns.group).head(1))[columns.group][0]
        where = f"one of them in group {label!s}"
    complaint = fault.complaint if count > 1 else fault.complaint.replace("values", "value", 1)
    raise ValueError(
        f"{fault.argument} column {fault.column!r} has {count} {complaint} ({where}): {fault.cure}"
    )


# --- what comes to Python: one row a group --------------------------------------------------------
class _Census(NamedTuple):
    """What the first pass says of each group, (K,), in the order of the sorted labels."""

    label: Any
    key: list[Any]  # the labels as the engine looks them up
    size: Integers  # G, the number of people
    rows: Integers  # the number of rows
    best: Floats  # largest ratio r_i
    least: Floats  # least ratio r_i
    cheapest: Floats  # least cost


def _collect(frame: Frame) -> dict[str, list[Any]]:
    """The columns of a small frame as lists: the only way by which data come to Python."""
    eager = frame if _is_eager(frame) else frame.collect()
    return {name: eager[name].to_list() for name in eager.columns}


def _people(rows: Frame, columns: _Columns) -> Frame:
    """One row a person: RATIO r_i = max b/c, number of rows, worst FAULT, least COST."""
    if columns.person is None:
        return rows.with_columns(nw.lit(1).alias(COUNT))
    return rows.group_by(columns.group, columns.person).agg(
        nw.col(RATIO).max(), nw.col(FAULT).max(), nw.col(COST).min(), nw.len().alias(COUNT)
    )


def _census(rows: Frame, people: Frame, columns: _Columns) -> _Census:
    """One row a group, checked: the first pass over the data."""
    table = people.group_by(columns.group).agg(
        nw.len().alias(SIZE),
        nw.col(COUNT).sum(),
        nw.col(RATIO).max().alias(BEST),
        nw.col(RATIO).min().alias(LEAST),
        nw.col(COST).min(),
        nw.col(FAULT).max(),
    )
    found = _collect(table.with_columns(_key(table, columns.group).alias(KEY)))
    if not found[SIZE]:
        raise ValueError("the frame is empty: at least one row is needed")
    if max(found[FAULT]):
        _refuse(rows, columns, max(found[FAULT]))
    if columns.person is not None:
        _check_one_group_each(people, columns.person)
    found = _in_label_order(found, columns.group)
    size, count = (np.array(found[name], np.intp) for name in (SIZE, COUNT))
    best, least, cheapest = (np.array(found[name], float) for name in (BEST, LEAST, COST))
    label = Groups(found[columns.group]).label
    return _Census(label, found[KEY], size, count, best, least, cheapest)


def _in_label_order(found: dict[str, list[Any]], group: str) -> dict[str, list[Any]]:
    """The same columns, with one row a group, in the order of the sorted labels."""
    order = np.argsort(Groups(found[group]).code)
    return {name: [column[k] for k in order] for name, column in found.items()}


def _key(frame: Frame, group: str) -> Any:
    """Labels as `replace_strict` can find them in every engine: Dask's cannot categories, dates."""
    awkward = (nw.Categorical, nw.Enum, nw.Datetime, nw.Date)
    if any(frame.collect_schema()[group] == kind for kind in awkward):
        return nw.col(group).cast(nw.String)
    return nw.col(group)


def _check_one_group_each(people: Frame, person: str) -> None:
    groups = people.group_by(person).agg(nw.len().alias(SIZE)).filter(nw.col(SIZE) > 1)
    several = _collect(groups.head(1))
    if several[person]:
        raise ValueError(
            f"person {several[person][0]!s} has rows in {several[SIZE][0]} groups: must be one; "
            f"if ids repeat from group to group, join group and id in one column"
        )


def _spread(rows: Frame, group: str, census: _Census, values: dict[str, Floats]) -> Frame:
    """Rows with K numbers written beside them: the only way by which numbers go to the engine.

    The labels are looked up on a table of one row a group, made by the engine from its own labels,
    so that the join compares like with like; and it needs no second source of data, which a
    connection or a cluster might refuse.
    """
    table = rows.select(group).unique()
    key = _key(table, group)
    columns = [
        key.replace_strict(census.key, value.tolist(), default=nw.lit(0.0), return_dtype=nw.Float64)
        for value in values.values()
    ]
    named = [column.alias(name) for column, name in zip(columns, values, strict=True)]
    return rows.join(table.with_columns(*named), on=group, how="left")


# --- within groups --------------------------------------------------------------------------------
class _Stage(NamedTuple):
    """What money does in each group: person i gets the share (r_i/reference)^s / total of it."""

    productivity: Floats  # p (K,)
    exponent: float  # s
    reference: Floats  # (K,)
    total: Floats  # (K,)


def _within_groups(people: Frame, census: _Census, columns: _Columns, within: float) -> _Stage:
    """p_k = M_s(r_i)/G_k of each group: with powers relative to its best (s ≥ 0) or least ratio."""
    _refuse_worthless(people, census, columns, within)
    size = census.size
    if within == 0:  # M_∞ is the maximum, and who has it gets all
        return _Stage(census.best / size, np.inf, census.best, np.ones(len(size)))
    s = money_exponent(within)
    reference = census.best if s >= 0 else census.least
    people = _spread(people, columns.group, census, {REFERENCE: reference})
    table = (
        _with_powers(people, s)
        .group_by(columns.group)
        .agg(nw.col(POWER).sum(), nw.col(EXCESS).sum())
    )
    found = _in_label_order(_collect(table), columns.group)
    total, mean = np.array(found[POWER], float), np.array(found[EXCESS], float) / size
    return _Stage(reference * np.exp(_log_mean(total / size, mean, s)) / size, s, reference, total)


def _log_mean(mean_power: Floats, mean_excess: Floats, s: float) -> Floats:
    """Logarithm of M_s/reference, from whichever mean is accurate; at s = 0 it is given."""
    if s == 0:
        return mean_excess
    near_one = np.log1p(np.maximum(mean_excess, -0.5))
    return np.where(mean_excess > -0.5, near_one, np.log(mean_power)) / s


def _with_powers(rows: Frame, s: float) -> Frame:
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


def _refuse_worthless(people: Frame, census: _Census, columns: _Columns, within: float) -> None:
    """A group that no budget can give utility: nobody benefits, or at ε ≥ 1 somebody does not."""
    if (census.best <= 0).any():
        label = census.label[int(np.argmax(census.best <= 0))]
        raise ValueError(
            f"group {label!s} has no row with a positive benefit: no budget can give it utility; "
            f"drop the group or correct its benefits"
        )
    if within >= 1 and (census.least <= 0).any():
        who = _collect(people.filter(nw.col(RATIO) <= 0).head(1))
        name = who.get(ROW if columns.person is None else columns.person, [None])[0]
        kind = "row" if columns.person is None else "person"
        somebody = "somebody" if name is None else f"{kind} {name!s}"
        raise ValueError(
            f"{somebody} (group {who[columns.group][0]!s}) has no positive benefit, so with "
            f"within = {within:g} (1 or more) the group's utility is 0 for every allocation; "
            f"drop that person or use within < 1"
        )


# --- back to the rows -----------------------------------------------------------------------------
def _doses(rows: Frame, census: _Census, columns: _Columns, stage: _Stage, money: Floats) -> Frame:
    """DOSE = x_k y_i / c on the funded rows: the best one of the group (ε = 0) or of each person.

    Eager frames fund the first of tied rows, lazy ones, which have no first, all in equal parts.
    """
    inner = stage.exponent < np.inf
    owner = [columns.group, columns.person] if inner else [columns.group]
    funded, count = nw.col(RATIO) > 0, nw.lit(1.0)
    if columns.person is not None or not inner:
        rows = rows.join(_winners(rows, owner), on=owner, how="left")
        funded = funded & (nw.col(RATIO) == nw.col(BEST))
        if _is_eager(rows):
            funded = funded & (nw.col(ROW) == nw.col(FIRST))
        else:
            count = nw.col(TIES)
    values = {AMOUNT: money / stage.total, REFERENCE: stage.reference}
    rows = _spread(rows, columns.group, census, values)
    spent = nw.col(AMOUNT)
    if inner:
        rows, spent = _with_powers(rows, stage.exponent), spent * nw.col(POWER)
    dose = nw.when(funded).then(spent / (nw.col(COST) * count)).otherwise(nw.lit(0.0))
    return rows.with_columns(dose.alias(DOSE))


def _winners(rows: Frame, owner: list[Any]) -> Frame:
    """One row an owner: BEST ratio, how many rows have it (TIES), the FIRST of them if eager."""
    best = rows.group_by(*owner).agg(nw.col(RATIO).max().alias(BEST))
    tied = rows.join(best, on=owner, how="left").filter(nw.col(RATIO) == nw.col(BEST))
    found = [nw.col(BEST).max(), nw.len().alias(TIES)]
    if _is_eager(rows):
        found.append(nw.col(ROW).min().alias(FIRST))
    return tied.group_by(*owner).agg(*found)


def _refuse_overflow(money: Floats, census: _Census) -> None:
    with np.errstate(over="ignore"):
        largest = money / census.cheapest
    if not np.isfinite(largest).all():
        k = int(np.argmin(np.isfinite(largest)))
        raise ValueError(
            f"doses of group {census.label[k]!s} can overflow: the budget is too large for the "
            f"least cost, {census.cheapest[k]:g}; measure cost and budget in a larger unit"
        )


def _with_dose(native: Frame, doses: Frame) -> Any:
    """The native frame as it was, and the doses as its last column."""
    if _is_eager(native):
        return native.with_columns(doses.sort(ROW)[DOSE]).to_native()
    return doses.select(*native.columns, DOSE).to_native()


# --- caps -----------------------------------------------------------------------------------------
def _capped_problem(
    rows: Frame,
    census: _Census,
    group: str,
    cap: str | float,
    budget: float,
    within: float,
    weight: Any,
) -> Problem:
    """With upper bounds: each row is an item of the array problem, in memory.

    The array problem divides the utility of a group by its number of items, this one by its number
    of people: benefits are multiplied by the quotient.
    """
    groups = Groups(rows[group].to_list())
    benefit = rows[BENEFIT].to_numpy() * (census.rows / census.size)[groups.code]
    bound = rows.select(_amount(cap).alias(KEY))[KEY].to_numpy()
    return Problem(benefit, rows[COST].to_numpy(), groups, budget, within, weight, bound)
