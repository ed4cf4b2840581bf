"""Files are whole or absent."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from prunable.errors import DataIntegrityError, InputError
from prunable.files import (
    atomic_write,
    check_ending,
    read_json,
    remove_leftovers,
    staged,
    write_json,
    write_text,
)
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


WRITER = """
import sys, time
from pathlib import Path
from prunable.files import staged
with staged(sys.argv[1]) as place:
    place.mkdir()
    (place / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@contextmanager
def writer(path):
    """A process that is writing to a path."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "writing\n"
            yield process
        finally:
            process.kill()


def test_the_next_write_clears_what_a_killed_one_left_and_nothing_of_one_that_lives(tmp_path):
    path, other = tmp_path / "folder", tmp_path / "folder.other"
    with writer(path) as killed:
        killed.kill()
        killed.wait()
        (left,) = tmp_path.iterdir()
        assert left.suffix == ".part"
        with writer(path), writer(other):
            assert not left.exists()
            living = set(tmp_path.iterdir())
            assert len(living) == 2
            write_text(path, "whole")
            with staged(tmp_path / "more") as place:
                place.write_text("whole")
            remove_leftovers(tmp_path)
            assert set(tmp_path.iterdir()) == living | {path, tmp_path / "more"}
    remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "more"}


def test_many_writers_of_one_place_leave_one_whole_file(tmp_path):
    path = tmp_path / "result.json"

    def write(number):
        write_text(path, str(number) * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert len(set(path.read_text())) <= 3
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_folder_that_another_writer_removes_before_its_lock_is_taken_is_made_anew(
    tmp_path, monkeypatch
):
    path, taken = tmp_path / "result.json", []
    real = Path.mkdir

    def mkdir(self, *args, **options):
        if self.suffix == ".part" and not taken:  # gone between the system's refusal and the look
            taken.append(self)
            self.rmdir()
            raise FileExistsError(17, "File exists", str(self))
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    write_text(path, "whole")
    assert taken
    assert path.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_endings_are_those_of_the_format(tmp_path):
    endings = ("", ".safetensors")
    for place in (None, "a", tmp_path / "a.SAFETENSORS"):
        check_ending(place, "out", "prune", *endings)
    for name in ("a.bin", "a.pt", "a.onnx"):
        with pytest.raises(InputError, match=r"`out` of `prune` .*ending in \.safetensors"):
            check_ending(tmp_path / name, "out", "prune", *endings)
    with pytest.raises(InputError, match=r"\.html or \.htm,"):
        check_ending("page", "report", "measure", ".html", ".htm")
