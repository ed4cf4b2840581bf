"""Tail index and scale from the empirical characteristic function."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.numerics.tails.base import CHUNK, Center, Sample, Status, TailEstimate, scalar_sample

TWO_POINT_SOURCE = "Press (1972): two points of the empirical characteristic function"
REGRESSION_SOURCE = "Koutrouvelis (1980): regression on the empirical characteristic function"
# Frequencies are k * STEP over a median of |X|, which is about the scale of the law.
STEP = math.pi / 25
REGRESSION_POINTS = tuple(range(1, 11))
TWO_POINTS = (2, 8)
# Any unit near the scale serves; the median of so many is near.
UNIT_SAMPLE = 2**14

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StableFit:
    """A symmetric stable law fitted to a sample.

    Attributes
    ----------
    estimate : TailEstimate
    alpha : float
        Tail index of the law: the estimate, or 2 where that is larger; NaN if it failed.
    scale : float
        Scale of the law in the unit of the sample; NaN if the estimate failed.
    """

    estimate: TailEstimate
    alpha: float
    scale: float


def ecf_two_point(x: ArrayLike, *, center: Center | None = None) -> TailEstimate:
    """Estimate the tail index from two points of the characteristic function.

    Parameters
    ----------
    x, center
        As in `log_moment`.

    Returns
    -------
    TailEstimate
        `alpha` may exceed 2. Its status is NOT_CONVERGED if the empirical function leaves
        (0, 1) at one of the points.

    Raises
    ------
    InputError
        If `x` is empty, not 1-d or not finite, or `center` is unknown.

    Notes
    -----
    log(-log phi(t)) = alpha log t + alpha log c is linear in log t. The standard error
    comes from the covariance of the empirical function, without assuming a law.
    Press (1972).
    """
    return _fit(x, center, TWO_POINTS, "ecf_two_point", TWO_POINT_SOURCE).estimate


def ecf_regression(x: ArrayLike, *, center: Center | None = None) -> TailEstimate:
    """Estimate the tail index by regression on ten points of the characteristic function.

    Parameters
    ----------
    x, center
        As in `ecf_two_point`.

    Returns
    -------
    TailEstimate
        As in `ecf_two_point`.

    Raises
    ------
    InputError
        As in `ecf_two_point`.

    Notes
    -----
    Koutrouvelis (1980), with the median of |X| as the initial scale and frequencies
    k pi/25, k = 1, ..., 10.
    """
    return fit_stable(x, center=center).estimate


def fit_stable(x: ArrayLike, *, center: Center | None = None) -> StableFit:
    """Fit a symmetric stable law: tail index and scale of `ecf_regression`.

    Parameters
    ----------
    x, center
        As in `ecf_two_point`.

    Returns
    -------
    StableFit

    Raises
    ------
    InputError
        As in `ecf_two_point`.
    """
    return _fit(x, center, REGRESSION_POINTS, "ecf_regression", REGRESSION_SOURCE)


def _fit(
    x: ArrayLike, center: Center | None, points: tuple[int, ...], method: str, source: str
) -> StableFit:
    sample = scalar_sample(x, center, method)
    problem = sample.problem
    if problem == Status.OK:
        unit = float(np.median(np.abs(sample.values[:UNIT_SAMPLE])))
        phi = _empirical(sample, unit, 2 * max(points))
        k = np.array(points)
        inside = bool(((phi[k] > 0) & (phi[k] < 1)).all())
        problem = Status.OK if inside else Status.NOT_CONVERGED
    if problem != Status.OK:
        return StableFit(sample.refuse(problem, method, source), math.nan, math.nan)
    log_t, minus_log = np.log(k * STEP), -np.log(phi[k])
    y = np.log(minus_log)
    weights = log_t - log_t.mean()
    weights /= weights @ log_t
    alpha = float(weights @ y)
    if alpha <= 0:
        return StableFit(sample.refuse(Status.NOT_STABLE, method, source), math.nan, math.nan)
    # Cov(cos jX, cos kX) = (phi(j+k) + phi(j-k))/2 - phi(j) phi(k)
    covariance = (phi[np.add.outer(k, k)] + phi[np.abs(np.subtract.outer(k, k))]) / 2
    covariance -= np.multiply.outer(phi[k], phi[k])
    gradient = weights / (phi[k] * minus_log)
    stderr = math.sqrt(max(float(gradient @ covariance @ gradient), 0.0) / sample.values.size)
    law = min(alpha, 2.0)
    scale = unit * math.exp(float(y.mean()) / law - float(log_t.mean()))
    return StableFit(sample.estimate(alpha, stderr, method, source), law, scale)


def _empirical(sample: Sample, unit: float, highest: int) -> FloatArray:
    """Means of cos(k STEP x / unit) for k = 0, ..., highest."""
    sums = np.zeros(highest + 1)
    values = sample.values
    factor = values.dtype.type(STEP / unit)
    for start in range(0, values.size, CHUNK):
        angle = values[start : start + CHUNK] * factor
        cosine = np.cos(angle)
        # cos kx = 2 cos x cos (k-1)x - cos (k-2)x: one cosine serves all multiples
        twice, before, now = 2 * cosine, np.ones_like(cosine), cosine
        sums[0] += angle.size
        sums[1] += now.sum(dtype=np.float64)
        for k in range(2, highest + 1):
            before, now = now, twice * now - before
            sums[k] += now.sum(dtype=np.float64)
    return sums / values.size
