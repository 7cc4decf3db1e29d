"""The closed form: by hand, to 50 digits, its invariances, its limits, its extremes."""

import numpy as np
import pytest
from helpers import (
    ALPHAS,
    BALANCE,
    EXACT,
    WITHINS,
    alphas,
    cases,
    exact_allocation,
    random_case,
    relative_error,
    withins,
)
from hypothesis import assume, given
from hypothesis import strategies as st

import alphafair as af


def solve(case, alpha, within=0.0):
    return af.allocate(*case[:4], alpha, within=within, weight=case.weight)


# --- by hand ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("alpha", "budget"),
    [
        (0, [30, 0]),  # everything to the more productive
        (0.5, [24, 6]),  # x ∝ p
        (1, [15, 15]),  # equal
        (2, [10, 20]),  # x ∝ p^(−1/2)
        (np.inf, [6, 24]),  # x ∝ 1/p
    ],
)
def test_two_people_with_productivity_4_and_1(alpha, budget):
    a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], 30.0, alpha)
    assert a.group_budget == pytest.approx(budget, abs=30 * EXACT)
    assert a.dose[:, 0] == pytest.approx(budget, abs=30 * EXACT)
    assert a.group_utility == pytest.approx([4 * budget[0], budget[1]], abs=120 * EXACT)


@pytest.mark.parametrize(
    ("within", "money", "utility"),
    [
        (0, [1, 0], 2.0),  # the mean of (4, 0)
        (0.5, [0.8, 0.2], 1.25),  # ((√3.2 + √0.2)/2)²
        (1, [0.5, 0.5], 1.0),  # √(2 · 0.5)
        (np.inf, [0.2, 0.8], 0.8),  # min(0.8, 0.8)
    ],
)
def test_one_group_of_two_with_ratios_4_and_1(within, money, utility):
    a = af.allocate([4.0, 1.0], 1.0, [0, 0], 1.0, 3, within=within)
    assert a.dose[:, 0] == pytest.approx(money, abs=EXACT)
    assert a.group_utility == pytest.approx([utility], rel=EXACT)


@pytest.mark.parametrize(
    ("alpha", "winners", "printed"),
    [
        (0, [(3, 1)], [587.32925844]),
        (1, [(1, 1), (2, 1), (3, 1)], [329.72156311, 293.85603708, 195.77641948]),
        (0.5, [(1, 1), (2, 1), (3, 1)], [192.96529401, 334.32582847, 250.01492627]),
        (2.0, [(1, 1)], [413.15498793]),
    ],
)
def test_the_doses_that_the_original_notebook_printed(alpha, winners, printed):
    rng = np.random.default_rng(0)
    benefit, cost = 1 + 4 * rng.random((4, 2)), 0.2 + 0.8 * rng.random((4, 2))
    dose = af.allocate(benefit, cost, rng.integers(0, 3, 4), 200.0, alpha).dose
    assert [dose[item] for item in winners] == pytest.approx(printed, abs=5.01e-9)


def test_the_budgets_that_the_original_notebook_printed():
    rng = np.random.default_rng(42)
    benefit, cost = 1 + rng.random((5000, 1)), 0.2 + 0.8 * rng.random((5000, 1))
    a = af.allocate(benefit, cost, rng.integers(0, 2, (5000, 1)), 1000.0, 2.0)
    assert a.group_budget.round(2).tolist() == [497.94, 502.06]
    assert np.count_nonzero(a.dose) == 2


# --- 50 digits -------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("within", WITHINS)
def test_to_50_digits(alpha, within):
    # x follows p to the power 1/α − 1, and p comes from b and c with two roundings.
    tolerance = EXACT * (0.05 / alpha if 1e-6 < alpha < 0.05 else 1)
    for seed, spread in ((1, 1), (2, 1), (3, 6)):
        case = random_case(seed, spread=spread)
        a, exact = solve(case, alpha, within), exact_allocation(case, alpha, within)
        assert relative_error(a.productivity, exact.productivity) <= EXACT
        if alpha == 1e-6:  # one group has all but 1e−13 of the money
            assert a.group_share == pytest.approx([float(s) for s in exact.share], abs=EXACT)
            continue
        assert relative_error(a.group_share, exact.share) <= tolerance
        if spread == 1:
            assert relative_error(a.dose, exact.dose) <= tolerance
            assert relative_error(a.group_utility, exact.utility) <= tolerance


@pytest.mark.parametrize("alpha", [0, 0.5, 1 - 1e-9, 1, 2, 5, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 2])
def test_price_and_welfare_to_50_digits(alpha, within):
    case = random_case(5)
    a, exact = solve(case, alpha, within), exact_allocation(case, alpha, within)
    assert relative_error(a.price, exact.price) <= EXACT
    if alpha == 0:
        welfare = sum(w * u for w, u in zip(case.weight, exact.utility, strict=True))
    elif alpha == np.inf:
        welfare = min(exact.utility)
    else:
        assert a.welfare == pytest.approx(af.welfare(a.group_utility, alpha, case.weight))
        return
    assert relative_error(a.welfare, welfare) <= EXACT


@pytest.mark.parametrize("benefit_unit", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("cost_unit", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("alpha", [1e-6, 0.1, 1 - 1e-9, 1, 2, 50, 1e6, np.inf])
@pytest.mark.parametrize("within", [0, 0.3, 1, 3, np.inf])
def test_magnitudes(benefit_unit, cost_unit, alpha, within):
    case = random_case(11)
    case = case._replace(benefit=case.benefit * benefit_unit, cost=case.cost * cost_unit)
    a, exact = solve(case, alpha, within), exact_allocation(case, alpha, within)
    if alpha == 1e-6:
        assert a.group_share == pytest.approx([float(s) for s in exact.share], abs=EXACT)
    else:
        assert relative_error(a.dose, exact.dose) <= EXACT


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 50, np.inf])
def test_groups_of_very_different_magnitudes(alpha):
    case = random_case(13)
    unit = np.array([1e-150, 1.0, 1e75, 1e150])[case.group][:, None]
    case = case._replace(benefit=case.benefit * unit)
    exact = exact_allocation(case, alpha)
    # The exponent of a share of e^(−z) carries z roundings, and z reaches 700 here.
    assert relative_error(solve(case, alpha).group_share, exact.share) <= 2 * EXACT


def test_ratios_beyond_the_doubles():
    """b/c = 1e600 is no double, but the doses are: 1e300 times those of b/c = 1."""
    case = random_case(17)
    a = af.allocate(case.benefit * 1e300, case.cost * 1e-300, case.group, 1.0, 2)
    plain = af.allocate(case.benefit, case.cost, case.group, 1.0, 2)
    assert a.group_share == pytest.approx(plain.group_share, rel=EXACT)
    assert a.dose * 1e-300 == pytest.approx(plain.dose, rel=EXACT)
    assert a.productivity.tolist() == [np.inf] * 4  # honestly: it overflows
    assert np.isfinite(solve(case._replace(benefit=case.benefit * 1e300), 2).price)


# --- invariances, for any data ------------------------------------------------------------------
@given(cases(), alphas, withins)
def test_budget_is_met_and_doses_are_finite(case, alpha, within):
    assume(within < 1 or (case.benefit.max(axis=1) > 0).all())
    a = solve(case, alpha, within)
    assert np.isfinite(a.dose).all()
    assert a.dose.min() >= 0
    assert abs((a.dose * case.cost).sum() / case.budget - 1) <= BALANCE
    assert abs(a.group_share.sum() - 1) <= BALANCE


@given(cases(), alphas, withins)
def test_group_utility_is_that_of_the_doses(case, alpha, within):
    a = solve(case, alpha, within)
    person = (case.benefit * a.dose).sum(axis=1)
    for k in range(len(case.weight)):
        level = af.power_mean(person[case.group == k], 1 - within)
        assert a.group_utility[k] == pytest.approx(level, rel=1e-10, abs=1e-290)


@given(cases(), alphas, withins, st.floats(1e-3, 1e3))
def test_homogeneous_in_the_budget(case, alpha, within, factor):
    a, b = (
        solve(case, alpha, within),
        solve(case._replace(budget=factor * case.budget), alpha, within),
    )
    assert b.dose == pytest.approx(factor * a.dose, rel=EXACT)


@given(cases(), alphas, withins, st.integers(-300, 300), st.integers(-300, 300))
def test_units_of_benefit_and_cost_do_not_matter(case, alpha, within, of_benefit, of_cost):
    """Powers of two, which are exact: the very same shares."""
    other = case._replace(
        benefit=np.ldexp(case.benefit, of_benefit), cost=np.ldexp(case.cost, of_cost)
    )
    assert np.array_equal(
        solve(other, alpha, within).group_share, solve(case, alpha, within).group_share
    )


@given(cases(), alphas, withins, st.randoms(use_true_random=False))
def test_people_and_labels_can_be_permuted(case, alpha, within, random):
    ratio = (case.benefit / case.cost).ravel()
    assume(np.unique(ratio).size == ratio.size)  # ties go to the first row
    order = list(range(len(case.group)))
    random.shuffle(order)
    names = np.array(random.sample(["p", "q", "r", "s", "t"], len(case.weight)))
    weight = dict(zip(names.tolist(), case.weight.tolist(), strict=True))
    a = solve(case, alpha, within)
    b = af.allocate(
        case.benefit[order],
        case.cost[order],
        names[case.group][order],
        case.budget,
        alpha,
        within=within,
        weight=weight,
    )
    # At α = 1e−6 the last digits of p, summed in another order, are a million times as large.
    tolerance = 1e-9 if alpha == 1e-6 else 1e-11 if alpha == 0.01 else EXACT
    assert b.dose == pytest.approx(a.dose[order], rel=tolerance, abs=tolerance * a.dose.max())


@given(cases(), withins)
def test_one_group_gets_everything(case, within):
    doses = [
        af.allocate(
            case.benefit, case.cost, np.zeros(len(case.group)), case.budget, alpha, within=within
        ).dose
        for alpha in ALPHAS
    ]
    assert all(np.array_equal(dose, doses[0]) for dose in doses)


@given(cases(), alphas)
def test_everybody_in_a_group_of_their_own_makes_within_irrelevant(case, alpha):
    people = np.arange(len(case.group))
    plain = af.allocate(case.benefit, case.cost, people, case.budget, alpha)
    fair = af.allocate(case.benefit, case.cost, people, case.budget, alpha, within=0.7)
    assert fair.dose == pytest.approx(plain.dose, rel=1e-9, abs=1e-9 * plain.dose.max())


@given(cases(), st.sampled_from([0.3, 1.0, 2.0, 5.0]))
def test_within_equal_to_alpha_with_sizes_is_fairness_between_people(case, alpha):
    """Σ_k G_k φ_α(U_k) = Σ_i φ_α(u_i) when U_k is the α-equivalent of its members' utilities."""
    two_levels = af.allocate(
        case.benefit, case.cost, case.group, case.budget, alpha, within=alpha, weight="size"
    )
    one_level = af.allocate(case.benefit, case.cost, np.arange(len(case.group)), case.budget, alpha)
    assert two_levels.dose == pytest.approx(one_level.dose, rel=1e-10)


# --- limits ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("alpha", "near"), [(0, 1e-4), (1, 1 + 1e-9), (1, 1 - 1e-9), (np.inf, 1e9)]
)
@pytest.mark.parametrize("within", [0, 0.5, 2])
def test_continuous_in_alpha(alpha, near, within):
    case = random_case(19)
    assert solve(case, near, within).dose == pytest.approx(
        solve(case, alpha, within).dose, rel=1e-7
    )


@pytest.mark.parametrize(
    ("within", "near"), [(0, 1e-4), (1, 1 + 1e-9), (1, 1 - 1e-9), (np.inf, 1e9)]
)
@pytest.mark.parametrize("alpha", [0.5, 1, 2, np.inf])
def test_continuous_in_within(within, near, alpha):
    case = random_case(23)
    a, b = solve(case, alpha, near), solve(case, alpha, within)
    # M_s tends to the maximum like G^(−1/s): the mean over G people of one large term.
    tolerance = 1e-3 if within == 0 else 1e-7
    assert a.dose == pytest.approx(b.dose, rel=tolerance, abs=1e-12)


def test_tied_groups_share_equally_at_alpha_0():
    a = af.allocate([0.3, 0.1, 0.1, 0.1, 0.1], 1.0, [0, 1, 2, 0, 0], 6.0, 0)
    assert a.group_budget.tolist() == [2, 2, 2]  # 0.3/3 is 0.1 but for the last digit
    assert af.allocate(
        [2.0, 1.0, 1.5], 1.0, [0, 1, 2], 6.0, 0, weight=[1, 2, 1]
    ).group_budget.tolist() == [3, 3, 0]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_identical_groups_share_equally_at_every_alpha(alpha):
    a = af.allocate(np.full(6, 3.7), 0.9, [0, 0, 1, 1, 2, 2], 9.0, alpha)
    assert a.group_budget == pytest.approx([3, 3, 3], rel=EXACT)


@pytest.mark.parametrize(
    ("alpha", "welfare", "price"),
    [(0, 0, 4), (0.5, 0, np.inf), (1, -np.inf, np.inf), (2, -np.inf, np.inf), (np.inf, 0, 0.8)],
)
def test_no_budget(alpha, welfare, price):
    a = af.allocate([4.0, 1.0], 1.0, [0, 1], 0.0, alpha)
    assert a.dose.tolist() == [[0], [0]]
    assert a.welfare == welfare
    assert a.price == pytest.approx(price)


@pytest.mark.parametrize("alpha", [0, 0.3, 1, 2, 5, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 3])
def test_price_is_the_derivative_of_welfare(alpha, within):
    case = random_case(29)
    more, less = (
        solve(case._replace(budget=case.budget * factor), alpha, within)
        for factor in (1.001, 0.999)
    )
    slope = (more.welfare - less.welfare) / (0.002 * case.budget)
    assert slope == pytest.approx(solve(case, alpha, within).price, rel=1e-5)


def test_alpha_sweep_at_large_n_needs_no_overflow():
    rng = np.random.default_rng(0)
    problem = af.Problem(
        1 + rng.random(10**5),
        0.2 + rng.random(10**5),
        rng.integers(0, 50, 10**5),
        1e6,
        weight="size",
    )
    for alpha in ALPHAS:
        a = problem.allocate(alpha)
        assert abs(a.group_budget.sum() / 1e6 - 1) <= BALANCE
        assert np.isfinite(a.equivalent_utility)


def test_allocation_reports_its_problem():
    a = af.allocate([4.0, 1.0, 2.0], 1.0, ["x", "y", "x"], 30.0, 2)
    assert a.group_labels.tolist() == ["x", "y"]
    assert a.group_size.tolist() == [2, 1]
    assert a.productivity.tolist() == [2, 1]
    assert a.best_item.tolist() == [[0, 0], [1, 0]]
    assert a.equivalent_utility == pytest.approx(af.equivalent_utility(a.group_utility, 2))
    assert repr(a).startswith("Allocation(alpha=2, K=2, price=")


# --- optimality, with nothing but arithmetic ----------------------------------------------------
@given(cases(largest=20), st.sampled_from([0, 0.5, 1, 2, 5, np.inf]), withins, st.integers(0, 9999))
def test_no_feasible_doses_are_better(case, alpha, within, seed):
    best = solve(case, alpha, within)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 0.1, 1.0):
        money = best.dose * case.cost / case.budget
        other = np.where(
            case.benefit > 0, rng.dirichlet(np.ones(money.size)).reshape(money.shape), 0
        )
        money = (1 - size) * money + size * other  # a convex combination: feasible
        person = (case.benefit * money * case.budget / case.cost).sum(axis=1)
        utility = [
            af.power_mean(person[case.group == k], 1 - within) for k in range(len(case.weight))
        ]
        level = af.equivalent_utility(utility, alpha, case.weight)
        assert level <= best.equivalent_utility * (1 + BALANCE)
