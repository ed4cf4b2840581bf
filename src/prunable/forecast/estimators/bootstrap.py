"""The sampling error of a forecast by drawing its inputs again, which the delta method spares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from prunable.errors import check_at_least, check_one_of
from prunable.forecast.estimators.checks import check_accuracy, check_outputs
from prunable.forecast.estimators.classification import DEFAULT, ESTIMATORS, Dense
from prunable.numerics.randomness import rng

WHERE = "bootstrap_error"


def bootstrap_error(
    dense: ArrayLike,
    pruned: ArrayLike,
    accuracy: float,
    *,
    estimator: str = DEFAULT,
    resamples: int = 200,
    seed: int = 0,
) -> float:
    """The standard error of a classifier's forecast, everything fitted anew on each resample.

    Parameters
    ----------
    dense, pruned : Logits of shape (n, c).
    accuracy : Known accuracy of the dense network, a share.
    """
    check_one_of(estimator, ESTIMATORS, "estimator", WHERE)
    check_at_least(resamples, 2, "resamples", WHERE)
    before = check_outputs(dense, "dense", WHERE)
    after = check_outputs(pruned, "pruned", WHERE, shape=before.shape)
    known = check_accuracy(accuracy, 1 / before.shape[1], WHERE)
    generator, n = rng(seed, "forecast", "bootstrap"), len(before)
    values = np.empty(resamples)
    for i in range(resamples):
        drawn = generator.integers(0, n, n)
        network = Dense(before[drawn], known)
        values[i] = ESTIMATORS[estimator].contributions(network, after[drawn]).value
    return float(values.std(ddof=1))
