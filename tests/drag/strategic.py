"""What the picture of *When data owners choose how much to tell* says."""

import numpy as np

from alphafair.models import strategic

FIELDS = np.array([[1, -1], [1, 0], [1, 1]], dtype=float)


def said(stop, power):
    """Three farmers at each of stop + 1 copies of the fields; each of them is a player here."""
    p = (1, 1.5, 2, 4)[power]
    cost = strategic.linear() if p == 1 else strategic.monomial(p)
    first = strategic.equilibrium(FIELDS, cost)
    crowd = strategic.equilibrium(np.repeat(FIELDS, stop + 1, axis=0), cost)
    each = crowd.precision[: stop + 1].mean()
    return [
        str(3 * (stop + 1)),
        f"{each:.3f}",
        f"{crowd.estimation_cost:.3f}",
        f"{first.estimation_cost / (stop + 1):.3f}",
    ]
