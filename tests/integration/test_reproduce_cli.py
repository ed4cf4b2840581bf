"""`prunable reproduce`: every item of the papers, at the smallest scale."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from prunable.experiments.reproduce.document import judge, load_documents, shows_print

ITEMS = {
    "barsbey2021": [
        *(f"fig{i}" for i in range(1, 13)),
        *("table1", "table2", "thm3", "thm4", "ergodic", "prop8", "a4", "a5"),
    ],
    "guha2023": ["fig1a", "fig1b", "fig1c", "fig2", "table1", "table2", "theorem62"],
    "chang2020": [*(f"fig{i}" for i in range(1, 8)), "theorem1", "lemma1", "denoising"],
    "wan2023": ["fig1", *(f"table{i}" for i in (*range(1, 7), *range(10, 21)))],
}
NAMES = {f"{paper}-{item}" for paper, items in ITEMS.items() for item in items}


@pytest.fixture(scope="module")
def run(run):
    return partial(run, "reproduce")


def as_installed(*arguments, status=0):
    """The command in a process of its own, as it is installed."""
    script = Path(sys.executable).with_name("prunable")
    done = subprocess.run(
        [script, "reproduce", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """All items at the smoke scale."""
    out = tmp_path_factory.mktemp("smoke")
    done = as_installed("all", "--scale", "smoke", "--out", out, "--workers", 2, "--json")
    return out, json.loads(done.stdout)


def stamps(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}


def test_list_names_every_table_and_figure(document_of):
    listed = document_of("list")
    rows = [row for row in listed if row["kind"] != "study"]
    assert {row["item"] for row in rows} == NAMES
    for row in listed:
        assert row["schema_version"] == 1
        if row["kind"] == "study":
            assert row["paper"] is None
            assert row["item"].startswith("study-")
    for row in rows:
        assert row.keys() >= {"item", "paper", "kind", "scales", "claim"}
        kinds = [kind for kind in ("table", "fig") if f"-{kind}" in row["item"]]
        assert all(row["kind"].startswith(kind) for kind in kinds)
        assert row["kind"] in ("table", "figure")
        assert row["scales"] == ["smoke", "laptop", "paper"]
        assert row["claim"]


def test_all_items_run_through(everything):
    out, documents = everything
    assert {document["item"] for document in documents} == NAMES
    for document in documents:
        assert document["scale"] == "smoke"
        assert document["verdict"]["status"] == "not judged"
        assert document["tables"] or document["panels"], document["item"]
        assert document["checks"], document["item"]
        states = {run["status"] for run in document["runs"]}
        assert states <= {"done", "diverged"}, document["item"]
        name = f"{document['item']}--smoke--paper"
        for ending in ("json", "md", "svg"):
            assert (out / "items" / f"{name}.{ending}").stat().st_size > 100


def test_no_item_is_reproduced_without_its_comparison_with_print(everything):
    """As if all that could be decided at a larger scale held, but for what the size held back."""
    out, _ = everything
    printing = 0
    for document in load_documents(out):
        checks = [
            replace(check, outcome="not applicable", holds=None)
            if check.printed
            else replace(check, outcome="holds", holds=True)
            for check in document.checks
        ]
        prints = shows_print(document.tables, document.panels)
        verdict = judge("laptop", checks, prints=prints)
        printing += prints
        if prints or any(check.printed and check.essential for check in checks):
            assert verdict.status != "reproduced", document.item
    assert printing >= 19  # the tables of the four papers that print means or counts


def test_smoke_needs_no_data_but_what_is_embedded(everything):
    _, documents = everything
    used = {
        value
        for document in documents
        for run in document["runs"]
        for value in _datasets(run["spec"])
    }
    assert used <= {"digits"}


def _datasets(spec):
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key == "dataset":
                yield value["name"]
            yield from _datasets(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from _datasets(value)


def test_every_number_names_a_run_that_is_there(everything):
    out, documents = everything
    stored = {path.parent.name for path in out.glob("runs/*/result.json")}
    named = {
        run
        for document in documents
        for table in document["tables"]
        for row in table["rows"]
        for cell in row
        for run in cell["runs"]
    } | {
        run
        for document in documents
        for panel in document["panels"]
        for series in panel["series"]
        for run in series["runs"]
    }
    assert named
    assert named <= stored


def test_index_shows_every_item(everything):
    out, _ = everything
    page = (out / "index.html").read_text()
    for name in NAMES:
        assert name in page


def test_again_computes_nothing_and_says_the_same(document_of, everything):
    out, documents = everything
    before = stamps(out)
    assert document_of("all --scale smoke --workers 2 --out", out) == documents
    assert stamps(out) == before


def test_dry_run_lists_and_writes_nothing(document_of, tmp_path):
    out = tmp_path / "none"
    planned = document_of("wan2023-table1 --dry-run --out", out)
    assert planned["missing"]
    assert planned["seconds"] > 60
    assert {"id", "kind", "seconds"} == planned["missing"][0].keys()
    assert not out.exists()


def test_several_items_in_one_command_each_once(document_of, tmp_path):
    names = "chang2020-fig3 barsbey2021-fig10 chang2020-fig3"
    options = ("--scale smoke --out", tmp_path)
    done = document_of(names, "--workers 2", *options)
    found = [document["item"] for document in done]
    assert found == ["chang2020-fig3", "barsbey2021-fig10"]
    planned = document_of(names, "barsbey2021 --dry-run", *options)
    whole = document_of("barsbey2021 --dry-run", *options)
    assert planned["missing"] == whole["missing"]  # figure 3's runs are stored


def test_dry_run_names_missing_data(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNABLE_CACHE", str(tmp_path))
    monkeypatch.delenv("PRUNABLE_DATA", raising=False)
    shown = run("wan2023-table1 --dry-run --out", tmp_path).stdout
    assert "prunable data fetch ecg5000" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("wan2023-table9", "`item` of `reproduce` must be an item, such as wan2023-table"),
        ("figure3", "such as barsbey2021-fig3, chang2020-fig3; got figure3"),
        ("wan2023-tabel4", "such as wan2023-table4,"),
        ("list wan2023-table1", "`list` stands alone"),
        ("all --scale tiny", "tiny"),
        ("all --address auto", "has no effect without --backend ray"),
        ("all --workers 0", "greater than or equal to 1"),
    ],
)
def test_bad_usage(run, arguments, message):
    done = run(arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_usage_ends_the_installed_command_with_its_status():
    done = as_installed("wan2023-table9", status=2)
    assert "`item` of `reproduce` must be an item" in done.stderr
