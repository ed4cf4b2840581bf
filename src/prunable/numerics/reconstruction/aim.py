"""What the outputs of a layer should be, and least-squares weights towards that."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from prunable.errors import require
from prunable.numerics.reconstruction.gram import Gram
from prunable.numerics.reconstruction.refit import STRENGTHS, USUAL
from prunable.numerics.reconstruction.scaled import Correlations, Scaled, usable

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over examples of what outputs should be, y, and of inputs x, beside their Gram matrix.

    Once layers before have been pruned, x are what they send, and y what the dense layer made of
    what the dense network sent.
    """

    cross: FloatArray = field(repr=False)  # (out, width): sums of y x^T
    squares: float  # of all y
    means: FloatArray = field(repr=False)  # (out,), of y
    count: int

    def __sub__(self, part: Moments) -> Moments:
        """Those of the other examples."""
        count = self.count - part.count
        means = (self.means * self.count - part.means * part.count) / count
        return Moments(self.cross - part.cross, self.squares - part.squares, means, count)

    def centred(self, inputs: FloatArray) -> Moments:
        """Those about means, with the means (groups, width) of the inputs."""
        rows = np.repeat(inputs, len(self.means) // len(inputs), axis=0)
        cross = self.cross - self.count * self.means[:, None] * rows
        squares = self.squares - self.count * float(np.square(self.means).sum())
        return replace(self, cross=cross, squares=squares, means=np.zeros_like(self.means))


@dataclass(frozen=True, eq=False)
class Aim:
    """Outputs that a layer should have, on inputs of which the Gram matrix is known."""

    inputs: Gram
    whole: Moments  # of all inputs
    held: Moments | None = None  # of those held out

    @property
    def fitted(self) -> Moments:
        """Of the inputs that are not held out."""
        return self.whole if self.held is None else self.whole - self.held

    def centred(self) -> Aim:
        """The same about means, for a layer whose bias takes the mean.

        Examples that are held out have means of their own.
        """
        gram = self.inputs
        require(gram.means is not None, "means", "Aim", "known, to be taken off", None)
        assert gram.means is not None
        held = self.held
        if held is not None and gram.held_means is not None:
            held = held.centred(gram.held_means)
        return Aim(gram.centred(), self.whole.centred(gram.means), held)

    def error(self, matrix: Matrix, held: bool = False) -> float:
        """The relative l_2 error ||y - w x|| / ||y|| of a matrix (out, width).

        Of inputs held out if `held`; 0 if all y are 0 and so are the outputs, else infinite.
        """
        found = self.held if held else self.whole
        products = self.inputs.held_out if held else self.inputs.products
        assert found is not None
        assert products is not None
        grouped = matrix.astype(np.float64).reshape(len(products), -1, matrix.shape[1])
        own = float(np.sum((grouped @ products) * grouped))
        square = own - 2 * float(np.sum(found.cross * matrix)) + found.squares
        if found.squares <= 0:
            return 0.0 if own <= 0 else math.inf
        return math.sqrt(max(square, 0.0) / found.squares)

    def best(self, matrix: Matrix, where: str = "best") -> FloatArray:
        """The weights of a whole layer whose outputs are nearest, (out, width).

        They minimise ||y - w' x||^2 + ridge sum_j (w_j - w'_j)^2 ||x_j||^2 with the ridge that does
        best on the inputs held out; weights that are as they should be stay. For any mask the
        least-squares weights towards these are those towards y, so that what prunes a layer by its
        Gram matrix prunes this matrix in its stead.
        """
        ridge, products = USUAL, self.inputs.products
        whole = Correlations.of(products)
        if self.held is not None:
            gram = self.inputs.fitted
            inputs = Correlations.of(gram)
            ridges = usable(STRENGTHS, inputs, whole)
            tried = [_towards(matrix, gram, inputs, self.fitted, s, where) for s in ridges]
            ridge = ridges[int(np.argmin([self.error(one, held=True) for one in tried]))]
        return _towards(matrix, products, whole, self.whole, ridge, where)


def _towards(
    matrix: Matrix,
    products: FloatArray,
    inputs: Correlations,
    wanted: Moments,
    ridge: float,
    where: str,
) -> FloatArray:
    scaled = Scaled.of(matrix, inputs)
    groups = len(products)
    plain = matrix.astype(np.float64).reshape(groups, -1, matrix.shape[1])
    pull = wanted.cross.reshape(plain.shape) - plain @ products
    pull = np.where(inputs.dead, 0.0, pull / inputs.norms / scaled.scale)
    moved = [
        cho_solve(cho_factor(one, lower=True, check_finite=False), rows.T, check_finite=False).T
        for one, rows in zip(inputs.damped(ridge, where).values, pull, strict=True)
    ]
    return scaled.back(scaled.weights + moved, np.ones(matrix.shape, dtype=np.bool_))
