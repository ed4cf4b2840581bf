"""`prunable predict rf` and `prunable predict features` as users call them."""

from functools import partial

import numpy as np
import pytest

from prunable.numerics.randomness import rng

MODELS = {"dense", "magnitude", "hessian", "oracle", "retrained", "retrained_same_data"}


@pytest.fixture(scope="module")
def run(run):
    return partial(run, "predict")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    r = rng(0, "cli")
    inputs = r.standard_normal((500, 20))
    x = np.maximum(inputs @ r.standard_normal((20, 40)), 0)
    path = tmp_path_factory.mktemp("features") / "X.npz"
    np.savez(path, X=x, y=inputs[:, 0] ** 2)
    return path


def test_rf_prints_points_and_validity(run, document_of, tmp_path):
    options = "rf --d 8 --n 30 --p 15 --p 60 --s 10 --s 20 --draws 2 --simulate 2"
    arguments = (options, "--figure", tmp_path / "rf.svg")
    document = document_of(*arguments)
    # a width below s is not pruned to s
    assert [(row["width"], row["s"]) for row in document["points"]] == [
        (15, 10),
        (60, 10),
        (60, 20),
    ]
    for row in document["points"]:
        assert set(row["risk"]) == set(row["measured"]) == set(row["error_percent"]) == MODELS
    assert document["fixed_point"]["residual"] < 1e-9
    assert set(document["validity"]["error_percent"]) == MODELS
    assert (tmp_path / "rf.svg").read_bytes().startswith(b"<?xml")
    assert document_of(*arguments) == document
    shown = run(*arguments)
    assert shown.exit_code == 0
    assert "Measured error" in shown.stdout
    assert "simulated" in shown.stdout


def test_rf_outside_the_table_says_so(run):
    done = run("rf", "--d", 3000, "--n", 30, "--p", 15, "--s", 5, "--draws", 1)
    assert done.exit_code == 0
    assert "outside what was measured" in " ".join(done.stdout.split())


def test_interpolation_is_null_in_json(run, document_of):
    options = "rf --n 30 --p 30 --s 5 --draws 1"
    document = document_of(options, "--noise", 1)
    assert document["points"][0]["risk"]["dense"] is None
    assert "no finite mean" in run(options).stdout


def test_features_of_a_file(run, document_of, archive, tmp_path):
    arguments = ("features", archive, "--n 30 --s 10 --width 20 --width 40 --simulate", 3)
    document = document_of(*arguments, "--figure", tmp_path / "f.svg")
    assert [row["width"] for row in document["points"]] == [20, 40]
    assert document["estimate"]["n_examples"] == 350
    assert document["estimate"]["n_test"] == 150
    assert set(document["errors"]) == MODELS
    for row in document["points"]:
        assert row["risk"]["retrained"] == pytest.approx(row["measured"]["retrained"], rel=0.5)
    shown = run(*arguments)
    assert "predictions are off by" in shown.stdout
    silent = document_of(*arguments[:-1], 0)
    assert silent["errors"] == {}


def test_features_of_classes(document_of, tmp_path):
    r = rng(1, "cli")
    labels = r.integers(0, 3, 400)
    path = tmp_path / "X.npz"
    np.savez(path, X=r.standard_normal((400, 10)) + labels[:, None], y=labels)
    document = document_of("features", path, "--n 30 --s 5 --one-against-rest --center")
    assert len(document["estimate"]["noise"]) == 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("sklearn")
    import torch

    from prunable.nets.archive import save_tensors
    from prunable.nets.models import Architecture, build

    architecture = Architecture("two-layer", (64,), 10, 24)
    network = build(architecture, generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    save_tensors(path, network.state_dict(), architecture.metadata())
    return path


def test_features_of_a_network(document_of, model):
    arguments = ("features --model", model, "--data digits --n 60 --s 8 --simulate 2")
    document = document_of(*arguments)
    assert document["estimate"]["n_features"] == 24
    assert len(document["estimate"]["noise"]) == 10
    named = document_of(*arguments, "--layer 2")
    # the ReLU layer's output is what the last layer takes in
    assert named["points"] == document["points"]


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("rf", "--n", 30, "--p", 15, "--s", 20), "p = 15"),
        (("rf", "--n", 2, "--p", 15, "--s", 2), "`--n`"),
        (("rf", "--n", 30, "--p", 15, "--s", 2, "--noise", "nan"), "`--noise`"),
        (("rf", "--n", 30, "--p", 15, "--s", 2, "--activation", "swish"), "--activation"),
        (("rf", "--n", 30, "--p", 15, "--s", 2, "--simulate", -1), "`--simulate`"),
        (("rf", "--n", 30, "--p", 15, "--p", 1, "--s", 2), "`--p`"),
        (("features", "--n", 30, "--s", 2), "either FILE.npz"),
        (("features", "missing.npz", "--n", 30, "--s", 2), "missing.npz is missing"),
        (("features", "x.npz", "--n", 30, "--s", 2, "--layer", "0"), "go with --model"),
        (("features", "--model", "x.safetensors", "--n", 30, "--s", 2), "--data NAME"),
    ],
)
def test_bad_usage_is_one_message(run, arguments, culprit):
    done = run(*arguments)
    assert done.exit_code == 2
    assert culprit in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_damaged_and_incomplete_files_are_named(run, archive, tmp_path):
    (tmp_path / "broken.npz").write_bytes(archive.read_bytes()[:500])
    np.savez(tmp_path / "partial.npz", X=np.eye(3))
    np.save(tmp_path / "single.npy", np.eye(3))
    np.savez(tmp_path / "nan.npz", X=np.full((20, 3), np.nan), y=np.zeros(20))
    np.savez(tmp_path / "objects.npz", X=np.array([[{}]], dtype=object), y=np.zeros(1))
    (tmp_path / "text.npz").write_text("not an archive")
    for name, culprit in {
        "broken.npz": "no file of arrays",
        "partial.npz": "named X and y",
        "single.npy": "holds arr_0",
        "nan.npz": "NaN",
        "objects.npz": "Python objects",
        "text.npz": "no file of arrays",
    }.items():
        done = run("features", tmp_path / name, "--n", 5, "--s", 2)
        assert done.exit_code == 2, name
        assert culprit in " ".join(done.stderr.split()), name


def test_networks_that_do_not_fit_are_named(run, model):
    wrong = run("features", "--model", model, "--data", "nothing", "--n", 30, "--s", 2)
    assert wrong.exit_code == 2
    layer = run(
        "features", "--model", model, "--data", "digits", "--layer", "7", "--n", 30, "--s", 2
    )
    assert layer.exit_code == 2
    assert "`--layer`" in layer.stderr
