"""Episodes: a learner plays, and what not knowing the arms costs it is computed.

The head of the package says what an episode is, and its regret.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, refuse_first
from ...common import counted, scipy, whole
from ..arms import Arm, discount_factor
from ..sparse import as_dense
from .kernels import first_largest, gittins_indices, play, policy_loss
from .learners import (
    JOINT,
    PRODUCT,
    Learner,
    Plan,
    Seen,
)

DENSE = 400  # joint states up to which V* is solved for without scipy's sparse matrices
TIE = 1e-12  # what an arm loses below this part of the largest value is rounding


class Interval(NamedTuple):
    """A mean over runs and its confidence interval, each (K,)."""

    mean: Floats
    low: Floats
    high: Floats


class Learning(NamedTuple):
    """What `run` returns.

    Attributes:
        regret: (runs, K) V*(x_1) − V_{π_k}(x_1) of each episode; simulated, if not ``exact``.
        seconds: (runs,) processor time that the learner took for its plans: other programs on the
            machine do not count, further threads of this one do, and so does loading compiled code
            once there are so many plans that it pays.
        optimal: V*(x_1), the largest mean sum of rewards in an episode; None if not ``exact``.
        exact: whether the regret was computed, without chance, from the policies.
        seen: for each run, what the learner had seen in the end, of each arm.
    """

    regret: Floats
    seconds: Floats
    optimal: float | None
    exact: bool
    seen: tuple[Seen, ...]

    @property
    def cumulative(self) -> Floats:
        """(runs, K) Reg(k), summed over the episodes up to k."""
        total: Floats = self.regret.cumsum(axis=1)
        return total

    def interval(self, confidence: float = 0.95) -> Interval:
        """Mean of the cumulative regret over runs, with its Student interval (infinite for one)."""
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is {confidence}: must be in (0, 1)")
        runs, total = len(self.regret), self.cumulative
        mean = total.mean(axis=0)
        if runs == 1:
            return Interval(mean, np.full_like(mean, -np.inf), np.full_like(mean, np.inf))
        student = scipy("Student's law").special.stdtrit(runs - 1, (1 + confidence) / 2)
        reach = student * total.std(axis=0, ddof=1) / runs**0.5
        return Interval(mean, mean - reach, mean + reach)


class _World(NamedTuple):
    """The arms as they are, padded, and their optimal policy."""

    P: Floats  # (n, S, S)
    R: Floats  # (n, S)
    sizes: Integers
    strides: Integers
    initial: Integers
    beta: float
    gittins: Floats  # (n, S) index
    gap: Floats | None  # (X, n) what each arm loses in each joint state; None if too many
    optimal: float | None

    @property
    def joint_states(self) -> int:
        return math.prod(self.sizes.tolist())


def run(
    learner: Learner,
    arms: Sequence[Arm],
    episodes: int,
    seed: int = 0,
    *,
    runs: int = 1,
    initial: ArrayLike | None = None,
    exact: bool | None = None,
) -> Learning:
    """Let a learner play K episodes, and compute what not knowing the arms has cost.

    In each run the luck of the arms and of the learner's own draws come from streams of their own,
    so run r is the same however many runs there are, and all learners meet the same arms' luck.

    The regret of an episode is computed from the policy: with gap(x, a) what activating arm a in
    joint state x loses, V*(x_1) − V_π(x_1) = E_π Σ β^t gap(x_t, a_t), a linear system on the joint
    states that π can reach: by elimination, or by sweeps if they are more than 150 (relative error
    1e−13/(1 − β)).  If X = Π S_a > 4096 they are too many.  Then the learner's episode is compared
    with the one of the same length that the Gittins policy would have played with the same luck of
    each arm: right on average, and noisy.

    Args:
        learner: `MBPSRL`, `MBUCBVI`, `MBUCRL2`, `PSRL`, `UCBVI`, `UCRL2`, or any `Learner`.
        arms: rested arms (``Arm.rested``) with mean rewards in [0, 1].
        episodes: K ≥ 1.
        seed: a whole number ≥ 0.
        runs: independent repetitions, ≥ 1.
        initial: (n,) states x_1 of the arms at the start of each episode; default 0.
        exact: compute or simulate; default compute if the joint states are few enough.

    Returns:
        `Learning`.  A progress bar appears after three seconds, if tqdm is installed.

    Raises:
        ValueError: arms that are not rested, rewards outside [0, 1], no episode, initial states
            that do not exist, more joint states than the learner or exact regret can take.

    Example:
        >>> from alphafair.models.bandits.learning import MBPSRL
        >>> arms = [random_walk([0, 0.2, 0.9], 0.3, 0.4), random_walk([0.5, 0.2, 0.1], 0.3, 0.4)]
        >>> result = run(MBPSRL(discount=0.9), arms, episodes=100, seed=1, runs=5)
        >>> result.regret.shape, result.exact
        ((5, 100), True)
        >>> mean, low, high = result.interval()
        >>> bool(low[-1] < mean[-1] < high[-1])
        True
    """
    K, runs = whole("episodes", episodes, 1), whole("runs", runs, 1)
    beta = discount_factor(learner.discount, average=False)
    world = _world(list(arms), beta, initial, exact)
    _refuse_size(learner, world)
    regret, seconds, seen = np.empty((runs, K)), np.empty(runs), []
    # what is loaded at the first call is not the learner's time
    learner.plan(_nothing(world, learner.joint, K), np.random.default_rng(0), None)
    with counted(runs * K, "episodes") as advance:
        for r, stream in enumerate(np.random.SeedSequence(seed).spawn(runs)):
            seen.append(_nothing(world, learner.joint, K))
            seconds[r] = _one_run(learner, world, seen[r], stream, regret[r], advance)
            seen[r] = seen[r]._replace(**_uncounted())
    return Learning(regret, seconds, world.optimal, world.gap is not None, tuple(seen))


def random_walk(R: ArrayLike, left: float, right: float) -> Arm:
    """A rested arm that walks when activated: one state up or down, or it stays.

    Args:
        R: (S,) mean rewards in [0, 1].
        left: probability to go from s to s − 1 (in state 0: to stay).
        right: probability to go from s to s + 1 (in the last state: to stay); left + right ≤ 1.

    Raises:
        ValueError: not probabilities, or no states.

    Example:
        >>> random_walk([0.1, 0, 0.9], 0.25, 0.5).P1.tolist()
        [[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.0, 0.25, 0.75]]
    """
    reward = np.asarray(R, dtype=float)
    if reward.ndim != 1 or reward.size == 0:
        raise ValueError(f"R has shape {reward.shape}: must be (S,), one for each state")
    if not (left >= 0 and right >= 0 and left + right <= 1):
        raise ValueError(
            f"left is {left} and right {right}: must be probabilities that sum to 1 at most"
        )
    size = reward.size
    P = np.diag(np.full(size - 1, float(left)), -1) + np.diag(np.full(size - 1, float(right)), 1)
    P[np.diag_indices(size)] = 1 - P.sum(axis=1)
    return Arm.rested(P, reward)


def _one_run(
    learner: Learner,
    world: _World,
    seen: Seen,
    stream: np.random.SeedSequence,
    regret: Floats,
    advance: Callable[[int], Any],
) -> float:
    """Fill ``regret`` and ``seen``; returns the processor time that the plans took."""
    luck, own = (np.random.default_rng(child) for child in stream.spawn(2))
    plan, spent = None, 0.0
    for k in range(regret.size):
        start = time.process_time()
        plan = learner.plan(seen, own, plan)
        spent += time.process_time() - start
        regret[k] = _episode(plan, world, seen, luck)
        advance(1)
    return spent


def _episode(plan: Plan, world: _World, seen: Seen, luck: np.random.Generator) -> float:
    """Play one episode by this plan, count what happens, return its regret."""
    length = luck.geometric(1 - world.beta)
    uniform, coins = luck.random((world.sizes.size, length)), luck.random(length)
    choice, priority = _followed(plan, world)
    arms = (world.P, world.R, world.sizes, world.strides, world.initial, uniform, coins)
    tables = ((seen.moves, seen.paid), (seen.joint_moves, seen.joint_paid))
    earned = play(choice, priority, *arms, True, *tables)
    if world.gap is None:
        best = play(np.empty(0, int), world.gittins, *arms, False, *tables)
        return best - earned
    start = int(world.initial @ world.strides)
    parts = (world.gap, world.P, world.sizes, world.strides, start, world.beta)
    return policy_loss(choice, *parts)


def _followed(plan: Plan, world: _World) -> tuple[Integers, Floats]:
    """The plan as (X,) arms, empty if the joint states are not listed, and (n, S) priorities."""
    n, count = world.sizes.size, world.joint_states
    if plan.choice is None:
        priority = np.asarray(plan.priority, dtype=float)
        if priority.shape != world.R.shape or np.isnan(priority).any():
            raise ValueError(
                f"plan: priority has shape {priority.shape} and {np.isnan(priority).sum()} NaN: "
                f"must be {world.R.shape}, a number for each state, if there is no choice"
            )
        if world.gap is None:
            return np.empty(0, int), priority
        return first_largest(priority, world.sizes, world.strides, count), priority
    choice = np.ascontiguousarray(plan.choice, dtype=int)
    if choice.shape != (count,) or count > JOINT or choice.min() < 0 or choice.max() >= n:
        raise ValueError(
            f"plan: choice has shape {choice.shape} and arms {choice.min(initial=n)} to "
            f"{choice.max(initial=0)}: must be ({count},) and arms 0 to {n - 1}; plan by priority "
            f"if there are more than {JOINT} joint states"
        )
    return choice, world.gittins


def _world(
    arms: Sequence[Arm], beta: float, initial: ArrayLike | None, exact: bool | None
) -> _World:
    """Check the arms, put them side by side, find the optimal policy."""
    if not arms:
        raise ValueError("arms is empty: at least one arm is needed")
    for a, arm in enumerate(arms):
        _refuse_arm(a, arm)
    sizes = np.array([arm.n_states for arm in arms])
    P, R = _padded(sizes)
    for a, arm in enumerate(arms):
        P[a, : sizes[a], : sizes[a]], R[a, : sizes[a]] = arm.dense()[1], arm.R1
    count = math.prod(sizes.tolist())
    if exact and count > JOINT:
        raise ValueError(
            f"exact is True and the arms have {count} joint states: the regret is computed for at "
            f"most {JOINT}; simulate it with exact=False"
        )
    strides = np.zeros_like(sizes)  # they may not fit in 64 bits, and are then not used
    if count <= JOINT:
        strides = count // np.cumprod(sizes)
    world = _World(
        *(P, R, sizes, strides, _states(initial, sizes), beta),
        *(gittins_indices(P, R, sizes, beta), None, None),
    )
    return _with_optimum(world) if (count <= JOINT if exact is None else exact) else world


def _with_optimum(world: _World) -> _World:
    """V* on all joint states, and what each arm loses in each: V* − R − β P V*, (X, n)."""
    P, R, sizes, strides, initial, beta = world[:6]
    count = world.joint_states
    choice = first_largest(world.gittins, sizes, strides, count)
    x, n = np.arange(count), sizes.size
    state = x[:, None] // strides % sizes
    s = state[x, choice]
    after = x[:, None] + (np.arange(P.shape[1]) - s[:, None]) * strides[choice][:, None]
    V = _value(P[choice, s], after, R[choice, s], beta)
    grid = V.reshape(sizes)
    following = [
        np.moveaxis(np.tensordot(P[a, :size, :size], grid, (1, a)), 0, a).ravel()
        for a, size in enumerate(sizes)
    ]
    gap = V[:, None] - R[np.arange(n), state] - beta * np.stack(following, axis=1)
    gap[gap < TIE * np.abs(V).max()] = 0.0
    return world._replace(gap=gap, optimal=float(V[initial @ strides]))


def _value(row: Floats, after: Any, reward: Floats, beta: float) -> Floats:
    """(X,) V = reward + β Σ_j row[·, j] V[after[·, j]], directly: sparse where it is large."""
    size, here = reward.size, np.nonzero(row)
    place = (here[0], after[here])
    if size > DENSE:
        with suppress(ImportError):
            sparse = scipy().sparse
            chain = sparse.csc_array((row[here], place), shape=(size, size))
            system = sparse.eye_array(size, format="csc") - beta * chain
            return np.asarray(sparse.linalg.spsolve(system, reward), float)
    matrix = np.eye(size)
    matrix[place] -= beta * row[here]
    return np.linalg.solve(matrix, reward).astype(float, copy=False)


def _nothing(world: _World, joint: bool, episodes: int) -> Seen:
    """Counts of nothing."""
    n, size = world.R.shape
    moves, paid = np.zeros((n, size, size), int), np.zeros((n, size), int)
    product = _uncounted()
    if joint:
        X = world.joint_states
        product = {
            "joint_moves": np.zeros((X, n, X), int),
            "joint_paid": np.zeros((X, n), int),
        }
    there = np.arange(size) < world.sizes[:, None]
    possible = np.where(there[:, :, None], there[:, None, :], np.eye(size))
    return Seen(world.sizes, world.strides, possible, moves, paid, episodes=episodes, **product)


def _uncounted() -> dict[str, Any]:
    """No counts by joint state."""
    return {"joint_moves": np.zeros((0, 0, 0), int), "joint_paid": np.zeros((0, 0), int)}


def _padded(sizes: Integers) -> tuple[Floats, Floats]:
    """Arms that stand still and pay nothing, (n, S, S) and (n, S)."""
    n, size = sizes.size, int(sizes.max())
    return np.tile(np.eye(size), (n, 1, 1)), np.zeros((n, size))


def _refuse_arm(a: int, arm: Arm) -> None:
    """A rested arm that pays 0 or 1."""
    if not isinstance(arm, Arm):
        raise TypeError(f"arms[{a}] is a {type(arm).__name__}: must be an Arm")
    moving = np.flatnonzero((as_dense(arm.P0) != np.eye(arm.n_states)).any(axis=1))
    paid = np.flatnonzero(arm.R0)
    if moving.size or paid.size:
        why = (
            f"P0 moves state {moving[0]}" if moving.size else f"R0[{paid[0]}] is {arm.R0[paid[0]]}"
        )
        raise ValueError(
            f"arms[{a}] is not rested: {why}, and a rested arm neither moves nor pays when "
            f"passive; make it by Arm.rested(P, R)"
        )
    expected = "in [0, 1], the mean of a reward that is 0 or 1"
    cure = "shift and scale the rewards of all arms alike"
    refuse_first(f"arms[{a}]: R1", arm.R1, (arm.R1 >= 0) & (arm.R1 <= 1), expected, cure)


def _refuse_size(learner: Learner, world: _World) -> None:
    """Joint states that the learner cannot list, or whose moves cannot be counted."""
    count = world.joint_states
    most = min(learner.largest, PRODUCT if learner.joint else np.inf)
    if count > most:
        raise ValueError(
            f"{type(learner).__name__} plans on all joint states, and {world.sizes.size} arms of "
            f"up to {world.sizes.max()} states have {count}: at most {most:g}; take fewer arms, or "
            f"MBPSRL or MBUCBVI, which plan arm by arm"
        )


def _states(initial: ArrayLike | None, sizes: Integers) -> Integers:
    """The initial states, checked."""
    states = np.zeros_like(sizes) if initial is None else np.asarray(initial)
    if states.shape != sizes.shape or states.dtype.kind not in "iu":
        raise ValueError(
            f"initial has shape {states.shape} and holds {states.dtype}: must be "
            f"({sizes.size},) whole numbers, a state of each arm"
        )
    bad = np.flatnonzero((states < 0) | (states >= sizes))
    if bad.size:
        raise ValueError(
            f"initial[{bad[0]}] is {states[bad[0]]}: must be a state of arms[{bad[0]}], from 0 to "
            f"{sizes[bad[0]] - 1}"
        )
    return states.astype(int)
