"""Small populations exactly: the Markov chain of N objects.

Configurations are what can be reached from the initial state: counts of a population, the states of
all objects of a heterogeneous one.  There are C(N + d − 1, d − 1) counts, S^n states of objects.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, reals
from ...common import scipy, watched, whole
from .population import SynchronousPopulation

LARGEST = 300_000  # configurations


class Jumping(Protocol):
    """A model whose objects can be moved one event at a time."""

    @property
    def synchronous(self) -> bool: ...  # noqa: D102

    def configuration(self, x: ArrayLike, n: int) -> Integers:
        """(c,) the configuration of n objects in the state x."""

    def event_rates(self, configurations: Integers, n: int) -> Floats:
        """(R, c) → (R, E)."""

    def after(self, configurations: Integers, events: Integers) -> Integers:
        """(R, c), (R,) → (R, c)."""

    def observed(self, configurations: Integers, n: int) -> Floats:
        """(R, c) → (R, d) or (R, objects, states)."""


class Chain(NamedTuple):
    """The Markov chain of all configurations; the first is the initial one.

    Attributes:
        values: (M, d) or (M, objects, states), X in each configuration.
        matrix: (M, M) sparse: rates from row to column with diagonal −Σ, or probabilities.
        synchronous: are they probabilities?
    """

    values: Floats
    matrix: Any
    synchronous: bool

    def stationary(self) -> Floats:
        """(M,) the law in the steady state.

        Raises:
            ValueError: there are several closed classes, so that it depends on the start.
        """
        size, sparse = self.matrix.shape[0], scipy().sparse
        count, label = sparse.csgraph.connected_components(self.matrix, connection="strong")
        links = self.matrix.tocoo()
        leaves = np.zeros(count, bool)
        out = (label[links.row] != label[links.col]) & (links.data > 0)
        leaves[label[links.row[out]]] = True
        closed = np.flatnonzero(~leaves)
        if closed.size > 1:
            raise ValueError(f"the chain has {closed.size} closed classes: must be 1")
        inside = np.flatnonzero(label == closed[0])
        law = np.zeros(size)
        law[inside] = 1.0
        if inside.size > 1:
            flow = self.matrix - sparse.eye_array(size) if self.synchronous else self.matrix
            part = sparse.csc_array(flow)[inside][:, inside].T.tocsc()
            # The law is determined up to a factor: the first entry is 1, its equation goes.
            law[inside[1:]] = sparse.linalg.spsolve(part[1:, 1:], -part[1:, [0]].toarray().ravel())
        law /= law.sum()
        return law

    def expectation(self) -> Floats:
        """E X in the steady state."""
        return np.tensordot(self.stationary(), self.values, 1)

    def covariance(self) -> Floats:
        """Cov X in the steady state, (d, d) of the flat X."""
        law, flat = self.stationary(), self.values.reshape(len(self.values), -1)
        centred = flat - law @ flat
        spread: Floats = centred.T @ (law[:, None] * centred)
        return spread

    def laws(self, times: ArrayLike) -> Floats:
        """(T, M) the law at each time, from the initial configuration."""
        grid = np.atleast_1d(reals("times", times))
        if not (np.isfinite(grid).all() and (np.diff(grid, prepend=0.0) >= 0).all()):
            raise ValueError(f"times is {grid.tolist()}: must be ≥ 0 and increasing")
        law, last, rows = np.eye(1, self.matrix.shape[0])[0], 0.0, []
        transposed = self.matrix.T.tocsc()
        for time in watched(grid, "times"):
            if self.synchronous:
                for _ in range(int(time) - int(last)):
                    law = transposed @ law
            elif time > last:
                law = scipy().sparse.linalg.expm_multiply(transposed * (time - last), law)
            last = time
            rows.append(law)
        return np.array(rows)

    def transient(self, times: ArrayLike) -> Floats:
        """(T, …), E X at each time."""
        return np.tensordot(self.laws(times), self.values, 1)


def exact_chain(
    model: Jumping | SynchronousPopulation,
    initial: ArrayLike,
    n: int = 1,
    *,
    largest: int = LARGEST,
) -> Chain:
    """The Markov chain of n objects.

    Args:
        model: a population, a heterogeneous one or a cache, or one with a kernel in steps.
        initial: the state at time 0; n times it must be whole.
        n: number of objects; 1 for heterogeneous models, which count theirs.
        largest: how many configurations are too many.

    Returns:
        `Chain`.

    Raises:
        ValueError: too many configurations.

    Example:
        >>> from alphafair.models.meanfield import sis
        >>> chain = exact_chain(sis(2, 1, source=0.5), [0.5, 0.5], 20)
        >>> chain.expectation().round(5).tolist()
        [0.37548, 0.62452]
    """
    size = whole("n", n, 1)
    if isinstance(model, SynchronousPopulation):
        return _in_steps(model, initial, size, largest)
    known = model.configuration(initial, size)[None]
    places = {known[0].tobytes(): 0}
    rows: list[Integers] = []
    columns: list[Integers] = []
    rates: list[Floats] = []
    done = 0
    while done < len(known):
        frontier = known[done : done + 1000]
        table = model.event_rates(frontier, size)
        row, event = np.nonzero(table)
        after = np.ascontiguousarray(model.after(frontier[row], event))
        column, new = _placed(after, places)
        if len(places) > largest:
            raise ValueError(
                f"n is {size} and more than {largest} configurations can be reached: too many for "
                f"the exact chain; take fewer objects, or `simulate`"
            )
        rows.append(row + done)
        columns.append(column)
        rates.append(table[row, event])
        done += len(frontier)
        known = np.concatenate([known, *([np.array(new)] if new else [])])
    return Chain(model.observed(known, size), _generator(rows, columns, rates, done), False)


def _placed(configurations: Integers, places: dict[bytes, int]) -> tuple[Integers, list[Integers]]:
    """Where each is in the list of all, and which are new."""
    column, new = np.empty(len(configurations), np.intp), []
    for i, each in enumerate(configurations):
        key = each.tobytes()
        if key not in places:
            places[key] = len(places)
            new.append(each)
        column[i] = places[key]
    return column, new


def _generator(
    rows: list[Integers], columns: list[Integers], rates: list[Floats], size: int
) -> Any:
    sparse = scipy("the exact chain").sparse
    entries = np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns))
    moves = sparse.coo_array(entries, shape=(size, size)).tocsr()
    return moves - sparse.diags_array(np.asarray(moves.sum(axis=1)))


def _in_steps(model: SynchronousPopulation, initial: ArrayLike, n: int, largest: int) -> Chain:
    """Objects that move independently: convolutions of multinomial laws."""
    if model.kernel is None:
        raise ValueError(
            "model has no kernel: the exact chain is for SynchronousPopulation.from_kernel"
        )
    x, d, gammaln = model.state(initial), model.start.size, scipy().special.gammaln
    with np.errstate(over="ignore"):
        count = np.exp(gammaln(n + d) - gammaln(d) - gammaln(n + 1))
    if count > largest / 50:  # rows are full
        raise ValueError(f"n is {n} and there are {count:.0f} configurations: too many")
    known = _compositions(n, d)
    first = np.flatnonzero((np.abs(known - n * x) < 1e-6).all(axis=1))
    if first.size == 0:
        raise ValueError(f"initial · n is {(n * x).tolist()}: must be whole numbers")
    known[[0, first[0]]] = known[[first[0], 0]]
    matrix = np.empty((len(known), len(known)))
    index = tuple(known[:, :-1].T)
    for i, counts in enumerate(watched(known, "configurations")):
        K, law = model.kernel(counts / n), np.ones((1,) * (d - 1))
        for s in range(d):
            law = _convolved(law, _multinomial(counts[s], K[s]))
        matrix[i] = law[index]
    return Chain(known / n, scipy("the exact chain").sparse.csr_array(matrix), True)


def _multinomial(n: int, p: Floats) -> Floats:
    """Probabilities of counts of all outcomes but the last."""
    shape = (n + 1,) * (p.size - 1)
    counts = np.indices(shape).reshape(p.size - 1, -1)
    last = n - counts.sum(axis=0)
    table = np.vstack([counts, last])[:, last >= 0]
    impossible = ((table > 0) & (p[:, None] == 0)).any(axis=0)
    gammaln = scipy().special.gammaln
    logs = gammaln(n + 1) - gammaln(table + 1).sum(axis=0)
    logs += (table * np.log(np.where(p > 0, p, 1.0))[:, None]).sum(axis=0)
    law = np.zeros(last.size)
    law[last >= 0] = np.where(impossible, 0.0, np.exp(logs))
    return law.reshape(shape)


def _convolved(a: Floats, b: Floats) -> Floats:
    """The law of the sum of two independent vectors."""
    total = np.zeros([i + j - 1 for i, j in zip(a.shape, b.shape, strict=True)])
    for index in np.argwhere(b > 0):
        window = tuple(slice(i, i + size) for i, size in zip(index, a.shape, strict=True))
        total[window] += b[tuple(index)] * a
    return total


def _compositions(n: int, parts: int) -> Integers:
    """(M, parts) counts with sum n."""
    counts = np.indices((n + 1,) * (parts - 1)).reshape(parts - 1, -1).T
    rest = n - counts.sum(axis=1)
    table: Integers = np.column_stack([counts, rest])[rest >= 0]
    return table
