"""What the pictures of `refined` say: an infection among N people, a clinic with few nurses."""

import numpy as np

from alphafair.models.meanfield import sis, steady_state

SIZES = [2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80]


def said(stop):
    """The exact law by balance: up at rate (1 + 2k/n)(n − k), down at rate 2k."""
    n = SIZES[stop]
    law = [1.0]
    for k in range(1, n + 1):
        law.append(law[-1] * (1 + 2 * (k - 1) / n) * (n - k + 1) / (2 * k))
    x, law = np.arange(n + 1) / n, np.array(law) / sum(law)
    mean = law @ x
    refined = steady_state(sis(infection=2, recovery=2, source=1)).expectation(n)[1]
    spread = np.sqrt(law @ (x - mean) ** 2)
    return [f"{n}", f"{mean:.3f}", f"{spread:.3f}", f"{refined:.3f}"]


def said_2(stop):
    """50 patients: ill at rate 1 each; healthy again at rate 1 for each that has a nurse."""
    nurses = 10 + stop
    law = [1.0]
    for k in range(1, 51):
        law.append(law[-1] * min(51 - k, nurses) / k)
    mean = np.array(law) @ np.arange(51) / sum(law) / 50
    return [f"{nurses}", f"{mean:.3f}", f"{min(0.5, nurses / 50):.3f}"]
