"""Residual networks for small pictures."""

import torch
from torch import nn
from torch.nn import functional

from prunable.errors import check_at_least
from prunable.nets.models.initialisation import convolution, linear


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to a shortcut.

    Where the shape changes, the shortcut is strided and padded with zero channels.
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, stride: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.conv1 = convolution(n_inputs, n_outputs, generator=generator, stride=stride)
        self.bn1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = convolution(n_outputs, n_outputs, generator=generator)
        self.bn2 = nn.BatchNorm2d(n_outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_inputs != n_outputs:
            self.shortcut = _PaddedShortcut(n_outputs - n_inputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, n_inputs, height, width) to (batch, n_outputs, ...)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class _PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, and zero channels for those that the input lacks."""

    def __init__(self, n_more: int, stride: int) -> None:
        super().__init__()
        self.n_more, self.stride = n_more, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.n_more))


class ResidualNetwork(nn.Module):
    """Three stages of residual blocks of k, 2k and 4k channels, and a linear layer; width is k.

    ResNet-20 has 3 blocks a stage, and 1044 k^2 + 153 k + 10 parameters on CIFAR-10: the network of
    Figure 1 of Chang, Li, Oymak and Thrampoulidis (2020).
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        *,
        width: int,
        blocks: int = 3,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        for name, size in (("width", width), ("blocks", blocks)):
            check_at_least(size, 1, name, "ResidualNetwork")
        self.conv = convolution(n_channels, width, generator=generator)
        self.bn = nn.BatchNorm2d(width)
        stages = []
        n_inputs = width
        for stage in range(3):
            n_filters = width * 2**stage
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                stages.append(ResidualBlock(n_inputs, n_filters, stride, generator=generator))
                n_inputs = n_filters
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.output = linear(n_inputs, n_outputs, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map pictures (batch, n_channels, height, width) to (batch, n_outputs)."""
        x = torch.relu(self.bn(self.conv(x)))
        return self.output(self.flatten(self.pool(self.blocks(x))))


def resnet20(
    n_channels: int, n_outputs: int, *, generator: torch.Generator, width: int = 16
) -> ResidualNetwork:
    """Build ResNet-20 of a width; see `ResidualNetwork`."""
    return ResidualNetwork(n_channels, n_outputs, width=width, generator=generator)
