"""The public surface: what `import prunable` offers, cheaply, to people and to type checkers."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import prunable
from prunable.front import load, reproduce, simulate, train

SURFACE = {
    "HeavyTailedNoise",
    "StableLaw",
    "advise",
    "attach_noise",
    "budgets",
    "callbacks",
    "certify",
    "compare",
    "errors",
    "evaluate",
    "extract_features",
    "factor",
    "forecast",
    "hold_masks",
    "iterate",
    "load",
    "load_masks",
    "masks_of",
    "measure",
    "predict",
    "predict_features",
    "prune",
    "read",
    "recalibrate",
    "reproduce",
    "save",
    "save_masks",
    "shrink",
    "simulate",
    "sparsify",
    "strategies",
    "train",
    "verify",
    "write",
}


def test_the_surface_is_what_is_promised():
    assert set(prunable.__all__) == SURFACE == set(prunable._HOMES)
    assert prunable.__all__ == sorted(prunable.__all__)
    assert set(dir(prunable)) == SURFACE | {"__version__"}


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_every_name_is_there_and_says_what_it_is(name):
    found = getattr(prunable, name)
    assert inspect.ismodule(found) or callable(found)
    assert inspect.getdoc(found)


@pytest.mark.parametrize("name", sorted(prunable._FORMER))
def test_names_of_the_first_version_still_work(name):
    assert callable(getattr(prunable, name))
    assert name not in dir(prunable)


def test_type_checkers_see_the_same_names_from_the_same_places():
    tree = ast.parse(Path(prunable.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        for alias in node.names:
            place = f"{node.module}:{alias.name}"
            seen[alias.asname] = place.replace("prunable:", "prunable.")
    # these packages are called through their functions
    called = {
        "certify": "prunable.certify.pipeline:certify_model",
        "forecast": "prunable.forecast.forecasting:forecast",
    }
    expected = {**prunable._HOMES, **called}
    assert seen == expected


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'amount'"):
        prunable.amount  # noqa: B018


def test_the_door_itself_is_light():
    code = "import sys, prunable, prunable.numerics.stable; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_certificates_are_a_package_that_can_be_called(tmp_path):
    import prunable.certify.bounds.occam as occam

    assert prunable.certify.bounds.occam is occam
    assert {"path", "dataset", "delta"} <= set(inspect.signature(prunable.certify).parameters)
    with pytest.raises(prunable.errors.InputError, match="`delta` of `certify`"):
        prunable.certify(tmp_path / "x", "digits", delta=2.0)


def test_verifying_a_model_does_not_advise_to_delete_it(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x80\xff not JSON")
    with pytest.raises(prunable.errors.DataIntegrityError, match="no certificate") as refused:
        prunable.verify(path)
    assert "delete" not in str(refused.value)
    assert path.exists()


def test_train_load_prune_save_load(tmp_path):
    training = train(
        tmp_path / "run", dataset="digits", net="two-layer", width=16, epochs=3, lr=0.1
    )
    again = train(tmp_path / "run", dataset="digits", net="two-layer", width=16, epochs=3, lr=0.1)
    assert again == training
    assert training.status == "done"
    assert training.to_pandas()["metric"].tolist() == list(training.metrics)
    model = load(training.model)
    pruned = prunable.prune(
        model, prunable.strategies.NodePruning("unit"), prunable.budgets.Keep(0.5)
    )
    import torch

    example = torch.randn(3, 64)
    cut = prunable.shrink(model, pruned.plan, example)
    path = str(tmp_path / "small.safetensors")
    prunable.save(path, cut.model)
    assert torch.equal(load(path)(example), cut.model(example))
    with pytest.raises(prunable.errors.InputError, match="`model` of `load`"):
        load(training.model, model)


def test_a_training_needs_an_end(tmp_path):
    with pytest.raises(prunable.errors.SpecError, match="give either"):
        train(tmp_path, dataset="digits")
    with pytest.raises(prunable.errors.SpecError, match="give either"):
        train(tmp_path, dataset="digits", epochs=1, until_accuracy=0.5)


@pytest.mark.parametrize(
    ("name", "mend"),
    [("learning_rate", "mean lr?"), ("wdth", "mean width?"), ("zzz", "There are: dataset, net,")],
)
def test_a_mistyped_setting_is_named_before_what_is_missing(name, mend, tmp_path):
    with pytest.raises(prunable.errors.SpecError, match=f"`{name}` is no setting") as told:
        prunable.train(tmp_path / "run", epochs=1, **{name: 0.1})
    assert mend in str(told.value)
    assert not (tmp_path / "run").exists()


def test_simulations_are_tabular(tmp_path):
    found = simulate("moments", tmp_path, alphas=(1.6,), seeds=2, scale="smoke")
    assert found.to_pandas()["alpha"].unique().tolist() == [1.6]
    assert found.to_dict()["experiment"] == "moments"
    federated = simulate(
        "federated", tmp_path / "f", dataset="digits", clients=2, rounds=1, width=8, kappa=0.2
    )
    frame = federated.to_pandas()
    assert len(frame) == 7
    assert frame["fewer_bytes"][0] == 1


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [("sgd-tail", {"alphas": (1.5,)}), ("sgd-tail", {"seeds": 3}), ("chaos", {"widths": (8,)})],
)
def test_settings_without_effect_are_refused(experiment, settings, tmp_path):
    with pytest.raises(prunable.errors.InputError, match=f"`settings` of `simulate {experiment}`"):
        simulate(experiment, tmp_path, scale="smoke", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "options", "culprit"),
    [
        ((), {}, "names"),
        (("chang2020-fig1",), {"scale": "tiny"}, "scale"),
        (("chang2020-fig1",), {"scale": "smoke", "convention": "mine"}, "convention"),
        (("chang2020-fig1",), {"scale": "smoke", "batch": 0}, "batch"),
        (("chang2020-fig99",), {"scale": "smoke"}, "item"),
    ],
)
def test_wrong_items_and_settings_are_refused_at_once(names, options, culprit, tmp_path):
    with pytest.raises(prunable.errors.InputError, match=f"`{culprit}` of `reproduce`"):
        reproduce(*names, out=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_items_are_documents(tmp_path):
    found = reproduce("chang2020-fig1", out=tmp_path, scale="smoke")
    assert [document.item for document in found.documents] == ["chang2020-fig1"]
    assert (tmp_path / "index.html").exists()
    assert found.to_pandas()["item"].tolist() == ["chang2020-fig1"]
