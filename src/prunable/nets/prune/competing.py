"""From what is coupled to groups of units that compete to be kept."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prunable.nets.networks.coupling import Coupling
from prunable.nets.networks.coupling.labels import Slots
from prunable.nets.networks.usage import NOT_RUN
from prunable.nets.prune.grouped import Group, Member


@dataclass(frozen=True)
class Left:
    """A layer whose units stay, and why."""

    name: str
    reason: str


def groups_in(
    coupling: Coupling, buffers: Collection[str]
) -> tuple[tuple[Group, ...], tuple[Left, ...]]:
    """The groups of units that may go, and the layers all of whose units stay.

    `buffers` are the names that are no parameters.
    """
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
    seen = np.zeros(len(free), dtype=np.bool_)
    seen[coupling.units[coupling.read]] = True
    free &= seen  # what nothing reads may be an output that this example does not select
    open_to: dict[int, str] = {}  # units that a part may read which is not run, and that part
    for name, labels in coupling.unrun:
        for unit in np.unique(coupling.units[labels]).tolist():
            if unit:
                open_to.setdefault(unit, _layer(name))
    free[list(open_to)] = False
    producers = {s: n for s, n in lines.items() if made[s.first] and s.tensor not in buffers}
    left = [
        Left(_layer(slots.tensor), _why(coupling, slots, line, open_to))
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
    idle = {_layer(name): name.rpartition(".")[0] for name, _ in coupling.unrun}
    # a layer's bias is not named beside its weight
    left += [Left(n, NOT_RUN) for n, owner in idle.items() if owner == n or owner not in idle]
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


def _why(
    coupling: Coupling, slots: Slots, line: NDArray[np.int64], open_to: Mapping[int, str]
) -> str:
    if not line.any():
        for mixing in coupling.mixings:
            if not mixing.followed and slots.first <= mixing.label < slots.first + slots.size:
                where = f" in `{mixing.module}`" if mixing.module else ""
                return f"its channels go through {mixing.operation}{where}, which is not followed"
        return "its outputs are the network's, or are added to what stays"
    for unit in line.tolist():
        if unit in open_to:
            return f"`{open_to[unit]}`, which is {NOT_RUN}, may take its outputs"
    for mixing in coupling.mixings:
        if coupling.units[mixing.label] in line:
            where = f" of `{mixing.module}`" if mixing.module else ""
            return f"its channels are mixed by {mixing.operation}{where}"
    return "its channels can only go together"


def _layer(parameter: str) -> str:
    owner, _, own = parameter.rpartition(".")
    return owner if own == "weight" and owner else parameter
