"""What the picture of *From the experiment to a plan* must say: its logits, fitted anew."""

from functools import cache

import numpy as np
from causaldata import thornton_hiv
from scipy.special import expit

import alphafair as af

ALPHAS = [0, 0.5, 1, 2, np.inf]
MODELS = ["no place", "districts", "effect by district"]


@cache
def chances(model):
    """(2812, 5) chances of coming for nothing and for 0.5, 1, 2 and 3 dollars; kilometres."""
    rows = thornton_hiv.load_pandas().data
    rows = rows[["got", "tinc", "distvct", "age", "villnum", "hiv2004"]].dropna()
    rows = rows[rows.hiv2004 >= 0]
    got, paid, km, age, village, _ = rows.to_numpy(float).T
    places = [village < 20, village > 95]

    def columns(t):
        t = np.broadcast_to(t, got.shape)
        level = [np.ones(got.size), age / 10, km, *(places if model > 0 else [])]
        jumps = [p * (t > 0) for p in places] if model > 1 else []
        return np.column_stack([*level, t > 0, *jumps, t, t**2])

    X = columns(paid)
    beta = np.zeros(X.shape[1])
    for _ in range(20):
        p = expit(X @ beta)
        beta += np.linalg.solve((X.T * (p * (1 - p))) @ X, X.T @ (got - p))
    return np.column_stack([expit(columns(t) @ beta) for t in (0, 0.5, 1, 2, 3)]), km


@cache
def plan(j, k):
    """(2812,) the chance of a voucher, and the extra collections."""
    P, km = chances(k)
    a = af.allocate(
        P[:, 1:] - P[:, :1],
        P[:, 1:] * [0.5, 1, 2, 3],
        np.digitize(km, [1, 2, 3]),
        590,
        ALPHAS[j],
        weight="size",
        cap=1,
        exclusive=True,
    )
    return a.dose.sum(axis=1), (a.dose * (P[:, 1:] - P[:, :1])).sum()


def said(j, k):
    doses, extra = plan(j, k)
    moved = 100 * abs(doses - plan(2, 2)[0]).mean()
    alpha = "∞" if ALPHAS[j] == np.inf else f"{ALPHAS[j]:g}"
    return [alpha, MODELS[k], f"{moved:.0f} %", f"{extra:.0f}"]
