"""Two thousand mutants of every format that is read; `make fuzz` tries a hundred thousand."""

import subprocess
import sys

import pytest
from tests.fuzz import running
from tests.fuzz.formats import FORMATS, Format

from prunable.errors import DataIntegrityError


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_mutants_are_read_or_refused(root):
    """Each in 5 s and 1 GiB, in processes forked by one of its own that has no threads."""
    command = [sys.executable, "-m", "tests.fuzz", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    last = done.stdout.splitlines()[-1]
    assert "findings: none" in last
    assert int(last.split()[0]) >= 2000
    for name in FORMATS:
        assert f"{name}: {{" in done.stdout


def test_mutants_are_the_same_everywhere():
    for name in ("ticket", "item", "arrays"):
        first, second = (running.mutant(name, 7, seed=1) for _ in range(2))
        assert first == second != running.mutant(name, 8, seed=1)


def _say(_):
    raise DataIntegrityError("two\nlines")


def _hide(_):
    try:
        raise MemoryError
    except MemoryError as error:
        raise DataIntegrityError("damaged") from error


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda _: None, "read"),
        (lambda _: {}["x"], "traceback"),
        (_say, "says it badly"),
        (_hide, "asks for memory"),
        (lambda _: sys.exit(3), "traceback"),
    ],
)
def test_what_a_mutant_does_is_told(tmp_path, read, kind):
    assert running.trial(Format(lambda: b"", lambda x, _: x, read), b"x", tmp_path)[0] == kind
