"""`prunable simulate federated` as users call it."""

import json
import sys

import pytest
import typer
from typer.testing import CliRunner

from prunable.cli.app import _Guarded
from prunable.cli.simulate_federated import federated

app = typer.Typer(cls=_Guarded, pretty_exceptions_enable=False)
app.callback()(lambda: None)
app.command()(federated)
SMALL = ("--data", "digits", "--clients", "3", "--width", "16", "--batch", "100", "--lr", "0.3")


def call(*arguments):
    return CliRunner().invoke(app, ["federated", *map(str, arguments), "--workers", "1"])


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_a_run_writes_its_results_and_goes_on(partition, tmp_path):
    arguments = (*SMALL, "--partition", partition, "--out", tmp_path, "--json")
    first = call(*arguments, "--rounds", 1)
    assert first.exit_code == 0, first.output
    longer = call(*arguments, "--rounds", 2)
    document = json.loads(longer.stdout)
    assert document == json.loads((tmp_path / "federated.json").read_text())
    assert (tmp_path / "federated.svg").read_bytes().startswith(b"<?xml")
    for short, long in zip(json.loads(first.stdout)["runs"], document["runs"], strict=True):
        assert long["rows"][0] == short["rows"][0]
        assert len(long["rows"]) == 2
    assert document["runs"][0]["summary"]["fewer_bytes"] == 1
    assert all(run["summary"]["fewer_bytes"] > 2 for run in document["runs"][2:])


def test_without_json_a_table_is_printed(tmp_path):
    found = call(*SMALL, "--rounds", 1, "--out", tmp_path, "--precision", "float16")
    assert found.exit_code == 0, found.output
    assert "digits, 3 clients" in found.output
    assert "top-k with error" in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rounds", "0"), "`rounds`"),
        (("--clients", "0"), "`clients`"),
        (("--kappa", "2"), "`kappa`"),
        (("--alpha", "2.5"), "`alpha`"),
        (("--partition", "dirichlet", "--concentration", "-1"), "`concentration`"),
        (("--net", "nothing"), "`net`"),
        (("--data", "nothing"), "nothing"),
    ],
)
def test_bad_input_is_one_message(arguments, message, tmp_path):
    found = call(*SMALL, "--out", tmp_path, *arguments)
    assert found.exit_code == 2
    assert message in found.output
    assert "Traceback" not in found.output


def test_flower_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr", None)
    monkeypatch.setitem(sys.modules, "flwr.simulation", None)
    arguments = ["federated", *SMALL, "--out", str(tmp_path), "--engine", "flower"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert "Install 'prunable[flower]'" in " ".join(found.output.split())
    both = CliRunner().invoke(app, [*arguments, "--workers", "1"])
    assert both.exit_code == 2
    assert "--workers" in both.output
    assert not list(tmp_path.iterdir())
