"""Layers pruned one after the other, each on what those pruned before it send."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.nets.calibration.calibrating import layers_of, root_mean_squares
from prunable.nets.calibration.in_turn import Turn, in_turn
from prunable.nets.calibration.layers import batch_of_layer, outputs_of
from prunable.nets.networks.examples import Example
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.finishing import Finishing
from prunable.nets.prune.layer_outputs import LayerOutput
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Budget, Keep, LayerPlan, PruningPlan, candidates
from prunable.nets.prune.strategies import BrainSurgery, CalibratedPruning, Refitted, Strategy
from prunable.nets.prune.strategies.base import layer_of
from prunable.nets.prune.strategies.calibrated import counts_of
from prunable.nets.prune.strategies.n_m import fits_pattern, n_of_each_m
from prunable.numerics.reconstruction.gram import Gram


def check_reconstructs(strategy: Strategy) -> None:
    """Raise InputError unless a strategy reconstructs outputs, of which the dense ones are aims."""
    if not isinstance(strategy, CalibratedPruning | BrainSurgery | Refitted):
        raise InputError(
            f"`InOrder(towards='network')` has no effect on {type(strategy).__name__}, which "
            "leaves weights as they are. Leave it out, or refit them: Refitted(strategy)."
        )


def prune_in_turn_(
    model: torch.nn.Module,
    batches: Sequence[Example],
    views: Sequence[WeightView],
    strategy: Strategy,
    budget: Budget,
    *,
    rng: np.random.Generator,
    finishing: Finishing,
    on_layer: Callable[[int, int, str], None] | None = None,
) -> tuple[PruningPlan, tuple[LayerOutput, ...]]:
    """Prune layers in the order in which inputs reach them, in place.

    Budgets of all layers together are shared once, before. Each layer is fitted to the outputs of
    the dense one. Layers that no input reaches lose their smallest weights. Biases and BatchNorm
    statistics change on the way as `finishing` says. If something is wrong with the inputs, the
    model is left half pruned.
    """
    budgets = _budgets(model, batches, views, strategy, budget, rng)
    by_name = {view.name: view for view in views}
    plans: dict[str, LayerPlan] = {}
    outputs: list[LayerOutput] = []
    method = [""]

    def change(turn: Turn) -> None:
        view = by_name[turn.name]
        aim = turn.aim.centred() if turn.free_mean else turn.aim
        wanted = aim.best(view.matrix, view.name)
        seen = replace(view, matrix=wanted, gram=aim.inputs)
        plan = _plan(strategy, seen, budgets[view.name], rng)
        method[0] = method[0] or plan.method
        (layer,) = plan.layers
        values = np.where(layer.matrix_mask, wanted, 0.0) if layer.values is None else layer.values
        masked = np.where(layer.matrix_mask, view.matrix, 0.0)
        layer = replace(layer, values=values)
        bias = getattr(turn.module, "bias", None)
        if finishing.biases and bias is not None:
            layer = replace(layer, bias=_bias(turn, values, bias))
        plans[view.name] = layer
        alone = replace(layer, name="weight", bias=layer.bias and ("bias", layer.bias[1]))
        apply_plan_(turn.module.named_parameters(), PruningPlan(plan.method, budget, (alone,)))
        measured = _measured(turn)
        outputs.append(LayerOutput(view.name, aim.error(masked), aim.error(values), measured))
        if on_layer is not None:
            on_layer(len(outputs), len(views), view.name)

    names = layers_of(model, by_name)
    in_turn(
        model, batches, names, change, recalibrate=finishing.recalibrate, biases=finishing.biases
    )
    for view in views:
        if view.name not in plans:
            plans[view.name] = _by_weights(view, strategy, budgets[view.name], rng)
    asked = budget.kappa if isinstance(budget, Keep) and budget.scope == "layer" else None
    layers = tuple(replace(plans[view.name], kappa_asked=asked) for view in views)
    plan = PruningPlan(f"{method[0]} in order", budget, layers)
    apply_plan_(dict(model.named_parameters()).items(), plan)
    return plan, tuple(outputs)


def corrected_bias(layer: LayerPlan, view: WeightView, name: str, bias: torch.Tensor) -> LayerPlan:
    """The plan of a layer with the bias that keeps the mean of its outputs, for dense inputs."""
    means = view.means if view.gram is None else view.gram.means
    assert means is not None
    masked = np.where(layer.matrix_mask, view.matrix, 0.0)
    values = masked if layer.values is None else layer.values
    lost = _mean_outputs(view.matrix - values, means)
    return replace(layer, bias=(name, _numbers(bias) + lost))


def _bias(turn: Turn, values: NDArray[Any], bias: torch.Tensor) -> tuple[str, NDArray[np.float64]]:
    means = turn.aim.inputs.means
    assert means is not None
    lost = turn.aim.whole.means - _mean_outputs(values, means)
    return f"{turn.name.removesuffix('weight')}bias", _numbers(bias) + lost


def _mean_outputs(matrix: NDArray[Any], means: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.repeat(means, len(matrix) // len(means), axis=0)
    return np.asarray((matrix * rows).sum(axis=1))


def _numbers(bias: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(bias.detach().double().cpu().numpy())


def _budgets(
    model: torch.nn.Module,
    batches: Sequence[Example],
    views: Sequence[WeightView],
    strategy: Strategy,
    budget: Budget,
    rng: np.random.Generator,
) -> dict[str, Budget]:
    """What each layer is asked for by itself."""
    if not isinstance(budget, Keep) or budget.scope == "layer":
        return {view.name: budget for view in views}
    rms = root_mean_squares(model, layers_of(model, [view.name for view in views]), batches)
    seen = [replace(view, rms=rms.get(view.name, view.rms)) for view in views]
    kept = counts_of(strategy, seen, budget, rng=rng)
    sizes = [candidates(view.matrix.shape, view.taps, strategy.axis) for view in views]
    return {v.name: Keep(n / size) for v, n, size in zip(views, kept, sizes, strict=True)}


def _plan(
    strategy: Strategy, view: WeightView, budget: Budget, rng: np.random.Generator
) -> PruningPlan:
    pattern = n_of_each_m(strategy)
    if pattern is not None and not fits_pattern(view, pattern[1]):
        whole = layer_of(view, np.ones(view.matrix.size, dtype=np.bool_), 0.0)
        return PruningPlan("", budget, (whole,))
    return strategy.plan([view], budget, rng=rng)


def _by_weights(
    view: WeightView, strategy: Strategy, budget: Budget, rng: np.random.Generator
) -> LayerPlan:
    """The plan of a layer that no input reaches: that of inputs which are all alike."""
    width = view.matrix.shape[1]
    blank = Gram(np.eye(width)[None], 1)
    (layer,) = _plan(strategy, replace(view, gram=blank), budget, rng).layers
    return replace(layer, values=None)


@torch.no_grad()
def _measured(turn: Turn) -> float:
    """The relative error of a layer's outputs, by running it on both inputs."""
    module: Any = turn.module
    sent, dense = (batch_of_layer(module, x) for x in (turn.sent, turn.dense))
    apart = outputs_of(module, dense, turn.weight) - outputs_of(module, sent, module.weight)
    whole = outputs_of(module, dense, turn.weight)
    if turn.free_mean:
        axis = 1 if isinstance(module, torch.nn.modules.conv._ConvNd) else -1
        over = [i for i in range(whole.ndim) if i != axis % whole.ndim]
        apart, whole = (x - x.mean(over, keepdim=True) for x in (apart, whole))
    found, all_of_it = (float(x.double().square().sum()) for x in (apart, whole))
    if all_of_it <= 0:
        return math.inf if found > 0 else 0.0
    return math.sqrt(found / all_of_it)
