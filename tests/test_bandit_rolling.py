"""A rolling horizon where the index cycles, and where it does not."""

import numpy as np
import pytest
from scipy import sparse

from alphafair.models.bandits import (
    Arm,
    LPUpdatePolicy,
    PriorityPolicy,
    RollingHorizonPolicy,
    advantage,
    examples,
    finite_horizon_relaxation,
    optimal_value,
    policy_value,
    simulate_average,
    stationary_relaxation,
    stationary_reward,
    whittle_policy,
)
from alphafair.models.bandits.planning.stationary import relative_values

FRACTION = 0.4
HORIZON = 60


@pytest.mark.parametrize("example", [1, 2, 3])
def test_reaches_the_bound_where_the_index_cycles(example):
    """The gap falls with N, as 1/√N; that of the index stays."""
    arm = examples.cycle_example(example)
    bound = stationary_relaxation(arm, FRACTION).value
    gap = []
    for n in (500, 8000):
        policy = RollingHorizonPolicy(arm, FRACTION, HORIZON)
        found = simulate_average(policy, arm, n, 300, runs=6, seed=n)
        gap.append(bound - found.mean)
        assert found.mean < bound + 4 * found.standard_error
    index = simulate_average(whittle_policy(arm, FRACTION, discount=1), arm, 8000, 300, runs=6)
    assert gap[1] < gap[0] / 2 or abs(gap[1]) < 1e-4
    assert gap[1] < (bound - index.mean) / 2


def test_the_last_step_but_none_is_the_best_of_one_step():
    """With τ = 1 it is the greedy rule, exactly."""
    arm = examples.random_dense(3, 5)
    policy = RollingHorizonPolicy(arm, 0.5, 1)
    value = policy_value(policy, arm, [0.5, 0.25, 0.25], 0.5, 1, 4)
    assert value == pytest.approx(optimal_value(arm, [0.5, 0.25, 0.25], 0.5, 1, 4), rel=1e-12)


def test_it_is_the_first_step_of_a_policy_that_updates():
    arm = examples.random_dense(4, 7)
    start = np.full(4, 0.25)
    update = LPUpdatePolicy(finite_horizon_relaxation(arm, start, 0.25, 12))
    rolling = RollingHorizonPolicy(arm, 0.25, 12)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(40, start, size=25)
    for time in (0, 3, 100):
        assert np.array_equal(rolling.decide(counts, time), update.decide(counts, 0))


def test_exact_values_of_few_arms():
    """No worse than the index by more than a little, and below the bound."""
    for seed in range(4):
        arm = examples.random_dense(3, seed)
        bound = stationary_relaxation(arm, 0.5).value
        ours = stationary_reward(RollingHorizonPolicy(arm, 0.5, 40), arm, 10)
        index = stationary_reward(whittle_policy(arm, 0.5, discount=1), arm, 10)
        assert ours <= bound + 1e-10
        assert bound - ours < 1.2 * (bound - index) + 1e-9


@pytest.mark.parametrize(
    ("fraction", "horizon", "message"),
    [(1.2, 5, "fraction is 1.2"), (0.5, 0, "horizon is 0"), (0.5, 2.5, "horizon is 2.5")],
)
def test_refuses(fraction, horizon, message):
    with pytest.raises(ValueError, match=message):
        RollingHorizonPolicy(Arm([[1]], [[1]], 0, 1), fraction, horizon)


@pytest.mark.parametrize("horizon", [5, 7, 9, 15])
def test_an_end_with_values_mends_short_odd_horizons(horizon):
    """Ahead of nothing they are poor on this arm; ahead of the relative values they are good."""
    arm = examples.cycle_example(2)
    bound = stationary_relaxation(arm, FRACTION).value
    lost = {}
    for ending in ("nothing", "values"):
        policy = RollingHorizonPolicy(arm, FRACTION, horizon, ending=ending)
        lost[ending] = bound - simulate_average(policy, arm, 1000, 300, seed=2).mean
    assert lost["nothing"] > 6e-3
    assert 0 < lost["values"] < 2.5e-3


@pytest.mark.parametrize(
    ("arm", "fraction", "n"),
    [
        (examples.cycle_example(2), 0.4, 10),
        (examples.nonindexable(), 0.4, 10),
        (examples.indexable_without_pcl(), 0.5, 10),
    ],
)
def test_one_step_ahead_of_the_values_is_the_priority_by_advantage(arm, fraction, n):
    """At the multiplier; on the third arm this is not the order of its index."""
    relaxation = stationary_relaxation(arm, fraction)
    y = relaxation.occupation
    gain = advantage(arm, y[:, 1] > y[:, 0], relaxation.multiplier, 1)
    order = PriorityPolicy(gain, fraction)
    one = RollingHorizonPolicy(arm, fraction, 1, ending="values")
    counts = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
    assert np.array_equal(one.decide(np.array(counts)), order.decide(np.array(counts)))


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_from_the_optimum_stays_there_if_its_end_has_values(seed):
    """T steps from m* earn T V, whatever T is, for sparse arms as well."""
    arm = examples.random_dense(4, seed)
    relaxation = stationary_relaxation(arm, 0.5)
    h = relative_values(arm, relaxation.occupation)
    paid = [R + P @ h - h for R, P in ((arm.R0, arm.P0), (arm.R1, arm.P1))]
    for kind in (np.asarray, sparse.csr_array):
        shaped = Arm(kind(arm.P0), kind(arm.P1), *paid)
        plan = finite_horizon_relaxation(shaped, relaxation.fixed_point, 0.5, 7)
        assert plan.value == pytest.approx(7 * relaxation.value, rel=1e-9)


def test_an_unknown_ending():
    with pytest.raises(ValueError, match="ending is 'free': must be one of 'nothing', 'values'"):
        RollingHorizonPolicy(examples.cycle_example(2), 0.4, ending="free")
