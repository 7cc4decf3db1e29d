"""What the picture of `book/predict.ipynb` must say."""

import numpy as np

import alphafair as af

PREDICTED, TRUE = [8, 7, 6, 5, 4, 3, 2, 1], np.array([6, 7, 3, 8, 4, 2, 3, 1])
STOPS = [0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1]


def lost(log_predicted, within):
    """Percent of the 21 days that three visits can save; in one group any α makes this plan."""
    dose = af.allocate(np.exp(log_predicted), 1, [0] * 8, 3, 1, cap=1, within=within).dose[:, 0]
    return 100 * (1 - TRUE @ dose / 21)


def said(stop):
    """The derivatives by differences, where the page has those of the layer."""
    within, here, step = STOPS[stop], np.log(PREDICTED), 1e-4 * np.eye(8)
    slopes = [(lost(here + h, within) - lost(here - h, within)) / 2e-4 for h in step]
    heard = sum(abs(slope) > 1e-4 for slope in slopes)
    return [f"{within:g}", str(heard), f"{lost(here, within):.1f}"]
