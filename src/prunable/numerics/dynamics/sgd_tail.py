"""The exact tail index of stochastic gradient descent on a linear regression.

With Gaussian inputs a_i of variance s^2 and constant step eta, one step on a fresh batch of b
examples is x' = M x + q, M = I - (eta/b) sum_i a_i a_i^T. The stationary law has a power
tail whose index alpha solves h(alpha) = 1, h(r) = E||M e_1||^r: nothing here is heavy-tailed
but the result. By rotation invariance ||M e_1||^2 is a function of two chi-square variables,
so h is an integral over two half-lines, in every dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from prunable.errors import InputError, require
from prunable.numerics.arrays import FloatArray

# Panels shrink by this factor towards a point where the integrand is not smooth ...
GRADING = 0.35
LEVELS = 20
# ... and are at most this wide, in units of the normal law, elsewhere.
WIDEST = 1.0
NODES = 12
# Beyond it a power tail cannot be told from a light one.
LARGEST_INDEX = 512.0
# How far the integrals go past the mode of the integrand.
REACH = 9.0


@dataclass(frozen=True)
class LinearRegressionSgd:
    """Stochastic gradient descent on squared errors, 1/2 each, with fresh Gaussian examples."""

    eta: float  # constant step, positive
    # batch, dim: examples b of a step and dimension d of an input, at least 1
    batch: int = 1
    dim: int = 1
    input_std: float = 1.0  # standard deviation of every coordinate of an input

    def __post_init__(self) -> None:
        for name in ("eta", "input_std"):
            value = getattr(self, name)
            valid = math.isfinite(value) and value > 0
            require(valid, name, "LinearRegressionSgd", "positive and finite", value)
        for name in ("batch", "dim"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError.parameter(name, "LinearRegressionSgd", "a count above 0", value)

    @property
    def rate(self) -> float:
        """eta s^2 / b, the only way in which step and input scale enter."""
        return self.eta * self.input_std**2 / self.batch

    @property
    def infinite_variance_step(self) -> float:
        """The step from which on the stationary variance is infinite (alpha = 2).

        h(2) = 1 - 2 eta s^2 + (eta s^2)^2 (b + d + 1)/b in closed form.
        """
        return 2 * self.batch / ((self.batch + self.dim + 1) * self.input_std**2)


def log_moment_function(model: LinearRegressionSgd, r: float) -> float:
    """log h(r) = log E||M e_1||^r for 0 <= r <= 512, accurate to about 1e-11.

    0 at r = 0 and at the tail index, convex between. ||M e_1||^2 = (1 - cX)^2 + c^2 X Y with
    c = eta s^2/b and X, Y independent chi-square with b and d - 1 degrees of freedom: theorem 3 of
    Gurbuzbalaban, Simsekli and Zhu (2021).
    """
    require(
        0 <= r <= LARGEST_INDEX, "r", "log_moment_function", f"between 0 and {LARGEST_INDEX:g}", r
    )
    return _NormLaw.of(model, r).log_moment(r)


def lyapunov_exponent(model: LinearRegressionSgd) -> float:
    """E log||M e_1||, the mean logarithmic growth a step: negative iff a stationary law exists."""
    return _NormLaw.of(model, 0.0).mean_log()


def tail_index(model: LinearRegressionSgd) -> float:
    """Tail index of the stationary law: the positive root of h(alpha) = 1, to 1e-9 relative.

    It falls with the step and rises with the batch. Kesten (1973) and Goldie (1991): P(||x|| > t) ~
    C t^-alpha. The product of independent M has the growth of ||M e_1|| because inputs are rotation
    invariant. Raises InputError if the step is so large that there is no stationary law, or so
    small that alpha is above 512.
    """
    if lyapunov_exponent(model) >= 0:
        raise InputError.parameter(
            "eta",
            "tail_index",
            "small enough for a stationary law",
            model.eta,
            f"At batch {model.batch} and dimension {model.dim} products of steps grow; lower eta.",
        )
    high, law = 2.0, _NormLaw.of(model, 2.0)
    while law.log_moment(high) <= 0:
        high *= 2
        if high > LARGEST_INDEX:
            raise InputError.parameter(
                "eta",
                "tail_index",
                f"large enough for an index below {LARGEST_INDEX:g}",
                model.eta,
                "Such tails cannot be told from light ones; raise eta.",
            )
        law = _NormLaw.of(model, high)
    low = high / 2
    while law.log_moment(low) >= 0:
        # h < 1 right of 0 because its slope there is negative
        low /= 2
    return float(brentq(law.log_moment, low, high, xtol=1e-12, rtol=1e-10))


def critical_step(batch: int = 1, dim: int = 1) -> float:
    """Largest step with a stationary law, where the tail index reaches 0."""

    def growth(log_eta: float) -> float:
        return lyapunov_exponent(LinearRegressionSgd(math.exp(log_eta), batch, dim))

    base = LinearRegressionSgd(1.0, batch, dim).infinite_variance_step
    # at alpha = 2 there is a stationary law; the growth is positive once eta is far above
    return math.exp(float(brentq(growth, math.log(base), math.log(base) + 6, xtol=1e-10)))


@dataclass(frozen=True, eq=False)
class _NormLaw:
    """Quadrature nodes of log||M e_1|| and their log weights."""

    log_norms: FloatArray
    log_weights: FloatArray

    def log_moment(self, r: float) -> float:
        # dividing by the same rule's mass makes h(0) = 1 to the last bit
        top = float(logsumexp(self.log_weights + r * self.log_norms))
        return top - float(logsumexp(self.log_weights))

    def mean_log(self) -> float:
        weights = np.exp(self.log_weights)
        return float(weights @ self.log_norms / weights.sum())

    @classmethod
    def of(cls, model: LinearRegressionSgd, largest_r: float) -> _NormLaw:
        b, d, c = model.batch, model.dim, model.rate
        kink = 1 / math.sqrt(c)
        z, log_z = _graded(kink, math.sqrt(b - 1 + 2 * largest_r) + REACH)
        log_wz = log_z + _log_chi_density(z, b)
        # z^2 c - 1 = (z - kink)(z + kink) c keeps the distance to the kink precise
        along = np.abs((z - kink) * (z + kink)) * c
        along = np.maximum(along, np.finfo(np.float64).tiny)
        if d == 1:
            return cls(np.log(along), log_wz)
        v, log_v = _graded(0.0, math.sqrt(d - 2 + largest_r) + REACH)
        log_wv = log_v + _log_chi_density(v, d - 1)
        norms = np.hypot(along[:, None], c * z[:, None] * v[None, :])
        keep_z, keep_v = log_wz > log_wz.max() - 1500, log_wv > log_wv.max() - 1500
        grid = np.ix_(keep_z, keep_v)
        weights = log_wz[:, None] + log_wv[None, :]
        return cls(np.log(norms[grid]).ravel(), weights[grid].ravel())


def _log_chi_density(z: FloatArray, degrees: int) -> FloatArray:
    normalizer = (degrees / 2 - 1) * math.log(2) + float(gammaln(degrees / 2))
    density: FloatArray = (degrees - 1) * np.log(z) - z**2 / 2 - normalizer
    return density


def _graded(point: float, end: float) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and log weights on (0, end), in panels graded towards `point`."""
    edges = []
    if point > 0:
        edges.append(point - _distances(point)[::-1])
    if point < end:
        edges.append(point + _distances(end - point))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    points, sizes = [], []
    for side in edges:
        left, right = side[:-1], side[1:]
        half = (right - left) / 2
        inside = left + half + half * nodes[:, None]
        # the innermost panels round to the point itself
        used = (inside < end) & (inside > 0) & (half > 0)
        points.append(inside[used])
        sizes.append((half * weights[:, None])[used])
    return np.concatenate(points), np.log(np.concatenate(sizes))


def _distances(length: float) -> FloatArray:
    """Edges from the point outwards: geometric at first, then equal."""
    first = min(length, WIDEST)
    near = np.append(0.0, first * GRADING ** np.arange(LEVELS, -1, -1.0))
    far = np.linspace(first, length, max(1, math.ceil((length - first) / WIDEST)) + 1)[1:]
    return np.concatenate([near, far]) if length > first else near
