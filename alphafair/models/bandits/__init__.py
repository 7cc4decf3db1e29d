"""Who is activated next, when arms change state whether or not they are.

N arms, at each step a part of them can be activated: patients and visits, machines and services,
channels and probes.  `Arm` says how one arm moves and what it pays.  An **index** gives each state
a number so that the arms with the largest ones are activated: `gittins_index` for arms that wait,
`whittle_index` for arms that do not, with its test of `indexability`.
"""

from .arms import Arm
from .index import (
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

__all__ = [
    "Arm",
    "Indexability",
    "MultichainError",
    "NotIndexableError",
    "Witness",
    "advantage",
    "gittins_index",
    "index_residual",
    "indexability",
    "whittle_index",
]
