"""Signals: whoever stops the command gets one line, and finds nothing half done.

The work is done by a thread, so that the main thread can answer at once: a library that computes or
waits for a disk would keep it from doing so for as long as it does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from .workshop import Workshop

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")


def attended(work: Callable[[], int], workshop: Workshop) -> int:
    """Do the work; on a signal discard the workshop, tell so in one line, and end the process.

    While the finished files take their places, a signal is ignored; after that it ends the process
    with exit code 0, because the doses are written.  Signals that are ignored already, as under
    nohup, stay so; and all of them are once the work is done, while Python takes itself down.

    Args:
        work: what to do; its result is returned, its errors are raised.
        workshop: the unfinished files.
    """
    outcome: dict[str, Any] = {}

    def worker() -> None:
        try:
            outcome["result"] = work()
        except BaseException as error:
            outcome["error"] = error

    def stop(number: int, _: FrameType | None) -> None:
        if workshop.finished:
            _end(0, "the doses are written, but the report is cut short", number)
        if workshop.lock.acquire(blocking=False):
            workshop.discard()
            _end(128 + number, "nothing is written", number)

    answered = []
    for name in STOPS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
            answered.append(number)
    thread = threading.Thread(target=worker, name="alphafair", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)  # in pieces: Windows tells of Ctrl-C only in between
    for number in answered:
        signal.signal(number, signal.SIG_IGN)
    if "error" in outcome:
        raise outcome["error"]
    return int(outcome["result"])


def _end(code: int, what: str, number: int) -> None:
    name = signal.Signals(number).name
    if sys.stderr.isatty():  # behind a progress bar
        sys.stderr.write("\n")
    sys.stderr.write(f"alphafair: stopped by {name}: {what}\n")
    sys.stderr.flush()
    os._exit(code)
