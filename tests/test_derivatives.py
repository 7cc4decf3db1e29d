"""Gradient and Jacobian against 50-digit differences, and the identities that they must obey."""

from copy import copy

import mpmath
import numpy as np
import pytest
from helpers import EXACT, alphas, cases, exact_allocation, random_case, withins
from hypothesis import given
from hypothesis import strategies as st
from test_value_judges import random_problem

import alphafair as af
from alphafair.value import Linear, Pieces

ALPHAS = (0, 1e-3, 0.01, 0.5, 1 - 1e-9, 1, 2, 5, 50, np.inf)
WITHINS = (0, 0.3, 1, 3, np.inf)
STEP = mpmath.mpf(10) ** -16  # 50 digits: a central difference is right to 10^−32
RELATIVE = 1e-12
FLOOR = 1e-18  # times RELATIVE: smaller than what 50-digit differences resolve, 10^(−50 + 16)


def solve(case, alpha, within=0.0):
    return af.allocate(*case[:4], alpha, within=within, weight=case.weight)


def exact_array(array):
    return np.vectorize(mpmath.mpf, otypes=[object])(array)


def exact_welfare(case, alpha, within):
    utility = exact_allocation(case, alpha, within).utility
    with mpmath.workdps(50):
        weight = [mpmath.mpf(w) for w in case.weight]
        if alpha == np.inf:
            return min(utility)
        pairs = list(zip(weight, utility, strict=True))
        if alpha == 1:
            return mpmath.fsum(w * mpmath.log(u) for w, u in pairs)
        s = 1 - mpmath.mpf(alpha)
        return mpmath.fsum(w * u**s for w, u in pairs if u > 0) / s


def directions(case, seed):
    """A random direction for each parameter, one at a time, and for all together."""
    rng = np.random.default_rng(seed)
    zero = {
        "benefit": 0 * case.benefit,
        "cost": 0 * case.cost,
        "budget": 0.0,
        "weight": 0 * case.weight,
    }
    parts = {
        "benefit": rng.normal(size=case.benefit.shape),
        "cost": rng.normal(size=case.cost.shape) * case.cost / 3,
        "budget": 1.0,
        "weight": rng.normal(size=case.weight.size) * case.weight / 3,
    }
    return [zero | {name: part} for name, part in parts.items()] + [parts]


def moved(case, direction, step):
    return case._replace(
        **{
            name: exact_array(getattr(case, name)) + step * exact_array(part)
            for name, part in direction.items()
        }
    )


def difference(function, case, direction):
    with mpmath.workdps(50):
        plus, minus = (function(moved(case, direction, sign * STEP)) for sign in (1, -1))
        return (plus - minus) / (2 * STEP)


def doses(case, alpha, within):
    return np.array(exact_allocation(case, alpha, within).dose, object)


def inner(gradient, direction):
    """Σ gradient · direction, and the sum of the sizes of its terms."""
    terms = [np.ravel(getattr(gradient, name) * part) for name, part in direction.items()]
    terms = np.concatenate(terms)
    return terms.sum(), np.abs(terms).sum()


def worst_error(got, exact):
    return max(abs(mpmath.mpf(float(g)) - e) for g, e in zip(got.flat, exact.flat, strict=True))


def size_of(got, case):
    return max(np.abs(got).max(), FLOOR * float(case.budget))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("within", WITHINS)
def test_gradient_to_50_digits(alpha, within):
    case = random_case(3, persons=7, treatments=2, groups=3)
    gradient = solve(case, alpha, within).gradient()
    for direction in directions(case, 1):
        exact = difference(lambda c: exact_welfare(c, alpha, within), case, direction)
        got, size = inner(gradient, direction)
        assert abs(mpmath.mpf(float(got)) - exact) <= RELATIVE * size


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("within", WITHINS)
def test_jacobian_to_50_digits(alpha, within):
    case = random_case(5, persons=7, treatments=2, groups=3)
    jacobian = solve(case, alpha, within).jacobian()
    for direction in directions(case, 2):
        weight = direction.pop("weight")
        if not any(np.any(part) for part in direction.values()):
            continue
        exact = difference(
            lambda c: doses(c, alpha, within), case, direction | {"weight": 0 * weight}
        )
        got = jacobian.jvp(**direction)
        assert worst_error(got, exact) <= RELATIVE * size_of(got, case)


@pytest.mark.parametrize("alpha", ALPHAS[1:-1])
@pytest.mark.parametrize("within", WITHINS)
def test_derivative_in_alpha_to_50_digits(alpha, within):
    case = random_case(7, persons=7, treatments=2, groups=3)
    with mpmath.workdps(50):
        plus, minus = (doses(case, mpmath.mpf(alpha) + sign * STEP, within) for sign in (1, -1))
        exact = (plus - minus) / (2 * STEP)
    got = solve(case, alpha, within).jacobian().jvp(alpha=1.0)
    # At α = 1e−3 all but one share underflow; at .01 logarithms are multiplied by 10⁴.
    assert worst_error(got, exact) <= RELATIVE * size_of(got, case) * max(1, 0.1 / alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("within", WITHINS)
def test_jvp_and_vjp_are_adjoint(alpha, within):
    case = random_case(11, persons=30, treatments=3, groups=5)
    jacobian = solve(case, alpha, within).jacobian()
    rng = np.random.default_rng(1)
    for _ in range(5):
        tangent = {
            "benefit": rng.normal(size=(30, 3)),
            "cost": rng.normal(size=(30, 3)),
            "budget": 0.7,
        }
        if 0 < alpha < np.inf:
            tangent["alpha"] = 0.3
        cotangent = rng.normal(size=(30, 3))
        forward, back = jacobian.jvp(**tangent), jacobian.vjp(cotangent)
        left = (cotangent * forward).sum()
        terms = [np.ravel(getattr(back, name) * part) for name, part in tangent.items()]
        size = np.abs(cotangent * forward).sum() + np.abs(np.concatenate(terms)).sum()
        assert abs(left - np.concatenate(terms).sum()) <= EXACT * size
    assert (back.alpha is None) == (alpha in (0, np.inf))


@pytest.mark.parametrize("alpha", [0, 0.01, 0.5, 1, 2, 50, np.inf])
@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("parameter", ["benefit", "cost"])
def test_dense_is_jvp_of_unit_vectors(alpha, within, parameter):
    case = random_case(13, persons=6, treatments=2, groups=3)
    jacobian = solve(case, alpha, within).jacobian()
    dense = jacobian.dense(parameter)
    assert dense.shape == (6, 2, 6, 2)
    for j in range(6):
        for s in range(2):
            unit = np.zeros((6, 2))
            unit[j, s] = 1
            column = jacobian.jvp(**{parameter: unit})
            assert dense[:, :, j, s] == pytest.approx(
                column, rel=1e-12, abs=1e-13 * np.abs(dense).max()
            )


def test_by_hand():
    """With p = (4, 1), α = 2, Q = 30: x = (10, 20), λ = p u^(−2) = 4/40² = 0.0025."""
    a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], 30.0, 2)
    gradient, jacobian = a.gradient(), a.jacobian()
    assert gradient.budget == pytest.approx(0.0025, rel=EXACT)
    assert gradient.benefit[:, 0] == pytest.approx([0.0025 * 10 / 4, 0.0025 * 20], rel=EXACT)
    assert gradient.cost[:, 0] == pytest.approx([-0.025, -0.05], rel=EXACT)
    assert gradient.weight == pytest.approx([-1 / 40, -1 / 20], rel=EXACT)
    assert jacobian.group_block == pytest.approx(-0.5 * 30 * 2 / 9 * np.array([[1, -1], [-1, 1]]))
    assert jacobian.dense("benefit")[:, 0, 0, 0] == pytest.approx([-5 / 6, 5 / 6], rel=EXACT)


@pytest.mark.parametrize("alpha", [0, 1])
def test_budgets_do_not_depend_on_benefits_at_0_and_1(alpha):
    case = random_case(17)
    jacobian = solve(case, alpha).jacobian()
    assert not jacobian.jvp(benefit=np.random.default_rng(0).normal(size=case.benefit.shape)).any()
    assert not jacobian.dense("benefit").any()
    assert jacobian.dense("cost").any()


def test_infinity_is_the_formula_at_beta_0():
    case = random_case(19)
    at, near = (solve(case, alpha).jacobian().dense("benefit") for alpha in (np.inf, 1e12))
    assert at.any()
    assert at == pytest.approx(near, rel=1e-9)


@given(cases(), alphas, withins)
def test_transfers_sum_to_zero_and_money_is_conserved(case, alpha, within):
    """The sum c · d stays Q for every b: money only moves; and all new money is spent."""
    jacobian = solve(case, alpha, within).jacobian()
    direction = np.random.default_rng(0).normal(size=case.benefit.shape)
    transfer = case.cost * jacobian.jvp(benefit=direction)
    assert abs(transfer.sum()) <= 1e-9 * max(np.abs(transfer).sum(), 1e-300)
    assert (case.cost * jacobian.jvp(budget=1.0)).sum() == pytest.approx(1, rel=1e-10)


@given(cases(), alphas, withins, st.floats(0.1, 10))
def test_gradient_obeys_eulers_rule(case, alpha, within, factor):
    """In money, the elasticities of welfare in the benefits add up to the budget."""
    a = solve(case, alpha, within)
    gradient = a.gradient()
    if np.isfinite(gradient.budget) and gradient.budget > 1e-290:
        money = (gradient.benefit * case.benefit).sum() / gradient.budget
        assert money == pytest.approx(case.budget, rel=1e-9)
        assert (gradient.cost * case.cost).sum() / gradient.budget == pytest.approx(
            -case.budget, rel=1e-9
        )


@pytest.mark.parametrize("unit", [1e-150, 1e150])
@pytest.mark.parametrize("alpha", [0.5, 1, 2, np.inf])
def test_units(unit, alpha):
    case = random_case(23)
    plain, other = solve(case, alpha), solve(case._replace(benefit=case.benefit * unit), alpha)
    rng = np.random.default_rng(2)
    direction = rng.normal(size=case.benefit.shape)
    assert other.jacobian().jvp(benefit=direction * unit) == pytest.approx(
        plain.jacobian().jvp(benefit=direction), rel=1e-11
    )
    factor = unit ** (1 - alpha) if alpha < np.inf else unit
    assert other.gradient().budget == pytest.approx(plain.gradient().budget * factor, rel=1e-11)


def test_ties_keep_the_first_item_and_never_give_nan():
    tied = af.allocate([[2.0, 2.0], [2.0, 1.0], [1.0, 1.0]], 1.0, [0, 0, 1], 6.0, 2)
    gradient, jacobian = tied.gradient(), tied.jacobian()
    assert np.flatnonzero(gradient.benefit).tolist() == [0, 4]
    assert np.isfinite(jacobian.dense("benefit")).all()
    at_zero = af.allocate([2.0, 2.0], 1.0, [0, 1], 6.0, 0)
    assert at_zero.gradient().benefit[:, 0].tolist() == [3, 3]
    assert not at_zero.jacobian().dense("benefit").any()


@pytest.mark.parametrize(
    ("alpha", "benefit"), [(0.5, [0, 0]), (1, [1 / 4, 1]), (2, [np.inf, np.inf]), (np.inf, [0, 0])]
)
def test_no_budget(alpha, benefit):
    """W = −∞ above α = 1; at α = 1 log u_k still rises by 1/b for each unit of b."""
    a = af.allocate([4.0, 1.0], 1.0, [0, 1], 0.0, alpha)
    assert a.gradient().benefit[:, 0].tolist() == benefit
    assert a.jacobian().jvp(benefit=[1.0, 1.0], cost=[1.0, 0.0]).tolist() == [[0], [0]]
    assert a.jacobian().jvp(budget=1.0).sum() == pytest.approx(1)


@pytest.mark.parametrize("tiny", [1e-150, 1e-200, 1e-310, 5e-324])
def test_next_to_zero_nothing_is_nan(tiny):
    """1/α overflows below 1e−308, α² below 1e−154: the limit is that of 0 all the same."""
    case = random_case(31)
    for alpha, within in ((tiny, 0), (tiny, tiny), (2, tiny)):
        at, near = solve(case, 0 if alpha == tiny else 2, 0), solve(case, alpha, within)
        assert near.dose == pytest.approx(at.dose, rel=1e-12, abs=0)
        jacobian, direction = near.jacobian(), np.ones_like(case.benefit)
        assert np.isfinite(jacobian.jvp(benefit=direction, cost=direction, alpha=1.0)).all()
        assert np.isfinite(jacobian.vjp(direction).alpha)
        assert np.isfinite(near.gradient().benefit).all()


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5, 2, np.inf])
def test_half_the_money_and_half_the_cost(alpha, within, monkeypatch):
    """V says which part of the money goes into doses: nobody else may take it for all.

    The same V, with doses at half their cost: the doses, their worth and all their derivatives are
    the same, but those in the cost, which are twice as large.
    """
    given = ("baseline", "floor", "cap", "weight", "group_floor", "group_cap")
    chosen = [given[:n] for n in range(1, 7)] + [given[n:] for n in range(1, 6)]
    for seed, names in enumerate(chosen, start=1):
        whole = random_problem(seed, within, names)
        if isinstance(whole.value, Linear):  # weights alone
            continue
        half, cotangent = copy(whole), np.random.default_rng(seed).normal(size=whole.shape)
        object.__setattr__(half, "cost", whole.cost / 2)
        a, b = whole.allocate(alpha), half.allocate(alpha)
        jacobian, gradient = a.jacobian().vjp(cotangent), a.gradient()
        direction = cotangent * whole.cost
        others = {"budget": 1.0, "group_cap": cotangent[:3, 0]}
        moving = a.jacobian().jvp(cost=direction, **others)
        spending = a.spending._replace(money=a.spending.money / 2)
        parts = (np.full(3, 0.5), np.full(3, 0.5))
        with monkeypatch.context() as patch:
            patch.setattr(Pieces, "parts", lambda *_, parts=parts: parts, raising=False)
            patch.setattr(type(whole.value), "spending", lambda *_, spending=spending: spending)
            np.testing.assert_allclose(b.dose, a.dose, rtol=1e-12)
            assert b.money_left == pytest.approx(a.money_left, abs=1e-12 * whole.budget)
            same(b.gradient(), gradient._replace(cost=2 * gradient.cost))
            same(b.jacobian().vjp(cotangent), jacobian._replace(cost=2 * jacobian.cost))
            np.testing.assert_allclose(
                b.jacobian().jvp(cost=direction / 2, **others), moving, rtol=1e-9, atol=1e-9
            )


def same(got, expected):
    for name, value in expected._asdict().items():
        if value is not None:
            size = 1e-9 * (1e-3 + np.max(np.abs(value), initial=0.0, where=np.isfinite(value)))
            np.testing.assert_allclose(getattr(got, name), value, 1e-9, size, err_msg=name)


def test_a_million_people_without_a_matrix():
    rng = np.random.default_rng(0)
    n = 10**6
    a = af.allocate(1 + rng.random(n), 0.2 + rng.random(n), np.arange(n), 1e6, 2, within=0.5)
    direction = rng.normal(size=n)
    forward = a.jacobian().jvp(benefit=direction)
    assert forward.shape == (n, 1)
    assert np.isfinite(a.jacobian().vjp(forward).benefit).all()
    with pytest.raises(ValueError, match=r"dense Jacobian of \(1000000, 1\).*GiB: use jvp or vjp"):
        a.jacobian().dense("benefit")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda j: j.jvp(benefit=np.ones((3, 3))), r"benefit has shape \(3, 3\): must broadcast"),
        (lambda j: j.jvp(cost=[1, np.nan, 1]), r"cost\[1, 0\] is nan: must be finite"),
        (lambda j: j.jvp(budget=np.nan), r"budget is nan: a direction must be finite"),
        (lambda j: j.jvp(alpha=np.inf), r"alpha is inf: a direction must be finite"),
        (lambda j: j.vjp(np.ones(5)), r"dose_cotangent has shape \(5,\): must broadcast"),
        (lambda j: j.jvp(alpha=1.0), r"alpha: the doses have no derivative in α at α = inf"),
        (lambda j: j.dense("budget"), r"parameter is 'budget': must be 'benefit', 'cost', "),
    ],
)
def test_refusal(call, message):
    a = af.allocate([4.0, 1.0, 2.0], 1.0, [0, 1, 1], 1.0, np.inf)
    with pytest.raises(ValueError, match=message):
        call(a.jacobian())
