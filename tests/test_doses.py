"""Doses in other containers: a sparse matrix, an array of the caller's."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import alphafair as af

RNG = np.random.default_rng(3)
PEOPLE, TREATMENTS = 60, 3
BENEFIT = RNG.uniform(-1, 2, (PEOPLE, TREATMENTS))
COST = RNG.uniform(1, 2, (PEOPLE, TREATMENTS))
GROUP = np.append(np.arange(5), RNG.integers(0, 5, PEOPLE - 5))
ARGUMENTS = {
    "linear": {},
    "within": {"within": 0.5},
    "within infinite": {"within": np.inf, "benefit": np.abs(BENEFIT)},
    "caps and floors": {"cap": 1.0, "floor": 0.1},
    "baseline": {"baseline": 0.5, "within": 2.0, "benefit": np.abs(BENEFIT)},
    "exclusive": {"cap": 1.0, "exclusive": True},
    "no budget": {"budget": 0.0},
}


def allocation(name, alpha):
    given = {"benefit": BENEFIT, "cost": COST, "group": GROUP, "budget": 40.0} | ARGUMENTS[name]
    return af.Problem(**given).allocate(alpha)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, np.inf])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_sparse_matrix_holds_the_doses(name, alpha):
    sparse = pytest.importorskip("scipy.sparse")
    a = allocation(name, alpha)
    found = a.dose_sparse()
    assert isinstance(found, sparse.csr_array)
    assert found.shape == (PEOPLE, TREATMENTS)
    assert found.has_canonical_format
    assert found.nnz == np.count_nonzero(a.dose)
    assert np.array_equal(found.toarray(), a.dose)


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_doses_are_written_into_an_array(name, dtype, order):
    a = allocation(name, 0.5)
    out = np.full((PEOPLE, TREATMENTS), np.nan, dtype, "F" if order == "F" else "C")
    if order == "strided":
        out = np.full((PEOPLE, 2 * TREATMENTS), np.nan, dtype)[:, ::2]
    assert a.dose_into(out) is out
    assert np.array_equal(out, a.dose.astype(dtype))
    assert np.array_equal(
        allocation(name, 0).dose_into(out), allocation(name, 0).dose.astype(dtype)
    )


def test_in_the_linear_case_there_is_no_second_table():
    pytest.importorskip("scipy.sparse")
    people, table = 20_000, 8 * 20_000 * 20
    benefit = np.random.default_rng(0).uniform(1, 2, (people, 20))
    a = af.Problem(benefit, 1.0, np.arange(people) % 7, 10.0).allocate(1)
    out = np.empty(benefit.shape)
    a.dose_into(out[:1].repeat(people, axis=0))  # what is computed once
    a.dose_sparse()  # what is imported once
    for made in (lambda: a.dose_into(out), a.dose_sparse):
        tracemalloc.start()
        made()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < table / 8
    assert "dose" not in vars(a)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([[0.0]], TypeError, "out must be a numpy array, not list"),
        (np.zeros((2, 1), int), TypeError, "out holds int64: must be float64 or float32"),
        (np.zeros((2, 1), np.float16), TypeError, "out holds float16: must be"),
        (np.zeros((2, 1), ">f8"), TypeError, "out holds >f8: must be"),
        (np.zeros(2), ValueError, r"out has shape \(2,\): must be \(N, T\) = \(2, 1\)"),
        (np.broadcast_to(0.0, (2, 1)), ValueError, "out cannot be written to: pass a copy"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(out, error, message):
    a = af.allocate([1.0, 2.0], 1.0, ["a", "b"], 1.0, 1)
    with pytest.raises(error, match=message):
        a.dose_into(out)


@pytest.mark.parametrize("bounds", [{}, {"cap": np.inf, "baseline": 1e-9}])
def test_doses_that_single_precision_loses_are_refused(bounds):
    """A dose of 1e−40 costs half of the budget; so does one of 1e39."""
    small = af.Problem([1e40, 1.0], [1e40, 1.0], ["a", "b"], 2.0, **bounds).allocate(1)
    large = af.Problem([1e-39, 1.0], [1e-39, 1.0], ["a", "b"], 2.0, **bounds).allocate(1)
    for a, told in ((small, "underflows"), (large, "overflows")):
        with pytest.raises(ValueError, match=rf"dose of item \(0, 0\) {told}"):
            a.dose_into(np.empty((2, 1), np.float32))
        assert np.array_equal(a.dose_into(np.empty((2, 1))), a.dose)


def test_doses_beyond_the_doubles_are_refused_everywhere():
    pytest.importorskip("scipy")
    a = af.Problem([1e-300, 1.0], [1e-300, 1.0], ["a", "b"], 1e300).allocate(1)
    for ask in (lambda: a.dose, a.dose_sparse, lambda: a.dose_into(np.empty((2, 1)))):
        with pytest.raises(ValueError, match=r"dose of item \(0, 0\) overflows"):
            ask()


def test_next_to_alpha_0_doses_may_be_next_to_nothing():
    a = af.Problem([1.0, 2.0], 1.0, ["a", "b"], 1.0).allocate(0.005)
    assert 0 < a.dose[0, 0] < 1e-50
    assert a.dose_into(np.empty((2, 1), np.float32))[:, 0].tolist() == [0, 1]


def test_without_scipy_the_cure_is_told():
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "import alphafair as af\n"
        "try:\n    af.allocate([1.0], 1.0, ['a'], 1.0, 1).dose_sparse()\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("dose_sparse needs scipy, which is not installed: pip install")
