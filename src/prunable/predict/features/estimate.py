"""The equivalent linear Gaussian problem of a user's own features and targets.

Covariance, signal and noise are estimated from finitely many examples, each choice judged on
held-out folds. What the examples cannot tell from noise counts as noise: fewer training
examples, for which risks are predicted, cannot learn it either.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from prunable.errors import require
from prunable.numerics.arrays import FloatArray
from prunable.predict.features.moments import (
    Equivalent,
    FoldedMoments,
    Moments,
    Shrinkage,
    equivalent_problem,
    floored,
    shrinkage_share,
    shrunk,
)
from prunable.predict.linear.law import Law
from prunable.predict.linear.problem import LinearGaussianProblem

# Penalties, in units of the mean eigenvalue, among which held-out folds choose.
PENALTIES = tuple(10.0 ** (k / 2) for k in range(-24, 5))
# Directions are pooled in blocks of growing size to tell signal from noise.
FIRST_BLOCK, GROWTH = 8, 1.5
# Eigenvalues up to this times the largest are those of linearly dependent features.
NULL = 1e-12
# The shrinkage of a ridge is undone up to this factor: what is learned worse counts as noise.
MOST_UNDONE = 4.0


@dataclass(frozen=True, eq=False)
class FeatureEstimate:
    """What n examples say of features and c targets."""

    n: int
    # features that are not zero on all examples; the others are left out, p' of p remain
    used: NDArray[np.int64]
    n_features: int  # all features, p
    share: float  # how far the covariance was drawn to the identity, in [0, 1]
    # shrunk second moments of the used features, shape (p', p'); of lower rank if these depend on
    # each other linearly
    second: FloatArray
    coefficients: FloatArray  # estimated best weights, one column a target, shape (p', c)
    noise: FloatArray  # variance of what they leave unexplained, shape (c,)
    # risk, on held-out folds, of the ridge regression behind the estimate, shape (c,)
    held_out: FloatArray
    # E[y^2] as counted, shape (c,); noise and explained part need not add up to it exactly
    target: FloatArray

    @cached_property
    def problems(self) -> tuple[Equivalent, ...]:
        """Equivalent problems of the used features, one a target."""
        return tuple(
            equivalent_problem(self.moments(target), null=NULL) for target in range(self.noise.size)
        )

    def moments(self, target: int = 0) -> Moments:
        """Moments of the used features and one target, consistent with signal and noise."""
        beta = self.coefficients[:, target]
        cross = self.second @ beta
        return Moments(self.second, cross, float(self.noise[target] + beta @ cross))

    def places(self, width: int) -> NDArray[np.intp]:
        """Which of the used features are among the first `width` of all."""
        return np.flatnonzero(self.used < width)

    def narrow(self, width: int, target: int = 0) -> LinearGaussianProblem:
        """Equivalent problem of the used ones among the first features."""
        problem, places = self.problems[target].problem, self.places(width)
        return problem if len(places) == problem.p else problem.restricted(places)


def estimate_features(
    folded: FoldedMoments, *, shrinkage: Shrinkage | str | float = Shrinkage.HELD_OUT
) -> FeatureEstimate:
    """Estimate covariance, signal and noise from moments by folds.

    Signal: ridge regression with the penalty of least risk R on held-out folds. Its asymptotic risk
    is R = (sigma^2 + B) / (1 - df2 / N), B the part of the signal that it misses and df2 = sum
    (lambda / (lambda + kappa))^2; so the noise here, sigma^2 + B, is R (1 - df2 / N), and the
    coefficient of an eigenvector carries the variance R lambda / (N (lambda + kappa)^2) (equations
    (8) to (10) of the 2020 paper with a ridge). That much energy is taken from blocks of
    eigenvectors. Raises InputError if the shrinkage is unknown or out of range, or all features are
    zero. `shrinkage` says how the share of the identity in the covariance is chosen, or is that
    share, in [0, 1].
    """
    everything = folded.together()
    used = np.flatnonzero(np.diagonal(everything.second) > 0)
    require(used.size, "X", "estimate_features", "not all 0", "zeros")
    n_features = len(everything.second)
    share = shrinkage_share(folded, shrinkage)
    if used.size < n_features:
        folded = FoldedMoments(tuple(fold.restrict(used) for fold in folded.folds))
        everything = folded.together()
    values, vectors = np.linalg.eigh(everything.second)
    if everything.n >= len(values):
        # with fewer examples directions without variance are the sample's, not the features'
        real = values > NULL * values[-1]
        values, vectors = values[real], vectors[:, real]
    values = floored((1 - share) * values + share * values.mean())
    second = (vectors * values) @ vectors.T
    unit = float(values.sum()) / len(second)
    penalty, held_out = _ridge(folded, share)
    projected = vectors.T @ everything.cross
    coefficients = np.empty_like(projected)
    noise = np.empty_like(held_out)
    for c, (ridge, risk) in enumerate(zip(penalty * unit, held_out, strict=True)):
        learned = values / (values + _effective_ridge(values, ridge, everything.n))
        chance = risk * learned**2 / values / everything.n
        found = _without_noise(projected[:, c] / (values + ridge), chance, values)
        coefficients[:, c] = found * np.minimum(1 / learned, MOST_UNDONE)
        n_trained = everything.n * (1 - 1 / len(folded.folds))
        learned = values / (values + _effective_ridge(values, ridge, n_trained))
        left = risk * (1 - float(np.sum(learned**2)) / n_trained)
        explained = float(values @ coefficients[:, c] ** 2)
        missed = float(values @ ((1 - learned) * coefficients[:, c]) ** 2)
        # signal and noise together are no more than the target
        room = everything.target[c] - left
        if explained - missed > room:
            factor = max(room, 0.0) / (explained - missed) if explained != missed else 0.0
            coefficients[:, c] *= math.sqrt(factor)
            missed *= factor
        noise[c] = max(left - missed, 0.0)
    return FeatureEstimate(
        everything.n,
        used,
        n_features,
        share,
        second,
        vectors @ coefficients,
        noise,
        held_out,
        everything.target,
    )


def spread_of_sizes(law: Law, x: FloatArray) -> float:
    """Measure how unequal examples are, beyond what Gaussian features would be.

    Standard deviation over mean of x^T W x with W = Sigma^-1, or (Sigma + I / xi)^-1 with more
    features than examples, less what it is for Gaussian features (in squares): 0 for them, as
    the predictions suppose. The examples, shape (N, p), are others than the law comes from.
    """
    values = law.problem.eigenvalues
    positive = values > 0
    weights = np.zeros_like(values)
    ridge = 0.0 if math.isinf(law.xi) else 1 / law.xi
    weights[positive] = 1 / (values[positive] + ridge)
    sizes = (x @ law.problem.eigenvectors) ** 2 @ weights
    shares = weights * values
    gaussian = 2 * float(np.sum(shares**2)) / float(np.sum(shares)) ** 2
    return math.sqrt(max(float(np.var(sizes)) / float(np.mean(sizes)) ** 2 - gaussian, 0.0))


def _ridge(folded: FoldedMoments, share: float) -> tuple[FloatArray, FloatArray]:
    """Penalty of least held-out risk and that risk, for each target."""
    risks = np.zeros((len(PENALTIES), folded.folds[0].target.size))
    for training, held_out in folded.splits():
        values, vectors = np.linalg.eigh(shrunk(training.second, share))
        values = floored(values)
        along = vectors.T @ training.cross
        for i, penalty in enumerate(PENALTIES):
            weights = vectors @ (along / (values + penalty * values.mean())[:, None])
            for c in range(risks.shape[1]):
                risks[i, c] += held_out.n / folded.n * held_out.risk(weights[:, c], c)
    best = np.argmin(risks, axis=0)
    return np.array(PENALTIES)[best], np.take_along_axis(risks, best[None], axis=0)[0]


def _effective_ridge(values: FloatArray, ridge: float, n: float) -> float:
    """Solve ridge = kappa (1 - sum lambda / (lambda + kappa) / n) for kappa >= ridge."""

    def excess(log_kappa: float) -> float:
        kappa = math.exp(log_kappa)
        return kappa * (1 - float(np.sum(values / (values + kappa))) / n) - ridge

    low = math.log(ridge)
    # at this kappa the learned share is at most a half of n, and kappa / 2 reaches the ridge
    high = math.log(2 * ridge + 2 * float(values.sum()) / n)
    return math.exp(float(brentq(excess, low, high + 1e-9, xtol=1e-12)))


def _without_noise(found: FloatArray, chance: FloatArray, values: FloatArray) -> FloatArray:
    """Scale blocks of coefficients down to the energy that chance does not explain."""
    cleaned = found.copy()
    stop, size = found.size, FIRST_BLOCK
    while stop > 0:
        block = slice(max(stop - size, 0), stop)
        energy = float(values[block] @ found[block] ** 2)
        expected = float(values[block] @ chance[block])
        cleaned[block] *= math.sqrt(max(1 - expected / energy, 0.0)) if energy > 0 else 0.0
        stop, size = block.start, math.ceil(GROWTH * size)
    return cleaned
