"""The study of certificates at its smallest: its runs, its findings, and what is published."""

import json
from pathlib import Path

import pytest

from prunable.certify.certificate import read_certificate
from prunable.certify.study import CERTIFICATES
from prunable.certify.verifying import verify
from prunable.experiments.reproduce.run import reproduce
from prunable.runs.backends import SerialBackend
from prunable.runs.store import Store

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("study"))
    (document,) = reproduce(
        [CERTIFICATES], scale="smoke", convention="paper", store=store, backend=SerialBackend()
    )
    return store, document


def rows_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def tool(tool):
    return tool("publish_certificates")


def test_true_labels_are_certified_and_random_ones_are_not(reproduced):
    _, document = reproduced
    assert [check.holds for check in document.checks] == [True, True, True]
    (table,) = document.tables
    keys = [column.key for column in table.columns]
    true, control = ({k: c.value for k, c in zip(keys, r, strict=True)} for r in table.rows)
    assert true["run"] == "digits, seed 0"
    assert true["test_error"] < true["held_out_bound"] < true["bound"] < true["guessing"]
    assert true["bound_with_permutations"] <= true["bound"]
    assert control["bound"] > control["guessing"]


def test_larger_scales_have_three_seeds_and_a_control_of_each_set():
    runs = CERTIFICATES.plan("paper", "paper").runs
    assert len(runs) == len({spec.run_id for spec in runs.values()}) == 12
    assert {spec.data.name for spec in runs.values()} == {"mnist", "fashion-mnist", "cifar10"}
    assert sum(spec.random_labels for spec in runs.values()) == 3
    assert len(CERTIFICATES.plan("laptop", "paper").runs) == 6


def test_published_certificates_are_confirmed_under_their_new_names(reproduced, tool, tmp_path):
    store, document = reproduced
    tool.publish(store.root, tmp_path, "smoke")
    assert {path.name for path in tmp_path.iterdir()} == {
        "digits-random.code",
        "digits-random.json",
        "digits-seed0.code",
        "digits-seed0.json",
        "results.jsonl",
        "results.md",
    }
    for name in ("digits-seed0", "digits-random"):
        assert verify(tmp_path / f"{name}.json").answer["verified"]
    first, control = rows_of(tmp_path)
    committed = rows_of(ROOT / "docs/certify")
    assert first.keys() == control.keys() == committed[0].keys()
    assert first["bound"] in {cell.value for row in document.tables[0].rows for cell in row}
    assert control["vacuous"]


def test_what_is_not_done_anew_stays_published(reproduced, tool, tmp_path):
    store, _ = reproduced
    tool.publish(store.root, tmp_path, "smoke")
    rows = rows_of(tmp_path)
    tool.publish(tmp_path / "empty", tmp_path, "smoke")
    assert rows_of(tmp_path) == rows
    first, control = rows
    (tmp_path / "results.jsonl").write_text(json.dumps(control | {"kept": 0}) + "\n")
    tool.publish(store.root, tmp_path, "smoke")
    assert rows_of(tmp_path) == rows
    (tmp_path / "results.jsonl").write_text(json.dumps(first) + "\n")
    tool.publish(tmp_path / "empty", tmp_path, "smoke")
    assert rows_of(tmp_path) == [first]


def test_the_summary_of_the_committed_numbers_is_the_committed_one(tool):
    rows = rows_of(ROOT / "docs/certify")
    assert tool.summary(rows).markdown() == (ROOT / "docs/certify/results.md").read_text()


def test_committed_certificates_are_read_and_decode():
    paths = sorted((ROOT / "docs/certify").glob("*.json"))
    assert len(paths) >= 8
    for path in paths:
        document, network = read_certificate(path)
        assert network.architecture.text == document["notes"]["network"]
        assert network.kept == document["notes"]["kept"]
