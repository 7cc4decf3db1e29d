"""Policies: who is activated, given how many arms are in each state.

N arms with the same S states are told apart by their states only, so a configuration is a vector
of **counts** (n_1, …, n_S) that sums to N, and a decision is how many arms to activate in each
state.  A policy is anything with::

    fraction                      a, the part of all arms that is activated at each step
    decide(counts, time)          (…, S) whole numbers, 0 ≤ decision ≤ counts, that sum to a N

``decide`` takes any number of configurations at once (leading axes), so that a simulation asks once
a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, Integers, number, reals
from .arms import Arm
from .counts import COUNT
from .indices import whittle_index


class Policy(Protocol):
    """What evaluation and simulation ask of a policy."""

    def decide(self, counts: Integers, time: int) -> Integers:
        """How many arms to activate in each state, (…, S), for counts (…, S) at this time."""
        ...


@dataclass(frozen=True, eq=False)
class PriorityPolicy:
    """Activate arms in the state of highest priority first, until a N are active.

    Args:
        priority: (S,) one number a state, the larger the earlier; an index, for instance.  States
            of equal priority are served in their order.
        fraction: a in [0, 1]; a N must be a whole number.

    Example:
        >>> policy = PriorityPolicy([0.1, 0.9, 0.5], fraction=0.5)
        >>> policy.decide(np.array([2, 1, 3]), 0).tolist()
        [0, 1, 2]
    """

    priority: Floats
    fraction: float

    def __post_init__(self) -> None:
        priority = np.array(reals("priority", self.priority))
        if priority.ndim != 1 or np.isnan(priority).any():
            raise ValueError(
                f"priority has shape {priority.shape} and {np.isnan(priority).sum()} NaN: must be "
                f"(S,), one number for each state"
            )
        object.__setattr__(self, "priority", priority)
        object.__setattr__(self, "fraction", activation(self.fraction))

    def decide(self, counts: Integers, time: int = 0) -> Integers:
        """Fill from the top; the same at every time."""
        order = np.argsort(-self.priority, kind="stable")
        return in_order(counts, order, active_arms(counts, self.fraction))


def whittle_policy(arm: Arm, fraction: float, *, discount: float) -> PriorityPolicy:
    """The Whittle index policy: priority by `whittle_index`.

    Example:
        >>> arm = Arm([[0.5, 0.5], [0.25, 0.75]], [[1, 0], [0.5, 0.5]], 0.5, [2, 1])
        >>> whittle_policy(arm, 0.5, discount=1).priority.tolist()
        [1.5, 1.0]
    """
    return PriorityPolicy(whittle_index(arm, discount=discount), fraction)


def in_order(counts: Integers, order: ArrayLike, budget: ArrayLike) -> Integers:
    """Serve the states in this order: y_i = min(n_i, (budget − those before)⁺); (…, S)."""
    served = np.asarray(counts)[..., np.asarray(order)]
    before = np.cumsum(served, axis=-1) - served
    taken = np.clip(np.asarray(budget)[..., None] - before, 0, served)
    decision: Integers = np.empty_like(taken)
    decision[..., np.asarray(order)] = taken
    return decision


def active_arms(counts: Integers, fraction: float) -> Integers:
    """How many arms are activated, a N, for each configuration; refuse it if not whole."""
    arms = np.asarray(counts).sum(axis=-1)
    wanted = fraction * arms
    whole = np.rint(wanted)
    if np.any(np.abs(wanted - whole) > COUNT * np.maximum(arms, 1)):
        n = int(np.atleast_1d(arms)[np.argmax(np.atleast_1d(np.abs(wanted - whole)))])
        raise ValueError(
            f"fraction is {fraction:g} and there are {n} arms: fraction · arms must be a whole "
            f"number; {n * fraction:g} is not"
        )
    decided: Integers = whole.astype(np.intp)
    return decided


def activation(fraction: float) -> float:
    """The part of all arms that is activated, checked."""
    return number("fraction", fraction, "in [0, 1]", lambda a: 0 <= a <= 1)
