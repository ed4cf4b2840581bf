"""Items of Barsbey et al. (2021): twelve figures, two tables, and statements without one."""

from prunable.experiments.reproduce.registry import Paper
from prunable.papers.barsbey2021 import choices, laws, networks, theorems
from prunable.papers.barsbey2021.tables import TABLES

_FIGURES = (*networks.FIGURES, *laws.FIGURES)

ITEMS = (
    *sorted(_FIGURES, key=lambda item: int(item.name.rpartition("fig")[2])),
    *TABLES,
    *theorems.ITEMS,
    *choices.ITEMS,
)

PAPER = Paper(
    short="Barsbey et al. 2021",
    title="Heavy Tails in SGD and Compressibility of Overparametrized Neural Networks",
    authors="M. Barsbey, M. Sefidgaran, M. A. Erdogdu, G. Richard, U. Şimşekli",
    year=2021,
    items=ITEMS,
)
