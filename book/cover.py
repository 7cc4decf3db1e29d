"""Draw the picture of the README: how the split of a budget moves with α.

python book/cover.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import alphafair as af
from alphafair import plots

BOOK = Path(__file__).parent


def main() -> None:
    """Write book/_static/split.svg."""
    plt.style.use(BOOK / "book.mplstyle")
    plt.rcParams["svg.hashsalt"] = "alphafair"  # the same bytes every time
    problem = af.Problem(
        [8.0, 4.0, 2.0, 1.0], 1.0, ["north", "east", "south", "west"], budget=300.0
    )
    alphas = [0, *np.geomspace(0.02, 100, 80), np.inf]
    ax = plots.budget_split([problem.allocate(alpha) for alpha in alphas])
    ax.set_xlabel("α: from efficiency to equity")
    (BOOK / "_static").mkdir(exist_ok=True)
    plt.savefig(BOOK / "_static" / "split.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
