"""Items of Barsbey et al. (2021): twelve figures and two tables."""

from __future__ import annotations

from prunable.experiments.reproduce.items import Item
from prunable.experiments.reproduce.registry import Paper
from prunable.papers.barsbey2021.laws_items import LAW_ITEMS
from prunable.papers.barsbey2021.table_items import TABLE_ITEMS
from prunable.papers.barsbey2021.trained_items import TRAINED_ITEMS

_FIGURES: tuple[Item, ...] = (*TRAINED_ITEMS, *LAW_ITEMS)

ITEMS: tuple[Item, ...] = (
    *sorted(_FIGURES, key=lambda item: int(item.name.rpartition("fig")[2])),
    *TABLE_ITEMS,
)

__all__ = ["ITEMS"]

PAPER = Paper(
    short="Barsbey et al. 2021",
    title="Heavy Tails in SGD and Compressibility of Overparametrized Neural Networks",
    authors="M. Barsbey, M. Sefidgaran, M. A. Erdogdu, G. Richard, U. Şimşekli",
    year=2021,
    items=ITEMS,
)
