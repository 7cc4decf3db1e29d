"""Follow the virtual advice: the bound where the index cycles, exact for one arm."""

import numpy as np
import pytest

from alphafair.models.bandits import (
    Arm,
    examples,
    simulate_average,
    simulate_virtual_advice,
    stationary_relaxation,
    virtual_policy,
    whittle_policy,
)
from alphafair.models.bandits.virtual import _within


@pytest.mark.parametrize("example", [1, 2, 3])
def test_reaches_the_bound_where_the_index_cycles(example):
    arm, a = examples.cycle_example(example), 0.4
    bound = stationary_relaxation(arm, a).value
    gap = []
    for n in (200, 3200):
        found = simulate_virtual_advice(arm, a, n, 300, runs=6, seed=n)
        assert found.mean < bound + 4 * found.standard_error
        gap.append(bound - found.mean)
    index = simulate_average(whittle_policy(arm, a, discount=1), arm, 3200, 300, runs=6)
    assert gap[1] < gap[0] / 2
    if example == 2:
        assert gap[1] < (bound - index.mean) / 5


@pytest.mark.parametrize("seed", range(4))
def test_the_twin_alone_is_optimal(seed):
    """Its chain has the occupation of the relaxation, and so its value."""
    arm, a = examples.random_dense(5, seed), 0.3
    relaxation = stationary_relaxation(arm, a)
    pi = virtual_policy(relaxation)
    kernel = (1 - pi)[:, None] * arm.P0 + pi[:, None] * arm.P1
    law = np.linalg.matrix_power(kernel, 4000)[0]
    assert law @ ((1 - pi) * arm.R0 + pi * arm.R1) == pytest.approx(relaxation.value, abs=1e-9)
    assert law @ pi == pytest.approx(a, abs=1e-9)


def test_the_budget_is_kept_and_the_advice_as_far_as_it_goes():
    rng = np.random.default_rng(0)
    told = (rng.random((50, 40)) < 0.5).astype(int)
    met = rng.random((50, 40)) < 0.7
    for budget in (0, 5, 20, 35, 40):
        done = _within(budget, told, met, rng)
        assert (done.sum(axis=1) == budget).all()
        for wish, act, with_twin in zip(told, done, met, strict=True):
            if wish.sum() >= budget:
                assert (act <= wish).all()
                out = (wish == 1) & (act == 0)
                if (out & with_twin).any():  # then all the others are left out already
                    assert not ((act == 1) & ~with_twin).any()
            else:
                assert (act >= wish).all()
                drawn = (wish == 0) & (act == 1)
                if (drawn & with_twin).any():
                    assert not ((act == 0) & ~with_twin).any()


def test_all_active_is_the_chain_of_active_arms():
    arm = examples.random_dense(4, 2)
    law = np.linalg.matrix_power(arm.P1, 4000)[0]
    found = simulate_virtual_advice(arm, 1.0, 20, 2000, runs=20)
    assert abs(found.mean - law @ arm.R1) < 4 * found.standard_error


def test_refuses_a_budget_that_is_not_whole():
    with pytest.raises(ValueError, match="fraction · arms must be a whole"):
        simulate_virtual_advice(Arm([[1]], [[1]], 0, 1), 0.3, 5, 10)
