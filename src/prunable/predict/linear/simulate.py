"""Simulation of linear Gaussian problems: train, prune, retrain, and the exact risk of each.

It knows nothing of the predictions; tests and `--simulate` hold them against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.numerics.randomness import rng as derived_rng
from prunable.numerics.weights.selection import top_k_mask
from prunable.predict.linear.law import check_samples
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem
from prunable.predict.linear.pruning_risk import Method, check_kept

FloatArray = NDArray[np.float64]

DENSE, RETRAINED, SAME_DATA = "dense", "retrained", "retrained_same_data"


@dataclass(frozen=True)
class Simulated:
    """Risks of independent replicas, including sigma^2.

    Attributes
    ----------
    mean, stderr : float
    replicas : int
    """

    mean: float
    stderr: float
    replicas: int


def simulate_replica(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    *,
    seed: int,
    replica: int,
    widths: Sequence[int] | None = None,
    retrain_by: Iterable[Method] = (Method.MAGNITUDE,),
) -> list[dict[str, float]]:
    """Train on one data set, prune, retrain on the same and on fresh data.

    Parameters
    ----------
    problem : LinearGaussianProblem
        Of known features.
    n : int
        Samples, also of the fresh data set.
    s : int
        Features kept; narrower models are not pruned.
    seed, replica : int
        Decide the data sets, whatever order replicas run in.
    widths : sequence of int, optional
        Use only the first k features, for each of these k; all by default.
    retrain_by : iterable of Method
        After which methods to retrain.

    Returns
    -------
    list of dict of str to float
        Risks, one dictionary a width: "dense", "magnitude", "hessian", "oracle", and
        "retrained" and "retrained_same_data" after magnitude pruning, "retrained_hessian" and
        so on after the others.

    Raises
    ------
    InputError
        If an argument is out of range, or only the spectrum is known.
    """
    n = check_samples(n, "simulate_replica")
    s = check_kept(s, problem.p, "simulate_replica")
    rng = derived_rng(seed, "linear-gaussian", replica)
    X, y = draw_data(problem, n, rng)
    fresh = draw_data(problem, n, rng)
    rows = []
    for k in [problem.p] if widths is None else widths:
        rows.append(_one_width(problem, X[:, :k], y, fresh, s, tuple(retrain_by)))
    return rows


def summarise(replicas: Sequence[Mapping[str, float]]) -> dict[str, Simulated]:
    """Average replicas.

    Parameters
    ----------
    replicas : sequence of mapping of str to float
        Risks of each, at least two.

    Returns
    -------
    dict of str to Simulated

    Raises
    ------
    InputError
        If there are fewer than two replicas.
    """
    if len(replicas) < 2:
        raise InputError.parameter(
            "replicas", "summarise", "at least 2", len(replicas), "One has no standard error."
        )
    found = {}
    for name in replicas[0]:
        values = np.array([row[name] for row in replicas])
        stderr = float(values.std(ddof=1)) / math.sqrt(values.size)
        found[name] = Simulated(float(values.mean()), stderr, values.size)
    return found


def draw_data(
    problem: LinearGaussianProblem, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw features, shape (n, p), and targets, shape (n,).

    Raises
    ------
    InputError
        If only the spectrum is known.
    """
    Z = rng.standard_normal((n, problem.p))
    Z *= np.sqrt(problem.eigenvalues)
    X = problem.to_features(Z) if problem.kind == Covariance.DENSE else Z
    if problem.kind == Covariance.SPECTRAL:
        problem.to_features(X)
    return X, X @ problem.coefficients + problem.sigma * rng.standard_normal(n)


def least_squares(X: FloatArray, y: FloatArray) -> FloatArray:
    """Minimum-norm least-squares coefficients of X, shape (n, p); shape (p,).

    Through the smaller Gram matrix where its condition allows it, else by singular values.
    """
    wide = X.shape[1] > X.shape[0]
    gram = X @ X.T if wide else X.T @ X
    try:
        factor = scipy.linalg.cho_factor(gram, check_finite=False, overwrite_a=True)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(X, y, rcond=None)[0])
    pivots = np.abs(factor[0].diagonal())
    if float(pivots.min()) < 1e-5 * float(pivots.max()):
        return np.asarray(np.linalg.lstsq(X, y, rcond=None)[0])
    right = y if wide else X.T @ y
    solved = scipy.linalg.cho_solve(factor, right, check_finite=False)
    return np.asarray(X.T @ solved if wide else solved)


def _one_width(
    problem: LinearGaussianProblem,
    X: FloatArray,
    y: FloatArray,
    fresh: tuple[FloatArray, FloatArray],
    s: int,
    retrain_by: tuple[Method, ...],
) -> dict[str, float]:
    k = X.shape[1]
    b = least_squares(X, y)

    def risk(features: NDArray[np.bool_], coefficients: FloatArray) -> float:
        model = np.zeros(problem.p)
        model[:k][features] = coefficients
        return float(problem.risk_of(model))

    every = np.ones(k, dtype=np.bool_)
    row = {DENSE: risk(every, b)}
    beta = problem.restricted(np.arange(k)).coefficients if k < problem.p else problem.coefficients
    compared = {
        Method.MAGNITUDE: np.abs(b),
        Method.HESSIAN: (X**2).mean(axis=0) * b**2,
        Method.ORACLE: problem.variances[:k] * beta**2,
    }
    for method, values in compared.items():
        kept = top_k_mask(values, s) if s < k else every
        row[method.value] = risk(kept, b[kept])
        if method in retrain_by:
            suffix = "" if method == Method.MAGNITUDE else f"_{method.value}"
            again = fresh[0][:, :k][:, kept]
            row[RETRAINED + suffix] = risk(kept, least_squares(again, fresh[1]))
            row[SAME_DATA + suffix] = risk(kept, least_squares(X[:, kept], y))
    return row
