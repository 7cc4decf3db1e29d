"""One pass over benefits and costs: the best ratio b/c of every owner, a group or a person.

All that the closed form needs of N × T items is K ratios, so that its time is that of this pass.
It goes at about the pace at which memory delivers the two tables:

- A **block** of rows, as many as fill a vector, is asked one question: does any item reach the
  threshold of its owner, ``b ≥ threshold · c``, or is anything in it not valid?  Nearly all blocks
  say no, and then nothing else happens to them.  The question replaces a division for every item by
  one for every improvement, and it needs each number only once.
- The winner is exactly the first maximum of fl(b/c), because rounding is monotone: if fl(b/c) is
  larger than the best ratio, and θ is not, then θ c < b, and fl(θ c) ≤ b.
- Thresholds are rounded down to single precision: twice as many stay in the first cache, and the
  comparison lets through a few items more, which a division then decides.  (Rounded to two bytes
  they would let through all items of a table whose ratios are alike.)
- Where many blocks say yes (an owner for every row or two, or ties) all ratios of a **stretch** of
  rows are computed without a branch.
- Tables are read as they are, float64 or float32, in any order of their axes, broadcast or cut
  out of a larger table.  Only stretches are ever copied.
- **Threads** take parts of the rows.  The best of two parts is the same whoever finds it, so that
  results do not depend on their number, to the bit.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import Floats, Integers
from .kernels import BLOCK, LARGEST_RATIO, Kernel, flat_steps, spread, unflatten

STRETCH = 2048  # items whose ratios, computed before they are compared, stay in the first caches
VECTOR = 64  # bytes of a block: the longest vectors there are, and two where they are shorter
FREQUENT = 16  # where one row in so many has something, looking at all without a branch is faster
MANY_THREADS = 8
LARGE_PART = 5_000_000  # items: fewer are done nearly as soon as another core has woken up
ROWS_AN_OWNER = 16  # with fewer, putting parts together takes as long as a part


# What takes the best ratio to a threshold in single precision that is not larger.  Below the least,
# factors are no help against rounding: the threshold is 0, and all is divided.
ROUNDED_DOWN, LEAST, LARGEST = 1 - 2.0**-23, 2.0**-125, float(np.finfo(np.float32).max)


# --- one block: a question in vector instructions ---------------------------------------------
class Block(NamedTuple):
    """How many columns and rows a block has, as lengths of tuples: these the compiler reads.

    ``wider`` is empty where rows fit into a block.
    """

    columns: tuple[int, ...]
    rows: tuple[int, ...]
    wider: tuple[int, ...]


def block_of(kind: np.dtype[Any], treatments: int) -> Block:
    """The block of a table of this type with so many columns."""
    items = VECTOR // kind.itemsize
    lengths = min(items, treatments), max(items // treatments, 1), int(treatments > items)
    return Block(*((0,) * length for length in lengths))


def _asks(b, c, i, owner, row, threshold, columns, rows):  # type: ignore[no-untyped-def]
    """Whether a block of rows has something: an item with b ≥ θ c, or one that is not valid.

    The block has ``len(rows)`` rows of ``len(columns)`` items, flat in b and c from i on; θ is the
    threshold of the row's owner.  All is compared in the wider type of the two tables.  This is
    what `_asks_by_vectors` means.
    """
    number = np.result_type(b, c).type
    for r in range(len(rows)):
        least = number(threshold[owner[row + r]])
        for t in range(r * len(columns), (r + 1) * len(columns)):
            x, y = number(b[i + t]), number(c[i + t])
            if not (x < least * y and -np.inf < x and 0 < y < np.inf):
                return True
    return False


def _asks_by_vectors() -> Any:
    """Make `_asks` of LLVM's vectors, whatever the processor's are: no loop, and no branch.

    The first comparison is true of NaN, too ("unordered").
    """
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic
    def _asks(_, b, c, i, owner, row, threshold, columns, rows):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            b, c, i, owner, row, threshold = (
                context.make_array(kind)(context, builder, value).data
                if isinstance(kind, types.Array)
                else value
                for kind, value in zip(signature.args[:6], arguments[:6], strict=True)
            )
            size, word, long = len(columns) * len(rows), ir.IntType(32), ir.IntType(64)
            both = b.type.pointee, c.type.pointee
            number = ir.DoubleType() if ir.DoubleType() in both else ir.FloatType()

            def widened(vector):  # type: ignore[no-untyped-def]
                """The same numbers in the wider of the two tables' types."""
                if vector.type.element == number:
                    return vector
                return builder.fpext(vector, ir.VectorType(number, vector.type.count))

            def items(flat):  # type: ignore[no-untyped-def]
                own = flat.type.pointee
                place = builder.gep(flat, [i])
                vector = builder.load(builder.bitcast(place, ir.VectorType(own, size).as_pointer()))
                vector.align = context.get_abi_sizeof(own)
                return widened(vector)

            least = ir.Constant(ir.VectorType(threshold.type.pointee, len(rows)), ir.Undefined)
            for r in range(len(rows)):
                k = builder.load(builder.gep(owner, [builder.add(row, long(r))]))
                k = builder.zext(k, long) if k.type.width < long.width else k
                value = builder.load(builder.gep(threshold, [k]))
                least = builder.insert_element(least, value, word(r))
            least = widened(least)
            of_row = [r for r in range(len(rows)) for _ in columns]
            least = builder.shuffle_vector(
                least, least, ir.Constant(ir.VectorType(word, size), of_row)
            )
            benefit, cost = items(b), items(c)
            answer = builder.fcmp_unordered(">=", benefit, builder.fmul(least, cost))
            for sign, side, end in (
                ("<=", benefit, -np.inf),
                ("<=", cost, 0.0),
                (">=", cost, np.inf),
            ):
                bound = ir.Constant(side.type, [end] * size)
                answer = builder.or_(answer, builder.fcmp_ordered(sign, side, bound))
            bits = builder.bitcast(answer, ir.IntType(size))
            return builder.icmp_unsigned("!=", bits, bits.type(0))

        place = types.intp
        signature = types.boolean(b, c, place, owner, place, threshold, columns, rows)
        return signature, generate

    return _asks


# --- all stretches ----------------------------------------------------------------------------
def _best_ratios(  # type: ignore[no-untyped-def]
    benefit, benefit_step, cost, cost_step, shape, owner, best, item, threshold, block, stretch
):
    """Fill in the largest b/c of each owner and its item i·T + t; whether all entries are valid.

    ``best`` comes as zeros and ``item`` as −1, which is how they stay where no b > 0.
    ``threshold`` is one for each owner, or none at all, and then all ratios are computed.
    ``stretch``: how many items at a time.  All is in one function, because a call that passes
    arrays takes as long as ten blocks.
    """
    columns, rows = block.columns, block.rows
    wide, high, narrow = len(columns), len(rows), len(block.wider) == 0
    persons, treatments = shape[0], wide if narrow else shape[1]
    length = max(stretch // (high * treatments), 1) * high  # of a stretch, in rows
    # Whole tables where they are laid out like a stretch, else room for one stretch.
    b_whole, c_whole = benefit_step == (treatments, 1), cost_step == (treatments, 1)
    own_b = np.empty(length * treatments, benefit.dtype)
    own_c = np.empty(length * treatments, cost.dtype)
    b_flat, c_flat = benefit if b_whole else own_b, cost if c_whole else own_c
    ratio = np.empty(length * treatments)
    always = threshold.size == 0
    looked, good, found = 0, 0, length
    for first in range(0, persons, length):
        n = min(length, persons - first)
        if not b_whole and (first == 0 or benefit_step[0] > 0):
            spread(benefit, benefit_step, first, n, treatments, own_b)
        if not c_whole and (first == 0 or cost_step[0] > 0):
            spread(cost, cost_step, first, n, treatments, own_c)
        i, j = first * treatments if b_whole else 0, first * treatments if c_whole else 0
        b, c = b_flat[i : i + n * treatments], c_flat[j : j + n * treatments]
        own = owner[first : first + n]
        if always or found * FREQUENT > n or n < length:  # look at all
            looked, found = looked + n, 0
            for i in range(b.size):
                good += (abs(b[i]) < np.inf) & (c[i] > 0) & (c[i] < np.inf)
                quotient = np.float64(b[i]) / np.float64(c[i])
                ratio[i] = quotient if b[i] > 0 else -1.0
            for row in range(own.size):
                k, most, leader = own[row], ratio[row * treatments], 0
                for t in range(1, treatments):
                    leader = t if ratio[row * treatments + t] > most else leader
                    most = max(most, ratio[row * treatments + t])
                if most > best[k] or (item[k] < 0 and most >= 0):
                    best[k], item[k], found = most, (first + row) * treatments + leader, found + 1
                    if not always:
                        threshold[k] = min(most * ROUNDED_DOWN, LARGEST) if most >= LEAST else 0.0
            continue
        found, head = 0, 0
        while True:
            if narrow:
                while head < n and not _asks(
                    b, c, head * treatments, own, head, threshold, columns, rows
                ):
                    head += high
            else:  # a row has more items than a block: the last piece begins where it still fits
                some = False
                while head < n and not some:
                    for start in range(0, treatments, wide):
                        i = head * treatments + min(start, treatments - wide)
                        some |= _asks(b, c, i, own, head, threshold, columns, rows)
                    head += not some
            if head == n:
                break
            for row in range(head, head + high):
                i = row * treatments
                if narrow and not _asks(b, c, i, own, row, threshold, columns, rows[:1]):
                    continue
                looked, found = looked + 1, found + 1
                k, most, leader = own[row], -1.0, 0
                for t in range(treatments):
                    x, y = b[i + t], c[i + t]
                    good += (abs(x) < np.inf) & (y > 0) & (y < np.inf)
                    quotient = np.float64(x) / np.float64(y)
                    better = (quotient > most) & (x > 0)
                    leader, most = t if better else leader, quotient if better else most
                if most > best[k] or (item[k] < 0 and most >= 0):
                    best[k], item[k] = most, (first + row) * treatments + leader
                    threshold[k] = min(most * ROUNDED_DOWN, LARGEST) if most >= LEAST else 0.0
            head += high
    return good == looked * treatments


def _best_ratios_in_numpy(
    benefit: Floats,
    benefit_step: tuple[int, int],
    cost: Floats,
    cost_step: tuple[int, int],
    shape: tuple[int, int],
    owner: Integers,
    best: Floats,
    item: Integers,
    *_: Any,
) -> bool:
    b, c = (
        np.asarray(unflatten(flat, step, shape), float)
        for flat, step in ((benefit, benefit_step), (cost, cost_step))
    )
    valid = bool(np.isfinite(b).all() and np.isfinite(c).all() and c.min() > 0)
    with np.errstate(all="ignore"):
        ratio = np.where(b > 0, b / c, -1.0)
        treatment = ratio.argmax(axis=1)
        person = ratio[np.arange(shape[0]), treatment]
        np.maximum.at(best, owner, person)
    leads = np.flatnonzero((person == best[owner]) & (person >= 0))[::-1]
    # Of an owner's leads the last assignment counts, which is the first row.
    item[owner[leads]] = leads * shape[1] + treatment[leads]
    return valid


SCAN = Kernel(
    _best_ratios,
    _best_ratios_in_numpy,
    helpers=(spread,),
    made={"_asks": _asks_by_vectors},
    large_if_loaded=1000,
    error_model="numpy",  # c = 0 is refused later
    nogil=True,
)


def best_ratios(
    benefit: Floats,
    cost: Floats,
    shape: tuple[int, int],
    owner: Integers,
    owners: int,
    threads: int | None = None,
) -> tuple[Floats, Integers, bool]:
    """Largest b/c of each owner, its item (−1: none with b > 0), and whether all entries are valid.

    Valid means finite, and c > 0.  ``owner`` (N,), of any integer type, says whose row it is; the
    first of tied items wins.  Both tables, float64 or float32, broadcast to ``shape`` without a
    copy.  ``threads``: `how_many_threads` by default.
    """
    (b, *b_step), (c, *c_step) = flat_steps(benefit, shape), flat_steps(cost, shape)
    size = shape[0] * shape[1]
    settings = block_of(benefit.dtype, shape[1]), STRETCH
    look_at_all = owners * FREQUENT > shape[0]
    owner = _constant(np.ascontiguousarray(owner))

    def part(first: int, end: int) -> tuple[Floats, Integers, bool]:
        """The best of these rows, its items counted from the first of them."""
        tables = _constant(b[first * b_step[0] :]), tuple(b_step), _constant(c[first * c_step[0] :])
        rows = (end - first, shape[1])
        # Made by numpy, which asks for large pages: of small ones the first touch takes as long as
        # the scan where every person is an owner.
        best, item = np.zeros(owners), np.full(owners, -1, np.int64)
        threshold = np.zeros(0 if look_at_all else owners, np.float32)
        found = best, item, threshold
        valid = SCAN(*tables, tuple(c_step), rows, owner[first:end], *found, *settings, work=size)
        return best, item, bool(valid)

    count = how_many_threads() if threads is None else threads
    count = min(count, size // LARGE_PART, shape[0] // (ROWS_AN_OWNER * owners))
    if count <= 1 or not SCAN.compiles(size):
        return part(0, shape[0])
    edges = np.linspace(0, shape[0], count + 1).astype(int).tolist()
    parts = list(_threads(count).map(part, edges[:-1], edges[1:]))
    best, item, valid = parts[0]
    for first, (other, place, is_valid) in zip(edges[1:], parts[1:], strict=False):
        better = (other > best) | ((item < 0) & (place >= 0))  # the first of ties stays
        best = np.where(better, other, best)
        item = np.where(better, place + first * shape[1], item)
        valid = valid and is_valid
    return best, item, valid


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    """So many threads, which wait for the next scan: to begin anew would take as long as one."""
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # threads do not live on in a forked process
    os.register_at_fork(after_in_child=_threads.cache_clear)


def how_many_threads() -> int:
    """Threads of a scan: ``ALPHAFAIR_THREADS``, else ``OMP_NUM_THREADS``, else one a core, ≤ 8."""
    for name in ("ALPHAFAIR_THREADS", "OMP_NUM_THREADS"):
        given = os.environ.get(name, "")
        if given.isdecimal() and int(given) > 0:
            return int(given)
    able = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    return min(len(able), MANY_THREADS)


def _constant(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to, so that kernels are compiled for one type of each array."""
    view = array.view()
    view.flags.writeable = False
    return view


# --- the best item of every person --------------------------------------------------------------
def _divide(benefit, cost, ratio):  # type: ignore[no-untyped-def]
    """Write b/c; whether all numbers are finite, costs are > 0 and ratios leave no doubles."""
    ordinary = True
    for j in range(benefit.size):
        b, c = benefit[j], cost[j]
        r = b / c
        ratio[j] = r
        ordinary &= (c > 0) & (c < np.inf) & (abs(r) <= LARGEST_RATIO)
        ordinary &= (r >= 1 / LARGEST_RATIO) | (b <= 0)
    return ordinary


def _row_maxima(quotient, treatments, ratio, treatment):  # type: ignore[no-untyped-def]
    """Fill in the largest quotient of each row, 0 where none is positive, and the first such t."""
    for i in range(ratio.size):
        best, leader = 0.0, 0
        for t in range(treatments):
            own = quotient[i * treatments + t]
            leads = own > best
            leader = t if leads else leader  # selected, not branched for: nobody can guess
            best = own if leads else best
        ratio[i], treatment[i] = best, leader


def _maxima(quotient, treatments, ratio, treatment):  # type: ignore[no-untyped-def]
    """The same; of rows of a length that it knows the compiler makes vector instructions."""
    if treatments == 2:
        _row_maxima(quotient, 2, ratio, treatment)
    elif treatments == 3:
        _row_maxima(quotient, 3, ratio, treatment)
    elif treatments == 4:
        _row_maxima(quotient, 4, ratio, treatment)
    else:
        _row_maxima(quotient, treatments, ratio, treatment)


def _best_of_rows(benefit, benefit_step, cost, cost_step, ratio, treatment, treatments):  # type: ignore[no-untyped-def]
    """Fill in each row's largest b/c, 0 where none is positive, and its treatment, the first one.

    By blocks in the cache, so that the division of all items is one loop that the compiler turns
    into vector instructions.
    """
    rows = max(BLOCK // treatments, 1)
    size = rows * treatments
    left, right, quotient = np.empty(size), np.empty(size), np.empty(size)
    whole_benefit = benefit_step == (treatments, 1)
    whole_cost = cost_step == (treatments, 1)
    ordinary = True
    for first in range(0, ratio.size, rows):
        count = min(rows, ratio.size - first)
        begin, end = first * treatments, (first + count) * treatments
        if not whole_benefit:
            spread(benefit, benefit_step, first, count, treatments, left)
        if not whole_cost and (cost_step[0] > 0 or first == 0):
            spread(cost, cost_step, first, count, treatments, right)
        own_left, own_right = left[: end - begin], right[: end - begin]
        if whole_benefit and whole_cost:
            ordinary &= _divide(benefit[begin:end], cost[begin:end], quotient)
        elif whole_benefit:
            ordinary &= _divide(benefit[begin:end], own_right, quotient)
        elif whole_cost:
            ordinary &= _divide(own_left, cost[begin:end], quotient)
        else:
            ordinary &= _divide(own_left, own_right, quotient)
        best, leader = ratio[first : first + count], treatment[first : first + count]
        _maxima(quotient, treatments, best, leader)
    return ordinary


def _best_of_rows_in_numpy(
    benefit: Floats,
    benefit_step: tuple[int, int],
    cost: Floats,
    cost_step: tuple[int, int],
    ratio: Floats,
    treatment: Integers,
    treatments: int,
) -> bool:
    shape, rows = (ratio.size, treatments), max(BLOCK // treatments, 1)
    b, c = unflatten(benefit, benefit_step, shape), unflatten(cost, cost_step, shape)
    ordinary = True
    with np.errstate(all="ignore"):
        for first in range(0, ratio.size, rows):
            some = slice(first, first + rows)
            own_b, own_c = b[some], c[some]
            own = own_b / own_c
            usual = (own_c > 0) & (own_c < np.inf) & (np.abs(own) <= LARGEST_RATIO)
            ordinary &= bool((usual & ((own >= 1 / LARGEST_RATIO) | (own_b <= 0))).all())
            own = np.fmax(own, 0.0)
            treatment[some] = leader = own.argmax(axis=1)
            ratio[some] = own[np.arange(leader.size), leader]
    return ordinary


_rows_kernel = Kernel(
    _best_of_rows,
    _best_of_rows_in_numpy,
    helpers=(spread, _divide, _row_maxima, _maxima),
    error_model="numpy",  # c = 0 is refused later
)


def best_of_persons(
    benefit: Floats, cost: Floats, shape: tuple[int, int]
) -> tuple[Floats, Integers, bool]:
    """(N,) largest b/c of each person, 0 where none is positive, and its treatment.

    Both tables broadcast to ``shape`` without a copy.  Treatments, the first of those that tie, are
    of the smallest type that holds them.  The flag says that all numbers are finite, costs > 0 and
    all positive ratios between 1e−300 and 1e300; the rest means nothing where it is False.
    """
    b, *benefit_step = flat_steps(benefit, shape)
    c, *cost_step = flat_steps(cost, shape)
    steps = tuple(benefit_step), tuple(cost_step)
    ratio, treatment = np.empty(shape[0]), np.empty(shape[0], np.min_scalar_type(shape[1] - 1))
    ordinary = _rows_kernel(
        b, steps[0], c, steps[1], ratio, treatment, shape[1], work=shape[0] * shape[1]
    )
    return ratio, treatment, bool(ordinary)
