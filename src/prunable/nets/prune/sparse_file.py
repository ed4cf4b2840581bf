"""Pruned networks on disk: a bit a weight and the values that are left."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from prunable.files import Shape, damage_named, parsed
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.archive.safetensors_file import tied_again
from prunable.nets.networks.ties import ties_of

FORMAT = "bitmask-1"
MASK, VALUES = "::mask", "::values"

Tensors = dict[str, torch.Tensor]


def save_sparse(path: Path | str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors of any dtype with zeros compactly to a safetensors file, atomically.

    A tensor that a bitmask does not make smaller is stored whole.

    For a tensor NAME of n entries the file holds `NAME::mask`, bytes of 8 entries in C order,
    the first entry in the highest bit, and `NAME::values`, the entries that are not 0. The
    header's `shapes` maps NAME to its shape, and the name of a tied tensor leads to that of the
    one it is tied to.
    """
    ties = ties_of(tensors)
    stored, header = packed({name: t for name, t in tensors.items() if name not in ties})
    save_tensors(path, stored, header | ties)


def load_sparse(path: Path | str) -> Tensors:
    """Read a file of `save_sparse`, or one of plain tensors, bit for bit except that -0 is 0.

    A DataIntegrityError names a file that is damaged, or whose parts do not fit.
    """
    stored, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT:
        return stored
    with damage_named(path, "it is no whole file of pruned weights: write it again"):
        return tied_again(unpacked(stored, metadata), metadata)[0]


def packed(tensors: Mapping[str, torch.Tensor]) -> tuple[Tensors, dict[str, str]]:
    """What a file holds of tensors, and its header, whose `shapes` are of those in bitmasks."""
    stored: Tensors = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous().flatten()
        used = flat != 0
        size = -(-flat.numel() // 8) + int(used.sum()) * flat.element_size()
        if size >= flat.numel() * flat.element_size():
            stored[name] = tensor
            continue
        stored[name + MASK] = torch.from_numpy(np.packbits(used.numpy()))
        stored[name + VALUES] = flat[used]
        shapes[name] = list(tensor.shape)
    return stored, {"format": FORMAT, "shapes": json.dumps(shapes)}


def unpacked(stored: Mapping[str, torch.Tensor], header: Mapping[str, str]) -> Tensors:
    """The tensors that `packed` was given; any error if parts are missing or do not fit."""
    shapes = parsed(dict[str, Shape], header["shapes"])
    whole = {name: _unpacked(stored, name, shape) for name, shape in shapes.items()}
    parts = {name + part for name in shapes for part in (MASK, VALUES)}
    return {name: tensor for name, tensor in stored.items() if name not in parts} | whole


def _unpacked(stored: Mapping[str, torch.Tensor], name: str, shape: Sequence[int]) -> torch.Tensor:
    values = stored[name + VALUES]
    used = unpacked_bits(stored[name + MASK], shape).flatten()
    if values.shape != (int(used.sum()),):
        raise ValueError(f"{name} has values of shape {tuple(values.shape)}, not {used.sum()}")
    whole = torch.zeros(used.numel(), dtype=values.dtype)
    whole[used] = values
    return whole.reshape(tuple(shape))


def unpacked_bits(bits: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The bools whose bytes of 8, the first in the highest bit, these are, in a shape."""
    count = math.prod(shape)
    if bits.dtype != torch.uint8 or bits.shape != (-(-count // 8),):
        raise ValueError(f"{bits.dtype} bits of shape {tuple(bits.shape)} for {count:,} entries")
    flat = np.unpackbits(bits.numpy(), count=count)
    return torch.from_numpy(flat.astype(np.bool_)).reshape(tuple(shape))
