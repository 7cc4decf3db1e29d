"""Bad input gets a clear error: which argument and entry, what came, what was expected, the cure.

Every module checks its arguments with these few functions, so that all messages read alike:

    cost[3, 0] is -1.0: must be > 0; give what is free a realistic cost, …
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BEYOND = "beyond the largest double, 1.8e308: measure it in a larger unit"

# Zero has no ratio b/c, and a tiny number in its place makes one beyond all others.
FREE = "give what is free a realistic cost, or hand it out up to its cap and count it in baseline"

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]


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
    if type(value) is float and accept(value):  # nearly all are, and layers ask at every call
        return value
    _refuse_tensor(name, value)
    plain = isinstance(value, float | int)  # compiled code passes here, and knows no masks
    if not plain and (value is np.ma.masked or np.ma.is_masked(value)):
        raise ValueError(f"{name} is masked: must be {expected}")
    if not plain and isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "biufO":
        raise TypeError(f"{name} must be a real number, not {value.dtype}")
    if not isinstance(value, numbers.Real | Decimal) and getattr(value, "shape", None) != ():
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    try:
        real = float(value)
    except OverflowError as error:
        raise ValueError(f"{name} is beyond the largest double: must be {expected}") from error
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


def real_table(name: str, value: ArrayLike, *, single: bool = False) -> Floats:
    """Float array of 0, 1 or 2 dimensions; masked, empty and non-numeric input is refused.

    ``single`` leaves float32 as it is.
    """
    array = reals(name, value, single=single)
    if array.ndim > 2:
        raise ValueError(f"{name} has shape {array.shape}: must have at most two axes (N, T)")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}): at least one item is needed")
    return array


def reals(name: str, value: ArrayLike, *, single: bool = False) -> Floats:
    """Float array of any shape; a view where ``value`` is one already.

    ``single`` leaves float32 as it is, for those who know how to compute with it.

    Raises:
        TypeError: entries that are no real numbers, or a tensor that remembers its derivatives.
        ValueError: masked entries, rows of different lengths, numbers beyond the doubles.

    Example:
        >>> reals("utility", [1, 2])
        array([1., 2.])
        >>> reals("utility", [[1, 2], [3]])
        Traceback (most recent call last):
        ValueError: utility[1] has 1 entry and utility[0] has 2: all rows must be of one length
    """
    _refuse_mask(name, value)
    array = as_array(name, value)
    if array.dtype.kind == "O":
        _refuse_object(name, array)
    elif array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    if single and array.dtype == np.float32:
        return array
    try:
        return array.astype(np.float64, copy=False)
    except OverflowError as error:
        index = next(i for i, item in np.ndenumerate(array) if _is_beyond(item))
        raise ValueError(f"{name}{entry(index)} is {BEYOND}") from error


def as_array(name: str, value: Any) -> NDArray[Any]:
    """`numpy.asarray`; what it would get wrong or refuse without a name is refused with one."""
    _refuse_tensor(name, value)
    if isinstance(value, np.ma.MaskedArray):
        _refuse_mask(name, value)
    try:
        return np.asarray(value)
    except ValueError as error:
        _refuse_ragged(name, value)
        raise ValueError(f"{name} cannot be made an array: {error}") from error
    except RuntimeError as error:  # a list of tensors, for one
        raise TypeError(f"{name} cannot be made an array: {error}") from error


def _refuse_mask(name: str, value: Any) -> None:
    if np.ma.is_masked(value):  # a masked array, or one of pandas
        raise ValueError(f"{name} has masked entries: fill them or drop their rows")


def _refuse_tensor(name: str, value: Any) -> None:
    if getattr(value, "requires_grad", False):
        raise TypeError(
            f"{name} is a tensor that requires grad, which is lost here: pass {name}.detach(), or "
            f"use alphafair.layer for derivatives"
        )


def _refuse_ragged(name: str, value: Any) -> None:
    """ValueError about the first row that is not as long as those before it."""
    lengths = [len(row) if hasattr(row, "__len__") else None for row in value]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            came, first = (
                "is one number" if n is None else f"has {n} entr{'y' if n == 1 else 'ies'}"
                for n in (length, lengths[0])
            )
            first = first.removesuffix(" entries").removesuffix(" entry")
            raise ValueError(
                f"{name}[{i}] {came} and {name}[0] {first}: all rows must be of one length"
            )


def _is_beyond(item: Any) -> bool:
    try:
        float(item)
    except OverflowError:
        return True
    return False


def _refuse_object(name: str, array: NDArray[Any]) -> None:
    for index, item in np.ndenumerate(array):
        if not (item is None or isinstance(item, numbers.Real | Decimal)):
            raise TypeError(
                f"{name}{entry(index)} is {item!r}: must be a real number, not "
                f"{type(item).__name__}"
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
