"""The torch layer side by side with cvxpylayers: time of forward and backward, and gradient errors.

    python benchmarks/layer.py [--repeats 5] [--largest 10000]

Both solve the same problem (α = 2, K = 2 groups) and pull the same random cotangent of the doses
back to the benefits.  cvxpylayers gets it in the scale in which cone solvers do best (budget
shares, ratios over their median), compiled once and not counted.  The exact gradient is that of
`alphafair.DoseJacobian`, which the tests hold to 50 digits.  In each of several rounds each side
runs for at least a fifth of a second; ratios are medians over the rounds.  Below N ≈ 10³ our time
is that of starting some tens of PyTorch operations, whatever their size.  Needs cvxpylayers.
"""

import argparse
from collections.abc import Callable
from functools import partial

import cvxpy as cp
import numpy as np
import torch
from _timing import machine, seconds
from cvxpylayers.torch import CvxpyLayer

import alphafair as af
from alphafair import layer

ALPHA, BUDGET = 2.0, 100.0


def solver_layer(groups: af.Groups, treatments: int) -> Callable[..., torch.Tensor]:
    """The program maximise −Σ 1/u_k as a layer: ratios in, budget shares out; and then doses."""
    shape = (len(groups), treatments)
    ratio, share = cp.Parameter(shape, nonneg=True), cp.Variable(shape, nonneg=True)
    person = cp.sum(cp.multiply(ratio, share), axis=1)
    utility = [cp.sum(person[groups.code == k]) / n for k, n in enumerate(groups.size)]
    objective = cp.Minimize(cp.sum([cp.inv_pos(u * len(groups)) for u in utility]))
    program = cp.Problem(objective, [cp.sum(share) <= 1])
    solve = CvxpyLayer(program, parameters=[ratio], variables=[share])

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


def exact(
    benefit: torch.Tensor, cost: torch.Tensor, groups: af.Groups, cotangent: torch.Tensor
) -> np.ndarray:
    """The same from the closed form of the Jacobian."""
    tables = zip(benefit.numpy(), cost.numpy(), cotangent.numpy(), strict=True)
    return np.array(
        [af.allocate(b, c, groups, BUDGET, ALPHA).jacobian().vjp(v).benefit for b, c, v in tables]
    )


def compare(persons: int, treatments: int, batch: int, repeats: int) -> None:
    """Print one row: times, their ratio, and both errors."""
    generator = torch.Generator().manual_seed(0)

    def uniform() -> torch.Tensor:
        return torch.rand(batch, persons, treatments, generator=generator, dtype=torch.float64)

    benefit, cost, cotangent = 1 + uniform(), 0.2 + uniform(), uniform()
    groups = af.Groups(np.arange(persons) % 2)
    truth = exact(benefit, cost, groups, cotangent)
    sides = {
        "ours": lambda b, c: layer.allocate(b, c, groups, BUDGET, ALPHA),
        "cvxpylayers": solver_layer(groups, treatments),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    errors = dict.fromkeys(sides, 0.0)
    for _ in range(repeats):
        for name, doses in sides.items():
            found = pull_back(doses, benefit, cost, cotangent).numpy()  # warms up, too
            errors[name] = np.abs(found - truth).max() / np.abs(truth).max()
            again = partial(pull_back, doses, benefit, cost, cotangent)
            times[name].append(seconds(again, warm_up=False, at_least=0.2))
    ratio = np.median(np.array(times["cvxpylayers"]) / np.array(times["ours"]))
    ours, theirs = (1e3 * np.median(times[name]) for name in ("ours", "cvxpylayers"))
    print(
        f"{batch:5d} × ({persons:6d}, {treatments})  {ours:8.2f} ms {theirs:10.1f} ms"
        f" {ratio:8.0f} ×   {errors['ours']:8.1e}    {errors['cvxpylayers']:8.1e}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", type=int, default=10**4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(["torch", "cvxpylayers", "diffcp"]))
    print("batch × (N, T)             ours    cvxpylayers      ratio   errors: ours  cvxpylayers")
    for persons, treatments, batch in ((100, 1, 1), (1000, 1, 1), (10**4, 1, 1), (50, 2, 64)):
        if persons <= options.largest:
            compare(persons, treatments, batch, options.repeats)


if __name__ == "__main__":
    main()
