"""The elimination behind the indices: one pass that removes states in the order of their index.

Let π be the set of active states, λ the penalty for an activation, A = I − βP^π, Δ = β(P1 − P0) and
``X = Δ A⁻¹``.  The advantage of being active in state i, when π is followed from then on, is::

    b_i(λ) = z_i − (λ − μ) D_i,        z = b(μ),    D = 1 + X π.

At λ = −∞ all states are active: D = 1 and z = R1 − R0 + X R1.  Let λ grow.  The next state to
become passive is the active one whose advantage reaches zero first, at μ + min z_i/D_i, and that λ
is its index.  Taking s out of π changes one row of A, so X changes by rank one (Sherman–Morrison)::

    W = X e_s / (1 + X_ss),    D ← D − D_s W,    X ← X − W (e_sᵀ X),    z stays (z_s = 0).

This is Gaussian elimination of I + X with diagonal pivots, in an order that the numbers decide.

**Blocks.**  The columns of X that belong to passive states are never read again.  Inside a block of
pivots X itself stays as it was: the one column and the one row that a pivot needs are computed from
the W and rows stored so far.  At the end of the block one matrix product brings X up to date, so
nearly all of the work is done at the speed of a matrix product.  Without the test of indexability
the rows of passive states are dropped too: 2/3 S³ operations instead of S³.

**Average reward** (β = 1).  The unknowns are the gain and the relative values h with h_0 = 0:
column 0 of A becomes ones, column 0 of Δ zeros.  The pivot 1 + X_ss is the ratio of two
determinants and is zero if and only if the next policy is multichain.

**Ties.**  States with z = 0 become passive together.  Which first?  The one with the largest pivot:
in between, policies may be multichain although the one after the tie is not.

References:
    N. Gast, B. Gaujal, K. Khun, "Testing indexability and computing Whittle and Gittins index in
    subcubic time", Math. Methods of Operations Research 2023, arXiv:2203.05207.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import blas

from ...problem import Floats, Integers

BLOCK = 48  # pivots between two matrix products: W and the rows of a block stay in the cache
SHRINK = 0.7  # rows are dropped when fewer than this part of them is active
TIE = 1e-12  # advantages this far from zero, relative to the largest, are zero
PIVOT = 1e-12  # a pivot below this is zero

compiled = njit(cache=True, error_model="numpy", fastmath={"contract"})

RUNNING, DONE, INFINITE, SINGULAR, BROKEN = range(5)


@dataclass(frozen=True, eq=False)
class Outcome:
    """How an elimination ended.

    Attributes:
        index: (S,) μ at which each state became passive; +inf where it never does.
        status: DONE, INFINITE (the rest never becomes passive), SINGULAR (the next policy is
            multichain) or BROKEN (a passive state wants to be active again).
        strong: D > 0 in all states on every interval between two indices.
        strict: no passive state is indifferent again at a larger λ.
        state: where it stopped, if SINGULAR or BROKEN.
        penalty: the λ at which it stopped; a λ at which that state is active again, if BROKEN.
    """

    index: Floats
    status: int
    strong: bool
    strict: bool
    state: int
    penalty: float


@dataclass
class _Stage:
    """X without the columns of passive states, and what belongs to its rows and columns.

    ``column[c, r]`` is X[row r, column c]: a column of X is contiguous.
    """

    column: Floats  # (m, n)
    row_state: Integers  # (n,) the state of each row
    column_state: Integers  # (m,) the state of each column
    row_of: Integers  # (m,) the row that has the column's state
    z: Floats  # (n,)
    slope: Floats  # (n,) D
    diagonal: Floats  # (m,) X_ss of each column
    passive: NDArray[np.bool_]  # (n,)


def eliminate(
    column: Floats,
    z: Floats,
    *,
    test: bool,
    scale: float,
    advance: Callable[[int], Any] = lambda done: None,
) -> Outcome:
    """Remove all states, one after the other.

    Args:
        column: Xᵀ, (S, S), C-contiguous; destroyed.
        z: (S,) advantage at λ = 0 with all states active; destroyed.
        test: keep the passive states' advantages, and stop when one becomes positive.
        scale: what advantages are compared with to be called zero.
        advance: called with the number of states removed since the last call.
    """
    size = z.size
    index = np.full(size, np.inf)
    least = float(z.min())
    z -= least
    every = np.arange(size)
    stage = _Stage(
        column=column,
        row_state=every,
        column_state=every.copy(),
        row_of=every.copy(),
        z=z,
        slope=np.ones(size),
        diagonal=column.diagonal().copy(),
        passive=np.zeros(size, bool),
    )
    facts = np.array([least, 1.0, 1.0, -1.0, np.nan])  # μ, strong, strict, state, penalty
    block = size if size <= 2 * BLOCK else BLOCK
    W, Y = np.empty((block, size)), np.empty((block, size))
    status = RUNNING
    while status == RUNNING:
        limit = min(block, stage.column_state.size)
        n, m = stage.z.size, stage.column_state.size
        w, y = W.ravel()[: block * n].reshape(block, n), Y.ravel()[: block * m].reshape(block, m)
        gone = np.zeros(m, bool)
        status, done = _panel(
            *(stage.column, stage.row_state, stage.column_state, stage.row_of, stage.z),
            *(stage.slope, stage.diagonal, stage.passive, gone, w, y, limit),
            *(TIE * scale, test, index, facts),
        )
        advance(done)
        if status == RUNNING:
            stage = _next_stage(stage, gone, w[:done], y[:done], rows=test)
    strong, strict = bool(facts[1]), bool(facts[2])
    return Outcome(index, status, strong, strict, state=int(facts[3]), penalty=float(facts[4]))


def _next_stage(stage: _Stage, gone: Any, w: Floats, y: Floats, *, rows: bool) -> _Stage:
    """Drop the pivots' columns, subtract the block from X, and drop rows when it pays."""
    m = gone.size - int(gone.sum())
    holes, movers = np.flatnonzero(gone[:m]), m + np.flatnonzero(~gone[m:])
    for array in (stage.column, stage.column_state, stage.row_of, stage.diagonal):
        array[holes] = array[movers]
    y[:, holes] = y[:, movers]
    column = stage.column[:m]
    product = blas.dgemm(-1.0, w.T, y[:, :m].T, 1.0, column.T, trans_b=True, overwrite_c=True)
    assert np.shares_memory(product, column)  # a copy would be lost
    kept = replace(
        stage,
        column=column,
        column_state=stage.column_state[:m],
        row_of=stage.row_of[:m],
        diagonal=stage.diagonal[:m],
    )
    if rows or m > SHRINK * stage.z.size:
        return kept
    return replace(
        kept,
        column=np.take(column, kept.row_of, axis=1),
        row_state=kept.column_state,
        row_of=np.arange(m),
        z=stage.z[kept.row_of],
        slope=stage.slope[kept.row_of],
        passive=np.zeros(m, bool),
    )


@compiled
def _subtract_four(vector, rows, k, a, b, c, d):  # type: ignore[no-untyped-def]
    """Subtract a·rows[k] + … + d·rows[k+3] from the vector: four rows in one pass over it."""
    first, second, third, fourth = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
    for i in range(vector.size):
        vector[i] -= a * first[i] + b * second[i] + c * third[i] + d * fourth[i]


@compiled
def _far(slope):  # type: ignore[no-untyped-def]
    """What becomes of slope · step as the step grows without bound."""
    return 0.0 if abs(slope) <= TIE else np.copysign(np.inf, slope)


@compiled
def _shift(row_state, row_of, gone, z, slope, passive, tie, test, facts):  # type: ignore[no-untyped-def]
    """Raise λ until the next active state is indifferent; look at all others on the way."""
    step = np.inf
    for c in range(gone.size):
        r = row_of[c]
        if not gone[c] and slope[r] > TIE and z[r] < step * slope[r]:
            step = z[r] / slope[r]
    first, second, worst = np.inf, step, -1
    if test:
        for r in range(z.size):
            if slope[r] <= TIE:
                facts[1] = 0.0
            if passive[r]:
                rise = -slope[r] * step if step < np.inf else _far(-slope[r])
                if z[r] + rise > tie:
                    crossing = max(z[r] / slope[r], 0.0)
                    if crossing < first:
                        first, second, worst = crossing, min(first, second), r
                    else:
                        second = min(second, crossing)
                elif z[r] + rise > -tie:
                    facts[2] = 0.0
    if worst >= 0:
        facts[3] = row_state[worst]
        facts[4] = facts[0] + first + (0.5 * (second - first) if second < np.inf else 1.0)
        return BROKEN
    if step == np.inf:
        return INFINITE
    facts[0] += step
    for r in range(z.size):
        z[r] -= step * slope[r]
    return RUNNING


@compiled
def _panel(  # type: ignore[no-untyped-def]
    column, row_state, column_state, row_of, z, slope, diagonal, passive, gone, W, Y, limit, tie,
    test, index, facts
):  # fmt: skip
    """Up to ``limit`` pivots without touching X; returns (status, pivots done)."""
    n, m = z.size, column_state.size
    done = 0
    left = m
    while done < limit:
        pick, pivot = -1, -1.0
        for c in range(m):
            if not gone[c] and z[row_of[c]] <= tie and abs(1 + diagonal[c]) > pivot:
                pick, pivot = c, abs(1 + diagonal[c])
        if pick < 0:
            status = _shift(row_state, row_of, gone, z, slope, passive, tie, test, facts)
            if status != RUNNING:
                return status, done
            continue
        row = row_of[pick]
        if pivot <= PIVOT:
            facts[3], facts[4] = row_state[row], facts[0]
            return SINGULAR, done
        w, y = W[done], Y[done]
        w[:] = column[pick]
        for c in range(m):
            y[c] = column[c, row]
        for k in range(0, done - 3, 4):
            _subtract_four(w, W, k, Y[k, pick], Y[k + 1, pick], Y[k + 2, pick], Y[k + 3, pick])
            _subtract_four(y, Y, k, W[k, row], W[k + 1, row], W[k + 2, row], W[k + 3, row])
        for k in range(done - done % 4, done):
            w -= Y[k, pick] * W[k]
            y -= W[k, row] * Y[k]
        w /= 1 + w[row]
        factor = slope[row]
        for r in range(n):
            slope[r] -= factor * w[r]
        for c in range(m):
            diagonal[c] -= w[row_of[c]] * y[c]
        index[row_state[row]] = facts[0]
        z[row] = 0.0
        passive[row], gone[pick] = True, True
        done += 1
        left -= 1
    return (DONE if left == 0 else RUNNING), done
