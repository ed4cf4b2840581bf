"""One share divided among layers: against the rules written out."""

import math
from typing import get_args

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.strategies import MagnitudePruning, ShareRule
from prunable.nets.prune.strategies.sharing import erk_counts
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.weights.allocation import LayerBins, Rule, allocate, inside
from prunable.numerics.weights.magnitudes import Magnitudes

SHAPES = {"a": (30, 20), "b": (10, 90), "c": (4, 10)}


def views(dtype=np.float64):
    r = rng(0, "allocation")
    return [
        WeightView(name, (scale * r.standard_t(3, shape)).astype(dtype))
        for scale, (name, shape) in zip((1.0, 0.05, 3.0), SHAPES.items(), strict=True)
    ]


def masks(kappa, allocation, given=None):
    plan = MagnitudePruning(allocation=allocation).plan(
        given or views(), Keep(kappa, scope="global"), rng=rng(0)
    )
    return [layer.kept for layer in plan.layers], plan


@pytest.mark.parametrize("allocation", get_args(ShareRule))
@pytest.mark.parametrize("kappa", [0.0, 0.01, 0.3, 0.77, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_count_is_exact_and_each_layer_keeps_its_largest(allocation, kappa, dtype):
    given = views(dtype)
    kept, plan = masks(kappa, allocation, given)
    total = sum(v.matrix.size for v in given)
    assert plan.n_parameters_kept == math.ceil(round(kappa * total, 9))
    for view, mask in zip(given, kept, strict=True):
        magnitudes = np.abs(view.matrix.ravel())
        if 0 < mask.sum() < mask.size:
            assert magnitudes[mask].min() >= magnitudes[~mask].max()


@pytest.mark.parametrize("allocation", get_args(ShareRule))
def test_ties_and_zeros(allocation):
    given = [WeightView("ones", np.ones((4, 5))), WeightView("zeros", np.zeros((3, 3)))]
    kept, plan = masks(0.5, allocation, given)
    assert plan.n_parameters_kept == 15
    for mask in kept:  # of equal weights the earlier stay
        assert mask[: mask.sum()].all()


def test_relative_is_the_optimal_allocation():
    given = views()
    kept, plan = masks(0.3, "relative")
    spent = sum(layer.eps**2 for layer in plan.layers)
    magnitudes = [Magnitudes.of(v.matrix) for v in given]
    bins = [LayerBins.of(layer) for layer in magnitudes]
    best = allocate(bins, [(Rule.BEST, spent)], inside(magnitudes))[0]
    assert list(best.kept) == [m.sum() for m in kept]
    for other in get_args(ShareRule):
        assert sum(layer.eps**2 for layer in masks(0.3, other)[1].layers) >= spent - 1e-12


def test_common_eps_is_common():
    _, plan = masks(0.3, "common-eps")
    errors = [layer.eps for layer in plan.layers]
    # one weight of the smallest layer moves its error by a few percent
    assert max(errors) - min(errors) < 0.05
    big = [layer.eps for layer in plan.layers if layer.n_total > 500]
    assert max(big) - min(big) < 0.005


def test_lamp_is_its_definition():
    given = views()
    scores = []
    for view in given:
        flat = view.matrix.ravel() ** 2
        scores.append(np.array([x / flat[flat >= x].sum() for x in flat]))
    pooled = np.concatenate(scores)
    k = math.ceil(0.2 * pooled.size)
    expected = np.zeros(pooled.size, bool)
    expected[np.argsort(-pooled, kind="stable")[:k]] = True
    np.testing.assert_array_equal(np.concatenate(masks(0.2, "lamp")[0]), expected)
    # the largest weight of each layer scores 1: no layer dies while k is at least their number
    assert all(m.any() for m in masks(0.002, "lamp")[0])


def test_erk_is_its_definition():
    shapes = [(64, 3, 3, 3), (128, 64, 3, 3), (10, 128)]
    total = sum(math.prod(s) for s in shapes)
    counts = erk_counts(shapes, total // 10)
    assert sum(counts) == total // 10
    density = [n / math.prod(s) for n, s in zip(counts, shapes, strict=True)]
    raw = [sum(s) / math.prod(s) for s in shapes]
    free = [i for i, d in enumerate(density) if d < 1]
    ratios = [density[i] / raw[i] for i in free]
    assert max(ratios) / min(ratios) < 1.01
    assert erk_counts(shapes, 0) == [0, 0, 0]
    assert erk_counts(shapes, total) == [math.prod(s) for s in shapes]
    assert sum(erk_counts(shapes, total - 1)) == total - 1


def test_unknown_allocation():
    with pytest.raises(InputError, match="`allocation`"):
        MagnitudePruning(allocation="fair")


def test_heavier_tails_keep_less_and_equal_tails_the_same_share():
    """Tail indices 1.2, 2 and 2 of layers whose scales must not matter."""
    r = rng(3, "tails")
    matrices = {
        "heavy": StableLaw(1.2).sample(40_000, r).reshape(200, 200),
        "small": 1e-3 * r.standard_normal((200, 200)),
        "large": 1e3 * r.standard_normal((200, 200)),
    }
    given = [WeightView(name, matrix) for name, matrix in matrices.items()]
    kept, plan = masks(0.4, "tail", given)
    heavy, small, large = (layer.kappa for layer in plan.layers)
    assert heavy < 0.5 * small
    assert small == pytest.approx(large, rel=0.1)
    # the shares that theory gives these laws at the one error that meets the budget
    errors = [layer.eps for layer in plan.layers]
    assert errors[1] == pytest.approx(errors[2], rel=0.1)
    scaled = [WeightView(name, 3.0 * matrix) for name, matrix in matrices.items()]
    for mask, other in zip(kept, masks(0.4, "tail", scaled)[0], strict=True):
        np.testing.assert_array_equal(mask, other)
