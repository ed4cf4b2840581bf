"""Specifications: identity, validation, messages."""

import pytest

from prunable.errors import SpecError
from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.train.specs import TrainSpec


def test_identity_is_the_content():
    one = TrainSpec.create(dataset="ecg5000", seed=1)
    assert one.run_id == TrainSpec.create(seed=1, dataset="ecg5000", width=2000).run_id
    assert one.run_id != TrainSpec.create(dataset="ecg5000", seed=2).run_id
    assert one.run_id.startswith("train-")
    evaluation = EvaluateSpec.create(train=one, eps=(0.1,), keep=(0.5,))
    assert evaluation.run_id.startswith("evaluate-")
    other = EvaluateSpec.create(train=one, eps=(0.1,), keep=(0.5,), tolerance=0.2)
    assert evaluation.run_id != other.run_id


def test_identity_survives_json():
    spec = EvaluateSpec.create(
        train=TrainSpec.create(dataset="digits", noise="type1", alpha=1.8, sigma=0.1),
        eps=(0.1, 0.2),
        keep=(0.5,),
    )
    assert EvaluateSpec.model_validate_json(spec.model_dump_json()).run_id == spec.run_id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"noise": "type1", "alpha": 0.0, "sigma": 0.1}, "`alpha`"),
        ({"noise": "type1", "alpha": 2.1, "sigma": 0.1}, r"`alpha`.*2\.1"),
        ({"noise": "type1", "sigma": 0.1}, "`alpha`"),
        ({"noise": "type1", "alpha": 1.8, "sigma": -0.1}, r"`sigma`.*-0\.1"),
        ({"alpha": 1.8}, "noise"),
        ({"noise": "type9"}, "`noise`.*type9"),
        ({"width": 0}, "`width`.*0"),
        ({"lr": float("nan")}, "`lr`"),
        ({"wdith": 7}, "`wdith`"),
        ({"net": "vgg99"}, "`net`.*vgg99"),
        ({"dataset": "mnits"}, "mnits"),
        ({"dataset": {"name": "digits", "train_size": 1298}}, "train_size.*1297.*1298"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(SpecError, match=message):
        TrainSpec.create(**{"dataset": "ecg5000"} | fields)
