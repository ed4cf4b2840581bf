"""Tail index and scale from the empirical characteristic function."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.numerics.tails.base import (
    CHUNK,
    Center,
    Repeated,
    Sample,
    Status,
    TailEstimate,
    Values,
    scalar_sample,
)

TWO_POINT_SOURCE = "Press (1972): two points of the empirical characteristic function"
REGRESSION_SOURCE = "Koutrouvelis (1980): regression on the empirical characteristic function"
# Frequencies are k * STEP over a median of |X|, which is about the scale of the law.
STEP = math.pi / 25
REGRESSION_POINTS = tuple(range(1, 11))
TWO_POINTS = (2, 8)
# Any unit near the scale serves; the median of so many is near.
UNIT_SAMPLE = 2**14
# The phase of an angle of this size is arbitrary, and larger ones are no better.
LARGEST_ANGLE = 1e300

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StableFit:
    """A symmetric stable law fitted to a sample.

    `alpha` is the tail index of the law: the estimate, or 2 where that is larger. `scale` is in
    the unit of the sample. Both are NaN if the estimate failed.

    >>> import numpy as np
    >>> fit = fit_stable(3 * np.random.default_rng(0).standard_cauchy(10_000))
    >>> round(fit.alpha, 1), round(fit.scale)
    (1.0, 3)
    """

    estimate: TailEstimate
    alpha: float
    scale: float


def ecf_two_point(x: ArrayLike | Repeated, *, center: Center | None = None) -> TailEstimate:
    """Estimate the tail index from two points of the characteristic function; see `Estimator`.

    log(-log phi(t)) = alpha log t + alpha log c is linear in log t. The standard error
    comes from the covariance of the empirical function, without assuming a law. `alpha` may
    exceed 2; NOT_CONVERGED if the empirical function leaves (0, 1) at one of the points.
    Press (1972).

    >>> import numpy as np
    >>> found = ecf_two_point(np.random.default_rng(0).standard_cauchy(10_000))
    >>> abs(found.alpha - 1) < 5 * found.stderr
    True
    """
    return _fit(x, center, TWO_POINTS, "ecf_two_point", TWO_POINT_SOURCE).estimate


def ecf_regression(x: ArrayLike | Repeated, *, center: Center | None = None) -> TailEstimate:
    """Estimate it by regression on ten points of the characteristic function.

    Koutrouvelis (1980), with the median of |X| as the initial scale and frequencies
    k pi/25, k = 1, ..., 10; else as `ecf_two_point`.

    >>> import numpy as np
    >>> found = ecf_regression(np.random.default_rng(0).normal(size=10_000))
    >>> abs(found.alpha - 2) < 5 * found.stderr
    True
    """
    return fit_stable(x, center=center).estimate


def fit_stable(x: ArrayLike | Repeated, *, center: Center | None = None) -> StableFit:
    """Fit a symmetric stable law: tail index and scale of `ecf_regression`.

    >>> import numpy as np
    >>> round(fit_stable(np.random.default_rng(0).standard_cauchy(10_000)).alpha, 1)
    1.0
    """
    return _fit(x, center, REGRESSION_POINTS, "ecf_regression", REGRESSION_SOURCE)


def _fit(
    x: ArrayLike | Repeated,
    center: Center | None,
    points: tuple[int, ...],
    method: str,
    source: str,
) -> StableFit:
    sample = scalar_sample(x, center, method, source)

    def refused(status: Status) -> StableFit:
        return StableFit(sample.refuse(status), math.nan, math.nan)

    if sample.problem:
        return refused(sample.problem)
    if sample.counts is None:
        unit = float(np.median(np.abs(sample.values[:UNIT_SAMPLE])))
    else:
        unit = sum(sample.magnitudes_at([(sample.n - 1) // 2, sample.n // 2])) / 2
    phi = _empirical(sample, unit, 2 * max(points))
    k = np.array(points)
    if not ((phi[k] > 0) & (phi[k] < 1)).all():
        return refused(Status.NOT_CONVERGED)
    log_t, minus_log = np.log(k * STEP), -np.log(phi[k])
    y = np.log(minus_log)
    weights = log_t - log_t.mean()
    weights /= weights @ log_t
    alpha = float(weights @ y)
    if alpha <= 0:
        return refused(Status.NOT_STABLE)
    # Cov(cos jX, cos kX) = (phi(j+k) + phi(j-k))/2 - phi(j) phi(k)
    covariance = (phi[np.add.outer(k, k)] + phi[np.abs(np.subtract.outer(k, k))]) / 2
    covariance -= np.multiply.outer(phi[k], phi[k])
    gradient = weights / (phi[k] * minus_log)
    stderr = math.sqrt(max(float(gradient @ covariance @ gradient), 0.0) / sample.n)
    law = min(alpha, 2.0)
    # a law of tiny alpha may have a scale beyond the doubles
    scale = unit * math.exp(min(float(y.mean()) / law - float(log_t.mean()), 700.0))
    return StableFit(sample.estimate(alpha, stderr), law, scale)


def _empirical(sample: Sample, unit: float, highest: int) -> FloatArray:
    """Means of cos(k STEP x / unit) for k = 0, ..., highest."""
    sums, start = np.zeros(highest + 1), 0
    for angle in _angles(sample.values, unit):
        cosine = np.cos(angle)
        # cos kx = 2 cos x cos (k-1)x - cos (k-2)x: one cosine serves all multiples
        twice, before, now = 2 * cosine, np.ones_like(cosine), cosine
        sums[0] += sample.total(before, start)
        sums[1] += sample.total(now, start)
        for k in range(2, highest + 1):
            before, now = now, twice * now - before
            sums[k] += sample.total(now, start)
        start += angle.size
    return sums / sample.n


def _angles(values: Values, unit: float) -> Iterator[Values]:
    """STEP x / unit chunk by chunk, in the precision of the values if that can hold them."""
    top = max(float(values.max()), -float(values.min()))
    fits = max(top, 1.0) * (STEP / unit) < float(np.finfo(values.dtype).max)
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK]
        if fits:
            yield chunk * values.dtype.type(STEP / unit)
        else:
            with np.errstate(over="ignore"):
                angle = chunk.astype(np.float64) / unit * STEP
            yield np.clip(angle, -LARGEST_ANGLE, LARGEST_ANGLE)
