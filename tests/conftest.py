"""Settings and fixtures shared by the tests."""

from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from hypothesis import settings
from threadpoolctl import threadpool_limits

from prunable.nets.models.torch_extras import torch_extra

# so that transformers, which imports torchvision where it is, can do so before it is asked for here
torch_extra("torchvision", "tests")
# Derandomized: the same examples everywhere, so that a red run is red for everybody.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("ci")
mpl.use("Agg")


@pytest.fixture(scope="module")
def one_thread():
    """Networks of tests are too small to share; numbers shall not depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def root():
    """Folder of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture
def tool(root, monkeypatch):
    """Import a script of tools/ by its name."""
    monkeypatch.syspath_prepend(root / "tools")
    return import_module
