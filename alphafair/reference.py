"""The independent oracle: the same problem, put to a convex solver through CVXPY.

    maximise Σ w φ_α(U)     U_k ≤ M_{1−ε}(u_i, i in k)     u_i = a_i' + Σ_t r_it m_it
    0 ≤ m ≤ cost · (cap − floor)     Σ m ≤ Q − Σ cost · floor     group_floor ≤ x ≤ group_cap
    Σ_t m_it/(c cap) ≤ 1 − Σ_t floor/cap                          for exclusive offers

in the money m on each item beyond its floor; a' is the utility at the floors, r = b/c.

This module never sees the closed form.  It asks the solver in a scale that the solver can answer
in, money in units of what a funded item gets and ratios b/c in units of their median (or maximum),
so that all numbers are near 1.  The problem as written is one that solvers call ``optimal`` with
answers 90 % off (the book's chapter on what "optimal" means).  It raises unless the solver says
optimal **and** `alphafair.optimality_gap` certifies the answer.

Needs the extra ``alphafair[reference]``: cvxpy and clarabel.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

from .certificate import group_utility, optimality_gap, problem_first
from .checks import Floats
from .kernels import group_sum
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
        dose: (N, T) d, cleaned of the solver's noise: the floor on items without benefit, and
            scaled to spend the budget exactly; with other bounds, cut to those of the doses and not
            beyond the budget.
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


@problem_first(0, "solve_cvxpy(problem, alpha)")
def solve_cvxpy(problem: Problem, alpha: float, *, solver: str | None = None) -> Reference:
    """Solve the allocation problem with CVXPY.

    Args:
        problem: the `Problem`, with all its bounds.
        alpha: α in [0, ∞].
        solver: a CVXPY solver name; default Clarabel, in up to two scales and three tolerances.

    Returns:
        `Reference`.

    Raises:
        SolverError: the status is not "optimal", or the certificate finds more than 1e−4 of the
            budget wasted.  From some thousands of people on, and for large finite α, cone solvers
            often give up.
        ValueError, TypeError: α out of its range; no `Problem`.

    Example:
        >>> problem = Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
        >>> answer = solve_cvxpy(problem, alpha=float("inf"))
        >>> answer.dose[:, 0].round(4)
        array([1., 2.])
    """
    alpha = check_alpha(alpha)
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
    """The convex program in the variable "money on each item, beyond its floor"."""
    ratio = problem.benefit / problem.cost
    size, groups = problem.groups.size, len(problem.groups.label)  # a row may stand for a group
    total = _funded(problem)
    some = ratio[ratio > 0]
    scale = size.sum() / total / (unit(some) if some.size else 1.0)
    ratio = ratio * scale
    part = total / (problem.budget or 1.0)  # of the program's money in a unit of money
    floors = _money_at_floors(problem)
    money = cp.Variable(problem.shape, nonneg=True)
    person = _at_floors(problem) * (scale * part) + cp.sum(cp.multiply(ratio, money), axis=1)
    utility = cp.Variable(groups)
    constraints = [cp.sum(money) <= max(total - floors.sum() * part, 0.0)]
    if not _is_plain(problem):  # nothing on items without benefit, where a floor leaves money over
        cap = np.inf if problem.cap is None else problem.cap
        room = np.where(problem.benefit > 0, cap - _floor(problem), 0.0)
        most = (room * problem.cost * part).ravel()
        bounded = np.flatnonzero(most < total)
        constraints.append(cp.vec(money, order="C")[bounded] <= most[bounded])
    if problem.exclusive:
        place, left = _places(problem)
        constraints.append(cp.sum(cp.multiply(money, place / part), axis=1) <= left)
    for k in range(groups):
        members = np.flatnonzero(problem.groups.code == k)
        own = person[members], int(size[k])
        constraints.append(_below_equivalent(utility[k], *own, problem.within))
        spent = cp.sum(money[members])
        if problem.group_floor is not None and problem.group_floor[k] > floors[k]:
            constraints.append(spent >= (problem.group_floor[k] - floors[k]) * part)
        if problem.group_cap is not None and problem.group_cap[k] < np.inf:
            constraints.append(spent <= max(problem.group_cap[k] - floors[k], 0.0) * part)
    objective = _welfare(utility, problem.weight / problem.weight.max(), alpha)
    return cp.Problem(cp.Maximize(objective), constraints), money


def _floor(problem: Problem) -> Floats:
    return np.zeros(problem.shape) if problem.floor is None else problem.floor


def _places(problem: Problem) -> tuple[Floats, Floats]:
    """(N, T) the part of an offer that a unit of money is, and (N,) what floors leave of one."""
    assert problem.cap is not None
    part = np.divide(1.0, problem.cap, out=np.zeros(problem.shape), where=problem.cap > 0)
    return part / problem.cost, np.maximum(1 - (part * _floor(problem)).sum(axis=1), 0.0)


def _at_floors(problem: Problem) -> Floats:
    """(N,) utility that people have at the floors."""
    have = 0.0 if problem.baseline is None else problem.baseline
    return np.asarray((problem.benefit * _floor(problem)).sum(axis=1) + have)


def _money_at_floors(problem: Problem) -> Floats:
    """(K,) what the floors take."""
    spent = (problem.cost * _floor(problem)).sum(axis=1)
    return group_sum(spent, problem.groups.code, len(problem.groups.label))


def _is_plain(problem: Problem) -> bool:
    """Whether all the budget goes to the best items: no bound, and nobody has anything yet."""
    given = (problem.cap, problem.floor, problem.baseline, problem.group_floor, problem.group_cap)
    return all(argument is None for argument in given)


def _funded(problem: Problem) -> int:
    """About how many items get money: K, but N with bounds or baselines or at within > 0.

    With so much money in the program a funded item gets about 1, and utilities are about 1 too.
    """
    few = problem.within == 0 and _is_plain(problem)
    return len(problem.groups.label) if few else problem.shape[0]


def _below_equivalent(
    utility: cp.Expression, person: cp.Expression, size: int, within: float
) -> cp.Constraint:
    """Utility ≤ the equally-distributed equivalent of the members' utilities, as a constraint."""
    if within == 0 or size == 1:
        return utility <= cp.sum(person) / size
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


def _within_bounds(money: Floats, problem: Problem) -> Floats:
    """Doses from money beyond the floors, within the bounds that people and groups have.

    Where a group has too little by the solver's tolerance, the certificate says it.
    """
    floor = _floor(problem)
    if problem.cap is not None:
        money = np.minimum(money, problem.cost * (problem.cap - floor))
    if problem.exclusive:
        place, most = _places(problem)
        taken = (money * place).sum(axis=1)
        money = money * np.divide(most, taken, out=np.ones_like(most), where=taken > most)[:, None]
    floors, code = _money_at_floors(problem), problem.groups.code
    spent = np.bincount(code, money.sum(axis=1), floors.size)
    part = np.ones(floors.size)
    if problem.group_cap is not None:
        room = np.maximum(problem.group_cap - floors, 0.0)
        part = np.minimum(part, np.divide(room, spent, out=part.copy(), where=spent > 0))
    money = money * part[code][:, None]
    left = max(problem.budget - floors.sum(), 0.0)
    money = money * min(1.0, left / max(money.sum(), left, np.finfo(float).tiny))
    dose = floor + money / problem.cost
    return dose if problem.cap is None else np.minimum(dose, problem.cap)


def _certified(
    program: cp.Problem, money: cp.Variable, problem: Problem, alpha: float, solver: str
) -> Reference:
    if program.status != cp.OPTIMAL:
        raise SolverError(f"ended with status {program.status!r}, not 'optimal'")
    share = np.where(problem.benefit > 0, np.maximum(money.value, 0), 0)  # the rest is noise
    if _is_plain(problem):
        dose = problem.budget * share / share.sum() / problem.cost
    else:  # caps may leave some money over
        dose = _within_bounds(share * (problem.budget / _funded(problem)), problem)
    bound = optimality_gap(dose, problem, alpha)
    if not bound.relative_gap <= CERTIFIED:
        raise SolverError(
            f"says 'optimal', but the certificate finds that up to {bound.relative_gap:.1e} of the "
            f"budget is wasted, more than {CERTIFIED:g}; use alphafair.optimality_gap instead"
        )
    if not bound.infeasibility <= CERTIFIED:
        raise SolverError(f"says 'optimal', but breaks bounds by {bound.infeasibility:.1e} budgets")
    utility = np.ldexp(group_utility(dose, problem), problem.unit)
    value = welfare(utility, alpha, problem.weight)
    return Reference(dose, value, utility, str(program.status), bound.relative_gap, solver)
