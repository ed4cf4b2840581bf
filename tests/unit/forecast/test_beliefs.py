"""Beliefs and estimators of a classifier against brute force."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import softmax

from prunable.forecast.estimators import ESTIMATORS, Dense, bootstrap_error, forecast_curve
from prunable.forecast.estimators.belief import decide, tempered
from prunable.forecast.estimators.classification import near_ties, worth_of
from prunable.forecast.estimators.classwise import class_wise, vector
from prunable.forecast.estimators.model_error import evidence_at, informed

SMOOTH = (
    "changed decisions",
    "tempered difference",
    "class-wise temperature",
    "vector temperature",
    "agreement",
    "disagreement law",
    "mean confidence",
)


@pytest.fixture(scope="module")
def outputs():
    rng = np.random.default_rng(3)
    dense = 2.5 * rng.normal(size=(600, 6))
    dense[:, 0] += 0.7
    return dense, dense + 1.5 * rng.normal(size=dense.shape)


def test_the_temperature_makes_mean_confidence_the_accuracy(outputs):
    dense, _ = outputs
    found = tempered(dense, decide(dense), 0.8)
    by_hand = brentq(lambda t: softmax(dense / t, axis=1).max(1).mean() - 0.8, 0.01, 100)
    assert found.temperature == pytest.approx(by_hand, rel=1e-6)
    assert found.of(decide(dense)).mean() == pytest.approx(0.8, abs=1e-9)


def test_the_tempered_difference_by_hand(outputs):
    dense, pruned = outputs
    law = tempered(dense, decide(dense), 0.8).law
    rows = np.arange(len(law))
    by_hand = 0.8 - np.mean(law[rows, dense.argmax(1)] - law[rows, pruned.argmax(1)])
    found = ESTIMATORS["tempered difference"].contributions(Dense(dense, 0.8), pruned)
    assert found.value == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_influences_are_those_of_weights(outputs, name):
    """An input's influence is n times what leaving it out takes away, to first order.

    How frequent classes are is left aside: their probabilities of being equal are taken as fixed.
    """
    dense, pruned = outputs
    estimator, n = ESTIMATORS[name], len(dense)
    whole = estimator.contributions(Dense(dense, 0.8, drawn=False), pruned)
    some = np.arange(0, n, 40)
    without = np.array(
        [
            estimator.contributions(
                Dense(np.delete(dense, i, 0), 0.8, drawn=False), np.delete(pruned, i, 0)
            ).value
            for i in some
        ]
    )
    left_out = (n - 1) * (whole.value - without)
    # Widths of near ties depend on all inputs, which influences leave aside.
    allowed = 0.12 if name == "changed decisions" else 0.03
    assert np.abs(left_out - whole.influence[some]).max() < allowed
    assert whole.influence.mean() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    "name", [name for name in (*SMOOTH, "mixed belief") if not name.endswith("temperature")]
)
def test_the_delta_method_and_the_bootstrap_agree(outputs, name):
    """A deviation of 300 resamples has an error of 4 %: 5 of them, and 10 % for the method."""
    dense, pruned = outputs
    found = ESTIMATORS[name].contributions(Dense(dense, 0.8, drawn=False), pruned)
    drawn = bootstrap_error(dense, pruned, 0.8, estimator=name, resamples=300)
    assert found.error == pytest.approx(drawn, rel=0.3)


@pytest.mark.parametrize("name", [*SMOOTH, "thresholded confidence"])
def test_derivatives_by_the_accuracy(outputs, name):
    dense, pruned = outputs
    estimator, step = ESTIMATORS[name], 1e-4 if name in SMOOTH else 0.05
    low, high = (
        estimator.contributions(Dense(dense, 0.8 + sign * step, drawn=False), pruned).value
        for sign in (-1, 1)
    )
    found = estimator.contributions(Dense(dense, 0.8, drawn=False), pruned).by_accuracy
    allowed = 0.3 if name not in SMOOTH else 0.02 if name.endswith("temperature") else 1e-3
    assert found == pytest.approx((high - low) / (2 * step), abs=allowed)


@pytest.mark.parametrize("fit", [class_wise, vector])
def test_classes_are_believed_as_often_as_decided(outputs, fit):
    dense, _ = outputs
    decisions = decide(dense)
    plain, found = tempered(dense, decisions, 0.8), fit(dense, decisions, 0.8)
    decided = np.bincount(decisions[:, 0], minlength=6) / len(dense)
    apart = [np.abs(belief.law.mean(0) - decided).max() for belief in (plain, found)]
    assert apart[1] < 0.35 * apart[0]
    assert found.of(decisions).mean() == pytest.approx(0.8, abs=0.01)
    with pytest.raises(ValueError, match="at least 20 for each of 6"):
        fit(dense[:100], decisions[:100], 0.8)


def test_a_copy_of_the_network_loses_nothing(outputs):
    dense, _ = outputs
    for name in SMOOTH:
        if name != "mean confidence":
            value = ESTIMATORS[name].contributions(Dense(dense, 0.8), dense.copy()).value
            assert value == pytest.approx(0.8, abs=1e-9)


def test_evidence_multiplies_odds(outputs):
    """Without near ties the forecast is by hand that of odds times exp(evidence)."""
    dense, pruned = outputs
    apart = np.sort(pruned, 1)
    clear = (apart[:, -1] - apart[:, -2]) > 2.5
    dense, pruned = dense[clear], pruned[clear]
    network = Dense(dense, 0.8)
    found = ESTIMATORS["changed decisions"].contributions(network, pruned).value
    law, rows = network.belief.law, np.arange(len(dense))
    before, after = dense.argmax(1), pruned.argmax(1)
    odds = np.exp(evidence_at(network.belief.temperature))
    total = 1 + (odds - 1) * law[rows, after]
    change = (odds * law[rows, after] - law[rows, before]) / total
    by_hand = 0.8 + np.mean(np.where(after == before, 0, change))
    classes, weights = near_ties(dense, pruned)
    assert np.abs(weights[:, 0] - 1).max() < 0.05
    assert found == pytest.approx(by_hand, abs=3e-3)
    assert np.array_equal(classes[:, 0], after)


def test_new_statistics_alone_speak_for_the_old_decisions(outputs):
    """New decisions are worth less than nothing if the renewed network takes them too."""
    dense, pruned = outputs
    rng = np.random.default_rng(5)
    network = Dense(dense, 0.8, renewed=dense + rng.normal(size=dense.shape))
    after = decide(pruned)
    found = worth_of(network, pruned, after, 0.2, -0.4)[:, 0]
    old, again = dense.argmax(1), network.renewed.argmax(1)
    told = informed(old, after[:, 0], dense.shape[1])
    of_old = told * evidence_at(network.belief.temperature, -0.4)
    by_hand = np.where(after[:, 0] == again, of_old, 0.2 * told)
    assert found == pytest.approx(np.where(after[:, 0] == old, 0, by_hand))
    assert len(np.unique(found)) == 3


def test_evidence_fades_where_networks_are_far_too_sure():
    values = [evidence_at(t, 0.25) for t in (0.5, 1.8, 2.2, 2.6, 9.0)]
    assert values[:2] == [0.25, 0.25]
    assert 0 < values[2] < 0.25
    assert values[3:] == [0, 0]


def test_evidence_fades_where_decisions_are_those_of_chance():
    """Cohen's kappa by hand: 40 of 60 agree, 30 of 60 would by chance."""
    before = np.repeat([0, 1], 30)
    after = np.concatenate([np.repeat([0, 1], [20, 10]), np.repeat([0, 1], [10, 20])])
    assert informed(before, after, 2) == 1
    assert informed(before, np.zeros(60, int), 2) == 0
    assert informed(before, 1 - before, 2) == 0
    after = np.concatenate([np.repeat([0, 1], [17, 13]), np.repeat([0, 1], [14, 16])])
    by_hand = (33 / 60 - 0.5) / 0.5 / 0.2
    assert informed(before, after, 2) == pytest.approx(by_hand, abs=1e-9)
    assert informed(np.zeros(9, int), np.zeros(9, int), 3) == 1


def test_near_ties_keep_the_mean_and_lower_the_noise():
    """A share of decisions kept, of a known law: bias under .3 points, a tenth less deviation.

    400 draws: both allowances are more than 5 standard errors.
    """
    rng = np.random.default_rng(5)
    hard, soft = [], []
    for _ in range(400):
        dense = rng.normal(size=(256, 2)) * 2
        pruned = dense + rng.normal(size=dense.shape)
        classes, weights = near_ties(dense, pruned)
        kept = classes == dense.argmax(1)[:, None]
        hard.append(kept[:, 0].mean())
        soft.append((weights * kept).sum(1).mean())
    assert abs(np.mean(soft) - np.mean(hard)) < 0.003
    assert np.std(soft) < 0.95 * np.std(hard)


def test_accuracies_that_no_temperature_reaches():
    """An accuracy of one leaves every changed decision wrong."""
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(200, 4))
    pruned = dense + rng.normal(size=dense.shape)
    found = forecast_curve(dense, [pruned], [0.5], accuracy=1.0, estimator="tempered difference")
    kept = np.mean(dense.argmax(1) == pruned.argmax(1))
    assert found.points[0].value == pytest.approx(kept, abs=0.01)
