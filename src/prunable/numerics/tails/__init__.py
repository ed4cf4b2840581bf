"""Estimators of the tail index alpha: one a file, one result type; no torch."""

from prunable.numerics.tails.base import Center, Estimator, Status, TailEstimate
from prunable.numerics.tails.log_moment import log_moment, log_moment_vectors

__all__ = ["Center", "Estimator", "Status", "TailEstimate", "log_moment", "log_moment_vectors"]
