"""What LAMP's scores would keep under a budget of error, from histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.weights.allocation import LayerBins

FloatArray = NDArray[np.float64]
SMALLEST, HALVINGS = -700.0, 60  # logarithm of a score; steps that find one to 1e-15


def lamp_kept(sketches: Sequence[LayerBins | None], budget: float) -> FloatArray:
    """Weights that each layer keeps if all go by LAMP's score, as many as the budget allows.

    The score of a weight is w^2 over the sum of squares of the layer's weights that are not
    smaller (Lee et al. 2021, equation 2); the budget is on the sum of squared relative errors. From
    the bins' ends, interpolated between: accurate to about a thousandth of a layer. All-zero
    layers (None) keep nothing.
    """
    curves = [_curve(sketch) for sketch in sketches if sketch is not None]

    def cost(log_score: float) -> float:
        return sum(float(np.interp(log_score, scores, costs)) for scores, _, costs in curves)

    low, high = SMALLEST, 1e-9  # at score 1, that of each layer's largest weight, all is gone
    for _ in range(HALVINGS if curves and cost(high) > budget else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    at = low if curves and cost(high) > budget else high
    left = iter([float(counts[-1] - np.interp(at, s, counts)) for s, counts, _ in curves])
    return np.array([0.0 if sketch is None else next(left) for sketch in sketches])


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
