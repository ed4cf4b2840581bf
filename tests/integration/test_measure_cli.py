"""`prunable measure` as users call it, on a network trained on real digits."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

COMMAND = [sys.executable, "-c", "from prunable.cli.app import main; main()"]


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for step in (5, 60):
        noise = "--noise type2 --alpha 1.6 --sigma 0.3"
        out = folder / f"run-{step}"
        done = run("train --data digits --width 300", noise, "--epochs", step, "--out", out)
        assert done.exit_code == 0, done.stderr
    return folder


def test_json_is_alone_on_stdout(trained):
    """In a process of its own: what else would write there is not in this one."""
    model = trained / "run-60" / "model.safetensors"
    arguments = ["measure", str(model), *["--json", "--eps", "0.1", "--eps", "0.3"]]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["model"] == str(model)
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert set(layers) == {"hidden.weight", "output.weight"}
    weights = load_file(model)["hidden.weight"].numpy().astype(np.float64)
    squares = np.sort(weights.ravel() ** 2)
    kept = squares.size - np.searchsorted(np.cumsum(squares), 0.09 * squares.sum(), side="right")
    assert layers["hidden.weight"]["kappa"]["weight"]["0.3"] == pytest.approx(kept / squares.size)
    assert layers["output.weight"]["role"] == "output"
    # noise of index 1.6 leaves tails far from Gaussian
    assert layers["hidden.weight"]["verdict"] in ("stable", "heavy but not stable")
    assert layers["hidden.weight"]["estimators"]["ecf_regression"]["alpha"] < 1.9


def test_table_report_and_repetition(run, trained, monkeypatch):
    monkeypatch.chdir(trained)
    model = trained / "run-60" / "model.safetensors"
    done = run("measure", model, "--report page.html")
    assert done.exit_code == 0, done.stderr
    assert "hidden" in done.stdout
    assert "page.html" in done.stderr
    page = (trained / "page.html").read_text(encoding="utf-8")
    assert "hidden.weight" in page
    assert run("measure", model, "--report page.html").stdout == done.stdout
    assert (trained / "page.html").read_text(encoding="utf-8") == page


def test_comparison_and_trajectory(run, document_of, trained, monkeypatch):
    monkeypatch.chdir(trained)
    early, late = (trained / f"run-{n}" / "model.safetensors" for n in (5, 60))
    found = document_of("measure", late, "--against", early)["comparison"]
    assert found["against"] == str(early)
    assert {row["name"] for row in found["layers"]} == {"hidden.weight", "output.weight"}
    for name, model in (("step-5", early), ("step-60", late)):
        (trained / f"{name}.safetensors").write_bytes(model.read_bytes())
    rows = document_of("measure step-5.safetensors step-60.safetensors")["trajectory"]
    assert [row["step"] for row in rows] == [5, 60]
    done = run("measure step-5.safetensors step-60.safetensors --report t.html")
    assert done.exit_code == 0, done.stderr
    assert (trained / "t.html").stat().st_size > 10_000
    done = run("measure", early, late, "--against", early)
    assert done.exit_code == 2


def bad_inputs(folder):
    """Path, further options, exit status, and what the message must name."""
    state = {"good.weight": torch.ones(4, 4), "deep.weight": torch.ones(3, 4)}
    save_file(state, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    (folder / "short.safetensors").write_bytes(whole[:-5])
    (folder / "long-header.safetensors").write_bytes((2**40).to_bytes(8, "little") + whole[8:])
    flipped = bytearray(whole)
    flipped[9] ^= 1
    (folder / "flipped.safetensors").write_bytes(flipped)
    state["deep.weight"] = torch.ones(3, 4)
    state["deep.weight"][1, 2] = float("nan")
    save_file(state, folder / "nan.safetensors")
    torch.save(torch.nn.Linear(2, 2), folder / "module.pt")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(folder / "script.pt")
    (folder / "nothing").mkdir()
    save_file({"bias": torch.ones(3)}, folder / "bias.safetensors")
    return [
        ("missing.safetensors", (), 2, "is missing"),
        ("short.safetensors", (), 2, "short.safetensors"),
        ("long-header.safetensors", (), 2, "long-header.safetensors"),
        ("flipped.safetensors", (), 2, "flipped.safetensors"),
        ("nan.safetensors", (), 2, "deep.weight"),
        ("module.pt", (), 2, "--unpickle"),
        ("script.pt", (), 4, "TorchScript"),
        ("nothing", (), 2, "holds no weights"),
        ("bias.safetensors", (), 2, "no weight matrix"),
        ("whole.safetensors", ("--eps", "0"), 2, "eps"),
        ("whole.safetensors", ("--p", "-1"), 2, "`--p`"),
        ("whole.safetensors", ("--spectrum", "maybe"), 2, "spectrum"),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bad_input_gets_one_message(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, options, status, named in bad_inputs(tmp_path):
        done = run("measure", name, *options)
        assert done.exit_code == status, (name, options, done.stderr)
        assert "Traceback" not in done.stderr
        assert named in done.stderr, done.stderr
        assert done.stdout == ""


def test_bad_input_ends_a_process_with_its_status_and_one_message(tmp_path):
    arguments = ["measure", str(tmp_path / "missing.safetensors")]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_trusted_pickle_is_read(document_of, tmp_path):
    torch.save(torch.nn.Linear(40, 30), tmp_path / "module.pt")
    document = document_of("measure", tmp_path / "module.pt", "--unpickle")
    assert [layer["name"] for layer in document["layers"]] == ["weight"]


def test_help_shows_an_example(run):
    done = run("measure --help")
    assert done.exit_code == 0
    assert "Example: prunable measure" in done.stdout
