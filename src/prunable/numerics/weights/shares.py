"""How many weights each layer keeps, from what a rule says of the layers, summing up exactly.

Rules give each layer a number; `shifted_counts`, `scaled_counts` and `progression_counts` make of
these counts that add up to k. As long as it can be, each layer keeps a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Sizes = NDArray[np.int64]
Matrix = NDArray[np.floating[Any]]

HALVINGS = 80  # of an interval of levels, beyond the digits of a double


def counts_at_level(
    wanted: Callable[[float], FloatArray], low: float, high: float, sizes: Sizes, k: int
) -> list[int]:
    """Counts of sum k, nearest to those wanted at the level at which these add up to k.

    `wanted` gives numbers of weights that grow with the level; at `low` at most k in all, at `high`
    at least k. Where it jumps, the counts go linearly from one side to the other.
    """
    for _ in range(HALVINGS):
        level = (low + high) / 2
        low, high = (low, level) if wanted(level).sum() > k else (level, high)
    less, more = wanted(low), wanted(high)
    step = (k - less.sum()) / ((more - less).sum() or 1.0)
    return whole_counts(less + step * (more - less), sizes, k)


def whole_counts(wanted: FloatArray, sizes: Sizes, k: int) -> list[int]:
    """Round wanted counts to whole ones of sum k, none above its size.

    >>> whole_counts(np.array([1.4, 2.3, 0.3]), np.array([9, 9, 9]), 4)
    [2, 2, 0]
    """
    counts = np.minimum(np.floor(wanted), sizes).astype(np.int64)
    # what rounding left goes to the largest remainders that have room
    order = np.argsort(-np.where(counts < sizes, wanted - counts, -1.0), kind="stable")
    counts[order[: k - int(counts.sum())]] += 1
    return [int(n) for n in counts]


def shifted_counts(offsets: FloatArray, sizes: Sequence[int], k: int) -> list[int]:
    """Keep shares that differ by given offsets, cut off at 0 and 1, k weights in all.

    >>> shifted_counts(np.array([0.1, -0.1]), [100, 100], 100)
    [60, 40]
    """
    n = np.array(sizes, dtype=np.int64)
    least = _least(n, k)

    def wanted(level: float) -> FloatArray:
        return np.asarray(np.clip((level + offsets) * n, least, n))

    return counts_at_level(wanted, -1 - offsets.max(), 1 - offsets.min(), n, k)


def scaled_counts(pruned: FloatArray, sizes: Sequence[int], k: int) -> list[int]:
    """Prune shares in given positive proportions, cut off at 1, so that k weights stay.

    >>> scaled_counts(np.array([0.5, 1.5]), [100, 100], 100)
    [75, 25]
    """
    n = np.array(sizes, dtype=np.int64)
    least = _least(n, k)

    def wanted(level: float) -> FloatArray:
        return np.asarray(np.clip((1 + level * pruned) * n, least, n))

    return counts_at_level(wanted, -1 / float(pruned.min()), 0.0, n, k)


def spread_over(values: FloatArray, width: float) -> FloatArray:
    """Numbers mapped linearly onto 0 to width, the least to 0; all 0 if they are equal."""
    apart = float(np.ptp(values))
    return np.asarray(width * (values - values.min()) / apart) if apart > 0 else 0.0 * values


def outlier_share(scores: Matrix, multiple: float) -> float:
    """Share of scores that are more than so many times their mean.

    Yin et al. (2024), section 3.2: the layerwise outlier distribution, of |w| times the norm of its
    input.

    >>> outlier_share(np.array([[1.0, 1.0, 1.0, 9.0]]), 2.0)
    0.25
    """
    sizes = np.abs(scores)
    return float(np.mean(sizes > multiple * sizes.mean(dtype=np.float64)))


def spectral_exponent(matrix: Matrix, taps: int = 1) -> float:
    """Hill's estimate of the exponent of the density of eigenvalues of W^T W, from the upper half.

    1 + n / sum_i ln(x_i / x_0) over the n eigenvalues from the median x_0 on, as in Lu et al.
    (2024), equation 1. The matrices of a kernel's taps have one spectrum together, as in the
    authors' code. Infinite where the upper half is of one size, as is that of a single eigenvalue.
    """
    # (out, in * taps), taps adjacent
    slices = np.moveaxis(matrix.reshape(len(matrix), -1, taps), -1, 0).astype(np.float64)
    top = float(np.abs(slices).max()) or 1.0
    eigenvalues = np.sort(np.linalg.svd(slices / top, compute_uv=False).ravel() ** 2)
    upper = eigenvalues[eigenvalues.size // 2 :]
    # what rounding leaves of a matrix of low rank counts as one size
    upper = np.maximum(upper, 1e-12 * upper[-1]) if upper[-1] > 0 else np.ones_like(upper)
    total = float(np.log(upper / upper[0]).sum())
    return 1 + upper.size / total if total > 0 else np.inf


def _least(sizes: Sizes, k: int) -> int:
    """One weight a layer, if there are so many."""
    return int(k >= len(sizes))
