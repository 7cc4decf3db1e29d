"""The companions of Part II: models in which fairness meets uncertainty, learning and incentives.

Each module states a model in its docstring, takes a dataclass and returns a NamedTuple.  They may
use the core; the core does not know them.
"""
