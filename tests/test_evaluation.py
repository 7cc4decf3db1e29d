"""Scores, values of plans and Qini curves, by hand, by another implementation, by simulation."""

import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.optimize import linprog

import alphafair as af
from alphafair.evaluation import (
    cross_fit,
    flat,
    folds_by_cluster,
    plan_value,
    qini,
    same_for_all,
    scores,
)

ROUNDING = 1e-10


@pytest.fixture
def village():
    """Scores of two treatments for 90 people in 12 villages and 3 groups that cross them."""
    rng = np.random.default_rng(4)
    cluster = rng.integers(12, size=90)
    group = rng.choice(["far", "mid", "near"], size=90)
    table = rng.normal(size=(90, 2)) + rng.normal(size=12)[cluster][:, None]
    dose = rng.dirichlet([1, 1, 1], size=90)[:, :2]
    other = rng.dirichlet([1, 1, 1], size=90)[:, :2]
    return table, dose, other, group, cluster


def intercept(y, cluster):
    """(mean, clustered standard error) by statsmodels."""
    fit = sm.OLS(y, np.ones(len(y))).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    return fit.params[0], fit.bse[0]


# ------------------------------------------------------------------------------- scores


def test_scores_by_hand():
    """Two people, two treatments; written out."""
    chance = [[0.5, 0.25, 0.25], [0.2, 0.4, 0.4]]
    mean = [[1.0, 2.0, 3.0], [0.0, 1.0, 5.0]]
    found = scores([4.0, 1.0], [2, 0], chance, mean)
    # Person 0 had treatment 2: 3 + (4 − 3)/.25 = 7.  Person 1 had nothing: 0 + (1 − 0)/.2 = 5.
    np.testing.assert_allclose(found, [[2 - 1, 7 - 1], [1 - 5, 5 - 5]], rtol=1e-14)
    plain = scores([4.0, 1.0], [2, 0], chance)
    np.testing.assert_allclose(plain, [[0, 16], [-5, -5]], rtol=1e-14)


def test_scores_are_unbiased_whatever_the_predictions():
    """All 3⁴ draws of an experiment with four people, each with its chance."""
    rng = np.random.default_rng(0)
    chance = rng.dirichlet([2, 2, 2], size=4)
    potential = rng.normal(size=(4, 3))
    for prediction in (None, rng.normal(size=(4, 3)), rng.normal(size=3)):
        mean = np.zeros((4, 2))
        for draw in itertools.product(range(3), repeat=4):
            arm = np.array(draw)
            likely = chance[np.arange(4), arm].prod()
            mean += likely * scores(potential[np.arange(4), arm], arm, chance, prediction)
        np.testing.assert_allclose(mean, potential[:, 1:] - potential[:, :1], atol=1e-12)


def test_right_predictions_forgive_wrong_chances():
    rng = np.random.default_rng(1)
    potential, arm = rng.normal(size=(50, 2)), rng.integers(2, size=50)
    found = scores(potential[np.arange(50), arm], arm, [0.9, 0.1], potential)
    np.testing.assert_allclose(found[:, 0], potential[:, 1] - potential[:, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": [1.0, np.nan]}, r"outcome\[1\] is nan: must be finite; drop that person"),
        ({"outcome": [[1.0, 2.0]]}, r"outcome has shape \(1, 2\): must be \(N,\)"),
        ({"assigned": [0, 2]}, r"assigned\[1\] is 2.0: must be one of 0, …, 1; 0 is nothing"),
        ({"assigned": [0.5, 1]}, r"assigned\[0\] is 0.5: must be one of"),
        ({"assigned": [0, 1, 1]}, "assigned has 3 entries: must have 2"),
        ({"propensity": 0.5}, r"propensity has shape \(\): .*np.column_stack"),
        ({"propensity": [[0.5, 0.5]] * 3}, r"propensity has shape \(3, 2\): must be \(2,\) or"),
        ({"propensity": [[1.0, 0.0]] * 2}, r"propensity\[0, 1\] is 0.0: must be > 0 and ≤ 1; lea"),
        ({"propensity": [0.5, 0.6]}, r"the sum of propensity\[0\] is 1.1: must be 1 for every"),
        ({"prediction": [0.0, np.inf]}, r"prediction\[0, 1\] is inf: must be finite"),
        ({"prediction": [1.0, 2.0, 3.0]}, r"prediction has shape \(3,\): must be \(2,\) or \(2, 2"),
    ],
)
def test_scores_refuse(change, message):
    good = {"outcome": [1.0, 0.0], "assigned": [1, 0], "propensity": [0.5, 0.5]}
    with pytest.raises(ValueError, match=message):
        scores(**good | change)


# ---------------------------------------------------------------------- value of a plan


def test_value_and_difference_are_those_of_statsmodels(village):
    table, dose, other, group, cluster = village
    for against, plan in ((None, dose), (other, dose - other)):
        value = plan_value(dose, table, group=group, cluster=cluster, against=against)
        term = (plan * table).sum(axis=1)
        mean, error = intercept(term, cluster)
        assert value.estimate == pytest.approx(mean, abs=ROUNDING)
        assert value.standard_error == pytest.approx(error, rel=ROUNDING)
        for k, label in enumerate(value.group_labels):
            own = group == label
            mean, error = intercept(term[own], cluster[own])
            assert value.group_estimate[k] == pytest.approx(mean, abs=ROUNDING)
            assert value.group_standard_error[k] == pytest.approx(error, rel=ROUNDING)


def test_without_clusters_it_is_the_textbook_mean(village):
    table, dose, *_ = village
    value = plan_value(dose, table)
    term = (dose * table).sum(axis=1)
    assert value.standard_error == pytest.approx(term.std(ddof=1) / np.sqrt(90), rel=ROUNDING)
    expected = stats.t.interval(0.9, 89, value.estimate, value.standard_error)
    np.testing.assert_allclose(value.interval(0.9), expected, rtol=ROUNDING)


def test_each_of_many_groups_counts_its_own_clusters():
    """100 clusters by 5 groups are more pairs than a byte counts; each group by itself."""
    rng = np.random.default_rng(2)
    group, cluster = rng.integers(5, size=600), rng.integers(100, size=600)
    dose, table = np.ones(600), rng.normal(size=600)
    value = plan_value(dose, table, group=group, cluster=cluster)
    for k in range(5):
        own = plan_value(dose[group == k], table[group == k], cluster=cluster[group == k])
        assert value.group_clusters[k] == own.clusters
        assert value.group_estimate[k] == pytest.approx(own.estimate, rel=ROUNDING)
        assert value.group_standard_error[k] == pytest.approx(own.standard_error, rel=ROUNDING)


def test_groups_share_villages_and_so_their_errors(village):
    """The covariance by loops, and the variance of a contrast of two groups from it."""
    table, dose, _, group, cluster = village
    value = plan_value(dose, table, group=group, cluster=cluster)
    term = (dose * table).sum(axis=1)
    C = [np.unique(cluster[group == k]).size for k in value.group_labels]
    assert value.group_clusters.tolist() == C
    for k, m in itertools.product(range(3), repeat=2):
        total = 0.0
        for c in range(12):
            sums = []
            for j in (k, m):
                own = group == value.group_labels[j]
                sums.append((term[own & (cluster == c)] - term[own].mean()).sum() / own.sum())
            total += sums[0] * sums[1]
        factor = np.sqrt(C[k] / (C[k] - 1) * C[m] / (C[m] - 1))
        assert value.group_covariance[k, m] == pytest.approx(factor * total, rel=ROUNDING)
    inside = value.group_interval()
    half = stats.t.ppf(0.975, np.array(C) - 1) * value.group_standard_error
    np.testing.assert_allclose(inside[:, 1] - value.group_estimate, half, rtol=ROUNDING)


def test_pairing_cancels_what_two_plans_share(village):
    table, dose, _, group, cluster = village
    same = plan_value(dose, table, group=group, cluster=cluster, against=dose)
    assert (same.estimate, same.standard_error) == (0, 0)
    assert (same.group_standard_error == 0).all()
    nearly = dose.copy()
    nearly[0] = 0
    close = plan_value(dose, table, cluster=cluster, against=nearly)
    alone = plan_value(dose, table, cluster=cluster).standard_error
    assert close.standard_error < alone / 3


def test_a_fraction_is_worth_what_its_tickets_are_worth():
    """A lottery by name: the mean over all draws of whole plans is the value of the fractions."""
    rng = np.random.default_rng(2)
    table, chance = rng.normal(size=(3, 2)), rng.dirichlet([1, 1, 1], size=3)
    mean = 0.0
    for draw in itertools.product(range(3), repeat=3):
        whole = np.eye(3)[list(draw)][:, 1:]
        mean += chance[np.arange(3), list(draw)].prod() * plan_value(whole, table).estimate
    assert plan_value(chance[:, 1:], table).estimate == pytest.approx(mean, abs=1e-12)


def test_reads_an_allocation():
    """Doses under caps are probabilities once divided by them."""
    a = af.allocate([4.0, 1.0, 2.0, 1.0], 1.0, ["a", "a", "b", "b"], 6.0, 1, cap=4.0)
    value = plan_value(a.dose / 4, [1.0, 10.0, 100.0, 7.0], group=a.problem.groups)
    np.testing.assert_allclose(a.dose[:, 0], [3, 0, 3, 0])  # at α = 1 half of the money each
    np.testing.assert_allclose(value.group_estimate, [3 / 8, 75 / 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dose": [1.0, 2.0, 0.0, 0.0]}, r"dose\[1, 0\] is 2.0: must be ≥ 0 and ≤ 1; .*dose / cap"),
        ({"dose": [1.0, np.nan, 0.0, 0.0]}, r"dose\[1, 0\] is nan"),
        ({"dose": [-0.1, 0.0, 0.0, 0.0]}, r"dose\[0, 0\] is -0.1"),
        ({"against": 1.5}, r"against\[0, 0\] is 1.5"),
        ({"dose": [1.0, 2.0]}, r"dose has shape \(2,\): must be a scalar"),
        ({"scores": [1.0, 2.0, np.inf, 0.0]}, r"scores\[2, 0\] is inf: must be finite"),
        ({"scores": 1.0}, "scores is one number"),
        ({"group": [1, 2]}, "group has 2 labels: must have 4"),
        ({"cluster": [1, 2, 3]}, "cluster has 3 labels: must have 4"),
        ({"cluster": [1, 1, 1, 1]}, "cluster holds one label: at least two clusters"),
        ({"cluster": [1, None, 1, 2]}, r"cluster\[1\] is None: every person needs a label"),
        (
            {"group": list("aabb"), "cluster": [1, 2, 3, 3]},
            "group b lies within one cluster: a standard error needs two",
        ),
    ],
)
def test_values_refuse(change, message):
    good = {"dose": [1.0, 0.0, 1.0, 0.5], "scores": [1.0, 2.0, 3.0, 4.0]}
    with pytest.raises(ValueError, match=message):
        plan_value(**good | change)


def test_two_treatments_at_once_are_refused():
    with pytest.raises(ValueError, match=r"the sum over treatments of dose\[1\] is 1.2: must be ≤"):
        plan_value([[0.5, 0.5], [0.6, 0.6]], np.ones((2, 2)))
    plan_value([[0.5, 0.5], [0.4, 0.6 + 5e-10]], np.ones((2, 2)))  # a rounding passes


def test_intervals_need_groups_and_a_level():
    value = plan_value([1, 0], [1.0, 2.0])
    with pytest.raises(ValueError, match="there are no groups"):
        value.group_interval()
    with pytest.raises(ValueError, match=r"level is 95.0: must be in \(0, 1\)"):
        value.interval(95)
    with pytest.raises(ValueError, match="there are no groups"):
        qini(lambda q: q, [0, 1], [1.0, 2.0]).group_interval()


# -------------------------------------------------------------------- plans to compare with


def test_flat_has_the_bill_of_the_plan(village):
    _, dose, *_ = village
    cost = np.random.default_rng(3).uniform(1, 3, size=dose.shape)
    plain, paid = flat(dose), flat(dose, cost)
    np.testing.assert_allclose(plain, np.tile(dose.mean(axis=0), (90, 1)))
    assert (cost * paid).sum() == pytest.approx((cost * dose).sum(), rel=1e-12)
    assert np.ptp(paid, axis=0).max() == 0
    np.testing.assert_allclose(paid[0] / paid[0].sum(), plain[0] / plain[0].sum())
    assert (flat(dose, 0.0) == plain).all()
    with pytest.raises(ValueError, match=r"cost\[1, 0\] is -1.0: must be finite and ≥ 0"):
        flat([1.0, 0.0], [1.0, -1.0])
    with pytest.raises(ValueError, match=r"buys 1\.6 treatments a person: more than one"):
        flat(np.eye(2), [[4.0, 1.0], [1.0, 4.0]])


@pytest.mark.parametrize("budget", [0.0, 3.0, 40.0, 90.0, 150.0, 1000.0])
def test_same_for_all_is_the_best_lottery_without_names(budget):
    """A linear program over one row of chances."""
    rng = np.random.default_rng(int(budget))
    gain = rng.normal([0.5, 1.0, 0.6, 1.3, -0.5], 0.1, size=(60, 5))
    cost = rng.uniform(0.8, 1.2, size=(60, 5)) * [0.5, 1.5, 1.0, 2.5, 0.2]  # three corners
    row = same_for_all(gain, cost, budget)
    best = linprog(
        -gain.mean(axis=0), [np.ones(5), cost.mean(axis=0)], [1, budget / 60], method="highs"
    )
    assert gain.mean(axis=0) @ row[0] == pytest.approx(-best.fun, abs=1e-9)
    assert row[0].sum() <= 1 + 1e-12
    assert cost.mean(axis=0) @ row[0] * 60 <= budget + 1e-9
    assert (row == row[0]).all()
    assert (row[0] > 0).sum() <= 2


# ----------------------------------------------------------------------------- all budgets


def test_qini_is_the_value_at_each_budget(village):
    table, _, _, group, cluster = village
    rank = np.argsort(np.argsort(-table[:, 0] - np.arange(90) / 30))
    budgets = [0.0, 5.0, 20.5, 60.0, 90.0]

    def first(money):
        return np.column_stack([np.clip(money - rank, 0, 1), np.zeros(90)])

    def blind(money):
        return np.tile([money / 90, 0.0], (90, 1))

    how = {"group": group, "cluster": cluster}
    for against in (None, blind):
        curve = qini(first, budgets, table, against=against, **how)
        for j, money in enumerate(budgets):
            other = None if against is None else against(money)
            value = plan_value(first(money), table, against=other, **how)
            assert curve.estimate[j] == pytest.approx(value.estimate, abs=ROUNDING)
            assert curve.standard_error[j] == pytest.approx(value.standard_error, abs=ROUNDING)
            np.testing.assert_allclose(curve.interval()[j], value.interval(), atol=ROUNDING)
            np.testing.assert_allclose(curve.group_estimate[j], value.group_estimate)
            np.testing.assert_allclose(
                curve.group_interval(0.9)[j], value.group_interval(0.9), atol=ROUNDING
            )
        assert curve.estimate[0] == curve.standard_error[0] == 0


def test_the_area_is_the_value_of_drawing_the_budget_by_lot(village):
    """The curve is linear in the plan: its mean height is the value of the mean plan."""
    table, dose, _, _, cluster = village
    budgets = np.array([0.0, 1.0, 4.0, 6.0])

    def plan(money):
        return dose * money / 6

    curve = qini(plan, budgets, table, cluster=cluster)
    assert curve.area == pytest.approx(np.trapezoid(curve.estimate, budgets) / 6, abs=ROUNDING)
    mean = plan_value(dose * 0.5, table, cluster=cluster)  # a straight line: half of its end
    assert curve.area == pytest.approx(mean.estimate, abs=ROUNDING)
    assert curve.area_standard_error == pytest.approx(mean.standard_error, rel=ROUNDING)
    np.testing.assert_allclose(curve.area_interval(), mean.interval(), atol=ROUNDING)
    weight = np.array([0.5, 2.0, 2.5, 1.0]) / 6
    variance = weight @ curve.covariance @ weight
    assert curve.area_standard_error**2 == pytest.approx(variance, rel=ROUNDING)


def test_qini_refuses():
    def rule(money):
        return money

    with pytest.raises(ValueError, match="budgets holds one number: at least two"):
        qini(rule, [1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"budgets\[2\] is 0.5: must be more than the one before"):
        qini(rule, [0.0, 1.0, 0.5], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"dose\[0, 0\] is 2.0"):
        qini(rule, [0.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"against\[0, 0\] is 2.0"):
        qini(lambda _: 1, [0.0, 2.0], [1.0, 2.0], against=rule)


# ------------------------------------------------------------------- what a plan may have seen


def test_folds_keep_neighbours_together():
    cluster = np.repeat(np.arange(23), np.arange(1, 24))
    fold = folds_by_cluster(cluster, 5, seed=1)
    of_cluster = [set(fold[cluster == c].tolist()) for c in range(23)]
    assert all(len(f) == 1 for f in of_cluster)
    count = np.bincount([f.pop() for f in of_cluster])
    assert sorted(count.tolist()) == [4, 4, 5, 5, 5]
    assert (folds_by_cluster(cluster, 5, seed=1) == fold).all()
    assert (folds_by_cluster(cluster, 5, seed=2) != fold).any()
    for folds in (1, 24, 2.5):
        with pytest.raises(ValueError, match=rf"folds is {float(folds)}: must be a whole number"):
            folds_by_cluster(cluster, folds)


def test_cross_fit_never_asks_about_the_known():
    fold = np.array([2, 0, 1, 0, 2])
    seen = []

    def learn(known, asked):
        assert not (known & asked).any()
        assert (known | asked).all()
        seen.append(asked.tolist())
        return np.column_stack([np.flatnonzero(asked), np.full(asked.sum(), known.sum())])

    answer = cross_fit(learn, fold)
    assert answer.tolist() == [[0, 3], [1, 3], [2, 4], [3, 3], [4, 3]]
    assert len(seen) == 3
    with pytest.raises(ValueError, match="fold holds one label"):
        cross_fit(learn, [1, 1])
    with pytest.raises(ValueError, match=r"has shape \(1,\): must have 2 rows"):
        cross_fit(lambda known, asked: [1.0], [0, 0, 1, 1])


# ------------------------------------------------------------------------------- coverage


EXPERIMENTS, VILLAGES = 2000, 60
FRACTION = np.array([0.2, 0.4, 0.7, 1.0])  # of the people that the rule treats


def experiment(rng):
    """One experiment: people in villages that share a level and an effect; x decides the lots."""
    size = rng.integers(8, 25, VILLAGES)
    village = np.repeat(np.arange(VILLAGES), size)
    x = rng.uniform(size=village.size)
    chance = 0.3 + 0.4 * x
    treated = rng.uniform(size=x.size) < chance
    level = rng.normal(0, 0.7, VILLAGES)[village]
    effect = 1 + x + rng.normal(0, 0.7, VILLAGES)[village]
    y = level + 2 * x + treated * effect + rng.normal(size=x.size)
    return y, treated.astype(int), np.column_stack([1 - chance, chance]), x, village


def predicted(y, arm, x, fold):
    """(N, 2) outcomes of both arms, by straight lines fitted to the other villages."""
    column = np.column_stack([np.ones_like(x), x])

    def learn(known, asked):
        lines = [
            np.linalg.lstsq(column[known & (arm == a)], y[known & (arm == a)], rcond=None)[0]
            for a in (0, 1)
        ]
        return column[asked] @ np.column_stack(lines)

    return cross_fit(learn, fold)


def inside(interval, truth):
    interval = np.asarray(interval)
    return (interval[..., 0] <= truth) & (truth <= interval[..., 1])


def test_coverage_over_simulated_experiments():
    """95 % intervals of values, differences and Qini curves cover the truth in 93 to 97 %."""
    rng = np.random.default_rng(1)
    value_of = FRACTION + (1 - (1 - FRACTION) ** 2) / 2  # ∫ (1 + x) over x > 1 − q
    truth = {
        "value": value_of[2],
        "difference": value_of[2] - 1.5 * 0.7,
        "near": 0.2 * (1 + 0.4) / 0.5,  # x < 1/2, treated from .3 on
        "far": 1.75,
        "qini": value_of,
        "area": np.trapezoid(value_of, FRACTION) / 0.8,
        "qini lead": value_of - 1.5 * FRACTION,
        "plain": value_of[2],
        "unclustered": value_of[2],
    }
    hits = {name: [] for name in truth}
    errors = []
    for seed in range(EXPERIMENTS):
        y, arm, chance, x, village = experiment(rng)
        gamma = scores(y, arm, chance, predicted(y, arm, x, folds_by_cluster(village, 3, seed)))

        def rule(q, x=x):
            return x > 1 - q

        how = {"group": np.where(x < 0.5, "near", "far"), "cluster": village}
        value = plan_value(rule(0.7), gamma, **how)
        lead = plan_value(rule(0.7), gamma, against=0.7, **how)
        curve = qini(rule, FRACTION, gamma, cluster=village)
        over = qini(rule, FRACTION, gamma, cluster=village, against=lambda q: q)
        plain = plan_value(rule(0.7), scores(y, arm, chance), cluster=village)
        errors.append([value.standard_error, plain.standard_error])
        found = {
            "value": value.interval(),
            "difference": lead.interval(),
            "near": value.group_interval()[1],
            "far": value.group_interval()[0],
            "qini": curve.interval(),
            "area": curve.area_interval(),
            "qini lead": over.interval()[:-1],
            "plain": plain.interval(),
            "unclustered": plan_value(rule(0.7), gamma).interval(),
        }
        truth["qini lead"] = (value_of - 1.5 * FRACTION)[:-1]  # at q = 1 both plans treat everybody
        for name, interval in found.items():
            hits[name].append(inside(interval, truth[name]))
    cover = {name: np.mean(hit, axis=0) for name, hit in hits.items()}
    print({name: np.round(c, 3).tolist() for name, c in cover.items()})
    careless = cover.pop("unclustered")
    for name, share in cover.items():
        assert (share >= 0.93).all(), (name, share)
        assert (share <= 0.97).all(), (name, share)
    assert careless < 0.88  # neighbours resemble each other
    robust, plain = np.mean(errors, axis=0)
    assert robust < 0.9 * plain  # what predictions are for
