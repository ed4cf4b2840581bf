"""`prunable prune` on a network: shrink, retrain, export, measure, compare."""

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from prunable.data.loaders import load
from prunable.experiments.train.networks import as_tensors
from prunable.nets.models import network_of, read_weights
from prunable.nets.shrink.export import load_exported
from prunable.nets.train.training import evaluate, predict


@pytest.fixture(scope="module")
def models(run, tmp_path_factory):
    """Three two-layer networks trained on real digits by the command itself."""
    root = tmp_path_factory.mktemp("networks")
    for seed in range(3):
        network = "--data digits --net two-layer --width 60"
        steps = "--eta 0.01 --optimizer adam --batch 100 --epochs 15"
        done = run("train", network, steps, "--seed", seed, "--out", root / str(seed))
        assert done.exit_code == 0, done.output
    return [root / str(seed) / "model.safetensors" for seed in range(3)]


@pytest.fixture(scope="module")
def digits():
    *_, x, y = as_tensors(load("digits"))
    return x, y


def test_pruned_units_are_cut_out_and_the_gain_is_measured(document_of, models, digits, tmp_path):
    out, onnx = tmp_path / "small.safetensors", tmp_path / "small.onnx"
    before = models[0].read_bytes()
    options = "--method unit --keep 0.5 --shrink --data digits --batch-size 4"
    found = document_of("prune", models[0], options, "--out", out, "--onnx", onnx)
    assert models[0].read_bytes() == before
    assert found["shrunk"]["by"] == "groups"
    assert found["shrunk"]["n_parameters"] == 64 * 30 + 30 + 30 * 10 + 10
    rows = found["footprint"]["models"]
    assert list(rows) == ["dense", "pruned", "exported"]
    assert rows["exported"]["macs"] == 64 * 30 + 30 * 10
    assert rows["exported"]["disk_bytes"] == out.stat().st_size == found["bytes"]
    assert rows["exported"]["accuracy"] == rows["pruned"]["accuracy"] < rows["dense"]["accuracy"]
    assert set(rows["exported"]["milliseconds"]) == {"4"}
    x, y = digits
    small = load_exported(out)
    assert evaluate(small, x, y)["accuracy"] == rows["exported"]["accuracy"]
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(outputs), predict(small, x), rtol=1e-4, atol=1e-4)


def test_units_that_go_are_made_up_for_from_unlabelled_inputs(document_of, models, tmp_path):
    """Of a quarter of the units more is right with inputs; the reader of units has new weights."""
    found, options = {}, "--method unit --keep 0.25 --shrink --data digits --batch-size 4"
    for name, more in {"plain": "", "calibrated": "--calibrate digits"}.items():
        out = tmp_path / f"{name}.safetensors"
        found[name] = document_of("prune", models[0], options, more, "--out", out)
    rows = {name: document["footprint"]["models"] for name, document in found.items()}
    right = {name: row["exported"]["accuracy"] for name, row in rows.items()}
    assert right["calibrated"] > right["plain"] + 0.02
    assert rows["calibrated"]["exported"]["macs"] == rows["plain"]["exported"]["macs"]
    document = found["calibrated"]
    assert document["calibrated"]["n_inputs"] == 128
    assert document["plan"]["groups"] == found["plain"]["plan"]["groups"]
    for layer in document["outputs"]:
        assert layer["measured"] == pytest.approx(layer["predicted"], rel=1e-3)


def test_singular_values_become_factors(document_of, models, digits, tmp_path):
    out = tmp_path / "factored.safetensors"
    options = "--method singular-value --keep 0.2 --shrink --only 1.weight --data digits"
    found = document_of("prune", models[0], options, "--out", out)
    assert found["shrunk"]["by"] == "factors"
    # 12 of 60 singular values: 12 (64 + 60) instead of 64 * 60 weights
    assert found["shrunk"]["n_parameters"] == 12 * (64 + 60) + 60 + 60 * 10 + 10
    assert found["shrunk"]["max_difference"] < 1e-4
    assert evaluate(load_exported(out), *digits)["accuracy"] == pytest.approx(
        found["footprint"]["models"]["pruned"]["accuracy"], abs=0.01
    )


@pytest.mark.parametrize("noise", ["none", "type2"])
def test_retraining_holds_the_zeros_and_repairs(document_of, models, digits, tmp_path, noise):
    out = tmp_path / "retrained.safetensors"
    options = ["--noise", noise, "--alpha", 1.8, "--sigma", 1e-3] if noise != "none" else []
    asked = ["prune", models[1], *["--keep", "0.05", "--scope", "global", "--data", "digits"]]
    found = document_of(*asked, "--retrain", 10, *options, "--out", out)
    tensors = load_file(out)
    kept = sum(int((t != 0).sum()) for n, t in tensors.items() if n.endswith("weight"))
    assert kept <= found["plan"]["n_parameters_kept"]
    assert found["retrained"]["status"] == "done"
    plain = document_of(*asked, "--out", tmp_path / "plain.safetensors")
    accuracy = [d["footprint"]["models"]["pruned"]["accuracy"] for d in (plain, found)]
    assert accuracy[1] > accuracy[0] + 0.02
    assert evaluate(network_of(*read_weights(out)), *digits)["accuracy"] == accuracy[1]


def test_single_weights_go_into_a_bitmask_that_the_documented_loader_reads(
    document_of, models, tmp_path
):
    out = tmp_path / "sparse.safetensors"
    found = document_of(
        "prune", models[0], "--keep", 0.1, "--scope", "global", "--storage", "bitmask", "--out", out
    )
    plain = tmp_path / "dense.safetensors"
    document_of("prune", models[0], "--keep", 0.1, "--scope", "global", "--out", plain)
    assert found["bytes"] < plain.stat().st_size / 3
    assert {layer["layout"] for layer in found["sparse"]["layers"]} <= {"dense", "csr"}
    x = torch.rand(5, 64)
    expected = network_of(*read_weights(plain))(x)
    torch.testing.assert_close(load_exported(out)(x), expected)


def test_every_strategy_on_three_networks(run, document_of, models, tmp_path):
    out = tmp_path / "compared"
    found = document_of("prune", *models, "--compare", "--data", "digits", "--out", out)
    assert {row["network"] for row in found["rows"]} == set(map(str, models))
    names = {row["strategy"] for row in found["rows"]}
    assert {"dense", "magnitude", "hessian", "singular value", "random", "unit"} <= names
    shares = {row["kappa_asked"] for row in found["rows"]} - {1.0}
    assert len(shares) >= 5
    assert (out / "compare.svg").read_bytes().lstrip().startswith(b"<?xml")
    assert "| magnitude |" in (out / "compare.md").read_text()
    stamp = (out / "compare.json").read_text()
    again = document_of("prune", *models, "--compare", "--data", "digits", "--out", out)
    assert again == found
    assert (out / "compare.json").read_text() == stamp
    other = run("prune", models[0], "--compare", "--data", "digits", "--out", out)
    assert other.exit_code == 2
    assert "answers another question" in other.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--keep 0.5 --retrain 3 --out x", "--data NAME"),
        ("--keep 0.5 --data no-such-set --out x", "no-such-set"),
        ("--keep 0.5 --net transformer --out x", "`--net` of `prune`"),
        ("--keep 0.5 --net lenet-300-100 --out x", "not those of lenet-300-100"),
        ("--compare --out x", "--data NAME and --out FOLDER"),
        (
            "--method singular-value --keep 0.5 --data digits --retrain 1 --out x",
            "leaves no zeros to hold",
        ),
        ("--keep 0.5 --data digits --retrain 1 --eta 1e30 --out x", "Retraining diverged"),
        ("--keep 0.5 --data digits --retrain 1 --noise type1 --out x", "needs its tail index"),
    ],
)
def test_contradictions_are_named_and_nothing_is_written(
    run, models, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    done = run("prune", models[0], arguments)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


def test_several_checkpoints_need_compare(run, models, tmp_path):
    done = run("prune", *models, "--keep", 0.5, "--out", tmp_path / "x")
    assert done.exit_code == 2
    assert "several go with --compare" in done.output


def test_a_full_disk_leaves_the_older_file(run, models, tmp_path, monkeypatch):
    out = tmp_path / "small.safetensors"
    out.write_bytes(b"older")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prunable.nets.archive.safetensors_file.save_file", full)
    done = run("prune", models[0], "--method", "unit", "--keep", 0.5, "--shrink", "--out", out)
    assert done.exit_code == 2
    assert "No space left on device" in done.output
    assert out.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [out]


def test_a_ticket_is_found_resumed_and_pruned_further(run, document_of, tmp_path):
    """`prunable iterate`: its files are what other commands take, and it is not repeated."""
    out = tmp_path / "ticket"
    options = (
        "--data digits --net two-layer --width 40 --keep 0.2 --rounds 2 --epochs 4 "
        "--last-epochs 4 --lr 0.1 --control random"
    )
    asked = ["iterate", *options.split(), "--out", out]
    found = document_of(*asked)
    assert found["metrics"]["n_kept"] == 592  # a fifth of 64 * 40 + 40 * 10
    assert [row["round"] for row in found["rounds"]] == [1, 2]
    assert found["rounds"][1]["kappa"] == pytest.approx(0.2**0.5, abs=1e-3)
    assert set(found["test_accuracy"]) == {"ticket", "random"}
    assert document_of(*asked) == found
    other = run(*asked, "--seed", 1)
    assert other.exit_code == 2
    assert "holds the run" in other.output
    shown = run(*asked)
    assert "Kept 592 of 2,960 weights" in shown.output
    assert "ticket.safetensors" in shown.output
    model = out / "model.safetensors"
    pruned = document_of("prune", model, "--keep", 0.5, "--scope", "global", "--dry-run")
    assert pruned["n_nonzero_before"] <= 592 + 40 + 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--keep 0", "`--keep` of `iterate`"),
        ("--keep 0.1 --net transformer", "`--net` of `iterate`"),
        ("--keep 0.1 --rewind step", "`--rewind-step`"),
        ("--keep 0.1 --rewind none", "`--schedule` of `iterate`"),
        ("--keep 0.1 --control dense", "give `last_steps`"),
        ("--keep 0.1 --last-epochs 1 --control other", "got other."),
        ("--keep 0.1 --data no-such-set", "no-such-set"),
    ],
)
def test_bad_settings_of_rounds_are_named(run, tmp_path, options, message):
    data = [] if "--data" in options else ["--data", "digits"]
    done = run("iterate", *options.split(), *data, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_units_are_shared_by_what_they_do_to_outputs_of_unlabelled_inputs(
    document_of, run, models, tmp_path
):
    out = tmp_path / "small.safetensors"
    asked = "--method unit --target macs=0.5 --scope sensitivity --shrink --batch-size 4"
    found = document_of("prune", models[0], asked, "--data digits", "--out", out)
    rows = found["footprint"]["models"]
    assert 0.45 < rows["exported"]["macs"] / rows["dense"]["macs"] <= 0.5
    assert found["plan"]["budget"]["scope"] == "sensitivity"
    for wrong in (
        "--method unit --keep 0.5 --scope sensitivity --data digits",
        "--method unit --target macs=0.5 --scope sensitivity",
        "--method n:m --target macs=0.5",
        "--method unit --keep 0.5 --force",
    ):
        done = run("prune", models[0], wrong, "--out", tmp_path / "none.safetensors")
        assert done.exit_code == 2, wrong
    assert not (tmp_path / "none.safetensors").exists()


def test_what_is_read_is_not_written_over(run, models, tmp_path):
    before = models[0].read_bytes()
    for places in (
        ("--out", models[0]),
        ("--out", tmp_path / "a.onnx", "--onnx", tmp_path / "a.onnx"),
    ):
        done = run("prune", models[0], "--method unit --keep 0.5", *places)
        assert done.exit_code == 2
        assert "Name another file" in done.output
    assert models[0].read_bytes() == before


@pytest.mark.parametrize(
    "budget",
    [
        "--keep 0.01",
        "--eps 0.97",
        "--method unit --target macs=0.03",
        "--method unit --keep 0.03 --calibrate gaussian --calibrate-size 2",
        "--keep 0.01 --retrain 1 --lr 1e-6",
    ],
)
def test_a_network_that_lost_its_decisions_says_so_with_options_that_go_along(
    run, document_of, models, digits, tmp_path, budget
):
    asked = ["prune", models[0], budget, "--data digits --batch-size 1"]
    done = run(*asked, "--csv --out", tmp_path / "lost.safetensors")
    (line,) = (line for line in done.stderr.splitlines() if "lost its decisions" in line)
    mends, _, larger = line.partition("What may help: ")[2].rstrip(".").rpartition(", or ")
    assert larger.split()[-1] in budget
    for mend in filter(None, mends.split(", ")):
        assert mend.split()[0] not in budget
        document_of(*asked, mend, "--dry-run")
    commonest = digits[1].bincount().max().item() / len(digits[1])
    assert f"({100 * commonest:.1f} %)" in line


def test_what_keeps_its_decisions_says_nothing(run, models, tmp_path):
    asked = "--keep 0.9 --data digits --batch-size 1 --out"
    done = run("prune", models[0], asked, tmp_path / "kept.safetensors")
    assert done.exit_code == 0
    assert "lost its decisions" not in done.stderr
