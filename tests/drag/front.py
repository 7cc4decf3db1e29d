"""What the picture of the front page must say."""

import numpy as np

import alphafair as af

ALPHAS = [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, np.inf]


def said(alpha, budget):
    district = [0, 0, 1, 1, 2, 2, 2, 3, 3]
    hours = [
        *([16, 40], [10, 75], [6, 40], [7, 20], [6, 25]),
        *([3, 20], [2, 25], [1, 10], [0, 5]),
    ]
    problem = af.Problem(
        hours, [[1, 5]], district, 100 * (budget + 1), cap=[[30, 4]], weight="size"
    )
    a = problem.allocate(ALPHAS[alpha])
    total, most = (np.sum(np.multiply(hours, x.dose)) for x in (a, problem.allocate(0)))
    return [f"{total:.0f}", f"{100 * total / most:.0f}", f"{a.group_utility.min():.0f}"]
