"""Indices: one number a state, so that comparing arms is comparing numbers.

Charge a penalty λ for every activation of one arm and ask what is best for this arm alone.  The
larger λ, the fewer states in which it pays to be active.  The **Whittle index** of a state is the
λ at which the arm stops paying for itself there::

    λ_i = inf { λ : it is optimal to be passive in state i }.

It makes sense if a state that has become passive stays passive when λ grows further: the arm is
then **indexable**.  For rested arms this is always so and the index is the **Gittins index**,
the best reward per step that can be had from this arm by activating it and stopping in time::

    γ_i = sup_τ  E[Σ_{t<τ} β^t R(X_t)] / E[Σ_{t<τ} β^t],        X_0 = i.

Both come from one elimination (`elimination`), in (11/3) S³ operations for an arm with its test of
indexability, 2/3 S³ for a Gittins index.  ``discount = 1`` means average reward.  It has no
default: indices with and without discount differ, and which is meant must be said.

References:
    J.C. Gittins, "Bandit processes and dynamic allocation indices", J. Royal Statistical Society B
    41 (1979) 148–177.  P. Whittle, "Restless bandits: activity allocation in a changing world",
    J. Applied Probability 25A (1988) 287–298.  N. Gast, B. Gaujal, K. Khun, "Testing indexability
    and computing Whittle and Gittins index in subcubic time", arXiv:2203.05207.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, reals
from ...common import counted, scipy
from ..arms import Arm, discount_factor, rewards, transitions
from ..chains import closed_classes
from ..sparse import as_dense, is_sparse, stochastic
from .elimination import STRIP, Outcome, eliminate
from .panel import BROKEN, INFINITE, SINGULAR

LARGE = 2000  # states from which on there is a progress bar
POOR = 1e-4  # a pivot below this loses four digits: from the other end it may be better
LEAST = 1e-10  # a pivot that leaves about six digits
LOSS = 1e-6  # the same of X
IN_PLACE = 500  # states from which on it pays to load scipy, whose solver needs no copies
LEAF = 64  # columns that BLAS solves for at once: larger triangles run below the speed of products
LOST = (SINGULAR, INFINITE)  # how an elimination ends that has no answer; < 1 there is always one


class NotIndexableError(ValueError):
    """The arm has no Whittle index: a passive state becomes active again at a larger penalty."""


class MultichainError(ValueError):
    """A policy has several closed classes: average reward depends on where the arm starts."""


class Witness(NamedTuple):
    """Why an arm is not indexable.

    Attributes:
        state: where it happens.
        passive_at: a penalty at which it is optimal to be passive in that state.
        active_at: a larger one at which only to be active is optimal.
    """

    state: int
    passive_at: float
    active_at: float


class Indexability(NamedTuple):
    """Is there an index?

    Attributes:
        indexable: the states in which passive is optimal only grow in number with λ (Whittle).
        strongly_indexable: moreover each activation costs activations: under every policy on the
            way, the discounted number of activations is larger when starting with one, D > 0.
        witness: where it fails; None if indexable.
        strictly_indexable: moreover no state is indifferent at more than one λ: then the index is
            the only λ at which both actions are optimal.
    """

    indexable: bool
    strongly_indexable: bool
    witness: Witness | None
    strictly_indexable: bool


def whittle_index(arm: Arm, *, discount: float, check_indexability: bool = True) -> Floats:
    """The Whittle index of every state: λ_i = inf{λ: passive is optimal in state i}.

    Args:
        arm: any `Arm`.
        discount: β in (0, 1], where 1 means average reward per step.
        check_indexability: False skips the test and is a tenth faster; for an arm that is not
            indexable the numbers then mean nothing.

    Returns:
        (S,) indices in units of reward; +inf for a state in which no penalty makes passive optimal
        (average reward only).  Accurate to about 1e−13 of the largest reward or index for small
        arms, at every discount; where some policies on the way nearly have several closed classes,
        digits are lost, and an answer of fewer than about six is refused.

    Raises:
        NotIndexableError: the arm is not indexable; the message says where.
        MultichainError: average reward or a discount very near 1, and a policy that is met on the
            way has several closed classes.
        MemoryError: the matrices cannot fit.

    Example:
        >>> arm = Arm([[0.5, 0.5], [0.25, 0.75]], [[1, 0], [0.5, 0.5]], 0.5, [2, 1])
        >>> whittle_index(arm, discount=1).tolist()
        [1.5, 1.0]
        >>> whittle_index(arm, discount=0.9).round(6).tolist()
        [1.5, 0.909091]
    """
    beta = discount_factor(discount)
    outcome, sign = _outcome(arm, beta, test=check_indexability)
    if outcome.status == BROKEN:
        state, low, high = _witness(outcome, sign)
        raise NotIndexableError(
            f"the arm is not indexable at discount {beta:g}: in state {state} it is optimal to be "
            f"passive at penalty {low:.6g} and to be active again at {high:.6g}; use a policy of "
            f"the linear program (stationary_relaxation), which needs no index"
        )
    return sign * outcome.index + 0.0  # not −0


def gittins_index(P: Any, R: ArrayLike, *, discount: float) -> Floats:
    """The Gittins index of every state: γ_i = sup_τ E[Σ_{t<τ} β^t R] / E[Σ_{t<τ} β^t].

    Args:
        P: (S, S) transition matrix while active; dense or sparse.
        R: (S,) reward of an active step.
        discount: β in (0, 1).

    Returns:
        (S,) indices in units of reward per step: between min R and max R.

    Raises:
        ValueError: matrices that are not stochastic, values out of range.

    Example:
        A good state that does not last, a bad one that may improve:

        >>> gittins_index([[0.6, 0.4], [0.3, 0.7]], [1, 0.2], discount=0.9).round(6).tolist()
        [1.0, 0.49589]
    """
    beta = discount_factor(discount, average=False)
    matrix = transitions("P", P)
    _refuse_memory(matrix.shape[0])
    reward = rewards("R", R, matrix.shape[0])
    return 0.0 - _finish(_resting_x(matrix, beta), -reward, reward, test=False).index  # not −0


def indexability(arm: Arm, *, discount: float) -> Indexability:
    """Test whether the arm has a Whittle index, and say where it fails.

    Raises:
        MultichainError: as in `whittle_index`.

    Example:
        >>> arm = Arm([[0.5, 0.5], [0.25, 0.75]], [[1, 0], [0.5, 0.5]], 0.5, [2, 1])
        >>> indexability(arm, discount=0.9).indexable
        True
    """
    outcome, sign = _outcome(arm, discount_factor(discount), test=True)
    if outcome.status == BROKEN:
        return Indexability(False, False, Witness(*_witness(outcome, sign)), False)
    return Indexability(True, outcome.strong, None, outcome.strict)


def index_residual(
    arm: Arm, index: ArrayLike, *, discount: float, ranks: Iterable[int] | None = None
) -> float:
    """How far the indices are from optimality, by solving a few of the problems from scratch.

    At the penalty λ = index of a state, passive in all states of index ≤ λ must be optimal, and
    the advantage of being active in the states of index = λ zero.  The largest violation, relative
    to the largest reward or index, is returned: a few roundings for the right answer.

    Args:
        index: (S,) what `whittle_index` or `gittins_index` returned.
        ranks: positions in increasing order of index that are checked; default five of them.

    Example:
        >>> arm = Arm([[0.5, 0.5], [0.25, 0.75]], [[1, 0], [0.5, 0.5]], 0.5, [2, 1])
        >>> index_residual(arm, [1.5, 1.0], discount=1) < 1e-14
        True
        >>> index_residual(arm, [1.5, 1.1], discount=1) > 0.01
        True
    """
    beta = discount_factor(discount)
    values = reals("index", index)
    if values.shape != (arm.n_states,) or np.isnan(values).any():
        raise ValueError(
            f"index has shape {values.shape} and {np.isnan(values).sum()} NaN: must be "
            f"({arm.n_states},), one number for each state"
        )
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    if ranks is None:
        ranks = np.unique(np.linspace(0, order.size - 1, 5).round().astype(int))
    worst = 0.0
    for rank in ranks:
        level = values[order[rank]]
        passive = values <= level
        gain = advantage(arm, ~passive, level, beta)
        scale = float(max(np.abs(arm.R0).max(), np.abs(arm.R1).max(), abs(level)))
        violation = np.where(passive, gain, -gain)
        violation[values == level] = np.abs(gain[values == level])
        worst = max(worst, float(violation.max() / scale) if scale else 0.0)
    return worst


def advantage(arm: Arm, active: ArrayLike, penalty: float, discount: float) -> Floats:
    """What it is worth to be active now, if afterwards the states ``active`` are: b(λ), (S,).

    ::

        V = (I − βP^π)⁻¹ (R^π − λπ),      b = R1 − R0 − λ + β (P1 − P0) V.

    Solved for (1 − β) V_0, at β = 1 the gain, and for the relative values V_i − V_0.

    Example:
        >>> arm = Arm.rested([[0, 1], [0, 1]], [0, 1])
        >>> advantage(arm, [True, True], 0.25, 0.5).tolist()
        [0.25, 0.75]
    """
    beta = discount_factor(discount)
    pi = np.asarray(active, dtype=bool)
    followed, other = (stochastic(P) for P in arm.dense())
    followed, other = np.where(pi[:, None], other, followed), np.where(pi[:, None], followed, other)
    matrix, delta = _equations(followed, other, beta)
    value = np.linalg.solve(matrix, np.where(pi, arm.R1 - penalty, arm.R0))
    result: Floats = arm.R1 - arm.R0 - penalty + np.where(pi, 1.0, -1.0) * (delta @ value)
    return result


def _outcome(arm: Arm, beta: float, *, test: bool) -> tuple[Outcome, float]:
    """The elimination from the end that is cheaper, or else more exact; the sign of its indices.

    With passive and active exchanged the index changes its sign.  An arm that stands still when
    passive is eliminated from that end.
    """
    _refuse_memory(arm.n_states)
    still = beta < 1 and _stands_still(arm.P0)
    first, second = (_from_passive, _from_active) if still else (_from_active, _from_passive)
    best, sign = first(arm, beta, test)
    if beta < 1 and (best.pivot < POOR or best.status in LOST):  # at β = 1 both ends are alike
        with suppress(MultichainError):
            again, other_sign = second(arm, beta, test)
            if (again.status not in LOST, again.pivot) > (best.status not in LOST, best.pivot):
                best, sign = again, other_sign
    if beta < 1 and (best.pivot < LEAST or best.status in LOST):
        raise MultichainError(
            f"discount {beta:.16g} is so near 1 that policies with several closed classes (or "
            f"nearly so), whose long run depends on the start, leave no digits of an index; use a "
            f"smaller discount"
        )
    if best.status == SINGULAR:
        raise MultichainError(
            f"discount {beta:g}: with state {best.state} passive at penalty "
            f"{sign * best.penalty:.6g} the policy has several closed classes (or nearly so), "
            f"and its average reward depends on the start; use a smaller discount"
        )
    return best, sign


def _from_active(arm: Arm, beta: float, test: bool) -> tuple[Outcome, float]:
    column = _active_x(arm, beta)
    z = arm.R1 - arm.R0 + arm.R1 @ column
    return _finish(column, z, np.maximum(np.abs(arm.R0), np.abs(arm.R1)), test=test), 1.0


def _from_passive(arm: Arm, beta: float, test: bool) -> tuple[Outcome, float]:
    still = _stands_still(arm.P0)
    column = _resting_x(arm.P1, beta) if still else _first_x(arm.P0, arm.P1, beta)
    z = arm.R0 - arm.R1 + arm.R0 @ column
    return _finish(column, z, np.maximum(np.abs(arm.R0), np.abs(arm.R1)), test=test), -1.0


def _finish(column: Floats, z: Floats, reward: Floats, *, test: bool) -> Outcome:
    """Run the elimination; advantages are small or not in units of the rewards."""
    scale = float(max(np.abs(reward).max(), np.abs(z).max()))
    with counted(z.size if z.size > LARGE else 0, "states") as advance:
        return eliminate(column, z, test=test, scale=scale, advance=advance)


def _resting_x(active: Any, beta: float) -> Floats:
    """Xᵀ for the policy that rests, where nothing moves: X = β(I − P1)/(1 − β), with no solve.

    Here "active" of the elimination means passive, and its Δ is β(P0 − P1).
    """
    leaves: Floats = np.array(as_dense(active).T, order="C")
    leaves /= leaves.sum(axis=0)
    leaves[np.diag_indices_from(leaves)] = 0.0
    leaves[np.diag_indices_from(leaves)] = -leaves.sum(axis=0)  # 1 − P_ii would lose digits
    leaves *= -beta / (1 - beta)
    return leaves


def _active_x(arm: Arm, beta: float) -> Floats:
    """Xᵀ, (S, S), of the policy that is always active."""
    if beta == 1:
        _refuse_multichain(as_dense(arm.P1))
    return _first_x(arm.P1, arm.P0, beta)


def _first_x(followed: Any, other: Any, beta: float) -> Floats:
    """Xᵀ, (S, S), of the policy that does the same everywhere: the solution of X A = Δ.

    Where β is near 1 and it nearly has several closed classes X is large, and may have no digits
    left.  Then another equation is left out: what changes is wrong.
    """
    first, second = as_dense(followed), as_dense(other)
    try:
        column = _solved(*_equations(first, second, beta))
        size = float(max(column.max(), -column.min()))  # |X| would be a copy
        if beta < 1 and size > 1 / POOR:
            again = _solved(*_equations(first, second, beta, left_out=-1))
            if not np.abs(again - column).max() <= LOSS * size:
                raise np.linalg.LinAlgError
        return column
    except np.linalg.LinAlgError as error:
        raise MultichainError(
            f"discount {beta:.16g} is so near 1 that the policy that does the same in all states "
            f"is singular to working precision: it has several closed classes (or nearly so), and "
            f"its long run depends on the start; use a smaller discount"
        ) from error


def _equations(
    followed: Floats, other: Floats, beta: float, left_out: int = 0
) -> tuple[Floats, Floats]:
    """A = I − βP and Δ = β(P − P'), one column as the head of `elimination` says.

    A is stored by rows and Δ by columns, as `_solved` wants them; a strip of rows at a time, which
    is turned in the cache.  Rows are divided by their sums first.  1 − βP_ii is
    1 − β + β Σ_{j≠i} P_ij: where a state is seldom left, the difference would lose digits.
    """
    matrix = followed * (-beta / followed.sum(axis=1, keepdims=True))
    delta = np.empty(matrix.shape, order="F")
    for first in range(0, len(matrix), STRIP):
        rows = slice(first, first + STRIP)
        strip = other[rows] * (-beta / other[rows].sum(axis=1, keepdims=True))
        strip -= matrix[rows]
        delta[rows] = strip
    place = np.diag_indices_from(matrix)
    matrix[place] = 0.0
    matrix[place] = (1 - beta) - matrix.sum(axis=1)
    matrix[:, left_out], delta[:, left_out] = 1.0, 0.0
    return matrix, delta


def _solved(matrix: Floats, right: Floats) -> Floats:
    """Xᵀ, C-contiguous, of X A = Δ; of large arms in the memory of the two, where scipy is there.

    With Aᵀ = P L U the equation is X Uᵀ Lᵀ = Δ P.  X then comes out by columns, as the elimination
    reads it, and nothing is turned.
    """
    if len(matrix) >= IN_PLACE:
        with suppress(ImportError):
            factor, swap, info = scipy().linalg.lapack.dgetrf(matrix.T, overwrite_a=True)
            if info > 0:
                raise np.linalg.LinAlgError
            for i in np.flatnonzero(swap != np.arange(swap.size)):  # Δ P
                right[:, [i, swap[i]]] = right[:, [swap[i], i]]
            for lower in (True, False):
                _divide(right, factor, lower=lower)
            return right.T
    return np.linalg.solve(matrix.T, right.T).astype(float, copy=False)


def _divide(x: Floats, factor: Floats, *, lower: bool) -> None:
    """Replace x by x Lᵀ⁻¹, or x Uᵀ⁻¹; halves of the columns in turn, so that most is products."""
    blas, size = scipy().linalg.blas, len(factor)
    if size <= LEAF:
        options = {"side": 1, "lower": lower, "diag": lower, "trans_a": True}
        result = blas.dtrsm(1.0, factor, x, overwrite_b=True, **options)
    else:
        halves = slice(None, size // 2), slice(size // 2, None)
        first, second = halves if lower else halves[::-1]
        _divide(x[:, first], factor[first, first], lower=lower)
        known, link, rest = x[:, first], factor[second, first], x[:, second]
        result = blas.dgemm(-1.0, known, link, 1.0, rest, trans_b=True, overwrite_c=True)
        _divide(rest, factor[second, second], lower=lower)
    assert np.shares_memory(result, x)  # a copy would be lost


def _stands_still(matrix: Any) -> bool:
    """Is this the identity?"""
    if not np.all(matrix.diagonal() == 1):
        return False
    entries = matrix.count_nonzero() if is_sparse(matrix) else np.count_nonzero(matrix)
    return bool(entries == matrix.shape[0])


def _refuse_multichain(active: Floats) -> None:
    closed = closed_classes(active)
    if len(closed) > 1:
        first, second = closed[0][0], closed[1][0]
        raise MultichainError(
            f"average reward: the policy that is always active (any penalty low enough) has "
            f"{len(closed)} closed classes; from state {first} it never reaches state {second}, "
            f"nor back, so that its reward depends on the start; use a discount < 1"
        )


def _witness(outcome: Outcome, sign: float) -> tuple[int, float, float]:
    state = outcome.state
    return state, sign * float(outcome.index[state]), sign * outcome.penalty


def _refuse_memory(size: int) -> None:
    """X, the factor and a few blocks: refuse before the first of them is allocated."""
    needed = 2 * 8.0 * size * (size + 128)
    there = free_memory()
    if needed > there:
        raise MemoryError(
            f"the arm has {size} states: its index needs {needed / 1e9:.1f} GB beside the arm and "
            f"{there / 1e9:.1f} GB are free; at most {int((there / 16) ** 0.5)} states fit"
        )


def free_memory() -> float:
    """Bytes of memory that are free, as far as the system says; inf otherwise."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on every system
        return np.inf
