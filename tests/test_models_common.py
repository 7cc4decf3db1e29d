"""What all models share: bisection, the summary of a simulation, libraries that may be absent."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphafair.models.common import Simulation, bisect, bisect_each, scipy, whole

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, finite, finite)
def test_bisection_finds_any_double(low, root, high):
    low, root, high = sorted([low, root, high])
    asked = []

    def holds(x):
        asked.append(x)
        return x >= root

    last, first = bisect(holds, low, high)
    assert len(asked) <= 128
    assert all(low < x < high for x in asked)
    if low < root:
        assert (last, first) == (math.nextafter(root, -math.inf), root)


@pytest.mark.parametrize(
    ("low", "high", "root"),
    [
        (-1.0, 1.0, 0.0),
        (-1.0, 1.0, -0.75),
        (-1.0, 1.0, 5e-324),
        (0.0, math.inf, 1.7e308),
        (-math.inf, 0.0, -2.0),
    ],
)
def test_bisection_at_the_ends_of_the_doubles(low, high, root):
    asked = []
    assert bisect(lambda x: asked.append(x) or x >= root, low, high)[1] == root
    assert len(asked) <= (64 if abs(root) > 0.5 else 128)


def test_bisection_between_no_doubles_gives_its_ends():
    assert bisect(lambda x: True, 1.0, 1.0) == (1.0, 1.0)
    assert bisect(lambda x: True, 2.0, 1.0) == (2.0, 1.0)
    last, first = bisect(lambda x: True, 0.0, 5e-324)
    assert (last, first) == (0.0, 5e-324)


def test_many_bisections_are_each_one():
    roots = np.array([[5e-324, 1e-200], [math.pi, np.finfo(float).max]])
    found = bisect_each(lambda x: x >= roots, roots.shape)
    np.testing.assert_array_equal(found, roots)
    one = [bisect(lambda x, r=r: x >= r, 0.0, math.inf)[1] for r in roots.ravel()]
    assert one == found.ravel().tolist()


def test_simulation_of_numbers():
    values = np.array([1.0, 4.0, 4.0, 7.0])
    result = Simulation.of(values)
    assert (result.mean, result.runs) == (4.0, 4)
    assert result.standard_error == pytest.approx(math.sqrt(6) / 2, rel=1e-15)
    low, high = result.interval  # t with 3 degrees of freedom: 3.182446305284263
    assert high - 4 == 4 - low == pytest.approx(3.182446305284263 * math.sqrt(1.5), rel=1e-12)
    assert all(isinstance(number, float) for number in result[:2])


def test_simulation_of_arrays_is_that_of_their_entries():
    values = np.random.default_rng(1).normal(size=(5, 2, 3))
    result = Simulation.of(values)
    for i, j in np.ndindex(2, 3):
        one = Simulation.of(values[:, i, j])
        assert one.mean == pytest.approx(result.mean[i, j], rel=1e-14)
        assert one.standard_error == pytest.approx(result.standard_error[i, j], rel=1e-14)
        ends = [end[i, j] for end in result.interval]
        assert list(one.interval) == pytest.approx(ends, rel=1e-14)


def test_one_run_says_nothing_of_the_error():
    assert Simulation.of(np.array([2.0]))[:2] == (2.0, math.inf)
    assert Simulation.of(np.array([2.0])).interval == (-math.inf, math.inf)
    table = Simulation.of(np.ones((1, 2)))
    assert table.standard_error.tolist() == [math.inf] * 2


def test_scipy_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="needs scipy, which is not installed: pip install scipy"):
        scipy()


MODELS = ("meanfield", "meanfield.games", "selection", "strategic")
ABSENT = ("scipy", "numba", "torch", "tqdm", "narwhals")


def printed(code):
    """What a fresh process prints in which only numpy is installed, or seems to be."""
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n{code}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_imported_with_numpy_alone(model):
    assert printed(f"import alphafair.models.{model}; print('there')") == "there"


@pytest.mark.parametrize("model", MODELS)
def test_importing_a_model_imports_nothing_heavy(model):
    code = f"import sys, alphafair.models.{model}; print({set(ABSENT)} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_what_needs_no_scipy_works_without_it():
    code = """
import numpy as np
from alphafair.models.meanfield import games, simulate, sis
from alphafair.models.strategic import equilibrium, monomial

print(simulate(sis(2, 1), [0.5, 0.5], [1.0], n=20, runs=50).mean.shape)
print(round(equilibrium(np.ones(10), monomial(2)).estimation_cost, 6))
game = games.susceptible_infected()
print(games.best_response(game, games.uniform(game)).policy.probabilities.shape[1:])
"""
    assert printed(code).splitlines() == ["(1, 2)", "0.584804", "(2, 2)"]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("selection.bayes_optimal(selection.Population([0.5, 0.5]))", "this"),
        ("meanfield.steady_state(meanfield.sis(2, 1, source=0.5))", "the mean field in time"),
        ("meanfield.exact_chain(meanfield.sis(2, 1), [0.5, 0.5], 4)", "the exact chain"),
        ("meanfield.gossip_rounds(4, 1)", "this"),
        ("games.equilibrium(games.susceptible_infected(2))", "the homotopy"),
        ("games.exploitability(pd, games.uniform(pd))", "a game in continuous time"),
        (
            "strategic.equilibrium(np.eye(2), strategic.linear(), strategic.direction([1, 1]))",
            "a linear cost with a direction",
        ),
    ],
)
def test_what_needs_scipy_says_so(call, what):
    code = f"""
import numpy as np
from alphafair.models import meanfield, selection, strategic
from alphafair.models.meanfield import games

pd = games.prisoners_dilemma(0.5)
try:
    {call}
except ImportError as error:
    print(error)
"""
    assert printed(code) == f"{what} needs scipy, which is not installed: pip install scipy"


def test_whole_numbers():
    assert whole("runs", 3.0, 1) == 3
    assert isinstance(whole("runs", np.int64(3), 1), int)
    assert whole("runs", 3, 3, 3) == 3
    for value in (0, 1.5, math.inf, math.nan):
        with pytest.raises(
            ValueError, match=rf"runs is {float(value)}: must be a whole number ≥ 1$"
        ):
            whole("runs", value, 1)
    with pytest.raises(ValueError, match=r"runs is 4.0: must be a whole number ≥ 1 and ≤ 3"):
        whole("runs", 4, 1, 3)
    with pytest.raises(TypeError, match="runs must be a number, not str"):
        whole("runs", "3", 1)


HIDDEN = np.ma.array([0.4, 0.6], mask=[False, True])
COLUMN = np.ma.array([[1.0, 0.0], [0.0, 1.0]], mask=[[False, False], [True, False]])


def _masked_arguments():
    """(name of the argument, call) for arguments of every wing."""
    from alphafair.models import bandits, meanfield, selection, strategic
    from alphafair.models.bandits import counts, policies
    from alphafair.models.meanfield import games

    half, cost = np.full((2, 2), 0.5), strategic.monomial(2)
    arm = bandits.Arm(half, half, 0, 1)

    def game(initial):
        return games.DiscreteGame(
            "AB", "xy", lambda m: [[[1, 0], [0, 1]]] * 2, lambda m: half, initial, 1
        )

    def heterogeneous(**given):
        return meanfield.Heterogeneous([(0, 1)], lambda z: z[..., 0], objects=2, **given)

    return [
        ("score", lambda: selection.select(HIDDEN, [0, 1], policy=selection.group_oblivious)),
        ("noise_variance", lambda: selection.select([1, 2], [0, 1], HIDDEN)),
        ("rates", lambda: selection.quotas(HIDDEN, [5, 5], 3)),
        ("size", lambda: selection.quotas([0.5, 0.5], HIDDEN, 3)),
        ("fraction", lambda: selection.Population(HIDDEN)),
        ("noise", lambda: selection.Population([0.4, 0.6], noise=HIDDEN)),
        ("attributes", lambda: strategic.equilibrium(HIDDEN, cost)),
        ("weight", lambda: strategic.equilibrium([1, 2], cost, weight=HIDDEN)),
        ("mass", lambda: strategic.population_equilibrium([1, 2], HIDDEN, cost, 3)),
        ("start", lambda: strategic.best_response([1, 2], cost, start=HIDDEN)),
        ("vector", lambda: strategic.direction(HIDDEN)),
        ("P0", lambda: bandits.Arm(COLUMN, half, 0, 1)),
        ("R1", lambda: bandits.Arm(half, half, 0, HIDDEN)),
        ("P", lambda: bandits.gittins_index(COLUMN, [1, 2], discount=0.5)),
        ("index", lambda: bandits.index_residual(arm, HIDDEN, discount=0.5)),
        ("initial", lambda: counts.initial_counts(HIDDEN, 2, 10)),
        ("priority", lambda: policies.PriorityPolicy(HIDDEN, 0.5)),
        ("initial", lambda: bandits.finite_horizon_relaxation(arm, HIDDEN, 0.5, 2)),
        ("fraction", lambda: bandits.finite_horizon_relaxation(arm, [0.5, 0.5], HIDDEN, 2)),
        ("jumps", lambda: meanfield.Population(COLUMN, lambda x: [x[0], x[1]])),
        ("start", lambda: meanfield.Population(half, lambda x: [x[0], x[1]], start=HIDDEN)),
        ("initial", lambda: meanfield.mean_field(meanfield.sis(2, 1), HIDDEN, [1])),
        ("times", lambda: meanfield.mean_field(meanfield.sis(2, 1), [0.5, 0.5], HIDDEN)),
        ("start", lambda: heterogeneous(start=COLUMN)),
        ("speeds", lambda: meanfield.heterogeneous_supermarket(HIDDEN, 0.5)),
        ("popularity", lambda: meanfield.random_cache(HIDDEN, [1])),
        ("initial", lambda: game(HIDDEN)),
        ("probabilities", lambda: games.Policy(0, COLUMN)),
    ]


@pytest.mark.parametrize(("name", "call"), _masked_arguments())
def test_masks_are_refused(name, call):
    """What is under a mask is no value; it used to be computed with."""
    with pytest.raises(ValueError, match=f"^{name} has masked entries: fill them or drop"):
        call()
