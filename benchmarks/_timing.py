"""What every benchmark needs: a stopwatch, sides taken in turn, a line about the machine."""

import csv
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")


def timed(call: Callable[[], Value]) -> tuple[float, Value]:
    """Wall time and value of one call."""
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def worked(
    call: Callable[..., Value], *arguments: object, **options: object
) -> tuple[float, Value]:
    """Processor seconds, and value, of one call."""
    start = time.process_time()
    value = call(*arguments, **options)
    return time.process_time() - start, value


def write_runs(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table of all runs, with four digits, that a chapter reads."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for row in rows:
            table.writerow(f"{v:.4g}" if isinstance(v, float) else v for v in row)


def seconds(
    call: Callable[[], object], runs: int = 1, *, warm_up: bool = True, at_least: float = 0.0
) -> float:
    """Median wall time of ``runs`` runs of a call, after one that loads, compiles and fills caches.

    A run is one call, or as many as take ``at_least`` so many seconds together, of which the mean
    counts: a clock says little about a microsecond.
    """
    if warm_up:
        call()
    return statistics.median(_mean_time(call, at_least) for _ in range(runs))


def _mean_time(call: Callable[[], object], at_least: float) -> float:
    spent, calls = timed(call)[0], 1
    while spent < at_least:
        spent, calls = spent + timed(call)[0], calls + 1
    return spent / calls


def side_by_side(repeats: int, **calls: Callable[[], object]) -> dict[str, np.ndarray]:
    """(repeats,) times of each call after a warm-up; in turn, so that a busy machine slows all."""
    for call in calls.values():
        call()
    rounds = [[timed(call)[0] for call in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, np.array(rounds).T, strict=True))


def machine(packages: Iterable[str] = ()) -> str:
    """One line: the processor, how many cores and threads this run may use, and the versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    versions = [version(name) for name in ("numpy", *packages)]
    return "; ".join(
        (
            f"{processor()}, {cores} cores, OMP_NUM_THREADS {threads}",
            f"{platform.system()}, Python {platform.python_version()}, {', '.join(versions)}",
        )
    )


def version(package: str) -> str:
    """Its name and version, or that it is not there."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def processor() -> str:
    """The name of the processor, or of its architecture where the system does not tell."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
