"""What Dask needs: numbers handed to each of its partitions, and rows brought home after a join.

Dask's `replace` keeps the type of the labels, which cuts money down to whole numbers where they are
integers; and its joins forget the index and the order.  So the K numbers of the groups are looked
up by pandas, inside each partition; and before a join the rows are numbered, by which their doses
find the way back to the partition and the place that they came from.

Dask's optimiser merges assignments, after which the columns of a partition may come in another
order than its plan says, and Dask refuses a result that differs from the plan.  So whatever runs
inside a partition puts its columns in the order that it was told (`_order`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import narwhals as nw
import numpy as np

from ..checks import Floats

PART, PLACE = "_af_part", "_af_place"

# A narwhals LazyFrame of Dask, and the pandas frames that are its partitions.
Frame = Any
Partition = Any


def is_dask(frame: Frame) -> bool:
    """Whether Dask holds the rows."""
    return bool(frame.implementation.is_dask())


def spread(rows: Frame, group: str, keys: list[Any], values: dict[str, Floats]) -> Frame:
    """`engine.spread`: rows with K numbers written beside them; nothing moves."""
    native = rows.to_native()
    place = {label: k for k, label in enumerate(keys)}
    arguments = (group, place, values, _order(native, values))
    meta = _looked_up(native._meta, *arguments)
    return nw.from_native(native.map_partitions(_looked_up, *arguments, meta=meta))


def _order(native: Frame, new: Iterable[str]) -> list[Any]:
    """The names of a Dask frame's columns and of new ones, each once."""
    return list(dict.fromkeys([*native.columns, *new]))


def _looked_up(
    part: Partition,
    group: str,
    place: dict[Any, int],
    values: dict[str, Floats],
    order: list[Any],
) -> Partition:
    code, labels = part[group].factorize()  # each label once, however long the partition
    unknown = [label for label in labels if label not in place]
    if unknown:
        raise ValueError(
            f"group {unknown[0]!s} was not in the frame when it was read first: the frame must "
            f"give the same rows each time; persist it before (.persist())"
        )
    at = np.array([place[label] for label in labels], np.intp)[code]
    return part.assign(**{name: value[at] for name, value in values.items()})[order]


def numbered(rows: Frame) -> Frame:
    """Rows with the number of their PART and their PLACE in it, unless they have them already."""
    if PART in rows.columns:
        return rows
    native = rows.to_native()
    order = _order(native, (PART, PLACE))
    meta = _numbered(native._meta, order)
    return nw.from_native(native.map_partitions(_numbered, order, meta=meta))


def _numbered(
    part: Partition, order: list[Any], partition_info: dict[str, Any] | None = None
) -> Partition:
    number = 0 if partition_info is None else partition_info["number"]
    return part.assign(**{PART: number, PLACE: np.arange(len(part))})[order]


def with_column(native: Frame, rows: Frame, name: str) -> Any:
    """The native frame, untouched, with one column of its rows, wherever they have been since."""
    home, whole = rows.to_native(), native.to_native()
    if PART in rows.columns:
        bounds = list(range(whole.npartitions + 1))  # part n goes to partition n
        home = home[[PART, PLACE, name]].set_index(PART, divisions=bounds)
    order = _order(whole, (name,))
    meta = whole._meta.assign(**{name: np.zeros(0)})
    return whole.map_partitions(_with_column, home, name, order, meta=meta, align_dataframes=False)


def _with_column(part: Partition, home: Partition, name: str, order: list[Any]) -> Partition:
    if PLACE in home.columns:
        home = home.sort_values(PLACE)
    return part.assign(**{name: home[name].to_numpy(float)})[order]
