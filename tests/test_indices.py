"""Indices against exact rational enumeration, published values and policies solved from scratch."""

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from alphafair.kernels import numba
from alphafair.models.bandits import (
    Arm,
    MultichainError,
    NotIndexableError,
    gittins_index,
    index_residual,
    indexability,
    whittle_index,
)
from alphafair.models.bandits.indices import index as index_module
from alphafair.models.bandits.indices import panel

NO_NUMBA = "numba is not installed, or unwanted"

# Data of 27 arms; each index was found by exact enumeration and by bisection with policy iteration.
CASES = json.loads((Path(__file__).parent / "data" / "bandit_arms.json").read_text())
TINY = 1e-12  # up to six states and discount ≤ .99: a few dozen roundings, condition ≤ 100
INDEX = 1e-9  # any arm, relative to rewards of order 1


@pytest.fixture(params=["plain", "compiled"], autouse=True)
def twin(request, monkeypatch):
    """Everything here holds for both twins, whatever the number of states."""
    if request.param == "compiled" and numba() is None:
        pytest.skip(NO_NUMBA)
    monkeypatch.setattr(panel._panel, "large", 0 if request.param == "compiled" else np.inf)


def arm_of(case):
    return Arm(*(case[name] for name in ("P0", "P1", "R0", "R1")))


def name_of(case):
    return f"{case['name']}-{case['discount']}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_published_and_enumerated_arms(case):
    arm, discount = arm_of(case), case["discount"]
    verdict = indexability(arm, discount=discount)
    assert verdict.indexable == case["indexable"]
    if case["strictly_indexable"] is not None:
        assert verdict.strictly_indexable == case["strictly_indexable"]
    if not case["indexable"]:
        with pytest.raises(NotIndexableError, match=f"in state {verdict.witness.state} "):
            whittle_index(arm, discount=discount)
        return
    index = whittle_index(arm, discount=discount)
    expected = np.array([float(value) for value in case["indices"]])
    tight = arm.n_states <= 6 and discount <= 0.99
    finite = np.isfinite(expected)
    assert np.array_equal(index[~finite], expected[~finite])
    np.testing.assert_allclose(index[finite], expected[finite], 0, TINY if tight else INDEX)
    assert index_residual(arm, index, discount=discount) < TINY


def test_strongly_indexable_is_not_the_same_as_indexable():
    """Niño-Mora (2001): an index, although an activation may save activations."""
    flags = {
        name_of(case): indexability(arm_of(case), discount=case["discount"])
        for case in CASES
        if case["name"].startswith("NinoMora")
    }
    assert flags["NinoMora2001_indexable_not_PCL-0.9"][:2] == (True, False)
    assert flags["NinoMora_PCL_indexable-0.9"][:2] == (True, True)


# --- exact enumeration ---------------------------------------------------------------------------


def solve_exactly(matrix, right):
    """Gauss–Jordan over the rationals; None if singular."""
    n = len(matrix)
    rows = [list(matrix[i]) + list(right[i]) for i in range(n)]
    for k in range(n):
        pivot = next((i for i in range(k, n) if rows[i][k] != 0), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(n):
            if i != k and rows[i][k] != 0:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [row[n:] for row in rows]


def advantages(arm, policy, beta):
    """b(λ) = u − v λ of every state under a policy, exactly; None if multichain."""
    P0, P1, R0, R1 = arm
    n = len(R0)
    P = [P1[i] if policy[i] else P0[i] for i in range(n)]
    A = [[(i == j) - beta * P[i][j] for j in range(n)] for i in range(n)]
    delta = [[beta * (P1[i][j] - P0[i][j]) for j in range(n)] for i in range(n)]
    if beta == 1:
        for i in range(n):
            A[i][0], delta[i][0] = Fraction(1), Fraction(0)
    value = solve_exactly(A, [[R1[i] if policy[i] else R0[i], policy[i]] for i in range(n)])
    if value is None:
        return None
    gain, work = zip(*value, strict=True)
    return [
        (
            R1[i] - R0[i] + sum(d * g for d, g in zip(delta[i], gain, strict=True)),
            1 + sum(d * w for d, w in zip(delta[i], work, strict=True)),
        )
        for i in range(n)
    ]


def half_line(u, v, sign):
    """{λ: sign·(u − vλ) ≥ 0} as (low, high), None if empty."""
    u, v = sign * u, sign * v
    if v == 0:
        return (-np.inf, np.inf) if u >= 0 else None
    return (-np.inf, u / v) if v > 0 else (u / v, np.inf)


def intersect(*pieces):
    if None in pieces:
        return None
    low, high = max(p[0] for p in pieces), min(p[1] for p in pieces)
    return (low, high) if low <= high else None


def union(pieces):
    joined = []
    for low, high in sorted(pieces):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def enumerate_exactly(arm, beta):
    """Flags (indexable, strict, strong), where passive is optimal, where active: 2^S policies."""
    n = len(arm[2])
    passive, active, lines = [[] for _ in range(n)], [[] for _ in range(n)], {}
    for policy in itertools.product((0, 1), repeat=n):
        lines[policy] = b = advantages(arm, policy, beta)
        region = intersect(*(half_line(*b[i], 1 if policy[i] else -1) for i in range(n)))
        for i in range(n):
            passive[i].append(intersect(region, half_line(*b[i], -1)))
            active[i].append(intersect(region, half_line(*b[i], 1)))
    passive, active = (
        [union([p for p in state if p is not None]) for state in sets] for sets in (passive, active)
    )
    indexable = all(len(state) == 1 and state[0][1] == np.inf for state in passive)
    if not indexable:
        return False, False, False, passive, active
    index = [state[0][0] for state in passive]
    both = [
        [intersect(p, a) for p in passive[i] for a in active[i] if intersect(p, a)]
        for i in range(n)
    ]
    strict = all(union(state) == [(index[i], index[i])] for i, state in enumerate(both))
    levels = [policy_at(index, level) for level in (-np.inf, *sorted(index))]
    strong = all(slope > 0 for policy in levels for _, slope in lines[policy])
    return True, strict, strong, passive, active


def policy_at(index, level):
    """Who is active just above this penalty."""
    return tuple(int(value > level) for value in index)


def random_arm(rng, size, kind):
    """Rows in multiples of 1/16, so that doubles hold them exactly; small whole rewards tie."""
    if kind == "sparse":
        rows = rng.multinomial(rng.choice([1, 2, 4]), rng.dirichlet(np.ones(size)), (2, size))
        rows = rows * (16 // rows.sum(-1, keepdims=True))
    else:
        law = rng.dirichlet(np.full(size, 0.3), (2, size))
        rows = 1 + rng.multinomial(16 - size, law)
    reward = rng.integers(0, 4, (2, size)) if kind != "dense" else rng.integers(0, 1024, (2, size))
    exact = [[[Fraction(int(v), 16) for v in row] for row in matrix] for matrix in rows]
    return (*exact, *([Fraction(int(v)) for v in row] for row in reward))


def as_arm(exact):
    return Arm(*(np.array(part, dtype=float) for part in exact))


def contains(pieces, value):
    return any(low <= value <= high for low, high in pieces)


@pytest.mark.parametrize(
    ("kind", "beta"),
    [
        *itertools.product(["sparse", "positive", "dense"], [Fraction(1, 2), Fraction(15, 16)]),
        ("positive", Fraction(1)),  # zeros would make some policy multichain
        ("dense", Fraction(1)),
    ],
)
def test_exact_enumeration(kind, beta):
    """1600 arms of 2 to 4 states, most of them with ties: all flags and indices."""
    rng = np.random.default_rng(len(kind) + int(100 * beta))
    for trial in range(200):
        exact = random_arm(rng, 2 + trial % 3, kind)
        indexable, strict, strong, passive, active = enumerate_exactly(exact, beta)
        arm = as_arm(exact)
        found = indexability(arm, discount=float(beta))
        flags = (found.indexable, found.strictly_indexable, found.strongly_indexable)
        assert flags == (indexable, strict, strong)
        if indexable:
            expected = np.array([float(state[0][0]) for state in passive])
            index = whittle_index(arm, discount=float(beta))
            np.testing.assert_allclose(index, expected, 0, TINY * max(1, np.abs(expected).max()))
        else:
            state, low, high = found.witness
            nearly = [(below - Fraction(1, 10**9), above) for below, above in passive[state]]
            assert low < high
            assert contains(nearly, Fraction(low))
            assert contains(active[state], Fraction(high))
            assert not contains(passive[state], Fraction(high))


NEAR_ONE = [1e-6, 1e-9, 1e-12, 2.0**-53]


@pytest.mark.parametrize("short", NEAR_ONE)
@pytest.mark.parametrize("still", [0, 20, 40])
@pytest.mark.parametrize("end", ["passive", "active"])
def test_discounts_near_one(short, still, end):
    """Exactly, also where an arm moves with probability 2⁻²⁰ or 2⁻⁴⁰ only while it is left alone.

    Rounding of 1/(1 − β) sums once cost eight digits at β = 1 − 1e−9, and arms that hardly move
    had infinite indices.
    """
    near, rng = 1 - short, np.random.default_rng(still)
    for trial in range(12):
        P0, P1, R0, R1 = random_arm(rng, 2 + trial % 3, "positive" if trial % 2 else "dense")
        slow = P0 if end == "passive" else P1
        for i, row in enumerate(slow):
            row[:] = [(i == j) + (p - (i == j)) / 2**still for j, p in enumerate(row)]
        arm = as_arm((P0, P1, R0, R1))
        indexable, *_, passive, _ = enumerate_exactly((P0, P1, R0, R1), Fraction(near))
        if not indexable:
            if not still:  # beside rewards of 2⁴⁰ a violation of the order of 1 is none
                with pytest.raises(NotIndexableError):
                    whittle_index(arm, discount=near)
            continue
        expected = np.array([float(state[0][0]) for state in passive])
        index = whittle_index(arm, discount=near)
        np.testing.assert_allclose(index, expected, 0, TINY * max(1, np.abs(expected).max()))


def test_near_one_two_passive_classes_are_refused_where_no_digit_is_left():
    """The active policy joins what the passive one keeps apart: at 1 − 1e−4 that does no harm."""
    rng = np.random.default_rng(3)
    P0, P1 = np.zeros((4, 4)), rng.dirichlet(np.ones(4), 4)
    P0[:2, :2] = P0[2:, 2:] = rng.dirichlet(np.ones(2), 2)
    arm = Arm(P0, P1, [0.0, 0.1, 0.2, 0.3], [1.0, 0.4, 0.5, 0.9])
    assert index_residual(arm, whittle_index(arm, discount=1 - 1e-4), discount=1 - 1e-4) < 1e-9
    with pytest.raises(MultichainError, match=r"discount 0.9999999999999 is so near 1"):
        whittle_index(arm, discount=1 - 1e-13)


def test_rows_off_by_a_printed_digit_are_not_amplified():
    """At β = .999999 rows that sum to 1 + 1e−7 once changed the index of 1 to 1.0253."""
    P0, P1 = [[0.5, 0.5], [0.25, 0.75]], [[1, 0], [0.5, 0.5]]
    printed = Arm(np.multiply(P0, [[1 + 9e-8], [1 - 9e-8]]), np.multiply(P1, 1 - 9e-8), 0.5, [2, 1])
    exact, beta = Arm(P0, P1, 0.5, [2, 1]), 0.999999
    index = whittle_index(exact, discount=beta)
    np.testing.assert_allclose(whittle_index(printed, discount=beta), index, 0, 1e-14)
    assert indexability(printed, discount=beta) == indexability(exact, discount=beta)
    assert index_residual(printed, index, discount=beta) < 1e-14
    np.testing.assert_allclose(
        gittins_index(np.multiply(P0, 1 + 9e-8), [2, 1], discount=beta),
        gittins_index(P0, [2, 1], discount=beta),
        0,
        1e-14,
    )


def test_the_random_arms_are_of_every_kind():
    """Otherwise the test above would prove little."""
    rng = np.random.default_rng(0)
    arms = [
        random_arm(rng, 3 + i % 2, ["sparse", "sparse", "positive"][i % 3]) for i in range(3000)
    ]
    found = [indexability(as_arm(arm), discount=0.9375) for arm in arms]
    seen = {(f.indexable, f.strictly_indexable, f.strongly_indexable) for f in found}
    assert seen == {
        *((True, True, True), (True, True, False), (True, False, False), (False, False, False)),
    }


# --- Gittins -------------------------------------------------------------------------------------


def best_stopping(P, R, beta):
    """γ_i = max over continuation sets C of E Σ β^t R / E Σ β^t until C is left; all 2^S sets."""
    size = len(R)
    best = np.full(size, -np.inf)
    for chosen in itertools.product((0.0, 1.0), repeat=size):
        stay = beta * P * np.array(chosen)  # the first step is always taken
        onward = np.linalg.inv(np.eye(size) - stay)
        best = np.maximum(best, onward @ R / onward.sum(axis=1))
    return best


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("discount", [0.1, 0.9, 0.99])
def test_gittins_is_the_best_ratio_over_stopping_times(size, discount):
    rng = np.random.default_rng(size)
    for _ in range(20):
        P = rng.dirichlet(np.full(size, 0.5), size)
        R = rng.normal(size=size)
        found = gittins_index(P, R, discount=discount)
        np.testing.assert_allclose(found, best_stopping(P, R, discount), 0, TINY)


def test_gittins_is_the_whittle_index_of_a_rested_arm_from_either_end():
    """The public function starts where no solve is needed; here the other end, with a solve."""
    rng = np.random.default_rng(0)
    P, R = rng.dirichlet(np.ones(30), 30), rng.normal(size=30)
    arm = Arm.rested(P, R)
    gittins = gittins_index(P, R, discount=0.95)
    np.testing.assert_allclose(whittle_index(arm, discount=0.95), gittins, 0, TINY)
    column = index_module._active_x(arm, 0.95)
    outcome = index_module._finish(column, arm.R1 + arm.R1 @ column, arm.R1, test=True)
    np.testing.assert_allclose(outcome.index, gittins, 0, 1e-11)  # condition 1/(1 − β) twice


@pytest.mark.parametrize(
    ("discount", "expected"),
    [  # exact values of the truncated arm; published: .7029 for .9, .8699 for .99
        (0.5, {(1, 1): 0.55902, (1, 2): 0.37582, (2, 1): 0.70597, (2, 2): 0.53587}),
        (0.9, {(1, 1): 0.70289, (1, 2): 0.50013, (2, 1): 0.80006, (2, 2): 0.63463}),
        (0.95, {(1, 1): 0.76143, (1, 2): 0.56011, (2, 1): 0.83814}),
        (0.99, {(1, 1): 0.86952, (1, 2): 0.70012, (2, 1): 0.90982}),
    ],
)
def test_gittins_of_a_bernoulli_arm(discount, expected):
    """State (a, b) after a − 1 successes and b − 1 failures; from a + b = 71 on the mean is known.

    2485 states, sparse: five blocks of rows are dropped on the way.
    """
    states = [(a, n - a) for n in range(2, 72) for a in range(1, n)]
    place = {state: i for i, state in enumerate(states)}
    P = sparse.lil_array((len(states), len(states)))
    for (a, b), i in place.items():
        P[i, place.get((a + 1, b), i)] += a / (a + b)
        P[i, place.get((a, b + 1), i)] += b / (a + b)
    index = gittins_index(P.tocsr(), [a / (a + b) for a, b in states], discount=discount)
    for state, value in expected.items():
        assert abs(index[place[state]] - value) < 6e-6  # printed with five digits


# --- large arms, labels, scales ------------------------------------------------------------------


def dense_arm(size, seed):
    rng = np.random.default_rng(seed)
    rows = rng.exponential(size=(2, size, size))
    return Arm(*(rows / rows.sum(-1, keepdims=True)), *rng.random((2, size)))


@pytest.mark.parametrize("discount", [0.9, 1])
@pytest.mark.parametrize("size", [96, 97, 300])
def test_blocks_change_nothing(size, discount, monkeypatch):
    """One block or many: the same to rounding, and every rank is optimal when solved afresh."""
    arm = dense_arm(size, size)
    index = whittle_index(arm, discount=discount)
    assert index_residual(arm, index, discount=discount, ranks=range(0, size, 11)) < 1e-13
    plain = whittle_index(arm, discount=discount, check_indexability=False)
    np.testing.assert_allclose(plain, index, 0, 1e-13)
    monkeypatch.setattr("alphafair.models.bandits.indices.elimination.BLOCK", 7)
    np.testing.assert_allclose(whittle_index(arm, discount=discount), index, 0, 1e-13)


def test_residual_sees_a_wrong_index():
    arm = dense_arm(20, 0)
    index = whittle_index(arm, discount=0.9)
    for wrong in (index + 1e-6, index * [1.001] * 20, index[::-1]):
        assert index_residual(arm, wrong, discount=0.9) > 1e-7


def relabelled(arm, order):
    P0, P1 = (P[np.ix_(order, order)] for P in arm.dense())
    return Arm(P0, P1, arm.R0[order], arm.R1[order])


def age_of_information(horizon):
    ages = np.arange(1, horizon + 1)
    P0 = np.eye(horizon)[np.minimum(ages, horizon - 1)]
    return Arm(P0, np.eye(horizon)[np.zeros(horizon, int)], -ages, -ages)


@pytest.mark.parametrize("horizon", [6, 20])
def test_labels_do_not_matter_where_states_tie(horizon):
    """Age of information: a(a+1)/2, the last two tied; some orders meet multichain policies."""
    arm, rng = age_of_information(horizon), np.random.default_rng(1)
    ages = np.arange(1, horizon + 1)
    expected = np.minimum(ages * (ages + 1) / 2, horizon * (horizon - 1) / 2)
    for _ in range(100):
        order = rng.permutation(horizon)
        index = whittle_index(relabelled(arm, order), discount=1)
        np.testing.assert_allclose(index, expected[order], 0, TINY * horizon**2)


@pytest.mark.parametrize("factor", [1e-150, 1e-8, -1.0, 1e150])
def test_units_of_reward(factor):
    """The index is in units of reward; with the sign changed the arm is another one."""
    arm = dense_arm(5, 3)
    scaled = Arm(arm.P0, arm.P1, arm.R0 * abs(factor), arm.R1 * abs(factor))
    expected = whittle_index(arm, discount=0.9) * abs(factor)
    np.testing.assert_allclose(whittle_index(scaled, discount=0.9), expected, TINY)
    shifted = Arm(arm.P0, arm.P1, arm.R0 + factor, arm.R1 + factor)
    if abs(factor) < 10:
        found = whittle_index(shifted, discount=0.9)
        np.testing.assert_allclose(found, whittle_index(arm, discount=0.9), 0, TINY)


def test_sparse_and_dense_are_the_same():
    arm = dense_arm(40, 8)
    thin = Arm(sparse.csr_array(arm.P0), sparse.coo_array(arm.P1), arm.R0, arm.R1)
    for discount in (0.9, 1):
        same = whittle_index(thin, discount=discount)
        assert np.array_equal(same, whittle_index(arm, discount=discount))
    assert np.array_equal(
        *(gittins_index(one.P1, one.R1, discount=0.9) for one in (arm, thin)),
    )


def test_rewards_of_zero():
    assert (
        whittle_index(Arm(np.eye(3), np.eye(3)[[1, 2, 0]], 0, 0), discount=0.9).tolist() == [0] * 3
    )


# --- what is refused -----------------------------------------------------------------------------

HALF = [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"P0": [[0.5, 0.6], [0, 1]]}, "P0: row 0 sums to 1.1: every row must sum to 1; divide"),
        ({"P1": [[1, 0], [np.nan, 1]]}, r"P1\[1, 0\] is nan: must be a probability"),
        ({"P1": [[1.5, -0.5], [0, 1]]}, r"P1\[0, 1\] is -0.5: must be a probability"),
        ({"P1": [[np.inf, 0], [0, 1]]}, "P1: row 0 sums to inf"),
        ({"P0": [[1, 0]]}, r"P0 has shape \(1, 2\): must be \(S, S\)"),
        ({"P0": [1, 0]}, r"P0 has shape \(2,\): must be \(S, S\)"),
        ({"P0": np.zeros((0, 0))}, r"P0 has shape \(0, 0\)"),
        ({"P1": np.eye(3)}, r"P1 has shape \(3, 3\) and P0 \(2, 2\): both must"),
        ({"P1": sparse.csr_array([[1, 0], [0.5, -0.5]])}, r"P1\[1, 1\] is -0.5"),
        ({"R0": [1, 2, 3]}, r"R0 has shape \(3,\): must be a scalar or \(2,\)"),
        ({"R1": [1, np.inf]}, r"R1\[1\] is inf: must be finite"),
    ],
)
def test_bad_arms(change, message):
    with pytest.raises(ValueError, match=message):
        Arm(**({"P0": HALF, "P1": HALF, "R0": 0, "R1": 1} | change))


def test_words_are_not_numbers():
    with pytest.raises(TypeError, match="P0 must hold real numbers"):
        Arm([["a", "b"], ["c", "d"]], HALF, 0, 0)


def test_arms_cannot_be_changed():
    matrix = np.array(HALF)
    arm = Arm(matrix, sparse.csr_array(matrix), 0, 1)
    matrix[0, 0] = 9
    assert arm.P0[0, 0] == 0.5
    for array in (arm.P0, arm.P1.data, arm.R0, arm.R1):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("discount", [0, -1, 1.01, np.nan])
def test_bad_discounts(discount):
    with pytest.raises(ValueError, match=r"discount is .*: must be in \(0, 1\]; 1 means average"):
        whittle_index(Arm(HALF, HALF, 0, 1), discount=discount)
    with pytest.raises(ValueError, match=r"discount is .*: must be in \(0, 1\)"):
        gittins_index(HALF, [0, 1], discount=discount)


def test_discount_has_no_default():
    with pytest.raises(TypeError, match="discount"):
        whittle_index(Arm(HALF, HALF, 0, 1))


def test_gittins_of_average_reward_is_refused():
    reason = r"discount is 1.0: must be in \(0, 1\); .* the order .* does not matter to the average"
    with pytest.raises(ValueError, match=reason):
        gittins_index(HALF, [0, 1], discount=1)


def test_two_closed_classes_from_the_start():
    with pytest.raises(MultichainError, match=r"always active .* 2 closed classes; from state 0"):
        whittle_index(Arm(HALF, np.eye(2), 0, [1, 2]), discount=1)


def test_two_closed_classes_on_the_way():
    """From penalty 3 on it does not pay to leave state 1 for state 0: then nobody moves."""
    with pytest.raises(MultichainError, match="with state 1 passive at penalty 3 the policy"):
        whittle_index(Arm(np.eye(2), [[1, 0], [1, 0]], 0, [3, -1]), discount=1)


def test_too_large_for_the_memory(monkeypatch):
    monkeypatch.setattr(index_module, "free_memory", lambda: 1e6)
    with pytest.raises(MemoryError, match=r"300 states: its index needs 0.0 GB .* at most 250 "):
        whittle_index(dense_arm(300, 0), discount=0.9)


def test_nothing_global_is_touched():
    """Neither the error state of numpy nor its global generator, also when there is an error."""
    before, state = np.geterr(), np.random.get_state()[1].copy()  # noqa: NPY002
    whittle_index(dense_arm(100, 0), discount=1)
    with pytest.raises(MultichainError):
        whittle_index(Arm(HALF, np.eye(2), 0, [1, 2]), discount=1)
    assert np.geterr() == before
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_a_bar_is_shown_for_large_arms(monkeypatch, capsys):
    monkeypatch.setattr(index_module, "LARGE", 50)
    monkeypatch.setattr("alphafair.progress.PATIENCE", 0.0)
    whittle_index(dense_arm(200, 0), discount=0.9)
    assert "states: " in capsys.readouterr().err


def test_states_indifferent_for_ever():
    """Under average reward state 2 does not care how the arm gets to state 1: not strict."""
    P0, P1 = np.eye(3)[[0, 1, 0]], np.eye(3)[[1, 0, 1]]
    arm = Arm(P0, P1, [0, 3, 3], [2, 0, 2])
    assert whittle_index(arm, discount=1).tolist() == [np.inf, -2, -2]
    assert indexability(arm, discount=1) == (True, False, None, False)


def test_the_witness_lies_before_the_next_event():
    """Two passive states cross zero, at 1 and 2, before an active one at 4: 1.5 is a witness."""
    z, slope = np.array([4.0, -1.0, -2.0]), np.array([1.0, -1.0, -1.0])
    for second, expected in ((-2.0, 1.5), (-9.0, 2.5)):
        z[2] = second
        facts, same = (np.array([0.0, 1.0, 1.0, -1.0, np.nan]) for _ in range(2))
        status = panel._shift(np.arange(3), z, slope, z < 0, 1e-12, True, facts)
        assert (status, *facts[3:]) == (panel.BROKEN, 1.0, expected)
        status = panel._shift_rows(np.arange(3), z, slope, z < 0, 1e-12, True, same)
        assert (status, *same[3:]) == (panel.BROKEN, 1.0, expected)


def test_zero_has_no_sign():
    assert not np.signbit(gittins_index([[0.5, 0.5], [0, 1]], [0.5, 0], discount=0.9)).any()
    assert not np.signbit(whittle_index(Arm.rested(HALF, 0), discount=0.9)).any()


def test_the_first_system_in_place(monkeypatch):
    """X A = Δ by triangles in halves: matrices that need swaps, sizes that do not halve evenly."""
    monkeypatch.setattr(index_module, "IN_PLACE", 0)
    monkeypatch.setattr(index_module, "LEAF", 3)
    rng = np.random.default_rng(7)
    for size in (1, 2, 3, 4, 7, 13, 40):
        matrix, right = rng.normal(size=(2, size, size))
        found = index_module._solved(matrix.copy(), right.copy(order="F")).T
        np.testing.assert_allclose(found, np.linalg.solve(matrix.T, right.T).T, rtol=1e-9)
    with pytest.raises(np.linalg.LinAlgError):
        index_module._solved(np.zeros((2, 2)), np.ones((2, 2), order="F"))


# --- twins ----------------------------------------------------------------------------------------
def coarse_arm(rng):
    """2 to 5 states; chances are multiples of 1/4, or 0 and 1, and rewards whole: indices tie."""
    size, parts = int(rng.integers(2, 6)), int(rng.choice([1, 4]))
    P0, P1 = (
        np.array([rng.multinomial(parts, np.full(size, 1 / size)) for _ in range(size)]) / parts
        for _ in range(2)
    )
    if rng.random() < 0.3:
        P0 = np.eye(size)
    return Arm(P0, P1, rng.integers(0, 4, size), rng.integers(0, 4, size))


@pytest.mark.skipif(numba() is None, reason=NO_NUMBA)
def test_twins_end_in_the_same_way(monkeypatch):
    """2000 coarse arms: ties, arms that are not indexable, multichain ones, infinite indices."""
    rng, ends = np.random.default_rng(0), set()
    for _ in range(2000):
        arm, beta, test = coarse_arm(rng), rng.choice([0.5, 0.9, 1]), bool(rng.random() < 0.8)
        outcomes = []
        for large in (np.inf, 0):
            monkeypatch.setattr(panel._panel, "large", large)
            try:
                column = index_module._active_x(arm, beta)
            except MultichainError:
                break
            z = arm.R1 - arm.R0 + arm.R1 @ column
            outcomes.append(index_module._finish(column, z, arm.R1, test=test))
        if not outcomes:
            continue
        plain, compiled = outcomes
        np.testing.assert_allclose(plain.index, compiled.index, rtol=0, atol=1e-11)
        for name in ("status", "strong", "strict", "state"):
            assert getattr(plain, name) == getattr(compiled, name), name
        assert plain.penalty == pytest.approx(compiled.penalty, abs=1e-11, nan_ok=True)
        ends.add((plain.status, plain.strong, plain.strict))
    assert {status for status, *_ in ends} == {
        panel.DONE,
        panel.INFINITE,
        panel.SINGULAR,
        panel.BROKEN,
    }
    assert {strong for _, strong, _ in ends} == {strict for *_, strict in ends} == {False, True}
