"""LAMP by counts and, under a budget of error, by histograms, against every weight scored."""

from fractions import Fraction

import numpy as np
import pytest

from prunable.numerics.weights.allocation import LayerBins
from prunable.numerics.weights.lamp import lamp_counts, lamp_kept, lamp_scores
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.magnitudes import Magnitudes
from prunable.numerics.weights.selection import top_k_counts


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
    kept = lamp_kept(bins, [budget])[0]
    sizes = np.array([layer.size for layer in layers])
    np.testing.assert_allclose(kept / sizes, by_sorting(layers, budget) / sizes, atol=4e-3)


def test_edges():
    layer = LayerBins.of(Magnitudes.of(np.ones(100)))
    everything, nothing = lamp_kept([None, layer], [10.0, 0.0])
    assert everything.tolist() == [0.0, 0.0]
    assert nothing[1] == pytest.approx(100, abs=1)
    assert lamp_kept([None], [0.1]).tolist() == [[0.0]]


def exactly(layers, k):
    """Weights kept in each layer, scored by fractions of whole numbers, the earlier of equals."""
    found = []
    for place, layer in enumerate(layers):
        above = 0
        for value in sorted(map(abs, layer), reverse=True):
            above += value * value
            found.append((-Fraction(value * value, above or 1), place))
    kept = [place for _, place in sorted(found)[:k]]
    return [kept.count(place) for place in range(len(layers))]


def over(layers):
    """Passes over layers that are in memory."""
    return lambda look: map(look, layers)


@pytest.mark.parametrize("largest", [1, 3, 50])
def test_counts_are_those_of_exact_scores(largest):
    """Small whole numbers over a power of two at the top: sums and scores without rounding up."""
    rng = np.random.default_rng(largest)
    # a layer that occurs twice, layers of equal numbers, zeros alone
    layers = [rng.integers(-largest, largest + 1, size) for size in (40, 7, 90)]
    layers += [layers[0].copy(), np.ones(30, int), np.zeros(12, int)]
    for layer in layers[:-1]:
        layer[0] = 64
    size = sum(layer.size for layer in layers)
    levels = [Levels.counted(layer.astype(np.float32)) for layer in layers]
    for k in range(size + 1):
        assert lamp_counts(over(levels), k) == exactly([x.tolist() for x in layers], k), k


def test_counted_and_listed_levels_are_the_same():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(5000).astype(np.float16).astype(np.float32)
    found, counts = np.unique(weights, return_counts=True)
    wide = rng.standard_normal(3000)
    for k in (0, 1, 2500, 7999, 8000):
        both = [
            lamp_counts(over([x, Levels.counted(wide)]), k)
            for x in (Levels.of(found, counts), Levels.counted(weights))
        ]
        assert both[0] == both[1]
        assert sum(both[0]) == k


def test_all_scores_in_order_come_to_the_same_counts():
    rng = np.random.default_rng(0)
    for _ in range(60):
        sizes = rng.integers(1, 40, rng.integers(1, 5))
        layers = [Levels.counted(rng.normal(size=n).round(rng.integers(0, 4))) for n in sizes]
        for k in {0, 1, int(sizes.sum()) // 2, int(sizes.sum())}:
            assert top_k_counts(list(map(lamp_scores, layers)), k) == lamp_counts(over(layers), k)
