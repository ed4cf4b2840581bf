"""Risks of pruned linear models before anything is trained, from a problem or from features."""

from prunable.predict.linear.document import Prediction, lgp, problem_of
from prunable.predict.linear.presets import PRESETS, preset
from prunable.predict.linear.recommend import Recommendation, recommend
from prunable.predict.linear.simulate import simulate, simulate_curve

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
