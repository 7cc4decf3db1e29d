"""What the pictures of *A certificate* must say, by the package."""

import numpy as np

import alphafair as af

SIZE = np.array([2, 2, 3, 2])  # of the clinic's districts, and the best ratios of their patients
RATIO = np.array([16.0, 15, 8, 7, 6, 4, 5, 2, 1])


def said(j):
    """The ceiling over Ana's and Ben's 180 dollars at a price, α = 1/2, and what they spend."""
    price = (14 + j) / 120
    productivity = np.array([4, 1])
    bought = (productivity / price) ** 2
    spent = (bought / productivity).sum()
    ceiling = af.phi(bought, 0.5).sum() + price * (180 - spent)
    proposal = af.welfare([144, 144], 0.5)
    purses = [*(bought / productivity), spent]
    return [f"{ceiling:.2f}", f"{ceiling - proposal:.2f}", *(f"{x:.1f}" for x in purses)]


def said_2(*stops):
    """The certificate of a plan for the clinic's districts, and what their next dollars are worth.

    α = 2, ε = 1, weights by size.
    """
    money = 5.0 * np.array(stops)
    district = np.repeat(np.arange(4), SIZE)
    problem = af.Problem(RATIO, 1, district, budget=300, within=1, weight="size")
    found = af.optimality_gap((money / SIZE)[district], problem, 2)
    mean_ratio = [np.prod(RATIO[district == k]) ** (1 / SIZE[k]) for k in range(4)]
    worth = [
        f"{1e6 / (r * m**2):.0f}" if m else "∞"
        for r, m in zip(mean_ratio, money / SIZE, strict=True)
    ]
    spent = f"{money.sum():.0f}"
    verdict = f"At most {100 * found.relative_gap:.1f} percent of the 300 are wasted."
    if found.infeasibility > 0:
        verdict = f"That is {money.sum() - 300:.0f} more than there are, so it is not a plan."
    return [spent, verdict, *worth]
