"""Large populations: simulate less and know more.

N objects change state at rates that all of them set: queues that jobs choose by their length,
people who infect each other, files that rise through a cache.  For large N the fractions in each
state follow a differential equation, the mean field x; what is left over is computed too,

    E X = x + V/N + O(1/N²),         N Cov X → W.

- **Models**: `supermarket`, `sis`, `sir`, `seir`, `gossip_shuffle`; with objects that are all
  different `heterogeneous_supermarket` and `random_cache`.  Your own: `Population` (one object
  after the other), `SynchronousPopulation` (all at once), `Heterogeneous`.
- **Approximations**: `steady_state` and `transient` return `Refined`: x, V and W; `mean_field` and
  `fixed_point` x alone; `second_order` the term of the order 1/N² as well.
- **Games** among the objects, in `games`.
- **The truth**: `exact_chain` for a few objects, `exact_occupancy` for the cache, `simulate` and
  `simulate_average` with intervals for more.
"""

from . import games
from .populations import (
    Chain,
    FieldRates,
    Heterogeneous,
    Model,
    PairLaw,
    Population,
    RandomCache,
    Refined,
    Simulation,
    Smooth,
    SynchronousPopulation,
    exact_chain,
    exact_occupancy,
    fixed_point,
    gossip_coverage,
    gossip_rounds,
    gossip_shuffle,
    heterogeneous_supermarket,
    mean_field,
    random_cache,
    second_order,
    seir,
    simulate,
    simulate_average,
    sir,
    sis,
    steady_state,
    supermarket,
    transient,
)

__all__ = [
    "Chain",
    "FieldRates",
    "Heterogeneous",
    "Model",
    "PairLaw",
    "Population",
    "RandomCache",
    "Refined",
    "Simulation",
    "Smooth",
    "SynchronousPopulation",
    "exact_chain",
    "exact_occupancy",
    "fixed_point",
    "games",
    "gossip_coverage",
    "gossip_rounds",
    "gossip_shuffle",
    "heterogeneous_supermarket",
    "mean_field",
    "random_cache",
    "second_order",
    "seir",
    "simulate",
    "simulate_average",
    "sir",
    "sis",
    "steady_state",
    "supermarket",
    "transient",
]
