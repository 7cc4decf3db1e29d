"""Tables that do not fit in memory: rows pass in chunks, and one row stays for each group.

Where nothing bounds the doses, the group k of G_k people needs two numbers, G_k and a mean of the
ratios r_i = max_t b_it/c_it of its members (`alphafair.value.Linear`)::

    p_k = max_i r_i / G_k             ε = 0
    p_k = M_s(r_i) / G_k              ε > 0: the power mean of exponent s = (1 − ε)/ε

Maxima and sums can be taken chunk by chunk, so **one pass** with K records in memory is enough.
What remains is a problem in which one row stands for each group and counts as G_k people: its best
item at ε = 0, and at ε > 0 a person of ratio M_s, at cost 1.  That problem is a `Problem` as any
other: prices, paths of budgets and gradients work on its K rows, and at ε = 0 certificates do.

**Exactness.**  At ε = 0 all results are those of the whole table to the last bit, for any cuts: a
maximum does not depend on the order, and of tied items the first row wins.  At ε > 0 the sums
Σ (r/R)^s refer to the largest ratio R of the group so far (the least, where s < 0), and are
multiplied by (R/R')^s when it grows to R'.  They are compensated, but what they add in which order
depends on the cuts, so that they agree with those of the whole table up to a few roundings.

**Doses** of 10⁹ people do not fit in memory either.  At ε = 0 only K items get any
(`ChunkedAllocation.funded_doses`); in all cases a second pass gives the doses chunk by chunk
(`ChunkedAllocation.dose_chunks`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .allocation import NEGLIGIBLE, Allocation
from .checks import Floats, Integers, column, number, real_table
from .groups import Groups
from .kernels import LARGEST_RATIO, group_sum
from .problem import Problem, common_shape, refuse_entry
from .progress import watched
from .scan import best_ratios
from .utility import log_power_mean
from .value import log_quotient, money_exponent

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Chunks = Iterable[Any] | Callable[[], Iterable[Any]]

# Two passes add the same shares in the same order; a share itself is right to a few roundings.
SAME_SHARES = 1e-9
INSTEAD = (
    "alphafair.frames.allocate keeps the rows in an engine such as DuckDB, and knows all bounds: "
    "frames.allocate(duckdb.read_parquet(path), …)"
)
BOUNDS = ("baseline", "floor", "cap", "exclusive")  # of people: V_k has no short summary with them

# What is known of one group; a new one starts with the record `NOTHING`.
RECORD = np.dtype(
    [
        ("size", np.int64),  # G
        ("best", float),  # the largest r_i
        ("least", float),  # the least r_i, up to a rounding; kept at ε > 1 only
        ("row", np.int64),  # where the largest is: i, counted over all chunks; −1 if b ≤ 0 so far
        ("treatment", np.int64),
        ("benefit", float),  # of that item
        ("cost", float),
        ("power", float),  # Σ (r/R)^s, and what its rounding has lost
        ("power_lost", float),
        ("excess", float),  # Σ ((r/R)^s − 1); at s = 0 Σ log(r/R)
        ("excess_lost", float),
    ]
)
NOTHING = np.array((0, 0.0, np.inf, -1, -1, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0), RECORD)


# --- the answers ------------------------------------------------------------------------------
class ChunkedProblem(Problem):
    """What `Problem.from_chunks` returns: a problem in which one row stands for each group.

    It has all that a `Problem` has.  Its tables have K rows, in the order of the sorted labels, and
    one column; what belongs to people, such as ``gradient().benefit``, belongs to these rows.  At
    within > 0 these are the groups themselves, and so a solver judges the split between them.

    Attributes:
        people: N, of the table that has passed.
        treatments: T, of the same.
        aversion: ε, as ``within`` was given.  ``within`` itself is 0: inside groups all is settled.
        benefit: (K, 1) at ε = 0 that of each group's best item; at ε > 0 the power mean M_s of the
            members' ratios.
        cost: (K, 1) at ε = 0 that of each group's best item; at ε > 0 it is 1.
        groups: the sorted labels with the sizes G of all chunks, and one row each.
        best_item: (K, 2) rows (i, t): each group's item of largest b/c, in the order of the whole
            table; the first where several tie.
    """

    people: int
    treatments: int
    aversion: float
    _columns: Columns
    _tally: Tally

    def __init__(
        self, tally: Tally, columns: Columns, budget: float, weight: Any, **group_bounds: Any
    ) -> None:
        groups = Groups(tally.label)
        groups.size = tally.records["size"].astype(np.intp)
        benefit, cost = tally.rows_of_groups()
        super().__init__(benefit, cost, groups, budget, weight=weight, **group_bounds)
        fields: dict[str, Any] = {
            "people": int(groups.size.sum()),
            "treatments": tally.treatments,
            "aversion": tally.within,
            "funded": self.funded,  # items of the K rows; the next line is about the whole table
            "best_item": np.stack([tally.records["row"], tally.records["treatment"]], axis=1),
            "_columns": columns,
            "_tally": tally,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def allocate(self, alpha: float) -> ChunkedAllocation:
        """As `Problem.allocate`: O(K), without reading any row again."""
        found = super().allocate(alpha)
        return ChunkedAllocation(found.alpha, self, found.group_share)

    def __repr__(self) -> str:
        return (
            f"ChunkedProblem(N={self.people}, T={self.treatments}, K={len(self.groups)}, "
            f"budget={self.budget:g}, within={self.aversion:g})"
        )


class FundedDoses(NamedTuple):
    """The items that get money: ``dose[j]`` of the treatment ``treatment[j]`` for ``person[j]``.

    Attributes:
        person: (M,) row i of the whole table, counted over all chunks, rising.
        treatment: (M,) t.
        dose: (M,) d_it; all other doses are 0.
    """

    person: Integers
    treatment: Integers
    dose: Floats


class ChunkedAllocation(Allocation):
    """The `Allocation` of a `ChunkedProblem`, which has the doses of its people in two ways."""

    problem: ChunkedProblem

    @cached_property
    def dose(self) -> Floats:
        """(K, 1) the doses of the groups' best items, at within = 0; all others are 0.

        Raises:
            TypeError: at within > 0, where everybody who can benefit gets money; so does what asks
                for doses, such as a report or a lottery.
        """
        if self.problem.aversion > 0:
            self._refuse_doses()
        return super().dose

    def _refuse_doses(self) -> NoReturn:
        raise TypeError(
            f"at within = {self.problem.aversion:g} nearly everybody gets a dose, and the rows "
            f"have passed: dose_chunks(chunks) yields the doses chunk by chunk"
        )

    def dose_sparse(self) -> csr_array:
        """(N, T) doses of all people as a sparse matrix, at within = 0: one a group has any.

        Raises:
            ModuleNotFoundError: scipy is not installed.
            TypeError: at within > 0, where everybody who can benefit gets money.

        Example:
            >>> chunks = [([3.0, 1.0], 1.0, ["b", "a"]), ([2.0], 1.0, ["a"])]
            >>> Problem.from_chunks(chunks, budget=6.0).allocate(1).dose_sparse().toarray()[:, 0]
            array([3., 0., 3.])
        """
        from scipy import sparse

        person, treatment, dose = self.funded_doses()
        shape = self.problem.people, self.problem.treatments
        return sparse.csr_array((dose, (person, treatment)), shape=shape)

    def dose_into(self, out: NDArray[Any]) -> NDArray[Any]:
        """``dose`` (K, 1) into an array; the doses of people come by ``dose_chunks``."""
        if self.problem.aversion > 0:
            self._refuse_doses()
        return super().dose_into(out)

    def funded_doses(self) -> FundedDoses:
        """The items that get money at within = 0: one a group, without another pass.

        Returns:
            `FundedDoses`, (K,) each.

        Raises:
            TypeError: at within > 0, where everybody who can benefit gets money.

        Example:
            >>> chunks = [([3.0, 1.0], 1.0, ["b", "a"]), ([2.0], 1.0, ["a"])]
            >>> a = Problem.from_chunks(chunks, budget=6.0).allocate(1)
            >>> a.funded_doses()
            FundedDoses(person=array([0, 2]), treatment=array([0, 0]), dose=array([3., 3.]))
        """
        if self.problem.aversion > 0:
            self._refuse_doses()
        person, treatment = self.problem.best_item.T
        dose = self.bought(person, treatment, self.group_budget, self.problem.cost[:, 0])
        order = np.argsort(person)
        return FundedDoses(person[order], treatment[order], dose[order])

    def dose_chunks(self, chunks: Chunks) -> Iterator[Floats]:
        """The doses of all people in a second pass, chunk by chunk.

        Args:
            chunks: the same rows in the same order, or a function that begins them anew; they may
                be cut elsewhere.

        Yields:
            (n, T) doses of each chunk, in the order of its rows; of none for an empty chunk.

        Raises:
            ValueError: rows that are not those of the first pass, as far as their number and the
                groups' shares can tell; doses beyond the doubles.

        Example:
            >>> chunks = [([3.0, 1.0], 1.0, ["b", "a"]), ([2.0], 1.0, ["a"])]
            >>> a = Problem.from_chunks(chunks, budget=6.0, within=0.5).allocate(1)
            >>> [dose[:, 0].tolist() for dose in a.dose_chunks(chunks)]
            [[3.0, 1.0], [2.0]]
        """
        return _doses(self, chunks)

    def bought(self, person: Integers, treatment: Integers, money: Floats, cost: Floats) -> Floats:
        """(M,) doses of these items, money/cost; refused where they leave the doubles."""
        with np.errstate(over="ignore", under="ignore"):
            dose = money / cost
        if dose.size == 0 or (np.finfo(float).tiny <= dose.min() and dose.max() < np.inf):
            return dose
        over = ~np.isfinite(dose)
        under = (dose < np.finfo(float).tiny) & (money > NEGLIGIBLE * self.problem.budget)
        if (over | under).any():
            j = int(np.argmax(over | under))
            how, size = ("overflows", "large") if over[j] else ("underflows", "small")
            raise ValueError(
                f"dose of item ({person[j]}, {treatment[j]}) {how}: the budget is too {size} for "
                f"its cost; measure this dose in a {size}er unit"
            )
        return dose


def from_chunks(
    chunks: Chunks,
    budget: float,
    *,
    within: float,
    weight: Any,
    benefit: str | Sequence[str],
    cost: str | float | Sequence[str | float],
    group: str,
    group_floor: Any,
    group_cap: Any,
    **bounds: Any,
) -> ChunkedProblem:
    """`Problem.from_chunks`."""
    for name in BOUNDS:
        if bounds[name] is not None and bounds[name] is not False:
            raise ValueError(
                f"{name} is given: a table in chunks has no bounds of doses, because a group with "
                f"them is no mean of its members; {INSTEAD}"
            )
    within = number("within", within, "between 0 and infinity", lambda v: v >= 0)
    columns = Columns(benefit, cost, group)
    tally = Tally(within)
    for chunk in _read(chunks, columns):
        if chunk is not None:
            tally.take(chunk)
    tally.close()
    return ChunkedProblem(
        tally, columns, budget, weight, group_floor=group_floor, group_cap=group_cap
    )


# --- the rows ---------------------------------------------------------------------------------
class Columns(NamedTuple):
    """Where the numbers of a chunk are that is not a tuple: names of its columns."""

    benefit: str | Sequence[str]
    cost: str | float | Sequence[str | float]
    group: str

    def of(self, chunk: Any, place: int) -> tuple[Any, Any, Any]:
        """Benefit, cost and group of a chunk, the one at this place."""
        if isinstance(chunk, tuple | list) and not hasattr(chunk, "_fields"):
            if len(chunk) != 3:
                raise ValueError(
                    f"chunk {place} has {len(chunk)} parts: must be (benefit, cost, group), or a "
                    f"table with columns of these names"
                )
            return chunk[0], chunk[1], chunk[2]
        return (
            _table(chunk, place, "benefit", self.benefit),
            _table(chunk, place, "cost", self.cost),
            _column(chunk, place, "group", self.group),
        )


def _table(chunk: Any, place: int, argument: str, names: Any) -> Any:
    """One column, or several side by side; a cost may be a number instead of a name."""
    if np.ndim(names) > 0:
        parts = [_table(chunk, place, argument, name) for name in names]
        return np.stack(np.broadcast_arrays(*map(np.atleast_1d, parts)), axis=1)
    if argument == "cost" and not isinstance(names, str):
        return names
    return _column(chunk, place, argument, names)


def _column(chunk: Any, place: int, argument: str, name: str) -> Any:
    """A column of a mapping, a data frame, a structured array, or an object with such a field."""
    by_name = hasattr(chunk, "__getitem__") and not hasattr(chunk, "_fields")
    try:
        return chunk[name] if by_name else getattr(chunk, name)
    except Exception as error:  # each kind of table has its own
        raise ValueError(
            f"chunk {place} is of type {type(chunk).__name__} and has no column {name!r} for "
            f"{argument}: must be (benefit, cost, group), or a table with such columns; name them "
            f"with {argument}=…"
        ) from error


class Chunk(NamedTuple):
    """Some rows, checked for their shapes.

    Attributes:
        place: the number of chunks before it.
        start: the number of rows before it.
        benefit, cost: tables that broadcast to ``shape`` (n, T).
        groups: `Groups` of these rows.
        shape: (n, T).
    """

    place: int
    start: int
    benefit: Floats
    cost: Floats
    groups: Groups
    shape: tuple[int, int]

    def items(self, table: Floats, row: Integers, treatment: Integers) -> Floats:
        """The numbers of these items."""
        return np.asarray(np.broadcast_to(column(table), self.shape)[row, treatment])

    def scan(self, owner: Integers, owners: int) -> tuple[Floats, Integers]:
        """Best ratio of each owner, and its item i·T + t, −1 where no benefit is positive."""
        best, item, valid = best_ratios(self.benefit, self.cost, self.shape, owner, owners)
        if not valid:
            with _told(self.place, self.start, self.shape[0], _length(self.cost)):
                refuse_entry(self.benefit, self.cost)
        return best, item

    def scan_people(self) -> tuple[Floats, Integers]:
        """`scan` for each row, with no ratio beyond the range in which ratios can be compared."""
        ratio, item = self.scan(np.arange(self.shape[0]), self.shape[0])
        far = (item >= 0) & ~_comparable(ratio)
        if far.any():
            i = int(np.argmax(far))
            _refuse_far(self.start + i, int(item[i]) % self.shape[1], ratio[i])
        return ratio, item


@contextmanager
def _told(place: int, start: int, rows: int, rows_of_cost: int) -> Iterator[None]:
    """Refusals of one chunk as the whole table would tell them.

    ``benefit[3, 0] is nan`` gets the number that row 3 has in all; where a message names no row of
    a person, it gets the number of the chunk.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        text = str(error)
        of_people = "benefit|group|cost" if rows_of_cost == rows else "benefit|group"
        told = re.match(rf"({of_people})\[(\d+)", text)
        if told is None:
            raise kind(f"chunk {place}: {text}") from error
        raise kind(f"{told[1]}[{start + int(told[2])}{text[told.end() :]}") from error


def _read(chunks: Chunks, columns: Columns) -> Iterator[Chunk | None]:
    """The chunks one after the other, as arrays; None where a chunk is empty."""
    start, treatments, first = 0, 0, 0
    rows = chunks() if callable(chunks) else chunks
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping | np.ndarray):
        raise TypeError(
            f"chunks is of type {type(rows).__name__}: must be an iterable of chunks, or a "
            f"function that returns one; one chunk alone is [chunk]"
        )
    for place, came in enumerate(watched(rows, "chunks", unit="chunk")):
        b, c, labels = columns.of(came, place)
        if _length(b) == _length(labels) == 0:
            yield None
            continue
        with _told(place, start, _length(labels), _length(c)):
            benefit, cost = real_table("benefit", b), real_table("cost", c)
            groups = _groups(labels)
            shape = common_shape(benefit, cost, groups)
        if treatments == 0:
            treatments, first = shape[1], place
        if shape[1] != treatments:
            raise ValueError(
                f"chunk {place} has {shape[1]} treatments and chunk {first} has {treatments}: "
                f"must be the same in all chunks"
            )
        yield Chunk(place, start, benefit, cost, groups, shape)
        start += shape[0]


def _length(column: Any) -> int:
    """The number of rows; 1 for a number, which `common_shape` judges."""
    try:
        return len(column)
    except TypeError:
        return 1


def _groups(labels: Any) -> Groups:
    """`Groups` of a chunk, in no order: an Arrow dictionary has its labels written once."""
    if isinstance(labels, Groups):
        return labels
    if not (hasattr(labels, "indices") and hasattr(labels, "dictionary")):
        return Groups(labels)
    groups = Groups(labels.indices)
    groups.label = np.asarray(labels.dictionary)[groups.label.astype(np.intp)]
    return groups


# --- what is kept of them -----------------------------------------------------------------------
class Tally:
    """What has been seen of each group.

    Attributes:
        label: (K,) the labels seen so far, sorted.
        records: (K,) a `RECORD` each.
        within: ε.
        treatments: T; 0 before the first row.
    """

    label: NDArray[Any]
    records: NDArray[Any]

    def __init__(self, within: float) -> None:
        self.within, self.treatments = within, 0
        self.records = np.zeros(0, RECORD)

    def take(self, chunk: Chunk) -> None:
        """Count the rows of a chunk."""
        self.treatments = chunk.shape[1]
        code, count = chunk.groups.code, chunk.groups.size.size
        place = self._admit(chunk.groups.label)
        records = self.records[place]
        if self.within == 0:
            best, item = chunk.scan(code, count)
        else:
            ratio, of_person = chunk.scan_people()
            if self.within >= 1:
                _refuse_worthless(chunk, of_person, self.within)
            best, person = _best_people(ratio, code, count)
            item = np.where(person >= 0, of_person[person], -1)
            self._add_powers(records, ratio, best, code)
        records["size"] += chunk.groups.size
        self._keep_best(records, chunk, best, item)
        self.records[place] = records

    def _admit(self, label: NDArray[Any]) -> Integers:
        """Where these labels stand among all, with records for those that are new."""
        if self.records.size == 0:
            self.label = label[:0]
        _refuse_mixed(self.label, label)
        known = self.label.size
        groups = Groups(np.concatenate([self.label, label]))
        records = np.full(groups.label.size, NOTHING, RECORD)
        records[groups.code[:known]] = self.records
        self.label, self.records = groups.label, records
        return groups.code[known:]

    def _keep_best(self, records: Any, chunk: Chunk, best: Floats, item: Integers) -> None:
        """The best item of each group so far: the first of those that tie."""
        better = (item >= 0) & ((records["row"] < 0) | (best > records["best"]))
        row, treatment = np.divmod(item[better], chunk.shape[1])
        found = {
            "best": best[better],
            "row": chunk.start + row,
            "treatment": treatment,
            "benefit": chunk.items(chunk.benefit, row, treatment),
            "cost": chunk.items(chunk.cost, row, treatment),
        }
        for name, value in found.items():
            records[name][better] = value

    @property
    def exponent(self) -> float:
        """The power s = (1 − ε)/ε of the ratios with which money follows them."""
        return money_exponent(self.within)

    def powers(self, log_ratio: Floats) -> Floats:
        """(r/R)^s from log(r/R)."""
        with np.errstate(invalid="ignore"):  # 0 · −∞: people who cannot benefit, at s = 0
            return np.exp(self.exponent * log_ratio)

    def _excess(self, log_ratio: Floats) -> Floats:
        """(r/R)^s − 1; at s = 0 its derivative in s, log(r/R)."""
        return np.expm1(self.exponent * log_ratio) if self.exponent else log_ratio

    def _add_powers(self, records: Any, ratio: Floats, best: Floats, code: Integers) -> None:
        """Add the powers of these ratios (n,), relative to the new reference of each group."""
        before, size = self._reference(records["best"], records["least"]), records["size"]
        if self.exponent < 0:  # the least r has the largest 1/r
            _, person = _best_people(1 / ratio, code, size.size)
            records["least"] = np.minimum(records["least"], ratio[person])
        after = self._reference(np.maximum(records["best"], best), records["least"])
        # What was there: with q = (R/R')^s,  Σ ((r/R')^s − 1) = q Σ ((r/R)^s − 1) + n (q − 1).
        shift = np.where(size > 0, log_quotient(before, after), 0.0)
        for name in ("power", "excess"):
            records[name] *= self.powers(shift)
            records[f"{name}_lost"] *= self.powers(shift)
        _add(records, "excess", size * self._excess(shift))
        # What comes.
        log_ratio = log_quotient(ratio, after[code])
        _add(records, "power", group_sum(self.powers(log_ratio), code, size.size))
        _add(records, "excess", group_sum(self._excess(log_ratio), code, size.size))

    def _reference(self, best: Floats, least: Floats) -> Floats:
        """(K,) R, so that no power is above 1; where nobody can benefit so far, any number > 0."""
        largest = np.where(best > 0, best, 1.0)
        return least.copy() if self.exponent < 0 else largest

    def close(self) -> None:
        """Check what can be checked at the end only."""
        if self.records.size == 0:
            raise ValueError(
                "chunks are empty: at least one row is needed; an iterator that has been used is "
                "empty, so pass a list, or a function that begins anew"
            )
        far = (self.records["row"] >= 0) & ~_comparable(self.records["best"])
        if far.any():
            record = self.records[int(np.argmax(far))]
            _refuse_far(record["row"], record["treatment"], record["best"])

    def rows_of_groups(self) -> tuple[Floats, Floats]:
        """(K,) benefit and cost of the row that stands for each group."""
        records = self.records
        if self.within == 0:
            return records["benefit"].copy(), records["cost"].copy()
        size = records["size"]
        excess = (records["excess"] + records["excess_lost"]) / size
        log_mean = log_power_mean(self.exponent, excess, excess, self.power / size)
        with np.errstate(under="ignore"):
            mean = self.reference * np.exp(log_mean)
        lost = (records["row"] >= 0) & (mean < np.finfo(float).tiny)
        if lost.any():
            raise ValueError(
                f"group {self.label[int(np.argmax(lost))]!s} has a mean ratio below the doubles: "
                f"somebody in it cannot benefit, and within = {self.within} is next to 1; drop "
                f"those who cannot, or use a smaller within"
            )
        return np.where(records["row"] >= 0, mean, 0.0), np.ones(size.size)

    @property
    def reference(self) -> Floats:
        """(K,) R at the end of the pass."""
        return self._reference(self.records["best"], self.records["least"])

    @property
    def power(self) -> Floats:
        """(K,) Σ (r/R)^s."""
        return np.asarray(self.records["power"] + self.records["power_lost"])

    def find(self, label: NDArray[Any]) -> Integers | None:
        """Where these labels stand among all; None if one of them is new."""
        merged = Groups(np.concatenate([self.label, label]))
        return merged.code[self.label.size :] if merged.size.size == self.label.size else None


def _best_people(ratio: Floats, code: Integers, count: int) -> tuple[Floats, Integers]:
    """(K,) the largest ratio of each group, and the first person who has it, −1 for 0."""
    best, person, _ = best_ratios(ratio[:, None], np.ones(1), (ratio.size, 1), code, count)
    return best, person


def _add(records: Any, name: str, term: Floats) -> None:
    """Add to a sum, and what the addition rounds off to what is lost (Knuth's exact sum)."""
    total = records[name].copy()
    new = total + term
    of_term = new - total
    records[name] = new
    records[f"{name}_lost"] += (total - (new - of_term)) + (term - of_term)


def _comparable(ratio: Floats) -> NDArray[np.bool_]:
    return (ratio <= LARGEST_RATIO) & (ratio >= 1 / LARGEST_RATIO)


def _refuse_far(row: int, treatment: int, ratio: float) -> NoReturn:
    raise ValueError(
        f"benefit and cost of item ({row}, {treatment}) have the ratio {ratio:g}: must be between "
        f"{1 / LARGEST_RATIO:g} and {LARGEST_RATIO:g}; measure them in other units, or set "
        f"negligible benefits to 0"
    )


def _refuse_worthless(chunk: Chunk, item: Integers, within: float) -> None:
    without = item < 0
    if without.any():
        i = int(np.argmax(without))
        label = chunk.groups.label[chunk.groups.code[i]]
        raise ValueError(
            f"person {chunk.start + i} (group {label!s}) has no positive benefit, so with "
            f"within = {within:g} (1 or more) the group's utility is 0 for every allocation; "
            f"drop that person, or use within < 1"
        )


def _refuse_mixed(known: NDArray[Any], new: NDArray[Any]) -> None:
    """Labels of two chunks that numpy would make one kind at the cost of telling them apart."""
    kinds = {known.dtype.kind, new.dtype.kind}
    mixed = len({kind if kind in "bUSmM" else "number" for kind in kinds - {"O"}}) > 1
    if kinds == {"i", "u"}:  # 64 bits each: as doubles
        mixed = np.result_type(known, new).kind == "f"
    if mixed:
        raise TypeError(
            f"group has labels of type {known.dtype} in one chunk and {new.dtype} in a later one: "
            f"must be of one type; convert them before"
        )


# --- the second pass ----------------------------------------------------------------------------
def _doses(a: ChunkedAllocation, chunks: Chunks) -> Iterator[Floats]:
    """`ChunkedAllocation.dose_chunks`."""
    problem, tally = a.problem, a.problem._tally
    seen, given = 0, np.zeros(a.group_share.size)
    for chunk in _read(chunks, problem._columns):
        if chunk is None:
            yield np.zeros((0, problem.treatments))
            continue
        place = tally.find(chunk.groups.label)
        if place is None or chunk.shape[1] != problem.treatments:
            _refuse_changed("other groups or treatments came")
        person, treatment, part, total = _funded(tally, chunk, place)
        code = chunk.groups.code[person]
        given[place] += group_sum(part, code, place.size) / total
        cost = chunk.items(chunk.cost, person, treatment)
        money = (a.group_budget[place] / total)[code] * part
        dose = np.zeros(chunk.shape)
        dose[person, treatment] = a.bought(chunk.start + person, treatment, money, cost)
        seen += chunk.shape[0]
        yield dose
    if seen != problem.people:
        _refuse_changed(f"{problem.people} rows and then {seen}")
    wrong = np.abs(given - 1) > SAME_SHARES
    if wrong.any():
        _refuse_changed(f"group {problem.groups.label[int(np.argmax(wrong))]!s} had other rows")


def _funded(
    tally: Tally, chunk: Chunk, place: Integers
) -> tuple[Integers, Integers, Floats, Floats]:
    """Row in the chunk, treatment and part of the items that get money, and (K,) all parts."""
    records = tally.records[place]
    if tally.within > 0:
        ratio, item = chunk.scan_people()
        code = chunk.groups.code
        power = tally.powers(log_quotient(ratio, tally.reference[place][code]))
        power[item < 0] = 0.0
        treatment = np.maximum(item, 0) % chunk.shape[1]
        return np.arange(item.size), treatment, power, tally.power[place]
    here = (chunk.start <= records["row"]) & (records["row"] < chunk.start + chunk.shape[0])
    best = records[here]
    person, treatment = best["row"] - chunk.start, best["treatment"]
    same = chunk.groups.code[person] == np.flatnonzero(here)
    same &= chunk.items(chunk.benefit, person, treatment) == best["benefit"]
    same &= chunk.items(chunk.cost, person, treatment) == best["cost"]
    return person, treatment, same.astype(float), np.ones(place.size)


def _refuse_changed(how: str) -> NoReturn:
    raise ValueError(
        f"the chunks are not those of the first pass: {how}; an iterator that has been used is "
        f"empty, and random numbers must be drawn once, so pass the same list, or a function that "
        f"begins anew"
    )
