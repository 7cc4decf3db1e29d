"""Bisection down to neighbouring doubles: where a condition begins to hold, to the last bit.

Between ends of ordinary size the interval is halved by value: an answer of the order of 1 takes
some 53 questions.  Else, and where the answer turns out to be very close to 0, it is halved by the
place of its ends in the order of all doubles, of which there are 2⁶⁴: that takes 64 questions at
most, whatever the ends are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

ORDINARY = 2.0**11  # below it, halving by value finds an answer near 1 in 64 questions, too
MAGNITUDE = 2**63 - 1  # the bits of a double without its sign


def bisect(holds: Callable[[float], object], low: float, high: float) -> tuple[float, float]:
    """Neighbouring doubles between which a condition begins to hold.

    Neither end is asked about: the condition is taken not to hold at ``low`` and to hold at
    ``high``, which may be infinite.

    Args:
        holds: a condition, false up to some number and true from there on.
        low: where it does not hold.
        high: where it holds.

    Returns:
        The last double at which it does not hold and the first at which it does; ``low`` and
        ``high`` as they came where ``low`` ≥ ``high``.

    Example:
        >>> bisect(lambda x: x * x >= 2, 0.0, float("inf"))
        (1.414213562373095, 1.4142135623730951)
    """
    if max(-low, high) < ORDINARY:
        for _ in range(64):
            middle = (low + high) / 2
            if not low < middle < high:
                return low, high
            low, high = (low, middle) if holds(middle) else (middle, high)
    below, above = _place(low), _place(high)
    while above - below > 1:
        place = (below + above) // 2
        below, above = (below, place) if holds(_double(place)) else (place, above)
    return _double(below), _double(above)


def _place(value: float) -> int:
    """Where a double stands in the order of all doubles: 0 for 0.0, 1 for the least above it."""
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return int(bits if bits >= 0 else -(bits & MAGNITUDE))


def _double(place: int) -> float:
    """The double that stands there."""
    (value,) = struct.unpack("<d", struct.pack("<q", abs(place)))
    return float(value if place >= 0 else -value)
