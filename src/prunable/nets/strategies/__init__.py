"""Pruning strategies: weight views and a budget in, a plan out; no torch, no model."""

from prunable.nets.strategies.base import Strategy
from prunable.nets.strategies.node import NodePruning

__all__ = ["NodePruning", "Strategy"]
