"""Fair shares of attention: one staff, several crowds, and a decision at every step.

Group k has N_k restless arms (`bandits.Arm`): patients who get better or worse, visited or not.
M of all arms can be activated at each step.  Give group k a share of x_k activations a step, and
let it spend them as well as it can.  In the relaxation, which asks for the share on average only,
what an arm of group k then earns for ever is a linear program::

    v_k(a) = max Σ_s R0_s y(s, 0) + R1_s y(s, 1),   y stationary,   Σ_s y(s, 1) ≤ a = x_k / N_k ,

and the value of a linear program is **concave and piecewise linear** in its right-hand side.  So
V_k(x) = v_k(x/N_k) is what money is worth inside a group (`alphafair.value`): a baseline v_k(0),
what the group has without attention, and pieces, each a slope and a length, which are items with
caps.  `attention_problem` writes them down, and everything of Part I applies to the result: α,
frontier, price of fairness, certificate, all budgets.

The pieces are found from outside.  At a price λ of an activation one arm, left to itself, solves
max v − λ a, and its answer is a corner of the curve.  Between two corners the price at which the
arm does not care which is the slope of the chord: ask at that price, and either a corner above the
chord comes back, or the chord is a piece (Eisner, Severance 1976).  A curve of J pieces is known
after 2 J + 1 questions.

`SharePolicy` realises the shares: inside a group by priority, across groups by drawing, at each
step, whole numbers with these means.  One uniform number for all groups keeps every group within
one activation of its share, and all together within the budget.  No policy earns more for a group
with these shares than V_k; as the groups grow, priority reaches it where the mean field is stable
(`bandits.stationary_relaxation` says whether).

References:
    M. Eisner, D. Severance, "Mathematical techniques for efficient record segmentation in large
    shared databases", Journal of the ACM 23 (1976).
    P. Whittle, "Restless bandits", J. Applied Probability 25A (1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..checks import Floats, Integers, reals, refuse_first
from ..problem import Problem
from .bandits.arms import Arm
from .bandits.counts import normalized
from .bandits.planning import stationary_relaxation
from .bandits.policies import in_order
from .bandits.simulate import walk
from .common import Simulation, scipy, whole

CORNER = 1e-9  # how far above a chord, relative to the rewards, a corner must lie to be one
DECIDED = 1e-9  # activations that are whole within this are whole


@dataclass(frozen=True, eq=False)
class AttentionValue:
    """What attention is worth to one arm: the corners of v(a), concave and increasing.

    Attributes:
        fraction: (J + 1,) part of the time in which the arm is active, from 0 up to where more
            activations add nothing.
        value: (J + 1,) reward per step, v at these fractions.
        price: (J,) slopes of the pieces, decreasing: reward of one more activation.

    Example:
        A machine earns 5 as new and 2 as worn; a service, which costs 1, makes it as new.

        >>> worn = Arm([[0.8, 0.2], [0, 1]], [[1, 0], [1, 0]], [5, 2], [4, 1])
        >>> curve = attention_value(worn)
        >>> curve.fraction.round(6).tolist(), curve.value.round(6).tolist()
        ([0.0, 0.166667], [2.0, 4.333333])
    """

    fraction: Floats
    value: Floats

    @property
    def price(self) -> Floats:
        """Slopes of the pieces."""
        slopes: Floats = np.diff(self.value) / np.diff(self.fraction)
        return slopes

    def __call__(self, fraction: ArrayLike) -> Floats:
        """V at any fractions in [0, 1]."""
        a = reals("fraction", fraction)
        refuse_first("fraction", a, (a >= 0) & (a <= 1), "in [0, 1]")
        values: Floats = np.interp(a, self.fraction, self.value)
        return values


def attention_value(arm: Arm) -> AttentionValue:
    """The value of an arm's own share of attention, v(a).

    Args:
        arm: any `Arm` in which the long run does not depend on the start.

    Returns:
        `AttentionValue`, to about 1e−9 of the rewards.
    """
    one = _OneArm(*normalized(arm), arm.R0, arm.R1)
    first, last = one.at(np.inf), one.at(0.0)
    if last[1] <= first[1] + CORNER * one.scale:
        return AttentionValue(np.array(first[:1]), np.array(first[1:]))
    corners = [first, *_between(one, first, last), last]
    while corners[-1][1] <= corners[-2][1] + CORNER * one.scale:
        corners.pop()  # more attention than is worth anything
    fraction, value = np.array(corners).T
    return AttentionValue(fraction, value)


def _between(one: _OneArm, left: Corner, right: Corner) -> list[Corner]:
    """The corners strictly between two, left to right."""
    price = (right[1] - left[1]) / (right[0] - left[0])
    found = one.at(price)
    above = found[1] - left[1] - price * (found[0] - left[0])
    if above <= CORNER * one.scale or not left[0] < found[0] < right[0]:
        return []
    return [*_between(one, left, found), found, *_between(one, found, right)]


Corner = tuple[float, float]


class _OneArm:
    """One arm that pays for its activations."""

    def __init__(self, P0: Floats, P1: Floats, R0: Floats, R1: Floats):
        size = R0.size
        self.R = np.concatenate([R0, R1])
        self.scale = float(np.abs(self.R).max()) or 1.0
        flow = np.hstack([np.eye(size) - P0.T, np.eye(size) - P1.T])
        self.equations = np.vstack([flow, np.ones(2 * size)])
        self.active = np.repeat([0.0, 1.0], size)

    def at(self, price: float) -> Corner:
        """(a, v) of a corner that maximises v − price a; at an infinite price a = 0."""
        size = self.R.size // 2
        upper = np.where(self.active == 1, 0.0, 1.0) if price == np.inf else np.ones(2 * size)
        cost = -self.R / self.scale + (0 if price == np.inf else price / self.scale * self.active)
        side = np.append(np.zeros(size), 1.0)
        result = scipy(
            "the value of attention"
        ).optimize.linprog(
            cost,
            A_eq=self.equations[1:],  # the other equations imply the first
            b_eq=side[1:],
            bounds=np.stack([np.zeros(2 * size), upper], axis=1),
            method="highs-ds",
        )
        if result.status != 0:
            raise RuntimeError(f"the linear program was not solved: {result.message}")
        support = np.flatnonzero(result.x > CORNER)
        exact = np.zeros(2 * size)
        exact[support] = np.linalg.lstsq(self.equations[:, support], side, rcond=None)[0]
        y = exact if np.abs(exact - result.x).max() < 1e-6 else result.x
        return float(self.active @ y), float(self.R @ y)


def attention_problem(
    arms: Mapping[Any, Arm],
    sizes: Mapping[Any, int],
    activations: float,
    *,
    weight: ArrayLike | Mapping[Any, float] | str | None = None,
) -> Problem:
    """Who should be attended to how often, as a problem of Part I.

    Args:
        arms: label of each group → one of its arms.
        sizes: label → N_k ≥ 1, how many arms the group has.
        activations: M, how many of all arms can be activated at each step, ≥ 0.
        weight: of the groups in the welfare, as in `Problem`: (K,), by label, or "size" for N_k.

    Returns:
        A `Problem` whose money are activations a step, whose groups are these, with one row each,
        and whose utilities are rewards per arm and step, v_k(x_k / N_k): `allocate(alpha)`,
        `frontier`, `budget_path`, `optimality_gap` apply.  ``Allocation.group_budget`` is x_k.

    Raises:
        ValueError: no groups, labels that differ, a size that is not a whole number ≥ 1, a group
            that earns less than 0 without attention.

    Example:
        >>> worn = Arm([[0.8, 0.2], [0, 1]], [[1, 0], [1, 0]], [5, 2], [4, 1])
        >>> slow = Arm([[0.9, 0.1], [0, 1]], [[1, 0], [1, 0]], [5, 2], [4, 1])
        >>> problem = attention_problem({"fast": worn, "slow": slow}, {"fast": 60, "slow": 60}, 10)
        >>> problem.allocate(0).group_budget.round(3).tolist()
        [4.545, 5.455]
        >>> problem.allocate(float("inf")).group_budget.round(3).tolist()
        [6.744, 3.256]
    """
    labels, count = _groups(arms, sizes)
    curves = [attention_value(arms[label]) for label in labels]
    pieces = max(curve.price.size for curve in curves)
    slope, length = np.zeros((2, len(labels), max(pieces, 1)))
    for k, curve in enumerate(curves):
        j = curve.price.size
        slope[k, :j] = curve.price / count[k]
        length[k, :j] = np.diff(curve.fraction) * count[k]
    start = np.array([curve.value[0] for curve in curves])
    bad = np.flatnonzero(start < 0)
    if bad.size:
        raise ValueError(
            f"group {labels[bad[0]]!r} earns {start[bad[0]]:.6g} a step without attention: rewards "
            f"must make that ≥ 0; add a constant to the rewards of all groups"
        )
    if isinstance(weight, str) and weight == "size":
        weight = count.astype(float)
    return Problem(slope, 1.0, labels, activations, cap=length, baseline=start, weight=weight)


class SharePolicy:
    """Give each group its share of activations, and spend it inside by priority.

    At each step one uniform number u is drawn, and group k gets ⌊X_k + u⌋ − ⌊X_{k−1} + u⌋
    activations, X_k = x_1 + … + x_k: x_k on average, never more than one away, and all together
    ⌊X_K + u⌋, which is their sum where that is whole.  Inside a group the states are served in the
    order of the relaxation: by Whittle index where there is one.

    Args:
        arms, sizes: as in `attention_problem`.
        shares: label → x_k, or (K,) in the order of the sorted labels
            (``Allocation.group_budget``); 0 ≤ x_k ≤ N_k.

    Attributes:
        labels: (K,) groups.
        sizes: (K,).
        shares: (K,).
        order: K arrays, the states of each group, first served first.
        arm: all groups as one arm, `Arm.of_classes`; its states are theirs in a row.

    Raises:
        ValueError: as `attention_problem`; a share that is negative or larger than its group.

    Example:
        >>> worn = Arm([[0.8, 0.2], [0, 1]], [[1, 0], [1, 0]], [5, 2], [4, 1])
        >>> policy = SharePolicy({"a": worn, "b": worn}, {"a": 6, "b": 6}, {"a": 1, "b": 0.5})
        >>> policy.decide(np.array([4, 2, 0, 6]), 0, np.random.default_rng(0)).tolist()
        [0, 1, 0, 1]
    """

    def __init__(
        self,
        arms: Mapping[Any, Arm],
        sizes: Mapping[Any, int],
        shares: Mapping[Any, float] | ArrayLike,
    ):
        self.labels, self.sizes = _groups(arms, sizes)
        if isinstance(shares, Mapping):
            _same_labels("shares", shares, self.labels)
            shares = [shares[label] for label in self.labels]
        x = reals("shares", shares)
        if x.shape != self.sizes.shape:
            raise ValueError(f"shares has shape {x.shape}: must be {self.sizes.shape}, one a group")
        fits = (x >= 0) & (x <= self.sizes * (1 + DECIDED))
        refuse_first("shares", x, fits, "activations a step, between 0 and the size of the group")
        self.shares: Floats = np.minimum(x, self.sizes)
        each = [arms[label] for label in self.labels]
        self.order = [
            stationary_relaxation(arm, share / size).order
            for arm, share, size in zip(each, self.shares, self.sizes, strict=True)
        ]
        self.arm = Arm.of_classes(each)
        self._states = np.cumsum([0, *(arm.n_states for arm in each)])

    def decide(self, counts: Integers, time: int, rng: np.random.Generator) -> Integers:
        """How many arms to activate in each state, (…, S), for counts (…, S)."""
        counts = np.asarray(counts)
        total = np.cumsum(self.shares)
        total = np.where(np.abs(total - np.rint(total)) <= DECIDED, np.rint(total), total)
        marks = np.append(0.0, total)
        drawn = np.floor(marks + rng.random((*counts.shape[:-1], 1)))
        # Next to u = 1 the sum may be rounded up, to one activation too many.
        upto = np.minimum(drawn, np.ceil(marks)).astype(np.intp)
        budget = np.diff(upto, axis=-1)
        parts = [
            in_order(counts[..., a:b], order, budget[..., k])
            for k, (a, b, order) in enumerate(
                zip(self._states, self._states[1:], self.order, strict=False)
            )
        ]
        return np.concatenate(parts, axis=-1)


def simulate_attention(
    policy: SharePolicy, steps: int, *, runs: int = 20, warm_up: int | None = None, seed: int = 0
) -> Simulation[Floats]:
    """What each group earns, per arm and step, in the long run.

    Args:
        policy: the shares, realised.
        steps: counted in each run, ≥ 1.
        runs: R ≥ 1 independent ones.
        warm_up: steps made before and not counted; None is a quarter of ``steps``.
        seed: of `numpy.random.default_rng`.

    Returns:
        `Simulation` of (K,) rewards per arm and step, in the order of ``policy.labels``.

    Example:
        >>> worn = Arm([[0.8, 0.2], [0, 1]], [[1, 0], [1, 0]], [5, 2], [4, 1])
        >>> policy = SharePolicy({"a": worn, "b": worn}, {"a": 60, "b": 60}, {"a": 10, "b": 5})
        >>> simulate_attention(policy, 400, runs=5).mean.round(1).tolist()
        [4.2, 3.2]
    """
    steps, runs = whole("steps", steps, 1), whole("runs", runs, 1)
    skipped = steps // 4 if warm_up is None else whole("warm_up", warm_up, 0)
    rng = np.random.default_rng(seed)
    arm, states = policy.arm, policy._states
    start = np.concatenate(
        [
            rng.multinomial(n, np.full(b - a, 1 / (b - a)), size=runs)
            for n, a, b in zip(policy.sizes, states, states[1:], strict=False)
        ],
        axis=1,
    )
    total = np.zeros((runs, policy.sizes.size))
    for time, (counts, active, _) in enumerate(walk(policy, arm, start, skipped + steps, rng)):
        if time >= skipped:
            paid = active * arm.R1 + (counts - active) * arm.R0
            total += np.add.reduceat(paid, states[:-1], axis=1)
    return Simulation.of(total / steps / policy.sizes)


def _groups(arms: Mapping[Any, Arm], sizes: Mapping[Any, int]) -> tuple[list[Any], Integers]:
    """Sorted labels, and the size of each group."""
    if not arms:
        raise ValueError("arms is empty: at least one group is needed")
    labels = sorted(arms)
    _same_labels("sizes", sizes, labels)
    return labels, np.array([whole(f"sizes[{label!r}]", sizes[label], 1) for label in labels])


def _same_labels(name: str, given: Mapping[Any, Any], labels: list[Any]) -> None:
    """Refuse a mapping that leaves out a group, or names another one."""
    for label in [*labels, *given]:
        if label not in given or label not in labels:
            where = "is not in arms" if label in given else "is missing"
            raise ValueError(f"{name}: group {label!r} {where}: must name the groups of arms")
