"""A forecast and a few labels together: prediction-powered, never worse than either alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prunable.forecast.estimators.classification import Dense, decide
from prunable.forecast.estimators.estimate import Estimate, joined
from prunable.numerics.arrays import FloatArray


def with_labels(
    forecast: Estimate, model: float, dense: Dense, pruned: FloatArray, labels: NDArray[np.intp]
) -> tuple[Estimate, float]:
    """Combine a forecast with the labels known; the estimate, and its error by the model.

    The labelled estimate is A plus the mean of D = 1{pruned right} - 1{dense right}, with the
    belief's D as a control variate at the power that leaves least variance (PPI++, Angelopoulos,
    Duchi and Zrnic 2023, eq. 4); it is unbiased whatever the belief is worth. The forecast then
    weighs in by the inverse of its variance, `model` (a standard error) being part of it.
    """
    known = np.flatnonzero(labels >= 0)
    n, m = len(labels), len(known)
    if m < 2:
        return forecast, model
    after, before = decide(pruned, dense.top), dense.decisions
    law = dense.belief.law
    gain = np.take_along_axis(law, after, 1).sum(1) - np.take_along_axis(law, before, 1).sum(1)
    right = labels[:, None]
    outcome = (after == right).any(1).astype(float) - (before == right).any(1)
    seen, believed = outcome[known], gain[known]
    # Of m labels none may sit where decisions changed; the belief says what they would vary by.
    moved = (np.sort(after, 1) != np.sort(before, 1)).any(1)
    expected = float(np.mean(moved * (1 - gain**2)) / 2)
    spread = max(float(seen.var(ddof=1)), expected)
    both = float(np.cov(seen, believed)[0, 1])
    power = float(np.clip(both / ((1 + m / n) * max(gain.var(), 1e-12)), 0, 1))
    value = dense.accuracy + float(seen.mean()) - power * float(believed.mean() - gain.mean())
    influence = power * (gain - gain.mean())
    influence[known] += (n / m) * ((seen - seen.mean()) - power * (believed - believed.mean()))
    powered = Estimate(value, influence, 1.0, forecast.changed)
    floor = np.sqrt(spread / m) if power == 0 else 0.0
    mine, theirs = joined(forecast.error, model) ** 2, max(powered.error, float(floor)) ** 2
    shared = float(forecast.influence @ powered.influence) / n**2
    gap = mine + theirs - 2 * shared
    weight = float(np.clip((theirs - shared) / gap, 0, 1)) if gap > 0 else 1.0
    mixed = weight * forecast.influence + (1 - weight) * powered.influence
    return (
        Estimate(
            weight * forecast.value + (1 - weight) * value,
            mixed,
            weight * forecast.by_accuracy + (1 - weight),
            forecast.changed,
        ),
        weight * model,
    )
