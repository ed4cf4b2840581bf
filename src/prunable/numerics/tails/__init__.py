"""Estimators of the tail index alpha: one a file, one result type; no torch."""

from prunable.numerics.tails.authors import authors_procedure
from prunable.numerics.tails.base import Center, Estimator, Repeated, Status, TailEstimate
from prunable.numerics.tails.ecf import StableFit, ecf_regression, ecf_two_point, fit_stable
from prunable.numerics.tails.hill import HillPlot, TailShape, extreme_value_index, hill
from prunable.numerics.tails.log_moment import log_moment, log_moment_vectors
from prunable.numerics.tails.log_variance import log_variance
from prunable.numerics.tails.quantiles import quantile

# What `measure` runs on every layer, by method, beside the fitted stable law and Hill's plot.
ESTIMATORS: dict[str, Estimator] = {
    "log_moment": log_moment,
    "log_variance": log_variance,
    "quantile": quantile,
    "ecf_two_point": ecf_two_point,
}

__all__ = [
    "ESTIMATORS",
    "Center",
    "Estimator",
    "HillPlot",
    "Repeated",
    "StableFit",
    "Status",
    "TailEstimate",
    "TailShape",
    "authors_procedure",
    "ecf_regression",
    "ecf_two_point",
    "extreme_value_index",
    "fit_stable",
    "hill",
    "log_moment",
    "log_moment_vectors",
    "log_variance",
    "quantile",
]
