"""What the picture of *One offer a person, whole doses* says."""

import numpy as np

import alphafair as af

GROUP = ["east"] * 2 + ["north"] * 2 + ["south"] * 3 + ["west"] * 2
PILL = [16, 10, 6, 7, 6, 3, 2, 1, 0]
VISIT = [40, 75, 40, 20, 25, 20, 25, 10, 5]


def said(stop, aversion):
    """Budgets from 10 to 230 dollars."""
    budget, alpha = 10 + 5 * stop, (1, np.inf)[aversion]
    hours = np.array([PILL, VISIT], dtype=float).T
    kind = {"cap": [[30.0, 4.0]], "exclusive": True}
    plan = af.allocate(hours, [[1.0, 5.0]], GROUP, budget, alpha, **kind)
    sure = lotteries = 0
    for pills, visits in plan.dose / [30.0, 4.0]:
        sure += max(pills, visits) > 0.9999
        lotteries += any(1e-9 < f < 0.9999 for f in (pills, visits))
    pills, visits = plan.dose[2] / [30.0, 4.0]
    offers = [f"pills {100 * pills:.0f} %"] if pills > 1e-9 else []
    offers += [f"visits {100 * visits:.0f} %"] if visits > 1e-9 else []
    return [str(budget), str(sure), str(lotteries), ", ".join(offers) or "nothing"]


def said_2(stop):
    """The row of three open steps: where does the whole number 1 lie?"""
    hours = np.array([PILL, VISIT], dtype=float).T
    kind = {"cap": [[30.0, 4.0]], "exclusive": True}
    part = af.allocate(hours, [[1.0, 5.0]], GROUP, 120.0, 1, **kind).dose / [30.0, 4.0]
    left = 0.025 + 0.05 * stop
    for name, chance, dollars in (
        ("north 4", part[3, 0], 30),
        ("east 2", part[1, 1], 20),
        ("south 7", part[6, 1], 20),
    ):
        if left < 1 <= left + chance:
            return [name, str(100 + dollars)]
        left += chance
    return ["nobody", "100"]
