"""Curves: what is refused, what is checked, labels, smoothing, and intervals."""

import doctest
import re

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from prunable.errors import InputError
from prunable.forecast.estimators import curve, forecast_curve, language, retraining
from prunable.forecast.estimators.curve import monotone, smooth
from prunable.forecast.estimators.estimate import Estimate
from prunable.forecast.estimators.labelled import powered, with_labels

RNG = np.random.default_rng(0)
DENSE = 3 * RNG.normal(size=(200, 5))
PRUNED = DENSE + RNG.normal(size=DENSE.shape)


def forecast(dense=DENSE, pruned=(PRUNED,), kappas=(0.5,), accuracy=0.9, **options):
    return forecast_curve(dense, pruned, kappas, accuracy=accuracy, **options)


def broken(at, value):
    spoilt = DENSE.copy()
    spoilt[at] = value
    return spoilt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": 37}, "a share, not per cent; got 37. Did you mean 0.37?"),
        ({"accuracy": 0.15}, "above chance, which is 0.2; got 0.15"),
        ({"accuracy": -0.1}, "between 0 and 1"),
        ({"accuracy": float("nan")}, "a finite number"),
        ({"accuracy": True}, "a finite number"),
        ({"accuracy": "high"}, "a finite number"),
        ({"dense": DENSE[:29], "pruned": [PRUNED[:29]]}, "at least 30 inputs; got 29"),
        ({"dense": np.ones((200, 5))}, "the same outputs for all of them"),
        ({"dense": broken(7, np.nan)}, "NaN or infinity for 1 of 200 inputs"),
        ({"pruned": [broken((3, 1), np.inf)]}, "`pruned` of `forecast` must be finite"),
        ({"pruned": [PRUNED[:, :4]]}, "of shape (200, 5); got the shape (200, 4)"),
        ({"dense": DENSE[:, 0]}, "2 dimensions"),
        ({"dense": DENSE[:, :1], "pruned": [PRUNED[:, :1]]}, "at least 2 classes"),
        ({"dense": DENSE > 0}, "real numbers"),
        ({"pruned": []}, "outputs for each of 1 kappas; got 0"),
        ({"pruned": [PRUNED, PRUNED]}, "outputs for each of 1 kappas; got 2"),
        ({"kappas": (1.5,)}, "shares in (0, 1]"),
        ({"kind": "telepathy"}, "one of"),
        ({"estimator": "oracle"}, "one of"),
        ({"estimator": "agreement", "calibrated": True}, "if calibrated"),
        ({"labels": np.full(200, 5)}, "classes from 0 to 4, -1 where unknown; got 5"),
        ({"labels": np.full(200, 0.5)}, "classes from 0 to 4"),
        ({"labels": ["cat"] * 200}, "whole numbers, -1 where unknown"),
        ({"labels": np.zeros(199)}, "of shape (200,)"),
        ({"level": 1.5}, "between 0.5 and 0.999"),
        ({"outcome_inputs": 0}, "at least 1"),
        ({"outcome_inputs": None, "same_inputs": True}, "given with outcome inputs"),
        ({"accuracy_inputs": 100, "same_inputs": True}, "given with outcome inputs"),
        ({"kind": "embedding"}, "left out for embeddings"),
        ({"kind": "language"}, "window_figures"),
        ({"reference": DENSE[:, :3]}, "outputs"),
        ({"kind": "regression", "smoothing": "smooth"}, "none for this kind"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        forecast(**options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_labels_of_many_forms_are_the_same():
    labels = RNG.integers(0, 5, 200)
    labels[50:] = -1
    listed = [None if label < 0 else int(label) for label in labels]
    floats = np.where(labels < 0, np.nan, labels)
    assert forecast(labels=labels) == forecast(labels=listed) == forecast(labels=floats)


def names_of_failed(found):
    return {check.name for check in found.checks if not check.passed}


def test_checks_fail_where_they_should():
    assert names_of_failed(forecast()) == set()
    few = forecast(DENSE[:60], [PRUNED[:60]])
    assert names_of_failed(few) == {"enough inputs"}
    assert "plausible temperature" in names_of_failed(forecast(DENSE * 10, [PRUNED * 10]))
    assert "far from chance" in names_of_failed(forecast(accuracy=0.25))
    fresh = 3 * np.random.default_rng(1).normal(size=(300, 5))
    assert names_of_failed(forecast(reference=fresh)) == set()
    assert names_of_failed(forecast(reference=fresh / 3)) == {"inputs as before"}


def test_a_curve_reads_copies_once_and_in_order():
    kappas = (0.9, 0.5, 0.1)
    copies = [DENSE + s * RNG.normal(size=DENSE.shape) for s in (0.1, 1, 10)]
    found = forecast(pruned=iter(copies), kappas=kappas)
    assert [p.kappa for p in found.points] == list(kappas)
    alone = [
        forecast(pruned=[c], kappas=[k]).points[0] for c, k in zip(copies, kappas, strict=True)
    ]
    assert list(found.points) == alone
    assert found.points[0].value > found.points[1].value > found.points[2].value


def test_what_intervals_hold():
    """Each source widens its interval by the stated amount, in squares."""
    options = {"outcome_inputs": None}
    base = forecast(**options).points[0]
    outcome = forecast(outcome_inputs=400).points[0]
    known = forecast(accuracy_inputs=400, **options).points[0]

    def squared(point):
        return ((point.high - point.low) / 2 / 1.6525) ** 2

    share = base.value
    assert squared(base) == pytest.approx(base.sampling**2 + base.model**2, rel=1e-3)
    added = share * (1 - share) / 400
    assert squared(outcome) - squared(base) == pytest.approx(added, rel=1e-3)
    assert squared(known) - squared(base) < 1.1 * 0.9 * 0.1 / 400
    # The loss is a difference: it does not widen with the draw of the outcome.
    assert outcome.loss_low == base.loss_low
    assert base.loss == pytest.approx(0.9 - base.value)


def test_labels_and_forecast_together():
    """Of 400 draws the mean squared error is below that of either alone, or a tenth above.

    The world is that of the forecast's own error: beliefs biased by draws of its model error.
    """
    rng = np.random.default_rng(4)
    errors = []
    for _ in range(400):
        believed = np.where(rng.random(300) < 0.4, -rng.random(300), 0)
        outcome = np.full(300, np.nan)
        outcome[:60] = believed[:60] + 0.3 * rng.normal(size=60) * (believed[:60] < 0)
        truth, bias = 0.9 - 0.2, 0.02 * rng.normal()
        ours = Estimate(0.9 + believed.mean() + bias, believed - believed.mean())
        both, model = with_labels(ours, 0.02, 0.9, outcome, believed, 0.03)
        alone, power = powered(0.9, outcome, believed, 0.03)
        assert 0 <= power <= 1
        assert model <= 0.02 + 0.1
        errors.append((both.value - truth, ours.value - truth, 0.9 + np.nanmean(outcome) - truth))
        assert both.error <= 1.2 * alone.error
    together, forecast_alone, labels_alone = np.mean(np.square(errors), axis=0)
    assert together <= 1.1 * min(forecast_alone, labels_alone)


def test_labels_overrule_a_belief_that_is_wrong():
    """A forecast off by ten of its errors is left for the labels."""
    rng = np.random.default_rng(5)
    believed = np.zeros(1000)
    outcome = -(rng.random(1000) < 0.5).astype(float)
    wrong = Estimate(0.9, 1e-3 * rng.normal(size=1000))
    both, model = with_labels(wrong, 0.001, 0.9, outcome, believed, 0.0)
    assert both.value == pytest.approx(0.9 + outcome.mean(), abs=0.02)
    assert both.error < 0.03
    assert model < 0.02


def test_one_label_changes_nothing():
    labels = np.full(200, -1)
    labels[3] = 2
    assert forecast(labels=labels).points == forecast().points


def test_monotone_curves_are_the_nearest():
    """Against a general minimiser under the same constraints."""
    values, errors = np.array([0.9, 0.85, 0.87, 0.5, 0.52]), np.array([1, 2, 1, 3, 1]) / 100
    kappas = [0.9, 0.7, 0.5, 0.3, 0.1]
    found = monotone(values, kappas, errors)
    assert np.all(np.diff(found) <= 1e-12)
    rules = [{"type": "ineq", "fun": lambda v, i=i: v[i] - v[i + 1]} for i in range(4)]
    by_hand = minimize(
        lambda v: np.sum(((v - values) / errors) ** 2),
        values.mean() * np.ones(5),
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-14},
    ).x
    assert found == pytest.approx(by_hand, abs=1e-4)
    assert monotone(values[::-1], kappas[::-1], errors[::-1]) == pytest.approx(found[::-1])


def test_smooth_curves_keep_what_is_certain_and_average_the_rest():
    """Twenty points of a straight curve: independent noise shrinks, common noise stays."""
    rng = np.random.default_rng(6)
    kappas = np.geomspace(0.9, 0.1, 20)
    truth = 0.1 + 0.8 / (1 + np.exp(-2.5 - 2 * np.log(kappas)))
    certain = [Estimate(v, np.full(50, 1e-9)) for v in truth]
    assert smooth(certain, [1e-6] * 20, kappas, 0.9, 0.1) == pytest.approx(truth, abs=1e-3)
    rough, even = [], []
    for _ in range(50):
        draws = 0.2 * rng.normal(size=(20, 200))
        noisy = [Estimate(v + d.mean(), d - d.mean()) for v, d in zip(truth, draws, strict=True)]
        rough.append(np.array([e.value for e in noisy]) - truth)
        even.append(smooth(noisy, [0.0] * 20, kappas, 0.9, 0.1) - truth)
    assert np.mean(np.square(even)) < 0.6 * np.mean(np.square(rough))


def test_smoothing_of_a_curve():
    copies = [DENSE + s * RNG.normal(size=DENSE.shape) for s in (0.1, 0.7, 0.72, 5)]
    kappas = (0.9, 0.5, 0.45, 0.1)
    plain = forecast(pruned=copies, kappas=kappas)
    for smoothing in ("monotone", "smooth"):
        found = forecast(pruned=copies, kappas=kappas, smoothing=smoothing)
        for one, other in zip(plain.points, found.points, strict=True):
            assert one.value == pytest.approx(other.value, abs=0.03)
            assert one.sampling == other.sampling


@pytest.mark.parametrize("module", [curve, language, retraining])
def test_examples_of_the_documentation(module):
    results = doctest.testmod(module, extraglobs={"np": np, "rng": None})
    assert results.attempted > 0
    assert results.failed == 0


def test_labels_drawn_from_the_belief_pass_its_checks():
    law = softmax(DENSE / 1.2, axis=1)
    labels = (law.cumsum(1) > np.random.default_rng(8).random((200, 1))).argmax(1)
    found = forecast(labels=labels, accuracy=float(law.max(1).mean()))
    assert {"accuracy as known", "confidence rightly ordered"} <= {c.name for c in found.checks}
    assert names_of_failed(found) == set()


def test_labels_stand_in_for_an_accuracy():
    """Forty labels give what the accuracy that they show gives, less surely."""
    labels = DENSE.argmax(1)
    labels[:8] = (labels[:8] + 1) % 5
    labels[40:] = -1
    found = forecast(accuracy=None, labels=labels)
    assert found.accuracy == pytest.approx(32.5 / 41)
    given = forecast(accuracy=32.5 / 41, labels=labels)
    assert found.points[0].value == given.points[0].value
    assert found.points[0].high - found.points[0].low > 0.15
    labels[9:] = -1
    assert forecast(accuracy=None, labels=labels).points[0].value is None
    wrong = (DENSE.argmax(1) + 1) % 5
    with pytest.raises(InputError, match="labels of these inputs"):
        forecast(accuracy=None, labels=wrong)
