"""`prunable prune` as users call it, on a network trained on real digits."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from prunable.nets.prune.sparse_file import load_sparse


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = run("train --data digits --width 200 --epochs 30 --out", folder)
    assert done.exit_code == 0, done.stderr
    return folder / "model.safetensors"


@pytest.mark.parametrize("storage", ["dense", "bitmask"])
def test_pruned_file_holds_the_largest_weights(document_of, model, tmp_path, storage):
    out = tmp_path / "pruned.safetensors"
    original = model.read_bytes()
    document = document_of("prune", model, "--keep 0.1 --storage", storage, "--out", out)
    assert document["bytes"] == out.stat().st_size
    before, after = load_file(model), load_sparse(out)
    for name, weights in before.items():
        kept = int(np.ceil(0.1 * weights.numel()))
        threshold = weights.abs().flatten().sort(descending=True)[0][kept - 1]
        expected = torch.where(weights.abs() >= threshold, weights, 0.0)
        assert torch.equal(after[name], expected if weights.ndim == 2 else weights)
    assert document["n_nonzero"] == sum(int((v != 0).sum()) for v in after.values())
    assert model.read_bytes() == original
    if storage == "bitmask":
        assert out.stat().st_size < len(original) / 4


def test_table_and_dry_run(run, model, tmp_path):
    done = run("prune", model, "--method unit --eps 0.3 --only hidden.* --dry-run")
    assert done.exit_code == 0, done.stderr
    assert "hidden.weight" in done.stdout
    assert "output.weight" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_types_are_kept(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = {
        "a": torch.randn(30, 20).half(),
        "b": torch.randn(30, 20).bfloat16(),
        "n": torch.arange(4),
    }
    save_file(state, tmp_path / "m.safetensors")
    done = run("prune m.safetensors --keep 0.5 --out p.safetensors")
    assert done.exit_code == 0, done.stderr
    found = load_file(tmp_path / "p.safetensors")
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        kept = found[name] != 0
        assert torch.equal(found[name][kept], value[kept])


def test_a_checkpoint_is_written_over_on_request_alone(document_of, run, model, tmp_path):
    checkpoint, link = tmp_path / "own.safetensors", tmp_path / "link.safetensors"
    shutil.copy(model, checkpoint)
    link.symlink_to(checkpoint)
    before = checkpoint.read_bytes()
    done = run("prune", link, "--keep", 0.25, "--out", checkpoint)
    assert done.exit_code == 2
    assert "or give --in-place instead" in done.stderr
    for options, named in (
        (("--out", tmp_path / "x.safetensors"), "either --out or --in-place"),
        ((), "either"),
    ):
        done = run("prune", link if options else tmp_path, "--keep", 0.25, "--in-place", *options)
        assert done.exit_code == 2
        assert named in done.stderr or "one file ending in .safetensors" in done.stderr
    assert checkpoint.read_bytes() == before
    document_of(f"prune {model} --keep 0.25 --out {tmp_path / 'beside.safetensors'}")
    found = document_of(f"prune {link} --keep 0.25 --in-place")
    assert found["out"] == str(checkpoint)
    assert found["bytes_before"] == len(before)
    assert link.is_symlink()
    assert checkpoint.read_bytes() == (tmp_path / "beside.safetensors").read_bytes()


def test_bad_input_gets_one_message(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = [
        (("--keep", 0.5), "--out"),
        (("--out", "x.safetensors"), "exactly one of"),
        (("--keep", 0.5, "--eps", 0.1, "--out", "x.safetensors"), "exactly one of"),
        (("--keep", 1.5, "--out", "x.safetensors"), "`--keep`"),
        (("--eps", 0.1, "--scope", "global", "--out", "x.safetensors"), "--scope global"),
        (("--keep", 0, "--out", "x.safetensors"), "leaves nothing of hidden.weight"),
        (("--keep", 0.5, "--only", "nothing", "--out", "x.safetensors"), "nothing"),
        (("--keep", 0.5, "--method", "magic", "--out", "x.safetensors"), "magic"),
        (("--eps", 0.5, "--method", "random", "--out", "x.safetensors"), "budget"),
    ]
    for options, named in cases:
        done = run("prune", model, *options)
        assert done.exit_code == 2, (options, done.stderr)
        assert "Traceback" not in done.stderr
        assert named in done.stderr, done.stderr
        assert not (tmp_path / "x.safetensors").exists()


def test_patterns(document_of, run, model, tmp_path):
    out = f"--out {tmp_path / 'pruned.safetensors'}"
    found = document_of(f"prune {model} --method n:m --n-m 1:4", out)
    assert found["plan"]["method"] == "1:4"
    stored = load_file(tmp_path / "pruned.safetensors")
    matrices = [w for w in stored.values() if w.ndim == 2 and w.shape[1] % 4 == 0]
    assert matrices
    for matrix in matrices:
        assert ((matrix.unflatten(1, (-1, 4)) != 0).sum(2) == 1).all()
    assert document_of(f"prune {model} --method n:m --keep .5", out)["plan"]["method"] == "2:4"
    for options, message in {
        "--method n:m --keep .4": "`--keep` of `prune` contradicts --method n:m",
        "--method n:m --eps .4": "`--eps` of `prune` contradicts",
        "--method n:m --scope global": "`--scope global` of `prune` contradicts",
        "--method n:m --n-m 4:2": "`--n-m` of `prune` must be n:m with 0 < n < m, as 2:4; got 4:2",
        "--method n:m --n-m two": "must be n:m",
        "--keep .5 --n-m 2:4": "`--n-m` of `prune` has no effect without --method n:m",
    }.items():
        done = run(f"prune {model} {options} --out {tmp_path / 'no.safetensors'}")
        assert done.exit_code == 2
        assert message in " ".join(done.output.split())
    assert not (tmp_path / "no.safetensors").exists()
