"""What the picture of *What does "optimal" mean?* must say: which splits pass for optimal."""

import numpy as np

import alphafair as af

ALPHAS, BUDGETS = (0.5, 1, 2, 3, 4, 5, 6), (1.8, 18, 180, 1800)


def said(i, j):
    """Of the splits in whole percent, those that lose at most 1e-8, and the most they waste."""
    alpha, budget = ALPHAS[i], BUDGETS[j]
    best = af.allocate([4, 1], 1, ["Ana", "Ben"], budget, alpha)
    passed = []
    for percent in range(1, 100):
        money = np.array([percent, 100 - percent]) * budget / 100
        hours = np.array([4, 1]) * money
        if best.welfare - af.welfare(hours, alpha) <= 1e-8:
            level = af.equivalent_utility(hours, alpha)
            passed.append((percent, 100 * (1 - level / best.equivalent_utility)))
    if len(passed) < 2:
        return ["Only splits next to the best one pass for optimal."]
    few, many = passed[0][0], passed[-1][0]
    worst = max(waste for _, waste in passed)
    return [
        f"Every split that gives Ana between {few} and {many} percent passes for optimal, and the "
        f"worst of them wastes {worst:.0f} percent of the budget."
    ]
