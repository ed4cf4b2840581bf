"""Predictions for random and for given features, held against simulation."""

import numpy as np
import pytest

from prunable.numerics.randomness import rng
from prunable.predict.features.kernels import activation_function, link_function
from prunable.predict.features.prediction import predict_features
from prunable.predict.features.random_features import (
    RandomFeatures,
    compare,
    predict_random_features,
    simulate_random_features,
)
from prunable.predict.linear.names import Model

pytestmark = pytest.mark.statistical


@pytest.mark.parametrize(
    ("activation", "link"), [("relu", "square"), ("tanh", "sign"), ("gelu", "absolute")]
)
def test_population_risk_is_that_of_a_large_test_set(activation, link):
    """5 standard errors: false alarm 6e-7 each."""
    features = RandomFeatures(4, activation, link, noise=0.5)
    layer = features.layer(6, rng(0))
    weights = rng(1).standard_normal(6)
    inputs = rng(2).standard_normal((400_000, 4))
    y = link_function(link)(inputs[:, 0]) + 0.5 * rng(3).standard_normal(len(inputs))
    losses = (y - activation_function(activation)(inputs @ layer.T) @ weights) ** 2
    error = losses.mean() - features.moments(layer).risk(weights)
    assert abs(error) < 5 * losses.std() / np.sqrt(len(losses))


# Pruned without retraining, features of a target that they cannot express.
LOOSE = {Model.MAGNITUDE, Model.HESSIAN, Model.ORACLE}


@pytest.mark.parametrize(("link", "tolerance", "loose"), [("linear", 5, 5), ("square", 5, 20)])
@pytest.mark.parametrize("p", [30, 180])
def test_predictions_with_many_inputs(link, tolerance, loose, p):
    """Within 5 paired standard errors plus the law's own error at n = 60; seeds fixed."""
    features = RandomFeatures(60, link=link, noise=0.5)
    options = {"draws": 6, "seed": 5}
    predicted = predict_random_features(features, 60, p, [12, 24], **options)
    simulated = simulate_random_features(features, 60, p, [12, 24], repeats=6, **options)
    for model in Model:
        found = compare(predicted, simulated, model)
        allowed = loose if model in LOOSE else tolerance
        assert np.all(np.abs(found.percent) < 5 * found.stderr_percent + allowed), model


def test_few_inputs_are_only_approximate():
    """The error that theory leaves at d = 5 is there: dense risk predicted too low, by 2 to 25 %.

    The error is about -10 %, its standard error 2.9 %: with other seeds, one run in 300 would
    fail; seeds are fixed.
    """
    features = RandomFeatures(5)
    predicted = predict_random_features(features, 60, 240, [20], draws=12, seed=1)
    simulated = simulate_random_features(features, 60, 240, [20], draws=12, repeats=8, seed=1)
    found = compare(predicted, simulated, Model.DENSE)
    assert -25 < found.percent[0] < -2


def test_given_gaussian_features():
    """Moments from 2,800 examples: 10 % and 5 standard errors of the measured risk."""
    r = rng(6)
    spectrum = np.linspace(1, 0.02, 120) ** 2
    turn = np.linalg.qr(r.standard_normal((120, 120)))[0]
    x = r.standard_normal((4000, 120)) * np.sqrt(spectrum) @ turn.T
    y = x @ turn @ (r.standard_normal(120) / 10) + 0.4 * r.standard_normal(4000)
    found = predict_features(x, y, 60, [20, 40], widths=[40, 120], repeats=20)
    assert max(found.spreads) < 0.15
    for row in found.points():
        for model in Model:
            if model == Model.ORACLE:
                continue  # goes by estimated saliencies, see the documentation
            if row["risk"][model] is None:
                continue
            truth, error = row["measured"][model], row["measured_stderr"][model]
            assert abs(row["risk"][model] - truth) < 5 * error + 0.1 * truth, (row, model)


def test_spread_warns_of_unequal_examples():
    """Examples of very unequal size: predictions fall short, and the spread says so."""
    r = rng(7)
    x = r.standard_normal((4000, 60)) * np.exp(r.standard_normal((4000, 1)))
    y = x[:, :5].sum(axis=1) + 3 * r.standard_normal(4000)
    found = predict_features(x, y, 80, [20], repeats=12)
    assert found.spreads[0] > 1
    row = found.points()[0]
    assert row["error_percent"]["dense"] < -10
