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
    UnitPruning,
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
    "UnitPruning",
]
