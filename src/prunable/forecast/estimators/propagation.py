"""What pruned copies would give on all inputs, from what each gives on a handful of them.

How far a copy's logits move, beside growing or shrinking as a whole, is told well by few inputs.
How the movement lies is nearly the same for all copies of one network, once logits are put in the
order of the dense network's own: the runner-up moves more against the decided class than chance,
and inputs that are sure move less. So all copies' movements are put together, and each input is
moved as inputs of about its margin were, by as much as the copy at hand moves logits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from prunable.errors import check_at_least, require
from prunable.forecast.estimators.estimate import Estimate, joined
from prunable.forecast.estimators.found import Found
from prunable.forecast.estimators.model_error import PROPAGATED
from prunable.numerics.arrays import FloatArray

WHERE = "propagation"
NEAR = 60  # movements of inputs of the nearest margins, of which an input's are drawn
# Relative squared errors of copies whose movements tell how others lie: below, rounding; above,
# nothing is left of the network.
TELLING = (1e-6, 1.5)
LEAST_GAIN = 0.02  # by which a copy's logits may have shrunk
REPEATS = 2  # movements drawn of each input
FAR = 0.03  # an error of propagation, in accuracy, of which it is said


@dataclass(frozen=True, eq=False)
class Handful:
    """A copy's logits of a few inputs beside the dense network's, both (m, c).

    Raises InputError unless both are finite and of one shape, of two inputs and classes or more.
    """

    kappa: float
    dense: FloatArray
    pruned: FloatArray

    def __post_init__(self) -> None:
        shape = self.dense.shape
        fits = self.pruned.shape == shape and len(shape) == 2 and min(shape) >= 2
        wanted = "two arrays (inputs, classes) of one shape, of two at least"
        require(fits, "logits", WHERE, wanted, f"{shape} and {self.pruned.shape}")
        finite = bool(np.isfinite(self.dense).all() and np.isfinite(self.pruned).all())
        require(finite, "logits", WHERE, "finite", "NaN or infinity")

    @cached_property
    def moved(self) -> FloatArray:
        """By how much each logit moves once the copy's are scaled to the dense ones', (m, c)."""
        before, after = centred(self.dense), centred(self.pruned)
        squares = float((before * before).sum())
        gain = float((after * before).sum()) / squares if squares else 1.0
        return after / max(gain, LEAST_GAIN) - before

    @property
    def error(self) -> float:
        """The relative squared error of the scaled logits."""
        whole = float((centred(self.dense) ** 2).sum())
        return float((self.moved**2).sum()) / whole if whole else 0.0


def centred(logits: FloatArray) -> FloatArray:
    """Logits less their mean over the classes, which decides nothing."""
    return np.asarray(logits - logits.mean(1, keepdims=True), dtype=np.float64)


def errors_at(
    kappas: Sequence[float], known: Sequence[float], errors: Sequence[float]
) -> FloatArray:
    """Relative squared errors at shares kept, from those at some `known` shares.

    They grow as shares fall; between known shares their logarithm is linear in that of the share,
    and beyond the last one it stays. At 1 nothing is pruned.

    Examples
    --------
    >>> errors_at([0.5, 0.25, 1.0], [1.0, 0.5, 0.125], [0.0, 0.01, 0.04]).round(3).tolist()
    [0.01, 0.02, 0.0]
    """
    pairs = sorted((-math.log(k), max(e, 1e-12)) for k, e in zip(known, errors, strict=True))
    require(pairs, "known", WHERE, "one or more shares", "none")
    depths = np.array([depth for depth, _ in pairs])
    logs = isotonic_regression(np.log([error for _, error in pairs])).x
    found = np.exp(np.interp(-np.log(np.asarray(kappas, dtype=np.float64)), depths, logs))
    return np.where(np.asarray(kappas) == 1.0, 0.0, found)


@dataclass(frozen=True, eq=False)
class Movements:
    """How logits move by pruning, in the order of the dense network's, from large to small.

    `margins` (k,) rise: how far the first of the dense logits is before the second, and `moves`
    (k, c) what each does; both relative to the root mean square of the dense network's logits, and
    moves to the copy's error besides.
    """

    margins: FloatArray
    moves: FloatArray

    @classmethod
    def of(cls, handfuls: Sequence[Handful]) -> Movements:
        """Those of copies on their handfuls of inputs; InputError if none moves anything."""
        low, high = TELLING
        telling = [h for h in handfuls if low < h.error < high]
        telling = telling or [h for h in handfuls if 0 < h.error < math.inf]
        require(telling, "handfuls", WHERE, "of a copy that differs from the network", "none")
        margins, moves = [], []
        for one in telling:
            dense = centred(one.dense)
            scale = float(np.sqrt((dense**2).mean()))
            order, margin = _ordered(dense / scale)
            margins.append(margin)
            unit = one.moved / (scale * math.sqrt(one.error))
            moves.append(np.take_along_axis(unit, order, 1))
        together = np.concatenate(margins)
        rising = np.argsort(together, kind="stable")
        return cls(together[rising], np.concatenate(moves)[rising])

    def applied(self, dense: ArrayLike, *, seed: int = 0, repeats: int = REPEATS) -> Moved:
        """Movements drawn for the inputs of dense logits (n, c), evenly among those near."""
        check_at_least(repeats, 1, "repeats", WHERE)
        logits = centred(np.asarray(dense, dtype=np.float64))
        wanted = f"logits of {self.moves.shape[1]} classes"
        require(logits.shape[1] == self.moves.shape[1], "dense", WHERE, wanted, logits.shape)
        scale = float(np.sqrt((logits**2).mean()))
        order, margins = _ordered(logits / scale)
        near = min(NEAR, len(self.margins))
        first = np.searchsorted(self.margins, margins) - near // 2
        first = np.clip(first, 0, len(self.margins) - near)
        draws = np.random.default_rng(seed).random((repeats, len(logits)))
        # one of each of so many parts of those near, so that few repeats stand for all
        parts = (np.arange(repeats)[:, None] + draws) / repeats
        found = np.zeros((repeats, *logits.shape))
        for place, part in zip(found, parts, strict=True):
            chosen = self.moves[first + (part * near).astype(np.intp)]
            np.put_along_axis(place, order, scale * chosen, 1)
        return Moved(logits, found)


@dataclass(frozen=True, eq=False)
class Moved:
    """Dense logits (n, c), and movements (repeats, n, c) of an error of 1."""

    dense: FloatArray
    moves: FloatArray

    def by(self, error: float) -> Likely:
        """What a copy of a relative squared error would give."""
        return Likely(self.dense + math.sqrt(error) * self.moves)


@dataclass(frozen=True, eq=False)
class Likely:
    """Logits that a copy might give, drawn several times, (repeats, n, c)."""

    outputs: FloatArray


def together(found: Sequence[Found]) -> Found:
    """What draws come to on average, the error of propagation being one of the model's."""
    kept = _mean([one.kept for one in found])
    changed = 1 - kept.value
    wrong = propagation_error(changed)
    kept = dataclasses.replace(kept, least=joined(kept.least, PROPAGATED.kept * changed))
    estimates = [one.estimate for one in found if one.estimate is not None]
    if not estimates:
        return Found(None, 0.0, kept)
    flips = [one.flips for one in found if one.flips is not None]
    model = joined(float(np.mean([one.model for one in found])), wrong)
    turned = float(np.mean(flips)) if flips else None
    return Found(_mean(estimates), model, kept, flips=turned)


def propagation_error(changed: float) -> float:
    """The standard error of an accuracy by propagation, of a copy with this share of decisions new.

    As large as it was on the networks of the study (`tools/forecast_propagated.py`).
    """
    return joined(PROPAGATED.least, PROPAGATED.accuracy * changed)


def _mean(found: Sequence[Estimate]) -> Estimate:
    names = ("value", "by_accuracy", "changed", "leverage", "least")
    means = {name: float(np.mean([getattr(one, name) for one in found])) for name in names}
    return Estimate(influence=np.mean([one.influence for one in found], axis=0), **means)


def _ordered(logits: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    order = np.argsort(-logits, axis=1, kind="stable")
    two = np.take_along_axis(logits, order[:, :2], 1)
    return order, two[:, 0] - two[:, 1]
