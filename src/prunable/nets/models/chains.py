"""Networks whose layers follow one another."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from prunable.errors import InputError, require
from prunable.nets.models.initialisation import convolution, linear

# Channels of the convolutions; None is a pooling.
VGG11 = (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None)


def mlp(sizes: Sequence[int], *, generator: torch.Generator, bias: bool = True) -> nn.Sequential:
    """Build linear layers with ReLU between them.

    `sizes` are inputs, hidden widths, outputs: LeNet-300-100 has (784, 300, 100, 10). Without
    biases and with equal hidden layers it is the FCN of Barsbey et al. (2021), of width 2,048.
    The network flattens its inputs first; linear layers are at the odd positions.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise InputError.parameter("sizes", "mlp", "two or more sizes of at least 1", sizes)
    layers: list[nn.Module] = [nn.Flatten()]
    for n_inputs, n_outputs in itertools.pairwise(sizes):
        layers += [linear(n_inputs, n_outputs, generator=generator, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def vgg(
    shape: tuple[int, int, int], n_outputs: int, *, generator: torch.Generator, width: int = 64
) -> nn.Sequential:
    """Build the CNN of Barsbey et al. (2021): VGG11 without biases and batch normalisation.

    `shape` (int, int, int): channels, height and width of the pictures; the sides at least 16.
    Pictures with sides below 32 skip the first pooling, as the paper does on MNIST. `width`:
    channels of the first layer; the others are in proportion.
    """
    channels, *sides = shape
    require(min(sides) >= 16, "shape", "vgg", "a picture of sides of 16 or more", shape)
    require(width >= 1, "width", "vgg", "at least 1", width)
    skip_pooling = min(sides) < 32
    layers: list[nn.Module] = []
    for entry in VGG11:
        if entry is None:
            if skip_pooling:
                skip_pooling = False
            else:
                layers.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
            continue
        n_filters = max(1, entry * width // 64)
        layers += [convolution(channels, n_filters, generator=generator), nn.ReLU()]
        channels = n_filters
    layers.append(nn.Flatten())
    layers.append(
        linear(channels * sides[0] * sides[1], n_outputs, generator=generator, bias=False)
    )
    return nn.Sequential(*layers)
