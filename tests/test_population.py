"""Populations: ready models, exact chains, simulation, derivatives, errors."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from scipy.special import comb

from alphafair.models import meanfield
from alphafair.models.meanfield import (
    Chain,
    Heterogeneous,
    Population,
    SynchronousPopulation,
    exact_chain,
    exact_occupancy,
    heterogeneous_supermarket,
    random_cache,
    seir,
    simulate,
    simulate_average,
    sir,
    sis,
    steady_state,
    supermarket,
)
from alphafair.models.meanfield.populations.differentiate import Differentiated, Smooth

CERTAIN = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])


def within(simulation, exact, errors=4.5):
    """So many standard errors: once in 10⁵ draws by chance; the seeds are fixed."""
    gap = np.abs(simulation.mean - exact)
    return bool((gap <= errors * simulation.standard_error + 1e-12).all())


# --- the exact chain ------------------------------------------------------------------------------
def test_chain_of_an_infection_is_its_product():
    """Birth and death: π_k ∝ Π up/down, for the law itself."""
    n, chain = 30, exact_chain(sis(2, 1, source=0.5), [1, 0], 30)
    infected = np.rint(n * chain.values[:, 1]).astype(int)
    k = np.arange(1, n + 1)
    up = (0.5 + 2 * (k - 1) / n) * (n - k + 1)
    law = np.concatenate([[1.0], np.cumprod(up / k)])
    assert chain.stationary()[np.argsort(infected)] == pytest.approx(law / law.sum(), abs=1e-14)


def test_chain_of_independent_objects_is_binomial():
    model = Population.from_transitions(
        ["on", "off"], {("on", "off"): lambda x: 2 * x[0], ("off", "on"): lambda x: 3 * x[1]}
    )
    chain, k = exact_chain(model, [1, 0], 8), np.arange(9)
    on = np.rint(8 * chain.values[:, 0]).astype(int)
    for time, law in zip([0.0, 0.2, 1.0], chain.laws([0.0, 0.2, 1.0]), strict=True):
        p = 0.6 + 0.4 * np.exp(-5 * time)
        binomial = comb(8, k) * p**k * (1 - p) ** (8 - k)
        assert law[np.argsort(on)] == pytest.approx(binomial, abs=1e-12)
    assert chain.covariance()[0, 0] == pytest.approx(0.24 / 8)


def test_chain_in_steps_is_that_of_labelled_objects():
    """Three objects with names, 4³ states, against the chain of their counts."""
    model, n = seir(), 3
    start = [1 / 3, 1 / 3, 1 / 3, 0]
    chain = exact_chain(model, start, n)
    states = np.stack(np.meshgrid(*[np.arange(4)] * n, indexing="ij"), -1).reshape(-1, n)
    x = np.eye(4)[states].mean(axis=1)
    K = model.kernel(x)
    P = np.ones((64, 64))
    for k in range(n):
        P *= K[np.arange(64), states[:, k]][:, states[:, k]]
    law = np.zeros(64)
    law[np.flatnonzero((states == [0, 1, 2]).all(axis=1))] = 1.0
    for _ in range(4):
        law = law @ P
    assert chain.transient([4])[0] == pytest.approx(law @ x, abs=1e-14)
    assert chain.matrix.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-13)


def test_chain_with_two_ends():
    """Extinction is certain; with two ways to end the steady state depends on luck."""
    gone = exact_chain(sis(0.5, 1), [0.5, 0.5], 6)
    assert gone.expectation() == pytest.approx([1, 0])
    fate = Population([[-1, 1, 0], [-1, 0, 1]], lambda x: [x[0], x[0]], start=[1, 0, 0])
    with pytest.raises(ValueError, match="has 2 closed classes: must be 1"):
        exact_chain(fate, [1, 0, 0], 1).stationary()


def test_cache_is_the_product_of_its_law():
    """All placements by hand: π ∝ Π λ_k^{S_k}; the chain, the tables of sums, one formula."""
    popularity = np.array([3.0, 1.0, 0.5, 0.2, 0.1])
    cache = random_cache(popularity, [1, 2])
    start = np.eye(3)[[0, 0, 1, 2, 2]]
    chain = exact_chain(cache, start)
    assert chain.values.shape == (30, 5, 3)
    weight = np.prod(popularity ** (chain.values @ np.arange(3)), axis=1)
    assert chain.stationary() == pytest.approx(weight / weight.sum(), abs=1e-13)
    exact = np.tensordot(weight / weight.sum(), chain.values, 1)
    assert exact_occupancy(cache) == pytest.approx(exact, abs=1e-13)


def test_large_cache():
    """A thousand objects and popularities over 30 orders: sums as they must be, nothing lost."""
    popularity = 10.0 ** -np.linspace(0, 30, 1000)
    cache = random_cache(popularity, [30, 20])
    for table in (exact_occupancy(cache), cache.start.reshape(cache.shape)):
        assert table.sum(axis=1) == pytest.approx(np.ones(1000), abs=1e-10)
        assert table.sum(axis=0) == pytest.approx([950, 30, 20], abs=1e-8)
    assert (np.diff(exact_occupancy(cache)[:, 2]) <= 1e-15).all()  # popular objects rise


def test_fixed_point_of_the_cache():
    cache = random_cache(np.arange(1, 21) ** -0.8, [5, 3, 2])
    assert np.abs(cache.drift(cache.start)).max() < 1e-14
    x = cache.start.reshape(cache.shape)
    ratio = x[:, 1:] / x[:, :-1] / cache.popularity[:, None]
    assert ratio == pytest.approx(np.broadcast_to(ratio[0], ratio.shape), rel=1e-12)
    assert x.sum(axis=0)[1:] == pytest.approx([5, 3, 2], abs=1e-12)


# --- simulation -----------------------------------------------------------------------------------
def test_simulation_of_a_population():
    model, times = sir(3, 1, waning=0.5), [0.5, 2.0]
    exact = exact_chain(model, [0.5, 0.5, 0], 10).transient(times)
    found = simulate(model, [0.5, 0.5, 0], times, n=10, runs=4000, seed=1)
    assert within(found, exact)
    assert found.standard_error.max() < 0.005  # so that an error of a percent would be seen
    assert (found.interval[0] <= found.mean).all()
    assert found.interval[1] - found.mean == pytest.approx(1.96 * found.standard_error, rel=2e-3)


def test_simulation_of_objects():
    for model, start, largest in (
        (random_cache(np.arange(1, 5) ** -0.8, [2]), CERTAIN, 0.02),
        (heterogeneous_supermarket([2.0, 0.5], 0.7, buffer=3), np.eye(4)[[0, 2]], 0.02),
    ):
        exact = exact_chain(model, start).transient([0.5, 2.0])
        found = simulate(model, start, [0.5, 2.0], runs=3000, seed=2)
        assert within(found, exact)
        assert found.standard_error.max() < largest


def test_simulation_in_steps():
    model, start, times = seir(), [0.2, 0.2, 0.2, 0.4], [0, 1, 10]
    exact = exact_chain(model, start, 5).transient(times)
    assert within(simulate(model, start, times, n=5, runs=4000, seed=3), exact)


def test_average_over_time():
    model = sis(2, 1, source=0.5)
    exact = exact_chain(model, [0.5, 0.5], 10).expectation()
    found = simulate_average(model, [0.5, 0.5], 120, warm_up=20, n=10, runs=50, seed=4)
    assert within(found, exact)
    assert found.standard_error.max() < 0.01


def test_queues_of_ten_servers():
    """N = 10, ρ = .9: independent simulation 2.7997 ± .0111 jobs, the refined field 2.7513."""
    model = supermarket(0.9, buffer=20)
    found = simulate_average(model, np.zeros(20), 700, warm_up=100, n=10, runs=60, seed=5)
    refined = steady_state(model).expectation(10).sum()
    assert found.mean.sum() == pytest.approx(2.7997, abs=0.06)  # 0.018 is the standard error
    assert abs(refined - found.mean.sum()) < abs(2.3527 - found.mean.sum()) / 4


def test_seeds():
    model = sis(2, 1)
    a, b, c = (simulate(model, [0.5, 0.5], [1.0], n=10, seed=s).mean for s in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


def test_nothing_happens_any_more():
    found = simulate(sis(0, 1), [0.5, 0.5], [0.0, 1e6], n=4, runs=3)
    assert found.mean.tolist() == [[0.5, 0.5], [1.0, 0.0]]


# --- functions with derivatives -------------------------------------------------------------------
numbers = st.lists(st.floats(-1, 1), min_size=3, max_size=3)


@settings(max_examples=25, deadline=None)  # the first call imports torch
@given(numbers, numbers, numbers)
def test_derivatives_of_polynomials(a, b, at):
    """By torch and by differences, against the derivatives written out."""
    a, b, x = np.array(a), np.array(b), np.array(at)
    W = np.outer(a, b) + np.outer(b, a) + np.eye(3)
    by_torch = Differentiated(lambda y: [(y[0] * a[0] + y[1] * y[2] * b[1]) * y[1], y[2] ** 3])
    by_numpy = Differentiated(
        lambda y: np.array([(y[0] * a[0] + y[1] * y[2] * b[1]) * y[1], np.power(y[2], 3)])
    )
    first = [
        [a[0] * x[1], a[0] * x[0] + 2 * b[1] * x[1] * x[2], b[1] * x[1] ** 2],
        [0, 0, 3 * x[2] ** 2],
    ]
    second = 2 * a[0] * W[0, 1] + 2 * b[1] * x[2] * W[1, 1] + 4 * b[1] * x[1] * W[1, 2]
    for each in (by_torch, by_numpy):
        assert each.jacobian(x) == pytest.approx(np.array(first), abs=1e-10)
        assert each.contraction(x, W) == pytest.approx([second, 6 * x[2] * W[2, 2]], abs=1e-9)
    assert by_torch.takes_tensors(x)
    assert not by_numpy.takes_tensors(x)


def test_functions_of_numpy():
    """Of numpy, exp and sqrt: by differences, to 1e−9; not a derivative of 0."""
    f = Differentiated(lambda y: [np.exp(y[0]), np.sqrt(y[1])])
    x = np.array([0.3, 0.5])
    assert f.jacobian(x) == pytest.approx(np.diag([np.exp(0.3), 0.5 / np.sqrt(0.5)]), abs=1e-10)
    second = [np.exp(0.3) * 2.0, -0.25 * 0.5**-1.5 * 3.0]
    assert f.contraction(x, np.diag([2.0, 3.0])) == pytest.approx(second, abs=1e-8)


def test_numpy_rates_and_torch_rates_agree():
    """A population whose rates saturate."""
    torch = pytest.importorskip("torch")
    jumps = [[-1, 1], [1, -1]]
    by_numpy = Population(jumps, lambda x: np.array([x[0] * np.exp(-x[1]), 0.5 * x[1]]))
    by_torch = Population(jumps, lambda x: [x[0] * torch.exp(-x[1]), 0.5 * x[1]])
    for mine, other in zip(steady_state(by_numpy), steady_state(by_torch), strict=True):
        assert mine == pytest.approx(other, abs=1e-9)  # of the differences


def test_field_rates_of_numpy_and_torch_agree():
    torch = pytest.importorskip("torch")
    prone = np.array([[1.0], [2.0], [3.0]])

    def by_numpy(z):
        return np.stack([prone[:, 0] * np.exp(z[..., 0, 1]), 1 + 0 * z[..., 1, 1]], -1)

    def by_torch(z):
        rate = torch.tensor(prone[:, 0]) * torch.exp(z[..., 0, 1])
        return torch.stack([rate, 1 + 0 * z[..., 1, 1]], -1)

    a, b = (
        steady_state(Heterogeneous([(0, 1), (1, 0)], rates, objects=3))
        for rates in (by_numpy, by_torch)
    )
    assert np.abs(a.correction).max() > 1e-3
    for mine, other in zip(a, b, strict=True):
        assert mine == pytest.approx(other, abs=1e-9)  # of the differences


def test_tangents():
    """Orthonormal, and what is conserved is orthogonal to them."""
    cache = random_cache([1.0, 2.0, 3.0, 4.0], [1, 2])
    for model, rank in ((cache, 6), (sir(1, 1), 2), (seir(), 3), (supermarket(0.5, buffer=7), 7)):
        U = model.tangent
        assert U.shape == (model.start.size, rank)
        assert np.abs(U.T @ U - np.eye(rank)).max() < 1e-13
        moved = model.drift(model.start) - (model.start if model.synchronous else 0)
        assert U @ (U.T @ moved) == pytest.approx(moved, abs=1e-13)
    assert linalg.norm(np.ones(3) @ sir(1, 1).tangent) < 1e-13


# --- errors ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: supermarket(1.0), r"load is 1.0: must be 0 < load < 1"),
        (lambda: supermarket(0.5, choices=0), "choices is 0.0: must be a whole number ≥ 1"),
        (lambda: supermarket(0.5, buffer=2.5), "buffer is 2.5: must be a whole number ≥ 1"),
        (
            lambda: heterogeneous_supermarket([1, 0], 0.5),
            r"speeds\[1\] is 0.0: must be finite and > 0",
        ),
        (lambda: random_cache([1, 0], [1]), r"popularity\[1\] is 0.0: must be > 0"),
        (lambda: random_cache([1, 2], [2]), r"sizes is \[2.0\]: must be whole .* the 2 objects"),
        (lambda: random_cache([1, np.nan], [1]), r"popularity\[1\] is nan: must be finite"),
        (lambda: random_cache([1, 2, 3], [1]).state(np.ones((3, 2)) / 2), "columns 1 … h"),
        (lambda: sis(-1, 1), "infection is -1.0: must be finite and ≥ 0"),
        (lambda: seir(recovery=1.5), "too large: none of the steps may exceed 1"),
        (lambda: Population([[np.inf]], lambda x: [1.0]), r"jumps\[0, 0\] is inf: must be finite"),
        (lambda: Population([[1]], lambda x: [1.0, 2.0]), "rates has 2 values: must have one for"),
        (lambda: Population([[1]], lambda x: [np.nan]), r"rates\[0\] is nan at x = "),
        (lambda: Population([[1]], lambda x: [1.0], states="AB"), "states has 2 names"),
        (lambda: Population([[1]], lambda x: [1.0], conserved=[1, 1]), "conserved has 2 columns"),
        (
            lambda: Population.from_transitions("SI", {("S", "R"): lambda x: x[0]}),
            r"transitions names the state 'R'; states are \['S', 'I'\]",
        ),
        (
            lambda: SynchronousPopulation.from_kernel(lambda x: [[0.5, 0.6], [0, 1]], start=[1, 0]),
            "kernel row 0 has sum 1.1: must be 1",
        ),
        (
            lambda: SynchronousPopulation.from_kernel(lambda x: [[1.0]]),
            "start is missing: give the state x from which to start, or states",
        ),
        (
            lambda: SynchronousPopulation(
                lambda x: x / 2, lambda x: np.zeros((1, 1)), start=[1.0], conserved=[1.0]
            ),
            "step changes what is conserved by 0.5 at start",
        ),
        (
            lambda: SynchronousPopulation(
                lambda x: x, lambda x: np.eye(2), start=[1.0, 0.0], conserved=[1.0, 1.0]
            ),
            "step_noise moves what is conserved",
        ),
        (
            lambda: SynchronousPopulation(lambda x: x, lambda x: np.eye(3), start=[1.0, 0.0]),
            r"step_noise\(x\) has shape \(3, 3\): must be \(2, 2\)",
        ),
        (
            lambda: Heterogeneous([(0, 1)], lambda z: -1 + 0 * z[..., 0], objects=2),
            r"rates\[0\] is -1 at x = ",
        ),
        (
            lambda: Heterogeneous([(0, 1)], lambda z: z[..., 0], objects=2, start=[[1, 1], [1, 0]]),
            r"start\[0\] is \[1.0, 1.0\]: must be ≥ 0 with sum 1",
        ),
        (
            lambda: exact_chain(sis(2, 1), [0.55, 0.45], 10),
            r"initial · n is \[5.5, 4.5\]: must be whole numbers",
        ),
        (lambda: exact_chain(sis(2, 1), [0.5, 0.5], 10, largest=5), "more than 5 configurations"),
        (lambda: exact_chain(seir(), [1, 0, 0, 0], 1000), "n is 1000 and there are 1"),
        (
            lambda: exact_chain(random_cache([1, 2], [1]), [[0.5, 0.5], [0.5, 0.5]]),
            "initial is not certain: each object must be in one list",
        ),
        (
            lambda: simulate(sis(2, 1), [0.5, 0.5], [1], n=10, runs=1),
            "runs is 1.0: must be a whole",
        ),
        (lambda: simulate(sis(2, 1), [0.5, 0.5], [2, 1], n=10), r"times is \[2.0, 1.0\]: must be"),
        (lambda: simulate(seir(), seir().start, [0.5], n=5), "must be whole numbers"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_steps_without_a_kernel():
    model = SynchronousPopulation(lambda x: x / 2, lambda x: [[1.0]], start=[0.0])
    for call in (exact_chain, lambda m, x, n: simulate(m, x, [1], n=n)):
        with pytest.raises(ValueError, match="model has no kernel"):
            call(model, [1.0], 2)


def test_public_names():
    assert meanfield.__all__ == sorted(meanfield.__all__)
    for name in meanfield.__all__:
        assert getattr(meanfield, name).__doc__, name
    assert Chain.__doc__


def test_the_import_is_light():
    code = "import sys, alphafair.models.meanfield; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("call", [exact_chain, lambda *a: simulate(a[0], a[1], [1.0], n=a[2])])
def test_jumps_of_a_half_are_not_rounded(call):
    """They were: the chain of this model had the mean (½, ½), the mean field has (⅓, ⅔)."""
    halves = Population([[0.5, -0.5], [-0.5, 0.5]], lambda x: [x[1], 2 * x[0]])
    assert steady_state(halves).mean == pytest.approx([1 / 3, 2 / 3], abs=1e-12)
    with pytest.raises(ValueError, match=r"jumps\[0, 0\] is 0.5: must be a whole number"):
        call(halves, [0.5, 0.5], 10)


def test_sums_are_conserved_to_rounding():
    """In 58 % of such models they were off by more than 1e−12, in stiff ones by 1e−7."""
    rng, eye = np.random.default_rng(5), np.eye(5)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    for stiff in (1, 1, 1, 1, 3, 3, 3, 3):
        speed, bend = 10 ** rng.uniform(-stiff, stiff, (5, 5)), rng.uniform(0, 3, (5, 5))

        def rates(x, speed=speed, bend=bend):
            return [speed[i, j] * x[i] * (1 + bend[i, j] * x[j]) for i, j in pairs]

        model = Population([eye[j] - eye[i] for i, j in pairs], rates)
        rest = steady_state(model)
        assert abs(rest.mean.sum() - 1) < 1e-14
        assert abs(rest.correction.sum()) < 1e-12 * max(1, np.abs(rest.correction).max())
        assert np.abs(model.drift(rest.mean)).max() < 1e-9 * speed.max()


def test_a_slow_model_comes_to_rest():
    """Its slowest rate is a ten-millionth of the fastest: it was said to cycle."""
    names, rate = "ABC", {("A", "B"): 1e3, ("B", "A"): 1e3, ("B", "C"): 1e-4, ("C", "B"): 1e-4}

    def leaving(pair):
        return lambda x: rate[pair] * x[names.index(pair[0])]

    moves = {pair: leaving(pair) for pair in rate}
    slow = Population.from_transitions(names, moves, start=[1.0, 0, 0])
    assert steady_state(slow).mean == pytest.approx([1 / 3] * 3, abs=1e-9)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (lambda x: [1 + 0 * x[0], 0 * x[0]], "it may be slow or grow without bound"),
        (lambda x: [x[0] ** 1.5 + 1, 0 * x[0]], "it may grow without bound"),
        (lambda x: [x[0] ** 3, 0 * x[0]], "it may grow without bound"),
        (lambda x: [2 * x[0] + 1, x[0]], "it may grow without bound"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_explosions_end(rates, message):
    """Some went on for ever."""
    with pytest.raises(ValueError, match=message):
        steady_state(Population([[1], [-1]], rates, start=[1.0]))


def test_enormous_rates_end():
    with pytest.raises(ValueError, match="has not come to rest by time"):
        steady_state(sis(1e300, 1))


def test_closed_forms_for_one_state_are_refused():
    """With as many states as coordinates x[0] is a state, and nothing would have said so."""
    jumps, start = [[1, -1], [-1, 1]], [0.5, 0.5]

    def one(x):
        return np.stack([x[1], 2 * x[0] ** 2])

    def slope(x):
        return np.array([[0, 1], [4 * x[0], 0]])

    def bend(x, W):
        return np.stack([0 * x[..., 0], 4 * W[..., 0, 0]], axis=-1)

    with pytest.raises(ValueError, match=r"rates.value of many states .*: write it for x of"):
        Population(jumps, Smooth(one, slope, bend), start=start)
    many = Differentiated(one).value
    with pytest.raises(ValueError, match=r"rates.jacobian of many states at once is not what"):
        Population(jumps, Smooth(many, slope, bend), start=start)
    slopes = Differentiated(one).jacobian
    rest = steady_state(Population(jumps, Smooth(many, slopes, bend), start=start))
    assert rest.mean == pytest.approx([0.5, 0.5], abs=1e-12)


def test_fields_for_one_state_are_refused():
    """The index of a transition was taken for that of the field."""
    infect = np.array([1, 0])

    def model(field):
        return Heterogeneous([(0, 1), (1, 0)], lambda z: infect * field(z) + 1, objects=3)

    assert model(lambda z: z[..., 1]).drift(np.full(6, 0.5)) == pytest.approx([-1 / 6, 1 / 6] * 3)
    with pytest.raises(ValueError, match=r"rates of many states .*: write z\[..., f\], not z\[:, "):
        model(lambda z: z[:, :, 1])


# ------------------------------------------------------------------------ unlike objects: doubt


def pairs_infect(source, strength):
    """Five unlike people; it takes two infected to infect."""
    prone, infect = np.linspace(0.5, 2.5, 5)[:, None], np.array([1, 0])

    def rates(z):
        return infect * prone * (source + strength * z[..., 1] ** 2) + 1 - infect

    return Heterogeneous([(0, 1), (1, 0)], rates, objects=5)


def test_a_refinement_that_harms_is_doubted():
    """Infections hold each other up, few of them: the mean field errs by .029, refined .054."""
    model = pairs_infect(0.2, 3)
    with pytest.warns(UserWarning, match="may be worse than the mean field: .* 3.2 times"):
        result = steady_state(model)
    truth = exact_chain(model, np.eye(2)[[1] * 5]).expectation()
    assert np.abs(result.mean - truth).max() < 0.03
    assert np.abs(result.expectation(1) - truth).max() > 0.05


@pytest.mark.parametrize("source", [1, 2])
def test_a_refinement_that_helps_is_not_doubted(source, recwarn):
    model = pairs_infect(source, 1)
    result = steady_state(model)
    truth = exact_chain(model, np.eye(2)[[1] * 5]).expectation()
    errors = [np.abs(each - truth).max() for each in (result.mean, result.expectation(1))]
    assert errors[1] < errors[0] / 2
    assert not recwarn.list


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("speeds", [[2, 0.5], [2, 0.5, 1.2, 1], np.linspace(0.5, 2, 12)])
def test_good_servers_are_not_doubted(speeds, load, recwarn):
    steady_state(heterogeneous_supermarket(speeds, load, buffer=5))
    assert not recwarn.list


def test_servers_with_a_square_are_doubted():
    model = heterogeneous_supermarket([2, 0.5], 0.7, buffer=5, self_interaction=True)
    with pytest.warns(UserWarning, match="with probability -0"):
        steady_state(model)


def test_a_refined_probability_above_one_is_told():
    with pytest.warns(UserWarning, match=r"object 0 is in state 1 with probability 1\.11"):
        steady_state(random_cache([100, 1], [1]))


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (lambda z: np.array([[1.0], [2.0]]) * z[..., 1], "rates.z. fails: .*broadcast to .3, 2"),
        (lambda z: z[..., 1] * np.array([1, 2, 3]), "rates.z. fails: operands"),
        (lambda z: np.ones(5) + 0 * z[0, 0, 0], "rates.z. has shape .5,.: the rates of a field"),
        (lambda z: [z[..., 1], 1 - z[..., 1], z[..., 0]], "rates.z. has shape .3, 3, 2"),
    ],
)
def test_rates_of_the_wrong_length_are_told_the_right_one(rates, message):
    with pytest.raises(ValueError, match=message):
        Heterogeneous([(0, 1), (1, 0)], rates, objects=3)
