"""A rolling horizon where the index cycles, and where it does not."""

import numpy as np
import pytest

from alphafair.models.bandits import (
    Arm,
    LPUpdatePolicy,
    RollingHorizonPolicy,
    examples,
    finite_horizon_relaxation,
    optimal_value,
    policy_value,
    simulate_average,
    stationary_relaxation,
    stationary_reward,
    whittle_policy,
)

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
