"""Forecasts of networks: what runs, what stays as it is, what is told and what is refused."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

import prunable
from prunable.errors import DataIntegrityError, InputError
from prunable.forecast.files import read_inputs
from prunable.forecast.forecasting import forecast
from prunable.forecast.logits import scores
from prunable.forecast.ways import USUAL, way_named, ways_named
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import MagnitudePruning


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(4, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    ).eval()
    with torch.no_grad():
        net[-1].weight *= 20
    return net


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(1)
    return torch.randn(120, 4, 8, 8)


def test_the_network_is_untouched_and_each_copy_is_what_prune_makes(network, inputs):
    before = copy.deepcopy(network.state_dict())
    network.train()
    found = forecast(network, inputs, accuracy=0.6, strategies=["magnitude/lamp"], keeps=[0.5, 0.3])
    assert network.training
    network.eval()
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    pruned = copy.deepcopy(network)
    plan = prune(pruned, MagnitudePruning(allocation="lamp"), Keep(0.3, "global")).plan
    dense = scores(network, [inputs]).argmax(1)
    kept = float((scores(pruned, [inputs]).argmax(1) == dense).mean())
    point = found.curves[0].points[1]
    assert point.kappa == 0.3
    assert point.retention == pytest.approx(kept)
    nonzero = sum(int((p != 0).sum()) for p in pruned.parameters())
    whole = sum(int((p != 0).sum()) for p in network.parameters())
    assert point.parameters == pytest.approx(nonzero / whole)
    assert plan.kappa == pytest.approx(0.3, abs=1e-3)


def test_every_usual_way_gives_its_curve_and_batches_do_not_matter(network, inputs):
    found = forecast(network, inputs, accuracy=0.6, keeps=[0.8, 0.5])
    assert [curve.name for curve in found.curves] == list(USUAL)
    assert [len(curve.points) for curve in found.curves] == [2, 2, 2, 2, 1, 2]
    parted = forecast(
        network, list(inputs.split(50)), accuracy=0.6, keeps=[0.8], strategies=["unit/layer"]
    )
    whole = next(curve for curve in found.curves if curve.method == "unit").points[0]
    assert parted.curves[0].points[0].accuracy == pytest.approx(whole.accuracy, abs=1e-6)


def test_without_accuracy_none_is_invented(network, inputs):
    found = forecast(network, inputs, strategies=["magnitude"], keeps=[0.5])
    (point,) = found.curves[0].points
    assert point.accuracy is point.low is point.loss is None
    assert 0 <= point.retention_low <= point.retention <= point.retention_high <= 1
    assert "no accuracy" in repr(found)


def test_its_document_and_its_names(network, inputs):
    found = prunable.forecast(network, inputs, accuracy=0.6, strategies=["2:4"], keeps=[0.9])
    document = json.loads(json.dumps(found.to_dict()))
    assert document["schema_version"] == 1
    (curve,) = document["curves"]
    assert (curve["method"], curve["points"][0]["kappa"]) == ("2:4", 0.5)
    assert set(curve["points"][0]) >= {"kappa", "accuracy", "low", "high"}
    assert len(repr(found)) < 120
    assert "2:4" in found.to_html()


def test_a_folder_goes_on_where_it_was(network, inputs, tmp_path):
    options = {"accuracy": 0.6, "keeps": [0.5, 0.3], "store": tmp_path}
    first = forecast(network, inputs, strategies=["magnitude"], **options)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(files) == 3  # the network and two copies
    again = forecast(network, inputs, strategies=["magnitude", "magnitude/layer"], **options)
    assert first.curves[0] == again.curves[0]
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in files.items())
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight[0] += 1
    changed = forecast(other, inputs, strategies=["magnitude"], **options)
    assert changed.curves[0] != first.curves[0]
    # modules say more than weights: the same ones with another epsilon are another network
    setting, before = copy.deepcopy(network), len(list(tmp_path.glob("*.npz")))
    setting[1].eps = 0.5
    forecast(setting, inputs, strategies=["magnitude"], **options)
    assert len(list(tmp_path.glob("*.npz"))) == before + 3


@pytest.mark.parametrize("kept", ["no file of arrays", "text", "others", "more"])
def test_what_is_kept_and_is_no_scores_is_named(network, inputs, tmp_path, kept):
    options = {"keeps": [0.5], "store": tmp_path, "strategies": ["magnitude"]}
    forecast(network, inputs, **options)
    for path in tmp_path.glob("*.npz"):
        whole = {"scores": np.zeros((120, 5), np.float32), "left": np.ones(2)}
        changed = {"text": {"left": np.array(["a", "b"])}, "more": {"z": np.ones(1)}}
        if kept == "no file of arrays":
            path.write_bytes(b"PK")
        else:
            np.savez(path, **({"z": np.ones(1)} if kept == "others" else whole | changed[kept]))
    with pytest.raises(DataIntegrityError, match="holds no scores; delete it and run again"):
        forecast(network, inputs, **options)


def test_a_store_that_is_a_file_is_one_message(network, inputs, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="cannot write"):
        forecast(network, inputs, keeps=[0.5], store=tmp_path / "mine", strategies=["magnitude"])
    assert (tmp_path / "mine").read_text() == "mine"


def test_fitted_inputs_are_told(network, inputs):
    options = {"accuracy": 0.6, "strategies": ["obs/lamp"], "keeps": [0.5]}
    same = forecast(network, inputs, **options)
    assert not same.checks[-1].passed
    others = forecast(network, inputs, calibration=torch.randn(64, 4, 8, 8), **options)
    assert others.checks[-1].passed


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"accuracy": 37.0}, "per cent"),
        ({"accuracy": 0.1}, "chance"),
        ({"accuracy": 0.6, "labels": np.full(120, 9)}, "labels"),
        ({"accuracy": 0.6, "labels": np.array(["cat"] * 120)}, "labels"),
        ({"accuracy": 0.6, "labels": np.zeros(7)}, "labels"),
        ({"strategies": ["magnitudes"]}, "magnitude"),
        ({"strategies": ["unit/lamp"]}, "unit/global"),
        ({"strategies": []}, "methods"),
        ({"keeps": [0.0]}, "keeps"),
        ({"keeps": [1.5]}, "keeps"),
    ],
)
def test_bad_options_are_refused_before_anything_is_pruned(network, inputs, options, match):
    told = []
    with pytest.raises(InputError, match=match):
        forecast(network, inputs, on_point=lambda *x: told.append(x), **options)
    assert told == []


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x[:20], "30 inputs"),
        (lambda x: torch.zeros_like(x), "constant"),
        (lambda x: x * torch.nan, "NaN"),
        (lambda x: x[:, :3], "does not fit"),
        (lambda x: x.flatten()[:50], "examples"),
    ],
)
def test_bad_inputs_are_refused(network, inputs, change, match):
    with pytest.raises(InputError, match=match):
        forecast(network, change(inputs), accuracy=0.6)


def test_a_network_without_scores_of_classes_is_refused(network, inputs):
    with pytest.raises(InputError, match="scores of classes"):
        forecast(network[:5], inputs, accuracy=0.6)


def test_names_of_ways():
    assert [way.name for way in ways_named(["magnitude", "magnitude/global"])] == [
        "magnitude/global"
    ]
    assert way_named("1:4").keeps([0.9]) == (0.25,)
    assert way_named("n:8").keeps([])[0] == 0.875
    assert way_named("calibrated").options(0.5)["--allocation"] == "lamp"
    with pytest.raises(InputError, match="4:2"):
        way_named("4:2")


@pytest.mark.parametrize("ending", [".npy", ".npz", ".pt"])
def test_double_precision_is_read_alike_from_every_file(tmp_path, ending):
    # NumPy's default is what nobody meant: it becomes what networks compute in
    x, path = np.random.default_rng(0).normal(size=(40, 3)), tmp_path / f"x{ending}"
    if ending == ".npz":
        np.savez(path, x=x, y=np.arange(40) % 3)
    elif ending == ".npy":
        np.save(path, x)
    else:
        torch.save(torch.from_numpy(x), path)
    found = read_inputs(path, "forecast")
    assert found.examples.dtype == torch.float32
    assert (found.labels is not None) is (ending == ".npz")
    np.testing.assert_array_equal(found.examples.numpy(), x.astype(np.float32))
