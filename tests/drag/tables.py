"""What the picture of *From your table to doses* must say, from the table made anew."""

import numpy as np
import pandas as pd

import alphafair as af

ALPHAS = [0, 0.5, 1, 2, 5, np.inf]
CAPS = [np.inf, 100, 30, 10, 5, 3, 2, 1, 1]


def patients():
    """The thousand rows of the chapter, without those who have no district."""
    rng = np.random.default_rng(14)
    n, places = 1000, ["east", "north", "south", "west"]
    rng.choice(4, n)  # their names
    district = rng.choice(places, n, p=[0.35, 0.3, 0.2, 0.15])
    level = pd.Series(district).map({"east": 1.3, "north": 1, "south": 0.7, "west": 0.4})
    lesson = (7 * level * rng.lognormal(0, 0.5, n)).round(2)
    visit = (25 * level * rng.lognormal(0, 0.5, n) - 2).round(2)
    drive = pd.Series(district).map({"east": 9, "north": 12, "south": 12, "west": 18})
    price = drive + rng.integers(0, 6, n) / 2
    rows = pd.DataFrame({"class": lesson, "visit": visit, "price": price, "district": district})
    silent = rows[rows.district == "south"].sample(frac=0.4, random_state=1).index
    rows.loc[silent, ["class", "visit"]] = np.nan
    rows = rows.drop(index=range(40, 45))
    means = rows.groupby("district")[["class", "visit"]].transform("mean")
    return rows.fillna(means)


def said(j, k):
    rows = patients()
    letter = j == len(CAPS) - 1
    a = af.allocate(
        rows[["class", "visit"]],
        np.column_stack([np.full(len(rows), 4.0), rows.price]),
        rows.district,
        2000.0,
        ALPHAS[k],
        cap=CAPS[j],
        exclusive=letter,
    )
    somebody = (a.dose > 0).any(axis=1).sum()
    hours = (a.problem.benefit * a.dose).sum() / len(rows)
    words = "no cap" if j == 0 else f"at most {CAPS[j]} of each"
    words = "one letter: class or visit" if letter else words
    alpha = "∞" if ALPHAS[k] == np.inf else f"{ALPHAS[k]:g}"
    return [alpha, words, str(somebody), f"{hours:.1f}"]
