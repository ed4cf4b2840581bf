"""Strategies compared on real digits: rows, controls, resumption, tables and figure."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prunable.data.loaders import load
from prunable.errors import InputError, RunsFailedError
from prunable.experiments.prune import strategy_comparison
from prunable.experiments.prune.pruning import accuracy_of
from prunable.experiments.prune.specs import Retraining
from prunable.experiments.prune.strategy_comparison import (
    CONTENDERS,
    Question,
    compare_strategies,
    contender_stage,
    summarise,
)
from prunable.experiments.train.networks import as_tensors
from prunable.nets.archive import save_tensors
from prunable.nets.models import Architecture, build
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train
from prunable.report.prune.comparison import (
    comparison_figure,
    comparison_markdown,
    comparison_table,
)
from prunable.runs.backends import SerialBackend

KAPPAS = (0.1, 0.5, 1.0)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def networks(digits, tmp_path_factory):
    """Two trained networks by the paths of their checkpoints."""
    x, y, *_ = as_tensors(digits)
    found = {}
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        architecture = Architecture("two-layer", (64,), 10, width=40)
        model = build(architecture, generator=generator)
        train(model, x, y, TrainingSettings(lr=0.3, steps=300, batch_size=100, seed=seed))
        path = tmp_path_factory.mktemp("net") / f"{seed}.safetensors"
        save_tensors(path, model.state_dict(), architecture.metadata())
        found[str(path)] = model
    return found


def rows_of(out, paths, **question):
    backend = SerialBackend()
    found = compare_strategies(
        list(paths), "digits", out, kappas=KAPPAS, backend=backend, **question
    )
    assert list(found.to_dict()) == ["question", "rows", "summary"]
    assert "magnitude" in found._repr_html_()
    assert len(repr(found)) < 500
    return found.rows


@pytest.fixture(scope="module")
def rows(networks, tmp_path_factory):
    retraining = Retraining(epochs=5, lr=0.1, batch=100, momentum=0.0)
    return rows_of(tmp_path_factory.mktemp("out"), networks, retraining=retraining)


def test_every_strategy_meets_every_network_and_share(rows):
    keys = [(row["network"], row["strategy"], row["kappa_asked"]) for row in rows]
    assert len(keys) == len(set(keys)) == 2 * (1 + len(CONTENDERS) * len(KAPPAS))
    for row in rows:
        if row["strategy"] not in ("randomized", "singular value"):
            assert row["kappa"] >= row["kappa_asked"] - 1e-12
        without = row["strategy"] in ("dense", "singular value")
        assert (row["accuracy_retrained"] is None) == without
    (guesses,) = {row["guesses"] for row in rows}
    said = comparison_table(summarise(rows), "of digits", guesses).notes[0]
    assert f"Up to {100 * guesses:.2f} %" in said
    assert 0.1 < guesses < 0.17


def test_nothing_pruned_is_the_dense_control(rows, networks, digits):
    for name, model in networks.items():
        own = [row for row in rows if row["network"] == name]
        dense = next(row for row in own if row["strategy"] == "dense")
        assert dense["accuracy"] == accuracy_of(model, digits) > 0.9
        for row in own:
            if row["kappa_asked"] == 1 and row["strategy"] not in ("randomized", "singular value"):
                assert row["accuracy"] == dense["accuracy"]


def test_strategies_beat_chance_and_retraining_helps(rows):
    mean = {(e["strategy"], e["kappa_asked"]): e for e in summarise(rows)}
    chance = mean["random", 0.1]
    for name in ("magnitude", "hessian", "magnitude x gradient", "magnitude, lamp"):
        assert mean[name, 0.1]["accuracy"] > chance["accuracy"] + 0.1
    for name in ("magnitude", "random", "input node"):
        assert mean[name, 0.1]["accuracy_retrained"] > mean[name, 0.1]["accuracy"]


def test_networks_are_left_as_they_were_and_seeds_decide(networks, rows, tmp_path):
    path = next(iter(networks))
    before = Path(path).read_bytes()
    again = rows_of(tmp_path / "again", [path])
    assert Path(path).read_bytes() == before
    first = [row["accuracy"] for row in rows if row["network"] == path]
    assert [row["accuracy"] for row in again] == first
    other = rows_of(tmp_path / "other", [path], seed=1)
    pairs = zip(again, other, strict=True)
    drawn = {r["strategy"] for r, o in pairs if r["accuracy"] != o["accuracy"]}
    assert drawn == {"randomized", "random"}


def test_interrupted_comparisons_go_on(networks, rows, tmp_path, monkeypatch):
    """A killed run is repeated, what was stored is not."""

    class Killed(BaseException):
        pass

    path, computed = next(iter(networks)), []

    def stage(spec, run):
        computed.append(spec.strategy)
        if len(computed) == 10:
            raise Killed
        return contender_stage(spec, run)

    monkeypatch.setattr(strategy_comparison, "contender_stage", stage)
    with pytest.raises(Killed):
        rows_of(tmp_path, [path])
    killed = computed[-1]
    found = rows_of(tmp_path, [path])
    assert sorted(computed) == sorted(["dense", *CONTENDERS, killed])
    assert rows_of(tmp_path, [path]) == found
    expected = [row["accuracy"] for row in rows if row["network"] == path]
    assert [row["accuracy"] for row in found] == expected


def test_other_questions_other_weights_and_failures_are_told(networks, tmp_path, monkeypatch):
    path = next(iter(networks))
    question = Question.create(networks=(path,), data="digits", kappas=KAPPAS)
    ids = [spec.run_id for spec in question.specs()]
    model = networks[path]
    changed = tmp_path / "changed.safetensors"
    state = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    metadata = Architecture("two-layer", (64,), 10, width=40).metadata()
    save_tensors(changed, state, metadata)
    original = Path(path).read_bytes()
    try:
        Path(path).write_bytes(changed.read_bytes())
        assert not set(ids) & {spec.run_id for spec in question.specs()}
    finally:
        Path(path).write_bytes(original)
    with pytest.raises(InputError, match="`networks` of"):
        rows_of(tmp_path / "none", [])

    def fails(*_):
        raise ValueError("no luck")

    monkeypatch.setattr(strategy_comparison, "contender_stage", fails)
    with pytest.raises(RunsFailedError, match=r"15 of 15 runs failed.*no luck"):
        rows_of(tmp_path / "failed", [path])
    with pytest.raises(InputError, match="answers another question"):
        rows_of(tmp_path / "failed", [path], seed=1)


def test_a_comparison_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="`networks` of `compare_strategies`"):
        compare_strategies([], "digits", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_summary_is_the_mean_and_range():
    values = (0.5, 0.75, 1.0)
    rows = [
        {
            "network": str(a),
            "strategy": "magnitude",
            "kappa_asked": 0.1,
            "kappa": 0.2,
            "accuracy": a,
            "accuracy_retrained": None,
        }
        for a in values
    ]
    (entry,) = summarise(rows)
    assert entry["accuracy"] == np.mean(values)
    assert (entry["accuracy_min"], entry["accuracy_max"], entry["n"]) == (0.5, 1.0, 3)
    assert entry["accuracy_retrained"] is None
    mixed = [*rows[:2], rows[2] | {"accuracy_retrained": 0.9}]
    assert summarise(mixed)[0]["accuracy_retrained"] is None


def test_table_and_figure_show_all(rows):
    entries = summarise(rows)
    table = comparison_table(entries, "Title")
    titles = [column.title for column in table.columns]
    assert titles == ["strategy", "kappa 0.1", "kappa 0.5", "kappa 1"]
    assert [row.cells[0] for row in table.rows] == [*CONTENDERS, "dense"]
    page = comparison_markdown(entries, "Title", "prunable prune")
    assert page.count("\n| ") == len(table.rows) + 1
    assert "compare.svg" in page
    fig = comparison_figure(entries, "Title")
    labels = {line.get_label() for axes in fig.axes for line in axes.lines}
    assert labels == {*CONTENDERS, "dense"}
