"""The law of least squares for weighted spectra: finite problems and limiting measures alike.

Arrays have a row for each setting (a width, a noise level, ...) and a column for each
eigenvalue.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.predict.linear.fixed_point import solve_fixed_point

FloatArray = NDArray[np.float64]


class Regime(StrEnum):
    """More features than samples, fewer, or as many, where the risk is infinite."""

    OVER = "overparameterized"
    UNDER = "underparameterized"
    AT = "at interpolation"


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues and coefficients, counted differently in each setting.

    Attributes
    ----------
    values : ndarray
        Eigenvalues, each >= 0, shape (a,).
    coefficients : ndarray
        In the eigenbasis, shape (a,).
    noise : ndarray
        sigma^2, shape (m,).
    n : ndarray
        Samples, in the unit of the weights, shape (m,).
    weights : ndarray or None
        How often each eigenvalue counts, shape (m, a); None for once.
    """

    values: FloatArray
    coefficients: FloatArray
    noise: FloatArray
    n: FloatArray
    weights: FloatArray | None = None

    @classmethod
    def single(
        cls,
        values: FloatArray,
        coefficients: FloatArray,
        noise: float,
        n: float,
        weights: FloatArray | None = None,
    ) -> Spectrum:
        """Make one row."""
        rows = None if weights is None else weights[None, :]
        return cls(values, coefficients, np.array([noise]), np.array([float(n)]), rows)

    def count(self, terms: FloatArray) -> FloatArray:
        """Sum over eigenvalues with the weights: (a,) or (m, a) to (m,)."""
        if self.weights is not None:
            return np.asarray((self.weights * terms).sum(axis=-1))
        return np.asarray(np.broadcast_to(terms.sum(axis=-1), self.n.shape))

    @property
    def rank(self) -> FloatArray:
        """Weight of the positive eigenvalues, shape (m,)."""
        return self.count((self.values > 0).astype(np.float64))

    def rows(self, chosen: NDArray[np.bool_]) -> Spectrum:
        """Keep some settings."""
        weights = None if self.weights is None else self.weights[chosen]
        return Spectrum(self.values, self.coefficients, self.noise[chosen], self.n[chosen], weights)


@dataclass(frozen=True, eq=False)
class Solution:
    """Means and variances of the minimum-norm solution in the eigenbasis.

    Attributes
    ----------
    over, at : ndarray of bool
        Overparameterized; at interpolation. Shape (m,).
    xi, gamma, residual : ndarray
        Fixed point, dense risk including sigma^2, relative error of the equation; shape (m,).
    noise_share : ndarray
        Part of `gamma` that grows with sigma^2, shape (m,).
    means, variances : ndarray
        Shape (m, a); variances are infinite at interpolation with noise.
    """

    over: NDArray[np.bool_]
    at: NDArray[np.bool_]
    xi: FloatArray
    gamma: FloatArray
    residual: FloatArray
    noise_share: FloatArray
    means: FloatArray
    variances: FloatArray

    def regimes(self) -> tuple[Regime, ...]:
        """Regime of each row."""
        return tuple(
            Regime.OVER if over else Regime.AT if at else Regime.UNDER
            for over, at in zip(self.over, self.at, strict=True)
        )


def solve(spectrum: Spectrum) -> Solution:
    """Solve definitions 3, 4 and 6 of the 2020 paper.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    Solution
    """
    values, n, noise = spectrum.values, spectrum.n, spectrum.noise
    gap = n - spectrum.rank
    gap = np.where(np.abs(gap) <= 1e-12 * n, 0.0, gap)
    over = gap < 0
    if over.all():
        return _overparameterized(spectrum)
    positive = values > 0
    scale, gamma = ratio(noise, gap), ratio(noise * n, gap)
    means = np.broadcast_to(np.where(positive, spectrum.coefficients, 0.0), (n.size, values.size))
    variances = np.zeros(means.shape)
    np.divide(scale[:, None], values, out=variances, where=positive & (scale > 0)[:, None])
    found = Solution(
        over, gap == 0, np.full(n.shape, np.inf), gamma, np.zeros(n.shape), gamma, means, variances
    )
    if not over.any():
        return found
    # fill in the rows that the fixed point describes
    part = _overparameterized(spectrum.rows(over))
    means = means.copy()
    for whole, rows in (
        (found.xi, part.xi),
        (gamma, part.gamma),
        (found.residual, part.residual),
        (means, part.means),
        (variances, part.variances),
    ):
        whole[over] = rows
    share = gamma.copy()
    share[over] = part.noise_share
    return Solution(over, found.at, found.xi, gamma, found.residual, share, means, variances)


def _overparameterized(spectrum: Spectrum) -> Solution:
    values, beta, noise, n = spectrum.values, spectrum.coefficients, spectrum.noise, spectrum.n
    point = solve_fixed_point(values, n, spectrum.weights)
    # n - sum h^2 = sum h (1 - h), which cancels nothing
    spread = point.shares * point.complements
    spare = spectrum.count(spread)
    bias = spectrum.count(values * (beta * point.complements) ** 2)
    gamma = n * (noise + bias) / spare
    spread *= (gamma / n * point.xi)[:, None]
    every = np.ones(n.shape, dtype=np.bool_)
    return Solution(
        every,
        ~every,
        point.xi,
        gamma,
        point.residual,
        n * noise / spare,
        point.shares * beta,
        spread,
    )


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Divide; 0 / x is 0, and a positive number over nothing, or less, is infinite."""
    top, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(top == 0, 0.0, np.where(below > 0, top / below, np.inf))
