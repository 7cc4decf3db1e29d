"""Run every benchmark and write what it found beside what it claims, into RESULTS.md.

    python benchmarks/run.py [--quick] [--out benchmarks/RESULTS.md]

Each script runs in a process of its own, on one thread, and gets a heading, the paragraph of its
docstring that says what it claims, and its table.  ``--quick`` leaves out what takes minutes and
makes some tables shorter: see `SLOW` and `SHORT`.  `OF_CHAPTERS` is left out in any case.  A script
that fails, or that runs into `LIMIT`, is said so with the last line of what it wrote to stderr; the
others still run, and the exit status is 1.
"""

import argparse
import ast
import datetime
import inspect
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _timing import machine

HERE = Path(__file__).parent
PACKAGES = ("scipy", "numba", "cvxpy", "clarabel", "torch", "cvxpylayers", "diffcp", "moreau")
THREADS = ("ALPHAFAIR", "OMP", "OPENBLAS", "MKL", "NUMBA")  # whoever asks for a number of them
LIMIT = 1800  # seconds that one script may take

# What never runs here, and why: call it by itself, and then execute the chapter again.
OF_CHAPTERS: Mapping[str, str] = {
    "groundtruth": "adds to `book/ground_truth.csv`, which a chapter reads",
    "predict": "writes `book/predict.csv`, which a chapter reads, with the code of that chapter",
}
# What --quick leaves out, and why.
SLOW: Mapping[str, str] = {
    "chunks": "writes and reads a file of 10⁸ rows",
    "fast_product": "products of 8192 rows, five times",
    "frames": "writes a file of 2·10⁷ rows and goes through it some fifty times",
    "games": "700 random games, and the learners of another package to their time limit",
    "speed": "goes on to the size at which each solver takes ten seconds",
}
# What --quick makes shorter: the same script, with these arguments.
SHORT: Mapping[str, Sequence[str]] = {
    "horizon": ("--sizes", "10x20", "20x50"),
    "indices": ("--states", "500", "1000"),
    "learning": ("--runs", "3"),
    "meanfield": ("--sizes", "20", "--objects", "10", "--large", "100"),
    "strategic": ("--agents", "300", "--large", "3000", "--repeats", "3"),
}


@dataclass(frozen=True)
class Run:
    """What one script printed, how long it took, and, if it failed, its last words."""

    script: Path
    arguments: Sequence[str]
    output: str
    seconds: float
    failure: str = ""

    def section(self) -> str:
        """As it stands in the file: a heading, the claim, the table."""
        document = inspect.cleandoc(ast.get_docstring(ast.parse(self.script.read_text())) or "")
        paragraphs = document.split("\n\n")
        claims = [text for text in paragraphs if text.startswith("Claim")]
        command = " ".join(("python", f"benchmarks/{self.script.name}", *self.arguments))
        parts = [f"## {paragraphs[0].removesuffix('.')}", *claims]
        parts.append(f"`{command}`, {self.seconds:.0f} seconds")
        if self.failure:
            parts.append(f"**Failed:** {self.failure}")
        parts.append(textwrap.indent(self.output.rstrip() or "(no table)", "    "))
        return "\n\n".join(parts)


def run(script: Path, arguments: Sequence[str] = (), limit: float = LIMIT) -> Run:
    """Run a script to its end, or to its limit."""
    one = {f"{name}_NUM_THREADS": "1" for name in THREADS} | {"ALPHAFAIR_THREADS": "1"}
    command = [sys.executable, str(script), *arguments]
    environment = os.environ | one | {"TQDM_DISABLE": "1"}
    start = time.perf_counter()
    failure = ""
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit
        )
        output = done.stdout
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            failure = said[-1].strip()
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        failure = f"not through after {limit:g} seconds"
    return Run(script, arguments, output, time.perf_counter() - start, failure)


def page(runs: Sequence[Run], left_out: Mapping[str, str]) -> str:
    """The whole file."""
    today = datetime.date.today().isoformat()
    parts = [
        "# What the benchmarks found",
        f"{today}; {machine(PACKAGES)}.",
        "Written by `make bench`. Each table stands under what its script claims, as it was"
        " printed. All ran on one thread, unless a column says otherwise.",
    ]
    if left_out:
        reasons = "\n".join(f"- `{name}.py`: {why}" for name, why in left_out.items())
        parts.append(f"Left out, see `benchmarks/run.py`:\n\n{reasons}")
    return "\n\n".join([*parts, *(one.section() for one in runs)]) + "\n"


def main(folder: Path = HERE, given: Sequence[str] | None = None) -> int:
    """Run, write, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    parser.add_argument("--out", type=Path, default=folder / "RESULTS.md")
    options = parser.parse_args(given)
    os.environ["OMP_NUM_THREADS"] = "1"  # as the line about the machine says
    skip = [Path(__file__).name, "_timing.py"]
    scripts = [path for path in sorted(folder.glob("*.py")) if path.name not in skip]
    reasons = OF_CHAPTERS | SLOW if options.quick else OF_CHAPTERS
    left_out = {s.stem: reasons[s.stem] for s in scripts if s.stem in reasons}
    runs = []
    for script in scripts:
        if script.stem in left_out:
            continue
        print(f"{script.name:20s}", end=" ", flush=True)
        runs.append(run(script, SHORT.get(script.stem, ()) if options.quick else ()))
        print(f"{runs[-1].seconds:6.0f} s  {runs[-1].failure or 'done'}", flush=True)
    options.out.write_text(page(runs, left_out))
    print(f"written: {options.out}")
    return int(any(one.failure for one in runs))


if __name__ == "__main__":
    sys.exit(main())
