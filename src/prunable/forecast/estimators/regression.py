"""Regressions: the mean squared change, and what it leaves of R2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prunable.errors import require
from prunable.forecast.estimators.checks import check_accuracy, check_outputs, check_vary
from prunable.forecast.estimators.estimate import Estimate
from prunable.forecast.estimators.found import Found, Undecided
from prunable.forecast.estimators.labelled import with_labels
from prunable.forecast.estimators.model_error import UNFITTED
from prunable.numerics.arrays import FloatArray

WHERE = "forecast"


@dataclass(frozen=True, eq=False)
class RegressionNetwork(Undecided):
    """Outputs (n, d), and R2 where known.

    If the dense network is the regression function of R2, its outputs vary by R2 times what the
    targets vary by, and what pruning changes is not related to its errors; then R2 falls by R2
    times the mean squared change over the outputs' variance.
    """

    targets: FloatArray | None = None

    def found(self, pruned: ArrayLike) -> Found:
        """Compare with a copy's outputs; what stays is 1 - squared change / variance."""
        copy = check_outputs(pruned, "pruned", WHERE, dimensions=(1, 2)).reshape(
            len(self.outputs), -1
        )
        require(
            copy.shape == self.outputs.shape,
            "pruned",
            WHERE,
            f"of shape {self.outputs.shape}",
            f"{copy.shape}",
        )
        change = np.sum((copy - self.outputs) ** 2, axis=1)
        around = np.sum((self.outputs - self.outputs.mean(0)) ** 2, axis=1)
        share = float(change.mean() / around.mean())
        influence = -(change - share * around) / around.mean()
        kept = Estimate(1 - share, influence)
        if self.known is None:
            return Found(None, 0.0, kept)
        estimate = Estimate(self.known * (1 - share), self.known * influence, 1 - share)
        model = UNFITTED * self.known * share
        if self.targets is not None:
            # in units of the targets' variance, which the dense outputs give by R2
            scale = self.known / around.mean()
            before = np.sum((self.outputs - self.targets) ** 2, axis=1)
            outcome = scale * (before - np.sum((copy - self.targets) ** 2, axis=1))
            estimate, model = with_labels(
                estimate, model, self.known, outcome, -scale * change, 0.0
            )
        return Found(estimate, model, kept)


def regression_network(
    dense: ArrayLike, accuracy: float | None, labels: ArrayLike | None
) -> RegressionNetwork:
    """Check a regression's outputs; `accuracy` is R2, `labels` targets, NaN where unknown."""
    outputs = check_outputs(dense, "dense", WHERE, dimensions=(1, 2))
    outputs = outputs.reshape(len(outputs), -1)
    check_vary(outputs, WHERE)
    known = None if accuracy is None else check_accuracy(accuracy, 0.0, WHERE)
    targets = None
    if labels is not None:
        targets = np.asarray(labels, dtype=np.float64).reshape(len(outputs), -1)
        require(
            targets.shape == outputs.shape,
            "labels",
            WHERE,
            f"of shape {outputs.shape}",
            f"{targets.shape}",
        )
    return RegressionNetwork(outputs, known, targets=targets)
