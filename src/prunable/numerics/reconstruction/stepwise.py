"""Weights that go a few at a time, the others fitted anew in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.checks import check_count
from prunable.numerics.reconstruction.refit import Products, nearly_refitted, refit
from prunable.numerics.reconstruction.scaled import Correlations
from prunable.numerics.reconstruction.surgery import Pattern, n_of_m
from prunable.numerics.weights.selection import top_k_mask

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

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
