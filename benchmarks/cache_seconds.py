"""A cache of thirty objects: what a second buys, by simulation and by formulas.

    python benchmarks/cache_seconds.py [--objects 30] [--rounds 5] [--out book/cache_seconds.csv]

Needs numba.  The cache is RANDOM(m) with two lists of 30 % of the objects each and popularity
k^−½.  The error of a method is the mean over the objects of what it gets wrong, summed over the
two lists, against the exact product form (chapter *Ten books on a trolley*).  The simulator is
compiled before the clock starts; it draws one request after the other, which is all that matters:
the times between them do not depend on the state.  It starts from a random filling and forgets the
first tenth.  Seconds are those of the processor on one thread.  Every run becomes a row.

Claim: the refined mean field takes some milliseconds, and the simulator needs a thousand times as
long for the same error.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from _timing import machine, worked, write_runs
from threadpoolctl import threadpool_limits

from alphafair.models.meanfield import (
    RandomCache,
    exact_occupancy,
    fixed_point,
    random_cache,
    steady_state,
)

REQUESTS = (10**4, 10**5, 10**6, 10**7, 10**8)
Row = tuple[str, int, int, float, float]  # method, requests, round, seconds, error


@numba.njit(cache=False)
def simulate(popularity, sizes, requests, rng):
    """(n, h + 1): the part of the requests during which each object is in each list."""
    n, h = len(popularity), len(sizes)
    upto = np.cumsum(popularity)
    where, place = np.zeros(n, np.int64), np.zeros(n, np.int64)
    inside = np.zeros((h + 1, n), np.int64)
    order, k = np.argsort(rng.random(n)), 0
    for s in range(1, h + 1):
        for i in range(sizes[s - 1]):
            where[order[k]], place[order[k]], inside[s, i] = s, i, order[k]
            k += 1
    spent, since, first = np.zeros((n, h + 1)), np.zeros(n), requests // 10
    for t in range(requests):
        if t == first:
            spent[:] = 0.0
            since[:] = t
        k = np.searchsorted(upto, rng.random() * upto[-1], side="right")
        s = where[k]
        if s == h:
            continue
        i = rng.integers(0, sizes[s])
        j = inside[s + 1, i]
        spent[k, s] += t - since[k]
        spent[j, s + 1] += t - since[j]
        since[k] = since[j] = t
        if s > 0:
            inside[s, place[k]], place[j] = j, place[k]
        inside[s + 1, i], place[k] = k, i
        where[k], where[j] = s + 1, s
    for k in range(n):
        spent[k, where[k]] += requests - since[k]
    return spent / (requests - first)


def runs(n: int, rounds: int) -> list[Row]:
    """Every method, `rounds` times; a new cache each time, since a cache remembers its start."""
    popularity, sizes = np.arange(1, n + 1) ** -0.5, np.array([3 * n // 10] * 2)

    def cache() -> RandomCache:
        return random_cache(popularity, sizes)

    formulas: dict[str, Callable[[], np.ndarray]] = {
        "mean field": lambda: fixed_point(cache()),
        "refined": lambda: steady_state(cache()).expectation(1),
        "exact": lambda: exact_occupancy(cache()),
    }
    exact = formulas["exact"]()
    simulate(popularity, sizes, 1000, np.random.default_rng(0))  # compiles it
    rows: list[Row] = []

    def add(method: str, requests: int, turn: int, call: Callable[[], np.ndarray]) -> None:
        seconds, found = worked(call)
        error = float(np.abs(found - exact)[:, 1:].sum(axis=1).mean())
        rows.append((method, requests, turn, seconds, error))

    for turn in range(rounds):
        for name, call in formulas.items():
            if turn == 0:
                call()
            add(name, 0, turn, call)
        for requests in REQUESTS:
            rng = np.random.default_rng([turn, requests])
            add(
                "simulated",
                requests,
                turn,
                lambda m=requests, r=rng: simulate(popularity, sizes, m, r),
            )
    return rows


def main() -> None:
    """Print medians and, on demand, write all runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(machine(["numba"]), "; one thread")
    with threadpool_limits(1):
        rows = runs(arguments.objects, arguments.rounds)
    for method, requests in dict.fromkeys(row[:2] for row in rows):
        those = np.array([row[3:] for row in rows if row[:2] == (method, requests)])
        seconds, error = np.median(those, axis=0)
        print(f"{method:10} {requests:10} requests {seconds:9.4f} s  error {error:.2g}")
    if arguments.out:
        header = ("method", "requests", "round", "seconds", "error")
        write_runs(arguments.out, header, rows)


if __name__ == "__main__":
    main()
