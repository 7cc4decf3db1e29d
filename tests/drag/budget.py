"""What the picture of `budget` says: the capped plan for 2825 people, by a logit of its own."""

from functools import cache

import numpy as np
from causaldata import thornton_hiv

import alphafair as af

ALPHAS = [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1]
ALPHAS += [1.25, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 20, 50, np.inf]


@cache
def problem():
    """Benefit and cost of 50 cents for each person, and the band: 590 dollars, at most one each."""
    needed = ["got", "tinc", "any", "distvct", "age", "villnum"]
    table = thornton_hiv.load_pandas().data[needed].dropna().to_numpy(dtype=float)
    got, dollars, drew, km, age, _ = table.T
    person = np.column_stack([np.ones(len(km)), km, age / 10])
    X = np.column_stack([person, drew, dollars])
    coefficient = np.zeros(5)
    for _ in range(30):  # Newton's method
        p = 1 / (1 + np.exp(-X @ coefficient))
        curvature = (X.T * (p * (1 - p))) @ X
        coefficient += np.linalg.solve(curvature, X.T @ (got - p))
    level = person @ coefficient[:3]
    chance = [1 / (1 + np.exp(-level - shift)) for shift in (0, coefficient[3:] @ [1, 0.5])]
    gain, cost = chance[1] - chance[0], 0.5 * chance[1]
    return af.Problem(gain, cost, np.ceil(np.clip(km, 1, 3.5)), 590, weight="size", cap=1)


def said(stop):
    plan = problem().allocate(ALPHAS[stop])
    money = "{:.0f}, {:.0f}, {:.0f} and {:.0f}".format(*plan.group_budget)
    gain = plan.group_utility @ plan.group_size
    alpha = "∞" if ALPHAS[stop] == np.inf else f"{ALPHAS[stop]:g}"
    return [alpha, money, f"{plan.dose.sum():.0f}", f"{gain:.0f}"]
