"""Stages of the 2021 paper's runs: against the rules written out in plain NumPy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest

from prunable.data.loaders import load
from prunable.experiments.train.specs import TrainSpec
from prunable.nets.archive import load_tensors
from prunable.nets.models import Architecture, build
from prunable.nets.networks.views import views_of
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.papers.barsbey2021.specs import (
    CountSpec,
    LayerLawSpec,
    MeasureSpec,
    RhoSpec,
    StableVectorSpec,
    SyntheticSpec,
)
from prunable.papers.barsbey2021.stages import (
    averaged_network,
    distance,
    pruned_views,
    tail_vectors,
)
from prunable.runs.execution import execute
from prunable.runs.store import Run, Store

WIDTH = 40
TRAIN = TrainSpec.create(
    dataset={"name": "digits", "train_size": 300, "inputs": "standardized"},
    net="fcn4",
    width=WIDTH,
    lr=0.2,
    batch_size=20,
    steps=400,
    until_accuracy=0.9,
    extra_steps=20,
    average_last=10,
    evaluate_every=20,
)
RATIOS = (0.0, 0.3, 0.65, 1.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def measured(store):
    return {
        convention: execute(
            MeasureSpec.create(
                train=TRAIN,
                convention=convention,
                magnitude_ratios=RATIOS,
                spectral_ratios=RATIOS,
                node_ratios=RATIOS,
                test_examples=200,
                train_examples=100,
            ),
            store,
        )
        for convention in ("paper", "authors-code")
    }


@pytest.fixture(scope="module")
def weights(store, measured):
    """Matrices of the averaged network and of the last iterate, as they lie in the files."""
    assert measured
    folder = store.folder(TRAIN)
    mean = load_tensors(folder / "average.safetensors")[0]
    last = load_tensors(folder / "model.safetensors")[0]
    assert any((mean[name].float() != last[name]).any() for name in mean)
    return [[t.float().double().numpy() for t in part.values()] for part in (mean, last)]


def accuracy(matrices):
    data = load("digits")
    mean, std = data.x_train.mean(), data.x_train.std()
    x = (data.x_test[:200] - mean) / std
    for matrix in matrices[:-1]:
        x = np.maximum(x @ matrix.T, 0)
    return float(np.mean((x @ matrices[-1].T).argmax(1) == data.y_test[:200]))


def zeroed(matrix, ratio):
    result = matrix.copy().ravel()
    result[np.argsort(np.abs(result))[: int(ratio * result.size + 1e-9)]] = 0
    return result.reshape(matrix.shape)


def magnitude(matrices, ratio, centred):
    shifts = [np.median(m) if centred else 0.0 for m in matrices]
    return [zeroed(m - s, ratio) + s for m, s in zip(matrices, shifts, strict=True)]


def all_at_once(matrices, ratio, centred):
    shifts = [np.median(m) if centred else 0.0 for m in matrices]
    flat = np.concatenate([(m - s).ravel() for m, s in zip(matrices, shifts, strict=True)])
    pruned = zeroed(flat, ratio)
    ends = np.cumsum([m.size for m in matrices])[:-1]
    return [
        part.reshape(m.shape) + s
        for part, m, s in zip(np.split(pruned, ends), matrices, shifts, strict=True)
    ]


def singular(matrices, ratio, centred):
    result = []
    for m in matrices:
        shift = np.median(m, axis=0) if centred else 0.0
        u, s, v = np.linalg.svd(m - shift, full_matrices=False)
        kept = len(s) - int(len(s) * ratio + 1e-9)
        result.append(u[:, :kept] * s[:kept] @ v[:kept] + shift)
    return result


def nodes(matrices, ratio, centred):
    result = []
    for m in matrices:
        shift = np.median(m, axis=1, keepdims=True) if centred else np.zeros((len(m), 1))
        pruned = (m - shift).copy()
        order = np.argsort(np.linalg.norm(pruned, axis=0))
        pruned[:, order[: int(len(order) * ratio + 1e-9)]] = 0
        result.append(pruned + shift)
    return result


RULES = {"magnitude": magnitude, "global": all_at_once, "singular": singular, "node": nodes}


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
@pytest.mark.parametrize("method", RULES)
def test_accuracies_after_pruning_are_those_of_the_rule(measured, weights, method, convention):
    averaged, _ = weights
    found = measured[convention]["curves"][method]
    for ratio, test_accuracy in zip(found["ratio"], found["test_accuracy"], strict=True):
        # both conventions centre by medians and add them back, as appendix A.5 says
        pruned = [*RULES[method](averaged[:-1], ratio, True), averaged[-1]]
        # an example near a boundary may fall to either side in another precision
        assert test_accuracy == pytest.approx(accuracy(pruned), abs=1 / 200 + 1e-9)
    assert measured[convention]["dense"]["test_accuracy"] == found["test_accuracy"][0]


def test_pruned_shares_count_the_unpruned_last_layer(measured, weights):
    averaged, _ = weights
    total, last = sum(m.size for m in averaged), averaged[-1].size
    for convention, value in (("paper", 1), ("authors-code", 0)):
        curves = measured[convention]["curves"]
        assert curves["magnitude"]["pruned"][-1] == pytest.approx(1 - last / total)
        ranks = [min(m.shape) - int(0.65 * min(m.shape)) for m in averaged[:-1]]
        kept = sum(r * (sum(m.shape) + value) for r, m in zip(ranks, averaged[:-1], strict=True))
        assert curves["singular"]["pruned"][2] == pytest.approx(1 - (kept + last) / total)
        assert curves["singular"]["pruned"][0] < 0
        columns = [m.shape[1] - int(0.3 * m.shape[1]) for m in averaged[:-1]]
        kept = sum(c * m.shape[0] for c, m in zip(columns, averaged[:-1], strict=True))
        assert curves["node"]["pruned"][1] == pytest.approx(1 - (kept + last) / total)


def test_prunable_shares_are_of_each_conventions_network(measured, weights):
    averaged, last = weights
    centred = ([m - np.median(m) for m in network] for network in (averaged, last))
    for convention, matrices in zip(("paper", "authors-code"), centred, strict=True):
        for layer, matrix in zip(measured[convention]["layers"], matrices, strict=True):
            squares = np.sort((matrix**2).ravel())
            errors = np.sqrt(np.cumsum(squares) / squares.sum())
            assert layer["prunable"] == pytest.approx(np.mean(errors <= 0.1), abs=2 / matrix.size)


def alpha_by_hand(x, generator):
    """The authors' estimator: blocks of divisors of N, five orders, medians, cap 2."""
    n = len(x)
    x = x / np.abs(x).max()
    x = x - np.median(x, axis=0)
    sizes = {2, 5, 10, 20, 50, 100, 500, 1000} & set(range(n // 2 + 1))
    sizes = {max(d for d in range(1, k + 1) if n % d == 0) for k in sizes}
    sizes |= {max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)}
    sizes -= {1}
    found = []
    for _ in range(5):
        y = x[generator.permutation(n)]
        logs = np.log(np.linalg.norm(y, axis=1)).mean()
        growths = [
            (np.log(np.linalg.norm(y.reshape(-1, k, y.shape[1]).sum(1), axis=1)).mean() - logs)
            / math.log(k)
            for k in sorted(sizes)
        ]
        found.append(np.median([1 / g if g > 0 else math.inf for g in growths]))
    return min(float(np.median(found)), 2.0)


def test_tail_indices_are_of_rows_and_of_the_last_layers_columns(measured, weights):
    averaged, _ = weights
    layers = measured["paper"]["layers"]
    for i, (layer, matrix) in enumerate(zip(layers, averaged, strict=True)):
        vectors = matrix.T if i == len(layers) - 1 else matrix
        expected = alpha_by_hand(vectors, rng(TRAIN.seed, "alpha", layer["name"]))
        assert layer["alpha"] == pytest.approx(expected, rel=1e-9)
    assert measured["paper"]["alpha"] == pytest.approx(np.mean([x["alpha"] for x in layers]))
    assert measured["paper"]["alpha"] == measured["authors-code"]["alpha"]


def test_measuring_leaves_the_network_of_the_run_alone(store, weights):
    averaged, _ = weights
    model = averaged_network(TRAIN, Run(store, store.root))
    for parameter, matrix in zip(model.parameters(), averaged, strict=True):
        np.testing.assert_array_equal(parameter.detach().double().numpy(), matrix)


def test_networks_that_missed_the_rule_are_not_measured(store):
    train = TRAIN.model_copy(update={"steps": 40, "until_accuracy": 1.0})
    result = execute(MeasureSpec.create(train=train), store)
    assert (result["status"], result["stopped"]) == ("done", False)
    assert "not reached" in result["reason"]


def test_convolutional_layers_are_seen_as_the_authors_do():
    model = build(
        Architecture("vgg", (1, 28, 28), 10, 8), generator=torch.Generator().manual_seed(0)
    )
    views = views_of(model.named_parameters())
    pruned = pruned_views(views)
    assert [view.name for view in pruned] == [view.name for view in views[1:-1]]
    second = dict(model.named_parameters())[views[1].name].detach().numpy()
    kernels = tail_vectors(views[1])
    assert kernels.shape == (16 * 8, 9)
    np.testing.assert_array_equal(kernels[8 * 3 + 5], second[3, 5].ravel())
    assert tail_vectors(views[-1]).shape == views[-1].matrix.T.shape


def test_laws_of_a_convolution(store):
    train = TrainSpec.create(
        dataset={"name": "digits", "train_size": 60, "inputs": "standardized"},
        net="resnet20",
        width=2,
        lr=0.1,
        batch_size=20,
        steps=20,
        until_accuracy=0.12,
        evaluate_every=10,
    )
    r = execute(LayerLawSpec.create(train=train, bins=12), store)
    matrices = load_tensors(store.folder(train) / "model.safetensors")[0]
    w = matrices[r["name"]].double().numpy().ravel()
    assert w.size == max(m.numel() for m in matrices.values() if m.ndim == 4)
    w = w - np.median(w)
    law = StableLaw(r["alpha"], r["scale"])
    assert law.ppf(0.75) - law.ppf(0.25) == pytest.approx(
        np.subtract(*np.quantile(w, (0.75, 0.25)))
    )
    expected = np.histogram(w, r["edges"])[0]
    np.testing.assert_array_equal(r["counts"]["weights"], expected)
    for a, b in (("random half", "other half"), ("first filters", "last filters")):
        np.testing.assert_array_equal(np.add(r["counts"][a], r["counts"][b]), expected)
    normal = kstest(w, "norm", (0, w.std())).statistic
    assert r["distances"]["normal_deviation"] == pytest.approx(normal, abs=1e-6)


def test_distances_from_laws_are_kolmogorovs():
    x = np.random.default_rng(0).normal(size=300)
    expected = kstest(x, "norm").statistic
    assert distance(x, StableLaw(2.0, 1 / math.sqrt(2))) == pytest.approx(expected, abs=1e-6)
    expected = kstest(x, "cauchy").statistic
    assert distance(x, StableLaw(1.0)) == pytest.approx(expected, abs=1e-6)


def chambers_mallows_stuck(alpha, size, generator):
    u = generator.uniform(-math.pi / 2, math.pi / 2, size)
    e = generator.exponential(size=size)
    return (
        np.sin(alpha * u)
        / np.cos(u) ** (1 / alpha)
        * (np.cos((1 - alpha) * u) / e) ** ((1 - alpha) / alpha)
    )


def kanter(a, size, generator):
    """Positive a-stable numbers of Laplace transform exp(-s^a)."""
    u = generator.uniform(0, math.pi, size)
    e = generator.exponential(size=size)
    return np.sin(a * u) / np.sin(u) ** (1 / a) * (np.sin((1 - a) * u) / e) ** ((1 - a) / a)


def share_at_a_tenth(x):
    squares = np.sort(x.ravel() ** 2)
    return np.mean(np.sqrt(np.cumsum(squares) / squares.sum()) <= 0.1)


@pytest.mark.statistical
@pytest.mark.parametrize("alpha", [1.75, 1.95])
def test_prunable_shares_of_synthetic_matrices_have_the_law_of_other_draws(store, alpha):
    """Two-sample Kolmogorov tests of 60 against 60 draws; false alarms below 1e-6 each."""
    size, count, generator = 100, 60, np.random.default_rng(4)
    spec = SyntheticSpec.create(size=size, count=count, low=alpha, high=alpha + 1e-12)
    found = execute(spec, store)
    others = {"independent": [], "columns": [], "layer": []}
    for _ in range(count):
        normal = generator.standard_normal((size, size))
        others["independent"].append(
            share_at_a_tenth(chambers_mallows_stuck(alpha, size**2, generator))
        )
        # a common factor of each vector; that of a single vector changes no share
        radius = np.sqrt(kanter(alpha / 2, size, generator))[:, np.newaxis]
        others["columns"].append(share_at_a_tenth(radius * normal))
        others["layer"].append(share_at_a_tenth(normal))
    for name, shares in others.items():
        assert ks_2samp(found[name], shares).pvalue > 1e-6


def test_draws_do_not_depend_on_how_they_are_divided(store):
    whole = execute(SyntheticSpec.create(size=20, count=4), store)
    part = execute(SyntheticSpec.create(size=20, first=2, count=2), store)
    for key in ("alpha", "independent", "columns", "layer"):
        assert whole[key][2:] == part[key]
    assert all(1.75 <= alpha <= 2 for alpha in whole["alpha"])


def test_stable_vectors_report_their_largest_numbers(store):
    spec = StableVectorSpec.create(size=500, draws=3, bins=10)
    r = execute(spec, store)
    assert sum(r["counts"]) == 500
    assert r["edges"][-1] == pytest.approx(r["largest"])
    normal = np.sort(rng(0, "normal").standard_normal((3, 500)) ** 2, axis=1)
    np.testing.assert_allclose(r["top_share_normal"], normal[:, -5:].sum(1) / normal.sum(1))


def test_curves_of_the_bound_are_the_formula(store):
    r = execute(RhoSpec.create(epsilons=(0.1,), points=5), store)
    k = np.array([0.25, 0.5, 0.75])
    entropy = -k * np.log(k) - (1 - k) * np.log(1 - k)
    expected = [0.1, *np.minimum(0.1 ** (1 - k) * np.exp(1.5 * entropy), 1), 1.0]
    np.testing.assert_allclose(r["rho"][0], expected)
    np.testing.assert_allclose(r["upper"][0][1], min(3 * 0.1**0.75, 1))
    assert r["peak"] == [pytest.approx(1 / (1 + 0.1 ** (2 / 3)))]


def test_counts_are_sums_of_products(store):
    spec = CountSpec.create(net="fcn4", width=7, shape=(1, 5, 5), n_outputs=3)
    assert execute(spec, store)["n_parameters"] == 25 * 7 + 3 * 49 + 7 * 3
