"""Mean field games: how often an equilibrium is found, how good it is, how long it takes.

    python benchmarks/games.py [--monotone 500] [--others 200] [--steps 25] [--days 25]

Prints one line for each of the games in the book and in the tests, then for random games of all
four kinds (up to six states and four actions, by seed) how many were solved, the largest
exploitability, by plain loops apart from the solver, and the median and the longest time.

Claims: all monotone games are solved by the first path, exploitable by less than 1e−8.  With
mfglib, if it is installed: what its fictitious play and online mirror descent reach in the same
time on the game of distances.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_mean_field_equilibria import drawn, two_roads

from alphafair.models.meanfield import games as mfg

STEPS = 200


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


def peer(horizon: int = 15) -> None:
    """The same game in mfglib."""
    from mfglib.alg import FictitiousPlay, OnlineMirrorDescent
    from mfglib.env import Environment

    env = Environment.susceptible_infected(T=horizon - 1)
    for alg in (FictitiousPlay(), OnlineMirrorDescent()):
        _, scores, times = alg.solve(env, max_iter=200, atol=None, rtol=None)
        print(f"mfglib, {alg}: {float(scores[-1]):.1e} in {float(times[-1]):.1f} s")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--monotone", type=int, default=500)
    parser.add_argument("--others", type=int, default=200)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--days", type=int, default=25)
    options = parser.parse_args()
    known(options.days)
    for count, monotone in ((options.monotone, True), (options.others, False)):
        if count:
            random_games(count, options.steps, monotone=monotone)
    if importlib.util.find_spec("mfglib"):
        peer()


if __name__ == "__main__":
    main()
