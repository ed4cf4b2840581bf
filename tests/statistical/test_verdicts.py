"""Verdicts on simulated layers; tools/simulate_measure.py does the same at full length."""

import numpy as np
import pytest

from prunable.numerics.measure.entries import Plain
from prunable.numerics.measure.layer import measure_layer
from prunable.numerics.measure.options import Options
from prunable.numerics.measure.verdict import Kind
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.tails import Status

pytestmark = pytest.mark.statistical
LAYERS = 12
SHAPE = (300, 400)


def magnitude_pruned(r):
    w = r.standard_normal(SHAPE)
    w[np.abs(w) < np.quantile(np.abs(w), 0.8)] = 0
    return w


KINDS = {
    "stable 1.2": (lambda r: StableLaw(1.2).sample(SHAPE, r), Kind.STABLE),
    "stable 1.75": (lambda r: StableLaw(1.75).sample(SHAPE, r), Kind.STABLE),
    "stable 1.95": (lambda r: StableLaw(1.95).sample(SHAPE, r), Kind.STABLE),
    "gaussian": (lambda r: 0.02 * r.standard_normal(SHAPE), Kind.GAUSSIAN),
    "uniform": (lambda r: r.uniform(-0.05, 0.05, SHAPE), Kind.LIGHT),
    "student": (lambda r: r.standard_t(3, SHAPE), Kind.HEAVY),
    "laplace": (lambda r: r.laplace(size=SHAPE), Kind.LIGHT),
    "pruned by magnitude": (magnitude_pruned, Kind.LIGHT),
    "pruned at random": (
        lambda r: r.standard_normal(SHAPE) * (r.random(SHAPE) > 0.9),
        Kind.GAUSSIAN,
    ),
}


def layer_of(w, options=None, seed=0):
    return measure_layer(w, options or Options(), rng(seed))[0]


@pytest.mark.parametrize("name", list(KINDS))
def test_verdict(name):
    """At most one of twelve wrong: at 1 % each, two or more have probability 0.6 %; seeds fixed."""
    make, kind = KINDS[name]
    layers = [
        layer_of(make(rng(i, name)).astype(np.float32), Options(spectrum="none"), i)
        for i in range(LAYERS)
    ]
    assert sum(layer.verdict != kind for layer in layers) <= 1, [x.reason for x in layers]
    for layer in layers:
        has_alpha = layer.verdict in (Kind.STABLE, Kind.GAUSSIAN)
        assert has_alpha <= np.isfinite(layer.alpha)
        assert layer.reason.endswith(".")


@pytest.mark.parametrize("seed", range(3))
def test_default_initialisation_of_torch(seed):
    import torch

    torch.manual_seed(seed)
    uniform = torch.nn.Linear(300, 200).weight.detach().numpy()
    normal = torch.nn.init.normal_(torch.empty(200, 300), std=0.02).numpy()
    kinds = [layer_of(w, seed=seed).verdict for w in (uniform, normal)]
    assert kinds == [Kind.LIGHT, Kind.GAUSSIAN]


@pytest.mark.parametrize(
    "w", [np.zeros((40, 40)), np.ones((3, 4)), np.eye(30), np.array([[1.0]]), np.zeros((1, 1))]
)
def test_too_few_weights_get_no_verdict_and_no_number(w):
    found = layer_of(w)
    assert found.verdict is Kind.TOO_FEW
    assert np.isnan(found.alpha)
    assert all(e.status is not Status.OK for e in found.estimators.values()) or w.shape == (30, 30)
    assert set(found.kappa) == {"weight", "node", "unit", "singular_value"}
    assert found.stable_fit is None


def test_equal_weights_get_no_number():
    found = layer_of(np.full((40, 40), 0.5))
    assert found.verdict is Kind.TOO_FEW
    assert np.isnan(found.alpha)


def test_samples_are_centred_unless_pruned():
    r = rng(0, "centre")
    w = r.standard_normal(10_000) + 5
    assert abs(np.median(Plain(w).draw(rng(0)).values)) < 1e-12
    w[:500] = 0
    assert np.median(Plain(w).draw(rng(0)).values) == pytest.approx(5, abs=0.1)


def test_large_layers_are_sampled_without_repetition():
    w = np.arange(1, 2_500_001, dtype=np.float64)
    w[0:100_000] = 0
    sample = Plain(w).draw(rng(0)).values
    assert len(sample) == 2**20
    assert len(np.unique(sample)) == len(sample)
    assert abs(np.corrcoef(np.arange(len(sample)), sample)[0, 1]) < 0.006


def test_a_stable_body_with_a_light_tail_is_no_stable_law():
    """Up to three standard deviations a logistic-Gaussian mixture looks like alpha = 1.97."""
    r = rng(0, "peaked")
    w = r.standard_normal((384, 384)) * np.exp(0.1 * r.standard_normal((384, 384)))
    layer = layer_of(w, Options(spectrum="none"))
    assert layer.verdict is Kind.LIGHT
    assert np.isnan(layer.alpha)
    assert "its tail holds" in layer.reason
