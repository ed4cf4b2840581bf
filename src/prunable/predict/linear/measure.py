"""Limits of linear Gaussian problems as n, p and s grow together.

Definition 3, corollary 1 and equation (93) of the 2020 paper. A measure is the law of
(Lambda, B): variances of the features and coefficients multiplied by sqrt(p).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from prunable.errors import InputError
from prunable.predict.linear.diagonal import Pruning
from prunable.predict.linear.methods import Method
from prunable.predict.linear.mixture import Mixture
from prunable.predict.linear.solution import Regime, Spectrum, solve

FloatArray = NDArray[np.float64]

# Nodes of the trapezoid rule in a normal variable; it converges faster than any power.
NODES = 96
REACH = 8.2
# Probability left out at either end of a discrete law.
LEFT_OUT = 1e-13


@dataclass(frozen=True, eq=False)
class Measure:
    """A discrete measure of variances and scaled coefficients; build it by a class method.

    Attributes
    ----------
    variances, coefficients, weights : ndarray
        Shape (m,); weights are probabilities.
    """

    variances: FloatArray
    coefficients: FloatArray
    weights: FloatArray

    @classmethod
    def atoms(
        cls, variances: ArrayLike, coefficients: ArrayLike, weights: ArrayLike | None = None
    ) -> Measure:
        """Take atoms, or samples with weights.

        Parameters
        ----------
        variances : array_like
            Each >= 0, shape (m,).
        coefficients : array_like
            Multiplied by sqrt(p), shape (m,).
        weights : array_like, optional
            Non-negative, shape (m,); equal by default. They are divided by their sum.

        Returns
        -------
        Measure

        Raises
        ------
        InputError
            If shapes differ, or a number is negative where it may not be, or not finite.
        """
        values, b = (np.atleast_1d(np.asarray(x, float)) for x in (variances, coefficients))
        w = np.ones(values.shape) if weights is None else np.atleast_1d(np.asarray(weights, float))
        if not values.shape == b.shape == w.shape or values.ndim != 1 or values.size == 0:
            raise InputError.parameter(
                "weights",
                "Measure.atoms",
                "as many as variances and coefficients",
                f"shapes {values.shape}, {b.shape} and {w.shape}",
            )
        for name, array, low in (
            ("variances", values, 0.0),
            ("coefficients", b, -math.inf),
            ("weights", w, 0.0),
        ):
            if not np.isfinite(array).all() or array.min() < low:
                wanted = "finite and non-negative" if low == 0 else "finite"
                raise InputError.parameter(name, "Measure.atoms", wanted, f"{array}")
        if w.sum() <= 0:
            raise InputError.parameter("weights", "Measure.atoms", "positive somewhere", f"{w}")
        used = w > 0
        return cls(values[used], b[used], w[used] / w.sum())

    @classmethod
    def independent(cls, variance: Any, coefficient: Any, *, nodes: int = NODES) -> Measure:
        """Take independent laws of the variance and of the scaled coefficient.

        Parameters
        ----------
        variance, coefficient : float or frozen distribution of scipy.stats
            Continuous laws are met at nodes of a trapezoid rule in a normal variable.
        nodes : int
            A continuous law, at least 8.

        Returns
        -------
        Measure

        Raises
        ------
        InputError
            If a law is neither, or puts mass on negative variances.
        """
        if nodes < 8:
            raise InputError.parameter("nodes", "Measure.independent", "at least 8", nodes)
        values, v = _discretised(variance, "variance", nodes)
        b, w = _discretised(coefficient, "coefficient", nodes)
        return cls.atoms(np.repeat(values, b.size), np.tile(b, values.size), np.outer(v, w).ravel())


@dataclass(frozen=True, eq=False)
class LimitLaw:
    """Limit of the coefficients, and of the dense risk.

    Attributes
    ----------
    measure : Measure
    overparam_ratio : float
        p / n.
    sigma : float
    regime : Regime
    xi, gamma, residual : float
        Fixed point, dense risk including sigma^2, relative error of the equation.
    means, variances : ndarray
        Of the scaled coefficient given each atom, shape (m,).
    """

    measure: Measure
    overparam_ratio: float
    sigma: float
    regime: Regime
    xi: float
    gamma: float
    residual: float
    means: FloatArray
    variances: FloatArray

    @property
    def mixture(self) -> Mixture:
        """The law of scaled coefficients."""
        return Mixture(*(x[None, :] for x in (self.means, self.variances, self.measure.weights)))

    def pruned_risk(self, alpha: float, method: Method = Method.MAGNITUDE) -> float:
        """Limit of the risk after pruning, including sigma^2.

        Parameters
        ----------
        alpha : float
            Share s / p of features kept, 0 < alpha <= 1.
        method : Method

        Returns
        -------
        float
            Corollary 1 and equations (63)-(66) of the 2020 paper; infinite at interpolation
            with noise.

        Raises
        ------
        InputError
            If `alpha` is out of range.
        """
        if not 0 < alpha <= 1:
            raise InputError.parameter("alpha", "LimitLaw.pruned_risk", "in (0, 1]", alpha)
        spectrum = _spectrum(self.measure, self.overparam_ratio, self.sigma)
        return float(Pruning(spectrum, solve(spectrum), np.array([alpha])).risk(method)[0])


def predict_limit(measure: Measure, overparam_ratio: float, sigma: float) -> LimitLaw:
    """Predict the limit of the least-squares solution.

    Parameters
    ----------
    measure : Measure
    overparam_ratio : float
        p / n, positive.
    sigma : float
        Standard deviation of the noise, >= 0.

    Returns
    -------
    LimitLaw

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if not 0 < overparam_ratio < math.inf:
        raise InputError.parameter(
            "overparam_ratio", "predict_limit", "positive and finite", overparam_ratio
        )
    if not 0 <= sigma < math.inf:
        raise InputError.parameter("sigma", "predict_limit", "finite and non-negative", sigma)
    found = solve(_spectrum(measure, overparam_ratio, sigma))
    return LimitLaw(
        measure,
        overparam_ratio,
        sigma,
        found.regimes()[0],
        float(found.xi[0]),
        float(found.gamma[0]),
        float(found.residual[0]),
        found.means[0],
        found.variances[0],
    )


def _discretised(law: Any, name: str, nodes: int) -> tuple[FloatArray, FloatArray]:
    if isinstance(law, int | float):
        return np.array([float(law)]), np.ones(1)
    kind = getattr(law, "dist", None)
    if isinstance(kind, scipy.stats.rv_discrete):
        first, last = float(law.ppf(LEFT_OUT)), float(law.isf(LEFT_OUT))
        points = np.arange(first, last + 1)
        return points, np.asarray(law.pmf(points))
    if not isinstance(kind, scipy.stats.rv_continuous):
        raise InputError.parameter(
            name,
            "Measure.independent",
            "a number or a frozen distribution of scipy.stats",
            f"{law!r}",
            "Write scipy.stats.gamma(2), not scipy.stats.gamma.",
        )
    z = np.linspace(-REACH, REACH, nodes)
    weights = np.exp(-z * z / 2)
    # the upper half from its own tail, where probabilities near 1 would lose their digits
    points = np.where(z < 0, law.ppf(ndtr(z)), law.isf(ndtr(-z)))
    return points, weights / weights.sum()


def _spectrum(measure: Measure, overparam_ratio: float, sigma: float) -> Spectrum:
    return Spectrum.single(
        measure.variances, measure.coefficients, sigma**2, 1 / overparam_ratio, measure.weights
    )
