"""Selection under differential variance, for infinitely many candidates.

In group g, a fraction p_g of the candidates, the quality and what is seen of it are

    W ~ N(μ_g, η_g²),    Ŵ = W − β_g + σ_g ε ~ N(μ_g − β_g, ŝ_g²),    ŝ² = η² + σ².

Bayes' rule shrinks what is seen towards the mean of the group, the more the noisier it is:

    W̃ = E[W | Ŵ] = ρ² (Ŵ + β_g) + (1 − ρ²) μ_g ~ N(μ_g, s̃_g²),    ρ² = η²/ŝ²,    s̃ = η²/ŝ.

Inside a group both orders are the same, so a policy is no more than the rates x_g at which the
groups are selected, Σ p_g x_g = α, and the mean quality of the selected is

    U(x) = (1/α) Σ_g p_g [ μ_g x_g + s̃_g f(x_g) ],    f(x) = φ(Φ⁻¹(1 − x)),

concave in x because f is: f'(x) = Φ⁻¹(1 − x) falls.  **Each baseline maximises this with what it
believes**: the Bayesian with the true (μ, s̃), the group-oblivious with (μ − β, ŝ), as if Ŵ were W.
Where the derivatives c_g + s_g Φ⁻¹(1 − x_g) are equal there is one threshold for all groups.
The γ-rule adds γ M ≤ x_g ≤ M for some M, and is solved for either belief.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, number, reals, refuse_first
from ..common import ReadOnly, bisect, scipy

if TYPE_CHECKING:
    from .laws import LatentPopulation

SUM_TO_ONE = 1e-9  # fractions typed with nine decimals pass; they are then divided by their sum
LARGEST = 1e200  # of a mean or a standard deviation: products and squares stay in range
FAR = 40.0  # standard deviations: Φ(−40) is 0 in double precision


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Population(ReadOnly):
    """Groups of candidates: how many, how good, how well measured.  Checked once.

    Args:
        fraction: p, (K,), > 0, sums to 1: the part of the candidates in each group.
        mean: μ, scalar or (K,): mean quality.
        spread: η, scalar or (K,), > 0: standard deviation of quality.
        bias: β, scalar or (K,): how much the estimate is too low on average.
        noise: σ, scalar or (K,), ≥ 0: standard deviation of the estimate around quality less bias.
        labels: (K,) names of the groups; 0..K−1 by default.

    Attributes:
        fraction: (K,), not to be written to.
        mean: (K,), not to be written to.
        spread: (K,), not to be written to.
        bias: (K,), not to be written to.
        noise: (K,), not to be written to.
        labels: tuple of K names.

    Raises:
        ValueError: a value out of its range, shapes that do not fit, labels that repeat.

    References:
        Emelianov, Gast, Gummadi & Loiseau, "On fair selection in the presence of implicit
        variance" (EC 2020) and "... implicit and differential variance" (Artificial Intelligence,
        2022).

    Example:
        >>> population = Population([0.4, 0.6], noise=[2.0, 0.5], labels=["few", "many"])
        >>> population.observed_spread.round(3), population.posterior_spread.round(3)
        (array([2.236, 1.118]), array([0.447, 0.894]))
    """

    fraction: Floats
    mean: Floats
    spread: Floats
    bias: Floats
    noise: Floats
    labels: tuple[Any, ...]

    def __init__(
        self,
        fraction: ArrayLike,
        mean: ArrayLike = 0.0,
        spread: ArrayLike = 1.0,
        bias: ArrayLike = 0.0,
        noise: ArrayLike = 0.0,
        labels: Sequence[Any] | None = None,
    ) -> None:
        p = fractions_of(fraction)
        values = {"mean": mean, "spread": spread, "bias": bias, "noise": noise}
        fields = {name: vector(name, value, p.size) for name, value in values.items()}
        eta, sigma = fields["spread"], fields["noise"]
        refuse_first(
            "spread", eta, eta > 0, "> 0", "without spread there is nobody better to select"
        )
        refuse_first(
            "noise", sigma, sigma >= 0, "≥ 0", "it is a standard deviation, not a variance"
        )
        for name, value in {"fraction": p, **fields}.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "labels", labels_of(labels, p.size))

    @property
    def observed_mean(self) -> Floats:
        """(K,) μ − β, the mean of Ŵ."""
        return self.mean - self.bias

    @property
    def observed_spread(self) -> Floats:
        """(K,) ŝ = √(η² + σ²), the standard deviation of Ŵ."""
        return np.hypot(self.spread, self.noise)

    @property
    def posterior_spread(self) -> Floats:
        """(K,) s̃ = η²/ŝ, the standard deviation of E[W | Ŵ]."""
        shrunk = self.spread * (self.spread / self.observed_spread)
        return np.maximum(shrunk, np.finfo(float).tiny)

    def __len__(self) -> int:
        return self.fraction.size

    def __repr__(self) -> str:
        return f"Population({', '.join(map(str, self.labels))})"


class Belief(NamedTuple):
    """What the decision maker takes for the quality of the candidates when ranking them.

    Attributes:
        mean: (K,) c, the mean in each group.
        spread: (K,) s, the standard deviation in each group, > 0.
    """

    mean: Floats
    spread: Floats


class Selection(NamedTuple):
    """Who is selected.

    Attributes:
        rates: (K,) x, the part of each group that is selected; Σ p x = α.
        thresholds: (K,) the least estimate Ŵ that is selected in each group; ∞ where nobody is.
        utility: U(x), the mean quality of the selected.
        population: the `Population` or `LatentPopulation`.
        budget: α, the part of all candidates that is selected.
        belief: the `Belief` for which these rates are best; the γ-rule departs from it.  For a
            `LatentPopulation` "estimate" or "posterior", whichever was equalised.
    """

    rates: Floats
    thresholds: Floats
    utility: float
    population: Any
    budget: float
    belief: Any


# --- policies ---------------------------------------------------------------------------------
def group_oblivious(population: Population | LatentPopulation, budget: float = 0.2) -> Selection:
    """Select the largest estimates Ŵ: one threshold for all groups.

    With equal μ and η and β = 0, the noisier group is selected at the higher rate iff α < 1/2: its
    estimates are spread more widely, and a threshold above the mean cuts off more of them.

    Args:
        population: a `Population`, or a `LatentPopulation` where quality has another law.
        budget: α, 0 < α < 1.

    Returns:
        `Selection`.

    Raises:
        ValueError: a budget outside (0, 1).

    Example:
        >>> population = Population([0.4, 0.6], noise=[2.0, 0.5])
        >>> group_oblivious(population, budget=0.2).rates.round(4)
        array([0.293, 0.138])
    """
    if not isinstance(population, Population):
        return population.best(_budget(budget), "estimate")
    belief = Belief(population.observed_mean, population.observed_spread)
    return _best(population, _budget(budget), belief)


def bayes_optimal(population: Population | LatentPopulation, budget: float = 0.2) -> Selection:
    """Select the largest posterior means E[W | Ŵ]: the rates that maximise U.

    With equal μ and η, the noisier group is selected at the *lower* rate iff α < 1/2.

    Args:
        population: a `Population`, or a `LatentPopulation` where quality has another law.
        budget: α, 0 < α < 1.

    Returns:
        `Selection`.

    Raises:
        ValueError: a budget outside (0, 1).

    Example:
        >>> population = Population([0.4, 0.6], noise=[2.0, 0.5])
        >>> bayes_optimal(population, budget=0.2).rates.round(4)
        array([0.1037, 0.2642])
    """
    if not isinstance(population, Population):
        return population.best(_budget(budget), "posterior")
    belief = Belief(population.mean, population.posterior_spread)
    return _best(population, _budget(budget), belief)


def demographic_parity(population: Population | LatentPopulation, budget: float = 0.2) -> Selection:
    """Select the same part of every group: x_g = α.

    Args:
        population: a `Population`, or a `LatentPopulation` where quality has another law.
        budget: α, 0 < α < 1.

    Returns:
        `Selection`.

    Raises:
        ValueError: a budget outside (0, 1).

    Example:
        >>> demographic_parity(Population([0.4, 0.6], noise=[2.0, 0.5])).rates
        array([0.2, 0.2])
    """
    return with_rates(population, np.full(len(population), _budget(budget)), budget)


def with_rates(
    population: Population | LatentPopulation, rates: ArrayLike, budget: float | None = None
) -> Selection:
    """The selection with given rates, the best of each group.

    Its belief, of which there are many, is the one that ranks each candidate by the standard score
    inside the group, moved so that the last one selected stands at 0: the γ-rule moves such rates
    in probit units.

    Args:
        population: the `Population`.
        rates: x, (K,), between 0 and 1.
        budget: α, 0 < α < 1; Σ p x by default.

    Returns:
        `Selection`.

    Raises:
        ValueError: rates outside [0, 1], or Σ p x that is not α.

    Example:
        >>> with_rates(Population([0.5, 0.5]), [0.3, 0.1]).budget
        0.2
    """
    x = vector("rates", rates, len(population))
    refuse_first("rates", x, (x >= 0) & (x <= 1), "between 0 and 1", "they are parts of each group")
    used = float(population.fraction @ x)
    alpha = _budget(used if budget is None else budget)
    if abs(used - alpha) > SUM_TO_ONE * alpha:
        raise ValueError(
            f"rates select {used:.10g} of all candidates (Σ fraction·rates): must be the budget, "
            f"{alpha:.10g}; multiply them by {alpha / used if used else np.inf:.10g}"
        )
    if not isinstance(population, Population):
        return population.selection(x, alpha, x)
    scores = -scipy().special.ndtri(x)
    belief = Belief(-np.clip(scores, -FAR, FAR), np.ones(x.size))
    return _selection(population, alpha, x, scores, belief)


def gamma_rule(selection: Selection, gamma: float = 0.8) -> Selection:
    """The best selection in which no rate is less than γ times another: x_g ≥ γ x_h for all g, h.

    Best in the eyes of whoever made the selection: it maximises Σ p_g [c_g x_g + s_g f(x_g)] with
    the (c, s) of ``selection.belief`` on {γ M ≤ x_g ≤ M for some M, Σ p x = α}.  For
    `bayes_optimal` that is U, so the result is the constrained optimum.  For `group_oblivious` it
    is the mean *estimate* of the selected: still the largest Ŵ, inside the rule.  For two groups
    either is the baseline clipped to the interval of rates that the rule allows, because a concave
    function of one variable is largest at the end next to its maximum.

    With a common prior the rule never lowers the quality that the oblivious baseline finds; but
    from three groups on a larger γ may find less than a smaller one.

    Args:
        selection: a baseline.  One that obeys the rule already is returned as it is.
        gamma: γ in [0, 1]; 0 is no rule, 0.8 the four-fifths rule, 1 demographic parity.

    Returns:
        `Selection`, of the same budget.

    Raises:
        ValueError: gamma outside [0, 1].

    Example:
        >>> population = Population([0.4, 0.6], noise=[2.0, 0.5])
        >>> gamma_rule(bayes_optimal(population, budget=0.2)).rates.round(4)
        array([0.1739, 0.2174])
    """
    gamma = number("gamma", gamma, "between 0 and 1 (0.8 is the four-fifths rule)", _is_part)
    if selection.rates.min() >= gamma * selection.rates.max():
        return selection
    population, alpha, belief = selection.population, selection.budget, selection.belief
    if not isinstance(population, Population):
        found: Selection = population.best_in_band(selection, gamma)
        return found
    p = population.fraction
    x = band(selection.rates, p, alpha, gamma)
    if x is None:
        x = _best_in_band(p, belief, alpha, gamma)
    return _selection(population, alpha, x, -scipy().special.ndtri(x), belief)


# --- what can be said without solving -----------------------------------------------------------
def equal_rate_budget(
    population: Population, baseline: Callable[..., Selection] = group_oblivious
) -> float | None:
    """The budget α* at which a baseline selects two groups at equal rates, and changes sides.

    A common threshold t is c_g + s_g z_g in standard scores; z_1 = z_2 = z gives::

        z = (c_2 − c_1) / (s_1 − s_2),    α* = 1 − Φ(z).

    The group of larger s is selected at the higher rate iff α < α*.  With equal c, α* = 1/2.

    Args:
        population: of two groups.
        baseline: `group_oblivious` (c = μ − β, s = ŝ) or `bayes_optimal` (c = μ, s = s̃).

    Returns:
        α* in [0, 1] (0 or 1 where it is too near to tell in double precision); None where s is the
        same in both groups: then the one of larger c is preferred at every budget, and where c is
        the same too the rates are always equal.

    Raises:
        ValueError: not two groups.

    Example:
        >>> equal_rate_budget(Population([0.4, 0.6], noise=[2.0, 0.5]))
        0.5
        >>> equal_rate_budget(Population([0.4, 0.6], mean=[1.0, 0.0])) is None
        True
    """
    if len(population) != 2:
        raise ValueError(
            f"population has {len(population)} groups: must have two; compare them in pairs, "
            f"for example Population([0.5, 0.5], mean[[0, 1]], …)"
        )
    (c, d), (s, r) = baseline(population).belief
    if s == r:
        return None
    with np.errstate(over="ignore"):
        return float(scipy().special.ndtr((c - d) / (s - r)))


def loss_bound(population: Population, gamma: float = 1.0) -> float:
    """The part of the best U − μ that the γ-rule is sure to keep, if μ is common to all.

    For every selection that obeys it (see below for which γ and budgets)::

        (U − μ) / (U_bayes − μ) ≥ γ Σ_g p_g s̃_g / max_g s̃_g.

    Proof.  f is concave, symmetric about 1/2 and f(0) = 0.  By Jensen's inequality
    α (U_bayes − μ) = Σ p s̃ f(x) ≤ max s̃ · f(α), while equal rates give Σ p s̃ · f(α): the case
    γ = 1.  It holds for demographic parity, and so for the γ-rule of `bayes_optimal` with any γ,
    which is at least as good, at every budget.  For γ < 1 and *any* rates in [γ M, M]: γ M ≤ α ≤ M
    as α is their mean, so that x ≥ γ α and x ≤ α/γ.  Where x < α, f(x) ≥ (x/α) f(α) ≥ γ f(α);
    where α ≤ x ≤ 1 − α, f(x) ≥ f(α).  The largest x is at most 1 − α if α ≤ γ/(1 + γ) (4/9 for
    four fifths), and then every term keeps γ.

    The group-oblivious selection under the γ-rule is *not* covered by the case γ = 1.

    Args:
        population: with the same mean in all groups.
        gamma: γ in [0, 1].  Below 1 the bound is for budgets up to γ/(1 + γ).

    Returns:
        The bound, between 0 and 1.

    Raises:
        ValueError: means that differ (the loss can then be arbitrarily large), or a bad gamma.

    Example:
        >>> population = Population([0.4, 0.6], noise=[2.0, 0.5])
        >>> best, equal = bayes_optimal(population, 0.2), demographic_parity(population, 0.2)
        >>> round(loss_bound(population), 4), round(equal.utility / best.utility, 4)
        (0.8, 0.9643)
    """
    gamma = number("gamma", gamma, "between 0 and 1 (1 is demographic parity)", _is_part)
    mu = population.mean
    refuse_first(
        "mean", mu, mu == mu[0], f"{mu[0]}, that of group 0", "the bound needs a common mean"
    )
    s = population.posterior_spread
    return float(gamma * (population.fraction @ (s / s.max())))


# --- the common threshold -------------------------------------------------------------------------
def _best(population: Population, alpha: float, belief: Belief) -> Selection:
    x, scores, _ = _common_threshold(population.fraction, belief, alpha)
    return _selection(population, alpha, x, scores, belief)


def _selection(
    population: Population, alpha: float, rates: Floats, scores: Floats, belief: Belief
) -> Selection:
    with np.errstate(over="ignore"):  # under enormous noise a threshold may be infinite
        thresholds = population.observed_mean + population.observed_spread * scores
    x = np.array(rates)
    gain = population.mean * x + population.posterior_spread * density(scipy().special.ndtri(x))
    utility = float(population.fraction @ gain) / alpha
    return Selection(x, thresholds, utility, population, alpha, belief)


def density(z: Floats) -> Floats:
    """φ(z), the standard normal density; with Φ⁻¹ inside it is f(x) = φ(Φ⁻¹(1 − x)) = φ(Φ⁻¹(x))."""
    return np.asarray(np.exp(-z * z / 2) / np.sqrt(2 * np.pi))


def _common_threshold(
    p: Floats, belief: Belief, alpha: float, low: float = 0.0, high: float = 1.0
) -> tuple[Floats, Floats, float]:
    """Rates clip(P(c + s ε > t), low, high) that meet the budget, standard scores, t.

    At the least of the thresholds at which one group alone would be selected at rate α every rate
    is ≥ α, at the largest every rate is ≤ α.  Between two neighbouring doubles the rates are
    interpolated.  Where s is tiny beside c, no double t meets the budget: there t is measured from
    the c of the group that it is nearest to.
    """
    c, s = belief
    x, scores, t = _threshold_from_zero(p, belief, alpha, low, high)
    near = int(np.argmin(np.abs(c - t) / s))
    if np.abs(c[near]) > FAR * s[near]:
        moved = Belief(c - c[near], s)
        x, scores, t = _threshold_from_zero(p, moved, alpha, low, high)
        t += float(c[near])
    return x, scores, t


def _threshold_from_zero(
    p: Floats, belief: Belief, alpha: float, low: float, high: float
) -> tuple[Floats, Floats, float]:
    c, s = belief
    ndtr, ndtri = scipy().special.ndtr, scipy().special.ndtri

    def rates(t: float) -> Floats:
        return np.asarray(ndtr((c - t) / s).clip(low, high))

    alone = c - s * ndtri(alpha)
    with np.errstate(over="ignore"):
        t, above = bisect(lambda t: p @ rates(t) < alpha, float(alone.min()), float(alone.max()))
        more, less = rates(t), rates(above)
        scores = (t - c) / s, (above - c) / s
    excess, width = p @ more - alpha, p @ (more - less)
    part = float(np.clip(excess / width, 0, 1)) if width > 0 else 0.0
    x = more + (less - more) * part
    return x, np.clip(-ndtri(x), *scores), t


def band(rates: Floats, p: Floats, alpha: float, gamma: float) -> Floats | None:
    """The rates under a rule that the baseline breaks, where no search is needed; else None."""
    if gamma == 1:
        return np.full(p.size, alpha)
    if p.size == 2:  # both rates are at an end of the band
        part = np.where(rates == rates.max(), 1.0, gamma)
        return np.asarray(part * (alpha / (p @ part)))
    return None


# --- the γ-rule for any number of groups ----------------------------------------------------------
# For a given M the best rates in [γ M, M] have a common threshold τ and are clipped.  By the
# envelope theorem their value V(M), concave, has the slope
#
#   V'(M) = Σ_{x_g = M} p_g (u_g'(M) − τ)  +  γ Σ_{x_g = γM} p_g (u_g'(γM) − τ),
#
# u' = c + s Φ⁻¹(1 − x): what those at the top gain as it rises, and those at the bottom lose.
# Above M = α it is sought where it changes sign.  u'(1) = −∞ keeps M below 1.
def _best_in_band(p: Floats, belief: Belief, alpha: float, gamma: float) -> Floats:
    ndtri, (c, s) = scipy().special.ndtri, belief
    t = _common_threshold(p, belief, alpha)[2]
    belief = Belief(c - c[np.argmin(np.abs(c - t) / s)], s)  # a common shift changes no rates
    c = belief.mean

    def falls(top: float) -> bool:
        tau = _common_threshold(p, belief, alpha, gamma * top, top)[2]
        gain = np.maximum(c - s * ndtri(top) - tau, 0)
        loss = np.minimum(c - s * ndtri(gamma * top) - tau, 0)
        return bool(p @ (gain + gamma * loss) < 0)

    top, _ = bisect(falls, alpha, min(1.0, alpha / gamma))
    return _common_threshold(p, belief, alpha, gamma * top, top)[0]


# --- conversions ----------------------------------------------------------------------------------
def fractions_of(fraction: ArrayLike) -> Floats:
    """(K,) the parts of all candidates, checked and rescaled to sum to 1."""
    p = vector("fraction", fraction, None)
    refuse_first("fraction", p, p > 0, "> 0", "leave out groups without candidates")
    if not abs(p.sum() - 1) <= SUM_TO_ONE:
        raise ValueError(
            f"fraction sums to {p.sum():.10g}: must sum to 1; divide counts by their sum"
        )
    return np.asarray(p / p.sum())


def _is_part(value: float) -> bool:
    return 0 <= value <= 1


def _budget(budget: float) -> float:
    expected = "above 0 and below 1, the part of all candidates to select"
    return number("budget", budget, expected, lambda v: 0 < v < 1)


def vector(name: str, value: ArrayLike, size: int | None) -> Floats:
    """(K,) finite floats, a copy; a scalar stands for all groups."""
    array = reals(name, value)
    if size is not None and array.ndim == 0:
        array = np.full(size, array)
    if array.ndim != 1 or array.size == 0 or (size is not None and array.size != size):
        expected = "(K,), a number for each group" if size is None else f"({size},) or a number"
        raise ValueError(f"{name} has shape {array.shape}: must be {expected}")
    array = array.astype(float)
    refuse_first(
        name, array, np.abs(array) < LARGEST, f"finite, below {LARGEST:g}", "estimate it from data"
    )
    return array


def labels_of(labels: Sequence[Any] | None, size: int) -> tuple[Any, ...]:
    """Names of the groups, each once."""
    names = tuple(range(size) if labels is None else labels)
    if len(names) != size:
        raise ValueError(f"labels has {len(names)} names: must have {size}, one for each fraction")
    repeated = [label for g, label in enumerate(names) if label in names[:g]]
    if repeated:
        raise ValueError(f"labels has {repeated[0]!r} twice: join these groups or rename one")
    return names
