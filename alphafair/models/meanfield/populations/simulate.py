"""Populations by simulation: exact events, many runs side by side, with intervals.

Each run draws the time to its next event and which event it is; all runs take their k-th event
together, so that one call of the rates serves them all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers
from ...common import Simulation, watched, whole
from .exact import Jumping
from .population import SynchronousPopulation, increasing

LONG = 10**9  # events that no run should need


def simulate(
    model: Jumping | SynchronousPopulation,
    initial: ArrayLike,
    times: ArrayLike,
    *,
    n: int = 1,
    runs: int = 100,
    seed: int = 0,
) -> Simulation[Floats]:
    """X at these times.

    Args:
        model: a population, a heterogeneous one or a cache, or one with a kernel in steps.
        initial: the state at time 0; n times it must be whole.
        times: (T,) increasing, ≥ 0.
        n: number of objects; 1 for heterogeneous models, which count theirs.
        runs: how many, ≥ 2.
        seed: of the random numbers.

    Returns:
        `Simulation` of means (T, d) or (T, objects, states).

    Example:
        >>> from alphafair.models.meanfield import sis
        >>> result = simulate(sis(2, 1), [0.5, 0.5], [1.0], n=20, runs=200)
        >>> bool(abs(result.mean[0, 1] - 0.5) < 0.02)
        True
    """
    grid, size, count = increasing(times), whole("n", n, 1), whole("runs", runs, 2)
    rng = np.random.default_rng(seed)
    if isinstance(model, SynchronousPopulation):
        return Simulation.of(_steps(model, initial, grid, size, count, rng))
    runs_of = np.repeat(model.configuration(initial, size)[None], count, axis=0)
    shape = model.observed(runs_of[:1], size).shape[1:]
    values, clock = np.empty((count, grid.size, *shape)), np.zeros(count)
    passed = np.zeros(count, np.intp)  # how many of the times
    alive = np.arange(count)
    for _ in watched(range(LONG), "events"):
        state = runs_of[alive]
        wait, event = _next(model.event_rates(state, size), rng)
        clock[alive] += wait
        seen = model.observed(state, size)
        reached = np.searchsorted(grid, clock[alive], side="left")
        for t in range(passed[alive].min(), reached.max()):
            which = (passed[alive] <= t) & (t < reached)
            values[alive[which], t] = seen[which]
        passed[alive] = reached
        going = reached < grid.size
        runs_of[alive[going]] = model.after(state[going], event[going])
        alive = alive[going]
        if alive.size == 0:
            break
    return Simulation.of(values)


def simulate_average(
    model: Jumping,
    initial: ArrayLike,
    horizon: float,
    *,
    warm_up: float,
    n: int = 1,
    runs: int = 30,
    seed: int = 0,
) -> Simulation[Floats]:
    """The average of X over time, from ``warm_up`` to ``horizon``: an estimate of the steady state.

    Args:
        horizon: where the average ends.
        warm_up: where it begins, so that the start is forgotten.
        model, initial, n, runs, seed: as in `simulate`.

    Returns:
        `Simulation` of means (d,) or (objects, states).
    """
    grid = increasing([warm_up, horizon])
    size, count = whole("n", n, 1), whole("runs", runs, 2)
    rng = np.random.default_rng(seed)
    runs_of = np.repeat(model.configuration(initial, size)[None], count, axis=0)
    total = np.zeros_like(model.observed(runs_of, size))
    clock = np.zeros(count)
    for _ in watched(range(LONG), "events"):
        wait, event = _next(model.event_rates(runs_of, size), rng)
        spent = np.minimum(clock + wait, grid[1]) - np.maximum(clock, grid[0])
        weight = np.maximum(spent, 0).reshape(-1, *(1,) * (total.ndim - 1))
        total += weight * model.observed(runs_of, size)
        clock += wait
        if clock.min() >= grid[1]:
            break
        runs_of = model.after(runs_of, event)
    return Simulation.of(total / (grid[1] - grid[0]))


def _next(rates: Floats, rng: np.random.Generator) -> tuple[Floats, Integers]:
    """Time to the next event, and which; where all rates are 0 it never comes."""
    upto = np.cumsum(rates, axis=1)
    total = upto[:, -1]
    with np.errstate(divide="ignore"):
        wait: Floats = rng.exponential(size=total.size) / total
    target = rng.random(total.size) * total
    event = np.minimum((upto <= target[:, None]).sum(axis=1), rates.shape[1] - 1)
    return wait, event.astype(np.intp)


def _steps(
    model: SynchronousPopulation,
    initial: ArrayLike,
    times: Floats,
    n: int,
    runs: int,
    rng: np.random.Generator,
) -> Floats:
    """(R, T, d), objects that move independently."""
    if model.kernel is None:
        raise ValueError("model has no kernel: only objects that move independently are simulated")
    if (times % 1).any():
        raise ValueError(f"times is {times.tolist()}: must be whole numbers, the model has steps")
    start = np.rint(n * model.state(initial))
    if np.abs(start - n * model.state(initial)).max() > 1e-6:
        raise ValueError(f"initial · n is {(n * model.state(initial)).tolist()}: must be whole")
    counts = np.repeat(start.astype(np.int64)[None], runs, axis=0)
    values = np.empty((runs, times.size, start.size))
    for t in watched(range(int(times[-1]) + 1), "steps"):
        values[:, times == t] = (counts / n)[:, None]
        K: Any = np.maximum(model.kernel(counts / n), 0)
        counts = rng.multinomial(counts, K / K.sum(axis=-1, keepdims=True)).sum(axis=1)
    return values
