"""Train, prune and retrain by least squares on given data: what the predictions are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from prunable.predict.linear.simulate import least_squares

FloatArray = NDArray[np.float64]


class Model(StrEnum):
    """The models whose risks are predicted; retraining follows magnitude pruning."""

    DENSE = "dense"
    MAGNITUDE = "magnitude"
    HESSIAN = "hessian"
    ORACLE = "oracle"
    RETRAINED = "retrained"
    RETRAINED_SAME = "retrained_same_data"


@dataclass(frozen=True, eq=False)
class Sample:
    """Training data: features, shape (n, p), and targets, shape (n,)."""

    x: FloatArray
    y: FloatArray


def train_prune(
    data: Sample,
    kept: Sequence[int],
    saliency: FloatArray,
    *,
    fresh: Sample | None = None,
    dense: FloatArray | None = None,
) -> dict[Model, FloatArray]:
    """Fit, prune to several sizes, and fit again.

    Parameters
    ----------
    data : Sample
    kept : sequence of int
        Features kept, each in 1..p.
    saliency : ndarray, shape (p,)
        What oracle pruning goes by, Sigma_ii beta_i^2.
    fresh : Sample, optional
        New data to retrain on; without it there is no `Model.RETRAINED`.
    dense : ndarray, shape (p,), optional
        The fit, if it is known already.

    Returns
    -------
    dict of Model to ndarray
        Weights, shape (len(kept), p).

    Notes
    -----
    Section 2 of Chang et al. (2020). Hessian pruning goes by the diagonal of X^T X / n.
    """
    fit = least_squares(data.x, data.y) if dense is None else dense
    unit = np.sqrt(np.mean(data.x**2, axis=0))
    # the s best are the first s of all in order
    orders = {
        Model.MAGNITUDE: _descending(np.abs(fit)),
        Model.HESSIAN: _descending(unit * np.abs(fit)),
        Model.ORACLE: _descending(saliency),
    }
    sources = {Model.RETRAINED_SAME: data, **({Model.RETRAINED: fresh} if fresh else {})}
    weights = {model: np.zeros((len(kept), fit.size)) for model in (*orders, *sources)}
    weights[Model.DENSE] = np.tile(fit, (len(kept), 1))
    for row, s in enumerate(kept):
        for model, order in orders.items():
            weights[model][row, order[:s]] = fit[order[:s]]
        support = orders[Model.MAGNITUDE][:s]
        for model, source in sources.items():
            weights[model][row, support] = least_squares(source.x[:, support], source.y)
    return weights


def _descending(values: FloatArray) -> NDArray[np.intp]:
    """Indices from the largest value to the smallest; equal ones by the lower index."""
    return np.argsort(-values, kind="stable")
