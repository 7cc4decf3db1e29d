"""The rooms of the bandits: their names, what they import, and what works with numpy alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from alphafair.models import bandits
from alphafair.models.bandits import exact, indices, learning, planning

ROOM = Path(bandits.__file__).parent
ALONE = """
import sys

sys.modules["numba"] = sys.modules["scipy"] = None  # as if they were not installed
import numpy as np

from alphafair.models.bandits import *
from alphafair.models.bandits.learning import MBPSRL, PSRL, random_walk, run
"""


def alone(code):
    """What the code prints where numpy is all there is."""
    command = [sys.executable, "-c", ALONE + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "room", [bandits, indices, planning, exact, learning], ids=lambda m: m.__name__
)
def test_rooms_list_their_names(room):
    assert len(set(room.__all__)) == len(room.__all__)
    assert room.__doc__
    assert all(getattr(room, name).__doc__ for name in room.__all__)


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_knows_the_allocation_or_imports_more_than_numpy(path):
    """At the head of a file, that is: scipy and numba are imported where they are needed."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert not {name.name.split(".")[0] for name in node.names} & {"scipy", "numba"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module is None or node.module.split(".")[0] not in ("scipy", "numba")
            assert node.module != "problem"


def test_a_first_index_loads_nothing_but_numpy():
    code = """
import sys
import numpy as np
from alphafair.models.bandits import examples, whittle_index
whittle_index(examples.random_dense(100, seed=0), discount=0.99)
print(sorted({"numba", "scipy"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_numpy_alone_is_enough_for_indices():
    for discount in (0.9, 1):
        code = f"""
arm = examples.random_dense(150, seed=1)
index = whittle_index(arm, discount={discount})
print(index_residual(arm, index, discount={discount}) < 1e-12)
"""
        assert alone(code) == "True"
    code = """
arm = examples.bernoulli(40)
print(gittins_index(arm.P1, arm.R1, discount=0.9)[0])
"""
    assert float(alone(code)) == pytest.approx(0.7029, abs=1e-3)


def test_numpy_alone_is_enough_for_large_arms():
    """Where scipy would do the work in place: the same to rounding."""
    code = """
from alphafair.models.bandits.indices import elimination, index, panel
elimination.LARGE = index.IN_PLACE = 10
elimination.STRIP = 20
arm = examples.random_dense(130, seed=1)
values = whittle_index(arm, discount=0.9)
print(index_residual(arm, values, discount=0.9) < 1e-12)
"""
    assert alone(code) == "True"


def test_numpy_alone_is_enough_for_plans_and_policies():
    code = """
arm = examples.random_dense(5, seed=2)
plan = finite_horizon_relaxation(arm, np.full(5, 0.2), 0.4, 8)
filling, update = LPFillingPolicy(plan), LPUpdatePolicy(plan)
start = np.full(5, 0.2)
value, best = policy_value(filling, arm, start, 0.4, 8, 5), optimal_value(arm, start, 0.4, 8, 5)
print(value <= best <= plan.value, plan.degenerate, update.decide(np.ones(5, int), 0).sum())
order = np.argsort(-whittle_index(arm, discount=1))
m = fixed_point(arm, order, 0.4)
print(np.abs(mean_map(arm, order, 0.4)(m) - m).max() < 1e-12, limit_cycle(arm, order, 0.4).period)
rule = PriorityPolicy(whittle_index(arm, discount=1), 0.4)
exact = stationary_reward(rule, arm, 5), discounted_reward(rule, arm, start, 5, 0.9)
drawn = simulate_average(rule, arm, 5, 4000, runs=10)
print(abs(drawn.mean - exact[0]) < 4 * drawn.standard_error)
two = Arm.of_classes([arm, examples.random_rested(3, 0)])
print(type(two.P0).__name__, two.n_states, applicant_screening(3).arm)
"""
    assert alone(code).splitlines() == ["True False 2", "True 1", "True", "ndarray 8 Arm(S=11)"]


def test_numpy_alone_is_enough_to_learn():
    code = """
arms = [random_walk(np.linspace(0.1, 0.9, 8), 0.2, 0.2) for _ in range(3)]
for learner in (MBPSRL(0.9), PSRL(0.9)):
    result = run(learner, arms, 3, initial=[0, 3, 7])
    print(result.exact, result.optimal)
"""
    expected = learning.run(learning.MBPSRL(0.9), [WALK] * 3, 1, initial=[0, 3, 7]).optimal
    for line in alone(code).splitlines():
        exact_, optimal = line.split()
        assert exact_ == "True"
        assert float(optimal) == pytest.approx(expected, rel=1e-11)


WALK = learning.random_walk([0.1 + 0.8 * k / 7 for k in range(8)], 0.2, 0.2)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("stationary_relaxation(examples.nonindexable(1), 0.5)", "the linear program"),
        (
            "finite_horizon_relaxation(examples.cycle_example(2), [0.2, 0.4, 0.4], 0.4, 10)",
            "a program that sweeps do not solve",
        ),
        (
            "simulate_finite(PriorityPolicy([1, 0], 0.5), Arm([[1, 0], [0, 1]], "
            "[[1, 0], [0, 1]], 0, 1), [0.5, 0.5], 2, 2).interval",
            "an interval by Student's law",
        ),
    ],
)
def test_what_needs_scipy_says_so(call, what):
    code = f"try:\n    {call}\nexcept ImportError as error:\n    print(error)"
    assert alone(code) == f"{what} needs scipy, which is not installed: pip install scipy"
