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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .checks import Floats, Integers, column

LARGE = 50_000  # items; numpy does fewer in less time than numba takes to load
SORTED_LARGE = 10_000  # the same for loops that follow a sort
BLOCK = 8192  # numbers that stay in the cache from one loop, or one line of numpy, to the next
LARGEST_RATIO = 1e300  # numbers of one kind that differ by more are not compared


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
        made: what takes the place of a function that the loop calls, by its name: a function that
            returns it, called when numba is there.
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
        made: Mapping[str, Callable[[], Any]] | None = None,
        large: int = LARGE,
        large_if_loaded: int | None = None,
        adds_up: bool = False,
        signature: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        self.loop, self.plain, self.large = loop, plain or loop, large
        self._helpers, self._made = helpers, made or {}
        self._signature, self._options = signature, options
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
        names |= {name: make() for name, make in self._made.items()}
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


def _vector(types: Any, kind: Any) -> Any:
    return types.Array(kind, 1, "C", readonly=True)


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
# Sums of doubles depend on the order of their terms.  Cut into two slices, each a multiple of a
# grid that is so coarse that no sum of them rounds, they do not: blocks, compiled loops and numpy
# all give the same, as would the same people in another order.  (Demmel and Nguyen, "Fast
# reproducible floating-point summation", 2013.)
def _add_slices(value, code, scale, coarse, fine, high, low):  # type: ignore[no-untyped-def]
    """Add the slices of value · scale[code] to ``high`` and ``low`` (K,)."""
    for i in range(value.size):
        k = code[i]
        term = value[i] * scale[k]
        slice_ = (term + coarse) - coarse
        high[k] += slice_
        low[k] += ((term - slice_) + fine) - fine


def _add_slices_in_numpy(
    value: Floats,
    code: Integers,
    scale: Floats,
    coarse: float,
    fine: float,
    high: Floats,
    low: Floats,
) -> None:
    term = value * scale[code]
    slice_ = (term + coarse) - coarse
    high += np.bincount(code, slice_, high.size)
    low += np.bincount(code, ((term - slice_) + fine) - fine, low.size)


_add_kernel = Kernel(_add_slices, _add_slices_in_numpy)


class GroupSums:
    """Sums by group of up to ``count`` terms, which may come in blocks and in any order.

    With 2^g > count and terms that are less than 1 once scaled, the slices are multiples of
    2^(g − 52) and 2^(2g − 105).  No sum of them rounds.  What is left of a term is at most
    2^(2g − 106): 4e−18 of the largest one at 10⁷ terms.

    Args:
        groups: K.
        count: how many terms will come at most, all groups together.
        scale: (K,) powers of two that take the terms of a group below 1; default 1.
    """

    def __init__(self, groups: int, count: int, scale: Floats | None = None) -> None:
        self._scale = np.ones(groups) if scale is None else scale
        self._count = count
        bits = max(count.bit_length(), 1)
        self._coarse, self._fine = 1.5 * 2.0**bits, 1.5 * 2.0 ** (2 * bits - 53)
        self._high, self._low = np.zeros((2, groups))

    def add(self, value: Floats, code: Integers) -> None:
        """Add these terms (n,) to the sums of their groups (n,)."""
        slices = (self._coarse, self._fine, self._high, self._low)
        _add_kernel(value, code, self._scale, *slices, work=self._count)

    @property
    def total(self) -> Floats:
        """(K,) the sums."""
        return (self._high + self._low) / self._scale


def _group_extremes(value, code, groups):  # type: ignore[no-untyped-def]
    """Least and largest value of each group, ∞ and −∞ of none, and who is first to have it."""
    least, largest = np.full(groups, np.inf), np.full(groups, -np.inf)
    first = np.full(groups, -1, np.int64)
    for i in range(value.size):
        k, own = code[i], value[i]
        if own < least[k]:
            least[k] = own
        if own > largest[k]:
            largest[k], first[k] = own, i
    return least, largest, first


def _group_extremes_in_numpy(
    value: Floats, code: Integers, groups: int
) -> tuple[Floats, Floats, Integers]:
    least, largest = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.fmin.at(least, code, value)
    np.fmax.at(largest, code, value)
    leads = np.flatnonzero((value == largest[code]) & (value > -np.inf))[::-1]
    first = np.full(groups, -1, np.int64)
    first[code[leads]] = leads  # the last assignment counts, which is the first row
    return least, largest, first


_extremes_kernel = Kernel(_group_extremes, _group_extremes_in_numpy)


def group_extremes(value: Floats, code: Integers, groups: int) -> tuple[Floats, Floats, Integers]:
    """(K,) least and largest ``value`` (N,) of each group, and where the largest comes first.

    ∞, −∞ and −1 in a group of nobody.
    """
    found: tuple[Floats, Floats, Integers] = _extremes_kernel(value, code, groups, work=value.size)
    return found


def group_sum(value: Floats, code: Integers, groups: int) -> Floats:
    """(K,) sums of ``value`` (N,) by group, to the bit the same in any order of the people.

    A budget handed out in 10⁷ parts is met to 1e−12; plain sums would miss it by 1e−10.
    """
    value = np.ascontiguousarray(value, float)
    least, largest, _ = group_extremes(value, code, groups)
    top = np.maximum(np.maximum(-least, largest), 0.0)  # 0 in a group of nobody
    if np.isinf(top).any():  # infinite terms have no slices
        return np.bincount(code, value, groups).astype(float, copy=False)
    power = np.minimum(-np.frexp(top)[1], 1022)  # what is below 2^−1022 has few digits already
    sums = GroupSums(groups, value.size, np.ldexp(1.0, power))
    sums.add(value, code)
    return sums.total


# --- tables as they are -----------------------------------------------------------------------
def flat_steps(array: Floats, shape: tuple[int, int]) -> tuple[Floats, int, int]:
    """Flat array and the steps that broadcast it to (N, T): entry (i, t) at i·row + t·column.

    Without a copy, whatever the order of its axes, and where it is cut out of a larger table; only
    an axis that runs backwards has to be copied.
    """
    table = column(array)
    once = tuple(slice(1 if step == 0 else None) for step in table.strides)
    table = table[once]  # where an axis is a repetition already, take it back
    rows, columns = table.shape
    if table.flags.c_contiguous:
        steps = (columns if rows == shape[0] else 0, 1 if columns == shape[1] else 0)
        return table.reshape(-1), *steps
    if any(step < 0 or step % table.itemsize for step in table.strides):
        return flat_steps(np.ascontiguousarray(table), shape)
    row, step = (
        stride // table.itemsize if length > 1 else 0
        for stride, length in zip(table.strides, table.shape, strict=True)
    )
    length = (rows - 1) * row + (columns - 1) * step + 1
    return np.lib.stride_tricks.as_strided(table, (length,), (table.itemsize,)), row, step


def unflatten(flat: Floats, steps: tuple[int, int], shape: tuple[int, int]) -> Floats:
    """The table (N, T) of `flat_steps`."""
    strides = tuple(step * flat.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)


def spread(flat, steps, first, rows, treatments, block):  # type: ignore[no-untyped-def]
    """Write some rows of a table that broadcasts, one after the other; in a kernel."""
    for i in range(rows):
        for t in range(treatments):
            block[i * treatments + t] = flat[(first + i) * steps[0] + t * steps[1]]


# --- money and caps into doses ----------------------------------------------------------------
def _pay(dose, cost, row, column, person, treatment, money):  # type: ignore[no-untyped-def]
    """Set these doses to money/cost; whether all of them are finite and none has lost digits."""
    ordinary = True
    for j in range(person.size):
        i, t = person[j], treatment[j]
        own = money[j] / cost[i * row + t * column]
        dose[i, t] = own
        ordinary &= (own >= TINY) & (own < np.inf)
    return ordinary


def _pay_in_numpy(
    dose: Floats,
    cost: Floats,
    row: int,
    column: int,
    person: Integers,
    treatment: Integers,
    money: Floats,
) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        own = money / cost[person * row + treatment * column]
    dose[person, treatment] = own
    return bool(((own >= TINY) & (own < np.inf)).all())


TINY = float(np.finfo(float).tiny)  # the least double with all its digits
_pay_kernel = Kernel(_pay, _pay_in_numpy, error_model="numpy")


def pay(cost: Floats, person: Integers, treatment: Integers, money: Floats) -> tuple[Floats, bool]:
    """(N, T) doses of items (i, t) for this money (M,), and whether all are finite and not tiny."""
    dose = np.zeros(cost.shape)
    flat = flat_steps(cost, (cost.shape[0], cost.shape[1]))
    return dose, bool(_pay_kernel(dose, *flat, person, treatment, money, work=money.size))


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


# --- the pieces of a knapsack: `alphafair.value.knapsack` is the plain twin of the first five ----
# The twins find the same items in the same order.  Money and V agree to a rounding only: a loop
# carries what each of its sums rounds off, which lines of numpy cannot, so that they add up trees.
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


def _position_bits(count):  # type: ignore[no-untyped-def]
    """The bits that hold a position among so many items, as a mask."""
    mask = 1
    while mask < count:
        mask *= 2
    return np.uint64(mask - 1)


def _extremes(ratio, length, start):  # type: ignore[no-untyped-def]
    """The least ratio and length of all items, and the least of the groups' largest ones."""
    least, least_largest = np.full(2, np.inf), np.full(2, np.inf)
    for k in range(start.size - 1):
        first, end = start[k], start[k + 1] - 1
        for which, value in enumerate((ratio, length)):
            low, high = np.inf, 0.0
            for j in range(first, end):
                low = value[j] if value[j] < low else low
                high = value[j] if value[j] > high else high
            least[which] = min(least[which], low)
            if first < end:
                least_largest[which] = min(least_largest[which], high)
    return least, least_largest


def _sort_keys(ratio, key, start, small):  # type: ignore[no-untyped-def]
    """Write the items' keys and sort those of small groups; returns the other groups.

    The order of keys is that of falling ratios, then of positions: a key is the complement of the
    leading bits of the ratio, a positive double, and the position inside the group in place of the
    last ones.  Plain integers are sorted three times as fast as by `numpy.argsort`.
    """
    bits = ratio.view(np.uint64)
    for k in range(start.size - 1):
        first, count = start[k], start[k + 1] - 1 - start[k]
        last = _position_bits(count)  # type: ignore[no-untyped-call]
        for j in range(count):
            key[first + j] = (~bits[first + j] & ~last) | np.uint64(j)
        if count <= small:
            own = key[first : first + count]
            for i in range(1, count):
                moved, j = own[i], i
                while j > 0 and own[j - 1] > moved:
                    own[j] = own[j - 1]
                    j -= 1
                own[j] = moved
    return np.flatnonzero(np.diff(start) - 1 > small)


def _running_totals(  # type: ignore[no-untyped-def]
    item, ratio, length, value, key, start, unit, spent, first_value, group
):
    """In place: items in order, ratio → slope, length → money where the piece begins, V there.

    Sums carry what they round off (Knuth's two-sum).  ``key`` and ``value`` may share their memory.
    Begins with a group; returns the first one whose keys are not in order, because ratios differ in
    their last bits only, or K.
    """
    largest = np.diff(start).max()
    new_item, new_ratio = np.empty(largest, np.int64), np.empty(largest)
    new_length = np.empty(largest)
    for k in range(group, unit.size):
        first, end = start[k], start[k + 1] - 1
        last = _position_bits(end - first)  # type: ignore[no-untyped-call]
        above, in_order = np.inf, True
        for j in range(end - first):
            i = first + np.int64(key[first + j] & last)
            new_item[j], new_ratio[j], new_length[j] = item[i], ratio[i], length[i]
            in_order &= ratio[i] <= above
            above = ratio[i]
        if not in_order:
            return k
        scale, paid, rest, had, more = 1 / unit[k], spent[k], 0.0, first_value[k], 0.0
        for j in range(end - first):
            slope, own, place = new_ratio[j] * scale, new_length[j], first + j
            item[place], ratio[place] = new_item[j], slope
            length[place], value[place] = paid + rest, had + more
            worth = own * slope
            total, both = paid + own, had + worth
            part, share = total - paid, both - had
            rest += (paid - (total - part)) + (own - part)
            more += (had - (both - share)) + (worth - share)
            paid, had = total, both
        length[end], value[end] = paid + rest, had + more
    return unit.size


COUNT, GATHER, EXTREMES, KEYS, TOTALS = (
    Kernel(loop, helpers=(_position_bits,), error_model="numpy")
    for loop in (_count, _gather, _extremes, _sort_keys, _running_totals)
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
