"""How much time and memory does DuckDB need to allocate over 2·10⁷ rows of a Parquet file?

    python benchmarks/frames.py [--rows 20000000] [--groups 50]

Claims: `alphafair.frames.allocate` never holds the rows in Python, so that reading the file,
allocating and writing the file with the doses stays below 2 GB of memory; without ``person`` and
without caps it takes a small multiple of copying the file, and with caps, where passes over all
items search for the margin, a larger one.  Every call runs in a process of its own, with DuckDB as
it comes (no limit of memory or threads); its peak is the largest resident set of that process, its
time runs from opening the file to closing the result.  The two units: ``read`` is
``select max(uplift / cost) … group by district``, ``copy`` writes the same rows with a constant
column ``dose``.

Found on two cores that others used as well, with DuckDB 2.0 (passes are those over the items; a few
more take the census and write the doses):

    copy the file with a dose           4 s   1.2 GB
    allocate                            5 s   0.4 GB
    allocate, person                   13 s   1.5 GB
    allocate, within = 0.5             14 s   0.5 GB
    allocate, person, within = 0.5     53 s   1.6 GB
    allocate, cap                      39 s   0.6 GB   5 passes
    allocate, cap, within = 0.5       172 s   0.5 GB   5 passes; 60 s of processor time
    allocate, cap, person              38 s   1.6 GB   5 passes
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _timing import machine, seconds

CALLS = {
    "read the columns once": None,
    "copy the file with a dose": None,
    "allocate": {},
    "allocate, person": {"person": "person"},
    "allocate, within = 0.5": {"within": 0.5},
    "allocate, person, within = 0.5": {"person": "person", "within": 0.5},
    "allocate, cap": {"cap": "cap"},
    "allocate, cap, within = 0.5": {"cap": "cap", "within": 0.5},
    "allocate, cap, person": {"cap": "cap", "person": "person"},
}
LIMIT = 2e9  # bytes
BUDGET = 0.05  # money a row; all caps together take some ten times that


class Passes(logging.Handler):
    """How many passes over the items `alphafair.frames` reports; 0 where it needs no search."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the number."""
        Passes.count = int(record.getMessage().split()[0])


def write_rows(path: Path, rows: int, groups: int, chunk: int = 10**6) -> None:
    """Two rows a person, of one group; a chunk in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    names = {"person": pa.int64(), "district": pa.int32(), "uplift": pa.float64()}
    schema = pa.schema({**names, "cost": pa.float64(), "cap": pa.float64()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, chunk):
            person = np.arange(start, min(start + chunk, rows)) // 2
            district = (person * 7919 % groups).astype(np.int32)
            uplift = rng.normal(1, 1, person.size)
            cost = rng.uniform(0.5, 2, person.size)
            cap = rng.uniform(0.1, 1, person.size)
            writer.write_table(pa.table([person, district, uplift, cost, cap], schema=schema))


def run_here(name: str, source: str, target: str, budget: float) -> None:
    """One call; prints its wall time, the peak memory of the process, and the money spent."""
    import duckdb

    from alphafair import frames

    def call() -> None:
        rows = duckdb.read_parquet(source)
        if name.startswith("read"):
            rows.aggregate("district, max(uplift / cost)").fetchall()
        elif name.startswith("copy"):
            rows.select("*, 1.0::double as dose").write_parquet(target)
        else:
            columns = {"benefit": "uplift", "cost": "cost", "group": "district"}
            result = frames.allocate(rows, **columns, budget=budget, alpha=2, **CALLS[name])
            result.write_parquet(target)

    logger = logging.getLogger("alphafair.frames")
    logger.setLevel(logging.INFO)
    logger.addHandler(Passes())
    spent_time = seconds(call, warm_up=False)  # as a new process meets it
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    spent = None
    if name.startswith("allocate"):  # after the clock has stopped
        query = "sum(dose * cost), count(*)"
        [spent] = duckdb.read_parquet(target).aggregate(query).fetchall()
    print(json.dumps([spent_time, peak, spent, Passes.count]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2 * 10**7)
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    size = parser.parse_args()
    if size.run:
        run_here(*size.run[:3], float(size.run[3]))
        return
    budget = BUDGET * size.rows
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "rows.parquet"), Path(folder, "doses.parquet")
        write_rows(source, size.rows, size.groups)
        megabytes = source.stat().st_size / 1e6
        print(machine(["duckdb", "narwhals"]))
        print(f"{size.rows} rows, {size.groups} groups, {megabytes:.0f} MB of Parquet; DuckDB")
        found: dict[str, float] = {}
        too_much: list[str] = []
        for name in CALLS:
            command = [sys.executable, __file__, "--run", name, str(source), str(target)]
            command.append(str(budget))
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            spent_time, peak, spent, passes = json.loads(done.stdout)
            found[name] = spent_time
            read, copy = (found.get(key, spent_time) for key in list(CALLS)[:2])
            print(
                f"{name:32s}{spent_time:7.1f} s {spent_time / read:7.1f} × read "
                f"{spent_time / copy:6.1f} × copy {peak / 1e9:7.2f} GB"
                f"{f'{passes:4d} passes over the items' if passes else ''}",
                flush=True,
            )
            if spent is not None and (spent[1] != size.rows or abs(spent[0] / budget - 1) > 1e-9):
                raise SystemExit(f"{name}: wrote {spent[1]} rows that cost {spent[0]}")
            if peak > LIMIT:
                too_much.append(name)
        if too_much:
            raise SystemExit(f"more than {LIMIT / 1e9:g} GB: {'; '.join(too_much)}")


if __name__ == "__main__":
    main()
