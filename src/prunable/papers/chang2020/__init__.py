"""Figures of Chang, Li, Oymak and Thrampoulidis (2020), overparameterization and pruning."""

from prunable.experiments.reproduce.registry import Paper
from prunable.papers.chang2020 import features, linear, networks, theory

_FIGURES = (*features.FIGURES, *linear.FIGURES, *networks.FIGURES)

ITEMS = (*sorted(_FIGURES, key=lambda item: item.name), *theory.FIGURES)

PAPER = Paper(
    short="Chang et al. 2020",
    title="Provable Benefits of Overparameterization in Model Compression: From Double Descent to"
    " Pruning Neural Networks",
    authors="X. Chang, Y. Li, S. Oymak, C. Thrampoulidis",
    year=2020,
    items=ITEMS,
)
