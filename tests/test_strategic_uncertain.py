"""Owners who know the law of the attributes only: CVXPY, best replies by brute force, draws."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from operator import mul

import cvxpy as cp
import numpy as np
import pytest
from mpmath import mpf, workdps
from scipy.optimize import minimize, minimize_scalar

from alphafair.models.strategic import (
    Cost,
    direction,
    equilibrium,
    linear,
    log_det,
    monomial,
    population_equilibrium,
    trace,
    uncertain,
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


@pytest.mark.parametrize("n", [10, 40])
def test_what_not_knowing_costs_to_eight_digits(n):
    """Two numbers, as the ends are alike: a simplex search over the sum written out."""
    k = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)])
    k = k[(k < n).all(axis=1)]
    chance = np.array([math.comb(n, i) * math.comb(n - i, j) for i, j, _ in k.tolist()]) / 3.0**n

    def loss(end, middle):
        a, b, c = k.T * [[end], [middle], [end]]
        return chance @ ((a + b + c + a + c) / ((a + b + c) * (a + c) - (a - c) ** 2))

    def total(both):
        end, middle = np.exp(both)
        return n / 3 * (2 * end**2 + middle**2) + loss(end, middle)

    best = minimize(total, [-1, -1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 0})
    end, middle = np.exp(best.x)
    found = uncertain_equilibrium(LINE, THIRDS, monomial(2), n)
    np.testing.assert_allclose(found.precision, [end, middle, end], rtol=1e-6)
    assert found.provision_cost + found.estimation_cost == pytest.approx(best.fun, abs=1e-10)
    # effort is half of the loss: so the loss is known as well as the minimum
    assert found.estimation_cost == pytest.approx(best.fun / 1.5, abs=1e-8)


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
@pytest.mark.parametrize("n", [2, 3, 5, 20, 80])
def test_bounds(power, n):
    """Also with few owners, where F_∞ itself is no bound, as many draws have infinite F."""
    cost = linear() if power == 1 else monomial(power)
    found = uncertain_equilibrium(LINE, THIRDS, cost, n)
    bounds = uncertain_bounds(LINE, THIRDS, cost, n)
    limit = population_equilibrium(LINE, THIRDS, cost, n).estimation_cost
    factor = (1 - found.excluded) ** (2 * power / (power + 1))
    assert bounds.lower == pytest.approx(factor * limit, rel=1e-12)
    assert bounds.lower <= found.estimation_cost * (1 + 1e-12)
    assert found.estimation_cost <= bounds.upper * (1 + 1e-9)


def test_the_lower_bound_needs_the_factor():
    """Two crops, two owners: F is finite in half of the draws, and its sum below F_∞."""
    crops, halves = np.eye(2), [1, 1]
    found = uncertain_equilibrium(crops, halves, monomial(2), 2)
    limit = population_equilibrium(crops, halves, monomial(2), 2)
    assert found.excluded == pytest.approx(0.5)
    bounds = uncertain_bounds(crops, halves, monomial(2), 2)
    assert bounds.lower <= found.estimation_cost < limit.estimation_cost


def exact_gain(precision, n, p, f):
    """Σ over all draws of probability · count · what f says of V x and x."""
    x = [[mpf(v) for v in row] for row in LINE]
    tau, p = [mpf(v) for v in precision], [mpf(v) for v in p]
    gain = [mpf(0)] * 3
    for i in range(n + 1):
        for j in range(n + 1 - i):
            k = (i, j, n - i - j)
            if n in k:
                continue
            chance = math.comb(n, i) * math.comb(n - i, j) * math.prod(map(pow, p, k))
            weight = list(map(mul, k, tau))
            a, b, c = (
                sum(w * row[r] * row[s] for w, row in zip(weight, x, strict=True))
                for r, s in ((0, 0), (0, 1), (1, 1))
            )
            det = a * c - b * b
            for own, (u, v) in enumerate(x):
                look = ((c * u - b * v) / det, (a * v - b * u) / det)  # V x
                gain[own] += chance * k[own] * f(look, (u, v))
    return gain


@pytest.mark.parametrize("n", [120, 160])
@pytest.mark.parametrize("scalarisation", [trace, log_det], ids=["trace", "log_det"])
def test_a_type_that_only_a_rare_draw_needs(n, scalarisation):
    """Linear cost: those in the middle insure against draws of probability (2/3)ⁿ, no more."""
    p = np.array([0.3, 0.3, 0.4])
    found = uncertain_equilibrium(LINE, p, linear(), n, scalarisation)
    assert found.residual < 1e-12
    assert 0 < found.precision[1] < 1e-8 * found.precision[0]
    worth = (lambda look, x: look[0] ** 2 + look[1] ** 2) if scalarisation is trace else None
    worth = worth or (lambda look, x: look[0] * x[0] + look[1] * x[1])
    with workdps(40):
        gain = exact_gain(found.precision, n, p / p.sum(), worth)
    np.testing.assert_allclose([float(g) for g in gain], n * p, rtol=1e-9)


def test_four_hundred_owners_of_linear_cost():
    """τ² n p (1 − g) = 2 Σ_j C(n, j) p^n · 2/j over draws without one of the ends, g → 1/2."""
    n = 400
    found = uncertain_equilibrium(LINE, THIRDS, linear(), n)
    draws = sum(math.comb(n, j) * Fraction(4, j) for j in range(1, n)) / Fraction(3) ** n
    by_hand = math.sqrt(float(draws * 10**200) / (n / 6)) * 1e-100
    assert found.precision[1] == pytest.approx(by_hand, rel=5 / n)
    assert found.estimation_cost == pytest.approx(math.sqrt(2), rel=2 / n)


def potential(x, p, n, power, seen):
    """Φ as a function of log λ, over ordered draws, by pseudo-inverses; `seen` is a direction."""

    def value(log):
        tau = np.exp(log)
        total = n * (np.asarray(p) @ tau**power)
        for chance, who in lotteries(n, p):
            M = information(x, tau, who)
            if np.linalg.matrix_rank(np.column_stack([M, seen])) == np.linalg.matrix_rank(M):
                total += chance * (seen @ np.linalg.pinv(M) @ seen)
        return total

    return value


@pytest.mark.parametrize("power", [1, 2])
def test_a_direction_may_be_seen_where_not_all_is(power):
    """All four in the middle measure the constant, though nobody knows the slope."""
    n, p, seen = 4, [0.3, 0.5, 0.2], np.array([1.0, 0.0])
    found = uncertain_equilibrium(LINE, p, monomial(power), n, direction(seen))
    assert found.excluded == pytest.approx(p[0] ** n + p[2] ** n)
    value = potential(LINE, p, n, power, seen)
    start = np.log(found.precision)
    best = minimize(value, start + 0.3, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 0})
    assert value(start) <= best.fun * (1 + 1e-12)
    np.testing.assert_allclose(start, best.x, atol=1e-5)


def test_a_type_that_says_nothing_of_the_direction_is_idle():
    """The two other types need each other, and nobody needs the third; nor one who sees nothing."""
    x = np.array([[1.0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    for cost in (linear(), monomial(2), monomial(5)):
        found = uncertain_equilibrium(x, [1, 1, 1, 1], cost, 6, direction([0.0, 1.0, 0.0]))
        assert found.residual < 1e-8
        assert found.precision[:2].min() > 0 == found.precision[2:].max()
        assert found.excluded == pytest.approx(2 * 0.75**6 - 0.5**6)  # one of two is missing


def test_idle_where_no_draw_of_the_sample_needs_them():
    found = uncertain_equilibrium(LINE, THIRDS, linear(), 5000, draws=500)
    assert found.residual < 1e-8
    assert found.precision[1] == 0 < found.precision[0]
    assert found.estimation_cost == pytest.approx(math.sqrt(2), rel=1e-3)


@pytest.mark.parametrize("n", [20, 120, 240])
def test_a_bad_instrument_for_when_there_is_no_other(n):
    """Linear cost, x = 1 and x = .1: the second work for draws of chance 10⁻ⁿ, by hand.

    With all owners of the second type V = 1/(n τ x²); in all other draws it is worth x² V² = .01.
    """
    found = uncertain_equilibrium([1, 0.1], [0.9, 0.1], linear(), n)
    by_hand = math.sqrt(10.0**-n / (n**2 * 0.1 * 0.01 * 0.99))
    assert found.residual < 1e-12
    assert found.precision[1] == pytest.approx(by_hand, rel=1 / n)


@pytest.mark.parametrize("n", [260, 300, 400])
def test_draws_that_leave_the_doubles_are_left_out(n):
    found = uncertain_equilibrium([1, 0.1], [0.9, 0.1], linear(), n)
    assert found.precision[1] == 0
    assert found.excluded < 1e-249
    assert found.estimation_cost == pytest.approx(1, rel=1e-2)
    assert found.residual < 1e-12


def test_the_gain_of_who_is_idle_is_a_limit():
    """Also in draws that see the direction and nothing else, where M is singular."""
    x = [[1, 0.3], [0.2, 1], [1, 1], [1, 2.0]]
    lottery, _, _ = uncertain._lottery(x, [1, 2, 1, 1], linear(), 3, direction(x[0]), 10, 0)
    kept = lottery.spans(np.array([True, True, False, True]))[1]
    lottery = replace(lottery, counts=lottery.counts[kept], chance=lottery.chance[kept], known={})
    tau = np.array([1, 0.5, 0, 0.7])
    near = tau + np.array([0, 0, 1e-9, 0])
    idle, almost = (lottery.derivatives(t)[0] for t in (tau, near))
    assert idle[2] == pytest.approx(almost[2] / 1e-9, rel=1e-6)
    np.testing.assert_allclose(idle[[0, 1, 3]], almost[[0, 1, 3]], rtol=1e-6)


@pytest.mark.parametrize("scalarisation", [trace, log_det, direction([1.0, 2])])
def test_second_derivatives_are_differences_of_first(scalarisation):
    """In log λ: the gain λ_a g_a changes by −λ_a λ_b ∂²F, and by itself where a = b."""
    lottery, _, _ = uncertain._lottery(LINE, [1, 2, 1], linear(), 4, scalarisation, 10, 0)
    tau, step = np.array([1, 0.5, 0.7]), 1e-5
    gain, bend = lottery.derivatives(tau)
    moves = step * np.eye(3)
    rise = [lottery.derivatives(tau * np.exp(m))[0] for m in (*moves, *-moves)]
    slope = (np.array(rise[:3]) - rise[3:]) / (2 * step)
    np.testing.assert_allclose(np.diag(gain) - slope, bend, rtol=1e-7, atol=1e-8)
    here, there = (
        lottery.potential(tau * np.exp(m)) - lottery.effort(tau * np.exp(m))
        for m in (moves[0], -moves[0])
    )
    assert (there - here) / (2 * step) == pytest.approx(gain[0], rel=1e-7)


def test_units_do_not_matter():
    """A slope per gram or per ton: the same draws have finite F."""
    x = LINE * [1, 1e8]
    seen = [uncertain_equilibrium(a, THIRDS, monomial(2), 8, log_det) for a in (LINE, x)]
    assert seen[0].excluded == seen[1].excluded
    np.testing.assert_allclose(seen[0].precision, seen[1].precision, rtol=1e-9)
    shift = (1 - seen[0].excluded) * 2 * math.log(1e8)
    assert seen[0].estimation_cost - seen[1].estimation_cost == pytest.approx(shift)


def test_random_games_have_an_equilibrium():
    """One owner's best reply over a grid is what she does, whatever the law, the cost and F."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        d = int(rng.integers(1, 4))
        m, n = int(rng.integers(d, 5)), int(rng.integers(d, 6))
        x, p = rng.normal(size=(m, d)), rng.dirichlet(np.ones(m))
        power = rng.choice([1, 1.2, 2, 4])
        found = uncertain_equilibrium(x, p, monomial(power), n)
        assert found.residual < 1e-8
        own = int(rng.integers(m))
        others = [
            (chance, information(x, found.precision, who) if n > 1 else np.zeros((d, d)))
            for chance, who in lotteries(n - 1, p)
            if np.linalg.matrix_rank(x[[own, *who]]) == d
        ]

        def suffers(t, others=others, x=x, own=own, power=power):
            mine = t * np.outer(x[own], x[own])
            return t**power + sum(q * np.trace(np.linalg.inv(M + mine)) for q, M in others)

        now = found.precision[own]
        grid = now * np.geomspace(0.2, 5, 21)
        assert min(map(suffers, grid)) >= suffers(now) * (1 - 1e-12)


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
