"""People in groups: labels become codes 0..K−1, once; and numbers given by group.

`Groups` sorts the labels; every (K,) array of the package, weights and bounds of budgets among the
arguments, utilities and budgets among the results, is in that order.
"""

from __future__ import annotations

import datetime
import itertools
import numbers
import sys
from collections import defaultdict
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import Floats, Integers, as_array, real_table
from .kernels import LOOK_UP, count_from, renumber

EXACT = 2.0**53  # doubles hold all integers up to here
IN_CACHE = 100_000  # a hash table of more numbers misses the cache: sorting all of them is faster


class Groups:
    """Group labels turned into codes 0..K−1, once, for reuse in many problems.

    Args:
        labels: (N,) or (N, 1).  Integers, strings, anything that `numpy.unique` sorts; they need
            not be consecutive.  Missing labels (NaN, None) are refused.

    Attributes:
        label: (K,) the distinct labels, sorted.
        code: (N,) the position of each person's label in ``label``, in the smallest unsigned
            integers that hold K: a byte up to 256 groups, two up to 65536, four beyond.  They index
            as any integers do, but count modulo 256 (or 65536): ``code.astype(int)`` first.
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
        self.label, self.code, self.size = _encode(labels)

    def __len__(self) -> int:
        return self.code.size

    def __repr__(self) -> str:
        return f"Groups(N={self.code.size}, K={self.size.size})"


def code_type(groups: int) -> np.dtype[Any]:
    """The smallest unsigned integers that hold the codes of so many groups, and that count.

    A byte a person is read eight times as fast as a position of eight bytes.  `numpy.bincount`
    takes what fits into `numpy.intp`: not four bytes where that has four itself.
    """
    smallest = np.min_scalar_type(groups - 1)
    return smallest if np.can_cast(smallest, np.intp) else np.dtype(np.intp)


# --- from labels to codes ---------------------------------------------------------------------
Encoded = tuple[NDArray[Any], Integers, Integers]  # sorted labels (K,), codes (N,), sizes (K,)


def _encode(labels: ArrayLike) -> Encoded:
    """By counting where labels are integers of a small range, else by hashing.

    Sorting all labels, as `numpy.unique` does, takes ten times as long: the distinct ones are found
    first, and only these are sorted.
    """
    distinct, code = _told(labels) or (None, None)
    if distinct is not None and code is not None:
        return _in_order(distinct, code, distinct)
    column = _label_column(labels)
    kind = column.dtype.kind
    if kind in "biu":
        low, high = int(column.min()), int(column.max())
        if high - low < max(1024, 4 * column.size) and high < 2**63:
            return _counted(column, low, high)
    if kind in "fmM":
        _refuse_missing(column)
    found = _looked_up(column)
    if found is None and kind in "OUS":
        found = _by_dictionary(column)
    if found is not None:
        return _in_order(*found, column)
    _refuse_missing(column)
    return _in_order(column, np.arange(column.size), column)


def _counted(column: NDArray[Any], low: int, high: int) -> Encoded:
    """Integers from ``low`` to ``high``: the codes are the labels, without the gaps."""
    code = np.empty(column.size, code_type(high - low + 1))
    count = count_from(column.astype(np.int64, copy=False), low, code, high - low + 1)
    present = np.flatnonzero(count)
    if present.size < count.size:
        rank = np.cumsum(count > 0) - 1
        code = renumber(code, rank.astype(code_type(present.size)), present.size)[0]
    return (present + low).astype(column.dtype), code, count[present]


def _looked_up(column: NDArray[Any]) -> tuple[NDArray[Any], Integers] | None:
    """The distinct labels and the codes of everybody by a compiled hash table, if it is of use."""
    if not LOOK_UP.compiles(column.size):
        return None
    words = _words(column)
    if words is None:
        return None
    words.flags.writeable = False  # one type for all arrays, so that it is compiled once
    one_word = words.shape[1] == 1
    first, code = LOOK_UP.compiled(words, IN_CACHE if one_word else column.size)
    return (column[first], code) if first.size else None


def _words(column: NDArray[Any]) -> NDArray[Any] | None:
    """(N, words) unsigned integers that agree where two labels do; None where there are none."""
    kind, size = column.dtype.kind, column.dtype.itemsize
    column = np.ascontiguousarray(column)
    if kind in "US" and size > 0:
        return column.view(np.uint32 if kind == "U" else np.uint8).reshape(column.size, -1)
    if kind in "iu":
        column = column.astype(f"{kind}8")
    elif kind == "f" and size <= 8:
        column = column.astype(np.float64) + 0.0  # −0 is 0
    elif kind not in "mM":
        return None
    return column.view(np.uint64).reshape(column.size, 1)


def _by_dictionary(column: NDArray[Any]) -> tuple[NDArray[Any], Integers] | None:
    """The same by a dictionary of Python's, one look-up a label; None if they have no hash."""
    place: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
    try:
        code = np.fromiter(map(place.__getitem__, column.tolist()), np.intp, column.size)
    except TypeError:
        return None
    return np.fromiter(place, column.dtype, len(place)), code


def _told(labels: Any) -> tuple[NDArray[Any], Integers] | None:
    """The same from pandas or Arrow, where these hold text or the like; None where they do not.

    They find the distinct labels themselves.  For numpy a million labels would become a million
    objects before.
    """
    if isinstance(labels, list | tuple):
        return _of_text(labels)
    if hasattr(labels, "dictionary_encode"):
        return _of_arrow(labels)
    if not hasattr(labels, "factorize") or labels.dtype.kind in "biuf" or labels.dtype == object:
        return None
    try:
        code, distinct = labels.factorize()
    except TypeError:
        return None
    return (np.asarray(distinct), code) if code.size and code.min() >= 0 else None


def _of_text(labels: list[Any] | tuple[Any, ...]) -> tuple[NDArray[Any], Integers] | None:
    if set(map(type, labels)) not in ({str}, {bytes}):
        return None
    found = _by_dictionary(np.fromiter(labels, object, len(labels)))
    assert found is not None
    return _label_column(found[0].tolist()), found[1]


def _of_arrow(labels: Any) -> tuple[NDArray[Any], Integers] | None:
    if len(labels) == 0 or sys.modules["pyarrow"].types.is_primitive(labels.type):
        return None
    encoded = labels.dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    missing = np.asarray(encoded.is_null())
    if missing.any():  # `numpy.asarray` may give it another label
        _refuse(int(np.argmax(missing)), None)
    place = np.asarray(encoded.indices)
    present, code, _ = _counted(place, int(place.min()), int(place.max()))
    distinct = np.asarray(encoded.dictionary)[present]  # it may have words that nobody uses
    _refuse_missing(distinct, code)
    return distinct, code


def _in_order(distinct: NDArray[Any], code: Integers, everybody: NDArray[Any]) -> Encoded:
    """Sorted labels, codes and sizes from labels that are nearly distinct and their positions."""
    if distinct.dtype.kind == "O":
        _refuse_missing(distinct, code)
    try:
        label, rank = np.unique(distinct, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in everybody})
        raise TypeError(
            f"group mixes labels that cannot be sorted together ({', '.join(kinds)}); "
            f"convert them all to text: [str(label) for label in group]"
        ) from error
    return label, *renumber(code, rank.astype(code_type(label.size)), label.size)


# --- labels that are refused ------------------------------------------------------------------
def _label_column(labels: ArrayLike) -> NDArray[Any]:
    """(N,) array of labels."""
    column = as_array("group", labels)
    if isinstance(labels, list | tuple):
        column = _unmerged(labels, column)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise ValueError(
            f"group has shape {column.shape}: must be (N,) or (N, 1), one label for each person"
        )
    if column.size == 0:
        raise ValueError("group is empty: at least one person is needed")
    return column


def _unmerged(labels: list[Any] | tuple[Any, ...], column: NDArray[Any]) -> NDArray[Any]:
    """The same labels as objects where numpy's common type makes one of two that differ."""
    own = np.array(labels, dtype=object)
    if own.ndim != column.ndim:
        return column
    if column.dtype.kind in "US":  # text of NaN, None or numbers; and trailing zeros are dropped
        one_kind = all(isinstance(label, str | bytes) for label in own.flat)
        if not one_kind or any(label[-1:] in ("\0", b"\0") for label in own.flat):
            return own
    integer = [isinstance(label, numbers.Integral) for label in own.flat]
    if column.dtype.kind == "f" and any(integer) and EXACT <= np.abs(column).max() < np.inf:
        if all(integer) and own.min() >= 0 and own.max() < 2**64:
            return own.astype(np.uint64)
        return own
    return column


def _refuse_missing(distinct: NDArray[Any], code: Integers | None = None) -> None:
    """ValueError about the first person whose label is missing."""
    kind = distinct.dtype.kind
    if kind in "iubUS":
        return
    if kind in "mM":
        missing = np.isnat(distinct)
    elif kind == "f":
        missing = ~np.isfinite(distinct)
    else:
        missing = np.array([_is_missing(label) for label in distinct])
    if missing.any():
        i = int(np.argmax(missing if code is None else missing[code]))
        _refuse(i, distinct[i if code is None else code[i]])


def _refuse(person: int, label: Any) -> NoReturn:
    raise ValueError(
        f"group[{person}] is {label}: every person needs a label; "
        f"drop that person or make up a label such as 'unknown'"
    )


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)  # NaN and NaT differ from themselves
    except (TypeError, ArithmeticError):  # pandas.NA and NaN that signals will not say
        return True


# --- numbers given by group -------------------------------------------------------------------
def group_weights(weight: Any, groups: Groups) -> Floats:
    """(K,) positive weights in the order of the sorted labels, not to be written to."""
    if weight is None:
        return np.broadcast_to(1.0, groups.label.size)  # no array: groups can be millions
    if isinstance(weight, str):
        if weight != "size":
            raise ValueError(f'weight is {weight!r}: the only word it takes is "size"')
        return groups.size.astype(float)
    numbers = by_group("weight", weight, groups)
    refuse_group(
        "weight",
        numbers,
        np.isfinite(numbers) & (numbers > 0),
        groups,
        "finite and > 0",
        "leave a group out by dropping its people",
    )
    return numbers


def by_group(name: str, value: Any, groups: Groups) -> Floats:
    """(K,) numbers in the order of the sorted labels, from an array or a mapping by label."""
    labels = groups.label
    some = f"{_readable(labels)[:5]}{' …' if labels.size > 5 else ''}"
    if hasattr(value, "keys"):  # a dict or a pandas Series: matched by label, not by position
        keys = _keys(value, labels)
        for label, key in zip(_readable(labels), keys, strict=True):
            if key not in value:
                raise ValueError(
                    f"{name} has no entry for group {label!r}: every label needs one; "
                    f"the labels are {some}"
                )
        value = [value[key] for key in keys]
    numbers = real_table(name, value)
    if numbers.shape != labels.shape:
        raise ValueError(
            f"{name} has shape {numbers.shape}: must be ({labels.size},), one for each of the "
            f"labels {some}"
        )
    return np.array(numbers)  # a copy: the caller may go on using the array


def _keys(mapping: Any, labels: NDArray[Any]) -> list[Any]:
    """(K,) the keys under which a mapping has these labels; moments in time in any notation."""
    if labels.dtype.kind not in "mM":
        return list(labels.tolist())
    moments = {_moment(key, labels.dtype): key for key in mapping.keys()}  # noqa: SIM118 (a Series)
    return [moments.get(label, label) for label in labels]


def _moment(key: Any, kind: np.dtype[Any]) -> Any:
    """A date, a time or a duration as a label of this kind; None where it is not exactly one."""
    if isinstance(key, datetime.datetime) and key.tzinfo is not None:
        key = key.astimezone(datetime.UTC).replace(tzinfo=None)
    of_pandas = getattr(key, "to_numpy", None)  # keeps nanoseconds
    scalar: Any = np.datetime64 if kind.kind == "M" else np.timedelta64
    types = (str, datetime.date, datetime.timedelta, np.datetime64, np.timedelta64)
    if not isinstance(key, types):
        return None
    try:
        moment = of_pandas() if of_pandas is not None else scalar(key)
        label = moment.astype(kind)
    except (TypeError, ValueError):
        return None
    return label if label == moment else None


def _readable(labels: NDArray[Any]) -> list[Any]:
    """Labels for a message: dates as one writes them, not the nanoseconds since 1970."""
    return list((labels.astype(str) if labels.dtype.kind in "mM" else labels).tolist())


def refuse_group(
    name: str, value: Floats, ok: Any, groups: Groups, expected: str, cure: str
) -> None:
    """ValueError about the first group whose number is not ``ok``, by its label."""
    if not np.all(ok):
        k = int(np.argmin(ok))
        raise ValueError(
            f"{name}[{k}] (group {groups.label[k]!s}) is {value[k]}: must be {expected}; {cure}"
        )
