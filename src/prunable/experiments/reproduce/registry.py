"""The papers whose items can be reproduced: those of the package and of others installed beside."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

from prunable.errors import InputError
from prunable.experiments.reproduce.items import Item

GROUP = "prunable.papers"


@dataclass(frozen=True)
class Paper:
    """A paper, as reports name it, and its items."""

    short: str
    title: str
    authors: str
    year: int
    items: tuple[Item, ...] = field(repr=False)

    def info(self) -> dict[str, str | int]:
        """What a document says of the paper."""
        return {name: getattr(self, name) for name in ("short", "title", "authors", "year")}


@cache
def papers() -> dict[str, Paper]:
    """Every installed paper by its key, in alphabetical order.

    A paper is an entry point of the group `prunable.papers` that names a `Paper`.

    Returns
    -------
    dict of str to Paper

    Examples
    --------
    >>> [paper.year for paper in papers().values()]
    [2021, 2020, 2023, 2023]
    """
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point.load() for point in found}


def all_items() -> tuple[Item, ...]:
    """Every item, paper by paper.

    Returns
    -------
    tuple of Item
    """
    return tuple(item for paper in papers().values() for item in paper.items)


def item_named(name: str) -> Item:
    """The item of a name.

    Raises
    ------
    InputError
        If there is none; names those that come near.
    """
    known = {item.name: item for item in all_items()}
    if name not in known:
        near = [other for other in known if other.split("-")[0] == name.split("-")[0]]
        raise InputError.parameter(
            "item",
            "reproduce",
            f"one of {', '.join(near or known)}",
            name,
            "See `prunable reproduce list`.",
        )
    return known[name]
