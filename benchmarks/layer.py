"""The torch layer side by side with cvxpylayers: time of forward and backward, and gradient errors.

    python benchmarks/layer.py [--repeats 5] [--largest 10000] [--csv FILE]

Claims: with one treatment, DIFFCP takes 25 to 30 times as long as the layer at N = 10² people, 150
times at 10³ and 1500 times at 10⁴; and more than 500 times on a batch of 64 problems of 50 people
and two treatments.

All solve the same problem (α = 2, K = 2 groups) and pull the same random cotangent of the doses
back to the benefits.  cvxpylayers gets it in the scale in which cone solvers do best (budget
shares, ratios over their median), compiled once and not counted.  It runs with each of its solvers
that is installed, by name, because its default depends on that: DIFFCP, which differentiates the
optimality conditions of a cone program, and MOREAU, a solver with derivatives of its own.

Each solver gets the shares in the form that suits it.  DIFFCP is faster where the variable is
declared ``nonneg=True``.  MOREAU then returns other doses without a word (moreau 0.4.1, cvxpylayers
1.2.0, cvxpy 1.9.3), so it gets a constraint, ``share >= 1e-12``; the last lines show the errors of
the doses in both forms.

The exact gradient is that of `alphafair.DoseJacobian`, which the tests hold to 50 digits.  In each
of several rounds each side runs for at least a tenth of a second, in turn; ratios are medians over
the rounds.  At N = 10⁴ CVXPY takes some seconds to compile each layer: ``--largest 1000`` does
without.  Up to N ≈ 10³ our time is that of starting some tens of operations, whatever their
size.  All runs go into the CSV file.  Needs cvxpylayers; moreau where it is there.
"""

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cvxpy as cp
import numpy as np
import torch
from _timing import machine, seconds, write_runs
from cvxpylayers.torch import CvxpyLayer

import alphafair as af
from alphafair import layer

ALPHA, BUDGET = 2.0, 100.0
SOLVERS = ("DIFFCP", "MOREAU") if importlib.util.find_spec("moreau") else ("DIFFCP",)
SHAPES = ((1, 100, 1), (1, 1000, 1), (1, 10**4, 1), (64, 50, 2))  # batch, N, T
LEAST_SHARE = 1e-12  # as good as 0
HEADER = ("batch", "persons", "treatments", "side", "round", "seconds", "gradient error")


def solver_layer(
    solver: str, groups: af.Groups, treatments: int, declared: bool
) -> Callable[..., torch.Tensor]:
    """The program maximise −Σ 1/u_k as a layer: ratios in, budget shares out; and then doses.

    ``declared`` has the shares positive by declaration, and not by a constraint.
    """
    shape = (len(groups), treatments)
    ratio, share = cp.Parameter(shape, nonneg=True), cp.Variable(shape, nonneg=declared)
    person = cp.sum(cp.multiply(ratio, share), axis=1)
    utility = [cp.sum(person[groups.code == k]) / n for k, n in enumerate(groups.size)]
    objective = cp.Minimize(cp.sum([cp.inv_pos(u * len(groups)) for u in utility]))
    positive = [] if declared else [share >= LEAST_SHARE]
    program = cp.Problem(objective, [cp.sum(share) <= 1, *positive])
    solve = CvxpyLayer(program, parameters=[ratio], variables=[share], solver=solver)

    def doses(benefit: torch.Tensor, cost: torch.Tensor) -> torch.Tensor:
        ratios = benefit / cost
        (shares,) = solve(ratios / ratios.median())
        return BUDGET * shares / cost

    return doses


def pull_back(
    doses: Callable[..., torch.Tensor],
    benefit: torch.Tensor,
    cost: torch.Tensor,
    cotangent: torch.Tensor,
) -> torch.Tensor:
    """Forward and backward: the cotangent of the benefits."""
    b = benefit.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((cotangent * doses(b, cost)).sum(), b)
    return gradient


class Case:
    """Random problems of one shape, and what is exact."""

    def __init__(self, batch: int, persons: int, treatments: int) -> None:
        generator = torch.Generator().manual_seed(0)

        def uniform() -> torch.Tensor:
            shape = batch, persons, treatments
            return torch.rand(*shape, generator=generator, dtype=torch.float64)

        self.benefit, self.cost, self.cotangent = 1 + uniform(), 0.2 + uniform(), uniform()
        self.groups, self.treatments = af.Groups(np.arange(persons) % 2), treatments
        optima = [
            af.allocate(b, c, self.groups, BUDGET, ALPHA)
            for b, c in zip(self.benefit.numpy(), self.cost.numpy(), strict=True)
        ]
        self.dose = np.array([optimum.dose for optimum in optima])
        self.gradient = np.array(
            [
                optimum.jacobian().vjp(v).benefit
                for optimum, v in zip(optima, self.cotangent.numpy(), strict=True)
            ]
        )

    def ours(self, benefit: torch.Tensor, cost: torch.Tensor) -> torch.Tensor:
        """The doses of the package."""
        return layer.allocate(benefit, cost, self.groups, BUDGET, ALPHA)

    def sides(self) -> dict[str, Callable[..., torch.Tensor]]:
        """The layers by name, ours first."""
        layers = {
            name: solver_layer(name, self.groups, self.treatments, declared=name == "DIFFCP")
            for name in SOLVERS
        }
        return {"alphafair": self.ours, **layers}

    def gradient_error(self, gradient: torch.Tensor) -> float:
        """The largest error, relative to the largest entry."""
        return relative(gradient.numpy(), self.gradient)

    def dose_error(self, doses: Callable[..., torch.Tensor]) -> float:
        """The same of the doses."""
        return relative(doses(self.benefit, self.cost).detach().numpy(), self.dose)


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error, relative to the largest entry."""
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def compare(batch: int, persons: int, treatments: int, repeats: int) -> list[tuple[object, ...]]:
    """Print the rows of one shape: times, their ratio to ours, and errors; and return all runs."""
    case = Case(batch, persons, treatments)
    sides = case.sides()
    pulls = {
        name: partial(pull_back, doses, case.benefit, case.cost, case.cotangent)
        for name, doses in sides.items()
    }
    errors = {name: case.gradient_error(pull()) for name, pull in pulls.items()}  # warms up, too
    times: dict[str, list[float]] = {name: [] for name in sides}
    runs: list[tuple[object, ...]] = []
    for turn in range(repeats):
        for name, pull in pulls.items():
            times[name].append(seconds(pull, warm_up=False, at_least=0.1))
            runs.append((batch, persons, treatments, name, turn, times[name][-1], errors[name]))
    for name in sides:
        ratio = np.median(np.array(times[name]) / np.array(times["alphafair"]))
        print(
            f"{batch:5d} × ({persons:6d}, {treatments})  {name:10s}"
            f" {1e3 * np.median(times[name]):9.3f} ms {ratio:8.0f} ×   {errors[name]:8.1e}",
            flush=True,
        )
    return runs


def compare_constraints(persons: int = 10) -> None:
    """Print the errors of the doses with a constraint, and with a declaration, of the sign."""
    case = Case(1, persons, 1)
    print(f"\nerrors of the doses, N = {persons}     share >= {LEAST_SHARE:g}    nonneg=True")
    for name in SOLVERS:
        errors = [
            case.dose_error(solver_layer(name, case.groups, 1, declared))
            for declared in (False, True)
        ]
        print(f"  {name:28s} {errors[0]:14.1e} {errors[1]:14.1e}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", type=int, default=10**4)
    parser.add_argument("--csv", type=Path, help="where to write all runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(["torch", "cvxpylayers", "diffcp", "moreau"]))
    print("batch × (N, T)     layer            time       ratio   gradient error")
    runs = [
        run
        for shape in SHAPES
        if shape[1] <= options.largest
        for run in compare(*shape, options.repeats)
    ]
    if options.csv:
        write_runs(options.csv, HEADER, runs)
    compare_constraints()


if __name__ == "__main__":
    main()
