"""The textbook arms: against what is published of them, and built a second way."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphafair.models.bandits import examples, gittins_index, indexability, whittle_index

# A few hundred roundings of numbers of order 1 to 15.
SHARP = 1e-12
# Whittle indices, computed apart from this package by bisection over the penalty with policy
# iteration in double precision; those of circulant, restart and age of information are exact.
INDICES = [
    (examples.indexable_without_pcl(), 0.9, [0.1831293285562447, 0.8033, 0.5713053734238287]),
    (examples.indexable_without_pcl(), 1, [0.15033586851800992, 0.8033, 0.6266516002160655]),
    (examples.pcl_indexable(), 0.9, [0.9016, 0.24977588866442513, -0.07502092369518507]),
    (examples.nonindexable(1), 0.5, [0.6971336947769681, 0.43258111502955837, 0.715]),
    (
        examples.nonindexable(2),
        0.5,
        [0.46314645644247404, 0.29244958655898257, -0.3619939703609532],
    ),
    (
        examples.machine_maintenance(),
        0.9,
        [-0.30319601864104484, 1.327939030322685, 2.434430082256169],
    ),
    (examples.cycle_example(1), 1, [0.72232506, 0.30828246096898704, 0.19954385533699556]),
    (examples.cycle_example(2), 1, [0.37401552, 0.1819942331224036, -0.02115715959047216]),
    (examples.circulant(), 1, [-0.5, 0.5, 1.0, -1.0]),
    (examples.restart(), 1, [-0.9, -0.729, -0.50949, -0.2587869, 0.009892611]),
    (examples.singular_example(), 1, [1, 5 / 11, 5 / 22]),
    (examples.age_of_information(6), 1, [1, 3, 6, 10, 15, 15]),
]
NAMES = [f"{k}-{row[1]}" for k, row in enumerate(INDICES)]


def one_arm_advantage(arm, penalty, discount):
    """Advantage of being active when all that follows is best: by value iteration, (S,).

    For average reward (discount 1) each step is taken with chance 1/2 only, so that it converges
    for periodic arms too; the relative values are twice those of the arm itself.
    """
    P0, P1 = arm.dense()
    lazy = 0.5 if discount == 1 else 1.0
    value = np.zeros(arm.n_states)
    for _ in range(3000):
        stay, go = (
            R + discount * (lazy * P @ value + (1 - lazy) * value)
            for R, P in ((arm.R0, P0), (arm.R1 - penalty, P1))
        )
        value = np.maximum(stay, go)
        value = value - (value[0] if discount == 1 else 0)
    return go - stay


@pytest.mark.parametrize(("arm", "discount", "index"), INDICES, ids=NAMES)
def test_indices(arm, discount, index):
    assert whittle_index(arm, discount=discount) == pytest.approx(index, abs=SHARP)


@pytest.mark.parametrize(("arm", "discount", "index"), INDICES, ids=NAMES)
def test_indices_by_value_iteration(arm, discount, index):
    """Just below its index a state is active, just above it is not."""
    step = 1e-5  # value iteration converges to 1e-12; the advantage falls at a rate above 1e-3
    for state, value in enumerate(index):
        assert one_arm_advantage(arm, value - step, discount)[state] > 0
        assert one_arm_advantage(arm, value + step, discount)[state] < 0


def test_indices_printed_in_papers():
    assert whittle_index(examples.indexable_without_pcl(), discount=0.9) == pytest.approx(
        [0.18, 0.80, 0.57], abs=0.005
    )
    assert whittle_index(examples.pcl_indexable(), discount=0.9) == pytest.approx(
        [0.90, 0.25, -0.075], abs=0.0025
    )
    # The fifth is printed as −0.01: its sign is a misprint, or the rounding of a simulation.
    assert whittle_index(examples.restart(), discount=1)[:4] == pytest.approx(
        [-0.9, -0.73, -0.5, -0.26], abs=0.01
    )


@pytest.mark.parametrize("horizon", [2, 3, 7, 20])
def test_age_of_information(horizon):
    age = np.arange(1, horizon)
    index = whittle_index(examples.age_of_information(horizon), discount=1)
    expected = [*(age * (age + 1) / 2), horizon * (horizon - 1) / 2]
    assert index == pytest.approx(expected, rel=1e-10)  # multiples of S² cancel
    arm = examples.age_of_information(horizon)
    for i in range(horizon):
        assert np.flatnonzero(arm.P0[i]).tolist() == [min(i + 1, horizon - 1)]
        assert np.flatnonzero(arm.P1[i]).tolist() == [0]
        assert arm.R0[i] == arm.R1[i] == -(i + 1)


def liu_zhao_index(w, p01, p11):
    """Liu & Zhao (2010), theorem 2: average reward, p11 ≥ p01, any belief w."""
    limit = p01 / (1 - p11 + p01)

    def later(belief, steps=1):
        return limit + (p11 - p01) ** steps * (belief - limit)

    if w <= p01 or w >= p11:
        return w
    if w >= limit:
        return w / (1 - p11 + w)
    passes = next(k for k in itertools.count() if later(p01, k) > w)
    reached = later(p01, passes)
    falls = w - later(w)
    return (falls * (passes + 1) + reached) / (1 - p11 + falls * passes + reached)


@pytest.mark.parametrize(("p01", "p11"), [(0.2, 0.8), (0.1, 0.6), (0.3, 0.4)])
def test_gilbert_elliott_closed_form(p01, p11):
    """Away from the sighting that is forgotten: its belief is off by (p11 − p01)^25 < 3e−6."""
    arm = examples.gilbert_elliott(p01, p11, 25)
    index = whittle_index(arm, discount=1)
    seen = [*range(10), *range(25, 35)]
    expected = [liu_zhao_index(arm.R1[k], p01, p11) for k in seen]
    assert index[seen] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("p01", "p11"), [(0.2, 0.8), (0.8, 0.2), (0.5, 0.5), (1, 0), (0, 0.3)])
def test_gilbert_elliott_beliefs(p01, p11):
    """Belief by belief with fractions, Bayes' rule at each step; p11 < p01 oscillates."""
    K = 5
    arm = examples.gilbert_elliott(p01, p11, K)
    stay, come = Fraction(p11), Fraction(p01)
    for first, place in ((stay, 0), (come, K)):
        belief = first
        for k in range(place, place + K):
            assert arm.R1[k] == pytest.approx(float(belief), abs=1e-15)
            after = arm.P0[k].argmax()
            assert after == (k + 1 if k < place + K - 1 else 2 * K)
            assert arm.P1[k, [0, K]] == pytest.approx([float(belief), float(1 - belief)], abs=1e-15)
            belief = belief * stay + (1 - belief) * come
    assert arm.P0[2 * K, 2 * K] == 1
    assert arm.R1[2 * K] == pytest.approx(float(come / (1 - stay + come)), abs=1e-15)
    assert (arm.R0 == 0).all()


def test_restart_and_circulant_step_by_step():
    arm = examples.restart(3, decay=0.5, chance=0.25)
    assert arm.P0.tolist() == [[0.25, 0.75, 0], [0.25, 0, 0.75], [0.25, 0, 0.75]]
    assert arm.P1.tolist() == [[1, 0, 0]] * 3
    assert (arm.R0.tolist(), arm.R1.tolist()) == ([0.5, 0.25, 0.125], [0, 0, 0])
    arm = examples.circulant()
    for i in range(4):
        assert arm.P1[i, i] == arm.P1[i, (i + 1) % 4] == arm.P0[i, i] == arm.P0[i, i - 1] == 0.5


def test_indexability():
    for example in (1, 2):
        verdicts = [
            indexability(examples.nonindexable(example), discount=beta).indexable
            for beta in (0.5, 0.9, 0.95, 0.99, 1)
        ]
        assert verdicts == [True, False, False, False, False]
    # The least penalty at which passive is optimal, by bisection as above.
    first = indexability(examples.nonindexable(1), discount=1).witness
    assert (first.state, first.passive_at) == (2, pytest.approx(0.41557976889581716, abs=SHARP))
    second = indexability(examples.nonindexable(2), discount=0.9).witness
    assert (second.state, second.passive_at) == (1, pytest.approx(-0.2771041808457093, abs=SHARP))
    weak = indexability(examples.indexable_without_pcl(), discount=0.9)
    assert (weak.indexable, weak.strongly_indexable) == (True, False)
    assert indexability(examples.pcl_indexable(), discount=0.9).strongly_indexable
    for example in (1, 2, 3):
        assert indexability(examples.cycle_example(example), discount=1).indexable


# Third rows as they stand in public listings of the three arms, to eight digits.
PRINTED = {
    1: ([0.53722329, 0.37651148, 0.08626522], [0.37826553, 0.15469252, 0.46704195]),
    2: ([0.52324756, 0.45523298, 0.02151947], [0.2526557, 0.27310439, 0.4742399]),
    3: ([0.66552514, 0.08481946, 0.24965540], [0.41875202, 0.17776712, 0.40348086]),
}


@pytest.mark.parametrize("example", PRINTED)
def test_cycle_examples_as_printed(example):
    arm = examples.cycle_example(example)
    for P, row in zip((arm.P0, arm.P1), PRINTED[example], strict=True):
        assert P[2] == pytest.approx(row, abs=2e-8)  # divided by a sum of 1 ± 2e-8
        assert P.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-15)
    if example == 3:  # published index of the third arm
        index = [0.97658608, 0.58175193, 0.31804484]
        assert whittle_index(arm, discount=1) == pytest.approx(index, abs=5e-9)


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
    st.sampled_from([0.5, 0.9, 0.99]),
)
@settings(max_examples=30, deadline=None)
def test_tasks_of_falling_hazard(hazard, discount):
    hazard = sorted(hazard, reverse=True)
    arm = examples.task_scheduling(hazard)
    index = gittins_index(arm.P1, arm.R1, discount=discount)
    assert index == pytest.approx([*hazard, 0.0], abs=1e-11)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.sampled_from([0.5, 0.9]))
@settings(max_examples=30, deadline=None)
def test_tasks_of_any_hazard(hazard, discount):
    """The best of all moments to give up: reward over time, both until then, discounted."""
    arm = examples.task_scheduling(hazard)
    index = gittins_index(arm.P1, arm.R1, discount=discount)
    for start in range(len(hazard)):
        best, alive, paid, time = 0.0, 1.0, 0.0, 0.0
        for step in range(400):  # 0.9^400 is 5e-19
            chance = hazard[min(start + step, len(hazard) - 1)]
            paid += discount**step * alive * chance
            time += discount**step * alive
            alive *= 1 - chance
            best = max(best, paid / time)
        assert index[start] == pytest.approx(best, abs=1e-10)


# Beta priors (a, b), learning ends at a + b = 71; computed apart from this package.  The published
# tables (no end of learning) have 0.7029 at 0.9 and 0.8699 at 0.99 for (1, 1).
GITTINS = {
    0.5: {(1, 1): 0.55902, (1, 2): 0.37582, (2, 1): 0.70597, (2, 2): 0.53587},
    0.9: {(1, 1): 0.70289, (1, 2): 0.50013, (2, 1): 0.80006, (2, 2): 0.63463},
    0.95: {(1, 1): 0.76143, (1, 2): 0.56011, (2, 1): 0.83814},
    0.99: {(1, 1): 0.86952, (1, 2): 0.70012, (2, 1): 0.90982},
}


@pytest.mark.parametrize("discount", [0.5, 0.99])
def test_bernoulli_gittins(discount):
    arm = examples.bernoulli(70)
    index = gittins_index(arm.P1, arm.R1, discount=discount)
    for (a, b), value in GITTINS[discount].items():
        assert index[examples.bernoulli_state(a, b)] == pytest.approx(
            value, abs=5e-6
        )  # five digits


@pytest.mark.parametrize("discount", GITTINS)
def test_bernoulli_gittins_of_shorter_arms_from_below(discount):
    """To stop learning earlier costs, and little: published 4-digit values are near."""
    values = []
    for length in (5, 10, 30):
        arm = examples.bernoulli(length)
        values.append(gittins_index(arm.P1, arm.R1, discount=discount)[0])
    assert 0.5 < values[0] < values[1] <= values[2] + SHARP
    assert values[2] == pytest.approx(GITTINS[discount][1, 1], abs=0.02)


def test_bernoulli_states():
    length = 6
    arm = examples.bernoulli(length)
    posterior = [(a, n - a) for n in range(2, length + 2) for a in range(1, n)]
    assert arm.n_states == len(posterior) == length * (length + 1) // 2
    for state, (a, b) in enumerate(posterior):
        assert examples.bernoulli_state(a, b) == state
        assert arm.R1[state] == a / (a + b)
        row = np.zeros(arm.n_states)
        if a + b == length + 1:
            row[state] = 1
        else:
            row[posterior.index((a + 1, b))] = a / (a + b)
            row[posterior.index((a, b + 1))] = b / (a + b)
        assert arm.P1.toarray()[state] == pytest.approx(row, abs=1e-15)
    assert np.array_equal(arm.P0.toarray(), np.eye(arm.n_states))


@pytest.mark.parametrize(("rows", "variance"), [("exponential", 1 / 18), ("uniform", None)])
def test_random_rows(rows, variance):
    """Uniform on the simplex: the entries of a row of three have variance 1/18; less otherwise."""
    entries = np.concatenate(
        [examples.random_dense(3, seed, rows).P0 for seed in range(2000)]
    ).ravel()
    assert entries.mean() == pytest.approx(1 / 3, abs=1e-12)
    if variance:
        assert entries.var() == pytest.approx(variance, rel=0.03)  # 6000 rows: 1 % is a deviation
    else:
        assert entries.var() < 0.8 / 18


def test_random_arms_are_reproducible():
    for make in (examples.random_dense, examples.random_rested):
        first, again, other = make(4, 1), make(4, 1), make(4, 2)
        assert (first.P1 == again.P1).all()
        assert (first.R1 == again.R1).all()
        assert (first.P1 != other.P1).all()
        assert ((first.R1 >= 0) & (first.R1 <= 1)).all()
    dense, rested = examples.random_dense(4, 1), examples.random_rested(4, 1)
    assert (dense.P0 != dense.P1).all()
    assert np.array_equal(rested.P0, np.eye(4))
    assert (rested.R0 == 0).all()


def test_conveyor():
    arm = examples.conveyor()
    for place in range(8):
        right, wrong = (arm.P1, arm.P0) if place < 4 else (arm.P0, arm.P1)
        assert right[place, (place + 1) % 8] == 0.1
        back = {0: 0, 1: 1}.get(place, 0.5 - place / 100)
        assert wrong[place, place] == pytest.approx(1 - back, abs=1e-15)
        assert place == 0 or wrong[place, place - 1] == pytest.approx(back, abs=1e-15)
    assert arm.R0.tolist() == [0] * 7 + [0.1]
    assert (arm.R1 == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: examples.age_of_information(1), "horizon is 1.0: must be a whole number ≥ 2"),
        (lambda: examples.age_of_information(2.5), "horizon is 2.5: must be a whole number ≥ 2"),
        (lambda: examples.gilbert_elliott(-0.1, 0.8, 3), r"p01 is -0.1: must be in \[0, 1\]"),
        (lambda: examples.gilbert_elliott(0.2, 1.8, 3), r"p11 is 1.8: must be in \[0, 1\]"),
        (
            lambda: examples.gilbert_elliott(0, 1, 3),
            "p01 is 0 and p11 is 1: the channel never changes",
        ),
        (
            lambda: examples.gilbert_elliott(0.2, 0.8, 0),
            "horizon is 0.0: must be a whole number ≥ 1",
        ),
        (lambda: examples.restart(1), "n_states is 1.0"),
        (lambda: examples.restart(decay=0), r"decay is 0.0: must be in \(0, 1\]"),
        (lambda: examples.restart(chance=2), r"chance is 2.0: must be in \[0, 1\]"),
        (lambda: examples.random_dense(0, 1), "n_states is 0.0"),
        (lambda: examples.random_dense(2, 1, "normal"), "rows is 'normal': must be one of 'expo"),
        (
            lambda: examples.task_scheduling([0.5, 1.5]),
            r"hazard\[1\] is 1.5: must be a probability",
        ),
        (lambda: examples.task_scheduling([np.nan]), r"hazard\[0\] is nan: must be a probability"),
        (lambda: examples.task_scheduling([]), r"hazard has shape \(0,\): must be \(n,\)"),
        (lambda: examples.bernoulli(0), "length is 0.0: must be a whole number ≥ 1"),
        (lambda: examples.bernoulli_state([1, 0], 1), "a and b must be ≥ 1"),
        (lambda: examples.nonindexable(3), "example is 3.0: must be a whole number ≥ 1 and ≤ 2"),
        (lambda: examples.cycle_example(0), "example is 0.0: must be a whole number ≥ 1 and ≤ 3"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
