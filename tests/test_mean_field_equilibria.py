"""Equilibria of mean field games: found by a path, judged by plain loops apart from it."""

import numpy as np
import pytest

from alphafair.models.meanfield.games import (
    ContinuousGame,
    DiscreteGame,
    NoEquilibriumError,
    Policy,
    equilibria,
    equilibrium,
    exploitability,
    mass_flow,
    susceptible_infected,
    uniform,
)

# T, times the last price of mistakes (1e−12), in units of costs: 1e−10; off a grid there is more.
EXACT = 1e-10
# What a monotone game of any size has to reach.
EXPLOITABLE = 1e-8


def two_roads(kind=DiscreteGame, *, ratio=2.0, toll=0.0, rate=1.0, **given):
    """On A it costs m_A, on B ``ratio`` m_B; to change the road costs a toll."""
    go = [[[0, 0], [0, rate]], [[0, 0], [rate, 0]]]
    at_once = [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    return kind(
        "AB",
        ("stay", "go"),
        lambda m: go if kind is ContinuousGame else at_once,
        lambda m: [[m[0], m[0] + toll], [ratio * m[1], ratio * m[1] + toll]],
        [0.5, 0.5],
        **given,
    )


# --- known equilibria -----------------------------------------------------------------------------
@pytest.mark.parametrize("discount", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_two_roads_for_ever(discount):
    """1/2 on each at first, then 2/3 on A: from A one in three goes, from B nobody, at first.

    Later any policy that keeps the crowd is an equilibrium, and costs 2/3 a day.
    """
    game = two_roads(discount=discount)
    found = equilibrium(game)
    assert abs(found.exploitability) <= EXACT
    assert exploitability(game, found.policy) == found.exploitability
    flow = mass_flow(game, found.policy, [1, 2, 5])
    assert flow[:, 0] == pytest.approx([2 / 3] * 3, abs=1e-9)
    assert found.cost == pytest.approx(3 / 4 + 2 / 3 * discount / (1 - discount), abs=1e-8)


def test_two_roads_with_a_toll():
    """Some change once: as many as make the toll worth it, (2 m_B − m_A) δ/(1 − δ) = 1/10."""
    found = equilibrium(two_roads(discount=0.9, toll=0.1))
    assert abs(found.exploitability) <= EXACT
    # m_A = x in all later days: 9 (2 − 3x) = 1/10.
    x = (2 - 1 / 90) / 3
    assert mass_flow(two_roads(discount=0.9), found.policy, [1, 9])[:, 0] == pytest.approx(
        x, abs=1e-9
    )


@pytest.mark.parametrize(
    "game",
    [
        two_roads(ContinuousGame, horizon=5),
        two_roads(ContinuousGame, ratio=3.0, rate=2.0, horizon=4),
    ],
)
def test_mixing_in_continuous_time(game):
    """Exact on the grid; off it of the order h²."""
    gaps = []
    for steps in (50, 100):
        grid = equilibrium(game, steps=steps, on_grid=True)
        assert exploitability(game, grid.policy, steps=steps) == grid.exploitability
        assert abs(grid.exploitability) <= EXACT
        assert abs(grid.history[-1]) <= EXACT
        gaps.append(equilibrium(game, steps=steps).exploitability)
        assert exploitability(game, grid.policy) >= gaps[-1] / 2  # which has the swing in it
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.2)
    assert gaps[1] < 3e-4
    share = mass_flow(game, equilibrium(game, steps=100).policy, [1.5, 2.0])[:, 0]
    ratio = 2 if game.span == 5 else 3
    assert share == pytest.approx([ratio / (1 + ratio)] * 2, abs=1e-3)


def test_mixing_for_ever_in_continuous_time():
    game = two_roads(ContinuousGame, discount=1.0)
    found = equilibrium(game, steps=200, on_grid=True)
    assert abs(found.exploitability) <= EXACT
    # m_A = 1 − e^(−t)/2 until 2/3, at t = log(3/2), then 2/3 a year.
    t = np.log(1.5)
    x = np.linspace(0, t, 2001)
    B = np.exp(-x) / 2
    paid = np.exp(-x) * ((1 - B) ** 2 + 2 * B**2)
    exact = np.trapezoid(paid, x) + 2 / 3 * np.exp(-t)
    assert found.cost == pytest.approx(exact, abs=3e-3)  # h = 0.16


@pytest.mark.parametrize("days", [2, 5, 9, 13, 16, 17, 20, 21, 23, 25])
def test_many_days(days):
    """Not monotone; the path turns, and for some it takes another beginning."""
    found = equilibrium(susceptible_infected(days))
    assert abs(found.exploitability) <= EXACT


# --- random games ---------------------------------------------------------------------------------
def affine(base, slope):
    """Base + slope·m, for one m and for many."""
    return lambda m: base.reshape(base.shape + (1,) * (m.ndim - 1)) + slope @ m


def drawn(seed, *, monotone):
    """Of all four kinds in turn; up to six states and four actions."""
    rng = np.random.default_rng([seed, monotone])
    size, choices = int(rng.integers(2, 7)), int(rng.integers(1 + (seed % 10 > 0), 5))
    names = [f"s{i}" for i in range(size)], [f"a{a}" for a in range(choices)]
    base = rng.normal(size=(size, choices)) * rng.choice([0.1, 1.0])
    if monotone:  # (m − m')·K (m − m') ≥ 0, and P does not depend on m
        root, other = rng.normal(size=(2, size, size))
        K = root.T @ root / size + rng.choice([0, 1]) * (other - other.T)
        slope = np.repeat(K[:, None], choices, axis=1)
    else:
        slope = rng.normal(size=(size, choices, size)) * rng.choice([1, 3])
    start = rng.dirichlet(np.ones(size)) if seed % 3 else np.eye(size)[0]
    shape = (size, choices, size, 1 if monotone else size)
    endless, continuous = seed % 2, seed % 4 > 1
    if continuous:
        move = rng.exponential(size=shape) * (rng.random(shape) < 0.6) * rng.choice([0.2, 0.5])
        horizon, discount = (None, 2.0) if endless else (float(rng.choice([1, 3])), 0.1)
    else:
        move = rng.dirichlet(np.ones(size) * rng.choice([0.1, 1]), size=(size, choices, shape[3]))
        move = np.moveaxis(move, 2, 3)
        if seed % 5 == 0:
            move = np.eye(size)[rng.integers(size, size=shape[:2])][..., None] + 0 * move
        horizon, discount = (None, 0.5) if endless else (int(rng.integers(2, 15)), 1.0)
    moves = (lambda m: move[..., 0]) if monotone else (lambda m: move @ m)
    kind = ContinuousGame if continuous else DiscreteGame
    return kind(*names, moves, affine(base, slope), start, horizon, discount)


@pytest.mark.parametrize("seed", range(64))
def test_monotone_games(seed):
    game = drawn(seed, monotone=True)
    found = equilibrium(game, steps=25, attempts=1, on_grid=True)  # the first path
    assert abs(found.exploitability) <= EXPLOITABLE


@pytest.mark.parametrize("seed", range(16))
def test_games_that_are_not_monotone(seed):
    game = drawn(seed, monotone=False)
    found = equilibrium(game, steps=25, on_grid=True)
    assert abs(found.exploitability) <= EXPLOITABLE


# --- several --------------------------------------------------------------------------------------
def test_both_sides_of_the_road():
    """All on the left, all on the right, or half and half: nobody stays there."""
    sides = DiscreteGame(
        ["?", "left", "right"],
        ["left", "right"],
        lambda m: [[[0, 1, 0], [0, 0, 1]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2],
        lambda m: [[0, 0], [m[2]] * 2, [m[1]] * 2],
        [1, 0, 0],
        2,
    )
    found = equilibria(sides, attempts=4)
    left = sorted((round(each.policy.at(0)[0, 0], 6), each.stable) for each in found)
    assert left == [(0, True), (0.5, False), (1, True)]
    assert all(abs(each.exploitability) <= EXACT for each in found)
    assert found[0].cost <= found[-1].cost


def test_one_that_is_stable():
    """A monotone game has one; the crowd comes back to it though players mix."""
    (found,) = equilibria(two_roads(horizon=4), attempts=3)
    assert found.stable
    assert abs(found.exploitability) <= EXACT


# --- none -----------------------------------------------------------------------------------------
def test_no_equilibrium():
    """A is free while at most half are there, B if more are: whatever all do, some regret it."""
    jump = DiscreteGame(
        ["?", "A", "B"],
        ["A", "B"],
        lambda m: [[[0, 1, 0], [0, 0, 1]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2],
        lambda m: [[0, 0], [1.0 * (m[1] > 0.5)] * 2, [1.0 * (m[1] <= 0.5)] * 2],
        [1, 0, 0],
        2,
    )
    with pytest.raises(NoEquilibriumError, match=r"no path of 2 arrived; .* by 0\.") as e:
        equilibrium(jump, attempts=2)
    best = e.value.best
    assert exploitability(jump, best.policy) == best.exploitability > 0.1
    assert f"{best.exploitability:.3g}" in str(e.value)
    assert isinstance(e.value, ValueError)


# --- clear errors ---------------------------------------------------------------------------------
STAY = [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]


def small(**changes):
    given = {"transitions": lambda m: STAY, "costs": lambda m: [[1, 2], [3, 4]], "initial": [1, 0]}
    return DiscreteGame("AB", "xy", horizon=2, **(given | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial": [1, 1]}, r"sum 2: must be ≥ 0 with sum 1; divide it by its sum: \[0.5, 0.5\]"),
        ({"initial": [np.nan, 1]}, r"initial\[0\] is nan"),
        ({"initial": [1.5, -0.5]}, r"initial\[1\] is -0.5"),
        (
            {"transitions": lambda m: [STAY[0], [[0.5, 0.4], [1, 0]]]},
            r"transitions\(m\)\[1, 0\] is \[0.5, 0.4\] with sum 0.9 at m = .* to stay, add 0.1 to "
            r"its entry 1",
        ),
        ({"transitions": lambda m: [[[0.7, 0.6], [0, 1]], STAY[1]]}, r"\[0, 0\].* divide the row"),
        ({"transitions": lambda m: [[[1.5, -0.5], [0, 1]], STAY[1]]}, "are not negative"),
        ({"transitions": lambda m: [[[np.nan, 1], [0, 1]], STAY[1]]}, r"\)\[0, 0, 0\] is nan .*\?"),
        (
            {"transitions": lambda m: [STAY[0], [[0, 1], [1]]]},
            r"entry \[1, 1\] has length 1, .* 2 s",
        ),
        ({"costs": lambda m: [[1, 2], [3, 4, 5]]}, r"entry \[1\] has length 3, .* 2 actions"),
        ({"costs": lambda m: [1, 2]}, r"entry \[0\] is one number instead of 2"),
        ({"costs": lambda m: [[1, "x"], [3, 4]]}, "no table of numbers"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_only_continuous_games_have_a_grid():
    with pytest.raises(TypeError, match="only a ContinuousGame"):
        exploitability(small(), uniform(small()), steps=3)
    game = two_roads(ContinuousGame, horizon=1)
    rough = exploitability(game, Policy(0, [[1, 0], [0, 1]]), steps=40)
    assert rough == pytest.approx(exploitability(game, Policy(0, [[1, 0], [0, 1]])), abs=1e-3)
