"""Linear Gaussian problems: x ~ N(0, Sigma), y = x beta + sigma z."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError, require
from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.names import Variable

Factor = tuple[FloatArray, bool]


class Covariance(StrEnum):
    """What is known of the covariance: its diagonal, all of it, or only its spectrum."""

    DIAGONAL = "diagonal"
    DENSE = "dense"
    SPECTRAL = "spectral"


@dataclass(frozen=True, eq=False)
class LinearGaussianProblem:
    """One least-squares problem; build it by `diagonal`, `dense` or `spectral`.

    Definition 1 of the 2020 paper. The three builders raise `InputError` if an array has
    another shape, is not finite, or is no covariance.
    """

    # variances, shape (p,), or the matrix, shape (p, p); eigenvalues if only they are known
    covariance: FloatArray = field(repr=False)
    # (p,) array of the model itself, not multiplied by sqrt(p); of the features, or of the
    # eigenvectors if only the spectrum is known
    coefficients: FloatArray = field(repr=False)
    sigma: float  # standard deviation of the noise, >= 0
    kind: Covariance

    @classmethod
    def diagonal(
        cls, variances: ArrayLike, coefficients: ArrayLike, sigma: float
    ) -> LinearGaussianProblem:
        """Take uncorrelated features; one variance stands for all."""
        return cls._of_vectors(variances, coefficients, sigma, Covariance.DIAGONAL, "variances")

    @classmethod
    def spectral(
        cls, eigenvalues: ArrayLike, coefficients_in_eigenbasis: ArrayLike, sigma: float
    ) -> LinearGaussianProblem:
        """Take features in general position, of which only the spectrum is known.

        No matrix is formed. What depends on the single features, such as pruning, is predicted
        for eigenvectors that lie uniformly at random.
        """
        return cls._of_vectors(
            eigenvalues, coefficients_in_eigenbasis, sigma, Covariance.SPECTRAL, "eigenvalues"
        )

    @classmethod
    def dense(
        cls, covariance: ArrayLike, coefficients: ArrayLike, sigma: float
    ) -> LinearGaussianProblem:
        """Take correlated features: a symmetric, positive semidefinite (p, p) matrix E[x x^T]."""
        where = "LinearGaussianProblem.dense"
        beta = _vector(coefficients, "coefficients", where)
        matrix = _finite(covariance, "covariance", where)
        if matrix.shape != (beta.size, beta.size):
            raise InputError.parameter(
                "covariance", where, f"of shape ({beta.size}, {beta.size})", f"{matrix.shape}"
            )
        scale = float(np.abs(matrix).max())
        if float(np.abs(matrix - matrix.T).max()) > 1e-8 * scale:
            raise InputError.parameter(
                "covariance", where, "symmetric", "a matrix that is not", "Give (S + S.T) / 2."
            )
        smallest = float(matrix.diagonal().min())
        require(smallest >= 0, "covariance", where, "non-negative on its diagonal", smallest)
        return cls((matrix + matrix.T) / 2, beta, check_sigma(sigma, where), Covariance.DENSE)

    @classmethod
    def _of_vectors(
        cls,
        variances: ArrayLike,
        coefficients: ArrayLike,
        sigma: float,
        kind: Covariance,
        name: str,
    ) -> LinearGaussianProblem:
        where = f"LinearGaussianProblem.{kind}"
        beta = _vector(coefficients, "coefficients", where)
        values = _finite(variances, name, where)
        if values.ndim == 0:
            values = np.full(beta.size, float(values))
        valid = values.shape == beta.shape
        require(valid, name, where, f"as many as the {beta.size} coefficients", f"{values.shape}")
        if float(values.min()) < 0:
            raise InputError.parameter(name, where, "non-negative", float(values.min()))
        return cls(values, beta, check_sigma(sigma, where), kind)

    @property
    def p(self) -> int:
        """Number of features."""
        return int(self.coefficients.size)

    @property
    def variances(self) -> FloatArray:
        """Variances of the features, shape (p,); all equal if only the spectrum is known."""
        if self.kind == Covariance.DENSE:
            return self.covariance.diagonal()
        if self.kind == Covariance.SPECTRAL:
            return np.full(self.p, float(self.covariance.mean()))
        return self.covariance

    @property
    def saliencies(self) -> FloatArray:
        """What oracle pruning goes by, Sigma_ii beta_i^2: equation (4) of the 2020 paper."""
        return self.variances * self.coefficients**2

    @cached_property
    def _decomposition(self) -> tuple[FloatArray, FloatArray]:
        values, vectors = scipy.linalg.eigh(self.covariance)
        floor = self.p * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
        if values[0] < -1e3 * floor:
            raise InputError.parameter(
                "covariance",
                "LinearGaussianProblem.dense",
                "positive semidefinite",
                f"the eigenvalue {values[0]:.3g} beside {values[-1]:.3g}",
                "Estimate it with shrinkage, or clip its spectrum at 0.",
            )
        # below the rounding error of the decomposition an eigenvalue is not told from 0
        values[values <= floor] = 0.0
        return values, vectors

    @property
    def eigenvalues(self) -> FloatArray:
        """Eigenvalues of the covariance, shape (p,), in the order of `eigen_coefficients`."""
        return self._decomposition[0] if self.kind == Covariance.DENSE else self.covariance

    @cached_property
    def eigen_coefficients(self) -> FloatArray:
        """Coefficients of the eigenvectors, shape (p,)."""
        if self.kind == Covariance.DENSE:
            return np.asarray(self._decomposition[1].T @ self.coefficients)
        return self.coefficients

    @property
    def eigenvectors(self) -> FloatArray:
        """Eigenvectors of a dense covariance, one a column, shape (p, p)."""
        if self.kind != Covariance.DENSE:
            raise InputError("only a dense problem holds eigenvectors; the others need none.")
        return self._decomposition[1]

    def to_features(self, vectors: FloatArray) -> FloatArray:
        """Turn coefficients of eigenvectors, shape (..., p), into those of features.

        Raises `InputError` if only the spectrum is known.
        """
        self._require_features("to_features")
        if self.kind == Covariance.DIAGONAL:
            return vectors
        return np.asarray(vectors @ self._decomposition[1].T)

    def times(self, vector: FloatArray) -> FloatArray:
        """Multiply a vector, shape (p,), by the covariance of known features."""
        if self.kind == Covariance.DIAGONAL:
            return self.covariance * vector
        return np.asarray(self.covariance @ vector)

    @cached_property
    def signal(self) -> float:
        """Variance of x beta, the risk that a perfect model removes."""
        return self._energy(self.coefficients)

    def risk_of(self, coefficients: ArrayLike) -> FloatArray:
        """Population risk of models, shape (..., p) to (...), including the noise sigma^2."""
        error = np.asarray(coefficients, dtype=np.float64) - self.coefficients
        if self.kind == Covariance.DENSE:
            excess = ((error @ self.covariance) * error).sum(axis=-1)
            # rounding may leave a negative square
            return np.asarray(self.sigma**2 + np.maximum(excess, 0.0))
        return np.asarray(self.sigma**2 + error**2 @ self.covariance)

    def restricted(self, features: ArrayLike) -> LinearGaussianProblem:
        """Use only some of the features; what they cannot express becomes noise.

        Sigma_I, beta_I = Sigma_I^+ (Sigma beta)_I, and sigma_I^2 = sigma^2 + min_b E[(x beta - x_I
        b)^2]: definitions 2 and 5, and lemma 7, of the 2020 paper. Raises InputError if they are
        neither, or only the spectrum is known. The features are different indices, shape (s,), or a
        boolean mask, shape (p,); not empty.
        """
        self._require_features("restricted")
        chosen = np.arange(self.p)[_indices(features, self.p)]
        if self.kind == Covariance.DIAGONAL:
            left_out = np.ones(self.p, dtype=np.bool_)
            left_out[chosen] = False
            inner, beta = self.covariance[chosen], self.coefficients[chosen]
            lost = float(self.covariance[left_out] @ self.coefficients[left_out] ** 2)
        else:
            inner = self.covariance[np.ix_(chosen, chosen)]
            beta = _solve(inner, self.covariance[chosen] @ self.coefficients)
            error = self.coefficients.copy()
            error[chosen] -= beta
            lost = max(self._energy(error), 0.0)
        return LinearGaussianProblem(inner, beta, math.sqrt(self.sigma**2 + lost), self.kind)

    def first(self, k: int) -> LinearGaussianProblem:
        """Use only the first k features."""
        return self if k == self.p else self.restricted(np.arange(k))

    def with_sigma(self, sigma: float) -> LinearGaussianProblem:
        """Change the noise only; the decomposition of a dense covariance is kept."""
        sigma = check_sigma(sigma, "LinearGaussianProblem.with_sigma")
        changed = LinearGaussianProblem(self.covariance, self.coefficients, sigma, self.kind)
        # what is cached does not depend on the noise
        changed.__dict__.update({**self.__dict__, "sigma": sigma})
        return changed

    def rotated(self, rng: np.random.Generator) -> LinearGaussianProblem:
        """Give a known spectrum eigenvectors, uniformly at random: a dense problem."""
        Q, R = np.linalg.qr(rng.standard_normal((self.p, self.p)))
        Q *= np.sign(R.diagonal())
        return LinearGaussianProblem.dense(
            (Q * self.eigenvalues) @ Q.T, Q @ self.eigen_coefficients, self.sigma
        )

    def _energy(self, vector: FloatArray) -> float:
        if self.kind == Covariance.DENSE:
            return float(vector @ self.covariance @ vector)
        return float(self.covariance @ vector**2)

    def _require_features(self, method: str) -> None:
        if self.kind == Covariance.SPECTRAL:
            raise InputError(
                f"`LinearGaussianProblem.{method}` needs the single features; this problem knows "
                "only its spectrum. Build it by `diagonal` or `dense`."
            )


def setting(
    variable: Variable, problem: LinearGaussianProblem, n: int, s: int, point: float
) -> tuple[LinearGaussianProblem, int, int]:
    """The problem, samples and features kept at one point of a sweep."""
    if variable == Variable.SIGMA:
        return problem.with_sigma(point), n, s
    count = int(point)
    if variable == Variable.WIDTH:
        return problem.first(count), n, min(s, count)
    return (problem, count, s) if variable == Variable.SAMPLES else (problem, n, count)


def sound_cholesky(matrix: FloatArray, least: float = 1e-7) -> Factor | None:
    """Factor a symmetric matrix for `cho_solve`; None if it is not safely positive definite.

    The least pivot must be so large a share of the largest.
    """
    try:
        factor = scipy.linalg.cho_factor(matrix, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    pivots = np.abs(factor[0].diagonal())
    return factor if float(pivots.min()) >= least * float(pivots.max()) else None


def check_kept(s: int, p: int, where: str) -> int:
    """Return the number of features kept if it is an integer in [1, p]."""
    valid = not isinstance(s, bool) and isinstance(s, int | np.integer) and 1 <= s <= p
    require(valid, "s", where, f"an integer in [1, p = {p}]", s, "It counts the features kept.")
    return int(s)


def check_samples(n: int, where: str) -> int:
    """Return the number of samples if it is a positive integer."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n < 2**53:
        wanted = "a positive integer below 2^53"
        raise InputError.parameter("n", where, wanted, str(n)[:40], "Give a sample size.")
    return int(n)


def check_sigma(sigma: float, where: str) -> float:
    """Return the standard deviation of the noise if it is finite and not negative."""
    fine = sigma >= 0 and sigma * sigma < math.inf
    require(fine, "sigma", where, "finite and non-negative, its square too", sigma)
    return float(sigma)


def check_draws(
    rng: np.random.Generator | None, draws: int, where: str, why: str
) -> np.random.Generator:
    """Return the generator if it is one, and at least two draws are made of it."""
    if rng is None or draws < 2:
        raise InputError.parameter(
            "rng",
            where,
            f"a generator, with at least 2 draws, {why}",
            f"{rng!r} and {draws} draws",
            "Pass `rng=prunable.numerics.randomness.rng(0)`.",
        )
    return rng


def _solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Minimum-norm solution of a positive semidefinite system."""
    factor = sound_cholesky(matrix)
    if factor is None:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0])
    return np.asarray(scipy.linalg.cho_solve(factor, right, check_finite=False))


def _indices(features: ArrayLike, p: int) -> NDArray[np.intp]:
    where = "LinearGaussianProblem.restricted"
    given = np.asarray(features)
    if given.dtype == np.bool_:
        require(given.shape == (p,), "features", where, f"of length {p}", f"{given.shape}")
        given = np.flatnonzero(given)
    if given.ndim != 1 or given.size == 0 or not np.issubdtype(given.dtype, np.integer):
        raise InputError.parameter("features", where, "a non-empty list of indices", f"{given!r}")
    if given.min() < 0 or given.max() >= p or np.unique(given).size != given.size:
        raise InputError.parameter("features", where, f"different indices in [0, {p})", f"{given}")
    return given.astype(np.intp)


def _finite(values: ArrayLike, name: str, where: str) -> FloatArray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError.parameter(name, where, "numbers", f"{values!r}") from error
    require(array.size != 0, name, where, "non-empty", "nothing")
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)].flat[0]
        raise InputError.parameter(name, where, "finite", float(bad), "Remove NaN and infinities.")
    return array


def _vector(values: ArrayLike, name: str, where: str) -> FloatArray:
    array = _finite(values, name, where)
    require(array.ndim == 1, name, where, "one-dimensional", f"shape {array.shape}")
    return array
