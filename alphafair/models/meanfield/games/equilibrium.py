"""Mean field equilibria: policies that are best responses to the crowd that follows them.

Three ways there.  `repeated_best_response` answers the crowd until nothing changes.
`fictitious_play` answers the average of all answers so far, and gets there if the game is monotone
(who does as the crowd does pays for it).  `equilibrium` follows the players from confusion to
reason (`homotopy`): fast and to all digits, for certain if the game is monotone and transitions do
not depend on m, and else with several beginnings.  `equilibria` lists all that it comes across.

A game in continuous time is first solved in steps, by the implicit midpoint rule (`grid`).  If
players use one action at a time, that says who changes from which action to which, and about when;
the moments are then found by Newton's method on the exact flow: each is where the two actions are
equally good.  Where players mix for a while the policy of the grid is kept, with an error of the
order h².
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, number
from ...common import scipy, watched, whole
from .game import TINY, ContinuousGame, DiscreteGame, Game, Policy
from .grid import Grid, grid, middle, regret, worth
from .grid import forward as crowd_of
from .homotopy import COLDEST, Path, homotopy, onward, ways
from .response import (
    backward,
    best_response,
    exploitability,
    forward,
    hamiltonian,
    social_cost,
    solve,
    tail,
)

STEPS = 500  # of a game in continuous time
ATTEMPTS = 20  # paths
PURE = 1e-6  # an action that is taken less than this is not taken
DIFFERENT = 1e-6  # fractions in which two equilibria must differ
CERTAIN = 1e-8  # exploitability on the grid, in the game's units, of an equilibrium
ONWARD = 4  # paths that are followed from each equilibrium
LEAVE, CALM, ROUNDS = 0.05, 100, 100  # of `equilibria`: who leaves, one in how many answers, rounds
COARSE = 100  # Euler steps for stability
SAME = 1e-12  # probabilities that differ by less are equal
WITHOUT_END = 30 / 32  # of the steps of an endless game: e^−30 = 1e−13 of the weight


class Equilibrium(NamedTuple):
    """A policy, and how far it is from an equilibrium.

    Attributes:
        policy: π.
        cost: what each player pays when all use it, m⁰·v(0).
        exploitability: what one of them could save.
        history: exploitability after each round or (homotopy) along the path, of the game that was
            solved: in continuous time that on the grid.
        stable: does the crowd come back if a few leave it, and then a few at a time answer best?
            None if that was not asked (`equilibria` does).
    """

    policy: Policy
    cost: float
    exploitability: float
    history: Floats
    stable: bool | None = None


# --- answers --------------------------------------------------------------------------------------
def repeated_best_response(
    game: Game, *, start: Policy | None = None, rounds: int = 100, tolerance: float = 1e-8
) -> Equilibrium:
    """Best responses to best responses, until one is exploitable by no more than the tolerance.

    Args:
        game: in discrete or continuous time.
        start: the first policy; default uniform.
        rounds: how many at most.
        tolerance: of the exploitability.

    Returns:
        `Equilibrium`.

    Raises:
        ValueError: not there after so many rounds; answers that jump back and forth never are.

    Example:
        >>> from alphafair.models.meanfield.games import prisoners_dilemma
        >>> round(repeated_best_response(prisoners_dilemma(0.5)).cost, 6)
        3.333333
    """
    policy, history = uniform(game) if start is None else game.policy_of(start), []
    for _ in watched(range(whole("rounds", rounds, 1)), "best responses"):
        answer = best_response(game, policy)
        history.append(answer.crowd_cost - answer.cost)
        if history[-1] <= tolerance:
            return Equilibrium(policy, answer.crowd_cost, history[-1], np.array(history))
        policy = answer.policy
    raise ValueError(
        f"rounds is {rounds} and the best responses are still exploitable by {min(history):.3g} or "
        f"more; try equilibrium(game), or more rounds"
    )


def fictitious_play(game: Game, *, rounds: int = 100, steps: int = STEPS) -> Equilibrium:
    """Best responses to the average of all best responses so far.

    The average is over players, as if a k-th of the crowd used each of k policies: π_t(i, ·) is the
    mean of theirs, weighted by how many of each are in i.

    Args:
        game: in discrete or continuous time.
        rounds: how many.
        steps: in continuous time, the Euler steps that are taken.

    Returns:
        `Equilibrium`: the last average, whatever its exploitability is.

    Example:
        >>> from alphafair.models.meanfield.games import susceptible_infected
        >>> bool(fictitious_play(susceptible_infected(), rounds=50).exploitability > 0.1)
        True
    """
    inner = game if isinstance(game, DiscreteGame) else euler(game, steps)
    h = 1.0 if inner is game else game.span / steps
    T, history = inner.span, []
    rows = uniform(inner).at(np.arange(T))
    weight = forward(inner, rows)[:-1]
    for k in watched(range(1, whole("rounds", rounds, 1) + 1), "fictitious play"):
        crowd = forward(inner, rows)
        P, c = inner.moves(crowd[:-1]), inner.pays(crowd[:-1])
        ends = [tail(inner, crowd[-1], row) for row in (rows[-1], None)]
        v, _ = backward(P, c, inner.discount, rows, ends[0])
        u, H = backward(P, c, inner.discount, None, ends[1])
        history.append(float(inner.initial @ (v[0] - u[0])))
        answer = np.eye(inner.shape[1])[H.argmin(axis=-1)]
        mass = forward(inner, answer)[:-1]
        rows, weight = _mixed((k, rows, weight), (1, answer, mass))
    return _result(game, Policy(h * np.arange(T), rows), history)


def _mixed(
    old: tuple[float, Floats, Floats], new: tuple[float, Floats, Floats]
) -> tuple[Floats, Floats]:
    """A policy and its crowd where so many use one and so many another: (how many, rows, crowd)."""
    (before, rows, weight), (more, answer, mass) = old, new
    joined, total = more * mass, before * weight + more * mass
    share = np.divide(joined, total, out=np.zeros_like(total), where=total > 0)
    return rows + share[..., None] * (answer - rows), total / (before + more)


# --- homotopy -------------------------------------------------------------------------------------
class NoEquilibriumError(ValueError):
    """The search ended without an equilibrium.

    Attributes:
        best: the least exploitable policy that was met; no equilibrium, as its exploitability says.
    """

    def __init__(self, message: str, best: Equilibrium) -> None:
        super().__init__(message)
        self.best = best


def equilibrium(
    game: Game,
    *,
    steps: int = STEPS,
    coldest: float = COLDEST,
    attempts: int = ATTEMPTS,
    seed: int = 0,
    on_grid: bool = False,
) -> Equilibrium:
    """An equilibrium by homotopy, and in continuous time exact moments of change.

    Args:
        game: in discrete or continuous time.
        steps: of a game in continuous time; more are taken if rates are so large that players would
            move more than once in a step.
        coldest: the last η, in units of the largest difference between two actions.
        attempts: paths of `homotopy` that are tried.  The first is enough if the game is monotone.
        seed: of those that are drawn at random, from the sixth on.
        on_grid: of a game in continuous time, the equilibrium of the game in steps, with its cost
            and its ``exploitability(game, policy, steps=steps)``.

    Returns:
        `Equilibrium`.  In discrete time, and on the grid, its exploitability is about T times
        ``coldest`` or less.  In continuous time it is at the accuracy of the differential equations
        (1e−10) if players use one action at a time, and of the order h² of a step where they mix
        for a while.

    Raises:
        NoEquilibriumError: no path arrived (games that are not monotone); it holds the best policy.

    Example:
        >>> from alphafair.models.meanfield.games import susceptible_infected
        >>> found = equilibrium(susceptible_infected())
        >>> found.exploitability < 1e-8, round(found.cost, 3)
        (True, 8.779)
    """
    cells, best = _grid(game, steps), None
    for w, idle in ways(cells, whole("attempts", attempts, 1), seed):
        path = homotopy(cells, w, idle, coldest)
        if path.arrived:
            return _of_path(game, cells, path, on_grid)
        if best is None or path.history[-1] < best.history[-1]:
            best = path
    assert best is not None
    result = _of_path(game, cells, best, on_grid)
    raise NoEquilibriumError(
        f"no path of {attempts} arrived; the best policy is exploitable by "
        f"{result.exploitability:.3g}, and is the attribute best of this error.  Try "
        f"equilibrium(game, attempts={10 * attempts}), whose paths begin elsewhere; are costs and "
        f"transitions smooth in m?",
        result,
    )


def equilibria(
    game: Game,
    *,
    attempts: int = ATTEMPTS,
    steps: int = STEPS,
    coldest: float = COLDEST,
    seed: int = 0,
) -> list[Equilibrium]:
    """All equilibria that are found by several ways, the cheapest first.

    From each attempt's beginning a path leads to an equilibrium.  From that one other paths lead
    up and down again, to others.  In discrete time best responses are tried, too: if they come to
    rest, they are an equilibrium.  There may be more that are not found.

    Args:
        game: in discrete or continuous time.
        attempts: beginnings of paths, as in `equilibrium`.
        steps: of a game in continuous time.
        coldest: the last η.
        seed: of beginnings that are drawn at random.

    Returns:
        `Equilibrium` s, each with its exploitability as certificate, and ``stable``: 5 % of the
        crowd leave for the actions that are taken least, then one in a hundred at a time changes to
        a best response, less and less; is the crowd nearer to the equilibrium after it?

    Raises:
        NoEquilibriumError: none was found.

    Example:
        >>> from alphafair.models.meanfield.games import DiscreteGame
        >>> sides = DiscreteGame(  # left or right of the road, once; other cars are in the way
        ...     "?LR", "LR", lambda m: [[[0, 1, 0], [0, 0, 1]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2],
        ...     lambda m: [[0, 0], [m[2]] * 2, [m[1]] * 2], [1, 0, 0], horizon=2)
        >>> for each in equilibria(sides, attempts=4):
        ...     print(each.policy.at(0)[0].round(6), round(each.cost, 6), each.stable)
        [1. 0.] 0.0 True
        [0. 1.] 0.0 True
        [0.5 0.5] 0.5 False
    """
    cells = _grid(game, steps)
    found: list[tuple[Path, Floats]] = []
    trials = [w for w, _ in ways(cells, whole("attempts", attempts, 1), seed)]
    for w in trials:
        _keep(cells, found, homotopy(cells, w, coldest=coldest))
    for path, _ in list(found):
        for w in trials[:ONWARD]:
            assert path.point is not None
            _keep(cells, found, onward(cells, path.point, w, coldest=coldest))
    results = [_of_path(game, cells, path) for path, _ in found]
    if isinstance(game, DiscreteGame):
        results += _by_luck(game, cells, found, attempts, seed)
    if not results:
        return [equilibrium(game, steps=steps, coldest=coldest, attempts=attempts, seed=seed)]
    checked = [each._replace(stable=_stable(game, each.policy)) for each in results]
    return sorted(checked, key=lambda each: (round(each.cost, 9), -each.policy.at(0).ravel()[0]))


def _keep(cells: Grid, found: list[tuple[Path, Floats]], path: Path) -> bool:
    """Append a path if it led to an equilibrium with another crowd than those before."""
    m = crowd_of(cells, path.rows)
    mass = middle(cells, m)  # without the end, at which nothing is paid any more
    new = all(np.abs(mass - other).max() > DIFFERENT for _, other in found)
    good = path.arrived and regret(cells, path.rows, m) < CERTAIN
    if good and new:
        found.append((path, mass))
    return good and new


def _by_luck(
    game: DiscreteGame, cells: Grid, found: list[tuple[Path, Floats]], attempts: int, seed: int
) -> list[Equilibrium]:
    """Those at which best responses come to rest."""
    rng, lucky = np.random.default_rng(seed), []
    for _ in range(attempts):
        rows = np.eye(game.shape[1])[rng.integers(game.shape[1], size=(game.span, game.shape[0]))]
        try:
            start = Policy(np.arange(game.span), rows)
            each = repeated_best_response(game, start=start, rounds=ROUNDS)
        except ValueError:
            continue
        path = Path(each.policy.at(np.arange(game.span)), each.history, True, None)
        if _keep(cells, found, path):
            lucky.append(each)
    return lucky


def _stable(game: Game, policy: Policy) -> bool:
    """Does the crowd come back?  In continuous time in Euler steps, as few as the rates allow."""
    inner, h = game, 1.0
    if isinstance(game, ContinuousGame):
        steps = max(COARSE, int(np.ceil(game.span * max(_fastest(game), game.discount))))
        inner, h = euler(game, steps), game.span / steps
    assert isinstance(inner, DiscreteGame)
    T = inner.span
    kept, choices = policy.at(h * (np.arange(T) + (h < 1) / 2)), np.eye(inner.shape[1])
    rows = choices[kept.argmin(axis=-1)]
    home, away = forward(inner, kept)[:-1], forward(inner, rows)[:-1]
    rows, weight = _mixed((1 - LEAVE, kept, home), (LEAVE, rows, away))
    fade = inner.discount ** np.arange(T)[:, None]
    begin = float((fade * np.abs(weight - home)).sum())
    for k in range(CALM, CALM + ROUNDS):
        crowd = forward(inner, rows)
        _, H = backward(
            inner.moves(crowd[:-1]),
            inner.pays(crowd[:-1]),
            inner.discount,
            None,
            tail(inner, crowd[-1], None),
        )
        answer = choices[H.argmin(axis=-1)]
        mass = forward(inner, answer)[:-1]
        rows, weight = _mixed((k, rows, weight), (1, answer, mass))
    return float((fade * np.abs(weight - home)).sum()) <= begin


def _grid(game: Game, steps: int) -> Grid:
    """The game in steps, at least so many that no rate is more than one per step."""
    if isinstance(game, DiscreteGame):
        return grid(game)
    if not isinstance(game, ContinuousGame):
        raise TypeError(f"game must be a ContinuousGame, not {type(game).__name__}")
    fastest = int(np.ceil(game.span * max(_fastest(game), game.discount)))
    return grid(game, max(whole("steps", steps, 1), fastest))


def _of_path(game: Game, cells: Grid, path: Path, on_grid: bool = False) -> Equilibrium:
    """The policy of a path, for the game itself or as it is on the grid."""
    if on_grid and isinstance(game, ContinuousGame):
        policy = Policy(cells.times[:-1], path.rows).merged()
        value = worth(cells, path.rows, crowd_of(cells, path.rows))[0]
        gap = exploitability(game, policy, steps=len(cells.h))
        return Equilibrium(policy, float(game.initial @ value) * cells.unit, gap, path.history)
    kept = len(cells.h)
    if game.horizon is None:  # what comes last only leads to an end that is none
        kept = int(np.ceil(kept * WITHOUT_END))
    rows = path.rows[:kept]
    if isinstance(game, DiscreteGame):
        new = _news(rows)
        return _result(game, Policy(np.arange(kept)[new], rows[new]), path.history)
    assert isinstance(game, ContinuousGame)
    h = game.span / len(cells.h)
    pieces = _pieces(rows, h)
    if any(piece.row.max() < 1 - PURE and piece.start > 0 for piece in pieces):
        return _result(game, _staggered(cells, rows), path.history)
    return min(
        (_result(game, p, path.history) for p in (_sharpened(game, pieces), _policy(pieces))),
        key=lambda found: found.exploitability,
    )


def _news(rows: Floats) -> list[int]:
    """The steps whose rows differ from those in force by more than rounding."""
    new = [0]
    for k, row in enumerate(rows):
        if np.abs(row - rows[new[-1]]).max() > SAME:
            new.append(k)
    return new


def _staggered(cells: Grid, rows: Floats) -> Policy:
    """A policy from the middle of each step to the middle of the next: the mean of both.

    What is exact on the grid is the crowd in the middle of each step.  At the ends it may swing to
    and fro, if players are kept indifferent; the mean over two steps does not, and leads from one
    middle to the next.
    """
    mid = middle(cells, crowd_of(cells, rows))[..., None]
    joint = mid * rows
    both = mid[:-1] + mid[1:]
    mean = (rows[:-1] + rows[1:]) / 2
    mean = np.divide(joint[:-1] + joint[1:], both, out=mean, where=both > TINY)
    starts = np.append(0.0, (cells.times[:-1] + cells.h / 2)[: len(rows) - 1])
    table = np.maximum(np.concatenate([rows[:1], mean]), 0)
    return Policy(starts, table / table.sum(axis=-1, keepdims=True))


def _fastest(game: ContinuousGame) -> float:
    """The largest rate out of a state, as far as the corners tell."""
    size = game.shape[0]
    crowds = np.concatenate([game.initial[None], np.eye(size)])
    return -float(game.moves(crowds)[:, np.arange(size), :, np.arange(size)].min())


def euler(game: Game, steps: int) -> DiscreteGame:
    """The game in steps of length h: P = 1 + h Q, cost h c, δ = 1 − h β.

    Raises:
        ValueError: a rate so large that 1 + h Q is negative; take more steps.
    """
    if not isinstance(game, ContinuousGame):
        raise TypeError(f"game must be a ContinuousGame, not {type(game).__name__}")
    h, fastest = game.span / whole("steps", steps, 1), _fastest(game)
    stay = np.eye(game.shape[0])[:, None, :]
    if h * max(fastest, game.discount) > 1:
        raise ValueError(f"steps is {steps}: rates to {fastest:.3g} need {h * steps * fastest:.0f}")

    def moves(m: Floats) -> Floats:
        P: Floats = stay + h * game.moves(np.moveaxis(m, 0, -1))
        return np.moveaxis(P, (-3, -2, -1), (0, 1, 2))

    def pays(m: Floats) -> Floats:
        return np.moveaxis(h * game.pays(np.moveaxis(m, 0, -1)), (-2, -1), (0, 1))

    return DiscreteGame(
        game.states,
        game.actions,
        moves,
        pays,
        game.initial,
        None if game.horizon is None else steps,
        1 - h * game.discount,
    )


# --- from steps to moments ------------------------------------------------------------------------
class _Piece(NamedTuple):
    """In a state, from a time on, these probabilities.

    ``change`` is (a, b) if a is left for b here, at a time that can be found better than h.
    """

    start: float
    state: int
    row: Floats
    change: tuple[int, int] | None


def _pieces(rows: Floats, h: float) -> list[_Piece]:
    """A policy in steps of length h, where a mixed step between two pure ones is a change in it."""
    steps, size, choices = rows.shape
    rows = np.where(rows < PURE, 0, rows)
    taken, pure, found = rows.argmax(axis=-1), rows.max(axis=-1) > 1 - 2 * choices * PURE, []
    for i in range(size):
        row, k = np.full(choices, -1.0), 0
        while k < steps:
            mixed = 0 < k < steps - 1 and not pure[k, i] and pure[k - 1, i] and pure[k + 1, i]
            after = k + bool(mixed)
            if np.abs(rows[after, i] - row).max() > PURE:
                a, b = int(row.argmax()), int(taken[after, i])
                exact = k > 0 and pure[k - 1, i] and pure[after, i]
                start = h * (k + rows[k, i, a] * (after - k))
                row = np.eye(choices)[b] if pure[after, i] else rows[after, i]
                found.append(_Piece(start, i, row, (a, b) if exact else None))
            k = after + 1
    return found


def _policy(pieces: list[_Piece]) -> Policy:
    """The pieces of all states together."""
    starts = np.unique([piece.start for piece in pieces])
    size = 1 + max(piece.state for piece in pieces)
    table = np.zeros((starts.size, size, pieces[0].row.size))
    for piece in pieces:  # those of a state are in the order of time
        table[starts >= piece.start, piece.state] = piece.row
    return Policy(starts, table / table.sum(axis=-1, keepdims=True)).merged()


def _sharpened(game: ContinuousGame, pieces: list[_Piece]) -> Policy:
    """The policy with each change moved to where both actions are equally good."""
    moving = [k for k, piece in enumerate(pieces) if piece.change]

    def moved(times: Floats) -> Policy:
        new = list(pieces)
        for k, time in zip(moving, times, strict=True):
            new[k] = pieces[k]._replace(start=float(np.clip(time, 0, game.span)))
        return _policy(new)

    def excess(times: Floats) -> Floats:
        play = solve(game, moved(times))
        at = np.clip(times, 0, game.span)
        H = hamiltonian(game, play.crowd(at), play.cost(at))
        pairs = [(pieces[k].state, *pieces[k].change) for k in moving]  # type: ignore[misc]
        return np.array([row[i, a] - row[i, b] for row, (i, a, b) in zip(H, pairs, strict=True)])

    guess = np.array([pieces[k].start for k in moving])
    if not moving:
        return _policy(pieces)
    found = scipy().optimize.root(excess, guess, tol=1e-13, options={"eps": 1e-8})
    return moved(found.x)


# --- one change -----------------------------------------------------------------------------------
class Threshold(NamedTuple):
    """A policy that takes one action in one state until some time, and waits after it.

    Attributes:
        time: until when.
        policy: all of it.
        cost: what each player pays when all use it.
    """

    time: float
    policy: Policy
    cost: float


def threshold_policy(game: Game, time: float, *, state: str = "S", action: int = 1) -> Policy:
    """Take this action in this state until this time; else and later action 0.

    Args:
        time: in [0, T].
        state: its name.
        action: its number.

    Example:
        >>> from alphafair.models.meanfield.games import sir_vaccination
        >>> policy = threshold_policy(sir_vaccination(), 0.02)
        >>> policy.at([0, 0.03])[:, 0].tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    span = game.span
    until = number("time", time, f"in [0, {span:g}]", lambda t: 0 <= t <= span)
    if state not in game.states or action not in range(game.shape[1]):
        raise ValueError(
            f"state is {state!r} and action {action}: the game has the states {game.states} and "
            f"actions 0 … {game.shape[1] - 1}"
        )
    after = np.zeros(game.shape)
    after[:, 0] = 1
    before = after.copy()
    before[game.states.index(state)] = np.eye(game.shape[1])[action]
    if until == 0:
        return Policy(0, after)
    return Policy([0, until], [before, after])


def threshold_equilibrium(game: ContinuousGame, *, state: str = "S", action: int = 1) -> Threshold:
    """The time t_c at which both actions are equally good if all stop at t_c.

    Args:
        game: in continuous time, with a finite horizon.
        state: its name.
        action: the one that is better before t_c.

    Returns:
        `Threshold`; t_c is 0 if the action is not better at time 0.  That it is an equilibrium is
        not assumed: see the `exploitability` of its policy.

    Raises:
        ValueError: the action is still better at the horizon.

    Example:
        >>> from alphafair.models.meanfield.games import sir_vaccination
        >>> round(threshold_equilibrium(sir_vaccination()).time, 6)
        0.024651
    """

    def excess(time: float) -> float:
        play = solve(game, threshold_policy(game, time, state=state, action=action))
        at = np.array([time])
        H = hamiltonian(game, play.crowd(at), play.cost(at))[0, game.states.index(state)]
        return float(H[action] - H[0])

    time, ends = 0.0, [excess(0.0), excess(game.span)]
    if ends[0] < 0:
        if ends[1] < 0:
            raise ValueError(f"action {action} is better to the end: there is no threshold")
        brentq = scipy().optimize.brentq
        time = float(brentq(excess, 0, game.span, xtol=1e-14, rtol=1e-13))
    return _threshold(game, time, state, action)


def threshold_optimum(
    game: ContinuousGame, *, state: str = "S", action: int = 1, points: int = 41
) -> Threshold:
    """The time at which all should stop: it has the least cost for all of them.

    Args:
        game: in continuous time, with a finite horizon.
        state: its name.
        action: taken until then.
        points: of a first look, more of them at the beginning; around the best one the minimum is
            found to about 1e−6 of the horizon, where the cost is flat to all digits.

    Returns:
        `Threshold`.

    Example:
        >>> from alphafair.models.meanfield.games import sir_vaccination
        >>> round(threshold_optimum(sir_vaccination(), points=9).cost, 6)
        0.681671
    """

    def cost(time: float) -> float:
        return social_cost(game, threshold_policy(game, time, state=state, action=action))

    grid = game.span * np.linspace(0, 1, whole("points", points, 1) + 2) ** 2
    k = int(np.argmin([cost(float(time)) for time in grid]))
    near = (grid[max(k - 1, 0)], grid[min(k + 1, grid.size - 1)])
    best = scipy().optimize.minimize_scalar(
        cost, bounds=near, method="bounded", options={"xatol": 1e-7 * near[1]}
    )
    time = min((float(best.x), float(grid[k])), key=cost)
    return _threshold(game, time, state, action)


def _threshold(game: ContinuousGame, time: float, state: str, action: int) -> Threshold:
    policy = threshold_policy(game, time, state=state, action=action)
    return Threshold(time, policy, social_cost(game, policy))


# --- common ---------------------------------------------------------------------------------------
def uniform(game: Game) -> Policy:
    """All actions with the same probability.

    Example:
        >>> from alphafair.models.meanfield.games import prisoners_dilemma
        >>> uniform(prisoners_dilemma(0.5)).at(0).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    return Policy(0, np.full(game.shape, 1 / game.shape[1]))


def _result(game: Game, policy: Policy, history: ArrayLike) -> Equilibrium:
    policy = policy.merged()
    gap = exploitability(game, policy)
    return Equilibrium(policy, social_cost(game, policy), gap, np.array(history))
