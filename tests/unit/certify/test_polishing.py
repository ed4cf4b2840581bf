"""Moving single integers of a coded network for a lower bound."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from prunable.certify import polishing
from prunable.certify.architecture import CodedArchitecture, count_errors, without_weights
from prunable.certify.bounds.occam import occam_bound
from prunable.certify.code_file import CodedLayer, CodedNetwork, encode_network
from prunable.certify.polishing import bits_per_error, kt_bits, margins, polish
from prunable.certify.quantization import QuantizationSettings, QuantizedNet, fine_tune
from prunable.errors import InputError
from prunable.numerics.randomness import rng

pytestmark = pytest.mark.usefixtures("one_thread")


def network(text="e5,m2,c1-4,d", *, normalised=True):
    architecture = CodedArchitecture.parse(text, (1, 8, 8), 3, normalised=normalised)
    g, layers = rng(0, "polished network"), []
    for shape in architecture.shapes:
        weights = g.integers(-2, 3, shape)
        layers.append(CodedLayer(weights, g.integers(-2, 3, shape[0])))
    return CodedNetwork(architecture, tuple(layers))


def problem(n=1500):
    """Bright spots in three places."""
    g = rng(0, "polished examples")
    y = g.integers(3, size=n)
    x = 1.2 * g.random((n, 1, 8, 8))
    for place in range(n):
        x[place, 0, 1 + 2 * y[place], 2:6] += 0.5
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)


@pytest.mark.parametrize("counts", [(1, 0), (3, 2), (0, 4), (5, 3, 2), (2, 0, 1, 4)])
def test_bits_are_those_of_estimators_that_count(counts):
    """(ones + 1/2) / (all + 1), over the chain of decisions of each integer."""
    sizes = np.repeat(np.arange(len(counts)), counts)
    rng(0, "order").shuffle(sizes)
    seen, bits = [[0.5, 0.5] for _ in counts], 0.0
    for size in sizes.tolist():
        bits += size > 0
        for level in range(min(size + 1, len(counts) - 1)):
            more = int(size > level)
            bits -= math.log2(seen[level][more] / sum(seen[level]))
            seen[level][more] += 1
    assert kt_bits(np.array(counts)) == pytest.approx(bits)


def test_the_price_of_an_error_is_where_the_bound_stays():
    """One error less and so many bits more, at 60,000 examples, by the kl bound itself."""
    n, errors, bits = 60_000, 1_200, 3_400
    bound = occam_bound(errors, n, bits, 0.05, form="kl").value
    more = bits + 5 * bits_per_error(errors / n, bound)
    assert occam_bound(errors - 5, n, more, 0.05, form="kl").value == pytest.approx(bound, abs=2e-6)


def test_polishing_lowers_the_bound_and_counts_what_the_certificate_counts():
    x, y = problem()
    net = QuantizedNet.fresh(network().architecture, 2, 0)
    fine_tune(net, x, y, QuantizationSettings(epochs=3, float_epochs=1, keep=1, lr=2e-2))
    given = net.coded()

    def bound(network):
        errors = count_errors(network.logits, x, y)
        return occam_bound(errors, len(y), 8 * len(encode_network(network)), 0.05).value

    found = polish(given, x, y, 0.05, rounds=2, tries=40, near=0.5)
    assert bound(found) < bound(given) - 0.01
    begun = without_weights(found.architecture, x)
    assert int((margins(found, begun, y) <= 0).sum()) == count_errors(found.logits, x, y)
    for before, after in zip(given.layers, found.layers, strict=True):
        assert np.array_equal(before.biases, after.biases) or after is found.layers[-1]
        assert np.abs(after.weights).max() <= 2
    again = polish(given, x, y, 0.05, rounds=2, tries=40, near=0.5)
    assert encode_network(again) == encode_network(found)


@pytest.mark.parametrize("text", ["e5,m2,c1-4,d", "f,e5,m2,c3-3,m2,d", "s,c3-3,d"])
def test_errors_of_every_move_of_the_last_layer_are_those_of_the_moved_network(text):
    given, (x, y) = network(text), problem(200)
    x = without_weights(given.architecture, x)
    features = polishing.last_inputs(given, x)
    layer = given.layers[-1]
    levels = np.column_stack([layer.weights.reshape(3, -1), layer.biases])
    logits = features @ torch.from_numpy(levels.T).float()
    now = errors_of(given, x, y)
    for of_class, change in itertools.product(range(3), (-2, -1, 1, 2)):
        limits = polishing.thresholds(logits, y, of_class)
        more = polishing.more_errors(limits, features, features.abs().amax(1), change)
        for place in range(0, levels.shape[1], 5):
            moved = levels.copy()
            moved[of_class, place] += change
            weights = moved[:, :-1].reshape(layer.weights.shape)
            last = CodedLayer(weights, moved[:, -1])
            other = replace(given, layers=(*given.layers[:-1], last))
            assert now + more[place] == errors_of(other, x, y)
    assert now != 0


@pytest.mark.parametrize(
    ("text", "layer"),
    [("e5,m2,c1-4,c3-3,m2,d", 1), ("f,c3-4,m2,d6,d", 1), ("f,e5,m2,c1-4,c3-3,m2,d", 0)],
)
def test_errors_of_a_hidden_move_are_those_of_the_moved_network(text, layer):
    given, (x, y) = network(text), problem(200)
    x = without_weights(given.architecture, x)
    tried = polishing.tried_of(given, layer, x, y)
    g, now, flips = rng(1, "moves"), errors_of(given, x, y), set()
    for at in g.permutation(given.layers[layer].weights.size)[:30].tolist():
        changed = given.layers[layer].weights.copy()
        changed.ravel()[at] = new = int(g.integers(-2, 3))
        layers = list(given.layers)
        layers[layer] = replace(layers[layer], weights=changed)
        moved = replace(given, layers=tuple(layers))
        kept = bool(g.integers(2))
        assert tried.move(at, new, 1, -math.inf if kept else math.inf) is kept
        if kept:
            flips.add(errors_of(moved, x, y) - now)
            given, now = moved, errors_of(moved, x, y)
        assert tried.errors == now
    assert len(flips) > 2


def test_biases_of_the_last_layer_may_be_larger_than_its_weights():
    given, (x, y) = network("e5,m2,c1-4,m2,d"), problem(300)
    last = replace(given.layers[-1], biases=np.array([5, -4, 0]))
    given = replace(given, layers=(*given.layers[:-1], last))
    found = polish(given, x, y, 0.05, rounds=1, tries=10)
    assert np.abs(found.layers[-1].biases).max() <= 5
    begun = without_weights(given.architecture, x)
    assert errors_of(found, begun, y) < errors_of(given, begun, y)


def errors_of(network, x, y):
    return int((margins(network, x, y) <= 0).sum())


def test_nothing_is_moved_without_rounds():
    given, (x, y) = network(), problem(100)
    assert polish(given, x, y, 0.05, rounds=0) is given


def test_networks_with_steps_are_refused():
    given = network("c3-2,m2,d", normalised=False)
    with pytest.raises(InputError, match="must be normalised"):
        polish(given, *problem(10), 0.05)
