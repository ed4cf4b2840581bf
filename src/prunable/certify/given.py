"""A user's network as it is: its logits, its size, and its chain if a code file can name it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunable.certify.architecture import FloatNetwork
from prunable.certify.checkpoint import read_network
from prunable.certify.examples import Examples
from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.models.loading import Tensors, network_of, read_weights
from prunable.nets.models.registry import stored_architecture
from prunable.nets.networks.examples import scores_of

_AT_ONCE = 500
Logits = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class GivenNetwork:
    """A network that is certified without being touched.

    `logits` takes float64 inputs (batch, channels, height, width) and gives float64 (batch,
    classes); `chain` is None for networks that a code file cannot name, which have a `model`;
    `bits` are those of all stored tensors.
    """

    logits: Logits
    chain: FloatNetwork | None
    bits: int
    model: nn.Module | None = None

    @torch.no_grad()
    def answers(self, examples: Examples) -> NDArray[np.int64]:
        """Class of the largest logit of every input, (n,); InputError if one is not finite."""
        found = []
        for batch in examples.tensors[0].split(_AT_ONCE):
            logits = self.logits(batch.double())
            if not torch.isfinite(logits).all():
                raise InputError("the network gives logits that are NaN or infinite.")
            found.append(logits.argmax(1))
        return torch.cat(found).numpy()


def read_given(
    path: Path | str, shape: tuple[int, int, int], net: str | None = None, *, unpickle: bool = False
) -> GivenNetwork:
    """Read a checkpoint: a chain that a code file can name, or any network that `net` builds.

    `shape` is that of an input; `net` is as in `prunable.load`, and may be left out for dense
    layers with ReLU, networks of the study, and files that say what they are.

    Raises UnsupportedModelError if it is no chain and nothing says which network it is.
    """
    tensors: Tensors | None = None
    metadata: dict[str, str] = {}
    if net is None:
        try:
            chain = read_network(path, shape, unpickle=unpickle)
        except UnsupportedModelError as error:
            try:
                tensors, metadata = read_weights(path, unpickle=unpickle)
                stored_architecture(metadata)
            except InputError:
                raise error from None
        else:
            bits = sum(8 * t.element_size() * t.numel() for t in (*chain.weights, *chain.biases))
            return GivenNetwork(chain.logits, chain, bits)
    if tensors is None:
        tensors, metadata = read_weights(path, unpickle=unpickle)
    model = network_of(tensors, metadata, net, shape=shape)
    bits = sum(8 * t.element_size() * t.numel() for t in tensors.values())
    return GivenNetwork(logits_of(model), None, bits, model)


def logits_of(model: nn.Module) -> Logits:
    """Logits of a network in float32, which is put into evaluation mode, as float64."""
    model.eval().float().requires_grad_(False)

    def logits(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = scores_of(model(as_taken(x).float())).double()
        return found

    return logits


def as_taken(x: torch.Tensor) -> torch.Tensor:
    """Inputs as networks of the user's take them: rows of one picture are vectors."""
    return x.flatten(1) if x.shape[1:3] == (1, 1) else x
