"""Safetensors files, whole or in shards: read lazily, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from prunable.errors import DataIntegrityError
from prunable.files import atomic_write
from prunable.nets.archive.base import Archive, StoredTensor, as_array, damage_named

# As safetensors writes them. Types missing here cannot be turned into numbers.
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32",
    "U64": "uint64", "BOOL": "bool",
}  # fmt: skip
# A header is a list of names; no network has gigabytes of them.
LARGEST_HEADER = 100_000_000


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file atomically.

    Parameters
    ----------
    path : Path
        Destination.
    tensors : mapping of str to Tensor
        Any dtype and device; stored contiguous, on the CPU.
    metadata : mapping of str to str, optional
        Text stored in the header.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    atomic_write(path, lambda temporary: save_file(contiguous, temporary, dict(metadata or {})))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file, and its metadata.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of (dict of str to Tensor, dict of str to str)

    Raises
    ------
    DataIntegrityError
        If the file is missing, truncated or of another format; nothing is unpickled.
    """
    try:
        with safe_open(path, framework="pt") as archive:
            names = list(archive.keys())
            tensors = {name: archive.get_tensor(name) for name in names}
            return tensors, dict(archive.metadata() or {})
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{path} is missing; check the path.") from error
    except (SafetensorError, OSError) as error:
        raise DataIntegrityError(
            f"{path} is not a whole safetensors file ({error}); fetch or write it again."
        ) from error


def looks_like(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes begins like safetensors: a length and then a JSON object."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and (length < LARGEST_HEADER or length > size)


def read(path: Path, stack: ExitStack) -> Archive:
    """Open one safetensors file.

    Parameters
    ----------
    path : Path
    stack : ExitStack
        Closes the file.

    Returns
    -------
    Archive

    Raises
    ------
    DataIntegrityError
        If the file is damaged.
    """
    tensors, skipped = _read(path, stack)
    return Archive(path, "safetensors", tensors, ordered=False, skipped=skipped)


def read_shards(index: Path, stack: ExitStack) -> Archive:
    """Open the shards that an index names.

    Parameters
    ----------
    index : Path
        A `*.safetensors.index.json`.
    stack : ExitStack
        Closes the files.

    Returns
    -------
    Archive
        Tensors in the order of the index.

    Raises
    ------
    DataIntegrityError
        If the index or a shard is damaged or missing, or the two disagree.
    """
    weight_map = weight_map_of(index)
    found: dict[str, StoredTensor] = {}
    skipped: list[tuple[str, str]] = []
    for shard in sorted(set(weight_map.values())):
        tensors, passed = _read(index.parent / shard, stack)
        found |= {t.name: t for t in tensors if weight_map.get(t.name) == shard}
        skipped += passed
    known = {name for name, _ in skipped}
    for name, shard in weight_map.items():
        if name not in found and name not in known:
            raise DataIntegrityError(
                f"{index.parent / shard} lacks the tensor {name} that {index.name} places there; "
                "fetch both again."
            )
    ordered = tuple(found[name] for name in weight_map if name in found)
    return Archive(index, "safetensors", ordered, ordered=False, skipped=tuple(skipped))


def weight_map_of(index: Path) -> dict[str, str]:
    """Read which shard holds which tensor.

    Parameters
    ----------
    index : Path
        A `*.index.json`.

    Returns
    -------
    dict of str to str
        File name by tensor name; the files exist in the folder of the index.

    Raises
    ------
    DataIntegrityError
        If it is no such index, or a shard is missing or lies elsewhere.
    """
    with damage_named(index):
        document = json.loads(index.read_text(encoding="utf-8"))
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise DataIntegrityError(f"{index} has no weight_map; it is no index of shards.")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard or shard in ("", ".", ".."):
            raise DataIntegrityError(
                f"{index} places {name} in {shard!r}; shards must lie beside their index."
            )
        if not (index.parent / shard).is_file():
            raise DataIntegrityError(
                f"{index.parent / shard} is missing, where {index.name} places {name}; "
                "fetch all shards."
            )
    return dict(weight_map)


def _read(
    path: Path, stack: ExitStack
) -> tuple[tuple[StoredTensor, ...], tuple[tuple[str, str], ...]]:
    with damage_named(path):
        archive = stack.enter_context(safe_open(path, framework="pt"))
        tensors, skipped = [], []
        # in the order of the file, so that it is read from front to end
        for name in archive.offset_keys():
            part = archive.get_slice(name)
            stored = part.get_dtype()
            if stored not in DTYPES:
                skipped.append((name, f"stored as {stored}"))
                continue
            tensors.append(
                StoredTensor(
                    name, tuple(part.get_shape()), DTYPES[stored], _loader(archive, path, name)
                )
            )
    return tuple(tensors), tuple(skipped)


def _loader(archive: Any, path: Path, name: str) -> Any:
    def load() -> NDArray[Any]:
        with damage_named(path, name):
            return np.asarray(as_array(archive.get_tensor(name)))

    return load
