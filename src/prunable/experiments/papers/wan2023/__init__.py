"""Heavy-tailed SGD (Wan, Zaidi and Simsekli 2023): its tables and its figure as items."""

from prunable.experiments.papers.wan2023 import cifar, ecg, figure, mnist
from prunable.experiments.reproduction.items import Item


def _place(item: Item) -> tuple[str, int]:
    """Figures first, then tables, by number."""
    kind, number = item.label.split()
    return kind, int(number)


ITEMS: tuple[Item, ...] = tuple(
    sorted((*figure.ITEMS, *ecg.ITEMS, *mnist.ITEMS, *cifar.ITEMS), key=_place)
)
