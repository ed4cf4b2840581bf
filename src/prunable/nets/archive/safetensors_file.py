"""Safetensors files: written whole or not at all, read whole or tensor by tensor."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from prunable.errors import InputError
from prunable.files import atomic_write
from prunable.nets.archive import base
from prunable.nets.archive.codes import WIDTHS, mapped_codes
from prunable.nets.networks.roles import natural_key
from prunable.nets.networks.ties import ties_of

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


def save_tensors(
    path: Path | str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors of any dtype and device to a safetensors file atomically.

    They are stored contiguous, on the CPU; `metadata` is text stored in the header. Of tied tensors
    the first is stored, and the header gives its name for the others, as the library's own
    `save_model` does. Raises InputError where the file cannot be written.
    """
    text = dict(metadata or {})
    ties = {name: first for name, first in ties_of(tensors).items() if name not in text}
    contiguous = {n: t.detach().cpu().contiguous() for n, t in tensors.items() if n not in ties}
    # the format has no shared memory: what overlaps in other ways is written one by one
    seen: set[int] = set()
    for name, tensor in contiguous.items():
        address = tensor.untyped_storage().data_ptr()
        if tensor.numel() and address in seen:
            contiguous[name] = tensor.clone()
        seen.add(address)

    def write(temporary: Path) -> None:
        try:
            save_file(contiguous, temporary, text | ties)
        except SafetensorError as error:
            raise InputError(
                f"cannot write {path}: {error}. Choose another place, or free this one."
            ) from error
        _sort_metadata(temporary)

    atomic_write(path, write)


def write_in_turn(
    path: Path | str,
    tensors: Mapping[str, torch.Tensor],
    read: Callable[[str], torch.Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a safetensors file atomically with one tensor in memory at a time.

    `tensors` are what will be read, by name, on the meta device as a rule; `read` gives each.
    """
    codes = {name: code for code, name in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        kind = codes[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {"dtype": kind, "shape": [*tensor.shape], "data_offsets": [begin, end]}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(header_bytes(header))
            for name, expected in tensors.items():
                found = read(name).detach().cpu().contiguous()
                assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
                file.write(found.flatten().view(torch.uint8).numpy().data)

    atomic_write(path, write)


def header_bytes(header: Mapping[str, Any]) -> bytes:
    """What a file begins with: the length of its header, and the header in whole words."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text


def _sort_metadata(path: Path) -> None:
    """Put the keys of the header's text in order: the library writes them in any."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:
            file.seek(8)
            file.write(text.ljust(size))


def load_tensors(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file, and its metadata; nothing is unpickled.

    Names that the header ties to a stored tensor are that tensor.

    Raises DataIntegrityError if the file is missing, truncated or of another format.
    """
    with base.failures_named(Path(path)), safe_open(path, framework="pt") as archive:
        names = list(archive.keys())
        tensors = {name: archive.get_tensor(name) for name in names}
        return tied_again(tensors, dict(archive.metadata() or {}))


def tied_again(
    tensors: dict[str, torch.Tensor], metadata: Mapping[str, str]
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors with those that the text of a file ties to them, and the rest of the text."""
    ties = {n: first for n, first in metadata.items() if first in tensors and n not in tensors}
    tied = {name: tensors[first] for name, first in ties.items()}
    return tensors | tied, {key: text for key, text in metadata.items() if key not in ties}


def metadata_of(path: Path | str) -> dict[str, str]:
    """Text stored in the header of a safetensors file; none of a folder of them.

    Raises DataIntegrityError if the file is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return {}
    with base.failures_named(path), safe_open(path, framework="pt") as archive:
        return dict(archive.metadata() or {})


def open_safetensors(path: Path, stack: ExitStack) -> base.Archive:
    """List the tensors of one safetensors file; `stack` keeps it open, mapped into memory."""
    tensors, skipped = [], []
    with base.failures_named(path):
        # Through torch, for NumPy has neither bfloat16 nor the 8-bit floats.
        handle = stack.enter_context(safe_open(path, framework="pt"))
        starts = _starts(path)
        # the file has them by type and letter: layer 10 before layer 2
        for name in sorted(handle.keys(), key=natural_key):
            header = handle.get_slice(name)
            dtype = _DTYPES.get(header.get_dtype(), header.get_dtype())
            shape, codes = tuple(header.get_shape()), None
            if base.can_load(dtype):
                read = partial(_read, handle, name)
                if dtype in WIDTHS and 0 not in shape:
                    codes = partial(mapped_codes, path, starts[name], shape, dtype)
                tensors.append(
                    base.stored_tensor(path, base.clean_name(name), shape, dtype, read, codes=codes)
                )
            else:
                skipped.append((base.clean_name(name), f"numbers of type {dtype}"))
    return base.Archive(path, "safetensors", tuple(tensors), False, tuple(skipped))


def _starts(path: Path) -> dict[str, int]:
    """Where in a sound file the numbers of each tensor begin."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return {
        name: 8 + size + entry["data_offsets"][0]
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _read(handle: Any, name: str) -> NDArray[Any]:
    return base.torch_to_numpy(handle.get_tensor(name))
