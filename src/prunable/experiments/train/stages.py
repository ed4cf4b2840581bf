"""The stages of a run, from specification to stored result: train, evaluate, prune."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from prunable.data.loaders import Dataset
from prunable.experiments.prune.specs import EvaluateSpec, PruneSpec
from prunable.experiments.train.networks import as_tensors
from prunable.experiments.train.specs import TrainSpec
from prunable.files import write_parquet
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.models import NETS, Architecture, MeanFieldNetwork, build
from prunable.nets.networks.views import views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Error, Keep, PruningPlan
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.train.batched import Replica, train_together
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.nets.train.settings import TrainingOutcome, TrainingSettings
from prunable.nets.train.training import evaluate, train
from prunable.numerics.randomness import child_seed, rng
from prunable.numerics.tails import TailEstimate, log_moment, log_moment_vectors
from prunable.numerics.weights.compressibility import Criterion, eps_from, kappa_curve
from prunable.runs.devices import devices_of
from prunable.runs.execution import CHECKPOINT, compute_runs
from prunable.runs.store import Run, Store, read_result

MODEL = "model.safetensors"
AVERAGE = "average.safetensors"

Result = dict[str, Any]
OnStep = Callable[[int], None]


def train_into(
    folder: Path | str, spec: TrainSpec, on_step: OnStep | None = None, *, device: str = "auto"
) -> Result:
    """Train one network into a folder; resumes an interrupted run, repeats no finished one.

    Raises SpecError if the folder holds another run.

    Parameters
    ----------
    folder : Receives model.safetensors, metrics.parquet, execution.json and, last, result.json.
    on_step : Told the number of steps done.
    device : See `prunable.runs.devices.devices_of`; of several the first.

    Returns
    -------
    dict
        Result with the metrics train_loss, train_accuracy, train_balanced_accuracy, and
        the same of the test set.
    """
    folder = Path(folder)
    if (stored := read_result(folder, spec)) is not None:
        return stored
    run = Run(Store(folder), folder, devices_of(device)[0], on_step or (lambda _: None))
    return compute_runs([spec], [run])[0]


def train_stage(spec: TrainSpec, run: Run) -> Result:
    """Train one network; see `train_into` for what it leaves in the run's folder."""
    data = dataset_of(spec)
    model = new_network(spec, data).to(run.device)
    outcome = train(
        model,
        *as_tensors(data, run.device)[:2],
        training_settings(spec),
        checkpoint=run.folder / CHECKPOINT,
        on_step=run.on_step,
    )
    return _store(spec, run, model, data, outcome)


def train_batch_stage(specs: Sequence[TrainSpec], runs: Sequence[Run]) -> list[Result]:
    """Train the networks of one `batch_key` together; the same as `train_stage`, up to rounding."""
    data = dataset_of(specs[0])
    models = [new_network(spec, data).to(run.device) for spec, run in zip(specs, runs, strict=True)]
    replicas = [
        Replica(model, training_settings(spec), run.folder / CHECKPOINT, run.on_step)
        for model, spec, run in zip(models, specs, runs, strict=True)
    ]
    outcomes = train_together(replicas, *as_tensors(data, runs[0].device)[:2])
    return [
        _store(spec, run, model, data, outcome)
        for spec, run, model, outcome in zip(specs, runs, models, outcomes, strict=True)
    ]


def _store(
    spec: TrainSpec, run: Run, model: torch.nn.Module, data: Dataset, outcome: TrainingOutcome
) -> Result:
    """Leave the network and the log of a training in the run's folder, and say how it ended."""
    metrics: dict[str, float] = {}
    if outcome.status == "done":
        metadata = {"run_id": spec.run_id, **architecture_of(spec, data).metadata()}
        save_tensors(run.folder / MODEL, model.state_dict(), metadata)
        if outcome.average is not None:
            save_tensors(run.folder / AVERAGE, outcome.average)
        metrics = split_metrics(model, data)
    table = pa.Table.from_pylist(outcome.log)
    write_parquet(run.folder / "metrics.parquet", table)
    return {**outcome.summary(), "metrics": metrics}


def training_settings(spec: TrainSpec) -> TrainingSettings:
    """Settings of the training loop that a specification stands for."""
    noise = None
    if spec.noise != "none":
        assert spec.alpha is not None
        noise = HeavyTailedNoise(
            spec.noise, spec.alpha, spec.sigma, lr_multiplier=spec.lr_multiplier
        )
    shared = TrainSpec.model_fields.keys() & TrainingSettings.__dataclass_fields__.keys()
    own = {
        "lr": spec.lr * spec.lr_multiplier,
        "noise": noise,
        "log_every": spec.evaluate_every,
        "checkpoint_every": max(200, spec.evaluate_every),
    }
    return TrainingSettings(**{name: getattr(spec, name) for name in shared} | own)


def architecture_of(spec: TrainSpec, data: Dataset) -> Architecture:
    """Architecture of a specification, sized for its data."""
    return Architecture(spec.net, data.x_train.shape[1:], len(data.class_names), spec.width)


def new_network(spec: TrainSpec, data: Dataset) -> torch.nn.Module:
    """Untrained network of a specification, its weights drawn from the run's seed."""
    generator = torch.Generator()
    generator.manual_seed(child_seed(spec.seed, "init"))
    model = build(architecture_of(spec, data), generator=generator)
    if isinstance(model, MeanFieldNetwork):
        model.output.weight.requires_grad_(spec.train_output)
    return model


def trained_network(folder: Path | str, spec: TrainSpec) -> torch.nn.Module:
    """The network that a finished training run left in its folder."""
    model = new_network(spec, dataset_of(spec))
    model.load_state_dict(load_tensors(Path(folder) / MODEL)[0])
    return model


def split_metrics(model: torch.nn.Module, data: Dataset, suffix: str = "") -> dict[str, float]:
    """Loss and accuracies on both splits, named `train_accuracy` and so on."""
    device = next(model.parameters()).device
    x, y, x_test, y_test = as_tensors(data, device)
    return {
        f"{split}_{name}{suffix}": value
        for split, inputs, labels in (("train", x, y), ("test", x_test, y_test))
        for name, value in evaluate(model, inputs, labels).items()
    }


def evaluate_stage(spec: EvaluateSpec, run: Run) -> Result:
    """Measure a trained mean-field network, and prune its units by both criteria."""
    model = _trained_mean_field(spec.train, run)
    data = dataset_of(spec.train)
    weights = model.hidden.weight.detach().double().cpu().numpy()
    norms = np.linalg.norm(weights, axis=1)
    metrics: dict[str, float | None] = dict(split_metrics(model, data))
    for name, estimate in (
        ("alpha_log_moment", log_moment(weights.ravel(), center="median")),
        ("alpha_log_moment_vectors", log_moment_vectors(weights, center="median")),
    ):
        metrics |= _tail_metrics(name, estimate)
    for criterion in Criterion:
        budget = Error(eps_from(criterion, spec.tolerance))
        plan = _node_plan(model, budget, spec.train.seed)
        metrics[f"pruning_ratio_{criterion}"] = 1 - plan.layers[0].kappa
        metrics |= _pruned_metrics(model, plan, data, f"_pruned_{criterion}")
    edges = np.logspace(*spec.norm_decades, spec.norm_bins + 1)
    counts, _ = np.histogram(np.clip(norms, edges[0], edges[-1]), edges)
    accuracy = [
        _pruned_metrics(model, _node_plan(model, Keep(kappa), spec.train.seed), data, "")
        for kappa in spec.keep
    ]
    return {
        "metrics": metrics,
        "kappa": kappa_curve(norms, np.array(spec.eps)).tolist(),
        "test_accuracy": [row["test_accuracy"] for row in accuracy],
        "norm_counts": counts.tolist(),
    }


def prune_stage(spec: PruneSpec, run: Run) -> Result:
    """Prune a trained mean-field network to a share of its units."""
    model = _trained_mean_field(spec.train, run)
    kappa = spec.kappa
    if isinstance(kappa, EvaluateSpec):
        kappa = 1 - run.result(kappa)["metrics"]["pruning_ratio_squared"]
    plan = _node_plan(model, Keep(kappa), spec.train.seed)
    return {
        "plan": plan.to_dict(),
        "metrics": _pruned_metrics(model, plan, dataset_of(spec.train), "_pruned"),
    }


def _trained_mean_field(spec: TrainSpec, run: Run) -> MeanFieldNetwork:
    model = trained_network(run.folder_of(spec), spec).to(run.device)
    assert isinstance(model, MeanFieldNetwork)
    return model


def _tail_metrics(name: str, estimate: TailEstimate) -> dict[str, float | None]:
    values = {name: estimate.alpha, f"{name}_stderr": estimate.stderr}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _node_plan(model: MeanFieldNetwork, budget: Error | Keep, seed: int) -> PruningPlan:
    views = views_of([("hidden.weight", model.hidden.weight)])
    return NodePruning(axis="unit").plan(views, budget, rng=rng(seed, "prune"))


def _pruned_metrics(
    model: MeanFieldNetwork, plan: PruningPlan, data: Dataset, suffix: str
) -> dict[str, float]:
    """Metrics of the pruned network; the model itself is left as it was."""
    before = model.hidden.weight.detach().clone()
    try:
        apply_plan_(model.named_parameters(), plan)
        return split_metrics(model, data, suffix)
    finally:
        with torch.no_grad():
            model.hidden.weight.copy_(before)


def dataset_of(spec: TrainSpec) -> Dataset:
    """Data of a training run, shaped for its network."""
    return spec.dataset.load(flatten=not NETS[spec.net].pictures)
