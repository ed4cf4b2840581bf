"""Settings and fixtures shared by the tests."""

import matplotlib as mpl
import pytest
import torch
from hypothesis import settings

# Derandomized: the same examples everywhere, so that a red run is red for everybody.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("ci")
mpl.use("Agg")


@pytest.fixture(scope="module")
def one_thread():
    """Networks of tests are too small to share; numbers shall not depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
