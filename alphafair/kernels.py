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
from numpy.typing import NDArray

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
        large = self.large
        if self._if_loaded is not None and "numba" in sys.modules:
            large = self._if_loaded
        return work >= large and numba() is not None

    def compiled(self, *arguments: Any) -> Any:
        """The results of the compiled loop, compiled in memory where the cache is of no use.

        A cache that cannot be written raises OSError or RuntimeError; one that a full disk has cut
        short, whatever unpickling its pieces meets.  An error of the loop itself comes again.
        """
        try:
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled(*arguments)
        except Exception:
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


# --- labels become codes ----------------------------------------------------------------------
FEW = 4096  # counters in four copies stay in the cache


def _count_from(label, low, code, width):  # type: ignore[no-untyped-def]
    """Four counters in turn: adding to one that has just been added to waits for it."""
    one = np.zeros(width, np.int64)
    two, three, four = one, one, one
    if width <= FEW:
        two, three, four = np.zeros(width, np.int64), one.copy(), one.copy()
    whole = label.size // 4 * 4
    for i in range(0, whole, 4):
        a, b = np.uint64(label[i] - low), np.uint64(label[i + 1] - low)
        c, d = np.uint64(label[i + 2] - low), np.uint64(label[i + 3] - low)
        code[i], code[i + 1], code[i + 2], code[i + 3] = a, b, c, d
        one[a] += 1
        two[b] += 1
        three[c] += 1
        four[d] += 1
    for i in range(whole, label.size):
        a = np.uint64(label[i] - low)
        code[i] = a
        one[a] += 1
    return one + two + three + four if width <= FEW else one


def _count_from_in_numpy(label: Integers, low: int, code: Integers, width: int) -> Integers:
    np.subtract(label, low, out=code, casting="unsafe")
    return np.bincount(code, minlength=width)


def _renumber(code, rank, out, groups):  # type: ignore[no-untyped-def]
    count = np.zeros(groups, np.int64)
    for i in range(code.size):
        k = rank[code[i]]
        out[i] = k
        count[k] += 1
    return count


def _renumber_in_numpy(code: Integers, rank: Integers, out: Integers, groups: int) -> Integers:
    np.take(rank, code, out=out, mode="clip")  # which spares a buffer; all are in range
    return np.bincount(out, minlength=groups)


def _look_up(words, most):  # type: ignore[no-untyped-def]
    """Rows in the order of their first appearance: these first positions (K,) and codes (N,).

    An open table with linear probing, at most half full; in each place the hash of a row and one
    more than its code.  The hash of one word (a product with an odd number, after mixing) tells all
    words apart.  No positions at all where more than ``most`` rows differ.
    """
    odd, half, one = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(1)
    persons, length = words.shape
    bits, count = 10, 0
    table = np.zeros((1 << bits, 2), np.uint64)
    first, code = np.empty(1 << (bits - 1), np.int64), np.empty(persons, np.int64)
    last, shift = np.uint64(len(table) - 1), np.uint64(64 - bits)
    for i in range(persons):
        mixed = np.uint64(0)
        for j in range(length):
            mixed = mixed ^ np.uint64(words[i, j])
            mixed = (mixed ^ (mixed >> half)) * odd
        place = mixed >> shift
        while table[place, 1] != 0:
            if table[place, 0] == mixed:
                same = True
                if length > 1:
                    other = first[table[place, 1] - one]
                    for j in range(length):
                        same &= words[other, j] == words[i, j]
                if same:
                    break
            place = (place + one) & last
        if table[place, 1] == 0:
            table[place, 0], table[place, 1], first[count] = mixed, count + 1, i
            code[i] = count
            count += 1
            if count > most:
                return first[:0], code
            if count == len(first):
                bits += 1
                table, first = _twice_as_large(table, first, bits)  # type: ignore[no-untyped-call]
                last, shift = np.uint64(len(table) - 1), np.uint64(64 - bits)
        else:
            code[i] = table[place, 1] - one
    return first[:count], code


def _twice_as_large(table, first, bits):  # type: ignore[no-untyped-def]
    """The same entries in a table of 2^bits places, and the same positions with room for more."""
    last, shift = np.uint64((1 << bits) - 1), np.uint64(64 - bits)
    larger, longer = np.zeros((1 << bits, 2), np.uint64), np.empty(1 << (bits - 1), np.int64)
    for row in range(len(table)):
        if table[row, 1] != 0:
            place = table[row, 0] >> shift
            while larger[place, 1] != 0:
                place = (place + np.uint64(1)) & last
            larger[place, 0], larger[place, 1] = table[row, 0], table[row, 1]
    longer[: first.size] = first
    return larger, longer


def _of_each_code_type(signature: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda t: [signature(t, t.Array(kind, 1, "C")) for kind in (t.uint8, t.uint16, t.uint32)]


_count_kernel = Kernel(
    _count_from,
    _count_from_in_numpy,
    signature=_of_each_code_type(lambda t, codes: (_vector(t, t.int64), t.int64, codes, t.int64)),
    large_if_loaded=1000,
)
_renumber_kernel = Kernel(_renumber, _renumber_in_numpy, large_if_loaded=1000)
LOOK_UP = Kernel(  # the dictionary and the sort of `alphafair.groups` are its plain twins
    _look_up, helpers=(_twice_as_large,), large_if_loaded=10_000
)


def count_from(label: Integers, low: int, code: Integers, width: int) -> Integers:
    """(width,) how often each label ``low``, ``low + 1``, … comes; their numbers go into ``code``.

    All labels (N,) lie in the range.
    """
    label = np.ascontiguousarray(label)
    count: Integers = _count_kernel(label, low, code, width, work=label.size)
    return count


def renumber(code: Integers, rank: Integers, groups: int) -> tuple[Integers, Integers]:
    """(N,) ``rank[code]``, of the type of ``rank``, and (K,) how often each number comes."""
    out = np.empty(code.size, rank.dtype)
    count: Integers = _renumber_kernel(code, rank, out, groups, work=code.size)
    return out, count


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
    value, code = np.ascontiguousarray(value, float), code.astype(np.intp, copy=False)
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
    owner = owner.astype(np.intp, copy=False)
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


# --- the pieces of a knapsack: `alphafair.value.knapsack` is the plain twin of the first four ----
def falling(value: Floats) -> NDArray[np.int32]:
    """The order of falling positive values; those that tie stay in order.

    One plain sort of integers, three times as fast as `numpy.argsort`: the leading bits of the
    value, complemented, and the position in place of its last bits.  Values that only these bits
    tell apart are put right by a stable sort, which is linear where nearly all is in order.
    """
    last = np.uint64(2 ** (value.size - 1).bit_length() - 1)
    key = (~value.view(np.uint64) & ~last) | np.arange(value.size, dtype=np.uint64)
    key.sort()
    order = (key & last).astype(np.int32)
    value = value[order]
    if (value[1:] > value[:-1]).any():
        return order[np.argsort(-value, kind="stable")]
    return order


SMALL = 32  # groups of at most this many items are sorted inside numba, the others by numpy


def _count(benefit, floor, cap, treatments, code, groups):  # type: ignore[no-untyped-def]
    """Where each group's pieces start: its items with b > 0 and cap > floor, and the end."""
    (b, b_row, b_column), (cap, cap_row, cap_column) = benefit, cap
    floor, floor_row, floor_column = floor
    start = np.zeros(groups + 1, np.int64)
    start[1:] = 1
    for i in range(code.size):
        useful = 0
        for t in range(treatments):
            above = cap[i * cap_row + t * cap_column] > floor[i * floor_row + t * floor_column]
            useful += (b[i * b_row + t * b_column] > 0) & above
        start[code[i] + 1] += useful
    return np.cumsum(start)


def _gather(  # type: ignore[no-untyped-def]
    benefit, cost, floor, cap, treatments, scale, code, start, item, ratio, length
):
    """Fill in items, in row order inside each group, their b/c and their length."""
    (b, b_row, b_column), (cap, cap_row, cap_column) = benefit, cap
    (c, c_row, c_column), (floor, floor_row, floor_column) = cost, floor
    place = start[:-1].copy()
    for i in range(code.size):
        for t in range(treatments):
            own_b, own_cap = b[i * b_row + t * b_column], cap[i * cap_row + t * cap_column]
            room = own_cap - floor[i * floor_row + t * floor_column]
            if own_b > 0 and room > 0:
                own_c, j = c[i * c_row + t * c_column], place[code[i]]
                item[j], ratio[j] = i * treatments + t, own_b / own_c
                # ∞ times a cost that has underflowed is endless, too
                length[j] = min(room * (own_c / scale), 2.0) if room < np.inf else 2.0
                place[code[i]] = j + 1
    for k in range(place.size):
        item[place[k]], ratio[place[k]], length[place[k]] = -1, 0.0, 0.0


def _sort_small(ratio, order, start, small):  # type: ignore[no-untyped-def]
    """Order inside each small group, by stable insertion; returns the other groups."""
    large = np.diff(start) - 1 > small
    for k in range(large.size):
        if large[k]:
            continue
        own, place = ratio[start[k] : start[k + 1] - 1], order[start[k] : start[k + 1] - 1]
        for i in range(own.size):
            j = i
            while j > 0 and own[place[j - 1]] < own[i]:
                place[j] = place[j - 1]
                j -= 1
            place[j] = i
    return np.flatnonzero(large)


def _running_totals(  # type: ignore[no-untyped-def]
    item, ratio, length, value, order, start, unit, spent, first_value
):
    """In place: items in order, ratio → slope, length → money where the piece begins, V there.

    Sums carry what they round off (Knuth's two-sum).
    """
    largest = np.diff(start).max()
    old_item, old_ratio = np.empty(largest, np.int64), np.empty(largest)
    old_length = np.empty(largest)
    for k in range(unit.size):
        first, end = start[k], start[k + 1] - 1
        old_item[: end - first], old_ratio[: end - first] = item[first:end], ratio[first:end]
        old_length[: end - first] = length[first:end]
        scale, paid, rest, had, more = 1 / unit[k], spent[k], 0.0, first_value[k], 0.0
        for j in range(first, end):
            i = order[j]
            slope, own, item[j] = old_ratio[i] * scale, old_length[i], old_item[i]
            ratio[j], length[j], value[j] = slope, paid + rest, had + more
            worth = own * slope
            total, both = paid + own, had + worth
            part, share = total - paid, both - had
            rest += (paid - (total - part)) + (own - part)
            more += (had - (both - share)) + (worth - share)
            paid, had = total, both
        length[end], value[end] = paid + rest, had + more


COUNT, GATHER, SORT, TOTALS = (
    Kernel(loop, error_model="numpy") for loop in (_count, _gather, _sort_small, _running_totals)
)


def _search(  # type: ignore[no-untyped-def]
    level, of_value, of_slope, log_value, log_slope, plain, start, log_weight
):
    """The last piece of each group that has begun at this level, by bisection.

    ``plain`` says that the two arrays are V and V', not their logarithms.
    """
    piece = np.empty(log_weight.size, np.int64)
    for k in range(log_weight.size):
        first, end = start[k], start[k + 1] - 1  # the end never begins
        while first < end:
            j = (first + end) // 2
            value, slope = log_value[j], log_slope[j]
            if plain:
                value, slope = np.log(value), np.log(slope)
            if slope == -np.inf:
                begun = False
            elif slope == np.inf or (value == -np.inf and of_value > 0):
                begun = True
            else:
                begins = of_slope * (log_weight[k] + slope)
                begun = (of_value * value if of_value > 0 else 0.0) - begins <= level
            if begun:
                first = j + 1
            else:
                end = j
        piece[k] = first - 1
    return piece


def _demand(  # type: ignore[no-untyped-def]
    level, of_value, of_slope, value, slope, money, start, log_weight, least, most
):
    """What the groups of a knapsack spend at a level of the price: pieces, money, dx/dℓ, total."""
    piece = _search(level, of_value, of_slope, value, slope, True, start, log_weight)  # type: ignore[no-untyped-call]
    spent, stretch = np.empty(log_weight.size), np.zeros(log_weight.size)
    total = 0.0
    for k in range(log_weight.size):
        j = max(piece[k], start[k])
        x = money[j]
        if piece[k] >= start[k]:
            if of_value == 0:
                x = money[j + 1]
            else:
                reach = (level + of_slope * (log_weight[k] + np.log(slope[j]))) / of_value
                rise = np.exp(reach) / slope[j]
                more = x + (rise - value[j] / slope[j])
                if x < more < money[j + 1]:
                    x, stretch[k] = more, rise / of_value
                elif more >= money[j + 1]:
                    x = money[j + 1]
        if x <= least[k] or x >= most[k]:
            x, stretch[k] = min(max(x, least[k]), most[k]), 0.0
        spent[k] = x
        total += x
    return piece, spent, total, stretch


def _locate(money, start, target):  # type: ignore[no-untyped-def]
    """The last piece of each group that begins at or before the target, by bisection."""
    piece = np.empty(target.size, np.int64)
    for k in range(target.size):
        first, end = start[k], start[k + 1]
        while first < end:
            j = (first + end) // 2
            if money[j] <= target[k]:
                first = j + 1
            else:
                end = j
        piece[k] = max(first - 1, start[k])
    return piece


def _filled(item, start, piece):  # type: ignore[no-untyped-def]
    """The items that stand before each group's piece."""
    full = np.empty((piece - start[:-1]).sum(), np.int64)
    place = 0
    for k in range(piece.size):
        count = piece[k] - start[k]
        full[place : place + count] = item[start[k] : piece[k]]
        place += count
    return full


def _filled_by_mask(item: Integers, start: Integers, piece: Integers) -> Integers:
    return item[np.arange(item.size) < np.repeat(piece, np.diff(start))]


def _locate_by_counting(money: Floats, start: Integers, target: Floats) -> Integers:
    passed = money <= np.repeat(target, np.diff(start))
    count = np.add.reduceat(passed, start[:-1], dtype=np.intp)
    return np.asarray(start[:-1] + np.maximum(count, 1) - 1)


DEMAND = Kernel(_demand, helpers=(_search,), error_model="numpy", large=SORTED_LARGE)
SEARCH = Kernel(_search, error_model="numpy", large=SORTED_LARGE)
FILLED = Kernel(_filled, _filled_by_mask, large=SORTED_LARGE)
LOCATE = Kernel(_locate, _locate_by_counting, large=SORTED_LARGE)


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
