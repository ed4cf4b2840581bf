"""The rest that peeling cannot enter: few entries, found as the solution of a linear system.

An entry can only be where none of its measurements is 0. Around a small core these candidates
are few, whatever the size of the matrix, so the system restricted to them is small: modulo a
power of 2 it is eliminated exactly, over the reals it is solved by least squares, and by the
smallest l1 norm where least squares has a choice.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import IntArray, Values
from prunable.sketch.recovery.linear_program import smallest_l1
from prunable.sketch.recovery.sketching import buckets

MOST_CANDIDATES = 600  # elimination takes candidates^2 measurements operations
MOST_PAIRS = 4_000_000  # rows times columns looked at
# solutions smaller than this, relative to the largest, are zeros of least squares
NEGLIGIBLE = 1e-9

FloatArray = NDArray[np.float64]
Core = tuple[IntArray, IntArray, Values, Values]


def candidates(
    alive: NDArray[np.bool_], left: Ensemble, right: Ensemble
) -> tuple[IntArray, IntArray] | None:
    """List the positions, rows and columns, none of whose measurements is explained yet.

    `alive` are the (m1 * m2,) measurements whose residual is not 0. None if the positions are
    more than `MOST_CANDIDATES`.
    """
    grid = alive.reshape(left.m, right.m)
    in_rows, in_cols = np.asarray(grid.any(axis=1)), np.asarray(grid.any(axis=0))
    rows = np.flatnonzero(in_rows[left.neighbours].all(axis=1))
    cols = np.flatnonzero(in_cols[right.neighbours].all(axis=1))
    if rows.size * cols.size > MOST_PAIRS:
        return None
    possible = np.ones((rows.size, cols.size), dtype=np.bool_)
    for a in range(left.delta):
        above = grid[left.neighbours[rows, a]]
        for b in range(right.delta):
            possible &= above[:, right.neighbours[cols, b]]
    i, j = np.nonzero(possible)
    return (rows[i], cols[j]) if i.size <= MOST_CANDIDATES else None


def modular_core(values: Values, tags: Values, left: Ensemble, right: Ensemble) -> Core | None:
    """Solve the core of a tagged sketch, of two residuals (m1 * m2,), modulo powers of 2, exactly.

    Rows, columns, values and tags of the entries; None if the core is too large, has no solution,
    or more than one that elimination by odd pivots could tell apart.
    """
    alive = (values != 0) | (tags != 0)
    system = _system(alive, left, right)
    if system is None:
        return None
    rows, cols, matrix, used = system
    both = np.stack([values[used].astype(np.uint64), tags[used]], axis=1)
    solved = solve_modular(matrix.astype(np.uint64), both)
    if solved is None:
        return None
    chosen = solved[:, 0].astype(values.dtype)
    kept = chosen != 0
    return rows[kept], cols[kept], chosen[kept], solved[kept, 1]


def solve_modular(matrix: NDArray[np.uint64], right: NDArray[np.uint64]) -> Values | None:
    """Solve M x = y modulo 2^64, (R, K) by (R, C), if elimination finds an odd pivot everywhere.

    The only solution, (K, C); None if a pivot is missing or the system contradicts itself. A
    solution modulo 2^64 is one modulo every smaller power, so both channels share one matrix.
    """
    size = matrix.shape[1]
    work = np.concatenate([matrix, right], axis=1)
    for k in range(size):
        odd = np.flatnonzero(work[k:, k] & np.uint64(1))
        if not odd.size:
            return None
        pivot = k + int(odd[0])
        work[[k, pivot]] = work[[pivot, k]]
        inverse = np.uint64(pow(int(work[k, k]), -1, 1 << 64))
        work[k, k:] *= inverse
        others = np.flatnonzero(work[:, k])
        others = others[others != k]
        work[others, k:] -= work[others, k][:, None] * work[k, k:]
    return work[:size, size:]


def real_core(
    residual: FloatArray, tolerance: FloatArray, left: Ensemble, right: Ensemble
) -> tuple[IntArray, IntArray, FloatArray, bool] | None:
    """Solve the core of a sketch of real numbers by least squares, or by l1.

    `residual`, (m1 * m2,), counts as 0 up to `tolerance`. Rows, columns and values, and whether
    they are the only ones possible; None if the core is too large or has no solution.
    """
    alive = np.abs(residual) > tolerance
    system = _system(alive, left, right)
    if system is None:
        return None
    rows, cols, matrix, used = system
    wanted = residual[used]
    solution, _, rank, _ = linalg.lstsq(matrix, wanted)
    if rank < matrix.shape[1]:
        smallest, _, _ = smallest_l1(sparse.csr_array(matrix), wanted)
        if smallest is None:
            return None
        solution = smallest
    kept = np.abs(solution) > NEGLIGIBLE * np.abs(solution).max(initial=0.0)
    refined = linalg.lstsq(matrix[:, kept], wanted)[0] if kept.any() else solution[kept]
    return rows[kept], cols[kept], refined, bool(rank == matrix.shape[1])


def _system(
    alive: NDArray[np.bool_], left: Ensemble, right: Ensemble
) -> tuple[IntArray, IntArray, FloatArray, IntArray] | None:
    """Candidates, the 0/1 matrix of their measurements, and which measurements these are."""
    found = candidates(alive, left, right)
    if found is None or not found[0].size:
        return None
    rows, cols = found
    places = buckets(left, right, rows, cols)
    used, position = np.unique(places, return_inverse=True)
    if used.size != np.count_nonzero(alive):
        return None  # a measurement that no candidate explains
    matrix = np.zeros((used.size, rows.size))
    matrix[position.reshape(places.shape), np.arange(rows.size)[:, None]] = 1.0
    return rows, cols, matrix, used
