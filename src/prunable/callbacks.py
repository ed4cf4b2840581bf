"""Callbacks of training frameworks that keep pruned weights at 0 and store the masks."""

from prunable.nets.prune.callbacks import for_lightning, for_trainer

__all__ = ["for_lightning", "for_trainer"]
