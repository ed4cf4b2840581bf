"""Settings shared by every test."""

import matplotlib as mpl
from hypothesis import settings

# Derandomized: the same examples everywhere, so that a red run is red for everybody.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("ci")
mpl.use("Agg")
