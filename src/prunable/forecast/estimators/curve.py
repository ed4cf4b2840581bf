"""The forecast of one method's curve: accuracy at each share kept, with intervals and checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from prunable.errors import check_between, check_one_of, require
from prunable.forecast.estimators.belief import tempered_at
from prunable.forecast.estimators.checks import (
    Check,
    check_accuracy,
    check_all,
    check_labels,
    check_logits,
    check_vary,
)
from prunable.forecast.estimators.classification import (
    ESTIMATORS,
    Dense,
    agreement_of,
    decide,
    dense_of,
)
from prunable.forecast.estimators.estimate import Estimate, joined, of_mean, quantile
from prunable.forecast.estimators.labelled import with_labels

DEFAULT = "tempered difference"
MODEL = 0.03  # standard error of the belief, a changed decision


@dataclass(frozen=True)
class PointForecast:
    """The forecast at one share kept; shares, not per cent.

    `value`, `low` and `high` are None where no accuracy is known. `retention` is the share of
    decisions kept, with its own interval. `sampling` and `model` are the standard errors of
    `value` by the draw of inputs and by the model of confidence.
    """

    kappa: float
    value: float | None
    low: float | None
    high: float | None
    retention: float
    retention_low: float
    retention_high: float
    sampling: float | None = None
    model: float | None = None


@dataclass(frozen=True)
class CurveForecast:
    """Forecasts at all shares kept, in the order given, and checks of what they rest on."""

    points: tuple[PointForecast, ...]
    checks: tuple[Check, ...]
    estimator: str
    accuracy: float | None
    inputs: int
    level: float
    temperature: float | None


def forecast_curve(
    dense: ArrayLike,
    pruned: Iterable[ArrayLike],
    kappas: Sequence[float],
    *,
    accuracy: float | None,
    labels: ArrayLike | None = None,
    level: float = 0.9,
    kind: str = "classification",
    estimator: str = DEFAULT,
) -> CurveForecast:
    """Forecast the accuracy of pruned networks from outputs on the same unlabelled inputs.

    Parameters
    ----------
    dense : Logits of the network before pruning, shape (n, c).
    pruned : For each kappa the pruned network's logits, each of shape (n, c); read once, in order,
        so they may come from a generator.
    kappas : Shares kept, falling or rising.
    accuracy : Known accuracy of the dense network, a share; None for retention only.
    labels : Classes of the inputs, shape (n,), -1 or None where unknown; they enter where known.
    level : Of the two-sided intervals.
    """
    where = "forecast_curve"
    check_between(level, 0.5, 0.999, "level", where)
    check_one_of(kind, ("classification",), "kind", where)
    check_one_of(estimator, ESTIMATORS, "estimator", where)
    given = check_logits(dense, "dense", where)
    check_vary(given, where)
    n, classes = given.shape
    require(classes >= 2, "dense", where, "of at least two classes", f"{classes}")
    known = None if accuracy is None else check_accuracy(accuracy, 1 / classes, where)
    base = (
        dense_of(given, known)
        if known is not None
        else Dense(given, decide(given), 1.0, tempered_at(given, decide(given), 1.0, 0.0))
    )
    marked = None if labels is None else check_labels(labels, n, classes, where)
    points = []
    for kappa, outputs in zip(kappas, pruned, strict=True):
        copy = check_logits(outputs, "pruned", where)
        require(
            copy.shape == given.shape, "pruned", where, f"of shape {given.shape}", f"{copy.shape}"
        )
        kept = of_mean(agreement_of(base, copy))
        found, model = None, 0.0
        if known is not None:
            found = ESTIMATORS[estimator].contributions(base, copy)
            model = MODEL * found.changed
            if marked is not None:
                found, model = with_labels(found, model, base, copy, marked)
        points.append(_point(float(kappa), found, kept, level, model))
    confidence = np.asarray(softmax(given, axis=1)).max(1)
    temperature = None if known is None else base.belief.temperature
    checks = check_all(confidence, temperature, known, 1 / classes)
    return CurveForecast(tuple(points), checks, estimator, known, n, level, temperature)


def _point(
    kappa: float, found: Estimate | None, kept: Estimate, level: float, model: float
) -> PointForecast:
    z = quantile(level)
    kept_low, kept_high = _clipped(kept.value, z * kept.error)
    if found is None:
        return PointForecast(kappa, None, None, None, kept.value, kept_low, kept_high)
    low, high = _clipped(found.value, z * joined(found.error, model))
    return PointForecast(
        kappa, found.value, low, high, kept.value, kept_low, kept_high, found.error, model
    )


def _clipped(value: float, half: float) -> tuple[float, float]:
    return max(0.0, value - half), min(1.0, value + half)
