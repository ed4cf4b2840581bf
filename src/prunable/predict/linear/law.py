"""The law of the least-squares solution of a linear Gaussian problem.

Definitions 4 (more features than samples) and 6 (fewer) of the 2020 paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.predict.linear.finite import at_finite_n, exact_dense_risk
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem
from prunable.predict.linear.solution import Regime, Spectrum, solve

FloatArray = NDArray[np.float64]

__all__ = ["Law", "Regime", "check_samples", "predict_law"]


@dataclass(frozen=True, eq=False)
class Law:
    """Gaussian law of the minimum-norm least-squares solution.

    In the eigenbasis of the covariance the coefficients are independent.

    Attributes
    ----------
    problem : LinearGaussianProblem
    n : int
        Samples.
    regime : Regime
        By the number of features of positive variance, `rank`.
    rank : int
    xi : float
        Fixed point; infinite unless overparameterized.
    gamma : float
        Dense risk in the limit of the 2020 paper, including sigma^2.
    residual : float
        Relative error of the fixed point's equation.
    means, variances : ndarray
        Of the coefficients in the eigenbasis, shape (p,); variances are infinite at
        interpolation with noise.
    risk : float
        Population risk of the dense solution, including sigma^2.
    exact_risk : float or None
        Its expectation at this very n, where it is known: underparameterized, and for equal
        eigenvalues.
    """

    problem: LinearGaussianProblem
    n: int
    regime: Regime
    rank: int
    xi: float
    gamma: float
    residual: float
    means: FloatArray
    variances: FloatArray
    risk: float
    exact_risk: float | None

    @property
    def finite(self) -> bool:
        """Whether the coefficients have finite variances."""
        return math.isfinite(self.risk)

    def feature_moments(self) -> tuple[FloatArray, FloatArray]:
        """Means and variances of the coefficients of the features, each of shape (p,).

        Raises
        ------
        InputError
            If only the spectrum is known.
        """
        means = self.problem.to_features(self.means)
        if self.problem.kind == Covariance.DIAGONAL:
            return means, self.variances
        return means, np.asarray(self.problem.eigenvectors**2 @ self.variances)

    def selection_moments(self) -> tuple[FloatArray, FloatArray]:
        """Means and variances that decide which features are kept, each of shape (p,).

        Those of the coefficients or, where their variances are infinite, the shape in which
        they grow: N(0, Sigma^+).

        Raises
        ------
        InputError
            If only the spectrum is known.
        """
        if self.finite:
            return self.feature_moments()
        values = self.problem.eigenvalues
        with np.errstate(divide="ignore"):
            inverse = np.where(values > 0, 1 / values, 0.0)
        zeros = np.zeros(self.problem.p)
        if self.problem.kind == Covariance.DIAGONAL:
            return zeros, inverse
        return zeros, np.asarray(self.problem.eigenvectors**2 @ inverse)

    def sample_selection(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Draw what decides which features are kept, shape (size, p); see `selection_moments`."""
        if self.finite:
            return self.sample(rng, size)
        values = self.problem.eigenvalues
        scale = np.zeros(self.problem.p)
        np.divide(1, np.sqrt(values), out=scale, where=values > 0)
        return self.problem.to_features(rng.standard_normal((size, self.problem.p)) * scale)

    def sample(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Draw solutions.

        Parameters
        ----------
        rng : numpy.random.Generator
        size : int
            Number of draws.

        Returns
        -------
        ndarray
            Coefficients of the features, or of the eigenvectors if only the spectrum is
            known, shape (size, p).

        Raises
        ------
        InputError
            If the variances are infinite, or `size` is negative.
        """
        if not self.finite:
            raise InputError(
                f"the solution has no finite variance at n = {self.n} and {self.rank} features "
                "of positive variance; take n further away from it."
            )
        if size < 0:
            raise InputError.parameter("size", "Law.sample", "non-negative", size)
        draws = rng.standard_normal((size, self.problem.p))
        draws *= np.sqrt(self.variances)
        draws += self.means
        if self.problem.kind == Covariance.SPECTRAL:
            return draws
        return self.problem.to_features(draws)


def predict_law(problem: LinearGaussianProblem, n: int, *, finite_n: bool = False) -> Law:
    """Predict the law of the least-squares solution from n samples.

    Parameters
    ----------
    problem : LinearGaussianProblem
    n : int
        Samples, at least 1.
    finite_n : bool
        Whether to put the exact expectations at this n in the place of their limits, where
        they are known.

    Returns
    -------
    Law

    Raises
    ------
    InputError
        If `n` is not a positive integer.
    """
    n = check_samples(n, "predict_law")
    values = problem.eigenvalues
    spectrum = Spectrum.single(values, problem.eigen_coefficients, problem.sigma**2, n)
    limit = solve(spectrum)
    found = at_finite_n(spectrum, limit) if finite_n else limit
    exact = float(exact_dense_risk(spectrum)[0])
    return Law(
        problem,
        n,
        found.regimes()[0],
        int(np.count_nonzero(values)),
        float(found.xi[0]),
        float(limit.gamma[0]),
        float(found.residual[0]),
        found.means[0],
        found.variances[0],
        float(found.gamma[0]),
        None if math.isnan(exact) else exact,
    )


def check_samples(n: int, where: str) -> int:
    """Return `n` if it is a positive integer.

    Raises
    ------
    InputError
        If it is not.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError.parameter("n", where, "a positive integer", n, "Give a sample size.")
    return int(n)
