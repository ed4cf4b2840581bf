"""Risk of the pruned solution, before retraining.

Sections 5.2 and C of the 2020 paper: magnitude, Hessian and oracle pruning.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from prunable.numerics.arrays import FloatArray
from prunable.numerics.weights.selection import top_k_mask
from prunable.predict.linear.diagonal import Pruning
from prunable.predict.linear.law import Law
from prunable.predict.linear.names import Method, Risk
from prunable.predict.linear.problem import (
    Covariance,
    LinearGaussianProblem,
    check_draws,
    check_kept,
)
from prunable.predict.linear.solution import Solution, Spectrum

DRAWS = 64


def pruned_risk(
    law: Law,
    s: int,
    method: Method = Method.MAGNITUDE,
    *,
    rng: np.random.Generator | None = None,
    draws: int = DRAWS,
) -> Risk:
    """Predict the risk after all but s of p features were set to zero.

    In closed form for a diagonal covariance, or where only the spectrum is known; infinite where
    the dense risk is, at interpolation. Corollary 1 and equations (63)-(66) of the 2020 paper.
    Where only the spectrum is known, the pruned vector splits into its projection on the
    coefficients and a remainder, which lies uniformly at random and meets the mean eigenvalue.
    Raises InputError if `s` or `draws` is out of range, or the generator is missing. A dense
    covariance needs `rng`, except by oracle pruning, and at least 2 `draws` of the law.
    """
    problem = law.problem
    s = check_kept(s, problem.p, "pruned_risk")
    method = Method(method)
    if s == problem.p or not law.finite:
        return Risk(law.risk)
    if problem.kind == Covariance.SPECTRAL:
        return Risk(_in_general_position(law, s / problem.p, method))
    if method == Method.ORACLE:
        return Risk(_fixed_support(law, oracle_support(problem, s)))
    if problem.kind == Covariance.DIAGONAL:
        return Risk(float(diagonal_pruning(law, s).risk(method)[0]))
    drawn = law.sample(check_draws(rng, draws, "pruned_risk", "for a dense covariance"), draws)
    kept = top_mask(scores(problem, drawn, method), s)
    return Risk.mean_of(problem.risk_of(np.where(kept, drawn, 0.0)))


def oracle_support(problem: LinearGaussianProblem, s: int) -> NDArray[np.bool_]:
    """Mark the s features of largest saliency."""
    return top_k_mask(problem.saliencies, s)


def scores(problem: LinearGaussianProblem, drawn: FloatArray, method: Method) -> FloatArray:
    """Return what is compared when features are chosen, in the shape of `drawn`, (..., p)."""
    if method == Method.ORACLE:
        return np.asarray(np.broadcast_to(problem.saliencies, drawn.shape))
    if method == Method.HESSIAN:
        return np.asarray(np.abs(drawn) * np.sqrt(problem.variances))
    return np.asarray(np.abs(drawn))


def top_mask(values: FloatArray, s: int) -> NDArray[np.bool_]:
    """Mark the s largest along the last axis of an array of shape (..., p); ties by index."""
    rows = values.reshape(-1, values.shape[-1])
    return np.stack([top_k_mask(row, s) for row in rows]).reshape(values.shape)


def survival(law: Law, s: int, method: Method = Method.MAGNITUDE) -> FloatArray:
    """Predict the probability that each feature is among the s kept, shape (p,), with sum s."""
    s = check_kept(s, law.problem.p, "survival")
    if method == Method.ORACLE:
        return np.asarray(oracle_support(law.problem, s), dtype=np.float64)
    if law.problem.kind == Covariance.SPECTRAL:
        # no feature is told from another
        return np.full(law.problem.p, s / law.problem.p)
    return np.asarray(diagonal_pruning(law, s).survival(method)[0])


def diagonal_pruning(law: Law, s: int) -> Pruning:
    """Treat every feature by the law of its own coefficient, for `survival` and thresholds."""
    problem = law.problem
    spectrum = Spectrum.single(problem.variances, problem.coefficients, problem.sigma**2, law.n)
    means, variances = law.selection_moments()
    nothing = np.zeros(1, dtype=np.bool_)
    one = np.ones(1)
    solution = Solution(
        nothing, nothing, one, one * law.risk, one, one, means[None, :], variances[None, :]
    )
    return Pruning(spectrum, solution, np.array([float(s)]))


def _fixed_support(law: Law, support: NDArray[np.bool_]) -> float:
    """Risk of a solution restricted to features chosen beforehand."""
    problem = law.problem
    means, variances = law.feature_moments()
    bias = float(problem.risk_of(np.where(support, means, 0.0)))
    if problem.kind == Covariance.DIAGONAL:
        return bias + float(problem.covariance[support] @ variances[support])
    rows = problem.eigenvectors[support]
    spread = (rows * law.variances) @ rows.T
    return bias + float((problem.covariance[np.ix_(support, support)] * spread).sum())


def _in_general_position(law: Law, share: float, method: Method) -> float:
    """Risk for eigenvectors that lie uniformly at random; `share` = s / p.

    A vector cut by a rule that looks at Gaussian coordinates is its regression on them plus a
    remainder uncorrelated with them. The remainder lies uniformly at random in what is
    orthogonal to both the true and the learned coefficients.
    """
    problem = law.problem
    values, beta = problem.eigenvalues, problem.coefficients
    mean, v = law.means, law.variances
    length = float(beta @ beta)
    learned = float(mean @ mean + v.sum())
    overlap = float(beta @ mean)
    # Gaussian coordinates keep this share of their energy in the largest ones
    t = -float(ndtri(share / 2))
    energy = share + 2 * t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    if method == Method.ORACLE:
        slope = overlap / length if length > 0 else 0.0
        rest = max(learned - slope**2 * length, 0.0)
        fixed = slope * energy * beta + share * (mean - slope * beta)
        noise = share**2 * v
        remainder = slope**2 * energy * (1 - energy) * length + share * (1 - share) * rest
    else:
        fixed, noise = energy * mean, energy**2 * v
        remainder = energy * (1 - energy) * learned
    gram = np.array([[length, overlap], [overlap, learned]])
    weighted = np.array([[values @ beta**2, values @ (beta * mean)], [0.0, values @ (mean**2 + v)]])
    weighted[1, 0] = weighted[0, 1]
    taken = float(np.trace(np.linalg.pinv(gram, rcond=1e-12, hermitian=True) @ weighted))
    free = problem.p - int(np.linalg.matrix_rank(gram, tol=1e-12 * gram.max(), hermitian=True))
    met = max(float(values.sum()) - taken, 0.0) / max(free, 1)
    error = float(values @ ((beta - fixed) ** 2 + noise))
    return problem.sigma**2 + error + met * remainder
