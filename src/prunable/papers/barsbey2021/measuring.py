"""Stages that measure trained networks the paper's ways."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from prunable.data.loaders import Dataset
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import AVERAGE, dataset_of, trained_network
from prunable.nets.archive import load_tensors
from prunable.nets.models import Architecture, build
from prunable.nets.networks.views import WeightView, views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep, PruningPlan, Scope
from prunable.nets.prune.strategies import (
    MagnitudePruning,
    MedianCentred,
    NodePruning,
    SingularValuePruning,
    Strategy,
)
from prunable.nets.train.training import evaluate
from prunable.numerics.measure.layer import kernels_or_rows
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw
from prunable.numerics.tails import Status, authors_procedure
from prunable.numerics.weights.compressibility import kappa_p
from prunable.papers.barsbey2021.specs import CountSpec, LayerLawSpec, MeasureSpec, Ratios
from prunable.runs.store import Run

Result = dict[str, Any]
FloatArray = NDArray[np.floating[Any]]


def measure_stage(spec: MeasureSpec, run: Run) -> Result:
    """Measure tail indices, prunability and accuracies after pruning of a trained network.

    Returns
    -------
    dict
        stopped (whether the stop rule was met; if not, nothing else is measured), eta_over_b,
        layers (name, alpha or None, prunable share, weights of each), alpha (mean of the
        layers'), prunable (mean), dense (accuracies of the averaged network), test_accuracy (of
        the last iterate on the whole test set) and curves: by method the shares asked and
        pruned of all weights, and the accuracies then.
    """
    trained = run.result(spec.train)
    ratio = spec.train.lr / spec.train.batch_size
    if not trained["stopped"]:
        return {"stopped": False, "eta_over_b": ratio, "reason": trained["reason"]}
    final = trained_network(run.folder_of(spec.train), spec.train)
    model = averaged_network(spec.train, run)
    layers = list(_layers(spec, model, final))
    accuracy = _Accuracy(spec, dataset_of(spec.train))
    return {
        "stopped": True,
        "eta_over_b": ratio,
        "steps": trained["steps"],
        "train_loss": trained["metrics"]["train_loss"],
        "test_accuracy": trained["metrics"]["test_accuracy"],
        "layers": layers,
        "alpha": _mean([layer["alpha"] for layer in layers]),
        "prunable": _mean([layer["prunable"] for layer in layers]),
        "dense": accuracy.of(model),
        "curves": {
            name: _curve(spec, model, method, accuracy) for name, method in _methods(spec, model)
        },
    }


def averaged_network(spec: TrainSpec, run: Run) -> torch.nn.Module:
    """The network of the mean of the last iterates; of the last one if none were averaged."""
    model = trained_network(run.folder_of(spec), spec)
    path = run.folder_of(spec) / AVERAGE
    if path.exists():
        means = load_tensors(path)[0]
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(means[name])
    return model


def tail_vectors(view: WeightView) -> FloatArray:
    """Vectors whose tail index the authors estimate: kernels, rows, or columns of the last layer.

    Parameters
    ----------
    view : WeightView

    Returns
    -------
    ndarray, shape (N, d)
        One vector a row.
    """
    if view.role == "output":
        return view.matrix.T
    return kernels_or_rows(view.matrix, view.taps)


def pruned_views(views: Sequence[WeightView]) -> tuple[WeightView, ...]:
    """Layers that the paper prunes: not the last, and of a convolutional network not the first."""
    convolutional = any(view.taps > 1 for view in views)
    return tuple(views[1:-1] if convolutional else views[:-1])


def _layers(
    spec: MeasureSpec, model: torch.nn.Module, final: torch.nn.Module
) -> Iterator[dict[str, Any]]:
    averaged = views_of(model.named_parameters())
    last = views_of(final.named_parameters())
    for view, last_view in zip(averaged, last, strict=True):
        found = authors_procedure(tail_vectors(view), rng=rng(spec.train.seed, "alpha", view.name))
        if spec.convention == "authors-code":
            weights = last_view.matrix - np.median(last_view.matrix)
        else:
            weights = view.matrix
        yield {
            "name": view.name,
            "alpha": found.alpha if found.status == Status.OK else None,
            "prunable": 1 - kappa_p(weights, spec.tolerance),
            "weights": view.matrix.size,
        }


@dataclass(frozen=True)
class _Method:
    strategy: Strategy
    scope: Scope
    ratios: Ratios


def _methods(spec: MeasureSpec, model: torch.nn.Module) -> Iterator[tuple[str, _Method]]:
    kernels = any(view.taps > 1 for view in views_of(model.named_parameters()))
    node = NodePruning(axis="kernel" if kernels else "input")
    plain: dict[str, tuple[Strategy, Scope, Ratios]] = {
        "magnitude": (MagnitudePruning(), "layer", spec.magnitude_ratios),
        "global": (MagnitudePruning(), "global", spec.magnitude_ratios),
        "singular": (SingularValuePruning(), "layer", spec.spectral_ratios),
        "node": (node, "layer", spec.node_ratios),
    }
    for name, (strategy, scope, ratios) in plain.items():
        centred = spec.convention == "authors-code"
        yield name, _Method(MedianCentred(strategy) if centred else strategy, scope, ratios)


def _curve(
    spec: MeasureSpec, model: torch.nn.Module, method: _Method, accuracy: _Accuracy
) -> dict[str, list[float]]:
    """Accuracies after pruning each share; the model is left as it was."""
    named = dict(model.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    total = sum(parameter.numel() for parameter in named.values())
    views = pruned_views(views_of(before.items()))
    rows = []
    for ratio in method.ratios:
        plan = method.strategy.plan(
            views, Keep(1 - ratio, method.scope), rng=rng(spec.train.seed, "prune")
        )
        apply_plan_(named.items(), plan)
        kept = total - plan.n_parameters + _kept(plan, spec)
        rows.append({"ratio": ratio, "pruned": 1 - kept / total, **accuracy.of(model)})
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(before[name])
    return {key: [row[key] for row in rows] for key in rows[0]}


def _kept(plan: PruningPlan, spec: MeasureSpec) -> int:
    """Numbers kept; singular values themselves are not among them in the authors' code."""
    values = sum(layer.n_kept for layer in plan.layers if layer.axis == "singular_value")
    return plan.n_parameters_kept - (values if spec.convention == "authors-code" else 0)


class _Accuracy:
    """Accuracies on the examples that a specification asks for."""

    def __init__(self, spec: MeasureSpec, data: Dataset) -> None:
        self._splits = {
            split: (torch.from_numpy(x[:count].copy()), torch.from_numpy(y[:count].copy()))
            for split, x, y, count in (
                ("test", data.x_test, data.y_test, spec.test_examples),
                ("train", data.x_train, data.y_train, spec.train_examples),
            )
            if count is None or count > 0
        }

    def of(self, model: torch.nn.Module) -> dict[str, float]:
        """Share right of each split, by names such as `test_accuracy`."""
        return {
            f"{split}_accuracy": evaluate(model, x, y)["accuracy"]
            for split, (x, y) in self._splits.items()
        }


def layer_law_stage(spec: LayerLawSpec, run: Run) -> Result:
    """Compare the largest convolution's weights with one another and with a stable law.

    The stable law has the layer's estimated tail index and the weights' interquartile range.

    Returns
    -------
    dict
        stopped, name, alpha, scale, n; edges and counts of the histograms: of a random half of
        the weights, of the other, of the first and the second half of the filters, of all, and
        of as many stable numbers; and Kolmogorov-Smirnov distances (and p-values) of those
        halves, and of the weights from the stable law and the normal laws of the same
        interquartile range and of the same standard deviation.
    """
    trained = run.result(spec.train)
    if not trained["stopped"]:
        return {"stopped": False, "reason": trained["reason"]}
    views = views_of(averaged_network(spec.train, run).named_parameters())
    found = [view for view in views if view.taps > 1] or list(views[:-1])
    view = max(found, key=lambda view: view.matrix.size)
    estimate = authors_procedure(tail_vectors(view), rng=rng(spec.train.seed, "alpha", view.name))
    alpha = estimate.alpha if estimate.status == Status.OK else 2.0
    weights = view.matrix.astype(np.float64).ravel() - float(np.median(view.matrix))
    low, high = np.quantile(weights, (0.25, 0.75))
    scale = float(high - low) / (2 * float(StableLaw(alpha).ppf(0.75)))
    law = StableLaw(alpha, scale)
    order = rng(spec.seed, "partition").permutation(weights.size)
    one, other = np.array_split(weights[order], 2)
    first, second = np.array_split(weights, 2)
    bound = float(np.quantile(np.abs(weights), 1 - spec.outside))
    edges = np.linspace(-bound, bound, spec.bins + 1)
    samples = {
        "random half": one,
        "other half": other,
        "first filters": first,
        "last filters": second,
        "weights": weights,
        "stable": law.sample(weights.size, rng(spec.seed, "stable")),
    }
    normal_scales = {
        "normal_quartiles": float(high - low) / (2 * float(StableLaw(2.0).ppf(0.75))),
        "normal_deviation": float(weights.std()) / math.sqrt(2),
    }
    halves, filters = ks_2samp(one, other), ks_2samp(first, second)
    return {
        "stopped": True,
        "name": view.name,
        "alpha": alpha,
        "scale": scale,
        "n": weights.size,
        "edges": edges.tolist(),
        "counts": {key: np.histogram(x, edges)[0].tolist() for key, x in samples.items()},
        "distances": {
            "halves": float(halves.statistic),
            "filters": float(filters.statistic),
            "stable": _distance(weights, law),
            **{key: _distance(weights, StableLaw(2.0, s)) for key, s in normal_scales.items()},
        },
        "p_values": {"halves": float(halves.pvalue), "filters": float(filters.pvalue)},
    }


def count_stage(spec: CountSpec, run: Run) -> Result:
    """Count the parameters of an untrained network."""
    del run
    architecture = Architecture(spec.net, spec.shape, spec.n_outputs, spec.width)
    model = build(architecture, generator=torch.Generator().manual_seed(0))
    return {"n_parameters": sum(parameter.numel() for parameter in model.parameters())}


def _distance(x: NDArray[np.float64], law: StableLaw) -> float:
    """Kolmogorov-Smirnov distance of a sample from a law."""
    values = law.cdf(np.sort(x))
    steps = np.arange(x.size + 1) / x.size
    return float(max((steps[1:] - values).max(), (values - steps[:-1]).max()))


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None
