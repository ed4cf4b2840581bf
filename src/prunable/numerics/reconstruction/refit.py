"""Least-squares weights on the inputs that a mask keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from prunable.errors import check_at_least
from prunable.numerics.reconstruction.gram import Gram, output_error
from prunable.numerics.reconstruction.scaled import Correlations, Scaled, usable

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Products = FloatArray | Correlations

# Shares of each input's own square that are tried, and the one without inputs to choose by.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
USUAL = 1e-2
ROWS = 256  # rows of a wide layer by which its ridge is chosen
# Where more than this share stays, and rows are many, rows are solved by what goes; unless the
# smallest eigenvalue is so small that inverses are not exact.
MOST, FEW, INVERTIBLE = 0.55, 8, 1e-5


def refit(
    matrix: Matrix, kept: Mask, products: Products, *, ridge: float, where: str = "refit"
) -> FloatArray:
    """The weights on kept inputs whose outputs are nearest to those of the whole matrix.

    Row by row they minimise ||(w - w') x||^2 + ridge sum_j (w_j - w'_j)^2 ||x_j||^2 over the
    weights that a mask of the shape (out, width) keeps; so the whole mask gives the weights
    themselves, and on these inputs no mask is worse off. Rows of one mask are solved together.
    `products` are those of a `Gram`, or their `Correlations`; `where` names the layer in messages.

    Chang, Li, Oymak and Thrampoulidis (2020), definition 5, for the outputs of a layer.
    """
    check_at_least(ridge, 0, "ridge", "refit")
    scaled = Scaled.of(matrix, products)
    damped = scaled.inputs.damped(ridge, where)
    weights, masks = scaled.weights.copy(), kept.reshape(scaled.weights.shape)
    precise = scaled.inputs.lowest + ridge >= INVERTIBLE
    for group, mask in enumerate(masks):
        patterns, first, owner = np.unique(
            np.packbits(mask, axis=1), axis=0, return_index=True, return_inverse=True
        )
        order, sizes = np.argsort(owner.ravel(), kind="stable"), np.bincount(owner.ravel())
        by_pattern = np.split(order, np.cumsum(sizes)[:-1])
        inverse = None
        if precise and len(patterns) > FEW and mask.mean() > MOST:
            inverse = np.linalg.inv(damped[group])
        # what the lost weights brought to the normal equations, of all rows in one product
        moved = np.where(mask, 0.0, weights[group]) @ scaled.inputs.values[group]
        for row, rows in zip(first, by_pattern, strict=True):
            inside = np.flatnonzero(mask[row])
            if inside.size in (0, mask.shape[1]):
                continue
            if inverse is None:
                root = _root(damped[group], inside)
                wanted = moved[np.ix_(rows, inside)].T
                change = cho_solve(root, wanted, check_finite=False).T
            else:
                # by the few that go, from the inverse
                gone = np.flatnonzero(~mask[row])
                lost = weights[group][np.ix_(rows, gone)].T
                pulls = cho_solve(_root(inverse, gone), lost, check_finite=False).T
                change = -pulls @ inverse[np.ix_(gone, inside)]
            weights[group][np.ix_(rows, inside)] += change
    return scaled.back(weights, kept)


def _root(matrix: FloatArray, chosen: NDArray[np.intp]) -> Any:
    return cho_factor(matrix[np.ix_(chosen, chosen)], lower=True, check_finite=False)


def refitted(matrix: Matrix, kept: Mask, gram: Gram, *, where: str = "refit") -> FloatArray:
    """`refit` with the ridge that does best on held-out inputs, judged by at most `ROWS` rows."""
    rows = np.arange(len(matrix))
    if len(gram.products) == 1 and len(matrix) > ROWS:
        rows = np.linspace(0, len(matrix) - 1, ROWS).astype(np.intp)
    some, mask = matrix[rows], kept[rows]

    def found(products: Products, ridge: float) -> FloatArray:
        return refit(some, mask, products, ridge=ridge, where=where)

    ridge = best_strength(some, gram, found)
    return refit(matrix, kept, gram.products, ridge=ridge, where=where)


def best_strength(
    matrix: Matrix,
    gram: Gram,
    found: Callable[[Correlations, float], FloatArray],
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """The strength whose weights, from the inputs not held out, do best on those held out.

    `found` gives the matrix from correlations and a strength. `USUAL` if none are held out.
    """
    if gram.held_out is None:
        return USUAL
    inputs = Correlations.of(gram.fitted)
    tried = usable(strengths, inputs, Correlations.of(gram.products))
    errors = [output_error(matrix, found(inputs, one), gram.held_out) for one in tried]
    return tried[int(np.argmin(errors))]
