"""The command line: what is asked for, checked as far as that needs no table to be read."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .refusals import USAGE, Refused

STANDARD = Path("-")  # standard input or output
KINDS = {  # suffix → what the file holds
    ".csv": "csv",
    ".parquet": "parquet",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
}
SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}
BOUNDS = ("cap", "floor", "baseline")  # with one of them the split inside a group depends on α
LABELS = ("group", "person", "treatment")  # columns that are no numbers
GROUP_BOUNDS = {"group_floor": 0.0, "group_cap": math.inf}  # and what groups have without

DESCRIPTION = "Split a budget fairly over the groups of a table: a table in, doses out."
EPILOG = """\
examples:
  alphafair people.csv --benefit uplift --cost price --group district --budget 1000 --alpha 2

  at most one unit of dose a row, none of it in parts:
  alphafair people.csv --benefit uplift --cost price --group district --budget 10 --alpha 2 \\
      --cap 1 --whole -o plan.csv

  each row a person, for whom there is a loan at 5 or a grant at 8, not both:
  alphafair people.csv --benefit loan --benefit grant --cost 5 --cost 8 --group district \\
      --budget 20 --alpha 1 --cap 1 --exclusive -o offers.csv

  three aversions to inequality and what equality costs, told in a file as well:
  alphafair people.csv --benefit uplift --cost price --group district --budget 1000 \\
      --alpha 0 --alpha 1 --alpha inf --frontier -o compared.csv --report compared.json

  what comes in at standard input goes out at standard output:
  alphafair - --benefit uplift --group district --budget 1000 --alpha 2 < people.csv

tables:
  One row a (person, treatment); without --person each row is a person of its own.  With several
  --benefit each row is a person, and each benefit column a treatment.
  FILE is .csv, .tsv, either of them with .gz, .parquet, a folder of such files, or - for standard
  input.  Names are names: [ ] * ? have a meaning only with --glob.
  Separator, decimal sign and encoding of text are found out and told unless they are given, and
  the output is written in the same way.  An empty cell and a quoted empty "" are both missing.
  Other columns pass through as they are.  The doses are new columns: "dose"; "dose_loan" if there
  are several benefits; "dose_alpha_2" if there are several α.
  Files of 256 MB and more are streamed, which needs little memory.  Streaming may change the order
  of the rows, and rows that tie share their money instead of giving it to the first of them.
  Several --benefit, --whole, and with --cap, --floor or --baseline several --alpha or --frontier
  need the table in memory, however long it is.
  A column whose name is a number, as 2020: for --cost, --baseline, --floor and --cap write
  column:2020.

exit code:
  0      the doses are written
  1      something is wrong with the data or the files; nothing is written
  2      the command line is wrong; nothing is written
  128+n  stopped by signal n (130 interrupt, 143 terminate, 129 hang-up); nothing is written
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message} (alphafair --help explains)", USAGE)


class _Once(argparse.Action):
    """An option that would silently win over itself if it were given twice."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = namespace.__dict__.setdefault("_given", set())
        if self.dest in given:
            raise argparse.ArgumentError(self, "is given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def arguments(argv: Sequence[str] | None, version: str) -> argparse.Namespace:
    """The request.

    Args:
        argv: the arguments; default those of the process.
        version: what ``--version`` tells.

    Returns:
        One attribute an option.

    Raises:
        Refused: with exit code 2.
        SystemExit: ``--help`` or ``--version`` has been printed.
    """
    request = command_line(version).parse_args(argv)
    request.alpha = list(dict.fromkeys(request.alpha))
    request.wide = len(request.benefit) > 1
    _check_counts(request)
    _check_columns(request)
    _check_groups(request)
    _check_memory(request)
    _check_wholes(request)
    _check_files(request)
    return request


def kind(path: Path) -> str | None:
    """What the end of the name promises, "csv" or "parquet"; None if nothing."""
    return KINDS.get(suffix(path))


def suffix(path: Path) -> str:
    """The end of the name, with that before .gz: ".csv.gz"."""
    ends = path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]
    return "".join(ends).lower()


def flag(option: str) -> str:
    """An option as it is typed."""
    return f"--{option.replace('_', '-')}"


def in_memory(request: argparse.Namespace) -> list[str]:
    """The options given that a stream cannot serve, as they are typed."""
    found = ["--whole"] if request.whole else []
    for name in [name for name in BOUNDS if getattr(request, name) is not None][:1]:
        found += [f"several --alpha with {flag(name)}"] if len(request.alpha) > 1 else []
        found += [f"--frontier with {flag(name)}"] if request.frontier else []
    return [*found, "several --benefit"] if request.wide else found


def columns(request: argparse.Namespace) -> list[str]:
    """The columns that are used, but for that of the weights, which may be a file."""
    amounts = [request.cost, request.cap, request.floor, [request.baseline]]
    named = [name for values in amounts for name in values or () if isinstance(name, str)]
    return [
        *dict.fromkeys(
            name
            for name in (*request.benefit, *(getattr(request, name) for name in LABELS), *named)
            if name
        )
    ]


# --- what fits together -------------------------------------------------------------------------
def _check_counts(request: argparse.Namespace) -> None:
    """One cost, cap and floor for all treatments, or one each."""
    treatments = len(request.benefit)
    for option in ("cost", "cap", "floor"):
        values = getattr(request, option)
        if values is not None and len(values) not in (1, treatments):
            raise Refused(
                f"{flag(option)} is given {len(values)} times: must be once, for all benefits, "
                f"or {treatments} times, in the order of --benefit",
                USAGE,
            )
    pairs = zip(request.floor or [], request.cap or [], strict=False)
    for floor, cap in pairs:
        if not (isinstance(floor, str) or isinstance(cap, str)) and floor > cap:
            raise Refused(f"--floor {floor:g} is above --cap {cap:g}", USAGE)


def _check_columns(request: argparse.Namespace) -> None:
    """A column in two roles is a slip, whatever its numbers are."""
    for option in ("person", "treatment"):
        if request.wide and getattr(request, option) is not None:
            raise Refused(f"{flag(option)} with several --benefit: each row is a person", USAGE)
    twice = [name for name in request.benefit if request.benefit.count(name) > 1]
    if twice:
        raise Refused(f"--benefit {twice[0]} is given twice", USAGE)
    roles = [(flag(name), getattr(request, name)) for name in LABELS]
    roles += [("--benefit", name) for name in request.benefit]
    for option in ("cost", "cap", "floor"):
        own = dict.fromkeys(v for v in getattr(request, option) or () if isinstance(v, str))
        roles += [(flag(option), name) for name in own]
    if isinstance(request.baseline, str):
        roles.append(("--baseline", request.baseline))
    seen: dict[str, str] = {}
    for option, name in roles:
        if name in seen:
            hint = ": leave --person out if each row is a person" if option == "--person" else ""
            raise Refused(f"{seen[name]} and {option} are both the column {name!r}{hint}", USAGE)
        if name is not None:
            seen[name] = option


def _check_groups(request: argparse.Namespace) -> None:
    for option in GROUP_BOUNDS:
        labels = [label for label, _ in getattr(request, option)]
        twice = [label for label in labels if labels.count(label) > 1]
        if twice:
            raise Refused(f"{flag(option)} is given twice for group {twice[0]}", USAGE)


def _check_memory(request: argparse.Namespace) -> None:
    if request.stream and in_memory(request):
        message = f"{in_memory(request)[0]} needs the table in memory: leave --stream out"
        raise Refused(message, USAGE)


def _check_wholes(request: argparse.Namespace) -> None:
    if request.unit is not None and not request.whole:
        raise Refused("--unit is the size of whole doses: add --whole", USAGE)
    if request.whole and request.cap is None and request.unit is None:
        raise Refused(
            "--whole makes each dose 0 or its cap: add --cap, or --unit for multiples of a number",
            USAGE,
        )
    if request.exclusive and request.cap is None:
        raise Refused(
            "--exclusive shares a person's room between treatments: add --cap, the most of each",
            USAGE,
        )
    if request.exclusive and not request.wide and request.person is None:
        raise Refused(
            "--exclusive: each row is a person with one treatment; add --person, or --benefit for "
            "each treatment",
            USAGE,
        )


def _check_files(request: argparse.Namespace) -> None:
    """The names of the files; the default output is set."""
    source = request.table
    many = request.glob or source.is_dir()
    if request.output is None:
        request.output = _default_output(source, many)
    output = request.output
    if request.glob and output is None:
        raise Refused("--glob: say where the doses go, with -o FILE", USAGE)
    for path in ([] if many else [source]) + ([output] if output else []):
        if path != STANDARD and kind(path) is None:
            raise Refused(
                f"{path}: unknown kind of file, must end in .csv or .parquet, .tsv, .csv.gz or "
                f".tsv.gz",
                USAGE,
            )
    if request.report is not None and request.report.suffix.lower() not in (".json", ".csv"):
        raise Refused(f"{request.report}: the report must end in .json or .csv", USAGE)
    if output in (None, STANDARD):
        return
    if _same(output, source):
        raise Refused(f"{output} is the input: choose another output (-o)", USAGE)
    if source.is_dir() and real(source) in real(output).parents:
        raise Refused(f"{output} would be part of the input: choose another output (-o)", USAGE)
    if request.report is not None and (
        _same(request.report, output) or _same(request.report, source)
    ):
        raise Refused(f"{request.report} is the table: choose another --report", USAGE)


def real(path: Path) -> Path:
    """Where a path leads to, whatever is there: `Path.resolve` has errors for loops of links."""
    return Path(os.path.realpath(path))


def _same(path: Path, other: Path) -> bool:
    """Whether two names are those of one file."""
    with contextlib.suppress(OSError):
        if path.samefile(other):
            return True
    return real(path) == real(other)


def _default_output(source: Path, many: bool) -> Path | None:
    """Beside the input; None while it is not known what a folder holds."""
    if source == STANDARD:
        return STANDARD
    if many:
        return None
    end = suffix(source)
    return source.with_name(f"{source.name[: len(source.name) - len(end)]}_doses{end}")


# --- the options --------------------------------------------------------------------------------
def command_line(version: str = "") -> argparse.ArgumentParser:
    """The parser of the command, which the page about it is written from as well."""
    parser = _Parser(
        prog="alphafair",
        usage="%(prog)s FILE --benefit COLUMN --group COLUMN --budget Q --alpha α [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    amount: dict[str, Any] = {"metavar": "COLUMN|NUMBER"}
    money: dict[str, Any] = {"action": "append", "default": [], "metavar": "GROUP=MONEY"}
    parser.add_argument("table", type=Path, metavar="FILE", help="the table; - for standard input")
    parser.add_argument("--version", action="version", version=f"alphafair {version}")

    add = parser.add_argument_group("what is asked").add_argument
    add("--benefit", required=True, action="append", metavar="COLUMN",
        help="utility of one unit of dose; several: a treatment each")  # fmt: skip
    add("--cost", type=_cost, action="append", **amount,
        help="money for one unit of dose; default 1; several: one for each benefit")  # fmt: skip
    add("--group", required=True, action=_Once, metavar="COLUMN", help="groups to compare")
    add(
        "--person",
        action=_Once,
        metavar="COLUMN",
        help="whose row it is; default: each row is a person",
    )
    add("--treatment", action=_Once, metavar="COLUMN",
        help="what a row offers to its person: refuses offers that occur twice")  # fmt: skip
    add(
        "--budget",
        required=True,
        action=_Once,
        type=_at_least_0,
        metavar="Q",
        help="money to spend",
    )
    add("--alpha", required=True, action="append", type=_aversion, metavar="α",
        help="aversion to inequality between groups, 0 (sum) to inf (max-min); "
        "several: compared")  # fmt: skip
    add("--within", default=0.0, action=_Once, type=_aversion, metavar="ε",
        help="the same inside a group; default 0: all to the best row of it")  # fmt: skip
    add("--weight", action=_Once, metavar="size|COLUMN|FILE",
        help="of groups: their people, a column that is constant in each group, or a CSV file of "
        "label,weight; default: equal")  # fmt: skip

    add = parser.add_argument_group("bounds").add_argument
    add("--baseline", type=_at_least_0_or_column, action=_Once, **amount,
        help="utility that a person has already; default 0")  # fmt: skip
    add("--floor", type=_at_least_0_or_column, action="append", **amount,
        help="least dose; default 0")  # fmt: skip
    add("--cap", type=_cap, action="append", **amount, help="largest dose; default: no bound")
    add("--exclusive", action="store_true",
        help="at most one treatment a person; parts are lotteries between treatments")  # fmt: skip
    add("--whole", action="store_true", help="each dose 0 or its cap, none in parts")
    add("--unit", action=_Once, type=_positive, metavar="NUMBER",
        help="with --whole: multiples of this number instead")  # fmt: skip
    add("--group-floor", type=_floor_of_group, **money, help="least budget of a group; repeatable")
    add("--group-cap", type=_cap_of_group, **money, help="largest budget of a group; repeatable")

    add = parser.add_argument_group("files").add_argument
    add("-o", "--output", action=_Once, type=Path, metavar="FILE",
        help="default: TABLE_doses.SUFFIX, or - for standard output")  # fmt: skip
    add("--force", action="store_true", help="overwrite the output if it exists")
    add("--report", action=_Once, type=Path, metavar="FILE",
        help="what each group gets, as .json or .csv")  # fmt: skip
    add("--frontier", action="store_true", help="print what equality costs, for many α")
    add("--glob", action="store_true", help="FILE is a pattern, such as 'year-*.csv'")
    add("--stream", action=argparse.BooleanOptionalAction, help="default: from 256 MB on")

    add = parser.add_argument_group("text tables").add_argument
    add("--separator", action=_Once, type=_separator, metavar="CHARACTER",
        help="between cells; also tab, comma, semicolon, space; default: found out")  # fmt: skip
    add("--decimal", action=_Once, choices=[".", ","], metavar="SIGN",
        help="before decimals, . or ,; default: found out")  # fmt: skip
    add("--encoding", action=_Once, type=_encoding, metavar="NAME",
        help="such as utf-8, latin-1, utf-16; default: found out")  # fmt: skip
    add("--null", action="append", default=[], metavar="WORD",
        help="a word that means a missing value, in the columns used; repeatable")  # fmt: skip
    return parser


# --- values -------------------------------------------------------------------------------------
def _cost(text: str) -> str | float:
    return _column_or(text, "a finite number > 0", lambda v: 0 < v < math.inf)


def _cap(text: str) -> str | float:
    return _column_or(text, "a number ≥ 0", lambda v: v >= 0)


def _at_least_0_or_column(text: str) -> str | float:
    return _column_or(text, "a finite number ≥ 0", lambda v: 0 <= v < math.inf)


def _column_or(text: str, expected: str, accept: Callable[[float], bool]) -> str | float:
    if text.startswith("column:"):
        return text.removeprefix("column:")
    try:
        float(text)
    except ValueError:
        return text
    return _number(text, f"a column or {expected}", accept)


def _aversion(text: str) -> float:
    return _number(text, "a number between 0 and inf", lambda v: v >= 0)


def _at_least_0(text: str) -> float:
    return _number(text, "a finite number ≥ 0", lambda v: 0 <= v < math.inf)


def _positive(text: str) -> float:
    return _number(text, "a finite number > 0", lambda v: 0 < v < math.inf)


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


def _separator(text: str) -> str:
    separator = SEPARATORS.get(text, text)
    if len(separator) != 1 or separator in '"\r\n\0' or not separator.isascii():
        raise argparse.ArgumentTypeError(f"{text!r} is not one ASCII character, or tab")
    return separator


def _encoding(text: str) -> str:
    try:
        return codecs.lookup(text).name
    except LookupError:
        raise argparse.ArgumentTypeError(f"{text!r} is no encoding that Python knows") from None
