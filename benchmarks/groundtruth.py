"""How right are differentiable solvers?  Every layer on every instance, for the chapter to read.

    python benchmarks/groundtruth.py [--size 330] [--repeats 4] [--out book/ground_truth.csv]
        [--only LAYER ...]     these alone; the rows of the others in the file are kept

The layers are those of `book/peers.py`: needs cvxpylayers, diffcp and moreau.  Four sweeps, of
which the slowest layers take the first alone:

    kinds     the instances of `alphafair.groundtruth.instances()`
    budget    easy instances, with budgets from 10⁻⁸ to 10⁸
    alpha     the same at their own budgets, with α from .02 to 50
    persons   easy instances of 4 to 128 people

A row is a layer on an instance: the two errors, the outcome, and the seconds forward and backward.

Claims: no digit of ours is wrong beyond 10⁻¹².  As one finds them, the layers are silently wrong on
more instances than they are right.  Scaling, tolerances and a better linear solver mend most of it.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from _timing import machine, write_runs

import alphafair as af
from alphafair.groundtruth import Instance, Row, instances, score

BOOK = Path(__file__).parent.parent / "book"
sys.path.insert(0, str(BOOK))
from peers import LAYERS  # noqa: E402

ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
SLOW = ("diffcp", "diffcp, with care", "unrolled steps")
HEADER = ("layer", "sweep", "value", "name", "dose_error", "gradient_error", "outcome", "seconds")


def changed(instance: Instance, *, budget: float | None = None, alpha: float = 0.0) -> Instance:
    """The same with another budget or another α."""
    p = instance.problem
    budget = p.budget if budget is None else budget
    problem = af.Problem(p.benefit, p.cost, p.groups, budget, within=p.within)
    return replace(instance, problem=problem, alpha=alpha or instance.alpha)


def sweeps(size: int, repeats: int) -> Iterator[tuple[str, float, Instance]]:
    """Each instance, with the sweep that it belongs to and the value in it."""
    for instance in instances(size=size):
        yield "kinds", 0.0, instance
    easy = instances(size=repeats, kinds=["easy"])
    for power in range(-8, 9, 2):
        for instance in easy:
            yield "budget", 10.0**power, changed(instance, budget=10.0**power)
    for alpha in ALPHAS:
        for instance in easy:
            yield "alpha", alpha, changed(instance, alpha=alpha)
    for persons in (4, 8, 16, 32, 64, 128):
        for instance in instances(size=repeats, kinds=["easy"], persons=persons):
            yield "persons", persons, instance


def told(row: Row) -> tuple[str, ...]:
    """The name, both errors, the outcome and the seconds, with two digits."""
    numbers = (row.dose_error, row.gradient_error, row.seconds)
    dose, gradient, seconds = (f"{x:.2g}" for x in numbers)
    return row.name, dose, gradient, row.outcome, seconds


def kept(path: Path) -> dict[str, list[list[str]]]:
    """The rows of a file by their layer."""
    rows: dict[str, list[list[str]]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in list(csv.reader(file))[1:]:
                rows.setdefault(row[0], []).append(row)
    return rows


def main() -> None:
    """Write the table, and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=330)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--out", type=Path, default=BOOK / "ground_truth.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    print(machine(["torch", "cvxpy", "cvxpylayers", "diffcp", "scs", "clarabel", "moreau"]))
    everything = list(sweeps(options.size, options.repeats))
    found = {} if set(options.only) == set(LAYERS) else kept(options.out)
    for name in options.only:
        asked = [x for x in everything if x[0] == "kinds" or name not in SLOW]
        result = score(LAYERS[name], [instance for *_, instance in asked])
        print(f"\n{name}\n{result}", flush=True)
        found[name] = [
            (name, sweep, f"{value:g}", *told(row))
            for (sweep, value, _), row in zip(asked, result.rows, strict=True)
        ]
    rows = [row for name in LAYERS for row in found.get(name, [])]
    write_runs(options.out, HEADER, rows)


if __name__ == "__main__":
    main()
