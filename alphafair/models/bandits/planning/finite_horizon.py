"""The finite-horizon relaxation: how good any policy can be, and who should be activated when.

N arms run for T steps and a_t N of them are activated at step t.  Asking for that number only in
the mean turns the N coupled arms into one arm with fractions: ``y_sa(t)`` of the arms are in state
s and get action a at step t.  The best fractions solve a linear program::

    maximise   Σ_t Σ_s Σ_a  Ra_s y_sa(t)
    such that  Σ_a y_sa(0) = m_s                            the fractions at the start
               Σ_a y_sa(t) = Σ_j Σ_a y_ja(t−1) Pa_js        arms move by their transitions
               Σ_s y_s1(t) = a_t                            multiplier λ_t
               y ≥ 0

Its value is at least the value per arm of every policy, for every N.  The multiplier λ_t is the
price of an activation at step t: an arm alone that pays it has, going backwards from V(T) = 0,

    V_s(t) = max( R0_s + Σ_j P0_sj V_j(t+1),  R1_s − λ_t + Σ_j P1_sj V_j(t+1) ),

the second minus the first is the **advantage** I_s(t), and Σ_s m_s V_s(0) + Σ_t λ_t a_t bounds the
program from above whatever λ is.  At the optimum the bound is tight, and every state is, at each t,
in one of four sets: **S⁺** (all of its arms active, I ≥ 0), **S⁰** (some, I = 0), **S⁻** (none,
I ≤ 0), **S^∅** (no arm there).

**Sweeps.**  Mostly the best plan is a priority rule: at each t the states are served in the order
of their worth

    D_s(t) = R1_s − R0_s + Σ_j (P1_sj − P0_sj) V_j(t+1),

and λ_t is the worth of the last state that is served.  Forwards, worths give the plan; backwards,
the last states served give prices, and these the worths.  Where plan and prices agree the bound is
tight and both are optimal, often after two or three sweeps.  Where they never do (more than one
state must be split at once, say), the program goes to HiGHS on sparse matrices.

`lp_policies` has what can be done with the plan.

References:
    Gast, Gaujal, Yan: LP-based policies for restless bandits: necessary and sufficient conditions
    for (exponentially fast) asymptotic optimality.  arXiv:2106.10067; Math. of OR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....checks import Floats, Integers, reals, refuse_first
from ...common import scipy, whole
from ..arms import ROUNDING, Arm
from ..sparse import as_dense, scale_rows, stochastic

ACTIVE, SPLIT, PASSIVE, EMPTY = 1, 0, -1, 2  # codes of S⁺, S⁰, S⁻ and S^∅ in a partition
POSITIVE = 1e-9  # fractions up to this are 0: HiGHS keeps its constraints to 1e-10
TIGHT = 1e-8  # bound and value may differ by this, relative to T max|R|, or the method is changed
AGREED = 1e-13  # and after a sweep: they agree up to rounding errors
SWEEPS = 8  # of those that ever agree nearly all do within five; the rest is for HiGHS
DENSE = 150  # states up to which a full product takes less time than a call of a sparse one
STRICT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True, eq=False, repr=False)
class FiniteHorizonRelaxation:
    """The program, solved; what `finite_horizon_relaxation` returns.

    Attributes:
        arm: the arm.
        initial: m, (S,) fractions at the start.
        fraction: a, (T,) fraction of arms activated at each step.
        value: what all T steps pay together, per arm: a bound on every policy for every N.
        gap: ``value`` minus what the plan pays, a certificate computed from the plan and the
            multipliers alone; of the order of rounding errors.
        occupation: y, (T, S, 2): [t, s, action].
        multiplier: λ, (T,) penalty per activation.  One optimal vector: where S⁰(t) is
            empty there may be an interval of them, and often the highest price is returned.
        partition: (T, S) codes: 1 for S⁺, 0 for S⁰, −1 for S⁻, 2 for S^∅.
        state_value: V, (T, S) value to go of an arm alone that pays λ.
        advantage: I, (T, S) what being active is better than being passive; exactly 0 in S⁰.
    """

    arm: Arm
    initial: Floats
    fraction: Floats
    value: float
    gap: float
    occupation: Floats
    multiplier: Floats
    partition: NDArray[np.int8]
    state_value: Floats
    advantage: Floats

    @property
    def horizon(self) -> int:
        """T, the number of steps."""
        return self.fraction.size

    @cached_property
    def degenerate(self) -> bool:
        """Whether the fluid rule has a kink that chance meets: then the loss may be of order 1/√N.

        A rule that follows the plan activates, near m*(t), all arms in S⁺ and lets one state of S⁰
        take up the difference: this is affine in the counts, so the mean of the counts follows the
        plan exactly as long as they stay near it, which they fail to do with a probability that
        falls exponentially in N.  Where **S⁰(t) is empty** the states of S⁺ use up a_t exactly.  If
        chance brings more arms there, some are left out; if fewer, arms of S⁻ step in: a kink.

        The kink is harmless where the number of arms in S⁺(t) is known in advance: at t = 0; where
        a_t is 0 or 1; where S⁺ is a whole class of arms.  So `degenerate` says: for some t, S⁰(t)
        is empty and the limit variance of that number, ``1ᵀ C(t) 1`` over S⁺(t), is not 0.  C(t) is
        the covariance of √N (M(t) − m*(t)) under the affine rule up to t,

            C(0) = 0,    C(t+1) = Lᵀ C(t) L + Σ_s Σ_a y_sa (diag Pa_s − Pa_sᵀ Pa_s).

        It is a property of the plan: a program with several optimal plans may have others.
        """
        return _meets_kink(self)

    @property
    def rankable(self) -> bool:
        """Whether no S⁰(t) has two states: then priority by the advantage follows the plan."""
        return bool(((self.partition == SPLIT).sum(axis=1) <= 1).all())

    def __repr__(self) -> str:
        return (
            f"FiniteHorizonRelaxation(S={self.arm.n_states}, T={self.horizon}, "
            f"value={self.value:.6g}, degenerate={self.degenerate})"
        )


def finite_horizon_relaxation(
    arm: Arm, initial: ArrayLike, fraction: ArrayLike, horizon: int
) -> FiniteHorizonRelaxation:
    """Solve the finite-horizon linear program of an arm.

    Several kinds of arms are one arm, `Arm.of_classes`; ``initial`` then says how large the share
    of each kind is.

    Args:
        arm: transitions and rewards.  Rows that sum to 1 ± 1e−7 are rescaled in the program.
        initial: m, (S,) ≥ 0 with sum 1: fraction of arms in each state at the start.
        fraction: a, scalar or (T,), in [0, 1]: part of all arms that is activated at each step.
        horizon: T ≥ 1, number of steps.

    Returns:
        `FiniteHorizonRelaxation`.

    Raises:
        ValueError: numbers out of their range, shapes that do not fit.
        RuntimeError: HiGHS finds no solution that its multipliers confirm.

    References:
        arXiv:2106.10067, section 3.

    Example:
        Two steps, half of the arms can be activated at each.  A good arm (0) pays 1 and is then
        bad; a bad arm (1) turns good when it is left alone.

        >>> arm = Arm([[1, 0], [1, 0]], [[0, 1], [0, 1]], 0, [1, 0])
        >>> plan = finite_horizon_relaxation(arm, [0.75, 0.25], 0.5, horizon=2)
        >>> plan.value
        1.0
        >>> plan.occupation[0].tolist()      # of the good half of all arms is activated
        [[0.25, 0.5], [0.25, 0.0]]
    """
    T = whole("horizon", horizon, 1)
    start = shares("initial", initial, arm.n_states)
    program = Program(arm, fractions(fraction, T))
    return program.relaxation(start)


class Program:
    """The program for every remaining horizon h ≤ T; constraints are built once, where needed.

    Variables are ordered (t, action, s) and rows (t; S for the flow, then 1 for the budget).  A row
    of time t knows times up to t only, so the program of horizon h is the upper left corner.
    """

    def __init__(self, arm: Arm, fraction: Floats) -> None:
        self.arm, self.fraction = arm, fraction
        small = arm.n_states <= DENSE
        self.P0, self.P1 = (stochastic(as_dense(P) if small else P) for P in (arm.P0, arm.P1))
        self.scale = float(np.abs([arm.R0, arm.R1]).max()) or 1.0
        self._corners: dict[int, Any] = {}

    @cached_property
    def matrix(self) -> Any:
        """All constraints, sparse."""
        return _constraints(self.P0, self.P1, self.fraction.size)

    def corner(self, h: int) -> Any:
        """The constraints of h steps, (h (S+1), 2 h S), by columns."""
        if h not in self._corners:
            S = self.arm.n_states
            self._corners[h] = self.matrix[: h * (S + 1), : 2 * h * S].tocsc()
        return self._corners[h]

    def right_hand_side(self, start: Floats, h: int) -> Floats:
        """Fractions m in the first S rows, the last h fractions a in the rows of the budget."""
        b = np.zeros((h, self.arm.n_states + 1))
        b[0, :-1] = start
        b[:, -1] = self.fraction[self.fraction.size - h :]
        return b.ravel()

    def relaxation(self, start: Floats, h: int | None = None) -> FiniteHorizonRelaxation:
        """Solve from these fractions over the last h steps: by sweeps, or by HiGHS."""
        fraction = self.fraction[self.fraction.size - (h or self.fraction.size) :]
        swept = self._sweeps(start, fraction)
        if swept is not None:
            return swept
        for method in ("highs-ipm", "highs-ds"):  # interior point is two to three times faster
            plan = self._by_highs(start, fraction, method)
            if plan is not None and abs(plan.gap) <= TIGHT * fraction.size * self.scale:
                return plan
        raise RuntimeError(
            "HiGHS found no solution of the linear program that its multipliers confirm; are the "
            "rewards or the probabilities of very different sizes?"
        )

    def _sweeps(self, start: Floats, fraction: Floats) -> FiniteHorizonRelaxation | None:
        """Forwards and backwards until bound and value agree; None if that comes to nothing."""
        worth = np.tile(self.arm.R1 - self.arm.R0, (fraction.size, 1))
        agreed, seen = AGREED * fraction.size * self.scale, set()
        for _ in range(SWEEPS):
            y, last = self._serve(start, fraction, worth)
            value, worth, price = self._backward(len(y), last=last)
            if self._bound_and_gap(start, fraction, y, value, price)[1] <= agreed:
                return self._plan(start, fraction, y, value, worth, price)
            if last.tobytes() in seen:
                return None
            seen.add(last.tobytes())
        return None

    def _serve(self, start: Floats, fraction: Floats, worth: Floats) -> tuple[Floats, Integers]:
        """(h, S, 2) by priority, and (h,) the last state that is served."""
        order = np.argsort(-worth, axis=1, kind="stable")
        last, y, m = np.zeros(fraction.size, np.intp), np.zeros((*worth.shape, 2)), start
        for t, (a, first) in enumerate(zip(fraction.tolist(), order, strict=True)):
            queue = m[first]
            reached = queue.cumsum()
            last[t] = first[min(int(reached.searchsorted(a - AGREED)), m.size - 1)]
            active = y[t, :, 1]
            active[first] = np.minimum(np.maximum(a - (reached - queue), 0), queue)
            passive = np.subtract(m, active, out=y[t, :, 0])
            m = passive @ self.P0 + active @ self.P1
        return y, last

    def _backward(
        self, h: int, *, price: Floats | None = None, last: Integers | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """V (h, S), D (h, S) and λ (h,): given prices, or those of the states served last."""
        value, worth = np.zeros((h + 1, self.arm.n_states)), np.zeros((h, self.arm.n_states))
        multiplier = np.zeros(h)
        for t in range(h - 1, -1, -1):
            passive = self.arm.R0 + self.P0 @ value[t + 1]
            worth[t] = self.arm.R1 + self.P1 @ value[t + 1] - passive
            multiplier[t] = worth[t, last[t]] if price is None else price[t]  # type: ignore[index]
            value[t] = passive + np.maximum(worth[t] - multiplier[t], 0)
        return value[:-1], worth, multiplier

    def _plan(
        self,
        start: Floats,
        fraction: Floats,
        y: Floats,
        value: Floats,
        worth: Floats,
        multiplier: Floats,
    ) -> FiniteHorizonRelaxation:
        """Put together a plan and prices."""
        bound, gap = self._bound_and_gap(start, fraction, y, value, multiplier)
        partition, advantage = _partition(y), worth - multiplier[:, None]
        fields = (bound, gap, y, multiplier, partition, value, advantage)
        return FiniteHorizonRelaxation(self.arm, start, fraction, *fields)

    def _bound_and_gap(
        self, start: Floats, fraction: Floats, y: Floats, value: Floats, multiplier: Floats
    ) -> tuple[float, float]:
        """What the prices promise, and how much less the plan pays."""
        bound = float(start @ value[0] + multiplier @ fraction)
        paid = float((y[..., 0] @ self.arm.R0 + y[..., 1] @ self.arm.R1).sum())
        missed = float(np.abs(multiplier) @ np.abs(y[..., 1].sum(axis=1) - fraction))
        return bound, bound - paid + missed

    def _by_highs(
        self, start: Floats, fraction: Floats, method: str
    ) -> FiniteHorizonRelaxation | None:
        """A vertex by HiGHS; its prices and its plan run through the recursions once more."""
        h, S = fraction.size, self.arm.n_states
        cost = -np.tile(np.concatenate([self.arm.R0, self.arm.R1]) / self.scale, h)
        rules = {"A_eq": self.corner(h), "b_eq": self.right_hand_side(start, h)}
        linprog = scipy("a program that sweeps do not solve").optimize.linprog
        answer = linprog(cost, **rules, method=method, options=STRICT)
        if answer.status != 0:
            return None
        price = -self.scale * answer.eqlin.marginals.reshape(h, S + 1)[:, -1]
        value, worth, price = self._backward(h, price=price)
        near = answer.x.reshape(h, 2, S).transpose(0, 2, 1)
        split = _partition(near) == SPLIT
        worth[split] = np.broadcast_to(price[:, None], worth.shape)[split]  # but for rounding
        y = self._replay(start, fraction, near, worth - price[:, None])
        return self._plan(start, fraction, y, value, worth, price)

    def _replay(self, start: Floats, fraction: Floats, near: Floats, advantage: Floats) -> Floats:
        """(h, S, 2): the plan carried forward, so that it holds to rounding, not to 1e−10."""
        y, m = np.zeros(near.shape), start
        for t, codes in enumerate(_partition(near)):
            every = (codes == ACTIVE) | ((codes == EMPTY) & (advantage[t] > 0))
            some = codes == SPLIT
            chosen = np.where(every, m, np.where(some, near[t, :, 1], 0.0))
            if some.any():
                chosen[some] += (fraction[t] - chosen.sum()) / some.sum()
            y[t, :, 1] = np.clip(chosen, 0, m)
            y[t, :, 0] = m - y[t, :, 1]
            m = y[t, :, 0] @ self.P0 + y[t, :, 1] @ self.P1
        return y


def _constraints(P0: Any, P1: Any, T: int) -> Any:
    """(T (S+1), 2 T S): identity blocks minus the flow of the step before; the budget rows."""
    S, sparse = P0.shape[0], scipy("a program that sweeps do not solve").sparse
    eye, ones = sparse.eye_array(S), sparse.csr_array(np.ones((1, S)))
    here = sparse.block_array([[eye, eye], [None, ones]])
    flow = sparse.hstack([sparse.csr_array(P).T for P in (P0, P1)])
    before = sparse.vstack([flow, sparse.csr_array((1, 2 * S))])
    steps = sparse.eye_array(T), sparse.eye_array(T, k=-1)
    return sparse.csr_array(sparse.kron(steps[0], here) - sparse.kron(steps[1], before))


def _partition(occupation: Floats) -> NDArray[np.int8]:
    """(T, S) codes of S⁺, S⁰, S⁻ and S^∅."""
    passive, active = (occupation[..., a] > POSITIVE for a in (0, 1))
    codes = np.where(active, np.where(passive, SPLIT, ACTIVE), np.where(passive, PASSIVE, EMPTY))
    return codes.astype(np.int8)


def absorber(relaxation: FiniteHorizonRelaxation, time: int) -> int:
    """The state of S⁰(t) that takes up the difference: most room either way; −1 for none."""
    split = relaxation.partition[time] == SPLIT
    room = np.where(split, relaxation.occupation[time].min(axis=1), -1.0)
    return int(room.argmax()) if split.any() else -1


def _meets_kink(relaxation: FiniteHorizonRelaxation) -> bool:
    """Carry the covariance of the counts forward until S⁰ is empty and S⁺ is uncertain."""
    P0, P1 = stochastic(relaxation.arm.P0), stochastic(relaxation.arm.P1)
    covariance = np.zeros(P0.shape)
    for t, codes in enumerate(relaxation.partition):
        every, taker = (codes == ACTIVE).astype(float), absorber(relaxation, t)
        if taker < 0 and every @ covariance @ every > POSITIVE:
            return True

        def moved(more: Floats, every: Floats = every, taker: int = taker) -> Floats:
            """Lᵀ · more: so many more arms now, a column each, are so many more a step later."""
            active = every[:, None] * more
            if taker >= 0:
                active[taker] = -every @ more
            later: Floats = P0.T @ (more - active) + P1.T @ active
            return later

        covariance = moved(moved(covariance).T)
        for P, y in ((P0, relaxation.occupation[t, :, 0]), (P1, relaxation.occupation[t, :, 1])):
            covariance += np.diag(y @ P) - as_dense(P.T @ scale_rows(P, y))
    return False


def shares(name: str, value: ArrayLike, size: int) -> Floats:
    """(S,) fractions that sum to 1."""
    array = reals(name, value)
    if array.shape != (size,):
        raise ValueError(f"{name} has shape {array.shape}: must be ({size},), one for each state")
    refuse_first(name, array, (array >= 0) & (array <= 1 + ROUNDING), "a fraction in [0, 1]")
    if not abs(array.sum() - 1) <= ROUNDING:
        raise ValueError(f"{name} sums to {array.sum():.9g}: must sum to 1; divide it by its sum")
    scaled: Floats = array / array.sum()
    return scaled


def fractions(value: ArrayLike, horizon: int) -> Floats:
    """(T,) activated fractions."""
    array = reals("fraction", value)
    if array.shape not in ((), (horizon,)):
        raise ValueError(
            f"fraction has shape {array.shape}: must be a scalar or ({horizon},), one a step"
        )
    steps = np.array(np.broadcast_to(array, horizon))
    refuse_first("fraction", steps, (steps >= 0) & (steps <= 1), "in [0, 1]")
    return steps
