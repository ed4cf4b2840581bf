"""The tail index exactly as the authors of the 2021 paper compute it."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.numerics.tails.base import (
    MIN_OBSERVATIONS,
    Sample,
    Status,
    TailEstimate,
    check_sample,
)

SOURCE = "released code of Barsbey, Sefidgaran, Erdogdu, Richard and Simsekli (2021)"
BLOCK_SIZES = (2, 5, 10, 20, 50, 100, 500, 1000)
PERMUTATIONS = 5
CAP = 2.0
JACKKNIFE_GROUPS = 10
# their guard against log 0
EPSILON = float(np.spacing(1.0))

FloatArray = NDArray[np.float64]


def authors_procedure(
    x: ArrayLike, *, rng: np.random.Generator, jackknife: bool = True
) -> TailEstimate:
    """Estimate the tail index of the rows of `x`, (N, d), by the authors' released procedure.

    Rows are rows of a weight matrix, kernels of a convolution, or single weights (d = 1).
    Each coordinate is centred by its median. Block sizes are 2, 5, 10, 20, 50, 100, 500 and
    1000 up to N/2, each lowered to the next divisor of N, and the largest divisor up to the
    root of N. The estimate is the median over block sizes, and over five row permutations
    the median of these, capped at 2. The standard error is that of the uncapped value by the
    jackknife over ten groups of rows (NaN without it, which is eleven times as fast); the
    authors give none. Zero rows count.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> found = authors_procedure(rng.standard_cauchy((1000, 1)), rng=rng)
    >>> abs(found.alpha - 1) < 5 * found.stderr
    True
    """
    vectors = check_sample(x, 2, "authors_procedure").astype(np.float64)
    top = float(np.abs(vectors).max())
    vectors = vectors / top if top > 0 else vectors
    vectors = vectors - np.median(vectors, axis=0)
    n = len(vectors)
    zeros_share = 1 - np.count_nonzero(vectors.any(axis=1)) / n
    sample = Sample(vectors, zeros_share, "authors", SOURCE)
    if n < MIN_OBSERVATIONS:
        return sample.refuse(Status.TOO_FEW)
    if not vectors.any():
        return sample.refuse(Status.DEGENERATE)
    orders = [rng.permutation(n) for _ in range(PERMUTATIONS)]
    alpha = _median_estimate(vectors, orders)
    if not 0 < alpha < math.inf:
        return sample.refuse(Status.NOT_STABLE)
    if not jackknife:
        return sample.estimate(min(alpha, CAP), math.nan)
    groups = rng.permutation(n) % JACKKNIFE_GROUPS
    without: list[float] = []
    for group in range(JACKKNIFE_GROUPS):
        rest = vectors[groups != group]
        without.append(_median_estimate(rest, [rng.permutation(len(rest)) for _ in orders]))
    if not np.isfinite(without).all():
        return sample.refuse(Status.NOT_CONVERGED)
    spread = float(np.square(np.array(without) - np.mean(without)).sum())
    stderr = math.sqrt((JACKKNIFE_GROUPS - 1) / JACKKNIFE_GROUPS * spread)
    return sample.estimate(min(alpha, CAP), stderr)


def block_sizes(n: int) -> tuple[int, ...]:
    """Block sizes that the procedure tries for n >= 4 vectors: divisors of n, increasing."""
    sizes = {_divisor_at_most(n, size) for size in BLOCK_SIZES if 2 * size <= n}
    sizes.add(_divisor_at_most(n, math.isqrt(n)))
    return tuple(sorted(sizes - {1}))


def _divisor_at_most(n: int, size: int) -> int:
    return next(d for d in range(size, 0, -1) if n % d == 0)


def _median_estimate(vectors: FloatArray, orders: list[NDArray[np.intp]]) -> float:
    sizes = block_sizes(len(vectors))
    if not sizes:  # a prime number of rows has no divisor below its root: give one row up
        vectors, orders = vectors[:-1], [order[order < len(vectors) - 1] for order in orders]
        sizes = block_sizes(len(vectors))
    logs = float(_log_norms(vectors).mean())
    found = [np.median([_estimate(vectors[order], k1, logs) for k1 in sizes]) for order in orders]
    return float(np.median(found))


def _estimate(vectors: FloatArray, k1: int, mean_log: float) -> float:
    sums = vectors.reshape(-1, k1, vectors.shape[1]).sum(axis=1)
    growth = float(_log_norms(sums).mean()) - mean_log
    return math.log(k1) / growth if growth > 0 else math.inf


def _log_norms(vectors: FloatArray) -> FloatArray:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    logs: FloatArray = np.log(norms + EPSILON)
    return logs
