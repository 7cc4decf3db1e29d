"""The stationary program and the mean map: published values, solvers, enumeration, exact limits."""

import itertools

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from alphafair.models.bandits import Arm, NotIndexableError, examples, whittle_index
from alphafair.models.bandits.planning import stationary as relaxation
from alphafair.models.bandits.planning.mean_map import (
    affine_piece,
    fixed_point,
    limit_cycle,
    mean_map,
    orbit,
)
from alphafair.models.bandits.planning.stationary import stationary_relaxation

# One linear system of at most 8 unknowns, condition numbers to 1e3.
BALANCE = 1e-12
# An interior-point solver's values at its tightest tolerances.
CONE = 1e-7

# (arm, a, V, m*, eigenvalues, cycle reward, points of the cycle): computed apart from this package
# with a linear program solver and by iteration, to the digits that are given.  The arms of the
# cycles are those of Gast, Gaujal & Yan (arXiv:2012.09064), the first is Niño-Mora's of 2001.
VALUES = [
    (examples.indexable_without_pcl(), 0.5, 0.40165, [0.13909, 0.6681, 0.19281], None, None, None),
    (examples.singular_example(), 0.5, 0.5, [0.5, 0.3, 0.2], None, None, None),
    (
        examples.cycle_example(1),
        0.4,
        0.247597,
        [0.32258, 0.30317, 0.37425],
        [-1.0268],
        0.246636,
        None,
    ),
    (
        examples.cycle_example(2),
        0.4,
        0.12380017,
        [0.29943, 0.33825, 0.36232],
        [-1.1333, -0.0589],
        0.114202,
        [[0.12779, 0.24747, 0.62473], [0.47988, 0.42054, 0.09957]],
    ),
    (examples.cycle_example(3), 0.4, 0.363776, None, [-1.108], 0.361531, None),
]
NAMES = ["exponential", "singular", "cycle-1", "cycle-2", "cycle-3"]


def printed(value, digits):
    """As printed with so many decimals: half a unit of the last."""
    return pytest.approx(value, abs=0.5001 * 10**-digits)


@pytest.mark.parametrize(("arm", "a", "value", "m", "eigenvalues", "_", "__"), VALUES, ids=NAMES)
def test_values(arm, a, value, m, eigenvalues, _, __):
    solution = stationary_relaxation(arm, a)
    assert solution.value == printed(value, len(str(value)) - 2)
    assert solution.by_index
    assert solution.arm is arm
    assert solution.fraction == a
    if m is not None:
        assert solution.fixed_point == printed(m, 5)
    if eigenvalues is not None:
        digits = 4 if len(eigenvalues) == 2 or a != 0.4 else 3
        assert solution.eigenvalues[: len(eigenvalues)] == printed(eigenvalues, digits)
    assert solution.locally_stable == (eigenvalues is None)
    assert solution.singular == (value == 0.5)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_cycles(k):
    arm, a, _, _, _, reward, points = VALUES[k]
    cycle = limit_cycle(arm, [0, 1, 2], a)
    assert cycle.period == 2
    assert cycle.attracting
    assert not cycle.border
    assert cycle.reward == printed(reward, 6)
    if points:
        assert np.array(sorted(cycle.points.tolist())) == printed(np.array(points), 5)
    # Where it ends is where it goes: a long orbit from elsewhere, the slower multiplier 0.26.
    last = orbit(arm, [0, 1, 2], a, [0.2, 0.3, 0.5], 400)[-2:]
    assert np.array(sorted(last.tolist())) == pytest.approx(
        np.array(sorted(cycle.points.tolist())), abs=BALANCE
    )
    rewards = [arm.R1[0] * min(m[0], a) + arm.R1[1] * min(m[1], max(a - m[0], 0)) for m in last]
    rewards = [r + arm.R1[2] * max(a - m[0] - m[1], 0) for r, m in zip(rewards, last, strict=True)]
    assert cycle.reward == pytest.approx(np.mean(rewards), abs=BALANCE)


def test_singular_example_by_hand():
    """With a = 1/2 state 0 alone is active, and all rows in use are (1/2, 3/10, 1/5)."""
    solution = stationary_relaxation(examples.singular_example(), 0.5)
    exact = [[0, 0.5], [0.3, 0], [0.2, 0]]
    assert solution.occupation == pytest.approx(np.array(exact), abs=1e-15)
    assert solution.value == pytest.approx(0.5, abs=1e-15)
    # One more activation goes to state 1; one less is taken from state 0, worth 1.
    assert solution.multiplier == pytest.approx(5 / 11, abs=1e-14)
    assert solution.order.tolist() == [0, 1, 2]


def balance(arm, a, y):
    """The largest violation of the constraints."""
    P0, P1 = arm.dense()
    flow = y.sum(axis=1) - y[:, 0] @ P0 - y[:, 1] @ P1
    return max(np.abs(flow).max(), abs(y[:, 1].sum() - a), abs(y.sum() - 1), -y.min())


def cvxpy_program(arm, a):
    """V by an interior-point solver."""
    P0, P1 = arm.dense()
    y = cp.Variable((arm.n_states, 2), nonneg=True)
    program = cp.Problem(
        cp.Maximize(arm.R0 @ y[:, 0] + arm.R1 @ y[:, 1]),
        [
            y[:, 0] + y[:, 1] == P0.T @ y[:, 0] + P1.T @ y[:, 1],
            cp.sum(y[:, 1]) == a,
            cp.sum(y) == 1,
        ],
    )
    program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert program.status == "optimal"
    return program.value


@pytest.mark.parametrize("seed", range(100))
def test_against_cvxpy(seed):
    rng = np.random.default_rng(seed)
    arm = examples.random_dense(int(rng.integers(2, 9)), seed, ("exponential", "uniform")[seed % 2])
    a = rng.uniform(0.05, 0.95)
    solution = stationary_relaxation(arm, a)
    assert solution.value == pytest.approx(cvxpy_program(arm, a), abs=CONE)
    assert balance(arm, a, solution.occupation) < BALANCE
    earned = arm.R0 @ solution.occupation[:, 0] + arm.R1 @ solution.occupation[:, 1]
    assert solution.value == pytest.approx(earned, abs=1e-15)
    # Drawn from a density: one state is served in part, and λ is its index.
    parted = np.flatnonzero(solution.occupation.min(axis=1) > 1e-9)
    assert parted.size == 1
    assert not solution.singular
    assert solution.by_index
    assert solution.multiplier == pytest.approx(whittle_index(arm, discount=1)[parted[0]], abs=1e-9)


@pytest.mark.parametrize("example", [1, 2])
@pytest.mark.parametrize("a", [0.1, 0.4, 0.45, 0.7, 0.95])
def test_not_indexable(example, a):
    """No index: order and value come from the program."""
    arm = examples.nonindexable(example)
    with pytest.raises(NotIndexableError):
        whittle_index(arm, discount=1)
    solution = stationary_relaxation(arm, a)
    assert not solution.by_index
    assert solution.value == pytest.approx(cvxpy_program(arm, a), abs=CONE)
    assert balance(arm, a, solution.occupation) < BALANCE
    before, after = solution.occupation[solution.order].T
    parted = int(np.flatnonzero(before > 0)[0])
    assert (after[parted + 1 :] == 0).all()
    m = solution.fixed_point
    assert mean_map(arm, solution.order, a)(m) == pytest.approx(m, abs=BALANCE)


@st.composite
def arms(draw, most=5):
    """Small whole numbers, many of them 0: ties, periods, transient states, several classes."""
    size = draw(st.integers(1, most))

    def matrix():
        rows = st.lists(st.sampled_from([0, 0, 1, 2]), min_size=size, max_size=size)
        table = np.array([draw(rows) for _ in range(size)], dtype=float)
        table[table.sum(axis=1) == 0, draw(st.integers(0, size - 1))] = 1
        return table / table.sum(axis=1, keepdims=True)

    paid = st.lists(st.integers(-2, 2), min_size=size, max_size=size)
    return Arm(matrix(), matrix(), draw(paid), draw(paid))


fractions = st.sampled_from([0, 0.25, 0.5, 0.6, 1]) | st.floats(0.01, 0.99)


@given(arms(), fractions)
@settings(max_examples=60, deadline=None)
def test_any_arm(arm, a):
    """Feasible, optimal by a dual solution, a fixed point: whatever the arm is like."""
    try:
        solution = stationary_relaxation(arm, a)
    except ValueError as error:
        if "never reaches" not in str(error):  # that is checked below
            raise
        return
    assert balance(arm, a, solution.occupation) < 1e-11
    m = solution.fixed_point
    assert m == pytest.approx(solution.occupation.sum(axis=1), abs=1e-15)
    assert mean_map(arm, solution.order, a)(m) == pytest.approx(m, abs=1e-11)
    assert solution.value == pytest.approx(best_gain(arm, solution.multiplier, a), abs=1e-7)


@pytest.mark.parametrize("seed", range(40))
def test_ties_in_the_program_alone(seed):
    """Few numbers, so many ties: the same value, and its order has a fixed point at its answer."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 6))
    P0, P1 = rng.choice([0, 0, 1, 2], size=(2, size, size)) + np.roll(np.eye(size), 1, axis=1)
    P0, P1 = (P / P.sum(axis=1, keepdims=True) for P in (P0, P1))
    R0, R1 = rng.integers(-1, 2, size=(2, size)) * rng.integers(0, 2)
    arm, a = Arm(P0, P1, R0, R1), rng.choice([0.25, 0.5, 0.6])
    solution = stationary_relaxation(arm, a)
    y, order, _ = relaxation._by_program(arm, a)
    assert balance(arm, a, y) < 1e-11
    earned = arm.R0 @ y[:, 0] + arm.R1 @ y[:, 1]
    assert earned == pytest.approx(solution.value, abs=1e-11)
    m = y.sum(axis=1)
    assert mean_map(arm, order, a)(m) == pytest.approx(m, abs=1e-11)


def best_gain(arm, penalty, a):
    """λ a + the best gain of one arm that pays λ per activation: an upper bound on V for any λ.

    All policies without chance, their stationary law from each start by squaring the lazy chain.
    """
    P0, P1 = arm.dense()
    gains = []
    for choice in itertools.product([0, 1], repeat=arm.n_states):
        pi = np.array(choice)
        kernel = (np.where(pi[:, None], P1, P0) + np.eye(arm.n_states)) / 2
        for _ in range(40):
            kernel = kernel @ kernel
            kernel /= kernel.sum(axis=1, keepdims=True)
        gains.append((kernel @ np.where(pi, arm.R1 - penalty, arm.R0)).max())
    return max(gains) + penalty * a


@given(arms(4), st.sampled_from([0.3, 0.5]))
@settings(max_examples=60, deadline=None)
def test_refusal(arm, a):
    """Refused exactly if two states that are recurrent under some policies are not in reach.

    Policies without chance, and reachability by powers of the matrices.
    """
    P0, P1 = arm.dense()
    reach = np.linalg.matrix_power(np.eye(arm.n_states) + P0 + P1, arm.n_states) > 0
    homes = set()
    for choice in itertools.product([0, 1], repeat=arm.n_states):
        kernel = np.where(np.array(choice)[:, None], P1, P0)
        go = np.linalg.matrix_power(np.eye(arm.n_states) + kernel, arm.n_states) > 0
        homes |= {i for i in range(arm.n_states) if go[np.flatnonzero(go[i]), i].all()}
    apart = any(not reach[i, j] for i in homes for j in homes)
    if apart:
        with pytest.raises(ValueError, match="never reaches"):
            stationary_relaxation(arm, a)
    else:
        stationary_relaxation(arm, a)


def test_refusal_says_which_states():
    two = Arm.of_classes([examples.circulant(), examples.restart()])
    with pytest.raises(ValueError, match="from state 0 it never reaches state 4, whatever is done"):
        stationary_relaxation(two, 0.5)
    with pytest.raises(ValueError, match="from state 2 it never reaches state 0, whatever is done"):
        stationary_relaxation(examples.task_scheduling([0.5, 0.25]), 0.5)


CURVES = [
    examples.cycle_example(1),
    examples.nonindexable(1),
    examples.singular_example(),
    examples.age_of_information(5),
]


@pytest.mark.parametrize("arm", CURVES, ids=["cycle", "not-indexable", "singular", "age"])
def test_multiplier_is_the_slope(arm):
    """V is concave and piecewise linear in a; λ is its slope to the right, to the left at a = 1."""
    grid = np.linspace(0, 1, 13)
    solutions = [stationary_relaxation(arm, a) for a in grid]
    slopes = [s.multiplier for s in solutions]
    assert (np.diff(slopes) < 1e-9).all()
    step = 1e-6  # V is linear over so short a distance, and its values are exact to 1e-13
    for a, solution in zip(grid, solutions, strict=True):
        to = a + step if a < 1 else a - step
        slope = (stationary_relaxation(arm, to).value - solution.value) / (to - a)
        assert solution.multiplier == pytest.approx(slope, abs=1e-6)


def test_kinks_of_the_program_without_an_index(monkeypatch):
    """The same slopes from the dual program alone, at kinks and at both ends."""
    expected = {}
    for name, arm in (
        ("singular", examples.singular_example()),
        ("age", examples.age_of_information(4)),
    ):
        for a in (0, 0.25, 0.5, 1):
            expected[name, a] = stationary_relaxation(arm, a)

    def no_index(arm, discount):
        raise NotIndexableError

    monkeypatch.setattr(relaxation, "whittle_index", no_index)
    for name, arm in (
        ("singular", examples.singular_example()),
        ("age", examples.age_of_information(4)),
    ):
        for a in (0, 0.25, 0.5, 1):
            solution = stationary_relaxation(arm, a)
            assert not solution.by_index
            assert solution.multiplier == pytest.approx(expected[name, a].multiplier, abs=1e-9)
            assert solution.value == pytest.approx(expected[name, a].value, abs=1e-12)
            m = solution.fixed_point
            assert mean_map(arm, solution.order, a)(m) == pytest.approx(m, abs=BALANCE)
            if name == "singular":  # the two oldest ages are tied
                assert solution.occupation == pytest.approx(
                    expected[name, a].occupation, abs=BALANCE
                )


def test_a_wrong_index_is_noticed(monkeypatch):
    """The order of an index is used if it is optimal, not because it is one."""
    arm = examples.cycle_example(2)
    true = stationary_relaxation(arm, 0.4)
    index = whittle_index(arm, discount=1)
    for wrong in (index[::-1], index - 0.01, index + 0.01):  # the order; λ
        monkeypatch.setattr(relaxation, "whittle_index", lambda arm, discount, w=wrong: w)
        solution = stationary_relaxation(arm, 0.4)
        assert not solution.by_index
        assert solution.value == pytest.approx(true.value, abs=BALANCE)
        assert solution.multiplier == pytest.approx(true.multiplier, abs=1e-9)
        assert solution.order.tolist() == [0, 1, 2]


def test_ends_and_a_single_state():
    arm = examples.indexable_without_pcl()
    for a, P in ((0, arm.P0), (1, arm.P1)):
        solution = stationary_relaxation(arm, a)
        law = np.linalg.matrix_power(P, 200)[0]  # second eigenvalue 0.55
        assert solution.fixed_point == pytest.approx(law, abs=BALANCE)
        others = sorted(np.abs(np.linalg.eigvals(P)))[:-1]
        assert sorted(np.abs(solution.eigenvalues)) == pytest.approx(others, abs=1e-9)
        assert not solution.singular
        assert solution.locally_stable
    # Where nobody is in the states served first, or last, a = Σ m* too, and φ is linear still.
    idle = stationary_relaxation(examples.age_of_information(4), 0)
    assert not idle.singular
    assert idle.by_index
    assert not stationary_relaxation(examples.gilbert_elliott(0.2, 0.8, 3), 1).singular
    alone = stationary_relaxation(Arm([[1]], [[1]], 2, 5), 0.25)
    assert (alone.value, alone.multiplier, alone.eigenvalues.size) == (2.75, 3, 0)
    assert alone.locally_stable


def next_fractions(arm, order, active, arms_by_state):
    """E[fractions of N arms after a step], over all S^N outcomes."""
    P0, P1 = arm.dense()
    where = np.repeat(np.arange(arm.n_states), arms_by_state)
    rank = np.argsort(order)
    chosen = set(sorted(range(where.size), key=lambda k: rank[where[k]])[:active])
    rows = [(P1 if k in chosen else P0)[where[k]] for k in range(where.size)]
    mean = np.zeros(arm.n_states)
    for outcome in itertools.product(range(arm.n_states), repeat=where.size):
        chance = np.prod([row[j] for row, j in zip(rows, outcome, strict=True)])
        mean += chance * np.bincount(outcome, minlength=arm.n_states) / where.size
    return mean


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize(("n_arms", "active"), [(3, 1), (4, 2), (5, 0), (4, 4)])
def test_mean_map_is_the_expectation(order, n_arms, active):
    arm = examples.nonindexable(2)
    phi = mean_map(arm, order, active / n_arms)
    for counts in itertools.product(range(n_arms + 1), repeat=3):
        if sum(counts) == n_arms:
            expected = next_fractions(arm, order, active, counts)
            assert phi(np.array(counts) / n_arms) == pytest.approx(expected, abs=1e-14)


def test_mean_map_of_many_points_and_sparse_arms():
    arm = examples.random_dense(4, 3)
    thin = Arm(sparse.csr_array(arm.P0), sparse.csr_array(arm.P1), arm.R0, arm.R1)
    points = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 3))
    order = [2, 0, 3, 1]
    moved = mean_map(arm, order, 0.3)(points)
    assert moved.shape == (2, 3, 4)
    for i, j in np.ndindex(2, 3):
        one = mean_map(arm, order, 0.3)(points[i, j])
        assert moved[i, j] == pytest.approx(one, abs=1e-15)
    assert mean_map(thin, order, 0.3)(points) == pytest.approx(moved, abs=1e-15)
    assert limit_cycle(thin, order, 0.3).points == pytest.approx(
        limit_cycle(arm, order, 0.3).points, abs=BALANCE
    )
    assert stationary_relaxation(thin, 0.3).value == pytest.approx(
        stationary_relaxation(arm, 0.3).value, abs=BALANCE
    )


def test_affine_pieces():
    """Each agrees with the map in its region, differs outside, and keeps the mass."""
    arm, order, a = examples.random_dense(5, 1), np.array([3, 0, 4, 2, 1]), 0.35
    phi, rng, seen = mean_map(arm, order, a), np.random.default_rng(1), set()
    pieces = [affine_piece(arm, order, a, i) for i in range(5)]
    for K, offset in pieces:
        assert K.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-15)
        assert offset.sum() == pytest.approx(0, abs=1e-15)
    for m in rng.dirichlet(np.full(5, 0.5), size=300):
        upto = np.cumsum(m[order])
        region = int(np.argmax(upto > a))
        seen.add(region)
        for i, (K, offset) in enumerate(pieces):
            same = np.abs(m @ K + offset - phi(m)).max() < 1e-13
            assert same == (i == region)
    assert seen == set(range(5))


@pytest.mark.parametrize("seed", range(30))
def test_the_only_fixed_point_in_the_order_of_an_index(seed):
    """Of the S affine fixed points exactly one lies in its own region."""
    arm, a = examples.random_dense(5, seed), 0.1 + 0.025 * seed
    order = np.argsort(-whittle_index(arm, discount=1))
    found = []
    for i in range(5):
        K, offset = affine_piece(arm, order, a, i)
        system = np.vstack([(np.eye(5) - K).T, np.ones(5)])
        m = np.linalg.lstsq(system, np.append(offset, 1), rcond=None)[0]
        upto = np.cumsum(m[order])
        if m.min() >= 0 and upto[i] - m[order[i]] <= a <= upto[i]:
            found.append(m)
    assert len(found) == 1
    assert fixed_point(arm, order, a) == pytest.approx(found[0], abs=1e-11)


@given(arms(), st.randoms(use_true_random=False), fractions)
@settings(max_examples=60, deadline=None)
def test_fixed_point_in_any_order(arm, random, a):
    order = list(range(arm.n_states))
    random.shuffle(order)
    m = fixed_point(arm, order, a)
    assert m.min() >= 0
    assert m.sum() == pytest.approx(1, abs=1e-11)
    assert mean_map(arm, order, a)(m) == pytest.approx(m, abs=1e-11)


@pytest.mark.parametrize("seed", range(20))
def test_eigenvalues_are_those_of_the_map(seed):
    """Differences of φ around m*, in directions that keep the mass."""
    arm, a = examples.random_dense(4, seed), 0.4
    solution = stationary_relaxation(arm, a)
    phi, m, step = mean_map(arm, solution.order, a), solution.fixed_point, 1e-7
    directions = np.eye(4)[:3] - np.eye(4)[3]
    slope = (phi(m + step * directions) - phi(m - step * directions)) / (2 * step)
    expected = np.linalg.eigvals(slope[:, :3])
    order = np.lexsort((expected.imag, expected.real))
    got = solution.eigenvalues[np.lexsort((solution.eigenvalues.imag, solution.eigenvalues.real))]
    # φ is linear there: what is left is rounding over the step.
    assert got == pytest.approx(expected[order], abs=1e-6)
    assert solution.locally_stable == (np.abs(expected).max() < 1)
    assert (np.diff(np.abs(solution.eigenvalues)) <= 1e-12).all()


def test_orbit():
    arm, order, a = examples.cycle_example(1), [0, 1, 2], 0.4
    points = orbit(arm, order, a, [1, 0, 0], 3)
    phi = mean_map(arm, order, a)
    expected = [np.array([1.0, 0, 0])]
    for _ in range(3):
        expected.append(phi(expected[-1]))
    assert points == pytest.approx(np.array(expected), abs=1e-15)
    assert orbit(arm, order, a, [1, 0, 0], 0).shape == (1, 3)


def test_an_orbit_leaves_an_unstable_fixed_point():
    arm = examples.cycle_example(2)
    m = fixed_point(arm, [0, 1, 2], 0.4)
    assert limit_cycle(arm, [0, 1, 2], 0.4, m).period == 2
    with pytest.raises(ValueError, match="it is near one that repels"):
        limit_cycle(arm, [0, 1, 2], 0.4, m, steps=1)
    with pytest.raises(ValueError, match="steps is 3 and the orbit has not come to a cycle: its"):
        limit_cycle(arm, [0, 1, 2], 0.4, steps=3)


@pytest.mark.parametrize(("a", "start", "period"), [(0.26, [1, 0, 0], 1), (0.67, None, 2)])
def test_a_cycle_is_told_once_around(a, start, period):
    """Where the map turns (eigenvalue −.8) two steps come back before one does."""
    rng = np.random.default_rng(0)
    for m in [start] if start else rng.dirichlet(np.ones(3), 20):
        cycle = limit_cycle(examples.cycle_example(2), [0, 1, 2], a, m)
        assert cycle.period == period
        assert cycle.attracting


def test_a_slow_cycle_is_solved_exactly():
    """Example 1 turns away from m* by 1.027 a step; close to it nothing is taken for the end."""
    arm = examples.cycle_example(1)
    m = fixed_point(arm, [0, 1, 2], 0.4)
    near = limit_cycle(arm, [0, 1, 2], 0.4, 0.999 * m + 0.001 / 3)
    far = limit_cycle(arm, [0, 1, 2], 0.4)
    assert near.period == far.period == 2
    assert np.array(sorted(near.points.tolist())) == pytest.approx(
        np.array(sorted(far.points.tolist())), abs=BALANCE
    )


def test_an_orbit_that_creeps():
    """Steps of 1e−9: it looks closed, but where it is heading it will not stay."""
    arm, slow = examples.cycle_example(1), 1.5e-9
    P0, P1 = ((1 - slow) * np.eye(3) + slow * P for P in (arm.P0, arm.P1))
    with pytest.raises(ValueError, match="has not come to a cycle"):
        limit_cycle(Arm(P0, P1, arm.R0, arm.R1), [0, 1, 2], 0.4, [0.5, 0.25, 0.25], steps=50)


def test_an_orbit_that_turns_without_contracting():
    """Every arm moves on by one of three states, whatever is done."""
    turn = np.roll(np.eye(3), 1, axis=1)
    arm = Arm(turn, turn, 0, [1, 0, 0])
    cycle = limit_cycle(arm, [0, 1, 2], 0.5, [0.6, 0.3, 0.1])
    assert cycle.period == 3
    assert not cycle.attracting
    assert cycle.radius == pytest.approx(1, abs=1e-14)
    assert cycle.reward == pytest.approx((0.5 + 0.1 + 0.3) / 3, abs=1e-15)


def test_conveyor_has_two_ends():
    """Hong et al. (2023): a solution of the program is not an attractor, in one order."""
    arm, bad = examples.conveyor(), [1, 2, 3, 0, 7, 6, 5, 4]
    solution = stationary_relaxation(arm, 0.5)
    assert solution.value == pytest.approx(0.1 / 8, abs=1e-15)
    assert solution.fixed_point == pytest.approx(np.full(8, 1 / 8), abs=1e-14)
    assert solution.singular
    ends = {False: 0, True: 0}
    for m in np.random.default_rng(0).dirichlet(np.ones(8), size=20):
        assert limit_cycle(arm, solution.order, 0.5, m).reward == pytest.approx(0.0125, abs=1e-9)
        cycle = limit_cycle(arm, bad, 0.5, m)
        assert cycle.period == 1
        lost = cycle.reward < 1e-12
        assert lost or cycle.reward == pytest.approx(0.0125, abs=1e-9)
        assert cycle.border != lost
        ends[lost] += 1
    assert min(ends.values()) > 0


@pytest.mark.parametrize("seed", range(10))
def test_names_and_units_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    arm, a = examples.random_dense(5, seed), rng.random()
    plain = stationary_relaxation(arm, a)
    name = rng.permutation(5)  # new state i is old state name[i]
    P0, P1 = (P[np.ix_(name, name)] for P in (arm.P0, arm.P1))
    other = stationary_relaxation(Arm(P0, P1, 1e6 * arm.R0[name] - 3, 1e6 * arm.R1[name] - 3), a)
    assert other.value == pytest.approx(1e6 * plain.value - 3, rel=1e-12)
    assert other.multiplier == pytest.approx(1e6 * plain.multiplier, rel=1e-9)
    assert other.occupation == pytest.approx(plain.occupation[name], abs=BALANCE)
    assert name[other.order].tolist() == plain.order.tolist()
    assert np.abs(other.eigenvalues) == pytest.approx(np.abs(plain.eigenvalues), abs=1e-10)


def test_rows_printed_to_eight_digits():
    """Rows that sum to 1 ± 1e−8 lose no mass on the way."""
    exact = examples.cycle_example(2)
    short = Arm(exact.P0 * (1 - 2e-8), exact.P1 * (1 + 1e-8), exact.R0, exact.R1)
    solution = stationary_relaxation(short, 0.4)
    assert solution.by_index
    assert solution.occupation.sum() == pytest.approx(1, abs=BALANCE)
    assert solution.value == pytest.approx(stationary_relaxation(exact, 0.4).value, abs=1e-14)
    far = orbit(short, [0, 1, 2], 0.4, [1, 0, 0], 10_000)[-1]
    assert far.sum() == pytest.approx(1, abs=1e-11)


ARM = examples.cycle_example(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stationary_relaxation(ARM, 1.5), r"fraction is 1.5: must be in \[0, 1\]"),
        (
            lambda: mean_map(ARM, [0, 1], 0.4),
            r"order is \[0, 1\]: must hold each of the states 0 … 2",
        ),
        (lambda: fixed_point(ARM, [0, 1, 1], 0.4), r"order is \[0, 1, 1\]: must hold each"),
        (lambda: affine_piece(ARM, [0, 1, 2], 0.4, 3), "position is 3.0: must be a place in order"),
        (lambda: affine_piece(ARM, [0, 1, 2], 0.4, 0.5), "position is 0.5: must be a place in or"),
        (lambda: orbit(ARM, [0, 1, 2], 0.4, [1, 0], 3), r"start has shape \(2,\): must be \(3,\)"),
        (lambda: orbit(ARM, [0, 1, 2], 0.4, [1, 1, 0], 3), "start has least entry 0 and sum 2: mu"),
        (lambda: orbit(ARM, [0, 1, 2], 0.4, [2, -1, 0], 3), "start has least entry -1 and sum 1"),
        (lambda: orbit(ARM, [0, 1, 2], 0.4, [np.nan] * 3, 3), "start has least entry nan"),
        (lambda: orbit(ARM, [0, 1, 2], 0.4, [1, 0, 0], -1), "steps is -1.0: must be a whole nu"),
        (lambda: limit_cycle(ARM, [0, 1, 2], 0.4, steps=0), "steps is 0.0: must be ≥ 1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("short", [1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-14, 1e-15])
@pytest.mark.parametrize("nearly", ["all", "none"])
def test_fractions_next_to_none_and_all(short, nearly, monkeypatch):
    """The solver takes 1e−7 for 0: the dual of its answer was unbounded, and the value off."""
    rng, a = np.random.default_rng(1), 1 - short if nearly == "all" else short
    for trial in range(20):
        size = 2 + trial % 5
        arm = Arm(*rng.dirichlet(np.full(size, 0.3), (2, size)), *rng.random((2, size)))
        by_index = stationary_relaxation(arm, a)
        with monkeypatch.context() as patch:
            patch.setattr(relaxation, "_by_index", lambda *_: None)
            by_program = stationary_relaxation(arm, a)
        assert by_program.value == pytest.approx(by_index.value, abs=1e-12)
        assert by_program.multiplier == pytest.approx(by_index.multiplier, abs=1e-6)
