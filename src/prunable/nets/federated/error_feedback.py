"""Top-k sparsification with a memory of what was not sent."""

from collections.abc import Mapping

import torch

from prunable.nets.federated.aggregation import add_update
from prunable.nets.networks.views import to_numpy
from prunable.numerics.weights.selection import kept_count, top_k_masks

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
