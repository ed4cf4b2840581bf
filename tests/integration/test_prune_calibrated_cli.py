"""`prunable prune --calibrate`: unlabelled inputs from everywhere, and what they gain."""

import numpy as np
import pytest
import torch

from prunable.data.loaders import load


@pytest.fixture(scope="module")
def network(run, tmp_path_factory):
    """A two-layer network trained on real digits."""
    out = tmp_path_factory.mktemp("network")
    how = "--data digits --net two-layer --width 60 --eta 0.01 --optimizer adam --batch 100"
    done = run("train", how, "--epochs 15", "--out", out / "run")
    assert done.exit_code == 0, done.output
    return out / "run" / "model.safetensors"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The same 40 pictures in each kind of file."""
    folder = tmp_path_factory.mktemp("inputs")
    x = np.array(load("digits").x_train[:40]).reshape(40, -1)
    np.savez(folder / "x.npz", x=x)
    np.save(folder / "x.npy", x)
    torch.save(torch.from_numpy(x), folder / "x.pt")
    return folder


def accuracy(found):
    return found["footprint"]["models"]["pruned"]["accuracy"]


def test_calibrated_pruning_keeps_more_accuracy(document_of, network, tmp_path):
    """At a tenth of the weights, by the same number of them, from 128 unlabelled pictures."""
    how = "--keep 0.1 --scope global --allocation lamp --data digits --batch-size 1"
    plain = document_of("prune", network, how, "--out", tmp_path / "plain.safetensors")
    assert (plain["calibrated"], plain["outputs"], plain["unreached"]) == (None, [], [])
    gained = {}
    for options in ("--method obs", "--method magnitude --refit"):
        out = tmp_path / "calibrated.safetensors"
        found = document_of("prune", network, how, options, "--calibrate digits", "--out", out)
        said = {"kind": "inputs", "n_inputs": 128, "length": None, "in_order": False}
        assert found["calibrated"] == {"source": "digits", **said}
        assert found["plan"]["n_parameters_kept"] == plain["plan"]["n_parameters_kept"]
        gained[options] = accuracy(found) - accuracy(plain)
        assert len(found["outputs"]) == 2
        for output in found["outputs"]:
            assert output["predicted"] == pytest.approx(output["measured"], rel=1e-4)
            assert output["predicted"] < output["masked"]
    assert gained["--method magnitude --refit"] > 0.02


def test_inputs_come_from_files_and_from_no_data(document_of, network, inputs):
    how = ["--method obs --keep 0.3 --dry-run --calibrate-size 30", "--calibrate"]
    found = [
        document_of("prune", network, *how, inputs / name)["outputs"]
        for name in ("x.npz", "x.npy", "x.pt")
    ]
    assert found[0] == found[1] == found[2]
    drawn = document_of("prune", network, *how, "gaussian")
    said = {"kind": "normal numbers, no data", "n_inputs": 30, "length": None, "in_order": False}
    assert drawn["calibrated"] == {"source": "gaussian", **said}
    assert drawn["outputs"] != found[0]


@pytest.mark.parametrize("allocation", ["owl", "alpha", "dlp", "atp", "atp --slope 0.1", "optimum"])
@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_layers_share_by_what_flows_through_them(document_of, network, method, allocation):
    how = f"--method {method} --allocation {allocation} --keep 0.2 --scope global --dry-run"
    source = "gaussian" if method == "wanda" else "digits"
    found = document_of("prune", network, how, f"--calibrate {source} --calibrate-size 40")
    plan = found["plan"]
    assert plan["n_parameters_kept"] == np.ceil(0.2 * plan["n_parameters"])
    first, last = (layer["kappa"] for layer in plan["layers"])
    if "slope" in allocation:
        assert first - last == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("method", ["wanda", "obs"])
def test_patterns_are_exact(document_of, network, method):
    options = f"--method {method} --n-m 2:4 --calibrate digits --dry-run"
    found = document_of("prune", network, options)
    assert found["plan"]["method"].endswith("2:4")
    assert found["plan"]["kappa"] == 0.5


def test_the_table_has_a_line_a_layer(run, network):
    done = run("prune", network, "--method wanda --keep 0.5 --dry-run --calibrate gaussian")
    assert "Relative l_2 errors of outputs" in done.output
    assert "128 normal numbers, no data" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--method obs --keep 0.5", "`--method obs` of `prune` needs inputs to run on: give --cal"),
        ("--refit --keep 0.5", "`--refit` of `prune` needs inputs to run on: give --calibrate"),
        ("--method obs --center median --calibrate digits --keep 0.5", "`--center median` of"),
        ("--method unit --n-m 2:4 --keep 0.5", "has no effect without --method n:m, wanda or obs"),
        ("--method wanda --n-m 2:4 --keep 0.3 --calibrate digits", "`--keep` of `prune` contrad"),
        ("--method wanda --keep 0.5 --calibrate nowhere.npz", "nowhere.npz"),
        (
            "--allocation optimum --keep 0.5 --calibrate digits",
            "`--allocation` of `prune` has no effect",
        ),
        (
            "--allocation owl --scope global --method unit --keep 0.5",
            "`--allocation` of `prune` has no effect without --sc",
        ),
        ("--slope 0.1 --keep 0.5", "`--slope` of `prune` has no effect without --alloc"),
        ("--allocation atp --slope 3 --scope global --keep 0.5", "`--slope` of `prune` must be"),
        ("--method singular-value --refit --calibrate digits --keep 0.5", "one that keeps weights"),
    ],
)
def test_contradictions_are_one_message(run, network, options, message):
    done = run("prune", network, options, "--dry-run")
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_inputs_that_are_not_finite_name_their_file(run, network, tmp_path):
    np.save(tmp_path / "x.npy", np.full((8, 64), np.nan, dtype=np.float32))
    options = "--method obs --keep 0.5 --dry-run --calibrate"
    done = run("prune", network, options, tmp_path / "x.npy")
    assert done.exit_code == 2
    assert "x.npy holds NaN" in " ".join(done.output.split())


def test_calibration_alone_is_the_usual_way(document_of, network, tmp_path):
    """It does all that has an effect, and keeps more than the refit of the largest weights."""
    how = "--keep 0.1 --scope global --data digits --batch-size 1 --calibrate digits"
    out = tmp_path / "usual.safetensors"
    found = document_of("prune", network, how, "--out", out)
    assert found["plan"]["method"] == "calibrated in order"
    assert found["recalibrated"] is None
    assert found["corrected"] == ["1.bias", "3.bias"]
    options = "--method magnitude --refit --allocation lamp"
    refit = document_of("prune", network, how, options, "--out", out)
    assert found["plan"]["n_parameters_kept"] == refit["plan"]["n_parameters_kept"]
    assert accuracy(found) > accuracy(refit) - 0.01
    other = document_of(
        "prune", network, how, "--method obs --towards network --allocation lamp", "--out", out
    )
    assert other["plan"]["method"] == "brain surgery in order"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--method obs --calibrate digits --recalibrate 9", "no BatchNorm layer"),
        ("--method calibrated --refit --calibrate digits", "`--refit` of `prune` has no effect"),
        ("--recalibrate 9", "give --data NAME, or --calibrate"),
        ("--bias-correction", "`--bias-correction` of `prune` has no effect without --calibrate"),
        ("--towards network --calibrate digits", "`--towards` of `prune` has no effect without"),
    ],
)
def test_steps_without_effect_are_refused(run, network, tmp_path, options, message):
    done = run("prune", network, "--keep 0.5", options, "--out", tmp_path / "x.safetensors")
    assert done.exit_code in (2, 4)
    assert message in " ".join(done.output.split())
