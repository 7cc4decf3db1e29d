"""What the picture of *Twenty million rows* must say, from eight numbers and no row."""

import numpy as np

import alphafair as af

ALPHAS = [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, np.inf]
BUDGETS = [500, 1000, 1500, 2000, 3000]
PEOPLE = np.array([375, 272, 196, 157])
SUMS = [2611.2577, 910.2859, 337.80066, 129.35858]  # of the best hours for a dollar


def said(j, k):
    a = af.allocate(SUMS / PEOPLE**2, 1.0, range(4), BUDGETS[k], ALPHAS[j])
    west = a.group_budget[3]
    alpha = "∞" if ALPHAS[j] == np.inf else f"{ALPHAS[j]:g}"
    return [alpha, f"${BUDGETS[k]}", f"{west:.0f}", f"{100 * west / BUDGETS[k]:.0f} %"]
