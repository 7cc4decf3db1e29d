"""Configurations: how many arms are in each state, and where they go.

N arms that differ by their states only are a vector of counts n = (n_1, …, n_S): C(N+S−1, S−1)
configurations instead of S^N.  A decision splits n into the **batches** y, activated, and
z = n − y, left alone.  The arms of a batch move independently by one matrix P, so k arms in counts
y are in counts u afterwards with probability::

    L[y, u]        L = the k-th symmetric power of P,      one row for each way to place k arms

and the two batches move independently of each other: with L¹ and L⁰ for the aN activated and the
other arms, and V any function of the next configuration::

    E[V(next) | y, z] = Σ_u Σ_v L¹[y, u] V(u + v) L⁰[z, v] = (L¹ Ṽ L⁰ᵀ)[y, z],    Ṽ[u, v] = V(u + v)

So all decisions in all configurations are evaluated by two products of matrices, and neither
probabilities of whole configurations nor decisions are ever listed one by one.

L is built one arm at a time.  Take any arm of y out, in state s; it goes to j with probability
P[s, j], and the others go by the power before::

    L_k[y, u] = Σ_j P[s, j] L_{k−1}[y − e_s, u − e_j].

All terms are ≥ 0: nothing cancels, and each probability is exact up to k roundings.

Arms of several kinds (`Arm.of_classes`) never change their kind.  The **classes** are the connected
components of the states under P0 + P1, and only the configurations with the given number of arms in
each class are listed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ....checks import Floats, Integers
from ....kernels import Kernel
from ...common import composition_rank, compositions
from ..arms import Arm
from ..counts import normalized

TERMS = 10**7  # terms of the last power: from so many on the loop that sums them is compiled
MEMORY = 2**30  # bytes: what exact evaluation may take before it is refused


# --- all configurations ---------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Configurations:
    """All configurations with so many arms in each class.

    Args:
        label: (S,) class of each state, 0 … K−1.
        sizes: (K,) arms in each class.

    Attributes:
        counts: (C, S) the configurations, one a row; those of the last class change fastest.

    Example:
        >>> states = Configurations(np.array([0, 0, 1]), (2, 5))
        >>> states.counts.tolist()
        [[0, 2, 5], [1, 1, 5], [2, 0, 5]]
        >>> states.rank(np.array([2, 0, 5])).tolist()
        2
    """

    label: Integers
    sizes: tuple[int, ...]
    counts: Integers = field(init=False)

    def __post_init__(self) -> None:
        states = np.bincount(self.label)
        tables = [compositions(n, s) for n, s in zip(self.sizes, states, strict=True)]
        length = [len(table) for table in tables]
        place = np.indices(length).reshape(len(length), -1)
        counts = np.empty((place.shape[1], self.label.size), np.intp)
        for c, table in enumerate(tables):
            counts[:, self.label == c] = table[place[c]]
        object.__setattr__(self, "counts", counts)

    @classmethod
    def around(cls, label: Integers, counts: Integers) -> Configurations:
        """All that have as many arms in each class as these counts (S,)."""
        return cls(label, tuple(_sizes(label, counts).tolist()))

    def __len__(self) -> int:
        return len(self.counts)

    def rank(self, counts: Integers) -> Integers:
        """(…,) the row of each configuration (…, S) in ``counts``."""
        rank: Integers = np.zeros(counts.shape[:-1], np.intp)
        for c, arms in enumerate(self.sizes):
            own = counts[..., self.label == c]
            rank = rank * math.comb(arms + own.shape[-1] - 1, arms) + composition_rank(own)
        return rank


# --- where a batch of arms goes -------------------------------------------------------------------
def symmetric_powers(P: Floats, wanted: Iterable[int]) -> dict[int, Floats]:
    """For each wanted number of arms, the law of their next counts given their counts.

    Args:
        P: (S, S) transition matrix of one arm.
        wanted: numbers of arms k.

    Returns:
        {k: L}, L (C, C) with rows and columns in the order of `compositions` of k; rows sum to 1.

    Example:
        Of two coins that show heads, both still do with probability ¼ after a toss:

        >>> symmetric_powers(np.array([[0.5, 0.5], [0.5, 0.5]]), [2])[2][2].tolist()
        [0.25, 0.5, 0.25]
    """
    keep, one = set(wanted), np.eye(P.shape[0], dtype=np.intp)
    work = len(P) * math.comb(max(keep) + len(P) - 1, max(keep)) ** 2
    law, before = np.ones((1, 1)), compositions(0, P.shape[0])
    powers = {0: law} if 0 in keep else {}
    for k in range(1, max(keep) + 1):
        after = compositions(k, P.shape[0])
        taken = np.argmax(after > 0, axis=1)
        others = composition_rank(after - one[taken])
        joined = composition_rank(before + one[:, None])
        law, before = _grow(P, law, taken, others, joined, work=work), after
        if k in keep:
            powers[k] = law
    return powers


def _one_more(P: Any, law: Any, taken: Any, others: Any, joined: Any) -> Any:
    """L_k[y, joined[j]] += P[s, j] L_{k−1}[y − e_s, ·]: one arm more, out of state s = taken[y]."""
    grown = np.zeros((taken.size, taken.size))
    for y in range(taken.size):
        for j in range(P.shape[0]):
            chance = P[taken[y], j]
            if chance > 0:
                for v in range(law.shape[1]):
                    grown[y, joined[j, v]] += chance * law[others[y], v]
    return grown


def _one_more_columns(
    P: Floats, law: Floats, taken: Integers, others: Integers, joined: Integers
) -> Floats:
    """`_one_more`, all rows at a time."""
    grown = np.zeros((taken.size, taken.size))
    for j, column in enumerate(joined):
        grown[:, column] += P[taken, j, None] * law[others]
    return grown


_grow = Kernel(_one_more, _one_more_columns, large=TERMS)


class Block(NamedTuple):
    """The decisions that activate so many arms in each class.

    Attributes:
        active: the U configurations of the activated batch.
        passive: the W configurations of the other.
        active_law: (U, U) where the activated go, L¹.
        passive_law: (W, W) where the others go, L⁰.
        joint: (U, W) row of u + v among all configurations.
        start: position of the pair (0, 0) among all pairs; the others follow row by row.
    """

    active: Configurations
    passive: Configurations
    active_law: Floats
    passive_law: Floats
    joint: Integers
    start: int


@dataclass(frozen=True, eq=False)
class Moves:
    """What can be decided and what follows, when ``n_active`` of the arms are activated.

    The **pairs** (y, z) are all decisions in all configurations; the one of a pair is y + z.

    Attributes:
        configurations: all of them, C.
        n_active: a N.
        blocks: the pairs, by how many arms are activated in each class.
        origin: (pairs,) row of y + z among the configurations.
        reward: (pairs,) R1·y + R0·z over N: per arm.
    """

    configurations: Configurations
    n_active: int
    blocks: tuple[Block, ...]
    origin: Integers
    reward: Floats

    @classmethod
    def of(cls, arm: Arm, configurations: Configurations, n_active: int) -> Moves:
        """All of it for an arm.  Ask `refuse_if_too_large` before."""
        blocks = tuple(_blocks(arm, configurations, n_active))
        paid = [(b.active.counts @ arm.R1)[:, None] + b.passive.counts @ arm.R0 for b in blocks]
        origin = np.concatenate([b.joint.ravel() for b in blocks])
        reward = np.concatenate([r.ravel() for r in paid]) / sum(configurations.sizes)
        return cls(configurations, n_active, blocks, origin, reward)

    def expect(self, value: Floats) -> Floats:
        """(pairs,) E[V(next)] for V (C,): L¹ Ṽ L⁰ᵀ."""
        return np.concatenate(
            [(b.active_law @ value[b.joint] @ b.passive_law.T).ravel() for b in self.blocks]
        )

    def spread(self, weight: Floats) -> Floats:
        """(C,) the law of the next configuration, for the probabilities (pairs,) of the pairs."""
        law = np.zeros(len(self.configurations))
        for b in self.blocks:
            part = weight[b.start : b.start + b.joint.size].reshape(b.joint.shape)
            if part.any():
                moved = b.active_law.T @ part @ b.passive_law
                law += np.bincount(b.joint.ravel(), moved.ravel(), law.size)
        return law

    def rows(self, pairs: Integers) -> Floats:
        """(len(pairs), C) the law of the next configuration for each of these pairs."""
        law = np.zeros((len(pairs), len(self.configurations)))
        for b in self.blocks:
            here = np.flatnonzero((pairs >= b.start) & (pairs < b.start + b.joint.size))
            y, z = np.divmod(pairs[here] - b.start, b.joint.shape[1])
            part = np.zeros((here.size, law.shape[1]))
            for u in range(b.joint.shape[0]) if here.size else ():
                part[:, b.joint[u]] += b.active_law[y, u, None] * b.passive_law[z]
            law[here] = part
        return law

    def pairs(self, counts: Integers, decisions: Integers) -> Integers:
        """(M,) the pair of each decision (M, S) in its configuration (M, S)."""
        found: Integers = np.full(len(counts), -1, np.intp)
        states = self.configurations
        inside = decisions @ (states.label[:, None] == np.arange(len(states.sizes)))
        for b in self.blocks:
            here = np.flatnonzero((inside == b.active.sizes).all(axis=1))
            y, z = b.active.rank(decisions[here]), b.passive.rank((counts - decisions)[here])
            found[here] = b.start + y * b.joint.shape[1] + z
        return found


def _blocks(arm: Arm, configurations: Configurations, n_active: int) -> Iterable[Block]:
    """One block for each way to split the activated arms among the classes."""
    label, sizes = configurations.label, configurations.sizes
    splits = _splits(n_active, sizes)
    laws = _laws(arm, label, splits, np.array(sizes) - splits)
    start = 0
    for split in splits:
        y, z = (Configurations(label, tuple(k.tolist())) for k in (split, sizes - split))
        active, passive = (
            functools.reduce(_kron, [powers[k] for powers, k in zip(of, batch.sizes, strict=True)])
            for of, batch in zip(laws, (y, z), strict=True)
        )
        joint = configurations.rank(y.counts[:, None, :] + z.counts)
        yield Block(y, z, active, passive, joint, start)
        start += joint.size


def _kron(left: Floats, right: Floats) -> Floats:
    """Arms of different classes move independently."""
    return np.asarray(np.kron(left, right), float)


def _splits(total: int, sizes: tuple[int, ...]) -> Integers:
    """(splits, K) all ways to take so many arms from classes of these sizes."""
    table, rest = np.zeros((1, 0), np.intp), np.array([total])
    for c, size in enumerate(sizes):
        least = np.maximum(rest - sum(sizes[c + 1 :]), 0)
        choices = np.minimum(rest, size) - least + 1
        first = np.repeat(np.cumsum(choices) - choices - least, choices)
        value = np.arange(choices.sum()) - first
        table = np.column_stack([np.repeat(table, choices, axis=0), value])
        rest = np.repeat(rest, choices) - value
    return table


def _laws(
    arm: Arm, label: Integers, active: Integers, passive: Integers
) -> tuple[list[dict[int, Floats]], list[dict[int, Floats]]]:
    """For the batches (active, passive) and each class, the laws by the number of arms."""
    of_passive, of_active = normalized(arm)
    inside = [
        np.ix_(own, own) for own in (np.flatnonzero(label == c) for c in range(active.shape[1]))
    ]
    return (
        [symmetric_powers(of_active[at], active[:, c].tolist()) for c, at in enumerate(inside)],
        [symmetric_powers(of_passive[at], passive[:, c].tolist()) for c, at in enumerate(inside)],
    )


# --- what fits ------------------------------------------------------------------------------------
def refuse_if_too_large(label: Integers, counts: Integers, n_active: Iterable[int]) -> None:
    """Raise before the tables of `Moves` are built, if they would take more than ``MEMORY``.

    Args:
        label: (S,) class of each state.
        counts: (S,) any configuration with the right number of arms in each class.
        n_active: the numbers of arms that are activated, at one time or another.

    Raises:
        ValueError: says how many configurations there are, what memory they would need, and the
            largest number of arms in the same proportions that fits.
    """
    totals = sorted(set(n_active))
    states, sizes = np.bincount(label), _sizes(label, counts)
    needed = _bytes(states, sizes, totals)
    if needed <= MEMORY:
        return
    parts, largest = math.gcd(*counts.tolist(), *totals), 0
    for step in (2**e for e in range(parts.bit_length(), -1, -1)):
        part = largest + step
        if part < parts:
            fewer = _sizes(label, counts * part // parts), [k * part // parts for k in totals]
            largest = part if _bytes(states, *fewer) <= MEMORY else largest
    pairs = zip(sizes, states, strict=True)
    configurations = math.prod(math.comb(int(n + s - 1), int(s - 1)) for n, s in pairs)
    raise ValueError(
        f"n_arms is {sizes.sum()}: in {label.size} states they have {_short(configurations)} "
        f"configurations, whose transitions need {_short(needed / 1e9)} GB, more than "
        f"{MEMORY / 1e9:.2g}; in the same proportions "
        + (f"{sizes.sum() // parts * largest} arms fit" if largest else "no fewer arms fit")
        + "; simulate more than that"
    )


def _sizes(label: Integers, counts: Integers) -> Integers:
    """(K,) arms in each class."""
    sizes: Integers = np.bincount(label, counts).astype(np.intp)
    return sizes


def _bytes(states: Integers, sizes: Integers, totals: Iterable[int]) -> float:
    """Bytes of `Moves`: squares of the batches three times (with what it takes to build them), the
    pairs seven times.

    The number of configurations of a batch is a product over the classes, so its sum over all ways
    to split the activated arms among the classes is a coefficient of a product of polynomials.
    """
    needed = 0.0
    with np.errstate(over="ignore"):  # more than 1e308 bytes is inf, and refused
        for times, a, z in ((3, 2, 0), (3, 0, 2), (7, 1, 1)):
            series = np.ones(1)
            for s, n in zip(states, sizes, strict=True):
                k = np.arange(n + 1)
                series = np.convolve(series, _ways(k, s) ** a * _ways(n - k, s) ** z)
            needed += sum(8 * times * float(series[total]) for total in totals)
    return needed


def _ways(arms: Integers, states: int) -> Floats:
    """C(k + s − 1, s − 1), the configurations of k arms in s states."""
    ways = np.ones(arms.shape)
    for i in range(1, int(states)):
        ways *= (arms + i) / i
    return ways


def _short(value: float) -> str:
    """A number in words of an error: 1,326 or 1.7e+12."""
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}" if value < 1e9 else f"{value:.1e}"
