"""Predict, then allocate: every way to fit a card, on twenty pilots each and on an experiment.

    python benchmarks/predict.py [--seeds 20]

The code is that of the chapter: this script runs the cells of `book/predict.ipynb` that have the
tag "experiment", and then their functions `experiment` and `halving` for each seed.  The chapter
reads what is written here, and runs one seed of each again: `book/predict.csv` (the regret of each
way, for each seed; for Malawi, what it adds) and `book/predict_malawi.csv` (what each way adds in
each village, in the mean over halvings).

Claims: where the card can be right, least squares is best; where it cannot, a richer card is better
than any way of training the poor one.
"""

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np

BOOK = Path(__file__).parent.parent / "book"
SETS = (("right", 0), ("wrong", 0), ("wrong", 2))


def chapter():
    """What the chapter's cells with the tag define."""
    os.chdir(BOOK)
    cells = json.loads((BOOK / "predict.ipynb").read_text())["cells"]
    names = {}
    for cell in cells:
        if "experiment" in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), names)
    return names


def write(path, rows):
    """Rows that begin with the header."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def regrets(names, seeds):
    """Set, α, seed, way and regret."""
    for seed in seeds:
        for kind, alpha in SETS:
            for way, lost in names["experiment"](kind, alpha, seed).items():
                yield kind, alpha, seed, way, f"{lost:.6f}"
        print(f"pilot {seed} done", flush=True)


def malawi(names, halvings):
    """Rows of both tables: means of each halving, and means of each village over the halvings."""
    village = names["village"]
    size = np.bincount(village)
    means = [
        ("Malawi", 0, seed, way, f"{np.nanmean(term):.6f}")
        for seed, terms in halvings.items()
        for way, term in terms.items()
    ]
    by_person = {
        way: np.nanmean([terms[way] for terms in halvings.values()], axis=0) for way in halvings[0]
    }
    table = np.column_stack([np.bincount(village, row) / size for row in by_person.values()])
    rows = [(number, *(f"{value:.6f}" for value in row)) for number, row in enumerate(table)]
    return means, [("village", *by_person), *rows]


def main():
    """Write both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds, names = range(parser.parse_args().seeds), chapter()
    header = ("set", "alpha", "seed", "way", "regret")
    halvings = {seed: names["halving"](seed) for seed in seeds}
    means, villages = malawi(names, halvings)
    write(BOOK / "predict.csv", [header, *regrets(names, seeds), *means])
    write(BOOK / "predict_malawi.csv", villages)


if __name__ == "__main__":
    main()
