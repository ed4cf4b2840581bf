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
from prunable.nets.prune.strategies.allocations import (
    DepthShares,
    GivenCounts,
    LeastLoss,
    MedianShares,
    OutlierShares,
    SpectralShares,
)

__all__ = [
    "BrainSurgery",
    "CalibratedPruning",
    "DepthShares",
    "GivenCounts",
    "InOrder",
    "InputWeightedPruning",
    "LeastLoss",
    "MagnitudePruning",
    "MedianCentred",
    "MedianShares",
    "NMPruning",
    "NodePruning",
    "OutlierShares",
    "RandomPruning",
    "RandomizedMagnitudePruning",
    "Refitted",
    "SaliencyPruning",
    "SingularValuePruning",
    "SpectralShares",
    "Strategy",
    "UnitPruning",
]
