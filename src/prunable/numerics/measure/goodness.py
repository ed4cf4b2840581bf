"""Goodness of fit of a symmetric law to magnitudes, with calibrated p-values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, erfc, pdtr, pdtrc

from prunable.numerics.stable.half_line import COARSE, half_line, sf_at
from prunable.numerics.tails.base import Repeated
from prunable.numerics.tails.ecf import StableFit, fit_stable
from prunable.numerics.weights import calibration

FloatArray = NDArray[np.float64]
Given = NDArray[np.floating[Any]] | Repeated

# A Gaussian has 2e-9 of its mass beyond six standard deviations.
FAR = 6.0
# Of a stable law these shares of the weights, and so many, make its tail.
FAR_SHARES, FAR_COUNT = (1e-3, 1e-4, 0.0), 30


@dataclass(frozen=True)
class Goodness:
    """A fitted symmetric law and how far the magnitudes of n observations are from it.

    `scale` is the c of exp(-|c t|^alpha), in the unit of the sample: for a Gaussian law,
    alpha = 2, its standard deviation over the square root of 2. `ks` is the Kolmogorov-Smirnov
    distance, `p_value` the probability of a larger Anderson-Darling statistic if the law is
    right.
    """

    alpha: float
    scale: float
    ks: float
    anderson_darling: float
    p_value: float
    n: int


def stable_goodness(sample: Given) -> Goodness | None:
    """Test the magnitudes of a sample against the stable law fitted to it, if one can be.

    The sample, (n,) or repeated, is finite, centred, without zeros; not checked. The null law of
    the statistic, tail index and scale being estimated from the same sample by `fit_stable`, is
    tabulated by simulation.
    """
    fit = fit_stable(sample)
    if math.isnan(fit.scale) or fit.alpha < float(calibration.load().law_alpha[0]):
        return None
    ascending, each = _ascending(sample)
    with np.errstate(over="ignore"):  # what lies beyond the doubles has probability 0
        upper = each(2 * half_line(fit.alpha, COARSE).sf(ascending / fit.scale))
    statistic, distance = anderson_darling(1 - upper, upper)
    p = calibration.p_value(statistic, fit.alpha)
    return Goodness(fit.alpha, fit.scale, distance, statistic, p, sample.size)


def gaussian_goodness(sample: Given) -> Goodness:
    """Test the magnitudes of such a sample against the Gaussian law of the same mean square."""
    ascending, each = _ascending(sample)
    deviation = math.sqrt(float(np.mean(each(ascending**2))))
    standard = ascending / (math.sqrt(2) * deviation)
    statistic, distance = anderson_darling(each(erf(standard)), each(erfc(standard)))
    p = calibration.p_value(statistic, None)
    return Goodness(2.0, deviation / math.sqrt(2), distance, statistic, p, sample.size)


def _ascending(sample: Given) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
    """Magnitudes in increasing order, and what gives numbers of them to each observation."""
    if not isinstance(sample, Repeated):
        return np.sort(np.abs(sample.astype(np.float64))), lambda numbers: numbers
    magnitudes = np.abs(sample.values.astype(np.float64))
    order = np.argsort(magnitudes)
    return magnitudes[order], partial(np.repeat, repeats=sample.counts[order])


def anderson_darling(lower: FloatArray, upper: FloatArray) -> tuple[float, float]:
    """Compare probabilities of sorted observations with the uniform law.

    `lower` and `upper` are P(X <= x) increasing and P(X > x) decreasing at the observations:
    both, so that neither end loses its digits. Returns the Anderson-Darling statistic and the
    Kolmogorov-Smirnov distance. Anderson and Darling (1954).
    """
    n = lower.size
    ranks = np.arange(1, n + 1)
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(lower, tiny)) + np.log(np.maximum(upper[::-1], tiny))
    statistic = -n - float(((2 * ranks - 1) * logs).sum()) / n
    distance = max(float((ranks / n - lower).max()), float((lower - (ranks - 1) / n).max()))
    return statistic, distance


def far_p_value(largest: NDArray[np.floating[Any]], deviation: float, n: int) -> float:
    """Probability that Gaussian magnitudes lie as often beyond six standard deviations.

    Parameters
    ----------
    largest : The largest magnitudes in increasing order, enough to reach into the body.
    deviation : Standard deviation of the fitted Gaussian law.
    n : Number of all magnitudes.
    """
    count = largest.size - int(np.searchsorted(largest, FAR * deviation, side="right"))
    expected = n * math.erfc(FAR / math.sqrt(2))
    return float(pdtrc(count - 1, expected)) if count else 1.0


def stable_tail(largest: NDArray[np.floating[Any]], fit: StableFit, n: int) -> tuple[float, float]:
    """Compare how many magnitudes lie far out with what a fitted stable law expects.

    Parameters
    ----------
    largest : The largest magnitudes in increasing order: at least a thousandth of all, and 30.
    n : Number of all magnitudes.

    Returns
    -------
    tuple of (float, float)
        Poisson probability of a count as far from the expected one, beyond the points that a
        thousandth, a ten-thousandth and 30 weights of the law exceed, the smallest of the
        three; and the ratio of that count to the expected one. Two standard errors of the
        tail index, which near 2 decides how much of the law lies there, are granted first.
    """
    shares = np.unique([max(share, FAR_COUNT / n) for share in FAR_SHARES])
    points = half_line(fit.alpha, COARSE).isf(shares / 2)
    counts = largest.size - np.searchsorted(largest, points * fit.scale, side="right")
    granted = 2 * fit.estimate.stderr
    most, fewest = (
        2 * n * sf_at(points, min(max(alpha, 0.5), 2.0))
        for alpha in (fit.alpha - granted, fit.alpha + granted)
    )
    p = np.ones(shares.size)
    p = np.where(counts < fewest, pdtr(counts, fewest), p)
    p = np.where(counts > most, pdtrc(counts - 1, most), p)
    return min(zip(p.tolist(), (counts / (n * shares)).tolist(), strict=True))
