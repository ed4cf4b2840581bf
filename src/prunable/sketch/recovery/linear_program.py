"""The l1 problem as a linear programme: the reference, for small matrices only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from prunable.errors import InputError
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Decoded, Entries, Verdict
from prunable.sketch.recovery.sketching import check_sketch

MOST_UNKNOWNS = 10_000
NEGLIGIBLE = 1e-7  # of the largest entry; the tolerance of HiGHS
FEASIBLE = 1e-6  # relative residual that HiGHS leaves

FloatArray = NDArray[np.float64]
Method = Literal["highs", "highs-ds", "highs-ipm"]


@dataclass(frozen=True, eq=False)
class Programme:
    """What HiGHS returned.

    Attributes
    ----------
    solution : ndarray, shape (K,), or None
        None if there is none, or HiGHS stopped without one.
    iterations : int
    capped : bool
        Whether the cap of iterations ended it.
    """

    solution: FloatArray | None
    iterations: int
    capped: bool


def smallest_l1(
    matrix: sparse.csr_array,
    right: FloatArray,
    method: Method = "highs",
    max_iterations: int = 1_000_000,
) -> Programme:
    """Find the solution of M x = y of smallest l1 norm, as min sum(p + n), M (p - n) = y.

    Parameters
    ----------
    matrix : sparse array, shape (R, K)
    right : ndarray, shape (R,)
    method : {"highs", "highs-ds", "highs-ipm"}
        HiGHS' own choice, dual simplex, or interior points.
    max_iterations : int
        Cap of the solver.

    Returns
    -------
    Programme
    """
    size = matrix.shape[1]
    both: Any = sparse.hstack([matrix, -matrix])
    found = optimize.linprog(
        np.ones(2 * size), A_eq=both, b_eq=right, method=method, options={"maxiter": max_iterations}
    )
    x = found.x
    solution = None if x is None or found.status != 0 else np.asarray(x[:size] - x[size:])
    return Programme(solution, int(found.nit), found.status == 1)


def decode_linear_program(
    measured: FloatArray,
    left: Ensemble,
    right: Ensemble,
    *,
    method: Method = "highs",
    max_iterations: int = 1_000_000,
) -> Decoded:
    """Decode Y = A X B^T as the X of smallest l1 norm, by the linear programme of HiGHS.

    Parameters
    ----------
    measured : ndarray of float64, shape (m1, m2)
        Y.
    left, right : Ensemble
        A and B; p1 p2 at most 10,000, because the Kronecker product is formed.
    method : {"highs", "highs-ds", "highs-ipm"}
        HiGHS' own choice, dual simplex, or interior points.
    max_iterations : int
        Cap of the solver.

    Returns
    -------
    Decoded
        RECOVERED means that HiGHS ended with an optimum whose relative residual is at most 1e-6.

    Raises
    ------
    InputError
        If shapes do not fit or the matrix is too large.
    """
    check_sketch(measured, left, right, "decode_linear_program")
    shape, size = (left.n, right.n), left.n * right.n
    if size > MOST_UNKNOWNS:
        raise InputError.parameter(
            "left, right",
            "decode_linear_program",
            f"of p1 p2 <= {MOST_UNKNOWNS} unknowns",
            shape,
            "Use `peel` or `decode_l1`.",
        )
    none = np.empty(0, dtype=np.int64)
    if not size or not measured.any():
        return Decoded(Entries(shape, none, none, np.empty(0)), Verdict.RECOVERED, 0.0, 0)
    product = sparse.kron(left.matrix(), right.matrix(), format="csr")
    found = smallest_l1(product, measured.ravel(), method, max_iterations)
    if found.solution is None:
        verdict = Verdict.CAPPED if found.capped else Verdict.STUCK
        return Decoded(Entries(shape, none, none, np.empty(0)), verdict, 1.0, found.iterations)
    matrix = found.solution.reshape(shape)
    rest = float(np.linalg.norm(left.matrix() @ matrix @ right.matrix().T - measured))
    residual = rest / float(np.linalg.norm(measured))
    matrix[np.abs(matrix) <= NEGLIGIBLE * np.abs(matrix).max()] = 0.0
    verdict = Verdict.RECOVERED if residual <= FEASIBLE else Verdict.STUCK
    return Decoded(Entries.of(matrix), verdict, residual, found.iterations)
