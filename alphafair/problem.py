"""The inputs of an allocation problem: checked, converted and reduced, once.

A problem is N people in K groups, T treatments, the benefit ``b`` and the cost ``c`` of one unit
of dose for each (person, treatment), and a budget ``Q``.  Of all these numbers the optimum needs
few: **each group's productivity** ``p_k``, the utility that the group gets out of one unit of
budget when the budget is spent in the best way *inside* the group.  `Problem` finds it in one pass
over the data; everything after it works on K numbers.

With ``r_i = max_t b_it / c_it`` the best ratio of person i, ``G_k`` the size of group k and
``within`` = ε the aversion to inequality inside a group::

    p_k = M_s(r_i, i in k) / G_k        s = (1 − ε)/ε        M_s: power mean of exponent s
    y_i = r_i^s / Σ_{j in k} r_j^s      share of the group's money that person i gets

At ε = 0 (s = ∞) the mean is the maximum and the whole share goes to the best item of the group.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

LARGEST_RATIO = 1e300  # beyond this (or below its inverse) b/c is computed in other units


class Groups:
    """Group labels turned into codes 0..K−1, once, for reuse in many problems.

    Args:
        labels: (N,) or (N, 1).  Integers, strings, anything that `numpy.unique` sorts; they need
            not be consecutive.  Missing labels (NaN, None) are refused.

    Attributes:
        label: (K,) the distinct labels, sorted.
        code: (N,) the position of each person's label in ``label``.
        size: (K,) the number of people G_k in each group.

    Raises:
        ValueError: no labels, a missing label, or more than one label a person.
        TypeError: labels that cannot be compared with each other.

    Example:
        >>> groups = Groups(["north", "south", "north"])
        >>> groups.label.tolist(), groups.code.tolist(), groups.size.tolist()
        (['north', 'south'], [0, 1, 0], [2, 1])
    """

    label: NDArray[Any]
    code: Integers
    size: Integers

    def __init__(self, labels: ArrayLike) -> None:
        self.label, self.code, self.size = _encode(_label_column(labels))

    def __len__(self) -> int:
        return self.code.size

    def __repr__(self) -> str:
        return f"Groups(N={self.code.size}, K={self.size.size})"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Problem:
    """An allocation problem, validated once; then `allocate` costs O(K) for each α.

    Args:
        benefit: b, (N,), (N, 1) or (N, T): utility of one unit of dose, finite.  Items ≤ 0 are
            never chosen; each group needs one item > 0.
        cost: c, scalar, (N,), (N, 1), (1, T) or (N, T): money for one unit of dose, finite, > 0.
        group: (N,) or (N, 1) labels, or `Groups`.
        budget: Q ≥ 0, finite, in units of money.
        within: ε in [0, ∞], aversion to inequality inside a group.  The utility of a group is
            ``((1/G) Σ_i u_i^{1−ε})^{1/(1−ε)}`` with ``u_i = Σ_t b_it d_it``; 0 is the plain mean.
        weight: w, (K,) in the order of the sorted labels, or a mapping label → w, > 0, or
            ``"size"`` for w_k = G_k; None gives every group weight 1.
        cap: upper bounds of the doses, scalar, (N,), (N, 1), (1, T) or (N, T), ≥ 0, may be ∞; None
            is no bound.  Needs ``within`` = 0.

    Attributes:
        benefit, cost, cap: (N, T); cap is None where no dose is bounded.
        groups: the `Groups`.
        productivity: (K,) p_k, utility for one unit of budget (in units of 2**unit; unit = 0
            unless b/c leaves the doubles); with caps, for the first unit.
        log_weight, log_productivity: (K,) log(w / max w) and log(p / max p), what the split needs.
        best_item: (K, 2) rows (i, t): the item of largest b/c of each group; the first in row
            order where several tie.
        funded: `Funded`, the items that get money, and their share of their group's budget.

    The arrays are not copied when they are float64 already: do not change them afterwards.

    Raises:
        ValueError: a value out of its range, NaN, shapes that do not fit, a group without a
            positive benefit.  The message names the argument, the first offending entry, the cure.
        TypeError: arguments of the wrong kind (text for a number, for example).

    Example:
        >>> problem = Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], budget=6.0)
        >>> problem.productivity
        array([1.5, 2. ])
        >>> problem.allocate(1).group_budget
        array([3., 3.])
    """

    benefit: Floats
    cost: Floats
    cap: Floats | None
    groups: Groups
    budget: float
    within: float
    weight: Floats
    productivity: Floats
    best_item: Integers
    funded: Funded
    log_weight: Floats
    log_productivity: Floats
    unit: int  # true utility = 2**unit × utility as computed here; 0 unless b/c is extreme

    allocate: ClassVar[Callable[..., Any]]  # capped.py defines it: it needs Problem first

    def __init__(
        self,
        benefit: ArrayLike,
        cost: ArrayLike,
        group: ArrayLike | Groups,
        budget: float,
        within: float = 0.0,
        weight: Any = None,
        cap: Any = None,
    ) -> None:
        b, c = _table("benefit", benefit), _table("cost", cost)
        groups = group if isinstance(group, Groups) else Groups(group)
        budget = number("budget", budget, "finite and ≥ 0", lambda v: 0 <= v < np.inf)
        within = number("within", within, "between 0 and infinity", lambda v: v >= 0)
        shape = _common_shape(b, c, groups)
        bound = None if cap is None else _bounds(cap, shape, within)
        # One scan finds the best item of every group (ε = 0) or of every person (ε > 0).
        owner = groups.code if within == 0 else np.arange(shape[0])
        owners = len(groups.label) if within == 0 else shape[0]
        # No dose, no use; a NaN stays one, to be refused.
        useful = b if bound is None or bound.min() > 0 else _column(b) * (bound > 0)
        ratio, item, unit = _best_ratios(useful, c, shape, owner, owners)
        best, best_item = _best_of_groups(ratio, item, groups, within, bound is not None)
        share, power_mean = _shares(ratio, best, groups, within)
        able = np.flatnonzero(item >= 0)
        code = able if within == 0 else groups.code[able]
        weight, productivity = group_weights(weight, groups), power_mean / groups.size
        fields = {
            "benefit": np.broadcast_to(_column(b), shape),
            "cost": np.broadcast_to(_column(c), shape),
            "cap": bound,
            "groups": groups,
            "budget": budget,
            "within": within,
            "weight": weight,
            "productivity": productivity,
            "log_weight": _log_relative(weight),
            "log_productivity": _log_relative(productivity),
            "best_item": np.stack(np.divmod(best_item, shape[1]), axis=1),
            "funded": Funded(*np.divmod(item[able], shape[1]), code, share[able]),
            "unit": unit,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, T)."""
        rows, columns = self.benefit.shape
        return rows, columns

    def __repr__(self) -> str:
        return "Problem(N={}, T={}, K={}, budget={:g}, within={:g})".format(
            *self.shape, len(self.groups.label), self.budget, self.within
        )


class Funded(NamedTuple):
    """The M items that receive money at the optimum: one a group at within = 0, else one for each
    person who can benefit.

    Attributes:
        person: (M,) i.
        treatment: (M,) t.
        code: (M,) the position k of the person's group.
        share: (M,) y, the part of the group's budget that is spent on the item; sums to 1 in k.
    """

    person: Integers
    treatment: Integers
    code: Integers
    share: Floats


# --- the scan: best ratio b/c of every owner (group or person) -------------------------------
def _scan(benefit, benefit_step, cost, cost_step, shape, owner, owners):  # type: ignore[no-untyped-def]
    """Largest b/c of each owner and its item, in one pass; compiled by numba, plain as it stands.

    ``b > best·c`` replaces a division for every item by one for every improvement.  The threshold
    is four roundings below best, so that the winner is exactly the first maximum of fl(b/c).
    """
    best = np.zeros(owners)
    item = np.full(owners, -1, np.int64)
    threshold = np.zeros(owners)
    not_finite, smallest_cost = 0.0, np.inf
    for i in range(shape[0]):
        k = owner[i]
        for t in range(shape[1]):
            b = benefit[i * benefit_step[0] + t * benefit_step[1]]
            c = cost[i * cost_step[0] + t * cost_step[1]]
            not_finite += 0.0 * b + 0.0 * c
            smallest_cost = min(smallest_cost, c)
            if b > threshold[k] * c:
                ratio = b / c
                if ratio > best[k] or item[k] < 0:
                    best[k], item[k] = ratio, i * shape[1] + t
                    threshold[k] = ratio * (1 - 2.0**-50)
    return best, item, not_finite == 0 and smallest_cost > 0


@functools.cache
def _compiled_scan() -> Any:
    from numba import njit, types

    vector = types.Array(types.float64, 1, "C", readonly=True)
    pair = types.UniTuple(types.intp, 2)
    owner = types.Array(types.intp, 1, "C", readonly=True)
    signature = (vector, pair, vector, pair, pair, owner, types.intp)
    return njit(signature, cache=True, error_model="numpy")(_scan)  # c = 0 is refused later


def _best_ratios(
    benefit: Floats, cost: Floats, shape: tuple[int, int], owner: Integers, owners: int
) -> tuple[Floats, Integers, int]:
    """Best ratio and flat item i·T + t of each owner (−1: no positive benefit), and the unit."""

    def scan(benefit: Floats, cost: Floats) -> Any:
        b, *benefit_step = flat_steps(benefit, shape)
        c, *cost_step = flat_steps(cost, shape)
        arguments = (b, tuple(benefit_step), c, tuple(cost_step), shape, owner, owners)
        return _compiled_scan()(*arguments)

    best, item, valid = scan(benefit, cost)
    if not valid:
        _refuse_entry(benefit, cost)
    if not _out_of_range(best, item).any():
        return best, item, 0
    # Ratios like 1e300/1e-300: measure b and c in other units, exact powers of two.
    unit_b, unit_c = np.frexp(benefit.max())[1], np.frexp(cost.min())[1]
    with np.errstate(over="ignore", under="ignore"):
        best, found, _ = scan(np.ldexp(benefit, -unit_b), np.ldexp(cost, -unit_c))
    lost = np.flatnonzero(_out_of_range(best, found) | ((item >= 0) & (found < 0)))
    if lost.size:
        i, t = divmod(int(item[lost[0]]), shape[1])
        raise ValueError(
            f"benefit and cost span too many orders of magnitude: the ratio of item ({i}, {t}) "
            f"and that of the best one differ by more than {LARGEST_RATIO:g}; "
            f"set negligible benefits to 0"
        )
    return best, found, int(unit_b - unit_c)


def flat_steps(array: Floats, shape: tuple[int, int]) -> tuple[Floats, int, int]:
    """Flat array and the two strides that broadcast it to (N, T) without a copy."""
    table = _column(array)
    once = tuple(slice(1 if step == 0 else None) for step in table.strides)
    table = table[once]  # where an axis is a repetition already, take it back
    rows, columns = table.shape
    steps = (columns if rows == shape[0] else 0, 1 if columns == shape[1] else 0)
    return np.ascontiguousarray(table).reshape(-1), *steps


def _out_of_range(ratio: Floats, item: Integers) -> NDArray[np.bool_]:
    return (item >= 0) & ((ratio > LARGEST_RATIO) | (ratio < 1 / LARGEST_RATIO))


def _refuse_entry(benefit: Floats, cost: Floats) -> NoReturn:
    """Find the first bad entry that the scan met, and say so."""
    for name, array, bad, expected, cure in (
        ("benefit", benefit, ~np.isfinite(benefit), "finite", "drop that row or impute the value"),
        ("cost", cost, ~np.isfinite(cost), "finite", "drop that row or impute the value"),
        ("cost", cost, cost <= 0, "> 0", "give what is free a small positive cost"),
    ):
        if bad.any():
            index = np.unravel_index(int(np.argmax(bad)), array.shape)
            where = f"[{', '.join(str(int(j)) for j in index)}]" if index else ""
            raise ValueError(f"{name}{where} is {array[index]}: must be {expected}; {cure}")
    raise AssertionError("unreachable: the scan and this function disagree")


# --- inside a group: power means and shares ---------------------------------------------------
def _best_of_groups(
    ratio: Floats, item: Integers, groups: Groups, within: float, capped: bool
) -> tuple[Floats, Integers]:
    """Each group's best ratio (K,) and its flat item (K,); refuse groups that have none."""
    best, first = ratio, item
    if within > 0:
        shape = (ratio.size, 1)
        best, person, _ = _compiled_scan()(
            ratio, (1, 0), np.ones(1), (0, 0), shape, groups.code, groups.size.size
        )
        first = np.where(person >= 0, item[person], -1)
    if (first < 0).any():
        label = groups.label[int(np.argmax(first < 0))]
        raise ValueError(
            f"group {label!s} has no item with a positive benefit{' and cap' if capped else ''}: "
            f"no budget can give it utility; drop the group or correct its benefits"
            f"{' or caps' if capped else ''}"
        )
    if within >= 1 and (item < 0).any():
        i = int(np.argmax(item < 0))
        raise ValueError(
            f"person {i} (group {groups.label[groups.code[i]]!s}) has no positive benefit, so with "
            f"within = {within:g} (1 or more) the group's utility is 0 for every allocation; "
            f"drop that person or use within < 1"
        )
    return best, first


def _shares(ratio: Floats, best: Floats, groups: Groups, within: float) -> tuple[Floats, Floats]:
    """Shares y (M,) and the power mean M_s (K,) of the ratios of each group, s = (1 − ε)/ε."""
    if within == 0:
        return np.ones(ratio.size), best
    code, size = groups.code, groups.size
    exponent = money_exponent(within)
    reference = best
    if exponent < 0:  # refer to the least ratio, so that every power below is ≤ 1
        reference = np.full(size.size, np.inf)
        np.minimum.at(reference, code, ratio)
    with np.errstate(over="ignore", divide="ignore"):  # log 0: people who cannot benefit (s > 0)
        relative = ratio / reference[code]
        log_relative = np.log(relative)
        power = relative**exponent
        far = np.flatnonzero((relative > LARGEST_RATIO) | (relative < 1 / LARGEST_RATIO))
        log_relative[far] = np.log(ratio[far]) - np.log(reference[code[far]])
        power[far] = np.exp(exponent * log_relative[far])
    total = group_sum(power, code, size.size)
    if exponent == 0:
        log_mean = group_sum(log_relative, code, size.size) / size
    else:  # log of the mean power; where that is near 1, through expm1 (ε near 1)
        excess = group_sum(np.expm1(exponent * log_relative), code, size.size) / size
        log_mean = np.where(excess > -0.5, np.log1p(excess), np.log(total / size)) / exponent
    return power / total[code], reference * np.exp(log_mean)


def money_exponent(aversion: float, largest: float = 1e300) -> float:
    """The power 1/a − 1 of its value with which money follows it, at aversion a > 0; −1 at ∞.

    One formula for both stages: a = α across groups, a = ε inside a group.  As (1 − a)/a it keeps
    every digit near a = 1; it stops at ``largest``, so that its products with 0 are 0 and not NaN.
    """
    return -1.0 if aversion == np.inf else min((1 - aversion) / max(aversion, 1e-300), largest)


def _log_relative(value: Floats) -> Floats:
    """log(value / max value) ≤ 0; from the quotient, which is exact to a rounding at any scale."""
    ratio = value / value.max()
    if ratio.min() < 1 / LARGEST_RATIO:  # the quotient has underflowed
        return np.asarray(np.log(value) - np.log(value.max()))
    return np.asarray(np.log(ratio))


def _group_sum(value, code, groups):  # type: ignore[no-untyped-def]
    total, lost = np.zeros(groups), np.zeros(groups)
    for i in range(value.size):
        k = code[i]
        term = value[i] - lost[k]
        new = total[k] + term
        lost[k] = (new - total[k]) - term
        total[k] = new
    return total


@functools.cache
def _compiled_group_sum() -> Any:
    from numba import njit, types

    vector = types.Array(types.float64, 1, "C", readonly=True)
    code = types.Array(types.intp, 1, "C", readonly=True)
    return njit((vector, code, types.intp), cache=True)(_group_sum)


def group_sum(value: Floats, code: Integers, groups: int) -> Floats:
    """(K,) sums of ``value`` (N,) by group.

    Kahan's compensated sum: a plain one is off by 1e−10 after 10⁷ equal terms, and a budget that is
    handed out in 10⁷ parts has to be met to 1e−12.
    """
    total: Floats = _compiled_group_sum()(np.ascontiguousarray(value, float), code, groups)
    return total


# --- conversions: each argument, once ---------------------------------------------------------
def _label_column(labels: ArrayLike) -> NDArray[Any]:
    """(N,) array of labels, none of them missing."""
    column = np.asarray(labels)
    listed = isinstance(labels, list | tuple) and column.dtype.kind in "US"
    if listed and not all(isinstance(label, str | bytes) for label in labels):  # type: ignore[union-attr]
        column = np.array(labels, dtype=object)  # numpy has made text of NaN, None or numbers
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise ValueError(
            f"group has shape {column.shape}: must be (N,) or (N, 1), one label for each person"
        )
    if column.size == 0:
        raise ValueError("group is empty: at least one person is needed")
    missing = np.zeros(1, bool)
    if column.dtype.kind == "f":
        missing = ~np.isfinite(column)
    elif column.dtype.kind not in "iubUS":
        missing = np.array([_is_missing(label) for label in column])
    if missing.any():
        i = int(np.argmax(missing))
        raise ValueError(
            f"group[{i}] is {column[i]}: every person needs a label; "
            f"drop that person or make up a label such as 'unknown'"
        )
    return column


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)  # NaN and NaT differ from themselves
    except TypeError:  # pandas.NA will not say
        return True


def _encode(column: NDArray[Any]) -> tuple[NDArray[Any], Integers, Integers]:
    """Sorted labels (K,), codes (N,), sizes (K,)."""
    if column.dtype.kind in "iu":
        low, high = int(column.min()), int(column.max())
        if high - low < max(1024, 4 * column.size) and high < 2**63:
            code = column.astype(np.int64) - low  # counting beats sorting 20-fold
            count = np.bincount(code)
            present = np.flatnonzero(count)
            if present.size < count.size:
                code = (np.cumsum(count > 0) - 1)[code]
            return (present + low).astype(column.dtype), code, count[present]
    try:
        label, code, size = np.unique(column, return_inverse=True, return_counts=True)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in column})
        raise TypeError(
            f"group mixes labels that cannot be sorted together ({', '.join(kinds)}); "
            f"convert them all to text: [str(label) for label in group]"
        ) from error
    return label, code.astype(np.intp, copy=False), size


def _table(name: str, value: ArrayLike) -> Floats:
    """Float array of 0, 1 or 2 dimensions; its entries are checked by the scan."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: fill them or drop their rows")
    array = np.asarray(value)
    if array.dtype.kind == "O":
        _refuse_object(name, array)
    elif array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    if array.ndim > 2:
        raise ValueError(f"{name} has shape {array.shape}: must have at most two axes (N, T)")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}): at least one item is needed")
    return array.astype(np.float64, copy=False)


def _refuse_object(name: str, array: NDArray[Any]) -> None:
    for index, entry in np.ndenumerate(array):
        if not (entry is None or isinstance(entry, numbers.Real | Decimal)):
            raise TypeError(
                f"{name}{list(index)} is {entry!r}: must be a real number, not "
                f"{type(entry).__name__}"
            )


def _column(array: Floats) -> Floats:
    """A scalar as (1, 1), one axis as a column: a number for each person."""
    return array.reshape(-1, 1) if array.ndim < 2 else array


def _common_shape(benefit: Floats, cost: Floats, groups: Groups) -> tuple[int, int]:
    """(N, T), where ``benefit`` fixes N; refuse what does not broadcast."""
    persons, columns = _column(benefit).shape
    if benefit.ndim == 0:
        raise ValueError("benefit is a scalar: must have shape (N,), (N, 1) or (N, T)")
    if persons != len(groups):
        raise ValueError(
            f"group has {len(groups)} labels but benefit has {persons} rows (shape "
            f"{benefit.shape}): must be one label for each person"
        )
    rows, cost_columns = _column(cost).shape
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


def _bounds(cap: ArrayLike, shape: tuple[int, int], within: float) -> Floats | None:
    """(N, T) upper bounds of the doses; None where all are infinite."""
    if within != 0:
        raise ValueError(
            f"cap is given and within is {within:g}: caps need within = 0, because with caps the "
            f"split inside a group has no closed form; leave one of the two out"
        )
    table = _table("cap", cap)
    rows, columns = _column(table).shape
    if rows not in (1, shape[0]) or columns not in (1, shape[1]):
        raise ValueError(
            f"cap has shape {table.shape}: must be a scalar, (N,), (N, 1), (1, T) or (N, T), with "
            f"(N, T) = {shape}"
        )
    least = table.min()  # NaN if there is one
    if not least >= 0:
        index = np.unravel_index(int(np.argmin(table >= 0)), table.shape)
        where = f"[{', '.join(str(int(j)) for j in index)}]" if index else ""
        raise ValueError(f"cap{where} is {table[index]}: must be ≥ 0; infinity is no bound")
    return None if least == np.inf else np.broadcast_to(_column(table), shape)


def number(name: str, value: Any, expected: str, accept: Callable[[float], bool]) -> float:
    """A real scalar in its range."""
    if not isinstance(value, numbers.Real | Decimal) and getattr(value, "shape", None) != ():
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    real = float(value)
    if not accept(real):
        raise ValueError(f"{name} is {real}: must be {expected}")
    return real


def group_weights(weight: Any, groups: Groups) -> Floats:
    """(K,) positive weights in the order of the sorted labels."""
    labels = groups.label
    if weight is None:
        return np.ones(labels.size)
    if isinstance(weight, str):
        if weight != "size":
            raise ValueError(f'weight is {weight!r}: the only word it takes is "size"')
        return groups.size.astype(float)
    if hasattr(weight, "keys"):  # a dict or a pandas Series: matched by label, not by position
        missing = [label for label in labels.tolist() if label not in weight]
        if missing:
            raise ValueError(
                f"weight has no entry for group {missing[0]!r}: every label needs one; "
                f"the labels are {labels.tolist()[:5]}{' …' if labels.size > 5 else ''}"
            )
        weight = [weight[label] for label in labels.tolist()]
    weight = _table("weight", weight)
    if weight.shape != labels.shape:
        raise ValueError(
            f"weight has shape {weight.shape}: must be ({labels.size},), one for each of the "
            f"labels {labels.tolist()[:5]}{' …' if labels.size > 5 else ''}"
        )
    bad = ~(np.isfinite(weight) & (weight > 0))
    if bad.any():
        k = int(np.argmax(bad))
        raise ValueError(
            f"weight[{k}] (group {labels[k]!s}) is {weight[k]}: must be finite and > 0; "
            f"leave a group out by dropping its people"
        )
    return np.asarray(weight)
