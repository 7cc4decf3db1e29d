"""Compiled loops for a few small rested arms: thousands of Gittins indices and plans a second.

A learner computes a plan at the start of each episode, from an estimate that has just changed.  The
arms have few states, so what counts is not the order of the operations but what a call costs; and
numbers that need no BLAS are the same on every machine.

n arms with S_1, …, S_n states are arrays padded to S = max S_a: ``P[a, s, s']`` and ``R[a, s]``,
with ``sizes[a] = S_a``.  A **joint state** is one number, ``x = Σ s_a · strides[a]``; activating
arm a moves it by ``(s' − s_a) · strides[a]``, so that a chain on X = Π S_a joint states has at most
S successors a state.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DENSE = 150  # joint states up to which elimination beats sweeps
CLOSE = 1e-13  # sweeps end when they change values by less than this part of the largest

compiled = njit(cache=True, error_model="numpy")


@compiled
def gittins_indices(P, R, sizes, beta):  # type: ignore[no-untyped-def]
    """(n, S) Gittins index of every state of every arm, by removing states from the largest down.

    Let C be the states removed so far, all of larger index.  From state i the arm is activated
    until it leaves C (or i itself): d_i is what that pays, b_i = E[1 − β^duration], Q_ij the
    discounted probability to arrive in j.  The largest (1 − β) d/b outside C is the next index, and
    removing its state s is one step of elimination (Sonin; Varaiya, Walrand and Buyukkoc)::

        c = β Q_·s / (1 − β Q_ss),    d += c d_s,    b += c b_s,    Q += c Q_s·
    """
    index = np.full(R.shape, -np.inf)
    for a in range(len(sizes)):
        size = sizes[a]
        Q, d = P[a, :size, :size].copy(), R[a, :size].copy()
        b, left = np.full(size, 1 - beta), np.ones(size, np.bool_)
        for _ in range(size):
            s = -1
            for i in range(size):
                if left[i] and (s < 0 or d[i] * b[s] > d[s] * b[i]):
                    s = i
            index[a, s] = (1 - beta) * d[s] / b[s]
            left[s] = False
            scale = beta / (1 - beta * Q[s, s])
            for i in range(size):
                if left[i]:
                    c = scale * Q[i, s]
                    d[i] += c * d[s]
                    b[i] += c * b[s]
                    for j in range(size):
                        if left[j]:
                            Q[i, j] += c * Q[s, j]
    return index


@compiled
def first_largest(index, sizes, strides, count):  # type: ignore[no-untyped-def]
    """(X,) the arm of largest index in each joint state, the first of them where they tie."""
    choice = np.empty(count, np.int64)
    for x in range(count):
        best = -1
        top = -np.inf
        for a in range(len(sizes)):
            value = index[a, (x // strides[a]) % sizes[a]]
            if best < 0 or value > top:
                best, top = a, value
        choice[x] = best
    return choice


@compiled
def play(choice, index, P, R, sizes, strides, initial, uniform, coins, record, seen, joint):  # type: ignore[no-untyped-def]
    """One episode; returns the sum of mean rewards.

    Args:
        choice: (X,) arm for each joint state; empty if ``index`` decides.
        uniform: (n, H) the j-th activation of arm a moves it by uniform[a, j], whenever it happens:
            two policies that activate the same arms meet the same luck.
        coins: (H,) uniforms for the rewards.
        record: whether to count in ``seen`` = (moves, paid) and, unless empty, in ``joint``.
    """
    state, used = initial.copy(), np.zeros(len(sizes), np.int64)
    moves, paid = seen
    joint_moves, joint_paid = joint
    x = (initial * strides).sum()
    total = 0.0
    for t in range(coins.size):
        if choice.size:
            a = choice[x]
        else:
            a = 0
            for other in range(1, len(sizes)):
                if index[other, state[other]] > index[a, state[a]]:
                    a = other
        s = state[a]
        u, after = uniform[a, used[a]], 0
        used[a] += 1
        while after < sizes[a] - 1 and u >= P[a, s, after]:
            u -= P[a, s, after]
            after += 1
        while P[a, s, after] == 0:  # rows that sum to 1 − 1e−7 leave a gap above the last entry
            after -= 1
        y = x + (after - s) * strides[a]
        total += R[a, s]
        if record:
            reward = coins[t] < R[a, s]
            moves[a, s, after] += 1
            paid[a, s] += reward
            if joint_moves.size:
                joint_moves[x, a, y] += 1
                joint_paid[x, a] += reward
        state[a], x = after, y
    return total


@compiled
def solve(A, b):  # type: ignore[no-untyped-def]
    """A⁻¹ b in place, for A = I − βP: no pivoting, since every pivot is at least 1 − β."""
    size = b.size
    for k in range(size):
        for i in range(k + 1, size):
            if A[i, k] != 0:
                factor = A[i, k] / A[k, k]
                for j in range(k + 1, size):
                    A[i, j] -= factor * A[k, j]
                b[i] -= factor * b[k]
    for k in range(size - 1, -1, -1):
        total = b[k]
        for j in range(k + 1, size):
            total -= A[k, j] * b[j]
        b[k] = total / A[k, k]
    return b


@compiled
def chain_value(successor, row, reward, beta, start):  # type: ignore[no-untyped-def]
    """(m,) V = reward + β Σ_j row[·, j] V[successor[·, j]]: elimination, or sweeps if m is large.

    The sweeps (Gauss–Seidel, from ``start``) each shrink the error by β at least.
    """
    size, width = row.shape
    if size <= DENSE:
        A = np.eye(size)
        for x in range(size):
            for j in range(width):
                A[x, successor[x, j]] -= beta * row[x, j]
        return solve(A, reward.copy())
    value = start.copy()
    change, largest = np.inf, 0.0
    while change > CLOSE * largest:
        change = 0.0
        for x in range(size):
            total, stay = reward[x], 1.0
            for j in range(width):
                if successor[x, j] == x:
                    stay -= beta * row[x, j]
                else:
                    total += beta * row[x, j] * value[successor[x, j]]
            total /= stay
            change = max(change, abs(total - value[x]))
            largest = max(largest, abs(total))
            value[x] = total
    return value


@compiled
def policy_loss(choice, gap, P, sizes, strides, start, beta):  # type: ignore[no-untyped-def]
    """V*(start) − V_choice(start) = E Σ β^t gap[x_t, choice(x_t)], over the states it can reach."""
    place, reached = np.full(choice.size, -1), np.empty(choice.size, np.int64)
    place[start], reached[0] = 0, start
    count, seen, lost = 1, 0, False
    width = P.shape[1]
    while seen < count:
        x = reached[seen]
        a = choice[x]
        s = (x // strides[a]) % sizes[a]
        lost = lost or gap[x, a] > 0
        for j in range(sizes[a]):
            y = x + (j - s) * strides[a]
            if P[a, s, j] > 0 and place[y] < 0:
                place[y], reached[count] = count, y
                count += 1
        seen += 1
    if not lost:
        return 0.0
    successor, row = np.zeros((count, width), np.int64), np.zeros((count, width))
    cost = np.empty(count)
    for i in range(count):
        x = reached[i]
        a = choice[x]
        s = (x // strides[a]) % sizes[a]
        cost[i] = gap[x, a]
        for j in range(sizes[a]):
            if P[a, s, j] > 0:
                successor[i, j] = place[x + (j - s) * strides[a]]
                row[i, j] = P[a, s, j]
    return chain_value(successor, row, cost, beta, np.zeros(count))[0]


@compiled
def shifted(p, value, radius):  # type: ignore[no-untyped-def]
    """The distribution q with ``Σ_j |q_j − p_j| ≤ radius`` that has the largest mean of value.

    Half the radius moves to the best state, taken from the worst ones first.
    """
    q = p.copy()
    best = np.argmax(value)
    more = min(radius / 2, 1 - q[best])
    q[best] += more
    while more > 0:
        worst = -1
        for j in range(q.size):
            if j != best and q[j] > 0 and (worst < 0 or value[j] < value[worst]):
                worst = j
        if worst < 0:
            break
        taken = min(q[worst], more)
        q[worst] -= taken
        more -= taken
    return q


@compiled
def optimistic_arms(P, R, radius, sizes, strides, beta, start, gain):  # type: ignore[no-untyped-def]
    """The best policy on the X joint states and, in each of them, the best transitions near P.

    Policy iteration, from the values V = ``start``, for::

        V(x) = max_a  R[a, s_a] + β max { Σ_j q_j V(x with s_a ← j) : ‖q − P[a, s_a]‖₁ ≤ radius }

    Returns ((X,) arm, (X,) V).  Arms closer than ``gain`` · max V / (1 − β) tie: the first wins.
    """
    count, width, n = start.size, P.shape[1], len(sizes)
    successor, row = np.zeros((count, width), np.int64), np.zeros((count, width))
    choice, reward, value = np.zeros(count, np.int64), np.zeros(count), start.copy()
    total, q = np.empty(n), np.zeros((n, width))
    fresh, better = True, True
    while better:
        margin, better = gain * (1 + np.abs(value).max()) / (1 - beta), False
        for x in range(count):
            for a in range(n):
                s, step = (x // strides[a]) % sizes[a], strides[a]
                following = value[x - s * step : x + (sizes[a] - 1 - s) * step + 1 : step]
                q[a, : sizes[a]] = shifted(P[a, s, : sizes[a]], following, radius[a, s])
                total[a] = R[a, s] + beta * (q[a, : sizes[a]] * following).sum()
            a = 0
            while total[a] < total.max() - margin:
                a += 1
            choice[x] = a
            if fresh or total[a] > value[x] + margin:
                better = True
                s, step = (x // strides[a]) % sizes[a], strides[a]
                reward[x], successor[x], row[x] = R[a, s], x, 0.0
                for j in range(sizes[a]):
                    successor[x, j], row[x, j] = x + (j - s) * step, q[a, j]
        if better:
            value, fresh = chain_value(successor, row, reward, beta, value), False
    return choice, value
