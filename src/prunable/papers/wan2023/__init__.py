"""Heavy-tailed SGD (Wan, Zaidi and Simsekli 2023): its tables and its figure as items."""

from prunable.experiments.reproduce.items import Item
from prunable.experiments.reproduce.registry import Paper
from prunable.papers.wan2023 import cifar, ecg, figure, mnist


def _place(item: Item) -> tuple[str, int]:
    """Figures first, then tables, by number."""
    kind, number = item.label.split()
    return kind, int(number)


ITEMS: tuple[Item, ...] = tuple(
    sorted((*figure.ITEMS, *ecg.ITEMS, *mnist.ITEMS, *cifar.ITEMS), key=_place)
)

PAPER = Paper(
    short="Wan et al. 2023",
    title="Implicit Compressibility of Overparametrized Neural Networks Trained with Heavy-Tailed"
    " SGD",
    authors="Y. Wan, A. Zaidi, U. Şimşekli",
    year=2023,
    items=ITEMS,
)
