"""The price of fairness against its bounds; the frontier and its bands."""

import sys

import numpy as np
import pytest
from helpers import BALANCE, EXACT, cases, random_case
from hypothesis import given
from hypothesis import strategies as st

import alphafair as af
from alphafair.inequality import gini

GROWING = (0, 0.01, 0.1, 0.5, 1 - 1e-9, 1, 1.5, 2, 5, 50, np.inf)
RHO = (1.0, 1.5, 4.0, 30.0)


# --- the price of fairness and its bound -----------------------------------------------------
def test_price_by_hand():
    problem = af.Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0)
    # α = ∞: x = (1, 4), u = (4, 4) of at most 20; α = 1: x = 2.5 each, u = (10, 2.5).
    assert af.price_of_fairness(problem, np.inf) == pytest.approx(1 - 8 / 20, rel=EXACT)
    assert af.price_of_fairness(problem, 1) == pytest.approx(1 - 12.5 / 20, rel=EXACT)
    assert af.price_of_fairness(problem, 0) == 0
    weighted = af.Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0, weight=[6.0, 1.0])
    # Labels sort far first: Σ w u = 6 · 4 + 4 = 28 at α = ∞ of 6 · 5 · 1 = 30 at 0 (far wins).
    assert af.price_of_fairness(weighted, np.inf) == pytest.approx(1 - 28 / 30, rel=EXACT)


def test_published_forms_of_the_bound():
    """Bertsimas, Farias and Trichakis: proportional and max-min fairness, equal maxima."""
    for n in (1, 2, 3, 10, 1e3, 1e6):
        proportional, max_min = 1 - (2 * np.sqrt(n) - 1) / n, 1 - 4 * n / (n + 1) ** 2
        assert af.price_of_fairness_bound(1, n) == pytest.approx(proportional, abs=EXACT)
        assert af.price_of_fairness_bound(np.inf, n) == pytest.approx(max_min, abs=EXACT)
        assert af.price_of_fairness_bound(0, n) == 0


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.9, 1, 1.1, 4, np.inf])
@pytest.mark.parametrize("simplex", [False, True])
def test_the_bound_is_the_maximum_over_a_grid(alpha, simplex):
    """Over both s and z, with z as dense as the peak (at 1 + α·O(1) for small α) is narrow."""
    for n in (1.5, 3, 1e3, 1e6):
        for rho in RHO:
            s = np.ones((1, 1)) if simplex else np.geomspace(1, n, 301)[:, None]
            high = np.log(rho * s)
            t = high * np.linspace(0, 1, 2001) ** 3
            power = np.exp(np.minimum(t * (1 / alpha - 1), 600))  # far beyond the peak
            grid = ((n - s) * -np.expm1(-t) / (n - s + s * power)).max()
            bound = af.price_of_fairness_bound(alpha, n, rho, simplex=simplex)
            assert bound >= grid * (1 - EXACT)
            # Half a step of the grid off the peak, in units of the width of the peak, squared:
            # s moves by n^{1/300} ≤ 4.7 %; z by 3/2000 of the range near its end.
            assert bound == pytest.approx(grid, rel=0.02, abs=EXACT)


def supported(gamma, most, alpha):
    """α-fair point and largest total over {v ≥ 0 : Σ γ v ≤ 1, v ≤ most}; None if not α-fair there.

    u ∝ γ^{−1/α} on the hyperplane is α-fair, by the first-order condition, if it is in the box.
    """
    p = 1 / alpha
    u = gamma**-p / (gamma ** (1 - p)).sum()
    if (u > most).any():
        return None
    left, total = 1.0, 0.0
    for j in np.argsort(gamma):  # the best total is a fractional knapsack
        v = min(most[j], left / gamma[j])
        left, total = left - gamma[j] * v, total + v
    return u.sum(), total


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.7, 1, 2, 5, 40])
@pytest.mark.parametrize("rho", RHO)
def test_no_convex_set_is_worse_than_the_bound(alpha, rho):
    rng = np.random.default_rng(7)
    for _ in range(200):
        pair = None
        while pair is None:
            n = int(rng.integers(2, 7))
            most = 1 / np.where(rng.random(n) < 0.5, rng.choice([1, rho], n), rho ** rng.random(n))
            most /= most.max()
            gamma = np.where(rng.random(n) < 0.5, 1 / rng.uniform(1, n), 1 / most)
            gamma = np.minimum(gamma, 1 / most)  # everyone can reach their maximum alone
            pair = supported(gamma, most, alpha)
        bound = af.price_of_fairness_bound(alpha, n, most.max() / most.min())
        assert 1 - pair[0] / pair[1] <= bound + EXACT


@pytest.mark.parametrize("seed", range(15))
def test_no_problem_with_caps_is_worse_than_the_bound(seed):
    case = random_case(seed, persons=25, treatments=2, groups=5, spread=2)
    cap = np.random.default_rng(seed).uniform(0.1, 3, case.benefit.shape)

    def problem(keep):
        """With the groups that are kept."""
        arguments = case.benefit[keep], case.cost[keep], case.group[keep]
        return af.Problem(*arguments, budget=8.0, cap=cap[keep])

    alone = [problem(case.group == k).allocate(0).group_utility[0] for k in range(5)]
    everyone = problem(case.group >= 0)
    for alpha in GROWING:
        bound = af.price_of_fairness_bound(alpha, 5, max(alone) / min(alone))
        assert af.price_of_fairness(everyone, alpha) <= bound


@pytest.mark.parametrize("alpha", [0.3, 1, 2, np.inf])
def test_the_convex_bound_is_attained(alpha):
    """For s of n players with maxima 1 and γ = 1/s; the others reach 1/ρ, γ = ρ.

    The worst case asks for a real s.  With n = 400 players an integer is so near that the loss is
    the same to (½/s*)², s* > 6 being the maximising s.
    """
    n, exponent = 400, min(alpha, 1e9)
    for rho in (1.0, 1.2):
        losses = []
        for s in range(1, n):
            gamma = np.where(np.arange(n) < s, 1 / s, rho)
            fair_sum, total = supported(gamma, np.where(np.arange(n) < s, 1.0, 1 / rho), exponent)
            losses.append(1 - fair_sum / total)
        bound = af.price_of_fairness_bound(exponent, n, rho)
        assert max(losses) <= bound + EXACT
        assert max(losses) == pytest.approx(bound, rel=(0.5 / (1 + np.argmax(losses))) ** 2)


def equal_weight_problem(productivity):
    return af.Problem(productivity, 1.0, np.arange(len(productivity)), budget=3.0)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=7), st.sampled_from(GROWING))
def test_no_simplex_is_worse_than_its_bound(productivity, alpha):
    spread = max(productivity) / min(productivity)
    bound = af.price_of_fairness_bound(alpha, len(productivity), spread, simplex=True)
    price = af.price_of_fairness(equal_weight_problem(productivity), alpha)
    assert price <= bound + EXACT
    assert bound <= af.price_of_fairness_bound(alpha, len(productivity), spread) + EXACT


@given(cases(), st.sampled_from(GROWING))
def test_no_weighted_simplex_is_worse_either(case, alpha):
    problem = af.Problem(case.benefit, case.cost, case.group, case.budget, weight=case.weight)
    value = problem.weight * problem.productivity
    players = problem.weight.sum() / problem.weight[value.argmax()]
    spread = value.max() / value.min()
    bound = af.price_of_fairness_bound(alpha, players, spread, simplex=True)
    assert af.price_of_fairness(problem, alpha) <= bound + EXACT


@pytest.mark.parametrize("alpha", [0.05, 0.5, 0.9, 1, 2, np.inf])
@pytest.mark.parametrize("players", [2, 5, 40])
def test_the_simplex_bound_is_attained(alpha, players):
    """By one player of productivity 1 and the others of 1/z, for the best z ≤ ρ."""
    rho = 6.0
    z = rho ** np.linspace(0, 1, 601)
    prices = [
        af.price_of_fairness(equal_weight_problem([1.0, *[1 / v] * (players - 1)]), alpha)
        for v in z
    ]
    bound = af.price_of_fairness_bound(alpha, players, rho, simplex=True)
    assert max(prices) <= bound + EXACT
    # The grid in log z is 3e−3 fine; at the narrowest peak here (α = 0.05) the loss falls by half
    # within 0.05 in log z, so the grid misses the peak by at most (1.5e−3/0.05)² ≈ 1e−3.
    assert max(prices) == pytest.approx(bound, rel=1e-3)


def test_the_bound_at_the_edges():
    bound = af.price_of_fairness_bound
    assert bound(2, 1, 50) == 0
    assert bound(2, 5, 1, simplex=True) == 0
    for simplex in (False, True):
        assert bound(1, 4, np.inf, simplex=simplex) == pytest.approx(3 / 4, rel=EXACT)
        assert bound(1.5, 4, np.inf, simplex=simplex) == 1
        assert bound(0.5, 4, np.inf, simplex=simplex) == bound(0.5, 4, 1e9, simplex=True)
        assert 0 < bound(1e-300, 1e6, 2, simplex=simplex) < 1e-297
    for n, rho in ((3, 1), (50, 1), (50, 7)):  # continuous and increasing in α
        prices = [bound(a, n, rho) for a in GROWING]
        assert (np.diff(prices) > -EXACT).all()
        assert bound(1 - 1e-9, n, rho) == pytest.approx(bound(1 + 1e-9, n, rho), abs=1e-8)
        assert bound(1e9, n, rho) == pytest.approx(bound(np.inf, n, rho), abs=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 3), "alpha is -1.0"),
        ((1, 0.5), "players is 0.5: must be finite and ≥ 1"),
        ((1, np.inf), "players is inf"),
        ((1, 3, 0.9), "spread is 0.9: must be ≥ 1"),
    ],
)
def test_the_bound_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        af.price_of_fairness_bound(*arguments)


# --- the frontier ----------------------------------------------------------------------------
@given(cases())
def test_one_more_alpha_costs_efficiency_and_buys_equity(case):
    """Proved in price_of_fairness and frontier; without caps for the Gini index."""
    problem = af.Problem(case.benefit, case.cost, case.group, case.budget, weight=case.weight)
    table = af.frontier(problem, GROWING)
    scale = table.mean_utility[0]
    for falling in (table.mean_utility, table.equivalent_utility, table.group_utility.max(axis=1)):
        assert (np.diff(falling) <= BALANCE * scale).all()
    assert (np.diff(table.min_utility) >= -BALANCE * scale).all()
    assert (np.diff(table.gini) <= BALANCE).all()
    assert (np.diff(table.price_of_fairness) >= -BALANCE).all()


@pytest.mark.parametrize("seed", range(20))
def test_with_caps_too(seed):
    case = random_case(seed, persons=30, groups=4)
    cap = np.random.default_rng(seed).uniform(0.1, 2, case.benefit.shape)
    cost_of_all = (case.cost * cap)[case.benefit > 0].sum()
    problem = af.Problem(
        case.benefit, case.cost, case.group, cost_of_all / 5, weight=case.weight, cap=cap
    )
    table = af.frontier(problem, GROWING)
    scale = table.mean_utility[0]
    for falling in (table.mean_utility, table.equivalent_utility):
        assert (np.diff(falling) <= BALANCE * scale).all()
    assert (np.diff(table.min_utility) >= -BALANCE * scale).all()
    assert table.price_of_fairness[-1] > 0
    assert table.group_budget.sum(axis=1) == pytest.approx(problem.budget, rel=BALANCE)


@pytest.mark.parametrize("seed", range(20))
def test_with_what_people_have_already(seed):
    """More α moves money from above one level to below it, and the set of utilities is convex.

    Here each group could reach M alone: what it has, and what all the money (or its cap) makes.
    """
    rng = np.random.default_rng(seed)
    p, has = rng.lognormal(size=(2, 4))
    cap = rng.uniform(0.2, 3, size=4) if seed % 2 else np.full(4, np.inf)
    problem = af.Problem(p, 1.0, range(4), 2.0, cap=cap, baseline=has)
    table = af.frontier(problem, GROWING)
    scale = table.mean_utility[0]
    assert (np.diff(table.mean_utility) <= BALANCE * scale).all()
    assert (np.diff(table.min_utility) >= -BALANCE * scale).all()
    alone = has + p * np.minimum(cap, 2.0)
    bound = [af.price_of_fairness_bound(a, 4, alone.max() / alone.min()) for a in GROWING]
    assert (table.price_of_fairness <= np.array(bound) + BALANCE).all()


def test_with_a_baseline_the_set_is_no_simplex():
    """By hand: far has 15 already, each could reach 20 alone; totals 35 and 16 + 16."""
    problem = af.Problem([4.0, 1.0], 1.0, [0, 1], 5.0, baseline=[0.0, 15.0])
    price = af.price_of_fairness(problem, np.inf)
    assert price == pytest.approx(3 / 35, rel=EXACT)
    assert af.price_of_fairness_bound(np.inf, 2, 1.0, simplex=True) < price
    assert price < af.price_of_fairness_bound(np.inf, 2, 1.0) == pytest.approx(1 / 9, rel=EXACT)


def test_the_table_is_what_the_allocations_say():
    case = random_case(3)
    problem = af.Problem(case.benefit, case.cost, case.group, case.budget, weight=case.weight)
    table = af.frontier(problem, [2, 0, np.inf])
    assert len(table) == 3
    for row, alpha in enumerate([2, 0, np.inf]):  # the order asked for
        a = problem.allocate(alpha)
        mean = (case.weight * a.group_utility).sum() / case.weight.sum()
        assert table.mean_utility[row] == pytest.approx(mean, rel=EXACT)
        assert table.equivalent_utility[row] == a.equivalent_utility
        assert table.min_utility[row] == a.group_utility.min()
        assert table.gini[row] == gini(a.group_utility, case.weight)
        assert table.price_of_fairness[row] == af.price_of_fairness(problem, alpha)
        np.testing.assert_array_equal(table.group_budget[row], a.group_budget)
        np.testing.assert_array_equal(table.group_utility[row], a.group_utility)


def test_rows_columns_and_text():
    pd = pytest.importorskip("pandas")
    problem = af.Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0)
    table = af.frontier(problem)
    assert len(table) == 61
    assert {0, 0.5, 1, 2, 5, np.inf} <= set(table.alpha.tolist())
    rows = list(table)
    assert rows[30] == af.FrontierPoint(
        1.0, 6.25, table.equivalent_utility[30], 2.5, table.gini[30], 0.375
    )
    data = pd.DataFrame(table.to_dict())
    assert data.shape == (61, 10)
    assert data["budget_far"].iloc[-1] == pytest.approx(4, rel=EXACT)
    assert data["utility_near"].iloc[0] == 20
    lines = repr(table).splitlines()
    assert lines[0] == "Frontier(A=61, K=2)"
    assert len(lines) == 13  # title, head, five rows, …, five rows
    assert lines[-1].split() == ["inf", "4", "4", "4", "0.0000", "60.00"]
    assert len({len(line) for line in lines[1:7]}) == 1


@pytest.mark.parametrize(
    ("alphas", "budget", "error", "message"),
    [
        ([], 1, ValueError, "alphas is empty"),
        ([1, -1], 1, ValueError, "alpha is -1.0"),
        (2.0, 1, TypeError, r"alphas is 2.0: must be a sequence; for one α, write \[2.0\]"),
        ([1], 0, ValueError, "budget is 0: every allocation is the same"),
    ],
)
def test_the_frontier_refuses(alphas, budget, error, message):
    with pytest.raises(error, match=message):
        af.frontier(af.Problem([1.0, 2.0], 1.0, ["a", "b"], budget), alphas)


# --- bands -----------------------------------------------------------------------------------
def doubled(scales):
    """Problems whose utilities are proportional to the scale, whatever α."""
    return (af.Problem([4 * s, s], 1.0, ["near", "far"], budget=5.0) for s in scales)


def test_bands_with_a_known_answer():
    """Scales 0, 1/100, …, 1 (plus 1) in random order: quantiles of u are those of the scales."""
    scales = np.random.default_rng(5).permutation(1 + np.arange(101) / 100)
    bands = af.frontier_bands(doubled(scales), [0, 1, np.inf], level=0.8)
    unit = af.frontier(next(doubled([1.0])), [0, 1, np.inf])
    for band, scale in ((bands.lower, 1.1), (bands.middle, 1.5), (bands.upper, 1.9)):
        assert band.mean_utility == pytest.approx(scale * unit.mean_utility, rel=EXACT)
        assert band.group_utility == pytest.approx(scale * unit.group_utility, rel=EXACT)
        assert band.group_budget == pytest.approx(unit.group_budget, rel=EXACT)
        assert band.price_of_fairness == pytest.approx(unit.price_of_fairness, rel=EXACT)
    assert bands.draws["mean_utility"].shape == (101, 3)
    assert bands.draws["mean_utility"][:, 0] == pytest.approx(scales * 10, rel=EXACT)
    np.testing.assert_array_equal(bands.alpha, [0, 1, np.inf])
    assert repr(bands) == "FrontierBands(R=101, A=3, level=0.8)"


def test_the_difference_is_taken_inside_a_draw():
    """Means 10 s and 6.25 s: the bands overlap (11…19, 6.9…11.9), the difference is 3.75 s."""
    bands = af.frontier_bands(doubled(1 + np.arange(101) / 100), [0, 1], level=0.8)
    assert bands.upper.mean_utility[1] > bands.lower.mean_utility[0]
    assert bands.difference("mean_utility", 0, 1) == pytest.approx(
        (3.75 * 1.1, 3.75 * 1.5, 3.75 * 1.9), rel=EXACT
    )
    with pytest.raises(ValueError, match="column is 'mean': must be one of"):
        bands.difference("mean", 0, 1)
    with pytest.raises(ValueError, match="alpha 3 is not in the bands"):
        bands.difference("gini", 0, 3)


def test_bands_refuse():
    one, other = next(doubled([1.0])), af.Problem([1.0, 2.0], 1.0, ["near", "town"], budget=5.0)
    with pytest.raises(ValueError, match=r"problems\[1\] has groups \['near', 'town'\]"):
        af.frontier_bands([one, other], [1])
    with pytest.raises(ValueError, match="problems has 1 entries: at least 2"):
        af.frontier_bands([one], [1])
    for level in (0, 1, np.nan):
        with pytest.raises(ValueError, match="level is"):
            af.frontier_bands([one, one], [1], level=level)


def test_progress(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    af.frontier_bands(doubled([1.0, 2.0]), [1])
    assert capsys.readouterr().err == ""
    shown = af.frontier_bands(doubled([1.0, 2.0]), iter([1]), progress=True)
    assert "2problem" in capsys.readouterr().err
    assert shown.middle.mean_utility == pytest.approx([1.5 * 6.25], rel=EXACT)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tqdm"):
        af.frontier_bands(doubled([1.0, 2.0]), [1], progress=True)
