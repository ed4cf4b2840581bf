"""The list of commands is true, and help waits for none of them."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from prunable.cli.app import COMMANDS, app
from prunable.cli.mistakes import in_words_of_options, usage_message

HELP = """
import sys
from typer.testing import CliRunner
from prunable.cli.app import app
done = CliRunner().invoke(app, ["--help"])
assert done.exit_code == 0, done
slow = {"numpy", "torch", "scipy", "pydantic", "pyarrow", "matplotlib"} & set(sys.modules)
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
