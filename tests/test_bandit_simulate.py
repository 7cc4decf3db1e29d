"""Simulated arms: exact values within the error they report, and that the error is honest."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse

from alphafair.models.bandits import simulate
from alphafair.models.bandits.arms import Arm
from alphafair.models.bandits.exact import discounted_reward, policy_value, stationary_reward
from alphafair.models.bandits.policies import PriorityPolicy, in_order
from alphafair.models.bandits.simulate import (
    simulate_average,
    simulate_discounted,
    simulate_finite,
    trajectory,
)

# Seeds are fixed, so 3 standard errors either hold for ever or never; about one seed in 200 would
# not hold with 20 runs (Student's t).
SIGMA = 3

NINO_MORA = Arm(
    [[0.3629, 0.5028, 0.1343], [0.0823, 0.7534, 0.1643], [0.246, 0.0294, 0.7246]],
    [[0.1719, 0.1749, 0.6532], [0.0547, 0.9317, 0.0136], [0.1547, 0.6271, 0.2182]],
    0,
    [0.44138, 0.8033, 0.14257],
)
CYCLE = Arm(  # printed with eight digits
    [
        [0.02232142, 0.10229283, 0.87538575],
        [0.03426605, 0.17175704, 0.79397691],
        [0.52324756, 0.45523298, 0.02151947],
    ],
    [
        [0.14874601, 0.30435809, 0.54689589],
        [0.56845754, 0.41117331, 0.02036915],
        [0.2526557, 0.27310439, 0.4742399],
    ],
    0,
    [0.37401552, 0.11740814, 0.07866135],
)
# Four ages, and 3 is kept; an active arm is new again.  One entry a row: nothing is drawn.
AGES = Arm(np.eye(4)[[1, 2, 3, 3]], np.eye(4)[[0, 0, 0, 0]], [0, -1, -2, -3], [0, -1, -2, -3])
# Seldom leaves its state: configurations that follow each other are alike.
SLOW = Arm([[0.98, 0.02], [0.01, 0.99]], [[0.97, 0.03], [0.02, 0.98]], [0, 1], [0, 2])


@dataclass(frozen=True)
class Coin:
    """One of two orders of priority, by a fair coin, for each configuration."""

    first: tuple
    second: tuple
    total: int

    def decisions(self, counts, time):
        return [(0.5, in_order(counts, order, self.total)) for order in (self.first, self.second)]

    def decide(self, counts, time, rng):
        heads = rng.random(counts.shape[:-1]) < 0.5
        sides = [in_order(counts, order, self.total) for order in (self.first, self.second)]
        return np.where(heads[..., None], *sides)


CASES = [
    (NINO_MORA, PriorityPolicy([0.15, 0.8, 0.63], 0.5), [0.5, 0.5, 0], 8),
    (NINO_MORA, PriorityPolicy([3, 2, 1], 0.25), [0, 0, 1], 12),
    (CYCLE, PriorityPolicy([3, 2, 1], 0.4), [0.2, 0.4, 0.4], 20),
    (CYCLE, Coin((0, 1, 2), (2, 1, 0), 4), [0.2, 0.4, 0.4], 10),
    (SLOW, PriorityPolicy([0, 1], 0.5), [1, 0], 10),
    (
        Arm.of_classes([CYCLE, SLOW]),
        PriorityPolicy([3, 2, 1, 4, 5], 0.5),
        [0.25, 0.25, 0, 0, 0.5],
        8,
    ),
]


def exact_in(result, value):
    return abs(result.mean - value) <= SIGMA * result.standard_error


@pytest.mark.parametrize(("arm", "policy", "initial", "n_arms"), CASES)
def test_average(arm, policy, initial, n_arms):
    exact = stationary_reward(policy, arm, n_arms, initial=initial)
    result = simulate_average(policy, arm, n_arms, 2000, initial=initial, seed=3)
    assert 0 < result.standard_error < 0.02
    assert exact_in(result, exact)


@pytest.mark.parametrize(("arm", "policy", "initial", "n_arms"), CASES)
def test_discounted(arm, policy, initial, n_arms):
    exact = discounted_reward(policy, arm, initial, n_arms, 0.9)
    result = simulate_discounted(policy, arm, initial, n_arms, 0.9, runs=400, seed=2)
    assert 0 < result.standard_error < 0.1
    assert exact_in(result, exact)


@pytest.mark.parametrize(("arm", "policy", "initial", "n_arms"), CASES)
def test_finite(arm, policy, initial, n_arms):
    fraction = policy.total / n_arms if isinstance(policy, Coin) else policy.fraction
    exact = policy_value(policy, arm, initial, fraction, 7, n_arms)
    result = simulate_finite(policy, arm, initial, 7, n_arms, runs=400, seed=2)
    assert 0 < result.standard_error < 0.05
    assert exact_in(result, exact)


def test_more_configurations_than_a_dense_system_takes():
    """2926 of them: `stationary_reward` iterates, and this is its check from outside."""
    policy = PriorityPolicy([3, 2, 1], 0.4)
    result = simulate_average(policy, CYCLE, 75, 4000, seed=0)
    assert result.standard_error < 1e-4
    assert exact_in(result, stationary_reward(policy, CYCLE, 75))


def test_the_error_is_honest_where_steps_are_alike():
    """95 % intervals from ten short runs of slow arms, 200 times, against the exact value.

    Of 200 independent intervals 190 ± 3.1 hold it; 180 is three standard deviations less.  An error
    from the scatter of the steps would be several times too small, and hold it in about half.
    """
    policy = PriorityPolicy([0, 1], 0.5)
    exact = stationary_reward(policy, SLOW, 4)
    many = simulate_average(policy, SLOW, 4, 100, runs=2000, warm_up=300).values
    held = 0
    for values in many.reshape(200, 10):
        low, high = simulate.Simulation.of(values).interval
        held += low <= exact <= high
    assert 180 <= held <= 199


def test_warm_up_forgets_the_start():
    """From all arms in 0, which earns nothing, SLOW takes some hundred steps to forget."""
    policy = PriorityPolicy([0, 1], 0.5)
    exact = stationary_reward(policy, SLOW, 10)
    usual = {"initial": [1, 0], "runs": 40, "seed": 1}
    assert not exact_in(simulate_average(policy, SLOW, 10, 100, warm_up=0, **usual), exact)
    assert exact_in(simulate_average(policy, SLOW, 10, 100, warm_up=400, **usual), exact)


def test_a_start_that_is_never_forgotten_shows_in_the_error():
    """Arms drawn in 0 or 1 end in 1 and earn 1 for ever; those drawn in 2 earn 2."""
    caught = [[0, 1, 0], [0, 1, 0], [0.5, 0.5, 0]]
    arm = Arm(np.eye(3)[[1, 1, 2]], caught, [1, 1, 2], 0)
    result = simulate_average(PriorityPolicy([0, 0, 0], 0), arm, 2, 10, runs=50)
    assert set(np.round(result.values, 9)) == {1, 1.5, 2}
    # The standard deviation of an arm is √(2/9), so .047 for 50 pairs, give or take 10 %.
    assert 0.033 < result.standard_error < 0.061


def test_nothing_is_drawn_where_nothing_can_differ():
    policy = PriorityPolicy([0, 1, 2, 3], 0.25)
    result = simulate_finite(policy, AGES, [1, 0, 0, 0], 6, 4, runs=3)
    assert result.standard_error == 0
    assert result.interval == (result.mean, result.mean)
    exact = policy_value(policy, AGES, [1, 0, 0, 0], 0.25, 6, 4)
    assert result.mean == pytest.approx(exact, abs=1e-12)  # sums of six small numbers


def test_summary_is_that_of_the_runs():
    result = simulate_finite(PriorityPolicy([3, 2, 1], 0.5), CYCLE, [1, 0, 0], 5, 4, runs=3)
    values = result.values
    assert values.shape == (3,)
    assert result.mean == pytest.approx(values.mean(), rel=1e-14)
    assert result.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(3), rel=1e-14)
    low, high = result.interval
    assert high - result.mean == pytest.approx(4.302652729911 * result.standard_error, rel=1e-10)
    assert (low + high) / 2 == pytest.approx(result.mean, rel=1e-14)


def test_one_run_has_no_error():
    result = simulate_finite(PriorityPolicy([3, 2, 1], 0.5), CYCLE, [1, 0, 0], 5, 4, runs=1)
    assert result.standard_error == np.inf
    assert result.interval == (-np.inf, np.inf)


def test_discounted_sum_stops_after_the_steps():
    """One arm that earns 1 at each step: 1 + β + β², or up to the remainder 1/(1 − β)."""
    arm = Arm([[1.0]], [[1.0]], 1, 1)
    policy = PriorityPolicy([0], 1)
    short = simulate_discounted(policy, arm, [1], 3, 0.5, steps=3)
    assert short.mean == pytest.approx(1.75, rel=1e-14)
    full = simulate_discounted(policy, arm, [1], 3, 0.5).mean
    assert 2 - 2 * simulate.REMAINDER <= full < 2
    assert simulate_discounted(policy, arm, [1], 3, 1e-12, runs=1).mean == 1


def test_seeds():
    policy, usual = PriorityPolicy([3, 2, 1], 0.4), (CYCLE, 10, 50)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    first, again, other = (simulate_average(policy, *usual, seed=seed).values for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


# --- trajectory -----------------------------------------------------------------------------------
def test_trajectory_of_many_arms_follows_the_mean():
    """10⁸ arms leave the deterministic path m ← y P1 + (m − y) P0 by about 10⁻⁴ a step."""
    path = trajectory(PriorityPolicy([3, 2, 1], 0.4), CYCLE, 10**8, 5, [0.2, 0.4, 0.4])
    m = np.array([0.2, 0.4, 0.4])
    assert path.shape == (6, 3)
    for row in path:
        np.testing.assert_allclose(row, m, atol=5e-4)
        y = np.array([min(m[0], 0.4), min(m[1], max(0.4 - m[0], 0)), 0])
        y[2] = 0.4 - y.sum()
        m = y @ CYCLE.P1 + (m - y) @ CYCLE.P0


def test_trajectory_is_made_of_arms():
    path = trajectory(PriorityPolicy([3, 2, 1], 0.4), CYCLE, 5, 40, [0.2, 0.4, 0.4], seed=4)
    np.testing.assert_allclose(path.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(5 * path, np.rint(5 * path), atol=1e-14)
    assert (path >= 0).all()
    assert len({tuple(row) for row in path.tolist()}) > 10


def test_trajectory_of_no_steps():
    path = trajectory(PriorityPolicy([3, 2, 1], 0.4), CYCLE, 5, 0, [0.2, 0.4, 0.4])
    assert path.tolist() == [[0.2, 0.4, 0.4]]


def test_one_step_by_its_moments():
    """Means and variances of the next counts: sums of multinomials, arm by arm."""
    start, runs = np.array([6, 0, 14]), 20_000
    after = np.array(
        [
            step
            for _, _, step in simulate.walk(
                PriorityPolicy([3, 2, 1], 0.5),
                CYCLE,
                np.repeat(start[None], runs, axis=0),
                1,
                np.random.default_rng(0),
            )
        ]
    )[0]
    laws = [(6, CYCLE.P1[0]), (4, CYCLE.P1[2]), (10, CYCLE.P0[2])]
    mean = sum(n * p for n, p in laws)
    variance = sum(n * p * (1 - p) for n, p in laws)
    assert (np.abs(after.mean(axis=0) - mean) < 4 * np.sqrt(variance / runs)).all()
    # A sample variance has relative standard deviation √(2/runs) = .01.
    np.testing.assert_allclose(after.var(axis=0), variance, rtol=0.04)


def test_sparse_arms_are_the_same_arms():
    policy = PriorityPolicy([0, 1, 2, 3], 0.25)
    ages = Arm(sparse.csr_array(AGES.P0), sparse.csr_array(AGES.P1), AGES.R0, AGES.R1)
    paths = [trajectory(policy, arm, 8, 9, [0.5, 0.5, 0, 0]) for arm in (AGES, ages)]
    np.testing.assert_array_equal(*paths)


def test_no_bar_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert trajectory(PriorityPolicy([3, 2, 1], 0.4), CYCLE, 5, 3, [1, 0, 0]).shape == (4, 3)


def test_bar_shows_late(monkeypatch):
    import tqdm

    seen = {}

    def bar(items, **settings):
        seen.update(settings)
        return items

    monkeypatch.setattr(tqdm, "tqdm", bar)
    trajectory(PriorityPolicy([3, 2, 1], 0.4), CYCLE, 5, 3, [1, 0, 0])
    assert seen == {"desc": "steps", "delay": 3.0, "leave": False}


# --- errors ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_arms": 0}, "n_arms is 0.0: must be a whole number ≥ 1"),
        ({"steps": 0}, "steps is 0.0: must be a whole number ≥ 1"),
        ({"runs": 0}, "runs is 0.0: must be a whole number ≥ 1"),
        ({"warm_up": -1}, "warm_up is -1.0: must be a whole number ≥ 0"),
        ({"initial": [0.5, 0.5]}, r"initial has shape \(2,\): must be \(3,\)"),
        ({"n_arms": 7}, "fraction is 0.4 and there are 7 arms"),
        ({"arm": Arm.of_classes([SLOW, AGES])}, "initial is None and the arms are of 2 classes"),
    ],
)
def test_settings(settings, message):
    usual = {"policy": PriorityPolicy([3, 2, 1], 0.4), "arm": CYCLE, "n_arms": 10, "steps": 5}
    with pytest.raises(ValueError, match=message):
        simulate_average(**usual | settings)


def test_discount_and_horizon():
    policy = PriorityPolicy([3, 2, 1], 0.4)
    with pytest.raises(ValueError, match=r"discount is 1.0: must be in \(0, 1\)"):
        simulate_discounted(policy, CYCLE, [1, 0, 0], 10, 1)
    with pytest.raises(ValueError, match=r"horizon is 0.0: must be a whole number ≥ 1"):
        simulate_finite(policy, CYCLE, [1, 0, 0], 0, 10)
    with pytest.raises(ValueError, match=r"steps is -1.0: must be a whole number ≥ 0"):
        trajectory(policy, CYCLE, 10, -1, [1, 0, 0])


def test_decisions_that_are_not_feasible():
    class Greedy:
        def decide(self, counts, time):
            return counts + (time == 2)

    message = r"policy activates \[1, \d, \d\] of \[0, \d, \d\] arms at time 2: must be whole, none"
    still = Arm(np.eye(3), np.eye(3), 0, 1)
    with pytest.raises(ValueError, match=message):
        simulate_finite(Greedy(), still, [0, 0.5, 0.5], 5, 4)
