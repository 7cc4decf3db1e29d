"""Selection when quality has any law: exponential, Pareto, two kinds of people, a sample.

The quality W of a candidate of group g has a law F_g, what is seen is Ŵ = W − β_g + σ_g ε with
normal ε.  The law is kept as atoms w_j with weights π_j: those of a sample, or the nodes of a
quadrature, so that everything is a finite sum::

    P(Ŵ > t)       = Σ π_j Φ(z_j),             z_j = (w_j − β − t)/σ
    E[W; Ŵ > t]    = Σ π_j w_j Φ(z_j)
    E[W | Ŵ = t]   = Σ π_j w_j φ(z_j) / Σ π_j φ(z_j)

Normal noise has a monotone likelihood ratio, so that E[W | Ŵ = t] rises with t whatever F is:
inside a group the order of the estimates is right, and a policy is again no more than its rates
x_g.  With t_g(x) the estimate that a part x of the group exceeds, the mean quality

    U(x) = (1/α) Σ p_g E[W; Ŵ > t_g(x_g)]

is concave, because its derivative p_g E[W | Ŵ = t_g(x_g)]/α falls as x_g rises.

A common level of E[W | Ŵ] is sought as its log odds between the least and the best quality of all
groups, w₀ and w₁::

    ℓ = log (E[W | Ŵ = t] − w₀)/(w₁ − E[W | Ŵ = t])
      = log Σ π_j (w_j − w₀) φ(z_j) − log Σ π_j (w₁ − w_j) φ(z_j),

because with few places all who are selected may be as good as certain to be good: levels that
differ in the twentieth digit after 0.999… are far apart in ℓ.  Where even so the rates jump between
one double and the next, the last places are shared out in between: that makes no difference to U.

**When does parity help?**  With two groups, U has one peak on the line of rates that meet the
budget.  Parity is better than the oblivious rates if U rises all the way from these to equal rates,
and as U is concave it is enough to look at the end:

    the oblivious select group 1 at the higher rate, t_1(α) ≥ t_2(α), and at equal rates the last
    selected of group 1 is not better, E[W | Ŵ = t_1(α)] ≤ E[W | Ŵ = t_2(α)]   ⟹   parity helps.

With normal quality and equal priors both hold for the noisier group whenever α < 1/2.  For other
laws the second can fail.  With five percent of good candidates and places for twenty, the last
selected are hardly ever good, least of all where measurement is exact, and places for the group
that is measured well are wasted (`parity_helps` asks whether the condition holds).

References:
    Emelianov, Gast, Gummadi, Loiseau, "On fair selection in the presence of implicit variance"
    (EC 2020), section on other distributions.
    Takahasi, Mori, "Double exponential formulas for numerical integration", Publ. RIMS 9 (1974).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, number, reals, refuse_first
from ..common import ReadOnly, bisect, scipy
from .population import LARGEST, SUM_TO_ONE, Selection, band, fractions_of, labels_of, vector

NODES = 200  # of the quadrature on each side of the median: 1e−14 for laws with a smooth quantile
REACH = 4.0  # of the double exponential variable: beyond it the weights are below 1e−37
FAR = 40.0  # standard deviations of noise
TINY = 1e-250  # sums of likelihoods that small may have lost terms to underflow
FINE = 9e-16  # of the search for a threshold: relative to it, or to the noise


@dataclass(frozen=True, init=False, eq=False, repr=False)
class QualityLaw(ReadOnly):
    """A law of latent quality, as atoms.

    Args:
        values: (J,) w, finite.
        weights: (J,) π, ≥ 0, with a positive sum, by which they are divided; equal by default: a
            sample.

    Example:
        >>> QualityLaw([0, 1], [0.95, 0.05]).mean
        0.05
        >>> from scipy import stats
        >>> round(QualityLaw.of(stats.pareto(2.5)).mean, 12)
        1.666666666667
    """

    values: Floats
    weights: Floats

    def __init__(self, values: ArrayLike, weights: ArrayLike | None = None) -> None:
        w = np.array(reals("values", values))
        if w.ndim != 1 or not w.size:
            raise ValueError(f"values has shape {w.shape}: must be (J,), at least one atom")
        refuse_first("values", w, np.isfinite(w), "finite")
        weight = np.ones(w.size) if weights is None else np.array(reals("weights", weights))
        if weight.shape != w.shape:
            raise ValueError(f"weights has shape {weight.shape}: must be {w.shape}, one an atom")
        refuse_first("weights", weight, (weight >= 0) & np.isfinite(weight), "finite, ≥ 0")
        if not weight.sum() > 0:
            raise ValueError("weights sum to 0: at least one atom must have a positive weight")
        keep = weight > 0
        for name, value in (("values", w[keep]), ("weights", weight[keep] / weight.sum())):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, distribution: Any, nodes: int = NODES) -> QualityLaw:
        """A continuous law, by the double exponential rule in its quantiles.

        Args:
            distribution: with methods ``ppf`` and ``isf``, such as a frozen one of scipy.stats;
                its mean must be finite.
            nodes: on each side of the median.
        """
        count = int(number("nodes", nodes, "a whole number ≥ 10", lambda n: n >= 10 and n % 1 == 0))
        step = REACH / count
        k = step * np.arange(-count, count + 1)
        expit = scipy().special.expit
        below, above = expit(np.pi * np.sinh(k)), expit(-np.pi * np.sinh(k))
        value = np.where(k < 0, distribution.ppf(below), distribution.isf(above))
        weight = step * np.pi * np.cosh(k) * below * above
        keep = np.isfinite(value) & (weight > 0)
        return cls(value[keep], weight[keep])

    @property
    def mean(self) -> float:
        """E W."""
        return float(self.weights @ self.values)

    @property
    def spread(self) -> float:
        """Standard deviation of W."""
        return float(np.sqrt(self.weights @ (self.values - self.mean) ** 2))

    def __repr__(self) -> str:
        return f"QualityLaw({self.values.size} atoms, mean {self.mean:.4g})"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class LatentPopulation(ReadOnly):
    """Groups of candidates whose quality has any law.  `group_oblivious` and the others take it.

    Args:
        fraction: p, (K,), > 0, sums to 1.
        quality: a `QualityLaw` for all groups, or one for each.
        noise: σ, scalar or (K,), > 0.
        bias: β, scalar or (K,).
        labels: (K,) names of the groups; 0..K−1 by default.

    Raises:
        ValueError: a value out of its range, shapes that do not fit, labels that repeat.

    Example:
        Five percent are good.  Parity then finds fewer of them than the oblivious:

        >>> from alphafair.models.selection import demographic_parity, group_oblivious
        >>> law = QualityLaw([0, 1], [0.95, 0.05])
        >>> population = LatentPopulation([0.4, 0.6], law, noise=law.spread * np.array([2, 0.5]))
        >>> parity, plain = (f(population, 0.2) for f in (demographic_parity, group_oblivious))
        >>> round(parity.utility - plain.utility, 4)
        -0.0064
    """

    fraction: Floats
    quality: tuple[QualityLaw, ...]
    noise: Floats
    bias: Floats
    labels: tuple[Any, ...]

    def __init__(
        self,
        fraction: ArrayLike,
        quality: QualityLaw | Sequence[QualityLaw],
        noise: ArrayLike = 1.0,
        bias: ArrayLike = 0.0,
        labels: Sequence[Any] | None = None,
    ) -> None:
        p = fractions_of(fraction)
        laws = (quality,) * p.size if isinstance(quality, QualityLaw) else tuple(quality)
        if len(laws) != p.size:
            raise ValueError(f"quality has {len(laws)} laws: must be one, or {p.size}, one a group")
        sigma, beta = vector("noise", noise, p.size), vector("bias", bias, p.size)
        refuse_first(
            "noise", sigma, sigma > 0, "> 0", "a very small one stands for no noise at all"
        )
        for name, value in (("fraction", p), ("noise", sigma), ("bias", beta)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "quality", laws)
        object.__setattr__(self, "labels", labels_of(labels, p.size))

    def __len__(self) -> int:
        return self.fraction.size

    def __repr__(self) -> str:
        return f"LatentPopulation({', '.join(map(str, self.labels))})"

    # ------------------------------------------------------------- what one threshold does

    def exceeding(self, threshold: ArrayLike) -> Floats:
        """(K,) P(Ŵ > t), for one t or one in each group."""
        return self._each(self._exceeding, threshold)

    def quality_above(self, threshold: ArrayLike) -> Floats:
        """(K,) E[W; Ŵ > t]."""
        ndtr = scipy().special.ndtr
        return self._each(
            lambda g, t: (self.quality[g].weights * self.quality[g].values) @ ndtr(self._z(g, t)),
            threshold,
        )

    def posterior_mean(self, threshold: ArrayLike) -> Floats:
        """(K,) E[W | Ŵ = t]: it rises with t."""
        return self._each(self._posterior, threshold)

    def _each(self, of_group: Callable[[int, float], Any], value: ArrayLike) -> Floats:
        """(K,) a function of a group and a number, one number for all or one for each."""
        values = np.broadcast_to(np.asarray(value, dtype=float), len(self))
        return np.array([of_group(g, v) for g, v in enumerate(values.tolist())], dtype=float)

    def _z(self, g: int, t: float) -> Floats:
        """By how many σ the atoms of a group stand above a threshold."""
        return np.asarray((self.quality[g].values - self.bias[g] - t) / self.noise[g])

    def _exceeding(self, g: int, t: float) -> Any:
        return self.quality[g].weights @ scipy().special.ndtr(self._z(g, t))

    def _posterior(self, g: int, t: float) -> Any:
        law, z = self.quality[g], self._z(g, t)
        if np.isinf(t):  # the limit: the least of all candidates, or the best
            return law.values.max() if t > 0 else law.values.min()
        log = np.log(law.weights) - z * z / 2
        likely = np.exp(log - log.max())
        return (likely @ law.values) / likely.sum()

    def _ends(self) -> tuple[float, float]:
        """Thresholds that everybody exceeds, and nobody."""
        values = [(q.values.min(), q.values.max()) for q in self.quality]
        low = min(v[0] - b - FAR * s for v, b, s in zip(values, self.bias, self.noise, strict=True))
        high = max(
            v[1] - b + FAR * s for v, b, s in zip(values, self.bias, self.noise, strict=True)
        )
        return float(low), float(high)

    def thresholds(self, rates: ArrayLike) -> Floats:
        """(K,) t_g(x): the estimate that a part x of the group exceeds; ∞ for 0, −∞ for 1."""
        x = np.broadcast_to(np.asarray(rates, dtype=float), len(self))
        t = self._each(lambda g, x: self._where(lambda t: x - self._exceeding(g, t)), x)
        return np.where(x <= 0, np.inf, np.where(x >= 1, -np.inf, t))

    def _where(self, rising: Callable[[float], Any]) -> float:
        """The threshold at which a rising function is 0, or the end where it comes nearest."""
        low, high = self._ends()
        if rising(low) >= 0:
            return low
        if rising(high) <= 0:
            return high
        small, brentq = FINE * float(self.noise.min()), scipy().optimize.brentq
        return float(brentq(rising, low, high, xtol=small, rtol=FINE, maxiter=1000))

    # ------------------------------------------------------------------------- the policies

    def best(self, budget: float, by: str) -> Selection:
        """The rates at which the last selected of all groups are equal in the eyes of somebody."""
        x, _ = self._common(budget, by, 0.0, 1.0)
        return self.selection(self._met(x, budget), budget, by)

    def _common(self, budget: float, by: str, low: float, high: float) -> tuple[Floats, float]:
        """(K,) rates between two that reach a common level and meet the budget, and that level."""
        p = self.fraction

        def rates(level: float) -> Floats:
            return np.asarray(np.clip(self._rates(level, by), low, high))

        def excess(level: float) -> float:
            return float(p @ rates(level)) - budget

        low_level, high_level = self._levels(by)
        more, less, level = rates(low_level), rates(high_level), high_level
        if p @ more > budget > p @ less:
            unit = float(self.noise.min()) if by == "estimate" else 1.0
            ends = np.arcsinh(low_level / unit), np.arcsinh(high_level / unit)  # of any size
            place = scipy().optimize.brentq(
                lambda u: excess(unit * math.sinh(u)), *ends, xtol=FINE, rtol=FINE, maxiter=1000
            )
            near = 4 * FINE * (1 + abs(place))
            below, level = (unit * math.sinh(place + step) for step in (-near, near))
            more, less = rates(below), rates(level)
            if not p @ more >= budget >= p @ less:  # it jumps there
                below, level = bisect(lambda v: excess(v) < 0, low_level, high_level)
                more, less = rates(below), rates(level)
        if p @ more < budget:  # whoever is worth the least level is wanted, too
            less, more = more, np.full(len(self), high)
        elif p @ less > budget:  # the best cannot be told apart
            more, less = less, np.full(len(self), low)
        width = p @ (more - less)
        part = float(np.clip((p @ more - budget) / width, 0, 1)) if width > 0 else 0.0
        return more + (less - more) * part, level

    def best_in_band(self, selection: Selection, gamma: float) -> Selection:
        """The γ-rule: the best rates of somebody's in a band [γ M, M]."""
        by, alpha, p = selection.belief, selection.budget, self.fraction
        if not isinstance(by, str):
            raise ValueError("selection was made of given rates: the γ-rule needs a baseline")

        def falls(top: float) -> bool:
            _, level = self._common(alpha, by, gamma * top, top)
            (upper, tau), (lower, _) = (
                self._marginal(np.full(len(self), x), by, level) for x in (top, gamma * top)
            )
            gain, loss = np.maximum(upper - tau, 0), np.minimum(lower - tau, 0)
            return bool(p @ (gain + gamma * loss) < 0)

        x = band(selection.rates, p, alpha, gamma)
        if x is None:
            top, _ = bisect(falls, alpha, min(1.0, alpha / gamma))
            x, _ = self._common(alpha, by, gamma * top, top)
        return self.selection(self._met(x, alpha), alpha, by)

    def selection(self, rates: Floats, budget: float, by: Any) -> Selection:
        """Rates as a `Selection`."""
        t = self.thresholds(rates)
        finite = np.clip(t, *self._ends())
        quality = np.where(rates > 0, self.quality_above(finite), 0.0)
        return Selection(rates, t, float(self.fraction @ quality) / budget, self, budget, by)

    def _levels(self, by: str) -> tuple[float, float]:
        """What a level is between."""
        ends = self._ends()
        if by == "estimate":
            return ends
        odds = np.concatenate([self._each(self._log_odds, t) for t in ends])
        odds = odds[np.isfinite(odds)]
        return float(odds.min(initial=0.0)), float(odds.max(initial=0.0))

    def _rates(self, level: float, by: str) -> Floats:
        """(K,) the part of each group whose estimate, or posterior log odds, exceed a level."""
        if by == "estimate":
            return self.exceeding(level)
        return self.exceeding(self._reaching(level))

    def _reaching(self, level: float) -> Floats:
        """(K,) the thresholds at which the posterior log odds reach a level."""
        return self._each(lambda g, v: self._where(lambda t: self._log_odds(g, t) - v), level)

    @cached_property
    def _range(self) -> tuple[float, float]:
        """w₀ and w₁, the least and the best quality of all."""
        return (
            float(min(law.values.min() for law in self.quality)),
            float(max(law.values.max() for law in self.quality)),
        )

    @cached_property
    def _parts(self) -> list[Floats]:
        """(2, J) of each group: π (w − w₀) and π (w₁ − w)."""
        low, high = self._range
        return [law.weights * [law.values - low, high - law.values] for law in self.quality]

    def _log_odds(self, g: int, t: float) -> Any:
        """The ℓ of the module head; at t = ±∞ its limit.  ±∞ if all are the best, or the least."""
        values, parts = self.quality[g].values, self._parts[g]
        if self._range[0] == self._range[1]:
            return 0.0
        if np.isinf(t):
            with np.errstate(divide="ignore"):
                above, below = np.log(parts[:, values.argmax() if t > 0 else values.argmin()])
            return above - below
        z = self._z(g, t)
        near = np.abs(z).argmin()  # −z²/2 of each, less that of the nearest
        likely = (values[near] - values) * ((z + z[near]) / (2 * self.noise[g]))
        above, below = parts @ np.exp(likely)
        if min(above, below) > TINY:
            return math.log(above) - math.log(below)
        with np.errstate(divide="ignore"):
            logs = np.log(parts) + likely
            top = np.maximum(logs.max(axis=1), -LARGEST)
            above, below = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
            return above - below

    def _marginal(self, rates: Floats, by: str, level: float = 0.0) -> tuple[Floats, float]:
        """(K,) what the last selected are worth, and a level: estimates, or posterior means.

        Posterior means are less the end of their range that the level is nearer to.
        """
        t = self.thresholds(rates)
        if by == "estimate":
            return t, level
        (low, high), sign = self._range, 1.0 if level > 0 else -1.0
        expit = scipy().special.expit

        def worth(odds: Any) -> Any:
            return -sign * (high - low) * expit(-sign * odds)

        inside = self._each(self._log_odds, np.clip(t, *self._ends()))
        return np.where(np.isinf(t), np.sign(t) * np.inf, worth(inside)), float(worth(level))

    def _met(self, rates: Floats, budget: float) -> Floats:
        """Rates that meet the budget to the last digit."""
        used = float(self.fraction @ rates)
        if abs(used - budget) > SUM_TO_ONE * budget:
            raise ValueError(
                f"the candidates cannot be told apart well enough to select {budget:g} of them "
                f"(the nearest is {used:.6g}): give noise more than rounding"
            )
        return np.clip(rates * (budget / used), 0, 1)


def parity_helps(population: LatentPopulation, budget: float) -> bool | None:
    """Does the sufficient condition of this module hold, so that parity beats the oblivious?

    Args:
        population: of two groups.
        budget: α, 0 < α < 1.

    Returns:
        True where it holds: demographic parity finds at least the quality of the oblivious.  False
        where it does not: then the quality rises on the way from equal rates towards those of the
        oblivious, and which of the two is better has to be computed.  None where the oblivious
        select at equal rates.

    Raises:
        ValueError: not two groups.

    Example:
        >>> from scipy import stats
        >>> normal, two = QualityLaw.of(stats.norm()), QualityLaw([0, 1], [0.95, 0.05])
        >>> [
        ...     parity_helps(LatentPopulation([0.4, 0.6], q, q.spread * np.array([2, 0.5])), 0.2)
        ...     for q in (normal, two)
        ... ]
        [True, False]
    """
    if len(population) != 2:
        raise ValueError(f"population has {len(population)} groups: must have two")
    t = population.thresholds(np.full(2, budget))
    if t[0] == t[1]:
        return None
    first = int(np.argmax(t))
    last = population._each(population._log_odds, t)
    return bool(last[first] <= last[1 - first])
