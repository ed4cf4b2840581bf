"""Stages: measuring trained networks the paper's ways, and figures that need no network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from prunable.certify.bounds.rho import rho_limit, rho_peak, rho_upper
from prunable.data.loaders import Dataset
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import AVERAGE, dataset_of, trained_network
from prunable.nets.archive import load_tensors
from prunable.nets.models import Architecture, build
from prunable.nets.networks.views import WeightView, views_of
from prunable.nets.prune import strategies
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep, PruningPlan
from prunable.nets.train.training import evaluate
from prunable.numerics.measure.layer import kernels_or_rows
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw, sample_isotropic, sample_symmetric
from prunable.numerics.tails import (
    Status,
    TailEstimate,
    authors_procedure,
    ecf_two_point,
    log_moment,
    log_moment_vectors,
    log_variance,
    quantile,
)
from prunable.numerics.weights.compressibility import kappa_p
from prunable.papers.barsbey2021 import specs
from prunable.runs.store import Run

Result = dict[str, Any]
FloatArray = NDArray[np.floating[Any]]


def measure_stage(spec: specs.MeasureSpec, run: Run) -> Result:
    """Measure tail indices, prunability and accuracies after pruning of a trained network.

    Gives stopped (whether the stop rule was met; if not, nothing else is measured), eta_over_b,
    layers (name, alpha or None, alphas by other methods, prunable share, weights of each), alpha
    and alphas (means of the layers'), prunable (mean), dense (accuracies of the averaged
    network), test_accuracy (of the last iterate on the whole test set) and curves: by method the
    shares asked and pruned of all weights, and the accuracies then.
    """
    trained = run.result(spec.train)
    ratio = spec.train.lr / spec.train.batch_size
    if not trained["stopped"]:
        return {"stopped": False, "eta_over_b": ratio, "reason": trained["reason"]}
    final = trained_network(run.folder_of(spec.train), spec.train)
    model = averaged_network(spec.train, run).to(run.device)
    layers = list(_layers(spec, model, final))
    accuracy = _Accuracy(spec, dataset_of(spec.train), run.device)
    return {
        "stopped": True,
        "eta_over_b": ratio,
        "steps": trained["steps"],
        "train_loss": trained["metrics"]["train_loss"],
        "test_accuracy": trained["metrics"]["test_accuracy"],
        "layers": layers,
        "alpha": _mean([layer["alpha"] for layer in layers]),
        "alphas": {
            name: _mean([layer["alphas"][name] for layer in layers]) for name in specs.OTHERS
        },
        "prunable": _mean([layer["prunable"] for layer in layers]),
        "dense": accuracy.of(model),
        "curves": {method: _curve(spec, model, accuracy, method) for method in spec.methods},
    }


def averaged_network(spec: TrainSpec, run: Run) -> torch.nn.Module:
    """The network of the mean of the last iterates; of the last one if none were averaged."""
    model = trained_network(run.folder_of(spec), spec)
    path = run.folder_of(spec) / AVERAGE
    if path.exists():
        _restore(model, load_tensors(path)[0])
    return model


def tail_vectors(view: WeightView) -> FloatArray:
    """Vectors (one a row) whose tail index the authors estimate.

    They are kernels or rows, and of the last layer columns.
    """
    return view.matrix.T if view.role == "output" else kernels_or_rows(view.matrix, view.taps)


def pruned_views(views: Sequence[WeightView]) -> tuple[WeightView, ...]:
    """Layers that the paper prunes: not the last, and of a convolutional network not the first."""
    return tuple(views[1:-1] if _is_convolutional(views) else views[:-1])


def _is_convolutional(views: Sequence[WeightView]) -> bool:
    return any(view.taps > 1 for view in views)


def _restore(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])


def _alpha(spec: specs.MeasureSpec | specs.LayerLawSpec, view: WeightView) -> float | None:
    return _estimate(tail_vectors(view), rng(spec.train.seed, "alpha", view.name))


def _estimate(vectors: FloatArray, generator: np.random.Generator) -> float | None:
    return _known(authors_procedure(vectors, rng=generator, jackknife=False))


def _known(found: TailEstimate) -> float | None:
    return found.alpha if found.status == Status.OK else None


def _other_alphas(view: WeightView) -> dict[str, float | None]:
    """Estimates that appendix A.4 says make no difference; of vectors, else of single weights."""
    vectors, weights = tail_vectors(view), view.matrix.ravel()
    found = {
        "vectors centred by means": log_moment_vectors(vectors, center="mean"),
        "single weights": log_moment(weights),
        "variance of logarithms": log_variance(weights),
        "quantiles": quantile(weights),
        "characteristic function": ecf_two_point(weights),
    }
    return {name: _known(found[name]) for name in specs.OTHERS}


def _layers(
    spec: specs.MeasureSpec, model: torch.nn.Module, final: torch.nn.Module
) -> Iterator[Result]:
    averaged, last = (views_of(network.named_parameters()) for network in (model, final))
    for view, last_view in zip(averaged, last, strict=True):
        weights = view.matrix
        if spec.convention == "authors-code":
            weights = last_view.matrix
        if spec.center != "none":
            location = np.median if spec.center == "median" else np.mean
            weights = weights - location(weights)
        yield {
            "name": view.name,
            "alpha": _alpha(spec, view),
            "alphas": _other_alphas(view),
            "prunable": 1 - kappa_p(weights, spec.tolerance),
            "weights": view.matrix.size,
        }


def _strategy(
    spec: specs.MeasureSpec, method: specs.Method, views: Sequence[WeightView]
) -> strategies.Strategy:
    found: strategies.Strategy
    if method == "singular":
        found = strategies.SingularValuePruning()
    elif method == "node":
        found = strategies.NodePruning(axis="kernel" if _is_convolutional(views) else "input")
    else:
        found = strategies.MagnitudePruning()
    return found if spec.center == "none" else strategies.MedianCentred(found, spec.center)


def _curve(
    spec: specs.MeasureSpec, model: torch.nn.Module, accuracy: _Accuracy, method: specs.Method
) -> dict[str, list[float]]:
    """Accuracies after pruning each share; the model is left as it was."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    total = sum(parameter.numel() for parameter in before.values())
    views = pruned_views(views_of(before.items()))
    strategy, rows = _strategy(spec, method, views), []
    for ratio in spec.ratios(method):
        budget = Keep(1 - ratio, "global" if method == "global" else "layer")
        plan = strategy.plan(views, budget, rng=rng(spec.train.seed, "prune"))
        apply_plan_(model.named_parameters(), plan)
        kept = total - plan.n_parameters + _kept(plan, spec)
        rows.append({"ratio": ratio, "pruned": 1 - kept / total, **accuracy.of(model)})
        _restore(model, before)
    return {key: [row[key] for row in rows] for key in rows[0]}


def _kept(plan: PruningPlan, spec: specs.MeasureSpec) -> int:
    """Numbers kept; singular values themselves are not among them in the authors' code."""
    values = sum(layer.n_kept for layer in plan.layers if layer.axis == "singular_value")
    return plan.n_parameters_kept - (values if spec.convention == "authors-code" else 0)


class _Accuracy:
    """Accuracies on the examples that a specification asks for."""

    def __init__(self, spec: specs.MeasureSpec, data: Dataset, device: str) -> None:
        self._splits = {
            split: tuple(torch.from_numpy(part[:count].copy()).to(device) for part in (x, y))
            for split, x, y, count in (
                ("test", data.x_test, data.y_test, spec.test_examples),
                ("train", data.x_train, data.y_train, spec.train_examples),
            )
            if count is None or count > 0
        }

    def of(self, model: torch.nn.Module) -> dict[str, float]:
        return {
            f"{split}_accuracy": evaluate(model, x, y)["accuracy"]
            for split, (x, y) in self._splits.items()
        }


def layer_law_stage(spec: specs.LayerLawSpec, run: Run) -> Result:
    """Compare the largest convolution's weights with one another and with a stable law.

    The stable law has the layer's estimated tail index and the weights' interquartile range.

    Gives stopped, name, alpha, scale, n; edges and counts of the histograms: of a random half of
    the weights, of the other, of the first and the second half of the filters, of all, and
    of as many stable numbers; and Kolmogorov-Smirnov distances (and p-values) of those
    halves, and of the weights from the stable law and the normal laws of the same
    interquartile range and of the same standard deviation; and of as many layers of Gaussian
    weights as asked for the tail index, and how much nearer than the normal law of their
    quartiles the stable law is (`gaussian_alphas`, `gaussian_gains`).
    """
    trained = run.result(spec.train)
    if not trained["stopped"]:
        return {"stopped": False, "reason": trained["reason"]}
    views = views_of(averaged_network(spec.train, run).named_parameters())
    found = [view for view in views if view.taps > 1] or list(views[:-1])
    view = max(found, key=lambda view: view.matrix.size)
    estimate = _alpha(spec, view)
    alpha = 2.0 if estimate is None else estimate
    weights = view.matrix.astype(np.float64).ravel() - float(np.median(view.matrix))
    laws = _laws(weights, alpha)
    law = laws["stable"]
    alphas, gains = zip(*_gaussian_layers(spec, view), strict=True)
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
    tests = {"halves": ks_2samp(one, other), "filters": ks_2samp(first, second)}
    return {
        "stopped": True,
        "name": view.name,
        "alpha": alpha,
        "scale": law.scale,
        "gaussian_alphas": list(alphas),
        "gaussian_gains": list(gains),
        "n": weights.size,
        "edges": edges.tolist(),
        "counts": {key: np.histogram(x, edges)[0].tolist() for key, x in samples.items()},
        "distances": {
            **{key: float(test.statistic) for key, test in tests.items()},
            **{key: distance(weights, law) for key, law in laws.items()},
        },
        "p_values": {key: float(test.pvalue) for key, test in tests.items()},
    }


def _laws(weights: NDArray[np.float64], alpha: float) -> dict[str, StableLaw]:
    """Laws with the quartiles of centred weights, and the normal law of their deviation."""
    low, high = np.quantile(weights, (0.25, 0.75))
    scales = [float(high - low) / (2 * float(StableLaw(a).ppf(0.75))) for a in (alpha, 2.0)]
    return {
        "stable": StableLaw(alpha, scales[0]),
        "normal_quartiles": StableLaw(2.0, scales[1]),
        "normal_deviation": StableLaw(2.0, float(weights.std()) / math.sqrt(2)),
    }


def _gaussian_layers(spec: specs.LayerLawSpec, view: WeightView) -> Iterator[tuple[float, float]]:
    """Tail indices of Gaussian layers of a shape, and what the stable law gains there."""
    for draw in range(spec.gaussian_draws):
        generator = rng(spec.seed, "gaussian layer", draw)
        layer = replace(view, matrix=generator.standard_normal(view.matrix.shape))
        alpha = _estimate(tail_vectors(layer), generator)
        alpha = 2.0 if alpha is None else alpha
        weights = layer.matrix.ravel() - np.median(layer.matrix)
        laws = _laws(weights, alpha)
        gain = distance(weights, laws["normal_quartiles"]) - distance(weights, laws["stable"])
        yield alpha, gain


def distance(x: NDArray[np.float64], law: StableLaw) -> float:
    """Kolmogorov-Smirnov distance of a sample from a law."""
    values = law.cdf(np.sort(x))
    steps = np.arange(x.size + 1) / x.size
    return float(max((steps[1:] - values).max(), (values - steps[:-1]).max()))


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None


def count_stage(spec: specs.CountSpec, run: Run) -> Result:
    """Count the parameters of an untrained network."""
    del run
    architecture = Architecture(spec.net, spec.shape, spec.n_outputs, spec.width)
    model = build(architecture, generator=torch.Generator().manual_seed(0))
    return {"n_parameters": sum(parameter.numel() for parameter in model.parameters())}


def gaussian_tail_stage(spec: specs.GaussianTailSpec, run: Run) -> Result:
    """Estimate tail indices of networks of Gaussian weights.

    Gives alphas (of each draw, the mean of the layers') and layers (name and alphas of each).
    """
    architecture = Architecture(spec.net, spec.shape, spec.n_outputs, spec.width)
    model = build(architecture, generator=torch.Generator().manual_seed(0))
    layers: list[Result] = []
    for view in views_of(model.named_parameters()):
        shape, found = tail_vectors(view).shape, []
        for draw in range(spec.draws):
            run.on_step(draw)
            generator = rng(spec.seed, "gaussian", view.name, draw)
            found.append(_estimate(generator.standard_normal(shape), generator))
        layers.append({"name": view.name, "alphas": found})
    networks = zip(*(layer["alphas"] for layer in layers), strict=True)
    return {"alphas": [_mean(network) for network in networks], "layers": layers}


def synthetic_stage(spec: specs.SyntheticSpec, run: Run) -> Result:
    """Draw matrices whose entries depend on each other to three degrees; prune each.

    Gives alpha of each draw, and the largest prunable shares: `independent` (entries are), columns
    (independent isotropic columns), layer (one isotropic vector of all entries).
    """
    shares: dict[str, list[float]] = {"alpha": [], "independent": [], "columns": [], "layer": []}
    for i in range(spec.first, spec.first + spec.count):
        run.on_step(i - spec.first)
        alpha = float(rng(spec.seed, "alpha", i).uniform(spec.low, spec.high))
        entries = spec.size**2
        draws = {
            "independent": sample_symmetric(entries, alpha, rng(spec.seed, "independent", i)),
            # a row here is a column of the matrix, and pruning does not care
            "columns": sample_isotropic(spec.size, spec.size, alpha, rng(spec.seed, "columns", i)),
            "layer": sample_isotropic(1, entries, alpha, rng(spec.seed, "layer", i)),
        }
        shares["alpha"].append(alpha)
        for name, matrix in draws.items():
            shares[name].append(1 - kappa_p(matrix, spec.tolerance))
    return shares


def stable_vector_stage(spec: specs.StableVectorSpec, run: Run) -> Result:
    """Draw stable vectors, and normal ones to compare with.

    Gives edges and counts of |x| of the first vector; largest and median of it; top_share: of each
    vector, the share of the squared norm in the largest hundredth of the entries; and
    top_share_normal, the same of normal vectors.
    """
    del run
    x = np.abs(sample_symmetric((spec.draws, spec.size), spec.alpha, rng(spec.seed, "stable")))
    normal = np.abs(rng(spec.seed, "normal").standard_normal((spec.draws, spec.size)))
    counts, edges = np.histogram(x[0], spec.bins)
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "largest": float(x[0].max()),
        "median": float(np.median(x[0])),
        "top_share": _top_shares(x),
        "top_share_normal": _top_shares(normal),
    }


def _top_shares(x: NDArray[np.float64]) -> list[float]:
    squares = np.sort(x / x.max(axis=1, keepdims=True), axis=1) ** 2
    top = squares[:, -(squares.shape[1] // 100) :]
    return [float(share) for share in top.sum(axis=1) / squares.sum(axis=1)]


def rho_stage(spec: specs.RhoSpec, run: Run) -> Result:
    """Evaluate both curves of each epsilon, and where the first would be largest."""
    del run
    kappa = np.linspace(0, 1, spec.points)
    return {
        "kappa": kappa.tolist(),
        "rho": [rho_limit(eps, kappa).tolist() for eps in spec.epsilons],
        "upper": [rho_upper(eps, kappa).tolist() for eps in spec.epsilons],
        "peak": [rho_peak(eps) for eps in spec.epsilons],
    }
