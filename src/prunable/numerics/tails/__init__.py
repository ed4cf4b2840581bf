"""Estimators of the tail index alpha: one a file, one result type; no torch."""

from dataclasses import asdict

from numpy.typing import ArrayLike
from pydantic import TypeAdapter

from prunable import plugins
from prunable.numerics.tails.authors import authors_procedure
from prunable.numerics.tails.base import Center, Estimator, Repeated, Status, TailEstimate
from prunable.numerics.tails.ecf import StableFit, ecf_regression, ecf_two_point, fit_stable
from prunable.numerics.tails.hill import HillPlot, TailShape, extreme_value_index, hill
from prunable.numerics.tails.log_moment import log_moment, log_moment_vectors
from prunable.numerics.tails.log_variance import log_variance
from prunable.numerics.tails.quantiles import quantile

# What `measure` runs on every layer, by method, beside the fitted stable law and Hill's plot, and
# estimators of other packages.
ESTIMATORS: dict[str, Estimator] = {
    "log_moment": log_moment,
    "log_variance": log_variance,
    "quantile": quantile,
    "ecf_two_point": ecf_two_point,
}

NAMES = (*ESTIMATORS, "ecf_regression", "hill", "authors")  # and those of vectors, log_moment_*


def estimators() -> dict[str, Estimator]:
    """Every tail estimator by method: the package's, then those of plugins.

    Raises InputError if a plugin is broken; one that is called may do so too.

    >>> sorted(estimators())[:2]
    ['ecf_two_point', 'log_moment']
    """
    added = plugins.added(plugins.TAILS, NAMES)
    return ESTIMATORS | {name: _guarded(plugin) for name, plugin in added.items()}


def _guarded(plugin: plugins.Plugin) -> Estimator:
    estimator = plugin.load()

    def guarded(x: ArrayLike | Repeated, /, *, center: Center | None = None) -> TailEstimate:
        # plugins see plain observations
        given = x.ordered if isinstance(x, Repeated) else x
        found = plugin.call(estimator, given, center=center)
        if not isinstance(found, TailEstimate):
            raise plugin.wrong("a TailEstimate", found)
        numbers = {**asdict(found), "method": plugin.name}  # may be of any kind, and are checked
        checked: TailEstimate = plugin.call(TypeAdapter(TailEstimate).validate_python, numbers)
        return checked

    return guarded


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
    "estimators",
    "extreme_value_index",
    "fit_stable",
    "hill",
    "log_moment",
    "log_moment_vectors",
    "log_variance",
    "quantile",
]
