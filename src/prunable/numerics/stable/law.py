"""The symmetric alpha-stable law as an object."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.checks import check_alpha, check_reals, check_scale
from prunable.numerics.stable.half_line import SMALLEST_ALPHA, HalfLine, half_line
from prunable.numerics.stable.sampling import sample_isotropic, sample_symmetric

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StableLaw:
    """Symmetric alpha-stable law with characteristic function exp(-|scale t|^alpha).

    Relative errors of densities, probabilities and quantiles are below 1e-11 in the centre and
    in both tails, for every alpha in [0.01, 2]. The first call for a tail index makes a table
    (about 30 ms; 1 s at alpha = 0.01); later calls take about 0.4 s per million points, those
    for quantiles 1.5 s. Points `x` may be infinite, probabilities `q` lie in [0, 1]; results
    have their shape, and are NumPy scalars for scalars. Nolan, *Univariate Stable
    Distributions* (2020), chapter 3; the numerical method is that of `half_line`.

    >>> import math
    >>> import numpy as np
    >>> cauchy = StableLaw(1.0)
    >>> round(float(cauchy.pdf(0.0) * math.pi), 12), round(float(cauchy.cdf(1.0)), 12)
    (1.0, 0.75)
    >>> round(float(cauchy.sf(1.0)), 12), round(float(cauchy.isf(0.25)), 12)
    (0.25, 1.0)
    >>> round(float(cauchy.ppf(0.25)), 12), round(cauchy.tail_constant * math.pi, 12)
    (-1.0, 2.0)
    >>> round(float(StableLaw(2.0).cf(1.0) * math.e), 12)
    1.0
    >>> rng = np.random.default_rng(0)
    >>> cauchy.sample(3, rng).shape, cauchy.sample_isotropic(3, 2, rng).shape
    ((3,), (3, 2))

    Parameters
    ----------
    alpha : Tail index, 0 < alpha <= 2; 1 is the Cauchy law, 2 the Gaussian law of variance 2
        scale^2. Densities, probabilities and quantiles need alpha >= 0.01.
    scale : Positive and finite, in the units of the variable.
    """

    alpha: float
    scale: float = 1.0

    def __post_init__(self) -> None:
        # The fields are frozen; this stores them as plain floats.
        object.__setattr__(self, "alpha", check_alpha(self.alpha, "StableLaw"))
        object.__setattr__(self, "scale", check_scale(self.scale, "StableLaw"))

    @property
    def tail_constant(self) -> float:
        """The C of P(|X| > x) ~ C x^-alpha as x grows; 0 at alpha = 2.

        Samorodnitsky and Taqqu (1994), property 1.2.15.
        """
        sine = math.sin((2 - self.alpha) * math.pi / 2)
        return 2 / math.pi * math.gamma(self.alpha) * sine * math.pow(self.scale, self.alpha)

    def cf(self, t: ArrayLike) -> FloatArray:
        """Characteristic function E exp(itX), real because the law is symmetric."""
        frequencies = check_reals(t, "t", "StableLaw.cf")
        with np.errstate(over="ignore"):
            return np.exp(-(np.abs(self.scale * frequencies) ** self.alpha))[()]

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Density."""
        law, points = self._at(x, "pdf")
        with np.errstate(over="ignore"):
            return law.pdf(np.abs(points))[()] / self.scale

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Distribution function P(X <= x), relatively accurate in the lower tail."""
        law, points = self._at(x, "cdf")
        return _beyond(law, -points)

    def sf(self, x: ArrayLike) -> FloatArray:
        """Survival function P(X > x), relatively accurate in the upper tail."""
        law, points = self._at(x, "sf")
        return _beyond(law, points)

    def ppf(self, q: ArrayLike) -> FloatArray:
        """Lower quantile: the x with P(X <= x) = q; see `isf`."""
        return -self._quantile(q, "ppf")

    def isf(self, q: ArrayLike) -> FloatArray:
        """Upper quantile: the x with P(X > x) = q; 0 gives infinity, 1 minus infinity.

        A quantile beyond the largest double (possible for alpha < 1) is infinite.
        """
        return self._quantile(q, "isf")

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Draw independent numbers; see `sampling.sample_symmetric`."""
        return sample_symmetric(size, self.alpha, rng, self.scale)

    def sample_isotropic(self, n: int, dim: int, rng: np.random.Generator) -> FloatArray:
        """Draw rotation-invariant vectors, one a row; see `sampling.sample_isotropic`."""
        return sample_isotropic(n, dim, self.alpha, rng, self.scale)

    def _at(self, x: ArrayLike, method: str) -> tuple[HalfLine, FloatArray]:
        """The standard law, and points in its unit."""
        law = self._half_line(method)
        return law, check_reals(x, "x", f"StableLaw.{method}") / self.scale

    def _quantile(self, q: ArrayLike, method: str) -> FloatArray:
        law, where = self._half_line(method), f"StableLaw.{method}"
        upper = check_reals(q, "q", where)
        outside = (upper < 0) | (upper > 1)
        if outside.any():
            raise InputError.parameter("q", where, "in [0, 1]", float(upper[outside][0]))
        tail = np.minimum(upper, 1 - upper)
        out = np.full(upper.shape, np.inf)
        with np.errstate(over="ignore"):
            out[tail > 0] = law.isf(tail[tail > 0])
        quantiles: FloatArray = np.copysign(out, 0.5 - upper)
        return self.scale * quantiles[()]

    def _half_line(self, method: str) -> HalfLine:
        if self.alpha < SMALLEST_ALPHA:
            raise InputError.parameter(
                "alpha",
                f"StableLaw.{method}",
                f"at least {SMALLEST_ALPHA}",
                self.alpha,
                "Smaller tail indices leave the range of doubles.",
            )
        return half_line(self.alpha)


def _beyond(law: HalfLine, points: FloatArray) -> FloatArray:
    """P(X > point) on both sides of 0."""
    upper = law.sf(np.abs(points))
    return np.where(points < 0, 1 - upper, upper)[()]
