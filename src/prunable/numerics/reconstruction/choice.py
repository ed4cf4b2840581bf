"""Which mask and which weights of a layer do best on inputs that none of them was fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.checks import check_count
from prunable.numerics.reconstruction.gram import Gram, output_error
from prunable.numerics.reconstruction.refit import (
    USUAL,
    Products,
    nearly_refitted,
    refit,
    some_rows,
)
from prunable.numerics.reconstruction.scaled import Correlations, usable
from prunable.numerics.reconstruction.surgery import Pattern, n_of_m, surgery
from prunable.numerics.weights.selection import top_k_mask

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.floating[Any]]
Found = tuple[Mask, FloatArray]

STRENGTHS = (1e-3, 1e-2, 1e-1)
CANDIDATES = (
    "magnitude",
    "input-weighted",
    "refitted magnitude",
    "refitted input-weighted",
    "surgery",
    "stepwise",
)


def choose(
    matrix: Matrix, gram: Gram, keep: int | Pattern, *, where: str = "choose"
) -> tuple[str, Mask, FloatArray]:
    """The best of all candidates on held-out inputs: its name, mask and weights, (out, width).

    Candidates are the largest weights, and those times the norms of their inputs, as they are and
    refitted; `surgery`; and `stepwise`; what reconstructs also at several dampings. Each is made
    from the inputs that are not held out, by `some_rows`, and the best is made again from
    all. `keep` is as in `surgery`. Without inputs held out it is the least error on all, at the
    usual damping.
    """
    some = matrix[some_rows(matrix, len(gram.products))]
    share = keep if isinstance(keep, tuple) else max(1, round(keep * len(some) / len(matrix)))
    held = gram.products if gram.held_out is None else gram.held_out
    inputs, whole = Correlations.of(gram.fitted), Correlations.of(gram.products)
    several = usable(STRENGTHS, inputs, whole) if gram.held_out is not None else [USUAL]
    errors: dict[tuple[str, float], float] = {}
    # by strengths, of which each has its inverses
    for strength in several:
        for name in CANDIDATES:
            if _reconstructs(name) or strength == several[0]:
                values = candidate(name, some, inputs, share, strength, where)[1]
                errors[name, strength] = output_error(some, values, held)
    name, strength = min(errors, key=lambda one: errors[one])
    return name, *candidate(name, matrix, whole, keep, strength, where)


def candidate(
    name: str, matrix: Matrix, inputs: Correlations, keep: int | Pattern, damping: float, where: str
) -> Found:
    """A candidate of that name, of `CANDIDATES`; arguments are those of `surgery`."""
    if name in ("surgery", "stepwise"):
        operate = surgery if name == "surgery" else stepwise
        return operate(matrix, inputs, keep, damping=damping, where=where)
    scores = np.abs(matrix)
    if name.endswith("input-weighted"):
        norms = np.where(inputs.dead, 0.0, inputs.norms)[:, 0]
        scores = scores * np.repeat(norms, len(matrix) // len(norms), axis=0)
    mask = n_of_m(scores, *keep) if isinstance(keep, tuple) else top_k_mask(scores, keep)
    if _reconstructs(name):
        return mask, refit(matrix, mask, inputs, ridge=damping, where=where)
    return mask, np.where(mask, matrix, 0.0).astype(np.float64)


def _reconstructs(name: str) -> bool:
    return name not in ("magnitude", "input-weighted")


STEPS = 6  # from the whole layer to what is kept, by equal factors
WIDE = 512  # inputs from which on steps on the way are not solved exactly, which gains nothing


def stepwise(
    matrix: NDArray[np.floating[Any]],
    products: Products,
    keep: int | Pattern,
    *,
    damping: float,
    where: str = "stepwise",
) -> tuple[Mask, FloatArray]:
    """Prune in a few steps; before each the weights left are refitted to the whole matrix.

    In a step those go that bring least to the outputs: of smallest size times the norm of their
    input. So a weight that makes up for others is seen to count before more is lost, and no order
    of columns decides, as it does in `surgery`. Arguments and result are those of `surgery`.
    """
    inputs = Correlations.of(products)
    norms = np.repeat(inputs.norms[:, 0] * ~inputs.dead[:, 0], len(matrix) // len(inputs.norms), 0)
    values = matrix.astype(np.float64)
    kept = np.ones(matrix.shape, dtype=np.bool_)
    if isinstance(keep, tuple):
        n, m, taps = keep
        for left in range(m - 1, n - 1, -1):
            kept = n_of_m(np.where(kept, np.abs(values) * norms, -1.0), left, m, taps)
            values = refit(matrix, kept, inputs, ridge=damping, where=where)
        return kept, values
    count = check_count(keep, matrix.size, "keep", where)
    for step in range(1, STEPS + 1):
        left = round(matrix.size * (max(count, 1) / matrix.size) ** (step / STEPS))
        left = count if step == STEPS else left
        kept = top_k_mask(np.where(kept, np.abs(values) * norms, -1.0), left)
        if step < STEPS and matrix.shape[1] > WIDE:
            values = nearly_refitted(matrix, kept, values, inputs, ridge=damping, where=where)
        else:
            values = refit(matrix, kept, inputs, ridge=damping, where=where)
    return kept, values
