"""The list of commands is true, and help waits for none of them."""

import inspect
import mmap
import re
import subprocess
import sys
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from prunable.cli.app import COMMANDS, app
from prunable.cli.mistakes import in_words_of_options, usage_message
from prunable.errors import DataIntegrityError, UnsupportedModelError
from prunable.files import damage_named

HELP = """
import sys
from typer.testing import CliRunner
from prunable.cli.app import app
done = CliRunner().invoke(app, ["--help"])
assert done.exit_code == 0, done
slow = {"numpy", "torch", "scipy", "pydantic", "pyarrow", "matplotlib", "importlib.metadata"}
slow &= set(sys.modules)
assert not slow, slow
print(done.output)
"""


def test_help_imports_no_command():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_are_those_of_the_commands(name):
    place, summary = COMMANDS[name]
    module, _, inside = place.partition(":")
    found = getattr(import_module(module), inside)
    if isinstance(found, typer.Typer):
        assert found.info.help == summary
    else:
        assert inspect.getdoc(found).splitlines()[0] == summary


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("`kappa` of `Keep` must be 1; got 2.", "`--keep` of `prune` must be 1; got 2."),
        ("`lr` of `Retraining` must be 1; got 2.", "`--lr` of `prune` must be 1; got 2."),
        ("`x` of `y` must be 1; got 2.", "`x` of `y` must be 1; got 2."),
        (
            "`method` of `prune` must be one of unit, node; got unti.",
            "`--method` of `prune` must be one of unit, node; got unti. Did you mean unit?",
        ),
    ],
)
def test_errors_speak_of_options(said, shown):
    command = typer.main.get_command(app).commands["prune"]
    assert in_words_of_options(said, command, ["prune"]) == shown


def test_usage_errors_name_the_help():
    assert usage_message(typer.BadParameter("too dark")).endswith("See `prunable --help`.")


@pytest.mark.parametrize("width", ["50", "80"])
@pytest.mark.parametrize("name", ["", "forecast", "prune", "train"])
def test_help_cuts_no_option_and_breaks_no_paragraph(name, width):
    found = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": width})
    assert found.exit_code == 0
    assert not re.search(r"│[* ]+-[a-z-]+…", found.output)
    assert not re.search(r"<bool>|<list", found.output)
    # a line ends where the next word has no room, not where the source has a line
    words = [line.strip() for line in found.output.split("╭")[0].splitlines()]
    for line, after in pairwise(words):
        if line and after and not after.startswith("Example:"):
            assert len(line) + 1 + len(after.split()[0]) > int(width) - 3


def test_help_says_what_may_be_repeated():
    command = typer.main.get_command(app).commands["forecast"]
    texts = {option.opts[0]: option.help for option in command.params if option.opts}
    assert texts["--keep"].endswith("repeat for several.")


WANTING = {
    "python": lambda: bytearray(2**50),
    "numpy": lambda: np.empty(2**50),
    "torch": lambda: torch.empty(2**50),
    "the system": lambda: mmap.mmap(-1, 2**50),
    "the linker": lambda: unlinked(),
}


def unlinked():
    """What importing says where there is no room for a library."""
    raise ImportError("x.so: failed to map segment from shared object")


@pytest.mark.parametrize("wrapped", [None, UnsupportedModelError, DataIntegrityError])
@pytest.mark.parametrize("name", WANTING)
def test_memory_that_is_wanting_is_one_message(monkeypatch, tmp_path, name, wrapped):
    """Also where others thought that a model was at fault."""

    def measure(*_args, **_options):
        try:
            WANTING[name]()
        except Exception as error:
            if wrapped is not None:
                raise wrapped("it is another fault") from error
            raise

    monkeypatch.setattr("prunable.nets.measure.measuring.measure", measure)
    done = CliRunner().invoke(app, ["measure", str(tmp_path / "x")])
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert said.startswith("error: `measure` ran out of memory (")
    assert said.endswith("or raise its limit (ulimit -v), or give a smaller --memory.")
    assert not done.stdout
    asks = pytest.raises(DataIntegrityError, match=r"x\.bin asks for more memory")
    with asks, damage_named("x.bin"):
        WANTING[name]()


def test_other_faults_are_no_want_of_memory(monkeypatch, tmp_path):
    def measure(*_args, **_options):
        raise ValueError("a fault")

    monkeypatch.setattr("prunable.nets.measure.measuring.measure", measure)
    assert isinstance(CliRunner().invoke(app, ["measure", str(tmp_path)]).exception, ValueError)
