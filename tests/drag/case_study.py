"""What the picture of *From the experiment to a plan* must say: its logit, fitted anew."""

from functools import cache

import numpy as np
from causaldata import thornton_hiv
from scipy.special import expit

import alphafair as af

BUDGETS = [100, 200, 400, 590, 800, 1000, 1250, 1500, 2000]
ALPHAS = [0, 0.5, 1, 2, np.inf]


@cache
def chances():
    """(2812, 5) chances of coming for nothing and for 0.5, 1, 2 and 3 dollars; kilometres."""
    rows = thornton_hiv.load_pandas().data
    rows = rows[["got", "tinc", "distvct", "age", "villnum", "hiv2004"]].dropna()
    rows = rows[rows.hiv2004 >= 0]
    got, paid, km, age, village, _ = rows.to_numpy(float).T
    places = [village < 20, village > 95]

    def columns(t):
        t = np.broadcast_to(t, got.shape)
        level = [np.ones(got.size), age / 10, km, *places]
        return np.column_stack([*level, t > 0, *(p * (t > 0) for p in places), t, t**2])

    X, beta = columns(paid), np.zeros(10)
    for _ in range(20):
        p = expit(X @ beta)
        beta += np.linalg.solve((X.T * (p * (1 - p))) @ X, X.T @ (got - p))
    return np.column_stack([expit(columns(t) @ beta) for t in (0, 0.5, 1, 2, 3)]), km


def said(j, k):
    P, km = chances()
    far = km >= 3
    a = af.allocate(
        P[:, 1:] - P[:, :1],
        P[:, 1:] * [0.5, 1, 2, 3],
        np.digitize(km, [1, 2, 3]),
        BUDGETS[j],
        ALPHAS[k],
        weight="size",
        cap=1,
        exclusive=True,
    )
    percent = 100 * a.dose[far].sum() / far.sum()
    alpha = "∞" if ALPHAS[k] == np.inf else f"{ALPHAS[k]:g}"
    extra = a.group_utility @ a.group_size
    return [f"${BUDGETS[j]}", alpha, f"{percent:.0f} %", f"{extra:.0f}"]
