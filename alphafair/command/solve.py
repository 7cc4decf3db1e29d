"""From a table to its doses: by `alphafair.frames`, or by the array problem where a row is a person
with several treatments.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..allocation import Allocation
from ..checks import Floats, Integers
from ..groups import Groups
from ..problem import Problem
from .arguments import GROUP_BOUNDS, flag
from .refusals import USAGE, Refused
from .tables import Table, amounts, converted, label, number, refuse_words

if TYPE_CHECKING:
    from ..whole import WholePlan

KEPT = "\0"  # how the names begin of amounts as they were; no header may hold it


@dataclass
class Doses:
    """What has been found.

    Attributes:
        frame: the table with the doses as its last columns; lazy where it is streamed.
        names: of the columns of doses.
        alphas: (A,) α.
        groups: (A,) the `Allocation` of each.
        size: (K,) the number of people of each group.
        rows: how many rows there are; None where they are streamed.
        funded: (A,) how many rows get something; empty where they are streamed.
        parts: whether some dose is not a whole number, as far as is known.
        plans: (A,) the whole plans, if they are asked for.
    """

    frame: Any
    names: list[str]
    alphas: list[float]
    groups: list[Allocation]
    size: Integers
    rows: int | None
    funded: list[int]
    parts: bool
    plans: list[WholePlan]

    def money(self, j: int) -> Floats:
        """(K,) the budgets of the groups at the j-th α."""
        return self.plans[j].group_budget if self.plans else self.groups[j].group_budget

    def utility(self, j: int) -> Floats:
        """(K,) the utilities of the groups at the j-th α."""
        return self.plans[j].group_utility if self.plans else self.groups[j].group_utility


def find_doses(pl: Any, table: Table, request: argparse.Namespace, stream: bool) -> Doses:
    """The doses of all rows, at each α.

    Raises:
        Refused: words in the place of numbers, names that are taken.
        ValueError, TypeError: what the problem does not accept; rows are called by their lines.
    """
    names = _names_of_doses(request)
    _check_names(table, request, names)
    frame = table.scan(pl)
    if not stream:
        frame = frame.collect()
        if table.dialect is not None and len(frame) != sum(part.rows for part in table.parts):
            raise Refused("the rows of the table cannot be told apart: save it as plain CSV")
    try:
        if stream:
            return _streamed(pl, frame, table, request, names)
        known = frame.with_columns(converted(pl, table, request))
        if request.wide:
            return _wide(pl, frame, known, table, request, names)
        return _long(pl, frame, known, table, request, names)
    except pl.exceptions.InvalidOperationError:
        refuse_words(pl, frame, table, request, amounts(request))
        raise
    except (ValueError, TypeError) as error:
        message = _by_line(str(error), table, request)
        if stream:
            message = _with_line(pl, message, table, request)
        raise type(error)(message) from error


def _names_of_doses(request: argparse.Namespace) -> list[str]:
    """By α, and for each of them by treatment."""
    each = [f"dose_{name}" for name in request.benefit] if request.wide else ["dose"]
    if len(request.alpha) == 1:
        return each
    return [f"{name}_alpha_{alpha:g}" for alpha in request.alpha for name in each]


def _check_names(table: Table, request: argparse.Namespace, names: list[str]) -> None:
    taken = [name for name in table.columns if name in names]
    if taken:
        raise Refused(
            f"the table has a column {taken[0]!r} already: rename or drop it, the doses are "
            f"written into it"
        )
    if len(set(names)) < len(names):
        raise Refused("--alpha: two of them have the same first six digits", USAGE)
    ambiguous: dict[Any, str] = {}
    for option in ("cost", "cap", "floor"):
        ambiguous |= dict.fromkeys(getattr(request, option) or (), option)
    ambiguous[request.baseline] = "baseline"
    for value, option in ambiguous.items():
        if isinstance(value, float) and f"{value:g}" in table.columns:
            raise Refused(
                f"{flag(option)} {value:g} is a number and a column: write column:{value:g} for "
                f"the column, or rename it",
                USAGE,
            )


def _by_line(message: str, table: Table, request: argparse.Namespace) -> str:
    """A message about rows, or about entries of arrays, in the words of the table."""

    def entry(found: re.Match[str]) -> str:
        argument, row, place = found[1], int(found[2]), int(found[3] or 0)
        if argument == "group":
            what = request.group
        elif argument == "baseline":
            what = request.baseline
        else:
            values = getattr(request, argument)
            what = values[place if len(values) > 1 else 0]
        return f"{argument} {what if isinstance(what, str) else f'{what:g}'}, {table.where(row)},"

    if request.wide:
        pattern = r"\b(benefit|cost|cap|floor|baseline|group)\[(\d+)(?:, (\d+))?\]"
        message = re.sub(pattern, entry, message)
        message = re.sub(r"\b(item) \((\d+), \d+\)", _replaced_row(table, 2), message)
        message = re.sub(r"\b(person) (\d+)\b", _replaced_row(table, 2), message)
        return message
    message = re.sub(r"\brows (\d+) and (\d+)", r"row \1 and row \2", message)
    return re.sub(r"\b(row) (\d+)", _replaced_row(table, 2), message)


def _replaced_row(table: Table, group: int) -> Any:
    return lambda found: table.where(int(found[group]))


def _with_line(pl: Any, message: str, table: Table, request: argparse.Namespace) -> str:
    """A message of a stream, which has no rows to point at, with the line of the first one."""
    found = re.search(
        r"column '(.*)' has \d+ (missing|infinite|values? ≤ 0|values? < 0).*?"
        r"\(one of them (in group .*?)\): ",
        message,
    )
    if found is None or table.dialect is None or found[1] not in table.columns:
        return message
    name, value = found[1], pl.col(found[1])
    missing = value.is_null() | (value.is_nan() if name in amounts(request) else False)
    faulty = {"m": missing, "i": value.is_infinite(), "v": value <= 0}[found[2][0]]
    if found[2].endswith("< 0"):
        faulty = value < 0
    rows = table.scan(pl).with_columns(converted(pl, table, request))
    first = rows.select(name).with_row_index(KEPT).filter(faulty).head(1).collect()
    where = f"first: {table.where(first[KEPT][0])}, {found[3]}"
    return message.replace(f"one of them {found[3]}", where)


# --- a row a treatment --------------------------------------------------------------------------
def _call(request: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `frames.solve` that are the same for all α."""
    names = ("group", "budget", "person", "treatment", "within")
    call = {name: getattr(request, name) for name in names}
    call["benefit"], call["baseline"] = request.benefit[0], request.baseline
    for option, default in (("cost", 1.0), ("floor", None), ("cap", None)):
        values = getattr(request, option)
        call[option] = values[0] if values else default
    if request.whole and call["cap"] is None:
        call["cap"] = np.inf  # no bound, but the table of all items, which whole plans need
    if request.exclusive:
        call["exclusive"] = True
    return call


def _long(
    pl: Any, frame: Any, known: Any, table: Table, request: argparse.Namespace, names: list[str]
) -> Doses:
    """In memory: by α as often as is asked for."""
    from .. import frames

    call = _call(request) | by_groups(pl, known, table, request)
    solutions = [frames.solve(known, **call, alpha=alpha) for alpha in request.alpha]
    groups = [solution.groups for solution in solutions]
    doses = [solution.frame["dose"].to_numpy() for solution in solutions]
    plans: list[WholePlan] = []
    if request.whole:
        plans = [allocation.whole(request.unit) for allocation in groups]
        place = _places(known, call)
        doses = [place.of_rows(plan.dose) for plan in plans]
    return _found(pl, frame, names, doses, request, groups, solutions[0].size, plans)


def _places(known: Any, call: dict[str, Any]) -> Any:
    """Where the rows stand in the table of the array problem."""
    import narwhals as nw

    from ..frames.checks import Columns
    from ..frames.engine import ROW
    from ..frames.memory import Table as Places

    columns = Columns(call["benefit"], call["cost"], call["group"], call["person"])
    return Places.of(nw.from_native(known).with_row_index(ROW), columns)


def _found(
    pl: Any,
    frame: Any,
    names: list[str],
    doses: list[Floats],
    request: argparse.Namespace,
    groups: list[Allocation],
    size: Integers,
    plans: list[WholePlan],
) -> Doses:
    """Doses (R,) in the order of their names, beside the rows."""
    each = len(names) // len(groups)
    got = [np.any(doses[j : j + each], axis=0).sum() for j in range(0, len(names), each)]
    return Doses(
        frame.with_columns(
            [pl.Series(name, dose) for name, dose in zip(names, doses, strict=True)]
        ),
        names,
        request.alpha,
        groups,
        size,
        len(frame),
        [int(count) for count in got],
        any(bool((dose % 1 != 0).any()) for dose in doses),
        plans,
    )


# --- a row a person, with several treatments ----------------------------------------------------
def _wide(
    pl: Any, frame: Any, known: Any, table: Table, request: argparse.Namespace, names: list[str]
) -> Doses:
    """The array problem: N rows × T benefits."""
    _check_wide(known, table, request)
    treatments = len(request.benefit)
    bounds: dict[str, Any] = by_groups(pl, known, table, request)
    for option in ("cap", "floor"):
        if getattr(request, option) is not None:
            bounds[option] = _amounts(pl, known, getattr(request, option), treatments)
    if request.baseline is not None:
        bounds["baseline"] = _amounts(pl, known, [request.baseline], 1)[:, 0]
    if request.exclusive:
        bounds["exclusive"] = True
    problem = Problem(
        _amounts(pl, known, request.benefit, treatments),
        _amounts(pl, known, request.cost or [1.0], treatments),
        Groups(known[request.group].to_list()),
        request.budget,
        within=request.within,
        **bounds,
    )
    groups = [problem.allocate(alpha) for alpha in request.alpha]
    tables = [allocation.dose for allocation in groups]
    plans: list[WholePlan] = []
    if request.whole:
        plans = [allocation.whole(request.unit) for allocation in groups]
        tables = [plan.dose for plan in plans]
    doses = [dose[:, t] for dose in tables for t in range(treatments)]
    return _found(pl, frame, names, doses, request, groups, problem.groups.size, plans)


def _amounts(pl: Any, known: Any, values: list[str | float], treatments: int) -> Floats:
    """(N, T) columns or numbers, one each or one for all."""
    each = values if len(values) == treatments else values * treatments
    table = np.empty((len(known), treatments))
    for t, value in enumerate(each):
        table[:, t] = known[value].cast(pl.Float64).to_numpy() if isinstance(value, str) else value
    return table


def _check_wide(known: Any, table: Table, request: argparse.Namespace) -> None:
    """What `frames` checks of a table whose rows are treatments."""
    if len(known) == 0:
        raise Refused("the table is empty: at least one row is needed")
    named = [("benefit", name) for name in request.benefit] + [("group", request.group)]
    for option in ("cost", "cap", "floor"):
        named += [(option, v) for v in getattr(request, option) or () if isinstance(v, str)]
    if isinstance(request.baseline, str):
        named.append(("baseline", request.baseline))
    for option, name in named:
        if name not in table.columns:
            near = difflib.get_close_matches(name, table.columns, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Refused(
                f"{option} column {name!r} is not in the table, whose columns are "
                f"{table.columns}{hint}"
            )
        column = known[name]
        if option != "group" and not (column.dtype.is_numeric() or str(column.dtype) == "Boolean"):
            raise Refused(
                f"{option} column {name!r} is of type {column.dtype}: must hold real numbers"
            )
        if column.null_count():
            row = column.is_null().arg_max()
            raise Refused(
                f"{option} column {name!r} has {column.null_count()} missing value"
                f"{'s' if column.null_count() > 1 else ''} (first: {table.where(row)}): drop those "
                f"rows or fill them in"
            )


# --- a stream -----------------------------------------------------------------------------------
def _streamed(
    pl: Any, frame: Any, table: Table, request: argparse.Namespace, names: list[str]
) -> Doses:
    """Read a few times, never held.

    Without bounds the split inside a group does not depend on α, so that of α = 1, where every
    group has something, is scaled to what each of them has at the others.
    """
    from .. import frames

    changed = converted(pl, table, request)
    touched = [expression.meta.output_name() for expression in changed]
    kept = [pl.col(name).alias(KEPT + name) for name in touched]
    known = frame.with_columns(kept).with_columns(changed)
    call = _call(request) | by_groups(pl, known, table, request)
    alphas = request.alpha
    solution = frames.solve(known, **call, alpha=alphas[0] if len(alphas) == 1 else 1.0)
    rows, base = solution.frame, solution.groups
    groups = [base if alpha == base.alpha else base.problem.allocate(alpha) for alpha in alphas]
    doses = [pl.col("dose").alias(names[0])]
    if len(alphas) > 1:
        ratios = [_ratio(other.group_budget, base.group_budget) for other in groups]
        rows = rows.join(_per_group(pl, known, request.group, ratios), request.group, how="left")
        doses = [(pl.col("dose") * pl.col(f"{KEPT}{j}")).alias(n) for j, n in enumerate(names)]
    columns = [
        pl.col(KEPT + name).alias(name) if name in touched else pl.col(name)
        for name in table.columns
    ]
    rows = rows.select(*columns, *doses)
    return Doses(rows, names, alphas, groups, solution.size, None, [], True, [])


def _ratio(money: Floats, base: Floats) -> Floats:
    return np.divide(money, base, out=np.zeros_like(money), where=base > 0)


def _per_group(pl: Any, known: Any, group: str, values: list[Floats]) -> Any:
    """Numbers (K,) in the order of the sorted labels, as a table to join by label."""
    labels = known.select(group).unique().collect()[group]
    code = Groups(labels.to_list()).code
    columns = {f"{KEPT}{j}": value[code] for j, value in enumerate(values)}
    return pl.DataFrame({group: labels, **columns}).lazy()


# --- numbers of groups --------------------------------------------------------------------------
def by_groups(pl: Any, known: Any, table: Table, request: argparse.Namespace) -> dict[str, Any]:
    """Weights and bounds of budgets by label; whatever its type, a label is found by its text."""
    asked = {option: dict(getattr(request, option)) for option in GROUP_BOUNDS}
    given: dict[str, Any] = {}
    if request.weight == "size":
        given["weight"] = "size"
    if request.group not in table.columns or (
        not any(asked.values()) and request.weight in (None, "size")
    ):
        return given  # a column that is not there is told by those who need it
    found = known.lazy().select(request.group).unique().collect()[request.group].to_list()
    labels = {str(text): text for text in found if text is not None}
    for option, money in asked.items():
        _refuse_unknown(flag(option), money, labels)
        if money:
            unbounded = GROUP_BOUNDS[option]
            given[option] = {label: money.get(text, unbounded) for text, label in labels.items()}
    if request.weight not in (None, "size"):
        given["weight"] = _weights(pl, table, request, labels)
    return given


def _refuse_unknown(option: str, numbers: dict[str, float], labels: dict[str, Any]) -> None:
    unknown = [text for text in numbers if text not in labels]
    if unknown:
        near = difflib.get_close_matches(unknown[0], labels, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{option}: there is no group {unknown[0]!r}{hint}")


def _weights(
    pl: Any, table: Table, request: argparse.Namespace, labels: dict[str, Any]
) -> dict[Any, float]:
    """Label → weight, from a column or a file."""
    weights = (
        _weights_of_column(pl, table, request)
        if request.weight in table.columns
        else _weights_of_file(Path(request.weight), table)
    )
    missing = [text for text in labels if text not in weights]
    if missing:
        raise Refused(f"--weight {request.weight} has no weight for group {missing[0]!r}")
    for text in labels:
        if not 0 < weights[text] < np.inf:
            raise Refused(
                f"--weight {request.weight}: the weight of group {text!r} is {weights[text]:g}: "
                f"must be finite and > 0"
            )
    return {label: weights[text] for text, label in labels.items()}


def _weights_of_column(pl: Any, table: Table, request: argparse.Namespace) -> dict[str, float]:
    column, frame = request.weight, table.scan(pl)
    if column == request.group:
        raise Refused("--weight and --group are the same column", USAGE)
    group = pl.col(request.group)
    if table.dialect is not None:
        refuse_words(pl, frame, table, request, [column])
        frame = frame.with_columns(number(pl, column, table, request))
        group = label(pl, request.group, request)
    weight = pl.col(column).cast(pl.Float64)
    found = (
        frame.select(group, weight)
        .group_by(request.group)
        .agg(
            low=weight.min(), high=weight.max(), gaps=weight.is_null().any() | weight.is_nan().any()
        )
        .collect()
    )
    weights: dict[str, float] = {}
    for row in found.iter_rows(named=True):
        text = row[request.group]
        if text is None:
            continue
        if row["gaps"]:
            raise Refused(f"weight column {column!r} has missing values in group {text!s}")
        if row["low"] != row["high"]:
            raise Refused(
                f"weight column {column!r} differs in group {text!s}: {row['low']:g} and "
                f"{row['high']:g}; it must be the same in all rows of a group"
            )
        weights[str(text)] = row["low"]
    return weights


def _weights_of_file(path: Path, table: Table) -> dict[str, float]:
    if not path.exists():
        near = difflib.get_close_matches(str(path), ["size", *table.columns], 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Refused(f'--weight {path} is neither "size", a column of the table, nor a file{hint}')
    weights: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        for row in reader:
            if not row:
                continue
            where = f"--weight {path}, line {reader.line_num}"
            if len(row) != 2:
                raise Refused(f"{where}: must have two cells, label,weight")
            try:
                weight = float(row[1])
            except ValueError:
                if reader.line_num == 1:
                    continue  # the header
                raise Refused(f"{where}: {row[1]!r} is no number") from None
            if row[0] in weights:
                raise Refused(f"{where}: group {row[0]!r} has a weight already")
            weights[row[0]] = weight
    return weights
