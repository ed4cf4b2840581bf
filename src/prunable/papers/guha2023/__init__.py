"""Tables and figures of Guha, Dubey and Huo (2023), bounds by sketches of pruned networks."""

from prunable.experiments.reproduce.registry import Paper
from prunable.papers.guha2023.epochs import FIGURE_2
from prunable.papers.guha2023.figures import FIGURE_1A, FIGURE_1B, FIGURE_1C
from prunable.papers.guha2023.tables import TABLE_1, TABLE_2

ITEMS = (FIGURE_1A, FIGURE_1B, FIGURE_1C, FIGURE_2, TABLE_1, TABLE_2)

PAPER = Paper(
    short="Guha et al. 2023",
    title="Generalization Bounds for MBP via Sparse Matrix Sketching",
    authors="E. K. Guha, P. Dubey, X. Huo",
    year=2023,
    items=ITEMS,
)
