"""What *Which number is worth measuring?* says of five numbers of the clinic."""

import numpy as np

import alphafair as af

GROUP = ["east"] * 2 + ["north"] * 2 + ["south"] * 3 + ["west"] * 2
PILL = [16, 10, 6, 7, 6, 3, 2, 1, 0]
VISIT = [40, 75, 40, 20, 25, 20, 25, 10, 5]
COST = np.array([1.0, 5.0])
MEMBERS = [slice(0, 2), slice(2, 4), slice(4, 7), slice(7, 9)]
ESTIMATES = [60, 65, 70, 75, 78, 82, 85, 90, 95, 100]
ALPHAS = [1, 2, 4]
ITEMS = {
    "visit to patient 7": (7, 1),
    "visit to patient 2": (2, 1),
    "pill for patient 4": (4, 0),
    "visit to patient 1": (1, 1),
    "pill for patient 0": (0, 0),
}
ERROR = [0.05, 0.10]


def worth(benefit, plan, item, alpha):
    """81 truths of mean 1 for one number, weighted by the normal curve."""
    error, gain, total = ERROR[item[1]], 0.0, 0.0
    for z in np.arange(-40, 41) / 10:
        true = benefit.copy()
        true[item] *= np.exp(error * z - error**2 / 2)
        best = af.allocate(true, COST[None], GROUP, 300.0, alpha).group_utility
        kept = [(true * plan.dose)[k].sum(axis=1).mean() for k in MEMBERS]
        levels = [af.equivalent_utility(u, alpha) for u in (best, kept)]
        gain += np.exp(-(z**2) / 2) * (levels[0] - levels[1])
        total += np.exp(-(z**2) / 2)
    return 300 * gain / total / af.equivalent_utility(plan.group_utility, alpha)


def said(estimate, alpha):
    """The words of the sentence at these stops."""
    estimate, alpha = ESTIMATES[estimate], ALPHAS[alpha]
    benefit = np.array([PILL, VISIT], dtype=float).T
    benefit[1, 1] = estimate
    plan = af.allocate(benefit, COST[None], GROUP, 300.0, alpha)
    bars = {n: COST[t] * plan.dose[i, t] * ERROR[t] for n, (i, t) in ITEMS.items()}
    learned = {name: worth(benefit, plan, item, alpha) for name, item in ITEMS.items()}
    longest = max(bars, key=lambda name: round(bars[name], 9))
    best = max(learned, key=learned.get)
    return [
        f"{alpha:g}",
        str(estimate),
        longest,
        f"{bars[longest]:.2f}",
        best,
        f"{learned[best]:.2f}",
    ]
