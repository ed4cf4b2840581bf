"""Stages of the 2020 paper's figures against closed forms and independent simulations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prunable.data.loaders import load
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import MODEL, new_network, trained_network
from prunable.nets.archive import load_tensors
from prunable.papers.chang2020.specs import (
    LinearCurveSpec,
    LinearTrialsSpec,
    PruneRetrainSpec,
    RandomFeaturesSpec,
)
from prunable.papers.chang2020.stages import (
    base_size,
    predict_curve,
    random_features,
    simulate_widths,
)
from prunable.runs.execution import execute
from prunable.runs.store import Run, Store

P, N, S, SPIKE = 200, 60, 20, 25.0


def a_run(folder: Path) -> Run:
    return Run(Store(folder), folder)


def spiked(panel: str) -> tuple[np.ndarray, np.ndarray]:
    """Variances and coefficients of a panel, written down anew."""
    spike = np.ones(P)
    spike[:S] = SPIKE
    ones = np.ones(P)
    variances, weights = (ones, np.sqrt(spike)) if panel == "a" else (spike, ones)
    return variances, weights / math.sqrt(P)


# Predictions of an independent program at p = 1000, n = 300, s = 100, to its digits.
TABLE = {
    "a": {
        "dense": (1.350, 1.700, 4.500, 3.100, 2.410, 2.296, 2.380),
        "magnitude": (1.350, 1.826, 4.401, 3.064, 2.555, 2.566, 2.740),
        "oracle": (1.350, 1.467, 2.400, 1.638, 1.589, 1.857, 2.196),
    },
    "b": {
        "dense": (1.350, 1.700, 4.500, 2.797, 1.738, 1.202, 0.977),
        "magnitude": (1.350, 2.349, 5.668, 4.274, 3.556, 2.902, 2.261),
        "hessian": (1.350, 1.826, 4.401, 2.619, 1.729, 1.330, 1.206),
        "oracle": (1.350, 1.467, 2.400, 1.798, 1.441, 1.259, 1.188),
    },
}
TABLE_WIDTHS = (100, 150, 250, 400, 500, 700, 1000)


class TestCurves:
    @pytest.mark.parametrize("panel", ["a", "b"])
    def test_against_tabulated_predictions(self, panel: Any, tmp_path: Path) -> None:
        spec = LinearCurveSpec.create(panel=panel, p=1000, widths=TABLE_WIDTHS)
        risk = predict_curve(spec, a_run(tmp_path))["risk"]
        for name, expected in TABLE[panel].items():
            # the table has three digits, the last of them not always rounded
            assert risk[name] == pytest.approx(expected, abs=2e-3)

    def test_retraining_few_features_is_lemma_7(self, tmp_path: Path) -> None:
        """With k <= s nothing is pruned: (sigma_k^2) / (1 - k / n), whatever the data."""
        spec = LinearCurveSpec.create(panel="b", p=1000, widths=(40, 100))
        risk = predict_curve(spec, a_run(tmp_path))["risk"]
        expected = [(25 * 60 + 900) / 1000 / (1 - 40 / 300), 900 / 1000 / (1 - 100 / 300)]
        assert risk["retrained"] == pytest.approx(expected)

    def test_what_is_infinite_is_null(self, tmp_path: Path) -> None:
        spec = LinearCurveSpec.create(panel="a", p=100, widths=(30, 40), same_data=True)
        risk = predict_curve(spec, a_run(tmp_path))["risk"]
        assert risk["dense"][0] is None
        assert all(risk[name][1] is not None for name in risk)


WIDTHS = (10, 20, 40, 120, 200)


@pytest.fixture(scope="module", params=["a", "b"])
def simulated(request: Any, tmp_path_factory: Any) -> tuple[str, dict[str, Any]]:
    spec = LinearTrialsSpec.create(panel=request.param, p=P, widths=WIDTHS, trials=150)
    return request.param, simulate_widths(spec, a_run(tmp_path_factory.mktemp("run")))


@pytest.mark.statistical
class TestTrials:
    """Each comparison allows 5 standard errors; false alarms of all together: below 1e-4."""

    def check(self, found: dict[str, Any], name: str, k: int, expected: float) -> None:
        place = WIDTHS.index(k)
        mean, stderr = found["mean"][name][place], found["stderr"][name][place]
        assert abs(mean - expected) < 5 * stderr
        assert stderr < 0.05 * expected

    def test_fewer_features_than_samples(self, simulated: tuple[str, dict[str, Any]]) -> None:
        """Exact at finite n: the inverse Wishart has mean Sigma^-1 / (n - k - 1)."""
        panel, found = simulated
        variances, weights = spiked(panel)
        energy = variances * weights**2
        for k in (10, 20, 40):
            left = energy[k:].sum()
            each = left / (N - k - 1)
            self.check(found, "dense", k, left + k * each)
            # the oracle keeps the first s of k, and does without the others
            kept = min(S, k)
            self.check(found, "oracle", k, left + kept * each + energy[kept:k].sum())

    @pytest.mark.parametrize("simulated", ["a"], indirect=True)
    def test_more_features_with_identity_covariance(
        self, simulated: tuple[str, dict[str, Any]]
    ) -> None:
        """The row space is uniform: bias (1 - n/k) |b|^2, variance sigma_k^2 n / (k - n - 1)."""
        _, found = simulated
        _, weights = spiked("a")
        for k in (120, 200):
            left = (weights[k:] ** 2).sum()
            expected = left + (1 - N / k) * (weights[:k] ** 2).sum() + left * N / (k - N - 1)
            self.check(found, "dense", k, expected)

    def test_pruned_and_retrained_against_a_program_of_its_own(
        self, simulated: tuple[str, dict[str, Any]]
    ) -> None:
        panel, found = simulated
        variances, weights = spiked(panel)
        generator = np.random.default_rng(5)
        k, rows = 120, []
        for _ in range(120):
            X = generator.standard_normal((N, P)) * np.sqrt(variances)
            y = X @ weights
            dense = np.linalg.pinv(X[:, :k]) @ y
            row = {}
            for name, score in (
                ("magnitude", np.abs(dense)),
                ("hessian", np.abs(dense) * np.sqrt((X[:, :k] ** 2).mean(axis=0))),
            ):
                kept = np.argsort(score)[-S:]
                model = np.zeros(P)
                model[kept] = dense[kept]
                row[name] = float(variances @ (model - weights) ** 2)
                model[kept] = np.linalg.lstsq(X[:, kept], y, rcond=None)[0]
                suffix = "" if name == "magnitude" else "_hessian"
                row[f"retrained_same_data{suffix}"] = float(variances @ (model - weights) ** 2)
            rows.append(row)
        place = WIDTHS.index(k)
        for name in rows[0]:
            own = np.array([row[name] for row in rows])
            error = math.hypot(own.std(ddof=1) / math.sqrt(len(own)), found["stderr"][name][place])
            assert abs(own.mean() - found["mean"][name][place]) < 5 * error

    def test_differences_are_those_of_the_means(
        self, simulated: tuple[str, dict[str, Any]]
    ) -> None:
        mean = simulated[1]["mean"]
        for pair in [name for name in mean if " - " in name]:
            one, other = pair.split(" - ")
            expected = np.subtract(mean[one], mean[other])
            assert mean[pair] == pytest.approx(expected, abs=1e-12)


def test_widths_see_the_same_data_in_any_run(tmp_path: Path) -> None:
    together = LinearTrialsSpec.create(panel="b", p=100, widths=(10, 50, 100), trials=3)
    alone = LinearTrialsSpec.create(panel="b", p=100, widths=(50,), trials=3)
    one, other = (simulate_widths(spec, a_run(tmp_path)) for spec in (together, alone))
    for name, values in other["mean"].items():
        assert one["mean"][name][1] == values[0]


@pytest.mark.statistical
def test_random_features_against_a_program_of_its_own(tmp_path: Path) -> None:
    """Means over first layers within 5 standard errors; false alarms: below 1e-5."""
    d, n, p, s, layers = 3, 40, 10, 5, 40
    spec = RandomFeaturesSpec.create(d=d, n=n, p=p, kept=(s,), layers=layers, data_sets=2)
    found = random_features(spec, a_run(tmp_path))
    generator = np.random.default_rng(11)
    rows = []
    for _ in range(layers):
        layer = generator.standard_normal((p, d))
        direction = generator.standard_normal(d)
        direction /= np.linalg.norm(direction)

        def sample(count: int, layer: Any = layer, direction: Any = direction) -> Any:
            inputs = generator.standard_normal((count, d))
            return np.maximum(inputs @ layer.T, 0), (inputs @ direction) ** 2

        X, y = sample(n)
        test, target = sample(20_000)
        dense = np.linalg.pinv(X) @ y
        kept = np.argsort(np.abs(dense))[-s:]
        pruned, again = np.zeros(p), np.zeros(p)
        pruned[kept] = dense[kept]
        again[kept] = np.linalg.lstsq(X[:, kept], y, rcond=None)[0]
        rows.append([np.mean((target - test @ w) ** 2) for w in (dense, pruned, again)])
    own = np.array(rows)
    for column, model in enumerate(("dense", "magnitude", "retrained_same_data")):
        theirs = np.array(found["simulated"][model])[:, 0]
        assert theirs.shape == (layers,)
        error = math.hypot(own[:, column].std(ddof=1), theirs.std(ddof=1)) / math.sqrt(layers)
        assert abs(own[:, column].mean() - theirs.mean()) < 5 * error


DENSE = TrainSpec.create(
    dataset="digits",
    net="two-layer",
    width=12,
    optimizer="adam",
    lr=0.01,
    batch_size=64,
    steps=60,
    evaluate_every=60,
)
BASE = 3
# 64 inputs, 10 classes, with biases
KEPT = 64 * BASE + BASE + 10 * BASE + 10


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def pruned(store: Store, **fields: Any) -> tuple[PruneRetrainSpec, dict[str, Any]]:
    settings = {"train": DENSE, "base_width": BASE, "retrain_steps": 40} | fields
    spec = PruneRetrainSpec.create(**settings)
    return spec, execute(spec, store)


def tensors(store: Store, spec: PruneRetrainSpec) -> dict[str, torch.Tensor]:
    return load_tensors(store.folder(spec) / MODEL)[0]


class TestPruneRetrain:
    def test_keeps_the_largest_weights(self, store: Store) -> None:
        spec, result = pruned(store, retrain_steps=0)
        assert result["kept"] == KEPT == base_size(spec)
        assert result["n_parameters"] == 64 * 12 + 12 + 120 + 10
        dense = trained_network(store.folder(DENSE), DENSE).state_dict()
        weights = {name: x for name, x in dense.items() if x.ndim == 2}
        biases = sum(x.numel() for x in dense.values()) - sum(x.numel() for x in weights.values())
        flat = np.concatenate([x.abs().numpy().ravel() for x in weights.values()])
        threshold = np.sort(flat)[-(KEPT - biases)]
        for name, x in tensors(store, spec).items():
            expected = torch.where(dense[name].abs() >= threshold, dense[name], torch.zeros(()))
            assert torch.equal(x, expected if name in weights else dense[name])

    def test_accuracy_of_what_was_kept(self, store: Store) -> None:
        """By matrix products, on the digits as they are."""
        spec, result = pruned(store, retrain_steps=0)
        stored = {name: x.double().numpy() for name, x in tensors(store, spec).items()}
        w1, b1, w2, b2 = (stored[f"{i}.{kind}"] for i in (1, 3) for kind in ("weight", "bias"))
        data = load("digits")
        logits = np.maximum(data.x_test @ w1.T + b1, 0) @ w2.T + b2
        accuracy = np.mean(logits.argmax(axis=1) == data.y_test)
        assert result["metrics"]["test_accuracy"] == pytest.approx(accuracy)
        assert result["metrics"]["test_accuracy_pruned"] == pytest.approx(accuracy)

    @pytest.mark.parametrize("method", ["magnitude", "random"])
    @pytest.mark.parametrize("restart", ["final", "initial"])
    def test_retraining_keeps_the_zeros(self, store: Store, method: str, restart: str) -> None:
        spec, result = pruned(store, method=method, restart=restart)
        before, _ = pruned(store, method=method, retrain_steps=0)
        masks = {n: x != 0 for n, x in tensors(store, before).items() if x.ndim == 2}
        after = tensors(store, spec)
        assert all((after[name][~mask] == 0).all() for name, mask in masks.items())
        nonzero = sum(int((after[name] != 0).sum()) for name in masks)
        assert nonzero <= KEPT - 12 - 10
        assert nonzero > 0.9 * (KEPT - 12 - 10)
        if restart == "final":
            assert result["metrics"]["train_loss"] < result["metrics"]["train_loss_pruned"]

    def test_restarts_from_the_initial_weights(self, store: Store) -> None:
        """After one small step the kept weights are near the untrained, not the trained ones."""
        tiny = DENSE.model_copy(update={"lr": 1e-6})
        far = execute(DENSE, store)
        assert far["status"] == "done"
        spec, _ = pruned(store, train=tiny, retrain_steps=1, restart="initial")
        data = load("digits")
        initial = new_network(DENSE, data).state_dict()
        for name, x in tensors(store, spec).items():
            kept = x != 0
            assert torch.allclose(x[kept], initial[name][kept], atol=1e-5)

    def test_the_base_width_itself_is_not_pruned(self, store: Store) -> None:
        _, result = pruned(store, base_width=12, retrain_steps=0)
        dense = execute(DENSE, store)
        assert result["kept"] == result["n_parameters"]
        for name, value in dense["metrics"].items():
            assert result["metrics"][f"{name}_pruned"] == pytest.approx(value)

    def test_random_masks_differ_from_magnitude(self, store: Store) -> None:
        one, _ = pruned(store, retrain_steps=0)
        other, result = pruned(store, retrain_steps=0, method="random")
        assert result["kept"] == KEPT
        assert not torch.equal(*(tensors(store, spec)["1.weight"] for spec in (one, other)))

    def test_same_numbers_again(self, store: Store, tmp_path: Path) -> None:
        spec, result = pruned(store)
        assert execute(spec, Store(tmp_path))["metrics"] == result["metrics"]
