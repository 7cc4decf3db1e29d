"""Learning rested bandits: regret of six learners, and the time for a plan against the arms.

    python benchmarks/learning.py [--episodes 1000] [--runs 20] [--discount 0.99]

Claims: on three random walks of four states posterior sampling, arm by arm, has a cumulative regret
whose 95 % interval lies below those of all others; and its plans take time linear in the number n
of arms, where those of MBUCRL2 and of the learners of the product (PSRL, UCBVI, UCRL2) grow like
4^n or faster.  Time is processor time of the plans, a median over runs; two threads of a busy
machine that wait for each other inflate it, so set OPENBLAS_NUM_THREADS=1.  Regret is computed, not
simulated, and its interval over runs is Student's.  The regret of posterior sampling has a heavy
tail at a discount of .99: in rare runs a good arm looks bad early and is not tried again for long.
So the median and the worst of the runs stand beside the interval.
"""

import argparse

import numpy as np
from _timing import machine

from alphafair.models.bandits.learning import (
    MBPSRL,
    MBUCBVI,
    MBUCRL2,
    PSRL,
    UCBVI,
    UCRL2,
    random_walk,
    run,
)

LEARNERS = (MBPSRL, MBUCBVI, MBUCRL2, PSRL, UCBVI, UCRL2)
DRIFTS = ((0.1, 0.2), (0.2, 0.2), (0.2, 0.1))  # to the left and to the right, of three walks
# Arms, and episodes to take the time of: 2 plans that last a second tell as much as 50 short ones.
SIZES = ((1, 50), (2, 50), (3, 50), (4, 10), (5, 2), (6, 2), (16, 50), (64, 50), (256, 50))


def walks(n: int) -> list:
    """Walks on four states: something where they start, most at the far end."""
    return [random_walk([0.2, 0, 0, 0.9], *DRIFTS[a % 3]) for a in range(n)]


def regrets(episodes: int, runs: int, discount: float) -> None:
    """The first table."""
    print(f"3 walks of 4 states, β = {discount:g}, {runs} runs: cumulative regret, 95 % interval")
    for learner in LEARNERS:
        result = run(learner(discount), walks(3), episodes, runs=runs)
        table = np.array(result.interval())
        columns = "".join(
            f"   K = {k + 1:5d}: {table[0, k]:8.0f} [{table[1, k]:6.0f}, {table[2, k]:6.0f}]"
            for k in (episodes // 10 - 1, episodes - 1)
        )
        last, time = result.cumulative[:, -1], 1e3 * np.median(result.seconds) / episodes
        spread = f"   median {np.median(last):8.0f}, worst {last.max():8.0f}"
        print(f"{learner.__name__:8s}{columns}{spread}   {time:7.3f} ms a plan", flush=True)


def times(discount: float) -> None:
    """The second table, in ms; a dash where the learner refuses."""
    print("\nms a plan" + "".join(f"{f'n = {n}':>10s}" for n, _ in SIZES))
    for learner in LEARNERS:
        row = []
        for n, episodes in SIZES:
            if 4**n > learner.largest:
                row.append(f"{'–':>10s}")
                continue
            result = run(learner(discount), walks(n), episodes, runs=3, exact=False)
            row.append(f"{1e3 * np.median(result.seconds) / episodes:10.3f}")
        print(f"{learner.__name__:9s}" + "".join(row), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--discount", type=float, default=0.99)
    given = parser.parse_args()
    print(machine(("numba",)))
    regrets(given.episodes, given.runs, given.discount)
    times(given.discount)


if __name__ == "__main__":
    main()
