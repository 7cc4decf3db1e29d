"""Selection among finitely many candidates: simulated ones, and a table of real ones.

What `population` says of infinitely many candidates holds for n of them up to O(1/√n): n_g of them
are in group g, by chance, and whole people are selected, `quotas` q_g ≈ x_g n_g.  `simulate` draws
such candidates and reports the mean quality of the selected with its standard error.

With a table the parameters are not known.  `estimate_population` finds the mean and the spread of
quality in each group from the scores and the variance of their noise, and `select` applies the
policies: posterior means shrink each score by its own noise,

    E[W | Ŵ] = ρ² (Ŵ + β) + (1 − ρ²) μ,    ρ² = η² / (η² + v_i),    v_i: noise variance of i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...checks import Floats, Integers, reals, refuse_first
from ...groups import Groups
from ..common import Simulation, watched, whole
from .population import (
    Belief,
    Population,
    Selection,
    bayes_optimal,
    demographic_parity,
    gamma_rule,
    group_oblivious,
    with_rates,
)

SELECTED = "selected"
COUNT = 1e-9  # a count this far below a whole number, relative to it, is that number: rounding


class SelectionRuns(NamedTuple):
    """What happened in R runs with n candidates each.

    Attributes:
        quality: mean quality of the selected, a `Simulation`.
        size: (R, K) candidates n_g in each group.
        selected: (R, K) of them selected.
    """

    quality: Simulation[float]
    size: Integers
    selected: Integers


class Candidates(NamedTuple):
    """A table of candidates.

    Attributes:
        score: (n,) Ŵ, what is seen.
        group: (n,) labels.
        noise_variance: (n,) estimated variance of the noise in each score.
        quality: (n,) W, which nobody sees before the selection.
    """

    score: Floats
    group: NDArray[np.str_]
    noise_variance: Floats
    quality: Floats


def simulate(
    selection: Selection, candidates: int = 1000, runs: int = 100, seed: int = 0
) -> SelectionRuns:
    """Draw candidates, select by quotas, look at their quality.

    In each run the groups are multinomial, quality and noise normal, and the best q_g of each group
    by Ŵ are selected, q_g = x_g n_g scaled to add up to α n and rounded (`quotas`).

    Args:
        selection: rates x and their population.
        candidates: n; α n is rounded to a whole number of selected candidates, at least 1.
        runs: R ≥ 1.
        seed: of `numpy.random.default_rng`.

    Returns:
        `SelectionRuns`.  A progress bar appears after three seconds, if tqdm is installed.

    Raises:
        ValueError: no run, or so few candidates that none is selected.

    Example:
        >>> from alphafair.models.selection import Population, bayes_optimal
        >>> selection = bayes_optimal(Population([0.4, 0.6], noise=[2.0, 0.5]), budget=0.2)
        >>> quality = simulate(selection, candidates=10_000, runs=25).quality
        >>> low, high = quality.interval
        >>> low < selection.utility < high
        True
    """
    n = whole("candidates", candidates, 1)
    runs = whole("runs", runs, 1)
    total = _total(selection.budget, n)
    rng = np.random.default_rng(seed)
    size = rng.multinomial(n, selection.population.fraction, size=runs)
    selected = np.array([quotas(selection.rates, n_g, total) for n_g in size])
    pairs = watched(list(zip(size, selected, strict=True)), "runs")
    totals = [_one_run(selection.population, n_g, q_g, rng) for n_g, q_g in pairs]
    return SelectionRuns(Simulation.of(np.array(totals) / total), size, selected)


def _one_run(population: Population, size: Integers, chosen: Integers, rng: Any) -> float:
    """Total quality of the q_g best-looking candidates of each group."""
    total = 0.0
    for g in np.flatnonzero(chosen):
        quality = population.mean[g] + population.spread[g] * rng.standard_normal(size[g])
        seen = quality - population.bias[g] + population.noise[g] * rng.standard_normal(size[g])
        best = np.argpartition(seen, size[g] - chosen[g])[size[g] - chosen[g] :]
        total += float(quality[best].sum())
    return total


def quotas(rates: ArrayLike, size: ArrayLike, total: int) -> Integers:
    """Whole numbers q_g ≈ x_g n_g that add up to ``total``, 0 ≤ q_g ≤ n_g.

    The products are scaled by one factor to the total, no group above its size (what is cut off
    goes to the others by the room they have left), and rounded by the largest remainder: q_g is
    within 1 of what it should be.

    Args:
        rates: x, (K,), between 0 and 1, not all 0.
        size: n, (K,).
        total: between 0 and Σ n.

    Returns:
        (K,) integers.

    Raises:
        ValueError: rates that are NaN or not in [0, 1], sizes that are no counts, more places than
            candidates, or rates that are all 0 where there are candidates.

    Example:
        >>> quotas([0.3, 0.1], size=[41, 59], total=20)
        array([14,  6])
    """
    x, n = reals("rates", rates), reals("size", size)
    if x.ndim != 1 or x.shape != n.shape:
        raise ValueError(f"rates has shape {x.shape} and size {n.shape}: must be (K,), both")
    part = (x >= 0) & (x <= 1 + COUNT)
    refuse_first("rates", x, part, "between 0 and 1", "they are parts of each group")
    whole_numbers = (n >= 0) & np.isfinite(n) & (n == np.rint(n))
    refuse_first("size", n, whole_numbers, "a whole number ≥ 0", "it is a count of candidates")
    n, total = n.astype(np.intp), whole("total", total, 0)
    wanted = x * n
    if not 0 <= total <= n.sum():
        raise ValueError(f"total is {total}: must be between 0 and {n.sum()}, the candidates")
    if wanted.sum() <= 0 < total:
        raise ValueError(f"rates are 0 in every group that has candidates: cannot fill {total}")
    share = np.minimum(wanted * (total / max(wanted.sum(), 1e-300)), n)
    room, missing = n - share, total - share.sum()
    share = share + (room * (missing / room.sum()) if missing > 0 and room.sum() > 0 else 0.0)
    share = np.minimum(share, n)
    count: Integers = np.floor(share * (1 + COUNT)).astype(np.intp)
    remainder = np.where(count < n, share - count, -np.inf)
    first = np.argsort(-remainder, kind="stable")[: total - int(count.sum())]
    count[first] += 1
    return count


def exam_scores(candidates: int = 1000, seed: int = 0) -> Candidates:
    """Made-up exam results: two groups, equally good, one of which sat fewer papers.

    Quality is N(500, 100²) in both groups.  A paper is marked with an error of standard deviation
    300.  The score is the mean over a candidate's papers: 8 to 12 in the group "many" (60 % of the
    candidates), 2 to 4 in the group "few" (40 %).  The variance of a paper's error is estimated
    from the scatter of the papers, pooled over each group, and divided by the candidate's number of
    papers.  No real person is in these data.

    Args:
        candidates: n ≥ 2.
        seed: of `numpy.random.default_rng`.

    Returns:
        `Candidates`.

    Raises:
        ValueError: fewer than two candidates.

    Example:
        >>> exam = exam_scores(10_000)
        >>> [int(exam.noise_variance[exam.group == g].mean() ** 0.5) for g in ("few", "many")]
        [179, 96]
    """
    n = whole("candidates", candidates, 2)
    rng = np.random.default_rng(seed)
    few = rng.random(n) < 0.4
    papers = np.where(few, rng.integers(2, 5, n), rng.integers(8, 13, n))
    quality = rng.normal(500, 100, n)
    score = quality + 300 / np.sqrt(papers) * rng.standard_normal(n)
    # The pooled sample variance of normal papers is σ² χ²_d/d, independent of their means.
    freedom = [max(int((papers - 1)[mask].sum()), 1) for mask in (few, ~few)]
    pooled = 300**2 * rng.chisquare(freedom) / freedom
    variance = np.where(few, *pooled) / papers
    return Candidates(score, np.where(few, "few", "many"), variance, quality)


def estimate_population(
    score: ArrayLike, group: ArrayLike | Groups, noise_variance: ArrayLike
) -> Population:
    """The means and spreads of quality, from scores and the variances of their noise.

    By the method of moments::

        μ_g = mean of Ŵ,    η_g² = variance of Ŵ − mean of v,    σ_g² = mean of v

    A bias β cannot be seen in scores: it is taken as 0, so a group whose scores are too low is
    taken for a worse one.

    Args:
        score: Ŵ, (n,).
        group: (n,) labels, or `alphafair.Groups`.
        noise_variance: v, (n,) or one number, ≥ 0.

    Returns:
        `Population` with the labels of the groups.

    Raises:
        ValueError: a group of one candidate, or one whose scores vary less than their noise.

    Example:
        >>> exam = exam_scores(10_000, seed=7)
        >>> estimate_population(exam.score, exam.group, exam.noise_variance).spread.round()
        array([100., 102.])
    """
    groups = group if isinstance(group, Groups) else Groups(group)
    seen = _numbers("score", score, len(groups))
    noise = _variances(noise_variance, len(groups))
    mean, var, v = (np.zeros(groups.size.size) for _ in range(3))
    for g, label in enumerate(groups.label.tolist()):
        inside = seen[groups.code == g]
        if inside.size < 2:
            raise ValueError(
                f"group {label!r} has one candidate: its spread cannot be estimated; "
                f"join it to another group, or give a prior"
            )
        mean[g], var[g], v[g] = inside.mean(), inside.var(ddof=1), noise[groups.code == g].mean()
        if not var[g] > v[g]:
            raise ValueError(
                f"score has variance {var[g]:.6g} in group {label!r}, no more than the mean of its "
                f"noise_variance, {v[g]:.6g}: nothing is left for quality; "
                f"correct the variances (not standard deviations), or give a prior"
            )
    fraction = groups.size / len(groups)
    return Population(fraction, mean, np.sqrt(var - v), 0.0, np.sqrt(v), groups.label.tolist())


def select(
    score: Any,
    group: Any,
    noise_variance: Any = None,
    *,
    budget: float = 0.2,
    policy: Callable[..., Selection] = bayes_optimal,
    gamma: float = 0.0,
    prior: Population | None = None,
    data: Any = None,
) -> Any:
    """Select among the candidates of a table.

    `group_oblivious` takes the largest scores, `bayes_optimal` the largest posterior means,
    `demographic_parity` the largest posterior means of each group, the same part of each.  The
    γ-rule moves the rates of the first two as `gamma_rule` does, and takes the best of each group
    in the same order; whole people keep it up to one of them a group.  Among equals the first row
    wins.

    Args:
        score: Ŵ, (n,); or, with ``data``, the name of its column.
        group: (n,) labels; or the name of their column.
        noise_variance: v, (n,) or one number, ≥ 0; or the name of its column.  None takes that of
            the prior; `group_oblivious` needs none.
        budget: α, 0 < α < 1: α n candidates, rounded, are selected.
        policy: `group_oblivious`, `bayes_optimal` or `demographic_parity`.
        gamma: γ in [0, 1]; 0 is no rule.
        prior: a `Population` whose labels are those of the groups; its means, spreads and biases
            are used.  None estimates it (`estimate_population`).
        data: None for arrays; or a pandas, Polars or PyArrow frame (needs ``alphafair[frames]``).

    Returns:
        (n,) booleans; with ``data`` the same kind of frame with a column ``selected`` more.

    Raises:
        ValueError: bad numbers, missing labels, unknown columns or policies.
        TypeError: ``data`` that is not a frame in memory.

    Example:
        >>> exam = exam_scores(10_000, seed=7)
        >>> for policy in (group_oblivious, demographic_parity, bayes_optimal):
        ...     chosen = select(*exam[:3], budget=0.2, policy=policy)
        ...     few = (exam.group[chosen] == "few").sum()
        ...     print(policy.__name__, few, "of", chosen.sum(), int(exam.quality[chosen].mean()))
        group_oblivious 1011 of 2000 584
        demographic_parity 809 of 2000 587
        bayes_optimal 547 of 2000 589
    """
    if data is not None:
        return _select_in_frame(data, score, group, noise_variance, budget, policy, gamma, prior)
    if policy not in (group_oblivious, bayes_optimal, demographic_parity):
        raise ValueError(
            f"policy is {getattr(policy, '__name__', policy)!s}: must be group_oblivious, "
            f"bayes_optimal or demographic_parity; the γ-rule is the argument gamma"
        )
    groups = group if isinstance(group, Groups) else Groups(group)
    value = _numbers("score", score, len(groups))
    if policy is not group_oblivious:
        value = _posterior_mean(value, groups, noise_variance, prior)
    count = _counts(value, groups, budget, policy is demographic_parity, gamma)
    order = np.lexsort((-value, groups.code))  # stable: by group, the best first
    rank = np.arange(len(groups)) - (np.cumsum(groups.size) - groups.size)[groups.code[order]]
    chosen = np.zeros(len(groups), bool)
    chosen[order] = rank < count[groups.code[order]]
    return chosen


def _counts(value: Floats, groups: Groups, budget: float, equal: bool, gamma: float) -> Integers:
    """(K,) how many of each group: the largest values of all, then moved by the γ-rule."""
    fractions = Population(groups.size / len(groups))
    budget = gamma_rule(demographic_parity(fractions, budget), gamma).budget  # checks both
    total, K = _total(budget, len(groups)), groups.size.size
    if equal:
        return quotas(np.full(K, budget), groups.size, total)
    best = np.argsort(-value, kind="stable")[:total]
    count = np.bincount(groups.code[best], minlength=K)
    if total == len(groups):
        return count
    baseline = with_rates(fractions, count / groups.size)
    spread = np.array([value[groups.code == g].std() for g in range(K)])
    spread = np.where(spread > 0, spread, 1.0)
    belief = Belief(baseline.belief.mean * spread, spread)
    rates = gamma_rule(baseline._replace(belief=belief), gamma).rates
    return quotas(rates, groups.size, total)


def _posterior_mean(
    score: Floats, groups: Groups, noise_variance: Any, prior: Population | None
) -> Floats:
    if noise_variance is None and prior is None:
        raise ValueError(
            "noise_variance is None and so is prior: one is needed to tell luck from quality; "
            "estimate the variance of each score (repeated measurements), or use group_oblivious"
        )
    if prior is None:
        prior = estimate_population(score, groups, noise_variance)
    place = {label: g for g, label in enumerate(prior.labels)}
    unknown = [label for label in groups.label.tolist() if label not in place]
    if unknown:
        raise ValueError(
            f"prior has no group {unknown[0]!r}: every group of the table needs one; "
            f"its labels are {list(prior.labels)[:5]}"
        )
    g = np.array([place[label] for label in groups.label.tolist()])[groups.code]
    given = prior.noise[g] ** 2 if noise_variance is None else noise_variance
    v = _variances(given, len(groups))
    trust = prior.spread[g] ** 2 / (prior.spread[g] ** 2 + v)
    return np.asarray(trust * (score + prior.bias[g]) + (1 - trust) * prior.mean[g])


# --- data frames ----------------------------------------------------------------------------------
def _select_in_frame(data: Any, score: str, group: str, noise_variance: Any, *settings: Any) -> Any:
    import narwhals as nw

    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise TypeError(
            f"data is of type {type(data).__name__}: must be a frame in memory (pandas, Polars, "
            f"PyArrow), because ranking needs all rows; collect a lazy one first"
        ) from error
    if SELECTED in frame.columns:
        raise ValueError(f"data has a column {SELECTED!r} already: rename or drop it")

    def column(name: str, argument: str) -> Any:
        if name not in frame.columns:
            raise ValueError(
                f"{argument} is {name!r}: there is no such column; there are {frame.columns}"
            )
        return frame[name].to_numpy()

    if isinstance(noise_variance, str):
        noise_variance = column(noise_variance, "noise_variance")
    budget, policy, gamma, prior = settings
    chosen = select(
        column(score, "score"),
        column(group, "group"),
        noise_variance,
        budget=budget,
        policy=policy,
        gamma=gamma,
        prior=prior,
    )
    marks = nw.new_series(SELECTED, chosen, nw.Boolean, backend=frame.implementation)
    return frame.with_columns(marks).to_native()


# --- conversions ----------------------------------------------------------------------------------


def _total(budget: float, n: int) -> int:
    total = int(np.floor(budget * n * (1 + COUNT) + 0.5))
    if total == 0:
        raise ValueError(
            f"budget {budget:g} of {n} candidates selects nobody: must be at least one half; "
            f"raise the budget or have {int(np.ceil(0.5 / budget))} candidates or more"
        )
    return total


def _numbers(name: str, value: Any, size: int) -> Floats:
    """(n,) finite floats."""
    array = reals(name, value)
    if array.shape != (size,):
        raise ValueError(f"{name} has shape {array.shape}: must be ({size},), that of group")
    refuse_first(name, array, np.isfinite(array), "finite", "drop that row or impute it")
    return array.astype(float)


def _variances(value: Any, size: int) -> Floats:
    scalar = np.ndim(value) == 0
    v = _numbers("noise_variance", np.full(size, value) if scalar else value, size)
    refuse_first("noise_variance", v, v >= 0, "≥ 0", "a negative estimate is to be set to 0")
    return v
