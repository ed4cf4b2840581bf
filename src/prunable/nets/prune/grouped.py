"""Groups of coupled units and what is kept of them: plain data, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import require


@dataclass(frozen=True, eq=False)
class Member:
    """The indices of one parameter, along one dimension, that belong to units of a group."""

    parameter: str
    dim: int
    size: int  # of the dimension
    places: NDArray[np.int64] = field(repr=False)
    units: NDArray[np.int64] = field(repr=False)  # the unit of each place
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
    members: tuple[Member, ...] = field(repr=False)
    # of modules: the units by what the module takes its channels apart into; -1 where none
    splits: tuple[tuple[str, NDArray[np.int64]], ...] = field(default=(), repr=False)


@dataclass(frozen=True, eq=False)
class GroupPlan:
    """Which units of a group stay, by a bool a unit; read-only."""

    group: Group
    kept: NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        kept = np.array(self.kept, dtype=np.bool_)
        expected = (self.group.n_units,)
        where, wanted = f"GroupPlan {self.group.name}", f"a bool array of shape {expected}"
        require(kept.shape == expected, "kept", where, wanted, f"shape {kept.shape}")
        kept.flags.writeable = False
        object.__setattr__(self, "kept", kept)

    @property
    def name(self) -> str:
        """Of the first layer that makes the units."""
        return self.group.name

    @property
    def n_total(self) -> int:
        """Number of units."""
        return self.group.n_units

    @property
    def n_kept(self) -> int:
        """Number of units that stay."""
        return int(np.count_nonzero(self.kept))

    def to_dict(self) -> dict[str, Any]:
        """Counts, and the parameters that go with the units."""
        members = list(dict.fromkeys(m.parameter for m in self.group.members))
        return {
            "name": self.name,
            "n_total": self.n_total,
            "n_kept": self.n_kept,
            "members": members,
        }


def kept_indices(
    groups: Sequence[GroupPlan], *, buffers: bool = True
) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """Which indices of parameters stay, by name and dimension; only where some go."""
    found: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for plan in groups:
        for member in plan.group.members:
            keep = member.kept(plan.kept)
            if keep.all() or (member.buffer and not buffers):
                continue
            by_dim = found.setdefault(member.parameter, {})
            by_dim[member.dim] = by_dim.get(member.dim, True) & keep
    return found


def parts_kept(plan: GroupPlan) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """How modules take channels apart, before and after: (heads, size) becomes (fewer, size)."""
    for module, labels in plan.group.splits:
        keep = np.where(labels < 0, True, plan.kept[labels])
        others = [tuple(d for d in range(keep.ndim) if d != dim) for dim in range(keep.ndim)]
        yield module, labels.shape, tuple(int(keep.any(axis=axes).sum()) for axes in others)


def group_to_json(plan: GroupPlan) -> dict[str, Any]:
    """A group and what is kept of it as plain JSON values."""
    members = [
        {
            "parameter": m.parameter,
            "dim": m.dim,
            "size": m.size,
            "places": m.places.tolist(),
            "units": m.units.tolist(),
            "made": m.made,
            "buffer": m.buffer,
        }
        for m in plan.group.members
    ]
    splits = [[module, labels.tolist()] for module, labels in plan.group.splits]
    return {"name": plan.name, "kept": plan.kept.tolist(), "members": members, "splits": splits}


def group_from_json(entry: dict[str, Any]) -> GroupPlan:
    """Read what `group_to_json` wrote; ValueError, KeyError or TypeError on anything else."""
    kept = np.array(entry["kept"], dtype=np.bool_)
    members = []
    for found in entry["members"]:
        places, units = (np.array(found[key], dtype=np.int64) for key in ("places", "units"))
        size, dim = int(found["size"]), int(found["dim"])
        inside = places.shape == units.shape and places.ndim == 1 and size > 0 and dim >= 0
        if not inside or (len(places) and not _within(places, size)):
            raise ValueError(f"places of {found['parameter']}")
        if len(units) and not _within(units, len(kept)):
            raise ValueError(f"units of {found['parameter']}")
        members.append(
            Member(
                str(found["parameter"]),
                dim,
                size,
                places,
                units,
                bool(found["made"]),
                bool(found["buffer"]),
            )
        )
    splits = []
    for module, labels in entry["splits"]:
        array = np.array(labels, dtype=np.int64)
        if array.size and not (array.min() >= -1 and array.max() < len(kept)):
            raise ValueError(f"parts of {module}")
        splits.append((str(module), array))
    return GroupPlan(Group(str(entry["name"]), len(kept), tuple(members), tuple(splits)), kept)


def _within(indices: NDArray[np.int64], count: int) -> bool:
    return bool(indices.min() >= 0 and indices.max() < count)
