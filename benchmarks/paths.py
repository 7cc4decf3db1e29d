"""All budgets: the path of many budgets against one allocation, in one run.

Claim: 500 budgets of 10⁶ people × 5 treatments take no more than three times one `allocate`.  The
package maq (Sverdrup, Wu, Athey and Wager), which follows the path at α = 0 in one group, reports
1.5 s for one path of that size (its experiments/swaw/timing.R).
"""

from __future__ import annotations

import numpy as np
from _timing import machine, seconds

import alphafair as af

PERSONS, TREATMENTS = 10**6, 5


def main() -> None:
    print(machine(["numba"]))
    print("exclusive   K      α   allocate [ms]   500 budgets [ms]   ratio")
    for exclusive in (False, True):
        for groups in (1, 100):
            rng = np.random.default_rng(groups)
            benefit, cap = rng.random((PERSONS, TREATMENTS)), 0.5 + rng.random((PERSONS, 1))
            cost = 0.5 + rng.random((1, TREATMENTS))
            group = af.Groups(rng.integers(0, groups, PERSONS))
            budgets = np.linspace(0, PERSONS, 500)

            def problem() -> af.Problem:
                kind = {"cap": cap, "exclusive": exclusive}  # noqa: B023
                return af.Problem(benefit, cost, group, PERSONS / 5, **kind)  # noqa: B023

            for alpha in (0, 1, np.inf):
                one = seconds(lambda: problem().allocate(alpha).price, 3)  # noqa: B023
                all_ = seconds(lambda: af.budget_path(problem(), alpha, budgets), 3)  # noqa: B023
                times = f"{1e3 * one:14.0f} {1e3 * all_:18.0f} {all_ / one:9.2f}"
                print(f"{exclusive!s:9} {groups:4} {alpha:6} {times}", flush=True)


if __name__ == "__main__":
    main()
