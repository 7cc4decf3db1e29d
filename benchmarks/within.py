"""Aversion inside groups: how long does `allocate` with ``within`` > 0 take, and in what memory?

    python benchmarks/within.py [--persons 1000000] [--treatments 4] [--groups 50] [--repeats 15]

Claims: one call on 10⁶ × 4 with 50 groups takes at most 6 times ``b.sum() + c.sum()`` at ε = ½ and
at ε = ∞, which need no logarithms, and at most 9 times at any other ε; next to the logarithm, at
0 < |1/ε − 1| < ⅛, every person takes two exponentials.  Beyond its arguments it needs 9 bytes a
person, and keeps them: the best ratio and which treatment has it.  Every ratio is a median over
repeats in which the two sides alternate, so that a busy machine disturbs both.
"""

import argparse
import tracemalloc
from collections.abc import Callable

import numpy as np
from _timing import machine, side_by_side

import alphafair as af

WITHINS = (0.0, 0.3, 0.5, 0.95, 1.0, 2.0, np.inf)


def peak_and_kept(call: Callable[[], object]) -> tuple[float, float]:
    """Bytes that a call allocates at its peak, and those that its result holds."""
    tracemalloc.start()
    result = call()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return float(peak), float(kept)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("persons", 10**6), ("treatments", 4), ("groups", 50), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (size.persons, size.treatments)
    benefit, cost = 1 + 4 * rng.random(shape), 0.2 + 0.8 * rng.random(shape)
    groups = af.Groups(rng.integers(0, size.groups, size.persons))

    def allocate(within: float) -> af.Allocation:
        return af.allocate(benefit, cost, groups, 1e6, 2.0, within=within)

    calls: dict[str, Callable[[], object]] = {"read": lambda: benefit.sum() + cost.sum()}
    for within in WITHINS:
        calls[f"{within:g}"] = lambda within=within: allocate(within)
        calls[f"{within:g} and doses"] = lambda within=within: allocate(within).dose
    times = side_by_side(size.repeats, **calls)
    print(machine(["numba"]))
    print(f"N = {size.persons}, T = {size.treatments}, K = {size.groups}; median of {size.repeats}")
    print("ε                    time           ratio   peak and kept [bytes a person]")
    for name, call in calls.items():
        ratio = np.median(times[name] / times["read"])
        peak, kept = (number / size.persons for number in peak_and_kept(call))
        time = f"{1e3 * np.median(times[name]):8.1f} ms {ratio:7.2f} × read"
        print(f"{name:16s}{time}   {peak:6.1f} {kept:6.1f}")


if __name__ == "__main__":
    main()
