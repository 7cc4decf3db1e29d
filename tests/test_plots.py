"""Pictures: what they draw is what the allocation says, and nothing is shown or solved."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import alphafair as af
from alphafair import evaluation, plots
from alphafair.frontier import DEFAULT_ALPHAS

PROBLEM = af.Problem([4.0, 1.0, 2.0], 1.0, ["far", "near", "town"], budget=30.0)
FRONTIER = af.frontier(PROBLEM, [np.inf, 1, 0, 2])
CAPPED = af.Problem(  # a dose costs 1, nobody gets more than 2 of it
    [4.0, 3.0, 2.0, 1.0], 1.0, ["far", "far", "far", "near"], budget=5.0, cap=2.0
)


@pytest.fixture(autouse=True)
def _no_window_and_no_leak(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("a plot called show"))
    yield
    plt.close("all")


def test_allocation_bars():
    a = PROBLEM.allocate(2)
    ax = plots.allocation(a)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights[:3] == pytest.approx(100 * a.group_share)
    assert heights[3:] == pytest.approx(100 * a.group_utility / a.group_utility.sum())
    assert [t.get_text() for t in ax.get_xticklabels()] == ["far", "near", "town"]
    assert ax.get_title() == "α = 2"


def test_value_of_money_by_hand():
    """far: slopes 4/3, 1, 2/3, each for 2 of money; near: 1 for 2, then nothing."""
    a = CAPPED.allocate(1)
    ax = plots.value(CAPPED, a)
    far, far_point, near, near_point = (line.get_data() for line in ax.lines)
    assert far[0][[0, -1]] == pytest.approx([0, 5])
    assert np.interp([1, 2, 4, 5], *far) == pytest.approx([4 / 3, 8 / 3, 14 / 3, 16 / 3])
    assert np.interp([1, 2, 4], *near) == pytest.approx([1, 2, 2])
    assert far_point == (pytest.approx([3]), pytest.approx([11 / 3]))
    assert near_point == (pytest.approx([2]), pytest.approx([2]))
    assert ax.get_title() == "α = 1"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["far", "near"]
    slopes = plots.value(CAPPED, marginal=True)
    assert len(slopes.lines) == 2
    assert slopes.get_title() == ""
    x, y = slopes.lines[0].get_data()
    assert y[np.searchsorted(x, [1, 3, 4.5])] == pytest.approx([4 / 3, 1, 2 / 3])
    point = plots.value(CAPPED, a, marginal=True).lines[1].get_data()
    assert point == (pytest.approx([3]), pytest.approx([1]))


def test_value_begins_at_the_floors_and_leaves_infinity_out():
    problem = af.Problem(
        [1.0, 2.0, 3.0], 1.0, ["a", "a", "b"], 6.0, within=0.5, floor=[1.0, 0.0, 2.0]
    )
    a, b = (line.get_xdata() for line in plots.value(problem).lines)
    assert (a[0], b[0], a[-1], b[-1]) == (1, 2, 6, 6)
    y = plots.value(problem, marginal=True).lines[0].get_ydata()
    assert np.isnan(y[0])  # the second member of a has nothing yet
    assert np.isfinite(y[1:]).all()
    with pytest.raises(ValueError, match="budget is 0: there is no money"):
        plots.value(af.Problem([1.0], 1.0, ["a"], 0.0))


def test_budget_split_covers_zero_to_infinity():
    results = [PROBLEM.allocate(alpha) for alpha in (np.inf, 1, 0)]
    ax = plots.budget_split(results)
    top = ax.collections[-1].get_paths()[0].vertices
    assert top[:, 1].max() == pytest.approx(100)
    assert (top[:, 0].min(), top[:, 0].max()) == (0, 1)
    assert [t.get_text() for t in ax.get_xticklabels()][-1] == "∞"


def test_lorenz_is_the_diagonal_at_infinity():
    ax = plots.lorenz([PROBLEM.allocate(alpha) for alpha in (1, np.inf)])
    curve, equality = ax.lines[0].get_ydata(), ax.lines[1].get_ydata()
    assert equality == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert (curve <= equality + 1e-12).all()
    assert curve[1] == pytest.approx(1 / 7)  # utilities 10 · (4, 1, 2)


def test_draws_where_it_is_told():
    _, ax = plt.subplots()
    assert plots.allocation(PROBLEM.allocate(1), ax) is ax
    assert plots.value(PROBLEM, ax=ax) is ax
    assert plots.budget_split([PROBLEM.allocate(1)], ax) is ax
    assert plots.lorenz(PROBLEM.allocate(1), ax) is ax
    assert plots.frontier(FRONTIER, ax=ax) is ax
    assert plots.trade_off(FRONTIER, ax) is ax
    assert plots.who_is_funded(PROBLEM.allocate(1), ax) is ax
    assert plots.plan_values({"all": evaluation.plan_value(1, [1.0, 2.0])}, ax) is ax
    assert plots.qini(evaluation.qini(lambda q: q, [0, 1], [1.0, 2.0]), ax) is ax
    assert len(plt.get_fignums()) == 1


def test_frontier_is_the_price_in_percent_ordered_by_alpha():
    ax = plots.frontier(FRONTIER)
    x, y = ax.lines[0].get_data()
    assert x == pytest.approx([0, 1 / 2, 2 / 3, 1])
    # utilities at 0: 120, 0, 0; at 1: 40, 10, 20; at ∞: 120/7 each
    assert y[[0, 1, 3]] == pytest.approx([0, 100 * (1 - 70 / 120), 100 * (1 - 3 / 7)])
    assert ax.get_legend() is None
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "0.5", "1", "2", "5", "∞"]


def test_frontier_with_band_and_worst_case():
    problems = [
        af.Problem([b, 1.0, 2.0], 1.0, ["far", "near", "town"], budget=30.0) for b in (3.0, 4.0)
    ]
    bands = af.frontier_bands(problems, FRONTIER.alpha, level=0.5)
    worst = [af.price_of_fairness_bound(alpha, 3, 4, simplex=True) for alpha in FRONTIER.alpha]
    ax = plots.frontier(FRONTIER, bands, bound=worst)
    outline = ax.collections[0].get_paths()[0].vertices
    for table in (bands.lower, bands.upper):
        assert 100 * table.price_of_fairness[0] in outline[outline[:, 0] == 1, 1]  # α = ∞
    assert ax.lines[1].get_ydata() == pytest.approx(100 * np.array(worst)[[2, 1, 3, 0]])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "50 % band",
        "this problem",
        "worst case",
    ]
    with pytest.raises(ValueError, match=r"bound has shape \(2,\): must be \(4,\)"):
        plots.frontier(FRONTIER, bound=[0.1, 0.2])


def test_trade_off_goes_to_the_right_and_down():
    ax = plots.trade_off(FRONTIER)
    x, y = ax.lines[0].get_data()
    assert x == pytest.approx([0, 1 / 4, 1 / 2, 1])  # u ∝ p^{1/α}, p from 1 to 4
    assert y[[0, 3]] == pytest.approx([40, 120 / 7])
    assert [t.get_text() for t in ax.texts] == ["α = 0", "1", "2", "∞"]
    other = plots.trade_off(af.frontier(PROBLEM, [0.3, 3]))
    assert [t.get_text() for t in other.texts] == ["α = 0.3", "3"]  # none of the usual ones


def test_who_is_funded_without_caps():
    ax = plots.who_is_funded(af.allocate([1.0, 2.0, 3.0], 1.0, ["a", "a", "b"], 3.0, 1))
    assert [t.get_text() for t in ax.texts] == ["1 of 2", "1 of 1"]
    assert [bar.get_width() for bar in ax.patches] == [50, 100, 50, 0]  # a dose; no dose
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a dose", "no dose"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_who_is_funded_with_caps_says_how_full():
    tied = CAPPED.allocate(0)  # utility of a unit of money: 4/3, 1, 2/3 in far and 1 in near
    assert tied.dose[:, 0] == pytest.approx([2, 1.5, 0, 1.5])
    ax = plots.who_is_funded(tied)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["all", "over half", "no dose"]
    width = np.array([bar.get_width() for bar in ax.patches]).reshape(3, 2)
    assert width == pytest.approx(np.array([[100 / 3, 0], [100 / 3, 100], [100 / 3, 0]]))
    assert [t.get_text() for t in ax.texts] == ["2 of 3", "1 of 1"]
    equal = CAPPED.allocate(1)
    assert equal.dose[:, 0] == pytest.approx([2, 1, 0, 2])
    names = [t.get_text() for t in plots.who_is_funded(equal).get_legend().get_texts()]
    assert names == ["all", "up to half", "no dose"]


def test_who_is_funded_in_more_groups_than_a_byte_counts():
    """200 groups of two, of whom one is funded: 2 · 199 + 1 cells do not fit into a byte."""
    group = np.arange(200).repeat(2)
    result = af.allocate(np.tile([1.0, 2.0], 200), 1.0, group, 200.0, 1)
    assert plots._people(result).tolist() == [[1, 1]] * 200


def test_who_is_funded_for_several_alpha():
    results = [CAPPED.allocate(alpha) for alpha in (np.inf, 0)]
    ax = plots.who_is_funded(results)
    shown = np.asarray(ax.images[0].get_array())
    funded = [[(r.dose[:3] > 0).mean(), (r.dose[3:] > 0).mean()] for r in results[::-1]]
    assert shown == pytest.approx(100 * np.array(funded).T)
    assert shown[0] == pytest.approx([200 / 3, 200 / 3])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "∞"]
    assert [t.get_text() for t in ax.texts] == ["67", "67", "100", "100"]
    many = plots.who_is_funded([CAPPED.allocate(a) for a in DEFAULT_ALPHAS])
    assert len(many.texts) == 0
    assert [t.get_text() for t in many.get_xticklabels()][-1] == "∞"


SCORES = np.array([3.0, 1.0, 0.0, 2.0, 4.0, -1.0])
PLACES = ["near", "far", "near", "far", "near", "far"]


def test_plan_values_are_points_with_their_intervals():
    alone = evaluation.plan_value(0.5, SCORES)
    assert plots.plan_values({"flat": alone}).get_legend() is None
    values = {
        "list": evaluation.plan_value(SCORES > 1, SCORES, group=PLACES),
        "lead": evaluation.plan_value(SCORES > 1, SCORES, group=PLACES, against=0.5),
    }
    ax = plots.plan_values(values, level=0.8)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["everybody", "far", "near"]
    for box, value in zip(ax.containers, values.values(), strict=True):
        points, _, (bars,) = box
        assert points.get_xdata() == pytest.approx([value.estimate, *value.group_estimate])
        drawn = np.array([line[:, 0] for line in bars.get_segments()])
        both = [value.interval(0.8), *value.group_interval(0.8)]
        assert drawn == pytest.approx(np.array(both))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["list", "lead"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # everybody on top
    assert "80 %" in ax.get_xlabel()


def test_qini_curves_for_all_and_for_a_group():
    rank = np.argsort(np.argsort(-SCORES))
    how = {"group": PLACES}
    curves = {
        "best first": evaluation.qini(lambda q: rank < q, [0, 2, 6], SCORES, **how),
        "blind": evaluation.qini(lambda q: q / 6, [0, 2, 6], SCORES, **how),
    }
    ax = plots.qini(curves)
    for line, shade, curve in zip(ax.lines, ax.collections, curves.values(), strict=False):
        assert line.get_ydata() == pytest.approx(curve.estimate)
        corners = shade.get_paths()[0].vertices
        assert set(curve.interval().ravel().round(9)) <= set(corners[:, 1].round(9))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(curves)
    near = plots.qini(curves["best first"], group="near")
    assert near.lines[0].get_ydata() == pytest.approx(curves["best first"].group_estimate[:, 1])
    assert near.get_legend() is None
    with pytest.raises(ValueError, match=r"group is 'town': must be one of .*\['far', 'near'\]"):
        plots.qini(curves, group="town")


# --- as the budget grows ----------------------------------------------------------------------
PATH = af.budget_path(CAPPED, 1, [8, 0, 2, 4, 6, 9])  # all caps take 8: far 6, near 2


def test_budget_path_by_hand():
    ax = plots.budget_path(PATH)
    far, near = (line.get_data() for line in ax.lines)
    assert far[0] == pytest.approx([0, 2, 4, 6, 8, 9])
    assert far[1] == pytest.approx([0, 1, 2, 4, 6, 6])
    assert near[1] == pytest.approx([0, 1, 2, 2, 2, 2])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["far", "near"]
    assert (ax.get_title(), ax.get_xlabel()) == ("α = 1", "budget")


def test_budget_path_stacked_reaches_what_is_spent():
    ax = plots.budget_path(PATH, stacked=True)
    outline = ax.collections[-1].get_paths()[0].vertices
    assert outline[outline[:, 0] == 6, 1].max() == pytest.approx(6)
    assert outline[outline[:, 0] == 9, 1].max() == pytest.approx(8)  # 1 is left


def test_price_path_leaves_out_what_has_no_place():
    ax = plots.price_path(PATH)
    x, y = ax.lines[0].get_data()
    assert x == pytest.approx([0, 2, 4, 6, 8, 9])
    # at 4 and 6 far stands at a kink: its next slopes are 1 and 2/3, its utilities 8/3 and 14/3
    assert y == pytest.approx([np.nan, 1, 3 / 8, 1 / 7, np.nan, np.nan], nan_ok=True)
    assert ax.get_yscale() == "log"


def test_funded_path_counts_people():
    ax = plots.funded_path(PATH)
    assert ax.lines[0].get_ydata() == pytest.approx([0, 100 / 3, 100 / 3, 200 / 3, 100, 100])
    assert ax.lines[1].get_ydata() == pytest.approx([0, 100, 100, 100, 100, 100])


def test_funded_path_counts_at_some_of_many_budgets(monkeypatch):
    path = af.budget_path(CAPPED, 1, np.linspace(0, 8, 500))
    assert plots.funded_path(path).lines[0].get_xdata().size == 500
    monkeypatch.setattr(plots, "COUNTED", 300)
    x = plots.funded_path(path).lines[0].get_xdata()
    assert (x.size, x[0], x[-1]) == (75, 0, 8)  # 75 budgets, 4 people each
    monkeypatch.setattr(plots, "COUNTED", 0)
    assert plots.funded_path(path).lines[0].get_xdata().size == 60


def test_paths_draw_where_they_are_told():
    drawings = (plots.budget_path, plots.price_path, plots.funded_path)
    _, axes = plt.subplots(1, 3)
    for draw, ax in zip(drawings, axes, strict=True):
        assert draw(PATH, ax) is ax
    assert len(plt.get_fignums()) == 1
