"""The inputs of an allocation problem, checked and converted, once.

A problem is N people in K groups, T treatments, the benefit ``b`` and the cost ``c`` of one unit
of dose for each (person, treatment), and a budget ``Q``; and, where given, what people have already
(``baseline``), bounds of the doses (``floor``, ``cap``) and of the groups' budgets::

    maximise  Σ_k w_k φ_α(U_k)      U_k = M_{1−ε}(u_i, i in k)      u_i = a_i + Σ_t b_it d_it
    subject to  floor ≤ d ≤ cap,   Σ c d ≤ Q,   group_floor_k ≤ x_k ≤ group_cap_k

and, where offers are exclusive, Σ_t d_it/cap_it ≤ 1 for each person.

What follows from them is elsewhere: what money is worth inside a group in `alphafair.value`, the
split across groups in `alphafair.closed_form`, the answer in `alphafair.allocation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .allocation import Allocation
from .checks import (
    FREE,
    Floats,
    Integers,
    broadcast_table,
    column,
    number,
    real_table,
    reals,
    refuse_first,
)
from .closed_form import budget_shares, price_search
from .exclusive import Ladder, ladder, spans
from .groups import Groups, by_group, group_weights, refuse_group
from .kernels import (
    LARGEST_RATIO,  # beyond it, or below its inverse, b/c is computed in other units
    SORTED_LARGE,
    compiles,
    group_extremes,
    group_sum,
)
from .scan import best_of_persons, best_ratios
from .utility import check_alpha
from .value import (
    Chains,
    Funded,
    GroupMeans,
    Linear,
    Value,
    compiled_knapsack,
    group_means,
    knapsack,
    levels,
    log_relative,
    logarithms,
    person_shares,
    refuse_extremes,
)

if TYPE_CHECKING:
    from .chunks import ChunkedProblem
    from .paths import AlphaPath

LEAST_WITHIN = 1e-6  # at ε > 0 levels are logarithms of the order of 1/ε, with 16 digits in all
SLACK = 1e-12  # bounds may contradict the budget by the rounding of a sum


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Problem:
    """An allocation problem, validated once; then `allocate` answers each α in microseconds.

    Args:
        benefit: b, (N,), (N, 1) or (N, T): utility of one unit of dose, finite.  Items ≤ 0 are
            never chosen; each group needs one item > 0, or something already.
        cost: c, scalar, (N,), (N, 1), (1, T) or (N, T): money for one unit of dose, finite, > 0.
        group: (N,) or (N, 1) labels, or `Groups`.
        budget: Q ≥ 0, finite, in units of money.
        within: ε in [0, ∞], aversion to inequality inside a group.  The utility of a group is
            ``((1/G) Σ_i u_i^{1−ε})^{1/(1−ε)}`` with ``u_i = baseline_i + Σ_t b_it d_it``; 0 is the
            plain mean.
        weight: w, (K,) in the order of the sorted labels, or a mapping label → w, > 0, or
            ``"size"`` for w_k = G_k; None gives every group weight 1.
        baseline: a, scalar or (N,), ≥ 0, finite: utility that a person has already.  At within = 0
            only the mean of each group matters.  None is 0.
        floor: lower bounds of the doses, scalar, (N,), (N, 1), (1, T) or (N, T), 0 ≤ floor ≤ cap,
            finite.  None is 0.
        cap: upper bounds of the doses, of the same shapes, ≥ 0, may be ∞; None is no bound.
        exclusive: True for at most one treatment a person: Σ_t d_it/cap_it ≤ 1.  Needs finite
            caps, the doses of whole offers; parts of offers are a lottery (`alphafair.exclusive`).
        group_floor: (K,) or a mapping label → money, ≥ 0: least budget of each group.
        group_cap: (K,) or a mapping label → money, ≥ 0, may be ∞: largest budget of each group.

    Attributes:
        benefit: (N, T), in double precision.
        cost: (N, T), in double precision.
        given: both as they came, float64 or float32.
        cap: (N, T) largest doses; None where no dose is bounded.
        floor: (N, T) least doses; None where no dose is bounded.
        baseline: (N,); None where nobody has anything.
        exclusive: whether a person gets one treatment at most.
        ladder: where offers are exclusive, the steps of each person's offers; else None.
        in_steps: where offers are exclusive, the problem in these steps; else None.
        group_floor: (K,) least budgets; None where no group's budget is bounded.
        group_cap: (K,) largest budgets; None where no group's budget is bounded.
        groups: the `Groups`.
        weight: (K,) w.
        value: what money is worth inside each group (`alphafair.value`), in relative units.
        productivity: (K,) without bounds p_k, utility for one unit of budget; with bounds the
            slope of the group's best item (in units of 2**unit; unit = 0 unless b/c leaves the
            doubles).
        log_weight: (K,) log(w / max w), which the closed form needs.
        log_productivity: (K,) log(p / max p), which it needs as well; None where V is not linear.
        best_item: (K, 2) rows (i, t): the item of largest b/c of each group that can move; the
            first in row order where several tie; (−1, −1) where there is none.
        funded: `Funded`, the items that get money where nothing is bounded.

    The tables are not copied when they are float64 already, and float32 ones not at within = 0: do
    not change them afterwards.

    Raises:
        ValueError: a value out of its range, NaN, shapes that do not fit, a group without a
            positive benefit, bounds that contradict each other or the budget.  The message names
            the argument, the first offending entry, the cure.
        TypeError: arguments of the wrong kind (text for a number, for example).

    Example:
        >>> problem = Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], budget=6.0)
        >>> problem.productivity
        array([1.5, 2. ])
        >>> problem.allocate(1).group_budget
        array([3., 3.])
        >>> problem = Problem([3.0, 2.0], 1.0, ["a", "b"], budget=6.0, baseline=[0.0, 6.0])
        >>> problem.allocate(1).group_budget      # b has 6 already
        array([4.5, 1.5])
    """

    given: tuple[Floats, Floats]
    cap: Floats | None
    floor: Floats | None
    baseline: Floats | None
    exclusive: bool
    group_floor: Floats | None
    group_cap: Floats | None
    groups: Groups
    budget: float
    within: float
    weight: Floats
    productivity: Floats
    _best_item: Integers  # (K,) flat, i·T + t
    log_weight: Floats
    log_productivity: Floats | None
    _log_p: Floats | None  # (K,) log p where p itself underflows
    # At ε > 0 everybody's best ratio (N,) and its treatment, and the groups' means of the ratios.
    _persons: tuple[Floats, Integers, GroupMeans | None] | None
    spent_at_floors: Floats  # (K,) Σ c·floor
    base: Floats | None  # (N,) a + Σ b·floor; None for 0
    ratio_unit: float  # the largest b/c
    unit: int  # true utility = 2**unit × utility as computed here; 0 unless b/c is extreme
    ladder: Ladder | None
    in_steps: Problem | None

    def __init__(
        self,
        benefit: ArrayLike,
        cost: ArrayLike,
        group: ArrayLike | Groups,
        budget: float,
        within: float = 0.0,
        weight: Any = None,
        cap: ArrayLike | None = None,
        *,
        baseline: ArrayLike | None = None,
        floor: ArrayLike | None = None,
        exclusive: bool = False,
        group_floor: Any = None,
        group_cap: Any = None,
    ) -> None:
        within = number("within", within, "between 0 and infinity", lambda v: v >= 0)
        single = within == 0  # the scan of the groups reads float32 as it is
        b, c = (
            real_table(name, table, single=single)
            for name, table in (("benefit", benefit), ("cost", cost))
        )
        groups = group if isinstance(group, Groups) else Groups(group)
        budget = number("budget", budget, "finite and ≥ 0", lambda v: 0 <= v < np.inf)
        shape = common_shape(b, c, groups)
        bounds = _dose_bounds(floor, cap, shape)
        exclusive = _flag("exclusive", exclusive)
        left, room = spans(*bounds) if exclusive else (None, None)
        can_move = _that_can_move(b, bounds if room is None else (None, room))
        # One scan finds the best item of every group (ε = 0) or of every person (ε > 0).
        count = groups.label.size
        ratio = treatment = means = None
        if within == 0:
            best, best_item, unit = _best_ratios(can_move, c, shape, groups.code, count)
        else:
            ratio, treatment, unit = _best_of_persons(can_move, c, shape)
            least, best, person = group_extremes(ratio, groups.code, count)
            best_item = np.where(best > 0, person * shape[1] + treatment[person], -1)
        fields: dict[str, Any] = {
            "given": tuple(np.broadcast_to(column(table), shape) for table in (b, c)),
            "floor": bounds[0],
            "cap": bounds[1],
            "exclusive": exclusive,
            "groups": groups,
            "budget": budget,
            "within": within,
            "weight": group_weights(weight, groups),
            "unit": unit,
            "ladder": None,
            "in_steps": None,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        self._set_start(baseline)
        if left is not None and shape[1] > 1:  # one treatment alone excludes none
            self._set_ladder(left)
        self._set_group_bounds(group_floor, group_cap)
        if not self.is_linear:
            refuse_tiny_within(within)
        _refuse_hopeless(best_item, ratio, self)
        # Where everybody is a group, dividing by 1 would only make another array.
        productivity = best if groups.size.max() == 1 else best / groups.size
        log_p = relative = None
        if self.is_linear:
            if ratio is not None:
                means = group_means(ratio, least, best, groups, within)
                productivity = means.mean / groups.size
            relative, log_p = logarithms(
                productivity,
                lambda: (np.log(best) if means is None else means.log_mean) - np.log(groups.size),
            )
        fields = {
            "productivity": productivity,
            "log_weight": log_relative(self.weight),
            "log_productivity": relative,
            "_log_p": log_p,
            "_best_item": best_item,
            "_persons": None if ratio is None else (ratio, treatment, means),
            "ratio_unit": float(best.max()) or 1.0,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        if self.ladder is not None:
            self._set_in_steps(self.ladder)

    @staticmethod
    def from_chunks(
        chunks: Iterable[Any] | Callable[[], Iterable[Any]],
        budget: float,
        *,
        within: float = 0.0,
        weight: Any = None,
        benefit: str | Sequence[str] = "benefit",
        cost: str | float | Sequence[str | float] = "cost",
        group: str = "group",
        group_floor: Any = None,
        group_cap: Any = None,
        baseline: Any = None,
        floor: Any = None,
        cap: Any = None,
        exclusive: bool = False,
    ) -> ChunkedProblem:
        """The problem of a table that does not fit in memory, in one pass over its rows.

        It holds one row for each group.  At within = 0 budgets, utilities, welfare, prices and best
        items are those of ``Problem`` on the whole table to the last bit, however it is cut; at
        within > 0 up to a few roundings (`alphafair.chunks`).

        Args:
            chunks: an iterable of chunks, or a function that returns one.  A chunk is some rows of
                the table: a tuple (benefit, cost, group) of arrays as in ``Problem``, or anything
                with named columns, such as a mapping, a structured array, a data frame or a record
                batch of Arrow.  Arrays of numpy and Arrow are read where they are, memory maps too;
                what is not float64 is converted chunk by chunk.  Some 10⁶ rows are a good size.
                For CSV ``pandas.read_csv(path, chunksize=10**6)``, for Parquet
                ``pyarrow.parquet.ParquetFile(path, pre_buffer=False).iter_batches(10**6)``, which
                with its buffer would hold the whole file.
            budget, within, weight, group_floor, group_cap: as in ``Problem``.
            benefit: the name of the column, or of T columns, one a treatment.
            cost: the same; a number in place of a name is the cost in all rows.
            group: the name of the column; an Arrow dictionary (categories) is the fastest.
            baseline, floor, cap, exclusive: refused, because a group with them has no short
                summary; `alphafair.frames.allocate` knows them on tables of any size.

        Returns:
            `ChunkedProblem`.  The doses of its people are in
            `alphafair.chunks.ChunkedAllocation.funded_doses`, without another pass, and
            `alphafair.chunks.ChunkedAllocation.dose_chunks`, in a second one.

        Raises:
            ValueError, TypeError: bad input; rows are counted over all chunks.

        Example:
            >>> north = [3.0, 1.0], 1.0, ["north", "north"]      # benefit, cost, group
            >>> both = [2.0, 4.0], [1.0, 2.0], ["south", "north"]
            >>> problem = Problem.from_chunks([north, both], budget=6.0)
            >>> problem
            ChunkedProblem(N=4, T=1, K=2, budget=6, within=0)
            >>> problem.allocate(1).group_budget, problem.best_item[:, 0]
            (array([3., 3.]), array([0, 2]))
        """
        from .chunks import from_chunks

        return from_chunks(
            chunks,
            budget,
            within=within,
            weight=weight,
            benefit=benefit,
            cost=cost,
            group=group,
            group_floor=group_floor,
            group_cap=group_cap,
            baseline=baseline,
            floor=floor,
            cap=cap,
            exclusive=exclusive,
        )

    # --- the answers --------------------------------------------------------------------------
    def allocate(self, alpha: float) -> Allocation:
        """The optimal `Allocation` at α in [0, ∞].

        O(K) where nothing is bounded and nobody has anything yet.  Elsewhere O(n log n) for n items
        at the first α, and a few dozen sums over the groups for each further one.

        Raises:
            ValueError, TypeError: α out of its range, or no number.

        Example:
            >>> problem = Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
            >>> [problem.allocate(alpha).group_budget.tolist() for alpha in (0, 1, np.inf)]
            [[0.0, 3.0], [1.5, 1.5], [2.0, 1.0]]
            >>> problem = Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0, cap=2.0)
            >>> [problem.allocate(alpha).group_budget.tolist() for alpha in (0, 1, np.inf)]
            [[1.0, 2.0], [1.5, 1.5], [2.0, 1.0]]
        """
        alpha = check_alpha(alpha)
        value = self.value
        if isinstance(value, Linear):
            assert self.log_productivity is not None
            return Allocation(
                alpha, self, budget_shares(self.log_weight, self.log_productivity, alpha)
            )
        if self.budget == 0:
            return Allocation(alpha, self, self._first_shares(alpha))
        least, most = (
            None if bound is None else bound / self.money_unit
            for bound in (self.group_floor, self.group_cap)
        )
        return Allocation(
            alpha, self, price_search(value, self.log_weight, alpha, 1.0, least, most)
        )

    def allocate_many(self, alphas: ArrayLike) -> AlphaPath:
        """The optima at many α: a table, one row an α, each what `allocate` gives, to the last bit.

        O(A K) in one softmax where nothing is bounded and nobody has anything yet; elsewhere one
        search after the other.

        Args:
            alphas: (A,) α in [0, ∞], in any order.

        Returns:
            `AlphaPath`.

        Raises:
            ValueError, TypeError: no α, one out of its range, or no numbers.

        Example:
            >>> problem = Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
            >>> path = problem.allocate_many([0, 1, np.inf])
            >>> path.group_budget.tolist()
            [[0.0, 3.0], [1.5, 1.5], [2.0, 1.0]]
            >>> path.equivalent_utility.round(3), path[1].dose[:, 0]
            (array([3.   , 2.121, 2.   ]), array([1.5, 1.5]))
        """
        from .paths import alpha_path

        return alpha_path(self, alphas)

    def group_utility(self, money: ArrayLike) -> Floats:
        """V_k(x_k): the most utility that each group can have from this money.

        Args:
            money: (K,) x, or a number for all groups, finite, at least what the floors cost.

        Returns:
            (K,) in units of utility; constant beyond the money that takes all caps.

        Raises:
            ValueError: another shape, money that is not finite or does not pay for the floors.

        Example:
            >>> problem = Problem([3.0, 1.0], 1.0, ["a", "a"], budget=5.0, cap=2.0)
            >>> [problem.group_utility(x).item() for x in (0, 2, 4, 6)]
            [0.0, 3.0, 4.0, 4.0]
        """
        value, x = self._value_for(money)
        return self.absolute_utility(value.at(x[0]).utility, x[1])

    def marginal_utility(self, money: ArrayLike) -> Floats:
        """V_k'(x_k+): what one more unit of money buys in each group, the slope to the right.

        Args:
            money: as in `group_utility`.

        Returns:
            (K,) utility for money; 0 where all caps are reached, ∞ where somebody has nothing yet
            while others have, at within > 0.

        Raises:
            ValueError: as in `group_utility`.

        Example:
            >>> problem = Problem([3.0, 1.0], 1.0, ["a", "a"], budget=5.0, cap=2.0)
            >>> [problem.marginal_utility(x).item() for x in (0, 2, 4)]
            [1.5, 0.5, 0.0]
        """
        value, x = self._value_for(money)
        with np.errstate(over="ignore", under="ignore"):
            slope = np.exp(value.at(x[0]).log_slope)
            slope = slope if isinstance(value, Linear) else slope * self.ratio_unit
            return np.asarray(np.ldexp(slope, self.unit))

    # --- the inputs ---------------------------------------------------------------------------
    @cached_property
    def benefit(self) -> Floats:
        """(N, T) b, in double precision; made when asked for where it came as float32."""
        return self.given[0].astype(float, copy=False)

    @cached_property
    def cost(self) -> Floats:
        """(N, T) c, in double precision; made when asked for where it came as float32."""
        return self.given[1].astype(float, copy=False)

    @cached_property
    def best_item(self) -> Integers:
        """(K, 2) rows (i, t): each group's item of largest b/c; (−1, −1) where none can move."""
        item = self._best_item
        return np.where(item[:, None] < 0, -1, np.stack(np.divmod(item, self.shape[1]), axis=1))

    # --- units --------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, int]:
        """(N, T)."""
        rows, columns = self.given[0].shape
        return rows, columns

    @property
    def is_linear(self) -> bool:
        """Whether V is linear: nobody has anything yet and nothing is bounded."""
        given = (self.base, self.cap, self.floor, self.group_floor, self.group_cap)
        return all(argument is None for argument in given)

    @cached_property
    def money_unit(self) -> float:
        """The money that is 1 in `alphafair.value`: the budget; on a path, the largest of all."""
        return self.budget or 1.0

    @property
    def log_ratio_unit(self) -> float:
        """Logarithm of the unit of utility for money in `alphafair.value`."""
        unit = 1.0 if isinstance(self.value, Linear) else self.ratio_unit
        return float(np.log(unit) + self.unit * np.log(2.0))

    @property
    def log_utility_unit(self) -> float:
        """Logarithm of the unit of utility in `alphafair.value`."""
        return float(self.log_ratio_unit + np.log(self.money_unit))

    def absolute_utility(self, relative: Floats, money_unit: float | None = None) -> Floats:
        """Utility in true units from the relative ones of `alphafair.value`."""
        unit = 1.0 if isinstance(self.value, Linear) else self.ratio_unit
        with np.errstate(over="ignore", under="ignore"):
            utility = relative * (unit * (money_unit or self.money_unit))
            return np.asarray(np.ldexp(utility, self.unit))

    # --- what money is worth --------------------------------------------------------------------
    @cached_property
    def funded(self) -> Funded:
        """`Funded`: the items that get money where nothing is bounded."""
        if self._persons is None:
            person, treatment = self.best_item[self.best_item[:, 0] >= 0].T
            return Funded(person, treatment, self.groups.code[person], np.ones(person.size))
        ratio, treatment, means = self._persons
        code, person = self.groups.code, np.arange(ratio.size)
        share = np.ones(ratio.size) if means is None else person_shares(ratio, code, means)
        able = ratio > 0
        if not able.all():
            person, treatment = person[able], treatment[able]
            code, share = code[able], share[able]
        return Funded(person, treatment.astype(np.intp), code, share)

    @cached_property
    def value(self) -> Value:
        """What money is worth inside each group; computed once."""
        return self._build_value(self.money_unit)

    def _build_value(self, scale: float) -> Value:
        if self.in_steps is not None:
            return self.in_steps._build_value(scale)
        if self.is_linear:
            return Linear(self.productivity, self._log_p)
        spent = self.spent_at_floors / scale
        base = None
        if self.base is not None:
            with np.errstate(over="ignore", under="ignore"):
                base = np.ldexp(self.base, -self.unit) / self.ratio_unit / scale
            refuse_first(
                "baseline" if self.floor is None else "utility at the floors, of person ",
                self.base,
                (np.abs(base) < LARGEST_RATIO) & ((base != 0) | (self.base == 0)),
                f"within a factor of {LARGEST_RATIO:g} of what the budget can buy",
                "set what is negligible to 0",
            )
        large = compiles(self.benefit.size, SORTED_LARGE)
        if self.within == 0 and self.cap is not None and large:
            floor = np.zeros((1, 1)) if self.floor is None else self.floor
            tables = (self.benefit, self.cost, floor, self.cap)
            ratio = self._ratios() if self.unit else None
            unit = self.ratio_unit
            return compiled_knapsack(tables, ratio, unit, scale, self.groups, base, spent)
        chains = self._chains(scale, base, spent)
        if self.within == 0:
            return knapsack(chains, self.groups)
        return levels(chains, self.groups, self.within)

    def _chains(self, scale: float, base: Floats | None, spent: Floats) -> Chains:
        """The items that can move, sorted: with caps all of them, else the best ones."""
        treatments = self.shape[1]
        if self.cap is None:
            item = self.funded.person * treatments + self.funded.treatment
        else:
            open_ = self.cap > (0.0 if self.floor is None else self.floor)
            item = np.flatnonzero((self.benefit > 0) & open_)
        index = np.unravel_index(item, self.shape)
        person, code = index[0], self.groups.code[index[0]]
        with np.errstate(under="ignore"):
            ratio = self._ratios()[index] / self.ratio_unit
        order = np.lexsort((-ratio, code if self.within == 0 else person))
        length = np.full(item.size, np.inf)
        if self.cap is not None:
            room = self.cap[index] - (0.0 if self.floor is None else self.floor[index])
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                length = room * (self.cost[index] / scale)
            length[room == np.inf] = np.inf
        refuse_extremes(item, code, ratio, length, treatments)
        return Chains(
            item[order],
            person[order],
            code[order],
            ratio[order],
            length[order],
            np.zeros(self.shape[0]) if base is None else base,
            spent,
        )

    def _ratios(self) -> Floats:
        """(N, T) b/c, in units of 2**unit."""
        if not self.unit:
            return np.asarray(self.benefit / self.cost)
        (b, power_b), (c, power_c) = np.frexp(self.benefit), np.frexp(self.cost)
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(b / c, power_b - power_c - self.unit))

    def _value_for(self, money: ArrayLike) -> tuple[Value, tuple[Floats, float]]:
        """The value functions, and (K,) money in their unit, with the unit."""
        x = reals("money", money)
        if x.shape not in ((), self.groups.label.shape):
            raise ValueError(
                f"money has shape {x.shape}: must be a number or ({self.groups.label.size},), one "
                f"for each group"
            )
        x = np.broadcast_to(x, self.groups.label.shape)
        refuse_first("money", x, np.isfinite(x), "finite")
        short = x < self.spent_at_floors * (1 - SLACK)
        if short.any():
            k = int(np.argmax(short))
            raise ValueError(
                f"money[{k}] (group {self.groups.label[k]!s}) is {x[k]}: must be at least what the "
                f"group's floors cost, {self.spent_at_floors[k]}"
            )
        unit = self.money_unit
        if self.is_linear or x.max() <= 1.5 * unit:  # longer pieces are cut
            return self.value, (x / unit, unit)
        unit = float(x.max())
        return self._build_value(unit), (x / unit, unit)

    def _first_shares(self, alpha: float) -> Floats:
        """(K,) how the groups would share the first unit of money, where the budget is 0."""
        first = Allocation(alpha, self, np.zeros(self.groups.label.size))
        share = np.zeros(self.groups.label.size)
        some = np.flatnonzero(first.is_open)
        if some.size == 0:
            return share
        share[some] = 1 / some.size
        log_value, log_slope = first.point.log_utility[some], first.point.log_slope[some]
        alike = alpha == np.inf or (alpha > 0 and np.isneginf(log_value).all())
        if alike and np.isfinite(log_slope).all():  # V = V(0) + V'(0) x near 0: the closed form
            share[some] = budget_shares(self.log_weight[some], log_slope, alpha)
        return share

    # --- checks that need more than one argument ----------------------------------------------
    def _set_start(self, baseline: ArrayLike | None) -> None:
        """Set ``baseline``, ``base`` and ``spent_at_floors``."""
        persons = self.shape[0]
        have, spent = None, np.zeros(self.groups.label.size)
        if baseline is not None:
            have = real_table("baseline", baseline)
            if have.shape not in ((), (1,), (persons,), (persons, 1)):
                raise ValueError(
                    f"baseline has shape {have.shape}: must be a scalar or (N,) = ({persons},), "
                    f"one number for each person"
                )
            refuse_first(
                "baseline",
                have,
                np.isfinite(have) & (have >= 0),
                "finite and ≥ 0",
                "what a person owes is no utility: shift everybody's by the same amount",
            )
            have = np.array(np.broadcast_to(have.reshape(-1), persons))
        base = have
        if self.floor is not None:
            cost = (self.cost * self.floor).sum(axis=1)
            total = float(cost.sum())
            if total > self.budget * (1 + SLACK):
                raise ValueError(
                    f"floor costs {total:g} in all (Σ cost·floor), more than the budget of "
                    f"{self.budget:g}: raise the budget or lower the floors"
                )
            spent = group_sum(cost, self.groups.code, spent.size)
            base = (self.benefit * self.floor).sum(axis=1) + (0.0 if have is None else have)
            below = base < 0
            if self.within == 0:  # only the mean counts
                mean = group_sum(base, self.groups.code, spent.size)
                below = below & (mean < 0)[self.groups.code]
            if below.any():
                i = int(np.argmax(below))
                raise ValueError(
                    f"floor leaves person {i} with a utility of {base[i]}: must be ≥ 0; a floor on "
                    f"an item with a negative benefit takes away more than there is: lower it, or "
                    f"give a baseline"
                )
        object.__setattr__(self, "baseline", have)
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "spent_at_floors", spent)

    def _set_ladder(self, left: Floats) -> None:
        """Set ``ladder``, what each person can be offered."""
        assert self.cap is not None
        steps = ladder(self.benefit, self.cost, self.cap, self.floor, left)
        object.__setattr__(self, "ladder", steps)

    def _set_in_steps(self, steps: Ladder) -> None:
        """Set ``in_steps``, and the units of utility, which are those of its value."""
        same = ("baseline", "group_floor", "group_cap", "within", "weight")
        given = {name: getattr(self, name) for name in same}
        problem = Problem(group=self.groups, budget=self.budget, **steps.tables, **given)
        object.__setattr__(self, "in_steps", problem)
        for name in ("unit", "ratio_unit", "productivity"):
            object.__setattr__(self, name, getattr(problem, name))

    def _set_group_bounds(self, group_floor: Any, group_cap: Any) -> None:
        """Set ``group_floor`` and ``group_cap``, None where they bound nothing."""
        groups = self.groups
        cap = None
        if group_cap is not None:
            cap = by_group("group_cap", group_cap, groups)
            refuse_group("group_cap", cap, cap >= 0, groups, "≥ 0", "infinity is no bound")
            refuse_group(
                "group_cap",
                cap,
                cap >= self.spent_at_floors * (1 - SLACK),
                groups,
                "at least what the floors of its members cost",
                f"they cost {self.spent_at_floors.tolist()[:5]}",
            )
        floor = None
        if group_floor is not None:
            floor = by_group("group_floor", group_floor, groups)
            refuse_group(
                "group_floor", floor, np.isfinite(floor) & (floor >= 0), groups, "finite and ≥ 0",
                "0 is no bound",
            )  # fmt: skip
            above = np.full(floor.size, np.inf) if cap is None else cap
            most = self._most_money()
            for limit, whose in ((above, "its group_cap"), (most, "what its caps can take")):
                over = floor > limit * (1 + SLACK)
                if over.any():
                    k = int(np.argmax(over))
                    raise ValueError(
                        f"group_floor[{k}] (group {groups.label[k]!s}) is {floor[k]}: must be at "
                        f"most {whose}, {limit[k]}; lower the floor or raise the cap"
                    )
            total = float(np.maximum(floor, self.spent_at_floors).sum())
            if total > self.budget * (1 + SLACK):
                raise ValueError(
                    f"group_floor adds up to {total:g} (with what the floors of doses cost), more "
                    f"than the budget of {self.budget:g}: raise the budget or lower the floors"
                )
        object.__setattr__(self, "group_cap", cap)
        object.__setattr__(self, "group_floor", floor)

    def _most_money(self) -> Floats:
        """(K,) what the groups can spend at most; ∞ without caps."""
        size = self.groups.label.size
        if self.cap is None:
            return np.full(size, np.inf)
        if self.ladder is not None:
            steps = group_sum(self.ladder.length.sum(axis=1), self.groups.code, size)
            return np.asarray(self.spent_at_floors + steps)
        with np.errstate(over="ignore", invalid="ignore"):
            most = np.where(self.benefit > 0, self.cap, 0.0 if self.floor is None else self.floor)
            money = (self.cost * most).sum(axis=1)
        endless = np.bincount(self.groups.code, ~np.isfinite(money), size) > 0
        total = group_sum(np.where(np.isfinite(money), money, 0.0), self.groups.code, size)
        return np.where(endless, np.inf, total)

    def __repr__(self) -> str:
        return "Problem(N={}, T={}, K={}, budget={:g}, within={:g})".format(
            *self.shape, len(self.groups.label), self.budget, self.within
        )


def allocate(
    benefit: ArrayLike,
    cost: ArrayLike,
    group: ArrayLike | Groups,
    budget: float,
    alpha: float,
    *,
    within: float = 0.0,
    weight: Any = None,
    cap: ArrayLike | None = None,
    baseline: ArrayLike | None = None,
    floor: ArrayLike | None = None,
    exclusive: bool = False,
    group_floor: Any = None,
    group_cap: Any = None,
) -> Allocation:
    """The α-fair allocation of a budget, exactly.

    Maximises ``Σ_k w_k φ_α(U_k)`` over doses with ``Σ c_it d_it ≤ Q``, where U_k is the mean
    (``within`` = 0) or the equally-distributed equivalent of its members' utilities
    ``u_i = baseline_i + Σ_t b_it d_it``.

    Args:
        benefit: b, (N,), (N, 1) or (N, T): utility of one unit of dose, finite.
        cost: c, scalar, (N,), (N, 1), (1, T) or (N, T): money for one unit of dose, > 0.
        group: (N,) or (N, 1) labels, or `Groups`.
        budget: Q ≥ 0, in units of money.
        alpha: α in [0, ∞], aversion to inequality across groups.
        within: ε in [0, ∞], aversion to inequality inside a group.
        weight: (K,) or mapping label → w, > 0, or ``"size"``; default 1.
        cap: upper bounds of the doses, scalar or broadcastable to (N, T), ≥ 0, may be ∞.
        baseline: a, scalar or (N,), ≥ 0: utility that people have already.
        floor: lower bounds of the doses, scalar or broadcastable to (N, T), 0 ≤ floor ≤ cap.
        exclusive: True for at most one treatment a person, Σ_t d_it/cap_it ≤ 1; needs finite caps.
        group_floor, group_cap: (K,) or mapping label → money: bounds of the groups' budgets.

    Returns:
        `Allocation`.

    Raises:
        ValueError, TypeError: bad input; the message names the argument, the entry and the cure.

    References:
        Mo and Walrand (2000) for α-fairness; Bertsimas, Farias and Trichakis (2012) for the
        trade-off.  The derivation is in the book's chapter "The closed form".

    Example:
        >>> a = allocate([2.0, 1.0], [1.0, 1.0], ["near", "far"], budget=3.0, alpha=np.inf)
        >>> a.dose[:, 0], a.group_utility
        (array([1., 2.]), array([2., 2.]))
    """
    problem = Problem(
        benefit,
        cost,
        group,
        budget,
        within,
        weight,
        cap,
        baseline=baseline,
        floor=floor,
        exclusive=exclusive,
        group_floor=group_floor,
        group_cap=group_cap,
    )
    return problem.allocate(alpha)


# --- checks ---
def refuse_tiny_within(within: float) -> None:
    """ValueError about ε > 0 below `LEAST_WITHIN`, for problems in which V is not linear."""
    if 0 < within < LEAST_WITHIN:
        raise ValueError(
            f"within is {within}: with bounds or a baseline it must be 0 or at least "
            f"{LEAST_WITHIN:g}; below, the shares of people, which go as (b/c)**(1/within), "
            f"leave the doubles: use 0, which changes no utility by a millionth part"
        )


def _best_ratios(
    benefit: Floats, cost: Floats, shape: tuple[int, int], owner: Integers, owners: int
) -> tuple[Floats, Integers, int]:
    """Best ratio and flat item i·T + t of each owner (−1: no positive benefit), and the unit."""
    best, item, valid = best_ratios(benefit, cost, shape, owner, owners)
    if not valid:
        refuse_entry(benefit, cost)
    ordinary = best.min() >= 1 / LARGEST_RATIO and best.max() <= LARGEST_RATIO
    if ordinary or not _out_of_range(best, item).any():
        return best, item, 0
    # Ratios like 1e300/1e-300: measure b and c in other units, exact powers of two.
    benefit, cost = benefit.astype(float, copy=False), cost.astype(float, copy=False)
    unit_b, unit_c = np.frexp(benefit.max())[1], np.frexp(cost.min())[1]
    with np.errstate(over="ignore", under="ignore"):
        best, found, _ = best_ratios(
            np.ldexp(benefit, -unit_b), np.ldexp(cost, -unit_c), shape, owner, owners
        )
    lost = np.flatnonzero(_out_of_range(best, found) | ((item >= 0) & (found < 0)))
    if lost.size:
        i, t = divmod(int(item[lost[0]]), shape[1])
        raise ValueError(
            f"benefit and cost span too many orders of magnitude: the ratio of item ({i}, {t}) "
            f"and that of the best one differ by more than {LARGEST_RATIO:g}; "
            f"set negligible benefits to 0"
        )
    return best, found, int(unit_b - unit_c)


def _out_of_range(ratio: Floats, item: Integers) -> NDArray[np.bool_]:
    return (item >= 0) & ((ratio > LARGEST_RATIO) | (ratio < 1 / LARGEST_RATIO))


def refuse_entry(benefit: Floats, cost: Floats) -> NoReturn:
    """Find the first bad entry that the scan met, and say so."""
    missing = "drop that row or impute the value"
    refuse_first("benefit", benefit, np.isfinite(benefit), "finite", missing)
    refuse_first("cost", cost, np.isfinite(cost), "finite", missing)
    refuse_first("cost", cost, cost > 0, "> 0", FREE)
    raise AssertionError("unreachable: the scan and this function disagree")


def _best_of_persons(
    benefit: Floats, cost: Floats, shape: tuple[int, int]
) -> tuple[Floats, Integers, int]:
    """(N,) best ratio of each person, 0 for no positive benefit, its treatment, and the unit."""
    ratio, treatment, ordinary = best_of_persons(benefit, cost, shape)
    if ordinary:
        return ratio, treatment, 0
    persons = np.arange(shape[0])
    ratio, item, unit = _best_ratios(benefit, cost, shape, persons, shape[0])
    return ratio, np.where(item < 0, 0, item % shape[1]), unit


def _refuse_hopeless(best_item: Integers, ratio: Floats | None, problem: Problem) -> None:
    """ValueError about a group, or at ε ≥ 1 a person, whose utility is 0 whatever is spent."""
    groups, within, base = problem.groups, problem.within, problem.base
    hopeless = np.flatnonzero(best_item < 0)
    if base is not None and hopeless.size:
        hopeless = hopeless[np.bincount(groups.code, base, best_item.size)[hopeless] <= 0]
    if hopeless.size:
        bounded = problem.cap is not None
        label = groups.label[hopeless[0]]
        raise ValueError(
            f"group {label!s} has no item with a positive benefit{' and cap' if bounded else ''}: "
            f"no budget can give it utility; drop the group or correct its benefits"
            f"{' or caps' if bounded else ''}"
        )
    if ratio is None or within < 1 or ratio.min() > 0:
        return
    without = ratio == 0
    if base is not None:
        without &= base <= 0
    if without.any():
        i = int(np.argmax(without))
        raise ValueError(
            f"person {i} (group {groups.label[groups.code[i]]!s}) has no positive benefit, so with "
            f"within = {within:g} (1 or more) the group's utility is 0 for every allocation; "
            f"drop that person, give a baseline, or use within < 1"
        )


def common_shape(benefit: Floats, cost: Floats, groups: Groups) -> tuple[int, int]:
    """(N, T), where ``benefit`` fixes N; refuse what does not broadcast."""
    persons, columns = column(benefit).shape
    if benefit.ndim == 0:
        raise ValueError("benefit is a scalar: must have shape (N,), (N, 1) or (N, T)")
    if persons != len(groups):
        raise ValueError(
            f"group has {len(groups)} labels but benefit has {persons} rows (shape "
            f"{benefit.shape}): must be one label for each person"
        )
    rows, cost_columns = column(cost).shape
    treatments = max(columns, cost_columns)
    if (
        rows not in (1, persons)
        or columns not in (1, treatments)
        or (cost_columns not in (1, treatments))
    ):
        hint = ""
        if cost.ndim == 1 and cost.size == treatments:
            hint = "; for one cost a treatment pass cost[None, :]"
        raise ValueError(
            f"cost has shape {cost.shape} and benefit {benefit.shape}: cost must be a scalar, "
            f"(N,), (N, 1), (1, T) or (N, T){hint}"
        )
    return persons, treatments


def _dose_bounds(
    floor: ArrayLike | None, cap: ArrayLike | None, shape: tuple[int, int]
) -> tuple[Floats | None, Floats | None]:
    """(N, T) floors and caps of the doses; None where they bound nothing."""
    low = high = None
    if cap is not None:
        high = broadcast_table("cap", cap, shape)
        least = high.min()  # NaN if there is one
        if not least >= 0:
            given = np.asarray(cap, float)
            refuse_first("cap", given, given >= 0, "≥ 0", "infinity is no bound")
        high = None if least == np.inf else high
    if floor is not None:
        low = broadcast_table("floor", floor, shape)
        given = np.asarray(floor, float)
        refuse_first(
            "floor", given, np.isfinite(given) & (given >= 0), "finite and ≥ 0", "0 is no bound"
        )
        if high is not None and (low > high).any():
            i, t = np.unravel_index(int(np.argmax(low > high)), shape)
            raise ValueError(
                f"floor[{i}, {t}] is {low[i, t]} and cap[{i}, {t}] is {high[i, t]}: must be "
                f"floor ≤ cap; lower the floor or raise the cap"
            )
    return low, high


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def _that_can_move(benefit: Floats, bounds: tuple[Floats | None, Floats | None]) -> Floats:
    """The benefits, 0 on items whose dose is fixed; what is not finite stays, to be refused."""
    floor, cap = bounds
    if cap is None or (floor is None and cap.min() > 0):
        return benefit
    room = cap > (0.0 if floor is None else floor)
    b = column(benefit)
    return np.where(room | ~np.isfinite(b), b, 0.0)
