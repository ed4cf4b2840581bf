"""Y = A X B^T from the entries of X, without Kronecker products and without dense X."""

from __future__ import annotations

import numpy as np

from prunable.errors import InputError
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Entries, IntArray, Values

# entries whose measurements are listed at once: bounds the memory of large sketches
CHUNK = 1 << 18


def sketch(entries: Entries, left: Ensemble, right: Ensemble) -> Values:
    """Sketch a sparse matrix: Y = A X B^T.

    Parameters
    ----------
    entries : Entries
        X, shape (p1, p2). Real numbers are added in float64; unsigned integers of b bits modulo
        2^b, which loses nothing.
    left, right : Ensemble
        A, shape (m1, p1), and B, shape (m2, p2); they may be the same.

    Returns
    -------
    ndarray, shape (m1, m2)
        Y, of the type of the values. Each entry is added to delta_A delta_B measurements.

    Raises
    ------
    InputError
        If the shapes do not fit.
    """
    check_shapes(entries.shape, left, right, "sketch")
    result = np.zeros(left.m * right.m, entries.values.dtype)
    for start in range(0, entries.count, CHUNK):
        part = slice(start, start + CHUNK)
        places = buckets(left, right, entries.rows[part], entries.cols[part])
        np.add.at(result, places, entries.values[part, None])
    return result.reshape(left.m, right.m)


def buckets(left: Ensemble, right: Ensemble, rows: IntArray, cols: IntArray) -> IntArray:
    """List the measurements that entries take part in.

    Parameters
    ----------
    left, right : Ensemble
    rows, cols : ndarray of int64, shape (K,)

    Returns
    -------
    ndarray of int64, shape (K, delta_A * delta_B)
        Indices into the flattened sketch.
    """
    above = left.neighbours[rows] * right.m
    both = above[:, :, None] + right.neighbours[cols][:, None, :]
    return both.reshape(len(rows), left.delta * right.delta)


def check_shapes(shape: tuple[int, ...], left: Ensemble, right: Ensemble, where: str) -> None:
    """Refuse ensembles that do not fit a matrix.

    Parameters
    ----------
    shape : tuple of int
        Of X.
    left, right : Ensemble
    where : str
        Function to name.

    Raises
    ------
    InputError
    """
    if shape != (left.n, right.n):
        raise InputError.parameter(
            "left, right", where, f"ensembles of {shape} columns", (left.n, right.n)
        )


def check_sketch(measured: Values, left: Ensemble, right: Ensemble, where: str) -> None:
    """Refuse a sketch that does not fit its ensembles, or is not finite.

    Parameters
    ----------
    measured : ndarray
        Y.
    left, right : Ensemble
    where : str
        Function to name.

    Raises
    ------
    InputError
    """
    if measured.shape != (left.m, right.m):
        raise InputError.parameter(
            "measured", where, f"of shape {(left.m, right.m)}, as the ensembles say", measured.shape
        )
    if measured.dtype.kind not in "fu":
        raise InputError.parameter(
            "measured", where, "float64 or unsigned integers", measured.dtype.name
        )
    if measured.dtype.kind == "f" and not np.isfinite(measured).all():
        raise InputError.parameter("measured", where, "finite", "NaN or infinity")
