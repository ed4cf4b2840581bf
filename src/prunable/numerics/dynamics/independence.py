"""Dependence between two samples of vectors: distance covariance, HSIC.

Heavy tails need care: energy statistics exist for tail indices above 1, where means do;
HSIC with a bounded kernel exists always.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from prunable.errors import InputError, check_at_least, require
from prunable.numerics.arrays import FloatArray

LARGEST = 8192


@dataclass(frozen=True)
class IndependenceTest:
    """A dependence measure and its permutation test.

    The statistic is unbiased, 0 on average for independent samples, so it can be negative;
    `null_std` is its deviation over permutations, and `p_value` the share of permutations at least
    as large, at least 1/(permutations + 1).
    """

    statistic: float
    null_std: float
    p_value: float


def distance_covariance(
    x: FloatArray, y: FloatArray, *, permutations: int, rng: np.random.Generator
) -> IndependenceTest:
    """Unbiased squared distance correlation of paired samples, with a permutation test.

    The energy distance between the joint law and the product of its margins, in a weighted L2
    space, divided by the square root of both distance variances; U-centred, Szekely and Rizzo
    (2014). For laws with means. x is (n, d) and y (n, e), paired rows, at least 4;
    `rng` draws the permutations.
    """
    return _test(x, y, lambda z: cdist(z, z), permutations, rng, "distance_covariance")


def hsic(
    x: FloatArray, y: FloatArray, *, permutations: int, rng: np.random.Generator
) -> IndependenceTest:
    """Normalised Hilbert-Schmidt independence criterion with Gaussian kernels; no moments needed.

    Gretton et al. (2005), in the unbiased form of Song et al. (2012); bandwidths are medians of
    the distances. Arguments as of `distance_covariance`.
    """

    def kernel(z: FloatArray) -> FloatArray:
        distances = cdist(z, z)
        width = float(np.median(distances[np.triu_indices(len(z), 1)])) or 1.0
        gram: FloatArray = np.exp(-((distances / width) ** 2) / 2)
        return gram

    return _test(x, y, kernel, permutations, rng, "hsic")


def _test(
    x: FloatArray,
    y: FloatArray,
    kernel: Callable[[FloatArray], FloatArray],
    permutations: int,
    rng: np.random.Generator,
    where: str,
) -> IndependenceTest:
    _check(x, "x", where, 4)
    _check(y, "y", where, 4)
    require(len(x) == len(y), "y", where, f"of {len(x)} rows, paired with x", len(y))
    check_at_least(permutations, 1, "permutations", where)
    for sample in (x, y):
        if not np.ptp(sample, axis=0).any():
            raise InputError(f"`{where}` needs samples that vary; all rows of one are equal.")
    a, b = _u_centred(kernel(x)), _u_centred(kernel(y))
    unit = float(np.sqrt((a * a).sum() * (b * b).sum()))
    found = float((a * b).sum()) / unit
    null = np.empty(permutations)
    for i in range(permutations):
        order = rng.permutation(len(x))
        null[i] = (a * b[np.ix_(order, order)]).sum() / unit
    p_value = (1 + np.count_nonzero(null >= found)) / (permutations + 1)
    return IndependenceTest(found, float(null.std()), float(p_value))


def _u_centred(matrix: FloatArray) -> FloatArray:
    """Row, column and total means taken off so that sums over i != j are unbiased."""
    n = len(matrix)
    off = matrix.copy()
    np.fill_diagonal(off, 0.0)
    rows = off.sum(axis=1) / (n - 2)
    off -= rows[:, None] + rows[None, :] - off.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(off, 0.0)
    return off


def _check(sample: FloatArray, param: str, where: str, fewest: int) -> None:
    valid = sample.ndim == 2 and fewest <= len(sample) <= LARGEST
    require(valid, param, where, f"an array of {fewest} to {LARGEST} rows", np.shape(sample))
    require(np.isfinite(sample).all(), param, where, "finite", "NaN or infinity")
