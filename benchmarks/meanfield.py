"""Refined mean fields: time against rmftool, in one run.

    python benchmarks/meanfield.py [--sizes 20 50] [--objects 10 20] [--repeats 3] [--large 500]

Needs rmftool 0.5, which asks for sympy and matplotlib without saying so.

Claims: at d = 50 the steady state takes less than a fiftieth of the time and the transient less
than a tenth, by far for the ready models, whose rates have derivatives in closed form; where torch
has to differentiate the rates it is 40 to 80 times and 10 to 40 times.  d = 500 is through in less
than a minute and 4 GB.

Every ratio is a median over repeats in which the sides alternate, so that a busy machine disturbs
both; calls are warm, what the first call costs is measured in fresh processes.  Both sides return
V; in brackets the largest difference of V.  The order-1 transient of rmftool's `DDPP` fails in
version 0.5 (a later import shadows its drift); the benchmark gives it back what it means.
Transients are at 11 times up to 10; rmftool gives 1000 times, at no cost: it interpolates.
"""

import argparse
import contextlib
import io
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import rmftool
import torch
from refinedRefined_transientRegime import drift_r_vector  # rmftool puts it on the path
from rmftool import population_processes as peer

from alphafair.models.meanfield import (
    Heterogeneous,
    Population,
    random_cache,
    steady_state,
    supermarket,
    transient,
)

LOAD, END = 0.9, 10.0
TIMES = np.linspace(0, END, 11)
HETEROGENEOUS_DRIFT = peer.drift_r_vector


def seconds(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Wall time and value of one call."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # the peer reports as it goes
        value = call()
    return time.perf_counter() - start, value


def in_torch(d: int) -> Population:
    """The supermarket model with rates that torch differentiates."""

    def rates(x: torch.Tensor) -> torch.Tensor:
        wide = torch.cat([torch.ones(1, dtype=x.dtype), x, torch.zeros(1, dtype=x.dtype)])
        return torch.cat([LOAD * (wide[:-2] ** 2 - wide[1:-1] ** 2), wide[1:-1] - wide[2:]])

    return Population(np.vstack([np.eye(d), -np.eye(d)]), rates, start=np.zeros(d))


def queues(d: int) -> rmftool.DDPP:
    """The same model of the peer."""
    model = rmftool.DDPP()
    for i in range(d):
        e = np.eye(d)[i]
        before = (lambda x, i=i: x[i - 1]) if i else (lambda x: 1)
        after = (lambda x, i=i: x[i + 1]) if i + 1 < d else (lambda x: 0)
        model.add_transition(e, lambda x, i=i, a=before: LOAD * (a(x) ** 2 - x[i] ** 2))
        model.add_transition(-e, lambda x, i=i, b=after: x[i] - b(x))
    model.set_initial_state(np.zeros(d))
    return model


def infection(n: int) -> tuple[Heterogeneous, rmftool.HetPP]:
    """Who is infected by all, and recovers, at her own rates."""
    prone, recovery = np.linspace(1, 3, n), np.linspace(0.5, 1.5, n)
    start = np.tile([0.8, 0.2], (n, 1))

    def rates(z: torch.Tensor) -> torch.Tensor:
        hit = (z[..., 0, 1] + 0.1) * torch.tensor(prone)
        return torch.stack([hit, 0 * hit + torch.tensor(recovery)], -1)

    A, B = np.zeros((n, 2, 2)), np.zeros((n, n, 2, 2, 2, 2))
    A[:, 0, 1], A[:, 1, 0] = 0.1 * prone, recovery
    B[:, :, 0, 1, 1, 1] = prone[:, None] / n * (1 - np.eye(n))
    other = rmftool.HetPP()
    other.add_rate_tensors(A, B)
    other.set_initial_state(start)
    return Heterogeneous([(0, 1), (1, 0)], rates, objects=n, start=start), other


def cache(n: int) -> tuple[object, rmftool.HetPP, np.ndarray]:
    """RANDOM(m) with two lists, and a state to start from."""
    popularity, size = np.arange(1, n + 1) ** -0.5, 3 * n // 10
    B = np.zeros((n, n, 3, 3, 3, 3))
    for s in (1, 2):
        B[:, :, s - 1, s, s, s - 1] = popularity[:, None] / size * (1 - np.eye(n))
    start = np.eye(3)[np.repeat([2, 1, 0], [size, size, n - 2 * size])]
    other = rmftool.HetPP()
    other.add_rate_tensors(np.zeros((n, 3, 3)), B)
    other.set_initial_state(start)
    return random_cache(popularity, [size, size]), other, start


def peer_steady(model: rmftool.DDPP) -> np.ndarray:
    return np.asarray(model.meanFieldExpansionSteadyState(order=1)[1])


def peer_transient(model: rmftool.DDPP) -> np.ndarray:
    own = isinstance(model, rmftool.HetPP)
    peer.drift_r_vector = HETEROGENEOUS_DRIFT if own else drift_r_vector
    return np.asarray(model.meanFieldExpansionTransient(order=1, time=END)[2][-1])


def compare(
    what: str, repeats: int, mine: Callable[[], np.ndarray], other: Callable[[], np.ndarray]
) -> None:
    """One line of the table."""
    mine()
    rounds = [(seconds(mine), seconds(other)) for _ in range(repeats)]
    ratio = np.median([theirs[0] / ours[0] for ours, theirs in rounds])
    (own, V), (slow, W) = rounds[0]
    gap = np.abs(np.ravel(V) - np.ravel(W)).max()
    print(f"{what:42s} {1e3 * own:9.1f} ms   rmftool {slow:8.2f} s   × {ratio:7.0f} ({gap:.0e})")
    sys.stdout.flush()


def fresh(code: str) -> str:
    """What a new process prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def first_calls() -> None:
    """What the first call costs, closed form and torch."""
    code = (
        "import time; from alphafair.models.meanfield import *; start = time.perf_counter(); "
        "steady_state({}); first = time.perf_counter(); steady_state({}); "
        "print(f'{{first - start:.2f}} s, then {{time.perf_counter() - first:.3f}} s')"
    )
    for name, model in (("closed form", "supermarket(0.9)"), ("torch", "sis(2, 1, source=0.5)")):
        print(f"first steady state in a process, {name}: {fresh(code.format(model, model))}")


def large(d: int) -> None:
    """The steady state of many dimensions; memory is the peak of this process."""
    for name, model in (("closed form", supermarket(LOAD, buffer=d)), ("torch", in_torch(d))):
        spent, _ = seconds(lambda model=model: steady_state(model).correction)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"d = {d}, {name}: {spent:.1f} s, peak {peak:.2f} GB")


def queue_table(d: int, repeats: int) -> None:
    """One population, in closed form and by torch."""
    other, zero = queues(d), np.zeros(d)
    for name, model in (("", supermarket(LOAD, buffer=d)), (" in torch", in_torch(d))):
        compare(
            f"queues{name}, d = {d}, steady",
            repeats,
            lambda model=model: steady_state(model).correction,
            lambda: peer_steady(other),
        )
        compare(
            f"queues{name}, d = {d}, transient",
            repeats,
            lambda model=model: transient(model, zero, TIMES).correction[-1],
            lambda: peer_transient(other),
        )


def object_table(n: int, repeats: int) -> None:
    """Objects that differ: rates by torch, and the cache."""
    people, peers = infection(n)
    begin = people.start.reshape(people.shape)
    for name, model, other, start in (("infection", people, peers, begin), ("cache", *cache(n))):
        compare(
            f"{name}, n = {n}, steady",
            repeats,
            lambda model=model: steady_state(model).correction,
            lambda other=other: peer_steady(other),
        )
        compare(
            f"{name}, n = {n}, transient",
            repeats,
            lambda model=model, start=start: transient(model, start, TIMES).correction[-1],
            lambda other=other: peer_transient(other),
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[20, 50])
    parser.add_argument("--objects", type=int, nargs="*", default=[10, 20])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", type=int, default=500)
    options = parser.parse_args()
    first_calls()
    large(options.large)
    for d in options.sizes:
        queue_table(d, options.repeats)
    for n in options.objects:
        object_table(n, options.repeats)


if __name__ == "__main__":
    main()
