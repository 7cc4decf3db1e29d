"""What the picture of `family` says: a leak in percent, the α and the plan that go with it."""

import numpy as np

import alphafair as af

LEAKS = [*range(0, 100, 5), 97, 99, 100]
PLANS = {"A": [9, 1], "B": [6, 3], "C": [4, 4]}


def said(stop):
    arrives = 100 - LEAKS[stop]
    alpha = np.log(100 / arrives) / np.log(2) if arrives else np.inf
    level = {name: af.equivalent_utility(days, alpha) for name, days in PLANS.items()}
    best = max(level.values())
    picked = [name for name in PLANS if np.isclose(level[name], best, rtol=1e-9)]
    return [
        f"{arrives} % or more" if arrives else "anything at all",
        f"{round(alpha, 2):g}" if arrives else "∞",
        " or ".join(picked),
        f"{best:.2f}",
    ]


EQUAL = [5.0, *(round(5 - 0.2 * step, 1) for step in range(1, 21))]


def said_2(stop):
    """Plan A against the same days for both: bisection for the α at which they are as good."""
    low, high = 0.0, 64.0
    for _ in range(60):
        middle = (low + high) / 2
        if af.equivalent_utility(PLANS["A"], middle) > EQUAL[stop]:
            low = middle
        else:
            high = middle
    return [f"{EQUAL[stop]:.1f}", "∞" if EQUAL[stop] == 1 else f"{round(low, 2):g}"]
