"""The demonstration's results document, from results made by hand."""

import statistics

import numpy as np
import pytest

from prunable.data.loaders import Dataset
from prunable.experiments.reproduce.demo_results import results_document
from prunable.experiments.reproduce.demo_settings import EPS_GRID, KEEP_GRID, DemoSettings
from prunable.report.demo.results import Results

SETTINGS = DemoSettings(n_seeds=3)
RATIOS = {"none": 0.1, "type1-1.9": 0.3, "type1-1.8": 0.4, "type1-1.75": 0.5, "type2-1.8": 0.2}


def dataset(mean=0.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 5))
    x += mean - x.mean(axis=1, keepdims=True)
    y = np.arange(20) % 4
    return Dataset(
        "ecg5000",
        "ECG5000",
        x,
        y,
        x[:8],
        y[:8],
        ("a", "b", "c", "d"),
        "shuffled",
        0,
        "hearts",
        "free",
    )


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


def all_results():
    return {
        (condition.key, seed): evaluation(condition.key, seed)
        for condition in SETTINGS.conditions
        for seed in range(3)
    }


def all_controls():
    return {
        (key, seed): {"metrics": {"test_accuracy_pruned": 0.87 + 0.01 * seed}}
        for key in RATIOS
        if key != "none"
        for seed in range(3)
    }


@pytest.fixture
def document():
    made = results_document(SETTINGS, dataset(), all_results(), all_controls())
    Results.model_validate(made)  # it is what the report reads
    return made


def by_key(document, key):
    return next(c for c in document["conditions"] if c["key"] == key)


def test_summaries_are_over_the_seeds(document):
    found = by_key(document, "type1-1.8")["summary"]["pruning_ratio_squared"]
    values = [0.4, 0.42, 0.48]
    assert found["values"] == pytest.approx(values)
    assert found["mean"] == pytest.approx(statistics.mean(values))
    assert found["std"] == pytest.approx(statistics.stdev(values))
    refused_once = by_key(document, "none")["summary"]["alpha_log_moment_vectors"]
    assert refused_once["values"] == [1.8, 1.8]


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
    visible = results_document(SETTINGS, dataset(mean=1.0), all_results(), all_controls())
    assert not titles(visible)


def test_other_sizes_stand_without_the_paper():
    other = DemoSettings(n_seeds=3, sigma=0.5)
    made = results_document(other, dataset(), all_results(), all_controls())
    assert all(c["paper"] is None for c in made["conditions"])
    assert made["differences"] == []
    assert (
        made["spec_id"]
        != results_document(SETTINGS, dataset(), all_results(), all_controls())["spec_id"]
    )


def test_diverged_runs_are_counted_and_left_out():
    results = all_results()
    for seed in range(3):
        results["type1-1.75", seed] = {
            "id": "x",
            "status": "diverged",
            "reason": "the loss is nan at step 3",
        }
    results["none", 0] = dict(results["type1-1.75", 0])
    controls = {pair: row for pair, row in all_controls().items() if pair[0] != "type1-1.75"}
    made = results_document(SETTINGS, dataset(), results, controls)
    Results.model_validate(made)
    assert by_key(made, "type1-1.75")["n_failed"] == 3
    assert by_key(made, "type1-1.75")["summary"] == {}
    assert by_key(made, "none")["n_failed"] == 1
    assert sum(run["status"] == "diverged" for run in made["runs"]) == 4
