"""Each kind of output against closed forms, brute force or its twin among the others."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from prunable.errors import InputError
from prunable.forecast.estimators import forecast_curve, window_figures
from prunable.forecast.estimators.embeddings import nearest_two


def noisy(dense, scale, seed=0):
    return dense + scale * np.random.default_rng(seed).normal(size=dense.shape)


def point(dense, pruned, **options):
    return forecast_curve(dense, [pruned], [0.5], **options).points[0]


def test_binary_is_two_classes():
    logits = 3 * np.random.default_rng(1).normal(size=300)
    pruned = noisy(logits, 1.5)
    two = [np.column_stack([np.zeros(300), z]) for z in (logits, pruned)]
    twin = point(*two, accuracy=0.9)
    for shape in ((300,), (300, 1)):
        found = point(logits.reshape(shape), pruned.reshape(shape), accuracy=0.9, kind="binary")
        assert found == twin
    assert point(*two, accuracy=0.9, kind="binary") == twin


def test_top_five_by_hand():
    dense = 2 * np.random.default_rng(2).normal(size=(400, 20))
    pruned = noisy(dense, 1.5)
    found = point(dense, pruned, accuracy=0.97, kind="top5", calibrated=True)
    curve = forecast_curve(dense, [pruned], [0.5], accuracy=0.97, kind="top5", calibrated=True)
    law = softmax(dense / curve.temperature, axis=1)
    before, after = (np.argsort(-z, axis=1)[:, :5] for z in (dense, pruned))
    share = [np.take_along_axis(law, classes, 1).sum(1).mean() for classes in (before, after)]
    assert share[0] == pytest.approx(0.97, abs=1e-6)
    assert found.value == pytest.approx(0.97 + share[1] - share[0], abs=1e-9)
    kept = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(before, after, strict=True)])
    assert found.retention == pytest.approx(kept)


@pytest.mark.parametrize("kind", ["multilabel", "segmentation"])
def test_the_unit_of_resampling_is_the_input(kind):
    """Rows of an input that are all alike are one: the error is that of single rows."""
    rng = np.random.default_rng(3)
    if kind == "multilabel":
        single = 3 * rng.normal(size=(200, 1))
        copies = [np.repeat(z, 6, axis=1) for z in (single, noisy(single, 1.5))]
        rows = [z[:, 0] for z in copies]
    else:
        single = 3 * rng.normal(size=(200, 4, 1, 1))
        copies = [np.tile(z, (1, 1, 5, 3)) for z in (single, noisy(single, 1.5))]
        rows = [z[:, :, 0, 0] for z in copies]
    options = {"accuracy": 0.9, "kind": kind, "estimator": "tempered difference"}
    found = point(*copies, **options)
    twin = point(
        *rows,
        accuracy=0.9,
        estimator="tempered difference",
        outcome_inputs=None,
        kind="binary" if kind == "multilabel" else "classification",
    )
    assert found.value == pytest.approx(twin.value)
    assert found.sampling == pytest.approx(twin.sampling, rel=0.02)
    assert found.retention_low == pytest.approx(twin.retention_low)


def test_pixels_without_shared_noise_are_surer():
    """Independent pixels: the error of pictures is that of as many rows."""
    rng = np.random.default_rng(4)
    dense = 3 * rng.normal(size=(60, 4, 5, 5))
    pruned = noisy(dense, 1.5)
    given = {"accuracy": 0.9, "estimator": "tempered difference"}
    found = point(dense, pruned, **given, kind="segmentation")
    rows = [np.moveaxis(z, 1, -1).reshape(-1, 4) for z in (dense, pruned)]
    twin = point(*rows, **given)
    assert found.value == pytest.approx(twin.value)
    assert found.sampling == pytest.approx(twin.sampling, rel=0.4)
    labels = np.full((60, 5, 5), -1)
    labels[:20] = rng.integers(0, 4, (20, 5, 5))
    with_some = point(dense, pruned, **given, kind="segmentation", labels=labels)
    assert with_some.value != found.value


def test_regression_of_a_known_model():
    """Targets are outputs plus noise, changes independent: R2 is known; 5 standard errors."""
    rng = np.random.default_rng(5)
    dense = rng.normal(size=(4000, 2)) * [2.0, 1.0]
    pruned = dense + 0.5 * rng.normal(size=dense.shape)
    spread, noise, change = 5.0, 1.25, 0.5
    known = spread / (spread + noise)
    found = point(dense, pruned, accuracy=known, kind="regression")
    truth = 1 - (noise + change) / (spread + noise)
    assert abs(found.value - truth) <= 5 * found.sampling
    assert found.retention == pytest.approx(1 - change / spread, abs=0.02)
    targets = dense + np.sqrt(noise / 2) * rng.normal(size=dense.shape)
    marked = np.where(np.arange(4000)[:, None] < 2000, targets, np.nan)
    labelled = point(dense, pruned, accuracy=known, kind="regression", labels=marked)
    assert abs(labelled.value - truth) <= 5 * labelled.sampling


def test_regression_error_by_the_bootstrap():
    rng = np.random.default_rng(6)
    dense = rng.gamma(2, size=(200, 1))
    pruned = dense * (1 + 0.3 * rng.normal(size=dense.shape))
    found = point(dense, pruned, accuracy=0.9, kind="regression").sampling
    drawn = []
    for _ in range(400):
        some = rng.integers(0, 200, 200)
        drawn.append(point(dense[some], pruned[some], accuracy=0.9, kind="regression").value)
    assert found == pytest.approx(np.std(drawn), rel=0.25)


def figures(dense, other, tokens=None):
    rows = [None] * len(dense) if tokens is None else tokens
    return [window_figures(*each) for each in zip(dense, other, rows, strict=True)]


@pytest.mark.parametrize("temperature", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_language_by_hand_and_by_draws(temperature):
    """Tokens drawn from the tempered law cost what is forecast, within 5 standard errors."""
    rng = np.random.default_rng(7)
    windows = [2 * rng.normal(size=(200, 30)) for _ in range(8)]
    pruned = [noisy(w, 0.8, i) for i, w in enumerate(windows)]
    laws = [softmax(w / temperature, axis=1) for w in windows]

    def cost(of):
        return np.mean([-np.sum(p * log_softmax(w, 1), 1) for p, w in zip(laws, of, strict=True)])

    tokens = np.array([(p.cumsum(1) > rng.random((200, 1))).argmax(1) for p in laws])
    losses = [-log_softmax(w, 1)[np.arange(200), t] for w, t in zip(pruned, tokens, strict=True)]
    own = [-log_softmax(w, 1)[np.arange(200), t] for w, t in zip(windows, tokens, strict=True)]
    options = {"accuracy": cost(windows), "kind": "language"}
    unlabelled = [figures(windows, w) for w in (windows, pruned)]
    curve = forecast_curve(unlabelled[0], unlabelled[1:], [0.5], **options)
    found = curve.points[0]
    # on the three temperatures all is exact, between them costs follow a parabola
    exact = temperature in (0.8, 1.0, 1.25)
    assert curve.temperature == pytest.approx(temperature, rel=1e-9 if exact else 3e-3)
    assert found.value == pytest.approx(cost(pruned), rel=1e-9 if exact else 1e-3)
    assert found.value == found.laws
    assert found.tokens is None
    seen = np.concatenate(losses)
    assert abs(seen.mean() - found.value) <= 5 * seen.std() / np.sqrt(len(seen))
    kept = np.mean(np.argmax(windows, 2) == np.argmax(pruned, 2))
    assert found.retention == pytest.approx(kept)
    known = [figures(windows, w, tokens) for w in (windows, pruned)]
    labelled = forecast_curve(known[0], known[1:], [0.5], **options).points[0]
    error = np.hypot(labelled.sampling, labelled.model)
    assert abs(labelled.value - cost(pruned)) <= 5 * error
    assert labelled.laws == pytest.approx(found.laws)
    assert labelled.tokens == pytest.approx(cost(windows) + seen.mean() - np.mean(own))
    assert labelled.laws != labelled.value != labelled.tokens


def test_without_a_perplexity_that_of_the_windows_stands():
    rng = np.random.default_rng(17)
    windows = [(1 + i / 4) * rng.normal(size=(60, 12)) for i in range(10)]
    pruned = [noisy(w, 0.8, i) for i, w in enumerate(windows)]
    tokens = rng.integers(0, 12, (10, 60))
    known = [figures(windows, w, tokens) for w in (windows, pruned)]
    own = np.array(known[0])[:, 0]
    measured = forecast_curve(known[0], known[1:], [0.5], accuracy=None, kind="language")
    given = forecast_curve(known[0], known[1:], [0.5], accuracy=own.mean(), kind="language")
    assert measured.accuracy == pytest.approx(own.mean())
    assert measured.points[0].value == pytest.approx(given.points[0].value)
    wide, narrow = (f.points[0].high - f.points[0].low for f in (measured, given))
    assert wide > narrow
    bare = [figures(windows, w) for w in (windows, pruned)]
    nothing = forecast_curve(bare[0], bare[1:], [0.5], accuracy=None, kind="language")
    assert nothing.points[0].value is None


def test_language_temperature_errors_are_in_the_interval():
    """Leaving each window out gives the influences, to first order."""
    rng = np.random.default_rng(8)
    windows = [(1 + i / 4) * rng.normal(size=(50, 12)) for i in range(10)]
    pruned = [noisy(w, 0.8, i) for i, w in enumerate(windows)]
    dense, copy = np.array(figures(windows, windows)), np.array(figures(windows, pruned))
    known = dense[:, 3].mean()
    whole = forecast_curve(dense, [copy], [0.5], accuracy=known, kind="language").points[0]
    left = []
    for out in range(10):
        some = np.arange(10) != out
        one = forecast_curve(dense[some], [copy[some]], [0.5], accuracy=known, kind="language")
        left.append(one.points[0].value)
    jackknife = np.sqrt(9 / 10 * np.sum((np.array(left) - np.mean(left)) ** 2))
    assert whole.sampling == pytest.approx(jackknife, rel=0.25)


@pytest.mark.parametrize(
    ("accuracy", "rows", "match"),
    [(25.5, 8, "3.239"), (-1.0, 8, "log-perplexity"), (2.0, 3, "4 windows")],
)
def test_language_refusals(accuracy, rows, match):
    windows = [np.random.default_rng(i).normal(size=(20, 12)) for i in range(rows)]
    with pytest.raises(InputError, match=match):
        forecast_curve(figures(windows, windows), (), (), accuracy=accuracy, kind="language")
    with pytest.raises(InputError, match="window_figures"):
        forecast_curve(np.zeros((8, 2)), (), (), accuracy=2.0, kind="language")
    windows[0][3, 4] = np.inf
    with pytest.raises(InputError, match="finite"):
        figures(windows, windows)


def test_neighbours_and_their_jackknife():
    rng = np.random.default_rng(9)
    dense = rng.normal(size=(60, 8))
    pruned = noisy(dense, 0.5)

    def agreement(a, b):
        def nearest(z):
            unit = z / np.linalg.norm(z, axis=1, keepdims=True)
            likeness = unit @ unit.T - 3 * np.eye(len(z))
            return likeness.argmax(1)

        return np.mean(nearest(a) == nearest(b))

    found = point(dense, pruned, accuracy=None, kind="embedding")
    assert found.retention == pytest.approx(agreement(dense, pruned))
    assert found.value is None
    left = [agreement(np.delete(dense, i, 0), np.delete(pruned, i, 0)) for i in range(60)]
    jackknife = np.sqrt(59 / 60 * np.sum((np.array(left) - np.mean(left)) ** 2))
    half = (found.retention_high - found.retention_low) / 2
    assert half == pytest.approx(1.671 * jackknife, rel=0.02)
    assert np.all(nearest_two(dense)[:, 0] != nearest_two(dense)[:, 1])


def test_without_an_accuracy_there_is_retention_only():
    dense = np.random.default_rng(10).normal(size=(100, 5))
    found = point(dense, noisy(dense, 0.3), accuracy=None)
    assert found.value is found.low is found.high is found.loss is None
    kept = np.mean(dense.argmax(1) == noisy(dense, 0.3).argmax(1))
    assert found.retention == pytest.approx(kept)
    assert found.retention_low < kept < found.retention_high
