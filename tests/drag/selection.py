"""What the picture of `book/selection.ipynb` says."""

from alphafair.models import selection as sel

PERCENT = [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95]


def said(stop):
    """The rates of both groups and the mean quality, by the scores and by the posterior means."""
    school = sel.Population([0.5, 0.5], 500, 60, noise=[80, 45])
    words = []
    for policy in (sel.group_oblivious, sel.bayes_optimal):
        found = policy(school, PERCENT[stop] / 100)
        words += [f"{100 * x:.1f}" for x in found.rates] + [f"{found.utility:.1f}"]
    return words
