"""Risks of pruned linear models before anything is trained, from a problem or from features."""

from prunable.predict.linear.document import (
    PRESETS,
    Prediction,
    Recommendation,
    lgp,
    preset,
    problem_of,
    recommend,
    simulate,
    simulate_curve,
)

__all__ = [
    "PRESETS",
    "Prediction",
    "Recommendation",
    "lgp",
    "preset",
    "problem_of",
    "recommend",
    "simulate",
    "simulate_curve",
]
