"""What is done with one stored tensor where files are pruned without building their network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch

from prunable.nets.archive import StoredTensor
from prunable.nets.networks.roles import Part
from prunable.nets.networks.views import WeightView, as_stored, view_of
from prunable.nets.prune.plan import Budget, LayerPlan
from prunable.nets.prune.shards import Row
from prunable.nets.prune.strategies import InputWeightedPruning, MagnitudePruning, NMPruning
from prunable.nets.prune.strategies.n_m import fits_pattern
from prunable.numerics.arrays import FloatArray
from prunable.numerics.measure.entries import Coded
from prunable.numerics.randomness import rng
from prunable.numerics.weights.compressibility import relative_error
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.magnitudes import Magnitudes, Ordered, count_nonzero
from prunable.numerics.weights.selection import above_threshold, mark_ties, threshold_of

Strategy = MagnitudePruning | NMPruning | InputWeightedPruning
R = TypeVar("R")


def pattern_of(strategy: Strategy) -> tuple[int, int] | None:
    """The numbers n and m of a strategy that keeps n of each m inputs."""
    if isinstance(strategy, NMPruning):
        return strategy.n, strategy.m
    return strategy.n_m if isinstance(strategy, InputWeightedPruning) else None


def counted(tensor: StoredTensor, part: Part, dtype: np.dtype[Any]) -> Levels:
    """The magnitudes of bit patterns."""
    assert tensor.codes is not None
    codes = tensor.codes()
    if not codes.finite:
        view_of(part, tensor.load())  # says where
    with np.errstate(invalid="ignore"):  # of codes that do not occur
        levels = Levels.of(codes.table.astype(dtype), codes.counts)
    codes.release()
    return levels


def measured(
    tensor: StoredTensor,
    part: Part,
    dtype: np.dtype[Any],
    look: Callable[[Ordered], R],
    rms: FloatArray | None = None,
) -> R:
    """What a function makes of the magnitudes of a tensor, times `rms` where they are given."""
    view = view_of(part, tensor.load())
    matrix = view.matrix if rms is None else replace(view, rms=rms).weighted
    return look(Magnitudes.of(np.asarray(matrix, dtype=dtype)))


@dataclass(frozen=True)
class Exactly:
    """Keep so many weights of one layer."""

    n: int

    def counts(self, views: Sequence[WeightView], scores: Sequence[Any], k: int) -> list[int]:
        """The number, which was found before."""
        del views, scores, k
        return [self.n]


def around(magnitudes: Ordered, threshold: float) -> tuple[int, int]:
    """How many are above a threshold, and equal to it."""
    return magnitudes.around(threshold)


def settled(magnitudes: Ordered, dtype: np.dtype[Any], k: int) -> tuple[float, int]:
    """The threshold of a tensor by itself, and how many at it stay."""
    return threshold_of(lambda look: [look(magnitudes)], dtype, k)


def empty_view(tensor: StoredTensor, part: Part) -> WeightView:
    """A matrix of a tensor's shape, of one number in memory."""
    return view_of(part, np.broadcast_to(np.float32(0), part.shape or tensor.shape))


def nonzero(tensor: StoredTensor) -> int:
    """How many numbers of a tensor are not 0."""
    if tensor.codes is None:
        return count_nonzero(tensor.load())
    codes = tensor.codes()
    found = Levels.of(codes.table, codes.counts)
    codes.release()
    return found.size - found.zeros


def _masked(
    out: BinaryIO | None,
    tensor: StoredTensor,
    view: WeightView,
    layer: LayerPlan,
    shape: tuple[int, ...] = (),
) -> Row:
    """Write a tensor, all of it in memory, with what a plan prunes at 0."""
    before = count_nonzero(view.matrix)
    matrix = np.where(layer.matrix_mask, view.matrix, view.matrix.dtype.type(0))
    if out is not None:
        stored_as = shape or tensor.shape  # one shape of its numbers serves like another
        array = np.ascontiguousarray(as_stored(matrix, stored_as, view.transposed, view.groups))
        # half precision is read as float32, and back is exact
        stored = torch.from_numpy(array).to(getattr(torch, tensor.dtype))
        out.write(stored.view(torch.uint8).numpy().data if stored.ndim else b"")
    return {**layer.to_dict(), "before": before, "after": count_nonzero(matrix)}


def planned(
    tensor: StoredTensor,
    out: BinaryIO | None = None,
    *,
    part: Part,
    how: tuple[Strategy, Budget, int],
    rms: FloatArray | None = None,
) -> Row:
    """Write a tensor as a strategy prunes it by itself.

    `rms` are the root mean squares of its inputs, (groups, width), where they are known; else a
    strategy that weighs inputs goes by magnitudes.
    """
    strategy, budget, seed = how
    view = view_of(part, tensor.load())
    if isinstance(strategy, InputWeightedPruning):
        view = replace(view, rms=np.ones((1, view.matrix.shape[1])) if rms is None else rms)
    if (pattern := pattern_of(strategy)) is not None and not fits_pattern(view, pattern[1]):
        whole = np.ones(view.matrix.size, dtype=np.bool_)
        layer = LayerPlan(view.name, view.matrix.shape, "weight", whole, 0.0)
    else:
        layer = strategy.plan((view,), budget, rng=rng(seed, "prune")).layers[0]
    return _masked(out, tensor, view, layer, part.shape)


def cut(
    tensor: StoredTensor,
    out: BinaryIO | None = None,
    *,
    part: Part,
    how: tuple[float, int, float],
    dtype: np.dtype[Any],
) -> Row:
    """Write a tensor of floats without what is below a threshold."""
    threshold, ties, p = how
    view = view_of(part, tensor.load())
    magnitudes = Magnitudes.of(np.asarray(view.matrix, dtype=dtype))
    kept = above_threshold(magnitudes, threshold)
    mark_ties(magnitudes, threshold, ties, kept)
    eps = relative_error(view.matrix.ravel(), kept, p)
    layer = LayerPlan(view.name, view.matrix.shape, "weight", kept, eps, p)
    return _masked(out, tensor, view, layer)


def recoded(
    tensor: StoredTensor,
    out: BinaryIO | None = None,
    *,
    part: Part,
    how: tuple[float, int, float],
    levels: Levels,
) -> Row:
    """Write bit patterns without those below a threshold, piece by piece."""
    threshold, ties, p = how
    larger, equal = levels.around(threshold)
    n_kept = larger + ties
    if out is not None:
        assert tensor.codes is not None
        codes = tensor.codes()
        if 0 < ties < equal and part.transposed:
            # of equal weights the first of the matrix stay, which is stored in another order
            view = view_of(part, tensor.load())
            magnitudes = Magnitudes.of(view.matrix)
            kept = above_threshold(magnitudes, threshold)
            mark_ties(magnitudes, threshold, ties, kept)
            layer = LayerPlan(view.name, view.matrix.shape, "weight", kept, 0.0, p)
            _masked(out, tensor, view, layer)
        else:
            _write_codes(out, codes, threshold, ties)
    before = levels.size - levels.zeros
    zeros_kept = 0 if threshold > 0 else max(n_kept - before, 0)
    shape = _matrix_shape(tensor, part)
    return {
        "name": part.name,
        "shape": list(shape),
        "axis": "weight",
        "n_total": levels.size,
        "n_kept": n_kept,
        "kappa_asked": None,
        "kappa": n_kept / levels.size,
        "eps": levels.error_below(threshold, equal - ties, p),
        "p": p,
        "before": before,
        "after": n_kept - zeros_kept,
    }


def _matrix_shape(tensor: StoredTensor, part: Part) -> tuple[int, int]:
    found = empty_view(tensor, part).matrix.shape
    return found[0], found[1]


def _write_codes(out: BinaryIO, codes: Coded, threshold: float, ties: int) -> None:
    sizes = np.abs(codes.table)
    own = np.arange(codes.table.size).astype(codes.raw.dtype)
    without = np.where(sizes > threshold, own, own.dtype.type(0))
    equal = sizes == threshold
    whole = np.where(equal, own, without)
    left = ties
    for chunk in codes.chunks():
        # the first equal ones stay, until there have been enough
        written = np.take(whole if left else without, chunk, mode="clip")
        if left:
            places = np.flatnonzero(equal[chunk])
            written[places[left:]] = 0
            left -= min(left, places.size)
        out.write(written.data)
    codes.release()
