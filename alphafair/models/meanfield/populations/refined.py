"""The refined mean field: the mean field x, and what is left of it at N objects.

With A = Df, Q = Σ ℓ ℓᵀ β_ℓ and (B : W)_i = Σ_jk ∂²f_i/∂x_j∂x_k W_jk along x,

    x' = f(x),     W' = A W + W Aᵀ + Q,     V' = A V + ½ B : W + f₁,     W(0) = V(0) = 0,

    E X = x + V/N + O(1/N²),     N Cov X → W,     E h(X) = h(x) + (Dh V + ½ D²h : W)/N + O(1/N²).

Noise alone, if f is linear, does not move the mean; noise in a curved drift does.  In the steady
state all derivatives are 0: a Lyapunov equation for W, linear equations for V.  Where all objects
move at once, x⁺ = Φ(x), W⁺ = A W Aᵀ + Γ and V⁺ = A V + ½ B : W + Φ1.

Jumps conserve sums, so that A is singular; all is done in an orthonormal basis of the span of the
jumps, where it is not if the fixed point is stable (its rank there is not guessed from A).

All of this needs rates with two derivatives.  At a kink, as that of min(x, c) at c, the correction
is not of the order 1/N: X sees both slopes, and its mean moves by a multiple of 1/√N.  So
`steady_state` refuses a fixed point on a kink, and warns of one that is near.  Where a path crosses
a kink, W is right but V lacks a jump, and `transient` warns.

In time, V and W have no effect on x: the path is found first, all Jacobians along it in a few
batches, then W and V by the Runge–Kutta pair of order 8 that found the path.

References:
    N. Gast, B. Van Houdt, "A refined mean field approximation", Proc. ACM Measurement and Analysis
    of Computing Systems 1 (2017), arXiv:1711.08173.
    N. Gast, L. Bortolussi, M. Tribastone, "Size expansions of mean field approximation: transient
    and steady-state analysis", Performance Evaluation 129 (2019).
    N. Gast, D. Latella, M. Massink, "A refined mean field approximation of synchronous
    discrete-time population models", Performance Evaluation 126 (2018).
    S. Allmeier, N. Gast, "Mean field and refined mean field approximations for heterogeneous
    systems: it works!", Proc. ACM Measurement and Analysis of Computing Systems 6 (2022),
    arXiv:2111.01594.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, number
from ...common import scipy, watched
from .differentiate import REACH, Differentiated, Kink, find_kink
from .population import Model, Population, increasing

PATIENCE = (1e1, 1e2, 1e3, 1e4, 1e6, 1e8)  # times that the mean field is followed before Newton's
IN_STEPS = 4  # of them, where all objects move at once: each unit of time is a step
EVALUATIONS = 100_000  # of the drift, for each of them: a cycle would take more, and an explosion
NEAR = 1e-2  # Newton's method may move x by this much, relatively: else it goes elsewhere
FOLLOWED = {"rtol": 1e-3, "atol": 1e-6}  # before Newton's method: near is enough
CONVERGED = 1e-10  # its last step, relatively
STABLE = 1e-9  # real parts must be below −STABLE times the model's rates, moduli < 1 − STABLE
PATH = (1e-10, 1e-12)  # relative and absolute tolerance of the mean field in time
ACCURACY = 1e-7  # relative, of W in time, by an estimate that is hundreds of times too careful
HALVINGS = 8  # of the steps in time, to reach it
BENT = 1e-4  # ACCURACY where the path crosses a kink, which is inside of a step
DIRECTIONS = 16  # in which kinks are looked for, if there are more
ON = 1e-4  # a fixed point that is so near to a kink, relatively, is on it
NUMBERS = 2**23  # in the tables of one batch of Jacobians


class Refined(NamedTuple):
    """x, V and W: the mean is x + V/N, the covariance about W/N.

    Attributes:
        mean: (…, d) x, or (…, objects, states) as the model's.
        correction: V, the same shape.
        covariance: (…, d, d) W, or (…, objects, states, objects, states).

    In all methods n is the number of objects N; for a heterogeneous model, whose objects are all
    there already, n = 1, or how many copies there are of each.
    """

    mean: Floats
    correction: Floats
    covariance: Floats

    def expectation(self, n: float) -> Floats:
        """E X = x + V/n."""
        return self.mean + self.correction / _size(n)

    def deviation(self, n: float) -> Floats:
        """Standard deviations of X, √(W_ii/n)."""
        axes = self.covariance.ndim - self.mean.ndim
        lead = self.mean.ndim - axes
        d = int(np.prod(self.mean.shape[lead:]))
        W = self.covariance.reshape(*self.mean.shape[:lead], d, d)
        variance = np.diagonal(W, axis1=-2, axis2=-1).reshape(self.mean.shape)
        spread: Floats = np.sqrt(np.maximum(variance, 0) / _size(n))
        return spread

    def expectation_of(self, function: Callable[[Any], Any], n: float) -> Floats:
        """E h(X) = h(x) + (Dh V + ½ D²h : W)/n.

        Args:
            function: h, of a state with the shape of the model's, with one value or a list of L;
                in torch or plain arrays.
            n: number of objects.

        Returns:
            (…, L).

        Example:
            >>> sample = Refined(np.array([0.5]), np.array([1.0]), np.array([[2.0]]))
            >>> sample.expectation_of(lambda x: [x[0], x[0] ** 2], 10).round(3).tolist()
            [0.6, 0.55]
        """
        axes = self.covariance.ndim - self.mean.ndim
        lead, shape = self.mean.shape[: self.mean.ndim - axes], self.mean.shape[-axes:]
        d = int(np.prod(shape))
        h = Differentiated(lambda x: _listed(function(x.reshape(shape))))
        x, V = (values.reshape(*lead, d) for values in (self.mean, self.correction))
        first = np.einsum("...ld,...d->...l", h.jacobian(x), V)
        second = h.contraction(x, self.covariance.reshape(*lead, d, d))
        value: Floats = h.value(x) + (first + second / 2) / _size(n)
        return value


def fixed_point(model: Model) -> Floats:
    """The stable fixed point to which the mean field goes from ``model.start``.

    The mean field is followed for a while, then Newton's method takes over; if it fails, or leads
    to a point that is unstable or elsewhere, the mean field is followed for longer.

    Returns:
        x in the shape of the model's mean.

    Raises:
        ValueError: the mean field does not come to rest, or it rests at a point that is not stable.

    Example:
        >>> from alphafair.models.meanfield import supermarket
        >>> fixed_point(supermarket(0.5, buffer=20))[:3].round(6).tolist()
        [0.5, 0.125, 0.007812]
    """
    x, _ = _rest(model)
    return x.reshape(model.shape)


def steady_state(model: Model) -> Refined:
    """x, V and W in the steady state.

    Args:
        model: a population, synchronous or heterogeneous model.

    Returns:
        `Refined`.

    Raises:
        ValueError: as `fixed_point`; rates that are negative there, or have a kink.

    Warns:
        UserWarning: a kink is near, so that N must be larger than one would think; or the
            refinement of few unlike objects contradicts itself or leaves [0, 1] (their `doubt`).

    Example:
        >>> from alphafair.models.meanfield import supermarket
        >>> refined = steady_state(supermarket(0.9, buffer=40))
        >>> [round(float(refined.expectation(n).sum()), 4) for n in (10, 100)]
        [2.7513, 2.3925]
    """
    x, A = _rest(model)
    kink = _kink_near(model, x, A)
    _refuse_kink(model, x, kink)
    U, one = model.tangent, np.eye(model.tangent.shape[1])
    Q = U.T @ model.noise(x) @ U
    solve = scipy().linalg.solve_discrete_lyapunov if model.synchronous else _lyapunov
    W = U @ _symmetric(solve(A, _symmetric(Q))) @ U.T
    pull = U.T @ (model.curvature(x, W) / 2 + model.lower_drift(x))
    V = U @ np.linalg.solve((one - A) if model.synchronous else -A, pull)
    if kink is not None:
        _warn_near(model, x, W, kink)
    return _shaped(model, x, V, W)


def mean_field(model: Model, initial: ArrayLike, times: ArrayLike) -> Floats:
    """x(t) with x(0) = initial.

    Args:
        initial: x(0), in the shape of the model's mean.
        times: (T,) increasing, ≥ 0; whole numbers if the model is synchronous.

    Returns:
        (T, d), or (T, objects, states).
    """
    x0, grid = model.state(initial), _times(model, times)
    if model.synchronous:
        chosen: Floats = _orbit(model, x0, int(grid[-1]))[grid.astype(int)]
    else:
        chosen = _path(model, x0, grid).sol(grid).T
    return chosen.reshape(grid.size, *model.shape)


def transient(model: Model, initial: ArrayLike, times: ArrayLike) -> Refined:
    """x, V and W at these times, when all objects start as told: V(0) = W(0) = 0.

    Args:
        initial: x(0), in the shape of the model's mean.
        times: (T,) increasing, ≥ 0; whole numbers if the model is synchronous.

    Returns:
        `Refined`, with the times as the first axis.

    Raises:
        ValueError: an initial state that cannot be one, rates that are negative on the way, times
            that are not increasing, no convergence.

    Warns:
        UserWarning: the path crosses a kink of the rates, or ends near one (in steps: ends only);
            or the refinement of few unlike objects is doubtful, as in `steady_state`.

    Example:
        >>> from alphafair.models.meanfield import sir
        >>> refined = transient(sir(infection=2, recovery=1), [0.9, 0.1, 0], [0, 1])
        >>> refined.expectation(50)[1].round(4).tolist()
        [0.6892, 0.1719, 0.1389]
    """
    x0, grid = model.state(initial), _times(model, times)
    if model.synchronous:
        steps = _synchronous(model, x0, grid)
        _warn_crossed(model, None, grid, steps.mean[-1].reshape(-1))
        return steps
    path = _path(model, x0, grid)
    crossed = _warn_crossed(model, path, grid, path.sol(grid[-1]))
    for level in range(HALVINGS):
        mesh = _mesh(model, path, grid, level)
        V, W, error = _corrections(model, path.sol, mesh, grid)
        if error <= (BENT if crossed else ACCURACY):
            return _shaped(model, path.sol(grid).T, V, W)
    raise ValueError(
        f"W does not converge: with {len(mesh)} steps it is known to {error:.1g}, relatively; "
        f"give earlier times, or scale the rates to the same order"
    )


# --- the fixed point ------------------------------------------------------------------------------
def _rest(model: Model) -> tuple[Floats, Floats]:
    """The fixed point, and A there in the basis of the jumps."""
    x, unstable, passed = model.start, None, 0.0
    fastest = float(np.abs(model.jacobian(x)).max(initial=0))
    unit = 1.0 if model.synchronous or not 0 < fastest < np.inf else 1 / fastest
    for time in PATIENCE[: IN_STEPS if model.synchronous else None]:
        x, spent = _follow(model, x, time * unit)
        x = _conserving(model, x)
        passed += spent
        found = _newton(model, x)
        if found is not None:
            point, A = found
            slowest, limit = _slowest(model, A, fastest)
            if slowest < limit:
                return point, A
            unstable = point, slowest
        if spent < time * unit:
            break
    if unstable is None:
        _refuse_kink(model, x, _kink_near(model, x, model.jacobian(x)), within=NEAR)
        far = not model.synchronous and spent == time * unit  # in steps so long that it is smooth
        perhaps = "it may be slow or grow without bound" if far else "it may cycle"
        perhaps += " or be slow" if model.synchronous else ""
        raise ValueError(
            f"the mean field has not come to rest by time {passed:.1g} (it moves at "
            f"{np.abs(_force(model, x)).max():.2g}): {perhaps}; `transient` can follow it"
        )
    point, slowest = unstable
    what = "modulus" if model.synchronous else "real part"
    clearly = "clearly " if slowest < model.synchronous else ""
    raise ValueError(
        f"the fixed point {np.array2string(point, precision=4, threshold=8)} is not stable: the "
        f"largest {what} of an eigenvalue is {slowest:.3g}, not {clearly}< "
        f"{int(model.synchronous)}; give the model another start, or use `transient`"
    )


def _force(model: Model, x: Floats) -> Floats:
    """What vanishes at a fixed point."""
    return model.drift(x) - x if model.synchronous else model.drift(x)


def _conserving(model: Model, x: Floats) -> Floats:
    """The state with the sums of the model's start; the solver keeps them to its tolerance."""
    U: Floats = model.tangent
    moved: Floats = model.start + U @ (U.T @ (x - model.start))
    return moved


class _EnoughError(Exception):
    """The drift was asked for too often."""


def _follow(model: Model, x: Floats, time: float) -> tuple[Floats, float]:
    """The mean field after a time, or as far as a fair number of steps leads, and that time."""
    if model.synchronous:
        for _ in watched(range(int(time)), "steps"):
            x = model.drift(x)
        end, spent = x, time
    else:
        end, spent = _followed(model, x, time)
    if not np.isfinite(end).all():
        raise ValueError(
            "the mean field from the model's start is not finite: check the rates; it may grow "
            "without bound"
        )
    return end, spent


def _followed(model: Model, x: Floats, time: float) -> tuple[Floats, float]:
    """`_follow` in continuous time."""
    calls, last = 0, (x, 0.0)

    def drift(t: float, y: Floats) -> Floats:
        nonlocal calls, last
        calls += 1
        if calls > EVALUATIONS:
            raise _EnoughError
        if np.isfinite(y).all():
            last = y.copy(), t
        return model.drift(y)

    integrate = scipy("the mean field in time").integrate.solve_ivp
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            solution = integrate(drift, (0, time), x, method="LSODA", **FOLLOWED)
    except _EnoughError:
        return last
    return solution.y[:, -1], float(solution.t[-1])


def _newton(model: Model, x: Floats) -> tuple[Floats, Floats] | None:
    """A zero of the force near x and A there; None if there is none to be found."""
    U, origin, reach = model.tangent, x, NEAR * max(1.0, float(np.abs(x).max()))
    for _ in range(30):
        A = U.T @ model.jacobian(x) @ U
        slope = A - np.eye(len(A)) if model.synchronous else A
        try:
            step = U @ np.linalg.solve(slope, -U.T @ _force(model, x))
        except np.linalg.LinAlgError:
            return None
        x, size = x + step, float(np.abs(step).max(initial=0))
        if not np.abs(x - origin).max() <= reach:
            return None
        if size <= CONVERGED * max(1.0, float(np.abs(x).max())):
            return x, U.T @ model.jacobian(x) @ U
    return None


def _slowest(model: Model, A: Floats, fastest: float) -> tuple[float, float]:
    """The slowest mode at the fixed point, and below what it must be.

    A mode is slow compared with the model's rates, not with other modes there: at a double root all
    are of the order of the last step that was made towards it.
    """
    values = np.linalg.eigvals(A)
    if model.synchronous:
        return float(np.abs(values).max(initial=0)), 1 - STABLE
    scale = float(np.abs(A).max(initial=max(fastest, np.finfo(float).tiny)))
    return float(values.real.max(initial=-np.inf)), -STABLE * scale


def _lyapunov(A: Floats, Q: Floats) -> Floats:
    W: Floats = scipy().linalg.solve_continuous_lyapunov(A, -Q)
    return W


# --- kinks ----------------------------------------------------------------------------------------
def _values(model: Model) -> tuple[str, Callable[[Floats], Floats]]:
    """What of the model has to be smooth, with a name."""
    if isinstance(model, Population):
        return "rates", model.rates.value  # type: ignore[union-attr]
    return "step" if model.synchronous else "drift", model.drift


def _kink_near(model: Model, x: Floats, A: Floats) -> Kink | None:
    """A kink within REACH of x, in directions in which there is noise; A is Df there.

    A direction with little noise matters little and is searched less far.  Fractions stay ≥ 0: at
    the border, where a fraction and its noise are small, rates need not make sense beyond it.
    """
    U, Q = model.tangent, model.noise(x)
    values, vectors = np.linalg.eigh(_symmetric(U.T @ Q @ U))
    spread = U @ (vectors * np.sqrt(np.maximum(values, 0)))
    # Generic directions: in those of the eigenvectors two kinks may cancel, as in |a| − |b|.
    count = DIRECTIONS if values.size > DIRECTIONS else 3
    mixed = np.random.default_rng(0).normal(size=(values.size, count))
    mixed = spread @ mixed / np.sqrt(max(values.size, 1))
    half = np.concatenate([spread, mixed], axis=1).T if count == 3 else mixed.T
    far = REACH * max(1.0, float(np.abs(x).max()))
    half *= far / max(float(np.abs(half).max(initial=0)), np.finfo(float).tiny)
    quiet = np.diagonal(Q) <= ON * float(np.abs(A).max(initial=0))
    border = (x > ON * far) | ((x >= 0) & quiet)
    steps = np.abs(half[:, border])
    room = np.min(
        x[border] / np.maximum(steps, x[border] + np.finfo(float).tiny), axis=1, initial=1
    )
    return find_kink(_values(model)[1], x + 0 * half, half * room[:, None], far * room)


def _told(name: str, kink: Kink) -> str:
    """The kink and its cure."""
    along = np.array2string(kink.along, precision=3, threshold=8, suppress_small=True)
    if kink.jump:
        return f"a jump of {name}[{kink.entry}], by {kink.jump:.4g} along {along}"
    return (
        f"a kink of {name}[{kink.entry}], whose slope along {along} is {kink.before:.4g} before "
        f"and {kink.after:.4g} after it"
    )


CURE = (
    "write a smooth rate, as −log(exp(−k a) + exp(−k b))/k for min(a, b) with 1/k not below the "
    "noise √(W/N), or use `exact_chain` or `simulate`, which need no derivatives"
)


def _refuse_kink(model: Model, x: Floats, kink: Kink | None, within: float = ON) -> None:
    """ValueError if x is on the kink, or so near that differences lie on both sides of it."""
    if kink is None:
        return
    gap = float(np.abs(kink.where - x).max()) / max(1.0, float(np.abs(x).max()))
    rates = getattr(model, "rates", getattr(model, "step", None))
    by_differences = isinstance(rates, Differentiated) and not rates.takes_tensors(x)
    name, at = _values(model)[0], np.array2string(x, precision=4, threshold=8)
    if gap <= within:
        why = "" if kink.jump else ", since the mean moves by a multiple of 1/√N"
        raise ValueError(
            f"the fixed point x = {at} is on {_told(name, kink)}: there is no V{why}; {CURE}"
        )
    if by_differences:
        raise ValueError(
            f"the fixed point x = {at} is {gap:.2g} from {_told(name, kink)}, and {name} is "
            f"differentiated by differences that reach {REACH:g} far: write it in torch; or {CURE}"
        )


def _warn_near(model: Model, x: Floats, W: Floats, kink: Kink) -> None:
    """How many objects it takes for the noise to be smaller than the distance."""
    gap = kink.where - x
    enough = float(gap @ W @ gap) / max(float(gap @ gap) ** 2, np.finfo(float).tiny)
    warnings.warn(
        f"the fixed point x = {np.array2string(x, precision=4, threshold=8)} is "
        f"{np.abs(gap).max():.2g} from {_told(_values(model)[0], kink)}: V and W hold where N is "
        f"well above {enough:.0f}, so that X stays on one side",
        stacklevel=3,
    )


def _warn_crossed(model: Model, path: Any, times: Floats, end: Floats) -> bool:
    """Does the path cross a kink, or end near one?  It warns if so."""
    name, function = _values(model)
    kink, when = None, ""
    if path is not None:
        x, t = _spaced(path.y.T, path.t)
        # Chords, and chords of their middles: a kink is in the inner half of one of them.
        middle = np.concatenate([x[:-1] + x[1:], (x[:-2] + 2 * x[1:-1] + x[2:]) / 2]) / 2
        half = np.concatenate([x[1:] - x[:-1], (x[2:] - x[:-2]) / 2]) / 2
        kink = find_kink(function, middle, half)
        if kink is not None:
            start = kink.segment % (len(x) - 1) + kink.segment // (len(x) - 1) / 2
            when = f"crosses, at about time {np.interp(start + 0.5, range(len(t)), t):.3g},"
    if kink is None:
        kink = _kink_near(model, end, model.jacobian(end))
        when = f"ends, at time {times[-1]:.3g}, near"
    if kink is not None:
        at = np.array2string(kink.where, precision=4, threshold=8)
        warnings.warn(
            f"the path {when} {_told(name, kink)}, at x = {at}: V lacks what the kink does to the "
            f"mean; {CURE}",
            stacklevel=3,
        )
    return kink is not None


def _spaced(x: Floats, t: Floats) -> tuple[Floats, Floats]:
    """Points of a path that are not too near to each other: at a kink its steps are very short."""
    kept, least = [0], ON * max(1.0, float(np.abs(x).max()))
    for k in range(1, len(x)):
        if np.abs(x[k] - x[kept[-1]]).max() > least:
            kept.append(k)
    return x[kept], t[kept]


# --- in time --------------------------------------------------------------------------------------
class _Tableau(NamedTuple):
    """Dormand and Prince's method of order 8 with s stages.

    Attributes:
        stages: (s, s) what the slopes so far add to the next stage.
        weights: (s,) what they add to the end of the step.
        nodes: (s,) the time of each stage, as a part of the step.
        errors: (2, s) of the order 5 and of the order 3.
    """

    stages: Floats
    weights: Floats
    nodes: Floats
    errors: Floats


@functools.cache
def _tableau() -> _Tableau:
    method = scipy().integrate.DOP853
    errors = np.stack([method.E5, method.E3])[:, : method.n_stages]
    return _Tableau(method.A, method.B, method.C[: method.n_stages], errors)


def _path(model: Model, x0: Floats, times: Floats) -> Any:
    """The mean field in time, at any time."""
    relative, absolute = PATH
    model.noise(x0)  # rates that are negative at the start are an error of the caller
    solution = scipy("the mean field in time").integrate.solve_ivp(
        lambda t, x: model.drift(x),
        (0, max(times[-1], np.finfo(float).tiny)),
        x0,
        method="DOP853",
        dense_output=True,
        rtol=relative,
        atol=absolute,
    )
    if not solution.success or not np.isfinite(solution.y).all():
        at = np.array2string(solution.y[:, -1], precision=4, threshold=8)
        raise ValueError(
            f"the mean field stops at time {solution.t[-1]:g}, at x = {at}: {solution.message} "
            f"(the rates there may explode, jump or be nan)"
        )
    return solution


def _mesh(model: Model, path: Any, times: Floats, level: int) -> Floats:
    """Steps as long as the path is smooth and the fastest mode of W allows."""
    ends = np.union1d(path.t[path.t <= times[-1]], np.append(times, 0.0))
    mesh, length = [np.zeros(1)], max(1, NUMBERS // model.start.size**2)
    for first in range(0, ends.size - 1, length):
        part = ends[first : first + length + 1]
        A = np.abs(model.jacobian(path.sol(part[:-1]).T))
        speed = np.minimum(A.sum(axis=-2).max(axis=-1), A.sum(axis=-1).max(axis=-1))
        pieces = 2**level * np.maximum(1, np.ceil(np.diff(part) * speed)).astype(int)
        for start, end, count in zip(part[:-1], part[1:], pieces, strict=True):
            mesh.append(np.linspace(start, end, count + 1)[1:])
    return np.concatenate(mesh)


def _corrections(
    model: Model, path: Callable[[Floats], Floats], mesh: Floats, times: Floats
) -> tuple[Floats, Floats, float]:
    """V (T, d) and W (T, d, d) at the times, which are in the mesh, and the error of W."""
    U, tableau = model.tangent, _tableau()
    r, count = U.shape[1], tableau.nodes.size
    V, W, error = np.zeros(r), np.zeros((r, r)), 0.0
    kept = [(V, W)] if times[0] == 0 else []
    for steps in _batches(mesh, U.shape[0]):
        h = np.diff(mesh[steps])
        nodes = (mesh[steps][:-1, None] + h[:, None] * tableau.nodes).reshape(-1)
        x = path(nodes).T
        A = (U.T @ model.jacobian(x) @ U).reshape(h.size, count, r, r)
        Q = (U.T @ model.noise(x) @ U).reshape(A.shape)
        stages, after, wrong = _noise_steps(A, Q, W, h)
        curved = model.curvature(x, U @ stages.reshape(-1, r, r) @ U.T) / 2
        pull = ((curved + model.lower_drift(x)) @ U).reshape(h.size, count, r)
        moved = _mean_steps(A, pull, V, h)
        inside = np.flatnonzero(np.isin(mesh[steps][1:], times))
        kept += [(moved[i], after[i]) for i in inside]
        V, W, error = moved[-1], after[-1], error + wrong
    low_V, low_W = (np.array(values) for values in zip(*kept, strict=True))
    scale = max(1.0, float(np.abs(low_W).max(initial=0)))
    return low_V @ U.T, U @ low_W @ U.T, error / scale


def _batches(mesh: Floats, size: int) -> Iterator[slice]:
    """Slices of the mesh that share their ends."""
    length = max(1, NUMBERS // (size**2 * _tableau().nodes.size))
    starts = range(0, len(mesh) - 1, length)
    for start in watched(starts, "time") if len(starts) > 1 else starts:
        yield slice(start, min(start + length, len(mesh) - 1) + 1)


def _noise_steps(A: Floats, Q: Floats, W: Floats, steps: Floats) -> tuple[Floats, Floats, float]:
    """Stages and ends of W' = A W + W Aᵀ + Q, with the sum of the errors."""
    stages, ends, error = np.empty_like(A), np.empty_like(A[:, 0]), 0.0
    slopes = np.empty_like(A[0])
    flat, tableau = slopes.reshape(len(slopes), -1), _tableau()
    for k, h in enumerate(steps):
        for s in range(len(slopes)):
            at = W + h * (tableau.stages[s, :s] @ flat[:s]).reshape(W.shape)
            half = A[k, s] @ at
            slopes[s] = half + half.T + Q[k, s]
            stages[k, s] = at
        W = W + h * (tableau.weights @ flat).reshape(W.shape)
        fifth, third = np.abs(tableau.errors @ flat).max(axis=1)
        if fifth > 0:  # Hairer's estimate of the error of order 8
            error += float(h * fifth**2 / np.hypot(fifth, 0.1 * third))
        ends[k] = W
    return stages, ends, error


def _mean_steps(A: Floats, pull: Floats, V: Floats, steps: Floats) -> Floats:
    """Ends of V' = A V + pull."""
    ends, slopes, tableau = np.empty_like(pull[:, 0]), np.empty_like(pull[0]), _tableau()
    for k, h in enumerate(steps):
        for s in range(len(slopes)):
            slopes[s] = A[k, s] @ (V + h * (tableau.stages[s, :s] @ slopes[:s])) + pull[k, s]
        V = V + h * (tableau.weights @ slopes)
        ends[k] = V
    return ends


def _orbit(model: Model, x0: Floats, last: int) -> Floats:
    """(last + 1, d), the mean field of a synchronous model."""
    path = np.empty((last + 1, x0.size))
    path[0] = x0
    for t in watched(range(last), "steps"):
        path[t + 1] = model.drift(path[t])
    return path


def _synchronous(model: Model, x0: Floats, times: Floats) -> Refined:
    """As in continuous time: the path, all Jacobians, W, all curvatures, V."""
    steps, last = times.astype(int), int(times[-1])
    path = _orbit(model, x0, last)
    V, W = np.zeros((last + 1, x0.size)), np.zeros((times.size, x0.size, x0.size))
    length, now = max(1, NUMBERS // x0.size**2), W[0]
    for start in range(0, last, length):
        x = path[start : min(start + length, last)]
        A, noise = model.jacobian(x), model.noise(x)
        before = np.empty_like(A)
        for k in range(len(x)):
            before[k] = now
            now = _symmetric(A[k] @ now @ A[k].T + noise[k])
            W[steps == start + k + 1] = now
        pull = model.curvature(x, before) / 2 + model.lower_drift(x)
        for k in range(len(x)):
            V[start + k + 1] = A[k] @ V[start + k] + pull[k]
    return _shaped(model, path[steps], V[steps], W)


# --- small things ---------------------------------------------------------------------------------
def _symmetric(table: Floats) -> Floats:
    return (table + table.swapaxes(-1, -2)) / 2


def _shaped(model: Model, x: Floats, V: Floats, W: Floats) -> Refined:
    """In the shape of the model's mean; a model of unlike objects says where it doubts."""
    if hasattr(model, "doubt"):
        model.doubt(x, V, W)
    lead, shape = x.shape[:-1], model.shape
    return Refined(
        x.reshape(*lead, *shape), V.reshape(*lead, *shape), W.reshape(*lead, *shape, *shape)
    )


def _times(model: Model, times: ArrayLike) -> Floats:
    grid = increasing(times)
    if model.synchronous and (grid % 1).any():
        raise ValueError(f"times is {grid.tolist()}: must be whole numbers, the model has steps")
    return grid


def _size(n: float) -> float:
    return number("n", n, "> 0", lambda value: value > 0)


def _listed(values: Any) -> Any:
    """A list or a vector of values; one number becomes a list."""
    return values if isinstance(values, list | tuple) or np.ndim(values) else [values]
