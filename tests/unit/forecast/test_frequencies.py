"""How often classes are expected, and the belief of two networks of which neither is better."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import softmax
from scipy.stats import binom
from torch import nn

from prunable import forecast
from prunable.forecast.estimators import DEFAULT, ESTIMATORS, Dense, forecast_curve
from prunable.forecast.estimators.classification import unequal
from prunable.nets.prune.recalibration import recalibrate


@pytest.mark.parametrize(("right", "n"), [(20, 40), (31, 40), (140, 256), (160, 256), (520, 1000)])
def test_the_probability_of_unequal_classes_of_two(right, n):
    """By integration over all shares, which are as likely beforehand."""
    whole, _ = quad(lambda share: binom.pmf(right, n, share), 0, 1, points=[right / n], limit=500)
    odds = whole / binom.pmf(right, n, 0.5)
    shares = np.array([right, n - right]) / n
    assert unequal(shares, n) == pytest.approx(odds / (1 + odds), rel=1e-7)


def drawn(rng, n, shares):
    """Logits whose softmax is the law of the labels, and labels."""
    classes = rng.choice(len(shares), n, p=shares)
    logits = 2 * rng.normal(size=(n, len(shares)))
    logits[np.arange(n), classes] += 5
    law = softmax(logits, axis=1)
    return logits, (rng.random((n, 1)) > law.cumsum(1)).sum(1).clip(max=len(shares) - 1)


def errors_of(shares, name, draws=60):
    """Errors for a copy that decides the first class whatever it sees, from 256 inputs a draw."""
    rng = np.random.default_rng(5)
    logits, labels = drawn(rng, 100_000, shares)
    accuracy, truth = np.mean(logits.argmax(1) == labels), np.mean(labels == 0)
    found = []
    for _ in range(draws):
        some = logits[rng.choice(len(logits), 256, replace=False)]
        copy = np.zeros_like(some)
        copy[:, 0] = 1
        estimate = ESTIMATORS[name].contributions(Dense(some, accuracy), copy)
        found.append((estimate.value - truth, estimate.error))
    return np.array(found).T


def test_the_draw_of_equal_classes_is_no_noise():
    """The ratio of deviations is some .3; 60 draws tell it to a tenth of itself."""
    plain, _ = errors_of(np.full(10, 0.1), "tempered difference")
    errors, said = errors_of(np.full(10, 0.1), DEFAULT)
    assert errors.std() < 0.6 * plain.std()
    assert np.abs(errors).mean() < said.mean()


def test_influences_of_equal_classes():
    """An input's influence is 599 times what leaving it out takes away, to first order."""
    rng = np.random.default_rng(3)
    dense = 2.5 * rng.normal(size=(600, 6))
    pruned, estimator = dense + 4 * rng.normal(size=dense.shape), ESTIMATORS[DEFAULT]
    whole = estimator.contributions(Dense(dense, 0.8), pruned)
    some = np.arange(0, 600, 40)
    parts = [(np.delete(dense, i, 0), np.delete(pruned, i, 0)) for i in some]
    without = [estimator.contributions(Dense(d, 0.8), p).value for d, p in parts]
    left_out = 599 * (whole.value - np.array(without))
    # widths of near ties depend on all inputs, which influences leave aside
    assert np.abs(left_out - whole.influence[some]).max() < 0.12


def test_unequal_classes_are_taken_as_they_are():
    """On the same draws; a firm belief in equal classes would be 30 points off."""
    shares = np.array([0.4, *np.full(9, 0.6 / 9)])
    errors, _ = errors_of(shares, DEFAULT)
    plain, _ = errors_of(shares, "tempered difference")
    assert abs(errors.mean() - plain.mean()) < 0.002


def test_of_two_networks_as_good_neither_is_believed():
    """Both see the truth through noise of their own, and are far too sure, as of new inputs."""
    rng = np.random.default_rng(1)
    truth = 3 * rng.normal(size=(4000, 10))
    labels = (rng.random((4000, 1)) > softmax(truth, axis=1).cumsum(1)).sum(1).clip(max=9)
    dense, other = (3 * (truth + 2.5 * rng.normal(size=truth.shape)) for _ in range(2))
    right = [np.mean(logits.argmax(1) == labels) for logits in (dense, other)]
    settings = {"accuracy": right[0], "outcome_inputs": None}
    (alone,) = forecast_curve(dense, [other], [0.9], **settings).points
    (both,) = forecast_curve(dense, [other], [0.9], renewed=other, **settings).points
    assert alone.value < right[1] - 0.04
    assert both.value == pytest.approx(right[1], abs=0.02)


def test_ways_that_estimate_statistics_again_are_believed_so():
    """The forecast of such a way is that of the curve with the renewed network's outputs."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(),
        nn.Linear(20, 4),
    ).eval()  # fmt: skip
    net[1].running_mean.normal_(0, 3)
    x = torch.randn(96, 8)
    seen = {"strategies": ["wanda/layer"], "keeps": [1.0, 0.5], "accuracy": 0.7}
    whole, _ = forecast(net, x, **seen).curves[0].points
    dense = net(x).detach().numpy()
    again = nn.Sequential(*net)
    recalibrate(again, x, batch_size=32)
    renewed = again(x).detach().numpy()
    assert np.abs(renewed - dense).max() > 0.1
    (point,) = forecast_curve(dense, [renewed], [1.0], accuracy=0.7, renewed=renewed).points
    assert whole.accuracy == pytest.approx(point.value, abs=1e-3)
    (without,) = forecast_curve(dense, [renewed], [1.0], accuracy=0.7).points
    assert abs(whole.accuracy - without.value) > 0.02
