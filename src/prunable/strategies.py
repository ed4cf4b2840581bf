"""Strategies of pruning, each with `plan(views, budget, *, rng)`."""

from prunable.nets.prune.strategies import (
    MagnitudePruning,
    MedianCentred,
    NMPruning,
    NodePruning,
    RandomizedMagnitudePruning,
    RandomPruning,
    SaliencyPruning,
    SingularValuePruning,
    Strategy,
)

__all__ = [
    "MagnitudePruning",
    "MedianCentred",
    "NMPruning",
    "NodePruning",
    "RandomPruning",
    "RandomizedMagnitudePruning",
    "SaliencyPruning",
    "SingularValuePruning",
    "Strategy",
]
