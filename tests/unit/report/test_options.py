"""Options made from settings: names, types, defaults, nesting, former names."""

from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from prunable.errors import InputError
from prunable.report.options import Given, options_of
from prunable.runs.spec import Frozen, Spec


class Inner(Frozen):
    name: str = Field(description="Of the data.")
    size: int | None = Field(None, description="How many.")


class Outer(Spec):
    inner: Inner
    form: Literal["round", "square"] = Field("round", description="Shape.")
    rates: tuple[float, ...] = Field((0.1,), description="Several.")
    quiet: bool = Field(False, description="Say nothing.")
    checked: bool = Field(True, description="Look first.")
    batch_size: int = Field(7, description="At once.")
    hidden: int = 3


@pytest.fixture
def run():
    """What a command is given for its arguments, and the whole answer."""
    seen = []
    app = typer.Typer()

    @app.command()
    @options_of(
        Outer,
        flags={"inner.name": "--data", "batch_size": "--batch"},
        optional={"batch_size": "Default: all."},
        without=["hidden"],
        old={"form": "--shape"},
    )
    def command(given: Given, out: Annotated[int, typer.Option(help="Where.")] = 5) -> None:
        """Do it."""
        seen.append((given, out))

    def run(*arguments):
        answer = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        return (seen.pop() if seen else None), answer

    return run


def test_defaults_and_nesting(run):
    (given, out), _ = run("--data", "digits")
    assert out == 5
    assert given == {
        "inner": {"name": "digits"},
        "form": "round",
        "rates": (0.1,),
        "quiet": False,
        "checked": True,
    }
    assert Outer.create(**given).inner.name == "digits"


def test_everything_given(run):
    arguments = ["--data", "d", "--size", "4", "--form", "square", "--rates", "0.5", "--rates", "1"]
    arguments += ["--quiet", "--no-checked", "--batch", "9", "--out", "6"]
    (given, out), _ = run(*arguments)
    assert out == 6
    assert given == {
        "inner": {"name": "d", "size": 4},
        "form": "square",
        "rates": (0.5, 1.0),
        "quiet": True,
        "checked": False,
        "batch_size": 9,
    }


def test_former_names_work_and_are_not_shown(run):
    (given, _), _ = run("--data", "d", "--shape", "square")
    assert given["form"] == "square"
    _, answer = run("--help")
    assert "--shape" not in answer.output.split()
    for shown in ("--data", "Of the data.", "--batch", "Default: all.", "--out", "Do it."):
        assert shown in answer.output
    assert "--hidden" not in answer.output


def test_an_option_beside_its_former_name_is_refused(run):
    for form in ("round", "square"):  # the default, too, if it is typed
        seen, answer = run("--data", "d", "--shape", "square", "--form", form)
        assert seen is None
        assert isinstance(answer.exception, InputError)
        assert "the former name of --form" in str(answer.exception)


def test_wrong_choices_and_missing_options_are_refused(run):
    for arguments in (("--data", "d", "--form", "flat"), (), ("--data", "d", "--hidden", "1")):
        seen, answer = run(*arguments)
        assert seen is None
        assert answer.exit_code == 2
