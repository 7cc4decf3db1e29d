"""Mean field games: published values, closed forms, enumeration, the joint chain of all players."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import expm

from alphafair.models.meanfield.games import (
    ContinuousGame,
    DiscreteGame,
    Policy,
    best_response,
    equilibrium,
    exploitability,
    fictitious_play,
    grid,
    grim,
    mass_flow,
    n_player_costs,
    n_player_gap,
    prisoners_dilemma,
    repeated_best_response,
    repeated_prisoners_dilemma,
    sir_vaccination,
    social_cost,
    susceptible_infected,
    threshold_equilibrium,
    threshold_optimum,
    threshold_policy,
    uniform,
    values,
)
from alphafair.models.meanfield.games.equilibrium import euler

# The differential equations are solved to 1e−11 in each step.
SOLVED = 1e-9
# Sums of at most a thousand products.
ROUNDING = 1e-12
# What the ready models have to reach.
EXPLOITABLE = 1e-8

# (S0, I0, t_MFE, cost, t_opt, cost): computed apart from this package, by bisection and by a grid;
# tolerance 1e−5.  An Euler program of the authors has 0.0247, 0.68238 and 0.03205, 0.58477.
SIR = [
    (0.4, 0.4, 0.024651427039118243, 0.6822967757787555, 0.032438528749162664, 0.6816710928973011),
    (0.8, 0.1, 0.03191022747834611, 0.5845193463915173, 0.05650428993042234, 0.5670427666174884),
]
# N, cost and best response in the game of N players: exact backward equations on (own state, #S,
# #I), written apart; a simulation for N = 10 has 0.64626 ± 0.00311.
PLAYERS = [
    (5, 0.6231417566837838, 0.6147478228449602),
    (10, 0.6474325388462843, 0.6432913071079264),
    (20, 0.6634491602961354, 0.6616431765057254),
    (40, 0.6726112598854543, 0.6718510265074688),
]


def test_what_one_of_sixty_saves():
    """N ε_N, from a program written apart."""
    game = sir_vaccination()
    gap = n_player_gap(game, equilibrium(game).policy, 60)
    assert 60 * gap == pytest.approx(0.0279, abs=5e-5)


@pytest.mark.parametrize(("S", "I", "time", "cost", "optimum", "least"), SIR)
def test_vaccination_thresholds(S, I, time, cost, optimum, least):  # noqa: E741
    game = sir_vaccination(S, I)
    found = threshold_equilibrium(game)
    assert found.time == pytest.approx(time, abs=1e-7)
    assert found.cost == pytest.approx(cost, abs=1e-5)
    assert exploitability(game, found.policy) <= EXPLOITABLE
    best = threshold_optimum(game)
    # The cost is flat there: its 12 digits fix the time to about 6.
    assert best.time == pytest.approx(optimum, abs=1e-6)
    assert best.cost == pytest.approx(least, abs=1e-9)
    assert best.time > found.time
    assert best.cost < found.cost


def test_vaccination_by_hand():
    """W_I has a closed form, and at t_c W_S is the price of a vaccination."""
    game = sir_vaccination()
    found = threshold_equilibrium(game)
    times = np.array([0, 0.01, found.time, 0.5, 1])
    seen = values(game, found.policy, times)
    assert seen.cost[:, 1] == pytest.approx(1 - np.exp(-36.5 * (1 - times)), abs=SOLVED)
    assert seen.cost[2, 0] == pytest.approx(0.5, abs=SOLVED)
    assert seen.best == pytest.approx(seen.cost, abs=SOLVED)
    assert seen.cost[:, 2] == pytest.approx(0, abs=0)
    assert seen.mass.sum(axis=1) == pytest.approx(1, abs=SOLVED)
    # Wait or vaccinate: 10 (W_S − 1/2) decides.
    assert seen.advantage[:, 0, 0] == pytest.approx(
        np.maximum(10 * (seen.best[:, 0] - 0.5), 0), abs=10 * SOLVED
    )
    answer = best_response(game, found.policy)
    assert answer.policy.starts == pytest.approx([0, found.time], abs=1e-9)
    assert answer.policy.probabilities[:, 0].tolist() == [[0, 1], [1, 0]]
    # Population cost: the integral of what all pay.
    assert social_cost(game, found.policy) == pytest.approx(answer.crowd_cost, abs=SOLVED)


READY = {
    "sir": sir_vaccination,
    "sir, few infected": lambda: sir_vaccination(0.8, 0.1),
    "prisoners": lambda: prisoners_dilemma(0.5),
    "prisoners, impatient": lambda: prisoners_dilemma(0.9),
    "rounds": lambda: repeated_prisoners_dilemma(0.9),
    "distance": susceptible_infected,
}


@pytest.mark.parametrize("name", READY)
def test_ready_models_have_an_equilibrium(name):
    game = READY[name]()
    found = equilibrium(game, steps=250)
    assert found.exploitability <= EXPLOITABLE
    # The number is no claim of the solver: it is that of the policy.
    assert exploitability(game, found.policy) == pytest.approx(found.exploitability, abs=1e-15)
    assert found.cost == pytest.approx(social_cost(game, found.policy), abs=1e-15)
    assert found.history[0] > found.history[-1]
    if name.startswith("sir"):
        time = found.policy.starts[1]
        assert time == pytest.approx(next(row[2] for row in SIR if row[0] == game.initial[0]), 1e-6)


@pytest.mark.parametrize(("beta", "cost"), [(0.5, 3.3333333333333335), (0.9, 1.6959064327485383)])
def test_prisoners(beta, cost):
    """The only equilibrium: to D at rate 1, m_C = e^(−t), 2/β − 1/(1 + β)."""
    game, leave, stay = prisoners_dilemma(beta), Policy(0, [[0, 1], [1, 0]]), uniform
    by_hand, _ = quad(
        lambda t: (
            np.exp(-beta * t) * (np.exp(-t) * (3 - 2 * np.exp(-t)) + 2 * (1 - np.exp(-t)) ** 2)
        ),
        0,
        np.inf,
    )
    assert by_hand == pytest.approx(cost, abs=1e-9)
    assert social_cost(game, leave) == pytest.approx(cost, abs=SOLVED)
    assert exploitability(game, leave) == pytest.approx(0, abs=SOLVED)
    assert repeated_best_response(game, start=leave).cost == pytest.approx(cost, abs=SOLVED)
    # All stay: 1/β; one who leaves pays only until she is in D.
    stay = Policy(0, [[1, 0], [1, 0]])
    answer = best_response(game, stay)
    assert answer.crowd_cost == pytest.approx(1 / beta, abs=SOLVED)
    assert answer.cost == pytest.approx(1 / (1 + beta), abs=SOLVED)
    flow = mass_flow(game, leave, [0, 1, 3])
    assert flow[:, 0] == pytest.approx(np.exp([0, -1, -3]), abs=SOLVED)


@pytest.mark.parametrize("n", [5, 10, 50])
def test_cooperation_among_n_and_not_in_the_limit(n):
    """Grim keeps all in C if and only if β ≤ N/(N − 2): 5/3, 1.25, 1.041667."""
    critical = n / (n - 2)
    for beta in (0.5, 0.999 * critical):
        costs = n_player_costs(prisoners_dilemma(beta), grim, n)
        assert costs.cost == pytest.approx(1 / beta, abs=ROUNDING)
        assert costs.gap == pytest.approx(0, abs=ROUNDING)
    assert n_player_gap(prisoners_dilemma(1.001 * critical), grim, n) > 1e-6
    # In rounds: leaving saves the next round but for 2/N, and costs 2 in all after it.
    factor = (n - 2) / (2 * (n - 1))
    if n <= 10:
        patient, hasty = (repeated_prisoners_dilemma(factor * k) for k in (1.001, 0.999))
        assert n_player_gap(patient, grim, n) == pytest.approx(0, abs=ROUNDING)
        assert n_player_gap(hasty, grim, n) > 1e-4


@pytest.mark.parametrize(("n", "cost", "best"), PLAYERS)
def test_vaccination_among_n(n, cost, best):
    game = sir_vaccination()
    costs = n_player_costs(game, threshold_policy(game, 0.024651), n)
    # Both are differential equations solved to 1e−9, in steps of different length.
    assert (costs.cost, costs.best) == pytest.approx((cost, best), abs=1e-7)
    assert costs.gap == pytest.approx(cost - best, abs=1e-7)
    assert costs.gap * n == pytest.approx(0.0366, abs=0.007)  # as 1/N
    assert costs.cost < 0.6822967


# --- oracles --------------------------------------------------------------------------------------
def random_game(seed, size=2, choices=2, horizon=3, *, discount=0.8, kind=DiscreteGame):
    """Transitions and costs that are linear in m."""
    rng = np.random.default_rng(seed)
    kernels = rng.dirichlet(np.ones(size), size=(size, size, choices))  # one for each m = e_k
    paid = rng.normal(size=(size, size, choices))
    scale = 1.0 if kind is DiscreteGame else 3.0
    return kind(
        [f"s{i}" for i in range(size)],
        [f"a{i}" for i in range(choices)],
        lambda m: scale * np.tensordot(np.moveaxis(kernels, 0, -1), m, 1),
        lambda m: np.tensordot(np.moveaxis(paid, 0, -1), m, 1),
        rng.dirichlet(np.ones(size)),
        horizon,
        discount,
    )


@pytest.mark.parametrize("seed", range(3))
def test_best_response_against_all_policies(seed):
    """All 2^6 pure policies of one player, each followed by hand through the same crowd."""
    game = random_game(seed)
    crowd = Policy([0, 1, 2], np.random.default_rng(seed).dirichlet([1, 1], size=(3, 2)))
    mass = [game.initial]
    for t in range(3):
        mass.append(np.einsum("i,ia,iaj->j", mass[-1], crowd.at(t), game.moves(mass[-1])))

    def cost(rows):
        x, total = game.initial, 0.0
        for t in range(3):
            total += 0.8**t * (x[:, None] * rows[t] * game.pays(mass[t])).sum()
            x = np.einsum("i,ia,iaj->j", x, rows[t], game.moves(mass[t]))
        return total

    everything = itertools.product(*[np.eye(2)] * 6)
    best = min(cost(np.reshape(rows, (3, 2, 2))) for rows in everything)
    answer = best_response(game, crowd)
    assert answer.cost == pytest.approx(best, abs=ROUNDING)
    assert answer.crowd_cost == pytest.approx(cost(crowd.at(range(3))), abs=ROUNDING)
    assert cost(answer.policy.at(range(3))) == pytest.approx(best, abs=ROUNDING)
    assert mass_flow(game, crowd, range(4)) == pytest.approx(np.array(mass), abs=ROUNDING)


def joint_chain(game, rows, n):
    """All players by name: states, what player 0 pays, kernel or generator of S^n states."""
    states = list(itertools.product(range(game.shape[0]), repeat=n))
    m = np.array([[state.count(k) / n for k in range(game.shape[0])] for state in states])
    under = np.einsum("ia,miaj->mij", rows, game.moves(m))
    K = np.zeros((len(states), len(states)))
    for (a, of), (b, to) in itertools.product(enumerate(states), repeat=2):
        moves = [under[a, i, j] for i, j in zip(of, to, strict=True)]
        if isinstance(game, DiscreteGame):
            K[a, b] = np.prod(moves)
        elif sum(i != j for i, j in zip(of, to, strict=True)) == 1:
            K[a, b] = next(r for r, i, j in zip(moves, of, to, strict=True) if i != j)
    pays = np.array([rows[s[0]] @ game.pays(m[a])[s[0]] for a, s in enumerate(states)])
    return states, K, pays


def starting(game, states, n):
    """The law of the names at time 0: n m⁰ players in each state, in any order."""
    whole = tuple(np.rint(n * game.initial).astype(int))
    fits = np.array([tuple(s.count(k) for k in range(len(whole))) == whole for s in states])
    return fits / fits.sum()


@pytest.mark.parametrize("size", [2, 3])
def test_n_players_in_rounds_by_name(size):
    """The counts of the others are enough: the chain of all S³ states has the same cost."""
    game = random_game(5, size=size)
    start = np.array([2, 1, 0])[:size] / 3
    game = DiscreteGame(game.states, game.actions, game.transitions, game.costs, start, 3, 0.8)
    rows = np.random.default_rng(1).dirichlet([1, 1], size=size)
    states, K, pays = joint_chain(game, rows, 3)
    law, total = starting(game, states, 3), 0.0
    for t in range(3):
        total += 0.8**t * law @ pays
        law = law @ K
    costs = n_player_costs(game, Policy(0, rows), 3)
    assert costs.cost == pytest.approx(total, abs=ROUNDING)
    assert costs.best < costs.cost


@pytest.mark.parametrize("horizon", [1.5, None])
def test_n_players_in_continuous_time_by_name(horizon):
    game = random_game(7, size=3, horizon=horizon, kind=ContinuousGame)
    start = np.array([1, 1, 1]) / 3
    game = ContinuousGame(
        game.states, game.actions, game.transitions, game.costs, start, horizon, 0.8
    )
    rows = np.random.default_rng(1).dirichlet([1, 1], size=3)
    states, K, pays = joint_chain(game, rows, 3)
    decay = K - np.diag(K.sum(axis=1)) - 0.8 * np.eye(len(K))
    kept = np.eye(len(K)) - (0 if horizon is None else expm(horizon * decay))
    total = starting(game, states, 3) @ np.linalg.solve(-decay, kept @ pays)
    costs = n_player_costs(game, Policy(0, rows), 3)
    assert costs.cost == pytest.approx(total, abs=1e-8)  # 1e−9 in each step
    # Two pieces of a policy that are equal are one.
    twice = Policy([0, 0.5], [rows, np.where(rows > 2, 1, rows)])
    assert n_player_costs(game, twice, 3) == pytest.approx(tuple(costs), abs=1e-8)


def test_two_pieces_among_n():
    """A change at 0.5, and the best reply costs no more than the policy that is best for ever."""
    game = prisoners_dilemma(0.5)
    late = n_player_costs(game, Policy([0, 0.5], [[[1, 0], [1, 0]], [[0, 1], [1, 0]]]), 4)
    # By hand: until 0.5 all pay 1, then all leave at rate 1.
    after = n_player_costs(game, Policy(0, [[0, 1], [1, 0]]), 4).cost
    first = (1 - np.exp(-0.25)) / 0.5
    assert late.cost == pytest.approx(first + np.exp(-0.25) * after, abs=1e-8)
    assert late.best < late.cost


@pytest.mark.parametrize("kind", [DiscreteGame, ContinuousGame])
def test_newton_system_against_differences(kind):
    """What the linear system says of a change of the residual is the direction that makes it."""
    cells = grid.grid(random_game(3, size=3, choices=3, horizon=4, discount=0.9, kind=kind), 4)
    rng, h, zero = np.random.default_rng(0), 1e-6, np.zeros((1, 3))
    u, d = np.concatenate([rng.normal(size=(4, 3)), zero]), rng.normal(size=(4, 3, 3))
    m = np.concatenate([cells.game.initial[None], rng.dirichlet(np.ones(3), 4)])
    w, ahead = 0.5 + rng.random((4, 3, 3)), 0.3  # of log η
    du, dd, dm = (rng.normal(size=s) for s in ((4, 3), (4, 3, 3), (4, 3)))
    dm -= dm.mean(axis=1, keepdims=True)

    def at(length):
        noise = grid.Mistakes(0.3 * np.exp(length * ahead), w, 0.01)
        moved = (
            u + length * np.concatenate([du, zero]),
            d + length * dd,
            m + length * np.concatenate([zero, dm]),
        )
        return grid.point(cells, *moved, noise), noise

    change = (grid.residual(cells, *at(h)) - grid.residual(cells, *at(-h))) / (2 * h)
    system = grid.linear(cells, *at(0))
    (step,) = system.solve(change - ahead * system.colder)
    found = grid.parts(cells, step, d.shape)
    # Central differences: h² and 1e−16/h, and the condition number of the system.
    for part, direction in zip((found[0][:-1], found[1], found[2][1:]), (du, dd, dm), strict=True):
        assert part == pytest.approx(direction, abs=1e-5)


# --- equilibria -----------------------------------------------------------------------------------
def roads():
    """Choose a road, then pay for the crowd on it: m_A or 2 m_B, equal at m_A = 2/3."""
    return DiscreteGame(
        ["home", "A", "B"],
        ["A", "B"],
        lambda m: [[[0, 1, 0], [0, 0, 1]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2],
        lambda m: [[0, 0], [m[1]] * 2, [2 * m[2]] * 2],
        [1, 0, 0],
        2,
    )


def test_mixed_equilibrium():
    game = roads()
    found = equilibrium(game)
    assert found.policy.at(0)[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-9)
    assert found.cost == pytest.approx(2 / 3, abs=1e-9)
    assert found.exploitability <= 1e-9
    # It is monotone: fictitious play arrives, as 1/k.
    slow = [fictitious_play(game, rounds=k).exploitability for k in (20, 200)]
    assert slow[1] < slow[0] / 5
    assert slow[1] < 0.02
    with pytest.raises(ValueError, match=r"still exploitable by 0\.25"):
        repeated_best_response(game, rounds=20)


def test_where_fictitious_play_stalls():
    game = susceptible_infected()
    assert fictitious_play(game, rounds=300).exploitability > 0.1
    with pytest.raises(ValueError, match="are still exploitable by"):
        repeated_best_response(game, rounds=200)
    found = equilibrium(game)
    assert found.exploitability <= EXPLOITABLE
    assert found.policy.at(0)[0] == pytest.approx([0, 1], abs=1e-6)  # 0.6 are infected
    assert found.policy.at(17)[0] == pytest.approx([1, 0], abs=1e-6)  # nothing comes after it


def test_fictitious_play_averages_players():
    """Of two policies half the crowd each: the average flow of policies that do not interact."""
    rng = np.random.default_rng(4)
    P, c = rng.dirichlet([1, 1], size=(2, 2)), rng.normal(size=(2, 2))
    game = DiscreteGame("AB", "xy", lambda m: P, lambda m: c, [0.3, 0.7], 4)
    answer = best_response(game, uniform(game))
    found = fictitious_play(game, rounds=1)
    half = (mass_flow(game, uniform(game), range(5)) + mass_flow(game, answer.policy, range(5))) / 2
    assert mass_flow(game, found.policy, range(5)) == pytest.approx(half, abs=ROUNDING)
    assert found.cost == pytest.approx((answer.cost + answer.crowd_cost) / 2, abs=ROUNDING)


def test_euler_steps_converge():
    """A policy costs the same in the game and in its Euler steps, up to O(h)."""
    game = sir_vaccination()
    policy = threshold_policy(game, 0.25)
    exact = social_cost(game, policy)
    errors = []
    for steps in (400, 800):
        inner = euler(game, steps)
        scaled = Policy(policy.starts * steps, policy.probabilities)
        errors.append(social_cost(inner, scaled) - exact)
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3), st.sampled_from([3, None]))
@settings(max_examples=25, deadline=None)
def test_exploitability_is_a_gap(seed, size, choices, horizon):
    """≥ 0, and the same if states and actions have other numbers."""
    game = random_game(seed, size, choices, horizon)
    rng = np.random.default_rng(seed + 1)
    rows = rng.dirichlet(np.ones(choices), size=size)
    gap = exploitability(game, Policy(0, rows))
    assert gap >= -ROUNDING
    i, a = rng.permutation(size), rng.permutation(choices)
    back = np.argsort(i)
    other = DiscreteGame(
        [game.states[k] for k in i],
        [game.actions[k] for k in a],
        lambda m: np.asarray(game.transitions(m[back]))[i][:, a][:, :, i],
        lambda m: np.asarray(game.costs(m[back]))[i][:, a],
        game.initial[i],
        horizon,
        0.8,
    )
    assert exploitability(other, Policy(0, rows[i][:, a])) == pytest.approx(gap, abs=ROUNDING)


@given(st.floats(0.01, 100))
@settings(max_examples=5, deadline=None)
def test_unit_of_time(unit):
    """Rates per day or per year: costs stay, times scale."""
    game = sir_vaccination(
        infection=73 * unit,
        recovery=36.5 * unit,
        vaccination=10 * unit,
        infection_cost=36.5 * unit,
        horizon=1 / unit,
    )
    policy = threshold_policy(game, SIR[0][2] / unit)
    assert social_cost(game, policy) == pytest.approx(SIR[0][3], abs=1e-8)
    assert exploitability(game, policy) <= EXPLOITABLE


# --- errors ---------------------------------------------------------------------------------------
def two(**changes):
    """A game of two states."""
    given = {
        "states": "AB",
        "actions": ["stay", "go"],
        "transitions": lambda m: [[[0, 0], [0, 1]], [[0, 0], [0, 0]]],
        "costs": lambda m: [[m[0], m[0]], [0, 0]],
        "initial": [1, 0],
        "horizon": 1,
    }
    return ContinuousGame(**(given | changes))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: two(initial=[1, 1]), "initial has least entry 1 and sum 2"),
        (lambda: two(initial=[1]), r"initial has shape \(1,\): must be \(2,\)"),
        (lambda: two(horizon=-1), "horizon is -1.0: must be > 0"),
        (lambda: two(horizon=None), "discount is 0 and horizon is None"),
        (lambda: two(discount=-1), "discount is -1.0: must be ≥ 0"),
        (lambda: two(transitions=lambda m: np.full((2, 2, 2), -1.0)), r"transitions\(m\)\[0, 0, 1"),
        (lambda: two(transitions=lambda m: [[1]]), r"transitions\(m\) has shape \(1, 1\): must be"),
        (lambda: two(transitions=lambda m: [[1, 2], [3]]), r"transitions\(m\) is no table"),
        (lambda: two(costs=lambda m: [[np.nan, 0], [0, 0]]), r"costs\(m\)\[0, 0\] is nan at m ="),
        (lambda: two(states=""), "states and actions are empty"),
        (lambda: DiscreteGame("A", "x", lambda m: [[[0.9]]], lambda m: [[0]], [1], 3), "sum 1"),
        (lambda: DiscreteGame("A", "x", lambda m: [[[1]]], lambda m: [[0]], [1]), "endless game"),
        (lambda: DiscreteGame("A", "x", lambda m: [[[1]]], lambda m: [[0]], [1], 1.5), "whole"),
        (
            lambda: DiscreteGame("A", "x", lambda m: [[[1]]], lambda m: [[0]], [1], None, 1 - 1e-9),
            "at most 1,000,000",
        ),
        (lambda: Policy([0.5], [[[1]]]), "must begin with 0 and increase"),
        (lambda: Policy([0, 1], [[[1]]]), "with 2 times"),
        (lambda: Policy(0, [[0.5, 0.6]]), r"probabilities\[0, 0\] is \[0.5, 0.6\]: must be"),
        (lambda: exploitability(two(), Policy(0, [[1.0]])), "policy has"),
        (lambda: values(two(), uniform(two()), [2]), r"times are from 2 to 2: must be in \[0, 1\]"),
        (lambda: values(susceptible_infected(), uniform(roads()), [0]), "policy has"),
        (lambda: mass_flow(roads(), uniform(roads()), [0.5]), "whole numbers"),
        (lambda: n_player_gap(sir_vaccination(), uniform(sir_vaccination()), 6), "whole numbers"),
        (
            lambda: n_player_gap(sir_vaccination(), uniform(sir_vaccination()), 1),
            "n_players is 1.0: .* ≥ 2",
        ),
        (lambda: n_player_gap(susceptible_infected(), grim, 50_000), "players would fit"),
        (lambda: n_player_gap(two(), lambda m: [[1, 1], [1, 0]], 2), "strategy"),
        (lambda: threshold_policy(sir_vaccination(), 0.1, state="X"), "state is 'X'"),
        (lambda: threshold_policy(sir_vaccination(), 2), r"time is 2.0: must be in \[0, 1\]"),
        (lambda: euler(sir_vaccination(), 20), "steps is 20: rates to 83 need 83"),
        (lambda: fictitious_play(roads(), rounds=0), "rounds is 0.0: must be a whole number"),
        (lambda: sir_vaccination(0.9, 0.9), "initial has least entry -0.8"),
        (lambda: sir_vaccination(infection=-1), "infection is -1.0"),
        (lambda: prisoners_dilemma(0), "discount is 0.0: must be > 0"),
        (lambda: repeated_prisoners_dilemma(1), "discount is 1.0: must be in"),
        (lambda: susceptible_infected(0), "horizon is 0.0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rates_that_turn_negative_on_the_way():
    """At the start there is nothing wrong; where m_B passes 1/2 there is."""
    game = two(transitions=lambda m: [[[0, 0], [0, 0.5 - m[1]]], [[0, 0], [0, 0]]], horizon=9)
    assert exploitability(game, uniform(game)) > 0
    game = two(transitions=lambda m: [[[0, 1], [0, 0.5 - m[1]]], [[0, 0], [0, 0]]], horizon=9)
    with pytest.raises(ValueError, match=r"transitions\(m\)\[0, 1, 1\] is -.* at m = "):
        exploitability(game, uniform(game))


def test_kinds():
    with pytest.raises(TypeError, match="policy must be a Policy"):
        exploitability(two(), [[1, 0], [1, 0]])
    with pytest.raises(TypeError, match="game must be a ContinuousGame"):
        euler(roads(), 10)


def _arrays(written):
    """The game of the tests below; ``written`` says how its costs are written."""
    move = np.array([[[0.8, 0.2], [0.3, 0.7]], [[0.5, 0.5], [0.1, 0.9]]])
    base = np.array([[1.0, 2.0], [3.0, 0.5]])
    costs = {
        "lists": lambda m: [[base[i, a] * (1 + m[i]) for a in range(2)] for i in range(2)],
        "one m at a time": lambda m: base * (1 + m[:, None]),
        "adds over all m": lambda m: base * (m.sum() + m[:, None]),
        "in a branch": lambda m: base * (1 + m[:, None]) if m[0] > 0 else base,
        "many m, along the last axis": lambda m: np.moveaxis(
            (base.T * (1 + np.moveaxis(m, 0, -1)[..., None, :])), (-1, -2), (0, 1)
        ),
    }[written]
    return lambda horizon: DiscreteGame(
        "AB", "xy", lambda m: move, costs, [0.6, 0.4], horizon=horizon
    )


WRITTEN = ["one m at a time", "adds over all m", "in a branch", "many m, along the last axis"]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 5])
def test_functions_that_know_one_m(written, horizon):
    """With as many steps as states or actions a table for each m looks like one for all of them."""
    half, game, listed = (
        Policy(0, np.full((2, 2), 0.5)),
        _arrays(written)(horizon),
        _arrays("lists")(horizon),
    )
    expected = exploitability(listed, half)
    assert exploitability(game, half) == pytest.approx(expected, abs=ROUNDING)
    both = (values(each, half, [0, horizon]) for each in (game, listed))
    for got, right in zip(*both, strict=True):
        assert np.allclose(got, right, rtol=0, atol=ROUNDING)
    if written != "adds over all m":  # the path looks at m whose sum is not 1
        found, known = equilibrium(game), equilibrium(listed)
        assert found.exploitability == pytest.approx(known.exploitability, abs=EXPLOITABLE)
        assert np.allclose(found.policy.probabilities, known.policy.probabilities, atol=1e-6)


def test_strategies_that_know_one_m():
    game = repeated_prisoners_dilemma(0.9)
    expected = n_player_costs(game, grim, 4)

    def alone(m):
        seen = float(m[1] > 0)
        return np.array([[1 - seen, seen], [1, 0]])

    assert n_player_costs(game, alone, 4) == pytest.approx(expected, abs=ROUNDING)


def test_ready_models_are_asked_for_many_m_at_once():
    """One at a time would be right, but slow."""
    game = susceptible_infected(5)
    exploitability(game, uniform(game))
    assert game._together == {"transitions": True, "costs": True}
