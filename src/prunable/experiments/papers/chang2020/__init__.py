"""Figures of Chang, Li, Oymak and Thrampoulidis (2020), overparameterization and pruning."""

from prunable.experiments.papers.chang2020.features import FIGURE_2, FIGURE_4
from prunable.experiments.papers.chang2020.linear import FIGURE_3, FIGURE_7
from prunable.experiments.papers.chang2020.resnet import FIGURE_1, FIGURE_5
from prunable.experiments.papers.chang2020.two_layer import FIGURE_6

ITEMS = (FIGURE_1, FIGURE_2, FIGURE_3, FIGURE_4, FIGURE_5, FIGURE_6, FIGURE_7)
