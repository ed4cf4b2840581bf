"""How one share of all weights is divided among layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.nets.views import WeightView
from prunable.numerics.selection import top_k_masks

FloatArray = NDArray[np.float64]
Weights = NDArray[np.floating[Any]]


class Allocation(StrEnum):
    """Rules for `Keep(kappa, scope="global")`.

    THRESHOLD: one threshold on |w|. RELATIVE: one threshold on |w| / ||w_l||, which keeps the
    summed squared relative errors of the layers smallest. COMMON_EPS: the same relative l_2
    error in every layer. LAMP: one threshold on w^2 over the sum of squares of the weights of
    the layer that are at least as large (Lee, Park, Mo, Ahn and Shin 2021). ERK: shares of
    layers proportional to the sum over the product of their dimensions (Evci, Gale, Menick,
    Castro and Elsen 2020).
    """

    THRESHOLD = "threshold"
    RELATIVE = "relative"
    COMMON_EPS = "common-eps"
    LAMP = "lamp"
    ERK = "erk"


def allocate_masks(
    views: Sequence[WeightView], k: int, allocation: Allocation
) -> list[NDArray[np.bool_]]:
    """Keep k weights in all, the largest of each layer.

    Parameters
    ----------
    views : sequence of WeightView
        At least one.
    k : int
        Weights to keep, between 0 and their number.
    allocation : Allocation

    Returns
    -------
    list of ndarray of bool
        Flat, in C order; k times True in all.
    """
    weights = [view.matrix.ravel() for view in views]
    if allocation == Allocation.ERK:
        counts = erk_counts([view.shape for view in views], k)
        return [top_k_masks([w], n)[0] for w, n in zip(weights, counts, strict=True)]
    if allocation == Allocation.THRESHOLD:
        return top_k_masks(weights, k)
    score = {
        Allocation.RELATIVE: _relative,
        Allocation.COMMON_EPS: _pruned_at_error,
        Allocation.LAMP: _lamp,
    }[allocation]
    return top_k_masks([score(w) for w in weights], k)


def erk_counts(shapes: Sequence[tuple[int, ...]], k: int) -> list[int]:
    """Divide k weights by the Erdős-Rényi-kernel rule.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Shapes of the layers.
    k : int
        Weights in all, at most as many as there are.

    Returns
    -------
    list of int
        Their sum is k. Layers whose share would exceed 1 stay whole, and the others share what
        is left.
    """
    sizes = np.array([math.prod(shape) for shape in shapes])
    raw = np.array([sum(shape) for shape in shapes], dtype=np.float64)
    whole = np.zeros(len(sizes), dtype=np.bool_)
    while True:
        left = k - sizes[whole].sum()
        wanted = np.where(whole, sizes, raw * max(left, 0) / max(raw[~whole].sum(), 1e-300))
        over = ~whole & (wanted > sizes)
        if not over.any():
            break
        whole |= over
    counts = np.floor(wanted).astype(np.int64)
    # what rounding left goes to the largest remainders that have room
    order = np.argsort(-np.where(counts < sizes, wanted - counts, -1.0), kind="stable")
    counts[order[: k - int(counts.sum())]] += 1
    return [int(n) for n in counts]


def _relative(w: Weights) -> FloatArray:
    top = float(np.abs(w).max()) or 1.0
    scaled = np.abs(w).astype(np.float64) / top
    return np.asarray(scaled / (math.sqrt(float((scaled * scaled).sum())) or 1.0))


def _squares_in_order(w: Weights) -> tuple[NDArray[np.intp], FloatArray]:
    magnitudes = np.abs(w).astype(np.float64)
    magnitudes /= float(magnitudes.max()) or 1.0
    # of equal weights the later one counts as the smaller, and goes first
    order = np.lexsort((-np.arange(w.size), magnitudes))
    return order, magnitudes[order] ** 2


def _pruned_at_error(w: Weights) -> FloatArray:
    """The relative error of the layer once a weight and all smaller ones are gone."""
    order, squares = _squares_in_order(w)
    running = np.cumsum(squares)
    scores = np.empty(w.size)
    scores[order] = np.sqrt(running / (running[-1] or 1.0))
    return scores


def _lamp(w: Weights) -> FloatArray:
    order, squares = _squares_in_order(w)
    above = np.cumsum(squares[::-1])[::-1]
    scores = np.empty(w.size)
    scores[order] = squares / np.where(above > 0, above, 1.0)
    return scores
