"""Whole doses: plans against brute force, lotteries against their means and their bounds."""

import itertools

import numpy as np
import pytest

import alphafair as af


def small_problems(seed, number):
    """At most 12 items, with what all can have: some exclusive, some with floors."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n, t = int(rng.integers(2, 7)), int(rng.integers(1, 3))
        b, c = rng.lognormal(0, 0.7, (2, n, t))
        cap = rng.lognormal(0, 0.3, (n, t))
        given = {"cap": cap, "exclusive": bool(t > 1 and rng.random() < 0.5)}
        if rng.random() < 0.3 and not given["exclusive"]:
            given["floor"] = cap * (rng.random((n, t)) < 0.2)
        group = np.arange(n) % min(int(rng.integers(1, 4)), n)
        needed = float((c * given.get("floor", 0.0)).sum())
        budget = needed + float((c * cap).sum() * rng.uniform(0.05, 0.8))
        baseline = rng.random(n) * 0.3 + 0.05
        within = float(rng.choice([0, 0.5, 1, np.inf]))
        alpha = float(rng.choice([0, 0.5, 1, 2, np.inf]))
        yield af.Problem(b, c, group, budget, within, baseline=baseline, **given), alpha


def equivalents(problem, dose):
    """(K,) what the groups have, by the book's definition."""
    person = problem.baseline + (problem.benefit * dose).sum(axis=1)
    code = problem.groups.code
    return [af.equivalent_utility(person[code == k], problem.within) for k in range(code.max() + 1)]


def best_whole_welfare(problem, alpha):
    """By trying all."""
    best = -np.inf
    for bits in itertools.product([0, 1], repeat=problem.benefit.size):
        chosen = np.reshape(bits, problem.shape)
        dose = chosen * problem.cap
        if (problem.cost * dose).sum() > problem.budget * (1 + 1e-12):
            continue
        if problem.exclusive and chosen.sum(axis=1).max() > 1:
            continue
        if problem.floor is not None and (dose < problem.floor).any():
            continue
        best = max(best, af.welfare(equivalents(problem, dose), alpha, problem.weight))
    return best


def test_plans_against_brute_force():
    """Whole, affordable, certified; and the best of all in nine of ten."""
    exact, seen = 0, 0
    for problem, alpha in small_problems(0, 150):
        a = problem.allocate(alpha)
        plan = a.whole()
        parts = plan.dose / problem.cap
        assert np.isin(parts, [0, 1]).all()
        assert (problem.cost * plan.dose).sum() <= problem.budget * (1 + 1e-11)
        assert plan.money_left == pytest.approx(problem.budget - (problem.cost * plan.dose).sum())
        if problem.exclusive:
            assert parts.sum(axis=1).max() <= 1
        if problem.floor is not None:
            assert (plan.dose >= problem.floor).all()
        best = best_whole_welfare(problem, alpha)
        assert plan.group_utility == pytest.approx(equivalents(problem, plan.dose), rel=1e-12)
        slack = 1e-9 * (1 + abs(best))
        assert plan.welfare <= best + slack
        assert best - plan.welfare <= plan.gap + slack  # what the certificate proves
        assert 0 <= plan.relative_gap <= 1
        exact += best - plan.welfare < slack
        seen += 1
    assert exact >= 0.9 * seen


def test_random_problems_stay_within_the_budget():
    """1000 problems of up to 60 items, with multiples of a unit, baselines and group bounds."""
    rng = np.random.default_rng(4)
    seen = 0
    for _ in range(1000):
        n, t, k = int(rng.integers(1, 21)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
        b, c = rng.lognormal(0, 1, (2, n, t))
        cap = rng.integers(1, 5, (n, t)).astype(float)
        exclusive = bool(rng.random() < 0.4)
        group = np.arange(n) % min(k, n)
        budget = float((c * cap).sum() * rng.uniform(0.01, 1))
        more = {"group_cap": budget * rng.uniform(0.3, 1, group.max() + 1)}
        problem = af.Problem(
            b, c, group, budget, cap=cap, exclusive=exclusive, baseline=0.1,
            **(more if rng.random() < 0.3 else {}),
        )  # fmt: skip
        unit = None if exclusive or rng.random() < 0.5 else 1.0
        plan = problem.allocate(float(rng.choice([0, 1, 2, np.inf]))).whole(unit)
        whole = plan.dose / (cap if unit is None else unit)
        assert whole == pytest.approx(np.round(whole), abs=1e-12)
        assert plan.money_left >= -1e-11 * budget
        assert (plan.dose <= cap * (1 + 1e-12)).all()
        if problem.group_cap is not None:
            assert (plan.group_budget <= problem.group_cap * (1 + 1e-11)).all()
        seen += 1
    assert seen == 1000


def test_by_hand():
    """Three seats at 1, budget 2: the fraction goes, and the best pair stays."""
    a = af.allocate([3.0, 2.0, 2.9], 1.0, ["a", "b", "c"], 2.0, 0, cap=1.0)
    assert a.whole().dose[:, 0].tolist() == [1.0, 0.0, 1.0]
    assert a.whole().gap == pytest.approx(0.0, abs=1e-12)
    for budget, unit in ((1e17, 1.0), (1.0, 1e-300)):
        with pytest.raises(ValueError, match="one more is lost in the rounding of a dose; give a"):
            af.allocate([3.0, 2.0], 1.0, ["a", "b"], budget, 1).whole(unit=unit)
    with pytest.raises(ValueError, match="seed is -1: must be a whole number ≥ 0"):
        a.lottery(-1, unit=1.0)
    with pytest.raises(TypeError, match="seed is 'x': must be a whole number ≥ 0"):
        a.lottery("x", unit=1.0)
    held = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 5.0, 1, floor=[0.5, 0], group_cap=[0.7, 9])
    with pytest.raises(ValueError, match="floor costs 1 in whole doses in group a, more than its"):
        held.whole(unit=1.0)
    dear = af.allocate([3.0, 2.0], [2.0, 1.0], ["a", "a"], 2.0, 0, cap=1.0)
    assert dear.dose[:, 0].tolist() == [0.5, 1.0]
    plan = dear.whole()  # 3/2 for 2, the other has 2/2 for 1: the optimum 1.75 is out of reach
    assert plan.dose[:, 0].tolist() == [1.0, 0.0]
    assert plan.gap == pytest.approx(0.25)


def test_a_lottery_has_the_doses_as_its_mean():
    """10⁵ draws in all: means within 4 standard errors, money within a group's dearest item."""
    rng = np.random.default_rng(2)
    draws = 20_000
    for exclusive, within in ((False, 0.0), (False, 1.0), (True, 0.0), (True, 0.5), (True, 1.0)):
        b, c = rng.lognormal(0, 0.7, (2, 9, 3))
        cap = rng.lognormal(0, 0.3, (9, 3))
        group = np.arange(9) % 3
        problem = af.Problem(
            b, c, group, 0.35 * (c * cap).sum() / (3 if exclusive else 1), within,
            cap=cap, exclusive=exclusive,
        )  # fmt: skip
        a = problem.allocate(1)
        total, squares = np.zeros(a.dose.shape), np.zeros(a.dose.shape)
        generator = np.random.default_rng(7)
        dearest = np.array([(c * cap)[group == k].max() for k in range(3)])
        for _ in range(draws):
            plan = a.lottery(generator)
            whole = plan.dose / cap
            assert np.isin(whole, [0, 1]).all()
            assert not exclusive or whole.sum(axis=1).max() <= 1
            assert (np.abs(plan.group_budget - a.group_budget) < dearest).all()
            total += plan.dose
            squares += plan.dose**2
        mean = total / draws
        error = np.sqrt(np.maximum(squares / draws - mean**2, 0) / draws)
        assert (np.abs(mean - a.dose) <= 4 * error + 1e-9).all()


def test_the_money_of_a_group_is_kept_within_its_dearest_part():
    """Of many small parts: ε = 1, 300 people, each with a part of a voucher."""
    rng = np.random.default_rng(3)
    cost = rng.lognormal(0, 1, 300)
    a = af.allocate(rng.lognormal(0, 1, 300), cost, np.arange(300) % 4, 100.0, 1, within=1, cap=1.0)
    parts = (a.dose > 0) & (a.dose < 1)
    assert parts.sum() > 250
    for seed in range(50):
        plan = a.lottery(seed)
        for k in range(4):
            dearest = cost[(np.arange(300) % 4 == k) & parts[:, 0]].max()
            assert abs(plan.group_budget[k] - a.group_budget[k]) < dearest


def test_where_no_group_has_two_parts_all_money_is_kept_within_the_dearest():
    """At ε = 0 each of 40 groups has one part at most: the row keeps their sum, too."""
    rng = np.random.default_rng(5)
    cost = rng.lognormal(0, 1, 400)
    a = af.allocate(rng.lognormal(0, 1, 400), cost, np.arange(400) % 40, 80.0, 1, cap=1.0)
    parts = (a.dose[:, 0] > 0) & (a.dose[:, 0] < 1)
    assert parts.sum() == 20
    assert np.bincount(np.arange(400) % 40, parts).max() == 1
    spent = [(cost * a.lottery(seed).dose[:, 0]).sum() for seed in range(200)]
    assert np.abs(np.array(spent) - 80).max() < cost[parts].max()


def test_seeds():
    a = af.allocate(np.ones(50), 1.0, np.arange(50) % 2, 20.5, 1, within=1, cap=1.0)
    assert (a.lottery(1).dose == a.lottery(1).dose).all()
    assert len({tuple(a.lottery(seed).dose[:, 0]) for seed in range(20)}) > 1


def test_floors_and_units():
    a = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 5.0, 1, floor=[0.5, 1.0])
    assert a.whole(unit=1.0).dose[:, 0].tolist() in ([3.0, 2.0], [2.0, 3.0])
    assert a.whole(unit=2.0).dose.sum() == 4.0
    capped = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 2.0, 1, floor=[0.5, 0.5], cap=2.0)
    assert set(np.unique(capped.lottery(0).dose)) <= {0.5, 2.0}  # the floor is kept as it is


def test_many_cheap_units_are_bought_at_once():
    """What a dear item leaves buys 500 million of the cheap one, in some thirty steps."""
    a = af.allocate([3e6, 1e-3], [1e6, 1e-3], ["a", "a"], 1.5e6, 0)
    assert a.whole(unit=1.0).dose[:, 0].tolist() == [1.0, 5e8]


def test_a_part_above_a_floor_ends_at_the_next_whole_dose():
    a = af.allocate([1.0, 2.0], 1.0, ["a", "b"], 1.6, 1, floor=[0.5, 0.5])
    drawn = {float(d) for seed in range(30) for d in a.lottery(seed, unit=1.0).dose[:, 0]}
    assert drawn == {0.5, 1.0}


def test_bounds_are_kept_to_the_last_digit():
    small = af.allocate([3.0, 0.1], 1.0, ["a", "a"], 3e9, 0, floor=[0.0, 0.5])
    assert small.whole(unit=1e9).dose[:, 0].tolist() == [2e9, 1e9]
    below = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 5.0, 1, cap=1 - 5e-10)
    assert (below.whole(unit=1.0).dose == 0).all()


def test_floors_of_groups_are_kept_where_a_plan_can():
    """The greedy plan cannot, the exchanged one does."""
    problem = af.Problem(
        [4.0, 2.0, 1.0, 3.0], [1.0, 2.0, 4.0, 4.0], [0, 1, 0, 1], 6.0, cap=1.0,
        group_floor=[2.0, 1.0],
    )  # fmt: skip
    plan = problem.allocate(1).whole()
    assert (plan.group_budget >= problem.group_floor).all()


def test_refusals():
    a = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 5.0, 1)
    for call in (a.whole, a.lottery):
        with pytest.raises(ValueError, match="unit is not given, and cap is not given: say how"):
            call()
    with pytest.raises(ValueError, match=r"unit\[1\] is 0.0: must be finite and > 0"):
        a.whole(unit=[1.0, 0.0])
    offers = af.allocate([[3.0, 2.0]], 1.0, ["a"], 1.0, 1, cap=1.0, exclusive=True)
    with pytest.raises(ValueError, match="unit is given, and offers are exclusive"):
        offers.whole(unit=0.5)
    narrow = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 5.0, 1, floor=0.5, cap=0.9)
    with pytest.raises(ValueError, match=r"floor\[0, 0\] leaves no whole dose"):
        narrow.whole(unit=1.0)
    for budget, unit in ((1e17, 1.0), (1.0, 1e-300)):
        with pytest.raises(ValueError, match="one more is lost in the rounding of a dose; give a"):
            af.allocate([3.0, 2.0], 1.0, ["a", "b"], budget, 1).whole(unit=unit)
    with pytest.raises(ValueError, match="seed is -1: must be a whole number ≥ 0"):
        a.lottery(-1, unit=1.0)
    with pytest.raises(TypeError, match="seed is 'x': must be a whole number ≥ 0"):
        a.lottery("x", unit=1.0)
    held = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 5.0, 1, floor=[0.5, 0], group_cap=[0.7, 9])
    with pytest.raises(ValueError, match="floor costs 1 in whole doses in group a, more than its"):
        held.whole(unit=1.0)
    dear = af.allocate([3.0, 2.0], 1.0, ["a", "b"], 1.5, 1, floor=0.5, cap=1.0)
    with pytest.raises(ValueError, match="floor costs 2 in whole doses, more than the budget of"):
        dear.whole()
    tight = af.Problem([3.0, 2.0], 1.0, ["a", "b"], 3.5, cap=2.0, group_floor=[1.5, 1.5])
    with pytest.raises(ValueError, match=r"group_floor\[[01]\] \(group [ab]\) is 1.5"):
        tight.allocate(1).whole()
