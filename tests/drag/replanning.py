"""What the pictures of *A plan, and then another* say."""

from functools import cache

import numpy as np

from alphafair.models.bandits import (
    LPFillingPolicy,
    LPUpdatePolicy,
    applicant_screening,
    examples,
    finite_horizon_relaxation,
    simulate_finite,
)

LUCKY = [45, 50, 55, 60, 62, 63, 65, 70, 75, 80]
EVERY = [1, 2, 5, 10, 20, 40]


def said(stop):
    """The first round is over: some did well, and the plan is made anew, or filled."""
    arm, start, part, T, record = applicant_screening(5, 1 / 4, 1 / 10)
    seen = np.array([375, LUCKY[stop], 125 - LUCKY[stop]])
    places = [record.tolist().index(row) for row in ([1, 1, 1], [1, 2, 1], [1, 1, 2])]
    n = np.zeros(arm.n_states, dtype=int)
    n[places] = seen
    again = finite_horizon_relaxation(arm, n / 500, part[1:], T - 1)
    first = 500 * again.occupation[0, places, 1]
    z = LPFillingPolicy(finite_horizon_relaxation(arm, start, part, T)).target(n, 1)
    P0, P1 = arm.dense()
    old = finite_horizon_relaxation(arm, ((n - z) @ P0 + z @ P1) / 500, part[2:], T - 2)
    return [
        str(LUCKY[stop]),
        f"{first[1]:.0f}",
        f"{first[0]:.0f}",
        f"{500 * again.value:.2f}",
        f"{500 * old.value:.2f}",
    ]


@cache
def said_2(stop):
    """500 cycle arms, 40 steps, twenty runs."""
    arm, start = examples.cycle_example(2), [0.2, 0.4, 0.4]
    plan = finite_horizon_relaxation(arm, start, 0.4, 40)
    rule = LPUpdatePolicy(plan, every=EVERY[stop])
    mean = simulate_finite(rule, arm, start, 40, 500, runs=20).mean
    return [str(EVERY[stop]), f"{100 * (1 - mean / plan.value):.1f}"]
