"""How a text table is written: found out from its beginning, unless the user says."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from .refusals import Refused

SAMPLE = 2**22  # bytes that are looked at
ROWS = 10**4  # rows whose numbers are
SEPARATORS = ",;\t|"
# A byte order mark, and how what follows is encoded; the longer first.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NAMES = {"\t": "tab", " ": "space", ",": "comma", ";": "semicolon"}
WITH_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Attributes:
        separator: between cells.
        decimal: "." or ",".
        encoding: as Python names it.
        eol: how lines end.
        guessed: whether the encoding is no more than a guess.
    """

    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    eol: str = "\n"
    guessed: bool = False

    def __str__(self) -> str:
        separator = NAMES.get(self.separator, self.separator)
        decimal = {".": "point", ",": "comma"}[self.decimal]
        guess = " (a guess: --encoding sets it)" if self.guessed else ""
        return f"separator {separator}, decimal {decimal}, encoding {self.encoding}{guess}"


def sniff(
    sample: bytes,
    name: str,
    used: Collection[str],
    amounts: Collection[str],
    *,
    separator: str | None,
    decimal: str | None,
    encoding: str | None,
    tabs: bool,
) -> Dialect:
    """The dialect of a text table.

    The separator is the first with which the header has the columns that are asked for; decimals
    have commas if some number has one and none has a point.

    Args:
        sample: the first `SAMPLE` bytes.
        name: of the file, for the message.
        used: the columns that the header must have.
        amounts: those of them that hold numbers.
        separator, decimal, encoding: what the user says, or None.
        tabs: whether the name of the file promises tabs.

    Raises:
        Refused: the sample is not in the encoding, or a comma may stand before decimals or between
            thousands.
    """
    encoding, guessed = _encoding(sample, encoding)
    text = _decoded(sample, encoding, name)
    separator = separator or _separator(text, used, "\t,;|" if tabs else SEPARATORS)
    rows = [*islice(_rows(text, separator), ROWS)]
    decimal = decimal or _decimal(rows, amounts)
    return Dialect(separator, decimal, encoding, _eol(text), guessed)


def _encoding(sample: bytes, said: str | None) -> tuple[str, bool]:
    """The encoding, and whether it is a guess."""
    marked = next((name for mark, name in MARKS if sample.startswith(mark)), None)
    if said is not None:
        if codecs.lookup(said).name == "utf-8" and marked == "utf-8-sig":
            return "utf-8-sig", False
        return said, False
    if marked is not None:
        return marked, False
    for encoding in ("utf-8", "cp1252"):
        try:
            codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeDecodeError:
            continue
        return encoding, encoding != "utf-8"
    return "latin-1", True


def _decoded(sample: bytes, encoding: str, name: str) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeError as error:
        raise not_encoded(encoding, name) from error


def not_encoded(encoding: str, where: str) -> Refused:
    """What is told about bytes that are not what they should be."""
    return Refused(f"{where} is not encoded as {encoding}: name its encoding with --encoding")


def header(text: str, separator: str) -> list[str]:
    """The cells of the first line that is not blank; none in an empty text."""
    return next(_rows(text, separator), [])


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """The rows that are not blank, header first."""
    with contextlib.suppress(csv.Error):  # a cell of a megabyte; what comes before it will do
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        yield from (row for row in reader if row)


def _separator(text: str, used: Collection[str], candidates: str) -> str:
    first = {candidate: header(text, candidate) for candidate in candidates}
    for candidate, cells in first.items():
        if set(used) <= set(cells):
            return candidate
    return max(candidates, key=lambda candidate: len(first[candidate]))


def _decimal(rows: Sequence[Sequence[str]], amounts: Collection[str]) -> str:
    if not rows:
        return "."
    places = [j for j, name in enumerate(rows[0]) if name in amounts]
    cells = [row[j].strip() for row in rows[1:] for j in places if j < len(row)]
    commas = [cell for cell in cells if WITH_COMMA.fullmatch(cell)]
    thousands = [cell for cell in cells if THOUSANDS.fullmatch(cell)]
    if not commas or any("." in cell for cell in cells):
        return "."
    if len(thousands) == len(commas):
        raise Refused(
            f"{commas[0]!r} may be {commas[0].replace(',', '.')} or "
            f"{commas[0].replace(',', '')}: say --decimal , for the first; for the second take the "
            f"commas out of the table"
        )
    return ","


def _eol(text: str) -> str:
    """How the first line ends that does so outside of quotes."""
    found = re.search(r"\r\n|\n|\r", re.sub(r'"[^"]*"', "", text))
    return found[0] if found else "\n"
