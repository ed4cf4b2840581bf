"""Tail index from the growth of log-moments under summation."""

import math
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.tails.base import (
    CHUNK,
    MIN_OBSERVATIONS,
    SAFE_SMALL,
    Center,
    Repeated,
    Sample,
    Status,
    TailEstimate,
    Values,
    center_sample,
    check_center,
    check_sample,
    in_safe_unit,
    scalar_sample,
)

SOURCE = (
    "Mohammadi, Mohammadpour and Ogata (2015); appendix A.1 of Barsbey, Sefidgaran, Erdogdu, "
    "Richard and Simsekli (2021)"
)
MIN_BLOCKS = 8
# Of so many repeated observations blocks may differ in size; few are put into a random order.
DEALT = 2**14

FloatArray = NDArray[np.float64]


def log_moment(
    x: ArrayLike | Repeated, *, block_size: int | None = None, center: Center | None = None
) -> TailEstimate:
    """Estimate the tail index of independent symmetric stable numbers; see `Estimator`.

    >>> import numpy as np
    >>> found = log_moment(np.random.default_rng(0).standard_cauchy(10_000))
    >>> abs(found.alpha - 1) < 5 * found.stderr, found.n
    (True, 10000)

    Parameters
    ----------
    block_size : Observations K1 in a sum, at least 2. If None, about the square root of their
        number, and at most an eighth of it. An incomplete last block is left out.

    Notes
    -----
    A sum Y of K1 terms is K1^(1/alpha) X in law, so (log|Y_i| - mean of log|X_k| over block
    i) / log K1 has mean 1/alpha. Blocks are independent: their standard deviation over the
    root of their number is the standard error of 1/alpha, and alpha^2 times it is that of
    alpha; at 50 blocks it is up to 8 % too small, at 400 up to 2 %. A block that sums to
    exactly zero is left out, as is an observation equal to the center. `alpha` may exceed 2:
    for Gaussian numbers it is 2 up to its standard error. TOO_FEW below 8 blocks, NOT_STABLE
    if sums are not larger than their terms.
    Mohammadi, Mohammadpour and Ogata (2015), corollary 2.2.
    """
    method = "log_moment"
    _check_block_size(block_size, method)
    if isinstance(x, Repeated) and x.size >= DEALT:
        return _dealt(scalar_sample(x, center, method, SOURCE), x, block_size)
    given = x.ordered if isinstance(x, Repeated) else x  # sums go by the order
    sample = scalar_sample(given, center, method, SOURCE)
    if sample.problem:
        return sample.refuse(sample.problem)
    n = sample.values.size
    k1 = block_size or _default_block_size(n)
    blocks = sample.values[: n // k1 * k1].reshape(-1, k1)
    sums, term_logs = np.empty(len(blocks)), np.empty(len(blocks))
    rows = max(1, CHUNK // k1)
    for start in range(0, len(blocks), rows):
        part = slice(start, start + rows)
        sums[part] = blocks[part].sum(axis=1, dtype=np.float64)
        term_logs[part] = np.log(np.abs(blocks[part])).mean(axis=1, dtype=np.float64)
    summed = sums != 0
    growth = (np.log(np.abs(sums[summed])) - term_logs[summed]) / math.log(k1)
    return _from_growth(growth, k1 * growth.size, sample)


def _dealt(sample: Sample, x: Repeated, block_size: int | None) -> TailEstimate:
    """Estimate from repeated observations, each dealt to one of the blocks at random.

    Their sizes differ, which each block's growth allows for; dealing looks at no value, so that all
    growths keep their mean. It costs less than a random order.
    """
    if sample.problem:
        return sample.refuse(sample.problem)
    n = sample.n
    count = max(n // (block_size or _default_block_size(n)), 1)
    rng = np.random.default_rng(x.seed)
    sizes, sums, logs = np.zeros((3, count))
    values = sample.values.astype(np.float64)
    log_values = np.log(np.abs(values))
    ends = np.append(0, np.cumsum(x.counts))
    for start in range(0, n, CHUNK):
        here = np.diff(np.clip(ends, start, start + CHUNK))
        blocks = rng.integers(count, size=int(here.sum()))
        sizes += np.bincount(blocks, minlength=count)
        sums += np.bincount(blocks, np.repeat(values, here), count)
        logs += np.bincount(blocks, np.repeat(log_values, here), count)
    used = (sizes > 1) & (sums != 0)
    sizes = sizes[used]
    growth = (np.log(np.abs(sums[used])) - logs[used] / sizes) / np.log(sizes)
    return _from_growth(growth, int(sizes.sum()), sample)


def log_moment_vectors(
    x: ArrayLike, *, block_size: int | None = None, center: Center | None = None
) -> TailEstimate:
    """Estimate the common tail index of independent symmetric stable vectors, (N, d).

    As `log_moment`, with Euclidean norms for absolute values; each coordinate is centred on
    its own, and zero vectors are left out. Appendix A.1 of Barsbey et al. (2021), who also cap
    at 2 and take the median over block sizes and row permutations: `authors_procedure`.

    >>> import numpy as np
    >>> found = log_moment_vectors(np.random.default_rng(0).normal(size=(10_000, 3)))
    >>> abs(found.alpha - 2) < 5 * found.stderr
    True
    """
    method = "log_moment_vectors"
    check_center(center, method)
    _check_block_size(block_size, method)
    given = in_safe_unit(check_sample(x, 2, method))
    nonzero = _without_zero_rows(given)
    sample = Sample(nonzero, 1 - len(nonzero) / len(given), method, SOURCE)
    if len(given) < MIN_OBSERVATIONS:
        return sample.refuse(Status.TOO_FEW)
    if (nonzero[:2] == nonzero[:1]).all() and (nonzero == nonzero[:1]).all():
        return sample.refuse(Status.DEGENERATE)
    used = _without_zero_rows(center_sample(nonzero, center))
    sample = replace(sample, values=used)
    n = len(used)
    if n < MIN_OBSERVATIONS:
        return sample.refuse(Status.TOO_FEW)
    k1 = block_size or _default_block_size(n)
    blocks = used[: n // k1 * k1].reshape(-1, k1, used.shape[1])
    sums = blocks.sum(axis=1, dtype=np.float64)
    summed = sums.any(axis=1)
    term_logs = _log_norms(blocks.reshape(-1, used.shape[1])).reshape(-1, k1).mean(axis=1)
    growth = (_log_norms(sums[summed]) - term_logs[summed]) / math.log(k1)
    return _from_growth(growth, k1 * growth.size, sample)


def _from_growth(growth: FloatArray, used: int, sample: Sample) -> TailEstimate:
    """Turn the growth of blocks of all so many observations, of mean 1/alpha, into an estimate."""
    if growth.size < MIN_BLOCKS:
        return sample.refuse(Status.TOO_FEW)
    inverse = float(growth.mean())
    if inverse <= 0:
        return sample.refuse(Status.NOT_STABLE)
    alpha = 1 / inverse
    stderr = alpha**2 * float(growth.std(ddof=1)) / math.sqrt(growth.size)
    return sample.estimate(alpha, stderr, used)


def _check_block_size(block_size: Any, method: str) -> None:
    if block_size is not None and not (isinstance(block_size, Integral) and int(block_size) >= 2):
        raise InputError.parameter("block_size", method, "an integer of at least 2", block_size)


def _default_block_size(n: int) -> int:
    # below 64 observations the square root would leave too few blocks
    return max(2, min(math.isqrt(n), n // MIN_BLOCKS))


def _without_zero_rows(vectors: Values) -> Values:
    kept = vectors.any(axis=1)
    return vectors if kept.all() else vectors[kept]


def _log_norms(vectors: Values) -> FloatArray:
    """Logarithms of Euclidean norms of nonzero rows of a safe unit, free of underflow."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    small = squares < SAFE_SMALL**2
    if small.any():
        rows = vectors[small].astype(np.float64)
        top = np.abs(rows).max(axis=1)
        squares[small] = ((rows / top[:, np.newaxis]) ** 2).sum(axis=1)
    logs: FloatArray = 0.5 * np.log(squares)
    if small.any():
        logs[small] += np.log(top)
    return logs
