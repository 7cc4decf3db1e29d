"""What the picture of `whittle` says: one patient, when every call has a price."""

import numpy as np

from alphafair.models.bandits import Arm

LEFT_ALONE = [[0.90, 0.10, 0], [0.20, 0.40, 0.40], [0, 0.05, 0.95]]
CALLED = [[0.95, 0.05, 0], [0.60, 0.30, 0.10], [0, 0.15, 0.85]]
PRICES = [0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.15, 1.2, 1.4, 1.7]
PRICES += [2, 2.5, 3, 3.5, 4, 4.3, 4.5, 4.75, 5]
WHOM = {
    (True, True, True): "every patient",
    (False, True, True): "a patient who is slipping or has stopped",
    (False, True, False): "only a patient who is slipping",
    (False, False, False): "nobody",
}


def solved(active, penalty):
    """Advantages under a policy, by the gain and the relative values."""
    arm = Arm(LEFT_ALONE, CALLED, [1, 0.5, 0], [1, 0.5, 0])
    P0, P1 = arm.dense()
    A = np.eye(3) - np.where(active[:, None], P1, P0)
    A[:, 0] = 1
    h = np.linalg.solve(A, arm.R0 - penalty * active)
    h[0] = 0
    return (P1 - P0) @ h - penalty


def said(stop):
    penalty = PRICES[stop]
    active = np.ones(3, bool)
    for _ in range(5):  # policy iteration
        active = solved(active, penalty) > 0
    later = solved(active, 0) - solved(active, 1) - 1
    changes = [f"{v:+.1f}".replace("-", "−") for v in later]
    return [f"{penalty:g}", WHOM[tuple(active.tolist())], *changes]
