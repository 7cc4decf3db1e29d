"""What the picture of the appendix on speed must say, from the file of all runs."""

import csv
import statistics
from pathlib import Path

RUNS = Path(__file__).parents[2] / "book" / "speed.csv"


def milliseconds(seconds):
    return f"{1e3 * seconds:.3g} ms"


def said(size, each):
    persons, offers = 10 ** (size + 2), (1, 4)[each]
    with RUNS.open() as file:
        rows = list(csv.DictReader(file))

    def median(who, people):
        wanted = who, str(people), str(offers), "50"
        found = [
            float(row["seconds"])
            for row in rows
            if (row["who"], row["persons"], row["treatments"], row["groups"]) == wanted
        ]
        return statistics.median(found) if found else None

    reading = median("read", 10**6) * persons / 10**6
    solver = median("CVXPY", persons)
    return [
        "10" + "²³⁴⁵⁶⁷"[size],
        str(offers),
        milliseconds(reading),
        milliseconds(median("ours", persons)),
        milliseconds(median("numpy", persons)),
        "was not tried" if solver is None else milliseconds(solver),
    ]
