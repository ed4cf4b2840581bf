"""From a plan to a really smaller model."""

from prunable.nets.shrink.surgery.cutting import ShrinkResult, shrink

__all__ = ["ShrinkResult", "shrink"]
