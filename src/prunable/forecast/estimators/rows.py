"""Decisions among classes: of inputs, labels of inputs, or pixels of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from prunable.errors import require
from prunable.forecast.estimators.belief import decide
from prunable.forecast.estimators.checks import (
    Check,
    calibrated,
    check_accuracy,
    check_labels,
    check_outputs,
    check_vary,
    enough,
    far_from_chance,
    plausible_temperature,
)
from prunable.forecast.estimators.classification import ESTIMATORS, Dense, kept_of
from prunable.forecast.estimators.estimate import by_units, of_mean
from prunable.forecast.estimators.found import Found
from prunable.forecast.estimators.labelled import with_labels
from prunable.forecast.estimators.model_error import model_error
from prunable.numerics.arrays import FloatArray

RowKind = Literal["classification", "top5", "binary", "multilabel", "segmentation"]
DIMENSIONS: dict[RowKind, tuple[int, ...]] = {
    "classification": (2,),
    "top5": (2,),
    "binary": (1, 2),
    "multilabel": (2,),
    "segmentation": (3, 4, 5),
}
# Kinds with one decision an input, whose accuracy so many labels can stand in for.
COUNTED: tuple[RowKind, ...] = ("classification", "top5", "binary")
LEAST_LABELS = 10
WHERE = "forecast"


@dataclass(frozen=True, eq=False)
class RowNetwork:
    """A dense network whose outputs are rows of logits; `groups` (rows,) numbers the inputs drawn
    where they have several rows.

    `labels` (rows,) are -1 where unknown. Without an accuracy `dense` stands for decisions only.
    `measured` is how many of the labels the accuracy comes from, 0 where it was given.
    """

    kind: RowKind
    shape: tuple[int, ...]
    dense: Dense
    known: float | None
    groups: NDArray[np.intp] | None
    labels: NDArray[np.intp] | None
    estimator: str
    measured: int = 0

    @property
    def temperature(self) -> float | None:
        """The fitted temperature; None without an accuracy."""
        return None if self.known is None else self.dense.belief.temperature

    @property
    def known_error(self) -> None:
        """An accuracy of labels is known by their number."""

    @property
    def chance(self) -> float:
        """The accuracy of guesses."""
        return _chance(self.kind, self.dense.logits.shape[1])

    def confidence(self, outputs: FloatArray | None = None) -> FloatArray:
        """The dense network's own confidence in its decisions, of its inputs or of others."""
        rows = self.dense.logits if outputs is None else _rows(outputs, self.kind)
        law = np.sort(np.asarray(softmax(rows, axis=1)), axis=1)
        return np.asarray(law[:, -self.dense.top :].sum(1), dtype=np.float64)

    def found(self, pruned: ArrayLike) -> Found:
        """Compare with a copy's outputs, of the dense network's shape."""
        rows = _rows(
            check_outputs(
                pruned, "pruned", WHERE, dimensions=DIMENSIONS[self.kind], shape=self.shape
            ),
            self.kind,
        )
        kept = by_units(of_mean(kept_of(self.dense, rows)), self.groups)
        if self.known is None:
            return Found(None, 0.0, kept)
        estimate = by_units(ESTIMATORS[self.estimator].contributions(self.dense, rows), self.groups)
        model = model_error(self.estimator, estimate.leverage, estimate.changed)
        if self.labels is not None:
            estimate, model = with_labels(estimate, model, self.known, *self._seen(rows))
        return Found(estimate, model, kept)

    def _seen(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        """Change that labels show and change believed, a unit; variance of the first, believed."""
        assert self.labels is not None
        after, before = decide(rows, self.dense.top), self.dense.decisions
        right = self.labels[:, None]
        change = (after == right).any(1).astype(float) - (before == right).any(1)
        outcome = np.where(self.labels >= 0, change, np.nan)
        gained, lost = self._turned(rows)
        believed = gained - lost
        if self.groups is None:
            return outcome, believed, float(np.mean(gained + lost - believed**2))
        return self._of_units(outcome), self._of_units(believed), 0.0

    def flips(self, pruned: ArrayLike) -> float:
        """The share of decisions that a copy is believed to turn, to right or to wrong."""
        gained, lost = self._turned(_rows(np.asarray(pruned, dtype=np.float64), self.kind))
        return float(np.mean(gained + lost))

    def _turned(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The believed chance of each row that a new decision is right, and that one gone was."""
        after, before, law = decide(rows, self.dense.top), self.dense.decisions, self.dense.belief
        new = (after[:, :, None] != before[:, None, :]).all(2)
        old = (before[:, :, None] != after[:, None, :]).all(2)
        gained = (np.take_along_axis(law.law, after, 1) * new).sum(1)
        return gained, (np.take_along_axis(law.law, before, 1) * old).sum(1)

    def _of_units(self, values: FloatArray) -> FloatArray:
        assert self.groups is not None
        given = ~np.isnan(values)
        sums = np.bincount(self.groups, np.where(given, values, 0.0))
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / np.bincount(self.groups, given))

    @property
    def units(self) -> int:
        """How many were drawn."""
        return self.shape[0]

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """What is seen of the assumptions."""
        found = [enough(self.shape[0])]
        if self.known is None:
            return tuple(found)
        belief, mean = self.dense.belief, float(self.confidence().mean())
        found += [
            plausible_temperature(mean, belief.temperature, self.known),
            far_from_chance(self.known, self.chance),
        ]
        if self.labels is not None and (self.labels >= 0).sum() >= 2:
            some = self.labels >= 0
            right = (self.dense.decisions == self.labels[:, None]).any(1)
            found += calibrated(belief.of(self.dense.decisions)[some], right[some].astype(float))
        return tuple(found)


def row_network(
    kind: RowKind,
    dense: ArrayLike,
    accuracy: float | None,
    labels: ArrayLike | None,
    estimator: str,
    renewed: ArrayLike | None = None,
) -> RowNetwork:
    """Check a dense network's outputs of a kind, and make rows of them."""
    given = check_outputs(dense, "dense", WHERE, dimensions=DIMENSIONS[kind])
    check_vary(given, WHERE)
    rows = _rows(given, kind)
    classes = rows.shape[1]
    least = 6 if kind == "top5" else 2
    require(classes >= least, "dense", WHERE, f"logits of at least {least} classes", classes)
    known = None if accuracy is None else check_accuracy(accuracy, _chance(kind, classes), WHERE)
    each = len(rows) // len(given)
    units = None if each == 1 else np.repeat(np.arange(len(given)), each)
    places = (len(given), *given.shape[2:])
    if kind == "multilabel":
        places = given.shape
    marks = None if labels is None else check_labels(labels, places, classes, WHERE).ravel()
    top, measured = 5 if kind == "top5" else 1, 0
    if known is None and marks is not None and kind in COUNTED:
        known, measured = _by_labels(rows, marks, top, kind)
    again = None
    if renewed is not None:
        again = _rows(check_outputs(renewed, "renewed", WHERE, shape=given.shape), kind)
    base = Dense(rows, 1.0 if known is None else known, top, again, units is None)
    return RowNetwork(kind, given.shape, base, known, units, marks, estimator, measured)


def _by_labels(
    rows: FloatArray, labels: NDArray[np.intp], top: int, kind: RowKind
) -> tuple[float | None, int]:
    """The accuracy that enough labels show, and how many they are.

    Half a label of each outcome is added, so that a few that are all right do not mean certainty.
    """
    some = labels >= 0
    count = int(some.sum())
    if count < LEAST_LABELS:
        return None, 0
    right = float((decide(rows[some], top) == labels[some, None]).any(1).sum())
    share = (right + 0.5) / (count + 1)
    least = _chance(kind, rows.shape[1])
    mend = (
        f"Of {count} inputs {right:.0f} are decided as labelled; are they labels of these inputs?"
    )
    require(share > least, "labels", WHERE, f"met above chance, {least:.4g}", f"{share:.4g}", mend)
    return share, count


def _rows(outputs: FloatArray, kind: RowKind) -> FloatArray:
    """Logits of shape (rows, classes), the rows of an input together."""
    if kind in ("binary", "multilabel"):
        if kind == "binary" and outputs.ndim == 2 and outputs.shape[1] == 2:
            return outputs
        require(
            kind == "multilabel" or outputs[0].size == 1,
            "outputs",
            WHERE,
            "one logit an input, or two",
            f"the shape {outputs.shape}",
        )
        flat = outputs.reshape(-1)
        return np.column_stack([np.zeros_like(flat), flat])
    if kind == "segmentation":
        return np.moveaxis(outputs, 1, -1).reshape(-1, outputs.shape[1])
    return outputs


def _chance(kind: RowKind, classes: int) -> float:
    return (5 if kind == "top5" else 1) / classes
