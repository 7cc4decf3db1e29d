"""What the picture of *What does "optimal" mean?* must say: which splits pass for optimal."""

import numpy as np

import alphafair as af

ALPHAS, BUDGETS = (0.5, 1, 2, 3, 4, 5, 6), (1, 4, 20, 60, 180, 600, 2000)


def passing(solver, tolerance, alpha, budget):
    """Of the splits in whole percent, those that lose no more, and the most they waste."""
    best = af.allocate([4, 1], 1, ["Ana", "Ben"], budget, alpha)
    passed = []
    for percent in range(1, 100):
        money = np.array([percent, 100 - percent]) * budget / 100
        hours = np.array([4, 1]) * money
        if best.welfare - af.welfare(hours, alpha) <= tolerance:
            level = af.equivalent_utility(hours, alpha)
            passed.append((percent, 100 * (1 - level / best.equivalent_utility)))
    if len(passed) < 3:
        return f"{solver}: only splits next to the best one pass."
    few, many = passed[0][0], passed[-1][0]
    worst = max(waste for _, waste in passed)
    return (
        f"{solver}: whatever gives Ana between {few} and {many} percent passes, and the worst of "
        f"it wastes {worst:.0f} percent."
    )


def said(i, j):
    """A sentence for each solver, at its tolerance."""
    solvers = ("Clarabel", 1e-8), ("SCS", 1e-5)
    return [passing(*solver, ALPHAS[i], BUDGETS[j]) for solver in solvers]
