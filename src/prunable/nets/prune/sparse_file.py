"""Pruned networks on disk: a bit a weight and the values that are left."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from prunable.errors import DataIntegrityError
from prunable.nets.archive import load_tensors, save_tensors

FORMAT = "bitmask-1"
MASK, VALUES = "::mask", "::values"


def save_sparse(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors with zeros compactly to a safetensors file, atomically.

    Parameters
    ----------
    path : Path
        Destination.
    tensors : mapping of str to Tensor
        Any dtype. A tensor that a bitmask does not make smaller is stored whole.

    Raises
    ------
    InputError
        If the file cannot be written.

    Notes
    -----
    For a tensor NAME of n entries the file holds `NAME::mask`, bytes of 8 entries in C order,
    the first entry in the highest bit, and `NAME::values`, the entries that are not 0. The
    header's `shapes` maps NAME to its shape.
    """
    stored: dict[str, torch.Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        packed = pack(tensor)
        if packed is None:
            stored[name] = tensor
        else:
            stored[name + MASK], stored[name + VALUES] = packed
            shapes[name] = list(tensor.shape)
    metadata = {"format": FORMAT, "shapes": json.dumps(shapes)}
    save_tensors(path, stored, metadata)


def load_sparse(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of `save_sparse`; files of plain tensors are read as they are.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to Tensor
        Bit for bit what was saved, except that -0 became 0.

    Raises
    ------
    DataIntegrityError
        If the file is damaged, or its parts do not fit.
    """
    stored, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT:
        return stored
    try:
        shapes: dict[str, list[int]] = json.loads(metadata["shapes"])
        whole = {}
        for name, shape in shapes.items():
            whole[name] = unpack(stored, name, shape)
            del stored[name + MASK], stored[name + VALUES]
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        raise DataIntegrityError(
            f"{path} is no whole file of pruned weights ({error}); write it again."
        ) from error
    return stored | whole


def pack(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Bits and values of a tensor, on the CPU; None where they are no smaller."""
    flat = tensor.detach().cpu().contiguous().flatten()
    used = flat != 0
    size = -(-flat.numel() // 8) + int(used.sum()) * flat.element_size()
    if size >= flat.numel() * flat.element_size():
        return None
    return torch.from_numpy(np.packbits(used.numpy())), flat[used]


def unpack(stored: Mapping[str, torch.Tensor], name: str, shape: Sequence[int]) -> torch.Tensor:
    """The tensor whose bits and values are stored under a name; KeyError if they are not."""
    bits, values = stored[name + MASK], stored[name + VALUES]
    size = math.prod(shape)
    used = torch.from_numpy(np.unpackbits(bits.numpy())[:size].astype(np.bool_))
    whole = torch.zeros(size, dtype=values.dtype)
    whole[used] = values
    return whole.reshape(tuple(shape))
