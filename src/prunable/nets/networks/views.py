"""Parameters seen as oriented matrices, the only form in which strategies meet weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError

if TYPE_CHECKING:  # strategies import this module, and they know no torch
    import torch

Role = Literal["hidden", "output"]
Kind = Literal["dense", "convolution", "embedding", "attention", "recurrent"]

RECURRENT = re.compile(
    r"(^|[._/])(weight_[ih]h(_l\d+)?(_reverse)?|recurrent_kernel|lstm|gru|rnn)\b"
)
EMBEDDING = re.compile(r"(^|[._/])(\w*embed\w*|wte|wpe|token_type|shared)([._/]|$)", re.IGNORECASE)
ATTENTION = re.compile(
    r"(attn|attention|(^|[._/])(self|cross)_?att|q_proj|k_proj|v_proj|[._/]query|[._/]key|[._/]value)",
    re.IGNORECASE,
)
FUSED = re.compile(r"(in_proj_weight|qkv[._/]weight|query_key_value[._/]weight|to_qkv[._/]weight)$")
# GPT-2 stores its linear layers transposed.
FUSED_IN_OUT = re.compile(r"c_attn[._/]weight$")
OUTPUT = re.compile(
    r"(^|[._/])(output|classifier|lm_head|head|logits|fc_out|predictions)([._/](weight|dense))*$",
    re.IGNORECASE,
)
# Operators of ONNX that take one number a channel, however many dimensions it is stored with.
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Equal", "Quant"}
CONSUMERS: dict[str, Kind] = {
    "Gather": "embedding",
    "Embedding": "embedding",
    "LSTM": "recurrent",
    "GRU": "recurrent",
    "RNN": "recurrent",
    "Attention": "attention",
    "MultiHeadAttention": "attention",
}


@dataclass(frozen=True, eq=False)
class WeightView:
    """One parameter as a matrix.

    Raises InputError if `matrix` is empty, not 2-d, not of floating point, or not finite.
    """

    name: str
    # (out, in * taps) floats; read-only, and shared with the parameter where possible
    matrix: NDArray[np.floating[Any]]
    layout: Literal["out_in"] = "out_in"  # rows belong to outputs, as torch stores linear layers
    role: Role = "hidden"  # whether it is the model's last matrix
    kind: Kind = "dense"  # what the layer does with it
    # entries of a convolution's kernel: each input has so many adjacent columns. Kernels are the
    # rows of `matrix.reshape(-1, taps)`
    taps: int = 1
    shape: tuple[int, ...] = ()  # that of the parameter, or of the matrix if empty

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
        if not math.isfinite(float(matrix.max()) - float(matrix.min())):
            finite = np.isfinite(matrix)
            bad = matrix.size - np.count_nonzero(finite)
            if bad:
                flat = int(np.argmin(finite))
                shape = self.shape or matrix.shape
                index = tuple(map(int, np.unravel_index(flat, shape)))
                raise InputError.parameter(
                    self.name,
                    "WeightView",
                    "finite",
                    f"{bad} NaN or infinite weights of {matrix.size}, the first at {index}",
                    "The training has probably diverged.",
                )
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "shape", tuple(self.shape) or matrix.shape)


def views_of(named_parameters: Iterable[tuple[str, torch.Tensor]]) -> tuple[WeightView, ...]:
    """See the weight matrices of a model, in the given order; biases and scales are passed over.

    A convolution (out, in, kh, kw) becomes a matrix (out, in * kh * kw), one filter a row. The last
    matrix given has the role "output". Memory is shared for contiguous float32 and float64
    parameters on the CPU; float16 and bfloat16 become float32, which is exact. Fused parameters
    stay whole. Raises InputError if a parameter is empty, not of floating point, or holds NaN or
    infinity.
    """
    parameters = [(name, p) for name, p in named_parameters if p.ndim >= 2]
    last = len(parameters) - 1
    found = []
    for i, (name, parameter) in enumerate(parameters):
        if not parameter.is_floating_point() or parameter.numel() == 0:
            raise InputError.parameter(
                name,
                "views_of",
                "a non-empty floating-point tensor",
                f"{parameter.dtype} of shape {tuple(parameter.shape)}",
            )
        array = to_numpy(parameter)
        taps = math.prod(array.shape[2:])
        found.append(
            WeightView(
                name,
                array.reshape(len(array), -1),
                role="output" if i == last else "hidden",
                kind=kind_of(name, array.shape),
                taps=taps,
                shape=array.shape,
            )
        )
    return tuple(found)


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


def kind_of(name: str, shape: tuple[int, ...], consumer: str | None = None) -> Kind:
    """Tell what a layer does from its name and shape, and from what reads it.

    The consumer is an operator of ONNX or a module class of torch.
    """
    if consumer in CONSUMERS:
        return CONSUMERS[consumer]
    if len(shape) > 2 or (consumer or "").startswith("Conv"):
        return "convolution"
    if RECURRENT.search(name):
        return "recurrent"
    if EMBEDDING.search(name):
        return "embedding"
    return "attention" if ATTENTION.search(name) else "dense"


def see(
    name: str,
    array: NDArray[Any],
    *,
    consumer: str | None = None,
    transposed: bool = False,
    role: Role | None = None,
) -> tuple[WeightView, ...] | str:
    """See one stored tensor as matrices, or say why not.

    Raises InputError if weights are NaN or infinite. Query, key and value of a fused attention
    parameter come apart; a string is the reason to pass the tensor over.
    """
    if array.size == 0:
        return f"empty, of shape {array.shape}"
    if array.ndim == 0:
        return "a single number"
    if array.dtype.kind != "f":
        return f"{array.dtype}, no floating-point weights"
    if array.ndim == 1:
        return "one dimension: a bias or a scale"
    if consumer in ELEMENTWISE and max(array.shape) == array.size:
        return f"read by {consumer}: a bias or a scale"
    kind = kind_of(name, array.shape, consumer)
    if role is None:
        role = "output" if OUTPUT.search(name) else "hidden"
    if kind == "recurrent" and array.ndim == 3:
        array = array.reshape(-1, array.shape[-1])  # ONNX: one matrix a direction
    if array.ndim == 2 and (transposed or FUSED_IN_OUT.search(name)):
        array = array.T
    # kernels of one entry are dense layers that slide
    taps = math.prod(array.shape[2:])
    matrix = array.reshape(len(array), -1)
    shape = array.shape
    whole = WeightView(name, matrix, role=role, kind=kind, taps=taps, shape=shape)
    fused = FUSED.search(name) or FUSED_IN_OUT.search(name)
    if fused and len(matrix) == 3 * matrix.shape[1]:
        rows = len(matrix) // 3
        return tuple(
            WeightView(
                f"{name}[{part}]",
                matrix[i * rows : (i + 1) * rows],
                role=role,
                kind="attention",
                shape=(rows, matrix.shape[1]),
            )
            for i, part in enumerate(("query", "key", "value"))
        )
    return (whole,)
