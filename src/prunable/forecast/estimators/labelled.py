"""A forecast and a few labels together: prediction-powered, never worse than either alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from prunable.forecast.estimators.estimate import Estimate, covariance, joined
from prunable.numerics.arrays import FloatArray

CONTRADICTION = 3.0  # standard errors, which a forecast that is right exceeds once in 370 cases


def powered(
    anchor: float, outcome: FloatArray, believed: FloatArray, noise: float
) -> tuple[Estimate, float]:
    """The dense network's figure plus the labelled change, the believed change as control variate.

    Parameters
    ----------
    anchor : The dense network's known figure.
    outcome : Change by pruning that the labels show, shape (n,); NaN where unknown.
    believed : Change that the belief expects, shape (n,).
    noise : Variance of the outcome about what is believed, by the belief: few labels may all sit
        where nothing changes.

    Returns
    -------
    The estimate, unbiased whatever the belief is worth, and the power given to the belief, which
    leaves least variance (PPI++, Angelopoulos, Duchi and Zrnic 2023, eq. 4).
    """
    known = np.flatnonzero(~np.isnan(outcome))
    n, m = len(outcome), len(known)
    seen, expected = outcome[known], believed[known]
    both = float(np.cov(seen, expected)[0, 1])
    others = max(0.0, 1 - m / n)  # a belief known where all labels are explains nothing more
    power = float(np.clip(both / max(float(believed.var()), 1e-12), 0, 1)) if others else 0.0
    value = anchor + float(seen.mean()) - power * float(expected.mean() - believed.mean())
    influence = power * (believed - believed.mean())
    rest = seen - power * expected
    influence[known] += (n / m) * (rest - rest.mean())
    found = Estimate(value, influence, 1.0)
    spread = noise + (1 - power) ** 2 * float(believed.var())
    lacking = spread / m - found.error**2
    return dataclasses.replace(found, least=np.sqrt(max(lacking, 0.0))), power


def with_labels(
    forecast: Estimate,
    model: float,
    anchor: float,
    outcome: FloatArray,
    believed: FloatArray,
    noise: float,
) -> tuple[Estimate, float]:
    """Combine a forecast with the labels known; the estimate, and its error by the model.

    The two are weighted so that the variance is least, `model` (a standard error) being part of the
    forecast's; arguments as of `powered`. Fewer than two labels change nothing.
    """
    if np.sum(~np.isnan(outcome)) < 2:
        return forecast, model
    labelled, _ = powered(anchor, outcome, believed, noise)
    shared, theirs = covariance(forecast, labelled), labelled.error**2
    apart = forecast.error**2 + theirs - 2 * shared
    # Labels that contradict the belief raise its error to what they show; where they do so by
    # chance the forecast is thrown away, so chance must do so rarely.
    beyond = (forecast.value - labelled.value) ** 2 - CONTRADICTION**2 * apart
    model = max(model, math.sqrt(max(beyond, 0.0)))
    gap = apart + model**2
    weight = float(np.clip((theirs - shared) / gap, 0, 1)) if gap > 0 else 1.0
    return (
        Estimate(
            weight * forecast.value + (1 - weight) * labelled.value,
            weight * forecast.influence + (1 - weight) * labelled.influence,
            weight * forecast.by_accuracy + (1 - weight),
            forecast.changed,
            weight * forecast.leverage,
            joined(weight * forecast.least, (1 - weight) * labelled.least),
        ),
        weight * model,
    )
