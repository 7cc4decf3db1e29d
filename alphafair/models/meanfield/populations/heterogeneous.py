"""Populations of objects that are all different.

Object k is in state s with probability x_ks.  It makes the transition ℓ, from s_ℓ to t_ℓ, at the
rate r_kℓ(z), where all others act on it through a few sums only, the field z = Σ_j load_j x_j.

The indicators X_ks are a population process with jumps of size 1, and the equations of the refined
mean field hold as they are: with n objects, P(k in s) = x_ks + O(1/n) = x_ks + V_ks + O(1/n²).

What does object k itself contribute to the field that it feels?  Where its rate is asked for, its
state is known: it is s_ℓ.  So its part of the field is load_k at s_ℓ, without approximation;

    f_k = Σ_ℓ (e_{t_ℓ} − e_{s_ℓ}) x_{k,s_ℓ} r_kℓ(Σ_{j≠k} load_j x_j + load_{k,s_ℓ}).

Allmeier and Gast replace it by its mean, x_{k,s}² for the indicator X_{k,s}² = X_{k,s}; the orders
are the same, but for ten servers the errors are two times larger (``self_interaction=True``).

With a handful of objects that move together the refinement can be worse than the mean field:
`steady_state` and `transient` warn where W or x + V contradict what probabilities can be.

References:
    S. Allmeier, N. Gast, "Mean field and refined mean field approximations for heterogeneous
    systems: it works!", Proc. ACM Measurement and Analysis of Computing Systems 6 (2022),
    arXiv:2111.01594.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, reals
from ...common import scipy
from .differentiate import FIRST, SECOND, STEPS, refuse_mixed, several, works
from .population import TINY, nonnegative, of_shape

EXCESS = 1.18  # times the variance of an indicator: with both, refining mostly harms in examples
TOGETHER = 2.25  # times the variance of the number of independent objects
IMPOSSIBLE = 1.4  # times the variance of an indicator, whatever the others do
OUTSIDE = 1e-2  # of [0, 1], of a probability
FEW = 1e-6  # variances that are too small to divide by


@dataclass(frozen=True)
class FieldRates:
    """Rates with their derivatives in the field, in closed form.

    Args:
        value: z (…, n, L, F) → (…, n, L).
        gradient: z → (…, n, L, F).
        contraction: z, symmetric C (…, n, L, F, F) → (…, n, L), D²r : C.
    """

    value: Callable[[Floats], Floats]
    gradient: Callable[[Floats], Floats]
    contraction: Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class _Differentiated:
    """Rates that torch differentiates, or central differences of the sixth order."""

    function: Callable[[Any], Any]
    _memory: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def value(self, z: Floats) -> Floats:
        if self._knows("arrays", lambda: np.asarray(self.function(z), float)):
            rates = np.asarray(self.function(z), float)
        else:
            rates = self._tensors(self._torch(z)).numpy()
        spread: Floats = np.broadcast_to(rates, z.shape[:-1])
        return spread

    def gradient(self, z: Floats) -> Floats:
        eye = np.eye(z.shape[-1])
        if self._knows("tensors", lambda: self._along(z, eye)):
            return self._along(z, eye)
        ahead, behind = self._stencil(z, eye, STEPS[0])
        first = np.tensordot(FIRST, ahead - behind, 1) / STEPS[0]
        return np.moveaxis(first, 0, -1)

    def contraction(self, z: Floats, C: Floats) -> Floats:
        if self._knows("tensors", lambda: self._along(z, np.eye(z.shape[-1]))):
            return self._twice(z, C)
        weights, directions = np.linalg.eigh(C)
        ahead, behind = self._stencil(z, np.moveaxis(directions, -1, 0), STEPS[1])
        second = np.tensordot(SECOND, ahead + behind - 2 * self.value(z), 1) / STEPS[1] ** 2
        total: Floats = (np.moveaxis(weights, -1, 0) * second).sum(axis=0)
        return total

    def _stencil(self, z: Floats, directions: Floats, h: float) -> tuple[Floats, Floats]:
        """(3, F, …, n, L) values on both sides along F directions (F, …, F)."""
        lead = (1,) * (z.ndim - directions.ndim + 1)
        along = directions.reshape(len(directions), *lead, *directions.shape[1:])
        moves = [i * h * along for i in (1, 2, 3)]
        ahead, behind = (
            np.array([[self.value(z + sign * e) for e in move] for move in moves])
            for sign in (1, -1)
        )
        return ahead, behind

    def _knows(self, what: str, call: Callable[[], Any]) -> bool:
        if what not in self._memory:
            self._memory[what] = works(call)
        return self._memory[what]

    @staticmethod
    def _torch(z: Floats) -> Any:
        import torch

        return torch.tensor(np.ascontiguousarray(z))

    def _tensors(self, z: Any) -> Any:
        import torch

        rates = self.function(z)
        if not isinstance(rates, torch.Tensor):
            raise TypeError("not a tensor")
        return rates.to(z.dtype).expand(z.shape[:-1])

    def _along(self, z: Floats, directions: Floats) -> Floats:
        import torch

        point = self._torch(z)

        def slope(e: Any) -> Any:
            return torch.func.jvp(self._tensors, (point,), (e.expand_as(point).clone(),))[1]

        table: Floats = torch.func.vmap(slope)(self._torch(directions)).movedim(0, -1).numpy()
        return table

    def _twice(self, z: Floats, C: Floats) -> Floats:
        import torch

        point, total = self._torch(z), 0
        for f, e in enumerate(torch.eye(z.shape[-1], dtype=point.dtype)):

            def first(y: Any, e: Any = e) -> Any:
                return torch.func.jvp(self._tensors, (y,), (e.expand_as(y).clone(),))[1]

            total = total + torch.func.jvp(first, (point,), (self._torch(C[..., f, :]),))[1]
        contracted: Floats = total.numpy()  # type: ignore[attr-defined]
        return contracted


def _refuse_unlike(function: Callable[[Any], Any], shape: tuple[int, int, int]) -> None:
    """ValueError unless rates of the field (n, L, F) broadcast to (n, L)."""
    cure = (
        f"the rates of a field z of shape {shape} must broadcast to {shape[:2]}, objects and "
        f"transitions: np.stack([…], axis=-1), and [:, None] for what only objects have"
    )
    z = np.full(shape, 1 / shape[0])
    try:
        found = np.shape(function(z))
    except Exception as error:
        try:
            found = tuple(function(_Differentiated._torch(z)).shape)
        except Exception:
            raise ValueError(f"rates(z) fails: {error}; {cure}") from error
    try:
        fits = np.broadcast_shapes(found, shape[:2]) == shape[:2]
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"rates(z) has shape {found}: {cure}")


def warn_outside(P: Floats, states: int) -> None:
    """A warning where refined probabilities (…, n · states) leave [0, 1]."""
    beyond = np.maximum(-P, P - 1)
    worst = np.unravel_index(int(beyond.argmax()), P.shape)
    if beyond[worst] > OUTSIDE:
        k, s = divmod(int(worst[-1]), states)
        warnings.warn(
            f"the refinement says that object {k} is in state {s} with probability "
            f"{P[worst]:.3g}: x + V is an expansion, and V is too large here; the objects are too "
            f"few, or too few of them are uncertain; use the mean field, or an exact method",
            stacklevel=5,
        )


@dataclass(frozen=True)
class Heterogeneous:
    """n objects with S states each, that interact through a field.

    Args:
        transitions: (L, 2), the states s_ℓ and t_ℓ.
        rates: a function of the field z (…, n, L, F), as object k feels it before transition ℓ,
            with values that broadcast to (…, n, L), in torch or plain arrays; use z[..., f].  Or
            `FieldRates`.
        objects: the number n of objects.
        load: (n, S, F), what object k in state s adds to the field; default the fractions of
            objects in each state, F = S.
        start: (n, S) probabilities; default 1/S.
        self_interaction: an object feels its own mean instead of its state.
        states: names of the S states.

    Example:
        An infection of people who are not equally prone to it.

        >>> prone, infect = np.array([[1.0], [2.0], [3.0]]), np.array([1, 0])
        >>> def rates(z):
        ...     return infect * prone * z[..., 1] + (1 - infect)
        >>> model = Heterogeneous([(0, 1), (1, 0)], rates, objects=3)
        >>> model.drift(model.start).reshape(3, 2)[:, 1].round(4).tolist()
        [-0.3333, -0.1667, 0.0]
    """

    transitions: Any
    rates: Any
    objects: int
    load: Any = None
    start: Any = None
    self_interaction: bool = False
    states: Sequence[str] = ()

    synchronous = False

    def __post_init__(self) -> None:
        transitions: Integers = np.atleast_2d(np.array(self.transitions, dtype=np.intp))
        n, size = self.objects, int(transitions.max()) + 1
        for given in (self.load, self.start):
            size = size if given is None else np.shape(given)[1]
        load = self.load
        if load is None:
            load = np.broadcast_to(np.eye(size) / n, (n, size, size))
        load = np.array(reals("load", load))
        values: dict[str, Any] = {
            "transitions": transitions,
            "load": of_shape("load", load, (n, size, *load.shape[2:3])),
            "states": tuple(self.states) or tuple(map(str, range(size))),
        }
        if not isinstance(self.rates, FieldRates):
            values["rates"] = _Differentiated(self.rates)
        shape = (n, len(transitions), values["load"].shape[2])
        _refuse_unlike(getattr(self.rates, "value", self.rates), shape)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        start = np.full((n, size), 1 / size) if self.start is None else self.start
        object.__setattr__(self, "start", self.state(start, "start"))
        self.rates_at(self.start)
        z = self.fields(self.start)
        refuse_mixed(
            "rates",
            lambda at: np.array(self.rates.value(at)),
            several(z, *z.shape),
            cure="z has the shape (…, n, L, F): write z[..., f], not z[:, :, f]",
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, S)."""
        return self.objects, self.load.shape[1]

    @cached_property
    def jumps(self) -> Floats:
        """(L, S), e_t − e_s."""
        eye = np.eye(self.shape[1])
        change: Floats = eye[self.transitions[:, 1]] - eye[self.transitions[:, 0]]
        return change

    @cached_property
    def tangent(self) -> Floats:
        """(nS, nr): each object moves by its own jumps."""
        own = scipy().linalg.orth(self.jumps.T, rcond=TINY)
        basis: Floats = np.kron(np.eye(self.objects), own)
        return basis

    def state(self, values: ArrayLike, name: str = "initial") -> Floats:
        """Probabilities (n, S), rows of sum 1, flat."""
        x = np.array(of_shape(name, reals(name, values), self.shape))
        wrong = (np.abs(x.sum(axis=1) - 1) > TINY) | (x.min(axis=1) < 0)
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"{name}[{k}] is {x[k].tolist()}: must be ≥ 0 with sum 1")
        return x.reshape(-1)

    def fields(self, x: Floats) -> Floats:
        """(…, n, L, F), what each object feels before each transition."""
        table = x.reshape(*x.shape[:-1], *self.shape)
        total = np.einsum("...js,jsf->...f", table, self.load)[..., None, None, :]
        wide = (*x.shape[:-1], *self._size, self.load.shape[2])
        if self.self_interaction:
            return np.broadcast_to(total, wide)
        own = np.einsum("...ks,ksf->...kf", table, self.load)[..., :, None, :]
        z: Floats = total - own + self.load[:, self.transitions[:, 0]]
        return z

    def rates_at(self, x: Floats) -> Floats:
        """(…, n, L), rates of the objects that are there to move, checked."""
        rates = self.rates.value(self.fields(x))
        flat = np.array(rates).reshape(*x.shape[:-1], -1)
        nonnegative("rates", flat, x)
        checked: Floats = np.asarray(rates, float)
        return checked

    def drift(self, x: Floats) -> Floats:
        """f(x)."""
        f = (self._moving(x) * self.rates.value(self.fields(x))) @ self.jumps
        flat: Floats = f.reshape(x.shape)
        return flat

    def jacobian(self, x: Floats) -> Floats:
        """Df: through the field, and through the object itself."""
        z = self.fields(x)
        pull = np.einsum(
            "lt,...kl,...klf->...ktf", self.jumps, self._moving(x), self.rates.gradient(z)
        )
        A = np.einsum("...ksf,jtf->...ksjt", pull, self.load)
        every = np.arange(self.objects)
        own = np.zeros((*x.shape[:-1], self.objects, self.shape[1], self.shape[1]))
        for s, jump, rate in zip(
            self.transitions[:, 0], self.jumps, np.moveaxis(self.rates.value(z), -1, 0), strict=True
        ):
            own[..., s] += rate[..., None] * jump
        if not self.self_interaction:
            own -= np.einsum("...ksf,ktf->...kst", pull, self.load)
        A[..., every, :, every, :] += np.moveaxis(own, -3, 0)
        flat: Floats = A.reshape(*x.shape, x.shape[-1])
        return flat

    def curvature(self, x: Floats, W: Floats) -> Floats:
        """D²f : W = Σ_ℓ (e_t − e_s) (2 ∇r · Cov(x_ks, z) + x_ks D²r : Cov(z, z))."""
        z = self.fields(x)
        with_field, of_field = self._covariances(W)
        C = np.broadcast_to(of_field[..., :, None, :, :], (*z.shape, z.shape[-1]))
        slope = self.rates.gradient(z) * with_field[..., self.transitions[:, 0], :]
        second = 2 * slope.sum(axis=-1) + self._moving(x) * self.rates.contraction(z, C)
        flat: Floats = (second @ self.jumps).reshape(x.shape)
        return flat

    def doubt(self, x: Floats, V: Floats, W: Floats) -> None:
        """A warning where the expansion contradicts itself.

        An indicator of mean P has the variance P (1 − P), to first order x (1 − x).  W finds its
        variance from the noise and from what the drift makes of it.  Where that is more, the
        objects are few, and where the *number* of objects in a state varies much more than that of
        independent objects, they move together; with both, two terms of an expansion say little.
        (With self-interaction W also holds what an object does to itself, and is not asked.)  A
        probability outside of [0, 1] is the other sign.
        """
        if not self.self_interaction:
            self._doubt_variance(x, W)
        warn_outside(x + V, self.shape[1])

    def _doubt_variance(self, x: Floats, W: Floats) -> None:
        own = (x * (1 - x)).reshape(*x.shape[:-1], *self.shape)
        variance = np.diagonal(W, axis1=-2, axis2=-1).reshape(own.shape)
        ratio = np.divide(variance, own, out=np.ones_like(own), where=own > FEW)
        table = W.reshape(*x.shape[:-1], *self.shape, *self.shape)
        number, alone = np.einsum("...ksjs->...s", table), own.sum(axis=-2)
        together = np.divide(number, alone, out=np.ones_like(alone), where=alone > FEW)
        moved = (ratio > EXCESS) & (together > TOGETHER)[..., None, :]
        bad = np.argwhere(moved | (ratio > IMPOSSIBLE))
        if bad.size:
            worst = tuple(max(bad.tolist(), key=lambda at: float(ratio[tuple(at)])))
            *lead, k, s = worst
            warnings.warn(
                f"the refinement may be worse than the mean field: by W the indicator of object "
                f"{k} in state {self.states[s]!r} has variance {variance[worst]:.3g}, and it "
                f"cannot have much more than x (1 − x) = {own[worst]:.3g}; the number of objects "
                f"in that state has {together[(*lead, s)]:.2g} times the variance of independent "
                f"ones; the objects are too few, or move too much together: compare with "
                f"`exact_chain` or `simulate`",
                stacklevel=5,
            )

    def _covariances(self, W: Floats) -> tuple[Floats, Floats]:
        """Cov(x_ks, z_k) (…, n, S, F) and Cov(z_k, z_k) (…, n, F, F)."""
        (n, size), (F,) = self.shape, self.load.shape[2:]
        flat = self.load.reshape(n * size, F)
        whole = (W @ flat).reshape(*W.shape[:-2], n, size, F)
        of_field = np.einsum("if,...ig->...fg", flat, W @ flat)[..., None, :, :]
        if self.self_interaction:
            return whole, np.broadcast_to(of_field, (*W.shape[:-2], n, F, F))
        every = np.arange(n)
        blocks = W.reshape(*W.shape[:-2], n, size, n, size)[..., every, :, every, :]
        mine = np.einsum("k...st,ktf->...ksf", blocks, self.load)
        cross = np.einsum("ktf,...ktg->...kfg", self.load, whole)
        both = np.einsum("ktf,...ktg->...kfg", self.load, mine)
        return whole - mine, of_field - cross - cross.swapaxes(-1, -2) + both

    def noise(self, x: Floats) -> Floats:
        """Q(x): objects move one at a time."""
        flows = self._moving(x) * self.rates_at(x)
        own = np.einsum("...kl,ls,lt->...kst", flows, self.jumps, self.jumps)
        Q = np.zeros((*x.shape[:-1], *self.shape, *self.shape))
        every = np.arange(self.objects)
        Q[..., every, :, every, :] = np.moveaxis(own, -3, 0)
        return Q.reshape(*x.shape, x.shape[-1])

    def lower_drift(self, x: Floats) -> Floats:
        """0: there is no smaller order, the objects are counted in the rates."""
        return np.zeros_like(x)

    @property
    def _size(self) -> tuple[int, int]:
        return self.objects, len(self.transitions)

    def _moving(self, x: Floats) -> Floats:
        """(…, n, L), probabilities of the states that transitions leave."""
        return x.reshape(*x.shape[:-1], *self.shape)[..., self.transitions[:, 0]]

    # --- one configuration at a time: (R, n) states ---
    def configuration(self, x: ArrayLike, n: int = 1) -> Integers:
        """(n,) states, if x is certain."""
        table = self.state(x).reshape(self.shape)
        if not np.isin(table, (0, 1)).all():
            raise ValueError("initial is not certain: each object must be in one state")
        states: Integers = table.argmax(axis=1).astype(np.intp)
        return states

    def event_rates(self, configurations: Integers, n: int = 1) -> Floats:
        """(R, nL)."""
        x = self.observed(configurations).reshape(len(configurations), -1)
        rates: Floats = self._moving(x) * self.rates_at(x)
        return rates.reshape(len(x), -1)

    def after(self, configurations: Integers, events: Integers) -> Integers:
        """(R, n) configurations after one event each."""
        moved = configurations.copy()
        k, transition = np.divmod(events, len(self.transitions))
        moved[np.arange(len(moved)), k] = self.transitions[transition, 1]
        return moved

    def observed(self, configurations: Integers, n: int = 1) -> Floats:
        """(R, n, S) indicators."""
        return np.eye(self.shape[1])[configurations]
