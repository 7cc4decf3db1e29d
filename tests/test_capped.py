"""Caps: by hand, certified, against CVXPY and the closed form; derivatives."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from helpers import ALPHAS, BALANCE, EXACT, SOLVER, Case, cases, random_case
from hypothesis import given
from hypothesis import strategies as st

import alphafair as af
from alphafair.kernels import SMALL


def solve_cvxpy(*arguments):
    """`alphafair.reference.solve_cvxpy`, where CVXPY is."""
    pytest.importorskip("cvxpy")
    from alphafair.reference import solve_cvxpy

    return solve_cvxpy(*arguments)


def capped_case(seed, persons=20, groups=4):
    """A random problem whose caps bind for some, are infinite for some and 0 for some."""
    case = random_case(seed, persons=persons, groups=groups)
    rng = np.random.default_rng(seed)
    fair_part = case.budget / case.cost / persons
    cap = fair_part * 10 ** rng.uniform(-2, 1.5, case.cost.shape)
    cap[rng.random(cap.shape) < 0.1] = np.inf
    cap[groups:][rng.random(cap[groups:].shape) < 0.1] = 0
    return case, cap


def solve(case, cap, alpha):
    return af.allocate(*case[:4], alpha, weight=case.weight, cap=cap)


def problem_of(case, cap):
    return af.Problem(*case[:4], weight=case.weight, cap=cap)


# --- by hand ---------------------------------------------------------------------------------
def test_by_hand():
    """Group a: two people, slopes 3/2 and 1/2, caps 1; group b: one, slope 2; budget 2, α = ∞.

    u_a = 1.5 x on x ≤ 1, u_b = 2 x: equal at x_a = 8/7, x_b = 6/7 if a stayed on its first
    segment, but that ends at x_a = 1 with u = 1.5.  Then
    1.5 + (x_a − 1)/2 = 2 (2 − x_a): x_a = 1.2, u = 1.6.
    """
    a = af.allocate([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], 2.0, np.inf, cap=1.0)
    np.testing.assert_allclose(a.dose[:, 0], [1.0, 0.2, 0.8], rtol=EXACT)
    np.testing.assert_allclose(a.group_utility, [1.6, 1.6], rtol=EXACT)
    assert a.price == pytest.approx(1 / (1 / 0.5 + 1 / 2), rel=EXACT)
    assert a.at_cap[:, 0].tolist() == [True, False, False]
    assert a.money_left == 0


def test_utilitarian_is_a_knapsack():
    """Slopes w b/(c G): 3, 2, 1 with caps 1, 1, 1 and a budget of 1.5."""
    a = af.allocate([3.0, 2.0, 1.0], 1.0, [0, 1, 2], 1.5, 0, cap=1.0)
    assert a.dose[:, 0].tolist() == [1.0, 0.5, 0.0]
    assert a.price == 2


def test_utilitarian_ties_share_equally_as_far_as_caps_go():
    a = af.allocate([1.0, 1.0, 1.0, 3.0], 1.0, [0, 1, 2, 3], 4.5, 0, cap=[0.5, 3, 3, 1])
    np.testing.assert_allclose(a.dose[:, 0], [0.5, 1.5, 1.5, 1.0], rtol=EXACT)


@pytest.mark.parametrize(
    ("benefit", "budget", "cap", "dose"),
    [
        ([3, 2, 1], 3, [2, 1, 5], [2, 1, 0]),  # the budget fills two segments exactly
        ([1, 2, 3], 4, [6, 7, 4], [0, 0, 4]),  # … and one
        ([5, 1, 1, 1], 4, [1, 1, 1, 1], [1, 1, 1, 1]),  # … and three that tie
    ],
)
def test_utilitarian_budget_that_fills_segments_exactly(benefit, budget, cap, dose):
    a = af.allocate(benefit, 1, range(len(benefit)), budget, 0, cap=cap)
    np.testing.assert_allclose(a.dose[:, 0], dose, rtol=EXACT, atol=EXACT)
    assert a.group_budget.sum() == pytest.approx(budget, rel=EXACT)


def test_utilitarian_with_integers_never_overspends():
    """Small integers fill segments exactly: a rounding once spoiled a quarter of these cases."""
    rng = np.random.default_rng(0)
    for _ in range(4000):
        groups = int(rng.integers(2, 5))
        benefit, cap = rng.integers(1, 6, groups), rng.integers(1, 9, groups)
        budget = int(rng.integers(1, cap.sum() + 1))
        a = af.allocate(benefit, 1, range(groups), budget, 0, cap=cap)
        left, best = budget, 0.0  # the knapsack, by hand
        for k in np.argsort(-benefit, kind="stable"):
            taken = min(left, cap[k])
            left, best = left - taken, best + taken * benefit[k]
        assert a.dose.min() >= 0
        assert a.dose.sum() <= budget * (1 + BALANCE)
        assert a.group_utility.sum() == pytest.approx(best, rel=BALANCE)


def test_utilitarian_ties_up_to_rounding_share_equally_as_without_caps():
    """3 · 0.1 and 1 · 0.3 differ in the last bit."""
    data = ([0.1, 0.3, 0.2], 1.0, [0, 1, 2], 4.0, 0)
    for cap, expected in ((None, [2, 2, 0]), (3.0, [2, 2, 0]), (1.5, [1.5, 1.5, 1])):
        a = af.allocate(*data, weight=[3.0, 1.0, 1.0], cap=cap)
        np.testing.assert_allclose(a.dose[:, 0], expected, rtol=EXACT)


def test_equal_items_are_filled_in_row_order():
    group = np.zeros(3 * SMALL, int)
    a = af.allocate(np.ones(group.size), 1.0, group, 40.5, 1, cap=1.0)
    expected = [1.0] * 40 + [0.5] + [0.0] * (group.size - 41)
    np.testing.assert_allclose(a.dose[:, 0], expected, rtol=EXACT)


def test_leximin_leaves_the_saturated_behind():
    """The worst off has its cap; the others go on rising together; the price of W = min u is 0."""
    a = af.allocate([1.0, 1.0, 2.0], 1.0, [0, 1, 2], 7.0, np.inf, cap=[1.0, 10, 10])
    np.testing.assert_allclose(a.group_utility, [1.0, 4.0, 4.0], rtol=EXACT)
    assert a.price == 0
    assert a.welfare == 1
    gradient = a.gradient()
    np.testing.assert_allclose(gradient.cap[:, 0], [1, 0, 0])
    np.testing.assert_allclose(gradient.benefit[:, 0], [1, 0, 0])


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
def test_money_left(alpha):
    a = af.allocate([3.0, 1.0, 2.0, -1], 1.0, list("aabb"), 4.0, alpha, cap=1.0)
    assert a.dose[:, 0].tolist() == [1, 1, 1, 0]
    assert a.money_left == 1
    assert a.price == 0
    assert (a.jacobian().jvp(budget=1.0) == 0).all()
    assert a.jacobian().jvp(cap=1.0)[:, 0].tolist() == [1, 1, 1, 0]


def test_no_money_is_left_by_a_rounding():
    """1.8 in tenths: the shares of the budget that the caps take add up to more than 1."""
    cap = 0.1 * np.array([6, 5, 3, 3, 1])
    a = af.allocate(np.ones(5), 1.0, range(5), 1.8, 1, cap=cap)
    assert a.group_share.sum() > 1
    assert (a.dose[:, 0] == cap).all()
    assert a.money_left == 0


# --- the kink: the budget exactly fills segments ------------------------------------------------
@pytest.mark.parametrize("alpha", [0.5, 1, 2])
def test_the_price_at_a_kink_is_that_of_one_more_unit(alpha):
    benefit, group, cap = [3.0, 1.0, 2.0, 0.5], list("aabb"), 1.0
    a = af.allocate(benefit, 1.0, group, 2.0, alpha, cap=cap)
    assert a.dose[:, 0].tolist() == [1, 0, 1, 0]
    more, less = (
        af.allocate(benefit, 1.0, group, 2.0 + step, alpha, cap=cap) for step in (1e-6, -1e-6)
    )
    right, left = (more.welfare - a.welfare) / 1e-6, (a.welfare - less.welfare) / 1e-6
    assert a.price == pytest.approx(right, rel=1e-5)  # a difference quotient, first order in 1e-6
    assert left > 2 * right
    moved = (more.dose - a.dose) / 1e-6
    np.testing.assert_allclose(a.jacobian().jvp(budget=1.0), moved, atol=1e-5)


def test_a_kink_is_found_through_rounding():
    """Ten tenths: the sum of the lengths misses the budget by a rounding."""
    a = af.allocate(np.arange(12, 0, -1.0), 1.0, np.zeros(12), 1.0, 1, cap=0.1)
    assert a.dose[:, 0].tolist() == [0.1] * 10 + [0.0] * 2
    assert a.price == pytest.approx(2 / a.group_utility[0] / 12, rel=EXACT)


@pytest.mark.parametrize(
    ("benefit", "tenths", "price"),
    [
        ([6, 1, 5, 5, 3, 1, 3, 5, 5], [3, 9, 6, 9, 9, 9, 9, 9, 6], 1 / 12),
        ([1, 4, 6, 3, 4, 6, 1, 3, 5], [6, 3, 6, 9, 9, 9, 3, 6, 9], 5 / 27),
    ],
)
def test_a_kink_of_three_groups_is_found_through_rounding(benefit, tenths, price):
    """5.1 fills segments of some tenths exactly; a rounding more or less has another price."""
    a = af.allocate(benefit, 1.0, [0, 1, 2] * 3, 5.1, 2, cap=0.1 * np.array(tenths))
    assert ((a.dose == 0) | a.at_cap).all()
    assert a.price == pytest.approx(price, rel=1e-12)
    more = af.allocate(benefit, 1.0, [0, 1, 2] * 3, 5.1 + 1e-6, 2, cap=0.1 * np.array(tenths))
    assert (more.welfare - a.welfare) / 1e-6 == pytest.approx(price, rel=1e-5)


@pytest.mark.parametrize("alpha", [0, 1e-310, 5e-324])
def test_next_to_zero_the_open_item_takes_all(alpha):
    """1/α overflows: the derivatives are those at α = 0."""
    a = af.allocate([3.0, 2.0, 1.0], 1.0, [0, 1, 2], 2.5, alpha, cap=[1.0, 1.0, 1.0])
    np.testing.assert_allclose(a.dose[:, 0], [1, 1, 0.5], rtol=EXACT)
    jacobian = a.jacobian()
    np.testing.assert_allclose(jacobian.jvp(budget=1.0)[:, 0], [0, 0, 1], atol=EXACT)
    np.testing.assert_allclose(jacobian.jvp(cap=[1.0, 0, 0])[:, 0], [1, 0, -1], atol=EXACT)
    assert jacobian.vjp([1.0, 2.0, 4.0]).budget == pytest.approx(4)


# --- the certificate, which does not know how it was solved --------------------------------------
@pytest.mark.parametrize("alpha", ALPHAS)
def test_certified(alpha):
    for seed in range(100):  # × 14 values of α
        case, cap = capped_case(seed, persons=5 + seed % 40)
        a = solve(case, cap, alpha)
        bound = af.optimality_gap(a.dose, a.problem, alpha)
        assert bound.relative_gap <= BALANCE
        assert bound.infeasibility <= BALANCE
        assert (a.dose <= cap).all()
        spent = (a.dose * case.cost).sum()
        assert abs(spent + a.money_left - case.budget) <= BALANCE * case.budget


@given(cases(largest=50), st.sampled_from(ALPHAS), st.data())
def test_certified_with_ties(case, alpha, data):
    size = case.benefit.size
    levels = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 1e6, np.inf])
    cap = np.array(data.draw(st.lists(levels, min_size=size, max_size=size)))
    cap = cap.reshape(case.benefit.shape)
    cap[np.unique(case.group, return_index=True)[1], 0] = 0.5  # each group can be helped
    a = solve(case, cap, alpha)
    bound = af.optimality_gap(a.dose, a.problem, alpha)
    assert bound.relative_gap <= BALANCE
    assert bound.infeasibility <= BALANCE
    assert (a.dose <= cap).all()


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, 5, np.inf])
def test_the_certificate_notices_one_percent(alpha):
    for seed in range(20):
        case, cap = capped_case(seed)
        a = solve(case, cap, alpha)
        if a.price == 0:
            continue
        money = a.dose * case.cost
        part = np.where(case.group == np.argmax(a.group_budget), 0.99, 1.0)[:, None]
        assert af.optimality_gap(money * part / case.cost, a.problem, alpha).relative_gap > 1e-7


@given(cases(largest=20), st.sampled_from([0, 0.5, 1, 2, 5, np.inf]), st.integers(0, 9999))
def test_the_gap_bounds_the_true_loss(case, alpha, seed):
    rng = np.random.default_rng(seed)
    cap = case.budget / case.cost * rng.uniform(0.05, 0.6, case.cost.shape)
    best = solve(case, cap, alpha)
    other = np.minimum(rng.uniform(0, 2, cap.shape) * best.dose, cap)
    other *= min(1, case.budget / (other * case.cost).sum())
    person = (case.benefit * other).sum(axis=1)
    utility = np.bincount(case.group, person) / np.bincount(case.group)
    loss = best.welfare - af.welfare(utility, alpha, case.weight)
    bound = af.optimality_gap(other, best.problem, alpha)
    assert bound.gap >= loss - 1e-12 * (abs(best.welfare) + abs(loss) if loss < np.inf else 0)


def test_beyond_the_cap_is_infeasible():
    problem = af.Problem(2.0 * np.ones(2), 1.0, [0, 1], 2.0, cap=1.0)
    bound = af.optimality_gap([1.5, 0.5], problem, 1)
    assert bound.infeasibility == 0.25


# --- against a solver ---------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, 5, np.inf])
def test_against_cvxpy(alpha):
    for seed in range(4):
        case, cap = capped_case(seed)
        a = solve(case, cap, alpha)
        answer = solve_cvxpy(a.problem, alpha)
        if alpha in (0, np.inf):  # other utilities may do as well: W = Σ w u, W = min u
            assert answer.welfare == pytest.approx(a.welfare, rel=SOLVER)
        else:
            np.testing.assert_allclose(answer.group_utility, a.group_utility, rtol=SOLVER)


def test_cvxpy_copes_with_a_thousand_response_curves():
    """In units of Q/K, where a funded item gets 1/250, Clarabel failed on this one."""
    rng = np.random.default_rng(0)
    benefit = np.sort(rng.uniform(0.002, 1.4, (1000, 4)))[:, ::-1]
    case = Case(benefit, np.ones((1, 1)), np.arange(1000) % 4, 200.0, np.full(4, 250.0))
    cap = rng.uniform(0.1, 1.5, benefit.shape)
    answer = solve_cvxpy(solve(case, cap, 1).problem, 1)
    np.testing.assert_allclose(answer.group_utility, solve(case, cap, 1).group_utility, rtol=SOLVER)


# --- against the closed form ---------------------------------------------------------------------
@pytest.mark.parametrize("alpha", ALPHAS)
def test_without_a_bound_it_is_the_closed_form(alpha):
    for seed in range(10):
        case = random_case(seed, persons=20)
        free = af.allocate(*case[:4], alpha, weight=case.weight)
        for cap in (1e3 * case.budget / case.cost.min(), np.inf):
            a = solve(case, cap, alpha)
            floor = 1e-3 if alpha == 1e-6 else 1e-290  # there x follows p to the power 10⁶
            error = np.abs(a.group_share - free.group_share) / np.maximum(free.group_share, floor)
            # At α = 0.01 x follows p to the power 99, and p carries three roundings.
            assert error.max() <= (5e-13 if alpha == 0.01 else EXACT)
            np.testing.assert_allclose(a.dose, free.dose, rtol=5e-13, atol=EXACT * case.budget)
            assert a.price == pytest.approx(free.price, rel=1e-11)


def test_infinite_caps_are_no_caps():
    case = random_case(3)
    assert problem_of(case, np.inf).cap is None
    assert type(solve(case, np.full(case.benefit.shape, np.inf), 2)) is af.Allocation


@pytest.mark.parametrize("alpha", [0, 0.5, 2, np.inf])
def test_no_budget(alpha):
    case, cap = capped_case(4)
    a = solve(case._replace(budget=0.0), cap, alpha)
    assert (a.dose == 0).all()
    assert (a.gradient().cap == 0).all()


@pytest.mark.parametrize(
    ("benefit_unit", "cost_unit"), [(1e150, 1e-150), (1e-300, 1e300), (1e300, 1.0), (1e300, 1e-300)]
)
@pytest.mark.parametrize("alpha", [0, 0.5, 2, np.inf])
def test_units_do_not_matter(benefit_unit, cost_unit, alpha):
    case, cap = capped_case(5)
    plain = solve(case, cap, alpha)
    budget = case.budget
    if cost_unit > 1e200:  # budget and cost in the same large unit
        budget *= cost_unit / 1e10
        cap = cap / 1e10
    else:
        cap = cap / cost_unit
    other = Case(case.benefit * benefit_unit, case.cost * cost_unit, *case[2:])
    scaled = solve(other._replace(budget=budget), cap, alpha)
    np.testing.assert_allclose(scaled.group_share, plain.group_share, rtol=1e-12)


def test_segments_are_sorted_and_complete():
    rng = np.random.default_rng(11)
    group = rng.integers(0, 5, 2000)
    benefit = rng.integers(-2, 6, (2000, 2)).astype(float)  # many ties
    problem = af.Problem(benefit, 1.0, group, 50.0, cap=rng.integers(0, 3, (2000, 2)))
    pieces = problem.value
    useful = (problem.benefit > 0) & (problem.cap > 0)
    assert sorted(pieces.item[pieces.item >= 0].tolist()) == np.flatnonzero(useful).tolist()
    for k in range(5):
        item = pieces.item[pieces.start[k] : pieces.start[k + 1] - 1]
        key = list(zip(-problem.benefit.ravel()[item], item, strict=True))
        assert key == sorted(key)


def test_values_that_differ_in_the_last_bits_are_sorted():
    value = 1 + np.random.default_rng(1).permutation(5000) * 2.0**-50
    problem = af.Problem(value, 1.0, np.zeros(5000), 1.0, cap=1.0)
    assert (np.diff(value[problem.value.item[:-1]]) < 0).all()


def test_one_problem_many_alphas():
    case, cap = capped_case(6)
    problem = problem_of(case, cap)
    for alpha in ALPHAS:
        assert (problem.allocate(alpha).dose == solve(case, cap, alpha).dose).all()


@given(st.integers(0, 9999), st.sampled_from([0, 0.5, 1, 2, np.inf]))
def test_more_budget_never_hurts_and_the_price_falls(seed, alpha):
    case, cap = capped_case(seed)
    steps = [solve(case._replace(budget=case.budget * f), cap, alpha) for f in (0.5, 1, 2)]
    welfare = [a.welfare for a in steps]
    assert welfare == sorted(welfare)
    assert all(x.price >= y.price * (1 - 1e-9) for x, y in pairwise(steps))


# --- derivatives ---------------------------------------------------------------------------------
def moved(case, cap, alpha, direction, step):
    db, dc, dcap, dq, dalpha = direction
    return af.allocate(
        case.benefit + step * db,
        case.cost + step * dc,
        case.group,
        case.budget + step * dq,
        alpha + step * dalpha,
        weight=case.weight,
        cap=cap + step * dcap,
    )


def slope(function, step=1e-5):
    """Fourth-order central difference: an error of about 1e−11 of the scale at this step."""
    outer, inner = function(2 * step) - function(-2 * step), function(step) - function(-step)
    return (8 * inner - outer) / (12 * step)


@pytest.mark.parametrize("alpha", [0, 0.3, 1, 2, 5, np.inf])
@pytest.mark.parametrize("seed", range(15))
def test_derivatives_against_finite_differences(alpha, seed):
    case, cap = capped_case(seed)
    cap = np.minimum(cap, 1e9)  # a direction of an infinite cap says nothing
    rng = np.random.default_rng(seed + 100)
    direction = [rng.normal(size=cap.shape) * scale for scale in (case.benefit, case.cost, cap)]
    direction += [case.budget * rng.normal(), rng.normal() * (0 < alpha < np.inf)]
    a = solve(case, cap, alpha)
    names = dict(zip(("benefit", "cost", "cap", "budget", "alpha"), direction, strict=True))
    if not 0 < alpha < np.inf:
        names.pop("alpha")
    numeric = slope(lambda h: moved(case, cap, alpha, direction, h).dose * case.cost)
    error = np.abs(a.jacobian().jvp(**names) * case.cost - numeric).max()
    assert error <= 1e-7 * case.budget  # curvature at α = 0.3 leaves 1e−8
    still = [*direction[:4], 0.0]
    numeric = slope(lambda h: moved(case, cap, alpha, still, h).welfare)
    g = a.gradient()
    parts = zip((g.benefit, g.cost, g.cap, g.budget), still[:4], strict=True)
    assert sum(np.sum(part * change) for part, change in parts) == pytest.approx(numeric, rel=1e-7)


@pytest.mark.parametrize("alpha", [0, 0.01, 0.5, 1, 2, 50, np.inf])
def test_vjp_is_the_adjoint_and_dense_the_matrix(alpha):
    case, cap = capped_case(8, persons=6)
    cap = np.minimum(cap, 1e9)
    jacobian = solve(case, cap, alpha).jacobian()
    rng = np.random.default_rng(8)
    v = rng.normal(size=cap.shape)
    pulled = jacobian.vjp(v)
    for name in ("benefit", "cost", "cap"):
        x = rng.normal(size=cap.shape) * getattr(case, name, cap)
        forward = jacobian.jvp(**{name: x})
        scale = np.abs(v * forward).sum() + np.abs(getattr(pulled, name) * x).sum()
        assert abs((v * forward).sum() - (getattr(pulled, name) * x).sum()) <= EXACT * scale
        np.testing.assert_allclose(
            np.tensordot(jacobian.dense(name), x), forward, rtol=1e-9, atol=1e-12 * case.budget
        )
    assert pulled.budget == pytest.approx((v * jacobian.jvp(budget=1.0)).sum(), rel=1e-10)
    if 0 < alpha < np.inf:
        assert pulled.alpha == pytest.approx((v * jacobian.jvp(alpha=1.0)).sum(), rel=1e-8)
    else:
        assert pulled.alpha is None


def test_the_jacobian_survives_the_smallest_alphas():
    """1/α² leaves the doubles below α = 1e−154."""
    case, cap = capped_case(8)
    jacobian = solve(case, cap, 1e-200).jacobian()
    assert np.isfinite(jacobian.jvp(budget=1.0)).all()
    assert np.isfinite(jacobian.vjp(np.ones(cap.shape)).budget)


def test_the_gradient_at_equal_weights_is_that_of_the_closed_form():
    case = random_case(9)
    free = af.allocate(*case[:4], 2, weight=case.weight).gradient()
    g = solve(case, 1e3 * case.budget / case.cost.min(), 2).gradient()
    for name in ("benefit", "cost", "weight"):
        np.testing.assert_allclose(getattr(g, name), getattr(free, name), rtol=1e-12)
    assert free.cap is None
    assert (g.cap == 0).all()


def test_a_wider_cap_is_worth_its_rent():
    """α = 1, one group: W = log(Σ b d): (μ b − λ c)₊ = (3 − 1)/u at the filled item."""
    a = af.allocate([3.0, 1.0], 1.0, ["a", "a"], 2.0, 1, cap=[1.0, 5.0])
    assert a.group_utility[0] == 2
    np.testing.assert_allclose(a.gradient().cap[:, 0], [(3 - 1) / 2 / 2, 0], rtol=EXACT)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda j: j.jvp(cap=np.ones(7)), r"cap has shape \(7,\): must broadcast to \(20, 3\)"),
        (lambda j: j.jvp(alpha=np.inf), r"alpha is inf: a direction must be finite"),
        (lambda j: j.vjp(np.nan), r"dose_cotangent\[0, 0\] is nan"),
        (lambda j: j.dense("alpha"), r"parameter is 'alpha': must be 'benefit', 'cost', 'cap', "),
    ],
)
def test_jacobian_refusals(call, message):
    jacobian = solve(*capped_case(1), 2).jacobian()
    with pytest.raises(ValueError, match=message):
        call(jacobian)


def test_no_alpha_derivative_at_the_ends():
    with pytest.raises(ValueError, match="no derivative in α at α = inf"):
        solve(*capped_case(1), np.inf).jacobian().jvp(alpha=1.0)


# --- a second way: the level equation in 50 digits -----------------------------------------------
@pytest.mark.parametrize("alpha", [0.3, 1, 3])
def test_against_bisection_in_fifty_digits(alpha):
    """Σ_k x_k(λ) = Q by bisection on the price, segment by segment, as the formulas are printed."""
    case, cap = capped_case(12, persons=8, groups=3)
    a = solve(case, cap, alpha)
    with mpmath.workdps(50):
        price = mpmath.findroot(
            lambda log_price: _spent(case, cap, alpha, mpmath.exp(log_price))[0] - case.budget,
            [mpmath.log(a.price) - 2, mpmath.log(a.price) + 2],
            solver="bisect",
            tol=1e-30,
            maxsteps=200,
        )
        _, utility = _spent(case, cap, alpha, mpmath.exp(price))
        assert abs(mpmath.exp(price) / mpmath.mpf(a.price) - 1) <= 1e-12
        for exact, got in zip(utility, a.group_utility, strict=True):
            assert abs(got / exact - 1) <= EXACT


def _spent(case, cap, alpha, price):
    """Money and group utilities when every group buys as long as w σ u^(−α) > price."""
    total, utilities = mpmath.mpf(0), []
    for k, weight in enumerate(case.weight):
        rows = np.flatnonzero(case.group == k)
        items = [(i, t) for i in rows for t in range(case.benefit.shape[1])]
        ratio = {it: mpmath.mpf(case.benefit[it]) / mpmath.mpf(case.cost[it]) for it in items}
        u = mpmath.mpf(0)
        for it in sorted(items, key=lambda it, ratio=ratio: -ratio[it]):
            if ratio[it] > 0 and cap[it] > 0:
                slope = ratio[it] / len(rows)
                target = (mpmath.mpf(weight) * slope / price) ** (1 / mpmath.mpf(alpha))
                length = mpmath.mpf(case.cost[it]) * mpmath.mpf(cap[it])
                money = min(max((target - u) / slope, 0), length)
                total, u = total + money, u + slope * money
        utilities.append(u)
    return total, utilities


@pytest.mark.parametrize("within", [0.2, 0.7, 1.0, 1.5])
def test_one_group_that_begins_with_nothing_spends_its_budget_at_alpha_0(within):
    """All rise from nothing together, so that pieces of no length come before the first."""
    rng = np.random.default_rng(0)
    tables = [np.array([8, 7, 6, 5, 4, 3 * np.exp(-1e-4), 2, 1.0])]
    tables += [rng.uniform(0.5, 8, rng.integers(2, 9)) for _ in range(10)]
    for benefit in tables:
        for groups in (1, 2):
            label = np.arange(benefit.size) % groups
            budget = 3 / 8 * benefit.size
            problem = af.Problem(benefit, 1.0, label, budget, within=within, cap=1.0)
            dose = problem.allocate(0).dose
            assert math.isclose(dose.sum(), budget, rel_tol=1e-12)
            assert af.optimality_gap(dose, problem, 0).relative_gap < 1e-9
