"""One pass over benefits and costs: the best ratio b/c of every owner, a group or a person.

All that the closed form needs of N × T items is K ratios, so that its time is that of this pass.
It goes at about the pace at which memory delivers the two tables:

- A **stretch** of rows at a time is brought into the first cache and looked at twice.  First all
  entries are checked, with vector instructions.  Then ``b ≥ threshold · c`` is asked of every
  item, with the threshold of its owner, which replaces a division for every item by one for every
  improvement.
- The winner is exactly the first maximum of fl(b/c), because rounding is monotone: if fl(b/c) is
  larger than the threshold θ, then θ c < b, and fl(θ c) ≤ b.
- Where improvements are frequent (an owner for every row or two) all ratios of a stretch are
  computed without a branch.
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
from .kernels import Kernel, flat_steps, spread, unflatten

STRETCH = 512  # items that stay in the first cache while they are looked at twice
LONG_STRETCH = 2048  # the same where the thresholds alone fill that cache
FEW_OWNERS = 1000  # whose thresholds do not
MANY_THREADS = 8
LARGE_PART = 5_000_000  # items: fewer are done nearly as soon as another core has woken up
ROWS_AN_OWNER = 16  # with fewer, putting parts together takes as long as a part


class _Precision(NamedTuple):
    """What takes the best ratio to a threshold of this precision that is not larger.

    Below ``least`` a factor is no help against rounding: the threshold is 0, and all are divided.
    """

    factor: float
    least: float
    largest: float


DOUBLE = _Precision(1.0, 0.0, float(np.finfo(np.float64).max))
SINGLE = _Precision(1 - 2.0**-23, 2.0**-125, float(np.finfo(np.float32).max))


# --- one stretch ------------------------------------------------------------------------------
def _are_valid(benefit, cost):  # type: ignore[no-untyped-def]
    """Whether all benefits are finite, and all costs finite and > 0; NaN is neither."""
    good = 0
    for j in range(benefit.size):
        b, c = benefit[j], cost[j]
        good += (abs(b) < np.inf) & (c > 0) & (c < np.inf)
    return good == benefit.size


def _below(ratio, precision):  # type: ignore[no-untyped-def]
    """The threshold of a best ratio."""
    if ratio < precision.least:
        return 0.0
    return min(ratio * precision.factor, precision.largest)


def _improve(b, c, i, first, k, precision, best, item, threshold):  # type: ignore[no-untyped-def]
    """Take what is better in row i than the best of its owner so far."""
    for t in range(b.shape[1]):
        if b[i, t] > 0 and b[i, t] >= threshold[k] * c[i, t]:
            ratio = np.float64(b[i, t]) / np.float64(c[i, t])
            if ratio > best[k] or item[k] < 0:
                best[k], item[k] = ratio, (first + i) * b.shape[1] + t
                threshold[k] = _below(ratio, precision)
    return 1


def _look(b, c, first, owner, precision, best, item, threshold):  # type: ignore[no-untyped-def]
    """Take what is better than the best so far; returns how many rows had something.

    Rows of up to four items are written out: a loop of four costs more than its items.
    """
    columns, found = b.shape[1], 0
    if columns == 1:
        for i in range(owner.size):
            k = owner[i]
            if b[i, 0] >= threshold[k] * c[i, 0]:
                found += _improve(b, c, i, first, k, precision, best, item, threshold)
    elif columns == 2:
        for i in range(owner.size):
            k = owner[i]
            least = threshold[k]
            if b[i, 0] >= least * c[i, 0] or b[i, 1] >= least * c[i, 1]:
                found += _improve(b, c, i, first, k, precision, best, item, threshold)
    elif columns == 3:
        for i in range(owner.size):
            k = owner[i]
            least = threshold[k]
            if (
                b[i, 0] >= least * c[i, 0]
                or b[i, 1] >= least * c[i, 1]
                or b[i, 2] >= least * c[i, 2]
            ):
                found += _improve(b, c, i, first, k, precision, best, item, threshold)
    elif columns == 4:
        for i in range(owner.size):
            k = owner[i]
            least = threshold[k]
            if (
                b[i, 0] >= least * c[i, 0]
                or b[i, 1] >= least * c[i, 1]
                or b[i, 2] >= least * c[i, 2]
                or b[i, 3] >= least * c[i, 3]
            ):
                found += _improve(b, c, i, first, k, precision, best, item, threshold)
    else:
        for i in range(owner.size):
            k = owner[i]
            least, better = threshold[k], False
            for t in range(columns):
                better |= b[i, t] >= least * c[i, t]
            if better:
                found += _improve(b, c, i, first, k, precision, best, item, threshold)
    return found


def _look_at_all(benefit, cost, first, owner, precision, best, item, threshold, ratio):  # type: ignore[no-untyped-def]
    """The same without a branch, where most rows have something: all ratios, each row's best."""
    columns, found = benefit.shape[1], 0
    for i in range(benefit.shape[0]):
        for t in range(columns):
            b, c = np.float64(benefit[i, t]), np.float64(cost[i, t])
            ratio[i, t] = b / c if b > 0 else -1.0
    for i in range(benefit.shape[0]):
        k, most, at = owner[i], ratio[i, 0], 0
        for t in range(1, columns):
            at = t if ratio[i, t] > most else at
            most = max(most, ratio[i, t])
        if most > best[k] or (item[k] < 0 and most >= 0):
            best[k], item[k] = most, (first + i) * columns + at
            threshold[k] = _below(most, precision)
            found += 1
    return found


# --- all stretches ----------------------------------------------------------------------------
def _best_ratios(  # type: ignore[no-untyped-def]
    benefit, benefit_step, cost, cost_step, shape, owner, owners, precision, length
):
    """Largest b/c of each owner and its item i·T + t (−1: no b > 0), and whether all is valid."""
    rows, columns = shape
    best, item = np.zeros(owners), np.full(owners, -1, np.int64)
    threshold = np.zeros(owners, benefit.dtype)
    # Whole tables where they are laid out like a stretch, else room for one stretch.
    b_whole, c_whole = benefit_step == (columns, 1), cost_step == (columns, 1)
    own_b = np.empty(length * columns, benefit.dtype)
    own_c = np.empty(length * columns, cost.dtype)
    b_flat, c_flat = benefit if b_whole else own_b, cost if c_whole else own_c
    b_table, c_table = b_flat.reshape(-1, columns), c_flat.reshape(-1, columns)
    ratio = np.empty((length, columns))
    valid, found = True, 0
    for first in range(0, rows, length):
        n = min(length, rows - first)
        i, j = first if b_whole else 0, first if c_whole else 0
        if not b_whole and (first == 0 or benefit_step[0] > 0):
            spread(benefit, benefit_step, first, n, columns, own_b)
        if not c_whole and (first == 0 or cost_step[0] > 0):
            spread(cost, cost_step, first, n, columns, own_c)
        valid &= _are_valid(
            b_flat[i * columns : (i + n) * columns], c_flat[j * columns : (j + n) * columns]
        )
        b, c, own = b_table[i : i + n], c_table[j : j + n], owner[first : first + n]
        if 2 * found > length:
            found = _look_at_all(b, c, first, own, precision, best, item, threshold, ratio)
        else:
            found = _look(b, c, first, own, precision, best, item, threshold)
    return best, item, valid


def _best_ratios_in_numpy(
    benefit: Floats,
    benefit_step: tuple[int, int],
    cost: Floats,
    cost_step: tuple[int, int],
    shape: tuple[int, int],
    owner: Integers,
    owners: int,
    *_: Any,
) -> tuple[Floats, Integers, bool]:
    b, c = (
        np.asarray(unflatten(flat, step, shape), float)
        for flat, step in ((benefit, benefit_step), (cost, cost_step))
    )
    valid = bool(np.isfinite(b).all() and np.isfinite(c).all() and c.min() > 0)
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


SCAN = Kernel(
    _best_ratios,
    _best_ratios_in_numpy,
    helpers=(spread, _are_valid, _below, _improve, _look, _look_at_all),
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
    precision = SINGLE if benefit.dtype == np.float32 else DOUBLE
    items = LONG_STRETCH if owners > FEW_OWNERS else STRETCH
    settings = (owners, precision, max(items // shape[1], 1))
    owner = _constant(np.ascontiguousarray(owner))

    def part(first: int, end: int) -> tuple[Floats, Integers, bool]:
        """The best of these rows, its items counted from the first of them."""
        tables = _constant(b[first * b_step[0] :]), tuple(b_step), _constant(c[first * c_step[0] :])
        rows = (end - first, shape[1])
        found: tuple[Floats, Integers, bool] = SCAN(
            *tables, tuple(c_step), rows, owner[first:end], *settings, work=shape[0] * shape[1]
        )
        return found

    size = shape[0] * shape[1]
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
