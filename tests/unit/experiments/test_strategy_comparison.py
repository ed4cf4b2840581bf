"""Strategies compared on real digits: rows, controls, resumption, tables and figure."""

import dataclasses

import numpy as np
import pytest
import torch

from prunable.data.loaders import load
from prunable.errors import InputError
from prunable.experiments.prune.strategy_comparison import (
    CONTENDERS,
    Row,
    compare_strategies,
    rows_from_json,
    rows_to_json,
    summarise,
)
from prunable.experiments.train.networks import as_tensors
from prunable.nets.models import Architecture, build
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import evaluate, train
from prunable.report.prune.strategy_comparison import (
    comparison_figure,
    comparison_markdown,
    comparison_rows,
)

KAPPAS = (0.1, 0.5, 1.0)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def networks(digits):
    x, y, *_ = as_tensors(digits)
    found = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        model = build(Architecture("two-layer", (64,), 10, width=40), generator=generator)
        train(model, x, y, TrainingSettings(lr=0.3, steps=300, batch_size=100, seed=seed))
        found.append((f"net {seed}", model))
    return found


@pytest.fixture(scope="module")
def rows(networks, digits):
    retrain = TrainingSettings(lr=0.1, steps=60, batch_size=100, seed=0)
    return compare_strategies(networks, digits, kappas=KAPPAS, retrain=retrain)


def test_every_strategy_meets_every_network_and_share(rows):
    names = {contender.name for contender in CONTENDERS}
    keys = [(row.network, row.strategy, row.kappa_asked) for row in rows]
    assert len(keys) == len(set(keys)) == 2 * (1 + len(names) * len(KAPPAS))
    for row in rows:
        if row.strategy not in ("randomized", "singular value"):
            assert row.kappa >= row.kappa_asked - 1e-12
        assert (row.accuracy_retrained is None) == (row.strategy in ("dense", "singular value"))


def test_nothing_pruned_is_the_dense_control(rows, networks, digits):
    *_, x, y = as_tensors(digits)
    for name, model in networks:
        dense = next(r for r in rows if r.network == name and r.strategy == "dense")
        assert dense.accuracy == evaluate(model, x, y)["accuracy"] > 0.9
        for row in rows:
            whole = row.network == name and row.kappa_asked == 1
            if whole and row.strategy not in ("randomized", "singular value"):
                assert row.accuracy == dense.accuracy


def test_strategies_beat_chance_and_retraining_helps(rows):
    mean = {(e["strategy"], e["kappa_asked"]): e for e in summarise(rows)}
    chance = mean["random", 0.1]
    for name in ("magnitude", "hessian", "magnitude x gradient", "magnitude, lamp"):
        assert mean[name, 0.1]["accuracy"] > chance["accuracy"] + 0.1
    for name in ("magnitude", "random", "input node"):
        assert mean[name, 0.1]["accuracy_retrained"] > mean[name, 0.1]["accuracy"]


def test_networks_are_left_as_they_were_and_seeds_decide(networks, digits, rows):
    before = [p.detach().clone() for _, model in networks for p in model.parameters()]
    again = compare_strategies(networks[:1], digits, kappas=KAPPAS)
    after = [p for _, model in networks for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    first = [r for r in rows if r.network == "net 0"]
    assert [r.accuracy for r in again] == [r.accuracy for r in first]
    other = compare_strategies(networks[:1], digits, kappas=KAPPAS, seed=1)
    drawn = {r.strategy for r, o in zip(again, other, strict=True) if r.accuracy != o.accuracy}
    assert drawn == {"randomized", "random"}


def test_interrupted_comparisons_go_on(networks, digits):
    class Killed(BaseException):
        pass

    seen: list[Row] = []

    def remember(row):
        seen.append(row)
        if len(seen) == 9:
            raise Killed

    with pytest.raises(Killed):
        compare_strategies(networks[:1], digits, kappas=KAPPAS, on_row=remember)
    more: list[Row] = []
    stored = rows_from_json(rows_to_json(seen), "somewhere")
    found = compare_strategies(networks[:1], digits, kappas=KAPPAS, on_row=more.append, done=stored)
    assert found == compare_strategies(networks[:1], digits, kappas=KAPPAS)
    assert len(seen) + len(more) == len(found)


def test_summary_is_the_mean_and_range():
    values = (0.5, 0.75, 1.0)
    rows = [Row(str(a), "magnitude", 0.1, 0.2, a) for a in values]
    (entry,) = summarise(rows)
    assert entry["accuracy"] == np.mean(values)
    assert (entry["accuracy_min"], entry["accuracy_max"], entry["n"]) == (0.5, 1.0, 3)
    assert entry["accuracy_retrained"] is None
    mixed = [*rows[:2], dataclasses.replace(rows[2], accuracy_retrained=0.9)]
    assert summarise(mixed)[0]["accuracy_retrained"] is None


def test_table_and_figure_show_all(rows):
    entries = summarise(rows)
    head, body = comparison_rows(entries)
    assert head == ["strategy", "kappa 0.1", "kappa 0.5", "kappa 1"]
    assert [line[0] for line in body] == [*(c.name for c in CONTENDERS), "dense"]
    assert all(len(line) == 4 for line in body)
    page = comparison_markdown(entries, "Title", "prunable prune")
    assert page.count("\n| ") == len(body) + 1
    assert "compare.svg" in page
    fig = comparison_figure(entries, "Title")
    labels = {text.get_text() for text in fig.axes[-1].get_legend().get_texts()}
    assert labels == {*(c.name for c in CONTENDERS), "dense"}


def test_bad_rows_and_no_networks_are_named(digits):
    with pytest.raises(InputError, match="`networks` of"):
        compare_strategies([], digits)
    with pytest.raises(InputError, match="does not hold rows"):
        rows_from_json([{"something": 1}], "compare.json")
