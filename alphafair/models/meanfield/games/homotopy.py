"""From confusion to reason: the path of players who make mistakes, followed to an equilibrium.

With ε = η w, the equations of `grid` have one solution if η is large: all choose as w tells them,
about uniformly.  As η falls, the solutions form a path.  For almost all w it is a smooth curve that
does not cross itself and has nowhere to end but at η = 0, where players make no mistakes.

In a monotone game whose transitions do not depend on m, η falls all along: there is one solution
for each η.  In others the curve may turn: two solutions meet and vanish, and to go on, η has to
rise for a while.  So the curve is followed by its length and not by η.  With Y for the unknowns and
F for the equations, its direction is ∂F dY + ∂F/∂τ dτ = 0, τ = log η, where dτ has the sign of
det ∂F, up to a sign that is fixed at the start.  So it turns back at a fold, and the factors of the
Jacobian tell when.  Length is measured in policies and in τ.  A step goes ahead along the tangent,
then back to the curve by Newton's method, at right angles to it.  Steps grow while that is easy.
They shrink where it fails, or where the tangent turns by more than a right angle: then it is likely
that the step has missed a bend and found another part of the curve.

The curve arrives, but it may be long: in games with many equilibria it can pass by most of them.
So it is left after a while for another w.  What helps most often is that those who play late make
more mistakes than those who play early: then the early steps, on which all later ones depend, come
to rest first.  After these some w are drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ....checks import Floats
from ...common import watched
from .grid import (
    Grid,
    Linear,
    Mistakes,
    Point,
    forward,
    linear,
    parts,
    point,
    regret,
    residual,
    worth,
)

COLDEST = 1e-12  # the last ε, in units of the largest difference between two actions
WARM = 100.0  # the first η, in the same units; it is raised where that is too cold
HOTTEST = 1e8
NEWTON = 8  # steps for one point of the path: more are a sign that it was too far
PATIENCE = 60  # Newton steps where there is no path to follow
SHORTEST, LONGEST = 1e-7, 1e3  # steps along the path
SHARP = 1e-4  # a step in which it may turn by more than a right angle: else it is another path
EXACT = 0.03  # residual on the path, in units of ε
ROUNDING = 1e-13  # residual, in units of the largest value
TIED = 1e-9  # ds/dd where actions are equally good: keeps the Jacobian regular
POINTS = 1000  # of a path
IDLE = 50  # points without a new low of η: the curve goes round and round
LOWER = 0.9  # what a new low is
SLOWLY = (0.0, 8.0, 16.0, 4.0, 32.0)  # log of how much more mistakes there are late than early
ASIDE = 0.05  # of log w: not quite uniform, so that symmetries do not make the curve cross itself
SPREAD = 1.0  # of log w where it is drawn at random


class Path(NamedTuple):
    """Where a path ended.

    Attributes:
        rows: (T, S, A) the policy there.
        history: exploitability at its points.
        arrived: ε is as small as it should be.
        point: the last one; None if there was not even a first.
    """

    rows: Floats
    history: Floats
    arrived: bool
    point: Point | None


def ways(grid: Grid, attempts: int, seed: int) -> Iterator[tuple[Floats, int]]:
    """Weights w (T, S, A), and how many points without progress they get: the last any number."""
    T, (S, A) = len(grid.h), grid.game.shape
    rng, late = np.random.default_rng(seed), np.linspace(-0.5, 0.5, T)[:, None, None]
    for k in range(attempts):
        slow = SLOWLY[k] if k < len(SLOWLY) else rng.choice(SLOWLY)
        spread = ASIDE if k < len(SLOWLY) else SPREAD
        w = np.exp(slow * late) * _even(np.exp(spread * rng.normal(size=(T, S, A))))
        yield w, IDLE if k < attempts - 1 else POINTS


def _even(w: Floats) -> Floats:
    """Weights with which it costs the same everywhere to choose with the probabilities w/Σw.

    That is −Σ w log(w/Σw).  Where it was less, players would go only to pay less of it.
    """
    rows = w / w.sum(axis=-1, keepdims=True)
    result: Floats = rows
    if rows.shape[-1] == 1:
        return result
    result = -rows / (rows * np.log(rows)).sum(axis=-1, keepdims=True)
    return result


def homotopy(grid: Grid, w: Floats, idle: int = IDLE, coldest: float = COLDEST) -> Path:
    """The path for these weights, followed to the end or until it goes round in circles.

    Args:
        grid: T steps.
        w: (T, S, A) > 0.
        idle: points without a new low of η after which it is left.
        coldest: ε at the end, in units of the largest difference between two actions.

    Example:
        >>> from alphafair.models.meanfield.games import susceptible_infected
        >>> from alphafair.models.meanfield.games.grid import grid
        >>> path = homotopy(grid(susceptible_infected(2)), np.ones((2, 2, 2)))
        >>> path.rows[:, 0].round(6).tolist(), bool(path.history[-1] < 1e-9)
        ([[1.0, 0.0], [1.0, 0.0]], True)
    """
    rows = w / w.sum(axis=-1, keepdims=True)
    m, eta = forward(grid, rows), WARM / float(w.min())
    while eta * w.min() < HOTTEST:
        now = Mistakes(eta, w, coldest)
        epsilon = now.epsilon
        fee = (epsilon * (1 - np.log(rows))).sum(axis=-1) - epsilon.sum(axis=-1)
        guess = point(grid, worth(grid, rows, m, fee), rows - epsilon / rows, m, now)
        found = newton(grid, guess, now)
        if found is not None:
            return _follow(grid, found, now, -1.0, np.log(coldest / w.max()), idle)
        eta *= 10
    return Path(rows, np.array([regret(grid, rows, m)]), False, None)


def onward(grid: Grid, at: Point, w: Floats, idle: int = IDLE, coldest: float = COLDEST) -> Path:
    """From an equilibrium up the path for these weights, and down again to another one.

    If it is the equilibrium at the end of the path that begins with w, the beginning is reached:
    then there is no other one on it, and the result has not arrived.  Equilibria at the two ends of
    such a curve have determinants of opposite sign, so `homotopy` does not find those found here.
    """
    now = Mistakes(coldest / w.max(), w, coldest)
    found = newton(grid, point(grid, at.u, at.d, at.m, now), now)
    if found is None:
        return Path(at.rows, np.zeros(1), False, None)
    return _follow(grid, found, now, 1.0, np.log(now.eta), idle)


def _follow(grid: Grid, at: Point, now: Mistakes, way: float, end: float, idle: int) -> Path:
    """The curve through a point, with η falling (−1) or rising at first, to the end of log η."""
    tangent, step, since = _tangent(grid, at, now), 1.0, 0
    sense, extreme, history = way * tangent.system.sign, now.eta, [regret(grid, at.rows, at.m)]
    turn, speed = tangent.direction(sense)
    for k in watched(range(POINTS), "homotopy"):
        if not np.isfinite(turn).all():  # the Jacobian is singular to the last digit
            break
        while step > SHORTEST:
            ahead = max(step * speed, end - np.log(now.eta)) if speed < 0 else step * speed
            there = now._replace(eta=now.eta * float(np.exp(ahead)))
            u, d, m = (old + ahead * part for old, part in zip(at[:3], tangent.along, strict=True))
            last = speed < 0 and np.log(there.eta) <= end + TIED
            normal = None if last else turn * tangent.system.slope / speed
            found = _back(grid, point(grid, u, d, m, there), there, normal)
            if found is not None and last:
                history.append(regret(grid, found[0].rows, found[0].m))
                return Path(_settled(grid, found[0]), np.array(history), True, found[0])
            if found is not None:
                coming = found[3] or _tangent(grid, *found[:2])
                next_turn, next_speed = coming.direction(sense)
                if step < SHARP or (turn * next_turn).sum() + speed * next_speed > 0:
                    break
            step = min(step, abs(ahead / speed)) / 3
        else:
            break
        at, now, rounds, _ = found
        tangent, turn, speed = coming, next_turn, next_speed
        history.append(regret(grid, at.rows, at.m))
        if now.eta * now.w.min() > 10 * WARM and way > 0:
            break
        if now.eta < LOWER * extreme or (way > 0 and speed > 0):
            extreme, since = now.eta, k
        elif k - since > idle:
            break
        step = min(step * (3.0 if rounds <= 2 else 1.5 if rounds <= 4 else 0.7), LONGEST)
    rows = at.rows / at.rows.sum(axis=-1, keepdims=True)
    return Path(rows, np.array(history), False, at)


class Tangent(NamedTuple):
    """The equations to first order, and (du, dd, dm) per d log η along the path."""

    system: Linear
    along: tuple[Floats, Floats, Floats]

    def direction(self, sense: float) -> tuple[Floats, float]:
        """(T, S, A) dπ and dτ per length, the way that the sign of the determinant says."""
        turn = self.system.slope * self.along[1]
        speed = sense * self.system.sign / np.sqrt((turn**2).sum() + 1)
        return speed * turn, float(speed)


def _tangent(grid: Grid, at: Point, now: Mistakes) -> Tangent:
    system = linear(grid, at, now)
    (along,) = system.solve(-system.colder)
    return Tangent(system, parts(grid, along, at.d.shape))


def _exact(at: Point, now: Mistakes) -> float:
    """The residual that is small enough."""
    worth = max(1.0, float(np.abs(at.u).max()))
    return max(EXACT * float(now.epsilon.min()), ROUNDING * worth)


def _back(
    grid: Grid, at: Point, now: Mistakes, normal: Floats | None
) -> tuple[Point, Mistakes, int, Tangent | None] | None:
    """From beside the path to it, at right angles to (normal, 1) in (d, τ); at the same η if None.

    Returns:
        The point, its η, how many steps it took, and the tangent that the last of them knew; None
        if it was too far.
    """
    before, tangent = np.inf, None
    for n in range(NEWTON):
        error = residual(grid, at, now)
        size = float(np.abs(error).max())
        if size <= _exact(at, now):
            return at, now, n, tangent
        if not at.lawful or (n > 1 and size > before / 2):
            return None
        before, system = size, linear(grid, at, now)
        straight, slip = (
            parts(grid, side, at.d.shape) for side in system.solve(-error, -system.colder)
        )
        ahead, tangent = 0.0, Tangent(system, slip)
        if normal is not None:
            ahead = -float((normal * straight[1]).sum() / ((normal * slip[1]).sum() + 1))
        if not abs(ahead) < 2:  # and no NaN
            return None
        now = now._replace(eta=now.eta * float(np.exp(ahead)))
        u, d, m = (old + a + ahead * b for old, a, b in zip(at[:3], straight, slip, strict=True))
        at = point(grid, u, d, m, now)
    return None


def newton(grid: Grid, at: Point, now: Mistakes, *, floor: float = 0.0) -> Point | None:
    """The solution near a point for fixed η, with shorter steps where a whole one is no better."""
    error = residual(grid, at, now)
    size = float(np.abs(error).max())
    for _ in range(PATIENCE):
        if size <= _exact(at, now):
            return at
        (step,) = linear(grid, at, now, floor=floor).solve(-error)
        change = parts(grid, step, at.d.shape)
        for length in 0.5 ** np.arange(8):
            u, d, m = (old + length * d for old, d in zip(at[:3], change, strict=True))
            trial = point(grid, u, d, m, now)
            error = residual(grid, trial, now)
            if trial.lawful and float(np.abs(error).max()) < (1 - length / 10) * size:
                break
        else:
            return None
        at, size = trial, float(np.abs(error).max())
    return None


def _settled(grid: Grid, at: Point) -> Floats:
    """The policy without mistakes, if that is less exploitable."""
    tables = [at.rows / at.rows.sum(axis=-1, keepdims=True)]
    clean = np.where(at.rows > at.s, at.rows, 0)
    tables.append(clean / clean.sum(axis=-1, keepdims=True))
    calm = Mistakes(0.0, np.ones(1))
    exact = newton(grid, point(grid, at.u, at.d, at.m, calm), calm, floor=TIED)
    if exact is not None:
        tables.append(exact.rows / exact.rows.sum(axis=-1, keepdims=True))
    tables = [_alike(grid, rows) for rows in tables]
    return min(tables, key=lambda rows: abs(regret(grid, rows, forward(grid, rows))))


def _alike(grid: Grid, rows: Floats) -> Floats:
    """Actions that never differ share their probability: rounding would share it anyhow."""
    crowds = np.concatenate([np.eye(rows.shape[1]), grid.game.initial[None]])
    Q, c = grid.game.moves(crowds), grid.game.pays(crowds)
    same = (Q[:, :, :, None] == Q[:, :, None]).all(axis=(0, 4)) & (
        c[:, :, :, None] == c[:, :, None]
    ).all(axis=0)
    share = same / same.sum(axis=-1, keepdims=True)
    result: Floats = np.einsum("iab,tib->tia", share, rows)
    return result
