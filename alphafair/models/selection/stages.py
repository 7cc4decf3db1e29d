"""A second stage: the selected show their quality, and the best of them are kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...checks import Floats, number
from ..common import bisect, scipy
from .population import FAR, Selection, density


class TwoStage(NamedTuple):
    """What is left of a selection after quality has been seen.

    Attributes:
        utility: mean quality of the final set.
        rates: (K,) the part of each group in the final set.
        threshold: the least quality W in the final set, the same for all groups.
        selection: the first stage.
        budget: the part of all candidates in the final set.
    """

    utility: float
    rates: Floats
    threshold: float
    selection: Selection
    budget: float


def two_stage(selection: Selection, budget: float = 0.1) -> TwoStage:
    """Keep the best of a selection once their quality W is seen (a final exam, an interview).

    With θ_g the thresholds of the first stage on Ŵ and t that of the second on W::

        P_g(t) = P(Ŵ > θ_g, W > t),    Σ p_g P_g(t) = α₂,    U₂ = (1/α₂) Σ p_g E[W; Ŵ > θ_g, W > t].

    A first stage that is fair can make the final set worse: candidates who are measured badly are
    worth a second look, which the group-oblivious first stage gives them by mistake.

    Args:
        selection: the first stage, of budget α₁.
        budget: α₂, 0 < α₂ < α₁.

    Returns:
        `TwoStage`.

    Raises:
        ValueError: a budget that is not below that of the first stage.

    Example:
        >>> from alphafair.models.selection import Population, demographic_parity, group_oblivious
        >>> population = Population([0.4, 0.6], noise=[2.0, 0.5])
        >>> policies = group_oblivious, demographic_parity
        >>> [round(two_stage(policy(population, 0.3), 0.1).utility, 4) for policy in policies]
        [1.6936, 1.6805]
    """
    alpha = number(
        "budget",
        budget,
        f"above 0 and below {selection.budget:g}, what the first stage selects",
        lambda v: 0 < v < selection.budget,
    )
    population, p = selection.population, selection.population.fraction
    mu, eta, ndtri = population.mean, population.spread, scipy().special.ndtri
    # P_g(t) ≤ P(W > t), and P_g(t) ≥ x_g − P(W ≤ t).
    ends = (
        float(np.min(mu + eta * ndtri(selection.budget - alpha))),
        float(np.max(mu - eta * ndtri(alpha))),
    )
    low, high = bisect(lambda t: p @ passing(selection, t)[0] < alpha, *ends)
    t = (low + high) / 2
    rates, quality = passing(selection, t)
    return TwoStage(float(p @ quality) / alpha, rates, t, selection, alpha)


def passing(selection: Selection, t: float) -> tuple[Floats, Floats]:
    """(K,) P(Ŵ > θ, W > t) and E[W; Ŵ > θ, W > t].

    In standard scores, Z = (W − μ)/η > k and Y > h with correlation ρ = η/ŝ, r = √(1 − ρ²) = σ/ŝ::

        E[Z; Z > k, Y > h] = φ(k) Φ((ρk − h)/r) + ρ φ(h) Φ((ρh − k)/r)
    """
    population, ndtr = selection.population, scipy().special.ndtr
    s = population.observed_spread
    rho = population.spread / s
    r = np.maximum(population.noise / s, 1e-200)  # σ = 0: the quotients become ±∞, or 0 if k = h
    h = np.clip((selection.thresholds - population.observed_mean) / s, -FAR, FAR)
    k = np.clip((t - population.mean) / population.spread, -FAR, FAR)
    with np.errstate(over="ignore"):
        chance = both_above(h, k, rho, r)
        ascent = density(k) * ndtr((rho * k - h) / r) + rho * density(h) * ndtr((rho * h - k) / r)
    return chance, population.mean * chance + population.spread * ascent


def both_above(h: Floats, k: Floats, rho: Floats, r: Floats) -> Floats:
    """P(Y > h, Z > k) for standard normals of correlation ρ, by Owen's T function.

    Owen (1956): Φ₂ = ½Φ(−h) + ½Φ(−k) − T(h, (k − ρh)/(hr)) − T(k, (h − ρk)/(kr)) − ½ [hk < 0].
    At h = 0 or k = 0 the limit from above, which a denormal step takes without a special case.
    """
    ndtr, owens_t = scipy().special.ndtr, scipy().special.owens_t
    h, k = (np.where(np.abs(z) < 1e-100, 1e-100, z) for z in (h, k))
    wings = owens_t(h, (k - rho * h) / h / r) + owens_t(k, (h - rho * k) / k / r)
    chance = (ndtr(-h) + ndtr(-k)) / 2 - wings - np.where((h < 0) != (k < 0), 0.5, 0.0)
    return np.asarray(np.clip(chance, 0, np.minimum(ndtr(-h), ndtr(-k))))
