"""Units of a network that are coupled: what must be scored, pruned and cut together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.networks.coupling import trace
from prunable.nets.networks.numbers import no_array, no_weights, packed_layers
from prunable.nets.networks.parametrized import is_made_up, plain_copy
from prunable.nets.prune.competing import Left, groups_in
from prunable.nets.prune.cutting import proved_depth, stirred_copy
from prunable.nets.prune.grouped import Group, GroupPlan
from prunable.results import Result


@dataclass(frozen=True, eq=False)
class Groups(Result):
    """The groups of a network that can be pruned, and the layers left alone."""

    groups: tuple[Group, ...]
    left: tuple[Left, ...]

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": group.name, "n_units": group.n_units} for group in self.groups]


def groups_of(model: nn.Module, example: Any, *, shrinkable: bool = True) -> Groups:
    """Find the coupled units of a network by following one run of it.

    Residual sums, depthwise layers, concatenations, gated layers, attention heads with grouped
    queries, recurrent units, biases and BatchNorm rows come as members of one group. Units whose
    channels are mixed where they cannot be told apart, as LayerNorm does, or that are the
    network's outputs, are no units that could go.

    `example` is what the model is called with: a tensor, a tuple of arguments, or a mapping of
    named ones. With `shrinkable` a part of each group is cut out of a copy, on trial, and groups
    without which the model does not run, or computes something else than with zeros in their
    place, are left. Weights that the model computes from others, as under weight normalisation,
    are taken as what is computed, under their own names.

    Raises InputError if the example does not fit.

    >>> net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    >>> groups_of(net, torch.randn(3, 4)).groups[0].n_units
    6
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedModelError(
                f"`{name or type(model).__name__}` is a compiled program of torch.jit, in which no "
                "channels can be followed. Give the module that it was made from."
            )
    if any(map(is_made_up, model.modules())):
        model = plain_copy(model)
    _check_weights(model)
    coupling = trace(model, example)
    groups, left = groups_in(coupling, {name for name, _ in model.named_buffers()})
    left += tuple(Left(*packed) for packed in packed_layers(model).items())
    if not shrinkable or not groups:
        return Groups(groups, left)
    refused: dict[str, str] = {}
    good = _tried(stirred_copy(model, example), groups, example, refused)
    left += tuple(Left(name, reason) for name, reason in refused.items())
    return Groups(tuple(good), left)


def _check_weights(model: nn.Module) -> None:
    """Raise InputError unless all weights are there, and finite."""
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InputError(f"`{name}` has no shape yet. Run the network once, then prune it.")
        if parameter.is_meta:
            raise InputError(f"`{name}` holds no numbers. Load the network's weights first.")
        if odd := _not_run_with(model, name, parameter):
            raise InputError(f"`{name}` cannot be pruned by units: {odd}.")
        # floats of eight bits know no infinity
        if not bool((parameter.float() if parameter.itemsize == 1 else parameter).isfinite().all()):
            raise InputError.parameter(
                name, "prune", "finite", "NaN or infinite weights", "The training diverged."
            )


def _not_run_with(model: nn.Module, name: str, parameter: nn.Parameter) -> str | None:
    """Why a network cannot be run, or its units not be scored, with a parameter as it is."""
    if no_array(parameter) is not None or parameter.is_complex():
        return no_weights(parameter)
    owner = type(model.get_submodule(name.rpartition(".")[0]))
    narrow = parameter.itemsize == 1 or not parameter.is_floating_point()
    if narrow and parameter.ndim > 1 and owner.__module__.startswith("torch."):
        dtype = str(parameter.dtype).removeprefix("torch.")
        return f"numbers of type {dtype}, with which {owner.__name__} does not run: make it float32"
    return None


def _tried(
    model: nn.Module, groups: Sequence[Group], example: Any, refused: dict[str, str]
) -> list[Group]:
    """The groups of which half can be cut: all, or those of each kind of module, or each by itself.

    Groups that modules of the same class take apart, such as heads, fare alike: where all fail and
    the first by itself does, none is tried further.
    """
    if _can_go(model, groups, example) is None:
        return list(groups)
    kinds: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        classes = {type(model.get_submodule(module)).__name__ for module, _ in group.splits}
        kinds.setdefault(tuple(sorted(classes)), []).append(group)
    good = []
    for owners, alike in kinds.items():
        reason = _can_go(model, alike[:1], example) if owners else None
        if reason is not None:
            refused |= {group.name: reason for group in alike}
        elif len(kinds) > 1 and _can_go(model, alike, example) is None:
            good += alike
        else:
            good += _halved(model, alike, example, refused)
    return [group for group in groups if group in good]


def _halved(
    model: nn.Module, groups: Sequence[Group], example: Any, refused: dict[str, str]
) -> list[Group]:
    """The groups that can be cut, found by halving the set until all of a part or none can."""
    found: list[Group] = []
    middle = (len(groups) + 1) // 2
    for part in (groups[:middle], groups[middle:]):
        if not part:
            continue
        reason = _can_go(model, part, example)
        if reason is None:
            found += part
        elif len(part) == 1:
            refused[part[0].name] = reason
        else:
            found += _halved(model, part, example, refused)
    return found


def _half_of(group: Group) -> GroupPlan:
    """Half of the units, at random, so that no order of them passes by chance."""
    order = np.random.default_rng(group.n_units).permutation(group.n_units)
    return GroupPlan(group, order < (group.n_units + 1) // 2)


def _can_go(model: nn.Module, groups: Sequence[Group], example: Any) -> str | None:
    """Why half of the units of some groups cannot be cut; None if they can."""
    return proved_depth(model, [_half_of(group) for group in groups], example)[1]
