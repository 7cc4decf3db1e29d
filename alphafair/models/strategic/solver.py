"""From a game to its equilibrium: an interior-point method, then Newton without the barrier."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...checks import Floats
from ..common import bisect, scipy
from .costs import LARGEST, SMALLEST
from .game import Game, Place

CENTRED = 1e-12  # the barrier ends here, relative to what an average agent spends
SAFE = 1e-3  # how far λ z may stay from μ, either way: Newton's matrix keeps its sense
NEAR = 10.0  # |w c' − g − μ/λ| λ relative to μ, below which the next μ is taken
STEPS = 200  # about 20 are needed
PROXIMAL = 1e-9  # keeps Newton's matrix regular where the cost is straight
ACCEPTED = 1e-8  # relative gap or residual above which an answer is refused
EDGE = "span too many orders of magnitude"


class Solution(NamedTuple):
    """λ, what it means, the largest relative error of (*), Φ(λ) − dual value, Newton steps."""

    precision: Floats
    place: Place
    residual: float
    gap: float
    steps: int


def settle(game: Game) -> Solution:
    """The equilibrium; where the polished point is no minimum, the interior one.

    Raises:
        RuntimeError: neither is one.
    """
    try:
        return _settled(game)
    except np.linalg.LinAlgError as error:  # of infinite numbers
        raise RuntimeError(
            f"no equilibrium to working precision ({error}): attributes or weights {EDGE}; rescale "
            f"them"
        ) from error


def _settled(game: Game) -> Solution:
    if game.partial and game.cost.degree == 1:
        vertex = elfving(game)
        if vertex is not None and vertex.residual <= ACCEPTED:
            return vertex
    inside, slack, shadow, steps = interior(game)
    residual, polished, place, more = polish(game, inside, slack, shadow)
    found = Solution(polished, place, residual, game.gap(polished, place), steps + more)
    if residual <= ACCEPTED or max(_relative(game, found), place.unmet) <= ACCEPTED:
        return found
    return _unpolished(game, inside, steps)


def _relative(game: Game, found: Solution) -> float:
    """The gap over what is spent.  Rounding makes a gap negative, but not by much.

    Where too few agents are active V is rounding alone, and so is F(V), of any sign.
    """
    return abs(found.gap) / max(game.effort(found.precision), SMALLEST)


def _unpolished(game: Game, precision: Floats, steps: int) -> Solution:
    """The interior point, if its gap proves it."""
    place = game.at(precision)
    residual = float(np.abs(game.excess(precision, place.marginal)).max())
    found = Solution(precision, place, residual, game.gap(precision, place), steps)
    if not _relative(game, found) <= ACCEPTED:
        raise RuntimeError(
            f"no equilibrium to working precision (relative residual {residual:.1e}, gap "
            f"{found.gap:.1e}): attributes or weights {EDGE}, or the slope of the cost jumps; "
            f"rescale them or smooth the cost"
        )
    return found


def elfving(game: Game) -> Solution | None:
    """Linear cost and F = vᵀVv: a linear program, min Σ √w_i |β_i| with Σ β_i x_i = v.

    vᵀM⁻v = min Σ β_i²/λ_i, and the best λ for given β is |β|/√w.  Solved for √w_i β_i.  The
    optimal information is often singular, which an interior point can only approach; a vertex is
    exact, and the dual solution is U.  (G. Elfving, "Optimum allocation in linear regression
    theory", 1952.)  None where the solver finds no vertex.
    """
    assert game.target is not None
    least, unit = float(np.sqrt(game.weight.min())), float(np.linalg.norm(game.target))
    dear = np.sqrt(game.weight) / least  # the solver's tolerances are for numbers of order 1
    x, v = game.points / dear[:, None], game.target[:, 0] / unit
    options = dict.fromkeys(("primal_feasibility_tolerance", "dual_feasibility_tolerance"), 1e-10)
    both = np.concatenate([x.T, -x.T], axis=1)
    if not (np.isfinite(x).all() and np.isfinite(v).all()):
        return None
    plan = scipy("a linear cost with a direction").optimize.linprog(
        np.ones(2 * len(x)), A_eq=both, b_eq=v, method="highs", options=options
    )
    if plan.x is None:
        return None
    paid = np.abs(plan.x[: len(x)] - plan.x[len(x) :]) * unit
    precision = paid / least / dear / dear / game.mass
    place = game.at(precision, least * plan.eqlin.marginals[:, None])
    excess = np.abs(game.excess(precision, place.marginal))
    residual = max(float(excess.max()), place.unmet)
    return Solution(precision, place, residual, game.gap(precision, place), int(plan.nit))


def _start(game: Game) -> float:
    """The best common precision t: there t Σ w c'(t) = t Σ g."""
    total = float(len(game.root)) if game.target is None else float((game.target**2).sum())
    share = float(game.mass @ game.weight)

    def enough(t: float) -> bool:
        slope = float(game.cost.slope(np.array([t]))[0])
        return t * slope * share >= (total if game.target is None else total / t)

    with np.errstate(over="ignore"):
        return bisect(enough, 0.0, LARGEST)[1]


def interior(game: Game) -> tuple[Floats, Floats, Floats, int]:
    """Follow λ_i z_i = μ → 0 with z = w c' − g; returns λ, z, the shadow U, and the steps."""
    precision = np.full(len(game.points), _start(game))
    spent = float(game.mass @ (precision * game.slope(precision)) / game.mass.sum())
    mu, end = 0.1 * spent, CENTRED * spent
    slack, place, late, waited = mu / precision, game.at(precision), 0, 0
    step = 0
    while step < STEPS and late < 9:
        step += 1
        rest = game.slope(precision) - place.marginal - mu / precision
        diagonal = game.weight * game.cost.bend(precision) + slack / precision
        move = game.newton(place, diagonal, rest)
        change = mu / precision - slack - slack / precision * move
        size, precision, place = _search(game, precision, place, move, rest, mu)
        slack = slack + np.minimum(1.0, 0.99 / np.maximum(-change / slack, 0.99)) * change
        slack = np.clip(slack, SAFE * mu / precision, mu / precision / SAFE)
        late += mu <= end
        if late and size == 1:
            break
        off = np.abs(game.slope(precision) - place.marginal - mu / precision) * precision
        waited = waited + 1 if off.max() > NEAR * mu else 0
        if (size > 0.5 and not waited) or waited > 5:
            mu, waited = max(0.1 * mu, end), 0
    return precision, slack, place.shadow, step


def _search(
    game: Game, precision: Floats, place: Place, move: Floats, rest: Floats, mu: float
) -> tuple[float, Floats, Place]:
    """The longest step 1, 1/2, … that stays inside and lowers potential − μ Σ log λ."""
    size = min(1.0, 0.99 / max(float((-move / precision).max()), 0.99))
    value = game.effort(precision) + place.estimation
    promise = float(game.mass @ (rest * move))
    while True:
        trial = precision + size * move
        there = game.at(trial)
        with np.errstate(over="ignore"):
            change = game.effort(trial) + there.estimation - value
            change -= mu * float(game.mass @ np.log(trial / precision))
        if change <= 1e-4 * size * promise + 1e-13 * abs(value) or size < 1e-6:
            return size, trial, there
        size /= 2


def polish(
    game: Game, precision: Floats, slack: Floats, shadow: Floats
) -> tuple[float, Floats, Place, int]:
    """Newton on (*) itself; agents for whom (*) holds at λ = 0 are idle.  The best point met."""
    dear = game.cost.least_slope > 0
    active = np.ones(len(precision), bool)
    if dear:
        active = precision / precision.max() > slack / game.slope(precision)
    best = (np.inf, precision, game.at(precision), 0)
    for step in range(1, STEPS + 1):
        precision = np.where(active, precision, 0.0)
        try:
            place = game.at(precision, shadow)
        except np.linalg.LinAlgError:  # too few are active: the answer is the best point before
            break
        excess = game.excess(precision, place.marginal)
        residual = max(float(np.abs(excess).max()), place.unmet)
        if residual < best[0]:
            best = (residual, precision, place, step)
        if residual < 1e-15 or step > best[3] + 4 or not active.any():
            break
        active |= excess > ACCEPTED
        slope = game.slope(precision)
        diagonal = game.weight * game.cost.bend(precision)
        diagonal += PROXIMAL * slope / np.maximum(precision, 1e-3 * precision.max())
        diagonal[~active] = np.inf
        move = game.newton(place, diagonal, slope - place.marginal)
        far = (np.abs(move) > precision / 2) | (np.abs(excess) > 0.5)
        reply = precision + move
        answer = game.cost.response(place.marginal / game.weight)
        direct = (answer < np.inf) & ((precision == 0) if dear else far)
        reply[direct] = answer[direct]
        precision = np.where(far, np.maximum(reply, 0.0), precision + move)
        active &= precision > 0
    return best
