"""What *The Jacobian* says of four districts when the benefits of the east change."""

import numpy as np

import alphafair as af

PRODUCTIVITY = np.array([8.0, 4.0, 2.0, 1.0])
FACTORS = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.35, 1.5, 1.65, 1.8, 2]
ALPHAS = [0.5, 1, 2, 4, np.inf]


def plan(factor, alpha):
    return af.allocate(PRODUCTIVITY * [factor, 1, 1, 1], 1.0, range(4), 300.0, alpha)


def said(factor, alpha):
    """The words of the sentence at these stops."""
    f, alpha = FACTORS[factor], ALPHAS[alpha]
    new, today = plan(f, alpha), plan(1, alpha)
    hours = 100 * (new.group_utility / today.group_utility - 1)
    east, north = hours[:2].round(9) + 0.0
    gain = round(new.group_budget[0] - today.group_budget[0], 9) + 0.0
    return [
        "∞" if alpha == np.inf else f"{alpha:g}",
        f"{f:g} times today's",
        f"{new.group_budget[0]:.2f}",
        f"{gain:+.2f}",
        f"{east:+.1f}",
        f"{north:+.1f}",
    ]
