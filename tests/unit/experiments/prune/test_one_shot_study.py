"""The one-shot study at its smallest."""

import pytest

from prunable.experiments.prune.one_shot_study import METHODS, SIZES, STUDY
from prunable.experiments.reproduce.run import reproduce
from prunable.runs.backends import SerialBackend
from prunable.runs.store import Store


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("study"))
    (found,) = reproduce(
        [STUDY], scale="smoke", convention="paper", store=store, backend=SerialBackend()
    )
    return found


def test_every_way_has_a_line_and_the_usual_one_is_compared_with_all(document):
    (table,) = document.tables
    assert [row[0].value for row in table.rows] == [f"{method}, lamp" for method in METHODS]
    assert len(document.checks) == len(METHODS) - 1
    accuracies = {row[0].value: [cell.value for cell in row[1:]] for row in table.rows}
    for found in accuracies.values():
        assert len(found) == 2
        assert all(0 <= value <= 1 for value in found)
    # a tenth of the weights, of a network trained here
    assert accuracies["calibrated, lamp"][1] > accuracies["magnitude, lamp"][1]
    (panel,) = document.panels
    assert [len(line.x) for line in panel.series] == [3] * len(METHODS)


def test_larger_scales_take_the_networks_of_the_folder():
    for scale in ("laptop", "paper"):
        size, plan = SIZES[scale], STUDY.plan(scale, "paper")
        assert len(plan.runs) == len(METHODS) * len(size.allocations) * len(size.networks)
        assert {spec.network for spec in plan.runs.values()} == set(size.networks)
