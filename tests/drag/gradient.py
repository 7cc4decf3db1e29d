"""What *The gradient* says of Ana: a plan made for 4 hours a dollar, kept or made anew."""

import numpy as np

import alphafair as af

BENEFITS = np.arange(1, 9.25, 0.25)
ALPHAS = [1, 2, 4, np.inf]


def level(benefit, money, alpha):
    return af.equivalent_utility(np.array([benefit, 1.0]) * money, alpha)


def plan(benefit, alpha):
    return af.allocate([benefit, 1.0], 1.0, ["Ana", "Ben"], 180.0, alpha).group_budget


def said(benefit, alpha):
    """The words of the sentence at these stops."""
    b, alpha = BENEFITS[benefit], ALPHAS[alpha]
    old = plan(4.0, alpha)
    today = level(4.0, old, alpha)
    new, kept = level(b, plan(b, alpha), alpha), level(b, old, alpha)
    return [
        "∞" if alpha == np.inf else f"{alpha:g}",
        "1 hour a dollar" if b == 1 else f"{b:g} hours a dollar",
        f"{100 * new / today:.1f}",
        f"{100 * kept / today:.1f}",
        f"{180 * (1 - kept / new):.2f}",
    ]
