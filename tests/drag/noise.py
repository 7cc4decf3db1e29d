"""What the picture of *How much of it is noise?* must say: the same draws, logits fitted anew."""

from functools import cache

import numpy as np
import pandas as pd
from causaldata import thornton_hiv
from scipy.special import expit

import alphafair as af

MANY = [1, 2, 5, 10, 20, 40, 60]
MODELS = ["no place", "districts", "districts and bands"]


@cache
def people():
    """Came, dollars, kilometres, age, code of the village, district, band."""
    rows = thornton_hiv.load_pandas().data
    rows = rows[["got", "tinc", "any", "distvct", "age", "villnum", "hiv2004"]].dropna()
    rows = rows[rows.hiv2004 >= 0]
    got, paid, km, age, number = (
        rows[["got", "tinc", "distvct", "age", "villnum"]].to_numpy(float).T
    )
    place = np.digitize(number, [20, 95])
    return got, paid, km, age, pd.factorize(number)[0], place, np.digitize(km, [1, 2, 3])


def chances(model, weight):
    """(2812, 5) chances of coming for nothing and for 0.5, 1, 2 and 3 dollars."""
    got, paid, km, age, _, place, near = people()
    districts = [place == 1, place == 2]
    bands = [near == 1, near == 2, near == 3]
    level = [np.ones(got.size), km, age / 10]
    level += [[], districts, districts + bands][model]
    jump = [[km, age / 10], districts, districts + bands][model]

    def columns(t):
        t = np.broadcast_to(t, got.shape)
        return np.column_stack([*level, t > 0, *(j * (t > 0) for j in jump), t, t**2])

    X = columns(paid)
    beta = np.zeros(X.shape[1])
    for _ in range(20):
        p = expit(X @ beta)
        curvature = (X.T * (weight * p * (1 - p))) @ X
        step = np.linalg.solve(curvature, X.T @ (weight * (got - p)))
        beta += step
        if abs(step).max() < 1e-9:
            break
    return np.column_stack([expit(columns(t) @ beta) for t in (0, 0.5, 1, 2, 3)])


@cache
def moved(model):
    """(60, 2): more for the nearest band at α = ∞ than at 0, and for the furthest."""
    village, near = people()[4], people()[6]
    counts = np.random.default_rng(1984).multinomial(119, np.full(119, 1 / 119), size=200)
    found = []
    for count in counts[: MANY[-1]]:
        P = chances(model, count[village])
        benefit, cost = P[:, 1:] - P[:, :1], P[:, 1:] * [0.5, 1, 2, 3]
        rules = {"weight": "size", "cap": 1, "exclusive": True}
        problem = af.Problem(benefit, cost, near, 590.0, **rules)
        even, most = (problem.allocate(alpha).dose.sum(axis=1) for alpha in (np.inf, 0))
        found.append([(even - most)[near == k].sum() for k in (0, 3)])
    return np.array(found)


def said(j, k):
    some = moved(k)[: MANY[j]]
    return [MODELS[k], str((some[:, 0] > 0).sum()), str(MANY[j]), str((some[:, 1] < 0).sum())]
