"""What a policy earns, by simulation: for more arms than `evaluate` can list.

The n_s arms in state s need not be moved one by one: of those activated, y_s, and of the others, as
many go to each state as a multinomial draw says::

    next = Σ_s Multinomial(y_s, P1[s, ·]) + Multinomial(n_s − y_s, P0[s, ·])

So a step costs the same for ten arms and for a million.  R **runs** are drawn side by side.

**The error.**  The runs are independent, so the standard deviation of their R results over √R is
the standard error of the mean, whatever the correlation inside a run is: configurations that
follow each other are alike, and an error computed from the steps of one run would be too small.
What this error does not see is a start that is not yet forgotten after the warm-up: if doubling
``warm_up`` moves the mean by more than the error, it was too short.

A policy whose ``decide`` has an argument ``rng`` gets the generator of the simulation.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, Integers
from ..common import Simulation, watched, whole
from .arms import Arm, discount_factor
from .counts import classes, feasible, initial_counts, normalized, refuse_classes
from .policies import Policy

REMAINDER = 1e-8  # of the discounted reward: what comes after the last step, at most
Batch = list[tuple[Integers, Floats]]


def simulate_average(
    policy: Policy,
    arm: Arm,
    n_arms: int,
    steps: int,
    *,
    runs: int = 20,
    warm_up: int | None = None,
    initial: ArrayLike | None = None,
    seed: int = 0,
) -> Simulation[float]:
    """Long-run average reward per arm and step.

    Args:
        policy: decides with ``decide(counts, time)``, for (R, S) counts at once.
        arm: S states.
        n_arms: N ≥ 1.
        steps: counted in each run, ≥ 1.
        runs: R ≥ 1.
        warm_up: steps made before those and not counted; None is a quarter of ``steps``.
        initial: (S,) part of the arms in each state, N times it whole; None draws the state of each
            arm uniformly, so that runs start in different places, and an average that depends on
            the start shows in the error.
        seed: of `numpy.random.default_rng`.

    Returns:
        `Simulation`.  A progress bar appears after three seconds, if tqdm is installed.

    Raises:
        ValueError: numbers that are not whole, arms of several classes without ``initial``, a
            decision that is not feasible.

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=1 / 3)
        >>> result = simulate_average(repair, arm, n_arms=3, steps=1000)
        >>> low, high = result.interval
        >>> low < 5 / 9 < high
        True
    """
    n_arms, steps, runs = (
        whole("n_arms", n_arms, 1),
        whole("steps", steps, 1),
        whole("runs", runs, 1),
    )
    skipped = steps // 4 if warm_up is None else whole("warm_up", warm_up, 0)
    rng = np.random.default_rng(seed)
    start = _start(arm, initial, n_arms, runs, rng)
    total = np.zeros(runs)
    for time, (counts, active, _) in enumerate(walk(policy, arm, start, skipped + steps, rng)):
        if time >= skipped:
            total += earned(arm, counts, active)
    return Simulation.of(total / steps / n_arms)


def simulate_discounted(
    policy: Policy,
    arm: Arm,
    initial: ArrayLike,
    n_arms: int,
    discount: float,
    *,
    runs: int = 100,
    steps: int | None = None,
    seed: int = 0,
) -> Simulation[float]:
    """Discounted reward per arm, Σ_t β^t r(t) from t = 0 on.

    Args:
        policy: decides with ``decide(counts, time)``, for (R, S) counts at once.
        arm: S states.
        initial: (S,) part of the arms in each state, N times it whole.
        n_arms: N ≥ 1.
        discount: β in (0, 1).
        runs: R ≥ 1.
        steps: the sum stops after them; None is the first T with β^T ≤ 1e−8, so that what is left
            out is at most 1e−8 of the largest reward / (1 − β).
        seed: of `numpy.random.default_rng`.

    Returns:
        `Simulation`.

    Raises:
        ValueError: numbers that are not whole, a decision that is not feasible.

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=1 / 3)
        >>> result = simulate_discounted(repair, arm, [1, 0], n_arms=3, discount=0.5)
        >>> low, high = result.interval
        >>> low < 26 / 21 < high
        True
    """
    beta = discount_factor(discount, average=False)
    enough = int(np.ceil(np.log(REMAINDER) / np.log(beta)))
    steps = enough if steps is None else whole("steps", steps, 1)
    weight = np.asarray(beta ** np.arange(steps), float)
    return _sum(policy, arm, initial, weight, n_arms, runs, seed)


def simulate_finite(
    policy: Policy,
    arm: Arm,
    initial: ArrayLike,
    horizon: int,
    n_arms: int,
    *,
    runs: int = 100,
    seed: int = 0,
) -> Simulation[float]:
    """Total reward per arm in T steps.

    Args:
        policy: decides with ``decide(counts, time)``, for (R, S) counts at once, time 0 … T − 1.
        arm: S states.
        initial: (S,) part of the arms in each state, N times it whole.
        horizon: T ≥ 1.
        n_arms: N ≥ 1.
        runs: R ≥ 1.
        seed: of `numpy.random.default_rng`.

    Returns:
        `Simulation`.

    Raises:
        ValueError: numbers that are not whole, a decision that is not feasible.

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=1 / 3)
        >>> result = simulate_finite(repair, arm, [1, 0], horizon=2, n_arms=3)
        >>> low, high = result.interval
        >>> low < 1.25 < high
        True
    """
    weight = np.ones(whole("horizon", horizon, 1))
    return _sum(policy, arm, initial, weight, n_arms, runs, seed)


def trajectory(
    policy: Policy,
    arm: Arm,
    n_arms: int,
    steps: int,
    initial: ArrayLike,
    seed: int = 0,
) -> Floats:
    """One run: the part of the arms that is in each state, step by step.

    Args:
        policy: decides with ``decide(counts, time)``.
        arm: S states.
        n_arms: N ≥ 1.
        steps: ≥ 0.
        initial: (S,) part of the arms in each state, N times it whole.
        seed: of `numpy.random.default_rng`.

    Returns:
        (steps + 1, S), from the initial one on; rows sum to 1.

    Raises:
        ValueError: numbers that are not whole, a decision that is not feasible.

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0, 1], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=0.25)
        >>> trajectory(repair, arm, n_arms=4, steps=2, initial=[1, 0]).tolist()
        [[1.0, 0.0], [0.25, 0.75], [0.25, 0.75]]
    """
    n_arms, steps = whole("n_arms", n_arms, 1), whole("steps", steps, 0)
    rng = np.random.default_rng(seed)
    start = _start(arm, initial, n_arms, 1, rng)
    path = [start, *(after for _, _, after in walk(policy, arm, start, steps, rng))]
    return np.concatenate(path) / n_arms


def _sum(
    policy: Policy,
    arm: Arm,
    initial: ArrayLike,
    weight: Floats,
    n_arms: int,
    runs: int,
    seed: int,
) -> Simulation[float]:
    """Σ_t weight_t r(t)."""
    n_arms, runs = whole("n_arms", n_arms, 1), whole("runs", runs, 1)
    rng = np.random.default_rng(seed)
    start = _start(arm, initial, n_arms, runs, rng)
    total = np.zeros(runs)
    path = walk(policy, arm, start, weight.size, rng)
    for each, (counts, active, _) in zip(weight, path, strict=True):
        total += each * earned(arm, counts, active)
    return Simulation.of(total / n_arms)


def _start(
    arm: Arm, initial: ArrayLike | None, n_arms: int, runs: int, rng: np.random.Generator
) -> Integers:
    """(R, S) counts."""
    if initial is not None:
        counts = initial_counts(initial, arm.n_states, n_arms)
        return np.repeat(counts[None], runs, axis=0)
    refuse_classes(classes(arm))
    drawn = rng.multinomial(n_arms, np.full(arm.n_states, 1 / arm.n_states), size=runs)
    return drawn.astype(np.intp)


def walk(
    policy: Any, arm: Arm, counts: Integers, steps: int, rng: np.random.Generator
) -> Iterator[tuple[Integers, Integers, Integers]]:
    """At each step (R, S) counts, how many of them are activated, and the next counts."""
    passive, active = ([_support(row) for row in P] for P in normalized(arm))
    own = {"rng": rng} if "rng" in inspect.signature(policy.decide).parameters else {}
    for time in watched(range(steps), "steps"):
        decision = feasible(counts, policy.decide(counts, time, **own), time)
        after = _moved(active, decision, rng) + _moved(passive, counts - decision, rng)
        yield counts, decision, after
        counts = after


def _support(row: Floats) -> tuple[Integers, Floats]:
    """The states that can be next, and their probabilities."""
    states = np.flatnonzero(row)
    return states, row[states]


def _moved(laws: Batch, batch: Integers, rng: np.random.Generator) -> Integers:
    """(R, S) where a batch of arms goes."""
    after = np.zeros_like(batch)
    for (states, chance), arms in zip(laws, batch.T, strict=True):
        if states.size == 1:
            after[:, states[0]] += arms
        elif arms.any():
            after[:, states] += rng.multinomial(arms, chance)
    return after


def earned(arm: Arm, counts: Integers, active: Integers) -> Floats:
    """(R,) rewards of all arms in one step."""
    paid: Floats = active @ arm.R1 + (counts - active) @ arm.R0
    return paid
