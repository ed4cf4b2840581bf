"""Linear and convolutional layers as matrices: what they multiply, and their outputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from prunable.nets.networks.module_roles import is_conv1d
from prunable.nets.networks.views import out_in

TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def is_matrix_layer(module: nn.Module) -> bool:
    """Whether a module multiplies its input by a matrix, at one or many positions."""
    return isinstance(module, nn.Linear | _ConvNd) or is_conv1d(module)


def matrix_of(module: Any) -> Tensor:
    """A layer's weight as the matrix (out, in / groups * taps) by which it multiplies."""
    weight: Tensor = module.weight.detach()
    transposed = is_conv1d(module) or getattr(module, "transposed", False)
    matrix: Tensor = out_in(weight, transposed, getattr(module, "groups", 1))
    return matrix


def batch_of_layer(module: Any, x: Tensor) -> Tensor:
    """A layer's input, (n, in) or (n, channels, ...)."""
    if not isinstance(module, _ConvNd):
        return x.flatten(0, -2) if x.ndim > 1 else x[None]
    return x if x.ndim == module.weight.ndim else x[None]


def vectors_of(module: Any, x: Tensor) -> Tensor:
    """What the rows of a layer's matrix are multiplied by, (groups, n, width).

    `x` is what `batch_of_layer` gives; n are examples times positions of the output, and a
    vector's entries stand in the order of the matrix's columns, (in / groups * taps).
    """
    if not isinstance(module, _ConvNd):
        return x[None]
    kernel: tuple[int, ...] = tuple(module.kernel_size)
    x = _spread(module, x) if module.transposed else _padded(module, x)
    strides = (1,) * len(kernel) if module.transposed else tuple(module.stride)
    for axis, (size, stride, dilation) in enumerate(
        zip(kernel, strides, module.dilation, strict=True)
    ):
        x = x.unfold(2 + axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    if module.transposed:  # its taps run the other way
        x = x.flip(*range(2 + len(kernel), x.ndim))
    x = x.unflatten(1, (module.groups, -1))
    positions, taps = list(range(3, 3 + len(kernel))), list(range(3 + len(kernel), x.ndim))
    x = x.permute(1, 0, *positions, 2, *taps)
    return x.flatten(1, 1 + len(kernel)).flatten(2)


def sums_of_vectors(module: Any, x: Tensor) -> tuple[int, Tensor]:
    """How many such vectors a convolution has, and sums of their squares and of themselves.

    (2, groups, width), float64. A tap meets a rectangle of the padded input, so no vector is made.
    `x` is as for `vectors_of`; the convolution is none that is transposed.
    """
    x = _padded(module, x)
    both = torch.stack([x.square().sum(0), x.sum(0)]).double()
    spans = [
        [slice(tap * d, size - (k - 1 - tap) * d, s) for tap in range(k)]
        for size, k, s, d in zip(
            x.shape[2:], module.kernel_size, module.stride, module.dilation, strict=True
        )
    ]
    places: Any = itertools.product([...], *spans)
    parts = [both[place].flatten(2) for place in places]
    found = torch.stack([part.sum(2) for part in parts], 2)
    return len(x) * parts[0].shape[2], found.reshape(2, module.groups, -1)


def outputs_of(module: Any, x: Tensor, weight: Tensor) -> Tensor:
    """A layer's output for another weight, as stored, and no bias."""
    if is_conv1d(module):
        return x @ weight
    if not isinstance(module, _ConvNd):
        return functional.linear(x, weight)
    if not module.transposed:
        forward: Callable[..., Tensor] = module._conv_forward
        return forward(x, weight, None)
    how = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
    return TRANSPOSED[weight.ndim - 2](x, weight, None, *how)


def _padded(module: Any, x: Tensor) -> Tensor:
    # torch keeps the padding of both sides, from the last axis on, also of "same"
    around = module._reversed_padding_repeated_twice
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return functional.pad(x, around, mode=mode)


def _spread(module: Any, x: Tensor) -> Tensor:
    """The input that an ordinary convolution of stride 1 takes to do what a transposed one does."""
    for axis, stride in enumerate(module.stride):
        # zeros between neighbours
        size = (x.shape[2 + axis] - 1) * stride + 1
        wide = x.new_zeros(*x.shape[: 2 + axis], size, *x.shape[3 + axis :])
        wide.narrow(2 + axis, 0, size).index_copy_(
            2 + axis, torch.arange(0, size, stride, device=x.device), x
        )
        x = wide
    around: list[int] = []
    for size, padding, dilation, more in reversed(
        list(
            zip(
                module.kernel_size,
                module.padding,
                module.dilation,
                module.output_padding,
                strict=True,
            )
        )
    ):
        before = (size - 1) * dilation - padding
        around += [before, before + more]
    return functional.pad(x, around)
