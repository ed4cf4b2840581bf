"""Estimators of a pruned network's accuracy from arrays of logits, with intervals; no torch."""

from prunable.forecast.estimators.checks import Check
from prunable.forecast.estimators.classification import ESTIMATORS, Estimator
from prunable.forecast.estimators.curve import CurveForecast, PointForecast, forecast_curve
from prunable.forecast.estimators.estimate import Estimate

__all__ = [
    "ESTIMATORS",
    "Check",
    "CurveForecast",
    "Estimate",
    "Estimator",
    "PointForecast",
    "forecast_curve",
]
