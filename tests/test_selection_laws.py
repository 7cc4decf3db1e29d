"""Selection with any law of quality: the normal one as known, others by formula, LP, draws."""

import cvxpy as cp
import mpmath
import numpy as np
import pytest
from scipy import stats

from alphafair.models.selection import (
    LatentPopulation,
    Population,
    QualityLaw,
    bayes_optimal,
    demographic_parity,
    gamma_rule,
    group_oblivious,
    parity_helps,
    with_rates,
)

POLICIES = (group_oblivious, bayes_optimal, demographic_parity)
NORMAL = QualityLaw.of(stats.norm())
EXPONENTIAL = QualityLaw.of(stats.expon())
PARETO = QualityLaw.of(stats.pareto(2.5))
FEW_GOOD = QualityLaw([0, 1], [0.95, 0.05])
BETA = QualityLaw.of(stats.beta(2, 5))
LAWS = {
    "normal": NORMAL,
    "exponential": EXPONENTIAL,
    "pareto": PARETO,
    "few good": FEW_GOOD,
    "beta": BETA,
    "sample": QualityLaw(np.random.default_rng(0).gamma(2, size=50)),
}
each_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def two_groups(law, fraction=(0.4, 0.6), noise=(2.0, 0.5)):
    return LatentPopulation(fraction, law, noise=law.spread * np.array(noise))


@pytest.mark.parametrize("budget", [0.05, 0.2, 0.5, 0.7])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.8, 1.0])
def test_the_normal_law_is_the_closed_form(budget, gamma):
    fraction, noise, bias = [0.2, 0.3, 0.5], [2.0, 0.5, 1.0], [0.3, 0.0, -0.1]
    known = Population(fraction, noise=noise, bias=bias)
    ours = LatentPopulation(fraction, NORMAL, noise=noise, bias=bias)
    for policy in POLICIES:
        a, b = (gamma_rule(policy(x, budget), gamma) for x in (known, ours))
        np.testing.assert_allclose(b.rates, a.rates, atol=1e-7)
        np.testing.assert_allclose(b.thresholds, a.thresholds, atol=1e-6)
        assert b.utility == pytest.approx(a.utility, abs=1e-10)


@pytest.mark.parametrize(
    ("law", "budget", "difference"),
    [  # of 1.5 million draws, and by another quadrature (mpmath) below
        (NORMAL, 0.2, 0.1026),
        (PARETO, 0.2, 0.0558),
        (FEW_GOOD, 0.2, -0.0064),
        (EXPONENTIAL, 0.45, -0.0046),
    ],
    ids=["normal", "pareto", "few good", "exponential"],
)
def test_where_parity_helps_and_where_it_hurts(law, budget, difference):
    population = two_groups(law)
    parity, plain = (f(population, budget) for f in (demographic_parity, group_oblivious))
    assert parity.utility - plain.utility == pytest.approx(difference, abs=6e-5)
    if parity_helps(population, budget):
        assert difference > 0


def test_two_kinds_of_people_in_fifty_digits():
    """Five percent are good: the sign is certain."""
    mpmath.mp.dps = 50
    share, fraction, alpha = (
        mpmath.mpf("0.05"),
        (mpmath.mpf("0.4"), mpmath.mpf("0.6")),
        mpmath.mpf("0.2"),
    )
    sd = mpmath.sqrt(share * (1 - share))
    noise = 2 * sd, sd / 2

    def tail(t, s):
        return share * mpmath.ncdf((1 - t) / s) + (1 - share) * mpmath.ncdf(-t / s)

    def good(t, s):
        return share * mpmath.ncdf((1 - t) / s)

    def root(excess):
        return mpmath.findroot(excess, (mpmath.mpf(-2), mpmath.mpf(3)), solver="anderson")

    t = root(lambda t: sum(p * tail(t, s) for p, s in zip(fraction, noise, strict=True)) - alpha)
    plain = sum(p * good(t, s) for p, s in zip(fraction, noise, strict=True)) / alpha
    own = [root(lambda t, s=s: tail(t, s) - alpha) for s in noise]
    equal = sum(p * good(t, s) for p, s, t in zip(fraction, noise, own, strict=True)) / alpha
    population = two_groups(FEW_GOOD)
    assert equal < plain
    assert group_oblivious(population, 0.2).utility == pytest.approx(float(plain), rel=1e-12)
    assert demographic_parity(population, 0.2).utility == pytest.approx(float(equal), rel=1e-12)


@pytest.mark.parametrize("good", [0.05, 0.5, 0.001])
@pytest.mark.parametrize("noise", [(2, 0.5), (0.5, 0.1), (0.1, 0.05)])
@pytest.mark.parametrize("budget", [1e-6, 1e-3, 0.02, 0.04, 0.2, 0.9, 0.999])
def test_bayes_where_who_is_selected_is_good_for_sure(good, noise, budget):
    """Two kinds, in fifty digits.

    The log odds ℓ of being good are log(π/(1−π)) + (t − ½)/σ², which is solved for t.
    """
    population = two_groups(QualityLaw([0, 1], [1 - good, good]), noise=noise)
    fraction, sigma = population.fraction, population.noise
    with mpmath.workdps(50):
        share = mpmath.mpf(good)
        alpha, half = mpmath.mpf(budget), mpmath.mpf("0.5")

        def above(odds, kinds):
            total = []
            for s in sigma:
                t = half + mpmath.mpf(s) ** 2 * (odds - mpmath.log(share / (1 - share)))
                parts = (1 - share) * mpmath.ncdf(-t / s), share * mpmath.ncdf((1 - t) / s)
                total.append(sum(parts[k] for k in kinds))
            return total

        def used(odds):
            rates = above(odds, (0, 1))
            return sum(mpmath.mpf(p) * x for p, x in zip(fraction, rates, strict=True))

        low, high = mpmath.mpf(-(10**7)), mpmath.mpf(10**7)
        for _ in range(160):
            middle = (low + high) / 2
            low, high = (middle, high) if used(middle) > alpha else (low, middle)
        rates = [float(x) for x in above(low, (0, 1))]
        best = sum(mpmath.mpf(p) * x for p, x in zip(fraction, above(low, (1,)), strict=True))
        best = float(best / alpha)
    found = bayes_optimal(population, budget)
    np.testing.assert_allclose(found.rates, rates, rtol=1e-9, atol=1e-15)
    assert found.utility == pytest.approx(best, rel=1e-12)


def test_a_rule_where_who_is_selected_is_good_for_sure():
    """Three groups and few places: the rule binds, and nothing in the band is better."""
    law = QualityLaw([0, 1], [0.95, 0.05])
    population = LatentPopulation([0.2, 0.3, 0.5], law, noise=law.spread * np.array([2, 0.5, 1]))
    alpha, p = 0.01, population.fraction
    ours = gamma_rule(bayes_optimal(population, alpha), 0.8)
    assert ours.rates.min() == pytest.approx(0.8 * ours.rates.max(), rel=1e-9)
    worse = 1 - ours.utility
    for x in np.linspace(0.8, 1, 12):
        for y in np.linspace(0.8, 1, 12):
            for z in (0.8, 0.9, 1):
                rates = np.array([x, y, z])
                if rates.min() >= 0.8 * rates.max():
                    other = with_rates(population, rates * (alpha / (p @ rates)), alpha)
                    assert 1 - other.utility >= worse * (1 - 1e-9) - 1e-15


def test_who_cannot_be_told_apart_shares_the_last_places():
    """Everybody of one group is good, nobody of the other; or all are the same."""
    good, bad = QualityLaw([1.0]), QualityLaw([0.0])
    population = LatentPopulation([0.4, 0.6], [good, bad], noise=0.1)
    np.testing.assert_allclose(bayes_optimal(population, 0.2).rates, [0.5, 0], atol=1e-12)
    np.testing.assert_allclose(bayes_optimal(population, 0.7).rates, [1, 0.5], atol=1e-12)
    same = bayes_optimal(LatentPopulation([0.4, 0.6], good, noise=[0.1, 2]), 0.2)
    np.testing.assert_allclose(same.rates, 0.2, atol=1e-12)
    assert same.utility == pytest.approx(1)
    between = LatentPopulation([0.5, 0.5], [QualityLaw([0.5]), QualityLaw([0, 1])], noise=0.1)
    found = bayes_optimal(between, 0.4)  # a quarter are good, and then come the sure ones
    assert found.rates[1] == pytest.approx(0.5, abs=1e-5)
    assert found.rates[0] == pytest.approx(0.3, abs=1e-5)


def test_exponential_quality_in_thirty_digits():
    """The difference to 1e−8, by the closed forms of an exponential plus a normal: it is < 0."""
    with mpmath.workdps(30):
        alpha, fraction, noise = (
            mpmath.mpf("0.45"),
            (mpmath.mpf("0.4"), mpmath.mpf("0.6")),
            (mpmath.mpf(2), mpmath.mpf("0.5")),
        )

        def tail(t, s):
            return mpmath.ncdf(-t / s) + mpmath.exp(s**2 / 2 - t) * mpmath.ncdf(t / s - s)

        def quality(t, s):
            z, tilted = t / s - s, mpmath.exp(s**2 / 2 - t)
            return tail(t, s) + tilted * s * (z * mpmath.ncdf(z) + mpmath.npdf(z))

        def whole(f, t):
            return sum(p * f(v, s) for p, s, v in zip(fraction, noise, t, strict=True))

        plain = mpmath.findroot(lambda t: whole(tail, (t, t)) - alpha, (0, 2), solver="anderson")
        own = [
            mpmath.findroot(lambda t, s=s: tail(t, s) - alpha, (0, 2), solver="anderson")
            for s in noise
        ]
        by_quadrature = mpmath.quad(
            lambda w: w * mpmath.exp(-w) * mpmath.ncdf((w - plain) / 2), [0, 1, 4, 16, 64]
        )
        assert abs(by_quadrature - quality(plain, noise[0])) < 1e-20
        difference = float((whole(quality, own) - whole(quality, (plain, plain))) / alpha)
    population = two_groups(EXPONENTIAL)
    parity, oblivious = (f(population, 0.45) for f in (demographic_parity, group_oblivious))
    assert difference < -0.004
    assert parity.utility - oblivious.utility == pytest.approx(difference, abs=1e-10)


@pytest.mark.parametrize("budget", [0.1, 0.45])
def test_exponential_quality_by_another_formula(budget):
    """An exponential plus a normal: its tail and its partial mean in closed form.

    P(W + σε > t) = Φ(−t/σ) + e^{σ²/2 − t} Φ(t/σ − σ), and for quality likewise, by parts.
    """
    population = two_groups(EXPONENTIAL)
    phi, Phi = stats.norm.pdf, stats.norm.cdf
    t, s = np.array([0.7, 1.9]), population.noise
    tilted = np.exp(s**2 / 2 - t)
    tail = Phi(-t / s) + tilted * Phi(t / s - s)
    # ∫ w e^{−w} Φ((w − t)/σ) dw = tail + ∫ w e^{−w} φ((w − t)/σ)/σ dw, by parts
    middle = t - s**2
    first_moment = tilted * (middle * Phi(middle / s) + s * phi(middle / s))
    np.testing.assert_allclose(population.exceeding(t), tail, rtol=1e-12)
    np.testing.assert_allclose(population.quality_above(t), tail + first_moment, rtol=1e-12)
    assert group_oblivious(population, budget).utility > 0


@each_law
@pytest.mark.parametrize("budget", [0.1, 0.4, 0.8])
def test_bayes_is_the_best_of_all_rates(law, budget):
    population = two_groups(law, noise=(2.0, 0.7))
    best = bayes_optimal(population, budget)
    p = population.fraction
    for x in np.linspace(0.001, min(0.999, budget / p[0] - 1e-6), 40):
        other = (
            with_rates(population, [x, (budget - p[0] * x) / p[1]])
            if (0 <= (budget - p[0] * x) / p[1] <= 1)
            else best
        )
        assert other.utility <= best.utility + 1e-10
    t = best.thresholds
    if np.isfinite(t).all():
        means = population.posterior_mean(t)
        assert means[0] == pytest.approx(means[1], abs=1e-7)


@each_law
@pytest.mark.parametrize("gamma", [0.5, 0.8])
@pytest.mark.parametrize("policy", [group_oblivious, bayes_optimal])
def test_the_rule_is_a_concave_program(law, gamma, policy):
    """Three groups.  The curves in 400 straight pieces, and CVXPY for the rates."""
    population = LatentPopulation(
        [0.2, 0.3, 0.5], law, noise=law.spread * np.array([2, 0.5, 1]), bias=[0.2, 0, 0.1]
    )
    alpha, p = 0.25, population.fraction
    baseline = policy(population, alpha)
    ours = gamma_rule(baseline, gamma)
    assert ours.rates.min() >= gamma * ours.rates.max() - 1e-9
    assert p @ ours.rates == pytest.approx(alpha, abs=1e-12)
    grid = np.linspace(0.0005, 0.9995, 400)
    marginal = np.array([population._marginal(np.full(3, x), baseline.belief)[0] for x in grid])
    width = 1 / 400
    pieces = cp.Variable((400, 3), nonneg=True)
    x, top = cp.sum(pieces, axis=0), cp.Variable()
    rules = [pieces <= width, p @ x == alpha, x >= gamma * top, x <= top]
    program = cp.Problem(cp.Maximize(cp.sum(cp.multiply(marginal, pieces) @ p)), rules)
    program.solve(cp.HIGHS)
    np.testing.assert_allclose(ours.rates, x.value, atol=0.004)  # a piece and a half


def test_a_sample_is_its_own_law():
    """Draws of noise around the very sample, by the million."""
    rng = np.random.default_rng(3)
    law = LAWS["sample"]
    population = two_groups(law)
    n, alpha = 400_000, 0.2
    group = rng.random(n) < 0.4
    w = rng.choice(law.values, n)
    seen = w + np.where(group, *population.noise) * rng.standard_normal(n)
    chosen = seen >= np.quantile(seen, 1 - alpha)
    plain = group_oblivious(population, alpha)
    error = w[chosen].std() / np.sqrt(chosen.sum())
    assert abs(w[chosen].mean() - plain.utility) < 4 * error
    assert abs(chosen[group].mean() - plain.rates[0]) < 4 * np.sqrt(0.25 / group.sum())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: QualityLaw([]), "at least one atom"),
        (lambda: QualityLaw([1, np.nan]), r"values\[1\] is nan"),
        (lambda: QualityLaw([1, 2], [1]), "one an atom"),
        (lambda: QualityLaw([1, 2], [0, 0]), "weights sum to 0"),
        (lambda: LatentPopulation([0.5, 0.5], [NORMAL]), "quality has 1 laws"),
        (lambda: LatentPopulation([0.5, 0.5], NORMAL, noise=0), r"noise\[0\] is 0.0: must be > 0"),
        (
            lambda: gamma_rule(
                with_rates(LatentPopulation([0.2, 0.3, 0.5], NORMAL), [0.1, 0.2, 0.3]), 0.9
            ),
            "needs a baseline",
        ),
        (lambda: parity_helps(LatentPopulation([1], NORMAL), 0.2), "must have two"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
