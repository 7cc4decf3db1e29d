"""In memory: what bounds of doses and baselines ask for, the table of the array problem.

The rows of a person become one row of an (N, T) table, in their order.  T is the most rows that a
person has; who has fewer gets items without benefit for the rest, which are never chosen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from ..checks import Floats, Integers
from ..exclusive import SLACK
from ..groups import Groups
from ..problem import Problem
from .checks import Columns
from .engine import BASELINE, BENEFIT, CAP, COST, FLOOR, ROW, Frame

# A table larger than both is refused: persons of very different numbers of rows would fill the
# memory with items that are none.
LARGEST_PADDING = 64  # times the rows
LARGE_TABLE = 10**7  # items


class Table(NamedTuple):
    """Where the R rows of a frame stand in a table of N people.

    Attributes:
        person: (R,) the row of the table, in the order of the people's first rows.
        place: (R,) which of its person's rows it is.
        first: (N,) the first row of each person.
        most: T, the most rows that a person has.
    """

    person: Integers
    place: Integers
    first: Integers
    most: int

    @classmethod
    def of(cls, rows: Frame, columns: Columns) -> Table:
        """The table of an eager frame with ROW."""
        person = columns.person
        if person is None:
            row = np.arange(len(rows))
            return cls(row, np.zeros(row.size, np.intp), row, 1)
        firsts = rows.select(nw.col(ROW).min().over(person))[ROW].to_numpy()
        begins = firsts == np.arange(firsts.size)
        first, code = np.flatnonzero(begins), (np.cumsum(begins) - 1)[firsts]
        count = np.bincount(code)
        most = int(count.max())
        if first.size * most > max(LARGEST_PADDING * len(rows), LARGE_TABLE):
            raise ValueError(
                f"person {rows[person][int(first[count.argmax()])]!s} has {most} rows, far more "
                f"than others: a table of {first.size} people × {most} treatments would not fit "
                f"the memory; check the column {columns.said(person)!r}"
            )
        order = np.argsort(code, kind="stable")
        place = np.empty(code.size, np.intp)
        place[order] = np.arange(code.size) - np.repeat(np.cumsum(count) - count, count)
        return cls(code, place, first, most)

    def fill(self, column: Floats, elsewhere: float) -> Floats:
        """(N, T) the numbers (R,) of the rows, and another one where there is no row."""
        if self.most == 1:
            return column[:, None]
        table = np.full((self.first.size, self.most), elsewhere)
        table[self.person, self.place] = column
        return table

    def of_rows(self, table: Floats) -> Floats:
        """(R,) the numbers of the rows, out of an (N, T) table."""
        return table[:, 0] if self.most == 1 else np.asarray(table[self.person, self.place])

    def problem(
        self,
        rows: Frame,
        columns: Columns,
        budget: float,
        within: float,
        weight: Any,
        *,
        group_floor: Any,
        group_cap: Any,
    ) -> Problem:
        """The array problem; what only people can be blamed for is refused by their names."""
        bounds: dict[str, Any] = {
            name: self.fill(_floats(rows, hidden), elsewhere)
            for name, hidden, elsewhere in (("floor", FLOOR, 0.0), ("cap", CAP, 0.0))
            if getattr(columns, name) is not None
        }
        benefit, cost = self.fill(_floats(rows, BENEFIT), 0.0), self.fill(_floats(rows, COST), 1.0)
        groups = Groups(rows[columns.group][self.first].to_list())
        if columns.exclusive and "floor" in bounds:
            self._refuse_full(rows, columns, bounds["floor"], bounds["cap"])
        baseline = self._baseline(rows, columns)
        have = np.zeros(1) if baseline is None else baseline
        if "floor" in bounds:
            have = (benefit * bounds["floor"]).sum(axis=1) + have
            self._refuse_negative(rows, columns, groups, have, within)
        if within >= 1:
            able = benefit > 0
            if "cap" in bounds:
                able &= bounds["cap"] > bounds.get("floor", 0.0)
            self._refuse_worthless(rows, columns, groups, able.any(axis=1) | (have > 0), within)
        return Problem(
            benefit,
            cost,
            groups,
            budget,
            within=within,
            weight=weight,
            baseline=baseline,
            exclusive=columns.exclusive,
            **bounds,
            group_floor=group_floor,
            group_cap=group_cap,
        )

    def _baseline(self, rows: Frame, columns: Columns) -> Floats | None:
        """(N,) what people have already, which all rows of a person must agree on."""
        if columns.baseline is None:
            return None
        baseline = _floats(rows, BASELINE)
        own = baseline[self.first][self.person]
        if (baseline != own).any():
            row = int(np.argmax(baseline != own))
            first = self.first[self.person[row]]
            raise ValueError(
                f"baseline column {columns.said(str(columns.baseline))!r} differs between the rows "
                f"of {self._name(rows, columns, self.person[row])}: {own[row]} in row {first} and "
                f"{baseline[row]} in row {row}; it must be the same in all of them, as what the "
                f"person has without any dose"
            )
        return baseline[self.first]

    def _name(self, rows: Frame, columns: Columns, i: int) -> str:
        """Person i, as the user knows her."""
        row = int(self.first[i])
        person = f"row {row}" if columns.person is None else f"person {rows[columns.person][row]!s}"
        return f"{person} (group {rows[columns.group][row]!s})"

    def _refuse_full(self, rows: Frame, columns: Columns, floor: Floats, cap: Floats) -> None:
        taken = np.divide(floor, cap, out=np.zeros_like(cap), where=cap > 0).sum(axis=1)
        if (taken > 1 + SLACK).any():
            i = int(np.argmax(taken > 1 + SLACK))
            raise ValueError(
                f"the floors of {self._name(rows, columns, i)} take {taken[i]:g} whole offers "
                f"(Σ floor/cap), where exclusive = True leaves room for one: lower them"
            )

    def _refuse_negative(
        self, rows: Frame, columns: Columns, groups: Groups, have: Floats, within: float
    ) -> None:
        below = have < 0
        if within == 0:  # only the mean counts
            below &= (np.bincount(groups.code, have) < 0)[groups.code]
        if below.any():
            i = int(np.argmax(below))
            raise ValueError(
                f"the floors give {self._name(rows, columns, i)} the utility {have[i]:g}: must be "
                f"≥ 0; a floor on a row with a negative benefit takes away more than there is"
            )

    def _refuse_worthless(
        self,
        rows: Frame,
        columns: Columns,
        groups: Groups,
        has_or_gains: NDArray[np.bool_],
        within: float,
    ) -> None:
        group_gains = np.bincount(groups.code, has_or_gains) > 0
        without = ~has_or_gains & group_gains[groups.code]  # `Problem` tells of whole groups
        if without.any():
            name = self._name(rows, columns, int(np.argmax(without)))
            kind = "benefit" if columns.cap is None else "benefit and cap"
            raise ValueError(
                f"{name} has no positive {kind}, so with within = {within:g} (1 or more) the "
                f"group's utility is 0 for every allocation; drop that person, give a baseline, "
                f"or use within < 1"
            )


def _floats(rows: Frame, name: str) -> Floats:
    return np.asarray(rows[name].to_numpy(), float)
