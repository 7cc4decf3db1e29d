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
k ~ Multinomial(n, p): all of them are listed where they are few, and sampled else.  Some draws make
F infinite whatever anybody does, because the types that are there do not span R^d (for
`direction`: not the direction).  They are left out (`excluded` is their probability), which changes
no decision, as they depend on nobody's effort.

**Rare draws.**  A type of which an ordinary draw has no need may be all there is in a rare one.
With linear costs its precision is then of the order of the root of that draw's probability: for
three types on a line and 600 owners 2e−55, where the others have 0.004.  So nothing may be lost
between sizes as different as these.  Each draw is factored as diag(k λ)^½ X = L D U by elimination
with complete pivoting, in which L and U are of ordinary size and D has all the scales; from L = Q R
and y = R⁻ᵀ D⁻¹ U⁻ᵀ K::

    F = ‖y‖²,    λ_a ∂F/∂λ_a = −‖Q_a y‖²,    λ_a λ_b ∂²F/∂λ_a∂λ_b = 2 (Q_a·Q_b) (Q_a y · Q_b y),

sums in which nothing cancels.  Newton's method takes its steps in log λ_a for the types that some
draw cannot do without, whose precision is > 0 in equilibrium, and in λ_a for the others, who may be
idle.

**Bounds.**  For F = tr(KᵀVK) and c = λ^p, multiply the condition by λ_a and add up: effort costs
n E[p c] = E F.  So Φ = (1 + 1/p) E F at the equilibrium.  Let F_∞ be the value of
`population_equilibrium`, which puts M = n E[λ x xᵀ] in place of the draw, λ_∞ its precisions, and P
the probability that F is finite.  Then::

    P^{2p/(p+1)} F_∞  ≤  E F(V)  ≤  (F_∞ + p E F(V) at λ_∞) / (1 + p) = Φ(λ_∞) p/(1 + p).

For the first, let G(m) be the least Σ m_a (t_a/m_a)^p + F over t_a = m_a λ_a for real numbers m_a
of owners: jointly convex in (m, t), therefore convex in m, and not increasing.  By Jensen's
inequality Φ is at least P G of the mean of k over the draws with finite F, which is at most n p/P;
and G(n p/P) = P^{(p−1)/(p+1)} G(n p).  For the second, Φ at any precisions is no less than its
minimum.  P comes to 1 exponentially fast, and both sides fall like n^{−(p−1)/(p+1)}: knowing less
costs a factor that comes to 1, and for linear costs no data set, however large, becomes exact.

Reference:
    B. Roussillon, N. Gast, P. Loiseau, P. Mertikopoulos, "Asymptotic degradation of linear
    regression estimates with strategic data sources", ALT 2022, arXiv:2106.14636.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...checks import Floats, Integers
from ..common import compositions, scipy, whole
from .attributes import as_attributes, as_positive
from .costs import SMALLEST, Cost
from .equilibrium import population_equilibrium
from .game import Scalarisation, game_of, trace

MOST_LISTED = 200_000  # draws that are listed; beyond, as many as `draws` are sampled
REGULAR = 1e-12  # a draw is singular if its information is, relative to its size
OUTSIDE = 1e-6  # part of a vector that must be out of a span to count
RARE = 1e-250  # draws less probable than this are left out: products with 1/λ stay in the doubles
SOLVED = 1e-12  # relative error of the condition at which Newton's method stops
ACCEPTED = 1e-8  # and at which its answer is taken
STEPS = 150
PATIENCE = 8  # steps without a smaller error, after which an accepted answer is as good as it gets
BOLD = 50  # steps in which a precision may change by orders of magnitude
LEAP = 25.0  # by at most this in log λ
FLAT = 0.01  # of its slope is added to what may be a straight line
SEEN = 1e-25  # a gain less than this part of the largest is 0: rounding


class UncertainEquilibrium(NamedTuple):
    """What owners do who know the law of the attributes only.

    Attributes:
        precision: (m,) λ_a of each type.
        estimation_cost: E[F(V)] over draws with finite F: a sum, not a conditional mean.
        provision_cost: n E c(λ).
        residual: the largest relative error of the condition; 0 is exact.
        standard_error: of ``estimation_cost`` at these precisions; 0 where all draws are listed.
        excluded: the probability of draws in which F is infinite.
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
        lower: P^{2p/(p+1)} F_∞, from what a population without chance comes to and the probability
            P that F is finite (of the sample, where draws are sampled).
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
        RuntimeError: no equilibrium to working precision, because the slope of the cost jumps.

    Example:
        Three types of owners for a line, ten of them:

        >>> from alphafair.models.strategic import monomial
        >>> types = [[1, -1], [1, 0], [1, 1]]
        >>> found = uncertain_equilibrium(types, [1, 1, 1], monomial(2), n=10)
        >>> round(found.estimation_cost, 3), round(found.excluded, 6)
        (1.197, 5.1e-05)
    """
    lottery, excluded, sampled = _lottery(points, mass, cost, n, scalarisation, draws, seed)
    start = population_equilibrium(points, lottery.p, cost, n, scalarisation).precision
    precision, residual = _minimum(lottery, start)
    if not residual <= ACCEPTED:
        raise RuntimeError(
            f"no equilibrium to working precision (relative error {residual:.1e}): "
            f"give a cost whose slope does not jump"
        )
    each = lottery.each(precision)
    mean = float(lottery.chance @ each)
    error = 0.0
    if sampled:
        error = float(np.sqrt(lottery.chance @ (each - mean) ** 2 / len(each)))
    spent = lottery.effort(precision)
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
    lottery, excluded, _ = _lottery(points, mass, cost, n, scalarisation, draws, seed)
    limit = population_equilibrium(points, lottery.p, cost, n, scalarisation)
    # Φ at any precisions is a bound.  Where a type is idle in the population some draws would be
    # singular, so that everybody's precision is moved a little towards their mean.
    mean, power = float(lottery.p @ limit.precision), float(cost.degree)
    least = min(
        lottery.potential((1 - part) * limit.precision + part * mean)
        for part in (0.0, 0.01, 0.03, 0.1, 0.3)
    )
    lower = (1 - excluded) ** (2 * power / (power + 1)) * limit.estimation_cost
    return UncertainBounds(lower, power / (1 + power) * least)


class _Parts(NamedTuple):
    """What the factors of each draw give."""

    share: Floats  # (D, m, d) Q; the rows of idle types divided by √(k λ)
    gaze: Floats  # (D, m, k) Q y; for log det Q itself
    value: Floats  # (D,) F


@dataclass(frozen=True, eq=False)
class _Lottery:
    """n owners, drawn: what their efforts are worth, in coordinates in which n E x xᵀ = 1."""

    x: Floats
    p: Floats
    cost: Cost
    n: float
    target: Floats | None  # K in these coordinates; None for log det
    shift: float  # log det V in these coordinates less log det V
    counts: Integers  # (D, m) draws with finite F if nobody is idle
    chance: Floats  # (D,) their probabilities, or one over the number of samples
    known: dict[bytes, tuple[Integers, NDArray[np.bool_]]] = field(default_factory=dict)

    def spans(self, active: NDArray[np.bool_]) -> tuple[Integers, NDArray[np.bool_]]:
        """`_spans` of those who are there and not idle, found once."""
        key = active.tobytes()
        if key not in self.known:
            self.known[key] = _spans(self.x, (self.counts > 0) & active, self.target)
        return self.known[key]

    def parts(self, precision: Floats) -> _Parts:
        """L D U of diag(k λ)^½ X; for missing rows unit vectors in U, and D = ∞."""
        (draws, m), d = self.counts.shape, self.x.shape[1]
        rank, _ = self.spans(precision > 0)
        rest = np.sqrt(self.counts * precision)[:, :, None] * self.x
        left, upper = np.zeros((draws, m, d)), np.zeros((draws, d, d))
        size = np.full((draws, d), np.inf)
        each, free = np.arange(draws), np.ones((draws, d), bool)
        for j in range(d):
            row, column = np.divmod(np.abs(rest).reshape(draws, -1).argmax(axis=1), d)
            there = rank > j
            column = np.where(there, column, free.argmax(axis=1))
            pivot = np.where(there, rest[each, row, column], 1.0)
            down = rest[each, :, column] * (there / pivot)[:, None]
            along = rest[each, row] * (there / pivot)[:, None]
            along[each, column] = 1.0
            left[:, :, j], upper[:, j], size[there, j] = down, along, pivot[there]
            rest -= (down * pivot[:, None])[:, :, None] * along[:, None, :]
            rest[each, row], rest[each, :, column], free[each, column] = 0.0, 0.0, False
        missing, across = np.isinf(size), upper.swapaxes(1, 2)
        gram = left.swapaxes(1, 2) @ left + missing[:, :, None] * np.eye(d)
        lower = np.linalg.cholesky(gram)
        turned = np.linalg.solve(lower, left.swapaxes(1, 2))
        share = np.asarray(turned.swapaxes(1, 2), np.float64)
        for a in np.flatnonzero(precision <= 0):
            seen = np.linalg.solve(across, np.broadcast_to(self.x[a, :, None], (draws, d, 1)))
            new = (np.abs(seen[:, :, 0]) * missing).max(axis=1) > OUTSIDE * np.abs(seen).max()
            share[:, a] = np.linalg.solve(lower, seen / size[:, :, None])[:, :, 0]
            share[new, a] = 0.0  # what is measured in a new direction says nothing of K
        if self.target is None:
            scale = np.log(np.abs(size)) + np.log(np.diagonal(lower, axis1=1, axis2=2))
            return _Parts(share, share, -2 * scale.sum(axis=1) - self.shift)
        k = np.broadcast_to(self.target, (draws, *self.target.shape))
        y = np.linalg.solve(lower, np.linalg.solve(across, k) / size[:, :, None])
        return _Parts(share, np.asarray(share @ y, np.float64), (y**2).sum(axis=(1, 2)))

    def each(self, precision: Floats) -> Floats:
        """(D,) F(V) of each draw."""
        _, finite = self.spans(precision > 0)
        return np.where(finite, self.parts(precision).value, np.inf)

    def effort(self, precision: Floats) -> float:
        """Of all: n E c(λ)."""
        return float(self.n * (self.p @ np.asarray(self.cost.value(precision), float)))

    def potential(self, precision: Floats) -> float:
        """Φ; infinite if those who are not idle leave F so in some draw."""
        if not self.spans(precision > 0)[1].all():
            return np.inf
        return self.effort(precision) + float(self.chance @ self.each(precision))

    def derivatives(self, precision: Floats) -> tuple[Floats, Floats]:
        """(m,) −λ_a ∂E F/∂λ_a, without λ_a where it is 0, and (m, m) λ_a λ_b ∂²E F/∂λ_a∂λ_b."""
        share, gaze, _ = self.parts(precision)
        idle = precision <= 0
        own = (gaze**2).sum(axis=2) * np.where(idle, self.counts, 1)
        gain = np.asarray(self.chance @ own)
        gain[idle & (gain <= SEEN * gain.max())] = 0.0
        pairs = (share * np.sqrt(self.chance)[:, None, None])[:, :, :, None] * gaze[:, :, None, :]
        pairs[:, idle] = 0.0
        flat = pairs.swapaxes(0, 1).reshape(len(precision), -1)
        return gain, np.asarray((1 if self.target is None else 2) * (flat @ flat.T))

    def needed(self) -> NDArray[np.bool_]:
        """(m,) whether F is infinite in some draw without this type."""
        others = ~np.eye(len(self.p), dtype=bool)
        return np.array([not self.spans(active)[1].all() for active in others])


def _lottery(
    points: ArrayLike,
    mass: ArrayLike,
    cost: Cost,
    n: int,
    scalarisation: Scalarisation,
    draws: int,
    seed: int,
) -> tuple[_Lottery, float, bool]:
    """The draws with finite F, the probability of the others, and whether they are sampled."""
    x = as_attributes("points", points)
    p = as_positive("mass", mass, len(x))
    p = p / p.sum()
    n = whole("n", n, 1)
    game = game_of(x, n * p, cost, scalarisation, np.ones(len(x)))
    counts, chance, sampled = _draws(p, n, whole("draws", draws, 2), seed)
    _, finite = _spans(game.points, counts > 0, game.target)
    if not finite.any():
        raise ValueError(
            f"n is {n} and every draw leaves the information singular: take n ≥ {x.shape[1]} "
            f"owners, and types that span all {x.shape[1]} dimensions"
        )
    shift = 2 * float(np.log(np.abs(np.diag(game.root))).sum())
    kept = finite & (chance > RARE)
    lottery = _Lottery(
        game.points, p, cost, float(n), game.target, shift, counts[kept], chance[kept]
    )
    return lottery, float(chance[~kept].sum()), sampled


def _minimum(lottery: _Lottery, start: Floats) -> tuple[Floats, float]:
    """The minimum of Φ over λ ≥ 0 by Newton's method, in log λ for the types that are needed.

    While a step is long, each precision that is needed takes the reply that is best if others do
    not move: for the part R of its gain that comes from draws with nobody else, which falls like
    λ^−q (q = 1, for log det 0) while all else is proportional to λ.
    """
    needed, scale = lottery.needed(), lottery.n * lottery.p
    degree = 0 if lottery.target is None else 1
    precision = np.maximum(start, 1e-3 * start.max())  # nobody idle: every draw stays finite
    gain, _ = lottery.derivatives(precision)
    precision[~needed & (gain / precision <= SEEN * (gain / precision).max())] = 0.0
    value, best, found = lottery.potential(precision), (np.inf, precision), 0
    for step in range(STEPS):
        active = precision > 0
        unit = np.where(active, precision, 1.0)
        gain, bend = lottery.derivatives(precision)
        spent = unit * scale * np.asarray(lottery.cost.slope(precision), float)
        gradient = spent - gain
        error = np.abs(gradient) / np.maximum(np.maximum(spent, gain), SMALLEST)
        residual = float(error[active | (gradient < 0)].max(initial=0.0))
        if residual < best[0]:
            best, found = (residual, precision), step
        if residual <= SOLVED or (best[0] <= ACCEPTED and step >= found + PATIENCE):
            break
        curved = np.zeros_like(unit)
        curved[active] = (unit**2 * scale * lottery.cost.bend(unit))[active]
        move = np.where(active, 0.0, np.maximum(-gradient, 0.0))
        steep = np.where(needed, np.maximum(gradient, 0.0), FLAT * np.abs(gradient))
        hessian = bend + np.diag(curved + steep)
        size = np.sqrt(np.maximum(np.diag(hessian), SMALLEST))[active]
        inner = hessian[np.ix_(active, active)] / size / size[:, None] + 1e-13 * np.eye(size.size)
        move[active] = -np.linalg.solve(inner, gradient[active] / size) / size
        alone = np.diag(bend) / (1 + degree)
        rest = gradient + alone
        if step < BOLD:
            elastic = curved / np.maximum(spent, SMALLEST)
            far = needed & (np.abs(move) > 0.5) & (alone > 0) & (rest > 0)
            reply = np.log(alone[far] / rest[far]) / (1 + degree + elastic[far])
            move[far] = reply
        move[needed] = move[needed].clip(-LEAP, LEAP)
        part = 1.0
        while part > 1e-12:
            along = np.where(needed, np.expm1(part * move), np.maximum(part * move, -1.0 * active))
            trial = np.where(
                active, precision * (1 + along), 1e-6 * precision.max() * (along > 0) * part
            )
            with np.errstate(all="ignore"):
                there = lottery.potential(trial)
            rise = 1e-4 * part * min(float(gradient @ move), 0.0)
            if there <= value + rise + 1e-14 * abs(value):
                break
            part /= 2
        else:
            break
        precision, value = trial, there
    return best[1], best[0]


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


def _spans(
    x: Floats, there: NDArray[np.bool_], target: Floats | None
) -> tuple[Integers, NDArray[np.bool_]]:
    """(D,) the dimension that those who are there span, and whether F is finite."""
    there, of_draw = np.unique(there, axis=0, return_inverse=True)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True).clip(SMALLEST)
    information = np.einsum("ka,ai,aj->kij", there * 1.0, unit, unit, optimize=True)
    values, axes = np.linalg.eigh(information)
    missing = values <= REGULAR * np.maximum(values[:, -1:], SMALLEST)
    rank = x.shape[1] - missing.sum(axis=1)
    finite = rank == x.shape[1]
    if target is not None and target.shape[1] < x.shape[1]:
        unseen = np.abs(axes.swapaxes(1, 2) @ target).max(axis=2) * missing
        finite = unseen.max(axis=1) <= OUTSIDE * np.linalg.norm(target)
    return rank[of_draw.ravel()], finite[of_draw.ravel()]
