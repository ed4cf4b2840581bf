"""Theorems 6.1 and 6.2 on lottery tickets: the study at its smallest, and its claims."""

import math

import numpy as np
import pytest
import torch

from prunable.experiments.prune.iterating import TICKET
from prunable.experiments.reproduce.run import reproduce
from prunable.nets.archive import load_tensors
from prunable.nets.prune.tickets import load_ticket
from prunable.papers.guha2023 import tickets
from prunable.runs.backends import SerialBackend
from prunable.runs.execution import execute
from prunable.runs.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("tickets"))
    (document,) = reproduce([tickets.ITEM], scale="smoke", store=store, backend=SerialBackend())
    (spec,) = tickets.ITEM.plan("smoke", "paper").runs.values()
    return document, spec, store


def test_the_study_evaluates_the_theorems_on_a_trained_ticket(done):
    """Counts, conditions and bounds from the network's file in plain NumPy."""
    document, spec, store = done
    row = execute(spec, store)
    folder = store.folder(spec.ticket)
    arrays = load_tensors(folder / "model.safetensors")[0]
    weights = [a.double().numpy() for a in arrays.values() if a.ndim == 2]
    shapes = [w.shape for w in weights]
    assert row["kept"] == sum(np.count_nonzero(w) for w in weights)
    assert row["kept"] <= load_ticket(folder / TICKET).n_kept < row["weights"]
    assert row["weights"] == sum(a * b for a, b in shapes)
    inputs, hidden = shapes[0][1], max(shapes[0][0], shapes[1][0])
    assert row["active"] == pytest.approx(inputs * hidden + 3 * hidden**2)
    spectral = max(np.linalg.norm(w, 2) for w in weights)
    entry = max(np.abs(w).max() * math.sqrt(w.shape[1]) for w in weights)
    factors = [factor for _, factor in row["conditions"]]
    assert factors == pytest.approx([max(1, spectral), max(1, entry)], rel=1e-6)
    numbers = row["active"] * math.log(row["width"]) ** 2 * 32 * math.log(2)
    # of the margins none is lost that is above eps
    assert math.exp(row["logs"]["theorem"]) == pytest.approx(
        math.sqrt(numbers / row["n"]), rel=0.05
    )
    assert row["distance"] > 0
    assert row["errors"]["untrained"] > row["errors"]["test"]
    (table,) = document.tables
    assert [cell.value for cell in table.rows[0]][1:4] == [
        row["kept"],
        row["weights"],
        row["active"],
    ]
    assert [check.holds for check in document.checks[:2]] == [False, False]
    assert torch.isfinite(torch.tensor(document.panels[0].series[0].y)).all()


def test_each_claim_can_turn_around(done):
    _, spec, store = done
    plan = tickets.ITEM.plan("smoke", "paper")
    row = execute(spec, store)
    good = row | {
        "logs": {"theorem": -1.0, "kept": 0.5, "dense": 2.0},
        "conditions": [[name, 1.0] for name, _ in row["conditions"]],
        "distance": 0.0,
    }
    (key,) = plan.runs
    assert [c.holds for c in tickets.ITEM.gather(plan, {key: good}).checks] == [True] * 4
    bad = good | {
        "logs": row["logs"],
        "conditions": [[name, 2.0] for name, _ in row["conditions"]],
        "distance": 9.0,
    }
    assert [c.holds for c in tickets.ITEM.gather(plan, {key: bad}).checks] == [False] * 4


def test_the_laptop_study_shares_the_tickets_of_the_lottery_study():
    plan = tickets.ITEM.plan("laptop", "paper")
    assert list(plan.runs) == ["weights/0"]
    (spec,) = plan.runs.values()
    lottery = tickets.LOTTERY.plan("laptop", "paper").runs["weights/0"]
    assert spec.ticket.run_id == lottery.run_id
