"""What the pictures of `book/price.ipynb` must say."""

import numpy as np

import alphafair as af

LISTS = [200, 400, 600, 800, 1000, 1250, 1500]
ALPHAS = [0, 0.1, 0.25, 0.4, 0.5, 0.65, 0.8, 1, 1.5, 2, 3, 5, 10, np.inf]
RATIOS = [1, 2, 4, 8, 16, 32]


def said(alpha, length):
    """The largest total by hand: the best ratio of lines to euros first."""
    rng = np.random.default_rng(12)
    gain = rng.binomial(8, [0.375, 0.375, 0.5, 0.5, 0.625], size=(30, 5)).mean(axis=0)
    cost, cap = np.array([40.0, 60, 100, 150, 250]), np.array([LISTS[length], 300, 300, 200, 200])
    money, most = 60_000.0, 0.0
    for k in np.argsort(-gain / cost):
        some = min(cap[k], money / cost[k])
        money, most = money - some * cost[k], most + some * gain[k]
    plan = af.Problem(gain, cost, range(5), 60_000.0, cap=cap).allocate(ALPHAS[alpha])
    total = plan.group_utility.sum()
    price = abs(100 * (1 - total / most))
    return [f"{total:.0f}", f"{most:.0f}", f"{price:.1f}", f"{plan.dose[0, 0]:.0f}"]


def worst(alpha, ratio, players=4):
    """The theorem's bound for a simplex, on a fine grid of z."""
    if alpha == 0:
        return 0.0
    z = np.append(np.geomspace(1, ratio, 20_001), ratio)
    exponent = (0 if alpha == np.inf else 1 / alpha) - 1
    return ((players - 1) * (1 - 1 / z) / (players - 1 + z**exponent)).max()


def said_2(alpha, ratio):
    """Four districts, and the worst that any four can do."""
    a = [0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, np.inf][alpha]
    z = RATIOS[ratio]
    clinic = af.Problem([z, z ** (2 / 3), z ** (1 / 3), 1], 1, range(4), 300)
    fair, most = (clinic.allocate(x).group_utility.sum() for x in (a, 0))
    text = "∞" if a == np.inf else f"{a:g}"
    lost = 100 * (1 - fair / most) + 0.0
    return [text, f"{lost:.1f}", f"{z:g}", f"{100 * worst(a, z):.1f}"]
