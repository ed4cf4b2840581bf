"""From files to what is forecast: the network of a checkpoint, and unlabelled inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from prunable.errors import DataIntegrityError, require
from prunable.nets.archive.safetensors_file import metadata_of
from prunable.nets.models import network_of, read_weights
from prunable.nets.models.hub import NET, load_folder
from prunable.nets.models.sources import network_by_reference
from prunable.nets.networks.examples import mapped
from prunable.nets.networks.inputs import batch_size_of, read_example
from prunable.nets.shrink.export import MANIFEST, load_exported
from prunable.runs.devices import devices_of

ENDINGS = (".npz", ".npy", ".pt", ".pth", ".safetensors")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Examples as a network is called with them, and their classes where the file holds any."""

    examples: Any
    labels: NDArray[Any] | None
    count: int

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of one example, where it is a tensor of real numbers."""
        x = self.examples
        real = isinstance(x, torch.Tensor) and x.is_floating_point()
        return tuple(x.shape[1:]) if real else None


def read_inputs(path: Path | str, where: str, *, labels: bool = True) -> Inputs:
    """Read examples from a file: `x` of an .npz with classes `y`, or what `read_example` reads.

    Without `labels` classes are left aside. Raises InputError if the file holds something else;
    DataIntegrityError if it is missing or damaged.
    """
    path = Path(path)
    wanted = "a file ending in " + ", ".join(ENDINGS)
    require(path.suffix in ENDINGS, "inputs", where, wanted, str(path))
    if not path.is_file():
        raise DataIntegrityError(f"{path} is missing; check the path.")
    found, known = read_example(path), None
    if path.suffix == ".npz" and isinstance(found, dict) and "x" in found:
        strange = sorted(set(found) - {"x", "y"})
        held, mend = f"{', '.join(strange)} beside x", "Leave them out, or save x alone."
        require(not strange, "inputs", where, "x, and y where classes are known", held, mend)
        known = found["y"].numpy() if labels and "y" in found else None
        found = found["x"]
    if isinstance(found, torch.Tensor):
        # as numpy stores what was not meant to be of double precision
        found = found.float() if found.dtype == torch.float64 else found
        require(found.ndim > 1, "inputs", where, "(n, ...) examples", tuple(found.shape))
    return Inputs(found, known, batch_size_of(found))


def network_for(
    path: Path | str, net: str | None, inputs: Inputs, where: str, *, unpickle: bool, device: str
) -> nn.Module:
    """The network of a checkpoint in evaluation mode, on a device; see `prunable prune`."""
    return network_of_shape(path, net, inputs.shape, where, unpickle=unpickle, device=device)


def network_of_shape(
    path: Path | str,
    net: str | None,
    shape: tuple[int, ...] | None,
    where: str,
    *,
    unpickle: bool,
    device: str,
) -> nn.Module:
    """The same for inputs of a shape, where they are tensors of real numbers."""
    model: nn.Module
    path = Path(path)
    if net == NET or path.is_dir():
        model = load_folder(path, where)
    elif path.suffix == ".safetensors" and path.is_file() and MANIFEST in metadata_of(path):
        fresh = None if net is None else network_by_reference(net, where)
        model = load_exported(path, fresh)
    else:
        tensors, metadata = read_weights(path, unpickle=unpickle)
        model = network_of(tensors, metadata, net, shape=shape)
    return model.eval().float().to(devices_of(device)[0])


def in_batches(inputs: Inputs, at_once: int) -> tuple[Any, ...]:
    """The examples in batches, each in the form that a network is called with."""
    if isinstance(inputs.examples, torch.Tensor):
        return tuple(inputs.examples.split(at_once))
    starts = range(0, inputs.count, at_once)
    return tuple(_part(inputs, start, at_once) for start in starts)


def _part(inputs: Inputs, start: int, size: int) -> Any:
    count = inputs.count
    return mapped(
        inputs.examples, lambda x: x[start : start + size] if x.ndim and len(x) == count else x
    )
