"""The papers and studies that can be reproduced: the package's and those installed beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache

from prunable import plugins
from prunable.errors import InputError
from prunable.experiments.reproduce.document import PaperInfo
from prunable.experiments.reproduce.items import Item

PAPERS, STUDIES = "prunable.papers", "prunable.studies"


@dataclass(frozen=True)
class Paper:
    """A paper, as reports name it, and its items."""

    short: str
    title: str
    authors: str
    year: int
    items: tuple[Item, ...] = field(repr=False)

    def info(self) -> PaperInfo:
        """What a document says of the paper."""
        return PaperInfo(short=self.short, title=self.title, authors=self.authors, year=self.year)


@cache
def papers() -> dict[str, Paper]:
    """Every installed paper by its key, in alphabetical order.

    A paper is an entry point of the group `prunable.papers` that names a `Paper`.

    >>> [paper.year for paper in papers().values()]
    [2021, 2020, 2023, 2023]
    """
    found = {name: (plugin, plugin.load()) for name, plugin in plugins.plugins(PAPERS).items()}
    for plugin, paper in found.values():
        if not isinstance(paper, Paper):
            raise plugin.wrong("a Paper", paper)
    return {name: paper for name, (_, paper) in found.items()}


@cache
def studies() -> dict[str, Item]:
    """Every installed study by its name, in alphabetical order.

    A study is an entry point of the group `prunable.studies` that names an `Item` of the kind
    "study", or a tuple of them.
    """
    found: dict[str, Item] = {}
    for plugin in plugins.plugins(STUDIES).values():
        loaded = plugin.load()
        items = loaded if isinstance(loaded, tuple) else (loaded,)
        if not all(isinstance(item, Item) for item in items):
            raise plugin.wrong("an Item, or a tuple of them", loaded)
        found |= {item.name: item for item in items}
    return dict(sorted(found.items()))


def info_of(item: Item) -> PaperInfo | None:
    """The paper of an item; None of a study."""
    return None if item.paper is None else papers()[item.paper].info()


def all_items() -> tuple[Item, ...]:
    """Every item of a paper, paper by paper; studies are not among them."""
    return tuple(item for paper in papers().values() for item in paper.items)


def item_named(name: str) -> Item:
    """The item or study of a name.

    Raises InputError if there is none; names those that come near.
    """
    known = {item.name: item for item in all_items()} | studies()
    if name not in known:
        near = _near(name, list(known)) or get_close_matches(name, list(papers()))
        wanted = f"an item, such as {', '.join(near)}" if near else "an item"
        raise InputError.parameter(
            "item", "reproduce", wanted, name, "See `prunable reproduce list`."
        )
    return known[name]


def _near(name: str, known: Sequence[str], most: int = 6) -> list[str]:
    """Names that a mistyped one may mean: its item of each paper, and names spelled alike."""
    said = name.lower().replace("figure", "fig").replace(" ", "").replace("_", "-")
    if same := [other for other in known if said in (other, other.partition("-")[2])]:
        return same
    alike = get_close_matches(said, known, most, 0.75)
    bare = {other.partition("-")[2]: other for other in known}
    alike += [bare[other] for other in get_close_matches(said, bare, most, 0.75)]
    of_paper = [other for other in known if other.split("-")[0] == said.split("-")[0]]
    return list(dict.fromkeys([*alike, *of_paper]))[:most]


def items_named(names: Iterable[str]) -> list[Item]:
    """Items by the names of items, studies, papers or `all`, each once.

    Raises InputError if a name is not known, or is `list`, which stands alone.
    """
    found: dict[str, Item] = {}
    for name in names:
        if name == "list":
            raise InputError("`list` stands alone; leave it out to compute the other items.")
        if name == "all" or name in papers():
            found |= {item.name: item for item in all_items() if name in ("all", item.paper)}
        else:
            found[name] = item_named(name)
    return list(found.values())
