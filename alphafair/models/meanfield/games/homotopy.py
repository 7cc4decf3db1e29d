"""From confusion to reason: the path of players who make mistakes, followed to an equilibrium.

With H_t(i, a) the cost of a in state i at time t, followed by π, a policy is an equilibrium if a is
not taken or no other action is better, π_a (H_a − min H) = 0 for all i, t, a.  Put η > 0 there::

    π_a (H_a − λ) = η,  Σ_a π_a = 1,    or    R_a = η (1/π_0 − 1/π_a) + H_a − H_0 = 0,  a > 0

and all choose uniformly if η is large, and no one can save more than η T A if it is small.
Newton's method finds π, a softmax of z with z_0 = 0, for each of a falling sequence of η from the
one before.  (With a logarithm, η log(π_a/π_0), in place of the barrier, players would make hardly
any mistakes that are costly; that path turns sooner.)

If the game is monotone there is one solution for each η, and the path leads to the equilibrium.
Otherwise there may be several that appear and vanish in pairs.  Where the one that was followed
vanishes, Newton's method is tried for η farther ahead; if it finds nothing there, that is an error.

Its unknowns are (m_{t+1}, u_t, z_t) for all t at once, u the cost of π, with the flow of m and the
recursion for u as equations: errors of one step are not carried through all others, as they would
be if m and u were computed from z.  The Jacobian is block tridiagonal in t::

    dm_{t+1} − (∂F/∂m) dm_t − (∂F/∂z) dz_t = −(m_{t+1} − F_t),         F = Σ m_i π_ia P_iaj(m)
    du_t − δ P^π du_{t+1} − (π · ∂H/∂m) dm_t − Σ_a π_ia (H_ia − u_i) dz_ia = −(u_t − π · H)
    η ∂(1/π_0 − 1/π_a) dz + δ (P_ia − P_i0) du_{t+1} + (∂H_ia/∂m − ∂H_i0/∂m) dm_t = −R
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ....checks import Floats, Integers
from ...common import scipy, watched
from .game import DiscreteGame
from .response import backward, forward, tail

COLDEST = 1e-11  # of the largest difference between actions: the last η
NEWTON = 60  # steps for one η
JUMPS = (0.97, 0.9, 0.8, 0.65, 0.5, 0.3, 0.1, 0.03, 0.01)  # of η where a solution vanishes
FASTEST = 0.01  # η falls no faster than this
FARTHEST = 200.0  # of z: on the path e^z is a cost over η, and it must be a number off it
POINTS = 10_000  # values of η
DIFFERENCE = 1e-5  # in m; for rates that are quadratic in m there is no error but rounding


def homotopy(game: DiscreteGame, coldest: float = COLDEST) -> tuple[Floats, Floats]:
    """The policy (T, S, A) at the end of the path, and the exploitability along it.

    Args:
        game: T steps, S states, A actions.
        coldest: η at the end, in units of the largest difference between two actions.

    Raises:
        ValueError: no solution was found for some η.

    Example:
        >>> from alphafair.models.meanfield.games import susceptible_infected
        >>> policy, regret = homotopy(susceptible_infected(2))
        >>> policy[:, 0].round(6).tolist(), bool(regret[-1] < 1e-9)
        ([[1.0, 0.0], [1.0, 0.0]], True)
    """
    point = _confused(game)
    scale = float(np.abs(_worse(point)).max(initial=0))
    if scale == 0:  # nothing to choose
        return point.rows, np.array([_regret(game, point.rows)])
    eta, end, factor, history = 4 * scale, coldest * scale, 1.0, []
    for _ in watched(range(POINTS), "homotopy"):
        found, rounds, factor = _colder(game, point, eta, factor, end)
        if found is None:
            raise ValueError(
                f"no equilibrium was found for η < {eta:.3g}, where one player can save "
                f"{_regret(game, point.rows):.3g}: coldest = {eta / scale:.2g} would end there; "
                f"are costs and transitions smooth in m?"
            )
        point, eta = found, max(eta * factor, end)
        history.append(_regret(game, point.rows))
        if eta <= end:
            break
        factor = max(min(factor, 0.7) * (0.5 if rounds <= 5 else 1.0), FASTEST)
    return point.rows, np.array(history)


class _Point(NamedTuple):
    """The unknowns and what follows from them."""

    mass: Floats
    value: Floats
    z: Floats
    rows: Floats
    H: Floats
    P: Floats


def _at(game: DiscreteGame, mass: Floats, value: Floats, z: Floats) -> _Point:
    """The costs for m (T + 1, S), u (T + 1, S), z (T, S, A − 1)."""
    logits = np.concatenate([np.zeros((*z.shape[:2], 1)), z], axis=-1)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    rows = weights / weights.sum(axis=-1, keepdims=True)
    P, c = game.table("transitions", mass[:-1]), game.table("costs", mass[:-1])
    H = c + game.discount * (P @ value[1:, None, :, None])[..., 0]
    return _Point(mass, value, z, rows, H, P)


def _confused(game: DiscreteGame) -> _Point:
    """All choose uniformly."""
    T, (size, choices) = game.span, game.shape
    rows = np.full((T, size, choices), 1 / choices)
    mass = forward(game, rows)
    P, c = game.moves(mass[:-1]), game.pays(mass[:-1])
    value, _ = backward(P, c, game.discount, rows, tail(game, mass[-1], rows[-1]))
    return _at(game, mass, value, np.zeros((T, size, choices - 1)))


def _worse(point: _Point) -> Floats:
    """(T, S, A − 1) what an action costs more than the first."""
    more: Floats = point.H[..., 1:] - point.H[..., :1]
    return more


def _residual(point: _Point, eta: float) -> tuple[Floats, Floats, Floats]:
    """Of the three equations."""
    flow = point.mass[1:] - np.einsum("ti,tia,tiaj->tj", point.mass[:-1], point.rows, point.P)
    cost = point.value[:-1] - (point.rows * point.H).sum(axis=-1)
    pi = point.rows
    return flow, cost, eta * (1 / pi[..., :1] - 1 / pi[..., 1:]) + _worse(point)


def _regret(game: DiscreteGame, rows: Floats) -> float:
    """The exploitability of a policy."""
    mass = forward(game, rows)
    P, c = game.moves(mass[:-1]), game.pays(mass[:-1])
    ends = [tail(game, mass[-1], row) for row in (rows[-1], None)]
    v, u = (
        backward(P, c, game.discount, choice, end)[0]
        for choice, end in zip((rows, None), ends, strict=True)
    )
    return float(game.initial @ (v[0] - u[0]))


def _colder(
    game: DiscreteGame, point: _Point, eta: float, factor: float, end: float
) -> tuple[_Point | None, int, float]:
    """A solution for a smaller η, the steps that it took, and η over the one before."""
    while factor < JUMPS[0] or factor == 1:
        found, rounds = _newton(game, point, max(eta * factor, end))
        if found is not None:
            return found, rounds, factor
        factor = np.sqrt(factor)
    for jump in JUMPS:
        found, rounds = _newton(game, point, max(eta * jump, end))
        if found is not None:
            return found, rounds, jump
    return None, 0, factor


def _newton(game: DiscreteGame, point: _Point, eta: float) -> tuple[_Point | None, int]:
    """The solution for this η and the number of steps; None if they do not lead there."""
    # After the end of an endless game the crowd stays as it is: as it was for the η before.
    value = np.concatenate([point.value[:-1], tail(game, point.mass[-1], None)[None]])
    point = _at(game, point.mass, value, point.z)
    scale = max(1.0, float(np.abs(point.H).max()))
    residual = _residual(point, eta)
    size = _size(residual)
    for k in range(NEWTON):
        if size <= max(1e-13 * scale, 1e-5 * eta):
            return point, k
        try:
            dm, du, dz = _step(game, point, residual, eta)
        except RuntimeError:  # singular to the last digit
            return None, k
        for length in 0.5 ** np.arange(10):
            mass, value = point.mass.copy(), point.value.copy()
            mass[1:] = np.maximum(mass[1:] + length * dm, 0)
            value[:-1] += length * du
            trial = _at(game, mass, value, np.clip(point.z + length * dz, -FARTHEST, FARTHEST))
            residual = _residual(trial, eta)
            if _size(residual) < (1 - 0.1 * length) * size:
                break
        else:
            return None, k
        point, size = trial, _size(residual)
    return None, NEWTON


def _size(residual: tuple[Floats, Floats, Floats]) -> float:
    return max(float(np.abs(part).max(initial=0)) for part in residual)


def _derivatives(game: DiscreteGame, point: _Point) -> tuple[Floats, Floats]:
    """∂H (T, S, A, k) with u held, and Σ_ia m_i π_ia ∂P_iaj (T, j, k), by differences.

    Those of second order, to the side where m ≥ 0.
    """
    size, m, after = game.shape[0], point.mass[:-1], point.value[1:]
    dH, dF = np.empty((*point.H.shape, size)), np.empty((len(m), size, size))
    weights = np.array([-3, 4, -1]) / (2 * DIFFERENCE)
    for k in range(size):
        at = [m + step * DIFFERENCE * np.eye(size)[k] for step in range(3)]
        P, c = (
            sum(w * game.table(name, near) for w, near in zip(weights, at, strict=True))
            for name in ("transitions", "costs")
        )
        dH[..., k] = c + game.discount * np.einsum("tiaj,tj->tia", P, after)
        dF[..., k] = np.einsum("ti,tia,tiaj->tj", m, point.rows, P)
    return dH, dF


def _step(
    game: DiscreteGame, point: _Point, residual: tuple[Floats, Floats, Floats], eta: float
) -> tuple[Floats, Floats, Floats]:
    """Newton's step (dm, du, dz)."""
    (T, size, others), pi, P = point.z.shape, point.rows, point.P
    m, delta = point.mass[:-1], game.discount
    dH, dF = _derivatives(game, point)
    under = np.einsum("tia,tiaj->tij", pi, P)
    dF += under.swapaxes(1, 2)
    turn = pi[..., 1:, None] * (np.eye(others + 1)[1:] - pi[..., None, :])  # ∂π_b/∂z_a
    dFdz = np.einsum("ti,tiab,tibj->tjia", m, turn, P).reshape(T, size, -1)
    paid = np.einsum("tiab,tib->tia", turn, point.H)
    dudz = (paid[:, :, None, :] * np.eye(size)[:, :, None]).reshape(T, size, -1)
    dudm = np.einsum("tia,tiak->tik", pi, dH)
    dzdu = delta * (P[:, :, 1:] - P[:, :, :1]).reshape(T, -1, size)
    dzdm = (dH[:, :, 1:] - dH[:, :, :1]).reshape(T, -1, size)

    width = size * others
    block = 2 * size + width  # columns of t: m_{t+1}, u_t, z_t
    at_m, at_u, at_z = (first + block * np.arange(T) for first in (0, size, 2 * size))
    parts = [
        _entries(at_m, at_m, np.broadcast_to(np.eye(size), (T, size, size))),
        _entries(at_m[1:], at_m[:-1], -dF[1:]),
        _entries(at_m, at_z, -dFdz),
        _entries(at_u, at_u, np.broadcast_to(np.eye(size), (T, size, size))),
        _entries(at_u[:-1], at_u[1:], -delta * under[:-1]),
        _entries(at_u[1:], at_m[:-1], -dudm[1:]),
        _entries(at_u, at_z, -dudz),
        _entries(at_z, at_z, eta * _barrier(pi)),
        _entries(at_z[:-1], at_u[1:], dzdu[:-1]),
        _entries(at_z[1:], at_m[:-1], dzdm[1:]),
    ]
    row, column, entry = (np.concatenate(side) for side in zip(*parts, strict=True))
    sparse = scipy("the homotopy").sparse
    matrix = sparse.csc_array((entry, (row, column)), shape=(block * T, block * T))
    right = np.concatenate([part.reshape(T, -1) for part in residual], axis=1)
    step = -sparse.linalg.splu(matrix).solve(right.ravel()).reshape(T, block)
    dm, du, dz = np.split(step, [size, 2 * size], axis=1)
    return dm, du, dz.reshape(point.z.shape)


def _barrier(pi: Floats) -> Floats:
    """(T, S (A − 1), S (A − 1)): the derivative of 1/π_0 − 1/π_a by z_b."""
    T, size, choices = pi.shape
    taken, first = pi[..., 1:], pi[..., :1]
    own = np.eye(choices - 1) / taken[..., None]
    each = taken[..., None, :] * (1 / first - 1 / taken)[..., None] + own
    table = np.zeros((T, size, choices - 1, size, choices - 1))
    for i in range(size):
        table[:, i, :, i] = each[:, i]
    width = size * (choices - 1)
    return table.reshape(T, width, width)


def _entries(rows: Integers, columns: Integers, blocks: Floats) -> tuple[Any, Any, Any]:
    """Row, column and value of the entries of blocks (K, a, b), given the place of their first."""
    _, a, b = blocks.shape
    row = rows[:, None, None] + np.arange(a)[:, None] + np.zeros(b, np.intp)
    column = columns[:, None, None] + np.zeros(a, np.intp)[:, None] + np.arange(b)
    kept = blocks != 0
    return row[kept], column[kept], blocks[kept]
