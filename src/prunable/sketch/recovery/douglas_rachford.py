"""The paper's decoder: the matrix of smallest l1 norm with the given sketch, by splitting.

min ||X||_1 subject to A X B^T = Y alternates two simple maps: soft thresholding, and projection
onto the constraint, Z - A^+ (A Z B^T - Y) (B^+)^T. The pseudo-inverse of a Kronecker product is
the product of pseudo-inverses, so nothing of size p^2 by m^2 is formed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import lsqr

from prunable.errors import check_at_least, require
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Decoded, Ending, Entries
from prunable.sketch.recovery.sketching import buckets, check_sketch

MOST_ITERATIONS = 2_000
REFIT_EVERY = 50  # iterations between attempts to finish by least squares
# an explained sketch: relative residual of least squares
EXPLAINED = 1e-11
APART = 1e-8  # relative distance of two solutions that are not the same

FloatArray = NDArray[np.float64]


def decode_l1(
    measured: FloatArray,
    left: Ensemble,
    right: Ensemble,
    *,
    max_iterations: int = MOST_ITERATIONS,
    step: float = 0.03,
) -> Decoded:
    """Decode Y = A X B^T, (m1, m2), by Douglas-Rachford iterations on the l1 problem.

    Equation (1) of "Generalization Bounds for MBP via Sparse Matrix Sketching" (2023). `step` is
    the threshold of the shrinkage, relative to the largest entry of A^+ Y (B^+)^T.

    Every 50 iterations the support found so far is refitted by least squares; RECOVERED means that
    this explains Y to a relative residual of 1e-11 with fewer entries than half the measurements.
    """
    check_sketch(measured, left, right, "decode_l1")
    check_at_least(max_iterations, 1, "max_iterations", "decode_l1")
    require(0 < step < np.inf, "step", "decode_l1", "positive", step)
    measured = np.asarray(measured, dtype=np.float64)
    a, b = left.matrix(), right.matrix()
    a_inverse, b_inverse = (linalg.pinv(matrix.toarray()) for matrix in (a, b))
    z = a_inverse @ measured @ b_inverse.T
    threshold = step * float(np.abs(z).max(initial=0.0))
    best = _refit(np.zeros_like(z), measured, left, right, 0)
    for iteration in range(1, max_iterations + 1):
        if best.verdict == Ending.RECOVERED:
            break
        shrunk = np.sign(z) * np.maximum(np.abs(z) - threshold, 0.0)
        reflected = 2 * shrunk - z
        # (B (A R)^T)^T, so that both sparse products have the sparse factor on the left
        off = (b @ (a @ reflected).T).T - measured
        z += reflected - a_inverse @ off @ b_inverse.T - shrunk
        if iteration % REFIT_EVERY == 0 or iteration == max_iterations:
            refitted = _refit(shrunk, measured, left, right, iteration)
            if refitted.residual <= best.residual or iteration == max_iterations:
                best = refitted
    return best


def _refit(
    matrix: FloatArray, measured: FloatArray, left: Ensemble, right: Ensemble, iteration: int
) -> Decoded:
    """Least squares on the support of an iterate, and its verdict."""
    rows, cols = np.nonzero(matrix)
    values = matrix[rows, cols]
    wanted, whole = measured.ravel(), float(np.linalg.norm(measured))
    # a support of half the measurements or more explains any sketch
    sparse_enough, unique = 2 * rows.size <= wanted.size, True
    places = buckets(left, right, rows, cols)
    owner = np.repeat(np.arange(rows.size), left.delta * right.delta)
    system = sparse.csr_array(
        (np.ones(places.size), (places.ravel(), owner)), shape=(wanted.size, rows.size)
    )
    if rows.size and sparse_enough:
        plain, values = (
            lsqr(system, wanted, atol=1e-15, btol=1e-15, iter_lim=300, x0=start)[0]
            for start in (None, values)
        )
        # where columns depend on each other, the two starts end apart
        unique = bool(np.abs(plain - values).max() <= APART * np.abs(values).max())
    rest = float(np.linalg.norm(system @ values - wanted))
    residual = rest / whole if whole > 0 else 0.0
    kept = np.abs(values) > EXPLAINED * np.abs(values).max(initial=0.0)
    entries = Entries(matrix.shape, rows[kept], cols[kept], values[kept])
    verdict = Ending.CAPPED
    if residual <= EXPLAINED and sparse_enough:
        verdict = Ending.RECOVERED if unique else Ending.AMBIGUOUS
    return Decoded(entries, verdict, residual, iteration)
