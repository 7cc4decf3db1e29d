"""What the picture of `book/price.ipynb` must say."""

import numpy as np

import alphafair as af

ALPHAS = [0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, np.inf]
RATIOS = [1, 2, 4, 8, 16, 32]


def worst(alpha, ratio, players=4):
    """The theorem's bound for a simplex, on a fine grid of z."""
    if alpha == 0:
        return 0.0
    z = np.append(np.geomspace(1, ratio, 20_001), ratio)
    exponent = (0 if alpha == np.inf else 1 / alpha) - 1
    return ((players - 1) * (1 - 1 / z) / (players - 1 + z**exponent)).max()


def said(alpha, ratio):
    a, z = ALPHAS[alpha], RATIOS[ratio]
    clinic = af.Problem([z, z ** (2 / 3), z ** (1 / 3), 1], 1, range(4), 300)
    fair, most = (clinic.allocate(x).group_utility.sum() for x in (a, 0))
    text = "∞" if a == np.inf else f"{a:g}"
    lost = 100 * (1 - fair / most) + 0.0
    return [text, f"{lost:.1f}", f"{z:g}", f"{100 * worst(a, z):.1f}"]
