"""What every archive format shares: the tensor as stored, its loading, and named failures."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.files import MOST_AXES, MOST_SIZE, brief, damage_named
from prunable.numerics.measure.entries import Coded

# Stored types that float32 holds exactly, and types that NumPy knows by itself.
_WIDENED = {"float16", "bfloat16", "float8_e8m0fnu"} | {
    f"float8_{layout}" for layout in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")
}
_NATIVE = {"float64", "float32", "bool"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of an archive, not read yet."""

    name: str  # unique in its archive
    shape: tuple[int, ...]
    dtype: str  # as stored: "float32", "bfloat16", "float8_e4m3fn", "int8", ...
    # reads this tensor now, into an array of its own, while the archive is open. Floats narrower
    # than 32 bits come as float32, which holds them exactly; other types as they are. Raises
    # `DataIntegrityError` when the file is damaged there
    load: Callable[[], NDArray[Any]]
    # ONNX only: type of the operation that reads it ("MatMul", "Gemm", "Conv", ...)
    consumer: str | None = None
    # ONNX only: whether a matrix is stored as (in, out) in its last two axes
    transposed: bool = False
    # gives the bit patterns in the shape of the tensor, mapped from the file; None where these are
    # no simple types of 16 bits or less. Open as `load` is
    codes: Callable[[], Coded] | None = None
    file: Path | None = None  # that it lies in, of formats of several files
    tied: str | None = None  # name of an earlier tensor of the archive that has the same numbers


@dataclass(frozen=True)
class Archive:
    """An open model file, its tensors listed but not read."""

    path: Path
    format: str  # "safetensors", "torch", "onnx" or "gguf"
    tensors: tuple[StoredTensor, ...]
    ordered: bool  # whether the order of the tensors is that of the model
    # name and reason of the entries that are no tensors, or none that can be read
    skipped: tuple[tuple[str, str], ...]


def can_load(dtype: str) -> bool:
    """Tell whether tensors of a stored type ("float32", "bfloat16", ...) can be loaded."""
    return dtype in _WIDENED or dtype in _NATIVE


def is_widened(dtype: str) -> bool:
    """Tell whether a stored type is loaded as float32, which holds its numbers exactly."""
    return dtype in _WIDENED


def torch_to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """Copy a dense tensor on the CPU to an array; floats narrower than 32 bits become float32."""
    plain = tensor.detach().resolve_neg()
    if is_widened(str(plain.dtype).removeprefix("torch.")):
        plain = plain.to(torch.float32)
    return np.array(plain.numpy(), order="C")


def stored_tensor(
    path: Path,
    name: str,
    shape: Iterable[int],
    dtype: str,
    read: Callable[[], NDArray[Any]],
    consumer: str | None = None,
    transposed: bool = False,
    codes: Callable[[], Coded] | None = None,
) -> StoredTensor:
    """Build a `StoredTensor` whose failures name file and tensor; `read` may raise anything.

    Raises ValueError if no array has such a shape.
    """
    expected = tuple(int(size) for size in shape)
    if len(expected) > MOST_AXES or not all(0 <= size < MOST_SIZE for size in expected):
        raise ValueError(f"tensor {name!r} has the shape {brief(ValueError(expected))}")

    def load() -> NDArray[Any]:
        # numbers that are not finite are told of by who reads them
        with failures_named(path, name), np.errstate(invalid="ignore", over="ignore"):
            array = read()
            if array.shape != expected:
                raise ValueError(f"its shape is {array.shape}, the header says {expected}")
        return array

    def patterns() -> Coded:
        assert codes is not None
        with failures_named(path, name), np.errstate(invalid="ignore", over="ignore"):
            return codes()

    mapped = None if codes is None else patterns
    return StoredTensor(name, expected, dtype, load, consumer, transposed, mapped, path)


def failures_named(path: Path, tensor: str | None = None) -> AbstractContextManager[None]:
    """Name the file, and the tensor being read, in whatever a reader raises; see `damage_named`."""
    return damage_named(path if tensor is None else f"tensor {tensor!r} of {path}")


def clean_name(name: object) -> str:
    """Return a name as text that can be written anywhere: what is not UTF-8 is escaped."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
    return text.encode("utf-8", "backslashreplace").decode()


def unique_names(names: Iterable[str]) -> list[str]:
    """Append "#2", "#3", ... to the names that came before, so that all are different."""
    names = list(names)
    taken, count, result = set(names), dict[str, int](), list[str]()
    for name in names:
        count[name] = count.get(name, 0) + 1
        unique = name
        while count[name] > 1 and unique in taken:
            unique = f"{name}#{count[name]}"
            count[name] += unique in taken
        taken.add(unique)
        result.append(unique)
    return result
