"""Measures of inequality against hand values and naive formulas."""

import mpmath
import numpy as np
import pytest
from helpers import EXACT
from hypothesis import given
from hypothesis import strategies as st

from alphafair import inequality
from alphafair.utility import equivalent_utility

MEASURES = {
    "gini": inequality.gini,
    "theil": inequality.theil,
    "atkinson ½": lambda u, w=None: inequality.atkinson(u, 0.5, w),
    "atkinson 1": lambda u, w=None: inequality.atkinson(u, 1, w),
    "atkinson 3": lambda u, w=None: inequality.atkinson(u, 3, w),
    "jain": inequality.jain,
}

measures = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
utilities = st.lists(st.floats(0.01, 100), min_size=1, max_size=8)
populations = st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 4)), min_size=1, max_size=8)


def test_hand_values():
    assert inequality.gini([0, 1]) == 1 / 2
    assert inequality.gini([1, 3]) == 1 / 4
    assert inequality.gini([0, 0, 0, 1]) == 3 / 4
    assert inequality.theil([0, 1]) == pytest.approx(np.log(2), rel=EXACT)
    assert inequality.theil([0, 0, 0, 1]) == pytest.approx(np.log(4), rel=EXACT)
    assert inequality.jain([1, 0, 0]) == pytest.approx(1 / 3, rel=EXACT)
    assert inequality.jain([1, 3]) == pytest.approx(16 / 20, rel=EXACT)
    assert inequality.min_max_ratio([2, 8, 4]) == 1 / 4
    assert inequality.atkinson([1, 9], 1) == pytest.approx(1 - 3 / 5, rel=EXACT)  # geometric mean 3
    assert inequality.atkinson([1, 3], 2) == pytest.approx(
        1 - 1.5 / 2, rel=EXACT
    )  # harmonic mean 1.5
    assert inequality.atkinson([0, 4], 0.5) == pytest.approx(
        1 / 2, rel=EXACT
    )  # ((0 + 2)/2)² = 1 of 2
    assert inequality.atkinson([0, 4], 1) == 1
    assert inequality.atkinson([1, 3], 0) == 0


@given(populations)
def test_measures_are_what_the_naive_formulas_say(population):
    u, w = np.array(population).T
    s, mean = w / w.sum(), (w * u).sum() / w.sum()
    # Absolute tolerances: the naive forms are the ones that cancel near equality.
    pairs = (s[:, None] * s * np.abs(u[:, None] - u)).sum() / (2 * mean)
    assert inequality.gini(u, w) == pytest.approx(pairs, abs=EXACT)
    assert inequality.theil(u, w) == pytest.approx(
        (s * u / mean * np.log(u / mean)).sum(), abs=EXACT
    )
    assert inequality.jain(u, w) == pytest.approx(mean**2 / (s * u**2).sum(), abs=EXACT)
    for epsilon in (0.3, 1, 2, 40, np.inf):
        naive = 1 - equivalent_utility(u, epsilon, w) / mean
        assert inequality.atkinson(u, epsilon, w) == pytest.approx(naive, abs=EXACT)


@pytest.mark.parametrize("distance", [1e-2, 1e-5, 1e-8])
def test_near_equality_no_digit_is_lost_to_cancellation(distance):
    """The indices are of order distance²: 1 − E/μ has no correct digit at a distance of 1e−8.

    u carries 1.1e−16, so differences carry 1.1e−16/distance, and squares twice that.
    """
    u = [1.0, 1 + distance, 1 + 3 * distance]
    with mpmath.workdps(60):
        x = [mpmath.mpf(v) for v in u]
        mean = mpmath.fsum(x) / 3
        theil = mpmath.fsum(v / mean * mpmath.log(v / mean) for v in x) / 3
        geometric = 1 - mpmath.exp(mpmath.fsum(map(mpmath.log, x)) / 3) / mean
        harmonic = 1 - 3 / mpmath.fsum(1 / v for v in x) / mean
        gini = (x[2] - x[0]) * 2 / (9 * mean)  # the mean |u_i − u_j| of three is (4/9) (max − min)
    tolerance = 8 * np.finfo(float).eps / distance
    # abs=0: approx would allow 1e−12 besides
    assert inequality.theil(u) == pytest.approx(float(theil), rel=tolerance, abs=0)
    assert inequality.atkinson(u, 1) == pytest.approx(float(geometric), rel=tolerance, abs=0)
    assert inequality.atkinson(u, 2) == pytest.approx(float(harmonic), rel=tolerance, abs=0)
    assert inequality.gini(u) == pytest.approx(
        float(gini), rel=EXACT, abs=0
    )  # u's differences are exact


@measures
@given(u=utilities, exponent=st.integers(-150, 150))
def test_the_unit_does_not_matter(measure, u, exponent):
    assert measure(np.array(u) * 10.0**exponent) == pytest.approx(measure(u), abs=EXACT)


@measures
@pytest.mark.parametrize("unit", [5e-324, 1.0, 5e307])
def test_the_largest_and_the_least_doubles(measure, unit):
    expected = measure([1.0, 3.0, 2.0])
    assert measure([unit, 3 * unit, 2 * unit]) == pytest.approx(expected, abs=EXACT)
    assert measure([1.0, 3.0, 2.0], [unit] * 3) == pytest.approx(expected, abs=EXACT)


@measures
@given(population=populations, seed=st.integers(0, 99))
def test_names_do_not_matter_and_a_weight_counts_people(measure, population, seed):
    u, w = np.array(population).T
    order = np.random.default_rng(seed).permutation(u.size)
    assert measure(u[order], w[order]) == pytest.approx(measure(u, w), abs=EXACT)
    assert measure(np.repeat(u, w.astype(int))) == pytest.approx(measure(u, w), abs=EXACT)


@measures
@given(u=st.lists(st.floats(0.01, 100), min_size=2, max_size=8), part=st.floats(0.01, 0.5))
def test_a_gift_from_the_richest_to_the_poorest_makes_it_more_equal(measure, u, part):
    u = np.sort(u)
    gift = np.zeros_like(u)
    gift[[0, -1]] = part * (u[-1] - u[0]) * np.array([1, -1])
    sign = 1 if measure is inequality.jain else -1
    assert sign * measure(u + gift) >= sign * measure(u) - EXACT


@measures
def test_equality_is_exactly_that(measure):
    expected = 1 if measure is inequality.jain else 0
    for level in (0.1, 1 / 3, 7e300):
        assert measure(np.full(7, level)) == expected
    assert measure([5.0]) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inequality.gini([1, -2]), r"utility\[1\] is -2.0: must be finite and ≥ 0"),
        (lambda: inequality.theil([np.nan, 1]), r"utility\[0\] is nan"),
        (lambda: inequality.jain([1, np.inf]), r"utility\[1\] is inf"),
        (lambda: inequality.gini([0, 0]), "utility is 0 everywhere"),
        (lambda: inequality.gini([]), r"utility has shape \(0,\)"),
        (lambda: inequality.min_max_ratio([[1, 2]]), r"utility has shape \(1, 2\): must be \(K,\)"),
        (lambda: inequality.gini([1, 2], [1, 0]), r"weight\[1\] is 0.0: must be finite and > 0"),
        (lambda: inequality.gini([1, 2], [1, 2, 3]), "weight has 3 entries: must have 2"),
        (
            lambda: inequality.atkinson([1, 2], -1),
            "epsilon is -1.0: must be between 0 and infinity",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_atkinson_of_people_who_have_next_to_nothing():
    """Their utility relative to the mean is u/μ, not 1 + (u/μ − 1), which is below 0 or 0 here."""
    assert inequality.atkinson([0, 7], 0.5, [1, 8]) == pytest.approx(1 - 8 / 9, rel=EXACT)
    u = [1e-20, *[1.0] * 999]
    geometric = 1 - mpmath.mpf(u[0]) ** (mpmath.mpf(1) / 1000) / (mpmath.fsum(u) / 1000)
    assert inequality.atkinson(u, 1) == pytest.approx(float(geometric), rel=EXACT)
