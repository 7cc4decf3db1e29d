"""The refined mean field: published and exact values, orders in N, errors."""

import numpy as np
import pytest
from scipy import linalg

from alphafair.models.meanfield import (
    Heterogeneous,
    Population,
    Refined,
    Smooth,
    SynchronousPopulation,
    exact_chain,
    exact_occupancy,
    fixed_point,
    heterogeneous_supermarket,
    mean_field,
    random_cache,
    second_order,
    seir,
    sir,
    sis,
    steady_state,
    supermarket,
    transient,
)

SIS = sis(2, 1, source=0.5)
LOAD = np.broadcast_to(np.eye(2) / 3, (3, 2, 2))


def order(errors, sizes):
    """The k of errors ∝ 1/N^k, by the last two."""
    return np.log(errors[-2] / errors[-1]) / np.log(sizes[-1] / sizes[-2])


def pairs(x):
    """Rates of pairs without oneself, N x y N/(N − 1), by their orders 1 and 1/N."""
    return [2 * x[0] * x[1] + 0.5 * x[0], x[1]]


# --- steady state ---------------------------------------------------------------------------------
# Queues: values by quadrature and closed form; printed tables of Gast and Van Houdt (2017).
def test_two_choices():
    refined = steady_state(supermarket(0.9, buffer=40))
    assert refined.mean.sum() == pytest.approx(2.3526516395914894, abs=1e-9)
    assert refined.correction.sum() == pytest.approx(3.986426987175572, abs=1e-9)
    printed = {10: 2.75129, 20: 2.55197, 30: 2.48553, 50: 2.43238, 100: 2.39252}
    for n, value in printed.items():
        found = refined.expectation(n).sum()
        assert found == pytest.approx(value, abs=6e-6)  # half a digit


@pytest.mark.parametrize("choices", [1, 2, 3])
def test_fixed_point_of_queues(choices):
    jobs = np.cumsum(float(choices) ** np.arange(8))
    found = fixed_point(supermarket(0.7, choices=choices, buffer=100))
    assert found[:8] == pytest.approx(0.7**jobs, abs=1e-13)


def test_one_choice_is_a_geometric_law():
    """Queues that nobody compares: independent, so that nothing is left over."""
    refined = steady_state(supermarket(0.5, choices=1, buffer=60))
    assert np.abs(refined.correction).max() < 1e-12
    x = refined.mean
    law = np.minimum.outer(x, x) - np.outer(x, x)  # of indicators ≥ i
    assert refined.covariance == pytest.approx(law, abs=1e-12)


def test_rates_in_torch_give_the_same():
    torch = pytest.importorskip("torch")
    own = supermarket(0.9, buffer=12)

    def rates(x):
        wide = torch.cat([torch.ones(1, dtype=x.dtype), x, torch.zeros(1, dtype=x.dtype)])
        return torch.cat([0.9 * (wide[:-2] ** 2 - wide[1:-1] ** 2), wide[1:-1] - wide[2:]])

    a = steady_state(own)
    b = steady_state(Population(own.jumps, rates, start=np.zeros(12)))
    for mine, other in zip(a, b, strict=True):
        assert mine == pytest.approx(other, abs=1e-11)  # two roads to the same Newton step


def test_infection_by_hand():
    """With f = (½ + 2x)(1 − x) − x: A = f'(x), W = −x/A, V = −½ f'' W/A."""
    x = (0.5 + np.sqrt(0.25 + 4)) / 4
    A = 0.5 - 4 * x
    W = -x / A
    refined = steady_state(SIS)
    assert refined.mean == pytest.approx([1 - x, x], abs=1e-13)
    assert refined.covariance == pytest.approx(W * np.array([[1, -1], [-1, 1]]), abs=1e-13)
    assert refined.correction[1] == pytest.approx(2 * W / A, abs=1e-13)


def test_orders_in_the_number_of_objects():
    """Against the exact chain: 1/N, 1/N², 1/N³; the second order is .30744 (the peer: .4536)."""
    refined, A, sizes = steady_state(SIS), second_order(SIS), (100, 200)
    exact = [exact_chain(SIS, [0.5, 0.5], n).expectation() for n in sizes]
    errors = [
        [
            np.abs(e - approximation).max()
            for approximation in (
                refined.mean,
                refined.expectation(n),
                refined.expectation(n) + A / n**2,
            )
        ]
        for n, e in zip(sizes, exact, strict=True)
    ]
    # the next term of each expansion is a few percent of the leading one at N = 200
    assert order(np.array(errors), sizes) == pytest.approx([1, 2, 3], abs=0.05)
    assert list(A) == pytest.approx([0.30744, -0.30744], abs=1e-5)  # five digits known
    fitted = 2 * sizes[1] ** 2 * (exact[1] - refined.expectation(200))
    fitted -= sizes[0] ** 2 * (exact[0] - refined.expectation(100))
    assert fitted == pytest.approx(A, abs=1e-4)  # what 1/N² leaves over, extrapolated


def test_covariance_of_the_exact_chain():
    """What n Cov − W is falls like 1/N: extrapolated, nothing is left."""
    W = steady_state(SIS).covariance
    once, twice = (n * exact_chain(SIS, [0.5, 0.5], n).covariance() for n in (100, 200))
    assert 2 * twice - once == pytest.approx(W, abs=1e-4)


def test_three_states_that_conserve_a_sum():
    model = sir(3, 1, waning=0.5, source=0.5)
    refined, A = steady_state(model), second_order(model)
    assert abs(refined.correction.sum()) < 1e-12
    assert np.abs(refined.covariance.sum(axis=0)).max() < 1e-12
    errors = []
    for n in (32, 64):
        exact = exact_chain(model, [0.5, 0.5, 0], n).expectation()
        errors.append([np.abs(exact - refined.expectation(n) - a).max() for a in (0, A / n**2)])
    # at N = 32 the next terms are a twelfth
    assert order(np.array(errors), [32, 64]) == pytest.approx([2, 3], abs=0.25)


def test_lower_order_rates():
    """Nobody infects herself: a part of the order 1/N in the rates, and the chain has all of it."""

    def exact_rates(x, n):
        return [2 * x[0] * x[1] * n / (n - 1) + 0.5 * x[0], x[1]]

    jumps = [[-1, 1], [1, -1]]
    model = Population(
        jumps, pairs, lower_rates=lambda x: [2 * x[0] * x[1], 0.0], finite_rates=exact_rates
    )
    refined, A = steady_state(model), second_order(model)
    ignored = steady_state(Population(jumps, pairs))
    errors, second = [], []
    for n in (50, 100):
        exact = exact_chain(model, [0.5, 0.5], n).expectation()
        errors.append(np.abs(exact - refined.expectation(n)).max())
        second.append(n * np.abs(exact - ignored.expectation(n)).max())
    assert order(np.array(errors), [50, 100]) == pytest.approx(2, abs=0.05)
    assert second[1] > 0.9 * second[0] > 0.01  # without it an error of the order 1/N stays
    own = Population(jumps, pairs, lower_rates=lambda x: [2 * x[0] * x[1], 0.0])
    third = []
    for n in (50, 100):
        exact = exact_chain(own, [0.5, 0.5], n).expectation()
        third.append(np.abs(exact - refined.expectation(n) - A / n**2).max())
    assert order(np.array(third), [50, 100]) == pytest.approx(3, abs=0.1)


# --- objects that differ --------------------------------------------------------------------------
# Allmeier and Gast (2022), table 1: Zipf ½, m = (⌊.3n⌋, ⌊.3n⌋); more digits by the exact law.
@pytest.mark.parametrize(
    ("n", "printed", "mean", "refined", "with_outside"),
    [
        (10, ("0.0142", "0.00197"), 0.014174735177869078, 0.001968437144446539, 0.0027663784411652),
        (20, ("0.0074", "0.00049"), 0.007446446864406614, 0.000493010216146808, 0.0006900974225572),
        (30, ("0.0050", "0.00022"), None, None, None),
        (40, ("0.0038", "0.00012"), 0.0038192328790702, 0.0001215670192884, 0.0001711222535552),
        (50, ("0.0031", "0.00008"), 0.0030701423505537, 0.0000773601815480, 0.0001091455811912),
    ],
)
def test_table_of_the_cache(n, printed, mean, refined, with_outside):
    size = 3 * n // 10
    cache = random_cache(np.arange(1, n + 1) ** -0.5, [size, size])
    exact, found = exact_occupancy(cache), steady_state(cache)
    gaps = [np.abs(exact - each).sum(axis=0) / n for each in (found.mean, found.expectation(1))]
    errors = [gap[1:].sum() for gap in gaps]  # the table leaves out list 0
    assert (f"{errors[0]:.4f}", f"{errors[1]:.5f}") == printed
    if mean is not None:
        assert [*errors, gaps[1].sum()] == pytest.approx([mean, refined, with_outside], abs=1e-8)


def test_orders_of_the_cache():
    """1/n and 1/n², from the table above: Theorem 1 and 2 there."""
    errors = []
    for n in (20, 40):
        cache = random_cache(np.arange(1, n + 1) ** -0.5, [3 * n // 10] * 2)
        exact, found = exact_occupancy(cache), steady_state(cache)
        errors.append([np.abs(exact - e).mean() for e in (found.mean, found.expectation(1))])
    assert order(np.array(errors), [20, 40]) == pytest.approx([1, 2], abs=0.06)


CACHE_TIMES = [0.0, 0.5, 1.0, 2.0, 5.0, 10.0]
CACHE_EXACT = [  # the six placements, by the matrix exponential
    [0.0, 0.0, 1.0, 1.0],
    [0.3545347600615223, 0.2152985468605152, 0.7192623258875164, 0.7109043671904461],
    [0.5266678588124963, 0.33764346608657425, 0.5792948116652659, 0.5563938634356635],
    [0.654098611134098, 0.45573359425532234, 0.4685657120987475, 0.4216020825118326],
    [0.6988816896534089, 0.5272056825965559, 0.42154152948053053, 0.3523710982695046],
    [0.7001950656834491, 0.5318544995495034, 0.41962089888295134, 0.3483295358840963],
]
CACHE_MEAN = [
    [0.0, 0.0, 1.0, 1.0],
    [0.3374423854181063, 0.2127534778900215, 0.7276578016109584, 0.7221463350809141],
    [0.49279102055764623, 0.33324419220283724, 0.5946687433616692, 0.5792960438778482],
    [0.6089692268074168, 0.44962279801720334, 0.4873194064582228, 0.4540885687171576],
    [0.6530318070062894, 0.5171327101323583, 0.4415317389700499, 0.38830374389130223],
    [0.6543888458627453, 0.5209360611381577, 0.44016810560662023, 0.38450698739247663],
]
CACHE_REFINED = [
    [0.0, 0.0, 1.0, 1.0],
    [0.35213980910721004, 0.21516928941420924, 0.7203202473009818, 0.7123706541775991],
    [0.5200842937783929, 0.3373459513893969, 0.5819663997692175, 0.5606033550629935],
    [0.644405825633133, 0.4545192945651583, 0.4724033035723011, 0.4286715762294082],
    [0.6899019581551381, 0.5228532366733678, 0.42675023002722634, 0.36049457514426747],
    [0.6912829847825022, 0.526912900409519, 0.42531096072565844, 0.35649315408232024],
]


def test_cache_in_time():
    cache = random_cache(np.arange(1, 5) ** -0.8, [2])
    start = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    refined = transient(cache, start, CACHE_TIMES)
    assert refined.mean[..., 1] == pytest.approx(np.array(CACHE_MEAN), abs=1e-6)
    assert refined.expectation(1)[..., 1] == pytest.approx(np.array(CACHE_REFINED), abs=1e-6)
    exact = exact_chain(cache, start).transient(CACHE_TIMES)
    assert exact[..., 1] == pytest.approx(np.array(CACHE_EXACT), abs=1e-6)
    assert mean_field(cache, start, CACHE_TIMES) == pytest.approx(refined.mean, abs=1e-12)


# Mean queues: exact, then x and x + V with the square of the paper and without self-interaction.
@pytest.mark.filterwarnings("ignore:the refinement says")  # with the square, rightly
@pytest.mark.parametrize(
    ("speeds", "exact", "squared", "linear"),
    [
        (
            [2.0, 0.5],
            1.5562049291364994,
            (1.4278703479404367, 1.9973221198163107),
            (1.5629687120304756, 1.5638757049229346),
        ),
        (
            [2.0, 0.5, 1.2, 1.0],
            1.2857138785782194,
            (1.1326066623462487, 1.3339118380088137),
            (1.2559646495317518, 1.2941634488848353),
        ),
    ],
)
def test_few_servers(speeds, exact, squared, linear):
    jobs = np.arange(6)
    for itself, values in ((True, squared), (False, linear)):
        model = heterogeneous_supermarket(speeds, 0.7, buffer=5, self_interaction=itself)
        refined = steady_state(model)
        found = [(each @ jobs).mean() for each in (refined.mean, refined.expectation(1))]
        assert found == pytest.approx(values, abs=1e-8)
    chain = exact_chain(model, model.start.reshape(model.shape))
    assert (chain.expectation() @ jobs).mean() == pytest.approx(exact, abs=1e-8)


# Twenty servers, and ten that are equal: of those none has more than 12 jobs (ρ^4095).
SPEEDS = [2.0] * 4 + [0.5] * 4 + list(1 + 0.4 * np.arange(12) / 11)


@pytest.mark.parametrize(
    ("speeds", "load", "itself", "values"),
    [
        ([1.0] * 10, 0.9, True, (2.3526516395914894, 2.7512943383090467)),
        (SPEEDS, 1.0, True, (2.3269467216408897, 2.4648381684060294)),
        (SPEEDS, 1.0, False, (2.3970231281624663, 2.4669715732909805)),
    ],
)
def test_many_servers(speeds, load, itself, values):
    model = heterogeneous_supermarket(speeds, load, buffer=12, self_interaction=itself)
    refined, jobs = steady_state(model), np.arange(13)
    found = [(each @ jobs).mean() for each in (refined.mean, refined.expectation(1))]
    assert found == pytest.approx(values, abs=1e-7)


def test_equal_servers_are_a_population():
    """With the square, n equal servers have the mean field of the supermarket, and its V/n."""
    one = steady_state(supermarket(0.9, buffer=6))
    many = steady_state(heterogeneous_supermarket([1.0] * 5, 0.9, buffer=6, self_interaction=True))
    upto = np.cumsum(many.expectation(1)[0][::-1])[::-1][1:]
    assert upto == pytest.approx(one.expectation(5), abs=1e-9)  # solved to 1e−10


def infection_rates(prone):
    def rates(z):
        both = prone[:, None] * z[..., 1] ** 2 + 0.4
        return both * np.array([1, 0]) + np.array([0, 1])

    return rates


def test_derivatives_of_a_field():
    """f, Df and D²f : W of a curved field, in both ways, against differences of f."""
    rng = np.random.default_rng(0)
    prone, load = rng.uniform(1, 2, 3), rng.random((3, 2, 2))
    for itself in (True, False):
        model = Heterogeneous(
            [(0, 1), (1, 0)],
            infection_rates(prone),
            objects=3,
            load=load,
            self_interaction=itself,
        )
        check_derivatives(model, rng.random(6))


@pytest.mark.parametrize("name", ["supermarket", "servers", "cache", "seir", "sir"])
def test_derivatives_of_the_models(name):
    rng = np.random.default_rng(1)
    model = {
        "supermarket": lambda: supermarket(0.8, choices=3, buffer=4),
        "servers": lambda: heterogeneous_supermarket([1.0, 2.0, 3.0], 0.8, buffer=3),
        "cache": lambda: random_cache([1.0, 2.0, 3.0, 4.0, 5.0], [1, 2]),
        "seir": seir,
        "sir": lambda: sir(2, 1, waning=0.5, source=0.3),
    }[name]()
    x = np.sort(rng.random(model.start.size))[::-1]  # more queues are longer than 1 than than 2
    check_derivatives(model, x / x.sum() if name == "seir" else x)


def check_derivatives(model, x):
    """Central differences of f, exact for cubic f up to rounding; batches as one by one."""
    h, eye = 1e-3, np.eye(x.size)
    A = np.stack([(model.drift(x + h * e) - model.drift(x - h * e)) / (2 * h) for e in eye], 1)
    assert model.jacobian(x) == pytest.approx(A, abs=1e-5)  # h² of the third derivative
    W = np.random.default_rng(2).random((x.size, x.size))
    W = W + W.T
    second = sum(
        W[i, j] * (model.jacobian(x + h * eye[j])[:, i] - model.jacobian(x - h * eye[j])[:, i])
        for i in range(x.size)
        for j in range(x.size)
    ) / (2 * h)
    assert model.curvature(x, W) == pytest.approx(second, abs=1e-3)
    batch, twice = np.stack([x, 0.9 * x + 0.1 * x.mean()]), np.stack([W, 2 * W])
    pairs = (
        (model.jacobian(batch)[0], model.jacobian(x)),
        (model.curvature(batch, twice)[0], model.curvature(x, W)),
        (model.noise(batch)[0], model.noise(x)),
        (model.drift(batch)[1], model.drift(batch[1])),
    )
    for left, right in pairs:
        assert left == pytest.approx(right, abs=1e-12)


# --- in time --------------------------------------------------------------------------------------
def test_arrivals_and_departures():
    """Linear rates: V = 0, x and W are those of a binomial and a Poisson variable, exactly."""
    model = Population([[1], [-1]], lambda x: [1.0 + 0 * x[0], x[0]], start=[0.0])
    times = np.array([0.0, 0.1, 1.0, 5.0, 40.0])
    refined, left = transient(model, [3.0], times), np.exp(-times)
    assert refined.mean[:, 0] == pytest.approx(1 + 2 * left, abs=1e-9)  # tolerance of the path
    assert np.abs(refined.correction).max() < 1e-12
    W = 3 * left * (1 - left) + 1 - left
    assert refined.covariance[:, 0, 0] == pytest.approx(W, abs=1e-8)  # ten times its tolerance
    rest = steady_state(model)
    assert rest.covariance == pytest.approx(np.ones((1, 1)), abs=1e-12)


def test_orders_in_time():
    """SIR without a steady state, against the exact chain."""
    model, start, times = sir(2, 1), [0.75, 0.25, 0], [0.5]
    refined, errors = transient(model, start, times), []
    for n in (20, 40):
        exact = exact_chain(model, start, n).transient(times)
        errors.append(
            [np.abs(exact - each).max() for each in (refined.mean, refined.expectation(n))]
        )
    assert order(np.array(errors), [20, 40]) == pytest.approx([1, 2], abs=0.15)  # next terms


def test_time_ends_in_the_steady_state():
    for model in (SIS, supermarket(0.6, buffer=5), seir()):
        rest = steady_state(model)
        late = transient(model, model.start, [3000 if model.synchronous else 100])
        for mine, other in zip(late, rest, strict=True):
            assert mine[0] == pytest.approx(other, abs=1e-7)  # e^(−t) and the tolerance in time


def test_steps_of_independent_objects():
    """Against the exact chain of the epidemic in steps, and by its equations written out."""
    model, start, times = seir(), [0.2, 0.2, 0.2, 0.4], [0, 5, 20]
    refined, errors = transient(model, start, times), []
    for n in (5, 10):
        exact = exact_chain(model, start, n).transient(times)
        errors.append(
            [np.abs(exact - each)[1:].max() for each in (refined.mean, refined.expectation(n))]
        )
    assert order(np.array(errors), [5, 10]) == pytest.approx([1, 2], abs=0.1)  # next terms
    s, e, i, r = start
    after = [
        s * (1 - 0.01 - 0.08 * i) + 0.01 * r,
        s * (0.01 + 0.08 * i) + 0.96 * e,
        0.04 * e + 0.98 * i,
        0.02 * i + 0.99 * r,
    ]
    assert mean_field(model, start, [1])[0] == pytest.approx(after, abs=1e-15)
    rest = steady_state(model)
    A, W = model.jacobian(rest.mean), rest.covariance
    assert A @ W @ A.T + model.noise(rest.mean) == pytest.approx(W, abs=1e-12)


def test_corrections_in_steps():
    """Φ(x) = x/2 with noise 1 and Φ1 = 1: V → 2, W → 4/3."""
    model = SynchronousPopulation(
        lambda x: x / 2, lambda x: [[1.0]], lower_step=lambda x: [1.0 + 0 * x[0]], start=[1.0]
    )
    rest, two = steady_state(model), transient(model, [1.0], [2])
    assert (rest.correction[0], rest.covariance[0, 0]) == pytest.approx((2, 4 / 3))
    assert (two.mean[0, 0], two.correction[0, 0], two.covariance[0, 0, 0]) == (0.25, 1.5, 1.25)


def test_stiff_and_slow_are_the_same():
    """Another unit of time changes nothing."""
    slow = sis(2e-6, 1e-6, source=0.5e-6)
    for mine, other in zip(steady_state(slow), steady_state(SIS), strict=True):
        assert mine == pytest.approx(other, abs=1e-12)
    late, soon = transient(slow, [0.5, 0.5], [1e6]), transient(SIS, [0.5, 0.5], [1.0])
    for mine, other in zip(late, soon, strict=True):
        assert mine == pytest.approx(other, abs=1e-8)  # the tolerance in time


# --- what follows from x, V and W -----------------------------------------------------------------
def test_functions_of_the_state():
    refined = steady_state(SIS)
    x, V, W = refined.mean[1], refined.correction[1], refined.covariance[1, 1]
    found = refined.expectation_of(lambda y: [y[1], y[1] ** 2, y[0] * y[1]], 50)
    second = x**2 + (2 * x * V + W) / 50
    assert found == pytest.approx([x + V / 50, second, x + V / 50 - second], abs=1e-13)
    plain = refined.expectation_of(lambda y: np.log(y[1]), 50)  # numpy: by differences
    assert plain == pytest.approx([np.log(x) + (V / x - W / (2 * x**2)) / 50], abs=1e-10)
    assert refined.deviation(50) == pytest.approx(np.sqrt(np.diag(refined.covariance) / 50))


def test_functions_of_objects_in_time():
    cache = random_cache([1.0, 2.0, 3.0], [1])
    refined = transient(cache, [[0, 1], [1, 0], [1, 0]], [0.0, 1.0])
    hits = refined.expectation_of(lambda x: (x[:, 1] * x[:, 0]).sum(), 1)
    flat = refined.covariance[1][np.arange(3), 0, np.arange(3), 1].sum()
    V, x = refined.correction[1], refined.mean[1]
    by_hand = (x[:, 0] * x[:, 1] + V[:, 0] * x[:, 1] + x[:, 0] * V[:, 1]).sum() + flat
    assert hits.ravel() == pytest.approx([0.0, by_hand], abs=1e-12)
    assert refined.deviation(1).shape == (2, 3, 2)


# --- errors ---------------------------------------------------------------------------------------
def brusselator(x):
    return [1.0 + 0 * x[0], 3 * x[0], x[0] ** 2 * x[1], x[0]]


OSCILLATING = Population([[1, 0], [-1, 1], [1, -1], [-1, 0]], brusselator, start=[1.0, 1.0])


def test_unstable_fixed_points():
    nobody = Population([[-1, 1], [1, -1]], lambda x: [2 * x[0] * x[1], x[1]], start=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"not stable: the largest real part .* is 1, not < 0"):
        steady_state(nobody)
    doubling = SynchronousPopulation(lambda x: 2 * x, lambda x: [[1.0]], start=[0.0])
    with pytest.raises(ValueError, match=r"largest modulus of an eigenvalue is 2, not < 1"):
        steady_state(doubling)
    critical = r"is -[0-9.]+e-1\d, not clearly < 0"  # x' = −x²: Newton's method stops near 0
    with pytest.raises(ValueError, match=critical):
        steady_state(sis(1, 1))
    with pytest.raises(ValueError, match="not stable"):  # a line of fixed points: all immune
        steady_state(sir(2, 1))


def test_a_cycle_is_not_a_steady_state():
    with pytest.raises(ValueError, match="has not come to rest by time"):
        steady_state(OSCILLATING)
    turning = transient(OSCILLATING, [1.0, 1.0], [0, 5.0, 10.0])
    assert np.isfinite(turning.covariance).all()


def test_no_fixed_point():
    with pytest.raises(ValueError, match=r"has not come to rest|is not finite"):
        steady_state(Population([[1]], lambda x: [1.0 + 0 * x[0]], start=[0.0]))
    growing = Population([[1]], lambda x: [x[0] ** 2], start=[1.0])
    with pytest.raises(ValueError, match="the mean field stops at time"):
        transient(growing, [1.0], [2.0])


def test_negative_rates():
    with pytest.raises(ValueError, match=r"rates\[1\] is -1 at x = \[1. 0.\]: must be finite"):
        Population([[-1, 1], [1, -1]], lambda x: [x[0], x[1] - x[0]], start=[1.0, 0.0])
    falling = Population([[-1]], lambda x: [1 + 0 * x[0]], start=[1.0])
    assert falling.noise(np.array([0.5])) == pytest.approx(1)
    turning = Population([[-1]], lambda x: [x[0] - 0.5], start=[1.0], lower_rates=None)
    with pytest.raises(ValueError, match=r"rates\[0\] is -0.3"):
        transient(turning, [0.2], [1.0])


def test_jumps_that_do_not_conserve():
    with pytest.raises(ValueError, match=r"jumps\[1\] is \[1.0, 0.0\] and changes conserved sum 0"):
        Population([[-1, 1], [1, 0]], pairs, conserved=[1, 1])
    with pytest.raises(ValueError, match="initial has the conserved sum 100"):
        transient(SIS, [90, 10], [1.0])


@pytest.mark.parametrize("times", [[-1.0], [1.0, 1.0], [2.0, 1.0], [np.inf], [np.nan]])
def test_times_that_are_none(times):
    with pytest.raises(ValueError, match="times is"):
        transient(SIS, [0.5, 0.5], times)


def test_other_errors():
    with pytest.raises(ValueError, match="must be whole numbers, the model has steps"):
        transient(seir(), seir().start, [0.5])
    with pytest.raises(ValueError, match=r"n is 0.0: must be > 0"):
        steady_state(SIS).expectation(0)
    with pytest.raises(ValueError, match="rates that torch cannot differentiate"):
        second_order(supermarket(0.5))
    with pytest.raises(ValueError, match=r"initial has shape \(3,\): must be \(2,\)"):
        transient(SIS, [1, 0, 0], [1.0])


def test_closed_forms_are_used():
    """A `Smooth` with a wrong contraction gives a wrong V: it is what is asked."""
    smooth = Smooth(
        lambda x: np.stack([1 + 0 * x[..., 0], x[..., 0] ** 2], -1),
        lambda x: np.stack([0 * x, 2 * x], -2),
        lambda x, W: np.stack([0 * x[..., 0], 2 * W[..., 0, 0]], -1),
    )
    refined = steady_state(Population([[1], [-1]], smooth, start=[0.5]))
    assert isinstance(refined, Refined)
    # f = 1 − x²: A = −2, Q = 2, W = ½, ½ f'' W = −½, V = −¼
    assert [refined.covariance[0, 0], refined.correction[0]] == pytest.approx([0.5, -0.25])
    assert linalg.norm(refined.mean - 1) < 1e-12


# --- kinks ----------------------------------------------------------------------------------------
# Lamps that burn out at rate x and of which one half at a time can be mended: min(1 − x, ½).
def bent_in_numpy(x):
    return [np.minimum(1 - x[0], 0.5), x[0]]


def bent_in_torch(x):
    import torch

    return [torch.minimum(1 - x[0], 0.5 + 0 * x[0]), x[0]]


def bent_in_closed_form():
    return Smooth(
        lambda x: np.concatenate([np.minimum(1 - x, 0.5), x], axis=-1),
        lambda x: np.stack([-1.0 * (x > 0.5), np.ones_like(x)], -2),
        lambda x, W: np.zeros((*x.shape[:-1], 2)),
    )


@pytest.mark.parametrize("rates", [bent_in_numpy, bent_in_torch, bent_in_closed_form()])
def test_a_fixed_point_on_a_kink_is_refused(rates):
    """The exact mean at N = 50 is .477; V was −13.7 by differences and 0 by torch."""
    model = Population([[1], [-1]], rates, start=[0.3])
    message = r"x = \[0.5\] is on a kink of rates\[0\], whose slope along \[1.\] is 0 before and -1"
    with pytest.raises(
        ValueError, match=message + r" after it: there is no V, since .*write a smooth"
    ):
        steady_state(model)
    assert fixed_point(model)[0] == pytest.approx(0.5, abs=1e-9)
    # 50 (½ − mean)² → .16525²: half normal laws with variances ½ and ¼, joined at the kink
    exact = exact_chain(Population([[1], [-1]], bent_in_numpy, start=[0.0]), [0.0], 50)
    assert exact.expectation()[0] == pytest.approx(0.5 - 0.16525 / 50**0.5, abs=1e-3)


def test_jumps_are_found_as_well():
    """At rest on a jump the mean field goes to and fro, and Newton's method finds nothing."""

    def rates(x):
        return [0.9 * (x[0] < 0.5) + 0.1, 1.0 * x[0]]

    model = Population([[1], [-1]], rates, start=[0.3])
    with pytest.raises(ValueError, match=r"is on a jump of rates\[0\], by -0.9 along \[1.\]"):
        steady_state(model)
    with pytest.warns(UserWarning, match=r"crosses, .*, a jump of rates\[0\], by -0.5 along"):
        transient(Population([[1], [-1]], lambda x: [1 - 0.5 * (x[0] > 0.2), x[0]]), [0.0], [0.4])


def servers(c):
    """Half of the jobs at rest wait if c servers are slower than what comes."""

    def rates(x):
        import torch

        return [0.45 + 0 * x[0], torch.clamp(x[0], max=c)]

    return Population([[1], [-1]], rates, start=[0.1])


def test_a_kink_that_is_near():
    """At .45, with min(x, .46): W = .45, so N must be well above .45/.01² = 4500."""
    message = (
        r"\[0.45\] is 0.01 from a kink of rates\[1\], whose slope along \[1.\] is 1 before and 0"
    )
    with pytest.warns(UserWarning, match=message + r".* N is well above 4500"):
        refined = steady_state(servers(0.46))
    assert refined.correction[0] == pytest.approx(0, abs=1e-12)
    assert steady_state(servers(0.6)).covariance[0, 0] == pytest.approx(0.45)  # far enough
    by_differences = Population([[1], [-1]], lambda x: [0.45, np.minimum(x[0], 0.46)], start=[0.1])
    with pytest.raises(ValueError, match=r"is 0.01 from a kink .* differences that reach 0.03 far"):
        steady_state(by_differences)


@pytest.mark.parametrize("rates", [bent_in_numpy, bent_in_torch])
def test_a_path_that_crosses_a_kink(rates):
    """By x' = min(1 − x, ½) − x/4 it goes from 0 to .8, and is at ½ at time 4 log(4/3)."""

    def slower(x):
        gain, loss = rates(x)
        return [gain, loss / 4]

    model = Population([[1], [-1]], slower, start=[0.0])
    message = r"crosses, at about time 1.15, a kink of rates\[0\], .* is 0 before and -1 after"
    with pytest.warns(UserWarning, match=message):
        transient(model, [0.0], [3.0])
    transient(model, [0.0], [0.9])  # no warning before it
    transient(model, [0.9], [3.0])
    with pytest.warns(UserWarning, match=r"ends, at time 1.1, near a kink of rates\[0\]"):
        transient(model, [0.0], [1.1])


def test_kinks_of_steps_and_of_objects():
    step = SynchronousPopulation(
        lambda x: [0.25 + np.minimum(x[0] / 2, 0.25)], lambda x: [[1.0]], start=[0.5]
    )
    with pytest.raises(ValueError, match=r"is on a kink of step\[0\]"):
        steady_state(step)
    with pytest.warns(UserWarning, match=r"ends, at time 3, near a kink of step\[0\]"):
        transient(step, [0.5], [3])
    # the fraction in state 1, with half of the others there, as felt in state 0 and in state 1
    half, bend = np.array([1 / 3, 2 / 3]), np.array([0.5, 0])
    objects = Heterogeneous(
        [(0, 1), (1, 0)], lambda z: 1 - bend * np.abs(z[..., 1] - half), objects=3, load=LOAD
    )
    with pytest.raises(ValueError, match=r"is on a kink of drift\[\d\]"):
        steady_state(objects)


def test_two_kinks_that_cancel_in_some_directions():
    """|a| − |b| is smooth along (1, 1) and (1, −1), in which the noise is largest and least."""
    ways = [[1, 1], [-1, -1], [1, -1], [-1, 1]]

    def rates(x):
        bent = 0.1 * (np.abs(x[0]) - np.abs(x[1]))
        pull = x[0] + x[1], x[0] - x[1]
        return [3 - pull[0] + bent, 3 + pull[0] + bent, 1 - pull[1] / 4, 1 + pull[1] / 4]

    with pytest.raises(ValueError, match=r"is on a kink of rates\[[01]\]"):
        steady_state(Population(ways, rates, start=[0.0, 0.0]))


@pytest.mark.parametrize("source", [0.0, 1e-12, 1e-6, 1e-3])
def test_what_bends_at_the_border_of_the_states_is_no_kink(source):
    """max(x, 0) at a fraction that is, or is almost, 0: X is never below."""
    model = Population(
        [[-1, 1], [1, -1]], lambda x: [source * x[0], np.maximum(x[1], 0)], start=[1.0, 0.0]
    )
    assert steady_state(model).mean[1] == pytest.approx(source, rel=2e-3)


@pytest.mark.parametrize("sharpness", [1, 10, 100, 1000])
def test_smooth_rates_are_not_refused(sharpness):
    """However sharply they bend."""

    def rates(x):
        import torch

        arms = torch.stack([-sharpness * (1 - x[0]), -sharpness / 2 + 0 * x[0]])
        return [1 - torch.logsumexp(arms, 0) / sharpness, 1 + x[0]]

    model = Population([[1], [-1]], rates, start=[0.3])
    assert steady_state(model).covariance[0, 0] > 0
    transient(model, [1.0], [2.0])


# --- what is no population ------------------------------------------------------------------------
def test_sums_that_jumps_keep():
    """As conserved, without being told."""
    model = Population([[-1, 1], [1, -1]], pairs)
    with pytest.raises(
        ValueError, match=r"initial is \[0.9, 0.2\], with sum 1.1, .* start has sum 1"
    ):
        transient(model, [0.9, 0.2], [1.0])
    other = Population([[-1, 1], [1, -1]], pairs, start=[0.9, 0.2])
    assert transient(other, [0.6, 0.5], [1.0]).mean.sum() == pytest.approx(1.1)
    free = Population([[1], [-1]], lambda x: [1.0, x[0]], start=[0.0])  # jumps keep nothing
    assert transient(free, [7.0], [0.0]).mean[0, 0] == 7


def test_values_of_the_wrong_length():
    swap = [[-1, 1], [1, -1]]
    with pytest.raises(
        ValueError, match="lower_rates has 1 values: must have one for each of the 2"
    ):
        Population(swap, pairs, lower_rates=lambda x: [x[0]])
    short = Population(swap, pairs, finite_rates=lambda x, n: [x[0]])
    with pytest.raises(ValueError, match="rates has 1 values: must have one for each of the 2"):
        exact_chain(short, [0.5, 0.5], 4)
    ragged = Population(swap, lambda x: [x[0], x[1]][: 2 if x[0] > 0.4 else 1])
    with pytest.raises(ValueError, match=r"has \[1, 2\] values: must be as many at all x"):
        ragged.drift(np.array([[0.5, 0.5], [0.3, 0.7]]))
    with pytest.raises(ValueError, match="takes neither arrays nor tensors: it must return a list"):
        Population(swap, lambda x: {0: x[0], 1: x[1]})


def test_rates_that_are_nan_on_the_way():
    gone = Population([[-1]], lambda x: [x[0] if x[0] > 0.3 else np.nan], start=[1.0])
    with pytest.raises(
        ValueError, match=r"stops at time 1.2\d*, at x = \[0.3\]: .* jump or be nan"
    ):
        transient(gone, [1.0], [5.0])
