"""Files of torch.save: tensors only, unless the user trusts the file."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.archive.base import Archive, StoredTensor, as_array, damage_named, dtype_name
from prunable.nets.archive.safetensors_file import weight_map_of

# Entries of training checkpoints that hold no weights of the model.
OPTIMIZER = re.compile(r"optim|lr_sched|scheduler|scaler|rng", re.IGNORECASE)
PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
# Deeper nesting is no checkpoint.
LARGEST_DEPTH = 16


def looks_like(head: bytes) -> bool:
    """Whether a file begins like torch.save's: a zip archive, or a pickle of protocol 2 on."""
    return head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in PROTOCOLS)


def read(path: Path, *, unpickle: bool) -> Archive:
    """Open a file of torch.save.

    Parameters
    ----------
    path : Path
    unpickle : bool
        Whether pickled objects may run their code.

    Returns
    -------
    Archive
        Tensors of nested mappings with dotted names; a wrapper such as "state_dict" that alone
        holds tensors is left out of their names.

    Raises
    ------
    InputError
        If loading would run code and `unpickle` is False.
    UnsupportedModelError
        If it is a TorchScript program.
    DataIntegrityError
        If it is damaged.
    """
    content = _load(path, unpickle)
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    found: list[tuple[tuple[str, ...], torch.Tensor]] = []
    skipped: list[tuple[str, str]] = []
    for keys, value in _leaves(content, ()):
        name = ".".join(keys)
        if any(OPTIMIZER.search(key) for key in keys[:-1]):
            if not skipped or skipped[-1][0] != keys[0]:
                skipped.append((keys[0], "state of the optimizer, no weights"))
        elif not isinstance(value, torch.Tensor):
            skipped.append((name, f"{type(value).__name__}, no tensor"))
        elif reason := _unreadable(value):
            skipped.append((name, reason))
        else:
            found.append((keys, value))
    depth = _common_wrapper([keys for keys, _ in found])
    tensors = tuple(
        StoredTensor(
            ".".join(keys[depth:]) or "tensor",
            tuple(value.shape),
            dtype_name(value.dtype),
            _loader(path, ".".join(keys), value),
        )
        for keys, value in found
    )
    return Archive(path, "torch", tensors, ordered=True, skipped=tuple(dict.fromkeys(skipped)))


def read_shards(index: Path, *, unpickle: bool) -> Archive:
    """Open the shards of torch.save that an index names; see `read`."""
    weight_map = weight_map_of(index)
    parts = [
        read(index.parent / shard, unpickle=unpickle) for shard in sorted(set(weight_map.values()))
    ]
    found = {tensor.name: tensor for part in parts for tensor in part.tensors}
    missing = [name for name in weight_map if name not in found]
    if missing:
        raise DataIntegrityError(
            f"{index.parent / weight_map[missing[0]]} lacks the tensor {missing[0]} that "
            f"{index.name} places there; fetch both again."
        )
    tensors = tuple(found[name] for name in weight_map)
    skipped = tuple(entry for part in parts for entry in part.skipped)
    return Archive(index, "torch", tensors, ordered=True, skipped=skipped)


def _load(path: Path, unpickle: bool) -> Any:
    with damage_named(path):
        if not path.is_file():
            raise FileNotFoundError(path)
        zipped = zipfile.is_zipfile(path)
        if zipped and _is_torchscript(path):
            raise UnsupportedModelError(
                f"{path} is a TorchScript program, which cannot be read without running it; "
                "save the state_dict() of the loaded module as safetensors."
            )
        try:
            # a mapped file is read only where a tensor is asked for
            return torch.load(path, map_location="cpu", weights_only=not unpickle, mmap=zipped)
        except pickle.UnpicklingError as error:
            text = str(error)
            culprit = re.search(r"GLOBAL (\S+)|global (\S+)|class (\S+)", text)
            if "Unsupported" not in text and "weights_only" not in text.lower():
                raise
            named = next((g for g in culprit.groups() if g), "") if culprit else ""
            what = f" ({named})" if named else ""
            raise InputError(
                f"{path} holds pickled objects{what} that would run code when loaded; save its "
                "state_dict() instead, or pass --unpickle (unpickle=True) if you trust its source."
            ) from error


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any("/code/" in name or name.startswith("code/") for name in names)


def _leaves(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Everything in nested mappings and lists that is no container, with its path."""
    if len(keys) <= LARGEST_DEPTH and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*keys, str(key)))
    elif len(keys) <= LARGEST_DEPTH and isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _leaves(item, (*keys, str(i)))
    else:
        yield keys, value


def _common_wrapper(paths: list[tuple[str, ...]]) -> int:
    """Leading keys that all tensors share: names of wrappers, not of layers."""
    depth = 0
    while (
        paths
        and all(len(keys) > depth + 1 for keys in paths)
        and len({keys[depth] for keys in paths}) == 1
        # keys of a state dict have dots; a single layer's name is no wrapper
        and "." not in paths[0][depth]
    ):
        depth += 1
    return depth


def _unreadable(tensor: torch.Tensor) -> str:
    if tensor.layout != torch.strided:
        return f"stored sparsely ({tensor.layout})"
    if tensor.is_quantized:
        return "quantised by torch"
    if tensor.is_complex():
        return "complex numbers"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device}, without values"
    return ""


def _loader(path: Path, name: str, tensor: torch.Tensor) -> Any:
    def load() -> Any:
        with damage_named(path, name):
            return as_array(tensor)

    return load
