"""Strategic regression: published and hand values, CVXPY, best responses, the dual certificate."""

import re
from itertools import product

import cvxpy as cp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphafair.models.strategic import (
    Cost,
    best_response,
    direction,
    equilibrium,
    linear,
    log_det,
    monomial,
    optimal_design,
    population_equilibrium,
    price_of_anarchy,
    social_optimum,
    trace,
)

# The residual of (*) that is asked for.  Newton's last steps leave about 1e−15; the pseudo-inverse
# of a nearly singular information (direction) some 1e−12.
FOC = 1e-9
# Values computed from the model of arXiv:2106.14636 by two other methods (BFGS on the potential,
# single-agent best responses, CVXPY) and printed to this precision.
PRINTED = 1e-6
# Clarabel's tolerance of 1e−8 on the objective; the arguments of a flat optimum have its root.
OBJECTIVE, ARGUMENT = 1e-6, 1e-3

AFFINE = Cost(lambda x: x + x**2, lambda x: 1 + 2 * x)
COSTS = {
    "1": linear(),
    "1+1e-9": monomial(1 + 1e-9),
    "1.001": monomial(1.001),
    "1.5": monomial(1.5),
    "2": monomial(2),
    "4": monomial(4),
    "50": monomial(50),
    "x+x^2": AFFINE,
}
TIMES = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
QUADRATIC = np.stack([np.ones(5), TIMES, TIMES**2], axis=1)
TWELVE = np.array(
    [
        [0.13, -0.13],
        [0.64, 0.1],
        [-0.54, 0.36],
        [1.3, 0.95],
        [-0.7, -1.27],
        [-0.62, 0.04],
        [-2.33, -0.22],
        [-1.25, -0.73],
        [-0.54, -0.32],
        [0.41, 1.04],
        [-0.13, 1.37],
        [-0.67, 0.35],
    ]
)


def agents(seed, n=20, d=3):
    return np.random.default_rng(seed).standard_normal((n, d))


def scalarisations(d):
    return {"trace": trace, "log_det": log_det, "direction": direction(np.arange(1.0, d + 1))}


# --- published and hand values ---------------------------------------------------------------
@pytest.mark.parametrize(
    ("n", "p", "variance", "precision"),
    [
        (10, 2, 0.5848035476425733, 0.17099759466766973),
        (100, 3, 0.13160740129524925, 0.07598356856515925),
    ],
)
def test_equal_agents(n, p, variance, precision):
    """With x = 1: p λ^{p−1} = 1/(nλ)², so λ = (p n²)^{−1/(p+1)}."""
    found = equilibrium(np.ones(n), monomial(p))
    assert found.estimation_cost == pytest.approx(variance, rel=1e-12)
    np.testing.assert_allclose(found.precision, precision, rtol=1e-12)
    assert precision == pytest.approx((p * n**2) ** (-1 / (p + 1)), rel=1e-12)


def test_twelve_agents_in_the_plane():
    """Gauss–Seidel best responses, agreeing with Clarabel to 4e−7."""
    known = [0.007949617744914698, 0.02748681114878827, 0.0854213914771305, 0.14961896097945807]
    known += [0.2595450538338844, 0.0376858305351271, 0.39944389855958784, 0.1078970803139434]
    known += [0.020391474085956426, 0.1873851016496781, 0.44874127973096983, 0.10392236644071444]
    found = equilibrium(TWELVE, monomial(2))
    np.testing.assert_allclose(found.precision, known, atol=PRINTED)
    assert found.estimation_cost == pytest.approx(1.036360033124554, abs=PRINTED)
    assert np.trace(found.covariance) == pytest.approx(found.estimation_cost, rel=1e-12)


@pytest.mark.parametrize("copies", [1, 7])
def test_quadratic_regression_is_an_optimal_design(copies):
    """A-optimal: (1/4, 1/2, 1/4) at −1, 0, 1; tr M⁻¹ = 8; tr V = √8 however many the agents are."""
    x = np.repeat(QUADRATIC, copies, axis=0)
    found, design = equilibrium(x, linear()), optimal_design(x)
    for weight in (design.weight, found.precision / np.sqrt(8)):
        at_points = weight.reshape(5, copies).sum(axis=1)
        np.testing.assert_allclose(at_points, [0.25, 0, 0.5, 0, 0.25], atol=1e-9)
    assert found.estimation_cost == pytest.approx(np.sqrt(8), rel=1e-12)
    assert found.effort_cost == pytest.approx(np.sqrt(8), rel=1e-12)
    assert design.criterion == pytest.approx(8, rel=1e-12)
    assert set(design.support // copies) == {0, 2, 4}


def test_d_optimal_polynomial_regression():
    """Equal weights at −1, 0, 1 (Guest 1958); det M = 4/27."""
    design = optimal_design(QUADRATIC, log_det)
    np.testing.assert_allclose(design.weight, [1 / 3, 0, 1 / 3, 0, 1 / 3], atol=1e-9)
    assert design.criterion == pytest.approx(np.log(27 / 4), rel=1e-12)


SCALING = {  # n = 100, 1000, 10000; the induced design λ_i μ_i / Σ
    2: (
        [1.2720826266210312, 0.5904484514335151, 0.274061893901138],
        [0.18429663020097134, 0.1063356653537087, 0.4187354088906399],
    ),
    4: (
        [0.5743143222589718, 0.14426123534754778, 0.03623678396916328],
        [0.14130934178101556, 0.15925921435619364, 0.3988628877255816],
    ),
}


@pytest.mark.parametrize("p", SCALING)
def test_population_values(p):
    mass = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    values, design = SCALING[p]
    for n, value in zip((100, 1000, 10000), values, strict=True):
        found = population_equilibrium(QUADRATIC, mass, monomial(p), n)
        assert found.estimation_cost == pytest.approx(value, rel=PRINTED)
        share = mass * found.precision
        np.testing.assert_allclose(
            share / share.sum(), design + design[1::-1], atol=PRINTED, rtol=0
        )


# --- scaling -----------------------------------------------------------------------------------
@pytest.mark.parametrize(("p", "slope"), [(1.5, -0.2), (2, -1 / 3), (4, -0.6), (1, 0)])
def test_rate_of_a_growing_population(p, slope):
    sizes = np.array([10, 100, 1000, 10**4, 10**5])
    cost = [equilibrium(QUADRATIC[np.arange(n) % 5], monomial(p)).estimation_cost for n in sizes]
    fitted = np.polyfit(np.log(sizes), np.log(cost), 1)[0]
    assert fitted == pytest.approx(slope, abs=1e-9)  # exact: n is a multiple of 5


@pytest.mark.parametrize("name", ["trace", "log_det", "direction"])
@pytest.mark.parametrize("p", [1.5, 2, 4])
def test_exact_scaling(p, name):
    """V = n^{−(p−1)/(p+q)} V_1 and λ = n^{−(q+1)/(p+q)} λ_1."""
    scalarisation = scalarisations(3)[name]
    x, n, q = agents(1), 12345.0, scalarisation.degree
    one, many = (
        population_equilibrium(x, np.ones(20), monomial(p), m, scalarisation) for m in (1, n)
    )
    np.testing.assert_allclose(many.precision, n ** (-(q + 1) / (p + q)) * one.precision, rtol=1e-9)
    expected = n ** (-(p - 1) / (p + q)) * one.covariance
    np.testing.assert_allclose(many.covariance, expected, rtol=1e-9)


def test_from_optimal_design_to_the_population_itself():
    """As p → 1: the A-optimal design; p → ∞: everybody alike."""
    design = optimal_design(QUADRATIC).weight
    for p, expected, tolerance in ((1 + 1e-6, design, 1e-5), (1e4, np.full(5, 0.2), 1e-3)):
        found = equilibrium(QUADRATIC, monomial(p)).precision
        np.testing.assert_allclose(found / found.sum(), expected, atol=tolerance)


# --- optimality ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["trace", "log_det", "direction"])
@pytest.mark.parametrize("cost", COSTS)
def test_first_order_condition_and_dual_certificate(cost, name):
    """The worth g from the answer's own V, in the coordinates of the data."""
    for seed, (n, d) in enumerate([(3, 3), (20, 3), (200, 4), (12, 1)]):
        x, scalarisation = agents(seed, n, d), scalarisations(d)[name]
        found = equilibrium(x, COSTS[cost], scalarisation)
        assert found.residual <= FOC
        assert found.gap <= FOC * found.effort_cost
        v = found.covariance
        k = {"trace": np.eye(d), "direction": scalarisation.target}.get(name)
        g = ((x @ v) * x).sum(axis=1) if k is None else ((x @ v @ k) ** 2).sum(axis=1)
        slope = np.asarray(COSTS[cost].slope(np.maximum(found.precision, 1e-300)))
        busy = found.precision > 1e-300
        # an information of condition 1e4 and more (directions hardly measured) costs digits
        np.testing.assert_allclose(g[busy], slope[busy], rtol=1e-7)
        assert (g[~busy] <= slope[~busy] * (1 + 1e-7)).all()
        np.testing.assert_allclose(found.marginal, g, rtol=1e-7, atol=1e-12 * g.max())


def program(x, cost, name, vector, society=1.0):
    """The potential, told to CVXPY; the cost as a function of a CVXPY vector."""
    precision = cp.Variable(len(x), nonneg=True)
    information = x.T @ cp.diag(precision) @ x
    size = {
        "trace": lambda: cp.tr_inv(information),
        "log_det": lambda: -cp.log_det(information),
        "direction": lambda: cp.matrix_frac(vector, information),
    }[name]()
    problem = cp.Problem(cp.Minimize(cost(precision) + society * size))
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == "optimal"
    return problem.value, precision.value


PROGRAMS = {
    "1": cp.sum,
    "2": cp.sum_squares,
    "1.5": lambda x: cp.sum(cp.power(x, 1.5)),
    "x+x^2": lambda x: cp.sum(x) + cp.sum_squares(x),
}


@pytest.mark.parametrize("name", ["trace", "log_det", "direction"])
@pytest.mark.parametrize("cost", PROGRAMS)
def test_against_cvxpy(cost, name):
    x, scalarisation = agents(5, 15, 3), scalarisations(3)[name]
    vector = np.arange(1.0, 4)
    for solve, society in ((equilibrium, 1), (social_optimum, 15)):
        found = solve(x, COSTS[cost], scalarisation)
        value, precision = program(x, PROGRAMS[cost], name, vector, society)
        assert found.potential == pytest.approx(value, rel=OBJECTIVE)
        np.testing.assert_allclose(found.precision, precision, atol=ARGUMENT * precision.max())


@pytest.mark.parametrize("name", ["trace", "log_det", "direction"])
@pytest.mark.parametrize("cost", ["1.5", "2", "4", "x+x^2"])
def test_against_best_responses(cost, name):
    x, scalarisation = agents(7, 8, 2), scalarisations(2)[name]
    weight = np.linspace(0.5, 2, 8)
    found = equilibrium(x, COSTS[cost], scalarisation, weight=weight)
    walk = best_response(x, COSTS[cost], scalarisation, weight=weight, tolerance=1e-10)
    # a step of 1e−10 at a linear rate: the distance left is some hundred steps at most
    np.testing.assert_allclose(walk.path[-1], found.precision, atol=1e-7 * found.precision.max())
    assert walk.change <= 1e-10


def test_best_responses_lower_the_potential():
    path = best_response(TWELVE, monomial(2)).path
    value = [
        (row**2).sum() + np.trace(np.linalg.inv((TWELVE * row[:, None]).T @ TWELVE)) for row in path
    ]
    assert (np.diff(value) <= 1e-13 * value[0]).all()
    assert value[-1] == pytest.approx(equilibrium(TWELVE, monomial(2)).potential, rel=1e-13)


def test_an_agent_alone_in_a_direction_cannot_stop():
    """With n = d: without agent i the estimate is infinite, so nobody's answer is 0."""
    x = np.array([[1.0, 0.0], [1.0, 1.0]])
    path = best_response(x, linear()).path
    assert (path[-1] > 0).all()
    np.testing.assert_allclose(path[-1], equilibrium(x, linear()).precision, rtol=1e-9)


@given(st.integers(0, 10**6), st.sampled_from(["1", "1.001", "1.5", "2", "4", "x+x^2"]))
def test_nobody_profits_from_another_precision(seed, cost):
    x = agents(seed, 6, 2)
    c, found = COSTS[cost], equilibrium(x, COSTS[cost])
    own = np.asarray(c.value(found.precision)) + found.estimation_cost
    for i, factor in product(range(6), (0.0, 0.5, 0.99, 1.01, 2.0)):
        other = found.precision.copy()
        other[i] = factor * other[i] if other[i] > 1e-9 else 1e-3 * factor
        information = (x * other[:, None]).T @ x
        if np.linalg.cond(information) > 1e10:
            continue
        deviation = np.asarray(c.value(other))[i] + np.trace(np.linalg.inv(information))
        assert deviation >= own[i] * (1 - 1e-9)


@given(st.integers(0, 10**6), st.sampled_from(["1", "1.5", "2", "x+x^2"]))
def test_the_estimate_does_not_depend_on_coordinates(seed, cost):
    """Under log det: any basis; trace: any rotation; order and duplicates never matter."""
    rng = np.random.default_rng(seed)
    x, basis = rng.standard_normal((10, 3)), rng.standard_normal((3, 3)) + 3 * np.eye(3)
    base = equilibrium(x, COSTS[cost], log_det)
    order = rng.permutation(10)
    other = equilibrium((x @ basis)[order], COSTS[cost], log_det)
    shift = -2 * np.linalg.slogdet(basis)[1]
    assert other.estimation_cost == pytest.approx(base.estimation_cost + shift, abs=1e-9)
    rotation = np.linalg.qr(basis).Q
    values = [equilibrium(z, COSTS[cost]).estimation_cost for z in (x, x @ rotation)]
    assert values[0] == pytest.approx(values[1], rel=1e-10)


def test_a_point_of_mass_two_is_two_agents():
    x = agents(3, 6, 2)
    mass = np.array([2.0, 1, 1, 1, 1, 1])
    twice = equilibrium(np.concatenate([x[:1], x]), monomial(2))
    found = population_equilibrium(x, mass, monomial(2), 7)
    np.testing.assert_allclose(found.precision, twice.precision[1:], rtol=1e-10)
    assert found.total_cost == pytest.approx(twice.total_cost, rel=1e-12)


# --- optimal designs -----------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["trace", "log_det", "direction"])
def test_equivalence_theorem(name):
    for seed, (n, d) in enumerate([(50, 3), (1000, 5)]):
        x, scalarisation = agents(seed, n, d), scalarisations(d)[name]
        design = optimal_design(x, scalarisation)
        v = np.linalg.inv((x * design.weight[:, None]).T @ x)
        k = {"trace": np.eye(d), "direction": scalarisation.target}.get(name)
        g = ((x @ v) * x).sum(axis=1) if k is None else ((x @ v @ k) ** 2).sum(axis=1)
        value = d if k is None else np.trace(k.T @ v @ k)
        assert design.certificate <= 1e-9
        assert g.max() <= value * (1 + 1e-9)
        np.testing.assert_allclose(g[design.support], value, rtol=1e-9)
        assert design.weight.sum() == pytest.approx(1, rel=1e-13)
        assert design.support.size <= d * (d + 1) / 2


def test_c_optimal_design_by_two_roads():
    """The linear program that is used, and the interior-point method that is used elsewhere."""
    for seed in range(5):
        x, v = agents(seed, 60, 4), np.array([1.0, -1, 0.5, 2])
        design, smooth = optimal_design(x, direction(v)), monomial(1 + 1e-12)
        found = equilibrium(x, smooth, direction(v))
        assert design.criterion == pytest.approx(found.estimation_cost**2, rel=1e-9)
        weight = found.precision / found.precision.sum()
        np.testing.assert_allclose(design.weight, weight, atol=1e-8)


def test_c_optimal_designs_with_singular_information():
    """Integer attributes: many ties, and v often lies in the span of fewer than d supporters."""
    singular = 0
    for seed in range(60):
        x = np.random.default_rng(seed).integers(-2, 3, (20, 4)).astype(float)
        design = optimal_design(x, direction([1.0, 0, 0, 0]))
        assert design.certificate <= 1e-9
        information = (x * design.weight[:, None]).T @ x
        singular += int(np.linalg.matrix_rank(information) < 4)
        value = np.linalg.pinv(information, 1e-10)[0, 0]
        assert value == pytest.approx(design.criterion, rel=1e-9)
    assert singular > 0


def hard_case(seed):
    """Integers (ties) or rows of very different size; sometimes columns of very different units."""
    rng = np.random.default_rng(seed)
    d = rng.integers(1, 5)
    n = d + rng.integers(0, 30)
    if seed % 2:
        x = rng.integers(-2, 3, (n, d)).astype(float)
    else:
        x = rng.standard_normal((n, d)) * 10 ** rng.uniform(-2, 2, (n, 1))
    if seed % 5 == 0:
        x *= 10 ** rng.uniform(-5, 5, d)
    return x, direction(np.eye(d)[0] if seed % 3 else rng.standard_normal(d))


def test_agents_who_stand_at_the_door_are_let_in():
    """For λ + λ^1.5, c''(0) = ∞: those with g hardly above c'(0) exert a little, not nothing."""
    cost = Cost(lambda x: x + x**1.5, lambda x: 1 + 1.5 * np.sqrt(x))
    for seed in (45, 225):
        x, along = hard_case(seed)
        for scalarisation in (trace, along):
            assert equilibrium(x, cost, scalarisation).residual <= FOC


def test_rounding_is_no_worth():
    """One whose g is 1e−32 of the others' for rounding alone: (1e−32)^{1/49} would be a half."""
    x, along = hard_case(85)
    found = equilibrium(x, monomial(50), along)
    assert found.residual <= FOC


def test_a_polished_point_that_is_no_minimum_is_not_returned():
    """Columns ten orders of magnitude apart: there the dual bound decides."""
    for seed in (115, 205):
        found = equilibrium(hard_case(seed)[0], linear())
        assert found.gap <= 1e-8 * found.effort_cost


def test_a_direction_that_some_say_nothing_about():
    """The optimal information is singular: the others are idle, the residual still 0."""
    for cost in COSTS.values():
        found = equilibrium(np.eye(2), cost, direction([1.0, 0.0]))
        alone = equilibrium([1.0], cost)
        np.testing.assert_allclose(found.precision, [alone.precision[0], 0], rtol=1e-9)
        expected = [[alone.estimation_cost, 0], [0, 0]]
        np.testing.assert_allclose(found.covariance, expected, rtol=1e-9)
        assert found.residual <= FOC


def test_singular_c_optimal_design():
    """Slope of a line on [−1, 1]: half at each end; the curvature term is not estimable."""
    design = optimal_design(QUADRATIC, direction([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(design.weight, [0.5, 0, 0, 0, 0.5], atol=1e-9)
    assert design.criterion == pytest.approx(1, rel=1e-12)
    assert design.certificate <= 1e-9


# --- the planner ---------------------------------------------------------------------------------
@pytest.mark.parametrize("p", [1, 1.001, 1.5, 2, 4])
def test_price_of_anarchy_depends_on_n_alone(p):
    for seed, (n, d) in enumerate([(4, 2), (30, 3)]):
        expected = (p * n + 1) / ((p + 1) * n ** (p / (p + 1)))
        for scalarisation in (trace, direction(np.arange(1.0, d + 1))):
            found = price_of_anarchy(
                agents(seed, n, d), monomial(p), scalarisation, weight=np.linspace(1, 3, n)
            )
            assert found.ratio == pytest.approx(expected, rel=1e-9)
            assert found.equilibrium == pytest.approx(found.ratio * found.optimum, rel=1e-13)


def test_planner_under_log_det():
    """Total costs differ by (d/p)(1 − n + n log n)."""
    x, p, n, d = agents(2, 25, 3), 2.0, 25, 3
    costs = [solve(x, monomial(p), log_det).total_cost for solve in (equilibrium, social_optimum)]
    assert costs[0] - costs[1] == pytest.approx(d / p * (1 - n + n * np.log(n)), rel=1e-10)


def test_planner_asks_for_the_same_design():
    x = agents(4, 12, 2)
    selfish, planned = (solve(x, monomial(2)) for solve in (equilibrium, social_optimum))
    np.testing.assert_allclose(planned.precision, 12 ** (1 / 3) * selfish.precision, rtol=1e-9)
    assert planned.potential == pytest.approx(planned.total_cost, rel=1e-13)


# --- costs of one's own, extremes ------------------------------------------------------------
def test_own_cost_agrees_with_the_built_in():
    """Without curvature and inverse: difference quotients and bisection."""
    own = Cost(lambda x: x**3, lambda x: 3 * x**2)
    a, b = (equilibrium(TWELVE, cost) for cost in (own, monomial(3)))
    np.testing.assert_allclose(a.precision, b.precision, rtol=1e-9)
    assert a.gap <= FOC * a.effort_cost


def test_cost_with_a_price_at_the_door():
    """With x = 1, c = λ + λ²: V → 1 from above as n grows; nobody exerts less than worth 1."""
    found = equilibrium(np.ones(1000), AFFINE)
    lam = found.precision[0]
    assert 1 + 2 * lam == pytest.approx(1 / (1000 * lam) ** 2, rel=1e-10)
    assert found.estimation_cost == pytest.approx(1, abs=2e-3)


def test_a_bounded_slope():
    """A linear cost, softened (slope < 2); the dual is shrunk to where it is finite."""
    cost = Cost(lambda x: 2 * x - np.log1p(x), lambda x: 2 - 1 / (1 + x))
    found = equilibrium(agents(1), cost)
    assert found.residual <= FOC
    assert found.gap <= FOC * found.effort_cost


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_units(scale):
    """With s x for x and c = λ²: 2 λ = g of order s^{−2} λ^{−2}, so λ ∝ s^{−2/3}, V ∝ s^{−4/3}."""
    base, other = (equilibrium(s * TWELVE, monomial(2)) for s in (1, scale))
    np.testing.assert_allclose(other.precision, scale ** (-2 / 3) * base.precision, rtol=1e-9)
    expected = scale ** (-4 / 3) * base.estimation_cost
    assert other.estimation_cost == pytest.approx(expected, rel=1e-9)


def test_useless_agents_are_idle():
    x = np.concatenate([TWELVE, np.zeros((1, 2))])
    found = equilibrium(x, monomial(2))
    assert found.precision[-1] == 0
    np.testing.assert_allclose(
        found.precision[:-1], equilibrium(TWELVE, monomial(2)).precision, rtol=1e-10
    )


def test_ten_thousand_agents():
    for p in (1, 1.001, 2):
        found = equilibrium(agents(0, 10**4, 5), monomial(p))
        assert found.residual <= FOC
        assert found.iterations <= 60
        assert p > 1 or (found.precision > 0).sum() <= 15


# --- refusals ------------------------------------------------------------------------------------
REFUSED = {
    "shape": (np.ones((2, 2, 2)), {}, "attributes has shape (2, 2, 2): must be (n, d), or (n,)"),
    "empty": ([], {}, "attributes has shape (0, 1)"),
    "nan": ([[1.0, 2.0], [3.0, np.nan]], {}, "attributes[1, 1] is nan: must be finite"),
    "few": (np.ones((2, 3)), {}, "attributes has n = 2 rows and d = 3 columns"),
    "rank": (
        [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]],
        {},
        "attributes span only 1 of 2 dimensions: x·v = 0 for all with v = [",
    ),
    "column": ([[1.0, 0.0], [2.0, 0.0]], {}, "attributes span only 1 of 2 dimensions"),
    "weight": ([1.0, 2.0], {"weight": [1.0, 0.0]}, "weight[1] is 0.0: must be finite and > 0"),
    "weights": ([1.0, 2.0], {"weight": [1.0] * 3}, "weight has shape (3,): must be (2,)"),
    "target": (
        [1.0, 2.0],
        {"scalarisation": direction([1.0, 0.0])},
        "direction has 2 entries: must have d = 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    attributes, keywords, message = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        equilibrium(attributes, monomial(2), **keywords)


def test_the_missing_direction_is_named():
    with pytest.raises(ValueError, match="v = ") as caught:
        equilibrium([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], linear())
    v = np.array([float(e) for e in re.search(r"v = \[(.*?)\]", str(caught.value))[1].split(",")])
    assert abs(v @ [1.0, 2.0]) <= 1e-6  # printed to six digits
    assert np.abs(v).max() == 1


def test_costs_refused():
    for call, message in (
        (lambda: monomial(0.5), "p is 0.5: must be finite and ≥ 1"),
        (lambda: monomial(np.nan), "p is nan"),
        (lambda: Cost(lambda x: 1 + x, np.ones_like), "value(0) is 1: no effort must cost 0"),
        (lambda: Cost(lambda x: -x, lambda x: -np.ones_like(x)), "the cost must increase"),
        (lambda: Cost(np.sqrt, lambda x: 0.5 / np.sqrt(x + 1e-9)), "value must be convex"),
        (lambda: Cost(np.square, np.copy), "between λ = 1e-06 and 1.70125e-06 the chord"),
        (lambda: Cost(lambda x: 0.0, np.copy), "an array of the shape of their argument"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    with pytest.raises(TypeError, match="slope is 2: must be a function"):
        Cost(np.square, 2)
    with pytest.raises(TypeError, match="cost is 2: must be monomial"):
        equilibrium([1.0], 2)


def test_other_refusals():
    for call, message in (
        (lambda: direction([0.0, 0.0]), "must be (d,), finite and not 0"),
        (lambda: population_equilibrium([1.0], [1.0], linear(), 0), "n is 0.0"),
        (lambda: population_equilibrium([1.0], [-1.0], linear(), 1), "mass[0] is -1.0"),
        (lambda: price_of_anarchy([1.0], linear(), log_det), "the ratio has no meaning"),
        (lambda: best_response([1.0], linear(), start=[0.0]), "start[0] is 0.0"),
        (lambda: best_response([1.0], linear(), rounds=0), "rounds is 0.0"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_a_cost_whose_slope_jumps_is_refused_not_guessed():
    """Ten equal agents whose answer is the kink itself: no slope there equals the worth."""
    kinked = Cost(
        lambda x: np.where(x < 0.1, x, 100 * x - 9.9), lambda x: np.where(x < 0.1, 1.0, 100.0)
    )
    with pytest.raises(RuntimeError, match="the slope of the cost jumps"):
        equilibrium(np.ones(5), kinked)


@pytest.mark.parametrize("seed", [186, 446, 1607, 2398, 2730])
def test_designs_of_rows_of_eight_orders(seed):
    """So many were idle once that V was singular, and a trace of −9.5e21 was taken for proven."""
    rng = np.random.default_rng(seed)
    n, d = rng.integers(4, 20), rng.integers(2, 4)
    x = rng.normal(size=(n, d)) * 10 ** rng.uniform(-4, 4, size=(n, 1))
    design = optimal_design(x)
    with mpmath.workdps(60):
        rows = mpmath.matrix(x.tolist())
        M = sum(
            (
                mpmath.mpf(float(w)) * (rows[i, :].T * rows[i, :])
                for i, w in enumerate(design.weight)
            ),
            mpmath.zeros(d),
        )
        V = mpmath.inverse(M)
        worth = [(rows[i, :] * V * V * rows[i, :].T)[0] for i in range(int(n))]
        trace_of, best = sum(V[j, j] for j in range(int(d))), max(worth)
    assert design.criterion == pytest.approx(float(trace_of), rel=1e-9)
    assert float(best / trace_of) - 1 == pytest.approx(design.certificate, abs=1e-9)
    assert design.certificate < 1e-8


@pytest.mark.parametrize("weight", [1e-200, 1e-30, 1e18, 1e30, 1e200])
def test_units_of_a_linear_cost_and_a_direction(weight):
    """λ is proportional to 1/√w; for weights of 1e18 the solver once found nothing."""
    x, toward = np.random.default_rng(0).normal(size=(6, 2)), direction([1.0, 0.0])
    unit = equilibrium(x, linear(), toward)
    found = equilibrium(x, linear(), toward, weight=weight)
    assert np.allclose(found.precision * np.sqrt(weight), unit.precision, rtol=1e-9, atol=1e-12)
    assert found.residual < 1e-8
    assert found.effort_cost == pytest.approx(unit.effort_cost * np.sqrt(weight), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-100, 1e100, 1e200, 1e300])
@pytest.mark.parametrize("scalarisation", [trace, log_det, direction([1.0, 2.0])])
@pytest.mark.parametrize("p", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("weight", [1e-200, 1.0, 1e200])
@pytest.mark.filterwarnings("error")
def test_what_leaves_the_doubles_is_refused(scale, scalarisation, p, weight):
    """A number that is not finite is no answer; numpy's warnings are none either."""
    x = np.random.default_rng(0).normal(size=(6, 2)) * scale
    message = ""
    try:
        found = equilibrium(x, monomial(p), scalarisation, weight=weight)
    except RuntimeError as error:
        message = str(error)
    if message:
        assert re.search("too large for a double|no equilibrium to working precision", message)
        return
    for name, value in vars(found).items():
        assert np.isfinite(value).all(), name
