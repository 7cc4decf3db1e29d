"""Functions with two derivatives: what a refined mean field asks of rates.

The second derivative is only ever asked for together with a matrix W,

    (D²β : W)_l  =  Σ_jk ∂²β_l/∂x_j∂x_k W_jk  =  Σ_j D(Dβ_l e_j) W_j,

d derivatives of derivatives along a line: the d × d table for each l is never built.

A function comes without derivatives.  If it can be applied to torch tensors (operators, indexing,
torch functions) torch differentiates it.  Else, or without torch, central differences of the sixth
order do, which are exact for polynomials up to the sixth degree and to about 1e−11 for functions
that vary on the scale of 1; they ask for the function up to 0.03 away from x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ....checks import Floats

FIRST = np.array([3 / 4, -3 / 20, 1 / 60])  # sixth order: Σ c_i (f(ih) − f(−ih)) / h
SECOND = np.array([3 / 2, -3 / 20, 1 / 90])  # Σ c_i (f(ih) − 2 f(0) + f(−ih)) / h²
STEPS = (1e-3, 1e-2)  # h: rounding and truncation are both about 1e−12
SAME = 1e-9  # relative and absolute, of what is computed in two ways
CHUNK = 2**24  # numbers in the largest table of a batch
REACH = 3e-2  # how far from x the differences look
SHORTEST = 1e-7  # a bend that is still there on so short a segment is a kink
SHARP = 1e-3  # slopes that differ by less than this part of the largest slope do no harm


@dataclass(frozen=True)
class Smooth:
    """A function with its derivatives, all of them on batches, in closed form.

    Args:
        value: (…, d) → (…, L).
        jacobian: (…, d) → (…, L, d).
        contraction: (…, d) and symmetric (…, d, d) → (…, L), D²β : W.
    """

    value: Callable[[Floats], Floats]
    jacobian: Callable[[Floats], Floats]
    contraction: Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Differentiated:
    """A function of one vector (d,) with values (L,), a list, array or tensor, differentiated.

    It has the methods of `Smooth`.

    Example:
        >>> beta = Differentiated(lambda x: [2 * x[0] * x[1], x[1] ** 3])
        >>> beta.jacobian(np.array([1.0, 2.0])).tolist()
        [[4.0, 2.0], [0.0, 12.0]]
        >>> beta.contraction(np.array([1.0, 2.0]), np.ones((2, 2))).tolist()
        [4.0, 12.0]
    """

    function: Callable[[Any], Any]
    _memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def value(self, x: Floats) -> Floats:
        """(…, L)."""
        rows = x.reshape(-1, x.shape[-1])
        if self.takes_arrays(rows[0]):
            each = [_array(self.function(row)) for row in rows]
            lengths = sorted({one.size for one in each})
            if len(lengths) > 1:
                raise ValueError(f"a function of x has {lengths} values: must be as many at all x")
            values = np.array(each)
        else:
            values = self._by_torch(rows)
        return values.reshape(*x.shape[:-1], -1)

    def _by_torch(self, rows: Floats) -> Floats:
        """Values of a function that does not take arrays."""
        # Whatever it raises: it was tried with arrays before, so it takes neither.
        try:
            return _torch_rows(as_tensors(self.function), rows)
        except Exception as error:
            raise ValueError(
                f"a function of x with shape ({rows.shape[1]},) takes neither arrays nor tensors: "
                f"it must return a list, array or tensor of numbers ({error})"
            ) from error

    def jacobian(self, x: Floats) -> Floats:
        """(…, L, d)."""
        rows = x.reshape(-1, x.shape[-1])
        if self.takes_tensors(rows[0]):
            table = _torch_jacobian(as_tensors(self.function), rows)
        else:
            table = np.array([self._differences(row, np.eye(row.size))[0].T for row in rows])
        return table.reshape(*x.shape[:-1], *table.shape[1:])

    def contraction(self, x: Floats, W: Floats) -> Floats:
        """(…, L), D²β : W."""
        rows, matrices = x.reshape(-1, x.shape[-1]), W.reshape(-1, *W.shape[-2:])
        if self.takes_tensors(rows[0]):
            values = _torch_contraction(as_tensors(self.function), rows, matrices)
        else:
            values = np.array(
                [self._contracted(*each) for each in zip(rows, matrices, strict=True)]
            )
        return values.reshape(*x.shape[:-1], -1)

    def _contracted(self, x: Floats, W: Floats) -> Floats:
        """W = Σ w v vᵀ, and D²β : v vᵀ is the second derivative along v."""
        weights, directions = np.linalg.eigh(W)
        second: Floats = weights @ self._differences(x, directions.T)[1]
        return second

    def _differences(self, x: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """First and second derivatives (K, L) along directions (K, d)."""
        steps = np.arange(1, FIRST.size + 1)[:, None, None]
        tables = []
        for h in STEPS:
            moved = h * steps * directions
            ahead, behind = (self.value(x + sign * moved) for sign in (1, -1))
            tables.append((ahead - behind, ahead + behind - 2 * self.value(x)))
        first = np.tensordot(FIRST, tables[0][0], 1) / STEPS[0]
        second = np.tensordot(SECOND, tables[1][1], 1) / STEPS[1] ** 2
        return first, second

    def takes_arrays(self, x: Floats) -> bool:
        """Does the function take arrays?"""
        if "arrays" not in self._memory:
            self._memory["arrays"] = works(lambda: _array(self.function(x.copy())))
        return bool(self._memory["arrays"])

    def takes_tensors(self, x: Floats) -> bool:
        """Can torch differentiate the function?  If there is no torch, no."""
        if "tensors" not in self._memory:
            self._memory["tensors"] = works(
                lambda: _torch_jacobian(as_tensors(self.function), x[None])
            )
        return bool(self._memory["tensors"])


def smooth(function: Callable[[Any], Any] | Smooth | Differentiated) -> Smooth | Differentiated:
    """The function with derivatives."""
    return function if isinstance(function, Smooth | Differentiated) else Differentiated(function)


class Kink(NamedTuple):
    """Where a function has two slopes, or jumps.

    Attributes:
        where: (d,) x.
        entry: which of the values.
        along: (d,) direction, its largest entry 1.
        before, after: the slopes along it.
        jump: by how much the value jumps; 0 if it only bends.
        segment: in which it was found.
    """

    where: Floats
    entry: int
    along: Floats
    before: float
    after: float
    jump: float
    segment: int


def find_kink(
    function: Callable[[Floats], Floats], middle: Floats, half: Floats, unit: Any = None
) -> Kink | None:
    """The sharpest kink on the segments from middle − half to middle + half, if there is one.

    Of five equidistant points on each segment, three windows of half its length are kept track of,
    and the one goes on in which the slopes differ most: a kink is in the inner half of one.

    Args:
        function: (K, d) → (K, L).
        middle, half: (K, d).
        unit: (K,) what counts as the length of a segment; default |half|.

    Example:
        >>> bent = find_kink(lambda x: np.minimum(x, 0.3), np.zeros((1, 1)), np.ones((1, 1)))
        >>> bent.where.round(6).tolist(), round(bent.before, 6), round(bent.after, 6)
        ([0.3], 1.0, 0.0)
        >>> find_kink(np.sin, np.zeros((1, 1)), np.ones((1, 1))) is None
        True
    """
    size = np.linalg.norm(half, axis=-1)
    length = size if unit is None else np.broadcast_to(unit, size.shape)
    shortest = SHORTEST * np.maximum(1.0, np.abs(middle).max(axis=-1, initial=0))
    which = np.flatnonzero(size > shortest)
    m, h, size, length, shortest = (each[which] for each in (middle, half, size, length, shortest))
    worst, best = 0.0, None
    if not which.size:
        return None
    with np.errstate(all="ignore"):
        ends = [function(m - h), function(m), function(m + h)]
        slopes = np.abs(np.diff(ends, axis=0)) / length[:, None]
        floor = SHARP * float(slopes[np.isfinite(slopes)].max(initial=0))
        while which.size:
            left, right = function(m - h / 2), function(m + h / 2)
            points = np.stack([ends[0], left, ends[1], right, ends[2]])
            bend = np.abs(points[:-2] + points[2:] - 2 * points[1:-1]) / (length / 2)[:, None]
            most = np.nan_to_num(bend, nan=0, posinf=0).max(axis=-1, initial=0)  # (3, K)
            choice, every = most.argmax(axis=0), np.arange(which.size)
            sharp = most[choice, every]
            m, h = m + (choice - 1)[:, None] * h / 2, h / 2
            size, length = size / 2, length / 2
            ends = [points[choice + i, every] for i in range(3)]
            found = (sharp > floor) & (size <= shortest)
            if found.any() and sharp[found].max() > worst:
                k = int(np.flatnonzero(found)[sharp[found].argmax()])
                entry = int(np.nan_to_num(bend[choice[k], k]).argmax())
                worst, best = sharp[k], (m[k], h[k], entry, int(which[k]))
            on = (sharp > floor) & (size > shortest)
            which, m, h, size = which[on], m[on], h[on], size[on]
            length, shortest = length[on], shortest[on]
            ends = [each[on] for each in ends]
    return best if best is None else _slopes(function, *best)


def _slopes(
    function: Callable[[Floats], Floats], m: Floats, h: Floats, entry: int, segment: int
) -> Kink:
    """On both sides of a kink between m − h and m + h."""
    along = h / h[np.abs(h).argmax()]
    step = float(np.abs(h).max()) * along
    values = function(m + np.outer([-9, -1, 1, 9], step))[:, entry]
    size = float(np.abs(step).max())
    before, after = (values[[1, 3]] - values[[0, 2]]) / (8 * size)
    jump = float(values[2] - values[1] - (before + after) * size)
    real = abs(jump) > SHARP * float(np.abs(values).max())
    return Kink(m, entry, along, float(before), float(after), jump if real else 0.0, segment)


def refuse_mixed(name: str, function: Callable[..., Any], *tables: Floats, cure: str) -> None:
    """ValueError unless the function says of many, (K, …), what it says of each.

    A function that was written for one may take K for another axis, and be wrong without an error.

    Args:
        name: of the function, for the message.
        function: of arrays with any number of axes in front.
        tables: its arguments, (K, …) each, K no other length that occurs.
        cure: how to write it.

    Example:
        >>> refuse_mixed("rates", lambda x: x / x.sum(), np.ones((3, 2)), cure="use axis=-1")
        Traceback (most recent call last):
        ValueError: rates of many states at once is not what it is of each: use axis=-1
    """
    each = np.array([function(*row) for row in zip(*tables, strict=True)])
    message = f"{name} of many states at once is not what it is of each: {cure}"
    try:
        together = np.asarray(function(*tables))
    except Exception as error:
        raise ValueError(message) from error
    if together.shape != each.shape or not np.allclose(together, each, SAME, SAME, equal_nan=True):
        raise ValueError(message)


def several(x: Floats, *lengths: int) -> Floats:
    """(K, …) arrays near x, no two entries alike, K none of these lengths."""
    count = next(k for k in range(3, 6 + len(lengths)) if k not in lengths)
    near: Floats = x * np.random.default_rng(0).uniform(0.9, 1, (count, *x.shape))
    return near


def refuse_unlike(name: str, given: Any, x: Floats) -> None:
    """`refuse_mixed` for all that a `Smooth` has; other functions are asked for one at a time."""
    if not isinstance(given, Smooth):
        return
    size = np.size(given.value(x))
    rows = several(x, x.size, size)
    W = np.eye(x.size) + rows[:, :, None] * rows[:, None, :]
    for part, tables in (("value", (rows,)), ("jacobian", (rows,)), ("contraction", (rows, W))):
        cure = f"write it for x of the shape (…, {x.size}), x[..., i] for x[i]"
        refuse_mixed(f"{name}.{part}", getattr(given, part), *tables, cure=cure)


def works(call: Callable[[], Any]) -> bool:
    """Does it return?"""
    # What a function that was written for other arrays raises is not ours to know.
    try:
        call()
    except Exception:
        return False
    return True


def _array(values: Any) -> Floats:
    if isinstance(values, list | tuple):
        values = [float(value) for value in values]
    flat: Floats = np.asarray(values, dtype=float).reshape(-1)
    return flat


def as_tensors(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function from tensor to tensor; lists are stacked."""
    import torch

    def call(x: Any) -> Any:
        values = function(x)
        if isinstance(values, list | tuple):
            values = torch.stack([torch.as_tensor(v, dtype=x.dtype) for v in values])
        if not isinstance(values, torch.Tensor):
            raise TypeError("not a tensor")
        return values.to(x.dtype).reshape(-1)

    return call


def _torch_rows(function: Callable[[Any], Any], rows: Floats) -> Floats:
    import torch

    if len(rows) == 1:  # a tenth of the time
        return np.asarray(function(torch.tensor(rows[0])).detach().numpy())
    values: Floats = torch.func.vmap(function)(torch.tensor(rows)).numpy()
    return values


def _torch_jacobian(function: Callable[[Any], Any], rows: Floats) -> Floats:
    """(T, L, d), forward: one derivative a coordinate."""
    import torch

    eye = torch.eye(rows.shape[1], dtype=torch.float64)

    def columns(x: Any) -> Any:
        return torch.func.vmap(lambda e: torch.func.jvp(function, (x,), (e,))[1])(eye)

    chunk = max(1, CHUNK // rows.shape[1] ** 2)
    table = torch.func.vmap(columns, chunk_size=chunk)(torch.tensor(rows))
    transposed: Floats = table.transpose(1, 2).numpy()
    return transposed


def _torch_contraction(function: Callable[[Any], Any], rows: Floats, matrices: Floats) -> Floats:
    """(T, L)."""
    import torch

    eye = torch.eye(rows.shape[1], dtype=torch.float64)

    def contracted(x: Any, W: Any) -> Any:
        def along(e: Any, w: Any) -> Any:
            def first(y: Any) -> Any:
                return torch.func.jvp(function, (y,), (e,))[1]

            return torch.func.jvp(first, (x,), (w,))[1]

        return torch.func.vmap(along)(eye, W).sum(0)

    chunk = max(1, CHUNK // rows.shape[1] ** 2)
    both = torch.tensor(rows), torch.tensor(np.ascontiguousarray(matrices))
    values: Floats = torch.func.vmap(contracted, chunk_size=chunk)(*both).numpy()
    return values
