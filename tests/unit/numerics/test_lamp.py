"""LAMP under a budget of error, from histograms, against every weight scored and sorted."""

import numpy as np
import pytest

from prunable.numerics.weights.allocation import LayerBins
from prunable.numerics.weights.lamp import lamp_kept
from prunable.numerics.weights.magnitudes import Magnitudes


def by_sorting(layers, budget):
    """Weights left in each layer; every score computed from its definition."""
    scores, costs, owners = [], [], []
    for place, layer in enumerate(layers):
        squares = np.sort(np.square(layer.astype(np.float64)))
        at_least = np.cumsum(squares[::-1])[::-1]
        scores.append(squares / at_least)
        costs.append(squares / squares.sum())
        owners.append(np.full(squares.size, place))
    order = np.argsort(np.concatenate(scores), kind="stable")
    spent = np.cumsum(np.concatenate(costs)[order])
    gone = np.concatenate(owners)[order[: np.searchsorted(spent, budget, side="right")]]
    sizes = [layer.size for layer in layers]
    return np.array(sizes) - np.bincount(gone, minlength=len(layers))


@pytest.mark.parametrize("budget", [0.001, 0.03, 0.3, 1.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_what_sorting_gives(budget, dtype):
    rng = np.random.default_rng(3)
    layers = [
        rng.standard_normal(20_000),
        1e-3 * rng.standard_t(2, 30_000),
        50 * rng.uniform(-1, 1, 10_000),
        np.where(rng.random(5_000) < 0.5, 0, rng.standard_normal(5_000)),
    ]
    layers = [layer.astype(dtype) for layer in layers]
    bins = [LayerBins.of(Magnitudes.of(layer)) for layer in layers]
    kept = lamp_kept(bins, budget)
    sizes = np.array([layer.size for layer in layers])
    np.testing.assert_allclose(kept / sizes, by_sorting(layers, budget) / sizes, atol=4e-3)


def test_edges():
    layer = LayerBins.of(Magnitudes.of(np.ones(100)))
    assert lamp_kept([None, layer], 10.0).tolist() == [0.0, 0.0]
    assert lamp_kept([None, layer], 0.0)[1] == pytest.approx(100, abs=1)
    assert lamp_kept([None], 0.1).tolist() == [0.0]
