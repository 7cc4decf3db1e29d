"""Loops over all items, each written twice: compiled by numba for large inputs, plain otherwise.

numpy alone is enough.  A `Kernel` holds a loop that numba can compile and a **plain twin** with the
same results, vectorised where it is long.  The twin serves small inputs always, because importing
numba takes longer than solving them, and everything where numba is not installed (WebAssembly, for
one).  numba is imported when the first large input asks for it.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .checks import Floats, Integers, column

LARGE = 50_000  # items; numpy does fewer in less time than numba takes to load
SORTED_LARGE = 10_000  # the same for loops that follow a sort


@functools.cache
def numba() -> Any:
    """The module numba, imported at the first call; None where it is not installed or unwanted.

    The environment variable ``ALPHAFAIR_NUMBA=0`` does without.
    """
    if os.environ.get("ALPHAFAIR_NUMBA") == "0":
        return None
    try:
        import numba
    except ImportError:
        return None
    return numba


class Kernel:
    """A loop over all items and its plain twin.

    Args:
        loop: a function that numba can compile.
        plain: the same in numpy; None runs the loop itself as it stands.
        helpers: functions that the loop calls, each also those before it: compiled along with it.
        large: from this amount of work on the loop is compiled, where numba is there.
        large_if_loaded: the same where numba is loaded already; for twins that agree to the last
            digit, or results would depend on earlier calls.
        adds_up: count the work of all calls so far, where small calls come by the thousand.  The
            twins must then agree to the last digit, or results would depend on earlier calls.
        signature: types to compile for at once; None compiles for the types of each call.
        options: passed on to `numba.njit`, such as ``error_model="numpy"`` or ``parallel=True``.
    """

    def __init__(
        self,
        loop: Callable[..., Any],
        plain: Callable[..., Any] | None = None,
        *,
        helpers: Sequence[Callable[..., Any]] = (),
        large: int = LARGE,
        large_if_loaded: int | None = None,
        adds_up: bool = False,
        signature: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        self.loop, self.plain, self.large = loop, plain or loop, large
        self._helpers, self._signature, self._options = helpers, signature, options
        self._adds_up, self._done = adds_up, 0
        self._if_loaded = large_if_loaded
        self._compiled: Any = None
        self._cached = True
        functools.update_wrapper(self, loop)

    def __call__(self, *arguments: Any, work: int) -> Any:
        """The results, by whichever twin suits this amount of work."""
        if self._adds_up:
            self._done = work = self._done + work
        return (self.compiled if self.compiles(work) else self.plain)(*arguments)

    def compiles(self, work: int) -> bool:
        """Whether this amount of work is done by the compiled loop."""
        loaded = self._if_loaded is not None and "numba" in sys.modules
        return work >= (self._if_loaded if loaded else self.large) and numba() is not None

    def compiled(self, *arguments: Any) -> Any:
        """The results of the compiled loop, compiled in memory where no cache can be written."""
        try:
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled(*arguments)
        except (OSError, RuntimeError):
            if not self._cached:
                raise
            self._cached, self._compiled = False, None
            return self.compiled(*arguments)

    def _compile(self) -> Any:
        module = numba()
        signature = self._signature(module.types) if self._signature else None
        jit = module.njit(signature, cache=self._cached, **self._options)
        if not self._helpers:
            return jit(self.loop)
        names = dict(self.loop.__globals__)
        for helper in self._helpers:
            names[helper.__name__] = module.njit(**self._options)(_among(names, helper))
        return jit(_among(names, self.loop))


def _among(names: dict[str, Any], function: Any) -> Any:
    """The same function, which finds what it calls among these names."""
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)


def compiles(work: int, large: int = LARGE) -> bool:
    """Whether this amount of work is done by compiled loops."""
    return work >= large and numba() is not None


# --- sums by group ----------------------------------------------------------------------------
def _group_sum(value, code, groups):  # type: ignore[no-untyped-def]
    """Kahan's compensated sum: a plain one is off by 1e−10 after 10⁷ equal terms."""
    total, lost = np.zeros(groups), np.zeros(groups)
    for i in range(value.size):
        k = code[i]
        term = value[i] - lost[k]
        new = total[k] + term
        lost[k] = (new - total[k]) - term
        total[k] = new
    return total


def _group_sum_in_blocks(value: Floats, code: Integers, groups: int) -> Floats:
    """Partial sums over blocks of rows, then their sum: rounding grows with √N at most."""
    blocks = int(min(np.sqrt(value.size), value.size / groups)) + 1
    if blocks < 64:
        return np.bincount(code, value, groups).astype(float, copy=False)  # whole, if empty
    block = np.arange(value.size) // -(-value.size // blocks)
    part = np.bincount(block * groups + code, value, blocks * groups)
    return np.asarray(part.reshape(blocks, groups).sum(axis=0))


_sum_kernel = Kernel(
    _group_sum,
    _group_sum_in_blocks,
    signature=lambda t: (_vector(t, t.float64), _vector(t, t.intp), t.intp),
)


def group_sum(value: Floats, code: Integers, groups: int) -> Floats:
    """(K,) sums of ``value`` (N,) by group; a budget handed out in 10⁷ parts is met to 1e−12."""
    value = np.ascontiguousarray(value, float)
    total: Floats = _sum_kernel(value, code, groups, work=value.size)
    return total


# --- the scan: best ratio b/c of every owner (group or person) -------------------------------
def _best_ratios(benefit, benefit_step, cost, cost_step, shape, owner, owners):  # type: ignore[no-untyped-def]
    """Largest b/c of each owner and its item i·T + t (−1: no b > 0), and whether all is valid.

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


def _best_ratios_in_numpy(
    benefit: Floats,
    benefit_step: tuple[int, int],
    cost: Floats,
    cost_step: tuple[int, int],
    shape: tuple[int, int],
    owner: Integers,
    owners: int,
) -> tuple[Floats, Integers, bool]:
    finite = np.isfinite(benefit).all() and np.isfinite(cost).all()
    valid = bool(finite and cost.min() > 0)
    b, c = _unflatten(benefit, benefit_step, shape), _unflatten(cost, cost_step, shape)
    with np.errstate(all="ignore"):
        ratio = np.where(b > 0, b / c, -1.0)
        treatment = ratio.argmax(axis=1)
        person = ratio[np.arange(shape[0]), treatment]
        best = np.full(owners, -1.0)
        np.maximum.at(best, owner, person)
    leads = np.flatnonzero((person == best[owner]) & (person >= 0))[::-1]
    first = np.zeros(owners, np.intp)
    first[owner[leads]] = leads  # the last assignment counts, which is the first row
    item = np.where(best >= 0, first * shape[1] + treatment[first], -1)
    return np.maximum(best, 0.0), item.astype(np.int64), valid


_scan_kernel = Kernel(
    _best_ratios,
    _best_ratios_in_numpy,
    signature=lambda t: (
        *(_vector(t, t.float64), t.UniTuple(t.intp, 2)) * 2,
        t.UniTuple(t.intp, 2),
        _vector(t, t.intp),
        t.intp,
    ),
    large_if_loaded=1000,
    error_model="numpy",  # c = 0 is refused later
)


def best_ratios(
    benefit: Floats, cost: Floats, shape: tuple[int, int], owner: Integers, owners: int
) -> tuple[Floats, Integers, bool]:
    """Largest b/c of each owner, its item (−1: none with b > 0), and whether all entries are valid.

    Valid means finite, and c > 0.  ``owner`` (N,) says whose row it is; the first of tied items
    wins.  Both tables broadcast to ``shape`` without a copy.
    """
    b, *benefit_step = flat_steps(benefit, shape)
    c, *cost_step = flat_steps(cost, shape)
    steps = tuple(benefit_step), tuple(cost_step)
    found: tuple[Floats, Integers, bool] = _scan_kernel(
        b, steps[0], c, steps[1], shape, owner, owners, work=shape[0] * shape[1]
    )
    return found


def flat_steps(array: Floats, shape: tuple[int, int]) -> tuple[Floats, int, int]:
    """Flat array and the two strides that broadcast it to (N, T) without a copy."""
    table = column(array)
    once = tuple(slice(1 if step == 0 else None) for step in table.strides)
    table = table[once]  # where an axis is a repetition already, take it back
    rows, columns = table.shape
    steps = (columns if rows == shape[0] else 0, 1 if columns == shape[1] else 0)
    return np.ascontiguousarray(table).reshape(-1), *steps


def _unflatten(flat: Floats, steps: tuple[int, int], shape: tuple[int, int]) -> Floats:
    strides = tuple(step * flat.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)


def _vector(types: Any, kind: Any) -> Any:
    return types.Array(kind, 1, "C", readonly=True)


# --- caps into doses --------------------------------------------------------------------------
def _fill(dose, cap, row, column, item):  # type: ignore[no-untyped-def]
    """Set the doses of these items to their caps."""
    treatments = dose.shape[1]
    for j in range(item.size):
        i, t = item[j] // treatments, item[j] % treatments
        dose[i, t] = cap[i * row + t * column]


def _fill_in_numpy(dose: Floats, cap: Floats, row: int, column: int, item: Integers) -> None:
    place = np.divmod(item, dose.shape[1])
    dose[place] = cap[place[0] * row + place[1] * column]


_fill_kernel = Kernel(_fill, _fill_in_numpy, large=SORTED_LARGE)


def fill(dose: Floats, cap: Floats, item: Integers) -> None:
    """Set the doses (N, T) of these items, flat positions i·T + t, to their caps."""
    _fill_kernel(dose, *flat_steps(cap, (dose.shape[0], dose.shape[1])), item, work=item.size)


# --- sums along the pieces of each group, without a subtraction -------------------------------
def prefix_sums(value: Floats, start: Integers) -> Floats:
    """Inclusive running sums, along the last axis, inside each group ``start[k] : start[k + 1]``.

    By doubling: log₂ n sweeps, each of which adds the sum that ends just before one's own.  Sums
    are those of a balanced tree, so that the rounding grows with log n.
    """
    total = np.array(value, float)
    place = np.arange(total.shape[-1]) - np.repeat(start[:-1], np.diff(start))
    step = 1
    longest = int(np.diff(start).max(initial=0))
    while step < longest:
        later = np.flatnonzero(place >= step)
        total[..., later] += total[..., later - step]
        step *= 2
    return total


def interval_log_sums(log_term: Floats, first: Integers, end: Integers, size: int) -> Floats:
    """(size,) logarithm of Σ_j exp(log_term_j) over the intervals first_j ≤ position < end_j.

    A running sum that adds a term where its interval begins and takes it away where it ends would
    lose the small terms that remain after a large one.  A segment tree never subtracts: each
    interval is a union of O(log n) nodes, and a position sums the nodes above it.  Terms keep their
    scale: a node has the largest logarithm and the sum relative to it.
    """
    width = 1 << max(size - 1, 0).bit_length()
    nodes, terms = _nodes_of_intervals(log_term, first + width, end + width)
    top = np.full(2 * width, -np.inf)
    np.maximum.at(top, nodes, terms)
    with np.errstate(invalid="ignore"):
        relative = np.exp(terms - top[nodes])
    total = np.bincount(nodes, np.where(np.isfinite(terms), relative, 0.0), 2 * width)
    level = 1
    while level < width:  # from the root down, every child takes in its parent
        child = np.arange(2 * level, 4 * level)
        above, own = top[child >> 1], top[child]
        larger = np.maximum(above, own)
        shift = np.where(larger == -np.inf, 0.0, larger)
        total[child] = total[child] * np.exp(own - shift) + total[child >> 1] * np.exp(
            above - shift
        )
        top[child] = larger
        level *= 2
    with np.errstate(divide="ignore"):
        return np.asarray((top[width:] + np.log(total[width:]))[:size])


def _nodes_of_intervals(
    log_term: Floats, left: Integers, right: Integers
) -> tuple[Integers, Floats]:
    """The nodes of a segment tree, leaves at ``width`` and beyond, that make up each interval."""
    nodes, terms = [np.zeros(0, np.intp)], [np.zeros(0)]
    while (busy := left < right).any():
        left, right, log_term = left[busy], right[busy], log_term[busy]
        odd = (left & 1) == 1
        nodes.append(left[odd])
        terms.append(log_term[odd])
        left = left + odd
        odd = ((right & 1) == 1) & (left <= right - 1)
        right = right - (right & 1)
        nodes.append(right[odd])
        terms.append(log_term[odd])
        left, right = left >> 1, right >> 1
    return np.concatenate(nodes), np.concatenate(terms)
