"""Time and memory of an allocation against the number of people, and against reading the inputs.

    python benchmarks/speed.py [--out book/speed.csv] [--only WHO ...] [--treatments 1 4]

Who: ``ours``, `allocate` with integers as labels; ``numpy``, the same without compiled loops
(ALPHAFAIR_NUMBA=0); ``CVXPY``, through `alphafair.reference.solve_cvxpy` with Clarabel; and,
forward and backward, ``layer``, the one of the package, ``DIFFCP`` and ``MOREAU``, cvxpylayers with
these solvers, set up and compiled before the clock starts.  Each goes on from N = 10² by factors of
ten until one call takes a tenth of ``--limit``, or the size that it is known not to survive.
Every size of everybody runs in a process of its own, on one thread.  Its peak memory is that of the
process over what it was before the first call, with inputs made and libraries loaded.

``read`` is ``b.sum() + c.sum()``, and ``scan`` is `allocate` with `Groups`, over T and K: the two
take turns in one process, so that a busy machine disturbs both, and their memory is not asked for.
Every run becomes a row: who, persons, treatments, groups, round, seconds, MB.

Claim: ours allocates to 10⁷ people in less time than CVXPY takes for 10³.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _timing import machine, side_by_side, timed, write_runs

HERE = Path(__file__).parent
HEADER = ("who", "persons", "treatments", "groups", "round", "seconds", "MB")
BUDGET, ALPHA = 1e6, 2.0
ROUNDS = 5
GROUPS = {"layer": 2, "DIFFCP": 2, "MOREAU": 2}  # and 50 for all others
LARGEST = {"numpy": 10**7, "ours": 10**7, "layer": 10**7, "CVXPY": 10**5}
LARGEST |= {"DIFFCP": 1000, "MOREAU": 1000}  # CVXPY takes a minute to compile a layer of 10⁴
WARM = {
    "ours": 10**5,
    "layer": 10**5,
}  # persons of the first call, which loads numba if it is large
ROOFLINE_ROUNDS = 9
ROOFLINE = [(10**6, t, k) for t in (1, 2, 4, 8) for k in (2, 50, 5000, 10**6)]


def tables(persons: int, treatments: int, groups: int) -> tuple[np.ndarray, ...]:
    """Benefits, costs and labels."""
    rng = np.random.default_rng(0)
    shape = (persons, treatments)
    benefit, cost = 1 + 4 * rng.random(shape), 0.2 + 0.8 * rng.random(shape)
    label = np.arange(persons) % groups
    return benefit, cost, rng.permutation(label)


def call_of(who: str, persons: int, treatments: int, groups: int) -> Callable[[], Any]:
    """What is timed."""
    import alphafair as af

    benefit, cost, label = tables(persons, treatments, groups)
    if who in ("ours", "numpy"):
        return lambda: af.allocate(benefit, cost, label, BUDGET, ALPHA)
    labels = af.Groups(label)
    if who == "CVXPY":
        from alphafair.reference import solve_cvxpy

        problem = af.Problem(benefit, cost, labels, BUDGET)
        return lambda: solve_cvxpy(problem, ALPHA, solver="CLARABEL")
    import torch
    from layer import pull_back, solver_layer

    from alphafair import layer

    torch.set_num_threads(1)
    b, c = torch.tensor(benefit), torch.tensor(cost)
    cotangent = torch.tensor(np.random.default_rng(1).random(benefit.shape))
    if who == "layer":
        return lambda: pull_back(
            lambda b, c: layer.allocate(b, c, labels, BUDGET, ALPHA), b, c, cotangent
        )
    solve = solver_layer(who, labels, treatments, who == "DIFFCP")
    return lambda: pull_back(solve, b[None], c[None], cotangent[None])


def resident(peak: bool = False) -> float:
    """MB that this process holds, or has held at most (Linux)."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def run_here(who: str, persons: int, treatments: int, groups: int) -> None:
    """One size in this process; prints seconds of each round and the memory of the first."""
    call_of(who, min(persons, WARM.get(who, 100)), treatments, groups)()  # loads what loads once
    call = call_of(who, persons, treatments, groups)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident()
    first, _ = timed(call)
    memory = resident(peak=True) - before
    rounds = [timed(call)[0] for _ in range(ROUNDS)] if first < 1 else [first]
    print(json.dumps([rounds, max(memory, 0.0)]))


def runs_of(who: str, persons: int, treatments: int, groups: int) -> list[tuple[Any, ...]]:
    """The same in a process of its own; rows of the table, none where it fails."""
    numba = {"ALPHAFAIR_NUMBA": "0"} if who == "numpy" else {}
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, __file__, "--run", who, str(persons), str(treatments), str(groups)]
    done = subprocess.run(
        command, env=os.environ | one | numba, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["killed"])[-1]
        print(f"{who:8s}{persons:9d} × {treatments} {groups:8d}   failed: {said}", flush=True)
        return []
    rounds, memory = json.loads(done.stdout)
    print(
        f"{who:8s}{persons:9d} × {treatments} {groups:8d}{1e3 * np.median(rounds):12.3f} ms"
        f"{memory:9.1f} MB",
        flush=True,
    )
    return [(who, persons, treatments, groups, turn, s, memory) for turn, s in enumerate(rounds)]


def roofline() -> list[tuple[Any, ...]]:
    """Reading and `allocate` in turn."""
    import alphafair as af

    os.environ["ALPHAFAIR_THREADS"] = "1"
    rows: list[tuple[Any, ...]] = []
    for persons, treatments, groups in ROOFLINE:
        benefit, cost, label = tables(persons, treatments, groups)
        labels = af.Groups(label)
        read, scan = side_by_side(
            ROOFLINE_ROUNDS,
            read=lambda b=benefit, c=cost: b.sum() + c.sum(),
            scan=lambda b=benefit, c=cost, g=labels: af.allocate(b, c, g, BUDGET, ALPHA),
        ).values()
        pace = (benefit.nbytes + cost.nbytes) / 1e9
        print(
            f"T = {treatments}, K = {groups:7d}: read {pace / np.median(read):5.1f} GB/s, "
            f"allocate {pace / np.median(scan):5.1f} GB/s, {np.median(scan / read):6.2f} × read",
            flush=True,
        )
        for turn, pair in enumerate(zip(read, scan, strict=True)):
            for who, spent in zip(("read", "scan"), pair, strict=True):
                rows.append((who, persons, treatments, groups, turn, float(spent), ""))
    return rows


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    everybody = ("ours", "numpy", "CVXPY", "layer", "DIFFCP", "MOREAU", "roofline")
    parser.add_argument("--only", nargs="+", default=everybody, choices=everybody)
    parser.add_argument("--treatments", type=int, nargs="+", default=(1, 4))
    parser.add_argument("--out", type=Path, help="rows of others that it has are kept")
    parser.add_argument("--limit", type=float, default=10, help="seconds that a call may take")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        who, *size = options.run
        run_here(who, *map(int, size))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    print(machine(["numba", "cvxpy", "clarabel", "torch", "cvxpylayers", "diffcp", "moreau"]))
    rows: list[tuple[Any, ...]] = []
    for who in options.only:
        if who == "roofline":
            rows += roofline()
            save(options.out, rows)
            continue
        for treatments in (1,) if who in GROUPS else options.treatments:
            persons = 100
            while persons <= LARGEST[who]:
                found = runs_of(who, persons, treatments, GROUPS.get(who, 50))
                rows += found
                save(options.out, rows)
                if not found or found[0][5] > options.limit / 10:
                    break
                persons *= 10


def save(path: Path | None, rows: list[tuple[Any, ...]]) -> None:
    """Write these rows, and keep what the file has of other sides and other numbers T."""
    if path is None:
        return
    now = {(row[0], str(row[2])) for row in rows}
    kept: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [row for row in list(csv.reader(file))[1:] if (row[0], row[2]) not in now]
    write_runs(path, HEADER, [*kept, *rows])


if __name__ == "__main__":
    main()
