"""What the picture of `book/two_levels.ipynb` says."""

import numpy as np

import alphafair as af

BENEFIT = np.array([4, 1, 4, 2, 2, 1])
VILLAGE = ["north", "north", "south", "south", "south", "south"]
ALPHAS = [0, 0.25, 0.5, 1, 1.5, 2, 3, 6, np.inf]
WITHINS = [0, 0.1, 0.25, 0.5, 1, 2, 3, 6, np.inf]


def said(first, second):
    """α, ε, the mean and the least hours of the six, and the means of the two villages."""
    alpha, within = ALPHAS[first], WITHINS[second]
    hours = BENEFIT * af.allocate(BENEFIT, 1, VILLAGE, 180, alpha, within=within).dose[:, 0]
    words = ["∞" if value == np.inf else f"{value:g}" for value in (alpha, within)]
    means = hours.mean(), hours.min(), hours[:2].mean(), hours[2:].mean()
    return [*words, *(f"{value:.0f}" for value in means)]
