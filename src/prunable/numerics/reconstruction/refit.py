"""Least-squares weights on the inputs that a mask keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from prunable.errors import check_at_least
from prunable.numerics.reconstruction.gram import Gram, output_error
from prunable.numerics.reconstruction.scaled import Scaled

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]

# Shares of each input's own square that are tried, and the one without inputs to choose by.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
USUAL = 1e-2


def refit(
    matrix: Matrix,
    kept: NDArray[np.bool_],
    products: FloatArray,
    *,
    ridge: float,
    where: str = "refit",
) -> FloatArray:
    """The weights on kept inputs whose outputs are nearest to those of the whole matrix.

    Row by row they minimise ||(w - w') x||^2 + ridge sum_j (w_j - w'_j)^2 ||x_j||^2 over the
    weights that a mask of the shape (out, width) keeps; so the whole mask gives the weights
    themselves, and on these inputs no mask is worse off. Rows of one mask are solved together.
    `products` are those of a `Gram`; `where` names the layer in messages.

    Chang, Li, Oymak and Thrampoulidis (2020), definition 5, for the outputs of a layer.
    """
    check_at_least(ridge, 0, "ridge", "refit")
    scaled = Scaled.of(matrix, products)
    damped = scaled.damped(ridge, where)
    weights, masks = scaled.weights.copy(), kept.reshape(scaled.weights.shape)
    for group, mask in enumerate(masks):
        patterns, owner = np.unique(mask, axis=0, return_inverse=True)
        owner = owner.ravel()
        for number, pattern in enumerate(patterns):
            if not pattern.any() or pattern.all():
                continue
            rows = owner == number
            gone = scaled.correlations[group][np.ix_(pattern, ~pattern)]
            moved = gone @ scaled.weights[group][np.ix_(rows, ~pattern)].T
            root = cho_factor(damped[group][np.ix_(pattern, pattern)], lower=True)
            weights[group][np.ix_(rows, pattern)] += cho_solve(root, moved).T
    return scaled.back(weights, kept)


def best_strength(
    matrix: Matrix,
    gram: Gram,
    found: Callable[[FloatArray, float], FloatArray],
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """The strength whose weights, from the inputs not held out, do best on those held out.

    `found` gives the matrix from products and a strength. `USUAL` if none are held out.
    """
    if gram.held_out is None:
        return USUAL
    errors = [
        output_error(matrix, found(gram.fitted, strength), gram.held_out) for strength in strengths
    ]
    return strengths[int(np.argmin(errors))]
