"""Counts: how many of the N arms are in each state, checked.

N arms that differ by their states only are a vector of **counts** (n_1, …, n_S).  What a policy is
asked, what is simulated and what is evaluated exactly starts from whole counts; here are the checks
that all three share.

Arms of several kinds (`Arm.of_classes`) never change their kind.  The **classes** are the connected
components of the states under P0 + P1, and the number of arms in each class stays what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, Integers, reals, refuse_first
from .arms import Arm
from .chains import components
from .sparse import as_dense, stochastic

COUNT = 1e-9  # a N this close to a whole number, relative to N, is that number: rounding


def classes(arm: Arm) -> Integers:
    """(S,) the class of each state: states that no transition connects are of different classes.

    Example:
        >>> still = Arm([[1, 0], [0, 1]], [[0.5, 0.5], [0, 1]], 0, 1)
        >>> classes(Arm.of_classes([still, still])).tolist()
        [0, 0, 1, 1]
    """
    return components(arm.P0 + arm.P1)


def normalized(arm: Arm) -> tuple[Floats, Floats]:
    """P0 and P1, dense, rows rescaled to sum to 1: rounding in print must not create or lose arms.

    Example:
        >>> P = [[0.5, 0.49999999], [0, 1]]
        >>> normalized(Arm(P, P, 0, 1))[0].round(9).tolist()
        [[0.500000005, 0.499999995], [0.0, 1.0]]
    """
    passive, active = (stochastic(as_dense(P)) for P in (arm.P0, arm.P1))
    return passive, active


def initial_counts(initial: ArrayLike, n_states: int, n_arms: int) -> Integers:
    """(S,) counts of the initial configuration: N times the fractions, whole.

    Raises:
        ValueError: not (S,), negative, not summing to 1, or N times them not whole.

    Example:
        >>> initial_counts([0.5, 0.25, 0.25], 3, 8)
        array([4, 2, 2])
    """
    m = reals("initial", initial)
    if m.shape != (n_states,):
        raise ValueError(f"initial has shape {m.shape}: must be ({n_states},), one for each state")
    refuse_first("initial", m, (m >= 0) & np.isfinite(m), "the part of the arms, ≥ 0")
    if abs(m.sum() - 1) > COUNT:
        raise ValueError(f"initial sums to {m.sum():.9g}: must sum to 1; divide it by its sum")
    arms: Integers = np.rint(m * n_arms).astype(np.intp)
    split = np.flatnonzero(np.abs(m * n_arms - arms) > COUNT * n_arms)
    if split.size:
        raise ValueError(
            f"initial[{split[0]}] is {m[split[0]]:.6g} and n_arms is {n_arms}: n_arms · initial "
            f"must be whole numbers; {m[split[0]] * n_arms:.6g} is not: change n_arms, or round "
            f"the counts and divide by n_arms"
        )
    return arms


def refuse_classes(label: Integers) -> None:
    """Raise if there are several classes, where nobody said how many arms are in each."""
    if label.max() > 0:
        raise ValueError(
            f"initial is None and the arms are of {label.max() + 1} classes (nothing leads from "
            f"state {np.argmax(label != label[0])} to state 0 or back): initial must say how many "
            f"arms there are of each"
        )


def feasible(counts: Integers, decisions: Any, time: int, n_active: int | None = None) -> Integers:
    """The decisions (…, S) of a policy for these counts (…, S), checked.

    Raises:
        ValueError: not whole numbers between 0 and the counts, or (where ``n_active`` is given) not
            that many in all; says at which counts and time.

    Example:
        >>> feasible(np.array([3, 0]), [2, 1], 0)
        Traceback (most recent call last):
        ...
        ValueError: policy activates [2, 1] of [3, 0] arms at time 0: must be whole, none too many
    """
    y = np.asarray(decisions)
    if y.shape != counts.shape:
        raise ValueError(
            f"policy decides for shape {y.shape} where the counts have {counts.shape}: must be the "
            f"same; one number of arms for each state"
        )
    wrong = ~((y >= 0) & (y <= counts) & (y == np.rint(y))).all(axis=-1)
    rule = "must be whole, none too many"
    if not wrong.any() and n_active is not None:
        wrong, rule = y.sum(axis=-1) != n_active, f"must be {n_active} in all"
    if wrong.any():
        n, first = (np.atleast_2d(array)[np.argmax(wrong)].tolist() for array in (counts, y))
        raise ValueError(f"policy activates {first} of {n} arms at time {time}: {rule}")
    return y.astype(np.intp)
