"""Tail index from the growth of log-moments under summation."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.tails.base import (
    Center,
    Status,
    TailEstimate,
    center_sample,
    check_center,
    check_sample,
)

SOURCE = (
    "Mohammadi, Mohammadpour and Ogata (2015); appendix A.1 of Barsbey, Sefidgaran, Erdogdu, "
    "Richard and Simsekli (2021)"
)
MIN_OBSERVATIONS = 32
MIN_BLOCKS = 8

FloatArray = NDArray[np.float64]


def log_moment(
    x: ArrayLike, *, block_size: int | None = None, center: Center | None = None
) -> TailEstimate:
    """Estimate the tail index of independent symmetric stable numbers.

    Parameters
    ----------
    x : array_like, shape (N,)
        Observations of any real dtype and unit. Exact zeros are left out.
    block_size : int, optional
        Observations K1 in a sum, at least 2. If None, about the square root of their
        number, and at most an eighth of it. An incomplete last block is left out.
    center : {"median", "mean"}, optional
        What to subtract first, if anything.

    Returns
    -------
    TailEstimate
        `alpha` may exceed 2: for Gaussian numbers it is 2 up to its standard error. Its
        status is TOO_FEW below 32 observations or 8 blocks, DEGENERATE if all are equal,
        NOT_STABLE if sums are not larger than their terms.

    Raises
    ------
    InputError
        If `x` is empty, not 1-d or not finite, or another argument is out of range.

    Notes
    -----
    A sum Y of K1 terms is K1^(1/alpha) X in law, so (log|Y_i| - mean of log|X_k| over block
    i) / log K1 has mean 1/alpha. Blocks are independent: their standard deviation over the
    root of their number is the standard error of 1/alpha, and alpha^2 times it is that of
    alpha; at 50 blocks it is up to 8 % too small, at 400 up to 2 %. A block that sums to
    exactly zero is left out, as is an observation equal to the center.
    Mohammadi, Mohammadpour and Ogata (2015).
    """
    where = "log_moment"
    return _estimate(check_sample(x, 1, where)[:, np.newaxis], block_size, center, where)


def log_moment_vectors(
    x: ArrayLike, *, block_size: int | None = None, center: Center | None = None
) -> TailEstimate:
    """Estimate the common tail index of independent symmetric stable vectors.

    Parameters
    ----------
    x : array_like, shape (N, d)
        One vector a row. Zero vectors are left out.
    block_size, center
        As in `log_moment`; each coordinate is centred on its own.

    Returns
    -------
    TailEstimate
        As in `log_moment`, with Euclidean norms for absolute values.

    Raises
    ------
    InputError
        If `x` is empty, not 2-d or not finite, or another argument is out of range.

    Notes
    -----
    Appendix A.1 of Barsbey et al. (2021), who also cap at 2 and take the median over block
    sizes and row permutations.
    """
    where = "log_moment_vectors"
    return _estimate(check_sample(x, 2, where), block_size, center, where)


def _estimate(
    sample: FloatArray, block_size: int | None, center: Center | None, method: str
) -> TailEstimate:
    """Estimate from vectors of shape (N, d); scalars are vectors of dimension 1."""
    check_center(center, method)
    if block_size is not None and not (isinstance(block_size, Integral) and block_size >= 2):
        raise InputError.parameter("block_size", method, "an integer of at least 2", block_size)
    top = np.abs(sample).max()
    # Relative to the largest coordinate nothing overflows, neither means nor sums.
    nonzero = _without_zeros(sample / top if top > 0 else sample)
    zeros_share = 1 - len(nonzero) / len(sample)

    def failed(status: Status, n: int) -> TailEstimate:
        return TailEstimate.failed(
            status, n=n, method=method, source=SOURCE, zeros_share=zeros_share
        )

    if len(sample) < MIN_OBSERVATIONS:
        return failed(Status.TOO_FEW, len(nonzero))
    if (nonzero == nonzero[:1]).all():
        return failed(Status.DEGENERATE, len(nonzero))
    used = _without_zeros(center_sample(nonzero, center))
    n = len(used)
    # below 64 observations the square root would leave too few blocks
    default = max(2, min(math.isqrt(n), n // MIN_BLOCKS))
    k1 = default if block_size is None else int(block_size)
    k2 = n // k1
    if n < MIN_OBSERVATIONS or k2 < MIN_BLOCKS:
        return failed(Status.TOO_FEW, n)

    blocks = used[: k1 * k2].reshape(k2, k1, -1)
    sums = blocks.sum(axis=1)
    summed = sums.any(axis=1)
    if summed.sum() < MIN_BLOCKS:
        return failed(Status.TOO_FEW, n)
    term_logs = _log_norms(blocks.reshape(k1 * k2, -1)).reshape(k2, k1).mean(axis=1)
    growth = (_log_norms(sums[summed]) - term_logs[summed]) / math.log(k1)
    inverse = float(growth.mean())
    if inverse <= 0:
        return failed(Status.NOT_STABLE, n)
    inverse_stderr = float(growth.std(ddof=1)) / math.sqrt(len(growth))
    alpha = 1 / inverse
    stderr = alpha**2 * inverse_stderr
    return TailEstimate(alpha, stderr, k1 * len(growth), method, Status.OK, SOURCE, zeros_share)


def _without_zeros(vectors: FloatArray) -> FloatArray:
    return vectors[vectors.any(axis=1)]


def _log_norms(vectors: FloatArray) -> FloatArray:
    """Logarithms of Euclidean norms of nonzero rows, free of underflow."""
    top = np.abs(vectors).max(axis=1)
    squares = (vectors / top[:, np.newaxis]) ** 2
    logs: FloatArray = np.log(top) + 0.5 * np.log(squares.sum(axis=1))
    return logs
