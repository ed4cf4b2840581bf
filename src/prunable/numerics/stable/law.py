"""The symmetric alpha-stable law as an object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.numerics.checks import check_alpha, check_reals, check_scale
from prunable.numerics.stable import functions
from prunable.numerics.stable.sampling import sample_isotropic, sample_symmetric

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StableLaw:
    """Symmetric alpha-stable law with characteristic function exp(-|scale t|^alpha).

    Parameters
    ----------
    alpha : float
        Tail index, 0 < alpha <= 2; 1 is the Cauchy law, 2 the Gaussian law of variance
        2 scale^2. Densities, probabilities and quantiles need alpha >= 0.01.
    scale : float
        Positive and finite, in the units of the variable.
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
        """Density at `x`; see `functions.pdf`."""
        return functions.pdf(self._standardise(x, "pdf"), self.alpha) / self.scale

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Distribution function P(X <= x); see `functions.cdf`."""
        return functions.cdf(self._standardise(x, "cdf"), self.alpha)

    def sf(self, x: ArrayLike) -> FloatArray:
        """Survival function P(X > x); see `functions.sf`."""
        return functions.sf(self._standardise(x, "sf"), self.alpha)

    def ppf(self, q: ArrayLike) -> FloatArray:
        """Lower quantile, the inverse of `cdf`; see `functions.ppf`."""
        return self.scale * functions.ppf(q, self.alpha)

    def isf(self, q: ArrayLike) -> FloatArray:
        """Upper quantile, the inverse of `sf`; see `functions.isf`."""
        return self.scale * functions.isf(q, self.alpha)

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Draw independent numbers; see `sampling.sample_symmetric`."""
        return sample_symmetric(size, self.alpha, rng, self.scale)

    def sample_isotropic(self, n: int, dim: int, rng: np.random.Generator) -> FloatArray:
        """Draw rotation-invariant vectors, one a row; see `sampling.sample_isotropic`."""
        return sample_isotropic(n, dim, self.alpha, rng, self.scale)

    def _standardise(self, x: ArrayLike, method: str) -> FloatArray:
        return check_reals(x, "x", f"StableLaw.{method}") / self.scale
