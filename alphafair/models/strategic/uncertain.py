"""Owners who know the law of the attributes, but not who else is there.

Before the data are collected an owner knows her own attributes x and that those of the other n − 1
are drawn from a law μ.  Her precision is a function λ(x) of what she knows, and she minimises

    c(λ(x)) + E F(V),     V⁻¹ = Σ_j λ(x_j) x_j x_jᵀ over herself and n − 1 draws.

In a symmetric equilibrium all use the same function.  The game still has a potential, with the
expectation over n draws::

    Φ(λ) = n E[c(λ(x))] + E F(V),

because a draw of type a among n has the law of one owner of type a and n − 1 draws.  Φ is convex,
since F(M⁻¹) is convex in M and M linear in λ; so there is one equilibrium, the minimum::

    c'(λ_a) = E[ −∂F/∂λ of one more owner of type a | she is there ].

The law has finite support here, types a with probabilities p_a, and a draw is a vector of counts
k ~ Multinomial(n, p): all of them are listed where they are few, and sampled else.  Draws whose
counts leave M singular make F infinite whatever anybody does; they are left out (`excluded` is
their probability), which changes no decision, as they depend on nobody's effort.

**Bounds.**  For F = tr(KᵀVK) and c = λ^p, multiply the condition by λ_a and add up: effort costs
n E[p c] = E F.  So Φ = (1 + 1/p) E F at the equilibrium.  Let F_∞ be the value of
`population_equilibrium`, which puts M = n E[λ x xᵀ] in place of the draw, and λ_∞ its precisions.
By Jensen's inequality Φ is no less than the population's minimum, and it is no more than Φ(λ_∞)::

    F_∞  ≤  E F(V)  ≤  (F_∞ + p E F(V) at λ_∞) / (1 + p) = Φ(λ_∞) p/(1 + p).

The first holds where no draw is excluded; Φ at any other precisions bounds from above, too.  Both
sides fall like n^{−(p−1)/(p+1)}: knowing less costs a factor that comes to 1, and for linear costs
no data set, however large, becomes exact.

Reference:
    B. Roussillon, N. Gast, P. Loiseau, P. Mertikopoulos, "Asymptotic degradation of linear
    regression estimates with strategic data sources", ALT 2022, arXiv:2106.14636.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...checks import Floats, Integers
from ..common import compositions, scipy, whole
from .attributes import as_attributes, as_positive
from .costs import SMALLEST, Cost
from .equilibrium import population_equilibrium
from .game import Scalarisation, trace

MOST_LISTED = 200_000  # draws that are listed; beyond, as many as `draws` are sampled
REGULAR = 1e-12  # a draw is singular if its information is, relative to its size
SOLVED = 1e-12  # relative error of the condition at which Newton's method stops
ACCEPTED = 1e-8  # and at which its answer is taken
STEPS = 200


class UncertainEquilibrium(NamedTuple):
    """What owners do who know the law of the attributes only.

    Attributes:
        precision: (m,) λ_a of each type.
        estimation_cost: E[F(V)] over draws that are not singular: a sum, not a conditional mean.
        provision_cost: n E c(λ).
        residual: the largest relative error of the condition; 0 is exact.
        standard_error: of ``estimation_cost`` at these precisions; 0 where all draws are listed.
        excluded: the probability of draws that leave M singular.
    """

    precision: Floats
    estimation_cost: float
    provision_cost: float
    residual: float
    standard_error: float
    excluded: float


class UncertainBounds(NamedTuple):
    """What E F(V) is between.

    Attributes:
        lower: F_∞, what a population without chance comes to.
        upper: what it is at most, by the precisions of that population.
    """

    lower: float
    upper: float


def uncertain_equilibrium(
    points: ArrayLike,
    mass: ArrayLike,
    cost: Cost,
    n: int,
    scalarisation: Scalarisation = trace,
    *,
    draws: int = 20_000,
    seed: int = 0,
) -> UncertainEquilibrium:
    """The symmetric equilibrium of n owners whose attributes are drawn from a law.

    Args:
        points: x_a, (m, d) or (m,), the types.
        mass: (m,) > 0, their probabilities; divided by their sum.
        cost: c, superlinear or linear.
        n: owners, ≥ 1.
        scalarisation: F; the trace of V by default.
        draws: how many are sampled where there are more than 200 000 vectors of counts.
        seed: of `numpy.random.default_rng`.

    Returns:
        `UncertainEquilibrium`.

    Raises:
        ValueError: numbers out of their range; every draw is singular (n < d, or types that do not
            span).
        RuntimeError: no equilibrium to working precision, such as for a linear cost where only a
            rare draw needs a type.

    Example:
        Three types of owners for a line, ten of them:

        >>> from alphafair.models.strategic import monomial
        >>> types = [[1, -1], [1, 0], [1, 1]]
        >>> found = uncertain_equilibrium(types, [1, 1, 1], monomial(2), n=10)
        >>> round(found.estimation_cost, 3), round(found.excluded, 6)
        (1.197, 5.1e-05)
    """
    x = as_attributes("points", points)
    p = as_positive("mass", mass, len(x))
    p = p / p.sum()
    n = whole("n", n, 1)
    counts, chance, sampled = _draws(p, n, whole("draws", draws, 2), seed)
    regular = _regular(x, counts)
    if not regular.any():
        raise ValueError(
            f"n is {n} and every draw leaves the information singular: take n ≥ {x.shape[1]} "
            f"owners, and types that span all {x.shape[1]} dimensions"
        )
    excluded = float(chance[~regular].sum())
    lottery = _Lottery(x, p, cost, float(n), scalarisation, counts[regular], chance[regular])
    precision, residual = _minimum(lottery)
    if not residual <= ACCEPTED:
        raise RuntimeError(
            f"no equilibrium to working precision (relative error {residual:.1e}): the types span "
            f"too many orders of magnitude, or the slope of the cost jumps"
        )
    each = lottery.each(precision)
    mean = float(lottery.chance @ each)
    error = 0.0
    if sampled:
        error = float(np.sqrt(lottery.chance @ (each - mean) ** 2 / len(each)))
    spent = float(n * (p @ np.asarray(cost.value(precision), float)))
    return UncertainEquilibrium(precision, mean, spent, residual, error, excluded)


def uncertain_bounds(
    points: ArrayLike,
    mass: ArrayLike,
    cost: Cost,
    n: int,
    scalarisation: Scalarisation = trace,
    *,
    draws: int = 20_000,
    seed: int = 0,
) -> UncertainBounds:
    """What E F(V) is between in `uncertain_equilibrium`, without finding it.

    Args:
        points, mass, n, draws, seed: as there.
        cost: `monomial` or `linear`.
        scalarisation: `trace` or `direction`.

    Raises:
        ValueError: a cost that is no power, or log det, for which the bound is not derived.

    Example:
        >>> from alphafair.models.strategic import monomial
        >>> bounds = uncertain_bounds([[1, -1], [1, 0], [1, 1]], [1, 1, 1], monomial(2), n=10)
        >>> round(bounds.lower, 3), round(bounds.upper, 3)
        (1.029, 1.218)
    """
    if cost.degree is None or scalarisation.degree != 1:
        raise ValueError(
            "the bounds are for a cost λ^p, monomial(p) or linear(), and the trace or a direction"
        )
    x = as_attributes("points", points)
    p = as_positive("mass", mass, len(x))
    p = p / p.sum()
    n = whole("n", n, 1)
    limit = population_equilibrium(x, p, cost, n, scalarisation)
    counts, chance, _ = _draws(p, n, whole("draws", draws, 2), seed)
    regular = _regular(x, counts)
    lottery = _Lottery(x, p, cost, float(n), scalarisation, counts[regular], chance[regular])
    # Φ at any precisions is a bound.  Where a type is idle in the population some draws would be
    # singular, so that everybody's precision is moved a little towards their mean.
    mean, least = float(p @ limit.precision), np.inf
    for part in (0.0, 0.01, 0.03, 0.1, 0.3):
        with np.errstate(all="ignore"):
            try:
                least = min(least, lottery.potential((1 - part) * limit.precision + part * mean))
            except np.linalg.LinAlgError:
                continue
    return UncertainBounds(limit.estimation_cost, float(cost.degree / (1 + cost.degree) * least))


class _Lottery(NamedTuple):
    """n owners, drawn: what their efforts are worth."""

    x: Floats
    p: Floats
    cost: Cost
    n: float
    scalarisation: Scalarisation
    counts: Integers  # (D, m) draws that are not singular
    chance: Floats  # (D,) their probabilities, or one over the number of samples

    def covariance(self, precision: Floats) -> Floats:
        """(D, d, d) V of each draw."""
        weight = self.counts * precision
        information = np.einsum("ka,ai,aj->kij", weight, self.x, self.x, optimize=True)
        return np.asarray(np.linalg.inv(information))

    def each(self, precision: Floats) -> Floats:
        """(D,) F(V) of each draw."""
        v = self.covariance(precision)
        target = self.scalarisation.target
        if self.scalarisation.degree == 0:
            return np.asarray(np.linalg.slogdet(v)[1])
        if target is None:
            return np.asarray(np.trace(v, axis1=1, axis2=2))
        return np.asarray(np.einsum("ik,dij,jk->d", target, v, target, optimize=True))

    def potential(self, precision: Floats) -> float:
        """Φ."""
        effort = self.n * (self.p @ np.asarray(self.cost.value(precision), float))
        return float(effort + self.chance @ self.each(precision))

    def derivatives(self, precision: Floats) -> tuple[Floats, Floats]:
        """(m,) −∂E F/∂λ and (m, m) ∂²E F/∂λ∂λ."""
        v, k = self.covariance(precision), self.counts
        seen = np.einsum("ai,dij,bj->dab", self.x, v, self.x, optimize=True)  # x_aᵀ V x_b
        if self.scalarisation.degree == 0:
            own = seen[:, range(len(self.x)), range(len(self.x))]
            curved = seen**2
        else:
            target = self.scalarisation.target
            shadow = v if target is None else v @ target
            glance = np.einsum("ai,dik->dak", self.x, shadow, optimize=True)
            product = np.einsum("dak,dbk->dab", glance, glance, optimize=True)
            own = product[:, range(len(self.x)), range(len(self.x))]
            curved = 2 * seen * product
        gain = self.chance @ (k * own)
        bend = np.einsum("d,da,db,dab->ab", self.chance, k, k, curved, optimize=True)
        return np.asarray(gain), np.asarray(bend)


def _minimum(lottery: _Lottery) -> tuple[Floats, float]:
    """The minimum of Φ over λ ≥ 0: Newton on the types that are active, with a line search."""
    scale = lottery.n * lottery.p
    whole_population = population_equilibrium(
        lottery.x, lottery.p, lottery.cost, lottery.n, lottery.scalarisation
    )
    start = whole_population.precision
    precision = np.maximum(start, 1e-3 * start.max())  # nobody idle: every regular draw stays so
    value, residual = lottery.potential(precision), np.inf
    for _ in range(STEPS):
        gain, bend = lottery.derivatives(precision)
        slope = scale * np.asarray(lottery.cost.slope(precision), float)
        gradient = slope - gain
        idle = (precision <= 0) & (gradient >= 0)
        error = np.abs(gradient) / np.maximum(np.maximum(slope, gain), SMALLEST)
        residual = float(error[~idle].max(initial=0.0))
        if residual <= SOLVED:
            break
        hessian = bend + np.diag(scale * np.asarray(lottery.cost.bend(precision), float))
        on = ~idle
        move = np.zeros_like(precision)
        ridge = 1e-14 * np.trace(hessian) * np.eye(int(on.sum()))
        move[on] = -np.linalg.solve(hessian[np.ix_(on, on)] + ridge, gradient[on])
        size = 1.0
        while size > 1e-12:
            trial = np.maximum(precision + size * move, 0.0)
            with np.errstate(all="ignore"):
                try:
                    there = lottery.potential(trial)
                except np.linalg.LinAlgError:  # an idle type leaves a draw singular
                    there = np.inf
            if there <= value + 1e-4 * float(gradient @ (trial - precision)) + 1e-15 * abs(value):
                break
            size /= 2
        else:
            break
        if there >= value and residual <= ACCEPTED:  # rounding is all that is left
            break
        precision, value = trial, there
    return precision, residual


def _draws(p: Floats, n: int, samples: int, seed: int) -> tuple[Integers, Floats, bool]:
    """Vectors of counts with their probabilities: all, or a sample of them."""
    m = p.size
    special = scipy("a law of counts").special
    if special.comb(n + m - 1, m - 1) > MOST_LISTED:
        rng = np.random.default_rng(seed)
        return rng.multinomial(n, p, size=samples), np.full(samples, 1 / samples), True
    counts = compositions(n, m)
    log = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(axis=1) + counts @ np.log(p)
    chance = np.exp(log)
    return counts, chance / chance.sum(), False


def _regular(x: Floats, counts: Integers) -> NDArray[np.bool_]:
    """(D,) whether the types that are there span all dimensions."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True).clip(np.finfo(float).tiny)
    information = np.einsum("ka,ai,aj->kij", (counts > 0) * 1.0, unit, unit, optimize=True)
    values = np.linalg.eigvalsh(information)
    return np.asarray(values[:, 0] > REGULAR * values[:, -1])
