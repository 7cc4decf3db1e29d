"""Allocation inside a data frame, by the engine that holds it.

The frame has one row a (person, treatment).  The same two stages as for arrays, and each of them
needs little of the data:

*Within group k* the engine reduces N rows to K: how many people, G_k, and what one unit of budget
is worth, p_k.  With ``r_i = max b/c`` over the rows of person i and ``s = (1 − ε)/ε``::

    p_k = max r_i / G_k                                  ε = within = 0
    p_k = M_s(r_i) / G_k,    y_i = r_i^s / Σ_j r_j^s     ε > 0: M_s is the power mean

*Across groups* Python splits the budget over these K numbers, ``x = Q softmax(…)``, as
`alphafair.closed_form` does.  The K budgets go back to the engine, which writes
``dose = x_k y_i / c`` on the best row of whoever is funded, 0 on the others.

Caps, floors, baselines and exclusive offers bend V_k: eager frames hand them to the array problem,
in memory; for lazy ones a few passes find every group's margin (`search`).  No more than a few
numbers a group, and at most some 10⁵ items at the margin, ever leave a lazy engine, so a population
that outgrows a machine is served where it is: by DuckDB from disk, by Dask or Spark on many
machines.

    checks      the columns and rows, converted and checked
    names       columns that are called what the package or an engine cannot take
    repeats     the same offer twice
    stages      one row a person, one row a group, what money is worth in it
    doses       back to the rows
    engine      what passes between Python and the engine
    partitions  the same for Dask, whose rows keep their index and order
    memory      the array problem, for eager frames
    lazy        from the rows to the doses with bounds, for lazy ones
    chains      what can move, and where everybody begins
    search      the margin of every group, at ε = 0 a ratio
    heights     at ε > 0 a level
    solution    the calls
"""

from .solution import Solution, allocate, solve

__all__ = ["Solution", "allocate", "solve"]
