"""Linear regression when every data point is somebody who decides how much effort it is worth.

Agent i has public attributes ``x_i`` in R^d and reports ``y_i = β·x_i + noise`` of variance 1/λ_i.
The **precision** λ_i ≥ 0 is the agent's choice and costs ``w_i c(λ_i)``.  Everybody uses the
estimate of β, whose covariance is ``V = M⁻¹`` with the information ``M = Σ λ_i x_i x_iᵀ``, and
suffers from its size F(V).  So agent i minimises::

    J_i = w_i c(λ_i) + F(V).

Nobody pays for the good that own effort does to others: precision is a public good.  The game has
the potential ``Φ(λ) = Σ w_i c(λ_i) + F(V)``, convex in λ, and its minimum is the equilibrium::

    w_i c'(λ_i) = g_i    if λ_i > 0,        g_i ≤ w_i c'(0)    if λ_i = 0,        (*)

where ``g_i = −∂F/∂λ_i`` is what one more unit of precision is worth; ``x_iᵀV²x_i`` for F = trace.
For the linear cost c = λ this is the equivalence theorem of **optimal design**.  The planner, who
minimises Σ J_i = Σ w_i c + n F, plays the same game with costs n times smaller.

**Dual.**  For ``F = tr(KᵀVK)`` (K = 1: trace, K = v: direction) and any d × k matrix U::

    Φ(λ)  ≥  2 tr(KᵀU) − Σ w_i c*(|Uᵀx_i|²/w_i),        c*(s) = max_λ (s λ − c(λ)),

with equality at the equilibrium and U = V K; for log det it is ``d + log det U − Σ w_i
c*(x_iᵀUx_i/w_i)``.  The difference of the two sides certifies every answer, however it was found.

**Method.**  Coordinates in which Σ x_i x_iᵀ = 1; a primal-dual interior-point method in λ, whose
Newton matrix is a diagonal plus rank d(d+1)/2 (Woodbury: O(n d⁴) a step); then Newton steps on (*)
itself, without the barrier, which set idle agents exactly to 0.  (Linear cost and a direction: a
linear program.)

**Scaling.**  For c = λ^p and F homogeneous of degree q, both problems ask for the same design, and
``V ∝ n^{−(p−1)/(p+q)}`` in a growing population: slower than the 1/n of data that are given, and
for p = 1 not at all.

References:
    S. Ioannidis, P. Loiseau, "Linear regression as a non-cooperative game", WINE 2013,
    arXiv:1309.7824.  B. Roussillon, N. Gast, P. Loiseau, P. Mertikopoulos, "Asymptotic degradation
    of linear regression estimates with strategic data sources", ALT 2022, arXiv:2106.14636.
    F. Pukelsheim, "Optimal Design of Experiments", Wiley 1993 (equivalence theorem, ch. 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...problem import Floats, number
from .costs import SMALLEST, Cost, bisect, linear, monomial
from .game import UNSEEN, Game, Scalarisation, direction, game_of, log_det, trace
from .solver import settle

__all__ = [
    "BestResponse",
    "Cost",
    "Design",
    "Equilibrium",
    "PriceOfAnarchy",
    "Scalarisation",
    "best_response",
    "direction",
    "equilibrium",
    "linear",
    "log_det",
    "monomial",
    "optimal_design",
    "population_equilibrium",
    "price_of_anarchy",
    "social_optimum",
    "trace",
]


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """Precisions that satisfy (*), and how well.

    Attributes:
        precision: λ, (n,); of each point for a population.
        covariance: V, (d, d).
        estimation_cost: F(V), what everybody suffers.
        effort_cost: Σ w_i c(λ_i).
        agents: n, or the mass of the population.
        potential: what was minimised: Σ w_i c + F(V), for the planner Σ w_i c + n F(V).
        marginal: g, (n,), −∂F/∂λ_i.
        residual: the largest ``|w c' − g| / max(w c', g)`` of an active agent, or part of g above
            w c'(0) of an idle one.
        gap: potential − min potential is at most this (dual bound).
        iterations: Newton steps.
    """

    precision: Floats
    covariance: Floats
    estimation_cost: float
    effort_cost: float
    agents: float
    potential: float
    marginal: Floats
    residual: float
    gap: float
    iterations: int

    @property
    def total_cost(self) -> float:
        """Σ J_i = Σ w_i c(λ_i) + n F(V)."""
        return self.effort_cost + self.agents * self.estimation_cost


class Design(NamedTuple):
    """Where to put which part of all measurements.

    Attributes:
        weight: ξ, (n,), ≥ 0, sums to 1.
        support: positions where ξ > 0.
        criterion: F(M(ξ)⁻¹).
        certificate: ε = max_i g_i / Σ ξ_i g_i − 1 ≥ 0; no design has a criterion below
            criterion/(1 + ε) (log det: below criterion − d log(1 + ε)).
    """

    weight: Floats
    support: NDArray[np.intp]
    criterion: float
    certificate: float


class BestResponse(NamedTuple):
    """The walk of agents who answer each other in turn.

    Attributes:
        path: (rounds + 1, n) precisions, after each round in which everybody moved once.
        change: the largest relative change in the last round.
    """

    path: Floats
    change: float


class PriceOfAnarchy(NamedTuple):
    """What selfishness costs.

    Attributes:
        ratio: equilibrium / optimum, ≥ 1.
        equilibrium: Σ J_i at the equilibrium.
        optimum: the least Σ J_i.
    """

    ratio: float
    equilibrium: float
    optimum: float


def equilibrium(
    attributes: ArrayLike,
    cost: Cost,
    scalarisation: Scalarisation = trace,
    *,
    weight: ArrayLike | None = None,
) -> Equilibrium:
    """The equilibrium in which the estimate is finite: argmin Σ w_i c(λ_i) + F(V).

    V is unique (for `direction`: F is), λ too where c is strictly convex.

    Args:
        attributes: x, (n, d), or (n,) for d = 1; finite, they span R^d.
        cost: c, `monomial`, `linear` or a `Cost`.
        scalarisation: F, `trace`, `log_det` or ``direction(v)``.
        weight: w, (n,) or scalar, > 0: agent i pays w_i c(λ_i); default 1.

    Returns:
        `Equilibrium`, with the residual of (*) and a certified gap.

    Raises:
        ValueError: values out of range, shapes that do not fit, attributes that do not span R^d.
        RuntimeError: neither the residual nor the gap reaches 1e−8 (data at the edge of doubles).

    Example:
        Ten agents with x = 1 and c = λ²: V = 2^{1/3} 10^{−1/3}.

        >>> found = equilibrium(np.ones(10), monomial(2))
        >>> round(found.estimation_cost, 6), round(float(found.precision[0]), 6)
        (0.584804, 0.170998)
    """
    x = as_attributes("attributes", attributes)
    ones = np.ones(len(x))
    return solve(x, ones, cost, scalarisation, as_positive("weight", weight, len(x)), 1.0)


def social_optimum(
    attributes: ArrayLike,
    cost: Cost,
    scalarisation: Scalarisation = trace,
    *,
    weight: ArrayLike | None = None,
) -> Equilibrium:
    """The planner's choice: argmin of Σ J_i = Σ w_i c(λ_i) + n F(V).  Arguments: `equilibrium`.

    Example:
        >>> found = social_optimum(np.ones(4), linear())
        >>> round(found.total_cost, 6)
        4.0
    """
    x = as_attributes("attributes", attributes)
    ones, n = np.ones(len(x)), len(x)
    return solve(x, ones, cost, scalarisation, as_positive("weight", weight, n), float(n))


def population_equilibrium(
    points: ArrayLike,
    mass: ArrayLike,
    cost: Cost,
    n: float,
    scalarisation: Scalarisation = trace,
    *,
    weight: ArrayLike | None = None,
) -> Equilibrium:
    """A population of size n spread over points: argmin n E[w c(λ)] + F((n E[λ x xᵀ])⁻¹).

    For c = λ^p and F of degree q: ``V = n^{−(p−1)/(p+q)} V_1``, λ = n^{−(q+1)/(p+q)} λ_1.

    Args:
        points: x, (m, d) or (m,).
        mass: (m,), > 0; divided by its sum.
        n: > 0, finite; need not be an integer.
        cost, scalarisation, weight: as in `equilibrium`.

    Example:
        >>> found = [population_equilibrium([1.0, 2.0], [3, 1], monomial(2), n) for n in (1, 1000)]
        >>> round(found[0].estimation_cost / found[1].estimation_cost, 9)
        10.0
    """
    x = as_attributes("points", points)
    size = number("n", n, "finite and > 0", lambda v: 0 < v < np.inf)
    m = as_positive("mass", mass, len(x))
    m = size * (m / m.sum())
    return solve(x, m, cost, scalarisation, as_positive("weight", weight, len(x)), 1.0)


def optimal_design(attributes: ArrayLike, scalarisation: Scalarisation = trace) -> Design:
    """The weights ξ that minimise F((Σ ξ_i x_i x_iᵀ)⁻¹): A-, D- or c-optimal.

    It is the equilibrium under `linear` cost up to scale: λ = L ξ with L = √F(M(ξ)⁻¹) (L = d for
    log det).  ξ is optimal if and only if g_i ≤ Σ_j ξ_j g_j for all i.

    Example:
        Quadratic regression on [−1, 1]: a half of the points in the middle, a quarter at each end.

        >>> t = np.array([-1, -0.5, 0, 0.5, 1])
        >>> design = optimal_design(np.stack([np.ones(5), t, t**2], axis=1))
        >>> design.weight.round(9).tolist(), round(design.criterion, 9)
        ([0.25, 0.0, 0.5, 0.0, 0.25], 8.0)
    """
    found = equilibrium(attributes, linear(), scalarisation)
    total = float(found.precision.sum())
    weight, d = found.precision / total, found.covariance.shape[0]
    criterion = found.estimation_cost * total
    if scalarisation.degree == 0:
        criterion = found.estimation_cost + d * np.log(total)
    excess = float(found.marginal.max() / (weight @ found.marginal)) - 1
    return Design(weight, np.flatnonzero(weight), float(criterion), max(excess, 0.0))


def price_of_anarchy(
    attributes: ArrayLike,
    cost: Cost,
    scalarisation: Scalarisation = trace,
    *,
    weight: ArrayLike | None = None,
) -> PriceOfAnarchy:
    """Σ J_i at the equilibrium over its least value.

    For c = λ^p and F of degree q it depends on n alone.  Scaling λ by s gives s^p C + s^{−q} F, so
    at each optimum p C = q F (planner: q n F): both have the same design, the planner's precisions
    are n^{1/(p+q)} times larger, and

        ratio = (p n + q) / ((p + q) n^{p/(p+q)})  ~  p/(p+q) · n^{q/(p+q)}.

    Raises:
        ValueError: log det, which may be negative: a ratio would mean nothing.  There the
            difference of total costs is (d/p)(1 − n + n log n).

    Example:
        >>> round(price_of_anarchy([1.0, 2.0, 3.0, 4.0], linear()).ratio, 9)
        1.25
    """
    if scalarisation.degree == 0:
        raise ValueError(
            "scalarisation log_det can make costs negative: the ratio has no meaning; compare "
            "total_cost of equilibrium(...) and of social_optimum(...)"
        )
    selfish = equilibrium(attributes, cost, scalarisation, weight=weight).total_cost
    least = social_optimum(attributes, cost, scalarisation, weight=weight).total_cost
    return PriceOfAnarchy(selfish / least, selfish, least)


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
        >>> path = best_response(np.ones(2), monomial(2)).path
        >>> (path[-1] / equilibrium(np.ones(2), monomial(2)).precision).round(6).tolist()
        [1.0, 1.0]
    """
    x = as_attributes("attributes", attributes)
    game = game_of(x, np.ones(len(x)), cost, scalarisation, as_positive("weight", weight, len(x)))
    count = number("rounds", rounds, "an integer ≥ 1", lambda v: v >= 1 and v == int(v))
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

    def enough(candidate: Floats) -> NDArray[np.bool_]:
        room = np.maximum(1 + (candidate - own) * h, 0.0)
        marginal = np.asarray(game.cost.slope(candidate), float) * game.weight[i]
        return np.asarray(marginal * room**power >= at.marginal[i])

    if enough(np.zeros(1))[0]:
        return 0.0
    return float(bisect(enough, (1,))[0])


def solve(
    x: Floats,
    mass: Floats,
    cost: Cost,
    scalarisation: Scalarisation,
    weight: Floats,
    society: float,
) -> Equilibrium:
    """Minimise Σ w c + society · F, as the game with weights w/society."""
    game = game_of(x, mass, cost, scalarisation, weight / society)
    precision, place, residual, gap, steps = settle(game)
    effort = game.effort(precision)
    half = np.linalg.solve(game.root, place.covariance)
    return Equilibrium(
        precision=precision,
        covariance=np.linalg.solve(game.root, half.T),
        estimation_cost=place.estimation,
        effort_cost=effort * society,
        agents=float(mass.sum()),
        potential=(effort + place.estimation) * society,
        marginal=place.marginal,
        residual=residual,
        gap=max(gap, 0.0) * society,
        iterations=steps,
    )


# --- checks ---------------------------------------------------------------------------------------
def as_attributes(name: str, attributes: ArrayLike) -> Floats:
    x = np.asarray(attributes, float)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} has shape {x.shape}: must be (n, d), or (n,) for d = 1")
    if not np.isfinite(x).all():
        i, j = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"{name}[{i}, {j}] is {x[i, j]}: must be finite; drop that agent")
    if len(x) < x.shape[1]:
        raise ValueError(
            f"{name} has n = {len(x)} rows and d = {x.shape[1]} columns: d coefficients need at "
            f"least d agents; add agents or drop columns"
        )
    scale = np.maximum(np.abs(x).max(axis=0), SMALLEST)
    _, size, axes = np.linalg.svd(x / scale, full_matrices=False)
    rank = int((size > UNSEEN * size[0]).sum())
    if rank < x.shape[1]:
        missing = axes[-1] / scale / np.abs(axes[-1] / scale).max()
        raise ValueError(
            f"{name} span only {rank} of {x.shape[1]} dimensions: x·v = 0 for all with v = "
            f"{np.round(missing, 6).tolist()}; drop a column or add agents who differ there"
        )
    return x


def as_positive(name: str, value: ArrayLike | None, n: int) -> Floats:
    """(n,) positive numbers; 1 where None."""
    array = np.asarray(1.0 if value is None else value, float)
    if array.shape not in ((), (1,), (n,)):
        raise ValueError(f"{name} has shape {array.shape}: must be ({n},), one for each row, or ()")
    bad = np.flatnonzero(~(np.atleast_1d(array) > 0) | ~np.isfinite(np.atleast_1d(array)))
    if bad.size:
        raise ValueError(
            f"{name}[{bad[0]}] is {np.atleast_1d(array)[bad[0]]}: must be finite and > 0; "
            f"drop the row"
        )
    return np.broadcast_to(array, n).astype(float)
