"""Doses from features: scikit-learn's own checks, and the core as the judge of the doses."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

import alphafair as af
from alphafair import evaluation
from alphafair.estimator import FairAllocator
from alphafair.regret import fair_regret

# What cannot hold, and why.
NOT_ALONE = {
    "check_methods_subset_invariance": "what somebody gets depends on who else asks: with fewer "
    "people there is less money, and it is split among them",
}


@parametrize_with_checks(
    [
        FairAllocator(),
        FairAllocator(Ridge(), alpha=2, cap=2.0, within=0.5),
        FairAllocator(DecisionTreeRegressor(random_state=0), alpha=np.inf, within=0.5),
    ],
    expected_failed_checks=lambda estimator: NOT_ALONE,
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def town(people=40, treatments=1, seed=0):
    """Features, benefits > 0 and groups."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(people, 3))
    y = 3 + X @ rng.normal(size=(3, treatments)) + rng.normal(size=(people, treatments)) / 5
    return X, np.maximum(y, 0.1), np.array(["near", "far", "far", "away"])[np.arange(people) % 4]


@pytest.mark.parametrize("treatments", [1, 2])
@pytest.mark.parametrize("exclusive", [False, True])
def test_doses_are_the_plan_for_the_predictions(treatments, exclusive):
    X, y, group = town(treatments=treatments)
    rules = {"cap": 2.0, "within": 0.5, "weight": "size", "exclusive": exclusive}
    plan = FairAllocator(Ridge(), alpha=2, budget_per_person=0.5, cost=1.5, **rules).fit(X, y)
    hat = Ridge().fit(X, y).predict(X)
    assert (hat > 0).reshape(40, -1).any(axis=1).all()
    expected = af.allocate(hat, 1.5, group, 20.0, 2, **rules).dose
    np.testing.assert_array_equal(plan.predict(X, group=group).reshape(40, -1), expected)
    np.testing.assert_array_equal(plan.predict_benefit(X), hat)
    truth = af.Problem(y, 1.5, group, 20.0, **rules)
    assert plan.score(X, y, group=group) == -fair_regret(expected, truth, 2)


def test_costs_by_treatment_by_person_and_the_budget():
    X, y, group = town(treatments=2)
    plan = FairAllocator(alpha=1, cost=[1.0, 3.0], within=0.5).fit(X, y)
    hat = plan.predict_benefit(X)
    at = lambda cost, budget: af.allocate(hat, cost, group, budget, 1, within=0.5).dose  # noqa: E731
    np.testing.assert_array_equal(plan.predict(X, group), at([[1.0, 3.0]], 40.0))
    own = np.linspace(1, 2, 40)
    np.testing.assert_array_equal(plan.predict(X, group, cost=own, budget=7), at(own, 7.0))


def test_the_doses_have_the_axes_of_the_benefits():
    X, y, _ = town()
    assert FairAllocator().fit(X, y).predict(X).shape == (40, 1)
    assert FairAllocator().fit(X, y[:, 0]).predict(X).shape == (40,)


def test_who_cannot_be_helped_gets_nothing():
    X = np.arange(6.0)[:, None]
    y = [-1.0, -2.0, 1.0, 2.0, -1.0, 3.0]
    group = ["a", "a", "b", "b", "b", "c"]
    exact = RandomForestRegressor(1, bootstrap=False, random_state=0)
    plan = FairAllocator(exact, alpha=2, weight={"a": 1.0, "b": 1.0, "c": 4.0}).fit(X, y)
    expected = af.allocate([1.0, 2, -1, 3], 1, list("bbbc"), 6.0, 2, weight=[1.0, 4.0])
    np.testing.assert_array_equal(plan.predict(X, group), [0, 0, *expected.dose[:, 0]])
    plan.set_params(within=1)  # a person without a use for money would keep b at nothing
    expected = af.allocate([1.0, 2, 3], 1, list("bbc"), 6.0, 2, weight=[1.0, 4.0], within=1)
    b, also_b, c = expected.dose[:, 0]
    np.testing.assert_array_equal(plan.predict(X, group), [0, 0, b, also_b, 0, c])
    assert (plan.predict(X[:2], ["a", "a"]) == 0).all()
    plan.set_params(within=0, cap=0)
    assert (plan.predict(X, group) == 0).all()


def test_scores_of_an_experiment_are_learned_from():
    rng = np.random.default_rng(1)
    X = rng.uniform(size=(4000, 1))
    group = np.where(rng.uniform(size=4000) < 0.5, "near", "far")
    assigned = rng.integers(0, 2, 4000)
    outcome = X[:, 0] * assigned + rng.normal(size=4000) / 2
    gamma = evaluation.scores(outcome, assigned, [0.5, 0.5])
    plan = FairAllocator(alpha=1, budget_per_person=0.25, cap=1).fit(X, gamma)
    dose = plan.predict(X, group=group)
    assert X[dose[:, 0] == 1].min() > 0.6  # truly the best quarter of each group
    assert plan.score(X, X, group=group) > -0.01


def test_in_a_pipeline_of_data_frames():
    X, y, group = town()
    frame = pd.DataFrame(X, columns=list("abc")).assign(sex=np.where(X[:, 0] > 0, "f", "m"))
    columns = make_column_transformer((OneHotEncoder(), ["sex"]), remainder="passthrough")
    plan = FairAllocator(make_pipeline(columns, Ridge()), alpha=2, within=0.5).fit(frame, y[:, 0])
    assert plan.predict(frame, group=group).sum() == pytest.approx(40)
    assert plan.feature_names_in_.tolist() == [*"abc", "sex"]


def test_searched_with_groups_that_are_routed():
    X, y, group = town(200)
    y = y[:, 0] * np.where(X[:, 1] > 0, 2, 1)  # a forest sees this, a line does not
    with config_context(enable_metadata_routing=True):
        plan = FairAllocator(alpha=2, within=0.5).set_score_request(group=True)
        forest = RandomForestRegressor(20, random_state=0)
        search = GridSearchCV(plan, {"regressor": [LinearRegression(), forest]}, cv=KFold(4))
        search.fit(X, y, group=group)
        found = search.cv_results_["mean_test_score"]
        assert isinstance(search.best_params_["regressor"], RandomForestRegressor)
        again = cross_val_score(plan, X, y, cv=KFold(4), params={"group": group})
        np.testing.assert_allclose(again.mean(), found[0], rtol=1e-12)
    folds = KFold(4).split(X)
    by_hand = [plan.fit(X[a], y[a]).score(X[b], y[b], group=group[b]) for a, b in folds]
    np.testing.assert_allclose(np.mean(by_hand), found[0], rtol=1e-12)


def test_weights_of_samples():
    X, y, _ = town()
    some = np.arange(40) < 20
    plan = FairAllocator(within=0.5).fit(X, y, sample_weight=some)
    np.testing.assert_allclose(
        plan.predict(X), FairAllocator(within=0.5).fit(X[some], y[some]).predict(X), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -1}, r"alpha is -1.0: must be between 0"),
        ({"budget_per_person": -1}, r"budget_per_person is -1.0: must be finite and ≥ 0"),
        ({"budget_per_person": np.nan}, r"budget_per_person is nan"),
    ],
)
def test_bad_settings_are_found_by_fit(settings, message):
    X, y, _ = town()
    with pytest.raises(ValueError, match=message):
        FairAllocator(**settings).fit(X, y)


def test_bad_input():
    X, y, group = town(treatments=2)
    plan = FairAllocator()
    with pytest.raises(NotFittedError):
        plan.predict(X)
    plan.fit(X, y)
    with pytest.raises(ValueError, match="group has 3 labels: must have 40, one a row of X"):
        plan.predict(X, group=group[:3])
    with pytest.raises(ValueError, match=r"budget is -1.0: must be finite and ≥ 0"):
        plan.predict(X, budget=-1)
    with pytest.raises(ValueError, match=r"cost has shape \(40,\): must be a number or \(2,\)"):
        plan.set_params(cost=np.ones(40)).predict(X)
    with pytest.raises(ValueError, match=r"cap has shape \(3,\): must be a number or \(2,\)"):
        plan.set_params(cost=1, cap=np.ones(3)).predict(X)
    with pytest.raises(ValueError, match="group away has no item with a positive benefit"):
        plan.set_params(cap=None).score(X, np.where(group[:, None] == "away", -1, y), group=group)
