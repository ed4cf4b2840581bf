"""Parameters seen as oriented matrices, the only form in which strategies meet weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, require
from prunable.nets.networks import roles
from prunable.nets.networks.file_roles import Known, parts_of
from prunable.nets.networks.roles import Kind, Part, Role
from prunable.numerics.parallel import each
from prunable.numerics.reconstruction.gram import Gram
from prunable.numerics.weights.lamp import lamp_scores
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.magnitudes import Magnitudes

if TYPE_CHECKING:  # strategies import this module, and they know no torch
    import torch


@dataclass(frozen=True, eq=False)
class Oriented:
    """A parameter as a matrix of whatever it is stored in; the fields are those of `WeightView`."""

    name: str
    matrix: NDArray[Any]
    role: Role = "hidden"
    kind: Kind = "dense"
    taps: int = 1
    shape: tuple[int, ...] = ()
    transposed: bool = False
    groups: int = 1


@dataclass(frozen=True, eq=False)
class WeightView:
    """One parameter as a matrix.

    Raises InputError if `matrix` is empty, not 2-d, not of floating point, or not finite.
    """

    name: str
    # (out, in * taps) floats; read-only, and shared with the parameter where possible
    matrix: NDArray[np.floating[Any]]
    layout: Literal["out_in"] = "out_in"  # rows belong to outputs, as torch stores linear layers
    role: Role = "hidden"  # whether its units are outputs of the network
    kind: Kind = "dense"  # what the layer does with it
    # entries of a convolution's kernel: each input has so many adjacent columns. Kernels are the
    # rows of `matrix.reshape(-1, taps)`
    taps: int = 1
    shape: tuple[int, ...] = ()  # (out, in, ...) of the parameter, or of the matrix if empty
    # stored (in, out / groups, ...), as layers that are transposed are; see `out_in`
    transposed: bool = False
    groups: int = 1  # of what is transposed
    gram: Gram | None = None  # of what its rows are multiplied by, where inputs were run
    # (groups, inputs * taps): root mean squares of the same, where there is no room for products
    rms: NDArray[np.float64] | None = None
    means: NDArray[np.float64] | None = None  # (groups, inputs * taps), beside `rms`
    top: float = field(init=False, repr=False)  # largest magnitude

    def __post_init__(self) -> None:
        matrix = self.matrix.view()
        if matrix.ndim != 2 or matrix.size == 0 or matrix.dtype.kind != "f":
            raise InputError.parameter(
                self.name,
                "WeightView",
                "a non-empty float matrix",
                f"{matrix.dtype} of shape {matrix.shape}",
            )
        if self.taps < 1 or matrix.shape[1] % self.taps:
            raise InputError.parameter(
                "taps", f"WeightView {self.name}", f"a divisor of {matrix.shape[1]}", self.taps
            )
        # extremes hand on a NaN, and need no temporary array
        top = max(float(matrix.max()), -float(matrix.min()))
        if not math.isfinite(top):
            finite = np.isfinite(matrix)
            bad = matrix.size - np.count_nonzero(finite)
            index = tuple(map(int, np.unravel_index(np.argmin(finite), self.shape or matrix.shape)))
            raise InputError.parameter(
                self.name,
                "WeightView",
                "finite",
                f"{bad} NaN or infinite weights of {matrix.size}, the first at {index}",
                "The training has probably diverged.",
            )
        object.__setattr__(self, "top", top)
        if self.gram is not None:
            wanted = "inputs of a matrix"
            fits = self.gram.fits(matrix.shape)
            got = f"{self.gram.products.shape} for {matrix.shape}"
            require(fits, "gram", f"WeightView {self.name}", wanted, got)
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "shape", tuple(self.shape) or matrix.shape)

    @property
    def seen(self) -> bool:
        """Whether inputs were run that reach it."""
        return self.gram is not None or self.rms is not None

    @property
    def magnitudes(self) -> Magnitudes:
        """All weights, checked before."""
        exact = self.matrix.dtype in (np.float32, np.float64)
        return Magnitudes(self.matrix.ravel(), self.top) if exact else Magnitudes.of(self.matrix)

    @cached_property
    def lamp(self) -> NDArray[np.float64]:
        """LAMP's scores of all weights, from the smallest magnitude, kept for other shares."""
        return lamp_scores(Levels.counted(self.matrix))

    @property
    def weighted(self) -> NDArray[np.float64]:
        """Weights times the root mean squares of their inputs; as they are if those are unknown."""
        matrix = self.matrix.astype(np.float64)
        rms = self.rms if self.gram is None else self.gram.rms
        return matrix if rms is None else matrix * np.repeat(rms, len(matrix) // len(rms), axis=0)


def views_of(
    named_parameters: Iterable[tuple[str, torch.Tensor]], parts: Mapping[str, Part] | None = None
) -> tuple[WeightView, ...]:
    """See the weight matrices of a model, in the given order; biases and scales are passed over.

    A convolution (out, in, kh, kw) becomes a matrix (out, in * kh * kw), one filter a row. `parts`
    says what each is; without it names and shapes do, and where these leave it open the order, the
    last being the output. Memory is shared for contiguous float32 and float64 parameters on the CPU
    that are stored with outputs first; float16 and bfloat16 become float32, which is exact. Fused
    parameters stay whole. Raises InputError if a parameter is empty, not of floating point, or
    holds NaN or infinity.
    """
    named = dict(named_parameters)
    if parts is None:
        shapes = {name: tuple(p.shape) for name, p in named.items()}
        parts = parts_of(shapes, Known(ordered=True, weights=True))
    matrices = {name: parameter for name, parameter in named.items() if parameter.ndim >= 2}
    for name, parameter in matrices.items():
        if not parameter.is_floating_point() or parameter.numel() == 0:
            raise InputError.parameter(
                name,
                "views_of",
                "a non-empty floating-point tensor",
                f"{parameter.dtype} of shape {tuple(parameter.shape)}",
            )
    return tuple(each(lambda name: view_of(parts[name], to_numpy(matrices[name])), matrices))


def view_of(part: Part, array: NDArray[Any]) -> WeightView:
    """See a parameter as the matrix that it is."""
    return WeightView(**vars(_oriented(part, array.reshape(part.shape or array.shape))))


def _oriented(part: Part, array: NDArray[Any]) -> Oriented:
    # kernels of one entry are dense layers that slide; many matrices in one are no kernels
    taps = 1 if part.kind == "dense" else math.prod(array.shape[2:])
    matrix = out_in(array, part.transposed, part.groups)
    shape = array.shape
    if part.transposed:
        shape = (part.n_out, len(array) // part.groups, *array.shape[2:])
    return Oriented(
        part.name, matrix, part.role, part.kind, taps, shape, part.transposed, part.groups
    )


def out_in(array: Any, transposed: bool = False, groups: int = 1) -> Any:
    """The matrix (out, in * taps) of a parameter, an array or a tensor, as it is stored."""
    if not transposed:
        return array.reshape(len(array), -1)
    inputs, outputs = array.shape[:2]
    blocks = array.reshape(groups, inputs // groups, outputs, -1).swapaxes(1, 2)
    return blocks.reshape(groups * outputs, -1)


def as_stored(
    matrix: Any, shape: tuple[int, ...], transposed: bool = False, groups: int = 1
) -> Any:
    """A matrix (out, in * taps) in the shape that the parameter is stored in; undoes `out_in`."""
    if not transposed:
        return matrix.reshape(shape)
    blocks = matrix.reshape(groups, shape[1], shape[0] // groups, -1).swapaxes(1, 2)
    return blocks.reshape(shape)


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """See a tensor as an array; what NumPy does not know becomes float32, exactly.

    Memory is shared with float32 and float64 tensors on the CPU. Raises InputError on the meta
    device, where there are no numbers.
    """
    if tensor.is_meta:
        raise InputError(
            f"A weight of shape {tuple(tensor.shape)} is on the meta device, which holds no "
            "numbers. Load the model's weights first."
        )
    weights = tensor.detach().cpu()
    if weights.is_floating_point() and weights.itemsize < 4:
        weights = weights.float()
    array: NDArray[Any] = weights.numpy()
    return array


def see(part: Part, array: NDArray[Any]) -> tuple[WeightView, ...] | str:
    """See one stored tensor as matrices, or say why not; see `oriented`.

    Raises InputError if weights are NaN or infinite. A string is the reason to pass the tensor
    over.
    """
    if part.reason is not None:
        return part.reason
    if array.dtype.kind != "f":
        return f"{array.dtype}, no floating-point weights"
    return tuple(WeightView(**vars(found)) for found in oriented(part, array))


def oriented(part: Part, array: NDArray[Any]) -> tuple[Oriented, ...]:
    """The matrices that a stored tensor, or its bit patterns, stand for.

    Query, key and value of a fused attention parameter come apart, and so do experts.
    """
    if part.stack is not None:
        matrices = array if part.stack == "out_in" else array.swapaxes(1, 2)
        return tuple(
            Oriented(f"{part.name}[{i}]", matrix, shape=matrix.shape)
            for i, matrix in enumerate(matrices)
        )
    if part.kind == "recurrent" and array.ndim == 3:
        array = array.reshape(-1, array.shape[-1])  # ONNX: one matrix a direction
    whole = _oriented(part, array)
    rows, width = whole.matrix.shape
    if not roles.FUSED.search(part.name) or rows != 3 * width:
        return (whole,)
    return tuple(
        Oriented(
            f"{part.name}[{which}]",
            whole.matrix[i * width : (i + 1) * width],
            role=part.role,
            kind="attention",
            shape=(width, width),
        )
        for i, which in enumerate(("query", "key", "value"))
    )
