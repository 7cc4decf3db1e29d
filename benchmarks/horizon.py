"""The finite-horizon program: time against CVXPY, in one run; and a run of LP-update.

    python benchmarks/horizon.py [--sizes 10x20 20x50 50x100] [--repeats 3]

Claims: S = 50 states over T = 100 steps, 10⁴ variables and half a million coefficients, take less
than a tenth of a second where sweeps agree (dense random arms), against seconds for the same
program through CVXPY, with HiGHS or Clarabel; where the plan splits several states at once (three
transitions from each state) HiGHS is called, and the time is nearly all its own: less than through
CVXPY.  Clarabel takes half of it for 20 states over 50 steps, twice as long for 50 over 100; it
returns a point inside the set of optimal plans, and the policies here need a corner.  A single plan
of 50 states takes less than 50 ms, be it for 20 steps or for 100.  N = 1000 arms that solve a new
program at each of T = 50 steps are through in less than a minute.

Every ratio is a median over repeats in which the sides alternate, so that a busy machine disturbs
all; times are those of building and solving.  In brackets: how much larger the value is,
relatively.
"""

import argparse
from functools import partial
from itertools import product

import cvxpy as cp
import numpy as np
from _timing import machine, timed
from scipy import sparse

from alphafair.models.bandits import Arm, LPUpdatePolicy, finite_horizon_relaxation

FRACTION = 0.4


def random_arm(states: int, reached: int | None = None) -> Arm:
    """Rows uniform on the simplex over all states, or over so many; activation pays."""
    rng = np.random.default_rng(states)
    rows = rng.exponential(size=(2, states, states))
    if reached is not None:
        rank = rng.random(rows.shape).argsort(axis=2).argsort(axis=2)
        rows *= rank < reached
    P0, P1 = rows / rows.sum(axis=2, keepdims=True)
    if reached is not None:
        P0, P1 = sparse.csr_array(P0), sparse.csr_array(P1)
    return Arm(P0, P1, 0, rng.random(states))


def by_cvxpy(arm: Arm, initial: np.ndarray, horizon: int, solver: str) -> float:
    """The same program, all steps at once."""
    P0, P1 = arm.P0, arm.P1
    passive, active = (cp.Variable((horizon, arm.n_states), nonneg=True) for _ in range(2))
    rules = [
        passive[0] + active[0] == initial,
        passive[1:] + active[1:] == passive[:-1] @ P0 + active[:-1] @ P1,
        cp.sum(active, axis=1) == FRACTION,
    ]
    problem = cp.Problem(cp.Maximize(cp.sum(passive @ arm.R0 + active @ arm.R1)), rules)
    return float(problem.solve(solver=solver))


def update_run(states: int, arms: int, horizon: int) -> tuple[float, float]:
    """Reward per arm of one simulated run of LP-update, and the bound."""
    arm, rng = random_arm(states), np.random.default_rng(0)
    P0, P1 = arm.dense()
    counts = rng.multinomial(arms, np.full(states, 1 / states))
    plan = finite_horizon_relaxation(arm, counts / arms, FRACTION, horizon)
    policy, total = LPUpdatePolicy(plan), 0.0
    for t in range(horizon):
        y = policy.decide(counts, t)
        total += y @ arm.R1 + (counts - y) @ arm.R0
        moved = [rng.multinomial(n, P).sum(axis=0) for n, P in ((y, P1), (counts - y, P0))]
        counts = moved[0] + moved[1]
    return total / arms, plan.value


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["10x20", "20x50", "50x100"])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    finite_horizon_relaxation(random_arm(3), np.eye(3)[0], FRACTION, 2)  # warm-up
    print(machine(("scipy", "cvxpy", "clarabel")))
    for size, reached in product(options.sizes, (None, 3)):
        S, T = map(int, size.split("x"))
        arm, initial = random_arm(S, reached), np.full(S, 1 / S)
        calls = (
            lambda arm=arm, m=initial, T=T: finite_horizon_relaxation(arm, m, FRACTION, T).value,
            lambda arm=arm, m=initial, T=T: by_cvxpy(arm, m, T, "HIGHS"),
            lambda arm=arm, m=initial, T=T: by_cvxpy(arm, m, T, "CLARABEL"),
        )
        rounds = np.array([[timed(call) for call in calls] for _ in range(options.repeats)])
        own = np.median(rounds[:, 0, 0])
        kind = "dense " if reached is None else "sparse"
        print(f"S = {S:3d}, T = {T:4d}, {kind} {1e3 * own:8.1f} ms", end="")
        for side, name in enumerate(("CVXPY + HiGHS", "CVXPY + Clarabel"), 1):
            ratio = np.median(rounds[:, side, 0] / rounds[:, 0, 0])
            difference = rounds[0, side, 1] / rounds[0, 0, 1] - 1
            print(f"   {name} × {ratio:6.1f} ({difference:+.0e})", end="")
        print()
    arm, initial = random_arm(50), np.full(50, 1 / 50)
    for T in (20, 100):  # a new plan at each step is of use only if it is there in time
        call = partial(finite_horizon_relaxation, arm, initial, FRACTION, T)
        plan = [timed(call)[0] for _ in range(20)]
        fastest, middle = 1e3 * min(plan), 1e3 * float(np.median(plan))
        print(f"one plan, S = 50, T = {T}: median {middle:.1f} ms, fastest {fastest:.1f} ms")
    for states in (3, 10):
        spent, (reward, value) = timed(lambda states=states: update_run(states, 1000, 50))
        print(f"LP-update, S = {states}, N = 1000, T = 50: {spent:.1f} s", end="")
        print(f", reward {reward / value:.4f} of the bound")


if __name__ == "__main__":
    main()
