"""Is a plan any good?  What an experiment says about it, without the model that made it.

Somebody drew lots: person i got treatment a_i, 0 for nothing, with known chances e_i0, …, e_iT, and
had the outcome y_i.  A *score* stands for what nobody has seen, the effect of treatment t on person
i; with predictions m_it of the outcomes it is doubly robust::

    Γ_it = ψ_it − ψ_i0,     ψ_it = m_it + 1{a_i = t} (y_i − m_it) / e_it.

Its mean is the effect if the chances are right, whatever the predictions, and also if the
predictions are right, whatever the chances.  m = 0 weighs by inverse chances alone.

A *plan* π gives person i treatment t with probability π_it, and nothing with the rest: a dose
divided by its cap.  A fraction is a lottery and is worth what its tickets are worth, so the value
of a plan is linear in it and so is the difference of two::

    V_k(π) = 1/G_k Σ_{i∈k} Σ_t π_it Γ_it        V_k(π) − V_k(π') = V_k(π − π').

Standard errors follow from the persons' terms v_i = Σ_t π_it Γ_it, summed by cluster, since
neighbours resemble each other.  With C_k clusters in group k::

    se_k² = C_k/(C_k − 1) · Σ_c ( Σ_{i∈c∩k} (v_i − V_k) )² / G_k².

The differences are taken person by person, so what two plans share cancels (*paired*).

All this is true of a plan that has not seen the outcomes by which it is judged.  `cross_fit`
makes predictions and plans for people from the data of the others, `folds_by_cluster` keeps
neighbours together.

References:
    Robins, Rotnitzky and Zhao, "Estimation of regression coefficients when some regressors are not
    always observed", JASA 89, 1994.
    Athey and Wager, "Policy learning with observational data", Econometrica 89(1), 2021.
    Yadlowsky, Fleming, Shah, Brunskill and Wager, "Evaluating treatment prioritization rules via
    rank-weighted average treatment effects", JASA 120, 2025.
    Sverdrup, Wu, Athey and Wager, "Qini curves for multi-armed treatment rules", Journal of
    Computational and Graphical Statistics, 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import Floats, Integers, broadcast_table, number, real_table, refuse_first
from .curves import concave_segments
from .groups import Groups
from .progress import watched

SUM_TOLERANCE = 1e-6  # chances that were printed and read again add up to 1 up to their digits
TICKET_TOLERANCE = 1e-9  # doses divided by caps pass 1 by the rounding of a budget

Plan = Callable[[float], ArrayLike]


# --- from an experiment to scores ------------------------------------------------------------
def scores(
    outcome: ArrayLike,
    assigned: ArrayLike,
    propensity: ArrayLike,
    prediction: ArrayLike | None = None,
) -> Floats:
    """Doubly robust scores: for each person and treatment, what it adds to having no treatment.

    ``Γ_it = ψ_it − ψ_i0`` with ``ψ_it = m_it + 1{a_i = t} (y_i − m_it)/e_it``.  One score says next
    to nothing about its person; means over many people estimate the mean effect.

    Args:
        outcome: (N,) outcomes y, finite.  The costs that people caused are outcomes as well, and
            their scores give the bill of a plan.
        assigned: (N,) what each person got: 0 for nothing, 1 to T for the treatments.
        propensity: (T + 1,) or (N, T + 1) chances e of each of them, nothing first; > 0, rows of
            sum 1.  Estimated chances serve as well; take them from other clusters than the person's
            or from the design, not from a model of the outcome.
        prediction: (T + 1,) or (N, T + 1) predicted outcomes m, nothing first; made without the
            person's own outcome (`cross_fit`).  0 by default: inverse probability weighting.

    Returns:
        (N, T) scores, in units of the outcome.

    Raises:
        ValueError: shapes that do not fit, entries that are not finite, an assigned number that is
            none of 0, …, T, chances out of (0, 1] or rows that do not add up to 1.

    References:
        Robins, Rotnitzky and Zhao 1994.

    Example:
        >>> scores([1, 0, 1], [1, 1, 0], [0.5, 0.5]).ravel()
        array([ 2.,  0., -2.])
        >>> scores([1, 0, 1], [1, 1, 0], [0.5, 0.5], prediction=[0.5, 0.75]).ravel().round(2)
        array([ 0.75, -1.25, -0.75])
    """
    y = _per_person("outcome", outcome)
    people = np.arange(y.size)
    chance = real_table("propensity", propensity)
    arms = chance.shape[-1] if chance.ndim else 0
    if arms < 2:
        raise ValueError(
            f"propensity has shape {chance.shape}: must be (T + 1,) or (N, T + 1), the chance of "
            f"nothing first; for one treatment of chance e give np.column_stack([1 - e, e])"
        )
    chance = _arms_table("propensity", chance, y.size, arms)
    cure = "leave out people for whom a treatment was impossible: the data say nothing of it"
    refuse_first("propensity", chance, (chance > 0) & (chance <= 1), "> 0 and ≤ 1", cure)
    total = chance.sum(axis=1)
    close = abs(total - 1) <= SUM_TOLERANCE
    refuse_first("the sum of propensity", total, close, "1 for every person", "divide by it")
    arm = _assigned(assigned, y.size, arms)
    mean = _arms_table("prediction", 0.0 if prediction is None else prediction, y.size, arms)
    refuse_first("prediction", mean, np.isfinite(mean), "finite")
    filled = np.array(mean)
    filled[people, arm] += (y - mean[people, arm]) / chance[people, arm]
    return filled[:, 1:] - filled[:, :1]


def _per_person(name: str, value: ArrayLike) -> Floats:
    """(N,) finite numbers, from (N,) or (N, 1)."""
    array = real_table(name, value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: must be (N,), one number a person")
    refuse_first(name, array, np.isfinite(array), "finite", "drop that person")
    return array


def _arms_table(name: str, value: ArrayLike, people: int, arms: int) -> Floats:
    """(N, T + 1) from (T + 1,), which is a row here, or (N, T + 1); a scalar fills it."""
    table = real_table(name, value)
    if table.ndim and table.shape not in ((arms,), (1, arms), (people, arms)):
        raise ValueError(
            f"{name} has shape {table.shape}: must be ({arms},) or ({people}, {arms}), a column "
            f"for nothing and one for each treatment"
        )
    return np.broadcast_to(table, (people, arms))


def _assigned(assigned: ArrayLike, people: int, arms: int) -> Integers:
    arm = _per_person("assigned", assigned)
    if arm.size != people:
        raise ValueError(
            f"assigned has {arm.size} entries: must have {people}, one for each person"
        )
    known = (arm >= 0) & (arm < arms) & (arm == np.floor(arm))
    cure = "0 is nothing, t is the column t of propensity"
    refuse_first("assigned", arm, known, f"one of 0, …, {arms - 1}", cure)
    return arm.astype(np.intp)


# --- the value of a plan ---------------------------------------------------------------------
@dataclass(frozen=True)
class PlanValue:
    """What a plan adds to having no treatments, or to another plan: what `plan_value` returns.

    In units of the outcome, a person; times the number of people it is a total.

    Attributes:
        estimate: mean over all people.
        standard_error: of it, clustered.
        group_labels: (K,) sorted; None where no groups were given, as all that follows.
        group_estimate: (K,) mean over the people of each group.
        group_standard_error: (K,).
        group_covariance: (K, K) of the groups' estimates: clusters may reach over groups.
        clusters: C, how many there are.
        group_clusters: (K,) how many have people of the group.
    """

    estimate: float
    standard_error: float
    clusters: int
    group_labels: NDArray[Any] | None = None
    group_estimate: Floats | None = None
    group_standard_error: Floats | None = None
    group_covariance: Floats | None = None
    group_clusters: Integers | None = None

    def interval(self, level: float = 0.95) -> Floats:
        """Confidence interval of the mean over all people.

        Args:
            level: of confidence, in (0, 1).

        Returns:
            (2,) lower and upper end: estimate ∓ the quantile of Student's t with C − 1 degrees of
            freedom, times the standard error.

        Example:
            >>> plan_value([1, 1, 1], [0.0, 1.0, 2.0]).interval(0.9).round(3)
            array([-0.686,  2.686])
        """
        return _interval(self.estimate, self.standard_error, self.clusters, level)

    def group_interval(self, level: float = 0.95) -> Floats:
        """Confidence intervals of the groups' means.

        Args:
            level: of confidence, in (0, 1).

        Returns:
            (K, 2) lower and upper ends.

        Raises:
            ValueError: no groups were given.
        """
        if self.group_estimate is None:
            raise ValueError("there are no groups: give plan_value(..., group=labels)")
        return _interval(self.group_estimate, self.group_standard_error, self.group_clusters, level)


def plan_value(
    dose: ArrayLike,
    scores: ArrayLike,
    *,
    group: ArrayLike | Groups | None = None,
    cluster: ArrayLike | None = None,
    against: ArrayLike | None = None,
) -> PlanValue:
    """Estimate what a plan adds, for everybody and by group, with clustered standard errors.

    Args:
        dose: (N, T), or a scalar, (N,), (N, 1), (1, T): probability π that the person gets the
            treatment.  For a dose under a cap that is ``a.dose / cap``.  A person gets at most one
            treatment, ``Σ_t π_it ≤ 1``.
        scores: (N, T) or (N,), as `scores` returns them, from outcomes that the plan has not seen.
        group: (N,) labels, or a `Groups`.
        cluster: (N,) labels of what was drawn together or shares its fate: villages, schools.  Each
            person by default.
        against: another plan, as ``dose``: then everything is about the difference, paired.

    Returns:
        A `PlanValue`.

    Raises:
        ValueError: shapes that do not fit, probabilities out of [0, 1] or rows of a sum above 1,
            scores that are not finite, a group within a single cluster (it has no standard error).

    References:
        Athey and Wager 2021.

    Example:
        >>> gamma = scores([1, 0, 1, 0], [1, 0, 1, 0], [0.5, 0.5])
        >>> gamma.ravel()
        array([2., 0., 2., 0.])
        >>> plan_value([1, 0, 1, 0], gamma, against=0.25).estimate
        0.75
        >>> v = plan_value([1, 0, 1, 0], gamma, group=["near", "far", "far", "near"])
        >>> v.group_labels.tolist(), v.group_estimate, v.group_standard_error
        (['far', 'near'], array([1., 1.]), array([1., 1.]))
    """
    table = _scores_table(scores)
    plan = _tickets("dose", dose, table.shape)
    if against is not None:
        plan = plan - _tickets("against", against, table.shape)
    return _value((plan * table).sum(axis=1), _Sample(len(table), group, cluster))


def _value(term: Floats, sample: _Sample) -> PlanValue:
    """From the persons' terms to means and standard errors."""
    total, parts = sample.mean(term[:, None])
    error = float(np.sqrt((parts**2).sum()))
    by_group: tuple[Any, ...] = ()
    if sample.groups is not None:
        mean, parts = sample.group_mean(term[:, None])
        covariance = np.einsum("ckm,clm->kl", parts, parts)
        group_error = np.sqrt(np.diag(covariance))
        by_group = (sample.groups.label, mean[:, 0], group_error, covariance, sample.group_clusters)
    return PlanValue(float(total[0, 0]), error, sample.clusters, *by_group)


def _scores_table(scores: ArrayLike) -> Floats:
    table = real_table("scores", scores)
    if table.ndim == 0:
        raise ValueError("scores is one number: must be (N, T), a row a person")
    table = table.reshape(len(table), -1)
    refuse_first("scores", table, np.isfinite(table), "finite", "drop that person")
    return table


def _tickets(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """(N, T) probabilities of treatments of which a person gets at most one."""
    table = broadcast_table(name, value, (shape[0], shape[1]))
    cure = "it is a probability: give dose / cap"
    held = (table >= -TICKET_TOLERANCE) & (table <= 1 + TICKET_TOLERANCE)
    refuse_first(name, table, held, "≥ 0 and ≤ 1", cure)
    total = table.sum(axis=1)
    one = total <= 1 + TICKET_TOLERANCE
    cure = "the scores are about one treatment a person; allocate with exclusive=True"
    refuse_first(f"the sum over treatments of {name}", total, one, "≤ 1", cure)
    return table


class _Sample:
    """Who belongs to which group and cluster; means, and what each cluster adds to their errors."""

    def __init__(
        self, people: int, group: ArrayLike | Groups | None, cluster: ArrayLike | None
    ) -> None:
        labels = _labels("cluster", np.arange(people) if cluster is None else cluster, people)
        self.cluster, self.clusters = labels.code, labels.size.size
        self.everybody = np.zeros(people, np.intp)
        if self.clusters < 2:
            raise ValueError("cluster holds one label: at least two clusters are needed")
        self.groups = None if group is None else _labels("group", group, people)
        self.group_clusters = np.array([self.clusters])
        if self.groups is not None:
            self.group_clusters = self._clusters_of(self.groups)

    def _clusters_of(self, groups: Groups) -> Integers:
        """(K,) how many clusters have people of each group."""
        pairs = np.unique(self._cells(groups.code, groups.size.size))
        count = np.bincount(pairs % groups.size.size, minlength=groups.size.size)
        if (count < 2).any():
            alone = groups.label[int(np.argmin(count))]
            raise ValueError(
                f"group {alone!s} lies within one cluster: a standard error needs two; merge the "
                f"group with another, or give finer clusters"
            )
        return count

    def _cells(self, code: Integers, groups: int) -> Integers:
        """(N,) the number of each person's pair of cluster and group; codes alone are too short."""
        return self.cluster * np.intp(groups) + code

    def mean(self, term: Floats) -> tuple[Floats, Floats]:
        """(1, M) means of M columns over all people, (C, 1, M) the clusters' parts of the error."""
        return self._means(term, self.everybody, np.array([len(term)]), np.array([self.clusters]))

    def group_mean(self, term: Floats) -> tuple[Floats, Floats]:
        """(K, M) means by group, (C, K, M) the clusters' parts of their errors."""
        assert self.groups is not None
        return self._means(term, self.groups.code, self.groups.size, self.group_clusters)

    def _means(
        self, term: Floats, code: Integers, size: Integers, clusters: Integers
    ) -> tuple[Floats, Floats]:
        groups = size.size
        mean = _sums(term, code, groups) / size[:, None]
        off = _sums(term - mean[code], self._cells(code, groups), self.clusters * groups)
        parts = off.reshape(self.clusters, groups, -1) / size[:, None]
        return mean, parts * np.sqrt(clusters / (clusters - 1))[:, None]


def _sums(columns: Floats, code: Integers, length: int) -> Floats:
    """(length, M) sums of the columns by code."""
    return np.column_stack([np.bincount(code, column, length) for column in columns.T])


def _labels(name: str, labels: ArrayLike | Groups, people: int) -> Groups:
    try:
        found = labels if isinstance(labels, Groups) else Groups(labels)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("group", name, 1)) from error
    if len(found) != people:
        raise ValueError(f"{name} has {len(found)} labels: must have {people}, one for each person")
    return found


def _interval(estimate: Any, standard_error: Any, clusters: Any, level: float) -> Floats:
    """(…, 2): estimate ∓ t(level; C − 1) · standard error."""
    from scipy.special import stdtrit  # the quantile of Student's t; all else needs numpy alone

    part = number("level", level, "in (0, 1)", lambda v: 0 < v < 1)
    width = stdtrit(np.asarray(clusters) - 1, (1 + part) / 2) * standard_error
    ends: Floats = np.stack([estimate - width, estimate + width], axis=-1)
    return ends


# --- plans to compare with -------------------------------------------------------------------
def flat(dose: ArrayLike, cost: ArrayLike | None = None) -> Floats:
    """The plan that draws lots blindly: the same chances for everybody, as many as the plan gives.

    Args:
        dose: (N, T) or (N,) probabilities of treatment, as in `plan_value`.
        cost: scalar, (N,), (1, T) or (N, T), ≥ 0: what a treatment costs.  Then the chances are
            scaled so that the bill is that of the plan, which may prefer cheap people.

    Returns:
        (N, T) probabilities, every row the same.

    Raises:
        ValueError: out of range; or the bill of the plan buys more than one treatment a person.

    Example:
        >>> flat([1.0, 0.0, 0.0, 0.0], cost=[1.0, 2.0, 2.0, 3.0]).ravel()
        array([0.125, 0.125, 0.125, 0.125])
    """
    table = real_table("dose", dose)
    table = table.reshape(len(table), -1) if table.ndim else table.reshape(1, 1)
    plan = _tickets("dose", table, table.shape)
    row = np.broadcast_to(plan.mean(axis=0), plan.shape)
    if cost is None or not plan.any():
        return row.copy()
    price = broadcast_table("cost", cost, (plan.shape[0], plan.shape[1]))
    refuse_first("cost", price, np.isfinite(price) & (price >= 0), "finite and ≥ 0")
    bill = (price * row).sum()
    scaled: Floats = row * ((price * plan).sum() / bill if bill > 0 else 1)
    if scaled[0].sum() > 1 + TICKET_TOLERANCE:
        raise ValueError(
            f"the bill of the plan buys {scaled[0].sum():.4g} treatments a person: more than one; "
            f"compare with same_for_all(benefit, cost, budget)"
        )
    return scaled


def same_for_all(benefit: ArrayLike, cost: ArrayLike, budget: float) -> Floats:
    """The best plan that tells nobody from anybody: it knows mean benefits and mean costs only.

    It mixes at most two treatments, neighbours on the concave hull of mean benefit over mean cost,
    and is what a rule based on covariates has to beat.

    Args:
        benefit: (N, T) or (N,) benefits of the treatments, or scores; only column means count.
        cost: scalar, (N,), (1, T) or (N, T): cost of each treatment, means > 0.
        budget: ≥ 0, for all N people.

    Returns:
        (N, T) probabilities, every row the same; they spend the budget, or less where more money
        would buy nothing.

    Raises:
        ValueError: shapes that do not fit, entries out of range.

    References:
        Sverdrup, Wu, Athey and Wager 2025.

    Example:
        >>> same_for_all([[3.0, 4.0], [1.0, 2.0]], [[1.0, 3.0]], budget=4.0)
        array([[0.5, 0.5],
               [0.5, 0.5]])
    """
    gain = _scores_table(benefit)
    price = broadcast_table("cost", cost, (gain.shape[0], gain.shape[1]))
    left = number("budget", budget, "finite and ≥ 0", lambda v: 0 <= v < np.inf) / len(gain)
    hull = concave_segments(price.mean(axis=0), gain.mean(axis=0)[None])
    row, last = np.zeros(gain.shape[1]), -1
    for length, level in zip(hull.cap[0], hull.level[0], strict=True):
        if level < 0 or left <= 0:
            break
        part = min(1.0, left / length)
        row[level] = part
        if last >= 0:
            row[last] = 1 - part
        left, last = left - length, int(level)
    return np.broadcast_to(row, gain.shape).copy()


# --- all budgets -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Qini:
    """What a rule for plans adds at each budget: what `qini` returns.

    Attributes:
        budget: (B,) increasing.
        estimate: (B,) mean over all people, in units of the outcome.
        standard_error: (B,), clustered.
        covariance: (B, B) of the estimates.
        area: mean height of the curve, ``∫ estimate dQ / (Q_B − Q_1)``: one number for it all.
        area_standard_error: of it.
        clusters: the number C of clusters.
        group_labels: (K,), None where no groups were given, as all that follows.
        group_estimate: (B, K).
        group_standard_error: (B, K).
        group_clusters: (K,).
    """

    budget: Floats
    estimate: Floats
    standard_error: Floats
    covariance: Floats
    area: float
    area_standard_error: float
    clusters: int
    group_labels: NDArray[Any] | None = None
    group_estimate: Floats | None = None
    group_standard_error: Floats | None = None
    group_clusters: Integers | None = None

    def interval(self, level: float = 0.95) -> Floats:
        """(B, 2) pointwise confidence intervals of the curve, as `PlanValue.interval`."""
        return _interval(self.estimate, self.standard_error, self.clusters, level)

    def area_interval(self, level: float = 0.95) -> Floats:
        """(2,) confidence interval of the area."""
        return _interval(self.area, self.area_standard_error, self.clusters, level)

    def group_interval(self, level: float = 0.95) -> Floats:
        """(B, K, 2) pointwise confidence intervals of the groups' curves.

        Raises:
            ValueError: no groups were given.
        """
        if self.group_estimate is None:
            raise ValueError("there are no groups: give qini(..., group=labels)")
        return _interval(self.group_estimate, self.group_standard_error, self.group_clusters, level)


def qini(
    plan: Plan,
    budgets: ArrayLike,
    scores: ArrayLike,
    *,
    group: ArrayLike | Groups | None = None,
    cluster: ArrayLike | None = None,
    against: Plan | None = None,
) -> Qini:
    """The Qini curve of a rule: the value of its plan at each budget, for all and by group.

    Args:
        plan: from a budget to the doses (N, T) of its plan, probabilities as in `plan_value`; for
            one α, ``lambda Q: allocate(benefit, cost, group, Q, alpha, cap=1).dose``.
        budgets: (B,) increasing, at least two.
        scores, group, cluster: as in `plan_value`.
        against: another rule, for instance ``lambda Q: same_for_all(benefit, cost, Q)``: then the
            curve is that of the difference, paired.

    Returns:
        A `Qini`.

    Raises:
        ValueError: as `plan_value`; budgets that do not increase.

    References:
        Yadlowsky et al. 2025; Sverdrup, Wu, Athey and Wager 2025.

    Example:
        >>> gamma = [3.0, 1.0, 1.0, -1.0]
        >>> q = qini(lambda money: np.clip(money - np.arange(4), 0, 1), [0, 1, 2, 4], gamma)
        >>> q.estimate, q.area
        (array([0.  , 0.75, 1.  , 1.  ]), 0.8125)
        >>> q.standard_error.round(3)
        array([0.   , 0.75 , 0.707, 0.816])
    """
    money = _per_person("budgets", budgets)
    if money.size < 2:
        raise ValueError("budgets holds one number: at least two are needed; else use plan_value")
    rising = np.append(True, np.diff(money) > 0)
    refuse_first("budgets", money, rising, "more than the one before", "sort them, drop doubles")
    table = _scores_table(scores)
    sample = _Sample(len(table), group, cluster)
    term = np.empty((len(table), money.size))
    for j, one in enumerate(watched(money.tolist(), "budgets")):
        tickets = _tickets("dose", plan(one), table.shape)
        if against is not None:
            tickets = tickets - _tickets("against", against(one), table.shape)
        term[:, j] = (tickets * table).sum(axis=1)
    return _curve(money, term, sample)


def _curve(money: Floats, term: Floats, sample: _Sample) -> Qini:
    """From the persons' terms at each budget (N, B) to the curve."""
    mean, parts = sample.mean(term)
    covariance = np.einsum("ckb,ckd->bd", parts, parts)
    weight = _trapezoid(money)
    by_group: tuple[Any, ...] = ()
    if sample.groups is not None:
        group_mean, group_parts = sample.group_mean(term)
        error = np.sqrt((group_parts**2).sum(axis=0))
        by_group = (sample.groups.label, group_mean.T, error.T, sample.group_clusters)
    return Qini(
        money,
        mean[0],
        np.sqrt(np.diag(covariance)),
        covariance,
        float(mean[0] @ weight),
        float(np.sqrt(((parts @ weight) ** 2).sum())),
        sample.clusters,
        *by_group,
    )


def _trapezoid(x: Floats) -> Floats:
    """Weights w with w @ f = ∫ f dx / (last x − first x) for f linear between the x."""
    step = np.diff(x)
    weight: Floats = (np.append(step, 0) + np.append(0, step)) / (2 * (x[-1] - x[0]))
    return weight


# --- what a plan may have seen ---------------------------------------------------------------
def folds_by_cluster(cluster: ArrayLike, folds: int = 5, seed: int | None = None) -> Integers:
    """Deal whole clusters to folds at random, so that neighbours are in the same fold.

    Args:
        cluster: (N,) labels.
        folds: how many, from 2 to the number of clusters.
        seed: of the deal.

    Returns:
        (N,) the fold of each person, 0, …, folds − 1; each has as many clusters as any other, ± 1.

    Raises:
        ValueError: ``folds`` out of range, or labels that `Groups` refuses.

    Example:
        >>> fold = folds_by_cluster(["a", "a", "b", "c"], folds=3, seed=0)
        >>> bool(fold[0] == fold[1]), sorted(set(fold.tolist()))
        (True, [0, 1, 2])
    """
    labels = _labels("cluster", cluster, np.shape(np.asarray(cluster))[0])
    clusters = labels.size.size
    whole = f"a whole number from 2 to {clusters}, the number of clusters"
    count = number("folds", folds, whole, lambda v: 2 <= v <= clusters and v == int(v))
    dealt: Integers = np.random.default_rng(seed).permutation(clusters) % int(count)
    return dealt[labels.code]


def cross_fit(
    learn: Callable[[NDArray[np.bool_], NDArray[np.bool_]], ArrayLike], fold: ArrayLike
) -> Floats:
    """Predictions, or plans, for everybody, each made from the data of the other folds.

    Args:
        learn: called once a fold as ``learn(known, asked)``, with masks (N,) of the people to learn
            from and of those to answer for; returns a row, or a number, for each of the latter.
        fold: (N,) the fold of each person, as `folds_by_cluster` returns them; at least two.

    Returns:
        (N,) or (N, M): the answers, in the order of the people.

    Raises:
        ValueError: fewer than two folds, or answers of another length.

    Example:
        >>> y = np.array([1.0, 3.0, 10.0, 20.0])
        >>> cross_fit(lambda known, asked: np.full(asked.sum(), y[known].mean()), [0, 0, 1, 1])
        array([15., 15.,  2.,  2.])
    """
    labels = Groups(fold)
    if labels.size.size < 2:
        raise ValueError("fold holds one label: at least two folds are needed")
    answer: Floats | None = None
    for one in range(labels.size.size):
        asked = labels.code == one
        part = real_table("the answer of learn", learn(~asked, asked))
        if part.ndim == 0 or len(part) != labels.size[one]:
            raise ValueError(
                f"the answer of learn has shape {part.shape}: must have {labels.size[one]} rows, "
                f"one for each person asked about"
            )
        if answer is None:
            answer = np.empty((len(labels), *part.shape[1:]))
        answer[asked] = part
    assert answer is not None
    return answer
