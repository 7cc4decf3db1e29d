"""What the picture of `book/ten_thousand_arms.ipynb` says."""

import numpy as np

from alphafair.models import bandits

LEFT_ALONE = [[0.90, 0.10, 0], [0.20, 0.40, 0.40], [0, 0.05, 0.95]]
CALLED = [[0.95, 0.05, 0], [0.60, 0.30, 0.10], [0, 0.15, 0.85]]
SIZES = [5, 20, 50, 100, 200, 400, 800, 1600, 3200, 10_000]
SLIPS, STOPPED = 1, 2


def said(stop):
    """The patients, the number of days with a wrong action, and the gap, by what it costs."""
    N = SIZES[stop]
    arm = bandits.Arm(LEFT_ALONE, CALLED, [1, 0.5, 0], [1, 0.5, 0])
    rule = bandits.PriorityPolicy([1, 3, 2], 0.2)  # who slips, then who stopped
    price = bandits.whittle_index(arm, discount=1)[STOPPED]
    b = bandits.advantage(arm, np.array([False, True, False]), price, 1)
    cost = bandits.Arm(LEFT_ALONE, CALLED, [0, b[1], 0], [-b[0], 0, 0])
    days = bandits.trajectory(rule, arm, N, 1000, [0.6, 0.2, 0.2], seed=N)[100:]
    slip, stopped = np.rint(N * days[:, SLIPS]), np.rint(N * days[:, STOPPED])
    wrong = ((5 * slip > N) | (5 * (slip + stopped) < N)).sum()
    gap = bandits.simulate_average(rule, cost, N, 500, seed=19).mean
    return [str(N), str(wrong), in_words(gap)]


def in_words(gap):
    if not gap:
        return "is too small to be seen"
    digits, power = f"{gap:.1e}".split("e-0")
    if int(power) <= 4:
        return f"is about {gap:.2g}"
    return f"is about {digits} · 10⁻{'⁰¹²³⁴⁵⁶⁷⁸⁹'[int(power)]}"
