"""The mean map: where a priority policy leads very many arms.

A priority policy activates the states in an order until a fraction a of the arms is active.  With m
the fractions of arms in each state and k < i the states served before i::

    y_i = min(m_i, (a − Σ_{k<i} m_k)⁺),        φ(m) = y P1 + (m − y) P0

φ(m) is the exact expectation of the next fractions, for every number of arms.  In the region Z_i,
where i is the state that is served in part, Σ_{k<i} m_k ≤ a ≤ Σ_{k≤i} m_k, it is affine::

    φ(m) = m K_i + a (P1_i − P0_i),      row k of K_i:  P1_k − P1_i + P0_i for k < i,  P0_k else.

φ is continuous, so that there is a fixed point m* = φ(m*); for an indexable arm in the order of its
index there is one only.  Orbits may come to it, or to a cycle around it (`limit_cycle`).

Rows of P0 and P1 are divided by their sums here, so that no mass is lost on the way.

References:
    R. Weber, G. Weiss, "On an index policy for restless bandits", J. Applied Probability 27 (1990).
    N. Gast, B. Gaujal, C. Yan, "Exponential asymptotic optimality of Whittle index policy",
    Queueing Systems 104 (2023), arXiv:2012.09064.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, Integers, number, reals
from ...common import scipy, whole
from ..arms import Arm
from ..chains import closed_classes
from ..policies import activation, in_order
from ..sparse import stochastic

BORDER = 1e-9  # fractions this close are equal: they are computed to 1e−12 or better
DETECT = 1e-9  # an orbit that comes back this close is tried for a cycle
EXACT = 1e-12  # which is accepted if it comes back this close
NUDGE = 1e-6  # by which an orbit is moved that rests where others leave


class LimitCycle(NamedTuple):
    """Where an orbit of the mean map ends.

    Attributes:
        points: (period, S), in the order they are visited; one row is a fixed point.
        reward: per arm and step, averaged along the cycle.
        radius: largest modulus of the eigenvalues of the map once around, along the simplex, in the
            regions that the orbit went through.
        border: is a point on the border of two regions?  Then ``radius`` speaks for orbits that
            come from the same side as this one.
    """

    points: Floats
    reward: float
    radius: float
    border: bool

    @property
    def period(self) -> int:
        """How many steps once around."""
        return len(self.points)

    @property
    def attracting(self) -> bool:
        """Do nearby orbits end here too?"""
        return self.radius < 1 - BORDER


def mean_map(arm: Arm, order: ArrayLike, fraction: float) -> Callable[[ArrayLike], Floats]:
    """φ, the expected next fractions of arms when states are served in this order.

    Args:
        arm: the arm.
        order: (S,) the states, first served first; ``np.argsort(-index)`` for an index.
        fraction: a in [0, 1].

    Returns:
        A function of m, (…, S) fractions that sum to 1, with values (…, S).

    Example:
        >>> from alphafair.models.bandits.examples import singular_example
        >>> phi = mean_map(singular_example(), [0, 1, 2], 0.5)
        >>> phi([[1, 0, 0], [0.5, 0.25, 0.25]]).round(12).tolist()
        [[0.35, 0.3, 0.35], [0.5, 0.3, 0.2]]
    """
    states, a = _ranks(arm, order), activation(fraction)
    exact = rescaled(arm)

    def phi(fractions: ArrayLike) -> Floats:
        m: Any = reals("fractions", fractions)
        y = in_order(m, states, a).reshape(-1, m.shape[-1])
        flat = m.reshape(y.shape)
        moved: Floats = y @ exact.P1 + (flat - y) @ exact.P0
        return moved.reshape(m.shape)

    return phi


def affine_piece(
    arm: Arm, order: ArrayLike, fraction: float, position: int
) -> tuple[Floats, Floats]:
    """(K_i, a (P1_i − P0_i)) of the region in which the state at this position is served in part.

    Args:
        position: place of the state i in ``order``, 0 ≤ position < S.

    Returns:
        K (S, S) and the offset (S,): φ(m) = m K + offset for m in the region.

    Example:
        >>> from alphafair.models.bandits.examples import singular_example
        >>> K, offset = affine_piece(singular_example(), [0, 1, 2], 0.5, 1)
        >>> (K[0].round(12) + 0).tolist(), (offset.round(12) + 0).tolist()
        ([0.4, 0.4, 0.2], [0.05, -0.05, 0.0])
    """
    states, a = _ranks(arm, order), activation(fraction)
    places = range(states.size)
    place = number("position", position, f"a place in order, < {states.size}", places.__contains__)
    passive, active = rescaled(arm).dense()
    i, before = states[int(place)], states[: int(place)]
    change = active[i] - passive[i]
    K = passive.copy()
    K[before] = active[before] - change
    offset: Floats = a * change
    return K, offset


def fixed_point(arm: Arm, order: ArrayLike, fraction: float) -> Floats:
    """A fixed point m* of the mean map: the only one in the order of an index.

    With the first k states active, a stationary arm is active a part A(k) of the time, A(0) = 0 and
    A(S) = 1.  Halving finds A(k) ≤ a ≤ A(k + 1), and between both lies a fixed point in the region
    of position k: a linear system.

    Returns:
        (S,) fractions.  In an order that is not that of an index there can be others.

    Raises:
        ValueError: an order that is not a permutation of the states.

    Example:
        >>> from alphafair.models.bandits.examples import cycle_example
        >>> fixed_point(cycle_example(1), [0, 1, 2], 0.4).round(5).tolist()
        [0.32258, 0.30317, 0.37425]
    """
    states, a, arm = _ranks(arm, order), activation(fraction), rescaled(arm)
    low, high = 0, states.size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _least_active(arm, states[:middle]) <= a else (low, middle)
    m = _affine_fixed_point(*affine_piece(arm, states, a, low))
    if m is None or low not in regions(m, states, a) or m.min() < -BORDER:
        # The piece does not determine m: several closed classes, or states that no arm visits.
        # Any y ≥ 0 that keeps the balance, active up to this position and passive from it, is one.
        size = states.size
        columns = np.concatenate([states[low:], size + states[: low + 1]])
        nnls = scipy("a fixed point that no region determines").optimize.nnls
        y, _ = nnls(equations(arm)[:, columns].toarray(), np.append(np.zeros(size), [1.0, a]))
        m = np.bincount(columns % size, weights=y, minlength=size).astype(float)
    clean: Floats = np.maximum(m, 0)
    return clean


def orbit(arm: Arm, order: ArrayLike, fraction: float, start: ArrayLike, steps: int) -> Floats:
    """m, φ(m), φ(φ(m)), …: (steps + 1, S).

    Args:
        start: (S,) fractions, ≥ 0, sum 1.

    Example:
        >>> from alphafair.models.bandits.examples import singular_example
        >>> orbit(singular_example(), [0, 1, 2], 0.5, [0.5, 0.3, 0.2], 2).round(12)[2].tolist()
        [0.5, 0.3, 0.2]
    """
    count = whole("steps", steps, 0)
    phi = mean_map(arm, order, fraction)
    points = np.empty((count + 1, arm.n_states))
    points[0] = _fractions(start, arm.n_states)
    for t in range(count):
        points[t + 1] = phi(points[t])
    return points


def limit_cycle(
    arm: Arm,
    order: ArrayLike,
    fraction: float,
    start: ArrayLike | None = None,
    *,
    steps: int = 100_000,
) -> LimitCycle:
    """Where the orbit from this start ends: a cycle, or a fixed point, that does not repel.

    The orbit has closed if it comes back within 1e−9; the cycle is then the fixed point of the
    composed affine pieces, solved exactly.  An orbit that comes to rest on an unstable cycle, where
    it started or nearly so, is moved by 1e−6 towards equal fractions and followed further.

    Args:
        start: (S,) fractions; default all arms in the state that is served first.
        steps: how long to wait.

    Returns:
        `LimitCycle`.  Its ``radius`` is < 1 if it attracts; it is 1 where the map turns without
        contracting (deterministic arms), and then other starts lead elsewhere.

    Raises:
        ValueError: the orbit has not come to such a cycle after ``steps``.

    Example:
        >>> from alphafair.models.bandits.examples import cycle_example
        >>> cycle = limit_cycle(cycle_example(2), [0, 1, 2], 0.4)
        >>> cycle.period, round(cycle.reward, 6)
        (2, 0.114202)
    """
    states, a = _ranks(arm, order), activation(fraction)
    phi, size = mean_map(arm, states, a), states.size
    m = _fractions(np.eye(size)[states[0]] if start is None else start, size)
    anchor, since, patience, where = m, 0, 1, ""
    for _ in range(int(number("steps", steps, "≥ 1", lambda n: n >= 1))):
        m, since = phi(m), since + 1
        if np.abs(m - anchor).max() <= DETECT:
            cycle = _close(arm, states, a, m, since)
            if cycle is not None and cycle.radius <= 1 + BORDER:
                return cycle
            if cycle is not None:  # it repels: whatever disturbs the orbit leads it away
                m, where = (1 - NUDGE) * m + NUDGE / size, "; it is near one that repels"
            since = patience
        if since >= patience:  # Brent: wait twice as long at the next anchor
            anchor, since, patience = m, 0, 2 * patience
    raise ValueError(
        f"steps is {steps} and the orbit has not come to a cycle{where}: its last step moved it by "
        f"{np.abs(phi(m) - m).max():.2g}; give it more steps or another start"
    )


def _close(arm: Arm, order: Integers, a: float, m: Floats, period: int) -> LimitCycle | None:
    """The exact cycle at the end of an orbit; None if the orbit is not there yet."""
    phi, once, offset, points = mean_map(arm, order, a), np.eye(m.size), np.zeros(m.size), [m]
    for _ in range(period):
        K, shift = affine_piece(arm, order, a, _side(points[-1], order, a))
        once, offset = once @ K, offset @ K + shift
        points.append(phi(points[-1]))
    radius = spectral_radius(once)
    if radius < 1 - BORDER:
        exact = _affine_fixed_point(once, offset)
        if exact is None or exact.min() < -BORDER:
            return None
        points = list(orbit(arm, order, a, np.maximum(exact, 0), period))
        back = [p for p in range(1, period + 1) if np.abs(points[p] - points[0]).max() <= EXACT]
        if not back:
            return None
        if back[0] < period:  # the orbit had gone around more than once
            return _close(arm, order, a, points[0], back[0])
    table = np.array(points[:-1])
    reward = np.mean([earns(arm, split(point, order, a)) for point in table])
    border = any(len(regions(point, order, a)) > 1 for point in table)
    return LimitCycle(table, float(reward), radius, border)


def _affine_fixed_point(K: Floats, offset: Floats) -> Floats | None:
    """The m with m = m K + offset and m 1 = 1; None if these do not determine it."""
    matrix = np.eye(len(K)) - K
    matrix[:, -1] = 1
    try:
        m: Floats = np.linalg.solve(matrix.T, np.append(offset[:-1], 1.0))
    except np.linalg.LinAlgError:
        return None
    return m if np.abs(m @ K + offset - m).max() <= BORDER else None


def regions(m: Floats, order: Integers, a: float) -> list[int]:
    """Positions i with m in Z_i, up to rounding; the last is where more activations would go.

    At a = 0 and a = 1 φ is linear, and there is one region.
    """
    upto = np.cumsum(m[order])
    last = min(int(np.searchsorted(upto, a + BORDER)), order.size - 1)
    if a in (0, 1):
        return [0] if a == 0 else [order.size - 1]
    return list(range(int(np.searchsorted(upto, a - BORDER)), last + 1))


def _side(m: Floats, order: Integers, a: float) -> int:
    """The position i with m in Z_i, to the last digit."""
    return min(int(np.searchsorted(np.cumsum(m[order]), a)), order.size - 1)


def eigenvalues_along(K: Floats) -> Any:
    """Eigenvalues of K on the vectors that sum to 0, largest modulus first.

    K 1 = 1, so that these vectors stay among themselves; their last entry follows from the others.
    """
    values = np.linalg.eigvals(K[:-1, :-1] - K[-1, :-1])
    return values[np.argsort(-np.abs(values), kind="stable")]


def spectral_radius(K: Floats) -> float:
    """The largest of their moduli; 0 if there is one state."""
    return float(np.abs(eigenvalues_along(K)).max(initial=0))


def _least_active(arm: Arm, active: Integers) -> float:
    """The least part of the time in which an arm is active, over the closed classes."""
    passive, chosen = arm.dense()
    kernel = passive.copy()
    kernel[active] = chosen[active]
    is_active = np.zeros(arm.n_states)
    is_active[active] = 1
    return min(
        float(_stationary(kernel[np.ix_(states, states)]) @ is_active[states])
        for states in closed_classes(kernel)
    )


def _stationary(kernel: Floats) -> Floats:
    """The stationary law of an irreducible chain: μ (I − P) = 0 and μ 1 = 1."""
    matrix = np.eye(len(kernel)) - kernel
    matrix[:, -1] = 1
    law: Floats = np.linalg.solve(matrix.T, np.eye(len(kernel))[-1])
    return law


def _ranks(arm: Arm, order: ArrayLike) -> Integers:
    """The order, checked."""
    states = np.asarray(order)
    size = arm.n_states
    if states.shape != (size,) or not np.array_equal(np.sort(states), np.arange(size)):
        raise ValueError(
            f"order is {states.tolist()}: must hold each of the states 0 … {size - 1} once, first "
            f"served first; np.argsort(-index) makes one of an index"
        )
    return states.astype(np.intp)


def _fractions(start: ArrayLike, size: int) -> Floats:
    """Fractions of arms in each state, checked."""
    m: Floats = np.array(reals("start", start))
    if m.shape != (size,):
        raise ValueError(f"start has shape {m.shape}: must be ({size},), one for each state")
    if not (m.min() >= 0 and abs(m.sum() - 1) <= BORDER):
        raise ValueError(
            f"start has least entry {m.min():g} and sum {m.sum():.10g}: must be ≥ 0 with sum 1; "
            f"divide counts by their sum"
        )
    scaled: Floats = m / m.sum()
    return scaled


def split(m: Floats, order: Integers, a: float) -> Floats:
    """(S, 2) passive and active fractions."""
    y: Any = in_order(m, order, a)  # type: ignore[arg-type]
    return np.stack([m - y, y], axis=-1)


def earns(arm: Arm, y: Floats) -> float:
    """Reward per arm and step of an occupation."""
    return float(arm.R0 @ y[:, 0] + arm.R1 @ y[:, 1])


def rescaled(arm: Arm) -> Arm:
    """The arm with rows that sum to 1 in double precision."""
    return Arm(stochastic(arm.P0), stochastic(arm.P1), arm.R0, arm.R1)


def equations(arm: Arm) -> Any:
    """Balance, total mass, activation: rows; y(·, 0) then y(·, 1): columns, sparse."""
    size, sparse = arm.n_states, scipy("the linear program").sparse
    balance = [sparse.eye_array(size) - sparse.csr_array(P).T for P in (arm.P0, arm.P1)]
    ones = sparse.csr_array(np.ones((1, size)))
    rows = [balance, [ones, ones], [sparse.csr_array((1, size)), ones]]
    return sparse.csc_array(sparse.block_array(rows))
