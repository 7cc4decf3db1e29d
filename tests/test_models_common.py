"""What all models share: bisection, the summary of a simulation, libraries that may be absent."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphafair.models.common import Simulation, bisect, bisect_each, scipy

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, finite, finite)
def test_bisection_finds_any_double(low, root, high):
    low, root, high = sorted([low, root, high])
    asked = []

    def holds(x):
        asked.append(x)
        return x >= root

    last, first = bisect(holds, low, high)
    assert len(asked) <= 128
    assert all(low < x < high for x in asked)
    if low < root:
        assert (last, first) == (math.nextafter(root, -math.inf), root)


@pytest.mark.parametrize(
    ("low", "high", "root"),
    [
        (-1.0, 1.0, 0.0),
        (-1.0, 1.0, -0.75),
        (-1.0, 1.0, 5e-324),
        (0.0, math.inf, 1.7e308),
        (-math.inf, 0.0, -2.0),
    ],
)
def test_bisection_at_the_ends_of_the_doubles(low, high, root):
    asked = []
    assert bisect(lambda x: asked.append(x) or x >= root, low, high)[1] == root
    assert len(asked) <= (64 if abs(root) > 0.5 else 128)


def test_bisection_between_no_doubles_gives_its_ends():
    assert bisect(lambda x: True, 1.0, 1.0) == (1.0, 1.0)
    assert bisect(lambda x: True, 2.0, 1.0) == (2.0, 1.0)
    last, first = bisect(lambda x: True, 0.0, 5e-324)
    assert (last, first) == (0.0, 5e-324)


def test_many_bisections_are_each_one():
    roots = np.array([[5e-324, 1e-200], [math.pi, np.finfo(float).max]])
    found = bisect_each(lambda x: x >= roots, roots.shape)
    np.testing.assert_array_equal(found, roots)
    one = [bisect(lambda x, r=r: x >= r, 0.0, math.inf)[1] for r in roots.ravel()]
    assert one == found.ravel().tolist()


def test_simulation_of_numbers():
    values = np.array([1.0, 4.0, 4.0, 7.0])
    result = Simulation.of(values)
    assert (result.mean, result.runs) == (4.0, 4)
    assert result.standard_error == pytest.approx(math.sqrt(6) / 2, rel=1e-15)
    low, high = result.interval  # t with 3 degrees of freedom: 3.182446305284263
    assert high - 4 == 4 - low == pytest.approx(3.182446305284263 * math.sqrt(1.5), rel=1e-12)
    assert all(isinstance(number, float) for number in result[:2])


def test_simulation_of_arrays_is_that_of_their_entries():
    values = np.random.default_rng(1).normal(size=(5, 2, 3))
    result = Simulation.of(values)
    for i, j in np.ndindex(2, 3):
        one = Simulation.of(values[:, i, j])
        assert one.mean == pytest.approx(result.mean[i, j], rel=1e-14)
        assert one.standard_error == pytest.approx(result.standard_error[i, j], rel=1e-14)
        ends = [end[i, j] for end in result.interval]
        assert list(one.interval) == pytest.approx(ends, rel=1e-14)


def test_one_run_says_nothing_of_the_error():
    assert Simulation.of(np.array([2.0]))[:2] == (2.0, math.inf)
    assert Simulation.of(np.array([2.0])).interval == (-math.inf, math.inf)
    table = Simulation.of(np.ones((1, 2)))
    assert table.standard_error.tolist() == [math.inf] * 2


def test_scipy_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="needs scipy, which is not installed: pip install scipy"):
        scipy()
