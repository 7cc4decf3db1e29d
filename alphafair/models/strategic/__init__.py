"""Linear regression when every data point is somebody who decides how much effort it is worth.

Agent i has public attributes ``x_i`` in R^d and reports ``y_i = β·x_i + noise`` of variance 1/λ_i.
The **precision** λ_i ≥ 0 is the agent's choice and costs ``w_i c(λ_i)``.  Everybody uses the
estimate of β, whose covariance is ``V = M⁻¹`` with the information ``M = Σ λ_i x_i x_iᵀ``, and
suffers from its size F(V).  So agent i minimises::

    J_i = w_i c(λ_i) + F(V).

Nobody pays for the good that own effort does to others: precision is a public good.  The game has
the potential ``Φ(λ) = Σ w_i c(λ_i) + F(V)``, convex in λ, and its minimum is the equilibrium::

    w_i c'(λ_i) = g_i    if λ_i > 0,        g_i ≤ w_i c'(0)    if λ_i = 0,        (*)

where ``g_i = −∂F/∂λ_i`` is what one more unit of precision is worth; ``x_iᵀV²x_i`` for F = trace.
For the linear cost c = λ this is the equivalence theorem of **optimal design**.  The planner, who
minimises Σ J_i = Σ w_i c + n F, plays the same game with costs n times smaller.

**Dual.**  For ``F = tr(KᵀVK)`` (K = 1: trace, K = v: direction) and any d × k matrix U::

    Φ(λ)  ≥  2 tr(KᵀU) − Σ w_i c*(|Uᵀx_i|²/w_i),        c*(s) = max_λ (s λ − c(λ)),

with equality at the equilibrium and U = V K; for log det it is ``d + log det U − Σ w_i
c*(x_iᵀUx_i/w_i)``.  The difference of the two sides certifies every answer, however it was found.

**Method.**  Coordinates in which Σ x_i x_iᵀ = 1; a primal-dual interior-point method in λ, whose
Newton matrix is a diagonal plus rank d(d+1)/2 (Woodbury: O(n d⁴) a step); then Newton steps on (*)
itself, without the barrier, which set idle agents exactly to 0.  (Linear cost and a direction: a
linear program.)

**Scaling.**  For c = λ^p and F homogeneous of degree q, both problems ask for the same design, and
``V ∝ n^{−(p−1)/(p+q)}`` in a growing population: slower than the 1/n of data that are given, and
for p = 1 not at all.

**Who else is there?**  Where owners know the law of the attributes only, a precision is a function
of one's own: `uncertain_equilibrium`, and `uncertain_bounds` for what not knowing costs.

References:
    S. Ioannidis, P. Loiseau, "Linear regression as a non-cooperative game", WINE 2013,
    arXiv:1309.7824.  B. Roussillon, N. Gast, P. Loiseau, P. Mertikopoulos, "Asymptotic degradation
    of linear regression estimates with strategic data sources", ALT 2022, arXiv:2106.14636.
    F. Pukelsheim, "Optimal Design of Experiments", Wiley 1993 (equivalence theorem, ch. 7).
"""

from .anarchy import PriceOfAnarchy, price_of_anarchy
from .best_response import BestResponse, best_response
from .costs import Cost, linear, monomial
from .design import Design, optimal_design
from .equilibrium import Equilibrium, equilibrium, population_equilibrium, social_optimum
from .game import Scalarisation, direction, log_det, trace
from .uncertain import (
    UncertainBounds,
    UncertainEquilibrium,
    uncertain_bounds,
    uncertain_equilibrium,
)

__all__ = [
    "BestResponse",
    "Cost",
    "Design",
    "Equilibrium",
    "PriceOfAnarchy",
    "Scalarisation",
    "UncertainBounds",
    "UncertainEquilibrium",
    "best_response",
    "direction",
    "equilibrium",
    "linear",
    "log_det",
    "monomial",
    "optimal_design",
    "population_equilibrium",
    "price_of_anarchy",
    "social_optimum",
    "trace",
    "uncertain_bounds",
    "uncertain_equilibrium",
]
