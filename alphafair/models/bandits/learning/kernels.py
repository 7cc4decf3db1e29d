"""Loops over a few small rested arms: thousands of Gittins indices and plans a second.

A learner computes a plan at the start of each episode, from an estimate that has just changed.  The
arms have few states, so what counts is not the order of the operations but what a call costs; and
numbers that need no BLAS are the same on every machine.

n arms with S_1, …, S_n states are arrays padded to S = max S_a: ``P[a, s, s']`` and ``R[a, s]``,
with ``sizes[a] = S_a``.  A **joint state** is one number, ``x = Σ s_a · strides[a]``; activating
arm a moves it by ``(s' − s_a) · strides[a]``, so that a chain on X = Π S_a joint states has at most
S successors a state.

Each loop has a plain twin for few calls and for machines without numba (`kernels.Kernel`): the same
indices and plays to the last digit, and so are linear systems of up to 150 joint states; plans are
the same, their values to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....checks import Floats, Integers
from ....kernels import Kernel

DENSE = 150  # joint states up to which elimination beats sweeps
CLOSE = 1e-13  # sweeps end when they change values by less than this part of the largest
# Work from which on the loops are compiled: there the twins take a few tenths of a second, about as
# long as loading numba and the compiled loop does.
GITTINS = 10_000  # states removed, one of each arm at a time, in all calls
STEPS = 100_000  # steps played, in all calls
LOSSES = 50_000  # joint states, up to 150 of them in a call, in all calls
LISTED = 500  # joint states in one call: numpy solves fewer in half a millisecond
PLANS = 1_000_000  # entries X² of a linear system, times the number of plans
DIRECT = 1500  # joint states up to which a linear system of numpy beats sweeps of numpy


def gittins_indices(P: Floats, R: Floats, sizes: Integers, beta: float) -> Floats:
    """(n, S) Gittins index of every state of every arm, by removing states from the largest down.

    Let C be the states removed so far, all of larger index.  From state i the arm is activated
    until it leaves C (or i itself): d_i is what that pays, b_i = E[1 − β^duration], Q_ij the
    discounted probability to arrive in j.  The largest (1 − β) d/b outside C is the next index, and
    removing its state s is one step of elimination (Sonin; Varaiya, Walrand and Buyukkoc)::

        c = β Q_·s / (1 − β Q_ss),    d += c d_s,    b += c b_s,    Q += c Q_s·

    Args:
        P: (n, S, S) transitions.
        R: (n, S) rewards.
        sizes: (n,) states of each arm; what is behind them has the index −inf.
        beta: the discount, in (0, 1).
    """
    index: Floats = _gittins(P, R, sizes, beta, work=P.shape[1])
    return index


def first_largest(index: Floats, sizes: Integers, strides: Integers, count: int) -> Integers:
    """(X,) the arm of largest index in each joint state, the first of them where they tie."""
    state = np.arange(count)[:, None] // strides % sizes
    choice: Integers = index[np.arange(len(sizes)), state].argmax(axis=1)
    return choice


def play(
    choice: Integers,
    index: Floats,
    P: Floats,
    R: Floats,
    sizes: Integers,
    strides: Integers,
    initial: Integers,
    uniform: Floats,
    coins: Floats,
    record: bool,
    seen: tuple[Integers, Integers],
    joint: tuple[Integers, Integers],
) -> float:
    """One episode; returns the sum of mean rewards.

    Args:
        choice: (X,) arm for each joint state; empty if ``index`` decides.
        index: (n, S) priorities of all states.
        P: (n, S, S) transitions.
        R: (n, S) mean rewards.
        sizes: (n,) states of each arm.
        strides: (n,) of the joint state.
        initial: (n,) states at the start.
        uniform: (n, H) the j-th activation of arm a moves it by uniform[a, j], whenever it happens:
            two policies that activate the same arms meet the same luck.
        coins: (H,) uniforms for the rewards.
        record: whether to count in ``seen`` = (moves, paid) and, unless empty, in ``joint``.
    """
    arms = (choice, index, P, R, sizes, strides, initial)
    return float(_play(*arms, uniform, coins, record, seen, joint, work=coins.size))


def policy_loss(
    choice: Integers,
    gap: Floats,
    P: Floats,
    sizes: Integers,
    strides: Integers,
    start: int,
    beta: float,
) -> float:
    """V*(start) − V_choice(start) = E Σ β^t gap[x_t, choice(x_t)], over the states it can reach.

    Args:
        choice: (X,) arm for each joint state.
        gap: (X, n) what each arm loses there.
        P: (n, S, S) transitions.
        sizes: (n,) states of each arm.
        strides: (n,) of the joint state.
        start: the joint state.
        beta: the discount, in (0, 1).
    """
    loss = _loss if choice.size <= DENSE else _large_loss
    return float(loss(choice, gap, P, sizes, strides, start, beta, work=choice.size))


def optimistic_arms(
    P: Floats,
    R: Floats,
    radius: Floats,
    sizes: Integers,
    strides: Integers,
    beta: float,
    start: Floats,
    gain: float,
    times: int = 1,
) -> tuple[Integers, Floats]:
    """The best policy on the X joint states and, in each of them, the best transitions near P.

    Policy iteration, from the values V = ``start``, for::

        V(x) = max_a  R[a, s_a] + β max { Σ_j q_j V(x with s_a ← j) : ‖q − P[a, s_a]‖₁ ≤ radius }

    Returns ((X,) arm, (X,) V).  Arms closer than ``gain`` · max V / (1 − β) tie: the first wins.
    ``times`` is how often it will be asked.
    """
    work = times * start.size**2
    choice, value = _optimistic(P, R, radius, sizes, strides, beta, start, gain, work=work)
    return choice, value


# --- loops, to be compiled -----------------------------------------------------------------------
def _gittins_loop(P: Any, R: Any, sizes: Any, beta: Any) -> Any:
    """The arms one after the other."""
    index = np.full(R.shape, -np.inf)
    for a in range(len(sizes)):
        size = sizes[a]
        Q, d = P[a, :size, :size].copy(), R[a, :size].copy()
        b, left = np.full(size, 1 - beta), np.ones(size, np.bool_)
        for _ in range(size):
            s, top = -1, 0.0
            for i in range(size):
                if left[i] and (s < 0 or d[i] / b[i] > top):
                    s, top = i, d[i] / b[i]
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


def _play_loop(
    choice: Any,
    index: Any,
    P: Any,
    R: Any,
    sizes: Any,
    strides: Any,
    initial: Any,
    uniform: Any,
    coins: Any,
    record: Any,
    seen: Any,
    joint: Any,
) -> Any:
    """Step by step."""
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


def solve_discounted(A: Any, b: Any) -> Any:
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
        b[k] /= A[k, k]
        for i in range(k):
            b[i] -= A[i, k] * b[k]
    return b


def chain_value(successor: Any, row: Any, reward: Any, beta: Any, start: Any) -> Any:
    """(m,) V = reward + β Σ_j row[·, j] V[successor[·, j]]: elimination, or sweeps if m is large.

    The sweeps (Gauss–Seidel, from ``start``) each shrink the error by β at least.
    """
    size, width = row.shape
    if size <= DENSE:
        A = np.eye(size)
        for x in range(size):
            for j in range(width):
                A[x, successor[x, j]] -= beta * row[x, j]
        return solve_discounted(A, reward.copy())
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


def _loss_loop(
    choice: Any, gap: Any, P: Any, sizes: Any, strides: Any, start: Any, beta: Any
) -> Any:
    """The joint states that are reached, in the order in which they are."""
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


def shifted(p: Any, value: Any, radius: Any) -> Any:
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


def _optimistic_loop(
    P: Any, R: Any, radius: Any, sizes: Any, strides: Any, beta: Any, start: Any, gain: Any
) -> Any:
    """The joint states one after the other."""
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


# --- the same in numpy ---------------------------------------------------------------------------
def _gittins_rows(P: Floats, R: Floats, sizes: Integers, beta: float) -> Floats:
    """A state of every arm at a time."""
    index, arm = np.full(R.shape, -np.inf), np.arange(len(sizes))
    left = np.arange(R.shape[1]) < sizes[:, None]
    Q, d, b = P.copy(), R.copy(), np.full(R.shape, 1 - beta)
    for step in range(R.shape[1]):
        s = np.where(left, d / b, -np.inf).argmax(axis=1)
        some = step < sizes
        index[arm[some], s[some]] = ((1 - beta) * d[arm, s] / b[arm, s])[some]
        left[arm, s] = False
        scale = beta / (1 - beta * Q[arm, s, s])
        c = np.where(left, scale[:, None] * Q[arm, :, s], 0.0)
        d += c * d[arm, s][:, None]
        b += c * b[arm, s][:, None]
        Q += c[:, :, None] * Q[arm, s][:, None, :]
        Q[arm, :, s] = 0.0
    return index


def _solve_discounted_rows(A: Floats, b: Floats) -> Floats:
    """`solve_discounted`, a pivot's rows at a time: the same to the last digit."""
    for k in range(b.size):
        factor = A[k + 1 :, k] / A[k, k]
        A[k + 1 :, k + 1 :] -= factor[:, None] * A[k, k + 1 :]
        b[k + 1 :] -= factor * b[k]
    for k in range(b.size - 1, -1, -1):
        b[k] /= A[k, k]
        b[:k] -= A[:k, k] * b[k]
    return b


def _chain_rows(
    successor: Integers, row: Floats, reward: Floats, beta: float, start: Floats
) -> Floats:
    """`chain_value` by a linear system, or by sweeps over all states at a time if it is large."""
    size, value = reward.size, start
    if size <= DIRECT:
        A = np.eye(size)
        np.subtract.at(A, (np.arange(size)[:, None], successor), beta * row)
        if size <= DENSE:
            return _solve_discounted_rows(A, reward.copy())
        return np.linalg.solve(A, reward).astype(float, copy=False)
    while True:
        before = value
        value = np.asarray(reward + beta * (row * value[successor]).sum(axis=1))
        if np.abs(value - before).max() <= CLOSE * np.abs(value).max():
            return value


def _loss_rows(
    choice: Integers,
    gap: Floats,
    P: Floats,
    sizes: Integers,
    strides: Integers,
    start: int,
    beta: float,
) -> float:
    """All joint states at once, and then those that are reached, in the same order."""
    x, there = np.arange(choice.size), np.arange(P.shape[1])
    size, step = sizes[choice], strides[choice]
    state = x // step % size
    row = np.where(there < size[:, None], P[choice, state], 0.0)
    after = x[:, None] + (there - state[:, None]) * step[:, None]
    place, count, met = np.full(x.size, -1), 0, [np.array([start])]
    while met[-1].size:
        place[met[-1]] = np.arange(count, count + met[-1].size)
        count += met[-1].size
        ahead = after[met[-1]][row[met[-1]] > 0]
        new, first = np.unique(ahead[place[ahead] < 0], return_index=True)
        met.append(new[np.argsort(first)])
    reached = np.concatenate(met)
    cost = gap[reached, choice[reached]]
    if not (cost > 0).any():
        return 0.0
    law = row[reached]
    successor = place[np.where(law > 0, after[reached], start)]
    return float(_chain_rows(successor, law, cost, beta, np.zeros(count))[0])


def _shifted_rows(p: Floats, value: Floats, radius: Floats) -> Floats:
    """`shifted` for each row (…, S) of p and value and each radius (…)."""
    last, q = value.copy(), np.empty_like(p)
    np.put_along_axis(last, value.argmax(axis=-1)[..., None], np.inf, axis=-1)
    order = np.argsort(last, axis=-1, kind="stable")  # worst first, the best at the end
    sorted_q = np.take_along_axis(p, order, axis=-1)
    more = np.minimum(radius / 2, 1 - sorted_q[..., -1])
    sorted_q[..., -1] += more
    others = sorted_q[..., :-1]
    below = np.cumsum(others, axis=-1) - others
    others -= np.clip(more[..., None] - below, 0, others)
    np.put_along_axis(q, order, sorted_q, axis=-1)
    return q


def _optimistic_rows(
    P: Floats,
    R: Floats,
    radius: Floats,
    sizes: Integers,
    strides: Integers,
    beta: float,
    start: Floats,
    gain: float,
) -> tuple[Integers, Floats]:
    """All joint states and arms at a time: arrays (X, n, S)."""
    x, arm, there = np.arange(start.size), np.arange(len(sizes)), np.arange(P.shape[1])
    state = x[:, None] // strides % sizes
    real = np.broadcast_to(there < sizes[:, None], (x.size, *P.shape[:2]))
    after = x[:, None, None] + (there - state[..., None]) * strides[:, None]
    after = np.where(real, after, x[:, None, None])
    law, wide, paid = np.where(real, P[arm, state], 0.0), radius[arm, state], R[arm, state]
    followed: Any = None  # joint states ahead, their law, and the reward
    value = start
    while True:
        margin = gain * (1 + np.abs(value).max()) / (1 - beta)
        ahead = value[after]
        q = _shifted_rows(law, np.where(real, ahead, -np.inf), wide)
        total = paid + beta * (q * ahead).sum(axis=-1)
        choice: Integers = (total >= total.max(axis=1, keepdims=True) - margin).argmax(axis=1)
        best = (after[x, choice], q[x, choice], paid[x, choice])
        if followed is None:
            followed = best
        else:
            better = total[x, choice] > value + margin
            if not better.any():
                return choice, value
            for old, new in zip(followed, best, strict=True):
                old[better] = new[better]
        ahead_of, law_of, reward = followed
        value = _chain_rows(ahead_of, law_of, reward, beta, value)


_gittins = Kernel(_gittins_loop, _gittins_rows, large=GITTINS, adds_up=True, error_model="numpy")
_play = Kernel(_play_loop, large=STEPS, adds_up=True, error_model="numpy")
_system = (solve_discounted, chain_value)
_loss = Kernel(
    _loss_loop, _loss_rows, helpers=_system, large=LOSSES, adds_up=True, error_model="numpy"
)
_large_loss = Kernel(_loss_loop, _loss_rows, helpers=_system, large=LISTED, error_model="numpy")
_optimistic = Kernel(
    _optimistic_loop,
    _optimistic_rows,
    helpers=(*_system, shifted),
    large=PLANS,
    error_model="numpy",
)
