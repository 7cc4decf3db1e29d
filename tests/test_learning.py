"""Learning rested bandits: indices by brute force, plans by linear programs, exact regret."""

import itertools
import math
import sys

import numpy as np
import pytest
from scipy.optimize import linprog

from alphafair.kernels import numba
from alphafair.models.bandits import Arm, gittins_index
from alphafair.models.bandits.examples import random_rested, task_scheduling
from alphafair.models.bandits.learning import (
    MBPSRL,
    MBUCBVI,
    MBUCRL2,
    PSRL,
    UCBVI,
    UCRL2,
    Learning,
    Plan,
    Seen,
    random_walk,
    run,
)
from alphafair.models.bandits.learning import episodes as episodes_module
from alphafair.models.bandits.learning import kernels as kernels_module
from alphafair.models.bandits.learning import learners as learners_module
from alphafair.models.bandits.learning.kernels import (
    DENSE,
    chain_value,
    first_largest,
    gittins_indices,
    optimistic_arms,
    play,
    policy_loss,
    shifted,
)
from alphafair.models.bandits.learning.learners import optimistic_chain

NO_NUMBA = "numba is not installed, or unwanted"

ARMWISE, PRODUCTS = (MBPSRL, MBUCBVI, MBUCRL2), (PSRL, UCBVI, UCRL2)
# Some hundred roundings of numbers up to 1/(1 − β) ≤ 100, in systems of condition 2/(1 − β);
# sweeps leave a relative error of 1e−13/(1 − β) ≤ 1e−11.
SHARP = 1e-10
# HiGHS stops when its constraints hold within 1e−7; an error of the inner problem enters V
# divided by 1 − β.
LP = 1e-5

WALKS = [random_walk([0.2, 0, 0, 0.9], *p) for p in ((0.1, 0.2), (0.2, 0.2), (0.2, 0.1))]
BIG = [random_rested(size, size) for size in (6, 5, 4, 2)]  # too many for elimination
MIXED = [random_rested(2, 0), random_rested(3, 1), random_rested(2, 2)]


@pytest.fixture(params=["plain", "compiled"])
def twin(request, monkeypatch):
    """Both twins of every loop are tested, whatever the amount of work."""
    if request.param == "compiled" and numba() is None:
        pytest.skip(NO_NUMBA)
    for name in ("_gittins", "_play", "_loss", "_large_loss", "_optimistic"):
        kernel = getattr(kernels_module, name)
        monkeypatch.setattr(kernel, "large", 0 if request.param == "compiled" else math.inf)


class Known:
    """A learner that has nothing to learn: plays given priorities."""

    largest, joint = np.inf, False

    def __init__(self, discount, priority=None, choice=None):
        self.discount, self.kept = discount, Plan(priority, choice)

    def plan(self, seen, rng, last):
        return self.kept


def padded(arms):
    """(P, R, sizes, strides) of the arms, as the compiled functions take them."""
    sizes = np.array([arm.n_states for arm in arms])
    P = np.tile(np.eye(sizes.max()), (len(arms), 1, 1))
    R = np.zeros((len(arms), sizes.max()))
    for a, arm in enumerate(arms):
        P[a, : sizes[a], : sizes[a]], R[a, : sizes[a]] = arm.P1, arm.R1
    strides = np.array([math.prod(sizes[a + 1 :].tolist()) for a in range(len(arms))])
    return P, R, sizes, strides


def product(arms):
    """The chain of each arm on the joint states, (X, n, X) and (X, n), by Kronecker products."""
    sizes = [arm.n_states for arm in arms]
    P, R = [], []
    for a, arm in enumerate(arms):
        before, after = math.prod(sizes[:a]), math.prod(sizes[a + 1 :])
        P.append(np.kron(np.kron(np.eye(before), arm.P1), np.eye(after)))
        R.append(np.kron(np.kron(np.ones(before), arm.R1), np.ones(after)))
    return np.stack(P, axis=1), np.stack(R, axis=1)


def value_of(choice, P, R, beta):
    x = np.arange(len(R))
    return np.linalg.solve(np.eye(len(R)) - beta * P[x, choice], R[x, choice])


def best_value(P, R, beta):
    """V* by Howard's policy iteration on the joint states, which knows no index."""
    choice = np.zeros(len(R), int)
    while True:
        V = value_of(choice, P, R, beta)
        Q = R + beta * P @ V
        better = Q.max(axis=1) > Q[np.arange(len(R)), choice] + 1e-12
        if not better.any():
            return V
        choice = np.where(better, Q.argmax(axis=1), choice)


def best_near(p, V, radius):
    """Max of q·V over ‖q − p‖₁ ≤ radius, as a linear program in q and u ≥ |q − p|."""
    m = len(p)
    eye = np.eye(m)
    result = linprog(
        np.append(-V, np.zeros(m)),
        A_ub=np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, m)), np.ones((1, m))]]),
        b_ub=np.concatenate([p, -p, [radius]]),
        A_eq=np.append(np.ones(m), np.zeros(m))[None],
        b_eq=[1.0],
    )
    assert result.success
    return -result.fun


def random_chain(seed, states=5, actions=2):
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(states), (states, actions))
    P[rng.random(P.shape) < 0.3] = 0
    P[..., 0] += 1e-3
    return P / P.sum(axis=2, keepdims=True), rng.random((states, actions)), rng


# --- compiled parts -------------------------------------------------------------------------------
def stopping_index(P, R, i, beta):
    """γ_i over all 2^(S − 1) sets in which to continue: discounted reward per discounted step."""
    others = [j for j in range(len(R)) if j != i]
    best = -np.inf
    for count in range(len(R)):
        for more in itertools.combinations(others, count):
            keep = np.zeros(len(R), bool)
            keep[[i, *more]] = True
            A = np.eye(len(R)) - beta * P * keep  # what leaves the set is worth nothing
            best = max(best, np.linalg.solve(A, R)[i] / np.linalg.solve(A, np.ones(len(R)))[i])
    return best


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("beta", [0.3, 0.9, 0.99])
def test_index_is_the_best_over_all_stopping_sets(beta):
    arms = [random_rested(size, seed) for seed, size in enumerate((1, 2, 3, 4, 5))]
    arms += [task_scheduling([0.1, 0.5, 0.3]), random_walk([0.5, 0.5, 0.5], 0.3, 0.3)]
    P, R, sizes, _ = padded(arms)
    index = gittins_indices(P, R, sizes, beta)
    for a, arm in enumerate(arms):
        expected = [stopping_index(arm.P1, arm.R1, i, beta) for i in range(sizes[a])]
        np.testing.assert_allclose(index[a, : sizes[a]], expected, rtol=SHARP)
        assert np.all(index[a, sizes[a] :] == -np.inf)


@pytest.mark.usefixtures("twin")
def test_index_agrees_with_the_public_one():
    arms = [random_rested(12, seed) for seed in range(20)]
    P, R, sizes, _ = padded(arms)
    expected = [gittins_index(arm.P1, arm.R1, discount=0.99) for arm in arms]
    np.testing.assert_allclose(gittins_indices(P, R, sizes, 0.99), expected, rtol=SHARP)


@pytest.mark.usefixtures("twin")
def test_index_of_rewards_above_one_and_of_ties():
    """Bonuses leave [0, 1]; an arm that pays c in all states has index c in all states."""
    P = np.stack([random_rested(4, 0).P1] * 2)
    R = np.array([[250.0] * 4, [3.0, 1, 4, 1]])
    index = gittins_indices(P, R, np.array([4, 4]), 0.9)
    np.testing.assert_allclose(index[0], 250, rtol=SHARP)
    np.testing.assert_allclose(index[1], gittins_index(P[1], R[1], discount=0.9), rtol=SHARP)


def test_largest_index_wins_and_the_first_if_tied():
    index = np.array([[0.1, 0.5], [0.5, 0.2]])
    assert first_largest(index, np.array([2, 2]), np.array([2, 1]), 4).tolist() == [1, 1, 0, 0]


@pytest.mark.usefixtures("twin")
def test_an_episode_moves_pays_and_counts():
    """Arm 0 goes 0 → 1 → 2 and stays, arm 1 stays at 0; priorities switch to arm 1 at state 2."""
    go = Arm.rested([[0, 1, 0], [0, 0, 1], [0, 0, 1]], [0, 0.5, 1])
    P, R, sizes, strides = padded([go, Arm.rested([[1]], [0.75])])
    priority = np.array([[3.0, 3, 0], [1, 1, 1]])
    moves, paid = np.zeros((2, 3, 3), int), np.zeros((2, 3), int)
    joint = np.zeros((3, 2, 3), int), np.zeros((3, 2), int)
    uniform, coins = np.full((2, 5), 0.5), np.array([0.2, 0.6, 0.7, 0.8, 0.7])
    choice = first_largest(priority, sizes, strides, 3)
    start = np.zeros(2, int)
    for way in (choice, choice[:0]):
        args = (way, priority, P, R, sizes, strides, start, uniform, coins)
        assert play(*args, True, (moves, paid), joint) == 0 + 0.5 + 3 * 0.75
    assert play(*args, False, (moves, paid), joint) == 2.75  # does not count
    assert moves[0].tolist() == [[0, 2, 0], [0, 0, 2], [0, 0, 0]]
    assert moves[1, 0, 0] == 6
    assert moves.sum() == 10
    assert paid.tolist() == [[0, 0, 0], [4, 0, 0]]  # 0.6 ≥ 0.5 and 0.8 ≥ 0.75 pay nothing
    assert joint[0][0, 0, 1] == joint[0][1, 0, 2] == 2
    assert joint[0][2, 1, 2] == 6
    assert joint[1].tolist() == [[0, 0], [0, 0], [0, 4]]


@pytest.mark.usefixtures("twin")
def test_transitions_are_drawn_with_their_probabilities():
    """The frequencies of 20 000 moves from each state, within 4.5 standard errors."""
    arm = random_rested(4, 3)
    P, R, sizes, strides = padded([arm])
    rng = np.random.default_rng(0)
    moves, paid = np.zeros((1, 4, 4), int), np.zeros((1, 4), int)
    joint = np.zeros((0, 0, 0), int), np.zeros((0, 0), int)
    tables, steps = ((moves, paid), joint), 80_000
    play(
        *(np.zeros(4, int), R, P, R, sizes, strides, np.zeros(1, int)),
        *(rng.random((1, steps)), rng.random(steps), True, *tables),
    )
    visits = moves[0].sum(axis=1)
    assert visits.min() > 1000
    for seen, p in ((moves[0], arm.P1), (paid[0][:, None], arm.R1[:, None])):
        error = np.sqrt(p * (1 - p) / visits[:, None])
        assert np.all(np.abs(seen / visits[:, None] - p) < 4.5 * error)


@pytest.mark.parametrize("size", [5, DENSE + 50])
def test_chain_value_solves_the_linear_system(size):
    """By elimination and by sweeps, which leave an error of 1e−13/(1 − β) at most."""
    rng = np.random.default_rng(size)
    successor, row = rng.integers(0, size, (size, 3)), rng.dirichlet(np.ones(3), size)
    reward, P = rng.random(size), np.zeros((size, size))
    np.add.at(P, (np.arange(size)[:, None], successor), row)
    expected = np.linalg.solve(np.eye(size) - 0.95 * P, reward)
    for values in (chain_value, kernels_module._chain_rows):
        got = values(successor, row, reward, 0.95, rng.random(size))
        np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_chain_value_of_very_many_states(monkeypatch):
    """Sweeps over all states at a time, where a linear system would be too large."""
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 40, (40, 3)), rng.dirichlet(np.ones(3), 40), rng.random(40), 0.95
    expected = kernels_module._chain_rows(*parts, np.zeros(40))
    monkeypatch.setattr(kernels_module, "DIRECT", 0)
    got = kernels_module._chain_rows(*parts, rng.random(40))
    np.testing.assert_allclose(got, expected, rtol=1e-11)


@pytest.mark.parametrize("radius", [0, 0.1, 0.7, 1.5, 2, 30])
def test_best_distribution_near_another(radius):
    rng = np.random.default_rng(1)
    for _ in range(5):
        p, V = rng.dirichlet(np.ones(5)), rng.normal(size=5)
        for q in (shifted(p, V, radius), kernels_module._shifted_rows(p, V, np.array(radius))):
            assert np.abs(q - p).sum() <= radius + 1e-12
            assert q.min() >= 0
            assert q.sum() == pytest.approx(1, abs=1e-12)
            assert q @ V == pytest.approx(best_near(p, V, radius), abs=LP)


# --- twins ----------------------------------------------------------------------------------------
def arms_with_ties(seed):
    """Three arms of 2 to 4 states whose chances and rewards are multiples of 1/4; all can tie."""
    rng = np.random.default_rng(seed)
    arms = []
    for size in rng.integers(2, 5, 3):
        P = np.array([rng.multinomial(4, np.full(size, 1 / size)) for _ in range(size)]) / 4
        arms.append(Arm.rested(P, rng.integers(0, 5, size) / 4))
    arms[1 + seed % 2] = arms[0]  # two are the same
    return rng, padded(arms)


@pytest.mark.skipif(numba() is None, reason=NO_NUMBA)
@pytest.mark.parametrize("seed", range(30))
def test_twins_agree_to_the_last_digit_where_they_decide(seed):
    rng, (P, R, sizes, strides) = arms_with_ties(seed)
    index = kernels_module._gittins.plain(P, R, sizes, 0.9)
    np.testing.assert_array_equal(kernels_module._gittins.compiled(P, R, sizes, 0.9), index)
    choice = first_largest(index, sizes, strides, math.prod(sizes.tolist()))
    luck = np.zeros(3, int), rng.random((3, 60)), rng.random(60), True
    told = []
    for way in (kernels_module._play.plain, kernels_module._play.compiled):
        for rule in (choice, choice[:0]):
            seen = np.zeros(P.shape, int), np.zeros(R.shape, int)
            joint = np.zeros((choice.size, 3, choice.size), int), np.zeros((choice.size, 3), int)
            told.append((way(rule, index, P, R, sizes, strides, *luck, seen, joint), *seen, *joint))
    for other in told[1:]:
        for one, another in zip(told[0], other, strict=True):
            np.testing.assert_array_equal(one, another)


@pytest.mark.skipif(numba() is None, reason=NO_NUMBA)
@pytest.mark.parametrize("seed", range(30))
def test_twins_plan_the_same(seed):
    """Rewards and chances that tie, radii of 0 to 1: the same arms, and values to rounding."""
    rng, (P, R, sizes, strides) = arms_with_ties(seed)
    radius = np.tile(rng.integers(0, 5, R.shape[1]) / 4, (3, 1))
    start = np.zeros(math.prod(sizes.tolist()))
    arguments = P, R, radius, sizes, strides, 0.9, start, 1e-12
    (plain, value), (compiled, same) = (
        twin(*arguments)
        for twin in (kernels_module._optimistic.plain, kernels_module._optimistic.compiled)
    )
    np.testing.assert_array_equal(plain, compiled)
    np.testing.assert_allclose(value, same, rtol=SHARP)


@pytest.mark.skipif(numba() is None, reason=NO_NUMBA)
@pytest.mark.parametrize("seed", range(30))
def test_twins_lose_the_same(seed):
    rng, (P, _, sizes, strides) = arms_with_ties(seed)
    count = math.prod(sizes.tolist())
    gap = np.maximum(rng.integers(-6, 3, (count, 3)), 0) / 2
    gap -= gap.min(axis=1, keepdims=True)  # somebody loses nothing
    rules = rng.integers(0, 3, count), gap.argmin(axis=1)
    for choice in rules:
        arguments = choice, gap, P, sizes, strides, int(rng.integers(count)), 0.9
        expected = kernels_module._loss.compiled(*arguments)
        assert kernels_module._loss.plain(*arguments) == expected
    assert expected == 0  # where nothing is lost on the way, nothing is solved


# --- plans on the joint states --------------------------------------------------------------------
@pytest.mark.parametrize("radius", [None, 0.0, 0.2, 1.0, 2.0])
def test_optimistic_chain_is_the_fixed_point_of_its_linear_programs(radius):
    P, R, rng = random_chain(7)
    wide = None if radius is None else radius * rng.random(R.shape)
    choice, V = optimistic_chain(P, R, wide, 0.8, np.zeros(5))[1:]
    Q = np.array(
        [
            [
                R[x, a] + 0.8 * best_near(P[x, a], V, 0 if wide is None else wide[x, a])
                for a in (0, 1)
            ]
            for x in range(5)
        ]
    )
    np.testing.assert_allclose(Q.max(axis=1), V, atol=LP)
    np.testing.assert_array_equal(Q.argmax(axis=1), choice)


def test_optimistic_chain_where_everything_is_possible():
    """Radius 2: the next state is the best one, V(x) = max R(x) + β max R / (1 − β)."""
    P, R, _ = random_chain(8)
    V = optimistic_chain(P, R, np.full(R.shape, 2.0), 0.9, np.zeros(5)).value
    np.testing.assert_allclose(V, R.max(axis=1) + 9 * R.max(), rtol=SHARP)


def test_optimistic_chain_does_not_depend_on_where_it_starts():
    P, R, rng = random_chain(9, states=30, actions=3)
    radius = 0.3 * rng.random(R.shape)
    plans = [optimistic_chain(P, R, radius, 0.95, s * rng.random(30)) for s in (0, 1, 100)]
    for plan in plans[1:]:
        np.testing.assert_allclose(plan.value, plans[0].value, rtol=SHARP)
        np.testing.assert_array_equal(plan.choice, plans[0].choice)


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("radius", [0.0, 0.3, 1.2])
def test_optimistic_arms_are_the_fixed_point_of_their_linear_programs(radius):
    """Arms of 2, 3 and 2 states: each activation is a linear program over its arm's next state."""
    P, R, sizes, strides = padded(MIXED)
    wide = radius * np.random.default_rng(0).random(R.shape)
    choice, V = optimistic_arms(P, R, wide, sizes, strides, 0.8, np.zeros(12), 1e-12)
    for x, state in enumerate(itertools.product(*map(range, sizes))):
        Q = []
        for a, s in enumerate(state):
            following = [V[x + (j - s) * strides[a]] for j in range(sizes[a])]
            near = best_near(P[a, s, : sizes[a]], np.array(following), wide[a, s])
            Q.append(R[a, s] + 0.8 * near)
        assert max(Q) == pytest.approx(V[x], abs=LP)
        assert Q[choice[x]] == pytest.approx(max(Q), abs=LP)


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("arms", [MIXED, WALKS, BIG])
def test_optimistic_arms_without_radius_know_the_optimum(arms):
    """12, 64 (elimination) and 240 (sweeps) joint states, against policy iteration."""
    P, R, sizes, strides = padded(arms)
    start = np.zeros(math.prod(sizes))
    V = optimistic_arms(P, R, np.zeros(R.shape), sizes, strides, 0.9, start, 1e-12)[1]
    np.testing.assert_allclose(V, best_value(*product(arms), 0.9), rtol=SHARP)


@pytest.mark.parametrize("seed", range(5))
def test_optimism(seed):
    """If the truth is in the sets, the optimistic value is at least the true one, everywhere."""
    rng = np.random.default_rng(seed)
    true, (P, R, sizes, strides) = best_value(*product(MIXED), 0.9), padded(MIXED)
    guess = P.copy()
    for a, size in enumerate(sizes):
        guess[a, :size, :size] = rng.dirichlet(np.ones(size), size)
    radius = np.abs(guess - P).sum(axis=2) + 0.1
    V = optimistic_arms(guess, R, radius, sizes, strides, 0.9, np.zeros(12), 1e-12)[1]
    assert (V - true).min() >= -SHARP
    assert V.mean() > true.mean() + 1e-3  # the truth is not at the border of its set
    P, R = product(MIXED)
    guess = rng.dirichlet(np.ones(12), R.shape)
    radius = np.abs(guess - P).sum(axis=2) + 0.1
    V = optimistic_chain(guess, R, radius, 0.9, np.zeros(12)).value
    assert (V - true).min() >= -SHARP
    assert V.mean() > true.mean() + 1e-3


# --- exact regret ---------------------------------------------------------------------------------
@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("arms", [MIXED, WALKS, BIG])
def test_gaps_and_regret_are_those_of_the_product_chain(arms, beta):
    world = episodes_module._world(arms, beta, None, None)
    P, R = product(arms)
    V = best_value(P, R, beta)
    np.testing.assert_allclose(world.gap, V[:, None] - R - beta * P @ V, atol=SHARP)
    assert world.gap.min() == 0
    assert world.optimal == pytest.approx(V[0], rel=SHARP)
    rng = np.random.default_rng(0)
    for start in (0, len(V) // 2):
        for _ in range(5):
            choice = rng.integers(0, len(arms), len(V))
            loss = policy_loss(choice, world.gap, *padded(arms)[:1], *world[2:4], start, beta)
            expected = V[start] - value_of(choice, P, R, beta)[start]
            assert loss == pytest.approx(expected, abs=SHARP)
            assert loss >= 0


def test_who_knows_the_arms_has_no_regret():
    P, R, sizes, _ = padded(WALKS)
    known = Known(0.99, priority=gittins_indices(P, R, sizes, 0.99))
    assert np.all(run(known, WALKS, 20).regret == 0)
    # every increasing function of the index is as good; its negative is not
    twice = Known(0.99, priority=2 * known.kept.priority + 1)
    worst = Known(0.99, priority=-known.kept.priority)
    assert np.all(run(twice, WALKS, 20).regret == 0)
    assert np.all(run(worst, WALKS, 20).regret > 1)


def test_constant_policies_have_constant_regret():
    """Always arm a, from other initial states: V* − V_a of the product chain, in each episode."""
    P, R = product(MIXED)
    V, start = best_value(P, R, 0.9), 1 * 6 + 2 * 2 + 1
    for a in range(3):
        always = np.full(12, a)
        priority = np.zeros((3, 3))
        priority[a] = 1
        expected = V[start] - value_of(always, P, R, 0.9)[start]
        for known in (Known(0.9, priority), Known(0.9, choice=always)):
            result = run(known, MIXED, 4, runs=2, initial=[1, 2, 1])
            np.testing.assert_allclose(result.regret, expected, atol=SHARP)
            assert result.optimal == pytest.approx(V[start], rel=SHARP)


@pytest.mark.parametrize("learner", [MBPSRL(0.9), MBUCRL2(0.9), MBUCBVI(0.9)], ids=repr)
def test_simulated_regret_is_exact_regret_on_average(learner):
    """Same seed, so the same plans: what is left is the luck of 2400 episodes, in 3.5 s.e."""
    exact = run(learner, WALKS, 300, seed=3, runs=8)
    simulated = run(learner, WALKS, 300, seed=3, runs=8, exact=False)
    assert exact.exact
    assert not simulated.exact
    assert simulated.optimal is None
    for one, other in zip(exact.seen, simulated.seen, strict=True):
        np.testing.assert_array_equal(one.moves, other.moves)
    difference = (simulated.regret - exact.regret).ravel()
    error = difference.std() / difference.size**0.5
    assert abs(difference.mean()) < 3.5 * error
    assert error < 0.3 * exact.regret.mean()  # the test would see a regret that is wrong by half


def test_many_arms_are_simulated():
    """9 tasks of 11 states (2·10⁹ joint states) and 70 arms of 2 (more than 64 bits)."""
    rng = np.random.default_rng(0)
    tasks = [task_scheduling(np.sort(rng.random(10))) for _ in range(9)]
    for arms in (tasks, [random_rested(2, s) for s in range(70)]):
        P, R, sizes, _ = padded(arms)
        known = Known(0.9, priority=gittins_indices(P, R, sizes, 0.9))
        assert np.all(run(known, arms, 50).regret == 0)  # the same episode, played twice
        result = run(MBPSRL(0.9), arms, 50, runs=4)
        assert not result.exact
        assert result.regret.mean() > 0


# --- learners -------------------------------------------------------------------------------------
def evidence(joint=False):
    """Arms of 2 and 3 states, some of which were never visited; 80 steps in all."""
    sizes, strides = np.array([2, 3]), np.array([3, 1])
    moves, paid = np.zeros((2, 3, 3), int), np.zeros((2, 3), int)
    moves[0, 0, :2], moves[1, 1], moves[1, 2, 2] = (1, 3), (4, 0, 2), 70
    paid[0, 0], paid[1, 1], paid[1, 2] = 1, 6, 20
    possible = np.zeros((2, 3, 3))
    possible[0, :2, :2], possible[0, 2, 2], possible[1] = 1, 1, 1
    joint_moves, joint_paid = np.zeros((6, 2, 6), int), np.zeros((6, 2), int)
    joint_moves[0, 0, 0], joint_moves[0, 0, 3], joint_paid[0, 0] = 1, 3, 1
    joint_moves[4, 1, 3], joint_moves[4, 1, 5], joint_paid[4, 1] = 4, 2, 6
    joint_moves[5, 1, 5], joint_paid[5, 1] = 70, 20
    return Seen(sizes, strides, possible, moves, paid, joint_moves, joint_paid, 100)


@pytest.fixture
def asked(monkeypatch):
    """The models that learners ask plans for, instead of the plans."""
    calls, two = [], (None, None)
    for name in ("gittins_indices", "optimistic_arms", "optimistic_chain"):
        monkeypatch.setattr(learners_module, name, lambda *a: calls.append(a) or two)
    return calls


def test_counts():
    seen = evidence()
    assert seen.visits.tolist() == [[4, 0, 0], [0, 6, 70]]
    assert seen.steps == 80
    assert seen.joint_states == 6


def test_posterior_of_the_arms(asked):
    """Means (1 + f)/(2 + N) and (1 + m)/(S + N) of 4000 draws, within 4.5 standard errors.

    The spread is checked too: variances of Beta and Dirichlet, within 20 % (their own error is
    about √(2/4000) = 2 %, more for skewed laws).
    """
    rng = np.random.default_rng(0)
    for _ in range(4000):
        MBPSRL(0.9).plan(evidence(), rng)
    P, R = (np.array([call[k] for call in asked]) for k in (0, 1))
    for draws, a, b in (
        (R[:, 0, 0], 2, 4),
        (R[:, 0, 1], 1, 1),
        (R[:, 1, 1], 7, 1),
        (R[:, 1, 2], 21, 51),
        (P[:, 0, 0, 1], 4, 2),
        (P[:, 0, 1, 0], 1, 1),
        (P[:, 1, 0, 2], 1, 2),
        (P[:, 1, 1, 0], 5, 4),
        (P[:, 1, 1, 1], 1, 8),
    ):
        variance = a * b / ((a + b) ** 2 * (a + b + 1))
        assert abs(draws.mean() - a / (a + b)) < 4.5 * (variance / 4000) ** 0.5
        assert draws.var() == pytest.approx(variance, rel=0.2)
    np.testing.assert_allclose(P.sum(axis=3), 1, rtol=1e-12)
    assert np.all(P[:, 0, :2, 2] == 0)  # a state that arm 0 does not have


def test_posterior_of_the_product(asked):
    rng = np.random.default_rng(0)
    for _ in range(4000):
        PSRL(0.9).plan(evidence(), rng)
    P, R = (np.array([call[k] for call in asked]) for k in (0, 1))
    for draws, a, b in (
        (R[:, 0, 0], 2, 4),
        (R[:, 4, 1], 7, 1),
        (R[:, 3, 1], 1, 1),
        (P[:, 0, 0, 3], 4, 6),
        (P[:, 0, 0, 5], 1, 9),
        (P[:, 1, 1, 5], 1, 5),
    ):
        variance = a * b / ((a + b) ** 2 * (a + b + 1))
        assert abs(draws.mean() - a / (a + b)) < 4.5 * (variance / 4000) ** 0.5
        assert draws.var() == pytest.approx(variance, rel=0.2)


def test_bonus_and_confidence_sets_of_the_arms(asked):
    """M = 5, K = 100, t = 80: the printed formulas, entry by entry."""
    seen, rng = evidence(), np.random.default_rng(0)
    MBUCBVI(0.9).plan(seen, rng)
    P, R = asked[0][:2]
    assert R[0, 0] == pytest.approx(1 / 4 + 10 * math.sqrt(math.log(2 * 5 * 100 * 80) / 8))
    assert R[1, 1] == pytest.approx(1 + 10 * math.sqrt(math.log(80000) / 12))
    assert R[1, 0] == pytest.approx(10 * math.sqrt(math.log(80000) / 2))  # never visited
    assert P[0, 0].tolist() == [0.25, 0.75, 0]
    assert P[0, 1].tolist() == [0.5, 0.5, 0]
    assert P[1, 0].tolist() == [1 / 3] * 3
    MBUCRL2(0.9).plan(seen, rng)
    Q, R, radius = asked[1][:3]
    np.testing.assert_array_equal(P, Q)
    assert R[1, 2] == pytest.approx(2 / 7 + math.sqrt(math.log(80000) / 140))
    assert R[1, 1] == 1  # cut
    assert radius[0, 0] == pytest.approx(math.sqrt(2 * math.log(40000 * 2**2) / 4))
    assert radius[1, 2] == pytest.approx(math.sqrt(2 * math.log(40000 * 2**3) / 70))
    assert radius[1, 0] == pytest.approx(math.sqrt(2 * math.log(40000 * 2**3)))


def test_bonus_and_confidence_sets_of_the_product(asked):
    """X = 6 joint states and 2 arms: 12 in the place of M, 6 in the place of S."""
    seen, rng = evidence(), np.random.default_rng(0)
    UCBVI(0.9).plan(seen, rng)
    P, R, radius = asked[0][:3]
    assert radius is None
    assert R[0, 0] == pytest.approx(1 / 4 + 10 * math.sqrt(math.log(2 * 12 * 8000) / 8))
    assert P[0, 0].tolist() == [0.25, 0, 0, 0.75, 0, 0]
    assert P[0, 1].tolist() == [1 / 6] * 6
    UCRL2(0.9).plan(seen, rng)
    R, radius = asked[1][1:3]
    assert R[5, 1] == pytest.approx(2 / 7 + math.sqrt(math.log(2 * 12 * 8000) / 140))
    assert radius[5, 1] == pytest.approx(math.sqrt(2 * math.log(12 * 8000 * 2**6) / 70))
    assert radius[1, 1] == pytest.approx(math.sqrt(2 * math.log(12 * 8000 * 2**6)))


def test_arms_without_states_are_their_own_product():
    """One state each: one joint state, n actions, and the same sets: the same learner."""
    coins = [Arm.rested([[1]], [mean]) for mean in (0.3, 0.8, 0.5)]
    for armwise, on_product in ((MBUCRL2, UCRL2), (MBUCBVI, UCBVI)):
        one, other = (run(learner(0.8), coins, 200) for learner in (armwise, on_product))
        np.testing.assert_array_equal(one.regret, other.regret)
        assert one.regret.max() > 0


def test_all_learners_meet_the_same_luck():
    """With one arm there is nothing to decide: what is seen must not depend on the learner."""
    results = [run(learner(0.9), WALKS[:1], 50, seed=5) for learner in ARMWISE + PRODUCTS]
    for result in results:
        assert np.all(result.regret == 0)
        np.testing.assert_array_equal(result.seen[0].moves, results[0].seen[0].moves)
        np.testing.assert_array_equal(result.seen[0].paid, results[0].seen[0].paid)
        assert result.seen[0].joint_moves.size == 0


def test_steps_are_geometric():
    """20 000 episodes of mean length 1/(1 − β) = 5, standard deviation √β/(1 − β), in 4 s.e."""
    result = run(Known(0.8, priority=np.zeros((1, 1))), [Arm.rested([[1]], 1)], 20_000)
    steps = result.seen[0].steps
    assert abs(steps / 20_000 - 5) < 4 * math.sqrt(0.8) / 0.2 / math.sqrt(20_000)
    assert result.seen[0].paid[0, 0] == steps  # a mean reward of 1 always pays


@pytest.mark.parametrize("learner", [MBPSRL, MBUCBVI, MBUCRL2, PSRL, UCBVI, UCRL2])
def test_easy_arms_are_learned(learner):
    """0.9 against 0 (β = 0.5): no regret in the end, where the first episodes have some."""
    coins = [Arm.rested([[1]], [mean]) for mean in (0.0, 0.9)]
    regret = run(learner(0.5), coins, 1000, runs=5).regret
    assert regret.min() >= 0
    assert regret[:, :50].mean() > 0.01
    # a bonus of 2 √(ln(…)/2N) asks for the bad arm now and then: never twice in a row at the end
    assert regret[:, -100:].mean() < 0.25 * regret[:, :50].mean()


def test_posterior_sampling_has_the_smallest_regret():
    """Random walks, S = 4 and n = 3, β = 0.9, 20 runs: its interval lies below all others."""
    own = run(MBPSRL(0.9), WALKS, 200, runs=20).interval()
    for learner, episodes in ((MBUCBVI, 200), (MBUCRL2, 200), (PSRL, 80), (UCBVI, 80), (UCRL2, 80)):
        other = run(learner(0.9), WALKS, episodes, runs=20).interval()
        assert own.high[episodes - 1] < other.low[-1], learner


def test_regret_of_random_arms():
    """Cumulative regret at 100, 500, 1000 episodes, β = 0.9, mean over 8 triples of random arms.

    An independent program found 21, 35, 43 for posterior sampling over 6 such triples and a regret
    that is still linear for MBUCBVI, 106, 423, 714.  The mean varies by a third between sets.
    """
    triples = [[random_rested(4, 3 * i + j) for j in range(3)] for i in range(8)]
    at = [99, 499, 999]
    mean = {
        learner: np.mean([run(learner(0.9), t, 1000).cumulative[0, at] for t in triples], axis=0)
        for learner in (MBPSRL, MBUCBVI)
    }
    assert np.all((mean[MBPSRL] > [10, 18, 22]) & (mean[MBPSRL] < [42, 70, 86]))
    assert np.all((mean[MBUCBVI] > [53, 211, 357]) & (mean[MBUCBVI] < [212, 846, 1428]))


# --- runs and results -----------------------------------------------------------------------------
@pytest.mark.parametrize("learner", [MBPSRL(0.9), MBUCRL2(0.9), PSRL(0.9), UCBVI(0.9)], ids=repr)
def test_runs_are_reproducible(learner):
    more, fewer = (run(learner, MIXED, 30, seed=4, runs=r) for r in (3, 2))
    np.testing.assert_array_equal(more.regret[:2], fewer.regret)
    np.testing.assert_array_equal(more.seen[1].moves, fewer.seen[1].moves)
    assert np.any(more.seen[0].moves != more.seen[1].moves)
    assert np.any(run(learner, MIXED, 30, seed=5).seen[0].moves != more.seen[0].moves)
    assert more.seconds.shape == (3,)
    assert np.all(more.seconds > 0)


def test_global_random_state_is_left_alone():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    run(PSRL(0.9), MIXED, 3)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_interval():
    """Runs 1, 2 and 6 in total: mean 3, standard error √(7/3), Student's t of 2 is 4.30265."""
    regret = np.array([[1.0, 0], [0, 2], [3, 3]])
    mean, low, high = Learning(regret, np.ones(3), None, False, ()).interval()
    assert mean.tolist() == pytest.approx([4 / 3, 3])
    assert high[1] - 3 == pytest.approx(4.30265 * math.sqrt(7 / 3), rel=1e-5)
    assert 3 - low[1] == pytest.approx(high[1] - 3)
    alone = Learning(regret[:1], np.ones(1), None, False, ())
    assert alone.interval().high.tolist() == [np.inf, np.inf]
    assert alone.interval().low.tolist() == [-np.inf, -np.inf]
    with pytest.raises(ValueError, match=r"confidence is 95: must be in \(0, 1\)"):
        alone.interval(95)


def test_progress_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(MBPSRL(0.9), MIXED, 2).regret.shape == (1, 2)


def test_progress_counts_all_episodes(monkeypatch):
    bars = []

    class Bar:
        def __init__(self, **settings):
            self.done, self.settings = 0, settings
            bars.append(self)

        def update(self, count):
            self.done += count

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr("tqdm.tqdm", Bar)
    run(MBPSRL(0.9), MIXED, 7, runs=3)
    assert bars[0].done == bars[0].settings["total"] == 21
    assert bars[0].settings["delay"] == 3
    assert bars[0].settings["leave"] is False


def test_walk():
    assert random_walk([0.5], 0, 0).P1.tolist() == [[1]]
    np.testing.assert_allclose(
        random_walk([0, 0, 1], 0.1, 0.3).P1, [[0.7, 0.3, 0], [0.1, 0.6, 0.3], [0, 0.1, 0.9]]
    )


MOVING = Arm([[0.5, 0.5], [0, 1]], np.eye(2), 0, 1)
SPARSE = Arm.of_classes([MIXED[0], MIXED[1]])


def test_sparse_arms():
    """Two kinds side by side, stored sparse: the same as the kind that it starts in."""
    one, other = run(MBPSRL(0.9), [SPARSE], 5), run(MBPSRL(0.9), MIXED[:1], 5)
    assert one.optimal == pytest.approx(other.optimal)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MBPSRL(1), r"discount is 1\.0: must be in \(0, 1\)"),
        (lambda: UCRL2(discount=0), r"discount is 0\.0: must be in \(0, 1\)"),
        (lambda: run(Known(1.5), MIXED, 1), r"discount is 1\.5: must be in \(0, 1\)"),
        (lambda: run(MBPSRL(0.9), [], 1), "arms is empty: at least one arm"),
        (lambda: run(MBPSRL(0.9), MIXED, 0), r"episodes is 0.*: must be a whole number ≥ 1"),
        (lambda: run(MBPSRL(0.9), MIXED, 1, runs=0), r"runs is 0.*: must be a whole number"),
        (
            lambda: run(MBPSRL(0.9), [MIXED[0], MOVING], 1),
            r"arms\[1\] is not rested: P0 moves state 0, .* make it by Arm\.rested\(P, R\)",
        ),
        (
            lambda: run(MBPSRL(0.9), [Arm(np.eye(2), np.eye(2), [0, 1], 1)], 1),
            r"arms\[0\] is not rested: R0\[1\] is 1\.0",
        ),
        (
            lambda: run(MBPSRL(0.9), [Arm.rested(np.eye(2), [1, 3])], 1),
            r"arms\[0\]: R1\[1\] is 3\.0: must be in \[0, 1\]",
        ),
        (
            lambda: run(MBPSRL(0.9), [MIXED[0], Arm.rested(np.eye(2), [-0.5, 3])], 1),
            r"arms\[1\]: R1\[0\] is -0\.5: must be in \[0, 1\]",
        ),
        (
            lambda: run(PSRL(0.9), [random_rested(4, s) for s in range(6)], 1),
            r"PSRL plans on all joint states, and 6 arms of up to 4 states have 4096: at most 1024",
        ),
        (
            lambda: run(MBUCRL2(0.9), [random_rested(4, s) for s in range(9)], 1),
            r"MBUCRL2 plans .* 9 arms of up to 4 states have 262144: at most 4096; .* MBPSRL",
        ),
        (
            lambda: run(MBPSRL(0.9), [random_rested(4, s) for s in range(9)], 1, exact=True),
            r"exact is True and the arms have 262144 joint states: .* at most 4096; .* exact=False",
        ),
        (
            lambda: run(MBPSRL(0.9), MIXED, 1, initial=[0, 0]),
            r"initial has shape \(2,\) and holds int.*: must be \(3,\) whole numbers",
        ),
        (lambda: run(MBPSRL(0.9), MIXED, 1, initial=[0.0, 0, 0]), r"initial .* holds float64"),
        (
            lambda: run(MBPSRL(0.9), MIXED, 1, initial=[0, 3, 0]),
            r"initial\[1\] is 3: must be a state of arms\[1\], from 0 to 2",
        ),
        (lambda: run(Known(0.9), MIXED, 1), r"plan: priority has shape \(\) and 1 NaN"),
        (
            lambda: run(Known(0.9, choice=np.full(12, 3)), MIXED, 1),
            r"plan: choice has shape \(12,\) and arms 3 to 3: must be \(12,\) and arms 0 to 2",
        ),
        (lambda: run(Known(0.9, choice=np.zeros(5, int)), MIXED, 1), r"choice has shape \(5,\)"),
        (lambda: random_walk([1, 0], 0.6, 0.5), r"left is 0\.6 and right 0\.5: must be prob"),
        (lambda: random_walk([], 0.1, 0.5), r"R has shape \(0,\): must be \(S,\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_arms_must_be_arms():
    with pytest.raises(TypeError, match=r"arms\[1\] is a list: must be an Arm"):
        run(MBPSRL(0.9), [MIXED[0], [1]], 1)
