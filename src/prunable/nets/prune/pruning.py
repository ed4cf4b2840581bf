"""Plan, apply, count: pruning of a model, or of a checkpoint without its model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from prunable.errors import InputError
from prunable.nets.calibration.calibrating import Calibration, calibrate, measured_errors
from prunable.nets.calibration.stages import InOrder
from prunable.nets.networks.effective import (
    bake_,
    merged,
    merges_of,
    named_weights,
    parametrized_names,
    unmerged,
)
from prunable.nets.networks.file_roles import Known, parts_of
from prunable.nets.networks.module_roles import parts_of_module
from prunable.nets.networks.numbers import no_array, no_weights, packed_layers
from prunable.nets.networks.parametrized import copied
from prunable.nets.networks.roles import Part, is_named_weight
from prunable.nets.networks.ties import ties_of
from prunable.nets.networks.views import to_numpy, views_of
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.coupled import plan_units
from prunable.nets.prune.in_order import Ordered
from prunable.nets.prune.layer_outputs import LayerOutput, outputs_of_plan
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Budget, LayerPlan, PruningPlan
from prunable.nets.prune.strategies import Strategy
from prunable.nets.prune.strategies.node import NODE_AXES, NodePruning
from prunable.nets.prune.strategies.units import UnitPruning
from prunable.numerics.measure.network import Skipped
from prunable.numerics.parallel import each
from prunable.numerics.randomness import rng
from prunable.results import Result

RUNNABLE = "left out, unless a module is pruned that can be run"


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

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [layer.to_dict() for layer in self.plan.layers]


def prune(
    model: torch.nn.Module | Mapping[str, torch.Tensor],
    strategy: Strategy,
    budget: Budget,
    *,
    only: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    dry_run: bool = False,
    example: Any = None,
    inputs: Any = None,
    calibration: Any = None,
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
    that score the tokens of an embedding are left alone then.

    `only` and `exclude` are names of parameters, or patterns with * and ?; exclusion wins. Left
    alone, with the reason in the result, are embeddings and what is no weight matrix, such as
    tables of positions, or may be none; by strategies that remove units or inputs also the layers
    whose units are the network's outputs, or may be. A name in `only`, or a pattern that fits
    nothing else, says otherwise. A removed unit goes with its bias and its row of the BatchNorm
    that follows. Weights that the model computes from others, as under weight normalisation, are
    pruned as what is computed, and become parameters of their own. `seed` is for strategies that
    draw; `force` lets a layer be pruned to nothing.

    Raises InputError if a pattern fits no weight matrix, weights are not finite, the budget does
    not suit the strategy, or a layer would be pruned to nothing. Then nothing is changed.
    """
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
    weights = _Weights.of(model, example)
    if calibration is not None:
        weights = weights.without_scores_of_tokens()
    chosen, skipped = _selected(weights, strategy.axis, only, exclude)
    views = views_of([(name, weights.named[name]) for name in chosen], weights.parts)
    if isinstance(calibration, InOrder):
        return _prune_in_order(
            model, strategy, budget, weights, chosen, calibration, skipped, seed, force, dry_run
        )
    known = None if calibration is None else _calibrated(model, calibration, chosen)
    views = views if known is None else known.seen(views)
    plan = strategy.plan(views, budget, rng=rng(seed, "prune"))
    plan = replace(plan, layers=tuple(_with_followers(x, weights.parts) for x in plan.layers))
    if not force:
        check_not_emptied([x.name for x in plan.layers if x.n_kept == 0], "The budget")
    outputs: tuple[LayerOutput, ...] = ()
    if known is not None:
        assert isinstance(model, torch.nn.Module)
        measure = partial(measured_errors, model, batches=known.batches)
        outputs = outputs_of_plan(plan, views, weights.named, measure)
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
    return PruningResult(plan, size, before, after, skipped, baked, outputs, unreached)


def _calibrated(model: Any, calibration: Any, names: Collection[str]) -> Calibration:
    if isinstance(calibration, Calibration):
        return calibration
    if not isinstance(model, torch.nn.Module):
        raise InputError.parameter("calibration", "prune", RUNNABLE, type(model).__name__)
    return calibrate(model, calibration, only=names)


def _prune_in_order(
    model: Any,
    strategy: Strategy,
    budget: Budget,
    weights: _Weights,
    chosen: Sequence[str],
    given: InOrder,
    skipped: tuple[Skipped, ...],
    seed: int,
    force: bool,
    dry_run: bool,
) -> PruningResult:
    """Prune layer by layer, each calibrated on what those before it have become."""
    if not isinstance(model, torch.nn.Module):
        raise InputError.parameter("calibration", "prune", RUNNABLE, type(model).__name__)
    baked = tuple(name for name in chosen if name in weights.computed)
    if dry_run:
        model = copied(model)
        weights = _Weights.of(model)
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
    size = sum(p.numel() for p in weights.named.values())
    return PruningResult(
        done.plan,
        size,
        before,
        _nonzero(weights.named),
        skipped,
        baked,
        done.outputs,
        done.unreached,
    )


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


@dataclass(frozen=True)
class _Weights:
    """Tensors of a model by name, tied ones once, and what they are."""

    named: Mapping[str, torch.Tensor]
    parts: Mapping[str, Part]
    computed: Collection[str]  # names of weights that the model computes from others
    unknown: Mapping[str, str]  # names of tensors that cannot be put together, and why
    odd: Mapping[str, str]  # names of what holds no plain numbers, and why

    def without_scores_of_tokens(self) -> _Weights:
        """The same where what scores tokens is known, of the shape of the tokens' embedding."""
        tables = {
            self.named[name].shape for name in self.named if self.parts[name].kind == "embedding"
        }
        marked = {
            name: replace(part, doubt="it scores the tokens of an embedding")
            for name, part in self.parts.items()
            if part.role == "output" and name in self.named and self.named[name].shape in tables
        }
        return replace(self, parts={**self.parts, **marked})

    @classmethod
    def of(
        cls, model: torch.nn.Module | Mapping[str, torch.Tensor], example: Any = None
    ) -> _Weights:
        if isinstance(model, torch.nn.Module):
            named, odd = _plain(named_weights(model))
            odd |= packed_layers(model)
            parts = parts_of_module(model, named, example)
            computed, unknown = list(parametrized_names(model)), dict[str, str]()
        elif example is not None:
            raise InputError.parameter("example", "prune", RUNNABLE, type(model).__name__)
        else:
            tensors, odd = _plain({n: t for n, t in model.items() if isinstance(t, torch.Tensor)})
            merges = merges_of({name: tuple(t.shape) for name, t in tensors.items()})
            computed, unknown = list(merges), unmerged(list(tensors), merges)
            named = merged(tensors, merges)
            shapes = {name: tuple(t.shape) for name, t in named.items()}
            parts = parts_of(shapes, Known(ties=ties_of(named)))
        single = {name: t for name, t in named.items() if parts[name].tied is None}
        return cls(single, parts, frozenset(computed), unknown, odd)

    def baked(
        self, model: torch.nn.Module | Mapping[str, torch.Tensor], names: Sequence[str]
    ) -> _Weights:
        """The same with these computed weights as the model's own."""
        if isinstance(model, torch.nn.Module):
            bake_(model, names)
        elif not isinstance(model, MutableMapping):
            wanted, got = "a mapping that can be changed", type(model).__name__
            raise InputError.parameter("model", "prune", wanted, got, "Give a dict.")
        else:
            tensors = {name: t for name, t in model.items() if isinstance(t, torch.Tensor)}
            merges = merges_of({name: tuple(t.shape) for name, t in tensors.items()})
            others = {name: x for name, x in model.items() if name not in tensors}
            new = merged(tensors, {name: merges[name] for name in names})
            model.clear()
            model.update(new | others)
        return _Weights.of(model)


def _plain(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors that are arrays, and why some are no weights: all others, and those by name."""
    whole = {name: tensor for name, tensor in tensors.items() if no_array(tensor) is None}
    odd = {
        name: reason
        for name, tensor in tensors.items()
        if (reason := no_weights(tensor)) is not None
        and (name not in whole or (tensor.ndim > 1 and is_named_weight(name)))
    }
    return whole, odd


def _selected(
    weights: _Weights, axis: Axis, only: Sequence[str], exclude: Sequence[str]
) -> tuple[list[str], tuple[Skipped, ...]]:
    """Names of the matrices to prune, and those that are left alone."""
    matrices = [
        name
        for name, p in weights.named.items()
        if p.ndim >= 2 and p.is_floating_point() and p.numel()
    ]
    odd = [Skipped(name, reason) for name, reason in weights.odd.items()]
    if not matrices:
        reasons = "; ".join(f"{x.name}: {x.reason}" for x in odd[:3]) or "it has no parameters"
        raise InputError(f"`prune` finds no weight matrix in the model ({reasons}).")
    for pattern in only:
        if pattern in weights.odd:
            raise InputError(f"`{pattern}` cannot be pruned: {weights.odd[pattern]}.")
    for option, patterns in (("only", only), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in matrices):
                known = ", ".join(matrices[:8]) or "none"
                raise InputError.parameter(
                    option, "prune", "the name of a weight matrix", pattern, f"There are: {known}."
                )
    alone = {name: _left_alone(weights, name, axis) for name in matrices}
    for pattern in only:
        fitting = [name for name in matrices if fnmatchcase(name, pattern)]
        if pattern in fitting or all(alone[name] for name in fitting):
            named = [pattern] if pattern in fitting else fitting
            alone |= {name: None for name in named if name not in weights.unknown}
    wanted = [
        name
        for name in matrices
        if any(fnmatchcase(name, x) for x in only)
        and not any(fnmatchcase(name, x) for x in exclude)
    ]
    if not wanted:
        raise InputError("`exclude` of `prune` leaves no weight matrix to prune.")
    chosen = [name for name in wanted if alone[name] is None]
    skipped = [Skipped(name, reason) for name in wanted if (reason := alone[name]) is not None]
    if not chosen:
        reasons = "; ".join(f"{x.name}: {x.reason}" for x in skipped[:3])
        raise InputError(
            f"There is nothing to prune unless it is named ({reasons}). Name what to prune in "
            "`only`."
        )
    tied = [
        Skipped(name, f"tied: it has the numbers of {part.tied}")
        for name, part in weights.parts.items()
        if part.tied in wanted
    ]
    return chosen, (*skipped, *tied, *odd)


def _left_alone(weights: _Weights, name: str, axis: Axis) -> str | None:
    """Why a matrix is not pruned unless it is named."""
    part = weights.parts[name]
    if name in weights.unknown:
        return weights.unknown[name]
    if part.reason is not None:
        return part.reason
    if part.kind == "embedding":
        return "embedding"
    if part.doubt is not None:
        return part.doubt
    if axis == "unit" and part.role == "output":
        return "its units are the network's outputs"
    if axis in NODE_AXES and part.role == "unknown":
        return "it cannot be told whether its units are outputs"
    return None


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
    names = {name for layer in plan.layers for name in (layer.name, *layer.followers)}
    members = (m for group in plan.groups for m in group.group.members)
    names |= {member.parameter for member in members if not member.buffer}
    copies = {name: named[name].detach().clone() for name in names}
    before = _nonzero(copies)
    apply_plan_(copies.items(), plan)
    return before - _nonzero(copies)
