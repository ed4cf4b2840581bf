"""Figures of Chang, Li, Oymak and Thrampoulidis (2020), overparameterization and pruning."""

from prunable.experiments.reproduce.registry import Paper
from prunable.papers.chang2020.features import FIGURE_2, FIGURE_4
from prunable.papers.chang2020.linear import FIGURE_3, FIGURE_7
from prunable.papers.chang2020.resnet import FIGURE_1, FIGURE_5
from prunable.papers.chang2020.two_layer import FIGURE_6

ITEMS = (FIGURE_1, FIGURE_2, FIGURE_3, FIGURE_4, FIGURE_5, FIGURE_6, FIGURE_7)

PAPER = Paper(
    short="Chang et al. 2020",
    title="Provable Benefits of Overparameterization in Model Compression: From Double Descent to"
    " Pruning Neural Networks",
    authors="X. Chang, Y. Li, S. Oymak, C. Thrampoulidis",
    year=2020,
    items=ITEMS,
)
