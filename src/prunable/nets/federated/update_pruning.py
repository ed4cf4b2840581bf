"""Pruning of what a client sends, by the strategies that prune networks."""

from collections.abc import Mapping
from typing import Literal

import torch

from prunable.errors import require
from prunable.nets.networks.views import views_of
from prunable.nets.prune.masks import mask_of
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning, Strategy
from prunable.numerics.randomness import rng

Axis = Literal["weight", "unit"]


def prune_update(
    update: Mapping[str, torch.Tensor], kappa: float, axis: Axis = "weight"
) -> dict[str, torch.Tensor]:
    """Keep a share of the weights, or of the hidden units, of an update or a model.

    Single weights go by magnitude under one threshold; hidden units by the norm of their incoming
    weights, the columns theta^i of Wan, Zaidi and Simsekli (2023), section 3, a share of each
    hidden layer, and the output layer stays whole. Biases stay whole. Raises InputError if an
    argument is out of range, an entry is not finite, or there is no matrix to prune.
    """
    require(axis in ("weight", "unit"), "axis", "prune_update", "weight or unit", axis)
    views = views_of(update.items())
    if axis == "unit":
        views = tuple(view for view in views if view.role == "hidden")
    action = "Prune single weights, or add a hidden layer."
    require(views, "update", "prune_update", "with a matrix to prune", sorted(update), action)
    strategy: Strategy = MagnitudePruning() if axis == "weight" else NodePruning("unit")
    scope: Literal["global", "layer"] = "global" if axis == "weight" else "layer"
    plan = strategy.plan(views, Keep(kappa, scope), rng=rng(0))
    pruned = dict(update)
    for layer in plan.layers:
        tensor = update[layer.name]
        kept = mask_of(layer, tensor.shape)
        pruned[layer.name] = torch.where(kept, tensor, torch.zeros_like(tensor))
    return pruned
