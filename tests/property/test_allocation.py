"""Shares under one budget: exact against brute force, and never worse than other rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.numerics.weights.allocation import LayerBins, Rule, allocate, inside
from prunable.numerics.weights.magnitudes import SORTED_SIZE, Magnitudes

LAYER = st.tuples(
    arrays(
        np.float64, st.integers(1, 25), elements=st.floats(-100, 100).map(lambda v: round(v, 3))
    ),
    st.sampled_from([1e-3, 1.0, 1e4]),
).map(lambda pair: pair[0] * pair[1])
LAYERS = st.lists(LAYER, min_size=1, max_size=5)


def allocated(magnitudes, budgets, rule=Rule.BEST, p=2.0):
    bins = [LayerBins.of(layer, p) for layer in magnitudes]
    return allocate(bins, [(rule, budget) for budget in budgets], inside(magnitudes))


def costs(layers):
    """Relative squares, raw magnitudes and owners of all weights in layers that are not zero."""
    used = [(i, np.abs(w)) for i, w in enumerate(layers) if np.any(w)]
    if not used:
        return np.empty(0), np.empty(0)
    return (
        np.concatenate([a / np.linalg.norm(a) for _, a in used]) ** 2,
        np.concatenate([a for _, a in used]),
    )


def fewest(layers, budget, rule, p=2.0):
    relative, raw = costs(layers)
    order = np.argsort(relative if rule == Rule.BEST else raw, kind="stable")
    if rule == Rule.ONE_VECTOR:
        powers = (raw / raw.max(initial=0)) ** p if raw.size else raw
        relative = powers / (powers.sum() or 1.0)
    running = np.append(0, np.cumsum(relative[order]))
    low, high = (
        np.searchsorted(running, budget * f, side="right") - 1 for f in (1 - 1e-9, 1 + 1e-9)
    )
    return relative.size - high, relative.size - low


@given(LAYERS, st.floats(0, 5), st.sampled_from(Rule), st.sampled_from([0.5, 1.0, 2.0, 6.0]))
def test_counts_are_those_of_brute_force(layers, budget, rule, p):
    found = allocated([Magnitudes.of(w) for w in layers], [budget], rule, p)[0]
    low, high = fewest(layers, budget, rule, p)
    assert low <= found.kept.sum() <= high
    assert found.spent <= budget * (1 + 1e-9)
    assert np.all(found.kept >= 0)
    assert np.all(found.kept <= [w.size for w in layers])
    assert all(found.kept[i] == 0 for i, w in enumerate(layers) if not np.any(w))


@given(LAYERS, st.floats(0, 3))
def test_the_counts_cost_what_is_said(layers, budget):
    found = allocated([Magnitudes.of(w) for w in layers], [budget])[0]
    spent = 0.0
    for w, kept in zip(layers, found.kept, strict=True):
        if np.any(w):
            smallest = np.sort(np.abs(w))[: w.size - kept]
            spent += float((smallest / np.linalg.norm(w)) @ (smallest / np.linalg.norm(w)))
    assert spent == pytest.approx(found.spent, abs=1e-9)


@given(LAYERS, st.floats(0.01, 0.9))
def test_never_more_than_one_common_error_or_one_threshold(layers, eps):
    magnitudes = [Magnitudes.of(w) for w in layers]
    budget = sum(bool(np.any(w)) for w in layers) * eps**2
    best = allocated(magnitudes, [budget])[0].kept.sum()
    rival = allocated(magnitudes, [budget], Rule.GLOBAL_THRESHOLD)[0].kept.sum()
    common = sum(int(m.kept_counts(eps)) for m in magnitudes)
    assert best <= rival
    assert best <= common


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [1.0, 2.0, 6.0])
@pytest.mark.parametrize("rule", Rule)
def test_large_layers(dtype, rule, p):
    r = rng(0, "allocation")
    layers = [
        (scale * r.standard_t(3, size)).astype(dtype)
        for scale, size in ((1.0, SORTED_SIZE + 999), (0.01, 3 * SORTED_SIZE), (30.0, 500))
    ]
    budgets = [0.0, 0.01, 0.03, 0.3, 1.0, 3.0, 10.0]
    for found in allocated([Magnitudes.of(w) for w in layers], budgets, rule, p):
        wide = [w.astype(np.float64) for w in layers]
        low, high = fewest(wide, found.budget, rule, p)
        assert low <= found.kept.sum() <= high


def test_impossible_budgets():
    for budget in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="`budget`"):
            allocated([Magnitudes.of([1.0])], [budget])
