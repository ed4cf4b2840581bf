"""Estimators of a pruned classifier's accuracy, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from prunable.forecast.estimators.belief import Belief, Decisions, decide, tempered
from prunable.forecast.estimators.estimate import Estimate, of_mean
from prunable.numerics.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Dense:
    """What is known of the dense network: logits (n, c), decisions, accuracy and its belief."""

    logits: FloatArray
    decisions: Decisions
    accuracy: float
    belief: Belief

    @property
    def top(self) -> int:
        """How many classes a decision names."""
        return int(self.decisions.shape[1])


def dense_of(logits: FloatArray, accuracy: float, top: int = 1) -> Dense:
    """Fit the dense network's belief to its known accuracy."""
    decisions = decide(logits, top)
    return Dense(logits, decisions, accuracy, tempered(logits, decisions, accuracy))


class Estimator(Protocol):
    """Forecasts the accuracy of a pruned network from its logits and the dense network's."""

    @property
    def name(self) -> str: ...

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        """The forecast with each input's influence; `pruned` has shape (n, c)."""
        ...


def agreement_of(dense: Dense, pruned: FloatArray) -> FloatArray:
    """Of each input the share of the dense network's decided classes that are decided still."""
    kept = dense.decisions[:, :, None] == decide(pruned, dense.top)[:, None, :]
    return np.asarray(kept.any(2).mean(1), dtype=np.float64)


@dataclass(frozen=True)
class TemperedDifference:
    """A minus the mean of what the belief loses: p(dense decision) - p(pruned decision)."""

    name: str = "tempered difference"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        changed = 1 - float(agreement_of(dense, pruned).mean())
        return dense.belief.mean_of(decide(pruned, dense.top), changed)


@dataclass(frozen=True)
class Agreement:
    """The share of decisions kept, times A: what is decided anew counts as wrong."""

    name: str = "agreement"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        kept = agreement_of(dense, pruned)
        share = float(kept.mean())
        return of_mean(dense.accuracy * kept, by_accuracy=share, changed=1 - share)


ESTIMATORS: Mapping[str, Estimator] = {
    estimator.name: estimator for estimator in (TemperedDifference(), Agreement())
}
