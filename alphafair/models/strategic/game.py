"""The game in coordinates in which every scale is 1: F, its derivatives, dual, Newton's step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, reals
from .costs import SMALLEST, Cost

ROUNDING = 2.0**-48
UNSEEN = 1e-12  # directions with less than this part of the information count as not measured


@dataclass(frozen=True, eq=False)
class Scalarisation:
    """How a covariance becomes one number: F(V) = tr(KᵀVK), or log det V.

    Attributes:
        name: for messages.
        target: K, (d, k), or None for the identity; meaningless for log det.
        degree: q with F'(tV) = t^{q−1} F'(V): 1, or 0 for log det.
    """

    name: str
    target: Floats | None = None
    degree: int = 1


trace = Scalarisation("trace")
log_det = Scalarisation("log_det", degree=0)


def direction(vector: ArrayLike) -> Scalarisation:
    """F(V) = vᵀVv, the variance of the estimate of v·β.

    Agents whose attributes say nothing about v stay idle, and the information may then be singular;
    ``covariance`` is its pseudo-inverse, in which the directions that nobody measures are missing.
    There are then other Nash equilibria, too (nobody profits from measuring a new direction alone);
    `equilibrium` is the one that minimises the potential.
    """
    v = reals("vector", vector)
    if v.ndim != 1 or not np.isfinite(v).all() or not v.any():
        raise ValueError(f"vector is {vector!r}: must be (d,), finite and not 0")
    return Scalarisation("direction", v[:, None])


class Place(NamedTuple):
    """What a vector of precisions means: V, the shadow U of the dual, g and F."""

    covariance: Floats
    shadow: Floats
    marginal: Floats
    estimation: float
    unmet: float  # relative error of M U = K


@dataclass(frozen=True, eq=False)
class Game:
    """x = rootᵀ · point with Σ mass · point pointᵀ = 1; ``target`` K in these coordinates, None for
    log det; ``partial`` where F does not see all of V.
    """

    points: Floats
    mass: Floats
    weight: Floats
    cost: Cost
    target: Floats | None
    root: Floats

    @property
    def partial(self) -> bool:
        """Whether F sees only some directions, so that the optimal information may be singular."""
        return self.target is not None and self.target.shape[1] < len(self.root)

    def at(self, precision: Floats, reference: Floats | None = None) -> Place:
        """``reference`` is the U to use in the directions that nobody measures."""
        q = self.points
        information = (q * (self.mass * precision)[:, None]).T @ q
        if self.partial and reference is not None:
            v = np.asarray(np.linalg.pinv(information, UNSEEN, hermitian=True), np.float64)
        else:
            v = np.asarray(np.linalg.inv(information), np.float64)
        v = (v + v.T) / 2
        if self.target is None:
            value = np.linalg.slogdet(v)[1] - 2 * np.log(np.abs(np.diag(self.root))).sum()
            return Place(v, v, ((q @ v) * q).sum(axis=1), float(value), 0.0)
        shadow = v @ self.target
        if self.partial and reference is not None:  # M U = K, as close to the reference as it goes
            shadow = reference + v @ (self.target - information @ reference)
        seen = q @ shadow
        if self.partial:  # rounding of 0 is 0: (c')⁻¹ of it need not be small
            size = np.linalg.norm(q, axis=1, keepdims=True) * np.linalg.norm(shadow)
            seen[np.abs(seen) <= ROUNDING * size] = 0.0
        marginal = (seen**2).sum(axis=1)
        unmet = np.abs(self.target - information @ shadow).max() / np.abs(self.target).max()
        value = (self.target * shadow).sum()
        return Place(v, shadow, marginal, float(value), float(unmet) if self.partial else 0.0)

    def effort(self, precision: Floats) -> float:
        """Σ w c(λ)."""
        with np.errstate(over="ignore"):
            return float((self.mass * self.weight) @ np.asarray(self.cost.value(precision), float))

    def slope(self, precision: Floats) -> Floats:
        """(n,) w c'(λ)."""
        with np.errstate(over="ignore"):
            return np.asarray(self.weight * np.asarray(self.cost.slope(precision), float))

    def excess(self, precision: Floats, marginal: Floats) -> Floats:
        """(n,) the relative error of (*), signed: > 0 for too little effort."""
        slope, idle = self.slope(np.maximum(precision, SMALLEST)), precision <= SMALLEST
        error = (marginal - slope) / np.maximum(np.maximum(marginal, slope), SMALLEST)
        return np.where(idle, np.maximum(error, 0.0), error)

    def gap(self, precision: Floats, place: Place) -> float:
        """Φ(λ) minus the dual value at U, shrunk by θ to where c* is finite."""
        worth = place.marginal / self.weight
        theta2 = min(1.0, self.cost.most_slope / max(float(worth.max()), SMALLEST))
        worth = np.minimum(theta2 * worth, self.cost.most_slope)
        reply = self.cost.response(worth)
        conjugate = worth * reply - np.asarray(self.cost.value(reply), float)
        own = self.effort(precision) + float((self.mass * self.weight) @ conjugate)
        if self.target is None:
            return own - len(self.root) * (1 + float(np.log(theta2)))
        return own + place.estimation * (1 - 2 * float(np.sqrt(theta2)))

    @cached_property
    def squares(self) -> Floats:
        """(n, d(d+1)/2) each point pointᵀ as a vector."""
        i, j = np.triu_indices(len(self.root))
        return self.points[:, i] * self.points[:, j] * np.where(i == j, 1.0, np.sqrt(2.0))

    def newton(self, place: Place, diagonal: Floats, rest: Floats) -> Floats:
        """Δ with (diag + Hessian of F) Δ = −rest, agent by agent, by Woodbury.

        The Hessian is A H Aᵀ with the rows of A the squares and H: dM ↦ V dM S + S dM V, S = U Uᵀ
        (log det: V dM V), written as L Lᵀ.
        """
        d, v = len(self.root), place.covariance
        i, j = np.triu_indices(d)
        basis = np.zeros((d * d, i.size))
        basis[i * d + j, np.arange(i.size)] = np.where(i == j, 1.0, np.sqrt(0.5))
        basis[j * d + i, np.arange(i.size)] = np.where(i == j, 1.0, np.sqrt(0.5))
        s = v / 2 if self.target is None else place.shadow @ place.shadow.T
        h = basis.T @ (np.kron(v, s) + np.kron(s, v)) @ basis
        value, vector = np.linalg.eigh(h)
        root = vector * np.sqrt(np.maximum(value, 0.0))
        a, ratio = self.squares, self.mass / diagonal
        inner = np.eye(i.size) + root.T @ ((a * ratio[:, None]).T @ a) @ root
        y = np.linalg.solve(inner, root.T @ (a.T @ (ratio * rest)))
        return np.asarray((a @ (root @ y) - rest) / diagonal)


def game_of(
    x: Floats, mass: Floats, cost: Cost, scalarisation: Scalarisation, weight: Floats
) -> Game:
    """Whiten the attributes: x = rootᵀ point, K = rootᵀ target, so that tr(KᵀVK) is the same."""
    if not isinstance(cost, Cost):
        raise TypeError(f"cost is {cost!r}: must be monomial(p), linear() or a Cost")
    target, d = scalarisation.target, x.shape[1]
    if target is not None and len(target) != d:
        raise ValueError(f"direction has {len(target)} entries: must have d = {d}, as attributes")
    root = np.asarray(np.linalg.qr(x * np.sqrt(mass)[:, None]).R)
    points = np.linalg.solve(root.T, x.T).T
    k = None
    if scalarisation.degree:
        k = np.linalg.solve(root.T, np.eye(d) if target is None else target)
    return Game(points, mass, weight, cost, k, root)
