"""The lines of a CSV file, looked at before anybody reads its cells.

Readers of CSV files forgive: a row that is too short is padded, a quote in the middle of a cell
swallows what follows.  What is money in the end should not be guessed, so the bytes are surveyed
first, and whatever two readers could read differently is refused, with the line of the file.

A byte stands inside a quoted cell if the number of quotes up to it is odd.  The separators and
line ends outside are then the cells and records.  The rules for a quote: one that opens a cell
follows a separator, a line end, or a quote that it doubles; one that closes a cell stands before a
separator, a line end, or a quote that doubles it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .refusals import Refused

PIECE = 2**24  # bytes looked at together
LONGEST = 2**26  # bytes of a record; longer ones are a quote that is not closed
QUOTE, CR, LF = 34, 13, 10

Bytes = NDArray[np.uint8]
Positions = NDArray[np.intp]


class Records(NamedTuple):
    """Whole records, R of them.

    Attributes:
        data: (n,) their bytes.
        start, end: (R,) where each begins and where its line end stands.
        line: of the file, counted from 1, on which the first of them begins.
        blank: (R,) True for lines without anything.
    """

    data: Bytes
    start: Positions
    end: Positions
    line: int
    blank: NDArray[np.bool_]

    def line_of(self, record: int, eol: int) -> int:
        """The line of the file on which a record begins."""
        return self.line + int(np.count_nonzero(self.data[: self.start[record]] == eol))


def survey(path: Path, separator: str, eol: str) -> Iterator[Records]:
    """The records of a UTF-8 file, piece by piece; the first that is not blank is the header.

    Args:
        path: of the file.
        separator: between cells.
        eol: how lines end: "\\\\n", "\\\\r\\\\n" or "\\\\r".

    Yields:
        `Records`.

    Raises:
        Refused: a NUL byte, a stray quote or carriage return, a quote that is not closed, a record
            with more or fewer cells than the header.
    """
    sep, end = ord(separator), ord(eol[-1])
    line, cells, rest = 1, 0, b""
    with path.open("rb") as file:
        while True:
            piece, last = _next_piece(file, rest, end)
            if not piece:
                return
            data = np.frombuffer(piece, np.uint8)
            inside = (np.cumsum(data == QUOTE, dtype=np.uint8) & 1).view(bool)
            _refuse_strays(data, inside, sep, end, line, last)
            ends = np.flatnonzero((data == end) & ~inside)
            if last and inside[-1]:
                _refuse_open(data, line, end)
            if ends.size:
                records, cells = _records(data, inside, ends, sep, end, line, cells)
                yield records
                line += int(np.count_nonzero(records.data == end))
                rest = piece[ends[-1] + 1 :]
            else:
                rest = piece
            if len(rest) > LONGEST:
                _refuse_open(np.frombuffer(rest, np.uint8), line, end)


def _next_piece(file: BinaryIO, rest: bytes, end: int) -> tuple[bytes, bool]:
    """What comes next, after what is left; whether it is the last, which ends in a line end."""
    new = file.read(PIECE)
    if new:
        return rest + new, False
    if rest and rest[-1] != end:
        rest += bytes([end])
    return rest, True


def _records(
    data: Bytes,
    inside: NDArray[np.bool_],
    ends: Positions,
    sep: int,
    end: int,
    line: int,
    cells: int,
) -> tuple[Records, int]:
    """The whole records, all of as many cells; ``cells`` is 0 while no header has come."""
    starts = np.concatenate(([0], ends[:-1] + 1))
    length = ends - starts
    blank = length == 0
    if end == LF:
        blank |= (length == 1) & (data[starts] == CR)
    records = Records(data[: ends[-1] + 1], starts, ends, line, blank)
    separators = np.flatnonzero((data == sep) & ~inside)
    until = np.searchsorted(separators, ends)
    count = np.diff(until, prepend=0) + 1
    if cells == 0 and not blank.all():
        cells = int(count[np.argmin(blank)])
    ragged = ~blank & (count != cells)
    if ragged.any():
        j = int(np.argmax(ragged))
        raise Refused(
            f"line {records.line_of(j, end)} has {count[j]} cell{'s' if count[j] > 1 else ''} and "
            f"the header {cells}: each row must have as many, with {chr(sep)!r} between them; "
            f"quote cells that hold it"
        )
    return records, cells


def _refuse_strays(
    data: Bytes, inside: NDArray[np.bool_], sep: int, end: int, line: int, last: bool
) -> None:
    """What no two readers read alike."""
    nul = np.flatnonzero(data == 0)
    if nul.size:
        raise Refused(
            f"line {_line(data, nul[0], line, end)} holds a NUL byte: the table is no text in this "
            f"encoding; name it with --encoding, such as utf-16"
        )
    quotes = np.flatnonzero(data == QUOTE)
    if quotes.size:
        opens = inside[quotes]
        before = np.where(quotes > 0, data[quotes - 1], end)
        after = data[np.minimum(quotes + 1, data.size - 1)]
        unseen = (quotes == data.size - 1) & (not last)
        good = np.where(
            opens,
            (before == sep) | (before == end) | (before == QUOTE),
            (after == sep) | (after == end) | (after == QUOTE) | (after == CR) | unseen,
        )
        if not good.all():
            where = quotes[np.argmin(good)]
            raise Refused(
                f"line {_line(data, where, line, end)} has a quote in the middle of a cell: a cell "
                f"that holds quotes must be quoted, with each of them doubled"
            )
    if end == CR:
        stray = np.flatnonzero((data == LF) & ~inside)
    else:
        cr = np.flatnonzero((data == CR) & ~inside)
        stray = cr[(cr < data.size - 1) & (data[np.minimum(cr + 1, data.size - 1)] != LF)]
    if stray.size:
        raise Refused(
            f"line {_line(data, stray[0], line, end)} holds a line end of another kind than the "
            f"first line: save the table with one kind, and quote cells of several lines"
        )


def _refuse_open(data: Bytes, line: int, end: int) -> None:
    """The quote that opens the last record's open cell is not closed."""
    quotes = np.flatnonzero(data == QUOTE)
    where = quotes[-1] if quotes.size % 2 else quotes[0] if quotes.size else 0
    raise Refused(f"line {_line(data, where, line, end)} opens a quote that is not closed")


def _line(data: Bytes, position: int, first: int, end: int) -> int:
    return first + int(np.count_nonzero(data[:position] == end))


def line_of_row(path: Path, separator: str, eol: str, row: int) -> int:
    """The line of the file on which a row begins; row 0 is the first after the header."""
    seen = -1  # the header
    for records in survey(path, separator, eol):
        full = np.flatnonzero(~records.blank)
        if seen + full.size > row:
            return records.line_of(int(full[row - seen]), ord(eol[-1]))
        seen += full.size
    raise IndexError(row)


def without_blanks(records: Records) -> bytes:
    """The bytes of the records that are not blank."""
    if not records.blank.any():
        return records.data.tobytes()
    keep = np.repeat(~records.blank, records.end - records.start + 1)
    return records.data[keep].tobytes()
