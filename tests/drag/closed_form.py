"""What the pictures of `book/closed_form.ipynb` say."""

import numpy as np

import alphafair as af

BENEFIT = [[16, 40], [10, 75], [6, 40], [7, 20], [6, 25], [3, 20], [2, 25], [1, 10], [0, 5]]
GROUP = ["east"] * 2 + ["north"] * 2 + ["south"] * 3 + ["west"] * 2
ALPHAS = [0, 0.1, 0.25, 0.4, 0.5, 0.62, 0.8, 1, 1.25, 1.6, 2, 2.5, 3, 4, 6, 10, 20, np.inf]
AVERSIONS = [0, 0.5, 1, 2, np.inf]
DOLLARS = [0, 12, 24, 36, 48, 60, 75, 90, 105, 120, 132, 144, 156, 168, 180]


def said(stop):
    """α, the hours of the worst-off district, the mean of the nine patients, person by person."""
    alpha = ALPHAS[stop]
    a = af.allocate(BENEFIT, [[1, 5]], GROUP, 300, alpha)
    people = (np.array(BENEFIT) * a.dose).sum(axis=1)
    word = "∞" if alpha == np.inf else f"{alpha:g}"
    return [word, f"{a.group_utility.min():.0f}", f"{people.mean():.0f}"]


def said_2(first, second):
    """Dollars and hours of Ana and Ben, α, what they are worth, and the best that 180 can do."""
    alpha, ana = AVERSIONS[first], DOLLARS[second]
    best = af.allocate([4, 1], 1, ["Ana", "Ben"], 180, alpha).equivalent_utility
    word = "∞" if alpha == np.inf else f"{alpha:g}"
    here = af.equivalent_utility([4 * ana, 180 - ana], alpha)
    words = [str(ana), str(4 * ana), str(180 - ana), str(180 - ana), word]
    return [*words, f"{here:.1f}", f"{best:.1f}"]
