"""The stages of the runs: training, measuring and pruning networks of one hidden layer."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from prunable.data.loaders import Dataset
from prunable.experiments.train.networks import as_tensors
from prunable.experiments.train.stages import MODEL, split_metrics
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.models.initialisation import linear
from prunable.nets.networks.views import views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Error, Keep
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.train.batched import Replica, train_together
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.nets.train.sampling import Kind, sample_stable
from prunable.nets.train.settings import TrainingSettings
from prunable.numerics.randomness import child_seed, rng
from prunable.numerics.weights.compressibility import Criterion, eps_from, kappa_curve
from prunable.papers.wan2023 import specs
from prunable.runs.execution import CHECKPOINT
from prunable.runs.store import Run

Result = dict[str, Any]
HIDDEN = "hidden.weight"
# Share of the columns, those of largest norm, whose part of the squared norm is stored.
TOP = 0.01
KINDS: dict[str, Kind] = {"type1": "shared", "type2": "iid", "type3": "isotropic"}


def train_stage(spec: specs.TwoLayerTrainSpec, run: Run) -> Result:
    """Train one network; leaves its weights in the run's folder."""
    return train_batch_stage([spec], [run])[0]


def train_batch_stage(
    chosen: Sequence[specs.TwoLayerTrainSpec], runs: Sequence[Run]
) -> list[Result]:
    """Train the networks of one `batch_key` together, each as alone, up to rounding."""
    data, device = dataset_of(chosen[0]), runs[0].device
    models = [new_network(spec, data).to(device) for spec in chosen]
    x, y, _, _ = as_tensors(data, device)
    replicas = [
        Replica(model, training_settings(spec), run.folder / CHECKPOINT, run.on_step)
        for model, spec, run in zip(models, chosen, runs, strict=True)
    ]
    outcomes = train_together(replicas, x, y, threads=1)
    results = []
    for spec, run, model, outcome in zip(chosen, runs, models, outcomes, strict=True):
        metrics: dict[str, float] = {}
        if outcome.status == "done":
            save_tensors(run.folder / MODEL, model.state_dict(), {"run_id": spec.run_id})
            metrics = split_metrics(model, data)
        results.append({**outcome.summary(), "metrics": metrics})
    return results


def prune_stage(spec: specs.TwoLayerPruneSpec, run: Run) -> Result:
    """Measure one trained network, and prune it by both criteria."""
    data = dataset_of(spec.train)
    model = _trained(spec.train, run)
    norms = np.sort(column_norms(model))
    metrics: dict[str, float] = split_metrics(model, data)
    for criterion in Criterion:
        budget = Error(eps_from(criterion, spec.tolerance))
        metrics |= _pruned(model, budget, data, spec.train.seed, str(criterion))
    top = max(1, round(TOP * len(norms)))
    metrics["top_share"] = float(np.sum(norms[-top:] ** 2) / np.sum(norms**2))
    edges = np.logspace(*spec.norm_decades, spec.norm_bins + 1)
    counts, _ = np.histogram(np.clip(norms, edges[0], edges[-1]), edges)
    trained = run.result(spec.train)
    return {
        "metrics": metrics,
        "steps": trained["steps"],
        "stopped": trained["stopped"],
        "kappa": kappa_curve(norms, np.array(spec.eps)).tolist(),
        "norm_counts": counts.tolist(),
    }


def prune_alike_stage(spec: specs.PrunedAlikeSpec, run: Run) -> Result:
    """Prune a network without noise as far as noisy ones, on average, can be."""
    ratios = [run.result(part)["metrics"]["pruning_ratio_squared"] for part in spec.noisy]
    budget = Keep(1 - float(np.mean(ratios)))
    data = dataset_of(spec.train)
    model = _trained(spec.train, run)
    metrics = split_metrics(model, data) | _pruned(model, budget, data, spec.train.seed, "alike")
    return {"metrics": metrics, "asked": float(np.mean(ratios))}


def share_law_stage(spec: specs.ShareLawSpec, run: Run) -> Result:
    """Draw networks that the noise alone moves, and prune each at every noise level.

    `pruned` holds the shares by level, then by network.
    """
    del run
    scales = np.array(spec.sigmas) * spec.horizon ** (1 / spec.alpha)
    eps = np.array([eps_from(Criterion.SQUARED, spec.tolerance)])
    shares = np.empty((len(scales), spec.draws))
    for draw in range(spec.draws):
        generator = torch.Generator()
        generator.manual_seed(child_seed(root_of(spec), "law", draw))
        start = linear(spec.features, spec.width, generator=generator, bias=False).weight.detach()
        noise = sample_stable(start.shape, spec.alpha, kind=KINDS[spec.noise], generator=generator)
        own, moved = start.double().numpy(), noise.double().numpy()
        pairs = ((own, own), (own, moved), (moved, moved))
        # ||w + c x||^2 at every scale c from three numbers a column
        still, both, far = (np.einsum("ij,ij->i", a, b) for a, b in pairs)
        for level, scale in enumerate(scales):
            norms = np.sqrt(np.maximum(still + 2 * scale * both + scale**2 * far, 0))
            shares[level, draw] = 1 - float(kappa_curve(norms, eps)[0])
    return {"pruned": shares.tolist(), "metrics": {}}


def describe_stage(spec: specs.DescribeSpec, run: Run) -> Result:
    """Facts of a data set; `visible` is the largest share of an input along the all-ones vector.

    Type I noise moves a unit's pre-activation by its one number times the sum of the input.
    """
    del run
    data = spec.dataset.load()
    classes = len(data.class_names)
    x = data.x_train.astype(np.float64)
    visible = np.abs(x.sum(1)) / (np.linalg.norm(x, axis=1) * math.sqrt(x.shape[1]))
    return {
        "visible": float(visible.max()),
        "facts": {
            "name": data.name,
            "label": data.label,
            "n_train": len(data.x_train),
            "n_test": len(data.x_test),
            "n_features": data.x_train.shape[1],
            "n_classes": classes,
            "class_counts_train": np.bincount(data.y_train, minlength=classes).tolist(),
            "class_counts_test": np.bincount(data.y_test, minlength=classes).tolist(),
            "split": data.split,
            "split_seed": data.split_seed,
            "provenance": data.provenance,
            "licence": data.licence,
        },
    }


def dataset_of(spec: specs.TwoLayerTrainSpec) -> Dataset:
    """Data of a run, its classes merged and its training set cut as the specification says."""
    return spec.dataset.load()


def root_of(spec: specs.TwoLayerTrainSpec | specs.ShareLawSpec) -> int:
    """Seed of all that a run draws: of its own seed and its whole condition.

    So the rows of a table are independent: with the run's seed alone, all rows would share one
    noise but for its tail index, and pruned shares would rise with it by construction.
    """
    return child_seed(spec.seed, spec.run_id)


def new_network(spec: specs.TwoLayerTrainSpec, data: Dataset) -> nn.Sequential:
    """Untrained network of a specification, its weights drawn from the run's own seed."""
    generator = torch.Generator()
    generator.manual_seed(child_seed(root_of(spec), "init"))
    features, outputs = data.x_train.shape[1], len(data.class_names)
    layers: list[tuple[str, nn.Module]] = [
        ("hidden", linear(features, spec.width, generator=generator, bias=False)),
        ("relu", nn.ReLU()),
        ("output", linear(spec.width, outputs, generator=generator, bias=False)),
    ]
    return nn.Sequential(OrderedDict(layers))


def training_settings(spec: specs.TwoLayerTrainSpec) -> TrainingSettings:
    """Settings of the training loop that a specification stands for."""
    noise = None
    if spec.noise != "none" and spec.alpha is not None:
        noise = HeavyTailedNoise(spec.noise, spec.alpha, spec.sigma)
    return TrainingSettings(
        lr=spec.lr,
        steps=spec.steps,
        batch_size=spec.batch_size,
        seed=root_of(spec),
        noise=noise,
        until_accuracy=spec.until_accuracy,
        log_every=spec.evaluate_every,
        checkpoint_every=max(200, spec.evaluate_every),
    )


def column_norms(model: nn.Module) -> np.ndarray:
    """Euclidean norms of the incoming weights of the hidden units, shape (n,)."""
    weights = model.get_parameter(HIDDEN).detach().double().cpu().numpy()
    return np.asarray(np.linalg.norm(weights, axis=1))


def _trained(spec: specs.TwoLayerTrainSpec, run: Run) -> nn.Sequential:
    model = new_network(spec, dataset_of(spec))
    model.load_state_dict(load_tensors(run.folder_of(spec) / MODEL)[0])
    return model.to(run.device)


def _pruned(
    model: nn.Module, budget: Error | Keep, data: Dataset, seed: int, name: str
) -> dict[str, float]:
    """Pruned share of the columns, and metrics of the pruned network; the model stays as it was."""
    hidden = model.get_parameter(HIDDEN)
    plan = NodePruning(axis="unit").plan(
        views_of([(HIDDEN, hidden)]), budget, rng=rng(seed, "prune")
    )
    before = hidden.detach().clone()
    try:
        apply_plan_(model.named_parameters(), plan)
        metrics = split_metrics(model, data, f"_pruned_{name}")
    finally:
        with torch.no_grad():
            hidden.copy_(before)
    return {f"pruning_ratio_{name}": 1 - plan.layers[0].kappa, **metrics}
