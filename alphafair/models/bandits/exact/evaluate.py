"""What a policy earns, exactly: N arms as a Markov chain on configurations.

The value of a policy π is computed on the chain of the counts n, with P_π and r_π its transitions
and its reward per arm (`configurations` shows how two products of matrices evaluate
every decision in every configuration)::

    T steps         Σ_t p_t r_π,   p_0 the initial configuration,   p_{t+1} = p_t P_π
    the best of T   V_t(n) = max over decisions y of   r(n, y) + E[V_{t+1}(next) | n, y],   V_T = 0
    discounted      V = r_π + β P_π V
    average         g + h = r_π + P_π h,   h up to a constant

The average is certified by its own equation: whatever h is, the average from any configuration lies
between the least and the largest value of r_π + P_π h − h.  The answer is their middle, and it is
refused if they differ by more than rounding.  Periodic chains need no care.  The linear systems are
solved directly up to ``DIRECT`` configurations; above, by iterations (GMRES) that ask for P_π h
only, so the chain is never written down.

All values are per arm, so they can be compared for different N, and with the value of a relaxation,
their limit.  A policy that randomises has a method::

    decisions(counts, time)       for (S,) counts, an iterable of (probability, decision)

which is used in place of ``decide``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers
from ...common import scipy, watched, whole
from ..arms import Arm, discount_factor
from ..chains import closed_classes, reached
from ..counts import classes, feasible, initial_counts, refuse_classes
from ..policies import Policy, activation, active_arms
from .configurations import Configurations, Moves, refuse_if_too_large

DIRECT = 1000  # configurations up to which the chain is written down and solved directly (1 s)
CERTAIN = 1e-10  # relative to the largest reward: what a value may be off, by its certificate
CHANCE = 1e-9  # probabilities of a policy's decisions sum to 1 within this
KRYLOV, ROUNDS = 80, 25  # vectors kept by GMRES, and how often it starts again


# --- finitely many steps --------------------------------------------------------------------------
def policy_value(
    policy: Policy,
    arm: Arm,
    initial: ArrayLike,
    fraction: ArrayLike,
    horizon: int,
    n_arms: int,
) -> float:
    """Expected total reward per arm of a policy in T steps.

    Forward in time: the law of the configuration is moved, so the policy is asked only where the
    arms can be.

    Args:
        policy: decides with ``decide(counts, time)``, time 0 … T − 1, or with ``decisions``.
        arm: S states.
        initial: (S,) part of the arms in each state; N times it whole.
        fraction: a, scalar or (T,): a N arms are activated, whole.
        horizon: T ≥ 1.
        n_arms: N ≥ 1.

    Returns:
        Σ_t E[R1·y(t) + R0·(n(t) − y(t))] / N.

    Raises:
        ValueError: numbers that are not whole, a decision that is not feasible (says at which
            counts and time), too many configurations (says how many arms would fit).

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=1 / 3)
        >>> round(policy_value(repair, arm, [1, 0], 1 / 3, horizon=2, n_arms=3), 12)
        1.25
    """
    plan = _plan(arm, initial, fraction, horizon, n_arms)
    law = np.zeros(len(plan.configurations))
    law[plan.start] = 1.0
    value = 0.0
    for time in watched(range(len(plan.totals)), "steps"):
        moves = plan.moves[plan.totals[time]]
        rows = np.flatnonzero(law)
        choice = _choices(policy, moves, rows, time)
        chance = choice.chance * law[rows[choice.place]]
        value += float(chance @ moves.reward[choice.pair])
        law = moves.spread(_sum_up(choice.pair, chance, moves.reward.size))
    return value


def optimal_value(
    arm: Arm, initial: ArrayLike, fraction: ArrayLike, horizon: int, n_arms: int
) -> float:
    """The largest expected total reward per arm that any policy reaches in T steps.

    Dynamic programming over configurations, backwards in time.

    Args:
        arm: S states.
        initial: (S,) part of the arms in each state; N times it whole.
        fraction: a, scalar or (T,): a N arms are activated, whole.
        horizon: T ≥ 1.
        n_arms: N ≥ 1.

    Returns:
        V_0 of the initial configuration, per arm.

    Raises:
        ValueError: numbers that are not whole, too many configurations (says how many arms fit).

    Example:
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> round(optimal_value(arm, [1, 0], 1 / 3, horizon=2, n_arms=3), 12)
        1.25
    """
    plan = _plan(arm, initial, fraction, horizon, n_arms)
    value = np.zeros(len(plan.configurations))
    for total in watched(plan.totals[::-1], "steps"):
        moves = plan.moves[total]
        earned = moves.reward + moves.expect(value)
        value = np.full(value.size, -np.inf)
        np.maximum.at(value, moves.origin, earned)
    return float(value[plan.start])


class _Plan(NamedTuple):
    """A problem with finitely many steps: how many are activated at each, and the tables for it."""

    configurations: Configurations
    start: int
    totals: list[int]
    moves: dict[int, Moves]


def _plan(arm: Arm, initial: ArrayLike, fraction: ArrayLike, horizon: int, n_arms: int) -> _Plan:
    n_arms, steps = whole("n_arms", n_arms, 1), whole("horizon", horizon, 1)
    counts = initial_counts(initial, arm.n_states, n_arms)
    if np.shape(fraction) not in ((), (steps,)):
        raise ValueError(
            f"fraction has shape {np.shape(fraction)}: must be a scalar or ({steps},), one for "
            f"each step of the horizon"
        )
    every = np.broadcast_to(np.asarray(fraction), steps).tolist()
    totals = [int(active_arms(counts, activation(a))) for a in every]
    label = classes(arm)
    refuse_if_too_large(label, counts, totals)
    states = Configurations.around(label, counts)
    moves = {total: Moves.of(arm, states, total) for total in set(totals)}
    return _Plan(states, int(states.rank(counts)), totals, moves)


class _Choices(NamedTuple):
    """Decisions of a policy: in the place-th of the rows asked for, this pair with this chance.

    The places never decrease.
    """

    place: Integers
    pair: Integers
    chance: Floats


def _choices(policy: Policy, moves: Moves, rows: Integers, time: int) -> _Choices:
    counts = moves.configurations.counts[rows]
    if hasattr(policy, "decisions"):
        place, decided, chance = _listed(policy, counts, time)
    else:
        place, chance = np.arange(len(rows)), np.ones(len(rows))
        decided = policy.decide(counts, time)
    decided = feasible(counts[place], decided, time, moves.n_active)
    return _Choices(place, moves.pairs(counts[place], decided), chance)


def _listed(policy: Any, counts: Integers, time: int) -> tuple[Integers, Integers, Floats]:
    """All that a policy that randomises may decide, one configuration after the other."""
    found = [
        (i, decision, float(chance))
        for i, n in enumerate(counts)
        for chance, decision in policy.decisions(n, time)
    ]
    place = np.array([i for i, _, _ in found], np.intp)
    chance = np.array([p for _, _, p in found])
    total = np.bincount(place, chance, len(counts))
    wrong = ~(np.abs(total - 1) <= CHANCE)
    if wrong.any() or (chance < 0).any():
        i = int(np.argmax(wrong) if wrong.any() else place[np.argmax(chance < 0)])
        raise ValueError(
            f"policy.decisions has probabilities that sum to {total[i]:.9g} for the counts "
            f"{counts[i].tolist()} at time {time}: must be ≥ 0 and sum to 1"
        )
    return place, np.array([decision for _, decision, _ in found]), chance


# --- for ever -------------------------------------------------------------------------------------
def discounted_reward(
    policy: Policy, arm: Arm, initial: ArrayLike, n_arms: int, discount: float
) -> float:
    """Expected discounted reward per arm of a policy, Σ_t β^t r(t) from t = 0 on.

    Args:
        policy: decides by the counts only; it is asked at time 0.
        arm: S states.
        initial: (S,) part of the arms in each state; N times it whole.
        n_arms: N ≥ 1.
        discount: β in (0, 1).

    Returns:
        V of the initial configuration, per arm; within 1e−10 of the largest reward / (1 − β).

    Raises:
        ValueError: numbers that are not whole, a decision that is not feasible, too many
            configurations.

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=1 / 3)
        >>> round(21 * discounted_reward(repair, arm, [1, 0], n_arms=3, discount=0.5), 12)
        26.0
    """
    beta = discount_factor(discount, average=False)
    loop = _closed_loop(policy, arm, n_arms, initial)
    if len(loop.reward) <= DIRECT:
        step_ahead = beta * loop.chain()
        value = np.asarray(
            np.linalg.solve(np.eye(len(step_ahead)) - step_ahead, loop.reward), float
        )
    else:
        value = _krylov(lambda v: v - beta * loop.expect(v), loop.reward)
    left = np.abs(loop.reward + beta * loop.expect(value) - value).max()
    _certify("the discounted reward", left, loop.reward)
    return float(value[loop.start])


def stationary_reward(
    policy: Policy, arm: Arm, n_arms: int, *, initial: ArrayLike | None = None
) -> float:
    """Long-run average reward per arm and step of a policy.

    Args:
        policy: decides by the counts only; it is asked at time 0.
        arm: S states.
        n_arms: N ≥ 1.
        initial: None if the start does not matter in the long run; else (S,) part of the arms in
            each state, N times it whole.  It is needed where there are several classes of arms, or
            several sets of configurations that the chain cannot leave: their averages are weighed
            by the probability to end there (up to ``DIRECT`` configurations).

    Returns:
        g, within 1e−10 of the largest reward.

    Raises:
        ValueError: the average depends on the start and ``initial`` is None; a decision that is not
            feasible; too many configurations (says how many arms would fit).

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=1 / 3)
        >>> round(9 * stationary_reward(repair, arm, n_arms=3), 12)
        5.0
    """
    loop = _closed_loop(policy, arm, n_arms, initial)
    if len(loop.reward) > DIRECT:
        bias = _krylov(lambda h: h - loop.expect(h) + h.mean(), loop.reward)
        return middle(loop.reward + loop.expect(bias) - bias, loop.reward)
    chain = loop.chain()
    ends = [np.array(end) for end in closed_classes(chain)]
    if len(ends) > 1 and initial is None:
        some = [loop.counts[end[0]].tolist() for end in ends[:2]]
        raise ValueError(
            f"policy has {len(ends)} sets of configurations that cannot be left, one with the "
            f"counts {some[0]} and one with {some[1]}: the average depends on the start; "
            f"give initial"
        )
    average = [_average(chain[np.ix_(end, end)], loop.reward[end]) for end in ends]
    return float(_absorption(chain, ends, loop.start) @ average)


class _ClosedLoop(NamedTuple):
    """The chain of the configurations under a policy that does not look at the time."""

    moves: Moves
    choice: _Choices
    start: int
    counts: Integers  # (C, S)
    reward: Floats  # (C,)

    def expect(self, value: Floats) -> Floats:
        """P_π V."""
        ahead = self.choice.chance * self.moves.expect(value)[self.choice.pair]
        return _sum_up(self.choice.place, ahead, value.size)

    def chain(self) -> Floats:
        """P_π, (C, C)."""
        law = self.choice.chance[:, None] * self.moves.rows(self.choice.pair)
        first = np.searchsorted(self.choice.place, np.arange(self.reward.size))
        chain: Floats = np.add.reduceat(law, first, axis=0)
        return chain


def _closed_loop(policy: Policy, arm: Arm, n_arms: int, initial: ArrayLike | None) -> _ClosedLoop:
    n_arms, label = whole("n_arms", n_arms, 1), classes(arm)
    if initial is None:
        refuse_classes(label)
    first = np.eye(arm.n_states)[0] if initial is None else initial
    counts = initial_counts(first, arm.n_states, n_arms)
    n_active = _total(policy, counts)
    refuse_if_too_large(label, counts, [n_active])
    states = Configurations.around(label, counts)
    moves = Moves.of(arm, states, n_active)
    choice = _choices(policy, moves, np.arange(len(states)), 0)
    reward = _sum_up(choice.place, choice.chance * moves.reward[choice.pair], len(states))
    return _ClosedLoop(moves, choice, int(states.rank(counts)), states.counts, reward)


def _sum_up(place: Integers, amount: Floats, size: int) -> Floats:
    """(size,) the sums of the amounts in the same place."""
    return np.bincount(place, amount, size).astype(float, copy=False)


def _total(policy: Any, counts: Integers) -> int:
    """How many arms the policy activates: those it does in one configuration."""
    if hasattr(policy, "decisions"):
        decision = _listed(policy, counts[None], 0)[1][0]
    else:
        decision = policy.decide(counts, 0)
    return int(feasible(counts, decision, 0).sum())


# --- linear systems -------------------------------------------------------------------------------
def _absorption(chain: Floats, ends: list[Integers], start: int) -> Floats:
    """The probability to end in each of the sets: q = P q outside of them, 1 inside its own."""
    if len(ends) == 1:
        return np.ones(1)
    inside = np.zeros((len(chain), len(ends)))
    for c, end in enumerate(ends):
        inside[end, c] = 1.0
    if inside[start].any():
        return np.array(inside[start])
    ahead = reached(chain != 0, start)
    on_way = ahead[~inside[ahead].any(axis=1)]  # the start comes first
    stay = np.eye(on_way.size) - chain[np.ix_(on_way, on_way)]
    chance: Floats = np.linalg.solve(stay, chain[on_way] @ inside)[0]
    return chance


def _average(chain: Floats, reward: Floats) -> float:
    """Solve g + h = r + P h for g; one regular system, with g the mean of h."""
    bias = np.linalg.solve(np.eye(reward.size) - chain + 1 / reward.size, reward)
    return middle(reward + chain @ bias - bias, reward)


def middle(drift: Floats, reward: Floats) -> float:
    """The average lies between the least and the largest r + P h − h, whatever h is."""
    _certify("the average reward", float(np.ptp(drift)), reward)
    return float((drift.max() + drift.min()) / 2)


def _certify(what: str, doubt: float, reward: Floats) -> None:
    """Refuse a value that its own equation does not confirm."""
    scale = max(float(np.abs(reward).max()), np.finfo(float).tiny)
    if not doubt <= CERTAIN * scale:
        raise ValueError(
            f"{what} is only certain up to {doubt:.1g}: it depends on the start, or the arms move "
            f"too seldom; take fewer arms (n_arms), or simulate"
        )


def _krylov(image: Callable[[Floats], Floats], wanted: Floats) -> Floats:
    """Solve image(x) = wanted by GMRES, for a chain that is too large to be written down."""
    size, linear = wanted.size, scipy(f"a chain of {wanted.size} configurations").sparse.linalg
    bar = iter(watched(itertools.count(), "iterations"))
    solution, _ = linear.gmres(
        linear.LinearOperator((size, size), matvec=image, dtype=float),
        wanted,
        rtol=CERTAIN / 100,
        restart=KRYLOV,
        maxiter=ROUNDS,
        callback=lambda _: next(bar, None),
        callback_type="pr_norm",
    )
    return np.asarray(solution, float)
