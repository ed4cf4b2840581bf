"""Weights and inputs in units in which every input has the mean square 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

from prunable.errors import InputError

FloatArray = NDArray[np.float64]

SINGULAR = 3e-7  # smallest eigenvalue of correlations that float32 products tell from 0
NEGATIVE = 1e-5  # how far below 0 rounding usually leaves eigenvalues at most


@dataclass(frozen=True, eq=False)
class Correlations:
    """Correlations of inputs about 0, and their norms: what all strengths of damping share.

    Damping by a share of each input's own square shrinks correlations and nothing else, so that of
    uncorrelated inputs it changes no order and no weight.
    """

    values: FloatArray = field(repr=False)  # (groups, width, width), 1 on the diagonal
    norms: FloatArray = field(repr=False)  # (groups, 1, width); 1 of inputs that are always 0
    dead: NDArray[np.bool_] = field(repr=False)  # (groups, 1, width): those
    _last: dict[float, Damped] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, products: FloatArray | Correlations) -> Correlations:
        """Scale the products of inputs, (groups, width, width)."""
        if isinstance(products, Correlations):
            return products
        squares = np.diagonal(products, axis1=1, axis2=2)[:, None, :]
        # rounding of float32 products may leave a trifle below 0
        dead = squares <= 0
        norms = np.sqrt(np.where(dead, 1.0, squares))
        values = products / (norms * norms.swapaxes(1, 2))
        values = np.where(dead | dead.swapaxes(1, 2), 0.0, values)
        index = np.arange(products.shape[1])
        values[:, index, index] = 1.0
        return cls(values, norms, dead)

    @cached_property
    def lowest(self) -> float:
        """The smallest eigenvalue of all groups."""
        return float(np.linalg.eigvalsh(self.values)[..., 0].min())

    @cached_property
    def _usual(self) -> bool:
        """Whether no eigenvalue is below -`NEGATIVE`: found in a fifth of the smallest's time."""
        try:
            np.linalg.cholesky(self.values + NEGATIVE * np.eye(self.values.shape[1]))
        except np.linalg.LinAlgError:
            return False
        return True

    def above(self, level: float, damping: float) -> bool:
        """Whether all eigenvalues are, once they are raised by a damping."""
        if damping - NEGATIVE > level and self._usual:
            return True
        return self.lowest + damping > level

    def determined(self, damping: float) -> bool:
        """Whether weights are determined at a damping, as far as the products are exact."""
        return self.above(SINGULAR, damping)

    def damped(self, damping: float, where: str) -> Damped:
        """The correlations with their diagonal raised by a share; InputError if it is too small.

        The last ones are kept, for what several ways to prune make of them.
        """
        if damping in self._last:
            return self._last[damping]
        if not self.determined(damping):
            raise InputError(
                f"The inputs of `{where}` do not determine its {self.values.shape[1]} weights a "
                f"row at damping {damping:g}. Give more inputs, or a larger damping."
            )
        self._last.clear()
        self._last[damping] = Damped(self.values + damping * np.eye(self.values.shape[1]))
        return self._last[damping]


@dataclass(frozen=True, eq=False)
class Damped:
    """Damped correlations, and what is made of them once."""

    values: FloatArray = field(repr=False)  # (groups, width, width)

    @cached_property
    def inverses(self) -> FloatArray:
        """Their inverses."""
        return np.asarray(np.linalg.inv(self.values))

    @cached_property
    def inverse_roots(self) -> FloatArray:
        """Upper triangular U with U^T U the inverses."""
        backwards = np.linalg.cholesky(self.values[:, ::-1, ::-1])
        # a sixth of the time of a general inverse
        return np.stack([dtrtri(root)[0] for root in backwards[:, ::-1, ::-1]])

    @cached_property
    def single(self) -> NDArray[np.float32]:
        """Themselves in single precision."""
        return self.values.astype(np.float32)


def usable(strengths: Sequence[float], *inputs: Correlations) -> list[float]:
    """Those dampings at which all inputs determine weights; where none does, one that is enough."""
    found = [s for s in strengths if all(one.determined(s) for one in inputs)]
    return found or [max(strengths) - min(0.0, *(one.lowest for one in inputs))]


@dataclass(frozen=True, eq=False)
class Scaled:
    """A matrix (out, width) times the norms of its inputs, and their correlations."""

    weights: FloatArray  # (groups, rows, width), times the inputs' norms
    inputs: Correlations
    scale: float  # weights were divided by it
    original: NDArray[np.floating[Any]]

    @classmethod
    def of(cls, matrix: NDArray[np.floating[Any]], products: FloatArray | Correlations) -> Scaled:
        """Scale a matrix by the products of its inputs, (groups, width, width)."""
        inputs = Correlations.of(products)
        scale = float(np.abs(matrix).max()) or 1.0
        weights = (matrix.astype(np.float64) / scale).reshape(
            len(inputs.norms), -1, matrix.shape[1]
        )
        weights = np.where(inputs.dead, 0.0, weights * inputs.norms)
        return cls(weights, inputs, scale, matrix)

    def back(self, weights: FloatArray, kept: NDArray[np.bool_]) -> FloatArray:
        """Scaled weights (groups, rows, width) as a matrix (out, width), 0 where not kept.

        Kept weights of inputs that are always 0 stay what they were.
        """
        original = self.original.astype(np.float64)
        found = (weights / self.inputs.norms * self.scale).reshape(original.shape)
        dead = np.broadcast_to(self.inputs.dead, weights.shape).reshape(original.shape)
        return np.where(kept, np.where(dead, original, found), 0.0)
