"""Dense, pruned and retrained risks of one linear Gaussian problem, for several sizes."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from prunable.errors import check_at_least, require
from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.law import Law, predict_law
from prunable.predict.linear.names import Method, Model, Risk
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning import DRAWS, pruned_risk
from prunable.predict.linear.retraining import retrained_risk, same_data_risk

NOT_COVERED = Risk(math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Predicted:
    """The law of the dense solution, and by model a risk for each number of features kept.

    Infinite at interpolation; NaN where nothing is predicted: retraining on the same data at
    least n features, or linearly dependent ones.
    """

    law: Law
    risks: dict[Model, FloatArray]


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
    kept : features kept, each in 1..p
    draws : of the law of the dense solution, at least 2
    """
    law = predict_law(problem, n, finite_n=True)
    options: dict[str, Any] = {"rng": rng, "draws": draws}
    risks = {Model.DENSE: [Risk(law.risk) for _ in kept]}
    for method in Method:
        risks[Model(method.value)] = [pruned_risk(law, s, method, **options) for s in kept]
    risks[Model.RETRAINED] = [retrained_risk(law, s, finite_n=True, **options) for s in kept]
    risks[Model.RETRAINED_SAME] = [_same_data(law, s, rng, draws) for s in kept]
    values = {m: np.array([risk.value for risk in found]) for m, found in risks.items()}
    return Predicted(law, values)


def check_sizes(n: int, p: int, kept: Sequence[int], where: str) -> tuple[int, ...]:
    """Refuse n < 3 examples, p < 1, and sizes outside 1..p; return the numbers kept."""
    require(n >= 3, "n", where, "at least 3", n, "Fewer examples have no finite mean risk.")
    check_at_least(p, 1, "p", where)
    require(len(kept), "s", where, "given", "nothing", "Say how many features to keep.")
    for s in kept:
        action = "No more features can be kept than exist."
        require(1 <= s <= p, "s", where, f"between 1 and p = {p}", s, action)
    return tuple(int(s) for s in kept)


def standard_error(values: FloatArray) -> FloatArray:
    """Standard error of the mean over the first axis; NaN for a single row."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))


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
