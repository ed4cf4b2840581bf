"""Fixtures of the tests of networks."""

import pytest
import torch


@pytest.fixture(scope="session")
def generator():
    """Makes generators of torch by their seeds."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def killed():
    """Stands for a kill in mid-run: nothing that catches exceptions catches it."""

    class Killed(BaseException):
        pass

    return Killed


@pytest.fixture(scope="session")
def kill_at(killed):
    """Makes hooks that kill training once a step is done."""

    def kill_at(step):
        def on_step(done):
            if done == step:
                raise killed

        return on_step

    return kill_at
