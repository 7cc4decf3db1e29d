"""The command: a table in, doses out.

    python -m alphafair people.csv --benefit uplift --cost price --group district \\
        --budget 1000 --alpha 2 -o doses.csv

reads a CSV or Parquet file with one row a (person, treatment), splits the budget as
`alphafair.frames` does, writes the rows with one more column ``dose``, and prints what each group
gets.  Long files are streamed: read a few times instead of held in memory.

Exit code 0: done.  1: bad data or files.  2: bad arguments.  After 1 or 2 no file has changed.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

STREAMED = 2**28  # bytes; files at least this long are streamed
SHOWN = 40  # groups
PATIENCE = 3  # seconds without a word, where standard error is no terminal
STAGES = "{desc} (stage {n} of {total}, {elapsed})"
SUFFIXES = (".csv", ".parquet")
IN_MEMORY = ("cap", "floor", "baseline")  # options that need all rows at once
GROUP_BOUNDS = {"group_floor": 0.0, "group_cap": math.inf}  # and what groups have without

EPILOG = """\
example:
  alphafair people.csv --benefit uplift --cost price --group district --budget 1000 --alpha 2

The table has one row a (person, treatment); without --person each row is a person of its own.
--group-floor north=100 --group-floor south=50 keeps 100 for north and 50 for south.
Other columns pass through as they are; the doses are written into a new column "dose".
Files of 256 MB and more are streamed, which needs little memory.  Streaming may change the order
of the rows, and tied best rows share their money instead of giving it to the first of them.
"""


class _Refused(Exception):  # noqa: N818
    """An error to be told in one line, with the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Refused(f"{message} (alphafair --help explains)", 2)


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; default those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: ``--help`` has been printed.

    Example:
        >>> main(["people.txt", "--benefit", "u", "--group", "g", "--budget", "1", "--alpha", "1"])
        2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or pipe that has no α prints ?
            stream.reconfigure(errors="replace")
    try:
        request = _arguments(argv)
        solution = _run(request)
    except _Refused as refused:
        print(f"alphafair: error: {refused}", file=sys.stderr)
        return refused.code
    _tell(_report(solution, request))
    return 0


def _tell(report: str) -> None:
    """Print the report.  The doses are written, whether or not anybody can read it."""
    try:
        print(report, flush=True)
    except OSError as error:  # a closed pipe, a full device; Python would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"alphafair: the report is not printed: {error.strerror}", file=sys.stderr)


# --- arguments ------------------------------------------------------------------------------------
def _arguments(argv: list[str] | None) -> argparse.Namespace:
    """The request, checked as far as that needs no file to be opened."""
    request = _parser().parse_args(argv)
    source, output = request.table, request.output
    if output is None:
        output = request.output = source.with_name(f"{source.stem}_doses{source.suffix}")
    for path in (source, output):
        if path.suffix.lower() not in SUFFIXES:
            raise _Refused(f"{path}: unknown kind of file, must end in .csv or .parquet", 2)
    if source.resolve() == output.resolve():
        raise _Refused(f"{output} is the input: choose another output (-o)", 2)
    if request.stream and _in_memory(request):
        raise _Refused(
            f"--{_in_memory(request)[0]} needs the table in memory: leave --stream out", 2
        )
    for option in GROUP_BOUNDS:
        labels = [label for label, _ in getattr(request, option)]
        twice = [label for label in labels if labels.count(label) > 1]
        if twice:
            raise _Refused(f"{_flag(option)} is given twice for group {twice[0]}", 2)
    return request


def _in_memory(request: argparse.Namespace) -> list[str]:
    """The options given that a stream cannot serve."""
    return [name for name in IN_MEMORY if getattr(request, name) is not None]


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="alphafair",
        description="Split a budget fairly over the groups of a table: a table in, doses out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("table", type=Path, help="CSV or Parquet file, one row a (person, treatment)")
    add("--benefit", required=True, metavar="COLUMN", help="utility of one unit of dose")
    add("--cost", default=1.0, type=_column_or_number, metavar="COLUMN|NUMBER", help="default 1")
    add("--group", required=True, metavar="COLUMN", help="whose utilities are compared")
    add("--budget", required=True, type=_at_least_0, metavar="Q", help="the money to spend")
    add("--alpha", required=True, type=_aversion, metavar="α", help="0 (sum) to inf (max-min)")
    add("--person", metavar="COLUMN", help="whose row it is; default: each row is a person")
    add("--within", default=0.0, type=_aversion, metavar="ε", help="the same inside a group; 0")
    add("--weight", choices=["size"], help="weigh groups by their people; default: equally")
    amount: dict[str, Any] = {"type": _column_or_number, "metavar": "COLUMN|NUMBER"}
    add("--baseline", **amount, help="utility that a person has already; default 0")
    add("--floor", **amount, help="least dose; default 0")
    add("--cap", **amount, help="largest dose; default: no bound")
    money: dict[str, Any] = {"action": "append", "default": [], "metavar": "GROUP=MONEY"}
    add("--group-floor", type=_floor_of_group, **money, help="least budget of a group; repeatable")
    add("--group-cap", type=_cap_of_group, **money, help="largest budget of a group; repeatable")
    add("-o", "--output", type=Path, metavar="FILE", help="default: TABLE_doses.SUFFIX")
    add("--force", action="store_true", help="overwrite the output if it exists")
    add("--stream", action=argparse.BooleanOptionalAction, help="default: from 256 MB on")
    return parser


def _column_or_number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _aversion(text: str) -> float:
    return _number(text, "a number between 0 and inf", lambda v: v >= 0)


def _at_least_0(text: str) -> float:
    return _number(text, "a finite number ≥ 0", lambda v: 0 <= v < math.inf)


def _floor_of_group(text: str) -> tuple[str, float]:
    label, money = _label_and_money(text)
    return label, _at_least_0(money)


def _cap_of_group(text: str) -> tuple[str, float]:
    label, money = _label_and_money(text)
    return label, _number(money, "a number ≥ 0", lambda v: v >= 0)


def _label_and_money(text: str) -> tuple[str, str]:
    label, equals, money = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form GROUP=MONEY")
    return label, money


def _number(text: str, expected: str, accept: Callable[[float], bool]) -> float:
    with contextlib.suppress(ValueError):
        if accept(float(text)):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")


# --- the run: read, allocate, write ---------------------------------------------------------------
def _run(request: argparse.Namespace) -> Any:
    """Read, allocate, write; a `frames.Solution`."""
    try:
        import polars as pl
        from tqdm import tqdm

        from . import frames
    except ImportError as error:
        message = f"{error.name} is not installed: pip install 'alphafair[command]'"
        raise _Refused(message, 1) from error
    with _refusals(pl.exceptions.PolarsError):
        stream = _is_long(request)
        engine = pl.Config(engine_affinity="streaming") if stream else contextlib.nullcontext()
        delay = 0 if sys.stderr.isatty() else PATIENCE
        stages = {"desc": f"reading {request.table}", "total": 3, "bar_format": STAGES}
        with (
            engine,
            _replacing(request.output, request.force) as unfinished,
            tqdm(**stages, delay=delay, mininterval=0, file=sys.stderr) as progress,
        ):
            table = _scan(pl, request)
            table = table if stream else table.collect()
            _next(progress, "allocating")
            call = _call(request) | _group_bounds(table, request)
            solution = frames.solve(table, **call)
            _next(progress, f"writing the doses of {solution.size.sum()} people")
            _write(pl, solution.frame, unfinished, stream)
            _next(progress, "done")
    return solution


def _next(progress: Any, stage: str) -> None:
    """Tell which stage begins; nothing is told of runs that have been short so far."""
    progress.set_description_str(stage, refresh=False)
    progress.update()


@contextlib.contextmanager
def _refusals(library_error: type[Exception]) -> Iterator[None]:
    """Whatever is wrong with data or files, in one line."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise _Refused(f"{where}{error.strerror or str(error).splitlines()[0]}", 1) from error
    except (ValueError, TypeError, library_error) as error:
        raise _Refused(str(error).strip().splitlines()[0], 1) from error


def _is_long(request: argparse.Namespace) -> bool:
    size = request.table.stat().st_size
    if request.stream is not None:
        return bool(request.stream)
    return size >= STREAMED and not _in_memory(request)


def _scan(pl: Any, request: argparse.Namespace) -> Any:
    """The table as a Polars LazyFrame.

    Of a CSV file only the numbers are read as numbers: an id such as 007 passes through as it is.
    """
    if request.table.suffix.lower() == ".parquet":
        return pl.scan_parquet(request.table, glob=False)
    read: dict[str, Any] = {"infer_schema": False, "glob": False}  # [1] in a name is no pattern
    columns = pl.scan_csv(request.table, **read).collect_schema().names()
    amounts = {request.benefit, request.cost, *(getattr(request, name) for name in IN_MEMORY)}
    numbers = amounts.intersection(columns)
    numbers -= {request.group, request.person}
    types = dict.fromkeys(numbers, pl.Float64)
    return pl.scan_csv(request.table, schema_overrides=types, **read)


def _call(request: argparse.Namespace) -> dict[str, Any]:
    names = ("benefit", "cost", "group", "budget", "alpha", "person", "within", "weight")
    return {name: getattr(request, name) for name in (*names, *IN_MEMORY)}


def _group_bounds(table: Any, request: argparse.Namespace) -> dict[str, dict[Any, float]]:
    """Money by label of every group; whatever the type of a label, it is found by its text."""
    asked = {option: dict(getattr(request, option)) for option in GROUP_BOUNDS}
    if not any(asked.values()) or request.group not in table.collect_schema():
        return {}  # a column that is not there is told by `solve`
    found = table.lazy().select(request.group).unique().collect()[request.group].to_list()
    labels = {str(label): label for label in found if label is not None}
    bounds = {}
    for option, money in asked.items():
        unknown = [text for text in money if text not in labels]
        if unknown:
            near = difflib.get_close_matches(unknown[0], labels, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{_flag(option)}: there is no group {unknown[0]!r}{hint}")
        if money:
            unbounded = GROUP_BOUNDS[option]
            bounds[option] = {label: money.get(text, unbounded) for text, label in labels.items()}
    return bounds


@contextlib.contextmanager
def _replacing(output: Path, force: bool) -> Iterator[Path]:
    """A file beside the output that takes its place when all has gone well, and else goes away."""
    if output.is_dir():
        raise IsADirectoryError(None, "is a folder, not a file", str(output))
    if output.exists() and not force:
        raise FileExistsError(None, "exists already: choose another (-o) or --force", str(output))
    unfinished = output.with_name(f".{output.name}.{os.getpid()}{output.suffix}")
    try:
        unfinished.touch(exist_ok=False)  # now, and not after minutes of work
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot be written: {error.strerror}", str(output)
        ) from None
    try:
        yield unfinished
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(pl: Any, frame: Any, path: Path, stream: bool) -> None:
    kind = path.suffix.lower().removeprefix(".")
    if not stream:
        getattr(frame, f"write_{kind}")(path)
        return
    # The plan reads the table several times; a scan shared by them would buffer rows without end.
    plan = pl.QueryOptFlags(comm_subplan_elim=False)
    getattr(frame, f"sink_{kind}")(path, optimizations=plan)


# --- the report -----------------------------------------------------------------------------------
def _report(solution: Any, request: argparse.Namespace) -> str:
    """What each group gets, and the price."""
    groups, size = solution.groups, solution.size
    money, utility, budget = groups.group_budget, groups.group_utility, request.budget
    spent = float(money.sum())
    rows = [("group", "people", "budget", "share", "utility")]
    for k in _printing_order(groups.group_labels.tolist())[:SHOWN]:
        label, share = str(groups.group_labels[k]), money[k] / budget if budget else 0.0
        rows.append((label, str(size[k]), f"{money[k]:.6g}", f"{share:.1%}", f"{utility[k]:.6g}"))
    share = spent / budget if budget else 0.0
    rows.append(("all", str(size.sum()), f"{spent:.6g}", f"{share:.1%}", ""))
    width = [max(len(row[j]) for row in rows) for j in range(5)]
    lines = [
        "  ".join([row[0].ljust(width[0]), *(row[j].rjust(width[j]) for j in range(1, 5))]).rstrip()
        for row in rows
    ]
    if len(size) > SHOWN:
        lines.insert(-1, f"… and {len(size) - SHOWN} more")
    lines += ["", f"α = {groups.alpha:g}; one more unit of budget adds {groups.price:.6g} welfare"]
    if budget - spent > 1e-9 * budget:
        what = "dose or group" if request.group_cap else "dose"
        lines.append(
            f"left over: {budget - spent:.6g}, because every {what} that helps is at its cap"
        )
    return "\n".join([*lines, f"doses: {request.output}"])


def _printing_order(labels: list[Any]) -> list[int]:
    """Numbers that have been read as text in the order of numbers."""
    with contextlib.suppress(TypeError, ValueError):
        labels = [float(label) for label in labels]
    return sorted(range(len(labels)), key=labels.__getitem__)


if __name__ == "__main__":
    sys.exit(main())
