"""The fixed point of overparameterized least squares, for many weighted spectra at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from prunable.predict.linear.roots import Bracket, find_roots

FloatArray = NDArray[np.float64]

# Of large spectra a part finds the neighbourhood of the root.
SAMPLED_FROM = 40_000
SAMPLE = 4_000
XTOL = 1e-14


def weighted_sum(terms: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Sum over columns: (m, a) to (m,)."""
    if weights is None:
        return np.asarray(terms.sum(axis=1))
    return np.asarray(np.einsum("ij,ij->i", weights, terms))


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Solutions of sum_i w_i h_i = n, h_i = xi lambda_i / (1 + xi lambda_i).

    Attributes
    ----------
    xi, residual : ndarray
        Shape (m,); the residual is |sum_i w_i h_i - n| / n as computed.
    shares : ndarray
        h_i, the share of each coefficient that is learned, shape (m, a).
    complements : ndarray
        1 - h_i, without cancellation, shape (m, a).
    """

    xi: FloatArray
    residual: FloatArray
    shares: FloatArray
    complements: FloatArray


def solve_fixed_point(
    values: FloatArray, n: FloatArray, weights: FloatArray | None = None
) -> FixedPoint:
    """Solve equation (8) of the 2020 paper by bracketing in log xi.

    Parameters
    ----------
    values : ndarray
        Eigenvalues, each >= 0, shape (a,).
    n : ndarray
        Samples, shape (m,); positive, and less than the weight of the positive eigenvalues.
    weights : ndarray, optional
        How often each eigenvalue counts, shape (m, a); 1 by default.

    Returns
    -------
    FixedPoint

    Notes
    -----
    With r the weight of the positive eigenvalues, the mean of h is n / r, and h grows with
    xi lambda: so the root lies between n / (r - n) / lambda_max and n / (r - n) / lambda_min.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(values)
    equation = _Equation.of(logs, n, weights)
    log_xi = _root(equation)
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
        total = np.full(n.shape, float(logs.size)) if weights is None else weights.sum(axis=1)
        return cls(logs, n, weights, total)

    def __call__(self, log_xi: FloatArray) -> FloatArray:
        """Excess at each log xi, shape (m,)."""
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
        logs = self.logs[places]
        total = np.full(self.n.shape, float(logs.size)) if weights is None else weights.sum(axis=1)
        return _Equation(logs, self.n / self.total * total, weights, total)


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
