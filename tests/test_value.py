"""What money is worth inside a group: small integers, extremes, and what must not matter.

Where no closed value is at hand the certificate judges, which shares no code with the core.
"""

import mpmath
import numpy as np
import pytest
from helpers import BALANCE

import alphafair as af
from alphafair.value import log_quotient

WITHINS = (0, 0.3, 1, 2, np.inf)
ALPHAS = (0, 0.5, 1, 3, np.inf)


def certified(a, close=1e-11, balance=BALANCE):
    """Assert that an allocation is optimal, feasible and free of NaN; return it."""
    bound = af.optimality_gap(a.dose, a.problem, a.alpha)
    assert bound.relative_gap <= close
    assert bound.infeasibility <= balance
    for number in (a.dose, a.group_utility, a.group_price, a.price, a.welfare, a.money_left):
        assert not np.isnan(number).any()
    spent = (a.problem.cost * a.dose).sum()
    assert abs(spent + a.money_left - a.problem.budget) <= balance * a.problem.budget
    return a


def mixed_problem(within, seed=0, budget=20.0, unit=(1.0, 1.0), **options):
    """Six people in three groups: one has nothing, one a floor, one tiny caps."""
    rng = np.random.default_rng(seed)
    benefit, cost = rng.uniform(0.5, 5, (2, 6, 2))
    cap, floor = rng.uniform(0.5, 4, (6, 2)), np.zeros((6, 2))
    floor[3, 0], cap[5] = 0.25, [0.01, 0.02]
    arguments = {
        "baseline": np.array([0.0, 1.0, 2.0, 0.5, 3.0, 0.1]) * unit[0],
        "floor": floor,
        "cap": cap,
    }
    return af.Problem(
        benefit * unit[0], cost * unit[1], [0, 0, 0, 1, 1, 2], budget * unit[1], within,
        **(arguments | options),
    )  # fmt: skip


# --- by hand ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("within", "have", "money", "utility", "slope"),
    [
        (0, 0, 0, 0, 2),  # all to the first
        (0, 6, 5, 13, 2),
        (1 / 2, 9, 9, 81 / 4, 3 / 2),  # u = (36, 9)
        (1 / 2, 9, 36, 225 / 4, 5 / 4),  # u = (144, 9): the second joins
        (1 / 2, 9, 71, 100, 5 / 4),  # u = (256, 16)
        (1, 2, 1, 8**0.5, 2**0.5),  # u = (4, 2)
        (1, 2, 2, 4, 1),  # u = (8, 2): the second joins
        (1, 2, 6, 8, 1),  # u = (16, 4)
        (2, 3, 3 / 2, 4, 8 / 9),  # u = (6, 3): the second joins
        (2, 3, 6, 8, 8 / 9),  # u = (12, 6)
        (np.inf, 3, 1 / 2, 2, 4),
        (np.inf, 3, 2, 4, 4 / 5),  # beyond 3/4 both rise, for 1/4 + 1
        (np.inf, 3, 23 / 4, 7, 4 / 5),
    ],
)
@pytest.mark.parametrize("budget", [1, 1000])
def test_two_people_of_ratios_4_and_1(within, have, money, utility, slope, budget):
    """The second has something already; the money may be far above or below the budget."""
    problem = af.Problem([4, 1], 1, [0, 0], budget, within, baseline=[0, have])
    assert problem.group_utility(money)[0] == pytest.approx(utility, rel=1e-14)
    assert problem.marginal_utility(money)[0] == pytest.approx(slope, rel=1e-14)


@pytest.mark.parametrize(("within", "full"), [(0, 5), (1 / 2, 4.5), (1, 4), (2, 3.2), (np.inf, 2)])
@pytest.mark.parametrize("budget", [0, 1, 6, 50])
def test_beyond_all_caps_money_is_worth_nothing(within, full, budget):
    """Utilities (8, 2) at the caps, for 2 + 2."""
    problem = af.Problem([4, 1], 1, [0, 0], budget, within, cap=2)
    for money in (4, 5, 400):
        assert problem.group_utility(money)[0] == pytest.approx(full, rel=1e-14)
        assert problem.marginal_utility(money * (1 + 1e-15))[0] == 0
    assert problem.marginal_utility(3.9)[0] > (0 if within < np.inf else -1)


def test_floors_are_paid_first():
    problem = af.Problem([4, 1], 1, [0, 0], 8, floor=[0, 2], cap=[3, 4])
    money = (2, 5, 7, 8)
    assert [problem.group_utility(x)[0] for x in money] == [1, 7, 8, 8]
    slope = [problem.marginal_utility(x)[0] for x in money]
    assert slope == pytest.approx([2, 0.5, 0, 0], rel=1e-15)


def test_nothing_but_what_they_have():
    """Group b cannot be helped and has 4 a head already; all the money goes to a."""
    for within in WITHINS:
        for alpha in ALPHAS:
            a = af.allocate(
                [[2.0], [-1.0], [0.0]], 1, list("abb"), 6, alpha, within=within,
                baseline=[0, 4, 4],
            )  # fmt: skip
            certified(a)
            assert a.dose[:, 0].tolist() == [6, 0, 0]
            assert a.group_utility == pytest.approx([12, 4], rel=1e-15)
            assert a.best_item.tolist() == [[0, 0], [-1, -1]]


@pytest.mark.parametrize("within", [0, 0.3, 0.9])
def test_useless_people_with_and_without_a_baseline(within):
    """At ε < 1 somebody with nothing for ever only dilutes the group."""
    for have in (0.0, 2.0):
        for alpha in ALPHAS:
            a = af.allocate(
                [[3.0, 1.0], [-1.0, 0.0], [2.0, 2.5]], 1, [0, 0, 1], 5, alpha, within=within,
                baseline=[0, have, 1], cap=[[1.0, 5.0]] * 3,
            )  # fmt: skip
            certified(a)
            assert a.dose[1].tolist() == [0, 0]


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_money_left(alpha, within):
    a = certified(mixed_problem(within, budget=1e4).allocate(alpha))
    full = (a.problem.cost * a.problem.cap).sum()
    assert a.money_left == pytest.approx(1e4 - full, rel=1e-14)
    assert a.price == 0
    assert a.at_cap.all()


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_group_of_fixed_budget(alpha, within):
    bound = [3.0, 2.0, 0.125]
    a = mixed_problem(
        within, budget=6.0, cap=None, group_floor=bound, group_cap=[3.0, 2.0, np.inf]
    ).allocate(alpha)
    certified(a)
    assert a.group_budget == pytest.approx([3, 2, 1], rel=1e-14)


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_no_budget(alpha, within):
    """With Q = 0 everybody keeps what she has; the price is that of the first unit."""
    caps = {"cap": np.full((6, 2), 2.0)}
    for options in ({}, {"floor": 0.0}, caps, {"floor": np.zeros(6)} | caps):
        options = {"floor": None, "cap": None} | options
        problem = mixed_problem(within, budget=0.0, **options)
        a = certified(problem.allocate(alpha))
        assert not a.dose.any()
        small = mixed_problem(within, budget=1e-9, **options).allocate(alpha)
        if np.isfinite(a.price) and a.price > 0:
            assert a.price == pytest.approx(small.price, rel=1e-4)


# --- extremes ---------------------------------------------------------------------------------
@pytest.mark.parametrize("within", [1 - 1e-9, 1 + 1e-9, 1 - 0.0156, 1 + 0.0157, 1e-3, 1e3, 1e7])
@pytest.mark.parametrize("alpha", [0, 1e-6, 1, 3, 1e6, np.inf])
def test_extreme_aversions(alpha, within):
    close = max(1e-11, 1e-15 * within)  # log V' is ε times a difference of logarithms
    for options in ({}, {"cap": None}, {"group_cap": [2.0, np.inf, np.inf]}):
        certified(mixed_problem(within, budget=8.0, **options).allocate(alpha), close)


@pytest.mark.parametrize("money", [0.5, 2.0, 7.0])
def test_continuous_where_the_formula_changes(money):
    """At ε = 1 and at the ends of the range in which expm1 computes the power mean."""
    for within, step, near in (
        (1, 1e-9, 1e-7),
        (1 - 1 / 64, 1e-13, 1e-11),
        (1 + 1 / 64, 1e-13, 1e-11),
    ):
        low, middle, high = (
            mixed_problem(within + sign * step).group_utility(money) for sign in (-1, 0, 1)
        )
        np.testing.assert_allclose(low, middle, rtol=near)
        np.testing.assert_allclose(high, middle, rtol=near)


def test_quotients_beyond_the_doubles_have_a_logarithm():
    """Numbers of 1e±200: their quotients overflow or vanish, the logarithms are ±400 log 10."""
    value, reference = np.array([1e200, 1e-200, 3.0, 0.0]), np.array([1e-200, 1e200, 1.5, 1.0])
    expected = [400 * np.log(10), -400 * np.log(10), np.log(2), -np.inf]
    assert log_quotient(value, reference).tolist() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("spread", [1e-3, 0.5, 5, 100])
@pytest.mark.parametrize(
    "exponent", [-1, -0.5, -0.126, -0.125, -0.01, -1e-6, 0, 1e-6, 0.01, 0.124, 0.125, 0.5, 1, 3, 50]
)
def test_power_means_and_shares_in_fifty_digits(exponent, spread):
    """Ratios next to each other, and 10^±200; s on both sides of where the means change hands."""
    ratio = np.exp(np.random.default_rng(3).normal(0, spread, 200))
    within = 1 / (1 + exponent) if exponent > -1 else np.inf
    problem = af.Problem(ratio, 1.0, np.zeros(200, int), 1.0, within=within)
    with mpmath.workdps(50):
        s = 1 / mpmath.mpf(within) - 1 if exponent > -1 else mpmath.mpf(-1)
        exact = [mpmath.mpf(r) for r in ratio]
        power = [r**s for r in exact]
        total = mpmath.fsum(power)
        mean = (
            (total / 200) ** (1 / s) if s else mpmath.exp(mpmath.fsum(map(mpmath.log, exact)) / 200)
        )
        share = [float(y / total) for y in power]
    # A logarithm of 200 has 14 digits behind the point.
    close = 1e-14 if spread < 100 else 1e-13
    assert problem.productivity[0] == pytest.approx(float(mean / 200), rel=close)
    np.testing.assert_allclose(problem.funded.share, share, rtol=20 * close, atol=1e-250)


def test_little_aversion_tends_to_none():
    for alpha in ALPHAS:
        plain = mixed_problem(0).allocate(alpha)
        near = mixed_problem(1e-6).allocate(alpha)
        np.testing.assert_allclose(near.group_utility, plain.group_utility, rtol=1e-4)


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_ratios_over_12_orders_of_magnitude(alpha, within):
    rng = np.random.default_rng(5)
    benefit, cost = 10 ** rng.uniform(-3, 3, (2, 12, 2))
    for options in ({"baseline": 1.0}, {"cap": 10 ** rng.uniform(-3, 3, (12, 2))}):
        certified(
            af.allocate(benefit, cost, np.arange(12) % 3, 50.0, alpha, within=within, **options)
        )


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_much_more_there_than_the_budget_buys(alpha, within):
    """Utilities of 1e6 times what money adds round off 1e−10 of it; levels a few times that."""
    have = np.array([1e6, 1.1e6, 0.9e6, 1e6, 1e6, 1e6])
    for cap in (None, 0.1):
        a = mixed_problem(within, baseline=have, floor=None, cap=cap, budget=1.0).allocate(alpha)
        certified(a, close=2e-8, balance=1e-8)


@pytest.mark.parametrize("unit", [(1e150, 1e-150), (1e-150, 1e150), (1e150, 1.0), (1.0, 1e-150)])
@pytest.mark.parametrize("within", WITHINS)
def test_units_do_not_matter(unit, within):
    for alpha in (0, 1, 2, np.inf):
        plain = mixed_problem(within).allocate(alpha)
        other = mixed_problem(within, unit=unit).allocate(alpha)
        np.testing.assert_allclose(other.dose, plain.dose, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(other.group_utility / unit[0], plain.group_utility, rtol=1e-11)


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_ties_within_a_person_and_between_persons(alpha, within):
    benefit, cost = [[2.0, 4.0], [2.0, 2.0], [1.0, 3.0]], [[1.0, 2.0], [1.0, 1.0], [0.5, 1.5]]
    for group in ([0, 0, 1], [0, 0, 0], [0, 1, 2]):
        for budget in (0.5, 2.0, 4.5, 7.0):  # some fill items exactly
            a = af.allocate(benefit, cost, group, budget, alpha, within=within, cap=1.0)
            certified(a)
            if group == [0, 0, 0] and within == 0:  # in row order
                filled = np.minimum(np.ravel(a.dose * cost), np.ravel(cost))
                left = budget - np.cumsum(np.ravel(cost)) + np.ravel(cost)
                assert filled == pytest.approx(np.clip(left, 0, np.ravel(cost)))


# --- what must not matter -------------------------------------------------------------------------
@pytest.mark.parametrize("aversion", [0.3, 1, 2, np.inf])
@pytest.mark.parametrize(
    "names", [("baseline",), ("baseline", "floor"), ("baseline", "floor", "cap")]
)
def test_at_equal_aversions_groups_do_not_matter(aversion, names):
    """Σ G φ(U) is a sum over people, whatever their groups, with baselines and floors."""
    left_out = {name: None for name in ("baseline", "floor", "cap") if name not in names}
    together = mixed_problem(aversion, weight="size", budget=6.0, **left_out)
    bounds = {name: getattr(together, name) for name in names}
    alone = af.allocate(together.benefit, together.cost, np.arange(6), 6.0, aversion, **bounds)
    a = together.allocate(aversion)
    np.testing.assert_allclose(a.dose, alone.dose, rtol=1e-10, atol=1e-10)
    assert a.person_utility == pytest.approx(alone.person_utility, rel=1e-11)
    assert a.price == pytest.approx(alone.price, rel=1e-10) or aversion == np.inf


@pytest.mark.parametrize("within", WITHINS)
def test_bounds_that_do_not_bind_do_not_matter(within):
    for alpha in ALPHAS:
        plain = mixed_problem(within, floor=None, cap=None, baseline=None).allocate(alpha)
        loose = mixed_problem(
            within, floor=0.0, cap=1e3, baseline=0.0, group_floor=[0, 0, 0], group_cap=[1e3] * 3
        ).allocate(alpha)
        np.testing.assert_allclose(loose.dose, plain.dose, rtol=1e-11, atol=1e-11)
        assert loose.price == pytest.approx(plain.price, rel=1e-11)
