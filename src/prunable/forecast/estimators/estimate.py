"""A mean over inputs with the influence of each input, from which all intervals are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from prunable.numerics.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """An estimate from n units (inputs, pictures, windows of text).

    `influence` has shape (n,) and mean zero: to first order the estimate's error is its mean, with
    the dependence of fitted temperatures on the same units in it. `by_accuracy` is the derivative
    by the known accuracy, `changed` the share of decisions that pruning changes.
    """

    value: float
    influence: FloatArray
    by_accuracy: float = 0.0
    changed: float = 0.0

    @property
    def error(self) -> float:
        """Standard error of sampling the units, with n - 1 in its denominator."""
        n = len(self.influence)
        return float(np.sqrt(np.sum(self.influence**2) / (n * (n - 1))))


def of_mean(values: FloatArray, *, by_accuracy: float = 0.0, changed: float = 0.0) -> Estimate:
    """Estimate a mean by the mean of values of shape (n,), nothing fitted."""
    mean = float(values.mean())
    return Estimate(mean, values - mean, by_accuracy, changed)


def by_units(estimate: Estimate, units: FloatArray) -> Estimate:
    """Gather influences by the unit that is drawn; `units` (m,) numbers it for each value."""
    sums = np.bincount(units.astype(int), weights=estimate.influence)
    scaled = sums * (len(sums) / len(units))
    return Estimate(estimate.value, scaled, estimate.by_accuracy, estimate.changed)


def quantile(level: float) -> float:
    """Half the width, in standard errors, of a two-sided normal interval of this level."""
    return float(norm.ppf((1 + level) / 2))


def joined(*errors: float) -> float:
    """The standard error of a sum of independent errors."""
    return math.sqrt(sum(error * error for error in errors))
