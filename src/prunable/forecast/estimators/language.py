"""Language models: log-perplexity through the divergence of next-token laws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from prunable.errors import InputError, require
from prunable.forecast.estimators.belief import LOG_BOUND
from prunable.forecast.estimators.checks import Check, check_labels, check_number, check_outputs
from prunable.forecast.estimators.estimate import Estimate, of_mean
from prunable.forecast.estimators.found import Found
from prunable.forecast.estimators.labelled import with_labels
from prunable.forecast.estimators.model_error import UNFITTED
from prunable.numerics.arrays import FloatArray

WHERE = "forecast"
LEAST_WINDOWS = 4
STEPS = 30  # of Newton's method for the temperature


@dataclass(frozen=True, eq=False)
class LanguageNetwork:
    """A dense language model's logits on windows of text, each (tokens, vocabulary).

    The unit drawn is the window. The text's law is the dense model's at the temperature at which
    its expected log-perplexity is the known one; a pruned copy's is then its cross-entropy under
    that law, less the dense model's own. Windows are read one at a time.
    """

    windows: Sequence[NDArray[Any]]
    known: float | None
    temperature: float | None
    own: FloatArray  # (windows, 2): expected log-perplexity and its slope by the log temperature
    tokens: Sequence[NDArray[np.intp]] | None

    @property
    def units(self) -> int:
        """How many were drawn."""
        return len(self.windows)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Windows enough for Student's intervals; a temperature near one."""
        n = len(self.windows)
        found = [Check("enough windows", n >= 8, f"{n} windows" + ("" if n >= 8 else "; give 8"))]
        if self.temperature is not None:
            passed = 0.5 <= self.temperature <= 2
            text = f"log-perplexity {self.known:.3f}: temperature {self.temperature:.2f}"
            odd = ", outside .5 to 2: this text is unlike that of the known log-perplexity"
            found.append(Check("plausible temperature", passed, text + ("" if passed else odd)))
        return tuple(found)

    def found(self, pruned: Iterable[ArrayLike]) -> Found:
        """Compare with a copy's logits, window by window; what stays are the likeliest tokens."""
        terms, kept, outcome = [], [], []
        for i, (before, given) in enumerate(zip(self.windows, pruned, strict=True)):
            after = _window(given, "pruned", before.shape)
            kept.append(float(np.mean(before.argmax(1) == after.argmax(1))))
            if self.temperature is not None:
                terms.append(_expected(before, after, self.temperature))
            if self.tokens is not None:
                outcome.append(_seen(before, after, self.tokens[i]))
        stays = of_mean(np.array(kept))
        if self.known is None:
            return Found(None, 0.0, stays)
        change, slopes = (np.array(terms) - self.own).T
        slope = float(self.own[:, 1].mean())
        weight = float(slopes.mean()) / slope if slope else 0.0
        influence = change - change.mean() - weight * (self.own[:, 0] - self.known)
        value = self.known + float(change.mean())
        estimate = Estimate(value, influence, 1 + weight)
        model = UNFITTED * abs(float(change.mean()))
        if self.tokens is not None:
            seen = np.array(outcome)
            estimate, model = with_labels(estimate, model, self.known, seen, change, 0.0)
        return Found(estimate, model, stays)


def language_network(
    dense: Sequence[ArrayLike], accuracy: float | None, labels: ArrayLike | None
) -> LanguageNetwork:
    """Check windows of logits and fit the temperature.

    `accuracy` is the known log-perplexity in nats a token; `labels` are the next tokens, -1 where
    unknown.
    """
    windows = [_window(window, "dense", None) for window in dense]
    n = len(windows)
    require(n >= LEAST_WINDOWS, "dense", WHERE, f"logits of at least {LEAST_WINDOWS} windows", n)
    known = None
    if accuracy is not None:
        known = check_number(accuracy, WHERE)
        chance = float(np.log(windows[0].shape[1]))
        require(
            0 < known < chance,
            "accuracy",
            WHERE,
            f"a log-perplexity in nats a token, below chance, which is {chance:.4g}",
            accuracy,
            f"Did you mean {np.log(known):.4g}?" if known > 1 else "",
        )
    tokens = None
    if labels is not None:
        tokens = [
            check_labels(row, (len(window),), window.shape[1], WHERE)
            for row, window in zip(np.asarray(labels), windows, strict=True)
        ]
    temperature, own = (None, np.zeros((n, 2))) if known is None else _fitted(windows, known)
    return LanguageNetwork(windows, known, temperature, own, tokens)


def _window(values: ArrayLike, param: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Check one window; it stays in its own precision, which all windows together may need."""
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.ndim != 2:
        check_outputs(array, param, WHERE, least=1, shape=shape)
    require(shape is None or array.shape == shape, param, WHERE, f"of shape {shape}", array.shape)
    if not np.isfinite(array).all():
        raise InputError.parameter(param, WHERE, "finite", "NaN or infinity in a window")
    return array


def _expected(before: NDArray[Any], after: NDArray[Any], temperature: float) -> tuple[float, float]:
    """The mean cross-entropy of `after` under tempered `before`; its slope by log temperature."""
    scores = before.astype(np.float64) / temperature
    law = np.exp(log_softmax(scores, axis=1))
    cost = -np.asarray(log_softmax(after.astype(np.float64), axis=1))
    mean = np.sum(law * cost, axis=1)
    slope = -np.sum(law * scores * (cost - mean[:, None]), axis=1)
    return float(mean.mean()), float(slope.mean())


def _seen(before: NDArray[Any], after: NDArray[Any], tokens: NDArray[np.intp]) -> float:
    """The mean change of log-loss on the tokens that came; NaN where none is known."""
    some = np.flatnonzero(tokens >= 0)
    if not len(some):
        return float("nan")
    losses = [
        -np.asarray(log_softmax(logits[some].astype(np.float64), axis=1))[
            np.arange(len(some)), tokens[some]
        ]
        for logits in (before, after)
    ]
    return float(np.mean(losses[1] - losses[0]))


def _fitted(windows: Sequence[NDArray[Any]], known: float) -> tuple[float, FloatArray]:
    """The temperature by Newton's method, damped; expected figures and slopes of the windows."""
    log_temperature = 0.0
    own = np.zeros((len(windows), 2))
    for _ in range(STEPS):
        temperature = float(np.exp(log_temperature))
        own = np.array([_expected(window, window, temperature) for window in windows])
        excess, slope = own.mean(0) - (known, 0.0)
        step = -excess / slope if abs(slope) > 1e-12 else 0.0
        if abs(step) < 1e-8:
            break
        log_temperature = float(
            np.clip(log_temperature + np.clip(step, -0.5, 0.5), -LOG_BOUND, LOG_BOUND)
        )
    return float(np.exp(log_temperature)), own
