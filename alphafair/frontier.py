"""What does equality cost: the price of fairness, the worst it can be, and the whole frontier.

The price of fairness is the part of the total that the α-fair allocation gives up,

    PoF(α) = 1 − Σ w u(α) / Σ w u(0).

`price_of_fairness_bound` says how large it can be before any data are seen, `frontier` what it is
for a problem, `frontier_bands` how sure one may be of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bisection import bisect
from .checks import Floats, number
from .inequality import gini
from .problem import Problem
from .progress import watched
from .utility import check_alpha, power_mean
from .value import money_exponent

# α = i/(60 − i): evenly spaced on the axis α/(1 + α), with 0, 1/2, 1, 2, 5 and ∞ among them.
DEFAULT_ALPHAS = (*(i / (60 - i) for i in range(60)), np.inf)
TINY = 1e-300  # in the place of 0 where only the sign of a logarithm counts


# --- the price of fairness -------------------------------------------------------------------
def price_of_fairness(problem: Problem, alpha: float) -> float:
    """The part of the largest total that the α-fair allocation gives up, 1 − Σ w u(α)/Σ w u(0).

    Without caps and baselines ``Σ w u(α) = Q Σ w q^{1/α} / Σ w q^{1/α − 1}`` with q = w p: a mean
    of q, weighted towards small q.  It increases in α, with caps and baselines as well: one more α
    takes money from the groups above some level of utility, and those are the groups in which it
    buys most.  With a baseline u is what people have in the end, so the price is a part of that.

    Args:
        problem: a `Problem` with a positive budget.
        alpha: α in [0, ∞].

    Returns:
        A number in [0, 1): 0 at α = 0.

    Raises:
        ValueError: α out of range, or a budget of 0.

    References:
        Bertsimas, Farias and Trichakis, "The price of fairness", Operations Research 59(1), 2011.

    Example:
        >>> problem = Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0)
        >>> [round(price_of_fairness(problem, alpha), 3) for alpha in (0, 1, np.inf)]
        [0.0, 0.375, 0.6]
    """
    return float(frontier(problem, [alpha]).price_of_fairness[0])


def price_of_fairness_bound(
    alpha: float, players: float, spread: float = 1.0, *, simplex: bool = False
) -> float:
    """The worst price of fairness at α, whatever the data.

    For n players with a convex compact set of utilities, σ the largest over the least utility that
    a player could reach alone::

        PoF ≤ max over 1 ≤ S ≤ n, 1 ≤ z ≤ σ S  of  (n − S)(1 − 1/z) / (n − S + S z^{1/α − 1})

    S players who lose by fairness, a price of utility z times as high for the n − S others.  σ = 1
    is the bound of Bertsimas, Farias and Trichakis: 1 − (2√n − 1)/n at α = 1, ((n − 1)/(n + 1))² at
    α = ∞.  It is attained if the maximising S is an integer.

    Where one budget Q makes p_k Q for whoever gets it (no caps, no baselines, no bounds of groups'
    budgets), the set is a simplex, S = 1, and the bound is attained: by one player of productivity
    1 and n − 1 of productivity 1/z.  With a baseline the set is still convex, so the general bound
    holds, for what each has in the end; the bound of the simplex need not.

    With weights the same holds for masses: σ is the ratio of the w_k M_k, where M_k is what k
    could reach alone, and n is Σ w · max M / max(w M); in the simplex Σ w / (w of the best group).

    Args:
        alpha: α in [0, ∞].
        players: n ≥ 1, any real number.
        spread: σ ≥ 1, may be infinite.
        simplex: True for allocations of one budget without caps, baselines or bounds of groups.

    Returns:
        A number in [0, 1]: 0 at α = 0, for one player, and for a simplex of spread 1.

    Raises:
        ValueError: an argument out of its range.

    References:
        Bertsimas, Farias and Trichakis, "On the efficiency-fairness trade-off", Management
        Science 58(12), 2012 (σ = 1).

    Example:
        >>> price_of_fairness_bound(np.inf, 3), round(price_of_fairness_bound(1, 9), 12)
        (0.25, 0.444444444444)
        >>> round(price_of_fairness_bound(1, 2, spread=4, simplex=True), 12)  # p = 4, 1
        0.375
    """
    # Proof.  Let u be α-fair, v any feasible point, γ_j = u_j^{−α} / Σ u^{1−α}, and p = 1/α.
    # Optimality of u (first order): Σ γ v ≤ 1 = Σ γ u.  So Σ u = A/B with A = Σ γ^{−p},
    # B = Σ γ^{1−p}.  Scale the largest attainable utility to 1: v ≤ 1 and γ_j ≤ σ, since player j
    # can have 1/σ alone.  Let S = Σ v, the total to compare with, and claim Σ u ≥ r S, r ≤ 1:
    # A − r S B ≥ 0, a sum over j of h(γ_j) = γ^{−p}(1 − r S γ), split into parts v_j and 1 − v_j.
    #  · Part v: the v-mean c of γ is ≤ 1/S, γ and γ^{−p} are ordered oppositely (Chebyshev) and
    #    γ^{−p} is convex (Jensen), so Σ v h(γ) ≥ S c^{−p}(1 − r S c) ≥ S^{1+p} (1 − r).
    #  · Part 1 − v, of mass n − S: with γ = z/S, Σ (1 − v) h ≥ (n − S) S^p min_z z^{−p}(1 − r z).
    # The sum is ≥ 0 if r ≤ (S z^p + n − S)/(S z^p + (n − S) z) for every z in [1, σ S]: 1 minus the
    # expression maximised above.  The best total has S ≥ 1 (v = the best player alone), and S = 1
    # on a simplex.  Masses w_j instead of 1 change nothing, and α = ∞ is a limit.
    alpha = check_alpha(alpha)
    n = number("players", players, "finite and ≥ 1", lambda v: 1 <= v < np.inf)
    rho = number("spread", spread, "≥ 1", lambda v: v >= 1)
    if alpha == 0 or n == 1:
        return 0.0
    tilt = money_exponent(alpha)
    s, log_z = _worst_case(tilt, n, rho, simplex)
    power = math.exp(tilt * log_z) if tilt else 1.0  # z may be ∞
    return -(n - s) * math.expm1(-log_z) / (n - s + s * power)


def _worst_case(tilt: float, n: float, rho: float, simplex: bool) -> tuple[float, float]:
    """The maximising s and log z; tilt = 1/α − 1.

    For given z the loss decreases in s, so s = max(1, z/ρ), and along this path it has one peak.
    Beyond z = ρ it is the loss of nρ players of equal maxima.  Before, −d loss/dz has the sign of
    ((p − 1) z − p) z^{p−1} − (n − 1), p = 1/α, which increases in z if p > 1.
    """
    if not simplex and n * rho < math.inf:
        slope = _equal_maxima_slope(tilt, n * rho)
        if slope(math.log(rho)) < 0:
            _, log_z = bisect(lambda t: slope(t) >= 0, math.log(rho), math.log(n * rho))
            return math.exp(log_z) / rho, log_z
    if tilt <= 0:  # p ≤ 1: the loss increases in z for ever
        return 1.0, math.log(rho)

    def rise(t: float) -> float:
        return tilt * t + _log(tilt * math.expm1(t) - 1) - math.log(n - 1)

    _, peak = bisect(lambda t: rise(t) >= 0, math.log1p(1 / tilt), math.log1p(2 * n / tilt))
    return 1.0, min(math.log(rho), peak)


def _equal_maxima_slope(tilt: float, n: float) -> Callable[[float], float]:
    """A function of log z with the sign of −d loss/dz at s = z.

    With d = z − 1, m = n − 1, p = 1/α it is that of z^p (−m + (2 + p m) d − (p − 1) d²) − (m − d)²,
    negative up to its only zero.
    """
    m = n - 1

    def slope(t: float) -> float:
        d = math.expm1(t)
        quadratic = -1 + (2 / m + tilt + 1) * d - tilt * d * (d / m)
        return (tilt + 1) * t + _log(quadratic) - _log(m - d) - _log(1 - d / m)

    return slope


def _log(value: float) -> float:
    return math.log(max(value, TINY))


# --- the frontier ----------------------------------------------------------------------------
class FrontierPoint(NamedTuple):
    """One α of a `Frontier`: its scalar columns."""

    alpha: float
    mean_utility: float
    equivalent_utility: float
    min_utility: float
    gini: float
    price_of_fairness: float


@dataclass(frozen=True, eq=False, repr=False)
class Frontier:
    """What each of A values of α achieves: a table, one row an α, in the order asked for.

    ``len`` counts rows, iteration gives each as a `FrontierPoint`, and `to_dict` makes columns for
    a data frame.

    Attributes:
        alpha: (A,) α.
        mean_utility: (A,) Σ w u / Σ w.
        equivalent_utility: (A,) the equally-distributed equivalent at the row's own α.
        min_utility: (A,) min u.
        gini: (A,) Gini's index of u, with population shares w.
        price_of_fairness: (A,) 1 − mean utility / (mean utility at α = 0).
        group_budget: (A, K) x.
        group_utility: (A, K) u.
        group_labels: (K,) the sorted labels.
    """

    alpha: Floats
    mean_utility: Floats
    equivalent_utility: Floats
    min_utility: Floats
    gini: Floats
    price_of_fairness: Floats
    group_budget: Floats
    group_utility: Floats
    group_labels: NDArray[Any]

    def __len__(self) -> int:
        return self.alpha.size

    def __iter__(self) -> Iterator[FrontierPoint]:
        columns = (getattr(self, name).tolist() for name in FrontierPoint._fields)
        return map(FrontierPoint._make, zip(*columns, strict=True))

    def to_dict(self) -> dict[str, Floats]:
        """Columns (A,) by name; those of group k end in its label, as in ``budget_north``.

        Example:
            >>> problem = Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0)
            >>> list(frontier(problem, [0, 1]).to_dict())[5:]
            ['price_of_fairness', 'budget_far', 'budget_near', 'utility_far', 'utility_near']
        """
        columns = {name: getattr(self, name) for name in FrontierPoint._fields}
        for name, table in (("budget", self.group_budget), ("utility", self.group_utility)):
            for label, column in zip(self.group_labels, table.T, strict=True):
                columns[f"{name}_{label}"] = column
        return columns

    def __repr__(self) -> str:
        row = "{:>9.4g} {:>12.6g} {:>12.6g} {:>12.6g} {:>8.4f} {:>8.2f}"
        lines = [row.format(*point[:5], 100 * point.price_of_fairness) for point in self]
        if len(lines) > 12:
            lines = [*lines[:5], "…".rjust(9), *lines[-5:]]
        head = f"{'α':>9} {'mean':>12} {'equivalent':>12} {'min':>12} {'Gini':>8} {'price %':>8}"
        return "\n".join([f"Frontier(A={len(self)}, K={self.group_labels.size})", head, *lines])


def frontier(problem: Problem, alphas: Iterable[float] = DEFAULT_ALPHAS) -> Frontier:
    """Equity against efficiency: the optimum of one problem at many α.

    The mean falls with α and the least utility rises; the equivalent utility falls as well, because
    a harsher judge values every allocation less.  Without caps and baselines all ratios u_j/u_k
    move towards 1, so the Gini index falls.

    Args:
        problem: a `Problem` with a positive budget; built once, then O(K) for each α without caps.
        alphas: α in [0, ∞]; default 61, evenly spaced in α/(1 + α).

    Returns:
        `Frontier`.

    Raises:
        ValueError: no α, an α out of range, or a budget of 0.

    Example:
        >>> problem = Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0)
        >>> frontier(problem, [0, 1, np.inf])
        Frontier(A=3, K=2)
                α         mean   equivalent          min     Gini  price %
                0           10           10            0   0.5000     0.00
                1         6.25            5          2.5   0.3000    37.50
              inf            4            4            4   0.0000    60.00
    """
    alpha = _alphas(alphas)
    if problem.budget == 0:
        raise ValueError("budget is 0: every allocation is the same, there is nothing to compare")
    path = problem.allocate_many(alpha)
    utility = path.group_utility
    w = problem.weight
    mean = np.array([power_mean(u, 1, w) for u in utility])
    most = power_mean(problem.allocate(0).group_utility, 1, w)
    return Frontier(
        alpha=np.array(alpha),
        mean_utility=mean,
        equivalent_utility=path.equivalent_utility,
        min_utility=utility.min(axis=1),
        gini=np.array([gini(u, w) for u in utility]),
        price_of_fairness=np.maximum(1 - mean / most, 0),  # not below 0 by rounding
        group_budget=path.group_budget,
        group_utility=utility,
        group_labels=problem.groups.label,
    )


def _alphas(alphas: Iterable[float]) -> tuple[float, ...]:
    if not isinstance(alphas, Iterable):
        raise TypeError(f"alphas is {alphas!r}: must be a sequence; for one α, write [{alphas!r}]")
    checked = tuple(check_alpha(alpha) for alpha in alphas)
    if not checked:
        raise ValueError("alphas is empty: at least one value is needed")
    return checked


# --- how sure one may be of it ----------------------------------------------------------------
class Band(NamedTuple):
    """Quantiles of one number: (1 − level)/2, the median, (1 + level)/2."""

    lower: float
    middle: float
    upper: float


@dataclass(frozen=True, eq=False, repr=False)
class FrontierBands:
    """Quantiles over R resampled problems, for each α and column by itself.

    Attributes:
        level: the part of the resampled problems between ``lower`` and ``upper``.
        lower: a `Frontier`, of quantiles (1 − level)/2.
        middle: a `Frontier`, of medians.
        upper: a `Frontier`, of quantiles (1 + level)/2.
        draws: the scalar columns of all resampled problems, name → (R, A).
    """

    level: float
    lower: Frontier
    middle: Frontier
    upper: Frontier
    draws: Mapping[str, Floats]

    @property
    def alpha(self) -> Floats:
        """(A,) α."""
        return self.middle.alpha

    def difference(self, column: str, alpha: float, other: float) -> Band:
        """The band of (column at α) − (column at another α), within the same resampled problem.

        Two α see the same data, so their errors mostly cancel: it can be certain although the bands
        overlap.  Each draw is optimised anew, so some signs are certain by construction: the mean
        never rises with α, the minimum never falls.

        Args:
            column: a scalar column of `Frontier`, such as ``"mean_utility"``.
            alpha, other: two of the values of ``alpha``.

        Raises:
            ValueError: an unknown column or α.
        """
        if column not in self.draws:
            raise ValueError(f"column is {column!r}: must be one of {sorted(self.draws)}")
        draws = self.draws[column]
        change = draws[:, self._position(alpha)] - draws[:, self._position(other)]
        return Band(*np.quantile(change, _levels(self.level)).tolist())

    def _position(self, alpha: float) -> int:
        if alpha not in self.alpha:
            raise ValueError(f"alpha {alpha} is not in the bands: ask frontier_bands for it")
        return int(np.argmax(self.alpha == alpha))

    def __repr__(self) -> str:
        count = len(self.draws["mean_utility"])
        return f"FrontierBands(R={count}, A={self.alpha.size}, level={self.level:g})"


def frontier_bands(
    problems: Iterable[Problem],
    alphas: Iterable[float] = DEFAULT_ALPHAS,
    level: float = 0.9,
    progress: bool = False,
) -> FrontierBands:
    """Bands around a `frontier`, from resampled problems (a bootstrap, or posterior draws).

    Args:
        problems: R ≥ 2 problems with the same labels, or a generator (one is held at a time).
        alphas: α in [0, ∞].
        level: in (0, 1), the part of the resampled problems inside the bands at each α.
        progress: show a progress bar; needs tqdm.

    Returns:
        `FrontierBands`.

    Raises:
        ValueError: fewer than two problems, other labels, level or α out of range.
        ModuleNotFoundError: ``progress`` without tqdm.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentiles).

    Example:
        >>> group = ["near", "far"]
        >>> problems = [Problem([b, 1.0], 1.0, group, budget=5.0) for b in (3.0, 4.0, 5.0)]
        >>> bands = frontier_bands(problems, [0, 1], level=0.5)
        >>> bands.lower.mean_utility, bands.difference("mean_utility", 0, 1)
        (array([8.75 , 5.625]), Band(lower=3.125, middle=3.75, upper=4.375))
    """
    level = number("level", level, "between 0 and 1", lambda v: 0 < v < 1)
    alpha = _alphas(alphas)
    if progress:
        problems = watched(problems, "frontier", asked=True, unit="problem")
    tables = _frontiers(problems, alpha)
    columns = (*FrontierPoint._fields[1:], "group_budget", "group_utility")
    draws = {name: np.array([getattr(table, name) for table in tables]) for name in columns}
    quantiles = {name: np.quantile(draws[name], _levels(level), axis=0) for name in columns}
    fixed = {"alpha": tables[0].alpha, "group_labels": tables[0].group_labels}
    lower, middle, upper = (
        Frontier(**fixed, **{name: quantiles[name][j] for name in columns}) for j in range(3)
    )
    scalars = {name: draws[name] for name in FrontierPoint._fields[1:]}
    return FrontierBands(level, lower, middle, upper, scalars)


def _frontiers(problems: Iterable[Problem], alpha: tuple[float, ...]) -> list[Frontier]:
    """The frontier of each problem; the labels must be the same in all."""
    tables: list[Frontier] = []
    for position, problem in enumerate(problems):
        labels = problem.groups.label
        if tables and not np.array_equal(labels, tables[0].group_labels):
            raise ValueError(
                f"problems[{position}] has groups {labels.tolist()[:5]}, the first one has "
                f"{tables[0].group_labels.tolist()[:5]}: resample inside groups, or draw again"
            )
        tables.append(frontier(problem, alpha))
    if len(tables) < 2:
        raise ValueError(f"problems has {len(tables)} entries: at least 2 are needed")
    return tables


def _levels(level: float) -> tuple[float, float, float]:
    return (1 - level) / 2, 0.5, (1 + level) / 2
