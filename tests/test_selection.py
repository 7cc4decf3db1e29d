"""Selection under differential variance: published model, independent values, theorems, tables."""

import itertools
import sys

import mpmath
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from alphafair.models import selection as selection_module
from alphafair.models.selection import (
    Candidates,
    Population,
    bayes_optimal,
    demographic_parity,
    equal_rate_budget,
    estimate_population,
    exam_scores,
    gamma_rule,
    group_oblivious,
    loss_bound,
    quotas,
    select,
    simulate,
    two_stage,
    with_rates,
)
from alphafair.models.selection.stages import both_above

BASELINES = (group_oblivious, bayes_optimal)
# Thresholds are found to neighbouring doubles; what follows is a few dozen roundings of numbers of
# order 1, and Φ⁻¹ loses a digit or two in the tails.
SHARP = 1e-12
# Signs and orders of two such numbers: below this they are equal.
TIE = 1e-13

A = Population([0.4, 0.6], noise=[2.0, 0.5])
B = Population([0.5, 0.5], [1.0, 0.8], [1.2, 1.0], [0.3, 0.0], [1.5, 0.4])
C = Population([0.3, 0.7], noise=[1.0, 0.2])

# Rates and utilities of the model of arXiv:2006.13699 and arXiv:2112.05630, computed apart from
# this package (root finding in another program; each utility again by mpmath quadrature over W and
# by Monte Carlo, within 3 standard errors).  The papers print no such numbers.
VALUES = [
    (A, 0.2, group_oblivious, 0.0, [0.29299256536636076, 0.13800495642242616], 0.8990642702039321),
    (A, 0.2, bayes_optimal, 0.0, [0.10368404517587132, 0.26421063654942023], 1.0387178539211246),
    (A, 0.2, group_oblivious, 0.8, [0.2272727272727273, 0.18181818181818182], 0.9783198708374646),
    (A, 0.2, bayes_optimal, 0.8, [0.1739130434782609, 0.21739130434782608], 1.0187168537372389),
    (B, 0.1, group_oblivious, 0.0, [0.1562379623544885, 0.043762037645511544], 2.2843348118474034),
    (B, 0.1, bayes_optimal, 0.0, [0.09694367598444298, 0.10305632401555709], 2.3727512024537103),
    (B, 0.1, group_oblivious, 0.8, [0.11111111111111112, 0.08888888888888889], 2.3679421762583797),
    (B, 0.1, bayes_optimal, 0.8, [0.09694367598444298, 0.10305632401555703], 2.37275120245371),
    (C, 0.7, group_oblivious, 0.0, [0.6604732847867117, 0.716940020805695], 0.44280142953797375),
    (C, 0.7, bayes_optimal, 0.0, [0.7434319475460968, 0.68138630819453], 0.4476508530841314),
    (C, 0.7, group_oblivious, 0.8, [0.6604732847867117, 0.7169400208056949], 0.44280142953797386),
    (C, 0.7, bayes_optimal, 0.8, [0.7434319475460968, 0.6813863081945299], 0.4476508530841314),
]
IDS = [f"{'ABC'[j // 4]}-{row[2].__name__}-{row[3]}" for j, row in enumerate(VALUES)]
# The same for two stages, α₁ = 0.3 and α₂ = 0.1, population A.
STAGES = [
    (
        group_oblivious,
        [0.36995525288634634, 0.2533631647424358],
        1.6936337730063558,
        1.171585716273033,
        [0.08127534533788329, 0.11248310310807778],
    ),
    (
        demographic_parity,
        [0.3, 0.3],
        1.6805413538588037,
        1.160142571313896,
        [0.07287768382921192, 0.11808154411385872],
    ),
]


def random_population(rng, groups=2, common=True):
    noise = 10 ** rng.uniform(-1.5, 1, groups)
    fraction = rng.dirichlet(np.full(groups, 2.0))
    if common:
        return Population(fraction, rng.normal(), 10 ** rng.uniform(-0.5, 0.5), noise=noise)
    spread = 10 ** rng.uniform(-0.5, 0.5, groups)
    mean, bias = rng.normal(0, 0.7, groups), rng.normal(0, 0.5, groups)
    return Population(fraction, mean, spread, bias, noise)


def utility_by_quadrature(selection):
    """(1/α) Σ p ∫ E[W | Ŵ = y] density(y) dy above each threshold, by 30 digits."""
    total = mpmath.mpf(0)
    population = selection.population
    columns = ("fraction", "mean", "spread", "bias", "noise")
    rows = zip(*(getattr(population, name) for name in columns), selection.rates, strict=True)
    with mpmath.workdps(30):
        for p, mu, eta, beta, sigma, x in (map(mpmath.mpf, map(float, row)) for row in rows):
            s = mpmath.sqrt(eta**2 + sigma**2)
            z = mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * x)
            center, rho2 = mu - beta, eta**2 / s**2

            def integrand(y, mu=mu, beta=beta, rho2=rho2, center=center, s=s):
                return (rho2 * (y + beta) + (1 - rho2) * mu) * mpmath.npdf(y, center, s)

            total += p * mpmath.quad(integrand, [center + s * z, center + s * (z + 2), mpmath.inf])
        return total / selection.budget


# --- values ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("population", "budget", "policy", "gamma", "rates", "utility"), VALUES, ids=IDS
)
def test_values(population, budget, policy, gamma, rates, utility):
    result = gamma_rule(policy(population, budget), gamma)
    np.testing.assert_allclose(result.rates, rates, rtol=0, atol=SHARP)
    assert result.utility == pytest.approx(utility, abs=SHARP)


@pytest.mark.parametrize(("policy", "first", "utility", "threshold", "rates"), STAGES)
def test_values_of_two_stages(policy, first, utility, threshold, rates):
    result = two_stage(policy(A, 0.3), 0.1)
    np.testing.assert_allclose(result.selection.rates, first, rtol=0, atol=SHARP)
    np.testing.assert_allclose(result.rates, rates, rtol=0, atol=SHARP)
    assert result.utility == pytest.approx(utility, abs=SHARP)
    assert result.threshold == pytest.approx(threshold, abs=SHARP)


def test_by_hand():
    """Equal noise: parity is everything, and half of N(0, 1) above its median has mean √(2/π)."""
    population = Population([0.25, 0.75], mean=3.0, noise=0.0)
    for policy in (*BASELINES, demographic_parity):
        result = policy(population, 0.5)
        np.testing.assert_allclose(result.rates, 0.5, rtol=0, atol=TIE)
        np.testing.assert_allclose(result.thresholds, 3.0, rtol=0, atol=SHARP)
        assert result.utility == pytest.approx(3 + np.sqrt(2 / np.pi), abs=SHARP)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("policy", BASELINES)
def test_utility_equals_quadrature(seed, policy):
    rng = np.random.default_rng(seed)
    population = random_population(rng, 3, common=False)
    result = gamma_rule(policy(population, rng.uniform(0.01, 0.99)), 0.3)
    assert abs(result.utility - utility_by_quadrature(result)) < SHARP


# --- thresholds -----------------------------------------------------------------------------------
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(1e-6, 1 - 1e-6))
def test_one_threshold_meets_the_budget(seed, groups, budget):
    population = random_population(np.random.default_rng(seed), groups, common=False)
    seen, best = group_oblivious(population, budget), bayes_optimal(population, budget)
    for result in (seen, best):
        assert population.fraction @ result.rates == pytest.approx(budget, rel=SHARP)
        assert ((result.rates >= 0) & (result.rates <= 1)).all()
    np.testing.assert_allclose(seen.thresholds, seen.thresholds[0], rtol=0, atol=1e-11)
    trust = (population.spread / population.observed_spread) ** 2
    corrected = trust * (best.thresholds + population.bias) + (1 - trust) * population.mean
    # The scores of groups that are all selected are 1 − 1e−16: shrunk back, 1e−11 at most.
    np.testing.assert_allclose(corrected, corrected[0], rtol=0, atol=1e-11)


@given(st.integers(0, 10**6), st.floats(0.01, 0.99), st.floats(0.1, 10), st.floats(-5, 5))
def test_units_do_not_matter(seed, budget, unit, shift):
    p = random_population(np.random.default_rng(seed), 3, common=False)
    q = Population(
        p.fraction, shift + unit * p.mean, unit * p.spread, unit * p.bias, unit * p.noise
    )
    for policy in BASELINES:
        before, after = policy(p, budget), policy(q, budget)
        np.testing.assert_allclose(after.rates, before.rates, rtol=0, atol=1e-11)  # shifted c/s
        assert after.utility == pytest.approx(shift + unit * before.utility, abs=1e-10)


@settings(max_examples=30)  # two searches of 20 ms each
@given(st.integers(0, 10**6), st.permutations(range(4)), st.sampled_from(BASELINES))
def test_the_order_of_groups_does_not_matter(seed, order, policy):
    p = random_population(np.random.default_rng(seed), 4, common=False)
    columns = (p.fraction, p.mean, p.spread, p.bias, p.noise)
    q = Population(*(column[list(order)] for column in columns))
    before, after = (gamma_rule(policy(x, 0.3), 0.7) for x in (p, q))
    np.testing.assert_allclose(after.rates, before.rates[list(order)], rtol=0, atol=1e-11)


@pytest.mark.parametrize("noise", [[0.0, 0.0], [0.0, 1e199], [1e9, 1.0], [1e-200, 1.0]])
@pytest.mark.parametrize("budget", [1e-300, 1e-12, 0.4, 0.5, 1 - 1e-12])
def test_extremes(noise, budget):
    population = Population([0.5, 0.5], mean=3.0, noise=noise)
    for policy in BASELINES:
        for result in (policy(population, budget), gamma_rule(policy(population, budget))):
            assert population.fraction @ result.rates == pytest.approx(budget, rel=SHARP)
            assert np.isfinite(result.utility)
            assert not np.isnan(result.thresholds).any()


def test_scores_that_say_nothing_are_chosen_by_lot():
    """With s̃ = 1e−199 no double is between "all" and "none" of the group: it takes what is left."""
    population = Population([0.5, 0.5], mean=3.0, noise=[0.0, 1e199])
    np.testing.assert_allclose(bayes_optimal(population, 0.4).rates, [0.5, 0.3], atol=TIE)


# --- theorems on 3000 random instances ------------------------------------------------------------
def test_theorems_with_a_common_prior():
    rng = np.random.default_rng(20)
    for _ in range(3000):
        population = random_population(rng)
        alpha, gamma = rng.uniform(0.01, 0.99), rng.uniform()
        seen, best = group_oblivious(population, alpha), bayes_optimal(population, alpha)
        noisier = np.argmax(population.noise)
        few = alpha < 0.5
        assert (seen.rates[noisier] > seen.rates[1 - noisier]) == few
        assert (best.rates[noisier] < best.rates[1 - noisier]) == few
        parity = demographic_parity(population, alpha)
        order = (seen, gamma_rule(seen, gamma), parity, gamma_rule(best, gamma), best)
        utility = np.array([each.utility for each in order])
        assert (np.diff(utility) >= -TIE * np.abs(utility).max()).all()
        mean = population.mean[0]
        kept = (utility - mean) / (best.utility - mean)
        assert kept[2] >= loss_bound(population) - 1e-12
        assert kept[3] >= loss_bound(population) - 1e-12
        if alpha <= gamma / (1 + gamma):
            assert kept[1] >= loss_bound(population, gamma) - 1e-12


def test_equal_rate_budget_with_general_priors():
    rng = np.random.default_rng(21)
    sides = set()
    for _ in range(400):
        population = random_population(rng, common=False)
        for policy in BASELINES:
            star = equal_rate_budget(population, policy)
            spread = policy(population, 0.5).belief.spread
            wider = np.argmax(spread)
            alpha = rng.uniform(0.001, 0.999)
            rates = policy(population, alpha).rates
            assert (rates[wider] > rates[1 - wider]) == (alpha < star)
            sides.add((policy, alpha < star))
            if 0.01 < star < 0.99:  # beyond, the difference of the rates is lost in rounding
                np.testing.assert_allclose(policy(population, star).rates, star, rtol=1e-10)
    assert len(sides) == 4


def test_the_rule_with_group_dependent_priors_and_bias():
    """Parity often lowers what the oblivious find (how often depends on the draw); here never.

    If the group with the larger ŝ has the smaller s̃, and the budget is below (or above) both
    budgets of equal rates, the two baselines stand on opposite sides of parity.
    """
    rng, hurt, sure = np.random.default_rng(6), [], 0
    for _ in range(400):
        share, (mean, bias) = rng.uniform(0.1, 0.9), rng.normal(size=(2, 2)) * [[0.5], [0.3]]
        spread, noise = rng.uniform(0.3, 2, 2), rng.uniform(0.1, 2, 2)
        population = Population([share, 1 - share], mean, spread, bias, noise)
        budget = rng.uniform(0.02, 0.98)
        plain = group_oblivious(population, budget)
        hurt.append(demographic_parity(population, budget).utility < plain.utility)
        stars = [equal_rate_budget(population, policy) for policy in BASELINES]
        orders = np.diff(population.observed_spread) * np.diff(population.posterior_spread)
        if orders[0] < 0 and (budget < min(stars) or budget > max(stars)):
            sure += 1
            way = [gamma_rule(plain, gamma).utility for gamma in (0, 0.3, 0.6, 0.8, 1)]
            assert (np.diff(way) > -SHARP).all()
    assert sure > 40
    assert np.mean(hurt) > 0.3


def test_equal_rate_budget_where_there_is_none():
    assert equal_rate_budget(A) == 0.5
    assert equal_rate_budget(A, bayes_optimal) == 0.5
    ahead = Population([0.4, 0.6], mean=[1.0, 0.0], noise=1.0)
    for policy in BASELINES:
        assert equal_rate_budget(ahead, policy) is None
        for budget in (0.01, 0.5, 0.99):
            rates = policy(ahead, budget).rates
            assert rates[0] > rates[1]


def test_the_loss_bound_is_reached_in_the_limit():
    """α → 0 with one group exact and the other pure noise: only the exact one is of use."""
    population = Population([0.7, 0.3], noise=[1e6, 0.0])
    ratio = demographic_parity(population, 1e-9).utility / bayes_optimal(population, 1e-9).utility
    assert loss_bound(population) < ratio < loss_bound(population) * 1.1


def test_the_case_of_parity_does_not_cover_the_oblivious():
    """The γ-fair group-oblivious selection can lose more than parity: a bound needs γ."""
    population = Population([0.65, 0.35], noise=[3.4, 0.3])
    best, fair = (policy(population, 0.83) for policy in (bayes_optimal, group_oblivious))
    assert gamma_rule(fair, 0.07).utility / best.utility < loss_bound(population)


# --- the γ-rule -----------------------------------------------------------------------------------
def violation(rates, gamma):
    return gamma * rates.max() - rates.min()


def frank_wolfe_gap(result, gamma):
    """An upper bound on what any rates that obey the rule could add to the believed total.

    The total is concave, so it is below its tangent; the tangent is largest at a corner of the
    rule, where each group is at the top or at the bottom of the band.
    """
    p, c, s = result.population.fraction, *result.belief
    slope = p * (c - s * ndtri(result.rates))
    levels = np.array(list(itertools.product([1.0, gamma], repeat=p.size)))
    corners = levels * (result.budget / (levels @ p))[:, None]
    return float((corners @ slope).max() - slope @ result.rates)


@pytest.mark.parametrize("policy", [*BASELINES, demographic_parity])
def test_many_groups_certified(policy):
    rng = np.random.default_rng(3)
    searched = 0
    for _ in range(40):
        population = random_population(rng, int(rng.integers(3, 7)), common=False)
        budget, gamma = rng.uniform(0.01, 0.45), rng.uniform(0.05, 1)
        baseline = policy(population, budget)
        result = gamma_rule(baseline, gamma)
        if result.rates.max() > 1 - 1e-6:  # Φ⁻¹ of a rate next to 1 has no digits left to certify
            continue
        searched += result is not baseline
        assert population.fraction @ result.rates == pytest.approx(budget, rel=SHARP)
        assert violation(result.rates, gamma) <= TIE
        assert frank_wolfe_gap(result, gamma) <= SHARP * 10  # slopes of order 10
    assert searched > 25 or policy is demographic_parity


@pytest.mark.parametrize("seed", range(4))
def test_many_groups_against_a_solver(seed):
    rng = np.random.default_rng(seed)
    population = random_population(rng, 4, common=False)
    budget, gamma = rng.uniform(0.05, 0.4), 0.8
    ours = gamma_rule(bayes_optimal(population, budget), gamma)
    p = population.fraction

    def loss(x):
        return -with_rates(population, x * (budget / (p @ x))).utility

    pairs = itertools.permutations(range(4), 2)
    rule = [{"type": "ineq", "fun": lambda x, g=g, h=h: x[g] - gamma * x[h]} for g, h in pairs]
    meets = {"type": "eq", "fun": lambda x: p @ x - budget}
    found = minimize(
        loss,
        np.full(4, budget),
        method="SLSQP",
        bounds=[(1e-6, 1 - 1e-6)] * 4,
        constraints=[*rule, meets],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    # SLSQP differentiates by finite differences: rates to about 1e−5, utility (flat) to its square.
    np.testing.assert_allclose(found.x, ours.rates, rtol=0, atol=1e-4)
    assert -found.fun <= ours.utility + 1e-8
    assert ours.utility == pytest.approx(-found.fun, abs=1e-7)


@given(st.integers(0, 10**6), st.floats(0.02, 0.5), st.floats(0.05, 1), st.sampled_from(BASELINES))
def test_two_groups_and_their_halves(seed, budget, gamma, policy):
    """Each group cut into two equal ones: the search must find the clip of the two groups."""
    two = random_population(np.random.default_rng(seed))
    halves = [
        np.repeat(x, 2) for x in (two.fraction / 2, two.mean, two.spread, two.bias, two.noise)
    ]
    clip, search = (gamma_rule(policy(x, budget), gamma) for x in (two, Population(*halves)))
    p, x = two.fraction, policy(two, budget).rates[0]
    low = gamma * budget / (gamma * p[0] + p[1])
    high = budget / (p[0] + gamma * p[1])
    assert clip.rates[0] == pytest.approx(min(max(x, low), high), abs=TIE)
    np.testing.assert_allclose(search.rates, np.repeat(clip.rates, 2), rtol=0, atol=SHARP)


def test_gamma_at_its_ends_and_twice():
    population = random_population(np.random.default_rng(0), 4, common=False)
    for policy in BASELINES:
        baseline = policy(population, 0.2)
        assert gamma_rule(baseline, 0) is baseline
        np.testing.assert_allclose(gamma_rule(baseline, 1).rates, 0.2, rtol=0, atol=TIE)
        near = gamma_rule(baseline, 1 - 1e-9).rates
        np.testing.assert_allclose(near, 0.2, rtol=0, atol=1e-9)
        strict = gamma_rule(baseline, 0.9)
        assert gamma_rule(strict, 0.8) is strict
        twice = gamma_rule(gamma_rule(baseline, 0.5), 0.9)
        np.testing.assert_allclose(twice.rates, strict.rates, rtol=0, atol=TIE)


def test_given_rates():
    result = with_rates(B, [0.3, 0.1])
    assert result.budget == 0.2
    assert result.utility == pytest.approx(float(utility_by_quadrature(result)), abs=SHARP)
    everybody = with_rates(A, [0.5, 0.0])
    assert everybody.thresholds[1] == np.inf
    assert everybody.utility == pytest.approx(A.posterior_spread[0] * np.sqrt(2 / np.pi), abs=SHARP)
    fair = gamma_rule(everybody, 0.5)
    assert fair.rates[1] == pytest.approx(0.5 * fair.rates[0], abs=TIE)
    three = gamma_rule(with_rates(Population([0.2, 0.3, 0.5]), [1.0, 0.0, 0.2]), 0.5)
    assert violation(three.rates, 0.5) <= TIE
    assert three.population.fraction @ three.rates == pytest.approx(0.3, rel=SHARP)


# --- two stages -----------------------------------------------------------------------------------
def test_both_above_against_scipy():
    rng = np.random.default_rng(4)
    h, k, angle = rng.normal(0, 1.5, 40), rng.normal(0, 1.5, 40), rng.uniform(0.01, 1.56, 40)
    h[:3], k[2:5] = 0.0, 0.0
    rho, r = np.cos(angle), np.sin(angle)
    got = both_above(h, k, rho, r)
    cdf = [
        multivariate_normal.cdf([-a, -b], cov=[[1, c], [c, 1]])
        for a, b, c in zip(h, k, rho, strict=True)
    ]
    np.testing.assert_allclose(got, cdf, rtol=0, atol=1e-10)  # SciPy's own accuracy


def test_two_stages_by_quadrature():
    """∫ φ((w − μ)/η)/η Φ((w − β − θ)/σ) dw above t, and the same with a factor w."""
    result = two_stage(group_oblivious(B, 0.3), 0.1)
    total = mass = 0.0
    for g in range(2):
        p, mu, eta, beta, sigma = (
            float(getattr(B, name)[g]) for name in ("fraction", "mean", "spread", "bias", "noise")
        )
        theta = float(result.selection.thresholds[g])

        def density(w, mu=mu, eta=eta, beta=beta, sigma=sigma, theta=theta):
            return mpmath.npdf(w, mu, eta) * mpmath.ncdf((w - beta - theta) / sigma)

        ends = [result.threshold, result.threshold + 2, mpmath.inf]
        mass += p * mpmath.quad(density, ends)
        total += p * mpmath.quad(lambda w, f=density: w * f(w), ends)
    assert abs(mass - 0.1) < SHARP
    assert abs(total / 0.1 - result.utility) < SHARP * 10


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_two_stages_without_noise_are_one(noise):
    population = Population([0.3, 0.7], noise=noise)
    result = two_stage(group_oblivious(population, 0.3), 0.1)
    assert result.utility == pytest.approx(group_oblivious(population, 0.1).utility, abs=SHARP)


@example(0, 0.9, 0.95)  # nearly all: the last threshold is below the means
@given(st.integers(0, 10**6), st.floats(0.02, 0.9), st.floats(0.01, 0.99))
def test_a_second_stage_helps(seed, first, part):
    population = random_population(np.random.default_rng(seed), 3, common=False)
    for policy in BASELINES:
        result = two_stage(policy(population, first), first * part)
        assert population.fraction @ result.rates == pytest.approx(first * part, rel=1e-9)
        assert result.utility >= result.selection.utility - SHARP
        assert (result.rates <= result.selection.rates + TIE).all()


def test_parity_first_can_harm_the_final_set():
    """In population A it does, though it helps the first stage itself (Monte Carlo agrees)."""
    seen, parity = group_oblivious(A, 0.3), demographic_parity(A, 0.3)
    assert parity.utility > seen.utility + 0.03
    assert two_stage(seen, 0.1).utility > two_stage(parity, 0.1).utility + 0.01


# --- finitely many candidates ---------------------------------------------------------------------
@pytest.mark.parametrize("population", [A, B, C])
@pytest.mark.parametrize("policy", BASELINES)
def test_simulation_within_three_standard_errors(population, policy):
    result = gamma_rule(policy(population, 0.2), 0.5)
    run = simulate(result, candidates=20_000, runs=60, seed=5)
    quality = run.quality
    assert abs(quality.mean - result.utility) < 3 * quality.standard_error
    assert quality.standard_error < 0.005
    assert (run.selected.sum(axis=1) == 4000).all()
    assert (run.size.sum(axis=1) == 20_000).all()
    rates = run.selected.sum(axis=0) / run.size.sum(axis=0)
    np.testing.assert_allclose(rates, result.rates, rtol=0, atol=2e-3)
    low, high = quality.interval
    assert low < quality.mean < high


def test_simulation_repeats_itself():
    chosen = bayes_optimal(A, 0.2)
    first, again, other = (simulate(chosen, 100, 5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.quality.values, again.quality.values)
    assert (first.quality.values != other.quality.values).any()
    assert simulate(chosen, 100, 1).quality.interval == (-np.inf, np.inf)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 50)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_quotas(groups, part):
    rates, size = (np.array(column) for column in zip(*groups, strict=True))
    total = int(part * size.sum())
    if rates @ size < 1e-6:
        return
    q = quotas(rates, size, total)
    assert q.sum() == total
    assert ((q >= 0) & (q <= size)).all()
    scaled = rates * size * (total / (rates @ size))
    if (scaled <= size).all():
        assert np.abs(q - scaled).max() <= 1 + 1e-6


# --- tables ---------------------------------------------------------------------------------------
def exam():
    return exam_scores(5000, seed=7)


def test_exam_scores():
    table = exam_scores(200_000, seed=3)
    assert isinstance(table, Candidates)
    error = table.score - table.quality
    for label, part in (("few", 0.4), ("many", 0.6)):
        mine = table.group == label
        # Three standard errors at 80 000 candidates are below 0.4 % and 1.1 % each.
        assert mine.mean() == pytest.approx(part, abs=0.004)
        assert table.quality[mine].mean() == pytest.approx(500, abs=1.2)
        assert table.quality[mine].std() == pytest.approx(100, rel=0.01)
        assert error[mine].var() == pytest.approx(table.noise_variance[mine].mean(), rel=0.025)
    np.testing.assert_array_equal(exam_scores(50, 1).score, exam_scores(50, 1).score)


def test_estimated_population():
    table = exam_scores(200_000, seed=3)
    population = estimate_population(*table[:3])
    assert population.labels == ("few", "many")
    np.testing.assert_allclose(population.spread, 100, rtol=0.03)
    np.testing.assert_allclose(population.mean, 500, rtol=0.005)
    # By hand: scores 0, 2, 4 vary by 4; a noise variance of 1 leaves 3.
    small = estimate_population([0, 2, 4, 1, 3], list("aaabb"), 1.0)
    np.testing.assert_allclose(small.spread, np.sqrt([3, 1]))
    np.testing.assert_allclose(small.mean, 2.0)


def test_select_by_hand():
    score, group = [10.0, 9.0, 1.0, 8.0, 7.0, 2.0], list("aaabbb")
    prior = Population([0.5, 0.5], 5.0, 1.0, noise=[3.0, 0.0], labels=["a", "b"])
    top = select(score, group, budget=1 / 3, policy=group_oblivious)
    assert top.tolist() == [True, True, False, False, False, False]
    shrunk = select(score, group, budget=1 / 3, prior=prior)  # a: 5.5, 5.4, 4.6
    assert shrunk.tolist() == [False, False, False, True, True, False]
    equal = select(score, group, budget=1 / 3, prior=prior, policy=demographic_parity)
    assert equal.tolist() == [True, False, False, True, False, False]
    ruled = select(score, group, budget=1 / 3, prior=prior, gamma=0.8)
    assert ruled.tolist() == equal.tolist()
    low = Population([0.5, 0.5], 5.0, 1.0, [50.0, 0], [3.0, 0.0], labels=["a", "b"])
    assert select(score, group, budget=1 / 3, prior=low).tolist() == top.tolist()
    ties = select([1.0, 1, 1, 1], list("abab"), budget=0.5, policy=group_oblivious)
    assert ties.tolist() == [True, True, False, False]


def test_each_candidate_has_a_noise_of_its_own():
    """Two equal scores in one group: the better measured one is trusted more, up or down."""
    prior = Population([1.0], 0.0, 1.0, labels=["a"])
    chosen = select(
        [2.0, 2.0, -2.0, -2.0], ["a"] * 4, [9.0, 0.0, 0.0, 9.0], budget=0.75, prior=prior
    )
    assert chosen.tolist() == [True, True, False, True]
    chosen = select(
        [2.0, 2.0, -2.0, -2.0], ["a"] * 4, [9.0, 0.0, 0.0, 9.0], budget=0.25, prior=prior
    )
    assert chosen.tolist() == [False, True, False, False]


@pytest.mark.parametrize("policy", [*BASELINES, demographic_parity])
def test_a_large_table_agrees_with_the_theory(policy):
    """Constant noise in each group makes the model's assumptions true."""
    rng = np.random.default_rng(8)
    n = 200_000
    code = (rng.random(n) < B.fraction[1]).astype(int)
    quality = B.mean[code] + B.spread[code] * rng.standard_normal(n)
    score = quality - B.bias[code] + B.noise[code] * rng.standard_normal(n)
    for gamma in (0.0, 0.8):
        theory = gamma_rule(policy(B, 0.1), gamma)
        chosen = select(
            score, code, B.noise[code] ** 2, budget=0.1, policy=policy, gamma=gamma, prior=B
        )
        rates = [chosen[code == g].mean() for g in range(2)]
        # A rate of 0.1 of 100 000 candidates has a standard error of 1e−3.
        np.testing.assert_allclose(rates, theory.rates, rtol=0, atol=3e-3)
        # 20 000 of standard deviation ≤ 1.2: standard error 0.008.
        assert quality[chosen].mean() == pytest.approx(theory.utility, abs=0.025)


@pytest.mark.parametrize("groups", [2, 3, 5])
@pytest.mark.parametrize("policy", BASELINES)
def test_the_rule_in_a_table_up_to_one_candidate(groups, policy):
    rng = np.random.default_rng(9)
    code = rng.integers(0, groups, 3000)
    noise = np.linspace(0.1, 3, groups)[code]
    score = rng.normal(size=3000) * np.hypot(1, noise)
    chosen = select(score, code, noise**2, budget=0.15, policy=policy, gamma=0.8)
    size, count = np.bincount(code), np.bincount(code[chosen], minlength=groups)
    assert count.sum() == 450
    assert ((count + 1) / size).min() >= 0.8 * ((count - 1) / size).max()
    for g in range(groups):  # the best of each group, in the order of the policy
        mine = code == g
        assert score[mine & chosen].min() >= score[mine & ~chosen].max()
    free = select(score, code, noise**2, budget=0.15, policy=policy)
    before = np.bincount(code[free], minlength=groups) / size
    assert before.min() < 0.8 * before.max()


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_frames(kind):
    table = exam()
    columns = {"score": table.score, "school": table.group, "variance": table.noise_variance}
    make = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[kind]
    frame = make(columns)
    if kind == "pandas":
        frame.index = pd.Index([*range(4999, 0, -1), 1], name="candidate")  # 1 twice
    names = ("score", "school", "variance")
    result = select(*names, budget=0.2, gamma=0.8, data=frame)
    assert type(result) is type(frame)
    expected = select(*table[:3], budget=0.2, gamma=0.8)
    np.testing.assert_array_equal(np.asarray(result["selected"]), expected)
    assert expected.sum() == 1000
    names_after = result.column_names if kind == "pyarrow" else list(result.columns)
    assert names_after == ["score", "school", "variance", "selected"]
    if kind == "pandas":
        assert result.index.equals(frame.index)
        assert "selected" not in frame.columns
    with pytest.raises(ValueError, match=r"'selected' already"):
        select(*names, data=result)


# --- bad input ------------------------------------------------------------------------------------
def population_error(**change):
    arguments = {"fraction": [0.4, 0.6], "mean": 0.0, "spread": 1.0, "bias": 0.0, "noise": 1.0}
    return lambda: Population(**(arguments | change))


def select_error(**change):
    arguments = {"score": [1.0, 2.0, 4.0, 3.0], "group": list("aabb"), "noise_variance": 0.1}
    return lambda: select(**(arguments | {"budget": 0.5} | change))


PRIOR = Population([1.0], labels=["a"])
ERRORS = [
    (population_error(fraction=[0.4, 0.5]), ValueError, r"fraction sums to 0.9: .*divide counts"),
    (population_error(fraction=[1.2, -0.2]), ValueError, r"fraction\[1\] is -0.2: must be > 0"),
    (population_error(fraction=[1.0, 0.0]), ValueError, r"fraction\[1\] is 0.0: .*leave out"),
    (population_error(fraction=[]), ValueError, r"fraction has shape \(0,\)"),
    (population_error(fraction=[np.nan, 1.0]), ValueError, r"fraction\[0\] is nan: must be finite"),
    (population_error(spread=[1.0, 0.0]), ValueError, r"spread\[1\] is 0.0: must be > 0; without"),
    (
        population_error(noise=[1.0, -1.0]),
        ValueError,
        r"noise\[1\] is -1.0: must be ≥ 0; .*not a v",
    ),
    (population_error(noise=[np.inf, 1.0]), ValueError, r"noise\[0\] is inf: must be finite"),
    (population_error(mean=[1.0, 2.0, 3.0]), ValueError, r"mean has shape \(3,\): must be \(2,\)"),
    (population_error(bias="high"), TypeError, r"bias must hold real numbers"),
    (population_error(labels=["a"]), ValueError, r"labels has 1 names: must have 2"),
    (population_error(labels=["a", "a"]), ValueError, r"labels has 'a' twice: join"),
    (lambda: bayes_optimal(A, 0.0), ValueError, r"budget is 0.0: must be above 0 and below 1"),
    (lambda: group_oblivious(A, 1.0), ValueError, r"budget is 1.0: must be above 0 and below 1"),
    (lambda: demographic_parity(A, np.nan), ValueError, r"budget is nan: must be above 0"),
    (lambda: bayes_optimal(A, "all"), TypeError, r"budget must be a number, not str"),
    (lambda: gamma_rule(bayes_optimal(A), 1.1), ValueError, r"gamma is 1.1: must be between 0 and"),
    (lambda: gamma_rule(bayes_optimal(A), np.nan), ValueError, r"gamma is nan: must be between"),
    (lambda: with_rates(A, [0.1, 1.5]), ValueError, r"rates\[1\] is 1.5: must be between 0 and 1"),
    (lambda: with_rates(A, [0.1, 0.1], 0.2), ValueError, r"rates select 0.1 .*multiply them by 2$"),
    (lambda: with_rates(A, [0.0, 0.0]), ValueError, r"budget is 0.0: must be above 0"),
    (
        lambda: equal_rate_budget(Population([1.0])),
        ValueError,
        r"population has 1 groups: must have",
    ),
    (lambda: loss_bound(B), ValueError, r"mean\[1\] is 0.8: must be 1.0, that of group 0"),
    (lambda: loss_bound(A, 2), ValueError, r"gamma is 2.0: must be between 0 and 1"),
    (
        lambda: two_stage(bayes_optimal(A, 0.1), 0.1),
        ValueError,
        r"budget is 0.1: .*below 0.1, what",
    ),
    (lambda: simulate(bayes_optimal(A), 2), ValueError, r"selects nobody: .*have 3 candidates"),
    (lambda: simulate(bayes_optimal(A), 10.5), ValueError, r"candidates is 10.5: must be a whole"),
    (lambda: simulate(bayes_optimal(A), runs=0), ValueError, r"runs is 0.0: must be a whole"),
    (lambda: simulate(bayes_optimal(A), np.inf), ValueError, r"candidates is inf: must be a whole"),
    (lambda: exam_scores(1), ValueError, r"candidates is 1.0: must be a whole number ≥ 2"),
    (lambda: quotas([0.5], [3], 4), ValueError, r"total is 4: must be between 0 and 3"),
    (lambda: quotas([0.0, 1.0], [3, 0], 1), ValueError, r"rates are 0 in every group"),
    (select_error(score=[1.0, np.nan, 2.0, 3.0]), ValueError, r"score\[1\] is nan: must be finite"),
    (select_error(score=[1.0, 2.0]), ValueError, r"score has shape \(2,\): must be \(4,\)"),
    (select_error(score=list("wxyz")), TypeError, r"score must hold real numbers"),
    (select_error(group=["a", "a", None, "b"]), ValueError, r"group\[2\] is None: every person"),
    (
        select_error(noise_variance=[1, 1, -1, 1]),
        ValueError,
        r"noise_variance\[2\] is -1.0: must be",
    ),
    (
        select_error(noise_variance=9.0),
        ValueError,
        r"variance 0.5 in group 'a', no more than .* 9:",
    ),
    (select_error(group=list("abbb")), ValueError, r"group 'a' has one candidate: its spread"),
    (select_error(noise_variance=None), ValueError, r"noise_variance is None and so is prior"),
    (select_error(prior=PRIOR), ValueError, r"prior has no group 'b': every group"),
    (select_error(policy=gamma_rule), ValueError, r"policy is gamma_rule: must be group_oblivious"),
    (select_error(gamma=2), ValueError, r"gamma is 2.0: must be between"),
    (
        select_error(gamma=2, policy=demographic_parity),
        ValueError,
        r"gamma is 2.0: must be between",
    ),
    (select_error(budget=1.5), ValueError, r"budget is 1.5: must be above 0 and below 1"),
    (select_error(budget=0.1), ValueError, r"budget 0.1 of 4 candidates selects nobody"),
    (select_error(data=[1, 2]), TypeError, r"data is of type list: must be a frame in memory"),
    (select_error(data=pl.LazyFrame({"a": [1]})), TypeError, r"LazyFrame: .*collect a lazy one"),
    (
        select_error(data=pl.DataFrame({"a": [1.0]}), score="b"),
        ValueError,
        r"score is 'b': there is no such column; there are \['a'\]",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_population_cannot_be_changed():
    with pytest.raises(AttributeError):
        A.noise = np.zeros(2)
    with pytest.raises(ValueError, match="read-only"):
        A.noise[0] = 0.0
    noise = np.array([1.0, 2.0])
    population = Population([0.5, 0.5], noise=noise)
    noise[0] = 9.0
    assert population.noise[0] == 1.0
    assert repr(population) == "Population(0, 1)"


def test_public_names():
    assert selection_module.__all__ == sorted(selection_module.__all__)
    for name in selection_module.__all__:
        assert getattr(selection_module, name).__doc__, name


@pytest.mark.parametrize("installed", [True, False])
def test_a_short_simulation_is_silent(installed, monkeypatch, capsys):
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert simulate(bayes_optimal(A), 100, 3).quality.values.shape == (3,)
    assert capsys.readouterr() == ("", "")


def test_a_long_simulation_shows_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("alphafair.progress.PATIENCE", 0.0)
    simulate(bayes_optimal(A), 100, 3)
    assert "runs" in capsys.readouterr().err


def test_with_three_groups_more_gamma_may_find_less_quality():
    """U at γ = 0, .36, .5, 1: up, down, up; the oblivious baseline is still the worst."""
    groups = Population([0.5, 0.4, 0.1], noise=[0.0, 5.0, 15.0])
    baseline = group_oblivious(groups, budget=0.01)
    quality = [gamma_rule(baseline, gamma).utility for gamma in (0, 0.36, 0.5, 1)]
    assert quality[0] < quality[2] < quality[1] < quality[3]
    assert quality[1] - quality[2] > 0.1


@pytest.mark.parametrize(
    ("rates", "size", "total", "message"),
    [
        ([np.nan, 0.1], [5, 5], 3, r"rates\[0\] is nan: must be between 0 and 1"),
        ([0.1, 1.1], [5, 5], 3, r"rates\[1\] is 1.1: must be between 0 and 1"),
        ([0.1, 0.1], [5, -5], 0, r"size\[1\] is -5.0: must be a whole number ≥ 0"),
        ([0.1, 0.1], [5, 5.5], 3, r"size\[1\] is 5.5: must be a whole number ≥ 0"),
        ([0.1, 0.1], [5, 5], 2.5, r"total is 2.5: must be a whole number ≥ 0"),
        ([0.1, 0.1], [5, 5, 5], 3, r"rates has shape \(2,\) and size \(3,\): must be \(K,\)"),
    ],
)
def test_quotas_of_what_is_no_share(rates, size, total, message):
    """NaN once became −9.2e18 places."""
    with pytest.raises(ValueError, match=message):
        quotas(rates, size, total)


@pytest.mark.parametrize("policy", [bayes_optimal, group_oblivious])
@pytest.mark.parametrize("budget", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("mean", [1000.0, -1e6, 1e12])
@pytest.mark.parametrize("spread", [1e-4, 1e-10, [1e-10, 3e-10, 2e-10]])
def test_spreads_that_are_tiny_beside_the_mean(policy, budget, mean, spread):
    """A common mean changes no rates; a threshold near 1000 is no finer than 1e−13.

    One group of spread 1e−10 once had the rate ½ at every budget.
    """
    around = {"spread": spread, "noise": [5e-10, 1e-10, 0.0]}
    parts = [0.2, 0.5, 0.3]
    moved, still = (policy(Population(parts, mu, **around), budget) for mu in (mean, 0.0))
    assert np.dot(parts, moved.rates) == pytest.approx(budget, rel=1e-9)
    assert np.allclose(moved.rates, still.rates, rtol=0, atol=1e-9)
    fair = [gamma_rule(selection, 0.8).rates for selection in (moved, still)]
    assert np.allclose(*fair, rtol=0, atol=1e-6)
    alone = policy(Population([1.0], mean, 1e-10, noise=5.0), budget)
    assert alone.rates == pytest.approx([budget], rel=1e-12)
