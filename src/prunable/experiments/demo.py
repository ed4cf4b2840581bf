"""The main job on real data: train with and without heavy tails, measure, prune, compare."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from prunable.data.loaders import Dataset, load
from prunable.errors import PrunableError
from prunable.experiments.runner import run_all
from prunable.experiments.spec import EvaluateSpec, PruneSpec, Spec, TrainSpec
from prunable.experiments.store import Store

Row = dict[str, Any]

# Every 1/40 of a decade near the two criteria would be wasted: kappa is smooth in eps.
EPS_GRID = tuple(round(float(eps), 4) for eps in np.geomspace(0.01, 0.9, 28))
KEEP_GRID = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0)

# Suspected causes of differences from the paper, by metric; shown beside the numbers.
CAUSES = {
    "train_accuracy": (
        "the paper states neither the initial second layer nor the random split; with "
        "c_i/n started as torch starts a linear layer the training accuracy agrees best"
    ),
    "test_accuracy": (
        "the random split of 500 training series, unpublished, and the unstated initial "
        "second layer"
    ),
    "pruning_ratio_squared": (
        "sigma = 0.15 is inferred, not printed (the printed 0.5 prunes 60 to 70 %); and five "
        "draws of a heavy-tailed ratio scatter widely"
    ),
    "train_accuracy_pruned_squared": "follows from the pruning ratio and the accuracy before",
    "test_accuracy_pruned_squared": "follows from the pruning ratio and the accuracy before",
}


@dataclass(frozen=True)
class Condition:
    """One kind of training: noise type and tail index.

    Parameters
    ----------
    noise : {"none", "type1", "type2", "type3"}
    alpha : float or None
        Tail index, None without noise.
    """

    noise: str
    alpha: float | None = None

    @property
    def key(self) -> str:
        """Short name used in files, such as `type1-1.8`."""
        return self.noise if self.alpha is None else f"{self.noise}-{self.alpha:g}"

    @property
    def label(self) -> str:
        """Name for people, such as "type I, alpha = 1.8"."""
        if self.alpha is None:
            return "no noise"
        numeral = {"type1": "I", "type2": "II", "type3": "III"}[self.noise]
        return f"type {numeral}, alpha = {self.alpha:g}"


@dataclass(frozen=True)
class DemoSettings:
    """Size of the demonstration; the defaults are the paper's Table 1.

    Parameters
    ----------
    width : int
        Hidden units n.
    steps : int
        Full-batch steps.
    n_seeds : int
        Runs a condition, with the seeds 0, 1, ...
    eta, sigma : float
        Step size and noise level. The paper prints sigma = 0.5 for its type I tables;
        0.15 is what reproduces them (see docs/deviations.md).
    """

    width: int = 2000
    steps: int = 600
    n_seeds: int = 5
    eta: float = 3e-4
    sigma: float = 0.15

    conditions = (
        Condition("none"),
        Condition("type1", 1.9),
        Condition("type1", 1.8),
        Condition("type1", 1.75),
        Condition("type2", 1.8),
    )

    def train_spec(self, condition: Condition, seed: int) -> TrainSpec:
        """Specification of one training run."""
        noisy = condition.alpha is not None
        return TrainSpec.create(
            dataset="ecg5000",
            width=self.width,
            steps=self.steps,
            eta=self.eta,
            batch_size=500,
            noise=condition.noise,
            alpha=condition.alpha,
            sigma=self.sigma if noisy else 0.0,
            seed=seed,
        )

    def evaluate_specs(self) -> dict[tuple[str, int], EvaluateSpec]:
        """Specifications of all evaluations, by condition key and seed."""
        return {
            (condition.key, seed): EvaluateSpec.create(
                train=self.train_spec(condition, seed), eps=EPS_GRID, keep=KEEP_GRID
            )
            for condition in self.conditions
            for seed in range(self.n_seeds)
        }

    @property
    def is_papers(self) -> bool:
        """Whether the paper's numbers can stand beside the results."""
        return self == DemoSettings(n_seeds=self.n_seeds)


def count_runs(settings: DemoSettings) -> int:
    """Number of stored results the demonstration needs, for a progress bar."""
    return (2 * len(settings.conditions) - 1) * settings.n_seeds


def run_demo(
    settings: DemoSettings,
    store: Store,
    *,
    workers: int,
    on_done: Callable[[Spec, Row], None] | None = None,
) -> Row:
    """Run or resume the demonstration and gather its results document.

    Parameters
    ----------
    settings : DemoSettings
    store : Store
        Finished runs found there are reused.
    workers : int
        Processes.
    on_done : callable, optional
        Told each finished run.

    Returns
    -------
    dict
        The document written as `results.json`; the same for interrupted and uninterrupted
        executions, since it holds neither times nor paths.

    Raises
    ------
    PrunableError
        If a run failed; finished ones are kept.
    """
    data = load("ecg5000")
    specs = settings.evaluate_specs()
    results = dict(
        zip(
            specs,
            run_all(list(specs.values()), store, workers=workers, on_done=on_done),
            strict=True,
        )
    )
    _refuse_failures(results.values())
    # The control of the paper's Tables 17-19: plain SGD, pruned as far as the noisy nets.
    controls = {
        (key, seed): PruneSpec.create(
            train=specs["none", seed].train, kappa=1 - result["metrics"]["pruning_ratio_squared"]
        )
        for (key, seed), result in results.items()
        if key != "none" and _both_done(result, results["none", seed])
    }
    pruned = run_all(list(controls.values()), store, workers=workers, on_done=on_done)
    _refuse_failures(pruned)
    control_results = dict(zip(controls, pruned, strict=True))
    return _document(settings, data, results, control_results)


def _both_done(*results: Row) -> bool:
    return all(result["status"] == "done" for result in results)


def _refuse_failures(results: Sequence[Row] | Any) -> None:
    failed = [result for result in results if result["status"] == "failed"]
    if failed:
        raise RunsFailedError(
            f"{len(failed)} run(s) failed; the first, {failed[0]['id']}: {failed[0]['reason']}"
        )


class RunsFailedError(PrunableError):
    """Some runs of an experiment failed; the others are kept."""

    exit_code = 5


def _document(
    settings: DemoSettings,
    data: Dataset,
    results: dict[tuple[str, int], Row],
    controls: dict[tuple[str, int], Row],
) -> Row:
    seeds = range(settings.n_seeds)
    specs = settings.evaluate_specs()
    conditions = [
        _condition(settings, c, [results[c.key, seed] for seed in seeds])
        for c in settings.conditions
    ]
    reference = specs["none", 0]
    return {
        "schema_version": 1,
        "experiment": "demo",
        "title": "Networks trained with heavy-tailed noise, measured and pruned",
        "spec_id": Demonstration.of(settings).run_id,
        "spec": {
            **reference.train.model_dump(
                mode="json", exclude={"noise", "alpha", "sigma", "seed", "schema_version"}
            ),
            "sigma": settings.sigma,
            "seeds": list(seeds),
            "conditions": [c.key for c in settings.conditions],
            "learning_rate": settings.eta * settings.width,
        },
        "dataset": _dataset_document(data),
        "conditions": conditions,
        "runs": [
            {
                "run_id": specs[key, seed].train.run_id,
                "condition": key,
                "seed": seed,
                "status": result["status"],
                "reason": result["reason"],
                "metrics": result.get("metrics", {}),
            }
            for (key, seed), result in results.items()
        ],
        "controls": list(_controls(settings, results, controls)),
        "differences": list(_differences(conditions)),
        "findings": list(_findings(settings, data, results, controls)),
    }


class Demonstration(Spec):
    """Identity of a whole demonstration: the evaluations it is made of."""

    evaluations: tuple[EvaluateSpec, ...]

    @classmethod
    def of(cls, settings: DemoSettings) -> Demonstration:
        """Identity of the demonstration with these settings."""
        return cls.create(evaluations=tuple(settings.evaluate_specs().values()))


def _dataset_document(data: Dataset) -> Row:
    k = len(data.class_names)
    return {
        "name": data.name,
        "label": data.label,
        "n_train": len(data.x_train),
        "n_test": len(data.x_test),
        "n_features": data.x_train.shape[1],
        "n_classes": k,
        "class_counts_train": np.bincount(data.y_train, minlength=k).tolist(),
        "class_counts_test": np.bincount(data.y_test, minlength=k).tolist(),
        "split": data.split,
        "split_seed": data.split_seed,
        "provenance": data.provenance,
        "licence": data.licence,
    }


def _summary(values: Sequence[float]) -> Row | None:
    """Mean, standard deviation (ddof 1) and the values; None where there are none."""
    if not values:
        return None
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": spread, "values": list(values)}


def _condition(settings: DemoSettings, condition: Condition, results: Sequence[Row]) -> Row:
    done = [result for result in results if result["status"] == "done"]
    names = list(dict.fromkeys(name for result in done for name in result["metrics"]))
    summary = {
        name: _summary([v for r in done if (v := r["metrics"][name]) is not None])
        for name in names
    }
    reference = settings.evaluate_specs()[condition.key, 0]
    edges = np.logspace(*reference.norm_decades, reference.norm_bins + 1)
    curves: Row = {"eps": list(EPS_GRID), "keep": list(KEEP_GRID)}
    for curve in ("kappa", "test_accuracy"):
        rows = np.array([result[curve] for result in done])
        for name, reduce in (("mean", np.mean), ("min", np.min), ("max", np.max)):
            curves[f"{curve}_{name}"] = reduce(rows, axis=0).tolist() if done else []
    return {
        "key": condition.key,
        "label": condition.label,
        "noise": condition.noise,
        "alpha": condition.alpha,
        "sigma": reference.train.sigma,
        "n_runs": len(results),
        "n_failed": len(results) - len(done),
        "summary": summary,
        "paper": _published(condition) if settings.is_papers else None,
        "curves": curves,
        "norm_histogram": {
            "edges": edges.tolist(),
            "counts": np.sum([r["norm_counts"] for r in done], axis=0).tolist() if done else [],
        },
    }


def _published(condition: Condition) -> Row | None:
    text = resources.files("prunable.experiments.papers").joinpath("wan2023.json").read_text()
    for number, table in json.loads(text)["tables"].items():
        row = table["rows"].get("none" if condition.alpha is None else f"{condition.alpha:g}")
        if row is not None and condition.noise in (table["noise"], "none"):
            return {
                "source": f"Wan et al. 2023, Table {number}",
                "values": {name: {"mean": m, "std": s} for name, (m, s) in row.items()},
            }
    return None


def _controls(
    settings: DemoSettings,
    results: dict[tuple[str, int], Row],
    controls: dict[tuple[str, int], Row],
) -> Iterator[Row]:
    for condition in settings.conditions:
        pairs = [(results[pair], row) for pair, row in controls.items() if pair[0] == condition.key]
        if pairs:
            kept = [1 - noisy["metrics"]["pruning_ratio_squared"] for noisy, _ in pairs]
            own = [noisy["metrics"]["test_accuracy_pruned_squared"] for noisy, _ in pairs]
            plain = [control["metrics"]["test_accuracy_pruned"] for _, control in pairs]
            yield {
                "condition": condition.key,
                "kappa": float(np.mean(kept)),
                "test_accuracy_pruned": _summary(own),
                "test_accuracy_vanilla_same_kappa": _summary(plain),
            }


def _differences(conditions: Sequence[Row]) -> Iterator[Row]:
    for condition in conditions:
        for name, published in (condition["paper"] or {"values": {}})["values"].items():
            ours = condition["summary"].get(name)
            if ours is not None:
                yield {
                    "condition": condition["key"],
                    "metric": name,
                    "ours": ours["mean"],
                    "paper": published["mean"],
                    "difference": ours["mean"] - published["mean"],
                    "cause": CAUSES[name],
                }


def _findings(
    settings: DemoSettings,
    data: Dataset,
    results: dict[tuple[str, int], Row],
    controls: dict[tuple[str, int], Row],
) -> Iterator[Row]:
    """What the numbers say beyond the table; each sentence is made from stored results."""
    x = data.x_train.astype(np.float64)
    visible = np.abs(x.sum(1)) / (np.linalg.norm(x, axis=1) * math.sqrt(x.shape[1]))
    shifts = [
        abs(result["metrics"]["test_accuracy"] - results["none", seed]["metrics"]["test_accuracy"])
        for (key, seed), result in results.items()
        if key.startswith("type1") and _both_done(result, results["none", seed])
    ]
    if shifts:
        yield {
            "title": "Type I noise is invisible to a network on z-normalised series",
            "text": (
                "Type I noise adds one number Z to all incoming weights of a unit, which moves "
                "its pre-activation by Z times the sum of the input. Every ECG5000 series has "
                f"mean zero: the share of an input's norm along the all-ones direction is at "
                f"most {visible.max():.1e}. So the noise changes the norms of the columns and "
                "with them what is pruned, while test accuracy before pruning differs from "
                "the run without noise and with the same seed by at most "
                f"{100 * max(shifts):.2f} points. The paper's own Tables 1 and 2 show the same "
                "pattern: accuracy before pruning hardly depends on alpha."
            ),
        }
    gains = [
        results[pair]["metrics"]["test_accuracy_pruned_squared"]
        - control["metrics"]["test_accuracy_pruned"]
        for pair, control in controls.items()
        if pair[0].startswith("type1")
    ]
    if gains:
        mean, worst, best = np.mean(gains), min(gains), max(gains)
        verdict = "more" if mean > 0 else "less"
        yield {
            "title": "Control: plain SGD pruned just as far",
            "text": (
                "The networks trained without noise, pruned to the same number of units as the "
                f"type I networks of the same seed, are {100 * abs(mean):.2f} points "
                f"{'less' if verdict == 'more' else 'more'} accurate on average (gain of the "
                f"noise from {100 * worst:+.2f} to {100 * best:+.2f} points over "
                f"{len(gains)} pairs). A pruning ratio at a fixed relative error says how "
                "unequal the columns are; accuracy at equal size says what was gained."
            ),
        }
