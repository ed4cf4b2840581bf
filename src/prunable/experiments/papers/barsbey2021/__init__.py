"""Items of Barsbey et al. (2021): twelve figures and two tables."""

from __future__ import annotations

from prunable.experiments.papers.barsbey2021.laws_items import LAW_ITEMS
from prunable.experiments.papers.barsbey2021.table_items import TABLE_ITEMS
from prunable.experiments.papers.barsbey2021.trained_items import TRAINED_ITEMS
from prunable.experiments.reproduction.items import Item

_FIGURES: tuple[Item, ...] = (*TRAINED_ITEMS, *LAW_ITEMS)

ITEMS: tuple[Item, ...] = (
    *sorted(_FIGURES, key=lambda item: int(item.name.rpartition("fig")[2])),
    *TABLE_ITEMS,
)

__all__ = ["ITEMS"]
