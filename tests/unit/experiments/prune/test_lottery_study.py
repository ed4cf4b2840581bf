"""The lottery study at its smallest, and the settings of its published numbers."""

import json
from pathlib import Path

import pytest

from prunable.experiments.prune.lottery_study import STUDY
from prunable.experiments.reproduce.run import reproduce
from prunable.runs.backends import SerialBackend
from prunable.runs.store import Store

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("study"))
    (found,) = reproduce(
        [STUDY], scale="smoke", convention="paper", store=store, backend=SerialBackend()
    )
    return found


def test_a_ticket_beats_its_controls(document):
    assert [check.holds for check in document.checks[:3]] == [True, True, True]
    rounds, dense, rewound, controls = document.tables
    kept = [row[0].value for row in rounds.rows]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 1
    assert rounds.rows[-1][-1].value == dense.rows[0][2].value
    assert rewound.rows[-1][-1].value == controls.rows[0][1].value
    keys = [column.key for column in controls.columns]
    assert keys == ["rewound", "ticket", "re-initialised", "shuffled", "random"]
    (panel,) = document.panels
    assert [len(line.x) for line in panel.series] == [3, 3, 1, 1, 1]


def test_the_published_numbers_are_of_the_laptop_scale():
    """The committed runs have the plan's seeds, rewinding, share and controls."""
    committed = json.loads((ROOT / "docs/lottery/lenet.json").read_text())
    specs = STUDY.plan("laptop", "paper").runs.values()
    assert [(s.rewind, s.seed) for s in specs] == [(c["rewind"], c["seed"]) for c in committed]
    for spec, run in zip(specs, committed, strict=True):
        assert run["kappa"][-1] == pytest.approx(spec.keep, abs=1e-4)
        assert len(run["test_error"]) == spec.rounds + 1
        assert set(run["controls"]) == {"ticket", *spec.controls}
        assert (spec.steps, spec.last_steps) == (6 * 469, 30 * 469)
    assert len(STUDY.plan("paper", "paper").runs) == 6
