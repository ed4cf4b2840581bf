"""Pruning strategies: weight views and a budget in, a plan out; no torch, no model."""

from prunable.nets.prune.choices import ShareRule
from prunable.nets.prune.strategies.base import Strategy
from prunable.nets.prune.strategies.calibrated import BrainSurgery, InputWeightedPruning, Refitted
from prunable.nets.prune.strategies.centring import MedianCentred
from prunable.nets.prune.strategies.chosen import CalibratedPruning
from prunable.nets.prune.strategies.magnitude import MagnitudePruning
from prunable.nets.prune.strategies.n_m import NMPruning
from prunable.nets.prune.strategies.node import NodePruning
from prunable.nets.prune.strategies.randomly import RandomizedMagnitudePruning, RandomPruning
from prunable.nets.prune.strategies.scored import SaliencyPruning
from prunable.nets.prune.strategies.singular_value import SingularValuePruning
from prunable.nets.prune.strategies.units import UnitPruning

__all__ = [
    "BrainSurgery",
    "CalibratedPruning",
    "InputWeightedPruning",
    "MagnitudePruning",
    "MedianCentred",
    "NMPruning",
    "NodePruning",
    "RandomPruning",
    "RandomizedMagnitudePruning",
    "Refitted",
    "SaliencyPruning",
    "ShareRule",
    "SingularValuePruning",
    "Strategy",
    "UnitPruning",
]
