"""The distribution of learned coefficients, and which features survive pruning."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from prunable.errors import InputError, require
from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.law import Law
from prunable.predict.linear.names import Method
from prunable.predict.linear.problem import Covariance
from prunable.predict.linear.pruning import oracle_support, survival
from prunable.predict.linear.roots import Bracket, find_roots

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Law of the coefficient of a feature picked at random: a mixture of Gaussians.

    Theorem 1 of the 2020 paper, with the finite problem in the place of its limit. Raises
    `InputError` if the law has no finite variance.
    """

    law: Law

    def __post_init__(self) -> None:
        if not self.law.finite:
            raise InputError.parameter(
                "law",
                "Coefficients",
                "of finite variance",
                f"one at n = {self.law.n}",
                "Take n further away from the number of features.",
            )

    @cached_property
    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Means and variances of the parts of the mixture, of equal weight."""
        law = self.law
        if law.problem.kind == Covariance.SPECTRAL:
            # eigenvectors in general position make every coordinate the same Gaussian
            energy = float(law.means @ law.means + law.variances.sum()) / law.problem.p
            return np.zeros(1), np.array([energy])
        return law.feature_moments()

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Density at `x`, same shape; atoms of zero variance are left out."""
        means, variances = self.moments
        constant = 1 / (math.sqrt(2 * math.pi) * means.size)
        spread = variances > 0
        means, sd = means[spread], np.sqrt(variances[spread])

        def at(value: float) -> float:
            return constant * float((np.exp(-(((value - means) / sd) ** 2) / 2) / sd).sum())

        return _each(at, x)

    def cdf(self, x: ArrayLike) -> FloatArray:
        """P(coefficient <= x), same shape as `x`."""
        means, variances = self.moments
        sd = np.maximum(np.sqrt(variances), np.finfo(np.float64).tiny)

        def at(value: float) -> float:
            with np.errstate(over="ignore"):
                z = (value - means) / sd
            # at an atom itself the distribution function counts it whole
            return float(np.where((z == 0) & (variances == 0), 1.0, ndtr(z)).mean())

        return _each(at, x)

    def ppf(self, q: ArrayLike) -> FloatArray:
        """Quantile, the inverse of `cdf`, for 0 < q < 1."""
        wanted = np.asarray(q, dtype=np.float64)
        outside = wanted[~((wanted > 0) & (wanted < 1))]
        if outside.size:
            raise InputError.parameter("q", "Coefficients.ppf", "in (0, 1)", float(outside[0]))
        means, variances = self.moments
        reach = 40 * np.sqrt(variances) + 1e-300
        ends = (np.full(wanted.size, x) for x in ((means - reach).min(), (means + reach).max()))

        def excess(x: FloatArray) -> FloatArray:
            return self.cdf(x) - wanted.ravel()

        found, _ = find_roots(excess, Bracket.between(excess, *ends), 1e-15)
        return found.reshape(wanted.shape)

    def distances(self, samples: ArrayLike, *, order: float = 2, points: int = 200) -> FloatArray:
        """Wasserstein distance of each sample's empirical law from this one, shape (samples,).

        samples : Coefficients, shape (samples, p).
        order : Of the distance, at least 1.
        points : Quantiles that its integral is a mean over.

        Theorems 1 and 3 of the 2020 paper say that it tends to 0 for the coefficients of data
        sets that grow, n / p fixed. Raises `InputError` if the order is less than 1.
        """
        require(order >= 1, "order", "Coefficients.distances", "at least 1", order)
        q = (np.arange(points) + 0.5) / points
        rows = np.atleast_2d(np.asarray(samples, dtype=np.float64))
        gaps = np.quantile(rows, q, axis=1, method="inverted_cdf").T - self.ppf(q)
        return np.asarray((np.abs(gaps) ** order).mean(axis=1) ** (1 / order), dtype=np.float64)

    def survival(self, s: int, method: Method = Method.MAGNITUDE) -> FloatArray:
        """Probability that each feature is among the s kept, shape (p,)."""
        return survival(self.law, s, method)

    def recovery(self, s: int, method: Method = Method.MAGNITUDE) -> float:
        """Expected share of the s most salient features that pruning keeps; s / p is chance."""
        best = oracle_support(self.law.problem, s)
        return float(self.survival(s, method)[best].mean())

    def to_dict(self, s: int) -> dict[str, Any]:
        """Quantiles by probability, and by method the share of the s best that survives."""
        return {
            "quantiles": {str(q): float(self.ppf(q)) for q in QUANTILES},
            "recovery": {method.value: self.recovery(s, method) for method in Method},
        }


def _each(function: Callable[[float], float], x: ArrayLike) -> FloatArray:
    points = np.asarray(x, dtype=np.float64)
    return np.array([function(float(value)) for value in points.ravel()]).reshape(points.shape)
