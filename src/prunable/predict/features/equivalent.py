"""The linear Gaussian problem with the second moments of any features and targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.predict.linear.problem import LinearGaussianProblem

FloatArray = NDArray[np.float64]

# Eigenvalues below this times the largest cannot be told from rounding.
FLOOR = 1e-10
# What is left of the target may fall this far below 0, as a share of its second moment.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Moments:
    """All that least squares on features sees of a distribution; nothing is centred.

    Parameters
    ----------
    second : ndarray, shape (p, p)
        E[x x^T], symmetric.
    cross : ndarray, shape (p,)
        E[x y].
    target : float
        E[y^2].

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, the matrix is not symmetric, or a feature
        or the target has a negative second moment.
    """

    second: FloatArray
    cross: FloatArray
    target: float

    def __post_init__(self) -> None:
        second = np.asarray(self.second, dtype=np.float64)
        cross = np.asarray(self.cross, dtype=np.float64)
        object.__setattr__(self, "second", second)
        object.__setattr__(self, "cross", cross)
        where = "Moments"
        if second.ndim != 2 or second.shape[0] != second.shape[1] or not second.size:
            raise InputError.parameter("second", where, "a square matrix", second.shape)
        if cross.shape != second.shape[:1]:
            raise InputError.parameter(
                "cross", where, f"of shape {second.shape[:1]}", f"shape {cross.shape}"
            )
        for name, values in (("second", second), ("cross", cross), ("target", self.target)):
            if not np.isfinite(values).all():
                raise InputError.parameter(
                    name, where, "finite", "NaN or infinity", "Clean the data first."
                )
        variances = np.diagonal(second)
        if variances.min() < 0:
            i = int(variances.argmin())
            raise InputError.parameter(
                "second",
                where,
                "of features whose squares have means >= 0",
                f"{variances[i]} for feature {i}",
            )
        if not self.target >= 0:
            raise InputError.parameter("target", where, "at least 0", self.target)
        if np.abs(second - second.T).max() > 1e-8 * np.abs(second).max():
            raise InputError.parameter("second", where, "symmetric", "an asymmetric matrix")

    def restrict(self, features: ArrayLike) -> Moments:
        """Moments when only these features, given by index, are used."""
        kept = np.asarray(features)
        return Moments(self.second[np.ix_(kept, kept)], self.cross[kept], self.target)

    def risk(self, weights: ArrayLike) -> FloatArray:
        """E[(y - x . w)^2].

        Parameters
        ----------
        weights : array_like, shape (..., p)

        Returns
        -------
        ndarray, shape (...)
        """
        w = np.asarray(weights, dtype=np.float64)
        quadratic = np.einsum("...i,...i->...", w @ self.second, w)
        return np.asarray(self.target - 2 * (w @ self.cross) + quadratic)


@dataclass(frozen=True, eq=False)
class Equivalent:
    """A linear Gaussian problem that stands for features.

    Attributes
    ----------
    problem : LinearGaussianProblem
    sigma : float
        Standard deviation of its noise: what no weights on the features can explain.
    n_floored : int
        Eigenvalues that were raised to the floor.
    n_null : int
        Eigenvalues that are 0.
    condition : float
        Largest eigenvalue over the smallest that is not 0, after that.
    """

    problem: LinearGaussianProblem
    sigma: float
    n_floored: int
    n_null: int
    condition: float


def equivalent_problem(moments: Moments, *, floor: float = FLOOR, null: float = 0.0) -> Equivalent:
    """Build the linear Gaussian problem with the same second moments.

    Parameters
    ----------
    moments : Moments
    floor : float
        Eigenvalues below this share of the largest are raised to it: inverting them would
        multiply rounding. In [0, 1).
    null : float
        Eigenvalues up to this share of the largest are 0 instead: features depend on each
        other linearly. Below `floor`.

    Returns
    -------
    Equivalent

    Raises
    ------
    InputError
        If all features are zero, an eigenvalue is below minus the floor, or the noise would
        have a negative variance.

    Notes
    -----
    Def. 2 of Chang et al. (2020): Sigma = E[x x^T], beta* = Sigma^-1 E[x y],
    sigma^2 = E[y^2] - E[x y]^T Sigma^-1 E[x y].
    """
    if not 0 <= floor < 1:
        raise InputError.parameter("floor", "equivalent_problem", "in [0, 1)", floor)
    values, vectors = np.linalg.eigh(moments.second)
    largest = float(values[-1])
    if largest <= 0:
        raise InputError.parameter(
            "second", "equivalent_problem", "of features that are not all 0", "zeros"
        )
    if values[0] < -max(floor, 1e-12) * largest:
        raise InputError.parameter(
            "second",
            "equivalent_problem",
            "positive semidefinite",
            f"an eigenvalue of {values[0]:.3g} beside {largest:.3g}",
            "Estimate features and products from the same examples.",
        )
    used = values > null * largest if null else np.ones(values.size, dtype=np.bool_)
    raised = np.maximum(values, max(floor * largest, np.finfo(np.float64).tiny))
    weights = np.where(used, vectors.T @ moments.cross / raised, 0.0)
    left = moments.target - float(raised @ weights**2)
    if left < -ROUNDING * moments.target:
        raise InputError.parameter(
            "cross",
            "equivalent_problem",
            "such that the features explain no more than the target's second moment",
            f"a noise variance of {left:.3g} beside E[y^2] = {moments.target:.3g}",
            "Estimate all moments from the same examples.",
        )
    n_floored = int(np.sum(used & (raised > values)))
    spectrum = np.where(used, raised, 0.0)
    second = moments.second
    if n_floored or not used.all():
        second = (vectors * spectrum) @ vectors.T
    sigma = float(np.sqrt(max(left, 0.0)))
    problem = LinearGaussianProblem.dense(second, vectors @ weights, sigma)
    # decomposed already; from the matrix, zeros would come back as rounding
    vars(problem)["_decomposition"] = (spectrum, vectors)
    return Equivalent(
        problem, sigma, n_floored, int(np.sum(~used)), float(raised[-1] / raised[used][0])
    )
