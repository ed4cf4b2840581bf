"""The standard symmetric stable laws on x >= 0: survival function, density, quantile.

Cauchy and Gaussian have closed forms. The other laws are tabulated once per alpha: the
Fourier integral on a rotated contour, where it neither oscillates nor cancels, gives
log sf and log pdf on a grid, and splines join them; beyond the grid stands the series in
powers of x^-alpha. Both are uniformly good as alpha crosses 1 and as it tends to 2.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.special import gammaln, ndtr, ndtri

FloatArray = NDArray[np.float64]

# Below it the density at 0, Gamma(1 + 1/alpha)/pi, and the scales near 0 leave the doubles.
SMALLEST_ALPHA = 0.01
# From here on the series serves: even at alpha = 2 its terms fall until the 64th, and what
# it misses there, the Gaussian tail, is below 1e-29.
TAIL_START = 16.0
SERIES_TERMS = 48
# Terms that are smaller beside the first no double could show.
SMALLEST_TERM = 1e-19
# From here on integrals are of the difference from the Gaussian law, of order 2 - alpha, so
# that the small power tail keeps its relative accuracy.
NEAR_GAUSSIAN = 1.5
GRID_POINTS = 2048
COARSE = 192
SPLINE_DEGREE = 7
NEWTON_STEPS = 5
# A step of this relative size is followed by none that a double could show.
SETTLED = 1e-8
# Trapezoid sums stop, and alias, at about exp(-DECAY); of coarse tables earlier.
DECAY, COARSE_DECAY = 40.0, 34.0
BLOCK = 2**18


class HalfLine(Protocol):
    """A standard symmetric law seen from x >= 0."""

    def sf(self, x: FloatArray) -> FloatArray:
        """P(X > x) for x >= 0."""

    def pdf(self, x: FloatArray) -> FloatArray:
        """Density at x >= 0."""

    def isf(self, q: FloatArray) -> FloatArray:
        """The x >= 0 with P(X > x) = q, for 0 < q <= 1/2."""


@lru_cache(maxsize=64)
def half_line(alpha: float, grid_points: int = GRID_POINTS) -> HalfLine:
    """Prepare the standard symmetric law of a tail index; tables are kept for reuse.

    Parameters
    ----------
    alpha : `SMALLEST_ALPHA` <= alpha <= 2; not checked.
    grid_points : Points of the table. The default gives a relative accuracy of 1e-12 of `sf` and
        `pdf`, measured against 30-digit quadrature; `COARSE` gives 1e-9 for 0.5 <= alpha <= 1.999
        and 1e-6 up to 2, in a twelfth of the time.
    """
    if alpha == 1:
        return _Cauchy()
    if alpha == 2:
        return _Gaussian()
    return _tabulate(alpha, grid_points)


def sf_at(x: FloatArray, alpha: float) -> FloatArray:
    """P(X > x) at few points x >= 0, shape (n,), without a table; 0.5 <= alpha <= 2.

    >>> round(float(sf_at(np.array([1.0]), 1.0)[0]), 12)  # Cauchy
    0.25
    """
    if alpha in (1, 2):
        return half_line(alpha).sf(x)
    found, inside = np.empty(x.shape), x <= TAIL_START
    found[inside] = contour_integrals(x[inside], alpha)[0]
    found[~inside] = polyval(x[~inside] ** -alpha, series_coefficients(alpha))
    return found


def contour_integrals(
    x: FloatArray, alpha: float, decay: float = DECAY
) -> tuple[FloatArray, FloatArray]:
    """P(X > x) and density at 0 <= x <= `TAIL_START`, alpha < 2, along a ray of the complex plane.

    With t on the ray of angle psi, so that both factors decay,

        sf(x) = 1/2 - psi/pi - (1/pi) Im int exp(ixt - t^alpha) dt/t,
        pdf(x) = (1/pi) Re int exp(ixt - t^alpha) dt.

    In u = log|t| the trapezoid rule converges geometrically (Trefethen and Weideman 2014);
    psi is the middle of the strip 0 < arg t < min(pi, pi/(2 alpha)) of decay. From
    `NEAR_GAUSSIAN` on, exp(-t^alpha) - exp(-t^2) is integrated in place of exp(-t^alpha).
    """
    near_gaussian = alpha >= NEAR_GAUSSIAN
    psi = min(np.pi / 2, np.pi / (4 * (2 if near_gaussian else alpha)))
    step = 2 * np.pi * psi / decay
    # The density's integrand |t| exp(-|t|^alpha) is largest at |t|^alpha = 1/alpha.
    # at 0 the integrands vanish like |t|^alpha, or like |t| where that is more
    slowest = alpha if near_gaussian else min(alpha, 1.0)
    first, last = -decay / slowest, np.log(1.5 * decay + 5 / alpha) / alpha
    log_t = step * np.arange(np.floor(first / step), np.ceil(last / step)) + 1j * psi
    t = np.exp(log_t)
    if near_gaussian:
        weight = np.exp(-t * t) * np.expm1(-t * t * np.expm1((alpha - 2) * log_t))
        sf, pdf = _Gaussian().sf(x), _Gaussian().pdf(x)
    else:
        weight = np.exp(-np.exp(alpha * log_t))
        sf, pdf = np.full(x.shape, 0.5 - psi / np.pi), np.zeros(x.shape)
    weights = np.stack([weight, t * weight], axis=1) * (step / np.pi)
    rows = max(1, BLOCK // t.size)
    for start in range(0, x.size, rows):
        block = slice(start, start + rows)
        sums = np.exp(1j * np.multiply.outer(x[block], t)) @ weights
        sf[block] -= sums[:, 0].imag
        pdf[block] += sums[:, 1].real
    return sf, pdf


def series_coefficients(alpha: float) -> FloatArray:
    """Coefficients c_0, ..., c_SERIES_TERMS of the tail series sf(x) = sum_k c_k x^(-k alpha).

    c_0 = 0, and c_k = Gamma(k alpha)/(pi k!) sin(k pi (2 - alpha)/2). Bergström (1952); the
    series converges for alpha < 1 and is asymptotic for alpha > 1. The sine is
    (-1)^(k+1) sin(k pi alpha/2), free of cancellation at alpha = 2.
    """
    k = np.arange(1, SERIES_TERMS + 1)
    sizes = np.exp(gammaln(k * alpha) - gammaln(k + 1)) / np.pi
    return np.concatenate([[0.0], sizes * np.sin(k * (np.pi * (2 - alpha) / 2))])


class _Cauchy:
    def sf(self, x: FloatArray) -> FloatArray:
        probability: FloatArray = np.arctan2(1.0, x) / np.pi
        return probability

    def pdf(self, x: FloatArray) -> FloatArray:
        return 1 / (np.pi * (1 + x * x))

    def isf(self, q: FloatArray) -> FloatArray:
        # Each tangent has an argument of at most pi/4.
        return np.where(q < 0.25, 1 / np.tan(np.pi * q), np.tan(np.pi * (0.5 - q)))


class _Gaussian:
    def sf(self, x: FloatArray) -> FloatArray:
        probability: FloatArray = ndtr(-x / np.sqrt(2))
        return probability

    def pdf(self, x: FloatArray) -> FloatArray:
        density: FloatArray = np.exp(-(x * x) / 4) / np.sqrt(4 * np.pi)
        return density

    def isf(self, q: FloatArray) -> FloatArray:
        quantile: FloatArray = -np.sqrt(2) * ndtri(q)
        return quantile


@dataclass(frozen=True)
class _Tabulated:
    """Splines in v = arcsinh(x / center) up to `TAIL_START`, the series beyond."""

    alpha: float
    center: float
    grid: FloatArray
    log_sf: BSpline
    logs_of_pdf: FloatArray
    coefficients: FloatArray

    @cached_property
    def log_pdf(self) -> BSpline:
        return make_interp_spline(self.grid, self.logs_of_pdf, k=SPLINE_DEGREE)

    def sf(self, x: FloatArray) -> FloatArray:
        return np.minimum(self._join(x, self.log_sf, self.coefficients), 0.5)

    def pdf(self, x: FloatArray) -> FloatArray:
        slopes = self.alpha * np.arange(self.coefficients.size) * self.coefficients
        return self._join(x, self.log_pdf, slopes) / np.where(x > TAIL_START, x, 1.0)

    def isf(self, q: FloatArray) -> FloatArray:
        out = np.empty(q.shape)
        inside = q >= np.exp(self.log_sf(self.grid[-1]))
        out[inside] = self._invert_spline(np.log(q[inside]))
        out[~inside] = self._invert_series(np.log(q[~inside]))
        return out

    def _join(self, x: FloatArray, log_spline: BSpline, coefficients: FloatArray) -> FloatArray:
        out = np.empty(x.shape)
        inside = x <= TAIL_START
        out[inside] = np.exp(log_spline(np.arcsinh(x[inside] / self.center)))
        out[~inside] = polyval(x[~inside] ** -self.alpha, coefficients)
        return out

    def _invert_spline(self, target: FloatArray) -> FloatArray:
        values = np.minimum.accumulate(self.log_sf(self.grid))
        cell = np.clip(np.searchsorted(-values, -target), 1, self.grid.size - 1)
        low, high = self.grid[cell - 1], self.grid[cell]
        v = np.interp(-target, -values, self.grid)
        for _ in range(NEWTON_STEPS):
            # For small alpha the first cells are flat to the last bit; the cell bounds the step.
            slope = np.minimum(self.log_sf(v, nu=1), -1e-300)
            before, v = v, np.clip(v - (self.log_sf(v) - target) / slope, low, high)
            if (np.abs(v - before) <= SETTLED * v).all():
                break
        return self.center * np.sinh(v)

    def _invert_series(self, target: FloatArray) -> FloatArray:
        slopes = np.arange(self.coefficients.size) * self.coefficients
        # The leading term overestimates, and log sf is concave in log x: Newton is monotone.
        scaled_log = np.log(self.coefficients[1]) - target
        for _ in range(NEWTON_STEPS):
            power = np.exp(-scaled_log)
            sf = polyval(power, self.coefficients)
            step = (np.log(sf) - target) * sf / polyval(power, slopes)
            scaled_log += step
            if (np.abs(step) <= SETTLED).all():
                break
        x: FloatArray = np.exp(scaled_log / self.alpha)
        return x


def _tabulate(alpha: float, grid_points: int) -> _Tabulated:
    # The scale of the eighth derivative at 0: the finest that splines of degree 7 can see.
    center = float(np.exp((gammaln(1 / alpha) - gammaln(9 / alpha)) / 8))
    grid = np.linspace(0.0, np.arcsinh(TAIL_START / center), grid_points)
    decay = COARSE_DECAY if grid_points == COARSE else DECAY
    sf, pdf = contour_integrals(center * np.sinh(grid), alpha, decay)
    coefficients = series_coefficients(alpha)
    sizes = np.abs(coefficients / coefficients[1]) * TAIL_START ** (
        alpha * (1.0 - np.arange(coefficients.size))
    )
    return _Tabulated(
        alpha=alpha,
        center=center,
        grid=grid,
        log_sf=make_interp_spline(grid, np.log(sf), k=SPLINE_DEGREE),
        logs_of_pdf=np.log(pdf),
        coefficients=coefficients[: int(np.flatnonzero(sizes > SMALLEST_TERM)[-1]) + 1],
    )
