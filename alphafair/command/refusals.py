"""What is wrong, in one line, with its exit code."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator

DATA, USAGE = 1, 2  # exit codes: the data or files are wrong; the command line is


class Refused(Exception):  # noqa: N818
    """An error to be told in one line, with the exit code."""

    def __init__(self, message: str, code: int = DATA) -> None:
        super().__init__(message)
        self.code = code


@contextlib.contextmanager
def refusals(library_error: type[Exception] | tuple[type[Exception], ...]) -> Iterator[None]:
    """Whatever is wrong with data or files, in one line.

    Args:
        library_error: what the library that reads and writes tables raises besides.

    Raises:
        Refused: in the place of such an error.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused(f"the compressed table is damaged: {first_line(error)}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Refused(f"{where}{error.strerror or first_line(error)}") from error
    except MemoryError as error:
        raise Refused("the table does not fit the memory") from error
    except (ValueError, TypeError) as error:
        raise Refused(first_line(error)) from error
    except library_error as error:
        raise Refused(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
