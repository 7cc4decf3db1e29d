"""What the picture of *A certificate with bounds* must say."""

import numpy as np

import alphafair as af

LIMITS = [36, 49, 64, 81, 100, 121, 144]


def said(j, k):
    """The ceiling over Ana's and Ben's 180 dollars at a price, α = 1/2, where Ana has a limit."""
    price = (8 + j) / 120
    productivity, most = np.array([4, 1]), np.array([LIMITS[k], np.inf])
    purses = np.minimum((productivity / price) ** 2 / productivity, most)
    spent = purses.sum()
    ceiling = af.welfare(productivity * purses, 0.5) + price * (180 - spent)
    return [f"{ceiling:.2f}", f"{ceiling - 48:.2f}", *(f"{x:.1f}" for x in (*purses, spent))]
