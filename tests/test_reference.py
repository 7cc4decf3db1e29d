"""The closed form against a convex solver that knows nothing of it: 640 random problems.

What "equal" means is the solver's own accuracy, as certified: its answer wastes at most ``gap`` of
the budget, so the closed form may be better by that much and never worse (beyond rounding).  The
optimum is curved: a waste of g means utilities off by about √(2g/(α π_k)), hence 1e−3 on average
sizes of π for the gaps of 1e−7 that an interior-point method reaches.
"""

import subprocess
import sys
from contextlib import nullcontext, suppress
from itertools import product

import cvxpy as cp
import numpy as np
import pytest
from helpers import BALANCE, SOLVER, random_case

import alphafair as af
from alphafair import reference
from alphafair.reference import SolverError, solve_cvxpy

ALPHAS = (0, 0.1, 0.5, 1, 1.5, 2, 5, np.inf)
WITHINS = (0, 0.5, 1, 2, np.inf)
SIZES = (
    (4, 2, 3),
    (6, 1, 1),
    (12, 3, 4),
    (12, 3, 4),
    (25, 2, 5),
    (50, 1, 2),
    (80, 4, 6),
    (150, 2, 3),
)
LARGE = ((1000, 1, 5), (500, 3, 10))

# Programs of 1000 power cones on which Clarabel may give up, in the scales and tolerances we try.
MAY_GIVE_UP = {(1000, 0, 0.5), (1000, 0.1, 0.5)}


def agree(case, alpha, within, weight):
    a = af.allocate(*case[:4], alpha, within=within, weight=weight)
    answer = solve_cvxpy(a.problem, alpha)
    assert answer.status == "optimal"
    assert abs((answer.dose * case.cost).sum() / case.budget - 1) <= BALANCE
    # In units of utility, where α can be compared with α; a part g of the budget is worth at most
    # g of the equivalent utility times the largest part that a group can have of it, which is 1/π.
    level = af.equivalent_utility(answer.group_utility, alpha, a.problem.weight)
    assert level <= a.equivalent_utility * (1 + BALANCE)
    assert level >= a.equivalent_utility * (1 - 2 * answer.gap - BALANCE)
    if alpha > 0:  # at α = 0 a near tie leaves the split open
        some = a.group_share > 1e-3
        error = answer.group_utility[some] / a.group_utility[some] - 1
        curved = np.sqrt(2 * answer.gap / (min(alpha, 1) * a.group_share[some]))
        assert (np.abs(error) <= SOLVER + 2 * curved).all()
    return answer.gap


@pytest.mark.parametrize(("alpha", "within"), list(product(ALPHAS, WITHINS)))
def test_agrees_with_cvxpy(alpha, within):
    gaps, refused = [], 0
    for seed, (persons, treatments, groups) in enumerate(SIZES):
        for weighted in (False, True):
            case = random_case(100 * seed + weighted, persons, treatments, groups)
            try:
                gaps.append(agree(case, alpha, within, case.weight if weighted else None))
            except SolverError:  # Clarabel gives up on a few, and says so
                refused += 1
    assert refused <= 1
    assert np.median(gaps) <= 1e-7


@pytest.mark.parametrize(("alpha", "within"), list(product(ALPHAS, WITHINS)))
def test_agrees_with_cvxpy_on_large_problems(alpha, within):
    for persons, treatments, groups in LARGE:
        case = random_case(persons, persons, treatments, groups)
        hard = (persons, alpha, within) in MAY_GIVE_UP
        with suppress(SolverError) if hard else nullcontext():
            agree(case, alpha, within, "size")


def test_by_hand():
    answer = solve_cvxpy(af.Problem([4.0, 1.0], 1.0, ["a", "b"], 30.0), 2)
    assert answer.dose[:, 0] == pytest.approx([10, 20], rel=1e-4)
    assert answer.group_utility == pytest.approx([40, 20], rel=1e-4)
    assert answer.welfare == pytest.approx(-(1 / 40 + 1 / 20), rel=1e-8)


@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_solver_can_be_chosen(solver):
    answer = solve_cvxpy(af.Problem([4.0, 1.0], 1.0, ["a", "b"], 30.0), 2, solver=solver)
    assert answer.solver == solver
    assert answer.dose[:, 0] == pytest.approx([10, 20], rel=1e-2)


def test_the_naive_formulation_is_wrong_and_says_optimal():
    """α = 5 and utilities near 500: the objective is 1e−12, below the solver's tolerance."""
    rng = np.random.default_rng(0)
    benefit, cost = 1 + 4 * rng.random((4, 2)), 0.2 + 0.8 * rng.random((4, 2))
    group = rng.integers(0, 3, 4)
    dose = cp.Variable((4, 2), nonneg=True)
    utility = cp.hstack(
        [
            cp.sum(cp.multiply(benefit[group == k], dose[group == k])) / (group == k).sum()
            for k in range(3)
        ]
    )
    program = cp.Problem(
        cp.Maximize(cp.sum(utility ** (-4.0) / -4)), [cp.sum(cp.multiply(cost, dose)) <= 200]
    )
    program.solve(solver="CLARABEL")
    assert program.status == "optimal"
    problem = af.Problem(benefit, cost, group, 200.0)
    truth = problem.allocate(5).dose
    assert np.abs(dose.value - truth).max() > 0.1 * truth.max()
    assert af.optimality_gap(dose.value, problem, 5).relative_gap > 0.1
    assert solve_cvxpy(problem, 5).dose == pytest.approx(truth, rel=1e-3, abs=1)


def test_uncertified_answers_are_refused(monkeypatch):
    monkeypatch.setattr(reference, "CERTIFIED", -1.0)
    with pytest.raises(SolverError, match=r"CLARABEL at alpha = 2: says 'optimal', but.*wasted"):
        solve_cvxpy(af.Problem([4.0, 1.0], 1.0, [0, 1], 1.0), 2)


def test_a_status_that_is_not_optimal_is_refused(monkeypatch):
    monkeypatch.setattr(reference, "CLARABEL_OPTIONS", ({"max_iter": 1},))
    with pytest.raises(SolverError, match="CLARABEL at alpha = 2"):
        solve_cvxpy(af.Problem([4.0, 1.0], 1.0, [0, 1], 1.0), 2)


def test_never_sees_the_closed_form():
    code = "import sys, alphafair.reference as r; print('closed_form' in open(r.__file__).read())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_the_call_of_0_1_0_says_how_it_is_written_now():
    message = r"must be an alphafair.Problem, not list: write solve_cvxpy\(problem, alpha\)"
    with pytest.raises(TypeError, match=message):
        solve_cvxpy([4.0, 1.0], 1.0, [0, 1], 1.0, 2)
