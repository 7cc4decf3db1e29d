"""The optimality gap: a valid bound for any doses, and zero at the optimum."""

import numpy as np
import pytest
from helpers import ALPHAS, BALANCE, WITHINS, alphas, cases, random_case, withins
from hypothesis import given
from hypothesis import strategies as st

import alphafair as af


def gap_of(dose, case, alpha, within=0.0):
    return af.optimality_gap(dose, af.Problem(*case[:4], within, case.weight), alpha)


def solve(case, alpha, within=0.0):
    return af.allocate(*case[:4], alpha, within=within, weight=case.weight)


def test_by_hand():
    """B = (2, 1), c = 1, Q = 2, α = 1, d = (1.5, 0.5): the optimum is (1, 1).

    W* − W = −log(1.5 · 0.5) = 0.2877.  The mean price is g·d/Q = 1, at which both groups buy 1 unit
    of money: the bound is exactly the loss.
    """
    bound = af.optimality_gap([1.5, 0.5], af.Problem([2.0, 1.0], 1.0, [0, 1], 2.0), 1)
    assert bound.gap == pytest.approx(-np.log(0.75), rel=1e-14)
    assert bound.relative_gap == pytest.approx(-np.log(0.75) / 2, rel=1e-14)
    assert bound.infeasibility == 0


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("within", WITHINS)
def test_optimal_doses_have_no_gap(alpha, within):
    for seed in range(3):
        case = random_case(seed, persons=40)
        a = solve(case, alpha, within)
        bound = gap_of(a.dose, case, alpha, within)
        # u^(−α) turns a rounding of u into α roundings.
        assert 0 <= bound.relative_gap <= BALANCE * max(1, alpha / 1e4 if alpha < np.inf else 1)
        assert bound.infeasibility <= BALANCE
        if np.isfinite(a.welfare) and a.welfare and alpha < 1e6:
            assert bound.gap <= BALANCE * abs(a.welfare)


@given(
    cases(largest=20),
    st.sampled_from([0, 1e-3, 0.5, 1, 2, 5, np.inf]),
    st.sampled_from([0, 0.5, 1, 2, np.inf]),
    st.integers(0, 9999),
)
def test_the_gap_bounds_the_true_loss(case, alpha, within, seed):
    best = solve(case, alpha, within)
    rng = np.random.default_rng(seed)
    for size in (0.01, 0.3, 1.0):
        other = rng.dirichlet(np.ones(case.benefit.size)).reshape(case.benefit.shape)
        other = np.where(case.benefit > 0, other, 0)
        dose = (1 - size) * best.dose + size * other * case.budget / case.cost
        person = (case.benefit * dose).sum(axis=1)
        utility = [
            af.power_mean(person[case.group == k], 1 - within) for k in range(len(case.weight))
        ]
        loss = best.welfare - af.welfare(utility, alpha, case.weight)
        bound = gap_of(dose, case, alpha, within)
        assert bound.gap >= loss - 1e-12 * (abs(best.welfare) + abs(loss) if loss < np.inf else 0)
        assert bound.infeasibility <= BALANCE


@pytest.mark.parametrize("alpha", [0, 1e-3, 0.5, 1, 2, 5, 50, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 2])
def test_one_percent_is_noticed(alpha, within):
    case = random_case(31)
    a = solve(case, alpha, within)
    from_k = int(np.argmax(a.group_share))
    to_k = (from_k + 1) % len(case.weight)
    money = a.dose * case.cost
    moved = money * np.where(case.group == from_k, 0.99, 1.0)[:, None]
    receiver = tuple(a.best_item[to_k])
    moved[receiver] += case.budget - moved.sum()
    bound = gap_of(moved / case.cost, case, alpha, within)
    # The loss is second order: half of α π times the square of the change, at least.
    assert bound.relative_gap > 1e-7
    assert bound.infeasibility <= BALANCE


@given(cases(largest=20), st.sampled_from([0.5, 1, 2, 5]), st.integers(0, 999))
def test_never_worse_than_the_frank_wolfe_gap(case, alpha, seed):
    rng = np.random.default_rng(seed)
    money = rng.dirichlet(np.ones(case.benefit.size)).reshape(case.benefit.shape) * case.budget
    money = np.where(case.benefit > 0, money, 0)
    dose = money / case.cost
    size = np.bincount(case.group)
    utility = np.bincount(case.group, (case.benefit * dose).sum(axis=1)) / size
    if utility.min() == 0:
        return
    slope = (case.weight * utility**-alpha / size)[case.group][:, None] * case.benefit
    frank_wolfe = case.budget * max((slope / case.cost).max(), 0) - (slope * dose).sum()
    assert gap_of(dose, case, alpha).gap <= frank_wolfe * (1 + 1e-9) + 1e-12 * (slope * dose).sum()


def test_second_order_in_the_error():
    case = random_case(37)
    a = solve(case, 2)
    direction = np.random.default_rng(1).normal(size=len(case.weight))
    direction -= direction @ a.group_share
    bounds = []
    for size in (1e-2, 1e-4):
        factor = 1 + size * direction[case.group][:, None]
        bounds.append(gap_of(a.dose * factor, case, 2).relative_gap)
    assert bounds[0] / bounds[1] == pytest.approx(1e4, rel=0.1)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
def test_infeasibility(alpha):
    case = random_case(41)
    a = solve(case, alpha)
    assert gap_of(1.01 * a.dose, case, alpha).infeasibility == pytest.approx(0.01, rel=1e-9)
    dose = a.dose.copy()
    spare = tuple(np.argwhere(dose == 0)[0])
    dose[spare] = -0.02 * case.budget / case.cost[spare]
    assert gap_of(dose, case, alpha).infeasibility == pytest.approx(0.02, rel=1e-9)


@given(cases(), alphas, withins)
def test_nothing_is_nan(case, alpha, within):
    for dose in (np.zeros_like(case.benefit), np.full_like(case.benefit, case.budget)):
        bound = gap_of(dose, case, alpha, within)
        assert not np.isnan(bound).any()
        assert min(bound) >= 0


def test_nothing_for_anybody():
    case = random_case(43)
    nothing = np.zeros_like(case.benefit)
    assert gap_of(nothing, case, 1)[:2] == (np.inf, 1)  # W = −∞
    bound, best = gap_of(nothing, case, 0.5).gap, solve(case, 0.5).welfare
    assert best <= bound < 2 * best


def test_harm_is_no_utility():
    """A group that is harmed has no welfare at α > 0; at α = 0 it is a sum like any other."""
    dose = [[0.0, 1.0], [1.0, 0.0]]
    problem = af.Problem([[1.0, -3.0], [2.0, 1.0]], 1.0, [0, 1], 2.0)
    assert af.optimality_gap(dose, problem, 0).gap == 4 - (-3 + 2)
    assert af.optimality_gap(dose, problem, 2).gap == np.inf


@pytest.mark.parametrize("alpha", [150, 1000, 10001])
def test_large_alpha_is_read_off_the_relative_gap(alpha):
    bound = af.optimality_gap([1.0, 3.0], af.Problem([4.0, 1.0], 1.0, [0, 1], 4.0), alpha)
    assert not np.isnan(bound).any()
    assert bound.relative_gap > 0
    wasted = 1 - af.equivalent_utility([4.0, 3.0], alpha) / (
        af.allocate([4.0, 1.0], 1.0, [0, 1], 4.0, alpha).equivalent_utility
    )
    assert wasted <= bound.relative_gap <= 1.2 * wasted


@given(
    cases(largest=20),
    st.sampled_from([0, 1e-3, 0.5, 1, 2, 5, 50, np.inf]),
    st.sampled_from([0, 0.5, 1, 2, np.inf]),
    st.integers(0, 9999),
)
def test_the_relative_gap_bounds_the_part_of_the_budget_that_is_wasted(case, alpha, within, seed):
    """The optimum is homogeneous in Q, so Q'/Q is the ratio of the equivalent utilities."""
    best = solve(case, alpha, within)
    other = np.random.default_rng(seed).dirichlet(np.ones(case.benefit.size))
    other = np.where(case.benefit > 0, other.reshape(case.benefit.shape), 0)
    dose = 0.5 * best.dose + 0.5 * other * case.budget / case.cost
    person = (case.benefit * dose).sum(axis=1)
    utility = [af.power_mean(person[case.group == k], 1 - within) for k in range(len(case.weight))]
    wasted = 1 - af.equivalent_utility(utility, alpha, case.weight) / best.equivalent_utility
    assert gap_of(dose, case, alpha, within).relative_gap >= wasted - 1e-12


def test_no_budget():
    problem = af.Problem([4.0, 1.0], 1.0, [0, 1], 0.0)
    assert af.optimality_gap([0.0, 0.0], problem, 2) == (0, 0, 0)
    assert af.optimality_gap([1.0, 0.0], problem, 2).infeasibility == np.inf


@pytest.mark.parametrize(
    ("benefit_unit", "cost_unit"), [(1e150, 1e-150), (1e-300, 1e300), (1e300, 1.0)]
)
def test_units_do_not_matter(benefit_unit, cost_unit):
    case = random_case(47)
    dose = np.full(case.benefit.shape, case.budget / case.cost.sum())
    plain = gap_of(dose, case, 2)
    other = case._replace(benefit=case.benefit * benefit_unit, cost=case.cost * cost_unit)
    scaled = gap_of(dose / cost_unit, other, 2)
    assert scaled.relative_gap == pytest.approx(plain.relative_gap, rel=1e-9)


@pytest.mark.parametrize(
    ("dose", "message"),
    [
        (np.ones((4, 2)), r"dose has shape \(4, 2\): must be \(12, 3\)"),
        (np.full((12, 3), np.nan), r"dose\[0, 0\] is nan: must be finite"),
    ],
)
def test_refusal(dose, message):
    with pytest.raises(ValueError, match=message):
        gap_of(dose, random_case(1), 2)


# --- baselines and bounds -------------------------------------------------------------------------
BOUNDED = {
    "baseline": [0.0, 0.5, 1.0, 0.2, 0.0, 0.3],
    "floor": [[0.1, 0.0], [0.0, 0.2], [0.0, 0.0], [0.0, 0.0], [0.3, 0.0], [0.0, 0.0]],
    "cap": [[1.0, 0.5], [2.0, 0.7], [np.inf, 0.4], [0.3, 0.3], [1.5, 1.0], [0.8, 2.0]],
    "group_floor": [0.0, 1.5, 0.0],
    "group_cap": [1.2, np.inf, np.inf],
}


def bounded(within, *names):
    benefit = [[3.0, 1.0], [2.0, 4.0], [1.0, 1.5], [2.0, -1.0], [1.5, 2.5], [0.7, 3.0]]
    cost = [[1.0, 0.8], [1.2, 1.5], [0.9, 1.1], [1.0, 1.0], [0.6, 1.4], [0.5, 1.3]]
    given = {name: BOUNDED[name] for name in names or BOUNDED}
    return af.Problem(benefit, cost, [0, 0, 1, 1, 2, 2], 4.0, within, [1.0, 2.0, 1.5], **given)


def test_by_hand_with_a_baseline():
    """B = (2, 1), Q = 2, α = 1, u = (2 x, 1 + y): the optimum is x = 1.5, y = .5."""
    problem = af.Problem([2.0, 1.0], 1.0, [0, 1], 2.0, baseline=[0.0, 1.0])
    assert af.optimality_gap([1.5, 0.5], problem, 1).gap == pytest.approx(0, abs=1e-15)
    bound = af.optimality_gap([1.0, 1.0], problem, 1)
    assert bound.gap == pytest.approx(np.log(4.5 / 4), rel=1e-13)
    # The optimum of 2√2 − 1, x = √2 and y = √2 − 1, is as good: 2 x (1 + y) = 4.
    assert bound.relative_gap == pytest.approx(1 - (2 * np.sqrt(2) - 1) / 2, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 5])
@pytest.mark.parametrize("within", [0, 0.5, 1, 2])
def test_the_gap_is_the_loss(alpha, within):
    """Mixtures of other optima are feasible; the price of the market makes the bound tight."""
    problem = bounded(within)
    best = problem.allocate(alpha)
    others = [problem.allocate(other).dose for other in (0, 0.1, 10, np.inf)]
    for part in (0.1, 0.5, 1.0):
        for other in others:
            dose = (1 - part) * best.dose + part * other
            person = (problem.benefit * dose).sum(axis=1) + problem.baseline
            utility = [af.power_mean(person[2 * k : 2 * k + 2], 1 - within) for k in range(3)]
            loss = best.welfare - af.welfare(utility, alpha, problem.weight)
            bound = af.optimality_gap(dose, problem, alpha)
            assert bound.gap == pytest.approx(loss, rel=1e-9, abs=1e-12 * abs(best.welfare))
            assert bound.infeasibility <= BALANCE


def test_the_relative_gap_bounds_the_money_that_is_wasted_with_floors():
    """The optimum of 90 % of the budget, floors and baselines kept, wastes 10 % of it at most."""
    problem = bounded(0.5, "baseline", "floor", "cap")
    for alpha in (0.5, 1, 2, np.inf):
        less = af.Problem(
            problem.benefit, problem.cost, problem.groups, 3.6, 0.5, problem.weight,
            **{name: BOUNDED[name] for name in ("baseline", "floor", "cap")},
        )  # fmt: skip
        bound = af.optimality_gap(less.allocate(alpha).dose, problem, alpha)
        assert bound.relative_gap == pytest.approx(0.1, rel=1e-6)


def test_second_order_in_the_error_with_bounds():
    problem = bounded(0.5)
    best, other = (problem.allocate(alpha).dose for alpha in (2, 1))
    sizes = (1e-2, 1e-4)
    bounds = [af.optimality_gap(best + x * (other - best), problem, 2) for x in sizes]
    assert bounds[0].relative_gap / bounds[1].relative_gap == pytest.approx(1e4, rel=0.1)


@pytest.mark.parametrize(
    ("name", "dose", "broken"),
    [
        ("floor", [[0.0, 0], [0, 0.2], [0, 0], [0, 0], [0.3, 0], [0, 0]], 0.1 * 1.0),
        ("cap", [[1.0, 0], [0, 0.9], [0, 0], [0, 0], [0, 0], [0, 0]], 0.2 * 1.5),
        ("group_floor", [[0.0, 0], [0, 0], [1.0, 0], [0, 0], [0, 0], [0, 0]], 1.5 - 0.9),
        ("group_cap", [[1.5, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]], 1.5 - 1.2),
    ],
)
def test_every_bound_counts(name, dose, broken):
    bound = af.optimality_gap(dose, bounded(0, name), 0.5)
    assert bound.infeasibility == pytest.approx(broken / 4, rel=1e-12)


def test_exact_optima_at_the_edges():
    """What was loose, or hung, when the certificate knew fewer cases."""
    useless = af.Problem([1.0, 0.0, 1.0], 1.0, [0, 0, 1], 1.0, 0.99)
    aversion = af.Problem([1.0, 2.0, 3.0], 1.0, [0, 0, 1], 1.0, 1e7)
    for problem in (useless, aversion):
        assert af.optimality_gap(problem.allocate(0.5).dose, problem, 0.5).relative_gap <= BALANCE
    capped = af.Problem([1.0, 2.0, 3.0], 1.0, [0, 1, 2], 1.0, cap=0.6)
    for alpha in (1e16, 1e18):
        dose = capped.allocate(alpha).dose
        assert af.optimality_gap(dose, capped, alpha).relative_gap <= BALANCE
    tiny = af.Problem([1.0, 1.0], 1.0, [0, 1], 1e300, cap=1e-300)
    for alpha in (0, 1, 2, np.inf):
        assert not np.isnan(af.optimality_gap([0.0, 0.0], tiny, alpha)).any()


@pytest.mark.parametrize("within", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("alpha", [0, 1e-6, 0.5, 1, 2, 50, 1e6, 1e200, np.inf])
def test_nothing_is_nan_with_bounds(alpha, within):
    for names in (("baseline",), ("cap",), ("floor", "group_floor"), ("cap", "group_cap"), ()):
        problem = bounded(within, *names)
        for dose in (np.zeros((6, 2)), np.ones((6, 2)), 1e300 * np.ones((6, 2))):
            bound = af.optimality_gap(dose, problem, alpha)
            assert not np.isnan(bound).any()
            assert min(bound) >= 0
            assert bound.relative_gap <= 1


def test_the_call_of_0_1_0_says_how_it_is_written_now():
    message = (
        r"must be an alphafair.Problem, not list: write optimality_gap\(dose, problem, alpha\)"
    )
    with pytest.raises(TypeError, match=message):
        af.optimality_gap([1.0, 1.0], [2.0, 1.0], 1.0, [0, 1], 2.0, 1)


def test_money_that_caps_leave_over_is_not_wasted():
    """Caps take 2 of a budget of 10; with half of these, half is wasted."""
    problem = af.Problem([1.0, 1.0], 1.0, [0, 1], 10.0, cap=1.0)
    assert af.optimality_gap([1.0, 1.0], problem, 2) == (0, 0, 0)
    assert af.optimality_gap([0.5, 0.5], problem, 2).relative_gap >= 0.5


def test_large_aversion_inside_groups():
    """(θ/u)^ε has no digits left; the prices of those who are buying do not need it."""
    for within in (1e6, 1e9):
        problem = bounded(within, "baseline", "cap")
        assert af.optimality_gap(problem.allocate(1).dose, problem, 1).relative_gap <= 1e-11


def test_beyond_the_doubles_the_bound_is_infinite_and_not_nan():
    problem = af.Problem([1e236, 1e-261, 1e-296], 1.0, [0, 0, 1], 1e289, within=1)
    bound = af.optimality_gap([1e119, 1e81, 1e-200], problem, np.inf)
    assert bound.gap == np.inf
    assert 0 <= bound.relative_gap <= 1
