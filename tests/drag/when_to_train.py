"""What the picture of `book/when_to_train.ipynb` must say."""

import numpy as np

import alphafair as af

GUESSES = [0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.6, 2, 2.8, 4, 5.6, 8]
GUESSES += [11, 16]
AVERSIONS = [0, 0.05, 0.1, 0.2, 0.3, 0.5]


def outcome(guess, within):
    """Ana's dollars and the part of the welfare that is lost."""

    def dose(benefit):
        return af.allocate(benefit, 1, [0, 0], 180, 2, within=within).dose[:, 0]

    def mean(u):
        return np.mean(u ** (1 - within)) ** (1 / (1 - within))

    given, truth = dose([guess, 1]), np.array([4, 1])
    return given[0], 1 - mean(truth * given) / mean(truth * dose(truth))


def said(guess, aversion):
    """The slope by differences, where the page has a derivative."""
    b, within, h = GUESSES[guess], AVERSIONS[aversion], 1e-5
    money, lost = outcome(b, within)
    more, less = outcome(b * np.exp(h), within)[1], outcome(b * np.exp(-h), within)[1]
    slope = round((more - less) / (2 * h), 2) + 0.0
    return [f"{money:.0f}", f"{100 * lost:.1f}", f"{slope:+.2f}"]
