"""What happens when all follow a policy, and what one player could do better.

When all use π, the crowd m flows forward; the costs v of π and u of a best response are found
backward along it::

    m' = Σ_ia m_i π(i, a) Q_ia(m),   m(0) = m⁰
    −v' = −β v + Σ_a π(i, a) { c_ia(m) + Σ_j Q_iaj(m) v_j }
    −u' = −β u + min_a { c_ia(m) + Σ_j Q_iaj(m) u_j }

One player does not move the crowd, so m is the same for u and v.  What she could save by leaving
the crowd is the **exploitability** m⁰·(v(0) − u(0)) of π: ≥ 0, and 0 if and only if π is a mean
field equilibrium.

In continuous time all three are computed to about eleven digits: Dormand-Prince 8(5,3), restarted
wherever the policy jumps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, reals
from ...common import scipy, whole
from .game import ContinuousGame, DiscreteGame, Game, Policy

RELATIVE, ABSOLUTE = 1e-11, 1e-13  # of the differential equations
TIE = 1e-12  # relative: actions whose costs are this close are equally good
MANY = 1000  # improvements of a stationary policy; a handful is usual
SCAN = 8  # points in a step of the solver at which the best action is looked up


class Response(NamedTuple):
    """The best that one player can do in the crowd.

    Attributes:
        policy: a best response, pure.
        cost: what it costs her, m⁰·u(0).
        crowd_cost: what the policy of the crowd costs her, m⁰·v(0).
    """

    policy: Policy
    cost: float
    crowd_cost: float


class Values(NamedTuple):
    """At some times (K,): the crowd, and what the rest of the game costs from each state.

    Attributes:
        mass: (K, S) m.
        cost: (K, S) v, of the policy.
        best: (K, S) u, of the best response to m.
        advantage: (K, S, A) what a costs more than the best action, with best play after it.
    """

    mass: Floats
    cost: Floats
    best: Floats
    advantage: Floats


def mass_flow(game: Game, policy: Policy, times: ArrayLike) -> Floats:
    """(K, S) the fractions of players in the states at these times, when all use the policy.

    Args:
        times: (K,) ≥ 0; whole numbers for a `DiscreteGame`.

    Example:
        >>> from alphafair.models.meanfield.games import ContinuousGame
        >>> flee = ContinuousGame(
        ...     "AB", ["stay", "go"], lambda m: [[[0, 0], [0, 1]], [[0, 0], [0, 0]]],
        ...     lambda m: [[m[0], m[0]], [0, 0]], [1, 0], horizon=1)
        >>> from alphafair.models.meanfield.games import Policy
        >>> mass_flow(flee, Policy(0, [[0, 1], [1, 0]]), [0, 1]).round(6).tolist()
        [[1.0, 0.0], [0.367879, 0.632121]]
    """
    return values(game, policy, times).mass


def values(game: Game, policy: Policy, times: ArrayLike) -> Values:
    """`Values` at these times, when all use the policy.

    Args:
        times: (K,) in [0, T]; whole numbers for a `DiscreteGame`.

    Raises:
        ValueError: a policy of another game, times outside the horizon or not whole.
    """
    at = reals("times", times).reshape(-1)
    play = solve(game, policy)
    lawful = isinstance(game, ContinuousGame) or (at % 1 == 0).all()
    if not (lawful and at.min(initial=0) >= 0 and at.max(initial=0) <= game.span):
        raise ValueError(
            f"times are from {at.min():g} to {at.max():g}: must be in [0, {game.span:g}]"
            + ("" if isinstance(game, ContinuousGame) else ", whole numbers")
        )
    m, v, u, after = play.crowd(at), play.cost(at), play.best(at), play.after(at)
    H = hamiltonian(game, m, after)
    return Values(m, v, u, H - H.min(axis=-1, keepdims=True))


def social_cost(game: Game, policy: Policy) -> float:
    """m⁰·v(0): what each player pays on average when all use the policy."""
    if isinstance(game, ContinuousGame):
        return _spent(game, game.policy_of(policy).merged())
    return float(game.initial @ solve(game, policy).cost(np.zeros(1))[0])


def exploitability(game: Game, policy: Policy, *, steps: int | None = None) -> float:
    """m⁰·(v(0) − u(0)): what a player can save by leaving the policy that all others keep.

    Args:
        game: in discrete or continuous time.
        policy: what all others use.
        steps: a game in continuous time is judged on a grid of so many steps, by the implicit
            midpoint rule, for the crowd and for her; None for differential equations.  Plain loops,
            apart from the solver: `equilibrium` is to be checked by them.

    Example:
        >>> from alphafair.models.meanfield.games import Policy, prisoners_dilemma
        >>> stay = Policy(0, [[1, 0], [1, 0]])
        >>> round(exploitability(prisoners_dilemma(0.5), stay), 6)  # 1/β − 1/(1 + β)
        1.333333
    """
    if steps is not None:
        if not isinstance(game, ContinuousGame):
            raise TypeError(f"steps is {steps}: only a ContinuousGame is judged on a grid")
        return _on_grid(game, game.policy_of(policy), whole("steps", steps, 1))
    play, start = solve(game, policy), np.zeros(1)
    return float(game.initial @ (play.cost(start) - play.best(start))[0])


def _on_grid(game: ContinuousGame, policy: Policy, steps: int) -> float:
    """Exploitability by the implicit midpoint rule.

    With m̂ = (m + m⁺)/2 and û = (e^(βh/2) u + e^(−βh/2) u⁺)/2::

        m⁺ = m + h m̂·Q^π(m̂),      e^(βh/2) u − e^(−βh/2) u⁺ = h min_a { c_a(m̂) + Q_a(m̂) û }
    """
    h, size = game.span / steps, game.shape[0]
    grow, eye = np.exp(game.discount * h / 2), np.eye(size)
    rows, m, middle = policy.at(h * (np.arange(steps) + 0.5)), game.initial, []
    for row in rows:  # m̂ = m + h/2 m̂·Q, by repetition
        mid, last = m, m + 1
        for _ in range(MANY):
            if np.abs(mid - last).max() <= TIE:
                break
            under = np.einsum("ia,iaj->ij", row, game.moves(np.maximum(mid, 0)))
            mid, last = np.linalg.solve((eye - h / 2 * under).T, m), mid
        middle.append(mid)
        m = 2 * mid - m
    u = v = np.zeros(size)
    for row, mid in zip(rows[::-1], middle[::-1], strict=True):
        Q, c = game.moves(np.maximum(mid, 0)), game.pays(np.maximum(mid, 0))

        def back(
            choice: Floats, after: Floats, Q: Floats = Q, c: Floats = c
        ) -> Floats:  # with this choice for a step
            K, paid = np.einsum("ia,iaj->ij", choice, Q), (choice * c).sum(axis=1)
            right = h * paid + (after + h / 2 * K @ after) / grow
            value: Floats = np.linalg.solve(grow * (eye - h / 2 * K), right)
            return value

        v, after = back(row, v), u
        choice = row
        for _ in range(MANY):  # improve the choice until nothing is better
            u = back(choice, after)
            H = c + Q @ (grow * u + after / grow) / 2
            better = np.eye(c.shape[1])[H.argmin(axis=1)]
            gain = (choice * H).sum(axis=1) - H.min(axis=1)
            if gain.max() <= TIE * np.abs(H).max(initial=1):
                break
            choice = np.where(gain[:, None] > 0, better, choice)
    return float(game.initial @ (v - u))


def best_response(game: Game, policy: Policy) -> Response:
    """The best that one player can do when all others use the policy.

    In continuous time the moments at which she changes her action are found to about 1e−12 of the
    horizon.  Where actions are equally good she takes the first.

    Example:
        >>> from alphafair.models.meanfield.games import Policy, prisoners_dilemma
        >>> stay = Policy(0, [[1, 0], [1, 0]])
        >>> best_response(prisoners_dilemma(0.5), stay).policy.probabilities.tolist()
        [[[0.0, 1.0], [1.0, 0.0]]]
    """
    play, start = solve(game, policy), np.zeros(1)
    best, cost = (float(game.initial @ f(start)[0]) for f in (play.best, play.cost))
    if isinstance(game, DiscreteGame):
        steps = np.arange(float(game.span))
        H = hamiltonian(game, play.crowd(steps), play.after(steps))
        starts, actions = steps, H.argmin(axis=-1)
    else:
        assert isinstance(game, ContinuousGame)
        starts, actions = _switches(game, play)
    return Response(Policy(starts, np.eye(game.shape[1])[actions]).merged(), best, cost)


def hamiltonian(game: Game, m: Floats, u: Floats) -> Floats:
    """(…, S, A): c_ia(m) + Σ_j Q_iaj(m) u_j; in discrete time with δ u of the next step."""
    discounted = u if isinstance(game, ContinuousGame) else game.discount * u
    H: Floats = game.pays(m) + (game.moves(m) @ discounted[..., None, :, None])[..., 0]
    return H


class Play(NamedTuple):
    """The crowd and the values as functions of times (K,) with values (K, S).

    Attributes:
        crowd: m.
        cost: v.
        best: u.
        after: the u that enters the decision: in discrete time that of the next step.
        nodes: times between which they are smooth.
    """

    crowd: Callable[[Floats], Floats]
    cost: Callable[[Floats], Floats]
    best: Callable[[Floats], Floats]
    after: Callable[[Floats], Floats]
    nodes: Floats


def solve(game: Game, policy: Policy) -> Play:
    """The mass flow forward, then both costs backward."""
    policy = game.policy_of(policy)
    if isinstance(game, ContinuousGame):
        return _solve_continuous(game, policy.merged())
    if isinstance(game, DiscreteGame):
        return _solve_discrete(game, policy)
    raise TypeError(f"game must be a ContinuousGame or a DiscreteGame, not {type(game).__name__}")


def tail(game: Game, m: Floats, row: Floats | None) -> Floats:
    """(S,) costs from the end of the computation on: 0 at a horizon, else with m as it is there.

    Args:
        m: (S,) the crowd at the end.
        row: (S, A) what is done for ever; None for the best.
    """
    if game.horizon is not None:
        return np.zeros(m.size)
    c, Q = game.pays(m), game.moves(m)
    stay = game.discount * np.eye(m.size)
    if isinstance(game, DiscreteGame):
        stay, Q = np.eye(m.size), game.discount * Q
    choice = np.eye(c.shape[1])[c.argmin(axis=1)] if row is None else row
    for _ in range(MANY):
        under = np.einsum("ia,iaj->ij", choice, Q)
        value: Floats = np.linalg.solve(stay - under, (choice * c).sum(axis=1))
        H = c + Q @ value
        kept = (choice * H).sum(axis=1)
        better = H.min(axis=1) < kept - TIE * np.abs(kept)
        if row is not None or not better.any():
            break
        choice[better] = np.eye(c.shape[1])[H.argmin(axis=1)][better]
    return value


# --- discrete time --------------------------------------------------------------------------------
def forward(game: DiscreteGame, probabilities: Floats) -> Floats:
    """(T + 1, S) the mass flow of a policy (T, S, A)."""
    mass = np.empty((len(probabilities) + 1, game.shape[0]))
    mass[0] = game.initial
    for t, row in enumerate(probabilities):
        after = np.einsum("i,ia,iaj->j", mass[t], row, game.moves(mass[t]))
        mass[t + 1] = after / after.sum()  # rounding would grow if P took Σ m = 1 for granted
    return mass


def backward(
    P: Floats, c: Floats, discount: float, probabilities: Floats | None, end: Floats
) -> tuple[Floats, Floats]:
    """(T + 1, S) costs of a policy, or the least ones for None, and (T, S, A) of each action.

    Args:
        P: (T, S, A, S).
        c: (T, S, A).
        probabilities: (T, S, A), the policy.
        end: (S,) the costs at T.
    """
    value, H = np.empty((len(c) + 1, c.shape[1])), np.empty_like(c)
    value[-1] = end
    for t in range(len(c) - 1, -1, -1):
        H[t] = c[t] + discount * (P[t] @ value[t + 1])
        value[t] = (
            H[t].min(axis=-1) if probabilities is None else (probabilities[t] * H[t]).sum(axis=-1)
        )
    return value, H


def _solve_discrete(game: DiscreteGame, policy: Policy) -> Play:
    steps = np.arange(game.span)
    rows = policy.at(steps)
    mass = forward(game, rows)
    P, c = game.moves(mass[:-1]), game.pays(mass[:-1])
    ends = [tail(game, mass[-1], choice) for choice in (rows[-1], None)]
    v, u = (
        backward(P, c, game.discount, choice, end)[0]
        for choice, end in zip((rows, None), ends, strict=True)
    )

    def read(table: Floats, shift: int = 0) -> Callable[[Floats], Floats]:
        return lambda times: table[np.minimum(times.astype(np.intp) + shift, game.span)]

    return Play(read(mass), read(v), read(u), read(u, 1), np.arange(game.span + 1.0))


# --- continuous time ------------------------------------------------------------------------------
class Pieces(NamedTuple):
    """A function of time, from the solutions between the jumps of the policy."""

    bounds: Floats
    solutions: list[Any]
    nodes: Floats

    def __call__(self, times: Floats) -> Floats:
        """(K,) → (K, n)."""
        part = np.clip(
            np.searchsorted(self.bounds, times, side="right") - 1, 0, len(self.solutions) - 1
        )
        result = np.empty((len(times), self.solutions[0](self.bounds[0]).size))
        for k in np.unique(part):
            result[part == k] = self.solutions[k](times[part == k]).T
        return result


def _bounds(game: ContinuousGame, policy: Policy) -> Floats:
    """The horizon cut where the policy jumps."""
    starts: Floats = policy.starts[policy.starts < game.span]
    return np.append(starts, game.span)


def flow(game: ContinuousGame, policy: Policy) -> Pieces:
    """The mass flow as a function of time."""
    bounds, m = _bounds(game, policy), game.initial
    parts: list[Any] = []
    for k, row in enumerate(policy.probabilities[: len(bounds) - 1]):

        def rate(t: float, m: Floats, row: Floats = row) -> Floats:
            m = np.maximum(m, 0)  # a step that is too long, before it is refused
            change: Floats = (m[:, None] * row).ravel() @ game.moves(m).reshape(-1, m.size)
            return change

        part = integrate(rate, bounds[k], bounds[k + 1], m, dense=True, first=_last(parts[-1:]))
        parts.append(part)
        m = part.y[:, -1]
    return Pieces(
        bounds, [p.sol for p in parts], np.concatenate([bounds[:1]] + [p.t[1:] for p in parts])
    )


def _spent(game: ContinuousGame, policy: Policy) -> float:
    """∫ e^(−βt) Σ m_i π(i, a) c_ia(m) dt: the cost without the values, forward alone."""
    bounds, beta = _bounds(game, policy), game.discount
    w = np.append(game.initial, 0.0)
    for k, row in enumerate(policy.probabilities[: len(bounds) - 1]):

        def rate(t: float, w: Floats, row: Floats = row) -> Floats:
            m = np.maximum(w[:-1], 0)
            joint = m[:, None] * row
            change = joint.ravel() @ game.moves(m).reshape(-1, m.size)
            return np.append(change, np.exp(-beta * t) * (joint * game.pays(m)).sum())

        w = integrate(rate, bounds[k], bounds[k + 1], w).y[:, -1]
    end = tail(game, np.maximum(w[:-1], 0), policy.probabilities[len(bounds) - 2])
    return float(w[-1] + np.exp(-beta * game.span) * (w[:-1] @ end))


def _solve_continuous(game: ContinuousGame, policy: Policy) -> Play:
    crowd = flow(game, policy)
    bounds, size, beta = crowd.bounds, game.shape[0], game.discount
    last = crowd(bounds[-1:])[0]
    ends = [tail(game, last, choice) for choice in (policy.probabilities[len(bounds) - 2], None)]
    w: Floats = np.concatenate(ends)
    parts: list[Any] = []
    for k in range(len(bounds) - 2, -1, -1):
        row, mass = policy.probabilities[k], crowd.solutions[k]

        def rate(t: float, w: Floats, row: Floats = row, mass: Any = mass) -> Floats:
            m = np.maximum(mass(t), 0)
            Q, c = game.moves(m), game.pays(m)
            under = (row * (c + Q @ w[:size])).sum(axis=1)
            least = (c + Q @ w[size:]).min(axis=1)
            change: Floats = beta * w - np.concatenate([under, least])
            return change

        part = integrate(rate, bounds[k + 1], bounds[k], w, dense=True, first=_last(parts[:1]))
        parts.insert(0, part)
        w = part.y[:, -1]
    nodes = np.unique(np.concatenate([p.t for p in parts]))
    both = Pieces(bounds, [p.sol for p in parts], nodes)

    def best(t: Floats) -> Floats:
        return both(t)[:, size:]

    def m(t: Floats) -> Floats:
        return np.maximum(crowd(t), 0)

    return Play(m, lambda t: both(t)[:, :size], best, best, nodes)


def _last(parts: list[Any]) -> float | None:
    """The longest step of the piece before: with many short pieces, one step is enough for each."""
    return max((float(np.abs(np.diff(part.t)).max()) for part in parts), default=None)


def integrate(
    rate: Callable[..., Any],
    start: float,
    end: float,
    value: Floats,
    *,
    dense: bool = False,
    first: float | None = None,
) -> Any:
    """The solution of an initial value problem, or an error; ``first`` is a guess of a step."""
    result = scipy("a game in continuous time").integrate.solve_ivp(
        rate,
        (start, end),
        value,
        method="DOP853",
        rtol=RELATIVE,
        atol=ABSOLUTE,
        dense_output=dense,
        first_step=None if first is None else min(first, abs(end - start)),
        t_eval=None if dense else [end],
    )
    if not result.success or not np.isfinite(result.y).all():
        raise ValueError(
            f"the differential equation stopped at t = {result.t[-1] if result.t.size else start:g}"
            f" of {end:g} ({result.message}): are the rates finite and smooth along the way?"
        )
    return result


def _switches(game: ContinuousGame, play: Play) -> tuple[Floats, Integers]:
    """When the best actions change, and what they are from then on."""
    parts, brentq = np.linspace(0, 1, SCAN, endpoint=False), scipy().optimize.brentq
    times = (play.nodes[:-1, None] + np.diff(play.nodes)[:, None] * parts).ravel()
    times = np.append(times, game.span)

    def excess(t: float, i: int, a: int, b: int) -> float:
        """What a costs more than b in state i."""
        at = np.array([t])
        H = hamiltonian(game, play.crowd(at), play.best(at))[0, i]
        return float(H[a] - H[b])

    actions = hamiltonian(game, play.crowd(times), play.best(times)).argmin(axis=-1)
    starts, rows = [0.0], [actions[0]]
    for k in np.flatnonzero((np.diff(actions, axis=0) != 0).any(axis=1)):
        events = []
        for i in np.flatnonzero(actions[k] != actions[k + 1]):
            pair = int(i), int(actions[k, i]), int(actions[k + 1, i])
            ends = [excess(times[j], *pair) for j in (k, k + 1)]
            crosses = ends[0] < 0 < ends[1]
            when = brentq(excess, times[k], times[k + 1], pair, xtol=1e-14) if crosses else times[k]
            events.append((when, pair))
        for when, (state, _, b) in sorted(events):
            row = rows[-1].copy()
            row[state] = b
            if when > starts[-1]:
                starts.append(float(when))
                rows.append(row)
            else:
                rows[-1] = row
    inside = np.array(starts) < game.span
    return np.array(starts)[inside], np.array(rows)[inside]
