"""Optimal designs: which part of all measurements to put where, the equilibrium of linear cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, Integers
from .costs import linear
from .equilibrium import equilibrium
from .game import Scalarisation, trace


class Design(NamedTuple):
    """Where to put which part of all measurements.

    Attributes:
        weight: ξ, (n,), ≥ 0, sums to 1.
        support: positions where ξ > 0.
        criterion: F(M(ξ)⁻¹).
        certificate: ε = max_i g_i / Σ ξ_i g_i − 1 ≥ 0; no design has a criterion below
            criterion/(1 + ε) (log det: below criterion − d log(1 + ε)).
    """

    weight: Floats
    support: Integers
    criterion: float
    certificate: float


def optimal_design(attributes: ArrayLike, scalarisation: Scalarisation = trace) -> Design:
    """The weights ξ that minimise F((Σ ξ_i x_i x_iᵀ)⁻¹): A-, D- or c-optimal.

    It is the equilibrium under `linear` cost up to scale: λ = L ξ with L = √F(M(ξ)⁻¹) (L = d for
    log det).  ξ is optimal if and only if g_i ≤ Σ_j ξ_j g_j for all i.

    Example:
        Quadratic regression on [−1, 1]: a half of the points in the middle, a quarter at each end.

        >>> t = np.array([-1, -0.5, 0, 0.5, 1])
        >>> design = optimal_design(np.stack([np.ones(5), t, t**2], axis=1))
        >>> design.weight.round(9).tolist(), round(design.criterion, 9)
        ([0.25, 0.0, 0.5, 0.0, 0.25], 8.0)
    """
    found = equilibrium(attributes, linear(), scalarisation)
    total = float(found.precision.sum())
    weight, d = found.precision / total, found.covariance.shape[0]
    criterion = found.estimation_cost * total
    if scalarisation.degree == 0:
        criterion = found.estimation_cost + d * np.log(total)
    excess = float(found.marginal.max() / (weight @ found.marginal)) - 1
    return Design(weight, np.flatnonzero(weight), float(criterion), max(excess, 0.0))
