"""How one share of all weights is divided among layers."""

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from prunable.errors import check_one_of
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import ShareRule
from prunable.nets.prune.strategies.allocations import NAMED, Allocation, LeastLoss
from prunable.nets.prune.strategies.base import Masks, top_of_each
from prunable.numerics.arrays import Lazy
from prunable.numerics.stable import StableLaw
from prunable.numerics.tails import log_moment
from prunable.numerics.weights.lamp import lamp_counts
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.selection import top_k_counts, top_k_masks
from prunable.numerics.weights.shares import counts_at_level, whole_counts

FloatArray = NDArray[np.float64]
Weights = NDArray[np.floating[Any]]
KEPT = 2**23  # scores that are held at a time
Division = ShareRule | Allocation  # by name, or with numbers of its own


def shared_masks(views: Sequence[WeightView], k: int, rule: Division) -> Masks:
    """Keep k weights in all, the largest of each layer; flat masks, k times True in all."""
    weights = [view.magnitudes for view in views]
    if rule == "threshold":
        return top_k_masks(weights, k)
    counts = shared_counts(views, [view.matrix for view in views], k, rule)
    return top_of_each(weights, counts)


def shared_counts(
    views: Sequence[WeightView], scores: Sequence[Weights], k: int, rule: Division
) -> list[int]:
    """How many weights each layer keeps, k in all.

    `scores` are what weights of a layer are chosen by, shaped as its matrix; one threshold is one
    on these. Both may be sequences that are made when they are asked for.
    """
    if not isinstance(rule, str):
        if isinstance(rule, LeastLoss) and all(v.gram is v.rms is None for v in views):
            # the weights' own errors are known at every number
            return shared_counts(views, scores, k, "relative")
        return rule.counts(views, scores, k)
    if rule in NAMED:
        return shared_counts(views, scores, k, NAMED[rule])
    if rule == "erk":
        return erk_counts([view.shape for view in views], k)
    if rule == "tail":
        return tail_counts(Lazy(len(views), lambda i: views[i].matrix.ravel()), k)
    if rule == "threshold":
        return top_k_counts(scores, k)
    # counting looks at scores several times: kept where that takes little room
    small = sum(view.matrix.size for view in views) <= KEPT
    if rule == "lamp":
        if small:
            return top_k_counts([view.lamp for view in views], k)
        layers = Lazy(len(views), lambda i: Levels.counted(views[i].matrix))
        return lamp_counts(lambda look: map(look, layers), k)
    score = {"relative": _relative, "common-eps": _pruned_at_error}[rule]
    made = Lazy(len(views), lambda i: score(views[i].matrix.ravel()))
    return top_k_counts(list(made) if small else made, k)


def check_division(rule: Division, where: str) -> None:
    """Raise InputError unless this is a rule, or has the method of one."""
    if not callable(getattr(rule, "counts", None)):
        check_one_of(rule, get_args(ShareRule), "allocation", where)


def erk_counts(shapes: Sequence[tuple[int, ...]], k: int) -> list[int]:
    """Divide k weights, at most all, by the Erdős-Rényi-kernel rule into counts of sum k.

    Layers whose share would exceed 1 stay whole, and the others share what is left.
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
    return whole_counts(wanted, sizes, k)


def tail_counts(weights: Sequence[Weights], k: int) -> list[int]:
    """Divide k weights, at most all, by the layers' tail indices into counts of sum k.

    A layer without an estimate counts as Gaussian.
    """
    shares = [(_ideal_errors(_tail_index(w), w.size), w.size) for w in weights]
    sizes = np.array([size for _, size in shares])

    def wanted(eps: float) -> FloatArray:
        # errors fall as more is kept
        kept = [
            1 - np.searchsorted(errors, eps, side="right") / errors.size for errors, _ in shares
        ]
        return np.asarray(kept * sizes)

    return counts_at_level(lambda level: wanted(1 - level), 0.0, 1.0, sizes, k)


def _tail_index(w: Weights) -> float:
    estimate = log_moment(w)
    return min(2.0, max(0.1, estimate.alpha)) if math.isfinite(estimate.alpha) else 2.0


def _ideal_errors(alpha: float, n: int) -> FloatArray:
    """Relative errors of pruning 1, 2, ... of the quantiles that stand for n stable weights."""
    count = min(n, 20_000)
    smallest_first = StableLaw(alpha).isf((np.arange(count, 0, -1) - 0.5) / (2 * count))
    running = np.cumsum(smallest_first**2)
    return np.asarray(np.sqrt(running / running[-1]))


def _relative(w: Weights) -> FloatArray:
    top = float(np.abs(w).max()) or 1.0
    scaled = np.abs(w).astype(np.float64) / top
    return np.asarray(scaled / (math.sqrt(float((scaled * scaled).sum())) or 1.0))


def _pruned_at_error(w: Weights) -> FloatArray:
    """The relative error of the layer once a weight and all smaller ones are gone."""
    magnitudes = np.abs(w).astype(np.float64)
    magnitudes /= float(magnitudes.max()) or 1.0
    # of equal weights the later one counts as the smaller, and goes first
    order = np.lexsort((-np.arange(w.size), magnitudes))
    running = np.cumsum(magnitudes[order] ** 2)
    scores = np.empty(w.size)
    scores[order] = np.sqrt(running / (running[-1] or 1.0))
    return scores
