"""The answer: an optimal allocation, everything that one asks of it, each computed when asked for.

An optimum is fixed by each group's share of the budget; the doses, the utilities and the price
follow from what money is worth inside the groups (`alphafair.value`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import Floats, Integers
from .derivatives import DoseJacobian, WelfareGradient, welfare_gradient
from .kernels import fill, pay
from .utility import equivalent_utility, welfare
from .value import ROUNDING, Levels, Linear, Point, Spending

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from .problem import Problem
    from .whole import WholePlan

NEGLIGIBLE = 1e-150  # parts of the budget that may vanish in the doses
NEGLIGIBLE_IN_SINGLE = 1e-18  # the same in doses of four bytes


@dataclass(frozen=True, eq=False, repr=False)
class Allocation:
    """An optimal allocation.  Everything but ``group_share`` is computed when asked for.

    Attributes:
        alpha: α.
        problem: the `Problem` that it solves.
        group_share: (K,) each group's part of the budget; sums to 1, unless caps leave money over.
    """

    alpha: float
    problem: Problem
    group_share: Floats

    @property
    def group_labels(self) -> NDArray[Any]:
        """(K,) the sorted labels; every (K,) result is in this order."""
        return self.problem.groups.label

    @property
    def group_size(self) -> Integers:
        """(K,) G, the number of people of each group."""
        return self.problem.groups.size

    @property
    def best_item(self) -> Integers:
        """(K, 2) rows (i, t): each group's item of largest b/c, (−1, −1) where none can move."""
        return self.problem.best_item

    @property
    def productivity(self) -> Floats:
        """(K,) V'(0+), utility for the first unit of money beyond the floors; p without bounds."""
        problem = self.problem
        if isinstance(problem.value, Linear):
            slope = problem.value.productivity
        else:
            with np.errstate(over="ignore"):
                slope = np.exp(problem.value.at(problem.value.least).log_slope) * problem.ratio_unit
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.ldexp(slope, problem.unit))

    # --- money and utility ------------------------------------------------------------------
    @cached_property
    def group_budget(self) -> Floats:
        """(K,) x, the money of each group."""
        return self.problem.budget * self.group_share

    @cached_property
    def point(self) -> Point:
        """Where the groups stand, in the relative units of ``problem.value``."""
        return self.problem.value.at(self.money)

    @cached_property
    def money(self) -> Floats:
        """(K,) x in the relative units of ``problem.value``."""
        return self.group_share if self.problem.budget > 0 else 0.0 * self.group_share

    @cached_property
    def group_utility(self) -> Floats:
        """(K,) U, what the members have: mean, or equally-distributed equivalent if within > 0."""
        return self.problem.absolute_utility(self.point.utility)

    @cached_property
    def dose(self) -> Floats:
        """(N, T) d, built at the first use."""
        problem = self.problem
        with np.errstate(over="ignore"):
            if isinstance(problem.value, Linear):
                person, treatment, code, share = problem.funded
                money = self.group_budget[code] * share
                dose, ordinary = pay(problem.given[1], person, treatment, money)
                if ordinary:
                    return dose
                amount = dose[person, treatment]
                _refuse_lost(person, treatment, self.money[code] * share, amount)
            else:
                dose = self._dose_by_pieces if problem.ladder is None else self._dose_by_steps
                index = np.flatnonzero(~np.isfinite(dose))
                person, treatment = np.unravel_index(index, dose.shape)
                amount = dose[person, treatment]
        _refuse_endless(person, treatment, amount)
        return dose

    @property
    def _dose_by_pieces(self) -> Floats:
        """(N, T) the floor, the cap on filled items, what is left on the items that move."""
        problem, items = self.problem, self.spending
        shape = problem.shape
        dose = np.zeros(shape) if problem.floor is None else np.array(problem.floor)
        if problem.cap is not None:
            fill(dose, problem.cap, items.full)
        moves = np.unravel_index(items.moves, shape)
        amount = dose[moves] + items.money * problem.money_unit / problem.cost[moves]
        if problem.cap is not None:
            amount = np.minimum(amount, problem.cap[moves])
        dose[moves] = amount
        _refuse_lost(moves[0], moves[1], items.money, amount)
        return dose

    def dose_sparse(self) -> csr_array:
        """(N, T) d as a sparse matrix by rows, whose size follows that of the doses, not of N × T.

        Where nothing is bounded and nobody has anything yet the table ``dose`` is not made: one
        item a group has a dose or, at within > 0, one a person.

        Returns:
            `scipy.sparse.csr_array` without explicit zeros.

        Raises:
            ModuleNotFoundError: scipy is not installed.
            ValueError: as ``dose``, where a dose leaves the doubles.

        Example:
            >>> import alphafair as af
            >>> a = af.allocate([4.0, 1.0, 2.0], 1.0, ["a", "a", "b"], budget=6.0, alpha=1)
            >>> sparse = a.dose_sparse()
            >>> sparse.shape, sparse.nnz, sparse.toarray()[:, 0]
            ((3, 1), 2, array([3., 0., 3.]))
        """
        try:
            from scipy import sparse
        except ImportError as error:
            raise ModuleNotFoundError(
                "dose_sparse needs scipy, which is not installed: pip install scipy, or use dose"
            ) from error
        if not isinstance(self.problem.value, Linear):
            return sparse.csr_array(self.dose)
        person, treatment, amount = self._funded_doses
        some = amount > 0
        entries = amount[some], (person[some], treatment[some])
        return sparse.csr_array(entries, shape=self.problem.shape)

    def dose_into(self, out: NDArray[Any]) -> NDArray[Any]:
        """Write d into an array that is there already: a memory map, or one that is used again.

        Where nothing is bounded and nobody has anything yet nothing else of that size is made;
        elsewhere ``dose`` is, and copied.

        Args:
            out: (N, T) of float64 or float32, of any strides; what it held is lost.

        Returns:
            ``out``.

        Raises:
            TypeError: no array, or one of other numbers.
            ValueError: another shape, an array that cannot be written to, or a dose that is lost
                among these numbers.

        Example:
            >>> import alphafair as af
            >>> import numpy as np
            >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=1)
            >>> a.dose_into(np.empty((2, 1), np.float32))
            array([[15.],
                   [15.]], dtype=float32)
        """
        problem = self.problem
        _check_out(out, problem.shape)
        linear = isinstance(problem.value, Linear)
        if not linear and out.dtype == np.float64:
            out[...] = self.dose
            return out
        if linear:
            person, treatment, amount = self._funded_doses
        else:
            person, treatment = np.nonzero(self.dose)
            amount = self.dose[person, treatment]
        with np.errstate(over="ignore", under="ignore"):
            rounded = amount.astype(out.dtype)
        if out.dtype != np.float64 and amount.size:
            money = amount * problem.cost[person, treatment]
            _refuse_lost(
                person, treatment, money / problem.money_unit, rounded, NEGLIGIBLE_IN_SINGLE
            )
            _refuse_endless(person, treatment, rounded)
        out[...] = 0.0
        out[person, treatment] = rounded
        return out

    @property
    def _funded_doses(self) -> tuple[Integers, Integers, Floats]:
        """Persons, treatments and doses (M,) of the items that get money in the linear case."""
        person, treatment, code, share = self.problem.funded
        with np.errstate(over="ignore"):
            amount = self.group_budget[code] * share / self.problem.given[1][person, treatment]
        _refuse_lost(person, treatment, self.money[code] * share, amount)
        _refuse_endless(person, treatment, amount)
        return person, treatment, amount

    @property
    def _dose_by_steps(self) -> Floats:
        """(N, T) where offers are exclusive, from the money on the steps of each person."""
        assert self.problem.ladder is not None
        return self.problem.ladder.doses(self.in_steps.dose)

    @cached_property
    def in_steps(self) -> Allocation:
        """Where offers are exclusive, the same allocation of the problem in steps."""
        assert self.problem.in_steps is not None
        return Allocation(self.alpha, self.problem.in_steps, self.group_share)

    @cached_property
    def spending(self) -> Spending:
        """Which items are full, and what is spent on those that move; not in the linear case."""
        value = self.problem.value
        assert not isinstance(value, Linear)
        return value.spending(self.point, self.money)

    @cached_property
    def at_cap(self) -> NDArray[np.bool_]:
        """(N, T) True where the cap stops the dose: full items, and those with cap = floor.

        Where offers are exclusive: the treatment that has all that floors leave of the place.
        """
        problem = self.problem
        if problem.cap is None:
            return np.zeros(problem.shape, bool)
        floor = 0.0 if problem.floor is None else problem.floor
        flags = np.asarray((problem.cap == floor) & (problem.benefit > 0))
        if problem.ladder is not None:
            steps = problem.ladder
            whole = steps.parts(steps.reached(self.in_steps.dose)) == 1
            return np.asarray(flags | whole)
        if not isinstance(problem.value, Linear):
            flags.reshape(-1)[self.spending.full] = True
        return flags

    @cached_property
    def money_left(self) -> float:
        """Money that caps leave unspent."""
        if isinstance(self.problem.value, Linear) or self._has_room.any():
            return 0.0
        return max(0.0, self.problem.budget * (1 - float(self.group_share.sum())))

    @cached_property
    def person_utility(self) -> Floats:
        """(N,) u_i = baseline_i + Σ_t b_it d_it."""
        have = self.problem.baseline
        utility = (self.problem.benefit * self.dose).sum(axis=1)
        return np.asarray(utility if have is None else utility + have)

    # --- the price --------------------------------------------------------------------------
    @cached_property
    def price(self) -> float:
        """λ = dW/dQ, the welfare that *one more* unit of budget buys: the derivative to the right.

        ``w V^{−α} V'`` in the groups that would share it.  Where the budget exactly fills segments,
        the last unit was worth more than the next one, and this is the worth of the next one.  0
        when every cap is reached; at α = ∞, where it is ``1/Σ(1/V')`` over the groups that are
        worst off, also when one of these cannot rise.  ∞ at Q = 0 for 0 < α < ∞ if some group has
        nothing.
        """
        if self.alpha == np.inf:
            worst, slope = self.worst_off, self.slope
            if not (self._has_room[worst] & (slope[worst] > 0)).all():
                return 0.0
            with np.errstate(divide="ignore", over="ignore"):
                return float(1 / (1 / slope[worst]).sum())
        group = np.flatnonzero(self.is_open)
        if group.size == 0:
            return 0.0
        with np.errstate(over="ignore", under="ignore"):
            richest = group[np.argmax(self.group_share[group])]
            return float(np.exp(self._log_worth[richest]))

    @cached_property
    def group_price(self) -> Floats:
        """(K,) what one more unit of money is worth in the group: λ, unless a group bound binds."""
        price = np.full(self.group_share.size, self.price)
        bound = self.at_group_floor | self.at_group_cap
        if bound.any():
            with np.errstate(over="ignore", under="ignore"):
                own = np.exp(self._log_worth)
            if self.alpha == np.inf:
                own = np.where(self.worst_off, self.slope, 0.0)
            price[bound] = own[bound]
        return price

    @cached_property
    def dose_price(self) -> Floats:
        """(K,) what money is worth where it goes into doses: λ_k, if all of a group's money does.

        Where that part falls, the price follows from the worth of the group's next unit.
        """
        before, after = self.parts
        with np.errstate(over="ignore", under="ignore"):
            own = self.group_price if self.alpha == np.inf else np.exp(self._log_worth)
        return np.clip(own / after, self.group_price / before, self.group_price / after)

    @cached_property
    def parts(self) -> tuple[Floats, Floats]:
        """(K,) the parts of the last and of the next unit of money that go into doses."""
        value = self.problem.value
        assert not isinstance(value, Linear)
        return value.parts(self.point, self.money)

    @cached_property
    def money_worth(self) -> float:
        """λ Q, what the budget is worth at the margin.

        Finite where λ alone is not: without baseline and bounds it is Σ w u^{1−α}, at Q = 0 that is
        0 for α < 1, Σ w at α = 1 and ∞ beyond.
        """
        if self.alpha == np.inf or not isinstance(self.problem.value, Linear):
            return 0.0 if self.problem.budget == 0 else self.price * self.problem.budget
        k = int(np.argmax(self.group_share))
        with np.errstate(over="ignore", under="ignore"):
            power = (1 - self.alpha) * self.log_utility[k] if self.alpha != 1 else 0.0
            return float(np.exp(power) * self.problem.weight[k] / self.group_share[k])

    @cached_property
    def welfare(self) -> float:
        """W = Σ w φ_α(U), min U at α = ∞.  Its unit depends on α."""
        return welfare(self.group_utility, self.alpha, self.problem.weight)

    @cached_property
    def equivalent_utility(self) -> float:
        """The equally-distributed equivalent of the groups' utilities, comparable across α."""
        return equivalent_utility(self.group_utility, self.alpha, self.problem.weight)

    def gradient(self) -> WelfareGradient:
        """Gradient of the optimal welfare in every parameter that was given.

        With μ_i = w φ_α'(U) (1/G) (U/u_i)^ε what utility is worth to person i, and λ_k the price
        in her group::

            ∂W/∂b = μ d     ∂W/∂c = −λ_k d     ∂W/∂Q = λ     ∂W/∂w = φ_α(U)     ∂W/∂baseline = μ
            ∂W/∂cap = (μ b − λ_k c)₊ where the cap stops the dose
            ∂W/∂floor = −(λ_k c − μ b)₊ where the floor holds it up
            ∂W/∂group_cap = (λ_k − λ)₊       ∂W/∂group_floor = −(λ − λ_k)₊

        Returns:
            `WelfareGradient`.  At ties (of items, or of groups at α = 0) a subgradient.  Where the
            budget exactly fills segments λ is the worth of one more unit of it, the derivative to
            the right, and the whole a supergradient.  At a budget of 0, α > 1 and no baseline,
            where W = −∞, infinite.  0 for somebody whose best benefit is exactly 0, where at
            1/2 ≤ ε < 1 the slope to the right is positive.

        References:
            Milgrom and Segal, "Envelope theorems for arbitrary choice sets", Econometrica 70, 2002.

        Example:
            >>> import alphafair as af
            >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=2)
            >>> a.gradient().benefit[:, 0].round(6)      # λ m / b = 0.0025 · (10/4, 20/1)
            array([0.00625, 0.05   ])
            >>> a = af.allocate([4.0, 1.0], 1.0, ["a", "b"], budget=30.0, alpha=1, cap=10.0)
            >>> a.gradient().cap[:, 0]      # everybody has the most: W = log(4 cap) + log(cap)
            array([0.1, 0.1])
        """
        return welfare_gradient(self)

    def jacobian(self) -> DoseJacobian:
        """Jacobian of the optimal doses, a linear map that is never stored; see `DoseJacobian`."""
        return DoseJacobian(self)

    # --- whole doses --------------------------------------------------------------------------
    def whole(self, unit: ArrayLike | None = None) -> WholePlan:
        """Whole doses near the optimum, and how far from it they can be.

        Args:
            unit: a whole dose, a number or a table that broadcasts to (N, T), > 0; default the
                cap, all or nothing.  Doses become multiples of it.

        Returns:
            `WholePlan`: never above the budget, bounds kept, with a proven ``gap`` to the welfare
            of any plan, whole or not.

        Raises:
            ValueError: neither a unit nor caps; floors that whole doses cannot keep.

        Example:
            >>> import alphafair as af
            >>> a = af.allocate([3.0, 2.0], 1.0, ["a", "b"], budget=3.0, alpha=1, cap=2.0)
            >>> a.dose[:, 0], a.whole(unit=1.0).dose[:, 0]
            (array([1.5, 1.5]), array([1., 2.]))
        """
        from .whole import whole

        return whole(self, unit)

    def lottery(
        self, seed: int | np.random.Generator | None = None, unit: ArrayLike | None = None
    ) -> WholePlan:
        """A random whole plan whose mean is ``dose``.

        Systematic sampling (`alphafair.whole`): every part of a whole dose is drawn with its own
        size as probability, and the money of a group differs from ``group_budget`` by less than its
        dearest part.  So does that of all from the budget where no group has two parts.

        Args:
            seed: of the draw, or a numpy generator; None draws afresh.
            unit: as in `whole`.

        Returns:
            `WholePlan`; its ``money_left`` may be negative, in the mean it is that of ``dose``.

        Raises:
            ValueError: neither a unit nor caps.

        Example:
            >>> import alphafair as af
            >>> a = af.allocate([3.0, 2.0], 1.0, ["a", "b"], budget=3.0, alpha=1, cap=2.0)
            >>> a.dose[:, 0]      # ¾ of a whole dose for each
            array([1.5, 1.5])
            >>> [a.lottery(seed).dose[:, 0].tolist() for seed in range(4)]
            [[2.0, 2.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0]]
        """
        from .whole import lottery

        return lottery(self, seed, unit)

    # --- the margin: what the price and the derivatives need to know --------------------------
    @cached_property
    def at_group_floor(self) -> NDArray[np.bool_]:
        """(K,) True where the group's budget is at its ``group_floor``, above what floors take."""
        floor = self.problem.group_floor
        if floor is None:
            return np.zeros(self.group_share.size, bool)
        return np.asarray(
            (self.group_budget <= floor * (1 + ROUNDING)) & (floor > self.problem.spent_at_floors)
        )

    @cached_property
    def at_group_cap(self) -> NDArray[np.bool_]:
        """(K,) True where the group's budget is at its ``group_cap``."""
        cap = self.problem.group_cap
        if cap is None:
            return np.zeros(self.group_share.size, bool)
        return np.asarray(self.group_budget >= cap * (1 - ROUNDING))

    @cached_property
    def _has_room(self) -> NDArray[np.bool_]:
        """(K,) True where the group could spend more money."""
        if isinstance(self.problem.value, Linear):
            return np.ones(self.group_share.size, bool)
        return np.asarray((self.money < self.problem.value.most) & ~self.at_group_cap)

    @cached_property
    def is_open(self) -> NDArray[np.bool_]:
        """(K,) True for the groups that would share one more unit of budget."""
        value = self.problem.value
        if isinstance(value, Linear):
            return self.group_share > 0
        rises = self._has_room & ~self.at_group_floor
        useful = rises & (self.point.log_slope > -np.inf)
        # Inside a piece of a group; at 0 < ε < ∞ V' is continuous from piece to piece.
        begins = value.money[self.point.piece]
        if isinstance(value, Levels) and value.within < np.inf:
            begins = np.where(self.point.level == -np.inf, np.inf, value.least)
        inside = rises & (self.money > begins)
        # At ε = ∞ people rise at the lowest level where that is worth nothing to the others, too.
        by_level = self.problem.within == np.inf and (self.alpha == np.inf or not useful.any())
        inside = inside if by_level else inside & useful
        some = inside if inside.any() else self._has_room & (self.point.log_slope > -np.inf)
        if by_level:
            return _least(self.point.level, some)
        if self.alpha == np.inf:
            return inside if inside.any() else _least(self.point.log_utility, some)
        if not some.any():
            return some
        top = self._log_worth[some].max()
        # At a kink only the best is open; groups inside a piece agree, up to what V rounds off.
        slack = 1e-6 if inside.any() else ROUNDING
        near = self._log_worth >= (top - slack * max(1.0, abs(top)) if np.isfinite(top) else top)
        return np.asarray(some & near)

    @cached_property
    def worst_off(self) -> NDArray[np.bool_]:
        """(K,) True for the groups of least utility, up to rounding."""
        if self.alpha == np.inf and isinstance(self.problem.value, Linear):
            return np.ones(self.group_share.size, bool)  # all, also one whose share underflows
        return _least(self.point.log_utility, np.ones(self.group_share.size, bool))

    @cached_property
    def log_utility(self) -> Floats:
        """(K,) log U in true units."""
        return self.point.log_utility + self.problem.log_utility_unit

    @cached_property
    def _log_slope(self) -> Floats:
        """(K,) log V'(x+) in true units."""
        return self.point.log_slope + self.problem.log_ratio_unit

    @property
    def slope(self) -> Floats:
        """(K,) V'(x+) in true units."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self._log_slope)

    @cached_property
    def _log_worth(self) -> Floats:
        """(K,) log(w V^{−α} V'), what one more unit of money is worth in each group; α < ∞."""
        with np.errstate(invalid="ignore"):
            bend = self.alpha * self.log_utility if self.alpha > 0 else 0.0
            return np.asarray(np.log(self.problem.weight) + self._log_slope - bend)

    def __repr__(self) -> str:
        return (
            f"Allocation(alpha={self.alpha:g}, K={self.group_share.size}, "
            f"price={self.price:.6g}, equivalent_utility={self.equivalent_utility:.6g})"
        )


def _check_out(out: Any, shape: tuple[int, int]) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, not {type(out).__name__}")
    if out.dtype not in (np.float64, np.float32):
        raise TypeError(f"out holds {out.dtype}: must be float64 or float32")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}: must be (N, T) = {shape}")
    if not out.flags.writeable:
        raise ValueError("out cannot be written to: pass a copy, or open the map with mode 'r+'")


def _refuse_endless(person: Integers, treatment: Integers, dose: Floats) -> None:
    """ValueError about the first dose beyond the largest number."""
    if not np.isfinite(dose).all():
        j = int(np.argmin(np.isfinite(dose)))
        raise ValueError(
            f"dose of item ({person[j]}, {treatment[j]}) overflows: the budget is too large "
            f"for its cost; measure this dose in a larger unit, of more benefit and cost"
        )


def _refuse_lost(
    person: Integers,
    treatment: Integers,
    part: Floats,
    dose: Floats,
    negligible: float = NEGLIGIBLE,
) -> None:
    """ValueError about a dose below its numbers that takes a part of the budget worth speaking of.

    Where the part is next to nothing itself, as next to α = 0, so may the dose be.
    """
    lost = (dose < np.finfo(dose.dtype).tiny) & (part > negligible)
    if lost.any():
        j = int(np.argmax(lost))
        raise ValueError(
            f"dose of item ({person[j]}, {treatment[j]}) underflows: the budget is too small for "
            f"its cost; measure this dose in a smaller unit, of less benefit and cost"
        )


def _least(value: Floats, some: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(K,) which of some groups have the least value, a logarithm, up to rounding."""
    if not some.any():
        return some
    least = value[some].min()
    near = 1e-12 * (1 + abs(least)) if np.isfinite(least) else 0.0
    return np.asarray(some & (value <= least + near))
