"""What of a model can be pruned: its weights by name, and which of them are chosen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch

from prunable.errors import InputError
from prunable.nets.networks import effective
from prunable.nets.networks.file_roles import Known, parts_of
from prunable.nets.networks.module_roles import parts_of_module
from prunable.nets.networks.numbers import no_array, no_weights, packed_layers
from prunable.nets.networks.roles import Part, is_named_weight
from prunable.nets.networks.ties import ties_of
from prunable.nets.networks.usage import Use, uses_of
from prunable.nets.networks.views import WeightView, views_of
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import LayerPlan
from prunable.nets.prune.strategies.base import Strategy
from prunable.nets.prune.strategies.n_m import n_of_each_m
from prunable.nets.prune.strategies.node import NODE_AXES
from prunable.numerics.measure.network import Skipped

RUNNABLE = "left out, unless a module is pruned that can be run"


@dataclass(frozen=True)
class Weights:
    """Tensors of a model by name, tied ones once, and what they are."""

    named: Mapping[str, torch.Tensor]
    parts: Mapping[str, Part]
    computed: Collection[str]  # names of weights that the model computes from others
    unknown: Mapping[str, str]  # names of tensors that cannot be put together, and why
    odd: Mapping[str, str]  # names of what holds no plain numbers, and why

    def without_scores_of_tokens(self) -> Weights:
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

    def views(self, names: Sequence[str], strategy: Strategy) -> tuple[WeightView, ...]:
        """Some weights as a strategy sees them: for n of each m inputs a stack goes by experts."""
        parts = {name: self.parts[name] for name in names}
        if n_of_each_m(strategy) is not None:
            parts = {name: part.by_expert() for name, part in parts.items()}
        return views_of([(name, self.named[name]) for name in names], parts)

    def with_followers(self, layer: LayerPlan) -> LayerPlan:
        """The plan of a layer whose units go with their biases and rows of normalisations."""
        if layer.axis != "unit" or layer.fill is not None:
            return layer
        return replace(layer, followers=self.parts[layer.name].followers)

    @classmethod
    def of(
        cls,
        model: torch.nn.Module | Mapping[str, torch.Tensor],
        example: Any = None,
        find: Callable[[torch.nn.Module, Any, Collection[str]], Mapping[str, Use]] = uses_of,
    ) -> Weights:
        if isinstance(model, torch.nn.Module):
            named, odd = _plain(effective.named_weights(model))
            odd |= packed_layers(model)
            parts = parts_of_module(model, named, example, find)
            computed, unknown = list(effective.parametrized_names(model)), dict[str, str]()
        elif example is not None:
            raise InputError.parameter("example", "prune", RUNNABLE, type(model).__name__)
        else:
            tensors, odd = _plain({n: t for n, t in model.items() if isinstance(t, torch.Tensor)})
            merges = effective.merges_of({name: tuple(t.shape) for name, t in tensors.items()})
            computed, unknown = list(merges), effective.unmerged(list(tensors), merges)
            named = effective.merged(tensors, merges)
            shapes = {name: tuple(t.shape) for name, t in named.items()}
            parts = parts_of(shapes, Known(ties=ties_of(named)))
        single = {name: t for name, t in named.items() if parts[name].tied is None}
        return cls(single, parts, frozenset(computed), unknown, odd)

    def baked(
        self, model: torch.nn.Module | Mapping[str, torch.Tensor], names: Sequence[str]
    ) -> Weights:
        """The same with these computed weights as the model's own."""
        if isinstance(model, torch.nn.Module):
            effective.bake_(model, names)
        elif not isinstance(model, MutableMapping):
            wanted, got = "a mapping that can be changed", type(model).__name__
            raise InputError.parameter("model", "prune", wanted, got, "Give a dict.")
        else:
            tensors = {name: t for name, t in model.items() if isinstance(t, torch.Tensor)}
            merges = effective.merges_of({name: tuple(t.shape) for name, t in tensors.items()})
            others = {name: x for name, x in model.items() if name not in tensors}
            new = effective.merged(tensors, {name: merges[name] for name in names})
            model.clear()
            model.update(new | others)
        return Weights.of(model)


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


def selected(
    weights: Weights, axis: Axis, only: Sequence[str], exclude: Sequence[str]
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


def _left_alone(weights: Weights, name: str, axis: Axis) -> str | None:
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
