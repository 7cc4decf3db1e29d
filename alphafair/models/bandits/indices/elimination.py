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

**One equation less** (every β).  Rows of P1 and P0 have the same sum, so Δ 1 = 0, and A 1 =
(1 − β) 1: each row x of X satisfies x · 1 = 0.  Near β = 1 rounding would break this by as much as
1/(1 − β) roundings, so it takes the place of one of the equations: column 0 of A becomes ones,
column 0 of Δ zeros.  The unknowns are then (1 − β) V_0 and the differences V_i − V_0, which stay
finite; at β = 1, average reward, they are the gain and the relative values.  There the pivot
1 + X_ss, the ratio of two determinants, is zero if and only if the next policy is multichain.

**Either end.**  With passive and active exchanged the order is reversed, and the pivots become
their inverses.  Policies that are nearly multichain, such as those of arms that hardly move while
passive, have small pivots, 1 − β, and each loses digits; from the other end they are large.

**Ties.**  States with z = 0 become passive together.  Which first?  The one with the largest pivot:
in between, policies may be multichain although the one after the tie is not.

References:
    N. Gast, B. Gaujal, K. Khun, "Testing indexability and computing Whittle and Gittins index in
    subcubic time", Math. Methods of Operations Research 2023, arXiv:2203.05207.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....checks import Floats, Integers
from ...common import scipy
from .panel import LARGE, RUNNING, TIE, panel

BLOCK = 48  # pivots between two matrix products: W and the rows of a block stay in the cache
SHRINK = 0.7  # rows are dropped when fewer than this part of them is active
STRIP = 128  # rows of a product without BLAS in place


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
        pivot: the smallest there was; a pivot of 1e−6 loses six digits.
    """

    index: Floats
    status: int
    strong: bool
    strict: bool
    state: int
    penalty: float
    pivot: float


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
    facts = np.array([least, 1.0, 1.0, -1.0, np.nan, np.inf])  # as `panel` has them
    block = size if size <= 2 * BLOCK else BLOCK
    W, Y = np.empty((block, size)), np.empty((block, size))
    status = RUNNING
    while status == RUNNING:
        limit = min(block, stage.column_state.size)
        n, m = stage.z.size, stage.column_state.size
        w, y = W.ravel()[: block * n].reshape(block, n), Y.ravel()[: block * m].reshape(block, m)
        gone = np.zeros(m, bool)
        status, done = panel(
            *(stage.column, stage.row_state, stage.column_state, stage.row_of, stage.z),
            *(stage.slope, stage.diagonal, stage.passive, gone, w, y, limit),
            *(TIE * scale, test, index, facts),
            work=size,
        )
        advance(done)
        if status == RUNNING:
            stage = _next_stage(stage, gone, w[:done], y[:done], rows=test)
    strong, strict, (penalty, pivot) = bool(facts[1]), bool(facts[2]), facts[4:].tolist()
    return Outcome(index, status, strong, strict, int(facts[3]), penalty, pivot)


def _next_stage(stage: _Stage, gone: Any, w: Floats, y: Floats, *, rows: bool) -> _Stage:
    """Drop the pivots' columns, subtract the block from X, and drop rows when it pays."""
    m = gone.size - int(gone.sum())
    holes, movers = np.flatnonzero(gone[:m]), m + np.flatnonzero(~gone[m:])
    for array in (stage.column, stage.column_state, stage.row_of, stage.diagonal):
        array[holes] = array[movers]
    y[:, holes] = y[:, movers]
    column = stage.column[:m]
    _subtract_product(column, y[:, :m], w)
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


def _subtract_product(column: Floats, y: Floats, w: Floats) -> None:
    """Subtract yᵀ w from the column table, in place.

    BLAS does so by itself and is a tenth faster, but only scipy lets it; the product of a strip of
    rows at a time stays in the cache.
    """
    if len(column) >= LARGE:
        with suppress(ImportError):
            gemm = scipy().linalg.blas.dgemm
            product = gemm(-1.0, w.T, y.T, 1.0, column.T, trans_b=True, overwrite_c=True)
            assert np.shares_memory(product, column)  # a copy would be lost
            return
    product = np.empty((STRIP, w.shape[1]))
    for first in range(0, len(column), STRIP):
        strip = column[first : first + STRIP]
        strip -= np.matmul(y[:, first : first + STRIP].T, w, out=product[: len(strip)])
