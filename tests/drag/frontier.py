"""What the picture of `book/frontier.ipynb` must say."""

import numpy as np

import alphafair as af

ALPHAS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1, 1.5, 2, 3, 5, 10, np.inf]


def said(alpha):
    gain = [86 / 30, 93 / 30, 125 / 30, 132 / 30, 164 / 30]
    waiting = [400, 300, 300, 200, 200]
    problem = af.Problem(gain, [40, 60, 100, 150, 250], range(5), 60_000, cap=waiting)
    u, best = (problem.allocate(a).group_utility for a in (ALPHAS[alpha], 0))
    lost = 100 * (1 - u.sum() / best.sum())
    text = "∞" if ALPHAS[alpha] == np.inf else f"{ALPHAS[alpha]:g}"
    return [text, f"{u.mean():.0f}", f"{u.min():.0f}", f"{lost:.0f}"]
