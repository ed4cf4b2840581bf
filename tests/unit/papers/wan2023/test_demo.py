"""The demonstration: its plan, its results document and its findings, from results made by hand."""

import statistics

import numpy as np
import pytest

from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.reproduce.frame import Found
from prunable.papers.wan2023.demo import (
    COLUMNS,
    CONDITIONS,
    FIGURES,
    LABELS,
    DemoSettings,
    demonstration,
)
from prunable.papers.wan2023.demo_results import results_document
from prunable.papers.wan2023.settings import EPS_GRID, KEEP_GRID
from prunable.papers.wan2023.stages import describe_stage

SETTINGS = DemoSettings(n_seeds=3)
RATIOS = {"none": 0.1, "type1-1.9": 0.3, "type1-1.8": 0.4, "type1-1.75": 0.5, "type2-1.8": 0.2}


def facts(visible=0.0):
    return {
        "status": "done",
        "reason": "",
        "visible": visible,
        "facts": {"name": "ecg5000", "label": "ECG5000", "n_train": 20, "n_test": 8},
    }


def evaluation(key, seed, **changes):
    metrics = {
        "train_accuracy": 0.97,
        "test_accuracy": 0.9 + 0.01 * seed,
        "test_balanced_accuracy": 0.5,
        "pruning_ratio_squared": RATIOS[key] + 0.02 * seed**2,
        "pruning_ratio_frobenius": 0.01,
        "train_accuracy_pruned_squared": 0.96,
        "test_accuracy_pruned_squared": 0.89,
        "test_accuracy_pruned_frobenius": 0.9,
        "alpha_log_moment": 1.1,
        "alpha_log_moment_vectors": None if seed == 2 else 1.8,
    } | changes
    return {
        "id": f"{key}-{seed}",
        "status": "done",
        "reason": "",
        "metrics": metrics,
        "kappa": np.linspace(1, 0.1 + 0.1 * seed, len(EPS_GRID)).tolist(),
        "test_accuracy": np.linspace(0.2, 0.9 + 0.01 * seed, len(KEEP_GRID)).tolist(),
        "norm_counts": [seed] * 80,
    }


def all_results(settings=SETTINGS, **changes):
    found = {"data": facts()}
    for key in settings.runs():
        condition, _, seed = key.rpartition("/")
        if condition in CONDITIONS:
            found[key] = evaluation(condition, int(seed))
        elif condition:
            metrics = {"test_accuracy_pruned": 0.87 + 0.01 * int(seed)}
            found[key] = {"status": "done", "reason": "", "metrics": metrics}
    return found | changes


def gathered(results, settings=SETTINGS):
    item = demonstration(settings)
    plan = item.plan("laptop", "paper")
    return item.gather(plan, results), results_document(Found(plan, results), settings, LABELS)


@pytest.fixture
def document():
    return gathered(all_results())[1]


def by_key(document, key):
    return next(c for c in document["conditions"] if c["key"] == key)


def test_controls_build_on_the_evaluation_whose_share_they_keep():
    runs = SETTINGS.runs()
    control = runs["type1-1.8-control/2"]
    assert control.train == runs["none/2"].train
    assert control.kappa == runs["type1-1.8/2"]
    assert {spec.run_id for spec in control.inputs()} == {
        runs["none/2"].train.run_id,
        runs["type1-1.8/2"].run_id,
    }
    assert sum(isinstance(spec, EvaluateSpec) for spec in runs.values()) == 15


def test_the_item_shows_the_papers_numbers_beside_ours():
    findings, document = gathered(all_results())
    table, control, differences = findings.tables
    assert "ECG5000, n = 2,000 hidden units, 3 runs each" in table.title
    assert [column.key for column in table.columns[1:]] == [c.key for c in COLUMNS]
    for row, condition in zip(table.rows, document["conditions"], strict=True):
        assert row[0].value == condition["label"]
        for cell, column in zip(row[1:], COLUMNS, strict=True):
            summary = condition["summary"][column.key]
            assert cell.value == pytest.approx(summary["mean"])
            assert cell.std == pytest.approx(summary["std"])
            printed = condition["paper"]["values"].get(column.key, {"mean": None})
            assert cell.published == printed["mean"]
    assert [row[1].value for row in control.rows] == pytest.approx(
        [1 - statistics.mean((r, r + 0.02, r + 0.08)) for r in list(RATIOS.values())[1:]]
    )
    assert len(differences.rows) == len(document["differences"])
    assert len(findings.panels) == len(FIGURES)
    assert [series.style for series in findings.panels[0].series] == ["bars", "published"]
    assert all(check.holds for check in findings.checks if "order" in check.statement)
    assert [note.partition(". ")[2] for note in findings.notes] == [
        one["text"] for one in document["findings"]
    ]


def test_summaries_are_over_the_seeds(document):
    found = by_key(document, "type1-1.8")["summary"]["pruning_ratio_squared"]
    values = [0.4, 0.42, 0.48]
    assert found["values"] == pytest.approx(values)
    assert found["mean"] == pytest.approx(statistics.mean(values))
    assert found["std"] == pytest.approx(statistics.stdev(values))
    refused_once = by_key(document, "none")["summary"]["alpha_log_moment_vectors"]
    assert refused_once["values"] == [1.8, 1.8]


def test_an_estimate_refused_everywhere_is_none():
    results = all_results()
    for seed in range(3):
        results[f"none/{seed}"] = evaluation("none", seed, alpha_log_moment_vectors=None)
    summary = by_key(gathered(results)[1], "none")["summary"]
    assert summary["alpha_log_moment_vectors"] is None


def test_curves_and_histograms_are_reduced(document):
    curves = by_key(document, "none")["curves"]
    assert curves["kappa_min"][-1] == pytest.approx(0.1)
    assert curves["kappa_mean"][-1] == pytest.approx(0.2)
    assert curves["kappa_max"][-1] == pytest.approx(0.3)
    histogram = by_key(document, "none")["norm_histogram"]
    assert histogram["counts"] == [3] * 80
    assert len(histogram["edges"]) == 81


def test_the_papers_numbers_stand_beside_their_condition(document):
    sources = {c["key"]: c["paper"] and c["paper"]["source"] for c in document["conditions"]}
    table = "Wan et al. 2023, Table "
    assert sources == {key: table + ("11" if key == "type2-1.8" else "1") for key in RATIOS}
    printed = {
        key: by_key(document, key)["paper"]["values"]["pruning_ratio_squared"]["mean"]
        for key in RATIOS
    }
    # Tables 1 and 11 of the paper
    assert printed == {
        "none": 0.1145,
        "type1-1.9": 0.3937,
        "type1-1.8": 0.4468,
        "type1-1.75": 0.4807,
        "type2-1.8": 0.3033,
    }


def test_differences_have_sign_and_cause(document):
    row = next(
        d
        for d in document["differences"]
        if d["condition"] == "type1-1.8" and d["metric"] == "pruning_ratio_squared"
    )
    assert row["difference"] == pytest.approx((0.4 + 0.42 + 0.48) / 3 - 0.4468)
    assert "the median of ours is 42.0 %" in row["cause"]
    assert all(d["cause"] for d in document["differences"])


def test_controls_pair_equal_seeds(document):
    control = next(c for c in document["controls"] if c["condition"] == "type2-1.8")
    assert control["kappa"] == pytest.approx(1 - (0.2 + 0.22 + 0.28) / 3)
    assert control["test_accuracy_vanilla_same_kappa"]["values"] == [0.87, 0.88, 0.89]
    finding = next(f for f in document["findings"] if f["title"].startswith("Control"))
    assert "1.00 points less accurate" in finding["text"]
    assert "from +0.00 to +2.00 points over 9 pairs" in finding["text"]


def test_invisible_noise_is_reported_only_where_it_is_invisible(document):
    def titles(made):
        return [f["title"] for f in made["findings"] if "invisible" in f["title"]]

    assert titles(document)
    assert not titles(gathered(all_results(data=facts(visible=0.5)))[1])


def test_visible_share_and_counts_are_those_of_the_data():
    spec = DemoSettings("digits", n_seeds=1).runs()["data"]
    found = describe_stage(spec, None)
    data = spec.dataset.load()
    x = data.x_train.astype(float)
    shares = x.sum(1) / np.linalg.norm(x, axis=1) / 8
    assert found["visible"] == pytest.approx(shares.max())
    assert sum(found["facts"]["class_counts_train"]) == len(data.y_train)
    assert found["facts"]["n_features"] == 64


def test_other_sizes_stand_without_the_paper(document):
    other = DemoSettings(n_seeds=3, sigma=0.5)
    findings, made = gathered(all_results(other), other)
    assert all(c["paper"] is None for c in made["conditions"])
    assert made["differences"] == []
    assert made["spec_id"] != document["spec_id"]
    assert all(cell.published is None for row in findings.tables[0].rows for cell in row)


def test_diverged_runs_are_counted_and_left_out():
    lost = {"status": "diverged", "reason": "the loss is nan at step 3"}
    results = all_results()
    for seed in range(3):
        results[f"type1-1.75/{seed}"] = results[f"type1-1.75-control/{seed}"] = dict(lost)
    for key in list(results):
        if key == "none/0" or key.endswith("-control/0"):
            results[key] = dict(lost)
    findings, made = gathered(results)
    assert by_key(made, "type1-1.75")["n_failed"] == 3
    assert by_key(made, "type1-1.75")["summary"] == {}
    assert by_key(made, "none")["n_failed"] == 1
    assert sum(run["status"] == "diverged" for run in made["runs"]) == 4
    assert "type1-1.75" not in [control["condition"] for control in made["controls"]]
    assert findings.tables[0].rows[3][1].value is None


def test_smoke_scale_is_a_toy():
    plan = demonstration().plan("smoke", "paper")
    assert plan.settings["data"] == "digits"
    assert demonstration().plan("laptop", "paper").settings["hidden units"] == 2000
