"""How long does `allocate` take, against the time to read its two arrays once?

    python benchmarks/allocate.py [--persons 1000000] [--treatments 4] [--groups 50] [--repeats 15]

Claims: one call on 10⁶ × 4 with 50 groups takes at most 3 times ``b.sum() + c.sum()``, and a sweep
of 100 values of α on a `Problem` at most 1.2 times one call.  Every ratio is a median over repeats
in which the two sides alternate, so that a busy machine disturbs both.
"""

import argparse

import numpy as np
from _timing import machine, side_by_side

import alphafair as af


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("persons", 10**6), ("treatments", 4), ("groups", 50), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (size.persons, size.treatments)
    benefit, cost = 1 + 4 * rng.random(shape), 0.2 + 0.8 * rng.random(shape)
    label = rng.integers(0, size.groups, size.persons)
    groups, alphas = af.Groups(label), np.linspace(0, 20, 100)

    def sweep() -> None:
        problem = af.Problem(benefit, cost, label, 1e6)
        for alpha in alphas:
            problem.allocate(alpha)

    times = side_by_side(
        size.repeats,
        read=lambda: benefit.sum() + cost.sum(),
        allocate=lambda: af.allocate(benefit, cost, label, 1e6, 2.0),
        allocate_groups=lambda: af.allocate(benefit, cost, groups, 1e6, 2.0),
        allocate_dose=lambda: af.allocate(benefit, cost, groups, 1e6, 2.0).dose,
        allocate_within=lambda: af.allocate(benefit, cost, groups, 1e6, 2.0, within=0.5),
        sweep=sweep,
    )
    print(machine(["numba"]))
    print(f"N = {size.persons}, T = {size.treatments}, K = {size.groups}; median of {size.repeats}")
    rows = (
        ("allocate, labels as integers", "allocate", "read"),
        ("allocate, labels as Groups", "allocate_groups", "read"),
        ("... and its dose matrix", "allocate_dose", "read"),
        ("... with within = 0.5", "allocate_within", "read"),
        ("Problem and 100 values of α", "sweep", "allocate"),
    )
    for text, name, base in rows:
        ratio = np.median(times[name] / times[base])
        print(f"{text:32s}{1e3 * np.median(times[name]):8.1f} ms {ratio:7.2f} × {base}")


if __name__ == "__main__":
    main()
