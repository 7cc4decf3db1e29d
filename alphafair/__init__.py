"""Fair allocation in closed form.

A decision maker has a budget Q, people in groups, benefits b and costs c of a unit of dose for each
person and treatment.  How much efficiency to give up for how much equity is one number, α:

>>> import alphafair as af
>>> benefit = [[3.0, 1.0], [2.0, 4.0], [1.0, 1.5]]     # (N, T): 3 people, 2 treatments
>>> cost = [[1.0, 2.0]]                                # (1, T): the same for everybody
>>> group = ["north", "north", "south"]
>>> for alpha in (0, 1, float("inf")):
...     a = af.allocate(benefit, cost, group, budget=100.0, alpha=alpha)
...     print(alpha, a.group_budget.round(1), a.group_utility.round(1))
0 [100.   0.] [150.   0.]
1 [50. 50.] [75. 50.]
inf [40. 60.] [60. 60.]

Two stages, always.  *Within group k* a unit of budget is worth p_k units of utility
(`alphafair.problem`).  *Across groups* the budget is split by a softmax (`alphafair.closed_form`),

    x = Q · softmax( log(w)/α + (1/α − 1) · log p ).

`alphafair.certificate` bounds what any other allocation loses, `alphafair.reference` asks a solver,
`alphafair.plots` draws.  The book derives all of it and runs as a test.
"""

from .allocation import Allocation
from .certificate import OptimalityGap, optimality_gap
from .curves import CurveSegments, concave_segments
from .derivatives import DoseCotangent, DoseJacobian, WelfareGradient
from .frontier import (
    Frontier,
    FrontierBands,
    FrontierPoint,
    frontier,
    frontier_bands,
    price_of_fairness,
    price_of_fairness_bound,
)
from .groups import Groups
from .inequality import atkinson, gini, jain, min_max_ratio, theil
from .paths import AlphaPath, BudgetPath, budget_path
from .problem import Problem, allocate
from .report import Report, report
from .utility import equivalent_utility, phi, phi_inverse, phi_normalised, phi_prime, power_mean
from .utility import welfare as welfare
from .whole import WholePlan

__version__ = "1.0.0rc1"

__all__ = [
    "Allocation",
    "AlphaPath",
    "BudgetPath",
    "CurveSegments",
    "DoseCotangent",
    "DoseJacobian",
    "Frontier",
    "FrontierBands",
    "FrontierPoint",
    "Groups",
    "OptimalityGap",
    "Problem",
    "Report",
    "WelfareGradient",
    "WholePlan",
    "allocate",
    "atkinson",
    "budget_path",
    "concave_segments",
    "equivalent_utility",
    "frontier",
    "frontier_bands",
    "gini",
    "jain",
    "min_max_ratio",
    "optimality_gap",
    "phi",
    "phi_inverse",
    "phi_normalised",
    "phi_prime",
    "power_mean",
    "price_of_fairness",
    "price_of_fairness_bound",
    "report",
    "theil",
    "welfare",
]
