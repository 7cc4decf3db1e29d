"""Indices: one number a state; the arms with the largest are activated.

`index` has the Whittle and the Gittins index and the test of indexability, `elimination` the one
pass over the states that finds them all.
"""

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
