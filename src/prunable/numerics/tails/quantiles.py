"""Tail index from a ratio of quantiles."""

import math

from numpy.typing import ArrayLike

from prunable.numerics.tails.base import Center, Repeated, Status, TailEstimate, scalar_sample
from prunable.numerics.weights import calibration

SOURCE = "McCulloch (1986), symmetric case: quantiles 0.9 and 0.5 of |X|"
WIDE, NARROW = 0.9, 0.5


def quantile(x: ArrayLike | Repeated, *, center: Center | None = None) -> TailEstimate:
    """Estimate the tail index from the ratio of two quantiles of |X|; see `Estimator`.

    McCulloch's (q95 - q05) / (q75 - q25) for a law symmetric about 0 is the ratio of the
    quantiles 0.9 and 0.5 of |X|, inverted with quantiles that are exact instead of the
    published table. The standard error is that of sample quantiles under the fitted law.
    `alpha` may exceed 2, where the relation is continued by its tangent; NOT_STABLE if the
    ratio belongs to an alpha below 0.5 or above 4.

    >>> import numpy as np
    >>> found = quantile(np.random.default_rng(0).standard_cauchy(10_000))
    >>> abs(found.alpha - 1) < 5 * found.stderr
    True
    """
    sample = scalar_sample(x, center, "quantile", SOURCE)
    if sample.problem:
        return sample.refuse(sample.problem)
    narrow, wide = sample.magnitudes_at(
        [math.ceil(share * sample.n) - 1 for share in (NARROW, WIDE)]
    )
    alpha, slope = calibration.alpha_of_quantile_ratio(wide / narrow)
    if math.isnan(alpha):
        return sample.refuse(Status.NOT_STABLE)
    spread = calibration.log_ratio_deviation(alpha)
    return sample.estimate(alpha, spread / (abs(slope) * math.sqrt(sample.n)))
