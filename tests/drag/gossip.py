"""What the picture of `gossip` says: partners that change together, and each on its own."""

from functools import cache

import numpy as np
from scipy.stats import binom

from alphafair.models.meanfield import gossip_rounds

SENT = [25, 50, 75]
MINUTES = [2, 3, 5, 7, 10, 15, 20]


@cache
def alone(s):
    """The chance of 0, …, 50 phones with the file after each minute, by binomial laws."""
    share, drop = s / 100, 400 / (500 - s)
    moves = np.zeros((51, 51))
    for X in range(51):
        x, y = X / 50, 1 - X / 50
        lose = share * drop * y + share * (1 - share) * drop * x
        stay = binom.pmf(np.arange(X + 1), X, 1 - lose)
        moves[X] = np.convolve(stay, binom.pmf(np.arange(51 - X), 50 - X, share * x))
    laws = [np.eye(51)[5]]
    for _ in range(20):
        laws.append(laws[-1] @ moves)
    return np.array(laws)[MINUTES]


@cache
def together(s):
    """The same, for partners."""
    chain = gossip_rounds(50, 5, sent=s)
    order = np.rint(50 * chain.values[:, 0]).astype(int)
    laws = np.zeros((len(MINUTES), 51))
    laws[:, order] = chain.laws(MINUTES)
    return laws


def said(sent, minutes):
    laws = [law(SENT[sent])[minutes] for law in (together, alone)]
    means = [f"{law @ np.arange(51):.1f}" for law in laws]
    lost = [f"{100 * law[0]:.0f}" for law in laws]
    return [str(SENT[sent]), str(MINUTES[minutes]), *means, *lost]
