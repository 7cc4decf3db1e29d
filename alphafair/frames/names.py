"""Names: the user's columns under names at which neither the package nor an engine stumbles.

On the way the package writes columns whose names begin with ``_af_``; Spark reads a dot in a name
as a field of a struct, and narwhals an empty name as no expression at all.  Columns with such names
are renamed before, and get their own name back in the result and in messages.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import narwhals as nw

from .checks import Columns
from .engine import HIDDEN, Frame, keeps_rows

ASIDE = f"{HIDDEN}user_"


def set_aside(native: Frame, columns: Columns) -> tuple[Frame, Columns]:
    """The frame to work on, and its columns, with aliases for awkward names.

    Eager frames and those of Dask are cut down to what is needed: the doses go back to the rows of
    the native frame.  The others keep all columns, as their result is one query.
    """
    names = list(native.columns)
    if keeps_rows(native):
        names = list(dict.fromkeys(columns.named().values()))
    awkward = [name for name in names if _is_awkward(name, native)]
    alias = _aliases(awkward, native)
    rows = _one_dictionary(_renamed(native, names, alias))
    given: dict[str, Any] = {
        argument: alias.get(name, name) for argument, name in columns.named().items()
    }
    return rows, columns._replace(**given, own={alias[name]: name for name in awkward})


def _aliases(names: list[Any], native: Frame) -> dict[Any, str]:
    """An alias for each name, none of which the frame has, in capitals or not."""
    taken = {str(name).casefold() for name in native.columns}
    free = (alias for k in count() if (alias := f"{ASIDE}{k}") not in taken)
    return dict(zip(names, free, strict=False))


def _is_awkward(name: Any, native: Frame) -> bool:
    if not name or str(name).casefold().startswith(HIDDEN):  # DuckDB and Spark ignore case
        return True
    return _is_spark(native) and any(sign in name for sign in ".`")


def _is_spark(native: Frame) -> bool:
    return bool(native.implementation.is_spark_like())


def _renamed(native: Frame, names: list[str], alias: dict[str, str]) -> Frame:
    if _is_spark(native):
        return nw.from_native(native.to_native().toDF(*(alias.get(n, n) for n in names)))
    rows = native.rename(alias) if alias else native
    return rows.select([alias.get(name, name) for name in names]) if keeps_rows(rows) else rows


def all_renamed(native: Frame) -> tuple[Frame, dict[Any, str]]:
    """The frame with all columns under aliases, and the alias of each of its names."""
    names = list(native.columns)
    alias = _aliases(names, native)
    if _is_spark(native):
        return nw.from_native(native.to_native().toDF(*alias.values())), alias
    rows = native.rename(alias)
    return _one_dictionary(rows), alias


def _one_dictionary(rows: Frame) -> Frame:
    """Chunks of PyArrow may have a dictionary of categories each, which it cannot group by."""
    if rows.implementation.is_pyarrow():
        return nw.from_native(rows.to_native().unify_dictionaries())
    return rows


def given_back(rows: Frame, columns: Columns, last: str) -> Frame:
    """All rows and columns under their own names, and one more column."""
    names = [name for name in rows.columns if name in columns.own or not name.startswith(HIDDEN)]
    kept = [nw.col(name).alias(columns.said(name)) for name in names if name != last]
    return rows.select(*kept, nw.col(last))
