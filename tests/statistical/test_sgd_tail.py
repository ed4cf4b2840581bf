"""Simulated tail index of SGD beside the exact one."""

import numpy as np
import pytest

from prunable.numerics.dynamics.sgd_chain import (
    hill_index,
    monte_carlo_index,
    simulate_norms,
    stationary_steps,
)
from prunable.numerics.dynamics.sgd_tail import LinearRegressionSgd, tail_index

pytestmark = pytest.mark.statistical

SETTINGS = [(1.05, 1, 1), (0.9, 1, 1), (1.05, 2, 1), (0.87, 8, 10), (0.6, 2, 3)]


@pytest.mark.parametrize(("eta", "batch", "dim"), SETTINGS)
def test_root_of_drawn_steps(eta, batch, dim):
    """Within five standard errors, valid where moments of order 2 alpha exist for one step."""
    model = LinearRegressionSgd(eta, batch, dim)
    found = monte_carlo_index(model, 200_000, rng=np.random.default_rng(5))
    assert abs(found.alpha - tail_index(model)) < 5 * found.stderr
    assert found.stderr < 0.05 * found.alpha


@pytest.mark.parametrize(("eta", "batch", "dim"), SETTINGS[:4])
def test_hill_estimate_of_simulated_chains(eta, batch, dim):
    """Within five standard errors (false alarm below 1e-6 without bias, small for alpha < 2)."""
    model = LinearRegressionSgd(eta, batch, dim)
    norms = simulate_norms(model, 60_000, stationary_steps(model), rng=np.random.default_rng(6))
    found = hill_index(norms, 0.005)
    assert abs(found.alpha - tail_index(model)) < 5 * found.stderr


def test_simulated_index_orders_steps_and_batches():
    """Indices a factor 1.4 or more apart at 5 % standard error: 5 standard errors of a ratio."""

    def simulated(eta, batch):
        model = LinearRegressionSgd(eta, batch)
        steps = stationary_steps(model)
        return hill_index(
            simulate_norms(model, 60_000, steps, rng=np.random.default_rng(7)), 0.006
        ).alpha

    assert simulated(0.75, 1) > simulated(1.2, 1)
    assert simulated(0.9, 2) > simulated(0.9, 1)
