"""Risk after pruning and retraining, on fresh data or on the same.

Definition 5 of the 2020 paper retrains on a new data set: on the same data the risk differs,
and more so the larger s / n is.

Derivation for the same data, beyond the 2020 paper. Write x = Sigma^(1/2) g, e = beta - b for
the dense solution b, w = Sigma^(1/2) e. Having seen b is having seen two linear images of the
Gaussian matrix G:

- overparameterized, G w = -sigma z and G^T u = Sigma^(-1/2) b, where b = X^T u and
  |u| = xi sqrt(gamma / n) by the auxiliary problem of the 2020 paper;
- underparameterized, G w = r - sigma z and G^T r = 0, where r is the residual.

Given them G is fresh elsewhere. A model b - d has, up to a constant, the training error
|X d|^2, where d equals b on the features left out. So it is fitted to n fresh samples of
covariance M and one sample b / (xi sqrt(gamma)) of weight n:

    M = Sigma - (1 - rho) Sigma e e^T Sigma / (e^T Sigma e),
    rho = 1 - p / n (under), rho = max(sigma^2 - (e b)^2 / (xi^2 gamma), 0) / |w|^2 (over).

With s < n the expected d minimises (1 - s / n) d^T M d + (b d)^2 / (xi^2 gamma). With s > n
the training error vanishes: b d = 0, and the model b - d minimises |b - d|^2 + theta d^T M d,
where theta is the fixed point of the kept features. In both cases the model's noise has the
risk tau^2 c, c = s / n or sum h^2 / n, tau^2 = d^T M d / (1 - c), as in every regression.

The derivation is heuristic (conditioning on the solution as in approximate message passing);
tests hold it against simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.law import Law, predict_law
from prunable.predict.linear.names import Method, Risk
from prunable.predict.linear.problem import (
    Covariance,
    Factor,
    LinearGaussianProblem,
    check_draws,
    check_kept,
    sound_cholesky,
)
from prunable.predict.linear.pruning import diagonal_pruning, oracle_support, scores, top_mask
from prunable.predict.linear.solution import Regime, solve_fixed_point

DRAWS = 32


def retrained_risk(
    law: Law,
    s: int,
    method: Method = Method.MAGNITUDE,
    *,
    finite_n: bool = False,
    rng: np.random.Generator | None = None,
    draws: int = DRAWS,
) -> Risk:
    """Predict the risk after pruning to s features and retraining them on n fresh samples.

    For a diagonal covariance without draws: every feature counts by its probability of being kept,
    which is exact as p grows. Infinite for s = n. Raises InputError if an argument is out of range,
    the generator is missing, or only the spectrum is known.

    Parameters
    ----------
    draws : of the law, for a dense covariance, at least 2
    """
    problem = law.problem
    s = check_kept(s, problem.p, "retrained_risk")
    if problem.kind == Covariance.SPECTRAL:
        raise InputError(
            "`retrained_risk` needs the single features; this problem knows only its spectrum. "
            "Build it by `diagonal` or `dense`, or draw eigenvectors by `rotated`."
        )
    if method == Method.ORACLE:
        kept = problem.restricted(oracle_support(problem, s))
        return Risk(predict_law(kept, law.n, finite_n=finite_n).risk)
    if problem.kind == Covariance.DIAGONAL:
        pruning, samples = diagonal_pruning(law, s), np.array([float(law.n)])
        return Risk(float(pruning.retrained(method, samples, finite_n=finite_n)[0]))
    supports = draw_supports(law, s, method, rng=rng, draws=draws)
    risks = [
        predict_law(problem.restricted(support), law.n, finite_n=finite_n).risk
        for support in supports
    ]
    return Risk.mean_of(np.array(risks))


def draw_supports(
    law: Law, s: int, method: Method, *, rng: np.random.Generator | None, draws: int = DRAWS
) -> NDArray[np.bool_]:
    """Draw the sets of features that pruning keeps, shape (draws, p), s of each row set."""
    generator = check_draws(rng, draws, "draw_supports", "to choose features")
    return top_mask(scores(law.problem, law.sample_selection(generator, draws), method), s)


def same_data_risk(
    law: Law,
    s: int,
    method: Method = Method.MAGNITUDE,
    *,
    rng: np.random.Generator | None,
    draws: int = DRAWS,
) -> Risk:
    """Predict the risk after pruning to s features and retraining on the same data.

    The mean over at least two draws of the law, which may not be at interpolation; infinite if
    exactly n kept directions have variance. Raises InputError if an argument is out of range, s =
    n, or only the spectrum is known.
    """
    problem = law.problem
    s = check_kept(s, problem.p, "same_data_risk")
    if problem.kind == Covariance.SPECTRAL or not law.finite or s == law.n:
        raise InputError(
            "`same_data_risk` needs known features, a solution of finite variance and s different "
            "from n; build the problem by `diagonal` or `dense`."
        )
    generator = check_draws(rng, draws, "same_data_risk", "to retrain on the same data")
    if s == problem.p:
        return Risk(law.risk)
    drawn = law.sample(generator, draws)
    supports = top_mask(scores(problem, drawn, method), s)
    risks = [_same_data_risk_of(law, b, kept) for b, kept in zip(drawn, supports, strict=True)]
    return Risk.mean_of(np.array(risks))


def _same_data_risk_of(law: Law, b: FloatArray, kept: NDArray[np.bool_]) -> float:
    problem, n, s = law.problem, law.n, int(kept.sum())
    e = problem.coefficients - b
    image = problem.times(e)
    length = float(e @ image)
    seen, left = 0.0, 0.0
    # recovered exactly, but for rounding, nothing of the data is known beyond the truth
    if length > 1e-24 * (problem.signal + problem.times(b) @ b):
        if law.regime == Regime.OVER:
            seen = 1 / (law.xi**2 * law.gamma)
            rho = max(problem.sigma**2 - float(e @ b) ** 2 * seen, 0.0) / length
        else:
            rho = 1 - law.rank / n
        left = -(1 - rho) / length
    inner = _Inner.of(problem, kept, decomposed=s > n)
    d = np.where(kept, 0.0, b)
    if inner.rank < n:
        c = inner.rank / n
        pull = seen / (1 - c)
        push = problem.times(d) + left * float(image @ d) * image + pull * float(b @ d) * b
        terms = [(left, image[kept]), (pull, b[kept])]
        d[kept] = -inner.solve(push[kept][:, None], terms)[:, 0]
    elif inner.rank == n:
        return math.inf
    else:
        point = solve_fixed_point(inner.values, np.array([float(n)]))
        theta, c = float(point.xi[0]), float((point.shares**2).sum()) / n
        push = problem.times(b) + left * float(image @ b) * image
        right = np.column_stack([theta * push[kept], b[kept]])
        base, along = inner.solve(right, [(theta * left, image[kept])], theta).T
        # the model b - d lies where b d = 0
        model = base + (float(b @ b) - float(b[kept] @ base)) / float(b[kept] @ along) * along
        d[kept] = b[kept] - model
    loss = float(d @ problem.times(d)) + left * float(image @ d) ** 2
    return float(problem.risk_of(b - d)) + max(loss, 0.0) * c / (1 - c)


@dataclass(frozen=True, eq=False)
class _Inner:
    """The covariance of the kept features, ready to be inverted.

    It is a factor, or eigenvalues with or without eigenvectors.
    """

    rank: int
    values: FloatArray
    vectors: FloatArray | None = None
    factor: Factor | None = None

    @classmethod
    def of(
        cls, problem: LinearGaussianProblem, kept: NDArray[np.bool_], *, decomposed: bool
    ) -> _Inner:
        if problem.kind == Covariance.DIAGONAL:
            values = problem.covariance[kept]
            return cls(int(np.count_nonzero(values)), values)
        matrix = problem.covariance[np.ix_(kept, kept)]
        factor = None if decomposed else sound_cholesky(matrix)
        if factor is not None:
            return cls(matrix.shape[0], matrix.diagonal(), None, factor)
        alone = LinearGaussianProblem.dense(matrix, np.zeros(matrix.shape[0]), 0.0)
        return cls(int(np.count_nonzero(alone.eigenvalues)), alone.eigenvalues, alone.eigenvectors)

    def solve(
        self, right: FloatArray, terms: list[tuple[float, FloatArray]], theta: float | None = None
    ) -> FloatArray:
        """Solve with Sigma, or 1 + theta Sigma, plus rank-one terms; minimum norm."""
        outer = np.stack([vector for _, vector in terms], axis=1)
        solved = self._solve(np.column_stack([right, outer]), theta)
        first, rest = solved[:, : right.shape[1]], solved[:, right.shape[1] :]
        # Woodbury: (A + V C V^T)^-1 = A^-1 - A^-1 V (1 + C V^T A^-1 V)^-1 C V^T A^-1
        scales = np.array([scale for scale, _ in terms])[:, None]
        core = np.eye(len(terms)) + scales * (outer.T @ rest)
        return np.asarray(first - rest @ np.linalg.solve(core, scales * (outer.T @ first)))

    def _solve(self, right: FloatArray, theta: float | None) -> FloatArray:
        if self.factor is not None:
            return np.asarray(scipy.linalg.cho_solve(self.factor, right, check_finite=False))
        shifted = self.values if theta is None else 1 + theta * self.values
        inverse = np.zeros(shifted.size)
        np.divide(1.0, shifted, out=inverse, where=shifted > 0)
        if self.vectors is None:
            return inverse[:, None] * right
        return np.asarray(self.vectors @ (inverse[:, None] * (self.vectors.T @ right)))
