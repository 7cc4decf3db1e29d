"""The price of anarchy: what the agents pay together, over the least they could pay."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from .costs import Cost
from .equilibrium import equilibrium, social_optimum
from .game import Scalarisation, trace


class PriceOfAnarchy(NamedTuple):
    """What selfishness costs.

    Attributes:
        ratio: equilibrium / optimum, ≥ 1.
        equilibrium: Σ J_i at the equilibrium.
        optimum: the least Σ J_i.
    """

    ratio: float
    equilibrium: float
    optimum: float


def price_of_anarchy(
    attributes: ArrayLike,
    cost: Cost,
    scalarisation: Scalarisation = trace,
    *,
    weight: ArrayLike | None = None,
) -> PriceOfAnarchy:
    """Σ J_i at the equilibrium over its least value.

    For c = λ^p and F of degree q it depends on n alone.  Scaling λ by s gives s^p C + s^{−q} F, so
    at each optimum p C = q F (planner: q n F): both have the same design, the planner's precisions
    are n^{1/(p+q)} times larger, and

        ratio = (p n + q) / ((p + q) n^{p/(p+q)})  ~  p/(p+q) · n^{q/(p+q)}.

    Raises:
        ValueError: log det, which may be negative: a ratio would mean nothing.  There the
            difference of total costs is (d/p)(1 − n + n log n).

    Example:
        >>> from alphafair.models.strategic import linear
        >>> round(price_of_anarchy([1.0, 2.0, 3.0, 4.0], linear()).ratio, 9)
        1.25
    """
    if scalarisation.degree == 0:
        raise ValueError(
            "scalarisation log_det can make costs negative: the ratio has no meaning; compare "
            "total_cost of equilibrium(...) and of social_optimum(...)"
        )
    selfish = equilibrium(attributes, cost, scalarisation, weight=weight).total_cost
    least = social_optimum(attributes, cost, scalarisation, weight=weight).total_cost
    return PriceOfAnarchy(selfish / least, selfish, least)
