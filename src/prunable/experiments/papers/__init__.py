"""Items of the papers: one package a paper, its published numbers in one data file."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prunable.errors import InputError

if TYPE_CHECKING:
    from prunable.experiments.reproduction.items import Item


@dataclass(frozen=True)
class Paper:
    """A paper, as reports name it."""

    short: str
    title: str
    authors: str
    year: int


PAPERS = {
    "barsbey2021": Paper(
        "Barsbey et al. 2021",
        "Heavy Tails in SGD and Compressibility of Overparametrized Neural Networks",
        "M. Barsbey, M. Sefidgaran, M. A. Erdogdu, G. Richard, U. Şimşekli",
        2021,
    ),
    "guha2023": Paper(
        "Guha et al. 2023",
        "Generalization Bounds for MBP via Sparse Matrix Sketching",
        "E. K. Guha, P. Dubey, X. Huo",
        2023,
    ),
    "chang2020": Paper(
        "Chang et al. 2020",
        "Provable Benefits of Overparameterization in Model Compression: From Double Descent to"
        " Pruning Neural Networks",
        "X. Chang, Y. Li, S. Oymak, C. Thrampoulidis",
        2020,
    ),
    "wan2023": Paper(
        "Wan et al. 2023",
        "Implicit Compressibility of Overparametrized Neural Networks Trained with Heavy-Tailed"
        " SGD",
        "Y. Wan, A. Zaidi, U. Şimşekli",
        2023,
    ),
}


def all_items() -> tuple[Item, ...]:
    """Every item, paper by paper.

    Returns
    -------
    tuple of Item
    """
    return tuple(
        item
        for paper in PAPERS
        for item in importlib.import_module(f"prunable.experiments.papers.{paper}").ITEMS
    )


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
            "item", "reproduce", f"one of {', '.join(near or known)}", name,
            "See `prunable reproduce list`.",
        )  # fmt: skip
    return known[name]
