"""What the picture of *All budgets* says."""

import numpy as np

import alphafair as af

GROUP = ["east"] * 2 + ["north"] * 2 + ["south"] * 3 + ["west"] * 2
PILL = [16, 10, 6, 7, 6, 3, 2, 1, 0]
VISIT = [40, 75, 40, 20, 25, 20, 25, 10, 5]


def said(stop, aversion):
    """Budgets from 10 to 450 dollars; each plan on its own."""
    budget, alpha = 10 + 10 * stop, (0.5, 1, 2)[aversion]
    hours = np.array([PILL, VISIT], dtype=float).T
    plan = af.allocate(hours, [[1.0, 5.0]], GROUP, budget, alpha, cap=[[30.0, 4.0]])
    worth = plan.price * plan.equivalent_utility**alpha / 4
    served = (plan.dose > 0).any(axis=1).sum()
    return [
        str(budget),
        str(served),
        f"{round(worth, 9):.2f}",
        *(f"{dollars:.1f}" for dollars in plan.group_budget.round(9)),  # 91.25 is 91.2
    ]
