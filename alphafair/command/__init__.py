"""The command: a table in, doses out.

This line ::

    python -m alphafair people.csv --benefit uplift --cost price --group district \\
        --budget 1000 --alpha 2 -o doses.csv

reads a CSV or Parquet file with one row a (person, treatment), or one row a person and a column a
treatment, splits the budget as `alphafair.frames` does, writes the rows with one more column
``dose``, and prints what each group gets.  Long files are streamed: read a few times instead of
held in memory.  ``python -m alphafair --help`` tells the rest.

Exit code 0: the doses are written.  1: bad data or files.  2: a bad command line.  128 + n: stopped
by signal n.  After all but 0 no file has changed.

    arguments  the command line
    dialect    how a text table is written
    lines      the lines of a text table, and what is wrong with them
    tables     reading and writing
    solve      the doses
    report     what each group gets
    workshop   where the output is made until it takes its place
    signals    what happens when somebody stops the command
    refusals   errors in one line
    run        all of it
"""

from .run import main

__all__ = ["main"]
