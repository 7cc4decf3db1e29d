"""RANDOM(m): a cache of lists through which popular objects rise.

Object k is asked for at rate λ_k.  If it is in list s − 1 it changes places with a uniformly chosen
object of list s, s = 1, …, h, which has m_s places; list 0 is outside.  With H_s = Σ_k λ_k x_ks,

    φ_ks = λ_k x_{k,s−1} − x_ks H_{s−1}/m_s,         x_ks' = φ_ks − φ_{k,s+1}.

- The fixed point is x_ks ∝ λ_k^s e^{u_s} with u so that Σ_k x_ks = m_s: a concave program in u.
- The stationary law is Π_k λ_k^{S_k} on all ways to fill the lists.  That is: independent objects
  with the law of the fixed point, given that the lists are full.  So a table of sums of
  independent indicators, forward and backward, gives the law of each object exactly.

References:
    N. Gast, B. Van Houdt, "Transient and steady-state regime of a family of list-based cache
    replacement algorithms", ACM SIGMETRICS (2015).
    S. Allmeier, N. Gast (2022), arXiv:2111.01594, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, reals, refuse_first
from ...common import scipy, watched
from .heterogeneous import warn_outside
from .population import TINY, finite, of_shape

FAR = 4.0  # a step of u: e⁴ is far enough at once
STEPS = 200  # of Newton's method; a dozen are usual
CONVERGED = 1e-14  # its last step
STUCK = 1e-15  # a step that has been halved to this is rounding


@dataclass(frozen=True)
class RandomCache:
    """n objects and h lists.

    Args:
        popularity: (n,) λ, > 0.
        sizes: (h,) m, whole numbers ≥ 1 with a sum below n.

    Raises:
        ValueError: popularity that is not positive, lists that hold all objects.

    Example:
        >>> cache = RandomCache(np.arange(1, 5) ** -0.8, [2])
        >>> cache.start.reshape(4, 2)[:, 1].round(4).tolist()
        [0.6544, 0.521, 0.4402, 0.3845]
    """

    popularity: Any
    sizes: Any

    synchronous = False

    def __post_init__(self) -> None:
        rates = finite("popularity", np.array(reals("popularity", self.popularity)).reshape(-1))
        refuse_first("popularity", rates, rates > 0, "> 0", "leave the object out")
        given = reals("sizes", self.sizes).reshape(-1)
        if given.size == 0 or (given % 1).any() or given.min() < 1 or given.sum() >= rates.size:
            raise ValueError(
                f"sizes is {given.tolist()}: must be whole numbers ≥ 1 with a sum below the "
                f"{rates.size} objects"
            )
        object.__setattr__(self, "popularity", rates)
        object.__setattr__(self, "sizes", given.astype(np.intp))

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h + 1)."""
        return self.popularity.size, self.sizes.size + 1

    @cached_property
    def start(self) -> Floats:
        """The fixed point, flat: Newton's method for u, halved until it goes down."""
        u = np.zeros(self.sizes.size)
        gap = self._excess(u)
        for _ in range(STEPS):
            x = self._law(u)[:, 1:]
            slope = np.diag(x.sum(axis=0)) - x.T @ x
            step = np.linalg.solve(slope, -gap)
            step *= FAR / max(FAR, np.abs(step).max())
            while np.linalg.norm(self._excess(u + step)) > np.linalg.norm(gap):
                step /= 2
                if np.abs(step).max() < STUCK:
                    return self._law(u).reshape(-1)
            u, gap = u + step, self._excess(u + step)
            if np.abs(step).max() < CONVERGED:
                break
        return self._law(u).reshape(-1)

    def _law(self, u: Floats) -> Floats:
        """(n, h + 1), λ_k^s e^{u_s}, normalised."""
        levels = np.arange(self.sizes.size + 1)
        logs = np.log(self.popularity)[:, None] * levels + np.append(0.0, u)
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        law: Floats = weights / weights.sum(axis=1, keepdims=True)
        return law

    def _excess(self, u: Floats) -> Floats:
        excess: Floats = self._law(u)[:, 1:].sum(axis=0) - self.sizes
        return excess

    @cached_property
    def tangent(self) -> Floats:
        """((h + 1) n, h (n − 1)): an object is in one list, a list has its size."""
        n, lists = self.shape
        null_space = scipy().linalg.null_space
        basis: Floats = np.kron(null_space(np.ones((1, n))), null_space(np.ones((1, lists))))
        return basis

    def state(self, values: ArrayLike) -> Floats:
        """Probabilities (n, h + 1) with rows of sum 1 and columns of sum m, flat."""
        x = np.array(of_shape("initial", reals("initial", values), self.shape))
        rows, lists = np.abs(x.sum(axis=1) - 1), np.abs(x.sum(axis=0)[1:] - self.sizes)
        if x.min() < 0 or rows.max() > TINY or lists.max() > TINY:
            raise ValueError(
                "initial has entries < 0, rows whose sum is not 1, or columns 1 … h whose sums are "
                f"not the sizes {self.sizes.tolist()}"
            )
        return x.reshape(-1)

    def drift(self, x: Floats) -> Floats:
        """f(x)."""
        table, inflow = self._table(x), self._inflow(x)
        flow = self.popularity[:, None] * table[..., :-1] - table[..., 1:] * inflow[..., None, :]
        return self._spread(flow).reshape(x.shape)

    def jacobian(self, x: Floats) -> Floats:
        """Df."""
        table, inflow, n = self._table(x), self._inflow(x), self.popularity.size
        D = np.zeros((*x.shape[:-1], n, self.sizes.size, *self.shape))
        every = np.arange(n)
        for s in range(self.sizes.size):
            share = table[..., s + 1, None] / self.sizes[s]
            D[..., s, :, s] -= share * self.popularity
            D[..., every, s, every, s] += self.popularity
            D[..., every, s, every, s + 1] -= inflow[..., None, s]
        A = np.zeros((*x.shape[:-1], *self.shape, *self.shape))
        A[..., 1:, :, :] += D
        A[..., :-1, :, :] -= D
        return A.reshape(*x.shape, x.shape[-1])

    def curvature(self, x: Floats, W: Floats) -> Floats:
        """D²f : W, with 2 Cov(x_ks, H_{s−1})/m_s in each flow."""
        table = W.reshape(*x.shape[:-1], *self.shape, *self.shape)
        flows = [
            table[..., s + 1, :, s] @ self.popularity * (-2 / self.sizes[s])
            for s in range(self.sizes.size)
        ]
        return self._spread(np.stack(flows, axis=-1)).reshape(x.shape)

    def noise(self, x: Floats) -> Floats:
        """Q(x) of the exchanges of pairs."""
        table = self._table(x)
        Q = np.zeros((*x.shape[:-1], *self.shape, *self.shape))
        for s in range(self.sizes.size):
            asked = self.popularity * table[..., s]
            pairs = asked[..., :, None] * table[..., None, :, s + 1] / self.sizes[s]
            total = pairs.sum(axis=-1) + pairs.sum(axis=-2)
            M = total[..., None] * np.eye(self.popularity.size) - pairs - pairs.swapaxes(-1, -2)
            for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
                Q[..., s + a, :, s + b] += M if a == b else -M
        return Q.reshape(*x.shape, x.shape[-1])

    def lower_drift(self, x: Floats) -> Floats:
        """0: the objects are counted in the rates."""
        return np.zeros_like(x)

    def doubt(self, x: Floats, V: Floats, W: Floats) -> None:
        """A warning where a refined probability is none."""
        warn_outside(x + V, self.shape[1])

    def _table(self, x: Floats) -> Floats:
        return x.reshape(*x.shape[:-1], *self.shape)

    def _inflow(self, x: Floats) -> Floats:
        """(…, h), H_{s−1}/m_s."""
        asked: Floats = self.popularity @ self._table(x)[..., :-1] / self.sizes
        return asked

    def _spread(self, flow: Floats) -> Floats:
        """Flows from list s − 1 to s, as changes of x."""
        change = np.zeros((*flow.shape[:-1], flow.shape[-1] + 1))
        change[..., 1:] += flow
        change[..., :-1] -= flow
        return change

    # --- one configuration at a time: (R, n) lists ---
    def configuration(self, x: ArrayLike, n: int = 1) -> Integers:
        """(n,) lists, if x is certain."""
        table = self.state(x).reshape(self.shape)
        if not np.isin(table, (0, 1)).all():
            raise ValueError("initial is not certain: each object must be in one list")
        lists: Integers = table.argmax(axis=1).astype(np.intp)
        return lists

    def event_rates(self, configurations: Integers, n: int = 1) -> Floats:
        """(R, n²): object k is asked for and changes places with object j."""
        above = configurations[:, None, :] == configurations[:, :, None] + 1
        sizes = np.append(self.sizes, 1)[configurations]
        rates: Floats = above * (self.popularity / sizes)[:, :, None]
        return rates.reshape(len(configurations), -1)

    def after(self, configurations: Integers, events: Integers) -> Integers:
        """(R, n) after one exchange each."""
        moved, every = configurations.copy(), np.arange(len(configurations))
        k, j = np.divmod(events, self.popularity.size)
        moved[every, k], moved[every, j] = configurations[every, j], configurations[every, k]
        return moved

    def observed(self, configurations: Integers, n: int = 1) -> Floats:
        """(R, n, h + 1) indicators."""
        return np.eye(self.shape[1])[configurations]


def random_cache(popularity: ArrayLike, sizes: ArrayLike) -> RandomCache:
    """The cache RANDOM(m) with lists of these sizes; see `RandomCache`."""
    return RandomCache(popularity, sizes)


def exact_occupancy(cache: RandomCache) -> Floats:
    """P(object k is in list s) in the steady state, exactly: (n, h + 1).

    With p the law of the fixed point, tables over all fillings a ≤ m of the lists

        before_{k+1}(a) = Σ_s p_ks before_k(a − e_s),       e_0 = 0,

    and likewise after_k from the other end, P(k in s) ∝ p_ks Σ_a before_k(a) after_k(m − e_s − a).
    All numbers are probabilities, none can overflow.  Memory and time n Π (m_s + 1).

    Example:
        >>> exact_occupancy(RandomCache(np.arange(1, 5) ** -0.8, [2]))[:, 1].round(5).tolist()
        [0.7002, 0.5319, 0.41961, 0.34829]
    """
    law = cache.start.reshape(cache.shape)
    empty = np.zeros(cache.sizes + 1)
    empty[(0,) * cache.sizes.size] = 1.0
    before = [empty]
    for p in watched(law[:-1], "objects"):
        before.append(_one_more(before[-1], p))
    exact, after = np.empty_like(law), empty
    every = tuple(slice(None, None, -1) for _ in cache.sizes)
    for k in range(len(law) - 1, -1, -1):
        rest = after[every]  # at a: after(m − a)
        exact[k] = [np.sum(before[k] * _shifted(rest, s, -1)) for s in range(law.shape[1])]
        after = _one_more(after, law[k])
    exact *= law
    exact /= exact.sum(axis=1, keepdims=True)
    return exact


def _one_more(table: Floats, p: Floats) -> Floats:
    """The law of the filling with one more object."""
    added: Floats = reduce(np.add, (p[s] * _shifted(table, s, 1) for s in range(p.size)))
    return added


def _shifted(table: Floats, s: int, by: int) -> Floats:
    """At a: table(a − by e_s); 0 outside; e_0 = 0."""
    if s == 0:
        return table
    moved = np.zeros_like(table)
    to, of = [[slice(None)] * table.ndim for _ in range(2)]
    to[s - 1], of[s - 1] = (slice(1, None), slice(-1)) if by > 0 else (slice(-1), slice(1, None))
    moved[tuple(to)] = table[tuple(of)]
    return moved
