"""Laws of the labels given the inputs: a network's softmax at the temperature that fits.

A network's confidence is taken as rightly ordered; one temperature makes its mean equal to the
known accuracy. The temperature is fitted on the same inputs that the forecast averages over, so
each belief carries how it depends on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from prunable.forecast.estimators.estimate import Estimate
from prunable.numerics.arrays import FloatArray

Decisions = NDArray[np.intp]  # (n, top): the classes an input is assigned to
LOG_BOUND = 7.0  # of the temperature; beyond, a softmax is a decision or a coin
STEP = 1e-4  # of a parameter, for derivatives


@dataclass(frozen=True, eq=False)
class Belief:
    """A law over c classes for each of n inputs, with q fitted parameters.

    Attributes
    ----------
    law : Shape (n, c); rows sum to 1.
    tilts : Shape (q, n, c); the law's derivative by each parameter.
    equations : Shape (n, q); each input's part of the equations whose means the fit sets to zero.
    slopes : Shape (q, q); derivative of the mean equations (rows) by the parameters (columns).
    by_accuracy : Shape (q,); derivative of the parameters by the known accuracy.
    parameters : Shape (q,); the first is the logarithm of the temperature.
    """

    law: FloatArray
    tilts: FloatArray
    equations: FloatArray
    slopes: FloatArray
    by_accuracy: FloatArray
    parameters: FloatArray

    @property
    def temperature(self) -> float:
        """What the logits were divided by."""
        return float(np.exp(self.parameters[0]))

    def mean_of(self, decisions: Decisions, changed: float = 0.0) -> Estimate:
        """The expected share of inputs whose label is among the decided classes."""
        return self.mean(lambda law: np.take_along_axis(law, decisions, 1).sum(1), changed)

    def mean(
        self, functional: Callable[[FloatArray], FloatArray], changed: float = 0.0
    ) -> Estimate:
        """The mean of what is linear in the law: `functional` maps (n, c) to (n,)."""
        values = functional(self.law)
        gradient = np.array([functional(tilt).mean() for tilt in self.tilts])
        weights = np.linalg.lstsq(self.slopes.T, gradient, rcond=1e-10)[0]
        value = float(values.mean())
        influence = values - value - self.equations @ weights
        return Estimate(value, influence, float(gradient @ self.by_accuracy), changed)


def decide(logits: FloatArray, top: int = 1) -> Decisions:
    """The `top` classes of largest logits, shape (n, top), in no order."""
    if top == 1:
        return logits.argmax(1)[:, None]
    return np.argpartition(-logits, top - 1, axis=1)[:, :top]


def tempered(logits: FloatArray, decisions: Decisions, accuracy: float) -> Belief:
    """The softmax at the one temperature at which the decisions' mean belief is the accuracy.

    Where none is (an accuracy of 1, say), the nearest temperature within exp(-7) to exp(7) is.
    """

    def law(log_temperature: float) -> FloatArray:
        return np.asarray(softmax(logits * np.exp(-log_temperature), axis=1), dtype=np.float64)

    def chosen(p: FloatArray) -> FloatArray:
        return np.take_along_axis(p, decisions, 1).sum(1)

    def excess(log_temperature: float) -> float:
        return float(chosen(law(log_temperature)).mean()) - accuracy

    low, high = excess(-LOG_BOUND), excess(LOG_BOUND)
    if low > 0 > high:
        fitted = float(brentq(excess, -LOG_BOUND, LOG_BOUND, xtol=1e-9))
    else:
        fitted = -LOG_BOUND if abs(low) < abs(high) else LOG_BOUND
    return tempered_at(logits, decisions, accuracy, fitted)


def tempered_at(
    logits: FloatArray, decisions: Decisions, accuracy: float, log_temperature: float
) -> Belief:
    """The softmax at a temperature, with the derivatives of its fit to an accuracy."""
    scaled = logits * np.exp(-log_temperature)
    law = np.asarray(softmax(scaled, axis=1), dtype=np.float64)
    tilt = -law * (scaled - np.sum(law * scaled, axis=1, keepdims=True))
    equations = np.take_along_axis(law, decisions, 1).sum(1, keepdims=True) - accuracy
    slope = float(np.take_along_axis(tilt, decisions, 1).sum(1).mean())
    by_accuracy = 1 / slope if slope else 0.0
    return Belief(
        law,
        tilt[None],
        equations,
        np.array([[slope]]),
        np.array([by_accuracy]),
        np.array([log_temperature]),
    )
