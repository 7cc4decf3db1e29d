"""Populations: very many objects that change state, each at a rate that all of them set.

X is the vector of the fractions of N objects in each state (or of any other densities).  It moves
by ℓ/N at the rate N β_ℓ(X) (`Population`), or all objects move at once at times 1, 2, …
(`SynchronousPopulation`).  For large N it follows x' = f(x), f = Σ ℓ β_ℓ, and what is left over is

    E X = x + V/N + O(1/N²),        N Cov X → W,

which `steady_state` and `transient` compute.  Whatever they need to know of a model is in `Model`:
f with two derivatives, the noise, what of the drift is of the order 1/N, and the directions in
which the jumps can go.  `Heterogeneous` (objects that differ) and `RandomCache` are models too.

References:
    T. G. Kurtz, "Solutions of ordinary differential equations as limits of pure jump Markov
    processes", J. Applied Probability 7 (1970).
    N. Gast, "Expected values estimated via mean-field approximation are 1/N-accurate",
    Proc. ACM Measurement and Analysis of Computing Systems 1 (2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, reals, refuse_first
from ...common import scipy
from .differentiate import Differentiated, Smooth, refuse_unlike, smooth

NEGATIVE = -1e-9  # rates and probabilities below this are no rounding errors
TINY = 1e-9  # sums that should be 0 or 1 may be this far from it

Function = Callable[[Any], Any] | Smooth | Differentiated


class Model(Protocol):
    """What `steady_state` and `transient` ask of a model; x is flat, and all are on batches.

    Attributes:
        shape: of the mean, (d,) or (objects, states); x has as many numbers.
        synchronous: False: x' = drift(x).  True: x ← drift(x) at times 1, 2, ….
        start: (d,) where the search for the fixed point starts.
        tangent: (d, r) orthonormal basis of the directions in which the process can move.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def synchronous(self) -> bool: ...  # noqa: D102
    @property
    def start(self) -> Floats: ...  # noqa: D102
    @property
    def tangent(self) -> Floats: ...  # noqa: D102

    def state(self, values: ArrayLike) -> Floats:
        """A state in the shape of the mean, checked and flat: (d,)."""

    def drift(self, x: Floats) -> Floats:
        """(…, d) → (…, d): f, or the next x of a synchronous model."""

    def jacobian(self, x: Floats) -> Floats:
        """(…, d) → (…, d, d): A[i, j] = ∂f_i/∂x_j."""

    def curvature(self, x: Floats, W: Floats) -> Floats:
        """(…, d), (…, d, d) → (…, d): Σ_jk ∂²f_i/∂x_j∂x_k W_jk."""

    def noise(self, x: Floats) -> Floats:
        """(…, d) → (…, d, d): Q, covariance that N X gains in a unit of time, or in a step."""

    def lower_drift(self, x: Floats) -> Floats:
        """(…, d) → (…, d): f₁, if the drift is f + f₁/N."""


@dataclass(frozen=True)
class Population:
    """X moves by ℓ/N at rate N (β_ℓ(X) + β1_ℓ(X)/N), in continuous time.

    Args:
        jumps: (L, d), the ℓ.
        rates: β, a function of x (d,) with L values, in torch or in plain arrays; or `Smooth`.
        lower_rates: β1, the part of the order 1/N, in the same way; default none.
        finite_rates: a function of x and N with L values, for the exact chain and simulation, if
            β + β1/N is not all of it.
        start: (d,) the state from which the fixed point is sought; it fixes what is conserved.
            Default 1/d each.
        conserved: (d,) or (C, d) weights of sums that no jump may change; checked.
        states: names of the d coordinates; default "0", "1", ….

    Raises:
        ValueError: jumps that change what is conserved; rates of the wrong length, negative or not
            finite at ``start``.

    Example:
        >>> sis = Population([[-1, 1], [1, -1]], lambda x: [2 * x[0] * x[1], x[1]])
        >>> sis.drift(np.array([0.75, 0.25])).tolist()
        [-0.125, 0.125]
        >>> sis.tangent.shape
        (2, 1)
    """

    jumps: Any
    rates: Function
    lower_rates: Function | None = None
    finite_rates: Callable[[Floats, int], Any] | None = None
    start: Any = None
    conserved: Any = None
    states: Sequence[str] = ()

    synchronous = False

    def __post_init__(self) -> None:
        jumps = finite("jumps", np.atleast_2d(np.array(reals("jumps", self.jumps))))
        size = jumps.shape[1]
        start = np.full(size, 1 / size) if self.start is None else reals("start", self.start)
        start = np.array(of_shape("start", start, (size,)))
        states = tuple(self.states) or tuple(map(str, range(size)))
        if len(states) != size:
            raise ValueError(f"states has {len(states)} names and a jump {size} entries")
        values = {"jumps": jumps, "start": start, "states": states, "rates": smooth(self.rates)}
        if self.lower_rates is not None:
            values["lower_rates"] = smooth(self.lower_rates)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.conserved is not None:
            _check_conserved(jumps, np.atleast_2d(reals("conserved", self.conserved)))
        self.rates_at(start)
        if self.lower_rates is not None:
            lower = self.lower_rates.value(start)  # type: ignore[union-attr]
            _one_a_jump("lower_rates", finite("lower_rates", lower), jumps)
        for name in ("rates", "lower_rates"):
            refuse_unlike(name, getattr(self, name), start)

    @classmethod
    def from_transitions(
        cls,
        states: Sequence[str],
        transitions: Mapping[tuple[str, str], Callable[[Any], Any]],
        *,
        start: ArrayLike | None = None,
    ) -> Population:
        """Objects that go from one named state to another.

        Args:
            states: their names.
            transitions: (from, to) → rate, a function of x that includes the fraction of objects
                that can go.
            start: (d,) fractions; default equal.

        Example:
            >>> spread = {("S", "I"): lambda x: 2 * x[0] * x[1], ("I", "S"): lambda x: x[1]}
            >>> Population.from_transitions("SI", spread).jumps.tolist()
            [[-1.0, 1.0], [1.0, -1.0]]
        """
        names, eye = list(states), np.eye(len(states))
        for pair in transitions:
            for name in pair:
                if name not in names:
                    raise ValueError(f"transitions names the state {name!r}; states are {names}")
        jumps = [eye[names.index(to)] - eye[names.index(of)] for of, to in transitions]
        return cls(
            jumps,
            _Rates(tuple(transitions.values())),
            start=start,
            conserved=np.ones(len(names)),
            states=names,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.jumps.shape[1],)

    @cached_property
    def tangent(self) -> Floats:
        """(d, r) orthonormal basis of the span of the jumps."""
        basis: Floats = scipy().linalg.orth(self.jumps.T, rcond=TINY)
        return basis

    def state(self, values: ArrayLike) -> Floats:
        """(d,) a state that has what is conserved as ``start`` has it."""
        return _state(self, values)

    def rates_at(self, x: Floats, n: int | None = None) -> Floats:
        """(…, L) the rates, checked: β, or with n objects β + β1/n or ``finite_rates``."""
        if n is None or (self.finite_rates is None and self.lower_rates is None):
            rates = self.rates.value(x)  # type: ignore[union-attr]
        elif self.finite_rates is not None:
            rates = np.array(
                [np.asarray(self.finite_rates(row, n), float) for row in x.reshape(-1, x.shape[-1])]
            ).reshape(*x.shape[:-1], -1)
        else:
            rates = self.rates.value(x) + self.lower_rates.value(x) / n  # type: ignore[union-attr]
        _one_a_jump("rates", rates, self.jumps)
        checked = nonnegative("rates", rates, x)
        return checked

    def drift(self, x: Floats) -> Floats:
        """f(x) = Σ ℓ β_ℓ(x)."""
        f: Floats = self.rates.value(x) @ self.jumps  # type: ignore[union-attr]
        return f

    def jacobian(self, x: Floats) -> Floats:
        """Df."""
        A: Floats = self.jumps.T @ self.rates.jacobian(x)  # type: ignore[union-attr]
        return A

    def curvature(self, x: Floats, W: Floats) -> Floats:
        """D²f : W."""
        second: Floats = self.rates.contraction(x, W) @ self.jumps  # type: ignore[union-attr]
        return second

    def noise(self, x: Floats) -> Floats:
        """Q(x) = Σ ℓ ℓᵀ β_ℓ(x)."""
        Q: Floats = (self.jumps.T * self.rates_at(x)[..., None, :]) @ self.jumps
        return Q

    def lower_drift(self, x: Floats) -> Floats:
        """f₁(x) = Σ ℓ β1_ℓ(x)."""
        if self.lower_rates is None:
            return np.zeros_like(x)
        f1: Floats = self.lower_rates.value(x) @ self.jumps  # type: ignore[union-attr]
        return f1

    # --- N objects: (R, d) configurations N X ---
    def configuration(self, x: ArrayLike, n: int) -> Integers:
        """(d,) counts n x.

        Raises:
            ValueError: jumps or counts that are not whole numbers.
        """
        refuse_first(
            "jumps",
            self.jumps,
            np.abs(self.jumps - np.rint(self.jumps)) <= TINY,
            "a whole number: n objects are counted",
            "write the model in smaller units; mean_field and steady_state need no whole numbers",
        )
        counts = n * self.state(x)
        nearest = np.rint(counts)
        if np.abs(counts - nearest).max() > n * TINY:
            raise ValueError(f"initial · n is {counts.tolist()}: must be whole numbers")
        whole: Integers = nearest.astype(np.intp)
        return whole

    def event_rates(self, configurations: Integers, n: int) -> Floats:
        """(R, L)."""
        rates: Floats = n * self.rates_at(configurations / n, n)
        return np.maximum(rates, 0)

    def after(self, configurations: Integers, events: Integers) -> Integers:
        """(R, d) configurations after one event each."""
        moved: Integers = configurations + np.rint(self.jumps[events]).astype(np.intp)
        return moved

    def observed(self, configurations: Integers, n: int) -> Floats:
        """(R, d), X."""
        return configurations / n


@dataclass(frozen=True)
class SynchronousPopulation:
    """All objects move at once: E[X⁺ given X = x] = Φ(x) + Φ1(x)/N, N Cov = Γ(x).

    Args:
        step: Φ, a function of x (d,) with d values, in torch or plain arrays; or `Smooth`.
        step_noise: Γ, a function of x (d,) with value (d, d).
        lower_step: Φ1, a function as Φ; default none.
        start: (d,), default 1/d each.
        conserved: (d,) or (C, d) weights of sums that do not change; default none.
        states: names of the coordinates.
        kernel: K(x) (d, d), only to sample objects that move independently; see `from_kernel`.

    Example:
        >>> kernel = lambda x: [[0.5, 0.5], [x[0], 1 - x[0]]]
        >>> walk = SynchronousPopulation.from_kernel(kernel, states="AB")
        >>> walk.drift(np.array([0.6, 0.4])).tolist()
        [0.54, 0.46]
    """

    step: Function
    step_noise: Callable[[Floats], Any]
    lower_step: Function | None = None
    start: Any = None
    conserved: Any = None
    states: Sequence[str] = ()
    kernel: Callable[[Any], Any] | None = None

    synchronous = True

    def __post_init__(self) -> None:
        if np.size(self.start if self.start is not None else self.states) == 0:
            raise ValueError("start is missing: give the state x from which to start, or states")
        size = len(self.states) if self.start is None else np.size(self.start)
        start = np.full(size, 1 / size) if self.start is None else reals("start", self.start)
        values: dict[str, Any] = {"start": np.array(of_shape("start", start, (size,)))}
        values["states"] = tuple(self.states) or tuple(map(str, range(size)))
        values["step"] = smooth(self.step)
        if self.lower_step is not None:
            values["lower_step"] = smooth(self.lower_step)
        rows = np.zeros((0, size)) if self.conserved is None else self.conserved
        values["conserved"] = np.atleast_2d(np.array(reals("conserved", rows)))
        for name, value in values.items():
            object.__setattr__(self, name, value)
        after = of_shape("step(start)", self.drift(start), (size,))
        for name in ("step", "lower_step"):
            refuse_unlike(name, getattr(self, name), start)
        moved = np.abs(self.conserved @ (after - start))
        if moved.max(initial=0) > TINY:
            raise ValueError(f"step changes what is conserved by {moved.max():g} at start")
        moved = np.abs(self.conserved @ self.noise(start))
        if moved.max(initial=0) > TINY:
            raise ValueError(
                f"step_noise moves what is conserved: conserved · Γ is {moved.max():g}"
            )

    @classmethod
    def from_kernel(
        cls,
        kernel: Callable[[Any], Any],
        *,
        start: ArrayLike | None = None,
        states: Sequence[str] = (),
    ) -> SynchronousPopulation:
        """Objects that move independently, from i to j with probability K_ij(x).

            Φ(x) = x K(x),     Γ = diag(x K) − Kᵀ diag(x) K.

        Args:
            kernel: a function of x with value (d, d), nested lists, an array or a tensor.
            start: (d,) fractions; default equal.
            states: names.
        """
        if start is None:
            start = np.full(len(states), 1 / max(len(states), 1))
        size = np.size(start)
        law = _Kernel(Differentiated(_Flat(kernel)), size)
        step = Smooth(law.step, law.jacobian, law.contraction)
        return cls(step, law.noise, None, start, np.ones(size), states, kernel=law.at)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.start.size,)

    @cached_property
    def tangent(self) -> Floats:
        """(d, r) orthonormal basis of what leaves the conserved sums as they are."""
        if not self.conserved.size:
            return np.eye(self.start.size)
        basis: Floats = scipy().linalg.null_space(self.conserved)
        return basis

    def state(self, values: ArrayLike) -> Floats:
        """(d,) a state that has what is conserved as ``start`` has it."""
        return _state(self, values)

    def drift(self, x: Floats) -> Floats:
        """Φ(x)."""
        after: Floats = self.step.value(x)  # type: ignore[union-attr]
        return after

    def jacobian(self, x: Floats) -> Floats:
        """DΦ."""
        A: Floats = self.step.jacobian(x)  # type: ignore[union-attr]
        return A

    def curvature(self, x: Floats, W: Floats) -> Floats:
        """D²Φ : W."""
        second: Floats = self.step.contraction(x, W)  # type: ignore[union-attr]
        return second

    def noise(self, x: Floats) -> Floats:
        """Γ(x)."""
        size = x.shape[-1]
        rows = [np.asarray(self.step_noise(row), float) for row in x.reshape(-1, size)]
        tables = np.array([of_shape("step_noise(x)", row, (size, size)) for row in rows])
        return tables.reshape(*x.shape, size)

    def lower_drift(self, x: Floats) -> Floats:
        """Φ1(x)."""
        if self.lower_step is None:
            return np.zeros_like(x)
        f1: Floats = self.lower_step.value(x)  # type: ignore[union-attr]
        return f1


# --- functions that can be pickled, if those that they are made of can ---------------------------
@dataclass(frozen=True)
class _Rates:
    """All rates as one function."""

    functions: tuple[Callable[[Any], Any], ...]

    def __call__(self, x: Any) -> list[Any]:
        return [rate(x) for rate in self.functions]


@dataclass(frozen=True)
class _Flat:
    """K(x), nested lists, an array or a tensor, as one list or one axis."""

    kernel: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        table = self.kernel(x)
        if isinstance(table, list | tuple):
            return [entry for row in table for entry in row]
        return table.reshape(-1)


@dataclass(frozen=True)
class _Kernel:
    """Objects that move by K(x) independently: Φ = x K with its derivatives, and Γ."""

    entries: Differentiated
    size: int

    def at(self, x: Floats) -> Floats:
        """(…, d, d) K, checked."""
        K = self.entries.value(x).reshape(*x.shape[:-1], self.size, self.size)
        return _stochastic(K, x)

    def step(self, x: Floats) -> Floats:
        """Φ = x K."""
        after: Floats = np.einsum("...i,...ij->...j", x, self.at(x))
        return after

    def jacobian(self, x: Floats) -> Floats:
        """DΦ."""
        D = self.entries.jacobian(x).reshape(*x.shape[:-1], *(self.size,) * 3)
        A: Floats = self.at(x).swapaxes(-1, -2) + np.einsum("...i,...ijk->...jk", x, D)
        return A

    def contraction(self, x: Floats, W: Floats) -> Floats:
        """D²Φ : W."""
        D = self.entries.jacobian(x).reshape(*x.shape[:-1], *(self.size,) * 3)
        second = self.entries.contraction(x, W).reshape(*x.shape[:-1], self.size, self.size)
        twice: Floats = 2 * np.einsum("...ijk,...ik->...j", D, W)
        own: Floats = np.einsum("...i,...ij->...j", x, second)
        return twice + own

    def noise(self, x: Floats) -> Floats:
        """Γ = diag(x K) − Kᵀ diag(x) K."""
        K = self.at(x)
        kept: Floats = np.einsum("...ij,...i,...ik->...jk", K, x, K)
        full: Floats = self.step(x)[..., None] * np.eye(self.size) - kept
        return full


# --- checks ---------------------------------------------------------------------------------------
def finite(name: str, values: Floats) -> Floats:
    """The values, checked."""
    refuse_first(name, values, np.isfinite(values), "finite")
    return values


def of_shape(name: str, values: Floats, shape: tuple[int, ...]) -> Floats:
    """The values, checked: finite, of this shape."""
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}: must be {shape}")
    return finite(name, values)


def increasing(times: ArrayLike) -> Floats:
    """(T,) times, checked: ≥ 0, finite, increasing; one number is one time."""
    grid: Floats = np.atleast_1d(np.array(reals("times", times)))
    if grid.ndim != 1 or not np.isfinite(grid).all() or grid[0] < 0 or (np.diff(grid) <= 0).any():
        raise ValueError(f"times is {grid.tolist()}: must be ≥ 0, finite and increasing")
    return grid


def _state(model: Population | SynchronousPopulation, values: ArrayLike) -> Floats:
    """A state, with the conserved sums of the start."""
    x = np.array(of_shape("initial", reals("initial", values), model.shape))
    if model.conserved is not None:
        sums = np.atleast_2d(model.conserved) @ np.array([x, model.start]).T
        if np.abs(sums[:, 0] - sums[:, 1]).max(initial=0) > TINY:
            given, wanted = sums[np.abs(sums[:, 0] - sums[:, 1]).argmax()]
            raise ValueError(
                f"initial has the conserved sum {given:g} and the model's start {wanted:g}: must "
                f"be equal; divide counts by the number of objects"
            )
    elif isinstance(model, Population):
        change = x - model.start
        change -= model.tangent @ (model.tangent.T @ change)
        if np.abs(change).max(initial=0) > TINY * max(1.0, float(np.abs(x).max(initial=0))):
            raise ValueError(
                f"initial is {x.tolist()}, with sum {x.sum():g}, and the model's start has sum "
                f"{model.start.sum():g}: no jumps lead from one to the other, because they keep "
                f"some sums; divide counts by the number of objects, or give the model this start"
            )
    return x


def _one_a_jump(name: str, values: Floats, jumps: Floats) -> None:
    """(…, L) values for L jumps."""
    if values.shape[-1] != len(jumps):
        raise ValueError(
            f"{name} has {values.shape[-1]} values: must have one for each of the {len(jumps)} "
            f"jumps"
        )


def _check_conserved(jumps: Floats, conserved: Floats) -> None:
    """No jump may change a conserved sum."""
    if conserved.shape[1] != jumps.shape[1]:
        raise ValueError(f"conserved has {conserved.shape[1]} columns and a jump {jumps.shape[1]}")
    change = jumps @ conserved.T
    if np.abs(change).max(initial=0) > TINY:
        index, row = (int(i) for i in np.argwhere(np.abs(change) > TINY)[0])
        raise ValueError(
            f"jumps[{index}] is {jumps[index].tolist()} and changes conserved sum {row} by "
            f"{change[index, row]:g}: must be 0; what leaves one state has to enter another"
        )


def nonnegative(name: str, values: Floats, x: Floats) -> Floats:
    """Rates, ≥ 0 up to rounding, at the states x."""
    bad = ~(values >= NEGATIVE * max(1.0, float(np.abs(values).max(initial=0)))) | np.isinf(values)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        at = np.array2string(x[where[: x.ndim - 1]], precision=4, threshold=8)
        raise ValueError(
            f"{name}[{where[-1]}] is {values[where]:g} at x = {at}: must be finite and ≥ 0; "
            f"a rate should vanish where nothing is left to jump"
        )
    return values


def _stochastic(K: Floats, x: Floats) -> Floats:
    """A kernel, with rows that are probabilities."""
    nonnegative("kernel", K.reshape(*x.shape[:-1], -1), x)
    sums = K.sum(axis=-1)
    if np.abs(sums - 1).max() > TINY:
        where = tuple(int(i) for i in np.argwhere(np.abs(sums - 1) > TINY)[0])
        raise ValueError(f"kernel row {where[-1]} has sum {sums[where]:g}: must be 1")
    return K
