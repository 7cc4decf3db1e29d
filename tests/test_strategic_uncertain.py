"""Owners who know the law of the attributes only: CVXPY, best replies by brute force, draws."""

import itertools
import math

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from alphafair.models.strategic import (
    Cost,
    direction,
    equilibrium,
    linear,
    log_det,
    monomial,
    population_equilibrium,
    trace,
    uncertain_bounds,
    uncertain_equilibrium,
)

LINE = np.array([[1, -1], [1, 0], [1, 1.0]])
THIRDS = [1 / 3, 1 / 3, 1 / 3]


def lotteries(n, p):
    """(probability, types of all owners) of every ordered draw."""
    for who in itertools.product(range(len(p)), repeat=n):
        yield math.prod(p[a] for a in who), who


def information(x, precision, who):
    return sum(precision[a] * np.outer(x[a], x[a]) for a in who)


@pytest.mark.parametrize(("n", "value", "of_population"), [(10, 1.198, 1.029), (40, 0.667, 0.648)])
def test_what_not_knowing_costs(n, value, of_population):
    """Found by an independent sampler, of about three digits."""
    found = uncertain_equilibrium(LINE, THIRDS, monomial(2), n)
    assert found.estimation_cost == pytest.approx(value, abs=1.1e-3)
    limit = population_equilibrium(LINE, THIRDS, monomial(2), n)
    assert limit.estimation_cost == pytest.approx(of_population, abs=6e-4)


@pytest.mark.parametrize("power", [1, 1.5, 2, 4])
@pytest.mark.parametrize("scalarisation", [trace, log_det], ids=["trace", "log_det"])
def test_it_is_the_minimum_of_the_potential(power, scalarisation):
    """CVXPY minimises over the three precisions, with a term for every draw of five owners."""
    n, p = 5, np.array([0.5, 0.3, 0.2])
    cost = linear() if power == 1 else monomial(power)
    ours = uncertain_equilibrium(LINE, p, cost, n, scalarisation)
    tau = cp.Variable(3, nonneg=True)
    worth = 0
    for counts in itertools.product(range(n + 1), repeat=3):
        if sum(counts) != n or sum(k > 0 for k in counts) < 2:
            continue
        chance = math.factorial(n) * math.prod(
            q**k / math.factorial(k) for q, k in zip(p, counts, strict=True)
        )
        M = sum(k * tau[a] * np.outer(LINE[a], LINE[a]) for a, k in enumerate(counts) if k > 0)
        worth += chance * (cp.tr_inv(M) if scalarisation is trace else -cp.log_det(M))
    program = cp.Problem(cp.Minimize(n * (p @ cp.power(tau, power)) + worth))
    program.solve(cp.CLARABEL)
    assert ours.provision_cost + ours.estimation_cost == pytest.approx(program.value, rel=1e-7)
    np.testing.assert_allclose(ours.precision, tau.value, rtol=1e-3, atol=1e-5)


def test_nobody_gains_by_another_precision():
    """Best replies of each type, over all ordered draws of the others."""
    n, p, cost = 4, [0.6, 0.4], monomial(2)
    x = np.array([[1.0, 0.2], [0.3, 1.0]])
    found = uncertain_equilibrium(x, p, cost, n)

    def suffers(own, precision):
        total = precision**2
        for chance, others in lotteries(n - 1, p):
            if len({own, *others}) == 2:
                M = information(x, found.precision, others)
                M = M + precision * np.outer(x[own], x[own])
                total += chance * np.trace(np.linalg.inv(M))
        return total

    for own in range(2):
        reply = minimize_scalar(
            lambda t, own=own: suffers(own, t),
            bounds=(1e-3, 5),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert found.precision[own] == pytest.approx(reply.x, rel=1e-5)


def test_where_all_are_alike_nothing_is_uncertain():
    found = uncertain_equilibrium([1.0], [1.0], monomial(2), 10)
    known = equilibrium(np.ones(10), monomial(2))
    assert found.precision[0] == pytest.approx(known.precision[0], rel=1e-10)
    assert found.estimation_cost == pytest.approx(known.estimation_cost, rel=1e-10)


@pytest.mark.parametrize("power", [1, 1.5, 2, 3])
@pytest.mark.parametrize("n", [20, 40, 80])
def test_bounds(power, n):
    cost = linear() if power == 1 else monomial(power)
    found = uncertain_equilibrium(LINE, THIRDS, cost, n)
    bounds = uncertain_bounds(LINE, THIRDS, cost, n)
    slack = 1e-9 + 20 * found.excluded
    assert bounds.lower <= found.estimation_cost + slack
    assert found.estimation_cost <= bounds.upper * (1 + 1e-9)


def test_the_rate_is_slower_than_that_of_given_data():
    """n^{−(p−1)/(p+1)}: the factor over the population comes to 1."""
    cost, sizes = monomial(2), np.array([20, 80, 320])
    value = [uncertain_equilibrium(LINE, THIRDS, cost, n).estimation_cost for n in sizes]
    limit = [population_equilibrium(LINE, THIRDS, cost, n).estimation_cost for n in sizes]
    ratio = np.array(value) / limit
    assert (np.diff(ratio) < 0).all()
    assert ratio[-1] < 1.005
    slope = np.diff(np.log(value)) / np.diff(np.log(sizes))
    assert slope[-1] == pytest.approx(-1 / 3, abs=0.02)


def test_samples_agree_with_the_list(monkeypatch):
    from alphafair.models.strategic import uncertain

    exact = uncertain_equilibrium(LINE, THIRDS, monomial(2), 30)
    monkeypatch.setattr(uncertain, "MOST_LISTED", 10)
    sampled = uncertain_equilibrium(LINE, THIRDS, monomial(2), 30, draws=40_000, seed=4)
    assert exact.standard_error == 0 < sampled.standard_error
    difference = abs(sampled.estimation_cost - exact.estimation_cost)
    assert difference < 4 * sampled.standard_error
    np.testing.assert_allclose(sampled.precision, exact.precision, rtol=0.01)


def test_a_direction_is_seen_by_itself():
    found = uncertain_equilibrium(LINE, THIRDS, monomial(2), 12, direction([0.0, 1.0]))
    assert found.residual < 1e-8
    assert found.precision[0] == pytest.approx(found.precision[2], rel=1e-6)  # by symmetry
    assert found.precision[1] < found.precision[0]


def test_a_cost_with_a_slope_at_nought():
    """C = λ + λ²: the owners in the middle may stay idle."""
    cost = Cost(lambda t: t + t**2, lambda t: 1 + 2 * t)
    found = uncertain_equilibrium(LINE, THIRDS, cost, 15)
    assert found.residual < 1e-8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uncertain_equilibrium(LINE, THIRDS, monomial(2), 0), "n is 0"),
        (lambda: uncertain_equilibrium(LINE, THIRDS, monomial(2), 1), "every draw leaves"),
        (lambda: uncertain_equilibrium(LINE, [1, 0, 1], monomial(2), 5), r"mass\[1\] is 0"),
        (lambda: uncertain_bounds(LINE, THIRDS, monomial(2), 5, log_det), "bounds are for"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
