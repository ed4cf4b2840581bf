"""The law of least squares for weighted spectra, many settings at once.

Arrays have a row for each setting (a width, a noise level, ...) and a column for each
eigenvalue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.roots import Bracket, find_roots

# Of large spectra a part finds the neighbourhood of the root.
SAMPLED_FROM = 40_000
SAMPLE = 4_000
XTOL = 1e-14


class Regime(StrEnum):
    """More features than samples, fewer, or as many, where the risk is infinite."""

    OVER = "overparameterized"
    UNDER = "underparameterized"
    AT = "at interpolation"


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues and coefficients, counted differently in each setting."""

    values: FloatArray  # eigenvalues, each >= 0, shape (a,)
    coefficients: FloatArray  # in the eigenbasis, shape (a,)
    noise: FloatArray  # sigma^2, shape (m,)
    n: FloatArray  # samples, in the unit of the weights, shape (m,)
    # how often each eigenvalue counts, shape (m, a); None for once
    weights: FloatArray | None = None

    @classmethod
    def single(
        cls, values: FloatArray, coefficients: FloatArray, noise: float, n: float
    ) -> Spectrum:
        """Make one row."""
        return cls(values, coefficients, np.array([noise]), np.array([float(n)]))

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
    """Means and variances of the minimum-norm solution in the eigenbasis."""

    # over, at: overparameterized; at interpolation; shape (m,)
    over: NDArray[np.bool_]
    at: NDArray[np.bool_]
    # xi, gamma, residual: fixed point, infinite unless overparameterized; dense risk including
    # sigma^2; relative error of the equation; shape (m,)
    xi: FloatArray
    gamma: FloatArray
    residual: FloatArray
    noise_share: FloatArray  # part of `gamma` that grows with sigma^2, shape (m,)
    # means, variances: shape (m, a); variances are infinite at interpolation with noise
    means: FloatArray
    variances: FloatArray

    def regimes(self) -> tuple[Regime, ...]:
        """Regime of each row."""
        return tuple(
            Regime.OVER if over else Regime.AT if at else Regime.UNDER
            for over, at in zip(self.over, self.at, strict=True)
        )


def solve(spectrum: Spectrum) -> Solution:
    """Solve definitions 3, 4 and 6 of the 2020 paper."""
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
    found = replace(found, noise_share=gamma.copy(), means=means.copy())
    part = _overparameterized(spectrum.rows(over))
    for name in ("xi", "gamma", "residual", "noise_share", "means", "variances"):
        getattr(found, name)[over] = getattr(part, name)
    return found


def _overparameterized(spectrum: Spectrum) -> Solution:
    values, beta, noise, n = spectrum.values, spectrum.coefficients, spectrum.noise, spectrum.n
    point = solve_fixed_point(values, n, spectrum.weights)
    # n - sum h^2 = sum h (1 - h), which cancels nothing
    spread = point.shares * point.complements
    spare = spectrum.count(spread)
    bias = spectrum.count(values * (beta * point.complements) ** 2)
    gamma = n * (noise + bias) / spare
    spread *= (gamma / n * point.xi)[:, None]
    share, every = n * noise / spare, np.ones(n.shape, dtype=np.bool_)
    means = point.shares * beta
    return Solution(every, ~every, point.xi, gamma, point.residual, share, means, spread)


def exact_dense_risk(spectrum: Spectrum) -> FloatArray:
    """Expected dense risk at finite n, including sigma^2, shape (m,); NaN where it is not known.

    Moments of inverse Wishart matrices. For rank r <= n: sigma^2 (n - 1) / (n - r - 1), infinite
    if r is n or n - 1. For equal eigenvalues and r > n: sigma^2 (r - 1) / (r - n - 1) plus
    (1 - n / r) times the signal. Without noise nothing is infinite.
    """
    n, rank, noise = spectrum.n, spectrum.rank, spectrum.noise
    values = spectrum.values
    used = values > 0 if spectrum.weights is None else (values > 0) & (spectrum.weights > 0)
    largest = np.where(used, values, -np.inf).max(axis=-1)
    smallest = np.where(used, values, np.inf).min(axis=-1)
    signal = spectrum.count(values * spectrum.coefficients**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        under = np.where(noise > 0, noise * ratio(n - 1, n - rank - 1), 0.0)
        equal = np.where(noise > 0, noise * ratio(rank - 1, rank - n - 1), 0.0)
        equal += (1 - n / rank) * signal
    over = np.where(largest <= smallest * (1 + 1e-12), equal, np.nan)
    return np.where(rank <= n, under, over)


def at_finite_n(spectrum: Spectrum, solution: Solution) -> Solution:
    """Put exact risks, and variances that follow, in the place of limits where they are known."""
    exact = exact_dense_risk(spectrum)
    known = np.isfinite(solution.gamma) & ~np.isnan(exact)
    n, rank, noise = spectrum.n, spectrum.rank, spectrum.noise
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(noise > 0, noise * ratio(rank, rank - n - 1), 0.0)
        over = (solution.gamma - solution.noise_share + share) / solution.gamma
        factor = np.where(solution.over, over, ratio(n - rank, n - rank - 1))
        factor = np.where(known & (solution.gamma > 0), factor, 1.0)
        variances = np.where(
            solution.variances > 0, solution.variances * factor[:, None], solution.variances
        )
    gamma = np.where(np.isnan(exact), solution.gamma, exact)
    return replace(solution, gamma=gamma, variances=variances)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Divide; 0 / x is 0, and a positive number over nothing, or less, is infinite."""
    top, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(top == 0, 0.0, np.where(below > 0, top / below, np.inf))


def weighted_sum(terms: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Sum over columns: (m, a) to (m,)."""
    if weights is None:
        return np.asarray(terms.sum(axis=1))
    return np.asarray(np.einsum("ij,ij->i", weights, terms))


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Solutions of sum_i w_i h_i = n, h_i = xi lambda_i / (1 + xi lambda_i)."""

    # xi, residual: shape (m,); the residual is |sum_i w_i h_i - n| / n as computed
    xi: FloatArray
    residual: FloatArray
    # shares, complements: h_i, the share of each coefficient that is learned, and 1 - h_i without
    # cancellation, shape (m, a)
    shares: FloatArray
    complements: FloatArray


def solve_fixed_point(
    values: FloatArray, n: FloatArray, weights: FloatArray | None = None
) -> FixedPoint:
    """Solve equation (8) of the 2020 paper by bracketing in log xi.

    With r the weight of the positive eigenvalues, the mean of h is n / r, and h grows with
    xi lambda: so the root lies between n / (r - n) / lambda_max and n / (r - n) / lambda_min.

    Parameters
    ----------
    values : (a,) eigenvalues, each >= 0
    n : (m,) samples; positive, and less than the weight of the positive eigenvalues
    weights : (m, a), how often each eigenvalue counts; 1 by default
    """
    with np.errstate(divide="ignore"):
        logs = np.log(values)
    log_xi = _root(_Equation.of(logs, n, weights))
    shares, complements = expit(log_xi[:, None] + logs), expit(-log_xi[:, None] - logs)
    found = weighted_sum(shares, weights)
    return FixedPoint(np.exp(log_xi), np.abs(found - n) / n, shares, complements)


@dataclass(frozen=True, eq=False)
class _Equation:
    """sum_i w_i h_i - n as a rising function of log xi."""

    logs: FloatArray
    n: FloatArray
    weights: FloatArray | None
    total: FloatArray

    @classmethod
    def of(cls, logs: FloatArray, n: FloatArray, weights: FloatArray | None) -> _Equation:
        used = logs > -np.inf
        if not used.all():
            logs = logs[used]
            weights = None if weights is None else weights[:, used]
        return cls(logs, n, weights, _total(logs, n, weights))

    def __call__(self, log_xi: FloatArray) -> FloatArray:
        # the smaller of the two sums loses fewest digits
        side = np.where(self.n > self.total / 2, -1.0, 1.0)
        h = self.logs + log_xi[:, None]
        h *= side[:, None]
        expit(h, out=h)
        found = weighted_sum(h, self.weights)
        wanted = np.where(side > 0, self.n, self.total - self.n)
        return np.asarray(side * (found - wanted))

    def part(self) -> _Equation:
        """The same for every so many eigenvalues."""
        places = slice(None, None, self.logs.size // SAMPLE)
        weights = None if self.weights is None else self.weights[:, places]
        total = _total(self.logs[places], self.n, weights)
        return _Equation(self.logs[places], self.n / self.total * total, weights, total)


def _total(logs: FloatArray, n: FloatArray, weights: FloatArray | None) -> FloatArray:
    return np.full(n.shape, float(logs.size)) if weights is None else weights.sum(axis=1)


def _root(equation: _Equation) -> FloatArray:
    middle = np.log(equation.n) - np.log(equation.total - equation.n)
    if equation.logs.size > SAMPLED_FROM:
        guess = _root(equation.part())
        step = 3 / SAMPLE**0.5
        bracket = Bracket.around(lambda x: -equation(x), guess, step, -np.inf)
        return find_roots(lambda x: -equation(x), bracket, XTOL)[0]
    w, logs = equation.weights, equation.logs
    largest = logs.max() if w is None else np.where(w > 0, logs, -np.inf).max(axis=1)
    smallest = logs.min() if w is None else np.where(w > 0, logs, np.inf).min(axis=1)
    # rounding may move the root past an end
    pad = 1e-9 * (1 + np.abs(middle) + np.abs(largest) + np.abs(smallest))
    bracket = Bracket.between(equation, middle - largest - pad, middle - smallest + pad)
    return find_roots(equation, bracket, XTOL)[0]
