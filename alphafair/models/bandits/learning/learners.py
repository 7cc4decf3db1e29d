"""Learners: what to do in the next episode, after what was seen of arms that nobody knows.

n rested arms, one activated at each step, pay 0 or 1 and move; their mean rewards and transitions
are unknown.  At the start of an episode a learner makes a plan, and follows it to the end (`run`
says what an episode is).  X = Π_a S_a is the number of joint states, S^n if the arms have S each:

    ==========  ===========================================  ===================  ================
    learner     model that it plans with                     plan                 work for a plan
    ==========  ===========================================  ===================  ================
    MBPSRL      drawn from the posterior of each arm         Gittins indices      linear in n
    MBUCBVI     mean of each arm, rewards plus a bonus       Gittins indices      linear in n
    MBUCRL2     best in a confidence set of each arm         on all joint states  exponential in n
    PSRL        drawn from the posterior of the product      on all joint states  exponential in n
    UCBVI       mean of the product, rewards plus a bonus    on all joint states  exponential in n
    UCRL2       best in a confidence set of the product      on all joint states  exponential in n
    ==========  ===========================================  ===================  ================

The last three do not know that there are arms: they learn a chain on X states with n actions.

Confidence sets and bonuses, with N the visits of a state before the episode, t the steps so far, K
the number of episodes and M = Σ_a S_a the number of states of all arms::

    reward         r̂ ± √( ln(2 M K t) / (2 max(1, N)) )
    transition     ‖q − q̂‖₁ ≤ √( 2 ln(M K 2^S t) / max(1, N) )
    bonus          r̂ + √( ln(2 M K t) / (2 max(1, N)) ) / (1 − β)

The forms are recalled from the paper; constants inside the logarithms may differ from it.  Ours
are: max(1, t) for t; equal probabilities q̂ where nothing was seen; rewards of a confidence set cut
at 1, those with a bonus not cut; for the product learners X n and X in the places of M and S; and
MBUCRL2 may choose q anew in each joint state, which only makes it more optimistic.

Another learner is any object with the attributes of `Learner`.

References:
    N. Gast, B. Gaujal, K. Khun, "Learning algorithms for Markovian bandits: is posterior sampling
    more scalable than optimism?", TMLR 2022, arXiv:2106.08771.  On one chain, the product: I.
    Osband, D. Russo, B. Van Roy, "(More) efficient reinforcement learning via posterior sampling",
    NeurIPS 2013; T. Jaksch, R. Ortner, P. Auer, "Near-optimal regret bounds for reinforcement
    learning", JMLR 11 (2010); M. Azar, I. Osband, R. Munos, "Minimax regret bounds for
    reinforcement learning", ICML 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ....checks import Floats, Integers
from ..arms import discount_factor
from .kernels import gittins_indices, optimistic_arms

JOINT = 4096  # joint states that can be listed
PRODUCT = 1024  # joint states up to which the X · n · X transitions of the product are learned
GAIN = 1e-12  # an action better by less than this part of max V / (1 − β) is not better


class Seen(NamedTuple):
    """What a learner has seen of n arms, padded to S states each.

    Attributes:
        sizes: (n,) number of states S_a of each arm.
        strides: (n,) joint state x = Σ s_a · strides[a]; zeros if there are more than 4096.
        possible: (n, S, S) 1 from and to states of the arm; padding stands still.
        moves: (n, S, S) how often arm a moved from s to s', the last step of an episode included.
        paid: (n, S) how often arm a paid 1 in state s.
        joint_moves: (X, n, X) the same by joint states; empty unless the learner asks for it.
        joint_paid: (X, n).
        episodes: K, how many there will be.
    """

    sizes: Integers
    strides: Integers
    possible: Floats
    moves: Integers
    paid: Integers
    joint_moves: Integers
    joint_paid: Integers
    episodes: int

    @property
    def visits(self) -> Integers:
        """(n, S) how often arm a was activated in state s."""
        counts: Integers = self.moves.sum(axis=2)
        return counts

    @property
    def steps(self) -> int:
        """The number of steps so far, t."""
        return int(self.moves.sum())

    @property
    def joint_states(self) -> int:
        """X = Π S_a."""
        return math.prod(self.sizes.tolist())


class Plan(NamedTuple):
    """What to do in an episode: a priority of each state, or an arm for each joint state.

    Attributes:
        priority: (n, S); the arm whose state has the largest one is activated, the first if tied.
        choice: (X,) the arm that is activated.  One of the two is given.
        value: (X,) the values of the model that was planned with, if it was solved for them.
    """

    priority: Floats | None = None
    choice: Integers | None = None
    value: Floats | None = None


class Learner(Protocol):
    """What `run` asks of a learner.

    Attributes:
        discount: β in (0, 1).
        largest: number of joint states that it can plan for; inf if it does not list them.
        joint: whether moves are to be counted by joint state.
    """

    @property
    def discount(self) -> float: ...  # noqa: D102

    @property
    def largest(self) -> float: ...  # noqa: D102

    @property
    def joint(self) -> bool: ...  # noqa: D102

    def plan(self, seen: Seen, rng: np.random.Generator, last: Plan | None) -> Plan:
        """The plan for the next episode; ``last`` is that of the episode before."""
        ...


@dataclass(frozen=True)
class _Settings:
    """What all learners have: a discount, checked."""

    discount: float
    largest: ClassVar[float] = np.inf
    joint: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "discount", discount_factor(self.discount, average=False))


class MBPSRL(_Settings):
    """Posterior sampling, arm by arm: draw the arms, play the Gittins indices of what was drawn.

    The prior is uniform.  After f rewards of 1 in N visits of a state, and m_j moves to j::

        r ~ Beta(1 + f, 1 + N − f),        q ~ Dirichlet(1 + m_1, …, 1 + m_S)

    Args:
        discount: β in (0, 1); an episode lasts 1/(1 − β) steps on average.

    Raises:
        ValueError: a discount outside (0, 1).

    Example:
        >>> MBPSRL(discount=0.9)
        MBPSRL(discount=0.9)
    """

    def plan(self, seen: Seen, rng: np.random.Generator, last: Plan | None = None) -> Plan:
        """Draw each arm, and compute its indices."""
        reward = rng.beta(1.0 + seen.paid, 1.0 + seen.visits - seen.paid)
        drawn = rng.standard_gamma(seen.moves + seen.possible)
        P = drawn / drawn.sum(axis=2, keepdims=True)
        return Plan(priority=gittins_indices(P, reward, seen.sizes, self.discount))


class MBUCBVI(_Settings):
    """Optimism in rewards only, arm by arm: Gittins indices of the mean arm, rewards plus a bonus.

    The bonus is so large that it makes up for what is not known of transitions.

    Args:
        discount: β in (0, 1).

    Raises:
        ValueError: a discount outside (0, 1).
    """

    def plan(self, seen: Seen, rng: np.random.Generator, last: Plan | None = None) -> Plan:
        """Add the bonus, and compute the indices."""
        reward, radius = _rewards(seen, seen.paid, seen.visits)
        P = _frequencies(seen.moves, seen.possible)
        bonus = radius / (1 - self.discount)
        return Plan(priority=gittins_indices(P, reward + bonus, seen.sizes, self.discount))


class MBUCRL2(_Settings):
    """Optimism in rewards and transitions, arm by arm: no index tells the optimistic policy.

    It is found by policy iteration on the joint states, at most 4096.

    Args:
        discount: β in (0, 1).

    Raises:
        ValueError: a discount outside (0, 1).
    """

    largest = JOINT

    def plan(self, seen: Seen, rng: np.random.Generator, last: Plan | None = None) -> Plan:
        """The best policy for the best arms in the confidence sets."""
        reward, radius = _rewards(seen, seen.paid, seen.visits)
        wide = _transitions(seen, int(seen.sizes.sum()), seen.sizes[:, None], seen.visits)
        choice, value = optimistic_arms(
            _frequencies(seen.moves, seen.possible),
            np.minimum(reward + radius, 1.0),
            wide,
            seen.sizes,
            seen.strides,
            self.discount,
            _values(seen, last),
            GAIN,
            seen.episodes,
        )
        return Plan(choice=choice, value=value)


class PSRL(_Settings):
    """Posterior sampling on the product: a Dirichlet law for each joint state and arm.

    Args:
        discount: β in (0, 1).

    Raises:
        ValueError: a discount outside (0, 1).
    """

    largest, joint = PRODUCT, True

    def plan(self, seen: Seen, rng: np.random.Generator, last: Plan | None = None) -> Plan:
        """Draw a chain on the joint states, and solve it."""
        visits = seen.joint_moves.sum(axis=2)
        reward = rng.beta(1.0 + seen.joint_paid, 1.0 + visits - seen.joint_paid)
        P = rng.standard_gamma(seen.joint_moves + 1.0)
        P /= P.sum(axis=2, keepdims=True)
        return optimistic_chain(P, reward, None, self.discount, _values(seen, last))


class UCBVI(_Settings):
    """Optimism in rewards only, on the product: the mean chain, rewards plus a bonus.

    Args:
        discount: β in (0, 1).

    Raises:
        ValueError: a discount outside (0, 1).
    """

    largest, joint = PRODUCT, True

    def plan(self, seen: Seen, rng: np.random.Generator, last: Plan | None = None) -> Plan:
        """Add the bonus, and solve."""
        reward, radius = _rewards(seen, seen.joint_paid, seen.joint_moves.sum(axis=2))
        bonus, P = radius / (1 - self.discount), _frequencies(seen.joint_moves, 1.0)
        return optimistic_chain(P, reward + bonus, None, self.discount, _values(seen, last))


class UCRL2(_Settings):
    """Optimism in rewards and transitions, on the product.

    Args:
        discount: β in (0, 1).

    Raises:
        ValueError: a discount outside (0, 1).
    """

    largest, joint = PRODUCT, True

    def plan(self, seen: Seen, rng: np.random.Generator, last: Plan | None = None) -> Plan:
        """The best policy for the best chain in the confidence set."""
        visits = seen.joint_moves.sum(axis=2)
        reward, radius = _rewards(seen, seen.joint_paid, visits)
        wide = _transitions(seen, visits.size, len(visits), visits)
        P, reward = _frequencies(seen.joint_moves, 1.0), np.minimum(reward + radius, 1.0)
        return optimistic_chain(P, reward, wide, self.discount, _values(seen, last))


def optimistic_chain(
    P: Floats, R: Floats, radius: Floats | None, discount: float, start: Floats
) -> Plan:
    """The best policy of a chain on X states with n actions, and the best transitions near P.

    Policy iteration, from the values ``start``, for::

        V(x) = max_a  R[x, a] + β max { q·V : ‖q − P[x, a]‖₁ ≤ radius[x, a] }

    Args:
        P: (X, n, X) transitions.
        R: (X, n) rewards.
        radius: (X, n) ≥ 0; None if P is to be taken as it is.
        discount: β in (0, 1).
        start: (X,) values to start from.

    Returns:
        `Plan` with choice and value.  Arms that are equal up to rounding tie: the first wins, so
        that the choice is the same on every machine.

    Example:
        >>> P = [[[1, 0], [0, 1]], [[0, 1], [0, 1]]]         # stay in state 0, or go to 1
        >>> R = np.array([[0.4, 0], [1, 1]])
        >>> optimistic_chain(np.array(P, float), R, None, 0.5, np.zeros(2))
        Plan(priority=None, choice=array([1, 0]), value=array([1., 2.]))
    """
    V, x = start, np.arange(len(R))
    followed: Integers | None = None
    while True:
        q = P if radius is None else _towards(P, radius, V)
        Q = R + discount * (q @ V)
        margin = GAIN * (1 + np.abs(V).max()) / (1 - discount)
        choice: Integers = (Q.max(axis=1, keepdims=True) - Q <= margin).argmax(axis=1)
        if followed is None:
            followed = choice
        else:
            better = Q[x, choice] > V + margin
            if not better.any():
                return Plan(choice=choice, value=V)
            followed = np.where(better, choice, followed)
        A = np.eye(len(R)) - discount * q[x, followed]
        V = np.linalg.solve(A, R[x, followed]).astype(float, copy=False)


def _towards(P: Floats, radius: Floats, V: Floats) -> Floats:
    """(X, n, X) the q with ‖q − p‖₁ ≤ radius that has the largest mean of V, for each row p.

    Half the radius goes to the best state, and comes from the worst ones first.
    """
    order = np.argsort(V, kind="stable")
    q = P[..., order]
    more = np.minimum(radius / 2, 1 - q[..., -1])
    q[..., -1] += more
    others = q[..., :-1]
    below = np.cumsum(others, axis=-1) - others
    others -= np.clip(more[..., None] - below, 0, others)
    back = np.empty_like(order)
    back[order] = np.arange(order.size)
    moved: Floats = q[..., back]
    return moved


def _frequencies(moves: Integers, possible: Any) -> Floats:
    """Transitions as often as they were seen; where nothing was seen, as often as each other."""
    weight = np.where(moves.sum(axis=-1, keepdims=True) > 0, moves, possible)
    share: Floats = weight / weight.sum(axis=-1, keepdims=True)
    return share


def _rewards(seen: Seen, paid: Integers, visits: Integers) -> tuple[Floats, Floats]:
    """Mean rewards r̂, and the radius √(ln(2 M K t) / (2 max(1, N))) of their intervals."""
    states = int(seen.sizes.sum()) if paid is seen.paid else visits.size
    log = math.log(2.0 * states * seen.episodes * max(1, seen.steps))
    often = np.maximum(1, visits)
    return paid / often, np.sqrt(log / (2 * often))


def _transitions(seen: Seen, states: int, successors: Any, visits: Integers) -> Floats:
    """The radius √(2 ln(M K 2^S t) / max(1, N)) of the sets of transitions."""
    log = math.log(float(states) * seen.episodes * max(1, seen.steps)) + math.log(2) * successors
    radius: Floats = np.sqrt(2 * log / np.maximum(1, visits))
    return radius


def _values(seen: Seen, last: Plan | None) -> Floats:
    """The values to start from: those of the last plan are close."""
    if last is None or last.value is None:
        return np.zeros(seen.joint_states)
    return last.value
