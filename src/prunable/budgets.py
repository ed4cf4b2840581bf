"""Budgets of pruning: a share to keep, an error to stay within, an energy, a cost to meet."""

from prunable.nets.prune.plan import Energy, Error, Keep, Target

__all__ = ["Energy", "Error", "Keep", "Target"]
