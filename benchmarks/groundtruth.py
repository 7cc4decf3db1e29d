"""How right are differentiable solvers?  Every layer on every instance, for the chapter to read.

    python benchmarks/groundtruth.py [--size 330] [--repeats 3] [--out book/ground_truth.csv]
        [--only LAYER ...]

Rows that the file has already are kept, so that a run can be continued; delete it to begin anew.
The layers are those of `book/peers.py`: needs cvxpylayers, diffcp and moreau.  Four sweeps, of
which the slowest layers take the first alone:

    kinds     the instances of `alphafair.groundtruth.instances()`
    budget    easy instances, with budgets from 10⁻⁸ to 10⁸
    alpha     the same at their own budgets, with α from .02 to 50
    persons   easy instances of 4 to 128 people

A row is a layer on an instance: the two errors, the outcome, and the seconds forward and backward.

Claims: no digit of ours is wrong beyond 10⁻¹².  As one finds them, cvxpylayers with diffcp is right
on half of the instances, and with Moreau on a tenth; nearly all of their failures are silent.
Scaling, tolerances and a better linear solver mend most of it, and diffcp through CVXPY is then
never silently wrong.
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
from alphafair.groundtruth import Instance, Layer, instances, score

BOOK = Path(__file__).parent.parent / "book"
sys.path.insert(0, str(BOOK))
from peers import LAYERS  # noqa: E402

ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
SLOW = ("diffcp", "diffcp, with care", "unrolled steps")
KEYS = ["layer", "sweep", "value", "name"]
HEADER = [*KEYS, "dose_error", "gradient_error", "outcome", "seconds"]
Key = tuple[str, ...]


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


def told(layer: Layer, instance: Instance) -> list[str]:
    """Both errors and the seconds with two digits, and the outcome."""
    (row,) = score(layer, [instance]).rows
    dose, gradient, seconds = (
        f"{x:.2g}" for x in (row.dose_error, row.gradient_error, row.seconds)
    )
    return [dose, gradient, row.outcome, seconds]


def main() -> None:
    """Write what the file does not have yet, row by row; then put it in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=330)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--out", type=Path, default=BOOK / "ground_truth.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    print(machine(["torch", "cvxpy", "cvxpylayers", "diffcp", "scs", "clarabel", "moreau"]))
    found: dict[Key, list[str]] = {}
    if options.out.exists():
        with options.out.open(newline="") as file:
            found = {tuple(row[:4]): row[4:] for row in list(csv.reader(file))[1:]}
    else:
        write_runs(options.out, HEADER, [])
    everything = list(sweeps(options.size, options.repeats))
    wanted = {
        (name, sweep, f"{value:g}", instance.name): instance
        for name in LAYERS
        for sweep, value, instance in everything
        if sweep == "kinds" or name not in SLOW
    }
    with options.out.open("a", newline="") as file:
        for key, instance in wanted.items():
            if key[0] in options.only and key not in found:
                found[key] = told(LAYERS[key[0]], instance)
                csv.writer(file, lineterminator="\n").writerow([*key, *found[key]])
                file.flush()
    write_runs(options.out, HEADER, [[*key, *found[key]] for key in wanted if key in found])


if __name__ == "__main__":
    main()
