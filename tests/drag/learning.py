"""What the picture of *Learning who deserves the next pull* says, from the same draws."""

from functools import cache

import numpy as np

from alphafair.models.bandits import gittins_index

TIMES = [1, 2, 4, 10, 40]
RIVALS = [0.45, 0.5, 0.55, 0.6, 0.65]


@cache
def indices():
    """Draws of the index for each number of hours; the first of them by the package too."""
    rng, found = np.random.default_rng(37), []
    for k in TIMES:
        low, high = (1 + k, 1 + 3 * k), (1 + 2 * k, 1)
        rise, stay, poor, rich = (rng.beta(*ab, 40_000) for ab in (low, high, low, high))
        once = 1 - 0.9 * stay
        index = np.maximum(poor, (poor * once + 0.9 * rise * rich) / (once + 0.9 * rise))
        for i in range(5):
            moves = [[1 - rise[i], rise[i]], [1 - stay[i], stay[i]]]
            arm = gittins_index(moves, [poor[i], rich[i]], discount=0.9)
            np.testing.assert_allclose(arm[0], index[i], rtol=1e-9)
        found.append(index)
    return found


def said(hours, rival):
    """6, 12, 24, 60 or 240 hours."""
    share = (indices()[hours] > RIVALS[rival]).mean()
    return [str(6 * TIMES[hours]), f"{RIVALS[rival]:g}", f"{100 * share:.0f}"]
