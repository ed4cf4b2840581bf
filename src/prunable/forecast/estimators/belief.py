"""Laws of the labels given the inputs: a network's softmax at the temperature that fits.

A network's confidence is taken as rightly ordered; one temperature makes its mean equal to the
known accuracy. The temperature is fitted on the same inputs that the forecast averages over, so
each belief carries how it depends on them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from prunable.forecast.estimators.estimate import Estimate
from prunable.numerics.arrays import FloatArray

Decisions = NDArray[np.intp]  # (n, top): the classes an input is assigned to
LOG_BOUND = 7.0  # of the temperature; beyond, a softmax is a decision or a coin


@dataclass(frozen=True, eq=False)
class Belief:
    """A law over c classes for each of n inputs, with q fitted parameters.

    Attributes
    ----------
    scores : Shape (n, c); the law is their softmax.
    directions : Shape (q, n, c); the scores' derivative by each parameter.
    equations : Shape (n, q); each input's part of the equations whose means the fit sets to zero.
    slopes : Shape (q, q); derivative of the mean equations (rows) by the parameters (columns).
    by_accuracy : Shape (q,); derivative of the parameters by the known accuracy.
    temperature : What the logits were divided by; of several the geometric mean.
    """

    scores: FloatArray
    directions: FloatArray
    equations: FloatArray
    slopes: FloatArray
    by_accuracy: FloatArray
    temperature: float

    @cached_property
    def law(self) -> FloatArray:
        """Shape (n, c); rows sum to 1."""
        return np.asarray(softmax(self.scores, axis=1), dtype=np.float64)

    @cached_property
    def drifts(self) -> FloatArray:
        """Shape (q, n); the mean of each direction under the law."""
        return np.asarray(np.einsum("qnc,nc->qn", self.directions, self.law))

    def of(self, decisions: Decisions) -> FloatArray:
        """The belief that the label is among the decided classes, shape (n,)."""
        return np.take_along_axis(self.law, decisions, 1).sum(1)

    def tilts(self, decisions: Decisions) -> FloatArray:
        """Derivatives of `of` by the parameters, shape (q, n)."""
        law = np.take_along_axis(self.law, decisions, 1)
        along = np.take_along_axis(self.directions, decisions[None], 2)
        return np.asarray((law * (along - self.drifts[:, :, None])).sum(2))

    def gain(
        self, after: Decisions, before: Decisions, weights: FloatArray | None = None
    ) -> Estimate:
        """The expected change of accuracy where decisions `before` become decisions `after`.

        `weights` (n,) say in what part they do; None for wholly.
        """
        part = np.ones(len(after)) if weights is None else weights
        values = part * (self.of(after) - self.of(before))
        gradient = (self.tilts(after) - self.tilts(before)) @ part / len(part)
        along = np.linalg.lstsq(self.slopes.T, gradient, rcond=1e-10)[0]
        influence = values - values.mean() - self.equations @ along
        return Estimate(float(values.mean()), influence, float(gradient @ self.by_accuracy))

    def moved(self, shifts: FloatArray) -> Belief:
        """The belief after evidence that shifts scores, the parameters as they were fitted."""
        return dataclasses.replace(self, scores=self.scores + shifts)


def decide(logits: FloatArray, top: int = 1) -> Decisions:
    """The `top` classes of largest logits, shape (n, top), in no order."""
    if top == 1:
        return logits.argmax(1)[:, None]
    return np.argpartition(-logits, top - 1, axis=1)[:, :top]


def tempered(logits: FloatArray, decisions: Decisions, accuracy: float) -> Belief:
    """The softmax at the one temperature at which the decisions' mean belief is the accuracy.

    Where none is (an accuracy of 1, say), the nearest temperature within exp(-7) to exp(7) is.
    """

    def excess(log_temperature: float) -> float:
        law = softmax(logits * np.exp(-log_temperature), axis=1)
        return float(np.take_along_axis(law, decisions, 1).sum(1).mean()) - accuracy

    low, high = excess(-LOG_BOUND), excess(LOG_BOUND)
    if low > 0 > high:
        fitted = float(brentq(excess, -LOG_BOUND, LOG_BOUND, xtol=1e-9))
    else:
        fitted = -LOG_BOUND if abs(low) < abs(high) else LOG_BOUND
    return tempered_at(logits, decisions, accuracy, float(np.exp(fitted)))


def tempered_at(
    logits: FloatArray, decisions: Decisions, accuracy: float, temperature: float
) -> Belief:
    """The softmax at a temperature, with the derivatives of its fit to an accuracy."""
    scores = logits / temperature
    plain = Belief(
        scores, -scores[None], np.zeros((len(scores), 1)), np.eye(1), np.zeros(1), temperature
    )
    slope = plain.tilts(decisions).mean(1)
    return dataclasses.replace(
        plain,
        equations=plain.of(decisions)[:, None] - accuracy,
        slopes=slope[:, None],
        by_accuracy=1 / slope if slope[0] else slope,
    )
