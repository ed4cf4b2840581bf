"""A tail estimator: Hill's, at the largest twentieth of the sample."""

import math

import numpy as np
from numpy.typing import ArrayLike

from prunable.numerics.tails import Center, Status, TailEstimate
from prunable.numerics.tails.base import scalar_sample


def top_twentieth(x: ArrayLike, /, *, center: Center | None = None) -> TailEstimate:
    """Estimate alpha from how far the largest magnitudes are above the twentieth."""
    sample = scalar_sample(x, center, "top_twentieth", "Hill (1975)")
    if sample.problem is not None:
        return sample.refuse(sample.problem)
    k = len(sample.values) // 20
    top = np.sort(np.abs(sample.values.astype(np.float64)))[-k - 1 :]
    if k < 10 or top[0] == top[-1]:
        return sample.refuse(Status.TOO_FEW)
    alpha = k / float(np.log(top[1:] / top[0]).sum())
    return sample.estimate(alpha, alpha / math.sqrt(k), k)
