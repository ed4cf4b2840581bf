"""Coupled units by what flows into their readers: which of them go, and what the others become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.nets.calibration.calibrating import layers_of
from prunable.nets.networks.examples import Example, uncached
from prunable.nets.networks.module_roles import parts_of_module
from prunable.nets.networks.views import WeightView, out_in, views_of
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.finishing import Finishing
from prunable.nets.prune.grouped import Group, kept_indices
from prunable.nets.prune.layer_outputs import LayerOutput
from prunable.nets.prune.plan import Budget, Keep, PruningPlan
from prunable.nets.prune.strategies import BrainSurgery, Refitted
from prunable.nets.prune.strategies.base import layer_of
from prunable.nets.prune.strategies.units import UnitPruning
from prunable.nets.prune.towards_network import prune_in_turn_
from prunable.numerics.reconstruction.refit import USUAL
from prunable.numerics.reconstruction.units import losses_of_units
from prunable.numerics.weights.compressibility import relative_error

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ReadUnits(UnitPruning):
    """Keep the units without which the outputs of the layers that read them would move most.

    Units that no layer of known inputs reads count by their weights.
    """

    views: tuple[WeightView, ...] = ()  # of the layers whose inputs are known

    def scores(
        self, groups: Sequence[Group], weights: Arrays, *, rng: np.random.Generator
    ) -> list[Floats]:
        """See `UnitPruning.scores`."""
        known = {view.name: view for view in self.views}
        made_up_for = isinstance(self.of, BrainSurgery)
        plain = UnitPruning(aggregate=self.aggregate)
        damping = (self.of.damping or USUAL) if isinstance(self.of, BrainSurgery) else 0.0
        found = []
        for group in groups:
            total = np.zeros(group.n_units)
            for member in group.members:
                view = known.get(member.parameter)
                if member.made or view is None or view.gram is None:
                    continue
                labels = np.full(member.size, -1, dtype=np.int64)
                labels[member.places] = member.units
                columns = _columns(view, labels, member.dim, weights[member.parameter].shape)
                total += losses_of_units(
                    view.matrix,
                    view.gram.products,
                    columns,
                    group.n_units,
                    damping=damping if made_up_for else None,
                    where=view.name,
                )
            if not total.any():
                (total,) = plain.scores([group], weights, rng=rng)
            found.append(total)
        return found


def views_of_units(model: torch.nn.Module) -> tuple[WeightView, ...]:
    """The layers of a network that multiply, as matrices."""
    named = dict(model.named_parameters())
    names = dict.fromkeys(layers_of(model, None).values())
    parts = parts_of_module(model, named)
    return tuple(views_of([(name, named[name]) for name in names if name in named], parts))


def fitted_units(
    ran: torch.nn.Module,
    batches: Sequence[Example],
    plan: PruningPlan,
    finishing: Finishing,
    rng: np.random.Generator,
) -> tuple[PruningPlan, tuple[LayerOutput, ...]]:
    """A plan of units with new weights of all layers that lose some of their outputs or inputs.

    Layers are fitted in order, each to what the dense one gives for what the dense network sends,
    on what it gets once units before it are gone. `ran`, a copy of the network, is changed.
    """
    kept = kept_indices(plan.groups, buffers=False)
    views = [view for view in views_of_units(ran) if view.name in kept]
    named = dict(ran.named_parameters())
    masks = {v.name: _mask(v, kept[v.name], tuple(named[v.name].shape)) for v in views}
    if not views:
        return plan, ()
    with uncached(ran):
        fitted, outputs = prune_in_turn_(
            ran, batches, views, Refitted(_Given(masks)), Keep(1.0), rng=rng, finishing=finishing
        )
    new = {layer.name: replace(layer, kappa_asked=None) for layer in fitted.layers}
    layers = [
        replace(layer, values=new[layer.name].values, bias=new.pop(layer.name).bias)
        if layer.name in new
        else layer
        for layer in plan.layers
    ]
    # those that only read units keep all of their own
    return replace(plan, layers=(*layers, *new.values())), outputs


@dataclass(frozen=True, eq=False)
class _Given:
    """Masks that are known, as a strategy."""

    axis: ClassVar[Axis] = "weight"

    masks: Mapping[str, Mask]

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """See `Strategy.plan`."""
        del rng
        masks = [self.masks[view.name].ravel() for view in views]
        layers = [
            layer_of(view, mask, relative_error(view.matrix.ravel(), mask, 2.0))
            for view, mask in zip(views, masks, strict=True)
        ]
        return PruningPlan("units", budget, tuple(layers))


def _columns(
    view: WeightView, labels: NDArray[np.int64], dim: int, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """The unit that each column of a layer's inputs belongs to, (groups, width); -1 of none."""
    assert view.gram is not None
    stored = np.broadcast_to(
        labels.reshape([-1 if d == dim else 1 for d in range(len(shape))]), shape
    )
    matrix = out_in(stored, view.transposed, view.groups)
    return matrix.reshape(len(view.gram.products), -1, matrix.shape[1])[:, 0]


def _mask(view: WeightView, by_dim: Mapping[int, Mask], shape: tuple[int, ...]) -> Mask:
    """Which weights of a matrix neither make nor read a unit that goes."""
    stored = np.ones(shape, dtype=np.bool_)
    for dim, keep in by_dim.items():
        stored &= keep.reshape([-1 if d == dim else 1 for d in range(len(shape))])
    found: Mask = out_in(stored, view.transposed, view.groups)
    return found
