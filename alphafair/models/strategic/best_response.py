"""Agents who answer each other in turn: slow, and independent of the solver."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats
from ..common import bisect, whole
from .attributes import as_attributes, as_positive
from .costs import LARGEST, Cost
from .game import Game, Scalarisation, game_of, trace


class BestResponse(NamedTuple):
    """The walk of agents who answer each other in turn.

    Attributes:
        path: (rounds + 1, n) precisions, after each round in which everybody moved once.
        change: the largest relative change in the last round.
    """

    path: Floats
    change: float


def best_response(
    attributes: ArrayLike,
    cost: Cost,
    scalarisation: Scalarisation = trace,
    *,
    weight: ArrayLike | None = None,
    start: ArrayLike | None = None,
    rounds: int = 1000,
    tolerance: float = 1e-12,
) -> BestResponse:
    """Let the agents answer each other, one after the other, until nobody moves.

    With h = xᵀVx at the present λ_i, the worth of precision λ to agent i is g_i / (1 + (λ − λ_i)
    h)² (log det: without the square): decreasing, so one crossing with w_i c'(λ).  Each move lowers
    the potential.  Slow, and independent of `equilibrium`.

    Args:
        start: (n,) > 0, the precisions to begin with; default 1.
        rounds: at most this many.
        tolerance: stop when no precision changes by more, relative to the largest.

    Returns:
        `BestResponse`, the whole path.

    Example:
        >>> from alphafair.models.strategic import equilibrium, monomial
        >>> path = best_response(np.ones(2), monomial(2)).path
        >>> (path[-1] / equilibrium(np.ones(2), monomial(2)).precision).round(6).tolist()
        [1.0, 1.0]
    """
    x = as_attributes("attributes", attributes)
    game = game_of(x, np.ones(len(x)), cost, scalarisation, as_positive("weight", weight, len(x)))
    count = whole("rounds", rounds, 1)
    path, change = [as_positive("start", start, len(x))], np.inf
    while len(path) <= count and change > tolerance:
        precision = path[-1].copy()
        for i in range(len(x)):
            precision[i] = _answer(game, precision, i)
        change = float(np.abs(precision - path[-1]).max() / precision.max())
        path.append(precision)
    return BestResponse(np.array(path), change)


def _answer(game: Game, precision: Floats, i: int) -> float:
    """The precision that minimises J_i, the others' given."""
    at = game.at(precision)
    h, own = float(game.points[i] @ at.covariance @ game.points[i]), precision[i]
    power = 2 if game.target is not None else 1

    def enough(candidate: float) -> bool:
        room = max(1 + (candidate - own) * h, 0.0)
        marginal = game.cost.slope(np.array([candidate]))[0] * game.weight[i]
        return bool(marginal * room**power >= at.marginal[i])

    if enough(0.0):
        return 0.0
    with np.errstate(over="ignore"):
        return bisect(enough, 0.0, LARGEST)[1]
