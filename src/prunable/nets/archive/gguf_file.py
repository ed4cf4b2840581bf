"""GGUF files: headers read within the bounds of the file, tensors dequantised one by one."""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from prunable.errors import UnsupportedModelError
from prunable.extras import extra
from prunable.nets.archive import base

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_DIMENSIONS = 8
DEEPEST = 4  # levels of arrays in arrays among the settings
MOST_INSIDE = 2**22  # texts and arrays in one array; vocabularies have less than a tenth
# Names of numbers that are stored as they are; all other types are dequantised to float32.
PLAIN = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
}
_SCALARS = dict(zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class _Entry:
    name: str
    shape: tuple[int, ...]  # as torch has it: the innermost dimension last
    kind: int
    offset: int


def open_gguf(path: Path) -> base.Archive:
    """List the tensors of one GGUF file, by their names there.

    Quantised tensors are loaded as the float32 numbers that they stand for; needs the package gguf.

    Raises DataIntegrityError if the file is damaged; UnsupportedModelError if its version or byte
    order is another, or a tensor is of a type that gguf cannot dequantise.
    """
    gguf = extra("gguf", "reading GGUF", "hub")
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    with base.failures_named(path), path.open("rb") as stream:
        reader = _Reader(stream, path.stat().st_size)
        entries, start = _header(reader, path)
        tensors, skipped, places = [], [], []
        for entry in entries:
            if entry.kind not in sizes:
                skipped.append((entry.name, f"numbers of the unknown type {entry.kind}"))
                continue
            kind = gguf.GGMLQuantizationType(entry.kind)
            at, size = start + entry.offset, _bytes_of(entry, *sizes[entry.kind])
            if at + size > reader.size:
                raise ValueError(f"{entry.name} reaches beyond the end of the file")
            places += [(at, at + size, entry.name)] if size else []
            read = partial(_read, path, at, size, entry.shape, kind, gguf.dequantize)
            dtype = PLAIN.get(kind.name, "float32")
            tensors.append(base.stored_tensor(path, entry.name, entry.shape, dtype, read))
        for (_, end, name), (begin, _, other) in pairwise(sorted(places)):
            if begin < end:
                raise ValueError(f"{name} and {other} overlap")
    return base.Archive(path, "gguf", tuple(tensors), True, tuple(skipped))


class _Reader:
    """Numbers and texts of a header, none beyond the end of the file."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self.size = stream, size
        self.place = 0  # of the next byte

    def number(self, form: str) -> Any:
        """One number of a form of `struct`."""
        return struct.unpack(f"<{form}", self._bytes(struct.calcsize(f"<{form}")))[0]

    def count(self, each: int) -> int:
        """A number of things of at least so many bytes each, which must fit into the file."""
        found: int = self.number("Q")
        if found * each > self.size - self.place:
            raise ValueError(f"{found} entries are more than the file holds")
        return found

    def text(self) -> str:
        """A text with its length before it."""
        return base.clean_name(self._bytes(self.count(1)))

    def value(self, kind: int, depth: int = 0) -> Any:
        """A setting of a type; arrays are passed over."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array(depth)
        if kind not in _SCALARS:
            raise ValueError(f"a setting of the unknown type {kind}")
        return self.number(_SCALARS[kind])

    def _array(self, depth: int) -> None:
        inner = self.number("I")
        if depth == DEEPEST:
            raise ValueError(f"arrays nested more than {DEEPEST} levels deep")
        if inner in _SCALARS:
            each = struct.calcsize(f"<{_SCALARS[inner]}")
            self._pass(self.count(each) * each)
            return
        count = self.count(8 if inner == _STRING else 12)
        if count > MOST_INSIDE:
            raise ValueError(f"an array of {count:,} texts or arrays")
        for _ in range(count):
            if inner == _STRING:
                self._pass(self.count(1))
            else:
                self.value(inner, depth + 1)

    def _pass(self, count: int) -> None:
        self.place += count
        self._stream.seek(self.place)

    def _bytes(self, count: int) -> bytes:
        self.place += count
        if self.place > self.size:
            raise ValueError("the file ends within its header")
        return self._stream.read(count)


def _header(reader: _Reader, path: Path) -> tuple[list[_Entry], int]:
    """The tensors, and where their numbers begin."""
    if reader.number("4s") != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version = reader.number("I")
    if version not in VERSIONS:
        raise UnsupportedModelError(
            f"{path} is GGUF of version {version}, or of another byte order; convert it to "
            f"version {VERSIONS[-1]}."
        )
    n_tensors = reader.count(24)
    settings: dict[str, Any] = {}
    for _ in range(reader.count(13)):
        name = reader.text()
        if name in settings:
            raise ValueError(f"the setting {name} stands twice")
        settings[name] = reader.value(reader.number("I"))
    entries = [_entry(reader) for _ in range(n_tensors)]
    names = {entry.name for entry in entries}
    if len(names) < len(entries):
        raise ValueError("two tensors have one name")
    alignment = settings.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment not in (2**power for power in range(21)):
        raise ValueError(f"an alignment of {alignment}, which is no power of 2")
    for entry in entries:
        if entry.offset % alignment:
            raise ValueError(f"{entry.name} does not begin at a multiple of {alignment}")
    return entries, -(-reader.place // alignment) * alignment


def _entry(reader: _Reader) -> _Entry:
    name, dimensions = reader.text(), reader.number("I")
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(f"{name} has {dimensions} dimensions")
    sizes = [reader.number("Q") for _ in range(dimensions)]
    return _Entry(name, tuple(reversed(sizes)), reader.number("I"), reader.number("Q"))


def _bytes_of(entry: _Entry, block: int, each: int) -> int:
    """Bytes of a tensor's blocks, which lie along its last dimension."""
    if entry.shape and entry.shape[-1] % block:
        raise ValueError(f"{entry.name} of shape {entry.shape} has no whole blocks of {block}")
    return math.prod(entry.shape) // block * each


def _read(
    path: Path,
    at: int,
    size: int,
    shape: tuple[int, ...],
    kind: Any,
    dequantize: Callable[..., NDArray[Any]],
) -> NDArray[Any]:
    with path.open("rb") as stream:
        stream.seek(at)
        found = np.fromfile(stream, dtype=np.uint8, count=size)
    if len(found) != size:
        raise ValueError("the file ends within its numbers")
    if kind.name in PLAIN and kind.name != "BF16":
        plain = found.view(PLAIN[kind.name])
        return (plain.astype(np.float32) if kind.name == "F16" else plain).reshape(shape)
    try:
        # rows, as the package's own reader gives them
        rows = found.reshape(*shape[:-1], -1) if found.size else found
        return np.asarray(dequantize(rows, kind)).reshape(shape)
    except NotImplementedError as error:
        raise UnsupportedModelError(
            f"{path} holds numbers of type {kind.name}, which gguf cannot dequantise; give the "
            "file that it was quantised from."
        ) from error


def is_gguf(path: Path) -> bool:
    """Whether a path is a file that begins as GGUF does."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == MAGIC
    except OSError:
        return False
