"""Games among very many players, where each meets the crowd.

- A game says how one player moves and what she pays, given the fractions m of the crowd in each
  state: `ContinuousGame`, `DiscreteGame`, with a horizon or a discount.  A `Policy` says what to do
  in each state and when.
- What happens when all follow a policy: `mass_flow`, `values`, `social_cost`.  What one player can
  do about it: `best_response`, `exploitability`.
- Equilibria, where she can do nothing: `equilibrium`, `equilibria`, `repeated_best_response`,
  `fictitious_play`;
  with one change of action `threshold_equilibrium`, and `threshold_optimum` for what would be best
  for all.
- N players instead of infinitely many, exactly: `n_player_costs`, `n_player_gap`.
- Examples: `sir_vaccination`, `susceptible_infected`, `prisoners_dilemma`,
  `repeated_prisoners_dilemma` and the strategy `grim`, which no limit N → ∞ has.
"""

from .equilibrium import (
    Equilibrium,
    NoEquilibriumError,
    Threshold,
    equilibria,
    equilibrium,
    fictitious_play,
    repeated_best_response,
    threshold_equilibrium,
    threshold_optimum,
    threshold_policy,
    uniform,
)
from .examples import (
    grim,
    prisoners_dilemma,
    repeated_prisoners_dilemma,
    sir_vaccination,
    susceptible_infected,
)
from .game import (
    ContinuousGame,
    DiscreteGame,
    Policy,
)
from .n_players import (
    NPlayers,
    n_player_costs,
    n_player_gap,
)
from .response import (
    Response,
    Values,
    best_response,
    exploitability,
    mass_flow,
    social_cost,
    values,
)

__all__ = [
    "ContinuousGame",
    "DiscreteGame",
    "Equilibrium",
    "NPlayers",
    "NoEquilibriumError",
    "Policy",
    "Response",
    "Threshold",
    "Values",
    "best_response",
    "equilibria",
    "equilibrium",
    "exploitability",
    "fictitious_play",
    "grim",
    "mass_flow",
    "n_player_costs",
    "n_player_gap",
    "prisoners_dilemma",
    "repeated_best_response",
    "repeated_prisoners_dilemma",
    "sir_vaccination",
    "social_cost",
    "susceptible_infected",
    "threshold_equilibrium",
    "threshold_optimum",
    "threshold_policy",
    "uniform",
    "values",
]
