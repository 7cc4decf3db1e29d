"""Back to the rows: what each of them gets of its group's budget."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np

from ..checks import Floats
from . import engine, partitions
from .checks import Columns
from .engine import AMOUNT, BEST, COST, DOSE, FIRST, POWER, RATIO, REFERENCE, ROW, TIES, Frame
from .names import given_back
from .stages import Census, Stage, second_look, with_powers


def doses_of_rows(
    rows: Frame, census: Census, columns: Columns, stage: Stage, money: Floats
) -> Frame:
    """DOSE = x_k y_i / c on the funded rows: the best one of the group (ε = 0) or of each person.

    Eager frames fund the first of tied rows, lazy ones, which have no first, all in equal parts.
    """
    inner = stage.exponent < np.inf
    values = {AMOUNT: money / stage.total, REFERENCE: stage.reference}
    funded, count = nw.col(RATIO) > 0, nw.lit(1.0)
    ties = None if engine.is_eager(rows) else second_look(rows, census, columns)
    if ties is not None and not inner:
        values |= {BEST: census.best, TIES: ties}
    elif columns.person is not None or not inner:
        owner = [columns.group, *([columns.person] if columns.person and inner else [])]
        rows = engine.join(rows, _winners(rows, owner), owner)
    rows = engine.spread(rows, columns.group, census.key, values)
    if BEST in rows.columns:
        funded = funded & (nw.col(RATIO) == nw.col(BEST))
        if engine.is_eager(rows):
            funded = funded & (nw.col(ROW) == nw.col(FIRST))
        else:
            count = nw.col(TIES)
    spent = nw.col(AMOUNT)
    if inner:
        rows, spent = with_powers(rows, stage.exponent), spent * nw.col(POWER)
    dose = nw.when(funded).then(spent / (nw.col(COST) * count)).otherwise(nw.lit(0.0))
    return rows.with_columns(dose.alias(DOSE))


def _winners(rows: Frame, owner: list[Any]) -> Frame:
    """One row an owner: BEST ratio, how many rows have it (TIES), the FIRST of them if eager."""
    best = rows.group_by(*owner).agg(nw.col(RATIO).max().alias(BEST))
    tied = engine.join(rows, best, owner).filter(nw.col(RATIO) == nw.col(BEST))
    found = [nw.col(BEST).max(), nw.len().alias(TIES)]
    if engine.is_eager(rows):
        found.append(nw.col(ROW).min().alias(FIRST))
    return tied.group_by(*owner).agg(*found)


def refuse_overflow(money: Floats, census: Census) -> None:
    """ValueError about the first group whose budget could be too large for its least cost."""
    with np.errstate(over="ignore"):
        largest = money / census.cheapest
    if not np.isfinite(largest).all():
        k = int(np.argmin(np.isfinite(largest)))
        raise ValueError(
            f"doses of group {census.label[k]!s} can overflow: the budget is too large for the "
            f"least cost, {census.cheapest[k]:g}; measure cost and budget in a larger unit"
        )


def with_dose(native: Frame, doses: Frame, columns: Columns) -> Any:
    """The native frame as it was, and the doses as its last column."""
    if engine.is_eager(native):
        return native.with_columns(doses.sort(ROW)[DOSE]).to_native()
    if partitions.is_dask(native):
        return partitions.with_column(native, doses, DOSE)
    return given_back(doses, columns, DOSE).to_native()


def with_series(native: Frame, dose: Floats) -> Any:
    """The native frame, which is eager, and the doses of its rows as the last column."""
    series = nw.new_series(DOSE, dose, nw.Float64, backend=native.implementation)
    return native.with_columns(series).to_native()
