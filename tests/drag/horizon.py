"""What the picture of *The next T decisions* says; filling is a binomial law there."""

import numpy as np
from scipy.stats import binom

from alphafair.models.bandits import Arm, finite_horizon_relaxation

CHANCES = [0.2, 0.25, 0.28, 0.3, 1 / 3, 0.36, 0.4, 0.45, 0.5]
SIZES = [4, 16, 64, 256]


def said(recovery, many):
    """A quarter of the volunteers is rested on day 1 and tired on day 2."""
    q, N = CHANCES[recovery], SIZES[many]
    arm = Arm([[1, 0], [q, 1 - q]], [[0, 1], [0, 1]], 0, [1, 0])
    bound = finite_horizon_relaxation(arm, [1 / 4, 3 / 4], 1 / 4, 2).value
    rested = np.arange(3 * N // 4 + 1)
    work = np.minimum(rested, N // 4) @ binom.pmf(rested, 3 * N // 4, q)
    loss = bound - 1 / 4 - work / N
    word = "1/3" if recovery == 4 else f"{q:g}"
    return [word, str(N), f"{0.75 * q * N:.1f}", str(N // 4), f"{100 * loss / bound:.2f}"]
