"""One profile for every test: no deadlines (the first call compiles), figures without a screen.

Notebooks run without progress bars, which would be outputs that differ from run to run: the kernels
inherit the environment.  tqdm has read it by then in this process, where bars are tested.
"""

import contextlib
import os

from hypothesis import settings

with contextlib.suppress(ImportError):  # numpy alone is enough for the tests of the core
    import matplotlib as mpl

    mpl.use("Agg")
settings.register_profile("alphafair", deadline=None, derandomize=True, print_blob=True)
os.environ.pop("TQDM_DISABLE", None)  # a worker of xdist inherits it
with contextlib.suppress(ImportError):
    import tqdm  # noqa: F401
os.environ["TQDM_DISABLE"] = "1"
settings.load_profile("alphafair")
