"""Exact values of N arms: published chains, brute force over single arms, rational arithmetic."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from alphafair.kernels import numba
from alphafair.models.bandits.arms import Arm
from alphafair.models.bandits.counts import classes, initial_counts
from alphafair.models.bandits.exact import configurations as configurations_module
from alphafair.models.bandits.exact import evaluate
from alphafair.models.bandits.exact.configurations import (
    Configurations,
    Moves,
    composition_rank,
    compositions,
    refuse_if_too_large,
    symmetric_powers,
)
from alphafair.models.bandits.exact.evaluate import (
    discounted_reward,
    optimal_value,
    policy_value,
    stationary_reward,
)
from alphafair.models.bandits.policies import PriorityPolicy, in_order

NO_NUMBA = "numba is not installed, or unwanted"

# Sums of some thousand products of numbers of order 1, all of one sign: a few hundred roundings.
SHARP = 1e-12
# The values below are printed with eight digits.
PRINTED = 1e-8

NINO_MORA = Arm(  # indexable, not strongly: Niño-Mora 2001
    [[0.3629, 0.5028, 0.1343], [0.0823, 0.7534, 0.1643], [0.246, 0.0294, 0.7246]],
    [[0.1719, 0.1749, 0.6532], [0.0547, 0.9317, 0.0136], [0.1547, 0.6271, 0.2182]],
    0,
    [0.44138, 0.8033, 0.14257],
)
SINGULAR = Arm(
    [[0.2, 0.3, 0.5], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]],
    [[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [0.55, 0.25, 0.2]],
    0,
    [1, 0.4, 0.2],
)
# Printed with eight digits: the third row of P0 sums to 1 + 1e−8.
CYCLE = Arm(  # Gast, Gaujal and Yan (arXiv:2012.09064), example 2 of those that cycle
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
MEMORYLESS = Arm([[0.5, 0.25, 0.25]] * 3, [[0.25, 0.5, 0.25]] * 3, 0, [1.0, 0.5, 0.2])

# Average rewards of the Whittle index policy, from a chain on configurations listed one by one and
# solved by another program; the indices by bisection with policy iteration.
WHITTLE = {
    "exponential": (
        NINO_MORA,
        [0.150336, 0.8033, 0.626652],
        0.5,
        {4: 0.3932197, 8: 0.39795359, 16: 0.40065005, 24: 0.40132168, 32: 0.4015313},
    ),
    "singular": (
        SINGULAR,
        [1, 0.45454545, 0.22727273],
        0.5,
        {4: 0.43641483, 8: 0.45454189, 16: 0.46756031, 32: 0.47686053},
    ),
    "cycle": (
        CYCLE,
        [0.37401552, 0.18199423, -0.02115716],
        0.4,
        {5: 0.10984138, 10: 0.11401299, 20: 0.11614686, 30: 0.11657017, 40: 0.11653866},
    ),
}
# The largest total reward of T steps, by dynamic programming in another program.
OPTIMA = [
    (NINO_MORA, [0.5, 0.5, 0], 0.5, 6, 2, 2.3555191687189647),
    (NINO_MORA, [0.5, 0.5, 0], 0.5, 6, 4, 2.3826998148513097),
    (NINO_MORA, [0.5, 0.5, 0], 0.5, 6, 6, 2.395174807246739),
    (NINO_MORA, [0.5, 0.5, 0], 0.5, 6, 10, 2.4047968114349185),
    (NINO_MORA, [0.5, 0.5, 0], 0.5, 6, 20, 2.409280683170675),
    (CYCLE, [0.2, 0.4, 0.4], 0.4, 10, 5, 1.1102514158338885),
    (CYCLE, [0.2, 0.4, 0.4], 0.4, 10, 10, 1.154459729160998),
    (CYCLE, [0.2, 0.4, 0.4], 0.4, 10, 15, 1.1728587539294353),
    (CYCLE, [0.2, 0.4, 0.4], 0.4, 10, 20, 1.1832257519117324),
    (MEMORYLESS, [0.5, 0.25, 0.25], 0.5, 6, 4, 2.5693359375),
    (MEMORYLESS, [0.5, 0.25, 0.25], 0.5, 6, 20, 2.672295889375627),
]


def random_arm(rng, states, zeros=0.0):
    """Dense rows, or with some zeros, so that not everything leads everywhere."""

    def rows():
        P = rng.random((states, states)) * (rng.random((states, states)) >= zeros)
        P[np.arange(states), rng.integers(0, states, states)] += 0.1
        return P / P.sum(axis=1, keepdims=True)

    return Arm(rows(), rows(), rng.normal(size=states), rng.normal(size=states))


def random_counts(rng, states, n_arms):
    return rng.multinomial(n_arms, np.full(states, 1 / states))


# --- oracle: every arm on its own -----------------------------------------------------------------
class ArmByArm:
    """The chain on S^N vectors of states, with sets of activated arms as actions; no counts."""

    def __init__(self, arm, n_arms):
        self.passive, self.active = (P / P.sum(axis=1, keepdims=True) for P in arm.dense())
        self.arm, self.n_arms = arm, n_arms
        self.states = list(itertools.product(range(arm.n_states), repeat=n_arms))

    def counts(self, state):
        return np.bincount(state, minlength=self.arm.n_states)

    def law(self, state, chosen):
        """(S^N,) where the arms go: a product of rows, one an arm."""
        law = np.ones(1)
        for i, s in enumerate(state):
            law = np.multiply.outer(law, (self.active if i in chosen else self.passive)[s]).ravel()
        return law

    def reward(self, state, chosen):
        paid = (self.arm.R1 if i in chosen else self.arm.R0 for i in range(self.n_arms))
        return sum(R[s] for R, s in zip(paid, state, strict=True)) / self.n_arms

    def subsets(self, total):
        return itertools.combinations(range(self.n_arms), total)

    def first(self, counts):
        return self.states.index(tuple(np.repeat(np.arange(len(counts)), counts).tolist()))

    def optimal(self, totals):
        """(S^N,) by trying all subsets."""
        value = np.zeros(len(self.states))
        for total in reversed(totals):
            value = np.array(
                [
                    max(self.reward(x, c) + self.law(x, c) @ value for c in self.subsets(total))
                    for x in self.states
                ]
            )
        return value

    def mixture(self, policy, state, time):
        """Reward and law under a policy: in each state it takes the arms of least number."""
        n = self.counts(state)
        listed = getattr(policy, "decisions", lambda n, time: [(1.0, policy.decide(n, time))])
        reward, law = 0.0, 0.0
        for chance, decision in listed(n, time):
            left, chosen = np.array(decision), set()
            for i, s in enumerate(state):
                if left[s] > 0:
                    left[s] -= 1
                    chosen.add(i)
            reward += chance * self.reward(state, chosen)
            law += chance * self.law(state, chosen)
        return reward, law

    def closed(self, policy, time=0):
        reward, law = zip(*(self.mixture(policy, x, time) for x in self.states), strict=True)
        return np.array(reward), np.array(law)

    def value(self, policy, horizon):
        value = np.zeros(len(self.states))
        for time in reversed(range(horizon)):
            reward, law = self.closed(policy, time)
            value = reward + law @ value
        return value


@dataclass(frozen=True)
class Alternating:
    """Another order of priority at each time, to see that the time is passed on."""

    orders: tuple
    total: int

    def decide(self, counts, time):
        return in_order(counts, self.orders[time % len(self.orders)], self.total)


@dataclass(frozen=True)
class Coin:
    """Two orders of priority, the first with this chance, which depends on the counts."""

    first: tuple
    second: tuple
    total: int

    def decisions(self, counts, time):
        chance = (1 + counts[0]) / (2 + counts.sum() + time)
        yield chance, in_order(counts, self.first, self.total)
        yield 1 - chance, in_order(counts, self.second, self.total)


# --- published and independent values -------------------------------------------------------------
@pytest.mark.parametrize("name", WHITTLE)
def test_average_of_the_whittle_policy(name):
    arm, index, fraction, values = WHITTLE[name]
    policy = PriorityPolicy(index, fraction)
    for n_arms, value in values.items():
        assert stationary_reward(policy, arm, n_arms) == pytest.approx(value, abs=PRINTED)


@pytest.mark.parametrize(("arm", "initial", "fraction", "horizon", "n_arms", "value"), OPTIMA)
def test_optimal_value(arm, initial, fraction, horizon, n_arms, value):
    found = optimal_value(arm, initial, fraction, horizon, n_arms)
    assert found == pytest.approx(value, abs=1e-11)  # two programs, some thousand operations each


# --- against single arms --------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(12))
def test_finite_horizon_is_that_of_single_arms(seed):
    rng = np.random.default_rng(seed)
    states, n_arms = [(2, 2), (2, 4), (3, 2), (3, 3), (4, 2), (3, 4)][seed % 6]
    arm = random_arm(rng, states, zeros=0.4 * (seed % 2))
    n, total = random_counts(rng, states, n_arms), int(rng.integers(0, n_arms + 1))
    oracle, horizon = ArmByArm(arm, n_arms), 3
    start = oracle.first(n)
    best = optimal_value(arm, n / n_arms, total / n_arms, horizon, n_arms)
    assert best == pytest.approx(oracle.optimal([total] * horizon)[start], abs=SHARP)
    orders = tuple(tuple(rng.permutation(states).tolist()) for _ in range(2))
    for policy in (Alternating(orders, total), Coin(*orders, total)):
        value = policy_value(policy, arm, n / n_arms, total / n_arms, horizon, n_arms)
        assert value == pytest.approx(oracle.value(policy, horizon)[start], abs=SHARP)


@pytest.mark.parametrize("seed", range(6))
def test_fractions_that_change(seed):
    rng = np.random.default_rng(seed)
    arm, n = random_arm(rng, 3), random_counts(rng, 3, 3)
    totals = [1, 3, 0, 2]
    best = optimal_value(arm, n / 3, np.array(totals) / 3, 4, 3)
    oracle = ArmByArm(arm, 3)
    assert best == pytest.approx(oracle.optimal(totals)[oracle.first(n)], abs=SHARP)


def test_no_policy_is_better_than_the_optimal():
    rng = np.random.default_rng(7)
    reached = 0
    for _ in range(200):
        states, n_arms = int(rng.integers(1, 5)), int(rng.integers(1, 9))
        arm, n = random_arm(rng, states, zeros=0.3), random_counts(rng, states, n_arms)
        horizon, fraction = int(rng.integers(1, 6)), rng.integers(0, n_arms + 1) / n_arms
        best = optimal_value(arm, n / n_arms, fraction, horizon, n_arms)
        policy = PriorityPolicy(rng.normal(size=states), fraction)
        value = policy_value(policy, arm, n / n_arms, fraction, horizon, n_arms)
        assert value <= best + SHARP
        reached += value >= best - SHARP
    assert 20 < reached < 180  # the test is neither trivial nor far from the bound


@pytest.mark.parametrize("seed", range(8))
def test_discounted_is_that_of_single_arms(seed):
    rng = np.random.default_rng(seed)
    arm, n = random_arm(rng, 3, zeros=0.4 * (seed % 2)), random_counts(rng, 3, 4)
    oracle, beta = ArmByArm(arm, 4), 0.9
    policy = (
        PriorityPolicy(rng.normal(size=3), 0.5) if seed % 4 < 2 else Coin((0, 1, 2), (2, 0, 1), 2)
    )
    reward, law = oracle.closed(policy)
    value = np.linalg.solve(np.eye(len(law)) - beta * law, reward)[oracle.first(n)]
    # Two dense solutions, of condition (1 + β) / (1 − β) = 19 at most.
    assert discounted_reward(policy, arm, n / 4, 4, beta) == pytest.approx(value, abs=1e-11)


def rational_average(law, reward):
    """π r with π P = π, by Gauss–Jordan elimination on fractions: no rounding at all."""
    size = len(law)
    rows = [[law[j][i] - (i == j) for j in range(size)] + [Fraction(0)] for i in range(size)]
    rows[-1] = [Fraction(1)] * (size + 1)  # Σ π = 1 in place of one balance
    for i in range(size):
        pivot = next(k for k in range(i, size) if rows[k][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [entry / rows[i][i] for entry in rows[i]]
        for k in range(size):
            if k != i and rows[k][i] != 0:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return sum(row[-1] * r for row, r in zip(rows, reward, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_average_by_rational_arithmetic(seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 9, (2, 3, 3)).tolist()
    P0, P1 = ([[Fraction(w, sum(row)) for w in row] for row in table] for table in weights)
    R0, R1 = rng.integers(-5, 9, (2, 3)).tolist()
    priority = rng.permutation(3)
    states = list(itertools.product(range(3), repeat=2))
    law, reward = [], []
    for x in states:  # two arms, one of which is activated
        chosen = 0 if priority[x[0]] >= priority[x[1]] else 1
        rows = [P1[s] if i == chosen else P0[s] for i, s in enumerate(x)]
        law.append([rows[0][z[0]] * rows[1][z[1]] for z in states])
        reward.append(Fraction(sum((R1 if i == chosen else R0)[s] for i, s in enumerate(x)), 2))
    arm = Arm(np.array(P0, float), np.array(P1, float), R0, R1)
    average = stationary_reward(PriorityPolicy(priority, 0.5), arm, 2)
    assert average == pytest.approx(float(rational_average(law, reward)), abs=SHARP)


# --- configurations and their laws ----------------------------------------------------------------
@given(st.integers(0, 9), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_rank_undoes_listing(total, parts):
    table = compositions(total, parts)
    assert len(table) == math.comb(total + parts - 1, parts - 1)
    assert (table.sum(axis=1) == total).all()
    assert (table >= 0).all()
    assert sorted(map(tuple, table.tolist())) == list(map(tuple, table.tolist()))
    np.testing.assert_array_equal(composition_rank(table), np.arange(len(table)))


def test_configurations_of_classes_that_are_mixed():
    states = Configurations(np.array([0, 1, 0, 2, 1]), (2, 3, 1))
    assert len(states) == 3 * 4 * 1
    np.testing.assert_array_equal(states.rank(states.counts), np.arange(len(states)))
    np.testing.assert_array_equal(states.counts[:, [0, 2]].sum(axis=1), 2)
    np.testing.assert_array_equal(states.counts[:, [1, 4]].sum(axis=1), 3)
    assert len({tuple(row) for row in states.counts.tolist()}) == len(states)


@pytest.mark.parametrize(("states", "n_arms"), [(1, 3), (2, 5), (3, 4), (4, 3)])
def test_symmetric_power_is_that_of_single_arms(states, n_arms):
    rng = np.random.default_rng(states)
    arm = random_arm(rng, states, zeros=0.3)
    oracle, table = ArmByArm(arm, n_arms), compositions(n_arms, states)
    place = composition_rank(np.array([oracle.counts(x) for x in oracle.states]))
    law = symmetric_powers(arm.P1, [n_arms])[n_arms]
    for row, n in zip(law, table, strict=True):
        single = oracle.law(oracle.states[oracle.first(n)], set(range(n_arms)))
        np.testing.assert_allclose(row, np.bincount(place, single, len(table)), atol=1e-14)


def test_symmetric_power_of_products():
    """Sym(P Q) = Sym(P) Sym(Q): two steps of each arm are two steps of all."""
    P, Q = random_arm(np.random.default_rng(0), 3).dense()
    both = symmetric_powers(P, [6])[6] @ symmetric_powers(Q, [6])[6]
    np.testing.assert_allclose(symmetric_powers(P @ Q, [6])[6], both, atol=1e-14)


def moves_of(arm, n, n_active):
    label = classes(arm)
    return Moves.of(arm, Configurations.around(label, n), n_active)


def two_kinds(rng):
    """Three states and two, their numbers mixed."""
    arm = Arm.of_classes([random_arm(rng, 3), random_arm(rng, 2)])
    order = np.array([3, 0, 4, 1, 2])
    P0, P1 = (P[np.ix_(order, order)] for P in arm.dense())
    return Arm(sparse.csr_array(P0), P1, arm.R0[order], arm.R1[order])


def test_the_three_views_of_a_step_agree():
    rng = np.random.default_rng(5)
    moves = moves_of(two_kinds(rng), np.array([1, 2, 2, 0, 1]), 3)
    C, pairs = len(moves.configurations), moves.reward.size
    assert len(moves.blocks) == 4  # 0 … 3 of the three arms of either kind
    value, weight, law = rng.normal(size=C), rng.random(pairs), moves.rows(np.arange(pairs))
    np.testing.assert_allclose(law.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(law @ value, moves.expect(value), atol=1e-13)
    np.testing.assert_allclose(weight @ law, moves.spread(weight), rtol=1e-12)


def test_pairs_are_all_decisions():
    moves = moves_of(two_kinds(np.random.default_rng(5)), np.array([1, 2, 2, 0, 1]), 3)
    counts = moves.configurations.counts
    found = 0
    for row, n in enumerate(counts):
        for y in itertools.product(*(range(k + 1) for k in n)):
            if sum(y) == 3:
                (pair,) = moves.pairs(n[None], np.array([y]))
                assert moves.origin[pair] == row
                found += 1
    assert found == moves.reward.size


# --- classes of arms ------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_two_kinds_are_those_of_single_arms(seed):
    rng = np.random.default_rng(seed)
    arm, n = two_kinds(rng), np.array([1, 1, 1, 0, 1])
    oracle = ArmByArm(arm, 4)
    start = oracle.first(n)
    best = optimal_value(arm, n / 4, 0.5, 3, 4)
    assert best == pytest.approx(oracle.optimal([2] * 3)[start], abs=SHARP)
    policy = PriorityPolicy(rng.normal(size=5), 0.5)
    value = policy_value(policy, arm, n / 4, 0.5, 3, 4)
    assert value == pytest.approx(oracle.value(policy, 3)[start], abs=SHARP)
    reward, law = oracle.closed(policy)
    many = np.linalg.matrix_power(law, 2**12)[start] @ reward  # these arms forget in a few steps
    assert stationary_reward(policy, arm, 4, initial=n / 4) == pytest.approx(many, abs=1e-11)


def test_a_kind_given_twice_is_one_kind():
    twice = Arm.of_classes([CYCLE, CYCLE])
    policy, same = PriorityPolicy([3, 2, 1] * 2, 0.4), PriorityPolicy([3, 2, 1], 0.4)
    one = stationary_reward(same, CYCLE, 10)
    two = stationary_reward(policy, twice, 10, initial=[0.3, 0, 0.2, 0.1, 0.4, 0])
    assert two == pytest.approx(one, abs=SHARP)


def test_classes_need_an_initial_state():
    arm = Arm.of_classes([CYCLE, CYCLE])
    with pytest.raises(
        ValueError, match=r"initial is None and the arms are of 2 classes .*state 3"
    ):
        stationary_reward(PriorityPolicy(np.ones(6), 0.5), arm, 4)


# --- chains that need care ------------------------------------------------------------------------
def test_periodic_chain():
    """All arms turn 0 → 1 → 2 → 0 together for ever; the one that is active earns its state."""
    turn = np.roll(np.eye(3), 1, axis=1)
    arm = Arm(turn, turn, 0, [0.0, 1.0, 5.0])
    average = stationary_reward(PriorityPolicy([0, 1, 2], 0.5), arm, 2, initial=[1, 0, 0])
    assert average == pytest.approx((0 + 1 + 5) / 3 / 2, abs=SHARP)


def test_the_start_matters_where_configurations_cannot_be_left():
    turn = np.roll(np.eye(3), 1, axis=1)
    arm, policy = Arm(turn, turn, 0, [0.0, 1.0, 5.0]), PriorityPolicy([0, 1, 2], 0.5)
    with pytest.raises(ValueError, match=r"2 sets of configurations .*depends on the start"):
        stationary_reward(policy, arm, 2)
    apart = stationary_reward(policy, arm, 2, initial=[0.5, 0.5, 0])  # (0,1), (1,2), (2,0)
    assert apart == pytest.approx((1 + 5 + 5) / 3 / 2, abs=SHARP)


def test_ends_are_weighed_by_their_probability():
    """From 0 a passive arm is caught in 1 (earns 3) or, twice as often, in 2 (earns 6)."""
    caught = [[0.4, 0.2, 0.4], [0, 1, 0], [0, 0, 1]]
    arm = Arm(caught, caught, [0, 3, 6], [0, 3, 6])
    policy = PriorityPolicy([0, 0, 0], 0.0)
    with pytest.raises(ValueError, match="3 sets of configurations"):
        stationary_reward(policy, arm, 2)
    average = stationary_reward(policy, arm, 2, initial=[1, 0, 0])
    assert average == pytest.approx(3 / 3 + 6 * 2 / 3, abs=SHARP)
    half = stationary_reward(policy, arm, 2, initial=[0.5, 0.5, 0])
    assert half == pytest.approx((3 + 5) / 2, abs=SHARP)
    sure = stationary_reward(policy, arm, 2, initial=[0, 0.5, 0.5])
    assert sure == pytest.approx(4.5, abs=SHARP)


def test_transient_configurations_do_not_count():
    """New machines (2) are never seen again, and earn 1000."""
    P = [[0.5, 0.5, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]]
    arm = Arm(P, P, 0, [1, 3, 1000])
    # One of two arms is active, in 1 unless both are in 0: (3 · 3/4 + 1 · 1/4) / 2.
    average = stationary_reward(PriorityPolicy([0, 1, 2], 0.5), arm, 2)
    assert average == pytest.approx(1.25, abs=SHARP)


def test_seldom_moves():
    """One arm that changes its state every 10⁶ steps is in both states equally long."""
    P = np.array([[1 - 1e-6, 1e-6], [1e-6, 1 - 1e-6]])
    average = stationary_reward(PriorityPolicy([0, 0], 1), Arm(P, P, 0, [0, 1]), 4)
    # The system has condition 10⁶, so 10⁻¹⁰ of accuracy is left.
    assert average == pytest.approx(0.5, abs=1e-9)


def test_a_value_that_its_equation_does_not_confirm_is_refused():
    P = np.array([[1 - 1e-13, 1e-13], [2e-13, 1 - 2e-13]])
    with pytest.raises(ValueError, match="average reward is only certain up to"):
        stationary_reward(PriorityPolicy([0, 0], 1), Arm(P, P, 0, [0, 1]), 3)


def test_rows_that_sum_to_one_up_to_print():
    exact = [P / P.sum(axis=1, keepdims=True) for P in CYCLE.dense()]
    arm, policy = Arm(*exact, 0, CYCLE.R1), PriorityPolicy([3, 2, 1], 0.4)
    assert CYCLE.P0.sum(axis=1).max() > 1
    assert stationary_reward(policy, CYCLE, 10) == stationary_reward(policy, arm, 10)


# --- chains that are too large to be written down -------------------------------------------------
@pytest.mark.parametrize("name", WHITTLE)
def test_iterated_average(monkeypatch, name):
    arm, index, fraction, values = WHITTLE[name]
    policy, n_arms = PriorityPolicy(index, fraction), max(n for n in values if n <= 20)
    direct = stationary_reward(policy, arm, n_arms)
    monkeypatch.setattr(evaluate, "DIRECT", 0)
    monkeypatch.setattr(evaluate._ClosedLoop, "chain", None)  # it must not be used
    iterated = stationary_reward(policy, arm, n_arms)
    assert iterated != direct
    assert iterated == pytest.approx(direct, abs=evaluate.CERTAIN)


def test_iterated_discounted(monkeypatch):
    policy = PriorityPolicy([3, 2, 1], 0.4)
    direct = discounted_reward(policy, CYCLE, [1, 0, 0], 20, 0.99)
    monkeypatch.setattr(evaluate, "DIRECT", 0)
    monkeypatch.setattr(evaluate._ClosedLoop, "chain", None)
    iterated = discounted_reward(policy, CYCLE, [1, 0, 0], 20, 0.99)
    assert iterated != direct
    assert iterated == pytest.approx(direct, abs=evaluate.CERTAIN / (1 - 0.99))


def test_iterated_average_that_depends_on_the_start(monkeypatch):
    monkeypatch.setattr(evaluate, "DIRECT", 0)
    # Two arms are repaired, (2, 2) or more of them in 0 at the end; those left in 1 earn for ever.
    linked = Arm([[1, 0], [0, 1]], [[1, 0], [0.5, 0.5]], [0, 1], 0)
    with pytest.raises(ValueError, match=r"only certain up to .*depends on the start"):
        stationary_reward(PriorityPolicy([1, 0], 0.5), linked, 4)


# --- what fits ------------------------------------------------------------------------------------
def test_refusal_says_what_fits():
    with pytest.raises(ValueError, match="n_arms is 400: in 3 states") as refused:
        stationary_reward(PriorityPolicy([3, 2, 1], 0.25), CYCLE, 400)
    text = str(refused.value)
    assert "80,601 configurations" in text
    assert "GB" in text
    most = int(text.split("proportions ")[1].split(" arms")[0])
    label = np.zeros(3, int)
    refuse_if_too_large(label, np.array([most, 0, 0]), [most // 4])
    with pytest.raises(ValueError, match=f"proportions {most} arms fit"):
        refuse_if_too_large(label, np.array([most + 4, 0, 0]), [most // 4 + 1])


def test_estimate_is_not_less_than_what_is_taken(monkeypatch):
    import tracemalloc

    arm, n, total = two_kinds(np.random.default_rng(0)), np.array([3, 9, 3, 0, 0]), 7
    tracemalloc.start()
    moves_of(arm, n, total).expect(np.zeros(math.comb(11, 2) * 7))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    label = classes(arm)
    sizes = np.bincount(label, n).astype(int)
    estimate = configurations_module._bytes(np.bincount(label), sizes, [total])
    assert 0.2 * estimate < taken < estimate
    monkeypatch.setattr(configurations_module, "MEMORY", estimate)
    refuse_if_too_large(label, n, [total])
    monkeypatch.setattr(configurations_module, "MEMORY", estimate - 1)
    with pytest.raises(ValueError, match="transitions need"):
        refuse_if_too_large(label, n, [total])


def test_not_even_fewer_arms_fit(monkeypatch):
    monkeypatch.setattr(configurations_module, "MEMORY", 100)
    with pytest.raises(ValueError, match="in the same proportions no fewer arms fit"):
        optimal_value(CYCLE, [0.2, 0.4, 0.4], 0.4, 3, 5)


def test_a_million_arms_are_refused_at_once():
    with pytest.raises(ValueError, match=r"5\.0e\+11 configurations"):
        optimal_value(CYCLE, [1, 0, 0], 0.5, 3, 10**6)


# --- errors ---------------------------------------------------------------------------------------
class Wrong:
    """Decides something else when there are three arms in state 0."""

    def __init__(self, wrong):
        self.wrong = wrong

    def decide(self, counts, time):
        right = in_order(counts, [2, 1, 0], 2).astype(float)
        right[counts[..., 0] == 3] = self.wrong
        return right


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        ([2, 0, 1], r"activates \[2\.0, 0\.0, 1\.0\] of \[3, 0, 1\] arms at time 1: must be 2 in"),
        ([1, 1, 0], r"activates \[1\.0, 1\.0, 0\.0\] of \[3, 0, 1\] arms at time 1: must be whole"),
        ([3, 0, -1], r"of \[3, 0, 1\] arms at time 1: must be whole, none too many"),
        ([1.5, 0, 0.5], r"\[1\.5, 0\.0, 0\.5\] of \[3, 0, 1\] arms at time 1: must be whole"),
        ([np.nan, 0, 1], r"\[nan, 0\.0, 1\.0\] of"),
    ],
)
def test_decisions_that_are_not_feasible(decision, message):
    stays = np.eye(3)[[0, 0, 2]]
    arm = Arm(stays, stays, 0, [1, 2, 3])
    # (2, 1, 1) goes to (3, 0, 1) at once.
    with pytest.raises(ValueError, match=message):
        policy_value(Wrong(decision), arm, [0.5, 0.25, 0.25], 0.5, 2, 4)


def test_only_configurations_that_can_be_are_decided():
    """Wrong in (3, ·, ·), where these arms, which stand still, never are."""
    arm = Arm(np.eye(3), np.eye(3), 0, [1, 2, 3])
    value = policy_value(Wrong(np.nan), arm, [0.5, 0.25, 0.25], 0.5, 2, 4)
    assert value == pytest.approx(2 * (3 + 2) / 4, abs=SHARP)


def test_average_needs_the_same_number_everywhere():
    class Few:
        def decide(self, counts, time):
            return np.minimum(counts, 1)

    with pytest.raises(ValueError, match=r"activates \[1, 1\] of .* at time 0: must be 1 in all"):
        stationary_reward(Few(), Arm(np.eye(2), np.full((2, 2), 0.5), 0, 1), 3)


def test_shape_of_decisions():
    class Flat:
        def decide(self, counts, time):
            return np.zeros(3, int)

    with pytest.raises(
        ValueError, match=r"decides for shape \(3,\) where the counts have \(1, 3\)"
    ):
        policy_value(Flat(), CYCLE, [1, 0, 0], 0, 2, 4)


@pytest.mark.parametrize("chances", [(0.5, 0.4), (1.5, -0.5), (np.nan, 1.0), ()])
def test_probabilities_of_decisions(chances):
    class Odd:
        def decisions(self, counts, time):
            return [(chance, in_order(counts, [0, 1, 2], 2)) for chance in chances]

    for value in (
        lambda: policy_value(Odd(), CYCLE, [1, 0, 0], 0.5, 2, 4),
        lambda: stationary_reward(Odd(), CYCLE, 4),
    ):
        with pytest.raises(ValueError, match=r"counts \[4, 0, 0\] at time 0: must be ≥ 0 and sum"):
            value()


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ([1, 0], r"initial has shape \(2,\): must be \(3,\)"),
        ([0.5, 0.6, 0], "initial sums to 1.1: must sum to 1"),
        ([2, -1, 0], r"initial\[1\] is -1.0: must be the part"),
        ([1, np.nan, 0], r"initial\[1\] is nan"),
        ([0.55, 0.45, 0], r"initial\[0\] is 0.55 and n_arms is 10: .* 5.5 is not: change n_arms"),
    ],
)
def test_initial(initial, message):
    policy = PriorityPolicy([3, 2, 1], 0.4)
    for value in (
        lambda: optimal_value(CYCLE, initial, 0.4, 3, 10),
        lambda: policy_value(policy, CYCLE, initial, 0.4, 3, 10),
        lambda: discounted_reward(policy, CYCLE, initial, 10, 0.9),
        lambda: stationary_reward(policy, CYCLE, 10, initial=initial),
    ):
        with pytest.raises(ValueError, match=message):
            value()


def test_rounding_is_not_a_part_of_an_arm():
    assert 0.07 * 100 > 7
    np.testing.assert_array_equal(initial_counts([0.07, 0.93], 2, 100), [7, 93])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": 0.45}, "fraction is 0.45 and there are 10 arms"),
        ({"fraction": 1.5}, r"fraction is 1.5: must be in \[0, 1\]"),
        ({"fraction": [0.4, 0.4]}, r"fraction has shape \(2,\): must be a scalar or \(3,\)"),
        ({"horizon": 0}, "horizon is 0.0: must be a whole number ≥ 1"),
        ({"horizon": 2.5}, "horizon is 2.5: must be a whole number"),
        ({"n_arms": 0}, "n_arms is 0.0: must be a whole number ≥ 1"),
    ],
)
def test_settings(settings, message):
    usual = {"arm": CYCLE, "initial": [1, 0, 0], "fraction": 0.4, "horizon": 3, "n_arms": 10}
    with pytest.raises(ValueError, match=message):
        optimal_value(**usual | settings)
    with pytest.raises(ValueError, match=message):
        policy_value(PriorityPolicy([3, 2, 1], 0.4), **usual | settings)


def test_discount():
    with pytest.raises(ValueError, match=r"discount is 1.0: must be in \(0, 1\)"):
        discounted_reward(PriorityPolicy([3, 2, 1], 0.4), CYCLE, [1, 0, 0], 10, 1)


@pytest.mark.skipif(numba() is None, reason=NO_NUMBA)
@pytest.mark.parametrize("seed", range(5))
def test_symmetric_powers_of_both_twins_are_the_same(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    P = rng.multinomial(3, [0.4, 0.3, 0.2, 0.1], 4) / 3  # some chances are 0
    powers = []
    for large in (np.inf, 0):
        monkeypatch.setattr(configurations_module._grow, "large", large)
        powers.append(symmetric_powers(P, [1, 4]))
    for k in (1, 4):
        np.testing.assert_array_equal(powers[0][k], powers[1][k])
