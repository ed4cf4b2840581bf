"""Facts of dense layers and of chains of them, from their matrices."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.certify.bounds.checks import check_numbers, check_positive
from prunable.certify.bounds.facts import FloatArray, LayerFacts, NetworkFacts, check_margins
from prunable.errors import require
from prunable.numerics.measure.spectrum import singular_values


def spectral_norm(matrix: NDArray[np.floating[Any]]) -> float:
    """Largest singular value, to a relative 1e-14; 0 of a zero matrix."""
    return float(singular_values(matrix)[-1])


def layer_facts(
    name: str,
    matrix: ArrayLike,
    pruned: ArrayLike | None = None,
    *,
    plain: ArrayLike | None = None,
    contraction: float | None = None,
) -> LayerFacts:
    """Measure a dense layer of shape (outputs, inputs), and what pruning did to it.

    Laws of the weights speak of those of the `plain` layer, if it has none of its biases.
    """
    a = check_matrix(name, matrix)
    b = a if pruned is None else check_matrix(f"pruned {name}", pruned)
    require(a.shape == b.shape, f"pruned {name}", "layer_facts", f"of shape {a.shape}", b.shape)
    mean, variance, kurtosis = moments(a if plain is None else np.asarray(plain))
    difference = b - a
    return LayerFacts(
        name=name,
        inputs=a.shape[1],
        outputs=a.shape[0],
        weights=a.size,
        kept=int(np.count_nonzero(a)),
        spectral=spectral_norm(a),
        frobenius=float(np.linalg.norm(a)),
        rows_21=float(np.linalg.norm(a, axis=1).sum()),
        columns_12=float(np.linalg.norm(np.abs(a).sum(axis=0))),
        max_abs=float(np.abs(a).max()),
        mean=mean,
        variance=variance,
        excess_kurtosis=kurtosis,
        matrix_shape=a.shape,
        change_spectral=spectral_norm(difference) if difference.any() else 0.0,
        change_frobenius=float(np.linalg.norm(difference)),
        pruned_kept=int(np.count_nonzero(b)),
        row_count=int(np.count_nonzero(b, axis=1).max()),
        column_count=int(np.count_nonzero(b, axis=0).max()),
        contraction=contraction,
    )


def moments(weights: FloatArray) -> tuple[float, float, float]:
    """Mean, variance about it, and excess kurtosis; the last is 0 for constant weights."""
    mean = float(weights.mean())
    squares = (weights - mean) ** 2
    variance = float(squares.mean())
    kurtosis = float((squares**2).mean()) / variance**2 - 3 if variance > 0 else 0.0
    return mean, variance, kurtosis


def log_path_norms(matrices: Sequence[FloatArray]) -> tuple[float, float]:
    """Sum over paths of products of |w| and of w^2, the largest over outputs, as logarithms.

    Matrices are of shape (outputs, inputs), in the order of application.
    """
    logs = []
    for power in (1, 2):
        vector, log_scale = np.ones(matrices[0].shape[1]), 0.0
        for matrix in matrices:
            vector = np.abs(matrix) ** power @ vector
            top = float(vector.max())
            if top == 0:
                return -math.inf, -math.inf
            vector, log_scale = vector / top, log_scale + math.log(top)
        logs.append(log_scale)
    return logs[0], logs[1]


def network_facts(
    matrices: Sequence[ArrayLike],
    margins: ArrayLike,
    inputs: ArrayLike,
    *,
    pruned: Sequence[ArrayLike] | None = None,
    names: Sequence[str] | None = None,
    output_norm: float = 0.0,
    contractions: Sequence[float] | None = None,
    input_bound: float | None = None,
    biases: Sequence[ArrayLike | None] | None = None,
    pruned_biases: Sequence[ArrayLike | None] | None = None,
    fold: bool = False,
) -> NetworkFacts:
    """Measure a chain of dense layers, in the order of application; see `NetworkFacts`.

    Parameters
    ----------
    inputs : (n,) or (n, features) array. Norms of the training inputs, or the inputs themselves.
    biases, pruned_biases : One a layer; those of the pruned network are the same if None.
    fold : Whether biases become a column that meets a constant input of 1, which makes bounds for
        networks without biases hold; else they are left out and an assumption says so.
    """
    where = "network_facts"
    require(len(matrices) > 0, "matrices", where, "one layer or more", "none")
    checked = check_margins(margins, where)
    norms, top = _inputs(inputs, where)
    same = norms.size == checked.size
    require(same, "inputs", where, f"{checked.size}, as margins", norms.size)
    labels = list(names) if names is not None else [f"layer {i + 1}" for i in range(len(matrices))]
    plain = [check_matrix(name, m) for name, m in zip(labels, matrices, strict=True)]
    for before, after, name in zip(plain[:-1], plain[1:], labels[1:], strict=True):
        require(
            after.shape[1] == before.shape[0],
            name,
            where,
            f"a matrix of {before.shape[0]} columns",
            f"shape {after.shape}",
            "Give the layers in the order of application, each as (outputs, inputs).",
        )
    cut = plain
    if pruned is not None:
        require(len(pruned) == len(plain), "pruned", where, f"{len(plain)} layers", len(pruned))
        cut = [check_matrix(f"pruned {name}", m) for name, m in zip(labels, pruned, strict=True)]
    arrays = plain
    added = list(biases) if biases is not None else [None] * len(plain)
    bias_count = sum(np.size(b) for b in added if b is not None)
    if fold and bias_count:
        arrays = fold_biases(plain, added)
        cut = fold_biases(cut, added if pruned_biases is None else pruned_biases)
        norms, top = np.sqrt(norms**2 + 1), max(top, 1.0)
        input_bound = None if input_bound is None else math.hypot(input_bound, 1.0)
        bias_count = 0
    layers = []
    for i, array in enumerate(arrays):
        gain = None if contractions is None else contractions[i]
        full = layer_facts(labels[i], array, cut[i], plain=plain[i], contraction=gain)
        if array.shape != plain[i].shape and i + 1 < len(arrays):
            # the row that hands on the constant is no parameter
            full = replace(
                full,
                weights=full.weights - array.shape[1],
                kept=full.kept - 1,
                pruned_kept=full.pruned_kept - 1,
            )
        layers.append(full)
    if input_bound is not None:
        check_positive(input_bound, "input_bound", where)
    path_l1, path_l2 = log_path_norms(arrays)
    return NetworkFacts(
        layers=tuple(layers),
        margins=checked,
        input_norm=float(norms.max()),
        input_rms=float(np.sqrt(np.mean(norms**2))),
        input_max=top,
        output_norm=output_norm,
        path_l1=path_l1,
        path_l2_squared=path_l2,
        input_bound=input_bound,
        biases=bias_count,
    )


def fold_biases(
    matrices: Sequence[FloatArray], biases: Sequence[ArrayLike | None]
) -> list[FloatArray]:
    """Turn biases into a last column, and hand the constant 1 on by a last row.

    Shapes become (outputs + 1, inputs + 1); the last layer has no extra row. On inputs (x, 1) a
    ReLU network of them gives the logits of the network with biases.
    """
    folded = []
    for i, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
        rows, columns = matrix.shape
        column = np.zeros(rows) if bias is None else np.asarray(bias, dtype=np.float64)
        fits = column.shape == (rows,) and bool(np.isfinite(column).all())
        shape = f"shape {column.shape}"
        require(fits, f"bias {i + 1}", "fold_biases", f"{rows} finite numbers", shape)
        wide = np.concatenate([matrix, column[:, None]], axis=1)
        if i + 1 < len(matrices):
            one = np.zeros((1, columns + 1))
            one[0, -1] = 1.0
            wide = np.concatenate([wide, one])
        folded.append(wide)
    return folded


def check_matrix(name: str, matrix: ArrayLike) -> FloatArray:
    """Check a layer's weights: a non-empty matrix of finite numbers."""
    array = np.asarray(matrix, dtype=np.float64)
    full = array.ndim == 2 and array.size > 0
    require(full, name, "bounds", "a non-empty matrix", f"shape {array.shape}")
    check_numbers(array, name, "bounds", "weights ", "The training has probably diverged.")
    return array


def _inputs(inputs: ArrayLike, where: str) -> tuple[FloatArray, float]:
    array = np.asarray(inputs, dtype=np.float64)
    full = array.size > 0 and array.ndim in (1, 2)
    require(full, "inputs", where, "norms or vectors", f"shape {array.shape}")
    finite = bool(np.isfinite(array).all())
    require(finite, "inputs", where, "finite", "NaN or infinite values")
    if array.ndim == 2:
        return np.linalg.norm(array, axis=1), float(np.abs(array).max())
    least = float(array.min())
    require(least >= 0, "inputs", where, "norms, >= 0", least)
    # an entry is at most the norm
    return array, float(array.max())
