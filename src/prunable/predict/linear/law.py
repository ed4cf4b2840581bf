"""The law of the least-squares solution of a linear Gaussian problem.

Definitions 4 (more features than samples) and 6 (fewer) of the 2020 paper.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from prunable.errors import InputError, require
from prunable.numerics.arrays import FloatArray
from prunable.predict.linear import solution
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem, check_samples


@dataclass(frozen=True, eq=False)
class Law:
    """Gaussian law of the minimum-norm least-squares solution.

    In the eigenbasis of the covariance the coefficients are independent.
    """

    problem: LinearGaussianProblem
    n: int  # samples
    regime: solution.Regime
    rank: int  # features of positive variance, which with n decide the regime
    xi: float  # fixed point, infinite unless overparameterized
    gamma: float  # dense risk in the limit of the 2020 paper, including sigma^2
    residual: float  # relative error of the equation of the fixed point
    # of the coefficients in the eigenbasis, shape (p,); variances are infinite at interpolation
    # with noise
    means: FloatArray = field(repr=False)
    variances: FloatArray = field(repr=False)
    risk: float  # population risk of the dense solution, including sigma^2
    # its expectation at this very n, where it is known: underparameterized, and for equal
    # eigenvalues
    exact_risk: float | None

    @property
    def finite(self) -> bool:
        """Whether the coefficients have finite variances."""
        return math.isfinite(self.risk)

    def feature_moments(self) -> tuple[FloatArray, FloatArray]:
        """Means and variances of the coefficients of known features, each of shape (p,)."""
        return self.problem.to_features(self.means), self._of_features(self.variances)

    def selection_moments(self) -> tuple[FloatArray, FloatArray]:
        """Means and variances that decide which features are kept, each of shape (p,).

        Those of the coefficients or, where their variances are infinite, the shape in which
        they grow: N(0, Sigma^+).
        """
        if self.finite:
            return self.feature_moments()
        values = self.problem.eigenvalues
        inverse = solution.ratio(1.0 * (values > 0), values)
        return np.zeros(self.problem.p), self._of_features(inverse)

    def _of_features(self, variances: FloatArray) -> FloatArray:
        if self.problem.kind == Covariance.DIAGONAL:
            return variances
        return np.asarray(self.problem.eigenvectors**2 @ variances)

    def sample_selection(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Draw what decides which features are kept, shape (size, p); see `selection_moments`."""
        if self.finite:
            return self.sample(rng, size)
        values = self.problem.eigenvalues
        scale = np.zeros(self.problem.p)
        np.divide(1, np.sqrt(values), out=scale, where=values > 0)
        return self.problem.to_features(rng.standard_normal((size, self.problem.p)) * scale)

    def sample(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Draw solutions of finite variance, shape (size, p).

        Coefficients of the features, or of the eigenvectors if only the spectrum is known.
        """
        if not self.finite:
            raise InputError(
                f"the solution has no finite variance at n = {self.n} and {self.rank} features "
                "of positive variance; take n further away from it."
            )
        require(size >= 0, "size", "Law.sample", "non-negative", size)
        draws = rng.standard_normal((size, self.problem.p))
        draws *= np.sqrt(self.variances)
        draws += self.means
        if self.problem.kind == Covariance.SPECTRAL:
            return draws
        return self.problem.to_features(draws)


def predict_law(problem: LinearGaussianProblem, n: int, *, finite_n: bool = False) -> Law:
    """Predict the law of the least-squares solution from n >= 1 samples.

    With `finite_n` the exact expectations at this n take the place of their limits, where they
    are known.
    """
    n = check_samples(n, "predict_law")
    values = problem.eigenvalues
    spectrum = solution.Spectrum.single(values, problem.eigen_coefficients, problem.sigma**2, n)
    limit = solution.solve(spectrum)
    found = solution.at_finite_n(spectrum, limit) if finite_n else limit
    exact = float(solution.exact_dense_risk(spectrum)[0])
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
