"""How long do labels take to become codes, beside `pandas.factorize` and beside reading them once?

    OMP_NUM_THREADS=1 python benchmarks/labels.py [--people 1000000] [--runs 7]

Milliseconds, medians of runs in turn; the last column is the median of the ratios.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from _timing import machine, side_by_side

import alphafair as af


def columns(people: int) -> Iterator[tuple[str, object, Callable[[], object], str]]:
    """Kind of labels, the labels, what to compare with and its name."""
    rng = np.random.default_rng(0)
    for groups in (2, 50, 5000):
        label = rng.integers(0, groups, people)
        kind = np.min_scalar_type(groups - 1)

        def read(label: np.ndarray = label, kind: np.dtype = kind) -> object:
            return label.sum(), label.astype(kind)

        yield f"integers of a small range, K = {groups}", label, read, "read and write"
    for groups in (50, 5000, 100_000, people):
        label = rng.integers(0, 2**62, groups)[rng.integers(0, groups, people)]
        yield f"integers of any range, K = {groups}", label, sort(label), "factorize"
    for groups in (50, 5000):
        names = np.array([f"district {k}" for k in range(groups)])
        text = names[rng.integers(0, groups, people)]
        for kind, label in (
            ("numpy text", text),
            ("objects", text.astype(object)),
            ("a list", text.tolist()),
            ("pandas text", pd.Series(text.tolist())),
            ("categories", pd.Series(pd.Categorical(text.tolist()))),
            ("Arrow text", pa.array(text.tolist())),
        ):
            yield f"{kind}, K = {groups}", label, sort(label), "factorize"


def sort(label: object) -> Callable[[], object]:
    """The same by pandas, which takes neither lists nor columns of Arrow themselves."""
    if isinstance(label, list | pa.Array):
        return lambda: pd.factorize(pd.Series(label), sort=True)
    return lambda: pd.factorize(label, sort=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    print(machine(("numba", "pandas", "pyarrow")))
    print(f"{options.people} labels\n{'':44}{'Groups':>9}{'other':>9}{'ratio':>8}")
    for name, label, other, what in columns(options.people):
        times = side_by_side(options.runs, groups=lambda: af.Groups(label), other=other)  # noqa: B023
        own, beside = (1e3 * float(np.median(x)) for x in times.values())
        ratio = float(np.median(times["groups"] / times["other"]))
        print(f"{name:44}{own:9.2f}{beside:9.2f}{ratio:8.2f}  {what}", flush=True)


if __name__ == "__main__":
    main()
