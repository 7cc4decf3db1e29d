"""How much time and memory does a problem take that is read from a file in chunks?

    python benchmarks/chunks.py [--rows 100000000] [--groups 50] [--folder PLACE]

Claims: `Problem.from_chunks` holds one chunk of 10⁶ rows at a time, so that a file of 2 GB takes
less than 1 GB of memory, and at within = 0 one pass costs little more than reading the file, which
is the unit: ``read`` goes through the same row groups with pyarrow and looks at no number.
``funded doses`` needs no second pass, ``all doses`` makes one.  Every call runs in a process of its
own; its peak is the largest resident set of that process.  numba is loaded and its loops are
compiled before the clock starts.

Found for 10⁸ rows on two cores, of which the package uses one, with the file in the cache of the
system; all doses at within = 0.5 for 2·10⁷ rows:

    read                         0.9 s   0.37 GB
    prices, funded doses         1.4 s   0.41 GB    1.5 × read
    prices, all doses            2.7 s   0.42 GB    3.0 × read, two passes
    within = 0.5, prices         5.1 s   0.44 GB    5.5 × read
    within = 0.5, all doses      2.2 s   0.50 GB    9.3 × read, two passes
    within = 2, prices           5.9 s   0.44 GB    6.4 × read
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _timing import machine, timed

CHUNK = 10**6  # rows
BYTES = 20  # a row: two float64 and one int32
LIMIT = 1e9  # bytes of memory
NAMES = ["benefit", "cost", "group"]
# within, and whether all doses are asked for
CALLS = {
    "read": None,
    "prices, funded doses": (0.0, False),
    "prices, all doses": (0.0, True),
    "within = 0.5, prices": (0.5, False),
    "within = 0.5, all doses": (0.5, True),
    "within = 2, prices": (2.0, False),
}


def write_rows(path: Path, rows: int, groups: int) -> None:
    """Random rows, a chunk in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    schema = pa.schema(zip(NAMES, (pa.float64(), pa.float64(), pa.int32()), strict=True))
    plain: dict[str, Any] = {"compression": "none", "use_dictionary": False}
    with pq.ParquetWriter(path, schema, **plain) as writer:
        for start in range(0, rows, CHUNK):
            size = min(CHUNK, rows - start)
            benefit, cost = rng.lognormal(0, 1, size), rng.uniform(0.5, 2, size)
            group = rng.integers(0, groups, size, dtype=np.int32)
            writer.write_table(pa.table([benefit, cost, group], schema=schema), CHUNK)


def batches(path: str) -> Iterator[Any]:
    """The row groups of the file, one after the other; a buffer would hold the whole file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield from file.iter_batches(CHUNK, columns=NAMES)


def run_here(name: str, path: str, rows: int) -> None:
    """One call; prints its wall time, the peak memory of the process, and the money spent."""
    import alphafair as af

    next(batches(path))
    warm = [(np.ones(CHUNK), np.ones(CHUNK), np.zeros(CHUNK, np.int32))]
    for within in (0, 0.5):
        list(af.Problem.from_chunks(warm, 1.0, within=within).allocate(2).dose_chunks(warm))

    def call() -> float:
        asked = CALLS[name]
        if asked is None:
            return float(sum(batch.num_rows for batch in batches(path)))
        within, all_doses = asked
        budget = float(rows)
        problem = af.Problem.from_chunks(lambda: batches(path), budget, within=within)
        a = problem.allocate(2)
        if not all_doses:
            if not within:
                a.funded_doses()
            return budget
        cost: dict[str, np.ndarray] = {}

        def passing() -> Iterator[Any]:
            for batch in batches(path):
                cost["now"] = batch["cost"].to_numpy()
                yield batch

        return sum(float(dose[:, 0] @ cost["now"]) for dose in a.dose_chunks(passing()))

    spent_time, spent = timed(call)
    unit = 1 if sys.platform == "darwin" else 1024
    print(
        json.dumps([spent_time, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, spent])
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**8)
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--folder", help="of the file, which is deleted at the end")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    size = parser.parse_args()
    if size.run:
        run_here(*size.run[:2], int(size.run[2]))
        return
    with tempfile.TemporaryDirectory(dir=size.folder) as folder:
        if shutil.disk_usage(folder).free < 2 * BYTES * size.rows:
            raise SystemExit(f"{folder} has no room for {BYTES * size.rows / 1e9:g} GB")
        path = Path(folder, "rows.parquet")
        write_rows(path, size.rows, size.groups)
        print(machine(["pyarrow", "numba"]))
        print(f"{size.rows} rows, {size.groups} groups, {path.stat().st_size / 1e9:.1f} GB")
        read = 0.0
        for name in CALLS:
            command = [sys.executable, __file__, "--run", name, str(path), str(size.rows)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            spent_time, peak, spent = json.loads(done.stdout)
            read = read or spent_time
            line = f"{spent_time:7.1f} s {spent_time / read:6.1f} × read {peak / 1e9:7.2f} GB"
            print(f"{name:26s}{line}", flush=True)
            if abs(spent / size.rows - 1) > 1e-9:
                raise SystemExit(f"{name}: {spent} spent of {size.rows}")
            if peak > LIMIT:
                raise SystemExit(f"{name}: more than {LIMIT / 1e9:g} GB")


if __name__ == "__main__":
    main()
