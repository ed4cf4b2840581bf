"""Second moments of features and targets, and the linear Gaussian problem that has the same.

Moments are averages over examples, so that features may come in batches and never lie in
memory together. They are kept by folds: what is estimated on all folds but one is judged on
that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from prunable.errors import InputError, check_at_least, require
from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.problem import LinearGaussianProblem

FOLDS = 5
# Shares of the identity that a held-out choice may take.
SHARES = (0.0, *(10.0 ** (k / 2) for k in range(-20, 1)))
# Eigenvalues below this times the largest cannot be told from rounding.
FLOOR = 1e-10
# What is left of the target may fall this far below 0, as a share of its second moment.
ROUNDING = 1e-6
AT_ONCE = 4096


class Shrinkage(StrEnum):
    """Ways to choose how far the covariance is drawn to a multiple of the identity."""

    HELD_OUT = "held-out"
    LEDOIT_WOLF = "ledoit-wolf"
    NONE = "none"


@dataclass(frozen=True, eq=False)
class Moments:
    """All that least squares on features sees of a distribution; nothing is centred.

    E[x x^T], symmetric, shape (p, p); E[x y], shape (p,); E[y^2]. Raises `InputError` if they
    are no second moments.
    """

    second: FloatArray
    cross: FloatArray
    target: float

    def __post_init__(self) -> None:
        second = np.asarray(self.second, dtype=np.float64)
        cross = np.asarray(self.cross, dtype=np.float64)
        object.__setattr__(self, "second", second)
        object.__setattr__(self, "cross", cross)
        where = "Moments"
        if second.ndim != 2 or second.shape[0] != second.shape[1] or not second.size:
            raise InputError.parameter("second", where, "a square matrix", second.shape)
        valid = cross.shape == second.shape[:1]
        require(valid, "cross", where, f"of shape {second.shape[:1]}", f"shape {cross.shape}")
        for name, values in (("second", second), ("cross", cross), ("target", self.target)):
            valid = bool(np.isfinite(values).all())
            require(valid, name, where, "finite", "NaN or infinity", "Clean the data first.")
        variances = np.diagonal(second)
        if variances.min() < 0:
            i = int(variances.argmin())
            wanted = "of features whose squares have means >= 0"
            raise InputError.parameter("second", where, wanted, f"{variances[i]} for feature {i}")
        check_at_least(self.target, 0, "target", where)
        if np.abs(second - second.T).max() > 1e-8 * np.abs(second).max():
            raise InputError.parameter("second", where, "symmetric", "an asymmetric matrix")

    def risk(self, weights: ArrayLike) -> FloatArray:
        """E[(y - x . w)^2] for weights of shape (..., p)."""
        return _risk(self.second, self.cross, self.target, weights)


@dataclass(frozen=True, eq=False)
class Equivalent:
    """A linear Gaussian problem that stands for features.

    Its noise is what no weights on the features can explain. `n_floored` eigenvalues were
    raised to the floor; `condition` is the largest one over the smallest that is not 0, after that.
    """

    problem: LinearGaussianProblem
    n_floored: int
    condition: float


def equivalent_problem(moments: Moments, *, null: float = 0.0) -> Equivalent:
    """Build the linear Gaussian problem with the same second moments.

    Def. 2 of Chang et al. (2020): Sigma = E[x x^T], beta* = Sigma^-1 E[x y],
    sigma^2 = E[y^2] - E[x y]^T Sigma^-1 E[x y].

    Eigenvalues below `FLOOR` times the largest are raised to that: inverting them would multiply
    rounding. Those up to `null` times the largest, a smaller share, are 0 instead: features depend
    on each other linearly. Raises InputError if all features are zero, an eigenvalue is below minus
    the floor, or the noise would have a negative variance.
    """
    where = "equivalent_problem"
    values, vectors = np.linalg.eigh(moments.second)
    largest = float(values[-1])
    require(largest > 0, "second", where, "of features that are not all 0", "zeros")
    if values[0] < -FLOOR * largest:
        raise InputError.parameter(
            "second",
            where,
            "positive semidefinite",
            f"an eigenvalue of {values[0]:.3g} beside {largest:.3g}",
            "Estimate features and products from the same examples.",
        )
    used = values > null * largest if null else np.ones(values.size, dtype=np.bool_)
    raised = np.maximum(values, max(FLOOR * largest, np.finfo(np.float64).tiny))
    weights = np.where(used, vectors.T @ moments.cross / raised, 0.0)
    left = moments.target - float(raised @ weights**2)
    if left < -ROUNDING * moments.target:
        raise InputError.parameter(
            "cross",
            where,
            "such that the features explain no more than the target's second moment",
            f"a noise variance of {left:.3g} beside E[y^2] = {moments.target:.3g}",
            "Estimate all moments from the same examples.",
        )
    n_floored = int(np.sum(used & (raised > values)))
    spectrum = np.where(used, raised, 0.0)
    second = moments.second
    if n_floored or not used.all():
        second = (vectors * spectrum) @ vectors.T
    sigma = float(np.sqrt(max(left, 0.0)))
    problem = LinearGaussianProblem.dense(second, vectors @ weights, sigma)
    # decomposed already; from the matrix, zeros would come back as rounding
    vars(problem)["_decomposition"] = (spectrum, vectors)
    condition = float(raised[-1] / raised[used][0])
    return Equivalent(problem, n_floored, condition)


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """Averages over one set of n examples, not centred."""

    n: int
    # second, cross, target: of x x^T, shape (p, p); of x y^T, shape (p, c); of y^2, shape (c,)
    second: FloatArray
    cross: FloatArray
    target: FloatArray
    fourth: float = np.nan  # of ||x||^4; NaN if it is not known

    @classmethod
    def of(cls, x: FloatArray, y: FloatArray) -> FeatureMoments:
        """Average over examples, shapes (n, p) and (n, c), without the fourth moment."""
        n = len(x)
        return cls(n, x.T @ x / n, x.T @ y / n, np.mean(y**2, axis=0))

    def risk(self, weights: ArrayLike, target: int = 0) -> FloatArray:
        """Average of (y - x . w)^2 for weights of shape (..., p) and one of the targets."""
        return _risk(self.second, self.cross[:, target], self.target[target], weights)

    def restrict(self, features: ArrayLike) -> FeatureMoments:
        """Keep some features; their fourth moment is not known then."""
        kept = np.asarray(features)
        return FeatureMoments(
            self.n, self.second[np.ix_(kept, kept)], self.cross[kept], self.target
        )


@dataclass(frozen=True, eq=False)
class FoldedMoments:
    """Moments of disjoint sets of examples of one kind, at least two, none empty."""

    folds: tuple[FeatureMoments, ...]

    @property
    def n(self) -> int:
        """Examples of all folds."""
        return sum(fold.n for fold in self.folds)

    def together(self) -> FeatureMoments:
        """Moments over all examples."""
        return _average(self.folds)

    def splits(self) -> Iterator[tuple[FeatureMoments, FeatureMoments]]:
        """For each fold, the moments over all others, and its own."""
        for k, held_out in enumerate(self.folds):
            yield _average(self.folds[:k] + self.folds[k + 1 :]), held_out


def fold_moments(
    batches: Iterable[tuple[ArrayLike, ArrayLike]], folds: int = FOLDS
) -> FoldedMoments:
    """Sum up features and targets in one pass, not centred.

    Raises InputError if shapes disagree, values are not finite, or there are fewer than two
    examples a fold. Batches are features, shape (m, p), and targets, shape (m,) or (m, c), of
    consecutive examples; example i belongs to fold i modulo `folds`, at least 2.
    """
    where = "fold_moments"
    check_at_least(folds, 2, "folds", where)
    sums: list[FeatureMoments] | None = None
    seen = 0
    for x, y in batches:
        features, targets = checked_examples(x, y, where)
        p, c = shape = features.shape[1], targets.shape[1]
        if sums is None:
            sums = [
                FeatureMoments(0, np.zeros((p, p)), np.zeros(shape), np.zeros(c), 0.0)
                for _ in range(folds)
            ]
        if shape != sums[0].cross.shape:
            raise InputError.parameter(
                "batches", where, f"of {sums[0].cross.shape} features and targets", shape
            )
        for start in range(0, len(features), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            for k in range(folds):
                chosen = slice((k - seen - start) % folds, None, folds)
                sums[k] = _added(sums[k], features[part][chosen], targets[part][chosen])
        seen += len(features)
    if sums is None or seen < 2 * folds:
        raise InputError.parameter(
            "X", where, f"at least {2 * folds} examples", f"{seen}", "Give more examples."
        )
    return FoldedMoments(
        tuple(
            FeatureMoments(s.n, s.second / s.n, s.cross / s.n, s.target / s.n, s.fourth / s.n)
            for s in sums
        )
    )


def checked_examples(x: ArrayLike, y: ArrayLike, where: str) -> tuple[FloatArray, FloatArray]:
    """Take features of shape (N, p) and targets of shape (N,) or (N, c) as float64 matrices.

    Raises InputError if shapes disagree, there are no features, or values are NaN, infinite or no
    numbers.
    """
    matrices = []
    for name, given in (("X", x), ("y", y)):
        try:
            matrices.append(np.asarray(given, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise InputError.parameter(name, where, "numbers", f"{error}") from error
    features, targets = matrices
    if features.ndim != 2 or not features.shape[1]:
        raise InputError.parameter("X", where, "a matrix (examples, features)", features.shape)
    if targets.ndim == 1:
        targets = targets[:, None]
    if targets.ndim != 2 or len(targets) != len(features) or not targets.shape[1]:
        raise InputError.parameter(
            "y", where, f"of shape ({len(features)},) or ({len(features)}, targets)", np.shape(y)
        )
    for name, matrix in (("X", features), ("y", targets)):
        broken = ~np.isfinite(matrix)
        if broken.any():
            row, column = (int(i) for i in np.argwhere(broken)[0])
            raise InputError.parameter(
                name,
                where,
                "finite",
                f"{int(broken.sum())} NaN or infinite values, first in row {row}, column {column}",
                "Clean the data first.",
            )
    return features, targets


def shrunk(second: FloatArray, share: float) -> FloatArray:
    """Draw a matrix of second moments to the identity: (1 - share) S + share tr(S)/p I."""
    identity = np.eye(len(second)) * (np.trace(second) / len(second))
    return np.asarray((1 - share) * second + share * identity)


def shrinkage_share(folded: FoldedMoments, shrinkage: Shrinkage | str | float) -> float:
    """Share of the identity in [0, 1] by the name of how it is chosen, or as it is given."""
    if shrinkage == Shrinkage.HELD_OUT:
        return held_out_share(folded)
    if shrinkage == Shrinkage.LEDOIT_WOLF:
        return ledoit_wolf_share(folded.together())
    if shrinkage == Shrinkage.NONE:
        return 0.0
    if not isinstance(shrinkage, str) and 0 <= shrinkage <= 1:
        return float(shrinkage)
    wanted = f"one of {', '.join(Shrinkage)}, or a share in [0, 1]"
    raise InputError.parameter("shrinkage", "estimate_features", wanted, shrinkage)


def ledoit_wolf_share(moments: FeatureMoments) -> float:
    """Share of the identity that is best in squared error, for second moments about 0.

    Ledoit and Wolf (2004), with the mean known to be 0; needs the fourth moment.
    """
    p = len(moments.second)
    squares = float(np.sum(moments.second**2))
    distance = squares - float(np.trace(moments.second)) ** 2 / p
    spread = (moments.fourth - squares) / moments.n
    return 1.0 if distance <= 0 else float(np.clip(spread / distance, 0.0, 1.0))


def held_out_share(folded: FoldedMoments) -> float:
    """Share of the identity with the best Gaussian likelihood on held-out folds.

    One of `SHARES`, or that of Ledoit and Wolf.
    """
    candidates = list(SHARES)
    if np.isfinite(folded.folds[0].fourth):
        candidates.append(ledoit_wolf_share(folded.together()))
    scores = np.zeros(len(candidates))
    for training, held_out in folded.splits():
        values, vectors = np.linalg.eigh(training.second)
        found = np.einsum("ij,ij->j", vectors, held_out.second @ vectors)
        for i, share in enumerate(candidates):
            spectrum = floored((1 - share) * values + share * values.mean())
            scores[i] += held_out.n * float(np.sum(np.log(spectrum) + found / spectrum))
    return float(candidates[int(np.argmin(scores))])


def floored(eigenvalues: FloatArray) -> FloatArray:
    """Raise eigenvalues that are rounding to `FLOOR` times the largest."""
    return np.asarray(np.maximum(eigenvalues, FLOOR * eigenvalues.max()))


def _risk(second: FloatArray, cross: FloatArray, target: float, weights: ArrayLike) -> FloatArray:
    w = np.asarray(weights, dtype=np.float64)
    quadratic = np.einsum("...i,...i->...", w @ second, w)
    return np.asarray(target - 2 * (w @ cross) + quadratic)


def _added(sums: FeatureMoments, x: FloatArray, y: FloatArray) -> FeatureMoments:
    """Sums with more examples; the sums share their arrays, which grow in place."""
    second, cross, target = sums.second, sums.cross, sums.target
    second += x.T @ x
    cross += x.T @ y
    target += np.sum(y**2, axis=0)
    fourth = float(np.sum(np.einsum("ij,ij->i", x, x) ** 2))
    return FeatureMoments(sums.n + len(x), second, cross, target, sums.fourth + fourth)


def _average(parts: tuple[FeatureMoments, ...]) -> FeatureMoments:
    n = sum(part.n for part in parts)
    second, cross, target, fourth = (
        sum(part.n / n * getattr(part, name) for part in parts)
        for name in ("second", "cross", "target", "fourth")
    )
    return FeatureMoments(n, second, cross, target, fourth)
