"""The network architectures of the papers, and those that pruning is measured on."""

from prunable.nets.models.chains import mlp
from prunable.nets.models.loading import network_of, read_weights
from prunable.nets.models.mean_field import MeanFieldNetwork
from prunable.nets.models.registry import (
    ARCHITECTURE,
    NETS,
    Architecture,
    build,
    rebuild,
    stored_architecture,
)
from prunable.nets.models.residual import resnet20

__all__ = [
    "ARCHITECTURE",
    "NETS",
    "Architecture",
    "MeanFieldNetwork",
    "build",
    "mlp",
    "network_of",
    "read_weights",
    "rebuild",
    "resnet20",
    "stored_architecture",
]
