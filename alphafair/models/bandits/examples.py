"""Textbook arms: small enough to print, each with something known about it.

Every function returns an `Arm`, but for `applicant_screening`, which returns a whole story.
Numbers called *known* are published or have a closed form; the others were computed.  Where a
source prints matrices to a few digits the rows are divided by their sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, Integers, number, reals, refuse_first
from ..common import whole
from .arms import Arm
from .sparse import matrix_of

ROWS = ("exponential", "uniform")


def machine_maintenance() -> Arm:
    """A machine is good (0), worn (1) or broken (2); a service costs output and repairs it.

    Made for this book.  Whittle index at discount 0.9: −0.303, 1.328, 2.434: the worse, the sooner.

    Example:
        >>> machine_maintenance().P1.tolist()[2]
        [0.8, 0.1, 0.1]
    """
    return Arm(
        [[0.7, 0.25, 0.05], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]],
        [[0.95, 0.05, 0.0], [0.9, 0.1, 0.0], [0.8, 0.1, 0.1]],
        [1.0, 0.6, 0.0],
        [0.6, 0.3, -0.2],
    )


def age_of_information(horizon: int) -> Arm:
    """News grows old by a step at a time until it is fetched (active); old news costs its age.

    State i is the age i + 1, and ages stop at H = ``horizon``.  Known, average reward: the index of
    age a is a (a + 1) / 2 for a < H and that of H is H (H − 1) / 2, equal to the one before it.

    References:
        Y.-P. Hsu, "Age of information: Whittle index for scheduling stochastic arrivals" (ISIT
        2018), for perfect channels and an arrival in each step.

    Example:
        >>> age_of_information(3).R1.tolist()
        [-1.0, -2.0, -3.0]
    """
    size = whole("horizon", horizon, 2)
    older, fresh = np.eye(size, k=1), np.zeros((size, size))
    older[-1, -1] = 1
    fresh[:, 0] = 1
    cost = -np.arange(1.0, size + 1)
    return Arm(older, fresh, cost, cost)


def gilbert_elliott(p01: float, p11: float, horizon: int) -> Arm:
    """A channel that is seen only when it is used: the state is the belief that it is on.

    Left alone, a belief w becomes T w = p01 + (p11 − p01) w; when used, it is seen to be on with
    probability w and the next belief is p11, or off and it is p01.  States, K = ``horizon``::

        k = 0 … K − 1          T^k p11, seen on k + 1 steps ago
        k = K … 2K − 1         T^(k − K) p01, seen off k − K + 1 steps ago
        2K                     p01 / (1 − p11 + p01), never seen; here end those seen K steps ago

    ``R1`` is the belief: a step of use pays 1 if the channel is on.

    Args:
        p01: chance that a channel which is off is on in the next step, in [0, 1].
        p11: chance that a channel which is on stays on, in [0, 1], p11 − p01 < 1.
        horizon: K ≥ 1, steps after which a sighting is forgotten.

    Known, average reward, p11 ≥ p01, K = ∞: the index is w for w ≤ p01 or w ≥ p11; for beliefs
    from the stationary one to p11 it is w / (1 − p11 + w); the others have a closed form too.

    References:
        K. Liu, Q. Zhao, "Indexability of restless bandit problems and optimality of Whittle index
        for dynamic multichannel access", IEEE Transactions on Information Theory 56 (2010).

    Example:
        >>> gilbert_elliott(0.2, 0.8, 2).R1.round(3).tolist()
        [0.8, 0.68, 0.2, 0.32, 0.5]
    """
    lost, kept = (
        number(name, p, "in [0, 1]", lambda q: 0 <= q <= 1)
        for name, p in (("p01", p01), ("p11", p11))
    )
    if kept - lost == 1:
        raise ValueError("p01 is 0 and p11 is 1: the channel never changes; one of them must move")
    steps = whole("horizon", horizon, 1)
    limit = lost / (1 - kept + lost)
    memory = (kept - lost) ** np.arange(steps)
    belief = np.concatenate([limit + memory * (kept - limit), limit + memory * (lost - limit)])
    belief = np.clip(np.append(belief, limit), 0, 1)
    size = 2 * steps + 1
    passive, active = np.zeros((size, size)), np.zeros((size, size))
    after = np.arange(1, size + 1)
    after[[steps - 1, 2 * steps - 1, 2 * steps]] = 2 * steps
    passive[np.arange(size), after] = 1
    active[:, 0], active[:, steps] = belief, 1 - belief
    return Arm(passive, active, 0.0, belief)


def circulant() -> Arm:
    """Four states in a circle: active turns it forward, passive back, or else it stays.

    Known, average reward: the indices are −1/2, 1/2, 1, −1.

    References:
        V. Avrachenkov, V. Borkar, "Whittle index based Q-learning for restless bandits with average
        reward", Automatica 139 (2022); J. Fu et al. (2019) before them.

    Example:
        >>> circulant().R1.tolist()
        [-1.0, 0.0, 0.0, 1.0]
    """
    stay = np.eye(4)
    back, forward = np.roll(stay, -1, axis=1), np.roll(stay, 1, axis=1)
    paid = [-1, 0, 0, 1]
    return Arm((stay + back) / 2, (stay + forward) / 2, paid, paid)


def restart(n_states: int = 5, decay: float = 0.9, chance: float = 0.1) -> Arm:
    """A page is left to run, for less and less, or is restarted (active) without a reward.

    Left alone it pays ``decay ** (i + 1)`` in state i and moves on, or by ``chance`` starts again.

    Known, average reward, with the defaults, printed to two digits: −0.9, −0.73, −0.5, −0.26,
    −0.01.  The fifth is +0.009893 in truth, and the third −0.50949.

    References:
        V. Avrachenkov, V. Borkar, "Whittle index based Q-learning for restless bandits with average
        reward", Automatica 139 (2022).

    Example:
        >>> restart().R0.round(3).tolist()
        [0.9, 0.81, 0.729, 0.656, 0.59]
    """
    size = whole("n_states", n_states, 2)
    falls = number("decay", decay, "in (0, 1]", lambda d: 0 < d <= 1)
    back = number("chance", chance, "in [0, 1]", lambda p: 0 <= p <= 1)
    run, again = (1 - back) * np.eye(size, k=1), np.zeros((size, size))
    run[-1, -1] = 1 - back
    run[:, 0] += back
    again[:, 0] = 1
    return Arm(run, again, falls ** np.arange(1, size + 1), 0.0)


def random_dense(n_states: int, seed: int, rows: str = "exponential") -> Arm:
    """A restless arm drawn at random: every transition possible, rewards uniform on [0, 1].

    Args:
        n_states: S ≥ 1.
        seed: of ``numpy.random.default_rng``.
        rows: what the entries are drawn from before a row is divided by its sum: "exponential",
            which is uniform on all distributions, or "uniform" on [0, 1], whose rows are closer to
            each other.

    Of 12000 arms with three states 12 were not indexable with exponential rows and 2 with uniform.

    Example:
        >>> random_dense(3, seed=0).P0.shape
        (3, 3)
    """
    size, rng = whole("n_states", n_states, 1), np.random.default_rng(seed)
    if rows not in ROWS:
        raise ValueError(f"rows is {rows!r}: must be one of {', '.join(map(repr, ROWS))}")
    draw = rng.exponential if rows == "exponential" else rng.uniform
    passive, active = (_rows(draw(size=(size, size))) for _ in range(2))
    return Arm(passive, active, rng.random(size), rng.random(size))


def random_rested(n_states: int, seed: int) -> Arm:
    """A rested arm drawn at random: rows uniform on all distributions, rewards on [0, 1].

    Example:
        >>> random_rested(2, seed=0).P0.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    size, rng = whole("n_states", n_states, 1), np.random.default_rng(seed)
    return Arm.rested(_rows(rng.exponential(size=(size, size))), rng.random(size))


def task_scheduling(hazard: ArrayLike) -> Arm:
    """A task of unknown length that pays 1 when done: the state is how long it was worked on.

    Work in state i finishes the task with probability ``hazard[i]`` and otherwise leads to state
    i + 1; the last state with a hazard repeats.  The state after it, n, is done.  Rested.

    Known: where the hazard falls the Gittins index is the hazard, for any discount.

    Args:
        hazard: (n,) in [0, 1].

    References:
        M. Duff, "Q-learning for bandit problems" (ICML 1995).

    Example:
        >>> task_scheduling([0.5, 0.25]).P1.tolist()
        [[0.0, 0.5, 0.5], [0.0, 0.75, 0.25], [0.0, 0.0, 1.0]]
    """
    chance = np.array(reals("hazard", hazard))
    if chance.ndim != 1 or chance.size == 0:
        raise ValueError(f"hazard has shape {chance.shape}: must be (n,), one for each state")
    refuse_first("hazard", chance, (chance >= 0) & (chance <= 1), "a probability in [0, 1]")
    size = chance.size
    work = np.zeros((size + 1, size + 1))
    work[np.arange(size), np.minimum(np.arange(size) + 1, size - 1)] = 1 - chance
    work[:size, size] = chance
    work[size, size] = 1
    return Arm.rested(work, np.append(chance, 0.0))


def bernoulli(length: int) -> Arm:
    """Trials of an unknown chance of success: the state is the posterior Beta(a, b).  Rested.

    A trial pays 1 with the mean a / (a + b) and leads to (a + 1, b), otherwise to (a, b + 1).  At
    a + b = ``length`` + 1 learning ends and the mean is paid for ever.  There are
    length (length + 1) / 2 states, by a + b and then by a (`bernoulli_state`); sparse
    where scipy is installed.

    Known, Gittins index of (1, 1): 0.7029 at discount 0.9, 0.8699 at 0.99, as ``length`` → ∞; with
    70 it is 0.8695.

    References:
        J.C. Gittins, K. Glazebrook, R. Weber, "Multi-armed bandit allocation indices", 2nd ed.,
        Wiley (2011), the tables at the end.

    Example:
        >>> arm = bernoulli(3)
        >>> arm.R1.round(3).tolist()
        [0.5, 0.333, 0.667, 0.25, 0.5, 0.75]
        >>> arm.P1.toarray()[bernoulli_state(1, 1)].tolist()
        [0.0, 0.5, 0.5, 0.0, 0.0, 0.0]
    """
    steps = whole("length", length, 1)
    total = np.repeat(np.arange(2, steps + 2), np.arange(1, steps + 1))
    a = np.arange(total.size) - bernoulli_state(1, total - 1) + 1
    mean = a / total
    open_ = np.flatnonzero(total <= steps)
    shut = np.flatnonzero(total > steps)
    row = np.concatenate([open_, open_, shut])
    column = np.concatenate(
        [
            bernoulli_state(a[open_] + 1, (total - a)[open_]),
            bernoulli_state(a[open_], (total - a)[open_] + 1),
            shut,
        ]
    )
    chance = np.concatenate([mean[open_], 1 - mean[open_], np.ones(shut.size)])
    return Arm.rested(matrix_of(chance, row, column, total.size), mean)


def bernoulli_state(a: ArrayLike, b: ArrayLike) -> Integers:
    """The state of `bernoulli` that is Beta(a, b): (n − 2)(n − 1)/2 + a − 1 with n = a + b.

    Example:
        >>> bernoulli_state([1, 1, 2], [1, 2, 1]).tolist()
        [0, 1, 2]
    """
    success, failure = np.asarray(a, dtype=np.intp), np.asarray(b, dtype=np.intp)
    if min(success.min(initial=1), failure.min(initial=1)) < 1:
        raise ValueError("a and b must be ≥ 1: Beta(1, 1) is the state before the first trial")
    n = success + failure
    return np.asarray((n - 2) * (n - 1) // 2 + success - 1)


def indexable_without_pcl() -> Arm:
    """Indexable, though an activation can lead to fewer of them: without conservation laws.

    Whittle index at discount 0.9: 0.183129, 0.8033, 0.571305; average: 0.150336, 0.8033, 0.626652.
    With half of the arms active it is the example of exponential convergence of this book.

    References:
        An example of J. Niño-Mora, as public code gives it; the theory is in "Restless bandits,
        partial conservation laws and indexability", Advances in Applied Probability 33 (2001).

    Example:
        >>> indexable_without_pcl().R1.tolist()
        [0.44138, 0.8033, 0.14257]
    """
    return _printed(
        """0.3629 0.5028 0.1343  0.1719 0.1749 0.6532  0 0.44138
           0.0823 0.7534 0.1643  0.0547 0.9317 0.0136  0 0.8033
           0.246  0.0294 0.7246  0.1547 0.6271 0.2182  0 0.14257"""
    )


def pcl_indexable() -> Arm:
    """Indexable with partial conservation laws; one index is negative though no reward is.

    Whittle index at discount 0.9: 0.9016, 0.249776, −0.075021.

    References:
        J. Niño-Mora, as in `indexable_without_pcl`.

    Example:
        >>> pcl_indexable().R1.tolist()
        [0.9016, 0.10949, 0.01055]
    """
    return _printed(
        """0.181  0.4801 0.3389  0.2841 0.4827 0.2332  0 0.9016
           0.2676 0.2646 0.4678  0.5131 0.0212 0.4657  0 0.10949
           0.5304 0.2843 0.1853  0.4612 0.0081 0.5307  0 0.01055"""
    )


def nonindexable(example: int = 1) -> Arm:
    """Two arms without a Whittle index at discounts from 0.9 to 1; at 0.5 both have one.

    Args:
        example: 1 pays only when active; some listings print its P0[2, 1] as 0.269, with which the
            row does not sum to 1.  2 pays in both actions.

    References:
        J. Niño-Mora, "Dynamic priority allocation via restless bandit marginal productivity
        indices", TOP 15 (2007), for arms of this kind.

    Example:
        >>> from alphafair.models.bandits import indexability
        >>> [indexability(nonindexable(2), discount=beta).indexable for beta in (0.5, 0.9)]
        [True, False]
    """
    if whole("example", example, 1, 2) == 1:
        return _printed(
            """0.005  0.793  0.202   0.718  0.254  0.028   0 0.699
               0.027  0.558  0.415   0.347  0.097  0.556   0 0.362
               0.736  0.249  0.015   0.015  0.956  0.029   0 0.715"""
        )
    return _printed(
        """0.1902 0.4156 0.3942  0.7796 0.0903 0.1301  0.458 0.9631
           0.5676 0.4191 0.0133  0.1903 0.1863 0.6234  0.5308 0.7963
           0.0191 0.1097 0.8712  0.2901 0.3901 0.3198  0.6873 0.1057"""
    )


def cycle_example(example: int) -> Arm:
    """Three indexable arms whose Whittle index policy runs in circles (a = 0.4, average reward).

    The fixed point of the mean map is unstable and a cycle of two steps attracts: however many arms
    there are, the policy stays below the linear program.

    Args:
        example: 1, 2 or 3.

    References:
        The matrices are those of public code that cites N. Gast, B. Gaujal, C. Yan, "Exponential
        asymptotic optimality of Whittle index policy", Queueing Systems 104 (2023),
        arXiv:2012.09064.

    Example:
        >>> cycle_example(2).R1.tolist()
        [0.37401552, 0.11740814, 0.07866135]
    """
    return _printed(_CYCLES[whole("example", example, 1, 3) - 1])


def singular_example() -> Arm:
    """The fixed point lies on the border of two regions of the mean map (a = 0.5).

    Made for this book: activating state 0 alone, any state leads to (0.5, 0.3, 0.2), so that just
    half of the arms are in state 0.  Indices, average reward: 1, 5/11, 5/22.  The Whittle index
    policy loses about 1/√N per arm.

    Example:
        >>> singular_example().P1.tolist()[0]
        [0.5, 0.3, 0.2]
    """
    return _printed(
        """0.2    0.3    0.5     0.5    0.3    0.2     0 1
           0.5    0.3    0.2     0.6    0.2    0.2     0 0.4
           0.5    0.3    0.2     0.55   0.25   0.2     0 0.2"""
    )


def conveyor() -> Arm:
    """Eight places on a belt, each with its right action; the wrong one leads back (a = 0.5).

    In places 0–3 to be active is right, in 4–7 to be passive.  The right action leads on with
    chance 0.1, from the last place to the first for a reward of 1; the wrong one leads back with
    chance 0, 1, 0.48, 0.47, …, 0.43.  With an eighth of the arms in each place all can do the right
    thing, for 0.0125 per step.  The Whittle order leads there.  The order of the advantages at
    penalty 0, 1 2 3 0 7 6 5 4, solves the same program and from most starts ends at a reward of 0:
    too many arms in places 4 and 5, active against their interest.

    References:
        Y. Hong, Q. Xie, Y. Chen, W. Wang, "Restless bandits with average reward: breaking the
        uniform global attractor assumption", NeurIPS 2023, arXiv:2306.00196.

    Example:
        >>> conveyor().R0[-1].item()
        0.1
    """
    places = np.arange(8)
    on, back = np.full(8, 0.1), 0.5 - 0.01 * places
    back[:2] = 0, 1  # from the first place there is no way back
    right, wrong = (
        np.diag(1 - chance) + chance[:, None] * np.roll(np.eye(8), step, axis=1)
        for chance, step in ((on, 1), (back, -1))
    )
    first = (places < 4)[:, None]
    paid = np.where(places == 7, 0.1, 0.0)
    return Arm(np.where(first, wrong, right), np.where(first, right, wrong), paid, 0.0)


class Screening(NamedTuple):
    """A story ready for `finite_horizon_relaxation`: what `applicant_screening` returns.

    Attributes:
        arm: an applicant.
        initial: (S,) everybody is new.
        fraction: (T,) part of the applicants that is interviewed in each round, then admitted.
        horizon: T, the number of rounds.
        label: (S, 3) whole numbers (round, a, b) for each state; (T, 0, 0) when all is over.
    """

    arm: Arm
    initial: Floats
    fraction: Floats
    horizon: int
    label: Integers


def applicant_screening(
    rounds: int = 5, interviewed: float = 0.25, admitted: float = 0.1
) -> Screening:
    """Interview some applicants in each round, and in the last round admit those who seem best.

    An applicant succeeds in an interview with probability p, which nobody knows; at first it is
    uniform, Beta(1, 1).  After a − 1 successes and b − 1 failures it is Beta(a, b).  Rounds
    0 … T−2 are interviews: an active applicant moves from (a, b) to (a + 1, b) with probability
    a / (a + b) and to (a, b + 1) otherwise; nobody pays.  Round T−1 admits: an active applicant
    pays p in the mean, a / (a + b).

    An arm does not know the time, so the round is part of the state: (round, a, b), with
    a + b ≤ round + 2.  After the last round all are in one state that pays nothing.

    The story is that of Brown and Smith; the numbers 5, 1/4 and 1/10 and the form of the states are
    ours.

    Args:
        rounds: T ≥ 1, with the last, which admits; there are about T³/6 states.
        interviewed: part of the applicants that is interviewed in each of the first T − 1 rounds.
        admitted: part that is admitted.

    Returns:
        `Screening`.

    Raises:
        ValueError: no round, or parts outside [0, 1].

    References:
        Brown, Smith: Index policies and performance bounds for dynamic selection problems.
        Management Science 66 (2020).

    Example:
        Two rounds of interviews raise the mean quality of the admitted tenth from 1/2.

        >>> from alphafair.models.bandits import finite_horizon_relaxation
        >>> story = applicant_screening(rounds=3)
        >>> plan = finite_horizon_relaxation(*story[:4])
        >>> story.arm, round(float(plan.value / story.fraction[-1]), 4)
        (Arm(S=11), 0.7361)
    """
    T = whole("rounds", rounds, 1)
    parts = {"interviewed": interviewed, "admitted": admitted}
    for name, part in parts.items():
        number(name, part, "in [0, 1]", lambda x: 0 <= x <= 1)
    label = [(t, a, n - a) for t in range(T) for n in range(2, t + 3) for a in range(1, n)] + [
        (T, 0, 0)
    ]
    state = {key: s for s, key in enumerate(label)}
    moves = [move for key in label for move in _moves(key, T, state)]
    P0, P1 = (_matrix([move[1:] for move in moves if move[0] == a], len(label)) for a in (0, 1))
    paid = [a / (a + b) if t == T - 1 else 0.0 for t, a, b in label]
    fraction = np.array([interviewed] * (T - 1) + [admitted], dtype=float)
    initial = np.eye(len(label))[0]
    return Screening(Arm(P0, P1, 0.0, paid), initial, fraction, T, np.array(label))


_CYCLES = (
    """0.5214073  0.40392496 0.07466774   0.24639364 0.23402385 0.51958251   0 0.72232506
       0.0158415  0.21455666 0.76960184   0.49681581 0.49509821 0.00808597   0 0.18844869
       0.53722329 0.37651148 0.08626522   0.37826553 0.15469252 0.46704195   0 0.25752477""",
    """0.02232142 0.10229283 0.87538575   0.14874601 0.30435809 0.54689589   0 0.37401552
       0.03426605 0.17175704 0.79397691   0.56845754 0.41117331 0.02036915   0 0.11740814
       0.52324756 0.45523298 0.02151947   0.2526557  0.27310439 0.4742399    0 0.07866135""",
    """0.47819592 0.02090623 0.50089785   0.00279465 0.37327924 0.62392611   0 0.97658608
       0.08063373 0.15456935 0.76479692   0.51582335 0.46333908 0.02083756   0 0.53014109
       0.66552514 0.08481946 0.2496554    0.41875202 0.17776712 0.40348086   0 0.40394919""",
)


def _printed(table: str) -> Arm:
    """An arm of three states as papers print it: rows of P0, P1, R0, R1, to a few digits."""
    values = np.array(table.split(), dtype=float).reshape(3, 8)
    return Arm(_rows(values[:, :3]), _rows(values[:, 3:6]), values[:, 6], values[:, 7])


def _rows(matrix: Floats) -> Floats:
    """Rows divided by their sums."""
    rescaled: Floats = matrix / matrix.sum(axis=1, keepdims=True)
    return rescaled


def _moves(
    key: tuple[int, int, int], T: int, state: dict[tuple[int, int, int], int]
) -> list[tuple[int, int, int, float]]:
    """(action, from, to, probability) of an applicant in (round, a, b)."""
    t, a, b = key
    here = state[key]
    if t >= T - 1:
        return [(action, here, state[T, 0, 0], 1.0) for action in (0, 1)]
    won, lost = state[t + 1, a + 1, b], state[t + 1, a, b + 1]
    success = a / (a + b)
    return [
        (0, here, state[t + 1, a, b], 1.0),
        (1, here, won, success),
        (1, here, lost, 1 - success),
    ]


def _matrix(moves: list[tuple[int, int, float]], size: int) -> Any:
    """The transitions (from, to, probability)."""
    row, column, probability = zip(*moves, strict=True)
    return matrix_of(probability, row, column, size)
