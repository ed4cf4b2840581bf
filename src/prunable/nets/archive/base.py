"""What every format of model file is read into."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, PrunableError


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a model file, read when asked for.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : str
        As stored, such as "float32", "bfloat16" or "int8".
    load : callable
        Reads it now, as often as asked; float16, bfloat16 and float8 come as float32, which
        is exact. Raises DataIntegrityError if it cannot be read.
    consumer : str, optional
        In ONNX the operator that reads it, such as "MatMul".
    transposed : bool
        Whether a matrix is stored as (in, out).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], NDArray[Any]]
    consumer: str | None = None
    transposed: bool = False


@dataclass(frozen=True)
class Archive:
    """An open model file.

    Attributes
    ----------
    path : Path
    format : str
        "safetensors", "torch" or "onnx".
    tensors : tuple of StoredTensor
    ordered : bool
        Whether tensors come in the order of the model; safetensors sorts them by name.
    skipped : tuple of (str, str)
        Names of entries that are no readable tensors, with the reason.
    """

    path: Path
    format: str
    tensors: tuple[StoredTensor, ...]
    ordered: bool
    skipped: tuple[tuple[str, str], ...] = ()


@contextmanager
def damage_named(path: Path, what: str = "") -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one message.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        Part of it that is read, such as a tensor's name.

    Raises
    ------
    DataIntegrityError
        In place of any exception that is not the package's own.
    """
    try:
        # readers warn about what they then fail on
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PrunableError:
        raise
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{path} is missing; check the path.") from error
    except PermissionError as error:
        raise DataIntegrityError(f"{path} cannot be read: permission denied.") from error
    except Exception as error:  # damaged files make readers raise anything
        where = f", tensor {what}," if what else ""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataIntegrityError(
            f"{path}{where} cannot be read ({type(error).__name__}: {reason}); "
            "fetch or write it again."
        ) from error


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """See a tensor as an array, of a type that NumPy has.

    Parameters
    ----------
    tensor : Tensor
        On any device.

    Returns
    -------
    ndarray
        float16, bfloat16 and float8 as float32.
    """
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.itemsize < 4:
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a type without its module."""
    return str(dtype).removeprefix("torch.")
