"""Curves over kappa: monotone, or smooth with the covariance that shared inputs give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from prunable.forecast.estimators.estimate import Estimate, covariance, joined
from prunable.numerics.arrays import FloatArray

LENGTH = 0.3  # in log kappa, over which a curve's bends are related
FLAT = 100.0  # variance of level and slope, which the forecasts decide alone
EDGE = 0.02  # of the way from chance to the accuracy, within which a logit means nothing


def monotone(values: FloatArray, kappas: Sequence[float], errors: FloatArray) -> FloatArray:
    """The nearest values that do not fall as more is kept, weighted by inverse variances."""
    order = np.argsort(kappas, kind="stable")
    weights = 1 / np.maximum(errors[order], 1e-6) ** 2
    smooth = np.empty_like(values)
    smooth[order] = isotonic_regression(values[order], weights=weights).x
    return smooth


def smooth(
    estimates: Sequence[Estimate],
    models: Sequence[float],
    kappas: Sequence[float],
    accuracy: float,
    chance: float,
) -> FloatArray:
    """A line in (log kappa, logit of the way from chance to the accuracy) that may bend.

    Bends are a Gaussian process of length `LENGTH` and deviation one; the forecasts' errors have
    the covariance of their influences, which is large as the same inputs serve each kappa: what
    they share cannot be smoothed away.
    """
    span = accuracy - chance
    way = np.clip((np.array([e.value for e in estimates]) - chance) / span, EDGE, 1 - EDGE / 10)
    noise = np.array([[covariance(one, other) for other in estimates] for one in estimates])
    noise += np.diag([joined(e.least, m) ** 2 for e, m in zip(estimates, models, strict=True)])
    slope = 1 / (span * way * (1 - way))
    noise *= np.outer(slope, slope)
    where = np.log(kappas)
    line = np.stack([np.ones_like(where), where - where.mean()])
    apart = (where[:, None] - where[None]) / LENGTH
    prior = np.exp(-(apart**2) / 2) + FLAT * line.T @ line
    found = prior @ np.linalg.solve(prior + noise + 1e-9 * np.eye(len(where)), logit(way))
    return np.asarray(chance + span * expit(found), dtype=np.float64)
