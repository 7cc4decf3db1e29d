"""A mean field game with N players: exactly, from the counts of the others.

One of N players is followed.  The others are n_k in state k, Σ n_k = N − 1, and the fractions
that enter rates and costs are those of all, m = (n + e_i)/N if she is in i.  All others use the
policy π; she uses it too (cost v), or what is best for her, knowing n (cost u)::

    −u' = −β u + min_a { c_ia(m) + Σ_j Q_iaj(m) u_j(n) }
          + Σ_kl n_k Σ_b π(k, b) Q_kbl(m) (u_i(n − e_k + e_l) − u_i(n))

and ε_N = v − u at time 0, where N m⁰ players are in each state and she is any one of them.  In
discrete time all move at once: next to her move, n becomes a sum of N − 1 independent draws.

There are S C(N + S − 2, S − 1) states (own state, n): tens of players in three states.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ....checks import Floats, Integers
from ...common import composition_rank, compositions, scipy, whole
from .game import NEGATIVE, TINY, ContinuousGame, DiscreteGame, Game, Policy, tables_of, takes_many

Strategy = Policy | Callable[[Floats], Any]

ENTRIES = 2e8  # of the largest table: 1.6 GB
RELATIVE, ABSOLUTE = 1e-9, 1e-11  # of the differential equations
IMPROVEMENTS = 1000  # of a stationary policy; a handful is usual
TIE = 1e-12  # relative: an action that is better by no more is not


class NPlayers(NamedTuple):
    """What a player pays in the game of N.

    Attributes:
        cost: if she uses the policy as all others do.
        best: if she does what is best for her, knowing how many others are in which state.
    """

    cost: float
    best: float

    @property
    def gap(self) -> float:
        """ε_N: what she saves by it."""
        return self.cost - self.best


def n_player_gap(game: Game, strategy: Strategy, n_players: int) -> float:
    """ε_N: what one of N players can save if the N − 1 others keep to the strategy.

    See `n_player_costs`.

    Example:
        >>> from alphafair.models.meanfield.games import grim, prisoners_dilemma
        >>> [round(n_player_gap(prisoners_dilemma(beta), grim, 5), 6) for beta in (1.6, 1.8)]
        [0.0, 0.005669]
    """
    return n_player_costs(game, strategy, n_players).gap


def n_player_costs(game: Game, strategy: Strategy, n_players: int) -> NPlayers:
    """What a player pays among N, with the strategy of the others and with her best one.

    Args:
        game: of any kind.
        strategy: a `Policy`, or a function of m (S,) (all players, in many columns if there are
            many) with (S, A) probabilities: what a player does who sees the crowd, at any time.
        n_players: N ≥ 2 with N m⁰ whole.

    Returns:
        `NPlayers`, to about 1e−9 of the cost.

    Raises:
        ValueError: N m⁰ not whole, too many (own state, counts) to list, a strategy that is no
            probability.

    Example:
        >>> from alphafair.models.meanfield.games import grim, prisoners_dilemma
        >>> together = n_player_costs(prisoners_dilemma(0.5), grim, 10)
        >>> round(together.cost, 9), round(together.gap, 9)
        (2.0, 0.0)
    """
    table = _Table.of(game, n_players)
    choice = _choice(game, strategy, table)
    if isinstance(game, ContinuousGame):
        value = _continuous(game, table, choice)
    elif isinstance(game, DiscreteGame):
        value = _discrete(game, table, choice)
    else:
        raise TypeError(f"game must be a ContinuousGame or DiscreteGame, not {type(game).__name__}")
    v, u = (float((side * table.weight).sum()) for side in value)
    return NPlayers(v, u)


class _Choice(NamedTuple):
    """What players do: from each of these times on, a table (S, C, S, A) of the states (own, n).

    Entry (i, n, k): of a player in k, if the player who is followed is in i and the others are n.
    """

    starts: Floats
    tables: Callable[[int], Floats]


class _Table(NamedTuple):
    """All states (own, n) and what happens in them.

    Attributes:
        counts: (C, S) of the others.
        mass: (S, C, S) m.
        moves: (S, C, S, A, S) rates or probabilities of a player in any state.
        pays: (S, C, A) what the player who is followed pays.
        weight: (S, C) probability at time 0.
    """

    counts: Integers
    mass: Floats
    moves: Floats
    pays: Floats
    weight: Floats

    @classmethod
    def of(cls, game: Game, n_players: int) -> _Table:
        N = whole("n_players", n_players, 2)
        size = len(game.states)
        _refuse_if_too_large(game, N)
        start = N * game.initial
        at_start = np.rint(start).astype(np.intp)
        if np.abs(start - at_start).max() > TINY * N:
            raise ValueError(
                f"n_players is {N} and N · initial {start.round(6).tolist()}: must be whole numbers"
            )
        counts = compositions(N - 1, size)
        mass = (counts + np.eye(size)[:, None, :]) / N
        pays = np.stack([game.pays(mass[i])[:, i] for i in range(size)])
        weight = np.zeros((size, len(counts)))
        for i in np.flatnonzero(at_start):
            others = at_start - np.eye(size, dtype=np.intp)[i]
            weight[i, int(composition_rank(others[None])[0])] = game.initial[i]
        return cls(counts, mass, game.moves(mass), pays, weight)

    @property
    def own(self) -> Floats:
        """(S, C, A, S) of the player who is followed."""
        size = len(self.moves)
        return np.stack([self.moves[i, :, i] for i in range(size)])


def _choice(game: Game, strategy: Strategy, table: _Table) -> _Choice:
    """The strategy of the others, and of the player when she does as they do."""
    shape = (*table.mass.shape[:2], *game.shape)
    if callable(strategy):
        many = takes_many("strategy", strategy, game.shape)
        rows = tables_of("strategy", strategy, table.mass, game.shape, together=many)
        if rows.min() < NEGATIVE or np.abs(rows.sum(axis=-1) - 1).max() > TINY:
            raise ValueError("strategy(m) must have rows ≥ 0 with sum 1, for every m")
        return _Choice(np.zeros(1), lambda k: rows)
    policy = game.policy_of(strategy).merged()
    inside = policy.starts < game.span
    return _Choice(policy.starts[inside], lambda k: np.broadcast_to(policy.probabilities[k], shape))


def _acting(rows: Floats) -> Floats:
    """(S, C, A): what the player does who is followed."""
    return np.stack([rows[i, :, i] for i in range(len(rows))])


# --- continuous time ------------------------------------------------------------------------------
def _continuous(game: ContinuousGame, table: _Table, choice: _Choice) -> tuple[Floats, Floats]:
    """Both v and u (S, C) at time 0."""
    shape = table.pays.shape[:2]
    ends = np.append(choice.starts[1:], game.span)
    others = _crowd_moves(table, choice.tables(len(ends) - 1))
    rows = _acting(choice.tables(len(ends) - 1))
    if game.horizon is None:
        w = np.stack(_for_ever(game, table, rows, others))
        last = len(ends) - 2
    else:
        w, last = np.zeros((2, *shape)), len(ends) - 1
    own, beta = table.own, game.discount
    for k in range(last, -1, -1):
        if k < len(ends) - 1:
            others, rows = _crowd_moves(table, choice.tables(k)), _acting(choice.tables(k))

        def rate(
            t: float, w: Floats, rows: Floats = rows, others: Any = others
        ) -> Floats:  # backward in time
            v, u = w.reshape(2, *shape)
            under = (rows * _cost_of(table, own, v)).sum(axis=-1)
            least = _cost_of(table, own, u).min(axis=-1)
            moved = (others @ w.reshape(2, -1).T).T.ravel()
            change: Floats = np.concatenate([under.ravel(), least.ravel()]) + moved - beta * w
            return change

        solution = scipy().integrate.solve_ivp(
            rate,
            (0, ends[k] - choice.starts[k]),
            w.ravel(),
            method="DOP853",
            rtol=RELATIVE,
            atol=ABSOLUTE,
            t_eval=[ends[k] - choice.starts[k]],
        )
        if not solution.success:
            raise ValueError(f"the differential equation stopped ({solution.message})")
        w = solution.y[:, -1].reshape(2, *shape)
    return w[0], w[1]


def _cost_of(table: _Table, own: Floats, u: Floats) -> Floats:
    """(S, C, A): c_ia + Σ_j Q_iaj u_j(n)."""
    H: Floats = table.pays + np.einsum("icaj,jc->ica", own, u)
    return H


def _crowd_moves(table: _Table, rows: Floats) -> Any:
    """The generator (S C, S C) of the others' moves, sparse."""
    (size, number_of), counts, sparse = table.pays.shape[:2], table.counts, scipy().sparse
    where = np.arange(size * number_of).reshape(size, number_of)
    under = np.einsum("icka,ickal->ickl", rows, table.moves)
    parts = []
    for k in range(size):
        from_k = np.flatnonzero(counts[:, k])
        for to in range(size):
            if to == k:
                continue
            moved = counts[from_k].copy()
            moved[:, k] -= 1
            moved[:, to] += 1
            rate = counts[from_k, k] * under[:, from_k, k, to]
            parts.append((where[:, from_k], where[:, composition_rank(moved)], rate))
    if not parts:
        return sparse.csr_array((where.size, where.size))
    row, column, rate = (np.concatenate([p[n].ravel() for p in parts]) for n in range(3))
    jumps = sparse.csr_array((rate, (row, column)), shape=(where.size, where.size))
    return jumps - sparse.diags_array(np.asarray(jumps.sum(axis=1)).ravel())


def _for_ever(
    game: ContinuousGame, table: _Table, rows: Floats, others: Any
) -> tuple[Floats, Floats]:
    """Both v and u if these choices are kept for ever: linear, and policy iteration."""
    shape, own, sparse = table.pays.shape[:2], table.own, scipy().sparse

    def value(acting: Floats) -> Floats:
        own_moves = _own_moves(np.einsum("ica,icaj->icj", acting, own))
        stay = game.discount * sparse.eye_array(shape[0] * shape[1])
        paid = (acting * table.pays).sum(axis=-1)
        system = sparse.linalg.splu(sparse.csc_array(stay - own_moves - others))
        solved: Floats = system.solve(paid.ravel())
        return solved.reshape(shape)

    v = value(rows)
    acting, u = rows.copy(), v
    for _ in range(IMPROVEMENTS):
        H = _cost_of(table, own, u)
        kept = (acting * H).sum(axis=-1)
        better = H.min(axis=-1) < kept - TIE * np.maximum(1, np.abs(u))
        if not better.any():
            break
        acting[better] = np.eye(H.shape[-1])[H.argmin(axis=-1)][better]
        u = value(acting)
    return v, u


def _own_moves(rates: Floats) -> Any:
    """(S, C, S) → (S C, S C), sparse."""
    size, sparse = len(rates), scipy().sparse
    blocks = [[sparse.diags_array(rates[i, :, j]) for j in range(size)] for i in range(size)]
    return sparse.block_array(blocks, format="csr")


# --- discrete time --------------------------------------------------------------------------------
def _discrete(game: DiscreteGame, table: _Table, choice: _Choice) -> tuple[Floats, Floats]:
    """Both v and u (S, C) at time 0, backward from the horizon or where δ^t = 1e−14."""
    own, delta = table.own, game.discount
    v = u = np.zeros(table.pays.shape[:2])
    before, law, rows = -1, np.empty(0), np.empty(0)
    for t in range(game.span - 1, -1, -1):
        k = int(np.searchsorted(choice.starts, t, side="right")) - 1
        if k != before:
            rows, before = choice.tables(k), k
            law = _crowd_law(table, rows)
        costs = [
            table.pays + delta * np.einsum("icaj,icj->ica", own, np.einsum("icd,jd->icj", law, w))
            for w in (v, u)
        ]
        v, u = (_acting(rows) * costs[0]).sum(axis=-1), costs[1].min(axis=-1)
    return v, u


def _crowd_law(table: _Table, rows: Floats) -> Floats:
    """(S, C, C): the law of the others' next counts, one player after the other."""
    size, number_of = table.pays.shape[:2]
    K = np.einsum("icka,ickal->ickl", rows, table.moves)
    total = int(table.counts[0].sum())
    state = np.array([np.repeat(np.arange(size), n) for n in table.counts])
    law = np.ones((size, number_of, 1))
    for p in range(total):
        step = K[:, np.arange(number_of), state[:, p]]
        small = compositions(p, size)
        after = np.zeros((size, number_of, math.comb(p + size, size - 1)))
        for to in range(size):
            grown = small + np.eye(size, dtype=np.intp)[to]
            after[:, :, composition_rank(grown)] += law * step[:, :, to, None]
        law = after
    return law


# --- counts ---------------------------------------------------------------------------------------
def _refuse_if_too_large(game: Game, n_players: int) -> None:
    """Before the tables are built."""
    size, choices = game.shape

    def entries(n: int) -> float:
        counts = math.comb(n + size - 2, size - 1)
        needed = size * counts * size * choices * size
        return max(needed, 2 * size * counts**2) if isinstance(game, DiscreteGame) else needed

    if entries(n_players) <= ENTRIES:
        return
    low, high = 1, n_players
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if entries(middle) <= ENTRIES else (low, middle)
    raise ValueError(
        f"n_players is {n_players}: their transitions in {size} states fill a table of "
        f"{entries(n_players):.2g} numbers, more than {ENTRIES:.0e}; {low} players would fit"
    )
