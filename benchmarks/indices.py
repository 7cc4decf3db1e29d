"""Whittle and Gittins indices: time against markovianbandit-pkg and against a matrix product.

    python benchmarks/indices.py [--states 500 1000 2000 4000] [--repeats 3] [--threads 1]

Claims: at 2000 states the Whittle index with its test of indexability takes at most a quarter of
the time of markovianbandit-pkg 0.4 (Gast, Khun), the Gittins index at most an eighth.  The floor of
a restless arm is (10/3) S³ operations at the speed of a product of two S × S matrices in the same
run (5/3 products; a third of one for the Gittins index); "of floor" says which part of our time it
is.  The test of indexability needs S³/3 operations more, which the floor does not count: with it,
the time is some 1.6 floors at 1000 states, 1.4 at 2000 and 1.3 at 4000.  Of the 1.6 LAPACK and BLAS
take 1.3 (for 1.1 of operations), single rows and columns in a block of pivots .15, and the rest is
memory that is touched for the first time: the arm's own copies, the two matrices of the equations.
Average reward takes as long as a discount.  All sides use the same number of BLAS threads;
compilation happens before the clock starts. Arms of fewer than 500 states are not compiled at all:
100 take 3 ms, and loading numba half a second. The last column is the largest difference between
the two packages' indices.
"""

import argparse
from collections.abc import Callable

import markovianbandit as peer
import numpy as np
from _timing import machine, timed
from threadpoolctl import threadpool_limits

from alphafair.models.bandits import Arm, gittins_index, whittle_index
from alphafair.models.bandits.indices.panel import LARGE

DISCOUNT = 0.99
RESTLESS = 5 / 3  # its floor in matrix products
FLOOR = {"Gittins": 1 / 3} | dict.fromkeys(("Whittle, test", "Whittle", "average, test"), RESTLESS)


def calls(size: int) -> dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]]:
    """Name → (ours, theirs) for a random dense arm; both start from the matrices."""
    rng = np.random.default_rng(size)
    rows = rng.exponential(size=(2, size, size))
    (P0, P1), (R0, R1) = rows / rows.sum(axis=-1, keepdims=True), rng.random((2, size))

    def theirs(test: bool, discount: float = DISCOUNT) -> np.ndarray:
        arm = peer.restless_bandit_from_P0P1_R0R1(P0, P1, R0, R1)
        return arm.whittle_indices(check_indexability=test, discount=discount)

    def ours(test: bool, discount: float = DISCOUNT) -> np.ndarray:
        return whittle_index(Arm(P0, P1, R0, R1), discount=discount, check_indexability=test)

    return {
        "Whittle, test": (lambda: ours(True), lambda: theirs(True)),
        "Whittle": (lambda: ours(False), lambda: theirs(False)),
        "average, test": (lambda: ours(True, 1), lambda: theirs(True, 1)),
        "Gittins": (
            lambda: gittins_index(P1, R1, discount=DISCOUNT),
            lambda: peer.rested_bandit_from_P1_R1(P1, R1).gittins_indices(DISCOUNT),
        ),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with threadpool_limits(arguments.threads):
        for own, other in calls(LARGE).values():  # compile
            own(), other()
        print(machine(("numba", "markovianbandit-pkg")))
        print(f"{arguments.threads} BLAS thread(s), discount {DISCOUNT}")
        for size in arguments.states:
            factors = np.random.default_rng(0).random((2, size, size))
            for name, (own, other) in calls(size).items():
                alternating = (own, other, lambda f=factors: f[0] @ f[1])
                rounds = [[timed(c)[0] for c in alternating] for _ in range(arguments.repeats)]
                mine, his, product = np.median(rounds, axis=0)
                ratio = np.median([r[1] / r[0] for r in rounds])
                print(
                    f"S = {size:5d}  {name:14s} {mine:7.3f} s   markovianbandit-pkg {his:7.3f} s   "
                    f"ratio {ratio:5.1f}   of floor {FLOOR[name] * product / mine:4.0%}   "
                    f"difference {np.abs(own() - other()).max():.0e}"
                )


if __name__ == "__main__":
    main()
