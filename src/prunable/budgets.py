"""Budgets of pruning: a share to keep, an error to stay within, an energy to retain."""

from prunable.nets.prune.plan import Energy, Error, Keep

__all__ = ["Energy", "Error", "Keep"]
