"""Estimators of a pruned network's worth from arrays of outputs, with intervals; no torch."""

from prunable.forecast.estimators.bootstrap import bootstrap_error
from prunable.forecast.estimators.checks import Check
from prunable.forecast.estimators.classification import DEFAULT, ESTIMATORS, Dense, Estimator
from prunable.forecast.estimators.curve import CurveForecast, PointForecast, forecast_curve
from prunable.forecast.estimators.estimate import Estimate
from prunable.forecast.estimators.language import window_figures
from prunable.forecast.estimators.retraining import RetrainedForecast, after_retraining

__all__ = [
    "DEFAULT",
    "ESTIMATORS",
    "Check",
    "CurveForecast",
    "Dense",
    "Estimate",
    "Estimator",
    "PointForecast",
    "RetrainedForecast",
    "after_retraining",
    "bootstrap_error",
    "forecast_curve",
    "window_figures",
]
