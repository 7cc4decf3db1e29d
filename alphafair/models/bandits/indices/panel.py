"""A block of pivots: compiled for large arms, in numpy for small ones.

`panel` removes up to a whole block of states from the active ones, and leaves X as it was: the head
of `elimination` derives what happens here, and has the names.  Its plain twin takes the same pivots
in the same order, but for candidates whose pivots differ by rounding only; all numbers agree to
rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....checks import Floats
from ....kernels import Kernel

TIE = 1e-12  # advantages this far from zero, relative to the largest, are zero
PIVOT = 1e-12  # a pivot below this is zero
LARGE = 500  # states: from here on the loop is faster by a third, once numba is loaded
CHUNK = 64  # rows that are counted before one of them is looked at

RUNNING, DONE, INFINITE, SINGULAR, BROKEN = range(5)


def panel(*arguments: Any, work: int) -> tuple[int, int]:
    """Up to ``limit`` pivots without touching X.

    Args:
        arguments: column, row_state, column_state, row_of, z, slope, diagonal, passive as in the
            stage; gone (m,) which columns became passive in this block; W (block, n) and
            Y (block, m) the rows that it stores; limit, the most pivots; tie, the advantage that
            counts as zero; test, whether to look at passive states; index (S,); facts (6,)
            μ, strong, strict, state, penalty, the smallest pivot.  All but the numbers are written
            to.
        work: the number of states S, which decides which twin does it.

    Returns:
        The status and the number of pivots done.
    """
    status, done = _panel(*arguments, work=work)
    return int(status), int(done)


def _subtract_four(vector: Any, rows: Any, k: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Subtract a·rows[k] + … + d·rows[k+3] from the vector: four rows in one pass over it."""
    first, second, third, fourth = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
    for i in range(vector.size):
        vector[i] -= a * first[i] + b * second[i] + c * third[i] + d * fourth[i]


def _far(slope: Any) -> Any:
    """What becomes of slope · step as the step grows without bound."""
    return 0.0 if abs(slope) <= TIE else np.copysign(np.inf, slope)


def _crossings(
    row_state: Any, z: Any, slope: Any, passive: Any, tie: Any, step: Any, facts: Any
) -> Any:
    """Which passive states are indifferent again on the way: none may want to be active."""
    first, second, worst = np.inf, step, -1
    for r in range(z.size):
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
    if worst < 0:
        return RUNNING
    facts[3] = row_state[worst]
    facts[4] = facts[0] + first + (0.5 * (second - first) if second < np.inf else 1.0)
    return BROKEN


def _shift(
    row_state: Any, z: Any, slope: Any, passive: Any, tie: Any, test: Any, facts: Any
) -> Any:
    """Raise λ until the next active state is indifferent; look at all others on the way.

    First rows are only counted, which the processor does several at a time.  Nearly always none of
    a chunk is closer, and no passive one near zero, so that a closer look is not needed.
    """
    step = np.inf
    for begin in range(0, z.size, CHUNK):
        rows = slice(begin, begin + CHUNK)
        far, fall, gone = z[rows], slope[rows], passive[rows]
        closer = 0
        for r in range(far.size):
            closer += (fall[r] > TIE) & (far[r] < step * fall[r]) & (not gone[r])
        if closer > 0:
            for r in range(far.size):
                if fall[r] > TIE and far[r] < step * fall[r] and not gone[r]:
                    step = far[r] / fall[r]
    if test:
        flat, near = 0, 0
        for r in range(z.size):
            flat += slope[r] <= TIE
            near += passive[r] & (z[r] - step * slope[r] > -tie)
        if flat > 0:
            facts[1] = 0.0
        if near > 0 or step == np.inf:
            status = _crossings(row_state, z, slope, passive, tie, step, facts)
            if status != RUNNING:
                return status
    if step == np.inf:
        return INFINITE
    facts[0] += step
    for r in range(z.size):
        z[r] -= step * slope[r]
    return RUNNING


def _loop(
    column: Any,
    row_state: Any,
    column_state: Any,
    row_of: Any,
    z: Any,
    slope: Any,
    diagonal: Any,
    passive: Any,
    gone: Any,
    W: Any,
    Y: Any,
    limit: Any,
    tie: Any,
    test: Any,
    index: Any,
    facts: Any,
) -> Any:
    """The pivots, one operation at a time."""
    n, m = z.size, column_state.size
    done = 0
    left = m
    tied = -1  # active states that are indifferent, as soon as somebody has counted
    while done < limit:
        if tied == 0:
            status = _shift(row_state, z, slope, passive, tie, test, facts)
            if status != RUNNING:
                return status, done
        first, pick, pivot, tied = -1, -1, -1.0, 0
        for c in range(m):
            if not gone[c] and z[row_of[c]] <= tie:
                tied += 1
                if first < 0:
                    first = c
                if abs(1 + diagonal[c]) > pivot:
                    pick, pivot = c, abs(1 + diagonal[c])
        if pick < 0:
            continue
        if pivot <= PIVOT:
            facts[3], facts[4] = row_state[row_of[first]], facts[0]
            return SINGULAR, done
        facts[5] = min(facts[5], pivot)
        row = row_of[pick]
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
        tied -= 1
    return (DONE if left == 0 else RUNNING), done


def _plain(
    column: Floats, row_state: Any, column_state: Any, row_of: Any, z: Floats, slope: Floats,
    diagonal: Floats, passive: Any, gone: Any, W: Floats, Y: Floats, limit: int, tie: float,
    test: bool, index: Floats, facts: Floats
) -> tuple[int, int]:  # fmt: skip
    """The pivots, whole rows at a time."""
    done = 0
    while done < limit:
        candidates = np.flatnonzero(~gone & (z[row_of] <= tie))
        if not candidates.size:
            status = _shift_rows(row_state, z, slope, passive, tie, test, facts)
            if status != RUNNING:
                return status, done
            continue
        pivots = np.abs(1 + diagonal[candidates])
        if pivots.max() <= PIVOT:
            facts[3], facts[4] = row_state[row_of[candidates[0]]], facts[0]
            return SINGULAR, done
        facts[5] = min(facts[5], pivots.max())
        pick = candidates[pivots.argmax()]
        row = row_of[pick]
        w, y = W[done], Y[done]
        w[:] = column[pick] - Y[:done, pick] @ W[:done]
        y[:] = column[:, row] - W[:done, row] @ Y[:done]
        w /= 1 + w[row]
        slope -= slope[row] * w
        diagonal -= w[row_of] * y
        index[row_state[row]] = facts[0]
        z[row] = 0.0
        passive[row] = gone[pick] = True
        done += 1
    return (DONE if gone.all() else RUNNING), done


def _shift_rows(
    row_state: Any, z: Floats, slope: Floats, passive: Any, tie: float, test: bool, facts: Floats
) -> int:  # fmt: skip
    """`_shift`, all rows at a time."""
    rising = slope > TIE
    active = rising & ~passive
    step = (z[active] / slope[active]).min(initial=np.inf)
    if step < np.inf:
        later = z - step * slope
    else:
        later = np.where(np.abs(slope) <= TIE, z, -np.copysign(np.inf, slope))
    if test:
        facts[1] *= rising.all()
        again = np.flatnonzero(passive & (later > -tie))
        wrong = again[later[again] > tie]
        facts[2] *= wrong.size == again.size
        if wrong.size:
            crossing = np.maximum(z[wrong] / slope[wrong], 0.0)
            first = crossing.argmin()
            second = np.delete(crossing, first).min(initial=step)
            beyond = 0.5 * (second - crossing[first]) if second < np.inf else 1.0
            facts[3] = row_state[wrong[first]]
            facts[4] = facts[0] + crossing[first] + beyond
            return BROKEN
    if step == np.inf:
        return INFINITE
    facts[0] += step
    z[:] = later
    return RUNNING


_panel = Kernel(
    _loop,
    _plain,
    helpers=(_subtract_four, _far, _crossings, _shift),
    large=LARGE,
    error_model="numpy",
    fastmath={"contract"},
)
