"""The α-fair family: values by hand, limits, 50 digits, and refusals."""

import mpmath
import numpy as np
import pytest
from helpers import EXACT, relative_error
from hypothesis import given
from hypothesis import strategies as st

import alphafair as af

FINITE = (0, 1e-6, 0.01, 0.5, 1 - 1e-9, 1, 1 + 1e-12, 1.5, 2, 5, 50, 150, 1e6)
levels = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6)


def test_by_hand():
    assert af.phi([1.0, 4.0], 0).tolist() == [1, 4]
    assert af.phi([1.0, 4.0], 0.5).tolist() == [2, 4]
    assert af.phi([1.0, 4.0], 2).tolist() == [-1, -0.25]
    assert af.phi(np.e, 1) == pytest.approx(1, abs=EXACT)
    assert af.welfare([1.0, 4.0], 2) == -1.25
    assert af.welfare([1.0, 4.0], 0, weight=[1, 3]) == 13
    assert af.welfare([3.0, 2.0, 7.0], np.inf) == 2
    assert af.equivalent_utility([1.0, 4.0], 0) == 2.5
    assert af.equivalent_utility([1.0, 4.0], 1) == pytest.approx(2, abs=EXACT)
    assert af.equivalent_utility([1.0, 4.0], 2) == pytest.approx(1.6, abs=EXACT)
    assert af.equivalent_utility([1.0, 4.0], np.inf) == 1


def test_zero_utility():
    assert af.phi(0.0, 0.5) == 0
    assert af.phi(0.0, 1) == -np.inf
    assert af.phi(0.0, 2) == -np.inf
    assert af.phi_prime(0.0, 0) == 1
    assert af.phi_prime(0.0, 1) == np.inf
    assert af.welfare([0.0, 1.0], 1) == -np.inf
    assert af.equivalent_utility([0.0, 4.0], 1) == 0
    assert af.equivalent_utility([0.0, 4.0], 3) == 0
    assert af.equivalent_utility([0.0, 4.0], 0.5) == pytest.approx(1, abs=EXACT)
    assert af.equivalent_utility([0.0, 0.0], 0.5) == 0


@pytest.mark.parametrize("alpha", FINITE)
@pytest.mark.parametrize("utility", [1e-150, 0.3, 1.0, 6.0, 500.0, 1e150])
def test_phi_normalised_to_50_digits(alpha, utility):
    with mpmath.workdps(50):
        s, u = 1 - mpmath.mpf(alpha), mpmath.mpf(utility)
        exact = mpmath.log(u) if s == 0 else (u**s - 1) / s
    if abs(exact) < 1e300:  # else no double holds it
        # The rounding of s·log u is a relative error of |s log u| roundings in u^s = exp(s log u).
        steep = max(1, abs((1 - alpha) * np.log(utility)) / 100)
        assert relative_error(af.phi_normalised(utility, alpha), exact) <= EXACT * steep


@pytest.mark.parametrize("exponent", [*(1 - a for a in FINITE), 1e-300, -1e-9, 30])
def test_power_mean_to_50_digits(exponent):
    rng = np.random.default_rng(7)
    for scale in (1e-150, 1.0, 1e150):
        value = scale * 10 ** rng.uniform(-2, 2, 9)
        weight = rng.uniform(0.1, 5, 9)
        with mpmath.workdps(50):
            s = mpmath.mpf(exponent)
            v, w = [mpmath.mpf(x) for x in value], [mpmath.mpf(x) for x in weight]
            if abs(s) < mpmath.mpf(10) ** -100:  # 1e-300: the geometric mean to 298 digits
                s = mpmath.mpf(0)
            mean = mpmath.fsum(
                a * (mpmath.log(x) if s == 0 else x**s) for a, x in zip(w, v, strict=True)
            ) / mpmath.fsum(w)
            exact = mpmath.exp(mean) if s == 0 else mean ** (1 / s)
        assert relative_error(af.power_mean(value, exponent, weight), exact) <= EXACT


@pytest.mark.parametrize("exponent", [-1e6, -1, -1e-6, 0, 1e-6, 1, 1e6])
def test_power_mean_of_numbers_600_orders_apart(exponent):
    with mpmath.workdps(50):
        v, s = [mpmath.mpf(1e-300), mpmath.mpf(1e300)], mpmath.mpf(exponent)
        exact = mpmath.sqrt(v[0] * v[1]) if s == 0 else ((v[0] ** s + v[1] ** s) / 2) ** (1 / s)
    # The logarithms are ±690: their rounding is 1e−13 of the mean.
    assert relative_error(af.power_mean([1e-300, 1e300], exponent), exact) <= 5 * EXACT


def test_naive_formula_is_wrong_near_one():
    """Why phi_normalised exists: the quotient as printed has it gives 1.8 for 1.7918."""
    alpha = 1 + 1e-15
    naive = (6.0 ** (1 - alpha) - 1) / (1 - alpha)
    assert abs(naive - np.log(6)) > 5e-3
    assert abs(af.phi_normalised(6.0, alpha) - np.log(6)) < 1e-14


@given(levels, st.sampled_from(FINITE))
def test_phi_inverse_and_derivative(utility, alpha):
    u = np.array(utility)
    if alpha <= 5 and (abs(alpha - 1) > 1e-3 or alpha == 1):  # nearer, φ ≈ 1/(1−α) hides u
        assert af.phi_inverse(af.phi(u, alpha), alpha) == pytest.approx(u, rel=1e-10)
        step = 1e-6 * u
        slope = (af.phi(u + step, alpha) - af.phi(u - step, alpha)) / (2 * step)
        assert slope == pytest.approx(af.phi_prime(u, alpha), rel=1e-6)


@given(levels, st.floats(0, 20), st.floats(0, 20), st.floats(1e-6, 1e6))
def test_equivalent_utility_is_a_mean(utility, alpha, beta, factor):
    low, high = sorted((alpha, beta))
    at_low, at_high = (af.equivalent_utility(utility, a) for a in (low, high))
    slack = 1 + 1e-12
    assert min(utility) <= at_high * slack
    assert at_high <= at_low * slack  # decreasing in α
    assert at_low <= np.mean(utility) * slack
    scaled = af.equivalent_utility(factor * np.array(utility), high)
    assert scaled == pytest.approx(factor * at_high, rel=1e-12)


@given(levels, st.floats(0, 20))
def test_equal_utilities_are_worth_their_equivalent(utility, alpha):
    level = af.equivalent_utility(utility, alpha)
    # Compare powers through the inverse: W itself is as steep as u^(−19) here.
    value = af.welfare(utility, alpha) / len(utility)
    if abs(1 - alpha) > 1e-6 and np.isfinite(value) and abs(value) > 1e-290:
        assert af.phi_inverse(value, alpha) == pytest.approx(level, rel=1e-9)


@pytest.mark.parametrize("alpha", [0, 1, np.inf])
def test_equivalent_utility_is_continuous_in_alpha(alpha):
    utility, weight = [1.0, 3.0, 9.0], [1.0, 2.0, 0.5]
    near = 1e9 if alpha == np.inf else alpha + 1e-9
    at, beside = (af.equivalent_utility(utility, a, weight) for a in (alpha, near))
    assert at == pytest.approx(beside, rel=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: af.welfare([1.0, -1.0], 2), r"utility\[1\] is -1\.0: must be ≥ 0"),
        (lambda: af.welfare([1.0, np.nan], 2), r"utility\[1\] is nan"),
        (lambda: af.phi([[1.0], [-2.0]], 2), r"utility\[1, 0\] is -2\.0"),
        (lambda: af.welfare([], 2), r"utility is empty"),
        (lambda: af.welfare([1.0], -1), r"alpha is -1\.0"),
        (lambda: af.phi(1.0, np.inf), r"alpha is infinite.*use welfare"),
        (lambda: af.phi_prime(1.0, np.nan), r"alpha is nan"),
        (lambda: af.welfare([1.0, 2.0], 2, [1.0]), r"weight has shape \(1,\): must be \(2,\)"),
        (lambda: af.welfare([1.0, 2.0], 2, [1.0, 0.0]), r"weight\[1\] is 0\.0: must be finite"),
        (lambda: af.power_mean([1.0], np.nan), r"exponent is nan"),
        (lambda: af.phi_inverse(-1.0, 0.5), r"value is -1\.0: .*≥ 0 everywhere"),
        (lambda: af.phi_inverse(1.0, 2), r"value is 1\.0: .*≤ 0 everywhere"),
    ],
)
def test_refusal(call, message):
    with pytest.raises(ValueError, match=message):
        call()
