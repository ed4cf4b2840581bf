"""Dense, pruned and retrained risks of one linear Gaussian problem, all at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from prunable.predict.linear.law import Law, predict_law
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning_risk import Method, Risk, pruned_risk
from prunable.predict.linear.retraining import retrained_risk
from prunable.predict.linear.same_data import same_data_risk
from prunable.predict.linear.train_prune import Model

DRAWS = 64
NOT_COVERED = Risk(math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predicted risks.

    Attributes
    ----------
    law : Law
        Of the dense solution.
    risks : dict of Model to tuple of Risk
        One for each number of features kept; infinite at interpolation; NaN where nothing is
        predicted: retraining on the same data at least n features, or linearly dependent ones.
    """

    law: Law
    risks: dict[Model, tuple[Risk, ...]]


def predict_models(
    problem: LinearGaussianProblem,
    n: int,
    kept: Sequence[int],
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Predicted:
    """Predict the risks of all models, with exact expectations at this n where they are known.

    Parameters
    ----------
    problem : LinearGaussianProblem
        With known features.
    n : int
        Training examples.
    kept : sequence of int
        Features kept, each in 1..p.
    rng : numpy.random.Generator
    draws : int
        Of the law of the dense solution, at least 2.

    Returns
    -------
    Predicted

    Raises
    ------
    InputError
        If a number is out of range.
    """
    law = predict_law(problem, n, finite_n=True)
    risks: dict[Model, tuple[Risk, ...]] = {Model.DENSE: tuple(Risk(law.risk) for _ in kept)}
    for method in Method:
        risks[Model(method.value)] = tuple(
            pruned_risk(law, s, method, rng=rng, draws=draws) for s in kept
        )
    risks[Model.RETRAINED] = tuple(
        retrained_risk(law, s, finite_n=True, rng=rng, draws=draws) for s in kept
    )
    risks[Model.RETRAINED_SAME] = tuple(_same_data(law, s, rng, draws) for s in kept)
    return Predicted(law, risks)


def _same_data(law: Law, s: int, rng: np.random.Generator, draws: int) -> Risk:
    if s >= law.n or not law.finite:
        return NOT_COVERED
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", scipy.linalg.LinAlgWarning)
            return same_data_risk(law, s, rng=rng, draws=draws)
    except (np.linalg.LinAlgError, scipy.linalg.LinAlgWarning):
        # kept features that depend on each other linearly have no such law
        return NOT_COVERED
