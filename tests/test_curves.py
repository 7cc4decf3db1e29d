"""Response curves: the concave hull of the levels that a person can be offered."""

import numpy as np
import pytest
from helpers import EXACT
from hypothesis import given
from hypothesis import strategies as st

import alphafair as af
from alphafair import curves
from alphafair.kernels import numba


def test_hull_by_hand():
    """Levels (1, 1), (2, 4), (4, 5), (5, 5.5): the first lies under the chord to (2, 4)."""
    s = af.concave_segments([1.0, 2.0, 4.0, 5.0], [[1.0, 4.0, 5.0, 5.5]])
    np.testing.assert_allclose(s.benefit, [[2.0, 0.5]])  # (4,5) and (5,5.5) are on one line
    np.testing.assert_allclose(s.cap, [[2.0, 3.0]])
    assert s.level.tolist() == [[1, 3]]


@given(st.integers(0, 9999))
def test_the_hull_is_the_least_concave_majorant(seed):
    rng = np.random.default_rng(seed)
    money, gain = rng.uniform(0.1, 5, (6, 4)), rng.normal(0.5, 1, (6, 4))
    s = af.concave_segments(money, gain)
    assert (np.diff(s.benefit, axis=1) <= 1e-12).all()
    for i in range(6):
        x = np.concatenate([[0], np.cumsum(s.cap[i])])
        y = np.concatenate([[0], np.cumsum(s.cap[i] * s.benefit[i])])
        assert (np.interp(money[i], x, y) >= gain[i] - 1e-12).all()  # it is above every level
        used = s.level[i][s.level[i] >= 0]
        np.testing.assert_allclose(
            y[1 : used.size + 1], gain[i, used]
        )  # and its corners are levels


def test_lotteries_over_levels_by_brute_force():
    """α = 0, one group: the best mixture of levels, enumerated over pairs of people's levels."""
    money = np.array([[1.0, 3.0], [2.0, 3.0]])
    gain = np.array([[2.0, 3.0], [1.0, 4.5]])
    s = af.concave_segments(money, gain)
    a = af.allocate(s.benefit, 1.0, [0, 0], 4.0, 0, cap=s.cap)
    # Levels (1, 2) for one and (3, 4.5) for the other cost exactly 4 and bring 6.5.
    assert a.group_utility[0] * 2 == pytest.approx(6.5, rel=EXACT)


@given(st.integers(0, 9999))
def test_both_twins_find_the_same_hulls(seed):
    """To the bit, among them ties of slope, of slope and cost, levels that are free or useless."""
    rng = np.random.default_rng(seed)
    money = rng.integers(0, 4, (9, 5)) * rng.choice([0.1, 1.0, 1e160], (9, 1))
    gain = rng.integers(-1, 5, (9, 5)) * rng.choice([0.1, 1.0, 1e-160], (9, 1))
    hull = curves._hull_kernel
    for loop, plain in zip(hull.loop(money, gain), hull.plain(money, gain), strict=True):
        np.testing.assert_array_equal(loop, plain)
        assert loop.dtype == plain.dtype


@pytest.mark.skipif(numba() is None, reason="numba is not installed, or unwanted")
def test_a_large_input_is_compiled(monkeypatch):
    """And gives what the plain twin gives to the bit."""
    money, gain = np.random.default_rng(0).uniform(0.1, 5, (2, 1000, 4))
    plain = af.concave_segments(money, gain)
    assert curves._hull_kernel._compiled is None
    for limit in ("large", "_if_loaded"):
        monkeypatch.setattr(curves._hull_kernel, limit, 1)
    for one, other in zip(plain, af.concave_segments(money, gain), strict=True):
        np.testing.assert_array_equal(one, other)
    assert curves._hull_kernel._compiled is not None


@pytest.mark.parametrize(
    ("money", "benefit", "message"),
    [
        ([1.0, -2.0], [[1.0, 1.0]], r"money\[0, 1\] is -2.0 for a benefit of 1.0: must be ≥ 0"),
        ([1.0, 0.0], [[1.0, 1.0]], r"money\[0, 1\] is 0.0 for a benefit of 1.0.*realistic cost"),
        ([1.0, 2.0], [[1.0, np.nan]], r"benefit\[0, 1\] is nan: must be finite"),
        ([1.0, np.inf], [[1.0, 1.0]], r"money\[0, 1\] is inf: must be finite"),
        ([1.0, 2.0, 3.0], [[1.0, 1.0]], r"money has shape \(3,\): must be \(1, 2\) or \(2,\)"),
        ([1.0], [1.0], r"benefit has shape \(1,\): must be \(N, M\)"),
    ],
)
def test_curve_refusals(money, benefit, message):
    with pytest.raises(ValueError, match=message):
        af.concave_segments(money, benefit)
