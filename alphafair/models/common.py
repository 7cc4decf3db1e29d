"""One dialect for all models: what a simulation returns, how a root is found, what is imported.

- `Simulation`: the mean over independent runs, with its error, whatever was simulated.
- `ReadOnly`: arrays that stay read-only in copies.
- `bisect`: where a condition begins to hold, for one number; `bisect_each` for many at once.
- `whole`: a whole number in its range, or a clear error.
- `compositions`: all ways to share out so many objects; `composition_rank`: which one it is.
- `watched`, `counted`: progress bars, for work of more than a few seconds.
- `scipy`: imported when something needs it, so that a model is imported with numpy alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from ..bisection import bisect
from ..checks import Floats, Integers, number
from ..progress import counted, watched

__all__ = [
    "SPARSE",
    "ReadOnly",
    "Simulation",
    "bisect",
    "bisect_each",
    "composition_rank",
    "compositions",
    "counted",
    "scipy",
    "watched",
    "whole",
]

SPARSE = ("data", "indices", "indptr")  # the arrays of a sparse matrix by rows
CONFIDENCE = 0.95  # of intervals
Result = TypeVar("Result", float, Floats)


class Simulation(NamedTuple, Generic[Result]):
    """What R independent runs say of a mean: one number, or an array of them.

    The standard error is the standard deviation of the R results over √R.  Inside a run nothing
    need be independent, because each run counts as one result.

    Attributes:
        mean: over all runs; a number, or the shape of one result.
        standard_error: of ``mean``, the same shape; infinite for one run.
        runs: R.
        values: (R, …) the result of each run.

    Example:
        >>> result = Simulation.of(np.array([1.0, 2.0, 3.0]))
        >>> result.mean, round(result.standard_error, 4), result.runs
        (2.0, 0.5774, 3)
    """

    mean: Result
    standard_error: Result
    runs: int
    values: Floats

    @classmethod
    def of(cls, values: Floats) -> Simulation[Any]:
        """The summary of the results of all runs, (R, …)."""
        runs = len(values)
        mean = values.mean(axis=0)
        if runs > 1:
            error = values.std(axis=0, ddof=1) / np.sqrt(runs)
        else:
            error = np.full_like(mean, np.inf)
        if values.ndim == 1:
            return Simulation(float(mean), float(error), runs, values)
        return Simulation(mean, error, runs, values)

    @property
    def interval(self) -> tuple[Result, Result]:
        """Limits of the 95 % confidence interval, by Student's law; infinite for one run."""
        quantile = scipy("an interval by Student's law").special.stdtrit(
            max(self.runs - 1, 1), (1 + CONFIDENCE) / 2
        )
        reach = float(quantile) * self.standard_error
        return self.mean - reach, self.mean + reach


class ReadOnly:
    """Arrays that are not to be written to stay so in a copy and when pickled, which numpy forgets.

    For frozen dataclasses; sparse matrices are as read-only as their three arrays.

    Example:
        >>> import copy
        >>> from alphafair.models.bandits import Arm
        >>> copy.deepcopy(Arm([[1]], [[1]], 0, 1)).R1.flags.writeable
        False
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The fields as they were, their arrays read-only."""
        self.__dict__.update(state)
        for value in state.values():
            for array in (value, *(getattr(value, part, None) for part in SPARSE)):
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False


def bisect_each(enough: Callable[[Floats], Any], shape: tuple[int, ...]) -> Floats:
    """The least positive double at which a monotone condition holds, entry by entry.

    As `bisect` from 0 to the largest double does it, for all entries side by side: the bits of
    positive doubles, read as whole numbers, are in the same order.

    Args:
        enough: (shape) → booleans (shape); false up to some number, true from there on.
        shape: of the answer.

    Returns:
        The least positive doubles that are enough, the largest double where none is known to be.

    Example:
        >>> bisect_each(lambda x: x**2 >= np.array([2.0, 9.0]), (2,)).tolist()
        [1.4142135623730951, 3.0]
    """
    low = np.zeros(shape, np.int64)
    high = np.full(shape, np.finfo(float).max).view(np.int64)
    for _ in range(63):
        middle = low + (high - low) // 2
        with np.errstate(over="ignore"):
            holds = enough(middle.view(np.float64))
        low, high = np.where(holds, low, middle), np.where(holds, middle, high)
    return high.view(np.float64)


def compositions(total: int, parts: int) -> Integers:
    """(C, parts) all ways to write a total as an ordered sum, in lexicographic order.

    Example:
        >>> compositions(2, 2).tolist()
        [[0, 2], [1, 1], [2, 0]]
    """
    table, rest = np.zeros((1, 0), np.intp), np.array([total])
    for _ in range(parts - 1):
        choices = rest + 1
        value = np.arange(choices.sum()) - np.repeat(np.cumsum(choices) - choices, choices)
        table = np.column_stack([np.repeat(table, choices, axis=0), value])
        rest = np.repeat(rest, choices) - value
    return np.column_stack([table, rest])


def composition_rank(counts: Integers) -> Integers:
    """(…,) the position of each row (…, parts) in `compositions` of its sum.

    With r_i = n_i + … + n_S and d_i states after i, C(r_i + d_i, d_i) − C(r_{i+1} + d_i, d_i) of
    those before it differ first at i, by being smaller there.

    Example:
        >>> composition_rank(np.array([[1, 1, 0], [0, 0, 2]])).tolist()
        [4, 0]
    """
    rest = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    number_of = _simplices(int(rest.max(initial=0)), counts.shape[-1])
    rank: Integers = np.zeros(rest.shape[:-1], np.intp)
    for i in range(counts.shape[-1] - 1):
        sizes = number_of[counts.shape[-1] - 1 - i]
        rank += sizes[rest[..., i]] - sizes[rest[..., i + 1]]
    return rank


@functools.lru_cache(maxsize=64)
def _simplices(most: int, parts: int) -> Integers:
    """[d, r] → C(r + d, d), by Pascal's rule: each row is the running sum of the one before."""
    table: Integers = np.ones((parts, most + 1), np.intp)
    for d in range(1, parts):
        np.cumsum(table[d - 1], out=table[d])
    table.flags.writeable = False
    return table


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number in its range, ends included.

    Raises:
        TypeError: no real number.
        ValueError: not whole, or out of its range.

    Example:
        >>> whole("runs", 3.0, 1)
        3
    """
    return int(
        number(
            name,
            value,
            f"a whole number ≥ {least}" + ("" if most is None else f" and ≤ {most}"),
            lambda k: k % 1 == 0 and least <= k and (most is None or k <= most),
        )
    )


def scipy(what: str = "this") -> Any:
    """The library scipy, imported at the first call.

    Args:
        what: needs it, for the message.

    Raises:
        ImportError: it is not installed.

    Example:
        >>> round(float(scipy("the normal law").special.ndtr(1.0)), 4)
        0.8413
    """
    try:
        import scipy as library
    except ImportError as error:
        raise ImportError(
            f"{what} needs scipy, which is not installed: pip install scipy"
        ) from error
    return library
