"""Policies that follow the finite-horizon plan with whole arms.

The plan y*(t) of `finite_horizon_relaxation` is what infinitely many arms would do.  Of N arms
n_s are in state s at step t, seldom N m*_s(t), so a policy must say what it does next to the plan.
Any rule that is continuous and repeats the plan at m*(t) loses O(1/√N) per arm; one that is also
affine near the plan (possible unless `degenerate`) loses no more than C exp(−c N).

- `LPFillingPolicy` fills: what the plan activates comes first, then the rest.
- `LPIndexPolicy` takes the states by their advantage I_s(t); it follows the plan if `rankable`.
- `LPUpdatePolicy` solves the program again from where the arms are.

**Rounding.**  Filling and updating say how many arms z_s ≥ 0, Σ z_s = a_t N, to activate, not
always whole numbers.  ``rounding="floor"`` takes ⌊z_s⌋ of each and gives the arms that are left
over, one each, to the states of largest remainder z_s − ⌊z_s⌋, equal ones in the order of the
states.  ``rounding="random"`` is systematic sampling, which keeps the mean: with U uniform on
[0, 1) and Z_s = z_1 + … + z_s, it activates ⌊Z_s + U⌋ − ⌊Z_{s−1} + U⌋ arms, ⌊z_s⌋ or ⌈z_s⌉.
z, Z and U are taken to the nearest multiple of 2⁻²⁴: what is whole up to rounding errors is whole,
sums are exact, and no state gets more than n_s.

References:
    Gast, Gaujal, Yan: LP-based policies for restless bandits: necessary and sufficient conditions
    for (exponentially fast) asymptotic optimality.  arXiv:2106.10067; Math. of OR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ....checks import Floats, Integers
from ...common import counted, scipy, whole
from ..policies import active_arms, in_order
from .finite_horizon import (
    ACTIVE,
    POSITIVE,
    SPLIT,
    FiniteHorizonRelaxation,
    Program,
    absorber,
)

GRID = 2.0**-24
UNIQUE = 1e-7  # a reduced cost below this, relative to the largest reward, may be 0
REGIONS = 200  # bases kept for each horizon; more would cost more memory than they save time
Decisions = list[tuple[float, Integers]]
_Key = tuple[int, bytes]  # time and configuration


@dataclass(frozen=True, eq=False)
class LPFillingPolicy:
    """Fill up to the plan, then with what is best.

    With N = Σ n_s arms, and a_t N of them to activate, in this order:

    1. arms in S⁺(t), by falling advantage;
    2. arms in S⁰(t), up to N y*_s1(t) in each state;
    3. the other arms in S⁰(t);
    4. arms in S^∅(t) and S⁻(t), by falling advantage.

    In S⁰ all advantages are 0.  One state takes up the difference: the one with most room,
    min(y*_s0, y*_s1), is the last in step 2 and the first in step 3, so that the rule is affine
    near the plan.  The order of the others is that of their numbers.

    Args:
        relaxation: the plan.
        rounding: "floor" or "random" (see the module); where S⁰(t) has at most one state there is
            nothing to round.
        seed: of random rounding where `decide` is given no generator.

    Example:
        >>> from alphafair.models.bandits.arms import Arm
        >>> from alphafair.models.bandits.planning import finite_horizon_relaxation
        >>> arm = Arm([[1, 0], [1, 0]], [[0, 1], [0, 1]], 0, [1, 0])
        >>> plan = finite_horizon_relaxation(arm, [0.75, 0.25], 0.5, horizon=2)
        >>> LPFillingPolicy(plan).decide(np.array([3, 1]), 0).tolist()
        [2, 0]
    """

    relaxation: FiniteHorizonRelaxation
    rounding: str = "floor"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_rounding(self.rounding)

    @property
    def fraction(self) -> Floats:
        """a, (T,)."""
        return self.relaxation.fraction

    def target(self, counts: Integers, time: int) -> Floats:
        """z, (…, S): the fluid rule, before rounding."""
        counts = checked_counts(counts, time, self.relaxation)
        return fill(self.relaxation, time, counts, active_arms(counts, self.fraction[time]))

    def decide(
        self, counts: Integers, time: int, rng: np.random.Generator | None = None
    ) -> Integers:
        """How many arms to activate in each state, (…, S)."""
        return _round(self.target(counts, time), self.rounding, rng, (self.seed, time))

    def decisions(self, counts: Integers, time: int) -> Decisions:
        """(probability, decision) pairs for one configuration (S,)."""
        return _outcomes(self.target(counts, time), self.rounding)


@dataclass(frozen=True, eq=False)
class LPIndexPolicy:
    """Activate arms in the state of largest advantage I_s(t) first, until a_t N are active.

    The advantage is positive in S⁺, 0 in S⁰ and negative in S⁻ at the optimum (or 0), so the policy
    follows the plan if S⁰(t) has at most one state at each t (`rankable`).  With two of them it
    fills one before it starts the other, and its loss need not vanish.  States of equal advantage
    are served S⁺ first, then S⁰, then the others, and then in the order of their numbers.

    Args:
        relaxation: the plan.

    Example:
        >>> from alphafair.models.bandits.arms import Arm
        >>> from alphafair.models.bandits.planning import finite_horizon_relaxation
        >>> arm = Arm([[1, 0], [1, 0]], [[0, 1], [0, 1]], 0, [1, 0])
        >>> plan = finite_horizon_relaxation(arm, [0.75, 0.25], 0.5, horizon=2)
        >>> LPIndexPolicy(plan).decide(np.array([3, 1]), 0).tolist()
        [2, 0]
    """

    relaxation: FiniteHorizonRelaxation

    @property
    def fraction(self) -> Floats:
        """a, (T,)."""
        return self.relaxation.fraction

    def decide(self, counts: Integers, time: int) -> Integers:
        """How many arms to activate in each state, (…, S)."""
        counts = checked_counts(counts, time, self.relaxation)
        order = np.lexsort((_turn(self.relaxation, time), -_ranks(self.relaxation, time)))
        return in_order(counts, order, active_arms(counts, self.fraction[time]))


class _Region(NamedTuple):
    """One optimal basis: where it holds, the plan is affine in the fractions at its start.

    Attributes:
        slope: (k, S) G; the basic variables are G m + g, and the basis holds where they are ≥ 0.
        offset: (k,) g.
        first: positions among them of the variables y_s1(0).
        state: which s these are.
    """

    slope: Floats
    offset: Floats
    first: Integers
    state: Integers


class _Following(NamedTuple):
    """What is followed between two solutions: made at this time, a plan for each configuration."""

    time: int
    shape: tuple[int, ...]
    plans: list[FiniteHorizonRelaxation]


@dataclass(eq=False)
class LPUpdatePolicy:
    """Solve the program again from the observed counts, every so many steps.

    At t = 0, k, 2k, … the program of the T − t steps that are left is solved from m = n / N, and
    z_s = N y*_s1 of its first step is activated.  In between, steps filling by the last plan
    (`LPFillingPolicy`).

    **What it remembers.**  Solutions are kept for each (configuration, time), which saves time and
    changes no decision.  With k = 1 the optimal bases are kept, too: where a basis holds the plan
    is affine in m, ``y_B = G m + g ≥ 0``, so one solution answers for all configurations around it,
    at the cost of a matrix product.  A basis is kept only if every other variable has a positive
    reduced cost: then the plan is the only one, and what the policy does in a configuration does
    not depend on what it was asked before.

    Args:
        relaxation: the program at t = 0; its plan is not used.
        every: k ≥ 1.  With k > 1 a decision depends on the counts at the last multiple of k, and
            `decide` remembers the plans that it made there.  So it must be asked in the order of
            time with the same leading axes, as a simulation does, and by one simulation at a time;
            `decisions`, for exact evaluation, refuses k > 1.
        rounding: "floor" or "random" (see the module).
        seed: of random rounding where `decide` is given no generator.

    Example:
        >>> from alphafair.models.bandits.arms import Arm
        >>> from alphafair.models.bandits.planning import finite_horizon_relaxation
        >>> arm = Arm([[1, 0], [1, 0]], [[0, 1], [0, 1]], 0, [1, 0])
        >>> plan = finite_horizon_relaxation(arm, [0.75, 0.25], 0.5, horizon=2)
        >>> LPUpdatePolicy(plan).decide(np.array([3, 1]), 1).tolist()
        [2, 0]
    """

    relaxation: FiniteHorizonRelaxation
    every: int = 1
    rounding: str = "floor"
    seed: int = 0
    _program: Program = field(init=False, repr=False)
    _regions: dict[int, list[_Region]] = field(init=False, repr=False, default_factory=dict)
    _targets: dict[_Key, Floats] = field(init=False, repr=False, default_factory=dict)
    _plans: dict[_Key, FiniteHorizonRelaxation] = field(
        init=False, repr=False, default_factory=dict
    )
    _following: _Following | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        _check_rounding(self.rounding)
        whole("every", self.every, 1)
        self._program = Program(self.relaxation.arm, self.relaxation.fraction)

    @property
    def fraction(self) -> Floats:
        """a, (T,)."""
        return self.relaxation.fraction

    def decide(
        self, counts: Integers, time: int, rng: np.random.Generator | None = None
    ) -> Integers:
        """How many arms to activate in each state, (…, S)."""
        counts = checked_counts(counts, time, self.relaxation)
        target = self._updated(counts, time) if self.every == 1 else self._follow(counts, time)
        return _round(target, self.rounding, rng, (self.seed, time))

    def decisions(self, counts: Integers, time: int) -> Decisions:
        """(probability, decision) pairs for one configuration (S,); needs every = 1."""
        if self.every > 1:
            raise ValueError(
                f"every is {self.every}: what is done between two solutions depends on the counts "
                f"at the first; exact values need every=1, or simulate the policy"
            )
        counts = checked_counts(counts, time, self.relaxation)
        return _outcomes(self._updated(counts, time), self.rounding)

    def _updated(self, counts: Integers, time: int) -> Floats:
        """z, (…, S), from the program solved at these counts."""
        active_arms(counts, self.fraction[time])  # a N must be whole
        rows, back = np.unique(counts.reshape(-1, counts.shape[-1]), axis=0, return_inverse=True)
        keys = [(time, row.tobytes()) for row in rows]
        new = [i for i, key in enumerate(keys) if key not in self._targets]
        if new:
            for i, target in zip(new, self._solve(rows[new], time), strict=True):
                self._targets[keys[i]] = target
        targets: Floats = np.array([self._targets[key] for key in keys])
        return targets[back.ravel()].reshape(counts.shape)

    def _solve(self, rows: Integers, time: int) -> Floats:
        """(R, S) first decisions: by the bases that hold, and where none does by a new solution."""
        h, arms = self.relaxation.horizon - time, rows.sum(axis=1, keepdims=True)
        start = rows / np.maximum(arms, 1)
        active, open_ = np.zeros(rows.shape), arms[:, 0] > 0
        regions = self._regions.setdefault(h, [])
        for region in regions:
            _apply(region, start, active, open_)
        with counted(int(open_.sum()), "programs") as advance:
            while open_.any():
                before, i = int(open_.sum()), int(open_.argmax())
                plan = self._program.relaxation(start[i], h)
                active[i], open_[i] = plan.occupation[0, :, 1], False
                found = _region(self._program, plan)
                if found is not None:
                    _apply(found, start, active, open_)
                    regions[:] = [found, *regions[: REGIONS - 1]]
                advance(before - int(open_.sum()))
        targets: Floats = np.clip(arms * active, 0, rows)
        return targets

    def _follow(self, counts: Integers, time: int) -> Floats:
        """z, (…, S), by the plan of the last multiple of k; that plan is made or remembered."""
        since = time % self.every
        rows = counts.reshape(-1, counts.shape[-1])
        if since == 0:
            self._following = _Following(time, counts.shape, self._planned(rows, time))
        followed = self._following
        if followed is None or followed[:2] != (time - since, counts.shape):
            raise ValueError(
                f"time is {time} and every is {self.every}: the plan was to be made at time "
                f"{time - since} for counts of shape {counts.shape}; ask in the order of time"
            )
        budget = active_arms(rows, self.fraction[time])
        pairs = zip(followed.plans, rows, budget, strict=True)
        return np.array([fill(plan, since, n, b) for plan, n, b in pairs]).reshape(counts.shape)

    def _planned(self, rows: Integers, time: int) -> list[FiniteHorizonRelaxation]:
        """The plan of each configuration, solved once."""
        h, plans = self.relaxation.horizon - time, []
        with counted(len(rows), "programs") as advance:
            for row in rows:
                key = (time, row.tobytes())
                if key not in self._plans:
                    self._plans[key] = self._program.relaxation(row / max(row.sum(), 1), h)
                plans.append(self._plans[key])
                advance(1)
        return plans


def fill(relaxation: FiniteHorizonRelaxation, time: int, counts: Integers, budget: Any) -> Floats:
    """Steps 1 to 4 of `LPFillingPolicy`, in real numbers: (…, S) from counts (…, S)."""
    codes, rank = relaxation.partition[time], _ranks(relaxation, time)
    arms = counts.sum(axis=-1, keepdims=True)
    planned = np.minimum(counts, arms * relaxation.occupation[time, :, 1])
    cap = np.where(codes == ACTIVE, counts, np.where(codes == SPLIT, planned, 0.0))
    turn = _turn(relaxation, time)
    last = np.arange(codes.size) == absorber(relaxation, time)
    first = in_order(cap, np.lexsort((last, -rank, turn)), budget)
    left = np.asarray(budget) - first.sum(axis=-1)
    second = in_order(counts - first, np.lexsort((~last, -rank, turn)), left)
    target: Floats = np.add(first, second, dtype=float)
    return target


def _turn(relaxation: FiniteHorizonRelaxation, time: int) -> Integers:
    """When a state is served: 0 in S⁺, 1 in S⁰, 2 in S⁻ and S^∅."""
    codes = relaxation.partition[time]
    return np.where(codes == ACTIVE, 0, np.where(codes == SPLIT, 1, 2))


def _ranks(relaxation: FiniteHorizonRelaxation, time: int) -> Floats:
    """I(t) where differences that are rounding errors are none."""
    scale = float(np.abs(relaxation.advantage).max()) or 1.0
    ranks: Floats = np.round(relaxation.advantage[time] / scale, 9)
    return ranks


def _apply(region: _Region, start: Floats, active: Floats, open_: Any) -> None:
    """Where the basis holds for an open row, write y_s1(0) and close the row."""
    rows = np.flatnonzero(open_)
    if not rows.size:
        return
    basic = start[rows] @ region.slope.T + region.offset
    holds = (basic >= -POSITIVE).all(axis=1)
    active[np.ix_(rows[holds], region.state)] = basic[np.ix_(holds, region.first)]
    open_[rows[holds]] = False


def _region(program: Program, plan: FiniteHorizonRelaxation) -> _Region | None:
    """The basis of a plan; None if another plan may be as good, or where scipy is missing."""
    S, h = plan.arm.n_states, plan.horizon
    slack = np.stack([np.maximum(plan.advantage, 0), np.maximum(-plan.advantage, 0)], axis=1)
    basis = np.flatnonzero(slack.ravel() <= UNIQUE * program.scale)
    if basis.size != h * (S + 1):
        return None
    try:
        corner = program.corner(h)
    except ImportError:
        return None
    right = np.zeros((corner.shape[0], S + 1))
    right[:S, :S] = np.eye(S)
    right[:, S] = program.right_hand_side(np.zeros(S), h)
    try:
        answer = scipy().sparse.linalg.splu(corner[:, basis]).solve(right)
    except RuntimeError:  # a singular matrix: not a basis
        return None
    basic = answer[:, :S] @ plan.initial + answer[:, S]
    expected = plan.occupation.transpose(0, 2, 1).ravel()[basis]  # (t, action, state)
    if not np.abs(basic - expected).max() <= UNIQUE:
        return None
    first = np.flatnonzero((basis >= S) & (basis < 2 * S))
    return _Region(answer[:, :S], answer[:, S], first, basis[first] - S)


def checked_counts(counts: Integers, time: int, relaxation: FiniteHorizonRelaxation) -> Integers:
    """Counts of the right width at a time before the horizon."""
    array = np.asarray(counts)
    S, T = relaxation.arm.n_states, relaxation.horizon
    if array.ndim == 0 or array.shape[-1] != S:
        raise ValueError(f"counts has shape {array.shape}: must be (…, {S}), one for each state")
    if not 0 <= time < T:
        raise ValueError(f"time is {time}: the plan has steps 0 to {T - 1}; make one for longer")
    return array


def _check_rounding(rounding: str) -> None:
    """One of two words."""
    if rounding not in ("floor", "random"):
        raise ValueError(f'rounding is {rounding!r}: must be "floor" or "random"')


def _grid(number: Floats) -> Floats:
    """The nearest multiples of 2⁻²⁴."""
    multiple: Floats = np.rint(number / GRID) * GRID
    return multiple


def _round(
    target: Floats, rounding: str, rng: np.random.Generator | None, seed: tuple[int, int]
) -> Integers:
    """Whole arms from z."""
    if rounding == "floor":
        return _largest_remainder(target)
    generator = np.random.default_rng(seed) if rng is None else rng
    return _systematic(target, generator.random(target.shape[:-1]))


def _largest_remainder(target: Floats) -> Integers:
    """⌊z⌋, and one more where the remainder is largest, so that the sum stays what it is."""
    z = _grid(target)
    floor = np.floor(z)
    left = np.rint(target.sum(axis=-1)) - floor.sum(axis=-1)
    place = np.argsort(np.argsort(floor - z, axis=-1, kind="stable"), axis=-1, kind="stable")
    decision: Integers = (floor + (place < left[..., None])).astype(np.intp)
    return decision


def _systematic(target: Floats, uniform: Any) -> Integers:
    """⌊Z_s + U⌋ − ⌊Z_{s−1} + U⌋, exact on the grid."""
    reached = np.floor(_grid(np.cumsum(target, axis=-1)) + _grid(np.asarray(uniform))[..., None])
    decision: Integers = np.diff(reached, axis=-1, prepend=0.0).astype(np.intp)
    return decision


def _outcomes(target: Floats, rounding: str) -> Decisions:
    """All that rounding can bring, with probabilities: ⌊Z_s + U⌋ jumps at U = 1 − frac Z_s."""
    if target.ndim != 1:
        raise ValueError(f"counts has {target.ndim} axes: decisions are for one configuration (S,)")
    if rounding == "floor":
        return [(1.0, _largest_remainder(target))]
    jumps = np.unique([0.0, 1.0, *(1 - _grid(np.cumsum(target)) % 1)])
    pairs = zip(np.diff(jumps).tolist(), jumps[:-1], strict=True)
    return [(length, _systematic(target, first)) for length, first in pairs]
