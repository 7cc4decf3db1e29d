"""What the picture of *When you do not know who else answers* says."""

import numpy as np

from alphafair.models import strategic

TYPES = np.array([[1, -1], [1, 0], [1, 1]], dtype=float)
CROWDS = 6, 9, 12, 15, 21, 30, 42, 60, 99


def said(stop, power):
    """Three amounts of fertiliser, each with the probability 1/3 or used by exactly a third."""
    n, p = CROWDS[stop], (1, 1.5, 2, 4)[power]
    cost = strategic.linear() if p == 1 else strategic.monomial(p)
    by_lot = strategic.uncertain_equilibrium(TYPES, [1, 1, 1], cost, n)
    thirds = strategic.population_equilibrium(TYPES, [1, 1, 1], cost, n)
    end = thirds.precision[2]
    return [
        str(n),
        f"{100 * by_lot.precision[1] / end:.0f}",
        f"{100 * thirds.precision[1] / end:.0f}",
        f"{by_lot.estimation_cost:.3f}",
        f"{thirds.estimation_cost:.3f}",
    ]
