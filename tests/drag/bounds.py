"""What the pictures of *What a person can take* say."""

import numpy as np

import alphafair as af

GROUP = ["east"] * 2 + ["north"] * 2 + ["south"] * 3 + ["west"] * 2
PILL = [16, 10, 6, 7, 6, 3, 2, 1, 0]
VISIT = [40, 75, 40, 20, 25, 20, 25, 10, 5]
HOURS = np.array([PILL, VISIT], dtype=float).T


def said(visits, within):
    """One limit moves: visits from 0 to 16, ε is 0 or 1."""
    limit = [[30.0, 4.0]] * 7 + [[30.0, float(visits)], [30.0, 4.0]]
    plan = af.allocate(HOURS, [[1.0, 5.0]], GROUP, 300.0, 1, cap=limit, within=within)
    east, north, south, west = plan.group_budget
    worth = plan.gradient().cap[7, 1] / plan.price
    return [
        str(visits),
        f"{west:.1f}",
        *(f"{u:.1f}" for u in plan.person_utility[7:]),
        f"{plan.group_utility[3]:.1f}",
        *(f"{x:.1f}" for x in (east, north, south)),
        f"{worth:.2f}",
    ]


def said_2(stop, within):
    """The south alone, with 5 to 120 dollars."""
    dollars = 5 + 5 * stop
    kind = {"cap": [[30.0, 4.0]], "within": (0.5, 1, np.inf)[within]}
    plan = af.allocate(HOURS[4:7], [[1.0, 5.0]], GROUP[4:7], dollars, 1, **kind)
    money = (plan.dose * [1.0, 5.0]).sum(axis=1)
    return [str(dollars), *(f"{x:.1f}" for x in (*money, *plan.person_utility))]
