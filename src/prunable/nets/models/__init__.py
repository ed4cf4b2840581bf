"""The network architectures of the papers, and those that pruning is measured on."""

from prunable.nets.models.chains import fully_connected, mlp, vgg
from prunable.nets.models.loading import network_of, read_weights
from prunable.nets.models.mean_field import MeanFieldNetwork, mean_field_lr
from prunable.nets.models.registry import (
    ARCHITECTURE,
    NETS,
    Architecture,
    build,
    known_net,
    rebuild,
    stored_architecture,
)
from prunable.nets.models.residual import ResidualNetwork, resnet20

__all__ = [
    "ARCHITECTURE",
    "NETS",
    "Architecture",
    "MeanFieldNetwork",
    "ResidualNetwork",
    "build",
    "fully_connected",
    "known_net",
    "mean_field_lr",
    "mlp",
    "network_of",
    "read_weights",
    "rebuild",
    "resnet20",
    "stored_architecture",
    "vgg",
]
