"""What the pictures of `book/when_the_index_fails.ipynb` say."""

import numpy as np

from alphafair.models import bandits

CIRCLING = (
    [
        [0.02232142, 0.10229283, 0.87538575],
        [0.03426605, 0.17175704, 0.79397691],
        [0.52324756, 0.45523298, 0.02151947],
    ],
    [
        [0.14874601, 0.30435809, 0.54689589],
        [0.56845754, 0.41117331, 0.02036915],
        [0.2526557, 0.27310439, 0.4742399],
    ],
    [0.37401552, 0.11740814, 0.07866135],
    0.4,
)
TWO_ENDS = (
    [[0.1, 0.1, 0.8], [0, 0.1, 0.9], [0.7, 0.3, 0]],
    [[0.2, 0.1, 0.7], [0.7, 0.3, 0], [0.1, 0.7, 0.2]],
    [1, 0.6, 0.2],
    0.35,
)
PARTS = [1, 0.98, 0.97, 0.95, 0.94, 0.93, 0.9, 0.8, 0.6, 0.4, 0.2]
AWAY = [0.02, 0.1, 0.2, 0.4, 0.7, 1]
LOOKS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 40]
TICKS = 6000


def served(m, a):
    """States 0, 1, 2 in this order, until a part a is active."""
    return np.clip(a - np.cumsum(m) + m, 0, m)


def ends(arm, part, far):
    """Rest or swing, what is earned there and the bound, by following the orbit."""
    P0, P1, R1, a = (np.array(x) for x in arm)
    lp = bandits.stationary_relaxation(bandits.Arm(P0, P1, 0, R1), float(a))
    m = (1 - far) * lp.fixed_point + far * np.eye(3)[0]
    orbit = []
    for _ in range(TICKS):
        y = served(m, a)
        m = (1 - part) * m + part * (y @ P1 + (m - y) @ P0)
        orbit.append(m)
    last = np.array(orbit[-2:])
    low, high = np.sort(last[:, 0])
    rests = high - low < 1e-6
    earned = np.mean([served(x / x.sum(), a) @ R1 for x in last])
    word = "rest" if rests else f"swing from {low:.2f} to {high:.2f}"
    return [word, f"{earned:.4f}", f"{lp.value:.4f}"]


def said(first, second):
    """The part of the clocks; for both arms, how they end, what they earn, and the bound."""
    part, far = PARTS[first], AWAY[second]
    return [f"{100 * part:g} %", *ends(CIRCLING, part, far), *ends(TWO_ENDS, part, far)]


def said_2(stop):
    """τ, the gap of a rolling horizon with either ending, and the gap of the index."""
    P0, P1, R1, a = CIRCLING
    rows = [np.array(P) / np.sum(P, axis=1, keepdims=True) for P in (P0, P1)]
    arm = bandits.Arm(*rows, 0, R1)
    bound = bandits.stationary_relaxation(arm, a).value
    words = [str(LOOKS[stop])]
    for ending in ("nothing", "values"):
        ahead = bandits.RollingHorizonPolicy(arm, a, LOOKS[stop], ending=ending)
        found = bandits.simulate_average(ahead, arm, 1000, 400, seed=2)
        low, high = found.interval
        words.append(f"{1e4 * (bound - found.mean):.1f} ± {1e4 * (high - low) / 2:.1f}")
    index = bandits.PriorityPolicy([3, 2, 1], a)
    other = bandits.simulate_average(index, arm, 1000, 200, runs=10, seed=1000)
    return [*words, f"{1e4 * (bound - other.mean):.1f}"]
