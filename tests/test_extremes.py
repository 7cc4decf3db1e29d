"""What leaves the doubles, or nearly: right or refused by name, and never NaN."""

import numpy as np
import pytest
from mpmath import mp, mpf

import alphafair as af
from alphafair.inequality import theil

EPS = np.finfo(float).eps


# --- ε next to 1, with people who cannot benefit: p = (m/n)^{1/s}/n underflows --------------------
@pytest.mark.parametrize(
    ("useful", "people", "within", "underflows"),
    [(1, 2, 0.9995, True), (1, 10, 0.997, True), (1, 2, 0.99, False), (3, 4, 0.9999, True)],
)
@pytest.mark.parametrize("alpha", [0, 0.5, 0.99, 1, 2, np.inf])
def test_a_productivity_below_the_doubles(useful, people, within, underflows, alpha):
    benefit = [1.0] * useful + [0.0] * (people - useful) + [1.0]
    problem = af.Problem(benefit, 1.0, [0] * people + [1], 1.0, within=within)
    a = problem.allocate(alpha)
    with mp.workdps(30):
        log_p = mp.log(mpf(useful) / people) * within / (1 - mpf(within)) - mp.log(people)
        tilt = -1 if alpha == np.inf else 1 / mpf(alpha) - 1 if alpha else mpf(10) ** 6
        odds = float(mp.exp(tilt * log_p))  # of group 0
    share = np.array([1.0, 0.0]) if odds == np.inf else np.array([odds, 1]) / (1 + odds)
    assert a.group_share == pytest.approx(share, rel=1e-12, abs=1e-300)
    assert (problem.productivity[0] == 0) == underflows
    assert np.isfinite(a.group_utility).all()
    assert np.isfinite(a.dose).all()
    assert a.dose[:useful, 0] == pytest.approx(share[0] / useful, rel=1e-12, abs=1e-300)
    if alpha <= 0.5:
        assert a.welfare == pytest.approx(1 / (1 - alpha), rel=1e-9)
    if alpha in (0, np.inf) and underflows:
        assert a.price == (1.0 if alpha == 0 else 0.0)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
def test_a_group_alone_gets_everything_however_little_it_is_worth(alpha):
    a = af.allocate([1.0, 0.0], 1, [0, 0], 1.0, alpha, within=0.9995)
    assert a.group_share.tolist() == [1.0]
    assert a.dose[:, 0].tolist() == [1.0, 0.0]
    assert not np.isnan(a.gradient().benefit).any()
    assert a.jacobian().jvp(budget=1.0)[:, 0].tolist() == [1.0, 0.0]


# --- no budget yet: the first unit ---------------------------------------------------------------
@pytest.mark.parametrize("within", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
def test_the_first_unit_under_caps_is_that_of_the_closed_form(alpha, within):
    """At a budget of 0 no cap binds: the shares, the price, V'(0+) and the Jacobian are p's."""
    arguments = ([1.0, 4.0, 3.0, 2.0], [1.0, 2.0, 1.0, 0.5], [0, 0, 1, 1], 0.0)
    free = af.Problem(*arguments, within=within, weight=[1.0, 2.0])
    capped = af.Problem(*arguments, within=within, weight=[1.0, 2.0], cap=5.0)
    assert capped.marginal_utility(0.0) == pytest.approx(free.productivity, rel=1e-14)
    a, b = free.allocate(alpha), capped.allocate(alpha)
    assert b.productivity == pytest.approx(a.productivity, rel=1e-14)
    assert b.group_share == pytest.approx(a.group_share, rel=1e-13)
    assert b.price == pytest.approx(a.price, rel=1e-13)
    expected = a.jacobian().jvp(budget=1.0)
    assert b.jacobian().jvp(budget=1.0) == pytest.approx(expected, abs=1e-14)
    for direction in ({"cap": 1.0}, {"benefit": 1.0}, {"weight": 1.0}):
        assert not b.jacobian().jvp(**direction).any()
    for cotangent in b.jacobian().vjp(np.ones((4, 1))):
        assert cotangent is None or np.isfinite(cotangent).all()


def test_the_first_unit_with_a_baseline_is_worth_most_to_those_who_have_nothing():
    problem = af.Problem([1.0, 1.0], 1.0, [0, 0], 1.0, within=0.5, baseline=[0.0, 1.0])
    assert problem.marginal_utility(0.0).tolist() == [np.inf]
    assert problem.marginal_utility(1.0) == pytest.approx(0.5)  # both have 1


# --- ε next to 0 under caps -----------------------------------------------------------------------
SMALL = ([7.0, 8.0, 4.0], [1.0, 0.2, 3.0], [0, 1, 1], 1.0)


@pytest.mark.parametrize("within", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("alpha", [0.5, 1, 2, np.inf])
def test_a_little_fairness_inside_changes_little_under_caps(alpha, within):
    """Shares go as (b/c)^{1/ε}, 10^{1e6} and more to 1; utilities lose no more than of order ε."""
    cap = [9.0, 0.4, 0.2]
    a = af.allocate(*SMALL, alpha, within=within, cap=cap)
    b = af.allocate(*SMALL, alpha, cap=cap)
    assert a.group_budget.sum() == pytest.approx(1.0, abs=1e-15 / within)
    assert a.dose == pytest.approx(b.dose, abs=3 * within)
    assert af.optimality_gap(a.dose, a.problem, alpha).infeasibility <= 1e-15 / within


def test_next_to_no_fairness_inside_is_refused_with_bounds():
    message = r"within is 1e-09: with bounds or a baseline it must be 0 or at least 1e-06; .*use 0"
    for bound in ({"cap": 2.0}, {"floor": 0.01}, {"baseline": 1.0}, {"group_cap": [1.0, 1.0]}):
        with pytest.raises(ValueError, match=message):
            af.Problem(*SMALL, within=1e-9, **bound)
    a = af.allocate(*SMALL, 2, within=1e-9)  # without: the closed form, in logarithms
    assert a.dose == pytest.approx(af.allocate(*SMALL, 2).dose, abs=1e-8)


# --- numbers of one kind that no double compares --------------------------------------------------
@pytest.mark.parametrize("within", [0, 0.5, 1, np.inf])
@pytest.mark.parametrize(
    ("arguments", "bounds", "message"),
    [
        (([1, 1], [1e-300, 1e308], [0, 0], 1), {"cap": 1}, r"at item \(1, 0\)|of item \(1, 0\)"),
        (([1, 1], [1e-300, 1e300], [0, 1], 1), {"cap": 1}, r"at item \(1, 0\): its benefit"),
        (([1, 1], [1e-200, 1e130], [0, 0], 5e129), {"cap": 1}, r"at item \(1, 0\): its benefit"),
        (([1, 1], 1e-200, [0, 0], 1e130), {"cap": 1}, r"at item \(0, 0\): the money.*caps to 0"),
        (([1, 1], 1.0, [0, 1], 1), {"baseline": [1e305, 0]}, r"baseline\[0\] is 1e\+305.*factor"),
        (([1, 1], 1.0, [0, 1], 1e300), {"baseline": [1, 1e-100]}, r"baseline\[1\] is 1e-100"),
    ],
)
def test_what_is_lost_is_refused(arguments, bounds, message, within):
    with pytest.raises(ValueError, match=message):
        af.allocate(*arguments, 2, within=within, **bounds)


def test_320_orders_of_magnitude_under_a_cap():
    a = af.allocate([1, 1], [1e-160, 1e160], [0, 0], 1, 1, cap=1)
    assert a.group_utility == pytest.approx([0.5], rel=EPS)
    assert a.dose[:, 0] == pytest.approx([1.0, 1e-160], rel=1e-12)


# --- α at both ends -------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [1e154, 1e155, 1e200, 1e308])
@pytest.mark.parametrize("bounds", [{}, {"within": 2.0}, {"cap": 2.0}])
def test_derivatives_at_the_largest_alphas_are_those_at_infinity(alpha, bounds):
    one, last = (af.allocate([1.0, 2.0], 1, [0, 1], 1, x, **bounds) for x in (alpha, np.inf))
    for name in ("benefit", "cost", "budget", "weight"):
        jvp = (a.jacobian().jvp(**{name: 1.0}) for a in (one, last))
        assert next(jvp) == pytest.approx(next(jvp), abs=1e-12)
    vjp = one.jacobian().vjp([1.0, 3.0])
    assert vjp.benefit == pytest.approx(last.jacobian().vjp([1.0, 3.0]).benefit, abs=1e-12)
    assert vjp.alpha == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (([1, 1], [2, 3], [0, 1], 1.9, 4e-4), 0.95),
        (([1, 1], 1, [0, 0], 0.5, 700), np.inf),
    ],
)
def test_the_gradient_of_an_unfunded_item_is_0(arguments, expected):
    """Also where its group has next to nothing, u^{−α} = ∞."""
    g = af.allocate(*arguments, cap=3).gradient()
    assert g.benefit[:, 0] == pytest.approx([expected, 0.0], rel=1e-4)
    assert g.cost[1, 0] == 0.0
    assert not any(np.isnan(part).any() for part in g if part is not None)


def test_the_price_where_a_cap_is_reached_and_the_other_group_has_next_to_nothing():
    """The budget fills the first cap; the other group, with 1e−239, is worth √12."""
    a = af.allocate([2, 2], 1, [1, 0], 1, 1e-3, cap=1, weight=[1, 3])
    assert a.price == pytest.approx(12**0.5, rel=1e-12)
    assert a.jacobian().jvp(budget=1.0)[:, 0].tolist() == [0.0, 1.0]


def test_dose_gradients_where_shares_underflow():
    g = af.allocate([1.0, 1e-3, 1.0], 1, [0, 0, 1], 1e-3, 2000, within=1e-3).gradient()
    assert not any(np.isnan(part).any() for part in g if part is not None)


def test_theil_of_a_population_next_to_none():
    assert theil([1, 2], [5e-324, 1]) == 0.0
    assert theil([1, 2], [5e-324, 5e-324]) == pytest.approx(theil([1, 2]), rel=1e-15)


@pytest.mark.parametrize("within", [0.1, 0.05, 0.02, 0.01, 1e-3, 1e-4])
@pytest.mark.parametrize("bound", ["floor", "baseline"])
def test_the_budget_is_spent_where_the_next_person_begins_far_away(within, bound):
    """Whoever is ahead by 10 % begins at e^{.1/ε} times the money: no rounding of ours."""
    benefit, cost, group = [4.0, 4.0, 4.0, 1.5, 4.0], [2.0, 1.0, 2.0, 1.0, 1.0], [2, 2, 2, 1, 1]
    bounds = {"floor": [0.0, 0.18, 0.09, 0, 0]} if bound == "floor" else {"baseline": 0.1}
    a = af.allocate(benefit, cost, group, 9.0, 0.5, within=within, **bounds)
    assert (a.dose[:, 0] * np.array(cost)).sum() == pytest.approx(9.0, rel=1e-12)
    gap = af.optimality_gap(a.dose, a.problem, 0.5)
    assert gap.relative_gap <= 1e-9
    assert gap.infeasibility == 0.0


# --- doses below the doubles --------------------------------------------------------------------
@pytest.mark.parametrize("bounds", [{}, {"cap": 1e300}, {"within": 0.5}, {"baseline": 1e-40}])
def test_a_dose_that_underflows_is_refused(bounds):
    a = af.allocate([1.0, 1e300], [1.0, 1e300], [0, 1], 1e-30, 1, **bounds)
    with pytest.raises(ValueError, match=r"dose of item \(1, 0\) underflows: .*smaller unit"):
        _ = a.dose
    a = af.allocate([1.0, 1.0], [1.0, 1.0], [0, 1], 1e-30, 1, **bounds)  # in another unit
    assert a.dose[:, 0] == pytest.approx([5e-31, 5e-31], rel=1e-9)


def test_a_part_of_the_budget_that_vanishes_is_no_error():
    a = af.allocate([1.0, 0.4], 1.0, [0, 1], 1.0, 1e-3)  # .4^999 = 1e−398
    assert a.dose[:, 0].tolist() == [1.0, 0.0]
    assert af.allocate([1.0, 1.0], 1.0, [0, 1], 0.0, 1).dose.tolist() == [[0.0], [0.0]]
