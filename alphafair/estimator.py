"""From people's features to their doses: a plan as an estimator of scikit-learn.

`FairAllocator` wraps any regressor.  `fit` learns the benefit of each treatment from features, and
`predict` allocates a budget fairly among the people whom it is asked about::

    X --regressor--> b̂ (N, T) --alphafair.Problem--> doses (N, T)

What somebody gets depends on who else is there, so doses are predicted for a whole group of people
at once, and the budget grows with their number.  For training on decisions see `alphafair.regret`;
this is the two-stage way, which is hard to beat where the regressor sees what matters.

The benefits to learn from may be measured ones, or the doubly robust scores of an experiment
(`alphafair.evaluation.scores`), which are right in the mean.

Needs the extra ``alphafair[learn]``: scikit-learn.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LinearRegression
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .checks import Floats, Integers, broadcast_table, number, real_table
from .groups import Groups
from .problem import Problem
from .regret import fair_regret
from .utility import check_alpha


class FairAllocator(BaseEstimator):  # type: ignore[misc]
    """Predict benefits, then allocate a budget fairly.

    Args:
        regressor: of scikit-learn, for the benefits; with T > 1 treatments one that predicts
            several outputs (else wrap it in `sklearn.multioutput.MultiOutputRegressor`).  None is
            `LinearRegression`.
        alpha: α in [0, ∞], aversion to inequality between groups.
        budget_per_person: money ≥ 0 for each person in `predict`, whether she gets any or not.
        cost: of one unit of dose, a number or (T,), > 0; `predict` takes costs by person.
        cap: upper bounds of the doses, a number or (T,); None is no bound.
        within: ε in [0, ∞], aversion to inequality inside groups.  At 0 and without a cap the
            person with the best prediction gets all the money of her group.
        weight: of the groups: "size", or a mapping by label, which may know more labels than those
            who come to `predict`.  None gives every group weight 1.
        exclusive: at most one treatment a person; needs a cap.

    Attributes:
        regressor_: the fitted regressor.
        n_features_in_: of the regressor, where it knows them.
        feature_names_in_: of the regressor, where it knows them.

    Example:
        >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> plan = FairAllocator(alpha=1, budget_per_person=0.5, cap=1).fit(X, [1.0, 2.0, 3.0, 4.0])
        >>> plan.predict(X, group=["far", "far", "near", "near"])
        array([0., 1., 0., 1.])
        >>> truth = [1.0, 2.0, 4.0, 3.0]      # in truth the third has more of it than the fourth
        >>> round(plan.score(X, truth, group=["far", "far", "near", "near"]), 3)
        -0.134
    """

    def __init__(
        self,
        regressor: Any = None,
        *,
        alpha: float = 1.0,
        budget_per_person: float = 1.0,
        cost: Any = 1.0,
        cap: Any = None,
        within: float = 0.0,
        weight: Any = None,
        exclusive: bool = False,
    ) -> None:
        self.regressor = regressor
        self.alpha = alpha
        self.budget_per_person = budget_per_person
        self.cost = cost
        self.cap = cap
        self.within = within
        self.weight = weight
        self.exclusive = exclusive

    def fit(self, X: Any, y: ArrayLike, sample_weight: Any = None) -> Self:
        """Fit the regressor to benefits.

        Args:
            X: (N, F) features, whatever the regressor takes.
            y: (N,), or (N, T) for T treatments: what one unit of dose does for each person;
                measured, or scores of an experiment.  May be negative.
            sample_weight: (N,), for regressors that take it.

        Returns:
            The estimator.

        Raises:
            ValueError, TypeError: α or the budget out of its range; what the regressor refuses.
        """
        check_alpha(self.alpha)
        self._money_each()
        regressor = LinearRegression() if self.regressor is None else clone(self.regressor)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.regressor_ = regressor.fit(X, y, **weights)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.regressor_, name):
                setattr(self, name, getattr(self.regressor_, name))
        return self

    def predict_benefit(self, X: Any) -> Floats:
        """Predicted benefits b̂, (N,) or (N, T), as the regressor returns them.

        They are what `alphafair.Problem` needs for plans with floors, baselines or whole doses.
        """
        check_is_fitted(self)
        benefit: Floats = self.regressor_.predict(X)
        return benefit

    def predict(
        self, X: Any, group: ArrayLike | Groups | None = None, cost: Any = None, budget: Any = None
    ) -> Floats:
        """Doses for these people, together within one budget.

        Args:
            X: (N, F) features.
            group: (N,) labels; None puts everybody into one group, and α has no effect.
            cost: by person, (N,) or (N, T); None is the ``cost`` of the estimator.
            budget: money for all of them; None is ``budget_per_person`` times N.

        Returns:
            Doses, (N,) or (N, T), of the shape of the predicted benefits.  Groups whose predicted
            benefits are all ≤ 0 get nothing; at ``within`` ≥ 1, so do people.

        Raises:
            ValueError: values out of range, shapes that do not fit.
            sklearn.exceptions.NotFittedError: before `fit`.
        """
        hat = self.predict_benefit(X)
        benefit = _table("the predicted benefit", hat)
        groups = _groups(group, len(benefit))
        who = self._who_can_be_helped(benefit, groups)
        dose = np.zeros(benefit.shape)
        if who.size:
            problem = self._problem(benefit, groups, cost, budget, who)
            dose[who] = problem.allocate(self.alpha).dose
        return dose.reshape(hat.shape)

    def score(
        self,
        X: Any,
        y: ArrayLike,
        group: ArrayLike | Groups | None = None,
        cost: Any = None,
        budget: Any = None,
    ) -> float:
        """Minus the fair regret (`alphafair.regret.fair_regret`) of the plan, judged by y.

        Args:
            X, group, cost, budget: as in `predict`.
            y: (N,) or (N, T) true benefits.  With scores of an experiment the best plan is made of
                luck, so that regrets are too large, but differences between plans for the same
                people still compare their equivalent utilities.

        Returns:
            A number, at most 0 (up to rounding); 0 if nothing is lost.

        Raises:
            ValueError: as `predict` and `fair_regret`; a group without a positive y.
        """
        dose = self.predict(X, group, cost, budget)
        truth = _table("y", y)
        groups, everybody = _groups(group, len(truth)), np.arange(len(truth))
        problem = self._problem(truth, groups, cost, budget, everybody)
        return -fair_regret(dose, problem, self.alpha)

    # --- what a problem is made of ------------------------------------------------------------
    def _problem(
        self, benefit: Floats, groups: Groups, cost: Any, budget: Any, who: Integers
    ) -> Problem:
        """The problem of the people at some positions, with the money for all of them."""
        shape = (benefit.shape[0], benefit.shape[1])
        if cost is None:
            price = _of_treatments("cost", self.cost, shape)
        else:
            price = broadcast_table("cost", cost, shape)
        cap = None if self.cap is None else _of_treatments("cap", self.cap, shape)[who]
        if budget is None:
            budget = self._money_each() * shape[0]
        return Problem(
            benefit[who],
            price[who],
            groups.label[groups.code[who]],
            budget,
            within=self.within,
            weight=self.weight,
            cap=cap,
            exclusive=self.exclusive,
        )

    def _money_each(self) -> float:
        each = self.budget_per_person
        return number("budget_per_person", each, "finite and ≥ 0", lambda v: 0 <= v < np.inf)

    def _who_can_be_helped(self, benefit: Floats, groups: Groups) -> Integers:
        """Positions of the people who have a use for money or, at ε < 1, whose group has."""
        can = benefit > 0
        if self.cap is not None:
            can &= _of_treatments("cap", self.cap, benefit.shape) > 0
        person = can.any(axis=1)
        if self.within < 1:
            person = np.bincount(groups.code, person, groups.size.size)[groups.code] > 0
        return np.flatnonzero(person)

    def __sklearn_tags__(self) -> Any:
        """What the regressor takes, this takes."""
        tags = super().__sklearn_tags__()
        inner = get_tags(LinearRegression() if self.regressor is None else self.regressor)
        tags.input_tags = inner.input_tags
        tags.target_tags = inner.target_tags
        tags.target_tags.required = True
        return tags


def _groups(group: ArrayLike | Groups | None, people: int) -> Groups:
    """The groups of these people; one for all of them if there are none."""
    if group is None:
        group = np.zeros(people, np.intp)
    groups = group if isinstance(group, Groups) else Groups(group)
    if len(groups) != people:
        raise ValueError(f"group has {len(groups)} labels: must have {people}, one a row of X")
    return groups


def _table(name: str, value: Any) -> Floats:
    table = real_table(name, value)
    return table.reshape(len(table), -1)


def _of_treatments(name: str, value: Any, shape: tuple[int, ...]) -> Floats:
    """(N, T) from a number or a row (T,)."""
    row = real_table(name, value)
    if row.ndim and row.shape != shape[1:]:
        raise ValueError(
            f"{name} has shape {row.shape}: must be a number or ({shape[1]},), one for each "
            f"treatment; give costs of persons to predict"
        )
    return np.broadcast_to(row, shape)
