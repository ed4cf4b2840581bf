"""Kept shares kappa_p(eps) that theory expects of independent weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfc, gammaincinv

from prunable.errors import require
from prunable.numerics.checks import check_alpha, check_order
from prunable.numerics.stable.half_line import COARSE, half_line

FloatArray = NDArray[np.float64]

# The largest magnitudes are drawn one by one, the rest follows the law.
DRAWN = 128
BULK_NODES = 512
REPLICATES = 64
BAND = (0.05, 0.5, 0.95)


@dataclass(frozen=True, eq=False)
class KappaBand:
    """Quantiles 0.05, 0.5 and 0.95 of kept shares over draws of a layer, by relative error."""

    low: FloatArray
    median: FloatArray
    high: FloatArray


def gaussian_kappa(eps: ArrayLike, p: float = 2.0) -> FloatArray:
    """Kept share of infinitely many independent Gaussian weights at relative l_p errors >= 0.

    With z = |x|/sqrt(2), the share of E|x|^p below a threshold is the regularised incomplete
    gamma function P((p + 1)/2, z^2), and the share of weights above it erfc(z). 0 from
    eps = 1 on.
    """
    check_order(p, "gaussian_kappa")
    share = np.minimum(np.asarray(eps, dtype=np.float64), 1.0) ** p
    return np.asarray(erfc(np.sqrt(gammaincinv((p + 1) / 2, share))))


def stable_kappa(
    alpha: float, n: int, eps: ArrayLike, p: float = 2.0, *, rng: np.random.Generator
) -> KappaBand:
    """Kept shares of n >= 2 independent symmetric stable weights, 0.1 <= alpha <= 2.

    `eps` are relative l_p errors in increasing order.

    Order statistics: the largest magnitudes are quantiles at Gamma_i / n with Gamma_i the
    arrival times of a Poisson process, drawn 64 times; below them quantiles at the middle
    of cells stand for their neighbours. For p >= alpha the largest decide, and kappa tends
    to 0 as n grows (Gribonval, Cevher and Davies 2012; lemma 2 of Barsbey et al. 2021).
    """
    alpha = check_alpha(alpha, "stable_kappa")
    require(n >= 2, "n", "stable_kappa", "at least 2", n)
    check_order(p, "stable_kappa")
    wanted = np.asarray(eps, dtype=np.float64)
    drawn = min(DRAWN, n // 2)
    ranks = np.concatenate(
        [np.geomspace(drawn, n / 2, BULK_NODES), np.linspace(n / 2, n, BULK_NODES)]
    )
    ranks = np.unique(ranks)
    bulk_counts = np.diff(ranks)
    middles = np.minimum((ranks[:-1] + ranks[1:]) / 2 / n, 1 - 1e-12)
    law = half_line(alpha, COARSE)
    bulk = law.isf(middles / 2)
    arrivals = np.cumsum(rng.exponential(size=(REPLICATES, drawn)), axis=1)
    tops = law.isf(np.minimum(arrivals / n, 1 - 1e-12).ravel() / 2).reshape(arrivals.shape)
    curves = np.empty((REPLICATES, wanted.size))
    for row, top in zip(curves, tops, strict=True):
        magnitudes = np.concatenate([top, bulk])
        counts = np.concatenate([np.ones(drawn), bulk_counts])
        order = np.argsort(magnitudes, kind="stable")  # two runs, which it merges
        unit = magnitudes[order[-1]]
        powers = np.cumsum(counts[order] * (magnitudes[order] / unit) ** p)
        pruned = np.cumsum(counts[order]) / n
        errors = (powers / powers[-1]) ** (1 / p)
        row[:] = 1 - np.interp(wanted, np.append(0.0, errors), np.append(0.0, pruned))
    low, median, high = np.quantile(curves, BAND, axis=0)
    return KappaBand(low, median, high)
