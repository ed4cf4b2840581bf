"""Tables and figures of Guha, Dubey and Huo (2023), bounds by sketches of pruned networks."""

from prunable.experiments.reproduce.registry import Paper
from prunable.papers.guha2023.items import ITEMS
from prunable.papers.guha2023.tickets import ITEM

PAPER = Paper(
    short="Guha et al. 2023",
    title="Generalization Bounds for MBP via Sparse Matrix Sketching",
    authors="E. K. Guha, P. Dubey, X. Huo",
    year=2023,
    items=(*ITEMS, ITEM),
)
