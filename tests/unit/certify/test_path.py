"""Certificates of pruning paths: counted anew by hand, at shares on the grid and off it."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom
from torch import nn

from prunable.certify.architecture import CodedArchitecture, FloatNetwork
from prunable.certify.bounds.path import (
    anywhere_bounds,
    coded_path_bounds,
    envelope_bounds,
    grid_bounds,
)
from prunable.certify.code_file import CodedLayer, CodedNetwork, encode_network
from prunable.certify.examples import Examples
from prunable.certify.given import GivenNetwork
from prunable.certify.path import MagnitudePath, certify_path, pruned_code
from prunable.errors import InputError
from prunable.numerics.randomness import rng

DELTA = 0.05


def examples(seed, n):
    g = rng(seed, "path examples")
    return Examples(g.standard_normal((n, 1, 1, 6)).astype(np.float32), g.integers(3, size=n))


def chain():
    g = torch.Generator().manual_seed(1)
    architecture = CodedArchitecture.parse("d5,d", (1, 1, 6), 3, normalised=False)
    weights = [torch.randn(shape, generator=g) for shape in architecture.shapes]
    weights[0][0, 0, 0, 0] = 0.0
    return FloatNetwork(architecture, weights, [torch.randn(5, generator=g), torch.zeros(3)])


def coded():
    g = rng(3, "coded path")
    architecture = CodedArchitecture.parse("d5,d", (1, 1, 6), 3)
    layers = tuple(
        CodedLayer(g.integers(-4, 5, shape), g.integers(-2, 3, shape[0]))
        for shape in architecture.shapes
    )
    return CodedNetwork(architecture, layers)


@pytest.fixture(scope="module")
def found():
    network = chain()
    given = GivenNetwork(network.logits, network, 0)
    return certify_path(given, examples(0, 300), coded(), examples(1, 400), shares=7, delta=DELTA)


def errors_of(weights, biases, data):
    """Errors of two dense layers in plain numpy."""
    x = data.x.reshape(len(data.y), -1).astype(np.float64)
    first, last = (np.asarray(w, dtype=np.float64).reshape(len(w), -1) for w in weights)
    hidden = np.maximum(x @ first.T + np.asarray(biases[0], dtype=np.float64), 0)
    logits = hidden @ last.T + np.asarray(biases[1], dtype=np.float64)
    best = np.sort(logits, axis=1)
    tied = best[:, -1] - best[:, -2] <= 1e-9 * np.abs(logits).max(1)
    return int(((logits.argmax(1) != data.y) | tied).sum())


def largest(weights, k):
    """All but the k largest magnitudes set to zero."""
    flat = np.concatenate([np.abs(w).ravel() for w in weights])
    cut = np.sort(flat)[::-1][k - 1] if k else np.inf
    return [w * (np.abs(w) >= cut) for w in weights]


def test_columns_are_counted_and_bounded_anew(found):
    network, data = chain(), examples(0, 300)
    weights = [w.numpy() for w in network.weights]
    assert found.distinct == 5 * 6 + 3 * 5  # one weight is zero, and the empty network counts
    columns = found.columns
    for place, kappa in enumerate(columns["kappa"]):
        assert columns["kept"][place] == round(kappa * 45)
        errors = errors_of(largest(weights, columns["kept"][place]), network.biases, data)
        assert columns["errors"][place] == errors
        for name, candidates in (("held_out", 7), ("anywhere", found.distinct)):
            wanted = beta.ppf(1 - DELTA / candidates, errors + 1, 300 - errors)
            assert columns[name][place] == pytest.approx(wanted, abs=1e-9)
    envelope = np.array(columns["envelope"])
    price = np.sqrt(np.log(1 / DELTA) / 600)
    assert envelope[0] == pytest.approx(columns["errors"][0] / 300 + price)
    assert (np.diff(envelope) >= 0).all()


def test_shares_between_those_of_the_grid_are_asked_afterwards(found):
    network, data = chain(), examples(0, 300)
    errors = errors_of(largest([w.numpy() for w in network.weights], 14), network.biases, data)
    wanted = beta.ppf(1 - DELTA / found.distinct, errors + 1, 300 - errors)
    assert found.at(14 / 45) == pytest.approx(wanted, abs=1e-9)
    with pytest.raises(InputError, match="kappa"):
        found.at(0.0)


def test_one_code_file_holds_the_whole_path(found):
    network, columns = coded(), found.columns
    bits = 8 * len(encode_network(network))
    assert (found.bits, found.coded_distinct) == (bits, network.kept + 1)
    before = None
    for k in range(network.kept + 1):
        pruned = pruned_code(network, k)
        assert pruned.kept == k
        support = [layer.weights != 0 for layer in pruned.layers]
        if before is not None:  # each network is the one before with one weight more
            assert all((b <= s).all() for b, s in zip(before, support, strict=True))
        before = support
    log_delta = np.log(DELTA) - (bits + np.log2(network.kept + 1)) * np.log(2)
    for k, bound in zip(columns["coded_errors"], columns["compression"], strict=True):
        if bound < 1:
            assert binom.logcdf(k, 400, bound) == pytest.approx(log_delta, abs=1e-6)


def test_no_unit_loses_all_of_its_equal_integers_at_once():
    architecture = CodedArchitecture.parse("d", (1, 1, 64), 8)
    equal = np.ones(architecture.shapes[0], dtype=np.int64)
    network = CodedNetwork(architecture, (CodedLayer(equal, np.zeros(8, dtype=np.int64)),))
    kept = pruned_code(network, 256).layers[0].weights.reshape(8, 64).sum(axis=1)
    assert kept.min() >= 28
    assert kept.sum() == 256


def test_networks_of_any_kind_have_a_path():
    """Matrices and kernels of a module go by their size; its vectors stay."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    model.requires_grad_(False)
    given = GivenNetwork(lambda x: model(x.float()).double(), None, 0, model)
    data = examples(4, 60)
    found = certify_path(given, data, shares=3, delta=DELTA)
    assert found.coded_n == 0
    assert "compression" not in found.columns
    path = MagnitudePath.of(given)
    weights = largest([model[1].weight.numpy(), model[3].weight.numpy()], path.kept(1 / 3))
    biases = [model[1].bias.numpy(), model[3].bias.numpy()]
    assert found.columns["errors"][-1] == errors_of(weights, biases, data)
    assert len(found.texts) == 3


def test_what_speaks_of_nothing_is_refused():
    with pytest.raises(InputError, match="test"):
        certify_path(GivenNetwork(lambda x: x, None, 0), None, shares=3)
    for bounds in (grid_bounds, envelope_bounds):
        with pytest.raises(InputError, match="wrong"):
            bounds(np.zeros((0, 5), bool), DELTA)
    with pytest.raises(InputError, match="distinct"):
        anywhere_bounds(np.zeros((1, 5), bool), DELTA, 0)
    with pytest.raises(InputError, match="distinct"):
        coded_path_bounds([1], 5, 8, DELTA, 0)
