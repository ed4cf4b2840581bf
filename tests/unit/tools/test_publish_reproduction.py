"""Documents of a store are put beside those that are published already."""

import json

import pytest
from tests import reproduction_documents

from prunable.errors import InputError
from prunable.experiments.reproduce.document import as_document
from prunable.experiments.reproduce.registry import item_named
from prunable.experiments.reproduce.run import reproduce
from prunable.files import write_json
from prunable.runs.backends import SerialBackend
from prunable.runs.execution import EXECUTION
from prunable.runs.store import Store


@pytest.fixture
def publishing(tool):
    return tool("publish_reproduction")


@pytest.fixture
def store(tmp_path):
    """A store with the two documents of figures 11 and 12 at the laptop scale."""
    found = Store(tmp_path / "store")
    items = [item_named("barsbey2021-fig11"), item_named("barsbey2021-fig12")]
    reproduce(items, scale="laptop", store=found, backend=SerialBackend())
    return found


def old(folder, **changes):
    """A published document of a table that knew no comparison with print."""
    document = as_document(reproduction_documents.table_item() | changes)
    write_json(folder / f"{document.stem}.json", document.to_dict())
    return document.stem


def test_a_subset_is_published_and_the_others_stay(publishing, store, tmp_path):
    target = tmp_path / "docs"
    stem = old(target)
    before = (target / f"{stem}.json").read_bytes()
    publishing.publish(store.root, target, ["barsbey2021-fig11"])
    names = {path.stem for path in target.glob("*.json")}
    assert names == {"barsbey2021-fig11--laptop--paper", stem}
    changed = json.loads((target / f"{stem}.json").read_text())
    assert changed | {"verdict": None} == json.loads(before) | {"verdict": None}
    publishing.publish(store.root, target)
    assert len(list(target.glob("*.json"))) == 3
    with pytest.raises(InputError, match="no document of chang2020-fig1 above"):
        publishing.publish(store.root, target, ["chang2020-fig1"])
    with pytest.raises(InputError, match="nothing to publish"):
        publishing.publish(tmp_path / "empty", target)


def test_published_documents_say_machine_and_hours(publishing, store, tmp_path):
    for record in store.root.glob(f"runs/*/{EXECUTION}"):
        row = json.loads(record.read_text())
        write_json(record, row | {"seconds": 5400.0, "runs_together": 3, "processor": "Abacus 2"})
    publishing.publish(store.root, tmp_path / "docs", ["barsbey2021-fig12"])
    stem = "barsbey2021-fig12--laptop--paper"
    document = as_document(json.loads((tmp_path / "docs" / f"{stem}.json").read_text()))
    assert document.cost.hours == 0.5
    assert document.cost.runs == len(document.runs)
    (machine,) = document.cost.machines
    assert machine.endswith("processors, Abacus 2")
    page = (tmp_path / "docs" / f"{stem}.md").read_text()
    assert "Abacus 2; 0.5 hours of one worker" in page
    # what the store holds is the same on every machine
    assert "cost" not in json.loads((store.root / "items" / f"{stem}.json").read_text())


def test_documents_are_counted_by_verdict_and_outcome_of_todays_rules(publishing, store, tmp_path):
    target = tmp_path / "docs"
    stem = old(target)
    publishing.publish(store.root, target)
    page = (target / "README.md").read_text()
    assert "3 documents of 3 items: 2 reproduced, 1 incomplete." in page
    rows = dict(line.strip("| ").split(" | ", 1) for line in page.splitlines() if " | " in line)
    # figure 11: 4 essential; figure 12: 1 of 2; the table: 1 of 2
    assert rows["holds"] == "6 | 8"
    for outcome in ("fails", "contradicted", "underpowered", "not applicable"):
        assert rows[outcome] == "0 | 0"
    assert "no essential check compares" in (target / f"{stem}.md").read_text()
