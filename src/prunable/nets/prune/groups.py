"""Units of a network that are coupled: what must be scored, pruned and cut together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from prunable.errors import UnsupportedModelError
from prunable.nets.networks.coupling import Coupling, trace
from prunable.nets.networks.cutting import Sizes, Split, cut_
from prunable.nets.networks.equality import largest_difference, tensors_in, within_rounding
from prunable.nets.networks.examples import MISFITS, checked_run, run
from prunable.results import Result

Kept = Sequence[NDArray[np.bool_]]  # of each group, which units stay
DEPTHS = (0, 1, 2)  # how far the sizes that modules remember are changed; see `cut_`


@dataclass(frozen=True, eq=False)
class Member:
    """The indices of one parameter, along one dimension, that belong to units of a group."""

    parameter: str
    dim: int
    size: int  # of the dimension
    places: NDArray[np.int64]
    units: NDArray[np.int64]  # the unit of each place
    made: bool  # whether a layer makes its outputs of them, rather than reading inputs
    buffer: bool = False

    def kept(self, units: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which indices of the dimension stay if these units do."""
        keep = np.ones(self.size, dtype=np.bool_)
        keep[self.places] = units[self.units]
        return keep


@dataclass(frozen=True, eq=False)
class Group:
    """Units that compete: channels of a layer or of all layers that are added up, heads, gates."""

    name: str  # of the first layer that makes them
    n_units: int
    members: tuple[Member, ...]
    # of modules: the units by what the module takes its channels apart into; -1 where none
    splits: tuple[tuple[str, NDArray[np.int64]], ...] = ()

    def split_by(self, units: NDArray[np.bool_]) -> Iterator[Split]:
        """How modules take apart what stays."""
        for module, labels in self.splits:
            keep = np.where(labels < 0, True, units[labels])
            after = tuple(
                int(keep.any(axis=tuple(d for d in range(keep.ndim) if d != dim)).sum())
                for dim in range(keep.ndim)
            )
            yield Split(module, labels.shape, after)


@dataclass(frozen=True)
class Left:
    """A layer whose units stay, and why."""

    name: str
    reason: str


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
    place, are left.

    Raises InputError if the example does not fit.

    >>> net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    >>> groups_of(net, torch.randn(3, 4)).groups[0].n_units
    6
    """
    coupling = trace(model, example)
    groups, left = _groups(coupling, model)
    if not shrinkable or not groups:
        return Groups(groups, left)
    refused: dict[str, str] = {}
    good = _tried(_stirred(model), groups, example, refused)
    left += tuple(Left(name, reason) for name, reason in refused.items())
    return Groups(tuple(good), left)


def cut_groups(
    model: nn.Module, groups: Sequence[Group], kept: Kept, example: Any
) -> tuple[nn.Module, float, dict[str, Sizes]]:
    """Copy a model without units, in its own training mode, and prove it on an example.

    The copy, the largest |cut(example) - masked(example)| in evaluation mode and in the model's
    own precision, and the attributes that were changed. The masked model is the one in which the
    units contribute nothing: all that they are made of, and all that reads them, is zero.

    Raises UnsupportedModelError if the copy does not run, or differs by more than rounding.
    """
    masked = copy.deepcopy(model).eval()
    mask_(masked, groups, kept)
    expected = tensors_in(checked_run(masked, example))
    del masked
    reason = ""
    for depth in DEPTHS if any(g.splits for g in groups) else (0,):
        small = copy.deepcopy(model).eval()
        attributes = cut_(
            small,
            kept_indices(groups, kept),
            [s for g, k in zip(groups, kept, strict=True) for s in g.split_by(k)],
            depth,
        )
        try:
            with torch.no_grad():
                found = tensors_in(run(small, example))
        except MISFITS as error:
            reason = reason or f"without them it does not run ({_brief(error)})"
            continue
        difference = largest_difference(found, expected)
        if within_rounding(difference, expected, model):
            for module, original in zip(small.modules(), model.modules(), strict=True):
                module.training = original.training
            return small, difference, attributes
        reason = f"without them its outputs differ by {difference:.3g} from the masked model's"
    raise UnsupportedModelError(
        f"`{groups[0].name}` cannot be shrunk: {reason}. Leave the zeros in place, or exclude it."
    )


def mask_(model: nn.Module, groups: Sequence[Group], kept: Kept) -> None:
    """Zero all that units are made of and all that reads them, in place."""
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name, by_dim in kept_indices(groups, kept, buffers=False).items():
            for dim, keep in by_dim.items():
                gone = torch.from_numpy(np.flatnonzero(~keep)).to(named[name].device)
                named[name].index_fill_(dim, gone, 0)


def kept_indices(
    groups: Sequence[Group], kept: Kept, *, buffers: bool = True
) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """Which indices of parameters stay, by name and dimension; only where some go."""
    found: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for group, units in zip(groups, kept, strict=True):
        for member in group.members:
            keep = member.kept(units)
            if keep.all() or (member.buffer and not buffers):
                continue
            by_dim = found.setdefault(member.parameter, {})
            by_dim[member.dim] = by_dim.get(member.dim, True) & keep
    return found


def _stirred(model: nn.Module) -> nn.Module:
    """A copy with noise on all its weights, so that no output is blind to what is cut."""
    stirred = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in stirred.parameters():
            if parameter.is_floating_point():
                fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 100
                noise = torch.randn(parameter.shape, generator=generator) / fan**0.5
                parameter.add_(noise.to(parameter))
    return stirred


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
        owners = {type(model.get_submodule(module)).__name__ for module, _ in group.splits}
        kinds.setdefault(tuple(sorted(owners)), []).append(group)
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
    found = []
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


def _can_go(model: nn.Module, groups: Sequence[Group], example: Any) -> str | None:
    """Why half of the units of some groups cannot be cut; None if they can."""
    try:
        cut_groups(model, groups, [np.arange(g.n_units) % 2 == 0 for g in groups], example)
    except UnsupportedModelError as error:
        return str(error).partition("cannot be shrunk: ")[2].partition(". Leave")[0]
    return None


def _groups(coupling: Coupling, model: nn.Module) -> tuple[tuple[Group, ...], tuple[Left, ...]]:
    buffers = {name for name, _ in model.named_buffers()}
    made = np.zeros(len(coupling.units), dtype=np.bool_)
    made[coupling.produced] = True
    lines = {
        slots: coupling.units[slots.first : slots.first + slots.size] for slots in coupling.slots
    }
    free = np.ones(coupling.units.max() + 1, dtype=np.bool_)
    free[0] = False
    for line in lines.values():
        if (line == line[0]).all():  # all of a dimension cannot be cut to nothing
            free[line[0]] = False
    producers = {s: n for s, n in lines.items() if made[s.first] and s.tensor not in buffers}
    left = [
        Left(_layer(slots.tensor), _why(coupling, line))
        for slots, line in producers.items()
        if not free[line].any()
    ]
    group_of, number_of = _competing([line[free[line]] for line in producers.values()], len(free))
    count = int(group_of.max(initial=-1)) + 1
    names: list[str] = [""] * count
    members: list[list[Member]] = [[] for _ in range(count)]
    for slots, line in lines.items():
        groups = group_of[line]
        for key in np.unique(groups[groups >= 0]).tolist():
            places = np.flatnonzero(groups == key)
            is_made = bool(made[slots.first])
            if is_made and slots in producers and not names[key]:
                names[key] = _layer(slots.tensor)
            members[key].append(
                Member(
                    slots.tensor,
                    slots.dim,
                    slots.size,
                    places,
                    number_of[line[places]],
                    is_made,
                    slots.tensor in buffers,
                )
            )
    splits: list[list[tuple[str, NDArray[np.int64]]]] = [[] for _ in range(count)]
    for module, labels in coupling.splits:
        groups = group_of[coupling.units[labels]]
        for key in np.unique(groups[groups >= 0]).tolist():
            numbers = np.where(groups == key, number_of[coupling.units[labels]], -1)
            splits[key].append((module, numbers))
    sizes = np.bincount(group_of[group_of >= 0], minlength=count)
    found = [
        Group(names[key], int(sizes[key]), tuple(members[key]), tuple(splits[key]))
        for key in range(count)
    ]
    left += [Left(g.name, "its units can only go together") for g in found if g.n_units < 2]
    return tuple(g for g in found if g.n_units > 1), tuple({one.name: one for one in left}.values())


def _competing(
    lines: Sequence[NDArray[np.int64]], n_units: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each unit its group and its number there, in the order of the layers; -1 for others."""
    known = [line for line in lines if len(line)]
    if not known:
        return np.full(n_units, -1), np.full(n_units, -1)
    firsts = np.concatenate([np.full(len(line), line[0]) for line in known])
    order = np.concatenate(known)
    graph = coo_array((np.ones(len(order), dtype=np.int8), (firsts, order)), shape=(n_units,) * 2)
    _, component = connected_components(graph, directed=False)
    units = order[np.sort(np.unique(order, return_index=True)[1])]
    _, first, inverse = np.unique(component[units], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # groups in the order in which they come first
    group_of, number_of = np.full(n_units, -1), np.full(n_units, -1)
    group_of[units] = rank[inverse]
    for key in range(len(first)):
        own = units[rank[inverse] == key]
        number_of[own] = np.arange(len(own))
    return group_of, number_of


def _why(coupling: Coupling, line: NDArray[np.int64]) -> str:
    if not line.any():
        return "its outputs are the network's, or are added to what stays"
    for mixing in coupling.mixings:
        if coupling.units[mixing.label] in line:
            where = f" of `{mixing.module}`" if mixing.module else ""
            return f"its channels are mixed by {mixing.operation}{where}"
    return "its channels can only go together"


def _layer(parameter: str) -> str:
    owner, _, own = parameter.rpartition(".")
    return owner if own == "weight" and owner else parameter


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:160]
