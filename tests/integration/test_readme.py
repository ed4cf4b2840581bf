"""The README says what the code does."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prunable.cli.app import app
from prunable.experiments.reproduce.document import load_documents
from prunable.report.reproduce.words import shown

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_python_examples_run_and_print_what_they_say(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    promised = re.findall(r"# (\S+ \[.*)", code)
    assert promised
    assert capsys.readouterr().out.splitlines() == promised


def test_table_and_findings_are_those_of_the_stored_results():
    results = json.loads((ROOT / "docs" / "demo" / "results.json").read_text())
    (document,) = load_documents(ROOT / "docs" / "demo")
    table = document.tables[0]
    assert shown(table).markdown() in README
    assert results["findings"]
    assert all(finding["text"] in README for finding in results["findings"])
    for row, condition in zip(table.rows, results["conditions"], strict=True):
        for cell, column in zip(row[1:], table.columns[1:], strict=True):
            assert cell.value == pytest.approx(condition["summary"][column.key]["mean"], rel=1e-9)
    assert (ROOT / "docs" / "demo" / "overview.png").stat().st_size > 10_000


def test_networks_are_those_measured():
    page = (ROOT / "docs" / "measure" / "networks.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert len(rows) >= 5
    for row in rows:
        assert row.replace("](", "](docs/measure/") in README


def test_commands_named_exist():
    for name in set(re.findall(r"`prunable (\w+)", README)):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_make_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
