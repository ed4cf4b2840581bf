"""Forecasts where the truth is known: labels drawn from the networks' own tempered softmax."""

import numpy as np
import pytest
from scipy.special import softmax

from prunable.forecast.estimators import ESTIMATORS, Dense, forecast_curve
from prunable.forecast.estimators.belief import decide
from prunable.forecast.estimators.estimate import quantile

pytestmark = pytest.mark.statistical

N, CLASSES, INPUTS, REPLICATIONS = 50_000, 10, 256, 2000
TEMPERATURE = 1.6


@pytest.fixture(scope="module")
def population():
    """Logits of a dense and three pruned networks, and the law that labels are drawn from."""
    rng = np.random.default_rng(7)
    dense = rng.normal(size=(N, CLASSES)) * rng.gamma(4, 0.9, size=(N, 1))
    dense[np.arange(N), rng.integers(0, CLASSES, N)] += 4.0
    pruned = [dense + scale * rng.normal(size=dense.shape) for scale in (0.5, 2.0, 6.0)]
    law = softmax(dense / TEMPERATURE, axis=1)
    return dense, pruned, law


def worth(law, logits):
    """The mean accuracy of a network's decisions under a law of the labels."""
    return float(np.take_along_axis(law, decide(logits), 1).mean())


def test_unbiased_and_covering(population):
    """2,000 draws of 256 inputs: bias within 3 standard errors, coverage of 90 % within 88 to 92 %.

    False alarms: .8 % in all of three biases; a coverage of 90 % leaves 88 to 92 with .3 % a case.
    """
    dense, pruned, law = population
    accuracy = worth(law, dense)
    truths = [worth(law, logits) for logits in pruned]
    rng = np.random.default_rng(11)
    estimator, z = ESTIMATORS["tempered difference"], quantile(0.9, INPUTS)
    errors = np.empty((REPLICATIONS, len(pruned)))
    inside = np.empty_like(errors)
    for i in range(REPLICATIONS):
        drawn = rng.choice(N, INPUTS, replace=False)
        network = Dense(dense[drawn], accuracy)
        for j, logits in enumerate(pruned):
            found = estimator.contributions(network, logits[drawn])
            errors[i, j] = found.value - truths[j]
            inside[i, j] = abs(errors[i, j]) <= z * found.error
    bias, noise = errors.mean(0), errors.std(0, ddof=1) / np.sqrt(REPLICATIONS)
    assert np.all(np.abs(bias) <= 3 * noise)
    assert np.all((inside.mean(0) >= 0.88) & (inside.mean(0) <= 0.92))


def test_the_public_interval_of_a_calibrated_network(population):
    """`calibrated=True` gives these intervals of the mean: 400 draws, 90 % at 5 errors."""
    dense, pruned, law = population
    accuracy, truth = worth(law, dense), worth(law, pruned[1])
    rng = np.random.default_rng(12)
    inside = []
    for _ in range(400):
        drawn = rng.choice(N, INPUTS, replace=False)
        point = forecast_curve(
            dense[drawn],
            [pruned[1][drawn]],
            [0.5],
            accuracy=accuracy,
            outcome_inputs=None,
            calibrated=True,
        ).points[0]
        assert point.model == 0
        inside.append(point.low <= truth <= point.high)
    assert abs(np.mean(inside) - 0.9) <= 5 * np.sqrt(0.09 / 400)


@pytest.mark.parametrize("same", [False, True])
def test_intervals_of_outcomes(population, same):
    """Outcomes on 300 other labelled inputs fall into their interval nine times in ten.

    Of the dense network its accuracy on all inputs is known, or on these very 300. 500 draws, 5
    standard errors: false alarm below one in a million.
    """
    dense, pruned, law = population
    accuracy = worth(law, dense)
    rng = np.random.default_rng(13)
    inside = []
    for _ in range(500):
        drawn = rng.choice(N, INPUTS + 300, replace=False)
        seen, others = drawn[:INPUTS], drawn[INPUTS:]
        labels = (law[others].cumsum(1) > rng.random((300, 1))).argmax(1)
        if same:
            accuracy = float(np.mean(decide(dense[others])[:, 0] == labels))
        point = forecast_curve(
            dense[seen],
            [pruned[1][seen]],
            [0.5],
            accuracy=accuracy,
            outcome_inputs=300,
            same_inputs=same,
            calibrated=True,
        ).points[0]
        outcome = np.mean(decide(pruned[1][others])[:, 0] == labels)
        inside.append(point.low <= outcome <= point.high)
    assert abs(np.mean(inside) - 0.9) <= 5 * np.sqrt(0.09 / 500)


def test_little_change_tells_much_of_outcomes_on_the_same_inputs(population):
    """Where few decisions change, the interval of outcomes on others is wider."""
    dense, pruned, law = population
    known = {"accuracy": worth(law, dense), "calibrated": True}
    one, other = (
        forecast_curve(dense[:INPUTS], [pruned[0][:INPUTS]], [0.5], same_inputs=same, **known)
        for same in (True, False)
    )
    assert 0.8 < one.points[0].retention < 1
    narrow, wide = (c.points[0].high - c.points[0].low for c in (one, other))
    assert 0 < narrow < wide


def failed(forecast):
    return {check.name for check in forecast.checks if not check.passed}


def test_a_miscalibrated_network_is_flagged(population):
    """In at least 95 % of 200 draws each; a calibrated one by labels in 2 % (two tests of 1 %).

    More than 15 false alarms of 200 have a probability of one in a hundred thousand.
    """
    dense, pruned, law = population
    rng = np.random.default_rng(14)
    accuracy = worth(law, dense)
    # Logits five times too large are seen without labels; sure decisions that are mostly wrong by
    # 150 labels, though the accuracy stated is the true one.
    wrong = law.copy()
    sure = wrong.max(1) > 0.9
    wrong[sure] = 0.2 * wrong[sure] + 0.8 / CLASSES
    caught, caught_by_labels, false = 0, 0, 0
    for _ in range(200):
        drawn = rng.choice(N, INPUTS, replace=False)
        copy = [pruned[0][drawn]]
        sharp = forecast_curve(5 * dense[drawn], copy, [0.5], accuracy=accuracy)
        caught += "plausible temperature" in failed(sharp)
        for truth in (law, wrong):
            labels = (truth[drawn].cumsum(1) > rng.random((INPUTS, 1))).argmax(1)
            labels[150:] = -1
            known = worth(truth, dense)
            found = forecast_curve(dense[drawn], copy, [0.5], accuracy=known, labels=labels)
            alarm = bool(failed(found))
            if truth is law:
                false += alarm
            else:
                caught_by_labels += alarm
    assert caught >= 190
    assert caught_by_labels >= 190
    assert false <= 15
