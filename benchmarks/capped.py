"""Capped allocation: against one sort of the ratios, and against CVXPY, in one run.

Claims: 10⁶ × 2 items, and 10⁵ × 2, in at most 1.2 times the time of `numpy.argsort` of their
ratios; at least a hundred times faster than CVXPY (Clarabel) at 10³ × 2 and 10⁴ × 2.  Against the
sort every ratio is a median over runs in which the two sides alternate.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import cvxpy as cp
import numpy as np
from _timing import machine, seconds, side_by_side, timed

import alphafair as af
from alphafair.reference import CLARABEL_OPTIONS, UNITS, _program


def instance(persons: int, groups: int = 50) -> dict[str, Any]:
    rng = np.random.default_rng(persons)
    benefit = rng.lognormal(size=(persons, 2))
    cost = rng.lognormal(0, 0.3, size=(persons, 2))
    cap = rng.random((persons, 2))
    budget = 0.1 * float((cost * cap).sum())
    group = af.Groups(rng.integers(0, groups, persons))
    return {"benefit": benefit, "cost": cost, "group": group, "budget": budget, "cap": cap}


def cvxpy_seconds(problem: af.Problem, alpha: float) -> float:
    """Time of the first attempt that the solver calls optimal, those before it not counted."""
    for unit, options in product(UNITS, CLARABEL_OPTIONS):
        build, (program, _) = timed(lambda: _program(problem, alpha, unit))  # noqa: B023
        try:
            solve, _ = timed(lambda: program.solve(solver=cp.CLARABEL, **options))  # noqa: B023
        except cp.SolverError:
            continue
        if program.status == cp.OPTIMAL:
            return build + solve
    return float("nan")


def main() -> None:
    print(machine(["numba", "cvxpy", "clarabel"]))
    print("N × T      α    allocate [ms]   argsort of b/c [ms]   ratio")
    for persons in (10**4, 10**5, 10**6):
        data = instance(persons)
        ratio = (data["benefit"] / data["cost"]).ravel()
        for alpha in (0, 1, 2, np.inf):
            times = side_by_side(
                31 if persons < 10**6 else 7,
                ours=lambda: af.allocate(**data, alpha=alpha).dose,  # noqa: B023
                sort=lambda: np.argsort(ratio),  # noqa: B023
            )
            ours, sort = (1e3 * np.median(times[name]) for name in ("ours", "sort"))
            times_sort = np.median(times["ours"] / times["sort"])
            print(f"{persons:7d}×2 {alpha:4} {ours:11.2f} {sort:19.2f} {times_sort:13.2f}")
    problem = af.Problem(**instance(10**5))
    problem.allocate(1)
    sweep = seconds(
        lambda: [problem.allocate(a).group_budget for a in np.linspace(0.1, 10, 100)], 5
    )
    print(f"100 more values of α on one problem of 10⁵ × 2: {1e3 * sweep:.0f} ms")
    print("\nN × T      α    CVXPY [s]   allocate [ms]   ratio")
    for persons in (10**3, 10**4):
        data = instance(persons)
        for alpha in (1, 2):
            theirs = cvxpy_seconds(af.Problem(**data), alpha)
            ours = seconds(lambda: af.allocate(**data, alpha=alpha).dose, 31)  # noqa: B023
            ratio = theirs / ours
            print(f"{persons:7d}×2 {alpha:4}  {theirs:8.2f}  {1e3 * ours:12.2f}  {ratio:12.0f}")


if __name__ == "__main__":
    main()
