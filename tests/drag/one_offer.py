"""What the picture of *One offer a person, whole doses* says."""

import numpy as np

import alphafair as af

GROUP = ["east"] * 2 + ["north"] * 2 + ["south"] * 3 + ["west"] * 2
PILL = [16, 10, 6, 7, 6, 3, 2, 1, 0]
VISIT = [40, 75, 40, 20, 25, 20, 25, 10, 5]


def said(stop, aversion):
    """Budgets from 10 to 230 dollars."""
    budget, alpha = 10 + 10 * stop, (1, np.inf)[aversion]
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
