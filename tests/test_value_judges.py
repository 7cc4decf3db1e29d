"""Five judges of the core, none of which shares its code, on every combination of its arguments.

- 14 problems solved by nested bisection on the optimality conditions in 22 digits
  (``value_problems.json``);
- the certificate, on thousands of small random problems with each subset of the arguments;
- CVXPY on a sample of these;
- at ε = α and w = G, where a group's utility drops out, the allocation with one person a group;
- V_k itself: a linear program, a fine grid and mpmath, concavity, slopes by differences.
"""

import itertools
import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
from helpers import BALANCE, SOLVER

import alphafair as af

ALPHAS = (0, 0.5, 1, 2, 5, np.inf)
WITHINS = (0, 0.3, 0.5, 1, 2, np.inf)
ARGUMENTS = ("baseline", "floor", "cap", "weight", "group_floor", "group_cap")
SUBSETS = [s for size in range(7) for s in itertools.combinations(ARGUMENTS, size)]
PROBLEMS = json.loads((Path(__file__).parent / "value_problems.json").read_text())


def random_problem(seed, within, given, largest=8):
    """A few people in three groups; some have nothing, some bounds bind, some do not."""
    rng = np.random.default_rng(seed)
    groups = 3
    persons = int(rng.integers(groups, largest + 1))
    shape = (persons, 2)
    benefit, cost = 10 ** rng.uniform(-0.5, 0.5, (2, *shape))
    benefit[:, 1][rng.random(persons) < 0.2] *= -1
    group = np.concatenate([np.arange(groups), rng.integers(0, groups, persons - groups)])
    budget = 10 ** rng.uniform(-1, 1.5)
    arguments, floor = {}, np.zeros(shape)
    if "baseline" in given:
        some = rng.random(persons) < 0.7
        arguments["baseline"] = rng.uniform(0, 2, persons) * some * budget / persons
    if "floor" in given:
        floor = np.where((benefit > 0) & (rng.random(shape) < 0.4), rng.random(shape), 0.0)
        floor *= budget * rng.uniform(0.1, 0.5) / max((cost * floor).sum(), 1e-9)
        arguments["floor"] = floor
    if "cap" in given:
        room = rng.uniform(0.02, 0.8, shape) * budget / cost
        arguments["cap"] = floor + room * rng.choice([0.2, 1])
    if "weight" in given:
        arguments["weight"] = 10 ** rng.uniform(-0.5, 0.5, groups)
    least, most = np.bincount(group, (cost * floor).sum(axis=1)), np.full(groups, np.inf)
    if "cap" in given:
        helped = np.where(benefit > 0, arguments["cap"], floor)
        most = np.bincount(group, (cost * helped).sum(axis=1))
    if "group_floor" in given:
        extra = rng.dirichlet(np.ones(groups)) * 0.6 * (budget - least.sum())
        least = np.minimum(least + extra * (rng.random(groups) < 0.6), most)
        arguments["group_floor"] = least
    if "group_cap" in given:
        bound = least + rng.uniform(0.05, 1, groups) * budget / 2
        arguments["group_cap"] = np.where(rng.random(groups) < 0.3, np.inf, bound)
    return af.Problem(benefit, cost, group, budget, within, **arguments)


# --- (a) published in 22 digits -------------------------------------------------------------------
@pytest.mark.parametrize("number", range(len(PROBLEMS)))
def test_bisection_in_22_digits(number):
    case = PROBLEMS[number]
    names = {"a": "baseline", "floor": "floor", "cap": "cap", "w": "weight"}
    names |= {"gfloor": "group_floor", "gcap": "group_cap"}
    arguments = {names[key]: np.array(case[key], float) for key in names if key in case}
    if "group_cap" in arguments:  # null is no bound
        arguments["group_cap"] = np.nan_to_num(arguments["group_cap"], nan=np.inf)
    a = af.allocate(
        case["b"], case["c"], case["g"], case["Q"], float(case["alpha"]),
        within=float(case["eps"]), **arguments,
    )  # fmt: skip
    np.testing.assert_allclose(a.dose, case["dose"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(a.group_utility, case["U"], rtol=1e-9)
    np.testing.assert_allclose(a.group_budget, case["x"], rtol=1e-9, atol=1e-9)
    assert a.price == pytest.approx(case["price"], rel=1e-9)


# --- (b) the certificate --------------------------------------------------------------------------
@pytest.mark.parametrize(("alpha", "within"), list(itertools.product(ALPHAS, WITHINS)))
def test_certified_with_every_subset_of_the_arguments(alpha, within):
    """64 subsets × 36 pairs (α, ε): 2304 problems."""
    for number, given in enumerate(SUBSETS):
        problem = random_problem(number, within, given)
        a = problem.allocate(alpha)
        bound = af.optimality_gap(a.dose, problem, alpha)
        assert bound.relative_gap <= 1e-11, (number, given)
        assert bound.infeasibility <= BALANCE, (number, given)
        spent = (problem.cost * a.dose).sum()
        assert abs(spent + a.money_left - problem.budget) <= BALANCE * problem.budget, number


# --- (c) a solver ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("alpha", "within"), list(itertools.product(ALPHAS, WITHINS)))
def test_cvxpy_finds_nothing_better(alpha, within):
    pytest.importorskip("cvxpy")
    from alphafair.reference import SolverError, solve_cvxpy

    solved = 0
    for number in range(ALPHAS.index(alpha) + WITHINS.index(within), len(SUBSETS), 16):
        problem = random_problem(number, within, SUBSETS[number])
        try:
            answer = solve_cvxpy(problem, alpha)
        except SolverError:  # it says so, and the certificate judges this problem above
            continue
        solved += 1
        a = problem.allocate(alpha)
        assert answer.welfare <= a.welfare + SOLVER * (1e-3 + abs(a.welfare)) * 1e-2, number
        if alpha in (0, np.inf) or within == np.inf:  # other utilities may do as well
            assert answer.welfare == pytest.approx(a.welfare, rel=SOLVER)
        else:
            np.testing.assert_allclose(answer.group_utility, a.group_utility, rtol=SOLVER)
    assert solved >= 2


# --- (d) fairness over people ---------------------------------------------------------------------
@pytest.mark.parametrize("aversion", [0.3, 0.5, 1, 2, 5, np.inf])
def test_at_equal_aversions_groups_do_not_matter(aversion):
    """At ε = α and w = G, Σ w φ(U) = Σ φ(u_i): a sum over people, whatever their groups."""
    for number, given in enumerate(SUBSETS):
        if not set(given) <= {"baseline", "floor", "cap"}:
            continue
        one = random_problem(number, aversion, given)
        arguments = {name: getattr(one, name) for name in given}
        alone = np.arange(one.shape[0])
        both = (
            af.allocate(one.benefit, one.cost, group, one.budget, aversion, **options, **arguments)
            for group, options in (
                (one.groups.code, {"within": aversion, "weight": "size"}),
                (alone, {}),
            )
        )
        grouped, apart = (a.dose for a in both)
        scale = one.budget / one.cost
        np.testing.assert_allclose(grouped / scale, apart / scale, rtol=1e-12, atol=1e-12)


# --- (e) V_k itself -------------------------------------------------------------------------------
def money_grid(problem, points=7):
    """(points, K) money of all groups, from what the floors take to what caps can."""
    floor = 0.0 if problem.floor is None else problem.floor
    least = np.bincount(problem.groups.code, (problem.cost * floor).sum(axis=1) * np.ones(1))
    top = np.full(least.size, problem.budget)
    return least + np.linspace(0.0, 1.0, points)[:, None] * top


def inside(problem, k):
    members = np.flatnonzero(problem.groups.code == k)
    shape = (members.size, problem.shape[1])
    floor = np.zeros(shape) if problem.floor is None else problem.floor[members]
    cap = np.full(shape, np.inf) if problem.cap is None else problem.cap[members]
    have = np.zeros(members.size) if problem.baseline is None else problem.baseline[members]
    return problem.benefit[members], problem.cost[members], floor, cap, have


INNER = [s for s in SUBSETS if set(s) <= {"baseline", "floor", "cap"}]


@pytest.mark.parametrize("given", INNER, ids="-".join)
def test_mean_and_minimum_are_linear_programs(given):
    linprog = pytest.importorskip("scipy.optimize").linprog
    for seed, within in itertools.product(range(4), (0, np.inf)):
        problem = random_problem(900 + seed, within, given)
        for money in money_grid(problem):
            value = problem.group_utility(money)
            for k in range(value.size):
                benefit, cost, floor, cap, have = inside(problem, k)
                members, items = benefit.shape
                bounds = [*zip(floor.ravel(), cap.ravel(), strict=True), (None, None)]
                table = np.zeros((members, benefit.size + 1))  # U − Σ b d ≤ a
                for i in range(members):
                    table[i, i * items : (i + 1) * items] = -benefit[i]
                table[:, -1] = 1.0
                limit = have
                if within == 0:
                    table, limit = table.mean(axis=0)[None], np.array([have.mean()])
                rows = np.vstack([table, np.append(cost.ravel(), 0.0)])
                limits = np.append(limit, money[k] * (1 + 1e-13))
                goal = np.zeros(benefit.size + 1)
                goal[-1] = -1.0
                answer = linprog(goal, rows, limits, bounds=bounds)
                assert answer.status == 0
                assert value[k] == pytest.approx(-answer.fun, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("within", [0.3, 0.5, 1, 2])
def test_two_people_on_a_grid(within):
    """Every split of the money between two people, each with a chain of two items, in 30 digits."""
    benefit, cost = np.array([[3.0, 1.0], [2.0, 1.5]]), np.array([[1.0, 0.8], [1.5, 1.0]])
    cap, have = np.array([[0.5, 2.0], [1.0, 0.7]]), np.array([0.2, 0.7])
    problem = af.Problem(benefit, cost, [0, 0], 3.0, within, cap=cap, baseline=have)

    def person(i, money):
        u = mpmath.mpf(have[i])
        for t in sorted(range(2), key=lambda t: -benefit[i, t] / cost[i, t]):
            spent = min(money, mpmath.mpf(cap[i, t] * cost[i, t]))
            u += spent * benefit[i, t] / cost[i, t]
            money -= spent
        return u

    def mean(first, money):
        u, s = [person(0, first), person(1, money - first)], 1 - mpmath.mpf(within)
        if s == 0:
            return mpmath.sqrt(u[0] * u[1])
        return ((u[0] ** s + u[1] ** s) / 2) ** (1 / s)

    with mpmath.workdps(30):
        for total in (0.1, 0.6, 1.7, 2.9, 4.0, 6.0):
            money, low, high = mpmath.mpf(total), mpmath.mpf(0), mpmath.mpf(total)
            for _ in range(120):  # V is concave in the split: golden section would do as well
                left, right = (2 * low + high) / 3, (low + 2 * high) / 3
                if mean(left, money) < mean(right, money):
                    low = left
                else:
                    high = right
            best = mean((low + high) / 2, money)
            assert problem.group_utility(total)[0] == pytest.approx(float(best), rel=1e-13)


@pytest.mark.parametrize("within", WITHINS)
def test_the_value_of_money_is_concave_and_its_slope_is_the_marginal_utility(within):
    for number, given in enumerate(INNER):
        problem = random_problem(700 + number, within, given)
        grid = money_grid(problem, 60)
        value = np.array([problem.group_utility(x) for x in grid])
        slope = np.array([problem.marginal_utility(x) for x in grid])
        size = np.abs(value).max(axis=0)
        step = np.diff(grid, axis=0)
        assert (np.diff(value, axis=0) >= -1e-13 * size).all()
        assert (slope >= 0).all()
        assert (np.diff(slope, axis=0)[1:] <= 1e-9 * slope[1]).all()
        # The chord lies between the slopes at its ends: V' right of the left, V' of the right end.
        chord = np.diff(value, axis=0) / step
        noise = 1e-12 * size / step
        assert (chord <= slope[:-1] * (1 + 1e-12) + noise).all()
        assert (chord >= slope[1:] * (1 - 1e-12) - noise).all()
