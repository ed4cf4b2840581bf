"""Bounds from torch networks: norms of unrolled layers, margins, pruning, refusals."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from prunable.certify.bounds.matrix_facts import fold_biases, log_path_norms, network_facts
from prunable.certify.bounds.of_network import all_bounds
from prunable.certify.network_bounds import (
    bounds_of_model,
    choose_pruning,
    facts_of_model,
    margins_of,
    with_layers,
)
from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.models import mlp


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dense(bias=True, n=200):
    g = generator()
    model = mlp([12, 20, 16, 4], generator=g, bias=bias)
    x = torch.randn(n, 12, generator=g)
    y = model(x).argmax(dim=1)
    return model, x, y


def convolutional(pool):
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, stride=2),
        nn.ReLU(),
        pool,
        nn.Conv2d(3, 4, 2, groups=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 2 * 2, 3, bias=False),
    )
    x = torch.randn(40, 2, 12, 12, generator=generator(1))
    return model, x, model(x).argmax(dim=1)


def unrolled(layer, shape):
    """Matrix of a layer without its bias, from what it does to unit vectors."""
    silent = copy.deepcopy(layer).double()
    if silent.bias is not None:
        nn.init.zeros_(silent.bias)
    size = math.prod(shape)
    with torch.no_grad():
        return (
            silent(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1).T.numpy()
        )


def test_margins():
    model, x, y = dense()
    logits = model(x).detach().numpy()
    expected = [row[k] - np.delete(row, k).max() for row, k in zip(logits, y, strict=True)]
    assert margins_of(model, x, y) == pytest.approx(expected, abs=1e-6)


def test_convolutions_are_their_unrolled_matrices():
    for pool in (nn.MaxPool2d(2), nn.AvgPool2d(2)):
        model, x, y = convolutional(pool)
        pruned = copy.deepcopy(model)
        with torch.no_grad():
            pruned[0].weight[0] = 0
        facts = facts_of_model(model, x, y, pruned)
        first = unrolled(model[0], (2, 12, 12))
        change = unrolled(pruned[0], (2, 12, 12)) - first
        found = facts.layers[0]
        assert (found.inputs, found.outputs) == (288, 108)
        assert found.weights == 54
        assert found.pruned_kept == 36
        assert found.spectral == pytest.approx(np.linalg.norm(first, 2), rel=1e-9)
        assert found.frobenius == pytest.approx(np.linalg.norm(first), rel=1e-9)
        assert found.rows_21 == pytest.approx(np.linalg.norm(first, axis=1).sum(), rel=1e-9)
        assert found.columns_12 == pytest.approx(
            np.linalg.norm(np.abs(first).sum(axis=0)), rel=1e-9
        )
        assert found.change_spectral == pytest.approx(np.linalg.norm(change, 2), rel=1e-9)
        assert found.change_frobenius == pytest.approx(np.linalg.norm(change), rel=1e-9)
        assert facts.dense_layers().status == "violated"
        assert facts.biases == 3 + 4
        results = bounds_of_model(model, x, y, pruned)
        json.dumps([r.to_dict() for r in results], allow_nan=False)
        by_name = {r.name: r for r in results if r.quantity == "risk"}
        assert "layers are dense" in {a.name for a in by_name["Bartlett 2017"].violated}


def test_path_norms_through_average_pooling():
    model, x, y = convolutional(nn.AvgPool2d(2))
    first = unrolled(model[0], (2, 12, 12))
    pooling = nn.AvgPool2d(2)
    eye = torch.eye(108, dtype=torch.float64).reshape(108, 3, 6, 6)
    pool = pooling(eye).flatten(1).T.numpy()
    second = unrolled(model[3], (3, 3, 3))
    last = model[6].weight.detach().double().numpy()
    expected = log_path_norms([first, pool, second, last])
    facts = facts_of_model(model, x, y)
    assert (facts.path_l1, facts.path_l2_squared) == pytest.approx(expected, abs=1e-6)


def test_dense_models_match_their_matrices():
    model, x, y = dense()
    facts = facts_of_model(model, x, y)
    matrices = [m.weight.detach().double().numpy() for m in model if isinstance(m, nn.Linear)]
    direct = network_facts(matrices, margins_of(model, x, y), x.numpy())
    for a, b in zip(facts.layers, direct.layers, strict=True):
        assert a.spectral == b.spectral
        assert a.rows_21 == b.rows_21
    h = x.double().numpy()
    for i, m in enumerate(matrices):
        out = h @ m.T
        ratio = np.linalg.norm(out, axis=1) / np.linalg.norm(h, axis=1)
        gain = ratio.max() / np.linalg.norm(m, 2)
        assert facts.layers[i].contraction == pytest.approx(gain, rel=1e-5)
        bias = [layer for layer in model if isinstance(layer, nn.Linear)][i].bias
        h = np.maximum(out + bias.detach().numpy(), 0)
    assert facts.biases == 40
    folded = facts_of_model(model, x, y, fold=True)
    h = np.concatenate([x.double().numpy(), np.ones((200, 1))], axis=1)
    wide = fold_biases(matrices, [m.bias.detach() for m in model if isinstance(m, nn.Linear)])
    for layer, m in zip(folded.layers, wide, strict=True):
        out = h @ m.T
        gain = np.linalg.norm(out, axis=1) / np.linalg.norm(h, axis=1)
        assert layer.contraction == pytest.approx(gain.max() / np.linalg.norm(m, 2), rel=1e-5)
        h = np.maximum(out, 0)


def test_bounds_of_a_model_are_those_of_its_matrices():
    model, x, y = dense()
    layers = [m for m in model if isinstance(m, nn.Linear)]
    pruned = copy.deepcopy(model)
    with torch.no_grad():
        for m in pruned:
            if isinstance(m, nn.Linear):
                m.weight[m.weight.abs() <= 0.1] = 0.0
    options = {"d": 0.2, "delta": 0.1}
    found = bounds_of_model(model, x, y, pruned, stability_examples=0, **options)
    facts = network_facts(
        [m.weight.detach().numpy() for m in layers],
        margins_of(model, x, y),
        x.numpy(),
        pruned=[m.weight.detach().numpy() for m in pruned if isinstance(m, nn.Linear)],
        biases=[m.bias.detach().numpy() for m in layers],
    )
    direct = all_bounds(facts, pruned_margins=margins_of(pruned, x, y), **options)
    names = {r.name for r in found}
    assert {
        "pruned network",
        "sketched pruned network",
        "Bartlett 2017",
        "masks and values",
    } <= names
    same = [(a.name, a.value) for a, b in zip(found, direct, strict=True) if a.value == b.value]
    # the others gain by how far the model contracts its training inputs
    assert [a.name for a in found] == [b.name for b in direct]
    assert all(a.value <= b.value for a, b in zip(found, direct, strict=True))
    assert len(same) > 15
    assert all(
        "no biases" in {a.name for a in r.violated} for r in found if r.name == "Bartlett 2017"
    )


def test_folded_model_has_no_broken_promise_about_biases():
    model, x, y = dense()
    results = bounds_of_model(model, x, y, fold=True, stability_examples=8)
    assert "Arora 2018" in {r.name for r in results}
    assert not any(a.name == "no biases" for r in results for a in r.violated)
    without = bounds_of_model(*dense(bias=False), stability_examples=8)
    assert "Arora 2018" in {r.name for r in without}


def test_tickets_are_bounded_on_request():
    model, x, y = dense(bias=False)
    plain = bounds_of_model(model, x, y, stability_examples=0)
    more = bounds_of_model(model, x, y, stability_examples=0, tickets=True)
    added = {r.name: r for r in more}.keys() - {r.name for r in plain}
    assert added == {"subnetwork of a random network", "active weights of a subnetwork"}
    assert [r.to_dict() for r in more if r.name not in added] == [r.to_dict() for r in plain]
    # theorem 6.1 counts the target's weights up to a constant, and asks the same of the target
    (counted,) = (r for r in more if r.name == "active weights of a subnetwork")
    sizes = [layer.weight.shape for layer in model if isinstance(layer, nn.Linear)]
    hidden = max(shape[0] for shape in sizes[:-1])
    assert counted.value == pytest.approx(sizes[0][1] * hidden + len(sizes) * hidden**2)
    assert {"||W_l||_2 <= 1", "no biases"} <= {a.name for a in counted.assumptions}


def test_choice_of_the_strength_is_seeded_and_uses_the_margin():
    model, x, _ = dense(bias=False, n=60)
    with torch.no_grad():
        model[-1].weight *= 1  # margins scale with the last layer; the needed margin does too
    y = model(x).argmax(dim=1)
    first, pruned = choose_pruning(model, x, y, seed=4)
    again, same = choose_pruning(model, x, y, seed=4)
    assert first == again
    assert all(np.array_equal(a, b) for a, b in zip(pruned, same, strict=True))
    assert first.needed <= first.margin
    copied = with_layers(model, pruned)
    facts = facts_of_model(model, x, y, copied)
    weights = [m.weight for m in copied if isinstance(m, nn.Linear)]
    assert facts.pruned_kept == sum(int((w != 0).sum()) for w in weights)
    assert all((m.weight != 0).any() for m in model if isinstance(m, nn.Linear))


def test_stable_weights_get_their_corollaries():
    model, x, y = dense(bias=False)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for m in model:
            if isinstance(m, nn.Linear):
                heavy = rng.standard_t(1.6, tuple(m.weight.shape)) * 0.05
                m.weight.copy_(torch.from_numpy(heavy))
    y = model(x).argmax(dim=1)
    names = {r.name for r in bounds_of_model(model, x, y, stability_examples=0)}
    assert {"pruned network of stable weights", "pruned network of scaled stable weights"} <= names


def test_refusals():
    model, x, y = dense()
    with pytest.raises(InputError, match="non-empty training set"):
        bounds_of_model(model, x[:0], y[:0])
    with pytest.raises(InputError, match="`pruned`"):
        bounds_of_model(model, x, y, mlp([12, 21, 16, 4], generator=generator()))
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken[3].weight[2, 1] = math.nan
    with pytest.raises(InputError, match=r"`layer 2` .* 1 NaN or infinite weights"):
        bounds_of_model(broken, x, y)
    with pytest.raises(InputError, match="`delta`"):
        bounds_of_model(model, x, y, delta=1.0)
    strange = nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4))
    with pytest.raises(UnsupportedModelError, match=r"BatchNorm1d.*no part of a chain"):
        bounds_of_model(strange, x, y)
    overlapping = nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(3, stride=2))
    with pytest.raises(UnsupportedModelError, match="MaxPool2d"):
        bounds_of_model(overlapping, x, y)
    with pytest.raises(UnsupportedModelError, match="no linear layer"):
        bounds_of_model(nn.Sequential(nn.ReLU()), x, y)
    conv, images, classes = convolutional(nn.MaxPool2d(2))
    with pytest.raises(InputError, match="`fold`"):
        bounds_of_model(conv, images, classes, fold=True)
    with pytest.raises(UnsupportedModelError, match="dense layers"):
        choose_pruning(conv, images, classes, seed=0)


def test_wrong_classes_are_named_in_the_bounds():
    model, x, y = dense(bias=False)
    wrong = (y + 1) % 4
    results = bounds_of_model(model, x, wrong, d=0.1, stability_examples=0)
    capacities = [r for r in results if r.name == "Neyshabur 2015, Frobenius"]
    for result in capacities:
        assert any("margin" in a.name for a in result.violated)
    json.dumps([r.to_dict() for r in results], allow_nan=False)
