"""Optimal brain surgery: which weights go, and what the others become to make up for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import check_at_least
from prunable.numerics.checks import check_count
from prunable.numerics.reconstruction.scaled import Correlations, Scaled
from prunable.numerics.weights.selection import top_k_mask

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Products = FloatArray | Correlations
Pattern = tuple[int, int, int]  # n of each m inputs, at each of so many taps

BLOCK = 32  # columns between two updates of all that follow


def surgery(
    matrix: Matrix,
    products: Products,
    keep: int | Pattern,
    *,
    damping: float,
    where: str = "surgery",
) -> tuple[Mask, FloatArray]:
    """Prune column by column; the columns that follow make up for what goes.

    Of a block of columns those weights go whose loss, made up for by the columns to come, is
    least; what a block loses is taken from the columns after it in one product. `keep` is the
    number of weights that stay, which blocks share by the losses as they are at the start, or a
    pattern; `products` are those of a `Gram`. Gives the mask and the weights, both of the shape
    (out, width). `where` names the layer in messages.

    Frantar and Alistarh (2023), algorithm 1, with damping by a share of each input's own square.
    """
    check_at_least(damping, 0, "damping", "surgery")
    scaled = Scaled.of(matrix, products)
    upper = scaled.inputs.damped(damping, where).inverse_roots
    weights, width = scaled.weights.copy(), matrix.shape[1]
    divisors = np.diagonal(upper, axis1=1, axis2=2)[:, None, :]
    if isinstance(keep, tuple):
        n, m, taps = keep
        span, first = m * taps, None
        block = span * max(1, BLOCK // span)
    else:
        n, m, taps, span, block = 0, 1, 1, BLOCK, BLOCK
        count = check_count(keep, weights.size, "keep", where)
        first = top_k_mask(np.abs(weights) / divisors, count)
    kept = np.ones(weights.shape, dtype=np.bool_)
    for start in range(0, width, block):
        end = min(start + block, width)
        lost = np.zeros((*weights.shape[:2], end - start))
        for j in range(start, end):
            if (j - start) % span == 0:
                part = slice(j, min(j + span, end))
                scores = np.abs(weights[..., part]) / divisors[..., part]
                if first is None:
                    kept[..., part] = n_of_m(scores, n, m, taps)
                else:
                    kept[..., part] = top_k_mask(scores, int(first[..., part].sum()))
            gone = np.where(kept[..., j], 0.0, weights[..., j]) / divisors[..., j]
            weights[..., j:end] -= gone[..., None] * upper[:, None, j, j:end]
            lost[..., j - start] = gone
        weights[..., end:] -= lost @ upper[:, start:end, end:]
    mask = kept.reshape(matrix.shape)
    return mask, scaled.back(weights, mask)


def n_of_m(scores: FloatArray, n: int, m: int, taps: int = 1) -> Mask:
    """Mark the n largest of each m inputs along the last axis (inputs * taps), at each tap."""
    grouped = scores.reshape(*scores.shape[:-1], -1, m, taps)
    order = np.argsort(-grouped, axis=-2, kind="stable")
    kept = np.zeros(grouped.shape, dtype=np.bool_)
    np.put_along_axis(kept, order[..., :n, :], True, axis=-2)
    return kept.reshape(scores.shape)


def exact_surgery(
    matrix: Matrix, products: Products, keep: int, *, damping: float, where: str = "surgery"
) -> tuple[Mask, FloatArray]:
    """Prune weight by weight, always the one of least loss; all that are left make up for it.

    In time proportional to out width^3, for small layers. Arguments and result are those of
    `surgery`. Hassibi and Stork (1993); rows are traced by themselves and compared by the loss of
    each step, as in Frantar and Alistarh (2022), algorithm 2.
    """
    check_at_least(damping, 0, "damping", "surgery")
    scaled = Scaled.of(matrix, products)
    inverses = scaled.inputs.damped(damping, where).inverses
    groups, rows, width = scaled.weights.shape
    going = matrix.size - check_count(keep, matrix.size, "keep", where)
    steps = np.empty((groups, rows, width))
    order = np.empty((groups, rows, width), dtype=np.intp)
    for group, row in np.ndindex(groups, rows):
        trace = _trace(scaled.weights[group, row], inverses[group], width)
        order[group, row], steps[group, row] = trace[0], trace[1]
    # a step counts at least as much as those before it, without which it cannot be taken
    costs = np.maximum.accumulate(steps, axis=-1)
    first_to_go = ~top_k_mask(costs, matrix.size - going)
    counts = first_to_go.sum(axis=-1)
    kept = np.ones((groups, rows, width), dtype=np.bool_)
    weights = scaled.weights.copy()
    for group, row in np.ndindex(groups, rows):
        count = int(counts[group, row])
        kept[group, row, order[group, row, :count]] = False
        weights[group, row] = _trace(scaled.weights[group, row], inverses[group], count)[2]
    mask = kept.reshape(matrix.shape)
    return mask, scaled.back(weights, mask)


def _trace(
    weights: FloatArray, inverse: FloatArray, count: int
) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """Which weights of a row go first, the roots of what each costs, and what the row becomes."""
    weights, inverse = weights.copy(), inverse.copy()
    left = np.ones(weights.size, dtype=np.bool_)
    order, costs = np.empty(count, dtype=np.intp), np.empty(count)
    for step in range(count):
        diagonal = np.sqrt(np.where(left, np.diagonal(inverse), 1.0))
        losses = np.where(left, np.abs(weights) / diagonal, np.inf)
        # of equal ones the last goes, for the first is kept
        j = weights.size - 1 - int(np.argmin(losses[::-1]))
        order[step], costs[step] = j, losses[j]
        column = inverse[:, j] / inverse[j, j]
        weights -= weights[j] * column
        inverse -= np.outer(column, inverse[j])
        left[j] = False
        weights[j] = 0.0
    return order, costs, weights
