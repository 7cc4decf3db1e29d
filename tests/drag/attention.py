"""What the pictures of `book/attention.ipynb` say."""

from itertools import product

import numpy as np

from alphafair.models.attention import attention_problem, attention_value
from alphafair.models.bandits import Arm

ALPHAS = [0, 0.5, 1, 1.5, 2, 3, 5, 10, np.inf]
VISITS = range(2, 31, 2)
SIZES = {"east": 20, "north": 20, "south": 30, "west": 20}
CHANCES = {"east": (0.1, 0.8), "north": (0.1, 0.5), "south": (0.2, 0.6), "west": (0.2, 0.2)}
STATES = ["well", "slipping", "ill"]


def patient(slip, better):
    """Well, slipping or ill; a visit takes an hour."""
    alone = [[1 - slip, slip, 0], [0.1, 0.6, 0.3], [0, 0.05, 0.95]]
    visited = [
        [1 - slip / 2, slip / 2, 0],
        [better, 0.95 - better, 0.05],
        [0, better, 1 - better],
    ]
    return Arm(alone, visited, [10, 6, 2], [9, 5, 1])


ARMS = {name: patient(*both) for name, both in CHANCES.items()}


def said(first, second):
    """α, visits a day, those of the west; the least hours and the mean."""
    alpha = ALPHAS[first]
    plan = attention_problem(ARMS, SIZES, VISITS[second], weight="size").allocate(alpha)
    u = plan.group_utility
    return [
        "∞" if alpha == np.inf else f"{alpha:g}",
        str(VISITS[second]),
        f"{plan.group_budget[3]:.1f}",
        f"{u.min():.2f}",
        f"{(20 * u[0] + 20 * u[1] + 30 * u[2] + 20 * u[3]) / 90:.2f}",
    ]


def rule_of(corner):
    """The states in which there is a visit, at a corner of the curve of the west."""
    arm = ARMS["west"]
    for rule in product([0, 1], repeat=3):
        chosen = np.array(rule, bool)
        P = np.where(chosen[:, None], arm.P1, arm.P0)
        m = np.linalg.matrix_power(P, 10_000)[0]
        if abs(m @ chosen - corner) < 1e-9:
            return " + ".join(np.array(STATES)[chosen]) or "never"
    raise ValueError(f"no rule visits on {corner} of the days")


def said_2(first):
    """Question, price, the rule that answers, its visits and hours, what was found.

    The curve has the corners 0, 1, 2, 3; the ends, the first chord, and what it leads to.
    """
    curve = attention_value(ARMS["west"])
    a, v = curve.fraction, curve.value
    end, new, piece = "end.", "This corner is new.", "Nothing is above: a piece."
    steps = [
        (None, 0, f"This is one {end}"),
        (0.0, 3, f"This is the other {end}"),
        *chords(a, v, new, piece),
    ]
    price, corner, verdict = steps[first]
    return [
        str(first + 1),
        "impossible" if price is None else f"{price:.2f} hours",
        rule_of(a[corner]),
        f"{a[corner]:.3f}",
        f"{v[corner]:.2f}",
        verdict,
    ]


def chords(a, v, new, piece):
    """From chord to chord, each corner found by the largest value above the chord."""

    def asked(left, right):
        slope = (v[right] - v[left]) / (a[right] - a[left])
        if right == left + 1:
            return [(slope, left, piece)]
        found = int(np.argmax(v - slope * a))
        return [(slope, found, new), *asked(left, found), *asked(found, right)]

    return asked(0, 3)
