"""What the picture of `book/second_looks.ipynb` says."""

from alphafair.models import selection as sel

FEW = range(15, 66, 3)
FINAL = [2, 5, 10, 15, 20, 25, 28]


def interviewed(percent):
    """Places for 30 % at the interview, this part of the group with few papers."""
    population = sel.Population([0.4, 0.6], noise=[2.0, 0.5])
    rate = percent / 100
    return sel.with_rates(population, [rate, (0.3 - 0.4 * rate) / 0.6], 0.3)


def said(few, kept):
    """Both rates, the quality at the interview, and the final one here and at the best stop."""
    here, q = interviewed(FEW[few]), FINAL[kept] / 100
    best = max(sel.two_stage(interviewed(r), q).utility for r in FEW)
    start = [str(FEW[few]), f"{100 * here.rates[1]:.1f}", f"{here.utility:.3f}"]
    return [*start, str(FINAL[kept]), f"{sel.two_stage(here, q).utility:.3f}", f"{best:.3f}"]
