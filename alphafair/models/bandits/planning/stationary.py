"""The linear program for infinitely many arms, and whether a priority policy attains it.

Ask only that a fraction a of the arms is active on average.  Then arms do not meet, and one arm in
its stationary regime is all there is: with y(s, u) the part of time in state s under action u
(0 passive, 1 active)::

    V = max Σ_s R0_s y(s, 0) + R1_s y(s, 1)
        y(·, 0) + y(·, 1) = y(·, 0) P0 + y(·, 1) P1,   Σ_s y(s, 1) = a,   Σ y = 1,   y ≥ 0.

No policy for N arms earns more than V per arm and step.  The multiplier λ of Σ y(·, 1) = a is what
one more activation is worth: the penalty per activation at which an arm, left to itself, would be
active a of the time.

A fixed point m* of the mean map (`mean_map`) is the state marginal of a feasible y, active in the
states before i and passive in those after it.  In the order of the Whittle index of an indexable
arm this is best at the penalty λ = the index of state i, so it solves the program: the policy is as
good as V if the arms stay near m*.  They need not: m* may be unstable (`locally_stable`) or on the
border of two regions (`singular`), and even a stable one may not attract all starts.

References:
    R. Weber, G. Weiss, "On an index policy for restless bandits", J. Applied Probability 27 (1990).
    N. Gast, B. Gaujal, C. Yan, "Exponential asymptotic optimality of Whittle index policy",
    Queueing Systems 104 (2023), arXiv:2012.09064.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....checks import Floats, Integers
from ...common import scipy
from ..arms import Arm
from ..chains import closed_classes
from ..indices import MultichainError, NotIndexableError, advantage, whittle_index
from ..policies import activation
from ..sparse import as_dense
from .mean_map import (
    BORDER,
    affine_piece,
    earns,
    eigenvalues_along,
    equations,
    fixed_point,
    regions,
    rescaled,
    spectral_radius,
    split,
)

UNITS = 1e6  # of time in the program: its solver takes 1e−7 for 0, and so a = 1 − 1e−7 for 1
SOLVED = 1e-6  # how far the solver's answer and the one computed from its support may differ


@dataclass(frozen=True, eq=False, repr=False)
class StationaryRelaxation:
    """The solution of the stationary linear program, and the mean map around it.

    Attributes:
        arm: the arm of the program.
        fraction: a, the part of the arms that is active.
        value: V, per arm and step; no policy does better, for any number of arms.
        occupation: (S, 2) y, columns passive and active.  Where the optimum is not unique, the one
            of the mean map.
        multiplier: λ, reward per activation (a penalty: positive if activations are worth having).
            dV/da where V has a derivative.  At a kink λ is an interval; this is its lower end, what
            one more activation is worth (at a = 1, where no more can be had, the upper end: what
            the last one is worth).
        order: (S,) states, first served first.  By decreasing Whittle index (average reward) if
            there is one; else by decreasing advantage of being active in the one-arm problem at the
            penalty λ, where states of advantage 0 stand in the order of how often they are active.
        by_index: is it the Whittle order?
        fixed_point: (S,) m*, the state marginal of ``occupation``.
        singular: m* lies on the border of two regions: Σ_{k≤i} m*_k = a for some i.  Then no state
            is split between the actions.  False for a = 0 and 1, where φ is linear.
        eigenvalues: (S − 1,) of φ at m* along the simplex, largest modulus first; if singular, of
            the region that more activations lead to.
        locally_stable: their moduli are < 1; if singular, in every region that meets m* (which then
            is a good sign and no proof).

    Example:
        >>> from alphafair.models.bandits.examples import cycle_example
        >>> relaxation = stationary_relaxation(cycle_example(2), 0.4)
        >>> round(relaxation.value, 6), relaxation.eigenvalues.real.round(4).tolist()
        (0.1238, [-1.1333, -0.0589])
    """

    arm: Arm
    fraction: float
    value: float
    occupation: Floats
    multiplier: float
    order: Integers
    by_index: bool
    fixed_point: Floats
    singular: bool
    eigenvalues: Any
    locally_stable: bool

    def __repr__(self) -> str:
        return f"StationaryRelaxation(value={self.value:.6g}, multiplier={self.multiplier:.6g})"


def stationary_relaxation(arm: Arm, fraction: float) -> StationaryRelaxation:
    """Solve the stationary linear program of one arm.

    If the arm has a Whittle index, by the fixed point in its order, which is optimal if no state
    would rather change its action at the penalty λ; this is checked.  Otherwise by HiGHS, and once
    more, exactly, on the support of its answer.

    Args:
        arm: any `Arm` in which the long run does not depend on the start.
        fraction: a in [0, 1], the part of all arms that is active at each step.

    Returns:
        `StationaryRelaxation`; ``value`` and ``occupation`` to about 1e−12.

    Raises:
        ValueError: the arm can stay for ever in two sets of states without a way from one to the
            other, so that the long run depends on how many arms start where.

    Example:
        >>> from alphafair.models.bandits.examples import singular_example
        >>> relaxation = stationary_relaxation(singular_example(), 0.5)
        >>> relaxation.fixed_point.round(12).tolist(), relaxation.singular
        ([0.5, 0.3, 0.2], True)
    """
    a, exact = activation(fraction), rescaled(arm)
    _refuse_two_homes(exact)
    found = _by_index(exact, a)
    y, order, penalty = found or _by_program(exact, a)
    m = y.sum(axis=1)
    singular, values, stable = _stability(exact, order, a, m)
    shown = (earns(exact, y), y, penalty, order, found is not None, m, singular, values, stable)
    return StationaryRelaxation(arm, a, *shown)


def _by_index(arm: Arm, a: float) -> tuple[Floats, Integers, float] | None:
    """(y, order, λ) of the Whittle index, or None if that does not solve the program.

    At λ = the index of the first state that is not served in full, every state that is served
    before it must have an advantage ≥ 0 of being active, it itself 0, and the others ≤ 0: then λ,
    the relative values and the gain solve the dual program.
    """
    try:
        index = whittle_index(arm, discount=1)
        order = np.argsort(-index, kind="stable")
        m = fixed_point(arm, order, a)
    except (NotIndexableError, MultichainError):
        return None
    place = _marginal(m, order, a)
    penalty = float(index[order[place]])
    if not any(_is_best(arm, order[:k], order[place], penalty) for k in (place, place + 1)):
        return None
    return split(m, order, a), order, penalty


def _is_best(arm: Arm, states: Integers, split: int, penalty: float) -> bool:
    """Is it best at this penalty to be active in these states, and all one in the split state?"""
    active = np.zeros(arm.n_states, bool)
    active[states] = True
    try:
        gain = advantage(arm, active, penalty, 1.0)
    except np.linalg.LinAlgError:  # several closed classes
        return False
    regret = np.where(active, -gain, gain)
    regret[split] = abs(gain[split])
    return bool(regret.max() <= BORDER * _scale(arm))


def _marginal(m: Floats, order: Integers, a: float) -> int:
    """Position of the state in which one more activation goes (a = 1: came from)."""
    return min(int(np.searchsorted(np.cumsum(m[order]), min(a + BORDER, 1 - BORDER))), m.size - 1)


def _by_program(arm: Arm, a: float) -> tuple[Floats, Integers, float]:
    """(y, order, λ) from the linear program alone."""
    y = _occupation(arm, a)
    penalty, gain = _multiplier(arm, y)
    return y, _advantage_order(arm, y, gain), penalty


def _advantage_order(arm: Arm, y: Floats, gain: Floats) -> Integers:
    """By decreasing advantage; where it is 0, by the part of the time in which it is active."""
    level = np.where(np.abs(gain) <= BORDER * _scale(arm), 0.0, gain)
    m: Floats = y.sum(axis=1)
    share = np.divide(y[:, 1], m, out=np.zeros_like(m), where=m > 0)
    order: Integers = np.lexsort((-share, -level))
    return order


def _occupation(arm: Arm, a: float, allowed: Any = True) -> Floats:
    """(S, 2) an optimal y among those that are 0 where they are not allowed to be positive."""
    matrix, size = equations(arm), arm.n_states
    side = np.append(np.zeros(size), [1.0, a])
    upper = np.where(np.broadcast_to(allowed, (size, 2)).T.ravel(), UNITS, 0.0)
    cost = -np.concatenate([arm.R0, arm.R1]) / (_scale(arm) or 1.0)
    bounds = np.stack([0 * upper, upper], axis=1)
    rules = {"A_eq": matrix.tocsr()[1:], "b_eq": UNITS * side[1:]}  # the others imply the first
    y = _solved(cost, bounds=bounds, **rules) / UNITS
    support = np.flatnonzero(y > 0)
    exact = np.zeros_like(y)
    lstsq = scipy().linalg.lstsq
    exact[support] = lstsq(matrix[:, support].toarray(), side, lapack_driver="gelsy")[0]
    if np.abs(exact - y).max() <= SOLVED and exact.min() >= -BORDER:
        y = exact
    table: Floats = np.maximum(y, 0).reshape(2, size).T
    return table


def _multiplier(arm: Arm, y: Floats) -> tuple[float, Floats]:
    """λ and the advantage of being active at λ, (S,), from the dual program (`_dual`)."""
    matrix, reward, scale, solved = _dual(arm, y)
    slack = (matrix @ solved - reward).reshape(2, arm.n_states) * scale
    return float(solved[-1]) * scale, slack[0] - slack[1]


def relative_values(arm: Arm, y: Floats) -> Floats:
    """h, (S,): what an arm is worth by its state, if all goes on as in the optimum y for ever."""
    _, _, scale, solved = _dual(arm, y)
    values: Floats = solved[:-2] * scale
    return values


def _dual(arm: Arm, y: Floats) -> tuple[Any, Floats, float, Floats]:
    """The dual program's matrix, right side, their scale, and its solution h, g, λ.

    g + h_s + u λ ≥ R^u_s + Σ_j P^u_sj h_j, with equality where y(s, u) > 0.  Among the solutions
    the least λ (the largest if a = 1), and then the least h, which is the relative value also of
    states that no arm visits.
    """
    size, scale = arm.n_states, _scale(arm) or 1.0
    matrix = equations(arm).T.tocsr()  # columns h, g, λ
    reward = np.concatenate([arm.R0, arm.R1]) / scale
    tight = y.T.ravel() > 0
    rules: dict[str, Any] = {"A_ub": -matrix, "b_ub": -reward}
    if tight.any():
        rules |= {"A_eq": matrix[tight], "b_eq": reward[tight]}
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * (size + 2)
    bounds[int(np.argmax(y.sum(axis=1)))] = (0.0, 0.0)
    all_active = not (y[:, 0] > 0).any()  # a = 1, or so near that nothing is left of 1 − a
    price = np.append(np.zeros(size + 1), -1.0 if all_active else 1.0)
    penalty = float(_solved(price, bounds=bounds, **rules)[-1])
    bounds[-1] = (penalty, penalty)
    least = _solved(np.append(np.ones(size), [0.0, 0.0]), bounds=bounds, **rules)
    return matrix, reward, scale, least


def _solved(cost: Floats, **rules: Any) -> Floats:
    """A vertex that is optimal."""
    linprog = scipy("the linear program").optimize.linprog
    result = linprog(cost, method="highs-ds", **rules)
    if result.status != 0:
        raise RuntimeError(f"the linear program was not solved: {result.message}")
    x: Floats = result.x
    return x


def _stability(arm: Arm, order: Integers, a: float, m: Floats) -> tuple[bool, Any, bool]:
    """Is m singular, the eigenvalues there, and is it locally stable?"""
    pieces = [affine_piece(arm, order, a, i)[0] for i in regions(m, order, a)]
    return (
        len(pieces) > 1,
        eigenvalues_along(pieces[-1]),
        all(spectral_radius(K) < 1 for K in pieces),
    )


def _refuse_two_homes(arm: Arm) -> None:
    """Refuse an arm that can stay for ever in states from which others cannot be reached, nor back.

    The program moves mass between such sets of states as it likes; the arms cannot.
    """
    moves = [as_dense(P) > 0 for P in (arm.P0, arm.P1)]
    home = closed_classes(moves[0] | moves[1])
    away = np.ones(arm.n_states, bool)
    away[home[0]] = False
    while True:  # what is left of the others: states in which some action keeps to those left
        keeps = away & np.any([~(move @ ~away) for move in moves], axis=0)
        if np.array_equal(keeps, away):
            break
        away = keeps
    if away.any():
        first, other = home[0][0], int(np.flatnonzero(away)[0])
        raise ValueError(
            f"arm: from state {first} it never reaches state {other}, whatever is done, and from "
            f"there it can stay away from state {first}: the long run depends on how many arms "
            f"start where; solve the closed classes one by one, or a finite horizon"
        )


def _scale(arm: Arm) -> float:
    """The largest reward."""
    return float(max(np.abs(arm.R0).max(), np.abs(arm.R1).max()))
