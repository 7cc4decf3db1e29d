"""Draw what stands at the front: the picture of the README, and the one to drag on the first page.

python book/cover.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from drag import Picture, Slider

import alphafair as af
from alphafair import plots

STATIC = Path(__file__).parent / "_static"
ALPHAS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, np.inf)
BUDGETS = (100, 200, 300, 400)


def clinic(budget: float) -> af.Problem:
    """Nine patients in four districts; at most 30 pills and 4 visits each."""
    district = np.repeat(["east", "north", "south", "west"], [2, 2, 3, 2])
    pill, visit = [16, 10, 6, 7, 6, 3, 2, 1, 0], [40, 75, 40, 20, 25, 20, 25, 10, 5]
    hours = np.column_stack([pill, visit])
    return af.Problem(hours, [[1.0, 5.0]], district, budget, cap=[[30.0, 4.0]], weight="size")


def front() -> Picture:
    """The clinic's money and healthy hours, as α and the budget are dragged."""
    alpha = Slider("α", ALPHAS, start=4, text=[plots.alpha_text(a) for a in ALPHAS])
    budget = Slider("Budget in dollars", BUDGETS, start=1)
    problems = [clinic(Q) for Q in BUDGETS]
    plans = [[problem.allocate(a) for problem in problems] for a in ALPHAS]
    money = np.array([[a.group_budget for a in row] for row in plans])
    hours = np.array([[a.group_utility for a in row] for row in plans])
    total = np.array([[(a.problem.benefit * a.dose).sum() for a in row] for row in plans])
    names = plans[0][0].group_labels
    picture = Picture(
        "One budget, four districts: drag α from efficiency to equity.", alpha, budget
    )
    left = picture.panel(x=("dollars", 0, 160), title="Money")
    left.bars(names, money, text=np.vectorize("{:.0f}".format)(money))
    right = picture.panel(x=("hours for each patient", 0, 700), title="What it does")
    right.bars(names, hours, colour=1, text=np.vectorize("{:.0f}".format)(hours))
    picture.say(
        "All nine patients together gain {} healthy hours, {} % of what this money can buy. "
        "The district with the least has {} hours for each patient.",
        np.vectorize("{:.0f}".format)(total),
        np.vectorize("{:.0f}".format)(100 * total / total[0]),
        np.vectorize("{:.0f}".format)(hours.min(axis=2)),
    )
    return picture


def split() -> None:
    """Write book/_static/split.svg: how the split of a budget moves with α."""
    plt.style.use(STATIC.parent / "book.mplstyle")
    plt.rcParams["svg.hashsalt"] = "alphafair"  # the same bytes every time
    problem = af.Problem(
        [8.0, 4.0, 2.0, 1.0], 1.0, ["east", "north", "south", "west"], budget=300.0
    )
    alphas = [0, *np.geomspace(0.02, 100, 80), np.inf]
    ax = plots.budget_split([problem.allocate(alpha) for alpha in alphas])
    ax.set_xlabel("α: from efficiency to equity")
    plt.savefig(STATIC / "split.svg", metadata={"Date": None})


if __name__ == "__main__":
    split()
    (STATIC / "front.html").write_text(front()._repr_html_() + "\n")
