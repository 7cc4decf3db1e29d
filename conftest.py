"""One profile for every test: no deadlines (the first call compiles), figures without a screen."""

import matplotlib as mpl
from hypothesis import settings

mpl.use("Agg")
settings.register_profile("alphafair", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("alphafair")
