"""The least sum of losses against all divisions, and the hull against its definition."""

from itertools import product

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.numerics.weights.optimum import LossCurve, least_loss, losses_of_errors


def drawn(r, size, convex):
    """A falling curve at all numbers of weights, or at some."""
    loss = np.append(np.cumsum(np.sort(r.exponential(size=size)))[::-1], 0.0)
    kept = np.arange(size + 1)
    if not convex:
        loss = np.sort(r.exponential(size=size + 1))[::-1]
        inner = np.sort(r.choice(np.arange(1, size), size // 2, replace=False))
        some = np.array([0, *inner, size])
        return LossCurve(some, loss[some])
    return LossCurve(kept, loss)


def least(curves, k):
    """The least sum over all divisions of k weights with one in each layer at least."""
    ranges = [range(1, int(c.kept[-1]) + 1) for c in curves]
    return min(
        sum(c.at(n) for c, n in zip(curves, counts, strict=True))
        for counts in product(*ranges)
        if sum(counts) == k
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_division_of_convex_losses_is_better(seed):
    r = rng(seed)
    curves = [drawn(r, size, convex=True) for size in (7, 4, 9)]
    for k in range(3, 21):
        counts = least_loss(curves, k)
        assert sum(counts) == k
        found = sum(c.at(n) for c, n in zip(curves, counts, strict=True))
        assert found == pytest.approx(least(curves, k))


@pytest.mark.parametrize("seed", range(8))
def test_no_division_of_the_hulls_is_better_and_one_layer_at_most_is_above_its_own(seed):
    r = rng(seed)
    curves = [drawn(r, size, convex=False) for size in (8, 6, 9)]
    # with a weight in each layer, the hulls are those of what is left to choose
    inner = [
        LossCurve(kept, np.array([c.at(n) for n in kept])).hull()
        for c in curves
        for kept in [np.union1d([1], c.kept[1:])]
    ]
    for k in range(3, 24):
        counts = least_loss(curves, k)
        assert sum(counts) == k
        on_hulls = [hull.at(n) for hull, n in zip(inner, counts, strict=True)]
        assert sum(on_hulls) == pytest.approx(least(inner, k))
        # so the sum is within one gap of what any division reaches
        above = [c.at(n) - on for c, n, on in zip(curves, counts, on_hulls, strict=True)]
        assert sum(gap > 1e-12 for gap in above) <= 1
        assert sum(c.at(n) for c, n in zip(curves, counts, strict=True)) <= (
            least(curves, k) + max(above) + 1e-12
        )


def test_the_hull_is_scipys():
    r = rng(3)
    curve = LossCurve(np.arange(40), r.random(40))
    hull = curve.hull()
    points = np.stack([np.arange(40), curve.loss], axis=1)
    # with a point high above, only the lower side is left beside it
    found = set(ConvexHull(np.vstack([points, [20, 1e6]])).vertices) - {40}
    assert set(hull.kept) == found
    assert all(hull.at(n) <= curve.at(n) + 1e-15 for n in range(40))


def test_weights_that_only_add_loss_are_kept_last():
    worse = LossCurve(np.array([0, 5, 10]), np.array([0.0, 1.0, 2.0]))
    better = LossCurve(np.array([0, 5, 10]), np.array([2.0, 1.0, 0.0]))
    assert least_loss([worse, better], 11) == [1, 10]
    assert least_loss([worse, better], 20) == [10, 10]
    assert least_loss([worse, better], 1) == [0, 1]
    assert least_loss([worse, better], 0) == [0, 0]


def test_near_some_counts_no_layer_goes_far():
    r = rng(9)
    curves = [drawn(r, size, convex=False) for size in (40, 60, 80)]
    start = [20, 30, 25]
    for factor in (1.08, 1.5):
        near = [c.near(n, factor) for c, n in zip(curves, start, strict=True)]
        for k in (sum(start) - 3, sum(start), sum(start) + 3):
            counts = least_loss(near, k)
            assert sum(counts) == k
            assert all(m / factor <= n <= m * factor for n, m in zip(counts, start, strict=True))


def test_losses_between_known_ones_are_powers():
    """Two power laws that meet at the known error .1, of which the outer has the exponent 1."""
    errors = np.array([0.0, 1e-4, 0.01, 0.1, 0.25, 0.5, 0.9])
    found = losses_of_errors(errors, np.array([0.5, 0.01, 0.1]), np.array([0.3, 0.001, 0.02]))
    inner = np.log(0.02 / 0.001) / np.log(10)
    outer = np.log(0.3 / 0.02) / np.log(5)
    expected = [0, 1e-5, 0.001, 0.001 * 10**inner, 0.02 * 2.5**outer, 0.3, 0.54]
    np.testing.assert_allclose(found, expected)
    assert not losses_of_errors(errors, np.array([0.1, 0.5]), np.zeros(2)).any()


@pytest.mark.parametrize(
    ("kept", "loss", "name"),
    [
        ([2, 3], [1.0, 0.0], "kept"),
        ([0, 0, 3], [1.0, 1.0, 0.0], "kept"),
        ([0, 3], [np.inf, 0.0], "loss"),
        ([0, 3], [0.0], "loss"),
    ],
)
def test_curves_that_are_none(kept, loss, name):
    with pytest.raises(InputError, match=f"`{name}` of `LossCurve`"):
        LossCurve(np.array(kept), np.array(loss))


def test_totals_that_are_none():
    curve = LossCurve(np.array([0, 2]), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="`k`"):
        least_loss([curve], 3)
