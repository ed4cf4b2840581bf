"""Examples that networks are called with: read from a file, drawn, cut to a batch size."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunable.errors import DataIntegrityError, InputError, require
from prunable.files import read_arrays
from prunable.nets.archive.safetensors_file import load_tensors
from prunable.nets.archive.torch_file import read_object
from prunable.nets.networks.examples import as_call, mapped
from prunable.numerics.randomness import child_seed

LARGEST = 2**31  # numbers of a drawn example
WANTED = (
    "An example is a tensor, a tuple of tensors, or a dict of tensors by the names of the "
    "network's arguments; save one of these."
)
PLAIN = (bool, int, float, str, type(None))


def read_example(path: Path | str) -> Any:
    """Read what a network is called with: a tensor, a tuple, or keyword arguments by name.

    A torch file holds one of these; a .npy file one array; a .npz or safetensors file arrays by
    name, which are arguments in order where all are called arr_0, arr_1, ... as `numpy.savez` does.
    Nothing is unpickled.

    Raises DataIntegrityError if the file is missing or damaged; InputError if it holds something
    else.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Any]] = {
        ".npy": _read_arrays,
        ".npz": _read_arrays,
        ".safetensors": lambda path: load_tensors(path)[0],
        ".pt": _read_torch,
        ".pth": _read_torch,
    }
    wanted = "a file ending in " + ", ".join(readers)
    require(path.suffix in readers, "example", "prune", wanted, str(path))
    if not path.is_file():
        raise DataIntegrityError(f"{path} is missing; check the path.")
    return _checked(readers[path.suffix](path), path)


def _read_torch(path: Path) -> Any:
    try:
        return read_object(path)
    except InputError as error:
        raise InputError(f"{str(error).partition('. ')[0]}. {WANTED}") from error


def _as_tensor(array: NDArray[Any], name: str, path: Path) -> Tensor:
    """An array of numbers in the machine's order of bytes and a precision that torch has."""
    if array.dtype.kind not in "biufc":
        named = "" if path.suffix == ".npy" else f" under the name {name}"
        raise InputError(f"{path} holds an array of {array.dtype}{named}, no numbers. {WANTED}")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype.itemsize > 8 and native.dtype.kind == "f":
        native = native.astype(np.float64)
    return torch.from_numpy(native)


def _read_arrays(path: Path) -> Any:
    found = read_arrays(path)
    arrays = {name: _as_tensor(array, name, path) for name, array in found.items()}
    if arrays and list(arrays) == [f"arr_{place}" for place in range(len(arrays))]:
        return next(iter(arrays.values())) if len(arrays) == 1 else tuple(arrays.values())
    return arrays


def _checked(found: Any, path: Path) -> Any:
    """The example, if it is made of tensors and plain values."""
    example = tuple(found) if isinstance(found, list) else found
    args, kwargs = as_call(example)
    named = isinstance(example, Mapping)
    parts = [*args, *kwargs.values()]
    strange = [x for x in parts if not isinstance(x, (Tensor, *PLAIN))]
    tensors = [x for x in parts if isinstance(x, Tensor)]
    if strange or not tensors or (named and not all(isinstance(n, str) for n in kwargs)):
        what = type(strange[0]).__name__ if strange else f"{type(example).__name__} without tensors"
        raise InputError(f"{path} holds a {what}. {WANTED}")
    if not all(x.numel() for x in tensors):
        raise InputError(f"{path} holds an empty tensor; give at least one example.")
    if any(bool(x.isnan().any()) for x in tensors if x.is_floating_point() and x.itemsize > 1):
        raise InputError(f"{path} holds NaN, which shows nothing of a network; give numbers.")
    return example


def drawn_example(shape: tuple[int, ...], count: int) -> Tensor:
    """Standard normal inputs (count, *shape), always the same.

    Raises InputError if they are more than `LARGEST` numbers.
    """
    if count * math.prod(shape) > LARGEST:
        wanted = f"at most {LARGEST:,} numbers in all"
        raise InputError.parameter("input_shape", "prune", wanted, shape, "Give a smaller one.")
    generator = torch.Generator().manual_seed(child_seed(0, "example"))
    return torch.randn(count, *shape, generator=generator)


def shape_of_text(text: str, where: str = "prune") -> tuple[int, ...]:
    """The shape that an option such as 3,224,224 says; InputError if it says none."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        wanted = "sizes of one example such as 3,224,224, without the batch"
        raise InputError.parameter("input_shape", where, wanted, text)
    return shape


def tensors_of(example: Any) -> list[Tensor]:
    """The tensors of an example, in order."""
    found: list[Tensor] = []

    def noted(x: Tensor) -> Tensor:
        found.append(x)
        return x

    mapped(example, noted)
    return found


def batch_size_of(example: Any) -> int:
    """The first dimension of an example's first tensor; 1 if that has none."""
    first = next(iter(tensors_of(example)), None)
    return 1 if first is None or not first.ndim else len(first)


def batch_of(example: Any, size: int) -> Any:
    """The example repeated or cut to a batch size.

    That changes the tensors whose first dimension is that of the first; others, such as a mask for
    all, stay.

    >>> batch_of({"x": torch.zeros(2, 3), "scale": torch.ones(1)}, 5)["x"].shape
    torch.Size([5, 3])
    """
    before = batch_size_of(example)

    def resized(x: Tensor) -> Tensor:
        if not x.ndim or len(x) != before:
            return x
        return x.detach()[torch.arange(size, device=x.device) % before]

    return mapped(example, resized)
