"""Follow the virtual advice: a policy for the average reward that needs no attractor.

Solve the stationary program once.  Its occupation y is that of one arm that is active in state s
with probability π(s) = y(s, 1) / (y(s, 0) + y(s, 1)).  Now give every arm a **virtual** twin that
lives by π alone, whatever the budget says, so that the twins are independent and their fractions
come to the optimum from anywhere.  The real arms try to do what their twins do.  On average π
activates a N arms.  Where the twins want more, some arms are passive against their advice; where
they want fewer, some are active against it.  An arm that is in the state of its twin and gets its
action moves with it (the same draw moves both), so that most arms, once they have met their twin,
stay with it: about √N of N are parted at each step, and the average per arm comes to the bound as
1/√N, whether or not the mean map of any index has an attractor.

The arms must be able to meet their twins: a state that a pair reaches together with positive
probability wherever it starts, if both follow the advice for the virtual one.

Reference:
    Y. Hong, Q. Xie, Y. Chen, W. Wang, "Restless bandits with average reward: breaking the uniform
    global attractor assumption", NeurIPS 2023, arXiv:2306.00196.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, Integers
from ..common import Simulation, watched, whole
from .arms import Arm
from .counts import initial_counts, normalized
from .planning import StationaryRelaxation, stationary_relaxation
from .policies import activation, active_arms


def virtual_policy(relaxation: StationaryRelaxation) -> Floats:
    """(S,) π: the probability with which one arm, left to itself, is active in each state.

    In states that the optimum does not visit the twin does what an arm would at the penalty λ: it
    is active in those served before the state that is split.

    Example:
        >>> from alphafair.models.bandits.examples import cycle_example
        >>> virtual_policy(stationary_relaxation(cycle_example(2), 0.4)).round(4).tolist()
        [1.0, 0.2973, 0.0]
    """
    y = relaxation.occupation
    m = y.sum(axis=1)
    chance = np.divide(y[:, 1], m, out=np.zeros_like(m), where=m > 0)
    order = relaxation.order
    first_split = int(np.argmax(np.cumsum(m[order]) >= relaxation.fraction))
    ahead = np.zeros(m.size, bool)
    ahead[order[:first_split]] = True
    return np.where(m > 0, chance, ahead)


def simulate_virtual_advice(
    arm: Arm,
    fraction: float,
    n_arms: int,
    steps: int,
    *,
    runs: int = 10,
    warm_up: int | None = None,
    initial: ArrayLike | None = None,
    seed: int = 0,
) -> Simulation[float]:
    """Long-run average reward per arm and step of follow-the-virtual-advice.

    Every arm is moved by itself, as it has a twin: a step costs as much as N arms.

    Args:
        arm: in which the long run does not depend on the start.
        fraction: a in [0, 1]; a N must be a whole number.
        n_arms: N ≥ 1.
        steps: counted in each run, ≥ 1.
        runs: R ≥ 1.
        warm_up: steps before, not counted; None is a quarter of ``steps``.
        initial: (S,) part of the real arms in each state; None draws them uniformly.  The twins
            start in the optimum.
        seed: of `numpy.random.default_rng`.

    Returns:
        `Simulation`.

    Example:
        The Whittle index earns .1143 here, and .1238 is the bound:

        >>> from alphafair.models.bandits.examples import cycle_example
        >>> found = simulate_virtual_advice(cycle_example(2), 0.4, 1000, 200, runs=4)
        >>> 0.122 < found.mean < 0.124
        True
    """
    a, n, runs = activation(fraction), whole("n_arms", n_arms, 1), whole("runs", runs, 1)
    budget = int(active_arms(np.array([n]), a))
    steps = whole("steps", steps, 1)
    skipped = steps // 4 if warm_up is None else whole("warm_up", warm_up, 0)
    relaxation = stationary_relaxation(arm, a)
    advice = virtual_policy(relaxation)
    upto = np.cumsum(np.stack(normalized(arm)), axis=2)  # (2, S, S): passive, active
    paid = np.stack([arm.R0, arm.R1])
    rng = np.random.default_rng(seed)
    twin: Integers = rng.choice(arm.n_states, size=(runs, n), p=relaxation.occupation.sum(axis=1))
    if initial is None:
        real: Integers = rng.integers(arm.n_states, size=(runs, n))
    else:
        real = np.tile(
            np.repeat(np.arange(arm.n_states), initial_counts(initial, arm.n_states, n)), (runs, 1)
        )
    total = np.zeros(runs)
    for time in watched(range(skipped + steps), "steps"):
        told = (rng.random((runs, n)) < advice[twin]).astype(np.intp)
        done = _within(budget, told, real == twin, rng)
        if time >= skipped:
            total += paid[done, real].sum(axis=1)
        luck = rng.random((runs, n))
        together = (real == twin) & (told == done)
        own = np.where(together, luck, rng.random((runs, n)))
        twin, real = _next(upto, told, twin, luck), _next(upto, done, real, own)
    return Simulation.of(total / steps / n)


def _within(budget: int, told: Integers, met: Any, rng: np.random.Generator) -> Integers:
    """(R, N) actions, a N of them active: the advice, but for as few arms as need be.

    Where it is too much, arms that have met their twin are the last to be left out; where it is too
    little, the last to be drawn in.
    """
    rank = 2.0 * told + np.where(told == 1, met, ~met) + rng.random(told.shape)
    done = np.zeros_like(told)
    if budget:
        chosen = np.argpartition(-rank, budget - 1, axis=1)[:, :budget]
        np.put_along_axis(done, chosen, 1, axis=1)
    return done


def _next(upto: Floats, action: Integers, state: Integers, luck: Floats) -> Integers:
    """(R, N) where arms are, by one uniform number each."""
    after = np.zeros_like(state)
    for j in range(upto.shape[2] - 1):
        after += luck >= upto[action, state, j]
    return after
