"""Ready models: queues and epidemics; `gossip` and `list_cache` have files of their own.

- `supermarket`: a job looks at d of N queues and joins the shortest.
- `heterogeneous_supermarket`: the servers differ in speed.
- `sis`, `sir`, `seir`: epidemics, `seir` in steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, number, reals, refuse_first
from ...common import whole
from .differentiate import Smooth
from .heterogeneous import FieldRates, Heterogeneous
from .population import Population, SynchronousPopulation

Rates = dict[tuple[str, str], Callable[[Any], Any]]
FULL = 1e-17  # fractions of queues that are too small to matter


def supermarket(load: float, *, choices: int = 2, buffer: int | None = None) -> Population:
    """N servers of speed 1; jobs arrive at rate ρN, look at d of them and join the shortest queue.

    x_i is the fraction of servers with i jobs or more, i = 1, …, b, and x_0 = 1:

        x_i' = ρ (x_{i−1}^d − x_i^d) − (x_i − x_{i+1}),       x_i = ρ^((d^i − 1)/(d − 1)) at rest.

    The mean number of jobs is Σ x_i.  Servers are picked with replacement; a job is lost if all d
    queues have b jobs.

    Args:
        load: ρ, 0 < ρ < 1.
        choices: d ≥ 1.
        buffer: b; default where x_i < 1e−17.

    Example:
        >>> model = supermarket(0.9)
        >>> round(float(model.start.sum()), 6)
        2.352652
    """
    rho = number("load", load, "0 < load < 1", lambda value: 0 < value < 1)
    d = whole("choices", choices, 1)
    if buffer is None:
        reach = np.log(FULL) / np.log(rho)  # of Σ_{j<i} d^j
        buffer = int(np.ceil(reach if d == 1 else np.log1p(reach * (d - 1)) / np.log(d))) + 1
    b = whole("buffer", buffer, 1)
    with np.errstate(over="ignore"):
        jobs = np.cumsum(float(d) ** np.arange(b))
    eye = np.eye(b)
    names = [f"≥ {i} jobs" for i in range(1, b + 1)]
    start = rho**jobs
    rates = _Queues(rho, d, b)
    smooth = Smooth(rates.value, rates.jacobian, rates.contraction)
    return Population(np.vstack([eye, -eye]), smooth, start=start, states=names)


@dataclass(frozen=True)
class _Queues:
    """Arrivals to queues of i − 1, then departures from queues of i, i = 1, …, b."""

    load: float
    choices: int
    buffer: int

    def value(self, x: Floats) -> Floats:
        power = np.concatenate([np.ones_like(x[..., :1]), x**self.choices], axis=-1)
        longer = np.concatenate([x[..., 1:], np.zeros_like(x[..., :1])], axis=-1)
        rates: Floats = np.concatenate([-self.load * np.diff(power), x - longer], axis=-1)
        return rates

    def jacobian(self, x: Floats) -> Floats:
        b, d = self.buffer, self.choices
        D, slope, at = np.zeros((*x.shape[:-1], 2 * b, b)), x ** (d - 1), np.arange(b)
        slope = self.load * d * slope
        D[..., at, at] = -slope
        D[..., at[1:], at[:-1]] = slope[..., :-1]
        D[..., b + at, at] = 1.0
        D[..., b + at[:-1], at[1:]] = -1.0
        return D

    def contraction(self, x: Floats, W: Floats) -> Floats:
        b, d, at = self.buffer, self.choices, np.arange(self.buffer)
        bend = np.zeros_like(x) if d == 1 else self.load * d * (d - 1) * x ** (d - 2)
        second = np.zeros((*x.shape[:-1], 2 * b))
        second[..., :b] = -bend * W[..., at, at]
        second[..., 1:b] -= second[..., : b - 1].copy()
        return second


def heterogeneous_supermarket(
    speeds: ArrayLike, load: float, *, buffer: int = 12, self_interaction: bool = False
) -> Heterogeneous:
    """Servers with their own speeds; jobs arrive at rate λn, look at two, join the shorter queue.

    Server k with s jobs gets one at rate λ (g_s + g_{s+1}), g_s = (1/n) Σ_j P(S_j ≥ s).  Servers
    are picked with replacement, so that a server can be compared with itself.

    Args:
        speeds: (n,) μ, > 0.
        load: λ > 0, arrivals per server.
        buffer: b, no more than b jobs wait at a server.
        self_interaction: as in `Heterogeneous`; True is the approximation of the paper.

    Returns:
        A model with states 0, …, b; ``mean @ np.arange(b + 1)`` are the mean queues.
    """
    mu: Floats = reals("speeds", speeds).reshape(-1)
    refuse_first("speeds", mu, (mu > 0) & np.isfinite(mu), "finite and > 0")
    lam = number("load", load, "> 0 and finite", lambda value: 0 < value < np.inf)
    b = whole("buffer", buffer, 1)
    n, level = mu.size, np.arange(b + 1)
    up = np.column_stack([level[:-1], level[1:]])
    longer = np.broadcast_to((level[:, None] >= level) / n, (n, b + 1, b + 1))
    gradient = np.zeros((n, 2 * b, b + 1))
    gradient[:, level[:-1], level[:-1]] = gradient[:, level[:-1], level[1:]] = lam
    constant = np.concatenate([np.zeros((n, b)), np.repeat(mu[:, None], b, axis=1)], axis=1)
    line = _Line(constant, gradient)
    rates = FieldRates(line.value, line.gradient, line.contraction)
    start = np.eye(b + 1)[np.zeros(n, dtype=int)]
    return Heterogeneous(
        np.concatenate([up, up[:, ::-1]]),
        rates,
        objects=n,
        load=longer,
        start=start,
        self_interaction=self_interaction,
        states=[f"{s} jobs" for s in level],
    )


@dataclass(frozen=True, eq=False)
class _Line:
    """Rates that are linear in the field."""

    constant: Floats
    slope: Floats

    def value(self, z: Floats) -> Floats:
        rates: Floats = self.constant + np.sum(self.slope * z, axis=-1)
        return rates

    def gradient(self, z: Floats) -> Floats:
        return np.broadcast_to(self.slope, z.shape)

    def contraction(self, z: Floats, C: Floats) -> Floats:
        return np.zeros(z.shape[:-1])


@dataclass(frozen=True)
class _Infected:
    """Rate of S → I, (source + infection x_I) x_S; the states begin with S, I."""

    source: float
    infection: float

    def __call__(self, x: Any) -> Any:
        return (self.source + self.infection * x[1]) * x[0]


@dataclass(frozen=True)
class _Leaving:
    """A rate for each object in a state."""

    rate: float
    state: int

    def __call__(self, x: Any) -> Any:
        return self.rate * x[self.state]


def sis(infection: float, recovery: float, *, source: float = 0.0) -> Population:
    """An infection from which one recovers without immunity: (S, I).

    S → I at rate (source + infection x_I) x_S, I → S at rate recovery x_I.

    Example:
        >>> from alphafair.models.meanfield import steady_state
        >>> refined = steady_state(sis(2, 1, source=0.5))
        >>> refined.mean.round(4).tolist(), refined.correction.round(4).tolist()
        ([0.3596, 0.6404], [0.3014, -0.3014])
    """
    beta, gamma, a = _rates(infection=infection, recovery=recovery, source=source)
    rates: Rates = {("S", "I"): _Infected(a, beta), ("I", "S"): _Leaving(gamma, 1)}
    return Population.from_transitions("SI", rates)


def sir(
    infection: float, recovery: float, *, waning: float = 0.0, source: float = 0.0
) -> Population:
    """An infection that leaves immunity, for good or until it wanes: (S, I, R).

    S → I at rate (source + infection x_I) x_S, I → R at rate recovery x_I, R → S at rate
    waning x_R.  Without waning there is no steady state to approximate; `transient` is for that.

    Example:
        >>> from alphafair.models.meanfield import steady_state
        >>> steady_state(sir(3, 1, waning=0.5)).mean.round(4).tolist()
        [0.3333, 0.2222, 0.4444]
    """
    beta, gamma, back, a = _rates(
        infection=infection, recovery=recovery, waning=waning, source=source
    )
    rates: Rates = {
        ("S", "I"): _Infected(a, beta),
        ("I", "R"): _Leaving(gamma, 1),
        ("R", "S"): _Leaving(back, 2),
    }
    return Population.from_transitions("SIR", rates)


def seir(
    exposure: float = 0.01,
    infection: float = 0.08,
    onset: float = 0.04,
    recovery: float = 0.02,
    waning: float = 0.01,
) -> SynchronousPopulation:
    """An infection in steps, with a time in which one does not yet infect: (S, E, I, R).

    In a step S → E with probability exposure + infection x_I, E → I with onset, I → R with
    recovery, R → S with waning.  The defaults are those of Gast, Latella and Massink (2018), who
    start at (.2, .2, .2, .4).
    """
    values = _rates(
        exposure=exposure, infection=infection, onset=onset, recovery=recovery, waning=waning
    )
    e, i, o, r, w = values
    if max(e + i, o, r, w) > 1:
        raise ValueError(f"probabilities {values} are too large: none of the steps may exceed 1")
    start = [0.2, 0.2, 0.2, 0.4]
    return SynchronousPopulation.from_kernel(_Seir(*values), start=start, states="SEIR")


@dataclass(frozen=True)
class _Seir:
    """The probabilities of a step."""

    exposure: float
    infection: float
    onset: float
    recovery: float
    waning: float

    def __call__(self, x: Any) -> Any:
        hit, o, r, w = self.exposure + self.infection * x[2], self.onset, self.recovery, self.waning
        return [[1 - hit, hit, 0, 0], [0, 1 - o, o, 0], [0, 0, 1 - r, r], [w, 0, 0, 1 - w]]


def _rates(**values: float) -> tuple[float, ...]:
    """Rates that are finite and ≥ 0."""
    return tuple(
        number(name, value, "finite and ≥ 0", lambda v: 0 <= v < np.inf)
        for name, value in values.items()
    )
