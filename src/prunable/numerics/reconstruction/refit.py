"""Least-squares weights on the inputs that a mask keeps."""

from __future__ import annotations

from collections.abc import Callable
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
# Weights of a wide layer, in whole rows, by which what suits it is chosen, and how many at least.
SAMPLE, LEAST_ROWS = 2**17, 32
NARROW = 16  # inputs up to which all rows are solved at once, as depthwise layers have them
# Where more than this share stays, and rows are many, rows are solved by what goes; unless the
# smallest eigenvalue is so small that inverses are not exact.
MOST, FEW, INVERTIBLE = 0.55, 8, 1e-5
# How near conjugate gradients go, relative to the slope they begin with, and in how many steps.
NEAR, CONJUGATE = 1e-3, 40
TINY = np.float32(1e-37)  # stands for the slope of rows that are solved


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
    if matrix.shape[1] <= NARROW:
        both = masks[..., :, None] & masks[..., None, :]
        systems = np.where(both, damped.values[:, None], np.eye(matrix.shape[1]))
        wanted = np.where(masks, np.where(masks, 0.0, weights) @ scaled.inputs.values, 0.0)
        return scaled.back(weights + np.linalg.solve(systems, wanted[..., None])[..., 0], kept)
    precise = scaled.inputs.above(INVERTIBLE, ridge)
    for group, mask in enumerate(masks):
        patterns, first, owner = np.unique(
            np.packbits(mask, axis=1), axis=0, return_index=True, return_inverse=True
        )
        order, sizes = np.argsort(owner.ravel(), kind="stable"), np.bincount(owner.ravel())
        by_pattern = np.split(order, np.cumsum(sizes)[:-1])
        inverse = None
        if precise and len(patterns) > FEW and mask.mean() > MOST:
            inverse = damped.inverses[group]
        # what the lost weights brought to the normal equations, of all rows in one product
        moved = np.where(mask, 0.0, weights[group]) @ scaled.inputs.values[group]
        for row, rows in zip(first, by_pattern, strict=True):
            inside = np.flatnonzero(mask[row])
            if inside.size in (0, mask.shape[1]):
                continue
            if inverse is None:
                root = _root(damped.values[group], inside)
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


def nearly_refitted(
    matrix: Matrix,
    kept: Mask,
    start: FloatArray,
    products: Products,
    *,
    ridge: float,
    where: str = "refit",
) -> FloatArray:
    """`refit` in single precision, by conjugate gradients of all rows at once from a start.

    Near enough to tell which weights matter, in a fraction of the time where rows are wide.
    """
    scaled = Scaled.of(matrix, products)
    damped = scaled.inputs.damped(ridge, where).single
    free = kept.reshape(scaled.weights.shape)
    unit = float(np.abs(scaled.weights).max()) or 1.0
    begin = start.reshape(free.shape) / scaled.scale * scaled.inputs.norms - scaled.weights
    moved = np.where(free, begin / unit, 0.0).astype(np.float32)
    lost = np.where(free, 0.0, scaled.weights / unit).astype(np.float32)
    left = np.where(free, lost @ damped - moved @ damped, np.float32(0))
    direction, size = left, np.square(left).sum(-1, keepdims=True)
    enough = NEAR**2 * size
    for _ in range(CONJUGATE):
        if (size <= enough).all():
            break
        along = np.where(free, direction @ damped, np.float32(0))
        step = size / np.maximum((direction * along).sum(-1, keepdims=True), TINY)
        moved = moved + step * direction
        left = left - step * along
        now = np.square(left).sum(-1, keepdims=True)
        direction, size = left + now / np.maximum(size, TINY) * direction, now
    return scaled.back(scaled.weights + unit * moved.astype(np.float64), kept)


def some_rows(matrix: Matrix, groups: int) -> NDArray[np.intp]:
    """Evenly spread rows of a layer of `SAMPLE` weights or a few more; all of a grouped layer."""
    count = max(LEAST_ROWS, SAMPLE // matrix.shape[1])
    if groups > 1 or len(matrix) <= count:
        return np.arange(len(matrix))
    return np.linspace(0, len(matrix) - 1, count).astype(np.intp)


def refitted(matrix: Matrix, kept: Mask, gram: Gram, *, where: str = "refit") -> FloatArray:
    """`refit` with the ridge that does best on held-out inputs, judged by `some_rows`."""
    rows = some_rows(matrix, len(gram.products))
    some, mask = matrix[rows], kept[rows]

    def found(products: Products, ridge: float) -> FloatArray:
        return refit(some, mask, products, ridge=ridge, where=where)

    ridge = best_strength(some, gram, found)
    return refit(matrix, kept, gram.products, ridge=ridge, where=where)


def best_strength(
    matrix: Matrix, gram: Gram, found: Callable[[Correlations, float], FloatArray]
) -> float:
    """The strength whose weights, from the inputs not held out, do best on those held out.

    `found` gives the matrix from correlations and a strength. `USUAL` if none are held out.
    """
    if gram.held_out is None:
        return USUAL
    inputs = Correlations.of(gram.fitted)
    tried = usable(STRENGTHS, inputs, Correlations.of(gram.products))
    errors = [output_error(matrix, found(inputs, one), gram.held_out) for one in tried]
    return tried[int(np.argmin(errors))]
