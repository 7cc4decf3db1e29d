"""The run: read, allocate, write, tell."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

from .. import __version__
from ..progress import staged
from .arguments import STANDARD, arguments, real
from .refusals import Refused, refusals
from .report import report, write_report
from .signals import attended
from .solve import Doses, find_doses
from .tables import Table, default_output, is_long, open_table, write
from .workshop import Workshop, refuse_taken, silence


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; default those of the process, which then ends at a signal.

    Returns:
        The exit code.

    Raises:
        SystemExit: ``--help`` or ``--version`` has been printed.

    Example:
        >>> main(["people.txt", "--benefit", "u", "--group", "g", "--budget", "1", "--alpha", "1"])
        2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or pipe that has no α prints ?
            stream.reconfigure(errors="replace")
    workshop = Workshop()
    if argv is not None:  # called by a program, which answers signals in its own way
        return _answer(argv, workshop)
    return attended(lambda: _answer(argv, workshop), workshop)


def _answer(argv: list[str] | None, workshop: Workshop) -> int:
    """The run and its exit code; errors are told in one line."""
    try:
        request = arguments(argv, __version__)
        words = _run(request, workshop)
    except Refused as refused:
        with workshop.lock:  # whoever stops the run has it, and says so instead
            print(f"alphafair: error: {refused}", file=sys.stderr)
        return refused.code
    finally:
        workshop.discard()
    _tell(words, sys.stderr if request.output == STANDARD else sys.stdout)
    return 0


def _tell(words: str, stream: Any) -> None:
    """Print the report.  The doses are written, whether or not anybody can read it."""
    try:
        print(words, file=stream, flush=True)
    except OSError as error:  # a closed pipe, a full device
        silence(stream)
        with contextlib.suppress(OSError):
            print(f"alphafair: the report is not printed: {error.strerror}", file=sys.stderr)


def _run(request: argparse.Namespace, workshop: Workshop) -> str:
    """Read, allocate, write; the report."""
    try:
        import narwhals as _  # noqa: F401
        import polars as pl
    except ImportError as error:
        message = f"{error.name} is not installed: pip install 'alphafair[command]'"
        raise Refused(message) from error
    with refusals((pl.exceptions.PolarsError, _panic(pl))):
        if request.report is not None:
            refuse_taken(request.report, request.force)
        workshop.open(request.output or _beside(request.table), request.force)
        with staged(3, f"reading {request.table}") as stage:
            table = open_table(pl, request, workshop)
            if request.output is None:
                request.output = default_output(table, request)
                refuse_taken(request.output, request.force)
            stream = is_long(table, request)
            engine = pl.Config(engine_affinity="streaming") if stream else contextlib.nullcontext()
            with engine:
                stage("allocating")
                doses = find_doses(pl, table, request, stream)
                stage(f"writing the doses of {doses.size.sum()} people")
                finished = write(pl, doses.frame, table, request, workshop)
            words = _reports(doses, table, request, workshop)
            files = {request.output: finished}
            if request.report is not None:
                files[request.report] = workshop.path("report")
            workshop.finish(files, request.force)
            stage("done")
    return words


def _reports(doses: Doses, table: Table, request: argparse.Namespace, workshop: Workshop) -> str:
    """The report in words; that in a file is made in the workshop."""
    if request.report is not None:
        path = workshop.path(f"report{request.report.suffix.lower()}")
        write_report(path, doses, table, request, __version__)
        path.rename(workshop.path("report"))
    return report(doses, table, request)


def _beside(table: Path) -> Path:
    """Some file beside a folder: where its output will be, whatever its kind."""
    return real(table).with_name(f"{real(table).name}_doses")


def _panic(pl: Any) -> type[Exception]:
    """What Polars raises where it did not expect something."""
    panic: type[Exception] = getattr(pl.exceptions, "PanicException", pl.exceptions.PolarsError)
    return panic
