"""What the pictures of *What people have already* say."""

import numpy as np

import alphafair as af

GROUP = ["east"] * 2 + ["north"] * 2 + ["south"] * 3 + ["west"] * 2
PILL = [16, 10, 6, 7, 6, 3, 2, 1, 0]
VISIT = [40, 75, 40, 20, 25, 20, 25, 10, 5]
ALREADY = [200, 120, 80, 40, 36, 24, 12, 10, 0]


def said(stop, aversion):
    """Ana has 120 hours, Ben none; 10 to 180 dollars."""
    dollars, alpha = 10 + 10 * stop, (1, 2, np.inf)[aversion]
    have = [120.0, 0.0]
    plan = af.allocate([4.0, 1.0], 1.0, ["Ana", "Ben"], dollars, alpha, baseline=have)
    numbers = [*plan.group_budget, *plan.group_utility]
    return [str(dollars), *(f"{number:.1f}" for number in numbers)]


def said_2(stop, aversion):
    """Water in the clinic: who receives, found by what a first dollar is worth."""
    dollars, alpha = {1: 19, 6: 73, 24: 248}.get(stop, 10 + 10 * stop), (1, 2, np.inf)[aversion]
    hours = np.array([PILL, VISIT], dtype=float).T
    kind = {"baseline": np.array(ALREADY, dtype=float)}
    plan = af.allocate(hours, [[1.0, 5.0]], GROUP, dollars, alpha, **kind)
    level = plan.group_utility[3]
    ground = {"west": (5, 1), "south": (24, 2), "north": (60, 4), "east": (160, 8)}
    called = {name: level * p ** (1 / alpha) for name, (_, p) in ground.items()}
    wet = ", ".join(name for name, (height, _) in ground.items() if height < called[name] + 1e-9)
    return [str(dollars), f"{level.round(9):.1f}", wet]
