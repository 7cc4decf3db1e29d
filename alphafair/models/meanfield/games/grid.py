"""A game in steps: the equations of an equilibrium on a grid of times, and Newton's method.

Both kinds of games are the same here.  Between t_k and t_{k+1} players use π_k, and what counts is
the crowd and the value somewhere in between, θ = 0 in discrete and ½ in continuous time
(the implicit midpoint rule: errors of the order h²)::

    m̂ = (1 − θ) m_k + θ m_{k+1},        û = b₀ u_k + b₁ u_{k+1}

    flow     m_{k+1} = m_k + g Σ_ia m̂_i π_ia Q_ia(m̂)
    values   a₀ u_k − a₁ u_{k+1} = h c_ia(m̂) + Q_ia(m̂)·û − s_ia      for all a,   s ≥ 0
    choice   π_ia s_ia = 0,   Σ_a π_ia = 1,   π ≥ 0

==========  =====  ====  ========  =========  ==============  ===============
game        θ      h, g  a₀        a₁         b₀              b₁
==========  =====  ====  ========  =========  ==============  ===============
discrete    0      1     1         δ          0               δ   (Q = P − 1)
continuous  ½      h     e^(βh/2)  e^(−βh/2)  h/2 · e^(βh/2)  h/2 · e^(−βh/2)
==========  =====  ====  ========  =========  ==============  ===============

The rule for the values is the exact adjoint of the rule for the flow: if Q does not depend on m,
then (m, π) → (u, s) telescopes on the grid as it does in time, and a monotone game stays monotone.

**Mistakes.**  Let players pay −Σ_a ε_a log π_ia per step, ε > 0, for being too sure.  The effect
is that π_ia s_ia = ε_a, with κ_i = Σ_a ε_a (1 − log π_ia) added on the right of the values.  If the
game is monotone it has one equilibrium for each ε, because this price is convex.  The pair (π, s)
is written with one number d_ia::

    π = (√(d² + 4ε) + d)/2,    s = (√(d² + 4ε) − d)/2          so π > 0, s > 0, π s = ε, π − s = d

and no step of Newton's method can leave what is allowed.  With ε → 0, π is the positive part of d
and s the negative one, and Newton's method keeps its fast end: it is then the semismooth one.
Here ε = η w + ε₀: η is what `homotopy` lowers, w says who makes more mistakes, ε₀ is what is left.

**Newton.**  Unknown are (u_k, d_k, m_{k+1}) for all k at once.  The Jacobian is banded, S (A + 3)
wide on either side: a factorisation takes T S³ (A + 3)³ operations, and gives the sign of the
determinant, which tells `homotopy` which way to go.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ....checks import Floats
from ...common import scipy
from .game import ContinuousGame, DiscreteGame, Game

ROUNDING = 1e-15  # of fractions and, relatively, of costs
IMPLICIT = 50  # rounds for the crowd in the middle of a step
IMPROVEMENTS = 50  # of one player's policy; a handful is usual
DIFFERENCE = 1e-5  # in m; for rates that are quadratic in m there is no error but rounding


class Grid(NamedTuple):
    """A game in T steps, with costs in units of ``unit``; see the head of the module.

    Attributes:
        game: whose functions of m are asked.
        h: (T,) lengths of the steps.
        theta: θ.
        a, b: (2, T) coefficients of u_k and u_{k+1}.
        unit: of costs: all equations of values are divided by it.
    """

    game: Game
    h: Floats
    theta: float
    a: Floats
    b: Floats
    unit: float = 1.0

    @property
    def times(self) -> Floats:
        """(T + 1,) where the steps begin and end."""
        return np.append(0.0, np.cumsum(self.h))

    def tables(self, m: Floats) -> tuple[Floats, Floats]:
        """G Q (T, S, A, S) per step, and costs h c (T, S, A), for m̂ (T, S)."""
        m = crowd(m)
        Q, c = self.game.moves(m), self.game.pays(m)
        if self.theta == 0:
            Q = Q - np.eye(m.shape[-1])[:, None, :]
        else:
            Q = self.h[:, None, None, None] * Q
        return Q, self.h[:, None, None] * c / self.unit


def grid(game: Game, steps: int | None = None) -> Grid:
    """A discrete game as it is, a continuous one in ``steps`` steps of equal length.

    The unit of costs is the largest difference between two actions when all choose uniformly.
    """
    if isinstance(game, DiscreteGame):
        one, delta = np.ones(game.span), game.discount
        cells = Grid(game, one, 0.0, np.array([one, delta * one]), np.array([0 * one, delta * one]))
    else:
        assert isinstance(game, ContinuousGame)
        assert steps is not None
        h = np.full(steps, game.span / steps)
        half = np.exp(game.discount * h / 2)
        a = np.array([half, 1 / half])
        cells = Grid(game, h, 0.5, a, a / 2)
    S, A = game.shape
    rows = np.full((len(cells.h), S, A), 1 / A)
    m = forward(cells, rows)
    H = costs_of_actions(cells, worth(cells, rows, m), *cells.tables(middle(cells, m)))
    unit = float((H.max(axis=-1) - H.min(axis=-1)).max())
    return cells._replace(unit=unit if unit > 0 else 1.0)


def crowd(m: Floats) -> Floats:
    """Fractions, from numbers that may be a little off."""
    m = np.nan_to_num(np.maximum(m, 0), posinf=1.0)
    total = m.sum(axis=-1, keepdims=True)
    share: Floats = np.divide(m, total, out=np.full(m.shape, 1 / m.shape[-1]), where=total > 0)
    return share


def forward(grid: Grid, rows: Floats) -> Floats:
    """(T + 1, S) the crowd that follows a policy (T, S, A)."""
    m, eye = np.empty((len(rows) + 1, rows.shape[1])), np.eye(rows.shape[1])
    m[0] = grid.game.initial
    for k, row in enumerate(rows):
        mid = m[k]
        for _ in range(IMPLICIT if grid.theta else 1):
            Q = grid.game.moves(crowd(mid))
            under = np.einsum("ia,iaj->ij", row, Q)
            under = grid.h[k] * under if grid.theta else under - eye
            last, mid = mid, np.linalg.solve((eye - grid.theta * under).T, m[k])
            if np.abs(mid - last).max() < ROUNDING:
                break
        m[k + 1] = m[k] + mid @ under
    return m


def worth(grid: Grid, rows: Floats, m: Floats, extra: Floats | float = 0.0) -> Floats:
    """(T + 1, S) what the rest of the game costs with this policy in the crowd m."""
    Q, c = grid.tables(middle(grid, m))
    return _worth(grid, rows, Q, (rows * c).sum(axis=-1) + extra)


def _worth(grid: Grid, rows: Floats, Q: Floats, paid: Floats) -> Floats:
    under, eye = np.einsum("tia,tiaj->tij", rows, Q), np.eye(Q.shape[1])
    now, later = (grid.a[..., None, None] * eye * [[[[1]]], [[[-1]]]]) - grid.b[
        ..., None, None
    ] * under
    if grid.theta:
        back = np.linalg.inv(now)
        paid, later = (back @ paid[..., None])[..., 0], back @ later
    u = np.zeros((len(rows) + 1, Q.shape[1]))
    for k in range(len(rows) - 1, -1, -1):
        u[k] = paid[k] - later[k] @ u[k + 1]
    return u


def costs_of_actions(grid: Grid, u: Floats, Q: Floats, c: Floats) -> Floats:
    """(T, S, A) h c + Q·û."""
    H: Floats = c + np.einsum(
        "tiaj,tj->tia", Q, grid.b[0][:, None] * u[:-1] + grid.b[1][:, None] * u[1:]
    )
    return H


def regret(grid: Grid, rows: Floats, m: Floats) -> float:
    """What one player can save on the grid, by improving policies, all steps at once."""
    Q, c = grid.tables(middle(grid, m))
    value = _worth(grid, rows, Q, (rows * c).sum(axis=-1))
    best, eye = value, np.eye(c.shape[-1])
    for _ in range(IMPROVEMENTS):
        choice = eye[costs_of_actions(grid, best, Q, c).argmin(axis=-1)]
        better = _worth(grid, choice, Q, (choice * c).sum(axis=-1))
        done = float(np.abs(better - best).max()) <= ROUNDING * float(np.abs(best).max(initial=1))
        best = better
        if done:
            break
    return float(grid.game.initial @ (value[0] - best[0]) * grid.unit)


class Point(NamedTuple):
    """The unknowns and what follows from them.

    Attributes:
        u: (T + 1, S), 0 at T.
        d: (T, S, A).
        m: (T + 1, S).
        rows: (T, S, A) π.
        s: (T, S, A).
        Q: (T, S, A, S) per step.
        c: (T, S, A) per step.
    """

    u: Floats
    d: Floats
    m: Floats
    rows: Floats
    s: Floats
    Q: Floats
    c: Floats

    @property
    def lawful(self) -> bool:
        """Not far from a crowd, and no overflow."""
        numbers = np.isfinite(self.u).all() and np.isfinite(self.d).all()
        return bool(numbers and np.abs(self.m).max() < 3)


class Mistakes(NamedTuple):
    """ε = η w + ε₀, for each step, state and action, in units of costs.

    Attributes:
        eta: η.
        w: that can be broadcast to (T, S, A).
        rest: ε₀.
    """

    eta: float
    w: Floats
    rest: float = 0.0

    @property
    def epsilon(self) -> Floats:
        """ε."""
        return self.eta * self.w + self.rest


def point(grid: Grid, u: Floats, d: Floats, m: Floats, mistakes: Mistakes) -> Point:
    """π and s from d, tables from m."""
    epsilon = mistakes.epsilon
    high = (np.hypot(d, 2 * np.sqrt(epsilon)) + np.abs(d)) / 2
    low = np.divide(epsilon, high, out=np.zeros_like(high), where=high > 0)
    rows, s = np.where(d > 0, high, low), np.where(d > 0, low, high)
    return Point(u, d, m, rows, s, *grid.tables(middle(grid, m)))


def middle(grid: Grid, m: Floats) -> Floats:
    """m̂ (T, S)."""
    return (1 - grid.theta) * m[:-1] + grid.theta * m[1:]


def _kappa(at: Point, mistakes: Mistakes) -> Floats:
    """(T, S) κ."""
    epsilon = mistakes.epsilon
    if not epsilon.any():
        return np.zeros(at.rows.shape[:2])
    kappa: Floats = (epsilon * (1 - np.log(at.rows))).sum(axis=-1)
    return kappa


def hamiltonians(grid: Grid, at: Point) -> Floats:
    """(T, S, A) h c + Q·û − a₀ u_k + a₁ u_{k+1}: what an action costs more than u says."""
    a = grid.a[..., None]
    H = costs_of_actions(grid, at.u, at.Q, at.c)
    excess: Floats = H - (a[0] * at.u[:-1] - a[1] * at.u[1:])[..., None]
    return excess


def residual(grid: Grid, at: Point, mistakes: Mistakes) -> Floats:
    """(T, S A + 2 S): of values, of Σ π = 1, of the flow."""
    T = len(at.d)
    worth = hamiltonians(grid, at) + _kappa(at, mistakes)[..., None] - at.s
    joint = middle(grid, at.m)[..., None] * at.rows
    flow = at.m[1:] - at.m[:-1] - np.einsum("tia,tiaj->tj", joint, at.Q)
    return np.concatenate([worth.reshape(T, -1), at.rows.sum(axis=-1) - 1, flow], axis=1)


class Linear(NamedTuple):
    """The equations to first order: factors of the Jacobian, and what the change of log η does.

    Attributes:
        factors: LU, pivots, and the width of the band.
        sign: of the determinant.
        colder: (T, S A + 2 S) derivative of the residual by log η.
        slope: (T, S, A) dπ/dd.
        drift: (T, S, A) dπ/d log η with d held.
    """

    factors: tuple[Any, Any, int]
    sign: float
    colder: Floats
    slope: Floats
    drift: Floats

    def solve(self, *right: Floats) -> list[Floats]:
        """The solution for each right-hand side (T, …), in the order (u_k, d_k, m_{k+1})."""
        lu, pivots, band = self.factors
        shape = right[0].shape
        side = np.stack([each.ravel() for each in right], axis=1)
        found, _ = scipy().linalg.lapack.dgbtrs(lu, band, band, side, pivots)
        return [found[:, k].reshape(shape) for k in range(len(right))]


def linear(grid: Grid, at: Point, mistakes: Mistakes, *, floor: float = 0.0) -> Linear:
    """The Jacobian, factored.

    Args:
        floor: least value of ds/dd, for points with η = 0 where actions are equally good for ever.
    """
    T, S, A = at.d.shape
    block, band = S * (A + 2), S * (A + 3) - 1
    total, epsilon, falling = at.rows + at.s, mistakes.epsilon, mistakes.eta * mistakes.w
    slope = np.divide(at.rows, total, out=np.full(total.shape, 0.5), where=total > 0)
    fall = np.maximum(np.divide(at.s, total, out=np.full(total.shape, 0.5), where=total > 0), floor)
    inverse = np.divide(1, total, out=np.zeros(total.shape), where=total > 0)
    drift = falling * inverse
    mid, a, b = middle(grid, at.m), grid.a, grid.b
    seen = b[0][:, None] * at.u[:-1] + b[1][:, None] * at.u[1:]
    joint = mid[..., None] * at.rows
    dQ, dc = _by_crowd(grid, mid)
    by_m = dc + np.einsum("tiajl,tj->tial", dQ, seen)
    flow_m = -np.einsum("tia,tiajl->tjl", joint, dQ) - np.einsum("tla,tlaj->tjl", at.rows, at.Q)
    flow_d = -np.einsum("ti,tia,tiaj->tjia", mid, slope, at.Q)
    calm = -epsilon * inverse  # dκ_i/dd_ib

    wide, stored = block + 2 * S, 3 * band + 1
    storage = np.zeros((T * block + 2 * S) * stored + stored)
    step = storage.itemsize
    # Entry (i, j) of the rows of step k, whose columns are m_k, (u_k, d_k, m_{k+1}), u_{k+1}.
    rows = np.lib.stride_tricks.as_strided(
        storage[2 * band + S :],
        (T, block, wide),
        (block * stored * step, step, (stored - 1) * step),
    )
    eye = np.eye(S)
    worth = np.zeros((T, S, A, wide))
    own = (eye[:, None, :] * np.ones((S, A, S)))[None]
    x = slice(2 * S, 2 * S + S * A)
    worth[..., :S] = (1 - grid.theta) * by_m
    worth[..., S : 2 * S] = b[0][:, None, None, None] * at.Q - a[0][:, None, None, None] * own
    worth[..., -2 * S : -S] = grid.theta * by_m
    worth[..., -S:] = b[1][:, None, None, None] * at.Q + a[1][:, None, None, None] * own
    local = worth[..., x].reshape(T, S, A, S, A)
    for i in range(S):
        local[:, i, :, i, :] = calm[:, i, None, :] + fall[:, i, :, None] * np.eye(A)
    worth[..., x] = local.reshape(T, S, A, S * A)
    rows[:, : S * A] = worth.reshape(T, S * A, wide)
    sums = np.zeros((T, S, S, A))
    sums[:, np.arange(S), np.arange(S)] = slope
    rows[:, S * A : S * (A + 1), x] = sums.reshape(T, S, S * A)
    rows[:, -S:, :S] = (1 - grid.theta) * flow_m - eye
    rows[:, -S:, x] = flow_d.reshape(T, S, S * A)
    rows[:, -S:, -2 * S : -S] = grid.theta * flow_m + eye

    matrix = storage[S * stored : (S + T * block) * stored].reshape(T * block, stored).T
    lu, pivots, _ = scipy("the homotopy").linalg.lapack.dgbtrf(matrix, band, band, overwrite_ab=1)
    diagonal = lu[2 * band]
    swaps = (pivots != np.arange(pivots.size)).sum()
    sign = float(np.where(diagonal < 0, -1.0, 1.0).prod() * (-1.0) ** swaps)
    kappa = np.zeros((T, S))
    if epsilon.any():
        kappa = (falling * (1 - np.log(at.rows)) - epsilon * drift / at.rows).sum(axis=-1)
    colder = np.concatenate(
        [
            (kappa[..., None] - drift).reshape(T, -1),
            drift.sum(axis=-1),
            -np.einsum("ti,tia,tiaj->tj", mid, drift, at.Q),
        ],
        axis=1,
    )
    return Linear((lu, pivots, band), sign, colder, slope, drift)


def _by_crowd(grid: Grid, mid: Floats) -> tuple[Floats, Floats]:
    """∂Q (T, S, A, S, l) and ∂c (T, S, A, l) towards e_l, by differences of second order.

    m moves from m̂ to e_l, so that it stays a distribution; as Σ dm = 0 that is all one needs.
    """
    S, mid = mid.shape[1], crowd(mid)
    weights = np.array([-3, 4, -1]) / (2 * DIFFERENCE)
    Q, c = grid.tables(mid)
    dQ, dc = (
        weights[0] * np.repeat(Q[..., None], S, -1),
        weights[0] * np.repeat(c[..., None], S, -1),
    )
    for k in range(S):
        for step in (1, 2):
            Q, c = grid.tables(mid + step * DIFFERENCE * (np.eye(S)[k] - mid))
            dQ[..., k] += weights[step] * Q
            dc[..., k] += weights[step] * c
    return dQ, dc


def parts(grid: Grid, solution: Floats, shape: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """A solution (T, S A + 2 S) as changes of u (T + 1, S), d (T, S, A), m (T + 1, S)."""
    _, S, A = shape
    zero = np.zeros((1, S))
    du = np.concatenate([solution[:, :S], zero])
    dd = solution[:, S : S + S * A].reshape(shape)
    dm = np.concatenate([zero, solution[:, S + S * A :]])
    return du, dd, dm
