"""Gram matrices of a layer's inputs, and the output errors that they tell."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import require
from prunable.numerics.reconstruction.scaled import Correlations

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]

CONSTANT = 1e-5  # share of an input's square below which its spread is rounding


@dataclass(frozen=True, eq=False)
class Gram:
    """Sums of products x_j x_k over the inputs of a layer, of some of them held out beside.

    Outputs of a grouped layer are equal parts, each with inputs of its own. Raises InputError if
    shapes do not fit, or there are no inputs.
    """

    products: FloatArray = field(repr=False)  # (groups, width, width), of all inputs
    count: int  # input vectors: examples times positions
    # (groups, width, width), of those of the inputs by which strengths are chosen; None if all fit
    held_out: FloatArray | None = field(default=None, repr=False)
    means: FloatArray | None = field(default=None, repr=False)  # (groups, width), of all inputs
    # the same of those held out, and their number; None, 0 if none are
    held_means: FloatArray | None = field(default=None, repr=False)
    held_count: int = 0
    shares: bool = False  # whether what is made of all products is kept; see `shared`

    def __post_init__(self) -> None:
        shape = self.products.shape
        square = len(shape) == 3 and shape[1] == shape[2] and 0 not in shape
        require(square, "products", "Gram", "an array (groups, width, width)", shape)
        require(self.count > 0, "count", "Gram", "at least 1", self.count)
        same = self.held_out is None or self.held_out.shape == shape
        require(same, "held_out", "Gram", f"an array of shape {shape}", "another")

    def centred(self) -> Gram:
        """These inputs less their means: what tells errors of outputs where a bias takes the mean.

        Inputs that are held out have means of their own. Raises InputError if no means are known.
        """
        require(self.means is not None, "means", "Gram", "known, to be taken off", None)
        assert self.means is not None
        held = self.held_out
        if held is not None and self.held_means is not None:
            held = held - self.held_count * _outer(self.held_means)
        products = self.products - self.count * _outer(self.means)
        # what is left of inputs that hardly vary is the rounding of their products
        spread = np.diagonal(products, axis1=1, axis2=2)
        varies = spread > CONSTANT * np.diagonal(self.products, axis1=1, axis2=2)
        both = varies[:, :, None] & varies[:, None, :]
        held = None if held is None else np.where(both, held, 0.0)
        return Gram(np.where(both, products, 0.0), self.count, held)

    def shared(self) -> Gram:
        """The same, for many plans of one layer: correlations and their factors are made once."""
        return replace(self, shares=True)

    @property
    def inputs(self) -> FloatArray | Correlations:
        """The products, or where they are shared their correlations."""
        return self._correlations if self.shares else self.products

    @cached_property
    def _correlations(self) -> Correlations:
        return Correlations.of(self.products)

    @property
    def fitted(self) -> FloatArray:
        """The products of the inputs that are not held out."""
        return self.products if self.held_out is None else self.products - self.held_out

    @property
    def rms(self) -> FloatArray:
        """Root mean squares of the inputs, (groups, width)."""
        diagonal = np.diagonal(self.products, axis1=1, axis2=2)
        return np.asarray(np.sqrt(np.maximum(diagonal, 0.0) / self.count))

    def fits(self, shape: tuple[int, int]) -> bool:
        """Whether these are inputs of a matrix (out, width)."""
        return self.products.shape[1] == shape[1] and shape[0] % len(self.products) == 0


def output_error(matrix: Matrix, changed: Matrix, products: FloatArray) -> float:
    """The relative l_2 error of the outputs, ||(w - w') x|| / ||w x||, biases aside.

    `matrix` and `changed` have the shape (out, width), `products` are those of a `Gram`. 0 if the
    outputs are 0 and stay so, infinite if they do not stay so.

    >>> output_error(np.array([[3.0, 4.0]]), np.array([[0.0, 4.0]]), np.eye(2)[None])
    0.6
    """
    scale = float(max(np.abs(matrix).max(), np.abs(changed).max())) or 1.0
    whole = matrix.astype(np.float64) / scale
    before = _squares(whole, products)
    after = _squares(whole - changed.astype(np.float64) / scale, products)
    if before <= 0:
        return 0.0 if after <= 0 else math.inf
    return math.sqrt(max(after, 0.0) / before)


def _outer(means: FloatArray) -> FloatArray:
    return np.asarray(means[:, :, None] * means[:, None, :])


def _squares(matrix: FloatArray, products: FloatArray) -> float:
    grouped = matrix.reshape(len(products), -1, matrix.shape[1])
    return float(np.sum((grouped @ products) * grouped))
