"""At most one treatment a person: against linear programs, CVXPY, the certificate, differences."""

import numpy as np
import pytest

import alphafair as af
from alphafair.exclusive import Tables, ladder

ALPHAS = (0, 0.5, 1, 2, np.inf)


def menus(seed, number, *, smooth=False):
    """Random problems with all arguments, as keywords; some of them are refused."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n, t = int(rng.integers(1, 9)), int(rng.integers(2, 6))
        k = int(rng.integers(1, min(n, 3) + 1))
        if smooth or rng.random() < 0.5:
            b, c, cap = rng.lognormal(0, 1, (3, n, t))
        else:  # ties, zeros, useless offers
            b, c, cap = (rng.integers(low, high, (n, t)) for low, high in ((-1, 6), (1, 5), (0, 4)))
        b, c, cap = (x.astype(float) for x in (b, c, cap))
        given = {"cap": cap, "exclusive": True}
        if rng.random() < 0.4:
            given["floor"] = cap * rng.random((n, t)) / t * (rng.random((n, t)) < 0.5)
        if rng.random() < 0.4:
            given["baseline"] = rng.random(n) * 2
        floors = float((c * given.get("floor", 0.0)).sum())
        budget = float((c * cap).sum() / t * rng.random() * 1.2 + floors + 0.01)
        if rng.random() < 0.3:
            given["group_cap"] = budget * rng.random(k) * 1.5 + floors
        group = rng.permutation(np.arange(n) % k)
        yield {"benefit": b, "cost": c, "group": group, "budget": budget, **given}


def problems(seed, number, within=None):
    """Those of `menus` that can be served."""
    rng = np.random.default_rng(seed)
    for menu in menus(seed, number):
        aversion = rng.choice([0, 0.5, 1, 2, np.inf]) if within is None else within
        try:
            yield af.Problem(**menu, within=float(aversion))
        except ValueError:
            continue


def test_by_hand():
    """Coffee (3 for 1), dinner (4 for 2), both cups a person: the second dollar buys 1, not 4."""
    problem = af.Problem([[3.0, 4.0]], [[1.0, 2.0]], ["ana"], 1.5, cap=1.0, exclusive=True)
    assert problem.allocate(0).dose.tolist() == [[0.5, 0.5]]
    assert problem.group_utility(1.0) == 3.0
    assert problem.marginal_utility(1.0) == 1.0
    assert problem.allocate(0).group_utility == 3.5
    both = af.Problem([[3.0, 4.0]], [[1.0, 2.0]], ["ana"], 1.5, cap=1.0)
    assert both.allocate(0).dose.tolist() == [[1.0, 0.25]]


def test_a_dominated_offer_is_never_made():
    problem = af.Problem(
        [[3.0, 3.5, 6.0]], [[1.0, 2.0, 3.0]], ["ana"], 2.0, cap=1.0, exclusive=True
    )
    assert problem.allocate(1).dose.tolist() == [[0.5, 0.0, 0.5]]  # 4.5, more than 3.5 for 2


def test_money_beyond_the_best_offers_is_left():
    a = af.allocate([[3.0, 4.0]], [[1.0, 2.0]], ["ana"], 5.0, 1, cap=1.0, exclusive=True)
    assert a.dose.tolist() == [[0.0, 1.0]]
    assert a.at_cap.tolist() == [[False, True]]
    assert a.money_left == 3.0
    assert a.price == 0


def test_one_treatment_alone_excludes_none():
    b, c, g = [3.0, 1.0, 2.0], [1.0, 2.0, 1.5], ["a", "b", "b"]
    for within in (0, 0.5, 2):
        one, two = (
            af.Problem(b, c, g, 3.0, within, cap=1.5, exclusive=exclusive)
            for exclusive in (True, False)
        )
        for alpha in ALPHAS:
            assert (one.allocate(alpha).dose == two.allocate(alpha).dose).all()


def test_certified():
    """Gap, bounds and places, on 900 menus; the certificate finds the hulls its own way."""
    seen = 0
    rng = np.random.default_rng(1)
    for problem in problems(1, 1000):
        alpha = float(rng.choice(ALPHAS))
        a = problem.allocate(alpha)
        bound = af.optimality_gap(a.dose, problem, alpha)
        assert bound.relative_gap < 1e-10
        assert bound.infeasibility < 1e-12
        cap = np.where(problem.cap > 0, problem.cap, 1)
        assert (a.dose / cap).sum(axis=1).max() <= 1 + 1e-12
        assert a.dose.min() >= 0
        spent = (problem.cost * a.dose).sum()
        assert spent + a.money_left == pytest.approx(problem.budget, rel=1e-9)
        if problem.within == 0:
            people = a.person_utility
            mean = np.bincount(problem.groups.code, people) / problem.groups.size
            assert a.group_utility == pytest.approx(mean, rel=1e-9, abs=1e-12)
        seen += 1
    assert seen > 850


def test_alpha_0_is_a_linear_program():
    """The multiple-choice knapsack, relaxed, on 300 menus."""
    linprog = pytest.importorskip("scipy.optimize").linprog
    seen = 0
    for problem in problems(2, 330, within=0):
        b, c, cap = problem.benefit, problem.cost, problem.cap
        n, t = b.shape
        gain = b / problem.groups.size[problem.groups.code][:, None]
        place = (
            np.kron(np.eye(n), np.ones(t)) * np.where(cap > 0, 1 / np.maximum(cap, 1e-9), 0).ravel()
        )
        rows, right = [c.ravel(), *place], [problem.budget, *np.ones(n)]
        if problem.group_cap is not None:
            for k, most in enumerate(problem.group_cap):
                rows.append((c * (problem.groups.code == k)[:, None]).ravel())
                right.append(most)
        floor = np.zeros(n * t) if problem.floor is None else problem.floor.ravel()
        bounds = np.column_stack([floor, np.maximum(cap.ravel(), floor)])
        best = linprog(-gain.ravel(), A_ub=np.array(rows), b_ub=right, bounds=bounds)
        assert best.status == 0
        have = 0 if problem.baseline is None else (
            np.bincount(problem.groups.code, problem.baseline) / problem.groups.size
        ).sum()  # fmt: skip
        assert problem.allocate(0).group_utility.sum() == pytest.approx(have - best.fun, rel=1e-8)
        seen += 1
    assert seen >= 290


@pytest.mark.parametrize("alpha", [0.5, 1, 2, np.inf])
@pytest.mark.parametrize("within", [0, 0.5])
def test_cvxpy_agrees(alpha, within):
    pytest.importorskip("cvxpy")
    from alphafair.reference import solve_cvxpy

    seen = 0
    for problem in problems(int(10 * alpha) if alpha < 9 else 99, 40, within):
        a, reference = problem.allocate(alpha), solve_cvxpy(problem, alpha)
        mine = a.equivalent_utility
        theirs = af.equivalent_utility(reference.group_utility, alpha, problem.weight)
        assert theirs <= mine * (1 + 1e-7)
        assert theirs == pytest.approx(mine, rel=2e-4)
        seen += 1
    assert seen >= 30


# --- derivatives --------------------------------------------------------------------------------
def test_derivatives_against_differences():
    """Gradient, jvp and vjp in all parameters at once, on 100 menus without ties."""
    rng = np.random.default_rng(5)
    seen = 0
    for menu in menus(6, 110, smooth=True):
        within, alpha = float(rng.choice([0, 0.5, 1, 2])), float(rng.choice([0.5, 1, 2, 3]))
        group, fixed = menu.pop("group"), {"within": within, "exclusive": menu.pop("exclusive")}
        menu["weight"] = rng.random(group.max() + 1) + 0.5

        def at(step, group=group, fixed=fixed, menu=menu, alpha=alpha):
            moved = {name: value + step.get(name, 0) for name, value in menu.items()}
            return af.Problem(group=group, **moved, **fixed).allocate(alpha)

        direction = {name: rng.standard_normal(np.shape(value)) for name, value in menu.items()}
        direction["budget"] = float(direction["budget"])
        if "floor" in menu:
            direction["floor"] = direction["floor"] * (menu["floor"] > 0)
        h = 1e-6
        up, down = (at({name: s * h * v for name, v in direction.items()}) for s in (1, -1))
        here = at({})
        change = (up.dose - down.dose) / (2 * h)
        jvp = here.jacobian().jvp(**direction)
        assert jvp == pytest.approx(change, rel=1e-4, abs=1e-5 * (1 + np.abs(jvp).max()))
        gradient = here.gradient()
        slope = sum(np.sum(getattr(gradient, name) * v) for name, v in direction.items())
        difference = (up.welfare - down.welfare) / (2 * h)
        assert slope == pytest.approx(difference, rel=1e-4, abs=1e-6 * (1 + abs(here.welfare)))
        cotangent = rng.standard_normal(change.shape)
        pulled = here.jacobian().vjp(cotangent)
        adjoint = sum(np.sum(getattr(pulled, name) * v) for name, v in direction.items())
        assert adjoint == pytest.approx((cotangent * jvp).sum(), rel=1e-9, abs=1e-9)
        seen += 1
    assert seen > 100


def test_a_whole_offer_is_worth_what_its_place_is():
    """∂W/∂cap = η/cap · part: at the best offer η = μ b − λ c."""
    problem = af.Problem([[3.0, 4.0]], [[1.0, 2.0]], ["ana"], 5.0, cap=1.0, exclusive=True)
    gradient = problem.allocate(0).gradient()
    assert gradient.cap.tolist() == [[0.0, 4.0]]
    assert gradient.benefit.tolist() == [[0.0, 1.0]]


def test_a_change_of_tables_and_back():
    """`pull` is the adjoint of `push`, entry by entry."""
    rng = np.random.default_rng(3)
    b, c, cap = rng.lognormal(0, 1, (3, 4, 3))
    floor = cap * rng.random((4, 3)) / 4
    steps = ladder(b, c, cap, floor, 1 - (floor / cap).sum(axis=1, keepdims=True))
    change = Tables(*rng.standard_normal((4, 4, 3)))
    pushed = steps.push(change)
    back = type(pushed)(*(rng.standard_normal(np.shape(x)) for x in pushed))
    left = sum((x * y).sum() for x, y in zip(pushed, back, strict=True))
    right = sum((x * y).sum() for x, y in zip(change, steps.pull(back), strict=True))
    assert left == pytest.approx(right, rel=1e-12)


# --- judges and refusals ------------------------------------------------------------------------
def test_two_offers_for_one_are_infeasible():
    problem = af.Problem([[3.0, 4.0]], [[1.0, 2.0]], ["ana"], 3.0, cap=1.0, exclusive=True)
    bound = af.optimality_gap([[1.0, 1.0]], problem, 1)
    assert bound.infeasibility == 0.5  # half of the 3 spent is beyond one offer
    free = af.Problem([[3.0, 4.0]], [[1.0, 2.0]], ["ana"], 3.0, cap=1.0)
    assert af.optimality_gap([[1.0, 1.0]], free, 1).infeasibility == 0


def test_the_certificate_bounds_the_loss_of_other_plans():
    """For plans at random, gap ≥ W* − W, with W* from the program."""
    rng = np.random.default_rng(8)
    for problem in problems(8, 150):
        alpha = float(rng.choice([0, 0.5, 1, 2]))
        best = problem.allocate(alpha)
        other = best.dose * rng.random(best.dose.shape)
        if problem.floor is not None:
            other = np.maximum(other, problem.floor)
        utility = (problem.benefit * other).sum(axis=1)
        if problem.baseline is not None:
            utility = utility + problem.baseline
        if utility.min() <= 0:
            continue
        code = problem.groups.code
        groups = [
            af.equivalent_utility(utility[code == k], problem.within) for k in range(code.max() + 1)
        ]
        lost = best.welfare - af.welfare(groups, alpha, problem.weight)
        bound = af.optimality_gap(other, problem, alpha)
        assert bound.gap >= lost * (1 - 1e-9) - 1e-12 * abs(best.welfare)


def test_refusals():
    b, c, g = [[3.0, 4.0], [1.0, 2.0]], 1.0, ["a", "b"]
    with pytest.raises(ValueError, match="cap is not given: exclusive = True needs finite caps"):
        af.allocate(b, c, g, 1.0, 1, exclusive=True)
    with pytest.raises(ValueError, match=r"cap\[0, 1\] is inf: exclusive = True needs finite"):
        af.allocate(b, c, g, 1.0, 1, cap=[[1.0, np.inf]], exclusive=True)
    with pytest.raises(TypeError, match="exclusive must be True or False, not 'yes'"):
        af.allocate(b, c, g, 1.0, 1, cap=1.0, exclusive="yes")
    floor = [[0.5, 0.5], [0.9, 0.2]]
    with pytest.raises(ValueError, match=r"floor of person 1 takes 1.1 of her offers"):
        af.allocate(b, c, g, 5.0, 1, cap=1.0, floor=floor, exclusive=True)
    with pytest.raises(ValueError, match=r"cap\[0, 0\] is 1e\+308: an offer of it overflows"):
        af.allocate(b, 10.0, g, 1.0, 1, cap=1e308, exclusive=True)


def test_floors_that_fill_the_place_leave_nothing_to_give():
    problem = af.Problem(
        [[3.0, 4.0], [1.0, 2.0]], 1.0, ["a", "a"], 3.0, cap=1.0, floor=[[0.4, 0.6], [0, 0]],
        exclusive=True,
    )  # fmt: skip
    assert problem.allocate(1).dose.tolist() == [[0.4, 0.6], [0.0, 1.0]]


# --- ties up to rounding ------------------------------------------------------------------------
@pytest.mark.parametrize("within", [0, 1e-3, 0.5, 1, 2, np.inf])
def test_offers_that_are_as_good_up_to_a_rounding(within):
    """.1 + .2 is more than .3, by less than any utility can tell: 10 was spent of 5."""
    offers = [[0.3, 0.1 + 0.2]], [[1.0, 10.0]]
    problem = af.Problem(*offers, ["a"], 5.0, within, cap=1.0, exclusive=True)
    for alpha in ALPHAS:
        a = problem.allocate(alpha)
        assert (problem.cost * a.dose).sum() <= 5.0 * (1 + 1e-12)
        assert (problem.cost * a.dose).sum() + a.money_left == pytest.approx(5.0, rel=1e-12)
        bound = af.optimality_gap(a.dose, problem, alpha)
        assert min(bound.gap, bound.relative_gap) < 1e-14


@pytest.mark.parametrize("more", [1e-14, 1e-13, 1e-12, 1e-11, 1e-9, 1e-6])
@pytest.mark.parametrize("exclusive", [False, True])
def test_money_of_an_item_that_adds_next_to_nothing(more, exclusive):
    """Its levels lie so close together that they do not tell its money."""
    second = 1 + more if exclusive else more
    for budget, spent in ((5.0, 5.0), (20.0, 10.0 + (not exclusive))):
        problem = af.Problem(
            [[1.0, second]], [[1.0, 10.0]], ["a"], budget, 1.0, cap=1.0, exclusive=exclusive
        )
        a = problem.allocate(1)
        assert (problem.cost * a.dose).sum() == pytest.approx(spent, rel=1e-12)
        assert a.group_budget[0] == pytest.approx(spent, rel=1e-12)


def test_the_certificate_of_offers_on_one_line():
    """Corners of the hull and their segments were told by separate roundings."""
    line = af.Problem([[0.7, 0.7]], [[0.3, 0.3]], ["a"], 15.6, cap=[[11, 52]], exclusive=True)
    assert af.optimality_gap([[0.0, 41.0]], line, 0).gap == pytest.approx(36.4 - 28.7)
    rng = np.random.default_rng(12)
    for _ in range(500):
        b, c = rng.integers(1, 40, 2) / 10
        cap = rng.integers(1, 60, (1, int(rng.integers(2, 5)))).astype(float)
        budget = float(cap.max() * c * rng.uniform(0.1, 1.2))
        line = af.Problem(np.full_like(cap, b), c, ["a"], budget, cap=cap, exclusive=True)
        a = line.allocate(0)
        most = min(budget / c, cap.max()) * b
        assert a.group_utility[0] == pytest.approx(most, rel=1e-12)
        assert af.optimality_gap(a.dose, line, 0).relative_gap < 1e-12
        half = af.optimality_gap(a.dose / 2, line, 0).gap
        assert half >= most / 2 * (1 - 1e-12)


def test_where_everything_is_at_its_floor():
    problem = af.Problem([1.0, 0.0], 1.0, ["a", "a"], 5.0, np.inf, cap=1.0, floor=1.0, baseline=2.0)
    assert af.optimality_gap(problem.allocate(1).dose, problem, 1).gap == 0


def test_gradients_where_somebody_has_nothing():
    alone = af.Problem(
        [1.0, 1.0, 1.0], 1.0, ["a", "b", "b"], 3.0, 2.0, cap=1.0, baseline=[0.0, 1.0, 1.0],
        group_cap=[0.0, 9.0],
    )  # fmt: skip
    assert alone.allocate(1).gradient().baseline.tolist() == [np.inf, 0.25, 0.25]
    floors = [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    for exclusive in (False, True):
        problem = af.Problem(
            [[1.0, 2.0]] * 3, [[1.0, 3.0]], ["a"] * 3, 1.0, 2.0, cap=1.0, floor=floors,
            exclusive=exclusive,
        )  # fmt: skip
        assert (problem.allocate(1).gradient().benefit == 0).all()


# --- what these problems found in the rooms behind ------------------------------------------------
def test_people_as_groups_whose_labels_are_not_in_order():
    """The certificate took the second person's prices for the first group."""
    problem = af.Problem([3.4, 4.5], 1.0, [1, 0], 3.0, within=1.0, cap=[9.0, 1.5])
    bound = af.optimality_gap(problem.allocate(2).dose, problem, 2)
    assert bound.relative_gap < 1e-12


def test_money_stops_where_somebody_without_items_is_the_worst_off():
    """ε = ∞: beyond the 1.8 of who cannot rise, the group's money is worth nothing."""
    problem = af.Problem(
        [[0, 0], [1.3, 0], [1.5, 1.28], [0.67, 0], [5, 0.125], [4, 0]], 1.0, [0, 1, 1, 1, 0, 0],
        1.2, np.inf, cap=[[0, 0], [6, 0], [2, 7], [6, 0], [1, 8], [1, 0]],
        baseline=[1.8, 1.0, 0.12, 1.75, 0.44, 1.44], group_cap=[0.6, 0.97],
    )  # fmt: skip
    a = problem.allocate(2)
    assert a.group_budget[0] == pytest.approx((1.8 - 0.44) / 5 + (1.8 - 1.44) / 4, rel=1e-12)
    assert af.optimality_gap(a.dose, problem, 2).relative_gap < 1e-12


def test_certificate_where_nothing_helps():
    """No money is useful, so none is wasted: this was a division by zero."""
    problem = af.Problem(
        [3.0, 0.0], [2.0, 3.0], [0, 1], 2.979914696957316, cap=[0.0, 1.0],
        baseline=[0.023644099697534005, 1.9309137609018392],
        group_cap=[0.8670648800610559, 3.773848748293271],
    )  # fmt: skip
    bound = af.optimality_gap([0.0, 0.0], problem, 2)
    assert bound.gap < 1e-12
    assert bound[1:] == (0.0, 0.0)


def test_certificate_where_the_worst_off_member_cannot_rise():
    problem = af.Problem(
        [2.0, 2.0, 0.0], 1.0, [0, 0, 0], 3.6, np.inf, cap=[3.0, 1.0, 0.0], baseline=[1.2, 1.2, 0.2]
    )
    a = problem.allocate(np.inf)
    assert af.optimality_gap(a.dose, problem, np.inf).gap < 1e-12


def test_price_where_a_person_rests_between_two_items():
    """The money of such a piece was known up to a rounding, and its worth was the last item's."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        b, c, cap = rng.lognormal(0, 1, (3, 5, 3))
        problem = af.Problem(b, c, np.arange(5) % 3, (c * cap).sum() / 2, 1.0, cap=cap)
        a = problem.allocate(2)
        h = 1e-6 * problem.budget
        more = af.Problem(b, c, np.arange(5) % 3, problem.budget + h, 1.0, cap=cap).allocate(2)
        assert a.price == pytest.approx((more.welfare - a.welfare) / h, rel=1e-3)
