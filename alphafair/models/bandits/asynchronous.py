"""Arms that each have a clock of their own, and move one at a time.

In the synchronous model all N arms move at once, at each step.  Here every arm has a clock that
rings at rate 1, independently of the others, and moves when its own clock rings: actively if the
policy has it among the a N active arms at that moment, passively if not.  The part m of the arms
in each state then drifts as the mean map φ says, but smoothly::

    dm/dt = φ(m) − m.

Its rest points are the fixed points of φ.  But where the synchronous orbit needs eigenvalues of
modulus < 1 to settle, this one needs **real parts < 1**: an eigenvalue below −1, which makes the
synchronous arms overshoot and cycle, does no harm.  A cycle of the synchronous model can be an
artefact of its common clock.

All clocks together ring at rate N whatever the configuration is, so that the jumps come at equal
mean distances, and a time average is the average over the jumps::

    exact          g + h(n) = r(n) + E h(n after one jump),    r(n) reward per arm and unit of time
    simulation     the mean of r over the jumps

References:
    N. Gast, B. Gaujal, C. Yan, "Exponential asymptotic optimality of Whittle index policy",
    Queueing Systems 104 (2023), arXiv:2012.09064: the asynchronous model, and that its error is
    exponentially small as well.
    R. Weber, G. Weiss, "On an index policy for restless bandits", J. Applied Probability 27 (1990):
    this drift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, Integers, reals
from ..common import Simulation, scipy, watched, whole
from .arms import Arm
from .chains import closed_classes
from .counts import classes, feasible, initial_counts, normalized, refuse_classes
from .exact.configurations import Configurations
from .exact.evaluate import middle
from .planning.mean_map import mean_map
from .planning.stationary import StationaryRelaxation
from .policies import Policy
from .simulate import earned

LARGEST = 20_000  # configurations whose sparse system is solved in about a second
SMALL = 1e-10  # relative error of a path in time


def asynchronous_path(
    arm: Arm, order: ArrayLike, fraction: float, start: ArrayLike, times: ArrayLike
) -> Floats:
    """m(t) with dm/dt = φ(m) − m, for very many arms with clocks of their own.

    Args:
        arm: the arm.
        order: (S,) the states, first served first; ``np.argsort(-index)`` for an index.
        fraction: a in [0, 1].
        start: (S,) fractions at time 0, ≥ 0, sum 1.
        times: (T,) increasing, ≥ 0, in units in which a clock rings once on average.

    Returns:
        (T, S) fractions, to about 1e−9.

    Raises:
        ValueError: an order that is no permutation, fractions that are not, times that fall.

    Example:
        A cycle of the synchronous arms that is a point of rest here:

        >>> from alphafair.models.bandits.examples import cycle_example
        >>> path = asynchronous_path(cycle_example(2), [0, 1, 2], 0.4, [1, 0, 0], [0, 50])
        >>> phi = mean_map(cycle_example(2), [0, 1, 2], 0.4)
        >>> bool(abs(phi(path[-1]) - path[-1]).max() < 1e-9)
        True
    """
    phi = mean_map(arm, order, fraction)
    m, at = reals("start", start), reals("times", times)
    if m.shape != (arm.n_states,) or not (m.min() >= 0 and abs(m.sum() - 1) <= SMALL):
        raise ValueError(
            f"start has shape {m.shape} and sum {m.sum():.6g}: must be ({arm.n_states},) fractions "
            f"≥ 0 with sum 1"
        )
    if at.ndim != 1 or not at.size or at[0] < 0 or (np.diff(at) < 0).any():
        raise ValueError("times must be a row of numbers ≥ 0 that do not fall")
    if at[-1] == 0:
        return np.tile(m, (at.size, 1))
    solved = scipy("a path in time").integrate.solve_ivp(
        lambda _, x: phi(x) - x, (0, at[-1]), m, t_eval=at, rtol=SMALL, atol=SMALL / 100
    )
    path: Floats = solved.y.T
    return path


def settles(relaxation: StationaryRelaxation) -> bool:
    """Is the point of rest of a relaxation stable for arms with clocks of their own?

    All eigenvalues of φ along the simplex have a real part < 1, in the region that more activations
    lead to.  (`StationaryRelaxation.locally_stable` is the question for arms that move together.)

    Example:
        >>> from alphafair.models.bandits import examples, stationary_relaxation
        >>> relaxation = stationary_relaxation(examples.cycle_example(2), 0.4)
        >>> relaxation.locally_stable, settles(relaxation)
        (False, True)
    """
    return bool((np.real(relaxation.eigenvalues) < 1).all())


def asynchronous_reward(
    policy: Policy, arm: Arm, n_arms: int, *, initial: ArrayLike | None = None
) -> float:
    """Long-run average reward per arm and unit of time, exactly.

    Args:
        policy: decides by the counts only; it is asked at time 0.
        arm: S states.
        n_arms: N ≥ 1.
        initial: (S,) part of the arms in each state; needed where there are several classes of
            arms.

    Returns:
        g, within 1e−10 of the largest reward.

    Raises:
        ValueError: the average depends on the start, a decision that is not feasible, more than
            20 000 configurations.

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> round(asynchronous_reward(PriorityPolicy([0, 1], fraction=1), arm, n_arms=1), 12)
        0.0
        >>> round(asynchronous_reward(PriorityPolicy([0, 1], fraction=1 / 3), arm, n_arms=3), 6)
        0.47619
    """
    n_arms, label = whole("n_arms", n_arms, 1), classes(arm)
    if initial is None:
        refuse_classes(label)
    first = np.eye(arm.n_states)[0] if initial is None else initial
    states = Configurations.around(label, initial_counts(first, arm.n_states, n_arms))
    if len(states) > LARGEST:
        raise ValueError(
            f"n_arms is {n_arms} and the arms have {arm.n_states} states: {len(states)} "
            f"configurations, and at most {LARGEST} are solved exactly; take fewer arms (n_arms), "
            f"or simulate"
        )
    counts = states.counts
    active = feasible(counts, policy.decide(counts, 0), 0)
    chain = _one_jump(arm, states, active)
    reward = earned(arm, counts, active) / n_arms
    return _average(chain, reward)


def _one_jump(arm: Arm, states: Configurations, active: Integers) -> object:
    """(C, C) sparse: where a configuration is after one clock has rung."""
    counts, size, n = states.counts, arm.n_states, int(states.counts[0].sum())
    rows, columns, chances = [], [], []
    for P, moving in zip(normalized(arm), (counts - active, active), strict=True):
        for i in range(size):
            at = np.flatnonzero(moving[:, i])
            for j in np.flatnonzero(P[i]):
                after = counts[at].copy()
                after[:, i] -= 1
                after[:, j] += 1
                rows.append(at)
                columns.append(states.rank(after))
                chances.append(moving[at, i] * P[i, j] / n)
    entries = np.concatenate(chances), (np.concatenate(rows), np.concatenate(columns))
    return scipy("an exact chain").sparse.csr_array(entries, shape=(len(states), len(states)))


def _average(chain: object, reward: Floats) -> float:
    """Solve g + h = r + P h with h = 0 in one configuration of the closed class."""
    sparse = scipy("an exact chain").sparse
    size = reward.size
    ends = closed_classes(chain)
    if len(ends) > 1:
        raise ValueError(
            f"policy has {len(ends)} sets of configurations that cannot be left: the average "
            f"depends on the start; simulate from one, or change the policy"
        )
    pin = int(ends[0][0])
    keep = np.flatnonzero(np.arange(size) != pin)
    bias = (sparse.eye_array(size, format="csc") - chain)[:, keep]
    system = sparse.hstack([bias, sparse.csc_array(np.ones((size, 1)))], format="csc")
    solved = sparse.linalg.spsolve(system, reward)
    h = np.zeros(size)
    h[keep] = solved[:-1]
    return middle(reward + chain @ h - h, reward)  # type: ignore[operator]


def simulate_asynchronous(
    policy: Policy,
    arm: Arm,
    n_arms: int,
    time: float,
    *,
    runs: int = 20,
    warm_up: float | None = None,
    initial: ArrayLike | None = None,
    seed: int = 0,
) -> Simulation[float]:
    """Long-run average reward per arm and unit of time, by simulation.

    Args:
        policy: decides with ``decide(counts, time)``, for (R, S) counts at once.
        arm: S states.
        n_arms: N ≥ 1.
        time: counted in each run, > 0; in a unit of time a clock rings once on average, so that a
            run takes N · time jumps.
        runs: R ≥ 1.
        warm_up: time before, not counted; None is a quarter of ``time``.
        initial: (S,) part of the arms in each state; None draws the state of each arm uniformly.
        seed: of `numpy.random.default_rng`.

    Returns:
        `Simulation`.  A progress bar appears after three seconds, if tqdm is installed.

    Example:
        >>> from alphafair.models.bandits.policies import PriorityPolicy
        >>> arm = Arm([[0.5, 0.5], [0, 1]], [[1, 0], [1, 0]], [1, 0], [0, 0])
        >>> repair = PriorityPolicy([0, 1], fraction=1 / 3)
        >>> low, high = simulate_asynchronous(repair, arm, n_arms=3, time=500).interval
        >>> low < 10 / 21 < high
        True
    """
    n_arms, runs = whole("n_arms", n_arms, 1), whole("runs", runs, 1)
    jumps = whole("n_arms · time", np.ceil(n_arms * time), 1)
    skipped = jumps // 4 if warm_up is None else whole("warm_up", np.ceil(n_arms * warm_up), 0)
    rng = np.random.default_rng(seed)
    if initial is None:
        refuse_classes(classes(arm))
        counts = rng.multinomial(n_arms, np.full(arm.n_states, 1 / arm.n_states), size=runs)
    else:
        counts = np.tile(initial_counts(initial, arm.n_states, n_arms), (runs, 1))
    upto = np.cumsum(np.concatenate(normalized(arm)), axis=1)  # passive rows, then active ones
    upto[:, -1] = 1.0
    each, total = np.arange(runs), np.zeros(runs)
    for jump in watched(range(skipped + jumps), "jumps"):
        active = feasible(counts, policy.decide(counts, jump), jump)
        if jump >= skipped:
            total += earned(arm, counts, active)
        groups = np.concatenate([counts - active, active], axis=1).cumsum(axis=1)
        rings = rng.integers(n_arms, size=runs)
        row = (groups <= rings[:, None]).sum(axis=1)
        goes = (upto[row] <= rng.random(runs)[:, None]).sum(axis=1)
        counts[each, row % arm.n_states] -= 1
        counts[each, goes] += 1
    return Simulation.of(total / jumps / n_arms)
