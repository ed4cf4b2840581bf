"""Full disks, closed folders, kills, no HOME, no locale, two at once: whole files, one message."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import prunable
from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.files import write_json, write_text
from prunable.nets.archive import save_tensors
from prunable.nets.prune.mask_file import save_masks
from prunable.nets.prune.sparse_file import save_sparse
from prunable.nets.prune.tickets import Ticket, save_ticket
from prunable.nets.shrink.export import save_exported
from prunable.nets.train.checkpoint import TrainingState
from prunable.sketch.file import save_sketches
from prunable.strategies import MagnitudePruning

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")

COMMAND = [sys.executable, "-c", "from prunable.cli.app import main; main()"]


@contextmanager
def full_disk(free):
    """No file grows beyond so many bytes: writing more fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 60))


def _masks():
    return {f"w{place}": torch.rand(64, 64) > 0.5 for place in range(20)}


def _state(path):
    model = _network()
    TrainingState(model, torch.optim.Adam(model.parameters())).save(path, {"step": 1})


def _sparse():
    return {"w": torch.randn(100, 100) * (torch.rand(100, 100) < 0.05)}


@pytest.fixture(scope="module")
def measured():
    return prunable.measure(_network())


@pytest.fixture(scope="module")
def plan():
    return prunable.prune(_network(), MagnitudePruning(), Keep(0.5, "layer"), dry_run=True).plan


WRITERS = {
    "text": lambda path, *_: write_text(path, "x" * 9000),
    "document": lambda path, *_: write_json(path, list(range(9000))),
    "tensors": lambda path, *_: save_tensors(path, {"w": torch.ones(60, 60)}),
    "masks": lambda path, *_: save_masks(path, _masks()),
    "ticket": lambda path, *_: save_ticket(path, Ticket(_masks(), 0, None, (0.5,))),
    "bitmask": lambda path, *_: save_sparse(path, _sparse()),
    "sketch": lambda path, *_: save_sketches(path, _sparse()),
    "exported": lambda path, *_: save_exported(path, _network()),
    "state": lambda path, *_: _state(path),
    "measurement.json": lambda path, measured, _: prunable.write(measured, path),
    "measurement.html": lambda path, measured, _: prunable.write(measured, path),
    "plan.json": lambda path, _, plan: prunable.write(plan, path),
    "plan.html": lambda path, _, plan: prunable.write(plan, path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("free", [0, 100, 400])
def test_full_disk_leaves_what_was_there(tmp_path, measured, plan, name, free):
    path = tmp_path / f"old-{name}"
    path.write_bytes(b"what was there")
    with full_disk(free), pytest.raises(InputError, match=r"cannot write .*old-") as caught:
        WRITERS[name](path, measured, plan)
    assert ".part" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"what was there"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def command(*words, env=None, **options):
    """Run the command as a user would; its status and what it says."""
    env = {**os.environ, "PYTHONPATH": str(Path(prunable.__file__).parents[1]), **(env or {})}
    full = [*COMMAND, *map(str, words)]
    return subprocess.run(full, capture_output=True, check=False, env=env, **options)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "net.safetensors"
    save_file({f"{n}.weight": torch.randn(60, 60) for n in "ab"}, path)
    return path


def test_full_disk_under_the_command(checkpoint, tmp_path):
    before, out = checkpoint.read_bytes(), tmp_path / "pruned.safetensors"
    done = command(
        *("prune", checkpoint, "--keep", 0.5, "--out", out),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
    )
    assert done.returncode == 2, done.stderr
    assert f"cannot write {out}: " in " ".join(done.stderr.decode().split())
    assert b"Traceback" not in done.stderr
    assert checkpoint.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize("place", ["folder", "file in the way"])
def test_places_that_cannot_be_written(checkpoint, tmp_path, place):
    if place == "folder":
        out, options = tmp_path / "closed" / "net.safetensors", {}
        out.parent.mkdir(mode=0o555)
        tmp_path.chmod(0o755)
        if os.getuid() == 0:  # whom permissions do not stop
            out = Path("/proc/net.safetensors")
    else:
        out, options = checkpoint / "net.safetensors", {}
    done = command("prune", checkpoint, "--keep", 0.5, "--out", out, **options)
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert str(out).encode() in done.stderr


def test_neither_home_nor_locale(tmp_path):
    """Letters that the terminal does not know are spelled otherwise; JSON and pages are whole."""
    bare = {"PATH": os.environ["PATH"], "LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0"}
    bare |= {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict", "TMPDIR": str(tmp_path)}
    bare["PYTHONPATH"] = str(Path(prunable.__file__).parents[1])
    path = tmp_path / "nétz.safetensors"
    save_file({f"{name}.weight": torch.randn(60, 60) for name in ("a", "β")}, path)
    words = ["measure", str(path), "--report", str(tmp_path / "ä.html")]
    done = subprocess.run([*COMMAND, *words], capture_output=True, check=False, env=bare)
    assert done.returncode == 0, done.stderr
    assert b"a.weight" in done.stdout
    assert rb"\u03b2.weight" in done.stdout
    page = (tmp_path / "ä.html").read_text(encoding="utf-8")
    assert "±" in page
    assert "nétz.safetensors" in page
    with_json = subprocess.run(
        [*COMMAND, "prune", str(tmp_path / "nöt thére"), "--json"],
        capture_output=True,
        check=False,
        env=bare | {"HOME": "/nowhere"},
    )
    assert with_json.returncode == 2, with_json.stderr
    assert b"Traceback" not in with_json.stderr


def test_killed_while_writing_and_run_again(checkpoint, tmp_path):
    """The rerun gives what an undisturbed run does, and clears what the killed one left."""
    whole, out = tmp_path / "whole" / "p.safetensors", tmp_path / "again" / "p.safetensors"
    words = ["prune", checkpoint, "--keep", 0.5, "--seed", 3]
    assert command(*words, "--out", whole).returncode == 0
    script = textwrap.dedent("""
        import os, signal, sys
        import prunable.files as files
        before = os.fsync
        def killed(place):
            before(place)
            os.kill(os.getpid(), signal.SIGKILL)  # all is written, nothing is renamed
        os.fsync = killed
        from prunable.cli.app import main
        main()
    """)
    full = [sys.executable, "-c", script, *map(str, words), "--out", str(out)]
    env = {**os.environ, "PYTHONPATH": str(Path(prunable.__file__).parents[1])}
    done = subprocess.run(full, capture_output=True, check=False, env=env)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    assert list(out.parent.glob(".*.part"))
    assert command(*words, "--out", out).returncode == 0
    assert out.read_bytes() == whole.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def _train(place):
    words = ("train --data digits --net fcn4 --epochs 3 --seed 1 --out", place / "run")
    return words, lambda: (place / "run" / "model.safetensors").read_bytes()


def _certify(place):
    torch.manual_seed(2)
    net = place.parent / "digits.safetensors"
    sizes = {"0.weight": (40, 64), "0.bias": (40,), "2.weight": (10, 40), "2.bias": (10,)}
    save_file({name: torch.randn(shape) * 0.1 for name, shape in sizes.items()}, net)
    words = ("certify", net, "--data digits --epochs 2 --levels 1 --keep 0.2 --draws 200")
    certificate = place / "cert.json"
    return (*words, "--out", certificate), lambda: json.loads(certificate.read_text())["statement"]


@pytest.mark.parametrize("long", [_train, _certify])
def test_killed_at_random_and_run_again(tmp_path, long):
    """The rerun gives what an undisturbed run does; no process and no half of a file is left."""
    mark = f"hard-day-{os.getpid()}-{long.__name__}"
    env = {**os.environ, "PYTHONPATH": str(Path(prunable.__file__).parents[1]), "MARK": mark}
    whole, again = tmp_path / "whole", tmp_path / "again"
    (whole, again) = (place.mkdir() or place for place in (whole, again))
    words, result = long(whole)
    started = time.monotonic()
    done = command(*" ".join(map(str, words)).split(), env=env)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    wanted = result()
    words, result = long(again)
    full = [*COMMAND, *" ".join(map(str, words)).split()]
    moment = random.Random(long.__name__).uniform(0.2, 0.95)
    process = subprocess.Popen(
        full, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, start_new_session=True
    )
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds * moment)
    process.kill()
    process.wait()
    done = command(*full[len(COMMAND) :], env=env)
    assert done.returncode == 0, done.stderr
    assert result() == wanted, moment
    assert not list(again.rglob(".*.part"))
    deadline = time.monotonic() + 30
    while alive := _marked(mark):  # children notice that their parent is gone
        assert time.monotonic() < deadline, alive
        time.sleep(0.2)


def _marked(mark):
    """Processes that run with a variable of the environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"MARK={mark}".encode() in place.read_bytes():
                found.append(place.parent.name)
    return found


def test_one_core_and_two_gigabytes(checkpoint, tmp_path):
    """Two of address space: what is mapped and not touched counts too."""

    def bounded():
        resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30,) * 2)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    prune = ("prune", checkpoint, "--keep", 0.5, "--out", tmp_path / "p.safetensors")
    for words in (("measure", checkpoint, "--json"), prune):
        done = command(*words, preexec_fn=bounded, env={"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr


def test_two_processes_on_one_store(tmp_path):
    """They train the same network: both end well, and what is left is one whole result."""
    words = ["train", "--data", "digits", "--net", "fcn4", "--epochs", 1, "--out", tmp_path / "run"]
    env = {**os.environ, "PYTHONPATH": str(Path(prunable.__file__).parents[1])}
    full = [*COMMAND, *map(str, words)]
    both = [
        subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=600)[1] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes, said
    assert set(codes) <= {0, 2}, said
    assert not any(b"Traceback" in text for text in said)
    results = list((tmp_path / "run").rglob("result.json"))
    assert results
    for path in results:
        json.loads(path.read_text())
    assert not list((tmp_path / "run").rglob(".*.part"))


def test_clock_that_jumps(tmp_path, monkeypatch):
    """Nothing waits for a clock on the wall: files of the future are replaced like others."""
    path = tmp_path / "x.json"
    write_json(path, 1)
    os.utime(path, (4e9, 4e9))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    write_json(path, 2)
    assert json.loads(path.read_text()) == 2
