"""Plan, apply, count: pruning of a model, or of a checkpoint without its model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch

from prunable.arguments import checked
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
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.calibrated_units import ReadUnits, fitted_units, views_of_units
from prunable.nets.prune.counting import counts_around, nonzero
from prunable.nets.prune.coupled import plan_units
from prunable.nets.prune.finishing import Finishing, biases_of
from prunable.nets.prune.in_order import Ordered
from prunable.nets.prune.layer_outputs import LayerOutput, outputs_of_plan
from prunable.nets.prune.losses import division_of, settled
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.recalibration import Recalibration, recalibrate_, statistics_of
from prunable.nets.prune.selecting import RUNNABLE, Weights, selected
from prunable.nets.prune.strategies import (
    BrainSurgery,
    CalibratedPruning,
    InputWeightedPruning,
    Strategy,
)
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.prune.strategies.units import UnitPruning
from prunable.nets.prune.towards_network import check_reconstructs, corrected_bias, prune_in_turn_
from prunable.numerics.measure.network import Skipped
from prunable.numerics.randomness import rng
from prunable.results import Result


@dataclass(frozen=True)
class PruningResult(Result):
    """What was pruned, in the model itself: its numbers, and those that are not zero.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(20, 10)
    >>> magnitude, half = prunable.strategies.MagnitudePruning(), prunable.budgets.Keep(0.5)
    >>> pruned = prunable.prune(net, magnitude, half)
    >>> pruned
    PruningResult(1 layer pruned, 110 of 210 numbers are not zero)
    >>> pruned.to_dict()["n_nonzero"], pruned.corrected
    (110, ())
    """

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
        n = len(self.plan.layers)
        return f"PruningResult({n} layer{'s' * (n > 1)} pruned, {kept})"

    @property
    def corrected(self) -> tuple[str, ...]:
        """Biases that took the mean of what outputs lost."""
        return tuple(layer.bias[0] for layer in self.plan.layers if layer.bias is not None)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the biases that were corrected."""
        return {**super().to_dict(), "corrected": list(self.corrected)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [layer.to_dict() for layer in self.plan.layers]


@checked("prune")
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
    the parameters that no layer of torch holds. With `calibration` the layers that lose units, or
    inputs, are fitted in order to the outputs of the dense network, and `UnitPruning(of=...)` may
    go by what readers lose.

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

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    >>> magnitude, half = prunable.strategies.MagnitudePruning(), prunable.budgets.Keep(0.5)
    >>> pruned = prunable.prune(net, magnitude, half)
    >>> [int((net[i].weight != 0).sum()) for i in (0, 2)]
    [256, 64]
    >>> inputs = torch.randn(200, 8)  # unlabelled
    >>> again = prunable.prune(net, prunable.budgets.Keep(0.25, "global"), calibration=inputs)
    >>> again.plan.kappa
    0.25
    """
    strategy, budget = _asked(strategy, budget, calibration)
    usual = isinstance(strategy, CalibratedPruning)
    if usual and calibration is not None and not isinstance(calibration, InOrder | Calibration):
        calibration = InOrder(calibration, towards="network")
    units = isinstance(strategy, UnitPruning) or strategy.axis == "unit"
    if example is not None and units:
        wanted = "left out with an example: of coupled units one of each group stays"
        require(not force, "force", "prune", wanted, force)
        options = {"only": only, "exclude": exclude, "inputs": inputs}
        steps = {"bias_correction": bias_correction, "recalibrate": recalibrate}
        how = (options, calibration, steps, seed, dry_run)
        return _prune_units(model, strategy, budget, example, *how)
    if inputs is not None:
        wanted = "left out, unless units of a module are pruned with an example"
        raise InputError.parameter("inputs", "prune", wanted, type(inputs).__name__)
    weights = Weights.of(model, example)
    if calibration is not None:
        weights = weights.without_scores_of_tokens()
    chosen, skipped = selected(weights, strategy.axis, only, exclude)
    ordered = calibration if isinstance(calibration, InOrder) else None
    layerwise = ordered is not None and ordered.towards == "layer"
    finishing = Finishing.of(
        model,
        chosen,
        calibrated=calibration is not None,
        usual=usual,
        bias_correction=False if layerwise and bias_correction is None else bias_correction,
        recalibrate=recalibrate,
    )
    views = weights.views(chosen, strategy)
    known = None
    if calibration is not None:
        if not isinstance(model, torch.nn.Module):
            raise InputError.parameter("calibration", "prune", RUNNABLE, type(model).__name__)
        if ordered is None:
            known = _calibrated(model, calibration, chosen)
        elif division_of(strategy) is not None:
            known = _calibrated(model, ordered.inputs, chosen)
            ordered = replace(ordered, inputs=known.batches)
    if known is not None:
        views = known.seen(views)
        strategy = settled(strategy, views, budget, model, known.batches, finishing.recalibrate)
    what = (model, weights, chosen, skipped, views)
    job = _Job(*what, strategy, budget, finishing, seed, force, dry_run)
    if ordered is None:
        return job.alone(known)
    return job.in_order(ordered) if layerwise else job.towards_network(ordered)


@dataclass(frozen=True, eq=False)
class _Job:
    """One pruning of weights: of what, how, and what is done beside."""

    model: Any
    weights: Weights
    chosen: Sequence[str]
    skipped: tuple[Skipped, ...]
    views: Sequence[WeightView]
    strategy: Strategy
    budget: Budget
    finishing: Finishing
    seed: int
    force: bool
    dry_run: bool

    @property
    def baked(self) -> tuple[str, ...]:
        """Weights that become parameters of their own."""
        return tuple(name for name in self.chosen if name in self.weights.computed)

    def alone(self, known: Calibration | None) -> PruningResult:
        """Prune all layers by what is known of the dense network."""
        plan = self.strategy.plan(self.views, self.budget, rng=rng(self.seed, "prune"))
        plan = self._whole(plan)
        if known is None:
            return self._applied(plan)
        measure = partial(measured_errors, self.model, batches=known.batches)
        outputs = outputs_of_plan(plan, self.views, self.weights.named, measure)
        if self.finishing.biases:
            plan = _with_biases(self.model, plan, self.views)
        again = partial(recalibrate_, self.model, known.batches)
        unreached = tuple(view.name for view in self.views if not view.seen)
        return self._applied(plan, again, outputs, unreached)

    def in_order(self, given: InOrder) -> PruningResult:
        """Prune layer by layer, each calibrated on what those before it have become."""
        wanted = "left out in order, unless it is `InOrder(towards='network')`"
        require(not self.finishing.biases, "bias_correction", "prune", wanted, True)
        model, weights = self.model, self.weights
        if self.dry_run:
            model = copied(model)
            weights = Weights.of(model)
        if self.baked:
            weights = weights.baked(model, self.baked)
        before = nonzero(weights.named)
        what = (weights, self.chosen, self._check)
        done = Ordered(model, self.strategy, self.budget, self.seed, *what).prune_(given)
        statistics = None
        if self.finishing.recalibrate:
            statistics = recalibrate_(model, batches_of(model, given.inputs, given.chunk))
        found = (done.outputs, done.unreached, statistics)
        after = nonzero(weights.named)
        return self._result(done.plan, before, after, *found)

    def towards_network(self, given: InOrder) -> PruningResult:
        """Prune layer by layer, each fitted to what the dense network gives, on what it gets."""
        check_reconstructs(self.strategy)
        ran = copied(self.model)
        bake_(ran, self.baked)
        with uncached(ran):
            plan, outputs = prune_in_turn_(
                ran,
                batches_of(ran, given.inputs, given.chunk),
                self.views,
                self.strategy,
                self.budget,
                rng=rng(self.seed, "prune"),
                finishing=self.finishing,
                on_layer=given.on_stage,
            )
        reached = {output.name for output in outputs}
        unreached = tuple(name for name in self.chosen if name not in reached)
        # statistics are those that layers were fitted with
        again = partial(statistics_of, ran, self.model)
        return self._applied(self._whole(plan), again, outputs, unreached)

    def _whole(self, plan: PruningPlan) -> PruningPlan:
        """The plan with what goes with units; InputError if a layer would be pruned to nothing."""
        layers = tuple(map(self.weights.with_followers, plan.layers))
        self._check([layer.name for layer in layers if layer.n_kept == 0])
        return replace(plan, layers=layers)

    def _check(self, gone: Sequence[str]) -> None:
        if not self.force:
            check_not_emptied(gone, "The budget")

    def _applied(
        self,
        plan: PruningPlan,
        again: Callable[[], Recalibration] | None = None,
        outputs: tuple[LayerOutput, ...] = (),
        unreached: tuple[str, ...] = (),
    ) -> PruningResult:
        """Change the model by a plan, and then its statistics, unless it is only tried."""
        counts = counts_around(self.weights.named, plan, self.dry_run, self._own)
        taken = self.finishing.recalibrate and not self.dry_run
        statistics = again() if taken and again is not None else None
        return self._result(plan, *counts, outputs, unreached, statistics)

    def _own(self) -> Mapping[str, torch.Tensor]:
        """The weights, all of them the model's own from now on."""
        return (self.weights.baked(self.model, self.baked) if self.baked else self.weights).named

    def _result(self, plan: PruningPlan, before: int, after: int, *found: Any) -> PruningResult:
        size = sum(p.numel() for p in self.weights.named.values())
        return PruningResult(plan, size, before, after, self.skipped, self.baked, *found)


def _asked(
    strategy: Strategy | Budget, budget: Budget | None, calibration: Any
) -> tuple[Strategy, Budget]:
    """The strategy and the budget; the usual strategy where a budget stands in its place."""
    if not isinstance(strategy, Budget):
        require(budget is not None, "budget", "prune", "given beside a strategy", None)
        assert budget is not None
        return strategy, budget
    wanted = "left out after a budget; a strategy stands before its budget"
    require(budget is None, "budget", "prune", wanted, budget)
    if calibration is None:
        raise InputError(
            "`strategy` of `prune` may only be left out with `calibration`: unlabelled inputs."
        )
    return CalibratedPruning(), strategy


def _calibrated(model: Any, calibration: Any, names: Collection[str]) -> Calibration:
    if isinstance(calibration, Calibration):
        return calibration
    return calibrate(model, calibration, only=names)


def _with_biases(model: Any, plan: PruningPlan, views: Sequence[WeightView]) -> PruningPlan:
    """The plan with biases that take the means of what outputs lose."""
    biases = biases_of(model, [view.name for view in views if view.seen])
    parameters = dict(model.named_parameters())
    layers = (
        corrected_bias(layer, view, biases[view.name], parameters[biases[view.name]])
        if view.name in biases and layer.n_kept < layer.n_total
        else layer
        for layer, view in zip(plan.layers, views, strict=True)
    )
    return replace(plan, layers=tuple(layers))


def _prune_units(
    model: torch.nn.Module | Mapping[str, torch.Tensor],
    strategy: Strategy,
    budget: Budget,
    example: Any,
    options: Mapping[str, Any],
    calibration: Any,
    steps: Mapping[str, bool | None],
    seed: int,
    dry_run: bool,
) -> PruningResult:
    """Prune coupled units of a model that can be run; with inputs all that is left makes up."""
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
    given = calibration is not None
    readers = views_of_units(plain) if given else ()
    names = [view.name for view in readers]
    finishing = Finishing.of(plain, names, calibrated=given, usual=given, **steps)
    known = _calibrated(plain, calibration, names) if given else None
    if known is not None and isinstance(strategy.of, InputWeightedPruning | BrainSurgery):
        strategy = ReadUnits(**vars(strategy), views=known.seen(readers))
    plan, left = plan_units(plain, strategy, budget, example, rng=rng(seed, "prune"), **options)
    named = dict(plain.named_parameters())
    outputs: tuple[LayerOutput, ...] = ()
    ran = plain
    if known is not None:
        ran = copied(plain)
        draw = rng(seed, "prune", "units")
        plan, outputs = fitted_units(ran, known.batches, plan, finishing, draw)

    def own() -> Mapping[str, torch.Tensor]:
        bake_(model, baked)
        return dict(model.named_parameters())

    before, after = counts_around(named, plan, dry_run, own)
    skipped = tuple(Skipped(one.name, one.reason) for one in left)
    size = sum(p.numel() for p in named.values())
    again = finishing.recalibrate and not dry_run
    statistics = statistics_of(ran, model) if again else None
    found = (plan, size, before, after, skipped, baked, outputs)
    return PruningResult(*found, recalibrated=statistics)


def check_not_emptied(gone: Sequence[str], what: str) -> None:
    """Raise InputError if there are layers of which `what` leaves nothing."""
    if gone:
        raise InputError(
            f"{what} leaves nothing of {', '.join(gone)}. Keep more, exclude "
            f"{'it' if len(gone) == 1 else 'them'}, or force it."
        )
