"""Arms with clocks of their own: the drift, the exact chain and the simulation agree."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import linprog

from alphafair.models.bandits import (
    Arm,
    PriorityPolicy,
    affine_piece,
    examples,
    limit_cycle,
    stationary_relaxation,
    whittle_policy,
)
from alphafair.models.bandits.asynchronous import (
    asynchronous_path,
    asynchronous_reward,
    settles,
    simulate_asynchronous,
)

BOUND, CYCLING = 0.12380, 0.1142  # of cycle_example(2) at a = .4: its relaxation, its cycle

P = [[0.4, 0.3, 0.3], [0, 1, 0], [0, 0, 1]]
TWO_KINDS = Arm(np.eye(3), np.eye(3), [0, 1, 2], [0, 1, 2])  # a state for life
STUCK = Arm(P, P, [0, 1, 2], [0, 1, 2])  # every arm ends in one of two states


def test_a_cycle_of_the_common_clock_is_a_point_of_rest():
    """`cycle_example(2)` earns .1142 on its synchronous cycle; here its bound, .12380."""
    arm, order, a = examples.cycle_example(2), [0, 1, 2], 0.4
    relaxation = stationary_relaxation(arm, a)
    assert relaxation.value == pytest.approx(BOUND, abs=5e-6)
    assert limit_cycle(arm, order, a).reward == pytest.approx(CYCLING, abs=5e-5)
    assert not relaxation.locally_stable
    assert settles(relaxation)
    for start in np.eye(3):
        end = asynchronous_path(arm, relaxation.order, a, start, [0, 60])[-1]
        np.testing.assert_allclose(end, relaxation.fixed_point, atol=1e-8)


def test_both_values_to_eight_digits_by_other_means():
    """The bound as a linear program by HiGHS, the cycle by a greedy step written out here."""
    arm, a = examples.cycle_example(2), 0.4
    flow = np.hstack([np.eye(3) - arm.P0.T, np.eye(3) - arm.P1.T])
    served, everybody = np.repeat([0.0, 1.0], 3), np.ones(6)
    program = linprog(
        -np.concatenate([arm.R0, arm.R1]),
        A_eq=np.vstack([flow, served, everybody]),
        b_eq=[0, 0, 0, a, 1],
    )
    assert stationary_relaxation(arm, a).value == pytest.approx(-program.fun, abs=1e-8)
    m, reward = np.array([0.2, 0.3, 0.5]), np.zeros(4000)
    for step in range(4000):
        left, active = a, np.zeros(3)
        for s in range(3):
            active[s] = min(m[s], left)
            left -= active[s]
        reward[step] = (m - active) @ arm.R0 + active @ arm.R1
        m = (m - active) @ arm.P0 + active @ arm.P1
    cycle = limit_cycle(arm, [0, 1, 2], a)
    assert cycle.reward == pytest.approx(reward[-2:].mean(), abs=1e-8)


def test_the_path_inside_a_region_is_a_matrix_exponential():
    arm, a = examples.cycle_example(2), 0.4
    relaxation = stationary_relaxation(arm, a)
    order, m = relaxation.order, relaxation.fixed_point
    away = m + 1e-3 * np.array([1, -2, 1.0])
    place = int(np.searchsorted(np.cumsum(m[order]), a))
    K, _ = affine_piece(arm, order, a, place)
    times = np.array([0, 0.5, 1, 3])
    exact = [m + (away - m) @ expm(t * (K - np.eye(3))) for t in times]
    np.testing.assert_allclose(asynchronous_path(arm, order, a, away, times), exact, atol=1e-10)


def test_at_the_start_nothing_has_moved():
    arm, start = examples.cycle_example(2), [0.2, 0.3, 0.5]
    path = asynchronous_path(arm, [0, 1, 2], 0.4, start, [0, 0])
    assert path.tolist() == [start, start]


@pytest.mark.parametrize(
    ("values", "stable"), [([-3, 0.5], True), ([1.2, 0], False), ([0.9 + 2j, 0.9 - 2j], True)]
)
def test_what_settles_has_real_parts_below_one(values, stable):
    assert settles(SimpleNamespace(eigenvalues=np.array(values))) is stable


def test_one_arm_is_a_chain_by_hand():
    """One arm that is always served: the chain of P1, whatever the clock."""
    arm = examples.random_dense(5, 3)
    values, vectors = np.linalg.eig(arm.P1.T)
    law = np.real(vectors[:, np.argmax(values.real)])
    exact = law @ arm.R1 / law.sum()
    policy = PriorityPolicy(np.zeros(5), fraction=1)
    assert asynchronous_reward(policy, arm, 1) == pytest.approx(exact, rel=1e-12)


def test_two_machines_by_hand():
    """New or worn, one service a moment, which repairs surely; a new one wears out with chance w.

    The rings come singly.  With 0, 1, 2 worn: a worn machine that is served becomes new when it
    rings, the other worn one stays, a new one that is not served may wear out.  Where none is worn
    the first new one is served, and stays new.
    """
    w = 0.3
    arm = Arm([[1 - w, w], [0, 1]], [[1, 0], [1, 0]], [1, 0], [1, 0])
    chain = np.array(
        [
            [1 - w / 2, w / 2, 0],
            [1 / 2, 1 / 2 * (1 - w), w / 2],
            [0, 1 / 2, 1 / 2],
        ]
    )
    law = np.linalg.matrix_power(chain, 10_000)[0]
    exact = law @ [2, 1, 0] / 2
    policy = PriorityPolicy([0, 1], fraction=0.5)
    assert asynchronous_reward(policy, arm, 2) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("n_arms", [5, 10])
@pytest.mark.parametrize("example", [1, 2, 3])
def test_simulation_is_the_exact_chain(example, n_arms):
    arm = examples.cycle_example(example)
    policy = PriorityPolicy([3, 2, 1], fraction=0.4)
    found = simulate_asynchronous(policy, arm, n_arms, 300, runs=60, seed=example)
    exact = asynchronous_reward(policy, arm, n_arms)
    assert abs(found.mean - exact) < 4 * found.standard_error


def test_the_gap_to_the_bound_closes_with_the_number_of_arms():
    """In a region the drift is linear: the gap falls faster than 1/N."""
    arm, a = examples.cycle_example(2), 0.4
    policy = whittle_policy(arm, a, discount=1)
    bound = stationary_relaxation(arm, a).value
    gap = [bound - asynchronous_reward(policy, arm, n) for n in (10, 40, 160)]
    assert gap[0] > gap[1] > gap[2] > -1e-12
    slope = np.log(gap[1] / gap[2]) / np.log(4)
    assert slope > 1.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, p: asynchronous_reward(p, a, 400), "at most 20000 are solved exactly"),
        (lambda a, p: asynchronous_path(a, [0, 1, 2], 0.4, [1, 1, 0], [0]), "start has shape"),
        (lambda a, p: asynchronous_path(a, [0, 1, 2], 0.4, [2, -1, 0], [0]), "start has shape"),
        (lambda a, p: asynchronous_path(a, [0, 1, 2], 0.4, [1, 0, 0], [1, 0]), "do not fall"),
        (lambda a, p: asynchronous_path(a, [0, 1, 2], 0.4, [1, 0, 0], [-1, 0]), "do not fall"),
        (lambda a, p: asynchronous_path(a, [0, 1, 2], 0.4, [1, 0, 0], []), "do not fall"),
        (lambda a, p: asynchronous_reward(p, TWO_KINDS, 5), "initial"),
        (lambda a, p: simulate_asynchronous(p, TWO_KINDS, 5, 1), "initial"),
        (lambda a, p: asynchronous_reward(p, STUCK, 5), "sets of configurations that cannot be"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(examples.cycle_example(2), PriorityPolicy([3, 2, 1], fraction=0.4))
