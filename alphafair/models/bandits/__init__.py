"""Who is activated next, when arms change state whether or not they are.

N arms, at each step a part of them can be activated: patients and visits, machines and services,
channels and probes.  `Arm` says how one arm moves and what it pays; `examples` has textbook ones.

- An **index** gives each state a number so that the arms with the largest are activated:
  `gittins_index` for arms that wait, `whittle_index` for arms that do not, with its test of
  `indexability`.
- A **relaxation** asks for the budget on average only: `stationary_relaxation` for ever,
  `finite_horizon_relaxation` for T steps.  Its value bounds every policy, its solution makes some.
- A **policy** says how many arms to activate in each state: `PriorityPolicy`, `whittle_policy`,
  `LPFillingPolicy`, `LPIndexPolicy`, `LPUpdatePolicy`, `RollingHorizonPolicy`.
- What a policy earns is computed exactly for tens of arms (`stationary_reward`,
  `discounted_reward`, `policy_value`, and `optimal_value` for the best) and simulated for thousands
  (`simulate_average`, `simulate_discounted`, `simulate_finite`, `trajectory`).
- Arms that each have a clock of their own, and move one at a time: `asynchronous_path`,
  `asynchronous_reward`, `simulate_asynchronous`, and whether they come to rest, `settles`.
- A policy for the average reward that needs no attractor: `simulate_virtual_advice`.
- Where the arms are not known, `learning` has rules that learn them while they allocate.

Each question has a wing of its own: `indices`, `planning` (relaxations and the policies made of
them), `exact` and `learning`.  What they share stands beside them: arms, counts, policies,
simulation and examples.
"""

from ..common import Simulation
from . import examples
from .arms import Arm
from .asynchronous import (
    asynchronous_path,
    asynchronous_reward,
    settles,
    simulate_asynchronous,
)
from .exact import discounted_reward, optimal_value, policy_value, stationary_reward
from .examples import Screening, applicant_screening
from .indices import (
    Indexability,
    MultichainError,
    NotIndexableError,
    Witness,
    advantage,
    gittins_index,
    index_residual,
    indexability,
    whittle_index,
)
from .planning import (
    FiniteHorizonRelaxation,
    LimitCycle,
    LPFillingPolicy,
    LPIndexPolicy,
    LPUpdatePolicy,
    RollingHorizonPolicy,
    StationaryRelaxation,
    affine_piece,
    finite_horizon_relaxation,
    fixed_point,
    limit_cycle,
    mean_map,
    orbit,
    stationary_relaxation,
)
from .policies import Policy, PriorityPolicy, whittle_policy
from .simulate import simulate_average, simulate_discounted, simulate_finite, trajectory
from .virtual import simulate_virtual_advice, virtual_policy

__all__ = [
    "Arm",
    "FiniteHorizonRelaxation",
    "Indexability",
    "LPFillingPolicy",
    "LPIndexPolicy",
    "LPUpdatePolicy",
    "LimitCycle",
    "MultichainError",
    "NotIndexableError",
    "Policy",
    "PriorityPolicy",
    "RollingHorizonPolicy",
    "Screening",
    "Simulation",
    "StationaryRelaxation",
    "Witness",
    "advantage",
    "affine_piece",
    "applicant_screening",
    "asynchronous_path",
    "asynchronous_reward",
    "discounted_reward",
    "examples",
    "finite_horizon_relaxation",
    "fixed_point",
    "gittins_index",
    "index_residual",
    "indexability",
    "limit_cycle",
    "mean_map",
    "optimal_value",
    "orbit",
    "policy_value",
    "settles",
    "simulate_asynchronous",
    "simulate_average",
    "simulate_discounted",
    "simulate_finite",
    "simulate_virtual_advice",
    "stationary_relaxation",
    "stationary_reward",
    "trajectory",
    "virtual_policy",
    "whittle_index",
    "whittle_policy",
]
