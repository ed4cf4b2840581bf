"""Files are whole or absent."""

import math
from pathlib import Path

import pytest
import torch

from prunable.errors import DataIntegrityError, InputError
from prunable.files import atomic_write, read_json, staged, write_json, write_text
from prunable.nets.archive import load_tensors, save_tensors


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "result.json"
    write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_full_disk_is_one_message(tmp_path):
    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .*x\.bin: No space left on device"):
        atomic_write(tmp_path / "x.bin", full)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file"):
        write_text(tmp_path / "file" / "x.txt", "text")


def test_json_refuses_nan_and_rubbish(tmp_path):
    with pytest.raises(InputError, match="null"):
        write_json(tmp_path / "a.json", {"x": math.nan})
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(DataIntegrityError, match=r"b\.json"):
        read_json(tmp_path / "b.json")
    with pytest.raises(DataIntegrityError, match="missing"):
        read_json(tmp_path / "c.json")


def test_archive_round_trip_and_damage(tmp_path):
    path = tmp_path / "m.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.bfloat16)}
    save_tensors(path, tensors, {"note": "x"})
    loaded, metadata = load_tensors(path)
    assert metadata == {"note": "x"}
    assert all(torch.equal(tensors[k], loaded[k]) for k in tensors)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataIntegrityError, match=r"m\.safetensors"):
        load_tensors(path)
    path.write_bytes(b"\x80\x04pickled")
    with pytest.raises(DataIntegrityError, match=r"m\.safetensors"):
        load_tensors(path)
    with pytest.raises(DataIntegrityError, match="missing"):
        load_tensors(tmp_path / "absent.safetensors")


def test_what_is_staged_appears_whole_or_not_at_all(tmp_path):
    with staged(tmp_path / "a" / "b" / "folder") as place:
        place.mkdir()
        (place / "file").write_text("whole")
        assert not (tmp_path / "a" / "b" / "folder").exists()
    assert (tmp_path / "a" / "b" / "folder" / "file").read_text() == "whole"
    with pytest.raises(InputError), staged(tmp_path / "a" / "b" / "folder") as place:
        place.mkdir()
    with pytest.raises(UnicodeEncodeError), staged(tmp_path / "c" / "d" / "file") as place:
        place.write_text("half \udc80", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["folder"]


def test_a_place_named_by_dots_is_not_left(tmp_path, monkeypatch):
    (tmp_path / "empty" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError), staged(Path("in/..")) as place:
        place.mkdir()
    assert place.name == "empty"
    assert (tmp_path / "empty" / "in").is_dir()
