"""Architectures that a certificate's header can name, and their networks.

An architecture is a chain of convolutions, max-poolings and dense layers, written like
``c5s2-8,m2,c3-12,m2,d``: a 5x5 convolution of stride 2 to 8 channels, 2x2 max-pooling, a 3x3
convolution to 12 channels, 2x2 max-pooling, a dense layer to the classes. ``d300,d100,d`` is
LeNet-300-100. Every layer but the last ends in a ReLU.

With `normalised`, the output of every hidden layer is divided by its root mean square over all
units of one example before the bias is added. That has no parameters, and makes the scale of
the weights irrelevant, so that integers alone describe them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import torch
from torch.nn import functional

from prunable.errors import InputError, UnsupportedModelError

EPSILON = 1e-8  # of the mean square; part of the format
_PICTURE_AXES = 4
_PATTERN = re.compile(r"c(\d+)(?:s(\d+))?-(\d+)|m(\d+)|d(\d*)")
NAMES = {
    "lenet-300-100": "d300,d100,d",
    "tiny-conv": "c5s2-8,m2,c3-12,m2,d",
    "small-conv": "c5s2-8,m2,c3-16,m2,d",
}


@dataclass(frozen=True)
class Op:
    """One step of an architecture.

    Attributes
    ----------
    kind : {"conv", "pool", "dense"}
    units : int
        Output channels or units; 0 for a pooling.
    size, stride : int
        Side of the window, and its step; a convolution pads size // 2 zeros on every side.
    """

    kind: Literal["conv", "pool", "dense"]
    units: int = 0
    size: int = 1
    stride: int = 1

    def output(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(channels, height, width) that leave the step, of those that enter it."""
        if self.kind == "dense":
            return self.units, 1, 1
        pad = 2 * (self.size // 2) if self.kind == "conv" else 0
        height, width = ((side + pad - self.size) // self.stride + 1 for side in shape[1:])
        return self.units or shape[0], height, width

    def weights(self, shape: tuple[int, int, int]) -> tuple[int, int, int, int]:
        """Shape (out, in, height, width) of the weights on inputs of a shape."""
        if self.kind == "dense":
            return self.units, *shape
        return self.units, shape[0], self.size, self.size


@dataclass(frozen=True)
class Architecture:
    """A chain of layers on inputs of one shape.

    Attributes
    ----------
    input_shape : tuple of int
        (channels, height, width); a series or a vector is (1, 1, features).
    classes : int
        Units of the last layer, at least 2.
    ops : tuple of Op
        The last is dense.
    normalised : bool
        See the module.

    Raises
    ------
    InputError
        If the chain is empty, does not end in a dense layer, or leaves no picture.
    """

    input_shape: tuple[int, int, int]
    classes: int
    ops: tuple[Op, ...]
    normalised: bool = True

    def __post_init__(self) -> None:
        if min(self.input_shape) < 1 or self.classes < 2:
            shown = f"inputs {self.input_shape}, {self.classes} classes"
            raise InputError.parameter("input_shape", "Architecture", "of positive sides", shown)
        last = self.ops[-1] if self.ops else None
        if last is None or last.kind != "dense" or last.units != self.classes:
            raise InputError.parameter(
                "ops", "Architecture", f"a chain ending in {self.classes} dense units", self.text
            )
        for (channels, height, width), op in self.inputs():
            if min(channels, height, width, op.size, op.stride) < 1:
                raise InputError.parameter(
                    "ops",
                    "Architecture",
                    "a chain that leaves pictures of positive sides",
                    self.text,
                    "Drop a pooling or a stride.",
                )

    @classmethod
    def parse(
        cls, text: str, input_shape: Sequence[int], classes: int, *, normalised: bool = True
    ) -> Architecture:
        """Read an architecture from its name or its text.

        Raises
        ------
        InputError
            If a step is not understood; says which.
        """
        ops: list[Op] = []
        for step in NAMES.get(text, text).split(","):
            match = _PATTERN.fullmatch(step.strip())
            if match is None:
                raise InputError.parameter(
                    "net",
                    "Architecture",
                    f"one of {', '.join(NAMES)} or a chain like c5s2-8,m2,d",
                    repr(text),
                    f"The step {step!r} is not understood.",
                )
            size, stride, units, pool, dense = match.groups()
            if pool:
                ops.append(Op("pool", 0, int(pool), int(pool)))
            elif units:
                ops.append(Op("conv", int(units), int(size), int(stride or 1)))
            else:
                ops.append(Op("dense", int(dense) if dense else classes))
        channels, height, width = input_shape
        return cls((channels, height, width), classes, tuple(ops), normalised)

    @property
    def text(self) -> str:
        """The chain as text; the last layer without its number."""
        steps = []
        for place, op in enumerate(self.ops, start=1):
            if op.kind == "pool":
                steps.append(f"m{op.size}")
            elif op.kind == "conv":
                stride = f"s{op.stride}" if op.stride > 1 else ""
                steps.append(f"c{op.size}{stride}-{op.units}")
            else:
                steps.append("d" if place == len(self.ops) else f"d{op.units}")
        return ",".join(steps)

    def inputs(self) -> Iterator[tuple[tuple[int, int, int], Op]]:
        """Every step with the (channels, height, width) that enters it."""
        shape = self.input_shape
        for op in self.ops:
            yield shape, op
            shape = op.output(shape)

    @property
    def shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shape (out, in, height, width) of every layer with weights, input first."""
        return tuple(op.weights(shape) for shape, op in self.inputs() if op.kind != "pool")

    @property
    def n_weights(self) -> int:
        """Weights without biases."""
        return sum(a * b * c * d for a, b, c, d in self.shapes)


Weights = Sequence[torch.Tensor]


def forward(
    architecture: Architecture, x: torch.Tensor, weights: Weights, biases: Weights
) -> torch.Tensor:
    """Logits of a network given by its tensors.

    Parameters
    ----------
    architecture : Architecture
    x : Tensor, shape (batch, channels, height, width)
    weights : sequence of Tensor
        Of `architecture.shapes`.
    biases : sequence of Tensor, shape (out,)

    Returns
    -------
    Tensor, shape (batch, classes)
    """
    layer, last = 0, len(weights) - 1
    pooled = False
    for op, following in zip_longest(architecture.ops, architecture.ops[1:]):
        if op.kind == "pool":
            x = x if pooled else functional.max_pool2d(x, op.size)
            pooled = False
            continue
        weight, bias = weights[layer], biases[layer][:, None, None]
        if op.kind == "dense":
            x = functional.linear(x.flatten(1), weight.flatten(1))[:, :, None, None]
        else:
            x = functional.conv2d(x, weight, None, op.stride, op.size // 2)
        if layer < last:
            scale = x.square().mean((1, 2, 3), keepdim=True).add(EPSILON).rsqrt()
            if following.kind == "pool":
                # what follows up to the ReLU is increasing, so the maximum may go first
                x, pooled = functional.max_pool2d(x, following.size), True
            if architecture.normalised:
                x = x * scale
            x = torch.relu(x + bias)
        else:
            x = x + bias
        layer += 1
    return x.flatten(1)


def chain_architecture(
    tensors: dict[str, torch.Tensor], input_shape: Sequence[int]
) -> tuple[Architecture, list[torch.Tensor], list[torch.Tensor]]:
    """Recognise a plain chain of dense layers with ReLU in a checkpoint.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Matrices (out, in), named in their order, each perhaps with a bias (out,).
    input_shape : sequence of int
        (channels, height, width) of the data.

    Returns
    -------
    architecture, weights, biases
        Weights of `architecture.shapes`; biases of zeros where the file has none.

    Raises
    ------
    UnsupportedModelError
        If the tensors are no such chain; says which one.
    """
    features = input_shape[0] * input_shape[1] * input_shape[2]
    modules: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        parts = modules.setdefault(name.rpartition(".")[0] or name, {})
        if tensor.ndim not in (1, 2) or tensor.ndim in parts:
            raise UnsupportedModelError(
                "`certify` knows chains of dense layers and networks of `tools/certify_study.py`; "
                f"{name} of shape {tuple(tensor.shape)} fits neither."
            )
        parts[tensor.ndim] = tensor
    matrices: list[torch.Tensor] = []
    biases: list[torch.Tensor] = []
    width = features
    # "10.weight" is behind "2.weight", whatever the file's order
    for name in sorted(modules, key=_numbers_as_numbers):
        matrix, bias = modules[name].get(2), modules[name].get(1)
        fits = matrix is not None and matrix.shape[1] == width
        if matrix is None or not fits or (bias is not None and len(bias) != len(matrix)):
            shapes = [tuple(tensor.shape) for tensor in modules[name].values()]
            raise UnsupportedModelError(
                f"`certify` needs a chain of dense layers on {features} inputs; {name} with "
                f"tensors of shapes {shapes} follows {width} units."
            )
        width = len(matrix)
        matrices.append(matrix)
        biases.append(torch.zeros(width, dtype=matrix.dtype) if bias is None else bias)
    if not matrices or len(matrices[-1]) < 2:
        raise UnsupportedModelError("`certify` needs a classifier; the checkpoint holds no layers.")
    architecture = Architecture(
        (input_shape[0], input_shape[1], input_shape[2]),
        len(matrices[-1]),
        tuple(Op("dense", len(matrix)) for matrix in matrices),
        normalised=False,
    )
    weights = [m.reshape(s) for m, s in zip(matrices, architecture.shapes, strict=True)]
    return architecture, weights, biases


def _numbers_as_numbers(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def count_errors(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    batch: int = 1000,
) -> int:
    """Count examples whose own class does not win by a clear margin.

    A tie, up to 1e-9 of the largest logit, is an error: rounding cannot turn it around.

    Parameters
    ----------
    logits_of : callable
        Inputs to logits; called with float64.
    x : Tensor, shape (n, channels, height, width)
    y : Tensor of int64, shape (n,)
    batch : int

    Returns
    -------
    int

    Raises
    ------
    InputError
        If there is no example or a logit is NaN or infinite.
    """
    if not len(y):
        raise InputError.parameter(
            "x",
            "count_errors",
            "at least 1 example",
            "none",
            "An empty training set certifies nothing.",
        )
    errors = 0
    with torch.no_grad():
        for start in range(0, len(y), batch):
            logits = logits_of(x[start : start + batch].double())
            if not torch.isfinite(logits).all():
                raise InputError(
                    "the network gives logits that are NaN or infinite, from example "
                    f"{start} on; its risk cannot be counted. Train it anew, or check its weights."
                )
            labels = y[start : start + batch, None]
            own = logits.gather(1, labels).squeeze(1)
            rest = logits.scatter(1, labels, -torch.inf).amax(1)
            clear = own - rest > 1e-9 * logits.abs().amax(1)
            errors += int((~clear).sum())
    return errors
