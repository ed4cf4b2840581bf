"""The counts of weights at which the losses of all layers add up to least, k weights in all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prunable.errors import require
from prunable.numerics.checks import check_count

FloatArray = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LossCurve:
    """What a layer's pruning costs at some numbers of kept weights.

    Raises InputError unless numbers increase from 0 or 1 on, and losses are finite.
    """

    kept: Counts = field(repr=False)  # (m,) increasing; the last is the size of the layer
    loss: FloatArray = field(repr=False)  # (m,), of any sign and order

    def __post_init__(self) -> None:
        kept, loss = self.kept, self.loss
        increases = kept.ndim == 1 and kept.size > 0 and 0 <= kept[0] <= 1
        increases = increases and bool((np.diff(kept) > 0).all())
        require(increases, "kept", "LossCurve", "numbers that increase from 0 or 1 on", kept)
        finite = loss.shape == kept.shape and bool(np.isfinite(loss).all())
        require(finite, "loss", "LossCurve", "a finite number for each", loss)

    def hull(self) -> LossCurve:
        """The corners of the greatest convex curve that is nowhere above this one.

        >>> LossCurve(np.array([0, 1, 2, 3]), np.array([9.0, 8.0, 1.0, 0.0])).hull().kept
        array([0, 2, 3])
        """
        corners: list[int] = []
        for i in range(self.kept.size):
            while len(corners) > 1 and self._slope(corners[-2], corners[-1]) >= self._slope(
                corners[-1], i
            ):
                corners.pop()
            corners.append(i)
        return LossCurve(self.kept[corners], self.loss[corners])

    def at(self, count: int) -> float:
        """The loss at a number of kept weights, linearly between those that are known."""
        return float(np.interp(count, self.kept, self.loss))

    def power(self, exponent: float) -> LossCurve:
        """The curve of a power of losses that are >= 0."""
        return LossCurve(self.kept, np.maximum(self.loss, 0.0) ** exponent)

    def near(self, count: int, factor: float) -> LossCurve:
        """The curve within a factor of a number: less is as bad as can be, more gains nothing."""
        size = int(self.kept[-1])
        low, high = math.ceil(count / factor), min(int(count * factor), size)
        kept = np.unique([0, low, *self.kept[(self.kept > low) & (self.kept < high)], high, size])
        loss = np.interp(np.clip(kept, low, high), self.kept, self.loss)
        worst = 1e9 * (1 + float(np.abs(loss).max()))
        return LossCurve(kept, loss + worst * np.maximum(low - kept, 0))

    def _slope(self, i: int, j: int) -> float:
        return float((self.loss[j] - self.loss[i]) / (self.kept[j] - self.kept[i]))


def least_loss(curves: Sequence[LossCurve], k: int) -> list[int]:
    """Divide k weights among layers so that the convex hulls of their curves add up to least.

    Weights go where the hulls fall most steeply, which is optimal for the hulls; the curves
    themselves then cost no more than the hulls in all layers but one, which ends between two of its
    corners. As long as it can be, each layer keeps a weight.

    Fox (1966), on marginal allocation of convex losses.

    >>> steep = LossCurve(np.array([0, 1, 2]), np.array([9.0, 1.0, 0.0]))
    >>> flat = LossCurve(np.array([0, 1, 2]), np.array([2.0, 1.0, 0.0]))
    >>> least_loss([steep, flat], 2)
    [1, 1]
    """
    sizes = np.array([curve.kept[-1] for curve in curves], dtype=np.int64)
    left = check_count(k, int(sizes.sum()), "k", "least_loss")
    first = int(left >= len(curves))
    counts = np.full(len(curves), first, dtype=np.int64)
    left -= int(counts.sum())
    gains, owners, widths = [], [], []
    for i, curve in enumerate(curves):
        inside = np.unique(np.append(curve.kept[curve.kept > first], first))
        hull = LossCurve(inside, np.interp(inside, curve.kept, curve.loss)).hull()
        width = np.diff(hull.kept)
        gains.append(-np.diff(hull.loss) / width)
        owners.append(np.full(width.size, i))
        widths.append(width)
    owner, width = np.concatenate(owners), np.concatenate(widths)
    for part in np.argsort(-np.concatenate(gains), kind="stable"):
        taken = min(int(width[part]), left)
        counts[owner[part]] += taken
        left -= taken
    return [int(n) for n in counts]


def losses_of_errors(errors: FloatArray, known: FloatArray, losses: FloatArray) -> FloatArray:
    """Losses at squared output errors, from those that are known at some.

    Between known ones the loss is a power of the error, which it is for small ones with the
    exponent 1; so it is assumed to be beyond them. Where nothing is lost nothing is.

    >>> losses_of_errors(np.array([0.0, 0.01, 0.2]), np.array([0.1, 0.4]), np.array([1.0, 2.0]))
    array([0.        , 0.1       , 1.41421356])
    """
    order = np.argsort(known, kind="stable")
    x, first = np.unique(known[order], return_index=True)
    # a larger error does not do less; an accident of measuring is evened out
    y = np.maximum.accumulate(losses[order])[first]
    inside = (x > 0) & (y > 0)
    if not inside.any():
        return np.zeros_like(errors)
    x, y = np.log(x[inside]), np.log(y[inside])
    with np.errstate(divide="ignore"):
        at = np.log(errors)
    found = np.interp(at, x, y) + np.minimum(at - x[0], 0.0) + np.maximum(at - x[-1], 0.0)
    return np.asarray(np.where(errors > 0, np.exp(found), 0.0))
