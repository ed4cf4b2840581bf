"""Embeddings: whether each input's nearest neighbour among the others stays the nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import require
from prunable.forecast.estimators.checks import check_outputs, check_vary
from prunable.forecast.estimators.estimate import Estimate
from prunable.forecast.estimators.found import Found, Undecided
from prunable.numerics.arrays import FloatArray

WHERE = "forecast"


@dataclass(frozen=True, eq=False)
class EmbeddingNetwork(Undecided):
    """Embeddings (n, d); neighbours are nearest by cosine."""

    def found(self, pruned: ArrayLike) -> Found:
        """The share of inputs whose nearest neighbour stays; an accuracy is never claimed."""
        copy = check_outputs(pruned, "pruned", WHERE, shape=None)
        require(len(copy) == len(self.outputs), "pruned", WHERE, "of the same inputs", len(copy))
        before, after = nearest_two(self.outputs), nearest_two(copy)
        n = len(before)
        same = before[:, 0] == after[:, 0]
        # Jackknife: without input j those whose nearest it was, in either, look to their second.
        then = before[:, 1] == np.where(same, after[:, 1], after[:, 0])
        moved = np.bincount(before[:, 0], then.astype(float) - same, n)
        moved += np.bincount(after[:, 0], ~same & (before[:, 0] == after[:, 1]), n)
        left_out = (same.sum() - same + moved) / (n - 1)
        influence = (n - 1) * (left_out.mean() - left_out)
        return Found(None, 0.0, Estimate(float(same.mean()), influence))


def nearest_two(embeddings: FloatArray) -> NDArray[np.intp]:
    """The nearest and second nearest other input by cosine, shape (n, 2)."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(norms, 1e-300)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1, kind="stable")[:, :2]


def embedding_network(dense: ArrayLike, accuracy: float | None) -> EmbeddingNetwork:
    """Check embeddings; an accuracy is refused, as nothing links it to them."""
    outputs = check_outputs(dense, "dense", WHERE)
    check_vary(outputs, WHERE)
    require(
        accuracy is None,
        "accuracy",
        WHERE,
        "left out for embeddings",
        accuracy,
        "What stays of the neighbours is all that they tell.",
    )
    return EmbeddingNetwork(outputs)
