"""Plan, apply, count: pruning of a model, or of a checkpoint without its model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from prunable.errors import InputError, require
from prunable.nets.calibration.calibrating import (
    Calibration,
    batches_of,
    calibrate,
    measured_errors,
)
from prunable.nets.calibration.stages import InOrder
from prunable.nets.networks.effective import bake_, parametrized_names
from prunable.nets.networks.examples import uncached
from prunable.nets.networks.parametrized import copied
from prunable.nets.networks.roles import Part
from prunable.nets.networks.views import WeightView, to_numpy, views_of
from prunable.nets.prune.coupled import plan_units
from prunable.nets.prune.finishing import Finishing, biases_of
from prunable.nets.prune.in_order import Ordered
from prunable.nets.prune.layer_outputs import LayerOutput, outputs_of_plan
from prunable.nets.prune.losses import division_of, settled
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Budget, LayerPlan, PruningPlan
from prunable.nets.prune.recalibration import Recalibration, recalibrate_, statistics_of
from prunable.nets.prune.selecting import RUNNABLE, Weights, selected
from prunable.nets.prune.strategies import CalibratedPruning, Strategy
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.prune.strategies.units import UnitPruning
from prunable.nets.prune.towards_network import check_reconstructs, corrected_bias, prune_in_turn_
from prunable.numerics.measure.network import Skipped
from prunable.numerics.parallel import each
from prunable.numerics.randomness import rng
from prunable.results import Result


@dataclass(frozen=True)
class PruningResult(Result):
    """What was pruned, in the model itself: its numbers, and those that are not zero."""

    copied: ClassVar[bool] = False

    plan: PruningPlan
    n_parameters: int  # of the whole network, planned or not, tied ones once
    n_nonzero_before: int
    n_nonzero: int
    skipped: tuple[Skipped, ...] = ()  # matrices that were left alone, and why
    # weights that were computed from others, as under weight normalisation, and are parameters of
    # their own now
    baked: tuple[str, ...] = ()
    # of the layers that calibration inputs reach; none without calibration
    outputs: tuple[LayerOutput, ...] = ()
    unreached: tuple[str, ...] = ()  # of which calibration inputs tell nothing
    recalibrated: Recalibration | None = None  # of BatchNorm statistics on the calibration inputs

    def __repr__(self) -> str:
        kept = f"{self.n_nonzero:,} of {self.n_parameters:,} numbers are not zero"
        return f"PruningResult({len(self.plan.layers)} layers pruned, {kept})"

    @property
    def corrected(self) -> tuple[str, ...]:
        """Biases that took the mean of what outputs lost."""
        return tuple(layer.bias[0] for layer in self.plan.layers if layer.bias is not None)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the biases that were corrected."""
        return {**super().to_dict(), "corrected": list(self.corrected)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [layer.to_dict() for layer in self.plan.layers]


def prune(
    model: torch.nn.Module | Mapping[str, torch.Tensor],
    strategy: Strategy | Budget,
    budget: Budget | None = None,
    *,
    only: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    dry_run: bool = False,
    example: Any = None,
    inputs: Any = None,
    calibration: Any = None,
    bias_correction: bool | None = None,
    recalibrate: bool | None = None,
) -> PruningResult:
    """Prune a model in place, without a copy; tied parameters are pruned once.

    With an example, what the model is called with (a tensor, a tuple of arguments, or a mapping of
    named ones), strategies that remove units remove coupled ones, on any architecture: channels
    that are added up, concatenated or gated, depthwise layers, heads of attention, recurrent
    units, with their biases and rows of BatchNorm, and all that reads them; see `groups_of`. Half
    of the units then is half of those of every group, and `shrink` cuts them out. A `Target` of
    scope "sensitivity" needs `inputs`: unlabelled ones, a tensor of them or batches of whatever
    the model is called with. Other strategies run the example to tell weights from tables among
    the parameters that no layer of torch holds.

    `calibration` are unlabelled inputs, a tensor of them or batches of whatever the model is called
    with, or what `prunable.nets.calibration` made of them; with `InOrder(inputs)` each layer is
    pruned on what the pruned ones before it send, block by block where a network has blocks.
    Strategies that weigh inputs or reconstruct outputs need them; of every strategy that prunes
    layers by themselves the result then says by how much the outputs of each layer move. Layers
    that score the tokens of an embedding are left alone then. `bias_correction` puts the mean of
    what a layer's outputs lose into its bias, and `recalibrate` estimates BatchNorm statistics
    again, from the calibration inputs.

    `prune(model, budget, calibration=inputs)`, without a strategy, takes `CalibratedPruning()`;
    where inputs are given to it as they are, layers are pruned in order and towards the network,
    with both of these where they have an effect.

    `only` and `exclude` are names of parameters, or patterns with * and ?; exclusion wins. Left
    alone, with the reason in the result, are embeddings and what is no weight matrix, such as
    tables of positions, or may be none; by strategies that remove units or inputs also the layers
    whose units are the network's outputs, or may be. A name in `only`, or a pattern that fits
    nothing else, says otherwise. A removed unit goes with its bias and its row of the BatchNorm
    that follows. Weights that the model computes from others, as under weight normalisation, are
    pruned as what is computed, and become parameters of their own. `seed` is for strategies that
    draw; `force` lets a layer be pruned to nothing.

    Raises InputError if a pattern fits no weight matrix, weights are not finite, the budget does
    not suit the strategy, a layer would be pruned to nothing, or an option has no effect. Then
    nothing is changed.
    """
    strategy, budget = _asked(strategy, budget, calibration)
    usual = isinstance(strategy, CalibratedPruning)
    if usual and calibration is not None and not isinstance(calibration, InOrder | Calibration):
        calibration = InOrder(calibration, towards="network")
    units = isinstance(strategy, UnitPruning) or strategy.axis == "unit"
    if example is not None and units:
        if calibration is not None:
            wanted = "left out where coupled units are pruned"
            raise InputError.parameter("calibration", "prune", wanted, "inputs")
        if force:
            wanted = "left out with an example: of coupled units one of each group stays"
            raise InputError.parameter("force", "prune", wanted, force)
        options = {"only": only, "exclude": exclude, "inputs": inputs}
        return _prune_units(model, strategy, budget, example, options, seed, dry_run)
    if inputs is not None:
        wanted = "left out, unless units of a module are pruned with an example"
        raise InputError.parameter("inputs", "prune", wanted, type(inputs).__name__)
    weights = Weights.of(model, example)
    if calibration is not None:
        weights = weights.without_scores_of_tokens()
    chosen, skipped = selected(weights, strategy.axis, only, exclude)
    views = views_of([(name, weights.named[name]) for name in chosen], weights.parts)
    layerwise = isinstance(calibration, InOrder) and calibration.towards == "layer"
    finishing = Finishing.of(
        model,
        chosen,
        calibrated=calibration is not None,
        usual=usual,
        bias_correction=False if layerwise and bias_correction is None else bias_correction,
        recalibrate=recalibrate,
    )
    if isinstance(calibration, InOrder):
        if division_of(strategy) is not None:
            dense = _calibrated(model, calibration.inputs, chosen)
            calibration = replace(calibration, inputs=dense.batches)
            seen, again = dense.seen(views), finishing.recalibrate
            strategy = settled(strategy, seen, budget, model, dense.batches, again)
        job = (weights, chosen, calibration, finishing, skipped, seed, force, dry_run)
        towards = _prune_in_order if layerwise else _prune_towards_network
        return towards(model, strategy, budget, *job)
    known = None if calibration is None else _calibrated(model, calibration, chosen)
    if known is not None:
        views = known.seen(views)
        strategy = settled(strategy, views, budget, model, known.batches, finishing.recalibrate)
    plan = strategy.plan(views, budget, rng=rng(seed, "prune"))
    plan = replace(plan, layers=tuple(_with_followers(x, weights.parts) for x in plan.layers))
    if not force:
        check_not_emptied([x.name for x in plan.layers if x.n_kept == 0], "The budget")
    outputs: tuple[LayerOutput, ...] = ()
    if known is not None:
        assert isinstance(model, torch.nn.Module)
        measure = partial(measured_errors, model, batches=known.batches)
        outputs = outputs_of_plan(plan, views, weights.named, measure)
        if finishing.biases:
            plan = _with_biases(model, plan, views)
    before = _nonzero(weights.named)
    baked = tuple(layer.name for layer in plan.layers if layer.name in weights.computed)
    if dry_run:
        after = before - _lost(weights.named, plan)
    else:
        if baked:
            weights = weights.baked(model, baked)
        apply_plan_(weights.named.items(), plan)
        after = _nonzero(weights.named)
    size = sum(p.numel() for p in weights.named.values())
    unreached = () if known is None else tuple(x.name for x in views if x.gram is None)
    found = PruningResult(plan, size, before, after, skipped, baked, outputs, unreached)
    if finishing.recalibrate and not dry_run:
        assert isinstance(model, torch.nn.Module)
        assert known is not None
        return replace(found, recalibrated=recalibrate_(model, known.batches))
    return found


def _asked(
    strategy: Strategy | Budget, budget: Budget | None, calibration: Any
) -> tuple[Strategy, Budget]:
    """The strategy and the budget; the usual strategy where a budget stands in its place."""
    if not isinstance(strategy, Budget):
        require(budget is not None, "budget", "prune", "given beside a strategy", None)
        assert budget is not None
        return strategy, budget
    require(budget is None, "budget", "prune", "left out after a budget", budget)
    if calibration is None:
        raise InputError(
            "`strategy` of `prune` may only be left out with `calibration`: unlabelled inputs."
        )
    return CalibratedPruning(), strategy


def _calibrated(model: Any, calibration: Any, names: Collection[str]) -> Calibration:
    if isinstance(calibration, Calibration):
        return calibration
    if not isinstance(model, torch.nn.Module):
        raise InputError.parameter("calibration", "prune", RUNNABLE, type(model).__name__)
    return calibrate(model, calibration, only=names)


def _with_biases(model: Any, plan: PruningPlan, views: Sequence[WeightView]) -> PruningPlan:
    """The plan with biases that take the means of what outputs lose."""
    biases = biases_of(model, [view.name for view in views if view.gram is not None])
    parameters = dict(model.named_parameters())
    layers = (
        corrected_bias(layer, view, biases[view.name], parameters[biases[view.name]])
        if view.name in biases and layer.n_kept < layer.n_total
        else layer
        for layer, view in zip(plan.layers, views, strict=True)
    )
    return replace(plan, layers=tuple(layers))


def _prune_in_order(
    model: Any,
    strategy: Strategy,
    budget: Budget,
    weights: Weights,
    chosen: Sequence[str],
    given: InOrder,
    finishing: Finishing,
    skipped: tuple[Skipped, ...],
    seed: int,
    force: bool,
    dry_run: bool,
) -> PruningResult:
    """Prune layer by layer, each calibrated on what those before it have become."""
    if not isinstance(model, torch.nn.Module):
        raise InputError.parameter("calibration", "prune", RUNNABLE, type(model).__name__)
    wanted = "left out in order, unless it is `InOrder(towards='network')`"
    require(not finishing.biases, "bias_correction", "prune", wanted, True)
    baked = tuple(name for name in chosen if name in weights.computed)
    if dry_run:
        model = copied(model)
        weights = Weights.of(model)
    if baked:
        weights = weights.baked(model, baked)
    before = _nonzero(weights.named)
    job = Ordered(
        model,
        strategy,
        budget,
        weights.named,
        weights.parts,
        chosen,
        seed,
        lambda layer: _with_followers(layer, weights.parts),
        lambda gone: None if force else check_not_emptied(gone, "The budget"),
    )
    done = job.prune_(given)
    size, after = sum(p.numel() for p in weights.named.values()), _nonzero(weights.named)
    found = (done.plan, size, before, after, skipped, baked, done.outputs, done.unreached)
    statistics = None
    if finishing.recalibrate:
        statistics = recalibrate_(model, batches_of(model, given.inputs, given.chunk))
    return PruningResult(*found, recalibrated=statistics)


def _prune_towards_network(
    model: Any,
    strategy: Strategy,
    budget: Budget,
    weights: Weights,
    chosen: Sequence[str],
    given: InOrder,
    finishing: Finishing,
    skipped: tuple[Skipped, ...],
    seed: int,
    force: bool,
    dry_run: bool,
) -> PruningResult:
    """Prune layer by layer, each fitted to what the dense network gives, on what it really gets."""
    if not isinstance(model, torch.nn.Module):
        raise InputError.parameter("calibration", "prune", RUNNABLE, type(model).__name__)
    check_reconstructs(strategy)
    views = views_of([(name, weights.named[name]) for name in chosen], weights.parts)
    baked = tuple(name for name in chosen if name in weights.computed)
    ran = copied(model)
    bake_(ran, baked)
    with uncached(ran):
        plan, outputs = prune_in_turn_(
            ran,
            batches_of(ran, given.inputs, given.chunk),
            views,
            strategy,
            budget,
            rng=rng(seed, "prune"),
            finishing=finishing,
            on_layer=given.on_stage,
        )
    plan = replace(plan, layers=tuple(_with_followers(x, weights.parts) for x in plan.layers))
    if not force:
        check_not_emptied([x.name for x in plan.layers if x.n_kept == 0], "The budget")
    before = _nonzero(weights.named)
    reached = {output.name for output in outputs}
    unreached = tuple(name for name in chosen if name not in reached)
    size = sum(p.numel() for p in weights.named.values())
    if dry_run:
        after = before - _lost(weights.named, plan)
        return PruningResult(plan, size, before, after, skipped, baked, outputs, unreached)
    if baked:
        weights = weights.baked(model, baked)
    apply_plan_(weights.named.items(), plan)
    # statistics are those that layers were fitted with
    statistics = statistics_of(ran, model) if finishing.recalibrate else None
    found = (plan, size, before, _nonzero(weights.named), skipped, baked, outputs, unreached)
    return PruningResult(*found, recalibrated=statistics)


def _prune_units(
    model: torch.nn.Module | Mapping[str, torch.Tensor],
    strategy: Strategy,
    budget: Budget,
    example: Any,
    options: Mapping[str, Any],
    seed: int,
    dry_run: bool,
) -> PruningResult:
    """Prune coupled units of a model that can be run."""
    if isinstance(strategy, NodePruning) and strategy.axis == "unit":
        strategy = UnitPruning(strategy)
    if not isinstance(model, torch.nn.Module):
        raise InputError.parameter("example", "prune", RUNNABLE, type(model).__name__)
    if not isinstance(strategy, UnitPruning):
        wanted, got = "left out, or to be pruned by UnitPruning(...)", type(strategy).__name__
        raise InputError.parameter("example", "prune", wanted, got)
    plain = model
    baked = tuple(parametrized_names(model))
    if baked:
        plain = copied(model)
        bake_(plain, baked)
    plan, left = plan_units(plain, strategy, budget, example, rng=rng(seed, "prune"), **options)
    named = dict(plain.named_parameters())
    before = _nonzero(named)
    if dry_run:
        after = before - _lost(named, plan)
    else:
        if baked:
            bake_(model, baked)
        named = dict(model.named_parameters())
        apply_plan_(named.items(), plan)
        after = _nonzero(named)
    skipped = tuple(Skipped(one.name, one.reason) for one in left)
    size = sum(p.numel() for p in named.values())
    return PruningResult(plan, size, before, after, skipped, baked)


def check_not_emptied(gone: Sequence[str], what: str) -> None:
    """Raise InputError if there are layers of which `what` leaves nothing."""
    if gone:
        raise InputError(
            f"{what} leaves nothing of {', '.join(gone)}. Keep more, exclude "
            f"{'it' if len(gone) == 1 else 'them'}, or force it."
        )


def _with_followers(layer: LayerPlan, parts: Mapping[str, Part]) -> LayerPlan:
    """The plan of a layer whose units go with their biases and rows of normalisations."""
    if layer.axis != "unit" or layer.fill is not None:
        return layer
    return replace(layer, followers=parts[layer.name].followers)


def _nonzero(named: Mapping[str, torch.Tensor]) -> int:
    # NumPy counts several times faster
    return sum(each(lambda p: int(np.count_nonzero(to_numpy(p))), named.values()))


def _lost(named: Mapping[str, torch.Tensor], plan: PruningPlan) -> int:
    """Numbers that are not zero now and would be."""
    names = {name for layer in plan.layers for name in layer.parameters}
    members = (m for group in plan.groups for m in group.group.members)
    names |= {member.parameter for member in members if not member.buffer}
    copies = {name: named[name].detach().clone() for name in names}
    before = _nonzero(copies)
    apply_plan_(copies.items(), plan)
    return before - _nonzero(copies)
