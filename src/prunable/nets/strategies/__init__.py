"""Pruning strategies: weight views and a budget in, a plan out; no torch, no model."""

from prunable.nets.strategies.allocation import Allocation
from prunable.nets.strategies.base import Strategy
from prunable.nets.strategies.centring import MedianCentred
from prunable.nets.strategies.magnitude import MagnitudePruning
from prunable.nets.strategies.node import NodePruning
from prunable.nets.strategies.randomly import RandomizedMagnitudePruning, RandomPruning
from prunable.nets.strategies.saliency import SaliencyPruning
from prunable.nets.strategies.singular_value import SingularValuePruning

__all__ = [
    "Allocation",
    "MagnitudePruning",
    "MedianCentred",
    "NodePruning",
    "RandomPruning",
    "RandomizedMagnitudePruning",
    "SaliencyPruning",
    "SingularValuePruning",
    "Strategy",
]
