"""From a plan to a really smaller model."""

from prunable.nets.shrink.modules import ShrinkResult
from prunable.nets.shrink.surgery.cutting import shrink

__all__ = ["ShrinkResult", "shrink"]
