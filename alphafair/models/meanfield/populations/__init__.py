"""Populations of objects that change state: their mean field, what it leaves out, and the truth.

- `population`, `heterogeneous`: what a model is, of like objects and of objects that all differ;
  `differentiate` gives its rates two derivatives.
- `refined`, `second_order`: x, V and W, and one term more.
- `exact`, `simulate`: the truth for a few objects, and for more.
- `examples`: queues and epidemics; `gossip` and `list_cache` have a theory of their own.
"""

from ...common import Simulation
from .differentiate import Smooth
from .exact import Chain, exact_chain
from .examples import heterogeneous_supermarket, seir, sir, sis, supermarket
from .gossip import PairLaw, gossip_coverage, gossip_rounds, gossip_shuffle
from .heterogeneous import FieldRates, Heterogeneous
from .list_cache import RandomCache, exact_occupancy, random_cache
from .population import Model, Population, SynchronousPopulation
from .refined import Refined, fixed_point, mean_field, steady_state, transient
from .second_order import second_order
from .simulate import simulate, simulate_average

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
