"""Response curves: what a person would gain from each of several levels, as capped items.

Benefits that are not proportional to the money, such as the probability that somebody comes for
1, 2 or 3 dollars, are curves.  Mixing levels, one of them for some people and another for others
who are alike, reaches every point under the concave hull of a curve.  The hull is a chain of
segments of falling slope, and each is an item of its own: slope as benefit, money as dose, length
as cap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import FREE, Floats, Integers, reals, refuse_first
from .kernels import Kernel


class CurveSegments(NamedTuple):
    """Response curves as capped items: what `concave_segments` returns.

    Doses are money, so the cost of a unit of dose is 1.

    Attributes:
        benefit: (N, S) slope of each person's S-th segment, falling along the row; 0 where the
            person has fewer segments.
        cap: (N, S) money that takes the person to the end of the segment; 0 there.
        level: (N, S) which of the offered levels the segment ends at; −1 there.
    """

    benefit: Floats
    cap: Floats
    level: Integers


def concave_segments(money: ArrayLike, benefit: ArrayLike) -> CurveSegments:
    """Turn per-person response curves into capped items: the upper concave hull through (0, 0).

    A person can be offered M levels: level m costs ``money[i, m]`` and brings ``benefit[i, m]``
    more than nothing does.  A mixture of two levels (a lottery, or different people treated alike)
    reaches every point between them, so what matters is the hull; its segments have falling slopes,
    and `allocate` fills them in order when each is an item with cost 1 and its length as cap.

    Args:
        money: (M,) or (N, M) cost of each level, finite, ≥ 0.
        benefit: (N, M) gain of each level over nothing, finite.

    Returns:
        `CurveSegments`, with S the largest number of segments that a person has.

    Raises:
        ValueError: shapes that do not fit, entries that are not finite, negative money, a level
            that is free and has a benefit (nothing would bound its ratio).

    Example:
        >>> import alphafair as af
        >>> s = concave_segments([1.0, 2.0, 4.0], [[3.0, 4.0, 6.0], [0.0, 4.0, 4.0]])
        >>> s.benefit, s.cap
        (array([[3., 1.],
               [2., 0.]]), array([[1., 3.],
               [2., 0.]]))
        >>> a = af.allocate(s.benefit, 1.0, ["a", "b"], 2.5, np.inf, cap=s.cap)
        >>> a.dose.sum(axis=1)      # money for each person
        array([1. , 1.5])
    """
    gain = _curve("benefit", benefit, None)
    cost = _curve("money", money, gain.shape)
    for i, m in np.argwhere((cost < 0) | ((cost == 0) & (gain > 0)))[:1]:
        raise ValueError(
            f"money[{i}, {m}] is {cost[i, m]} for a benefit of {gain[i, m]}: must be ≥ 0, and > 0 "
            f"where there is a benefit; {FREE}"
        )
    return CurveSegments(*concave_hulls(cost, gain))


def concave_hulls(cost: Floats, gain: Floats) -> tuple[Floats, Floats, Integers]:
    """Slope, length and end of the segments of the hulls through (0, 0), each (N, S).

    Args:
        cost, gain: (N, M) finite; points of no gain, or of no cost, are left out.
    """
    slope, length, level = _hull_kernel(
        np.ascontiguousarray(cost), np.ascontiguousarray(gain), work=gain.size
    )
    used = max(1, int(np.flatnonzero(level.max(axis=0) >= 0).size))
    # Two segments of one slope are told apart by a rounding: the later one is not the steeper.
    slope = np.minimum.accumulate(slope[:, :used], axis=1)
    return slope, length[:, :used], level[:, :used]


def _curve(name: str, value: ArrayLike, shape: tuple[int, ...] | None) -> Floats:
    """(N, M) finite numbers; the shape is checked if given."""
    table = reals(name, value)
    expected = "(N, M)" if shape is None else f"{shape} or {shape[1:]}, as benefit"
    if table.ndim != 2 and (shape is None or table.ndim != 1):
        raise ValueError(f"{name} has shape {table.shape}: must be {expected}")
    try:
        table = np.broadcast_to(table, shape or table.shape)
    except ValueError as error:
        raise ValueError(f"{name} has shape {table.shape}: must be {expected}") from error
    cure = "leave a level out by giving it benefit 0"
    refuse_first(name, table, np.isfinite(table), "finite", cure)
    return np.ascontiguousarray(table)


def _hull(cost, gain):  # type: ignore[no-untyped-def]
    """From (0, 0) again and again to the level of steepest ascent, where they tie the farthest."""
    persons, levels = gain.shape
    slope, length = np.zeros((persons, levels)), np.zeros((persons, levels))
    level = np.full((persons, levels), -1, np.intp)
    for i in range(persons):
        x, y, count = 0.0, 0.0, 0
        while True:
            best, steepest = -1, 0.0
            for m in range(levels):
                if cost[i, m] > x and gain[i, m] > y:
                    rate = (gain[i, m] - y) / (cost[i, m] - x)
                    farther = rate == steepest and best >= 0 and cost[i, m] > cost[i, best]
                    if rate > steepest or farther:
                        best, steepest = m, rate
            if best < 0:
                break
            slope[i, count], length[i, count], level[i, count] = steepest, cost[i, best] - x, best
            x, y, count = cost[i, best], gain[i, best], count + 1
    return slope, length, level


def _hull_of_all_at_once(cost: Floats, gain: Floats) -> tuple[Floats, Floats, Integers]:
    """The next segment of everybody, as often as somebody has one."""
    slope, length = np.zeros(gain.shape), np.zeros(gain.shape)
    level = np.full(gain.shape, -1, np.intp)
    person = np.arange(len(gain))
    x, y = np.zeros((len(gain), 1)), np.zeros((len(gain), 1))
    for segment in range(gain.shape[1]):
        ahead = (cost > x) & (gain > y)
        with np.errstate(over="ignore", under="ignore"):
            rate = np.where(ahead, gain - y, 0.0) / np.where(ahead, cost - x, 1.0)
        steepest = rate.max(axis=1)
        ties = (rate == steepest[:, None]) & ahead
        best = np.where(ties, cost, -1.0).argmax(axis=1)  # the farthest, and of equals the first
        goes = steepest > 0
        if not goes.any():
            break
        person, best, cost, gain = person[goes], best[goes], cost[goes], gain[goes]
        end = np.arange(len(person)), best
        slope[person, segment] = steepest[goes]
        length[person, segment] = cost[end] - x[goes, 0]
        level[person, segment] = best
        x, y = cost[end][:, None], gain[end][:, None]
    return slope, length, level


_hull_kernel = Kernel(_hull, _hull_of_all_at_once)
