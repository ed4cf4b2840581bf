"""Y = A X B^T from the entries of X, without Kronecker products and without dense X."""

import numpy as np

from prunable.errors import require
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Entries, IntArray, Values

# entries whose measurements are listed at once: bounds the memory of large sketches
CHUNK = 1 << 18


def sketch(entries: Entries, left: Ensemble, right: Ensemble) -> Values:
    """Sketch a sparse matrix X, (p1, p2), by A, (m1, p1), and B, (m2, p2): Y = A X B^T.

    Real numbers are added in float64; unsigned integers of b bits modulo 2^b, which loses
    nothing. Each entry is added to delta_A delta_B measurements.
    """
    check_shapes(entries.shape, left, right, "sketch")
    result = np.zeros(left.m * right.m, entries.values.dtype)
    for start in range(0, entries.count, CHUNK):
        part = slice(start, start + CHUNK)
        places = buckets(left, right, entries.rows[part], entries.cols[part])
        np.add.at(result, places, entries.values[part, None])
    return result.reshape(left.m, right.m)


def buckets(left: Ensemble, right: Ensemble, rows: IntArray, cols: IntArray) -> IntArray:
    """List the measurements that K entries take part in, as indices into the flattened sketch.

    The shape is (K, delta_A * delta_B).
    """
    above = left.neighbours[rows] * right.m
    both = above[:, :, None] + right.neighbours[cols][:, None, :]
    return both.reshape(len(rows), left.delta * right.delta)


def check_shapes(shape: tuple[int, ...], left: Ensemble, right: Ensemble, where: str) -> None:
    """Refuse ensembles that do not fit a matrix."""
    columns = (left.n, right.n)
    require(shape == columns, "left, right", where, f"ensembles of {shape} columns", columns)


def check_sketch(measured: Values, left: Ensemble, right: Ensemble, where: str) -> None:
    """Refuse a sketch that does not fit its ensembles, or is not finite."""
    shape, kind = (left.m, right.m), measured.dtype.kind
    wanted = f"of shape {shape}, as the ensembles say"
    require(measured.shape == shape, "measured", where, wanted, measured.shape)
    require(kind in "fu", "measured", where, "float64 or unsigned integers", measured.dtype.name)
    finite = kind != "f" or np.isfinite(measured).all()
    require(finite, "measured", where, "finite", "NaN or infinity")
