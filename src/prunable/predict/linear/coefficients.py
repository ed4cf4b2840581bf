"""The distribution of learned coefficients, and which features survive pruning."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from prunable.errors import InputError
from prunable.predict.linear.law import Law
from prunable.predict.linear.mixture import Mixture
from prunable.predict.linear.problem import Covariance
from prunable.predict.linear.pruning_risk import Method, oracle_support, survival

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Law of the coefficient of a feature picked at random: a mixture of Gaussians.

    Theorem 1 of the 2020 paper, with the finite problem in the place of its limit.

    Attributes
    ----------
    law : Law
        Of finite variance.

    Raises
    ------
    InputError
        If the law has no finite variance.
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
    def mixture(self) -> Mixture:
        """Means and variances of the coefficients of the features."""
        law = self.law
        if law.problem.kind == Covariance.SPECTRAL:
            # eigenvectors in general position make every coordinate the same Gaussian
            energy = float(law.means @ law.means + law.variances.sum()) / law.problem.p
            return Mixture(np.zeros((1, 1)), np.array([[energy]]))
        means, variances = law.feature_moments()
        return Mixture(means[None, :], variances[None, :])

    @property
    def _moments(self) -> tuple[FloatArray, FloatArray]:
        return self.mixture.means[0], self.mixture.variances[0]

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Density at `x`, same shape; atoms of zero variance are left out."""
        means, variances = self._moments
        constant = 1 / (math.sqrt(2 * math.pi) * means.size)
        spread = variances > 0
        means, sd = means[spread], np.sqrt(variances[spread])

        def at(value: float) -> float:
            return constant * float((np.exp(-(((value - means) / sd) ** 2) / 2) / sd).sum())

        return _each(at, x)

    def cdf(self, x: ArrayLike) -> FloatArray:
        """P(coefficient <= x), same shape as `x`."""
        means, variances = self._moments
        sd = np.maximum(np.sqrt(variances), np.finfo(np.float64).tiny)

        def at(value: float) -> float:
            with np.errstate(over="ignore"):
                z = (value - means) / sd
            # at an atom itself the distribution function counts it whole
            return float(np.where((z == 0) & (variances == 0), 1.0, ndtr(z)).mean())

        return _each(at, x)

    def ppf(self, q: ArrayLike) -> FloatArray:
        """Quantile, the inverse of `cdf`, for 0 < q < 1.

        Raises
        ------
        InputError
            If a probability is out of range.
        """
        means, variances = self._moments
        reach = 40 * np.sqrt(variances) + 1e-300
        low, high = float((means - reach).min()), float((means + reach).max())

        def at(probability: float) -> float:
            if not 0 < probability < 1:
                raise InputError.parameter("q", "Coefficients.ppf", "in (0, 1)", probability)
            return float(brentq(lambda x: float(self.cdf(x)) - probability, low, high, xtol=1e-15))

        return _each(at, q)

    def survival(self, s: int, method: Method = Method.MAGNITUDE) -> FloatArray:
        """Probability that each feature is among the s kept, shape (p,); see `survival`."""
        return survival(self.law, s, method)

    def recovery(self, s: int, method: Method = Method.MAGNITUDE) -> float:
        """Expected share of the s best features that pruning keeps.

        The best are those of largest Sigma_ii beta_i^2; s / p is what chance keeps.
        """
        best = oracle_support(self.law.problem, s)
        return float(self.survival(s, method)[best].mean())


def _each(function: Callable[[float], float], x: ArrayLike) -> FloatArray:
    points = np.asarray(x, dtype=np.float64)
    return np.array([function(float(value)) for value in points.ravel()]).reshape(points.shape)
