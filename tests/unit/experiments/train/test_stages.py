"""Training specifications on standardised and on cut data."""

from dataclasses import replace

import numpy as np
import pytest

from prunable.data.loaders import Dataset, load
from prunable.data.transforms import first_or_not, signed, standardized
from prunable.errors import SpecError
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import train_stage
from prunable.runs.store import Run, Store


def data(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (40, *shape)).astype(np.float32)
    if len(shape) == 3:
        x = x * np.arange(1, shape[0] + 1, dtype=np.float32)[:, None, None]
    y = np.zeros(40, dtype=np.int64)
    return Dataset("name", "label", x[:30], y[:30], x[30:], y[30:], ("0",), "official", 0, "", "")


@pytest.mark.parametrize(("shape", "axes"), [((3, 5, 4), (0, 2, 3)), ((5, 4), None), ((7,), None)])
def test_training_inputs_have_mean_0_and_deviation_1_by_channel(shape, axes):
    given = data(shape)
    found = standardized(given)
    np.testing.assert_allclose(found.x_train.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(found.x_train.std(axis=axes), 1, rtol=1e-5)
    # the test part by the same line
    slope = (found.x_train[1] - found.x_train[0]) / (given.x_train[1] - given.x_train[0])
    expected = found.x_train[0] + slope * (given.x_test[2] - given.x_train[0])
    np.testing.assert_allclose(found.x_test[2], expected, rtol=1e-2, atol=1e-3)
    assert not found.x_test.flags.writeable


FIELDS = {"dataset": "digits", "net": "two-layer", "width": 8, "lr": 0.1, "steps": 20}


def test_runs_see_cut_and_standardised_data(tmp_path, monkeypatch):
    seen = {}

    def fake(_model, x, y, settings, **_options):
        seen["x"], seen["y"], seen["settings"] = x.numpy(), y.numpy(), settings
        raise KeyboardInterrupt

    monkeypatch.setattr("prunable.experiments.train.stages.train", fake)
    cut = {"name": "digits", "train_size": 50, "inputs": "standardized"}
    options = {"until_loss": 0.1, "extra_steps": 5, "evaluate_every": 300, "augment": True}
    spec = TrainSpec.create(**FIELDS | {"dataset": cut}, **options)
    with pytest.raises(KeyboardInterrupt):
        train_stage(spec, Run(Store(tmp_path), tmp_path))
    whole = load("digits")
    mean, std = whole.x_train.mean(), whole.x_train.std()
    np.testing.assert_allclose(seen["x"], (whole.x_train[:50] - mean) / std, atol=1e-5)
    np.testing.assert_array_equal(seen["y"], whole.y_train[:50])
    settings = seen["settings"]
    assert (settings.until_loss, settings.extra_steps, settings.log_every) == (0.1, 5, 300)
    assert settings.augment


def test_standardised_runs_are_others():
    plain = TrainSpec.create(**FIELDS)
    other = TrainSpec.create(**FIELDS | {"dataset": {"name": "digits", "inputs": "standardized"}})
    assert plain.run_id != other.run_id
    assert plain.batch_key() != other.batch_key()


def test_a_run_says_whether_its_rule_was_met(tmp_path):
    for accuracy, stopped in ((1.0, False), (0.01, True)):
        run = Run(Store(tmp_path), tmp_path / str(accuracy))
        spec = TrainSpec.create(**FIELDS, until_accuracy=accuracy, batch_size=30)
        assert train_stage(spec, run)["stopped"] == stopped


def test_too_large_cuts_are_named():
    with pytest.raises(SpecError, match=r"train_size.*1297.*1298"):
        TrainSpec.create(**FIELDS | {"dataset": {"name": "digits", "train_size": 1298}})


def test_other_forms_of_the_data():
    given = replace(data((4,)), y_train=np.arange(30) % 3, class_names=("a", "b", "c"))
    found = signed(first_or_not(given))
    np.testing.assert_allclose(found.x_test, 2 * given.x_test - 1)
    np.testing.assert_array_equal(found.y_train, np.arange(30) % 3 > 0)
    assert found.class_names == ("a", "not a")
    assert not found.x_train.flags.writeable


def test_time_counts_what_noise_draws():
    """Numbers one by one cost most; those of one unit, or a Gaussian's times one, less."""
    given = {"dataset": "ecg5000", "net": "mean-field", "width": 2000, "batch_size": 50}
    given |= {"lr": 1.0, "steps": 100}
    without = TrainSpec.create(**given).estimated_seconds()
    kinds = ("type1", "type3", "type2")
    noisy = [
        TrainSpec.create(**given, noise=kind, alpha=1.8, sigma=0.1).estimated_seconds()
        for kind in kinds
    ]
    assert without < noisy[0] < noisy[1] < noisy[2]
    assert noisy[2] > 3 * without
