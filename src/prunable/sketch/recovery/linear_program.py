"""The l1 problem as a linear programme: the reference, for small matrices only."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from prunable.errors import require
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Decoded, Ending, Entries
from prunable.sketch.recovery.sketching import check_sketch

MOST_UNKNOWNS = 10_000
NEGLIGIBLE = 1e-7  # of the largest entry; the tolerance of HiGHS
FEASIBLE = 1e-6  # relative residual that HiGHS leaves

FloatArray = NDArray[np.float64]
Method = Literal["highs", "highs-ds", "highs-ipm"]


def smallest_l1(
    matrix: sparse.csr_array,
    right: FloatArray,
    method: Method = "highs",
    max_iterations: int = 1_000_000,
) -> tuple[FloatArray | None, int, bool]:
    """Find the solution of M x = y of smallest l1 norm, as min sum(p + n), M (p - n) = y.

    `method` is HiGHS' own choice, dual simplex, or interior points. Returns also the iterations,
    and whether their cap ended it; the solution is None if there is none or HiGHS stopped.
    """
    size = matrix.shape[1]
    both: Any = sparse.hstack([matrix, -matrix])
    found = optimize.linprog(
        np.ones(2 * size), A_eq=both, b_eq=right, method=method, options={"maxiter": max_iterations}
    )
    x = found.x
    solution = None if x is None or found.status != 0 else np.asarray(x[:size] - x[size:])
    return solution, int(found.nit), found.status == 1


def decode_linear_program(
    measured: FloatArray,
    left: Ensemble,
    right: Ensemble,
    *,
    method: Method = "highs",
    max_iterations: int = 1_000_000,
) -> Decoded:
    """Decode Y = A X B^T as the X of smallest l1 norm, by the linear programme of HiGHS.

    p1 p2 is at most 10,000, because the Kronecker product is formed. RECOVERED means that HiGHS
    ended with an optimum whose relative residual is at most 1e-6.
    """
    where = "decode_linear_program"
    check_sketch(measured, left, right, where)
    shape, size = (left.n, right.n), left.n * right.n
    wanted, mend = f"of p1 p2 <= {MOST_UNKNOWNS} unknowns", "Use `peel` or `decode_l1`."
    require(size <= MOST_UNKNOWNS, "left, right", where, wanted, shape, mend)
    nothing = Entries.gather(shape, [])
    if not size or not measured.any():
        return Decoded(nothing, Ending.RECOVERED, 0.0, 0)
    product = sparse.kron(left.matrix(), right.matrix(), format="csr")
    solution, rounds, capped = smallest_l1(product, measured.ravel(), method, max_iterations)
    if solution is None:
        return Decoded(nothing, Ending.CAPPED if capped else Ending.STUCK, 1.0, rounds)
    matrix = solution.reshape(shape)
    rest = float(np.linalg.norm(left.matrix() @ matrix @ right.matrix().T - measured))
    residual = rest / float(np.linalg.norm(measured))
    matrix[np.abs(matrix) <= NEGLIGIBLE * np.abs(matrix).max()] = 0.0
    verdict = Ending.RECOVERED if residual <= FEASIBLE else Ending.STUCK
    return Decoded(Entries.of(matrix), verdict, residual, rounds)
