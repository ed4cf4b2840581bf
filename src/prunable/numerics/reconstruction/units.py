"""What the outputs of a layer lose with whole groups of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.reconstruction.scaled import Scaled

FloatArray = NDArray[np.float64]


def losses_of_units(
    matrix: NDArray[np.floating[Any]],
    products: FloatArray,
    columns: NDArray[np.int64],
    n_units: int,
    *,
    damping: float | None,
    where: str = "losses_of_units",
) -> FloatArray:
    """The relative squared error of the outputs of a layer without each of its units, (n_units,).

    `columns`, (groups, width), name the unit of each input, -1 of none; `products` are those of a
    `Gram`. With a damping all other weights make up for the unit, as in `surgery`: for its columns
    S the loss is tr(W_S ((H^-1)_SS)^-1 W_S^T); without one it is tr(W_S H_SS W_S^T).

    Hassibi and Stork (1993), for groups of weights as in Kurtic et al. (2022), equation 3.

    >>> columns = np.array([[0, 1]])
    >>> losses_of_units(np.array([[3.0, 4.0]]), np.eye(2)[None], columns, 2, damping=None)
    array([0.36, 0.64])
    """
    scaled = Scaled.of(matrix, products)
    correlations = scaled.inputs.values
    total = float(np.sum((scaled.weights @ correlations) * scaled.weights))
    found = np.zeros(n_units)
    if total <= 0:
        return found
    inverses = None if damping is None else scaled.inputs.damped(damping, where).inverses
    for group, own in enumerate(columns):
        order = np.argsort(own, kind="stable")
        units, starts = np.unique(own[order], return_index=True)
        for unit, places in zip(units, np.split(order, starts[1:]), strict=True):
            if unit < 0:
                continue
            rows, block = scaled.weights[group][:, places], np.ix_(places, places)
            inner = (
                correlations[group][block]
                if inverses is None
                else np.linalg.inv(inverses[group][block])
            )
            found[unit] += float(np.sum((rows @ inner) * rows)) / total
    return found
