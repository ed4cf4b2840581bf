"""A mean over inputs with the influence of each input, from which all intervals are made."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from prunable.numerics.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """An estimate from n units (inputs, pictures, windows of text).

    Attributes
    ----------
    influence : Shape (n,), mean zero: to first order the estimate's error is their mean; that
        fitted temperatures depend on the same units is in it.
    by_accuracy : Derivative by the known accuracy.
    changed, leverage : Share of decisions changed, and derivative by what each of them is worth:
        how far the estimate rests on the model of confidence (`model_error`).
    least : A standard error that sampling cannot undercut, for what n units happen not to show.
    """

    value: float
    influence: FloatArray
    by_accuracy: float = 0.0
    changed: float = 0.0
    leverage: float = 0.0
    least: float = 0.0

    @property
    def units(self) -> int:
        """How many were drawn."""
        return len(self.influence)

    @property
    def error(self) -> float:
        """Standard error of sampling the units, with n - 1 in its denominator."""
        return joined(math.sqrt(covariance(self, self)), self.least)


def covariance(one: Estimate, other: Estimate) -> float:
    """The sampling covariance of two estimates from the same units."""
    n = one.units
    return float(one.influence @ other.influence) / (n * (n - 1))


def of_mean(values: FloatArray, *, by_accuracy: float = 0.0, changed: float = 0.0) -> Estimate:
    """Estimate a mean by the mean of values of shape (n,), nothing fitted."""
    mean = float(values.mean())
    return Estimate(mean, values - mean, by_accuracy, changed)


def by_units(estimate: Estimate, units: NDArray[np.intp] | None) -> Estimate:
    """Gather influences by the unit that is drawn; `units` (m,) numbers it for each value."""
    if units is None:
        return estimate
    sums = np.bincount(units, weights=estimate.influence).astype(np.float64)
    return dataclasses.replace(estimate, influence=sums * (len(sums) / len(units)))


def quantile(level: float, units: int) -> float:
    """Half the width, in standard errors, of a two-sided interval of this level (Student's)."""
    return float(student.ppf((1 + level) / 2, units - 1))


def joined(*errors: float) -> float:
    """The standard error of a sum of independent errors."""
    return math.sqrt(sum(error * error for error in errors))
