"""Tables: read from files of several kinds, and written again in the same way.

A text table is read as text.  The columns with the amounts are converted beside it, so that the
others, and the amounts themselves, pass through as they are: an id 007, a price 1.50, a word NA.
What is compressed, encoded in another way, or comes from standard input is first copied into the
workshop as plain UTF-8, so that there is one way to read, in memory or as a stream.
"""

from __future__ import annotations

import argparse
import codecs
import glob
import gzip
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .arguments import LABELS, STANDARD, columns, in_memory, kind, real, suffix
from .dialect import SAMPLE, Dialect, header, not_encoded, sniff
from .lines import line_of_row, survey, without_blanks
from .refusals import Refused
from .workshop import Workshop

STREAMED = 2**28  # bytes; files at least this long are streamed
COPIED = 2**22  # bytes at a time
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"  # how such files begin
MISSING = ("NA", "N/A", "#N/A", "null", "NULL", "None")  # words in the place of numbers


class Part(NamedTuple):
    """One file.

    Attributes:
        name: as the user knows it.
        path: what is read: the file itself, or a copy.
        lined: the file or copy whose lines are those of the file.
        dialect: None unless it is text.
        columns: the names in its header.
        rows: how many; 0 where nobody has counted.
    """

    name: str
    path: Path
    lined: Path
    dialect: Dialect | None
    columns: list[str]
    rows: int


class Table(NamedTuple):
    """A table of one or several files with the same columns."""

    parts: list[Part]

    @property
    def dialect(self) -> Dialect | None:
        """How the first file is written; None unless it is text."""
        return self.parts[0].dialect

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self.parts[0].columns

    @property
    def kind(self) -> str:
        """What it is made of, "csv" or "parquet"."""
        return "parquet" if self.dialect is None else "csv"

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(part.path.stat().st_size for part in self.parts)

    def scan(self, pl: Any) -> Any:
        """The table as a Polars LazyFrame; all columns of text are text."""
        if self.dialect is None:
            return pl.scan_parquet([part.path for part in self.parts], glob=False)
        return pl.concat([_scan_text(pl, part) for part in self.parts])

    def where(self, row: int) -> str:
        """A row, counted from 0 over all files, as the user finds it in the file."""
        if self.dialect is None:
            return f"row {row}"
        for part in self.parts:
            if row < part.rows:
                dialect = part.dialect or Dialect()
                line = line_of_row(part.lined, dialect.separator, dialect.eol, row)
                return f"{f'{part.name} ' if len(self.parts) > 1 else ''}line {line}"
            row -= part.rows
        return f"row {row}"


def is_long(table: Table, request: argparse.Namespace) -> bool:
    """Whether the table is streamed."""
    if request.stream is not None:
        return bool(request.stream)
    return table.bytes >= STREAMED and not in_memory(request)


# --- reading ------------------------------------------------------------------------------------
def open_table(pl: Any, request: argparse.Namespace, workshop: Workshop) -> Table:
    """Look at all files, and copy those that Polars cannot read as they are.

    Raises:
        Refused: a file that is not what its name says, or not like the others.
    """
    parts: list[Part] = []
    for number, path in enumerate(_files(request)):
        copy = workshop.path(f"in{number}")
        name, path = str(path), _from_standard_input(path, copy)
        with path.open("rb") as file:
            begin = file.read(4)
        if kind(Path(name)) == "parquet" or begin == PARQUET:
            parts.append(_parquet_part(pl, name, path))
        else:
            parts.append(_text_part(name, path, begin, copy, request))
        _refuse_other(parts[0], parts[-1])
    return Table(parts)


def _files(request: argparse.Namespace) -> list[Path]:
    source: Path = request.table
    if request.glob:
        found = sorted(map(Path, glob.glob(str(source), recursive=True)))
    elif source.is_dir():
        found = sorted(source.iterdir())
        found = [path for path in found if path.name[0] not in "._"]
    else:
        return [source]
    found = [path for path in found if kind(path) is not None and not path.is_dir()]
    if not found:
        what = "fits no file" if request.glob else "is a folder without tables"
        raise Refused(f"{source}: {what} that end{'s' if request.glob else ''} in .csv or .parquet")
    return found


def _from_standard_input(path: Path, copy: Path) -> Path:
    if path != STANDARD:
        return path
    raw = copy.with_suffix(".raw")
    with raw.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, COPIED)
    return raw


def _refuse_other(first: Part, part: Part) -> None:
    if (first.dialect is None) != (part.dialect is None):
        raise Refused(f"{part.name} is of another kind than {first.name}: must be the same")
    if first.columns != part.columns:
        raise Refused(
            f"{part.name} has the columns {part.columns} and {first.name} {first.columns}: must be "
            f"the same, in the same order"
        )
    if first.dialect and part.dialect and first.dialect.decimal != part.dialect.decimal:
        raise Refused(
            f"{part.name} has another decimal sign than {first.name}: say which with --decimal"
        )


def _parquet_part(pl: Any, name: str, path: Path) -> Part:
    names = pl.scan_parquet(path, glob=False).collect_schema().names()
    return Part(name, path, path, None, names, 0)


def _text_part(
    name: str, path: Path, begin: bytes, copy: Path, request: argparse.Namespace
) -> Part:
    zipped = begin[:2] == GZIP
    with _opened(path, zipped) as file:
        sample = file.read(SAMPLE)
    dialect = sniff(
        sample,
        name,
        used=columns(request),
        amounts=amounts(request),
        separator=request.separator,
        decimal=request.decimal,
        encoding=request.encoding,
        tabs=suffix(Path(name)).startswith(".tsv"),
    )
    lined = path
    if zipped or dialect.encoding not in ("utf-8", "ascii"):
        lined = copy.with_suffix(".utf8")
        with _opened(path, zipped) as file:
            _recode(file, lined, dialect.encoding, name)
    names, rows, blanks = _look_at(lined, dialect, name)
    if blanks:
        path = copy.with_suffix(".lines")
        with path.open("wb") as file:
            for records in survey(lined, dialect.separator, dialect.eol):
                file.write(without_blanks(records))
    return Part(name, path if blanks else lined, lined, dialect, names, rows)


def _opened(path: Path, zipped: bool) -> BinaryIO:
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _recode(file: BinaryIO, copy: Path, encoding: str, name: str) -> None:
    """Copy a file as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with copy.open("wb") as plain:
        try:
            while piece := file.read(COPIED):
                plain.write(decoder.decode(piece).encode())
            plain.write(decoder.decode(b"", final=True).encode())
        except UnicodeError as error:
            raise not_encoded(encoding, name) from error


def _look_at(path: Path, dialect: Dialect, name: str) -> tuple[list[str], int, bool]:
    """The names of the columns, the number of rows, and whether there are blank lines."""
    names: list[str] | None = None
    rows, blanks = -1, False
    for records in survey(path, dialect.separator, dialect.eol):
        _refuse_other_bytes(records, dialect, name)
        full = (~records.blank).nonzero()[0]
        if names is None and full.size:
            j = full[0]
            text = records.data[records.start[j] : records.end[j]].tobytes().decode()
            names = header(text, dialect.separator)
        rows += full.size
        blanks = blanks or full.size < records.blank.size
    if names is None:
        raise Refused(f"{name} is empty: the first line must have the names of the columns")
    if len(names) == 1:
        raise Refused(
            f"{name} has one column, {names[0]!r}: must have at least two, for benefit and group; "
            f"--separator sets what stands between cells"
        )
    twice = [column for column in names if names.count(column) > 1]
    if twice:
        raise Refused(f"{name} has two columns {twice[0]!r}: rename or drop one of them")
    return names, rows, blanks


def _refuse_other_bytes(records: Any, dialect: Dialect, name: str) -> None:
    try:
        records.data.tobytes().decode(dialect.encoding if dialect.encoding == "ascii" else "utf-8")
    except UnicodeDecodeError as error:
        before = records.data[: error.start]
        line = records.line + int((before == ord(dialect.eol[-1])).sum())
        raise not_encoded(dialect.encoding, f"{name}, line {line},") from error


def _scan_text(pl: Any, part: Part) -> Any:
    dialect = part.dialect or Dialect()
    return pl.scan_csv(
        part.path,
        has_header=False,
        skip_rows=1,  # the names come from our own reading of the header
        schema=dict.fromkeys(part.columns, pl.String),
        separator=dialect.separator,
        eol_char=dialect.eol[-1],
        glob=False,
    )


# --- what is used of it -------------------------------------------------------------------------
def amounts(request: argparse.Namespace) -> list[str]:
    """The columns that hold numbers; a column of weights is converted where it is used."""
    return [name for name in columns(request) if name not in labels(request)]


def labels(request: argparse.Namespace) -> list[str]:
    """The columns that hold labels."""
    return [name for name in (getattr(request, option) for option in LABELS) if name]


def converted(pl: Any, table: Table, request: argparse.Namespace) -> list[Any]:
    """Expressions of the columns used that are not as the text says: numbers, missing labels."""
    if table.dialect is None:
        return []
    known = set(table.columns)
    return [
        *(label(pl, name, request) for name in labels(request) if name in known),
        *(number(pl, name, table, request) for name in amounts(request) if name in known),
    ]


def label(pl: Any, name: str, request: argparse.Namespace) -> Any:
    """A column of text; a quoted empty cell is as missing as an empty one."""
    text = pl.col(name)
    return pl.when(~text.is_in(["", *request.null])).then(text).alias(name)


def number(
    pl: Any, name: str, table: Table, request: argparse.Namespace, *, strict: bool = True
) -> Any:
    """A column of text as floats; null where a value is missing."""
    text = pl.col(name).str.strip_chars()
    text = pl.when(~text.is_in(["", *MISSING, *request.null])).then(text)
    if table.dialect is not None and table.dialect.decimal == ",":
        # A point is then no part of a number, and must not be taken for one.
        text = text.str.replace_all(".", "·", literal=True).str.replace_all(",", ".", literal=True)
    return text.cast(pl.Float64, strict=strict).alias(name)


def refuse_words(
    pl: Any, frame: Any, table: Table, request: argparse.Namespace, names: Iterable[str]
) -> None:
    """Refuse the first cell of some columns of text that is no number."""
    missing = ["", *MISSING, *request.null]
    for name in names:
        if table.dialect is None or name not in table.columns:
            continue
        no_number = (
            ~pl.col(name).str.strip_chars().is_in(missing)
            & number(pl, name, table, request, strict=False).is_null()
        )
        found = (
            frame.lazy().select(name).with_row_index("\0row").filter(no_number).head(1).collect()
        )
        if len(found):
            cell = found[name][0]
            other = "," if table.dialect.decimal == "." else "."
            hint = "correct it, or say --null WORD if it means a missing value"
            if other in cell:
                hint = f"say --decimal {other} if that is the sign before decimals"
            raise Refused(
                f"{table.where(found[chr(0) + 'row'][0])}: column {name!r} holds {cell!r}, which "
                f"is no number (decimal {'point' if other == ',' else 'comma'}); {hint}"
            )


# --- writing ------------------------------------------------------------------------------------
def output_dialect(table: Table, request: argparse.Namespace) -> Dialect:
    """How text is written: as the input was, unless the names of the files say otherwise."""
    tabs = suffix(request.output).startswith(".tsv")
    dialect = table.dialect
    if dialect is None:
        return Dialect(
            separator=request.separator or ("\t" if tabs else ","),
            decimal=request.decimal or ".",
            encoding=request.encoding or "utf-8",
        )
    if request.output != STANDARD and tabs != suffix(Path(table.parts[0].name)).startswith(".tsv"):
        separator = "\t" if tabs else "," if dialect.separator == "\t" else dialect.separator
        return Dialect(separator, dialect.decimal, dialect.encoding, dialect.eol)
    return dialect


def output_kind(table: Table, request: argparse.Namespace) -> str:
    """What it is made of, "csv" or "parquet"."""
    if request.output == STANDARD:
        return table.kind
    found = kind(request.output)
    assert found is not None
    return found


def write(
    pl: Any, frame: Any, table: Table, request: argparse.Namespace, workshop: Workshop
) -> Path:
    """The finished file, in the workshop."""
    what = output_kind(table, request)
    path = workshop.path(f"out.{what}")
    if what == "parquet":
        _write(pl, frame, path, what)
        return path
    dialect = output_dialect(table, request)
    if dialect.decimal == ",":
        floats = pl.selectors.float().cast(pl.String)
        frame = frame.with_columns(floats.str.replace_all(".", ",", literal=True))
    _write(pl, frame, path, what, separator=dialect.separator, line_terminator=dialect.eol)
    zipped = request.output != STANDARD and suffix(request.output).endswith(".gz")
    if not zipped and dialect.encoding in ("utf-8", "ascii"):
        return path
    done = workshop.path("out.done")
    with path.open("rb") as plain, _created(done, zipped) as file:
        encoder = codecs.getincrementalencoder(dialect.encoding)()
        decoder = codecs.getincrementaldecoder("utf-8")()
        while piece := plain.read(COPIED):
            file.write(encoder.encode(decoder.decode(piece)))
        file.write(encoder.encode("", final=True))
    return done


def _created(path: Path, zipped: bool) -> BinaryIO:
    return gzip.open(path, "wb", compresslevel=6) if zipped else path.open("wb")  # type: ignore[return-value]


def _write(pl: Any, frame: Any, path: Path, what: str, **options: Any) -> None:
    if not isinstance(frame, pl.LazyFrame):
        getattr(frame, f"write_{what}")(path, **options)
        return
    # The plan reads the table several times; a scan shared by them would buffer rows without end.
    plan = pl.QueryOptFlags(comm_subplan_elim=False)
    getattr(frame, f"sink_{what}")(path, optimizations=plan, **options)


def described(table: Table) -> str:
    """What has been found out about the files, in a line; nothing about Parquet."""
    several = f" and {len(table.parts) - 1} more" if len(table.parts) > 1 else ""
    return f"read: {table.parts[0].name}{several}, {table.dialect}" if table.dialect else ""


def default_output(table: Table, request: argparse.Namespace) -> Path:
    """Where the doses of a folder go: one file beside it."""
    source: Path = request.table
    return real(source).with_name(f"{real(source).name}_doses.{table.kind}")
