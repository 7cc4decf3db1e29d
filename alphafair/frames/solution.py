"""The calls: `allocate` for the doses, `solve` for what each group gets besides."""

from __future__ import annotations

from typing import Any, NamedTuple

from narwhals.typing import IntoFrameT

from ..allocation import Allocation
from ..checks import Integers, number
from ..problem import Problem
from ..utility import check_alpha
from . import engine
from .checks import Columns, check_columns, known_frame, marked_rows
from .doses import doses_of_rows, refuse_overflow, with_dose, with_series
from .lazy import solve_lazy
from .memory import Table
from .names import set_aside
from .repeats import refuse_repeats, refuse_same_rows
from .stages import by_person, take_census, within_groups


class Solution(NamedTuple):
    """A solved frame.

    Attributes:
        frame: the native frame with the column ``dose``; lazy if the input is.
        groups: the `Allocation` across groups: ``group_labels``, ``group_budget``,
            ``group_utility``, ``price``.  Without cap, floor and baseline each group stands in it
            as one person of benefit p_k; else its table has a row a person, in the order of their
            first rows in the frame.  With those and a lazy frame it has no table: what belongs to
            people, such as ``dose`` and ``gradient()``, is refused.
        size: (K,) G_k, the number of people of each group, in the order of ``group_labels``.
    """

    frame: Any
    groups: Allocation
    size: Integers


def allocate(
    frame: IntoFrameT,
    *,
    benefit: str,
    cost: str | float,
    group: str,
    budget: float,
    alpha: float,
    person: str | None = None,
    treatment: str | None = None,
    within: float = 0.0,
    weight: Any = None,
    baseline: str | float | None = None,
    floor: str | float | None = None,
    cap: str | float | None = None,
    exclusive: bool = False,
    group_floor: Any = None,
    group_cap: Any = None,
) -> IntoFrameT:
    """The α-fair allocation of a budget, as one more column ``dose`` of a data frame.

    Any frame that narwhals knows: pandas, Polars, PyArrow; lazy ones (Polars' LazyFrame, DuckDB
    relations, Dask, PySpark) stay lazy: they are read a few times for one row a group, with bounds
    a few times more for what lies at the margin, and the doses are computed when the result is.
    Doses equal those of `alphafair.allocate` on arrays, but for ties: lazy engines have no first
    row, so tied best rows of a group (of a person, at within > 0) share its money equally, which is
    as good.

    A lazy frame must give the same rows each time it is read.  Two reads are compared, and a sample
    (DuckDB's ``USING SAMPLE``) or a column of random numbers is refused: draw it once, into a table
    or by ``collect``, ``persist``, ``cache``.  What is changed after the call, before the result is
    computed, cannot be seen here: the groups' budgets are those of the rows as they were, the doses
    are computed from the rows as they are, and may cost more or less than the budget.

    Args:
        frame: one row a (person, treatment), in any order.
        benefit: column of b, utility of one unit of dose, finite; rows ≤ 0 are never chosen.
        cost: column of c, or one number: money for one unit of dose, finite, > 0.
        group: column of labels; missing ones are refused.
        budget: Q ≥ 0, in units of money.
        alpha: α in [0, ∞], aversion to inequality across groups.
        person: column that says whose row it is; without it each row is a person of its own.
        treatment: column that says what a row offers to its person.  It changes no dose; each pair
            (person, treatment) may then occur once.  Without it, rows of a person that are the same
            in every column of the frame are refused where there are caps or floors, which each of
            them would get.
        within: ε in [0, ∞], aversion to inequality inside a group.
        weight: (K,) in the order of the sorted labels, or mapping label → w, > 0, or ``"size"``;
            default 1.
        baseline: column of the utility that the row's person has already, the same in all rows of a
            person, or one number, finite, ≥ 0.
        floor: column of lower bounds of the doses, or one number, 0 ≤ floor ≤ cap, finite.
        cap: column of upper bounds of the doses, or one number, may be ∞.
        exclusive: True for at most one row a person, Σ dose/cap ≤ 1 over her rows; needs finite
            caps.  A part of a cap is a lottery.  Without ``person`` each row is a person of its
            own, and nothing is excluded.
        group_floor, group_cap: (K,) in the order of the sorted labels, or mapping label → money:
            bounds of the groups' budgets.

    Returns:
        The same kind of frame with the same columns and ``dose``.  Rows stay in their order, and
        pandas and Dask keep index and partitions; DuckDB and Spark promise no order, so name a
        column by which to sort or join.

    Raises:
        ValueError, TypeError: bad input; the message names the column, the row (for lazy frames a
            group) and the cure.

    References:
        The derivation is in the book's chapter "The closed form".

    Example:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"uplift": [2.0, 1.0, 1.0], "district": ["a", "a", "b"]})
        >>> result = allocate(
        ...     frame, benefit="uplift", cost=1.0, group="district", budget=6.0, alpha=1
        ... )
        >>> result["dose"].to_list()
        [3.0, 0.0, 3.0]
    """
    solution: IntoFrameT = solve(
        frame,
        benefit=benefit,
        cost=cost,
        group=group,
        budget=budget,
        alpha=alpha,
        person=person,
        treatment=treatment,
        within=within,
        weight=weight,
        baseline=baseline,
        floor=floor,
        cap=cap,
        exclusive=exclusive,
        group_floor=group_floor,
        group_cap=group_cap,
    ).frame
    return solution


def solve(
    frame: Any,
    *,
    benefit: str,
    cost: str | float,
    group: str,
    budget: float,
    alpha: float,
    person: str | None = None,
    treatment: str | None = None,
    within: float = 0.0,
    weight: Any = None,
    baseline: str | float | None = None,
    floor: str | float | None = None,
    cap: str | float | None = None,
    exclusive: bool = False,
    group_floor: Any = None,
    group_cap: Any = None,
) -> Solution:
    """`allocate`, with what each group gets.

    Args, raises: as for `allocate`.

    Returns:
        `Solution`: the frame with its doses, the allocation across groups, the groups' sizes.

    Example:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"uplift": [2.0, 1.0, 1.0], "district": ["a", "a", "b"]})
        >>> columns = {"benefit": "uplift", "cost": 1.0, "group": "district"}
        >>> solution = solve(frame, **columns, budget=6.0, alpha=1)
        >>> solution.groups.group_budget, solution.size
        (array([3., 3.]), array([2, 1]))
    """
    alpha = check_alpha(alpha)
    within = number("within", within, "between 0 and infinity", lambda v: v >= 0)
    native = known_frame(frame)
    columns = Columns(benefit, cost, group, person, baseline, floor, cap, treatment, exclusive)
    check_columns(native, columns)
    table, columns = set_aside(native, columns)
    rows = marked_rows(table, columns)
    people = by_person(rows, columns)
    census = take_census(rows, people, columns)
    bounds = {"group_floor": group_floor, "group_cap": group_cap}
    refuse_repeats(rows, columns)
    if columns.in_memory and not engine.is_eager(native):
        refuse_same_rows(native, rows, columns)
        asked = {"budget": budget, "alpha": alpha, "within": within, "weight": weight}
        doses, groups = solve_lazy(rows, census, columns, **asked, **bounds)
        return Solution(with_dose(native, doses, columns), groups, census.size)
    if columns.in_memory:
        places = Table.of(rows, columns)
        refuse_same_rows(native, rows, columns, places.person)
        groups = places.problem(rows, columns, budget, within, weight, **bounds).allocate(alpha)
        return Solution(with_series(native, places.of_rows(groups.dose)), groups, census.size)
    if isinstance(weight, str) and weight == "size":  # people, of whom the problem below has K
        weight = census.size.astype(float)
    # Within groups: the engine finds what one unit of budget is worth in each of them.
    stage = within_groups(people, census, columns, within)
    # Across groups: a group is now as good as one person of benefit p_k, at cost 1.
    problem = Problem(stage.productivity, 1.0, census.label, budget, weight=weight, **bounds)
    groups = problem.allocate(alpha)
    # Back to the rows: x_k y_i / c on the best row of whoever is funded.
    refuse_overflow(groups.group_budget, census)
    doses = doses_of_rows(rows, census, columns, stage, groups.group_budget)
    return Solution(with_dose(native, doses, columns), groups, census.size)
