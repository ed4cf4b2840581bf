"""Layers whose first weights come from an explicit generator."""

import math

import torch
from torch import nn


def linear(
    n_inputs: int, n_outputs: int, *, generator: torch.Generator, bias: bool = True
) -> nn.Linear:
    """Build a linear layer, uniform on +-1/sqrt(n_inputs) as torch initialises it."""
    layer = nn.utils.skip_init(
        nn.Linear, n_inputs, n_outputs, bias=bias, device=torch.get_default_device()
    )
    bound = 1 / math.sqrt(n_inputs)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if bias:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


def convolution(
    n_inputs: int, n_outputs: int, *, generator: torch.Generator, size: int = 3, stride: int = 1
) -> nn.Conv2d:
    """Build a padded convolution without bias, N(0, 2 / (size^2 * n_outputs)).

    `size` of the kernel is odd: the picture keeps its size, up to the stride.
    """
    layer = nn.utils.skip_init(
        nn.Conv2d,
        n_inputs,
        n_outputs,
        size,
        stride=stride,
        padding=size // 2,
        bias=False,
        device=torch.get_default_device(),
    )
    std = math.sqrt(2 / (size * size * n_outputs))
    nn.init.normal_(layer.weight, 0, std, generator=generator)
    return layer
