"""Derivatives with a baseline and bounds: differences, adjoints, integers, and 50 digits.

Every parameter moves at once, in a random direction; the doses and the welfare along that line are
differentiated by a central difference of fourth order.  Where somebody begins or fills an item on
the way the optimum has a kink, and the problem is passed over.
"""

import itertools

import mpmath
import numpy as np
import pytest

import alphafair as af

ALPHAS = (0, 0.3, 1, 2, 5, np.inf)
WITHINS = (0, 0.3, 1, 2, np.inf)
ARGUMENTS = ("baseline", "floor", "cap", "weight", "group_floor", "group_cap")
SUBSETS = [s for size in range(7) for s in itertools.combinations(ARGUMENTS, size)]
STEP = 2e-5
STENCIL = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}  # of fourth order, times 1/STEP


def random_arguments(seed, given):
    """The positional arguments of a problem of a few people, and those that are ``given``."""
    rng = np.random.default_rng(seed)
    persons, treatments, groups = (int(rng.integers(*span)) for span in ((4, 10), (1, 4), (1, 4)))
    shape = (persons, treatments)
    group = np.concatenate([np.arange(groups), rng.integers(0, groups, persons - groups)])
    benefit, cost = rng.uniform(1, 5, shape), rng.uniform(0.3, 1.5, shape)
    budget = 10 ** rng.uniform(-0.5, 1.3)
    each = budget / persons
    arguments = {}
    if "baseline" in given:
        arguments["baseline"] = rng.uniform(0.1, 3, persons)
    if "cap" in given:
        arguments["cap"] = each / cost * 10 ** rng.uniform(-1, 1, shape)
    if "floor" in given:
        floor = np.where(rng.random(shape) < 0.2, 0.3 * each / treatments, 0.0) / cost
        arguments["floor"] = np.minimum(floor, 0.7 * arguments.get("cap", np.inf))
    if "weight" in given:
        arguments["weight"] = rng.uniform(0.5, 2, groups)
    least, most = np.zeros(groups), np.full(groups, np.inf)
    if "cap" in given:
        most = np.bincount(group, (cost * arguments["cap"]).sum(axis=1))
    if "group_floor" in given:
        some = rng.random(groups) < 0.6
        least = np.minimum(budget / groups * rng.uniform(0, 0.6, groups) * some, 0.9 * most)
        arguments["group_floor"] = least
    if "group_cap" in given:
        if "floor" in given:
            least = np.maximum(least, np.bincount(group, (cost * floor).sum(axis=1)))
        bound = least + budget / groups * rng.uniform(0.1, 1.5, groups)
        arguments["group_cap"] = np.where(rng.random(groups) < 0.3, np.inf, bound)
    return {"benefit": benefit, "cost": cost, "group": group, "budget": budget} | arguments


def random_directions(seed, arguments, alpha):
    """A direction in every parameter; small where a bound could be overtaken."""
    rng = np.random.default_rng(seed)
    sizes = {"benefit": 1, "cost": 0.5, "budget": 0.5, "floor": 1, "cap": 0.3, "group_floor": 0.2}
    directions = {
        name: rng.normal(size=np.shape(value)) * size * value
        for name, size in sizes.items()
        if (value := arguments.get(name)) is not None
    }
    groups = arguments["group"].max() + 1
    directions["weight"] = 0.3 * rng.normal(size=groups)
    if "baseline" in arguments:
        directions["baseline"] = 0.3 * rng.normal(size=len(arguments["baseline"]))
    if "group_cap" in arguments:
        bound = arguments["group_cap"]
        finite = np.where(np.isfinite(bound), bound, 0.0)
        directions["group_cap"] = 0.2 * rng.normal(size=groups) * finite
    if 0 < alpha < np.inf:
        directions["alpha"] = 0.3 * rng.normal()
    return directions


def moved(arguments, directions, step):
    """The arguments, a step away from where they are."""
    return {name: x + step * directions.get(name, 0.0) for name, x in arguments.items()}


def pattern(a):
    """Who moves, and what is held at a bound: what changes at a kink."""
    floor = 0.0 if a.problem.floor is None else a.problem.floor
    parts = (a.dose > floor, a.at_cap, a.at_group_floor, a.at_group_cap, a.is_open)
    return [part.tolist() for part in parts]


def difference(along):
    """The derivative at 0 of values along a line, by steps −2, −1, 1, 2."""
    return sum(weight * along[step] for step, weight in STENCIL.items()) / STEP


def inner(derivative, directions):
    """Σ derivative · direction, and the sum of the sizes of its terms."""
    terms = [np.ravel(getattr(derivative, name) * x) for name, x in directions.items()]
    terms = np.concatenate(terms)
    return terms.sum(), np.abs(terms).sum()


def compare_with_differences(alpha, within, number):
    """False where there is a kink; else compare jvp, gradient and vjp."""
    seed = [ALPHAS.index(alpha), WITHINS.index(within), number]
    arguments = random_arguments(seed, SUBSETS[number])
    group = arguments.pop("group")
    groups = group.max() + 1
    directions = random_directions(seed, arguments | {"group": group}, alpha)
    arguments = {"alpha": alpha, "weight": np.ones(groups)} | arguments

    def solve(step):
        return af.allocate(group=group, within=within, **moved(arguments, directions, step * STEP))

    a = solve(0)
    along = {step: solve(step) for step in STENCIL}
    for other in along.values():
        if pattern(other) != pattern(a):
            return False
    money = arguments["budget"]
    got = a.jacobian().jvp(**directions)
    expected = difference({step: x.dose for step, x in along.items()})
    assert np.abs((got - expected) * arguments["cost"]).max() <= 1e-7 * money, number
    # Along the line α moves, too; at the optimum of α that does not change W_α to first order.
    welfare = {
        step: af.welfare(x.group_utility, alpha, x.problem.weight) for step, x in along.items()
    }
    inputs = {name: x for name, x in directions.items() if name != "alpha"}
    total, size = inner(a.gradient(), inputs)
    assert abs(total - difference(welfare)) <= 1e-7 * size, number
    cotangent = np.random.default_rng([*seed, 1]).normal(size=got.shape)
    pulled, size = inner(a.jacobian().vjp(cotangent), directions)
    assert abs((cotangent * got).sum() - pulled) <= 1e-12 * (size + np.abs(cotangent * got).sum())
    return True


@pytest.mark.parametrize(("alpha", "within"), list(itertools.product(ALPHAS, WITHINS)))
def test_against_differences(alpha, within):
    """Each of the 64 subsets of the arguments, all parameters at once."""
    smooth = [compare_with_differences(alpha, within, number) for number in range(len(SUBSETS))]
    assert sum(smooth) >= 56


@pytest.mark.parametrize("within", [0, 0.3, 1, np.inf])
@pytest.mark.parametrize("alpha", [0, 0.3, 2, np.inf])
def test_dense_is_jvp_of_unit_vectors_and_its_transpose_vjp(alpha, within):
    arguments = random_arguments([11], ARGUMENTS)
    a = af.allocate(alpha=alpha, within=within, **arguments)
    jacobian, problem = a.jacobian(), a.problem
    cotangent = np.random.default_rng(12).normal(size=problem.shape)
    pulled = jacobian.vjp(cotangent)
    shapes = {name: getattr(problem, name).shape for name in ("benefit", "cost", *ARGUMENTS)}
    for name, shape in shapes.items():
        dense = jacobian.dense(name)
        assert dense.shape == problem.shape + shape
        for index in np.ndindex(*shape):
            unit = np.zeros(shape)
            unit[index] = 1.0
            assert np.array_equal(dense[(..., *index)], jacobian.jvp(**{name: unit}))
        product = np.tensordot(cotangent, dense, axes=2)
        size = np.tensordot(np.abs(cotangent), np.abs(dense), axes=2).max()
        np.testing.assert_allclose(getattr(pulled, name), product, atol=1e-13 * max(size, 1.0))


# --- by hand ------------------------------------------------------------------------------------
def test_baseline_by_hand():
    """Utilities are (3 + 5, 8), so that μ = 1/8 for both; what the first one has more is shared."""
    a = af.allocate([1, 1], 1, ["a", "b"], 13, 1, baseline=[3, 0])
    assert a.dose[:, 0].tolist() == [5, 8]
    assert a.gradient().baseline == pytest.approx([1 / 8, 1 / 8], rel=1e-15)
    assert a.jacobian().jvp(baseline=[2, 0])[:, 0] == pytest.approx([-1, 1], rel=1e-15)
    assert a.jacobian().vjp([1, 0]).baseline == pytest.approx([-1 / 2, 1 / 2], rel=1e-15)


def test_baseline_of_somebody_who_gets_nothing():
    """Somebody has 10 already; a unit more of it is worth 1/10, and moves no money."""
    a = af.allocate([1, 1], 1, ["a", "b"], 4, 1, baseline=[0, 10])
    assert a.gradient().baseline == pytest.approx([1 / 4, 1 / 10], rel=1e-15)
    assert a.jacobian().jvp(baseline=[0, 1])[:, 0].tolist() == [0, 0]


def test_floor_by_hand():
    """Group a is held at 6 of 8 and b has 2: at the floor a unit is worth 1/6 − 1/2 = −1/3."""
    a = af.allocate([1, 1], 1, ["a", "b"], 8, 1, floor=[6, 0])
    assert a.dose[:, 0] == pytest.approx([6, 2], rel=1e-15)
    assert a.gradient().floor[:, 0] == pytest.approx([-1 / 3, 0], rel=1e-15)
    assert a.gradient().budget == pytest.approx(1 / 2, rel=1e-15)
    assert a.jacobian().jvp(floor=[1, 0])[:, 0] == pytest.approx([1, -1], rel=1e-15)
    assert a.jacobian().jvp(floor=[0, 1])[:, 0].tolist() == [0, 0]  # b is above hers


def test_group_cap_by_hand():
    """Group a may have 2 of 8, b has 6: a unit of the bound is worth 1/2 − 1/6 = 1/3."""
    a = af.allocate([1, 1], 1, ["a", "b"], 8, 1, group_cap=[2, np.inf])
    assert a.group_price == pytest.approx([1 / 2, 1 / 6], rel=1e-14)
    assert a.gradient().group_cap == pytest.approx([1 / 3, 0], rel=1e-15)
    assert a.jacobian().jvp(group_cap=[1, 0])[:, 0] == pytest.approx([1, -1], rel=1e-15)
    assert a.jacobian().jvp(budget=1)[:, 0] == pytest.approx([0, 1], rel=1e-15)


def test_group_floor_by_hand():
    """Group b must have 6 of 8, a has 2: a unit of the bound costs 1/2 − 1/6 = 1/3."""
    a = af.allocate([1, 1], 1, ["a", "b"], 8, 1, group_floor={"a": 0, "b": 6})
    assert a.group_price == pytest.approx([1 / 2, 1 / 6], rel=1e-14)
    assert a.gradient().group_floor == pytest.approx([0, -1 / 3], rel=1e-15)
    assert a.jacobian().jvp(group_floor=[0, 1])[:, 0] == pytest.approx([-1, 1], rel=1e-15)


@pytest.mark.parametrize(("alpha", "price"), [(0, 3), (1, 1.5), (2, 0.75), (np.inf, 3)])
@pytest.mark.parametrize("within", [0, 0.5, 2, np.inf])
def test_the_first_unit_of_budget(alpha, price, within):
    """Group a has 2 and turns money into utility at rate 3, b has 12 and rate 1: 3/2^α."""
    a = af.allocate([3, 1], 1, ["a", "b"], 0, alpha, within=within, baseline=[2, 12])
    assert a.price == pytest.approx(price, rel=1e-14)
    assert a.gradient().budget == a.price
    assert a.group_share.tolist() == [1, 0]
    assert a.dose[:, 0].tolist() == [0, 0]
    assert a.jacobian().jvp(budget=1)[:, 0] == pytest.approx([1, 0], abs=1e-15)


# --- 50 digits ------------------------------------------------------------------------------------
def test_levels_to_50_digits():
    """ε = 1/2, α = 2 and one price: three people in two groups, by the secant method in 60 digits.

    One is at her cap, one has a baseline.  The unknowns are the doses of the other two, who share
    what the cap leaves; their marginal worths w U^{−α} (1/G) (U/u)^ε b/c are equal.
    """
    benefit, cost, have = [2.0, 1.5, 3.0], [1.0, 0.5, 2.0], [0.25, 0.0, 0.5]
    cap, money, alpha = [np.inf, 0.75, np.inf], 4.0, 2.0
    names = ("benefit", "cost", "baseline", "budget", "alpha", "cap", "weight")

    def exact(b, c, a, q, power, stop, w):
        def worths(x):
            d = [x / c[0], stop[1], (q - c[1] * stop[1] - x) / c[2]]
            u = [a[i] + b[i] * d[i] for i in range(3)]
            first = ((mpmath.sqrt(u[0]) + mpmath.sqrt(u[1])) / 2) ** 2
            one = w[0] * first**-power / 2 * mpmath.sqrt(first / u[0]) * b[0] / c[0]
            return one, w[1] * u[2] ** -power * b[2] / c[2], d

        x = mpmath.findroot(lambda x: worths(x)[0] / worths(x)[1] - 1, (1.0, 1.5))
        return np.array(worths(x)[2], object)

    a = af.allocate(benefit, cost, [0, 0, 1], money, alpha, within=0.5, baseline=have, cap=cap)
    assert a.at_cap[:, 0].tolist() == [False, True, False]
    with mpmath.workdps(60):
        number = np.vectorize(mpmath.mpf, otypes=[object])
        given = [number(x) for x in (benefit, cost, have, money, alpha, cap, [1.0, 1.0])]
        base = exact(*given)
        assert float(np.abs(base - a.dose[:, 0]).max()) <= 1e-14
        step = mpmath.mpf(10) ** -20
        for place, name in enumerate(names):
            direction = np.array([0.0, 1.0, 0.0]) if name == "cap" else None
            if direction is None:
                direction = np.random.default_rng(place).normal(size=np.shape(given[place]))
            plus, minus = list(given), list(given)
            plus[place] = given[place] + step * number(direction)
            minus[place] = given[place] - step * number(direction)
            slope = (exact(*plus) - exact(*minus)) / (2 * step)
            got = a.jacobian().jvp(**{name: direction})[:, 0]
            assert float(np.abs(got - slope).max()) <= 1e-13 * max(1, np.abs(got).max()), name
