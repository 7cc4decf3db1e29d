"""What the pictures of `book/layer.ipynb` must say."""

import numpy as np

import alphafair as af

PEOPLE = [125, 25, 25, 25]
DISTRICT = np.repeat(["east", "north", "south", "west"], PEOPLE)
LEVEL = np.repeat([8.0, 4.0, 2.0, 1.0], PEOPLE)
FIRST = np.tile(np.linspace(-2, 2, 25), 8)
TRUE = LEVEL * np.exp(np.repeat([0.7, -0.7], [125, 75]) * FIRST)
POINTS = [k / 10 for k in range(-10, 11)]

GUESSES = [0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.6, 2, 2.8, 4, 5.6, 8]
GUESSES += [11, 16]
AVERSIONS = [0, 0.05, 0.1, 0.2, 0.3, 0.5]


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


def outcome(guess, within):
    """Ana's dollars and the part of the welfare that is lost."""

    def dose(benefit):
        return af.allocate(benefit, 1, [0, 0], 180, 2, within=within).dose[:, 0]

    def mean(u):
        return np.mean(u ** (1 - within)) ** (1 / (1 - within))

    given, truth = dose([guess, 1]), np.array([4, 1])
    return given[0], 1 - mean(truth * given) / mean(truth * dose(truth))


def said_2(guess, aversion):
    """The slope by differences, where the page has a derivative."""
    b, within, h = GUESSES[guess], AVERSIONS[aversion], 1e-5
    money, lost = outcome(b, within)
    more, less = outcome(b * np.exp(h), within)[1], outcome(b * np.exp(-h), within)[1]
    slope = round((more - less) / (2 * h), 2) + 0.0
    return [f"{money:.0f}", f"{100 * lost:.1f}", f"{slope:+.2f}"]
