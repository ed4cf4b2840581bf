"""Magnitudes with a flat body and a Pareto tail: how well they compress below the tail index.

For p below the tail index the relative l_p error of many independent magnitudes tends to a number
that their whole law decides, body and tail; the tail index alone does not order it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from prunable.errors import require
from prunable.numerics.arrays import FloatArray

LARGEST = 1e300


@dataclass(frozen=True)
class ParetoMixture:
    """A magnitude that is Pareto, from 1 on, with probability `share`; else uniform around 1.

    alpha : Tail index, P(X > x) = share x^-alpha beyond the body.
    share : In (0, 1]; at 1 the law is Pareto's.
    half_width : The body is uniform on 1 - half_width to 1 + half_width, in (0, 1).

    The lighter tail compresses better: less error at half the weights.

    >>> round(ParetoMixture(1.9).limit_error(0.5, 1.0), 3)
    0.28
    >>> round(ParetoMixture(1.2, share=1e-3).limit_error(0.5, 1.0), 3)
    0.473
    """

    alpha: float
    share: float = 1.0
    half_width: float = 0.1

    def __post_init__(self) -> None:
        where = "ParetoMixture"
        require(self.alpha > 0, "alpha", where, "positive", self.alpha)
        require(0 < self.share <= 1, "share", where, "in (0, 1]", self.share)
        require(0 < self.half_width < 1, "half_width", where, "in (0, 1)", self.half_width)

    def sample(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw independent magnitudes."""
        tail = (1 - rng.random(size)) ** (-1 / self.alpha)
        body = 1 + self.half_width * (2 * rng.random(size) - 1)
        return np.where(rng.random(size) < self.share, tail, body)

    def cdf(self, x: float) -> float:
        """P(X <= x)."""
        return self._below(x, 0.0)

    def limit_error(self, kappa: float, p: float) -> float:
        """Limit of the relative l_p error of keeping the share kappa in (0, 1), for 0 < p < alpha.

        (E[X^p; X < q] / E[X^p])^(1/p) with q the quantile of 1 - kappa, by the law of large
        numbers.
        """
        require(0 < kappa < 1, "kappa", "limit_error", "between 0 and 1", kappa)
        self._check(p, "limit_error")
        quantile = self._solve(1 - kappa, 0.0)
        return float((self._below(quantile, p) / self._below(LARGEST, p)) ** (1 / p))

    def limit_kappa(self, eps: float, p: float) -> float:
        """Limit of kappa_p(w, eps), the least share kept at a relative l_p error eps in (0, 1)."""
        require(0 < eps < 1, "eps", "limit_kappa", "between 0 and 1", eps)
        self._check(p, "limit_kappa")
        threshold = self._solve(eps**p * self._below(LARGEST, p), p)
        return 1 - self.cdf(threshold)

    def _check(self, p: float, where: str) -> None:
        require(0 < p < self.alpha, "p", where, f"between 0 and alpha = {self.alpha:g}", p)

    def _below(self, x: float, p: float) -> float:
        """E[X^p; X <= x]."""
        low, high = 1 - self.half_width, 1 + self.half_width
        end = min(max(x, low), high)
        body = (end ** (p + 1) - low ** (p + 1)) / ((p + 1) * (high - low))
        tail = self.alpha / (self.alpha - p) * (1 - max(x, 1.0) ** (p - self.alpha))
        return float((1 - self.share) * body + self.share * tail)

    def _solve(self, value: float, p: float) -> float:
        """The x below which a moment has a value."""
        low = np.log(1 - self.half_width)
        found = brentq(
            lambda t: self._below(np.exp(t), p) - value, low, np.log(LARGEST), xtol=1e-14
        )
        return float(np.exp(found))
