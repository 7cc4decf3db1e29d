"""The independent oracle: the same problem, put to a convex solver through CVXPY.

This module never sees the closed form.  It asks the solver in a scale that the solver can answer
in, money in units of what a funded item gets and ratios b/c in units of their median (or maximum),
so that all numbers are near 1.  The problem as written is one that solvers call ``optimal`` with
answers 90 % off (the book's chapter "Asking a solver").  It raises unless the solver says optimal
**and** `alphafair.optimality_gap` certifies the answer.

Needs the extra ``alphafair[reference]``: cvxpy and clarabel.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from .certificate import group_utility, optimality_gap, problem_first
from .checks import Floats
from .groups import Groups
from .problem import Problem
from .utility import check_alpha, welfare

# The largest waste, as a fraction of the budget, that is let through.  It is second order in the
# errors of the doses: answers right to 1e−2 pass, typical ones (1e−5) have a gap near 1e−9.
CERTIFIED = 1e-4

# Ask Clarabel for much, then for less: the certificate, not the tolerance, decides what is enough.
CLARABEL_OPTIONS: tuple[dict[str, float], ...] = tuple(
    dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
    for tolerance in (1e-10, 1e-8, 1e-6)
)
UNITS: tuple[Callable[[Floats], Any], ...] = (
    np.median,
    np.max,
)  # of ratios: one or the other works


class SolverError(RuntimeError):
    """The solver did not reach an optimum that the certificate confirms."""


class Reference(NamedTuple):
    """What the solver found.

    Attributes:
        dose: (N, T) d ≥ 0, cleaned of the solver's noise: nothing on items without benefit, and
            scaled to spend the budget exactly; under caps, cut to them and not beyond the budget.
        welfare: W at these doses.
        group_utility: (K,) u at these doses.
        status: the solver's own word, "optimal".
        gap: the certificate's relative gap: what may be lost, as a fraction of the budget.
        solver: the name of the solver that answered.
    """

    dose: Floats
    welfare: float
    group_utility: Floats
    status: str
    gap: float
    solver: str


def solve_cvxpy(
    benefit: ArrayLike,
    cost: ArrayLike,
    group: ArrayLike | Groups,
    budget: float,
    alpha: float,
    *,
    within: float = 0.0,
    weight: Any = None,
    cap: Any = None,
    solver: str | None = None,
) -> Reference:
    """Solve the allocation problem with CVXPY.

    Args:
        benefit, cost, group, budget, alpha, within, weight, cap: as for `alphafair.allocate`.
        solver: a CVXPY solver name; default Clarabel, in up to two scales and three tolerances.

    Returns:
        `Reference`.

    Raises:
        SolverError: the status is not "optimal", or the certificate finds more than 1e−4 of the
            budget wasted.  From some thousands of people on, and for large finite α, cone solvers
            often give up.
        ValueError, TypeError: bad input, as in `alphafair.allocate`.

    Example:
        >>> answer = solve_cvxpy([2.0, 1.0], 1.0, ["near", "far"], budget=3.0, alpha=float("inf"))
        >>> answer.dose[:, 0].round(4)
        array([1., 2.])
    """
    alpha = check_alpha(alpha)
    problem = Problem(benefit, cost, group, budget, within, weight, cap)
    chosen = solver or cp.CLARABEL
    tolerances = CLARABEL_OPTIONS if chosen == cp.CLARABEL else ({},)
    failure = SolverError("not tried")
    for unit, options in product(UNITS, tolerances):
        program, money = _program(problem, alpha, unit)
        try:
            with warnings.catch_warnings():  # the status says it, and the certificate knows better
                warnings.filterwarnings("ignore", "Solution may be inaccurate")
                program.solve(solver=chosen, **options)
            return _certified(program, money, problem, alpha, str(chosen))
        except (cp.SolverError, SolverError) as error:
            failure = SolverError(f"{chosen} at alpha = {alpha:g}: {error}")
            failure.__cause__ = error
    raise failure


def _program(
    problem: Problem, alpha: float, unit: Callable[[Floats], Any]
) -> tuple[cp.Problem, cp.Variable]:
    """The convex program in the variable "money on each item"."""
    ratio = problem.benefit / problem.cost
    persons, groups = problem.shape[0], len(problem.groups.label)
    total = _funded(problem)
    ratio = ratio / unit(ratio[ratio > 0]) * (persons / total)
    money = cp.Variable(problem.shape, nonneg=True)
    person = cp.sum(cp.multiply(ratio, money), axis=1)
    utility = cp.Variable(groups)
    constraints = [cp.sum(money) <= total]
    if problem.cap is not None:
        most = problem.cap * problem.cost / problem.budget * total
        bounded = np.flatnonzero(most.ravel() < total)
        constraints.append(cp.vec(money, order="C")[bounded] <= most.ravel()[bounded])
    for k in range(groups):
        members = np.flatnonzero(problem.groups.code == k)
        constraints.append(_below_equivalent(utility[k], person[members], problem.within))
    objective = _welfare(utility, problem.weight / problem.weight.max(), alpha)
    return cp.Problem(cp.Maximize(objective), constraints), money


def _funded(problem: Problem) -> int:
    """About how many items get money: K, but N under caps or at within > 0.

    With so much money in the program a funded item gets about 1, and utilities are about 1 too.
    """
    few = problem.within == 0 and problem.cap is None
    return len(problem.groups.label) if few else problem.shape[0]


def _below_equivalent(
    utility: cp.Expression, person: cp.Expression, within: float
) -> cp.Constraint:
    """Utility ≤ the equally-distributed equivalent of the members' utilities, as a constraint."""
    if within == 0 or person.size == 1:
        return utility <= cp.sum(person) / person.size
    if within == np.inf:
        return utility <= person
    if within == 1:  # Σ U log(U/u_i) ≤ 0; CVXPY's geo_mean takes minutes for 1000 members
        return cp.sum(cp.rel_entr(cp.multiply(np.ones(person.size), utility), person)) <= 0
    exponent = 1 - within
    return utility <= cp.pnorm(person, exponent, approx=False) * person.size ** (-1 / exponent)


def _welfare(utility: cp.Expression, weight: Floats, alpha: float) -> cp.Expression:
    """Σ w φ_α(u), min u at α = ∞."""
    if alpha == np.inf:
        return cp.min(utility)
    if alpha == 0:
        return weight @ utility
    if alpha == 1:
        return weight @ cp.log(utility)
    return weight @ cp.power(utility, 1 - alpha, approx=False) / (1 - alpha)


def _certified(
    program: cp.Problem, money: cp.Variable, problem: Problem, alpha: float, solver: str
) -> Reference:
    if program.status != cp.OPTIMAL:
        raise SolverError(f"ended with status {program.status!r}, not 'optimal'")
    share = np.where(problem.benefit > 0, np.maximum(money.value, 0), 0)  # the rest is noise
    if problem.cap is None:
        dose = problem.budget * share / share.sum() / problem.cost
    else:  # caps may leave some money over
        part = problem.budget / _funded(problem)
        dose = np.minimum(part * share / problem.cost, problem.cap)
        dose = dose / max(1.0, (dose * problem.cost).sum() / problem.budget)
    bound = optimality_gap(dose, problem, alpha)
    if not bound.relative_gap <= CERTIFIED:
        raise SolverError(
            f"says 'optimal', but the certificate finds that up to {bound.relative_gap:.1e} of the "
            f"budget is wasted, more than {CERTIFIED:g}; use alphafair.optimality_gap instead"
        )
    utility = np.ldexp(group_utility(dose, problem), problem.unit)
    value = welfare(utility, alpha, problem.weight)
    return Reference(dose, value, utility, str(program.status), bound.relative_gap, solver)
