"""What a client sends: an update pruned as networks are, and what is left of it for later."""

from collections.abc import Mapping
from typing import Literal

import torch

from prunable.errors import require
from prunable.nets.federated.aggregation import add_update
from prunable.nets.networks.views import to_numpy, views_of
from prunable.nets.prune.masks import mask_of
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning, Strategy
from prunable.numerics.randomness import rng
from prunable.numerics.weights.selection import kept_count, top_k_masks

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


State = Mapping[str, torch.Tensor]


def top_k(update: State, kappa: float) -> dict[str, torch.Tensor]:
    """Keep the share kappa, rounded up, of the largest entries of all tensors together.

    The operator Top_k of Stich, Cordonnier and Jaggi (2018), Definition 2.2. Raises InputError
    where `kappa` is outside [0, 1] or an entry is not finite.
    """
    arrays = [to_numpy(tensor) for tensor in update.values()]
    count = kept_count(kappa, sum(array.size for array in arrays))
    masks = top_k_masks(arrays, count)
    return {
        name: torch.where(torch.from_numpy(mask), tensor, torch.zeros_like(tensor))
        for (name, tensor), mask in zip(update.items(), masks, strict=True)
    }


def add_memory(update: State, memory: State | None) -> dict[str, torch.Tensor]:
    """Add to an update what earlier rounds left unsent: None in the first round."""
    return dict(update) if memory is None else add_update(update, memory)


def residual(wanted: State, sent: State) -> dict[str, torch.Tensor]:
    """wanted - sent: what a message did not carry, rounding included, the memory of the next round.

    Algorithm 1 of Stich, Cordonnier and Jaggi (2018), line 5; Algorithm 2 of Karimireddy, Rebjock,
    Stich and Jaggi (2019), line 6. Raises InputError where the two are of different models.
    """
    return add_update(wanted, {name: -tensor for name, tensor in sent.items()})
