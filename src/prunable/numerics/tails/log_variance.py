"""Tail index from the variance of the logarithm: one pass."""

import math

import numpy as np
from numpy.typing import ArrayLike

from prunable.numerics.tails.base import (
    CHUNK,
    Center,
    Repeated,
    Status,
    TailEstimate,
    scalar_sample,
)

SOURCE = "variance of log|X|: Zolotarev, One-dimensional Stable Distributions (1986), section 3.6"


def log_variance(x: ArrayLike | Repeated, *, center: Center | None = None) -> TailEstimate:
    """Estimate the tail index from Var log|X|; see `Estimator`.

    For symmetric stable laws Var log|X| = (pi^2/6) (1/alpha^2 + 1/2). The standard error
    comes from the fourth central moment of log|X| by the delta method. `alpha` may exceed 2;
    NOT_STABLE if log|X| varies less than pi^2/12, the limit of the formula.

    >>> import numpy as np
    >>> found = log_variance(np.random.default_rng(0).normal(size=10_000))
    >>> abs(found.alpha - 2) < 5 * found.stderr
    True
    """
    sample = scalar_sample(x, center, "log_variance", SOURCE)
    if sample.problem:
        return sample.refuse(sample.problem)
    values = sample.values
    n = sample.n
    pivot = float(np.log(np.abs(values[:CHUNK])).mean(dtype=np.float64))
    moments = np.zeros(4)
    for start in range(0, values.size, CHUNK):
        logs = np.log(np.abs(values[start : start + CHUNK])).astype(np.float64) - pivot
        squares = logs * logs
        cubes = squares * logs
        terms = (logs, squares, cubes, cubes * logs)
        moments += [sample.total(term, start) for term in terms]
    m1, m2, m3, m4 = (float(moment) / n for moment in moments)
    variance = m2 - m1**2
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    inverse_square = 6 * variance / math.pi**2 - 0.5
    if inverse_square <= 0:
        return sample.refuse(Status.NOT_STABLE)
    alpha = inverse_square**-0.5
    stderr_of_variance = math.sqrt(max(fourth - variance**2, 0.0) / n)
    return sample.estimate(alpha, 3 / math.pi**2 * alpha**3 * stderr_of_variance)
