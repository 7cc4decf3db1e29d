"""All budgets: every row is what `allocate` gives for that budget alone."""

import numpy as np
import pytest

import alphafair as af

EXACT = 1e-12
WITHINS = (0, 0.3, 1, 2, np.inf)
ALPHAS = (0, 0.5, 1, 2, np.inf)
KINDS = (
    "",
    "cap",
    "baseline",
    "cap baseline",
    "floor",
    "floor cap",
    "bounds",
    "all",
    "exclusive",
    "all exclusive",
)


def random_inputs(kind, seed, persons=12, treatments=2, groups=3):
    """Positional and keyword arguments of `Problem`, but for the budget."""
    rng = np.random.default_rng(seed)
    shape = (persons, treatments)
    group = np.concatenate([np.arange(groups), rng.integers(0, groups, persons - groups)])
    kwargs = {"weight": rng.uniform(0.5, 2, groups)}
    kind, exclusive = kind.replace(" exclusive", ""), "exclusive" in kind
    kind = "cap" if kind == "exclusive" else kind
    if exclusive:
        kwargs["exclusive"] = True
    if kind in ("cap", "cap baseline", "floor cap", "all"):
        kwargs["cap"] = rng.uniform(0.2, 2, shape)
    if kind in ("floor", "floor cap", "all"):
        kwargs["floor"] = np.minimum(rng.uniform(0, 0.1, shape), kwargs.get("cap", np.inf))
    if kind in ("baseline", "cap baseline", "all"):
        kwargs["baseline"] = rng.uniform(0, 1, persons)
    if kind in ("bounds", "all"):
        kwargs["group_floor"] = rng.uniform(0.4, 0.6, groups)
        kwargs["group_cap"] = rng.uniform(2, 4, groups)
    benefit, cost = 10 ** rng.normal(0, 0.4, shape), 10 ** rng.normal(0, 0.3, shape)
    return (benefit, cost, group), kwargs


def assert_same(path, row, alone):
    budget = path.budget[row]
    assert path.group_budget[row] == pytest.approx(
        alone.group_budget, rel=EXACT, abs=EXACT * budget
    )
    assert path.group_utility[row] == pytest.approx(alone.group_utility, rel=EXACT)
    assert path.price[row] == pytest.approx(alone.price, rel=EXACT)
    assert path.welfare[row] == pytest.approx(alone.welfare, rel=EXACT)


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_allocate(kind, within):
    args, kwargs = random_inputs(kind, KINDS.index(kind) + 10 * WITHINS.index(within))
    problem = af.Problem(*args, 8.0, within, **kwargs)
    least = 2.5 if "floor" in kind or "bounds" in kind or "all" in kind else 0.01
    budgets = np.array([60.0, least, 3.7, 1.3 * least, 11.0, 0.0])
    budgets = budgets[: 5 if least > 1 else 6]
    for alpha in ALPHAS:
        path = af.budget_path(problem, alpha, budgets)
        for row, budget in enumerate(budgets):
            alone = af.Problem(*args, budget, within, **kwargs).allocate(alpha)
            assert_same(path, row, alone)


@pytest.mark.parametrize(
    ("kind", "within", "alpha"),
    [("cap", 0, 0), ("cap", 0, 2), ("all", 0, 0.5), ("cap baseline", 1, 1), ("exclusive", 0, 1)],
)
def test_hundreds_of_budgets(kind, within, alpha):
    args, kwargs = random_inputs(kind, 77)
    budgets = np.linspace(2.5, 40, 500)
    path = af.budget_path(af.Problem(*args, 8.0, within, **kwargs), alpha, budgets)
    for row, budget in enumerate(budgets):
        assert_same(path, row, af.Problem(*args, budget, within, **kwargs).allocate(alpha))


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_where_budgets_fill_items_exactly(alpha, exclusive):
    """At kinks a rounding decides between two prices: both ways round it alike."""
    pill, visit = [16.0, 10, 6, 7, 6, 3, 2, 1, 0], [40.0, 75, 40, 20, 25, 20, 25, 10, 5]
    args = (np.column_stack([pill, visit]), [[1.0, 5.0]], [0, 0, 1, 1, 2, 2, 2, 3, 3])
    kwargs = {"cap": [[30.0, 4.0]], "exclusive": exclusive}
    path = af.budget_path(af.Problem(*args, 300.0, **kwargs), alpha, np.arange(0, 441, 10))
    for row, budget in enumerate(path.budget):
        assert_same(path, row, af.Problem(*args, budget, **kwargs).allocate(alpha))


def test_the_compiled_pieces_are_shared_too():
    rng = np.random.default_rng(0)
    args = (rng.random((4000, 3)), 0.5 + rng.random((1, 3)), rng.integers(0, 7, 4000))
    cap = 0.5 + rng.random(4000)
    budgets = [1.0, 300.0, 3000.0, 2e4]
    path = af.budget_path(af.Problem(*args, 1.0, cap=cap), 2, budgets)
    for row, budget in enumerate(budgets):
        assert_same(path, row, af.Problem(*args, budget, cap=cap).allocate(2))


def test_pieces_are_built_once(monkeypatch):
    problem = af.Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], 4.0, cap=2.0)
    built = []
    build = af.Problem._build_value
    monkeypatch.setattr(
        af.Problem, "_build_value", lambda self, scale: built.append(scale) or build(self, scale)
    )
    af.budget_path(problem, 1, np.linspace(0, 9, 50))
    assert built == [9.0]


# --- by hand ----------------------------------------------------------------------------------
def test_two_groups_by_hand():
    """a: slopes 3/2 and 1/2, 2 of money each; b: 2 for 2.  α = 1: w V'/V is the price."""
    problem = af.Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], 4.0, cap=2.0)
    path = af.budget_path(problem, 1, [5, 0, 1, 2, 8])
    assert path.budget.tolist() == [5, 0, 1, 2, 8]
    assert path.group_budget == pytest.approx(
        np.array([[3, 2], [0, 0], [0.5, 0.5], [1, 1], [4, 2]])
    )
    assert path.group_utility[:, 0] == pytest.approx([3.5, 0, 0.75, 1.5, 4])
    assert path.price == pytest.approx([0.5 / 3.5, np.inf, 2, 1, 0])
    assert path.welfare == pytest.approx(
        [np.log(3.5 * 4), -np.inf, np.log(0.75), np.log(3), np.log(16)]
    )
    assert path.money_left.tolist() == [0, 0, 0, 0, 2]
    assert path.group_labels.tolist() == ["a", "b"]


def test_where_value_is_linear_the_shares_do_not_depend_on_the_budget():
    problem = af.Problem([4.0, 1.0], 1.0, ["a", "b"], 1.0)
    path = af.budget_path(problem, 2, [0, 3, 30, 3e100])
    share = problem.allocate(2).group_share
    assert path.group_budget == pytest.approx(path.budget[:, None] * share)
    assert path.price[1:] == pytest.approx(9 * 0.25 / path.budget[1:] ** 2)  # (1 + 1/2)² / Q²
    assert path.price[0] == np.inf


def test_budgets_far_apart():
    args, kwargs = random_inputs("cap", 5)
    budgets = [1e200, 1e-200, 1e-9, 1.0]
    path = af.budget_path(af.Problem(*args, 1.0, **kwargs), 2, budgets)
    for row, budget in enumerate(budgets):
        assert_same(path, row, af.Problem(*args, budget, **kwargs).allocate(2))


# --- the theorem ------------------------------------------------------------------------------
@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("kind", ["cap baseline", "all"])
def test_more_money_takes_nothing_from_a_group(kind, within):
    args, kwargs = random_inputs(kind, 3)
    problem = af.Problem(*args, 8.0, within, **kwargs)
    for alpha in ALPHAS:
        path = af.budget_path(problem, alpha, np.linspace(2.5, 15, 40))
        slack = 1e-12 * path.budget[1:, None]
        assert (np.diff(path.group_budget, axis=0) >= -slack).all()
        assert (np.diff(path.group_utility, axis=0) >= -slack).all()
        assert (np.diff(path.price) <= 1e-12 * path.price[:-1]).all()
        # W is concave: its rise is between the prices at both ends.
        rise = np.diff(path.welfare) / np.diff(path.budget)
        assert (rise <= path.price[:-1] * (1 + 1e-9) + 1e-12).all()
        assert (rise >= path.price[1:] * (1 - 1e-9) - 1e-12).all()


# --- one row ----------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["all", "exclusive"])
@pytest.mark.parametrize("within", [0, 0.3, np.inf])
def test_a_row_is_a_whole_allocation(kind, within):
    args, kwargs = random_inputs(kind, 4)
    path = af.budget_path(af.Problem(*args, 8.0, within, **kwargs), 2, [3.0, 6.0])
    rows = list(path)
    assert len(path) == len(rows) == 2
    for row, budget in enumerate(path.budget):
        alone = af.Problem(*args, budget, within, **kwargs).allocate(2)
        for result in (path[row], rows[row]):
            assert result.problem.budget == budget
            assert result.dose == pytest.approx(alone.dose, rel=1e-12, abs=1e-14)
            assert (result.at_cap == alone.at_cap).all()
            assert result.group_price == pytest.approx(alone.group_price, rel=1e-12)
            assert result.gradient().benefit == pytest.approx(
                alone.gradient().benefit, rel=1e-10, abs=1e-12
            )
            assert af.optimality_gap(result.dose, result.problem, 2).relative_gap < 1e-10


def test_the_problem_itself_is_left_alone():
    problem = af.Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], 4.0, cap=2.0)
    before = problem.allocate(1).group_budget
    path = af.budget_path(problem, 1, [0, 9])
    assert path.problem is problem
    assert (problem.budget, problem.money_unit) == (4, 4)
    assert (problem.allocate(1).group_budget == before).all()


def test_table_and_text():
    problem = af.Problem([4.0, 1.0], 1.0, ["near", "far"], 5.0)
    path = af.budget_path(problem, 1)
    columns = path.to_dict()
    assert list(columns)[3:] == ["budget_far", "budget_near", "utility_far", "utility_near"]
    assert columns["utility_near"] == pytest.approx(path.group_utility[:, 1])
    lines = repr(path).splitlines()
    assert lines[0] == "BudgetPath(alpha=1, B=101, K=2)"
    assert len(lines) == 13
    assert len(repr(af.budget_path(problem, 1, [1.0, 2.0])).splitlines()) == 4


# --- which budgets ----------------------------------------------------------------------------
def test_default_budgets():
    inputs = ([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"])

    def ends(**kwargs):
        budget = af.budget_path(af.Problem(*inputs, **kwargs), 1).budget
        assert budget.size == 101
        return float(budget[0]), float(budget[-1])

    assert ends(budget=4.0) == (0, 8)
    assert ends(budget=4.0, cap=2.0) == (0, 6)  # what all caps take
    assert ends(budget=4.0, cap=2.0, group_cap=[1.0, 5.0]) == (0, 3)
    assert ends(budget=4.0, cap=9.0, floor=0.5, group_floor=[0.0, 2.0]) == (3, 8)
    assert ends(budget=0.0, cap=0.25) == (0, 0.75)
    assert ends(budget=0.0) == (0, 2)


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ([1.0, np.nan], r"budgets\[1\] is nan: must be finite"),
        ([np.inf], r"budgets\[0\] is inf: must be finite"),
        ([2.0, -1.0], r"budgets\[1\] is -1.0: must be ≥ 0"),
        ([[1.0, 2.0]], r"budgets has shape \(1, 2\): must be one axis"),
        ([], "budgets is empty"),
    ],
)
def test_bad_budgets(budgets, message):
    problem = af.Problem([4.0, 1.0], 1.0, ["near", "far"], 5.0)
    with pytest.raises(ValueError, match=message):
        af.budget_path(problem, 1, budgets)


def test_budgets_pay_for_the_floors():
    problem = af.Problem([4.0, 1.0], 1.0, ["near", "far"], 5.0, floor=1.0, group_floor=[2.0, 0.0])
    path = af.budget_path(problem, 1, [3.0])
    assert path.group_budget == pytest.approx(np.array([[2.0, 1.0]]))
    with pytest.raises(ValueError, match=r"budgets\[1\] is 2.5: .* floors take, 3; raise it or"):
        af.budget_path(problem, 1, [3.0, 2.5])


def test_bad_alpha_and_kinds():
    problem = af.Problem([4.0, 1.0], 1.0, ["near", "far"], 5.0)
    with pytest.raises(ValueError, match="alpha is -1"):
        af.budget_path(problem, -1)
    with pytest.raises(TypeError, match="budgets must hold real numbers"):
        af.budget_path(problem, 1, ["much"])


# --- the price where a group stands before a gap ------------------------------------------------
@pytest.mark.parametrize(("within", "alpha"), [(0.3, 0), (1, 2), (2, 0.5)])
def test_the_price_is_the_slope_of_welfare_where_groups_stand_at_their_caps(within, alpha):
    """Where all who move have reached their caps, and the next ones start at a higher level only,
    a group stands still: its own slope, a rounding before that, is not the price.
    """
    for seed in range(12):
        args, kwargs = random_inputs("cap", seed)
        for budget in (1.0, 5.0, 10.0):
            step = 1e-6 * budget
            here, there = (
                af.Problem(*args, q, within, **kwargs).allocate(alpha)
                for q in (budget, budget + step)
            )
            slope = (there.welfare - here.welfare) / step
            assert here.price == pytest.approx(slope, rel=1e-3)


def test_a_path_of_an_allocation_is_refused():
    a = af.allocate([1.0], 1.0, ["a"], 1.0, 1)
    with pytest.raises(TypeError, match=r"problem must be an alphafair\.Problem, not Alloc"):
        af.budget_path(a, 1)


# --- all α ------------------------------------------------------------------------------------
MANY = (2, 0, 0.3, 1, np.inf, 1e-9, 0.5, 1e6, 1 - 1e-13, 1.5, 3, 1, 5e-324)


def assert_identical(path, row, alone):
    assert path.alpha[row] == alone.alpha
    for name in ("group_share", "group_budget", "group_utility"):
        assert np.array_equal(getattr(path, name)[row], getattr(alone, name)), name
    for name in ("price", "welfare", "equivalent_utility"):
        assert getattr(path, name)[row] == getattr(alone, name), name
    assert np.array_equal(path[row].dose, alone.dose)


@pytest.mark.parametrize("within", WITHINS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_alpha_is_that_of_allocate_to_the_last_bit(kind, within):
    arguments, kwargs = random_inputs(kind, 7)
    path = af.Problem(*arguments, 4.0, within, **kwargs).allocate_many(MANY)
    assert (len(path), path.group_share.shape) == (len(MANY), (len(MANY), 3))
    for row, alpha in enumerate(MANY):
        assert_identical(path, row, af.Problem(*arguments, 4.0, within, **kwargs).allocate(alpha))


@pytest.mark.parametrize("groups", [1, 2, 7, 8, 9, 63, 1000, 20_000])
@pytest.mark.parametrize("within", [0, 0.5])
def test_whatever_the_number_of_groups(groups, within):
    """Sums of a row of a table and of the row alone are taken in one order."""
    rng = np.random.default_rng(groups)
    benefit, weight = rng.lognormal(0, 2, groups), rng.uniform(0.1, 9, groups)
    problem = af.Problem(benefit, 1.0, np.arange(groups), 1e3, within, weight)
    path = problem.allocate_many(MANY)
    for row, alpha in enumerate(MANY):
        assert_identical(path, row, problem.allocate(alpha))


def test_no_budget_at_many_alpha():
    problem = af.Problem([4.0, 1.0], 1.0, ["a", "b"], 0.0)
    path = problem.allocate_many([0, 0.5, 2, np.inf])
    for row, alpha in enumerate(path.alpha):
        assert_identical(path, row, problem.allocate(alpha))


def test_many_alpha_by_hand():
    """Far has p = 1, near 2: of the money √2 : 1 at α = 2, 1 : 1 at α = 1 and 2 : 1 at ∞."""
    path = af.Problem([2.0, 1.0], 1.0, ["near", "far"], 3.0).allocate_many([1, np.inf, 2])
    root = np.sqrt(2)
    shares = [[0.5, 0.5], [2 / 3, 1 / 3], [root / (1 + root), 1 / (1 + root)]]
    assert path.group_share == pytest.approx(np.array(shares), rel=1e-15)
    assert path.group_labels.tolist() == ["far", "near"]
    assert [a.alpha for a in path] == [1, np.inf, 2]
    assert path.price == pytest.approx([2 / 3, 2 / 3, (1 + root) ** 2 / 2 / 9], rel=1e-14)
    table = path.to_dict()
    assert list(table)[:4] == ["alpha", "price", "equivalent_utility", "welfare"]
    assert table["utility_near"] == pytest.approx([3, 2, 6 / (1 + root)], rel=1e-14)
    assert repr(path).splitlines()[:3] == [
        "AlphaPath(A=3, K=2)",
        "       alpha        price   equivalent      welfare",
        "           1     0.666667      2.12132      1.50408",  # √(3 · 1.5), log 3 + log 1.5
    ]


@pytest.mark.parametrize(
    ("alphas", "error", "message"),
    [
        ([], ValueError, "alphas is empty"),
        ([1, -0.5], ValueError, r"alphas\[1\] is -0.5: must be between 0 .utilitarian."),
        ([1, np.nan], ValueError, r"alphas\[1\] is nan: must be between 0"),
        ([[1, 2]], ValueError, r"alphas has shape \(1, 2\): must be one axis of values, \(A,\)"),
        (["a"], TypeError, "alphas must hold real numbers"),
    ],
)
def test_bad_alphas(alphas, error, message):
    with pytest.raises(error, match=message):
        af.Problem([2.0, 1.0], 1.0, ["a", "b"], 3.0).allocate_many(alphas)
    assert len(af.Problem([2.0], 1.0, ["a"], 3.0).allocate_many(2)) == 1
