"""Settings and fixtures shared by the tests."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import settings

# Derandomized: the same examples everywhere, so that a red run is red for everybody.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("ci")
mpl.use("Agg")


@pytest.fixture(scope="module")
def one_thread():
    """Networks of tests are too small to share; numbers shall not depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


METRICS = (
    "train_accuracy",
    "test_accuracy",
    "test_balanced_accuracy",
    "pruning_ratio_squared",
    "test_accuracy_pruned_squared",
    "pruning_ratio_frobenius",
    "test_accuracy_pruned_frobenius",
    "alpha_log_moment_vectors",
)


@pytest.fixture
def results_document():
    """A results document of every shape: a diverged run, a refused estimate, hostile text."""
    rng = np.random.default_rng(0)
    labels = {"none": "no noise", "type1-1.8": "type I, alpha = 1.8", "type2-1.8": "<script>x"}

    def summary(count=3):
        values = rng.uniform(0.1, 0.9, count)
        return {"mean": values.mean(), "std": values.std(ddof=1), "values": values.tolist()}

    def condition(key, label):
        curves = {"eps": [0.01, 0.1, 0.5], "keep": [0.1, 1.0]}
        for name in ("kappa", "test_accuracy"):
            for reduced in ("mean", "min", "max"):
                size = 3 if name == "kappa" else 2
                curves[f"{name}_{reduced}"] = np.sort(rng.uniform(0, 1, size)).tolist()
        paper = {
            "pruning_ratio_squared": {"mean": 0.4468, "std": 0.054},
            "test_accuracy": {"mean": 0.957, "std": None},
        }
        found = {metric: summary() for metric in METRICS}
        if key == "type2-1.8":
            found["alpha_log_moment_vectors"] = None
        return {
            "key": key,
            "label": label,
            "noise": key.split("-")[0],
            "alpha": None if key == "none" else 1.8,
            "sigma": 0.15,
            "n_runs": 3,
            "n_failed": 1 if key == "type2-1.8" else 0,
            "summary": found,
            "paper": None if key == "none" else {"source": "Somebody 2023", "values": paper},
            "curves": curves,
            "norm_histogram": {"edges": [0.1, 1, 10], "counts": [5, 2]},
        }

    runs = [
        {
            "run_id": f"train-{key}-{seed}",
            "condition": key,
            "seed": seed,
            "status": "done",
            "reason": "",
            "metrics": {metric: float(rng.uniform()) for metric in METRICS},
        }
        for key in labels
        for seed in range(3)
    ]
    runs[-1] |= {"status": "diverged", "reason": "the loss is nan at step 7", "metrics": {}}
    runs[-2]["metrics"]["alpha_log_moment_vectors"] = None
    return {
        "schema_version": 1,
        "experiment": "demo",
        "title": "A title & more",
        "spec_id": "demo-1",
        "spec": {"width": 2000, "seeds": [0, 1, 2], "sigma": 0.15},
        "dataset": {
            "name": "ecg5000",
            "label": "ECG5000",
            "n_train": 500,
            "n_test": 4500,
            "n_features": 140,
            "n_classes": 2,
            "class_counts_train": [300, 200],
            "class_counts_test": [3000, 1500],
            "split": "shuffled",
            "split_seed": 0,
            "provenance": "hearts",
            "licence": "free",
        },
        "conditions": [condition(key, label) for key, label in labels.items()],
        "runs": runs,
        "controls": [
            {
                "condition": "type1-1.8",
                "kappa": 0.5,
                "test_accuracy_pruned": summary(),
                "test_accuracy_vanilla_same_kappa": summary(),
            }
        ],
        "differences": [
            {
                "condition": "type1-1.8",
                "metric": "pruning_ratio_squared",
                "ours": 0.5,
                "paper": 0.4468,
                "difference": 0.0532,
                "cause": "<b>chance</b>",
            }
        ],
        "findings": [{"title": "A finding", "text": "that says <i>something</i>"}],
    }
