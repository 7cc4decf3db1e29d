"""Fair shares of attention: the curve against another program, the shares against CVXPY."""

import cvxpy as cp
import numpy as np
import pytest

import alphafair as af
from alphafair.models.attention import (
    SharePolicy,
    attention_problem,
    attention_value,
    simulate_attention,
)
from alphafair.models.bandits import (
    Arm,
    PriorityPolicy,
    examples,
    stationary_relaxation,
    stationary_reward,
)

SOLVED = 1e-7  # of a convex solver, relative
ARMS = {
    "machine": examples.machine_maintenance(),
    "cycle": examples.cycle_example(2),
    "singular": examples.singular_example(),
    "circulant": examples.circulant(),
    "not indexable": examples.nonindexable(1),
    **{f"random {seed}": examples.random_dense(7, seed) for seed in range(6)},
}
each_arm = pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)


def machine(wear, as_new=5.0):
    """As new or worn; a service, which costs 1, makes it as new."""
    return Arm([[1 - wear, wear], [0, 1]], [[1, 0], [1, 0]], [as_new, 2], [as_new - 1, 1])


def lifted(arm):
    """The same arm with rewards ≥ 0, as utilities must be."""
    least = min(arm.R0.min(), arm.R1.min(), 0)
    return Arm(arm.P0, arm.P1, arm.R0 - least, arm.R1 - least)


@each_arm
def test_the_curve_is_the_value_of_the_relaxation(arm):
    """`stationary_relaxation` asks for a fraction, not a price, and for all of it to be used."""
    curve = attention_value(arm)
    assert (np.diff(curve.price) < 0).all()
    assert (curve.price > 0).all()
    grid = np.linspace(0, 1, 21)
    exact = np.array([stationary_relaxation(arm, a).value for a in grid])
    scale = max(np.abs(arm.R0).max(), np.abs(arm.R1).max())
    rising = grid <= curve.fraction[-1]
    np.testing.assert_allclose(curve(grid)[rising], exact[rising], rtol=0, atol=1e-8 * scale)
    assert (exact[~rising] <= curve.value[-1] + 1e-8 * scale).all()


def test_the_curve_of_a_machine_by_hand():
    """Serviced at once when worn, it is as new 1/(1 + w) of the time, and is serviced as often as
    it wears out: w/(1 + w).
    """
    for wear in (0.05, 0.1, 0.2):
        often = wear / (1 + wear)
        curve = attention_value(machine(wear))
        np.testing.assert_allclose(curve.fraction, [0, often], atol=1e-12)
        np.testing.assert_allclose(curve.value, [2, (5 + wear * 1) / (1 + wear)], atol=1e-12)


def test_attention_that_does_nothing_is_not_bought():
    curve = attention_value(Arm([[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]], 2, 1))
    assert curve.fraction.tolist() == [0]
    assert curve.value == pytest.approx([2])


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, 3, np.inf])
def test_shares_solve_the_joint_program(alpha):
    """One convex program in all occupations, by CVXPY; the weights are the sizes."""
    arms = {name: lifted(ARMS[name]) for name in ("machine", "cycle", "random 3", "random 5")}
    sizes = {"machine": 30, "cycle": 50, "random 3": 20, "random 5": 40}
    problem = attention_problem(arms, sizes, 25, weight="size")
    ours = problem.allocate(alpha)

    value, used, rules = [], 0, []
    for label in problem.groups.label.tolist():
        arm = arms[label]
        P0, P1 = arm.dense()
        passive, active = (cp.Variable(arm.n_states, nonneg=True) for _ in range(2))
        rules += [
            passive + active == P0.T @ passive + P1.T @ active,
            cp.sum(passive + active) == 1,
        ]
        value.append(arm.R0 @ passive + arm.R1 @ active)
        used += sizes[label] * cp.sum(active)
    u = cp.hstack(value)
    w = np.array([sizes[label] for label in problem.groups.label.tolist()]) / 140
    welfare = {
        0: lambda: w @ u,
        1: lambda: w @ cp.log(u),
        np.inf: lambda: cp.min(u),
    }.get(alpha, lambda: (w @ cp.power(u, 1 - alpha)) / (1 - alpha))()
    program = cp.Problem(cp.Maximize(welfare), [*rules, used <= 25])
    program.solve(cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9)
    found = af.equivalent_utility(u.value, alpha, weight=w)
    assert ours.equivalent_utility == pytest.approx(found, rel=SOLVED)
    if 0 < alpha < np.inf:
        np.testing.assert_allclose(ours.group_utility, u.value, rtol=1e-4)  # the square of 1e-7
    assert af.optimality_gap(ours.dose, problem, alpha).relative_gap < 1e-9


def test_shares_on_average_are_kept_at_every_step():
    arms = {"a": machine(0.2), "b": machine(0.1), "c": machine(0.4)}
    policy = SharePolicy(arms, {"a": 10, "b": 20, "c": 7}, [1.3, 2.5, 0.2])
    counts = np.tile([5, 5, 10, 10, 3, 4], (20_000, 1))
    decided = policy.decide(counts, 0, np.random.default_rng(3))
    each = np.add.reduceat(decided, [0, 2, 4], axis=1)
    assert (each.sum(axis=1) == 4).all()
    assert (np.abs(each - policy.shares) < 1).all()
    error = np.sqrt(0.25 / len(counts))
    np.testing.assert_allclose(each.mean(axis=0), policy.shares, atol=4 * error)


def test_simulation_is_the_exact_chain_where_shares_are_whole():
    arms = {"a": machine(0.2), "b": ARMS["cycle"]}
    policy = SharePolicy(arms, {"a": 6, "b": 5}, {"a": 1, "b": 2})
    found = simulate_attention(policy, 4000, runs=40, seed=1)
    for k, (label, size) in enumerate({"a": 6, "b": 5}.items()):
        order = policy.order[k]
        priority = np.empty(order.size)
        priority[order] = -np.arange(order.size)
        rule = PriorityPolicy(priority, policy.shares[k] / size)
        exact = stationary_reward(rule, arms[label], size)
        assert abs(found.mean[k] - exact) < 4 * found.standard_error[k]


def test_simulation_is_the_exact_chain_where_a_share_is_not_whole():
    """Three machines and half a service a step: four configurations, written down."""
    wear, share = 0.3, 0.5
    chain = np.zeros((4, 4))
    paid = np.zeros(4)
    law = [np.array([1.0])]
    for n in range(3):  # of how many of n new machines wear out
        law.append(np.convolve(law[n], [1 - wear, wear]))
    for worn in range(4):
        for served, chance in ((0, 1 - share), (1, share)):
            done = min(served, worn)  # the first to be served is worn, where one is
            at_risk = 3 - worn - (served - done)  # a new one that is served stays new
            for fail, p in enumerate(law[at_risk]):
                chain[worn, worn - done + fail] += chance * p
    for worn in range(4):  # a served worn machine pays 1, an idle service of a new one 4
        paid[worn] = (1 - share) * (5 * (3 - worn) + 2 * worn)
        if worn:
            paid[worn] += share * (5 * (3 - worn) + 2 * (worn - 1) + 1)
        else:
            paid[worn] += share * (5 * 2 + 4)
    values, vectors = np.linalg.eig(chain.T)
    stationary = np.real(vectors[:, np.argmax(values.real)])
    exact = stationary / stationary.sum() @ paid / 3
    policy = SharePolicy({"a": machine(wear)}, {"a": 3}, [share])
    found = simulate_attention(policy, 5000, runs=40, seed=2)
    assert abs(found.mean[0] - exact) < 4 * found.standard_error[0]


def test_policies_reach_the_bound_as_groups_grow():
    """Never above it, and the gap shrinks."""
    arms = {"near": machine(0.1), "far": machine(0.4), "hard": ARMS["random 3"]}
    gaps = []
    for scale in (1, 8, 64):
        sizes = {"near": 10 * scale, "far": 10 * scale, "hard": 5 * scale}
        a = attention_problem(arms, sizes, 3 * scale).allocate(2)
        policy = SharePolicy(arms, sizes, a.group_budget)
        found = simulate_attention(policy, 2000, runs=10, seed=scale)
        bound = dict(zip(a.group_labels.tolist(), a.group_utility, strict=True))
        bound = np.array([bound[label] for label in policy.labels])
        assert (found.mean < bound + 4 * found.standard_error).all()
        gaps.append((bound - found.mean).max())
    assert gaps[1] < gaps[0] / 1.5
    assert gaps[2] < gaps[1] / 1.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: attention_problem({}, {}, 1), "arms is empty"),
        (lambda m: attention_problem({"a": m}, {"b": 1}, 1), "sizes: group 'a' is missing"),
        (lambda m: attention_problem({"a": m}, {"a": 1, "b": 1}, 1), "group 'b' is not in arms"),
        (lambda m: attention_problem({"a": m}, {"a": 1.5}, 1), r"sizes\['a'\]"),
        (
            lambda m: attention_problem({"a": Arm([[1]], [[1]], -1, 0)}, {"a": 2}, 1),
            "group 'a' earns -1 a step without attention",
        ),
        (lambda m: SharePolicy({"a": m}, {"a": 2}, [3]), r"shares\[0\] is 3"),
        (lambda m: SharePolicy({"a": m}, {"a": 2}, [1, 1]), r"shares has shape \(2,\)"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(machine(0.2))


def test_the_curve_of_an_arm_that_never_earns():
    curve = attention_value(Arm([[0.5, 0.5]] * 2, [[1, 0]] * 2, 0, 0))
    assert curve.fraction.tolist() == [0]
    assert curve.value.tolist() == [0]


def test_the_curve_ends_at_the_least_attention_that_earns_the_most():
    """The third state pays the same either way and goes the same way: nothing to be won there."""
    P = [[0.5, 0.25, 0.25], [0.2, 0.5, 0.3], [0.5, 0.25, 0.25]]
    curve = attention_value(Arm(P, P, [0, 0, 2], [3, 1, 2]))
    left = np.vstack([np.eye(3) - np.array(P).T, np.ones(3)])
    rest = np.linalg.lstsq(left, [0, 0, 0, 1], rcond=None)[0]
    np.testing.assert_allclose(curve.fraction, [0, rest[0], rest[0] + rest[1]], atol=1e-12)
    np.testing.assert_allclose(curve.price, [3, 1], atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_has_no_corner_on_a_straight_line(seed):
    """Where activation moves nothing and wins the same everywhere, one piece leads from 0 to 1."""
    P = examples.random_dense(6, seed).dense()[0]
    rewards = np.random.default_rng(seed).random(6)
    curve = attention_value(Arm(P, P, rewards, rewards + 2))
    np.testing.assert_allclose(curve.fraction, [0, 1], atol=1e-12)
    np.testing.assert_allclose(curve.price, [2], atol=1e-12)


@pytest.mark.parametrize("fraction", [1.2, -0.1, float("nan"), [0.5, 2]])
def test_the_curve_refuses_fractions_that_are_none(fraction):
    with pytest.raises(ValueError, match="fraction"):
        attention_value(machine(0.2))(fraction)


def test_shares_at_their_bounds():
    arms, sizes = {"a": machine(0.2), "b": machine(0.1)}, {"a": 6, "b": 6}
    full = SharePolicy(arms, sizes, {"a": 6 * (1 + 1e-13), "b": 0})
    assert full.shares.tolist() == [6, 0]
    with pytest.raises(ValueError, match="shares"):
        SharePolicy(arms, sizes, {"a": 6, "b": -0.5})
    with pytest.raises(ValueError, match="shares"):
        SharePolicy(arms, sizes, {"a": 6, "c": 0.5})


class Always:
    """A generator that draws the same number for ever."""

    def __init__(self, number):
        self.number = number

    def random(self, shape):
        return np.full(shape, self.number)


@pytest.mark.parametrize("number", [0.0, np.nextafter(0.3, 0), 0.5, np.nextafter(1, 0)])
def test_whole_sums_of_shares_are_spent_whole(number):
    """0.7 + 0.2 + 0.1 is below 1 in floating point, yet one arm is activated whatever is drawn."""
    arms = dict.fromkeys("abc", machine(0.2))
    policy = SharePolicy(arms, dict.fromkeys("abc", 6), {"a": 0.7, "b": 0.2, "c": 0.1})
    assert np.cumsum(policy.shares)[-1] < 1
    assert policy.decide(np.array([0, 6] * 3), 0, Always(number)).sum() == 1


def test_groups_and_runs_of_nobody():
    arms = {"a": machine(0.2)}
    with pytest.raises(ValueError, match=r"sizes\['a'\]"):
        attention_problem(arms, {"a": 0}, 1)
    policy = SharePolicy(arms, {"a": 4}, {"a": 1})
    with pytest.raises(ValueError, match="runs"):
        simulate_attention(policy, 10, runs=0)
    with pytest.raises(ValueError, match="steps"):
        simulate_attention(policy, 0)
