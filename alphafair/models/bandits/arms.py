"""An arm: a process that changes state, faster or slower, better or worse, when it is activated.

At each step an arm is in one of S states and is either left alone (**passive**, action 0) or
activated (**active**, action 1).  Action a in state i pays ``Ra[i]``, and the next state is j with
probability ``Pa[i, j]``.  A patient who gets a visit, a machine that is serviced, a channel that is
probed: who gets the few activations there are is an allocation, repeated at every step.

An arm is **rested** if it neither moves nor pays while it is left alone: P0 = I and R0 = 0.

Several kinds of arms are one arm: `Arm.of_classes` puts their states side by side.  No transition
leads from one kind to another, so the share of each kind stays what it was at the start.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, number, reals, refuse_first
from ..common import SPARSE, ReadOnly, scipy
from .sparse import as_dense, block_diagonal, is_sparse, stochastic

_DISCOUNTED = (
    "in (0, 1); without a discount only the average counts, and the order in which rested arms "
    "begin does not matter to the average"
)
ROUNDING = 1e-7  # rows of probabilities printed with eight digits sum to 1 within this
PRINTED = 1e-6  # and those with seven, or many of them: divided by their sums on request
FIELDS = ("P0", "P1", "R0", "R1")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Arm(ReadOnly):
    """Transitions and rewards of one arm, validated once.

    Args:
        P0: (S, S) transition matrix when passive; dense or scipy-sparse, rows ≥ 0 that sum to 1.
        P1: (S, S) transition matrix when active.
        R0: (S,) or scalar reward of a passive step, finite.
        R1: (S,) or scalar reward of an active step, finite.
        rescale: divide the rows of P0 and P1, which may sum to 1 ± 1e−6, by their sums.

    Attributes:
        P0: float array, or ``scipy.sparse.csr_array`` where it was sparse.
        P1: the same for active steps.
        R0: (S,) rewards of passive steps.
        R1: (S,) rewards of active steps.

    The matrices are kept as they were given: rows that sum to 1 ± 1e−7 are not rescaled here, but
    by whatever computes with them.  With ``rescale`` rows that sum to 1 ± 1e−6 are divided by their
    sums.

    Raises:
        ValueError: not square, sizes that differ, entries that are negative, NaN or infinite, rows
            that do not sum to 1.
        TypeError: entries that are not real numbers.

    Example:
        A machine that is as new (0) or worn (1); a service makes it as new and earns less.

        >>> arm = Arm([[0.8, 0.2], [0, 1]], [[1, 0], [1, 0]], [5, 2], [4, 1])
        >>> arm
        Arm(S=2)
        >>> Arm([[0.8, 0.3], [0, 1]], [[1, 0], [1, 0]], 0, 1)
        Traceback (most recent call last):
        ...
        ValueError: P0: row 0 sums to 1.1: every row must sum to 1; divide the row by its sum
    """

    P0: Any
    P1: Any
    R0: Floats
    R1: Floats

    def __init__(
        self, P0: Any, P1: Any, R0: ArrayLike, R1: ArrayLike, *, rescale: bool = False
    ) -> None:
        passive, active = (transitions(f"P{a}", P, rescale) for a, P in enumerate((P0, P1)))
        size = passive.shape[0]
        if active.shape != passive.shape:
            raise ValueError(
                f"P1 has shape {active.shape} and P0 {passive.shape}: both must be (S, S) over the "
                f"same S states"
            )
        fields = {"P0": passive, "P1": active}
        fields |= {name: rewards(name, value, size) for name, value in (("R0", R0), ("R1", R1))}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def rested(cls, P: Any, R: ArrayLike) -> Arm:
        """An arm that waits: it moves by P and pays R when active, and stands still otherwise.

        Example:
            >>> Arm.rested([[0.5, 0.5], [0, 1]], [1, 0]).P0.tolist()
            [[1.0, 0.0], [0.0, 1.0]]
        """
        matrix = transitions("P", P)
        size = matrix.shape[0]
        still: Any = np.eye(size)
        if is_sparse(matrix):
            still = scipy().sparse.eye_array(size, format="csr")
        return cls(still, matrix, 0.0, rewards("R", R, size))

    @classmethod
    def of_classes(cls, arms: Sequence[Arm]) -> Arm:
        """Arms of several kinds as one arm: block-diagonal transitions, rewards in a row.

        The states of the first kind come first; the matrices are sparse where scipy is installed.
        How many arms there are of each kind is said by
        the initial state.

        Example:
            >>> slow = Arm([[1, 0], [0, 1]], [[0.9, 0.1], [0.1, 0.9]], 0, [1, 0])
            >>> fast = Arm([[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]], 0, [2, 0])
            >>> Arm.of_classes([slow, fast]).R1.tolist()
            [1.0, 0.0, 2.0, 0.0]
        """
        if not arms:
            raise ValueError("arms is empty: at least one arm is needed")
        P0, P1 = (block_diagonal([getattr(arm, P) for arm in arms]) for P in ("P0", "P1"))
        paid = [np.concatenate([getattr(arm, R) for arm in arms]) for R in ("R0", "R1")]
        return cls(P0, P1, *paid)

    @classmethod
    def from_json(cls, text: str, *, rescale: bool = False) -> Arm:
        """The arm that `to_json` wrote, or one written by hand.

        Args:
            text: an object with "P0", "P1" (lists of rows, or objects with "data", "indices" and
                "indptr" of a csr_array), "R0" and "R1" (lists or numbers); other keys are ignored.
            rescale: as in `Arm`.

        Raises:
            ValueError: no JSON, a key that is missing, numbers that make no arm.

        Example:
            >>> Arm.from_json('{"P0": [[1]], "P1": [[1]], "R0": 0, "R1": 2}').R1.tolist()
            [2.0]
        """
        try:
            given = json.loads(text)
        except ValueError as error:
            raise ValueError(f"text is no JSON: {error}") from error
        missing = [k for k in FIELDS if not isinstance(given, dict) or k not in given]
        if missing:
            raise ValueError(f'text has no "{missing[0]}": must be an object with {FIELDS}')
        return cls(*(_from_plain(name, given[name]) for name in FIELDS), rescale=rescale)

    def to_json(self) -> str:
        """The arm as text, from which `from_json` makes the same arm, bit for bit.

        Example:
            >>> Arm([[1]], [[1]], 0, 0.1).to_json()
            '{"P0": [[1.0]], "P1": [[1.0]], "R0": [0.0], "R1": [0.1]}'
        """
        return json.dumps({name: _to_plain(getattr(self, name)) for name in FIELDS})

    @property
    def n_states(self) -> int:
        """S, the number of states."""
        return self.R0.size

    def dense(self) -> tuple[Floats, Floats]:
        """P0 and P1 as float arrays (the arm's own, where they are dense)."""
        return as_dense(self.P0), as_dense(self.P1)

    def __repr__(self) -> str:
        return f"Arm(S={self.n_states})"


def transitions(name: str, value: Any, rescale: bool = False) -> Any:
    """A stochastic matrix, checked and on request rescaled: a float array, read-only, or csr_array.

    Example:
        >>> transitions("P", [[0.5, 0.4999995], [0, 1]], rescale=True)[0].round(9).tolist()
        [0.50000025, 0.49999975]
    """
    matrix: Any
    if is_sparse(value):
        matrix = scipy().sparse.csr_array(value, dtype=float, copy=True)
        matrix.sum_duplicates()
        entries = matrix.data
    else:
        entries = matrix = _real(name, value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"{name} has shape {matrix.shape}: must be (S, S), one row for each state")
    if not entries.min(initial=np.inf) >= 0:  # NaN if there is one
        i, j = _first(matrix, ~(entries >= 0))
        raise ValueError(
            f"{name}[{i}, {j}] is {matrix[i, j]}: must be a probability, finite and ≥ 0"
        )
    total = np.asarray(matrix.sum(axis=1))
    wrong = np.flatnonzero(~(np.abs(total - 1) <= (PRINTED if rescale else ROUNDING)))
    if wrong.size:
        raise ValueError(
            f"{name}: row {wrong[0]} sums to {total[wrong[0]]:.9g}: every row must sum to 1; "
            f"divide the row by its sum"
        )
    if rescale:
        matrix = stochastic(matrix)
    for array in (matrix.data, matrix.indices, matrix.indptr) if is_sparse(matrix) else (matrix,):
        array.flags.writeable = False
    return matrix


def rewards(name: str, value: ArrayLike, size: int) -> Floats:
    """(S,) finite rewards, read-only; a scalar is the same in every state."""
    array = _real(name, value)
    if array.shape not in ((), (size,)):
        raise ValueError(
            f"{name} has shape {array.shape}: must be a scalar or ({size},), one for each state"
        )
    vector = np.ascontiguousarray(np.broadcast_to(array, size))
    refuse_first(name, vector, np.isfinite(vector), "finite")
    vector.flags.writeable = False
    return vector


def discount_factor(discount: Any, *, average: bool = True) -> float:
    """The discount in (0, 1], where 1 means average reward, or in (0, 1)."""
    expected = "in (0, 1]; 1 means average reward" if average else _DISCOUNTED
    return number("discount", discount, expected, lambda d: 0 < d < 1 or (average and d == 1))


def _real(name: str, value: Any) -> Floats:
    """A float copy of real numbers."""
    return np.array(reals(name, value))


def _to_plain(array: Any) -> Any:
    """Lists, or for a sparse matrix its three lists."""
    if is_sparse(array):
        return {part: getattr(array, part).tolist() for part in SPARSE}
    return array.tolist()


def _from_plain(name: str, value: Any) -> Any:
    """What `_to_plain` made lists of."""
    if not isinstance(value, dict):
        return value
    if set(value) != set(SPARSE):
        raise ValueError(f"{name} has the keys {sorted(value)}: must be rows, or have {SPARSE}")
    size = len(value["indptr"]) - 1
    parts = tuple(value[part] for part in SPARSE)
    try:
        matrix = scipy("a sparse matrix").sparse.csr_array(parts, shape=(size, size))
        matrix.check_format(full_check=True)  # an index beyond the matrix would read other memory
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no sparse matrix: {error}") from error
    return matrix


def _first(matrix: Any, bad: Any) -> Any:
    """Row and column of the first bad entry, stored or not."""
    if not is_sparse(matrix):
        return np.argwhere(bad)[0]
    table = matrix.tocoo()
    return [place[bad][0] for place in (table.row, table.col)]
