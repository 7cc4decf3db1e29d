"""Mean field games: how often an equilibrium is found, how good it is, how long it takes.

    python benchmarks/games.py [--monotone 500] [--others 200] [--steps 25] [--days 25]

Prints one line for each of the games in the book and in the tests, then for random games of all
four kinds (up to six states and four actions, by seed) how many were solved, the largest
exploitability, by plain loops apart from the solver, and the median and the longest time.

Claims: all monotone games are solved by the first path, exploitable by less than 1e−8.  With
mfglib, if it is installed: on its own games, the time to an exploitability of 1e−6 by its score.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_mean_field_equilibria import drawn, two_roads

from alphafair.models.meanfield import games as mfg

STEPS = 200
PEER = 1e-6  # exploitability


def line(name: str, solve: Callable[[], mfg.Equilibrium]) -> float | None:
    """Solve one game and say how it went; the time, or None."""
    start = time.perf_counter()
    try:
        found = solve()
    except mfg.NoEquilibriumError as error:
        print(f"{name:34s} none found, best exploitable by {error.best.exploitability:.1e}")
        return None
    spent = time.perf_counter() - start
    points = found.history.size
    print(f"{name:34s} {abs(found.exploitability):8.1e}  {points:4d} points  {spent:7.2f} s")
    sys.stdout.flush()
    return spent


def known(days: int) -> None:
    """The games of the book and of the tests."""
    for delta in (0.5, 0.7, 0.8, 0.9, 0.95):
        game = two_roads(discount=delta)
        line(f"two roads for ever, δ = {delta}", lambda g=game: mfg.equilibrium(g))
    line("with a toll", lambda: mfg.equilibrium(two_roads(discount=0.9, toll=0.1)))
    for steps in (50, 100, 200, 400):
        game = two_roads(mfg.ContinuousGame, ratio=3.0, rate=2.0, horizon=4)
        for grid in (True, False):
            where = "on the grid" if grid else "off it"
            line(
                f"continuous, {steps} steps, {where}",
                lambda g=game, n=steps, k=grid: mfg.equilibrium(g, steps=n, on_grid=k),
            )
    game = two_roads(mfg.ContinuousGame, discount=1.0)
    line("continuous, for ever", lambda: mfg.equilibrium(game, steps=STEPS, on_grid=True))
    line("epidemic", lambda: mfg.equilibrium(mfg.sir_vaccination(), steps=STEPS))
    for n in range(2, days + 1):
        line(f"distances, {n} days", lambda n=n: mfg.equilibrium(mfg.susceptible_infected(n)))


def random_games(count: int, steps: int, *, monotone: bool) -> None:
    """How many of them are solved."""
    times, gaps, lost = [], [], []
    for seed in range(count):
        game, start = drawn(seed, monotone=monotone), time.perf_counter()
        attempts = 1 if monotone else 20
        try:
            found = mfg.equilibrium(game, steps=steps, attempts=attempts, on_grid=True)
            gaps.append(abs(found.exploitability))
        except mfg.NoEquilibriumError:
            lost.append(seed)
        times.append(time.perf_counter() - start)
    print(
        f"{count} {'monotone' if monotone else 'other'} games: {len(gaps)} solved, exploitable by "
        f"{max(gaps, default=np.nan):.1e} at most; median {np.median(times):.2f} s, longest "
        f"{max(times):.1f} s" + (f"; not solved: {lost}" if lost else "")
    )
    sys.stdout.flush()


def ours(env: Any) -> mfg.DiscreteGame:
    """A game of mfglib whose rewards and transitions depend on states only, and not on the time.

    Its players are paid at times 0 … T, so that its horizon is one step longer than T.
    """
    import torch

    states, actions = env.n_states, env.n_actions

    def transitions(m: np.ndarray) -> np.ndarray:
        crowd = torch.as_tensor(m)[:, None].repeat(1, actions) / actions
        rows = env.prob(0, crowd).numpy().transpose(1, 2, 0)
        return rows / rows.sum(axis=-1, keepdims=True)

    def costs(m: np.ndarray) -> np.ndarray:
        crowd = torch.as_tensor(m)[:, None].repeat(1, actions) / actions
        return -env.reward(0, crowd).numpy()

    return mfg.DiscreteGame(
        list(range(states)), list(range(actions)), transitions, costs, env.mu0.numpy(), env.T + 1
    )


def peer(seconds: float) -> None:
    """Games of mfglib in both packages: time to an exploitability of 1e−6, or how far it came."""
    import torch
    from mfglib import alg
    from mfglib.env import Environment
    from mfglib.scoring import exploitability_score

    torch.set_default_dtype(torch.float64)
    for name, env in {
        "left or right": Environment.left_right(),
        "rock, paper, scissors": Environment.rock_paper_scissors(T=10),
        "distances, 15 days": Environment.susceptible_infected(T=14),
        "distances, 50 days": Environment.susceptible_infected(T=49),
        "beach bar": Environment.beach_bar(),
    }.items():
        game, start = ours(env), time.perf_counter()
        found = mfg.equilibrium(game)
        spent = time.perf_counter() - start
        rows = torch.as_tensor(found.policy.at(np.arange(env.T + 1)))
        score = float(exploitability_score(env, rows))
        print(f"{name}: ours {score:.1e} in {spent:.2f} s, as mfglib scores it")
        for method in (
            alg.FictitiousPlay(),
            alg.OnlineMirrorDescent(),
            alg.PriorDescent(),
            alg.OccupationMeasureInclusion(),
            alg.MFOMO(),
        ):
            rounds, scores, times = 50, [1.0], [0.0]
            while min(scores) > PEER and times[-1] < seconds and rounds < 1e5:
                _, scores, times = method.solve(env, max_iter=rounds, atol=None, rtol=None)
                rounds *= 4
            there = np.flatnonzero(np.array(scores) <= PEER)
            label = type(method).__name__
            if there.size:
                print(f"    {label:28s} {PEER:.0e} in {times[there[0]]:.2f} s")
            else:
                print(f"    {label:28s} {min(scores):.1e} after {times[-1]:.1f} s")
            sys.stdout.flush()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--monotone", type=int, default=500)
    parser.add_argument("--others", type=int, default=200)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--days", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=20, help="for each method of mfglib")
    options = parser.parse_args()
    known(options.days)
    for count, monotone in ((options.monotone, True), (options.others, False)):
        if count:
            random_games(count, options.steps, monotone=monotone)
    if importlib.util.find_spec("mfglib"):
        peer(options.seconds)


if __name__ == "__main__":
    main()
