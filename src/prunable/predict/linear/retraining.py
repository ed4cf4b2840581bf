"""Risk after pruning and retraining on fresh data.

Definition 5 of the 2020 paper. Its retraining uses a new data set: on the same data the risk
differs, and more so the larger s / n is; `same_data` predicts that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.predict.linear.law import Law, check_samples, predict_law
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem
from prunable.predict.linear.pruning_risk import (
    Method,
    Risk,
    check_kept,
    diagonal_pruning,
    oracle_support,
    scores,
    top_mask,
)

FloatArray = NDArray[np.float64]

DRAWS = 32


def retrained_risk(
    law: Law,
    s: int,
    method: Method = Method.MAGNITUDE,
    *,
    n_retrain: int | None = None,
    finite_n: bool = False,
    rng: np.random.Generator | None = None,
    draws: int = DRAWS,
) -> Risk:
    """Predict the risk after pruning to s features and retraining them on fresh data.

    Parameters
    ----------
    law : Law
        Of the dense solution.
    s : int
        Features kept, 1 <= s <= p.
    method : Method
    n_retrain : int, optional
        Fresh samples; as many as before by default.
    finite_n : bool
        Whether to use exact expectations at this n where they are known.
    rng : numpy.random.Generator, optional
        Needed for a dense covariance, except after oracle pruning.
    draws : int
        Of the law, for a dense covariance, at least 2.

    Returns
    -------
    Risk
        For a diagonal covariance without draws: every feature counts by its probability of
        being kept, which is exact as p grows. Infinite for s = n.

    Raises
    ------
    InputError
        If an argument is out of range, the generator is missing, or only the spectrum is
        known.
    """
    problem = law.problem
    s = check_kept(s, problem.p, "retrained_risk")
    n = check_samples(law.n if n_retrain is None else n_retrain, "retrained_risk")
    if problem.kind == Covariance.SPECTRAL:
        raise InputError(
            "`retrained_risk` needs the single features; this problem knows only its spectrum. "
            "Build it by `diagonal` or `dense`, or draw eigenvectors by `rotated`."
        )
    if method == Method.ORACLE:
        kept = problem.restricted(oracle_support(problem, s))
        return Risk(predict_law(kept, n, finite_n=finite_n).risk)
    if problem.kind == Covariance.DIAGONAL:
        pruning, samples = diagonal_pruning(law, s), np.array([float(n)])
        return Risk(float(pruning.retrained(method, samples, finite_n=finite_n)[0]))
    supports = draw_supports(law, s, method, rng=rng, draws=draws)
    risks = [
        predict_law(problem.restricted(support), n, finite_n=finite_n).risk for support in supports
    ]
    return Risk.mean_of(np.array(risks))


def draw_supports(
    law: Law, s: int, method: Method, *, rng: np.random.Generator | None, draws: int = DRAWS
) -> NDArray[np.bool_]:
    """Draw the sets of features that pruning keeps.

    Parameters
    ----------
    law : Law
    s : int
        Features kept, 1 <= s <= p.
    method : Method
    rng : numpy.random.Generator
    draws : int
        At least 2.

    Returns
    -------
    ndarray of bool
        Shape (draws, p), s of each row set.

    Raises
    ------
    InputError
        If the generator is missing or `draws` is below 2.
    """
    if rng is None or draws < 2:
        raise InputError.parameter(
            "rng",
            "draw_supports",
            "a generator, with at least 2 draws",
            f"{rng!r} and {draws} draws",
            "Pass `rng=prunable.numerics.randomness.rng(0)`.",
        )
    return top_mask(scores(law.problem, law.sample_selection(rng, draws), method), s)


def lemma_7(problem: LinearGaussianProblem, features: NDArray[np.bool_], n: int) -> float:
    """Risk of training chosen features directly, fewer than n of them.

    Parameters
    ----------
    problem : LinearGaussianProblem
    features : ndarray of bool
        Shape (p,).
    n : int
        Samples.

    Returns
    -------
    float
        (sigma^2 + sum of lambda_i beta_i^2 over the others) / (1 - s / n), lemma 7 of the 2020
        paper, for any covariance.

    Raises
    ------
    InputError
        If not fewer than n features are chosen.
    """
    s = int(np.count_nonzero(features))
    if not 0 < s < n:
        raise InputError.parameter("features", "lemma_7", f"more than 0 and fewer than n = {n}", s)
    return problem.restricted(features).sigma ** 2 / (1 - s / n)
