"""Bad input gets a clear error: which argument and entry, what came, what was expected, the cure.

Every module checks its arguments with these few functions, so that all messages read alike:

    cost[3, 0] is -1.0: must be > 0; give what is free a small positive cost
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


def number(name: str, value: Any, expected: str, accept: Callable[[float], bool]) -> float:
    """A real scalar in its range.

    Args:
        name: of the argument, for the message.
        value: what came.
        expected: the range in words, after "must be".
        accept: True for a value in the range; NaN has to fail it.

    Returns:
        The value as a float.

    Raises:
        TypeError: no real number.
        ValueError: out of its range.

    Example:
        >>> number("budget", 3, "finite and ≥ 0", lambda v: 0 <= v < float("inf"))
        3.0
    """
    if not isinstance(value, numbers.Real | Decimal) and getattr(value, "shape", None) != ():
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    real = float(value)
    if not accept(real):
        raise ValueError(f"{name} is {real}: must be {expected}")
    return real


def refuse_first(name: str, array: Any, ok: Any, expected: str, cure: str = "") -> None:
    """ValueError about the first entry, in row order, that is not ``ok``; nothing if all are.

    Args:
        name: of the argument, for the message.
        array: what came, any shape.
        ok: a mask of the shape of ``array``; comparisons with NaN are False, so ``array > 0``
            refuses NaN, too.
        expected: the condition in words, after "must be".
        cure: what the user can do, after a semicolon.

    Example:
        >>> refuse_first("cost", [[2.0, -1.0]], [[True, False]], "> 0", "drop that row")
        Traceback (most recent call last):
        ValueError: cost[0, 1] is -1.0: must be > 0; drop that row
    """
    accepted = np.asarray(ok)
    if accepted.all():
        return
    index = np.unravel_index(int(np.argmin(accepted)), accepted.shape)
    came = np.asarray(array)[index]
    raise ValueError(
        f"{name}{entry(index)} is {came}: must be {expected}{'; ' if cure else ''}{cure}"
    )


def entry(index: Any) -> str:
    """An index as the user would type it: "[3, 0]", and nothing for a scalar's ()."""
    return f"[{', '.join(str(int(j)) for j in index)}]" if len(index) else ""


def reals(name: str, value: Any) -> Floats:
    """Float array of any shape; masked, ragged and non-numeric input is refused.

    Args:
        name: of the argument, for the message.
        value: what came; copied only where its type has to change.

    Raises:
        TypeError: entries that are not real numbers.
        ValueError: masked entries, rows of different lengths.

    Example:
        >>> reals("cost", np.ma.masked_less([2.0, -1.0], 0))
        Traceback (most recent call last):
        ValueError: cost has masked entries: fill them or drop their rows
    """
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: fill them or drop their rows")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no table: all its rows must have the same length") from error
    if array.dtype.kind == "O":
        _refuse_object(name, array)
    elif array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    return array.astype(np.float64, copy=False)


def real_table(name: str, value: ArrayLike) -> Floats:
    """Float array of 0, 1 or 2 dimensions; masked, empty and non-numeric input is refused."""
    array = reals(name, value)
    if array.ndim > 2:
        raise ValueError(f"{name} has shape {array.shape}: must have at most two axes (N, T)")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}): at least one item is needed")
    return array


def _refuse_object(name: str, array: NDArray[Any]) -> None:
    for index, item in np.ndenumerate(array):
        if not (item is None or isinstance(item, numbers.Real | Decimal)):
            raise TypeError(
                f"{name}{list(index)} is {item!r}: must be a real number, not {type(item).__name__}"
            )


def column(array: Floats) -> Floats:
    """A scalar as (1, 1), one axis as a column: a number for each person."""
    return array.reshape(-1, 1) if array.ndim < 2 else array


def broadcast_table(name: str, value: ArrayLike, shape: tuple[int, int]) -> Floats:
    """(N, T) table from a scalar, (N,), (N, 1), (1, T) or (N, T); a view where it can be one."""
    table = real_table(name, value)
    rows, columns = column(table).shape
    if rows not in (1, shape[0]) or columns not in (1, shape[1]):
        raise ValueError(
            f"{name} has shape {table.shape}: must be a scalar, (N,), (N, 1), (1, T) or (N, T), "
            f"with (N, T) = {shape}"
        )
    return np.broadcast_to(column(table), shape)
