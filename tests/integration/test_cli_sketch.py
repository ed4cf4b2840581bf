"""`prunable sketch` as users call it, on a pruned checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prunable.nets.archive import save_tensors

COMMAND = [sys.executable, "-c", "from prunable.cli.app import main; main()"]


@pytest.fixture
def pruned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden.weight": (300, 64), "output.weight": (10, 300), "output.bias": (10,)}
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in ("hidden.weight", "output.weight"):
        least = state[name].abs().flatten().quantile(0.97)
        state[name][state[name].abs() < least] = 0.0
    save_tensors(tmp_path / "pruned.safetensors", state, {"trained": "no"})
    return Path("pruned.safetensors")


def test_round_trip_of_a_checkpoint(run, pruned):
    before = pruned.read_bytes()
    done = run("sketch", "encode", pruned, "--out", "p.sketch", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["bytes"] == Path("p.sketch").stat().st_size
    assert document["bytes"] < document["bytes_before"] == len(before)
    assert document["n_sketched"] == 2
    # decoded in a process of its own
    done = subprocess.run(
        [*COMMAND, "sketch", "decode", "p.sketch", "--out", "q.safetensors", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_tensors"] == 3
    # not only the tensors: the file, whose writer is ours too
    assert Path("q.safetensors").read_bytes() == before == pruned.read_bytes()


def test_tables_are_printed(run, pruned):
    done = run("sketch", "encode", pruned, "--out", "p.sketch", "--only", "hidden*")
    assert done.exit_code == 0, done.output
    for word in ("bitmask", "entropy", "1 of 3 tensors", "p.sketch"):
        assert word in done.stdout
    done = run("sketch", "decode", "p.sketch", "--out", "q.safetensors")
    assert done.exit_code == 0, done.output
    assert "every digest agrees" in done.stdout


def test_torch_files_and_negative_zeros(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(1)
    masked = torch.randn(200, 200, generator=generator)
    masked *= torch.rand(200, 200, generator=generator) < 0.02
    state = {"w": masked, "h": masked.bfloat16(), "steps": torch.tensor(7)}
    torch.save(state, "m.pt")
    done = run("sketch", "encode", "m.pt", "--out", "m.sketch")
    assert done.exit_code == 0, done.output
    assert "entries are -0" in done.stdout
    assert run("sketch", "decode", "m.sketch", "--out", "m.safetensors").exit_code == 0
    found = load_file("m.safetensors")
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert torch.equal(torch.signbit(found[name]), torch.signbit(tensor))


def test_bad_input_gets_one_message(run, pruned):
    assert run("sketch", "encode", pruned, "--out", "p.sketch").exit_code == 0
    content = Path("p.sketch").read_bytes()
    Path("cut.sketch").write_bytes(content[:-7])
    Path("odd.sketch").write_bytes(content[:-7] + b"altered")
    save_file({"a": torch.ones(3)}, "plain.safetensors")
    cases = [
        (("decode", "cut.sketch", "--out", "x"), "cut.sketch"),
        (("decode", "odd.sketch", "--out", "x"), "odd.sketch"),
        (("decode", "plain.safetensors", "--out", "x"), "is no file of sketches"),
        (("decode", "nothing", "--out", "x"), "nothing"),
        (("encode", "nothing", "--out", "x"), "nothing"),
        (("encode", pruned, "--only", "other*", "--out", "x"), "--only other*"),
        (("encode", pruned), "--out"),
        (("encode", pruned, "--out", "x", "--seed", "-1"), "seed"),
    ]
    for arguments, named in cases:
        done = run("sketch", *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert "Traceback" not in done.output
        assert named in done.stderr, done.output
        assert not Path("x").exists()


def test_help_ends_with_an_example(run):
    for command in ("encode", "decode"):
        done = run("sketch", command, "--help")
        assert done.exit_code == 0
        assert f"prunable sketch {command}" in done.stdout
