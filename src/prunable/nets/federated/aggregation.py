"""What the server does with updates: a weighted mean, added to the model."""

import math
from collections.abc import Mapping, Sequence

import torch

from prunable.errors import InputError, require

State = Mapping[str, torch.Tensor]


def weighted_mean(updates: Sequence[State], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """Average state dicts, added up in float64 in the given order, in the first one's dtypes.

    Algorithm 1 of McMahan et al. (2017), with n_k / n of each client as its weight. Raises
    InputError if there is none, names or shapes differ, or weights are negative or all 0.
    """
    where = "weighted_mean"
    if not updates or len(updates) != len(weights):
        raise InputError.parameter(
            "weights",
            where,
            "one for each of at least one update",
            f"{len(weights)} for {len(updates)}",
        )
    total = math.fsum(weights)
    valid = all(math.isfinite(w) and w >= 0 for w in weights) and total != 0
    require(valid, "weights", where, "finite, not negative and not all 0", list(weights))
    first = updates[0]
    for place, update in enumerate(updates):
        _same(first, update, f"update {place}", where)
    return {
        name: sum(
            (
                update[name].double() * (weight / total)
                for update, weight in zip(updates, weights, strict=True)
            ),
            start=torch.zeros(tensor.shape, dtype=torch.float64),
        ).to(tensor.dtype)
        for name, tensor in first.items()
    }


def add_update(state: State, update: State) -> dict[str, torch.Tensor]:
    """Add an update to a state dict; entries that it does not name (counters) are kept.

    Raises InputError where `update` names what `state` lacks, or shapes differ.
    """
    strangers = sorted(update.keys() - state.keys())
    require(not strangers, "update", "add_update", "of names of the state", strangers)
    _same({name: state[name] for name in update}, update, "update", "add_update")
    return {
        name: tensor + update[name].to(tensor.dtype) if name in update else tensor.clone()
        for name, tensor in state.items()
    }


def _same(expected: State, found: State, param: str, where: str) -> None:
    for name in [*expected, *(found.keys() - expected.keys())]:
        shapes = [tuple(s[name].shape) if name in s else None for s in (expected, found)]
        if shapes[0] != shapes[1]:
            raise InputError.parameter(
                param, where, f"of shape {shapes[0]} at {name!r}", f"{shapes[1]}"
            )
