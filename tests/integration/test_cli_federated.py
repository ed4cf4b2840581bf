"""`prunable simulate federated` as users call it."""

import json
import sys

import pytest

SMALL = "simulate federated --data digits --clients 3 --width 16 --batch 100 --lr 0.3"


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_a_run_writes_its_results_and_goes_on(document_of, partition, tmp_path):
    arguments = (SMALL, "--workers 1 --partition", partition, "--out", tmp_path)
    first = document_of(*arguments, "--rounds 1")
    document = document_of(*arguments, "--rounds 2")
    stored = json.loads((tmp_path / "federated.json").read_text())
    assert document == {"schema_version": 1, **stored}
    assert (tmp_path / "federated.svg").read_bytes().startswith(b"<?xml")
    for short, long in zip(first["runs"], document["runs"], strict=True):
        assert long["rows"][0] == short["rows"][0]
        assert len(long["rows"]) == 2
    assert document["runs"][0]["summary"]["fewer_bytes"] == 1
    assert all(run["summary"]["fewer_bytes"] > 2 for run in document["runs"][2:])


def test_without_json_a_table_is_printed(run, tmp_path):
    found = run(SMALL, "--workers 1 --rounds 1 --precision float16 --out", tmp_path)
    assert found.exit_code == 0, found.output
    assert "Digits (scikit-learn), 3 clients" in found.output
    assert "top-k with error" in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rounds", "0"), "`--rounds`"),
        (("--clients", "0"), "`--clients`"),
        (("--keep", "2"), "`--keep`"),
        (("--alpha", "2.5"), "`--alpha`"),
        (("--partition", "dirichlet", "--concentration", "-1"), "`--concentration`"),
        (("--net", "nothing"), "`--net`"),
        (("--data", "nothing"), "nothing"),
    ],
)
def test_bad_input_is_one_message(run, arguments, message, tmp_path):
    found = run(SMALL, "--workers 1 --out", tmp_path, *arguments)
    assert found.exit_code == 2
    assert message in found.output
    assert "Traceback" not in found.output


def test_flower_that_is_not_there_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr", None)
    monkeypatch.setitem(sys.modules, "flwr.simulation", None)
    arguments = (SMALL, "--engine flower --out", tmp_path)
    found = run(*arguments)
    assert found.exit_code == 2
    assert "Install 'prunable[flower]'" in " ".join(found.output.split())
    both = run(*arguments, "--workers 1")
    assert both.exit_code == 2
    assert "--workers" in both.output
    assert not list(tmp_path.iterdir())
