"""The companions of Part II: models in which fairness meets uncertainty, learning and incentives.

Each wing states its model in its docstring, takes dataclasses and returns NamedTuples.  What all
of them share is in `common`.  They use a few tools of the core, such as its checks; the core does
not know them.
"""
