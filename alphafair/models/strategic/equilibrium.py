"""The equilibrium of the game, of a population, and the planner's choice: one convex program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, number
from .attributes import as_attributes, as_positive
from .costs import Cost
from .game import Scalarisation, game_of, trace
from .solver import settle


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
        RuntimeError: neither the residual nor the gap reaches 1e−8, or V is too large for doubles
            (data at their edge).

    Example:
        Ten agents with x = 1 and c = λ²: V = 2^{1/3} 10^{−1/3}.

        >>> from alphafair.models.strategic import monomial
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
        >>> from alphafair.models.strategic import linear
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
        >>> from alphafair.models.strategic import monomial
        >>> found = [population_equilibrium([1.0, 2.0], [3, 1], monomial(2), n) for n in (1, 1000)]
        >>> round(found[0].estimation_cost / found[1].estimation_cost, 9)
        10.0
    """
    x = as_attributes("points", points)
    size = number("n", n, "finite and > 0", lambda v: 0 < v < np.inf)
    m = as_positive("mass", mass, len(x))
    m = size * (m / m.sum())
    return solve(x, m, cost, scalarisation, as_positive("weight", weight, len(x)), 1.0)


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
    with np.errstate(all="ignore"):  # what leaves the doubles is refused below
        precision, place, residual, gap, steps = settle(game)
        effort = game.effort(precision)
        half = np.linalg.solve(game.root, place.covariance)
        found = Equilibrium(
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
    for name, value in (vars(found) | {"total_cost": found.total_cost}).items():
        if not np.isfinite(value).all():
            raise RuntimeError(
                f"{name} of the equilibrium is too large for a double: divide attributes (or "
                f"weights) by a power of ten"
            )
    return found
