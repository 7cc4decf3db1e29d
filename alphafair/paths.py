"""All budgets at once, or all α: who gets what, and what money is worth, along a path of optima.

At the optimum of a budget Q every group spends x_k(λ), what it would buy at the price λ
(`alphafair.closed_form`), and Σ x_k(λ) = Q.  A dearer price buys less, so along the **path** of one
problem at one α

    x_k(Q) and V_k(x_k(Q)) never fall,     λ(Q) never rises,     W(Q) is concave,  W' = λ:

more money never takes anything from a group.

What money is worth inside a group does not depend on the budget: the pieces of V_k, for which all
items are sorted, are found once, and every budget is one search for its price among them.  Where V
is linear the groups' shares do not depend on the budget either.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .allocation import Allocation
from .checks import Floats, real_table, refuse_first
from .closed_form import budget_shares_along, price_search
from .problem import SLACK, Problem
from .progress import watched
from .utility import check_alpha, equivalent_utility, welfare
from .value import Linear

DEFAULT_BUDGETS = 101
FAR_BELOW = 1e-100  # of the largest budget; what is smaller gets pieces in a unit of its own


@dataclass(frozen=True, eq=False, repr=False)
class BudgetPath:
    """The optima of one problem at B budgets: a table, one row a budget, in the order asked for.

    ``len`` counts rows, iteration and ``path[j]`` give the `Allocation` of a row with its doses,
    `to_dict` columns for a data frame.

    Attributes:
        alpha: α.
        problem: the `Problem`; its own budget plays no part.
        budget: (B,) Q.
        group_budget: (B, K) x.
        group_utility: (B, K) U.
        price: (B,) λ = dW/dQ to the right, the welfare that one more unit of budget buys.
        welfare: (B,) W.
        group_labels: (K,) the sorted labels.
    """

    alpha: float
    problem: Problem
    budget: Floats
    group_budget: Floats
    group_utility: Floats
    price: Floats
    welfare: Floats

    @property
    def group_labels(self) -> NDArray[Any]:
        """(K,) the sorted labels; every (B, K) table has its columns in this order."""
        return self.problem.groups.label

    @property
    def money_left(self) -> Floats:
        """(B,) money that caps leave unspent."""
        rest = self.budget - self.group_budget.sum(axis=1)
        return np.where(rest > SLACK * self.budget, rest, 0.0)

    def __len__(self) -> int:
        return self.budget.size

    def __getitem__(self, row: int) -> Allocation:
        """The `Allocation` at one of the budgets, with its doses; costs as much as `allocate`."""
        return _with_budget(self.problem, float(self.budget[row])).allocate(self.alpha)

    def __iter__(self) -> Iterator[Allocation]:
        return (self[row] for row in range(len(self)))

    def to_dict(self) -> dict[str, Floats]:
        """Columns (B,) by name; those of group k end in its label, as in ``budget_north``.

        Example:
            >>> problem = Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0)
            >>> list(budget_path(problem, 1, [5.0]).to_dict())[:4]
            ['budget', 'price', 'welfare', 'budget_far']
        """
        columns = {"budget": self.budget, "price": self.price, "welfare": self.welfare}
        tables = {"budget": self.group_budget, "utility": self.group_utility}
        return _columns(columns, tables, self.group_labels)

    def __repr__(self) -> str:
        title = f"BudgetPath(alpha={self.alpha:g}, B={len(self)}, K={self.group_labels.size})"
        return _printed(
            title, {"budget": self.budget, "price": self.price, "welfare": self.welfare}
        )


@dataclass(frozen=True, eq=False, repr=False)
class AlphaPath:
    """The optima of one problem at A values of α: a table, one row an α, in the order asked for.

    ``len`` counts rows, iteration and ``path[j]`` give the `Allocation` of a row with its doses,
    `to_dict` columns for a data frame.  All but ``group_share`` is computed when asked for.

    Attributes:
        problem: the `Problem`.
        alpha: (A,) α.
        group_share: (A, K) each group's part of the budget.
    """

    problem: Problem
    alpha: Floats
    group_share: Floats

    @property
    def group_labels(self) -> NDArray[Any]:
        """(K,) the sorted labels; every (A, K) table has its columns in this order."""
        return self.problem.groups.label

    @cached_property
    def group_budget(self) -> Floats:
        """(A, K) x, the money of each group."""
        return self.problem.budget * self.group_share

    @cached_property
    def group_utility(self) -> Floats:
        """(A, K) U, what the members have."""
        value = self.problem.value
        if isinstance(value, Linear):
            money = self.group_share if self.problem.budget > 0 else 0.0 * self.group_share
            return self.problem.absolute_utility(value.productivity * money)
        return np.array([row.group_utility for row in self])

    @cached_property
    def welfare(self) -> Floats:
        """(A,) W.  Its unit depends on α."""
        return np.array(
            [
                welfare(utility, alpha, self.problem.weight)
                for utility, alpha in zip(self.group_utility, self.alpha.tolist(), strict=True)
            ]
        )

    @cached_property
    def equivalent_utility(self) -> Floats:
        """(A,) the equally-distributed equivalent of the groups' utilities, comparable across α."""
        return np.array(
            [
                equivalent_utility(utility, alpha, self.problem.weight)
                for utility, alpha in zip(self.group_utility, self.alpha.tolist(), strict=True)
            ]
        )

    @cached_property
    def price(self) -> Floats:
        """(A,) λ = dW/dQ to the right, the welfare that one more unit of budget buys."""
        return np.array([row.price for row in self])

    def __len__(self) -> int:
        return self.alpha.size

    def __getitem__(self, row: int) -> Allocation:
        """The `Allocation` at one of the α, with its doses."""
        return Allocation(float(self.alpha[row]), self.problem, self.group_share[row])

    def __iter__(self) -> Iterator[Allocation]:
        return (self[row] for row in range(len(self)))

    def to_dict(self) -> dict[str, Floats]:
        """Columns (A,) by name; those of group k end in its label, as in ``budget_north``.

        Example:
            >>> problem = Problem([4.0, 1.0], 1.0, ["near", "far"], budget=5.0)
            >>> list(problem.allocate_many([1, 2]).to_dict())[3:]
            ['welfare', 'budget_far', 'budget_near', 'utility_far', 'utility_near']
        """
        tables = {"budget": self.group_budget, "utility": self.group_utility}
        return _columns(self._scalars, tables, self.group_labels)

    @property
    def _scalars(self) -> dict[str, Floats]:
        return {
            "alpha": self.alpha,
            "price": self.price,
            "equivalent_utility": self.equivalent_utility,
            "welfare": self.welfare,
        }

    def __repr__(self) -> str:
        title = f"AlphaPath(A={len(self)}, K={self.group_labels.size})"
        return _printed(title, {name.split("_")[0]: x for name, x in self._scalars.items()})


def _columns(
    columns: dict[str, Floats], tables: dict[str, Floats], labels: NDArray[Any]
) -> dict[str, Floats]:
    """The columns, and those of the tables by label."""
    for name, table in tables.items():
        for label, column in zip(labels, table.T, strict=True):
            columns[f"{name}_{label}"] = column
    return columns


def _printed(title: str, columns: dict[str, Floats]) -> str:
    """A table for people: twelve rows at most."""
    rows = zip(*columns.values(), strict=True)
    lines = [" ".join(f"{value:>12.6g}" for value in row) for row in rows]
    if len(lines) > 12:
        lines = [*lines[:5], "…".rjust(12), *lines[-5:]]
    return "\n".join([title, " ".join(f"{name:>12}" for name in columns), *lines])


# --- all α ------------------------------------------------------------------------------------
def alpha_path(problem: Problem, alphas: ArrayLike) -> AlphaPath:
    """See `Problem.allocate_many`."""
    alpha = real_table("alphas", alphas)
    if alpha.ndim > 1:
        raise ValueError(f"alphas has shape {alpha.shape}: must be one axis of values, (A,)")
    alpha = np.array(alpha.reshape(-1))
    refuse_first("alphas", alpha, alpha >= 0, "between 0 (utilitarian) and infinity (max-min)")
    if isinstance(problem.value, Linear):
        assert problem.log_productivity is not None
        share = budget_shares_along(problem.log_weight, problem.log_productivity, alpha)
    else:  # each from scratch: begun at the level of the one before, it would end a rounding apart
        share = np.array(
            [problem.allocate(each).group_share for each in watched(alpha.tolist(), "values of α")]
        )
    return AlphaPath(problem, alpha, share)


# --- all budgets ------------------------------------------------------------------------------
def budget_path(problem: Problem, alpha: float, budgets: ArrayLike | None = None) -> BudgetPath:
    """The optimum at each of many budgets; on large tables for one to three times the cost of one.

    Each row is what `Problem.allocate` gives for a problem with that budget, up to rounding.

    Args:
        problem: a `Problem`; its own budget plays no part, except for the default.
        alpha: α in [0, ∞].
        budgets: (B,) budgets Q, finite, in any order, each at least what the floors (of doses and
            of groups) take; 0 and more than all caps take are fine.  Default: 101 evenly spaced
            ones, from what the floors take to twice the problem's budget, or to what all caps take
            if that is less.

    Returns:
        `BudgetPath`.

    Raises:
        ValueError: no budget, one that is not finite, or one that does not pay for the floors.
        ValueError, TypeError: α out of its range, or no number.

    Example:
        >>> problem = Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], budget=4.0, cap=2.0)
        >>> path = budget_path(problem, 1, [0, 2, 4, 8])
        >>> path.group_budget
        array([[0., 0.],
               [1., 1.],
               [2., 2.],
               [4., 2.]])
        >>> path.price, path.money_left      # at 4 both are at a cap, and only a can go on
        (array([       inf, 1.        , 0.16666667, 0.        ]), array([0., 0., 0., 2.]))
    """
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be an alphafair.Problem, not {type(problem).__name__}: of an allocation "
            f"it is allocation.problem"
        )
    alpha = check_alpha(alpha)
    budget = _default_budgets(problem) if budgets is None else _checked(problem, budgets)
    largest = float(budget.max())
    reaching = problem if problem.budget >= largest else _with_budget(problem, largest)
    rows = [_row(_along(reaching, alpha, float(each))) for each in budget]
    group_budget, group_utility, price, welfare = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    return BudgetPath(alpha, problem, budget, group_budget, group_utility, price, welfare)


def _row(result: Allocation) -> tuple[Floats, Floats, float, float]:
    return result.group_budget, result.group_utility, result.price, result.welfare


def _along(reaching: Problem, alpha: float, budget: float) -> Allocation:
    """The allocation of a budget among the pieces of a problem that has the largest one."""
    here = _with_budget(reaching, budget)
    value, unit = reaching.value, reaching.money_unit
    if isinstance(value, Linear) or 0 < budget <= FAR_BELOW * unit:
        return here.allocate(alpha)
    object.__setattr__(here, "value", value)
    object.__setattr__(here, "money_unit", unit)
    if budget == 0:
        return here.allocate(alpha)
    least, most = (
        None if bound is None else bound / unit for bound in (here.group_floor, here.group_cap)
    )
    money = price_search(value, here.log_weight, alpha, budget / unit, least, most)
    result = Allocation(alpha, here, money / (budget / unit))
    object.__setattr__(result, "money", money)
    return result


def _with_budget(problem: Problem, budget: float) -> Problem:
    """The same inputs with another budget; nothing is checked or computed again."""
    other = copy.copy(problem)
    for computed in ("value", "money_unit"):
        vars(other).pop(computed, None)
    object.__setattr__(other, "budget", budget)
    if problem.in_steps is not None:
        object.__setattr__(other, "in_steps", _with_budget(problem.in_steps, budget))
    return other


# --- budgets that are given -------------------------------------------------------------------
def _least(problem: Problem) -> float:
    """What the floors take."""
    least = problem.spent_at_floors
    if problem.group_floor is not None:
        least = np.maximum(least, problem.group_floor)
    return float(least.sum())


def _most(problem: Problem) -> float:
    """What the caps can take."""
    most = np.full(problem.groups.size.size, np.inf)
    if not isinstance(problem.value, Linear):
        most = problem.value.most * problem.money_unit
    if problem.group_cap is not None:
        most = np.minimum(most, problem.group_cap)
    return float(most.sum())


def _default_budgets(problem: Problem) -> Floats:
    least = _least(problem)
    largest = min(2 * problem.money_unit, _most(problem))
    return np.linspace(least, max(least, largest), DEFAULT_BUDGETS)


def _checked(problem: Problem, budgets: ArrayLike) -> Floats:
    budget = real_table("budgets", budgets)
    if budget.ndim > 1:
        raise ValueError(f"budgets has shape {budget.shape}: must be one axis of budgets, (B,)")
    budget = np.array(budget.reshape(-1))
    refuse_first("budgets", budget, np.isfinite(budget), "finite")
    least = _least(problem)
    enough = budget >= least * (1 - SLACK)
    needed = f"at least what the floors take, {least:g}" if least > 0 else "≥ 0"
    cure = "raise it or lower the floors" if least > 0 else "leave it out"
    refuse_first("budgets", budget, enough, needed, cure)
    return budget
