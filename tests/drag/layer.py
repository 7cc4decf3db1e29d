"""What the picture of `book/layer.ipynb` must say."""

import numpy as np

import alphafair as af

PEOPLE = [125, 25, 25, 25]
DISTRICT = np.repeat(["east", "north", "south", "west"], PEOPLE)
LEVEL = np.repeat([8.0, 4.0, 2.0, 1.0], PEOPLE)
FIRST = np.tile(np.linspace(-2, 2, 25), 8)
TRUE = LEVEL * np.exp(np.repeat([0.7, -0.7], [125, 75]) * FIRST)
POINTS = [k / 10 for k in range(-10, 11)]


def level(prediction):
    """Equivalent utility, in truth, of the doses for a prediction."""
    dose = af.allocate(prediction, 1, DISTRICT, 300, 2, within=0.5).dose[:, 0]
    means = [np.sqrt((TRUE * dose)[k == DISTRICT]).mean() ** 2 for k in np.unique(DISTRICT)]
    return 4 / sum(1 / u for u in means)  # α = 2: the harmonic mean


def said(points):
    card = LEVEL * np.exp(POINTS[points] * FIRST)
    off = np.exp(np.sqrt(np.mean((np.log(card) - np.log(TRUE)) ** 2)))
    lost = 100 * (1 - level(card) / level(TRUE))
    return [f"{POINTS[points]:g}".replace("-", "−"), f"{off:.2f}", f"{lost:.1f}"]
