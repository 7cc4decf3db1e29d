"""What the picture of `different` says: queues at desks of unequal speed."""

import numpy as np

from alphafair.models import meanfield as mf

DESKS = [2, 3, 4, 5]
ARRIVALS = [2, 4, 6, 8, 10, 12]


def said(desks, busy):
    n, load = DESKS[desks], ARRIVALS[busy]
    model = mf.heterogeneous_supermarket(np.linspace(5, 15, n), load, buffer=3)
    found = mf.steady_state(model)
    chain = mf.exact_chain(model, np.eye(4)[[0] * n])
    lengths = chain.values[:, 0] @ np.arange(4)  # of the slowest queue, in each configuration
    queues = [chain.stationary() @ lengths]
    queues += [law[0] @ np.arange(4) for law in (found.mean, found.mean + found.correction)]
    return [f"{q:.3f}" for q in queues]
