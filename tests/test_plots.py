"""Pictures: what they draw is what the allocation says, and nothing is shown or solved."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import alphafair as af
from alphafair import plots

PROBLEM = af.Problem([4.0, 1.0, 2.0], 1.0, ["far", "near", "town"], budget=30.0)


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
    assert plots.budget_split([PROBLEM.allocate(1)], ax) is ax
    assert plots.lorenz(PROBLEM.allocate(1), ax) is ax
    assert len(plt.get_fignums()) == 1
