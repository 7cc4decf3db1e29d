"""Planning: linear programs that ask for the budget in the mean only, and policies made of them.

- `stationary`: the long run; the bound on every policy, and whether a priority policy attains it.
- `mean_map`: where a priority policy leads very many arms; its fixed points and cycles.
- `finite_horizon`: the next T steps; the bound, the plan and its multipliers.
- `lp_policies`: what whole arms do with that plan.
- `rolling`: the first step of such a plan, made anew at each step: where an index fails.
"""

from .finite_horizon import FiniteHorizonRelaxation, finite_horizon_relaxation
from .lp_policies import LPFillingPolicy, LPIndexPolicy, LPUpdatePolicy
from .mean_map import LimitCycle, affine_piece, fixed_point, limit_cycle, mean_map, orbit
from .rolling import RollingHorizonPolicy
from .stationary import StationaryRelaxation, stationary_relaxation

__all__ = [
    "FiniteHorizonRelaxation",
    "LPFillingPolicy",
    "LPIndexPolicy",
    "LPUpdatePolicy",
    "LimitCycle",
    "RollingHorizonPolicy",
    "StationaryRelaxation",
    "affine_piece",
    "finite_horizon_relaxation",
    "fixed_point",
    "limit_cycle",
    "mean_map",
    "orbit",
    "stationary_relaxation",
]
