"""What LAMP's scores keep: so many weights exactly, or under a budget of error from histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.weights.allocation import LayerBins
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.magnitudes import Magnitudes, Ordered
from prunable.numerics.weights.selection import Pass

FloatArray = NDArray[np.float64]
DIGITS = (52, 41, 30, 19, 8, 0)  # places of bits of a score that are found together
SMALLEST, HALVINGS = -700.0, 60  # logarithm of a score; steps that find one to 1e-15


def lamp_counts(over: Pass, k: int) -> list[int]:
    """How many weights each layer keeps if the k of the largest scores of LAMP stay.

    The score of a weight is w^2 over the sum of squares of the layer's weights that are not smaller
    (Lee et al. 2021, equation 2), of equal weights the first counting as the largest; of equal
    scores those of earlier layers stay. `over` applies a function to each layer's magnitudes, in
    order; called seven times.

    Examples
    --------
    >>> layers = [Levels.counted(np.array([3.0, 4.0])), Levels.counted(np.ones(3))]
    >>> lamp_counts(lambda look: map(look, layers), 3)
    [1, 2]
    """
    bits = 0  # of the smallest score that stays; those of positive floats grow with them
    for place, above in zip(DIGITS, (63, *DIGITS), strict=False):
        edges = bits + (np.arange(1 << above - place) << place)
        total = sum(over(partial(_at_least, scores=edges.view(np.float64))))
        bits = int(edges[np.searchsorted(-np.asarray(total), -k, side="right") - 1])
    threshold = np.array(bits).view(np.float64)
    ends = np.array([threshold, np.nextafter(threshold, np.inf)])
    kept = np.array(list(over(partial(_at_least, scores=ends))))
    equal, found = kept[:, 0] - kept[:, 1], kept[:, 1]
    before = np.cumsum(equal) - equal
    return (found + np.clip(k - found.sum() - before, 0, equal)).tolist()  # type: ignore[no-any-return]


def lamp_scores(layer: Levels) -> FloatArray:
    """The scores of all of a layer's weights, from the smallest magnitude; see `lamp_counts`.

    Where there is room for them, `top_k_counts` of these comes to the same counts, and sooner.
    """
    scores = _Scores.of(layer)
    squares = np.repeat(scores.squares, layer.counts)
    before = np.cumsum(layer.counts) - layer.counts
    # the last of equal weights has itself alone beside what is larger
    place = np.arange(1, squares.size + 1) - np.repeat(before, layer.counts)
    sums = np.repeat(np.append(scores.sums, 0.0)[1:], layer.counts) + place * squares
    return np.asarray(squares / np.where(sums > 0, sums, 1.0))


def _at_least(layer: Ordered, scores: FloatArray) -> NDArray[np.int64]:
    levels = Levels.counted(layer.values) if isinstance(layer, Magnitudes) else layer
    assert isinstance(levels, Levels)
    return _Scores.of(levels).at_least(scores)


@dataclass(frozen=True, eq=False)
class _Scores:
    """Squares of a layer's distinct magnitudes, increasing, and what lies above each."""

    squares: FloatArray
    counts: NDArray[np.int64]
    sums: FloatArray  # of squares that are not smaller

    @classmethod
    def of(cls, layer: Levels) -> _Scores:
        squares: FloatArray = (layer.values.astype(np.float64) / (layer.top or 1.0)) ** 2
        return cls(squares, layer.counts, np.cumsum((squares * layer.counts)[::-1])[::-1])

    def at_least(self, scores: FloatArray) -> NDArray[np.int64]:
        """How many weights have at least these scores, which grow with the magnitude."""
        last = self.squares / np.where(self.sums > 0, self.sums, 1.0)
        above = np.append(np.cumsum(self.counts[::-1])[::-1], 0)
        first = np.searchsorted(last, scores)
        level = np.maximum(first - 1, 0)  # of which some have the score
        square, larger = self.squares[level], np.append(self.sums, 0.0)[level + 1]
        low, high = np.zeros_like(level), np.where(first > 0, self.counts[level] - 1, 0)
        while (low < high).any():
            middle = (low + high + 1) // 2
            sums = larger + middle * square
            enough = square / np.where(sums > 0, sums, 1.0) >= scores
            low, high = np.where(enough, middle, low), np.where(enough, high, middle - 1)
        return np.asarray(above[first] + low)


def lamp_kept(sketches: Sequence[LayerBins | None], budgets: Sequence[float]) -> FloatArray:
    """Weights that each layer keeps if all go by LAMP's score, as many as each budget allows.

    Scores are those of `lamp_counts`; budgets are on the sum of squared relative errors. From the
    bins' ends, interpolated between: accurate to about a thousandth of a layer. All-zero
    layers (None) keep nothing. Shape (budgets, layers).
    """
    curves = [_curve(sketch) for sketch in sketches if sketch is not None]
    sizes = np.array([0.0 if sketch is None else sketch.n for sketch in sketches])
    if not curves:
        return np.zeros((len(budgets), len(sketches)))
    owners = np.repeat(np.flatnonzero(sizes), [scores.size - 1 for scores, _, _ in curves])
    starts = np.concatenate([scores[:-1] for scores, _, _ in curves])
    widths, counts, gains = (
        np.concatenate([np.diff(one) for one in x]) for x in zip(*curves, strict=True)
    )
    kept = []
    for budget in budgets:
        part = _passed(_score(starts, widths, gains, budget), starts, widths)
        kept.append(sizes - np.bincount(owners, counts * part, minlength=sizes.size))
    return np.array(kept)


def _passed(score: float, starts: FloatArray, widths: FloatArray) -> FloatArray:
    """What part of each piece lies below a score."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.clip(np.nan_to_num((score - starts) / widths), 0.0, 1.0)


def _score(starts: FloatArray, widths: FloatArray, gains: FloatArray, budget: float) -> float:
    """The largest score under which pieces of all layers cost no more than a budget."""
    low, high = SMALLEST, 1e-9  # at score 1, that of each layer's largest weight, all is gone
    if gains.sum() <= budget:
        return high
    spent = 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        part = _passed(middle, starts, widths)
        if spent + gains @ part <= budget:
            low, left = middle, part < 1
            spent += gains[~left].sum()
        else:
            high, left = middle, part > 0
        starts, widths, gains = starts[left], widths[left], gains[left]
    return low


def _curve(sketch: LayerBins) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Logarithms of scores, increasing, and the weights and squares that lie below each."""
    ends = np.minimum(np.array([sketch.low, sketch.high]).T.ravel() / sketch.norm, 1.0)
    places = np.arange(len(sketch.bins))
    both = np.array([places, places + 1]).T.ravel()  # of each bin, what is below and up to it
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 2 * np.log(ends) - np.log1p(-sketch.squares[both])
    scores = np.where(np.isnan(scores), 0.0, np.clip(scores, SMALLEST, 0.0))
    scores[-1] = 0.0
    scores = np.maximum.accumulate(scores)
    # steps between bins are kept apart, as interpolation asks
    scores += np.arange(scores.size) * 1e-15 * math.log(2)
    return scores, sketch.counts[both].astype(np.float64), sketch.squares[both]
