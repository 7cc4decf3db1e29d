"""What the picture of `cache` says: ten coins that are thrown until they fit."""

import numpy as np
from scipy.optimize import brentq

from alphafair.models import meanfield as mf

POWERS = [0.0, 0.2, 0.4, 0.8, 1.2, 1.6, 2.0]


def heads_of(coins):
    """The law of the number of heads."""
    law = np.ones(1)
    for p in coins:
        law = np.convolve(law, [1 - p, p])
    return law


def said(places, power):
    m, rate = places + 1, np.arange(1, 11) ** -POWERS[power]
    u = brentq(lambda u: (rate / (rate + np.exp(-u))).sum() - m, -60, 60, xtol=1e-13)
    coins = rate / (rate + np.exp(-u))
    fit = heads_of(coins)[m]
    refined = mf.steady_state(mf.random_cache(rate, [m])).expectation(1)[:, 1]
    out = [f"{100 * fit:.1f} %"]
    for k in (0, 9):
        kept = coins[k] * heads_of(np.delete(coins, k))[m - 1] / fit
        out += [f"{100 * p:.1f} %" for p in (coins[k], kept, refined[k])]
    return out
