"""Second moments of a user's features and targets, by folds, and shrunk covariances.

Moments are averages over examples, so that features may come in batches and never lie in
memory together. They are kept by folds: what is estimated on all folds but one is judged on
that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError

FloatArray = NDArray[np.float64]

FOLDS = 5
# Shares of the identity that a held-out choice may take.
SHARES = (0.0, *(10.0 ** (k / 2) for k in range(-20, 1)))
# Eigenvalues below this times the largest are rounding.
FLOOR = 1e-10
AT_ONCE = 4096


class Shrinkage(StrEnum):
    """Ways to choose how far the covariance is drawn to a multiple of the identity."""

    HELD_OUT = "held-out"
    LEDOIT_WOLF = "ledoit-wolf"
    NONE = "none"


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """Averages over one set of examples, not centred.

    Attributes
    ----------
    n : int
        Examples.
    second : ndarray, shape (p, p)
        Average of x x^T.
    cross : ndarray, shape (p, c)
        Average of x y^T.
    target : ndarray, shape (c,)
        Average of y^2.
    fourth : float
        Average of ||x||^4.
    """

    n: int
    second: FloatArray
    cross: FloatArray
    target: FloatArray
    fourth: float

    def risk(self, weights: ArrayLike, target: int = 0) -> FloatArray:
        """Average of (y - x . w)^2 over the examples.

        Parameters
        ----------
        weights : array_like, shape (..., p)
        target : int
            Which of the c targets.

        Returns
        -------
        ndarray, shape (...)
        """
        w = np.asarray(weights, dtype=np.float64)
        quadratic = np.einsum("...i,...i->...", w @ self.second, w)
        return np.asarray(self.target[target] - 2 * (w @ self.cross[:, target]) + quadratic)

    def restrict(self, features: ArrayLike) -> FeatureMoments:
        """Keep some features; their fourth moment is not known then, and NaN."""
        kept = np.asarray(features)
        return FeatureMoments(
            self.n, self.second[np.ix_(kept, kept)], self.cross[kept], self.target, np.nan
        )


@dataclass(frozen=True, eq=False)
class FoldedMoments:
    """Moments of disjoint sets of examples of one kind.

    Attributes
    ----------
    folds : tuple of FeatureMoments
        At least two, none empty.
    """

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
    """Sum up features and targets in one pass.

    Parameters
    ----------
    batches : iterable of (array_like, array_like)
        Features, shape (m, p), and targets, shape (m,) or (m, c), of consecutive examples.
    folds : int
        Folds, at least 2; example i belongs to fold i modulo `folds`.

    Returns
    -------
    FoldedMoments
        Not centred.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, or there are fewer than two examples a fold.
    """
    if folds < 2:
        raise InputError.parameter("folds", "fold_moments", "at least 2", folds)
    sums: list[FeatureMoments] | None = None
    seen = 0
    for x, y in batches:
        features, targets = checked_examples(x, y, "fold_moments")
        shape = features.shape[1], targets.shape[1]
        if sums is None:
            sums = [_nothing(*shape) for _ in range(folds)]
        if shape != sums[0].cross.shape:
            raise InputError.parameter(
                "batches", "fold_moments", f"of {sums[0].cross.shape} features and targets", shape
            )
        for start in range(0, len(features), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            for k in range(folds):
                chosen = slice((k - seen - start) % folds, None, folds)
                sums[k] = _added(sums[k], features[part][chosen], targets[part][chosen])
        seen += len(features)
    if sums is None or seen < 2 * folds:
        raise InputError.parameter(
            "X", "fold_moments", f"at least {2 * folds} examples", f"{seen}", "Give more examples."
        )
    return FoldedMoments(
        tuple(
            FeatureMoments(s.n, s.second / s.n, s.cross / s.n, s.target / s.n, s.fourth / s.n)
            for s in sums
        )
    )


def checked_examples(x: ArrayLike, y: ArrayLike, where: str) -> tuple[FloatArray, FloatArray]:
    """Take features of shape (N, p) and targets of shape (N,) or (N, c) as float64 matrices.

    Raises
    ------
    InputError
        If shapes disagree, there are no features, or values are NaN, infinite or no numbers.
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


def ledoit_wolf_share(moments: FeatureMoments) -> float:
    """Share of the identity that is best in squared error, for second moments about 0.

    Parameters
    ----------
    moments : FeatureMoments
        With its fourth moment.

    Returns
    -------
    float
        In [0, 1].

    Notes
    -----
    Ledoit and Wolf (2004), with the mean known to be 0.
    """
    p = len(moments.second)
    squares = float(np.sum(moments.second**2))
    distance = squares - float(np.trace(moments.second)) ** 2 / p
    spread = (moments.fourth - squares) / moments.n
    return 1.0 if distance <= 0 else float(np.clip(spread / distance, 0.0, 1.0))


def held_out_share(folded: FoldedMoments) -> float:
    """Share of the identity with the best Gaussian likelihood on held-out folds.

    Parameters
    ----------
    folded : FoldedMoments

    Returns
    -------
    float
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


def _nothing(p: int, c: int) -> FeatureMoments:
    return FeatureMoments(0, np.zeros((p, p)), np.zeros((p, c)), np.zeros(c), 0.0)


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
    shares = [part.n / n for part in parts]
    first, *others = (
        (share * part.second, share * part.cross, share * part.target, share * part.fourth)
        for share, part in zip(shares, parts, strict=True)
    )
    second, cross, target, fourth = first
    for other in others:
        second, cross, target = second + other[0], cross + other[1], target + other[2]
        fourth += other[3]
    return FeatureMoments(n, second, cross, target, fourth)
