"""Tables and figures of Guha, Dubey and Huo (2023), bounds by sketches of pruned networks."""

from prunable.experiments.papers.guha2023.epochs import FIGURE_2
from prunable.experiments.papers.guha2023.figures import FIGURE_1A, FIGURE_1B, FIGURE_1C
from prunable.experiments.papers.guha2023.tables import TABLE_1, TABLE_2

ITEMS = (FIGURE_1A, FIGURE_1B, FIGURE_1C, FIGURE_2, TABLE_1, TABLE_2)
