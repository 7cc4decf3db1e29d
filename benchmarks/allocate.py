"""How long does `allocate` take, against the time to read its two tables once?

    python benchmarks/allocate.py [--repeats 11] [--largest 10000000]

Claims: on 10⁶ × 4 with up to 50 groups one call takes about 1.5 times ``b.sum() + c.sum()``, with
5000 some 2.2 times, with a group for every person 8 times, in float32 half of that; and a sweep of
100 values of α on a `Problem` at most 1.3 times one call.
Every number of the table is a ratio to ``b.sum() + c.sum()`` of the same tables, a median over
rounds in which all sides alternate, so that a busy machine disturbs all of them. Labels are
integers, and read and counted in the call, or they are `Groups`, made before. ``float32`` has its
tables in that type and is compared with reading those of float64. ``2 threads`` sets
ALPHAFAIR_THREADS; all else takes one. ``2 read`` is the floor of that: two threads that read half
of the tables each, which is little faster where one core nearly fills the memory's bandwidth.
``each``: every person is a group, in the order of the table, and ``shuffled``, in none.

Memory is what a call needs at its peak beside its arguments, and what its result still holds.
"""

import argparse
import os
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from _timing import machine, side_by_side

import alphafair as af

BUDGET, ALPHA = 1e6, 2.0
SHAPES = ((10**6, 4), (10**6, 1), (10**7, 4))
GROUPS = (2, 50, 5000)
EVERYBODY = 10**6  # persons that may each be a group: at 10⁷, minutes would go by in sorting
FEW_REPEATS = 5  # where a round takes a second
COLUMNS = ("integers", "Groups", "dose", "within = ½", "float32", "2 threads", "2 read")
TWO = ThreadPoolExecutor(2)
Call = Callable[[], Any]


def in_threads(count: int, call: Call) -> Any:
    """The value of a call that may use so many threads."""
    before = os.environ.get("ALPHAFAIR_THREADS", "1")
    os.environ["ALPHAFAIR_THREADS"] = str(count)
    try:
        return call()
    finally:
        os.environ["ALPHAFAIR_THREADS"] = before


def sides(benefit: np.ndarray, cost: np.ndarray, label: np.ndarray) -> dict[str, Call]:
    """The calls of one row of the table."""
    groups = af.Groups(label)
    single = benefit.astype(np.float32), cost.astype(np.float32)

    def allocate(group: Any, tables: tuple[np.ndarray, ...], **options: float) -> Call:
        return lambda: af.allocate(*tables, group, BUDGET, ALPHA, **options)

    def read_in_halves() -> None:
        """Two threads, each of which adds up half of the rows."""
        half = len(benefit) // 2
        parts = slice(0, half), slice(half, None)
        list(TWO.map(lambda rows: benefit[rows].sum() + cost[rows].sum(), parts))

    by_groups = allocate(groups, (benefit, cost))
    return {
        "read": lambda: benefit.sum() + cost.sum(),
        "integers": allocate(label, (benefit, cost)),
        "Groups": by_groups,
        "dose": lambda: by_groups().dose,
        "within = ½": allocate(groups, (benefit, cost), within=0.5),
        "float32": allocate(groups, single),
        "2 threads": lambda: in_threads(2, by_groups),
        "2 read": read_in_halves,
    }


def megabytes(call: Call) -> tuple[float, float]:
    """What a call needs at its peak, and what its result holds."""
    tracemalloc.start()
    result = call()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return peak / 1e6, kept / 1e6


def row(benefit: np.ndarray, cost: np.ndarray, label: np.ndarray, repeats: int) -> str:
    """Time of reading, ratios to it, and memory, of one size."""
    calls = sides(benefit, cost, label)
    times = side_by_side(repeats, **calls)
    ratios = [np.median(times[name] / times["read"]) for name in COLUMNS]
    peak, kept = megabytes(calls["integers"])
    return (
        f"{1e3 * np.median(times['read']):8.2f} ms"
        + "".join(f"{ratio:11.2f}" for ratio in ratios)
        + f"{peak:12.0f}{kept:9.0f}"
    )


def sweep(benefit: np.ndarray, cost: np.ndarray, label: np.ndarray, repeats: int) -> str:
    """A hundred values of α against one."""

    def hundred() -> None:
        problem = af.Problem(benefit, cost, label, BUDGET)
        for alpha in np.linspace(0, 20, 100):
            problem.allocate(alpha)

    times = side_by_side(
        repeats, one=lambda: af.allocate(benefit, cost, label, BUDGET, ALPHA), hundred=hundred
    )
    return f"{np.median(times['hundred'] / times['one']):.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--largest", type=int, default=10**7, help="most persons")
    options = parser.parse_args()
    os.environ["ALPHAFAIR_THREADS"] = "1"
    together = ""
    rng = np.random.default_rng(0)
    print(machine(["numba"]))
    head = "".join(f"{name:>11s}" for name in COLUMNS)
    print(f"{'persons':>9s} × T {'groups':>8s}{'reading':>11s}{head}{'peak [MB]':>12s}{'kept':>9s}")
    for persons, treatments in SHAPES:
        if persons > options.largest:
            continue
        shape = (persons, treatments)
        benefit, cost = 1 + 4 * rng.random(shape), 0.2 + 0.8 * rng.random(shape)
        repeats = options.repeats if persons <= EVERYBODY else FEW_REPEATS
        labels = {f"{groups}": rng.integers(0, groups, persons) for groups in GROUPS}
        if persons <= EVERYBODY:
            labels |= {"each": np.arange(persons), "shuffled": rng.permutation(persons)}
        for groups, label in labels.items():
            text = row(benefit, cost, label, repeats)
            print(f"{persons:9d} × {treatments} {groups:>8s}{text}", flush=True)
            if shape == SHAPES[0] and groups == "50":
                together = sweep(benefit, cost, label, repeats)
    if together:
        print(f"Problem and 100 values of α, 10⁶ × 4, K = 50: {together} × allocate, integers")


if __name__ == "__main__":
    main()
