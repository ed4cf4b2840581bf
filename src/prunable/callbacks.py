"""Callbacks of training loops: pruned weights kept at 0, their masks stored, tails watched."""

from prunable.nets.measure.watching import TailWatch, watch_lightning, watch_trainer
from prunable.nets.prune.callbacks import for_lightning, for_trainer

__all__ = ["TailWatch", "for_lightning", "for_trainer", "watch_lightning", "watch_trainer"]
