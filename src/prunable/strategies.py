"""Strategies of pruning, each with `plan(views, budget, *, rng)`, and inputs used in order."""

from prunable.nets.calibration.stages import InOrder
from prunable.nets.prune.strategies import (
    BrainSurgery,
    CalibratedPruning,
    InputWeightedPruning,
    MagnitudePruning,
    MedianCentred,
    NMPruning,
    NodePruning,
    RandomizedMagnitudePruning,
    RandomPruning,
    Refitted,
    SaliencyPruning,
    SingularValuePruning,
    Strategy,
    UnitPruning,
)

__all__ = [
    "BrainSurgery",
    "CalibratedPruning",
    "InOrder",
    "InputWeightedPruning",
    "MagnitudePruning",
    "MedianCentred",
    "NMPruning",
    "NodePruning",
    "RandomPruning",
    "RandomizedMagnitudePruning",
    "Refitted",
    "SaliencyPruning",
    "SingularValuePruning",
    "Strategy",
    "UnitPruning",
]
