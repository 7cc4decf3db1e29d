"""Gossip by shuffling: nodes meet in pairs, exchange a part of what they know, and it spreads.

N nodes hold c of n items each.  When two meet, each sends s of its items, drawn at random, and
keeps its own; what is new takes the places of items that it has sent and not been sent.  A node
that sent an item and was not sent it loses it with probability P = (n − c)/(n − s).  So this is
what becomes of one item when two nodes meet (`PairLaw`; 1: holds it)::

    10 → 11   (s/c)(1 − P)          11 → 10 and 01   (s/c)(1 − s/c) P each
    10 → 01   (s/c) P               11 → 11          else
    10 → 10   1 − s/c               00 → 00

With p↑ = (s/c)(1 − P), p↓ = 2 (s/c)(1 − s/c) P, x the fraction of nodes that hold it, and each node
starting a meeting at rate 1::

    x' = 2 p↑ x (1 − x) − p↓ x²,      Q = 2 p↑ x (1 − x) + p↓ x²,      x* = c/n
    f₁ = 2 p↑ x (1 − x) + p↓ (x − x²)

f₁ is there since no node meets itself, which would be a part 1/N of all meetings.  A swap 10 → 01
changes two nodes and not x: what two partners do is **coordinated**.  Whoever takes them as
independent gets the same x', but counts every swap as noise: in the rounds below W comes out 7 to 9
times too large, and x + V/N worse than x.

In rounds, a uniform random matching pairs all nodes, and (`gossip_shuffle` with ``rounds``)::

    Φ = x + p↑ x (1 − x) − p↓ x²/2,     Φ₁ = (p↑ + p↓/2) x (1 − x)
    Γ = p↑ (1 − p↑) x (1 − x) + p↓ (1 − p↓) x²/2 + 2 (p↑ + p↓/2)² x² (1 − x)²

That is a case of what a matching does to nodes in several states, used for the coverage in rounds
(`_Matched`).  With x_i the fraction in state i, h_ij and M_ij the mean and the second moment of
what a pair (i, j) adds to the counts, h_i = Σ_j x_j h_ij, h = Σ_i x_i h_i and M = Σ_ij x_i x_j
M_ij::

    Φ = x + h/2,     Φ₁ = (h − Σ_i x_i h_ii)/2,     Γ = (M + h hᵀ)/2 − Σ_i x_i h_i h_iᵀ

References:
    R. Bakhshi, D. Gavidia, W. Fokkink, M. van Steen, "An analytical model of information
    dissemination for a gossip-based protocol", Computer Networks 53 (2009), arXiv:0810.1571.
    N. Gast, D. Latella, M. Massink, "Refined mean field analysis: the gossip shuffle protocol
    revisited", COORDINATION 2020, arXiv:2004.07519; "A refined mean field approximation of
    synchronous discrete-time population models", Performance Evaluation 126 (2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, number
from ...common import scipy, watched, whole
from .differentiate import Smooth
from .exact import Chain
from .population import Population, SynchronousPopulation


@dataclass(frozen=True)
class PairLaw:
    """What becomes of one item when two nodes meet.

    Args:
        items: n, how many there are.
        cache: c, how many a node holds, ≤ n.
        sent: s, how many it sends, 1 ≤ s ≤ c, s < n.

    Raises:
        ValueError: numbers that are not whole or not in this order.

    Example:
        >>> law = PairLaw(20, 6, 3)
        >>> round(law.drop, 6), round(law.spread, 6), round(law.swap, 6), round(law.lose, 6)
        (0.823529, 0.088235, 0.411765, 0.411765)
    """

    items: int = 500
    cache: int = 100
    sent: int = 50

    def __post_init__(self) -> None:
        n = whole("items", self.items, 2)
        c = whole("cache", self.cache, 1, n)
        whole("sent", self.sent, 1, min(c, n - 1))

    @property
    def share(self) -> float:
        """s/c: a node that holds the item sends it."""
        return self.sent / self.cache

    @property
    def drop(self) -> float:
        """P = (n − c)/(n − s): it loses it then, if it is not sent it."""
        return (self.items - self.cache) / (self.items - self.sent)

    @property
    def spread(self) -> float:
        """p↑: 10 → 11."""
        return self.share * (1 - self.drop)

    @property
    def swap(self) -> float:
        """10 → 01."""
        return self.share * self.drop

    @property
    def lose(self) -> float:
        """p↓: 11 → 10 or 01."""
        return 2 * self.share * (1 - self.share) * self.drop


def gossip_shuffle(
    items: int = 500,
    cache: int = 100,
    sent: int = 50,
    *,
    rounds: bool = False,
    exchange: float = 1.0,
    coordinated: bool = True,
) -> Population | SynchronousPopulation:
    """The fraction x of nodes that hold one item: a model for `steady_state` and `transient`.

    Args:
        items: the number n of items.
        cache: the number c of places in a cache.
        sent: the number s of items sent.
        rounds: False: each node starts a meeting at rate 1, with a partner drawn at random.
            True: a random matching of all nodes at times 1, 2, ….
        exchange: probability that two nodes that meet do exchange.
        coordinated: False takes the two partners as independent, as it should not be done: to see
            what comes of it.  (Still nobody meets itself: the part of order 1/N of the mean stays.)

    Returns:
        `Population`, or `SynchronousPopulation`, with one coordinate.

    Raises:
        ValueError: see `PairLaw`.

    Example:
        >>> from alphafair.models.meanfield import steady_state, transient
        >>> rest = steady_state(gossip_shuffle())
        >>> rest.mean.round(6).tolist(), rest.expectation(100).round(6).tolist()
        ([0.2], [0.2])
        >>> later = transient(gossip_shuffle(), [0.1], [0, 20]).expectation(100)[1]
        >>> later.round(4).tolist()  # exactly 0.1805
        [0.1803]
    """
    law = PairLaw(items, cache, sent)
    part = number("exchange", exchange, "in (0, 1]", lambda p: 0 < p <= 1)
    up, down, swap = part * law.spread, part * law.lose, part * law.swap
    rest = np.array([law.cache / law.items])
    if rounds:
        return _in_rounds(up, down, swap, rest, coordinated)
    swaps = 0.0 if coordinated else 2 * swap  # each of them is one node up and another one down
    both = [[2 * up + swaps, -2 * up - swaps], [swaps, down - swaps]]
    self_met = [[2 * up, -2 * up], [-down, down]]

    return Population(
        [[1], [-1]],
        _parabolas(both),
        _parabolas(self_met),
        _Meetings(up, down, swaps),
        start=rest,
        states=("holds it",),
    )


@dataclass(frozen=True)
class _Meetings:
    """Rates up and down of N nodes, none of whom meets itself."""

    up: float
    down: float
    swaps: float

    def __call__(self, x: Floats, n: int) -> Floats:
        others = n - 1
        meet, alike = 2 * x[0] * (1 - x[0]) * n / others, x[0] * (n * x[0] - 1) / others
        half = self.swaps / 2
        return np.array([(self.up + half) * meet, half * meet + self.down * alike])


@dataclass(frozen=True, eq=False)
class _Parabolas:
    """Functions a x + b x² of one coordinate; a and b (L,)."""

    a: Floats
    b: Floats

    def value(self, x: Floats) -> Floats:
        y: Floats = self.a * x + self.b * x**2
        return y

    def jacobian(self, x: Floats) -> Floats:
        slope: Floats = (self.a + 2 * self.b * x)[..., None]
        return slope

    def contraction(self, x: Floats, W: Floats) -> Floats:
        return np.asarray(2 * self.b * W[..., 0])


def _parabolas(coefficients: ArrayLike) -> Smooth:
    """The parabolas with the coefficients a, b, (L, 2)."""
    all_of = _Parabolas(*np.array(coefficients, dtype=float).T)
    return Smooth(all_of.value, all_of.jacobian, all_of.contraction)


@dataclass(frozen=True)
class _RoundNoise:
    """Γ of a round: together, as it is, or apart, as if partners were independent."""

    up: float
    down: float
    swap: float

    def together(self, x: Floats) -> Floats:
        up, down = self.up, self.down
        x, y = x[..., :, None], 1 - x[..., :, None]
        own: Floats = up * (1 - up) * x * y + down * (1 - down) * x**2 / 2
        return own + 2 * ((up + down / 2) * x * y) ** 2

    def apart(self, x: Floats) -> Floats:
        x, y = x[..., :, None], 1 - x[..., :, None]
        gain, loss = x * (self.up + self.swap), y * self.swap + x * self.down / 2
        own: Floats = y * gain * (1 - gain) + x * loss * (1 - loss)
        return own


def _in_rounds(
    up: float, down: float, swap: float, rest: Floats, coordinated: bool
) -> SynchronousPopulation:
    """The model with a matching in each round."""
    both, noise = up + down / 2, _RoundNoise(up, down, swap)
    return SynchronousPopulation(
        _parabolas([[1 + up, -both]]),
        noise.together if coordinated else noise.apart,
        _parabolas([[both, -both]]),
        start=rest,
        states=("holds it",),
    )


def gossip_coverage(
    items: int = 500,
    cache: int = 100,
    sent: int = 50,
    *,
    rounds: bool = False,
    exchange: float = 1.0,
) -> Population | SynchronousPopulation:
    """Who holds the item (D), who has held it (O), and who has never (U).

    The replication is x_D as in `gossip_shuffle`, the coverage x_D + x_O::

        DU → DD p↑       DU → OD (s/c) P       DO → DD p↑       DD → DO p↓

    Args:
        items: the number n of items.
        cache: the number c of places in a cache.
        sent: the number s of items sent.
        rounds: False: each node starts a meeting at rate 1, with a partner drawn at random.
            True: a random matching of all nodes at times 1, 2, ….
        exchange: probability that two nodes that meet do exchange.

    Returns:
        `Population`, or `SynchronousPopulation`, with the coordinates D, O and U.

    Raises:
        ValueError: see `PairLaw`.

    Example:
        >>> from alphafair.models.meanfield import mean_field
        >>> x = mean_field(gossip_coverage(), [0.1, 0, 0.9], [0, 20])[1]
        >>> round(float(1 - x[2]), 4)
        0.9523
        >>> x = mean_field(gossip_coverage(rounds=True), [0.1, 0, 0.9], [0, 20])[1]
        >>> round(float(1 - x[2]), 4)
        0.7534
    """
    law = PairLaw(items, cache, sent)
    part = number("exchange", exchange, "in (0, 1]", _share)
    up, down, swap = part * law.spread, part * law.lose, part * law.swap
    start = [rest := law.cache / law.items, 1 - rest, 0]
    states = ("holds it", "held it", "never")
    if rounds:
        matched = _Matched(np.array([up, swap, up, down]))
        return SynchronousPopulation(
            Smooth(matched.value, matched.jacobian, matched.contraction),
            matched.noise,
            Smooth(matched.lower_value, matched.lower_jacobian, matched.contraction),
            start=start,
            conserved=[1, 1, 1],
            states=states,
        )
    pairs = _Pairs(np.array([2 * up, 2 * swap, 2 * up, down]))
    meetings = Smooth(pairs.value, pairs.jacobian, pairs.contraction)
    lower = Smooth(pairs.lower_value, pairs.lower_jacobian, pairs.contraction)
    return Population(
        _JUMPS,
        meetings,
        lower,
        pairs.finite,
        start=start,
        conserved=[1, 1, 1],
        states=states,
    )


# What a meeting can do to the numbers of D, O and U, and who meets: D U (twice), D O and D D.
_JUMPS = np.array([[1, 0, -1], [0, 1, -1], [1, -1, 0], [-1, 1, 0]])
_FIRST, _SECOND = np.array([0, 0, 0, 0]), np.array([2, 2, 1, 0])


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Rates of the meetings that change something; x is (…, 3)."""

    weight: Floats

    @property
    def alone(self) -> Floats:
        """(4, 3) two D are not one D twice."""
        table: Floats = np.eye(3)[0] * np.array([[0.0], [0], [0], [-self.weight[3]]])
        return table

    def value(self, x: Floats) -> Floats:
        rates: Floats = self.weight * x[..., _FIRST] * x[..., _SECOND]
        return rates

    def jacobian(self, x: Floats) -> Floats:
        table = np.zeros((*x.shape[:-1], 4, 3))
        for k, (i, j) in enumerate(zip(_FIRST, _SECOND, strict=True)):
            table[..., k, i] += self.weight[k] * x[..., j]
            table[..., k, j] += self.weight[k] * x[..., i]
        return table

    def contraction(self, x: Floats, W: Floats) -> Floats:
        second_order: Floats = 2 * self.weight * W[..., _FIRST, _SECOND]
        return second_order

    def lower_value(self, x: Floats) -> Floats:
        rates: Floats = self.value(x) + x @ self.alone.T
        return rates

    def lower_jacobian(self, x: Floats) -> Floats:
        return self.jacobian(x) + self.alone

    def finite(self, x: Floats, n: int) -> Floats:
        rates: Floats = (self.value(x) + self.alone @ x / n) * n / (n - 1)
        return rates


@dataclass(frozen=True, eq=False)
class _Matched:
    """A round of D, O and U: the formulas at the top of this module; x is (…, 3)."""

    chance: Floats  # (4,) of each jump, in a pair that can make it

    @property
    def pairs(self) -> Floats:
        """(4, 3, 3) the chance of each jump in the pair (i, j)."""
        table = np.zeros((4, 3, 3))
        event = np.arange(4)
        table[event, _FIRST, _SECOND] = table[event, _SECOND, _FIRST] = self.chance
        return table

    @property
    def change(self) -> Floats:
        """(3, 3, 3) h: in pair (i, j), of state k."""
        mean: Floats = np.einsum("lij,lk->ijk", self.pairs, _JUMPS)
        return mean

    def value(self, x: Floats) -> Floats:
        after: Floats = x + np.einsum("...i,...j,ijk->...k", x, x, self.change) / 2
        return after

    def jacobian(self, x: Floats) -> Floats:
        slope: Floats = np.eye(3) + np.einsum("...i,ijk->...kj", x, self.change)
        return slope

    def contraction(self, x: Floats, W: Floats) -> Floats:
        second: Floats = np.einsum("...ij,ijk->...k", W, self.change)
        return second

    @property
    def alone(self) -> Floats:
        """(3, 3) what a node that meets itself would do: half of h_ii, in the columns."""
        table: Floats = np.einsum("iik->ki", self.change) / 2
        return table

    def lower_value(self, x: Floats) -> Floats:
        less: Floats = self.value(x) - x - x @ self.alone.T
        return less

    def lower_jacobian(self, x: Floats) -> Floats:
        return self.jacobian(x) - np.eye(3) - self.alone

    def noise(self, x: Floats) -> Floats:
        each = np.einsum("...j,ijk->...ik", x, self.change)
        mean = np.einsum("...i,...ik->...k", x, each)
        often = np.einsum("...i,...j,lij->...l", x, x, self.pairs)
        square = np.einsum("...l,lk,lm->...km", often, _JUMPS, _JUMPS)
        both = square + mean[..., :, None] * mean[..., None, :]
        noise: Floats = both / 2 - np.einsum("...i,...ik,...im->...km", x, each, each)
        return noise


def gossip_rounds(
    nodes: int,
    holders: int,
    items: int = 500,
    cache: int = 100,
    sent: int = 50,
    *,
    exchange: float = 1.0,
    coverage: bool = False,
) -> Chain:
    """The exact Markov chain of the number of nodes that hold one item, in rounds.

    Exact if each meeting follows the pair law; with sets of items an approximation.

    With X of N nodes, b pairs of the matching are 11 and j = X − 2b are 10, by a part of

        X! (N − X)! / (2^b b! 2^a a! j!),      a = (N − X − j)/2 pairs 00,

    of all matchings that is 2^(N/2) (N/2)!/N! times this and 2^j; then Bin(j, p↑) nodes gain the
    item and Bin(b, p↓) lose it.

    For the coverage, the partners of the j holders are a random choice of j of the others, so that
    the number of them who never held it is hypergeometric; there are (N + 1)(N + 2)/2 states.

    Args:
        nodes: N, even.
        holders: X at time 0.
        items: the number n of items.
        cache: the number c of places in a cache.
        sent: the number s of items sent.
        exchange: probability that two nodes that meet do exchange.
        coverage: also count who has held it, and who never has.

    Returns:
        `Chain` with values X/N, or with the fractions of D, O and U as in `gossip_coverage`; the
        first configuration is the initial one.

    Raises:
        ValueError: an odd number of nodes, more holders than nodes; see `PairLaw`.

    Example:
        >>> gossip_rounds(50, 5).transient([0, 10])[:, 0].round(5).tolist()
        [0.1, 0.13083]
        >>> never = gossip_rounds(50, 5, coverage=True).transient([0, 10])[:, 2]
        >>> (1 - never).round(5).tolist()
        [0.1, 0.50273]
    """
    N = whole("nodes", nodes, 2)
    if N % 2:
        raise ValueError(f"nodes is {N}: must be even, or a node has no partner in a round")
    X0 = whole("holders", holders, 0, N)
    law, part = PairLaw(items, cache, sent), number("exchange", exchange, "in (0, 1]", _share)
    if coverage:
        return _with_memory(N, X0, part * law.spread, part * law.swap, part * law.lose)
    matrix = np.array([_round(X, N, part * law.spread, part * law.lose) for X in range(N + 1)])
    order = np.append(X0, np.delete(np.arange(N + 1), X0))
    inside = scipy("the exact chain").sparse.csr_array(matrix[np.ix_(order, order)])
    return Chain(order[:, None] / N, inside, True)


def _pairs_of(X: int, N: int) -> tuple[Integers, Integers, Floats]:
    """How many pairs 11 and 10 a matching can have, and how likely that is."""
    gammaln = scipy().special.gammaln
    b = np.arange(max(0, X - N // 2), X // 2 + 1)
    j = X - 2 * b
    a = (N - X - j) // 2
    logs = j * np.log(2) - gammaln(a + 1) - gammaln(b + 1) - gammaln(j + 1)
    weight = np.exp(logs - logs.max())
    return b, j, weight / weight.sum()


def _round(X: int, N: int, up: float, down: float) -> Floats:
    """(N + 1,) the law of the next X."""
    law, binom = np.zeros(N + 1), scipy().stats.binom
    for pairs, mixed, chance in zip(*_pairs_of(X, N), strict=True):
        gain = binom.pmf(np.arange(mixed + 1), mixed, up)
        loss = binom.pmf(np.arange(pairs + 1), pairs, down)
        law[X - pairs : X + mixed + 1] += chance * np.convolve(gain, loss[::-1])
    total: Floats = law / law.sum()
    return total


def _with_memory(N: int, X0: int, up: float, swap: float, down: float) -> Chain:
    """The chain of the numbers of D, O and U.

    Of b, o and u pairs D D, D O and D U, Bin(b, p↓) lose the item, Bin(o, p↑) gain it, and Bin(u,
    p↑ + p↔) of the U learn of it; of these, who learn by a copy add to D, too.
    """
    half, sparse, comb = N // 2, scipy("the exact chain").sparse, scipy().special.comb
    # (trials, successes) → the chance, for each of them
    learn, copy, gain, lose = (_binomials(half, p) for p in (up + swap, up / (up + swap), up, down))
    # (o, number who learn, number of new D)
    new = np.array([[np.convolve(g, c)[: half + 1] for c in copy] for g in gain])
    never = np.arange(N - X0 + 1)
    known = np.array([(X, U) for U in never for X in range(min(X0, 1), N - U + 1)])
    first = np.flatnonzero((known == [X0, N - X0]).all(axis=1))[0]
    known[[0, first]] = known[[first, 0]]
    place = np.full((N + 1, N - X0 + 1), -1)
    place[tuple(known.T)] = np.arange(len(known))
    rows, columns, chances = [], [], []
    for row, (X, U) in enumerate(watched(known, "configurations")):
        law = np.zeros((half + 1, N + 1))  # number who learn, next X
        had = N - X - U
        for b, j, chance in zip(*_pairs_of(X, N), strict=True):
            u = np.arange(max(0, j - had), min(j, U) + 1)
            meet = chance * comb(U, u) * comb(had, j - u) / comb(had + U, j)
            up_by = np.einsum("u,ui,uig->ig", meet, learn[u], new[j - u])[:, : j + 1]
            for k in range(b + 1):
                law[:, X - k : X - k + j + 1] += lose[b, k] * up_by
        learned, after = np.nonzero(law)
        rows.append(np.full(after.size, row))
        columns.append(place[after, U - learned])
        chances.append(law[learned, after] / law.sum())
    entries = np.concatenate(chances), (np.concatenate(rows), np.concatenate(columns))
    X, U = known.T
    return Chain(
        np.column_stack([X, N - X - U, U]) / N,
        sparse.csr_array(entries, shape=(len(known), len(known))),
        True,
    )


def _binomials(most: int, p: float) -> Floats:
    """(most + 1, most + 1): the law of the successes in 0, 1, … trials."""
    k = np.arange(most + 1)
    table: Floats = scipy().stats.binom.pmf(k, k[:, None], p)
    return table


def _share(p: float) -> bool:
    return 0 < p <= 1
