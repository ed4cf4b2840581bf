"""Parameters seen as oriented matrices, the only form in which strategies meet weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError

if TYPE_CHECKING:  # strategies import this module, and they know no torch
    import torch

Role = Literal["hidden", "output"]


@dataclass(frozen=True, eq=False)
class WeightView:
    """One parameter as a matrix.

    Attributes
    ----------
    name : str
        Name of the parameter in its model.
    matrix : ndarray, shape (out, in)
        The weights, float; read-only, and shared with the parameter where possible.
    layout : {"out_in"}
        Rows belong to outputs, as torch stores linear layers.
    role : {"hidden", "output"}
        Whether it is the model's last matrix.

    Raises
    ------
    InputError
        If `matrix` is empty, not 2-d, not of floating point, or not finite.
    """

    name: str
    matrix: NDArray[np.floating[Any]]
    layout: Literal["out_in"] = "out_in"
    role: Role = "hidden"

    def __post_init__(self) -> None:
        matrix = self.matrix.view()
        if matrix.ndim != 2 or matrix.size == 0 or matrix.dtype.kind != "f":
            raise InputError.parameter(
                self.name,
                "WeightView",
                "a non-empty float matrix",
                f"{matrix.dtype} of shape {matrix.shape}",
            )
        bad = matrix.size - np.count_nonzero(np.isfinite(matrix))
        if bad:
            raise InputError.parameter(
                self.name,
                "WeightView",
                "finite",
                f"{bad} NaN or infinite weights of {matrix.size}",
                "The training has probably diverged.",
            )
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)


def views_of(named_parameters: Iterable[tuple[str, torch.Tensor]]) -> tuple[WeightView, ...]:
    """See the weight matrices of a model.

    Parameters
    ----------
    named_parameters : iterable of (str, Tensor)
        Such as `model.named_parameters()`. Parameters of one dimension (biases, scales)
        are passed over.

    Returns
    -------
    tuple of WeightView
        In the given order. A convolution of shape (out, in, kh, kw) becomes a matrix of
        shape (out, in * kh * kw): one filter a row. The last matrix given has the role
        "output". Memory is shared for contiguous float32 and float64 parameters on the
        CPU; float16 and bfloat16 become float32, which is exact.

    Raises
    ------
    InputError
        If a parameter is empty, not of floating point, or holds NaN or infinity.
    """
    matrices = [(name, _matrix(name, p)) for name, p in named_parameters if p.ndim >= 2]
    last = len(matrices) - 1
    return tuple(
        WeightView(name, matrix, role="output" if i == last else "hidden")
        for i, (name, matrix) in enumerate(matrices)
    )


def _matrix(name: str, parameter: torch.Tensor) -> NDArray[np.floating[Any]]:
    if not parameter.is_floating_point() or parameter.numel() == 0:
        raise InputError.parameter(
            name,
            "views_of",
            "a non-empty floating-point tensor",
            f"{parameter.dtype} of shape {tuple(parameter.shape)}",
        )
    weights = parameter.detach().cpu()
    if weights.itemsize < 4:
        weights = weights.float()
    matrix: NDArray[np.floating[Any]] = weights.flatten(start_dim=1).numpy()
    return matrix
